"""What becomes of the teacher's texts: parsed, cut into datasets, handed to students."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import ml_collections
import numpy as np
import pytest

from configs import hard_only
from configs.soar_math import get_config
from soar_jax.problems.prompts import PromptSettings
from soar_jax.soar import teacher
from soar_jax.soar.teacher import Datasets
from soar_jax.types import QuestionAnswer


def pair(text):
    return QuestionAnswer(question=text, answer="1")


def sizes(num_datasets, questions_per_dataset, **more):
    outer = {"num_datasets": num_datasets, "questions_per_dataset": questions_per_dataset} | more
    return ml_collections.ConfigDict({"seed": 0, "outer": outer})


def draws(monkeypatch, written):
    """Lets the teacher write, at draw k, the k-th of some lists and then nothing that can be parsed; what it drew."""
    drawn = []

    def write(setup, policy, stream, index):
        drawn.append((stream, index))
        return None, written[index] if index < len(written) else [None] * 4

    monkeypatch.setattr(teacher, "_write", write)
    return drawn


def test_a_curriculum_is_the_first_questions_that_can_be_parsed(monkeypatch):
    drawn = draws(monkeypatch, [[pair("a"), None, pair("b"), pair("c")], [*map(pair, "defg")], [*map(pair, "hijk")]])
    written = teacher.write_curriculum(SimpleNamespace(config=sizes(2, 2)), None, 6)
    assert "".join(item.question for item in written) == "abcdef"
    assert drawn == [("teacher_curriculum", 0), ("teacher_curriculum", 1)]


def test_a_teacher_that_has_lost_its_format_writes_a_short_curriculum(monkeypatch):
    drawn = draws(monkeypatch, [[None, None, pair("a"), None]])
    assert teacher.write_curriculum(SimpleNamespace(config=sizes(2, 2)), None, 6) == (pair("a"),)
    assert [index for _, index in drawn] == list(range(2 * teacher.MAX_DRAWS_OVER_NEED))


def test_rollouts_take_turns_with_the_subjects_and_are_cut_in_order():
    prompts = PromptSettings(
        student="", teacher="{subject}:", bucket_tokens=(8,), subjects=("x", "y"), teacher_opening="Q"
    )
    texts = [" x0 ? = 1", " x1 ? = 2", " x2 is cut short", " y0 ? = 4", " y1, too long ? = 5", " y2 ? = 6"]

    def sample(policy, asked, key, settings, samples):
        assert asked == (["x:", "y:"], ("Q", "Q"))
        assert samples == 3
        return {"row": np.arange(6)}

    sampler = SimpleNamespace(
        prompts=prompts,
        encode_prompts=lambda *asked: asked,
        sample_policy=sample,
        texts=lambda rollouts: [texts[row] for row in rollouts["row"]],
        fits=lambda question: "too long" not in question,
    )
    setup = SimpleNamespace(
        config=sizes(2, 3),
        sampler=sampler,
        grader=SimpleNamespace(extraction=("after_equals",)),
        teacher=SimpleNamespace(sampling=None),
    )
    datasets = teacher.write_questions(setup, None, 0)
    assert datasets.rollouts["row"].tolist() == [0, 3, 1, 4, 2, 5]
    assert datasets.items == (
        (
            QuestionAnswer(question="Q x0", answer="1"),
            QuestionAnswer(question="Q y0", answer="4"),
            QuestionAnswer(question="Q x1", answer="2"),
        ),
        (None, None, QuestionAnswer(question="Q y2", answer="6")),
    )
    assert datasets.is_valid.tolist() == [[True, True, True], [False, False, True]]


def test_as_many_rollouts_as_wanted_are_kept_where_subjects_do_not_divide_them(monkeypatch):
    sampler = SimpleNamespace(
        prompts=PromptSettings(student="", teacher="{subject}", bucket_tokens=(8,), subjects=("x", "y", "z")),
        encode_prompts=lambda *asked: asked,
        sample_policy=lambda policy, asked, key, settings, samples: np.arange(3 * samples),
        texts=lambda rows: [""] * len(rows),
    )
    monkeypatch.setattr(teacher, "parse", lambda setup, text: None)
    setup = SimpleNamespace(config=sizes(2, 2), sampler=sampler, teacher=SimpleNamespace(sampling=None))
    assert teacher.write_questions(setup, None, 0).rollouts.tolist() == [0, 2, 4, 1]


def test_students_of_one_dataset_have_the_same_questions_without_the_unparsable():
    datasets = Datasets(
        rollouts=None, items=((pair("a"), None, pair("b")), (None, None, None), (pair("c"), pair("d"), pair("e")))
    )
    setup = SimpleNamespace(config=sizes(3, 3, students_per_dataset=2))
    asked = ["".join(item.question for item in items) for items in teacher.curriculum(setup, datasets).questions]
    assert asked == ["ab", "ab", "", "", "cde", "cde"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """As much of a setup as embedding asks for."""

    config: Any
    embedder: Any
    start: Any = None


class Lengths:
    """Knows a text's length."""

    def embed(self, texts):
        return np.array([[len(text), 1.0] for text in texts])


def test_embeddings_are_relative_to_those_of_the_untrained_teachers_questions(monkeypatch):
    written = Datasets(rollouts=None, items=((pair("a"), None), (pair("bbb"), pair("ccccc"))))
    monkeypatch.setattr(teacher, "write_questions", lambda *_: written)
    centred = teacher.centre_embeddings(Setup(config=get_config(), embedder=Lengths()))
    assert centred.embedder.embed(["a", "bbb", "12345"]).tolist() == [[-2, 0], [0, 0], [2, 0]]


def test_a_teacher_that_writes_nothing_parsable_leaves_embeddings_as_they_are(monkeypatch):
    monkeypatch.setattr(teacher, "write_questions", lambda *_: Datasets(rollouts=None, items=((None,), (None,))))
    setup = Setup(config=get_config(), embedder=Lengths())
    assert teacher.centre_embeddings(setup) is setup


def test_a_run_that_embeds_no_questions_has_none_written(monkeypatch):
    monkeypatch.setattr(teacher, "write_questions", lambda *_: pytest.fail("questions were written"))
    setup = Setup(config=hard_only.get_config(), embedder=Lengths())
    assert teacher.centre_embeddings(setup) is setup


def test_a_frozen_teacher_stays_as_it_is():
    config = ml_collections.ConfigDict({"teacher": {"train": False}})
    assert teacher.teach(SimpleNamespace(config=config), "state", datasets=None, advantages=None, step=0) == (
        "state",
        {},
    )
