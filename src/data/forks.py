"""Fresh locks and connections in a forked child.

A child inherits locks that a thread of its parent may hold, and sockets on which both would
speak. Objects that own such things enrol here once; after a fork each is told to start afresh. What
must not be open at all when a process forks, such as a database, is told beforehand too.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that must not share its locks or sockets with its parent process."""

    def after_fork(self) -> None:
        """Replace what cannot be shared; runs in the child, where no other thread exists."""


class Closable(Forkable, Protocol):
    """Something that is closed before a fork, in the parent."""

    def before_fork(self) -> bool:
        """Close what must not be inherited; return whether ``after_fork_in_parent`` is due."""

    def after_fork_in_parent(self) -> None:
        """Go on in the parent."""


_enrolled: weakref.WeakSet[Forkable] = weakref.WeakSet()
_closable: weakref.WeakSet[Closable] = weakref.WeakSet()
# What was closed for the fork of this thread; several threads may fork at once.
_forking = threading.local()


def renew_after_fork(thing: Forkable) -> None:
    """Have ``thing.after_fork()`` called in every child forked while it is alive."""
    _enrolled.add(thing)


def close_before_fork(thing: Closable) -> None:
    """Have ``thing`` closed before every fork while it is alive, and renewed in the child."""
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
