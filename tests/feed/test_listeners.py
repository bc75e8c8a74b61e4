"""Bars cut in two by a lost connection: not delivered by the builder, and left to history."""

from __future__ import annotations

import pytest

from src.data.core.calendars.bar_builders import MinuteBars, TradeBars
from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import StreamState, Trade
from src.data.core.model.time.instant import MINUTE_MS
from src.data.core.model.time.timeframe import Timeframe
from src.data.feed.sources.stream import Inbox
from src.data.feed.streams.listeners import BuildingListener, MinuteListener, TradeListener
from tests.core.calendars.market import ALWAYS

from .conftest import bars_in, emptied
from .hands import MONDAY, minute

FIVE = BarGrid(ALWAYS, Timeframe.parse("5m"))


def say(listener: BuildingListener, number: int) -> None:
    """Tell of one minute, in the way that the listener hears of it."""
    listener.bar(minute(number))
    listener.trade(Trade(MONDAY + number * MINUTE_MS, 5.0, 1.0))


@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("kind", ["trades", "minutes"])
def test_a_bar_interrupted_by_a_lost_connection_is_fetched_from_history(
    kind: str, lost: bool
) -> None:
    clock, box = ManualClock(MONDAY - 10_000), Inbox()
    listener: BuildingListener = (
        TradeListener(box, clock, TradeBars(FIVE)) if kind == "trades"
        else MinuteListener(box, clock, MinuteBars(FIVE, 3 * MINUTE_MS))
    )  # fmt: skip
    listener.connected()
    clock.advance(10)
    for number in (0, 1, 2):
        clock.advance(60)
        say(listener, number)
    if lost:
        listener.lost("gone")
    clock.advance(130)
    listener.tick()  # a new socket is open, and not let in yet
    items = emptied(box)
    assert len([bar for bar in bars_in(items) if bar.is_closed]) == (0 if lost else 1)
    listener.connected()
    clock.advance(300)
    listener.tick()
    owed = [
        item.at_ms for item in emptied(box) if getattr(item, "state", "") == StreamState.DELAYED
    ]
    assert owed == [MONDAY + 10 * MINUTE_MS]


def test_trades_in_a_bar_that_began_unheard_show_that_data_come() -> None:
    clock, box = ManualClock(MONDAY + MINUTE_MS), Inbox()
    listener = TradeListener(box, clock, TradeBars(FIVE))
    listener.connected()
    emptied(box)
    listener.trade(Trade(MONDAY + MINUTE_MS, 5.0, 1.0))
    assert [getattr(item, "state", item) for item in emptied(box)] == [StreamState.LIVE]
