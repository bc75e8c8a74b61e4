"""The table of dated names: imports of files, each in full or not at all, and queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, or_, select, text
from sqlalchemy.orm import Session

from ...core.model.identity.symbol_changes import SymbolChange
from ...errors import QueryError
from ..core.base import SCHEMA
from ..core.database import Database
from . import models
from .models import CorporateAction, Symbol
from .names import (
    Identity,
    SymbolName,
    by_date,
    changes_of,
    check_overlaps,
    identity_of,
    read_names,
)

_Row = models.SymbolName
# Maximum size of a file. Fifty thousand changes take four megabytes, whereas the content of a
# device may never end.
_MOST_BYTES = 50_000_000
_COLUMNS = (
    "symbol",
    "instrument",
    "valid_from",
    "valid_to",
    "source",
    "ending",
    "successor",
    "parent",
    "end_source",
)


@dataclass(frozen=True)
class ImportReport:
    """The changes made by an import.

    Attributes:
        origin: Name of the file; a later import of a file with this name replaces this one.
        rows: Number of intervals in the file, including those that its changes describe.
        added, removed: Number of rows added to and removed from the table.
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
    """Import a CSV file of dated names in one transaction; :mod:`.names` lists its columns.

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
    content, origin = _text(path), path.name
    with database.writing() as session:
        lock(session)
        rows = session.scalars(select(_Row)).all()
        others = [_name(row) for row in rows if row.origin != origin]
        names = read_names(content, origin, canonical, {name.instrument for name in others})
        check_overlaps([*others, *names])
        old = {_name(row): row for row in rows if row.origin == origin}
        removed, added = old.keys() - {*names}, [name for name in names if name not in old]
        for name in removed:
            session.delete(old[name])
        session.flush()  # a deleted row may have the key of a new one
        shared = {"origin": origin, "recorded_at": now}
        if added:
            values = [dict(zip(_COLUMNS, name, strict=True)) | shared for name in added]
            session.execute(insert(_Row), values)
    symbols = {name.symbol for name in (*removed, *added)}
    return ImportReport(origin, len(names), len(added), len(removed), tuple(sorted(symbols)))


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
        tables = ", ".join(f"{SCHEMA}.{table.__tablename__}" for table in (Symbol, _Row))
        session.execute(text(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE"))


def _name(row: models.SymbolName) -> SymbolName:
    return SymbolName(*(getattr(row, column) for column in _COLUMNS))


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
    names = _names_near(session, symbol)
    if not names and session.get(Symbol, symbol) is None:
        raise _unknown_error(symbol)
    return identity_of(symbol, on, names)


def _names_near(session: Session, symbol: str) -> list[SymbolName]:
    """Return the intervals of a symbol, of the other symbols of its instruments, and of theirs."""
    instruments = select(_Row.instrument).where(_Row.symbol == symbol)
    symbols = select(_Row.symbol).where(_Row.instrument.in_(instruments))
    more = select(_Row.instrument).where(_Row.symbol.in_(symbols))
    near = or_(_Row.symbol.in_(symbols), _Row.instrument.in_(more))
    return [_name(row) for row in session.scalars(select(_Row).where(near))]


def _unknown_error(symbol: str) -> QueryError:
    hint = f"run `onetape db symbols refresh {symbol}`"
    return QueryError(f"nothing is recorded for {symbol}", symbol=symbol, hint=hint)


def changes_by_name(session: Session, symbol: str | None = None) -> dict[str, list[SymbolChange]]:
    """Return the dated changes of each symbol, in the form that the bar store uses.

    Args:
        session: Session of a read-only unit of work.
        symbol: Limits the result to this symbol and the other symbols of its instruments; None
            means all symbols.
    """
    if symbol is None:
        return changes_of([_name(row) for row in session.scalars(select(_Row))])
    names = _names_near(session, symbol)
    held = {name.instrument for name in names if name.symbol == symbol}
    near = {name.symbol for name in names if name.instrument in held}
    return {name: changes for name, changes in changes_of(names).items() if name in near}


def described(session: Session, symbol: str, on: date | None = None) -> dict[str, Any]:
    """Return everything recorded about a symbol, as a dictionary of built-in types.

    Args:
        session: Session of a read-only unit of work.
        symbol: Canonical symbol.
        on: Date for which to resolve the symbol; if None, ``identity`` is None.

    Returns:
        A dictionary with the keys ``symbol``; ``values`` (each column's ``value``, with its entry
        in ``sources``); ``identity`` (the instrument on the date ``on``, or None); ``names`` (the
        intervals of the symbol and of its instruments); ``changes`` (each with ``date`` and
        ``text``); ``actions`` (the number of splits and dividends).

    Raises:
        QueryError: Nothing is recorded for the symbol, or it does not refer to any instrument on
            that day.
    """
    row, names = session.get(Symbol, symbol), _names_near(session, symbol)
    if row is None and not names:
        raise _unknown_error(symbol)
    identity = None if on is None else identity_of(symbol, on, names)
    sources = row.sources if row else {}
    held = {name.instrument for name in names if name.symbol == symbol}
    count = select(func.count()).where(CorporateAction.symbol == symbol)
    return {
        "symbol": symbol,
        "values": {
            column: {"value": _json_value(getattr(row, column, None)), **sources[column]}
            for column in Symbol.__mapper__.column_attrs.keys()
            if column in sources
        },
        "identity": identity
        and {
            "instrument": identity.instrument,
            "on": str(identity.on),
            "current": identity.current,
            "from": _json_value(identity.start),
            "to": _json_value(identity.end),
            "source": identity.source,
        },
        "names": [
            {
                "symbol": name.symbol,
                "instrument": name.instrument,
                "from": _json_value(name.start),
                "to": _json_value(name.end),
                "source": name.source,
            }
            for name in by_date(name for name in names if name.instrument in held)
        ],
        "changes": [
            {"date": str(change.ex_date), "text": change.sentence(symbol)}
            for change in changes_of(names).get(symbol, ())
        ],
        "actions": session.scalars(count).one(),
    }


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return list(value)
    return value.isoformat() if isinstance(value, date) else value
