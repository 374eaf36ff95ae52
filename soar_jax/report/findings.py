"""The paper's findings, judged on the given runs: sentences with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from soar_jax.evaluation.statistics import MeanInterval, mean_interval, paired_difference, paired_ratio
from soar_jax.report import correlations, paper
from soar_jax.report.scores import METHOD_NAMES, Group, Scores, comparable, compare, ends, find, paired, scores
from soar_jax.report.tables import text
from soar_jax.report.verdicts import all_hold, exact_test, is_above, is_at_least, is_below

_INTRINSIC = ("intrinsic_teacher", "curriculum")
_BASE_T = ("base_teacher", "curriculum")
_PQ, _GROUNDED_T = ("soar_math", "curriculum"), ("grounded_teacher", "curriculum")
# Comparisons of finding 2, with the paper's controls. SOAR's own questions are as many as its promotions gave; those of
# Grounded-T are as many as Intrinsic-T's and Base-T's, sampled from a trained teacher too.
_GROUNDED_PAIRS = ((_PQ, _INTRINSIC), (_GROUNDED_T, _INTRINSIC), (_PQ, _BASE_T))
# Controls of the teacher's learning: questions of a teacher that stays the base model.
_UNTRAINED_PAIRS = (
    (_PQ, ("frozen_teacher", "curriculum")),
    (("soar_math", "promoted_student"), ("frozen_teacher", "promoted_student")),
    (_GROUNDED_T, _BASE_T),
)
_MEANING = {
    True: "So structure matters more than right answers.",
    False: "So right answers carry the gain here: questions alone do not teach.",
}
SOLVES_MORE = 0.5  # share of the promoted student's gain from which on a teacher is said to solve more
STAYS = 0.1  # largest relative loss of diversity that counts as none

Policy = tuple[str, str]  # a method and what it tests
_PS, _HARD_ONLY, _CURATED = ("soar_math", "promoted_student"), ("hard_only", "hard_only"), ("curated", "curriculum")
# Beside finding 3: what students solve that were trained on other answers, or on fewer questions.
_SWAPS = (
    *(_PQ, ("soar_math", "true_answers"), ("soar_math", "random_answers")),
    *(("well_posed_only", "curriculum"), ("correct_only", "curriculum"), _HARD_ONLY),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A claim of the paper and the evidence of the given runs."""

    title: str
    holds: bool | None  # None: undecided
    sentences: tuple[str, ...]
    shown: tuple[Policy, ...]  # policies of the chart beside it, in any order
    measure: Literal["pass@k", "vendi"] = "pass@k"
    variant: str = ""  # of SOAR, where there are several

    @property
    def verdict(self) -> str:
        return {True: "holds here", False: "does not hold here", None: "undecided"}[self.holds]


def judge(groups: Sequence[Group], ks: Sequence[int]) -> list[Finding]:
    """Judges all findings, in the paper's order, for each variant of SOAR.

    Args:
      ks: the ks at which all runs were evaluated.
    """
    variants = comparable(groups)
    judged = [
        dataclasses.replace(finding, variant=variant)
        for variant, same in variants.items()
        for finding in _judge(same, ks)
    ]
    if len(variants) == 1:
        return judged
    return [dataclasses.replace(finding, title=f"{finding.title} ({finding.variant})") for finding in judged]


