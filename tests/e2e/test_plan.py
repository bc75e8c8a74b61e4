"""Plans: a request sends exactly the planned requests for the same ranges."""

from __future__ import annotations

import json
import random
import threading
import tracemalloc
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from src.data.core.bars.request import Wishes
from src.data.core.clock import ManualClock
from src.data.core.model.request.plan import Plan
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, iso
from src.data.core.vendors.factory import downloader_for
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, BadSymbolError, QueryError, UnavailableError
from src.data.research.sources.frame_store import FrameStore
from tests.core.cache.counts import FULL
from tests.effort import calls_of
from tests.vendor_server import Fault, VendorServer

from .fresh import Fresh
from .oracle import ms
from .scripted_vendor import ScriptedVendor, provenance, route_to

SHARE = ("AAPL", "1d", "2024-03-01", "2024-05-31")
COIN = ("BTCUSDT", "1h", "2024-06-01", "2024-06-10")
# In which the requests of many threads begin.
MONTHS = (1, 4) if FULL else (4,)
STEPS = {
    "15m": 15 * MINUTE_MS,
    "1h": HOUR_MS,
    "1d": DAY_MS,
    "1w": 7 * DAY_MS,
    "45m": 45 * MINUTE_MS,
}


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    """Ignore all warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def asked_spans(vendors: VendorServer) -> list[tuple[str, str]]:
    """Return the spans requested from the server, in milliseconds, without archive files."""
    return [
        (e.params.get("startTime") or f"{e.params['period1']}000",
         e.params.get("endTime") or f"{e.params['period2']}000")
        for e in vendors.log() if not e.path.startswith("/data/")
    ]  # fmt: skip


# --- it asks nobody and leaves no trace --------------------------------------------------------


def test_a_plan_sends_no_request_and_writes_no_file(
    manager: DataManager, vendors: VendorServer, tmp_path: Path, state_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a socket was connected"))
    before = sorted(tmp_path.rglob("*"))
    assert manager.plan(*SHARE).requests == 1
    assert manager.plan(*COIN, provider="binance").requests == 1
    manager.explain("AAPL", "1d")
    assert vendors.count() == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert not state_dir.exists()


def test_a_plan_changes_no_cached_bar(
    manager: DataManager, vendors: VendorServer, tmp_path: Path
) -> None:
    manager.get_ohlcv(*SHARE)
    manager.get_ohlcv("AAPL", "1d", "2024-01-10", "2024-01-20")
    cache = files_below(tmp_path / "cache")
    asked = vendors.count()
    for plan in (
        manager.plan("AAPL", "1d", "2023-01-01"),
        manager.plan("AAPL", "1d", "2024-03-01", provider="yahoo"),
        manager.plan(*SHARE, force_refresh=True),
    ):
        assert plan.requests
    assert files_below(tmp_path / "cache") == cache
    assert vendors.count() == asked


def test_the_plan_of_a_hit_loads_no_vendor(
    manager: DataManager, clock: ManualClock, tmp_path: Path, fresh: Fresh
) -> None:
    manager.get_ohlcv(*SHARE)
    code = f"""
import sys
from src.data import DataManager
from src.data.core.clock import ManualClock
manager = DataManager({str(tmp_path / "cache")!r}, {str(tmp_path / "rules.yaml")!r},
                      clock=ManualClock({clock.now_ms()}))
