"""Bars as rows, as vendors send them, and as columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import isinf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..time.edges import Edges, edges_of, holds
from ..time.edges import distinct as distinct
from ..time.span import Span

Floats = NDArray[np.float64]
Stamps = NDArray[np.int64]
PRICES = ("open", "high", "low", "close")
NAN = float("nan")
# Below this many values a Python loop is faster than numpy.
_FEW_ROWS = 32
# First line of a fingerprint's input.
FRAME = b"onetape-frame-2\n"


class Bar(NamedTuple):
    """One bar as a vendor sent it, with a timestamp in UTC milliseconds and plain floats.

    The timestamp is the bar's opening time in UTC; for daily and longer bars it is 00:00 of the
    session date (Monday for weeks, the 1st for months). A missing value is NaN.
    """

    stamp_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    adj_close: float = NAN


class BadRow(NamedTuple):
    """A row that cannot be a valid bar, as received, with the reason as a short, stable string."""

    bar: Bar
    reason: str


@dataclass(frozen=True)
class BarTable:
    """Bars as columns of equal length; the arrays must not be written to.

    Attributes:
        stamps: int64, shape (n,), UTC milliseconds; see :class:`Bar`.
        open, high, low, close, volume: float64, shape (n,); a missing value is NaN.
        adj_close: float64, or None if the vendor has none.
        index: Timestamps in nanoseconds. Set only if nothing else uses the table's arrays, so that
            a frame may use them without copying.
    """

    stamps: Stamps
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    adj_close: Floats | None = None
    index: Stamps | None = None

    def read_only(self) -> BarTable:
        """Return a table of read-only views of the columns; nothing is copied."""
        views: dict[str, Any] = {}
        for name, values in vars(self).items():
            views[name] = values if values is None else values.view()
            if values is not None:
                views[name].flags.writeable = False
        return BarTable(**views)

    @classmethod
    def empty(cls) -> BarTable:
        """Return a table without rows."""
        none = np.empty(0, dtype=np.float64)
        return cls(np.empty(0, dtype=np.int64), none, none, none, none, none)

    @classmethod
    def from_bars(cls, bars: Sequence[Bar]) -> BarTable:
        """Build a table from bars in the given order; nothing is sorted, dropped or checked."""
        if not bars:
            return cls.empty()
        stamps = np.fromiter((b.stamp_ms for b in bars), dtype=np.int64, count=len(bars))
        values = np.array([b[1:] for b in bars], dtype=np.float64)
        adj = values[:, 5].copy()
        columns = [values[:, i].copy() for i in range(5)]
        return cls.of_columns(stamps, columns, None if np.isnan(adj).all() else adj)

    @classmethod
    def of_columns(
        cls, stamps: Stamps, columns: Sequence[Floats], adj_close: Floats | None = None
    ) -> BarTable:
        """Build a table from timestamps and the columns open, high, low, close and volume."""
        opens, highs, lows, closes, volumes = columns
        return cls(stamps, opens, highs, lows, closes, volumes, adj_close)

    def __len__(self) -> int:
        return len(self.stamps)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the value columns, in canonical order."""
        base = (*PRICES, "volume")
        return base if self.adj_close is None else (*base, "adj_close")

    def values(self) -> list[Floats]:
        """Return the value columns in the order of :attr:`columns`."""
        values = [self.open, self.high, self.low, self.close, self.volume]
        return values if self.adj_close is None else [*values, self.adj_close]

    def bars(self) -> list[Bar]:
        """Return the rows as a list of bars."""
        columns = [self.stamps.tolist(), *(values.tolist() for values in self.values())]
        if self.adj_close is None:
            columns.append([NAN] * len(self))
        return list(map(Bar._make, zip(*columns, strict=True)))

    def has_infinity(self) -> bool:
        """Return whether any value is infinite; missing values do not count."""
        if len(self) < _FEW_ROWS:
            return any(map(isinf, chain.from_iterable(column.tolist() for column in self.values())))
        return any(bool(np.isinf(column).any()) for column in self.values())

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> BarTable:
        """Return the rows that a mask, an array of positions or a slice selects."""
        adj = None if self.adj_close is None else self.adj_close[rows]
        index = None if self.index is None else self.index[rows]
        return BarTable(
            self.stamps[rows],
            self.open[rows],
            self.high[rows],
            self.low[rows],
            self.close[rows],
            self.volume[rows],
            adj,
            index,
        )

    def within(self, span: Span) -> BarTable:
        """Return the rows with a timestamp in ``span``; the table must be in ascending order."""
        if not len(self) or (self.stamps[0] >= span.start and self.stamps[-1] < span.end):
            return self
        first, last = self.stamps.searchsorted([span.start, span.end]).tolist()
        return self.take(slice(first, last))

    def counts(self, spans: Iterable[Span] | Edges) -> list[int]:
        """Return the number of rows in each of ``spans``; the table must be in ascending order."""
        positions = self.stamps.searchsorted(edges_of(spans))
        counts: list[int] = (positions[:, 1] - positions[:, 0]).tolist()
        return counts

    def with_adj_close(self, adj_close: Floats | None) -> BarTable:
        """Return the same bars with ``adj_close`` as their adjusted closes; None removes the column."""
        return replace(self, adj_close=adj_close)


