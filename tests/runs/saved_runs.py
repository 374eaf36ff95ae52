"""Workdirs as a run leaves them, with random weights in place of trained ones."""

import jax
import numpy as np

from soar_jax.runs.build import build
from soar_jax.runs.workdir import claim_workdir
from soar_jax.soar.state import Progress, initial_arrays
from soar_jax.storage.run_checkpoints import Checkpoints
from tests.configs import make_config


def moved(tree, seed):
    """Adds random numbers to the leaves of a tree."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + 0.02 * rng.normal(size=leaf.shape).astype(leaf.dtype), tree)


def save_run(workdir, steps=(2, 3), num_promotions=1, promotions=(), **changes):
    """Saves checkpoints after some steps; returns the newest one's arrays (a RunArrays), and the setup."""
    config = make_config(**changes)
    setup = build(config)
    claim_workdir(workdir, config).close()
    checkpoints = Checkpoints(workdir / "checkpoints", keep=2)
    arrays = initial_arrays(setup)
    for step in steps:
        teacher = arrays.teacher.replace(weights=moved(arrays.teacher.weights, step))
        arrays = arrays.replace(teacher=teacher, best=moved(arrays.best, step + 100))
        progress = Progress(outer_step=step, best_promotion=num_promotions, promotions=promotions, num_sampled_tokens=7)
        record = {"progress": progress.to_json(), "wall_s": 1.0, "base_sha256": setup.base_sha256}
        checkpoints.save(step, arrays, record)
        checkpoints.wait()
    checkpoints.close()
    return arrays, setup