def _judge(groups: Sequence[Group], ks: Sequence[int]) -> list[Finding]:
    return [
        _unlocks_learning(groups),
        _compare_pairs(groups, "2. Grounded reward beats intrinsic reward (Intrinsic-T)", _GROUNDED_PAIRS, ks=ends(ks)),
        _keeps_diversity(groups),
        _compare_pairs(groups, "2c. A teacher that learns beats one that does not", _UNTRAINED_PAIRS, ks=ends(ks)),
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
            if policy == "curriculum":
                holds[k] = is_at_least(ratio, least)
            times = "infinitely many times" if np.isinf(ratio.mean) else f"{text(ratio)} times"
            sentences.append(
                f"{soar.row_name(policy)} solves {_percent(ours)} at pass@{k}, Hard-Only {_percent(theirs)}: {times} "
                f"as much ({_seeds(ratio.num_seeds)})."
            )
    has_all = holds.keys() == least_gain.keys()  # tests with fewer samples lack a k
    return Finding(
        title=title,
        holds=all_hold([*holds.values()]) if has_all else None,
        sentences=tuple(sentences),
        shown=(_HARD_ONLY, _PS, _PQ),
    )


def _compare_pairs(
    groups: Sequence[Group], title: str, pairs: Sequence[tuple[tuple[str, str], tuple[str, str]]], *, ks: Sequence[int]
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
            holds.append(is_above(difference))
            sentences.append(
                f"{own.row_name(policy)} solves {_percent(ours)} at pass@{k}, {other.row_name(other_policy)} "
                f"{_percent(theirs)}: a difference of {text(difference)} points ({_seeds(difference.num_seeds)})."
            )
        sentences.append(_successes(_hard_test(own, policy, 1), _hard_test(other, other_policy, 1)))
    return Finding(
        title=title,
        holds=all_hold(holds),
        sentences=tuple(filter(None, sentences)),
        shown=tuple(policy for pair in pairs for policy in pair),
    )


def _successes(ours: Scores | None, theirs: Scores | None) -> str:
    """Sentence on the seeds that succeeded, see `exact_test`; empty without scores at pass@1."""
    return exact_test(*paired(ours, theirs)) if ours and theirs else ""


def _keeps_diversity(groups: Sequence[Group]) -> Finding:
    """Finding 2, second part: Vendi scores of sets of one size, against the untrained teacher's (paper, Table 1)."""
    base = vendi_scores(find(groups, _BASE_T[0]))
    sentences: list[str] = []
    holds: list[bool | None] = []
    for method in (_PQ[0], _GROUNDED_T[0], _INTRINSIC[0]):
        group = find(groups, method)
        own = vendi_scores(group)
        seeds = [seed for seed in own if seed in base and own[seed][1] == base[seed][1]]
        if group is None or not seeds:
            continue
        ratio = paired_ratio(*([np.array([values[seed][0]]) for seed in seeds] for values in (own, base)))
        holds.append(is_below(ratio, 1 - STAYS) if method == _INTRINSIC[0] else is_at_least(ratio, 1 - STAYS))
        mean, untrained = (np.mean([values[seed][0] for seed in seeds]) for values in (own, base))
        sentences.append(
            f"{group.row_name('curriculum')}: Vendi score {mean:.1f} of {own[seeds[0]][1]} questions, Base-T "
            f"{untrained:.1f}: {_share(ratio)} of it ({_seeds(len(seeds))})."
        )
    title = f"2b. Diversity falls with intrinsic reward and stays with SOAR (within {100 * STAYS:.0f}% of Base-T's)"
    known = "; ".join(f"{METHOD_NAMES[method]} {paper.vendi_text(method)}" for method, _ in paper.VENDI)
    is_whole = len(holds) == len((_PQ, _GROUNDED_T, _INTRINSIC))
    return Finding(
        title=title,
        holds=all_hold(holds) if is_whole else None,
        sentences=(*sentences, f"The paper's Vendi scores: {known}."),
        shown=(_BASE_T, _INTRINSIC, _GROUNDED_T, _PQ),
        measure="vendi",
    )


def vendi_scores(group: Group | None) -> dict[tuple[int, int], tuple[float, int]]:
    """Vendi score of the final students' questions and their number, by seeds; of sets of `analysis.vendi_size`."""
    found = {run.seeds: run.summary.get("curriculum", {}) for run in (group.runs if group else ())}
    return {
        seeds: (row["vendi"], row["vendi_size"])
        for seeds, row in found.items()
        if row.get("vendi") is not None and row.get("vendi_size")
    }


def _structure_over_answers(groups: Sequence[Group], k: int) -> Finding:
    """Finding 3: quality of SOAR's questions, and final students with other answers to them."""
    soar, hard = find(groups, "soar_math"), find(groups, "hard_only")
    keeps_gain, swapped = _swapped_answers(soar, hard, k)
    helps, added = _wrong_answers_added(groups, k)
    title = (
        "3. Structure matters more than right answers (judged by: random answers keep more than half of the gain, and "
        "well-posed questions with wrong answers help beside right ones)"
    )
    holds = all_hold([keeps_gain, helps])
    return Finding(title=title, holds=holds, sentences=(*_question_quality(soar), *swapped, *added), shown=_SWAPS)


def _question_quality(soar: Group | None) -> list[str]:
    """Fractions of right and well-posed promotion questions, and their correlations with the reward."""
    sentences = []
    runs = [run for run in soar.runs if run.summary and run.curriculum] if soar else []
    for name, words in {"right": "have a right answer", "well_posed": "are well posed"}.items():
        values = [np.array([100 * row[name] for row in run.curriculum if row.get(name) is not None]) for run in runs]
        values = [value for value in values if len(value)]
        if values:
            sentences.append(f"Of SOAR's promotion questions {_percent(mean_interval(values))} {words}.")
    return [*sentences, *filter(None, (_correlation(soar, name) for name in correlations.PROPERTIES))]


def _swapped_answers(soar: Group | None, hard: Group | None, k: int) -> tuple[bool | None, list[str]]:
    """Pass@k of students trained on true or random answers instead of the teacher's; whether structure matters more."""
    own, true, random = (_hard_test(soar, policy, k) for policy in ("curriculum", "true_answers", "random_answers"))
    base = _hard_test(hard, "hard_only", k)
    if not (own and true and random and base):
        return None, []
    compared, kept = compare(true, own, paired_difference), _share_of_gain(random, own, base)
    if compared and kept:
        is_kept = is_above(kept, 0.5)
        return is_kept, [
            f"With true answers instead of the teacher's, PQ changes by {text(compared[2])} points of pass@{k}; with "
            f"random answers it keeps {_share(kept)} of its gain over Hard-Only.",
            *([_MEANING[is_kept]] if is_kept is not None else []),
        ]
    if compared and paired(random, own, base)[0]:
        return None, [f"SOAR: PQ has no certain gain over Hard-Only at pass@{k} to keep a share of."]
    return None, []


def _wrong_answers_added(groups: Sequence[Group], k: int) -> tuple[bool | None, list[str]]:
    """Pass@k of students trained on all well-posed promotion questions against the right ones alone (paper, C.5)."""
    posed, right = find(groups, "well_posed_only"), find(groups, "correct_only")
    compared = compare(_hard_test(posed, "curriculum", k), _hard_test(right, "curriculum", k), paired_difference)
    if compared is None:
        return None, []
    ours, theirs, difference = compared
    return is_above(difference), [
        f"Trained on all well-posed promotion questions, students solve {_percent(ours)} at pass@{k}, on the right "
        f"ones alone {_percent(theirs)}: a difference of {text(difference)} points ({_seeds(difference.num_seeds)})."
    ]


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
            holds.append(is_below(share, SOLVES_MORE) if share else None)
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
    shown = (("soar_math", "base"), ("soar_math", "trained_teacher"), _PS, ("inference", "trained_teacher"))
    return Finding(title=title, holds=all_hold(holds), sentences=tuple(sentences), shown=shown)


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
            holds += [is_at_least(share, least_share)] if is_judged else []
            sentences.append(
                f"{soar.row_name(policy)} reaches {_share(share)} of the curated bound's gain over Hard-Only at "
                f"pass@{k} (the bound solves {_percent(bounds)}; {_seeds(share.num_seeds)})."
            )
    title = f"4. SOAR reaches about {100 * least_share:.0f}% of the gain of curated problems"
    shown = (_HARD_ONLY, _PS, _PQ, _CURATED)
    return Finding(title=title, holds=all_hold(holds), sentences=tuple(sentences), shown=shown)


def _claims_of(soar: Group | None) -> str:
    """The benchmark whose claims are judged: HARP for runs on it, else MATH, whose claims are the stronger ones."""
    return paper.HARP if soar and paper.benchmark(soar.runs[0].config) == paper.HARP else paper.MATH


def _hard_test(group: Group | None, policy: str, k: int) -> Scores | None:
    return scores(group, policy, test="hard_test", k=k)


def _share_of_gain(a: Scores, bound: Scores, base: Scores) -> MeanInterval | None:
    """(a - base) / (bound - base), paired; None unless the interval of bound - base is above 0."""
    ours, bounds, bases = paired(a, bound, base)
    if not ours or paired_difference(bounds, bases).low <= 0:
        return None
    gains = [[value - zero for value, zero in zip(values, bases, strict=True)] for values in (ours, bounds)]
    return paired_ratio(*gains)


def _correlation(group: Group | None, name: str) -> str:
    """Sentence on the rank correlation of a property of datasets with the reward; may be empty."""
    found = [correlations.within_steps(run, correlations.PROPERTIES[name]) for run in (group.runs if group else ())]
    known = [np.array([value]) for value in found if value is not None]
    return (
        f"Rank correlation of a dataset's {name} with its reward, within outer steps: {text(mean_interval(known))} "
        f"(mean over {_seeds(len(known))})."
        if known
        else ""
    )


def _percent(interval: MeanInterval) -> str:
    return f"{interval.mean:.1f}% [{interval.low:.1f}, {interval.high:.1f}]"


def _share(interval: MeanInterval) -> str:
    return f"{100 * interval.mean:.0f}% [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def _seeds(number: int) -> str:
    return "1 seed" if number == 1 else f"{number} seeds"
