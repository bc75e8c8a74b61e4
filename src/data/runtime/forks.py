"""New locks and connections for forked child processes.

A child process inherits locks that a thread of its parent may hold, and sockets that both processes
would then use. Objects with locks or sockets register here once, and replace them after each fork.
A resource that must not be open during a fork, such as a database, is closed before it.
"""

from __future__ import annotations

import os
import threading
import weakref
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


def _close_all() -> None:
    _forking.closed = [thing for thing in list(_closable) if thing.before_fork()]


def _go_on() -> None:
    for thing in _forking.closed:
        thing.after_fork_in_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(before=_close_all, after_in_parent=_go_on, after_in_child=_renew_all)
