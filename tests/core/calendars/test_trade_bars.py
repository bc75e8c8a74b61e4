"""Trades to bars: whole ones alone, closed by the next trade or by the clock."""

from __future__ import annotations

from src.data.core.calendars.bar_builders import TradeBars
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.market.stream import LiveBar, Trade
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.timeframe import Timeframe
from tests.core.calendars.market import ALWAYS, NEW_YORK

NOON = parse_iso("2024-07-10T12:00:00Z")
SECOND = 1000


def bars(grid: BarGrid | None = None, *, late_ms: int = 2000) -> TradeBars:
    made = TradeBars(grid or BarGrid(ALWAYS, Timeframe.parse("1m")), late_ms)
    made.restart(NOON - 10_000)
    return made


def at(second: float, price: float = 1.0, size: float = 1.0) -> Trade:
    """Return a made-up trade, so many seconds after noon."""
    return Trade(NOON + round(second * SECOND), price, size)


def take(made: TradeBars, trade: Trade) -> list[LiveBar]:
    """Take a trade that comes at once."""
    return made.add_trade(trade, trade.stamp_ms)


def closed(found: list[LiveBar]) -> list[LiveBar]:
    return [bar for bar in found if bar.is_closed]


def test_a_bar_is_its_trades() -> None:
    made = bars()
    for second, price in ((1, 5.0), (20, 7.0), (21, 3.0), (59.999, 4.0)):
        running = take(made, at(second, price, 2.0))
    assert running == [LiveBar(NOON, 5.0, 7.0, 3.0, 4.0, 8.0, False)]
    assert closed(take(made, at(60, 9.0))) == [LiveBar(NOON, 5.0, 7.0, 3.0, 4.0, 8.0)]


def test_open_and_close_are_the_first_and_the_last_trade_by_their_times() -> None:
    made = bars()
    for second, price in (
        (1, 11.0),
        (0.1, 10.0),
        (59.9, 12.0),
        (40, 9.0),
        (0.1, 8.0),
        (59.9, 13.0),
    ):
        made.add_trade(at(second, price), NOON + 59_950)
    assert closed(made.closed_by(NOON + 62_050)) == [LiveBar(NOON, 10.0, 13.0, 8.0, 13.0, 6.0)]
    late = made.add_trade(at(0.05, 12.5), NOON + 63_000)
    assert late == [LiveBar(NOON, 12.5, 13.0, 8.0, 13.0, 7.0)]


def test_the_clock_closes_a_bar_once_late_trades_had_their_time() -> None:
    made = bars()
    take(made, at(1))
    assert made.closed_by(NOON + 61_999) == []
    assert closed(made.closed_by(NOON + 62_000)) == [LiveBar(NOON, 1.0, 1.0, 1.0, 1.0, 1.0)]
    assert made.closed_by(NOON + 99_000) == []


def test_a_late_trade_revises_a_bar_that_is_closed() -> None:
    made = bars()
    take(made, at(1, 5.0))
    made.closed_by(NOON + 62_000)
    take(made, at(70, 4.0))
    assert made.add_trade(at(59, 7.0, 3.0), NOON + 99_000) == [
        LiveBar(NOON, 5.0, 7.0, 5.0, 7.0, 4.0)
    ]
    assert made.add_trade(at(59, 9.0, 0.0), NOON + 99_000)[0].stamp_ms == NOON + 60_000
    assert made.late == 1  # a price without a trade


def test_the_last_sixteen_bars_are_revised() -> None:
    made = bars()
    for minute in range(18):
        take(made, at(60 * minute, 5.0))
    now = NOON + 1_080_000
    assert closed(made.add_trade(at(30), now)) == []
    assert [b.volume for b in closed(made.add_trade(at(90), now))] == [2.0]


def test_a_late_trade_behind_one_after_the_session_is_added_to_the_whole_bar() -> None:
    made = TradeBars(BarGrid(NEW_YORK, Timeframe.parse("5m")))
    close = parse_iso("2024-07-10T20:00:00Z")
    made.restart(close - 3_600_000)
    take(made, Trade(close - 9_000, 8.0, 5.0))
    take(made, Trade(close + 200, 9.0, 1.0))
    late = made.add_trade(Trade(close - 100, 7.0, 3.0), close + 300)
    assert late == [LiveBar(close - 300_000, 8.0, 8.0, 7.0, 7.0, 8.0)]


