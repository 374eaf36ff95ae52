"""Scores of runs: for each method, policy and seed, pass@k of every problem."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from soar_jax.evaluation.pass_at_k import pass_at_k
from soar_jax.evaluation.statistics import MeanInterval, mean_interval, seed_sd
from soar_jax.report.read import Run

POLICY_NAMES = {
    "base": "base model",
    "promoted_student": "PS",
    "trained_teacher": "trained teacher",
    "promoted": "PS + hard train",
    "curriculum": "PQ",
    "true_answers": "PQ, true answers",
    "random_answers": "PQ, random answers",
    "hard_only": "Hard-Only",
    "self_play": "SeRL",
}
METHOD_NAMES = {  # in the order of the paper's tables
    "hard_only": "Hard-Only",
    "hard_only_large_group": "Hard-Only, larger group",
    "hard_only_long": "Hard-Only, more steps",
    "serl": "SeRL",
    "base_teacher": "Base-T",
    "intrinsic_teacher": "Intrinsic-T",
    "triangle_teacher": "triangle teacher",
    "r_zero_teacher": "R-Zero teacher",
    "absolute_zero_teacher": "Absolute-Zero teacher",
    "frozen_teacher": "frozen teacher",
    "no_promotion": "Grounded-T, no promotion",
    "grounded_teacher": "Grounded-T",
    "two_turn_teacher": "SOAR, two turns",
    "soar_math": "SOAR",
    "promotion_questions": "SOAR's questions",
    "correct_only": "SOAR's questions, right ones only",
    "well_posed_only": "SOAR's questions, well-posed ones only",
    "inference": "SOAR, inference",
    "curated_harp_128": "curated, 128 of HARP",
    "curated_128": "curated, 128 of MATH",
    "curated": "curated (upper bound)",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ only in their seed."""

    method: str
    variant: str
    runs: tuple[Run, ...]  # by seed

    @property
    def name(self) -> str:
        return ", ".join(filter(None, [METHOD_NAMES.get(self.method, self.method), self.variant]))

    def policies(self) -> list[str]:
        """Policies that any of the runs has tested."""
        known = list(POLICY_NAMES)
        names = {name for run in self.runs for name in run.results}
        return sorted(names, key=lambda name: known.index(name) if name in known else len(known))

    def row_name(self, policy: str) -> str:
        """Method and policy, for display; the method alone where it has no other policy."""
        is_only_policy = policy in ("curriculum", "self_play") and self.policies() in ([policy], ["base", policy])
        name = POLICY_NAMES.get(policy, policy)
        return self.name if is_only_policy or name in self.name else f"{self.name}: {name}"


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups the counted runs by method and variant, in the order of the paper's tables."""
    grouped: dict[tuple[str, str], list[Run]] = {}
    for run in sorted((run for run in runs if not run.is_repeated), key=lambda run: run.seeds):
        grouped.setdefault((run.method, run.variant), []).append(run)
    order = {method: index for index, method in enumerate(METHOD_NAMES)}
    keys = sorted(grouped, key=lambda key: (order.get(key[0], len(order)), key))
    return [Group(method=method, variant=variant, runs=tuple(grouped[method, variant])) for method, variant in keys]


def comparable(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Groups to compare, by SOAR variant: those of the variant, and those of methods with a single variant."""
    soar = [group.variant for group in groups if group.method == "soar_math" and any(run.summary for run in group.runs)]
    only = [group for group in groups if [other.method for other in groups].count(group.method) == 1]
    return {
        variant: [group for group in groups if group.variant == variant or group in only] for variant in soar or [""]
    }


def ends(ks: Sequence[int]) -> tuple[int, ...]:
    """The smallest and the largest k."""
    return tuple(sorted({min(ks), max(ks)}))


def find(groups: Sequence[Group], method: str) -> Group | None:
    """The first group of a method with a finished run."""
    return next((group for group in groups if group.method == method and any(run.summary for run in group.runs)), None)


Seeds = tuple[int, int]  # the teacher's and the run's own, see `Run.seeds`


def seed_name(seeds: Seeds) -> str:
    """Names the seeds of a run."""
    teacher, own = seeds
    return f"seed {own}" if teacher == own else f"seed {own} of teacher seed {teacher}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """Pass@k of one policy in percent, averaged over replicas."""

    by_seed: dict[Seeds, np.ndarray]  # [problems] float64
    ids: dict[Seeds, tuple[str, ...]]  # of each seed's problems
    by_replica: dict[Seeds, np.ndarray]  # [replicas] float64, means over problems
    num_solved: dict[Seeds, int]  # problems that any sample of any replica solved, at any test

    def interval(self) -> MeanInterval:
        """Mean with its interval, and the SD over all students."""
        interval = mean_interval(list(self.by_seed.values()))
        return dataclasses.replace(interval, sd=seed_sd(list(self.by_replica.values())))


def scores(group: Group | None, policy: str, test: str, k: int) -> Scores | None:
    """Pass@k of a policy on a test set; None if no run has it."""
    found = Scores(by_seed={}, ids={}, by_replica={}, num_solved={})
    for run in group.runs if group else ():
        result = run.results.get(policy, {})
        counts = result.get("tests", {}).get(test)
        if counts and k <= counts["num_samples"] and counts["ids"]:
            num_correct, seeds = np.array(counts["num_correct"]), run.seeds  # [tests * replicas, problems]
            values = 100 * pass_at_k(num_correct, counts["num_samples"], k)
            found.by_seed[seeds], found.ids[seeds] = values.mean(axis=0), tuple(counts["ids"])
            found.by_replica[seeds] = _by_replica(values.mean(axis=1), result.get("num_replicas", len(values)))
            found.num_solved[seeds] = int(num_correct.any(axis=0).sum())
    return found if found.by_seed else None


def _by_replica(values: np.ndarray, num_replicas: int) -> np.ndarray:
    """Averages [tests * replicas], all replicas of a test together, over the tests; without replicas all are one."""
    return values.reshape(-1, num_replicas).mean(axis=0) if len(values) % num_replicas == 0 else values


def paired(*several: Scores) -> list[list[np.ndarray]]:
    """Values [scores][seeds] of the seeds that all scores have, with the same problems."""
    first, *others = several
    seeds = [seed for seed, ids in first.ids.items() if all(other.ids.get(seed) == ids for other in others)]
    return [[each.by_seed[seed] for seed in seeds] for each in several]


def compare(
    a: Scores | None, b: Scores | None, measure: Callable[..., MeanInterval]
) -> tuple[MeanInterval, MeanInterval, MeanInterval] | None:
    """Means of a and of b and a paired measure, over the seeds of `paired`; None if there are none."""
    ours, theirs = paired(a, b) if a and b else ([], [])
    return (mean_interval(ours), mean_interval(theirs), measure(ours, theirs)) if ours else None
