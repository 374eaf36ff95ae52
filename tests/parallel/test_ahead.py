"""Programs that are compiled ahead of their calls."""

import concurrent.futures
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.parallel.ahead import ahead_jit
from soar_jax.telemetry.compilations import CompilationCounter


def scaled_sum(x, y=None, *, factor):
    total = jnp.tanh(x).sum() * factor
    return total if y is None else total + y


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


@pytest.fixture
def threads():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield pool


def test_a_call_finds_what_a_thread_has_compiled(threads):
    """Once each, however the arguments are passed."""
    function, counter = ahead_jit(static_argnames=("factor",))(scaled_sum), CompilationCounter()
    x = np.linspace(0, 1, 13, dtype=np.float32)
    for _ in range(2):
        function.compile_ahead(threads, shape(13), factor=2)
    function.compile_ahead(threads, shape(13), shape(), factor=2)
    assert float(function(x=jnp.asarray(x), factor=2)) == pytest.approx(2 * np.tanh(x).sum(), rel=1e-6)
    assert float(function(jnp.asarray(x), factor=2, y=jnp.float32(1))) == pytest.approx(2 * np.tanh(x).sum() + 1)
    assert [name for name, _ in counter.programs if "scaled_sum" in name] == ["jit(scaled_sum)"] * 2
    function(jnp.asarray(x), factor=3)  # nobody has compiled it ahead
    assert sum("scaled_sum" in name for name, _ in counter.programs) == 3


class Started(concurrent.futures.Executor):
    """Runs nothing until the test does."""

    def __init__(self, begins):
        self.begins, self.futures = begins, []

    def submit(self, function, /, *args, **named):
        future = concurrent.futures.Future()
        if self.begins:
            future.set_running_or_notify_cancel()
        self.futures.append(future)
        return future


def test_a_call_waits_for_the_thread_that_has_begun():
    function, waiting = ahead_jit(static_argnames=("factor",))(scaled_sum), Started(begins=True)
    function.compile_ahead(waiting, shape(3), factor=1)
    found = []
    caller = threading.Thread(target=lambda: found.append(function(jnp.ones(3), factor=1)))
    caller.start()
    caller.join(0.2)
    assert caller.is_alive()
    waiting.futures[0].set_exception(RuntimeError("the compiler's error, which the call would meet again"))
    caller.join()
    assert float(found[0]) == pytest.approx(3 * np.tanh(1), rel=1e-6)


def test_a_call_takes_over_what_no_thread_has_begun():
    function, idle = ahead_jit(static_argnames=("factor",))(scaled_sum), Started(begins=False)
    function.compile_ahead(idle, shape(3), factor=1)
    function(jnp.ones(3), factor=1)
    assert idle.futures[0].cancelled()


def test_other_shapes_dtypes_and_options_are_other_programs():
    function, idle = ahead_jit(static_argnames=("factor",))(scaled_sum), Started(begins=False)
    function.compile_ahead(idle, shape(3), factor=1)
    function(jnp.ones(4), factor=1)
    function(jnp.ones(3, jnp.int32), factor=1)
    function(jnp.ones(3), factor=2)
    function(jnp.ones(3), 1.0, factor=1)
    assert not idle.futures[0].cancelled()
