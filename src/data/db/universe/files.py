"""Membership files: intervals, change logs or rosters, as CSV or as vendors' JSON. Pure.

The columns determine the kind of file; their order and case do not matter. Other columns are
skipped and reported. A file with dates in such a column is rejected, because it would be mistaken
for a list without dates. The kinds are:

- ``symbol,from,to`` (and ``filing``): intervals. ``to`` is the first day without membership, or
  empty if the membership continues. :data:`_ALIASES` lists other names for these columns; together
  with ``symbol``, ``added`` and ``removed`` are also accepted.
- ``date,added,removed``: a change log, effective from ``date``; a cell may have several symbols.
- ``date,dateAdded,symbol,addedSecurity,removedTicker``: a vendor's change log. ``dateAdded`` is
  the first member day, if it differs from ``date``.
- ``symbol``: a roster.

Dates are written ``2025-07-08``, ``2025-7-8`` or ``July 9, 2025``; ambiguous forms are rejected.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import zip_longest
from typing import Any

from ...errors import QueryError, UniverseError
from .membership import Interval, MembershipChange

_ISO = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})")
_WORDS = re.compile(r"([A-Za-z]{3,9})\.? ([0-9]{1,2}), ?([0-9]{4})")
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_SEPARATORS = re.compile(r"[,;\s]+")
_SHAPES = "`symbol,from,to`, `date,added,removed` or `symbol`"
# Other column names that real files use; blanks and hyphens count as ``_``.
_FROM, _TO = (
    "start start_date since entry entry_date entered joined join_date date_from from_date valid_from "
    "date_added date_first_added added_on dateadded".split(),
    "end end_date until exit exit_date exited left leave_date date_to to_date valid_to date_removed "
    "removed_on".split(),
)
_ALIASES = {
    "ticker": "symbol",
    "add": "added",
    "remove": "removed",
    **dict.fromkeys(_FROM, "from"),
    **dict.fromkeys(_TO, "to"),
}
_VENDORS_LOG = {"date", "dateadded", "symbol", "addedsecurity", "removedticker", "removedsecurity"}
# Text that looks like a date to a person, with notes after it, even in forms that are rejected.
_MONTH = r"(?:jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[^\W\d_]{0,9}\.?"
_DAYLIKE = re.compile(
    r"(?:[^\W\d_]{2,9}\.?, )?(?:"
    r"[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}"
    r"|(?:19|20)[0-9]{2}[-/](?:0[1-9]|1[0-2])"
    r"|(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:19|20)[0-9]{2}年[0-9]{1,2}月(?:[0-9]{1,2}日)?"
    rf"|[0-9]{{1,2}}(?:st|nd|rd|th)?[-/. ]{{0,3}}{_MONTH}[-/., ]{{0,3}}[0-9]{{2,4}}"
    r"|[0-9]{1,2}\.? [^\W\d_]{3,9}\.?,? [0-9]{4}"
    rf"|(?:{_MONTH}|[^\W\d_]{{3,9}}\.?) [0-9]{{1,2}}(?:st|nd|rd|th)?,? [0-9]{{4}}"
    rf"|(?:{_MONTH}|q[1-4])[-/., ]{{0,3}}(?:19|20)[0-9]{{2}}"
    r")(?:[T ].*|\s*[\[(*†].*)?",
    re.IGNORECASE,
)

# Numbers that represent dates from 1950 to 2079 in spreadsheets and programs. Other numbers look
# the same, so a column's name must refer to time, except for whole days in seconds or milliseconds.
_COUNTED = re.compile(r"([0-9]{5,13})(?:\.[0-9]+)?")
_SERIALS, _SECONDS = range(18_264, 65_745), range(631_152_000, 3_471_292_800)
_NAME_OF_TIME = re.compile(
    r"date|time|stamp|epoch|added|removed|joined|entered|exited|listed|dropped|deleted|since|until"
    r"|inclusion|exclusion|effective"
    r"|(?:^|_)(?:from|to|day|when|entry|exit|join|left|leave|start|end|begin|add|remove|ts|asof)(?:_|$)"
    r"|^(?:in|out)$"
)
# Words that replace the end date of members that have not left.
_NO_DAY = frozenset(
    "- -- \u2013 \u2014 ? na n/a nan nat nil none null tbd "
    "active current now ongoing open present today".split()
)
_FIRST_SERIAL = date(1899, 12, 30)
_EPOCH = date(1970, 1, 1)

Row = tuple[int, Mapping[str, str]]
Canonical = Callable[[str], str]


@dataclass(frozen=True)
class IndexFile:
    """The content of a membership file; exactly one of the first three attributes is not None.

    Attributes:
        intervals: Membership intervals, disjoint for each symbol, in the order of the file.
        changes: Entries in a change log.
        symbols: Symbols on a roster (a list without dates).
        passed_over: Names of the skipped columns.
    """

    intervals: tuple[Interval, ...] | None = None
    changes: tuple[MembershipChange, ...] | None = None
    symbols: tuple[str, ...] | None = None
    passed_over: tuple[str, ...] = ()


def read_listed(data: bytes, title: str, canonical: Canonical) -> IndexFile:
    """Read a membership file; if any line is invalid, the whole file is rejected.

    Args:
        data: Content of the file, UTF-8.
        title: Name of the file, for errors.
        canonical: Function that returns the canonical spelling of a symbol, or raises
            ``QueryError``.

    Raises:
        UniverseError: A line is invalid or contradicts another (the error's ``line`` is its
            number), or a skipped column contains dates.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise _error(title, line, "not UTF-8 text") from exc
    rows = list(
        _json_rows(text, title)
        if text.lstrip()[:1] in "[{" and text.strip()
        else _csv_rows(text, title)
    )
    names = dict.fromkeys(name for _, row in rows for name in row)
    rows = [(line, {name: row.get(name, "") for name in names}) for line, row in rows]
    if not rows:
        raise UniverseError(f"{title} has no entries", hint=f"use the columns {_SHAPES}")
    reader = _Reader(title, canonical)
    if {"date", "removedticker"} <= set(rows[0][1]) or {"dateadded", "removedticker"} <= set(
        rows[0][1]
    ):
        passed_over = _skipped_columns(title, rows, {*_VENDORS_LOG})
        return IndexFile(changes=reader.vendor_changes(rows), passed_over=passed_over)
    rows = [(line, _rename_columns(title, row)) for line, row in rows]
    columns = set(rows[0][1])
    if "date" in columns and columns & {"added", "removed"}:
        if not {"added", "removed"} <= columns:
            (missing,) = {"added", "removed"} - columns
            raise UniverseError(
                f"{title} has no column {missing}", line=1, hint=f"use the columns {_SHAPES}"
            )
        passed_over = _skipped_columns(title, rows, {"date", "added", "removed"})
        return IndexFile(changes=reader.changes(rows), passed_over=passed_over)
    if "symbol" in columns and columns & {"from", "to"}:
        if not {"from", "to"} <= columns:
            what = (
                "joined (`from`) but none on which any left"
                if "from" in columns
                else "left (`to`) but none on which any joined"
            )
            raise UniverseError(
                (
                    f"{title} has dates on which members {what}, so only survivors can be known from "
                    "it"
                ),
                line=1,
                hint="add the other column, or remove the dates to import the file as today's list",
            )
        passed_over = _skipped_columns(title, rows, {"symbol", "from", "to", "filing"})
        return IndexFile(intervals=reader.intervals(rows), passed_over=passed_over)
    if "symbol" in columns and "date" not in columns:
        passed_over = _skipped_columns(title, rows, {"symbol"})
        return IndexFile(symbols=reader.symbols(rows), passed_over=passed_over)
    unexpected = ", ".join(sorted(columns))
    raise UniverseError(
        f"{title} has unexpected columns: {unexpected:.200}", line=1, hint=f"use {_SHAPES}"
    )


