"""Converts the data manager's frames to yfinance's form."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property, lru_cache, reduce
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import QueryError
from ..model.provenance import ATTRS_KEY, freeze

__all__ = [
    "Alike",
    "Converted",
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
def _times(stamps: bytes, unit: str, zone: str, *, is_intraday: bool) -> Times:
    """Return the times of bars, given their stamps (of the data manager's frames) as bytes."""
    index = pd.DatetimeIndex(
        np.frombuffer(stamps, f"M8[{unit}]"), name="Datetime" if is_intraday else "Date"
    )
    if is_intraday:
        return Times(index.as_unit(TIME_UNIT).tz_localize("UTC").tz_convert(zone))
    # By its name, a zone has the class that this version of pandas gives to yfinance's frames.
    # A midnight that a change of the clocks repeats or leaves out is moved, as yfinance does.
    latest = np.ones(len(index), bool)
    return Times(
        index.as_unit(DAY_UNIT).tz_localize(zone, ambiguous=latest, nonexistent="shift_forward")
    )


class Converted(NamedTuple):
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

    bars: Converted
    row: int
    facts: Mapping[str, Any]

    @property
    def times(self) -> pd.DatetimeIndex:
        """Dates or times of the bars, in the exchange's time zone."""
        return self.bars.times.local

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """Maps the name of each column, in yfinance's order, to its values."""
        own = {name: values[self.row] for name, values in self.bars.columns.items()}
        if self.bars.are_whole[self.row]:
            own["Volume"] = self.bars.counts[self.row]
        return own


class Alike(NamedTuple):
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
        lacks = (np.isnan(adjusted) & ~np.isnan(self.columns["close"])).any(axis=1)
        return [ticker for ticker, one in zip(self.tickers, lacks, strict=True) if one]


def alike(
    frames: Mapping[str, pd.DataFrame], zones: Mapping[str, str], *, is_intraday: bool
) -> list[Alike]:
    """Group frames with the same times and columns, so that they can be computed together.

    Args:
        frames: Maps tickers to the data manager's frames.
        zones: Maps tickers to the time zones of their exchanges.
        is_intraday: Whether bars are shorter than a day.
    """
    heads: list[tuple[pd.Index, list[str]]] = []
    members: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    found_times: dict[int, Times] = {}
    for ticker, frame in frames.items():
        columns = frame.columns
        head = next((at for at, one in enumerate(heads) if one[0].equals(columns)), len(heads))
        if head == len(heads):
            heads.append((columns, list(columns)))
        index: Any = frame.index
        times = _times(index.asi8.tobytes(), index.unit, zones[ticker], is_intraday=is_intraday)
        found_times[id(times)] = times
        members[id(times), head].append(ticker)
    found = []
    for (times_id, head), tickers in members.items():
        values = np.array([frames[ticker].to_numpy().T for ticker in tickers]).swapaxes(0, 1)
        named = dict(zip(heads[head][1], values, strict=True))
        found.append(Alike(found_times[times_id], tickers, named))
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
    converted = Converted(bars.times, columns, counts, (counts == volume).all(axis=1))
    return {
        ticker: Table(converted, row, frames[ticker].attrs[ATTRS_KEY])
        for row, ticker in enumerate(bars.tickers)
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
    index, places = _union(_aligned(tables, ignore_tz=ignore_tz))
    named = {
        ticker: tables[ticker].bars.columns if ticker in tables else _EMPTY for ticker in tickers
    }
    names = sorted({name for own in named.values() for name in own})
    if by_ticker:
        pairs = [(ticker, name) for ticker in tickers for name in named[ticker]]
    else:
        ordered = sorted(tickers)
        pairs = [(ticker, name) for name in names for ticker in ordered if name in named[ticker]]
    whole = {
        ticker
        for ticker, table in tables.items()
        if table.bars.are_whole[table.row] and places[id(table.bars.times)] is None
    }
    floats = [pair for pair in pairs if pair[1] != "Volume" or pair[0] not in whole]
    counts = [pair for pair in pairs if pair[1] == "Volume" and pair[0] in whole]
    blocks = []
    if floats or not counts:
        blocks.append(_block(floats, tables, places, index))
    if counts:
        rows = [tables[ticker].bars.counts[tables[ticker].row] for ticker, _ in counts]
        blocks.append(pd.DataFrame(np.array(rows).T, index=index, copy=False))
    frame = blocks[0] if len(blocks) == 1 else pd.concat(blocks, axis=1, ignore_index=True)
    joined = [*floats, *counts]
    if joined != pairs:
        place_of = {pair: place for place, pair in enumerate(joined)}
        frame = frame.iloc[:, [place_of[pair] for pair in pairs]]
    # Built from its parts, which takes a tenth of the time needed to find them again in 250 pairs.
    levels = [tuple(tickers), tuple(names)]
    found = [{value: code for code, value in enumerate(level)} for level in levels]
    codes: list[Any] = [np.array([found[level][pair[level]] for pair in pairs]) for level in (0, 1)]
    order = (0, 1) if by_ticker else (1, 0)
    frame.columns = pd.MultiIndex(
        [_level(levels[at]) for at in order],
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


@lru_cache(maxsize=16)
def _level(labels: tuple[str, ...]) -> Any:
    """Return a level of the columns; scripts request the same tickers again and again."""
    return pd.Index(labels)


def _aligned(tables: Mapping[str, Table], *, ignore_tz: bool) -> dict[int, pd.DatetimeIndex]:
    """Convert the distinct indexes to the most frequent time zone, or each to naive local time.

    The keys of the result are the ``id`` of each table's :class:`Times`.
    """
    distinct = {id(table.bars.times): table.bars.times for table in tables.values()}
    zones = Counter(table.bars.times.zone for table in tables.values())
    common = None if ignore_tz else min(zones, key=lambda zone: (-zones[zone], zone), default="UTC")
    return {key: times.within(common) for key, times in distinct.items()}


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


def _block(
    pairs: Sequence[tuple[str, str]],
    tables: Mapping[str, Table],
    places: Mapping[int, NDArray[np.intp] | None],
    index: pd.DatetimeIndex,
) -> pd.DataFrame:
    """Return a frame of floats with a column for each pair; rows that a ticker lacks are NaN."""
    values = np.full((len(pairs), len(index)), np.nan)
    alike: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for at, (ticker, name) in enumerate(pairs):
        if ticker in tables:
            alike[id(tables[ticker].bars), name].append(at)
    for (_, name), targets in alike.items():
        own = [tables[pairs[at][0]] for at in targets]
        column = own[0].bars.columns[name][[table.row for table in own]]
        place = places[id(own[0].bars.times)]
        if place is None:
            values[targets] = column
        else:
            values[np.ix_(np.array(targets), place)] = column
    return pd.DataFrame(values.T, index=index, copy=False)
