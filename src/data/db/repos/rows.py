"""Code shared by the repositories: claims, row values, exact numbers, plain results, the time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Select, inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

from ...core.clock import Clock, SystemClock
from ...core.model.words.suggestion import check_names
from ...errors import DatabaseError, QueryError
from ..core.types import ExactDecimal, UtcInstant, exact_decimal

if TYPE_CHECKING:
    import pandas as pd

R = TypeVar("R", bound="Repository")
P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")


class Repository:
    """Reads and, if the unit of work can write, changes rows in the unit's session.

    Args:
        session: Session of the unit of work.
        clock: Source of the current time.

    Attributes:
        model: Class of the rows that :meth:`to_frame` returns.
    """

    model: type[DeclarativeBase]

    def __init__(self, session: Session, clock: Clock | None = None) -> None:
        self.session = session
        self.clock = clock or SystemClock()

    def now(self) -> datetime:
        """Return the current time, in UTC."""
        return datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC)

    def to_frame(self) -> pd.DataFrame:
        """Return all records of this repository, in the order of their keys.

        The frame has a column for each attribute of :attr:`model`. Times are timezone-aware in UTC,
        amounts of money are ``Decimal``, and documents are dictionaries.
        """
        import pandas as pd

        columns = {name: getattr(self.model, name) for name in _names(self.model)}
        query = select(*columns.values()).order_by(*inspect(self.model).primary_key)
        frame = pd.DataFrame(self.session.execute(query).all(), columns=list(columns))
        for name, column in columns.items():
            if isinstance(column.type, UtcInstant):
                frame[name] = pd.to_datetime(frame[name], utc=True)
        return frame


def _names(model: type[DeclarativeBase]) -> list[str]:
    """Return the names of a model's columns; SQLAlchemy may add one that begins with ``_``."""
    return [name for name in inspect(model).column_attrs.keys() if not name.startswith("_")]


def claim(session: Session, model: type[DeclarativeBase], **values: Any) -> Any:
    """Insert a row and return its primary key, or return None if its unique key already exists.

    If another unit of work is inserting the same key, the call waits until that unit has ended.
    """
    dialect = session.get_bind().dialect.name
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(model).values(**values)
    first = inspect(model).primary_key[0]
    return session.execute(insert.on_conflict_do_nothing().returning(first)).scalar_one_or_none()


def assign(row: DeclarativeBase, values: Mapping[str, Any], *, fixed: Collection[str] = ()) -> None:
    """Set columns of a row; for decimal columns, values are converted by :func:`exact`.

    Raises:
        QueryError: A name is not a column or is in ``fixed``, or a decimal column's value is not a
            number.
    """
    columns = inspect(type(row)).columns
    check_names(values, [name for name in columns.keys() if name not in fixed], type(row).__name__)
    for name, value in values.items():
        is_exact = isinstance(columns[name].type, ExactDecimal) and value is not None
        setattr(row, name, exact(value, name) if is_exact else value)


def exact(value: Any, what: str, *, is_above_0: bool = False) -> Decimal:
    """Convert a number to a decimal with the same digits; a float has the digits of its ``repr``.

    Raises:
        QueryError: The value is not a finite number of at most 1,000 digits, or ``is_above_0`` is
            set and the value is 0 or less.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, Decimal | int | float | str):
            raise InvalidOperation
        number = exact_decimal(Decimal(str(value)))
    except (InvalidOperation, ValueError, DatabaseError) as exc:
        raise QueryError(f"{what} is not a number: {value!r:.80}", hint="use a Decimal") from exc
    if is_above_0 and number <= 0:
        raise QueryError(f"{what} must be above 0, not {value!r:.80}")
    return number


def flag(name: str, value: Any) -> bool:
    """Check that a value is True or False, and return it.

    Raises:
        QueryError: The value is not a bool.
    """
    if not isinstance(value, bool):
        raise QueryError(f"{name} must be True or False, not {value!r:.80}")
    return value


def as_dict(row: DeclarativeBase) -> dict[str, Any]:
    """Return a row's values, with the attribute names as keys.

    Documents are copied to plain dictionaries and lists.
    """
    return {name: plain(getattr(row, name)) for name in _names(type(row))}


def as_dict_or_none(row: DeclarativeBase | None) -> dict[str, Any] | None:
    """Return a row's values as :func:`as_dict` does, or None if there is no row."""
    return None if row is None else as_dict(row)


def as_dicts(rows: Iterable[DeclarativeBase]) -> list[dict[str, Any]]:
    """Return the values of several rows, each as :func:`as_dict` does."""
    return [as_dict(row) for row in rows]


def same(value: T) -> T:
    """Return the value."""
    return value


def delegated(
    kind: type[R], method: Callable[Concatenate[R, P], T], shown: Callable[[T], S]
) -> Callable[Concatenate[Any, P], S]:
    """Return a method of a repository that calls another repository in the same unit of work.

    Args:
        kind: Class of the other repository.
        method: Its method, whose signature and documentation the new method gets.
        shown: Function that converts the result.
    """

    @wraps(method)
    def call(self: Repository, /, *args: P.args, **kwargs: P.kwargs) -> S:
        return shown(method(kind(self.session, self.clock), *args, **kwargs))

    return call


def plain(value: Any) -> Any:
    """Copy a document to plain dictionaries and lists, which do not report changes."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def where(query: Select[T], *pairs: tuple[Any, Any]) -> Select[T]:
    """Limit a query to rows in which each column has its value; None means any value."""
    return query.where(*(column == value for column, value in pairs if value is not None))


def page(limit: int, offset: int = 0) -> tuple[int, int]:
    """Check the limit and offset of a query, and return both.

    Raises:
        QueryError: ``limit`` or ``offset`` is not a non-negative integer.
    """
    for name, value in {"limit": limit, "offset": offset}.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            raise QueryError(f"{name} must be a non-negative integer, not {value!r:.80}")
    return limit, offset
