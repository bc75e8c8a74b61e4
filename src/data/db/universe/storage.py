"""Universes in the database: plain functions that record and read through a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ...errors import UniverseError
from ...model.universe import Members
from ..core.database import locked
from ..symbols.models import Symbol
from .definition import UniverseDefinition
from .filters import SymbolFigures
from .membership import (
    Held,
    Interval,
    MembershipRecord,
    Memberships,
    Step,
    StoredInterval,
    age,
    answer,
    any_day,
    before_first,
    difference,
    habit,
    respelled,
    view,
)
from .models import Universe, UniverseMember, UniverseRecord

# Source name for universes with a single list: static ones and filters.
OWN_LIST = "list"
_TICK = timedelta(milliseconds=1)
_EASTERNMOST = timedelta(hours=14)
_MOST_NAMES = 10

_RECORD = (
    UniverseRecord.id,
    UniverseRecord.source,
    UniverseRecord.recorded_at,
    UniverseRecord.evidence,
    UniverseRecord.is_dated,
    UniverseRecord.first_day,
    UniverseRecord.last_change,
    UniverseRecord.habit_days,
    UniverseRecord.details,
)
_READ_RECORDS = (
    select(Universe.type, Universe.checked_at, *_RECORD)
    .outerjoin(UniverseRecord, UniverseRecord.universe == Universe.name)
    .where(Universe.name == bindparam("name"))
    .order_by(UniverseRecord.id)
)
_INTERVAL = (
    UniverseMember.symbol,
    UniverseMember.valid_from,
    UniverseMember.valid_to,
    UniverseMember.evidence,
    UniverseMember.record,
    UniverseMember.replaced_by,
)
_READ_ALL = select(*_INTERVAL).where(UniverseMember.universe == bindparam("name"))
_ON_DAY = (
    UniverseMember.valid_to.is_(None) | (UniverseMember.valid_to > bindparam("day")),
    UniverseMember.valid_from.is_(None) | (UniverseMember.valid_from <= bindparam("day")),
)
_READ_DAY = _READ_ALL.where(*_ON_DAY)
_READ_HELD = _READ_DAY.with_only_columns(
    UniverseMember.symbol, UniverseMember.record, UniverseMember.replaced_by
)
_READ_CURRENT = (
    select(UniverseMember.id, *_INTERVAL)
    .join(UniverseRecord, UniverseRecord.id == UniverseMember.record)
    .where(
        UniverseMember.universe == bindparam("name"),
        UniverseRecord.source == bindparam("source"),
        UniverseMember.replaced_by.is_(None),
    )
)
# All spellings of symbols, oldest first.
_READ_SYMBOLS = (
    select(UniverseMember.symbol)
    .where(UniverseMember.universe == bindparam("name"))
    .order_by(UniverseMember.id)
)


@dataclass(frozen=True)
class UniverseSource:
    """A source's current memberships, ready to be recorded.

    Attributes:
        source: Name of the source.
        make: Function that returns the memberships, given the UTC date on which they are recorded,
            and the day of the list that they are based on.
        evidence: Name and digest of the file, or the origin of a list.
        files: Maps ``file`` and ``roster`` to the paths that were read.
        notes: Further remarks, one sentence each.
        canonical: Function that returns the spelling that is used to compare symbols.
        roster: Canonical symbols in the list that a change log is applied to; None for another
            source.
    """

    source: str
    make: Callable[[date, date], Memberships]
    evidence: str
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    canonical: Callable[[str], str] = str
    roster: frozenset[str] | None = None


@dataclass(frozen=True)
class RefreshResult:
    """The result of recording a source: the changes, and remarks on them.

    Attributes:
        universe, source: Names of the universe and the source.
        recorded_at: Time of recording, timezone-aware UTC; None if nothing changed.
        opened, replaced: Number of new intervals, and of intervals that are no longer valid.
        members: Number of members according to this source, after its last change.
        unresolved: Impossible entries in its change log.
        notes: Further remarks, one sentence each.
        excluded: Maps each symbol that did not pass a filter to the reason.
    """

    universe: str
    source: str
    recorded_at: datetime | None
    opened: int
    replaced: int
    members: int
    unresolved: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_changed(self) -> bool:
        """Whether anything was recorded."""
        return self.recorded_at is not None


class SourceSummary(NamedTuple):
    """The latest record of a source.

    Attributes:
        record: Header of the record.
        files: Maps ``file`` and ``roster`` to the paths that were read.
    """

    record: MembershipRecord
    files: Mapping[str, str]

    @property
    def source(self) -> str:
        """The name of the source."""
        return self.record.source


class Summary(NamedTuple):
    """A summary of a universe, without its members.

    Attributes:
        name, type, description, definition: Values from its definition.
        created_at, checked_at: Times, timezone-aware UTC, of its creation and of the last
            comparison with its sources.
        sources: Latest record of each source.
    """

    name: str
    type: str
    description: str
    definition: Mapping[str, Any]
    created_at: datetime
    checked_at: datetime
    sources: tuple[SourceSummary, ...]


# --- writing -------------------------------------------------------------------------------


def define(
    session: Session,
    name: str,
    definition: UniverseDefinition,
    now: datetime,
    *,
    is_update: bool = True,
) -> Universe:
    """Lock the row of a universe until the unit of work ends, creating it if necessary; return it.

    The definition of an existing universe is replaced if ``is_update`` is True.

    Raises:
        UniverseError: The universe exists, and its type would change from or to ``index``, whose
            sources are files.
    """
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    values = {
        "name": name,
        "type": definition.type,
        "description": definition.description,
        "definition": definition.model_dump(),
        "created_at": now,
        "checked_at": now,
    }
    session.execute(dialect.insert(Universe).values(values).on_conflict_do_nothing())
    row = checked(session, name)
    if row.type != definition.type and "index" in (row.type, definition.type):
        raise UniverseError(
            (
                f"universe {name!r} is of type {row.type} and cannot be changed to type "
                f"{definition.type}"
            ),
            hint="choose another name",
        )
    if is_update:
        row.type, row.description = definition.type, definition.description
        row.definition = definition.model_dump()
    return row


def record(
    session: Session, universe: Universe, state: UniverseSource, now: datetime
) -> RefreshResult:
    """Record a source's memberships, if they differ from its latest record.

    The row of the universe must be locked.

    Raises:
        UniverseError: The source's memberships are invalid, or it had dates before and has none
            now, or vice versa.
    """
    name = universe.name
    records = read_records(session, name)
    at = max(now, records[-1].recorded_at + _TICK) if records else now
    universe.checked_at = max(now, universe.checked_at)
    last = next((old for old in reversed(records) if old.source == state.source), None)
    rows = {
        StoredInterval(*row[1:]): row[0]
        for row in session.execute(_READ_CURRENT, {"name": name, "source": state.source})
    }
    held = frozenset(state.canonical(row.symbol) for row in rows if row.end is None)
    # A list that is read again is as old as before, even if the change log beside it is newer.
    is_same = last is not None and (last.evidence == state.evidence or held == state.roster)
    listed = last.listed if last is not None and is_same and state.files else at.date()
    statement = state.make(at.date(), listed)
    if last is not None and last.is_dated != statement.is_dated:
        change = "has dates, but had none" if statement.is_dated else "has no dates, but had some"
        raise UniverseError(
            f"source {state.source!r} of universe {name!r} {change} before",
            hint="name another source",
        )
    spellings: dict[str, str] = {}  # the first of several sources decides the spelling of a symbol
    for symbol in session.scalars(_READ_SYMBOLS, {"name": name}):
        spellings.setdefault(state.canonical(symbol), symbol)
    statement = respelled(statement, lambda symbol: spellings.get(state.canonical(symbol), symbol))
    replaced, opened = difference(rows, statement)
    is_new = replaced or opened or last is None or _stated_facts(statement) != _stated_facts(last)
    if is_new:
        number = _write_record(session, name, state, statement, last, listed, at)
        _write_intervals(session, name, number, [rows[row] for row in replaced], opened)
    removed = {*replaced}
    ends = [row.end for row in rows if row not in removed] + [row.end for row in opened]
    return RefreshResult(
        universe=name,
        source=state.source,
        recorded_at=at if is_new else None,
        opened=len(opened),
        replaced=len(replaced),
        members=ends.count(None),
        unresolved=statement.steps,
        notes=(
            *statement.notes,
            *state.notes,
            *age(state.source, statement.last_change, statement.habit_days, at.date()),
        ),
    )


def _stated_facts(statement: Memberships | MembershipRecord) -> tuple[Any, ...]:
    """Return the facts that reveal changes: impossible entries and a dated source's first date."""
    return statement.steps, statement.first if statement.is_dated else None


