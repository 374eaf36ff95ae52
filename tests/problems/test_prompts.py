import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soar_jax.problems.prompts import parse_question, parse_question_answer, student_prompt, teacher_prompts
from soar_jax.types import QuestionAnswer
from tests.configs import plain_prompts

PLAIN = plain_prompts(student="exam {question} ?", teacher="teacher")
TAGS = dataclasses.replace(PLAIN, teacher_format="tags")


def test_a_question_is_inserted_and_not_interpreted():
    assert student_prompt(PLAIN, "{question} %s {0}") == "exam {question} %s {0} ?"


def test_the_teacher_has_one_prompt_per_subject():
    settings = dataclasses.replace(PLAIN, teacher="write about {subject}", subjects=("a", "b"))
    assert teacher_prompts(settings) == ["write about a", "write about b"]
    assert teacher_prompts(PLAIN) == ["teacher"]


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("sum 1 2 3 ? = 6", QuestionAnswer(question="sum 1 2 3", answer="6")),
        ("sum 1 2 3 ? > 3 = 6", QuestionAnswer(question="sum 1 2 3", answer="6")),
        ("sum 1 2 3 = 6", None),
        ("? = 6", None),
        ("sum 1 2 3 ? 6", None),
        ("x" * 5000 + "? = 6", None),
    ],
)
def test_pairs_with_a_separator(text, pair):
    assert parse_question_answer(PLAIN, text, ("after_equals",)) == pair


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        (r"<question>1+1?</question><answer>\boxed{2}</answer>", QuestionAnswer(question="1+1?", answer="2")),
        ("<question>\n1+1?\n</question>\n\n<answer> 2 </answer>", QuestionAnswer(question="1+1?", answer="2")),
        ("Sure!\n< Question >q< / QUESTION > <ANSWER>2</ANSWER> bye", QuestionAnswer(question="q", answer="2")),
        ("<question>q</question><answer>2", QuestionAnswer(question="q", answer="2")),
        ("<question>q <answer>2</answer>", QuestionAnswer(question="q", answer="2")),
        (
            "<question>a</question><answer>1</answer><question>b</question><answer>2</answer>",
            QuestionAnswer(question="b", answer="2"),
        ),
        ("<answer>2</answer><question>q</question>", None),
        (
            "<question>2+3?</question><answer>5</answer><question>A train travels 180 km in",
            QuestionAnswer(question="2+3?", answer="5"),
        ),
        ("<question>q</question><answer>about 4</answer><answer>5</answer>", QuestionAnswer(question="q", answer="5")),
        (
            r"<question>q</question><answer>first 1, so\nthen \boxed{3}</answer>",
            QuestionAnswer(question="q", answer="3"),
        ),
        ("<question>q</question><answer>long\nwinded</answer>", None),
        ("<question></question><answer>2</answer>", None),
        ("<question>q</question><answer></answer>", None),
        ("<question>q</question>", None),
        ("q 2", None),
        ("<question>" * 5000, None),
        ("<question>" + "q" * 5000 + "</question><answer>2</answer>", None),
    ],
)
def test_pairs_in_tags(text, pair):
    assert parse_question_answer(TAGS, text, ("boxed",)) == pair


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Ana has 12 apples. How many are 3 more? ", "Ana has 12 apples. How many are 3 more?"),
        ("<question>\nq\n</question>\n<answer>2</answer>", "q"),
        ("Ana has 12 apples.\n</question>\n<answer>2</answer>", "Ana has 12 apples."),
        ("<question></question>", None),
        (" \n", None),
        ("q" * 5000, None),
    ],
)
def test_a_question_needs_neither_tags_nor_an_answer(text, question):
    assert parse_question(TAGS, text, ("boxed",)) == question


def test_with_a_separator_a_question_needs_its_answer():
    """Without an answer it was cut short."""
    assert parse_question(PLAIN, "1 + 1 ? = 2", ("after_equals",)) == "1 + 1"
    assert parse_question(PLAIN, "1 + 1 ?", ("after_equals",)) is None


@given(st.one_of(st.text(), st.text(alphabet="<>/ questionanswer\\boxed{}", max_size=200)))
def test_any_text_is_parsed_without_an_error(text):
    for settings in (PLAIN, TAGS):
        parse_question_answer(settings, text, ("boxed", "after_equals"))


def test_a_prefilled_opening_is_parsed_with_the_completion():
    settings = dataclasses.replace(PLAIN, teacher_format="tags", teacher_opening="<question>\n")
    completion = "How many legs have 3 spiders?\n</question>\n<answer>24</answer>"
    pair = parse_question_answer(settings, settings.teacher_opening + completion, ("boxed",))
    assert pair == QuestionAnswer(question="How many legs have 3 spiders?", answer="24")
    assert parse_question_answer(settings, completion, ("boxed",)) is None
