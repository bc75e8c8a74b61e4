"""Raises ``KeyboardInterrupt`` at a chosen line, only where CPython would deliver Ctrl-C.

Signals are looked at when a function begins and when a function written in C has returned; its
result is lost then, whatever it has done. Between other instructions they wait. Counting these
places makes what a real signal hits by chance a test that always does.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any


class _Interrupter:
    """Raises ``KeyboardInterrupt`` at the place with a number, once."""

    def __init__(self, place: int, files: Collection[str]) -> None:
        self._left = place
        self._files = files
        self.has_struck = False

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        """Count a place; the profiler's hook, whose errors are raised where it was called."""
        if frame.f_code.co_filename not in self._files:
            return
        is_generator = frame.f_code.co_flags & inspect.CO_GENERATOR
        begins = event == "call" and not (is_generator and frame.f_lasti > 0)
        # CPython 3.14 delivers it between a lock's `__enter__` and the block too, by a fault of its own
        # (gh-148874), so that no program can release the lock: docs/known-limits.md.
        has_returned = event == "c_return" and arg.__name__ != "__enter__"
        if begins or has_returned:
            self._left -= 1
            if self._left == 0:
                self.has_struck = True
                raise KeyboardInterrupt


def interrupted(place: int, action: Callable[[], object], files: Collection[str]) -> bool:
    """Run ``action`` and interrupt it at a place (from 1 on) in ``files``; tell whether it was."""
    interrupter = _Interrupter(place, files)
    sys.setprofile(interrupter)
    try:
        action()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
    return interrupter.has_struck
