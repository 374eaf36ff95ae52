"""Every method runs two outer steps, or none, and its final students, through the command line."""

import json
import pathlib
import shutil

import pytest

from soar_jax.checkpoints.base_model import EMBEDDED_FOLDER
from tests.experiments.runs import run_tiny, the_error

pytestmark = pytest.mark.usefixtures("whole_run")  # which compiles for all

METHODS = {
    path.stem
    for path in (pathlib.Path(__file__).parents[2] / "configs").glob("*.py")
    if path.stem not in ("__init__", "pretrain_nano")
}
FOR_LANGUAGE_MODELS = {"two_turn_teacher"}  # the embedded model writes neither tags nor boxes
OF_SOAR = {"promoted_student", "trained_teacher"}  # tested as they are
POLICIES = {
    # outer steps with students
    "soar_math": OF_SOAR | {"curriculum", "promoted", "true_answers", "random_answers", "hard_only"},
    "frozen_teacher": {"promoted_student", "curriculum", "promoted"},
    "no_promotion": {"trained_teacher", "curriculum"},
    # outer steps without
    "absolute_zero_teacher": {"curriculum"},
    "intrinsic_teacher": {"curriculum"},
    "r_zero_teacher": {"curriculum"},
    "triangle_teacher": {"curriculum"},
    # from a finished run
    "correct_only": OF_SOAR | {"curriculum"},
    "grounded_teacher": OF_SOAR | {"curriculum"},
    "inference": OF_SOAR,
    "promotion_questions": OF_SOAR | {"curriculum"},
    "well_posed_only": OF_SOAR | {"curriculum"},
    # without outer steps
    "base_teacher": {"curriculum"},
    "curated": {"curriculum"},
    "curated_128": {"curriculum"},
    "curated_harp_128": {"curriculum"},
    "hard_only": {"hard_only"},
    "hard_only_large_group": {"hard_only"},
    "hard_only_long": {"hard_only"},
    "serl": {"self_play"},
}
WITH_STUDENTS = ("soar_math", "frozen_teacher", "no_promotion")
WITH_STEPS = (*WITH_STUDENTS, "absolute_zero_teacher", "intrinsic_teacher", "r_zero_teacher", "triangle_teacher")
FROM_SOAR = ("correct_only", "grounded_teacher", "inference", "promotion_questions", "well_posed_only")
# Few steps; a threshold below zero promotes in every step.
SMALL = (
    "--config.promotion.rule=moving_average_literal",  # promotes also what gained nothing
    "--config.promotion.threshold=-1.0",
    "--config.promotion.window=1",
    "--config.final.num_steps=4",
    "--config.curriculum.warm_start_steps=2",
    "--config.curriculum.num_questions=8",
    "--config.curriculum.levels=(3,)",
    "--config.self_play.questions_per_episode=4",
    "--config.self_play.label_samples=4",
    "--config.self_play.agreement=(0.0,1.0)",
)


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_method_is_tested():
    assert POLICIES.keys() | FOR_LANGUAGE_MODELS == METHODS


FAST = ("soar_math", "grounded_teacher")  # of `make test`


def overrides(method, soar):
    """The flags of a method's tiny run; `soar` is the workdir of a finished run."""
    if method in FROM_SOAR:
        return (*SMALL, "--config.seed=1", f"--config.source_run={soar}", "--config.num_outer_steps=0")
    rule = ("--config.promotion.rule=never",) if method == "no_promotion" else ()  # its own again
    return (*SMALL, *rule, f"--config.num_outer_steps={2 if method in WITH_STEPS else 0}")


