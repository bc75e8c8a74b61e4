"""Each vendor that needs a key, through the whole library: rules, keys, limits, storing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    AuthenticationError,
    IncompleteDataWarning,
    NoProviderError,
)
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.keyed import KEY

from .oracle import assert_true, ms
from .scripted_vendor import provenance

ENV = {
    "fmp": "FMP_API_KEY", "alpha_vantage": "ALPHA_VANTAGE_API_KEY", "eodhd": "EODHD_API_KEY",
    "finnhub": "FINNHUB_API_KEY", "twelvedata": "TWELVE_DATA_API_KEY",
    "coingecko": "COINGECKO_PRO_API_KEY",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A request to a vendor: whole days, both inclusive; ``cost`` as the vendor counts it."""

    vendor: str
    symbol: str
    timeframe: str
    start: str
    end: str
    cost: int
    adjustment: str = "split"
    volume: bool = True

    def __str__(self) -> str:
        return f"{self.vendor}-{self.symbol}-{self.timeframe}"

    def ask(self, manager: DataManager, **more: Any) -> pd.DataFrame:
        """Return the answer."""
        asked = {"adjustment": self.adjustment} | more
        return manager.get_ohlcv(self.symbol, self.timeframe, self.start, self.end, **asked)


# Raw prices are asked for alone; EODHD's volumes, in today's shares beside them, need its splits.
CASES = [
    Case("fmp", "NVDA", "1d", "2024-06-03", "2024-06-11", 1),
    Case("fmp", "AAPL", "5m", "2024-06-06", "2024-06-07", 1),
    Case("alpha_vantage", "NVDA", "1d", "2024-06-03", "2024-06-11", 1, "raw"),
    Case("alpha_vantage", "BTC-USD", "1d", "2024-06-03", "2024-06-10", 1),
    Case("eodhd", "NVDA", "1d", "2024-06-03", "2024-06-11", 2, "raw"),
    Case("eodhd", "BTC-USD", "1h", "2024-06-03", "2024-06-04", 5),
    Case("finnhub", "NVDA", "1d", "2024-06-03", "2024-06-11", 1),
    Case("finnhub", "BTCUSDT", "1h", "2024-06-03", "2024-06-04", 1),
    Case("twelvedata", "NVDA", "1d", "2024-06-03", "2024-06-11", 1),
    Case("twelvedata", "ETHUSDT", "15m", "2024-06-03", "2024-06-03", 1, volume=False),
    Case("coingecko", "BTCUSDT", "1d", "2024-06-03", "2024-06-10", 1, volume=False),
    Case("coingecko", "ETHUSDT", "4h", "2024-06-03", "2024-06-08", 1, volume=False),
]


@pytest.fixture
def managers(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., DataManager]:
    """Return a maker of managers on one cache, whose rules name only one vendor."""

    def make(vendor: str, limits: str = "{}") -> DataManager:
        monkeypatch.setenv(ENV[vendor], KEY)
        rules = tmp_path / f"{vendor}.yaml"
        alone = "".join(
            f"{rule}: {{primary: {vendor}, backup: []}}\n"
            for rule in ("crypto", "stock_daily", "stock_intraday", "stock_weekly_monthly")
        )
        url = vendors.base_url(vendor)
        said = f"base_url: '{url}', rate_limits: {limits}"
        rules.write_text(f"{alone}providers:\n  {vendor}: {{{said}}}\n")
        return DataManager(tmp_path / "cache", rules, clock=clock)

    return make


def without_volume(frame: pd.DataFrame, vendors: VendorServer, case: Case) -> pd.DataFrame:
    """Return the frame with the true volumes in place of missing ones."""
    assert frame["volume"].isna().all()
    true = {
        pd.Timestamp(row.stamp_ms, unit="ms"): row.volume
        for row in vendors.truth.rows(
            case.symbol, case.timeframe, ms(case.start), ms(case.end) + DAY_MS
        )
    }
    return frame.assign(volume=[true[at] for at in frame.index])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fetch_with_a_key_returns_true_bars_within_the_daily_limit(
    managers: Callable[..., DataManager], vendors: VendorServer, clock: ManualClock, case: Case
) -> None:
    manager = managers(case.vendor, f"{{requests_per_day: {case.cost}}}")
    frame = case.ask(manager, strict=True)
    shown = frame if case.volume else without_volume(frame, vendors, case)
    end = str(pd.Timestamp(case.end) + pd.Timedelta("1D"))[:10]
    assert_true(
        shown, vendors, clock, case.symbol, case.timeframe, case.start, end, case.adjustment
    )
    assert provenance(frame)["vendors"] == [case.vendor]
    log = vendors.log(case.vendor)
    assert all(KEY in repr((entry.headers, entry.params)) for entry in log)
    assert KEY not in repr(frame.attrs)
    vendors.clear_log()
    pd.testing.assert_frame_equal(frame, case.ask(managers(case.vendor)))
    assert vendors.count() == 0, "it was not stored"
    with pytest.raises(AllProvidersFailedError, match=f"limit of {case.cost} a day is used up"):
        replace(case, start="2024-05-21", end="2024-05-22").ask(manager)
    assert vendors.count() == 0


