"""pass@k of a policy, by the command line."""

import json
import math
import shutil

import numpy as np
import pytest

from soar_jax.config.sections import FieldsSection
from soar_jax.grading.grader import Verdict
from soar_jax.problems import arithmetic, benchmarks
from tests.experiments.runs import finish, kill, run_program, tiny, two_processes, wait_until
from tests.runs.saved_runs import save_run

FIELDS = {"question": "q", "answer": "a", "subject": "topic", "level": "steps"}
NUM_SAMPLES, KS = 8, (1, 4, 8)


@pytest.fixture(scope="module")
def benchmark_file(tmp_path_factory):
    """32 problems of two subjects and three levels, and five rows that cannot be used."""
    path = tmp_path_factory.mktemp("benchmark") / "problems.jsonl"
    rng = np.random.default_rng(0)
    problems = [
        p
        for topic in ("dial", "mirror")
        for p in arithmetic.generate_problems(rng, (1, 2, 3, 2), count=16, topic=topic)
    ]
    rows = [{"q": p.question, "a": p.answer, "topic": p.subject, "steps": p.level} for p in problems]
    rows += [rows[0], rows[1], {"q": "without answer"}, rows[2] | {"a": ""}, rows[3] | {"q": "<eos> dial"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def flags(benchmark_file):
    """The flags of an evaluation on the benchmark."""

    def make(out, *more):
        fields = [f"--config.problems.fields.{name}={field}" for name, field in FIELDS.items()]
        return tiny(
            "configs/soar_math.py",
            f"--out={out}",
            "--config.problems.source=jsonl",
            f"--config.problems.path={benchmark_file}",
            "--config.problems.levels=(1,)",  # and those of a tiny run: a tuple that is given again is added to
            "--config.hard_subset.num_candidates=100",
            f"--config.evaluation.num_samples={NUM_SAMPLES}",
            f"--config.evaluation.pass_at={KS}",
            "--config.evaluation.problems_per_call=2",  # many calls, between which a program can be stopped
            "--config.final.num_replicas=3",  # which 2 devices do not divide; nothing is trained here
            *fields,
            *more,
        )

    return make


@pytest.fixture(scope="module")
def evaluate(flags):
    """Runs evaluate.py on the benchmark in this process; exit code, stdout and stderr."""
    return lambda *arguments: run_program("evaluate", *flags(*arguments))


@pytest.fixture(scope="module")
def evaluated(evaluate, tmp_path_factory):
    """An uninterrupted evaluation: its folder, and what it printed."""
    out = tmp_path_factory.mktemp("evaluate") / "out"
    code, printed, err = evaluate(out)
    assert code == 0, err
    return out, printed


def rows(path):
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def by_hand(counts, k):
    return np.mean([1 - math.comb(NUM_SAMPLES - c, k) / math.comb(NUM_SAMPLES, k) for c in counts])


def test_the_tables_are_those_of_the_completions(evaluated, benchmark_file):
    out, printed = evaluated
    result = json.loads((out / "evaluation.json").read_text())
    known = {
        problem.id: problem
        for problem in benchmarks.load("jsonl", str(benchmark_file), FieldsSection(**FIELDS)).problems
    }
    completions = rows(out / "completions.jsonl")
    counts = {}
    for row in completions:
        # as this scale grades: the text behind the last equals sign
        right = " ".join(row["completion"].rpartition("=")[2].split()) == known[row["id"]].answer
        assert right == (row["verdict"] == "correct")
        counts[row["id"]] = counts.get(row["id"], 0) + right
    assert [(row["id"], row["sample"]) for row in completions] == [
        (id_, sample) for id_ in counts for sample in range(NUM_SAMPLES)
    ]
    tables = result["tables"]
    groups = {("overall",): list(counts)}
    for id_ in counts:
        groups.setdefault(("subjects", known[id_].subject), []).append(id_)
        groups.setdefault(("levels", str(known[id_].level)), []).append(id_)
    assert {kind: len(tables[kind]) for kind in ("subjects", "levels")} == {"subjects": 2, "levels": 3}
    for place, ids in groups.items():
        row = tables
        for name in place:
            row = row[name]
        assert row["num_problems"] == len(ids)
        for k in KS:
            interval = row[f"pass@{k}"]
            assert interval["mean"] == pytest.approx(by_hand([counts[id_] for id_ in ids], k))
            assert interval["low"] <= interval["mean"] <= interval["high"]
        verdicts = [completion["verdict"] for completion in completions if completion["id"] in ids]
        assert row["verdicts"] == {name.value: verdicts.count(name.value) for name in Verdict}
    assert 0 < tables["overall"]["pass@1"]["low"] < tables["overall"]["pass@1"]["high"] < 1
    assert "level 3" in printed
    assert f"answers: {tables['overall']['verdicts']['correct']} correct, " in printed


def test_what_cannot_be_asked_is_counted(evaluated):
    out, printed = evaluated
    left_out = json.loads((out / "evaluation.json").read_text())["left_out"]
    assert left_out == {
        "a question twice": 2,
        "without the field 'a' (such a row has q)": 1,
        "without question or answer": 1,
        "longer than 15 tokens or with special tokens": 1,
    }
    assert "embedded:nano is asked 32 problems; left out: " in printed


@pytest.mark.slow
def test_a_killed_evaluation_ends_with_the_same_completions(launch, flags, evaluate, evaluated, tmp_path):
    out = tmp_path / "out"
    partial = out / "completions.jsonl.partial"
    process = launch("evaluate", *flags(out))
    wait_until(lambda: partial.exists() and partial.stat().st_size, process, every_s=0.002)
    kill(process)
    assert not (out / "completions.jsonl").exists()
    kept = partial.read_text()
    with partial.open("a") as file:
        file.write('{"id": "jsonl-0')  # a row that was being written
    code, printed, err = evaluate(out)
    assert code == 0, err
    assert (out / "completions.jsonl").read_text().startswith(kept)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in evaluated[0].iterdir())
    assert (out / "completions.jsonl").read_text() == (evaluated[0] / "completions.jsonl").read_text()
    first, second = (json.loads((folder / "evaluation.json").read_text()) for folder in (out, evaluated[0]))
    assert {**first, "command": ""} == {**second, "command": ""}
    assert printed.splitlines()[-2] == evaluated[1].splitlines()[-2]


def test_answers_without_their_tables_are_not_drawn_again(evaluate, evaluated, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(evaluated[0], out)
    (out / "evaluation.json").unlink()
    marked = (out / "completions.jsonl").read_text().replace('"completion": "', '"completion": "kept ')
    (out / "completions.jsonl").write_text(marked)
    code, _, err = evaluate(out)
    assert code == 0, err
    assert (out / "completions.jsonl").read_text() == marked
    first, second = (json.loads((folder / "evaluation.json").read_text()) for folder in (out, evaluated[0]))
    assert first["tables"] == second["tables"]


def test_a_folder_keeps_the_results_of_its_policy(evaluate, evaluated, tmp_path):
    save_run(tmp_path / "run", steps=(1,))
    before = (evaluated[0] / "completions.jsonl").read_bytes()
    code, printed, err = evaluate(evaluated[0], f"--model={tmp_path / 'run'}:teacher")
    assert code == 2
    assert f"{tmp_path / 'run'}: teacher, after outer step 1 is asked 32 problems" in printed
    assert "holds results of other settings (different: model, params_sha256); choose another folder" in err
    assert "Traceback" not in err
    assert (evaluated[0] / "completions.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--out is missing: folder for evaluation.json and completions.jsonl"),
        (("--out=no/such/folder", "--model=nowhere"), "model.source 'nowhere' is neither"),
        (("--out=configs",), "--out=configs holds other files; choose a new or empty folder"),
    ],
)
def test_what_is_missing_is_one_line(arguments, message):
    code, _, err = run_program("evaluate", "--config=configs/soar_math.py", *arguments)
    assert code == 2
    assert err.startswith(f"error: {message}")
    assert len(err.splitlines()) == 1


