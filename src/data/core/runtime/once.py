"""Results that are computed only once: those of functions, and the values of objects' properties."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, Self, TypeVar, overload

R = TypeVar("R")


class once(Generic[R]):  # noqa: N801 - a decorator, as functools.cache is one
    """A decorator that caches one result for each set of arguments, like ``functools.cache``.

    If several threads request the same result at the same time, one of them computes it and the
    others wait, because repeating CPU-bound work in several threads would not be faster. Errors are
    not cached. A forked child gets its own locks.
    """

    def __init__(self, function: Callable[..., R]) -> None:
        self.__doc__ = function.__doc__
        self._function = function
        self._results: dict[Hashable, R] = {}
        self._renew()
        if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}

    def __call__(self, *arguments: Any) -> R:
        """Return the cached result, computing it first if necessary."""
        results = self._results
        if arguments in results:
            return results[arguments]
        with self._guard:
            lock = self._locks.setdefault(arguments, threading.Lock())
        with lock:
            if arguments not in results:
                results[arguments] = self._function(*arguments)
        return results[arguments]


class cached_property(Generic[R]):  # noqa: N801 - a decorator, as functools.cached_property is one
    """A property that is computed at the first access, and whose value the object then keeps.

    It takes no lock. That of ``functools.cached_property`` in Python 3.11 is one for all objects of
    a class: one slow value delays all others, and a child that is forked meanwhile waits forever. If
    several threads compute a value at the same time, all of them return the one that was ready first.
    """

    def __init__(self, function: Callable[[Any], R]) -> None:
        self.__doc__ = function.__doc__
        self._function = function

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> R: ...

    def __get__(self, instance: object | None, owner: type) -> Self | R:
        """Return the value. Later accesses find it in the object and do not come here."""
        if instance is None:
            return self
        value: R = instance.__dict__.setdefault(self._name, self._function(instance))
        return value
