"""``onetape report``, ``manager.report`` and the nightly page: contents, files, and errors."""

from __future__ import annotations

import errno
import html
import json
import shutil
import subprocess
import sys
import warnings
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from src.data.core.cache.store import Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.errors import CacheError, IncompleteDataWarning, QueryError, StorageError
from src.data.jobs.fill.populate import populate_cache
from src.data.jobs.run.job_report import JobReport
from src.data.show.charts.pages import packaged
from src.data.show.reports.attention import attention_of
from src.data.show.reports.night import night_page
from src.data.show.reports.report_pages import page_of
from tests.cli.conftest import Run, bare, cache, fill, machine, rules, run
from tests.core.cache.counts import FULL
from tests.effort import calls_by_name, calls_of
from tests.programs import ROOT
from tests.show.hostile import HOSTILE, shape
from tests.show.pages import Shown, read_page
from tests.vendor_server import Fault, VendorServer

__all__ = ["bare", "cache", "fill", "machine", "rules", "run"]

HALT = ("fetch", "HALTUSDT", "1h", "--start", "2024-03-04", "--end", "2024-03-06")
SHARE = ("fetch", "AAPL", "1d", "--start", "2014-06-01")
CANARY = "zqCANARYzq"
# Named at the foot of a page with a chart; nothing is loaded from there.
SITE = "https://www.tradingview.com/"