def _rename_columns(title: str, row: Mapping[str, str]) -> Mapping[str, str]:
    """Return a row with its columns renamed to the names used here."""
    aliases = dict(_ALIASES)
    if "date" not in row:
        aliases |= {"added": "from", "add": "from", "removed": "to", "remove": "to"}
    by_field = {aliases.get(name, name): value for name, value in row.items()}
    if len(by_field) < len(row):
        raise _error(title, 1, "two columns have the same name")
    return by_field


def _skipped_columns(title: str, rows: list[Row], read: set[str]) -> tuple[str, ...]:
    """Return the names of the skipped columns.

    Raises:
        UniverseError: At least half of the values in such a column (not counting words that stand
            for a date) are dates.
    """
    names = [name for name in rows[0][1] if name not in read]
    for name in names:
        cells = [row[name] for _, row in rows if row[name]]
        values = [cell for cell in cells if cell.lower() not in _NO_DAY]
        # In a nested JSON value, a date may be anywhere.
        is_of_time = bool(_NAME_OF_TIME.search(name))
        days = sum(
            bool(_DAYLIKE.search(value) if value[0] in "[{" else _DAYLIKE.fullmatch(value))
            or _counted_day(value, is_of_time) is not None
            for value in values
        )
        if values and 2 * days >= len(values):
            raise UniverseError(
                f"{title} has dates in column {name!r:.80}, but that column is not read",
                line=1,
                hint=f"give the column the name of its meaning ({_SHAPES}), or remove it",
            )
    return tuple(names)


