"""Our inner step on a number of CPU devices, which a process can set only once. Runs in this environment."""

import serve

from benchmarks import models, workloads
from soar_jax import parallel
from soar_jax.checkpoints.base_model import EMBEDDED, load_model
from soar_jax.parallel.compilation_cache import keep_compiled_programs

POPULATIONS = {}


def start(cpu_devices, shape):
    """Makes a population of the embedded model, sharded over `cpu_devices` devices."""
    parallel.set_num_cpu_devices(cpu_devices)
    keep_compiled_programs()
    mesh, base = parallel.make_mesh(-1), load_model(EMBEDDED, "float32")
    POPULATIONS["one"] = workloads.Population(
        mesh,
        base.config,
        start=workloads.on_mesh(mesh, base.params),
        frozen_base=None,
        shape=workloads.PopulationShape(**shape),
        config=models.run_config("nano"),
    )
    return {}


def step(number):
    """Runs one inner step of all students; returns its seconds."""
    sampling_s, update_s = POPULATIONS["one"].step(number)
    return {"sampling_s": sampling_s, "update_s": update_s}


serve.serve({"start": start, "step": step})
