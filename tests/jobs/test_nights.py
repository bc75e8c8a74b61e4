"""The record of nights: what each job did on each date, holes and failures, damage, writers at once."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.data.cli import main
from src.data.core.clock import ManualClock
from src.data.core.wiring import Services
from src.data.data_manager import DataManager
from src.data.errors import CacheError, QueryError, StorageError
from src.data.jobs.fill import refresh_fundamentals as fundamentals
from src.data.jobs.fill.populate import populate_cache, sync_cache
from src.data.jobs.fill.refresh_fundamentals import Refresh, refresh_fundamentals
from src.data.jobs.run import nights
from src.data.jobs.run.nights import nights_of, record_night, recorded
from tests.vendor_server import VendorServer

DAY_S = 86_400
GOOD = {"vendors": ["yahoo"], "score": 0.9, "fetched": 5, "wrong": "", "failed_at": ""}
FAILED = {"vendors": [], "score": None, "error": "down", "wrong": "", "failed_at": "alpaca"}
WHY = [{"failed": True, "why": "alpaca is down", "series": ["AAPL 1d"]}]


@pytest.fixture
def services(tmp_path: Path, clock: ManualClock) -> Services:
    """Return the services of an empty folder at 2024-06-12 15:00:30 UTC."""
    return DataManager(tmp_path / "cache", clock=clock)._services


def run(services: Services, *results: dict[str, Any], job: str = "sync", **more: Any) -> None:
    record_night(services, job, {"results": results, **more}, services.clock.now_ms())


def states(services: Services) -> list[tuple[str, str]]:
    return [(night["night"], night["state"]) for night in nights_of(services)["nights"]]


def record_of(services: Services) -> Path:
    return Path(services.cache.metadata_dir) / "nights.jsonl"


def test_a_failure_and_a_night_without_a_run_are_seen(
    services: Services, clock: ManualClock
) -> None:
    assert nights_of(services) == {"nights": [], "vendors": [], "damaged": 0, "problem": ""}
    run(services, GOOD, GOOD | {"score": 0.8})
    clock.advance(2 * DAY_S)
    run(services, GOOD, FAILED, reasons=WHY)
    clock.advance(DAY_S)
    run(services, GOOD | {"complete": False, "wrong": "a high below its low"})
    assert states(services) == [
        ("2024-06-12", "complete"),
        ("2024-06-13", "did not run"),
        ("2024-06-14", "failed"),
        ("2024-06-15", "incomplete"),
    ]
    found = nights_of(services)
    assert found["nights"][2]["text"] == "sync: 2 series, 1 failed (alpaca is down)"
    assert found["nights"][3]["text"] == "sync: 1 series, 1 incomplete, 1 doubtful"
    assert found["vendors"] == [
        {"vendor": "alpaca", "score": [None] * 4, "failed": [0, 0, 1, 0]},
        {"vendor": "yahoo", "score": [0.85, None, 0.9, 0.9], "failed": [0, 0, 0, 0]},
    ]
    clock.advance(DAY_S)
    assert len(states(services)) == 4, "today has not failed because its job is still to come"
    clock.advance(DAY_S)
    assert states(services)[-1] == ("2024-06-16", "did not run")


@pytest.mark.parametrize("days", [14, 20, 400])
def test_nights_without_a_run_are_seen_however_long_ago_the_last_run_was(
    services: Services, clock: ManualClock, days: int
) -> None:
    run(services, GOOD)
    clock.advance(days * DAY_S)
    assert [state for _, state in states(services)] == ["did not run"] * 13
    run(services, GOOD)
    assert [state for _, state in states(services)] == ["did not run"] * 13 + ["complete"]


def test_the_runs_of_a_date_are_one_line(services: Services) -> None:
    run(services, FAILED, reasons=WHY)
    run(services, GOOD)
    run(services, GOOD, job="populate")
    (night,) = nights_of(services)["nights"]
    assert night["state"] == "incomplete"
    assert night["text"] == (
        "populate: 1 series; sync: 1 series, 1 of 2 runs incomplete (alpaca is down)"
    )
    assert [line["requests"] for line in night["jobs"]] == [0, 0]
    assert len(record_of(services).read_text().splitlines()) == 2


def test_an_interrupted_run_and_one_that_ended_by_an_error_are_not_complete(
    services: Services,
) -> None:
    run(services, GOOD, interrupted=True)
    assert states(services) == [("2024-06-12", "incomplete")]
    record_night(services, "populate", {"error": "the disk is full"}, services.clock.now_ms())
    assert states(services) == [("2024-06-12", "failed")]
    assert "the disk is full" in nights_of(services)["nights"][0]["text"]


def test_a_reason_that_names_an_odd_file_is_kept(services: Services) -> None:
    record_night(
        services, "sync", {"error": "no such file: \udcff\x1b[31m"}, services.clock.now_ms()
    )
    assert states(services) == [("2024-06-12", "failed")]
    assert nights_of(services)["nights"][0]["jobs"][0]["why"].isprintable()


def test_a_vendor_has_the_failures_and_the_quality_of_all_jobs_of_a_night(
    services: Services,
) -> None:
    run(services, GOOD, FAILED, FAILED | {"failed_at": "yahoo"}, reasons=WHY)
    run(services, {"vendors": ["yahoo", "alpaca"], "score": 0.7, "wrong": False}, job="validate")
    run(services, FAILED | {"failed_at": "yahoo"}, job="populate", reasons=WHY)
    assert nights_of(services)["vendors"] == [
        {"vendor": "alpaca", "score": [0.7], "failed": [1]},
        {"vendor": "yahoo", "score": [0.7], "failed": [2]},
    ]


def test_a_failure_is_the_reason_before_bars_that_no_vendor_has(services: Services) -> None:
    lack = {"failed": False, "why": "the vendor has no bar", "series": ["MSFT 1d", "F 1d"]}
    run(services, GOOD, FAILED, reasons=[lack, *WHY])
    assert nights_of(services)["nights"][0]["text"].endswith("(alpaca is down)")


def test_a_symbol_that_fails_for_several_types_of_data_has_failed_once(services: Services) -> None:
    results = [{"symbol": name, "success": name == "F"} for name in ("AAPL", "MSFT", "F")]
    names = [f"{name} {what}" for name in ("AAPL", "MSFT", "F") for what in ("ratios", "profile")]
    why = [{"failed": True, "why": "fmp is down", "series": names[:5]}]
    run(services, *results, job="populate --fundamentals", reasons=why, successful=["F"])
    text = "populate --fundamentals: 3 series, 3 failed (fmp is down)"
    assert nights_of(services)["nights"][0]["text"] == text


def test_a_run_whose_series_were_passed_over_is_not_complete(services: Services) -> None:
    run(services, job="sync", reasons=WHY)
    assert states(services) == [("2024-06-12", "failed")]
    run(services, job="sync", why="")
    assert states(services) == [("2024-06-12", "incomplete")]
    assert "1 of 2 runs incomplete" in nights_of(services)["nights"][0]["text"]


def test_comparisons_of_an_earlier_version_are_not_shown(services: Services) -> None:
    run(services, GOOD, job="sync")
    path = record_of(services)
    (line,) = path.read_text().splitlines()
    former = json.loads(line) | {"job": "verify", "series": 0, "why": "there is no second vendor"}
    path.write_text(f"{line}\n{json.dumps(former | {'contradicted': 0})}\n")
    (night,) = nights_of(services)["nights"]
    assert (night["state"], night["text"]) == ("complete", "sync: 1 series")
    run(services, GOOD, job="sync")
    assert len(path.read_text().splitlines()) == 1


def test_no_key_is_in_the_record(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIINGO_API_KEY", key := "canary-0123456789abcdef")
    why = f"the program of a user failed at https://api.example/?token={key}"
    record_night(services, "sync", {"error": why}, services.clock.now_ms())
    text = record_of(services).read_text()
    assert "failed at https://api.example" in text
    assert key not in text


def test_no_more_than_sixty_nights_are_kept(services: Services, clock: ManualClock) -> None:
    for _ in range(63):
        run(services, GOOD)
        clock.advance(DAY_S)
    lines = record_of(services).read_text().splitlines()
    assert (len(lines), json.loads(lines[0])["night"]) == (60, "2024-06-15")
    assert len(states(services)) == 13, "today, the fourteenth, is still to come"


@pytest.mark.parametrize(
    "wrong", [b"\x00\xff", b'{"night": "2024-06-12"', b"[1]", b'"x"', b"{}", b"[" * 100_000]
)
def test_a_damaged_line_is_skipped_and_counted(
    services: Services, caplog: pytest.LogCaptureFixture, wrong: bytes
) -> None:
    run(services, GOOD)
    with record_of(services).open("ab") as file:
        file.write(wrong + b"\n")
    assert nights_of(services)["damaged"] == 1
    assert states(services) == [("2024-06-12", "complete")]
    with caplog.at_level(logging.WARNING):
        run(services, GOOD, job="populate")
    assert "1 line of the record of nights cannot be read" in caplog.text
    assert nights_of(services)["damaged"] == 0
    assert len(record_of(services).read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"night": 5}, {"job": None}, {"runs": "x"}, {"bad_runs": None}, {"series": "9"}, {"why": 5},
        {"vendors": []}, {"vendors": {"yahoo": 1}}, {"vendors": {"yahoo": {}}}, {"failed": math.nan},
        {"vendors": {"yahoo": {"score": "x", "failed": 1}}},
        {"vendors": {"yahoo": {"score": math.nan, "failed": 1}}},
        {"vendors": {"yahoo": {"score": None, "failed": "y"}}},
        {"vendors": {"yahoo": {"score": None, "failed": math.inf}}},
        {"vendors": {"\ud800": {"score": None, "failed": 0}}}, {"why": "\udfff"},
        {"night": ""}, {"night": "0000"}, {"night": "20240612"}, {"night": "2024-06-12 "},
    ],
)  # fmt: skip
def test_a_line_with_impossible_values_is_damaged_and_harms_no_job(
    services: Services, wrong: dict[str, Any]
) -> None:
    run(services, GOOD)
    line = json.loads(record_of(services).read_text())
    record_of(services).write_text(json.dumps(line | wrong) + "\n")
    assert nights_of(services) == {"nights": [], "vendors": [], "damaged": 1, "problem": ""}
    run(services, GOOD)
    assert states(services) == [("2024-06-12", "complete")]


def test_writers_at_once_lose_no_run(services: Services) -> None:
    threads = [threading.Thread(target=run, args=(services, GOOD)) for _ in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    ((line,),) = (night["jobs"] for night in nights_of(services)["nights"])
    assert line["runs"] == 12


def test_a_record_that_cannot_be_written_is_not_an_error_of_the_job(
    services: Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(nights, "write_atomically", fail)
    run(services, GOOD)
    assert "not in the record of nights: the disk is full" in caplog.text


@pytest.mark.usefixtures("rules")
def test_jobs_record_their_runs(tmp_path: Path, vendors: VendorServer) -> None:
    folder, days = str(tmp_path / "cache"), ("2024-05-01", "2024-05-31")
    populate_cache(["AAPL", "BTCUSDT"], ["1d"], *days, cache_dir=folder, dry_run=True)
    services = DataManager(folder)._services
    assert nights_of(services)["nights"] == []
    populate_cache(["AAPL", "BTCUSDT", "?"], ["1d"], *days, cache_dir=folder)
    sync_cache("BTC*", folder)
    assert main(["validate", "--all", "--cache-dir", folder]) == 0
    (night,) = nights_of(services)["nights"]
    figures = {line["job"]: (line["series"], line["failed"]) for line in night["jobs"]}
    assert figures["populate"] == (3, 1)
    assert figures["sync"][0] == 1
    assert figures["validate"] == (2, 0)
    assert night["jobs"][0]["bars"] == 31 + 22
    (score,) = (one["score"] for one in nights_of(services)["vendors"] if one["vendor"] == "yahoo")
    assert score == [1.0]


def test_a_validation_records_series_that_cannot_be_read(services: Services) -> None:
    reports = [CacheError("AAPL 1d cannot be read"), CacheError("MSFT 1d cannot be read")]
    assert list(recorded(services, iter(reports))) == reports
    assert states(services) == [("2024-06-12", "failed")]
    text = "validate: 2 series, 2 failed (AAPL 1d cannot be read)"
    assert nights_of(services)["nights"][0]["text"] == text


@pytest.mark.parametrize("job", ["populate --fundamentals", "validate"])
def test_a_job_that_ends_by_an_error_is_recorded(
    services: Services, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    def fail(*_: Any) -> Iterator[Exception]:
        raise StorageError("the disk is full")
        yield

    runs = {
        "populate --fundamentals": lambda **more: refresh_fundamentals(Refresh(**more), folder),
        "validate": lambda **_: list(recorded(services, fail())),
    }
    folder = services.cache.cache_dir
    monkeypatch.setattr(fundamentals._RefreshRun, "report", lambda _: next(fail()))
    if job != "validate":
        with pytest.raises(StorageError):
            runs[job](dry_run=True)
    assert record_of(services).exists() is False
    with pytest.raises(StorageError):
        runs[job]()
    (line,) = map(json.loads, record_of(services).read_text().splitlines())
    assert (line["job"], line["why"], line["bad_runs"]) == (job, "the disk is full", 1)


def test_a_question_that_is_refused_is_no_run(services: Services) -> None:
    with pytest.raises(QueryError, match="1x"):
        populate_cache(["AAPL"], ["1x"], cache_dir=services.cache.cache_dir)
    assert nights_of(services)["nights"] == []
