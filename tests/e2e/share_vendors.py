"""In-process vendors of one share: the same trades raw, split-adjusted and fully adjusted.

The share is Apple's: its splits and dividends since 2020, its close of 2020-01-02 and those before ex-dates
up to February 2021. The other closes are made up, and chosen so that the first one is 300.35 raw, 75.09
adjusted for splits and 72.27 adjusted for all.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from itertools import pairwise
from typing import Any

from src.data.core.calendars.calendar import calendar_for
from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Adjustment, Basis, Kind
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.request.capabilities import Capabilities, Fetched, FetchQuery
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, day_ms
from src.data.core.model.time.span import Span
from src.data.core.vendors.base import BaseDataDownloader
from src.data.errors import DataError, NoDataError, UnavailableError

APPLE = Instrument("AAPL", "stock", "XNYS", "America/New_York")
_OPEN_MS = 13 * HOUR_MS + HOUR_MS // 2
_ANCHORS = {
    date(2020, 1, 2): 300.35, date(2020, 2, 6): 325.21, date(2020, 5, 7): 303.74,
    date(2020, 8, 6): 455.61, date(2020, 8, 28): 499.23, date(2020, 8, 31): 129.04,
    date(2020, 11, 5): 119.03, date(2021, 2, 4): 137.39, date(2021, 4, 1): 107.0,
    date(2024, 6, 12): 107.6,
}  # fmt: skip
_PAID = {
    date(2020, 2, 7): 0.77, date(2020, 5, 8): 0.82, date(2020, 8, 7): 0.82,
    date(2020, 11, 6): 0.205, date(2021, 2, 5): 0.205, date(2021, 5, 7): 0.22,
    date(2021, 8, 6): 0.22, date(2021, 11, 5): 0.22, date(2022, 2, 4): 0.22,
    date(2022, 5, 6): 0.23, date(2022, 8, 5): 0.23, date(2022, 11, 4): 0.23,
    date(2023, 2, 10): 0.23, date(2023, 5, 12): 0.24, date(2023, 8, 11): 0.24,
    date(2023, 11, 10): 0.24, date(2024, 2, 9): 0.24, date(2024, 5, 10): 0.25,
}  # fmt: skip


def split(day: date, ratio: float, **more: Any) -> Action:
    """Return a split."""
    return Action(day, "split", day_ms(day) + _OPEN_MS, ratio, 1.0, **more)


def dividend(day: date, amount: float, **more: Any) -> Action:
    """Return a dividend, by default with the amount as paid."""
    return Action(day, "dividend", day_ms(day) + _OPEN_MS, amount=amount,
                  **({"as_paid": True} | more))  # fmt: skip


SPLIT = split(date(2020, 8, 31), 4.0)
DIVIDENDS = tuple(dividend(day, amount) for day, amount in _PAID.items())


@cache
def _path() -> dict[date, float]:
    """Return a close for every session, through the anchors, in whole cents."""
    days = [s.day for s in calendar_for(APPLE).sessions(min(_ANCHORS), max(_ANCHORS))]
    closes: dict[date, float] = {}
    for (first, low), (last, high) in pairwise(_ANCHORS.items()):
        inside = days[bisect_left(days, first) : bisect_left(days, last) + 1]
        for place, day in enumerate(inside):
            share = place / (len(inside) - 1)
            swing = 0.01 * math.sin(place) * math.sin(math.pi * share)
            closes[day] = round(low * (high / low) ** share * (1 + swing), 2)
    return closes


class Truth:
    """The share as traded and in each adjustment, by plain arithmetic on floats."""

    def __init__(self) -> None:
        self.closes = dict(_path())
        self._days = list(self.closes)
        self.actions: list[Action] = [SPLIT, *DIVIDENDS]

    def factors(self, day: date, as_of: date) -> tuple[float, float]:
        """Return what splits and dividends multiply a raw price of ``day`` by."""
        splits = dividends = 1.0
        for action in self.actions:
            if day < action.ex_date <= as_of and action.type == "split":
                splits *= action.denominator / action.numerator
            elif day < action.ex_date <= as_of:
                before = self._days[bisect_left(self._days, action.ex_date) - 1]
                dividends *= 1 - action.amount / self.closes[before]
        return splits, dividends

    def bars(self, span: Span, adjustment: str, as_of: date) -> list[Bar]:
        """Return the bars with stamps in ``span`` in that adjustment."""
        found = []
        for day, close in self.closes.items():
            if day_ms(day) in span and day <= as_of:
                splits, dividends = self.factors(day, as_of)
                factor = {"raw": 1.0, "split": splits, "all": splits * dividends}[adjustment]
                shares = 1.0 if adjustment == "raw" else splits
                prices = (round(close * k, 2) * factor for k in (0.995, 1.01, 0.99, 1.0))
                found.append(Bar(day_ms(day), *prices, 1e6 / shares))
        return found


@dataclass
class Script:
    """How a vendor misbehaves.

    Attributes:
        down: it fails wherever one of these is asked for.
        lacks: it has no bars there.
        mute: it fails to tell the actions on their own.
    """

    down: Sequence[Span] = ()
    lacks: Sequence[Span] = ()
    mute: bool = False


class ShareVendor(BaseDataDownloader):
    """Tells the truth in one adjustment, rounded to ``digits``.

    Attributes:
        asked: the spans asked for, in order.
        asked_actions: those asked for actions alone.
        script: how it misbehaves; nothing by default.
        tells: its own list of actions; those of the truth by default.
    """

    def __init__(
        self, name: str, adjustment: Adjustment, truth: Truth, clock: ManualClock, *,
        actions: bool = False, digits: int = 2,
    ) -> None:  # fmt: skip
        super().__init__(sender=object())  # type: ignore[arg-type]
        self.name = name
        self.truth, self.clock, self.digits = truth, clock, digits
        self.capabilities = Capabilities(
            frozenset({"stock"}), {"1d": "1d"}, adjustment=adjustment, actions=actions,
            kinds={"stock": Kind("regular", "session", "consolidated", "USD", "shares")},
        )  # fmt: skip
        self.asked: list[Span] = []
        self.asked_actions: list[Span] = []
        self.script = Script()
        self.tells: Sequence[Action] | None = None

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return the bars of a span as adjusted today."""
        self.asked.append(query.span)
        self._fail_if(any(query.span.overlaps(span) for span in self.script.down))
        adjustment, opened = self.capabilities.adjustment, self._opened()
        bars = [
            Bar(bar.stamp_ms, *(round(p, self.digits) for p in bar[1:5]), bar.volume)
            for bar in self.truth.bars(query.span, adjustment, opened)
            if not any(bar.stamp_ms in span for span in self.script.lacks)
        ]
        if not bars:
            raise NoDataError("nothing here", provider=self.name)
        kind = self.capabilities.kind(query.instrument, query.timeframe)
        reported = self._told(query.span) if self.capabilities.actions else ()
        return Fetched(BarTable.from_bars(bars), self.name, kind, Basis(adjustment),
                       self.clock.now_ms(), reported)  # fmt: skip

    def fetch_actions(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Answer the actions of a span."""
        self.asked_actions.append(span)
        self._fail_if(self.script.mute)
        return self._told(span)

    def _told(self, span: Span) -> tuple[Action, ...]:
        known: Iterable[Action] = self.truth.actions if self.tells is None else self.tells
        now, opened = self.clock.now_ms(), self._opened()
        return tuple(
            replace(a, source=self.name, fetched_at=now)
            for a in known if day_ms(a.ex_date) in span and a.ex_date <= opened
        )  # fmt: skip

    def _opened(self) -> date:
        now = self.clock.now_ms()
        return max(d for d in self.truth.closes if day_ms(d) + _OPEN_MS <= now)

    def _fail_if(self, is_down: bool) -> None:
        if is_down:
            error: DataError = UnavailableError("down", provider=self.name)
            raise error


def stamp_span(first: date, last: date) -> Span:
    """Return the stamps of all days from ``first`` through ``last``."""
    return Span(day_ms(first), day_ms(last) + DAY_MS)


def last_opened(truth: Truth, clock: ManualClock) -> date:
    """Return the last session of the truth that has opened."""
    return max(d for d in truth.closes if day_ms(d) + _OPEN_MS <= clock.now_ms())
