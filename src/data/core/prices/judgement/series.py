"""The input of validation: the bars of a series in one basis, with related facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...model.market.bars import NAN, BarTable, Floats, Stamps
from ...model.time.instant import DAY_MS
from ...model.time.timeframe import Timeframe
from ...runtime.once import cached_property

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

# Factor from a median of absolute values to the standard deviation of a normal distribution.
_NORMAL = 1.4826
_SAMPLE_ROWS = 20_000
# Bars farther apart than this are not neighbours, as no market is closed that long (Shanghai 2020:
# eleven days).
_HOLE_MS, _HOLE_BARS = 12 * DAY_MS, 4

# Distance (a logarithm) beyond all prices of its day from which a close contradicts that day.
FAR = float(np.log(1.4))

Found = TypeVar("Found")


class ShareEvent(NamedTuple):
    """A split or a dividend.

    Attributes:
        at_ms: Timestamp of the ex-date (00:00) or, for intraday bars, the opening time of its
            session.
        value: New shares per old share, or cash per share, in terms of the same shares as the
            prices.
    """

    at_ms: int
    value: float


class DailySessions(NamedTuple):
    """Daily bars with which intraday bars are compared.

    Attributes:
        opens, closes: UTC instants at which the session of each bar opens and closes.
        days: Daily bars, in the same basis as the intraday bars.
    """

    opens: Stamps
    closes: Stamps
    days: BarTable


@dataclass(frozen=True)
class CheckedSeries:
    """A series as the checks receive it; it is never modified.

    Attributes:
        timeframe: Length of the bars.
        table: Bars, ascending and unique, in one basis: adjusted for all splits in ``splits``.
        asset_class: Asset class of the instrument; only shares have splits and dividends.
        splits, dividends: Actions that count, ascending; None if they are unknown.
        units_vary: Whether vendors quote the instrument both in a currency and in its hundredth
            (pence).
        expected: Ascending timestamps at which the calendar expects bars; None if unknown.
        days: Stored daily bars for the same span, only for weekly and monthly bars.
        sessions: Stored daily bars for the same span, only for intraday bars.
        return_sds: Number of standard deviations from which a close-to-close move counts as an
            outlier.
    """

    timeframe: Timeframe
    table: BarTable
    asset_class: str = "stock"
    splits: Sequence[ShareEvent] | None = None
    dividends: Sequence[ShareEvent] | None = None
    units_vary: bool = False
    expected: Stamps | None = None
    days: BarTable | None = None
    sessions: DailySessions | None = None
    return_sds: float = 3.0

    def __len__(self) -> int:
        return len(self.table)

    @property
    def prices(self) -> tuple[Floats, Floats, Floats, Floats]:
        """The columns open, high, low and close."""
        return self.table.open, self.table.high, self.table.low, self.table.close

    @cached_property
    def has_volume(self) -> bool:
        """Whether any bar has a volume above zero."""
        return bool(np.any(self.table.volume > 0))

    @cached_property
    def traded(self) -> Mask:
        """Mask of the rows with a volume above zero; all rows if the series has no volume at all."""
        if not self.has_volume:
            return np.ones(len(self), dtype=bool)
        return self.table.volume > 0

    @cached_property
    def session_rows(self) -> Rows:
        """Index in ``sessions`` of the daily bar for each bar; -1 if it is not stored."""
        if self.sessions is None or not len(self.sessions.opens):
            return np.full(len(self), -1, dtype=np.intp)
        rows = np.searchsorted(self.sessions.opens, self.table.stamps, side="right") - 1
        return np.where(self.table.stamps < self.sessions.closes[rows], rows, -1)

    @cached_property
    def from_days(self) -> Floats:
        """Each close's log distance above the day's high or (negative) below the day's low.

        The distance is 0 for a close within the range, and NaN for a bar without trades or without
        a stored daily bar.
        """
        away, rows = np.full(len(self), NAN), self.session_rows
        mask = (rows >= 0) & self.traded
        if self.sessions is not None and mask.any():
            days, close = self.sessions.days, self.table.close[mask]
            above, below = _log(close / days.high[rows[mask]]), _log(days.low[rows[mask]] / close)
            away[mask] = np.maximum(above, 0.0) - np.maximum(below, 0.0)
        return away

    @cached_property
    def gap_ratios(self) -> Floats:
        """Each row's open divided by the previous close, for all rows but the first; shape (n - 1,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.table.open[1:] / self.table.close[:-1]

    @cached_property
    def move_ratios(self) -> Floats:
        """Each row's close divided by the previous close, for all rows but the first; shape (n - 1,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.table.close[1:] / self.table.close[:-1]

    @cached_property
    def gaps(self) -> Floats:
        """The logarithm of :attr:`gap_ratios`."""
        return _log(self.gap_ratios)

    @cached_property
    def moves(self) -> Floats:
        """The logarithm of :attr:`move_ratios`."""
        return _log(self.move_ratios)

    @cached_property
    def gap_noise(self) -> float:
        """The typical size of the price jump between two bars, as a robust standard deviation."""
        return noise(_log(_part(self.gap_ratios)))

    @cached_property
    def move_noise(self) -> float:
        """The typical size of close-to-close moves, measured like :attr:`gap_noise`."""
        return noise(_log(_part(self.move_ratios)))

    @cached_property
    def edges(self) -> list[int]:
        """The index of the first row after each long gap, between 0 and the number of rows."""
        longest = max(_HOLE_MS, _HOLE_BARS * self.timeframe.longest_ms)
        ends = np.flatnonzero(np.diff(self.table.stamps) > longest) + 1
        return [0, *ends.tolist(), len(self)]

    def rows_of(self, events: Sequence[ShareEvent]) -> Rows:
        """Return for each event the index of the first row at or after it, or ``len(self)``.

        A weekly or monthly bar that contains the ex-date counts as such a row.
        """
        stamps = np.array([event.at_ms for event in events], dtype=np.int64)
        step_ms = self.timeframe.step_ms
        if self.timeframe.is_intraday or step_ms == 86_400_000:
            return np.searchsorted(self.table.stamps, stamps)
        # A week or month that contains the ex-date closes without the dividend.
        return np.maximum(np.searchsorted(self.table.stamps, stamps, side="right") - 1, 0)


def sections(series: CheckedSeries) -> Iterator[CheckedSeries]:
    """Yield the parts of a series between long gaps, each as a separate series.

    Bars on either side of a long gap are not comparable, because prices move and dividends are paid
    in between. If the series has no such gap, the series itself is yielded.
    """
    if len(series.edges) == 2:
        yield series
        return
    for first, end in pairwise(series.edges):
        yield replace(series, table=series.table.take(slice(first, end)))


def by_section(
    find: Callable[[CheckedSeries], list[Found] | str],
) -> Callable[[CheckedSeries], list[Found] | str]:
    """Decorate a check that compares adjacent bars: it then runs separately between long gaps.

    The check counts as not run only if it could not run on any part.
    """

    @wraps(find)
    def _find_all(series: CheckedSeries) -> list[Found] | str:
        with np.errstate(all="ignore"):  # a ratio that overflows is infinite, and compared as such
            results = [find(section) for section in sections(series)]
        lists = [result for result in results if not isinstance(result, str)]
        return [defect for result in lists for defect in result] if lists else results[0]

    return _find_all


def _part(values: Floats) -> Floats:
    return values[:: max(1, len(values) // _SAMPLE_ROWS)]


def _log(values: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)


def beyond(ratios: Floats, least: float) -> Rows:
    """Return the indices of ratios whose logarithm exceeds ``least`` in either direction."""
    with np.errstate(over="ignore"):
        far = np.exp(least)
    return np.flatnonzero((ratios > far) | (ratios < 1 / far))


def local_noise(ratios: Floats, row: int, reach: int = 20) -> float:
    """Return the standard deviation of the log ratios around ``row``, excluding ``row`` itself.

    The result is the larger of two estimates from quantiles, so that it reflects the usual size of
    moves even if most moves are zero.
    """
    around = ratios[max(0, row - reach) : row], ratios[row + 1 : row + 1 + reach]
    near = np.abs(_log(np.concatenate(around)))
    near = near[np.isfinite(near)]
    return float(max(np.quantile(near, 0.68), np.quantile(near, 0.9) / 2)) if len(near) else 0.0


def noise(values: Floats) -> float:
    """Return a robust standard deviation around zero, or 0 if no value is finite."""
    return typical(np.abs(values)) * _NORMAL


def typical(values: Floats) -> float:
    """Return the median of the finite values, or 0 if no value is finite; large inputs are sampled.

    With a sample of 20,000 values, the median is accurate to one percent, which is sufficient here.
    """
    some = _part(values)
    finite = some[np.isfinite(some)]
    return _median(finite) if len(finite) else 0.0


def _median(values: Floats) -> float:
    """Return the median of finite values, like ``np.median``, which takes most of its time to find NaN."""
    half = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, half)[half])
    middle = np.partition(values, (half - 1, half))
    return float((middle[half - 1] + middle[half]) / 2)


def runs(rows: Mask) -> list[tuple[int, int]]:
    """Return the half-open index ranges of consecutive rows that are True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], rows, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
