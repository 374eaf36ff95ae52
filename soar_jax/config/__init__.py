"""The typed config of a run, its scales and its methods."""

from soar_jax.config.methods import METHODS, method_config
from soar_jax.config.reading import read_config
from soar_jax.config.run_config import RunConfig
from soar_jax.config.scales import scale_names

__all__ = ["METHODS", "RunConfig", "method_config", "read_config", "scale_names"]
