"""Our own programs on a number of CPU devices, which a process can choose only once. Runs in this environment."""

import serve

from benchmarks import workloads
from configs import scales
from soar_jax import parallel
from soar_jax.checkpoints.base_model import EMBEDDED, load_model
from soar_jax.parallel.compilation_cache import keep_compiled_programs

POPULATIONS = {}


def start(cpu_devices, shape):
    """Makes a population of the embedded model that is shared out over so many devices."""
    parallel.set_num_cpu_devices(cpu_devices)
    keep_compiled_programs()
    mesh, base, config = parallel.make_mesh(-1), load_model(EMBEDDED, "float32"), scales.nano()
    POPULATIONS["one"] = workloads.Population(
        mesh,
        base.config,
        start=workloads.on_mesh(mesh, base.params),
        frozen=None,
        shape=workloads.PopulationShape(**shape),
        config=config,
        population_batch=config.sampling.population_batch,
    )
    return {}


def step(number):
    """Seconds of one inner step of all students."""
    sampling_s, update_s = POPULATIONS["one"].step(number)
    return {"sampling_s": sampling_s, "update_s": update_s}


serve.serve({"start": start, "step": step})
