"""Converts the data manager's frames to yfinance's form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import QueryError
from ..model.provenance import ATTRS_KEY, freeze
from ..once import cached_property

if TYPE_CHECKING:
    from ..bars.client import Rows

__all__ = [
    "TickerGroup",
    "ConvertedBars",
    "Table",
    "Times",
    "alike",
    "empty_frame",
    "history_frame",
    "tables_of",
    "wide_frame",
]

Floats = NDArray[np.float64]

# Units of an index of dates and of one of times, which differ between versions of pandas.
DAY_UNIT: Any = pd.DatetimeIndex(pd.to_datetime([date(2024, 1, 1)])).unit
TIME_UNIT: Any = pd.DatetimeIndex(pd.to_datetime([0], unit="s")).unit
_PRICES = ("Open", "High", "Low", "Close")
_EMPTY = (*_PRICES, "Adj Close", "Volume")
_ACTIONS = {"dividend": "Dividends", "split": "Stock Splits"}
# The order of one ticker's columns.
_ORDER = (*_EMPTY, *_ACTIONS.values())


class Times:
    """The times of bars in the exchange's time zone, and converted from it.

    Attributes:
        local: Dates or times in the exchange's time zone.
    """

    def __init__(self, local: pd.DatetimeIndex) -> None:
        self.local = local
        self.zone = str(local.tz)

    @cached_property
    def naive(self) -> pd.DatetimeIndex:
        """The same times without a time zone."""
        return self.local.tz_localize(None)

    def within(self, zone: str | None) -> pd.DatetimeIndex:
        """Return the times converted to a time zone; None leaves out the zone."""
        if zone is None:
            return self.naive
        return self.local if zone == self.zone else self.local.tz_convert(zone)


# One range is often requested for one ticker after another, and most calendars are alike.
@lru_cache(maxsize=64)
def _times(stamps: bytes, zone: str, *, is_intraday: bool) -> Times:
    """Return the times of bars, given their stamps in UTC nanoseconds as bytes."""
    index = pd.DatetimeIndex(
        np.frombuffer(stamps, "M8[ns]"), name="Datetime" if is_intraday else "Date"
    )
    if is_intraday:
        return Times(index.as_unit(TIME_UNIT).tz_localize("UTC").tz_convert(zone))
    # By its name, a zone has the class that this version of pandas gives to yfinance's frames.
    # A midnight that a change of the clocks repeats or leaves out is moved, as yfinance does.
    latest = np.ones(len(index), bool)
    return Times(
        index.as_unit(DAY_UNIT).tz_localize(zone, ambiguous=latest, nonexistent="shift_forward")
    )


class ConvertedBars(NamedTuple):
    """The bars of several tickers with the same times, in yfinance's columns.

    Attributes:
        times: Times of the bars.
        columns: Maps the name of each column, in yfinance's order, to an array with a row for each
            ticker.
        counts: Volumes as whole numbers, for the tickers whose volumes are whole.
        are_whole: Whether a ticker's volumes are whole numbers, for each ticker.
    """

    times: Times
    columns: dict[str, NDArray[Any]]
    counts: NDArray[np.int64]
    are_whole: NDArray[np.bool_]


class Table(NamedTuple):
    """The bars for one ticker, in yfinance's columns.

    Attributes:
        bars: Bars of this ticker and of others with the same times.
        row: The ticker's row in each array of ``bars``.
        facts: Provenance of the bars.
    """

    bars: ConvertedBars
    row: int
    facts: Mapping[str, Any]

    @property
    def times(self) -> pd.DatetimeIndex:
        """Dates or times of the bars, in the exchange's time zone."""
        return self.bars.times.local

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """Maps the name of each column, in yfinance's order, to its values."""
        columns = {name: values[self.row] for name, values in self.bars.columns.items()}
        if self.bars.are_whole[self.row]:
            columns["Volume"] = self.bars.counts[self.row]
        return columns