def check_page(text: str) -> Shown:
    """Return a page that loads nothing and runs nothing of others."""
    seen = read_page(text)
    elsewhere = [url for url in seen.urls if not url.startswith(("#", "all"))]
    assert elsewhere in ([], [SITE]) and seen.handlers == []
    for script in ("lightweight-charts.js", "chart.js"):
        text = text.replace(packaged(script), "")
    assert "NaN" not in text
    return seen


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where a filled cache lies; it is filled once."""
    return tmp_path_factory.mktemp("stored")


@pytest.fixture
def filled(run: Run, cache: Path, stored: Path) -> Run:
    """Return the runner on a cache with a share and with a coin that has a hole."""
    if any(stored.iterdir()):
        shutil.copytree(stored, cache, dirs_exist_ok=True)
        return run
    assert (run(*SHARE).code, run(*HALT).code) == (0, 1)
    shutil.copytree(cache, stored, dirs_exist_ok=True)
    return run


def test_a_page_shows_the_values_of_its_json(
    filled: Run, vendors: VendorServer, tmp_path: Path
) -> None:
    requests = vendors.count()
    page = tmp_path / "halt.html"
    ran = filled("report", "HALTUSDT", "1h", "-o", str(page))
    assert (ran.code, ran.out) == (0, f"written to {page}\n")
    seen = check_page(page.read_text())
    answer = filled("report", "HALTUSDT", "1h", "--json").json
    assert seen.data == answer
    assert vendors.count() == requests, "no vendor is asked"
    assert page.stat().st_size <= 500_000
    (series,) = answer["series"]
    assert answer["subject"] == "HALTUSDT 1h" and series["answers"] and series["problems"] == {}
    assert series["quality"] == filled("validate", "HALTUSDT", "1h", "--json").json[0]
    gaps = filled("gaps", "HALTUSDT", "1h", "--json").json["series"][0]
    assert series["gaps"] == gaps
    coverage = filled("gaps", "HALTUSDT", "1h", "--json").json["spans"]
    assert [span["start"] for span in series["coverage"]] == [span["start"] for span in coverage]
    planned = filled("plan", "HALTUSDT", "1h", "--json").json
    assert answer["sources"] == planned["explanation"]
    assert series["drawn"] == {"given": 69, "drawn": 69, "merged": 0, "refused": 0}
    assert series["heat"]["rows"][0]["cells"] == "/   "
    assert series["commits"][0]["vendor"] == "binance" and series["commits"][0]["added"] == 69
    for text in ("vendor hole", "binance: the vendor has no bar", series["fingerprint"]):
        assert text in seen.text


def test_a_report_of_all_series_has_one_map(filled: Run, tmp_path: Path) -> None:
    page = tmp_path / "all.html"
    assert filled("report", "--all", "-o", str(page)).code == 0
    seen = check_page(page.read_text())
    assert [row["name"] for row in seen.data["heat"]["rows"]] == ["AAPL 1d", "HALTUSDT 1h"]
    share, coin = seen.data["heat"]["rows"]
    assert share["cells"] == "=" * 121 and len(coin["cells"]) == 121
    assert coin["counts"] == {"partial": 1, "never": 120}
    assert "vendor hole 1" in seen.text
    plain = tmp_path / "all.json"
    assert filled("report", "--all", "-o", str(plain)).code == 0
    assert json.loads(plain.read_text()) == seen.data


def test_a_report_on_a_vendor_covers_only_lanes_with_its_bars(filled: Run) -> None:
    days = ("--start", "2014-06-02", "--end", "2014-06-06")
    assert filled("fetch", "AAPL", "1d", *days, "--provider", "mock").code == 0
    assert len(filled("report", "AAPL", "1d", "--json").json["series"]) == 2
    for vendor, lane in (("mock", "mock"), ("yahoo", ""), ("yf", "")):
        ran = filled("report", "AAPL", "1d", "--provider", vendor, "--json")
        (series,) = ran.json["series"]
        assert (ran.code, series["lane"], series["answers"]) == (0, lane, True)
        assert {gap["lane"] for gap in ran.json["gaps"]} <= {lane}
    assert filled("report", "AAPL", "1d", "--provider", "binance").code == 1
    assert "no bars from coingecko" in filled("report", "AAPL", "1d", "--provider", "coingecko").err
    assert filled("report", "AAPL", "1d", "--provider", "nobody").code == 2
    assert filled("report", "--all", "--provider", "yahoo").code == 2


def test_people_read_the_same_in_lines(
    filled: Run, cache: Path, rules: Path, clock: ManualClock
) -> None:
    shown = filled("report", "HALTUSDT", "1h")
    assert shown.code == 0 and "69 bars, 2024-03-04 .. 2024-03-06 23:00, from binance" in shown.out
    with pytest.warns(IncompleteDataWarning, match="1 gap"):
        report = DataManager(cache, rules, clock=clock).report("HALTUSDT", "1h")
    assert "vendor hole" in str(report)
    notebook = report._repr_html_()  # type: ignore[attr-defined]
    assert "vendor hole" in notebook and len(notebook.encode()) <= 20_000


def test_wrong_questions_leave_no_file(filled: Run, tmp_path: Path) -> None:
    page = tmp_path / "none.html"
    never = filled("report", "MSFT", "1d", "-o", str(page))
    assert never.code == 1 and "nothing is cached for MSFT 1d" in never.err
    for words in ((), ("AAPL",), ("AAPL", "1d", "--all")):
        assert filled("report", *words, "-o", str(page)).code == 2
    other = filled("report", "AAPL", "1d", "-o", str(tmp_path / "x.pdf"))
    assert other.code == 2 and "unknown extension .pdf" in other.err
    missing = filled("report", "AAPL", "1d", "-o", str(tmp_path / "no" / "x.html"))
    assert missing.code == 1 and "does not exist" in missing.err
    assert not list(tmp_path.glob("*.html"))


def test_a_report_of_an_empty_cache_says_so(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "empty.html"
    assert run("report", "--all", "-o", str(page)).code == 0
    seen = check_page(page.read_text())
    assert seen.data["series"] == [] and "Nothing is stored in this cache." in seen.text


def test_samples_that_a_page_of_everything_leaves_out_are_counted(run: Run, tmp_path: Path) -> None:
    question = ("AAPL", "1d", "--start", "2012-01-03", "--end", "2012-01-31")
    assert run("fetch", *question, "--provider", "demo").code == 0
    page = tmp_path / "all.html"
    assert run("report", "--all", "-o", str(page)).code == 0
    seen = check_page(page.read_text())
    assert seen.data["samples"] == 1 and "not included: 1 series of samples" in seen.text
    assert "Nothing is stored" not in seen.text
    assert "1 series of samples" in run("report", "--all").out


def test_a_damaged_file_is_named_and_the_rest_is_shown(
    filled: Run, cache: Path, tmp_path: Path
) -> None:
    page, year = tmp_path / "damaged.html", cache / "ohlcv" / "HALTUSDT" / "1h" / "2024.csv.gz"
    data = year.read_bytes()
    shutil.rmtree(cache / "_columnar")  # which still has the bars
    year.unlink()
    year.mkdir()
    for words in (("HALTUSDT", "1h"), ("--all",)):
        assert filled("report", *words, "-o", str(page)).code == 1
        seen = check_page(page.read_text())
        (problems,) = (s["problems"] for s in seen.data["series"] if s["symbol"] == "HALTUSDT")
        assert "2024.csv.gz" in problems["validation"] and problems["validation"] in seen.text
    year.rmdir()
    year.write_bytes(data[:100] + bytes(50) + data[150:])
    assert filled("report", "HALTUSDT", "1h", "-o", str(page)).code == 0, "it is kept aside"
    seen = check_page(page.read_text())
    (series,) = seen.data["series"]
    assert series["quarantined"]["files"][0]["reason"] in seen.text
    assert series["quality"]["rows"] == 0 and series["gaps"]["counts"]


def test_a_file_that_exists_is_replaced_at_one_stroke(
    filled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")

    def full(*_: object) -> None:
        raise StorageError("no space left") from OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "sync", full)
        failed = filled("report", "HALTUSDT", "1h", "-o", str(page))
    assert failed.code == 1 and "cannot be written: No space left" in failed.err
    assert page.read_text() == "old" and list(tmp_path.glob(".page*")) == []
    assert filled("report", "HALTUSDT", "1h", "-o", str(page)).code == 0
    assert page.read_text().startswith("<!doctype html>")


def test_ten_years_of_days_are_a_small_page(
    filled: Run, cache: Path, rules: Path, clock: ManualClock
) -> None:
    text = DataManager(cache, rules, clock=clock).report("AAPL", "1d").html()
    assert len(text.encode()) <= 500_000


def test_in_python_errors_are_typed(
    cache: Path, rules: Path, clock: ManualClock, tmp_path: Path
) -> None:
    manager = DataManager(cache, rules, clock=clock)
    with pytest.raises(CacheError, match="nothing is cached for AAPL 1d"):
        manager.report("AAPL", "1d")
    with pytest.raises(QueryError, match="give both symbol and timeframe, or neither"):
        manager.report("AAPL")
    with pytest.raises(StorageError):
        manager.report().save(tmp_path / "no" / "page.html")


# --- what others write -----------------------------------------------------------------------

# Values that the page takes for words of its own.
_OWN = {
    "severity",
    "class",
    "cells",
    "first",
    "last",
    "signs",
    "start",
    "end",
    "at",
    "made",
    "next_due",
    "lost",
}


def _spoilt(value: Any, text: str, name: str = "") -> Any:
    """Return plain values with a text in place of every text that comes from outside."""
    if isinstance(value, dict):
        return {key: _spoilt(one, text, key) for key, one in value.items()}
    if isinstance(value, list):
        return [_spoilt(one, text, name) for one in value]
    return text if isinstance(value, str) and value and name not in _OWN else value


@pytest.fixture(scope="module")
def examples() -> dict[str, Any]:
    """Keep the data of real reports."""
    return {}


def test_hostile_text_is_escaped_in_a_report(filled: Run, examples: dict[str, Any]) -> None:
    reports = [
        filled("report", *words, "--json").json for words in (("HALTUSDT", "1h"), ("--all",))
    ]

    def shown(data: dict[str, Any], text: str) -> list[str]:
        return shape(page_of(_spoilt(data, text), [None] * len(data["series"])))

    plain = [shown(data, "harmless") for data in reports]

    @settings(max_examples=25 if FULL else 6, deadline=None)
    @given(HOSTILE)
    def check(text: str) -> None:
        assert [shown(data, text) for data in reports] == plain

    check()


NIGHT: dict[str, Any] = {
    "success": ["AAPL_1d"], "failed": ["X_1d"], "errors": {"X_1d": "no"}, "interrupted": False,
    "results": [
        {"symbol": "AAPL", "timeframe": "1d", "rows": 5, "fetched": 5, "complete": True, "vendors": ["yahoo"],
         "gaps": 0, "lacking": "", "score": float("nan"), "error": ""},
        {"symbol": "X", "timeframe": "1d", "rows": 0, "fetched": 0, "complete": False, "vendors": [],
         "gaps": 1, "lacking": "none", "score": None, "error": "no such symbol"},
    ],
    "reasons": [
        {"why": "no such symbol", "count": 1, "series": ["X 1d"], "next_step": "look", "failed": True}
    ],
    "requests": {"yahoo": {"sent": 1200, "answered": 3}},
    "quotas": {"yahoo": [{"seconds": 60.0, "limit": 60.0, "left": 58.0}]},
    "perishable": [{"symbol": "AAPL", "timeframe": "1m", "what": "bar", "vendor": "yahoo", "depth_days": 29,
                    "last": "2024-06-01T00:00:00Z", "lost": "2024-06-20T00:00:00Z"}],
    "incidents": [],
}  # fmt: skip


def recorded_night(day: int, failed: int, job: str = "sync") -> dict[str, Any]:
    """Return a night of the record, on which a job took as many minutes as the day has in its name."""
    line = {
        "job": job,
        "night": f"2024-06-{day:02}",
        "failed": failed,
        "lacking": failed,
        "series": 2,
    }
    line |= {"started": f"2024-06-{day:02}T22:00:00Z", "seconds": 60 * day}
    return {"jobs": [line | {"bars": 31, "contradicted": 0, "requests": 7}]}


@settings(max_examples=25 if FULL else 12, deadline=None)
@given(HOSTILE)
def test_a_night_with_hostile_words_is_shown_as_text(text: str) -> None:
    spoilt = _spoilt(NIGHT, text) | {"requests": {text: NIGHT["requests"]["yahoo"]}}
    plain = _spoilt(NIGHT, "harmless") | {"requests": {"harmless": NIGHT["requests"]["yahoo"]}}
    ended = "2024-06-12T00:00:00Z"
    hostile = night_page(spoilt, text, ended, ended, [recorded_night(11, 1, text)])
    usual = night_page(plain, "harmless", ended, ended, [recorded_night(11, 1, "harmless")])
    assert shape(hostile) == shape(usual)
    assert shape(JobReport(spoilt, ok=False)._repr_html_()) == shape(
        JobReport(plain, ok=False)._repr_html_()
    )


def test_the_page_of_a_night_shows_requests_failures_and_perishable_bars() -> None:
    seen = check_page(night_page(NIGHT, "populate", "2024-06-12T22:00:00Z", "2024-06-12T22:30:00Z"))
    assert seen.data["report"]["results"][0]["score"] is None, "JSON has no NaN"
    for text in (
        "1,200",
        "no such symbol",
        "look",
        "58 of 60 a minute",
        "2024-06-20",
        "1 of 2 series succeeded",
    ):
        assert text in seen.text
    lines = " ".join(text for _, text in JobReport(NIGHT, ok=False).lines())
    assert "58 of 60 a minute left" in lines and "deletes the next one at 2024-06-20" in lines


def test_a_job_writes_the_page_of_its_night(
    run: Run, vendors: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINANCE_API_KEY", CANARY)
    vendors.fault("yahoo", Fault.status(403, f"<script>alert('{CANARY}')</script>"))
    page, plain = tmp_path / "night.html", tmp_path / "night.json"
    words = ("populate", "--symbols", "BTCUSDT,AAPL,NOPE", "--timeframes", "1d",
             "--start", "2024-05-01", "--end", "2024-05-31")  # fmt: skip
    ran = run(*words, "--report", str(page), "--json")
    assert ran.code == 1
    seen = check_page(page.read_text())
    assert seen.data["report"] == ran.json and seen.data["command"] == "populate"
    assert seen.scripts == 1, "the data alone"
    assert html.unescape(seen.text).count("BTCUSDT") >= 1 and "yahoo" in seen.text
    run(*words, "--report", str(plain))
    assert set(json.loads(plain.read_text())) == set(ran.json)
    for words in (
        ("sync", "--dry-run"),
        ("populate", "--symbols", "BTCUSDT", "--start", "2024-05-01", "--dry-run"),
    ):
        again = run(*words, "--report", str(page), "--json")
        assert read_page(page.read_text()).data["report"] == again.json
        check_page(page.read_text())


def test_no_key_is_on_a_page(
    run: Run, vendors: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINANCE_API_KEY", CANARY)
    for vendor in ("binance", "yahoo"):
        vendors.fault(vendor, Fault.status(401, json.dumps({"msg": f"bad key {CANARY}"})))
    night, page = tmp_path / "night.html", tmp_path / "page.html"
    run("populate", "--symbols", "BTCUSDT,AAPL", "--timeframes", "1d", "--start", "2024-05-01",
        "--report", str(night))  # fmt: skip
    answer = run("report", "--all", "-o", str(page), "--json")
    for text in (night.read_text(), page.read_text(), answer.out, answer.err):
        assert CANARY not in text


def test_the_page_of_a_night_has_the_figures_of_earlier_nights() -> None:
    record = [recorded_night(day, 0) for day in range(3, 16)]
    record[-1]["jobs"] += recorded_night(15, 9, "verify")["jobs"]
    record.append(recorded_night(16, 9))  # this run, or an earlier one on this date
    page = night_page(NIGHT, "sync", "2024-06-16T22:00:00Z", "2024-06-16T22:06:00Z", record)
    seen = check_page(page)
    nights = seen.data["nights"]
    assert [one["started"][8:10] for one in nights] == [f"{day:02}" for day in range(3, 17)]
    assert (nights[-2]["failed"], nights[-1]["failed"]) == (0, 1)
    assert "1failed, the night before 0" in seen.text
    assert "took, the night before 15 minutes" in seen.text
    assert page.count("<rect") == 14 * 4, "small bars of four numbers"


@pytest.mark.parametrize(
    "words",
    [
        ("populate", "--symbols", "BTCUSDT", "--timeframes", "1d", "--start", "2024-05-01"),
        ("populate", "--fundamentals", "--symbols", "AAPL"),
        ("sync",),
    ],
)
def test_a_job_is_compared_with_its_run_of_the_night_before(
    filled: Run,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
) -> None:
    monkeypatch.setattr("src.data.core.clock.SystemClock", lambda: clock)
    for number in (1, 2):
        page = tmp_path / f"night{number}.html"
        filled(*words, "--report", str(page))
        nights = check_page(page.read_text()).data["nights"]
        assert [one["started"][:10] for one in nights] == ["2024-06-12", "2024-06-13"][:number]
        clock.advance(86_400)
    (tmp_path / "cache" / "ohlcv" / "_metadata" / "nights.jsonl").unlink()
    filled(*words, "--report", str(page), "--dry-run")
    assert len(check_page(page.read_text()).data["nights"]) == 1


def test_a_cause_in_a_report_is_named_once_with_its_series_folded_below() -> None:
    names = [f"S{n} 1d" for n in range(9)]
    results = [NIGHT["results"][1] | {"symbol": name[:-3], "timeframe": "1d"} for name in names]
    cause = NIGHT["reasons"][0] | {"series": names, "count": 9}
    night = NIGHT | {"results": results, "reasons": [cause]}
    seen = check_page(night_page(night, "sync", *["2024-06-12T00:00:00Z"] * 2))
    assert "9 series failedno such symbol" in seen.text
    assert "S0 1d, S1 1d, S2 1d, S3 1d, S4 1d and 4 more" in seen.text
    assert "incomplete, or contradicted" not in seen.text, "no second list of the same"
    assert "S8" in seen.text


def test_the_text_of_one_series_is_an_example_of_the_cause_of_many() -> None:
    why = "All providers failed for S0 1d: yahoo: HTTP 503"
    for names, shown in ((["S0 1d", "S1 1d"], f"For example: {why}"), (["S0 1d"], f"failed{why}")):
        night = NIGHT | {"reasons": [NIGHT["reasons"][0] | {"series": names, "why": why}]}
        page = night_page(night, "sync", *["2024-06-12T00:00:00Z"] * 2)
        assert shown in check_page(page).text


def test_the_next_step_is_one_that_the_reader_can_take() -> None:
    """That vendors are queried again by themselves is a fact of the gap, and beside it."""
    gap = {"class": "vendor_hole", "bars": 2}
    waits, fetch = "requested again from 2024-06-13 15:00 UTC", "`onetape fetch A 1d`"
    steps = {
        (waits,): ("2 bars missing in 1 gap, " + waits, "`onetape gaps A 1d`"),
        (waits, fetch): ("4 bars missing in 2 gaps", fetch),
        ("",): ("2 bars missing in 1 gap", "`onetape gaps A 1d`"),
    }
    for own, (text, step) in steps.items():
        (entry,) = attention_of("A 1d", {}, [], [gap | {"next_step": one} for one in own])
        assert entry == {"kind": "holes", "text": text, "next_step": step}


def test_a_report_counts_missing_bars_in_more_gaps_than_it_lists(
    run: Run, vendors: VendorServer
) -> None:
    start, every_ms = parse_iso("2024-05-01T03:00"), 5 * HOUR_MS
    lost = range(start, start + 100 * every_ms, every_ms)
    vendors.fault("binance", Fault.drop_stamps(*lost))
    run("fetch", "BTCUSDT", "1h", "--start", "2024-05-01", "--end", "2024-05-31")
    for words in (("BTCUSDT", "1h"), ("--all",)):
        report = run("report", *words, "--json").json
        assert "100 bars missing in 100 gaps" in report["look"]["text"]
        (entry,) = report["series"]
        assert entry["attention"][0]["text"].startswith("100 bars missing in 100 gaps")


def test_series_that_lack_a_day_which_their_vendor_lacks_for_most_symbols_need_attention(
    run: Run, vendors: VendorServer, clock: ManualClock
) -> None:
    opened = parse_iso("2024-06-04T13:30")
    vendors.fault("yahoo", Fault.drop_stamps(*range(opened, opened + 7 * HOUR_MS, HOUR_MS)))
    shares = ("AAPL", "MSFT", "NVDA")
    for share in shares:
        run("fetch", share, "1h", "--start", "2024-06-03", "--end", "2024-06-07")
    clock.advance(2 * 86_400)
    report = run("report", "--all", "--json").json
    assert len(report["incidents"]) == 1 and report["totals"]["holes"] == 7 * len(shares)
    for entry in report["series"]:
        assert entry["gaps"]["vendor_outage"] == 1
        assert entry["attention"][0]["text"].startswith("7 bars missing in 1 gap")


def test_missing_bars_are_reported_even_if_all_of_their_gaps_are_among_those_not_listed() -> None:
    never = {"class": "never_asked", "bars": 3, "next_step": "onetape fetch AAPL 1d"}
    (entry,) = attention_of("AAPL 1d", {}, [], [never] * 64, (2, 7))
    text = "7 bars missing in 2 gaps"
    assert entry == {"kind": "holes", "text": text, "next_step": "`onetape gaps AAPL 1d`"}
    assert attention_of("AAPL 1d", {}, [], [never] * 64) == []


def test_missing_bars_that_gaps_count_are_no_second_reason() -> None:
    hole = {"class": "vendor_hole", "bars": 2, "next_step": "", "start": "2024-03-05T00:00:00Z"}
    hole |= {"end": "2024-03-07T00:00:00Z"}
    missing = {"check": "calendar", "severity": "warning", "rows": 2, "evidence": "2 are missing"}
    missing |= {"first": "2024-03-05T00:00:00Z", "last": "2024-03-06T00:00:00Z", "next_step": ""}
    later = missing | {"last": "2024-03-08T00:00:00Z"}
    move = missing | {"check": "move"}

    def kinds(finding: dict[str, Any], *gaps: dict[str, Any]) -> list[str]:
        """Return the kinds of the reasons for attention."""
        return [one["kind"] for one in attention_of("A 1d", {}, [finding], gaps)]

    assert kinds(missing, hole) == ["holes"]
    assert kinds(missing) == ["warning"]
    assert kinds(later, hole) == kinds(missing | {"rows": 3}, hole) == ["holes", "warning"]
    assert kinds(move, hole) == ["holes", "warning"]


def test_one_wrong_bar_is_one_reason() -> None:
    wrong = {
        "check": "split",
        "severity": "error",
        "rows": 1,
        "evidence": "10 times",
        "next_step": "",
    }
    wrong |= {"first": "2024-04-03T00:00:00Z", "last": "2024-04-03T00:00:00Z"}
    same = wrong | {"check": "outlier", "severity": "warning"}
    other = same | {"first": "2024-04-02T00:00:00Z"}

    def kinds(*findings: dict[str, Any]) -> list[str]:
        """Return the kinds of the reasons for attention."""
        return [one["kind"] for one in attention_of("A 1d", {}, findings, [])]

    assert kinds(wrong, same) == kinds(same, wrong) == ["error"]
    assert kinds(same) == ["warning"]
    assert kinds(wrong, other) == ["error", "warning"]


def test_a_report_begins_with_the_worst_series_and_the_next_step(
    filled: Run, tmp_path: Path
) -> None:
    answer = filled("report", "--all", "--json").json
    assert answer["look"] == {
        "number": 1, "of": "of 2 series", "state": "poor",
        "text": "HALTUSDT 1h needs attention: 3 bars missing in 1 gap, "
        "requested again from 2024-06-13 15:00 UTC",
        "next_step": "`onetape gaps HALTUSDT 1h`",
    }  # fmt: skip
    assert [one["symbol"] for one in answer["series"]] == ["HALTUSDT", "AAPL"], "the worst first"
    assert answer["totals"]["series"] == 2 and answer["totals"]["holes"] == 3
    page = tmp_path / "all.html"
    filled("report", "--all", "-o", str(page))
    seen = read_page(page.read_text())
    assert "#series-0" in seen.urls and 'id="series-0"' in page.read_text(), (
        "a line leads to its view"
    )
    line = answer["series"][1]["line"]
    assert len(line["closes"]) == len(line["times"]) <= 60 and line["times"][-1] == "2024-06-11"


@pytest.mark.parametrize("name", [("AAPL", "1d"), ("HALTUSDT", "1h")])
def test_the_small_chart_of_a_series_has_the_closes_of_its_answers(
    filled: Run, cache: Path, rules: Path, clock: ManualClock, name: tuple[str, str]
) -> None:
    data = filled("report", "--all", "--json").json
    line = next(one for one in data["series"] if one["symbol"] == name[0])["line"]
    manager = DataManager(cache, rules, clock=clock)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        bars = manager.get_ohlcv(*name, "2014-01-01", offline=True)
    assert len(line["times"]) == len(set(line["times"])) > 20
    closes = bars["close"].loc[[stamp.removesuffix("Z") for stamp in line["times"]]]
    assert line["closes"] == [float(f"{close:.9g}") for close in closes]
    assert line["times"][-1].removesuffix("Z") == bars.index[-1].isoformat().removesuffix(
        "T00:00:00"
    )


def test_a_report_of_all_series_does_not_count_as_use_and_raises_no_warning(
    filled: Run, cache: Path, rules: Path, clock: ManualClock
) -> None:
    """It reads all there is: what a user has read is what stays when the cache is full."""
    clock.advance(30 * 86_400.0)
    manager = DataManager(cache, rules, clock=clock)
    folder, series = manager.cache, manager.client.series()
    used = [folder.last_used_ms(key) for key in series]
    with warnings.catch_warnings():
        warnings.simplefilter("error", IncompleteDataWarning)
        report = manager.report()
    assert all(one["line"]["closes"] for one in report.data["series"])
    assert [folder.last_used_ms(key) for key in series] == used
    assert manager.client.get(manager.client.query("AAPL", "1d")).shape[0]
    assert [folder.last_used_ms(key) for key in series] != used, "what is read is protected"


def test_many_series_are_pages_that_lead_to_each_other(
    filled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.show.reports.report.SERIES_A_PAGE", 1)
    page = tmp_path / "all.html"
    assert filled("report", "--all", "-o", str(page)).code == 0
    first, second = (
        check_page((tmp_path / name).read_text()) for name in ("all.html", "all-2.html")
    )
    assert sorted(path.name for path in tmp_path.glob("*.html")) == ["all-2.html", "all.html"]
    assert [one["symbol"] for one in first.data["series"] + second.data["series"]] == [
        "HALTUSDT",
        "AAPL",
    ]
    assert [row["name"] for row in second.data["heat"]["rows"]] == ["AAPL 1d"]
    assert first.data["look"] == second.data["look"] and first.data["page"] == {
        "number": 1,
        "of": 2,
    }
    assert "all-2.html" in first.urls and "all.html" in second.urls


def _crowd(folder: Path, clock: ManualClock, count: int) -> DataManager:
    """Return a manager on a cache with that many shares, 40 days of bars each."""
    manager = DataManager(folder, clock=clock)
    end = clock.now_ms() // DAY_MS * DAY_MS - 20 * DAY_MS
    span, kind = Span(end - 40 * DAY_MS, end), Kind("regular", "session", "consolidated", "USD")
    stamps = np.arange(span.start, span.end, DAY_MS, dtype=np.int64)
    bars = BarTable.of_columns(stamps, [10.0 + np.arange(40) % 7] * 5)
    piece = CommitPiece(bars, span, "yahoo", span.end, kind, Basis("raw"), "final")
    for letters in islice(product("QWZX", repeat=4), count):
        key = SeriesKey("".join(letters), Timeframe.parse("1d"))
        manager.cache.store.commit(key, Commit((piece,), kind=kind))
    return manager


def test_a_report_of_twice_as_many_series_is_twice_the_work(
    machine: None, old_files: None, clock: ManualClock, tmp_path: Path
) -> None:
    """Nothing is done for each pair of series: neither calls in general nor comparisons of keys."""
    calls, comparisons = [], []
    for count in (3, 6, 12):
        manager = _crowd(tmp_path / str(count), clock, count)
        assert len(manager.report().data["series"]) == count
        counted = [one.split(" ", 1) for one in calls_by_name(manager.report).split(", ")]
        calls.append(sum(int(n) for n, _ in counted))
        comparisons.append(sum(int(n) for n, name in counted if name.endswith("__eq__")))
    for one, two, four in (calls, comparisons):
        assert (four - two) / (two - one) < 2.2, (calls, comparisons)


NEEDED = """
import json, sys
from pathlib import Path
from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
rules, clock, page = Path(sys.argv[1]), ManualClock(int(sys.argv[2])), Path(sys.argv[3])
told = []
for cache in sys.argv[4:6]:
    report = DataManager(Path(cache), rules, clock=clock).report()
    report.save(page)
    names = [one["symbol"] for one in report.data["series"]]
    told.append([names, [name for name in sys.argv[6:] if name in sys.modules]])
