"""How self-play reads, filters and labels the questions that students write."""

from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.grading.grader import Grader
from soar_jax.soar import self_play
from soar_jax.types import PromptBatch, QuestionAnswer
from tests.configs import make_config, plain_prompts


def make_setup(teacher_format):
    prompts = plain_prompts(student="{question}", teacher_format=teacher_format)
    sampler = SimpleNamespace(prompts=prompts, fits=lambda question: len(question) < 40)
    return SimpleNamespace(sampler=sampler, grader=SimpleNamespace(extraction=("boxed", "after_equals")))


@pytest.mark.parametrize(
    ("teacher_format", "text", "question"),
    [
        ("tags", "Ana has 12 apples. How many are 3 more?", "Ana has 12 apples. How many are 3 more?"),
        ("tags", "Ana has 12 apples and gives all but 5 of them away, twice.", None),  # too long for a prompt
        ("separator", "dial 1 2 3 rotate ? = 2 3 1", "dial 1 2 3 rotate"),
        ("separator", "dial 1 2 3 rotate", None),
    ],
)
def test_a_question_needs_an_answer_with_a_separator_alone(teacher_format, text, question):
    assert self_play.read_question(make_setup(teacher_format), text) == question


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
    assert self_play.join_opening(opening, text, is_chat) == joined


def test_an_opening_is_short_even_without_blanks():
    assert self_play.cut_opening("one two three", 2) == "one two"
    assert len(self_play.cut_opening("x" * 5000, 2)) == 80


SEED = "Ana has 12 apples and eats 3 of them"


@pytest.mark.parametrize(
    ("other", "share"),
    [
        (SEED, 1.0),
        (SEED.replace("12", "40"), 8 / 9),  # words count, not letters
        (SEED.replace(" ", "\n  "), 1.0),
        ("of 3 eats apples has Ana", 2 / 15),  # in order
        ("", 0.0),
    ],
)
def test_similarity_is_the_share_of_words_in_common(other, share):
    assert self_play.similarity(SEED, other) == pytest.approx(share)


def test_similarity_counts_frequent_words():
    one, other = (" ".join(f"+ {number}" for number in range(start, start + 200)) for start in (0, 1000))
    assert self_play.similarity(one, other) == pytest.approx(0.5)


def test_near_duplicates_are_dropped():
    """Of a seed, of an earlier question, and of another new question."""
    seed, earlier, new, other = ("a b c d e f g h", "1 2 3 4 5 6 7 8", "k l m n o p q r", "s t u v w x y z")
    near = [text[:-1] + "!" for text in (seed, earlier, new)]  # 7 of 8 words
    written = [near[0], new, near[1], near[2], seed, other, new]
    assert self_play.new_questions(written, [seed, earlier], 0.8) == [new, other]
    assert self_play.new_questions(written, [seed, earlier], 7 / 8) == [near[0], new, near[1], near[2], other]


def label(answers, questions, agreement):
    """Returns the questions that replicas keep, and those that they answer; `answers` are a question's four."""
    asked = []

    def encode(texts):
        asked.extend(texts)
        return PromptBatch(tokens=np.zeros((len(texts), 3), int), lengths=np.zeros(len(texts), int))

    def sample(weights, prompts, draw):
        assert (prompts.tokens.shape, prompts.lengths.shape, len(draw.key)) == ((2, 4, 3), (2, 4), 2)
        assert draw.num_samples == 4
        return [text for question in asked for text in answers[question]]

    changes = {"questions_per_episode": 4, "label_samples": 4, "agreement": agreement}
    setup = SimpleNamespace(
        config=make_config(
            "serl", **{"final.num_replicas": 2}, **{f"self_play.{key}": value for key, value in changes.items()}
        ),
        sampler=SimpleNamespace(encode_questions=encode, sample=sample, texts=list),
        grader=Grader(extraction=("after_equals",)),
        student=SimpleNamespace(sampling=None),
    )
    return self_play.label_by_vote(setup, None, questions=questions, episode=0), asked


def test_the_majority_answer_becomes_the_label():
    """Questions with a majority outside `self_play.agreement` are dropped."""
    answers = {
        "sure": ["= 1"] * 4,
        "strong": ["= 2", "= 2", "= 7", "= 2"],
        "weak": ["= 3", "no answer", "=  3", "= 4"],
        "lost": ["= 1", "= 2", "= 3", "= 4"],
        "other": ["= 8", "= 5", "= 5", "= 5"],
        "": ["= 9", "= 9", "= 9", "= 1"],
    }
    questions = [["sure", "strong", "weak", "lost"], ["other"]]
    kept, asked = label(answers, questions, (0.5, 0.75))
    assert kept == [
        (QuestionAnswer(question="strong", answer="2"), QuestionAnswer(question="weak", answer="3")),
        (QuestionAnswer(question="other", answer="5"),),
    ]
    assert asked == ["sure", "strong", "weak", "lost", "other", "", "", ""]  # one shape for any number of questions


def test_without_an_answer_there_is_no_label():
    answers = {"q": ["none"] * 4, "": ["= 1"] * 4}
    assert label(answers, [["q"], []], (0.0, 1.0))[0] == [(), ()]