def _write_record(
    session: Session,
    name: str,
    state: UniverseSource,
    statement: Memberships,
    last: MembershipRecord | None,
    listed: date,
    at: datetime,
) -> int:
    row = UniverseRecord(
        universe=name,
        source=state.source,
        evidence=state.evidence,
        is_dated=statement.is_dated,
        first_day=statement.first if last is None or statement.is_dated else last.first,
        last_change=statement.last_change,
        habit_days=statement.habit_days,
        details={
            "files": dict(state.files),
            "steps": [_fields(step) for step in statement.steps],
            "listed": listed.isoformat(),
        },
        recorded_at=at,
    )
    session.add(row)
    session.flush()
    return row.id


def _write_intervals(
    session: Session, name: str, number: int, replaced: list[int], opened: Sequence[Interval]
) -> None:
    if replaced:
        rows = [{"id": row, "replaced_by": number} for row in replaced]
        session.execute(update(UniverseMember), rows)
    if opened:
        new = [
            {
                "universe": name,
                "symbol": interval.symbol,
                "valid_from": interval.start,
                "valid_to": interval.end,
                "evidence": interval.evidence,
                "record": number,
            }
            for interval in opened
        ]
        session.execute(insert(UniverseMember), new)


def _fields(step: Step) -> dict[str, str]:
    return {**step._asdict(), "day": step.day.isoformat(), "until": step.until.isoformat()}


