from __future__ import annotations

import copy
import pickle

import pytest

from src.data.core.config.rules import ProviderRules
from src.data.core.registry import VENDORS
from src.data.core.symbols.tickers import ProviderConfig, TickerInfo
from src.data.core.vendors.factory import vendor_summary


class TestTickerInfo:
    def test_a_dict_and_attributes(self) -> None:
        info = TickerInfo("BTCUSDT", "crypto", None, "BTC", "USDT", "binance", "btc/usdt")
        assert info["formatted_ticker"] == info.symbol == "BTCUSDT"
        assert info["symbol_type"] == info.symbol_type == "crypto"
        assert info["base_asset"] == info.base_asset == "BTC"
        assert info["quote_asset"] == info.quote_asset == "USDT"
        assert info["original_ticker"] == "btc/usdt"
        assert info.original_provider == "binance"
        assert info["exchange"] is info.exchange is None

    def test_a_change_is_seen_both_ways(self) -> None:
        info = TickerInfo("AAPL", "stock")
        info["exchange"] = "NASDAQ"
        assert info.exchange == "NASDAQ"

    @pytest.mark.parametrize(
        "twin", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
    )
    def test_copies_are_of_the_same_class(self, twin: object) -> None:
        info = TickerInfo("AAPL", "stock")
        again = twin(info)  # type: ignore[operator]
        assert again == info
        assert type(again) is TickerInfo
        assert again.symbol == "AAPL"


def test_provider_config_takes_its_documented_fields() -> None:
    fields = {
        "symbol": "BTCUSDT", "interval": "1d", "original_provider": "binance",
        "best_provider": "yahoo", "reason": "r", "exchange": "Binance", "base_asset": "BTC",
        "quote_asset": "USDT",
    }  # fmt: skip
    for config in (ProviderConfig(**fields), ProviderConfig(*fields.values())):
        assert {name: getattr(config, name) for name in fields} == fields
        assert config["ticker"] == "BTCUSDT"
        assert {name: config[name] for name in fields if name != "symbol"} == {
            name: value for name, value in fields.items() if name != "symbol"
        }
        assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config


def test_provider_config_is_both_too() -> None:
    config = ProviderConfig(ticker="AAPL", interval="1d", best_provider="yahoo", reason="r")
    assert (config.symbol, config.interval, config.best_provider) == ("AAPL", "1d", "yahoo")
    assert config["ticker"] == "AAPL"
    assert config.exchange is None


def test_a_vendor_without_downloader_is_not_available() -> None:
    summary = vendor_summary(ProviderRules("fmp", "FMP", api_key_required=True), None)
    assert summary["available"] is False
    assert summary["timeframes"] == []
    assert summary["requires_api_key"] is True
    assert "fmp" in VENDORS
