"""``onetape cache``: the commands for maintenance (verify, repair, compact, migrate, log)."""

from __future__ import annotations

import errno
import gzip
import os
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.cache.beside.fundamentals_cache import FundamentalsCache
from src.data.core.cache.beside.tables import TableStore
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk, DiskStep
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.instant import day_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from tests.cli.conftest import Run
from tests.core.cache.damage import change, flipped
from tests.core.cache.disks import CHANGING
from tests.vendor_server import Fault, VendorServer

MAY = ("--start", "2024-05-01", "--end", "2024-05-31")
HOUR_S = 3600


@pytest.fixture
def filled(fill: Callable[..., Run]) -> Run:
    """Return the runner on a cache with two series."""
    return fill(("fetch", "BTCUSDT", "1h", *MAY), ("fetch", "AAPL", "1d", *MAY))


@pytest.fixture
def damaged(filled: Run, cache: Path) -> Run:
    """Return the runner on that cache, a bit of which has rotted."""
    path = cache / "ohlcv" / "BTCUSDT" / "1h" / "2024.csv.gz"
    change(path, lambda data: flipped(data, len(data) - 30))
    return filled


def files(cache: Path) -> dict[Path, bytes]:
    # Whoever locks leaves its number there.
    return {p: p.read_bytes() for p in cache.rglob("*") if p.is_file() and p.name != ".lock"}


# --- verify and repair ---------------------------------------------------------------------


