"""The paper's protocol whole, by the config of its language models, on a tiny model that writes its formats."""

import json

import pytest

from soar_jax.config.methods import METHODS
from tests.experiments.markov_model import write_markov_model, write_problems
from tests.experiments.runs import run_program

pytestmark = pytest.mark.slow

SIZES = {
    "num_outer_steps": 2,
    "model.dtype": "float32",
    "outer.num_datasets": 2,
    "outer.questions_per_dataset": 2,
    "outer.students_per_dataset": 2,
    "outer.num_reward_questions": 4,
    "inner.num_steps": 1,
    "inner.steps_per_promotion": 1,
    "inner.max_steps": 2,
    "inner.questions_per_step": 2,
    "inner.group_size": 4,
    "inner.students_at_once": 0,
    "hard_subset.num_candidates": 24,
    "hard_subset.num_samples": 2,
    "hard_subset.samples_per_round": 2,
    "promotion.rule": "moving_average_literal",  # promotes also what gained nothing
    "promotion.threshold": -1.0,
    "promotion.window": 1,
    "prompts.bucket_tokens": (256,),
    "student.max_completion_tokens": 6,
    "student.completion_buckets": 1,
    "student.learning_rate": 1e-2,
    "teacher.max_completion_tokens": 16,
    "teacher.solver_samples": 4,
    "curriculum.num_questions": 4,
    "curriculum.warm_start_steps": 2,
    "curriculum.levels": (),
    "final.num_steps": 4,
    "final.num_replicas": 2,
    "final.test_every": 2,
    "final.report_step": 2,
    "final.report_steps": 2,
    "final.plateau_smoothing": 1,
    "evaluation.problems_per_call": 8,
    "analysis.judge_questions": 4,
    "analysis.judge_samples": 2,
    "analysis.vendi_size": 4,
    "analysis.vendi_draws": 5,
    "mesh.population": -1,
    "mesh.fsdp": 1,
    "mesh.tensor": 1,
    "sampling.max_slots": 8,
    "problems.source": "jsonl",
    "problems.fields.question": "question",
    "problems.fields.answer": "answer",
    "self_play.questions_per_episode": 2,
    "self_play.label_samples": 4,
    "self_play.agreement": (0.0, 1.0),
}
FROM_SOAR = ("correct_only", "grounded_teacher", "inference", "promotion_questions", "well_posed_only")
VOTES = ("intrinsic_teacher", "triangle_teacher", "r_zero_teacher", "absolute_zero_teacher")
WITH_STEPS = ("no_promotion", "two_turn_teacher", "frozen_teacher", *VOTES)
HARD_ONLY = ("hard_only", "hard_only_large_group", "hard_only_long")
OTHERS = ("base_teacher", *HARD_ONLY, "serl", "curated", "curated_128", "curated_harp_128")


class Runs:
    """Starts methods on one model and its problems."""

    def __init__(self, folder):
        self.folder = folder
        self.model = write_markov_model(folder / "model")
        self.problems = write_problems(folder / "problems.jsonl", 0, 24)
        self.curated = write_problems(folder / "curated.jsonl", 1, 160)

    def __call__(self, method, **changes):
        workdir = self.folder / method
        files = {"model.source": self.model, "problems.path": self.problems}
        files |= {"curriculum.curated_source": "jsonl", "curriculum.curated_path": self.curated}
        files |= {"promotion.rule": "never"} if method == "no_promotion" else {}  # its own again
        flags = (f"--config.{key}={value}" for key, value in (SIZES | files | changes).items())
        code, _, err = run_program("run", f"--config=configs/{method}.py:llama3.2-3b", *flags, f"--workdir={workdir}")
        assert code == 0, err
        return workdir, json.loads((workdir / "summary.json").read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("paper"))


@pytest.fixture(scope="module")
def soar(runs):
    workdir, summary = runs("soar_math")
    first, *others = rows(workdir, "curriculum.jsonl")  # so weak a judge calls none right
    text = "".join(json.dumps(row) + "\n" for row in (first | {"right": True}, *others))
    (workdir / "curriculum.jsonl").write_text(text)
    return workdir, summary


def rows(workdir, name):
    return [json.loads(line) for line in (workdir / name).read_text().splitlines()]


def test_every_method_is_tried():
    assert {"soar_math", *FROM_SOAR, *WITH_STEPS, *OTHERS} == set(METHODS)


def test_soar_follows_the_protocol(soar):
    workdir, summary = soar
    steps = rows(workdir, "metrics.jsonl")
    assert [step["inner_steps"] for step in steps] == [1, 2]  # the first step promotes
    assert all(0 < step["valid_share"] <= 1 for step in steps)
    assert any(step["valid_share"] < 1 for step in steps)  # some were sampled again
    written = rows(workdir, "ledger.jsonl")
    assert len(written) == 2 * 4
    assert all(row["question"] and row["answer"] for row in written)
    assert steps[0]["inner_reward_first"] > steps[0]["inner_right_first"] >= 0  # graded: boxes have a reward too
    assert (summary["hard_subset"]["validation"], summary["num_promotions"]) == (0, 2)
    assert set(summary["policies"]) == {"base", "promoted_student", "trained_teacher", "curriculum"}
    result = json.loads((workdir / "results" / "curriculum.json").read_text())
    assert [row["stage"] for row in result["curve"]] == ["start", "warm start", "hard train"]
    assert result["tested_at"]
    assert all("transfer" not in policy for policy in summary["policies"].values())


@pytest.mark.parametrize("method", [*WITH_STEPS, *OTHERS])
def test_a_method_runs(runs, method):
    _, summary = runs(method, **({} if method in WITH_STEPS else {"num_outer_steps": 0}))
    assert summary["outer_steps"] == (2 if method in WITH_STEPS else 0)
    assert {"curriculum", "hard_only", "self_play"} & set(summary["policies"])


@pytest.mark.parametrize("method", FROM_SOAR)
def test_a_method_starts_from_the_run(runs, soar, method):
    workdir, summary = runs(method, num_outer_steps=0, source_run=soar[0])
    assert {"promoted_student", "trained_teacher"} <= set(summary["policies"])
    theirs, ours = (json.loads((run / "results" / "base.json").read_text())["tests"] for run in (soar[0], workdir))
    assert ours == theirs
