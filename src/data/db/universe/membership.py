"""Dated membership: what a source states, what a refresh changes, who was a member on a day. Pure.

A *source* is a file or a list under a name. What it states at a time is a *record*: a header, and
intervals of session dates ``[start, end)``, one or more a symbol. Nothing is ever overwritten: an
interval that no longer holds is marked with the record that replaced it, so that every earlier answer can
be given again.

A *dated* source says itself when each membership began and ended (intervals, or a change log walked back
from today's list). A *roster* is a list without days: it holds from the day on which it was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from ...errors import UniverseError
from ...model.texts import counted
from ...model.universe import Members, Unresolved

# A walked list that differs more than this from today's is one of another index, or has lost changes.
MOST_DIFFERENT = 0.05
# The habit of a list is that of its last five years, if it changed that often.
_HABIT_DAYS, _FEWEST_GAPS = 5 * 365, 4
_MOST_NAMED = 5


class Interval(NamedTuple):
    """One membership.

    Attributes:
        symbol: canonical.
        start: the first session date as a member; None where it began before the source does.
        end: the first session date that is none any more; None where it goes on.
        evidence: where the source says so: lines of the file, or a filing's number.
    """

    symbol: str
    start: date | None
    end: date | None
    evidence: str = ""


class MembershipChange(NamedTuple):
    """One entry of a change log: from ``day`` on ``symbol`` is a member, or is none any more."""

    day: date
    symbol: str
    is_added: bool
    evidence: str = ""


class Step(NamedTuple):
    """An entry of a change log that cannot be.

    Attributes:
        symbol, day: of the entry.
        until: the next session date for which the source states something possible of the symbol. All
            days before it are not point-in-time: the symbol's membership between the two is unknown, and
            so is what else the log lacks before them.
        reason, evidence: what is impossible; where it stands.
    """

    symbol: str
    day: date
    until: date
    reason: str
    evidence: str = ""


@dataclass(frozen=True)
class Memberships:
    """What a source states.

    Attributes:
        is_dated: whether it dates its memberships itself; else it is a roster.
        intervals: of a roster with the day of the list as their start.
        first: the first session date about which it says anything.
        steps: what is impossible in it.
        last_change: the last day on which a membership begins or ends; None where none does.
        habit_days: the longest time between two changes lately; None where there are too few.
        notes: what else is to be known, each a sentence.
    """

    is_dated: bool
    intervals: tuple[Interval, ...]
    first: date
    steps: tuple[Step, ...] = ()
    last_change: date | None = None
    habit_days: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MembershipRecord:
    """The header of a statement as it was recorded.

    Attributes:
        number: grows with time within a universe.
        source: the name of the source.
        recorded_at: aware UTC.
        evidence: of the whole: name and digest of the file, or how a list came to be.
        is_dated, first, steps, last_change, habit_days: as of :class:`Memberships`; ``first`` of a roster
            is the day of its first record.
    """

    number: int
    source: str
    recorded_at: datetime
    evidence: str
    is_dated: bool
    first: date
    steps: tuple[Step, ...] = ()
    last_change: date | None = None
    habit_days: int | None = None

    @property
    def known_from(self) -> date:
        """The first session date from which on the source is point-in-time."""
        return max([self.first, *(step.until for step in self.steps)])


class StoredInterval(NamedTuple):
    """An interval as it is stored: by which record it came, and which one replaced it."""

    symbol: str
    start: date | None
    end: date | None
    evidence: str
    record: int
    replaced_by: int | None

    def includes(self, day: date) -> bool:
        """Tell whether the symbol is a member on a session date, by this interval."""
        return (self.start is None or self.start <= day) and (self.end is None or day < self.end)

    def is_current(self, record: int) -> bool:
        """Tell whether it holds as of a record."""
        return self.record <= record and (self.replaced_by is None or self.replaced_by > record)


class MembershipDiff(NamedTuple):
    """What a refresh does: intervals that are closed or withdrawn, and those that are opened."""

    replaced: tuple[StoredInterval, ...]
    opened: tuple[Interval, ...]


# --- from files to statements --------------------------------------------------------------


def dated(intervals: Iterable[Interval]) -> Memberships:
    """Return the statement of intervals that their source dates.

    Raises:
        UniverseError: there is none.
    """
    rows = tuple(intervals)
    days = [day for row in rows for day in (row.start, row.end) if day is not None]
    if not days:
        raise UniverseError("the file has no interval", hint="one line a membership")
    first = min(row.start for row in rows if row.start is not None)
    return Memberships(True, rows, first, (), max(days), habit(days))


def walk_back(
    roster: Collection[str], changes: Iterable[MembershipChange], today: date
) -> Memberships:
    """Return the statement of a change log, walked back from today's list.

    Identical entries count once; a symbol that is added and removed on one day is left as it is. Entries
    after ``today`` are not used: today's list does not have them yet.

    Raises:
        UniverseError: the log has no entry until ``today``, or differs from the list by more than 5 %.
    """
    unique = {(change.day, change.symbol, change.is_added): change for change in changes}
    past = [change for change in unique.values() if change.day <= today]
    if not past:
        raise UniverseError(f"the change log has no entry until {today}")
    last = {change.symbol: change for change in sorted(past, key=lambda change: change.day)}
    open_now = {symbol for symbol, change in last.items() if change.is_added}
    check_likeness(open_now | (set(roster) - last.keys()), roster)
    ends: dict[str, tuple[date | None, str]] = dict.fromkeys(roster, (None, ""))
    intervals: list[Interval] = []
    steps: list[Step] = []
    stated: dict[str, date] = {}
    for change in sorted(past, key=lambda change: (change.day, change.symbol), reverse=True):
        day, symbol, is_added, evidence = change
        if (day, symbol, not is_added) in unique:
            continue
        if is_added == (symbol in ends):
            if is_added:
                end, end_evidence = ends.pop(symbol)
                both = "; ".join(filter(None, (evidence, end_evidence)))
                intervals.append(Interval(symbol, day, end, both))
            else:
                ends[symbol] = (day, evidence)
        else:
            what = (
                "added, and is no member afterwards"
                if is_added
                else "removed, and is a member afterwards"
            )
            steps.append(Step(symbol, day, stated.get(symbol, today), f"is {what}", evidence))
        stated[symbol] = day
    intervals += [Interval(symbol, None, *ends[symbol]) for symbol in ends]
    days = [change.day for change in past]
    later = len(unique) - len(past)
    notes = (
        (f"{counted(later, 'entry')} after {today} not used yet: refresh then",) if later else ()
    )
    ordered = tuple(sorted(intervals, key=lambda row: (row.symbol, row.start or date.min)))
    return Memberships(True, ordered, min(days), tuple(steps[::-1]), max(days), habit(days), notes)


def roster(symbols: Iterable[str], day: date) -> Memberships:
    """Return the statement of a list without days that is recorded on ``day``."""
    rows = tuple(Interval(symbol, day, None) for symbol in sorted(set(symbols)))
    return Memberships(False, rows, day, (), day)


def check_likeness(stated: Collection[str], today: Collection[str]) -> None:
    """Refuse dated members that differ from today's list by more than 5 %.

    Raises:
        UniverseError: they do.
    """
    both = set(stated) ^ set(today)
    if len(both) <= MOST_DIFFERENT * max(1, len(today)):
        return
    raise UniverseError(
        f"the members that the file leads to differ from today's list of {len(today):,} in "
        f"{counted(len(both), 'symbol')}, more than {MOST_DIFFERENT:.0%}: {some(sorted(both))}",
        hint="it is the file of another list, or lacks changes; nothing was imported",
    )


def habit(days: Iterable[date]) -> int | None:
    """Return the longest time in days between two changes of the last five years; None for too few."""
    ordered = sorted(set(days))
    gaps = [
        (later - day).days
        for day, later in pairwise(ordered)
        if (ordered[-1] - day).days <= _HABIT_DAYS
    ]
    return max(gaps) if len(gaps) >= _FEWEST_GAPS else None


# --- from statements to what is stored -----------------------------------------------------


def difference(current: Iterable[StoredInterval], statement: Memberships) -> MembershipDiff:
    """Return what changes in the intervals of a source that hold now; nothing for the same statement.

    A roster closes what left it on its day and opens what came; a dated source replaces what it states
    otherwise than before, past intervals included.
    """
    held = list(current)
    if statement.is_dated:
        new = {row[:3] for row in statement.intervals}
        old = {row[:3] for row in held}
        return MembershipDiff(
            tuple(row for row in held if row[:3] not in new),
            tuple(row for row in statement.intervals if row[:3] not in old),
        )
    open_now = {row.symbol: row for row in held if row.end is None}
    listed = {row.symbol for row in statement.intervals}
    gone = tuple(row for symbol, row in open_now.items() if symbol not in listed)
    day = statement.first
    # What came and left on one day was a member in no session.
    closed = [
        Interval(row.symbol, row.start, day, row.evidence) for row in gone if row.start != day
    ]
    came = [row for row in statement.intervals if row.symbol not in open_now]
    return MembershipDiff(gone, (*closed, *came))


# --- from what is stored to an answer ------------------------------------------------------


class View(NamedTuple):
    """From what a question is answered.

    Attributes:
        day: the session date asked for.
        used: the day whose intervals are used: ``day``, or the first day about which anything is stated,
            of a change log the day before it.
        records: the newest record of each source that counts, as of ``known_at``.
        last: the number of the newest record as of ``known_at``.
        known_from: the first session date for which any source is point-in-time, as of ``known_at``.
        is_pit: whether each of the sources is point-in-time on the day.
    """

    day: date
    used: date
    records: tuple[MembershipRecord, ...]
    last: int
    known_from: date
    is_pit: bool


def view(
    name: str, records: Sequence[MembershipRecord], day: date, known_at: datetime | None
) -> View:
    """Choose the sources that answer for a day: those that are point-in-time, else the best there are.

    Raises:
        UniverseError: nothing was recorded until ``known_at``.
    """
    visible = [r for r in records if known_at is None or r.recorded_at <= known_at]
    if not visible:
        when = f" until {known_at:%Y-%m-%d %H:%M:%S} UTC" if known_at and records else ""
        raise UniverseError(
            f"nothing is recorded of the universe {name!r}{when}",
            hint="`onetape universe list` shows since when each is recorded",
        )
    newest = {record.source: record for record in visible}
    last = visible[-1].number
    known_from = min(record.known_from for record in newest.values())
    exact = tuple(r for r in newest.values() if r.known_from <= day)
    if exact:
        return View(day, day, exact, last, known_from, True)
    stating = [r for r in newest.values() if r.first <= day]
    if not stating:
        first = min(r.first for r in newest.values())
        stating = [r for r in newest.values() if r.first == first]
    # A list without days says less of the past than a log with a mistake.
    best = [r for r in stating if r.is_dated] or stating
    return View(day, max(day, best[0].first), tuple(best), last, known_from, False)


# A symbol that some source lists on a day, with the record that states it and the one that replaced it.
Held = tuple[str, int, int | None]


def before_first(
    seen: View, held_on: Callable[[date], Sequence[Held]]
) -> tuple[View, Sequence[Held]]:
    """Return a view with what is stored of its day.

    Of days before the first one a change log states the members that its walk back leads to; any other
    source states nothing, so the members of its first day stand for them.
    """
    if seen.used > seen.day:
        day = seen.used - timedelta(days=1)
        held = held_on(day)
        if any(row[1] <= seen.last and (row[2] is None or row[2] > seen.last) for row in held):
            return seen._replace(used=day), held
    return seen, held_on(seen.used)


def answer(
    name: str,
    seen: View,
    rows: Iterable[Held],
    records: Sequence[MembershipRecord],
    known_at: datetime | None,
    last_check: date | None,
    intervals: Callable[[], Iterable[StoredInterval]],
) -> Members:
    """Return the members that a view leads to.

    Args:
        name: of the universe.
        seen: what :func:`view` chose.
        rows: what is stored of ``seen.used``, by all records.
        records: all of the universe, oldest first.
        known_at: as asked for; None for all that is recorded.
        last_check: the day on which rosters were last compared with their source.
        intervals: returns the intervals of that day, where sources disagree.
    """
    names = {record.source for record in seen.records}
    source_of = {record.number: record.source for record in records if record.source in names}
    listed: dict[str, set[str]] = {record.source: set() for record in seen.records}
    came: dict[int, set[str]] = {}
    left: dict[int, set[str]] = {}
    if len(records) == 1:  # all rows are of it
        listed[records[0].source] = {row[0] for row in rows}
        rows = ()
    for symbol, record, replaced_by in rows:
        source = source_of.get(record)
        if source is None:
            continue
        if record <= seen.last and (replaced_by is None or replaced_by > seen.last):
            listed[source].add(symbol)
        came.setdefault(record, set()).add(symbol)
        if replaced_by is not None:
            left.setdefault(replaced_by, set()).add(symbol)
    symbols = set.intersection(*listed.values())
    unresolved = list(_impossible(seen))
    if len(listed) > 1 and any(each != symbols for each in listed.values()):
        unresolved += _disputed(seen, listed, symbols, source_of, intervals())
    return Members(
        name=name,
        symbols=tuple(sorted(symbols)),
        as_of=seen.day,
        known_at=known_at or records[-1].recorded_at,
        is_pit=seen.is_pit and not unresolved,
        known_from=seen.known_from,
        unresolved=tuple(unresolved),
        reason="; ".join(
            (
                *_doubts(seen, len(unresolved)),
                *_corrections(seen, came, left, records),
                *_ages(seen, last_check),
            )
        ),
    )


def any_day(
    name: str,
    since: date,
    day: date,
    rows: Sequence[StoredInterval],
    records: Sequence[MembershipRecord],
    known_at: datetime | None,
    last_check: date | None,
) -> Members:
    """Return each symbol that was a member on any session date from ``since`` to ``day``, both inclusive.

    Raises:
        UniverseError: nothing was recorded until ``known_at``.
    """
    turns = {turn for row in rows for turn in (row.start, row.end)}
    turns |= {turn for r in records for turn in (r.first, *(step.until for step in r.steps))}
    days = sorted(
        {since, day, *(turn for turn in turns if turn is not None and since < turn < day)}
    )
    each = []
    for one in days:

        def held_on(day: date) -> list[Held]:
            """Return the members on a day, each with its record and its successor."""
            return [(r.symbol, r.record, r.replaced_by) for r in rows if r.includes(day)]

        seen, held = before_first(view(name, records, one, known_at), held_on)
        there = [row for row in rows if row.includes(seen.used)]
        each.append(answer(name, seen, held, records, known_at, last_check, lambda: there))  # noqa: B023 - called at once
    return Members(
        name=name,
        symbols=tuple(sorted({symbol for members in each for symbol in members})),
        as_of=day,
        known_at=each[-1].known_at,
        is_pit=all(members.is_pit for members in each),
        known_from=each[-1].known_from,
        unresolved=tuple(dict.fromkeys(one for members in each for one in members.unresolved)),
        reason="; ".join(dict.fromkeys(members.reason for members in each if members.reason)),
        since=since,
    )


def _impossible(seen: View) -> Iterable[Unresolved]:
    for record in seen.records:
        for step in record.steps:
            if seen.day < step.until:
                where = f"{record.source}: {step.evidence}" if step.evidence else record.source
                yield Unresolved(step.symbol, step.day, step.reason, (where,))


def _disputed(
    seen: View,
    listed: Mapping[str, Collection[str]],
    agreed: Collection[str],
    source_of: Mapping[int, str],
    intervals: Iterable[StoredInterval],
) -> Iterable[Unresolved]:
    """Yield the symbols about which the sources disagree, with what each of them states."""
    stated = {
        (source_of.get(row.record), row.symbol): _written(row)
        for row in intervals
        if row.is_current(seen.last)
    }
    evidence = {record.source: record.evidence for record in seen.records}
    for symbol in sorted({one for each in listed.values() for one in each} - set(agreed)):
        have = [source for source, symbols in listed.items() if symbol in symbols]
        lack = [source for source in listed if source not in have]
        yield Unresolved(
            symbol,
            seen.used,
            f"is a member by {', '.join(have)}, and none by {', '.join(lack)}",
            (
                *(f"{source}: {stated[source, symbol]}" for source in have),
                *(f"{source}: no interval on that day in {evidence[source]}" for source in lack),
            ),
        )


def _written(row: StoredInterval) -> str:
    start, end = row.start or "before its first day", row.end or "now"
    return f"{start} to {end}" + (f", {row.evidence}" if row.evidence else "")


def _doubts(seen: View, unresolved: int) -> Iterable[str]:
    if unresolved:
        yield f"{counted(unresolved, 'membership')} unresolved: the sources are impossible or disagree"
    if seen.is_pit or (seen.used == seen.day and unresolved):
        return
    sources = ", ".join(record.source for record in seen.records)
    is_before = seen.used < min(record.first for record in seen.records)
    if seen.used > seen.day and not is_before:
        yield f"nothing is known before {seen.used}, the members of that day stand for it ({sources})"
    elif is_before:
        first = seen.used + timedelta(days=1)
        stands = "the members that the log leads back to stand for it"
        yield f"nothing is known before {first}, {stands} ({sources})"


def _corrections(
    seen: View,
    came: Mapping[int, set[str]],
    left: Mapping[int, set[str]],
    records: Sequence[MembershipRecord],
) -> Iterable[str]:
    """Say which records, made after the day, changed what an earlier one stated about it.

    Args:
        seen: the view.
        came, left: the symbols of the day by the number of the record that stated or withdrew them.
        records: all, oldest first.
    """
    begun: set[str] = set()
    for record in records:
        if record.source not in begun or record.recorded_at.date() <= seen.day:
            begun.add(record.source)
            continue
        new, old = came.get(record.number, set()), left.get(record.number, set())
        signs = [f"+{s}" for s in sorted(new - old)] + [f"-{s}" for s in sorted(old - new)]
        if not signs:
            continue
        when = f"{record.recorded_at:%Y-%m-%d %H:%M} UTC by {record.source}"
        if record.number > seen.last:
            yield f"corrected later, at {when}, and not used here: {some(signs)}"
        else:
            yield f"corrected at {when}: {some(signs)}"


def _ages(seen: View, last_check: date | None) -> Iterable[str]:
    for record in seen.records:
        last = record.last_change
        if last is not None and not record.is_dated and last_check is not None:
            last = max(last, last_check)
        yield from age(record.source, last, record.habit_days, seen.used)


def age(source: str, last: date | None, habit_days: int | None, day: date) -> Iterable[str]:
    """Yield a sentence if on a day the last change of a source is longer ago than its habit."""
    if last is not None and habit_days is not None and day - last > timedelta(days=habit_days):
        yield (
            f"{source} is older than usual: its last change is of {last}, {(day - last).days} days before, "
            f"and lately they came at most {habit_days} days apart"
        )


def some(texts: Sequence[str]) -> str:
    """Return the first texts, and how many more there are."""
    rest = len(texts) - _MOST_NAMED
    return ", ".join(texts[:_MOST_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")