plan = manager.plan(*{SHARE!r})
heavy = [n for n in ("requests", "exchange_calendars", "sqlite3", "tenacity") if n in sys.modules]
own = [n for n in sys.modules if n.startswith("onetape.data.core.vendors.")]
print(plan.is_hit, heavy, [n for n in own if n.endswith((".base", ".bars"))])
"""
    assert fresh.run(code) == "True [] []\n"


# --- it agrees with what happens ---------------------------------------------------------------


def agree(manager: DataManager, vendors: VendorServer, *request: Any, **wishes: Any) -> Plan:
    """Assert that a request does what its plan predicts, and return the plan."""
    plan: Plan = manager.plan(*request, **wishes)
    vendors.clear_log()
    try:
        frame = manager.get_ohlcv(*request, **wishes)
    except AllProvidersFailedError as failure:
        raised = type(failure).__name__
        assert plan.error == raised, (request, wishes)
        assert plan.requests == vendors.count() == 0
        return plan
    assert plan.requests == vendors.count(), f"{request} {wishes}\n{plan}"
    assert plan.is_hit == (vendors.count() == 0 and not (plan.segments and plan.lacking))
    assert plan.is_possible == provenance(frame)["complete"], f"{request} {wishes}\n{plan}"
    assert not plan.error
    begins = [start for start, _ in asked_spans(vendors)]
    for step in plan.steps:
        if step.what == "bars" and step.vendor == "binance" and not step.is_archive:
            assert str(step.span.start) in begins, f"{request} {wishes}\n{plan}"
    return plan


@pytest.mark.parametrize("seed", range(3))
def test_a_request_sends_what_its_plan_predicts_whatever_is_cached(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, seed: int
) -> None:
    dice, kinds = random.Random(seed), set[str]()
    for _ in range(20 if FULL else 8):
        clock.advance(dice.choice([1, 300, 3600, 26 * 3600]))
        # No split is near: that one would be heard of, nobody can know beforehand.
        symbol, label = dice.choice(["BTCUSDT", "ETHUSDT", "AAPL", "MSFT"]), dice.choice([*STEPS])
        now, step = clock.now_ms(), STEPS[label]
        end = now - dice.choice([0, 0, 5, 60]) * step
        start = max(
            end - dice.choice([3, 40, 120, 1500]) * step, min(end - step, now - 55 * DAY_MS)
        )
        wishes: dict[str, Any] = dice.choice(
            [{}, {}, {}, {"force_refresh": True}, {"offline": True}, {"adjustment": "raw"},
             {"provider": "yahoo" if symbol in ("AAPL", "MSFT") else "binance"}]
        )  # fmt: skip
        digits = 10 if step >= DAY_MS else 19
        request: tuple[Any, ...] = (symbol, label, iso(start)[:digits], iso(end)[:digits])
        if dice.random() < 0.2:
            request, wishes = (symbol, label), {"bars": dice.choice([1, 50, 1200])}
        if step > DAY_MS and "bars" in wishes:
            wishes = {"bars": 5}
        plan = agree(manager, vendors, *request, **wishes)
        kinds.add("hit" if plan.is_hit else "asks" if plan.requests else "lacks")
    assert "asks" in kinds and len(kinds) > 1, "the random requests covered no case"


LONG = [("AAPL", "2004-06-12"), ("BTCUSDT", "2004-06-12" if FULL else "2023-06-12")]


@pytest.mark.parametrize(("symbol", "start"), LONG)
def test_a_plan_of_years_of_minutes_takes_little_memory(
    manager: DataManager, symbol: str, start: str
) -> None:
    manager.plan(symbol, "1d", "2024-06-03")  # what is loaded once is no part of it
    tracemalloc.start()
    try:
        plan = manager.plan(symbol, "1m", start)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert plan.requests and sum(part.bars for part in plan.segments) > 500_000
    assert peak < 15 * 2**20


@pytest.mark.usefixtures("young_files")
def test_the_work_of_a_plan_grows_with_its_requests(manager: DataManager) -> None:
    manager.plan("BTCUSDT", "1m", "2024-06-03")
    plans: list[Plan] = []
    starts = ("2024-05-01", "2024-04-01", "2024-02-01")
    one, two, four = (
        calls_of(lambda start=start: plans.append(manager.plan("BTCUSDT", "1m", start)))  # type: ignore[misc]
        for start in starts
    )
    assert plans[0].requests < plans[1].requests < plans[2].requests
    assert two < 2.1 * one and four < 2.1 * two


def test_a_plan_counts_as_many_pages_as_the_call_requests(
    manager: DataManager, vendors: VendorServer
) -> None:
    assert agree(manager, vendors, "BTCUSDT", "1m", "2024-06-11").requests == 3
    assert (
        agree(manager, vendors, "ETHUSDT", "1m", "2024-06-01T00:00", "2024-06-01T16:39").requests
        == 1
    )
    assert (
        agree(manager, vendors, "ETHUSDT", "1m", "2024-06-03T00:00", "2024-06-03T16:40").requests
        == 2
    )
    assert agree(manager, vendors, "AAPL", "1m", "2024-05-29", "2024-06-10").requests == 2


def test_the_plan_of_a_batch_counts_the_requests_of_each_symbol(
    manager: DataManager, vendors: VendorServer
) -> None:
    """Several gaps per symbol and timeframe, one of them longer than a page."""
    coins, shares = ["BTCUSDT", "ETHUSDT"], ["AAPL", "MSFT"]
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-20", "2024-05-21")
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-03", "2024-06-04")
    manager.get_ohlcv("ETHUSDT", "15m", "2024-06-03", "2024-06-04")
    manager.get_ohlcv("AAPL", "1d", "2024-05-06", "2024-05-10")
    planned = []
    for symbols, label, wishes in (
        (coins, "1h", {}), (coins, "15m", {}), (coins, "4h", {}), (shares, "1d", {}),
        (shares, "1d", {"adjustment": "raw"}), (shares, "1w", {}),
    ):  # fmt: skip
        request = (symbols, label, "2024-04-15", "2024-06-07")
        plans = manager.plan(*request, **wishes)
        vendors.clear_log()
        manager.get_ohlcv_batch(*request, **wishes)
        planned.append(plans.requests)
        assert plans.requests == vendors.count(), (request, wishes, str(plans))
    # By hand: 3 gaps and 2 pages; 2 pages, the archive's 2 files and a page each, and a second gap;
    # a page each; 2 gaps and a page; splits and dividends of each; weeks are built from days.
    assert planned == [5, 11, 2, 3, 2, 0]


def test_a_plan_names_bars_before_between_and_after_the_cached_ones(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-03", "2024-06-04")
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-06", "2024-06-07")
    plan = agree(manager, vendors, *COIN)
    assert [s.reasons for s in plan.segments] == [
        ("before the cached bars",), ("a hole in the cached bars",), ("after the cached bars",)
    ]  # fmt: skip
    assert [iso(s.span.start)[:10] for s in plan.segments] == [
        "2024-06-01",
        "2024-06-05",
        "2024-06-08",
    ]
    assert [part.bars for part in plan.held] == [48, 48]
    assert [part.bars for part in plan.segments] == [48, 24, 72]
    assert plan.share == pytest.approx(96 / 240)
    assert plan.units == {"binance": 6}


def test_a_plan_refetches_bars_that_have_settled(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12")
    clock.set(ms("2024-06-12T16:05:00"))
    plan = agree(manager, vendors, "BTCUSDT", "1h", "2024-06-12")
    assert plan.segments[0].reasons == ("settled since it was fetched", "after the cached bars")


def test_a_plan_requests_an_empty_span_that_has_expired(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    request = ("HALTUSDT", "1h", "2024-06-04", "2024-06-06")
    vendors.truth.change("HALTUSDT", outages=(("2024-06-05T02:00", "2024-06-05T05:00"),))
    version = provenance(manager.get_ohlcv(*request))["generation"]
    plan = manager.plan(*request)
    assert plan.is_hit
    assert [part.reason for part in plan.lacking] == ["the vendor has no bar"]
    client, wishes = manager.client, Wishes(version=version)
    plan = client.plan(client.query(*request, wishes=wishes))
    assert plan.is_hit
    assert [part.reason for part in plan.lacking] == ["version 1 has no bars there"]
    clock.advance(25 * 3600)
    plan = manager.plan(*request)
    assert [s.reasons for s in plan.segments] == [("no data last time, due again",)]


def test_a_plan_counts_the_request_for_actions_needed_by_an_adjustment(
    manager: DataManager, vendors: VendorServer
) -> None:
    plan = agree(manager, vendors, *SHARE, adjustment="raw")
    assert [step.what for step in plan.besides] == ["splits and dividends"]
    assert plan.requests == 2
    assert agree(manager, vendors, *SHARE).is_hit


def test_a_plan_counts_the_daily_closes_that_dividends_need(
    manager: DataManager, vendors: VendorServer
) -> None:
    request = ("MSFT", "15m", "2024-05-01", "2024-06-07")
    manager.get_ohlcv("MSFT", "15m", "2024-05-16", "2024-06-07")
    manager.get_actions("MSFT", "2024-04-01", "2024-06-12")  # a dividend on 15 May
    plan = agree(manager, vendors, *request, adjustment="all")
    assert plan.is_possible
    assert sorted(step.timeframe.label for step in plan.steps if step.what == "bars") == [
        "15m",
        "1d",
    ]
    assert [part.bars for part in plan.held] == [16 * 26]
    assert agree(manager, vendors, *request, adjustment="all").is_hit


def test_a_plan_of_daily_bars_supplies_the_closes_that_their_dividends_need(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_actions("MSFT", "2024-04-01", "2024-06-12")  # a dividend on 15 May
    for label in ("1w", "1d"):
        plan = agree(manager, vendors, "MSFT", label, "2024-04-21", "2024-06-12", adjustment="all")
        assert plan.is_possible


def test_a_plan_counts_a_separate_request_for_the_forming_bar(
    manager: DataManager, vendors: VendorServer
) -> None:
    request = ("BTCUSDT", "1h", "2024-06-10")
    plan = agree(manager, vendors, *request, include_forming=True)
    assert plan.segments[0].reasons == ("nothing cached yet", "with the forming bar")
    plan = agree(manager, vendors, *request, include_forming=True)
    assert "the forming bar: binance 1 request" in str(plan)


def test_a_plan_of_derived_bars_that_look_back_further_counts_each_request_once(
    manager: DataManager, vendors: VendorServer
) -> None:
    """More bars are requested than the vendor's history has."""
    assert agree(manager, vendors, "AAPL", "45m", bars=1200).requests == 1


