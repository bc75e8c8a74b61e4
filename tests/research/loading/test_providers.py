"""Providers of the second data layer: one vendor each, over a real socket, with the columns promised."""

from __future__ import annotations

import asyncio
import gc
import traceback
from datetime import date, datetime

import polars as pl
import pytest

from src.data.core.model.time.instant import parse_iso
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, DataError, QueryError, UnknownProviderError
from src.data.research.loading.providers import (
    AlphaVantageProvider,
    DataProvider,
    FMPProvider,
    VendorProvider,
    YFinanceProvider,
    provider_for,
)
from tests.vendor_server import VendorServer, dividend
from tests.vendor_server.keyed import KEY

MAY = date(2024, 5, 6), date(2024, 5, 17)
DAILY = {
    "date": pl.Date(), "open": pl.Float64(), "high": pl.Float64(), "low": pl.Float64(),
    "close": pl.Float64(), "volume": pl.Int64(), "adj_close": pl.Float64(),
}  # fmt: skip


def fetched(provider: DataProvider, *question: object) -> pl.DataFrame:
    """Return what a provider fetches."""
    return asyncio.run(provider.fetch_prices(*question))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cls", "vendor"),
    [(FMPProvider, "fmp"), (AlphaVantageProvider, "alpha_vantage"), (YFinanceProvider, "yahoo")],
)
def test_each_declared_provider_asks_its_vendor_with_the_key_it_was_given(
    cls: type[VendorProvider], vendor: str, manager: DataManager, vendors: VendorServer
) -> None:
    provider = cls(None if vendor == "yahoo" else KEY, manager=manager)
    frame = fetched(provider, "AAPL", "1d", *MAY)
    month = parse_iso("2024-05-01"), parse_iso("2024-06-01")
    truth = vendors.truth.rows("AAPL", "1d", *month, "split")
    closes = {row.stamp_ms: row.close for row in truth}
    stamps = frame["date"].cast(pl.Datetime("ms")).dt.epoch("ms")
    assert frame["close"].to_list() == pytest.approx([closes[stamp] for stamp in stamps])
    assert dict(frame.schema) == DAILY
    assert len(frame) == 10
    assert frame["date"].is_sorted()
    assert {entry.vendor for entry in vendors.log()} == {vendor}


def test_days_and_hours_of_one_provider_come_from_different_addresses(
    manager: DataManager, vendors: VendorServer
) -> None:
    provider = FMPProvider(KEY, manager=manager)
    fetched(provider, "AAPL", "1d", *MAY)
    daily = {entry.path for entry in vendors.log("fmp") if "eod" in entry.path}
    vendors.clear_log()
    hours = fetched(provider, "AAPL", "1h", date(2024, 6, 10), date(2024, 6, 10))
    intraday = {entry.path for entry in vendors.log("fmp") if "historical-chart" in entry.path}
    assert daily and intraday and not daily & intraday
    assert hours.columns[0] == "timestamp"
    assert hours["timestamp"][0] == datetime(2024, 6, 10, 13, 30)
    assert hours["adj_close"].null_count() == len(hours) == 7


