"""Column types that behave alike in both engines: exact decimals, UTC instants, JSON documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import JSON, DateTime, Numeric, String
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.mutable import Mutable, MutableDict, MutableList
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeDecorator, TypeEngine

from ...core.runtime.once import cached_property
from ...errors import DatabaseError

_MOST_DIGITS = 1000
# Comparisons with the same result for text on SQLite and numbers on PostgreSQL.
_ALIKE = frozenset(
    {
        operators.eq,
        operators.ne,
        operators.is_,
        operators.is_not,
        operators.in_op,
        operators.not_in_op,
    }
)


class ExactDecimal(TypeDecorator[Decimal]):
    """An exact decimal of up to 1,000 digits; stored as text on SQLite, numeric on PostgreSQL.

    Trailing zeros are removed, so that equal numbers are equal strings. Floats, NaN and infinities
    are rejected. In SQL it can be compared only for equality, because SQLite stores text.
    """

    impl = Numeric
    cache_ok = True

    class comparator_factory(TypeDecorator.Comparator[Any]):  # noqa: N801 - the name is SQLAlchemy's
        """Allows only comparisons whose results are the same in both engines."""

        def operate(self, op: Any, *other: Any, **options: Any) -> Any:
            """Refuse an operation that has different results in the two engines."""
            if op not in _ALIKE:
                raise TypeError("SQL cannot compare or calculate exact decimals; do it in Python")
            return super().operate(op, *other, **options)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the engine's column type: text on SQLite, numeric on PostgreSQL."""
        return dialect.type_descriptor(String() if dialect.name == "sqlite" else Numeric())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Return the exact value to store: text on SQLite, a ``Decimal`` on PostgreSQL."""
        if value is None:
            return None
        exact = exact_decimal(value)
        return format(exact, "f") if dialect.name == "sqlite" else exact

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Convert the engine's value to a decimal without trailing zeros."""
        return None if value is None else exact_decimal(Decimal(value))


def exact_decimal(value: Any) -> Decimal:
    """Return a decimal or integer in its stored form, without an exponent or trailing zeros.

    Raises:
        DatabaseError: The value is a float, not a number or not finite, or has more than 1,000
            digits.
    """
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise DatabaseError(
            f"expected an exact decimal, not {value!r}",
            hint="use a Decimal made from text; a float has already lost digits",
        )
    number = Decimal(value)
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or len(digits) + abs(exponent) > _MOST_DIGITS:
        raise DatabaseError(
            f"the number has too many digits: {number:.6g}; at most {_MOST_DIGITS:,} are accepted"
        )
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return Decimal("0" if text == "-0" else text)


class RoundedDecimal(TypeDecorator[float]):
    """A float that is stored as a decimal with a fixed number of digits, rounded half to even.

    Stored as text on SQLite, numeric on PostgreSQL. Numbers that do not fit are rejected.

    Args:
        precision: Total number of digits.
        scale: Number of digits after the decimal point.
    """

    impl = Numeric
    cache_ok = True

    def __init__(self, precision: int, scale: int) -> None:
        super().__init__(precision, scale)
        self.precision, self.scale = precision, scale

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the engine's column type: text on SQLite, numeric on PostgreSQL."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String())
        return dialect.type_descriptor(Numeric(self.precision, self.scale))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Return the rounded value to store: text on SQLite, a ``Decimal`` on PostgreSQL."""
        if value is None:
            return None
        if not abs(value) < 10.0 ** (self.precision - self.scale) - 1:
            raise DatabaseError(f"{value!r} does not fit DECIMAL({self.precision}, {self.scale})")
        rounded = f"{Decimal(repr(float(value))):.{self.scale}f}"
        return rounded if dialect.name == "sqlite" else Decimal(rounded)

    def process_result_value(self, value: Any, dialect: Dialect) -> float | None:
        """Convert the engine's value to a float."""
        return None if value is None else float(value)


