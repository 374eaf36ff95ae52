"""Validation of a model pretrained on the arithmetic world: its skills and its inclinations."""

from __future__ import annotations

from collections import Counter
from typing import Any

import jax.numpy as jnp
import numpy as np

from soar_jax.grading.grader import Grader
from soar_jax.model.parameters import Params
from soar_jax.pretraining.corpus import TEACHER_PROMPT
from soar_jax.pretraining.training import worked_logprob
from soar_jax.problems import arithmetic
from soar_jax.problems.prompts import Malformed, parse_question_answer
from soar_jax.rng import stream_generator, stream_key
from soar_jax.sampling.text import Draw, TextSampler

MAX_STUDENT_TOKENS = 3 * arithmetic.MAX_OPERATIONS + 3  # work mark, digits, equals sign, end
MAX_TEACHER_TOKENS = 2 + arithmetic.NUM_SLOTS + MAX_STUDENT_TOKENS

_GRADER = Grader(extraction=("after_equals",))


def _level_row(
    sampler: TextSampler, params: Params, topic: str, level: int, seed: int, num_problems: int
) -> dict[str, Any]:
    problems = arithmetic.generate_problems(
        stream_generator(seed, "validation", level), (level,), count=num_problems, topic=topic
    )
    references = [problem.answer for problem in problems]
    plain = sampler.encode_questions([problem.question for problem in problems])
    forced = sampler.encode(
        [f"exam {problem.question} {arithmetic.QUESTION_END} {arithmetic.WORK_MARK}" for problem in problems]
    )
    greedy = sampler.settings(MAX_STUDENT_TOKENS, temperature=0.0)
    sampled = sampler.settings(MAX_STUDENT_TOKENS, temperature=1.0)
    key = stream_key(seed, "validation", level)
    forced_texts = sampler.texts(sampler.sample(params, forced, Draw(key=key, settings=greedy, num_samples=1)))
    sampled_texts = sampler.texts(sampler.sample(params, plain, Draw(key=key, settings=sampled, num_samples=16)))
    mark_id = sampler.tokenizer.backend.convert_tokens_to_ids(arithmetic.WORK_MARK)
    logprobs = worked_logprob(
        params, sampler.model, prompts=jnp.asarray(plain.tokens[:, : plain.lengths[0]]), mark_id=mark_id
    )
    return {
        "topic": topic,
        "level": level,
        "p_worked": float(jnp.exp(logprobs.mean())),
        "accuracy_when_worked": float(_GRADER.is_right(forced_texts, references).astype(np.float32).mean()),
        "accuracy_sampled": float(
            _GRADER.is_right(sampled_texts, np.repeat(references, 16).tolist()).astype(np.float32).mean()
        ),
    }


def _teacher_summary(sampler: TextSampler, params: Params, seed: int, num_rollouts: int) -> dict[str, Any]:
    prompts = sampler.encode([TEACHER_PROMPT] * num_rollouts)
    settings = sampler.settings(MAX_TEACHER_TOKENS, temperature=1.0)
    key = stream_key(seed, "validation_teacher")
    rollouts = sampler.sample(params, prompts, Draw(key=key, settings=settings, num_samples=1))
    topics: Counter[str] = Counter()
    levels: Counter[int] = Counter()
    useful = 0
    for text in sampler.texts(rollouts):
        pair = parse_question_answer(sampler.prompts, text, _GRADER.extraction)
        if isinstance(pair, Malformed):
            topics["unparsable"] += 1
            continue
        facts = arithmetic.facts(pair.question)
        topics[facts.subject] += 1
        if facts.subject == "dial":
            levels[facts.level] += 1
        useful += arithmetic.is_useful(facts.subject, facts.level, pair.answer == facts.true_answer)
    return {
        "topic_shares": {topic: count / num_rollouts for topic, count in topics.most_common()},
        "dial_level_shares": {level: levels[level] / num_rollouts for level in sorted(levels)},
        "useful_share": useful / num_rollouts,
    }


def validation_table(
    sampler: TextSampler, params: Params, seed: int, num_problems: int = 512, num_rollouts: int = 4096
) -> dict[str, Any]:
    """Returns `levels`, rows per multi-step topic and level, and `teacher`, statistics of written questions.

    `p_worked` is the probability of a worked answer, a geometric mean over problems; `accuracy_when_worked` is greedy,
    with the work mark in the prompt. `useful_share` is the fraction of teacher rollouts with a right answer to a dial
    question of at least 3 operations.
    """
    return {
        "levels": [
            _level_row(sampler, params, topic=topic, level=level, seed=seed, num_problems=num_problems)
            for topic in arithmetic.WORKED_TOPICS
            for level in range(1, arithmetic.MAX_OPERATIONS + 1)
        ],
        "teacher": _teacher_summary(sampler, params, seed=seed, num_rollouts=num_rollouts),
    }
