"""The paper's findings, judged on these runs: plain sentences, each with its intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from soar_jax.evaluation.statistics import Interval, mean_interval, paired_difference, paired_ratio
from soar_jax.report import paper
from soar_jax.report.read import Run
from soar_jax.report.scores import Group, Scores, comparable, compare, ends, find, paired, scores
from soar_jax.report.tables import text

LAST_STEPS = 3  # of the outer loop, that a teacher's diversity at the end is averaged over
_CONTROLS = (
    ("intrinsic_teacher", "curriculum"),
    ("frozen_teacher", "curriculum"),
    ("frozen_teacher", "promoted_student"),
)
MIN_SEEDS = 3  # below, no finding is judged
STAYS = 0.1  # relative change of diversity that counts as none
SAME_SIZE = 0.1  # relative difference up to which sets count as equally large


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A claim of the paper, and what these runs say to it."""

    title: str
    holds: bool | None  # None: these runs cannot say, for the most part since they are too few
    sentences: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """In two or three words."""
        return {True: "holds here", False: "does not hold here", None: "undecided"}[self.holds]


def judge(groups: Sequence[Group], ks: Sequence[int]) -> list[Finding]:
    """All findings, in the paper's order, of each of SOAR's variants.

    Args:
      ks: those that pass@k is known of.
    """
    variants = comparable(groups)
    judged = [(variant, finding) for variant, alike in variants.items() for finding in _judge(alike, ks)]
    if len(variants) == 1:
        return [finding for _, finding in judged]
    return [dataclasses.replace(finding, title=f"{finding.title} ({variant})") for variant, finding in judged]


def _judge(groups: Sequence[Group], ks: Sequence[int]) -> list[Finding]:
    return [
        _unlocks_learning(groups),
        _beats_controls(groups, *ends(ks)),
        _keeps_diversity(groups),
        _structure_over_answers(groups, min(ks)),
        _share_of_curated(groups, *ends(ks)),
    ]


def _unlocks_learning(groups: Sequence[Group]) -> Finding:
    """Finding 1: SOAR's PS and PQ against Hard-Only, at the paper's ks."""
    gains = " and ".join(f"{least:g}× the pass@{k}" for k, least in paper.LEAST_GAIN.items())
    title = f"1. SOAR unlocks learning: {gains} of Hard-Only"
    soar, hard = find(groups, "soar_math"), find(groups, "hard_only")
    sentences: list[str] = []
    holds: dict[tuple[str, int], bool | None] = {}
    for policy in ("promoted_student", "curriculum"):
        for k, least in paper.LEAST_GAIN.items():
            a, b = scores(soar, policy, test="hard_test", k=k), scores(hard, "hard_only", test="hard_test", k=k)
            if soar is None or a is None or b is None:
                continue
            ratio = compare(a, b, paired_ratio)
            if ratio is None:
                continue
            ours, theirs = map(mean_interval, paired(a, b))
            apart = ours.is_above(theirs)
            holds[policy, k] = _judged(apart and ratio.mean >= least, ratio.num_seeds)
            times = "infinitely many times" if np.isinf(ratio.mean) else f"{text(ratio)} times"
            sentences.append(
                f"{soar.row_name(policy)} solves {_percent(ours)} at pass@{k}, Hard-Only {_percent(theirs)}: {times} "
                f"as much, intervals {_apart(apart)} ({_seeds(ratio.num_seeds)})."
            )
    has_all = {k for _, k in holds} == set(paper.LEAST_GAIN)  # tests may have had fewer samples
    return Finding(title=title, holds=_all([*holds.values()]) if has_all else None, sentences=tuple(sentences))


def _beats_controls(groups: Sequence[Group], *ks: int) -> Finding:
    """Finding 2: grounded reward against intrinsic reward, and learning to teach against selection alone."""
    soar = find(groups, "soar_math")
    sentences: list[str] = []
    holds: list[bool | None] = []
    for method, policy in _CONTROLS:
        other = find(groups, method)
        for k in ks:
            a, b = scores(soar, policy, test="hard_test", k=k), scores(other, policy, test="hard_test", k=k)
            difference = compare(a, b, paired_difference) if a and b else None
            if soar is None or other is None or a is None or b is None or difference is None:
                continue
            ours, theirs = map(mean_interval, paired(a, b))
            apart = ours.is_above(theirs)
            holds.append(_judged(apart, difference.num_seeds))
            sentences.append(
                f"{soar.row_name(policy)} solves {_percent(ours)} at pass@{k}, {other.row_name(policy)} "
                f"{_percent(theirs)}: a difference of {text(difference)} points, intervals {_apart(apart)} "
                f"({_seeds(difference.num_seeds)})."
            )
    title = "2. Grounded reward beats intrinsic reward, and a teacher that learns beats one that does not"
    return Finding(title=title, holds=_all(holds), sentences=tuple(sentences))


