"""Live feeds made by the data manager, over real sockets."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import StreamState
from src.data.core.model.time.instant import MINUTE_MS, from_ms
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    BadTimeframeError,
    ConfigError,
    DataError,
    IncompleteDataWarning,
    NoDataError,
    NoProviderError,
    UnknownProviderError,
)
from src.data.feed.backtrader.live import (
    BinanceLiveDataFeed,
    StreamedLiveDataFeed,
    YahooLiveDataFeed,
)
from src.data.feed.live_feed import LiveFeed
from src.data.feed.replay import replay_feed
from src.data.feed.sources.base import Halt
from src.data.feed.sources.poll import polled
from tests.feed.conftest import wait_until
from tests.feed.hands import LIVE, Hand, minute
from tests.feed.test_poll import Notebook
from tests.vendor_server import Fault, VendorServer, split

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Backtrader's own utcnow


def test_a_live_feed_for_a_coin_is_a_binance_stream_with_history(manager: DataManager) -> None:
    feed = manager.get_live_feed("BTCUSDT", "1h", 50, polling_interval=30, retry_interval=5)
    assert isinstance(feed, BinanceLiveDataFeed)
    assert feed.data_manager is manager
    assert len(feed.df) == 50
    assert repr(feed) == "<BinanceLiveDataFeed BTCUSDT 1h: CLOSED, not started>"
    assert repr(feed.stream) == "<LiveFeed BTCUSDT 1h: CLOSED, not started>"
    status = feed.get_status()
    assert status["data_source"] == "Binance"
    assert status["binance_interval"] == feed.binance_interval == "1h"
    assert status["ws_url"].startswith("wss://")
    assert status["ws_connected"] is status["testnet"] is False


def test_a_vendor_without_a_stream_is_polled(manager: DataManager) -> None:
    feed = manager.get_live_feed("AAPL", "1d", 20, polling_interval=30)
    assert isinstance(feed, YahooLiveDataFeed)
    status = feed.get_status()
    assert (status["data_source"], status["yahoo_interval"]) == ("Yahoo Finance", "1d")
    assert (status["polling_interval"], status["last_poll_time"]) == (30, None)
    assert status["ticker_valid"] and status["data_points"] == 20


def test_a_live_feed_with_a_provider_uses_only_that_vendor(manager: DataManager) -> None:
    feed = manager.get_live_feed("AAPL", "1h", 5, provider="yahoo")
    assert isinstance(feed, YahooLiveDataFeed)
    with pytest.raises(TypeError, match="only from its own source"):
        feed._process_new_data(feed.df)


@pytest.mark.parametrize("backtrader", [True, False], ids=["backtrader", "plain"])
def test_the_history_of_a_live_feed_has_the_requested_adjustment(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch, backtrader: bool
) -> None:
    vendors.truth.act("AAPL", split("2024-06-05", 4))
    if not backtrader:
        monkeypatch.setattr("src.data.feed.selection.find_spec", lambda name: None)

    def first_close(**options: str) -> float:
        feed = manager.get_live_feed("AAPL", "1d", 20, **options)
        if isinstance(feed, YahooLiveDataFeed):
            return float(feed.df["close"].iloc[0])
        assert feed is not None
        with feed:
            return next(iter(feed)).close

    usual = first_close()
    assert first_close(adjustment="split") == usual
    assert first_close(adjustment="raw") == pytest.approx(4 * usual)


@pytest.mark.parametrize("backtrader", [True, False], ids=["backtrader", "plain"])
def test_an_unknown_adjustment_of_a_live_feed_is_refused(
    manager: DataManager, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    backtrader: bool,
) -> None:  # fmt: skip
    if not backtrader:
        monkeypatch.setattr("src.data.feed.selection.find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="unknown adjustment 'none'"):
        assert manager.get_live_feed("AAPL", "1d", 20, adjustment="none") is None
    assert "unknown adjustment 'none'" in caplog.text


def test_the_status_of_a_streamed_feed_names_its_vendor(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.feed.vendor_feeds.VENDOR_FEEDS", {})
    feed = manager.get_live_feed("BTCUSDT", "1h", 5)
    assert isinstance(feed, StreamedLiveDataFeed)
    assert feed.get_status()["data_source"] == "binance"


@pytest.mark.parametrize("backtrader", [True, False], ids=["backtrader", "plain"])
@pytest.mark.parametrize(
    "asked, options, error, why",
    [
        (("NOSUCHTHING123", "1h"), {}, NoProviderError, "NOSUCHTHING123"),
        (("BTCUSDT", "7 minutes"), {}, BadTimeframeError, "unknown timeframe"),
        (("AAPL", "1d"), {"wrong": 1}, ConfigError, "unknown live feed option: wrong"),
        (("AAPL", "1d"), {"lookback_bars": 0}, ConfigError, "invalid lookback_bars 0"),
    ],
)
def test_an_impossible_feed_is_an_error_of_live_feed_and_none_with_a_warning_of_get_live_feed(
    manager: DataManager, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    asked: tuple[str, str], options: dict[str, Any], error: type[DataError], why: str,
    backtrader: bool,
) -> None:  # fmt: skip
    if not backtrader:
        monkeypatch.setattr("src.data.feed.selection.find_spec", lambda name: None)
    with pytest.raises(error, match=why):
        manager.live_feed(*asked, **options)
    with caplog.at_level(logging.WARNING), pytest.warns(UserWarning, match=why) as warned:
        assert manager.get_live_feed(*asked, **options) is None
    assert [warning.filename for warning in warned] == [__file__]
    assert "no live feed for" in caplog.text and why in caplog.text


def test_a_live_feed_without_history_raises_the_error_of_the_bars(
    manager: DataManager, vendors: VendorServer
) -> None:
    with pytest.raises(UnknownProviderError, match="POLYGON_API_KEY") as caught:
        manager.live_feed("AAPL", "1m", 5, provider="polygon")
    assert caught.value.reason == "no_key"
    assert caught.value.brief == "The data source for AAPL has no valid key."
    vendors.fault("yahoo", Fault.empty())
    with (
        pytest.warns(IncompleteDataWarning),
        pytest.raises(NoDataError, match="no history of AAPL"),
    ):
        manager.live_feed("AAPL", "1d", 5)
    vendors.fault("yahoo", Fault.status(403))
    with pytest.raises(AllProvidersFailedError):
        manager.live_feed("MSFT", "1d", 5)


def test_get_live_feed_returns_a_live_feed_without_backtrader(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.feed.selection.find_spec", lambda name: None)
    for symbol in ("BTCUSDT", "AAPL"):
        feed = manager.get_live_feed(symbol, "1h", 5, retry_interval=5)
        assert isinstance(feed, LiveFeed)


def test_a_feed_has_its_documented_methods_without_backtrader(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = manager.live_feed("BTCUSDT", "1h", 5)
    monkeypatch.setattr("src.data.feed.selection.find_spec", lambda name: None)
    plain = manager.live_feed("BTCUSDT", "1h", 5)
    documented = {
        "__iter__", "__aiter__", "__enter__", "__exit__", "on_bar", "on_status", "on_revision",
        "start", "stop", "status", "snapshot", "subscribe", "unsubscribe", "symbol", "timeframe",
    }  # fmt: skip
    assert documented <= {*dir(plain)} and documented <= {*dir(both)}
    older = {"df", "interval", "is_connected", "last_update", "get_status", "should_stop"}
    assert older <= {*dir(both)}
    assert not older & {*dir(plain)}, "the feeds of older programs need Backtrader"


def test_a_feed_without_backtrader_calls_back_with_the_same_arguments(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[Any] = []
    old, new = minute(0, origin="history"), minute(1)
    source = Hand([old, LIVE, new], ends=True)
    monkeypatch.setattr("src.data.feed.selection.find_spec", lambda name: None)
    monkeypatch.setattr("src.data.feed.selection.polled", lambda *_, **__: source)
    feed = manager.get_live_feed("AAPL", "1m", on_new_bar=lambda *said: got.append(said))
    assert feed is not None and source.starts == 1
    wait_until(lambda: got)
    ((symbol, opened, values),) = got
    assert (symbol, opened) == ("AAPL", from_ms(new.stamp_ms))
    assert values == {"open": 101.0, "high": 103.0, "low": 99.0, "close": 102.0, "volume": 11.0}


def test_a_replay_feed_delivers_the_stored_bars_of_a_manager(manager: DataManager) -> None:
    feed = replay_feed(manager, "BTCUSDT", "1h", "2024-06-10", "2024-06-10", speed=0, history=4)
    bars = list(feed)
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-10", "2024-06-10", offline=True)
    assert [bar.close for bar in bars] == list(frame["close"])
    assert list(feed) == bars  # and again


@pytest.mark.parametrize("symbol, timeframe, minutes", [("AAPL", "1m", 6), ("BTCUSDT", "5m", 21)])
def test_polled_bars_are_delivered_once_and_stored(
    manager: DataManager, clock: ManualClock, vendors: VendorServer, symbol: str, timeframe: str,
    minutes: int,
) -> None:  # fmt: skip
    """In the test's own thread: waiting moves its clock."""
    source = polled(manager, symbol, timeframe, lookback=12)
    halt = Halt(clock)
    notebook = Notebook(halt, clock, clock.now_ms() + minutes * MINUTE_MS)
    asked = sum(vendors.count(name) for name in ("yahoo", "binance"))
    source.run(notebook, halt)
    first, now = notebook.bars[0].stamp_ms, clock.now_ms()
    truth = vendors.truth.expected(symbol, timeframe, first, now, "split", now)
    assert [tuple(bar[:5]) for bar in notebook.bars] == [tuple(row[:5]) for row in truth]
    step = Timeframe.parse(timeframe).step_ms or 0
    assert len(notebook.bars) >= 12 + minutes * MINUTE_MS // step
    assert StreamState.DELAYED not in [status.state for status in notebook.states]
    assert sum(vendors.count(name) for name in ("yahoo", "binance")) - asked <= 3 + 3 * minutes
    held = manager.get_ohlcv(symbol, timeframe, bars=len(truth), offline=True)
    assert list(held["close"]) == [row[4] for row in truth]


