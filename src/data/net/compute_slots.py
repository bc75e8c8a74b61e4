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

_slots: ContextVar[threading.Semaphore | None] = ContextVar("compute_slots", default=None)


def compute_slots() -> threading.Semaphore:
    """Return the semaphore that limits how many threads of a new job or batch compute at once."""
    return threading.Semaphore(MOST_COMPUTING)


@contextmanager
def computing(shared: threading.Semaphore) -> Iterator[None]:
    """Run the block in one of the job's or batch's slots, after waiting for a free one.

    Code in the block that waits for something other than the processor does so in :func:`waiting`.

    Args:
        shared: Slots of the job or batch, see :func:`compute_slots`.
    """
    with shared:
        token = _slots.set(shared)
        try:
            yield
        finally:
            _slots.reset(token)


@contextmanager
def waiting(clock: Clock | None = None) -> Iterator[None]:
    """Free this thread's slot while the block waits, and wait for another slot after the block.

    If the thread has no slot, or has freed it already, this does nothing.

    Args:
        clock: Clock of the current call, if the wait for a slot is not to count toward the call's
            time limit; None if it counts.
    """
    shared = _slots.get()
    if shared is None:
        yield
        return
    token = _slots.set(None)
    shared.release()
    try:
        yield
    finally:
        with nullcontext() if clock is None else current_deadline(clock).stopped():
            shared.acquire()
        _slots.reset(token)
