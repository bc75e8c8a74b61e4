"""Interface of a report on stored bars for code that passes it on. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from .texts import Line


class BarsReport(Protocol):
    """What is known of stored series at one moment. It does not change.

    It prints well, in notebooks too.

    Attributes:
        title: what it is about, in one line.
        is_whole: whether all of it could be read; each series names what could not.
    """

    @property
    def title(self) -> str:
        """Return the subject in one line."""

    @property
    def is_whole(self) -> bool:
        """Return whether all of it could be read."""

    def lines(self) -> Iterable[Line]:
        """Yield a name and a text for each fact."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as ``onetape report --json`` prints them; without NaN."""

    def html(self) -> str:
        """Return it as a page that opens from disk, loads nothing, and has the plain values in it."""

    def save(self, path: str | Path) -> Path:
        """Write the page (``.html``), or the plain values (``.json``), to a file; return the path.

        A file of that name is replaced at one stroke.

        Raises:
            QueryError: the name ends otherwise.
            StorageError: the file cannot be written; nothing half-written is left.
        """
