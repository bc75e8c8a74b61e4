"""Ctrl-C and SIGTERM while a job works, and while its report is made."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class JobSignals:
    """What Ctrl-C and SIGTERM do to a job: end its work, and never its report.

    While it works each raises ``KeyboardInterrupt``. Afterwards the first is noted, so that the
    report is made, printed and written; the second raises.

    Attributes:
        is_noted: whether one came after the work.
    """

    def __init__(self) -> None:
        self.is_noted = False
        self._is_held = False

    def begin(self) -> None:
        """Let signals interrupt: work begins, such as that of a command's next step."""
        self._is_held = False

    def hold(self) -> None:
        """Let the next signal be noted: the work is over."""
        self._is_held = True

    def take(self, number: int, frame: Any) -> None:
        """Take a signal, as its handler.

        Raises:
            KeyboardInterrupt: work goes on, or it is the second one.
        """
        if not self._is_held or self.is_noted:
            signal.default_int_handler(number, frame)
        self.is_noted = True


_current: ContextVar[JobSignals | None] = ContextVar("job_signals", default=None)


def hold_signals() -> None:
    """Let the next signal be noted where :func:`job_signals` takes them: the work is over."""
    if (signals := _current.get()) is not None:
        signals.hold()


@contextmanager
def job_signals() -> Iterator[JobSignals]:
    """Take the signals that would raise ``KeyboardInterrupt`` until the block ends.

    A block inside another shares them, as a job those of its command, and begins its work. A thread
    that is not the main one gets no signals, and a program's own handlers stay.
    """
    if threading.current_thread() is not threading.main_thread():
        yield JobSignals()
        return
    if (outer := _current.get()) is not None:
        outer.begin()
        yield outer
        return
    signals, usual = JobSignals(), signal.default_int_handler
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is usual]
    token = _current.set(signals)
    try:
        for number in numbers:
            signal.signal(number, signals.take)
        yield signals
    finally:
        for number in numbers:
            signal.signal(number, usual)
        _current.reset(token)
