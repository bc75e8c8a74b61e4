"""Adjusts a frame's prices for the splits and dividends in the table, as of the frame's end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from ...core.model.identity.kind import Basis
from ...core.model.market.actions import Action
from ...core.model.market.bars import BarTable, Stamps
from ...core.model.time.instant import date_of, day_ms
from ...core.model.time.span import Span
from ...core.prices.adjustment import BasisPart, ClosesBefore, LastSession, rebase
from ...errors import QueryError
from ..core.sessions import run
from .models import CorporateAction

__all__ = ["CorporateActionsProcessor"]

_TIMES = ("date", "timestamp", "datetime", "time")
_COLUMNS = ("open", "high", "low", "close", "volume")


class CorporateActionsProcessor:
    """Adjusts raw daily bars for the splits and dividends in the ``corporate_actions`` table.

    Only splits and dividends with an ex-date inside the frame are applied, newest first, so prices
    are adjusted as of the frame's end. For prices adjusted as of today, use
    ``DataManager.get_ohlcv``.

    Args:
        db_session: The caller's SQLAlchemy session, asynchronous or not; it is only used for
            reading.
    """

    def __init__(self, db_session: Any) -> None:
        self.db = db_session

    async def adjust_prices(self, df: Any, symbol: str) -> Any:
        """Return the frame, sorted by date, with the prices before each ex-date adjusted.

        The input is not changed. A split divides prices before its ex-date by its ratio and
        multiplies their volume by it. A dividend multiplies prices before its ex-date by ``1 -
        amount / close before the ex-date``. Each price is rounded only once. If no ex-date is
        inside the frame, the input itself is returned.

        Args:
            df: Polars or pandas frame with a column ``date`` (or ``timestamp``) or a time index,
                and any of ``open high low close volume``. A timestamp's date is the one in its own
                time zone.
            symbol: Symbol, spelled as in the table, such as ``AAPL``.

        Raises:
            QueryError: The frame has no times, or contains values that are not times.
            KindMismatchError: A dividend cannot be applied because the close before it is
                missing.
            DatabaseError: The table cannot be read.
        """
        frame = _PriceFrame(df)
        if not len(frame.stamps):
            return df
        first, last = (date_of(int(edge)) for edge in (frame.stamps.min(), frame.stamps.max()))
        actions = await run(self.db, load_actions, symbol, first, last)
        return frame.adjusted(actions) if actions else df


def load_actions(session: Session, symbol: str, first: date, last: date) -> list[Action]:
    """Return a symbol's splits and dividends with ex-dates from ``first`` to ``last``, by date."""
    statement = (
        select(CorporateAction)
        .where(CorporateAction.symbol == symbol)
        .where(CorporateAction.ex_date >= first)
        .where(CorporateAction.ex_date <= last)
        .where(CorporateAction.action_type.in_(["split", "dividend"]))
        .order_by(CorporateAction.ex_date)
    )
    return [_action(row) for row in session.scalars(statement)]


def _action(row: CorporateAction) -> Action:
    ex_ms = day_ms(row.ex_date)
    if row.action_type == "dividend":
        return Action(row.ex_date, "dividend", ex_ms, amount=float(row.amount or 0), as_paid=True)
    top, bottom = row.numerator, row.denominator
    if top is None or bottom is None:
        top, bottom = row.ratio, None
    return Action(row.ex_date, "split", ex_ms, float(top or 0), float(bottom or 1))


class _PriceFrame:
    """The times and prices of a pandas or Polars frame, ascending; neither library is imported."""

    def __init__(self, df: Any) -> None:
        self._df = df
        self._is_polars = hasattr(df, "get_column")
        times = self._times()
        self._order = np.argsort(times, kind="stable")
        self.stamps: Stamps = times[self._order]

    def _times(self) -> Stamps:
        """Return the times in milliseconds, as local times without a time zone."""
        df, name = self._df, next((name for name in _TIMES if name in self._df.columns), None)
        column = df[name] if name is not None else getattr(df, "index", ())
        times = [
            time.replace(tzinfo=None) if isinstance(time, datetime) and time == time else time
            for time in list(column)
        ]
        # A value that is not a time (NaT) differs from itself.
        wrong = [time for time in times if not isinstance(time, date) or time != time]
        if wrong or (name is None and self._is_polars):
            raise QueryError(
                f"rows without a valid time: {len(wrong)} of {len(df)}, such as {wrong[:1]!r:.60}",
                hint=f"add a column {' or '.join(_TIMES[:2])} with dates or datetimes",
            )
        stamps: Stamps = np.array(times, dtype="M8[ms]").astype(np.int64)
        return stamps

    def adjusted(self, actions: Sequence[Action]) -> Any:
        """Return a new frame, sorted by date, with prices adjusted as of its end."""
        columns = {name: self._column(name) for name in _COLUMNS if name in self._df.columns}
        unknown = np.full(len(self.stamps), np.nan)
        values = [columns.get(name, unknown) for name in _COLUMNS]
        table = BarTable(self.stamps, *values)
        whole = Span(int(self.stamps[0]), int(self.stamps[-1]) + 1)
        bases, last = [BasisPart(whole, Basis("raw"))], date_of(int(self.stamps[-1]))

        def before(ex_date: date) -> LastSession | None:
            """Return the rows before an ex-date that have a closing price; None if there are none."""
            rows = table.take((table.stamps < day_ms(ex_date)) & np.isfinite(table.close))
            return LastSession(rows, bases) if len(rows) else None

        closes = ClosesBefore(actions, last, before)
        done = rebase(table, bases, actions, "all", as_of=last, intraday=False, close_before=closes)
        new = dict(zip(_COLUMNS, done.values(), strict=False))
        return self._frame_with({name: new[name] for name in columns})

    def _column(self, name: str) -> NDArray[np.float64]:
        values = [np.nan if value is None else float(value) for value in list(self._df[name])]
        ordered: NDArray[np.float64] = np.array(values, dtype=np.float64)[self._order]
        return ordered

    def _frame_with(self, columns: dict[str, NDArray[np.float64]]) -> Any:
        """Return the frame, sorted by date, with new columns.

        An integer column keeps its type if all new values are integers.
        """
        if not self._is_polars:
            frame = self._df.iloc[self._order].copy()
            for name, values in columns.items():
                whole = frame[name].dtype.kind in "iu" and not (values % 1).any()
                frame[name] = values.astype(frame[name].dtype) if whole else values
            return frame
        frame = self._df[self._order]
        for name, values in columns.items():
            old = frame.get_column(name)
            new = type(frame)({name: values}).get_column(name)
            if old.null_count():
                new = new.set(old.is_null(), None)
            whole = old.dtype.is_integer() and not np.nan_to_num(values % 1).any()
            frame = frame.with_columns(new.cast(old.dtype) if whole else new)
        return frame