def test_a_plan_of_derived_bars_names_the_shorter_ones(
    manager: DataManager, vendors: VendorServer
) -> None:
    plan = agree(manager, vendors, "NVDA", "1w", bars=20)
    assert str(plan.source) == "1d"
    assert plan.title.startswith("NVDA 1w, built from 1d bars: 1 request")
    assert agree(manager, vendors, "NVDA", "1w", bars=20).is_hit


# --- what stands in the way --------------------------------------------------------------------


def test_a_plan_names_history_that_no_vendor_has(
    manager: DataManager, vendors: VendorServer
) -> None:
    plan = agree(manager, vendors, "AAPL", "1m", "2024-04-01", "2024-06-11")
    (gap,) = plan.lacking
    assert gap.reason == "yahoo serves 1m bars only 29 days back"
    (offer,) = plan.segments[0].offers
    assert iso(offer.span.start)[:10] == "2024-05-14"
    assert not plan.is_possible


def test_a_plan_names_an_open_circuit_and_counts_the_next_vendor(
    manager: DataManager,
    vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    clock: ManualClock,
) -> None:
    twin = ScriptedVendor(vendors)
    binance = downloader_for(manager.provider_selector, "binance")
    route_to(monkeypatch, manager, binance=binance, twin=twin)
    vendors.fault("binance", Fault.status(401))
    manager.get_ohlcv(*COIN)
    vendors.heal()
    asked, before = vendors.count(), len(twin.asked)
    caplog.clear()
    plan = manager.plan("BTCUSDT", "1h", "2024-05-01", "2024-05-10")
    assert caplog.records == [], "a dry run changes no stored data"
    first, second = plan.segments[0].offers
    assert (first.vendor, first.requests) == ("binance", 0)
    assert first.trouble.startswith("paused after ")
    assert (second.vendor, second.requests, second.trouble) == ("twin", 1, "")
    assert plan.segments[0].path == "binance cannot be queried, then twin 1 request"
    assert plan.health[0].until_ms > clock.now_ms()
    assert "AuthenticationError" in plan.health[0].reason
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-10")
    assert (vendors.count(), len(twin.asked)) == (asked, before + 1)


