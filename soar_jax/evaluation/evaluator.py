"""How many of a policy's sampled answers to given problems are right."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from soar_jax.grading.grader import Grader, Verdict
from soar_jax.model.parameters import Params
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.sampling.text import TextSampler
from soar_jax.types import Problem, RolloutBatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a policy answered once, and what became of it."""

    completion: str
    final: str | None  # the answer that was found in it
    verdict: Verdict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Asks policies questions and grades what they answer."""

    sampler: TextSampler
    grader: Grader
    prompts_per_call: int  # problems asked in one call of the compiled program

    def count_correct(
        self,
        params: Params,
        problems: Sequence[Problem],
        key: jax.Array,
        settings: SamplingSettings,
        samples_per_problem: int,
        first_place: int = 0,
    ) -> np.ndarray:
        """Right answers of each problem, out of `samples_per_problem`: [len(problems)] int64; draws as `ask` does."""
        calls = self.ask(params, problems, key, settings, samples_per_problem, first_place)
        counts = [sum(answer.verdict is Verdict.CORRECT for answer in row) for rows in calls for row in rows]
        return np.array(counts, np.int64)

    def ask(
        self,
        params: Params,
        problems: Sequence[Problem],
        key: jax.Array,
        settings: SamplingSettings,
        samples_per_problem: int,
        first_place: int = 0,
    ) -> Iterator[list[list[Answer]]]:
        """Asks problems in calls of the compiled program; yields the answers to each problem of a call.

        A draw is that of (key, problem's place, sample), however the problems are cut into calls; the first problem
        is at `first_place`.
        """
        asked: tuple[list[Problem], RolloutBatch] | None = None
        for start in range(0, len(problems), self.prompts_per_call):
            part = list(problems[start : start + self.prompts_per_call])
            filled = part + [part[-1]] * (self.prompts_per_call - len(part))  # one compiled shape
            prompts = self.sampler.encode_questions([problem.question for problem in filled])
            rollouts = self.sampler.sample_policy(
                params,
                prompts,
                key=key,
                settings=settings,
                samples_per_prompt=samples_per_problem,
                first_prompt=first_place + start,
            )
            if asked:  # graded while the devices are at the next call
                yield self._graded(*asked, samples_per_problem)
            asked = part, rollouts
        if asked:
            yield self._graded(*asked, samples_per_problem)

    def count_correct_population(
        self,
        params: Params,  # leaves [P, ...]
        population: int,
        problems: Sequence[Problem],
        key: jax.Array,
        settings: SamplingSettings,
        samples_per_problem: int,
    ) -> np.ndarray:
        """Right answers of each student and problem: [P, len(problems)] int64.

        All students draw as `count_correct` does with the same key: policies whose
        parameters agree answer alike, so differences come from training alone.
        """
        per_call = -(-len(problems) // -(-len(problems) // self.prompts_per_call))  # calls of one shape, nearly full
        keys = jax.numpy.stack([key] * population)
        parts = []
        for start in range(0, len(problems), per_call):
            part = list(problems[start : start + per_call])
            filled = part + [part[-1]] * (per_call - len(part))  # one compiled shape
            one = self.sampler.encode_questions([problem.question for problem in filled])
            prompts = jax.tree.map(lambda leaf: np.repeat(leaf[None], population, axis=0), one)
            rollouts = self.sampler.sample_population(
                params,
                prompts,
                keys=keys,
                settings=settings,
                samples_per_prompt=samples_per_problem,
                first_prompt=start,
            )
            rewards = self.grade(self.sampler.texts(rollouts), filled * population, samples_per_problem)
            parts.append(rewards.sum(axis=1).reshape(population, per_call)[:, : len(part)])
        return np.concatenate(parts, axis=1).astype(np.int64)

    def grade(self, texts: Sequence[str], problems: Sequence[Problem], samples_per_problem: int) -> np.ndarray:
        """Rewards [len(problems), samples_per_problem] of texts in the order of the problems."""
        references = [problem.answer for problem in problems for _ in range(samples_per_problem)]
        return self.grader.rewards(texts, references).reshape(len(problems), samples_per_problem)

    def _graded(
        self, problems: Sequence[Problem], rollouts: RolloutBatch, samples_per_problem: int
    ) -> list[list[Answer]]:
        """Each problem's answers; behind the problems' rollouts come those that fill the call."""
        texts = self.sampler.texts(rollouts)[: len(problems) * samples_per_problem]
        finals = [self.grader.answer(text) for text in texts]
        references = [problem.answer for problem in problems for _ in range(samples_per_problem)]
        verdicts = self.grader.compare(finals, references)
        answers = (
            Answer(completion=text, final=final, verdict=verdict)
            for text, final, verdict in zip(texts, finals, verdicts, strict=True)
        )
        return [list(itertools.islice(answers, samples_per_problem)) for _ in problems]
