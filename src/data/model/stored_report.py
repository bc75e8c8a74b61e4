"""Interface of a report on stored bars for code that passes it on. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from .texts import Line


class BarsReport(Protocol):
    """The facts known about stored series at one moment. Immutable.

    It prints well, in notebooks too.

    Attributes:
        title: Subject of the report, in one line.
        is_whole: Whether everything could be read; each series names what could not.
    """

    @property
    def title(self) -> str:
        """Return the subject in one line."""

    @property
    def is_whole(self) -> bool:
        """Return whether everything could be read."""

    def lines(self) -> Iterable[Line]:
        """Yield a name and a text for each fact."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as printed by ``onetape report --json``; without NaN."""

    def html(self) -> str:
        """Return the report as a page that opens from disk and loads nothing.

        The plain values are in it.
        """

    def save(self, path: str | Path) -> Path:
        """Write the page (``.html``) or the plain values (``.json``) to a file; return the path.

        An existing file with that name is replaced atomically.

        Raises:
            QueryError: The name has another ending.
            StorageError: The file cannot be written; no partial file is left.
        """
