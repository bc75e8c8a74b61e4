"""Tests that during a vendor's outage the answer is the same, whatever part of it is cached.

Each answer also lists the vendors that were not queried for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.vendors.yahoo.bars import YahooDataDownloader
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    AuthenticationError,
    CircuitOpenError,
    DataError,
    EntitlementError,
    IncompleteDataError,
    ProviderTimeoutError,
    RateLimitedError,
    RegionError,
    UnavailableError,
)
from src.data.jobs.fill.populate import populate_cache
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true
from .scripted_vendor import ScriptedVendor, gaps, provenance, route_to
from .share_vendors import Script, ShareVendor, Truth, stamp_span

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

DAYS = ("BTCUSDT", "1d", "2024-05-01", "2024-05-05")
# What of the five days the venue had supplied before it went down.
HELD = {
    "none": [],
    "head": [("2024-05-01", "2024-05-03")],
    "middle": [("2024-05-03", "2024-05-03")],
    "tail": [("2024-05-04", "2024-05-05")],
    "both ends": [("2024-05-01", "2024-05-01"), ("2024-05-05", "2024-05-05")],
}
# What may differ: when it was asked, what was sent for it, and what else was learned.
OWN = {"asked_at", "attempts", "from_cache", "generation", "quality", "spans", "unanswered"}
SUBSTITUTE = "only in whole, as a substitute: aggregate instead of binance"


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Assert that two answers are equal in bars, kind, vendors, marks, gaps and vendors not queried."""
    pd.testing.assert_frame_equal(one, other)
    facts = [{k: v for k, v in provenance(f).items() if k not in OWN} for f in (one, other)]
    assert facts[0] == facts[1]
    assert bool(provenance(one)["unanswered"]) == bool(provenance(other)["unanswered"])


def supplied(manager: DataManager, held: Sequence[tuple[str, str]], *series: str) -> None:
    for first, last in held:
        manager.get_ohlcv(*(series or DAYS[:2]), first, last, strict=True)


# --- coins: a venue, and averages in its place -------------------------------------------------


