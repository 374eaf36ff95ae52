from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.config.prompt_texts import TEACHER
from soar_jax.grading.grader import Grader
from soar_jax.problems.prompts import Malformed
from soar_jax.soar.teacher_draws import draw_completions
from soar_jax.types import QuestionAnswer
from tests.configs import make_config

BOXED_TAGS = {"prompts.teacher_format": "boxed_tags", "prompts.teacher": TEACHER["topics"]}


def draw(*texts, **changes):
    """Reads texts that a sampler is made to return, one a completion."""
    sampler = SimpleNamespace(
        encode_prompts=lambda *asked: asked,
        sample=lambda policy, asked, draw: np.arange(len(texts)),
        texts=lambda rows: [texts[row] for row in rows],
        fits=lambda question: "too long" not in question,
    )
    setup = SimpleNamespace(
        config=make_config(**{"outer.num_datasets": 2, "outer.questions_per_dataset": len(texts) // 2}, **changes),
        sampler=sampler,
        grader=Grader(extraction=("boxed",), equivalence="math"),
        teacher=SimpleNamespace(sampling=None),
    )
    return draw_completions(setup, None, "teacher_sample", 0)


def element(question, answer):
    return rf"<question>{question}</question> <answer>\boxed{{{answer}}}</answer>"


def test_pairs_are_refused_that_cannot_be_asked_or_graded():
    texts = [element("1+1?", "2"), element("too long", "2"), element("q", "..."), element("x?", r"\sqrt{2}")]
    found = draw(*texts, "no tags", element("q", "1+"), **BOXED_TAGS)
    unfit = Malformed(reason="a question that does not fit a student's prompt")
    unreadable = Malformed(reason="an answer that the grader cannot read")
    assert found.items == (
        QuestionAnswer(question="1+1?", answer="2"),
        unfit,
        unreadable,
        QuestionAnswer(question="x?", answer=r"\sqrt{2}"),
        Malformed(reason="no closed <question> element"),
        unreadable,
    )
    assert found.texts == (*texts, "no tags", element("q", "1+"))


@pytest.mark.parametrize("teacher_format", ["tags", "separator"])
def test_in_other_formats_answers_need_not_be_readable(teacher_format):
    text = {"tags": element("q", "..."), "separator": r"q ? \boxed{...}"}[teacher_format]
    found = draw(text, text, **{"prompts.teacher_format": teacher_format})
    assert found.items == (QuestionAnswer(question="q", answer="..."),) * 2
