import dataclasses

import numpy as np
import pytest

from soar_jax.config.sections import PromotionSection
from soar_jax.errors import SettingsError
from soar_jax.soar.promotion import PROMOTION_RULES, StepOutcome, candidate_index, decide
from tests.configs import make_config

PAPER = PromotionSection()
NANO = dataclasses.replace(PAPER, statistic="best", student="window_best", needs_step_reward=True)


def outcomes(values):
    """(mean, best) of each step, from step 0."""
    return [
        StepOutcome(outer_step=step, mean_reward=mean, best_reward=best, best_dataset=step)
        for step, (mean, best) in enumerate(values)
    ]


def run(values, settings):
    window, promoted = (), []
    for outcome in outcomes(values):
        decision = decide(window, outcome, settings)
        window = decision.window
        promoted.append(decision.promoted_step)
    return promoted


CASES = {
    "never before the window is full": (PAPER, [(0.5, 0.9), (0.5, 0.9)], [None, None]),
    "when the average exceeds the threshold": (PAPER, [(0.0, 0.1), (0.0, 0.1), (0.04, 0.1)], [None, None, 2]),
    "not when it equals the threshold": (PAPER, [(0.0, 0.1), (0.0, 0.1), (0.03, 0.1)], [None, None, None]),
    "a promotion clears the window": (PAPER, [(0.1, 0.1)] * 5, [None, None, 2, None, None]),
    "the window moves on": (PAPER, [(0.09, 0.1)] + [(-0.03, 0.0)] * 2 + [(0.0, 0.0)], [None, None, None, None]),
    "best rewards count where the statistic is best": (
        NANO,
        [(-0.2, 0.0), (-0.2, 0.0), (-0.2, 0.06)],
        [None, None, 2],
    ),
    "the window's best student is taken": (NANO, [(0.0, 0.02), (0.0, 0.5), (0.0, 0.1)], [None, None, 1]),
    "of equals the latest": (NANO, [(0.0, 0.5), (0.0, 0.5), (0.0, 0.1)], [None, None, 1]),
    "this step must have gained too": (NANO, [(0.0, 0.5), (0.0, 0.5), (0.0, 0.0)], [None, None, None]),
    "the step's best student is taken": (
        dataclasses.replace(NANO, student="step_best"),
        [(0.0, 0.5), (0.0, 0.5), (0.0, 0.1)],
        [None, None, 2],
    ),
    "the step's median student is taken": (PAPER, [(0.0, 0.5), (0.0, 0.5), (0.04, 0.1)], [None, None, 2]),
    "a window that stays goes on promoting": (
        dataclasses.replace(PAPER, clears_window=False),
        [(0.1, 0.1)] * 3 + [(-0.1, 0.05)] * 2,
        [None, None, 2, 3, None],
    ),
    "the mean over the steps that there are": (
        dataclasses.replace(PAPER, needs_full_window=False),
        [(0.0, 0.1), (0.04, 0.1), (0.01, 0.1), (0.03, 0.1)],
        [None, 1, None, 3],
    ),
    "not a dataset that gained nothing": (PAPER, [(0.1, 0.2), (0.1, 0.2), (-0.1, 0.0), (0.1, 0.1)], [None] * 3 + [3]),
    "by the literal rule it is promoted": (
        dataclasses.replace(PAPER, rule="moving_average_literal"),
        [(0.1, 0.2), (0.1, 0.2), (-0.1, 0.0), (0.1, 0.1)],
        [None, None, 2, None],
    ),
    "never": (dataclasses.replace(PAPER, rule="never"), [(0.5, 0.9)] * 5, [None] * 5),
    "a window of one": (dataclasses.replace(PAPER, window=1), [(0.02, 0.1), (0.0, 0.1), (0.02, 0.1)], [0, None, 2]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_moving_average_rule(name):
    settings, values, expected = CASES[name]
    assert run(values, settings) == expected


@pytest.mark.parametrize("rule", ["moving_average", "moving_average_literal"])
def test_a_step_without_questions_promotes_nobody(rule):
    """By either rule; of a window's steps the best one with questions is taken."""
    first, second = outcomes([(0.1, 0.2), (0.1, 0.3)])
    third = StepOutcome(outer_step=2, mean_reward=0.0, best_reward=0.0, best_dataset=None)
    settings = dataclasses.replace(PAPER, rule=rule)
    decision = decide((first, second), third, settings)
    assert decision.promoted_step is None
    assert decision.window == (first, second, third)
    assert decide((first, second), third, dataclasses.replace(settings, student="window_best")).promoted_step == 1
    empty = dataclasses.replace(settings, student="window_best", threshold=-1.0)
    assert decide((third, third), third, empty).promoted_step is None


def test_moving_average_is_of_the_chosen_statistic():
    first, second = outcomes([(0.1, 0.5), (0.3, 0.7)])
    assert decide((first,), second, PAPER).moving_average == pytest.approx(0.2)
    assert decide((first,), second, NANO).moving_average == pytest.approx(0.6)


def test_without_promotions_the_window_moves_on():
    settings = dataclasses.replace(PAPER, rule="never")
    steps = outcomes([(0.1, 0.2), (0.2, 0.2), (0.3, 0.2), (0.6, 0.2)])
    decision = decide(tuple(steps[:3]), steps[3], settings)
    assert decision.window == tuple(steps[1:])
    assert decision.moving_average == pytest.approx(1.1 / 3)


# Accuracies of a dataset's students, and the candidates: lower median, upper median, best.
CANDIDATES = {
    "one student": ([0.3], (0, 0, 0)),
    "odd": ([0.1, 0.9, 0.5], (2, 2, 1)),
    "even": ([0.4, 0.1, 0.3, 0.2], (3, 2, 0)),
    "two": ([0.2, 0.1], (1, 0, 0)),
    "all equal: the first is the lowest": ([0.5] * 4, (1, 2, 0)),
    "the median is one of several equal ones": ([0.2, 0.1, 0.2, 0.2], (0, 2, 0)),
}


@pytest.mark.parametrize("name", CANDIDATES)
def test_the_candidate_is_the_median_or_the_best_student(name):
    accuracy, expected = CANDIDATES[name]
    rules = ({"even_median": "lower"}, {"even_median": "upper"}, {"student": "step_best"})
    settings = [dataclasses.replace(PAPER, **rule) for rule in rules]
    assert tuple(candidate_index(np.array(accuracy), each) for each in settings) == expected
    window_best = dataclasses.replace(PAPER, student="window_best")
    assert candidate_index(np.array(accuracy), window_best) == expected[-1]


def test_an_unknown_promotion_rule_is_refused():
    message = f"promotion.rule is 'vote'; choose one of {', '.join(PROMOTION_RULES)}$"
    with pytest.raises(SettingsError, match=message):
        make_config(**{"promotion.rule": "vote"})
    with pytest.raises(SettingsError, match=message):
        decide((), outcomes([(0.1, 0.1)])[0], dataclasses.replace(PAPER, rule="vote"))
