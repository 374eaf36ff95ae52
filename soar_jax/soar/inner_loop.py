"""The inner loop: copies of one policy, trained by RL as a population, each on its own questions (step 4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from soar_jax import parallel
from soar_jax.errors import NotFiniteError
from soar_jax.grading.grader import Verdict
from soar_jax.integers import ceil_div
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.rl.advantages import ADVANTAGES
from soar_jax.rl.indicators import CompletionSums, Indicators, join_students, stack_steps
from soar_jax.rl.policy import PolicySettings
from soar_jax.rl.population import init_population, update_population
from soar_jax.rl.train_step import UPDATE_METRICS, Metrics, TrainState
from soar_jax.rng import split_key, stream_generator, stream_key
from soar_jax.sampling.text import Draw
from soar_jax.soar.reference_kl import students_reference, subtract_students_kl
from soar_jax.soar.setup import Setup
from soar_jax.soar.shown_answers import Pick, ShownAnswer
from soar_jax.soar.student_rewards import student_rewards
from soar_jax.telemetry.meter import TrainedRows
from soar_jax.types import PromptBatch, QuestionAnswer, RolloutBatch, TrainBatch

QuestionSets = Sequence[tuple[QuestionAnswer, ...]]  # [P] the questions of each student, possibly none


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodePlan:
    """The student steps of an episode, and the names of its random draws."""

    stream: str
    indices: tuple[int, ...]
    learning_rates: tuple[float, ...]  # of each student step
    first_student: int = 0  # index of the population's first student among all: draws do not depend on waves
    # An episode on the questions of an earlier one continues their order, which the earlier one's indices name.
    steps_before: int = 0  # student steps on the same questions
    order_indices: tuple[int, ...] = ()  # of the first episode on them; empty: this one's
    shown: tuple[Pick, ...] = ()  # answers that are kept; those of other students do not count

    @property
    def num_steps(self) -> int:
        """Student steps."""
        return len(self.learning_rates)


@dataclasses.dataclass(kw_only=True)
class QuestionStats:
    """Number of answers to each question of each student, and how many of them were right."""

    asked: list[np.ndarray]  # [P][questions]
    agreed: list[np.ndarray]  # [P][questions]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Episode:
    """Statistics of a population's training."""

    stats: QuestionStats
    mean_rewards: np.ndarray  # [steps, P] of the rollouts of each step
    right_shares: np.ndarray  # [steps, P] share of right answers
    has_signal: np.ndarray  # [steps, P] bool, whether an answer had an advantage
    indicators: Indicators  # [steps, P]; those of updates are of a step's first one
    shown: tuple[ShownAnswer, ...] = ()


def join_episodes(episodes: Sequence[Episode]) -> Episode:
    """Joins the episodes of waves of students."""

    def join(name: str) -> np.ndarray:
        return np.concatenate([getattr(episode, name) for episode in episodes], axis=1)

    return Episode(
        stats=QuestionStats(
            asked=[asked for episode in episodes for asked in episode.stats.asked],
            agreed=[agreed for episode in episodes for agreed in episode.stats.agreed],
        ),
        mean_rewards=join("mean_rewards"),
        right_shares=join("right_shares"),
        has_signal=join("has_signal"),
        indicators=join_students([episode.indicators for episode in episodes]),
        # In one order, however many waves there are.
        shown=tuple(sorted((answer for episode in episodes for answer in episode.shown), key=lambda each: each.pick)),
    )


# Called after each student step with the number done and the mean reward of the last.
ReportStep = Callable[[int, float], None]


def report_nothing(num_done: int, mean_reward: float) -> None:
    """Leaves the steps of an episode unreported."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Answers:
    """The students' answers of a student step."""

    rollouts: RolloutBatch  # [P, Q * G, ...]
    asked: list[QuestionAnswer]  # [P * Q * G]
    texts: list[str]  # [P * Q * G]
    verdicts: list[Verdict]  # [P * Q * G]
    is_right: np.ndarray  # [P, Q, G] bool
    rewards: np.ndarray  # [P, Q, G] float32


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Step:
    """Statistics of a student step, as in `Episode`, each [P]."""

    mean_rewards: np.ndarray
    right_shares: np.ndarray
    has_signal: np.ndarray
    indicators: Indicators


