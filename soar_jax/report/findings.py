"""The paper's findings, judged on the given runs: sentences with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from soar_jax.evaluation.statistics import Interval, mean_interval, paired_difference, paired_ratio
from soar_jax.report import paper
from soar_jax.report.read import Run
from soar_jax.report.scores import METHOD_NAMES, Group, Scores, comparable, compare, ends, find, paired, scores
from soar_jax.report.tables import text

LAST_STEPS = 3  # outer steps that a teacher's final diversity is averaged over
_INTRINSIC = ("intrinsic_teacher", "curriculum")
# Comparisons of finding 2. SOAR's own questions are as many as its promotions gave; those of Grounded-T are as many as
# Intrinsic-T's, sampled from a trained teacher too.
_GROUNDED_PAIRS = (
    (("soar_math", "curriculum"), _INTRINSIC),
    (("grounded_teacher", "curriculum"), _INTRINSIC),
)
# Controls of the teacher's learning: questions of a teacher that stays the base model.
_UNTRAINED_PAIRS = (
    (("soar_math", "curriculum"), ("frozen_teacher", "curriculum")),
    (("soar_math", "promoted_student"), ("frozen_teacher", "promoted_student")),
    (("grounded_teacher", "curriculum"), ("base_teacher", "curriculum")),
)
SOLVES_MORE = 0.5  # share of the promoted student's gain from which on a teacher is said to solve more
MIN_SEEDS = 3  # with fewer, no finding is judged
STAYS = 0.1  # largest relative loss of diversity that counts as none
SAME_SIZE = 0.1  # largest relative difference between the sizes of comparable sets


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A claim of the paper and the evidence of the given runs."""

    title: str
    holds: bool | None  # None: undecided, mostly because there are too few runs
    sentences: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return {True: "holds here", False: "does not hold here", None: "undecided"}[self.holds]


def judge(groups: Sequence[Group], ks: Sequence[int]) -> list[Finding]:
    """Judges all findings, in the paper's order, for each variant of SOAR.

    Args:
      ks: the ks at which all runs were evaluated.
    """
    variants = comparable(groups)
    judged = [(variant, finding) for variant, same in variants.items() for finding in _judge(same, ks)]
    if len(variants) == 1:
        return [finding for _, finding in judged]
    return [dataclasses.replace(finding, title=f"{finding.title} ({variant})") for variant, finding in judged]


def _judge(groups: Sequence[Group], ks: Sequence[int]) -> list[Finding]:
    return [
        _unlocks_learning(groups),
        _compare_pairs(groups, "2. Grounded reward beats intrinsic reward (Intrinsic-T)", _GROUNDED_PAIRS, ends(ks)),
        _keeps_diversity(groups),
        _compare_pairs(groups, "2c. A teacher that learns beats one that does not", _UNTRAINED_PAIRS, ends(ks)),
        _structure_over_answers(groups, min(ks)),
        _teaching_apart_from_solving(groups, *ends(ks)),
        _share_of_curated(groups, *ends(ks)),
    ]


def _unlocks_learning(groups: Sequence[Group]) -> Finding:
    """Finding 1: PQ of SOAR against Hard-Only, at the paper's ks; PS is shown beside it, of which it says no factor."""
    soar, hard = find(groups, "soar_math"), find(groups, "hard_only")
    least_gain = paper.LEAST_GAIN[_claims_of(soar)]
    gains = " and ".join(f"{least:g}× the pass@{k}" for k, least in least_gain.items())
    title = f"1. SOAR unlocks learning: {gains} of Hard-Only"
    sentences: list[str] = []
    holds: dict[int, bool | None] = {}
    for policy in ("promoted_student", "curriculum"):
        for k, least in least_gain.items():
            compared = compare(_hard_test(soar, policy, k), _hard_test(hard, "hard_only", k), paired_ratio)
            if soar is None or compared is None:
                continue
            ours, theirs, ratio = compared
            apart = ours.is_above(theirs)
            if policy == "curriculum":
                holds[k] = _judged(apart and ratio.mean >= least, ratio.num_seeds)
            times = "infinitely many times" if np.isinf(ratio.mean) else f"{text(ratio)} times"
            sentences.append(
                f"{soar.row_name(policy)} solves {_percent(ours)} at pass@{k}, Hard-Only {_percent(theirs)}: {times} "
                f"as much, intervals {_apart(apart)} ({_seeds(ratio.num_seeds)})."
            )
    has_all = holds.keys() == least_gain.keys()  # tests with fewer samples lack a k
    return Finding(title=title, holds=_all([*holds.values()]) if has_all else None, sentences=tuple(sentences))


