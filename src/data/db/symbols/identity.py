"""Derives from the imported files the instrument that a symbol means on each day. Pure.

Dates are session dates; an interval holds from ``start`` up to but not including ``end``. None
means an unknown start or an open end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import groupby

from ...errors import QueryError
from ...model.symbol_changes import SymbolChange

# Prefix of the placeholder for an instrument that no file names; it cannot begin a symbol.
_MARK = "\n"


@dataclass(frozen=True)
class NameInterval:
    """A range of dates on which a symbol means one instrument.

    Attributes:
        symbol, instrument: Symbol, and the instrument that it means.
        start, end: First day of the interval, and first day after it.
        source: Source of this information.
        origin: Name of the imported file; empty if the interval was derived from a boundary.
        is_closed: Whether the end comes from a boundary, while the file leaves the interval open.
    """

    symbol: str
    instrument: str
    start: date | None
    end: date | None
    source: str
    origin: str = ""
    is_closed: bool = False

    def as_imported(self) -> NameInterval:
        """Return the interval exactly as imported, without an end that was derived from a boundary."""
        return replace(self, end=None, is_closed=False) if self.is_closed else self

    def holds(self, day: date) -> bool:
        """Return whether the interval contains ``day``."""
        return (self.start is None or self.start <= day) and (self.end is None or day < self.end)

    def overlaps(self, other: NameInterval) -> bool:
        """Return whether the two intervals share a day."""
        return (self.end is None or other.start is None or other.start < self.end) and (
            other.end is None or self.start is None or self.start < other.end
        )

    def __str__(self) -> str:
        what = "" if self.instrument.startswith(_MARK) else f" as {self.instrument}"
        days = f"from {self.start or 'an unknown day'} to {self.end or 'now'}"
        return f"{self.symbol}{what} {days} ({self.source})"


@dataclass(frozen=True)
class SymbolBoundary:
    """A dated boundary (rename, merger, spin-off or delisting), with the fields of ``SymbolChange``.

    Attributes:
        instrument: Instrument that the boundary is about, if the file names it.
        origin: Name of the imported file; empty if the boundary was derived from two intervals.
    """

    day: date
    type: str
    symbol: str
    successor: str
    source: str
    instrument: str = ""
    origin: str = ""

    def __str__(self) -> str:
        to = f" to {self.successor}" if self.successor else ""
        return f"{self.type} of {self.symbol}{to} on {self.day} ({self.source})"


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
    names: tuple[NameInterval, ...] = ()


def by_date(intervals: Iterable[NameInterval]) -> list[NameInterval]:
    """Sort intervals by date, with unknown starts first."""
    return sorted(intervals, key=lambda interval: (interval.start or date.min, interval.symbol))


def derive(
    intervals: Sequence[NameInterval], events: Sequence[SymbolBoundary]
) -> tuple[list[NameInterval], list[SymbolBoundary]]:
    """Return all intervals and boundaries, imported or derived from the imported ones.

    A rename ends the old symbol's interval and begins one for the new symbol, with the same
    instrument. A merger or a delisting ends an interval, and a spin-off begins one. Two intervals
    of the same instrument imply a rename if one begins on the day when the other ends. An
    instrument that no file names gets the name of its last symbol. The result does not depend on
    the order of the arguments.

    Raises:
        QueryError: An interval is reversed, two intervals of one symbol overlap, or a boundary
            contradicts an interval; the message names both, with their sources.
    """
    names = _Names(intervals)
    for _, day in groupby(sorted(events, key=_order), key=lambda event: event.day):
        names.apply(list(day))
    imported = {(event.day, event.type, event.symbol, event.successor) for event in events}
    renames = [
        event
        for event in _renames(intervals)
        if (event.day, event.type, event.symbol, event.successor) not in imported
    ]
    return names.labeled(), [*events, *renames]


def _order(event: SymbolBoundary) -> tuple[date, str, str, str]:
    return event.day, event.symbol, event.type, event.successor


def _renames(intervals: Sequence[NameInterval]) -> list[SymbolBoundary]:
    starting = defaultdict(list)
    for interval in intervals:
        starting[interval.instrument, interval.start].append(interval)
    return [
        SymbolBoundary(old.end, "rename", old.symbol, new.symbol, new.source, old.instrument)
        for old in intervals
        if old.end is not None
        for new in starting[old.instrument, old.end]
        if new.symbol != old.symbol
    ]


class _Names:
    """Tracks the intervals of every symbol while boundaries, such as renames, are applied by date."""

    def __init__(self, intervals: Sequence[NameInterval]) -> None:
        self._of: dict[str, list[NameInterval]] = defaultdict(list)
        self._unnamed: set[str] = set()
        self._marks = 0
        for interval in by_date(intervals):
            if (
                interval.start is not None
                and interval.end is not None
                and interval.start >= interval.end
            ):
                raise _conflict(f"{interval} ends before it begins")
            self._add(interval)

    def _add(self, new: NameInterval) -> None:
        for old in self._of[new.symbol]:
            if old.overlaps(new):
                raise _conflict(f"{new} overlaps {old}")
        self._of[new.symbol].append(new)

    def apply(self, events: Sequence[SymbolBoundary]) -> None:
        """Apply one day's boundaries: first boundaries that end intervals, then the others."""
        ends: dict[str, SymbolBoundary] = {}
        for event in (boundary for boundary in events if boundary.type != "spinoff"):
            other = ends.setdefault(event.symbol, event)
            if (other.type, other.successor) != (event.type, event.successor):
                raise _conflict(f"the {event} contradicts the {other}")
        ended = {event: self._end(event) for event in events if event.type != "spinoff"}
        for event in events:
            if event.type in ("rename", "spinoff"):
                self._begin(event, ended.get(event) or event.instrument)

    def _end(self, event: SymbolBoundary) -> str:
        """End the symbol's interval at a boundary; return the instrument it refers to."""
        spans, last_day = self._of[event.symbol], event.day - timedelta(days=1)
        old = next((interval for interval in spans if interval.holds(last_day)), None)
        if old is None:
            if earlier := [
                interval for interval in spans if interval.end is None or interval.end <= event.day
            ]:
                # An unknown interval in between is not guessed.
                raise _conflict(
                    f"the {event} ends a name that has already ended, or only begins that day: "
                    f"{earlier[-1]}"
                )
            instrument = event.instrument or self._new()
            self._add(NameInterval(event.symbol, instrument, None, event.day, event.source))
            return instrument
        if event.instrument and old.instrument != event.instrument:
            if old.instrument not in self._unnamed:
                raise _conflict(
                    f"the {event} is for {event.instrument}, but the symbol refers to {old}"
                )
            self._name(old.instrument, event.instrument)
            old = replace(old, instrument=event.instrument)
        if old.end is None:
            spans[spans.index(old)] = replace(old, end=event.day, is_closed=bool(old.origin))
        elif old.end != event.day:
            raise _conflict(f"the {event} conflicts with the period {old}")
        return old.instrument

    def _begin(self, event: SymbolBoundary, instrument: str) -> None:
        """Begin an interval for the successor at a boundary."""
        current = next(
            (interval for interval in self._of[event.successor] if interval.holds(event.day)), None
        )
        if current is None:
            new = NameInterval(
                event.successor, instrument or self._new(), event.day, None, event.source
            )
            self._add(new)
        elif current.start != event.day or (instrument and current.instrument != instrument):
            raise _conflict(f"the {event} conflicts with the period {current}")

    def _new(self) -> str:
        """Return a placeholder for an instrument that is not named in any file."""
        self._marks += 1
        mark = f"{_MARK}{self._marks}"
        self._unnamed.add(mark)
        return mark

    def _name(self, mark: str, instrument: str) -> None:
        self._unnamed.discard(mark)
        for group in self._of.values():
            group[:] = [
                replace(o, instrument=instrument) if o.instrument == mark else o for o in group
            ]

    def labeled(self) -> list[NameInterval]:
        """Return all intervals by date; an unnamed instrument gets the name of its last symbol."""
        every = by_date(interval for group in self._of.values() for interval in group)
        used = {interval.instrument for interval in every} - self._unnamed
        last = {
            interval.instrument: interval
            for interval in every
            if interval.instrument in self._unnamed
        }
        labels = {}
        # Instruments that still have the symbol get its name first.
        for mark, interval in sorted(
            last.items(), key=lambda item: (item[1].end is not None, item[1].end or date.max)
        ):
            label = (
                interval.symbol
                if interval.symbol not in used
                else f"{interval.symbol} until {interval.end or interval.start}"
            )
            used.add(label)
            labels[mark] = label
        return [
            replace(interval, instrument=labels.get(interval.instrument, interval.instrument))
            for interval in every
        ]


