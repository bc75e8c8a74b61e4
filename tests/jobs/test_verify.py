"""Verification of cached bars against current answers of their vendors, without storing anything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.market.bars import Bar
from src.data.core.model.time.instant import iso, parse_iso
from src.data.core.wiring import Services, build
from src.data.data_manager import DataManager
from src.data.errors import CacheError, QueryError, UnavailableError, UnknownProviderError
from src.data.jobs.validation.verify import (
    Comparison,
    Refetcher,
    Verification,
    VerifyQuestion,
    verify,
    verify_with,
)
from tests.e2e.scripted_vendor import ScriptedVendor, route_to
from tests.vendor_server import Fault, Listing, VendorServer, dividend, split

Verify = Callable[..., Verification]


def ms(text: str) -> int:
    return parse_iso(text)


@pytest.fixture
def manager(tmp_path: Path, rules: Path, clock: ManualClock) -> DataManager:
    """Return a manager on an empty cache; Binance and Yahoo are at the vendor server."""
    return DataManager(tmp_path / "cache", rules, clock=clock)


@pytest.fixture
def services(tmp_path: Path, rules: Path, clock: ManualClock) -> Services:
    """Return what a job would compare with, on the manager's folder; vendors are routed to in both."""
    return build(tmp_path / "cache", rules, clock=clock)


@pytest.fixture
def check(tmp_path: Path, rules: Path, clock: ManualClock, vendors: VendorServer) -> Verify:
    """Return a verification that fails where anything in the cache changes by it."""

    def run(*question: Any, **more: Any) -> Verification:
        before = contents(tmp_path / "cache")
        found = verify(*question, cache_dir=tmp_path / "cache", config_path=rules, **more)
        assert contents(tmp_path / "cache") == before
        return found

    return run


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "_columnar" not in path.parts  # derived, made by any reader
    }  # fmt: skip


def only(found: Verification) -> Comparison:
    (one,) = found.comparisons
    return one


def named(one: Comparison) -> list[tuple[str, int, str]]:
    return [(d.cause, d.rows, iso(d.first_ms)[:16]) for d in one.differences]


# --- the cache -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "series",
    [
        ("BTCUSDT", "1h", "2024-06-01", "2024-06-10"),
        ("AAPL", "1d", "2024-01-02", "2024-06-10"),
        ("AAPL", "1h", "2024-06-03", "2024-06-10"),
        ("BTCUSDT", "1w", "2024-01-01", "2024-06-09"),
        ("VOD.L", "1d", "2024-05-01", "2024-06-10"),
    ],
    ids=lambda series: f"{series[0]} {series[1]}",
)
def test_verify_finds_no_difference_in_fetched_bars(
    manager: DataManager, check: Verify, series: tuple[str, ...]
) -> None:
    rows = len(manager.get_ohlcv(*series))
    found = check(*series[:2])
    assert found.ok
    one = only(found)
    assert (one.ours, one.compared.rows, one.compared.equal) == ("cache", rows, rows)  # type: ignore[union-attr]
    assert one.equal_share == 1.0


