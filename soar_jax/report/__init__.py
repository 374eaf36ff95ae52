"""HTML report on many runs: tables, findings, figures and all questions."""

from soar_jax.report.page import write

__all__ = ["write"]
