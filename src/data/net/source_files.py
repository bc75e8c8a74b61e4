"""Detects changes in the files that bars are read from, reading their content only if necessary."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from ..clock import Clock, SystemClock
from ..model.source import SourceState
from ..runtime.once import cached_property

_BLOCK, _NS_IN_MS = 1 << 20, 10**6


@dataclass(frozen=True)
class SourceFiles:
    """The state of a series' files at the time of a check.

    Attributes:
        state: State of the files, as determined without reading them.
        paths: Paths of the files.
    """

    state: SourceState
    paths: Sequence[Path]

    @cached_property
    def content(self) -> str:
        """The digest of the files' content; empty if a file cannot be read."""
        whole = sha256()
        try:
            for path in self.paths:
                sha = sha256()
                with path.open("rb") as file:
                    while block := file.read(_BLOCK):
                        sha.update(block)
                whole.update(f"{path.name}|{sha.hexdigest()}|".encode("utf-8", "surrogateescape"))
        except OSError:
            return ""
        return whole.hexdigest() if self.paths else ""

    def read_state(self) -> SourceState:
        """Read the files' content, and return the state with its digest."""
        return replace(self.state, content=self.content)


def look_at(paths: Sequence[Path], reading: str, clock: Clock | None = None) -> SourceFiles:
    """Determine the current state of files, with one ``stat`` for each; missing files are left out.

    Args:
        paths: Paths in a fixed order.
        reading: Fingerprint of the other inputs on which the bars depend.
        clock: Source of the time of the check; by default, the system clock, which also determines
            the files' modification times.
    """
    # Taken before the check, so that a file that changes meanwhile does not seem unchanged for
    # long.
    seen_ms = (clock or SystemClock()).now_ms()
    present, stamps, size, changed_ns = [], sha256(), 0, 0
    for path in paths:
        try:
            stat = os.stat(path)
        except OSError:
            continue
        present.append(path)
        size, changed_ns = size + stat.st_size, max(changed_ns, stat.st_mtime_ns, stat.st_ctime_ns)
        # The second time cannot be set by programs, so it reveals a file that was edited and then
        # given its old time.
        entry = f"{path.name}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}|"
        stamps.update(entry.encode("utf-8", "surrogateescape"))
    digest = stamps.hexdigest()[:32] if present else ""
    changed_ms = -(-changed_ns // _NS_IN_MS)
    return SourceFiles(SourceState(reading, digest, size, changed_ms, seen_ms), present)
