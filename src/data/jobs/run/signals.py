"""Ctrl-C and SIGTERM while a job works, and while its report is made."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class JobSignals:
    """Handles Ctrl-C and SIGTERM during a job: they end the job's work, but its report is still made.

    During the work, each signal raises ``KeyboardInterrupt``. After the work, the first signal is
    only recorded, so that the report can be made, printed and written; the second signal raises.

    Attributes:
        is_noted: Whether a signal arrived after the work had ended.
    """

    def __init__(self) -> None:
        self.is_noted = False
        self._is_held = False

    def begin(self) -> None:
        """Let signals interrupt the job from now on; called when the work begins."""
        self._is_held = False

    def hold(self) -> None:
        """Only record the next signal; called when the work has ended."""
        self._is_held = True

    def handle(self, number: int, frame: Any) -> None:
        """Handle a signal.

        Raises:
            KeyboardInterrupt: The work is still running, or this is the second signal.
        """
        if not self._is_held or self.is_noted:
            signal.default_int_handler(number, frame)
        self.is_noted = True


_current: ContextVar[JobSignals | None] = ContextVar("job_signals", default=None)


def hold_signals() -> None:
    """End the work phase of the enclosing :func:`job_signals`, if any: the next signal is only recorded."""
    if (signals := _current.get()) is not None:
        signals.hold()


@contextmanager
def job_signals() -> Iterator[JobSignals]:
    """Handle signals with a :class:`JobSignals` until the block ends.

    Only signals that would raise ``KeyboardInterrupt`` are handled; the application's own handlers
    are kept. A nested block, such as a job inside a command, shares the outer block's object. When
    it begins, signals raise ``KeyboardInterrupt`` again, even after :func:`hold_signals`. Outside
    the main thread, no signals are handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield JobSignals()
        return
    if (outer := _current.get()) is not None:
        outer.begin()
        yield outer
        return
    signals, handler = JobSignals(), signal.default_int_handler
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is handler]
    token = _current.set(signals)
    try:
        for number in numbers:
            signal.signal(number, signals.handle)
        yield signals
    finally:
        for number in numbers:
            signal.signal(number, handler)
        _current.reset(token)
