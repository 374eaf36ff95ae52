"""The teacher's texts: sampled, parsed, cut into datasets, handed to students."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from soar_jax.problems.prompts import Malformed
from soar_jax.rl.indicators import CompletionSums
from soar_jax.rng import stream_key
from soar_jax.soar import teacher
from soar_jax.soar.teacher import Datasets
from soar_jax.soar.teacher_draws import TeacherDraw
from soar_jax.types import PromptBatch, QuestionAnswer, RolloutBatch
from tests.configs import make_config

FOUR = {"outer.num_datasets": 2, "outer.questions_per_dataset": 2}


def pair(text):
    return QuestionAnswer(question=text, answer="1")


class Writer:
    """A sampler that writes, at draw k, the k-th of some texts' letters, and then nothing; a blank is unparsable."""

    def __init__(self, *written):
        self.keys, self._written = [], written

    def encode_prompts(self, texts, openings):
        assert (texts, openings) == (["teacher"], ("",))

    def sample(self, policy, prompts, draw):
        assert (policy, draw.num_samples) == ("policy", 4)
        self.keys.append(draw.key)
        return np.arange(4)

    def texts(self, rollouts):
        draw = len(self.keys) - 1
        letters = self._written[draw] if draw < len(self._written) else " " * 4
        return [f"{letters[row]} ? = 1" for row in rollouts]

    def fits(self, question):
        return True


def sample_questions(count, *written):
    """Returns the curriculum of a `Writer`, the writer, and the progress that was shown."""
    writer, shown = Writer(*written), []
    setup = SimpleNamespace(
        config=make_config(**FOUR),
        sampler=writer,
        grader=SimpleNamespace(extraction=("after_equals",)),
        teacher=SimpleNamespace(sampling=None),
        show_progress=lambda *progress: shown.append(progress),
    )
    return teacher.sample_questions(setup, "policy", count), writer, shown


def test_a_curriculum_is_the_first_well_formed_questions():
    written, writer, shown = sample_questions(6, "a bc", "defg", "hijk")
    assert shown == [("questions", 3, 6, ""), ("questions", 6, 6, "")]
    assert "".join(item.question for item in written) == "abcdef"
    wanted = [jax.random.key_data(stream_key(0, "teacher_curriculum", draw)) for draw in range(2)]
    np.testing.assert_array_equal([jax.random.key_data(key) for key in writer.keys], wanted)


def test_a_teacher_without_format_writes_a_short_curriculum():
    written, writer, _ = sample_questions(6, "  a ")
    assert written == (pair("a"),)
    assert len(writer.keys) == 2 * teacher.MAX_DRAWS_OVER_NEED


def numbered(count):
    """Rollouts whose rows have their numbers as lengths."""
    rows = np.arange(count, dtype=np.int32)
    prompts = PromptBatch(tokens=np.zeros((1, 1), np.int32), lengths=np.ones(1, np.int32))
    tokens = np.zeros((count, 1), np.int32)
    return RolloutBatch(
        prompts=prompts,
        prompt_of=np.zeros_like(rows),
        tokens=tokens,
        lengths=rows,
        sampler_logprobs=tokens.astype(np.float32),
    )


@pytest.fixture
def completions(monkeypatch):
    """Sums over the completions of a draw whose rollouts are no real ones."""
    sums = CompletionSums(completions=4, tokens=8)
    monkeypatch.setattr(TeacherDraw, "completion_sums", lambda draw, setup: sums)
    return sums


def test_rollouts_cycle_over_subjects_and_are_cut_in_order(completions):
    texts = [" x0 ? = 1", " x1 ? = 2", " x2 is cut short", " y0 ? = 4", " y1, too long ? = 5", " y2 ? = 6"]

    def sample(policy, asked, draw):
        assert asked == (["x:", "y:"], ("Q", "Q"))
        assert draw.num_samples == 3
        return numbered(6)

    sampler = SimpleNamespace(
        encode_prompts=lambda *asked: asked,
        sample=sample,
        texts=lambda rollouts: [texts[row] for row in rollouts.lengths.tolist()],
        fits=lambda question: "too long" not in question,
    )
    prompts = {"prompts.teacher": "{subject}:", "prompts.subjects": ("x", "y"), "prompts.teacher_opening": "Q"}
    setup = SimpleNamespace(
        config=make_config(**{"outer.num_datasets": 2, "outer.questions_per_dataset": 3}, **prompts),
        sampler=sampler,
        grader=SimpleNamespace(extraction=("after_equals",)),
        teacher=SimpleNamespace(sampling=None),
    )
    datasets = teacher.sample_datasets(setup, None, 0)
    assert datasets.rollouts.lengths.tolist() == [0, 3, 1, 4, 2, 5]
    assert datasets.completions is completions
    assert datasets.items == (
        (
            QuestionAnswer(question="Q x0", answer="1"),
            QuestionAnswer(question="Q y0", answer="4"),
            QuestionAnswer(question="Q x1", answer="2"),
        ),
        (None, None, QuestionAnswer(question="Q y2", answer="6")),
    )
    assert datasets.is_valid.tolist() == [[True, True, True], [False, False, True]]


