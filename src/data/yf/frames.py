"""Converts the data manager's frames to yfinance's form."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import QueryError
from ..model.provenance import ATTRS_KEY, freeze

__all__ = [
    "Alike",
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


class Table(NamedTuple):
    """The bars for one ticker, in yfinance's columns.

    Attributes:
        times: Dates or times of the bars, in the exchange's time zone.
        columns: Maps the name of each column, in yfinance's order, to its values.
        facts: Provenance of the bars.
    """

    times: pd.DatetimeIndex
    columns: dict[str, NDArray[Any]]
    facts: Mapping[str, Any]


class Alike(NamedTuple):
    """The bars of several tickers with the same times and columns.

    Attributes:
        times: Dates or times in the zone of the exchange.
        tickers: The tickers, in the order of the rows.
        columns: Maps each of the data manager's columns to an array with a row for each ticker.
    """

    times: pd.DatetimeIndex
    tickers: list[str]
    columns: dict[str, NDArray[Any]]

    def lacking(self) -> list[str]:
        """Return the tickers without dividend-adjusted closes, which some vendors do not supply."""
        adjusted = self.columns.get("adj_close")
        if adjusted is None:
            return self.tickers
        lacks = (np.isnan(adjusted) & ~np.isnan(self.columns["close"])).any(axis=1)
        return [ticker for ticker, one in zip(self.tickers, lacks, strict=True) if one]


def alike(
    frames: Mapping[str, pd.DataFrame], zones: Mapping[str, str], times: Times
) -> list[Alike]:
    """Group frames with the same times and columns, so that they can be computed together.

    Args:
        frames: Maps tickers to the data manager's frames.
        zones: Maps tickers to the time zones of their exchanges.
        times: Converts indexes to these zones.
    """
    heads: list[tuple[pd.Index, list[str]]] = []
    members: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    indexes = {}
    for ticker, frame in frames.items():
        columns = frame.columns
        head = next((at for at, one in enumerate(heads) if one[0].equals(columns)), len(heads))
        if head == len(heads):
            heads.append((columns, list(columns)))
        index = times.of(frame, zones[ticker])
        indexes[id(index)] = index
        members[id(index), head].append(ticker)
    found = []
    for (index_id, head), tickers in members.items():
        values = np.array([frames[ticker].to_numpy().T for ticker in tickers]).swapaxes(0, 1)
        named = dict(zip(heads[head][1], values, strict=True))
        found.append(Alike(indexes[index_id], tickers, named))
    return found


def tables_of(
    bars: Alike,
    frames: Mapping[str, pd.DataFrame],
    whole: Mapping[str, pd.DataFrame],
    *,
    auto_adjust: bool,
    digits: int | None,
) -> dict[str, Table]:
    """Convert tickers' bars to yfinance's columns, and return one table per ticker.

    Args:
        bars: Bars adjusted for splits.
        frames: Maps each ticker to the frame that contains its bars.
        whole: Maps each ticker whose frame lacks adjusted closes to the same bars, adjusted for
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
            adjusted[row] = whole[ticker]["close"].reindex(frames[ticker].index).to_numpy()
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
    are_whole = (counts == volume).all(axis=1)
    tables = {}
    for row, ticker in enumerate(bars.tickers):
        own = {name: column[row] for name, column in columns.items()}
        if are_whole[row]:
            own["Volume"] = counts[row]
        tables[ticker] = Table(bars.times, own, frames[ticker].attrs[ATTRS_KEY])
    return tables


class Times:
    """Converts the indexes of frames to time zones; equal indexes are converted only once.

    Args:
        is_intraday: Whether bars are shorter than a day.
    """

    def __init__(self, *, is_intraday: bool) -> None:
        self._is_intraday = is_intraday
        self._made: dict[tuple[bytes, str], pd.DatetimeIndex] = {}

    def of(self, frame: pd.DataFrame, zone: str) -> pd.DatetimeIndex:
        """Return a frame's index, converted to a time zone."""
        stamps: Any = frame.index
        key = stamps.asi8.tobytes(), zone
        if key not in self._made:
            self._made[key] = self._local(stamps, zone)
        return self._made[key]

    def _local(self, stamps: pd.Index, zone: str) -> pd.DatetimeIndex:
        index = pd.DatetimeIndex(stamps, name="Datetime" if self._is_intraday else "Date")
        if self._is_intraday:
            return index.as_unit(TIME_UNIT).tz_localize("UTC").tz_convert(zone)
        # By its name, a zone has the class that this version of pandas gives to yfinance's frames.
        # A midnight that a change of the clocks repeats or leaves out is moved, as yfinance does.
        latest = np.ones(len(index), bool)
        return index.as_unit(DAY_UNIT).tz_localize(
            zone, ambiguous=latest, nonexistent="shift_forward"
        )


def empty_frame() -> pd.DataFrame:
    """Return the frame that yfinance returns for a ticker without bars."""
    index = pd.Index([], dtype=object, name="Date")
    return pd.DataFrame({name: np.empty(0) for name in _EMPTY}, index=index)


