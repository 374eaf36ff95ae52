"""The inner loop: copies of one policy, trained by RL as a population, each on its own questions (paper, step 4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from soar_jax import parallel
from soar_jax.errors import NotFiniteError
from soar_jax.integers import ceil_div
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.rl.advantages import ADVANTAGES
from soar_jax.rl.policy import PolicySettings
from soar_jax.rl.population import init_population, update_population
from soar_jax.rl.train_step import TrainState
from soar_jax.rng import stream_generator, stream_key
from soar_jax.sampling.text import Draw
from soar_jax.soar.setup import Setup
from soar_jax.soar.student_rewards import STUDENT_REWARDS
from soar_jax.types import PromptBatch, QuestionAnswer, RolloutBatch, TrainBatch

QuestionSets = Sequence[tuple[QuestionAnswer, ...]]  # [P] the questions of each student, possibly none


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodeName:
    """Names all random draws of an episode."""

    stream: str
    indices: tuple[int, ...] = ()
    first_student: int = 0  # index of the population's first student among all: draws do not depend on waves
    # Number of earlier episodes on the same questions, the last at `indices[-1] - 1`: their order is continued.
    earlier_episodes: int = 0


@dataclasses.dataclass(kw_only=True)
class QuestionStats:
    """Number of answers to each question of each student, and how many of them were right."""

    asked: list[np.ndarray]  # [P][questions]
    agreed: list[np.ndarray]  # [P][questions]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Episode:
    """A trained population."""

    states: TrainState  # leaves [P, ...]
    stats: QuestionStats
    mean_rewards: np.ndarray  # [inner steps, P]


class _Batches:
    """Prompts and reference answers of each inner step of an episode."""

    def __init__(self, setup: Setup, question_sets: QuestionSets, name: EpisodeName) -> None:
        self._orders = [
            draw_order(setup, name, student, max(1, len(questions)))
            for student, questions in enumerate(question_sets, name.first_student)
        ]
        # A student without questions gets one that no answer is right for: no reward, no advantage, no update.
        empty = (QuestionAnswer(question="", answer=""),)
        self._padded = [questions or empty for questions in question_sets]
        flat = setup.sampler.encode_questions([item.question for items in self._padded for item in items])
        ends = np.cumsum([len(items) for items in self._padded])[:-1]
        self._tokens = np.split(np.asarray(flat.tokens), ends)
        self._lengths = np.split(np.asarray(flat.lengths), ends)
        self.stats = QuestionStats(
            asked=[np.zeros(len(items), int) for items in self._padded],
            agreed=[np.zeros(len(items), int) for items in self._padded],
        )

    def prompts(self, step: int) -> PromptBatch:
        """Returns the prompts of a step, tokens [P, Q, T] and lengths [P, Q]."""
        picks = [order[step] for order in self._orders]
        return PromptBatch(
            tokens=np.stack([tokens[pick] for tokens, pick in zip(self._tokens, picks, strict=True)]),
            lengths=np.stack([lengths[pick] for lengths, pick in zip(self._lengths, picks, strict=True)]),
        )

    def references(self, step: int, group_size: int) -> list[str]:
        """Returns the reference answers of a step's rollouts [P * Q * G]."""
        return [
            items[index].answer
            for items, order in zip(self._padded, self._orders, strict=True)
            for index in order[step]
            for _ in range(group_size)
        ]

    def count(self, step: int, is_right: np.ndarray) -> None:
        """Adds a step's verdicts [P, Q, G] to the statistics."""
        for student, order in enumerate(self._orders):
            np.add.at(self.stats.asked[student], order[step], is_right.shape[-1])
            np.add.at(self.stats.agreed[student], order[step], is_right[student].sum(axis=1))


def draw_order(setup: Setup, name: EpisodeName, student: int, num_questions: int) -> np.ndarray:
    """Draws the question indices of an episode [inner steps, questions_per_step], one permutation after another."""
    inner, back = setup.config.inner, name.earlier_episodes
    indices = (*name.indices[:-1], name.indices[-1] - back) if back else name.indices
    first_step = back * inner.num_steps
    need = (first_step + inner.num_steps) * inner.questions_per_step
    rng = stream_generator(setup.config.seed, f"{name.stream}_order", *indices, student)
    rounds = [rng.permutation(num_questions) for _ in range(ceil_div(need, num_questions))]
    return np.concatenate(rounds)[:need].reshape(-1, inner.questions_per_step)[first_step:]


