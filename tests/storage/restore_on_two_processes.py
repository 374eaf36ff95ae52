"""Run twice by `test_run_checkpoints.py`: one of two processes cannot read its shard of the newest checkpoint."""

import os
import pathlib
import sys

from soar_jax import parallel
from soar_jax.parallel import processes

parallel.set_num_cpu_devices(1)


def main(folder: pathlib.Path, coordinator: str, number: int) -> None:
    processes.initialize(coordinator, 2, number)
    import jax
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    from soar_jax.storage.run_checkpoints import Checkpoints

    mesh = parallel.make_mesh(1, 1, 2, 1)
    sharding = NamedSharding(mesh, PartitionSpec(parallel.FSDP))
    checkpoints = Checkpoints(folder, keep=2)
    for step in (1, 2):
        values = np.random.default_rng(step).normal(size=(2, 100_000)).astype(np.float32)
        checkpoints.save(step, {"x": parallel.device_put_global(values, sharding)}, {"step": step})
    checkpoints.wait()
    processes.sync()
    if processes.is_main():
        for path in (folder / "2" / "arrays" / "ocdbt.process_1" / "d").iterdir():
            os.truncate(path, path.stat().st_size // 2)
    processes.sync()
    like = {"x": jax.ShapeDtypeStruct((2, 100_000), np.float32, sharding=sharding)}
    step, arrays, record = checkpoints.restore_newest(like, print)
    expected = np.random.default_rng(1).normal(size=(2, 100_000)).astype(np.float32)
    print(step, record, bool((processes.to_host(arrays["x"]) == expected).all()))
    checkpoints.close()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
