"""The populate job: older signatures, and which failures of vendors make it fail."""

from __future__ import annotations

import copy
import functools
import gzip
import json
import pickle
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.retention.inventory import Inventory
from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.instant import parse_iso
from src.data.core.net.limits.guarded_call import JobCalls
from src.data.core.prices.judgement.findings import QualityReport
from src.data.data_manager import DataManager
from src.data.doors.compat.populator import CachePopulator
from src.data.errors import BadRangeError, BadTimeframeError, IncompleteDataError, QueryError
from src.data.jobs.fill.populate import is_filled, populate_cache, sync_cache
from src.data.jobs.fill.refresh_fundamentals import Refresh, refresh_fundamentals
from src.data.jobs.run.job_report import JobReport, has_no_failure
from tests.conformance.sheet import sheet_of
from tests.core.cache.bars import write_older_year
from tests.core.cache.counts import crossed
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.face import Reply
from tests.vendor_server.keyed import KEY

pytestmark = pytest.mark.usefixtures("rules")
# The first day of a request, one in the middle and the last one.
DAYS = ["2024-05-01", "2024-05-14", "2024-05-31"]


def test_populate_cache_works_with_its_older_signature(
    tmp_path: Path, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = populate_cache(
        symbols=["BTCUSDT", "AAPL"], intervals=["1h", "1d"],
        start_date=datetime(2024, 5, 1), end_date=datetime(2024, 5, 31),
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    assert reported["success"] == ["BTCUSDT_1h", "BTCUSDT_1d", "AAPL_1h", "AAPL_1d"]
    assert reported["failed"] == []
    assert reported["cache_stats"]["files_count"] == 4
    assert reported["data_quality"]["BTCUSDT_1h"]["score"] > 0.9
    assert (tmp_path / "cache" / "ohlcv" / "BTCUSDT" / "1h" / "2024.csv.gz").is_file()
    json.dumps(reported)
    asked = vendors.count()
    walks, look = list[str](), Inventory.contents

    def noted(inventory: Inventory, part: Any = "") -> Any:
        walks.append(part)
        return look(inventory, part)

    monkeypatch.setattr(Inventory, "contents", noted)
    again = populate_cache(["BTCUSDT", "AAPL"], ["1h", "1d"], start="2024-05-01", end="2024-05-30",
                           cache_dir=tmp_path / "cache")  # fmt: skip
    assert vendors.count() == asked
    assert all(result["fetched"] == 0 for result in again["results"])
    assert walks.count("") == 1, "the whole folder is looked through once"
    days = {"start": "2024-05-30", "end": "2024-05-31", "cache_dir": tmp_path / "cache"}
    fetched = populate_cache(["AAPL"], ["1d"], refresh=True, **days)["results"][0]["fetched"]
    assert fetched == 2
    twice: dict[str, Any]
    for twice in ({"start_date": "2024-05-30"}, {"end_date": "2024-05-31"},
                  {"refresh": True, "force_refresh": True}):  # fmt: skip
        with pytest.raises(QueryError, match="two names for the same argument"):
            populate_cache(["AAPL"], ["1d"], **days, **twice)


def test_arguments_left_out_keep_their_older_meaning(tmp_path: Path) -> None:
    assert populate_cache(cache_dir=tmp_path / "cache")["results"] == []
    populate_cache(["NEWUSDT"], ["1d"], cache_dir=tmp_path / "cache")
    reported = populate_cache(intervals=["4h"], cache_dir=tmp_path / "cache")
    assert reported["success"] == ["NEWUSDT_4h"]
    assert reported["results"][0]["rows"] == 9 * 6 + 1, (
        "from the 4 hours of the listing to the last closed"
    )


def test_a_string_of_symbols_is_not_taken_for_a_list_of_letters(
    tmp_path: Path, vendors: VendorServer
) -> None:
    populator = CachePopulator(tmp_path / "cache")
    for text in ("T", "AAPL,BTCUSDT"):
        for fill in (
            lambda text: populate_cache(text, ["1d"], cache_dir=tmp_path / "cache"),
            lambda text: populator.populate_cache(text, ["1d"]),
            lambda text: refresh_fundamentals(Refresh(text), tmp_path / "cache"),
        ):
            with pytest.raises(QueryError, match=f"must be a list, not the string '{text}'"):
                fill(text)
    assert vendors.count() == 0


def test_an_invalid_job_sends_no_request(tmp_path: Path, vendors: VendorServer) -> None:
    with pytest.raises(BadTimeframeError):
        populate_cache(["AAPL"], ["1d", "1x"], cache_dir=tmp_path / "cache")
    with pytest.raises(BadRangeError):
        populate_cache(["AAPL"], ["1d"], "2024-05-02", "2024-05-01", tmp_path / "cache")
    assert vendors.count() == 0


@pytest.mark.parametrize(
    "symbol, step, rows", [("BTCUSDT", "1h", 744), ("BTCUSDT", "90m", 496), ("HALTUSDT", "1h", 72)]
)
@pytest.mark.parametrize("fault", ["status", "html", "reset"])
def test_a_vendor_that_is_down_is_a_failure_even_with_cached_bars(
    fault: str, symbol: str, step: str, rows: int, tmp_path: Path, vendors: VendorServer
) -> None:
    """Averages may stand in for the first of the two coins, for all of it; for the other none."""
    cache = tmp_path / "cache"
    may = functools.partial(populate_cache, [symbol], [step], "2024-05-01", cache_dir=cache)
    assert may(end_date="2024-05-03")["failed"] == []
    faults = {"status": Fault.status(503), "html": Fault.lie("html"), "reset": Fault.reset()}
    vendors.fault("binance", faults[fault])
    name = f"{symbol}_{step}"
    reported = may(end_date="2024-05-31")
    assert (reported["success"], reported["failed"]) == ([], [name])
    assert "binance" in reported["errors"][name]
    (result,) = reported["results"]
    vendor = "yahoo" if symbol == "BTCUSDT" else "binance"
    assert (result["rows"], result["vendors"]) == (rows, [vendor])
    assert ("substitute" in result["lacking"]) == (vendor == "yahoo")
    done = CachePopulator(cache).populate_ticker(symbol, [step], "2024-05-01", "2024-05-31")
    assert done == {step: False}
    vendors.heal()
    assert may(end_date="2024-05-31")["success"] == [name]


def test_ten_requests_run_at_once_per_vendor_after_failover_too(
    rules: Path, tmp_path: Path, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours are asked of Yahoo; days are asked of it, too, for Tiingo is down.

    Ten requests at once where the limits allow, up to twelve series at work: what docs/jobs.md says.
    """
    monkeypatch.setenv("TIINGO_API_KEY", KEY)
    rules.write_text(
        "stock_daily: {primary: tiingo, backup: [yahoo]}\n"
        "stock_intraday: {primary: yahoo, backup: []}\n"
        "providers:\n"
        f"  tiingo: {{base_url: '{vendors.base_url('tiingo')}'}}\n"
        f"  yahoo: {{base_url: '{vendors.base_url('yahoo')}', transport: http,\n"
        "          rate_limits: {requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}}\n"
    )
    call_slot, coming, all_wait = JobCalls.call_slot, iter(range(12)), threading.Event()
    arrived = list[int]()

    def noted(calls: JobCalls, vendor: str, most: int) -> threading.Semaphore:
        if vendor == "yahoo" and next(coming, 0) == 11:
            all_wait.set()
        return call_slot(calls, vendor, most)

    def keep_back(*_: Any) -> Reply:
        """Answer when every task would ask, and an eleventh request could have arrived."""
        all_wait.wait(60.0)
        if not arrived:
            vendors.wait_for("yahoo", 10)
            vendors.wait_for("yahoo", 11, 0.3)
            arrived.append(vendors.count("yahoo"))
        return Reply.text("", 404)

    monkeypatch.setattr(JobCalls, "call_slot", noted)
    vendors.fault("tiingo", Fault.status(503))
    vendors.fault("yahoo", Fault("kept back", instead=keep_back))
    shares = ["AAPL", "MSFT", "SPY", "NVDA", "BRK-B", "YOUNG"]
    reported = populate_cache(shares, ["1d", "1h"], "2024-05-09", "2024-05-10", tmp_path / "cache")
    assert len(reported["failed"]) == 2 * len(shares) == 12 and vendors.count("tiingo") > 0
    assert arrived[0] == 10


def test_an_open_circuit_is_one_warning_in_a_job_for_any_number_of_series(
    rules: Path, tmp_path: Path, vendors: VendorServer, caplog: pytest.LogCaptureFixture
) -> None:
    rules.write_text("crypto: {backup: []}\n" + rules.read_text())
    coins = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "HALTUSDT", "THINUSDT", "OLDUSDT"]

    def warned_in_a_job() -> list[str]:
        caplog.clear()
        bounds = "2024-05-01", "2024-05-04"
        assert len(populate_cache(coins, ["1d"], *bounds, tmp_path)["failed"]) == len(coins)
        messages = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
        return [message for message in messages if "is paused" in message]

    # Of some series nothing is stored, of the others the first days.
    assert populate_cache(coins[:3], ["1d"], "2024-05-01", "2024-05-02", tmp_path)["success"]
    vendors.fault("binance", Fault.refuse("restricted"))
    assert len(warned_in_a_job()) == 1, "of the call that opens it"
    asked = vendors.count()
    assert len(warned_in_a_job()) == 1, "of the first series that is not requested"
    assert vendors.count() == asked


def test_a_failure_in_the_middle_of_the_range_is_not_a_success(
    tmp_path: Path, vendors: VendorServer
) -> None:
    cache = tmp_path / "cache"
    populate_cache(["HALTUSDT"], ["1h"], "2024-03-01", "2024-03-06", cache)
    populate_cache(["HALTUSDT"], ["1h"], "2024-03-10", "2024-03-12", cache)
    vendors.fault("binance", Fault.status(503))
    reported = populate_cache(["HALTUSDT"], ["1h"], "2024-03-01", "2024-03-12", cache)
    assert reported["failed"] == ["HALTUSDT_1h"]
    assert "503" in reported["errors"]["HALTUSDT_1h"], "not the outage of the venue before it"


@pytest.mark.parametrize(("job", "day"), crossed(["populate", "sync"], DAYS))
def test_a_vendor_that_fails_for_bars_missing_at_the_next_one_is_a_failure(
    rules: Path,
    tmp_path: Path,
    vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
    job: str,
    day: str,
) -> None:
    monkeypatch.setenv("FMP_API_KEY", sheet_of("fmp").keys["FMP_API_KEY"])
    text = rules.read_text() + f"  fmp: {{base_url: '{vendors.base_url('fmp')}'}}\n"
    rules.write_text(f"stock_daily: {{primary: yahoo, backup: [fmp]}}\n{text}")
    fill = functools.partial(populate_cache, cache_dir=tmp_path / "cache")
    if job == "sync":  # all that is stored
        fill(["AAPL"], ["1d"], "2024-04-01", "2024-04-30")
    vendors.fault("yahoo", Fault.status(503))
    vendors.fault("fmp", Fault.drop_stamps(parse_iso(day)))
    reported = fill(None if job == "sync" else ["AAPL"], ["1d"], "2024-05-01", "2024-05-31")
    assert reported["failed"] == ["AAPL_1d"]
    assert reported["errors"]["AAPL_1d"].startswith("yahoo: ")


def test_a_ban_by_a_vendor_is_a_failure(tmp_path: Path, vendors: VendorServer) -> None:
    steps = ["5m", "15m", "30m", "1h", "4h", "1d"]
    fill = functools.partial(populate_cache, ["HALTUSDT"], steps, "2024-05-01")
    assert fill("2024-05-02", tmp_path)["failed"] == []
    vendors.clear_log()
    vendors.fault("binance", Fault.ban(retry_after=7200))
    reported = fill("2024-05-10", tmp_path)
    assert (reported["success"], len(reported["failed"])) == ([], len(steps))
    assert vendors.count("binance") <= 6, "those at once; the others failed without a request"


def test_bars_that_no_vendor_can_have_are_not_a_failure(
    tmp_path: Path, vendors: VendorServer
) -> None:
    """Yahoo has minutes of 60 days: older ones were never requested."""
    reported = populate_cache(["AAPL"], ["5m"], "2024-01-02", "2024-05-31", tmp_path / "cache")
    assert reported["success"] == ["AAPL_5m"]
    assert reported["results"][0]["complete"] is False
    assert "back" in reported["results"][0]["lacking"]


def test_a_report_says_whether_all_was_done(tmp_path: Path, vendors: VendorServer) -> None:
    """The verdicts are those of the command: its exit codes are 0, 0, 1, 1, 0 and 1."""
    cache = tmp_path / "cache"

    def ok(symbol: str, step: str, *days: str, dry_run: bool = False) -> bool:
        return populate_cache([symbol], [step], *days, cache, dry_run=dry_run).ok

    assert ok("BTCUSDT", "1h", "2024-05-01", "2024-05-03", dry_run=True)
    assert ok("BTCUSDT", "1h", "2024-05-01", "2024-05-03")
    assert not ok("AAPL", "5m", "2024-01-02", "2024-05-31"), "no vendor has older minutes"
    assert not ok("AAPL", "5m", "2024-01-02", "2024-01-31", dry_run=True)
    assert sync_cache("BTC*", cache).ok
    assert not sync_cache("ETH*", cache).ok, "there is nothing to fill"
    assert not sync_cache("ETH*", cache, dry_run=True).ok
    vendors.fault("binance", Fault.status(503))
    assert not ok("ETHUSDT", "1h", "2024-05-01", "2024-05-03")


@pytest.mark.parametrize(
    ("verdict", "changes", "expected"),
    [
        (is_filled, {}, True),
        (is_filled, {"interrupted": True}, False),
        (is_filled, {"failed": ["AAPL_1d"]}, False),
        (is_filled, {"results": [{"complete": True}, {"complete": False}]}, False),
        (is_filled, {"results": []}, False),
        (is_filled, {"reasons": [{"failed": False}]}, True),
        (is_filled, {"reasons": [{"failed": True}]}, False),
        (has_no_failure, {"successful": [], "results": []}, True),
        (has_no_failure, {"successful": [], "interrupted": True}, False),
        (has_no_failure, {"successful": [], "failed": ["AAPL"]}, False),
        (has_no_failure, {"successful": [], "reasons": [{"failed": True}]}, False),
    ],
)
def test_the_verdict_of_a_job_by_its_report(
    verdict: Callable[[Mapping[str, Any]], bool], changes: dict[str, Any], expected: bool
) -> None:
    usual = {"interrupted": False, "failed": [], "results": [{"complete": True}], "reasons": []}
    assert verdict(usual | changes) is expected


@pytest.mark.parametrize("ok", [True, False])
@pytest.mark.parametrize("key", ["successful", "selected", "series", "results"])
def test_a_report_has_the_verdict_of_its_job_whatever_its_keys(key: str, ok: bool) -> None:
    facts = {key: [], "found": 1, "interrupted": True, "failed": [], "reasons": []}
    with pytest.raises(TypeError, match="ok"):
        JobReport(facts)  # type: ignore[call-arg]
    report = JobReport(facts, ok=ok)
    assert report.ok is ok and report == facts
    assert copy.deepcopy(report).ok is ok
    assert pickle.loads(pickle.dumps(report)).ok is ok


def test_both_older_import_paths_give_the_same_populate_functions() -> None:
    from src.data.cache import populate_cache as documented
    from src.data.utils import populate_cache as older

    assert documented.populate_cache is older.populate_cache is populate_cache
    assert documented.CachePopulator is older.CachePopulator is CachePopulator


class TestCachePopulator:
    """The class of old, with the results that its callers read."""

    @pytest.fixture
    def populator(self, tmp_path: Path) -> CachePopulator:
        """Return a populator of a cache folder that does not exist yet."""
        return CachePopulator(str(tmp_path / "cache"))

    def test_a_populator_discovers_the_stored_symbols(self, populator: CachePopulator) -> None:
        assert populator.discover_existing_tickers() == []
        assert populator.populate_ticker("AAPL", ["1d"], "2024-05-01", "2024-05-31") == {"1d": True}
        assert populator.discover_existing_tickers() == ["AAPL"]

    def test_populate_returns_results_by_symbol_and_timeframe(
        self, populator: CachePopulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        done = populator.populate_cache(
            ["AAPL", "ZZZZQ"], ["1d"], date(2024, 5, 1), date(2024, 5, 31)
        )
        assert done == {"AAPL": {"1d": True}, "ZZZZQ": {"1d": False}}
        populator.print_summary()
        said = capsys.readouterr().out
        assert said == "1 of 2 series succeeded\n  AAPL: 1d ok\n  ZZZZQ: 1d FAILED\n"
        populator.print_summary({"X": {"1h": True}})
        assert "X: 1h ok" in capsys.readouterr().out

    def test_years_supplied_by_a_vendor_are_valid(
        self, populator: CachePopulator, tmp_path: Path
    ) -> None:
        populator.populate_ticker("AAPL", ["1d"], "2024-05-01", "2024-05-31")
        assert populator.is_valid_cached_data("AAPL", "1d", 2024)
        assert not populator.is_valid_cached_data("AAPL", "1d", 2023)
        assert not populator.is_valid_cached_data("AAPL", "1h", 2024)

    def test_years_of_the_mock_vendor_are_not_valid(
        self, populator: CachePopulator, tmp_path: Path
    ) -> None:
        folder = tmp_path / "cache" / "ohlcv" / "AAPL" / "1d"
        folder.mkdir(parents=True)
        rows = "timestamp,open,high,low,close,volume\n2024-05-01,1,1,1,1,1\n2024-05-02,1,1,1,1,1\n"
        (folder / "2024.csv.gz").write_bytes(gzip.compress(rows.encode()))
        (folder / "2024.metadata.json").write_text(json.dumps({"data_source": "mock"}))
        assert not populator.is_valid_cached_data("AAPL", "1d", 2024)
        missing = populator.analyze_missing_data("AAPL", ["1d"], "2024-05-01", "2024-05-31")
        assert missing == {"1d": [2024]}

    def test_missing_years_are_listed_and_filled(
        self, populator: CachePopulator, vendors: VendorServer
    ) -> None:
        bounds = ("2022-12-01", "2024-05-31")
        populator.populate_ticker("AAPL", ["1d"], "2023-01-01", "2023-12-31")
        vendors.clear_log()
        missing = populator.analyze_missing_data("AAPL", ["1d"], *bounds)
        assert missing == {"1d": [2022, 2024]}
        assert vendors.count() == 0
        assert populator.populate_missing_data("AAPL", missing, *bounds) == {"1d": True}
        assert populator.analyze_missing_data("AAPL", ["1d"], *bounds) == {"1d": []}
        assert populator.populate_missing_data("AAPL", {"1d": []}) == {"1d": True}

    def test_populating_missing_years_without_dates_fetches_whole_years(
        self, populator: CachePopulator
    ) -> None:
        assert populator.populate_missing_data("BTCUSDT", {"1d": [2023]}) == {"1d": True}
        assert populator.cache.get_data_info("BTCUSDT", "1d", 2023)["file_info"]["rows"] == 365
        assert populator.cache.list_years("BTCUSDT", "1d") == [2023]
        assert populator.populate_missing_data("BTCUSDT", {"1d": [2022, 2024]}) == {"1d": True}
        assert populator.cache.list_years("BTCUSDT", "1d") == [2022, 2023, 2024]
        assert populator.cache.get_data_info("BTCUSDT", "1d", 2022)["file_info"]["rows"] == 365

    def test_dates_limit_the_filled_years_and_a_series_without_bars_is_not_a_success(
        self, populator: CachePopulator
    ) -> None:
        days = "2023-03-01", "2023-03-10"
        assert populator.populate_missing_data("BTCUSDT", {"1d": [2023]}, *days) == {"1d": True}
        assert populator.cache.get_data_info("BTCUSDT", "1d", 2023)["file_info"]["rows"] == 10
        assert populator.populate_missing_data("ZZZZQ", {"1d": [2023]}, *days) == {"1d": False}
        missing = {"daily": [2023], "1h": []}
        assert populator.populate_missing_data("ZZZZQ", missing) == {"daily": False, "1h": True}

    def test_populate_cache_raises_a_keyboard_interrupt_unchanged(
        self, populator: CachePopulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("src.data.core.net.http.http.HttpTransport.send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            populator.populate_cache(["AAPL"], ["1d"], "2024-05-01", "2024-05-31")

    def test_the_result_for_a_vendor_that_is_down_is_false_and_logged(
        self, populator: CachePopulator, vendors: VendorServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        vendors.fault("yahoo", Fault.status(503))
        assert populator.populate_ticker("AAPL", ["1d"], "2024-05-01", "2024-05-31") == {
            "1d": False
        }
        assert any(text.startswith("AAPL 1d: All providers failed") for text in caplog.messages)


def test_a_job_marks_the_bars_that_the_whole_series_proves_wrong(
    tmp_path: Path, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.core.bars.ingest.judge.graves", lambda series: [])
    at = parse_iso("2024-05-10T07:00")
    vendors.revise("BTCUSDT", "1h", at, 100.0, parse_iso("2099-01-01"))
    cache = tmp_path / "cache"
    bounds = ("2024-05-01", "2024-05-31")
    report = populate_cache(["BTCUSDT", "AAPL"], ["1h"], *bounds, cache)
    assert report["marked"] == {"BTCUSDT_1h": 1}
    assert ("marked", "BTCUSDT_1h: 1 bar certainly wrong") in list(report.lines())
    asked = vendors.count()
    manager = DataManager(cache)
    with pytest.raises(IncompleteDataError, match="as the whole series shows: unit"):
        manager.get_ohlcv("BTCUSDT", "1h", *bounds, strict=True)
    assert vendors.count() == asked
    vendors.revise("BTCUSDT", "1d", parse_iso("2024-05-10"), 100.0, parse_iso("2099-01-01"))
    DataManager(cache).get_ohlcv("BTCUSDT", "1d", *bounds)
    looked_at: list[str] = []

    def look(_client: Any, _instrument: Any, key: SeriesKey) -> QualityReport:
        looked_at.append(str(key))
        return QualityReport(key.symbol, key.timeframe.label)

    monkeypatch.setattr("src.data.jobs.validation.marks.marked", look)
    assert populate_cache(["BTCUSDT", "AAPL"], ["1h"], *bounds, cache)["marked"] == {}
    assert looked_at == [], "nothing was stored"
    populate_cache(["BTCUSDT", "AAPL"], ["1h"], bounds[0], "2024-06-03", cache)
    assert looked_at == ["AAPL 1h", "BTCUSDT 1h"], "not the days next to them"


@pytest.mark.parametrize("damage", ["half of the data", "no metadata", "an older tool's folder"])
def test_a_sync_updates_series_that_only_the_store_can_describe(
    tmp_path: Path, clock: ManualClock, damage: str
) -> None:
    cache = tmp_path / "cache"
    populate_cache(["AAPL"], ["1d"], "2023-12-01", "2024-06-11", cache)
    stored = DataManager(cache).get_ohlcv("AAPL", "1d", "2023-12-01", "2024-06-11")
    year = cache / "ohlcv" / "AAPL" / "1d" / "2023.csv.gz"
    if damage == "half of the data":
        year.write_bytes(year.read_bytes()[: year.stat().st_size // 2])
    elif damage == "no metadata":
        year.with_name("2023.metadata.json").write_bytes(b"")
    else:
        write_older_year(cache / "AAPL" / "1h")
    clock.advance(86_400)
    report = sync_cache("* 1d", cache)
    assert (report["success"], report["failed"]) == (["AAPL_1d"], [])
    (result,) = report["results"]
    assert (result["rows"], result["complete"]) == (len(stored) + 1, True), "from the first bar on"


def test_a_sync_names_a_series_whose_bars_cannot_be_read(
    tmp_path: Path, vendors: VendorServer
) -> None:
    cache = tmp_path / "cache"
    populate_cache(["AAPL", "BTCUSDT"], ["1d"], "2024-05-01", "2024-06-11", cache)
    folder = cache / "ohlcv" / "AAPL" / "1d"
    (folder / "2024.csv.gz").write_bytes(b"")
    (folder / "2024.metadata.json").write_bytes(b"")
    vendors.clear_log()
    report = sync_cache("*", cache)
    assert report["success"] == ["BTCUSDT_1d"]
    assert report["errors"] == {
        "AAPL_1d": "none of its bars can be read (`onetape cache verify` shows the damage)"
    }
    assert vendors.count("yahoo") == 0, "the first bar is not guessed"


def test_a_job_after_an_outage_tries_the_vendor_once_and_fails_no_series(
    rules: Path, tmp_path: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    fast = "requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000"
    rules.write_text(rules.read_text().replace("http}", f"http, rate_limits: {{{fast}}}}}"))
    names = [f"Q{a}{b}" for a in "ABC" for b in "ABCDEFGHIJ"]
    for name in names:
        vendors.truth.add(replace(vendors.truth.listing("AAPL"), symbol=name, actions=()))

    def populated() -> dict[str, Any]:
        return populate_cache(
            names, ["1d", "1h"], "2024-05-01", "2024-05-31", cache_dir=tmp_path / "cache"
        )

    vendors.fault("yahoo", Fault.status(503))
    assert len(populated()["failed"]) == 60
    vendors.clear_log()
    assert len(populated()["failed"]) == 60
    tries = vendors.count("yahoo")
    assert 2 <= tries <= 2 * 3 * 7, "each endpoint once, with retries, by at most all threads"
    vendors.heal()
    begun = clock.monotonic()
    report = populated()
    assert report["failed"] == [], report["reasons"]
    assert clock.monotonic() - begun < 30
