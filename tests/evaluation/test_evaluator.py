import jax
import numpy as np
import pytest

from soar_jax.evaluation.evaluator import Evaluator
from soar_jax.grading.grader import Grader, Verdict
from soar_jax.problems.arithmetic import generate_problems

SAMPLES = 4


@pytest.fixture(scope="module")
def problems():
    return generate_problems(np.random.default_rng(0), (1, 2, 3), 10)


def answers(nano_sampler, problems, prompts_per_call, first_place=0):
    sampler, params = nano_sampler
    evaluator = Evaluator(
        sampler=sampler, grader=Grader(extraction=("after_equals",)), prompts_per_call=prompts_per_call
    )
    arguments = params, problems, jax.random.key(3), sampler.settings(27, 1.0), SAMPLES, first_place
    calls = list(evaluator.ask(*arguments))
    assert all(len(call) <= prompts_per_call for call in calls)
    asked = [drawn for call in calls for drawn in call]
    right = [sum(answer.verdict is Verdict.CORRECT for answer in drawn) for drawn in asked]
    np.testing.assert_array_equal(evaluator.count_correct(*arguments), right)
    return asked


def test_answers_are_graded_and_do_not_depend_on_the_cut(nano_sampler, problems):
    asked = answers(nano_sampler, problems, 4)
    assert [len(drawn) for drawn in asked] == [SAMPLES] * 10
    for problem, drawn in zip(problems, asked, strict=True):
        for answer in drawn:
            found = " ".join(answer.completion.rpartition("=")[2].split())
            assert (answer.final or "") == (found if "=" in answer.completion else "")
            assert (answer.verdict is Verdict.CORRECT) == (found == problem.answer)
    assert len({answer.verdict for drawn in asked for answer in drawn}) >= 2
    assert answers(nano_sampler, problems, 10) == asked
    assert answers(nano_sampler, problems[4:], 2, first_place=4) == asked[4:]


def test_no_problem_has_no_answer(nano_sampler):
    assert answers(nano_sampler, [], 4) == []
