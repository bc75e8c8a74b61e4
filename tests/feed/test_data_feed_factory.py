"""The data feed factory: feeds from mappings; an invalid mapping is logged and raises nothing."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.config.feed_presets import PACKAGED, load_preset
from src.data.doors.compat.data_feed_factory import SOURCES as FACTORY_SOURCES
from src.data.feed.backtrader.feed import BacktraderFeed
from src.data.feed.backtrader.live import CoinGeckoLiveDataFeed, IBKRLiveDataFeed, YahooLiveDataFeed
from src.data.feed.data_feed_factory import DataFeedFactory
from src.data.feed.file_data_feed import CsvColumns, FileDataFeed
from tests.feed.test_base_live_data_feed import Stub, hours

SOURCES = ["binance", "yahoo", "ibkr", "coingecko", "file"]
INFO = {
    "name", "description", "symbols", "intervals", "real_time", "requires_auth", "rate_limits", "cost",
}  # fmt: skip


def made(source: str, **said: Any) -> Any:
    config = {"data_source": source, "symbol": "AAPL", "interval": "1h", "lookback_bars": 3}
    return DataFeedFactory.create_data_feed(config | {"data_manager": Stub(hours(3))} | said)


def test_source_info_describes_every_supported_source() -> None:
    assert DataFeedFactory.get_supported_sources() == SOURCES
    info = DataFeedFactory.get_source_info()
    assert list(info) == SOURCES
    assert all(set(said) == INFO for said in info.values())
    info["binance"]["intervals"].clear()
    assert DataFeedFactory.get_source_info()["binance"]["intervals"]


def test_every_option_of_a_file_is_a_parameter_of_its_feed_and_none_is_left_out() -> None:
    """The factory names them without Backtrader, the feed with their defaults."""
    own = {*FileDataFeed.params._getkeys()} - {*BacktraderFeed.params._getkeys()}
    options = {*FACTORY_SOURCES["file"].options} - {"file_path"}
    assert own <= options | {"symbol"}
    assert options - own == {"fromdate", "todate"}, "Backtrader's own"
    assert {column.name for column in fields(CsvColumns)} <= own


def test_the_factory_creates_a_yahoo_feed() -> None:
    feed = made("yahoo", polling_interval=30)
    assert isinstance(feed, YahooLiveDataFeed)
    status = feed.get_status()
    assert (status["symbol"], status["interval"], status["polling_interval"]) == ("AAPL", "1h", 30)
    assert (status["data_source"], status["yahoo_interval"]) == ("Yahoo Finance", "1h")


def test_the_factory_creates_a_coingecko_feed() -> None:
    feed = made("coingecko", symbol="bitcoin", interval="1d")
    assert isinstance(feed, CoinGeckoLiveDataFeed)
    assert feed.get_status()["data_source"] == "CoinGecko"
    assert feed.max_calls_per_minute == 50
    assert feed.call_times == []


def test_the_factory_creates_an_ibkr_feed() -> None:
    feed = made("IBKR", host="127.0.0.1", port=4002, client_id=7)
    assert isinstance(feed, IBKRLiveDataFeed)
    status = feed.get_status()
    assert (status["data_source"], status["port"], status["client_id"]) == ("IBKR", 4002, 7)
    assert {"ibkr_connected", "host", "ibkr_interval", "contract_valid", "data_subscribed"} <= set(
        status
    )


def test_the_factory_creates_a_file_feed(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    FileDataFeed.create_sample_csv(path, days=1)
    config = {"data_source": "file", "symbol": "X", "file_path": path, "simulate_realtime": False}
    feed = DataFeedFactory.create_data_feed(config)
    assert isinstance(feed, FileDataFeed)
    assert len(feed.df) == 24


@pytest.mark.parametrize(
    "said, why",
    [
        ({"data_source": "invalid"}, "unknown data_source 'invalid'"),
        ({"data_source": "yaho"}, "did you mean yahoo"),
        ({}, "unknown data_source ''"),
        ({"data_source": "yahoo", "symbol": ""}, "needs symbol"),
        ({"data_source": "yahoo", "interval": "1x"}, "unknown timeframe '1x'"),
        ({"data_source": "yahoo", "data_manager": Stub(None)}, "no history of AAPL 1h"),
        ({"data_source": "file", "file_path": "/nowhere/x.csv"}, "the CSV file does not exist:"),
        ({"data_source": "file"}, "needs file_path"),
        ({"data_source": "yahoo", "polling_interval": 5, "lookback_bars": "many"}, "feed could be created"),
        ({"data_source": "yahoo", "polling_interval": "5"}, "invalid polling_interval '5'"),
        ({"data_source": "yahoo", "retry_interval": -1}, "invalid retry_interval -1"),
    ],
)  # fmt: skip
def test_the_factory_returns_none_for_an_invalid_configuration_and_logs_the_reason(
    caplog: pytest.LogCaptureFixture, said: dict[str, Any], why: str
) -> None:
    whole = {"symbol": "AAPL", "interval": "1h", "data_manager": Stub(hours(3))} | said
    assert DataFeedFactory.create_data_feed(whole) is None
    assert why in caplog.text


@pytest.mark.parametrize("config", [None, [], "binance", 5])
def test_the_factory_returns_none_for_a_configuration_that_is_not_a_mapping(
    caplog: pytest.LogCaptureFixture, config: Any
) -> None:
    assert DataFeedFactory.create_data_feed(config) is None
    assert f"must be a mapping, not {config!r}" in caplog.text


def test_unknown_configuration_keys_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert made("yahoo", lookback_bar=5) is not None
    assert "'lookback_bar' of the feed: did you mean lookback_bars?" in caplog.text


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_presets_are_complete_and_create_a_feed(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    preset = load_preset(name)
    assert set(preset) == {
        "data_source", "symbol", "interval", "lookback_bars", "retry_interval", "testnet", "host",
        "port", "client_id",
    }  # fmt: skip
    with caplog.at_level(logging.WARNING):
        if preset["data_source"] != "binance":  # whose stream is looked for where it is routed
            assert made(**{**preset, "source": preset["data_source"]}) is not None
    assert "of the feed" not in caplog.text


def test_a_replaced_history_method_of_a_feed_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame(hours(10))
    monkeypatch.setattr(CoinGeckoLiveDataFeed, "_load_historical_data", lambda self: frame)
    feed = made("coingecko", symbol="bitcoin", interval="1d", data_manager=Stub(None))
    assert len(feed.df) == 10