def _conflict(text: str) -> QueryError:
    return QueryError(text, hint="correct the file and import it again; nothing was imported")


# --- results for a query, and for the store of bars -----------------------------------------------


def identity_of(symbol: str, on: date, intervals: Sequence[NameInterval]) -> Identity:
    """Return the meaning of a symbol on a day.

    Args:
        symbol, on: Symbol and day.
        intervals: All intervals of the symbol and of its instruments.

    Raises:
        QueryError: The symbol has intervals, but none of them includes that day.
    """
    intervals_by_date = by_date(interval for interval in intervals if interval.symbol == symbol)
    if not intervals_by_date:
        return Identity(symbol, on, symbol, current=symbol)
    valid = next((interval for interval in intervals_by_date if interval.holds(on)), None)
    if valid is None:
        periods = "; ".join(map(str, intervals_by_date))
        raise QueryError(
            f"{symbol} does not refer to any instrument on {on}; recorded periods: {periods}",
            symbol=symbol,
        )
    names = tuple(
        by_date(interval for interval in intervals if interval.instrument == valid.instrument)
    )
    last = max(names, key=lambda interval: (interval.end or date.max, interval.start or date.min))
    return Identity(
        symbol, on, valid.instrument, valid.start, valid.end, valid.source, last.symbol, names
    )


