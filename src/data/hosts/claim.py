"""Which machine uses a folder, so that a folder that two machines mount is noticed.

Locks of files and memory maps are not reliable between machines. All processes and containers of one
machine may share a folder.
"""

from __future__ import annotations

import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..cache.format import json_document
from ..disk.atomic import write_atomically
from ..disk.files import Disk
from ..errors import StorageError

# A claim is renewed at this interval of use, and counts for so long after that.
_RENEWED_MS, _COUNTS_MS = 20_000, 120_000
# A clock may be ahead by so much; a claim from further ahead does not count for ever.
_AHEAD_MS = 600_000


class Claim(NamedTuple):
    """The last use of a folder: the machine since it was started, its name, and the time."""

    machine: str
    name: str
    at_ms: int


def is_elsewhere(claim: Claim, machine: str, now_ms: int, booted_ms: int) -> bool:
    """Return whether another machine uses the folder now.

    A claim from before this machine was started may be its own.
    """
    is_recent = max(now_ms - _COUNTS_MS, booted_ms) < claim.at_ms < now_ms + _AHEAD_MS
    return claim.machine != machine and is_recent


def this_machine() -> tuple[str, int]:
    """Return the identity of the running machine, and when it was started.

    The time is in UTC milliseconds, and 0 if unknown.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        since = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError):
        return platform.node(), 0
    return boot, round((time.time() - since) * 1000)


class FolderClaim:
    """The claim of this machine to a cache folder. Thread-safe.

    Args:
        root: Cache folder.
        folder: Folder for the claim.
        disk: File system.
    """

    def __init__(self, root: Path, folder: Path, disk: Disk) -> None:
        self._root, self._path, self._disk = root, folder / "host.json", disk
        self._renewed_s = -float("inf")

    def check(self, *, renew: bool = True) -> None:
        """Check that no other machine uses the folder, from time to time; renew the claim.

        Raises:
            StorageError: Another machine does.
        """
        if time.monotonic() < self._renewed_s + _RENEWED_MS / 1000:
            return
        machine, booted_ms = this_machine()
        now_ms, claim = round(time.time() * 1000), self._stored_claim()
        if claim is not None and is_elsewhere(claim, machine, now_ms, booted_ms):
            raise StorageError(
                f"the cache folder {self._root} is in use by another host, {claim.name}",
                hint="name a folder of its own for each host",
            )
        if renew:
            content = json_document.dump(Claim(machine, platform.node(), now_ms)._asdict())
            with suppress(StorageError):  # a full disk is reported by what must be stored
                self._disk.make_folders(self._path.parent)
                write_atomically(self._disk, self._path, content, durable=False)
                self._renewed_s = time.monotonic()

    def _stored_claim(self) -> Claim | None:
        data = self._disk.read_if_exists(self._path)
        try:
            stored = {} if data is None else json_document.load(data)
            return Claim(str(stored["machine"]), str(stored["name"]), int(stored["at_ms"]))
        except (json_document.DamagedError, KeyError, TypeError, ValueError):
            return None