def _keeps_diversity(groups: Sequence[Group]) -> Finding:
    """Finding 2, second part: Vendi scores at the end of the outer loop against its start."""
    sentences, changes, num_seeds = [], {}, []
    for method in ("soar_math", "intrinsic_teacher"):
        group = find(groups, method)
        runs = [run for run in group.runs if len(run.metrics) > LAST_STEPS] if group else []
        if group is None or not runs:
            continue
        start = [np.array([run.metrics[0]["vendi"]]) for run in runs]
        end = [np.array([np.mean([row["vendi"] for row in run.metrics[-LAST_STEPS:]])]) for run in runs]
        change = paired_ratio(end, start).mean - 1
        sentences.append(
            f"{group.name}: Vendi score {text(mean_interval(start))} in the first outer step (untrained teacher), "
            f"{text(mean_interval(end))} in the last {LAST_STEPS}: {100 * change:+.0f}% ({_seeds(len(runs))})."
        )
        growth = _growth(runs)
        if abs(growth) <= SAME_SIZE:
            num_seeds.append(len(runs))
            changes[method] = change
        else:  # a larger set has the larger score, however alike its questions are
            sentences.append(
                f"{group.name}: not judged, since {100 * growth:+.0f}% questions could be parsed in these."
            )
    holds = None
    if len(changes) == 2:
        holds = _judged(changes["intrinsic_teacher"] < -STAYS <= changes["soar_math"], min(num_seeds))
    title = f"2b. Diversity falls with intrinsic reward and stays with SOAR (within {100 * STAYS:.0f}%)"
    known = ", ".join(f"{name} {value}" for name, value in paper.VENDI.items())
    return Finding(title=title, holds=holds, sentences=(*sentences, f"The paper's Vendi scores: {known}."))


def _growth(runs: Sequence[Run]) -> float:
    """Relative change of the number of parsable questions a step, from the first step to the last ones."""
    start = np.mean([run.metrics[0]["valid_share"] for run in runs])
    end = np.mean([row["valid_share"] for run in runs for row in run.metrics[-LAST_STEPS:]])
    return float(end / start - 1) if start > 0 else np.inf


def _structure_over_answers(groups: Sequence[Group], k: int) -> Finding:
    """Finding 3: right answers, well-posed questions, and answers swapped."""
    soar, hard = find(groups, "soar_math"), find(groups, "hard_only")
    sentences = []
    runs = [run for run in soar.runs if run.summary and run.curriculum] if soar else []
    for name, words in {"right": "have a right answer", "well_posed": "are well posed"}.items():
        values = [np.array([100 * row[name] for row in run.curriculum if row.get(name) is not None]) for run in runs]
        values = [value for value in values if len(value)]
        if values:
            sentences.append(f"Of SOAR's promotion questions {_percent(mean_interval(values))} {words}.")
    sentences += [_correlation(soar, name) for name in ("right", "well_posed")]
    own, true, random = (
        scores(soar, p, test="hard_test", k=k) for p in ("curriculum", "true_answers", "random_answers")
    )
    base = scores(hard, "hard_only", test="hard_test", k=k)
    holds = None
    if own and true and random and base:
        fixed, kept = compare(true, own, paired_difference), _share_of_gain(random, own, base)
        if fixed and kept is None and paired(random, own, base)[0]:
            sentences.append(f"SOAR: PQ has no certain gain over Hard-Only at pass@{k} to keep a share of.")
        if fixed and kept:
            holds = _judged(kept.low > 0.5, kept.num_seeds)
            sentences.append(
                f"With true answers instead of the teacher's, PQ changes by {text(fixed)} points of pass@{k}; with "
                f"random answers it keeps {_share(kept)} of its gain over Hard-Only."
            )
            sentences.append(
                "So structure matters more than right answers."
                if kept.low > 0.5
                else "So right answers carry the gain here: questions alone do not teach."
            )
    title = "3. Structure matters more than right answers (judged by: random answers keep more than half of the gain)"
    return Finding(title=title, holds=holds, sentences=tuple(filter(None, sentences)))


