"""The teacher's writing: questions and answers, cut into datasets, handed to students."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from soar_jax.grading.extraction import question_and_answer
from soar_jax.model.parameters import Params
from soar_jax.rng import stream_key
from soar_jax.soar.setup import Setup
from soar_jax.soar.student import Curriculum
from soar_jax.types import QuestionAnswer, RolloutBatch


@dataclasses.dataclass(frozen=True)
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
    return Datasets(rollouts, tuple(tuple(items[k * size : (k + 1) * size]) for k in range(num_datasets)))


def write_questions(setup: Setup, policy: Params, step: int) -> Datasets:
    """Samples g * n completions of the teacher's fixed prompt and parses them (paper: steps 1 and 2).

    A completion without question and answer, or whose question is too long to be asked, is
    unparsable: nobody trains on it, and `rewards.rollout_advantages` punishes it.
    """
    config = setup.config
    count = config.outer.num_datasets * config.outer.questions_per_dataset
    prompts = setup.sampler.encode([config.prompts.teacher] * count)
    key = stream_key(config.seed, "teacher_sample", step)
    rollouts = setup.sampler.sample_policy(policy, prompts, key, setup.teacher.sampling, 1)
    pairs = [
        question_and_answer(text, config.prompts.question_end, config.grading.extraction)
        for text in setup.sampler.texts(rollouts)
    ]
    items = [pair if pair and setup.sampler.fits(pair.question) else None for pair in pairs]
    return cut(rollouts, items, config.outer.num_datasets)


def curriculum(setup: Setup, datasets: Datasets) -> Curriculum:
    """Student p trains on the parsable questions of dataset p // r."""
    repeats = setup.config.outer.students_per_dataset
    lists = [tuple(item for item in dataset if item is not None) for dataset in datasets.items]
    return Curriculum(tuple(questions for questions in lists for _ in range(repeats)))
