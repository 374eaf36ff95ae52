"""Plots the learning curve of a run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from etils import epath

from soar_jax.storage.records import read_lines


def learning_curve(workdir: epath.Path, trains_students: bool) -> None:
    """Plots `metrics.jsonl` to `learning_curve.png`: rewards, and below them the baseline student's accuracy.

    Args:
      trains_students: whether the outer loop trains students; otherwise there is no second panel.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_lines(workdir / "metrics.jsonl")
    figure, axes = pyplot.subplots(
        1 + trains_students, 1, figsize=(8, 5.5), sharex=True, squeeze=False, constrained_layout=True
    )
    _draw_rewards(axes[0, 0], rows, "students' improvement\non hard train" if trains_students else "questions' rewards")
    if trains_students:
        _draw_promotions(axes, rows)
    axes[-1, 0].set_xlabel("outer step (dashed: promotion)" if trains_students else "outer step")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    pyplot.close(figure)
    (workdir / "learning_curve.png").write_bytes(image.getvalue())


def _draw_rewards(axes: Any, rows: Sequence[dict[str, Any]], label: str) -> None:
    for row in rows:
        axes.scatter([row["outer_step"] + 1] * len(row["rewards"]), row["rewards"], s=10, color="#7aa6c2")
    steps = [row["outer_step"] + 1 for row in rows]
    axes.plot(steps, [row["mean_reward"] for row in rows], color="#1f4e79", label="mean over datasets")
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.set_ylabel(label)
    axes.legend(loc="upper left", frameon=False)


def _draw_promotions(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Plots the baseline student's accuracy in the last panel, and promotions in all panels."""
    steps, bottom = [row["outer_step"] + 1 for row in rows], axes[-1, 0]
    bottom.step(steps, [row["validation_accuracy"] for row in rows], where="post", color="#1f4e79")
    bottom.set_ylim(-0.02, 1.02)
    bottom.set_ylabel("baseline student,\nhard validation (pass@1)")
    for row in rows:
        for panel in axes.flat if row["promoted"] else ():
            panel.axvline(row["outer_step"] + 1, color="#c55a11", linewidth=1, linestyle="--")
