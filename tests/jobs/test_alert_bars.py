"""Closed bars for alerts, from real answers: bars that must not fire, data problems, and metrics."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client.registry import CollectorRegistry

from src.data.bars.client import BarsClient
from src.data.cache.store import BarStore, Commit, CommitPiece
from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import (
    AuthenticationError,
    CircuitOpenError,
    DataError,
    EntitlementError,
    IncompleteDataWarning,
    SeriesEndedWarning,
    UnavailableError,
)
from src.data.jobs.alert_bars import ClientBars
from src.data.jobs.alert_deliveries import Delivery
from src.data.jobs.alert_evaluator import BarsNeeded, ClosedBars
from src.data.jobs.alert_values import (
    Alert,
    CrossingAlert,
    DataAlert,
    IndicatorAlert,
    PriceAlert,
    Rearm,
)
from src.data.jobs.alerts import AlertJob, NoBars, RunReport, WantedBars, WithAlertJob
from src.data.jobs.perishable import perishable
from src.data.model.bars import Bar, BarTable
from src.data.model.instant import DAY_MS, HOUR_MS, MINUTE_MS, date_of, day_ms, parse_iso
from src.data.model.kind import Basis, Kind
from src.data.model.outcome import Outcome
from src.data.model.series import SeriesKey
from src.data.model.span import Span
from src.data.model.timeframe import Timeframe
from src.data.observability.events import ShapeChanged
from src.data.observability.prometheus import MetricsCollector
from src.data.vendors.binance.bars import BinanceDataDownloader
from src.data.wiring import build
from tests.e2e.fixed_vendor import Market, every
from tests.e2e.share_vendors import SPLIT, ShareVendor, Truth
from tests.e2e.test_grave_bars import Walker, scaled
from tests.jobs.alert_records import MemoryRecords
from tests.vendor_server import Fault, Listing, VendorServer, split

FIRST = "2024-05-01T00:00:00Z"
NOON = "2024-05-02T12:00:00Z"
FAR_MS = parse_iso("2030-01-01")


@pytest.fixture
def market(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Market:
    """Return a market at 2024-05-02 14:00:30 UTC; its managers query only the given vendors."""
    clock.set(parse_iso("2024-05-02T14:00:30"))
    return Market(tmp_path, clock, monkeypatch)


class JobHarness:
    """The job of alerts over a manager; every message arrives."""

    def __init__(self, manager: DataManager, clock: ManualClock, *alerts: Alert) -> None:
        self.clock, self.records = clock, MemoryRecords(alerts)
        self.sent: list[Delivery] = []
        self.use(manager)

    def use(self, manager: DataManager) -> None:
        """Read by another manager."""
        self.source = ClientBars(manager.client)
        manager.on_event(self.source.hear)

    def run(self) -> RunReport:
        def deliver(delivery: Delivery) -> Outcome:
            self.sent.append(delivery)
            return Outcome("sent")

        # What an answer lacks is told as a problem of the data, and no program warned of it.
        with warnings.catch_warnings():
            warnings.simplefilter("error", IncompleteDataWarning)
            return AlertJob(self.records, self.source, {"local": deliver}, self.clock, 3600).run()

    @property
    def text(self) -> str:
        return "\n".join(one.text for one in self.sent)


MADE = "2024-05-02T10:30:00"


def coin(id: int = 1, since: str = MADE, **more: Any) -> CrossingAlert:
    """Return an alert on hours of a coin."""
    usual: dict[str, Any] = {"since_ms": parse_iso(since), "expires_ms": FAR_MS, "rearm": Rearm()}
    kind = IndicatorAlert if "quantity" in more else PriceAlert
    return kind(id, "42", "BTCUSDT", "1h", **{**usual, **more})


def problem(id: int, name: Any, since: str = MADE) -> DataAlert:
    return DataAlert(id, "42", "BTCUSDT", "1h", parse_iso(since), FAR_MS, problem=name)


def hours(clock: ManualClock, first: str = FIRST, last: str = "2024-05-10T00:00:00Z") -> Walker:
    """Return a vendor of hours that walk around 100."""
    return Walker(clock, every("1h", first, last), "binance")


# --- what fires, and what does not ---------------------------------------------------------------


def test_an_alert_fires_after_the_close_of_its_bar_without_a_new_request(
    market: Market, clock: ManualClock
) -> None:
    vendor = hours(clock)
    vendor.spoil = scaled(2, NOON, NOON)
    clock.set(parse_iso("2024-05-02T12:59:30"))
    job = JobHarness(market.manager(vendor), clock, coin(condition="above", value=150))
    assert job.run().events == {}, "it has not closed"
    asked = len(vendor.asked)
    assert job.run().events == {} and len(vendor.asked) == asked
    clock.advance(60)
    assert job.run().events == {"fired": 1}
    assert f"(bar {NOON})" in job.text
    asked = len(vendor.asked)
    clock.advance(60)
    assert job.run().events == {} and len(vendor.asked) == asked, "no bar is due"


def test_a_grave_bar_fires_no_alert_and_is_reported(market: Market, clock: ManualClock) -> None:
    vendor = hours(clock)
    vendor.spoil = scaled(0.01, NOON, NOON)
    below, grave = coin(condition="below", value=50), problem(2, "grave")
    sma = coin(3, quantity="sma(3)", condition="below", value=90)
    job = JobHarness(market.manager(vendor), clock, below, grave, sma)
    report = job.run()
    assert report.events == {"withheld": 2, "data": 1} and report.ok
    assert (
        f"the bar {NOON} is not used for BTCUSDT 1h close below 50: almost certainly wrong: "
        in job.text
    )
    assert f"BTCUSDT 1h: the bar {NOON} is almost certainly wrong: " in job.text
    for _ in range(3):
        clock.advance(3600)
        assert job.run().events == {}, "bars that are right follow"


def test_a_marked_bar_fires_no_alert(
    market: Market, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.bars.ingest.judge.graves", lambda series: [])
    vendor = hours(clock)
    vendor.spoil = scaled(0.01, NOON, NOON)
    manager = market.manager(vendor)
    manager.get_ohlcv("BTCUSDT", "1h", FIRST, NOON)
    assert manager.validate("BTCUSDT", "1h", mark=True).marked == 1
    job = JobHarness(manager, clock, coin(condition="below", value=50), problem(2, "grave"))
    assert job.run().events == {"withheld": 1, "data": 1}
    assert (
        f"BTCUSDT 1h: the bar {NOON} is almost certainly wrong, as the whole series shows: unit: "
        in job.text
    )


@pytest.mark.parametrize(("adjustment", "fires"), [("split", True), ("raw", False)])
def test_a_substitute_bar_fires_no_alert_and_is_reported(
    market: Market, clock: ManualClock, adjustment: Any, fires: bool
) -> None:
    clock.set(parse_iso("2021-02-10T12:00:00"))
    truth = Truth()
    day = date(2021, 2, 5)
    truth.closes[day] = 200.0
    job = JobHarness(
        market.manager(ShareVendor("x", adjustment, truth, clock)), clock,
        PriceAlert(1, "42", "AAPL", "1d", condition="above", value=170, rearm=Rearm(),
              since_ms=day_ms(date(2021, 2, 3)), expires_ms=FAR_MS),
    )  # fmt: skip
    events = job.run().events
    if fires:
        assert events == {"fired": 1} and f"(bar {day})" in job.text
    else:
        assert events == {"withheld": 1}
        assert "is not used for AAPL 1d close above 170: substitute: " in job.text
        assert adjustment in job.text
    assert job.run().events == {}


def test_a_split_moves_the_threshold_and_fires_no_alert(market: Market, clock: ManualClock) -> None:
    clock.set(parse_iso("2020-08-29T12:00:00"))
    truth = Truth()
    times: dict[str, Any] = {"since_ms": day_ms(date(2020, 8, 27)), "expires_ms": FAR_MS}
    alerts = [
        PriceAlert(1, "42", "AAPL", "1d", condition="below", value=400, rearm=Rearm(), **times),
        PriceAlert(2, "42", "AAPL", "1d", condition="above", value=520, rearm=Rearm(), **times),
    ]
    vendor = ShareVendor("s", "split", truth, clock, actions=True)
    job = JobHarness(market.manager(vendor), clock, *alerts)
    assert job.run().events == {}
    clock.set(parse_iso("2020-09-01T12:00:00"))
    report = job.run()
    assert report.events == {"moved": 2, "silent": 1}
    assert (
        "a split of 4 new shares for each old one moved the threshold of close from 400 to 100"
        in job.text
    )
    truth.closes[date(2020, 9, 1)] = 131.0
    clock.set(parse_iso("2020-09-02T12:00:00"))
    assert job.run().events == {"fired": 1, "silent": 1}
    assert "close 131 is above 130 (bar 2020-09-01)" in job.text
    assert SPLIT.ratio == 4


@pytest.mark.parametrize("hour, moved", [("08:00", 130), ("14:00", None)])
def test_a_threshold_set_before_the_open_of_a_splits_date_moves_with_the_split(
    market: Market, clock: ManualClock, hour: str, moved: float | None
) -> None:
    """New York opens at 13:30; until then, prices are per old share."""
    clock.set(parse_iso("2020-09-01T12:00:00"))
    above = PriceAlert(1, "42", "AAPL", "1d", parse_iso(f"2020-08-31T{hour}"), FAR_MS,
                       condition="above", value=520)  # fmt: skip
    vendor = ShareVendor("s", "split", Truth(), clock, actions=True)
    job = JobHarness(market.manager(vendor), clock, above)
    events = job.run().events
    assert events == ({} if moved is None else {"moved": 1})
    assert moved is None or f"from 520 to {moved}" in job.text


def test_a_threshold_set_after_the_open_in_sydney_does_not_move_with_the_split(
    served: DataManager, vendors: VendorServer, clock: ManualClock, sydney: Listing
) -> None:
    """The session of 10 January opens at 23:00 UTC of the day before."""
    vendors.truth.act(sydney.symbol, split("2024-01-10", 4))
    clock.set(parse_iso("2024-01-09T04:50:30"))
    served.get_ohlcv(sydney.symbol, "15m", bars=5)
    clock.set(parse_iso("2024-01-09T23:20:30"))
    above = PriceAlert(1, "42", sydney.symbol, "15m", clock.now_ms(), FAR_MS,
                       condition="above", value=1e6)  # fmt: skip
    job = JobHarness(served, clock, above)
    assert job.run().events == {}
    ((_, state),) = job.records.active_alerts()
    assert state is not None and state.splits == ((parse_iso("2024-01-10"), 4.0),)


def test_an_announced_split_moves_the_threshold_only_from_its_day_on(
    market: Market, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.set(parse_iso("2020-08-29T12:00:00"))
    times: dict[str, Any] = {"since_ms": day_ms(date(2020, 8, 27)), "expires_ms": FAR_MS}
    below = PriceAlert(1, "42", "AAPL", "1d", condition="below", value=400, **times)
    job = JobHarness(market.manager(ShareVendor("s", "split", Truth(), clock)), clock, below)
    reported = SimpleNamespace(counts=True, action=SPLIT)
    monkeypatch.setattr(BarsClient, "actions", lambda *_: (reported,))
    assert job.run().events == {}


def test_prices_in_another_basis_fire_no_alert_and_are_reported(
    market: Market, clock: ManualClock
) -> None:
    job = JobHarness(market.manager(hours(clock)), clock, coin(condition="below", value=50))
    assert job.run().events == {}
    clock.advance(3600)
    other = hours(clock)
    other.spoil = scaled(0.25, FIRST, "2024-06-01T00:00:00Z")
    job.use(market.manager(other, folder="another"))
    assert job.run().events == {"rebased": 1}
    assert "prices changed by a factor of 0.25 without a recorded split" in job.text
    clock.advance(3600)
    assert job.run().events == {}


def test_unavailable_bars_report_whether_the_failure_is_permanent(
    market: Market, clock: ManualClock
) -> None:
    source = ClientBars(market.manager().client)
    needed = BarsNeeded(3, clock.now_ms())
    wanted = [WantedBars(symbol, "1h", needed) for symbol in ("BTCUSDT", "", "NO SUCH")]
    first, second, third = source.read(wanted)
    assert isinstance(first, NoBars) and isinstance(second, NoBars) and isinstance(third, NoBars)
    assert second.is_lasting and second.reason and first.reason


def test_bars_after_the_end_of_a_series_are_not_missing_but_stale(
    market: Market, clock: ManualClock
) -> None:
    manager = market.manager(hours(clock, last=MADE))
    manager.get_ohlcv("BTCUSDT", "1h", FIRST)
    clock.set(parse_iso("2024-07-01T00:00:30"))
    with pytest.warns(SeriesEndedWarning):
        manager.get_ohlcv("BTCUSDT", "1h", FIRST)
    clock.advance(20 * 3600)  # these hours are not requested
    needed = BarsNeeded(3, clock.now_ms())
    wanted = WantedBars("BTCUSDT", "1h", needed, with_problems=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SeriesEndedWarning)
        (bars,) = ClientBars(manager.client).read([wanted])
    assert isinstance(bars, ClosedBars)
    assert (bars.missing, bars.unavailable) == ((), {})
    assert [key.partition(":")[0] for key in bars.problems] == ["stale"]


def test_a_run_in_which_no_vendor_answered_failed_although_older_bars_are_cached(
    market: Market, clock: ManualClock
) -> None:
    vendor = hours(clock)
    job = JobHarness(market.manager(vendor), clock, coin(condition="above", value=1e6))
    assert job.run().ok
    vendor.errors = [UnavailableError("down", provider="binance")] * 9
    clock.advance(3600)
    report = job.run()
    assert not report.ok and report.failed == {"BTCUSDT 1h": "binance: down"}
    assert report.alerts == 1, "its stored bars were evaluated"
    vendor.errors = []
    clock.advance(3600)
    assert job.run().ok


def test_bars_missed_in_an_outage_are_evaluated_although_later_ones_were_cached_in_it(
    market: Market, clock: ManualClock
) -> None:
    clock.set(parse_iso("2024-05-02T10:30:30"))
    vendor = hours(clock)
    vendor.spoil = scaled(2, NOON, NOON)
    manager = market.manager(vendor)
    job = JobHarness(manager, clock, coin(condition="above", value=150))
    job.run()
    clock.set(parse_iso("2024-05-02T20:00:30"))
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-02T17:00", "2024-05-02T19:00")
    vendor.errors = [UnavailableError("down", provider="binance")] * 9
    assert job.run().events == {"silent": 1}
    vendor.errors = []
    clock.advance(3600)
    assert job.run().events == {"fired": 1}
    assert f"(bar {NOON})" in job.text


def test_alerts_do_not_wait_for_a_vendor_if_another_one_has_no_bar_there(
    market: Market, clock: ManualClock
) -> None:
    clock.set(parse_iso("2024-06-11T15:00:30"))
    days = [
        stamp
        for day in (10, 11)
        for stamp in every("15m", f"2024-06-{day}T13:30:00Z", f"2024-06-{day}T19:45:00Z")
        if stamp != parse_iso("2024-06-11T16:00")
    ]
    first, second = Walker(clock, days, "yahoo"), Walker(clock, days, "fmp")
    second.capabilities = first.capabilities
    second.spoil = scaled(2, "2024-06-11T18:00:00Z", "2024-06-11T18:00:00Z")
    above = PriceAlert(1, "42", "AAPL", "15m", clock.now_ms(), FAR_MS, condition="above", value=150)
    job = JobHarness(market.manager(first, second), clock, above)
    job.run()
    first.errors = [EntitlementError("not in your plan", provider="yahoo")] * 99
    for _ in range(12):
        clock.advance(900)
        job.run()
    assert job.sent == []
    clock.advance(900)
    report = job.run()
    assert (report.events, report.failed) == ({"fired": 1}, {})


@pytest.mark.parametrize(
    "refusal",
    [
        AuthenticationError("invalid key", provider="fmp"),
        CircuitOpenError(
            "fmp is paused for bars: it failed once, last with AuthenticationError: invalid key; "
            "next request possible in 1 h",
            provider="fmp",
        ),
    ],
)
def test_alerts_do_not_wait_for_bars_that_no_vendor_can_serve(
    market: Market, clock: ManualClock, refusal: DataError
) -> None:
    clock.set(parse_iso("2024-06-11T15:00:30"))
    stamps = [
        stamp
        for day in every("1d", "2024-06-10T00:00:00Z", "2024-08-12T00:00:00Z")
        if date_of(day).weekday() < 5
        for stamp in range(day + 27 * HOUR_MS // 2, day + 20 * HOUR_MS, 5 * MINUTE_MS)
    ]
    first, second = Walker(clock, stamps, "yahoo"), Walker(clock, [], "fmp")
    second.capabilities, second.errors = first.capabilities, [refusal] * 99
    first.capabilities = replace(first.capabilities, depth_days={"5m": 59})
    above = PriceAlert(1, "42", "AAPL", "5m", clock.now_ms(), FAR_MS, condition="above", value=150)
    job = JobHarness(market.manager(first, second), clock, above)
    assert job.run().ok
    clock.advance(62 * DAY_MS / 1000)
    first.spoil = scaled(2, "2024-08-12T15:30:00Z", "2024-08-12T15:30:00Z")
    report = job.run()
    assert (report.events, report.ok) == ({"silent": 1, "withheld": 1}, False)
    text = (
        "AAPL 5m: no vendor supplied the bars between 2024-06-11T15:00:00Z and "
        "2024-06-14T15:00:30Z, so they are not used for AAPL 5m close above 150: "
        "yahoo serves 5m bars only 59 days back; fmp"
    )
    assert text in job.text
    clock.advance(3600)
    assert (job.run().events, len(second.asked)) == ({"fired": 1}, 1)


# --- what is wrong with the data -----------------------------------------------------------------


def test_a_gap_and_a_stale_series_are_problems_that_end_or_happened(
    market: Market, clock: ManualClock
) -> None:
    vendor = hours(clock, last="2024-05-02T10:00:00Z")
    vendor.listed_ms = parse_iso(FIRST)
    lost = [stamp for stamp in vendor.stamps if parse_iso("2024-05-02T05:00") <= stamp]
    vendor.stamps = [one for one in vendor.stamps if one not in lost[:2]]
    quiet = coin(1, condition="above", value=1e6)
    job = JobHarness(market.manager(vendor), clock, quiet, problem(2, "gap", since=FIRST),
                problem(3, "stale"))  # fmt: skip
    clock.set(parse_iso("2024-05-02T12:30:00"))
    (bars,) = job.source.read([WantedBars("BTCUSDT", "1h", BarsNeeded(24, clock.now_ms()), True)])
    assert isinstance(bars, ClosedBars)
    (gap,) = bars.problems
    assert gap == "gap:BTCUSDT 1h:2024-05-02T05:00:00Z", "one bar late is usual"
    assert (
        "BTCUSDT 1h has a gap from 2024-05-02T05:00:00Z to 2024-05-02T07:00:00Z"
        in bars.problems[gap]
    )
    clock.set(parse_iso("2024-05-02T16:30:00"))
    (bars,) = job.source.read([WantedBars("BTCUSDT", "1h", BarsNeeded(60, clock.now_ms()), True)])
    assert isinstance(bars, ClosedBars)
    assert [key for key in bars.problems if key.startswith("gap")] == [gap], (
        "none before its listing"
    )
    assert job.run().events == {"data": 2}
    assert "BTCUSDT 1h is stale: 5 bars are missing since 2024-05-02T10:00:00Z" in job.text
    assert job.run().events == {}
    vendor.stamps += every("1h", "2024-05-02T11:00:00Z", "2024-05-02T17:00:00Z")
    clock.set(parse_iso("2024-05-02T17:30:00"))
    job.run()
    job.sent.clear()
    clock.set(parse_iso("2024-05-02T22:30:00"))
    assert job.run().events["data"] == 1 and "is stale" in job.text, "it came back"


def test_a_gap_and_a_grave_bar_of_an_outage_of_the_job_are_reported(
    market: Market, clock: ManualClock
) -> None:
    vendor = hours(clock)
    hole = every("1h", "2024-05-02T16:00:00Z", "2024-05-02T17:00:00Z")
    vendor.stamps = [stamp for stamp in vendor.stamps if stamp not in hole]
    vendor.spoil = scaled(0.01, "2024-05-02T19:00:00Z", "2024-05-02T19:00:00Z")
    job = JobHarness(market.manager(vendor), clock, problem(1, "gap"), problem(2, "grave"))
    assert job.run().events == {}
    clock.set(parse_iso("2024-05-03T10:00:30"))
    assert job.run().events == {"data": 2, "silent": 1}
    assert "a gap from 2024-05-02T16:00:00Z to 2024-05-02T18:00:00Z" in job.text
    assert "the bar 2024-05-02T19:00:00Z is almost certainly wrong: " in job.text
    clock.advance(3600)
    assert job.run().events == {}


def test_a_score_below_the_minimum_is_a_problem(
    market: Market, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("validation: {min_quality_score: 0.95}\n")
    monkeypatch.setenv("ONETAPE_RULES", str(rules))
    vendor = hours(clock)
    vendor.spoil = scaled(0.01, NOON, NOON)
    job = JobHarness(market.manager(vendor), clock, coin(condition="above", value=1e6),
                problem(2, "quality"))  # fmt: skip
    assert job.run().events == {"withheld": 1, "data": 1}
    assert "quality 0.89 is below 0.95: almost certainly wrong: " in job.text
    assert "grave: " not in job.text
    assert job.run().events == {}


@pytest.mark.parametrize("symbol", ["btcusdt", "BTC/USDT", "BINANCE:BTCUSDT"])
@pytest.mark.parametrize(("name", "said"), [("quality", "is below 0.95"), ("stale", "is stale")])
def test_a_data_alert_fires_for_each_spelling_of_its_symbol(
    market: Market, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    symbol: str, name: str, said: str,
) -> None:  # fmt: skip
    rules = tmp_path / "rules.yaml"
    rules.write_text("validation: {min_quality_score: 0.95}\n")
    monkeypatch.setenv("ONETAPE_RULES", str(rules))
    clock.set(parse_iso("2024-05-02T18:00:30"))
    vendor = hours(clock, last="2024-05-02T13:00:00Z")
    vendor.spoil = scaled(0.01, NOON, NOON)
    watching = replace(problem(2, name), symbol=symbol)
    job = JobHarness(market.manager(vendor), clock, watching)
    assert job.run().events == {"data": 1}
    assert f"{symbol} 1h" in job.text and said in job.text
    assert job.run().events == {}


def of_all(id: int, name: Any) -> DataAlert:
    return DataAlert(id, "42", "*", "*", problem=name, since_ms=0, expires_ms=FAR_MS)


@pytest.fixture
def served(rules: Path, tmp_path: Path, clock: ManualClock) -> DataManager:
    """Return a manager on an empty cache; Binance and Yahoo are at the vendor server."""
    return DataManager(tmp_path / "cache", clock=clock)


def test_a_refused_key_is_a_problem(
    served: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    quiet = coin(1, since="2024-06-12T12:00:00", condition="above", value=1e9)
    job = JobHarness(served, clock, quiet, of_all(2, "key"), of_all(3, "shape"))
    vendors.fault("binance", Fault.status(503))
    assert job.run().events == {"withheld": 1}, "it is down"
    vendors.heal()
    vendors.fault("binance", Fault.status(401))
    clock.advance(3600)
    # Another vendor stands in, with prices of another kind.
    assert job.run().events == {"data": 1}
    assert job.source.other_problems() == {}, "each is reported once"
    assert "binance rejected the key for BTCUSDT 1h (AuthenticationError)" in job.text
    assert "shape" not in job.text


def test_a_response_of_a_changed_shape_fires_the_data_alert(
    served: DataManager, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ("number", "number", *["text"] * 4, "number", "text", "number", "text", "text")
    monkeypatch.setattr(BinanceDataDownloader, "shapes", (("api/v3/klines", [row]),))
    quiet = coin(1, since="2024-06-12T12:00:00", condition="above", value=1e9)
    job = JobHarness(served, clock, quiet, of_all(2, "key"), of_all(3, "shape"))
    assert job.run().events == {"data": 1}
    assert job.text == "binance changed the format of its responses (api/v3/klines)"
    for number in range(300):
        job.source.hear(ShapeChanged(at_ms=0, vendor=str(number), endpoint="x", differences=()))
    assert len(job.source.other_problems()) == 256, "many of them take no more memory"
    clock.advance(3600)
    assert job.run().events == {}


def test_history_about_to_be_dropped_by_the_vendor_is_a_problem_until_fetched(
    tmp_path: Path, clock: ManualClock
) -> None:
    services = build(tmp_path / "cache", clock=clock)
    put(services.cache.store, clock.now_ms() - 50 * DAY_MS)

    def perishing() -> Any:
        listing = services.cache.maintenance.listing()
        answering, now_ms = services.client.answering, clock.now_ms()
        return perishable(listing, answering, services.selector, now_ms, services.cache.store)

    source = ClientBars(services.client, perishing)
    ((key, text),) = source.other_problems().items()
    assert key == "perishes:AAPL 5m"
    assert text.startswith("AAPL 5m: yahoo begins to drop the data after 2024-04-2")
    assert "`onetape sync` fetches it" in text
    put(services.cache.store, clock.now_ms() - 2 * DAY_MS)
    assert source.other_problems() == {}


def put(store: BarStore, until_ms: int) -> None:
    """Store an hour of bars of a share, at 14:00 New York of the day."""
    begin = until_ms // DAY_MS * DAY_MS + 18 * HOUR_MS
    span = Span(begin, begin + HOUR_MS)
    table = BarTable.from_bars(
        [Bar(stamp, 1.0, 1.0, 1.0, 1.0, 1.0) for stamp in range(*span, 5 * MINUTE_MS)]
    )
    kind = Kind("regular", "session", "consolidated", "USD", "shares")
    basis = Basis("split", date(2024, 4, 1))
    piece = CommitPiece(table, span, "yahoo", begin + DAY_MS, kind, basis, "final")
    store.commit(SeriesKey("AAPL", Timeframe.parse("5m")), Commit((piece,), kind=kind))


# --- metrics -------------------------------------------------------------------------------------


class Manager:
    """A manager whose counters are all zero."""

    def metrics(self) -> dict[str, Any]:
        from src.data.observability.metrics import Metrics

        return {**Metrics().snapshot(), "cache": {}, "process": {}}


class NoSource:
    def read(self, wanted: Sequence[WantedBars]) -> Sequence[ClosedBars | NoBars]:
        stamps = np.array([parse_iso(NOON) - HOUR_MS, parse_iso(NOON)])
        columns = dict.fromkeys(("open", "high", "low", "close", "volume"), np.array([1.0, 3.0]))
        return [ClosedBars(stamps, stamps + HOUR_MS, columns) for _ in wanted]

    def other_problems(self) -> dict[str, str]:
        return {}


def test_gauges_show_the_state_of_the_alert_job() -> None:
    clock = ManualClock(parse_iso("2024-05-02T13:00:00"))
    records = MemoryRecords([coin(since="2024-05-02T12:00:00", condition="above", value=2)])
    registry = CollectorRegistry()
    MetricsCollector(WithAlertJob(Manager(), records, clock), registry)

    def gauge(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"onetape_alert_job_{name}", labels)

    assert (gauge("alerts"), gauge("ran_seconds"), gauge("late_seconds")) == (1, None, 0)
    later = {"local": lambda _: Outcome("later", "down")}
    AlertJob(records, NoSource(), later, clock, 3600).run()
    clock.advance(5 * 3600)
    assert (gauge("ran_seconds"), gauge("late_seconds")) == (5 * 3600, 2 * 3600)
    assert (gauge("to_deliver", status="pending"), gauge("to_deliver", status="running")) == (1, 0)
    assert gauge("oldest_seconds") == 5 * 3600
