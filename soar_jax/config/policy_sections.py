"""Config sections of policies: how teacher and students sample and learn.

As in `sections.py`, the defaults are the paper's protocol at Llama-3.2-3B-Instruct.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from soar_jax.config.fields import (
    Section,
    at_least,
    distinct,
    known_reward,
    one_of,
    positive,
    registered,
    satisfies,
    setting,
)

AUTO_REMAT = "auto"
_ONE = at_least(1)
_ABOVE_ZERO = satisfies(positive, "it must be more than 0")
_BETA = satisfies(lambda value: 0 <= value < 1, "it must be in [0, 1)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicySection(Section):
    """How one kind of policy, teacher or student, samples and learns."""

    temperature: float = setting(
        1.0,
        "sampling temperature",
        satisfies(positive, "training needs samples that differ, so use more than 0"),
        paper="1.0 (Table 3)",
    )
    max_completion_tokens: int = setting(1024, "tokens of a completion at most", _ONE, paper="1,024 (Table 3)")
    learning_rate: float = setting(1e-5, "learning rate", _ABOVE_ZERO, paper="1e-5 (Table 3)")
    schedule: str = setting(
        "cosine",
        "the learning rate over a policy's own steps, from the last of `warmup_steps` to 0 at the end, or 'constant'",
        one_of("constant", "linear", "cosine"),
        paper="cosine (Table 3)",
        legacy="constant",
    )
    warmup_steps: int = setting(
        0, "steps in which the learning rate rises from 0", at_least(0, "none"), paper="0 (B.7)", legacy=0
    )
    # The paper names AdamW and none of its settings; these are those of PyTorch's.
    adam_b1: float = setting(0.9, "AdamW's first moment decay", _BETA)
    adam_b2: float = setting(0.999, "AdamW's second moment decay", _BETA)
    adam_eps: float = setting(1e-8, "AdamW's epsilon", _ABOVE_ZERO)
    weight_decay: float = setting(
        0.01, "AdamW's weight decay, a share of the learning rate", at_least(0, "off"), legacy=0.0
    )
    max_grad_norm: float = setting(1.0, "gradients are clipped to this global norm", at_least(0, "off"))
    updates_per_batch: int = setting(1, "updates on each batch; more than 1 needs clip_ratio", _ONE)
    clip_ratio: float = setting(0.0, "epsilon of the clipped surrogate; 0: plain RLOO", at_least(0, "off"))
    importance_cap: float = setting(
        # Rounding leaves most weights close to 1; the cap bounds the variance that a rare large one would bring.
        2.0,
        "largest importance weight of a token, the policy's probability over the sampler's, where the sampler computes "
        "in bfloat16 or with an int8 cache; 0: no weights. With clip_ratio the surrogate's ratio takes their place",
        satisfies(lambda value: value == 0 or value >= 1, "it must be 0 or at least 1"),
        legacy=0.0,
    )
    kl_coef: float = setting(
        0.001,
        "weight of the KL divergence to the policy that training starts from; 0 leaves it out",
        at_least(0, "off"),
        paper="0.001 (Table 3)",
    )
    kl: str = setting(
        "k3_in_loss",
        "how it counts: 'k3_in_loss' (a loss per token) or 'k1_in_reward' (subtracted from a completion's reward, as "
        "in arXiv 2402.14740)",
        one_of("k3_in_loss", "k1_in_reward"),
        legacy="k3_in_loss",
    )
    rows_per_micro_batch: int = setting(4, "rows of a gradient accumulation step", _ONE, execution_only=True)
    completion_buckets: int = setting(
        1,
        "lengths, evenly spaced up to max_completion_tokens, to which completions are padded in training; each is one "
        "more loop to compile",
        _ONE,
        execution_only=True,
    )
    logprob_chunk_tokens: int = setting(
        1024, "tokens whose full-vocabulary logits are held at once", _ONE, execution_only=True
    )
    remat: str = setting(
        AUTO_REMAT,
        "what the backward pass recomputes: 'none', 'layers' (layers keep only their input), 'dots' (they also keep "
        "the results of matrix products) or 'auto' ('dots' on a CPU and where an accelerator's memory allows, else "
        "'layers')",
        one_of("none", "layers", "dots", AUTO_REMAT),
        execution_only=True,
    )

    @property
    def has_reference(self) -> bool:
        """Whether the KL divergence to the reference policy counts."""
        return self.kl_coef > 0

    @property
    def kl_in_loss(self) -> bool:
        """Whether the loss has a KL term."""
        return self.kl_coef > 0 and self.kl == "k3_in_loss"

    @property
    def kl_in_reward(self) -> bool:
        """Whether the KL divergence is subtracted from rewards before advantages are computed."""
        return self.kl_coef > 0 and self.kl == "k1_in_reward"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentSection(PolicySection):
    """The students, in the inner loop and at the end."""

    reward: str = setting(
        "graded",
        "reward of an answer: 'graded' (by `graded_values`), 'right' (1 or 0), or 'MODULE:FUNCTION' of your own",
        known_reward,
        paper="graded (B.3)",
        legacy="right",
    )
    graded_values: tuple[float, ...] = setting(
        (120.0, 20.0, 10.0, 0.0),
        "rewards of 'graded': a boxed answer that is right; one whose text contains the right one; another boxed "
        "answer; none boxed",
        satisfies(lambda value: len(value) == 4, "give four numbers"),
        paper="120, 20, 10, 0 (B.3)",
    )
    completion_buckets: int = setting(8, "as teacher.completion_buckets", _ONE, execution_only=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherSection(PolicySection):
    """The teacher."""

    max_completion_tokens: int = setting(512, "tokens of a completion at most", _ONE, paper="512 (Table 3)")
    train: bool = setting(True, "False freezes the teacher")
    reward: str = setting(
        "grounded",
        "'grounded': students' improvement; others are of the questions alone",
        registered,
        paper="grounded (section 3)",
    )
    solver_samples: int = setting(
        32, "the baseline student's answers to a question, for rewards of the questions alone", _ONE, paper="32 (B.4)"
    )
    reward_unit: str = setting(
        "dataset",
        "what a reward of the questions alone is given to: 'dataset' (its mean, to all of its rollouts) or 'question'",
        one_of("dataset", "question"),
        paper="dataset (B.4)",
        legacy="question",
    )
    warmup_steps: int = setting(20, "as student.warmup_steps", at_least(0, "none"), paper="20 (Table 3)", legacy=0)
    turns: int = setting(
        1,
        "2: the teacher writes the question first, and its answer in a second completion",
        satisfies(lambda value: value in (1, 2), "it must be 1 or 2"),
        paper="1; 2 in an ablation (D.3)",
        legacy=1,
    )
    malformed: str = setting(
        "resample",
        "what happens to a completion that is not well formed: 'resample' (until g * n are well formed) or 'penalise'",
        one_of("resample", "penalise"),
        paper="resample (B.2)",
        legacy="penalise",
    )
    max_draws: int = setting(
        16,
        "with 'resample': times that g * n completions are sampled in an outer step at most",
        _ONE,
        execution_only=True,  # a run either has enough of them or ends, and may resume with more
        legacy=16,
    )
    invalid_penalty: float = setting(
        1.0,
        "with 'penalise': advantage of a rollout that is not well formed: -this * the largest |advantage|",
        at_least(0, "off"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoRASection(Section):
    """Low-rank adapters on a frozen base (LoRA, arXiv 2106.09685), in place of training the whole model."""

    rank: int = setting(0, "rank of the adapters; 0 trains the whole model", at_least(0, "off"))
    scale: float = setting(2.0, "factor on what adapters add to a layer (alpha / rank in other libraries)", _ABOVE_ZERO)
    learning_rate_scale: float = setting(10.0, "factor on the learning rates of adapters", _ABOVE_ZERO, legacy=1.0)
    layers: tuple[str, ...] = setting(
        ("query", "key", "value", "out", "gate", "up", "down"),
        "layers with adapters; 'unembedding' only where it is not tied",
        one_of("query", "key", "value", "out", "gate", "up", "down", "unembedding"),
        distinct,
    )

    def identity(self) -> dict[str, Any]:
        """As of all sections; of adapters that are off, the rank alone."""
        return super().identity() if self.rank else {"rank": 0}