def test_verify_compares_the_last_five_hundred_bars_or_all_on_request(
    manager: DataManager, check: Verify, vendors: VendorServer
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-06-05")
    assert only(check("BTCUSDT", "1h")).compared.rows == 500  # type: ignore[union-attr]
    assert only(check("BTCUSDT", "1h", whole=True)).compared.rows == 36 * 24  # type: ignore[union-attr]
    part = only(check("BTCUSDT", "1h", "2024-05-02", "2024-05-03"))
    assert part.compared is not None and part.compared.rows == 48


def test_verify_finds_a_revision_and_its_advice_corrects_the_bars(
    manager: DataManager, check: Verify, vendors: VendorServer
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-10")
    never = ms("2099-01-01")
    vendors.revise("BTCUSDT", "1h", ms("2024-06-05T07:00"), 1.004, never)
    found = check("BTCUSDT", "1h")
    assert not found.ok
    one = only(found)
    assert named(one) == [("revision", 1, "2024-06-05T07:00")]
    (difference,) = one.differences
    assert difference.ours is not None and difference.theirs is not None
    assert difference.theirs.close == pytest.approx(difference.ours.close * 1.004, rel=1e-4)
    assert found.advice(one, difference) == (
        "onetape fetch BTCUSDT 1h --start 2024-06-05T07:00:00 --end 2024-06-05T08:00:00 --refresh"
    )
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-05T07:00:00", "2024-06-05T08:00:00", True)
    assert check("BTCUSDT", "1h").ok


def test_verify_finds_pence_in_place_of_pounds(
    manager: DataManager, check: Verify, vendors: VendorServer
) -> None:
    manager.get_ohlcv("VOD.L", "1d", "2024-05-01", "2024-06-10")
    vendors.fault("yahoo", Fault.rescale(0.01, 3, 4))
    (found,) = only(check("VOD.L", "1d")).differences
    assert (found.cause, found.rows) == ("unit x100", 2)
    assert found.said == "theirs is a hundredth of ours"


def test_a_split_since_the_fetch_is_no_difference(
    manager: DataManager, check: Verify, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-05-31T22:00"))
    manager.get_ohlcv("AAPL", "1d", "2024-03-01", "2024-05-24")
    vendors.truth.act("AAPL", split("2024-06-12", 4))
    clock.set(ms("2024-06-21T22:00"))
    assert check("AAPL", "1d").ok


def test_a_split_that_the_vendor_applied_late_is_found(
    manager: DataManager, check: Verify, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-14T22:00"))
    manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-06-07")
    vendors.truth.act("AAPL", split("2024-06-12", 4))  # ... and says so only now
    clock.set(ms("2024-06-21T22:00"))
    found = check("AAPL", "1d")
    (difference,) = only(found).differences
    assert (difference.cause, difference.rows) == ("split", 27)
    assert difference.said == "theirs is 1/4 of ours, as by the split of 4:1 on 2024-06-12"
    assert found.advice(only(found), difference) == (
        "onetape fetch AAPL 1d --start 2024-05-01 --end 2024-06-07 --refresh"
    )


def test_a_split_of_a_session_that_opened_the_evening_before_is_no_difference(
    manager: DataManager,
    check: Verify,
    vendors: VendorServer,
    clock: ManualClock,
    sydney: Listing,
) -> None:
    clock.set(ms("2024-02-09T22:00"))
    manager.get_ohlcv("BHP.AX", "1d", "2024-01-02", "2024-02-07")
    vendors.truth.act(sydney.symbol, split("2024-02-12", 4))
    clock.set(ms("2024-02-11T23:30"))  # Sunday in UTC; Sydney opened on Monday at 10:00
    found = check("BHP.AX", "1d")
    assert found.ok and only(found).compared is not None


def test_verify_reports_bars_missing_on_one_side(
    manager: DataManager, check: Verify, vendors: VendorServer
) -> None:
    gone = ms("2024-06-03T05:00")
    fault = vendors.fault("binance", Fault.drop_stamps(gone))
    with pytest.warns(UserWarning, match="gap, first"):
        manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-10")
    assert check("BTCUSDT", "1h").ok, "neither side has it"
    vendors.heal(fault)
    assert named(only(check("BTCUSDT", "1h"))) == [("missing here", 1, "2024-06-03T05:00")]
    vendors.fault("binance", Fault.drop_stamps(gone, ms("2024-06-04T06:00")))
    found = check("BTCUSDT", "1h")
    assert named(only(found)) == [("missing there", 1, "2024-06-04T06:00")]
    advice = found.advice(only(found), only(found).differences[0])
    assert advice.startswith("nothing: the cache keeps")


def test_verify_reports_a_bar_missing_at_the_end(
    manager: DataManager, check: Verify, vendors: VendorServer
) -> None:
    fault = vendors.fault("binance", Fault.drop_stamps(ms("2024-06-02T23:00")))
    with pytest.warns(UserWarning, match="gap, first"):
        manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    vendors.heal(fault)
    assert named(only(check("BTCUSDT", "1h"))) == [("missing here", 1, "2024-06-02T23:00")]


def test_a_bar_stored_before_settling_is_reported_as_stale(
    manager: DataManager, check: Verify, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-12T12:00:30"))
    vendors.revise("BTCUSDT", "1h", ms("2024-06-12T11:00"), 1.3, ms("2024-06-12T12:01:30"))
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-11")
    assert check("BTCUSDT", "1h").ok, "both sides have the same bars"
    clock.set(ms("2024-06-12T12:30"))
    assert named(only(check("BTCUSDT", "1h"))) == [("stale", 1, "2024-06-12T11:00")]
    clock.set(ms("2024-06-12T15:00:30"))
    found = check("BTCUSDT", "1h")
    assert named(only(found)) == [
        ("stale", 1, "2024-06-12T11:00"), ("stale", 3, "2024-06-12T12:00"),
    ]  # fmt: skip
    advice = found.advice(only(found), only(found).differences[0])
    assert advice == "onetape fetch BTCUSDT 1h --start 2024-06-12T11:00:00"
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12T11:00:00")
    assert check("BTCUSDT", "1h").ok


def test_verify_of_a_past_range_is_not_behind(
    manager: DataManager, check: Verify, vendors: VendorServer
) -> None:
    manager.get_ohlcv("BTCUSDT", "1d", "2023-01-01", "2023-12-31")
    one = only(check("BTCUSDT", "1d"))
    assert one.ok and iso(one.span.end) == "2024-01-01T00:00:00Z"


def test_each_span_is_compared_with_its_own_vendor(
    manager: DataManager,
    services: Services,
    vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = ScriptedVendor(vendors), ScriptedVendor(vendors)
    second.name = "other"
    for asking in (manager.provider_selector, services.selector):
        route_to(monkeypatch, asking, twin=first, other=second)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-10T00:00", "2024-06-10T03:00")
    first.errors = [UnavailableError("down", provider="twin")]
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-10T04:00", "2024-06-10T09:00")
    second.spoil = spoilt_at("2024-06-10T08:00", 1.5)
    first.spoil = spoilt_at("2024-06-10T08:00", 9.0)  # which it did not supply
    for twin in (first, second):
        twin.asked.clear()
    found = verify_with(services, VerifyQuestion("BTCUSDT", "1h"))
    one, other = found.comparisons
    assert (one.theirs, one.ok, one.compared.rows) == ("twin", True, 4)  # type: ignore[union-attr]
    assert (other.theirs, named(other)) == ("other", [("conflict", 1, "2024-06-10T08:00")])
    assert (len(first.asked), len(second.asked)) == (1, 1)
    pinned = verify_with(services, VerifyQuestion("BTCUSDT", "1h", provider="twin"))
    assert pinned.ok and [c.theirs for c in pinned.comparisons] == ["twin"]


def spoilt_at(stamp: str, factor: float) -> Callable[[list[Bar]], list[Bar]]:
    at = ms(stamp)

    def spoil(rows: list[Bar]) -> list[Bar]:
        return [
            Bar(r.stamp_ms, *(p * factor for p in r[1:5]), r.volume) if r.stamp_ms == at else r
            for r in rows
        ]  # fmt: skip

    return spoil


def test_a_span_that_several_vendors_recorded_as_empty_is_verified_with_each(
    manager: DataManager,
    services: Services,
    vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = ScriptedVendor(vendors), ScriptedVendor(vendors)
    second.name = "other"
    for asking in (manager.provider_selector, services.selector):
        route_to(monkeypatch, asking, twin=first, other=second)
    for start, end in [("00:00", "01:00"), ("04:00", "08:00")]:
        manager.get_ohlcv("BTCUSDT", "1h", f"2024-06-10T{start}", f"2024-06-10T{end}")
    first.spoil = second.spoil = lambda _: []
    with pytest.warns(UserWarning, match="gap, first"):
        manager.get_ohlcv("BTCUSDT", "1h", "2024-06-10T02:00", "2024-06-10T03:00")
    first.spoil = lambda rows: rows
    found = verify_with(services, VerifyQuestion("BTCUSDT", "1h", "2024-06-10"))
    assert named(only(found)) == [("missing here", 2, "2024-06-10T02:00")]


def test_verify_covers_the_lane_of_a_pinned_vendor(
    manager: DataManager,
    services: Services,
    vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twin = ScriptedVendor(vendors)
    for asking in (manager.provider_selector, services.selector):
        route_to(monkeypatch, asking, twin=twin)
        monkeypatch.setattr(asking, "canonical", lambda name: name)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-10T00:00", "2024-06-10T03:00", provider="twin")
    twin.spoil = spoilt_at("2024-06-10T02:00", 1.004)
    found = verify_with(services, VerifyQuestion("BTCUSDT", "1h"))
    one = only(found)
    assert one.lane == "1h@twin"
    assert "BTCUSDT 1h --provider twin --start" in found.advice(one, one.differences[0])


def test_verify_reports_a_vendor_that_does_not_answer_and_is_not_ok(
    manager: DataManager, check: Verify, vendors: VendorServer
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-06-10")
    vendors.fault("yahoo", Fault.status(404))
    one = only(check("AAPL", "1d"))
    assert not one.ok and one.compared is None
    assert "No data found" in one.error
    assert one.equal_share == 0.0


def test_verify_reports_bars_of_an_unknown_vendor(
    manager: DataManager, check: Verify, vendors: VendorServer
) -> None:
    bars = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    manager.cache.put(bars, "BTCUSDT", "2h", provider="acme")
    one = only(check("BTCUSDT", "2h"))
    assert not one.ok and "acme" in one.error


def test_verify_reports_bars_older_than_the_vendors_history(
    manager: DataManager, check: Verify, vendors: VendorServer, clock: ManualClock
) -> None:
    manager.get_ohlcv("AAPL", "1m", "2024-06-05", "2024-06-05")
    assert check("AAPL", "1m").ok
    clock.set(ms("2024-09-12T15:00"))
    one = only(check("AAPL", "1m"))
    assert not one.ok and "does not serve 1m bars that far back" in one.error


def test_a_new_dividend_is_not_reported_as_a_difference(
    manager: DataManager, check: Verify, vendors: VendorServer, clock: ManualClock
) -> None:
    manager.get_ohlcv("MSFT", "1d", "2024-01-02", "2024-05-31")
    vendors.truth.act("MSFT", dividend("2024-06-14", 0.8))
    clock.set(ms("2024-06-21T22:00"))
    assert check("MSFT", "1d").ok


def test_dividends_that_are_not_stored_are_not_reported_as_a_difference(
    manager: DataManager, check: Verify, tmp_path: Path
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-04-01", "2024-06-10")
    assert manager.cache.store.actions("AAPL").dividends
    for path in (tmp_path / "cache").rglob("actions.json"):
        path.unlink()
    assert check("AAPL", "1d").ok


def test_a_vendor_is_queried_for_splits_and_dividends_up_to_today(
    services: Services, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.truth.act("MSFT", dividend("2024-06-11", 0.8))
    vendors.truth.act("MSFT", split("2024-06-12", 2))
    clock.set(ms("2024-06-12T15:00"))
    query = services.client.query("MSFT", "1d", "2024-06-03", "2024-06-07")
    grid = BarGrid(calendar_for(query.instrument), query.timeframe)
    refetcher = Refetcher(services, query, grid)
    reported = refetcher.actions("yahoo", query.span.start) or ()
    assert {(action.ex_date.isoformat(), action.type) for action in reported} == {
        ("2024-06-11", "dividend"), ("2024-06-12", "split"),
    }  # fmt: skip


def test_verify_without_cached_bars_is_an_error_of_the_cache(
    manager: DataManager, check: Verify, vendors: VendorServer
) -> None:
    with pytest.raises(CacheError, match="no bars for BTCUSDT 1h are cached"):
        check("BTCUSDT", "1h")
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    with pytest.raises(CacheError, match="no bars for BTCUSDT 1h from yahoo are cached"):
        check("BTCUSDT", "1h", provider="yahoo")
    with pytest.raises(UnknownProviderError, match="acme"):
        check("BTCUSDT", "1h", provider="acme")


# --- two vendors -----------------------------------------------------------------------------


@pytest.fixture
def rivals(
    manager: DataManager,
    services: Services,
    vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[ScriptedVendor, ScriptedVendor, Callable[..., Comparison]]:
    """Return two vendors of one truth, and what compares them without touching the cache."""
    one, other = ScriptedVendor(vendors), ScriptedVendor(vendors)
    other.name = "other"
    route_to(monkeypatch, services.selector, twin=one, other=other)
    monkeypatch.setattr(services.selector, "canonical", lambda name: name)

    def run(*question: Any, **more: Any) -> Comparison:
        asked = VerifyQuestion("BTCUSDT", "1h", *question, provider="twin", against="other", **more)
        found = only(verify_with(services, asked))
        assert manager.cache.list_symbols() == []
        return found

    return one, other, run


def test_two_vendors_that_agree_up_to_rounding_are_equal(rivals: Any) -> None:
    one, other, run = rivals
    other.spoil = lambda rows: [
        Bar(r.stamp_ms, *(np.round(p * 1.0001, 4) for p in r[1:5]), r.volume) for r in rows
    ]
    found = run("2024-06-10", "2024-06-11")
    assert found.ok
    assert (found.ours, found.theirs, found.compared.rows) == ("twin", "other", 48)
    assert (len(one.asked), len(other.asked)) == (1, 1)
    assert run().compared.rows == 500, "the last closed bars by default"


def test_differences_between_two_vendors_are_named_by_class_and_time(rivals: Any) -> None:
    one, other, run = rivals
    one.spoil = lambda rows: rows[:-1]
    other.spoil = lambda rows: spoilt_at("2024-06-10T08:00", 100.0)(
        spoilt_at("2024-06-10T09:00", 1.01)(rows[1:])
    )
    found = run("2024-06-10", "2024-06-10")
    assert named(found) == [
        ("unit x100", 1, "2024-06-10T08:00"), ("revision", 1, "2024-06-10T09:00"),
        ("missing here", 1, "2024-06-10T23:00"), ("missing there", 1, "2024-06-10T00:00"),
    ]  # fmt: skip


def test_verify_against_a_vendor_that_is_down_reports_the_error(rivals: Any) -> None:
    _, other, run = rivals
    other.errors = [UnavailableError("down for good", provider="other")]
    found = run("2024-06-10", "2024-06-10")
    assert not found.ok and "down for good" in found.error


def test_a_comparison_of_different_kinds_has_a_note(
    check: Verify, vendors: VendorServer, tmp_path: Path
) -> None:
    one = only(check("BTCUSDT", "1d", "2024-06-01", "2024-06-10", provider="binance",
                     against="yahoo"))  # fmt: skip
    assert any("of different kinds: venue binance" in said for said in one.remarks)
    assert "volumes are not compared: they count different trades" in one.remarks
    assert one.compared is not None and one.compared.rows == 10


@pytest.mark.parametrize(
    "more, said",
    [
        ({"against": "yahoo"}, "needs a second vendor to compare with"),
        ({"provider": "yahoo", "against": "yahoo"}, "cannot compare yahoo with itself"),
        ({"provider": "binance", "against": "yahoo", "whole": True}, "requires a start date"),
    ],
)
def test_invalid_arguments_of_verify_raise_a_query_error(
    check: Verify, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(QueryError, match=said):
        check("BTCUSDT", "1h", **more)


def test_a_verification_is_plain_json(
    manager: DataManager, check: Verify, vendors: VendorServer
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-06-10")
    vendors.revise("AAPL", "1d", ms("2024-05-20"), 1.004, ms("2099-01-01"))
    reported = check("AAPL", "1d").to_json()
    assert (reported["symbol"], reported["timeframe"], reported["ok"]) == ("AAPL", "1d", False)
    (one,) = reported["comparisons"]
    assert (one["ours"], one["theirs"], one["lane"], one["rows"]) == ("cache", "yahoo", "1d", 28)
    assert (one["equal"], one["equal_share"]) == (27, round(27 / 28, 6))
    (found,) = one["differences"]
    assert (found["cause"], found["rows"], found["first"]) == (
        "revision", 1, "2024-05-20T00:00:00Z",
    )  # fmt: skip
    assert set(found["ours"]) == set(found["theirs"]) >= {"open", "close", "volume"}
    assert found["advice"].endswith("--start 2024-05-20 --end 2024-05-20 --refresh")


def test_raw_prices_without_stored_actions_are_compared_unadjusted(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    lines = [f"2024-05-{day},10,11,9,10.5,100" for day in ("06", "07", "08", "09", "10")]
    (folder / "MSFT_1d.csv").write_text("timestamp,open,high,low,close,volume\n" + "\n".join(lines))
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        f"providers:\n  local: {{folder: '{folder}', timeframes: {{1d: 1d}}, adjustment: raw}}\n"
    )
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    question = ("MSFT", "1d", "2024-05-06", "2024-05-10")
    manager.get_ohlcv(*question, provider="local", adjustment="raw")
    place = {"cache_dir": tmp_path / "cache", "config_path": rules}
    one = only(verify(*question, provider="local", **place))
    assert one.ok and one.basis.adjustment == "raw"