def _compare_pairs(
    groups: Sequence[Group], title: str, pairs: Sequence[tuple[tuple[str, str], tuple[str, str]]], ks: Sequence[int]
) -> Finding:
    """Judges whether each first policy is above the second one, for all pairs that were run."""
    sentences: list[str] = []
    holds: list[bool | None] = []
    for (method, policy), (other_method, other_policy) in pairs:
        own, other = find(groups, method), find(groups, other_method)
        for k in ks:
            compared = compare(_hard_test(own, policy, k), _hard_test(other, other_policy, k), paired_difference)
            if own is None or other is None or compared is None:
                continue
            ours, theirs, difference = compared
            apart = ours.is_above(theirs)
            holds.append(_judged(apart, difference.num_seeds))
            sentences.append(
                f"{own.row_name(policy)} solves {_percent(ours)} at pass@{k}, {other.row_name(other_policy)} "
                f"{_percent(theirs)}: a difference of {text(difference)} points, intervals {_apart(apart)} "
                f"({_seeds(difference.num_seeds)})."
            )
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
        else:  # Vendi scores grow with the number of questions
            sentences.append(
                f"{group.name}: not judged, since the number of parsable questions changed by {100 * growth:+.0f}% "
                "between these steps."
            )
    holds = None
    if len(changes) == 2:
        holds = _judged(changes["intrinsic_teacher"] < -STAYS <= changes["soar_math"], min(num_seeds))
    title = f"2b. Diversity falls with intrinsic reward and stays with SOAR (within {100 * STAYS:.0f}%)"
    known = "; ".join(f"{METHOD_NAMES[method]} {paper.vendi_text(method)}" for method, _ in paper.VENDI)
    return Finding(title=title, holds=holds, sentences=(*sentences, f"The paper's Vendi scores: {known}."))


def _growth(runs: Sequence[Run]) -> float:
    """Relative change of the number of parsable questions per step, from the first step to the last ones."""
    start = np.mean([run.metrics[0]["valid_share"] for run in runs])
    end = np.mean([row["valid_share"] for run in runs for row in run.metrics[-LAST_STEPS:]])
    return float(end / start - 1) if start > 0 else np.inf


def _structure_over_answers(groups: Sequence[Group], k: int) -> Finding:
    """Finding 3: quality of SOAR's questions, and final students with other answers to them."""
    soar, hard = find(groups, "soar_math"), find(groups, "hard_only")
    holds, swapped = _swapped_answers(soar, hard, k)
    title = "3. Structure matters more than right answers (judged by: random answers keep more than half of the gain)"
    return Finding(title=title, holds=holds, sentences=(*_question_quality(soar), *swapped))


def _question_quality(soar: Group | None) -> list[str]:
    """Fractions of right and well-posed promotion questions, and their correlations with the reward."""
    sentences = []
    runs = [run for run in soar.runs if run.summary and run.curriculum] if soar else []
    for name, words in {"right": "have a right answer", "well_posed": "are well posed"}.items():
        values = [np.array([100 * row[name] for row in run.curriculum if row.get(name) is not None]) for run in runs]
        values = [value for value in values if len(value)]
        if values:
            sentences.append(f"Of SOAR's promotion questions {_percent(mean_interval(values))} {words}.")
    return [*sentences, *filter(None, (_correlation(soar, name) for name in ("right", "well_posed")))]


def _swapped_answers(soar: Group | None, hard: Group | None, k: int) -> tuple[bool | None, list[str]]:
    """Pass@k of students trained on true or random answers instead of the teacher's; whether structure matters more."""
    own, true, random = (_hard_test(soar, policy, k) for policy in ("curriculum", "true_answers", "random_answers"))
    base = _hard_test(hard, "hard_only", k)
    if not (own and true and random and base):
        return None, []
    compared, kept = compare(true, own, paired_difference), _share_of_gain(random, own, base)
    if compared and kept:
        is_kept = kept.low > 0.5
        return _judged(is_kept, kept.num_seeds), [
            f"With true answers instead of the teacher's, PQ changes by {text(compared[2])} points of pass@{k}; with "
            f"random answers it keeps {_share(kept)} of its gain over Hard-Only.",
            "So structure matters more than right answers."
            if is_kept
            else "So right answers carry the gain here: questions alone do not teach.",
        ]
    if compared and paired(random, own, base)[0]:
        return None, [f"SOAR: PQ has no certain gain over Hard-Only at pass@{k} to keep a share of."]
    return None, []


