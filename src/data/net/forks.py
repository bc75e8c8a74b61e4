"""Fresh locks and connections in a forked child.

A child inherits locks that a thread of its parent may hold, and sockets on which both would
speak. Objects that own such things enrol here once; after a fork each is told to start afresh.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that must not share its locks or sockets with its parent process."""

    def after_fork(self) -> None:
        """Replace what cannot be shared; runs in the child, where no other thread exists."""


_enrolled: weakref.WeakSet[Forkable] = weakref.WeakSet()


def renew_after_fork(thing: Forkable) -> None:
    """Have ``thing.after_fork()`` called in every child forked while it is alive."""
    _enrolled.add(thing)


def _renew_all() -> None:
    for thing in list(_enrolled):
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_renew_all)
