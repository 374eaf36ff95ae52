"""The teacher: samples question-answer pairs, cuts them into datasets, learns (Algorithm 1, steps 1, 2, 7)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from soar_jax import parallel
from soar_jax.errors import NotFiniteError
from soar_jax.evaluation.embedding import CentredEmbedder
from soar_jax.integers import ceil_div
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.rl.indicators import CompletionSums, means
from soar_jax.rl.population import update_policy
from soar_jax.rl.schedules import learning_rates
from soar_jax.rl.train_step import UPDATE_METRICS, Metrics, TrainState
from soar_jax.soar.inner_loop import QuestionSets, update_repeatedly
from soar_jax.soar.reference_kl import teachers_reference
from soar_jax.soar.rejection_sampling import draw_until_well_formed
from soar_jax.soar.setup import Setup
from soar_jax.soar.teacher_draws import TeacherDraw, draw_completions
from soar_jax.types import QuestionAnswer, RolloutBatch, TrainBatch

# `sample_questions` gives up after this multiple of the draws that would do if every completion were well formed.
MAX_DRAWS_OVER_NEED = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Datasets:
    """The teacher's rollouts of one outer step, cut into g datasets of n."""

    rollouts: RolloutBatch  # g * n rows for each turn; dataset k has rows k*n .. k*n + n-1 of each turn
    items: tuple[tuple[QuestionAnswer | None, ...], ...]  # [g][n]; None where a completion is malformed
    num_rejected: int = 0  # malformed completions in whose place others were sampled
    completions: CompletionSums = dataclasses.field(default_factory=CompletionSums)  # over all that were sampled

    @property
    def is_valid(self) -> np.ndarray:
        """Whether each rollout is well formed, [g, n] bool."""
        return np.array([[item is not None for item in dataset] for dataset in self.items])

    @property
    def valid_share(self) -> float:
        """Share of well-formed completions among those sampled, up to the last one that was taken."""
        is_valid = self.is_valid
        return float(is_valid.sum() / (is_valid.size + self.num_rejected))

    def row_advantages(self, advantages: np.ndarray) -> np.ndarray:
        """Maps advantages [g, n] to all rows of `rollouts`: both turns of a pair have the same."""
        return np.tile(advantages.reshape(-1), len(self.rollouts.lengths) // advantages.size)

    def question_sets(self, repeats: int) -> QuestionSets:
        """Returns each student's questions: student p trains on dataset p // repeats."""
        return [self.questions(dataset) for dataset in range(len(self.items)) for _ in range(repeats)]

    def questions(self, dataset: int) -> tuple[QuestionAnswer, ...]:
        """Returns the well-formed question-answer pairs of a dataset."""
        return tuple(filter(None, self.items[dataset]))


def cut(rollouts: RolloutBatch, items: Sequence[QuestionAnswer | None], num_datasets: int) -> Datasets:
    """Cuts g * n pairs and their rollouts into g datasets, in order (Algorithm 1, step 2)."""
    size = len(items) // num_datasets
    return Datasets(
        rollouts=rollouts, items=tuple(tuple(items[k * size : (k + 1) * size]) for k in range(num_datasets))
    )


def sample_datasets(setup: Setup, policy: Params, step: int) -> Datasets:
    """Samples g * n question-answer pairs from the teacher, and cuts them into datasets (Algorithm 1, steps 1 and 2).

    By default completions are drawn until g * n are well formed, the first of which are taken in order of sampling
    (paper, B.2). With `teacher.malformed` "penalise" there is one draw, malformed completions keep their place, and the
    teacher is penalised for them: see `teacher_rewards.rollout_advantages`.

    Raises:
      SettingsError: after `teacher.max_draws` draws too few are well formed.
    """
    num_datasets = setup.config.outer.num_datasets
    if setup.config.teacher.malformed == "penalise":
        draw = draw_completions(setup, policy, "teacher_sample", step)
        datasets = cut(_join_turns(draw.turns), _pairs_or_none(draw), num_datasets)
        return dataclasses.replace(datasets, completions=draw.completion_sums(setup))
    accepted = draw_until_well_formed(setup, policy, step)
    datasets = cut(_join_turns(accepted.turns), accepted.items, num_datasets)
    return dataclasses.replace(datasets, num_rejected=accepted.num_rejected, completions=accepted.completions)


def _pairs_or_none(draw: TeacherDraw) -> list[QuestionAnswer | None]:
    """The pairs of a draw, None in the place of malformed completions."""
    return [item if isinstance(item, QuestionAnswer) else None for item in draw.items]


def _join_turns(turns: tuple[RolloutBatch, ...]) -> RolloutBatch:
    """Stacks the prompts and rows of all turns, those of the first one first."""
    joined = turns[0]
    for turn in turns[1:]:
        turn = dataclasses.replace(turn, prompt_of=turn.prompt_of + len(joined.prompts.lengths))
        joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), joined, turn)
    return joined


