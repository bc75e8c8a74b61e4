"""The tables of dated identity: imports of files, each in full or not at all, and queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, or_, select, text
from sqlalchemy.orm import Session

from ...errors import QueryError
from ...model.symbol_changes import SymbolChange
from ..core.base import SCHEMA
from ..core.database import Database
from .changes_file import read_changes
from .identity import (
    Identity,
    NameInterval,
    SymbolBoundary,
    by_date,
    changes_of,
    derive,
    identity_of,
)
from .models import Boundary, CorporateAction, Symbol, SymbolAlias

# Maximum size of a file. Fifty thousand changes take four megabytes, whereas the content of a
# device may never end.
_MOST_BYTES = 50_000_000


@dataclass(frozen=True)
class ImportReport:
    """The changes made by an import.

    Attributes:
        origin: Name of the file; a later import of a file with this name replaces this one.
        rows: Number of intervals and boundaries in the file.
        added, removed: Number of rows added to and removed from the two tables, including derived
            rows.
        symbols: Symbols that the changes concern.
    """

    origin: str
    rows: int
    added: int
    removed: int
    symbols: tuple[str, ...] = ()


def import_changes(
    database: Database, path: Path, canonical: Callable[[str], str], now: datetime
) -> ImportReport:
    """Import a CSV file of dated changes in one transaction; :mod:`.changes_file` lists its columns.

    Importing a file again under the same name replaces its earlier content. Unchanged rows keep
    their ``recorded_at``.

    Args:
        database: Database to import into.
        path: Path of the file.
        canonical: Function that returns the canonical spelling of a symbol.
        now: Time of the import.

    Raises:
        QueryError: The file cannot be read, a row is invalid, or rows contradict each other or
            other imported files; nothing was imported.
        DatabaseError: The database cannot be written.
    """
    intervals, events = read_changes(_text(path), path.name, canonical)
    with database.writing() as session:
        lock(session)
        old_intervals, old_events = load(session)
        kept = [
            interval.as_imported()
            for interval in old_intervals
            if interval.origin not in ("", path.name)
        ]
        kept_events = [event for event in old_events if event.origin not in ("", path.name)]
        both = derive([*kept, *intervals], [*kept_events, *events])
        changed = [
            *_replace_rows(session, SymbolAlias, _interval, _alias, both[0], now),
            *_replace_rows(session, Boundary, _event, _boundary, both[1], now),
        ]
    names = {
        name for change, _ in changed for name in (change.symbol, getattr(change, "successor", ""))
    }
    added = sum(is_new for _, is_new in changed)
    rows, symbols = len(intervals) + len(events), tuple(sorted(names - {""}))
    return ImportReport(path.name, rows, added, len(changed) - added, symbols)


def _replace_rows(
    session: Session,
    model: type[Any],
    value_of: Callable[[Any], Any],
    row_of: Callable[[Any], dict[str, Any]],
    values: Iterable[Any],
    now: datetime,
) -> list[tuple[Any, bool]]:
    """Make a table's rows equal to ``values``; return each added (True) or removed (False) value."""
    new = dict.fromkeys(values)
    removed = []
    for row in session.scalars(select(model)):
        value = value_of(row)
        if value in new:
            del new[value]
        else:
            removed.append((value, False))
            session.delete(row)
    session.flush()  # a deleted row may have the key of a new one
    if new:
        session.execute(insert(model), [row_of(value) | {"recorded_at": now} for value in new])
    return [*removed, *((value, True) for value in new)]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise QueryError(f"{path} is too large; the limit is {_MOST_BYTES:,} bytes")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise QueryError(f"{path} is not UTF-8 text", hint="use a CSV file in UTF-8") from exc
    except (OSError, ValueError) as exc:  # a name with a null byte is a ValueError
        raise QueryError(f"{path} cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc


def lock(session: Session) -> None:
    """Block other writers of these tables until the unit of work ends; readers are not blocked.

    On SQLite, a unit of work that writes already does so. On PostgreSQL the whole tables are
    locked, because rows that do not exist yet cannot be locked individually.
    """
    if session.get_bind().dialect.name == "postgresql":
        names = (Symbol, SymbolAlias, Boundary)
        tables = ", ".join(f"{SCHEMA}.{table.__tablename__}" for table in names)
        session.execute(text(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE"))


def load(session: Session) -> tuple[list[NameInterval], list[SymbolBoundary]]:
    """Return all stored intervals and boundaries of symbols."""
    return (
        [_interval(row) for row in session.scalars(select(SymbolAlias))],
        [_event(row) for row in session.scalars(select(Boundary))],
    )


def _interval(row: SymbolAlias) -> NameInterval:
    return NameInterval(
        row.symbol,
        row.instrument,
        row.valid_from,
        row.valid_to,
        row.source,
        row.origin,
        row.is_closed,
    )


def _event(row: Boundary) -> SymbolBoundary:
    return SymbolBoundary(
        row.effective_date,
        row.kind,
        row.symbol,
        row.successor,
        row.source,
        row.instrument,
        row.origin,
    )


def _alias(interval: NameInterval) -> dict[str, Any]:
    return {
        "symbol": interval.symbol,
        "instrument": interval.instrument,
        "valid_from": interval.start,
        "valid_to": interval.end,
        "source": interval.source,
        "origin": interval.origin,
        "is_closed": interval.is_closed,
    }


def _boundary(event: SymbolBoundary) -> dict[str, Any]:
    return {
        "symbol": event.symbol,
        "effective_date": event.day,
        "kind": event.type,
        "successor": event.successor,
        "instrument": event.instrument,
        "source": event.source,
        "origin": event.origin,
    }


# --- queries -------------------------------------------------------------------------------------


def resolve(session: Session, symbol: str, on: date) -> Identity:
    """Return the instrument that a symbol means on a session date, according to the imports.

    Args:
        session: Session of a read-only unit of work.
        symbol: Canonical symbol, such as ``FB``.
        on: Session date.

    Raises:
        QueryError: Nothing is recorded for the symbol, or it does not refer to any instrument on
            that day.
    """
    intervals = _intervals_near(session, symbol)
    if not intervals and session.get(Symbol, symbol) is None:
        raise _unknown_error(symbol)
    return identity_of(symbol, on, intervals)


def _intervals_near(session: Session, symbol: str) -> list[NameInterval]:
    """Return the intervals of a symbol and of its instruments."""
    instruments = select(SymbolAlias.instrument).where(SymbolAlias.symbol == symbol)
    near = or_(SymbolAlias.symbol == symbol, SymbolAlias.instrument.in_(instruments))
    return [_interval(row) for row in session.scalars(select(SymbolAlias).where(near))]


def _unknown_error(symbol: str) -> QueryError:
    hint = f"run `onetape symbols refresh {symbol}`"
    return QueryError(f"nothing is recorded for {symbol}", symbol=symbol, hint=hint)


def changes_by_name(session: Session, symbol: str | None = None) -> dict[str, list[SymbolChange]]:
    """Return the boundaries for each symbol, in the form that the bar store uses.

    Args:
        session: Session of a read-only unit of work.
        symbol: Limits the result to this symbol and the other symbols in its boundaries; None means
            all symbols.
    """
    intervals, events = load(session) if symbol is None else _records(session, symbol)
    events_of: dict[str, list[SymbolBoundary]] = defaultdict(list)
    for event in _unique(events):
        for name in {event.symbol, event.successor} - {""}:
            events_of[name].append(event)
    intervals_of: dict[str, list[NameInterval]] = defaultdict(list)
    for interval in intervals:
        intervals_of[interval.symbol].append(interval)
    names = sorted(events_of)
    if symbol is not None:
        near = events_of.get(symbol, ())
        names = sorted({name for event in near for name in (event.symbol, event.successor)} - {""})
    changes_of_name = {
        name: changes_of(name, events_of[name], intervals_of[name]) for name in names
    }
    return {name: changes for name, changes in changes_of_name.items() if changes}


def _records(session: Session, symbol: str) -> tuple[list[NameInterval], list[SymbolBoundary]]:
    """Return the intervals and boundaries of a symbol and of other symbols in its boundaries."""
    near = _boundaries(session, {symbol})
    names = {symbol, *(name for event in near for name in (event.symbol, event.successor))} - {""}
    query = select(SymbolAlias).where(SymbolAlias.symbol.in_(names))
    return [_interval(row) for row in session.scalars(query)], _boundaries(session, names)


def _boundaries(session: Session, names: set[str]) -> list[SymbolBoundary]:
    is_named = or_(Boundary.symbol.in_(names), Boundary.successor.in_(names))
    return [_event(row) for row in session.scalars(select(Boundary).where(is_named))]


def _unique(events: Iterable[SymbolBoundary]) -> list[SymbolBoundary]:
    """Remove duplicate boundaries; the one whose source sorts first is kept."""
    first: dict[tuple[date, str, str, str], SymbolBoundary] = {}
    for event in sorted(events, key=lambda event: event.source):
        first.setdefault((event.day, event.type, event.symbol, event.successor), event)
    return list(first.values())


def described(session: Session, symbol: str, on: date | None = None) -> dict[str, Any]:
    """Return everything recorded about a symbol, as a dictionary of built-in types.

    Args:
        session: Session of a read-only unit of work.
        symbol: Canonical symbol.
        on: Date for which to resolve the symbol; if None, ``identity`` is None.

    Returns:
        A dictionary with the keys ``symbol``; ``values`` (each column's ``value``, with its entry
        in ``sources``); ``identity`` (the instrument on the date ``on``, or None); ``names`` (the
        intervals of the symbol and of its instruments); ``boundaries``; ``actions`` (the number of
        splits and dividends).

    Raises:
        QueryError: Nothing is recorded for the symbol, or it does not refer to any instrument on
            that day.
    """
    row = session.get(Symbol, symbol)
    intervals = _intervals_near(session, symbol)
    events = _boundaries(session, {symbol})
    if row is None and not intervals and not events:
        raise _unknown_error(symbol)
    identity = resolve(session, symbol, on) if on is not None else None
    columns = [c.key for c in Symbol.__mapper__.column_attrs]
    values = (
        {name: getattr(row, name, None) for name in columns[1:] if name in row.sources}
        if row
        else {}
    )
    statement = select(func.count()).where(CorporateAction.symbol == symbol)
    return {
        "symbol": symbol,
        "values": {
            name: {"value": _json_value(value), **(row.sources[name] if row else {})}
            for name, value in values.items()
        },
        "identity": None
        if identity is None
        else {
            "instrument": identity.instrument,
            "on": str(identity.on),
            "current": identity.current,
            "from": _json_value(identity.start),
            "to": _json_value(identity.end),
            "source": identity.source,
        },
        "names": [
            {
                "symbol": interval.symbol,
                "instrument": interval.instrument,
                "from": _json_value(interval.start),
                "to": _json_value(interval.end),
                "source": interval.source,
            }
            for interval in by_date(intervals)
        ],
        "boundaries": [{"date": str(event.day), "text": str(event)} for event in _unique(events)],
        "actions": session.scalars(statement).one(),
    }


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return list(value)
    return value.isoformat() if isinstance(value, date) else value
