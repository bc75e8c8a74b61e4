"""Figures of perpetual futures over real sockets: fetched once, cached, and reported if missing."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS, HOUR_MS
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataWarning,
    NoProviderError,
    QueryError,
)
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.binance_futures import funding_rate, statistic

from .scripted_vendor import provenance


def stamps(frame: pd.DataFrame) -> list[int]:
    return [int(stamp.value) // 1_000_000 for stamp in frame.index]


def test_years_of_funding_rates_are_fetched_in_pages_and_then_read_from_the_cache(
    manager: DataManager, vendors: VendorServer
) -> None:
    rates = manager.get_funding_rate("BTCUSDT", "2019-01-01", "2021-05-31")
    assert stamps(rates)[:2] == [1568102400000, 1568131200000], "from the listing on"
    assert rates.index[-1] == pd.Timestamp("2021-05-31 16:00")
    assert set(rates.index.diff().dropna()) == {pd.Timedelta("8h")}
    assert rates["fundingRate"].tolist() == [funding_rate(s) for s in stamps(rates)]
    asked = vendors.count()
    again = manager.get_funding_rate("BTCUSDT", "2019-01-01", "2021-05-31")
    assert vendors.count() == asked, "an answered span is requested once"
    pd.testing.assert_frame_equal(again, rates)
    assert (provenance(again)["from_cache"], provenance(rates)["from_cache"]) == (1.0, 0.0)
    manager.get_funding_rate("BTCUSDT", "2021-05-30", "2021-05-31", True)
    assert vendors.count() == asked + 1, "except for a forced refresh"


def test_only_missing_funding_rates_are_fetched(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_funding_rate("BTCUSDT", "2024-01-02", "2024-01-03")
    vendors.clear_log()
    rates = manager.get_funding_rate("BTCUSDT", "2024-01-01", "2024-01-04")
    assert len(rates) == 12
    spans = [(int(e.params["startTime"]), int(e.params["endTime"])) for e in vendors.log()]
    first = pd.Timestamp("2024-01-01").value // 1_000_000
    assert spans == [
        (first, first + DAY_MS - 1 + 999),
        (first + 3 * DAY_MS, first + 4 * DAY_MS - 1 + 999),
    ]


def test_both_ends_of_a_range_of_funding_rates_are_inclusive(manager: DataManager) -> None:
    rates = manager.get_funding_rate("BTCUSDT", "2024-01-01T00:00:00", "2024-01-01T16:00:00")
    assert [stamp.hour for stamp in rates.index] == [0, 8, 16]


def test_a_coin_settled_future_has_its_own_series(
    manager: DataManager, vendors: VendorServer
) -> None:
    # Two years are more than a page, and this one gives the newest rows first.
    rates = manager.get_funding_rate("BTCUSD_PERP", "2020-01-01", "2021-12-31")
    assert len(rates) == 731 * 3
    assert {e.path for e in vendors.log()} == {"/dapi/v1/fundingRate"}
    assert {e.params["symbol"] for e in vendors.log()} == {"BTCUSD_PERP"}
    asked = vendors.count()
    pd.testing.assert_frame_equal(
        manager.get_funding_rate("BTC/USD", "2020-01-01", "2021-12-31"), rates
    )
    assert vendors.count() == asked, "its pair means the same"


@pytest.mark.parametrize("what", ["open_interest", "long_short_ratio"])
def test_open_interest_reaches_back_a_month_and_stays_in_the_cache(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, what: str
) -> None:
    manager = make()
    ask = getattr(manager, f"get_{what}")
    found = ask("BTCUSDT", "1h", "2024-05-20", "2024-06-09")
    assert len(found) == 21 * 24
    for column in found.columns:
        assert found[column].tolist() == [statistic(column, s) for s in stamps(found)]
    clock.advance(40 * 86_400)
    kept = ask("BTCUSDT", "1h", "2024-05-20", "2024-06-09")
    pd.testing.assert_frame_equal(kept, found)
    with pytest.warns(IncompleteDataWarning, match="only for the last 30 days"):
        more = ask("BTCUSDT", "1h", "2024-06-01", "2024-07-20")
    gap = provenance(more)["gaps"]
    assert [g["start"] for g in gap] == ["2024-06-10T00:00:00Z"]
    assert not provenance(more)["complete"]
    assert len(more) > 9 * 24
    with pytest.raises(AllProvidersFailedError, match="only for the last 30 days"):
        ask("ETHUSDT", "1h", "2024-05-20", "2024-06-09")


def test_the_newest_open_interest_is_refetched_and_settled_rows_are_not(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    def newest() -> int:
        frame = manager.get_open_interest("BTCUSDT", "1h", "2024-06-12", "2024-06-13")
        return max(stamps(frame))

    before = newest()
    assert before == clock.now_ms() // HOUR_MS * HOUR_MS - HOUR_MS, (
        "the value of 15:00 is not available yet"
    )
    clock.advance(300)
    assert newest() == before + HOUR_MS
    starts = [int(e.params["startTime"]) for e in vendors.log()]
    assert starts[1] > starts[0] + 12 * HOUR_MS, "settled values are not requested again"


def test_a_failed_fetch_of_figures_is_reported_and_cached_ones_are_returned(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.status(503))
    with pytest.raises(AllProvidersFailedError) as caught:
        manager.get_funding_rate("BTCUSDT", "2024-01-01", "2024-01-02")
    assert [a.provider for a in caught.value.attempts] == ["binance"]
    vendors.heal()
    manager.cache.clear()
    held = manager.get_funding_rate("ETHUSDT", "2024-01-01", "2024-01-02")
    vendors.fault("binance", Fault.status(403))
    with pytest.warns(IncompleteDataWarning):
        part = manager.get_funding_rate("ETHUSDT", "2024-01-01", "2024-01-04")
    pd.testing.assert_frame_equal(part, held)
    assert provenance(part)["gaps"][0]["start"] == "2024-01-03T00:00:00Z"


def test_funding_rates_before_the_first_one_are_an_empty_frame(manager: DataManager) -> None:
    none = manager.get_funding_rate("BTCUSDT", "2018-01-01", "2018-02-01")
    assert none.empty and none.columns.tolist() == ["fundingRate"]
    assert str(none.index.dtype) == "datetime64[ns]"


@pytest.mark.parametrize(
    "symbol, period, start, end, kind",
    [
        ("AAPL", "1h", "2024-06-10", "2024-06-11", QueryError),
        ("no symbol!", "1h", "2024-06-10", "2024-06-11", QueryError),
        ("BTCUSDT", "7x", "2024-06-10", "2024-06-11", QueryError),
        ("BTCUSDT", "1h", "2024-06-11", "2024-06-10", QueryError),
        ("BTCUSDT", "1h", "2024-07-10", None, QueryError),
        ("BTCUSDT", "3m", "2024-06-10", "2024-06-11", AllProvidersFailedError),
    ],
)
def test_an_invalid_open_interest_request_raises_before_any_request(
    manager: DataManager, vendors: VendorServer, symbol: str, period: str, start: str, end: str,
    kind: type[Exception],
) -> None:  # fmt: skip
    with pytest.raises(kind):
        manager.get_open_interest(symbol, period, start, end)
    assert vendors.count() == 0


def test_the_error_for_an_unknown_future_names_it(manager: DataManager) -> None:
    with pytest.raises(AllProvidersFailedError, match=r"^unknown symbol 'PEPEUSDT'"):
        manager.get_funding_rate("PEPE/USDT", "2024-06-10", "2024-06-11")


def test_funding_rates_without_a_vendor_in_the_rules_are_an_error(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        manager.provider_selector, "get_provider_with_failover", lambda *_: ["yahoo"]
    )
    with pytest.raises(NoProviderError, match="No suitable provider found"):
        manager.get_funding_rate("BTCUSDT", "2024-06-10", "2024-06-11")