def test_the_26th_request_of_a_day_names_the_line_that_raises_the_limit(
    managers: Callable[..., DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    case = Case("alpha_vantage", "BTC-USD", "1d", "2024-06-03", "2024-06-10", 1)
    vendors.fault("alpha_vantage", Fault.cap_newest(60))  # all of its history takes long
    for manager in (managers("alpha_vantage"), managers("alpha_vantage")):
        for _ in range(13 - vendors.count("alpha_vantage") // 13):
            case.ask(manager, force_refresh=True)
            clock.advance(60)
    assert vendors.count("alpha_vantage") == 25
    with pytest.raises(AllProvidersFailedError, match="limit of 25 a day is used up") as caught:
        replace(case, start="2024-05-01", end="2024-05-02").ask(managers("alpha_vantage"))
    assert "`providers.alpha_vantage.rate_limits: {requests_per_day: ...}`" in str(caught.value)
    assert vendors.count("alpha_vantage") == 25
    raised = managers("alpha_vantage", "{requests_per_day: 75}")
    assert len(replace(case, start="2024-05-01", end="2024-05-02").ask(raised)) == 2


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_unreadable_answer_is_not_counted_as_a_success(
    managers: Callable[..., DataManager], vendors: VendorServer, case: Case
) -> None:
    manager = managers(case.vendor)
    vendors.fault(case.vendor, Fault.lie("html"))
    with pytest.raises(AllProvidersFailedError):
        case.ask(manager)
    counted = manager.metrics()["vendors"][case.vendor]
    assert set(counted["outcomes"]) == {"ResponseFormatError"}
    assert (counted["ok"], counted["success_rate"]) == (0, 0.0)


@pytest.mark.parametrize("vendor", ENV)
def test_a_wrong_key_is_an_authentication_error_without_the_key(
    managers: Callable[..., DataManager], vendors: VendorServer, vendor: str
) -> None:
    vendors.face(vendor).key = "another"  # type: ignore[attr-defined]
    case = [case for case in CASES if case.vendor == vendor][-1]
    with pytest.raises(AllProvidersFailedError) as caught:
        case.ask(managers(vendor))
    errors: list[Any] = [attempt.error for attempt in caught.value.attempts]
    assert [type(error) for error in errors] == [AuthenticationError]
    assert KEY not in repr(caught.value) + str(caught.value)
    assert vendors.count(vendor) == 1


@pytest.mark.parametrize(("vendor", "cost"), [("alpha_vantage", 3), ("eodhd", 4)])
def test_raw_prices_are_adjusted_by_the_vendors_own_splits_and_dividends(
    managers: Callable[..., DataManager], vendors: VendorServer, clock: ManualClock, vendor: str,
    cost: int,
) -> None:  # fmt: skip
    """Splits and dividends are requested, and splits once more for EODHD's volumes."""
    case = next(case for case in CASES if case.vendor == vendor)
    manager = managers(vendor, f"{{requests_per_day: {cost}}}")
    frame = case.ask(manager, adjustment="split", strict=True)
    wanted = vendors.truth.expected(
        case.symbol, "1d", ms(case.start), ms(case.end) + 1, "split", clock.now_ms()
    )
    told_values = frame.iloc[:, :5].to_numpy().tolist()
    assert told_values == [pytest.approx(list(row[1:]), rel=1e-12) for row in wanted]
    with pytest.raises(AllProvidersFailedError, match=f"limit of {cost} a day is used up"):
        replace(case, start="2024-05-21", end="2024-05-22").ask(manager)
    assert vendors.count(vendor) == cost


@pytest.mark.parametrize("vendor", ["alpha_vantage", "eodhd"])
def test_the_error_without_splits_gives_the_reason_of_each_vendor(
    managers: Callable[..., DataManager], vendors: VendorServer, vendor: str
) -> None:
    vendors.face(vendor).key = "another"  # type: ignore[attr-defined]
    case = next(case for case in CASES if case.vendor == vendor)
    with pytest.raises(AllProvidersFailedError, match=r"no vendor has them \(.*key") as raised:
        case.ask(managers(vendor), adjustment="split")
    errors = [attempt.error for attempt in raised.value.attempts]
    assert [error and error.symbol for error in errors] == [case.symbol] * len(errors)


@pytest.mark.parametrize("vendor", [v for v in ENV if v != "coingecko"])
def test_no_request_is_sent_to_a_vendor_without_its_key(
    managers: Callable[..., DataManager], vendors: VendorServer, vendor: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    manager = managers(vendor)
    monkeypatch.delenv(ENV[vendor])
    case = next(case for case in CASES if case.vendor == vendor)
    with pytest.raises(NoProviderError):
        case.ask(manager)
    assert vendors.count(vendor) == 0


def test_coingecko_returns_the_last_days_without_a_key(
    managers: Callable[..., DataManager], vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    manager = managers("coingecko")
    monkeypatch.delenv(ENV["coingecko"])
    case = Case("coingecko", "ETHUSDT", "4h", "2024-06-03", "2024-06-08", 1, volume=False)
    frame = case.ask(manager, strict=True)
    shown = without_volume(frame, vendors, case)
    assert_true(shown, vendors, clock, "ETHUSDT", "4h", "2024-06-03", "2024-06-09")


def test_raw_minutes_of_a_pinned_vendor_are_a_marked_substitute(
    managers: Callable[..., DataManager],
) -> None:
    asked = ("NVDA", "5m", "2024-06-06", "2024-06-07")
    with pytest.warns(IncompleteDataWarning, match="raw prices"):
        unpinned = managers("twelvedata").get_ohlcv(*asked)
    for _ in range(2):
        with pytest.warns(IncompleteDataWarning, match="raw prices"):
            frame = managers("twelvedata").get_ohlcv(*asked, provider="twelvedata")
        assert provenance(frame)["adjustment"] == provenance(unpinned)["adjustment"] == "raw"
        pd.testing.assert_frame_equal(frame, unpinned)