def checked(session: Session, name: str) -> Universe:
    """Return the row of a universe, locked until the unit of work ends.

    Raises:
        UniverseError: The universe does not exist.
    """
    row = locked(session, select(Universe).where(Universe.name == name)).one_or_none()
    if row is None:
        raise unknown(session, name)
    return row


# --- reading -------------------------------------------------------------------------------


def read_records(session: Session, name: str) -> list[MembershipRecord]:
    """Return the records of a universe, oldest first; none if the universe does not exist."""
    rows = session.connection().execute(_READ_RECORDS, {"name": name})
    return [_record(row) for row in rows if row.id is not None]


def _record(row: Any) -> MembershipRecord:
    steps = tuple(
        Step(
            **step
            | {"day": date.fromisoformat(step["day"]), "until": date.fromisoformat(step["until"])}
        )
        for step in row.details["steps"]
    )
    return MembershipRecord(
        number=row.id,
        source=row.source,
        recorded_at=row.recorded_at,
        evidence=row.evidence,
        # Older versions did not store the day: it was that of the record.
        listed=date.fromisoformat(row.details.get("listed", row.recorded_at.date().isoformat())),
        is_dated=row.is_dated,
        first=row.first_day,
        steps=steps,
        last_change=row.last_change,
        habit_days=row.habit_days,
    )


