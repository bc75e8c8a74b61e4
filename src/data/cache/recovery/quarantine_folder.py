"""A quarantine: damaged files kept whole, each with a JSON document beside it that gives the reason.

Files are named by the digest of their bytes: keeping the same bytes twice keeps them once, and
nothing that is kept is ever overwritten by something else.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...clock import Clock
from ...disk.atomic import link_or_copy, write_atomically
from ...disk.files import Disk
from ...model.instant import iso
from ..format import json_document

log = logging.getLogger(__name__)


class Damage(NamedTuple):
    """A file that is not as it was written."""

    path: Path
    content: bytes
    reason: str


class KeptFile(NamedTuple):
    """A file in quarantine, and why it is there."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Quarantine:
    """One folder of damaged files.

    Attributes:
        disk, clock: of the store.
        folder: made when it is first needed.
        owner: whose files they are, for the log.
    """

    disk: Disk
    clock: Clock
    folder: Path
    owner: str

    def keep_file(self, source: Path, content: bytes, reason: str) -> Path:
        """Give the file a second name here, durably, and return it; it keeps its own."""
        target = self._place(source.name, content)
        if self.disk.read_if_exists(target) != content:
            link_or_copy(self.disk, source, target)
        self._write_reason(target, reason)
        return target

    def keep_bytes(self, name: str, content: bytes, reason: str) -> None:
        """Write bytes that are about to be cut off or replaced, durably."""
        target = self._place(name, content)
        if self.disk.read_if_exists(target) != content:
            write_atomically(self.disk, target, content)
        self._write_reason(target, reason)

    def files(self) -> Iterator[KeptFile]:
        """Yield the files that have a readable document with the reason, sorted by name."""
        for name in self.disk.list(self.folder):
            content = self.disk.read_if_exists(self.folder / f"{name}.json")
            try:
                note = json_document.load(content) if content else {}
            except json_document.DamagedError:
                continue
            if "reason" in note:
                yield KeptFile(self.folder / name, str(note["reason"]))

    def _place(self, name: str, content: bytes) -> Path:
        self.disk.make_folders(self.folder)
        stem, _, suffix = name.partition(".")
        return self.folder / f"{stem}.{hashlib.sha256(content).hexdigest()[:16]}.{suffix}"

    def _write_reason(self, target: Path, reason: str) -> None:
        """Write the reason beside it; that also makes durable what is new in the folder."""
        log.warning("%s: kept %s in quarantine: %s", self.owner, target.name, reason)
        note = {"file": target.name, "reason": reason, "time": iso(self.clock.now_ms())}
        write_atomically(
            self.disk, target.with_name(f"{target.name}.json"), json_document.dump(note)
        )
