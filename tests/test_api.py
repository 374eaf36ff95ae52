"""The functions for notebooks: the examples of their docstrings, one run for all, and what they refuse."""

import dataclasses
import doctest
import json
import pathlib
import signal
import subprocess
import sys
import threading

import jax
import pytest

import soar_jax
from soar_jax import api
from soar_jax.config import read_config
from soar_jax.errors import SettingsError
from soar_jax.grading.pairs import GRADER
from soar_jax.grading.pool import shared_pool
from soar_jax.types import Problem
from tests.conftest import ROOT
from tests.experiments.runs import TINY
from tests.runs.saved_runs import save_run

QUESTION = "dial 9 8 7 triple first+second . . . . . ."


@pytest.fixture(scope="module")
def nano():
    return soar_jax.load_policy("embedded:nano", config="soar_math")


def examples():
    return {test.name: test for test in doctest.DocTestFinder().find(api, extraglobs={"soar_jax": soar_jax})}


def names_of_examples():
    return {name.removeprefix("soar_jax.api.") for name, test in examples().items() if test.examples}


def run_example(name, **names):
    """Runs the example of a docstring; values must be those shown, and what statements print does not count."""
    test = examples()[f"soar_jax.api.{name}"]
    assert test.examples
    scope = test.globs | names
    for example in test.examples:
        if example.want:
            assert repr(eval(example.source, scope)) == example.want.strip()  # noqa: S307
        else:
            exec(example.source, scope)  # noqa: S102