class TickerGroup(NamedTuple):
    """The bars of several tickers with the same times and columns.

    Attributes:
        times: Times of the bars.
        tickers: The tickers, in the order of the rows.
        columns: Maps each of the data manager's columns to an array with a row for each ticker.
    """

    times: Times
    tickers: list[str]
    columns: dict[str, NDArray[Any]]

    def lacking(self) -> list[str]:
        """Return the tickers without dividend-adjusted closes, which some vendors do not supply."""
        adjusted = self.columns.get("adj_close")
        if adjusted is None:
            return self.tickers
        unknown = np.isnan(adjusted)
        if not unknown.any():
            return []
        lacks = (unknown > np.isnan(self.columns["close"])).any(axis=1)
        return [self.tickers[row] for row in np.flatnonzero(lacks)]


def alike(
    rows: Mapping[str, Rows], zones: Mapping[str, str], *, is_intraday: bool
) -> list[TickerGroup]:
    """Group tickers with the same times and columns, so that they can be computed together.

    Args:
        rows: Maps tickers to their rows; their frames are only read.
        zones: Maps tickers to the time zones of their exchanges.
        is_intraday: Whether bars are shorter than a day.
    """
    groups: dict[tuple[Times, tuple[str, ...]], dict[str, NDArray[Any]]] = {}
    for ticker, table in rows.items():
        columns, stamps, values = table.arrays()
        times = _times(stamps.tobytes(), zones[ticker], is_intraday=is_intraday)
        groups.setdefault((times, columns), {})[ticker] = values
    alikes = []
    for (times, columns), each in groups.items():
        joined = np.empty((len(columns), len(each), len(times.local)))
        for row, values in enumerate(each.values()):
            joined[:, row] = values
        alikes.append(TickerGroup(times, list(each), dict(zip(columns, joined, strict=True))))
    return alikes


def tables_of(
    bars: TickerGroup,
    rows: Mapping[str, Rows],
    whole: Mapping[str, Rows],
    *,
    auto_adjust: bool,
    digits: int | None,
) -> dict[str, Table]:
    """Convert tickers' bars to yfinance's columns, and return one table per ticker.

    Args:
        bars: Bars adjusted for splits.
        rows: Maps each ticker to the rows that contain its bars.
        whole: Maps each ticker whose rows lack adjusted closes to the same bars, adjusted for
            dividends.
        auto_adjust: Whether to adjust prices for dividends as well.
        digits: Number of decimals to round to; None means no rounding.
    """
    values = bars.columns
    adjusted = values.get("adj_close", values["close"])
    if not whole.keys().isdisjoint(bars.tickers):
        adjusted = adjusted.copy()
    for row, ticker in enumerate(bars.tickers):
        if ticker in whole:
            index = rows[ticker].frame.index
            adjusted[row] = whole[ticker].frame["close"].reindex(index).to_numpy()
    if auto_adjust:
        ratio = adjusted / values["close"]
        columns = {name: values[name.lower()] * ratio for name in _PRICES[:3]}
        columns["Close"] = adjusted
    else:
        columns = {name: values[name.lower()] for name in _PRICES}
        columns["Adj Close"] = adjusted
    volume = np.where(np.isnan(values["volume"]), 0, values["volume"])
    columns["Volume"] = volume
    columns |= {shown: values[name] for name, shown in _ACTIONS.items() if name in values}
    if digits is not None:
        columns = {name: np.round(column, digits) for name, column in columns.items()}
    # Coins are traded in fractions; only Yahoo's volumes are whole.
    counts = volume.astype(np.int64)
    converted = ConvertedBars(bars.times, columns, counts, (counts == volume).all(axis=1))
    return {
        ticker: Table(converted, row, rows[ticker].facts) for row, ticker in enumerate(bars.tickers)
    }


def empty_frame() -> pd.DataFrame:
    """Return the frame that yfinance returns for a ticker without bars."""
    index = pd.Index([], dtype=object, name="Date")
    return pd.DataFrame({name: np.empty(0) for name in _EMPTY}, index=index)


