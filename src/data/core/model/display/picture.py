"""Interface of a chart, for code that only passes it on. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Picture(Protocol):
    """A chart of bars. It is immutable; drawing it is thread-safe.

    Notebooks display the chart as an SVG.
    """

    def png(self, width: int = 800, height: int = 500) -> bytes:
        """Return the chart as a PNG, on a light background.

        Args:
            width, height: Size in pixels, from 200 to 8,000.

        Raises:
            MissingExtraError: matplotlib is not installed (extra ``plot``).
            QueryError: The size is invalid.
        """

    def svg(self, width: int = 800, height: int = 500) -> str:
        """Return the chart as SVG text, on a light background.

        For arguments and errors, see :meth:`png`.
        """

    def html(self) -> str:
        """Return the chart as a self-contained HTML page, which loads nothing from the network.

        The page shows the values under the pointer.
        """

    def save(self, path: str | Path) -> Path:
        """Write the chart to a ``.png``, ``.svg`` or ``.html`` file and return the path.

        An existing file with that name is replaced atomically.

        Raises:
            MissingExtraError: A PNG or SVG is requested, and matplotlib is not installed.
            QueryError: The file name has another extension.
            StorageError: The file cannot be written; no partial file is left.
        """
