"""Tests that vendors that no longer know a symbol of which they had bars count as down for a day."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    DataError,
    IncompleteDataError,
    NoDataError,
    SymbolNotFoundError,
    UnknownSymbolError,
)
from tests.vendor_server import Fault, VendorServer

from .fixed_vendor import FixedVendor, Market, every
from .scripted_vendor import ScriptedVendor, gaps, provenance, route_to

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

DAY_S = 24 * 3600
STORED = ("BTCUSDT", "1d", "2024-03-01", "2024-04-10")
LATER = ("BTCUSDT", "1d", "2024-03-01", "2024-06-12")
GONE = "no longer knows 'BTCUSDT'"


class Exchange:
    """A vendor with daily bars from March on, whose answers fail as a test wants."""

    def __init__(
        self, folder: Path, clock: ManualClock, patch: pytest.MonkeyPatch, now: str = "2024-06-14"
    ) -> None:
        clock.set(parse_iso(f"{now}T00:30:00"))
        self.clock, self.market = clock, Market(folder, clock, patch)
        self.vendor = FixedVendor(clock, every("1d", "2024-03-01", "2024-08-01"), "binance")

    def manager(self) -> DataManager:
        """Return a manager of a new process."""
        return self.market.manager(self.vendor)

    def fail(self, error: type[DataError]) -> None:
        """Let the vendor answer only with an error."""
        self.vendor.errors = [error("HTTP 404", provider="binance") for _ in range(99)]

    def heal(self) -> None:
        """Let the vendor answer with bars again."""
        self.vendor.errors = []

    @property
    def requests(self) -> int:
        """The number of queries so far."""
        return len(self.vendor.asked)


@pytest.fixture
def exchange(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Exchange]:
    """Return a maker of a vendor whose bars up to 10 April are stored."""

    def make(**more: str) -> Exchange:
        made = Exchange(tmp_path, clock, monkeypatch, **more)
        assert len(made.manager().get_ohlcv(*STORED, strict=True)) == 41
        return made

    return make


def assert_outage(manager: DataManager, *asked: str) -> pd.DataFrame:
    """Assert that an answer says that the vendor is taken to be down; return the answer."""
    frame = manager.get_ohlcv(*asked)
    facts = provenance(frame)
    (gap,) = gaps(frame)
    assert GONE in gap[2]
    assert "counts as an outage" in gap[2]
    assert (facts["complete"], facts.get("ended")) == (False, None)
    assert GONE in facts["unanswered"]
    with pytest.raises(IncompleteDataError, match=GONE):
        manager.get_ohlcv(*asked, strict=True)
    return frame


def test_a_first_report_is_an_outage_and_a_second_one_a_day_later_is_accepted(
    exchange: Callable[..., Exchange],
) -> None:
    there = exchange()
    there.fail(SymbolNotFoundError)
    for hours in (0, 1, 22):
        there.clock.advance(hours * 3600)
        assert len(assert_outage(there.manager(), *LATER)) == 41
        with pytest.raises(AllProvidersFailedError, match=GONE) as caught:
            there.manager().get_ohlcv("BTCUSDT", "1d", "2024-05-01", "2024-06-12")
        assert (caught.value.reason, isinstance(caught.value, UnknownSymbolError)) == (
            "outage",
            False,
        )
    there.clock.advance(3600)
    (gap,) = gaps(there.manager().get_ohlcv(*LATER))
    assert gap[2] == "the vendor has no bar"
    for days in (0, 1, 40):  # its last bar is older than any halt
        there.clock.advance(days * DAY_S)
        frame = there.manager().get_ohlcv(*LATER[:3])
        assert provenance(frame)["complete"]
        assert provenance(frame)["ended"] == "2024-04-11T00:00:00Z"


def test_bars_that_ended_lately_are_unknown_once_it_is_accepted(
    exchange: Callable[..., Exchange],
) -> None:
    there = exchange(now="2024-04-20")
    there.fail(SymbolNotFoundError)
    assert_outage(there.manager(), "BTCUSDT", "1d", "2024-03-01", "2024-04-18")
    there.clock.advance(DAY_S)
    asked = ("BTCUSDT", "1d", "2024-04-12", "2024-04-18")
    with pytest.raises(UnknownSymbolError):
        there.manager().get_ohlcv(*asked)
    with pytest.raises(UnknownSymbolError):
        there.manager().get_ohlcv(*asked)


@pytest.mark.parametrize("days", [0.1, 0.9, 1.5, 40])
def test_bars_that_come_back_are_fetched(exchange: Callable[..., Exchange], days: float) -> None:
    there = exchange()
    there.fail(SymbolNotFoundError)
    assert_outage(there.manager(), *LATER)
    there.clock.advance(days * DAY_S)
    there.heal()
    assert len(there.manager().get_ohlcv(*LATER, strict=True)) == 104
    there.clock.advance(DAY_S)
    there.fail(SymbolNotFoundError)
    later = ("BTCUSDT", "1d", "2024-03-01", "2024-06-13")
    assert_outage(there.manager(), *later)
    (document,) = there.market.folder.rglob("series.json")
    assert set(json.loads(document.read_bytes())["unknown"]) == {
        "at", "source", "learned_at", "expires",
    }  # fmt: skip


def test_an_answer_without_bars_in_between_starts_the_count_again(
    exchange: Callable[..., Exchange],
) -> None:
    there = exchange()
    there.fail(SymbolNotFoundError)
    assert_outage(there.manager(), *LATER)
    there.clock.advance(3600)
    there.fail(NoDataError)
    with pytest.raises(IncompleteDataError):
        there.manager().get_ohlcv("BTCUSDT", "1d", "2024-05-01", "2024-05-03", strict=True)
    there.clock.advance(2 * DAY_S)
    there.fail(SymbolNotFoundError)
    with pytest.raises(AllProvidersFailedError, match=GONE):
        there.manager().get_ohlcv("BTCUSDT", "1d", "2024-06-01", "2024-06-12")


def test_it_is_asked_again_after_as_long_as_it_has_lasted_and_at_most_5_minutes(
    exchange: Callable[..., Exchange],
) -> None:
    there = exchange()
    there.fail(SymbolNotFoundError)
    asked = [0]
    for seconds in (0, 0, 10, 5, 5, 15, 5, 200, 100, 100, 100, 100, 100, 199, 102):
        there.clock.advance(seconds)
        before = there.requests
        with pytest.raises(DataError, match=GONE):
            there.manager().get_ohlcv("BTCUSDT", "1d", "2024-06-01", "2024-06-12")
        asked.append(there.requests - before)
    assert asked[1:] == [1, 1, 1, 0, 1, 0, 1, 1, 0, 0, 1, 0, 0, 1, 0]


def test_a_refresh_asks_at_once(exchange: Callable[..., Exchange]) -> None:
    there = exchange()
    there.fail(SymbolNotFoundError)
    for seconds in (0, 60):
        there.clock.advance(seconds)
        assert_outage(there.manager(), *LATER)
    there.heal()
    assert_outage(there.manager(), *LATER)
    assert len(there.manager().get_ohlcv(*LATER, refresh=True, strict=True)) == 104


def test_days_of_the_outage_are_none_of_the_45_that_prove_an_end(
    exchange: Callable[..., Exchange],
) -> None:
    there = exchange(now="2024-05-20")
    there.fail(SymbolNotFoundError)
    asked = ("BTCUSDT", "1d", "2024-03-01")
    assert_outage(there.manager(), *asked)
    for days, is_over in ((10, False), (4, False), (2, True)):
        there.clock.advance(days * DAY_S)
        facts = provenance(there.manager().get_ohlcv(*asked))
        assert (facts["complete"], "ended" in facts) == (is_over, is_over), days


def test_reports_from_a_clock_that_was_ahead_do_not_count(
    exchange: Callable[..., Exchange],
) -> None:
    there = exchange()
    there.clock.advance(300 * DAY_S)
    there.fail(SymbolNotFoundError)
    asked = ("BTCUSDT", "1d", "2024-05-01", "2024-06-12")
    for days in (0, -300):
        there.clock.advance(days * DAY_S)
        before = there.requests
        with pytest.raises(AllProvidersFailedError, match=GONE):
            there.manager().get_ohlcv(*asked)
        assert there.requests > before
    there.clock.advance(DAY_S)
    (gap,) = gaps(there.manager().get_ohlcv(*LATER))
    assert gap[2] == "the vendor has no bar"


@pytest.mark.parametrize("other_knows", [True, False])
def test_a_vendor_beside_it_answers_or_never_had_the_symbol(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch, other_knows: bool
) -> None:
    one, two = ScriptedVendor(vendors), ScriptedVendor(vendors)
    two.name = "second"
    route_to(monkeypatch, manager, twin=one, second=two)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-03-05", "2024-03-05", strict=True)
    one.errors = [SymbolNotFoundError("HTTP 404")]
    asked = ("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    if other_knows:
        assert len(manager.get_ohlcv(*asked, strict=True)) == 24
    else:
        two.errors = [SymbolNotFoundError("HTTP 404")]
        with pytest.raises(
            AllProvidersFailedError, match=f"twin {GONE}.*; second: HTTP 404"
        ) as caught:
            manager.get_ohlcv(*asked)
        assert caught.value.reason == "outage"


def test_two_vendors_that_no_longer_know_it_count_from_the_second_on(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = ScriptedVendor(vendors), ScriptedVendor(vendors)
    two.name = "second"
    route_to(monkeypatch, manager, twin=one, second=two)
    asked = ("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    manager.get_ohlcv("BTCUSDT", "1h", "2024-03-05", "2024-03-05", strict=True)
    one.errors = [SymbolNotFoundError("HTTP 404")]
    manager.get_ohlcv("BTCUSDT", "1h", "2024-03-06", "2024-03-06", strict=True)
    for hours, is_outage in ((20, True), (5, True), (20, False)):
        clock.advance(hours * 3600)
        one.errors, two.errors = ([SymbolNotFoundError("HTTP 404")] for _ in range(2))
        if is_outage:
            with pytest.raises(AllProvidersFailedError, match=f"twin {GONE}.*; second {GONE}"):
                manager.get_ohlcv(*asked)
        else:
            assert gaps(manager.get_ohlcv(*asked))[0][2] == "the vendor has no bar"


def test_a_symbol_that_vendors_never_had_is_unknown_at_once(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Exchange(tmp_path, clock, monkeypatch)
    there.fail(SymbolNotFoundError)
    with pytest.raises(UnknownSymbolError):
        there.manager().get_ohlcv(*LATER)
    assert list(tmp_path.rglob("series.json")) == []


def test_processes_do_not_remember_a_known_symbol_as_unknown(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    days = ("BTCUSDT", "1h", "2024-06-03", "2024-06-04")
    later = ("BTCUSDT", "1h", "2024-06-03", "2024-06-06")
    make().get_ohlcv(*days, provider="binance", strict=True)
    vendors.fault("binance", Fault.unknown_symbol())
    for _ in range(2):
        frame = make().get_ohlcv(*later, provider="binance")
        assert "no longer knows" in gaps(frame)[0][2]
    vendors.heal()
    clock.advance(60)
    assert len(make().get_ohlcv(*later, provider="binance", strict=True)) == 96


def test_a_report_about_bars_that_a_vendor_never_had_is_no_answer_about_those_that_it_had(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    make().get_ohlcv("BTCUSDT", "1h", "2024-06-03", "2024-06-04", provider="binance", strict=True)
    vendors.fault("binance", Fault.unknown_symbol())
    with pytest.raises(UnknownSymbolError):
        make().get_ohlcv("BTCUSDT", "1w", "2024-01-01", "2024-02-01", provider="binance")
    vendors.heal()
    later = ("BTCUSDT", "1h", "2024-06-03", "2024-06-06")
    assert len(make().get_ohlcv(*later, provider="binance", strict=True)) == 96


@pytest.mark.parametrize("hours", ["4h", "1h"])
def test_a_report_about_longer_bars_is_no_answer_about_those_from_which_they_are_built(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, hours: str
) -> None:
    """The vendor had bars of an hour until a moved path; bars of four hours were never requested."""
    clock.set(parse_iso("2024-05-20T12:30:00"))
    market = Market(tmp_path, clock, monkeypatch)
    vendor = FixedVendor(clock, every("1h", "2024-03-01", "2024-08-01"), "binance")
    market.manager(vendor).get_ohlcv("BTCUSDT", "1h", "2024-03-01", "2024-03-05T11:00", strict=True)
    vendor.errors = [SymbolNotFoundError("HTTP 404", provider="binance") for _ in range(99)]
    asked = ("BTCUSDT", hours, "2024-03-04T00:00")
    frame = market.manager(vendor).get_ohlcv(*asked)
    facts = provenance(frame)
    assert (facts["complete"], facts.get("ended")) == (False, None)
    assert "counts as an outage" in facts["unanswered"]
    assert all(GONE in gap[2] for gap in gaps(frame))
    clock.advance(DAY_S)
    facts = provenance(market.manager(vendor).get_ohlcv(*asked))
    assert (facts["complete"], facts["ended"]) == (True, "2024-03-05T12:00:00Z")
    vendor.errors = []
    clock.advance(10 * DAY_S)
    frame = market.manager(vendor).get_ohlcv(*asked, strict=True)
    assert provenance(frame).get("ended") is None


def test_bars_up_to_the_real_end_are_fetched_once_the_vendor_knows_the_symbol_again(
    exchange: Callable[..., Exchange],
) -> None:
    """The end is checked with the latest days only, in which there really are no bars."""
    there = exchange(now="2024-08-20")
    there.fail(SymbolNotFoundError)
    asked = ("BTCUSDT", "1d", "2024-03-01")
    assert_outage(there.manager(), *asked)
    there.clock.advance(DAY_S)
    assert provenance(there.manager().get_ohlcv(*asked))["ended"] == "2024-04-11T00:00:00Z"
    there.heal()
    there.clock.advance(60 * DAY_S)
    frame = there.manager().get_ohlcv(*asked, strict=True)
    assert (len(frame), provenance(frame)["ended"]) == (154, "2024-08-02T00:00:00Z")


def test_a_plan_counts_no_request_while_the_vendor_is_left_alone(
    exchange: Callable[..., Exchange],
) -> None:
    there = exchange()
    there.fail(SymbolNotFoundError)
    asked = []
    for seconds in (0, 10, 5, 5, 300, 100, DAY_S, 100):
        there.clock.advance(seconds)
        plan, before = there.manager().plan(*LATER), there.requests
        there.manager().get_ohlcv(*LATER)
        asked.append(there.requests - before)
        assert plan.requests == asked[-1], seconds
    assert asked == [1, 1, 0, 1, 1, 0, 1, 0]
