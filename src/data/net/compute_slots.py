"""Lets only a few threads of a job or batch compute at the same time; the others wait for vendors.

All threads share one interpreter. If dozens of them have something to compute, they take the
interpreter from one another whenever they open a file, and use almost twice the CPU time.
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
    """Return a semaphore that limits how many threads of one job or batch compute at the same time."""
    return threading.Semaphore(MOST_COMPUTING)


@contextmanager
def computing(shared: threading.Semaphore) -> Iterator[None]:
    """Run the block in one of the slots of a job or batch, after waiting for a free slot.

    Code in the block must use :func:`waiting` when it waits for anything other than the processor.

    Args:
        shared: Semaphore of the job or batch; see :func:`compute_slots`.
    """
    with shared:
        token = _slots.set(shared)
        try:
            yield
        finally:
            _slots.reset(token)


@contextmanager
def waiting(clock: Clock | None = None) -> Iterator[None]:
    """Give up this thread's compute slot while the block waits, and wait for a slot after the block.

    If the thread has no slot, or has already given it up, this does nothing.

    Args:
        clock: Clock of the current call. If given, the wait for a slot does not count toward the
            call's time limit.
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
