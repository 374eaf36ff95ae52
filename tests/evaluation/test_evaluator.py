import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.evaluation.evaluator import Evaluator
from soar_jax.grading.grader import Grader, Verdict
from soar_jax.problems.arithmetic import generate_problems
from soar_jax.sampling.text import Draw

SAMPLES = 4


@pytest.fixture(scope="module")
def problems():
    return generate_problems(np.random.default_rng(0), (1, 2, 3), 10)


def make_evaluator(sampler, prompts_per_call):
    """Returns an evaluator and a draw."""
    grader = Grader(extraction=("after_equals",))
    draw = Draw(key=jax.random.key(3), settings=sampler.settings(27, 1.0), num_samples=SAMPLES)
    return Evaluator(sampler=sampler, grader=grader, prompts_per_call=prompts_per_call), draw


def evaluate(nano_sampler, problems, prompts_per_call, first_index=0):
    """Answers to all problems, after a check that `count_correct` counts the same ones."""
    sampler, weights = nano_sampler
    evaluator, draw = make_evaluator(sampler, prompts_per_call)
    calls = list(evaluator.iterate_answers(weights, problems, draw, first_index=first_index))
    assert all(len(call) <= prompts_per_call for call in calls)
    answers = [drawn for call in calls for drawn in call]
    num_correct = [sum(answer.verdict is Verdict.CORRECT for answer in drawn) for drawn in answers]
    np.testing.assert_array_equal(
        evaluator.count_correct(weights, problems, draw, first_index=first_index), num_correct
    )
    return answers


def test_answers_are_graded_and_do_not_depend_on_batch_size(nano_sampler, problems):
    answers = evaluate(nano_sampler, problems, 4)
    assert [len(drawn) for drawn in answers] == [SAMPLES] * 10
    for problem, drawn in zip(problems, answers, strict=True):
        for answer in drawn:
            found = " ".join(answer.completion.rpartition("=")[2].split())
            assert (answer.final or "") == (found if "=" in answer.completion else "")
            assert (answer.verdict is Verdict.CORRECT) == (found == problem.answer)
    assert len({answer.verdict for drawn in answers for answer in drawn}) >= 2
    assert evaluate(nano_sampler, problems, 10) == answers
    assert evaluate(nano_sampler, problems[4:], 2, first_index=4) == answers[4:]


@pytest.mark.parametrize(
    ("prompts_per_call", "expected"), [(4, [("questions", done, 10, "") for done in (4, 8, 10)]), (10, [])]
)
def test_calls_are_shown_unless_there_is_one_alone(nano_sampler, problems, prompts_per_call, expected):
    shown = []
    sampler, weights = nano_sampler
    evaluator, draw = make_evaluator(sampler, prompts_per_call)
    evaluator = dataclasses.replace(evaluator, show_progress=lambda *progress: shown.append(progress))
    evaluator.count_correct(weights, problems, draw)
    assert shown == expected


def test_no_problems_give_no_answers(nano_sampler):
    assert evaluate(nano_sampler, [], 4) == []


@pytest.mark.slow
def test_equal_students_answer_like_one_policy(nano_sampler, problems):
    """For any number of questions per call."""
    sampler, weights = nano_sampler
    evaluator, draw = make_evaluator(sampler, 10)
    alone = evaluator.count_correct(weights, problems, draw)
    students = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), weights)
    for prompts_per_call in (10, 4):
        evaluator, draw = make_evaluator(sampler, prompts_per_call)
        counts = evaluator.count_correct(students, problems, draw, num_students=2)
        np.testing.assert_array_equal(counts, [alone, alone])
