"""The paper's figures (arXiv 2601.18778, version 3): percent of hard (fail@128) test problems, mean and SD over seeds.

`RESULTS` has a table per benchmark, by method and policy with the names of this project. Where a row depends on more,
its key has a third entry: the benchmark that transferred questions come from, or a student step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from soar_jax.problems.paper_pools import POOLS

MATH, HARP, OLYMPIAD = "math", "harp", "olympiadbench"
MATH_8B = "math, Llama-3.1-8B-Instruct"  # all others are of Llama-3.2-3B-Instruct
PASS_AT = (1, 4, 8, 16, 32)
NUM_SAMPLED = 128  # questions that the paper samples from a teacher
ANY = ""  # of a key's method: the base model is the same in all runs
SERL_STEPS = (50, 100)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanSd:
    """A mean and its standard deviation."""

    mean: float
    sd: float


K = TypeVar("K")
PassAt = Mapping[int, MeanSd]  # by k
# Policies of this project that stand for one row, by the row's method and policy.
_SAME = {
    ("promotion_questions", "curriculum"): ("soar_math", "curriculum"),
    ("inference", "promoted_student"): ("soar_math", "promoted_student"),
    ("inference", "trained_teacher"): ("soar_math", "trained_teacher"),
    ("grounded_teacher", "promoted_student"): ("soar_math", "promoted_student"),
    ("grounded_teacher", "trained_teacher"): ("soar_math", "trained_teacher"),
    ("promotion_questions", "promoted_student"): ("soar_math", "promoted_student"),
    ("promotion_questions", "trained_teacher"): ("soar_math", "trained_teacher"),
    ("soar_math", "hard_only"): ("hard_only", "hard_only"),
}


def _by_k(rows: Mapping[K, Sequence[float]]) -> dict[K, PassAt]:
    """Turns rows of means and SDs, in turn at each k of `PASS_AT`, into figures by k."""

    def figures(numbers: Sequence[float]) -> PassAt:
        pairs = zip(PASS_AT, numbers[::2], numbers[1::2], strict=True)
        return {k: MeanSd(mean=mean, sd=sd) for k, mean, sd in pairs}

    return {row: figures(numbers) for row, numbers in rows.items()}


RESULTS: dict[str, dict[tuple[str, ...], PassAt]] = {
    MATH: _by_k(
        {  # Table 4
            (ANY, "base"): (0.3, 0.1, 1.0, 0.2, 2.0, 0.4, 3.9, 0.8, 7.5, 1.3),
            ("hard_only", "hard_only"): (0.5, 0.1, 1.7, 0.4, 3.2, 0.8, 5.7, 1.5, 9.6, 2.6),
            ("hard_only_large_group", "hard_only"): (1.4, 1.0, 3.9, 2.6, 6.1, 3.9, 8.9, 5.5, 12.4, 7.4),
            ("serl", "self_play", "step 50"): (0.5, 0.1, 1.9, 0.3, 3.7, 0.4, 6.9, 0.7, 12.2, 0.7),
            ("serl", "self_play", "step 100"): (0.5, 0.0, 2.1, 0.0, 4.0, 0.0, 7.3, 0.2, 12.4, 1.0),
            ("soar_math", "curriculum"): (1.7, 1.0, 5.3, 2.6, 8.5, 3.7, 13.0, 4.8, 18.9, 5.3),
            ("soar_math", "promoted_student"): (1.0, 0.2, 3.8, 0.6, 6.8, 1.1, 11.5, 1.6, 18.1, 2.4),
            ("grounded_teacher", "curriculum"): (1.6, 0.5, 5.1, 1.4, 8.4, 2.1, 13.1, 2.9, 19.1, 3.7),
            ("intrinsic_teacher", "curriculum"): (1.0, 0.6, 3.3, 2.1, 5.7, 3.5, 9.2, 5.3, 14.1, 7.5),
            ("soar_math", "trained_teacher"): (0.3, 0.0, 1.1, 0.2, 2.2, 0.3, 4.4, 0.6, 8.3, 1.1),
            ("curated_harp_128", "curriculum"): (2.4, 1.0, 7.2, 2.4, 11.3, 3.1, 16.5, 3.6, 23.0, 3.9),
            ("curated_128", "curriculum"): (2.1, 0.0, 6.6, 0.1, 10.5, 0.3, 15.7, 0.5, 21.8, 0.9),
            ("curated", "curriculum"): (2.7, 0.2, 7.6, 0.7, 11.5, 1.2, 16.4, 1.8, 22.0, 2.4),
        }
    ),
    HARP: _by_k(
        {  # Table 5
            (ANY, "base"): (0.2, 0.0, 0.9, 0.0, 1.7, 0.0, 3.4, 0.0, 6.4, 0.0),
            ("hard_only", "hard_only"): (0.4, 0.1, 1.4, 0.2, 2.6, 0.4, 4.7, 0.6, 8.2, 1.0),
            ("serl", "self_play", "step 50"): (0.4, 0.0, 1.4, 0.1, 2.7, 0.3, 5.3, 0.5, 9.7, 0.9),
            ("serl", "self_play", "step 100"): (0.5, 0.0, 1.9, 0.1, 3.6, 0.2, 6.5, 0.3, 10.9, 0.4),
            ("soar_math", "curriculum"): (0.7, 0.3, 2.5, 0.8, 4.5, 1.3, 7.7, 1.7, 12.3, 2.0),
            ("soar_math", "promoted_student"): (0.6, 0.1, 2.1, 0.3, 3.9, 0.6, 7.0, 0.9, 11.8, 1.2),
            ("grounded_teacher", "curriculum"): (0.5, 0.2, 2.0, 0.5, 3.8, 0.9, 6.7, 1.3, 11.2, 1.7),
            ("intrinsic_teacher", "curriculum"): (0.4, 0.1, 1.6, 0.5, 3.1, 0.8, 5.6, 1.4, 9.6, 2.1),
            ("soar_math", "trained_teacher"): (0.2, 0.0, 0.9, 0.1, 1.9, 0.2, 3.6, 0.4, 6.8, 0.7),
            ("curated_harp_128", "curriculum"): (0.4, 0.0, 1.4, 0.1, 2.8, 0.2, 5.0, 0.5, 8.7, 1.1),
            ("curated_128", "curriculum"): (0.6, 0.1, 2.1, 0.4, 4.0, 0.7, 7.1, 0.9, 11.9, 0.9),
            ("curated", "curriculum"): (1.7, 0.2, 5.1, 0.4, 8.1, 0.4, 11.7, 0.3, 16.2, 0.4),
        }
    ),
    OLYMPIAD: _by_k(
        {  # Table 6, at student step 50
            (ANY, "base"): (0.2, 0.0, 0.8, 0.1, 1.6, 0.3, 3.1, 0.5, 5.8, 1.0),
            ("hard_only", "hard_only"): (0.3, 0.1, 1.1, 0.3, 2.1, 0.6, 3.9, 1.3, 6.9, 2.7),
            ("soar_math", "curriculum", MATH): (0.5, 0.1, 1.9, 0.5, 3.6, 0.9, 6.4, 1.6, 10.6, 2.7),
            ("soar_math", "curriculum", HARP): (0.5, 0.1, 2.0, 0.5, 3.8, 1.0, 7.0, 1.8, 12.0, 3.0),
            ("soar_math", "promoted_student", MATH): (0.6, 0.1, 2.1, 0.5, 3.7, 0.8, 6.2, 1.3, 9.9, 2.2),
            ("soar_math", "promoted_student", HARP): (0.5, 0.1, 2.0, 0.4, 3.8, 0.7, 6.9, 1.1, 11.7, 1.6),
            ("grounded_teacher", "curriculum", MATH): (0.4, 0.2, 1.6, 0.8, 2.9, 1.4, 5.3, 2.4, 9.0, 4.0),
            ("grounded_teacher", "curriculum", HARP): (0.5, 0.2, 1.9, 0.6, 3.6, 1.1, 6.5, 1.8, 11.1, 2.9),
            ("intrinsic_teacher", "curriculum"): (0.4, 0.3, 1.7, 1.2, 3.1, 2.0, 5.5, 3.4, 9.1, 5.2),
            ("curated_harp_128", "curriculum"): (0.5, 0.1, 2.0, 0.2, 3.6, 0.4, 6.5, 0.8, 10.6, 1.7),
            ("curated_128", "curriculum"): (1.0, 0.1, 3.4, 0.1, 5.9, 0.1, 9.6, 0.4, 14.6, 1.4),
            ("curated", "curriculum"): (0.9, 0.0, 3.2, 0.1, 5.6, 0.3, 8.8, 0.7, 13.1, 0.9),
        }
    ),
    MATH_8B: _by_k(
        {  # Table 9
            (ANY, "base"): (0.3, 0.1, 1.0, 0.2, 2.0, 0.4, 3.9, 0.7, 7.3, 1.1),
            ("hard_only", "hard_only"): (0.4, 0.1, 1.5, 0.8, 2.7, 1.0, 5.0, 1.8, 9.1, 3.2),
            ("grounded_teacher", "curriculum"): (0.6, 0.1, 2.4, 0.5, 4.6, 1.0, 8.2, 1.7, 13.7, 2.7),
        }
    ),
}
# Table 8, on MATH: by the questions of a dataset in the outer loop, and of those sampled from the two-turn teacher.
TWO_TURN: dict[tuple[int, int], PassAt] = _by_k(
    {
        (32, 32): (0.7, 0.6, 2.3, 1.9, 4.2, 3.1, 7.1, 4.8, 11.4, 6.7),
        (32, 64): (0.5, 0.3, 1.9, 0.9, 3.6, 1.6, 6.4, 2.7, 11.0, 4.0),
        (32, 128): (0.7, 0.7, 2.3, 2.0, 4.0, 3.3, 6.8, 4.8, 11.1, 7.1),
        (64, 32): (0.4, 0.1, 1.6, 0.4, 3.0, 0.8, 5.2, 1.4, 8.6, 2.5),
        (64, 64): (0.4, 0.0, 1.5, 0.2, 2.9, 0.3, 5.3, 0.5, 9.4, 0.8),
        (64, 128): (0.4, 0.1, 1.6, 0.4, 2.8, 0.6, 4.8, 0.9, 8.0, 1.3),
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Questions:
    """Judgements of questions, in percent (Table 7)."""

    well_posed: float
    right: float
    arithmetic: float
    logic: float
    ill_posed: float
    ambiguous: float
    num_questions: int


_BASE_T, _INTRINSIC_T = ("base_teacher", "curriculum"), ("intrinsic_teacher", "curriculum")
_GROUNDED_T, _PQ = ("grounded_teacher", "curriculum"), ("soar_math", "curriculum")
QUESTIONS: dict[tuple[str, str], Questions] = {
    _BASE_T: Questions(
        well_posed=53.6, right=23.2, arithmetic=23.7, logic=5.7, ill_posed=4.7, ambiguous=42.4, num_questions=384
    ),
    _INTRINSIC_T: Questions(
        well_posed=63.5, right=55.5, arithmetic=5.7, logic=2.3, ill_posed=2.9, ambiguous=33.6, num_questions=384
    ),
    _GROUNDED_T: Questions(
        well_posed=70.0, right=36.5, arithmetic=29.0, logic=6.9, ill_posed=8.2, ambiguous=21.3, num_questions=375
    ),
    _PQ: Questions(
        well_posed=64.6, right=32.8, arithmetic=25.0, logic=6.5, ill_posed=4.7, ambiguous=31.3, num_questions=384
    ),
}
# Table 1: Vendi scores of sets that are brought to `VENDI_SIZE` questions. Of Grounded-T they are by benchmark.
VENDI_SIZE, VENDI_DRAWS = 128, 100
VENDI: dict[tuple[str, str], dict[str, MeanSd]] = {
    _BASE_T: {ANY: MeanSd(mean=34.91, sd=1.74)},
    _GROUNDED_T: {HARP: MeanSd(mean=34.66, sd=1.74), MATH: MeanSd(mean=31.99, sd=1.54)},
    _PQ: {ANY: MeanSd(mean=28.33, sd=1.55)},
    _INTRINSIC_T: {ANY: MeanSd(mean=10.82, sd=1.01)},
}

# Findings: SOAR's pass@k over Hard-Only's, by k, and its gain over that of the full MATH train set.
LEAST_GAIN = {MATH: {1: 4.0, 32: 2.0}, HARP: {1: 2.0, 32: 1.5}}
SHARE_OF_CURATED = {MATH: 0.75, HARP: 0.5}

# GPU-hours (B.9): 4 nodes of 8 GPUs for 48 to 60 hours a run of SOAR; one node for 12 hours a fresh student.
SEARCH_GPU_HOURS = (4 * 8 * 48, 4 * 8 * 60)
STUDENT_GPU_HOURS = 8 * 12

# One run on HARP (appendix E, Figures 6 and 19).
STEP_REWARDS = (-0.04, 0.02)  # axis of the moving average of a step's reward (Figure 19)
RISES = ((18, 27), (80, 86))  # outer steps of the rises that end in promotions
BASELINE_ACCURACY = 3.0  # top of the axis of the baseline student's greedy accuracy on hard train, % (Figure 6)


def vendi_text(method: str) -> str:
    """Vendi scores of a method's questions, `mean (SD)`, with the benchmark where there are several."""
    scores = VENDI[method, "curriculum"].items()
    return ", ".join(f"{score.mean:.2f} ({score.sd:.2f}) {name.upper()}".strip() for name, score in scores)


