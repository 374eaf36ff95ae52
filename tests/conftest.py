import os
import pathlib
import subprocess
import sys

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from soar_jax import parallel

parallel.set_num_cpu_devices(2)

import jax  # noqa: E402

from soar_jax.checkpoints.base_model import load_model  # noqa: E402
from soar_jax.model import parameters  # noqa: E402
from soar_jax.model.config import ModelConfig  # noqa: E402
from soar_jax.problems.prompts import PromptSettings  # noqa: E402
from soar_jax.sampling.text import TextSampler  # noqa: E402
from tests.experiments.runs import TINY  # noqa: E402

ROOT = pathlib.Path(__file__).parent.parent


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
def nano_sampler(mesh):
    """The text sampler of the embedded model, and its parameters."""
    base = load_model("embedded:nano", "float32")
    prompts = PromptSettings(student="exam {question} ?", teacher="teacher", bucket_tokens=(4, 15))
    sampler = TextSampler(
        mesh=mesh, model=base.config, tokenizer=base.tokenizer, prompts=prompts, max_slots=64, population_batch=1
    )
    return sampler, parallel.replicate(mesh, base.params)


@pytest.fixture(scope="session")
def compilation_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("xla")


@pytest.fixture(scope="session")
def launch(compilation_cache):
    """Starts `experiments/PROGRAM.py` with arguments; a Popen with text pipes."""

    def start(program: str, *arguments: str) -> subprocess.Popen:
        environment = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": str(compilation_cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        return subprocess.Popen(
            [sys.executable, f"experiments/{program}.py", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def command(launch):
    """Starts `experiments/PROGRAM.py --config=CONFIG` with a tiny run's overrides."""

    def start(program: str, config: str, *arguments: str) -> subprocess.Popen:
        overrides = [f"--config.{key}={value}" for key, value in TINY.items()]
        return launch(program, f"--config={config}", *overrides, *arguments)

    return start