def changes_of(
    symbol: str, events: Iterable[SymbolBoundary], intervals: Iterable[NameInterval]
) -> list[SymbolChange]:
    """Return the boundaries that concern a symbol, in the form that the bar store uses.

    An interval of a symbol that had ended before is a listing, unless a boundary begins it. A
    rename to the symbol and a listing include what the symbol meant before, if recorded. If an
    instrument has its former symbol again, all of its bars are listed under that symbol, so its
    absence from the symbol does not concern it.
    """
    named = by_date(interval for interval in intervals if interval.symbol == symbol)
    changes = [SymbolChange(e.day, e.type, e.symbol, e.successor, e.source) for e in events]
    begun = {change.ex_date for change in changes if change.begins(symbol)}
    changes += [
        SymbolChange(interval.start, "listing", symbol, source=interval.source)
        for interval in named[1:]
        if interval.start is not None and interval.start not in begun
    ]
    for number, change in enumerate(changes):
        former = [o for o in named if o.end is not None and o.end <= change.ex_date]
        if former and change.begins(symbol) and change.type != "spinoff":
            before = f"{symbol} named {former[-1].instrument} until {former[-1].end}"
            changes[number] = replace(change, before=before)
    if named and named[-1].end is None and {i.instrument for i in named} == {named[0].instrument}:
        start = named[0].start
        changes = [c for c in changes if not c.ends(symbol)]
        changes = [c for c in changes if not c.begins(symbol) or c.ex_date == start]
    return sorted(change for change in changes if change.concerns(symbol))
