"""The learning curve of a run."""

from __future__ import annotations

import io

from etils import epath

from soar_jax.reporting.files import read_lines


def learning_curve(workdir: epath.Path) -> None:
    """Draws `learning_curve.png` from `metrics.jsonl`: rewards, promotions and validation accuracy."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_lines(workdir / "metrics.jsonl")
    steps = [row["outer_step"] + 1 for row in rows]
    figure, (top, bottom) = pyplot.subplots(2, 1, figsize=(8, 5.5), sharex=True, constrained_layout=True)
    for row in rows:
        top.scatter([row["outer_step"] + 1] * len(row["rewards"]), row["rewards"], s=10, color="#7aa6c2")
    top.plot(steps, [row["mean_reward"] for row in rows], color="#1f4e79", label="mean over datasets")
    top.axhline(0, color="#999999", linewidth=0.8)
    top.set_ylabel("students' improvement\non hard train")
    top.legend(loc="upper left", frameon=False)
    bottom.step(steps, [row["validation_accuracy"] for row in rows], where="post", color="#1f4e79")
    for row in rows:
        if row["promoted"]:
            bottom.axvline(row["outer_step"] + 1, color="#c55a11", linewidth=1, linestyle="--")
            top.axvline(row["outer_step"] + 1, color="#c55a11", linewidth=1, linestyle="--")
    bottom.set_ylim(-0.02, 1.02)
    bottom.set_ylabel("baseline student,\nhard validation (pass@1)")
    bottom.set_xlabel("outer step (dashed: promotion)")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    pyplot.close(figure)
    (workdir / "learning_curve.png").write_bytes(image.getvalue())
