"""Objects that exist only once per process and are created on the first call."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Singleton(Generic[T]):
    """Holds a process's only instance of a class. Thread-safe; a forked child gets its own instance.

    The child's instance is created with the same arguments as its parent's. Create a ``Singleton``
    at module level, so that it lives as long as the process.

    Args:
        name: Name of the instance, for the warning about different arguments.
        warn: Function that issues the warning.
        identity: Function that converts the arguments so that they create an equal instance even after
            the process has changed its working folder. By default, the original arguments are used.
    """

    def __init__(
        self,
        name: str,
        warn: Callable[[str], None],
        identity: Callable[[T], tuple[Any, ...]] | None = None,
    ) -> None:
        self._name = name
        self._warn = warn
        self._alike = identity
        self._thing: T | None = None
        self._made_of: tuple[Any, ...] = ()
        # Guards the instance against threads that request it at the same time.
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
            os.register_at_fork(after_in_child=self._start_anew)

    def get(self, make: Callable[..., T], *arguments: Any) -> T:
        """Return the instance, creating it from ``arguments`` on the first call.

        If later calls have different arguments, these are ignored, with a warning at the caller's
        line. A path is the same as its text.
        """
        with self._lock:
            if self._thing is None:
                arguments = arguments if any(arguments) else self._made_of or arguments
                self._thing, self._made_of = make(*arguments), arguments
            elif any(arguments) and [*map(str, arguments)] != [*map(str, self._made_of)]:
                given = arguments[: max(i for i, each in enumerate(arguments, 1) if each)]
                self._warn(
                    f"the {self._name} of this process was already created with {self._made_of}; "
                    f"{arguments} is ignored: use "
                    f"{getattr(make, '__name__', 'the class')}({', '.join(map(repr, given))})"
                )
            return self._thing

    def existing(self) -> T | None:
        """Return the instance, or None if it has not been created."""
        return self._thing

    def forget(self) -> None:
        """Forget the instance, so that the next call creates a new one."""
        with self._lock:
            self._thing, self._made_of = None, ()

    def _start_anew(self) -> None:
        """Start with a new lock and no instance in a forked child, as the parent may hold the old lock."""
        if self._thing is not None and self._alike is not None:
            self._made_of = self._alike(self._thing)
        self._lock, self._thing = threading.RLock(), None
