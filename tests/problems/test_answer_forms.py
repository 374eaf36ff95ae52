import pytest

from soar_jax.grading.grader import Grader
from soar_jax.problems.answer_forms import NUM_CHECKED, describe_impossible_answers
from soar_jax.types import Problem

BOXED = Grader(extraction=("boxed",), equivalence="math")
NUMBERS = Grader(extraction=("hash_marks", "last_number"), equivalence="math")
ONLY_NUMBERS = Grader(extraction=("last_number",), equivalence="math")
NANO = Grader(extraction=("after_equals",), equivalence="text")
SENTENCES = [
    "The answer is 18.",
    "She sells 9 eggs and makes $18 at the market.",
    "So x equals to two plus 3 at the end.",
]


def problems(answers):
    return [
        Problem(id=str(number), question="q", answer=answer, subject="", level=1)
        for number, answer in enumerate(answers)
    ]


@pytest.mark.parametrize(
    ("grader", "answer"),
    [
        (BOXED, "5"),
        (BOXED, r"\frac{\sqrt{2}}{2}"),
        (BOXED, r"5 \text{ square units}"),
        (BOXED, r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        (BOXED, "Monday"),
        (BOXED, "x = 2 or x = 3"),
        (NUMBERS, "x+1"),  # behind hash marks
        (ONLY_NUMBERS, "1,234"),
        (ONLY_NUMBERS, "007"),
        (NANO, "1 2 3"),
    ],
)
def test_answers_that_a_student_can_give_are_fine(grader, answer):
    assert describe_impossible_answers(problems([answer] * 3), grader) == ""


@pytest.mark.parametrize(
    ("grader", "answers"), [(BOXED, SENTENCES), (NUMBERS, SENTENCES), (ONLY_NUMBERS, ["x+1", r"\sqrt{2}", "A"])]
)
def test_answers_that_no_student_can_give_are_said(grader, answers):
    line = describe_impossible_answers(problems(answers), grader)
    assert line.startswith(f"none of the first 3 answers, such as {answers[0]!r}, could be right by its form")
    assert grader.extraction[-1] in line
    assert "\n" not in line


def test_one_possible_answer_is_enough():
    assert describe_impossible_answers(problems([*SENTENCES, "5"]), BOXED) == ""
    late = problems([*SENTENCES * NUM_CHECKED, "5"])
    assert describe_impossible_answers(late, BOXED).startswith(f"none of the first {NUM_CHECKED} answers")


def test_no_problems_are_fine():
    assert describe_impossible_answers([], BOXED) == ""


def test_a_format_of_a_user_is_not_judged():
    assert describe_impossible_answers(problems(SENTENCES), Grader(extraction=("boxed", "own"))) == ""


def test_a_long_answer_is_shown_shortened():
    line = describe_impossible_answers(problems(["word and 1 " * 50]), BOXED)
    assert len(line) < 350
