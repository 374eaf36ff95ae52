"""Methods: what each one changes in a scale's config. `configs/` has a file a method, which users copy.

@METHODS.register("my_method")
def my_method(config): ...
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from soar_jax.config.scales import scale_config
from soar_jax.registry import Registry

METHODS: Registry[Callable[[ml_collections.ConfigDict], None]] = Registry("method")


def method_config(method: str, scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a method at a scale, open to changes.

    Raises:
      SettingsError: there is no such method or scale.
    """
    config = scale_config(scale)
    METHODS[method](config)
    config.method = method
    return config


@METHODS.register("soar_math")
def soar_math(config: ml_collections.ConfigDict) -> None:
    """SOAR: a teacher rewarded with its students' improvement on hard problems."""
    config.final.students = ("curriculum", "promoted", "random_answers", "hard_only")
    if config.problems.source == "arithmetic":  # elsewhere nobody knows the true answer of a new question
        config.final.students = ("curriculum", "promoted", "true_answers", "random_answers", "hard_only")


@METHODS.register("frozen_teacher")
def frozen_teacher(config: ml_collections.ConfigDict) -> None:
    """The control for SOAR: the same selection and promotion, but the teacher never learns."""
    config.teacher.train = False
    config.final.students = ("curriculum", "promoted")


@METHODS.register("intrinsic_teacher")
def intrinsic_teacher(config: ml_collections.ConfigDict) -> None:
    """A teacher rewarded for questions of middling solve rate, without grounding."""
    config.teacher.reward = "learnability"
    config.curriculum.source = "teacher"
    config.final.students = ("curriculum",)


@METHODS.register("r_zero_teacher")
def r_zero_teacher(config: ml_collections.ConfigDict) -> None:
    """R-Zero's proposer reward (arXiv 2508.05004) in place of learnability."""
    intrinsic_teacher(config)
    config.teacher.reward = "r_zero"


@METHODS.register("absolute_zero_teacher")
def absolute_zero_teacher(config: ml_collections.ConfigDict) -> None:
    """Absolute Zero's proposer reward (arXiv 2505.03335) in place of learnability."""
    intrinsic_teacher(config)
    config.teacher.reward = "absolute_zero"


@METHODS.register("base_teacher")
def base_teacher(config: ml_collections.ConfigDict) -> None:
    """Base-T (paper): fresh students trained on questions of the untrained teacher and on hard train."""
    config.num_outer_steps = 0
    config.curriculum.source = "teacher"
    config.final.students = ("curriculum",)


@METHODS.register("hard_only")
def hard_only(config: ml_collections.ConfigDict) -> None:
    """Hard-Only (paper): students trained on the hard problems themselves."""
    config.num_outer_steps = 0
    config.curriculum.source = "none"
    config.final.students = ("hard_only",)


@METHODS.register("hard_only_large_group")
def hard_only_large_group(config: ml_collections.ConfigDict) -> None:
    """Hard-Only with four times the samples a problem (paper: groups of 128 instead of 32)."""
    hard_only(config)
    config.inner.group_size *= 4


@METHODS.register("serl")
def serl(config: ml_collections.ConfigDict) -> None:
    """SeRL (arXiv 2505.20347): self-play from seed problems with majority-vote self-reward and filters."""
    config.num_outer_steps = 0
    config.curriculum.source = "none"
    config.final.students = ("self_play",)


@METHODS.register("curated")
def curated(config: ml_collections.ConfigDict) -> None:
    """Upper bound (paper): fresh students trained on true problems that are not hard ones, and on hard train."""
    config.num_outer_steps = 0
    config.curriculum.source = "curated"
    config.final.students = ("curriculum",)