def test_a_dividend_lowers_the_adjusted_close_before_it_alone(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.truth.act("AAPL", dividend("2024-05-13", 2.0))
    frame = fetched(YFinanceProvider(manager=manager), "AAPL", "1d", *MAY)
    before = frame.filter(pl.col("date") < date(2024, 5, 13))
    after = frame.filter(pl.col("date") >= date(2024, 5, 13))
    assert (before["adj_close"] < before["close"]).all() and len(before) == 5
    assert after["adj_close"].to_list() == pytest.approx(after["close"].to_list())


def test_coins_have_fractional_volume_and_their_close_as_adjusted_close(
    manager: DataManager,
) -> None:
    provider = provider_for("binance", manager=manager)
    frame = fetched(provider, "BTCUSDT", "1d", *MAY)
    assert frame.schema["volume"] == pl.Float64
    assert frame["adj_close"].to_list() == frame["close"].to_list()
    assert len(frame) == 12


def test_a_range_without_bars_is_a_frame_with_all_columns(manager: DataManager) -> None:
    provider = YFinanceProvider(manager=manager)
    frame = fetched(provider, "AAPL", "1d", date(2024, 5, 18), date(2024, 5, 19))
    assert not len(frame) and dict(frame.schema) == DAILY
    hours = fetched(provider, "AAPL", "1h", date(2024, 5, 18), date(2024, 5, 19))
    assert hours.schema["timestamp"] == pl.Datetime("us") and not len(hours)


def test_a_provider_asks_each_time_and_the_store_learns(
    manager: DataManager, vendors: VendorServer
) -> None:
    provider = YFinanceProvider(manager=manager)
    first = fetched(provider, "AAPL", "1d", *MAY)
    once = vendors.count("yahoo")
    assert fetched(provider, "AAPL", "1d", *MAY).equals(first)
    assert vendors.count("yahoo") > once
    vendors.clear_log()
    stored = manager.get_ohlcv("AAPL", "1d", *MAY, provider="yahoo")
    assert len(stored) == len(first)
    assert not vendors.count(), vendors.log()


def test_nothing_is_opened_before_the_first_call(
    manager: DataManager, vendors: VendorServer
) -> None:
    FMPProvider(KEY, manager=manager)
    provider_for("tiingo", KEY, manager=manager)
    assert not vendors.count()
    assert not (manager.cache.cache_dir / "ohlcv").exists()


def test_a_key_is_used_for_its_provider_alone_and_is_nowhere_to_be_read(
    manager: DataManager, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "k3y-canary-of-the-test"
    provider = FMPProvider(secret, manager=manager)
    with caplog.at_level("DEBUG"), pytest.raises(AllProvidersFailedError) as raised:
        fetched(provider, "AAPL", "1d", *MAY)
    texts = [repr(provider), str(provider), str(raised.value), repr(raised.value), caplog.text]
    texts += traceback.format_exception(raised.value)
    assert not [text for text in texts if secret in text]
    with pytest.raises(UnknownProviderError, match="needs a key"):  # the manager has none
        manager.get_ohlcv("AAPL", "1d", *MAY, provider="fmp")


def test_fmp_brings_its_own_limit_and_a_lower_one_of_the_rules_stays(manager: DataManager) -> None:
    def limit(provider: VendorProvider) -> int:
        rules = provider._source.manager.provider_selector.parsed_rules
        return int(rules.provider("fmp").rate_limits["requests_per_minute"])

    assert manager.provider_selector.parsed_rules.provider("fmp").rate_limits[
        "requests_per_minute"
    ] == 3000  # fmt: skip
    assert limit(FMPProvider(KEY, manager=manager)) == 300
    rules = manager.provider_selector.rules
    rules["providers"]["fmp"]["rate_limits"]["requests_per_minute"] = 40
    manager.provider_selector.rules = rules
    assert limit(FMPProvider(KEY, manager=manager)) == 40


def test_what_is_no_vendor_or_no_key_is_refused_at_once(manager: DataManager) -> None:
    with pytest.raises(UnknownProviderError, match="'nope'"):
        provider_for("nope", manager=manager)
    with pytest.raises(QueryError, match="non-empty string"):
        FMPProvider("  ", manager=manager)
    with pytest.raises(TypeError, match="abstract"):
        DataProvider()  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("symbol", "timeframe", "start", "end"),
    [
        ("AAPL", "7x", *MAY),
        ("AAPL", "1d", date(2024, 5, 17), date(2024, 5, 6)),
        ("", "1d", *MAY),
    ],
)
def test_a_wrong_question_is_an_error_and_no_request(
    symbol: str, timeframe: str, start: date, end: date, manager: DataManager, vendors: VendorServer
) -> None:
    with pytest.raises(DataError):
        fetched(YFinanceProvider(manager=manager), symbol, timeframe, start, end)
    assert not vendors.count()


def test_a_call_that_is_cancelled_leaves_nothing_unawaited(
    manager: DataManager, vendors: VendorServer, recwarn: pytest.WarningsRecorder
) -> None:
    async def cancelled() -> None:
        task = asyncio.ensure_future(
            YFinanceProvider(manager=manager).fetch_prices("AAPL", "1d", *MAY)
        )
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(cancelled())
    gc.collect()
    assert not [one for one in recwarn if "never awaited" in str(one.message)]


def test_fundamentals_are_those_of_this_vendor_alone(manager: DataManager) -> None:
    facts = asyncio.run(YFinanceProvider(manager=manager).fetch_fundamentals("AAPL"))
    asked = facts.get("_metadata", {}).get("providers_queried", ["yahoo"])
    assert list(asked) in ([], ["yahoo"])


def test_a_universe_has_the_members_of_the_database(manager: DataManager) -> None:
    class Fixed:
        """Universes of a program."""

        def members(self, name: str, *_: object) -> tuple[str, ...]:
            return ("MSFT", "AAPL") if name == "mine" else ()

    manager.universes = Fixed()  # type: ignore[assignment]
    provider = YFinanceProvider(manager=manager)
    assert asyncio.run(provider.fetch_universe("mine")) == ["MSFT", "AAPL"]
