"""Dated membership: what sources state, the changes made by a refresh, members on a day. Pure.

A *source* is a named file or list. Its *statement* is the memberships that it contains. A statement
that was recorded at some time is a *record*: a header and intervals of session dates ``[start,
end)``, one or more for each symbol. Nothing is ever overwritten: an interval that is no longer
valid is marked with the record that replaced it, so that every earlier answer can be given again.

A *dated* source states when each membership began and ended (as intervals, or as a change log that
is walked back from today's list). A *roster* is a list without dates; it is valid from the day on
which it was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from ...errors import UniverseError
from ...model.texts import counted
from ...model.universe import Members, Unresolved

# If a statement differs from today's list by more than this, it is about another index or lacks
# changes.
MOST_DIFFERENT = 0.05
# The longest time between a source's changes is based on its last five years, provided that it
# changed this often.
_HABIT_DAYS, _FEWEST_GAPS = 5 * 365, 4
_MOST_NAMED = 5


class Interval(NamedTuple):
    """One period of a symbol's membership in a universe.

    Attributes:
        symbol: Canonical symbol.
        start: First session date of the membership; None if it began before the period that the
            source covers.
        end: First session date after the membership; None if it continues.
        evidence: Location in the source: line numbers in a file, or the number of a regulatory
            filing.
    """

    symbol: str
    start: date | None
    end: date | None
    evidence: str = ""


class MembershipChange(NamedTuple):
    """One entry in a change log: on ``day``, ``symbol`` becomes a member or ceases to be one."""

    day: date
    symbol: str
    is_added: bool
    evidence: str = ""


class Step(NamedTuple):
    """An impossible entry in a change log.

    Attributes:
        symbol, day: Symbol and day of the entry.
        until: Session date of the symbol's next valid entry. Days before it are not point-in-time:
            the symbol's membership between the two dates is unknown, and the log may lack other
            changes before them.
        reason, evidence: Reason why the entry is impossible, and its location in the log.
    """

    symbol: str
    day: date
    until: date
    reason: str
    evidence: str = ""


@dataclass(frozen=True)
class Memberships:
    """All memberships according to one source.

    Attributes:
        is_dated: Whether the source dates the memberships; if not, it is a roster (a plain list).
        intervals: Memberships; those in a roster start on the day of the list.
        first: First session date that the source covers.
        steps: Impossible entries.
        last_change: Last day on which a membership begins or ends, or None.
        habit_days: Longest time between two recent changes, in days; None if there are too few
            changes.
        notes: Further remarks, one sentence each.
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
    """The header of a record of a source's memberships at one time.

    Attributes:
        number: Record number, which increases with time within a universe.
        source: Name of the source.
        recorded_at: Time of recording, timezone-aware UTC.
        evidence: Name and digest of the file, or the origin of a list.
        listed: Day of the list that was read, on its own or as today's list; see
            :func:`walk_back`.
        is_dated, first, steps, last_change, habit_days: See :class:`Memberships`; for a roster,
            ``first`` is the day of its first record.
    """

    number: int
    source: str
    recorded_at: datetime
    evidence: str
    listed: date
    is_dated: bool
    first: date
    steps: tuple[Step, ...] = ()
    last_change: date | None = None
    habit_days: int | None = None

    @property
    def known_from(self) -> date:
        """The first session date from which the source is point-in-time."""
        return max([self.first, *(step.until for step in self.steps)])


class StoredInterval(NamedTuple):
    """A stored interval, with the record that added it and the one that replaced it."""

    symbol: str
    start: date | None
    end: date | None
    evidence: str
    record: int
    replaced_by: int | None

    def includes(self, day: date) -> bool:
        """Return whether the symbol is a member on a session date according to this interval."""
        return (self.start is None or self.start <= day) and (self.end is None or day < self.end)

    def is_current(self, record: int) -> bool:
        """Return whether the interval was current at the time of a record."""
        return self.record <= record and (self.replaced_by is None or self.replaced_by > record)