def test_calls_that_the_devices_do_not_divide_draw_the_same(evaluate, evaluated, tmp_path):
    code, _, err = evaluate(tmp_path / "out", "--config.evaluation.problems_per_call=3")
    assert code == 0, err
    assert (tmp_path / "out" / "completions.jsonl").read_text() == (evaluated[0] / "completions.jsonl").read_text()


@pytest.mark.slow
def test_two_processes_with_other_problems_are_refused(launch, flags, benchmark_file, tmp_path, monkeypatch):
    """Each host has a file of that name, but they are not the same."""
    lines, both = benchmark_file.read_text().splitlines(keepends=True), []
    for home, count, each in zip(("a", "b"), (len(lines), 20), two_processes(), strict=True):
        (tmp_path / home).mkdir()
        (tmp_path / home / "problems.jsonl").write_text("".join(lines[:count]))
        monkeypatch.setenv("HOME", str(tmp_path / home))
        more = ("--config.mesh.cpu_devices=1", "--config.problems.path=~/problems.jsonl")
        both.append(launch("evaluate", *flags(tmp_path / "out", *more, *each)))
    for code, _, err in map(finish, both):
        assert code == 2
        assert "the processes do not agree on the model, the problems or the settings" in err
    assert not (tmp_path / "out" / "completions.jsonl").exists()


@pytest.mark.slow
def test_two_processes_evaluate_as_one_does(launch, flags, evaluated, tmp_path):
    one_device = "--config.mesh.cpu_devices=1"
    both = [launch("evaluate", *flags(tmp_path / "out", one_device, *each)) for each in two_processes()]
    ended = [finish(process) for process in both]
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert "answers: " in ended[0][1]
    assert "is asked" not in ended[1][1]  # the first process alone shows and writes
    assert (tmp_path / "out" / "completions.jsonl").read_text() == (evaluated[0] / "completions.jsonl").read_text()
