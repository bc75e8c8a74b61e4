"""Few threads of a job or batch compute at the same time; the others wait for vendors.

All threads share one interpreter. Dozens that have something to compute take it from each other at
each file that they open, and take almost twice the CPU time for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

from ..clock import Clock
from .deadline import current_deadline

# One thread computes while another waits for the disk.
MOST_COMPUTING = 2

_turns: ContextVar[threading.Semaphore | None] = ContextVar("turns", default=None)


def turns() -> threading.Semaphore:
    """Return the semaphore that limits how many threads of a new job or batch compute at once."""
    return threading.Semaphore(MOST_COMPUTING)


@contextmanager
def computing(shared: threading.Semaphore) -> Iterator[None]:
    """Run the block while only a few threads of the same job or batch run theirs; wait if necessary.

    Whatever waits for something other than the processor in the block does so in :func:`waiting`.
    """
    with shared:
        token = _turns.set(shared)
        try:
            yield
        finally:
            _turns.reset(token)


@contextmanager
def waiting(clock: Clock | None = None) -> Iterator[None]:
    """Give up this thread's turn while the block waits, and wait for another one after it.

    Without a turn, or inside a block that has given it up already, this does nothing.

    Args:
        clock: Clock of the current call, for whose time limit the wait for a turn does not count;
            None if it counts.
    """
    shared = _turns.get()
    if shared is None:
        yield
        return
    token = _turns.set(None)
    shared.release()
    try:
        yield
    finally:
        with nullcontext() if clock is None else current_deadline(clock).stopped():
            shared.acquire()
        _turns.reset(token)
