"""State of the local files from which bars were read, for detecting later changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Resolution of a file system's times (2 s on FAT). Two changes within it leave the same time.
_GRAIN_MS = 2000


@dataclass(frozen=True)
class SourceState:
    """The state of local files, recorded before anything was read from them.

    Attributes:
        reading: Everything else on which the bars depend: the layout and the symbol.
        stamps: Digest of names, sizes and modification times; empty if there is no file.
        size: Total size of the files in bytes.
        changed_ms: Latest modification time, UTC milliseconds.
        seen_ms: Time at which the files were examined.
        content: Digest of names and bytes; empty until it is known.
    """

    reading: str
    stamps: str = ""
    size: int = 0
    changed_ms: int = 0
    seen_ms: int = 0
    content: str = ""

    @property
    def has_rested(self) -> bool:
        """Whether the files are old enough for any later change to alter their modification time."""
        return self.seen_ms - self.changed_ms >= _GRAIN_MS

    def is_of(self, now: SourceState, content: Callable[[], str]) -> bool:
        """Return whether the files are unchanged since this state was recorded.

        Args:
            now: Current state of the files.
            content: Function that reads the files and returns the digest of their content; called
                only if sizes and times are not conclusive.
        """
        if (self.reading, self.size) != (now.reading, now.size):
            return False
        if self.stamps == now.stamps and (self.has_rested or not now.stamps):
            return True
        return bool(self.content) and self.content == content()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-compatible dictionary that is stored."""
        return {
            "reading": self.reading,
            "stamps": self.stamps,
            "size": self.size,
            "changed_at": self.changed_ms,
            "seen_at": self.seen_ms,
            "content": self.content,
        }
