"""Draws of the teacher; two turns on the embedded model with another vocabulary and completions from a script."""

import dataclasses
import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from soar_jax import parallel
from soar_jax.config.prompt_texts import TEACHER
from soar_jax.config.sections import PromptsSection
from soar_jax.grading.grader import Grader
from soar_jax.problems.prompts import Malformed, parse_boxed_answer
from soar_jax.rl.population import init_policy
from soar_jax.sampling.text import TextSampler
from soar_jax.soar import teacher
from soar_jax.soar.teacher_draws import draw_completions
from soar_jax.types import QuestionAnswer, RolloutBatch
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


# ">5" ends a closing tag and is more than that; "</q" is a part of one.
PIECES = ["<pad>", "<bos>", "<eos>", "<unk>", "teacher", "<question>", "</question", ">", ">5", "</q", "uestion>"]
PIECES += ["<answer>", "</answer>", r"\boxed{", "}", " then ", *"0123456789+?"]
EOS, REQUEST = 2, " then "
CHANGES = {
    "outer.num_datasets": 2,
    "outer.questions_per_dataset": 2,
    "teacher.turns": 2,
    "prompts.teacher_format": "boxed_tags",
    "prompts.answer_request": REQUEST,
    "prompts.bucket_tokens": (4, 16),
    "prompts.student": "{question}",
    "grading.extraction": ("boxed",),
}


class Backend:
    """Tokens of `PIECES`, the longest that fits first."""

    _piece = re.compile("|".join(map(re.escape, sorted(PIECES, key=len, reverse=True))))

    def __call__(self, text, add_special_tokens):
        return {"input_ids": [PIECES.index(piece) for piece in self._piece.findall(text)]}

    def batch_decode(self, rows, skip_special_tokens):
        return ["".join(PIECES[token] for token in row if token > 3) for row in rows]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scripted(TextSampler):
    """Samples completions that are known, by turns."""

    script: list
    asked: list  # prompts of each call

    def sample(self, weights, prompts, draw, first_prompt=0):
        texts = self.script.pop(0)
        assert len(prompts.lengths) * draw.num_samples == len(texts)
        self.asked.append(
            (jax.random.key_data(draw.key).tolist(), prompts.tokens.shape, self._texts(prompts.tokens, prompts.lengths))
        )
        rows = [[*self.tokenizer.backend(text, add_special_tokens=False)["input_ids"], EOS] for text in texts]
        tokens = np.zeros((len(rows), 24), np.int32)
        for row, ids in zip(tokens, rows, strict=True):
            row[: len(ids)] = ids
        rollouts = RolloutBatch(
            prompts=prompts,
            prompt_of=np.arange(len(rows), dtype=np.int32) // draw.num_samples,
            tokens=tokens,
            lengths=np.array([len(ids) for ids in rows], np.int32),
            sampler_logprobs=np.zeros(tokens.shape, np.float32),
        )
        return parallel.replicate(self.mesh, rollouts)

    def _texts(self, tokens, lengths):
        rows = [row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)]
        return self.tokenizer.decode(rows)


@pytest.fixture
def make_setup(nano_setup):
    def make(*script, **changes):
        config = make_config(**CHANGES | changes)
        sampler = nano_setup.sampler
        fields = {field.name: getattr(sampler, field.name) for field in dataclasses.fields(sampler)}
        tokenizer = dataclasses.replace(sampler.tokenizer, backend=Backend(), special_texts=("<eos>",))
        scripted = Scripted(**fields | {"tokenizer": tokenizer, "prompts": config.prompts}, script=[*script], asked=[])
        return dataclasses.replace(nano_setup, config=config, sampler=scripted)

    return make


def question(text):
    return f"<question>{text}</question>"


def answer(text):
    return rf"<answer>\boxed{{{text}}}</answer>"


WRITTEN = [
    "5+" + question("1+1?") + "5" + answer(9),  # what follows the question does not count
    "2+2?",
    "<question>3+3",
    "<question>4+4</q" + "uestion>" + "7",
]
ANSWERED = ["5 then " + answer(2), answer(8), answer(8), "8"]


