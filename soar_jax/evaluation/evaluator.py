"""Evaluation of policies: sampled answers to questions, graded."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from soar_jax.grading.grader import Grader, Verdict
from soar_jax.integers import ceil_div
from soar_jax.model.parameters import Params
from soar_jax.sampling.text import Draw, TextSampler
from soar_jax.types import Problem, RolloutBatch, ShowProgress, show_nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """A sampled completion with its extracted answer and verdict."""

    completion: str
    final: str | None  # extracted answer; None where there is none
    verdict: Verdict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Samples and grades answers of one policy or of a population, in calls of one compiled shape."""

    sampler: TextSampler
    grader: Grader
    prompts_per_call: int  # questions per call of the compiled program
    show_progress: ShowProgress = show_nothing

    def iterate_texts(
        self,
        weights: Params,
        questions: Sequence[str],
        draw: Draw,
        *,
        num_students: int = 0,
        first_index: int = 0,
        one_more: Params | None = None,
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Samples answers to the same questions from one policy, or from each student of a population.

        While the devices sample a call, the caller handles the texts of the call before.

        Args:
          num_students: P of a population, weights with leaves [P, ...]; 0 for one policy. All students use the same
            key, so students with equal weights answer alike and differences come from training alone.
          first_index: index of `questions[0]` in the draw, which does not depend on how questions are cut into calls.
          one_more: weights of a policy that is evaluated as one more student of the population, the last.

        Yields:
          The questions of a call as a slice, and their texts, an object array [policies, questions, samples].
        """
        size = self.prompts_per_call
        if num_students:
            size = ceil_div(len(questions), ceil_div(len(questions), size))  # evens out the calls
        pending: tuple[slice, RolloutBatch] | None = None
        for start in range(0, len(questions), size):
            batch = [*questions[start : start + size]]
            prompts = self.sampler.encode_questions(batch + [batch[-1]] * (size - len(batch)))
            if num_students:
                prompts = jax.tree.map(lambda leaf: np.repeat(leaf[None], num_students, axis=0), prompts)
            rollouts = self.sampler.sample(weights, prompts, draw, first_prompt=first_index + start, one_more=one_more)
            if pending:
                yield self._texts(*pending, size, len(questions))
            pending = slice(start, start + len(batch)), rollouts
        if pending:
            yield self._texts(*pending, size, len(questions))

    def _texts(self, where: slice, rollouts: RolloutBatch, size: int, total: int) -> tuple[slice, np.ndarray]:
        """Texts of a call, without those of padding rows; shows how many of `total` questions are answered."""
        texts = np.array(self.sampler.texts(rollouts), object)
        if total > size:  # a single call says nothing of progress
            self.show_progress("questions", where.stop, total, "")
        num_students = rollouts.lengths.shape[0] if rollouts.lengths.ndim == 2 else 1
        return where, texts.reshape(num_students, size, -1)[:, : where.stop - where.start]

    def count_correct(
        self,
        weights: Params,
        problems: Sequence[Problem],
        draw: Draw,
        *,
        num_students: int = 0,
        first_index: int = 0,
        one_more: Params | None = None,
    ) -> np.ndarray:
        """Counts correct answers to each problem: [len(problems)] int64, with a leading axis for a population.

        Arguments as of `iterate_texts`; the axis has P policies, or P + 1.
        """
        questions = [problem.question for problem in problems]
        num_policies = max(1, num_students) + (one_more is not None)
        counts = [np.zeros((num_policies, 0), np.int64)]  # for no problems
        for where, texts in self.iterate_texts(
            weights, questions, draw, num_students=num_students, first_index=first_index, one_more=one_more
        ):
            references = np.array([problem.answer for problem in problems[where]], object)[:, None]
            references = np.broadcast_to(references, texts.shape)
            is_right = self.grader.is_right(texts.ravel().tolist(), references.ravel().tolist())
            counts.append(is_right.reshape(texts.shape).sum(axis=2, dtype=np.int64))
        total = np.concatenate(counts, axis=1)
        return total if num_students else total[0]

    def iterate_answers(
        self, weights: Params, problems: Sequence[Problem], draw: Draw, *, first_index: int = 0
    ) -> Iterator[list[list[Answer]]]:
        """Samples and grades answers of one policy, call by call: [problems of the call][samples]."""
        questions = [problem.question for problem in problems]
        for where, texts in self.iterate_texts(weights, questions, draw, first_index=first_index):
            completions = texts[0].ravel().tolist()
            finals = [self.grader.answer(text) for text in completions]
            references = [problem.answer for problem in problems[where] for _ in range(draw.num_samples)]
            verdicts = self.grader.compare(finals, references)
            answers = (
                Answer(completion=text, final=final, verdict=verdict)
                for text, final, verdict in zip(completions, finals, verdicts, strict=True)
            )
            yield [list(itertools.islice(answers, draw.num_samples)) for _ in problems[where]]
