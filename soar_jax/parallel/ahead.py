"""Jitted functions whose programs can be compiled ahead of their calls, in other threads.

JAX keeps what `lower(...).compile()` makes, and a call of the same shapes, shardings and static arguments finds it. Two
threads that need it at once would both compile it, so a call first waits for the thread that has begun.
"""

from __future__ import annotations

import concurrent.futures
import functools
import inspect
from collections.abc import Callable, Hashable
from typing import Any, Generic, ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")


class AheadJit(Generic[P, R]):
    """A jitted function, called as such."""

    def __init__(
        self, function: Callable[P, R], static_argnames: tuple[str, ...], donate_argnames: tuple[str, ...] = ()
    ) -> None:
        functools.update_wrapper(self, function)
        self._jitted: Any = jax.jit(function, static_argnames=static_argnames, donate_argnames=donate_argnames)
        self._signature, self._static = inspect.signature(function), static_argnames
        self._started: dict[Hashable, concurrent.futures.Future[None]] = {}  # by `_key`

    def __call__(self, *args: P.args, **named: P.kwargs) -> R:
        bound = self._bind(*args, **named)
        if self._started:
            self._wait(self._key(bound))
        result: R = self._jitted(*bound.args, **bound.kwargs)
        return result

    def lower(self, *args: P.args, **named: P.kwargs) -> jax.stages.Lowered:
        """Lowers the function for arguments, or for their shapes with shardings."""
        bound = self._bind(*args, **named)
        lowered: jax.stages.Lowered = self._jitted.lower(*bound.args, **bound.kwargs)
        return lowered

    def compile_ahead(self, threads: concurrent.futures.Executor, *args: P.args, **named: P.kwargs) -> None:
        """Starts to compile the program of some arguments in a thread, unless that was started.

        An error of the compiler is left to the call, which meets it again.
        """

        def compile_program() -> None:
            self.lower(*args, **named).compile()  # JAX keeps it

        key = self._key(self._bind(*args, **named))
        if key not in self._started:
            self._started[key] = threads.submit(compile_program)

    def _wait(self, key: Hashable) -> None:
        """Waits for a program that is being compiled; one that no thread has begun is left to the caller."""
        future = self._started.pop(key, None)
        if future is not None and not future.cancel():
            concurrent.futures.wait([future])

    def _bind(self, *args: P.args, **named: P.kwargs) -> inspect.BoundArguments:
        """Gives each argument its own place: to JAX, one by position and one by name are different calls."""
        bound = self._signature.bind(*args, **named)
        bound.apply_defaults()
        return bound

    def _key(self, bound: inspect.BoundArguments) -> Hashable:
        """What tells programs apart: shapes and dtypes of arrays, types of numbers, values of static arguments."""
        arrays = dict(bound.arguments)
        static = tuple(arrays.pop(name) for name in self._static)
        leaves, tree = jax.tree.flatten(arrays)
        shapes = ((leaf.shape, leaf.dtype) if hasattr(leaf, "shape") else type(leaf) for leaf in leaves)
        return static, tree, tuple(shapes)


def ahead_jit(
    static_argnames: tuple[str, ...], donate_argnames: tuple[str, ...] = ()
) -> Callable[[Callable[P, R]], AheadJit[P, R]]:
    """Makes a decorator that jits a function, see `AheadJit`."""
    return functools.partial(AheadJit, static_argnames=static_argnames, donate_argnames=donate_argnames)