def test_verify_and_repair_report_a_sound_cache(
    filled: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = filled("cache", "verify")
    assert (ran.code, ran.out) == (0, "2 series read: no damage found\n")
    assert filled("cache", "verify", "--json").json == {
        "series": 2, "tables": 0, "fundamentals": 0, "sound": True, "findings": [], "problems": [],
    }  # fmt: skip
    assert filled("cache", "repair").out == "2 series read, 0 findings repaired: no damage found\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    for word in ("verify", "repair"):
        assert filled("cache", word).out.startswith("\x1b[1;32m"), "bold green"


def test_verify_reports_damage_and_changes_no_file(damaged: Run, cache: Path) -> None:
    before = files(cache / "ohlcv" / "BTCUSDT")
    for words in (["verify"], ["repair", "--dry-run"], ["verify", "BTC/USDT", "1h"]):
        ran = damaged("cache", *words)
        assert ran.code == 1
        assert "BTCUSDT 1h 2024: the data are damaged at byte 0 of" in ran.out
        assert "→ the file is moved to quarantine; its replacement has 0 bars" in ran.out
        assert "1 finding; `onetape cache repair` repairs it" in ran.out
    assert files(cache / "ohlcv" / "BTCUSDT") == before
    assert damaged("cache", "verify", "AAPL").code == 0, "only what was named is read"
    (finding,) = damaged("cache", "verify", "--json").json["findings"]
    assert (finding["symbol"], finding["timeframe"], finding["where"], finding["repairable"]) == (
        "BTCUSDT", "1h", "2024", True,
    )  # fmt: skip


@pytest.fixture
def others(cache: Path, clock: ManualClock) -> dict[str, Path]:
    """Return a file of a table, and one of fundamentals; there are no bars."""
    store = TableStore(cache, "open_interest", clock=clock)
    index = pd.date_range("2024-05-01", periods=9, freq="h", name="timestamp")
    figures = pd.DataFrame({"sumOpenInterest": 1.5, "sumOpenInterestValue": 2.5}, index=index)
    store.put(SeriesKey("BTCUSDT", Timeframe.parse("1h")), figures, None, "binance")
    told = FundamentalsCache(cache, clock=clock).write_json("AAPL", "fmp", {"pe_ratio": 25.5})
    return {"table": cache / "open_interest/BTCUSDT/1h/2024.csv.gz", "told": Path(told)}


@pytest.mark.parametrize("which", ["table", "told"])
def test_tables_and_fundamentals_are_read_and_repaired(
    run: Run, others: dict[str, Path], cache: Path, which: str
) -> None:
    read = "0 series, 1 table, fundamentals for 1 symbol read"
    assert run("cache", "verify").out == f"{read}: no damage found\n"
    path = others[which]
    damaged = change(path, lambda data: flipped(data, len(data) // 2))
    before = files(cache)
    symbol, other = ("BTCUSDT", "AAPL") if which == "table" else ("AAPL", "BTCUSDT")
    for words in (["verify"], ["repair", "--dry-run"], ["verify", symbol]):
        ran = run("cache", *words)
        assert ran.code == 1
        assert path.name in ran.out
        assert "it goes into quarantine, and is fetched again" in ran.out
    assert run("cache", "verify", other).code == 0
    assert files(cache) == before, "nothing is changed"
    told = run("cache", "verify", "--json").json
    assert (told["tables"], told["fundamentals"], told["sound"]) == (1, 1, False)
    assert {f["symbol"] for f in told["findings"]} == {symbol}
    ran = run("cache", "repair")
    assert ran.code == 0, ran.out
    assert "repaired: no damage found" in ran.out
    assert not path.exists()
    assert damaged in files(cache).values()
    assert run("cache", "verify").code == 0


def test_a_folder_in_place_of_a_table_is_reported_and_left_alone(
    run: Run, others: dict[str, Path]
) -> None:
    for path in others.values():
        path.unlink()
        path.mkdir()
    for words in ("verify", "repair"):
        ran = run("cache", words)
        assert ran.code == 1
        assert all(path.name in ran.out for path in others.values())
    assert [path.is_dir() for path in others.values()] == [True, True]


def test_cache_repair_quarantines_a_damaged_file_and_reports_the_repair(
    damaged: Run, cache: Path
) -> None:
    ran = damaged("cache", "repair")
    assert ran.code == 0
    assert "✓ the file is moved to quarantine" in ran.out
    assert "2 series read, 1 finding repaired: no damage found" in ran.out
    assert damaged("cache", "verify").code == 0
    again = damaged("fetch", "BTCUSDT", "1h", *MAY, "--json").json
    assert (len(again["bars"]), again["provenance"]["from_cache"]) == (744, 0.0)
    assert len(list(cache.glob("ohlcv/BTCUSDT/1h/_quarantine/*.csv.gz"))) == 1


def test_cache_repair_exits_with_1_and_the_command_for_irreparable_damage(
    filled: Run, cache: Path
) -> None:
    change(cache / "ohlcv" / "AAPL" / "actions.json", lambda data: flipped(data, 120))
    assert filled("cache", "verify").out.endswith("2 series read: 1 finding\n")
    change(cache / "ohlcv" / "AAPL" / "1d" / "series.json", lambda data: flipped(data, 120))
    ran = filled("cache", "verify")
    assert ran.out.endswith("2 findings; `onetape cache repair` repairs 1 of them\n")
    ran = filled("cache", "repair")
    assert ran.code == 1
    assert "AAPL actions.json: " in ran.out
    assert "✗ fetch them again: `onetape fetch AAPL 1d --refresh`" in ran.out
    told = filled("cache", "repair", "AAPL", "--json").json
    assert (told["sound"], len(told["left"])) == (False, 1)
    assert filled("fetch", "AAPL", "1d", *MAY, "--refresh").code == 0
    assert filled("cache", "verify").code == 0


@pytest.fixture
def read_only(filled: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a runner on a cache that holds something and can only be read."""
    perform = Disk.perform

    def refusing(self: Disk, step: DiskStep, call: Any) -> Any:
        opens_to_write = step.name == "open" and call.args[-1] & os.O_RDWR
        if step.name in CHANGING or opens_to_write:
            raise OSError(errno.EROFS, "read-only file system")
        return perform(self, step, call)

    monkeypatch.setattr(Disk, "perform", refusing)
    return filled


JUNE = ("--start", "2024-06-01", "--end", "2024-06-02")


def test_a_cache_that_can_only_be_read_is_not_filled(read_only: Run) -> None:
    ran = read_only("populate", "--symbols", "BTCUSDT", "--timeframes", "1h", *JUNE)
    assert (ran.code, ran.err.count("is read-only")) == (1, 1)


def test_a_cache_that_can_only_be_read_is_one_note(read_only: Run) -> None:
    ran = read_only("fetch", "BTCUSDT", "1h", *JUNE, "--json")
    assert (ran.code, len(ran.json["bars"])) == (0, 48)
    assert ran.err.count("is read-only") == 1
    assert read_only("cache", "verify").code == 0
    ran = read_only("cache", "clear", "AAPL")
    assert (ran.code, "read-only file system" in ran.err) == (1, True)


# --- compact -------------------------------------------------------------------------------


def test_compact_reports_sizes_before_and_after(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "src.data.core.cache.write.segments.FEW_ROWS", 0
    )  # days of so many bars stay apart
    for day in range(1, 6):
        stop = f"2024-05-{day:02d}"
        assert run("fetch", "BTCUSDT", "1h", "--start", stop, "--end", stop).code == 0
    bars = run("fetch", "BTCUSDT", "1h", *MAY[:2], "--end", "2024-05-05", "--json").json["bars"]
    before = files(cache / "ohlcv" / "BTCUSDT")
    planned = run("cache", "compact", "--dry-run", "--json").json
    assert files(cache / "ohlcv" / "BTCUSDT") == before
    ran = run("cache", "compact", "--json").json
    (one,) = ran["series"]
    assert (one["members_before"], one["members_after"], one["years"]) == (5, 1, [2024])
    assert ran["bytes_after"] < ran["bytes_before"] == planned["bytes_before"]
    assert planned["series"] == ran["series"]
    again = run("fetch", "BTCUSDT", "1h", *MAY[:2], "--end", "2024-05-05", "--json").json
    assert (again["bars"], again["provenance"]["from_cache"]) == (bars, 1.0)
    shown = run("cache", "compact").out
    assert "before, " in shown
    assert "0 B in stale files removed" in shown


# --- migrate -------------------------------------------------------------------------------


@pytest.fixture
def older(cache: Path) -> Path:
    """Return the file that an older tool left of a coin, in the layout without ``ohlcv``."""
    folder = cache / "btcusdt" / "1d"
    folder.mkdir(parents=True)
    rows = "".join(f"2023-03-{n:02d},{n}.5,{n + 1},{n}.25,{n}.5,10.0\n" for n in range(1, 11))
    text = "timestamp,open,high,low,close,volume\n" + rows
    (folder / "2023.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder / "2023.csv.gz"


def test_cache_migrate_converts_older_files_under_the_current_symbol(
    run: Run, cache: Path, older: Path
) -> None:
    original = older.read_bytes()
    planned = run("cache", "migrate", "--dry-run")
    assert planned.code == 0
    assert "1 file: 9 bars would be converted" in planned.out
    assert older.read_bytes() == original
    ran = run("cache", "migrate", "--json")
    (one,) = ran.json["files"]
    assert (one["symbol"], one["rows"], one["taken"]) == ("BTCUSDT", 10, 9)
    aside = cache / "ohlcv" / "BTCUSDT" / "1d" / "_legacy" / "2023.csv.gz"
    assert aside.read_bytes() == original
    assert not older.exists()
    spring = ("--start", "2023-03-01", "--end", "2023-03-09", "--offline", "--json")
    assert len(run("fetch", "BTCUSDT", "1d", *spring).json["bars"]) == 9
    assert "there are no files written by older tools" in run("cache", "migrate").out


def test_pruning_keeps_a_file_whose_bars_are_cached_nowhere_else(
    run: Run, cache: Path, older: Path
) -> None:
    ran = run("cache", "migrate", "--prune")
    assert ran.code == 1
    assert "kept: one of its bars is cached nowhere else, first 2023-03-10" in ran.out
    aside = cache / "ohlcv" / "BTCUSDT" / "1d" / "_legacy" / "2023.csv.gz"
    assert aside.exists()
    around = ("--start", "2023-03-01", "--end", "2023-03-12", "--refresh")
    assert run("fetch", "BTCUSDT", "1d", *around).code == 0
    told = run("cache", "migrate", "BTCUSDT", "--prune", "--dry-run", "--json").json["pruned"]
    assert (told[0]["deleted"], sum(told[0]["superseded"].values())) == (True, 10)
    assert aside.exists()
    ran = run("cache", "migrate", "--prune")
    assert ran.code == 0
    assert "deleted (0 of 10 bars held, 10 bars replaced by binance)" in ran.out
    assert not aside.exists()


# --- log and versions ----------------------------------------------------------------------


def test_cache_log_lists_every_commit(run: Run) -> None:
    for day in ("2024-05-01", "2024-05-02", "2024-05-03"):
        assert run("fetch", "BTCUSDT", "1h", "--start", day, "--end", day).code == 0
    (series,) = run("cache", "log", "BTC/USDT", "1h", "--json").json
    commits = series["commits"]
    assert [c["added"] for c in commits if c["added"]] == [24, 24, 24]
    assert {c["vendor"] for c in commits if c["added"]} == {"binance"}
    assert [commits[0][name] for name in ("start", "end")] == [
        "2024-05-01T00:00:00Z", "2024-05-02T00:00:00Z",
    ]  # fmt: skip
    assert all(c["kept"] and not c["changed"] and not c["removed"] for c in commits)
    shown = run("cache", "log", "BTCUSDT", "1h", "--limit", "1").out
    assert f"BTCUSDT 1h · {len(commits)} commits" in shown
    assert len([line for line in shown.splitlines() if "binance" in line]) == 1
    assert run("cache", "log", "BTCUSDT", "1h", "--limit", "0").code == 2


def test_a_deletion_stays_in_the_log(run: Run) -> None:
    day = ("--start", "2024-05-01", "--end", "2024-05-01")
    assert run("fetch", "BTCUSDT", "1h", *day).code == 0
    assert run("cache", "clear", "BTCUSDT", "1h").code == 0
    (series,) = run("cache", "log", "BTCUSDT", "1h", "--json").json
    deletion = series["commits"][-1]
    assert (deletion["deleted"], deletion["removed"], deletion["kept"]) == ("clear", 24, True)
    assert "deleted by clear" in run("cache", "log", "BTCUSDT", "1h").out
    first = str(series["commits"][0]["generation"])
    refused = run("fetch", "BTCUSDT", "1h", *day, "--version", first)
    assert refused.code == 2
    assert "no longer kept" in refused.err


def test_a_version_is_fetched_without_asking_anybody(run: Run, vendors: Any) -> None:
    for day in ("2024-05-01", "2024-05-02"):
        assert run("fetch", "BTCUSDT", "1h", "--start", day, "--end", day).code == 0
    vendors.clear_log()
    words = ("fetch", "BTCUSDT", "1h", "--start", "2024-05-01", "--end", "2024-05-02", "--json")
    ran = run(*words, "--version", "1")
    assert len(ran.json["bars"]) == 24
    assert ran.json["provenance"]["generation"] == 1
    assert vendors.count() == 0
    assert run(*words, "--version", "99").code == 2
    assert run(*words, "--version", "1", "--refresh").code == 2


# --- what is not there ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [["verify"], ["repair"], ["compact"], ["migrate"], ["log"], ["export", "--out", "x.csv"]],
    ids=lambda words: words[0],
)
def test_the_error_of_a_series_that_is_not_cached_lists_the_cached_ones(
    words: list[str], filled: Run
) -> None:
    ran = filled("cache", words[0], "MSFT", "1d", *words[1:])
    assert ran.code == 1
    assert "nothing is cached for MSFT 1d" in ran.err
    assert "cached symbols: AAPL, BTCUSDT" in ran.err
    ran = filled("cache", words[0], "AAPL", "1h", *words[1:])
    assert "cached for AAPL: 1d" in ran.err
    ran = filled("cache", words[0], "AAPL", "1h", *words[1:], "--json")
    assert ran.json["error"]["symbol"] == "AAPL"
    assert filled("cache", words[0], "AAPL", "1x", *words[1:]).code == 2
    assert filled("cache", words[0], "EURUSD", "1d", *words[1:]).code == 2


def test_an_empty_cache_is_no_failure(run: Run) -> None:
    for words in (["verify"], ["repair"], ["compact"], ["migrate"], ["migrate", "--prune"]):
        ran = run("cache", *words)
        assert (ran.code, ran.err) == (0, "")
    assert "is empty" in run("cache", "verify", "AAPL").err


# --- export --------------------------------------------------------------------------------


def test_a_series_becomes_a_file(filled: Run, tmp_path: Path) -> None:
    out = tmp_path / "btc.csv"
    ran = filled("cache", "export", "BTCUSDT", "1h", "--out", str(out))
    assert ran.code == 0
    assert "written: 1 file, 744 bars" in ran.out
    lines = out.read_text().splitlines()
    assert lines[0] == "timestamp,open,high,low,close,volume"
    assert (len(lines), lines[1][:19]) == (745, "2024-05-01 00:00:00")
    part = ("--start", "2024-05-02", "--end", "2024-05-02", "--json")
    (told,) = filled("cache", "export", "BTCUSDT", "1h", "--out", str(out), *part).json
    assert (told["rows"], told["first"]) == (24, "2024-05-02T00:00:00Z")
    assert len(out.read_text().splitlines()) == 25


@pytest.mark.parametrize(
    ("name", "start"),
    [("btc.CSV", b"time"), ("BTC.CSV.GZ", b"\x1f\x8b"), ("BTC.PARQUET", b"PAR1")],
)
def test_the_ending_of_an_export_counts_in_capitals_too(
    name: str, start: bytes, filled: Run, tmp_path: Path
) -> None:
    if start == b"PAR1":
        pytest.importorskip("pyarrow")
    assert filled("cache", "export", "BTCUSDT", "1h", "--out", str(tmp_path / name)).code == 0
    assert (tmp_path / name).read_bytes().startswith(start)


def test_all_series_become_files(filled: Run, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    ran = filled("cache", "export", "--all", str(folder), "--raw", "--json")
    assert ran.code == 0
    assert sorted(p.name for p in folder.iterdir()) == ["AAPL-1d.csv", "BTCUSDT-1h.csv"]
    assert {Path(one["path"]).name: one["rows"] for one in ran.json} == {
        "AAPL-1d.csv": 22, "BTCUSDT-1h.csv": 744,
    }  # fmt: skip


def test_an_export_without_rows_that_cannot_be_bars_says_so(
    run: Run, vendors: VendorServer, tmp_path: Path
) -> None:
    vendors.fault("yahoo", Fault.bad_ohlc(7), symbol="AAPL", times=1)
    assert run("fetch", "AAPL", "1d", "--start", "2024-05-01", "--end", "2024-05-31").code == 1
    ran = run("cache", "export", "AAPL", "1d", "--out", str(tmp_path / "a.csv"))
    assert ran.code == 1
    assert ran.err.startswith("incomplete: AAPL 1d: 1 gap, first 2024-05-09")
    assert "a row that cannot be a bar: high below low" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        [], ["AAPL", "1d"], ["AAPL", "--out", "x.csv"], ["AAPL", "1d", "--out", "x", "--all", "y"],
        ["AAPL", "1d", "--out", "x.csv", "--raw", "--adjustment", "all"],
        ["AAPL", "1d", "--out", "x.csv", "--format", "xlsx"],
        ["AAPL", "1d", "--out", "x.csv", "--start", "someday"],
    ],
)  # fmt: skip
def test_export_refuses_contradictory_arguments(
    words: list[str], filled: Run, tmp_path: Path
) -> None:
    ran = filled("cache", "export", *words)
    assert ran.code == 2
    assert not (tmp_path / "x.csv").exists()


def test_an_export_is_whole_or_not_there(filled: Run, tmp_path: Path, cache: Path) -> None:
    for place in (tmp_path / "no" / "x.csv", cache / "x.csv", cache / "ohlcv" / "AAPL" / "x.csv"):
        ran = filled("cache", "export", "AAPL", "1d", "--out", str(place))
        assert ran.code == 1
        assert not place.exists()
    ran = filled("cache", "export", "AAPL", "1d", "--out", "x.csv", "--lane", "extended")
    assert (ran.code, "--lane accepts: (none)" in ran.err) == (1, True)


def test_cache_export_without_the_parquet_extra_names_the_extra(
    filled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ran = filled("cache", "export", "--all", str(tmp_path / "out"), "--format", "parquet")
    assert ran.code == 2
    assert "[parquet]" in ran.err
    assert list((tmp_path / "out").iterdir()) == []


# --- what is not in the metadata -----------------------------------------------------------


def test_doctor_finds_bars_that_a_power_loss_hid(run: Run, cache: Path) -> None:
    day = ("fetch", "BTCUSDT", "1h", "--start", "2024-05-01", "--end", "2024-05-01")
    assert run(*day).code == 0
    folder = cache / "ohlcv" / "BTCUSDT" / "1h"
    before = (folder / "2024.metadata.json").read_bytes()
    assert run(*day[:4], "2024-05-02", "--end", "2024-05-02").code == 0
    (folder / "2024.metadata.json").write_bytes(before)
    for path in folder.iterdir():
        then = path.stat().st_mtime - HOUR_S
        os.utime(path, (then, then))
    doctor = run("doctor", "--no-network", "--json")
    said = [c for c in doctor.json["checks"] if c["name"] == "health commits"]
    assert [c["level"] for c in said] == ["fault"]
    assert "onetape cache repair" in said[0]["remedy"]
    assert run("cache", "repair").code == 0
    told = run(*day[:4], "2024-05-01", "--end", "2024-05-02", "--offline", "--json")
    assert len(told.json["bars"]) == 48
    checks = run("doctor", "--no-network", "--json").json["checks"]
    assert "health commits" not in [c["name"] for c in checks]


def test_export_reports_an_empty_cache(run: Run, tmp_path: Path) -> None:
    ran = run("cache", "export", "--all", str(tmp_path / "out"))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("there are no bars in ")
    assert run("cache", "export", "--all", str(tmp_path / "out"), "--json").json == []


def test_tables_and_fundamentals_have_a_log_too(run: Run, cache: Path, clock: ManualClock) -> None:
    tables = TableStore(cache, "funding_rate", clock=clock)
    key = SeriesKey("BTCUSDT", Timeframe.parse("8h"))
    rates = pd.DataFrame({"funding_rate": 0.1}, pd.date_range("2024-05-01", periods=3, freq="8h"))
    span = Span(day_ms(date(2024, 5, 1)), day_ms(date(2024, 5, 2)))
    tables.put(key, rates, span, "binance")
    data = cache / "funding_rate/BTCUSDT/8h/2024.csv.gz"
    whole = data.read_bytes()
    data.write_bytes(whole[:-10])
    tables.repair(key)
    tables.put(key, rates, span, "binance")
    tables.clear(key=key)
    facts = FundamentalsCache(cache, clock=clock, private=False)
    facts.write_json("BTCUSDT", "fmp", {"pe_ratio": 3.0}, datetime(2024, 5, 1))
    assert facts.cleanup_stale_data("BTCUSDT", "fmp", datetime(2024, 5, 2))
    table, company = run("cache", "log", "BTCUSDT", "--json").json
    assert (table["data_type"], table["timeframe"]) == ("funding_rate", "8h")
    written, *aside, again, deleted = table["commits"]
    day = ("2024-05-01T00:00:00Z", "2024-05-02T00:00:00Z")
    assert (written["added"], written["vendor"], written["start"], written["end"]) == (
        3,
        "binance",
        *day,
    )
    assert (aside[0]["removed"], aside[0]["start"], aside[0]["end"]) == (3, *day)
    assert "digest" in aside[0]["reason"]
    assert again["added"] == 3
    assert (deleted["deleted"], deleted["removed"], deleted["start"]) == ("clear", 3, day[0])
    assert company["data_type"] == "fundamentals"
    (kept, gone) = company["commits"]
    assert kept["file"] == gone["file"] == "fmp_20240501_000000.json"
    assert (gone["deleted"], gone["bytes"]) == ("cleanup_stale_data", kept["bytes"])
    shown = run("cache", "log", "BTCUSDT").out
    for word in ("quarantined", "deleted by clear", "deleted by cleanup_stale_data", "5 entries"):
        assert word in shown
    assert [one["data_type"] for one in run("cache", "log", "BTCUSDT", "8h", "--json").json] == [
        "funding_rate"
    ]
    assert run("cache", "log", "BTCUSDT", "1h").code == 1
