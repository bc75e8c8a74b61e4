"""Tasks for worker processes, which load only this module so that they start quickly."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any


def double(number: int) -> int:
    return number * 2


def refuse(number: int) -> int:
    if number == 2:
        raise ValueError("not two")
    return number


def die_once(task: tuple[str, int]) -> int:
    """Kill the worker that begins this first."""
    folder, number = task
    with Path(folder, f"{number}").open("a") as file:
        file.write("x")
    if number == 3 and Path(folder, "3").stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(number: Any) -> Any:
    """Kill the worker that begins 3, or a task of upkeep."""
    if number == 3 or not isinstance(number, int):
        os.kill(os.getpid(), signal.SIGKILL)
    return number
