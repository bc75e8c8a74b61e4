"""Polled vendors through the factory: history first, then each bar at its close."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import AskedAdjustment
from src.data.core.model.market.stream import LiveBar
from src.data.core.model.time.instant import MINUTE_MS, parse_iso
from src.data.data_manager import DataManager
from src.data.feed.backtrader.live import IBKRLiveDataFeed, PolledLiveDataFeed, YahooLiveDataFeed
from src.data.feed.data_feed_factory import DataFeedFactory
from src.data.feed.selection import live_feed, plain_feed
from src.data.feed.sources.poll import PollSource
from tests.core.net.gateway import Script, gateway
from tests.feed.test_base_live_data_feed import Stub, hours
from tests.vendor_server import VendorServer

from .conftest import wait_until


@pytest.mark.skipif(
    importlib.util.find_spec("ib_async") is None, reason="ib_async is not installed"
)
def test_a_gateway_is_queried_when_a_bar_closes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "ib_async")
    clock, rules = ManualClock(parse_iso("2024-06-12T19:59:30Z")), tmp_path / "rules.yaml"
    days = ["2024-06-07", "2024-06-10", "2024-06-11", "2024-06-12"]
    script = Script(bars=[row(day) for day in days[:3]])
    with gateway(script) as port:
        rules.write_text(
            "stock_daily: {primary: ibkr, backup: []}\n"
            f"providers:\n  ibkr: {{port: {port}, client_id: 7}}\n"
        )
        manager = DataManager(tmp_path / "cache", rules, clock=clock)
        feed = DataFeedFactory.create_data_feed({
            "data_source": "ibkr", "symbol": "AAPL", "interval": "1d", "lookback_bars": 3,
            "port": port, "data_manager": manager,
        })  # fmt: skip
        assert isinstance(feed, IBKRLiveDataFeed)
        script.bars.append(row(days[3]))
        check_poll(feed, [parse_iso(day) for day in days])
        assert {asked["symbol"] for asked in script.asked} == {"AAPL"}


@pytest.mark.skipif(
    importlib.util.find_spec("ib_async") is None, reason="ib_async is not installed"
)
@pytest.mark.parametrize("named_in_rules", [True, False], ids=["rules", "none"])
def test_only_the_gateway_named_by_a_feed_is_queried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, named_in_rules: bool
) -> None:
    caplog.set_level(logging.CRITICAL, "ib_async")
    clock, rules = ManualClock(parse_iso("2024-06-12T19:59:30Z")), tmp_path / "rules.yaml"
    days = ["2024-06-07", "2024-06-10", "2024-06-11"]
    of_rules, of_feed = (Script(bars=[row(day) for day in days]) for _ in range(2))
    with gateway(of_rules) as other, gateway(of_feed) as port:
        at = f"  ibkr: {{port: {other}, client_id: 7}}\n" if named_in_rules else "  ibkr: {}\n"
        rules.write_text(f"stock_daily: {{primary: ibkr, backup: []}}\nproviders:\n{at}")
        config = {
            "data_source": "ibkr", "symbol": "AAPL", "interval": "1d", "lookback_bars": 3,
            "host": "127.0.0.1", "port": port, "client_id": 9,
            "data_manager": DataManager(tmp_path / "cache", rules, clock=clock),
        }  # fmt: skip
        feeds = [DataFeedFactory.create_data_feed(config) for _ in range(2)]
    for feed in feeds:
        assert isinstance(feed, IBKRLiveDataFeed)
        assert len(feed.df) == 3
        status = feed.get_status()
        assert (status["host"], status["port"], status["client_id"]) == ("127.0.0.1", port, 9)
    assert feeds[0].data_manager is feeds[1].data_manager  # one connection a gateway
    # What happens there is told by the manager that the feeds were made of.
    manager = config["data_manager"]
    assert isinstance(manager, DataManager)
    assert manager.metrics()["vendors"]["ibkr"]["ok"] > 0
    assert of_feed.asked
    assert of_rules.asked == []


def row(day: str) -> tuple[str, float, float, float, float, float]:
    """Return a made-up day as the gateway answers it."""
    return (day.replace("-", ""), 187.0, 188.0, 186.0, 187.0 + int(day[-2:]) / 100, 100.0)


def test_a_custom_data_manager_gets_the_vendor_of_the_feed() -> None:
    class Noted(Stub):
        vendor = ""

        def get_ohlcv(self, *_: object, provider: str = "", **asked: Any) -> Any:
            self.vendor = provider
            return self.frame

    stand_in = Noted(hours(3))
    feed = YahooLiveDataFeed("AAPL", "1h", lookback_bars=3, data_manager=stand_in)
    assert isinstance(feed.stream.source, PollSource)
    feed.stream.source.history.last(3)
    assert stand_in.vendor == "yahoo"


@pytest.mark.skipif(importlib.util.find_spec("ccxt") is None, reason="ccxt is not installed")
def test_a_ccxt_exchange_is_queried_when_a_bar_closes(
    tmp_path: Path, clock: ManualClock, vendors: VendorServer
) -> None:
    rules, at = tmp_path / "rules.yaml", vendors.base_url("binance")
    fast = "{requests_per_second: 1000, burst_size: 1000}"
    rules.write_text(f"providers:\n  ccxt:binance: {{base_url: '{at}', rate_limits: {fast}}}\n")
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    feed = live_feed(manager, "BTCUSDT", "1m", 3, provider="ccxt:binance")
    assert isinstance(feed, PolledLiveDataFeed)
    assert feed.get_status()["data_source"] == "ccxt:binance"
    now = clock.now_ms() // MINUTE_MS * MINUTE_MS
    stamps = [now + number * MINUTE_MS for number in range(-3, 1)]
    check_poll(feed, stamps)
    truth = vendors.truth.expected(
        "BTCUSDT", "1m", stamps[0], stamps[-1] + 1, "raw", clock.now_ms()
    )
    bars = feed.stream.snapshot().bars
    assert [bar[:6] for bar in bars[: len(stamps)]] == [row[:6] for row in truth]


@pytest.mark.parametrize(
    "adjustment, begin, ex_date",
    [("split", "2020-08-26", "2020-08-31"), ("all", "2024-05-08", "2024-05-10")],
)
def test_a_split_or_dividend_revises_no_bar_that_was_delivered(
    adjustment: AskedAdjustment, begin: str, ex_date: str, tmp_path: Path, vendors: VendorServer
) -> None:
    vendors.clock.set(parse_iso(f"{begin}T19:59:30Z"))
    rules, at = tmp_path / "rules.yaml", vendors.base_url("yahoo")
    rules.write_text(
        "stock_daily: {primary: yahoo, backup: []}\n"
        f"providers:\n  yahoo: {{base_url: '{at}', transport: http, rate_limits: "
        "{requests_per_second: 1000, burst_size: 1000}}\n"
    )
    manager = DataManager(tmp_path / "cache", rules, clock=vendors.clock)
    feed = plain_feed(manager, ("AAPL", "1d", 2), adjustment=adjustment)
    with feed:
        wait_until(lambda: feed.snapshot().given >= 7, "the bars after the ex-date")
        shown = feed.snapshot()
    assert shown.revisions == 0
    first, last = parse_iso(begin), parse_iso(f"{ex_date}T23:00:00Z")
    bars = [tuple(bar[:6]) for bar in shown.bars if first <= bar.stamp_ms < last]
    assert bars == [
        pytest.approx(tuple(row)) for row in vendors.truth.raw("AAPL", "1d", first, last)
    ]


@pytest.mark.parametrize("anchor, minute", [("clock", "00"), ("session", "30")])
def test_hourly_bars_are_polled_wherever_they_start(
    anchor: str, minute: str, tmp_path: Path
) -> None:
    times = [f"2024-07-{day:02}T{hour}:{minute}:00Z" for day in (8, 9) for hour in range(13, 20)]
    times += [f"2024-07-10T{hour}:{minute}:00Z" for hour in (13, 14, 15)]
    rows = [f"{time},10,11,9,10,{100 + number}" for number, time in enumerate(times)]
    (tmp_path / "AAPL-1h.csv").write_text("\n".join(["time,open,high,low,close,volume", *rows]))
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        f"stock_intraday: {{primary: local, backup: []}}\nproviders:\n  local: {{folder: {tmp_path}, "
        f"pattern: '{{symbol}}-{{timeframe}}.csv', time_column: time, anchor: {anchor}, "
        "adjustment: raw, unit: USD, timeframes: {1h: 1h}}\n"
    )
    clock = ManualClock(parse_iso("2024-07-10T15:40:30Z"))
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    feed = live_feed(manager, "AAPL", "1h", 2, adjustment="raw")
    assert isinstance(feed, PolledLiveDataFeed)
    check_poll(feed, [parse_iso(time) for time in times[14:]])


def check_poll(feed: PolledLiveDataFeed, stamps: list[int]) -> None:
    """Check that all but the last of ``stamps`` are history, and that one a bar that was polled.

    Nobody moves the clock but the feed itself: its waits do.
    """

    def bars() -> tuple[LiveBar, ...]:
        return feed.stream.snapshot().bars[: len(stamps)]

    feed.start()
    try:
        wait_until(lambda: len(bars()) == len(stamps), "a poll")
    finally:
        feed.stream.stop()
    assert [bar.stamp_ms for bar in bars()] == stamps
    assert [bar.origin for bar in bars()] == ["history"] * (len(stamps) - 1) + ["live"]
    assert feed.last_poll_time is not None