def _counted_day(text: str, is_of_time: bool) -> date | None:
    """Return the date that a number represents, or None.

    Excel stores dates as numbers of days, other programs as seconds or milliseconds since 1970.

    Args:
        text: Text of the number.
        is_of_time: Whether the column's name suggests a time. If not, only seconds or milliseconds
            that amount to whole days count as a date.
    """
    match = _COUNTED.fullmatch(text)
    if match is None:
        return None
    number = int(match[1])
    if number in _SERIALS:
        return _FIRST_SERIAL + timedelta(days=number) if is_of_time else None
    for scale in (1, 1000):
        if number // scale in _SECONDS and (is_of_time or number % (86_400 * scale) == 0):
            return _EPOCH + timedelta(days=number // (86_400 * scale))
    return None


def read_day(text: str) -> date | None:
    """Parse a date such as ``2025-7-8`` or ``July 9, 2025``; return None for any other string."""
    if match := _ISO.fullmatch(text):
        year, month, day = map(int, match.groups())
    elif match := _WORDS.fullmatch(text):
        word = match[1].lower()
        months = [
            month for month, name in enumerate(_MONTHS, 1) if word in (name, name[:3], name[:4])
        ]
        year, month, day = int(match[3]), months[0] if months else 0, int(match[2])
    else:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


@dataclass(frozen=True)
class _Reader:
    """Reads the rows of one membership file."""

    title: str
    canonical: Canonical

    def intervals(self, rows: list[Row]) -> tuple[Interval, ...]:
        """Return the membership intervals, one for each row."""
        lines_of: dict[str, list[tuple[int, Interval]]] = {}
        intervals = []
        for line, row in rows:
            symbol = self._symbol(line, row.get("symbol", ""))
            start, end = self._day(line, row.get("from", "")), None
            if row.get("to"):
                end = self._day(line, row["to"])
                if end <= start:
                    what = f"ends on {end}, but begins on {start}"
                    raise _error(
                        self.title,
                        line,
                        f"{symbol} {what}",
                        "`to` must be the first day after the membership",
                    )
            filing = f", filing {row['filing']}" if row.get("filing") else ""
            interval = Interval(symbol, start, end, f"line {line}{filing}")
            for other_line, other in lines_of.setdefault(symbol, []):
                if _overlap(interval, other):
                    raise _error(
                        self.title, line, f"{symbol} overlaps its interval in line {other_line}"
                    )
            lines_of[symbol].append((line, interval))
            intervals.append(interval)
        return tuple(intervals)

    def changes(self, rows: list[Row]) -> tuple[MembershipChange, ...]:
        """Return the changes in the columns ``added`` and ``removed``."""
        return tuple(
            MembershipChange(day, self._symbol(line, text), column == "added", f"line {line}")
            for line, row in rows
            for day in [self._day(line, row.get("date", ""))]
            for column in ("added", "removed")
            for text in filter(None, _SEPARATORS.split(row.get(column, "")))
        )

    def vendor_changes(self, rows: list[Row]) -> tuple[MembershipChange, ...]:
        """Return the changes in a vendor's file, with at most one addition and one removal per row."""
        changes = []
        for line, row in rows:
            day = self._day(line, row.get("dateadded") or row.get("date", ""))
            removed, symbol = row.get("removedticker", ""), row.get("symbol", "")
            # A row with only a removal has the removed symbol in both columns, and no added
            # security.
            is_added = bool(row["addedsecurity"]) if "addedsecurity" in row else symbol != removed
            if is_added:
                changes.append(
                    MembershipChange(day, self._symbol(line, symbol), True, f"line {line}")
                )
            if removed:
                changes.append(
                    MembershipChange(day, self._symbol(line, removed), False, f"line {line}")
                )
        return tuple(changes)

    def symbols(self, rows: list[Row]) -> tuple[str, ...]:
        """Return the symbols, one for each row."""
        texts = [(line, self._symbol(line, row.get("symbol", ""))) for line, row in rows]
        lines: dict[str, int] = {}
        for line, symbol in texts:
            if symbol in lines:
                raise _error(self.title, line, f"{symbol} is already on line {lines[symbol]}")
            lines[symbol] = line
        return tuple(lines)

    def _symbol(self, line: int, text: str) -> str:
        try:
            return self.canonical(text)
        except QueryError as exc:
            raise _error(self.title, line, str(exc.args[0])) from exc

    def _day(self, line: int, text: str) -> date:
        day = read_day(text)
        if day is None:
            counted = _counted_day(text, is_of_time=True)
            what = f"invalid date {text!r:.80}" if text else "the date is missing"
            if counted is not None:
                what += f" (as a number, it counts to {counted})"
            raise _error(self.title, line, what, "use a form such as 2025-07-08 or July 9, 2025")
        return day


def _overlap(interval: Interval, other: Interval) -> bool:
    first, second = sorted((interval, other), key=lambda row: row.start or date.min)
    return first.end is None or (second.start or date.min) < first.end


def _csv_rows(text: str, title: str) -> Iterator[Row]:
    """Yield each line's number and its values by column name."""
    lines = text.removesuffix("\n").split("\n")
    reader = csv.reader((f"{line}\n" for line in lines), strict=True)
    header: list[str] = []
    try:
        for cells in reader:
            values = [cell.strip() for cell in cells]
            if not any(values):
                continue
            if not header:
                header = [_normal_name(value) for value in values]
                if len(set(header)) < len(header):
                    raise _error(title, reader.line_num, "two columns have the same name")
                continue
            if len(values) > len(header):
                what = f"has too many cells: {len(values)}; the header names {len(header)} columns"
                raise _error(title, reader.line_num, what)
            yield reader.line_num, dict(zip_longest(header, values, fillvalue=""))
    except csv.Error as exc:
        raise _error(title, reader.line_num, f"not valid CSV: {exc}") from exc


def _json_rows(text: str, title: str) -> Iterator[Row]:
    """Yield each entry's number, from 1, and its values by name; a plain string is a symbol."""
    try:
        entries: Any = json.loads(text)
    except json.JSONDecodeError as exc:
        raise _error(title, exc.lineno, f"not valid JSON: {exc.msg}") from exc
    except RecursionError as exc:
        raise UniverseError(f"the JSON in {title} is nested too deeply") from exc
    if not isinstance(entries, list):
        raise UniverseError(
            f"{title} does not contain a list", hint="use a list of objects or of symbols"
        )
    for number, entry in enumerate(entries, 1):
        if isinstance(entry, str):
            entry = {"symbol": entry}
        if not isinstance(entry, dict):
            raise _error(title, number, "is neither an object nor a string")
        names = ((_normal_name(str(key)), value) for key, value in entry.items())
        yield (
            number,
            {name: str(value).strip() if value is not None else "" for name, value in names},
        )


def _normal_name(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def _error(title: str, line: int, what: str, hint: str = "nothing was imported") -> UniverseError:
    return UniverseError(f"{title}, line {line}: {what}", line=line, hint=hint)
