import dataclasses
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax import parallel
from soar_jax.errors import SettingsError
from soar_jax.problems.prompts import Malformed
from soar_jax.rl.advantages import rloo
from soar_jax.soar import rejection_sampling, teacher, teacher_draws
from soar_jax.soar.rejection_sampling import draw_until_well_formed
from soar_jax.soar.teacher_draws import TeacherDraw
from soar_jax.types import PromptBatch, QuestionAnswer, RolloutBatch
from tests.configs import make_config

FOUR = {"outer.num_datasets": 2, "outer.questions_per_dataset": 2, "teacher.malformed": "resample"}


def rows_of(values, place=lambda tree: tree, has_own_prompts=False):
    """A batch in which all of row i has the i-th value; with own prompts also the i-th prompt."""
    values = np.array(values, np.int32)
    column = np.repeat(values[:, None], 3, axis=1)
    prompts = PromptBatch(tokens=column[:, :2], lengths=values)
    if not has_own_prompts:
        prompts = jax.tree.map(np.ones_like, prompts)
    rollouts = RolloutBatch(
        prompts=prompts,
        prompt_of=np.arange(len(values), dtype=np.int32) if has_own_prompts else values,
        tokens=column,
        lengths=values,
        sampler_logprobs=column.astype(np.float32),
    )
    return place(rollouts)


class Teacher:
    """Draws of four letters each, of which a blank or digit is malformed."""

    def __init__(self, monkeypatch, *draws, place=lambda tree: tree):
        self.names, self._draws, self._place = [], draws, place
        monkeypatch.setattr(rejection_sampling, "draw_completions", self._draw)

    def _draw(self, setup, policy, stream, *indices):
        letters = self._draws[len(self.names)]
        self.names.append((stream, *indices))
        items = [
            QuestionAnswer(question=letter, answer="1") if letter.isalpha() else Malformed(reason=f"a {letter!r}")
            for letter in letters
        ]
        values = [ord(letter) for letter in letters]
        turns = rows_of(values, self._place), rows_of(values, self._place, has_own_prompts=True)
        return TeacherDraw(turns=turns, texts=tuple(letter * 200 for letter in letters), items=tuple(items))


def accepted(setup, **changes):
    """The letters of the accepted questions, those of their rows, and the number of rejected completions."""
    config = make_config(**FOUR | changes)
    found = draw_until_well_formed(dataclasses.replace(setup, config=config), "policy", step=7)
    first, second = found.turns
    np.testing.assert_array_equal(second.prompt_of, np.arange(4))
    by_row = dataclasses.asdict(second) | {"prompt_of": second.tokens}
    for leaf in jax.tree.leaves((first.without_prompts(), by_row)):
        rows = np.asarray(leaf).reshape(4, -1)
        assert (rows == rows[:, :1]).all()
        assert "".join(map(chr, rows[:, 0].astype(int))) == "".join(item.question for item in found.items)
    return "".join(item.question for item in found.items), found.num_rejected, found.completions.completions


@pytest.mark.parametrize(
    ("draws", "letters", "num_rejected"),
    [
        (["abcd"], "abcd", 0),
        (["a  b", "cdef"], "abcd", 2),
        (["   a", "b c ", "    ", " d ef"[1:]], "abcd", 3 + 2 + 4),
        (["    ", "abcd"], "abcd", 4),
        ([" abc", "  de"], "abcd", 3),
        (["  ab", "cd  "], "abcd", 2),  # what follows the last one counts for nothing
    ],
)
def test_the_first_well_formed_completions_are_taken(nano_setup, monkeypatch, draws, letters, num_rejected):
    drawn = Teacher(monkeypatch, *draws)
    num_completions = 2 * 4 * len(draws)  # of both turns, with the rejected ones
    assert accepted(nano_setup) == (letters, num_rejected, num_completions)
    later = [("teacher_resample", 7, number) for number in range(1, len(draws))]
    assert drawn.names == [("teacher_sample", 7), *later]


@pytest.mark.parametrize("num_devices", [1, 2])
@pytest.mark.parametrize("lay_out", [parallel.replicate, parallel.shard_population])
def test_rows_are_joined_however_they_are_laid_out(nano_setup, monkeypatch, num_devices, lay_out):
    mesh = parallel.make_mesh(num_devices, devices=jax.devices()[:num_devices])
    Teacher(monkeypatch, "a  b", " c  ", "   d", place=lambda tree: lay_out(mesh, tree))
    assert accepted(nano_setup)[:2] == ("abcd", 2 + 3 + 3)


