"""Splits take effect at the open: hours without it do not show that the session has no split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.core.model.time.instant import day_ms
from src.data.core.model.time.span import Span

from .fixed_vendor import FixedVendor, Market, at

HOURS = [
    at(f"2021-{day}T{hour}:30:00Z")
    for day in ("04-28", "04-29", "04-30", "05-03")
    for hour in range(13, 20)
]
EX_DATE, OPEN = date(2021, 5, 3), at("2021-05-03T13:30:00Z")
EARLY = ("AAPL", "1h", "2021-04-28T13:30:00Z", "2021-04-29T20:00:00Z")
ALL = ("AAPL", "1h", "2021-04-28T13:30:00Z", "2021-05-03T17:30:00Z")


class Splitting(FixedVendor):
    """Adjusts its prices for a 2:1 split at once, and reports it with the hours around the open."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock, HOURS, "yahoo")
        self.capabilities = replace(self.capabilities, actions=True, actions_by_bar=False)

    @property
    def split(self) -> tuple[Action, ...]:
        """The split, as soon as its session has opened."""
        now = self.clock.now_ms()
        split = Action(
            EX_DATE, "split", OPEN, numerator=2, denominator=1, source=self.name, fetched_at=now
        )
        return (split,) * (now >= OPEN)

    def bar(self, stamp: int) -> Bar:
        """Return a bar of about 100 before the split and 50 after it."""
        price = (50.0 if stamp >= OPEN or self.split else 100.0) + stamp // 3_600_000 % 7 / 8
        return Bar(stamp, price, price + 0.5, price - 0.5, price + 0.25, 1000.0)

    def fetch(self, query: FetchQuery) -> Fetched:
        """Answer the bars, with the split if its open is among them."""
        return replace(super().fetch(query), actions=self.split if OPEN in query.span else ())

    def fetch_actions(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Return the split if its date is in the span."""
        return self.split if day_ms(EX_DATE) in span else ()


def test_hours_without_the_open_of_a_session_do_not_report_that_it_has_no_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(at("2021-04-29T21:00:00Z"))
    market = Market(tmp_path, clock, monkeypatch)
    assert market.manager(Splitting(clock)).get_ohlcv(*EARLY)["open"].min() >= 100
    clock.set(at("2021-05-03T17:30:00Z"))
    manager = market.manager(Splitting(clock))
    manager.get_ohlcv("AAPL", "1h", "2021-04-30T13:30:00Z", "2021-05-03T12:30:00Z")
    manager.get_ohlcv("AAPL", "1h", "2021-05-03T14:30:00Z", "2021-05-03T17:30:00Z")
    assert market.manager(Splitting(clock)).get_ohlcv(*EARLY)["open"].max() < 51
    assert manager.get_ohlcv(*ALL)["open"].max() < 51
