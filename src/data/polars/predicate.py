"""Determines the times and names that a Polars filter can select, so that only these are read.

The bounds are never narrower than the filter. An expression that cannot be parsed sets no bounds;
the caller applies the whole filter to the rows that it has read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import polars as pl

__all__ = ["ANY_TIME", "TimeBounds", "selected_names", "time_bounds"]

_EPOCH = datetime(1970, 1, 1)
_STAMP = pl.Datetime("us")
_STEP = timedelta(microseconds=1)
_MIRRORED = {"Gt": "Lt", "GtEq": "LtEq", "Lt": "Gt", "LtEq": "GtEq", "Eq": "Eq"}


class TimeBounds(NamedTuple):
    """Bounds for naive times.

    Attributes:
        low, high: Earliest and latest time, both inclusive; None for no bound.
        is_exact: Whether the filter selects every time (in whole microseconds) within the bounds.
    """

    low: datetime | None = None
    high: datetime | None = None
    is_exact: bool = True

    def within(self, other: TimeBounds) -> TimeBounds:
        """Return the intersection of these bounds and ``other``."""
        lows = [bound for bound in (self.low, other.low) if bound is not None]
        highs = [bound for bound in (self.high, other.high) if bound is not None]
        exact = self.is_exact and other.is_exact
        return TimeBounds(max(lows, default=None), min(highs, default=None), exact)

    @property
    def is_empty(self) -> bool:
        """Whether no time is within the bounds."""
        return self.low is not None and self.high is not None and self.low > self.high


ANY_TIME = TimeBounds()
_UNKNOWN = TimeBounds(is_exact=False)


def time_bounds(predicate: pl.Expr | None, column: str) -> TimeBounds:
    """Return bounds for the times that a filter on a column can select.

    Bounds come from comparisons with a fixed time and from ``is_between``, joined by ``&``.
    Everything else, such as ``|`` or a function of the column, does not set any bounds.

    Args:
        predicate: Filter, or None for no filter.
        column: Name of a column of dates, or of naive times.
    """
    bounds = ANY_TIME
    for part in _parts(predicate):
        bounds = bounds.within(_bounds_of(part, column) if part else _UNKNOWN)
    return bounds


def selected_names(predicate: pl.Expr | None, column: str, names: Sequence[str]) -> list[str]:
    """Return the names that a filter on a column of names may select, in the order given.

    Only comparisons with fixed names and ``is_in`` can exclude names.

    Args:
        predicate: Filter, or None for no filter.
        column: Name of the column.
        names: All names in the column.
    """
    frame = pl.DataFrame({column: list(names)}, schema={column: pl.String})
    for part in _parts(predicate):
        if part is not None and _columns(part) == {column} and _is_of_names(part):
            try:
                frame = frame.filter(_expression(part))
            except pl.exceptions.PolarsError:  # the caller's own filter reports it
                continue
    left: list[str] = frame[column].to_list()
    return left


def _parts(predicate: pl.Expr | None) -> Iterator[dict[str, Any] | None]:
    """Yield the conditions that must all hold, in Polars' JSON form; None for an unknown one."""
    if predicate is None:
        return
    try:
        todo = [json.loads(predicate.meta.serialize(format="json"))]
    except (pl.exceptions.PolarsError, ValueError, TypeError, RecursionError):
        todo = [None]  # a filter that has no written form
    while todo:
        part = todo.pop()
        match part:
            case {"BinaryExpr": {"left": left, "op": "And" | "LogicalAnd", "right": right}}:
                todo += [right, left]
            case dict():
                yield part
            case _:
                yield None


def _bounds_of(part: dict[str, Any], column: str) -> TimeBounds:
    """Return the bounds that a single comparison sets."""
    match part:
        case {"BinaryExpr": {"left": left, "op": str(how), "right": right}}:
            if _is_column(right, column):
                left, how, right = right, _MIRRORED.get(how, ""), left
            if how in _MIRRORED and _is_column(left, column):
                return _low(how, right).within(_high(how, right))
        case {
            "Function": {
                "input": [it, first, last],
                "function": {"Boolean": {"IsBetween": {"closed": str(closed)}}},
            }
        }:
            if _is_column(it, column):
                low = _low("GtEq" if closed in ("Both", "Left") else "Gt", first)
                return low.within(_high("LtEq" if closed in ("Both", "Right") else "Lt", last))
    return _UNKNOWN


def _low(how: str, node: Any) -> TimeBounds:
    """Return the lower bound, if any, that a comparison with a fixed time sets."""
    if how not in ("Gt", "GtEq", "Eq"):
        return ANY_TIME
    moment, is_exact = _time(node)
    if how == "Gt" and is_exact and moment is not None and moment < datetime.max:
        moment += _STEP
    return TimeBounds(moment, None, is_exact)


def _high(how: str, node: Any) -> TimeBounds:
    """Return the upper bound, if any, that a comparison with a fixed time sets."""
    if how not in ("Lt", "LtEq", "Eq"):
        return ANY_TIME
    moment, is_exact = _time(node)
    if how == "Lt" and is_exact and moment is not None and moment > datetime.min:
        moment -= _STEP
    return TimeBounds(None, moment, is_exact)


def _is_column(node: Any, column: str) -> bool:
    return bool(node == {"Column": column})


def _time(node: Any) -> tuple[datetime | None, bool]:
    """Return the fixed time that an expression stands for, and whether it is that time exactly.

    The time is None if the expression is anything else, or a time that Python cannot represent.
    """
    match node:
        case {"Literal": {"Scalar": {"Datetime": [int(value), "Microseconds", None]}}}:
            moment = _time_at(value)  # the usual case, without Polars
            return moment, moment is not None
    if not _is_fixed(node):
        return None, False
    try:
        column = pl.select(_expression(node)).to_series()
        is_naive = column.dtype == pl.Date or (
            isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is None
        )
        # A bound between two microseconds is rounded down, which keeps all bars.
        moment = column.cast(_STAMP).item() if is_naive else None
    except (pl.exceptions.PolarsError, ValueError, TypeError, OverflowError):
        return None, False
    return moment if isinstance(moment, datetime) else None, False


def _time_at(microseconds: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None


def _is_fixed(node: Any) -> bool:
    """Return whether an expression is a literal, possibly converted to another type."""
    match node:
        case {"Literal": _}:
            return True
        case {"Cast": {"expr": inner}}:
            return _is_fixed(inner)
    return False


def _expression(node: Any) -> pl.Expr:
    return pl.Expr.deserialize(io.StringIO(json.dumps(node)), format="json")


def _columns(node: Any) -> set[str]:
    """Return the names of the columns in an expression."""
    if isinstance(node, dict):
        column = node.get("Column")
        names = {column} if isinstance(column, str) else set()
        return names.union(*map(_columns, node.values()))
    return set().union(*map(_columns, node)) if isinstance(node, list) else set()


def _is_of_names(node: Any) -> bool:
    """Return whether an expression only compares names, one at a time, with fixed names."""
    match node:
        case {"Column": str()} | {"Literal": _}:
            return True
        case {"BinaryExpr": {"left": left, "op": "Eq" | "Or" | "LogicalOr", "right": right}}:
            return _is_of_names(left) and _is_of_names(right)
        case {"Function": {"input": list(inputs), "function": {"Boolean": {"IsIn": _}}}}:
            return all(map(_is_of_names, inputs))
    return False