def read_members(
    session: Session,
    name: str,
    day: date,
    known_at: datetime | None,
    since: date | None,
    now: datetime,
) -> Members:
    """Return the members of a universe on a day, or on any day from ``since`` to that day.

    Raises:
        UniverseError: The universe does not exist, nothing was recorded up to ``known_at``, or
            ``known_at`` is in the future, where later records could still change the answer.
    """
    # Not through the session: mapping unneeded objects would take most of the time.
    connection = session.connection()
    headers = connection.execute(_READ_RECORDS, {"name": name}).all()
    if not headers:
        raise unknown(session, name)
    records = [_record(row) for row in headers if row.id is not None]
    records = _with_habits(records, headers[0].type)
    # A record may be ahead of a clock that was set back.
    latest = max([now, *(statement.recorded_at for statement in records)])
    if known_at is not None and known_at > latest:
        raise UniverseError(f"known_at is in the future: {known_at:%Y-%m-%d %H:%M:%S} UTC")
    last_check = headers[0].checked_at.date()
    if since is not None:
        rows = [StoredInterval(*row) for row in connection.execute(_READ_ALL, {"name": name})]
        answered = any_day(name, since, day, rows, records, known_at, last_check)
        return _mark_future(answered, known_at or now)

    def held_on(on: date) -> Sequence[Held]:
        return connection.execute(_READ_HELD, {"name": name, "day": on}).all()

    view_of_day, held_rows = before_first(view(name, records, day, known_at), held_on)
    question = {"name": name, "day": view_of_day.used}

    def intervals() -> list[StoredInterval]:
        return [StoredInterval(*row) for row in connection.execute(_READ_DAY, question)]

    answered = answer(name, view_of_day, held_rows, records, known_at, last_check, intervals)
    return _mark_future(answered, known_at or now)


def _mark_future(members: Members, now: datetime) -> Members:
    """Return the members; mark them as not point-in-time if their day is in the future everywhere."""
    if members.as_of <= (now + _EASTERNMOST).date():
        return members
    future = f"{members.as_of} is in the future: later changes are not known"
    reason = "; ".join(filter(None, (future, members.reason)))
    return replace(members, is_pit=False, reason=reason)


def _with_habits(records: list[MembershipRecord], type_: str) -> list[MembershipRecord]:
    """Return the records, with ``habit_days`` added for each roster (a list without dates).

    This is the longest recent time between two changes, computed from the times of the source's
    records so far. A static list has none.
    """
    if type_ == "static":
        return records
    days: dict[str, list[date]] = {}
    findings = []
    for statement in records:
        if not statement.is_dated:
            days.setdefault(statement.source, []).append(statement.recorded_at.date())
            statement = replace(statement, habit_days=habit(days[statement.source]))
        findings.append(statement)
    return findings


def candidates(session: Session) -> list[SymbolFigures]:
    """Return the values that filters use, for each active symbol, ordered by symbol."""
    columns = (Symbol.symbol, Symbol.market_cap, Symbol.sources)
    more = (Symbol.currency, Symbol.sector, Symbol.avg_daily_volume)
    statement = select(*columns, *more).where(Symbol.is_active.is_(True)).order_by(Symbol.symbol)
    return [
        SymbolFigures(symbol, cap, sources.get("market_cap", {}).get("currency"), *rest)
        for symbol, cap, sources, *rest in session.execute(statement)
    ]


def summaries(session: Session) -> list[Summary]:
    """Return a summary of each universe, ordered by name."""
    rows = session.scalars(select(Universe).order_by(Universe.name))
    return [_summary(session, row) for row in rows]


def existing(session: Session, name: str) -> Summary:
    """Return the summary of a universe.

    Raises:
        UniverseError: The universe does not exist.
    """
    row = session.get(Universe, name)
    if row is None:
        raise unknown(session, name)
    return _summary(session, row)


def _summary(session: Session, row: Universe) -> Summary:
    rows = session.connection().execute(_READ_RECORDS, {"name": row.name})
    newest = {statement.source: statement for statement in rows if statement.id is not None}
    sources = tuple(
        SourceSummary(_record(statement), dict(statement.details["files"]))
        for statement in newest.values()
    )
    return Summary(
        row.name,
        row.type,
        row.description,
        dict(row.definition),
        row.created_at,
        row.checked_at,
        sources,
    )


def unknown(session: Session, name: str) -> UniverseError:
    """Return the error for a universe that does not exist."""
    names = list(session.scalars(select(Universe.name).order_by(Universe.name).limit(_MOST_NAMES)))
    listed = (
        f"existing universes: {', '.join(names)}"
        if names
        else "there are none; create one with onetape universe create"
    )
    return UniverseError(f"the universe does not exist: {name!r:.120}", hint=listed)