class _Batches:
    """Prompts and reference answers of each student step of an episode."""

    def __init__(self, setup: Setup, question_sets: QuestionSets, plan: EpisodePlan) -> None:
        self._orders = [
            draw_order(setup, plan, student=student, num_questions=max(1, len(questions)))
            for student, questions in enumerate(question_sets, plan.first_student)
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

    def asked(self, step: int, group_size: int) -> list[QuestionAnswer]:
        """Returns the questions and reference answers of a step's rollouts [P * Q * G]."""
        return [
            items[index]
            for items, order in zip(self._padded, self._orders, strict=True)
            for index in order[step]
            for _ in range(group_size)
        ]

    def count(self, step: int, is_right: np.ndarray) -> None:
        """Adds a step's verdicts [P, Q, G] to the statistics."""
        for student, order in enumerate(self._orders):
            np.add.at(self.stats.asked[student], order[step], is_right.shape[-1])
            np.add.at(self.stats.agreed[student], order[step], is_right[student].sum(axis=1))


def draw_order(setup: Setup, plan: EpisodePlan, *, student: int, num_questions: int) -> np.ndarray:
    """Draws the question indices of an episode [steps, questions_per_step], one permutation after another."""
    each = setup.config.inner.questions_per_step
    need = (plan.steps_before + plan.num_steps) * each
    indices = plan.order_indices or plan.indices
    rng = stream_generator(setup.config.seed, f"{plan.stream}_order", *indices, student)
    rounds = [rng.permutation(num_questions) for _ in range(ceil_div(need, num_questions))]
    return np.concatenate(rounds)[:need].reshape(-1, each)[plan.steps_before :]


def train_population(
    setup: Setup,
    start: Params,
    question_sets: QuestionSets,
    *,
    plan: EpisodePlan,
    report: ReportStep = report_nothing,
) -> tuple[TrainState, Episode]:
    """Trains one copy of `start` on each set of questions; `start` is not donated.

    A student step samples `inner.group_size` answers to each of `inner.questions_per_step` questions, rewards them by
    `student.reward`, and updates the student by policy gradient.

    Returns:
      The trained students, leaves [P, ...], and statistics.

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
    return continue_population(setup, states, start, question_sets=question_sets, plan=plan, report=report)


def continue_population(
    setup: Setup,
    states: TrainState,
    reference: Params,
    *,
    question_sets: QuestionSets,
    plan: EpisodePlan,
    report: ReportStep = report_nothing,
) -> tuple[TrainState, Episode]:
    """Trains existing students for one episode, see `train_population`; `states` is donated.

    Args:
      reference: the reference policy of the KL divergence. `train_population` takes the policy that the episode starts
        from. The paper is silent; the baseline student is in memory anyway, and towards the base model a KL term would
        undo what promotions have gained.
    """
    batches, advantage = _Batches(setup, question_sets, plan), ADVANTAGES[setup.config.inner.advantage]
    steps: list[_Step] = []
    shown: list[ShownAnswer] = []
    rollouts = _sample(setup, states, batches, plan=plan, step=0)
    for step in range(plan.num_steps):
        reference_logprobs = students_reference(setup, rollouts, reference)
        answers = _graded(setup, rollouts, batches.asked(step, setup.config.inner.group_size))
        net_rewards, kl = subtract_students_kl(setup, answers.rewards, answers.rollouts, logprobs=reference_logprobs)
        advantages = np.asarray(advantage(net_rewards), np.float32)  # [P, Q, G]
        flat = parallel.shard_population(setup.mesh, advantages.reshape(len(advantages), -1))
        of_loss = reference_logprobs if setup.config.student.kl_in_loss else None
        batch = TrainBatch(rollouts=answers.rollouts, advantages=flat, reference_logprobs=of_loss)
        states, updates = _update(setup, states, batch, learning_rate=plan.learning_rates[step])
        if step + 1 < plan.num_steps:  # before the metrics are waited for, so that the devices work meanwhile
            rollouts = _sample(setup, states, batches, plan=plan, step=step + 1)
        batches.count(step, answers.is_right)
        metrics = _metrics(updates, plan, step)
        steps.append(_statistics(setup, answers, advantages, question_sets=question_sets, metrics=metrics | kl))
        shown += _shown(setup, answers, advantages, plan=plan, step=step)
        report(step + 1, float(answers.rewards.mean()))
    episode = Episode(
        stats=batches.stats,
        mean_rewards=np.array([step.mean_rewards for step in steps]),
        right_shares=np.array([step.right_shares for step in steps]),
        has_signal=np.array([step.has_signal for step in steps]),
        indicators=stack_steps([step.indicators for step in steps]),
        shown=tuple(shown),
    )
    return states, episode


def _graded(setup: Setup, rollouts: RolloutBatch, asked: list[QuestionAnswer]) -> _Answers:
    """Grades and rewards the answers of a student step."""
    texts = setup.sampler.texts(rollouts)
    references = [item.answer for item in asked]
    verdicts = setup.grader.grade(texts, references)
    is_right = np.array([verdict is Verdict.CORRECT for verdict in verdicts], bool)
    rewards = student_rewards(setup.config.student, texts, references, is_right=is_right)
    shape = (len(rollouts.lengths), -1, setup.config.inner.group_size)  # [P, Q, G]
    return _Answers(
        rollouts=rollouts,
        asked=asked,
        texts=texts,
        verdicts=verdicts,
        is_right=is_right.reshape(shape),
        rewards=rewards.reshape(shape),
    )


def _sample(setup: Setup, states: TrainState, batches: _Batches, *, plan: EpisodePlan, step: int) -> RolloutBatch:
    """Samples the rollouts [P, Q * G, ...] of a student step."""
    prompts = batches.prompts(step)
    key = stream_key(setup.config.seed, f"{plan.stream}_sample", *plan.indices, step)
    last = plan.first_student + len(prompts.lengths)
    draw = Draw(
        key=split_key(key, first=plan.first_student, end=last, sharding=parallel.by_population(setup.mesh)),
        settings=setup.student.sampling,
        num_samples=setup.config.inner.group_size,
    )
    return setup.sampler.sample(states.weights, prompts, draw)


def _update(
    setup: Setup, states: TrainState, batch: TrainBatch, *, learning_rate: float
) -> tuple[TrainState, list[Metrics]]:
    """Updates every student on a batch; returns the metrics [P] of each update."""
    student = setup.student

    def update(states: TrainState) -> tuple[TrainState, Metrics]:
        return update_population(
            states,
            batch,
            frozen_base=setup.sampler.frozen_base,
            learning_rate=learning_rate,
            **student.update_options(setup.mesh, setup.sampler.model),
            population_batch=setup.config.inner.update_batch,
        )

    return update_repeatedly(setup, student, batch, state=states, update=update)


def _metrics(updates: Sequence[Metrics], plan: EpisodePlan, step: int) -> dict[str, np.ndarray]:
    """Waits for the updates of a step, and returns the metrics [P] of the first.

    Later ones differ from the sampler by more than its rounding.

    Raises:
      NotFiniteError: a loss or gradient norm of one is not finite.
    """
    found = [{name: processes.to_host(values) for name, values in metrics.items()} for metrics in updates]
    for metrics in found:
        _require_finite(metrics, f"{plan.stream} {plan.indices}, inner step {step}", plan.first_student)
    return found[0]


def _statistics(
    setup: Setup, answers: _Answers, advantages: np.ndarray, *, question_sets: QuestionSets, metrics: Indicators
) -> _Step:
    """Makes the statistics of a student step; answers of students without questions are no answers."""
    has_signal = (advantages != 0).any(axis=(1, 2))
    completions = CompletionSums.of(answers.rollouts, setup.student.sampling.stop_ids).indicators()
    signal = {"signal_share": (advantages != 0).any(axis=2).mean(axis=1)}
    has_questions = [bool(questions) for questions in question_sets]
    indicators = {name: np.where(has_questions, values, np.nan) for name, values in (completions | signal).items()}
    indicators["grad_norm"] = np.where(has_signal, metrics["grad_norm"], np.nan)
    indicators |= {name: values for name, values in metrics.items() if name not in UPDATE_METRICS}
    return _Step(
        mean_rewards=answers.rewards.mean(axis=(1, 2)),
        right_shares=answers.is_right.mean(axis=(1, 2)),
        has_signal=has_signal,
        indicators=indicators,
    )


def _shown(
    setup: Setup, answers: _Answers, advantages: np.ndarray, *, plan: EpisodePlan, step: int
) -> Iterator[ShownAnswer]:
    """Yields the picked answers of a student step."""
    num_students, each = len(advantages), advantages[0].size
    for pick in plan.shown:
        student = pick.student - plan.first_student
        if pick.step == step and 0 <= student < num_students:
            index = student * each + pick.row
            yield ShownAnswer(
                pick=pick,
                asked=answers.asked[index],
                completion=answers.texts[index],
                answer=setup.grader.answer(answers.texts[index]),
                verdict=answers.verdicts[index],
                reward=float(answers.rewards.flat[index]),
                advantage=float(advantages.flat[index]),
            )


def update_repeatedly(
    setup: Setup,
    policy: PolicySettings,
    batch: TrainBatch,
    *,
    state: TrainState,
    update: Callable[[TrainState], tuple[TrainState, Metrics]],
) -> tuple[TrainState, list[Metrics]]:
    """Updates a policy or a population `updates_per_batch` times on a batch; returns the metrics of each update."""
    updates = []
    if batch.reference_logprobs is not None:
        setup.meter.add_reference(TrainedRows.of(batch.rollouts, np.ones(batch.advantages.shape, bool)))
    for _ in range(policy.updates_per_batch):
        state, metrics = update(state)
        setup.meter.watch(metrics["loss"])
        _meter_training(setup, batch, policy)
        updates.append(metrics)
    return state, updates


def _meter_training(setup: Setup, batch: TrainBatch, policy: PolicySettings) -> None:
    """Meters the work of an update; without a KL term in the loss, rows of zero advantage need none."""
    advantages = processes.to_host(batch.advantages)
    is_trained = np.ones(advantages.shape, bool) if policy.loss.kl_coef > 0 else advantages != 0
    setup.meter.add_training(TrainedRows.of(batch.rollouts, is_trained))


def _require_finite(metrics: dict[str, np.ndarray], where: str, first_student: int) -> None:
    for name in ("loss", "grad_norm"):
        values = metrics[name]
        if not np.isfinite(values).all():
            students = (first_student + np.flatnonzero(~np.isfinite(values))).tolist()
            raise NotFiniteError(
                f"{name} is not finite at {where}, student(s) {students}. Start anew in another --workdir with a "
                "lower student.learning_rate or a higher student.adam_eps"
            )