class MembershipDiff(NamedTuple):
    """The changes made by a refresh: the intervals that are no longer valid, and the new ones."""

    replaced: tuple[StoredInterval, ...]
    opened: tuple[Interval, ...]


# --- from files to statements --------------------------------------------------------------


def dated(intervals: Iterable[Interval]) -> Memberships:
    """Return the memberships that dated intervals describe.

    Raises:
        UniverseError: The source has no intervals.
    """
    rows = tuple(intervals)
    days = [day for row in rows for day in (row.start, row.end) if day is not None]
    if not days:
        raise UniverseError(
            "the file contains no intervals", hint="write one line for each membership"
        )
    first = min(row.start for row in rows if row.start is not None)
    return Memberships(True, rows, first, (), max(days), habit(days))


def walk_back(
    roster: Collection[str],
    changes: Iterable[MembershipChange],
    today: date,
    listed: date | None = None,
) -> Memberships:
    """Apply a change log backwards to today's list, and return the resulting memberships.

    Duplicate entries are used only once; a symbol that is added and removed on the same day does
    not change. Entries after ``today`` are not used yet. Neither are a symbol's entries after
    ``listed`` if the last of them contradicts the list, because the list is older than they are.

    Args:
        roster: Today's list.
        changes: Entries in the change log.
        today: Last day whose entries are used.
        listed: Day on which the symbols of the list were first read; by default ``today``.

    Raises:
        UniverseError: The log has no entry up to ``today``, or its members today differ from the
            list by more than 5 %.
    """
    unique = {(change.day, change.symbol, change.is_added): change for change in changes}
    listed, members = listed or today, set(roster)
    ordered = sorted(unique.values(), key=lambda change: change.day)
    last = {change.symbol: change for change in ordered if change.day <= today}
    newer = {s for s, change in last.items() if change.is_added != (s in members)}
    past = [c for c in ordered if c.day <= (listed if c.symbol in newer else today)]
    if not past:
        raise UniverseError(f"the change log has no entries up to {listed}")
    last = {change.symbol: change for change in past}
    open_now = {symbol for symbol, change in last.items() if change.is_added}
    check_likeness(open_now | (members - last.keys()), roster)
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
                "added, but is not a member afterwards"
                if is_added
                else "removed, but is a member afterwards"
            )
            steps.append(Step(symbol, day, stated.get(symbol, listed), f"is {what}", evidence))
        stated[symbol] = day
    intervals += [Interval(symbol, None, *ends[symbol]) for symbol in ends]
    days = [change.day for change in past]
    later = len(unique) - len(past)
    note = f"{counted(later, 'entry')} after {listed} not used yet: refresh then with a newer list"
    rows = tuple(sorted(intervals, key=lambda row: (row.symbol, row.start or date.min)))
    notes = (note,) if later else ()
    return Memberships(True, rows, min(days), tuple(steps[::-1]), max(days), habit(days), notes)


def roster(symbols: Iterable[str], day: date) -> Memberships:
    """Return the memberships in a list without dates; they all begin on ``day``."""
    rows = tuple(Interval(symbol, day, None) for symbol in sorted(set(symbols)))
    return Memberships(False, rows, day, (), day)


def respelled(statement: Memberships, spelling: Callable[[str], str]) -> Memberships:
    """Return a source's memberships, with each symbol replaced by ``spelling(symbol)``."""
    return replace(
        statement,
        intervals=tuple([row._replace(symbol=spelling(row.symbol)) for row in statement.intervals]),
        steps=tuple([step._replace(symbol=spelling(step.symbol)) for step in statement.steps]),
    )


