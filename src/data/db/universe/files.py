"""Membership files: intervals, change logs or plain lists, as CSV or as vendors' JSON. Pure.

The columns determine the kind of file; their order and case do not matter. Other columns are
skipped and reported. A file with dates in such a column is rejected, because it would be mistaken
for a list without dates. The kinds are:

- ``symbol,from,to``: intervals. ``to`` is the first day without membership, or empty if the
  membership continues. :data:`_ALIASES` lists other names for these columns; together with
  ``symbol``, ``added`` and ``removed`` are also accepted.
- ``date,added,removed``: a change log, effective from ``date``; a cell may have several symbols.
- ``date,dateAdded,symbol,addedSecurity,removedTicker``: a vendor's change log. ``dateAdded`` is
  the first member day, if it differs from ``date``.
- ``symbol``: a list without dates.

Dates are written ``2025-07-08``, ``2025-7-8`` or ``July 9, 2025``; ambiguous forms are rejected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from ...core.model.display.texts import counted
from ...core.model.words.printable import printable
from ...errors import QueryError, UniverseError
from ..csv_rows import Row, column_name, csv_rows, read_day

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
_MOST_DIFFERENT = 0.05
_MOST_NAMED, _MOST_NAME = 5, 60
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

Canonical = Callable[[str], str]


class Interval(NamedTuple):
    """One period of a symbol's membership in a universe.

    Attributes:
        symbol: Symbol as its source writes it.
        start: First session date of the membership; None if it began before the source's first
            entry.
        end: First session date after the membership; None if it continues.
    """

    symbol: str
    start: date | None
    end: date | None = None


class Change(NamedTuple):
    """One entry in a change log: on ``day``, ``symbol`` becomes a member or ceases to be one."""

    day: date
    symbol: str
    is_added: bool
    line: int = 0


@dataclass(frozen=True)
class MemberFile:
    """The content of a membership file; exactly one of the first three attributes is not None.

    Attributes:
        intervals: Membership intervals, disjoint for each symbol, in the order of the file.
        changes: Entries in a change log.
        symbols: Symbols in a list without dates.
        passed_over: Names of the skipped columns.
    """

    intervals: tuple[Interval, ...] | None = None
    changes: tuple[Change, ...] | None = None
    symbols: tuple[str, ...] | None = None
    passed_over: tuple[str, ...] = ()


class Listing(NamedTuple):
    """The current members of a universe, according to its source.

    Attributes:
        symbols: Today's members, if the source has no dates; otherwise None.
        intervals: All memberships, if the source has dates.
        known_from: First session date from which the intervals are certain; None without dates.
        notes: Remarks, one sentence each.
    """

    symbols: tuple[str, ...] | None
    intervals: tuple[Interval, ...] = ()
    known_from: date | None = None
    notes: tuple[str, ...] = ()


def read_file(data: bytes, title: str, canonical: Canonical) -> MemberFile:
    """Read a membership file; if any line is invalid, the whole file is rejected.

    Args:
        data: Content of the file, UTF-8.
        title: Name of the file, for errors.
        canonical: Function that returns the spelling of a symbol, or raises ``QueryError``.

    Raises:
        UniverseError: A line is invalid or contradicts another (the error's ``line`` is its
            number), or a skipped column contains dates.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise _error(title, data.count(b"\n", 0, exc.start) + 1, "not UTF-8 text") from exc
    is_json = text.lstrip()[:1] in ("[", "{")
    rows = list(_json_rows(text, title) if is_json else csv_rows(text, partial(_error, title)))
    if not rows:
        raise UniverseError(f"{title} has no entries", hint=f"use the columns {_SHAPES}")
    names = dict.fromkeys(name for _, row in rows for name in row)
    is_vendors = "removedticker" in names and bool({"date", "dateadded"} & names.keys())
    columns = {name: name for name in names} if is_vendors else _renamed(title, names)
    rows = [(n, {columns[name]: row.get(name, "") for name in names}) for n, row in rows]
    known = {*rows[0][1]}
    reader = _Reader(title, canonical)
    if is_vendors:
        passed_over = _skipped_columns(title, rows, _VENDORS_LOG)
        return MemberFile(None, reader.changes(map(_from_vendor, rows)), None, passed_over)
    if "date" in known and known & {"added", "removed"}:
        if missing := {"added", "removed"} - known:
            what, hint = f"has no column {min(missing)}", f"use the columns {_SHAPES}"
            raise UniverseError(f"{title} {what}", line=1, hint=hint)
        passed_over = _skipped_columns(title, rows, {"date", "added", "removed"})
        return MemberFile(None, reader.changes(rows), None, passed_over)
    if "symbol" in known and known & {"from", "to"}:
        if missing := {"from", "to"} - known:
            has, lacks = ("left", "joined") if missing == {"from"} else ("joined", "left")
            raise UniverseError(
                f"{title} has dates on which members {has} but none on which any {lacks}, so only "
                "survivors can be known from it",
                line=1,
                hint="add the other column, or remove the dates to import the file as today's list",
            )
        passed_over = _skipped_columns(title, rows, {"symbol", "from", "to"})
        return MemberFile(reader.intervals(rows), None, None, passed_over)
    if "symbol" in known and "date" not in known:
        return MemberFile(
            None, None, reader.symbols(rows), _skipped_columns(title, rows, {"symbol"})
        )
    unexpected = ", ".join(sorted(known))
    raise UniverseError(
        f"{title} has unexpected columns: {unexpected:.200}", line=1, hint=f"use {_SHAPES}"
    )


