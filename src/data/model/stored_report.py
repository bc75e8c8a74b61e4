"""Interface of a report on stored bars, for code that only passes it on. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from .texts import Line


class BarsReport(Protocol):
    """The facts known about stored series at one moment. Immutable.

    It also prints well in notebooks.

    Attributes:
        title: Subject of the report, in one line.
        is_whole: Whether everything could be read; if not, the entry of each series says which
            parts could not.
    """

    @property
    def title(self) -> str:
        """Return the subject of the report in one line."""

    @property
    def is_whole(self) -> bool:
        """Return whether all stored series in the report could be read."""

    def lines(self) -> Iterable[Line]:
        """Yield the facts to display, each as a name and a string."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary without NaN, as ``onetape report --json`` prints."""

    def html(self) -> str:
        """Return the report as a self-contained HTML page that loads nothing.

        It also contains the values of :meth:`to_json`.
        """

    def save(self, path: str | Path) -> Path:
        """Write the page (``.html``) or the values (``.json``) to a file; return the path.

        An existing file with that name is replaced atomically.

        Raises:
            QueryError: The file name has another extension.
            StorageError: The file cannot be written; no partial file is left.
        """