def centre_embeddings(setup: Setup) -> Setup:
    """Subtracts from all embeddings the mean over questions of the untrained teacher, if any is well formed.

    They are those of the first draw of outer step 0.
    """
    if not setup.config.embeds_questions:
        return setup
    draw = draw_completions(setup, setup.base_weights, "teacher_sample", 0)
    questions = [item.question for item in _pairs_or_none(draw) if item is not None]
    if not questions:
        return setup
    centre = setup.embedder.embed(questions).mean(axis=0)
    return dataclasses.replace(setup, embedder=CentredEmbedder(embedder=setup.embedder, centre=centre))


def sample_questions(setup: Setup, policy: Params, count: int) -> tuple[QuestionAnswer, ...]:
    """Samples until the teacher has written `count` well-formed questions (paper: Base-T, Intrinsic-T, Grounded-T).

    Returns fewer after `MAX_DRAWS_OVER_NEED`: a teacher that has lost its format is a result too.
    """
    found: list[QuestionAnswer] = []
    for draw in range(MAX_DRAWS_OVER_NEED * ceil_div(count, setup.config.num_written)):
        found += filter(None, _pairs_or_none(draw_completions(setup, policy, "teacher_curriculum", draw)))
        setup.show_progress("questions", min(len(found), count), count, "")
        if len(found) >= count:
            break
    return tuple(found[:count])


def teach(
    setup: Setup, state: TrainState, datasets: Datasets, *, advantages: np.ndarray, step: int
) -> tuple[TrainState, dict[str, float | None]]:
    """Updates the teacher on its own rollouts by policy gradient (Algorithm 1, step 7); `state` is donated.

    Args:
      advantages: [g, n] float32.

    Raises:
      NotFiniteError: the loss or gradient norm is not finite.
    """
    teacher = setup.teacher
    if not setup.config.teacher.train:
        return state, {}
    batch = TrainBatch(rollouts=datasets.rollouts, advantages=datasets.row_advantages(advantages))
    batch = parallel.replicate(setup.mesh, batch)
    if teacher.loss.kl_coef > 0:
        batch = batch.replace(reference_logprobs=teachers_reference(setup, batch.rollouts))
    section = setup.config.teacher
    rates = learning_rates(section, setup.config.num_outer_steps, section.warmup_steps)

    def update(state: TrainState) -> tuple[TrainState, Metrics]:
        return update_policy(
            state,
            batch,
            frozen_base=setup.sampler.frozen_base,
            learning_rate=rates[step],
            **teacher.update_options(setup.mesh, setup.sampler.model),
        )

    state, updates = update_repeatedly(setup, teacher, batch, state=state, update=update)
    found = [{name: float(processes.to_host(value)) for name, value in metrics.items()} for metrics in updates]
    # Later updates differ from the sampler by more than its rounding.
    first, last = found[0], found[-1]
    comparisons = {name: value for name, value in first.items() if name not in UPDATE_METRICS}
    values: dict[str, float | None] = {f"teacher_{name}": last[name] for name in UPDATE_METRICS}
    values |= means(comparisons, "teacher_")
    if not all(np.isfinite(last[name]) for name in ("loss", "grad_norm")):
        raise NotFiniteError(
            f"the teacher's loss or gradient is not finite at outer step {step}: {values}. Start anew in another "
            "--workdir with a lower teacher.learning_rate or a higher teacher.adam_eps"
        )
    return state, values
