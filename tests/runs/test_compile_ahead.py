"""A run's programs are compiled ahead, and its calls find them."""

import concurrent.futures

import jax
import pytest
from etils import epath

from soar_jax.runs import run as runs
from tests.configs import make_config
from tests.experiments.runs import TINY

# Unlike those of other tests, so that nothing is compiled yet.
SIZES = {"student.max_completion_tokens": 23, "teacher.max_completion_tokens": 37, "num_outer_steps": 1}
AHEAD = {"sample_policy", "sample_population", "update_policy", "update_population", "init_population"}


class AtOnce(concurrent.futures.Executor):
    """Compiles when it is asked to, so that a call has nothing to wait for or to take over."""

    is_compiling = False

    def __init__(self, max_workers=None, thread_name_prefix=""):
        pass

    def submit(self, function, /, *args, **named):
        future = concurrent.futures.Future()
        AtOnce.is_compiling = True
        future.set_result(function(*args, **named))
        AtOnce.is_compiling = False
        return future


@pytest.fixture
def compiled():
    """(name, whether it was compiled ahead) of each large program that is compiled or loaded."""
    found, is_on = [], True

    def listen(event, _seconds, **named):
        name = str(named.get("fun_name", "")).removeprefix("jit(").removesuffix(")")
        if is_on and event == "/jax/core/compile/backend_compile_duration" and name in AHEAD:
            found.append((name, AtOnce.is_compiling))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    is_on = False


@pytest.mark.slow
def test_calls_of_a_run_find_their_programs(compiled, tmp_path, monkeypatch):
    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", AtOnce)
    runs.run(make_config(**TINY | SIZES), epath.Path(tmp_path))
    assert {name for name, _ in compiled} >= AHEAD - {"init_population"}  # which other runs may share
    assert all(is_ahead for _, is_ahead in compiled), compiled


@pytest.mark.slow
def test_a_finished_run_compiles_nothing(compiled, tmp_path):
    config = make_config(**TINY | SIZES | {"student.max_completion_tokens": 22, "final.students": ()})
    runs.run(config, epath.Path(tmp_path))
    assert compiled
    compiled.clear()
    runs.run(config, epath.Path(tmp_path))
    assert not compiled
