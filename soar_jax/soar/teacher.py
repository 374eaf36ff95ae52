"""The teacher: samples question-answer pairs, cuts them into datasets, learns (paper, Algorithm 1, steps 1, 2, 7)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from soar_jax import parallel
from soar_jax.errors import NotFiniteError
from soar_jax.evaluation.embedding import CentredEmbedder
from soar_jax.integers import ceil_div
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.problems.prompts import parse_question_answer, teacher_prompts
from soar_jax.rl.population import update_policy
from soar_jax.rl.train_step import TrainState
from soar_jax.rng import stream_key
from soar_jax.sampling.text import Draw
from soar_jax.soar.inner_loop import QuestionSets, meter_training
from soar_jax.soar.setup import Setup
from soar_jax.types import QuestionAnswer, RolloutBatch, TrainBatch

# `sample_questions` gives up after this multiple of the draws that would do if every completion could be parsed.
MAX_DRAWS_OVER_NEED = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Datasets:
    """The teacher's rollouts of one outer step, cut into g datasets of n."""

    rollouts: RolloutBatch  # g * n rows; dataset k has rows k*n .. k*n + n-1
    items: tuple[tuple[QuestionAnswer | None, ...], ...]  # [g][n]; None where a completion could not be parsed

    @property
    def is_valid(self) -> np.ndarray:
        """Whether each rollout could be parsed, [g, n] bool."""
        return np.array([[item is not None for item in dataset] for dataset in self.items])

    def question_sets(self, repeats: int) -> QuestionSets:
        """Returns each student's questions: student p trains on dataset p // repeats."""
        return [self.questions(dataset) for dataset in range(len(self.items)) for _ in range(repeats)]

    def questions(self, dataset: int) -> tuple[QuestionAnswer, ...]:
        """Returns the parsable question-answer pairs of a dataset."""
        return tuple(filter(None, self.items[dataset]))


def cut(rollouts: RolloutBatch, items: Sequence[QuestionAnswer | None], num_datasets: int) -> Datasets:
    """Cuts g * n parsed rollouts into g datasets, in order (paper, step 2)."""
    size = len(items) // num_datasets
    return Datasets(
        rollouts=rollouts, items=tuple(tuple(items[k * size : (k + 1) * size]) for k in range(num_datasets))
    )


def _sample(setup: Setup, policy: Params, stream: str, index: int) -> tuple[RolloutBatch, list[QuestionAnswer | None]]:
    """Samples g * n completions and parses them; row i completes prompt i modulo the number of prompts.

    A completion is unparsable if question or answer is missing, or if the question does not fit a student's prompt.
    """
    settings, count = setup.config.prompts, setup.config.num_written
    texts = teacher_prompts(settings)
    num_prompts = len(texts)
    samples = ceil_div(count, num_prompts)
    prompts = setup.sampler.encode_prompts(texts, (settings.teacher_opening,) * num_prompts)
    key = stream_key(setup.config.seed, stream, index)
    draw = Draw(key=key, settings=setup.teacher.sampling, num_samples=samples)
    rollouts = setup.sampler.sample(policy, prompts, draw)
    order = np.arange(num_prompts * samples).reshape(num_prompts, samples).T.reshape(-1)[:count]
    rollouts = jax.tree.map(lambda leaf: leaf[order], rollouts)
    pairs = [
        parse_question_answer(settings, settings.teacher_opening + text, setup.grader.extraction)
        for text in setup.sampler.texts(rollouts)
    ]
    return rollouts, [pair if pair and setup.sampler.fits(pair.question) else None for pair in pairs]


def sample_datasets(setup: Setup, policy: Params, step: int) -> Datasets:
    """Samples g * n completions of the teacher's fixed prompts, and cuts them into datasets (paper, steps 1 and 2).

    Departure: the paper samples until g * n completions are well formed (rejection sampling). Here no student trains on
    an unparsable completion, and the teacher is penalised for it: see `teacher_rewards.rollout_advantages`.
    """
    rollouts, items = _sample(setup, policy, "teacher_sample", step)
    return cut(rollouts, items, setup.config.outer.num_datasets)


def centre_embeddings(setup: Setup) -> Setup:
    """Subtracts from all embeddings the mean over the untrained teacher's questions, if any can be parsed."""
    if not setup.config.embeds_questions:
        return setup
    written = sample_datasets(setup, setup.base_weights, 0)
    questions = [item.question for items in written.items for item in items if item is not None]
    if not questions:
        return setup
    centre = setup.embedder.embed(questions).mean(axis=0)
    return dataclasses.replace(setup, embedder=CentredEmbedder(embedder=setup.embedder, centre=centre))


def sample_questions(setup: Setup, policy: Params, count: int) -> tuple[QuestionAnswer, ...]:
    """Samples until the teacher has written `count` parsable questions (paper: Base-T, Intrinsic-T, Grounded-T).

    Returns fewer after `MAX_DRAWS_OVER_NEED`: a teacher that has lost its format is a result too.
    """
    found: list[QuestionAnswer] = []
    for draw in range(MAX_DRAWS_OVER_NEED * ceil_div(count, setup.config.num_written)):
        _, items = _sample(setup, policy, "teacher_curriculum", draw)
        found += filter(None, items)
        if len(found) >= count:
            break
    return tuple(found[:count])


def teach(
    setup: Setup, state: TrainState, datasets: Datasets, advantages: np.ndarray, step: int
) -> tuple[TrainState, dict[str, float]]:
    """Updates the teacher on its own rollouts by policy gradient (paper, step 7); `state` is donated.

    Args:
      advantages: [g, n] float32.

    Raises:
      NotFiniteError: the loss or gradient norm is not finite.
    """
    teacher = setup.teacher
    if not setup.config.teacher.train:
        return state, {}
    batch = TrainBatch(rollouts=datasets.rollouts, advantages=advantages.reshape(-1))
    batch = parallel.replicate(setup.mesh, batch)
    for _ in range(teacher.updates_per_batch):
        state, metrics = update_policy(
            state,
            batch,
            setup.base_weights if teacher.loss.kl_coef > 0 else None,
            setup.sampler.frozen_base,
            mesh=setup.mesh,
            model=setup.sampler.model,
            loss=teacher.loss,
            optimizer=teacher.optimizer,
            rows_per_micro_batch=teacher.rows_per_micro_batch,
        )
        setup.meter.watch(metrics["loss"])
        meter_training(setup, batch, teacher)
    values = {f"teacher_{name}": float(processes.to_host(value)) for name, value in metrics.items()}
    if not all(np.isfinite(value) for value in values.values()):
        raise NotFiniteError(
            f"the teacher's loss or gradient is not finite at outer step {step}: {values}. Start anew in another "
            "--workdir with a lower teacher.learning_rate or a higher teacher.adam_eps"
        )
    return state, values
