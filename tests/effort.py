"""How much work something is, told without a clock: no busy machine makes it more."""

from __future__ import annotations

import sys
from collections.abc import Callable


def calls_of(work: Callable[[], object]) -> int:
    """Return how many functions are called, of Python and of C, while ``work`` is done."""
    return effort_of(work)[0]


def effort_of(work: Callable[[], object]) -> tuple[int, int]:
    """Return how many functions are called while ``work`` is done, and how many files they open."""
    calls = files = 0

    def counted(_frame: object, event: str, function: object) -> None:
        nonlocal calls, files
        calls += event in ("call", "c_call")
        files += event == "c_call" and getattr(function, "__name__", "") == "open"

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls, files
