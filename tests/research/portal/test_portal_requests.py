"""How many requests a walk through a portal costs, and what it warns of: real sockets, counted requests."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.data_manager import DataManager
from src.data.errors import DataError, DataPortalError, IncompleteDataWarning
from src.data.polars import PolarsDataPortal
from src.data.research.sources.vendor_sources import DataSourceRegistry
from tests.core.cache.counts import FULL
from tests.e2e.conftest import make, manager, rules
from tests.vendor_server import Fault, VendorServer

__all__ = ["make", "manager", "rules"]

COINS, SHARES = ["BTCUSDT", "ETHUSDT"], ["AAPL", "MSFT"]
FIRST = date(2024, 1, 3)  # a Wednesday
LAST = date(2024, 2, 9) if FULL else date(2024, 1, 26)  # a Friday


def days(first: date = FIRST, last: date = LAST) -> Iterator[date]:
    for n in range((last - first).days + 1):
        yield first + timedelta(n)


def walk(manager: DataManager, assets: list[str], frequency: str = "1d") -> PolarsDataPortal:
    """Ask for a value on each day, as a backtest does."""
    portal = PolarsDataPortal(data_source=manager)
    for day in days():
        portal.set_simulation_time(day)
        assert portal.get_spot_value(assets, "close", day, frequency).null_count() == 0, day
    return portal


def bar_requests(vendors: VendorServer) -> int:
    """Return how many requests for bars arrived; facts about a symbol are none of them."""
    paths = ("klines", "chart")
    return sum(vendors.count(path=path) for path in paths)


def counted_reads(manager: DataManager, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that gets an entry for each read of bars from now on."""
    reads: list[Any] = []
    real = type(manager.client).get_rows_by_symbol

    def counted(client: Any, *arguments: Any) -> Any:
        reads.append(arguments)
        return real(client, *arguments)

    monkeypatch.setattr(type(manager.client), "get_rows_by_symbol", counted)
    return reads


def datetime_ms(day: date) -> int:
    """Return the first millisecond of a UTC day."""
    return parse_iso(f"{day}T00:00:00")


@pytest.mark.parametrize("assets", [COINS, SHARES, [*COINS, *SHARES]])
def test_a_walk_over_a_cached_range_costs_no_request(
    make: Callable[[], DataManager], vendors: VendorServer, assets: list[str]
) -> None:
    make().get_ohlcv_batch(assets, "1d", FIRST - timedelta(14), LAST)
    vendors.clear_log()
    portal = walk(make(), assets)
    assert vendors.log() == []
    assert portal.cache_hit_rate == 100.0