def train_population(setup: Setup, start: Params, question_sets: QuestionSets, name: EpisodeName) -> Episode:
    """Trains one copy of `start` on each set of questions; `start` is not donated.

    An inner step samples `inner.group_size` answers to each of `inner.questions_per_step` questions, rewards them by
    `student.reward`, and updates the student by policy gradient. Departure: an episode always has `inner.num_steps`
    steps; the paper takes 10, and 5 more once the baseline student has been promoted.

    Raises:
      NotFiniteError: a loss or gradient norm is not finite; names the step and the students.
    """
    states = init_population(
        start,
        mesh=setup.mesh,
        model=setup.sampler.model,
        optimizer=setup.student.optimizer,
        size=len(question_sets),
    )
    return continue_population(setup, states, start, question_sets=question_sets, name=name)


def continue_population(
    setup: Setup, states: TrainState, reference: Params, question_sets: QuestionSets, name: EpisodeName
) -> Episode:
    """Trains existing students for one episode, see `train_population`; `states` is donated.

    Args:
      reference: the reference policy of the KL term.
    """
    config, population = setup.config, len(question_sets)
    batches, mean_rewards = _Batches(setup, question_sets, name), []
    advantage = ADVANTAGES[config.inner.advantage]
    for step in range(config.inner.num_steps):
        rollouts = _sample(setup, states, batches.prompts(step), name, step)
        texts, references = setup.sampler.texts(rollouts), batches.references(step, config.inner.group_size)
        is_right = setup.grader.is_right(texts, references)
        rewards = STUDENT_REWARDS[config.student.reward](texts, references, is_right)
        rewards = rewards.reshape(population, -1, config.inner.group_size)  # [P, Q, G]
        advantages = np.asarray(advantage(jnp.asarray(rewards))).reshape(population, -1)
        batch = TrainBatch(rollouts=rollouts, advantages=parallel.shard_population(setup.mesh, advantages))
        for _ in range(setup.student.updates_per_batch):
            states, metrics = _update(setup, states, batch, reference)
            _require_finite(metrics, f"{name.stream} {name.indices}, inner step {step}", name.first_student)
            meter_training(setup, batch, setup.student)
        batches.count(step, is_right.reshape(rewards.shape))
        mean_rewards.append(rewards.mean(axis=(1, 2)))
    return Episode(states=states, stats=batches.stats, mean_rewards=np.array(mean_rewards))


def _sample(setup: Setup, states: TrainState, prompts: PromptBatch, name: EpisodeName, step: int) -> RolloutBatch:
    """Samples the rollouts [P, Q * G, ...] of an inner step."""
    key = stream_key(setup.config.seed, f"{name.stream}_sample", *name.indices, step)
    last = name.first_student + len(prompts.lengths)
    draw = Draw(
        key=jax.random.split(key, last)[name.first_student :],
        settings=setup.student.sampling,
        num_samples=setup.config.inner.group_size,
    )
    return setup.sampler.sample(states.weights, prompts, draw)


def _update(
    setup: Setup, states: TrainState, batch: TrainBatch, reference: Params
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Updates every student once."""
    student = setup.student
    states, metrics = update_population(
        states,
        batch,
        reference if student.loss.kl_coef > 0 else None,
        setup.sampler.frozen_base,
        mesh=setup.mesh,
        model=setup.sampler.model,
        loss=student.loss,
        optimizer=student.optimizer,
        rows_per_micro_batch=student.rows_per_micro_batch,
        population_batch=setup.config.sampling.population_batch,
    )
    setup.meter.watch(metrics["loss"])
    return states, metrics


def meter_training(setup: Setup, batch: TrainBatch, policy: PolicySettings) -> None:
    """Meters the work of an update; without a KL term, rows of zero advantage need none."""
    has_reference = policy.loss.kl_coef > 0
    rollouts, advantages = batch.rollouts, processes.to_host(batch.advantages)
    is_trained = np.ones(advantages.shape, bool) if has_reference else advantages != 0
    prompt = float(processes.to_host(rollouts.prompts.lengths).mean())
    completion = float(processes.to_host(rollouts.lengths)[is_trained].mean()) if is_trained.any() else 0.0
    setup.meter.add_training(int(is_trained.sum()), prompt, completion, has_reference)


def _require_finite(metrics: dict[str, jax.Array], where: str, first_student: int) -> None:
    for name in ("loss", "grad_norm"):
        values = processes.to_host(metrics[name])
        if not np.isfinite(values).all():
            students = (first_student + np.flatnonzero(~np.isfinite(values))).tolist()
            raise NotFiniteError(
                f"{name} is not finite at {where}, student(s) {students}. Start anew in another --workdir with a "
                "lower student.learning_rate or a higher student.adam_eps"
            )
