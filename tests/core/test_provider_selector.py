from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from src.data.core.model.time.timeframe import Timeframe
from src.data.core.provider_selector import (
    ProviderConfig,
    ProviderSelector,
    TickerInfo,
    get_provider_selector,
    reset_provider_selector,
)
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.factory import DataDownloaderFactory
from src.data.errors import (
    BadSymbolError,
    BadTimeframeError,
    ConfigError,
    NoProviderError,
    RulesError,
)
from tests.contract.source import ROOT
from tests.processes import ended, fork, with_locks

ODD: list[Any] = [
    None,
    "",
    "  ",
    5,
    ["AAPL"],
    "A" * 65,
    "../x",
    "SOL",
    "EURUSD",
    "INVALID",
    "a\nb",
    b"AAPL",
]


class Factory:
    """Stands for the factory: makes plain objects, and only for the vendors it is told of."""

    def __init__(self, *available: str) -> None:
        self.available = set(available)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_downloader(self, code: str, **arguments: Any) -> object | None:
        self.calls.append((code, arguments))
        return mock.Mock(name=code) if code in self.available else None

    def list_providers(self) -> list[str]:
        return ["binance", "yahoo", "local"]


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> Factory:
    made = Factory("binance", "yahoo")
    monkeypatch.setattr(DataDownloaderFactory, "list_providers", made.list_providers)
    monkeypatch.setattr(
        DataDownloaderFactory,
        "create_downloader",
        lambda code, **own: made.create_downloader(code, **own),
    )
    return made


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep the machine's own rules, variables and folders out, and the singleton new."""
    for name in ("ONETAPE_RULES", "DATA_CACHE_DIR", "CACHE_MAX_SIZE_GB", "PROVIDER_RATE_LIMITS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    reset_provider_selector()
    yield
    reset_provider_selector()


@pytest.fixture
def selector(factory: Factory) -> ProviderSelector:
    return ProviderSelector()


def with_rules(tmp_path: Path, text: str) -> ProviderSelector:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    return ProviderSelector(config_path=path)


class TestMaking:
    def test_a_new_selector_has_its_documented_attributes_and_no_downloader_yet(
        self, tmp_path: Path, factory: Factory
    ) -> None:
        selector = ProviderSelector(cache_dir=tmp_path / "bars")
        assert selector.cache_dir == str(tmp_path / "bars")
        assert selector.config_path.endswith("provider_rules.yaml")
        assert selector.downloaders == {}
        assert selector.rules["crypto"]["primary"] == "binance"
        assert type(selector.rules) is dict
        assert factory.calls == [], "nobody is made before needed"

    def test_a_file_that_does_not_exist_is_named(self) -> None:
        with pytest.raises(ConfigError, match="my-provider-rules"):
            ProviderSelector(config_path="./my-provider-rules.yaml")

    def test_the_rules_of_the_working_folder(self, tmp_path: Path, factory: Factory) -> None:
        path = tmp_path / "config" / "data" / "provider_rules.yaml"
        path.parent.mkdir(parents=True)
        path.write_text("stock_daily: {primary: binance}\n")
        selector = ProviderSelector()
        assert selector.config_path == str(path)
        assert selector.get_best_provider("AAPL", "1d") == "binance"

    def test_rules_may_be_replaced_as_a_whole(self, selector: ProviderSelector) -> None:
        selector.rules = selector.rules | {"crypto": {"primary": "yahoo", "timeframes": ["1d"]}}
        assert selector.get_provider_with_failover("BTCUSDT", "1d") == ["yahoo"]
        with pytest.raises(RulesError, match="did you mean crypto"):
            selector.rules = {"cryptoo": {}}

    def test_changing_the_rules_of_one_selector_changes_no_other(
        self, selector: ProviderSelector
    ) -> None:
        selector.rules["crypto"]["primary"] = "yahoo"
        assert ProviderSelector().rules["crypto"]["primary"] == "binance"
        assert selector.get_best_provider("BTCUSDT", "1d") == "binance"


class TestRouting:
    def test_the_documented_calls_return_vendor_and_symbol_type(
        self, selector: ProviderSelector
    ) -> None:
        assert selector.get_best_provider("BTCUSDT", "5m") == "binance"
        assert selector.get_best_provider("AAPL", "1d") == "yahoo"
        assert selector.classify_symbol("BTCUSDT") == "crypto"

    def test_vendors_are_in_the_order_of_the_rule_without_unusable_ones(
        self, tmp_path: Path, factory: Factory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = (
            "stock_intraday: {primary: fmp, backup: [alpaca, alpha_vantage, polygon, yfinance]}\n"
        )
        selector = with_rules(tmp_path, text)
        assert selector.get_provider_with_failover("AAPL", "5m") == ["yahoo"]
        factory.available |= {"polygon", "fmp"}
        for name in ("POLYGON_API_KEY", "FMP_API_KEY"):
            monkeypatch.setenv(name, "k")
        assert selector.get_provider_with_failover("AAPL", "5m") == ["fmp", "polygon", "yahoo"]
        factory.available.clear()
        assert selector.get_best_provider("AAPL", "5m") == "fmp", "what is made stays"

    @pytest.mark.parametrize(
        ("symbol", "timeframe", "order"),
        [
            ("AAPL", "5m", ["fmp", "alpaca", "alpha_vantage", "polygon", "yahoo"]),
            ("BTCUSDT", "1h", ["binance", "coingecko", "alpha_vantage", "yahoo"]),
        ],
    )
    def test_the_documents_print_what_the_packaged_rules_return(
        self, factory: Factory, symbol: str, timeframe: str, order: list[str]
    ) -> None:
        factory.available |= set(order)
        found = ProviderSelector().get_provider_with_failover(symbol, timeframe)
        assert found == order
        for page in ("docs/vendors.md", "docs/providers.md"):
            words = " ".join((ROOT / page).read_text().split())
            assert json.dumps(order) in words
            assert "Nothing is added to the vendors in your own rules file" in words

    def test_with_failover_off_only_the_primary_vendor_is_returned(
        self, tmp_path: Path, factory: Factory
    ) -> None:
        selector = with_rules(tmp_path, "failover: {enabled: no}\n")
        assert selector.get_provider_with_failover("BTCUSDT", "1d") == ["binance"]

    def test_currencies_and_indices_have_vendors(self, selector: ProviderSelector) -> None:
        for symbol in ("EURUSD=X", "^VIX", "GC=F"):
            assert selector.get_provider_with_failover(symbol, "1d") == ["yahoo"]

    @pytest.mark.parametrize("symbol", ODD)
    def test_odd_symbols_never_raise(self, selector: ProviderSelector, symbol: Any) -> None:
        assert selector.get_provider_with_failover(symbol, "1d") == []
        assert selector.get_best_provider(symbol, "1d") is None
        assert selector.get_best_downloader(symbol, "1d") is None

    @pytest.mark.parametrize("timeframe", ["", "1x", None, 5, "7m"])
    def test_odd_timeframes_never_raise(self, selector: ProviderSelector, timeframe: Any) -> None:
        assert selector.get_provider_with_failover("AAPL", timeframe) == []

    def test_rule_for_returns_the_rule_or_raises_the_reason(
        self, selector: ProviderSelector
    ) -> None:
        apple = selector.instrument("AAPL")
        assert selector.rule_for(apple, "1d").name == "stock_daily"
        assert selector.rule_for(apple, Timeframe.parse("5m")).name == "stock_intraday"
        with pytest.raises(NoProviderError, match="No suitable provider found for AAPL 7m"):
            selector.rule_for(apple, "7m")
        with pytest.raises(BadTimeframeError):
            selector.rule_for(apple, "1x")


class TestInstruments:
    def test_ambiguity_names_the_candidates(self, selector: ProviderSelector) -> None:
        with pytest.raises(BadSymbolError, match=r"SOLUSDT, SOL-USD, SOL\.US") as caught:
            selector.instrument("SOL")
        assert caught.value.symbol == "SOL"

    def test_no_suitable_provider_is_a_value_error_and_a_runtime_error(
        self, selector: ProviderSelector
    ) -> None:
        with pytest.raises(NoProviderError, match="No suitable provider found") as caught:
            selector.instrument("INVALID")
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, RuntimeError)

    @pytest.mark.parametrize("symbol", ["", None, 5, ["AAPL"], "A" * 65, "../etc"])
    def test_text_that_is_not_a_symbol_raises_bad_symbol_error(
        self, selector: ProviderSelector, symbol: Any
    ) -> None:
        with pytest.raises(BadSymbolError):
            selector.instrument(symbol)
        with pytest.raises(BadSymbolError):
            selector.spelling(symbol)

    def test_spelling_normalizes_older_symbol_names(self, selector: ProviderSelector) -> None:
        spelled = {
            "aapl": "AAPL",
            "brk.b": "BRK-B",
            "btc/usdt": "BTCUSDT",
            " s123 ": "S123",
            "sol": "SOL",
        }
        assert {name: selector.spelling(name) for name in spelled} == spelled

    def test_a_spelling_looks_for_no_similar_names(
        self, selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr("src.data.core.symbols.name_search.nearest")
        assert selector.spelling("S123") == "S123"

    def test_an_instrument_is_the_same_object_at_each_call(
        self, selector: ProviderSelector
    ) -> None:
        assert selector.instrument("BTCUSDT") is selector.instrument("BTCUSDT")

    def test_the_rules_of_a_user_map_a_symbol_to_a_pair_and_its_vendor(
        self, tmp_path: Path, factory: Factory
    ) -> None:
        selector = with_rules(tmp_path, "symbol_classification: {symbols: {SOL: SOLUSDT}}\n")
        assert selector.get_best_provider("SOL", "1h") == "binance"


class TestDownloaders:
    def test_an_alias_and_its_vendor_are_one(
        self, selector: ProviderSelector, factory: Factory
    ) -> None:
        made = selector.downloader("yf")
        assert selector._initialize_downloader("yf") is made, "the older name"
        assert made is not None
        assert selector.downloader("yahoo") is made
        assert selector.downloaders == {"yahoo": made, "yf": made}
        assert [code for code, _ in factory.calls] == ["yahoo"]

    def test_an_unknown_vendor_is_none_and_not_remembered(self, selector: ProviderSelector) -> None:
        assert selector.downloader("nobody") is None
        assert selector.downloaders == {}

    def test_a_patched_one_is_used(self, selector: ProviderSelector, factory: Factory) -> None:
        double = mock.Mock()
        with mock.patch.dict(selector.downloaders, {"yahoo": double}):
            assert selector.get_best_downloader("AAPL", "1d") is double
            assert selector.get_provider_with_failover("AAPL", "1d") == ["yahoo"]
        assert "yahoo" not in [name for name, _ in factory.calls]
        assert selector.get_best_downloader("AAPL", "1d") is not double

    def test_canonical_maps_aliases_and_own_downloaders_to_vendor_names(
        self, selector: ProviderSelector
    ) -> None:
        selector.downloaders["mine"] = mock.Mock()
        assert [selector.canonical(n) for n in ("yf", "BNC", "mine", "nobody", None)] == [
            "yahoo", "binance", "mine", None, None,
        ]  # fmt: skip
        assert selector.provider_names() == ["binance", "yahoo", "local"]

    def test_settings_in_the_rules_reach_the_downloaders_constructor(
        self, tmp_path: Path, factory: Factory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        selector = with_rules(
            tmp_path,
            "providers:\n"
            "  binance: {base_url: 'https://mirror.example'}\n"
            "  local: {folder: bars, unit: EUR}\n"
            "  polygon: {api_key_env: TEAM_KEY}\n",
        )
        monkeypatch.setenv("TEAM_KEY", "k")
        for name in ("binance", "yahoo", "local", "polygon"):
            selector.downloader(name)
        said = dict(factory.calls)
        assert said["binance"]["base_url"] == "https://mirror.example"
        assert set(said["binance"]) == {"base_url", "credentials"}
        assert said["yahoo"] == {}
        assert said["local"] == {"files": {"folder": "bars", "unit": "EUR"}}
        assert said["polygon"]["credentials"]["POLYGON_API_KEY"] == "k"

    def test_senders_are_handed_to_vendors_that_exist(self, factory: Factory) -> None:
        selector = ProviderSelector(make_sender=lambda vendor: f"sender of {vendor}")
        selector.downloader("yahoo")
        selector.downloader("fmp")
        said = dict(factory.calls)
        assert said["yahoo"]["sender"] == "sender of yahoo"
        assert said["fmp"]["sender"] == "sender of fmp", "it has no bars here, but other data"

    def test_the_settling_time_of_the_rules(
        self, tmp_path: Path, factory: Factory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Vendor(BaseDataDownloader):
            """Declares nothing."""

        vendor = Vendor(sender=mock.Mock())
        monkeypatch.setattr(factory, "create_downloader", lambda code, **_: vendor)
        selector = with_rules(tmp_path, "providers: {yahoo: {settle_minutes: 7.5}}\n")
        assert selector.downloader("yahoo") is vendor
        assert vendor.capabilities.settle_ms == 450_000
        assert Vendor.capabilities.settle_ms == 120_000, "the class keeps its own"

    def test_many_threads_create_a_downloader_once(
        self, selector: ProviderSelector, factory: Factory
    ) -> None:
        second = threading.Event()
        found: list[object] = []
        create = factory.create_downloader

        def slowly(code: str, **arguments: Any) -> object | None:
            made = create(code, **arguments)
            if len(factory.calls) > 1:
                second.set()
            second.wait(timeout=0.2)  # time enough for another thread to come in between
            return made

        factory.create_downloader = slowly  # type: ignore[method-assign]
        threads = [
            threading.Thread(target=lambda: found.append(selector.downloader("yahoo")))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert len(found) == 8
        assert len(set(map(id, found))) == 1
        assert len(factory.calls) == 1

    def test_the_real_factory_makes_the_packaged_vendors(self) -> None:
        selector = ProviderSelector(make_sender=lambda _: mock.Mock())
        order = ["binance", "coingecko", "yahoo"]
        assert selector.get_provider_with_failover("BTCUSDT", "1d") == order


class TestTickers:
    @pytest.mark.parametrize(
        "symbol, expected",
        [("BTCUSDT", "crypto"), ("ETHUSDT", "crypto"), ("ADAUSDT", "crypto"), ("BTC-USD", "crypto"),
         ("AAPL", "stock"), ("MSFT", "stock"), ("GOOGL", "stock"), ("AAPL.NASDAQ", "stock"),
         ("MSFT.NYSE", "stock"), ("TEST", "stock"), ("BRK-B", "stock"), ("BATS.L", "stock"),
         ("^VIX", "stock"), ("EURUSD=X", "unknown"), ("EURUSD", "unknown"), ("SOL", "unknown"),
         ("GC=F", "unknown"), ("INVALID", "unknown"), ("", "unknown"), (None, "unknown"), (5, "unknown")],
    )  # fmt: skip
    def test_classify_symbol_returns_the_expected_type_of_each_symbol(
        self, selector: ProviderSelector, symbol: Any, expected: str
    ) -> None:
        assert selector.classify_symbol(symbol) == expected
        assert selector._classify_symbol(symbol) == expected

    def test_get_ticker_info_returns_assets_and_vendor_of_a_slashed_pair(
        self, selector: ProviderSelector
    ) -> None:
        info = selector.get_ticker_info("btc/usdt")
        assert isinstance(info, TickerInfo)
        assert info == {
            "original_ticker": "btc/usdt", "symbol_type": "crypto", "formatted_ticker": "BTCUSDT",
            "exchange": None, "base_asset": "BTC", "quote_asset": "USDT", "original_provider": "binance",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "symbol, exchange",
        [("AAPL", "US Markets (NASDAQ/NYSE)"), ("AAPL.NASDAQ", "NASDAQ"), ("VOD.L", "London Stock Exchange"),
         ("^VIX", None), ("SOL", None)],
    )  # fmt: skip
    def test_get_ticker_info_returns_the_exchange_of_each_symbol(
        self, selector: ProviderSelector, symbol: str, exchange: str | None
    ) -> None:
        assert selector.get_ticker_info(symbol).exchange == exchange

    def test_a_provider_config_contains_vendor_limit_period_and_interval(
        self, selector: ProviderSelector
    ) -> None:
        config = selector.get_data_provider_config("BTCUSDT", "5m")
        assert isinstance(config, ProviderConfig)
        assert config["provider"] == config.best_provider == "binance"
        assert (config["limit"], config["interval"]) == (1000, "5m")
        assert config.reason == "first in the rules"
        yahoo = selector.get_data_provider_config("BRK.B")
        assert (yahoo["period"], yahoo["interval"]) == ("1y", "1d")
        assert (yahoo.symbol, yahoo["formatted_ticker"]) == ("BRK.B", "BRK-B")

    def test_the_provider_config_names_a_substitute(
        self, selector: ProviderSelector, factory: Factory
    ) -> None:
        factory.available = {"yahoo"}
        config = selector.get_data_provider_config("BTCUSDT", "1d")
        assert (config.original_provider, config.best_provider) == ("binance", "yahoo")
        assert config["formatted_ticker"] == "BTC-USD"
        assert "binance" in config.reason

    def test_the_provider_config_of_an_invalid_symbol_has_no_vendor(
        self, selector: ProviderSelector
    ) -> None:
        config = selector.get_data_provider_config("INVALID")
        assert (config["ticker"], config["symbol_type"], config.best_provider) == (
            "INVALID",
            "unknown",
            None,
        )

    @pytest.mark.parametrize("symbol", ["AAPL", "BTCUSDT", "VOD.L", "BRK.B", "^VIX", "EURUSD=X"])
    def test_validate_ticker_accepts_a_valid_symbol_without_suggestions(
        self, selector: ProviderSelector, symbol: str
    ) -> None:
        found = selector.validate_ticker(symbol)
        assert found["valid"] is True
        assert found["suggestions"] == []
        assert set(found) == {
            "valid", "symbol_type", "exchange", "base_asset", "quote_asset", "suggestions",
        }  # fmt: skip

    @pytest.mark.parametrize("symbol", [*ODD, "A" * 14 + ".L"])
    def test_validate_ticker_rejects_an_invalid_symbol_with_error_and_suggestions(
        self, selector: ProviderSelector, symbol: Any
    ) -> None:
        found = selector.validate_ticker(symbol)
        assert found["valid"] is False
        assert found["error"]
        assert found["suggestions"]

    def test_candidates_are_the_suggestions(self, selector: ProviderSelector) -> None:
        assert selector.validate_ticker("SOL")["suggestions"] == ["SOLUSDT", "SOL-USD", "SOL.US"]

    def test_capabilities_of_vendors_without_a_key(
        self, selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("FMP_API_KEY", "TIINGO_API_KEY"):
            monkeypatch.delenv(name, raising=False)
        found = selector._get_provider_capabilities()
        assert found["fmp"]["available"] is found["tiingo"]["available"] is False
        assert found["fmp"]["asset_classes"] == ["index", "stock"]
        assert {"5m", "1d"} <= set(found["fmp"]["timeframes"])
        assert "1d" in found["tiingo"]["timeframes"]

    def test_the_best_provider_of_derived_bars_is_that_of_the_shorter_ones(
        self, selector: ProviderSelector
    ) -> None:
        assert selector.get_provider_with_failover("BTCUSDT", "45m") == []
        assert selector.get_best_provider("BTCUSDT", "45m") == "binance"
        assert selector.get_best_provider("AAPL", "2w") == selector.get_best_provider("AAPL", "1d")
        assert selector.get_best_provider("AAPL", "2w") is not None
        assert selector.get_best_provider("BTCUSDT", "nonsense") is None
        assert selector.get_best_provider("NO SUCH", "45m") is None

    def test_provider_capabilities_list_each_vendor_and_its_availability(
        self, selector: ProviderSelector
    ) -> None:
        found = selector._get_provider_capabilities()
        assert set(found) >= {"binance", "yahoo", "local"}
        assert [found[name]["available"] for name in ("binance", "yahoo", "local")] == [
            True,
            True,
            False,
        ]


class TestFundamentals:
    @pytest.mark.parametrize(
        "symbol, exchange, country, market, currency",
        [("ASML.AS", "AMS", "NL", "EU", "EUR"), ("VODAFONE.L", "LSE", "GB", "UK", "GBP"),
         ("SAP.DE", "XETRA", "DE", "EU", "EUR"), ("LVMH.PA", "EPA", "FR", "EU", "EUR"),
         ("TOYOTA.T", "TSE", "JP", "ASIA", "JPY"), ("TENCENT.HK", "HKEX", "HK", "ASIA", "HKD"),
         ("RY.TO", "TSX", "CA", "CANADA", "CAD"), ("NESN.SW", "SWX", "CH", "SWISS", "CHF"),
         ("ENI.MI", "BIT", "IT", "EU", "EUR"), ("SAN.MC", "BME", "ES", "EU", "EUR"),
         ("ABI.BR", "EURONEXT", "BE", "EU", "EUR"), ("OMV.VI", "WBAG", "AT", "EU", "EUR"),
         ("600519.SS", "SSE", "CN", "ASIA", "CNY"), ("000001.SZ", "SZSE", "CN", "ASIA", "CNY"),
         ("BHP.AX", "ASX", "AU", "OCEANIA", "AUD"), ("AIR.NZ", "NZX", "NZ", "OCEANIA", "NZD")],
    )  # fmt: skip
    def test_stocks_of_foreign_exchanges_have_limited_fundamentals_support(
        self, selector: ProviderSelector, symbol: str, exchange: str, country: str, market: str, currency: str
    ) -> None:  # fmt: skip
        found = selector.classify_symbol_for_fundamentals(symbol)
        assert found["symbol_type"] == "stock"
        assert (found["exchange"], found["country"], found["market"]) == (exchange, country, market)
        assert found["currency"] == currency
        assert (found["international"], found["fundamentals_support"]) == (True, "limited")

    @pytest.mark.parametrize(
        "symbol, kind, exchange",
        [("AAPL", "stock", "NASDAQ"), ("MSFT", "stock", "NASDAQ"), ("GOOGL", "stock", "NASDAQ"),
         ("AMZN", "stock", "NASDAQ"), ("TSLA", "stock", "NASDAQ"), ("JPM", "stock", "NYSE"),
         ("BAC", "stock", "NYSE"), ("WFC", "stock", "NYSE"), ("JNJ", "stock", "NYSE"),
         ("PG", "stock", "NYSE"),
         ("BRK.B", "stock", "NYSE"), ("QQQ", "etf", "NASDAQ"), ("SPY", "etf", "ARCA"),
         ("PLD", "reit", "NYSE"),
         ("ZZZZ.NYSE", "stock", "NYSE"), ("VANGUARD_ETF", "etf", "US"), ("REALTY_REIT", "reit", "US")],
    )  # fmt: skip
    def test_us_symbols_have_full_fundamentals_support(
        self, selector: ProviderSelector, symbol: str, kind: str, exchange: str
    ) -> None:
        found = selector.classify_symbol_for_fundamentals(symbol)
        assert (found["symbol_type"], found["exchange"]) == (kind, exchange)
        assert (found["country"], found["market"], found["currency"]) == ("US", "US", "USD")
        assert (found["international"], found["fundamentals_support"]) == (False, "full")

    @pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDC", "BTCBUSD", "USDCUSDT"])
    def test_coins_have_no_fundamentals_support(
        self, selector: ProviderSelector, symbol: str
    ) -> None:
        found = selector.classify_symbol_for_fundamentals(symbol)
        assert (found["symbol_type"], found["fundamentals_support"]) == ("crypto", "none")

    def test_symbols_are_normalised_for_fundamentals_and_returned_as_given_too(
        self, selector: ProviderSelector
    ) -> None:
        found = selector.classify_symbol_for_fundamentals("  aapl  ")
        assert (found["symbol"], found["normalized"]) == ("  aapl  ", "AAPL")
        assert selector.classify_symbol_for_fundamentals("asml.as")["normalized"] == "ASML"
        assert selector.classify_symbol_for_fundamentals("SOL.NYSE")["normalized"] == "SOL"

    @pytest.mark.parametrize("symbol", ODD)
    def test_unknown_symbols_have_no_fundamentals_support(
        self, selector: ProviderSelector, symbol: Any
    ) -> None:
        found = selector.classify_symbol_for_fundamentals(symbol)
        assert (found["symbol_type"], found["fundamentals_support"]) == ("unknown", "none")
        assert found["international"] is True


class TestSingleton:
    def test_get_provider_selector_returns_the_same_selector_each_time(
        self, factory: Factory
    ) -> None:
        assert get_provider_selector() is get_provider_selector()

    def test_differing_arguments_for_the_shared_selector_are_ignored_with_a_warning(
        self, factory: Factory, tmp_path: Path
    ) -> None:
        first = get_provider_selector(cache_dir=tmp_path)
        assert get_provider_selector(cache_dir=tmp_path) is first
        with pytest.warns(UserWarning, match="is ignored") as caught:
            assert get_provider_selector(cache_dir=tmp_path / "other") is first
        assert caught[0].filename == __file__

    def test_after_a_reset_get_provider_selector_returns_a_new_selector(
        self, factory: Factory
    ) -> None:
        first = get_provider_selector()
        reset_provider_selector()
        assert get_provider_selector() is not first

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
    def test_a_forked_child_makes_its_own_selector_even_if_a_lock_is_held(
        self, factory: Factory
    ) -> None:
        parent, locks = with_locks(get_provider_selector)
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with ExitStack() as stack:
                for lock in locks:
                    stack.enter_context(lock)
                held.set()
                done.wait(timeout=60)

        holder = threading.Thread(target=hold)
        holder.start()
        assert held.wait(timeout=60)

        def make() -> None:
            # In the main thread: a new one might be taken for the lock's owner by its recycled id.
            signal.alarm(20)
            assert get_provider_selector() is not parent
            assert parent.downloader("yahoo") is not None

        code = ended(fork(make))
        done.set()
        holder.join(timeout=60)
        assert code == 0