def _share_of_curated(groups: Sequence[Group], *ks: int) -> Finding:
    """The share of the curated upper bound's gain that SOAR reaches."""
    soar, hard, curated = (find(groups, name) for name in ("soar_math", "hard_only", "curated"))
    sentences: list[str] = []
    holds: list[bool | None] = []
    for policy in ("promoted_student", "curriculum"):
        for k in ks:
            ours, bound = (
                scores(soar, policy, test="hard_test", k=k),
                scores(curated, "curriculum", test="hard_test", k=k),
            )
            base = scores(hard, "hard_only", test="hard_test", k=k)
            if soar is None or ours is None or bound is None or base is None or not paired(ours, bound, base)[0]:
                continue
            bounds = mean_interval(paired(ours, bound, base)[1])
            share = _share_of_gain(ours, bound, base)
            if share is None:
                holds.append(None)
                sentences.append(
                    f"{soar.row_name(policy)}: the curated bound has no certain gain over Hard-Only at pass@{k}."
                )
                continue
            holds.append(_judged(share.mean >= paper.SHARE_OF_CURATED, share.num_seeds))
            sentences.append(
                f"{soar.row_name(policy)} reaches {_share(share)} of the curated bound's gain over Hard-Only at "
                f"pass@{k} (the bound solves {_percent(bounds)}; {_seeds(share.num_seeds)})."
            )
    title = f"4. SOAR reaches about {100 * paper.SHARE_OF_CURATED:.0f}% of the gain of curated problems"
    return Finding(title=title, holds=_all(holds), sentences=tuple(sentences))


def _share_of_gain(a: Scores, bound: Scores, base: Scores) -> Interval | None:
    """(a - base) / (bound - base), paired; None where bound - base may be zero, or less."""
    ours, bounds, bases = paired(a, bound, base)
    if not ours or paired_difference(bounds, bases).low <= 0:
        return None
    gains = [[value - zero for value, zero in zip(values, bases, strict=True)] for values in (ours, bounds)]
    return paired_ratio(*gains)


def _correlation(group: Group | None, name: str) -> str:
    """Spearman correlation over datasets of a share with the dataset's reward, where any step had a reward."""
    from scipy.stats import spearmanr

    per_seed = []
    for run in group.runs if group else ():
        datasets: dict[tuple[int, int], list[dict[str, float]]] = {}
        for row in run.ledger:
            if row.get(name) is not None:
                datasets.setdefault((row["outer_step"], row["dataset"]), []).append(row)
        shares = [np.mean([row[name] for row in rows]) for rows in datasets.values()]
        rewards = [rows[0]["reward"] for rows in datasets.values()]
        if len(set(shares)) > 1 and len(set(rewards)) > 1:
            per_seed.append(np.array([spearmanr(shares, rewards).statistic]))
    if not per_seed:
        return ""
    words = {"right": "right answers", "well_posed": "well-posed questions"}[name]
    return (
        f"Rank correlation of a dataset's share of {words} with its reward: {text(mean_interval(per_seed))} "
        f"(mean over {_seeds(len(per_seed))}, all datasets of the outer loop)."
    )


def _percent(interval: Interval) -> str:
    return f"{interval.mean:.1f}% [{interval.low:.1f}, {interval.high:.1f}]"


def _share(interval: Interval) -> str:
    return f"{100 * interval.mean:.0f}% [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def _judged(holds: bool, num_seeds: int) -> bool | None:
    return bool(holds) if num_seeds >= MIN_SEEDS else None


def _all(holds: Sequence[bool | None]) -> bool | None:
    """True when all hold; None when one cannot be judged, or there is none."""
    return None if not holds or None in holds else all(holds)


def _seeds(number: int) -> str:
    return "1 seed" if number == 1 else f"{number} seeds"


def _apart(apart: bool) -> str:
    return "apart" if apart else "not apart"