def test_a_question_is_followed_by_its_answer(make_setup):
    setup = make_setup(WRITTEN, ANSWERED)
    found = draw_completions(setup, None, "teacher_sample", 3)
    no_question = Malformed(reason="no closed <question> element")
    no_answer = Malformed(reason="no closed <answer> element after a question")
    assert found.items == (QuestionAnswer(question="1+1?", answer="2"), no_question, no_question, no_answer)
    (first_key, first_shape, first), (second_key, second_shape, second) = setup.sampler.asked
    assert first == ["teacher"]
    asked = "teacher" + question("1+1?") + REQUEST
    assert second == [asked, asked, asked, "teacher" + question("4+4") + REQUEST]  # a stand-in where there is none
    assert (first_shape, second_shape) == ((1, 16), (4, 16))  # the longest bucket, whatever is asked
    assert first_key != second_key


def test_rollouts_end_with_the_question(make_setup):
    setup = make_setup(WRITTEN, ANSWERED)
    first, second = draw_completions(setup, None, "teacher_sample", 3).turns
    written = setup.sampler.texts(first)
    assert written == ["5+" + question("1+1?") + "5", *WRITTEN[1:3], "<question>4+4</question>"]
    assert second.lengths.tolist() == [8, 0, 0, 2]  # without a question there is nothing to learn


def test_a_draw_without_questions_asks_for_nothing(make_setup):
    setup = make_setup(["5"] * 4, [answer(2)] * 4)
    found = draw_completions(setup, None, "teacher_sample", 0)
    assert all(isinstance(item, Malformed) for item in found.items)
    assert setup.sampler.asked[1][2] == ["teacher"] * 4
    assert found.turns[1].lengths.tolist() == [0] * 4


def test_a_question_must_leave_room_for_its_request(make_setup):
    """It fits a student's prompt, but not the prompt of its answer."""
    long = "1+2+3+4+5+6+7+8"  # 15 tokens
    setup = make_setup([question(long)] * 4, [answer(2)] * 4)
    assert setup.sampler.fits(long)
    found = draw_completions(setup, None, "teacher_sample", 0)
    assert {item.reason for item in found.items} == {"a question that is too long for the prompt of its answer"}


def test_the_opening_is_a_part_of_the_question(make_setup):
    setup = make_setup(["1+1</question>2"] * 4, [answer(2)] * 4, **{"prompts.teacher_opening": "<question>"})
    found = draw_completions(setup, None, "teacher_sample", 0)
    assert found.items == (QuestionAnswer(question="1+1", answer="2"),) * 4
    assert setup.sampler.texts(found.turns[0]) == ["1+1</question>"] * 4
    assert setup.sampler.asked[1][2] == ["teacher" + question("1+1") + REQUEST] * 4


@pytest.mark.slow
@pytest.mark.parametrize("malformed", [pytest.param("penalise", marks=pytest.mark.slow), "resample"])
def test_the_teacher_learns_from_both_turns(make_setup, malformed):
    texts = [question(f"{k}+1") for k in range(4)]
    later = [question("8+1"), "9", "9", "9"], [answer(8)] * 4
    setup = make_setup(texts, [answer(5), answer(6), "7", answer(8)], *later, **{"teacher.malformed": malformed})
    datasets = teacher.sample_datasets(setup, None, 0)
    assert setup.sampler.script == ([] if malformed == "resample" else [*later])
    assert datasets.valid_share == (4 / 5 if malformed == "resample" else 3 / 4)
    kept = [0, 1, 3, 8] if malformed == "resample" else [0, 1, 2, 3]
    answers = ["5", "6", "8", "8"] if malformed == "resample" else ["5", "6", None, "8"]
    rows = setup.sampler.texts(datasets.rollouts)
    assert rows[:4] == [question(f"{k}+1") for k in kept]
    assert [text if isinstance(text := parse_boxed_answer(row), str) else None for row in rows[4:]] == answers
    loss = {"model": setup.sampler.model, "optimizer": setup.teacher.optimizer}
    state = init_policy(setup.base_weights, mesh=setup.mesh, **loss)
    advantages = np.array([[1, 1], [-1, -1]], np.float32)
    _, metrics = teacher.teach(setup, state, datasets, advantages=advantages, step=0)
    assert metrics["teacher_active_share"] == 1.0
    assert metrics["teacher_grad_norm"] > 0


def test_the_request_asks_for_what_is_parsed():
    """The config's texts of both turns, followed to the letter."""
    request = PromptsSection().answer_request
    element = re.search(r"<answer>.*</answer>", request)[0].replace("...", "5")
    assert parse_boxed_answer(element) == "5"
    assert element.replace("5", "its final answer") in TEACHER["topics"]
