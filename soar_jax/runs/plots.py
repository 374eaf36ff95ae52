"""Plots the learning curve of a run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from etils import epath

from soar_jax.config.run_config import RunConfig
from soar_jax.storage.records import read_lines


def learning_curve(workdir: epath.Path, config: RunConfig) -> None:
    """Plots `metrics.jsonl` to `learning_curve.png`: rewards, and the baseline's accuracy where it can change."""
    from matplotlib.figure import Figure  # without pyplot, whose backend belongs to the caller's notebook
    from matplotlib.ticker import MaxNLocator

    rows = read_lines(workdir / "metrics.jsonl")
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots(1 + config.promotes, 1, sharex=True, squeeze=False)
    measured = "students' improvement\non hard train" if config.measures_students else "questions' rewards"
    _draw_rewards(axes[0, 0], rows, measured)
    if config.promotes:
        selection = "hard validation" if config.hard_subset.validation_share else "hard train"
        _draw_promotions(axes, rows, f"baseline student,\n{selection} (pass@1)")
    axes[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[-1, 0].set_xlabel("outer step (dashed: promotion)" if config.promotes else "outer step")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    (workdir / "learning_curve.png").write_bytes(image.getvalue())


def _draw_rewards(axes: Any, rows: Sequence[dict[str, Any]], label: str) -> None:
    for row in rows:
        axes.scatter([row["outer_step"] + 1] * len(row["rewards"]), row["rewards"], s=10, color="#7aa6c2")
    steps = [row["outer_step"] + 1 for row in rows]
    axes.plot(steps, [row["mean_reward"] for row in rows], color="#1f4e79", label="mean over datasets")
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.set_ylabel(label)
    axes.legend(loc="upper left", frameon=False)


def _draw_promotions(axes: Any, rows: Sequence[dict[str, Any]], label: str) -> None:
    """Plots the baseline student's accuracy in the last panel, and promotions in all panels."""
    steps, bottom = [row["outer_step"] + 1 for row in rows], axes[-1, 0]
    bottom.step(steps, [row["validation_accuracy"] for row in rows], where="post", color="#1f4e79")
    bottom.set_ylim(-0.02, 1.02)
    bottom.set_ylabel(label)
    for row in rows:
        for panel in axes.flat if row["promoted"] else ():
            panel.axvline(row["outer_step"] + 1, color="#c55a11", linewidth=1, linestyle="--")