@pytest.mark.parametrize(
    ("held", "fault"),
    [
        ("none", Fault.status(503)), ("head", Fault.status(503)), ("head", Fault.ban()),
        ("middle", Fault.lie("html")), ("tail", Fault.reset()), ("both ends", Fault.status(401)),
        ("head", Fault.status(451)), ("middle", Fault.status(451)),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)  # fmt: skip
def test_an_answer_for_a_coin_during_an_outage_does_not_depend_on_cached_bars(
    make: Callable[[], DataManager], rules: Path, tmp_path: Path, vendors: VendorServer,
    clock: ManualClock, held: str, fault: Fault,
) -> None:  # fmt: skip
    supplied(make(), HELD[held])
    vendors.fault("binance", fault)
    empty = DataManager(tmp_path / "empty", rules, clock=clock).get_ohlcv(*DAYS)
    assert (len(empty), provenance(empty)["vendors"], gaps(empty)) == (5, ["yahoo"], [])
    assert provenance(empty)["substitute"] == "yahoo (BTCUSDT 1d@aggregate)"
    assert provenance(empty)["complete"] is False
    for manager in (make(), make()):
        frame = manager.get_ohlcv(*DAYS)
        same(frame, empty)
        assert {a["provider"] for a in provenance(frame)["attempts"]} >= {"binance"}
    vendors.heal()
    clock.advance(3 * 3600)
    frame = make().get_ohlcv(*DAYS, strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1d", "2024-05-01", "2024-05-06")
    assert provenance(frame)["vendors"] == ["binance"]


def test_fully_cached_bars_are_returned_during_an_outage(
    manager: DataManager, vendors: VendorServer
) -> None:
    whole = manager.get_ohlcv(*DAYS)
    vendors.fault("binance", Fault.status(503))
    vendors.clear_log()
    for refresh in (False, True):
        frame = manager.get_ohlcv(*DAYS, refresh)
        pd.testing.assert_frame_equal(frame, whole)
        assert provenance(frame)["vendors"] == ["binance"]
    assert vendors.count("yahoo") == 0


@pytest.mark.parametrize(
    "question",
    [
        {"timeframe": "1d", "bars": 5, "end_date": "2024-05-05"},
        {"timeframe": "3d", "start_date": "2024-04-29", "end_date": "2024-05-05"},
        {"timeframe": "90m", "start_date": "2024-05-01", "end_date": "2024-05-05"},
        {"timeframe": "1d", "start_date": "2024-05-01", "end_date": "2024-05-05",
         "force_refresh": True},
    ],
    ids=["a count", "a vendor's longer bars", "made of shorter ones", "a refresh"],
)  # fmt: skip
def test_counted_derived_and_refreshed_requests_also_have_one_answer_during_an_outage(
    make: Callable[[], DataManager], rules: Path, tmp_path: Path, vendors: VendorServer,
    clock: ManualClock, question: dict[str, Any],
) -> None:  # fmt: skip
    made_of = {"90m": "30m"}.get(question["timeframe"], question["timeframe"])
    make().get_ohlcv("BTCUSDT", made_of, "2024-04-29", "2024-05-03")
    vendors.fault("binance", Fault.status(503))
    empty = DataManager(tmp_path / "empty", rules, clock=clock).get_ohlcv("BTCUSDT", **question)
    assert provenance(empty)["vendors"] == ["yahoo"]
    assert gaps(empty) == []
    frame = make().get_ohlcv("BTCUSDT", **question)
    same(frame, empty)
    if question["timeframe"] == "3d":
        assert "earlier in this call: HTTP 503" in provenance(frame)["rejected"]["binance"]


def test_an_incomplete_substitute_does_not_replace_cached_bars(
    manager: DataManager, vendors: VendorServer
) -> None:
    supplied(manager, HELD["head"])
    vendors.fault("binance", Fault.status(503))
    vendors.fault("yahoo", Fault.drop(1))
    frame = manager.get_ohlcv(*DAYS)
    assert (provenance(frame)["vendors"], len(frame)) == (["binance"], 3)
    assert [gap[:2] for gap in gaps(frame)] == [("2024-05-04T00:00:00", "2024-05-06T00:00:00")]
    assert {"binance", "yahoo"} <= {a["provider"] for a in provenance(frame)["attempts"]}


def test_a_strict_call_that_refuses_substitutes_gets_the_cached_bars_with_its_error(
    manager: DataManager, vendors: VendorServer
) -> None:
    supplied(manager, HELD["head"])
    supplied(manager, HELD["head"], "BTCUSDT", "30m")
    vendors.fault("binance", Fault.status(503))
    vendors.clear_log()
    with pytest.raises(IncompleteDataError, match="binance: HTTP 503") as caught:
        manager.get_ohlcv(*DAYS, strict=True)
    assert caught.value.frame is not None
    assert len(caught.value.frame) == 3
    with pytest.raises(IncompleteDataError, match="30m bars: binance") as caught:
        manager.get_ohlcv("BTCUSDT", "90m", *DAYS[2:], strict=True)
    assert caught.value.frame is not None
    assert len(caught.value.frame) == 3 * 16
    for wishes in ({"offline": True}, {"provider": "binance"}):
        frame = manager.get_ohlcv(*DAYS, **wishes)
        assert (provenance(frame)["vendors"], len(frame)) == (["binance"], 3)
    assert vendors.count("yahoo") == 0


@pytest.mark.parametrize(
    ("error", "vendor"),
    [
        (UnavailableError("gone"), "yahoo"),
        (ProviderTimeoutError("late"), "yahoo"),
        (RateLimitedError("our own limit is used up"), "yahoo"),
        (CircuitOpenError("left alone"), "yahoo"),
        (AuthenticationError("the key is revoked"), "yahoo"),
        (RegionError("not in this country"), "yahoo"),
        (EntitlementError("the plan does not include it"), "twin"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, DataError) else str(value),
)
def test_a_substitute_is_used_only_during_an_outage(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch,
    error: DataError, vendor: str,
) -> None:  # fmt: skip
    one, other = ScriptedVendor(vendors), ScriptedVendor(vendors, YahooDataDownloader)
    route_to(monkeypatch, manager, twin=one, yahoo=other)
    supplied(manager, HELD["head"])
    one.errors = [error]
    assert provenance(manager.get_ohlcv(*DAYS))["vendors"] == [vendor]
    frame = manager.get_ohlcv(*DAYS, strict=True)
    assert provenance(frame)["vendors"] == ["twin"], "the venue is back"


@pytest.mark.parametrize("is_first_down", [True, False])
def test_a_vendor_whose_plan_lacks_the_bars_does_not_end_an_outage_of_the_others(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch,
    is_first_down: bool,
) -> None:  # fmt: skip
    one, two = ScriptedVendor(vendors), ScriptedVendor(vendors)
    two.name = "second"
    other = ScriptedVendor(vendors, YahooDataDownloader)
    route_to(monkeypatch, manager, twin=one, second=two, yahoo=other)
    supplied(manager, HELD["head"])
    down, refusing = (one, two) if is_first_down else (two, one)
    down.errors = [UnavailableError("down")]
    refusing.errors = [EntitlementError("not in the plan")]
    frame = manager.get_ohlcv(*DAYS)
    assert (provenance(frame)["vendors"], len(frame)) == (["yahoo"], 5), "as with an empty cache"


def test_a_bar_missing_at_an_available_venue_is_not_an_outage(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, other = (
        ScriptedVendor(vendors),
        ScriptedVendor(vendors),
        ScriptedVendor(vendors, YahooDataDownloader),
    )
    two.name = "second"
    route_to(monkeypatch, manager, twin=one, second=two, yahoo=other)
    one.spoil = lambda rows: rows[:2] + rows[3:]
    two.errors = [UnavailableError("down")]
    frame = manager.get_ohlcv(*DAYS)
    assert (provenance(frame)["vendors"], len(frame)) == (["twin"], 4)
    assert other.asked == []
    one.spoil = lambda rows: rows
    one.errors = [UnavailableError("down")]
    two.spoil = lambda rows: rows
    frame = manager.get_ohlcv(*DAYS, force_refresh=True)
    assert "second" in provenance(frame)["vendors"], (
        "another vendor of the kind is used before a substitute"
    )
    assert (len(frame), other.asked) == (5, [])


def test_an_empty_answer_of_a_second_vendor_of_the_same_kind_is_not_an_outage(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, other = (
        ScriptedVendor(vendors),
        ScriptedVendor(vendors),
        ScriptedVendor(vendors, YahooDataDownloader),
    )
    two.name = "second"
    route_to(monkeypatch, manager, twin=one, second=two, yahoo=other)
    supplied(manager, HELD["head"])
    one.errors = [UnavailableError("down")]
    two.spoil = lambda rows: []
    frame = manager.get_ohlcv(*DAYS)
    assert (provenance(frame)["vendors"], len(frame), other.asked) == (["twin"], 3, [])
    assert provenance(frame)["unanswered"] == "twin: down"


def test_a_plan_names_the_cached_bars_if_no_substitute_covers_the_range(
    manager: DataManager, vendors: VendorServer
) -> None:
    """Yahoo's hours go back 730 days, which is into the middle of the range."""
    manager.get_ohlcv("BTCUSDT", "1h", "2022-06-01", "2022-06-15")
    vendors.fault("binance", Fault.status(401))
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-01")  # opens its circuit
    vendors.clear_log()
    question = ("BTCUSDT", "1h", "2022-06-01", "2022-06-20")
    plan = manager.plan(*question)
    frame = manager.get_ohlcv(*question)
    assert (provenance(frame)["vendors"], len(frame)) == (["binance"], 15 * 24)
    assert plan.requests == vendors.count() == 1
    assert [part.bars for part in plan.held] == [15 * 24]
    assert not plan.is_possible
    assert [[offer.vendor for offer in part.offers] for part in plan.segments] == [["binance"]]


def test_a_plan_names_the_substitute_during_an_outage(
    manager: DataManager, vendors: VendorServer
) -> None:
    supplied(manager, HELD["head"])
    vendors.fault("binance", Fault.status(401))
    first = manager.get_ohlcv(*DAYS)
    assert provenance(first)["vendors"] == ["yahoo"]
    plan = manager.plan("BTCUSDT", "1d", "2024-04-30", "2024-05-05")
    vendors.clear_log()
    frame = manager.get_ohlcv("BTCUSDT", "1d", "2024-04-30", "2024-05-05")
    assert provenance(frame)["vendors"] == ["yahoo"]
    assert plan.requests == vendors.count() == 1
    assert [(s.vendor, s.requests) for s in plan.steps] == [("binance", 0), ("yahoo", 1)]
    assert [part.bars for part in plan.held] == [5]
    assert plan.is_possible
    assert plan.substitutes == {"yahoo": "aggregate instead of binance"}
    explained = manager.explain("BTCUSDT", "1d")
    assert [(way.vendor, bool(way.substitute)) for way in explained.ways] == [
        ("binance", False), ("yahoo", True),
    ]  # fmt: skip


def test_a_plan_counts_the_request_for_what_is_not_stored_of_a_substitute(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    """The venue has reported that it has no bars, and the substitute was down for two of the days."""
    vendors.fault("binance", Fault.empty())
    assert len(make().get_ohlcv(*DAYS[:3], "2024-05-03")) == 3
    vendors.fault("yahoo", Fault.status(401))
    assert make().get_ohlcv(*DAYS).empty
    for _ in range(2):
        plan = make().plan(*DAYS)
        vendors.clear_log()
        assert make().get_ohlcv(*DAYS).empty
        assert plan.requests == vendors.count() == 0, "its circuit is open"
    vendors.heal()
    clock.advance(2 * 3600)
    for requests in (1, 0):
        plan = make().plan(*DAYS)
        vendors.clear_log()
        frame = make().get_ohlcv(*DAYS)
        assert (len(frame), provenance(frame)["vendors"]) == (5, ["yahoo"])
        assert plan.requests == vendors.count() == requests
        assert [step.vendor for step in plan.steps] == ["yahoo"] * requests


@pytest.mark.parametrize("cached", [False, True])
def test_populate_cache_reports_a_substitute_as_a_failure(
    rules: Path, tmp_path: Path, vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch, *, cached: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: clock)
    series = (["BTCUSDT"], ["1d"], "2024-05-01")
    if cached:
        assert populate_cache(*series, "2024-05-03", tmp_path / "cache", config_path=rules)[
            "success"
        ]
    vendors.fault("binance", Fault.status(503))
    done = populate_cache(*series, "2024-05-05", tmp_path / "cache", config_path=rules)
    (result,) = done["results"]
    assert done["failed"] == ["BTCUSDT_1d"]
    assert "503" in result["error"]
    assert "substitute" in result["lacking"]
    assert (result["rows"], result["vendors"], result["complete"]) == (5, ["yahoo"], False)
    vendors.heal()
    done = populate_cache(*series, "2024-05-05", tmp_path / "cache", config_path=rules)
    assert (done["success"], done["results"][0]["vendors"]) == (["BTCUSDT_1d"], ["binance"])


# --- shares: two vendors of one kind, one of another -------------------------------------------

FIRST, LAST = date(2024, 5, 6), date(2024, 5, 10)
WEEK = {
    "head": [(FIRST, date(2024, 5, 8))],
    "middle": [(date(2024, 5, 8), date(2024, 5, 8))],
    "tail": [(date(2024, 5, 9), LAST)],
}


@pytest.mark.parametrize(
    ("held", "down"), [("head", "s"), ("head", "st"), ("middle", "st"), ("tail", "st")]
)
def test_an_answer_for_a_share_during_an_outage_does_not_depend_on_cached_bars(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, held: str, down: str
) -> None:
    """Two return split-adjusted prices and one raw prices, and none reports the splits."""
    truth = Truth()
    truth.actions = []
    share = {
        "s": ShareVendor("s", "split", truth, clock),
        "t": ShareVendor("t", "split", truth, clock),
        "r": ShareVendor("r", "raw", truth, clock),
    }

    def asked(folder: str, first: date = FIRST, last: date = LAST) -> pd.DataFrame:
        manager = DataManager(tmp_path / folder, clock=clock)
        route_to(monkeypatch, manager, **share)
        return manager.get_ohlcv("AAPL", "1d", first, last)

    for first, last in WEEK[held]:
        assert provenance(asked("cache", first, last))["vendors"] == ["s"]
    for name in down:
        share[name].script = Script(down=[stamp_span(FIRST, LAST)])
    empty, frame = asked("empty"), asked("cache")
    pd.testing.assert_frame_equal(frame, empty)
    if down == "s":
        assert set(provenance(frame)["vendors"]) <= {"s", "t"}
        assert provenance(frame)["complete"]
        assert share["r"].asked == []
        return
    same(frame, empty)
    assert (provenance(frame)["vendors"], provenance(frame)["substitute"]) == (
        ["r"],
        "r (AAPL 1d@raw)",
    )
    for name in down:
        share[name].script = Script()
    frame = asked("cache")
    assert (provenance(frame)["vendors"], provenance(frame)["complete"]) == (["s"], True)


# --- who was not asked -------------------------------------------------------------------------


def test_each_vendor_of_a_coin_is_queried_or_listed_with_the_reason(
    manager: DataManager, vendors: VendorServer
) -> None:
    missed = manager.get_ohlcv(*DAYS[:3], "2024-05-03")
    in_part = manager.get_ohlcv(*DAYS[:3], "2024-05-04")
    assert (
        provenance(missed)["rejected"] == provenance(in_part)["rejected"] == {"yahoo": SUBSTITUTE}
    )
    hit = manager.get_ohlcv(*DAYS[:3], "2024-05-04")
    assert (provenance(hit)["attempts"], provenance(hit)["rejected"]) == ([], {}), (
        "there was nothing to request"
    )
    offline = manager.get_ohlcv(*DAYS, offline=True)
    assert set(provenance(offline)["rejected"].values()) == {"offline=True allows no request"}
    assert list(provenance(offline)["rejected"]) == ["binance", "yahoo"]
    vendors.fault("binance", Fault.status(503))
    instead = manager.get_ohlcv(*DAYS)
    assert (provenance(instead)["vendors"], provenance(instead)["rejected"]) == (["yahoo"], {})
    with pytest.raises(IncompleteDataError) as caught:
        manager.get_ohlcv(*DAYS, strict=True)
    assert caught.value.frame is not None
    assert provenance(caught.value.frame)["rejected"] == {"yahoo": SUBSTITUTE}
    vendors.fault("yahoo", Fault.status(503))
    lacking = manager.get_ohlcv(*DAYS[:3], "2024-05-08")
    assert (provenance(lacking)["vendors"], provenance(lacking)["rejected"]) == (["binance"], {})
    asked = [attempt["provider"] for attempt in provenance(lacking)["attempts"]]
    assert asked == ["binance", "yahoo"]


def test_each_vendor_of_a_share_is_queried_or_listed_with_the_reason(
    make: Callable[[], DataManager], vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIINGO_API_KEY", "a-key-that-is-never-sent")
    manager = make()
    for symbol, why in (
        ("AAPL", "not needed"),
        ("VOD.L", "tiingo serves US stocks, not VOD.L"),
    ):
        plan = manager.plan(symbol, "1d", "2024-05-06", "2024-05-10")
        rejected = dict(
            provenance(manager.get_ohlcv(symbol, "1d", "2024-05-06", "2024-05-10"))["rejected"]
        )
        assert rejected.pop("tiingo") == why
        assert rejected == {name: plan.rejected[name] for name in ("alpaca", "fmp")}
        assert rejected["fmp"] == "no key: set FMP_API_KEY"
    pinned = manager.get_ohlcv("AAPL", "1d", "2024-05-06", "2024-05-13", provider="yahoo")
    assert provenance(pinned)["rejected"] == {}, "the rules do not matter"


def test_an_answer_only_from_the_cache_lists_why_no_vendor_was_queried(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    supplied(manager, HELD["head"])
    selector = manager.provider_selector
    monkeypatch.setattr(selector, "get_provider_with_failover", lambda *_: [])
    frame = manager.get_ohlcv(*DAYS)
    assert (len(frame), provenance(frame)["attempts"]) == (3, [])
    off = "the rules disable failover"
    assert provenance(frame)["rejected"] == {"binance": off, "yahoo": off}
    frame = manager.get_ohlcv(*DAYS[:3])
    closed = [("2024-05-04T00:00:00", "2024-06-12T00:00:00")]
    assert [gap[:2] for gap in gaps(frame)] == closed, "today's bar is not missing yet"


@pytest.mark.parametrize(
    ("status", "pause_s", "tries"),
    [(401, 3600, 1), (503, 30, 5), (503, 0, 5)],
    ids=["a key, after the pause", "an outage, after the pause", "an outage, during the pause"],
)
def test_a_batch_after_a_pause_fetches_every_symbol_as_a_job_does(
    status: int, pause_s: int, tries: int, rules: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    names = [f"Q{letter}" for letter in "ABCDEFGHIJKL"]
    for name in names:
        vendors.truth.add(replace(vendors.truth.listing("AAPL"), symbol=name, actions=()))
    manager = DataManager(rules.parent / "cache", rules, clock=clock)
    asked: dict[str, Any] = {"start_date": "2024-05-01", "end_date": "2024-05-31"}

    def batch() -> dict[str, pd.DataFrame]:
        return manager.get_ohlcv_batch(names, "1d", provider="yahoo", **asked)

    vendors.fault("yahoo", Fault.status(status))
    for _ in range(tries):
        with pytest.raises(AllProvidersFailedError):
            manager.get_ohlcv("AAPL", "1d", provider="yahoo", **asked)
    for again in range(2):
        clock.advance(pause_s * 2**again)
        vendors.clear_log()
        assert all(frame.empty for frame in batch().values())
        assert 1 <= vendors.count("yahoo") <= 10 * 3, "those at once, with retries"
    vendors.heal()
    clock.advance(pause_s * 4)
    assert {name: len(frame) for name, frame in batch().items()} == dict.fromkeys(names, 22)
