"""State of the local files that bars were read from, to detect changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Two changes within the grain of a file system's times (2 s on FAT) leave the same time behind.
_GRAIN_MS = 2000


@dataclass(frozen=True)
class SourceState:
    """What files were when they were looked at, before anything was read from them.

    Attributes:
        reading: what the bars depend on beside the files: how they are laid out, whose they are.
        stamps: digest of names, sizes and times of last change; empty where there is no file.
        size: bytes of all of them.
        changed_ms: the latest time of last change, UTC milliseconds.
        seen_ms: when they were looked at.
        content: digest of names and bytes; empty while it is not known.
    """

    reading: str
    stamps: str = ""
    size: int = 0
    changed_ms: int = 0
    seen_ms: int = 0
    content: str = ""

    @property
    def has_rested(self) -> bool:
        """Whether a later change would show by the times of the files."""
        return self.seen_ms - self.changed_ms >= _GRAIN_MS

    def is_of(self, now: SourceState, content: Callable[[], str]) -> bool:
        """Tell whether the files are now what they were.

        Args:
            now: how they look now.
            content: reads them and returns the digest of what they hold; called where size and
                time leave that open.
        """
        if (self.reading, self.size) != (now.reading, now.size):
            return False
        if self.stamps == now.stamps and (self.has_rested or not now.stamps):
            return True
        return bool(self.content) and self.content == content()

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping that is stored."""
        return {
            "reading": self.reading,
            "stamps": self.stamps,
            "size": self.size,
            "changed_at": self.changed_ms,
            "seen_at": self.seen_ms,
            "content": self.content,
        }
