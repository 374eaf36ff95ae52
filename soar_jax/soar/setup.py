"""The fixed parts of a run, which every function of the algorithm takes first."""

from __future__ import annotations

import dataclasses

import numpy as np
from jax.sharding import Mesh

from soar_jax.config.run_config import RunConfig
from soar_jax.evaluation.embedding import Embedder
from soar_jax.evaluation.evaluator import Evaluator
from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.grading.grader import Grader
from soar_jax.model.parameters import Params
from soar_jax.rl.policy import PolicySettings
from soar_jax.rng import stream_key
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.sampling.text import Draw, TextSampler
from soar_jax.telemetry.meter import WorkMeter
from soar_jax.types import ShowProgress, show_nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """Config, devices, base model, sampler and grader of a run; made by `runs/build.py`."""

    config: RunConfig
    mesh: Mesh
    base_weights: Params  # the base model as a policy: teacher and students start from it
    base_sha256: str  # hash of the base model's parameters
    sampler: TextSampler
    evaluator: Evaluator
    embedder: Embedder
    meter: WorkMeter
    teacher: PolicySettings
    student: PolicySettings
    show_progress: ShowProgress = show_nothing

    @property
    def grader(self) -> Grader:
        """The grader of the evaluator, used for all answers."""
        return self.evaluator.grader

    def test_draw(self, stream: str, num_samples: int) -> Draw:
        """Makes the draw of a test or validation, by the config's section `evaluation`."""
        evaluation = self.config.evaluation
        return Draw(
            key=stream_key(self.config.seed, stream),
            settings=self.evaluation_sampling(evaluation.temperature, evaluation.top_p),
            num_samples=num_samples,
        )

    def evaluation_sampling(self, temperature: float, top_p: float = 1.0) -> SamplingSettings:
        """Returns the students' sampling settings at another temperature."""
        return dataclasses.replace(self.student.sampling, temperature=temperature, top_p=top_p)


def selection_accuracy(setup: Setup, weights: Params, split: HardSplit) -> float:
    """Computes the accuracy that chooses among promoted students: greedy on all of hard train (paper, section 4).

    With a validation set, see `hard_subset.validation_share`, it is `validation_accuracy`.
    """
    if split.validation:
        return float(validation_accuracy(setup, weights, split))
    draw = Draw(key=stream_key(setup.config.seed, "selection"), settings=setup.evaluation_sampling(0.0), num_samples=1)
    return float(setup.evaluator.count_correct(weights, split.train, draw).mean())


def validation_accuracy(setup: Setup, weights: Params, split: HardSplit, *, num_students: int = 0) -> np.ndarray:
    """Computes the mean accuracy on the hard validation problems, not none, as a scalar, or [P] for a population.

    Args:
      num_students: P of a population, weights with leaves [P, ...]; 0 for one policy.
    """
    draw = setup.test_draw("validation", setup.config.evaluation.validation_samples)
    counts = setup.evaluator.count_correct(weights, split.validation, draw, num_students=num_students)
    return np.asarray(counts.mean(axis=-1) / draw.num_samples)
