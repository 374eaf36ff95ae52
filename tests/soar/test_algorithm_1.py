"""Algorithm 1 of the paper once more, in plain NumPy, against the product's over random sequences of rewards."""

import contextlib
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.evaluation.hard_subset import HardSplit, SealedProblems
from soar_jax.soar import grounded_reward
from soar_jax.soar.inner_loop import Episode, QuestionStats
from soar_jax.soar.outer_step import score_by_improvement
from soar_jax.soar.state import Progress, RunArrays
from soar_jax.soar.teacher import Datasets
from soar_jax.types import Problem, QuestionAnswer
from tests.configs import make_config

NUM_STEPS, NUM_REWARD_QUESTIONS, NUM_QUESTIONS = 30, 64, 2
BASE = (-1, 0, 0)  # a policy is (outer step, dataset, student) of its training; this one is the base model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """Sizes and the settings that the paper leaves open."""

    g: int = 4
    r: int = 4
    window: int = 3
    tau: float = 0.01
    picks: str = "lower"  # of the best dataset's students: the lower or upper median, or the best
    clears: bool = True
    needs_full: bool = True
    in_waves: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recorded:
    """What students were measured to be: random, whatever they were trained on."""

    baseline_right: np.ndarray  # [T] reward questions that the baseline student solves
    student_right: np.ndarray  # [T, g, r] reward questions that student j of dataset k solves
    train_right: np.ndarray  # [T, g, r] problems of D_train that it solves

    @staticmethod
    def draw(case, seed):
        rng, shape = np.random.default_rng(seed), (NUM_STEPS, case.g, case.r)
        baseline = rng.integers(8, 12, NUM_STEPS)
        # A step's datasets share luck, so that the average rises and falls; whole numbers give many ties.
        gains = rng.normal(0.7, 1.0, (NUM_STEPS, 1, 1)) + rng.normal(0.0, 1.5, shape)
        students = np.clip(baseline[:, None, None] + np.rint(gains).astype(int), 0, NUM_REWARD_QUESTIONS)
        return Recorded(baseline_right=baseline, student_right=students, train_right=rng.integers(0, 5, shape))