def _teaching_apart_from_solving(groups: Sequence[Group], *ks: int) -> Finding:
    """Finding 3, second part: the trained teacher solves no more than the base model.

    Judged beside the promoted student of the same run: an interval that merely reaches down to the base model would
    prove nothing.
    """
    sentences: list[str] = []
    holds: list[bool | None] = []
    for method in ("soar_math", "inference"):
        group = find(groups, method)
        for k in ks:
            teacher, student, base = (
                _hard_test(group, policy, k) for policy in ("trained_teacher", "promoted_student", "base")
            )
            compared = compare(teacher, base, paired_difference)
            if group is None or not (teacher and student and base and compared):
                continue
            ours, theirs, difference = compared
            share = _share_of_gain(teacher, student, base)
            holds.append(_judged(share.high < SOLVES_MORE, share.num_seeds) if share else None)
            gain = (
                f"{_share(share)} of the promoted student's gain" if share else "beside no certain gain of the student"
            )
            sentences.append(
                f"{group.row_name('trained_teacher')} solves {_percent(ours)} at pass@{k}, the base model "
                f"{_percent(theirs)}: a difference of {text(difference)} points, {gain} "
                f"({_seeds(difference.num_seeds)})."
            )
    title = (
        "3b. Teaching and solving are apart: the trained teacher solves no more than the base model (judged by: less "
        f"than {100 * SOLVES_MORE:.0f}% of the promoted student's gain)"
    )
    return Finding(title=title, holds=_all(holds), sentences=tuple(sentences))


def _share_of_curated(groups: Sequence[Group], *ks: int) -> Finding:
    """The fraction of the curated upper bound's gain that SOAR reaches; judged by PQ at the largest k, as the paper."""
    soar, hard, curated = (find(groups, name) for name in ("soar_math", "hard_only", "curated"))
    least_share = paper.SHARE_OF_CURATED[_claims_of(soar)]
    sentences: list[str] = []
    holds: list[bool | None] = []
    for policy in ("promoted_student", "curriculum"):
        for k in ks:
            ours, bound = _hard_test(soar, policy, k), _hard_test(curated, "curriculum", k)
            base = _hard_test(hard, "hard_only", k)
            if soar is None or ours is None or bound is None or base is None or not paired(ours, bound, base)[0]:
                continue
            bounds = mean_interval(paired(ours, bound, base)[1])
            share, is_judged = _share_of_gain(ours, bound, base), (policy, k) == ("curriculum", max(ks))
            if share is None:
                holds += [None] if is_judged else []
                sentences.append(
                    f"{soar.row_name(policy)}: the curated bound has no certain gain over Hard-Only at pass@{k}."
                )
                continue
            holds += [_judged(share.mean >= least_share, share.num_seeds)] if is_judged else []
            sentences.append(
                f"{soar.row_name(policy)} reaches {_share(share)} of the curated bound's gain over Hard-Only at "
                f"pass@{k} (the bound solves {_percent(bounds)}; {_seeds(share.num_seeds)})."
            )
    title = f"4. SOAR reaches about {100 * least_share:.0f}% of the gain of curated problems"
    return Finding(title=title, holds=_all(holds), sentences=tuple(sentences))


def _claims_of(soar: Group | None) -> str:
    """The benchmark whose claims are judged: HARP for runs on it, else MATH, whose claims are the stronger ones."""
    return paper.HARP if soar and paper.benchmark(soar.runs[0].config) == paper.HARP else paper.MATH


def _hard_test(group: Group | None, policy: str, k: int) -> Scores | None:
    return scores(group, policy, test="hard_test", k=k)


def _share_of_gain(a: Scores, bound: Scores, base: Scores) -> Interval | None:
    """(a - base) / (bound - base), paired; None unless the interval of bound - base is above 0."""
    ours, bounds, bases = paired(a, bound, base)
    if not ours or paired_difference(bounds, bases).low <= 0:
        return None
    gains = [[value - zero for value, zero in zip(values, bases, strict=True)] for values in (ours, bounds)]
    return paired_ratio(*gains)


def _correlation(group: Group | None, name: str) -> str:
    """Sentence on the rank correlation, over datasets, of a fraction of questions with the reward; may be empty."""
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
    """None if there are too few seeds to judge."""
    return bool(holds) if num_seeds >= MIN_SEEDS else None


def _all(holds: Sequence[bool | None]) -> bool | None:
    """Whether all hold; None if one cannot be judged or there is none."""
    return None if not holds or None in holds else all(holds)


def _seeds(number: int) -> str:
    return "1 seed" if number == 1 else f"{number} seeds"


def _apart(apart: bool) -> str:
    return "apart" if apart else "not apart"
