"""Freshness policies: by a market's close, by age, or both; how one is chosen; both lists of arguments."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import exchange_calendars
import pandas as pd
import pytest

from src.data.errors import BadTimeframeError, ConfigError, QueryError, RulesError
from src.data.research.sources.source_due import (
    MAX_SIZE,
    AlwaysStaleFreshnessPolicy,
    CacheFreshnessPolicy,
    FreshnessPolicyFactory,
    HybridFreshnessPolicy,
    MarketCloseFreshnessPolicy,
    NeverStaleFreshnessPolicy,
    TTLFreshnessPolicy,
    freshness_settings,
    is_fresh_by,
)
from src.data.research.sources.sources import DataSourceMetadata
from src.data.research.sources.vendor_sources import VendorDataSource
from tests.core.cache.counts import crossed


@cache
def xnys() -> exchange_calendars.ExchangeCalendar:
    """Return the calendar of New York, which takes half a second to make."""
    return exchange_calendars.get_calendar("XNYS")


def ny(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="America/New_York")


def facts(fetched: pd.Timestamp, now: pd.Timestamp) -> dict[str, Any]:
    return {"fetch_timestamp": fetched.timestamp(), "current_timestamp": now.timestamp()}


CLOSES = [
    ("2024-06-14 17:00", "2024-06-15 10:00", True),  # Friday evening, Saturday
    ("2024-06-14 17:00", "2024-06-17 15:59", True),
    ("2024-06-14 17:00", "2024-06-17 16:00", False),
    ("2024-06-14 15:59", "2024-06-14 16:00", False),
    ("2024-06-14 16:00", "2024-06-14 16:00", True),
    ("2024-06-18 17:00", "2024-06-20 10:00", True),  # Juneteenth
    ("2023-11-24 12:59", "2023-11-24 13:00", False),  # a half day closes at 13:00
    ("2023-11-24 13:30", "2023-11-24 17:00", True),
]


@pytest.mark.parametrize(
    ("times", "calendar"), crossed(CLOSES, ["NYSE", "XNYS", xnys, SimpleNamespace(name="NYSE")])
)
def test_daily_bars_are_fresh_until_the_market_closes(
    times: tuple[str, str, bool], calendar: Any
) -> None:
    """Where no calendar came through, an hour would decide."""
    fetched, now, is_fresh = times
    calendar = calendar() if calendar is xnys else calendar
    policy, bounds = MarketCloseFreshnessPolicy(), (ny(fetched), ny(now))
    assert policy.is_fresh(facts(*bounds), "1d", calendar) is is_fresh
    own = MarketCloseFreshnessPolicy(calendar)
    assert own.is_fresh(facts(*bounds), "1d") is is_fresh
    assert own.is_fresh(*bounds) is is_fresh
    assert own.is_fresh(cache_time=bounds[0], current_time=bounds[1]) is is_fresh


def test_closes_are_those_of_exchange_calendars() -> None:
    policy = MarketCloseFreshnessPolicy("XNYS")
    for close in xnys().closes["2023-11-20":"2024-07-08"]:
        before = close - pd.Timedelta(seconds=1)
        due = policy.get_next_refresh_time(facts(before, before), "1d")
        assert due == close
        assert str(due.tz) == "UTC"
        assert not policy.is_fresh(before, close)
        assert policy.is_fresh(close, close)


def test_daily_bars_without_a_calendar_are_fresh_for_an_hour() -> None:
    policy, at = MarketCloseFreshnessPolicy(), ny("2024-06-14 17:00")
    assert policy.is_fresh(facts(at, at + pd.Timedelta(minutes=59)), "1d")
    assert not policy.is_fresh(facts(at, at + pd.Timedelta(minutes=60)), "1d")
    assert policy.get_next_refresh_time(facts(at, at), "1d") == at + pd.Timedelta(hours=1)


@pytest.mark.parametrize(
    ("ttl", "frequency", "seconds"),
    [
        (None, "1d", 86400), (None, "1h", 3600), (None, "5m", 300), (None, "1m", 300),
        (None, "4h", 3600), (3600, "1d", 3600), (0.5, "1m", 0.5), (0, "1d", 0),
    ],
)  # fmt: skip
def test_a_time_to_live(ttl: float | None, frequency: str, seconds: float) -> None:
    policy, at = TTLFreshnessPolicy(ttl), pd.Timestamp("2024-06-15 12:00", tz="UTC")
    end = at + pd.Timedelta(seconds=seconds)
    assert not policy.is_fresh(facts(at, end), frequency)
    if seconds:
        assert policy.is_fresh(facts(at, end - pd.Timedelta(milliseconds=1)), frequency)
    assert policy.get_next_refresh_time(facts(at, at), frequency) == end


@pytest.mark.parametrize(
    ("fetched", "now", "is_fresh", "due"),
    [
        ("2024-06-14 10:00", "2024-06-14 10:04:59", True, "2024-06-14 10:05"),
        ("2024-06-14 10:00", "2024-06-14 10:05", False, None),
        ("2024-06-14 10:00", "2024-06-14 16:00", True, "2024-06-17 09:30"),  # closed
        ("2024-06-14 15:58", "2024-06-14 15:59", True, "2024-06-17 09:30"),
        ("2024-06-14 10:00", "2024-06-15 12:00", True, "2024-06-17 09:30"),
        ("2024-06-14 10:00", "2024-06-17 09:30", False, None),
        ("2023-11-24 12:00", "2023-11-24 13:00", True, "2023-11-27 09:30"),  # a half day
    ],
)
def test_within_a_day_age_counts_while_the_market_is_open(
    fetched: str, now: str, is_fresh: bool, due: str | None
) -> None:
    policy, times = HybridFreshnessPolicy(300, "NYSE"), (ny(fetched), ny(now))
    assert policy.is_fresh(facts(*times), "5m") is is_fresh
    assert policy.is_fresh(*times) is is_fresh
    if due is not None:
        assert policy.get_next_refresh_time(facts(*times), "5m") == ny(due)
    without = HybridFreshnessPolicy(300)
    is_young = (times[1] - times[0]).total_seconds() < 300
    assert without.is_fresh(facts(*times), "5m") is is_young


def test_a_pause_is_no_time_of_trading() -> None:
    policy = HybridFreshnessPolicy(300, "XTKS")
    fetched, now = (pd.Timestamp(f"2024-06-14 {t}", tz="Asia/Tokyo") for t in ("11:00", "12:00"))
    assert policy.is_fresh(fetched, now)
    due = policy.get_next_refresh_time(facts(fetched, now), "5m")
    assert due == pd.Timestamp("2024-06-14 12:30", tz="Asia/Tokyo")
    assert not policy.is_fresh(fetched, now + pd.Timedelta(minutes=30))


def test_the_always_and_never_stale_policies_ignore_the_age_of_the_data() -> None:
    at = ny("2024-06-14 10:00")
    long_ago = facts(pd.Timestamp("1990-01-01", tz="UTC"), at)
    assert NeverStaleFreshnessPolicy().is_fresh(long_ago, "1d")
    assert NeverStaleFreshnessPolicy().is_fresh({}, "1d")
    assert NeverStaleFreshnessPolicy().get_next_refresh_time(long_ago, "1d").year == 2099
    assert not AlwaysStaleFreshnessPolicy().is_fresh(facts(at, at), "1d")
    assert AlwaysStaleFreshnessPolicy().get_next_refresh_time(facts(at, at), "1d") == at
    before = pd.Timestamp.now("UTC")
    now = AlwaysStaleFreshnessPolicy().get_next_refresh_time({}, "1d")
    assert before - pd.Timedelta(seconds=1) < now <= pd.Timestamp.now("UTC")


def test_a_frame_that_was_never_fetched_is_not_fresh() -> None:
    for policy in (
        MarketCloseFreshnessPolicy("NYSE"),
        TTLFreshnessPolicy(),
        HybridFreshnessPolicy(),
    ):
        assert not policy.is_fresh({}, "1d")


def test_a_naive_time_is_utc() -> None:
    policy = TTLFreshnessPolicy(3600)
    naive = pd.Timestamp("2024-06-14 10:00")
    assert policy.is_fresh(naive, naive.tz_localize("UTC") + pd.Timedelta(minutes=59))
    assert policy.is_fresh({"fetch_timestamp": naive, "current_timestamp": naive}, "1d")
    assert not policy.is_fresh(naive, ny("2024-06-14 10:00"))


# --- policies of programs -----------------------------------------------------------------------


class TwoHours(CacheFreshnessPolicy):
    def is_fresh(self, cache_time: pd.Timestamp, current_time: pd.Timestamp) -> bool:  # type: ignore[override]
        return (current_time - cache_time).total_seconds() < 7200  # 2 hours


class OfMetadata(CacheFreshnessPolicy):
    def is_fresh(self, bundle_metadata: Any, frequency: Any, calendar: Any = None) -> bool:  # type: ignore[override]
        self.seen = bundle_metadata, frequency, calendar
        return True


def test_a_policy_of_a_program_has_one_method() -> None:
    at = ny("2024-06-14 10:00")
    policy = TwoHours()
    assert is_fresh_by(policy, facts(at, at + pd.Timedelta(minutes=119)), "1d", "NYSE")
    assert not is_fresh_by(policy, facts(at, at + pd.Timedelta(minutes=120)), "1d", None)
    assert policy.get_next_refresh_time(facts(at, at), "1d") == at
    other = OfMetadata()
    assert is_fresh_by(other, facts(at, at), "1d", "NYSE")
    assert other.seen == (facts(at, at), "1d", "NYSE")


# --- the factory --------------------------------------------------------------------------------


class Source:
    def __init__(self, source_type: str, live: bool = False) -> None:
        self._type, self._live = source_type, live

    def get_metadata(self) -> DataSourceMetadata:
        return DataSourceMetadata(self._type, supports_live=self._live)

    def supports_live(self) -> bool:
        return self._live


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("source_type", "frequency", "kind", "ttl"),
    [
        ("csv", "1d", NeverStaleFreshnessPolicy, None),
        ("yfinance", "1d", MarketCloseFreshnessPolicy, None),
        ("polygon", "1d", MarketCloseFreshnessPolicy, None),
        ("alpaca", "daily", MarketCloseFreshnessPolicy, None),
        ("alphavantage", "1d", MarketCloseFreshnessPolicy, None),
        ("yfinance", "1h", HybridFreshnessPolicy, 3600),
        ("alpaca", "5m", HybridFreshnessPolicy, 300),
        ("ccxt", "1h", TTLFreshnessPolicy, 3600),
        ("ccxt:binance", "1m", TTLFreshnessPolicy, 300),
        ("ccxt", "1d", TTLFreshnessPolicy, 86400),
        ("my_own", "1d", TTLFreshnessPolicy, 3600),
    ],
)
@pytest.mark.parametrize("live", [False, True])
def test_the_source_and_the_timeframe_choose(
    source_type: str, frequency: str, kind: type, ttl: float | None, live: bool
) -> None:
    """Also for sources that stream, too: what they gave is kept as that of others."""
    for policy in (
        FreshnessPolicyFactory.create(Source(source_type, live), frequency),
        FreshnessPolicyFactory.create(Source(source_type, live), frequency, {}),
        FreshnessPolicyFactory.create_policy(Source(source_type, live), frequency),
    ):
        assert type(policy) is kind
        assert getattr(policy, "ttl_seconds", None) == ttl


def test_the_calendar_comes_through() -> None:
    """Without it days would stand an hour."""
    at = ny("2024-06-14 17:00")
    for policy in (
        FreshnessPolicyFactory.create(Source("yfinance"), "1d"),
        FreshnessPolicyFactory.create_policy(
            data_source=Source("yfinance"), frequency="1d", calendar=xnys()
        ),
    ):
        assert policy.is_fresh(facts(at, at + pd.Timedelta(days=2)), "1d")
    tokyo = FreshnessPolicyFactory.create_policy(
        data_source=Source("yfinance"), frequency="1d", calendar="XTKS"
    )
    assert not tokyo.is_fresh(facts(at, ny("2024-06-17 03:00")), "1d")


def test_the_configuration_is_read(here: Path) -> None:
    """Each key has its effect: those of hours and minutes, too."""
    (here / "config" / "cache_freshness.yaml").write_text(
        "source_due:\n"
        "  yfinance: {daily: ttl, daily_ttl: 7200, hourly_ttl: 1800, minute_ttl: 60, calendar: XLON}\n"
        "  ccxt: {daily: never_stale, hourly_ttl: 120, 15m_ttl: 90}\n"
        "  csv: {daily: always_stale, minute_ttl: 5}\n"
        "  polygon: {daily: hybrid}\n"
        "  mine: {daily: market_close}\n"
        "calendars: {yfinance: XTKS, mine: XHKG}\n"
        "cache: {max_size_bytes: 1000000}\n"
    )

    def chosen(name: str, frequency: str) -> Any:
        policy = FreshnessPolicyFactory.create(Source(name), frequency)
        return type(policy).__name__.removesuffix("FreshnessPolicy"), vars(policy)

    assert chosen("yfinance", "1d") == ("TTL", {"ttl_seconds": 7200})
    assert chosen("yfinance", "1h") == ("Hybrid", {"ttl_seconds": 1800, "calendar": "XLON"})
    assert chosen("yfinance", "4h") == ("Hybrid", {"ttl_seconds": 1800, "calendar": "XLON"})
    assert chosen("yfinance", "15m") == ("Hybrid", {"ttl_seconds": 60, "calendar": "XLON"})
    assert chosen("ccxt", "1d") == ("NeverStale", {})
    assert chosen("ccxt", "1h") == ("TTL", {"ttl_seconds": 120})
    assert chosen("ccxt:kraken", "15m") == ("TTL", {"ttl_seconds": 90})
    assert chosen("ccxt", "5m") == ("TTL", {"ttl_seconds": 300})
    assert chosen("csv", "1d") == ("AlwaysStale", {})
    assert chosen("csv", "1m") == ("TTL", {"ttl_seconds": 5})
    assert chosen("csv", "1h") == ("NeverStale", {})
    assert chosen("polygon", "1d") == ("Hybrid", {"ttl_seconds": 86400, "calendar": "XNYS"})
    assert chosen("mine", "1d") == ("MarketClose", {"calendar": "XHKG"})
    assert FreshnessPolicyFactory.load_config()[MAX_SIZE] == 1_000_000
    other = {"yfinance.1h_ttl": 5, "yfinance.hourly_ttl": 6}
    assert FreshnessPolicyFactory.create(Source("yfinance"), "1h", other).ttl_seconds == 5  # type: ignore[attr-defined]


def test_a_daily_time_alone_is_a_time_to_live() -> None:
    policy = FreshnessPolicyFactory.create(Source("yfinance"), "1d", {"yfinance.daily_ttl": 60})
    assert isinstance(policy, TTLFreshnessPolicy)


def test_a_source_of_ours_is_chosen_for_by_its_name() -> None:
    class Named(VendorDataSource):
        name, provider = "yfinance", "yahoo"

        def get_metadata(self) -> DataSourceMetadata:
            raise AssertionError("not needed")

    policy = FreshnessPolicyFactory.create(Named(), "1d")
    assert isinstance(policy, MarketCloseFreshnessPolicy)


def test_every_mistake_of_the_file_is_named(here: Path) -> None:
    path = here / "config" / "cache_freshness.yaml"
    path.write_text(
        "source_due:\n"
        "  yfinance: {daly: ttl, daily: sometimes, hourly_ttl: soon, 7x_ttl: 3}\n"
        "cache: {max_size: 1}\n"
    )
    with pytest.raises(RulesError) as caught:
        FreshnessPolicyFactory.create(Source("yfinance"), "1d")
    text = str(caught.value)
    assert "5 mistakes" in text
    assert "did you mean daily?" in text
    assert "source_due.yfinance.7x_ttl: unknown key" in text
    assert "(line 3)" in text
    path.write_text("source_due: {yfinance: {calendar: XNOWHERE}}\n")
    with pytest.raises(ConfigError, match="unknown calendar 'XNOWHERE'"):
        FreshnessPolicyFactory.create(Source("yfinance"), "1d")


def test_a_missing_freshness_file_raises_and_an_empty_one_has_no_settings(here: Path) -> None:
    assert FreshnessPolicyFactory.load_config() == {}
    with pytest.raises(ConfigError, match="does not exist"):
        FreshnessPolicyFactory.load_config(here / "other.yaml")
    (here / "other.yaml").write_text("")
    assert freshness_settings("other.yaml") == {}


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: TTLFreshnessPolicy(-1), QueryError, "ttl_seconds -1"),
        (lambda: TTLFreshnessPolicy("x"), QueryError, "ttl_seconds 'x'"),  # type: ignore[arg-type]
        (lambda: HybridFreshnessPolicy(float("nan")), QueryError, "ttl_seconds nan"),
        (lambda: MarketCloseFreshnessPolicy("XNOWHERE"), ConfigError, "unknown calendar"),
        (lambda: MarketCloseFreshnessPolicy(7), QueryError, "has no calendar name"),
        (lambda: TTLFreshnessPolicy().is_fresh(pd.NaT, pd.NaT), QueryError, "invalid time"),
        (lambda: TTLFreshnessPolicy().is_fresh({"fetch_timestamp": "x"}, "1d"), QueryError, "'x'"),
        (lambda: FreshnessPolicyFactory.create(Source("a"), "7x"), BadTimeframeError, "7x"),
        (
            lambda: FreshnessPolicyFactory.create(Source("a"), "1d", {"a.hourly": 1}),
            ConfigError, "a.hourly: unknown key",
        ),
        (
            lambda: FreshnessPolicyFactory.create(Source("a"), "1d", {"cache.max_size_bytes": "x"}),
            ConfigError, "must be a number of at least 0",
        ),
    ],
)  # fmt: skip
def test_invalid_source_due_raise(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()