def test_too_few_well_formed_completions_end_the_run(nano_setup, monkeypatch):
    drawn = Teacher(monkeypatch, "a 1 ", "\n \n\n", "bc\n ")
    message = (
        "outer step 7: 3 of the teacher's 12 completions are well formed, and 4 are needed; 4 have a ' ', as "
        f"{' ' * 80!r}. Resume with a higher teacher.max_draws; or start anew in another --workdir with another "
        "prompts.teacher, or with teacher.malformed='penalise'"
    )
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
        accepted(nano_setup, **{"teacher.max_draws": 3})
    assert len(drawn.names) == 3


def test_model_text_in_the_error_is_one_safe_line(nano_setup, monkeypatch):
    Teacher(monkeypatch, "\n" * 4, "\n" * 4)
    with pytest.raises(SettingsError) as raised:
        accepted(nano_setup, **{"teacher.max_draws": 2})
    assert "\n" not in str(raised.value)
    assert str(raised.value).count(r"\n") == 80 + 1  # and one in the reason


def test_the_embedded_models_rollouts_are_those_of_its_questions(nano_setup, monkeypatch):
    """With half of all completions refused."""
    refuse, refused = teacher_draws._refuse, Malformed(reason="an odd row")

    def refuse_odd(setup, pairs):
        return tuple(refused if row % 2 else item for row, item in enumerate(refuse(setup, pairs)))

    monkeypatch.setattr(teacher_draws, "_refuse", refuse_odd)
    setup = dataclasses.replace(nano_setup, config=make_config(**FOUR | {"outer.questions_per_dataset": 4}))
    datasets = teacher.sample_datasets(setup, setup.base_weights, 0)
    assert datasets.is_valid.all()
    assert 0 < datasets.valid_share <= 0.5 + 1 / 16
    texts = setup.sampler.texts(datasets.rollouts)
    questions = [item.question for items in datasets.items for item in items]
    assert all(text.startswith(f"{question} ?") for text, question in zip(texts, questions, strict=True))
    assert len(questions) == 8


@pytest.mark.slow
def test_the_first_draw_is_that_of_a_penalised_teacher(nano_setup):
    """If all is well formed, the rollouts are the same to the bit."""
    setups = [
        dataclasses.replace(nano_setup, config=make_config(**FOUR | {"teacher.malformed": malformed}))
        for malformed in ("penalise", "resample")
    ]
    for step in range(20):
        one, other = (teacher.sample_datasets(setup, setup.base_weights, step) for setup in setups)
        if one.is_valid.all():
            assert other.items == one.items
            jax.tree.map(np.testing.assert_array_equal, one.rollouts, other.rollouts)
            break
    else:
        pytest.fail("the embedded model wrote something malformed in each draw of four")


# Proposition 1 of the paper, by enumeration. The policy writes two tokens of three, the second one given the first;
# some of the nine completions are accepted.
ACCEPTED = ((0, 1), (0, 2), (1, 0), (2, 2))
REWARDS = {(0, 1): 0.3, (0, 2): -0.7, (1, 0): 2.0, (2, 2): 0.5}


def logprob(params, completion):
    first, second = completion
    return jax.nn.log_softmax(params["first"])[first] + jax.nn.log_softmax(params["second"][first])[second]


def conditioned_logprob(params, completion):
    """Log-probability of a completion that was sampled until it is accepted."""
    return logprob(params, completion) - jax.nn.logsumexp(jnp.array([logprob(params, each) for each in ACCEPTED]))


def gradients(advantages_of, logprob_of):
    """The policy gradient of each pair and triple of accepted completions, one row each."""
    keys = jax.random.split(jax.random.key(0))
    params = {"first": jax.random.normal(keys[0], (3,)), "second": jax.random.normal(keys[1], (3, 3))}
    scores = {each: jax.grad(logprob_of)(params, each) for each in ACCEPTED}
    groups = [group for size in (2, 3) for group in itertools.product(ACCEPTED, repeat=size)]
    found = []
    for group in groups:
        advantages = advantages_of(np.array([REWARDS[each] for each in group]))
        score = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(scores[each])]) for each in group]
        found.append(np.asarray(advantages) @ np.array(score))
    return np.array(found)


def test_rloo_needs_no_correction_for_rejected_completions():
    conditioned, plain = gradients(rloo, conditioned_logprob), gradients(rloo, logprob)
    assert len(plain) == 4**2 + 4**3
    np.testing.assert_allclose(conditioned, plain, atol=1e-5)
    assert np.abs(plain).max() > 0.1


def test_reinforce_without_a_baseline_needs_one():
    conditioned, plain = gradients(lambda rewards: rewards, conditioned_logprob), gradients(lambda r: r, logprob)
    assert np.abs(conditioned - plain).max(axis=1).min() > 1e-3  # for every group
