"""Fills in missing bars by a rule, for programs that need a row at every stamp.

Filled rows are flagged. The library fills gaps only on request, and the store rejects filled rows
(:func:`.frame.filled_rows`), because they are not bars.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ...core.calendars.calendar import calendar_for
from ...core.calendars.grid import fitting_opens
from ...core.model.answer.frame import NS_IN_MS, with_filled
from ...core.model.answer.interchange import to_polars
from ...core.model.display.texts import lacks_columns
from ...core.model.identity.instrument import Instrument
from ...core.model.market.bars import PRICES, Stamps, among
from ...core.model.time.timeframe import Timeframe
from ...data_manager import current_selector
from ...errors import QueryError

__all__ = ["GapAnalysis", "MissingDataHandler"]

_TIMES = ("timestamp", "date", "datetime", "time")
_NEW_YORK = Instrument("", "stock", "XNYS", "America/New_York")
# For daily bars: below the first fraction of missing bars, fill forward; below the second,
# interpolate.
_FEW_SHARE, _SOME_SHARE = 0.05, 0.15
Fill = Callable[[pd.DataFrame], pd.DataFrame]


class GapAnalysis(NamedTuple):
    """The bars missing between a frame's first and last row, according to its market's calendar.

    Attributes:
        expected: Number of bars that the calendar expects.
        missing: Number of these bars that have no row, or whose row lacks a price.
    """

    expected: int
    missing: int

    @property
    def gap_pct(self) -> float:
        """The fraction of expected bars that are missing, from 0 to 1."""
        return self.missing / self.expected if self.expected else 0.0


class MissingDataHandler:
    """Fills gaps in a frame with a named strategy. Thread-safe, because it has no mutable state.

    ``forward_fill`` repeats the prices of the previous row. ``interpolate`` uses straight lines
    between the rows around the gap; do not use it in backtests, because it looks ahead.
    ``market_hours`` repeats the prices of the previous row from 9:30 to 16:00 in New York on days
    when the New York exchange trades, and adds no rows at other times. ``drop`` adds no rows, and
    removes rows that lack a price. ``auto`` is ``market_hours`` for bars shorter than a day;
    otherwise, depending on the missing fraction, ``forward_fill`` (below 5 %), ``interpolate``
    (below 15 %) or ``drop``.

    Attributes:
        strategies: Maps each strategy's name to the function that fills gaps.
    """

    def __init__(self) -> None:
        self.strategies: dict[str, Callable[[pd.DataFrame, str, str], pd.DataFrame]] = {
            "forward_fill": self._forward_fill,
            "interpolate": self._interpolate,
            "drop": self._drop,
            "market_hours": self._market_hours,
        }

    def handle_missing_data(
        self, df: Any, symbol: str, timeframe: str, strategy: str = "auto"
    ) -> Any:
        """Return a new frame, of the same library, with filled gaps and a column ``filled`` (bool).

        The column is true in every row that was added or that lacked a price. A row that lacked a
        price keeps its volume; an added row has a volume of 0. No row is added before the first row
        or after the last.

        Args:
            df: Frame from pandas (with times in the index or in a column ``timestamp``, ``date``,
                ``datetime`` or ``time``) or from Polars. Naive times mean UTC. Times must be
                ascending and unique. The columns are ``open high low close`` and, optionally,
                ``volume``.
            symbol, timeframe: Symbol and timeframe as for ``get_ohlcv``; they determine the
                calendar.
            strategy: ``auto`` or one of :attr:`strategies`.

        Raises:
            QueryError: An argument is invalid (a ``ValueError``).
        """
        if strategy != "auto" and strategy not in self.strategies:
            names = ", ".join(["auto", *self.strategies])
            raise QueryError(f"unknown strategy {strategy!r}", hint=f"use one of {names}")
        frame, back = _read(df)
        if strategy == "auto":
            strategy = self._choose(frame, symbol, timeframe)
        return back(self.strategies[strategy](frame, symbol, timeframe))

    def analyze_gaps(self, df: Any, symbol: str, timeframe: str) -> GapAnalysis:
        """Return the counts of expected and missing bars.

        See :meth:`handle_missing_data` for the arguments.

        Raises:
            QueryError: An argument is invalid.
        """
        return _analysis(_read(df)[0], symbol, timeframe)

    def _choose(self, frame: pd.DataFrame, symbol: str, timeframe: str) -> str:
        if Timeframe.parse(timeframe).is_intraday:
            return "market_hours"
        share = _analysis(frame, symbol, timeframe).gap_pct
        if share < _FEW_SHARE:
            return "forward_fill"
        return "interpolate" if share < _SOME_SHARE else "drop"

    def _forward_fill(self, frame: pd.DataFrame, symbol: str, timeframe: str) -> pd.DataFrame:
        return _add_rows(
            frame, expected_times(frame, _instrument(symbol), timeframe), pd.DataFrame.ffill
        )

    def _interpolate(self, frame: pd.DataFrame, symbol: str, timeframe: str) -> pd.DataFrame:
        def line(prices: pd.DataFrame) -> pd.DataFrame:
            """Fill missing prices by linear interpolation, but not at the ends."""
            return prices.interpolate(method="time", limit_area="inside")

        return _add_rows(frame, expected_times(frame, _instrument(symbol), timeframe), line)

    def _drop(self, frame: pd.DataFrame, symbol: str, timeframe: str) -> pd.DataFrame:
        return with_filled(frame[~_lacks_price(frame)], [])

    def _market_hours(self, frame: pd.DataFrame, symbol: str, timeframe: str) -> pd.DataFrame:
        return _add_rows(frame, expected_times(frame, _NEW_YORK, timeframe), pd.DataFrame.ffill)


def _instrument(symbol: str) -> Instrument:
    return current_selector().instrument(symbol)


def _analysis(frame: pd.DataFrame, symbol: str, timeframe: str) -> GapAnalysis:
    stamps, below_ms = np.divmod(pd.DatetimeIndex(frame.index).as_unit("ns").asi8, NS_IN_MS)
    is_known = ~_lacks_price(frame) & (below_ms == 0)
    expected = _expected_stamps(stamps, _instrument(symbol), timeframe)
    return GapAnalysis(len(expected), int((~among(expected, stamps[is_known])).sum()))


def _lacks_price(frame: pd.DataFrame) -> Any:
    return frame[list(PRICES)].isna().any(axis=1).to_numpy()


def expected_times(frame: pd.DataFrame, instrument: Instrument, timeframe: str) -> pd.DatetimeIndex:
    """Return the times of the bars expected from a frame's first row to its last.

    The existing rows show whether bars are aligned to the clock or to the session's open.
    """
    times = pd.DatetimeIndex(frame.index)
    if not len(times):
        return times
    best = _expected_stamps(times.as_unit("ns").asi8 // NS_IN_MS, instrument, timeframe)
    return pd.DatetimeIndex((best * NS_IN_MS).view("M8[ns]"), name=frame.index.name)


def _expected_stamps(stamps: Stamps, instrument: Instrument, timeframe: str) -> Stamps:
    """Return the stamps of the bars expected from the first of ``stamps`` to the last."""
    parsed = Timeframe.parse(timeframe)
    return fitting_opens(stamps, calendar_for(instrument), parsed) if len(stamps) else stamps


def _add_rows(frame: pd.DataFrame, expected: pd.DatetimeIndex, fill: Fill) -> pd.DataFrame:
    """Add a row at every expected time, with prices from ``fill``, and the column ``filled``."""
    valid = frame.index[~_lacks_price(frame)]
    filled = frame.reindex(frame.index.union(expected))
    is_new = ~filled.index.isin(valid)
    names = [name for name in (*PRICES, "adj_close") if name in filled]
    filled.loc[is_new, names] = np.nan
    filled[names] = fill(filled[names])
    if "volume" in filled:
        filled["volume"] = filled["volume"].where(~is_new, filled["volume"].fillna(0.0))
    for name in frame.select_dtypes("bool").columns:
        filled[name] = filled[name].eq(True)
    has_price = ~_lacks_price(filled)  # before the first good row there is nothing to repeat
    filled, is_new = filled[has_price], is_new[has_price]
    return with_filled(filled, filled.index[is_new])


def _read(df: Any) -> tuple[pd.DataFrame, Callable[[pd.DataFrame], Any]]:
    """Return the rows with a naive UTC index, and a function that restores the form of ``df``.

    Raises:
        QueryError: The value is not a frame of bars.
    """
    frame, is_column, zone = with_times(df)
    if lacking := [name for name in PRICES if name not in frame]:
        raise QueryError(f"the frame {lacks_columns(lacking)}")
    if frame.index.hasnans or not frame.index.is_monotonic_increasing or frame.index.has_duplicates:
        raise QueryError(
            "the times of the frame must be ascending and unique",
            hint="use sort_index() to sort them",
        )

    def restored(frame: pd.DataFrame) -> Any:
        """Convert a frame to the caller's library and time zone."""
        if zone is not None:
            frame.index = pd.DatetimeIndex(frame.index).tz_localize("UTC").tz_convert(zone)
        result = frame.reset_index() if is_column else frame
        return result if isinstance(df, pd.DataFrame) else _typed_as(df, to_polars(result))

    return frame, restored