print(json.dumps(told))
"""
HTTP = ("requests", "urllib3", "http.client", "tenacity", "asyncio")
FRAMES = ("pandas", "exchange_calendars")
VENDORS = "onetape.data.core.vendors.base"


def test_a_report_imports_no_http_library_and_pandas_only_for_the_calendar_of_a_share(
    run: Run, cache: Path, rules: Path, clock: ManualClock, tmp_path: Path
) -> None:
    """Vendors are loaded, because a gap's next step depends on what they declare; none is queried."""
    coin, both = tmp_path / "coin", cache
    run(*HALT)
    shutil.copytree(cache, coin)
    run(*SHARE)
    arguments = [rules, clock.now_ms(), tmp_path / "all.html", coin, both, VENDORS, *HTTP, *FRAMES]
    command = [sys.executable, "-c", NEEDED, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [(sorted(names), set(has)) for names, has in json.loads(done.stdout)] == [
        (["HALTUSDT"], {VENDORS}),
        (["AAPL", "HALTUSDT"], {VENDORS, *FRAMES}),
    ]


def test_the_small_chart_of_a_series_is_drawn_once(
    filled: Run, cache: Path, rules: Path, clock: ManualClock
) -> None:
    """The list and the detailed view have the same."""
    report = DataManager(cache, rules, clock=clock).report()
    text = report.html()
    assert text.count('class="spark"') == 4
    assert "2 spark," in calls_by_name(report.html)


def test_a_page_of_twice_as_many_series_is_twice_the_work() -> None:
    def page(count: int) -> int:
        one: dict[str, Any] = dict.fromkeys(("symbol", "timeframe", "lane"), "A")
        one |= {"first": None, "last": None, "rows": 9, "vendors": ["x"], "score": 1.0}
        one |= {"gaps": {}, "problems": {}, "attention": [], "line": {"closes": [1.0, 2.0]}}
        row = {"name": "A 1d", "cells": "=", "counts": {"final": 1}}
        look = dict.fromkeys(("number", "of", "text", "next_step", "state"), "good")
        totals = dict.fromkeys(("series", "bars", "holes"), 9) | {"vendors": []}
        data: dict[str, Any] = {"subject": "", "onetape": "1", "made": "2024-06-12T00:00:00Z"}
        data |= {"series": [one] * count, "incidents": [], "gaps": [], "gaps_more": 0}
        data |= {"samples": 0, "look": look, "totals": totals}
        data["heat"] = {"first": "", "last": "", "signs": {}, "rows": [row] * count}
        return calls_of(lambda: page_of(data, ()))

    page(1)
    small, large = page(40) - page(20), page(80) - page(40)
    assert 1.9 < large / small < 2.1


def test_a_job_is_a_table_in_a_notebook(run: Run, cache: Path, rules: Path) -> None:
    run("fetch", "BTCUSDT", "1d", "--start", "2024-05-01", "--end", "2024-05-31")
    report = populate_cache(
        ["BTCUSDT"], ["1d"], "2024-05-01", "2024-05-31", cache, config_path=rules
    )
    assert isinstance(report, JobReport) and str(report) == repr(dict(report))
    assert "1 of 1 series succeeded" in report._repr_html_()
