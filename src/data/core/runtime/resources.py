"""Memory and CPU time of this process, and the machine's memory, if the system reports them."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
# Fields of `statm`, in pages: memory in use, and private memory with stacks.
_RESIDENT, _DATA = 1, 5
# Assumed if the size of the memory is unknown.
_MEMORY = 2 << 30
# The memory limit of a container.
_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Memory:
    """Memory in bytes; a value is None if the system does not report it.

    Attributes:
        used: Memory that this process currently uses.
        peak: Maximum amount of memory that this process has ever used.
        free: Memory that the machine can still allocate without swapping.
    """

    used: int | None = None
    peak: int | None = None
    free: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary of the values in bytes."""
        return {f"memory_{name}_bytes": value for name, value in asdict(self).items()}


@contextmanager
def rare_collections() -> Iterator[None]:
    """Run the garbage collector less often while the ``with`` block runs.

    The documents of thousands of series consist of many small, long-lived values without cycles.
    Scanning all of these values again and again took three quarters of the time needed for 10,000
    series.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class CpuUse:
    """CPU time of this process, and the time elapsed since this object was created.

    A forked child's CPU time begins at zero. Call :meth:`after_fork` in the child, so that its
    elapsed time also begins at zero.

    Args:
        monotonic: Function that returns seconds on a clock that never jumps.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.after_fork()

    def after_fork(self) -> None:
        """Restart the measurement of the elapsed time."""
        self._began = self._monotonic(), time.process_time()

    def to_json(self) -> dict[str, Any]:
        """Return ``cpu_seconds`` and ``cpu_percent``.

        The seconds cover all threads, in user and system mode, since the process began. The
        percentage is the average share of one core since this object was created, so four busy
        threads may reach 400; it is None if no time has passed. The values do not depend on how
        often they are read.
        """
        started, before = self._began
        spent, elapsed = time.process_time(), self._monotonic() - started
        percent = 100 * (spent - before) / elapsed if elapsed > 0 else None
        return {"cpu_seconds": spent, "cpu_percent": percent}


def memory(proc: Path = _PROC) -> Memory:
    """Return the current memory figures for this process and machine."""
    return Memory(_used_bytes(proc), _peak(), _free(proc))


def data_bytes() -> int:
    """Return the private memory of this process, as ``RLIMIT_DATA`` counts it.

    It includes memory that is reserved and not used, such as the stacks of idle threads. On systems
    that do not report it, the result is the peak of the memory in use.
    """
    return _used_bytes(_PROC, _DATA) or _peak() or 0


def _used_bytes(proc: Path, field: int = _RESIDENT) -> int | None:
    try:
        pages = (proc / "self" / "statm").read_text("ascii").split()[field]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None  # only Linux has this file


def _peak() -> int | None:
    try:
        import resource
    except ImportError:
        return None  # not on Windows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes everywhere else


def _free(proc: Path) -> int | None:
    try:
        lines = (proc / "meminfo").read_text("ascii").splitlines()
        (line,) = (line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None


def all_memory(limit: Path = _LIMIT) -> int:
    """Return this machine's memory in bytes, or the container's limit if that is lower."""
    try:
        has = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        has = _MEMORY  # Windows has no such setting
    try:
        return min(has, int(limit.read_text("ascii")))
    except (OSError, ValueError):
        return has  # not in a container, or in one without a limit