def test_a_plan_names_a_limit_that_is_used_up(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    rules = tmp_path / "few.yaml"
    rules.write_text(
        f"providers: {{yahoo: {{base_url: '{vendors.base_url('yahoo')}', transport: http,"
        " rate_limits: {requests_per_day: 1, requests_per_second: 100}}}\n"
    )
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    agree(manager, vendors, *SHARE)
    plan = agree(manager, vendors, "NVDA", "1d", "2024-03-01", "2024-05-31")
    assert plan.error == "AllProvidersFailedError"
    assert plan.segments[0].offers[0].trouble == "its limit is used up for 24 hours then"
    assert [q.left for q in plan.health[0].quotas if q.length_s == 86_400] == [0]
    assert "0 of 1 a day left" in str(plan)


def test_a_plan_predicts_waits_from_the_current_limits(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    rules = tmp_path / "slow.yaml"
    rules.write_text(
        f"providers: {{yahoo: {{base_url: '{vendors.base_url('yahoo')}', transport: http,"
        " rate_limits: {requests_per_minute: 2, requests_per_second: 100}}}\n"
    )
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    assert manager.plan(*SHARE).wait_s == 0
    manager.get_ohlcv(*SHARE)
    manager.get_ohlcv("NVDA", *SHARE[1:])
    clock.advance(20)
    stuck = manager.plan("MSFT", *SHARE[1:]).segments[0].offers[0]
    assert stuck.trouble == "its limit is used up for 40 seconds then", "longer than a call waits"
    clock.advance(25)
    plan = manager.plan("MSFT", *SHARE[1:])
    assert plan.wait_s == pytest.approx(15, abs=1)
    assert "about 15 seconds of waiting" in plan.title
    before = clock.monotonic()
    manager.get_ohlcv("MSFT", *SHARE[1:])
    assert clock.monotonic() - before == pytest.approx(plan.wait_s, abs=1)


def test_a_plan_counts_no_request_to_a_vendor_that_does_not_know_the_symbol(
    manager: DataManager, vendors: VendorServer
) -> None:
    with pytest.raises(AllProvidersFailedError):
        manager.get_ohlcv("NOPEUSDT", "1h", "2024-06-10", provider="binance")
    plan = agree(manager, vendors, "NOPEUSDT", "1h", "2024-06-10", provider="binance")
    assert plan.error == "UnknownSymbolError"
    assert "does not know 'NOPEUSDT'" in plan.segments[0].offers[0].trouble


def test_an_offline_plan_sends_no_request_and_names_the_missing_bars(
    manager: DataManager, vendors: VendorServer
) -> None:
    plan = agree(manager, vendors, *COIN, offline=True)
    assert plan.error
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-03", "2024-06-04")
    plan = agree(manager, vendors, *COIN, offline=True)
    assert [part.reason for part in plan.lacking] == ["not cached, and offline"] * 2
    assert (plan.requests, plan.is_hit, plan.error) == (0, False, "")


def test_a_plan_names_the_variable_of_a_missing_key(
    make: Callable[[], DataManager], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from src.data.core.vendors import factory
    from src.data.core.vendors.yahoo.bars import YahooDataDownloader

    monkeypatch.setattr(YahooDataDownloader, "requires_api_key", True)
    monkeypatch.setattr(YahooDataDownloader, "secrets", ("YAHOO_KEY",))
    assert factory.canonical_name("yahoo")
    manager = make()
    plan = manager.plan(*SHARE)
    assert plan.rejected["yahoo"] == "no key: set YAHOO_KEY"
    assert plan.rejected["tiingo"] == "no key: set TIINGO_API_KEY"
    assert plan.error == "NoProviderError"
    assert [part.bars for part in plan.lacking] == [64]
    explained = manager.explain("AAPL", "1d")
    assert explained.unasked["yahoo"] == "no key: set YAHOO_KEY"
    assert not explained.is_served


def test_a_plan_includes_a_downloader_of_the_user(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own:
        def get_ohlcv(self, *_: Any) -> None:
            raise UnavailableError("it was asked")

    route_to(monkeypatch, manager, own=Own())
    plan = manager.plan(*COIN)
    assert plan.segments[0].path == "own 1 request"


def test_a_plan_raises_the_same_errors_as_the_request(manager: DataManager) -> None:
    with pytest.raises(BadSymbolError):
        manager.plan("SOL", "1h")
    with pytest.raises(BadSymbolError):
        manager.explain("SOL", "1h")
    with pytest.raises(QueryError):
        manager.plan("AAPL", "1d", date(2024, 5, 1), date(2024, 4, 1))
    with pytest.raises(QueryError):
        manager.explain("AAPL", "1 day")


def test_many_threads_plan_at_once(manager: DataManager, vendors: VendorServer) -> None:
    manager.get_ohlcv(*SHARE)
    requests = [
        (s, "1d", f"2024-0{m}-01", "2024-06-05") for s in ("AAPL", "NVDA") for m in MONTHS
    ] * 2
    found: dict[int, str] = {}

    def ask(place: int) -> None:
        found[place] = json.dumps(manager.plan(*requests[place]).to_json())

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [json.dumps(manager.plan(*r).to_json()) for r in requests[: len(requests) // 2]]
    assert [found[i] for i in range(len(requests))] == expected * 2


# --- explain -----------------------------------------------------------------------------------


def test_explain_shows_the_route_the_health_and_the_cached_bars(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-10")
    asked = vendors.count()
    found = manager.explain("BTC/USDT", "1h")
    assert vendors.count() == asked
    assert [way.vendor for way in found.ways] == ["binance", "yahoo"]
    assert found.ways[0].substitute == ""
    assert found.ways[1].substitute == "aggregate instead of binance"
    assert found.ways[1].spelling == "BTC-USD"
    assert set(found.unasked.values()) == {"not in the rule for this"}
    assert {"local", "alpaca"} <= set(found.unasked)
    assert (found.rule, Path(found.rule_from).name) == ("crypto", "rules.yaml")
    assert manager.explain("AAPL", "1d").rule_from == "the packaged rules"
    (held,) = found.stored
    assert (held.lane, held.rows, held.vendors) == ("1h", 63, ("binance",))
    assert held.next_due == ms("2024-06-12T15:02:00")
    assert "nothing newer before 2024-06-12 15:02 (in 90 seconds)" in str(found)
    assert found.ways[0].health.left == "1,198 of 1,200 a minute left"
    clock.advance(3600)
    assert "a new request may return more" in str(manager.explain("BTCUSDT", "1h"))


def test_explain_gives_the_reason_if_no_vendor_serves_a_symbol(manager: DataManager) -> None:
    found = manager.explain("VOD.L", "1d", provider="local")
    assert not found.is_served
    assert found.title == "VOD.L 1d: no usable vendor"
    assert found.unasked["local"].startswith("no folder is set")
    assert found.unasked["yahoo"] == "local is pinned"
    assert found.to_json()["route"] == []


def test_explain_names_the_timeframe_that_bars_are_derived_from(manager: DataManager) -> None:
    assert manager.explain("AAPL", "1w").source == "1d"
    assert manager.explain("AAPL", "1d").source == ""
    assert manager.explain("BTCUSDT", "45m").source == "15m"


def test_an_explanation_names_the_users_rules(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("stock_daily: {primary: newsapi, backup: [yahoo]}\n")
    found = DataManager(tmp_path / "cache", path, clock=clock).explain("AAPL", "1d")
    assert found.rule_from == str(path)
    assert found.unasked["newsapi"] == "this version does not support it"


# --- features ------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize(
    "asked, wanted",
    [
        *((asked, wanted) for asked in (SHARE, COIN)
          for wanted in ("sma:20", "ema:20 sma:5", "dow", "obv:2024-01-02", "fund:eps")),
        (COIN, "rsi:5@4h vol:3"), (COIN, "drawdown:listing"), (SHARE, "rsi:5@1w vol:3"),
    ],
)  # fmt: skip
def test_the_plan_of_features_has_the_bars_before_the_range(
    manager: DataManager,
    vendors: VendorServer,
    tmp_path: Path,
    asked: Any,
    wanted: str,
    store: bool,
) -> None:
    symbol, timeframe, *bounds = asked
    manager.get_fundamentals = lambda *_, **__: {}  # type: ignore[method-assign]
    plans = manager.plan([symbol], timeframe, *bounds, recipes=wanted, store=store)
    assert not vendors.count()
    before = [
        plan.span for name, plan in plans.items() if name.endswith(f"{timeframe} bars before")
    ]
    assert len(before) == (store or wanted not in ("dow", "fund:eps"))
    assert all(span.start < ms(bounds[0]) == span.end for span in before)
    manager.features(
        [symbol], timeframe, *bounds, wanted,
        store=FrameStore(tmp_path / "kept", 1 << 30) if store else False,
    )  # fmt: skip
    if "listing" in wanted or "1w" in wanted:  # before the listing; days of which weeks are built
        assert vendors.count() <= plans.requests
    else:
        assert vendors.count() == plans.requests
    assert not manager.plan([symbol], timeframe, *bounds, recipes=wanted, store=store).requests


def test_a_plan_of_features_refuses_what_features_refuse(manager: DataManager) -> None:
    for wrong in ("rsj:5", "vwap", "rsi:14@1h", "vwap:session"):
        with pytest.raises(QueryError):
            manager.plan(["AAPL"], *SHARE[1:], recipes=wrong)
