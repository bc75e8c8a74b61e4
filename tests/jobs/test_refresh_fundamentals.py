"""The job that refreshes fundamentals, over real sockets and with made-up values."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from src.data.core.cache.beside.fundamentals_cache import FundamentalsCache
from src.data.core.clock import ManualClock
from src.data.core.fundamentals.service import FundamentalsService
from src.data.core.model.market.fundamentals import Fact, Snapshot
from src.data.core.model.time.instant import DAY_MS
from src.data.data_manager import DataManager
from src.data.errors import QueryError, StorageError
from src.data.jobs.fill.refresh_fundamentals import (
    Refresh,
    cleanup_fundamentals,
    get_cached_symbols,
    load_symbols_from_file,
    periodic_refresh,
    refresh_fundamentals,
    refresh_symbol_fundamentals,
)
from src.data.jobs.fill.refresh_plan import Choice
from src.data.jobs.fill.work_list import WorkItem
from src.data.jobs.progress.events import Progress
from tests.core.fundamentals import conftest as world

Run = Callable[..., dict[str, Any]]

vendors, rules = world.vendors, world.rules
BOTH = ("ratios", "profile")
MANY = [f"Q{letter}{other}" for letter in "ABCDE" for other in "ABCDEFGHIJ"]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return the cache folder."""
    return tmp_path / "cache"


@pytest.fixture
def held(cache: Path, clock: ManualClock, rules: Path) -> FundamentalsCache:
    """Store fundamentals of three companies, fetched 20, 9 and 1 days ago."""
    kept = FundamentalsCache(cache, clock=clock)
    for symbol, days in (("MSFT", 9), ("AAPL", 20), ("KO", 1)):
        keep(kept, symbol, clock.now_ms() - days * DAY_MS)
    return kept


def keep(kept: FundamentalsCache, symbol: str, at_ms: int) -> None:
    """Store both types from both vendors."""
    for vendor in world.USUAL:
        for kind in BOTH:
            facts = {"beta": Fact(1.5, "ratio"), "company_name": Fact("Apple Inc.", "text")}
            kept.keep(Snapshot(vendor, symbol, at_ms, facts, data_types=(kind,)))


