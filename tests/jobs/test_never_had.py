"""Series of a list that have never had a bar: kept in the record of nights, counted, retried, forgotten."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from src.data.cli import main
from src.data.core.clock import ManualClock
from src.data.core.model.identity.universe import Members
from src.data.core.model.time.instant import parse_iso
from src.data.core.wiring import Services
from src.data.data_manager import DataManager
from src.data.errors import QueryError
from src.data.jobs.fill.populate import populate_cache, sync_cache
from src.data.jobs.run.nights import never_had, nights_of
from src.data.server.first_page import Board
from tests.vendor_server import Fault, VendorServer

DAY_S = 86_400
DAYS = ("2024-05-01", "2024-06-11")
NEVER = "QAA (HTTP 500), QAB (unknown symbol), QAC (no data)"


@pytest.fixture
def folder(tmp_path: Path, rules: Path, vendors: VendorServer) -> str:
    """Return a cache folder, next to a list of five symbols of which three never have a bar."""
    fast = "requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000"
    rules.write_text(rules.read_text().replace("http}", f"http, rate_limits: {{{fast}}}}}"))
    share = vendors.truth.listing("AAPL")
    for name in ("QAA", "QAC", "QAD"):
        vendors.truth.add(replace(share, symbol=name, actions=()))
    break_vendor(vendors)
    (tmp_path / "list.txt").write_text("QAA\nQAB\nQAC\nQAD\nQAD\nAAPL\n")
    return str(tmp_path / "cache")


def break_vendor(vendors: VendorServer) -> None:
    vendors.fault("yahoo", Fault.status(500), symbol="QAA")
    vendors.fault("yahoo", Fault.empty(), symbol="QAC")


def populate(folder: str, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"symbols_file": Path(folder).with_name("list.txt")} | more
    return populate_cache(given.pop("symbols", []), ["1d"], *DAYS, folder, **given)


def services_of(folder: str, clock: ManualClock) -> Services:
    return DataManager(folder, clock=clock)._services


def never(folder: str, clock: ManualClock) -> list[str]:
    return [one["symbol"] for one in never_had(services_of(folder, clock))]


def test_symbols_of_a_list_without_bars_are_counted_for_three_nights(
    folder: str, vendors: VendorServer, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the commands: populate of a list, then two syncs, and what each prints, returns and records."""
    path = str(Path(folder).with_name("list.txt"))
    options = ("--symbols-file", path, "--timeframes", "1d", "--start", DAYS[0])
    assert main(["populate", *options, "--cache-dir", folder]) == 1
    assert f"2 of 5 series succeeded, 58 bars fetched; 3 have never had a bar: {NEVER}" in told(
        capsys
    )
    for _ in range(2):
        clock.advance(DAY_S)
        vendors.clear_log()
        assert main(["sync", "--cache-dir", folder]) == 1
        assert f"2 of 5 series succeeded, 2 bars fetched; 3 have never had a bar: {NEVER}" in told(
            capsys
        )
        asked = {entry.path.rpartition("/")[2] for entry in vendors.log("yahoo")}
        assert asked >= {"QAA", "QAC"}, "they are requested again"
    services = services_of(folder, clock)
    nights = nights_of(services)["nights"]
    figures = [
        (one["state"], line["series"], line["failed"]) for one in nights for line in one["jobs"]
    ]
    assert figures == [("failed", 5, 3)] * 3
    assert nights_of(services)["damaged"] == 0
    assert {one["since"] for one in never_had(services)} == {"2024-06-12"}
    vendors.heal()
    clock.advance(DAY_S)
    assert main(["sync", "--cache-dir", folder]) == 1
    assert "4 of 5 series succeeded, 66 bars fetched; 1 has never had a bar: QAB" in told(capsys)
    assert never(folder, clock) == ["QAB"]