def history_frame(table: Table) -> pd.DataFrame:
    """Return the result of ``Ticker.history``; the index is in the exchange's time zone."""
    frame = pd.DataFrame(table.columns, index=table.times.view(), copy=True)
    frame.attrs[ATTRS_KEY] = table.facts
    return frame


def wide_frame(
    tables: Mapping[str, Table],
    failed: Mapping[str, Mapping[str, Any]],
    tickers: Sequence[str],
    *,
    ignore_tz: bool,
    by_ticker: bool,
) -> pd.DataFrame:
    """Return the result of ``download``: the tickers side by side, with a common index.

    Args:
        tables: Maps each ticker that has bars to its bars.
        failed: Maps each ticker without bars to its provenance.
        tickers: Tickers, in the order in which they were passed.
        ignore_tz: Whether to leave out the index's time zone.
        by_ticker: Whether the upper level of the columns is the tickers rather than the prices.
    """
    members: dict[int, _Members] = {}
    for position, ticker in enumerate(tickers):
        if ticker in tables:
            bars, row, _ = tables[ticker]
            if id(bars) not in members:
                members[id(bars)] = _Members(bars, [], [])
            members[id(bars)].positions.append(position)
            members[id(bars)].rows.append(row)
    groups = list(members.values())
    index, rows_of = _union(_align(groups, ignore_tz=ignore_tz))
    frame = _join_columns(groups, rows_of, tickers, index, by_ticker=by_ticker)
    facts = {
        ticker: tables[ticker].facts if ticker in tables else failed[ticker] for ticker in tickers
    }
    complete = all(fact.get("complete", False) for fact in facts.values())
    frame.attrs[ATTRS_KEY] = freeze(
        {"symbols": facts, "failed": list(failed), "complete": complete}
    )
    return frame


class _Members(NamedTuple):
    """The tickers of a result whose bars were converted together.

    Attributes:
        bars: Bars of these tickers and, possibly, of others.
        positions: The tickers' positions in the list that the caller passed, ascending.
        rows: The tickers' rows in each array of ``bars``.
    """

    bars: ConvertedBars
    positions: list[int]
    rows: list[int]

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return these tickers' rows of an array, without a copy if they are all of its rows."""
        return values if len(self.rows) == len(values) else values[self.rows]


@lru_cache(maxsize=16)
def _level(labels: tuple[str, ...]) -> Any:
    """Return a level of the columns; scripts request the same tickers again and again."""
    return pd.Index(labels)


def _align(groups: Sequence[_Members], *, ignore_tz: bool) -> dict[int, pd.DatetimeIndex]:
    """Convert the distinct indexes to the most frequent time zone, or each to naive local time.

    The keys of the result are the ``id`` of each group's :class:`Times`.
    """
    zones: Counter[str] = Counter()
    for bars, positions, _ in groups:
        zones[bars.times.zone] += len(positions)
    common = None if ignore_tz else min(zones, key=lambda zone: (-zones[zone], zone), default="UTC")
    return {id(bars.times): bars.times.within(common) for bars, _, _ in groups}


def _union(
    indexes: Mapping[int, pd.DatetimeIndex],
) -> tuple[pd.DatetimeIndex, dict[int, NDArray[np.intp] | None]]:
    """Return the union of several indexes, and each index's rows in it (None for all rows)."""
    if not indexes:
        return pd.DatetimeIndex([]), {}
    known = {}
    for key, index in indexes.items():
        stamps: NDArray[np.int64] = index.asi8
        if len(stamps) > 1 and not (np.diff(stamps) > 0).all():
            raise QueryError(
                "local times occur twice where clocks go back", hint="use ignore_tz=False"
            )
        known[key] = stamps
    first, *others = indexes.values()
    if not others:
        return first.view(), dict.fromkeys(indexes)
    joined = pd.DatetimeIndex(reduce(pd.Index.union, others, first), name=first.name)
    every: NDArray[np.int64] = joined.asi8
    return joined, {
        key: None if len(stamps) == len(every) else np.searchsorted(every, stamps)
        for key, stamps in known.items()
    }