def listing(
    content: MemberFile, title: str, today: date, members: Collection[str] | None = None
) -> Listing:
    """Return the memberships that a file describes.

    Args:
        content: Content of the file.
        title: Name of the file, for errors.
        today: Last day whose changes are used.
        members: Today's members, to which a change log is applied backwards.

    Raises:
        UniverseError: A change log has no list of today's members, or does not belong to it; or
            another file has one.
    """
    skipped = [printable(name[:_MOST_NAME]) for name in content.passed_over]
    notes = (f"columns that were not read: {some(skipped)}",) if skipped else ()
    if content.changes is None and members is not None:
        raise UniverseError(f"{title} is not a change log, so it cannot be used with today's list")
    if content.intervals is not None:
        first = min(row.start for row in content.intervals if row.start is not None)
        return Listing(None, content.intervals, first, notes)
    if content.changes is None:
        return Listing(content.symbols, notes=notes)
    if members is None:
        raise UniverseError(
            f"{title} is a change log, which can only be read together with today's list",
            hint="add that list with --today FILE",
        )
    walked = walk_back(members, content.changes, today)
    return walked._replace(notes=(*notes, *walked.notes))


def walk_back(members: Collection[str], changes: Iterable[Change], today: date) -> Listing:
    """Apply a change log backwards to today's members, and return the resulting memberships.

    Duplicate entries are used only once; a symbol that is added and removed on the same day does
    not change. Entries after ``today`` are not used yet. An impossible entry is skipped and noted,
    and ``known_from`` is then the day of the symbol's next entry, or ``today``.

    Raises:
        UniverseError: The log has no entry up to ``today``, or its members today differ from the
            list by more than 5 %.
    """
    unique = {(change.day, change.symbol, change.is_added): change for change in changes}
    past = sorted((c for c in unique.values() if c.day <= today), key=lambda c: (c.day, c.symbol))
    if not past:
        raise UniverseError(f"the change log has no entries up to {today}")
    last = {change.symbol: change.is_added for change in past}
    wrong = sorted(symbol for symbol, is_in in last.items() if is_in != (symbol in members))
    if len(wrong) > _MOST_DIFFERENT * len(members):
        raise UniverseError(
            f"the members according to the file differ from today's list of {len(members):,} in "
            f"{counted(len(wrong), 'symbol')}, more than {_MOST_DIFFERENT:.0%}: {some(wrong)}",
            hint="the file is about a different list, or lacks some changes; nothing was imported",
        )
    ends: dict[str, date | None] = dict.fromkeys(members)
    next_days: dict[str, date] = {}
    intervals, impossible, known_from = [], [], past[0].day
    for day, symbol, is_added, line in reversed(past):
        if (day, symbol, not is_added) in unique:
            continue
        if is_added and symbol in ends:
            intervals.append(Interval(symbol, day, ends.pop(symbol)))
        elif not is_added and symbol not in ends:
            ends[symbol] = day
        else:
            known_from = max(known_from, next_days.get(symbol, today))
            what = "added, but is not a member" if is_added else "removed, but is a member"
            impossible.append(f"line {line}: {symbol} is {what} after {day}")
        next_days[symbol] = day
    intervals += [Interval(symbol, None, end) for symbol, end in ends.items()]
    later = len(unique) - len(past)
    unused = f"{counted(later, 'entry')} after {today} not used yet: refresh then with a newer list"
    notes = (*impossible[::-1], *[unused] * bool(later))
    return Listing(None, tuple(intervals), known_from, notes)


