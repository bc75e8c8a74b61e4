"""Feeds without a data manager: bars lost by a stream are fetched all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.feed.services import FeedBars
from src.data.feed.sources.history import ManagerHistory
from tests.e2e.fixed_vendor import FixedVendor
from tests.e2e.scripted_vendor import route_to

SPAN = Span(parse_iso("2024-06-11"), parse_iso("2024-06-12"))


@pytest.mark.parametrize("make", [FeedBars, DataManager])
def test_bars_lost_by_a_stream_are_fetched_with_and_without_a_manager(
    make: Any, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = make(tmp_path / "cache", clock=clock)
    fixed = FixedVendor(clock, range(*SPAN, HOUR_MS), "binance")
    route_to(monkeypatch, bars, binance=fixed)
    grid = BarGrid(
        calendar_for(bars.provider_selector.instrument("BTCUSDT")), Timeframe.parse("1h")
    )
    history = ManagerHistory(bars, "BTCUSDT", grid, clock)
    lost = Span(SPAN.start + 3 * HOUR_MS, SPAN.start + 6 * HOUR_MS)
    for again in (False, True):
        found = history.between(lost, again=again)
        assert [bar.stamp_ms for bar in found.bars] == list(range(*lost, HOUR_MS))
        assert not found.absent
    assert len(fixed.asked) == 2, "asked again where that is wanted"
