"""Hard-Only: students trained on the hard problems themselves (paper: the main baseline)."""

from __future__ import annotations

import dataclasses

from soar_jax.reporting.display import Phase
from soar_jax.rl.population import init_population
from soar_jax.rl.train_step import TrainState
from soar_jax.soar.setup import Setup
from soar_jax.soar.student import Curriculum, continue_population
from soar_jax.types import Problem, QuestionAnswer


@dataclasses.dataclass(frozen=True)
class HardOnly:
    """Trained Hard-Only students."""

    states: TrainState  # leaves [P, ...]: as many replicas as SOAR's population has students
    num_steps: int  # updates of each


def train_hard_only(setup: Setup, problems: tuple[Problem, ...], num_steps: int, phase: Phase) -> HardOnly:
    """Trains P replicas of the base model on hard train problems, each with its own draws.

    Args:
      num_steps: student steps, rounded up to whole episodes of `inner.num_steps`.
      phase: called with what is going on, gives a context that it runs in.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    questions = tuple(QuestionAnswer(problem.question, problem.answer) for problem in problems)
    curriculum = Curriculum((questions,) * setup.population)
    base = setup.base.params
    states = init_population(base, mesh=setup.mesh, optimizer=setup.student.optimizer, size=setup.population)
    per_episode = setup.config.inner.num_steps
    num_episodes = -(-num_steps // per_episode)
    for episode in range(num_episodes):
        with phase(f"training Hard-Only, {episode * per_episode} of {num_episodes * per_episode} student steps"):
            states = continue_population(setup, states, base, curriculum, "hard_only", (episode,)).states
    return HardOnly(states, num_episodes * per_episode)
