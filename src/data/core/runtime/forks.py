"""New locks and connections for forked child processes.

A child process inherits locks that a thread of its parent may hold, and sockets that both processes
would then use. Objects with locks or sockets register here once, and replace them after each fork.
A resource that must not be open during a fork, such as a database, is closed before it.

A child also inherits the locks of modules that another thread is importing, and would wait for them
forever; so a fork waits for these imports first.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
import weakref
from concurrent.futures import thread  # noqa: F401 - with `logging`: see `_wait_for_imports`
from typing import Protocol


class Forkable(Protocol):
    """An object whose locks or sockets must not be shared by a parent and a child process."""

    def after_fork(self) -> None:
        """Replace locks and sockets; called in the child, where no other thread exists."""


class Closable(Forkable, Protocol):
    """An object with a resource that is closed in the parent before a fork."""

    def before_fork(self) -> bool:
        """Close the resource before a fork; return whether to call ``after_fork_in_parent``."""

    def after_fork_in_parent(self) -> None:
        """Resume work in the parent after the fork."""


_enrolled: weakref.WeakSet[Forkable] = weakref.WeakSet()
_closable: weakref.WeakSet[Closable] = weakref.WeakSet()
# The objects closed for this thread's fork; several threads may fork at the same time.
_forking = threading.local()

_LONGEST_IMPORT_S = 20.0
# Modules whose import took longer than that, such as programs that run while they are imported.
_endless: set[str] = set()


def renew_after_fork(thing: Forkable) -> None:
    """Call ``thing.after_fork()`` in every child forked while ``thing`` is alive."""
    _enrolled.add(thing)


def close_before_fork(thing: Closable) -> None:
    """Close ``thing`` before every fork that happens while it is alive, and reopen it in the child."""
    _closable.add(thing)
    renew_after_fork(thing)


def _renew_all() -> None:
    for thing in list(_enrolled):
        thing.after_fork()


def _imported_elsewhere() -> set[str]:
    """Return the names of the modules that other threads are importing.

    No names are returned if the interpreter has no such locks: CPython's are private to it. A fork
    then does not wait for imports.
    """
    try:
        locks_by_name = importlib._bootstrap._module_locks.copy()  # type: ignore[attr-defined]
        others = sys._current_frames().keys() - {threading.get_ident()}
        locks = {name: reference() for name, reference in locks_by_name.items()}
        return {name for name, lock in locks.items() if lock and lock.owner in others}
    except (AttributeError, TypeError):
        return set()


def _wait_for_imports() -> None:
    """Wait until no other thread imports a module.

    Imports may need the locks of ``logging`` and ``concurrent.futures``, which these acquire before a
    fork. This module imports both first: what was registered earlier is called later.
    """
    end = time.monotonic() + _LONGEST_IMPORT_S
    while True:
        # Even if there is nothing to wait for: no other thread is due in the next milliseconds then.
        time.sleep(0.001)
        names = _imported_elsewhere() - _endless
        if not names:
            return
        if time.monotonic() > end:
            _endless.update(names)


def _close_all() -> None:
    _forking.closed = [thing for thing in list(_closable) if thing.before_fork()]
    _wait_for_imports()


def _go_on() -> None:
    for thing in _forking.closed:
        thing.after_fork_in_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(before=_close_all, after_in_parent=_go_on, after_in_child=_renew_all)
