"""A cache folder with two symbols, a hole, a split and a dividend, on a stopped clock."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.actions import Action
from src.data.core.model.time.instant import day_ms
from src.data.core.model.time.span import Span
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning
from tests.e2e.fixed_vendor import FixedVendor, Market, days, every

HOLE = date(2024, 3, 6)
_HOLIDAYS = {date(2024, 1, 15), date(2024, 2, 19), date(2024, 3, 29), date(2024, 5, 27)}
_OPEN_MS = 14 * 3_600_000
_ACTIONS = (
    Action(date(2024, 5, 10), "dividend", day_ms(date(2024, 5, 10)) + _OPEN_MS, amount=0.25, currency="USD"),
    Action(date(2024, 6, 10), "split", day_ms(date(2024, 6, 10)) + _OPEN_MS, 10.0, 1.0),
)  # fmt: skip


class ShareVendor(FixedVendor):
    """Has a share's bars of each day but one, and its actions; only AAPL is listed."""

    def fetch_actions(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Return the actions in the span that have come."""
        known = (a for a in _ACTIONS if day_ms(a.ex_date) in span and a.ex_at <= now_ms)
        return tuple(replace(a, source=self.name, fetched_at=now_ms) for a in known)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings.simplefilter("ignore", IncompleteDataWarning)
    monkeypatch.setattr("src.data.server.first_page._PATIENCE_S", None)


@pytest.fixture
def market(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Market:
    """Return a market at 2024-06-12 15:00:30 UTC."""
    return Market(tmp_path, clock, monkeypatch)


@pytest.fixture
def share(clock: ManualClock) -> ShareVendor:
    """Return the vendor of the share."""
    stamps = [
        day_ms(day) for day in days("2024-01-02", "2024-06-11") if day not in {HOLE, *_HOLIDAYS}
    ]
    return ShareVendor(clock, stamps, "yahoo")


@pytest.fixture
def manager(market: Market, share: ShareVendor, clock: ManualClock) -> DataManager:
    """Return a manager whose cache has AAPL 1d with a hole on 2024-03-06, and BTCUSDT 1m of a day."""
    coin = FixedVendor(clock, every("1m", "2024-06-12T00:00", "2024-06-12T14:59"), "binance")
    made = market.manager(coin, share)
    made.get_ohlcv("AAPL", "1d", start="2024-01-02", end="2024-06-11")
    made.get_actions("AAPL")
    # The bars before the split are marked by the first answer after it.
    made.get_ohlcv("AAPL", "1d", start="2024-01-02", end="2024-06-11", offline=True)
    made.get_ohlcv("BTCUSDT", "1m", start="2024-06-12", end="2024-06-12T14:59")
    share.asked.clear()
    return made
