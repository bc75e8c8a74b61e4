"""Tasks for worker processes, which load only this module so that they start quickly."""

from __future__ import annotations

import os
import signal
from typing import Any


def double(number: int) -> int:
    return number * 2


def refuse(number: int) -> int:
    if number == 2:
        raise ValueError("not two")
    return number


def die(number: Any) -> Any:
    """Kill the worker that begins 3, or a task of upkeep."""
    if number == 3 or not isinstance(number, int):
        os.kill(os.getpid(), signal.SIGKILL)
    return number
