"""Runs that start from a finished one, made of random weights."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from etils import epath

from soar_jax.errors import SettingsError
from soar_jax.evaluation.hard_subset import counts_text, split_hard
from soar_jax.problems.sources import load_problems
from soar_jax.runs import source_run
from soar_jax.runs.build import build
from soar_jax.soar.state import Promotion
from tests.configs import make_config
from tests.runs.saved_runs import save_run

PROMOTIONS = tuple(
    Promotion(
        outer_step=number,
        source_step=number,
        dataset=0,
        reward=0.1,
        validation_accuracy=0.1,
        questions=tuple((f"question {number} {letter}", "1") for letter in "ab"),
        num_steps=steps,
    )
    for number, steps in ((1, 10), (2, 0))  # the second as in old records
)


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run: its workdir, and the arrays of its newest checkpoint."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    arrays, setup = save_run(workdir, num_promotions=2, promotions=PROMOTIONS, seed=1)
    (workdir / "summary.json").write_text('{"outer_steps": 3}')
    problems = load_problems(setup.config.problems, "problems", 24)
    counts = np.arange(24) % 2
    (workdir / "hard_subset.jsonl").write_text(counts_text("key", problems, counts, counts))
    pairs = [pair for promotion in PROMOTIONS for pair in promotion.questions]
    judged = zip(pairs, (True, True, False, None), (False, True, False, None), strict=True)
    rows = [{"question": q, "answer": a, "well_posed": posed, "right": right} for (q, a), posed, right in judged]
    write_rows(workdir / "curriculum.jsonl", rows)
    return workdir, arrays


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "source")


def config_from(workdir, method="promotion_questions", **changes):
    return make_config(method, **{"source_run": str(workdir), "seed": 1} | changes)


def find(workdir, *, method="promotion_questions", **changes):
    return source_run.find(config_from(workdir, method, **changes))


def test_no_source_is_none():
    assert source_run.find(make_config()) is None


@pytest.mark.parametrize("step", [0, 2])
def test_policies_and_promotions_are_those_of_the_step(finished, step):
    workdir, arrays = finished
    source = find(workdir, source_step=step)
    assert source.step == (step or 3)
    setup = build(config_from(workdir))
    source.check_base(setup)
    found, progress = source.restore(setup)
    same = step == 0
    for restored, saved in ((found.teacher.weights, arrays.teacher.weights), (found.best, arrays.best)):
        assert jax.tree.all(jax.tree.map(np.array_equal, restored, saved)) == same
    jax.tree.map(np.testing.assert_array_equal, found.baseline, arrays.baseline)
    assert progress.best_promotion == 2
    assert [promotion.num_steps for promotion in progress.promotions] == [10, 10]
    assert (progress.outer_step, progress.num_sampled_tokens, progress.file_sizes) == (0, 0, {})


def begin(workdir, source):
    """A workdir with a result, begun from a source."""
    (workdir / "results").mkdir(parents=True)
    source.write_record(epath.Path(workdir))
    return epath.Path(workdir)


def test_a_workdir_belongs_to_the_state_that_it_was_begun_from(copy, tmp_path):
    workdir = begin(tmp_path / "begun", find(copy))
    find(copy).check_begun(workdir)
    with pytest.raises(SettingsError, match="was begun from another state of a finished run than source_run"):
        find(copy, source_step=2).check_begun(workdir)
    (workdir / "results").rmtree()
    find(copy, source_step=2).check_begun(workdir)  # nothing depends on it yet


def test_the_record_has_what_a_report_says_of_the_source(copy, tmp_path):
    (copy / "results").mkdir()
    (copy / "results" / "base.json").write_text('{"num_sampled_tokens": 5, "num_flops": 7, "curve": []}')
    workdir = begin(tmp_path / "begun", find(copy))
    record = json.loads((workdir / source_run.RECORD).read_text())
    assert record["config"]["seed"] == 1
    assert record["summary"] == {"outer_steps": 3}
    assert record["results"] == {"base": {"num_sampled_tokens": 5, "num_flops": 7}}


def test_a_source_is_only_read(finished):
    workdir, _ = finished
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    find(workdir).restore(build(config_from(workdir)))
    assert before == {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}


@pytest.mark.parametrize(("keep", "left"), [("right", ["1 b"]), ("well_posed", ["1 a", "1 b"])])
def test_questions_that_the_judge_refused_are_left_out(finished, keep, left):
    source = find(finished[0], **{"curriculum.keep": keep})
    progress = source.progress
    asked = [question for promotion in progress.promotions for question, _ in promotion.questions]
    assert asked == [f"question {name}" for name in left]
    assert len(progress.promotions) == 2  # the best student keeps its number
    assert source.num_unjudged == 1
    assert find(finished[0]).num_unjudged == 0


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def judge_as(run, **verdicts):
    rows = [json.loads(line) | verdicts for line in (run / "curriculum.jsonl").read_text().splitlines()]
    write_rows(run / "curriculum.jsonl", rows)


KEEP = {"curriculum.keep": "right"}
BAD = {
    "no folder": (shutil.rmtree, {}, "is no run's workdir; name that of a finished run of SOAR"),
    "no run": (lambda run: (run / "config.json").unlink(), {}, "is no run's workdir"),
    "not finished": (lambda run: (run / "summary.json").unlink(), {}, "is not finished: it has no summary.json"),
    "no outer step": (lambda run: edit(run / "summary.json", outer_steps=0), {}, "made no outer step"),
    "no summary": (lambda run: (run / "summary.json").write_text("[]"), {}, "made no outer step"),
    "a broken summary": (
        lambda run: (run / "summary.json").write_text("{"),
        {},
        "summary.json of source_run is broken; remove it and repeat the command of that run",
    ),
    "broken questions": (
        lambda run: (run / "curriculum.jsonl").write_text('{"right": true}\n'),
        {"curriculum.keep": "right"},
        "curriculum.jsonl is broken; bring it back",
    ),
    "another version's": (lambda run: edit(run / "config.json", teacher=None), {}, "another version of soar_jax"),
    "another model": (
        lambda run: None,
        {"model.source": "other/model"},
        "model.source is 'other/model', but source_run .* was made with 'embedded:nano'",
    ),
    "adapters": (lambda run: None, {"lora.rank": 4}, r"lora\.rank is 4, but source_run .* was made with 0"),
    "another seed": (
        lambda run: None,
        {"seed": 3},
        "seed is 3, but source_run .* was made with seed 1, whose hard train its teacher was rewarded on; use that "
        "seed, and final.num_replicas for more students",
    ),
    "another split": (lambda run: None, {"hard_subset.validation_share": 0.0}, "was made with 0.33.*; use that"),
    "a step that was not kept": (
        lambda run: None,
        {"source_step": 1},
        "source_step is 1, but source_run .* keeps checkpoints of outer steps 2, 3; choose one",
    ),
    "no checkpoint": (
        lambda run: shutil.rmtree(run / "checkpoints"),
        {},
        r"has no checkpoint any more; bring its folder checkpoints back",
    ),
    "a broken record": (
        lambda run: edit(run / "checkpoints" / "3" / "record" / "metadata", wall_s=2.0),
        {},
        "checkpoints/3 is broken",
    ),
    "no counts": (lambda run: (run / "hard_subset.jsonl").unlink(), {}, "hard_subset.jsonl is missing or broken"),
    "broken counts": (lambda run: (run / "hard_subset.jsonl").write_text("{}\n[]\n"), {}, "missing or broken"),
    "nothing judged": (
        lambda run: judge_as(run, right=None),
        KEEP,
        "none of the 4 promotion questions of .* was judged",
    ),
    "no questions": (lambda run: (run / "curriculum.jsonl").unlink(), KEEP, "none of the 4 promotion questions"),
    "nothing right": (lambda run: judge_as(run, right=False), KEEP, "of the 4 promotion questions of .* none is"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_run_that_cannot_be_a_source_is_one_line(copy, name):
    damage, changes, message = BAD[name]
    damage(copy)
    with pytest.raises(SettingsError, match=message) as error:
        find(copy, **changes)
    assert "\n" not in str(error.value)


def test_a_teacher_rewarded_without_students_is_no_grounded_one(copy):
    saved = json.loads((copy / "config.json").read_text())
    edit(copy / "config.json", teacher=saved["teacher"] | {"reward": "absolute_zero"})
    message = r"teacher\.reward is 'grounded', but source_run .* was made with 'absolute_zero', without students"
    with pytest.raises(SettingsError, match=message):
        find(copy, method="grounded_teacher")
    assert find(copy, method="intrinsic_teacher", num_outer_steps=0).step == 3  # for its own kind it is one


def test_another_base_is_refused(finished):
    source = dataclasses.replace(find(finished[0]), base_sha256="other")
    with pytest.raises(SettingsError, match=r"'embedded:nano' holds other weights than when .* was begun"):
        source.check_base(build(config_from(finished[0])))


def test_the_counts_of_the_same_problems_are_taken_over_once(finished, tmp_path):
    workdir, _ = finished
    source = find(workdir)
    assert source.has_same_problems
    source.copy_counts(tmp_path)
    assert (tmp_path / "hard_subset.jsonl").read_text() == (workdir / "hard_subset.jsonl").read_text()
    (tmp_path / "hard_subset.jsonl").write_text("its own")
    source.copy_counts(tmp_path)
    assert (tmp_path / "hard_subset.jsonl").read_text() == "its own"


def test_other_problems_are_searched_without_the_teachers(finished, tmp_path):
    """On other problems any seed will do."""
    source = find(finished[0], **{"problems.seed": 7, "seed": 5})
    assert not source.has_same_problems
    source.copy_counts(tmp_path)
    assert not (tmp_path / "hard_subset.jsonl").exists()
    new = load_problems(dataclasses.replace(make_config().problems, seed=7), "problems", 4)
    assert len(source.hard_train) == 6
    assert source.unseen([*new, source.hard_train[0]]) == new


def test_a_test_on_the_teachers_reward_problems_is_refused(finished):
    config = config_from(finished[0])
    source = find(finished[0])
    problems = load_problems(config.problems, "problems", 24)
    assert source.unseen(problems) == problems
    hard = problems[::2]
    source.check_split(split_hard(hard, 1, 1 / 3))
    with pytest.raises(SettingsError, match=r"^\d hard test problems are hard train problems of"):
        source.check_split(split_hard(hard, 2, 1 / 3))


def test_adapters_are_restored(tmp_path):
    changes = {"lora.rank": 2, "lora.layers": ("query", "down")}
    workdir = tmp_path / "run"
    arrays, _ = save_run(workdir, steps=(3,), **changes)
    (workdir / "summary.json").write_text('{"outer_steps": 3}')
    problems = load_problems(make_config().problems, "problems", 24)
    (workdir / "hard_subset.jsonl").write_text(counts_text("key", problems, np.zeros(24, int), np.ones(24, int)))
    config = config_from(workdir, seed=0, **changes)
    found, _ = source_run.find(config).restore(build(config))
    jax.tree.map(np.testing.assert_array_equal, found.teacher.weights, arrays.teacher.weights)
    with pytest.raises(SettingsError, match=r"lora\.scale is 3\.0, but source_run .* was made with 2\.0; use that"):
        find(workdir, **changes, seed=0, **{"lora.scale": 3.0})