class UtcInstant(TypeDecorator[datetime]):
    """An instant, read as timezone-aware UTC; a naive datetime is written as UTC."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the engine's column type for a time with a time zone."""
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the value for the engine, in UTC; SQLite does not store the time zone."""
        if value is None:
            return None
        if not isinstance(value, datetime):
            raise DatabaseError(f"expected a datetime, not {value!r}")
        try:
            # Recreated, because the engines would drop the nanoseconds of a Timestamp
            # differently.
            moment = datetime.fromisoformat(value.isoformat(timespec="microseconds"))
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (OverflowError, ValueError) as exc:
            raise DatabaseError(
                f"datetime {value!r} is outside the years 1 to 9999 in UTC"
            ) from exc

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the value as a timezone-aware UTC datetime; None if it is not a datetime."""
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# --- documents ---------------------------------------------------------------------------------


class JsonDocument(TypeDecorator[Any]):
    """A mapping or list, stored as JSON; in-place changes are detected, even in nested values.

    NaN, infinities and values that JSON cannot represent are rejected.
    """

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the engine's own JSON type; None is stored as NULL, not as the JSON value null."""
        return dialect.type_descriptor(JSON(none_as_null=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Return the value to bind; NaN is rejected, because SQLite would accept it."""
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as exc:
            raise DatabaseError(f"a document is not valid JSON: {exc}") from exc
        return value


class _Rows(WeakKeyDictionary[Any, Any]):
    """References from a document to its rows, which keep the rows alive as long as the document.

    A session keeps only changed rows alive. Without this class, the row in ``session.get_one(Row,
    key).document["name"] = 1`` would be garbage-collected before the change is noticed.
    """

    def __setitem__(self, state: Any, name: Any) -> None:
        super().__setitem__(state, name)
        self._alive = state.obj()


class _Document(Mutable):
    """A mapping or list that is the complete value of a column."""

    @cached_property
    def _parents(self) -> WeakKeyDictionary[Any, Any]:
        return _Rows()

    @classmethod
    def coerce(cls, key: str, value: Any) -> Any:
        """Convert a mapping or list to a new document; leave None and documents as they are."""
        if value is None or isinstance(value, _Document):
            return value
        if isinstance(value, dict | list):
            return _part(value)
        raise DatabaseError(f"{key} accepts a mapping or a list, not a {type(value).__name__}")


class _Part:
    """A mapping or list at any level of a document, which reports its changes to the document."""

    _document: _Document

    def changed(self) -> None:
        """Convert any newly added plain containers to parts, and report the change."""
        part: Any = self
        put: Any = dict.__setitem__ if isinstance(part, dict) else list.__setitem__
        for key, value in list(part.items() if isinstance(part, dict) else enumerate(part)):
            is_own = getattr(value, "_document", None) is self._document
            if isinstance(value, dict | list) and not is_own:
                put(part, key, _part(value, self._document))
        Mutable.changed(self._document)

    def __reduce_ex__(self, protocol: Any) -> Any:
        whole: Any = self
        value = dict(whole) if isinstance(whole, dict) else list(whole)
        return (_part, (value,)) if whole._document is whole else (type(value), (value,))


class _MappingPart(_Part, MutableDict[Any, Any]):
    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key as a part, after adding the default if the key is missing."""
        super().setdefault(key, default)
        return self[key]


class _ListPart(_Part, MutableList[Any]): ...


class _MappingDocument(_Document, _MappingPart): ...


class _ListDocument(_Document, _ListPart): ...


def _part(content: Any, document: _Document | None = None) -> Any:
    """Copy a container as a part of the document, or else as a new document."""
    types: Any = (_MappingDocument, _ListDocument)
    if document is not None:
        types = (_MappingPart, _ListPart)
    part = types[isinstance(content, list)](content)
    part._document = part if document is None else document
    part.changed()
    return part


_Document.associate_with(JsonDocument)
