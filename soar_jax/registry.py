"""Registries: named implementations of one idea, to which a user's file can add its own.

    @PROMOTION_RULES.register("any_gain")
    def any_gain(window, settings): ...

A config key picks an entry by its name. `EXTENSION_POINTS` lists all registries.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from soar_jax.errors import SettingsError, reason_of

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# The config key that picks an entry, and the registry's place. Modules are imported only when an entry is needed.
EXTENSION_POINTS: dict[str, str] = {
    "method": "soar_jax.config.methods:METHODS",
    "problems.source": "soar_jax.problems.benchmarks:BENCHMARKS",
    "grading.extraction": "soar_jax.grading.extraction:ANSWER_FORMATS",
    "model.source": "soar_jax.checkpoints.families:FAMILIES",
    "inner.advantage": "soar_jax.rl.advantages:ADVANTAGES",
    "student.reward": "soar_jax.soar.student_rewards:STUDENT_REWARDS",
    "teacher.reward": "soar_jax.soar.teacher_rewards:TEACHER_REWARDS",
    "promotion.rule": "soar_jax.soar.promotion:PROMOTION_RULES",
    "curriculum.source": "soar_jax.soar.curricula:CURRICULA",
    "curriculum.schedule": "soar_jax.soar.curricula:SCHEDULES",
    "final.students": "soar_jax.soar.final_students:FINAL_STUDENTS",
    "tracking.trackers": "soar_jax.telemetry.trackers:TRACKERS",
}


class Registry(Mapping[str, T]):
    """Entries by name. A name is registered once; an unknown name raises `SettingsError` with the names that exist."""

    def __init__(self, key: str) -> None:
        """`key` is the config key whose value names an entry."""
        self.key = key
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that adds an entry.

        Raises:
          SettingsError: the name is taken.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise SettingsError(f"{self.key}: {name!r} is registered twice; choose another name")
            self._entries[name] = entry
            return entry

        return add

    @contextlib.contextmanager
    def temporarily(self, **entries: T) -> Iterator[None]:
        """Adds or replaces entries within a block, such as a test; forgets also what is registered in it."""
        before, self._entries = self._entries, self._entries | entries
        try:
            yield
        finally:
            self._entries = before

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise SettingsError(f"{self.key} is {name!r}; choose one of {', '.join(self._entries)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class FactRegistry(Registry[T], Generic[T, F]):
    """Entries are records of a registered function and of facts about it, such as what it needs.

        @FINAL_STUDENTS.register("first_stage", needs_curriculum=True)
        def first_stage(setup, search, stages, hooks): ...

    Whatever must know of an entry without calling it, such as the config's rules, reads its facts.
    """

    def __init__(self, key: str, record: Callable[..., T]) -> None:
        """`record` makes an entry of a function and its facts."""
        super().__init__(key)
        self._record = record

    def register(self, name: str, **facts: Any) -> Callable[[F], F]:  # type: ignore[override]
        """Decorator that adds a function with its facts; those that are left out have their defaults.

        Raises:
          SettingsError: the name is taken.
        """
        add = super().register(name)

        def add_record(function: F) -> F:
            add(self._record(function, **facts))
            return function

        return add_record


def import_function(key: str, path: str) -> Callable[..., Any]:
    """Imports a user's function, the value "MODULE:FUNCTION" of a config key.

    Raises:
      SettingsError: there is no such module or function.
    """
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise SettingsError(f"{key} is {path!r}, which cannot be imported ({reason_of(error)})") from None
    if not callable(found):
        raise SettingsError(f"{key} is {path!r}, which is no function")
    return found


def registry(key: str) -> Registry[Any]:
    """The registry behind a config key of `EXTENSION_POINTS`."""
    module, _, name = EXTENSION_POINTS[key].partition(":")
    found: Registry[Any] = getattr(importlib.import_module(module), name)
    return found