def in_fresh_process(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_function_has_an_example():
    assert names_of_examples() == {"LoadedPolicy.generate", "grade", "load_policy", "read_workdir", "run"}


def test_the_package_imports_nothing_until_a_function_is_used():
    found = in_fresh_process(
        "import sys, soar_jax; print(*sorted(name for name in sys.modules if name.startswith('soar_jax') or "
        "name in ('jax', 'ml_collections', 'pandas')))"
    )
    assert found == "soar_jax"
    assert in_fresh_process("import sys, soar_jax; soar_jax.run; print('jax' in sys.modules)") == "False"


def test_the_package_names_its_functions():
    assert set(soar_jax.__all__) <= set(dir(soar_jax))
    assert set(soar_jax.__all__) - {"__version__"} == set(api.__all__) - {"LoadedPolicy", "RunFrames"}
    for name in soar_jax.__all__:
        assert getattr(soar_jax, name)
    with pytest.raises(AttributeError, match="module 'soar_jax' has no attribute 'runn'"):
        soar_jax.runn  # noqa: B018


@pytest.mark.slow
def test_examples_of_a_run(tmp_path, monkeypatch):
    def tiny(method):
        config = api.method_config(method)
        config.update_from_flattened_dict(TINY)
        return config

    monkeypatch.setattr(soar_jax, "method_config", tiny, raising=False)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run_example("run", workdir=tmp_path / "run")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    run_example("read_workdir", workdir=tmp_path / "run")
    frames = soar_jax.read_workdir(tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert len(frames.ledger) == 2 * 2 * 4  # steps, datasets, questions
    for row in frames.results.to_dict("records"):
        expected = summary["policies"][row["policy"]][row["test"]]
        assert {key: row[key] for key in expected} == {
            key: pytest.approx(value if key == "num_problems" else 100 * value) for key, value in expected.items()
        }
    assert set(frames.results["policy"]) == summary["policies"].keys()
    assert frames.damage == ()
    assert soar_jax.load_policy(tmp_path / "run").generate(list(frames.ledger["question"][:1]))


def test_example_of_load_policy():
    run_example("load_policy")


def test_example_of_generate():
    run_example("LoadedPolicy.generate")


@pytest.mark.slow
def test_completions_depend_on_seed_and_question_alone(nano):
    first, second = nano.generate([QUESTION, "1"], 3, temperature=3.0)
    assert nano.generate([QUESTION], 3, temperature=3.0) == [first]
    assert nano.generate([QUESTION], 3, temperature=3.0, seed=1) != [first]
    assert len(second) == 3


def test_many_questions_are_answered_in_several_calls(nano):
    size = nano._setup.evaluator.prompts_per_call  # private: users see no calls
    answers = nano.generate([QUESTION] * (size + 1), temperature=0)
    assert answers == [answers[0]] * (size + 1)


@pytest.mark.slow
def test_the_policy_of_a_run_has_the_runs_prompts_and_adapters(tmp_path):
    changes = {"lora.rank": 4, "lora.scale": 3.0, "prompts.student": "exam {question} =", "mesh.population": 2}
    arrays, setup = save_run(tmp_path / "run", steps=(1,), **changes)
    policy = soar_jax.load_policy(f"{tmp_path / 'run'}:teacher")
    assert policy.name.startswith(f"{tmp_path / 'run'}: teacher, after outer step 1")
    # `_setup` is private: users see its effects alone.
    assert policy._setup.config.prompts.student == "exam {question} ="
    assert dict(policy._setup.mesh.shape)["population"] == jax.device_count()
    draw = policy._setup.test_draw("test", 2)
    problem = Problem(id="", question=QUESTION, answer="", subject="", level=1)
    own, merged = (
        [
            [answer.completion for answer in answers]
            for answers in next(of.evaluator.iterate_answers(weights, [problem], draw))
        ]
        for of, weights in ((setup, arrays.teacher.weights), (policy._setup, policy._setup.base_weights))
    )
    assert own == merged


@pytest.mark.parametrize(
    ("questions", "options", "message"),
    [
        ([], {}, "at least one question"),
        ("1", {}, "must be a list"),
        (["1"], {"num_samples": 0}, "num_samples must be at least 1"),
        (["1"], {"temperature": -1.0}, "temperature at least 0"),
        (["1 " * 40], {}, r"^the question '1 1 .* too long with its prompt: \d+ tokens at most"),
    ],
)
def test_questions_that_cannot_be_asked_are_one_line(nano, questions, options, message):
    with pytest.raises(SettingsError, match=message):
        nano.generate(questions, **options)


def test_a_model_needs_a_config():
    with pytest.raises(SettingsError, match=r"^embedded:nano is no run's workdir: give a config, such as"):
        soar_jax.load_policy("embedded:nano")


def test_example_of_grade():
    run_example("grade")


def test_grading_leaves_no_worker_behind():
    """The pair is one that only algebra decides, so that a worker starts."""
    starts, pool = [], shared_pool(GRADER.num_workers, GRADER.deadline_s)
    with pytest.MonkeyPatch.context() as patch:
        start = pool._start  # private: nothing outside sees a worker that has ended
        patch.setattr(pool, "_start", lambda: starts.append(start()) or starts[-1])
        assert soar_jax.grade(r"\binom{n}{2}", r"\frac{n(n-1)}{2}") == "correct"
    assert len(starts) == 1
    assert starts[0].process.poll() is not None
    assert pool.workers == []


@pytest.mark.parametrize(("gold", "answer"), [(float("nan"), "1"), ("1", "")])
def test_pairs_without_an_answer_are_unparsable(gold, answer):
    assert soar_jax.grade(gold, answer) == "unparsable"


def test_a_run_in_another_thread_is_refused(tmp_path):
    errors = []

    def run():
        try:
            soar_jax.run("soar_math", tmp_path / "run")
        except SettingsError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert errors == ["run handles stop signals: call it in the main thread"]
    assert not (tmp_path / "run").exists()


@pytest.fixture
def workdir(tmp_path):
    """A handwritten workdir of an unfinished run with one result."""
    folder = tmp_path / "run"
    (folder / "results").mkdir(parents=True)
    config = dataclasses.replace(read_config(soar_jax.method_config("hard_only")), seed=3).to_dict()
    (folder / "config.json").write_text(json.dumps(config))
    counts = {"num_samples": 4, "ids": ["a", "b"], "num_correct": [[4, 0], [2, 0]]}
    result = {"student_steps": 50, "curve": [], "tests": {"hard_test": counts}}
    (folder / "results" / "hard_only.json").write_text(json.dumps(result))
    (folder / "ledger.jsonl").write_text("{broken\n")
    return folder


def test_results_are_means_over_problems_and_replicas(workdir):
    frames = soar_jax.read_workdir(workdir)
    (row,) = frames.results.to_dict("records")
    assert row == {
        "policy": "hard_only",
        "test": "hard_test",
        "student_steps": 50,
        "pass@1": pytest.approx(100 * (1 + 0.5) / 4),
        "pass@4": pytest.approx(50.0),
        "num_problems": 2,
    }
    assert frames.config["seed"] == 3
    assert (len(frames.metrics), len(frames.ledger)) == (0, 0)
    assert frames.damage == ("ledger.jsonl has 1 broken lines",)


def test_several_runs_are_refused(workdir):
    other = workdir.parent / "other"
    other.mkdir()
    (other / "config.json").write_text((workdir / "config.json").read_text())
    with pytest.raises(SettingsError, match="holds 2 runs; name the workdir of one"):
        soar_jax.read_workdir(workdir.parent)


def test_missing_pandas_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(api.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"^read_workdir needs: pip install 'soar-jax\[notebook\]'$"):
        soar_jax.read_workdir(pathlib.Path(tmp_path))