def among(stamps: Stamps, ascending: Stamps) -> NDArray[np.bool_]:
    """Return a mask of the stamps that are also in ``ascending``; ``stamps`` need not be sorted."""
    if not (len(stamps) and len(ascending)):
        return np.zeros(len(stamps), dtype=bool)
    # The usual case: an answer with every expected bar of a range.
    first = int(ascending.searchsorted(stamps[0]))
    if np.array_equal(ascending[first : first + len(stamps)], stamps):
        return np.ones(len(stamps), dtype=bool)
    positions = np.minimum(ascending.searchsorted(stamps), len(ascending) - 1)
    return np.equal(ascending[positions], stamps)


def union(stamps: Stamps, other: Stamps) -> Stamps:
    """Merge two ascending arrays of timestamps, without duplicates.

    If ``other`` adds nothing to ``stamps``, this takes only one search per timestamp in ``other``.
    """
    new = other[~among(other, stamps)]
    return np.insert(stamps, np.searchsorted(stamps, new), new) if len(new) else stamps


def inside(stamps: Stamps, spans: Iterable[Span] | Edges) -> NDArray[np.bool_]:
    """Return a mask of the stamps within any of ``spans``; ``stamps`` need not be sorted."""
    return holds(edges_of(spans), stamps)


def concat(tables: Iterable[BarTable]) -> BarTable:
    """Concatenate tables; if only some have ``adj_close``, it is NaN in the other tables' rows."""
    filled = [t for t in tables if len(t)]
    if not filled:
        return BarTable.empty()
    if len(filled) == 1:
        return filled[0]
    adj = None
    if any(t.adj_close is not None for t in filled):
        adj = np.concatenate(
            [np.full(len(t), NAN) if t.adj_close is None else t.adj_close for t in filled]
        )
    columns = [np.concatenate([t.values()[i] for t in filled]) for i in range(5)]
    return BarTable.of_columns(np.concatenate([t.stamps for t in filled]), columns, adj)


def merge(old: BarTable, new: BarTable) -> BarTable:
    """Merge two tables into ascending, unique rows; for a timestamp in both, the new row wins."""
    both = concat([old, new])
    if (both.stamps[1:] > both.stamps[:-1]).all():  # usually the new bars follow the old ones
        return both
    order = np.argsort(both.stamps, kind="stable")
    stamps = both.stamps[order]
    last_of_its_stamp = np.append(stamps[1:] != stamps[:-1], True)
    return both.take(order[last_of_its_stamp])


def fingerprint_of(stamps: Stamps, columns: Iterable[tuple[str, Floats]]) -> str:
    """Return the digest of bars; :func:`~.proof.fingerprint` describes how it is computed.

    Args:
        stamps: Timestamps in UTC milliseconds.
        columns: Names and values of the columns, in the order in which they are hashed.
    """
    digest = hashlib.sha256(FRAME)
    digest.update(b"timestamp\n" + stamps.astype("<i8").tobytes())
    for name, column in columns:
        one_nan = np.where(np.isnan(column), np.nan, column)
        digest.update(f"{name}\n".encode() + one_nan.astype("<f8").tobytes())
    return f"sha256:{digest.hexdigest()}"
