"""A source of ours, kept: the data manager behind four methods; what a policy holds back, and what not."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from src.data.bundles import Lineages, lineage
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning, NoDataAvailableError
from src.data.polars import PolarsDataPortal
from src.data.research.sources.cached_source import CachedDataSource
from src.data.research.sources.source_due import (
    AlwaysStaleFreshnessPolicy,
    MarketCloseFreshnessPolicy,
    NeverStaleFreshnessPolicy,
    TTLFreshnessPolicy,
)
from src.data.research.sources.vendor_sources import VendorDataSource, YFinanceDataSource
from tests.core.cache.counts import FULL
from tests.vendor_server import VendorServer

from .foreign_stage import got

WEEK = (pd.Timestamp("2024-06-03"), pd.Timestamp("2024-06-07"), "1d")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def source(manager: DataManager) -> YFinanceDataSource:
    return YFinanceDataSource(manager)


def test_the_store_is_the_cache(
    source: YFinanceDataSource, vendors: VendorServer, here: Path
) -> None:
    own = CachedDataSource(source)
    files = set(os.listdir(here))
    first = got(own, ["MSFT", "AAPL"], *WEEK)
    count = vendors.count()
    assert got(own, ["MSFT", "AAPL"], *WEEK).equals(first)
    assert got(own, ["AAPL"], *WEEK).equals(first.filter(pl.col("symbol") == "AAPL"))
    assert vendors.count() == count
    assert own.statistics == {"hit_count": 2, "miss_count": 1, "hit_rate": pytest.approx(200 / 3)}
    assert set(os.listdir(here)) - files <= {"cache"}
    assert own.find_cached_bundle(own.generate_cache_key(["AAPL"], *WEEK)) is None
    assert (own.name, own.provider, own.manager) == ("yfinance", "yahoo", source.manager)
    assert own.get_metadata() == source.get_metadata()
    assert own.supports_live() == source.supports_live()


def test_the_documented_calls_of_a_cached_source_fetch_once_and_warn_of_cache_dir(
    source: YFinanceDataSource, vendors: VendorServer
) -> None:
    """A folder that is named has no effect, and that is said once."""
    with pytest.warns(UserWarning, match="cache_dir has no effect: bars of yfinance") as warned:
        cached_source = CachedDataSource(adapter=source, cache_dir="~/.rustybt/cache")
    assert len(warned) == 1
    assert cached_source.cache_dir is None
    start, end = WEEK[:2]

    async def program() -> tuple[pl.DataFrame, pl.DataFrame, int]:
        df1 = await cached_source.fetch(["AAPL"], start, end, "1d")
        count = vendors.count()
        return df1, await cached_source.fetch(["AAPL"], start, end, "1d"), count

    df1, df2, count = asyncio.run(program())
    assert df1.equals(df2)
    assert vendors.count() == count
    with pytest.warns(UserWarning, match="cache.max_size_bytes has no effect"):
        CachedDataSource(source, config={"cache.max_size_bytes": 5})


CHART = "/v8/finance/chart"


def test_a_moved_end_asks_for_the_new_bars_alone(
    source: YFinanceDataSource, vendors: VendorServer
) -> None:
    own = CachedDataSource(source)
    asyncio.run(own.warm_cache(["AAPL"], pd.Timestamp("2023-06-01"), WEEK[1], "1d"))
    before, chart = vendors.count("yahoo"), vendors.count("yahoo", CHART)
    frame = got(own, ["AAPL"], pd.Timestamp("2023-06-01"), pd.Timestamp("2024-06-11"), "1d")
    assert str(frame["timestamp"].max()) == "2024-06-11 00:00:00"
    assert vendors.count("yahoo", CHART) - chart == 1
    assert vendors.count("yahoo") - before <= 2
    params = vendors.log("yahoo", CHART)[-1].params
    # The dividend of 10 May is checked again, in the same request.
    assert pd.Timestamp(int(params["period1"]), unit="s") > pd.Timestamp("2024-05-02")


def walk(own: CachedDataSource, days: list[pd.Timestamp]) -> None:
    for day in days:
        got(own, ["AAPL", "MSFT"], day - pd.Timedelta(days=30), day, "1d")


def test_a_warmed_backtest_sends_no_request(
    source: YFinanceDataSource, vendors: VendorServer
) -> None:
    days = list(pd.bdate_range("2024-05-01" if FULL else "2024-05-23", "2024-06-07"))
    asyncio.run(CachedDataSource(source).warm_cache(["AAPL", "MSFT"], *_around(days), "1d"))
    own, count = CachedDataSource(source), vendors.count()
    walk(own, days)
    assert own.statistics["hit_rate"] > 80
    assert vendors.count() == count


def _around(days: list[pd.Timestamp]) -> tuple[pd.Timestamp, pd.Timestamp]:
    return days[0] - pd.Timedelta(days=40), days[-1]


# --- policies -----------------------------------------------------------------------------------


class Binance(VendorDataSource):
    name, provider = "binance", "binance"


def moved_to(clock: ManualClock, text: str) -> pd.Timestamp:
    """Move the clock on to a time, and return it."""
    clock.advance((parse_iso(text) - clock.now_ms()) / 1000)
    return pd.Timestamp(text)


HOURS_FROM = pd.Timestamp("2024-06-12T00:00")


def test_a_freshness_policy_delays_only_the_newest_bars(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    """An hour that has closed and may still change is not asked for; when it is final, it is."""
    own = CachedDataSource(Binance(manager), freshness_policy=TTLFreshnessPolicy(7200))
    now = moved_to(clock, "2024-06-12T15:30:00")
    first = got(own, ["BTCUSDT"], HOURS_FROM, now, "1h")
    count = vendors.count("binance")
    now = moved_to(clock, "2024-06-12T16:01:00")
    with pytest.warns(IncompleteDataWarning):  # what is held back is told
        assert got(own, ["BTCUSDT"], HOURS_FROM, now, "1h").equals(first)
    assert vendors.count("binance") == count
    assert own.statistics["hit_count"] == 1
    now = moved_to(clock, "2024-06-12T16:03:00")
    assert got(own, ["BTCUSDT"], HOURS_FROM, now, "1h").height == first.height + 1
    assert vendors.count("binance") == count + 1
    now = moved_to(clock, "2024-06-12T17:01:00")
    router = CachedDataSource(Binance(manager))
    assert got(router, ["BTCUSDT"], HOURS_FROM, now, "1h").height == first.height + 2


def test_a_freshness_policy_delays_a_daily_bar_until_the_next_session(
    source: YFinanceDataSource, vendors: VendorServer, clock: ManualClock
) -> None:
    own = CachedDataSource(source, freshness_policy=TTLFreshnessPolicy(7 * 86400))
    question = (pd.Timestamp("2024-06-03"), pd.Timestamp("2024-06-14"), "1d")
    now = moved_to(clock, "2024-06-12T19:00:00")
    before = got(own, ["AAPL"], *question)
    count = vendors.count("yahoo", CHART)
    now = moved_to(clock, "2024-06-12T21:00:00")
    with pytest.warns(IncompleteDataWarning):
        assert got(own, ["AAPL"], *question).equals(before)
    assert vendors.count("yahoo", CHART) == count
    by_close = CachedDataSource(source, freshness_policy=MarketCloseFreshnessPolicy())
    assert got(by_close, ["AAPL"], *question).height == before.height + 1
    now = moved_to(clock, "2024-06-13T19:00:00")
    frame = got(own, ["AAPL"], *question)
    assert frame["timestamp"].max() == now.normalize() - pd.Timedelta(days=1)


@pytest.mark.parametrize("policy", [NeverStaleFreshnessPolicy(), AlwaysStaleFreshnessPolicy()])
def test_history_is_fetched_once_and_no_hole_passes(
    source: YFinanceDataSource, vendors: VendorServer, policy: Any
) -> None:
    own = CachedDataSource(source, freshness_policy=policy)
    late = (pd.Timestamp("2024-06-06"), pd.Timestamp("2024-06-07"), "1d")
    got(own, ["AAPL"], *late)
    assert got(own, ["AAPL"], *WEEK).height == 5
    count = vendors.count()
    for _ in range(3):
        got(own, ["AAPL"], *WEEK)
    assert vendors.count() == count


def test_a_hole_behind_the_newest_bars_is_filled(manager: DataManager, clock: ManualClock) -> None:
    """The vendor is queried then, so the newest bars come too, also those of another symbol."""
    own = CachedDataSource(Binance(manager), freshness_policy=NeverStaleFreshnessPolicy())
    now, early = moved_to(clock, "2024-06-12T15:30:00"), HOURS_FROM - pd.Timedelta(days=2)
    got(own, ["BTCUSDT"], HOURS_FROM, now, "1h")
    got(own, ["ETHUSDT"], early, now, "1h")
    now = moved_to(clock, "2024-06-12T16:01:00")
    with pytest.warns(IncompleteDataWarning, match="ETHUSDT"):
        assert got(own, ["ETHUSDT"], early, now, "1h").height == 63
    frame = got(own, ["ETHUSDT", "BTCUSDT"], early, now, "1h")
    assert frame["symbol"].to_list() == ["ETHUSDT"] * 64 + ["BTCUSDT"] * 64
    assert frame.filter(pl.col("symbol") == "BTCUSDT")["timestamp"].diff().n_unique() == 2


def test_newest_bars_that_were_never_requested_are_not_delayed(
    manager: DataManager, clock: ManualClock
) -> None:
    """What was fetched a moment ago ends long before."""
    own = CachedDataSource(Binance(manager), freshness_policy=NeverStaleFreshnessPolicy())
    now = moved_to(clock, "2024-06-12T16:01:00")
    got(own, ["BTCUSDT"], HOURS_FROM, HOURS_FROM + pd.Timedelta(hours=9), "1h")
    assert got(own, ["BTCUSDT"], HOURS_FROM, now, "1h").height == 16


def test_the_configuration_names_a_policy(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, here: Path
) -> None:
    (here / "config").mkdir()
    (here / "config" / "cache_freshness.yaml").write_text(
        "source_due: {binance: {hourly_ttl: 3600}}\n"
    )
    own = CachedDataSource(Binance(manager))
    got(own, ["BTCUSDT"], HOURS_FROM, moved_to(clock, "2024-06-12T15:30:00"), "1h")
    count = vendors.count()
    with pytest.warns(IncompleteDataWarning):
        got(own, ["BTCUSDT"], HOURS_FROM, moved_to(clock, "2024-06-12T16:01:00"), "1h")
    assert vendors.count() == count


def test_a_cached_source_without_bars_raises_no_data_available(source: YFinanceDataSource) -> None:
    own = CachedDataSource(source, freshness_policy=NeverStaleFreshnessPolicy())
    with pytest.raises(NoDataAvailableError):
        got(own, ["AAPL"], pd.Timestamp("1970-01-01"), pd.Timestamp("1970-01-05"), "1d")


# --- where it works -----------------------------------------------------------------------------


def test_a_portal_over_a_kept_source_of_ours(
    source: YFinanceDataSource, vendors: VendorServer
) -> None:
    """The printed portal: 2024-05-27 is a holiday, the value before stands."""

    def prices() -> list[Any]:
        portal = PolarsDataPortal(data_source=CachedDataSource(source), use_cache=True)
        at = pd.Timestamp("2024-05-27")
        prices = portal.get_spot_value(["AAPL", "MSFT"], "close", at, "1d")
        history = portal.get_history_window(["AAPL"], at, 20, "1d", "close", "1d")
        assert history.height == 20
        return list(prices)

    first, count = prices(), vendors.count()
    assert prices() == first
    assert vendors.count() == count


def test_a_kept_source_of_ours_is_ingested(source: YFinanceDataSource, here: Path) -> None:
    own = CachedDataSource(source)
    path = own.ingest_to_bundle("mine", ["AAPL"], *WEEK, folder=here / "bundles")
    assert path == here / "bundles" / "mine"
    assert own.statistics["miss_count"] == 0


def test_reads_of_a_cached_source_are_recorded_in_a_lineage(
    source: YFinanceDataSource, here: Path
) -> None:
    own = CachedDataSource(source)
    got(own, ["AAPL"], *WEEK)
    with lineage("run", manager=source.manager, folder=here / "bundles"):
        got(own, ["AAPL"], *WEEK)
    (read,) = Lineages(here / "bundles", source.manager).get("run").reads
    assert read.rows == 5


def test_concurrent_calls_in_several_loops_send_one_request(
    source: YFinanceDataSource, vendors: VendorServer
) -> None:
    own = CachedDataSource(source)

    async def program() -> list[pl.DataFrame]:
        return list(await asyncio.gather(*(own.fetch(["AAPL"], *WEEK) for _ in range(10))))

    first = asyncio.run(program())
    assert all(frame.equals(first[0]) for frame in first)
    assert all(frame.equals(first[0]) for frame in asyncio.run(program()))
    assert vendors.count("yahoo", CHART) == 1