def test_a_trade_stamped_ahead_closes_no_bar_before_its_end() -> None:
    made = bars()
    take(made, at(50, 5.0))
    assert closed(made.add_trade(at(61, 9.0), NOON + 53_000)) == []
    take(made, at(56, 4.0, 2.0))
    assert closed(take(made, at(62))) == [LiveBar(NOON, 5.0, 5.0, 4.0, 4.0, 3.0)]


def test_a_bar_of_a_stream_that_lags_is_closed_so_much_later() -> None:
    made = bars()
    made.add_trade(at(54, 5.0), NOON + 59_000)
    assert made.closed_by(NOON + 66_999) == []
    made.add_trade(at(59, 6.0), NOON + 64_000)
    assert closed(made.closed_by(NOON + 67_000)) == [LiveBar(NOON, 5.0, 6.0, 5.0, 6.0, 2.0)]


def test_a_bar_of_which_the_first_trade_comes_too_late_is_owed() -> None:
    made = bars()
    made.closed_by(NOON - 8_000)
    made.backfill_ms = None
    assert made.add_trade(at(50), NOON + 62_000) == []
    made.closed_by(NOON + 74_000)
    assert (made.late, made.backfill_ms) == (1, NOON + 60_000)


def test_a_bar_that_ends_just_when_we_connect_is_owed() -> None:
    made = bars()
    made.restart(NOON + 59_000)
    assert closed(take(made, at(59.5))) == []
    made.closed_by(NOON + 62_000)
    assert made.backfill_ms == NOON + 60_000
    made.backfill_ms = None
    made.closed_by(NOON + 122_000)
    assert made.backfill_ms == NOON + 120_000


def test_a_bar_that_began_unheard_is_never_closed() -> None:
    made = bars()
    take(made, at(1))
    made.restart(NOON + 30_000)
    take(made, at(31))
    assert closed(take(made, at(61))) == []
    assert closed(take(made, at(121)))[0].stamp_ms == NOON + 60_000


def test_a_bar_that_begins_just_when_we_connect_is_not_trusted() -> None:
    made = bars()
    made.restart(NOON - 1_000)
    take(made, at(1))
    assert closed(take(made, at(60))) == []


def test_a_bar_that_began_unheard_is_owed_once_it_is_over() -> None:
    made = bars()
    made.restart(NOON + 30_000)
    made.closed_by(NOON + 61_999)
    assert made.backfill_ms is None
    made.closed_by(NOON + 62_000)
    assert made.backfill_ms == NOON + 60_000
    made.backfill_ms = None
    made.closed_by(NOON + 125_000)
    assert made.backfill_ms is None


def test_a_bar_that_began_unheard_is_not_passed_on_while_it_forms() -> None:
    made = bars()
    made.restart(NOON + 30_000)
    assert take(made, at(31)) == []
    [bar] = take(made, at(61, 3.0))
    assert (bar.stamp_ms, bar.is_closed) == (NOON + 60_000, False)
    made.spoil(NOON + 62_000)
    assert take(made, at(63)) == []


def test_a_lost_connection_closes_no_bar() -> None:
    made = bars()
    take(made, at(1))
    made.pause()
    assert made.closed_by(NOON + 99_000) == closed(take(made, at(61))) == []
    assert closed(take(made, at(121))) == []


def test_a_price_without_a_trade_opens_no_bar() -> None:
    made = bars()
    assert take(made, at(1, 5.0, 0.0)) == []
    take(made, at(2, 5.0, 1.0))
    assert take(made, at(3, 6.0, 0.0)) == [LiveBar(NOON, 5.0, 6.0, 5.0, 6.0, 1.0, False)]


def test_minutes_without_trades_have_no_bar() -> None:
    made = bars()
    take(made, at(1))
    assert [b.stamp_ms for b in take(made, at(600))] == [NOON, NOON + 600_000]


def test_trades_beside_the_session_are_in_no_bar() -> None:
    made = TradeBars(BarGrid(NEW_YORK, Timeframe.parse("5m")))
    evening, close = parse_iso("2024-07-10T20:00:30Z"), parse_iso("2024-07-10T20:00:00Z")
    made.restart(close - 3_600_000)
    take(made, Trade(close - 1, 1.0, 1.0))
    assert [b.is_closed for b in take(made, Trade(evening, 9.0, 1.0))] == [True]
    assert take(made, Trade(evening + 1, 9.0, 1.0)) == []