def check_likeness(stated: Collection[str], today: Collection[str]) -> None:
    """Check that the members derived from a source with dates roughly match today's list.

    Raises:
        UniverseError: The two sets of members differ by more than 5 %.
    """
    both = set(stated) ^ set(today)
    if len(both) <= MOST_DIFFERENT * max(1, len(today)):
        return
    raise UniverseError(
        (
            f"the members according to the file differ from today's list of {len(today):,} "
            f"in {counted(len(both), 'symbol')}, more than {MOST_DIFFERENT:.0%}: "
            f"{some(sorted(both))}"
        ),
        hint=("the file is about a different list, or lacks some changes; nothing was imported"),
    )


def habit(days: Iterable[date]) -> int | None:
    """Return the longest time (days) between recent changes; None if there are too few.

    Only changes in the five years before the latest one are considered.
    """
    ordered = sorted(set(days))
    gaps = [
        (later - day).days
        for day, later in pairwise(ordered)
        if (ordered[-1] - day).days <= _HABIT_DAYS
    ]
    return max(gaps) if len(gaps) >= _FEWEST_GAPS else None


# --- from statements to stored intervals ---------------------------------------------------


def difference(current: Iterable[StoredInterval], statement: Memberships) -> MembershipDiff:
    """Return the changes that a source's new content makes to its current intervals.

    On its day, a roster (a list without dates) ends the memberships of symbols that are no longer
    on it, and begins memberships for new symbols. A dated source replaces all intervals that differ
    from its new ones, even intervals in the past.
    """
    stored = list(current)
    if statement.is_dated:
        new = {row[:3] for row in statement.intervals}
        old = {row[:3] for row in stored}
        return MembershipDiff(
            tuple(row for row in stored if row[:3] not in new),
            tuple(row for row in statement.intervals if row[:3] not in old),
        )
    open_now = {row.symbol: row for row in stored if row.end is None}
    listed = {row.symbol for row in statement.intervals}
    removed = tuple(row for symbol, row in open_now.items() if symbol not in listed)
    day = statement.first
    # A symbol that was added and removed on the same day was never a member.
    closed = [
        Interval(row.symbol, row.start, day, row.evidence) for row in removed if row.start != day
    ]
    added = [row for row in statement.intervals if row.symbol not in open_now]
    return MembershipDiff(removed, (*closed, *added))


# --- from stored intervals to an answer ----------------------------------------------------


