"""Disks that fail, end the writer, or record the calls made."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from src.data.core.disk.files import Disk, DiskStep

T = TypeVar("T")
CHANGING = frozenset({
    "create", "write", "truncate", "fsync", "fdatasync", "fsync_dir", "replace", "link", "unlink",
    "mkdir",
})  # fmt: skip
READING = frozenset({"open", "read", "fstat", "stat", "list"})


class Killed(BaseException):
    """Stands for the death of the process: no further code of the writer runs."""


class HoldingDisk(Disk):
    """A disk that records which files are open."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, DiskStep] = {}

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        result = super().perform(step, call)
        if step.name in ("open", "create") and isinstance(result, int):
            self.held[result] = step
        elif step.name == "close":
            del self.held[call.args[0]]  # type: ignore[attr-defined]
        return result


class RecordingDisk(Disk):
    """A disk that remembers what was done."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[DiskStep] = []

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        self.steps.append(step)
        return call()

    def names(self) -> list[str]:
        return [step.name for step in self.steps if step.name in CHANGING]


class LaterDisk(RecordingDisk):
    """A disk whose time is a second later, so that a file that was just written is not young."""

    def now_ns(self) -> int:
        return super().now_ns() + 10**9


class FailingDisk(HoldingDisk):
    """A disk whose n-th changing call fails, or another one of ``calls``, once or from then on."""

    def __init__(
        self,
        fails_at: int,
        code: int = errno.ENOSPC,
        *,
        for_ever: bool = False,
        calls: frozenset[str] = CHANGING,
    ) -> None:
        super().__init__()
        self.calls = calls
        self.left = fails_at
        self.code = code
        self.for_ever = for_ever
        self.failed: DiskStep | None = None

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name not in self.calls:
            return super().perform(step, call)
        self.left -= 1
        if self.left == 0 or (self.left < 0 and self.for_ever):
            self.failed = self.failed or step
            if step.name == "write" and step.data is not None and len(step.data) > 1:
                _half_written(step, call)
            raise OSError(self.code, "made to fail")
        return super().perform(step, call)


def _half_written(step: DiskStep, call: Callable[[], T]) -> None:
    """Let half of the bytes reach the file, as a full disk does."""
    write = call.func  # type: ignore[attr-defined]
    fd, data, offset = call.args  # type: ignore[attr-defined]
    write(fd, data[: len(data) // 2], offset)


class DyingDisk(Disk):
    """A disk of a process that is killed before its n-th changing call."""

    def __init__(self, dies_at: int) -> None:
        super().__init__()
        self.left = dies_at

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name in CHANGING:
            self.left -= 1
        if self.left <= 0 and step.name != "close":
            raise Killed
        return call()
