"""From the data manager to a feed, over real sockets."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from src.data.data_manager import DataManager
from src.data.feed.base import LiveFeed
from src.data.feed.binance_live_feed import BinanceLiveDataFeed
from src.data.feed.coingecko_live_feed import CoinGeckoLiveDataFeed
from src.data.feed.polled_live_data_feed import PolledLiveDataFeed
from src.data.feed.replaying import replay_feed
from src.data.feed.yahoo_live_feed import YahooLiveDataFeed

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Backtrader's own utcnow


def test_binance_streams(manager: DataManager) -> None:
    feed = manager.get_live_feed("BTCUSDT", "1h", 50)
    assert isinstance(feed, BinanceLiveDataFeed)
    assert feed.data_manager is manager
    assert len(feed.df) == 50
    status = feed.get_status()
    assert status["data_source"] == "Binance"
    assert status["binance_interval"] == feed.binance_interval == "1h"
    assert status["ws_url"].startswith("wss://")
    assert status["ws_connected"] is status["testnet"] is False


def test_who_has_no_stream_is_asked(manager: DataManager) -> None:
    feed = manager.get_live_feed("AAPL", "1d", 20, polling_interval=30)
    assert isinstance(feed, YahooLiveDataFeed)
    status = feed.get_status()
    assert (status["data_source"], status["yahoo_interval"]) == ("Yahoo Finance", "1d")
    assert (status["polling_interval"], status["last_poll_time"]) == (30, None)
    assert status["ticker_valid"] and status["data_points"] == 20


def test_a_named_vendor_is_listened_to_or_asked_alone(manager: DataManager) -> None:
    feed = manager.get_live_feed("AAPL", "1h", 5, provider="yahoo")
    assert isinstance(feed, YahooLiveDataFeed)
    with pytest.raises(TypeError, match="from its source alone"):
        feed._process_new_data(feed.df)


@pytest.mark.parametrize(
    "asked, why",
    [
        (("NOSUCHTHING123", "1h"), "NOSUCHTHING123"),
        (("BTCUSDT", "7 minutes"), "unknown timeframe"),
        (("AAPL", "1d", 10, "wrong=1"), "wrong"),
    ],
)
def test_none_with_the_reason_logged(
    manager: DataManager, caplog: pytest.LogCaptureFixture, asked: tuple[Any, ...], why: str
) -> None:
    options = {"wrong": 1} if len(asked) > 3 else {}
    with caplog.at_level(logging.WARNING):
        assert manager.get_live_feed(*asked[:3], **options) is None
    assert "there is no live feed of" in caplog.text and why in caplog.text


def test_without_backtrader_it_is_a_feed_all_the_same(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.feed.choosing.find_spec", lambda name: None)
    for symbol in ("BTCUSDT", "AAPL"):
        feed = manager.get_live_feed(symbol, "1h", 5)
        assert type(feed) is LiveFeed


def test_polled_feeds_of_a_coin_keep_their_pace(manager: DataManager) -> None:
    feed = CoinGeckoLiveDataFeed.__new__(CoinGeckoLiveDataFeed)
    assert feed.max_calls_per_minute == 50
    assert issubclass(CoinGeckoLiveDataFeed, PolledLiveDataFeed)


def test_any_series_of_a_manager(manager: DataManager) -> None:
    feed = replay_feed(manager, "BTCUSDT", "1h", "2024-06-10", "2024-06-10", speed=0, history=4)
    bars = list(feed)
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-10", "2024-06-10", offline=True)
    assert [bar.close for bar in bars] == list(frame["close"])
    assert list(feed) == bars  # and again
