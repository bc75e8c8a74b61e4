"""Results that are computed only once, by one thread while other threads wait for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

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