def test_the_forming_bar_of_a_vendor_without_a_stream_is_polled(
    manager: DataManager, clock: ManualClock
) -> None:
    source = polled(manager, "AAPL", "5m", lookback=3, interval_s=30.0, forming=True)
    halt = Halt(clock)
    notebook = Notebook(halt, clock, clock.now_ms() + 3 * MINUTE_MS)
    source.run(notebook, halt)
    assert len(notebook.running) >= 4
    assert {bar.stamp_ms for bar in notebook.running} == {
        notebook.bars[-1].stamp_ms + 5 * MINUTE_MS
    }


def test_a_live_feed_without_a_key_gives_the_reasons_of_explain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FMP_API_KEY", "POLYGON_API_KEY", "POLYGON_KEY", "MASSIVE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    rules = tmp_path / "keyed.yaml"
    rules.write_text("stock_intraday: {primary: fmp, backup: [polygon]}\n")
    manager = DataManager(tmp_path / "cache", rules)
    lacking = [why for what, why in manager.explain("AAPL", "1m").lines() if "no key" in why]
    assert [why.partition(":")[0] for why in lacking] == ["fmp", "polygon"]
    for ask in (manager.live_feed, manager.get_ohlcv):
        with pytest.raises(NoProviderError, match="No suitable provider found") as caught:
            ask("AAPL", "1m")
        assert all(why in str(caught.value) for why in lacking)
        assert (caught.value.reason, caught.value.symbol) == ("no_key", "AAPL")
        assert "FMP_API_KEY" in str(caught.value.lacking)
    with pytest.warns(UserWarning, match="set FMP_API_KEY"):
        assert manager.get_live_feed("AAPL", "1m") is None


def test_a_pair_that_only_another_vendor_knows_is_a_feed_once_that_vendor_is_named(
    manager: DataManager,
) -> None:
    with pytest.raises(ConfigError, match="pass provider='yahoo' for a feed from there"):
        manager.live_feed("BTC-USD", "1m", 20)
    feed = manager.live_feed("BTC-USD", "1m", 20, provider="yahoo")
    assert isinstance(feed, YahooLiveDataFeed)
    assert len(feed.df) == 20
