"""What all repositories share: claims, values of rows, exact numbers, plain answers, the time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

from ...clock import Clock, SystemClock
from ...errors import DatabaseError, QueryError
from ...model.suggestion import check_names
from ..core.types import ExactDecimal, exact_decimal


class Repository:
    """Logic over the session of a unit; methods that change rows need one that writes.

    Args:
        session: of the unit.
        clock: tells the time.
    """

    def __init__(self, session: Session, clock: Clock | None = None) -> None:
        self.s = session
        self.clock = clock or SystemClock()

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC)


def claim(session: Session, model: type[DeclarativeBase], **values: Any) -> Any:
    """Insert a row unless a unique key of it exists; return its primary key, None where it exists.

    Where another unit inserts the same key at this moment, it waits for the end of that.
    """
    dialect = session.get_bind().dialect.name
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(model).values(**values)
    first = inspect(model).primary_key[0]
    return session.execute(insert.on_conflict_do_nothing().returning(first)).scalar_one_or_none()


def assign(row: DeclarativeBase, values: Mapping[str, Any], *, fixed: Collection[str] = ()) -> None:
    """Set columns of a row; numbers of exact columns may be of any type that :func:`exact` takes.

    Raises:
        QueryError: a name is no column, or may not be changed; a number is none.
    """
    columns = inspect(type(row)).columns
    check_names(values, [one for one in columns.keys() if one not in fixed], type(row).__name__)
    for name, value in values.items():
        is_exact = isinstance(columns[name].type, ExactDecimal) and value is not None
        setattr(row, name, exact(value, name) if is_exact else value)


def exact(value: Any, what: str, *, is_above_0: bool = False) -> Decimal:
    """Return a number with the digits that it is written with; a float has those of its ``repr``.

    Raises:
        QueryError: it is no finite number of at most 1,000 digits, or not above 0.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, Decimal | int | float | str):
            raise InvalidOperation
        number = exact_decimal(Decimal(str(value)))
    except (InvalidOperation, ValueError, DatabaseError) as exc:
        raise QueryError(f"{what} {value!r:.80} is no number", hint="give a Decimal") from exc
    if is_above_0 and number <= 0:
        raise QueryError(f"{what} {value!r:.80} is not above 0")
    return number


def flag(name: str, value: Any) -> bool:
    """Return a value that is True or False.

    Raises:
        QueryError: it is neither.
    """
    if not isinstance(value, bool):
        raise QueryError(f"{name} {value!r:.80} is neither True nor False")
    return value


def as_dict(row: DeclarativeBase, *without: str) -> dict[str, Any]:
    """Return the values of a row by attribute; documents are plain copies."""
    names = inspect(type(row)).column_attrs.keys()
    return {name: plain(getattr(row, name)) for name in names if name not in without}


def plain(value: Any) -> Any:
    """Return a document without what reports its changes."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


def page(limit: int, offset: int = 0) -> tuple[int, int]:
    """Return a limit and an offset of rows.

    Raises:
        QueryError: they are no whole numbers from 0.
    """
    for name, value in {"limit": limit, "offset": offset}.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            raise QueryError(f"{name} {value!r:.80} is no whole number from 0")
    return limit, offset
