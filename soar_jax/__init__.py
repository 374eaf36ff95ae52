"""soar_jax: a teacher model writes its own curriculum, in JAX (arXiv 2601.18778).

The functions for notebooks and scripts are imported when they are first used, so that `import soar_jax` is light.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

__all__ = ["__version__", "grade", "load_policy", "method_config", "read_workdir", "run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("soar_jax.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
