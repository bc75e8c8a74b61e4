"""The instrument that a symbol means on each day, according to a user's file. Pure.

A name is a half-open interval of session dates; None means an unknown start or an open end. A file
has intervals, ``symbol,instrument,from,to`` (and perhaps ``ending`` and ``successor``), or changes,
``date,type,symbol,successor`` (and perhaps ``instrument``); both may have ``source``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from ...core.model.identity.symbol_changes import SymbolChange
from ...errors import DataError, QueryError
from ..csv_rows import csv_rows, read_day

_INTERVALS = ("symbol", "instrument", "from", "to")
_CHANGES = ("date", "type", "symbol", "successor")
_TYPES = ("rename", "merger", "spinoff", "delisting")
_MORE = {"source", "instrument", "ending", "successor"}
_LONGEST = 200


class SymbolName(NamedTuple):
    """A range of dates on which a symbol means one instrument.

    Attributes:
        symbol, instrument: Symbol, and the instrument that it means.
        start, end: First day of the interval, and first day after it.
        source: Source of the beginning or, if the start is unknown, of the end.
        ending: ``merger`` or ``delisting`` if the instrument ended then; otherwise empty.
        successor: Symbol of the company that a merger leaves.
        parent: Symbol of the company that the instrument was spun off from.
        end_source: Source of the end.
    """

    symbol: str
    instrument: str
    start: date | None
    end: date | None
    source: str
    ending: str = ""
    successor: str = ""
    parent: str = ""
    end_source: str = ""

    def holds(self, day: date) -> bool:
        """Return whether the interval contains ``day``."""
        return (self.start is None or self.start <= day) and (self.end is None or day < self.end)

    def __str__(self) -> str:
        days = f"from {self.start or 'an unknown day'} to {self.end or 'now'}"
        return f"{self.symbol} as {self.instrument} {days} ({self.source})"


@dataclass(frozen=True)
class Identity:
    """The meaning of a symbol on a day.

    Attributes:
        symbol, on: Symbol and day.
        instrument: Instrument that the symbol means, or the symbol itself if nothing is recorded.
        start, end: Half-open interval that contains the day; None means an unknown start or an open
            end.
        source: Source of this information; empty if nothing is recorded.
        current: Latest symbol for the instrument, under which vendors provide its bars.
        names: All recorded intervals of the instrument, by date.
    """

    symbol: str
    on: date
    instrument: str
    start: date | None = None
    end: date | None = None
    source: str = ""
    current: str = ""
    names: tuple[SymbolName, ...] = ()


class _Change(NamedTuple):
    """A row of a file of changes."""

    day: date
    type: str
    symbol: str
    successor: str
    source: str
    instrument: str = ""

    def __str__(self) -> str:
        to = f" to {self.successor}" if self.successor else ""
        return f"{self.type} of {self.symbol}{to} on {self.day} ({self.source})"


# --- files -----------------------------------------------------------------------------------


def read_names(
    text: str, title: str, canonical: Callable[[str], str], used: Collection[str] = ()
) -> list[SymbolName]:
    """Parse a file of dated intervals or changes, and return its intervals.

    A rename ends the old symbol's interval and begins one for the new symbol, with the same
    instrument. A merger or a delisting ends an interval, and a spin-off begins one. An instrument
    that the file does not name gets the name of its last symbol.

    Args:
        text: Content of the file.
        title: Name of the file. A row that does not name a source gets this name and its line number
            as the source.
        canonical: Function that returns the canonical spelling of a symbol, or raises
            :class:`DataError`.
        used: Names of instruments in other files.

    Raises:
        QueryError: A column is missing or unknown, a row is invalid, or rows contradict each other;
            the message names the line or the rows.
    """
    rows = list(csv_rows(text, partial(_error, title)))
    if not rows:
        raise QueryError(f"{title} has no rows", hint="nothing was imported")
    columns = {*rows[0][1]}
    if not any({*needed} <= columns <= {*needed} | _MORE for needed in (_INTERVALS, _CHANGES)):
        raise QueryError(
            f"{title} has unexpected columns: {', '.join(rows[0][1])!r:.200}",
            hint=f"accepted columns: {','.join(_INTERVALS)} or {','.join(_CHANGES)}, and source",
        )
    is_of_intervals, found = "from" in columns, list[Any]()
    for line, row in rows:
        cells, place = {**dict.fromkeys(_MORE, ""), **row}, f"{title}:{line}"
        try:
            found.append((_interval if is_of_intervals else _change)(cells, place, canonical))
        except DataError as exc:
            raise _error(title, line, str(exc.args[0])) from exc
    names: list[SymbolName] = (
        found if is_of_intervals else _labeled(_Applied(found).instruments, used)
    )
    check_overlaps(names)
    return names


def check_overlaps(names: Iterable[SymbolName]) -> None:
    """Check that no symbol means two things on any day.

    Raises:
        QueryError: Two intervals overlap; the message names both.
    """
    for old, new in pairwise(by_date(names, symbol_first=True)):
        is_later = new.start is not None and old.end is not None and old.end <= new.start
        if old.symbol == new.symbol and not is_later:
            raise _conflict(f"{new} overlaps {old}")


def by_date(names: Iterable[SymbolName], *, symbol_first: bool = False) -> list[SymbolName]:
    """Sort intervals by date, with unknown starts first, or by symbol and then by date."""
    return sorted(
        names, key=lambda name: (name.symbol * symbol_first, name.start or date.min, name.symbol)
    )


def _error(title: str, line: int, what: str) -> QueryError:
    return QueryError(
        f"{title} cannot be imported: line {line}: {what}", hint="nothing was imported"
    )


def _conflict(text: str) -> QueryError:
    return QueryError(text, hint="correct the file and import it again; nothing was imported")


def _text(row: dict[str, str], column: str) -> str:
    value = row[column]
    if len(value) > _LONGEST or not value.isprintable():
        raise QueryError(
            f"{column} is not a string of at most {_LONGEST} characters: {value!r:.40}"
        )
    return value


def _needed(row: dict[str, str], column: str) -> str:
    if not (value := _text(row, column)):
        raise QueryError(f"{column} is empty")
    return value


def _day(row: dict[str, str], column: str) -> date:
    if (day := read_day(row[column])) is None:
        raise QueryError(f"{column} is not a date: {row[column]!r:.40}; use YYYY-MM-DD")
    return day


def _interval(row: dict[str, str], place: str, canonical: Callable[[str], str]) -> SymbolName:
    start = _day(row, "from") if row["from"] else None
    end = _day(row, "to") if row["to"] else None
    if start is not None and end is not None and start >= end:
        raise QueryError(f"`to` ({end}) is not after `from` ({start})")
    ending, successor = row["ending"].lower(), _text(row, "successor")
    if ending not in ("", "merger", "delisting") or (ending and end is None):
        raise QueryError(f"{ending!r:.40} is not the end of an interval; use merger or delisting")
    symbol, instrument = canonical(_needed(row, "symbol")), _needed(row, "instrument")
    source = _text(row, "source") or place
    successor = canonical(successor) if successor else ""
    return SymbolName(symbol, instrument, start, end, source, ending, successor, "", source)


def _change(row: dict[str, str], place: str, canonical: Callable[[str], str]) -> _Change:
    day, type_, symbol = _day(row, "date"), row["type"].lower(), canonical(_needed(row, "symbol"))
    if type_ not in _TYPES:
        raise QueryError(f"unknown type {type_!r:.40}; use one of {', '.join(_TYPES)}")
    successor = _text(row, "successor")
    if (type_ == "delisting") == bool(successor):
        word = "must not have" if successor else "must have"
        raise QueryError(f"a {type_} {word} a successor")
    successor = canonical(successor) if successor else ""
    if successor == symbol:
        raise QueryError(f"the successor of {symbol} is the same symbol")
    source = _text(row, "source") or place
    return _Change(day, type_, symbol, successor, source, _text(row, "instrument"))


class _Instrument:
    """The names of one instrument so far, and the name that the file gives to it."""

    def __init__(self, label: str = "") -> None:
        self.names: list[SymbolName] = []
        self.label = label


class _Applied:
    """Applies changes by date: first all changes of a day that end a name, then the others."""

    def __init__(self, changes: Iterable[_Change]) -> None:
        self.instruments: list[_Instrument] = []
        self._holder: dict[str, _Instrument] = {}  # of each symbol that is in use
        self._ended: dict[str, _Change] = {}  # the last end of each other symbol
        for _, group in groupby(sorted(changes), key=lambda change: change.day):
            same_day = list(group)
            ended = {change: self._end(change) for change in same_day if change.type != "spinoff"}
            for change in same_day:
                if change.type in ("rename", "spinoff"):
                    self._begin(change, ended.get(change) or self._new(change.instrument))

    def _new(self, label: str = "") -> _Instrument:
        self.instruments.append(_Instrument(label))
        return self.instruments[-1]

    def _end(self, change: _Change) -> _Instrument:
        """End the name of a symbol, and return its instrument."""
        instrument = self._holder.pop(change.symbol, None)
        if instrument is None:
            if other := self._ended.get(change.symbol):
                raise _conflict(f"the {change} ends a name that has already ended: {other}")
            instrument = self._new()
            instrument.names.append(SymbolName(change.symbol, "", None, None, change.source))
        label = change.instrument or instrument.label
        if instrument.label not in ("", label):
            raise _conflict(f"the {change} is for {label}, not for {instrument.label}")
        instrument.label, self._ended[change.symbol] = label, change
        name = instrument.names.pop()._replace(end=change.day, end_source=change.source)
        if change.type != "rename":
            name = name._replace(ending=change.type, successor=change.successor)
        instrument.names.append(name)
        return instrument

    def _begin(self, change: _Change, instrument: _Instrument) -> None:
        """Begin a name of an instrument."""
        if other := self._holder.get(change.successor):
            raise _conflict(f"the {change} conflicts with the period {other.names[-1]}")
        parent = change.symbol if change.type == "spinoff" else ""
        instrument.names.append(
            SymbolName(change.successor, "", change.day, None, change.source, parent=parent)
        )
        self._holder[change.successor] = instrument


def _labeled(every: Sequence[_Instrument], used: Collection[str]) -> list[SymbolName]:
    """Return all intervals; an instrument without a name gets that of its last symbol."""
    found, used = [], {*used, *(each.label for each in every)}
    # Instruments that still have the symbol get its name first.
    for instrument in sorted(every, key=lambda each: each.names[-1].end is not None):
        last = instrument.names[-1]
        label = instrument.label or last.symbol
        if not instrument.label and label in used:
            label = f"{last.symbol} until {last.end or last.start}"
        used.add(label)
        found += [name._replace(instrument=label) for name in instrument.names]
    return by_date(found)


# --- results for a query, and for the store of bars -----------------------------------------------


def identity_of(symbol: str, on: date, names: Sequence[SymbolName]) -> Identity:
    """Return the meaning of a symbol on a day.

    Args:
        symbol, on: Symbol and day.
        names: All intervals of the symbol and of its instruments.

    Raises:
        QueryError: The symbol has intervals, but none of them includes that day.
    """
    own = by_date(name for name in names if name.symbol == symbol)
    if not own:
        return Identity(symbol, on, symbol, current=symbol)
    valid = next((name for name in own if name.holds(on)), None)
    if valid is None:
        periods = "; ".join(map(str, own))
        raise QueryError(
            f"{symbol} does not refer to any instrument on {on}; recorded periods: {periods}",
            symbol=symbol,
        )
    _, instrument, start, end, source, *_ = valid
    same = tuple(by_date(name for name in names if name.instrument == instrument))
    last = max(same, key=lambda name: (name.end or date.max, name.start or date.min))
    return Identity(symbol, on, instrument, start, end, source, last.symbol, same)


def changes_of(names: Sequence[SymbolName]) -> dict[str, list[SymbolChange]]:
    """Return the dated changes of each symbol, in the form that the bar store uses.

    Two adjacent intervals of one instrument are a rename. An interval of a symbol that had ended
    before is a listing, unless a rename or a spin-off begins it. If an instrument has its former
    symbol again, all of its bars are listed under that symbol, so its absence from the symbol does
    not concern it.
    """
    starting = {(name.instrument, name.start): name for name in names if name.start is not None}
    changes: list[SymbolChange] = []
    for name in names:
        if name.end is not None:
            new = starting.get((name.instrument, name.end), name)
            facts: Any = name.symbol, name.successor, name.end_source
            if new.symbol != name.symbol:
                changes.append(
                    SymbolChange(name.end, "rename", name.symbol, new.symbol, new.source)
                )
            elif name.ending:
                changes.append(SymbolChange(name.end, name.ending, *facts))
        if name.start is not None and name.parent:
            facts = name.parent, name.symbol, name.source
            changes.append(SymbolChange(name.start, "spinoff", *facts))
    periods: dict[str, list[SymbolName]] = defaultdict(list)
    for name in by_date(names):
        periods[name.symbol].append(name)
    concerning: dict[str, list[SymbolChange]] = defaultdict(list)
    for change in changes:
        for symbol in {change.symbol, change.successor}:
            if change.concerns(symbol):
                concerning[symbol].append(change)
    found = {
        symbol: _own_changes(symbol, concerning[symbol], own) for symbol, own in periods.items()
    }
    return {symbol: own for symbol, own in found.items() if own}


def _own_changes(
    symbol: str, changes: list[SymbolChange], names: Sequence[SymbolName]
) -> list[SymbolChange]:
    begun = {change.ex_date for change in changes if change.begins(symbol)}
    changes = changes + [
        SymbolChange(name.start, "listing", symbol, source=name.source)
        for name in names[1:]
        if name.start is not None and name.start not in begun
    ]
    for number, change in enumerate(changes):
        former = [name for name in names if name.end is not None and name.end <= change.ex_date]
        if former and change.begins(symbol) and change.type != "spinoff":
            before = f"{symbol} named {former[-1].instrument} until {former[-1].end}"
            changes[number] = replace(change, before=before)
    if names[-1].end is None and len({name.instrument for name in names}) == 1:
        start = names[0].start
        changes = [c for c in changes if not c.ends(symbol)]
        changes = [c for c in changes if not c.begins(symbol) or c.ex_date == start]
    return sorted(changes)