@pytest.fixture
def run(cache: Path, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return the job on that folder, with a clock that only its own waits advance."""
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: clock)
    return lambda wanted, **more: refresh_fundamentals(wanted, cache, config_path=rules, **more)


def names(told: dict[str, Any]) -> list[str]:
    return [one["symbol"] for one in told["selected"]]


@pytest.mark.usefixtures("held")
def test_a_dry_run_lists_the_order_and_sends_no_request(run: Run, vendors: world.Vendors) -> None:
    reported = run(Refresh(data_types=BOTH, dry_run=True))
    assert [(one["symbol"], round(one["age_days"])) for one in reported["selected"]] == [
        ("AAPL", 20), ("MSFT", 9), ("KO", 1),
    ]  # fmt: skip
    assert (reported["results"], vendors.asked) == ([], [])
    assert {name: cost["series"] for name, cost in reported["vendors"].items()} == {
        "fmp": 4, "alpha_vantage": 4,
    }  # fmt: skip
    run(Refresh(data_types=BOTH))
    assert reported["requests"] == len(vendors.asked)


def test_stale_fundamentals_are_requested_and_fresh_ones_are_not(
    run: Run, vendors: world.Vendors, held: FundamentalsCache, clock: ManualClock
) -> None:
    reported = run(Refresh(["aapl", "KO"], BOTH, delay_s=0))
    assert names(reported) == ["AAPL", "KO"]
    assert reported["successful"] == ["AAPL", "KO"]
    assert "/stable/profile" in vendors.asked
    assert vendors.server is not None
    assert not [path for path, _ in vendors.server.requests if "KO" in path]
    assert held.latest("AAPL", "profile")["alpha_vantage"].fetched_at_ms == clock.now_ms()


def test_only_the_stale_data_types_of_a_symbol_are_requested(
    run: Run, vendors: world.Vendors, held: FundamentalsCache, clock: ManualClock
) -> None:
    for vendor in world.USUAL:
        facts = {"company_name": Fact("Apple Inc.", "text")}
        held.keep(Snapshot(vendor, "AAPL", clock.now_ms(), facts, data_types=("profile",)))
    assert run(Refresh(["AAPL"], BOTH, delay_s=0))["successful"] == ["AAPL"]
    assert "/stable/ratios-ttm" in vendors.asked
    assert "/stable/profile" not in vendors.asked and vendors.asked.count("OVERVIEW") == 1


@pytest.mark.usefixtures("held")
def test_the_age_given_to_a_run_decides_which_fundamentals_are_stale(
    run: Run, vendors: world.Vendors
) -> None:
    run(Refresh(["KO"], ("profile",), Choice(stale_min_days=2)))
    assert vendors.asked == []
    vendors.bodies["OVERVIEW"] = world.av_overview("KO", Name="Apple Inc.")
    reported = run(Refresh(["KO"], ("profile",), Choice(stale_min_days=0.5)))
    assert "OVERVIEW" in vendors.asked
    assert reported["successful"] == ["KO"]


@pytest.mark.usefixtures("held")
def test_a_refresh_that_only_finds_old_copies_is_not_a_success(
    run: Run, vendors: world.Vendors
) -> None:
    vendors.bodies = {}
    reported = run(Refresh(["AAPL"], ("profile",), force=True))
    assert reported["failed"] == ["AAPL"]
    assert "older copies are used" in reported["results"][0]["errors"][0]
    nobody = run(Refresh(["ZZZZ", "../x"], ("profile",)))
    assert nobody["failed"] == ["ZZZZ", "../x"]
    assert "fmp has no profile for ZZZZ" in nobody["results"][0]["errors"][0]


@pytest.mark.usefixtures("held")
def test_the_delay_between_two_symbols_applies_per_vendor_and_not_to_fresh_ones(
    run: Run, clock: ManualClock
) -> None:
    run(Refresh(["KO", "MSFT"], ("profile",), delay_s=5.0))  # KO is fresh
    assert clock.slept == []
    run(Refresh(["KO", "MSFT", "AAPL"], ("profile",), force=True, delay_s=5.0))
    assert clock.slept == [5.0] * 4  # two vendors, three symbols


@pytest.mark.usefixtures("held")
def test_a_vendor_that_does_not_answer_delays_no_other(
    run: Run, vendors: world.Vendors, held: FundamentalsCache, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("src.data.jobs.run.runner.QUIET_S", 0.05)
    monkeypatch.setattr("src.data.jobs.run.runner.AT_WORK", 1)
    vendors.slow = {"/stable/profile"}
    waits: list[str] = []

    def look(now: Progress) -> None:
        if now.waiting:
            reported = held.latest("AAPL", "profile")["alpha_vantage"]
            if reported.fetched_at_ms == clock.now_ms():  # it has answered
                waits.append(now.waiting)
                vendors.gate.set()

    reported = run(Refresh(["AAPL"], ("profile",)), progress=look)
    assert "for fmp" in waits[0]
    assert reported["successful"] == ["AAPL"]


def test_equal_failures_are_one_reason_and_a_second_vendors_answer_is_a_success(
    run: Run, vendors: world.Vendors
) -> None:
    vendors.status = {"/stable/profile": 503}
    vendors.bodies["OVERVIEW"] = world.av_overview("AAPL")
    rows = [WorkItem("AAPL", "1d", "2020-01-01", 2), WorkItem("KO", priority=1)]
    reported = run(Refresh([*rows, WorkItem("X", problem="line 3: no")], ("profile",)))
    assert names(reported) == ["KO", "AAPL"]
    assert (reported["successful"], reported["failed"]) == (["AAPL"], ["KO", "X"])
    assert [(one["series"], one["failed"]) for one in reported["reasons"]] == [
        (["KO profile"], True), (["AAPL profile"], False), (["X profile"], True),
    ]  # fmt: skip
    assert "HTTP 503" in reported["reasons"][0]["why"] and "503" in reported["reasons"][1]["why"]
    assert reported["requests"]["alpha_vantage"] == {"sent": 2, "answered": 1}


@pytest.mark.usefixtures("held")
def test_progress_counts_symbols_as_the_report_does(run: Run) -> None:
    heard: list[Progress] = []
    reported = run(
        Refresh(["KO", WorkItem("X", problem="line 3: no")], BOTH), progress=heard.append
    )
    assert (reported["successful"], reported["failed"]) == (["KO"], ["X"])
    assert [(now.done, now.total, now.share) for now in heard] == [
        (0, 2, 0.25), (1, 2, 0.5), (1, 2, 0.75), (2, 2, 1.0),
    ]  # fmt: skip


def test_an_open_circuit_is_one_warning_of_a_run(
    run: Run, vendors: world.Vendors, caplog: pytest.LogCaptureFixture
) -> None:
    vendors.status = {"/stable/profile": 403}
    for _ in range(2):  # the first one opens it
        caplog.clear()
        assert len(run(Refresh(MANY[:8], ("profile",)))["failed"]) == 8
        warned = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
        assert sum("fmp is paused" in message for message in warned) == 1


def test_an_answer_that_cannot_be_stored_is_a_failure_and_a_full_disk_ends_the_run(
    run: Run, vendors: world.Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: FundamentalsCache, snapshot: Snapshot) -> Path:
        raise StorageError("the disk is full") from OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(FundamentalsCache, "keep", full)
    monkeypatch.setattr("src.data.jobs.run.runner.AT_WORK", 1)
    reported = run(Refresh(["AAPL", *MANY], ("profile",)))
    assert (reported["successful"], len(reported["failed"])) == ([], 51)
    assert len(vendors.asked) <= 8  # of each vendor one symbol at most, and FMP's four requests
    assert "not asked: the disk is full" in str(reported["results"][-1]["errors"])


def test_an_interrupted_run_reports_results_and_symbols_not_requested(
    run: Run, vendors: world.Vendors, held: FundamentalsCache, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    quiet = [False]

    def stop(now: Progress) -> None:
        reported = held.latest("AAPL", "profile").get(
            "fmp"
        )  # on a busy machine it comes after others
        if now.waiting and reported and reported.fetched_at_ms == clock.now_ms():
            if quiet.pop():  # since then nothing more has come
                raise KeyboardInterrupt
            quiet.append(True)

    vendors.slow = {"OVERVIEW"}
    monkeypatch.setattr("src.data.jobs.run.runner.QUIET_S", 0.1)
    monkeypatch.setattr("src.data.jobs.run.runner.GRACE_S", 0.0)
    wanted = Refresh([WorkItem("AAPL", priority=1), *MANY], ("profile",), force=True)
    reported = run(wanted, progress=stop)
    assert (reported["interrupted"], reported["successful"], len(reported["failed"])) == (
        True,
        ["AAPL"],
        50,
    )
    assert all("alpha_vantage: not asked: interrupted" in one["why"] for one in reported["reasons"])
    monkeypatch.setattr(FundamentalsService, "plan", Mock(side_effect=KeyboardInterrupt))
    reported = run(wanted)
    assert (reported["interrupted"], reported["successful"], len(reported["failed"])) == (
        True,
        [],
        51,
    )


@pytest.mark.usefixtures("held")
def test_the_periodic_job_requests_ratios_and_profiles_of_the_oldest(
    cache: Path, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: clock)
    monkeypatch.setattr("src.data.jobs.fill.refresh_fundamentals.PERIODIC_SYMBOLS", 2)
    reported = periodic_refresh(None, cache, config_path=rules)
    assert names(reported) == ["AAPL", "MSFT"]
    assert set(reported["results"][0]["data_types"]) == {"ratios", "profile"}


def test_cleaning_up_keeps_the_newest_good_copy_of_each(
    cache: Path, rules: Path, held: FundamentalsCache, clock: ManualClock
) -> None:
    keep(held, "AAPL", clock.now_ms() - 100 * DAY_MS)
    tried = cleanup_fundamentals(cache, config_path=rules, dry_run=True)
    assert (tried["total_removed_files"], len(held.latest("AAPL", "profile"))) == (4, 2)
    done = cleanup_fundamentals(cache, config_path=rules)
    assert done["removed"] == tried["removed"]
    assert all("20240304" in path for path in done["removed"])
    assert cleanup_fundamentals(cache, config_path=rules)["removed"] == []
    assert get_cached_symbols(cache, config_path=rules) == ["AAPL", "KO", "MSFT"]


@pytest.mark.usefixtures("held")
def test_refresh_accepts_a_data_manager(
    cache: Path, rules: Path, vendors: world.Vendors, clock: ManualClock
) -> None:
    manager = DataManager(cache, rules, clock=clock)
    reported = refresh_symbol_fundamentals(manager, "KO", ["profile"])
    assert reported == {"symbol": "KO", "success": True, "errors": [],
                    "data_types": {"profile": {"success": True, "fields_count": 2}}}  # fmt: skip
    assert vendors.asked == []
    for name in ("refresh", "force_refresh"):
        before = len(vendors.asked)
        refresh_symbol_fundamentals(manager, "KO", ["profile"], **{name: True})  # type: ignore[arg-type]
        assert len(vendors.asked) > before, name
    with pytest.raises(QueryError, match="force_refresh and refresh are two names"):
        refresh_symbol_fundamentals(manager, "KO", ["profile"], True, refresh=True)


def test_symbols_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "symbols.txt"
    path.write_text("# those I watch\naapl\n\nBRK.B  # Berkshire\nKO,1d,2020-01-01,2\n")
    assert load_symbols_from_file(path) == ["AAPL", "BRK.B", "KO"]
    with pytest.raises(QueryError, match=r"nowhere\.txt cannot be read"):
        load_symbols_from_file(tmp_path / "nowhere.txt")


@pytest.mark.parametrize("kinds", [(), ("nope",)])
def test_unknown_data_types_and_delays_are_refused_before_any_request(
    run: Run, vendors: world.Vendors, kinds: tuple[str, ...]
) -> None:
    with pytest.raises(QueryError, match="data type"):
        run(Refresh(["AAPL"], kinds))
    with pytest.raises(QueryError, match="invalid delay -1 s"):
        Refresh(delay_s=-1)
    assert vendors.asked == []
