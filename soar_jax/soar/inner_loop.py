"""The student population: copies of one policy, trained at once, each on its own questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from soar_jax import parallel
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.rl.advantages import ADVANTAGES
from soar_jax.rl.policy import PolicySettings
from soar_jax.rl.population import init_population, update_population
from soar_jax.rl.train_step import TrainState
from soar_jax.rng import stream_generator, stream_key
from soar_jax.runs.build import Setup
from soar_jax.types import PromptBatch, QuestionAnswer, TrainBatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curriculum:
    """What each student is asked: one list of questions a student, possibly empty."""

    questions: tuple[tuple[QuestionAnswer, ...], ...]  # [P]


@dataclasses.dataclass(kw_only=True)
class QuestionStats:
    """How often each question of each student was asked and answered as its answer says."""

    asked: list[np.ndarray]  # [P][questions] samples drawn
    agreed: list[np.ndarray]  # [P][questions] samples that earned the reward


@dataclasses.dataclass(frozen=True, kw_only=True)
class Episode:
    """A trained population."""

    states: TrainState  # leaves [P, ...]
    stats: QuestionStats
    mean_rewards: np.ndarray  # [inner steps, P] share of samples that earned the reward


class NotFiniteError(RuntimeError):
    """A loss or gradient was NaN or infinite."""


def draw_order(
    setup: Setup, stream: str, indices: Sequence[int], num_questions: int, first_step: int = 0
) -> np.ndarray:
    """Indices of the questions of an episode's inner steps [steps, questions_per_step].

    The questions are gone through in shuffled order, then again in a new order; `first_step` steps are behind.
    """
    inner = setup.config.inner
    need = (first_step + inner.num_steps) * inner.questions_per_step
    rng = stream_generator(setup.config.seed, stream, *indices)
    rounds = [rng.permutation(num_questions) for _ in range(-(-need // num_questions))]
    return np.concatenate(rounds)[:need].reshape(-1, inner.questions_per_step)[first_step:]


class _Asker:
    """Turns a curriculum into each inner step's prompts and reference answers."""

    def __init__(
        self,
        setup: Setup,
        curriculum: Curriculum,
        stream: str,
        indices: Sequence[int],
        first_student: int,
        first_step: int,
    ) -> None:
        self._orders = [
            draw_order(
                setup, stream, indices=(*indices, student), num_questions=max(1, len(questions)), first_step=first_step
            )
            for student, questions in enumerate(curriculum.questions, first_student)
        ]
        self._questions = curriculum.questions
        # A student without questions is asked an empty one whose answer nothing equals: no reward,
        # no advantage, no change.
        nothing = (QuestionAnswer(question="", answer=""),)
        self._padded = [questions or nothing for questions in curriculum.questions]
        flat = setup.sampler.encode_questions([item.question for items in self._padded for item in items])
        ends = np.cumsum([len(items) for items in self._padded])[:-1]
        self._tokens = np.split(np.asarray(flat.tokens), ends)
        self._lengths = np.split(np.asarray(flat.lengths), ends)

    def prompts(self, step: int) -> PromptBatch:
        """[P, Q, T] tokens and [P, Q] lengths."""
        picks = [order[step] for order in self._orders]
        return PromptBatch(
            tokens=np.stack([tokens[pick] for tokens, pick in zip(self._tokens, picks, strict=True)]),
            lengths=np.stack([lengths[pick] for lengths, pick in zip(self._lengths, picks, strict=True)]),
        )

    def references(self, step: int, group_size: int) -> list[str]:
        """The answers that earn the reward, one a rollout, in the order of the rollouts."""
        return [
            items[index].answer
            for items, order in zip(self._padded, self._orders, strict=True)
            for index in order[step]
            for _ in range(group_size)
        ]

    def picks(self, step: int, student: int) -> np.ndarray:
        """Question indices [Q] of a student's step."""
        return self._orders[student][step]

    def empty_stats(self) -> QuestionStats:
        """Counts at zero."""
        sizes = [len(items) for items in self._padded]
        return QuestionStats(
            asked=[np.zeros(size, int) for size in sizes], agreed=[np.zeros(size, int) for size in sizes]
        )