def test_every_place_has_the_same_numbers(
    folder: str,
    vendors: VendorServer,
    clock: ManualClock,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The output of the command, the report, the record and the first page, after a second night."""
    monkeypatch.setattr("src.data.server.first_page._PATIENCE_S", None)
    days = [parse_iso(f"2024-05-{day}T00:00:00Z") for day in (14, 15)]
    vendors.fault("yahoo", Fault.drop_stamps(*days), symbol="QAD")
    populate(folder)
    clock.advance(DAY_S)
    page = Path(folder).with_name("night.html")
    assert main(["sync", "--cache-dir", folder, "--report", str(page)]) == 1
    said = told(capsys)
    assert (
        said.count(" 0 - 0 failed") + said.count(" 0 - 1 failed"),
        said.count(" incomplete "),
    ) == (3, 1)
    assert f"2 of 5 series succeeded, 2 bars fetched; 3 have never had a bar: {NEVER}" in said
    line = next(
        one for one in map(json.loads, record_of(folder).open()) if one.get("job") == "sync"
    )
    figures = [line[name] for name in ("series", "failed", "lacking", "doubtful", "bars")]
    assert figures == [5, 3, 1, 0, 2]
    text = page.read_text()
    assert '"number":4,"of":"to look at"' in text
    assert "<b>3</b><span>failed</span>" in text and "<b>1</b><span>incomplete</span>" in text
    assert text.count('"since":"2024-06-12"') == 3
    board = Board(DataManager(folder, clock=clock)).to_json()
    names = ("to_look_at", "series", "never_had_bars", "with_gaps", "doubted")
    assert [board["counts"][name] for name in names] == [4, 5, 3, 1, 0]
    assert board["look"]["text"] == f"3 have never had a bar: {NEVER}; 1 other to look at"
    assert board["nights"]["nights"][-1]["text"].startswith(
        "sync: 5 series, 3 failed, 1 incomplete ("
    )
    first = board["needs"][1]
    assert first["text"] == "unknown symbol; first failed on 2024-06-12, on the list list.txt"
    assert "`onetape sync QAB`" in first["next_step"]


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_symbols_typed_at_the_command_or_piped_are_no_list(
    folder: str, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list.txt").write_text("AAPL\n")
    report = populate(folder, symbols=["QAA", "QAB"])
    assert (report["failed"], report["never"]) == (["QAA_1d", "QAB_1d"], [])
    with (tmp_path / "piped.txt").open("w+") as file:
        file.write("QAC\n")
        file.seek(0)
        monkeypatch.setattr("sys.stdin", file)
        assert populate(folder, symbols_file="-")["never"] == []
    assert never(folder, clock) == []
    assert sync_cache("*", folder)["failed"] == []


def test_a_symbol_is_kept_until_its_list_no_longer_has_it(
    folder: str, clock: ManualClock, tmp_path: Path
) -> None:
    """Renamed in the list during a night: the next sync reads the list again."""
    path = tmp_path / "list.txt"
    populate(folder)
    assert never(folder, clock) == ["QAA", "QAB", "QAC"]
    path.write_text("QBA\nQAC\nQAD\n")
    assert [one["symbol"] for one in sync_cache("*", folder)["never"]] == ["QAC"]
    assert never(folder, clock) == ["QAC"]
    assert [one["symbol"] for one in populate(folder)["never"]] == ["QBA", "QAC"]
    assert lines_of(folder) == ["QAC", "QBA"]


@pytest.mark.parametrize("text", ["", "# all gone\n", None])
def test_a_list_that_is_emptied_or_deleted_by_mistake_forgets_nothing(
    folder: str, clock: ManualClock, tmp_path: Path, text: str | None
) -> None:
    populate(folder)
    path = tmp_path / "list.txt"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(QueryError):
        populate(folder)
    assert never(folder, clock) == ["QAA", "QAB", "QAC"]
    assert [one["symbol"] for one in sync_cache("*", folder)["never"]] == ["QAA", "QAB", "QAC"]
    assert never(folder, clock) == ["QAA", "QAB", "QAC"]


def test_members_of_a_universe_are_a_list(folder: str, clock: ManualClock) -> None:
    members = Members("mine", ("AAPL", "QAA"), date(2024, 6, 12), is_pit=True, known_from=None)
    report = populate(folder, symbols=members, symbols_file=None)
    assert [one["lists"] for one in report["never"]] == [["universe mine"]]
    assert "QAA" in never(folder, clock)
    fewer = replace(members, symbols=("AAPL", "QAZ"))
    report = sync_cache("*", folder, symbols=fewer)
    assert [(one["symbol"], one["reason"]) for one in report["never"]] == [
        ("QAZ", "cannot be requested")
    ]
    assert never(folder, clock) == ["QAZ"]
    report = sync_cache("QAZ", folder)
    assert "nothing is cached for it" in report["results"][0]["error"]


def test_the_command_to_clear_a_symbol_forgets_it(
    folder: str, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    populate(folder)
    assert main(["cache", "clear", "QAA", "--cache-dir", folder]) == 0
    assert "1 that never had a bar forgotten" in told(capsys)
    assert never(folder, clock) == ["QAB", "QAC"]
    assert main(["cache", "clear", "QAA", "--cache-dir", folder]) != 0, "nothing is left to clear"
    assert main(["cache", "clear", "qab", "1h", "--cache-dir", folder]) != 0
    assert never(folder, clock) == ["QAB", "QAC"]
    assert main(["cache", "clear", "qab", "1d", "--cache-dir", folder]) == 0
    assert never(folder, clock) == ["QAC"]
    assert main(["cache", "clear", "--all", "--cache-dir", folder]) == 0
    assert never(folder, clock) == []
    assert [night["state"] for night in nights_of(services_of(folder, clock))["nights"]] == [
        "failed"
    ]


def test_a_series_that_had_bars_is_not_among_them_in_an_outage(
    folder: str, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    """Neither is one that is built from shorter bars, and so is never stored itself."""
    (tmp_path / "list.txt").write_text("AAPL\n")
    frames = ["1h", "4h", "1d"]
    path = tmp_path / "list.txt"
    assert populate_cache([], frames, *DAYS, folder, symbols_file=path)["never"] == []
    clock.advance(2 * DAY_S)
    vendors.fault("yahoo", Fault.status(503))
    report = populate_cache([], frames, DAYS[0], None, folder, symbols_file=path)
    assert len(report["failed"]) == 3
    assert report["never"] == []
    vendors.heal()
    clock.advance(DAY_S)
    assert sync_cache("*", folder)["failed"] == []


def test_bars_fetched_by_hand_end_it(
    folder: str, vendors: VendorServer, clock: ManualClock
) -> None:
    populate(folder)
    vendors.heal()
    clock.advance(DAY_S)
    DataManager(folder, clock=clock).get_ohlcv("QAA", "1d", *DAYS)
    assert never(folder, clock) == ["QAB", "QAC"]


def test_a_pattern_and_a_second_list_leave_the_others_as_they_are(
    folder: str, clock: ManualClock, tmp_path: Path
) -> None:
    populate(folder)
    (tmp_path / "other.txt").write_text("QAB,1h\nAAPL,1d\n")
    populate_cache(symbols_file=tmp_path / "other.txt", start=DAYS[0], cache_dir=folder)
    report = sync_cache(["QAA", "* 1h"], folder)
    assert report["failed"] == ["QAA_1d", "QAB_1h"]
    assert lines_of(folder) == ["QAA", "QAB", "QAB", "QAC"]
    title = report.title.partition("; ")[2]  # type: ignore[attr-defined]
    assert title == "2 have never had a bar: QAA (HTTP 500), QAB (unknown symbol)"
    clock.advance(DAY_S)
    assert len(sync_cache("*", folder)["results"]) == 6


def test_an_invalid_row_of_a_list_stays(folder: str, clock: ManualClock, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("AAPL\n?,1d\nQAA,1x\n")
    assert [one["symbol"] for one in populate(folder)["never"]] == ["?", "QAA"]
    clock.advance(DAY_S)
    assert sync_cache("*", folder)["failed"] == ["?_1d", "QAA_1x"]
    assert never(folder, clock) == ["?", "QAA"]
    assert main(["cache", "clear", "?", "--cache-dir", folder]) == 0
    assert never(folder, clock) == ["QAA"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"symbol": 5},
        {"reason": None},
        {"reason": "\udfff"},
        {"lists": None},
        {"lists": [5]},
        {"start": []},
    ],
)
def test_a_damaged_line_of_a_series_is_skipped_and_counted(
    folder: str, clock: ManualClock, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    populate(folder)
    path = record_of(folder)
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    changed = [line | wrong if line.get("symbol") == "QAA" else line for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in changed))
    assert never(folder, clock) == ["QAB", "QAC"]
    assert nights_of(services_of(folder, clock))["damaged"] == 1
    with caplog.at_level(logging.WARNING):
        assert [one["symbol"] for one in populate(folder)["never"]] == ["QAA", "QAB", "QAC"]
    assert "1 line of the record of nights cannot be read" in caplog.text


def test_a_record_that_cannot_be_read_is_not_an_error_of_the_job(
    folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    populate(folder)
    record_of(folder).unlink()
    record_of(folder).mkdir()
    assert sync_cache("*", folder)["failed"] == []
    assert "not in the record of nights" in caplog.text


def record_of(folder: str) -> Path:
    return Path(folder) / "ohlcv" / "_metadata" / "nights.jsonl"


def lines_of(folder: str) -> list[str]:
    lines = map(json.loads, record_of(folder).read_text().splitlines())
    return sorted(line["symbol"] for line in lines if "symbol" in line)
