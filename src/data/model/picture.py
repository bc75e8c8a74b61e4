"""Interface of a drawn chart for code that passes it on without drawing. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Picture(Protocol):
    """A chart of bars. It does not change; drawing it is thread-safe.

    A notebook shows it as an SVG.
    """

    def png(self, width: int = 800, height: int = 500) -> bytes:
        """Return it as a PNG, on light paper.

        Args:
            width, height: in pixels, from 200 to 8,000.

        Raises:
            MissingExtraError: matplotlib is not installed (extra ``plot``).
            QueryError: the size is none.
        """

    def svg(self, width: int = 800, height: int = 500) -> str:
        """Return it as an SVG element or file, light and dark; arguments and errors as :meth:`png`."""

    def html(self) -> str:
        """Return it as a page that opens from disk and loads nothing, with the values under the pointer."""

    def save(self, path: str | Path) -> Path:
        """Write it to a file, by its ending ``.png``, ``.svg`` or ``.html``, and return the path.

        A file of that name is replaced at one stroke.

        Raises:
            MissingExtraError: a PNG is wanted, and matplotlib is not installed.
            QueryError: the name ends otherwise.
            StorageError: the file cannot be written; nothing half-written is left.
        """
