"""The result of a command, and the one place that prints it: as text, JSON, or an exit code."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..errors import DataError
from .output import complain, complain_about, console, is_quiet, note, print_json
from .tables import plain, styled, table

if TYPE_CHECKING:
    from rich.console import RenderableType

OK, FAILED, USAGE = 0, 1, 2


class Line(NamedTuple):
    """A string that is never wrapped, so that paths and commands in it can be copied."""

    text: str
    style: str = ""


Shown: TypeAlias = "Iterable[RenderableType | Line]"


class Report(NamedTuple):
    """The result of a command.

    Attributes:
        document: Output for ``--json``, or a function that returns it.
        shown: Output for display, top to bottom, or a function that returns it. A generator runs
            only if the output is printed, and each item is printed immediately.
        notes: Messages, other than failures, for standard error.
        errors: Errors in parts of the answer, or their messages.
        ok: Whether the exit code is 0; otherwise it is 1.
        is_check: Whether the report only states a verdict, or only confirms that something was
            fetched or written. With ``-q``, such a report is printed only if the exit code is not
            0.
        is_misuse: Whether the exit code is 2, because no part of the query was valid.
    """

    document: Any
    shown: Shown | Callable[[], Shown] = ()
    notes: Iterable[str] = ()
    errors: Iterable[DataError | str] = ()
    ok: bool = True
    is_check: bool = False
    is_misuse: bool = False

    @classmethod
    def rows(
        cls,
        rows: Iterable[Any],
        columns: str,
        title: str = "",
        *,
        empty: str = "",
        below: Shown = (),
        styles: Mapping[str, str] | None = None,
        **others: Any,
    ) -> Report:
        """Return a report whose ``--json`` document is a list of records, shown as a table.

        Args:
            rows: Records; see :func:`table` for them, ``columns``, ``title`` and ``styles``.
            columns: Keys of the records that are shown.
            title: Title above the table.
            empty: Line to show instead of a table without rows.
            below: Blocks below the table.
            styles: Maps values to styles.
            others: Other attributes of the report.
        """
        records = [plain(row) for row in rows]

        def shown() -> Shown:
            """Yield the table or the line instead, and the blocks below."""
            yield table(records, columns, title, styles) if records or not empty else Line(empty)
            yield from below

        return cls(records, shown, **others)


def present(report: Report, args: argparse.Namespace) -> int:
    """Print a report as the options require; return the exit code."""
    if args.json:
        print_json(report.document() if callable(report.document) else report.document)
    elif not (report.is_check and report.ok and is_quiet()):
        show(report.shown() if callable(report.shown) else report.shown)
    for error in report.errors:
        if isinstance(error, str):
            complain(error)
        else:
            complain_about(error)
    for text in report.notes:
        note(text)
    if report.is_misuse:
        return USAGE
    return OK if report.ok else FAILED


def show(items: Shown) -> None:
    """Print tables and text on standard output, one below the other."""
    screen = console()
    for item in items:
        if isinstance(item, Line):
            screen.print(styled(*item), soft_wrap=True)
        else:
            screen.print(item)