def test_a_walk_by_weeks_over_cached_days_costs_no_request(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    make().get_ohlcv_batch(SHARES, "1d", FIRST - timedelta(60), LAST)
    vendors.clear_log()
    walk(make(), SHARES, "1w")
    assert vendors.log() == []


def test_a_walk_by_hours_over_a_cached_range_costs_no_request(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    first = datetime(2024, 6, 3)
    make().get_ohlcv_batch(COINS, "1h", first, first + timedelta(days=2))
    vendors.clear_log()
    portal = PolarsDataPortal(data_source=make())
    for hour in range(8, 49):
        at = first + timedelta(hours=hour)
        assert portal.get_spot_value(COINS, "close", at, "1h").null_count() == 0
    assert vendors.log() == []


@pytest.mark.parametrize(("assets", "frequency"), [(COINS, "1d"), (SHARES, "1d"), (SHARES, "1w")])
def test_a_walk_over_an_uncached_range_costs_one_request_for_each_series(
    make: Callable[[], DataManager], vendors: VendorServer, assets: list[str], frequency: str
) -> None:
    walk(make(), assets, frequency)
    assert bar_requests(vendors) <= len(assets)


@pytest.mark.parametrize(
    ("assets", "frequency"),
    [(COINS, "1d"), (SHARES, "1d"), (SHARES, "1w"), ([*COINS, *SHARES], "1d")],
)
def test_a_walk_back_costs_one_request_for_each_series_and_has_the_values_of_a_walk_forward(
    make: Callable[[], DataManager], vendors: VendorServer, assets: list[str], frequency: str
) -> None:
    portal = PolarsDataPortal(data_source=make())
    back = [
        portal.get_spot_value(assets, "close", day, frequency).to_list()
        for day in reversed(list(days()))
    ]
    assert bar_requests(vendors) == len(assets)
    vendors.clear_log()
    portal = PolarsDataPortal(data_source=make())
    assert back[::-1] == [
        portal.get_spot_value(assets, "close", day, frequency).to_list() for day in days()
    ]
    assert vendors.log() == []


def test_a_walk_back_by_hours_reads_ahead_too(
    make: Callable[[], DataManager], vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = make()
    reads = counted_reads(manager, monkeypatch)
    portal = PolarsDataPortal(data_source=manager)
    for hour in range(300, 0, -1):
        at = datetime(2024, 5, 1) + timedelta(hours=hour)
        assert portal.get_spot_value(COINS, "close", at, "1h").null_count() == 0
    # The hours up to now, then the hours before: a page each.
    assert bar_requests(vendors) == len(COINS) * 2
    assert len(reads) == 2


def test_a_walk_back_over_a_cached_range_costs_no_request_and_few_reads(
    make: Callable[[], DataManager], vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    make().get_ohlcv_batch(COINS, "1d", FIRST - timedelta(14), LAST)
    vendors.clear_log()
    manager = make()
    reads = counted_reads(manager, monkeypatch)
    portal = PolarsDataPortal(data_source=manager)
    for day in reversed(list(days())):
        assert portal.get_spot_value(COINS, "close", day, "1d").null_count() == 0
    assert vendors.log() == []
    assert len(reads) == 2


def test_a_walk_back_never_asks_for_days_that_would_change_the_vendor(
    make: Callable[[], DataManager], vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vendor with a short history answers the question, and not a longer one."""
    manager = make()
    real = type(manager.client).series_of
    first = LAST - timedelta(30)

    def of(client: Any, query: Any) -> Any:
        is_too_early = query.span.start < datetime_ms(first)
        return "another lane" if is_too_early else real(client, query)

    monkeypatch.setattr(type(manager.client), "series_of", of)
    portal = PolarsDataPortal(data_source=manager)
    for day in reversed(list(days(LAST - timedelta(20), LAST))):
        portal.get_spot_value(COINS[:1], "close", day, "1d")
    starts = [int(entry.params["startTime"]) for entry in vendors.log(path="klines")]
    assert min(starts) >= datetime_ms(first)


@pytest.mark.parametrize(
    ("now", "requests"),
    [("2024-06-12T22:00:00", 1), ("2024-06-15T12:00:00", 1), ("2024-06-12T16:00:00", 2)],
)
def test_a_walk_adjusted_for_dividends_costs_one_request_unless_a_session_is_on(
    make: Callable[[], DataManager],
    vendors: VendorServer,
    clock: ManualClock,
    now: str,
    requests: int,
) -> None:
    """A dividend of today counts, and the vendor reports it with today's bar, which is not closed."""
    clock.set(parse_iso(now))
    source = DataSourceRegistry.get_source("yahoo", manager=make(), adjustment="all")
    portal = PolarsDataPortal(data_source=source)
    for day in days():
        portal.get_spot_value(SHARES, "close", day, "1d")
    assert len(vendors.log()) == requests * len(SHARES)


def test_only_the_assets_that_are_not_cached_are_fetched(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    make().get_ohlcv_batch(COINS[:1], "1d", FIRST - timedelta(14), LAST)
    vendors.clear_log()
    walk(make(), COINS)
    (entry,) = vendors.log(path="klines")
    assert COINS[1] in str(entry)


def test_the_panel_of_bars_that_were_just_fetched_is_kept(
    make: Callable[[], DataManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = make()
    reads = counted_reads(manager, monkeypatch)
    portal = walk(manager, COINS)
    assert len(reads) == 1
    assert portal.cache_hit_rate < 100.0


def test_gaps_in_bars_read_ahead_are_warned_about_only_when_requested(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    """A hole in what is read ahead is warned of when it is asked for, and not before."""
    make().get_ohlcv("BTCUSDT", "1d", FIRST - timedelta(14), FIRST + timedelta(5))
    vendors.fault("binance", Fault.reset())
    vendors.fault("yahoo", Fault.reset())
    portal = PolarsDataPortal(data_source=make())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for day in days(FIRST, FIRST + timedelta(5)):
            portal.get_spot_value(["BTCUSDT"], "close", day, "daily")
    end = FIRST + timedelta(9)
    with pytest.warns(IncompleteDataWarning):
        portal.get_history_window(["BTCUSDT"], end, 8, "1d", "close", "daily")


@pytest.mark.parametrize("frequency", ["1d", "1w"])
def test_an_outage_costs_a_portal_no_more_requests_than_a_plain_call(
    make: Callable[[], DataManager], vendors: VendorServer, frequency: str
) -> None:
    for vendor in ("binance", "yahoo"):
        vendors.fault(vendor, Fault.reset())
    first = FIRST - timedelta(60)
    with pytest.raises(DataError) as plain:
        make().get_ohlcv("AAPL", frequency, first, FIRST)
    sent = len(vendors.log())
    assert sent
    vendors.clear_log()
    portal = PolarsDataPortal(data_source=make())
    with pytest.raises(DataPortalError) as caught:
        portal.get_spot_value(["AAPL"], "close", FIRST, frequency)
    assert len(vendors.log()) == sent
    assert caught.value.reason == plain.value.reason == "outage"


def test_an_outage_in_the_middle_of_a_walk_costs_one_round_of_requests_and_is_warned_of_as_one(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    make().get_ohlcv("BTCUSDT", "1d", FIRST - timedelta(14), FIRST)
    vendors.fault("binance", Fault.reset())
    vendors.fault("yahoo", Fault.reset())
    vendors.clear_log()
    with pytest.warns(IncompleteDataWarning):
        make().get_ohlcv("BTCUSDT", "1d", FIRST - timedelta(10), FIRST + timedelta(1))
    sent = len(vendors.log())
    assert sent
    vendors.clear_log()
    portal = PolarsDataPortal(data_source=make())
    with pytest.warns(IncompleteDataWarning) as warned:
        portal.get_history_window(["BTCUSDT"], FIRST + timedelta(1), 6, "1d", "close", "daily")
    assert len(vendors.log()) == sent
    (one,) = warned
    assert "offline" not in str(one.message) and "binance" in str(one.message)
