import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soar_jax.config.prompt_texts import TEACHER
from soar_jax.problems.prompts import (
    Malformed,
    parse_boxed_answer,
    parse_first_question,
    parse_question,
    parse_question_answer,
    student_prompt,
    teacher_prompts,
)
from soar_jax.types import QuestionAnswer
from tests.configs import plain_prompts

PLAIN = plain_prompts(student="exam {question} ?", teacher="teacher")
TAGS = dataclasses.replace(PLAIN, teacher_format="tags")
BOXED_TAGS = dataclasses.replace(PLAIN, teacher_format="boxed_tags")


def parsed_pair(settings, text, extraction):
    """The pair in a text; None if it is malformed."""
    found = parse_question_answer(settings, text, extraction)
    return None if isinstance(found, Malformed) else found


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
    assert parsed_pair(PLAIN, text, ("after_equals",)) == pair


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
    assert parsed_pair(TAGS, text, ("boxed",)) == pair


Q, A = "<question>{}</question>", r"<answer>\boxed{{{}}}</answer>"
NO_QUESTION = "no closed <question> element"
NO_ANSWER = "no closed <answer> element after a question"
NO_BOX = r"no \boxed{...} in its answer"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (Q.format("1+1?") + A.format(2), ("1+1?", "2")),
        ("Let me think.\n" + Q.format("\n1+1?\n") + "\nSo it is\n" + A.format(" 2 ") + "\nDone.", ("1+1?", "2")),
        (Q.format("q") + r"<answer>It is \boxed{\frac{1}{2}}.</answer>", ("q", r"\frac{1}{2}")),
        (Q.format("q") + r"<answer>\boxed{1}, no: \boxed{2}</answer>", ("q", "2")),
        (Q.format("a") + A.format(1) + Q.format("b") + A.format(2), ("b", "2")),  # of several, the last
        (Q.format("a") + A.format(1) + "<question>cut short", ("a", "1")),
        (Q.format("a") + A.format(1) + Q.format("b"), ("a", "1")),
        (Q.format("q") + A.format(1) + A.format(2), ("q", "2")),
        ("Put it into <question> tags: " + Q.format("q") + A.format(2), ("q", "2")),
        (Q.format("is a < b > c?") + A.format(2), ("is a < b > c?", "2")),
        ("", NO_QUESTION),
        ("1+1? It is 2", NO_QUESTION),
        ("<question>q<question>" + A.format(2), NO_QUESTION),
        ("<question>q " + A.format(2), NO_QUESTION),
        ("q</question>" + A.format(2), NO_QUESTION),
        ("< Question >q</ Question >" + A.format(2), NO_QUESTION),
        (A.format(2) + Q.format("q"), NO_ANSWER),
        (Q.format("q"), NO_ANSWER),
        (Q.format("q") + r"<answer>\boxed{2}", NO_ANSWER),
        (Q.format("q") + r"\boxed{2}", NO_ANSWER),
        (Q.format("a") + "<question>b is open " + A.format(2), NO_ANSWER),  # it is no answer to a
        (Q.format("q") + "<answer>2</answer>", NO_BOX),
        (Q.format("q") + "<answer></answer>", NO_BOX),
        (Q.format("q") + A.format(""), NO_BOX),
        (Q.format("q") + r"<answer>\boxed{2</answer>}", NO_BOX),
        (Q.format("q") + r"<answer>2</answer> \boxed{2}", NO_BOX),
        (Q.format("a") + A.format(1) + Q.format("b") + "<answer>2</answer>", NO_BOX),
        (Q.format("q") + A.format("1" * 2000), NO_BOX),
        (Q.format(" \n") + A.format(2), "an empty question"),
        (Q.format(""), "an empty question"),
        (Q.format("q" * 5000) + A.format(2), "a question of more than 4000 characters"),
        ("<question>" * 5000, NO_QUESTION),
        ("<question></question>" * 5000, "an empty question"),
    ],
)
def test_pairs_in_closed_tags_with_a_box(text, found):
    wanted = Malformed(reason=found) if isinstance(found, str) else QuestionAnswer(question=found[0], answer=found[1])
    assert parse_question_answer(BOXED_TAGS, text, ("last_number",)) == wanted


def test_the_format_that_the_teachers_prompt_asks_is_well_formed():
    demanded = TEACHER["topics"].partition("without any change:\n")[2].partition("\nExplanations")[0]
    pair = QuestionAnswer(question="the complete problem", answer="its final answer")
    assert parse_question_answer(BOXED_TAGS, demanded, ("boxed",)) == pair


@pytest.mark.parametrize("name", ["one_example", "three_examples"])
def test_the_examples_of_the_teachers_prompt_are_well_formed(name):
    assert parse_question_answer(TAGS, TEACHER[name], ("boxed",)).answer in ("15", "60")


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("So: <question> q </question> and more", "q"),
        (Q.format("a") + Q.format("b"), "a"),
        ("</question><question>" + Q.format("q"), "q"),
        ("<question>q", Malformed(reason=NO_QUESTION)),
        ("q</question>", Malformed(reason=NO_QUESTION)),
        (Q.format(" "), Malformed(reason="an empty question")),
    ],
)
def test_the_first_question_of_a_text(text, question):
    assert parse_first_question(text) == question


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (A.format("5"), "5"),
        ("It is 4. " + A.format("4") + " No: " + A.format(r"\{5\}"), r"\{5\}"),
        (r"\boxed{5}", Malformed(reason=NO_ANSWER)),
        ("<answer>5</answer>", Malformed(reason=NO_BOX)),
    ],
)
def test_the_boxed_answer_of_a_text(text, answer):
    assert parse_boxed_answer(text) == answer


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
    assert parse_question(BOXED_TAGS, text, ("boxed",)) == question


def test_with_a_separator_a_question_needs_its_answer():
    """Without an answer it was cut short."""
    assert parse_question(PLAIN, "1 + 1 ? = 2", ("after_equals",)) == "1 + 1"
    assert parse_question(PLAIN, "1 + 1 ?", ("after_equals",)) is None


@given(st.one_of(st.text(), st.text(alphabet="<>/ questionanswer\\boxed{}", max_size=200)))
def test_any_text_is_parsed_without_an_error(text):
    for settings in (PLAIN, TAGS, BOXED_TAGS):
        parse_question_answer(settings, text, ("boxed", "after_equals"))


def test_a_prefilled_opening_is_parsed_with_the_completion():
    settings = dataclasses.replace(PLAIN, teacher_format="tags", teacher_opening="<question>\n")
    completion = "How many legs have 3 spiders?\n</question>\n<answer>24</answer>"
    pair = parse_question_answer(settings, settings.teacher_opening + completion, ("boxed",))
    assert pair == QuestionAnswer(question="How many legs have 3 spiders?", answer="24")
    assert isinstance(parse_question_answer(settings, completion, ("boxed",)), Malformed)
