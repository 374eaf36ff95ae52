"""Configs that tests run with."""

from typing import Any

from configs import pretrain_nano
from soar_jax.config import RunConfig, method_config, read_config
from soar_jax.config.fields import read_section
from soar_jax.config.sections import PromptsSection
from soar_jax.pretraining.config import PretrainConfig


def make_config(method: str = "soar_math", scale: str = "nano", **changes: Any) -> RunConfig:
    """The checked config of a method at a scale; changes by key: `make_config(**{"outer.num_datasets": 2})`."""
    config = method_config(method, scale)
    config.update_from_flattened_dict(changes)
    return read_config(config)


def plain_prompts(**changes: Any) -> PromptsSection:
    """Prompts without a chat, subjects, tags or an opening."""
    plain = {"chat": False, "subjects": (), "teacher_format": "separator", "teacher_opening": ""}
    return PromptsSection(**plain | changes)


def pretrain_config(**changes: Any) -> PretrainConfig:
    """The config that the embedded model is made with."""
    config = pretrain_nano.get_config()
    config.update_from_flattened_dict(changes)
    return read_section(PretrainConfig, config.to_dict())
