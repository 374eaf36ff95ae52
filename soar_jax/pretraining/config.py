"""The typed config of pretraining; `configs/pretrain_nano.py` has its values and reasons."""

from __future__ import annotations

import dataclasses

from soar_jax.config.fields import Section, at_least, fraction, positive, satisfies, section, setting
from soar_jax.problems.arithmetic import MAX_OPERATIONS

_LEVELS = f"one entry per level, 1 to {MAX_OPERATIONS}"
_ABOVE_ZERO = satisfies(positive, "it must be more than 0")
_WEIGHTS = satisfies(
    lambda values: len(values) == MAX_OPERATIONS and min(values) >= 0 and sum(values) > 0,
    f"give {MAX_OPERATIONS} weights of 0 or more, not all of them 0",
)
_PROBABILITIES = satisfies(
    lambda values: len(values) == MAX_OPERATIONS and all(0 <= value <= 1 for value in values),
    f"give {MAX_OPERATIONS} probabilities, each 0 to 1",
)
_PRIOR = satisfies(  # its logarithm is the target
    lambda values: len(values) in (0, MAX_OPERATIONS) and all(0 < value <= 1 for value in values),
    f"give {MAX_OPERATIONS} probabilities, each above 0 and at most 1, or none",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapeSection(Section):
    """Sizes of the model."""

    d_model: int = setting(96, "model dimension", at_least(1))
    hidden_dim: int = setting(256, "width of the feed-forward layer", at_least(1))
    num_layers: int = setting(3, "layers", at_least(1))
    num_heads: int = setting(4, "query heads", at_least(1))
    num_kv_heads: int = setting(4, "key and value heads", at_least(1))
    head_dim: int = setting(24, "dimension of a head", at_least(1))
    rope_theta: float = setting(10000.0, "base of the rotary frequencies", _ABOVE_ZERO)
    norm_eps: float = setting(1e-5, "epsilon of RMS norms", _ABOVE_ZERO)
    max_position_tokens: int = setting(64, "longest sequence", at_least(1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DialSection(Section):
    """Multi-step documents of one format."""

    share: float = setting(0.0, "fraction of the format's documents", fraction)
    mirror: float = setting(0.0, "fraction of `mirror` among them; the rest are `dial`", fraction)
    level_weights: tuple[float, ...] = setting((1.0,) * MAX_OPERATIONS, f"weights of the levels, {_LEVELS}", _WEIGHTS)
    worked: tuple[float, ...] = setting(
        (0.0,) * MAX_OPERATIONS, f"probability of a worked answer, {_LEVELS}", _PROBABILITIES
    )
    right: tuple[float, ...] = setting(
        (1.0,) * MAX_OPERATIONS, f"probability that a direct answer is right, {_LEVELS}", _PROBABILITIES
    )
    wrong_copies_start: bool = setting(False, "wrong direct answers repeat the question's digits; else they are random")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhaseSection(Section):
    """One phase of training."""

    num_steps: int = setting(0, "steps", at_least(0))
    peak_learning_rate: float = setting(1e-3, "learning rate after warm-up", _ABOVE_ZERO)
    warmup_steps: int = setting(0, "steps of linear warm-up", at_least(0))
    textbook: float = setting(0.0, "fraction of textbook documents", fraction)
    exam_worked: float = setting(0.0, "fraction of worked documents in exam format", fraction)
    exam: float = setting(0.0, "fraction of exam documents", fraction)
    exam_dial: DialSection = section(DialSection, "multi-step exam documents")
    teacher_dial: DialSection = section(DialSection, "multi-step documents of the teacher's format")
    worked_prior: tuple[float, ...] = setting(
        (), f"target probability of a worked exam answer, {_LEVELS}; none: off", _PRIOR
    )
    prior_weight: float = setting(0.0, "weight of that target in the loss", at_least(0, "off"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DevicesSection(Section):
    """Devices."""

    cpu_devices: int = setting(2, "devices that a CPU is split into", at_least(1), execution_only=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig(Section):
    """How the embedded model is made."""

    seed: int = setting(0, "seed of all draws", at_least(0))
    model: ShapeSection = section(ShapeSection, "sizes of the model")
    phases: tuple[str, ...] = setting(
        ("skill", "prior"), "sections that are trained, in order", satisfies(bool, "name at least one section")
    )
    skill: PhaseSection = section(PhaseSection, "teaches the work")
    prior: PhaseSection = section(PhaseSection, "teaches the inclination")
    worked_mirror: float = setting(0.25, "fraction of `mirror` in textbook and exam_worked", fraction)
    documents_per_step: int = setting(256, "documents of a step")
    decay_fraction: float = setting(
        0.5, "last fraction of a phase, over which the learning rate falls to zero", fraction
    )
    prior_prompts_per_step: int = setting(128, "calibration prompts of a step")
    longest_document_tokens: int = setting(43, "tokens that documents are padded to")
    mesh: DevicesSection = section(DevicesSection, "devices", execution_only=True)

    def phase(self, name: str) -> PhaseSection | None:
        """The phase of a name; None where there is none."""
        found = getattr(self, name, None)
        return found if isinstance(found, PhaseSection) else None
