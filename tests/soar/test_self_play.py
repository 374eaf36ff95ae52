"""What self-play reads from what students write."""

from types import SimpleNamespace

import ml_collections
import numpy as np
import pytest

from soar_jax.grading.grader import Grader
from soar_jax.problems.prompts import PromptSettings
from soar_jax.soar import self_play
from soar_jax.types import PromptBatch, QuestionAnswer


def setup(teacher_format):
    prompts = PromptSettings(student="{question}", teacher="", bucket_tokens=(8,), teacher_format=teacher_format)
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


def test_similarity_counts_words_that_stand_often():
    one, other = (" ".join(f"+ {number}" for number in range(start, start + 200)) for start in (0, 1000))
    assert self_play.similarity(one, other) == pytest.approx(0.5)


def test_what_resembles_a_seed_an_earlier_question_or_one_beside_it_is_dropped():
    seed, earlier, new, other = ("a b c d e f g h", "1 2 3 4 5 6 7 8", "k l m n o p q r", "s t u v w x y z")
    near = [text[:-1] + "!" for text in (seed, earlier, new)]  # 7 of 8 words
    written = [near[0], new, near[1], near[2], seed, other, new]
    assert self_play._new_ones(written, [seed, earlier], 0.8) == [new, other]
    assert self_play._new_ones(written, [seed, earlier], 7 / 8) == [near[0], new, near[1], near[2], other]


def label(answers, questions, agreement):
    """What replicas keep of their questions, and what they were asked; `answers` are a question's four."""
    asked = []

    def encode(texts):
        asked.extend(texts)
        return PromptBatch(tokens=np.zeros((len(texts), 3), int), lengths=np.zeros(len(texts), int))

    def sample(params, prompts, keys, settings, samples):
        assert (prompts.tokens.shape, prompts.lengths.shape, len(keys)) == ((2, 4, 3), (2, 4), 2)
        assert samples == 4
        return [text for question in asked for text in answers[question]]

    sampler = SimpleNamespace(encode_questions=encode, sample_population=sample, texts=list)
    config = ml_collections.ConfigDict(
        {
            "seed": 0,
            "final": {"num_replicas": 2},
            "self_play": {"questions_per_episode": 4, "label_samples": 4, "agreement": agreement},
        }
    )
    setup = SimpleNamespace(
        config=config,
        sampler=sampler,
        grader=Grader(extraction=("after_equals",)),
        student=SimpleNamespace(sampling=None),
    )
    return self_play._label(setup, None, questions=questions, episode=0), asked


def test_questions_are_kept_by_their_majority_which_becomes_the_label():
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
    assert asked == ["sure", "strong", "weak", "lost", "other", "", "", ""]  # one shape, whatever is left


def test_without_an_answer_there_is_no_label():
    answers = {"q": ["none"] * 4, "": ["= 1"] * 4}
    assert label(answers, [["q"], []], (0.0, 1.0))[0] == [(), ()]
