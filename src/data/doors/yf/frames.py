"""Converts the data manager's frames to yfinance's form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...core.model.answer.provenance import ATTRS_KEY, freeze
from ...errors import QueryError

if TYPE_CHECKING:
    from ...core.bars.client import Rows

__all__ = ["Table", "bar_times", "empty_frame", "history_frame", "shown_columns", "wide_frame"]

# Units of an index of dates and of one of times, which differ between versions of pandas.
DAY_UNIT: Any = pd.DatetimeIndex(pd.to_datetime([date(2024, 1, 1)])).unit
TIME_UNIT: Any = pd.DatetimeIndex(pd.to_datetime([0], unit="s")).unit
_PRICES = ("Open", "High", "Low", "Close")
_EMPTY = (*_PRICES, "Adj Close", "Volume")
_ACTIONS = {"dividend": "Dividends", "split": "Stock Splits", "capital_gain": "Capital Gains"}
# Decimals of the income that remains of a dividend without its gain.
_CASH_DIGITS = 9
# The order of one ticker's columns.
_ORDER = (*_EMPTY, *_ACTIONS.values())


class Table(NamedTuple):
    """The bars for one ticker, in yfinance's columns.

    Attributes:
        times: Dates or times of the bars, in the exchange's time zone; tickers with the same times
            share this object.
        columns: Maps the name of each column, in yfinance's order, to its values.
        facts: Provenance of the bars.
    """

    times: pd.DatetimeIndex
    columns: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any]


def bar_times(stamps: NDArray[np.int64], zone: str, *, is_intraday: bool) -> pd.DatetimeIndex:
    """Return the times of bars in a time zone, given their stamps in UTC nanoseconds."""
    index = pd.DatetimeIndex(stamps.view("M8[ns]"), name="Datetime" if is_intraday else "Date")
    if is_intraday:
        return index.as_unit(TIME_UNIT).tz_localize("UTC").tz_convert(zone)
    # By its name, a zone has the class that this version of pandas gives to yfinance's frames.
    # A midnight that a change of the clocks repeats or leaves out is moved, as yfinance does.
    latest = np.ones(len(index), bool)
    return index.as_unit(DAY_UNIT).tz_localize(zone, ambiguous=latest, nonexistent="shift_forward")


def shown_columns(
    rows: Rows, whole: Rows | None, *, auto_adjust: bool, digits: int | None
) -> dict[str, NDArray[Any]]:
    """Return the columns of one ticker under yfinance's names, in its order.

    Args:
        rows: Bars adjusted for splits; their arrays are only read.
        whole: The same bars, adjusted for dividends, without a last one that is forming; None if
            the adjusted closes in ``rows`` are to be used, or no dividend follows any bar.
        auto_adjust: Whether to adjust prices for dividends as well.
        digits: Number of decimals to round to; None means no rounding.
    """
    names, _, values = rows.arrays()
    given = dict(zip(names, values, strict=True))
    columns = {name: given[name.lower()] for name in _PRICES}
    adjusted = given.get("adj_close", given["close"])
    if whole is not None:
        index, closes = rows.frame.index, whole.frame["close"]
        is_forming = index > closes.index.max()  # no dividend follows it
        adjusted = np.where(is_forming, given["close"], closes.reindex(index).to_numpy())
    if auto_adjust:
        ratio = adjusted / given["close"]
        columns = {name: column * ratio for name, column in columns.items()}
        columns["Close"] = adjusted
    else:
        columns["Adj Close"] = adjusted
    columns["Volume"] = volume = np.where(np.isnan(given["volume"]), 0, given["volume"])
    columns |= {shown: given[name] for name, shown in _ACTIONS.items() if name in given}
    gains = columns.get("Capital Gains")
    if gains is not None and (gains > 0).any():
        columns["Dividends"] = np.round(columns["Dividends"] - gains, _CASH_DIGITS)
    else:
        columns.pop("Capital Gains", None)
    if digits is not None:
        columns = {name: np.round(column, digits) for name, column in columns.items()}
    # Coins are traded in fractions; only Yahoo's volumes are whole.
    counts = volume.astype(np.int64)
    return columns | ({"Volume": counts} if (counts == volume).all() else {})


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

    Rows that a ticker lacks are NaN. Volumes stay whole numbers if a ticker has every row.

    Args:
        tables: Maps each ticker that has bars to its bars.
        failed: Maps each ticker without bars to its provenance.
        tickers: Tickers, in the order in which they were passed.
        ignore_tz: Whether to leave out the index's time zone.
        by_ticker: Whether the upper level of the columns is the tickers rather than the prices.

    Raises:
        QueryError: Local times without a zone occur twice.
    """
    zones = Counter(str(table.times.tz) for table in tables.values())
    # The most frequent zone; without one, each ticker's times are local.
    common = None if ignore_tz else min(zones, key=lambda zone: (-zones[zone], zone), default="UTC")
    order = [
        (ticker, name)
        for ticker in tickers
        for name in _ORDER
        if name in (tables[ticker].columns if ticker in tables else _EMPTY)
    ]
    order = order if by_ticker else sorted(order, key=lambda column: column[::-1])
    alike: dict[int, tuple[pd.DatetimeIndex, dict[int, NDArray[Any]]]] = {}
    for place, (ticker, name) in enumerate(order):
        if ticker in tables:
            times, columns, _ = tables[ticker]
            alike.setdefault(id(times), (times, {}))[1][place] = columns[name]
    parts = [pd.DataFrame(group, index=_converted(at, common)) for at, group in alike.values()]
    if not parts:
        parts = [pd.DataFrame(index=pd.DatetimeIndex([]), dtype=np.float64)]
    index = reduce(pd.Index.union, [part.index for part in parts])
    frame = pd.concat(parts, axis=1, sort=True).reindex(index=index, columns=range(len(order)))
    levels, step = [list(tickers), sorted({name for _, name in order})], 1 if by_ticker else -1
    codes = [
        pd.Index(level).get_indexer(pd.Index(labels)).tolist()
        for level, labels in zip(levels, zip(*order, strict=True), strict=True)
    ]
    frame.columns = pd.MultiIndex(levels[::step], codes[::step], names=("Ticker", "Price")[::step])
    facts = {
        ticker: tables[ticker].facts if ticker in tables else failed[ticker] for ticker in tickers
    }
    complete = all(fact.get("complete", False) for fact in facts.values())
    frame.attrs[ATTRS_KEY] = freeze(
        {"symbols": facts, "failed": list(failed), "complete": complete}
    )
    return frame


def _converted(times: pd.DatetimeIndex, zone: str | None) -> pd.DatetimeIndex:
    """Convert times to a time zone, or to naive local time."""
    index = times.tz_localize(None) if zone is None else times.tz_convert(zone)
    if not index.is_monotonic_increasing or index.has_duplicates:
        raise QueryError("local times occur twice where clocks go back", hint="use ignore_tz=False")
    return index
