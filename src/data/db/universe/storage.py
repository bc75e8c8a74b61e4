"""Universes in the database: functions that record and read members through a session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from sqlalchemy import bindparam, delete, func, insert, select
from sqlalchemy.orm import Session

from ...core.model.identity.universe import Members
from ...errors import UniverseError
from ..core.database import locked
from ..repos.rows import claim
from ..symbols.models import Symbol
from .definition import UniverseDefinition
from .files import Interval, Listing
from .filters import SymbolFigures
from .models import Universe, UniverseMember

_EASTERNMOST = timedelta(hours=14)
_MOST_NAMES = 10
_of_name = UniverseMember.universe == bindparam("name")
_VALUES = UniverseMember.symbol, UniverseMember.valid_from, UniverseMember.valid_to
# Columns, not rows of the model, because mapping objects would take most of the time.
_READ = select(Universe.known_from).where(Universe.name == bindparam("name"))
_READ_HELD = (
    select(UniverseMember.symbol)
    .distinct()
    .where(
        _of_name,
        UniverseMember.valid_to.is_(None) | (UniverseMember.valid_to > bindparam("since")),
        UniverseMember.valid_from.is_(None) | (UniverseMember.valid_from <= bindparam("day")),
    )
)


@dataclass(frozen=True)
class RefreshResult:
    """The result of recording a universe: the changes, and remarks on them.

    Attributes:
        universe: Name of the universe.
        opened, replaced: Number of new intervals, and of intervals that were closed or removed.
        members: Number of members after the last change.
        notes: Remarks, one sentence each, such as impossible entries in a change log.
        excluded: Maps each symbol that did not pass a filter to the reason.
    """

    universe: str
    opened: int
    replaced: int
    members: int
    notes: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_changed(self) -> bool:
        """Whether any membership has changed."""
        return bool(self.opened or self.replaced)


def record(
    session: Session,
    name: str,
    definition: UniverseDefinition,
    found: Listing,
    now: datetime,
    today_file: str | None = None,
    excluded: Mapping[str, str] | None = None,
) -> RefreshResult:
    """Store the definition of a universe, and make its memberships those that were found.

    Members of a list without dates join or leave on the UTC date of ``now``. Memberships with dates
    replace all earlier ones.

    Raises:
        UniverseError: The universe exists, and its type would change from or to ``index``.
    """
    today, values = now.date(), definition.model_dump()
    described = {"type": definition.type, "description": definition.description}
    stored = {**described, "definition": values, "today_file": today_file, "checked_at": now}
    known_from = found.known_from or today
    is_new = claim(session, Universe, name=name, created_at=now, known_from=known_from, **stored)
    row = locked(session, select(Universe).where(Universe.name == name)).one()
    if row.type != definition.type and "index" in (row.type, definition.type):
        raise UniverseError(
            f"universe {name!r} is of type {row.type} and cannot be changed to type {definition.type}",
            hint="choose another name",
        )
    if not is_new:
        stored["description"] = definition.description or row.description
        row.known_from = found.known_from or row.known_from
        for column, value in stored.items():
            setattr(row, column, value)
    rows = session.execute(select(UniverseMember.id, *_VALUES).where(_of_name), {"name": name})
    old = {Interval(symbol, start, end): id for id, symbol, start, end in rows}
    wanted = set(found.intervals)
    if found.symbols is not None:
        wanted = _with_todays(old, {*found.symbols}, today)
    removed, opened = old.keys() - wanted, wanted - old.keys()
    connection = session.connection()
    if removed:
        gone = delete(UniverseMember).where(UniverseMember.id == bindparam("row"))
        connection.execute(gone, [{"row": old[each]} for each in removed])
    if opened:
        names = ("symbol", "valid_from", "valid_to")
        new = [dict(zip(names, each, strict=True)) for each in sorted(opened, key=str)]
        connection.execute(insert(UniverseMember), [{"universe": name, **each} for each in new])
    return RefreshResult(
        name,
        len(opened),
        len(removed),
        sum(each.end is None for each in wanted),
        found.notes,
        excluded or {},
    )


def _with_todays(old: Iterable[Interval], names: set[str], today: date) -> set[Interval]:
    """Return the intervals after a list without dates has ended some of them and begun others."""
    kept = {each for each in old if each.end is not None or each.symbol in names}
    ended = {each._replace(end=today) for each in old if each not in kept}
    # A symbol that joined and left on one day was never a member.
    ended = {each for each in ended if each.start is None or each.start < today}
    held = {each.symbol for each in kept if each.end is None}
    return kept | ended | {Interval(symbol, today) for symbol in names - held}


def read_members(
    session: Session, name: str, day: date, since: date | None, now: datetime
) -> Members:
    """Return the members of a universe on a day, or on any day from ``since`` to that day.

    If nothing was recorded for a day, the members on the first recorded day are used.

    Raises:
        UniverseError: The universe does not exist.
    """
    connection, named = session.connection(), {"name": name}
    known_from: date | None = connection.execute(_READ, named).scalar()
    if known_from is None:
        raise unknown(session, name)
    first = since or day
    symbols = connection.scalars(_READ_HELD, {**named, "day": day, "since": first}).all()
    reasons = []
    if day > (now + _EASTERNMOST).date():
        reasons.append(f"{day} is in the future: later changes are not known")
    if first < known_from:
        reasons.append(f"the members before {known_from} are not known for certain")
    if first < known_from and not symbols:
        earliest = select(func.min(UniverseMember.valid_from)).where(_of_name)
        used = connection.execute(earliest, named).scalar()
        symbols = connection.scalars(_READ_HELD, {**named, "day": used, "since": used}).all()
        reasons[-1] = f"nothing is known before {used}; the members of that day are used instead"
    ordered = tuple(sorted(symbols))
    return Members(name, ordered, day, not reasons, known_from, "; ".join(reasons), since)


def candidates(session: Session) -> list[SymbolFigures]:
    """Return the values that filters use, for each active symbol, ordered by symbol."""
    columns = (Symbol.symbol, Symbol.market_cap, Symbol.sources)
    more = (Symbol.currency, Symbol.sector, Symbol.avg_daily_volume)
    statement = select(*columns, *more).where(Symbol.is_active.is_(True)).order_by(Symbol.symbol)
    return [
        SymbolFigures(symbol, cap, sources.get("market_cap", {}).get("currency"), *rest)
        for symbol, cap, sources, *rest in session.execute(statement)
    ]


def existing(session: Session, name: str) -> Universe:
    """Return the row of a universe, locked until the unit of work ends.

    Raises:
        UniverseError: The universe does not exist.
    """
    row = locked(session, select(Universe).where(Universe.name == name)).one_or_none()
    if row is None:
        raise unknown(session, name)
    return row


def unknown(session: Session, name: str) -> UniverseError:
    """Return the error for a universe that does not exist."""
    names = list(session.scalars(select(Universe.name).order_by(Universe.name).limit(_MOST_NAMES)))
    listed = (
        f"existing universes: {', '.join(names)}"
        if names
        else "there are none; create one with onetape db universe create"
    )
    return UniverseError(f"the universe does not exist: {name!r:.120}", hint=listed)