@pytest.mark.parametrize(
    "method", [method if method in FAST else pytest.param(method, marks=pytest.mark.slow) for method in POLICIES]
)
def test_a_method_runs_to_its_tested_policies(whole_run, tmp_path, method):
    workdir = tmp_path / "run"
    code, _, err = run_tiny(workdir, *overrides(method, whole_run[0]), config=f"configs/{method}.py")
    assert code == 0, err
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["method"] == method
    assert set(summary["policies"]) == {"base"} | POLICIES[method]
    for name, policy in summary["policies"].items():
        result = json.loads((workdir / "results" / f"{name}.json").read_text())
        for test in ("hard_test", "transfer"):
            counts = result["tests"][test]["num_correct"]
            assert len(counts) == policy["num_replicas"]
            assert all(len(row) == policy[test]["num_problems"] for row in counts)
            mean = sum(map(sum, counts)) / (len(counts) * len(counts[0]) * result["tests"][test]["num_samples"])
            assert policy[test]["pass@1"] == pytest.approx(mean)
        if name not in OF_SOAR | {"base"}:
            assert policy["student_steps"] == 4
            assert [row["student_steps"] for row in result["curve"]][-1] == 4
    trained = 2 * 2 * 2 if method in WITH_STUDENTS else 0  # outer steps x students x inner steps
    students = POLICIES[method] - OF_SOAR
    fresh = sum(4 - 2 * summary["num_promotions"] if name == "promoted" else 4 for name in students)
    assert summary["total_student_steps"] == trained + 2 * fresh
    questions = read_lines(workdir / "curriculum.jsonl") if (workdir / "curriculum.jsonl").exists() else []
    assert bool(questions) == (students != {"hard_only"} and bool(students))
    if method.startswith("curated"):
        assert all(row["right"] and row["well_posed"] for row in questions)
    if method.startswith("curated_"):
        assert len(questions) == 128
    if method in FROM_SOAR:
        check_is_from(workdir, whole_run[0])


def check_is_from(workdir, soar):
    """A run from a finished one has its hard problems and its policies' results, and makes no outer step."""
    ours, theirs = (json.loads((run / "summary.json").read_text()) for run in (workdir, soar))
    assert ours["config"]["source_run"] == str(soar)
    assert (ours["outer_steps"], ours["num_promotions"]) == (0, theirs["num_promotions"])
    assert (workdir / "hard_subset.jsonl").read_text() == (soar / "hard_subset.jsonl").read_text()
    assert not (workdir / "metrics.jsonl").exists()
    for name in ("base", *OF_SOAR):
        ours, theirs = (json.loads((run / "results" / f"{name}.json").read_text()) for run in (workdir, soar))
        assert ours["tests"] == theirs["tests"]
        assert ours["student_steps"] == theirs["student_steps"]


@pytest.mark.slow
def test_a_finished_run_on_other_problems(whole_run, tmp_path):
    """As OlympiadBench in the paper: hard problems of its own, no transfer beside it, any seed."""
    other = ("--config.problems.seed=9", "--config.seed=3", "--config.transfer.source=none")
    flags = (*overrides("promotion_questions", whole_run[0]), *other, "--config.curriculum.schedule=mixed")
    code, out, err = run_tiny(tmp_path / "run", *flags, config="configs/promotion_questions.py")
    assert code == 0, err
    assert f"starting from {whole_run[0]} after its outer step 3, with 1 promotions" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert set(summary["policies"]) == {"base", "promoted_student", "trained_teacher", "curriculum"}
    assert all("transfer" not in row for row in summary["policies"].values())
    assert not (tmp_path / "run" / "transfer.jsonl").exists()
    hard, theirs = (read_lines(run / "hard_subset.jsonl")[1:] for run in (tmp_path / "run", whole_run[0]))
    assert {row["id"] for row in hard} != {row["id"] for row in theirs}


@pytest.mark.slow
def test_a_run_that_starts_from_another_one_resumes(whole_run, tmp_path):
    workdir, flags = tmp_path / "run", overrides("promotion_questions", whole_run[0])

    def run():
        code, _, err = run_tiny(workdir, *flags, config="configs/promotion_questions.py")
        assert code == 0, err
        return json.loads((workdir / "summary.json").read_text())["policies"]

    first = run()
    (workdir / "summary.json").unlink()
    (workdir / "results" / "curriculum.json").unlink()
    assert run() == first


def test_a_source_with_other_hard_problems_is_refused(whole_run, tmp_path):
    """The same problems, but other samples: its teacher may have been rewarded on problems that are tested here."""
    flags = (*overrides("inference", whole_run[0]), "--config.hard_subset.num_samples=4")
    code, _, err = run_tiny(tmp_path / "run", *flags, config="configs/inference.py")
    assert code == 2
    assert "hard test problems are hard train problems of" in the_error(err)


