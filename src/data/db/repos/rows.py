"""Code shared by the repositories: claims, row values, exact numbers, plain results, the time."""

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
    """Reads and changes rows in the session of a unit of work; changes need a writing unit.

    Args:
        session: Session of the unit.
        clock: Source of the current time.
    """

    def __init__(self, session: Session, clock: Clock | None = None) -> None:
        self.s = session
        self.clock = clock or SystemClock()

    def now(self) -> datetime:
        """Return the current time, in UTC."""
        return datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC)


def claim(session: Session, model: type[DeclarativeBase], **values: Any) -> Any:
    """Insert a row unless its unique key exists; return its primary key, or None if it does.

    If another unit is inserting the same key, this waits until that unit ends.
    """
    dialect = session.get_bind().dialect.name
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(model).values(**values)
    first = inspect(model).primary_key[0]
    return session.execute(insert.on_conflict_do_nothing().returning(first)).scalar_one_or_none()


def assign(row: DeclarativeBase, values: Mapping[str, Any], *, fixed: Collection[str] = ()) -> None:
    """Set columns of a row; exact columns accept every type that :func:`exact` does.

    Raises:
        QueryError: A name is not a column or must not be changed, or a value is not a number.
    """
    columns = inspect(type(row)).columns
    check_names(values, [one for one in columns.keys() if one not in fixed], type(row).__name__)
    for name, value in values.items():
        is_exact = isinstance(columns[name].type, ExactDecimal) and value is not None
        setattr(row, name, exact(value, name) if is_exact else value)


def exact(value: Any, what: str, *, is_above_0: bool = False) -> Decimal:
    """Convert a number to a decimal with the same digits; a float has the digits of its ``repr``.

    Raises:
        QueryError: The value is not a finite number of at most 1,000 digits, or is not above 0.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, Decimal | int | float | str):
            raise InvalidOperation
        number = exact_decimal(Decimal(str(value)))
    except (InvalidOperation, ValueError, DatabaseError) as exc:
        raise QueryError(f"{what} is not a number: {value!r:.80}", hint="use a Decimal") from exc
    if is_above_0 and number <= 0:
        raise QueryError(f"{what} {value!r:.80} is not above 0")
    return number


def flag(name: str, value: Any) -> bool:
    """Return a value that is True or False.

    Raises:
        QueryError: The value is neither.
    """
    if not isinstance(value, bool):
        raise QueryError(f"{name} {value!r:.80} is neither True nor False")
    return value


def as_dict(row: DeclarativeBase, *without: str) -> dict[str, Any]:
    """Return the values of a row by attribute; documents are plain copies."""
    names = inspect(type(row)).column_attrs.keys()
    return {name: plain(getattr(row, name)) for name in names if name not in without}


def plain(value: Any) -> Any:
    """Return a document as plain containers, which do not report changes."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


def page(limit: int, offset: int = 0) -> tuple[int, int]:
    """Return a checked limit and offset of rows.

    Raises:
        QueryError: One of them is not a non-negative integer.
    """
    for name, value in {"limit": limit, "offset": offset}.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            raise QueryError(f"{name} is not an integer from 0: {value!r:.80}")
    return limit, offset
