"""A run's programs compile in threads, and its calls find them."""

import threading

import jax
import pytest
from etils import epath

from soar_jax.runs import run as runs
from tests.configs import make_config
from tests.experiments.runs import TINY

# Unlike those of other tests, so that nothing is compiled yet.
SIZES = {"student.max_completion_tokens": 23, "teacher.max_completion_tokens": 37, "num_outer_steps": 1}
AHEAD = {"sample_policy", "sample_population", "update_policy", "update_population", "init_population"}


@pytest.fixture
def compiled():
    """(name, thread) of each program that is compiled, or loaded from the cache of compiled programs."""
    found, is_on = [], True

    def listen(event, _seconds, **named):
        if is_on and event == "/jax/core/compile/backend_compile_duration":
            name = str(named.get("fun_name", "")).removeprefix("jit(").removesuffix(")")
            found.append((name, threading.current_thread().name.split("_")[0]))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    is_on = False


@pytest.mark.slow
def test_all_large_programs_of_a_run_are_compiled_in_threads(compiled, tmp_path):
    config = make_config(**TINY | SIZES)
    runs.run(config, epath.Path(tmp_path))
    large = [(name, thread) for name, thread in compiled if name in AHEAD]
    assert {name for name, _ in large} == AHEAD
    assert {thread for _, thread in large} == {"compile"}


def test_a_finished_run_compiles_none_of_them_again(compiled, tmp_path):
    config = make_config(**TINY | SIZES | {"student.max_completion_tokens": 22, "final.students": ()})
    runs.run(config, epath.Path(tmp_path))
    assert [name for name, _ in compiled if name in AHEAD]
    compiled.clear()
    runs.run(config, epath.Path(tmp_path))
    assert not [name for name, _ in compiled if name in AHEAD]