def _join_columns(
    groups: Sequence[_Members],
    rows_of: Mapping[int, NDArray[np.intp] | None],
    tickers: Sequence[str],
    index: pd.DatetimeIndex,
    *,
    by_ticker: bool,
) -> pd.DataFrame:
    """Return the columns of all tickers in one frame; rows that a ticker lacks are NaN.

    Volumes stay whole numbers if a ticker has every row.
    """
    names, has = _all_columns(groups, len(tickers))
    of_ticker, of_name = _column_order(names, has, tickers, by_ticker=by_ticker)
    is_whole = np.zeros(len(tickers), bool)
    for group in groups:
        if rows_of[id(group.bars.times)] is None:
            is_whole[group.positions] = group.of(group.bars.are_whole)
    are_counts = is_whole[of_ticker] & np.array([name == "Volume" for name in names])[of_name]
    # Columns of floats are stored first, then those of whole numbers.
    stored = are_counts.argsort(kind="stable")
    first = len(stored) - int(np.count_nonzero(are_counts))
    prices = np.full((first, len(index)), np.nan)
    counts = np.empty((len(stored) - first, len(index)), np.int64)
    targets = np.empty(has.shape, np.intp)
    targets[of_name[stored], of_ticker[stored]] = np.arange(len(stored))
    for group in groups:
        rows, positions_here = rows_of[id(group.bars.times)], targets[:, group.positions]
        for name, values in group.bars.columns.items():
            at, values = positions_here[names.index(name)], group.of(values)
            if name == "Volume" and (whole := is_whole[group.positions]).any():
                counts[at[whole] - first] = group.of(group.bars.counts)[whole]
                at, values = at[~whole], values[~whole]
            if rows is None:
                prices[at] = values
            else:
                prices[np.ix_(at, rows)] = values
    blocks = [pd.DataFrame(block.T, index=index, copy=False) for block in (prices, counts)]
    frame = blocks[0] if not len(counts) else pd.concat(blocks, axis=1, ignore_index=True)
    if are_counts[:first].any():
        frame = frame.iloc[:, stored.argsort()]
    # Built from its parts, which takes a tenth of the time needed to find them in 250 pairs.
    parts = [("Ticker", tuple(tickers), of_ticker), ("Price", tuple(names), of_name)]
    heads, labels, codes = zip(*(parts if by_ticker else parts[::-1]), strict=True)
    levels = [_level(each) for each in labels]
    frame.columns = pd.MultiIndex(levels, codes, names=heads, verify_integrity=False)
    return frame


def _all_columns(groups: Sequence[_Members], count: int) -> tuple[list[str], NDArray[np.bool_]]:
    """Return the names of all columns, and whether each of ``count`` tickers has each of them."""
    shown: list[tuple[Iterable[str], Sequence[int]]]
    shown = [(group.bars.columns, group.positions) for group in groups]
    if without_bars := set(range(count)).difference(*(positions for _, positions in shown)):
        shown.append((_EMPTY, sorted(without_bars)))
    names = sorted({name for columns, _ in shown for name in columns})
    has = np.zeros((len(names), count), bool)
    for columns, positions in shown:
        has[np.ix_([names.index(name) for name in columns], positions)] = True
    return names, has


def _column_order(
    names: Sequence[str], has: NDArray[np.bool_], tickers: Sequence[str], *, by_ticker: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the positions of each column's ticker and of its name, in yfinance's order of columns."""
    if by_ticker:
        ordered = np.array([names.index(name) for name in _ORDER if name in names])
        of_ticker, positions = has.T[:, ordered].nonzero()
        return of_ticker, ordered[positions]
    ordered = np.array(sorted(range(len(tickers)), key=tickers.__getitem__))
    of_name, positions = has[:, ordered].nonzero()
    return ordered[positions], of_name
