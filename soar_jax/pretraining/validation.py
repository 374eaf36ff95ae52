"""What a pretrained model of the arithmetic world can do, and what it is inclined to do."""

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
from soar_jax.problems.prompts import question_and_answer
from soar_jax.rng import stream_generator, stream_key
from soar_jax.sampling.text import TextSampler

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
    forced_texts = sampler.texts(sampler.sample_policy(params, forced, key=key, settings=greedy, samples_per_prompt=1))
    sampled_texts = sampler.texts(
        sampler.sample_policy(params, plain, key=key, settings=sampled, samples_per_prompt=16)
    )
    mark_id = sampler.tokenizer.backend.convert_tokens_to_ids(arithmetic.WORK_MARK)
    logprobs = worked_logprob(
        params, sampler.model, prompts=jnp.asarray(plain.tokens[:, : plain.lengths[0]]), mark_id=mark_id
    )
    return {
        "topic": topic,
        "level": level,
        "p_worked": float(jnp.exp(logprobs.mean())),
        "accuracy_when_worked": float(_GRADER.rewards(forced_texts, references).mean()),
        "accuracy_sampled": float(_GRADER.rewards(sampled_texts, np.repeat(references, 16).tolist()).mean()),
    }


def _teacher_summary(sampler: TextSampler, params: Params, seed: int, num_rollouts: int) -> dict[str, Any]:
    prompts = sampler.encode([TEACHER_PROMPT] * num_rollouts)
    settings = sampler.settings(MAX_TEACHER_TOKENS, temperature=1.0)
    rollouts = sampler.sample_policy(
        params, prompts, key=stream_key(seed, "validation_teacher"), settings=settings, samples_per_prompt=1
    )
    topics: Counter[str] = Counter()
    levels: Counter[int] = Counter()
    useful = 0
    for text in sampler.texts(rollouts):
        pair = question_and_answer(sampler.prompts, text, _GRADER.extraction)
        if pair is None:
            topics["unparsable"] += 1
            continue
        facts = arithmetic.facts(pair.question)
        topics[facts.subject] += 1
        if facts.subject == "dial":
            levels[facts.level] += 1
            useful += facts.level >= 3 and pair.answer == facts.true_answer
    return {
        "topic_shares": {topic: count / num_rollouts for topic, count in topics.most_common()},
        "dial_level_shares": {level: levels[level] / num_rollouts for level in sorted(levels)},
        "useful_share": useful / num_rollouts,
    }


def validation_table(
    sampler: TextSampler, params: Params, seed: int, num_problems: int = 512, num_rollouts: int = 4096
) -> dict[str, Any]:
    """Per topic of many steps and level: inclination to work, accuracy when made to, plain accuracy; what it teaches.

    `p_worked` is the geometric mean over problems; `useful_share` counts dial questions
    of at least 3 operations with a right answer.
    """
    levels = range(1, arithmetic.MAX_OPERATIONS + 1)
    return {
        "levels": [
            _level_row(sampler, params, topic=topic, level=level, seed=seed, num_problems=num_problems)
            for topic in arithmetic.WORKED_TOPICS
            for level in levels
        ],
        "teacher": _teacher_summary(sampler, params, seed=seed, num_rollouts=num_rollouts),
    }
