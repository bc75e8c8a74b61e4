"""Lets only one thread of a job or batch compute at a time; the others wait for vendors or disks.

All threads share one interpreter. If several of them have something to compute, they take the
interpreter from one another whenever they open a file, and use almost twice the CPU time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from time import perf_counter

MOST_COMPUTING = 1
# Average wait, in seconds, from which it is worth changing threads.
_SLOW_S = 0.002
# Share of the latest wait in the moving average.
_LATEST = 0.2
# Longest wait for a slot by a thread that may hold a lock for which others wait in their slots.
_RETAKE_S = 0.25


class ComputeSlots:
    """The slots in which threads of one job or batch compute. Thread-safe.

    Attributes:
        free: Semaphore that counts the free slots.
        waits_s: Maps what threads wait for to a moving average of their waits, in seconds.
    """

    def __init__(self) -> None:
        self.free = threading.Semaphore(MOST_COMPUTING)
        self.waits_s: dict[str, float] = {}


class _Turn:
    """One thread's use of a slot, which it may give up for a while."""

    def __init__(self, slots: ComputeSlots) -> None:
        self.slots, self.has_slot = slots, slots.free.acquire()

    def give_up(self) -> None:
        """Free the slot, if the thread has it."""
        if self.has_slot:
            self.has_slot = False
            self.slots.free.release()

    def retake(self, timeout_s: float | None = None) -> None:
        """Wait for a slot, but not longer than ``timeout_s``; the thread then continues without one."""
        self.has_slot = self.slots.free.acquire(timeout=timeout_s)


_turn: ContextVar[_Turn | None] = ContextVar("compute_turn", default=None)


@contextmanager
def computing(slots: ComputeSlots) -> Iterator[None]:
    """Run the block in one of the slots of a job or batch, after waiting for a free slot.

    Code in the block must use :func:`waiting` when it waits for anything other than the processor.
    """
    turn = _Turn(slots)
    token = _turn.set(turn)
    try:
        yield
    finally:
        _turn.reset(token)
        turn.give_up()


@contextmanager
def waiting(
    retaking: AbstractContextManager[object] | None = None, *, has_locks: bool = False
) -> Iterator[None]:
    """Give up this thread's compute slot while the block waits, and wait for a slot after the block.

    Outside of :func:`computing`, and in another wait, this does nothing.

    Args:
        retaking: Context in which the thread waits for a slot after the block.
        has_locks: Whether the thread may hold locks for which other threads wait in their slots. It
            then continues without a slot if it does not get one soon after the block.
    """
    turn = _turn.get()
    if turn is None:
        yield
        return
    token = _turn.set(None)
    turn.give_up()
    try:
        yield
    finally:
        with retaking or nullcontext():
            turn.retake(_RETAKE_S if has_locks else None)
        _turn.reset(token)


@contextmanager
def waiting_with_locks(what: str) -> Iterator[None]:
    """Give up this thread's compute slot while the block waits for ``what``, if that has been slow.

    The thread may hold locks for which other threads wait in their slots. So it continues without a
    slot if it does not get one soon after the block.

    Args:
        what: The disk or the server, each of which has its own average.
    """
    turn = _turn.get()
    if turn is None:
        yield
        return
    average_s = turn.slots.waits_s.get(what, 0.0)
    gives_up = turn.has_slot and average_s > _SLOW_S
    if gives_up:
        turn.give_up()
    started = perf_counter()
    try:
        yield
    finally:
        turn.slots.waits_s[what] = average_s + _LATEST * (perf_counter() - started - average_s)
        if gives_up:
            turn.retake(_RETAKE_S)
