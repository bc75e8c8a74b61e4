"""Frames in the form of yfinance, out of those of the data manager."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import QueryError
from ..model.provenance import ATTRS_KEY, freeze

__all__ = ["Table", "empty_frame", "history_frame", "table_of", "wide_frame"]

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


def table_of(
    frame: pd.DataFrame,
    zone: str,
    *,
    is_intraday: bool,
    auto_adjust: bool,
    digits: int | None,
    whole: pd.DataFrame | None = None,
) -> Table:
    """Return the bars of a frame in yfinance's columns.

    Args:
        frame: Bars adjusted for splits.
        zone: Time zone of the exchange.
        is_intraday: Whether bars are shorter than a day.
        auto_adjust: Whether prices are adjusted for dividends as well.
        digits: Decimals to round to; None to keep all.
        whole: The same bars, adjusted for dividends, if ``frame`` does not have adjusted closes.
    """
    values = dict(zip(frame.columns, frame.to_numpy().T, strict=True))
    close = values["close"]
    adjusted = values.get("adj_close", close)
    if whole is not None:
        adjusted = whole["close"].reindex(frame.index).to_numpy()
    columns = {name: values[name.lower()] for name in _PRICES}
    if auto_adjust:
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = adjusted / close
        columns = {name: prices * ratio for name, prices in columns.items()} | {"Close": adjusted}
    else:
        columns["Adj Close"] = adjusted
    columns["Volume"] = np.nan_to_num(values["volume"]).astype(np.int64)
    columns |= {shown: values[name] for name, shown in _ACTIONS.items() if name in values}
    if digits is not None:
        columns = {name: np.round(column, digits) for name, column in columns.items()}
    stamps = pd.DatetimeIndex(frame.index, name="Datetime" if is_intraday else "Date")
    if is_intraday:
        index = stamps.as_unit(TIME_UNIT).tz_localize("UTC").tz_convert(ZoneInfo(zone))
    else:
        # A midnight that a change of the clocks repeats or leaves out is moved, as yfinance does.
        dates = stamps.as_unit(DAY_UNIT)
        index = dates.tz_localize(
            ZoneInfo(zone), ambiguous=np.ones(len(dates), bool), nonexistent="shift_forward"
        )
    return Table(index, columns, frame.attrs[ATTRS_KEY])


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
        is_whole = pair[1] == "Volume" and places.get(pair[0], ...) is None
        (whole if is_whole else floats).append(pair)
    blocks = [
        _block(part, tables, places, index, dtype)
        for part, dtype in ((floats, np.float64), (whole, np.int64))
        if part
    ]
    frame = blocks[0] if len(blocks) == 1 else pd.concat(blocks, axis=1)
    joined = [*floats, *whole]
    if joined != pairs:
        order = {pair: place for place, pair in enumerate(joined)}
        frame = frame.iloc[:, [order[pair] for pair in pairs]]
    levels = pairs if by_ticker else [(name, ticker) for ticker, name in pairs]
    names = ["Ticker", "Price"] if by_ticker else ["Price", "Ticker"]
    frame.columns = pd.MultiIndex.from_tuples(levels, names=names)
    facts = {ticker: tables[ticker].facts if ticker in tables else failed[ticker]
             for ticker in tickers}  # fmt: skip
    complete = all(one.get("complete", False) for one in facts.values())
    frame.attrs[ATTRS_KEY] = freeze(
        {"symbols": facts, "failed": list(failed), "complete": complete}
    )
    return frame


def _aligned(tables: Mapping[str, Table], *, ignore_tz: bool) -> dict[str, pd.DatetimeIndex]:
    """Return the indexes in one zone, the most frequent one, or each in local time without one."""
    if ignore_tz:
        return {ticker: table.times.tz_localize(None) for ticker, table in tables.items()}
    zones = Counter(str(table.times.tz) for table in tables.values())
    common = min(zones, key=lambda zone: (-zones[zone], zone), default="UTC")
    return {ticker: table.times.tz_convert(common) for ticker, table in tables.items()}


def _union(
    indexes: Mapping[str, pd.DatetimeIndex],
) -> tuple[pd.DatetimeIndex, dict[str, NDArray[np.intp] | None]]:
    """Return all times of several indexes, and the rows of each; None if it has all of them."""
    if not indexes:
        return pd.DatetimeIndex([]), {}
    # Most tickers of a call have the same times, which are joined only once.
    raw = {ticker: index.asi8 for ticker, index in indexes.items()}
    each = {stamps.tobytes(): (ticker, stamps) for ticker, stamps in raw.items()}
    first = next(iter(indexes.values()))
    for ticker, stamps in each.values():
        if len(stamps) > 1 and not (np.diff(stamps) > 0).all():
            raise QueryError(
                f"local times of {ticker} occur twice where clocks go back",
                hint="use ignore_tz=False",
            )
    if len(each) == 1:
        return first, dict.fromkeys(indexes)
    every = np.unique(np.concatenate([stamps for _, stamps in each.values()]))
    naive = pd.DatetimeIndex(every.view(f"M8[{first.unit}]"), name=first.name)
    index = naive if first.tz is None else naive.tz_localize("UTC").tz_convert(first.tz)
    found = {
        key: None if len(stamps) == len(every) else np.searchsorted(every, stamps)
        for key, (_, stamps) in each.items()
    }
    return index, {ticker: found[stamps.tobytes()] for ticker, stamps in raw.items()}


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
