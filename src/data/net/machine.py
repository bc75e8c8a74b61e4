"""What tells this machine, and the processes on it, from others."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from pathlib import Path


@cache
def boot() -> str:
    """Name this start of the machine; empty where it does not tell its starts apart."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def process_space() -> str:
    """Name the place in which process numbers mean the same: the host, or a container in it."""
    try:
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def is_gone(pid: int) -> bool:
    """Tell whether a process here is known to be dead; a number in use again looks alive."""
    if sys.platform == "win32":  # there, asking would kill it
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is there, and somebody else's
        return False
    return False
