"""Run by `test_run_checkpoints.py`: restores a run's newest checkpoint on 4 CPU devices in a mesh of given sizes."""

import json
import pathlib
import sys

from soar_jax import parallel

parallel.set_num_cpu_devices(4)

import jax  # noqa: E402

from soar_jax.checkpoints.base_model import params_sha256  # noqa: E402
from soar_jax.runs.build import build  # noqa: E402
from soar_jax.soar.state import initial_arrays  # noqa: E402
from soar_jax.storage.run_checkpoints import Checkpoints  # noqa: E402
from tests.configs import make_config  # noqa: E402


def main(workdir: pathlib.Path, sizes: list[int]) -> None:
    mesh = {f"mesh.{axis}": size for axis, size in zip(parallel.AXES, sizes, strict=True)}
    like = initial_arrays(build(make_config(**mesh)))
    checkpoints = Checkpoints(workdir / "checkpoints", keep=2)
    step, arrays, _ = checkpoints.restore_newest(like, print)
    checkpoints.close()
    same_layout = jax.tree.map(lambda leaf, wanted: leaf.sharding == wanted.sharding, arrays, like)
    print(
        json.dumps(
            {
                "step": step,
                "sha256": params_sha256({"teacher": arrays.teacher, "best": arrays.best}),
                "laid_out": all(jax.tree.leaves(same_layout)),
                "largest_shard": max(leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(arrays.best)),
            }
        )
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), [int(size) for size in sys.argv[2].split("x")])