class View(NamedTuple):
    """The day and the records on which an answer about members is based.

    Attributes:
        day: Requested session date.
        used: Day whose intervals are used: ``day`` or, if no source goes back that far, the first
            day of a source (for a change log, the day before its first day).
        records: For each source that is used, its latest record as of ``known_at``.
        last: Number of the universe's latest record as of ``known_at``.
        known_from: First session date for which any source is point-in-time, as of ``known_at``.
        is_pit: Whether all sources that are used are point-in-time on the day.
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
    """Choose the sources to use for a day: point-in-time ones, or else the best available.

    Raises:
        UniverseError: Nothing was recorded up to ``known_at``.
    """
    visible = [r for r in records if known_at is None or r.recorded_at <= known_at]
    if not visible:
        when = f" until {known_at:%Y-%m-%d %H:%M:%S} UTC" if known_at and records else ""
        raise UniverseError(
            f"nothing is recorded for universe {name!r}{when}",
            hint="`onetape universe list` shows the date from which each is recorded",
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
    # A list without dates is worse evidence about the past than a log with an error.
    best = [r for r in stating if r.is_dated] or stating
    return View(day, max(day, best[0].first), tuple(best), last, known_from, False)


# A symbol that a source lists on a day, the number of the record that lists it, and that of the
# record that replaced it.
Held = tuple[str, int, int | None]


def before_first(
    view: View, held_on: Callable[[date], Sequence[Held]]
) -> tuple[View, Sequence[Held]]:
    """Return a view with the stored rows for the day that it uses.

    For a day before a change log begins, the members before its first entry are used. Other sources
    have no members before their first day, so the members on their first day are used.
    """
    if view.used > view.day:
        day = view.used - timedelta(days=1)
        held_rows = held_on(day)
        if any(row[1] <= view.last and (row[2] is None or row[2] > view.last) for row in held_rows):
            return view._replace(used=day), held_rows
    return view, held_on(view.used)


def answer(
    name: str,
    view: View,
    rows: Iterable[Held],
    records: Sequence[MembershipRecord],
    known_at: datetime | None,
    last_check: date | None,
    intervals: Callable[[], Iterable[StoredInterval]],
) -> Members:
    """Return the members of a universe on the day of a view.

    Args:
        name: Name of the universe.
        view: View chosen by :func:`view`.
        rows: Rows stored for the day ``view.used``, from all records.
        records: All records of the universe, oldest first.
        known_at: Time up to which records are used; None means all records.
        last_check: Day on which rosters were last compared with their sources.
        intervals: Function that returns the intervals for that day; called only if sources
            disagree.
    """
    names = {record.source for record in view.records}
    source_of = {record.number: record.source for record in records if record.source in names}
    listed: dict[str, set[str]] = {record.source: set() for record in view.records}
    added: dict[int, set[str]] = {}
    removed: dict[int, set[str]] = {}
    if len(records) == 1:  # all rows are from this record
        listed[records[0].source] = {row[0] for row in rows}
        rows = ()
    for symbol, record, replaced_by in rows:
        source = source_of.get(record)
        if source is None:
            continue
        if record <= view.last and (replaced_by is None or replaced_by > view.last):
            listed[source].add(symbol)
        added.setdefault(record, set()).add(symbol)
        if replaced_by is not None:
            removed.setdefault(replaced_by, set()).add(symbol)
    symbols = set.intersection(*listed.values())
    unresolved = list(_impossible_steps(view))
    if len(listed) > 1 and any(each != symbols for each in listed.values()):
        unresolved += _disputed_symbols(view, listed, symbols, source_of, intervals())
    return Members(
        name=name,
        symbols=tuple(sorted(symbols)),
        as_of=view.day,
        known_at=known_at or records[-1].recorded_at,
        is_pit=view.is_pit and not unresolved,
        known_from=view.known_from,
        unresolved=tuple(unresolved),
        reason="; ".join(
            (
                *_doubts(view, len(unresolved)),
                *_corrections(view, added, removed, records),
                *_ages(view, last_check),
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
    """Return the symbols that were members on any session date from ``since`` to ``day``.

    Both dates are included.

    Raises:
        UniverseError: Nothing was recorded up to ``known_at``.
    """
    turns = {turn for row in rows for turn in (row.start, row.end)}
    turns |= {turn for r in records for turn in (r.first, *(step.until for step in r.steps))}
    days = sorted(
        {since, day, *(turn for turn in turns if turn is not None and since < turn < day)}
    )
    each = []
    for on in days:

        def held_on(day: date) -> list[Held]:
            """Return the members on a day, with the records that added and replaced them."""
            return [(r.symbol, r.record, r.replaced_by) for r in rows if r.includes(day)]

        at, held_rows = before_first(view(name, records, on, known_at), held_on)
        included = [row for row in rows if row.includes(at.used)]
        each.append(answer(name, at, held_rows, records, known_at, last_check, lambda: included))  # noqa: B023 - called immediately
    return Members(
        name=name,
        symbols=tuple(sorted({symbol for members in each for symbol in members})),
        as_of=day,
        known_at=each[-1].known_at,
        is_pit=all(members.is_pit for members in each),
        known_from=each[-1].known_from,
        unresolved=tuple(
            dict.fromkeys(symbol for members in each for symbol in members.unresolved)
        ),
        reason="; ".join(dict.fromkeys(members.reason for members in each if members.reason)),
        since=since,
    )


def _impossible_steps(view: View) -> Iterable[Unresolved]:
    for record in view.records:
        for step in record.steps:
            if view.day < step.until:
                where = f"{record.source}: {step.evidence}" if step.evidence else record.source
                yield Unresolved(step.symbol, step.day, step.reason, (where,))


def _disputed_symbols(
    view: View,
    listed: Mapping[str, Collection[str]],
    agreed: Collection[str],
    source_of: Mapping[int, str],
    intervals: Iterable[StoredInterval],
) -> Iterable[Unresolved]:
    """Yield the symbols on which the sources disagree, with the evidence from each source."""
    stated = {
        (source_of.get(row.record), row.symbol): _interval_text(row)
        for row in intervals
        if row.is_current(view.last)
    }
    evidence = {record.source: record.evidence for record in view.records}
    for symbol in sorted({symbol for each in listed.values() for symbol in each} - set(agreed)):
        have = [source for source, symbols in listed.items() if symbol in symbols]
        missing = [source for source in listed if source not in have]
        yield Unresolved(
            symbol,
            view.used,
            f"is a member according to {', '.join(have)}, but not {', '.join(missing)}",
            (
                *(f"{source}: {stated[source, symbol]}" for source in have),
                *(f"{source}: no interval on that day in {evidence[source]}" for source in missing),
            ),
        )


def _interval_text(row: StoredInterval) -> str:
    start, end = row.start or "before its first day", row.end or "now"
    return f"{start} to {end}" + (f", {row.evidence}" if row.evidence else "")


def _doubts(view: View, unresolved: int) -> Iterable[str]:
    if unresolved:
        yield (
            f"{counted(unresolved, 'membership')} unresolved: the sources have impossible entries, "
            "or disagree"
        )
    if view.is_pit or (view.used == view.day and unresolved):
        return
    sources = ", ".join(record.source for record in view.records)
    is_before = view.used < min(record.first for record in view.records)
    if view.used > view.day and not is_before:
        yield (
            f"nothing is known before {view.used}; the members of that day are used instead "
            f"({sources})"
        )
    elif is_before:
        first = view.used + timedelta(days=1)
        used_instead = "the earliest members that the log leads back to are used instead"
        yield f"nothing is known before {first}; {used_instead} ({sources})"


def _corrections(
    view: View,
    added: Mapping[int, set[str]],
    removed: Mapping[int, set[str]],
    records: Sequence[MembershipRecord],
) -> Iterable[str]:
    """Yield a description of each later record that corrected the members on the view's day.

    Args:
        view: View for the day.
        added, removed: Map the index of a record to the symbols that it added to, or removed from,
            the members on the day.
        records: All records, oldest first.
    """
    started: set[str] = set()
    for record in records:
        if record.source not in started or record.recorded_at.date() <= view.day:
            started.add(record.source)
            continue
        new, old = added.get(record.number, set()), removed.get(record.number, set())
        signs = [f"+{s}" for s in sorted(new - old)] + [f"-{s}" for s in sorted(old - new)]
        if not signs:
            continue
        when = f"{record.recorded_at:%Y-%m-%d %H:%M} UTC by {record.source}"
        if record.number > view.last:
            yield f"corrected later, at {when}, which is not used here: {some(signs)}"
        else:
            yield f"corrected at {when}: {some(signs)}"


def _ages(view: View, last_check: date | None) -> Iterable[str]:
    for record in view.records:
        last = record.last_change
        if last is not None and not record.is_dated and last_check is not None:
            last = max(last, last_check)
        yield from age(record.source, last, record.habit_days, view.used)


def age(source: str, last: date | None, habit_days: int | None, day: date) -> Iterable[str]:
    """Yield a sentence if a source has not changed before ``day`` for longer than usual."""
    if last is not None and habit_days is not None and day - last > timedelta(days=habit_days):
        yield (
            f"{source} is older than usual: its last change was on {last}, "
            f"{(day - last).days} days earlier, and recent changes were at most {habit_days} "
            "days apart"
        )


def some(texts: Sequence[str]) -> str:
    """Join the first few strings, and append the number of the others."""
    rest = len(texts) - _MOST_NAMED
    return ", ".join(texts[:_MOST_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")
