"""Feeds for Binance's dollar-margined futures: a separate market, history by ccxt, streamed bars."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.config.feed_presets import load_preset
from src.data.core.model.market.stream import StreamState
from src.data.core.model.time.instant import MINUTE_MS
from src.data.data_manager import DataManager
from src.data.feed.backtrader.live import StreamedLiveDataFeed
from src.data.feed.data_feed_factory import DataFeedFactory
from src.data.feed.live_feeds import FeedTimings
from src.data.feed.selection import live_feed, live_feed_or_none
from src.data.feed.services import feeds_of
from src.data.feed.vendor_feeds import FUTURES
from tests.vendor_server import VendorServer
from tests.vendor_server.streams import StreamServer

from .conftest import BITCOIN, PATIENCE, PULSE, wait_until

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ccxt") is None, reason="ccxt is not installed"
)


@pytest.fixture
def manager(
    tmp_path: Path, clock: ManualClock, vendors: VendorServer, streams: StreamServer
) -> DataManager:
    """Return a manager with Binance's spot and futures vendors, both at the local servers."""
    path, at = tmp_path / "rules.yaml", vendors.base_url("binance")
    fast = {"requests_per_second": 1000, "burst_size": 1000}
    spot = {"base_url": at, "transport": "http", "ws_url": streams.url("binance") + "/spot"}
    futures = {"base_url": at, "rate_limits": fast, "ws_url": streams.url("binance")}
    rules = {"crypto": {"backup": []}, "providers": {"binance": spot, FUTURES: futures}}
    path.write_text(json.dumps(rules))
    made = DataManager(tmp_path / "cache", path, clock=clock)
    feeds_of(made).tempo = FeedTimings(PULSE, PATIENCE)
    return made


def test_futures_are_streamed_and_never_mixed_with_the_spot_market(
    tmp_path: Path, manager: DataManager, clock: ManualClock, vendors: VendorServer,
    streams: StreamServer,
) -> None:  # fmt: skip
    manager.get_ohlcv("BTCUSDT", "1m", bars=3)
    asked = vendors.count("binance")
    feed = live_feed(manager, "BTCUSDT", "1m", 3, market="futures")
    assert isinstance(feed, StreamedLiveDataFeed)
    assert feed.get_status()["data_source"] == FUTURES
    paths = [entry.path for entry in vendors.log()][asked:]
    assert set(paths) == {"/fapi/v1/exchangeInfo", "/fapi/v1/klines"}
    opened = clock.now_ms() // MINUTE_MS * MINUTE_MS
    try:
        feed.stream.start()
        wait_until(lambda: feed.stream.status.state is StreamState.LIVE, "LIVE")
        clock.advance(60)
        assert streams.publish("binance", *BITCOIN, opened) == 1
        wait_until(lambda: feed.stream.snapshot().given == 4, "a bar of the stream")
    finally:
        feed.stream.stop()
    bars = feed.stream.snapshot().bars  # as many as were looked back to
    assert [bar.stamp_ms - opened for bar in bars] == [MINUTE_MS * n for n in range(-2, 1)]
    assert [bar.origin for bar in bars] == ["history"] * 2 + ["live"]
    lanes = sorted(path.name for path in (tmp_path / "cache" / "ohlcv" / "BTCUSDT").iterdir())
    assert lanes == ["1m", "1m@ccxt%3Abinanceusdm"]
    assert manager.get_ohlcv("BTCUSDT", "1m", bars=3, offline=True).attrs["onetape"]["vendors"] == [
        "binance"
    ]


def test_a_preset_selects_the_futures_market(tmp_path: Path, manager: DataManager) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"data_source": "binance", "symbol": "BTCUSDT", "interval": "1m",
                                "market": "futures", "lookback_bars": 3}))  # fmt: skip
    config = load_preset(path)
    feed = DataFeedFactory.create_data_feed({**config, "data_manager": manager})
    assert isinstance(feed, StreamedLiveDataFeed)
    assert feed.provider == FUTURES


@pytest.mark.parametrize("said, why", [
    ({"market": "options"}, "live feeds are not available for market 'options'"),
    ({"market": "futures", "provider": "yahoo"}, "'futures' from yahoo"),
])  # fmt: skip
def test_an_unknown_market_is_refused_with_the_reason(
    manager: DataManager, caplog: pytest.LogCaptureFixture, said: dict[str, str], why: str
) -> None:
    with pytest.warns(UserWarning, match="live feeds"):
        assert live_feed_or_none(manager, "BTCUSDT", "1m", 3, **said) is None
    assert why in caplog.text
    config = {"data_source": "binance", "symbol": "BTCUSDT", "interval": "1m", "testnet": True}
    assert DataFeedFactory.create_data_feed({**config, "market": "futures"}) is None
    assert "a testnet feed is not available for binance futures" in caplog.text