def with_times(df: Any) -> tuple[pd.DataFrame, bool, tzinfo | None]:
    """Return a frame with a naive UTC index, whether its times were a column, and their time zone.

    The frame may be from pandas or Polars; its times are the index or, if that has no times, a column.

    Raises:
        QueryError: The value is not a frame, or has no times.
    """
    frame = df if isinstance(df, pd.DataFrame) else _of_polars(df)
    is_column = not isinstance(frame.index, pd.DatetimeIndex)
    name = next((name for name in _TIMES if name in frame), None) if is_column else None
    if is_column and name is None:
        raise QueryError("the frame has neither a time index nor a time column")
    times = pd.DatetimeIndex(frame.index if name is None else pd.to_datetime(frame[name]))
    naive = times if times.tz is None else times.tz_convert(None)
    naive = pd.DatetimeIndex(naive, name=name or frame.index.name)
    frame = frame.drop(columns=[] if name is None else name).set_axis(naive, axis=0)
    return frame, is_column, times.tz


def _of_polars(df: Any) -> pd.DataFrame:
    """Convert a Polars frame to pandas; raises ``QueryError`` for anything else."""
    try:
        frame = pd.DataFrame(df.to_dict(as_series=False))
    except (AttributeError, TypeError) as error:
        type_name = type(df).__name__
        raise QueryError(f"expected a pandas or Polars frame, not {type_name}") from error
    # Pandas has no numbers in a column of nothing but None.
    return frame.astype({name: "float64" for name in frame if frame[name].isna().all()})


def _typed_as(given: Any, made: Any) -> Any:
    """Return a Polars frame with the types and nulls of ``given``, except where a value would change."""
    columns = []
    for name, dtype in given.schema.items():
        column = made[name]
        if column.dtype.is_float() and not (dtype.is_float() and given[name].is_nan().any()):
            column = column.fill_nan(None)
        cast = column.cast(dtype, strict=False)
        is_rounded = dtype.is_integer() and (cast != column).any()
        is_lossy = is_rounded or cast.null_count() != column.null_count()
        columns.append(column if is_lossy else cast)
    return made.with_columns(columns)
