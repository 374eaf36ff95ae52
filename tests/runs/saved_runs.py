"""Workdirs as a run leaves them, with weights that training might have made."""

import jax
import ml_collections
import numpy as np

from configs.soar_math import get_config
from soar_jax.storage.run_checkpoints import Checkpoints
from soar_jax.runs import build as setups
from soar_jax.runs import workdir as workdirs
from soar_jax.soar.state import Progress, initial_arrays


def moved(tree, seed):
    """Other numbers near those of a tree."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + 0.02 * rng.normal(size=leaf.shape).astype(leaf.dtype), tree)


def save_run(workdir, steps=(2, 3), num_promotions=1, **changes):
    """Saves checkpoints after some steps; the newest one's arrays (a RunArrays), and the setup."""
    config = get_config()
    config.update_from_flattened_dict(changes)
    config = ml_collections.FrozenConfigDict(config)
    setup = setups.build(config)
    workdirs.claim(workdir, config).close()
    checkpoints = Checkpoints(workdir / "checkpoints", keep=2)
    arrays = initial_arrays(setup)
    for step in steps:
        teacher = arrays.teacher.replace(weights=moved(arrays.teacher.weights, step))
        arrays = arrays.replace(teacher=teacher, best=moved(arrays.best, step + 100))
        progress = Progress(outer_step=step, best_promotion=num_promotions)
        record = {"progress": progress.to_json(), "wall_s": 1.0, "base_sha256": setup.base_sha256}
        checkpoints.save(step, arrays, record)
        checkpoints.wait()
    checkpoints.close()
    return arrays, setup
