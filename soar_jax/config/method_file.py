"""The config file behind `--config=METHOD:SCALE`, for a method that is named and not given as a file."""

from __future__ import annotations

import ml_collections

from soar_jax.config.methods import method_config


def get_config(name: str) -> ml_collections.ConfigDict:
    """The config of "METHOD" or "METHOD:SCALE"."""
    method, _, scale = name.partition(":")
    return method_config(method, scale)