def train_population(
    setup: Setup,
    start: Params,
    curriculum: Curriculum,
    stream: str,
    indices: Sequence[int] = (),
    first_student: int = 0,
) -> Episode:
    """Trains one copy of `start` on each question list of the curriculum (paper: inner loop).

    Every inner step samples a group of answers to each of a few questions, rewards those
    whose final answer equals the question's, and makes one policy-gradient update.

    Args:
      start: the policy that every student starts from; not changed.
      curriculum: P question lists; a student without questions is left as it starts.
      stream, indices: name of the episode's random draws.
      first_student: number of the first student; a student's draws are those of its number, so that a population
        can be trained in parts.

    Raises:
      NotFiniteError: a loss or gradient norm is not finite; names the step and student.
    """
    population = len(curriculum.questions)
    states = init_population(
        start, mesh=setup.mesh, model=setup.sampler.model, optimizer=setup.student.optimizer, size=population
    )
    return continue_population(
        setup,
        states,
        reference=start,
        curriculum=curriculum,
        stream=stream,
        indices=indices,
        first_student=first_student,
    )


def continue_population(
    setup: Setup,
    states: TrainState,
    reference: Params,
    curriculum: Curriculum,
    stream: str,
    indices: Sequence[int],
    first_student: int = 0,
    earlier_episodes: int = 0,
) -> Episode:
    """`train_population` for students that exist already; `states` is used up.

    Args:
      earlier_episodes: those before this one, by the last of `indices`, with the same curriculum: it is gone on with.
    """
    config, student = setup.config, setup.student
    group_size, seed = config.inner.group_size, config.seed
    population = len(curriculum.questions)
    began = (*indices[:-1], indices[-1] - earlier_episodes) if earlier_episodes else indices
    first_step = earlier_episodes * config.inner.num_steps
    asker = _Asker(
        setup, curriculum, stream=f"{stream}_order", indices=began, first_student=first_student, first_step=first_step
    )
    stats, mean_rewards = asker.empty_stats(), []
    for step in range(config.inner.num_steps):
        key = stream_key(seed, f"{stream}_sample", *indices, step)
        keys = jax.random.split(key, first_student + population)[first_student:]
        rollouts = setup.sampler.sample_population(
            states.weights, asker.prompts(step), keys=keys, settings=student.sampling, samples_per_prompt=group_size
        )
        texts = setup.sampler.texts(rollouts)
        rewards = setup.grader.rewards(texts, asker.references(step, group_size))
        rewards = rewards.reshape(population, -1, group_size)  # [P, Q, G]
        advantages = np.asarray(ADVANTAGES[config.inner.advantage](jnp.asarray(rewards)))
        batch = TrainBatch(
            rollouts=rollouts, advantages=parallel.shard_population(setup.mesh, advantages.reshape(population, -1))
        )
        for _ in range(student.updates_per_batch):
            states, metrics = update_population(
                states,
                batch,
                reference=reference if student.loss.kl_coef > 0 else None,
                frozen=setup.sampler.frozen,
                mesh=setup.mesh,
                model=setup.sampler.model,
                loss=student.loss,
                optimizer=student.optimizer,
                rows_per_micro_batch=student.rows_per_micro_batch,
                population_batch=config.sampling.population_batch,
            )
            setup.sampler.meter.watch(metrics["loss"])
            _require_finite(metrics, f"{stream} {tuple(indices)}, inner step {step}", first_student)
            meter_training(setup, batch, student)
        for index in range(population):
            np.add.at(stats.asked[index], asker.picks(step, index), group_size)
            np.add.at(stats.agreed[index], asker.picks(step, index), rewards[index].sum(axis=1).astype(int))
        mean_rewards.append(rewards.mean(axis=(1, 2)))
    return Episode(states=states, stats=stats, mean_rewards=np.array(mean_rewards))


def meter_training(setup: Setup, batch: TrainBatch, policy: PolicySettings) -> None:
    """Notes an update of policies on a batch: of the rows that have a signal."""
    has_reference = policy.loss.kl_coef > 0
    rollouts, advantages = batch.rollouts, processes.to_host(batch.advantages)
    is_trained = np.ones(advantages.shape, bool) if has_reference else advantages != 0
    prompt = float(processes.to_host(rollouts.prompts.lengths).mean())
    completion = float(processes.to_host(rollouts.lengths)[is_trained].mean()) if is_trained.any() else 0.0
    setup.sampler.meter.trained(
        int(is_trained.sum()), prompt, completion_tokens=completion, has_reference=has_reference
    )


def _require_finite(metrics: dict[str, jax.Array], where: str, first_student: int) -> None:
    for name in ("loss", "grad_norm"):
        values = processes.to_host(metrics[name])
        if not np.isfinite(values).all():
            students = (first_student + np.flatnonzero(~np.isfinite(values))).tolist()
            raise NotFiniteError(
                f"{name} is not finite at {where}, student(s) {students}. Start anew in another --workdir with a "
                "lower student.learning_rate or a higher student.adam_eps"
            )
