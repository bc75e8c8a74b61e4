"""Counts function calls and opened files, as a measure of work that does not depend on the machine's load."""

from __future__ import annotations

import gc
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep
from types import FrameType
from typing import Any


def calls_of(work: Callable[[], object]) -> int:
    """Return how many functions are called, of Python and of C, while ``work`` is done."""
    return effort_of(work)[0]


def calls_by_name(work: Callable[[], object]) -> str:
    """Return the number of calls of each function while ``work`` is done, as text for a failure."""
    names: Counter[str] = Counter()

    def counted(frame: FrameType, event: str, function: object) -> None:
        if event == "call":
            names[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            names[str(getattr(function, "__qualname__", function))] += 1

    _profile(work, counted)
    return ", ".join(f"{count} {name}" for name, count in sorted(names.items()))


def effort_of(work: Callable[[], object]) -> tuple[int, int]:
    """Return how many functions are called while ``work`` is done, and how many files they open."""
    calls = files = 0

    def counted(_frame: object, event: str, function: object) -> None:
        nonlocal calls, files
        calls += event in ("call", "c_call")
        files += event == "c_call" and getattr(function, "__name__", "") == "open"

    _profile(work, counted)
    return calls, files


def _profile(work: Callable[[], object], counted: Callable[[FrameType, str, Any], object]) -> None:
    """Report each call to ``counted`` while ``work`` is done."""
    before, collects = sys.getprofile(), gc.isenabled()
    gc.disable()  # a collection calls functions of its own, at places that depend on earlier tests
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()


class ThreadMeter:
    """Counts the threads that are inside a block at the same time.

    Attributes:
        most: Highest count so far.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._inside = self.most = 0

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Count this thread while the block runs; first let other threads enter if they can."""
        with self._guard:
            self._inside += 1
            self.most = max(self.most, self._inside)
        for _ in range(20):
            sleep(0)
        try:
            yield
        finally:
            with self._guard:
                self._inside -= 1
