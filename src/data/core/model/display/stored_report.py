"""Interface of a report on stored bars, for code that only passes it on. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from .texts import Line


class BarsReport(Protocol):
    """A snapshot of the state of stored series, as a report. Immutable.

    The report can be printed, and displayed in notebooks.

    Attributes:
        title: Subject of the report, in one line.
        is_whole: Whether everything could be read; if not, the entry for each series lists the
            parts that could not be read.
    """

    @property
    def title(self) -> str:
        """Return the subject of the report in one line."""

    @property
    def is_whole(self) -> bool:
        """Return whether all stored series in the report could be read."""

    def lines(self) -> Iterable[Line]:
        """Yield the lines to display, each as a label and a text."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary without NaN, like the output of ``onetape report --json``."""

    def html(self) -> str:
        """Return the report as a self-contained HTML page, which loads nothing from the network.

        The page also contains the values of :meth:`to_json`.
        """

    def save(self, path: str | Path) -> Path:
        """Write the report to an ``.html`` or ``.json`` file and return the path.

        An existing file with that name is replaced atomically.

        Raises:
            QueryError: The file name has another extension.
            StorageError: The file cannot be written; no partial file is left.
        """