def some(texts: Collection[str]) -> str:
    """Join the first few strings, and append the number of the others."""
    rest = len(texts) - _MOST_NAMED
    return ", ".join([*texts][:_MOST_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")


def _from_vendor(row: Row) -> Row:
    """Return a row of a vendor's log as one of a change log.

    A row with only a removal has the removed symbol in both columns, and no added security.
    """
    line, values = row
    removed, symbol = values.get("removedticker", ""), values.get("symbol", "")
    is_added = bool(values["addedsecurity"]) if "addedsecurity" in values else symbol != removed
    day = values.get("dateadded") or values.get("date", "")
    return line, {"date": day, "added": symbol if is_added else "", "removed": removed}


def _renamed(title: str, names: Iterable[str]) -> dict[str, str]:
    """Map each column name in a file to the name that is used here."""
    aliases = dict(_ALIASES)
    if "date" not in names:
        aliases |= {"added": "from", "add": "from", "removed": "to", "remove": "to"}
    columns = {name: aliases.get(name, name) for name in names}
    if len({*columns.values()}) < len(columns):
        raise _error(title, 1, "two columns have the same name")
    return columns


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


class _Reader:
    """Reads the rows of one membership file."""

    def __init__(self, title: str, canonical: Canonical) -> None:
        self._title, self._canonical = title, canonical

    def intervals(self, rows: Iterable[Row]) -> tuple[Interval, ...]:
        """Return the membership intervals, one for each row."""
        found = []
        for line, row in rows:
            symbol, start = self._symbol(line, row["symbol"]), self._day(line, row["from"])
            end = self._day(line, row["to"]) if row["to"] else None
            if end is not None and end <= start:
                what = f"{symbol} ends on {end}, but begins on {start}"
                hint = "`to` must be the first day after the membership"
                raise _error(self._title, line, what, hint)
            found.append((symbol, start, end or date.max, line))
        for (symbol, _, end, line), (other, start, _, later) in pairwise(sorted(found)):
            if symbol == other and start < end:
                first, second = sorted((line, later))
                what = f"{symbol} overlaps its interval in line {first}"
                raise _error(self._title, second, what)
        return tuple(Interval(s, a, None if b == date.max else b) for s, a, b, _ in found)

    def changes(self, rows: Iterable[Row]) -> tuple[Change, ...]:
        """Return the changes in the columns ``added`` and ``removed``."""
        return tuple(
            Change(day, self._symbol(line, text), column == "added", line)
            for line, row in rows
            for day in [self._day(line, row["date"])]
            for column in ("added", "removed")
            for text in filter(None, _SEPARATORS.split(row[column]))
        )

    def symbols(self, rows: Iterable[Row]) -> tuple[str, ...]:
        """Return the symbols, one for each row."""
        lines: dict[str, int] = {}
        for line, row in rows:
            symbol = self._symbol(line, row["symbol"])
            if lines.setdefault(symbol, line) != line:
                what = f"{symbol} is already on line {lines[symbol]}"
                raise _error(self._title, line, what)
        return tuple(lines)

    def _symbol(self, line: int, text: str) -> str:
        try:
            return self._canonical(text)
        except QueryError as exc:
            raise _error(self._title, line, str(exc.args[0])) from exc

    def _day(self, line: int, text: str) -> date:
        if (day := read_day(text)) is None:
            what = f"invalid date {text!r:.80}" if text else "the date is missing"
            raise _error(self._title, line, what, "use a form such as 2025-07-08 or July 9, 2025")
        return day


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
        names = ((column_name(str(key)), value) for key, value in entry.items())
        yield (
            number,
            {name: str(value).strip() if value is not None else "" for name, value in names},
        )


def _error(title: str, line: int, what: str, hint: str = "nothing was imported") -> UniverseError:
    return UniverseError(f"{title}, line {line}: {what}", line=line, hint=hint)
