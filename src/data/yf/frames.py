"""Frames in yfinance's form, made from the data manager's frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import QueryError
from ..model.provenance import ATTRS_KEY, freeze

__all__ = ["Table", "Times", "empty_frame", "history_frame", "table_of", "values_of", "wide_frame"]

Floats = NDArray[np.float64]

# Units of an index of dates and of one of times, which differ between versions of pandas.
DAY_UNIT: Any = pd.DatetimeIndex(pd.to_datetime([date(2024, 1, 1)])).unit
TIME_UNIT: Any = pd.DatetimeIndex(pd.to_datetime([0], unit="s")).unit
_PRICES = ("Open", "High", "Low", "Close")
_EMPTY = (*_PRICES, "Adj Close", "Volume")
_ACTIONS = {"dividend": "Dividends", "split": "Stock Splits"}


class Table(NamedTuple):
    """The bars of one ticker.

    Attributes:
        times: Dates or times in the zone of the exchange.
        columns: Maps each of yfinance's columns, in its order, to its values.
        facts: Provenance of the bars.
    """

    times: pd.DatetimeIndex
    columns: dict[str, NDArray[Any]]
    facts: Mapping[str, Any]


def values_of(frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Return the columns of a frame of numbers as arrays, all at once."""
    return dict(zip(frame.columns.tolist(), frame.to_numpy().T, strict=True))


def table_of(
    frame: pd.DataFrame,
    values: Mapping[str, NDArray[Any]],
    times: pd.DatetimeIndex,
    *,
    auto_adjust: bool,
    digits: int | None,
    whole: pd.DataFrame | None = None,
) -> Table:
    """Return the bars of a frame in yfinance's columns.

    Args:
        frame: Bars adjusted for splits.
        values: Its columns.
        times: Its index in the zone of the exchange.
        auto_adjust: Whether prices are adjusted for dividends as well.
        digits: Decimals to round to; None to keep all.
        whole: The same bars, adjusted for dividends, if ``frame`` does not have adjusted closes.
    """
    close = values["close"]
    adjusted = values.get("adj_close", close)
    if whole is not None:
        adjusted = whole["close"].reindex(frame.index).to_numpy()
    columns: dict[str, NDArray[Any]]
    if auto_adjust:
        ratio = adjusted / close
        columns = {name: values[name.lower()] * ratio for name in _PRICES[:3]}
        columns["Close"] = adjusted
    else:
        columns = {name: values[name.lower()] for name in _PRICES}
        columns["Adj Close"] = adjusted
    volume = values["volume"]
    is_unknown = np.isnan(volume)
    if is_unknown.any():
        volume = np.where(is_unknown, 0, volume)
    counts = volume.astype(np.int64)
    # Coins are traded in fractions; only Yahoo's volumes are whole.
    columns["Volume"] = counts if (counts == volume).all() else volume
    columns |= {shown: values[name] for name, shown in _ACTIONS.items() if name in values}
    if digits is not None:
        columns = {name: np.round(column, digits) for name, column in columns.items()}
    return Table(times, columns, frame.attrs[ATTRS_KEY])


class Times:
    """Indexes in the zones of exchanges, each made once: most tickers of a call have the same.

    Args:
        is_intraday: Whether bars are shorter than a day.
    """

    def __init__(self, *, is_intraday: bool) -> None:
        self._is_intraday = is_intraday
        self._made: dict[tuple[bytes, str], pd.DatetimeIndex] = {}

    def of(self, frame: pd.DataFrame, zone: str) -> pd.DatetimeIndex:
        """Return a frame's index in a time zone."""
        key = frame.index.to_numpy().tobytes(), zone
        if key not in self._made:
            self._made[key] = self._local(frame.index, zone)
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
    """Return the frame of ``Ticker.history``; the index has the zone of the exchange."""
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
    """Return the frame of ``download``: the tickers side by side on one index.

    Args:
        tables: Maps each ticker that has bars to them.
        failed: Maps each of the others to its provenance.
        tickers: Tickers in the order of the call.
        ignore_tz: Whether the index has no zone.
        by_ticker: Whether tickers are the upper level of the columns, not prices.
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
    # Made of its parts: that takes a tenth of the time of finding them again in 250 pairs.
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
    facts = {ticker: tables[ticker].facts if ticker in tables else failed[ticker]
             for ticker in tickers}  # fmt: skip
    complete = all(one.get("complete", False) for one in facts.values())
    frame.attrs[ATTRS_KEY] = freeze(
        {"symbols": facts, "failed": list(failed), "complete": complete}
    )
    return frame


def _aligned(tables: Mapping[str, Table], *, ignore_tz: bool) -> dict[str, pd.DatetimeIndex]:
    """Return the indexes in one zone, the most frequent one, or each in local time without one."""
    zones = Counter(str(table.times.tz) for table in tables.values())
    common = None
    if not ignore_tz:
        common = min(zones, key=lambda zone: (-zones[zone], zone), default="UTC")
    # Tickers with the same times have one index: it is converted once.
    moved: dict[int, pd.DatetimeIndex] = {}
    for table in tables.values():
        if id(table.times) not in moved:
            times = table.times
            moved[id(times)] = times.tz_localize(None) if ignore_tz else times.tz_convert(common)
    return {ticker: moved[id(table.times)] for ticker, table in tables.items()}


def _union(
    indexes: Mapping[str, pd.DatetimeIndex],
) -> tuple[pd.DatetimeIndex, dict[str, NDArray[np.intp] | None]]:
    """Return all times of several indexes, and the rows of each; None if it has all of them."""
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
    """Return columns of one type; rows that a ticker does not have are NaN."""
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
