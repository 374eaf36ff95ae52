"""The teacher: its questions and answers, cut into datasets and handed to students, and its update."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from soar_jax import parallel
from soar_jax.evaluation.embedding import CentredEmbedder
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.problems.prompts import question_and_answer, teacher_prompts
from soar_jax.rl.population import update_policy
from soar_jax.rl.train_step import TrainState
from soar_jax.rng import stream_key
from soar_jax.runs.build import Setup
from soar_jax.settings import embeds_questions
from soar_jax.soar.inner_loop import Curriculum, NotFiniteError, meter_training
from soar_jax.types import QuestionAnswer, RolloutBatch, TrainBatch

MAX_DRAWS_OVER_NEED = 8  # so many times the rollouts that would do if all could be parsed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Datasets:
    """The teacher's rollouts of one outer step, cut into g datasets of n."""

    rollouts: RolloutBatch  # g * n rows; dataset k has rows k*n .. k*n + n-1
    items: tuple[tuple[QuestionAnswer | None, ...], ...]  # [g][n]; None where nothing could be parsed

    @property
    def is_valid(self) -> np.ndarray:
        """[g, n] bool."""
        return np.array([[item is not None for item in dataset] for dataset in self.items])


def cut(rollouts: RolloutBatch, items: Sequence[QuestionAnswer | None], num_datasets: int) -> Datasets:
    """Cuts g * n parsed rollouts into g datasets in order (paper: outer loop, step 2)."""
    size = len(items) // num_datasets
    return Datasets(
        rollouts=rollouts, items=tuple(tuple(items[k * size : (k + 1) * size]) for k in range(num_datasets))
    )


def _write(setup: Setup, policy: Params, stream: str, index: int) -> tuple[RolloutBatch, list[QuestionAnswer | None]]:
    """Samples g * n completions of the teacher's prompts by turns, and parses what can be parsed of each."""
    config = setup.config
    count = config.outer.num_datasets * config.outer.questions_per_dataset
    settings = setup.sampler.prompts
    asked = teacher_prompts(settings)
    num_prompts = len(asked)
    prompts = setup.sampler.encode_prompts(asked, (settings.teacher_opening,) * num_prompts)
    samples = -(-count // num_prompts)
    key = stream_key(config.seed, stream, index)
    rollouts = setup.sampler.sample_policy(
        policy, prompts, key=key, settings=setup.teacher.sampling, samples_per_prompt=samples
    )
    turns = np.arange(num_prompts * samples).reshape(num_prompts, samples).T.reshape(-1)[:count]
    rollouts = jax.tree.map(lambda leaf: leaf[turns], rollouts)
    return rollouts, [parse(setup, settings.teacher_opening + text) for text in setup.sampler.texts(rollouts)]


def parse(setup: Setup, text: str) -> QuestionAnswer | None:
    """Question and answer in a teacher's text; None where they lack or the question is too long to be asked."""
    pair = question_and_answer(setup.sampler.prompts, text, setup.grader.extraction)
    return pair if pair and setup.sampler.fits(pair.question) else None


def write_questions(setup: Setup, policy: Params, step: int) -> Datasets:
    """Samples g * n completions of the teacher's fixed prompt and parses them (paper: steps 1 and 2).

    A completion without question and answer, or whose question is too long to be asked, is
    unparsable: nobody trains on it, and `rewards.rollout_advantages` punishes it.
    """
    rollouts, items = _write(setup, policy, stream="teacher_sample", index=step)
    return cut(rollouts, items, setup.config.outer.num_datasets)


def centre_embeddings(setup: Setup) -> Setup:
    """Makes the model's embeddings relative to the mean over the untrained teacher's questions, if it writes any."""
    if not embeds_questions(setup.config):
        return setup
    written = write_questions(setup, setup.start, 0)
    questions = [item.question for items in written.items for item in items if item is not None]
    if not questions:  # nothing to be relative to; the run's metrics show that none can be parsed
        return setup
    centre = setup.embedder.embed(questions).mean(axis=0)
    return dataclasses.replace(setup, embedder=CentredEmbedder(embedder=setup.embedder, centre=centre))


def write_curriculum(setup: Setup, policy: Params, count: int) -> tuple[QuestionAnswer, ...]:
    """The first `count` parsable questions that the teacher writes (paper: Base-T and Intrinsic-T).

    Fewer where it writes too few that can be parsed: a teacher that has lost its format is a result too.
    """
    written: list[QuestionAnswer] = []
    per_draw = setup.config.outer.num_datasets * setup.config.outer.questions_per_dataset
    for draw in range(MAX_DRAWS_OVER_NEED * -(-count // per_draw)):
        _, items = _write(setup, policy, stream="teacher_curriculum", index=draw)
        written += [item for item in items if item is not None]
        if len(written) >= count:
            break
    return tuple(written[:count])


def curriculum(setup: Setup, datasets: Datasets) -> Curriculum:
    """Student p trains on the parsable questions of dataset p // r."""
    repeats = setup.config.outer.students_per_dataset
    lists = [tuple(item for item in dataset if item is not None) for dataset in datasets.items]
    return Curriculum(questions=tuple(questions for questions in lists for _ in range(repeats)))


def teach(
    setup: Setup, state: TrainState, datasets: Datasets, advantages: np.ndarray, step: int
) -> tuple[TrainState, dict[str, float]]:
    """The teacher's policy-gradient update on its own rollouts (paper: step 6); `state` is used up.

    Args:
      advantages: [g, n] float32.

    Raises:
      NotFiniteError: its loss or gradient norm is not finite.
    """
    if not setup.config.teacher.train:
        return state, {}
    batch = parallel.replicate(setup.mesh, TrainBatch(rollouts=datasets.rollouts, advantages=advantages.reshape(-1)))
    for _ in range(setup.teacher.updates_per_batch):
        state, metrics = update_policy(
            state,
            batch,
            reference=setup.start if setup.teacher.loss.kl_coef > 0 else None,
            frozen=setup.sampler.frozen,
            mesh=setup.mesh,
            model=setup.sampler.model,
            loss=setup.teacher.loss,
            optimizer=setup.teacher.optimizer,
            rows_per_micro_batch=setup.teacher.rows_per_micro_batch,
        )
        setup.sampler.meter.watch(metrics["loss"])
        meter_training(setup, batch, setup.teacher)
    values = {f"teacher_{name}": float(processes.to_host(value)) for name, value in metrics.items()}
    if not all(np.isfinite(value) for value in values.values()):
        raise NotFiniteError(
            f"the teacher's loss or gradient is not finite at outer step {step}: {values}. Start anew in another "
            "--workdir with a lower teacher.learning_rate or a higher teacher.adam_eps"
        )
    return state, values