def test_rollouts_beyond_the_datasets_are_dropped(completions):
    """Three subjects do not divide four questions."""
    sampler = SimpleNamespace(
        encode_prompts=lambda *asked: asked,
        sample=lambda policy, asked, draw: numbered(3 * draw.num_samples),
        texts=lambda rollouts: [""] * len(rollouts.lengths),
    )
    config = make_config(**FOUR, **{"prompts.teacher": "{subject}", "prompts.subjects": ("x", "y", "z")})
    grader = SimpleNamespace(extraction=("after_equals",))
    setup = SimpleNamespace(config=config, sampler=sampler, grader=grader, teacher=SimpleNamespace(sampling=None))
    assert teacher.sample_datasets(setup, None, 0).rollouts.lengths.tolist() == [0, 2, 4, 1]


def test_shares_count_completions_that_were_sampled_again():
    items = ((pair("a"), None), (pair("b"), pair("c")))
    assert Datasets(rollouts=None, items=items).valid_share == 0.75
    whole = ((pair("a"), pair("b")), (pair("c"), pair("d")))
    assert Datasets(rollouts=None, items=whole, num_rejected=4).valid_share == 0.5


@pytest.mark.parametrize("turns", [1, 2])
def test_both_turns_of_a_pair_have_its_advantage(turns):
    datasets = Datasets(rollouts=SimpleNamespace(lengths=np.zeros(4 * turns)), items=())
    advantages = np.array([[1, 2], [3, 4]], np.float32)
    assert datasets.row_advantages(advantages).tolist() == [1, 2, 3, 4] * turns


def test_students_of_a_dataset_share_its_well_formed_questions():
    datasets = Datasets(
        rollouts=None, items=((pair("a"), None, pair("b")), (None, None, None), (pair("c"), pair("d"), pair("e")))
    )
    asked = ["".join(item.question for item in items) for items in datasets.question_sets(repeats=2)]
    assert asked == ["ab", "ab", "", "", "cde", "cde"]


MALFORMED = Malformed(reason="nothing")


def drawing(*items):
    """A function that draws these pairs, by the names of an outer step's first draw."""

    def draw(setup, policy, stream, *indices):
        assert (policy, stream, indices) == (setup.base_weights, "teacher_sample", (0,))
        return TeacherDraw(turns=(), texts=("",) * len(items), items=items)

    return draw


class Lengths:
    """Embeds a text by its length."""

    def embed(self, texts):
        return np.array([[len(text), 1.0] for text in texts])


@pytest.fixture
def setup(nano_setup):
    return dataclasses.replace(nano_setup, embedder=Lengths())


def test_embeddings_are_relative_to_the_untrained_teachers(setup, monkeypatch):
    monkeypatch.setattr(teacher, "draw_completions", drawing(pair("a"), MALFORMED, pair("bbb"), pair("ccccc")))
    centred = teacher.centre_embeddings(setup)
    assert centred.embedder.embed(["a", "bbb", "12345"]).tolist() == [[-2, 0], [0, 0], [2, 0]]


def test_without_well_formed_questions_nothing_is_centred(setup, monkeypatch):
    monkeypatch.setattr(teacher, "draw_completions", drawing(MALFORMED, MALFORMED))
    assert teacher.centre_embeddings(setup) is setup


def test_a_run_that_embeds_no_questions_writes_none(setup, monkeypatch):
    monkeypatch.setattr(teacher, "draw_completions", lambda *_: pytest.fail("questions were written"))
    hard_only = dataclasses.replace(setup, config=make_config("hard_only"))
    assert teacher.centre_embeddings(hard_only) is hard_only


def test_a_frozen_teacher_does_not_change(nano_setup):
    frozen = dataclasses.replace(nano_setup, config=make_config("frozen_teacher"))
    assert teacher.teach(frozen, "state", datasets=None, advantages=None, step=0) == ("state", {})
