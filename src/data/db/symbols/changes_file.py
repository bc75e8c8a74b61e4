"""Reads a CSV file of dated changes; a file with an error is rejected, with the line number. Pure.

There are two kinds, distinguished by the header: intervals, ``symbol,instrument,from,to``
(half-open; empty means unknown or open), and boundaries, ``date,type,symbol,successor``
(``instrument`` may follow). Both may have ``source``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import date

from ...errors import DataError, QueryError
from ...model.symbol_changes import ChangeType
from .identity import NameInterval, SymbolBoundary

_INTERVALS = ("symbol", "instrument", "from", "to")
_BOUNDARIES = ("date", "type", "symbol", "successor")
# A listing is not in a file of changes: two intervals of one symbol imply it.
_TYPES: tuple[ChangeType, ...] = ("rename", "merger", "spinoff", "delisting")
_MORE = {"source", "instrument"}
_MOST_PROBLEMS = 5
_LONGEST = 200


def read_changes(
    text: str, name: str, canonical: Callable[[str], str]
) -> tuple[list[NameInterval], list[SymbolBoundary]]:
    """Parse a file with dated symbol changes, and return its intervals and boundaries.

    An interval is a range of dates on which a symbol means one instrument; a boundary is a rename,
    merger, spin-off or delisting.

    Args:
        text: Content of the file.
        name: Name of the file. A row that does not name a source gets this name and its line number
            as the source.
        canonical: Function that returns the canonical spelling of a symbol, or raises
            :class:`DataError`.

    Raises:
        QueryError: A column is missing or unknown, or rows are invalid; the message names the first
            faulty lines.
    """
    rows = csv.reader(io.StringIO(text), strict=True)
    intervals: list[NameInterval] = []
    events: list[SymbolBoundary] = []
    problems: list[str] = []
    lines: dict[tuple[object, ...], int] = {}
    try:
        header = _header(next(rows, []), name)
        is_of_intervals = "from" in header
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            row = _Row(cells, header, f"{name}:{rows.line_num}", canonical)
            try:
                if is_of_intervals:
                    intervals.append(_interval(row, name))
                else:
                    events.append(event := _event(row, name))
                    change = (event.day, event.type, event.symbol, event.successor)
                    if (line := lines.setdefault(change, rows.line_num)) != rows.line_num:
                        raise QueryError(f"this row repeats line {line}")
            except DataError as error:
                problems.append(f"line {rows.line_num}: {error.args[0]}")
    except csv.Error as error:
        problems.append(f"line {rows.line_num}: {error}")
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        listed = "; ".join(problems[:_MOST_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
        raise QueryError(f"{name} cannot be imported: {listed}", hint="nothing was imported")
    if not intervals and not events:
        raise QueryError(f"{name} has no rows", hint="nothing was imported")
    return intervals, events


def _header(cells: list[str], name: str) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    for needed in (_INTERVALS, _BOUNDARIES):
        if {*needed} <= {*header} <= {*needed} | _MORE and len(set(header)) == len(header):
            return header
    raise QueryError(
        f"{name} has unexpected columns: {', '.join(header)!r:.200}",
        hint=f"accepted columns: {','.join(_INTERVALS)} or {','.join(_BOUNDARIES)}, and source",
    )


class _Row:
    """One line's cells by column; reading an invalid cell raises an error with the reason."""

    def __init__(
        self, cells: list[str], header: list[str], location: str, canonical: Callable[[str], str]
    ) -> None:
        if len(cells) != len(header):
            self._problem = f"the row has {len(cells)} cells, but the header has {len(header)}"
        else:
            self._problem = ""
        self._cells = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        self._location, self._canonical = location, canonical

    def text(self, column: str, *, needed: bool = True) -> str:
        """Return a cell as a string; raise QueryError if it is missing, too long or unprintable."""
        if self._problem:
            raise QueryError(self._problem)
        value = self._cells.get(column, "")
        if needed and not value:
            raise QueryError(f"{column} is empty")
        if len(value) > _LONGEST or not value.isprintable():
            raise QueryError(
                f"{column} is not a string of at most {_LONGEST} characters: {value!r:.40}"
            )
        return value

    def symbol(self, column: str) -> str:
        """Return a symbol in its canonical spelling."""
        return self._canonical(self.text(column))

    def day(self, column: str, *, needed: bool = True) -> date | None:
        """Return a date, which must have the form ``YYYY-MM-DD``."""
        value = self.text(column, needed=needed)
        if not value:
            return None
        try:
            day = date.fromisoformat(value)
        except ValueError:
            day = None
        if day is None or day.isoformat() != value:
            raise QueryError(f"{column} is not a date: {value!r:.40}; use YYYY-MM-DD")
        return day

    def source(self) -> str:
        """Return the source of the row."""
        return self.text("source", needed=False) or self._location


def _interval(row: _Row, name: str) -> NameInterval:
    start, end = row.day("from", needed=False), row.day("to", needed=False)
    if start is not None and end is not None and start >= end:
        raise QueryError(f"`to` ({end}) is not after `from` ({start})")
    symbol, instrument = row.symbol("symbol"), row.text("instrument")
    return NameInterval(symbol, instrument, start, end, row.source(), name)


def _event(row: _Row, name: str) -> SymbolBoundary:
    day, change_type, symbol = row.day("date"), row.text("type").lower(), row.symbol("symbol")
    assert day is not None  # a required cell
    if change_type not in _TYPES:
        raise QueryError(f"unknown type {change_type!r:.40}; use one of {', '.join(_TYPES)}")
    if (change_type == "delisting") == bool(row.text("successor", needed=False)):
        word = "must not have" if change_type == "delisting" else "must have"
        raise QueryError(f"a {change_type} {word} a successor")
    successor = "" if change_type == "delisting" else row.symbol("successor")
    if successor == symbol:
        raise QueryError(f"the successor of {symbol} is the same symbol")
    instrument = row.text("instrument", needed=False)
    return SymbolBoundary(day, change_type, symbol, successor, row.source(), instrument, name)