def history_frame(table: Table) -> pd.DataFrame:
    """Return the result of ``Ticker.history``; the index is in the exchange's time zone."""
    frame = pd.DataFrame(table.columns, index=table.times, copy=True)
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
    indexes = _aligned(tables, ignore_tz=ignore_tz)
    index, places = _union(indexes)
    pairs = [
        (ticker, name)
        for ticker in tickers
        for name in (tables[ticker].columns if ticker in tables else _EMPTY)
    ]
    if not by_ticker:
        pairs.sort(key=lambda pair: (pair[1], pair[0]))
    floats: list[tuple[str, str]] = []
    whole: list[tuple[str, str]] = []
    for pair in pairs:
        is_whole = (
            places.get(pair[0], ...) is None and tables[pair[0]].columns[pair[1]].dtype == np.int64
        )
        (whole if is_whole else floats).append(pair)
    blocks = [
        _block(part, tables, places, index, dtype)
        for part, dtype in ((floats, np.float64), (whole, np.int64))
        if part
    ]
    frame = blocks[0] if len(blocks) == 1 else pd.concat(blocks, axis=1)
    joined = [*floats, *whole]
    if joined != pairs:
        place_of = {pair: place for place, pair in enumerate(joined)}
        frame = frame.iloc[:, [place_of[pair] for pair in pairs]]
    # Built from its parts, which takes a tenth of the time needed to find them again in 250 pairs.
    levels = list(tickers), sorted({name for _, name in pairs})
    found = [{value: code for code, value in enumerate(level)} for level in levels]
    codes = [[found[level][pair[level]] for pair in pairs] for level in (0, 1)]
    order = (0, 1) if by_ticker else (1, 0)
    frame.columns = pd.MultiIndex(
        [levels[at] for at in order],
        [codes[at] for at in order],
        names=[("Ticker", "Price")[at] for at in order],
        verify_integrity=False,
    )
    facts = {
        ticker: tables[ticker].facts if ticker in tables else failed[ticker] for ticker in tickers
    }
    complete = all(one.get("complete", False) for one in facts.values())
    frame.attrs[ATTRS_KEY] = freeze(
        {"symbols": facts, "failed": list(failed), "complete": complete}
    )
    return frame


def _aligned(tables: Mapping[str, Table], *, ignore_tz: bool) -> dict[str, pd.DatetimeIndex]:
    """Convert the indexes to the most frequent time zone, or each to naive local time."""
    indexes = {id(table.times): table.times for table in tables.values()}
    counts = Counter(id(table.times) for table in tables.values())
    zones: Counter[str] = Counter()
    for key, times in indexes.items():
        zones[str(times.tz)] += counts[key]
    common = None
    if not ignore_tz:
        common = min(zones, key=lambda zone: (-zones[zone], zone), default="UTC")
    # Tickers with the same times share an index, which is converted only once.
    moved = {
        key: times.tz_localize(None) if ignore_tz else times.tz_convert(common)
        for key, times in indexes.items()
    }
    return {ticker: moved[id(table.times)] for ticker, table in tables.items()}


def _union(
    indexes: Mapping[str, pd.DatetimeIndex],
) -> tuple[pd.DatetimeIndex, dict[str, NDArray[np.intp] | None]]:
    """Return the union of several indexes, and each index's rows in it (None for all rows)."""
    if not indexes:
        return pd.DatetimeIndex([]), {}
    distinct = list({id(index): index for index in indexes.values()}.values())
    first, known = distinct[0], {}
    for index in distinct:
        stamps: NDArray[np.int64] = index.asi8
        if len(stamps) > 1 and not (np.diff(stamps) > 0).all():
            raise QueryError(
                "local times occur twice where clocks go back", hint="use ignore_tz=False"
            )
        known[id(index)] = stamps
    if len(distinct) == 1:
        return first, dict.fromkeys(indexes)
    joined = pd.DatetimeIndex(reduce(pd.Index.union, distinct), name=first.name)
    every: NDArray[np.int64] = joined.asi8
    found = {
        key: None if len(stamps) == len(every) else np.searchsorted(every, stamps)
        for key, stamps in known.items()
    }
    return joined, {ticker: found[id(index)] for ticker, index in indexes.items()}


def _block(
    pairs: Iterable[tuple[str, str]],
    tables: Mapping[str, Table],
    places: Mapping[str, NDArray[np.intp] | None],
    index: pd.DatetimeIndex,
    dtype: Any,
) -> pd.DataFrame:
    """Return a frame whose columns share one type; rows that a ticker lacks are NaN."""
    pairs = list(pairs)
    values = np.empty((len(pairs), len(index)), dtype)
    for row, (ticker, name) in zip(values, pairs, strict=True):
        if ticker not in tables:
            row.fill(np.nan)
            continue
        at = places[ticker]
        if at is None:
            row[:] = tables[ticker].columns[name]
        else:
            row.fill(np.nan)
            row[at] = tables[ticker].columns[name]
    return pd.DataFrame(values.T, index=index, copy=False)
