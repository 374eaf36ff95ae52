import atexit
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What one test compiles, all load: tests, workers (which inherit these variables) and the processes that tests start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="soar_jax_tests_")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

from soar_jax import parallel

parallel.set_num_cpu_devices(2)

import jax  # noqa: E402

from soar_jax.checkpoints.base_model import load_model  # noqa: E402
from soar_jax.model import parameters  # noqa: E402
from soar_jax.model.config import ModelConfig  # noqa: E402
from soar_jax.runs.build import build  # noqa: E402
from soar_jax.sampling.text import TextSampler  # noqa: E402
from soar_jax.telemetry.meter import WorkMeter  # noqa: E402
from tests.configs import make_config, plain_prompts  # noqa: E402
from tests.experiments.runs import tiny  # noqa: E402

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module", autouse=True)
def few_memory_maps():
    """Frees compiled programs before a process has the most memory maps that Linux allows, 65,530: XLA aborts there."""
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def tiny_model() -> ModelConfig:
    return ModelConfig(
        vocab_size=11,
        d_model=16,
        hidden_dim=24,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=4,
        rope_theta=10000.0,
        norm_eps=1e-5,
        tie_embeddings=False,
        max_position_tokens=64,
    )


@pytest.fixture(scope="session")
def tiny_params(tiny_model):
    return parameters.init_params(tiny_model, jax.random.key(0))


@pytest.fixture(scope="session")
def mesh():
    return parallel.make_mesh(-1)


@pytest.fixture(scope="session")
def nano_model():
    """The embedded model."""
    return load_model("embedded:nano", "float32")


@pytest.fixture(scope="session")
def nano_setup(nano_model):
    """What a run of SOAR at the scale nano computes with."""
    return build(make_config(), nano_model)


@pytest.fixture(scope="session")
def nano_sampler(mesh, nano_model):
    """The text sampler of the embedded model, and its parameters."""
    prompts = plain_prompts(student="exam {question} ?", teacher="teacher", bucket_tokens=(4, 15))
    sampler = TextSampler(
        mesh=mesh,
        model=nano_model.config,
        tokenizer=nano_model.tokenizer,
        prompts=prompts,
        max_slots=64,
        population_batch=1,
        meter=WorkMeter(nano_model.config),
    )
    return sampler, parallel.replicate(mesh, nano_model.params)


@pytest.fixture(scope="session")
def compilation_cache():
    """The folder of compiled programs."""
    return pathlib.Path(os.environ["JAX_COMPILATION_CACHE_DIR"])


@pytest.fixture(scope="session")
def launch():
    """Starts `experiments/PROGRAM.py` with arguments; a Popen with text pipes."""

    def start(program: str, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, f"experiments/{program}.py", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def command(launch):
    """Starts `experiments/PROGRAM.py --config=CONFIG` with a tiny run's overrides."""

    def start(program: str, config: str, *arguments: str) -> subprocess.Popen:
        return launch(program, *tiny(config, *arguments))

    return start
