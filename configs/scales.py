"""Scales: which model, which problems, and the sizes that fit them. `method.py:SCALE` picks one."""

import ml_collections

from soar_jax.settings import SettingsError


def scale_config(scale: str) -> ml_collections.ConfigDict:
    """All keys that every method has, set for a scale.

    Raises:
      SettingsError: there is no such scale.
    """
    scale = scale or "nano"
    if scale not in _SCALES:
        raise SettingsError(f"unknown scale {scale!r}; choose one of {', '.join(_SCALES)}")
    config = _SCALES[scale]()
    config.scale = scale
    return config


def nano() -> ml_collections.ConfigDict:
    """The embedded model in the arithmetic world: runs anywhere in minutes, no download.

    Values marked (paper) are the paper's. The others were measured for this model; docs/nano_world.md
    has the figures.
    """
    c = ml_collections.ConfigDict()
    c.seed = 0
    c.num_outer_steps = 48  # at most; paper: 200
    c.model = ml_collections.ConfigDict(
        {
            "source": "embedded:nano",  # or a folder with a Hugging Face checkpoint
            "dtype": "float32",
        }
    )
    c.problems = ml_collections.ConfigDict(
        {
            "source": "arithmetic",
            "levels": (6, 7, 8),  # operations of the candidates
            "seed": 1,  # of the candidates; not the run's, so that all seeds choose from the same problems
        }
    )
    c.prompts = ml_collections.ConfigDict(
        {
            "student": "exam {question} ?",
            "teacher": "teacher",
            "question_end": "?",  # in the teacher's text, between its question and its answer
            "bucket_tokens": (4, 15),  # prompts are padded to the smallest that fits
        }
    )
    c.grading = ml_collections.ConfigDict({"extraction": "after_equals"})
    c.hard_subset = ml_collections.ConfigDict(
        {
            "num_candidates": 512,
            "num_samples": 128,  # (paper) keep what the base model solves 0 times of this
            "temperature": 1.0,
            "top_p": 1.0,
            "validation_share": 1 / 3,  # of the train half
        }
    )
    c.outer = ml_collections.ConfigDict(
        {
            "num_datasets": 8,  # g
            "questions_per_dataset": 16,  # n; paper: 64
            "students_per_dataset": 1,  # r
            "num_reward_questions": 64,  # (paper)
            # Paper: greedy, that is temperature 0 and 1 sample. This model's greedy accuracy jumps
            # from 0 to 1 and gives no early signal, so accuracy is that of 16 samples.
            "reward_temperature": 1.0,
            "reward_samples": 16,
            # Stop when the baseline student solves this share of the validation problems (mean over
            # samples); above 1 never.
            "stop_at_validation": 0.8,
        }
    )
    c.promotion = ml_collections.ConfigDict(
        {
            "threshold": 0.01,  # tau (paper)
            "window": 3,  # (paper)
            "statistic": "best",  # of a step's rewards; paper: "mean"
            "student": "window_best",  # paper: "step_best"
            "needs_step_reward": True,  # paper: False
        }
    )
    c.inner = ml_collections.ConfigDict(
        {
            "num_steps": 10,  # (paper)
            "questions_per_step": 8,  # (paper)
            "group_size": 16,
            "advantage": "rloo",  # (paper); or "grpo", "dr_grpo"
        }
    )
    c.student = _policy(learning_rate=5e-4, adam_b2=0.99, adam_eps=1e-3, max_completion_tokens=27)
    c.teacher = _policy(learning_rate=8e-4, adam_b2=0.99, adam_eps=1e-5, max_completion_tokens=40)
    c.teacher.train = True  # False freezes the teacher
    c.teacher.invalid_penalty = 1.0  # advantage of an unparsable rollout: -this * the largest |advantage|
    c.hard_only = ml_collections.ConfigDict(
        {
            # After the search, students trained on the hard problems themselves for as many steps as
            # the promoted student has behind it ("promoted"), as all students of the whole search took
            # together ("search"), or "none".
            "num_steps": "promoted",
        }
    )
    c.evaluation = ml_collections.ConfigDict(
        {
            "num_samples": 64,
            "pass_at": (1, 4, 8, 16, 32),  # (paper)
            "temperature": 1.0,
            "top_p": 1.0,
            "validation_samples": 16,
            "problems_per_call": 64,
        }
    )
    c.mesh = ml_collections.ConfigDict(
        {
            "population": -1,  # devices that share the students; -1 takes all
            "cpu_devices": 2,  # on a CPU: how many devices it is split into; use its number of cores
        }
    )
    c.sampling = ml_collections.ConfigDict(
        {
            "rows_per_chunk": 64,  # rows that are decoded together; small ones stay in a CPU's cache
            "population_batch": 1,  # students that a device runs at once: 1 on a CPU, more on accelerators
        }
    )
    c.checkpoints = ml_collections.ConfigDict({"keep": 2})
    return c


def _policy(
    learning_rate: float, adam_b2: float, adam_eps: float, max_completion_tokens: int
) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "temperature": 1.0,
            "max_completion_tokens": max_completion_tokens,
            "learning_rate": learning_rate,
            "adam_b1": 0.9,
            "adam_b2": adam_b2,
            # Large against the gradients' size: one lucky hit must not become a full step.
            "adam_eps": adam_eps,
            "max_grad_norm": 1.0,
            "updates_per_batch": 1,  # (paper) on-policy; more need clip_ratio
            "clip_ratio": 0.0,  # of the clipped surrogate; 0: plain RLOO (paper)
            "kl_coef": 0.0,  # KL to the policy that training starts from; 0 leaves it out
            "rows_per_micro_batch": 16,
            "logprob_chunk_tokens": 4096,  # tokens whose full-vocabulary logits are held at once
        }
    )


_SCALES = {"nano": nano}