def benchmark(config: Mapping[str, Any]) -> str:
    """The benchmark whose table a run's results stand beside: its own, or MATH where the paper has not that one."""
    name = str(config.get("problems", {}).get("source", MATH))
    if name == MATH and "8b" in str(config.get("model", {}).get("source", "")).lower():
        return MATH_8B
    return name if name in (HARP, OLYMPIAD) else MATH


def results(
    method: str, policy: str, *, config: Mapping[str, Any], source: Mapping[str, Any], steps: int | None = None
) -> PassAt | None:
    """Pass@k of a method's policy in the paper, by k; None where the paper has no such row.

    Args:
      config: the run's saved config.
      source: the saved config of its `source_run`; empty without one.
      steps: student steps of the policy.
    """
    found = _SAME.get((method, policy), (method, policy))
    table = benchmark(config)
    rows = RESULTS[table]
    if policy == "base":
        return rows.get((ANY, policy))
    if policy == "curriculum" and method in (_GROUNDED_T[0], _INTRINSIC_T[0]):
        num_questions = config.get("curriculum", {}).get("num_questions", NUM_SAMPLED)
        teacher = source or config
        if teacher.get("teacher", {}).get("turns", 1) == 2 and method == _GROUNDED_T[0]:
            per_dataset = teacher.get("outer", {}).get("questions_per_dataset")
            return TWO_TURN.get((per_dataset, num_questions)) if table == MATH else None
        if num_questions != NUM_SAMPLED and config.get("problems", {}).get("source", MATH) in POOLS:
            return None
    if method == "serl":
        first, last = SERL_STEPS
        return rows.get((*found, f"step {first if steps == first else last}"))
    origin = str(source.get("problems", {}).get("source", "")) if table == OLYMPIAD else ""
    return rows.get((*found, origin)) or rows.get(found)