def algorithm_1(case, recorded):
    """Yields a row of each outer step: the paper's loop, from measured students on."""
    baseline, tested, tested_right = BASE, BASE, 0
    promotion_datasets = []  # D_best
    step_rewards = []  # of the window
    for t in range(NUM_STEPS):
        inner_steps = min(10 + 5 * len(promotion_datasets), 20)
        start = baseline
        # Student and dataset rewards.
        student_rewards = (recorded.student_right[t] - recorded.baseline_right[t]) / NUM_REWARD_QUESTIONS
        dataset_rewards = np.array([np.mean(student_rewards[k]) for k in range(case.g)])
        # Promotion.
        step_rewards = [*step_rewards, np.mean(dataset_rewards)][-case.window :]
        moving_average = np.mean(step_rewards)
        may_promote = len(step_rewards) == case.window or not case.needs_full
        if may_promote and moving_average > case.tau:
            k = list(dataset_rewards).index(max(dataset_rewards))
            ranking = sorted(range(case.r), key=lambda j: student_rewards[k][j])  # keeps equal ones in order
            if case.picks == "best":
                j = list(student_rewards[k]).index(max(student_rewards[k]))
            elif case.r % 2:
                j = ranking[case.r // 2]
            else:
                j = ranking[case.r // 2 - (case.picks == "lower")]
            baseline = (t, k, j)
            promotion_datasets = [*promotion_datasets, (t, k)]
            if case.clears:
                step_rewards = []
            # The promoted student that is tested in the end.
            if recorded.train_right[baseline] >= tested_right:
                tested, tested_right = baseline, recorded.train_right[baseline]
        # The teacher's RLOO advantage of each dataset's rollouts.
        advantages = [
            dataset_rewards[k] - np.mean([dataset_rewards[other] for other in range(case.g) if other != k])
            for k in range(case.g)
        ]
        yield {
            "inner_steps": inner_steps,
            "start": start,
            "dataset_rewards": dataset_rewards,
            "moving_average": moving_average,
            "baseline": baseline,
            "promotion_datasets": promotion_datasets,
            "tested": tested,
            "advantages": np.repeat(np.array(advantages)[:, None], NUM_QUESTIONS, axis=1),
        }


class RecordedEvaluator:
    """Stands for the evaluator: policies solve as many problems as recorded."""

    def __init__(self, recorded):
        self.recorded, self.step = recorded, 0

    def count_correct(self, weights, problems, draw, num_students=0, one_more=None):
        assert (draw.settings.temperature, draw.num_samples) == (0.0, 1)
        if num_students:
            right = [self.recorded.student_right[tuple(policy)] for policy in weights]
            right.append(self.recorded.baseline_right[self.step])
            return np.array([np.arange(len(problems)) < count for count in right]).astype(int)
        assert len(problems) != NUM_REWARD_QUESTIONS
        return (np.arange(len(problems)) < self.recorded.train_right[tuple(weights)]).astype(int)


def make_setup(case, recorded, nano_setup):
    changes = {
        "outer.num_datasets": case.g,
        "outer.students_per_dataset": case.r,
        "outer.questions_per_dataset": NUM_QUESTIONS,
        "outer.num_reward_questions": NUM_REWARD_QUESTIONS,
        "outer.reward_temperature": 0.0,
        "outer.reward_samples": 1,
        "inner.steps_per_promotion": 5,
        "inner.students_at_once": case.r if case.in_waves else 0,
        "promotion.rule": "moving_average_literal",
        "promotion.threshold": case.tau,
        "promotion.window": case.window,
        "promotion.student": "step_best" if case.picks == "best" else "step_median",
        "promotion.even_median": "upper" if case.picks == "upper" else "lower",
        "promotion.clears_window": case.clears,
        "promotion.needs_full_window": case.needs_full,
        "hard_subset.validation_share": 0.0,
    }
    return dataclasses.replace(nano_setup, config=make_config(**changes), evaluator=RecordedEvaluator(recorded))


@pytest.fixture
def episodes(monkeypatch):
    """Replaces training: students are named by their step, dataset and number. Lists starts and lengths of episodes."""
    calls = []

    def train_population(setup, start, question_sets, plan, report):
        (step,), repeats = plan.indices, setup.config.outer.students_per_dataset
        students = range(plan.first_student, plan.first_student + len(question_sets))
        for student, questions in zip(students, question_sets, strict=True):
            assert questions == questions_of(step, student // repeats)
        calls.append((step, start, len(plan.learning_rates)))
        size = (len(plan.learning_rates), len(question_sets))
        states = SimpleNamespace(weights=[(step, student // repeats, student % repeats) for student in students])
        episode = Episode(
            stats=QuestionStats(
                asked=[np.ones(NUM_QUESTIONS, int)] * size[1], agreed=[np.ones(NUM_QUESTIONS, int)] * size[1]
            ),
            mean_rewards=np.zeros(size),
            right_shares=np.zeros(size),
            has_signal=np.zeros(size, bool),
            indicators={},
        )
        return states, episode

    monkeypatch.setattr(grounded_reward, "train_population", train_population)
    monkeypatch.setattr(grounded_reward, "changed_shares", lambda weights, *_, **__: np.zeros(len(weights)))
    monkeypatch.setattr(grounded_reward, "take_student", lambda students, index, **_: students[index])
    return calls


def questions_of(step, dataset):
    return tuple(QuestionAnswer(question=f"{step}.{dataset}.{number}", answer="1") for number in range(NUM_QUESTIONS))


def product(case, recorded, nano_setup, episodes):
    """Yields the rows of `algorithm_1` from the product's own functions."""
    setup = make_setup(case, recorded, nano_setup)
    train = [Problem(id=str(number), question=str(number), answer="1", subject="", level=1) for number in range(80)]
    split = HardSplit(train=tuple(train), validation=(), test=SealedProblems(()))
    arrays, progress = RunArrays(teacher=None, baseline=BASE, best=BASE, window=()), Progress()
    for step in range(NUM_STEPS):
        setup.evaluator.step = step
        datasets = Datasets(rollouts=None, items=tuple(questions_of(step, k) for k in range(case.g)))
        progress = dataclasses.replace(progress, outer_step=step)
        scored = score_by_improvement(
            setup, arrays, progress, split=split, datasets=datasets, phase=contextlib.nullcontext
        )
        arrays, progress = scored.arrays, scored.progress
        ((start, inner_steps),) = {(start, length) for when, start, length in episodes if when == step}
        yield {
            "inner_steps": inner_steps,
            "start": start,
            "dataset_rewards": scored.dataset_rewards,
            "moving_average": scored.metrics["moving_average"],
            "baseline": arrays.baseline,
            "promotion_datasets": [(each.source_step, each.dataset) for each in progress.promotions],
            "tested": arrays.best,
            "advantages": scored.advantages,
        }
    for promotion in progress.promotions:
        pairs = tuple((item.question, item.answer) for item in questions_of(promotion.source_step, promotion.dataset))
        assert promotion.questions == pairs
    lengths = {when: length for when, _, length in episodes}
    assert progress.num_student_steps == case.g * case.r * sum(lengths.values())


CASES = {
    "the paper's sizes": Case(),
    "the upper median": Case(picks="upper"),
    "the best student": Case(picks="best"),
    "in waves": Case(in_waves=True),
    "an odd number of students": Case(g=3, r=5, in_waves=True),
    "one student a dataset": Case(g=8, r=1, window=2),
    "two datasets": Case(g=2, r=2, tau=0.02, picks="upper"),
    "a window that stays": Case(clears=False, tau=0.015),
    "a window that need not be full": Case(needs_full=False, r=3),
    "neither": Case(clears=False, needs_full=False, g=5, r=2, picks="best", window=4),
    "a window of one": Case(window=1, tau=0.015, r=3),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CASES)
def test_the_outer_loop_is_algorithm_1(name, seed, nano_setup, episodes):
    case = CASES[name]
    recorded = Recorded.draw(case, seed)
    rows = zip(algorithm_1(case, recorded), product(case, recorded, nano_setup, episodes), strict=True)
    for step, (expected, found) in enumerate(rows):
        for key, value in expected.items():
            if key in ("dataset_rewards", "moving_average", "advantages"):
                np.testing.assert_allclose(found[key], value, rtol=1e-6, atol=1e-9, err_msg=f"{key} of step {step}")
            else:
                assert found[key] == value, f"{key} of step {step}"


def test_the_sequences_promote_and_do_not():
    """So that the comparison above sees both, and ties."""
    shares, ties = [], 0
    for case in CASES.values():
        recorded = Recorded.draw(case, 0)
        *_, last = algorithm_1(case, recorded)
        shares.append(len(last["promotion_datasets"]) / NUM_STEPS)
        ties += sum(len({*each}) < case.r for step in recorded.student_right for each in step)
    assert 0.03 < min(shares) < max(shares) < 0.9
    assert ties > NUM_STEPS