# As the scales of language models do it, with the embedded model: adapters, several students a dataset, chat, subjects,
# one pool of questions, answers compared as mathematics.
AS_LANGUAGE_MODELS = (
    "--config.seed=0",  # whose students move apart
    "--config.num_outer_steps=1",
    "--config.outer.students_per_dataset=2",
    "--config.inner.students_at_once=2",
    "--config.lora.rank=2",
    "--config.student.learning_rate=0.01",
    "--config.model.int8_cache",
    "--config.sampling.population_batch=2",
    "--config.mesh.population=1",
    "--config.prompts.chat",
    "--config.prompts.teacher={subject}",
    "--config.prompts.subjects=('teacher','teacher .')",
    "--config.grading.equivalence=math",
    "--config.curriculum.schedule=mixed",
    "--config.student.completion_buckets=3",
    "--config.student.remat=layers",
    "--config.promotion.student=step_best",
    "--config.final.students=('curriculum','hard_only')",
)


@pytest.mark.slow
def test_a_run_as_those_of_language_models(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(EMBEDDED_FOLDER, model)
    (model / "chat_template.jinja").write_text("{% for turn in messages %}{{ turn.content }}{% endfor %}")
    workdir = tmp_path / "run"
    code, _, err = run_tiny(workdir, *SMALL, *AS_LANGUAGE_MODELS, f"--config.model.source={model}")
    assert code == 0, err
    (row,) = read_lines(workdir / "metrics.jsonl")
    assert row["any_reward"]
    assert row["teacher_grad_norm"] > 0
    assert row["promoted"]
    summary = json.loads((workdir / "summary.json").read_text())
    assert set(summary["policies"]) == {"base", "promoted_student", "trained_teacher", "curriculum", "hard_only"}
    assert summary["total_student_steps"] == 2 * 2 * 2 + 2 * 2 * 4  # students and steps; final students of two kinds
    asked = read_lines(workdir / "ledger.jsonl")
    assert all(0 <= row["solve_rate"] <= 1 for row in asked if row["solve_rate"] is not None)


def test_a_search_ends_when_its_goal_is_reached(tmp_path):
    flags = ("--config.num_outer_steps=3", "--config.outer.stop_at_validation=0.01", "--config.seed=2")
    code, _, err = run_tiny(tmp_path, *SMALL, *flags, config="configs/frozen_teacher.py")
    assert code == 0, err
    rows = read_lines(tmp_path / "metrics.jsonl")
    assert len(rows) < 3
    assert [row["validation_accuracy"] >= 0.01 for row in rows] == [False] * (len(rows) - 1) + [True]
    assert json.loads((tmp_path / "summary.json").read_text())["outer_steps"] == len(rows)


def test_finished_results_are_not_made_again(tmp_path):
    workdir = tmp_path / "run"

    def run():
        code, _, err = run_tiny(workdir, *SMALL, "--config.num_outer_steps=0", config="configs/base_teacher.py")
        assert code == 0, err

    run()
    (workdir / "summary.json").unlink()
    (workdir / "results" / "curriculum.json").unlink()
    kept = (workdir / "results" / "base.json").stat().st_mtime_ns
    run()
    assert (workdir / "results" / "base.json").stat().st_mtime_ns == kept
    assert (workdir / "results" / "curriculum.json").exists()


@pytest.mark.slow
def test_questions_are_judged_without_the_world(tmp_path):
    judge = ("--config.analysis.judge=self_consistency", "--config.analysis.judge_questions=3")
    code, _, err = run_tiny(tmp_path, *SMALL, *judge, "--config.num_outer_steps=0", config="configs/curated.py")
    assert code == 0, err
    rows = read_lines(tmp_path / "judgements.jsonl")
    assert len(rows) == 3
    assert {row["judge"] for row in rows} == {"self_consistency"}
    asked = {row["question"] for row in read_lines(tmp_path / "curriculum.jsonl")}
    assert all(row["question"] in asked and isinstance(row["well_posed"], bool) for row in rows)
