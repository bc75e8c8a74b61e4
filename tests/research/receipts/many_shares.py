"""A vendor in process with any number of made-up shares, which it sends as float32 and never twice alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.data.core.calendars.calendar import calendar_for
from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import BarTable
from src.data.core.model.request.capabilities import Capabilities, Fetched, FetchQuery
from src.data.core.model.time.instant import HOUR_MS, day_ms
from src.data.core.model.time.span import Span
from src.data.core.vendors.base import BaseDataDownloader
from src.data.errors import DataError, NoDataError

_OPEN_MS = 14 * HOUR_MS + HOUR_MS // 2
JITTER = 3e-7
SHARE = Instrument("AAPL", "stock", "XNYS", "America/New_York")


@cache
def sessions(first: str, last: str) -> tuple[date, ...]:
    """Return the session dates of New York from one date to another."""
    found = calendar_for(SHARE).sessions(date.fromisoformat(first), date.fromisoformat(last))
    return tuple(session.day for session in found)


class Shares(BaseDataDownloader):
    """Sends split-adjusted prices of shares, as Yahoo does.

    Args:
        clock: The time of its answers.
        names: Symbols; what they trade follows from the name.
        seed: What its noise follows from.
        name: Whose name it has.

    Attributes:
        bars: Maps each symbol to a row for each session: stamp, open, high, low, close, volume, as traded.
        events: Maps each symbol to its splits and dividends, with amounts as paid.
        has_fractions: Whether volumes in today's shares are sent with their fractions.
        error: Raised instead of an answer.
    """

    def __init__(
        self, clock: ManualClock, names: Sequence[str], seed: int, name: str = "yahoo",
        reach: tuple[str, str] = ("2022-01-03", "2024-06-28"),
    ) -> None:  # fmt: skip
        super().__init__(sender=object())  # type: ignore[arg-type]
        self.name, self.clock = name, clock
        self.capabilities = Capabilities(
            frozenset({"stock"}), {"1d": "1d"}, adjustment="split", actions=True,
            kinds={"stock": Kind("regular", "session", "consolidated", "USD", "shares")},
        )  # fmt: skip
        days = sessions(*reach)
        self.events = {symbol: happened(symbol, days) for symbol in names}
        self.bars = {symbol: traded(symbol, days, self.events[symbol]) for symbol in names}
        self.has_fractions = False
        self.error: DataError | None = None
        self._noise = np.random.default_rng(seed)

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return the bars of a span, adjusted for the splits up to now."""
        if self.error is not None:
            raise self.error
        symbol, opened = query.instrument.symbol, self._opened()
        rows = self.bars[symbol]
        rows = rows[(rows[:, 0] >= query.span.start) & (rows[:, 0] < query.span.end)]
        rows = rows[rows[:, 0] <= day_ms(opened)].copy()
        if not len(rows):
            raise NoDataError("nothing here", provider=self.name)
        for action in self.events[symbol]:
            if action.type == "split" and action.ex_date <= opened:
                before = rows[:, 0] < day_ms(action.ex_date)
                rows[before, 1:5] /= float(action.ratio)
                rows[before, 5] *= float(action.ratio)
        rows[:, 5] = rows[:, 5] if self.has_fractions else np.rint(rows[:, 5])
        noise = 1 + JITTER * self._noise.uniform(-1, 1, len(rows))
        prices = (rows[:, 1:5] * noise[:, None]).astype(np.float32).astype(np.float64)
        columns = [*prices.T.copy(), rows[:, 5].copy()]
        table = BarTable.of_columns(rows[:, 0].astype(np.int64), columns)
        kind = self.capabilities.kind(query.instrument, query.timeframe)
        now = self.clock.now_ms()
        reported = self._told(symbol, query.span)
        return Fetched(table, self.name, kind, Basis("split", opened), now, reported)

    def fetch_actions(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Return the splits and dividends of a span."""
        if self.error is not None:
            raise self.error
        return self._told(instrument.symbol, span)

    def _told(self, symbol: str, span: Span) -> tuple[Action, ...]:
        """Return actions; amounts are divided by later splits, and rounded to six decimals."""
        known = [a for a in self.events[symbol] if a.ex_date <= self._opened()]
        later = {
            a: np.prod(
                [float(b.ratio) for b in known if b.type == "split" and b.ex_date > a.ex_date]
            )
            for a in known
        }
        return tuple(
            replace(
                a, source=self.name, fetched_at=self.clock.now_ms(),
                amount=round(a.amount / float(later[a]), 6),
            )
            for a in known if day_ms(a.ex_date) in span
        )  # fmt: skip

    def _opened(self) -> date:
        now = self.clock.now_ms()
        return max(d for d in sessions("2010-01-04", "2025-12-31") if day_ms(d) + _OPEN_MS <= now)


def traded(symbol: str, days: Sequence[date], events: Sequence[Action]) -> NDArray[np.float64]:
    """Return bars in whole cents, which follow from the symbol."""
    chance = np.random.default_rng(list(symbol.encode()))
    steps = np.cumsum(chance.normal(0, 0.015, len(days)))
    close = chance.uniform(50, 400) * np.exp(steps)
    for action in events:
        close[[day >= action.ex_date for day in days]] /= float(action.ratio)
    close = np.round(close, 2)
    opened = np.round(close * (1 + chance.normal(0, 0.005, len(days))), 2)
    high = np.round(np.maximum(opened, close) * (1 + chance.uniform(0, 0.01, len(days))), 2)
    low = np.round(np.minimum(opened, close) * (1 - chance.uniform(0, 0.01, len(days))), 2)
    volume = chance.integers(10_000, 9_000_000, len(days)).astype(np.float64)
    stamps = [float(day_ms(day)) for day in days]
    return np.column_stack([stamps, opened, high, low, close, volume])


def split(day: date, ratio: float) -> Action:
    """Return a split."""
    return Action(day, "split", day_ms(day) + _OPEN_MS, ratio, 1.0)


def dividend(day: date, amount: float) -> Action:
    """Return a dividend, with the amount as paid."""
    return Action(day, "dividend", day_ms(day) + _OPEN_MS, amount=amount)


def happened(symbol: str, days: Sequence[date]) -> list[Action]:
    """Return a dividend for each quarter, and a split within the first third."""
    chance = np.random.default_rng(list(symbol[::-1].encode()))
    paid = [dividend(day, round(0.2 + chance.uniform(0, 0.3), 2)) for day in days[40::63]]
    return [split(days[len(days) // 3], float(chance.choice([2, 3, 4]))), *paid]


def change(shares: Shares, symbol: str, **events: Any) -> None:
    """Add or remove events of a share."""
    gone = events.get("without", ())
    kept = [a for a in shares.events[symbol] if a not in gone]
    shares.events[symbol] = sorted([*kept, *events.get("plus", ())])
