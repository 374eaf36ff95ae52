"""What self-play reads from what students write."""

from types import SimpleNamespace

import pytest

from soar_jax.problems.prompts import PromptSettings
from soar_jax.soar import self_play


def setup(teacher_format):
    prompts = PromptSettings("{question}", "", (8,), teacher_format=teacher_format)
    sampler = SimpleNamespace(prompts=prompts, fits=lambda question: len(question) < 40)
    return SimpleNamespace(sampler=sampler, grader=SimpleNamespace(extraction=("boxed", "after_equals")))


@pytest.mark.parametrize(
    ("teacher_format", "text", "question"),
    [
        ("tags", "Ana has 12 apples. How many are 3 more?", "Ana has 12 apples. How many are 3 more?"),
        ("tags", "Ana has 12 apples and gives all but 5 of them away, twice.", None),  # too long to be asked
        ("separator", "dial 1 2 3 rotate ? = 2 3 1", "dial 1 2 3 rotate"),
        ("separator", "dial 1 2 3 rotate", None),
    ],
)
def test_a_question_needs_an_answer_only_where_its_form_has_one(teacher_format, text, question):
    assert self_play._read(setup(teacher_format), text) == question


@pytest.mark.parametrize(
    ("opening", "text", "is_chat", "joined"),
    [
        ("Ana has", " 12 apples", True, "Ana has 12 apples"),
        ("Ana has", "12 apples", True, "Ana has 12 apples"),  # a tokenizer that drops the first blank
        ("Ana has 12", ", Ben 3", True, "Ana has 12, Ben 3"),
        ("coin 1 2", ". . ?", False, "coin 1 2 . . ?"),
    ],
)
def test_an_opening_and_its_continuation_are_one_text(opening, text, is_chat, joined):
    assert self_play._joined(opening, text, is_chat) == joined


def test_an_opening_is_short_also_where_no_blank_ends_a_word():
    assert self_play._opening("one two three", 2) == "one two"
    assert len(self_play._opening("x" * 5000, 2)) == 80
