from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.clock import ManualClock
from tests.cli.conftest import Run

MAY = ("--start", "2024-05-01", "--end", "2024-05-31")


@pytest.fixture
def filled(fill: Callable[..., Run]) -> Run:
    """Return the runner on a cache with three series, one of them pinned."""
    shares = ("fetch", "AAPL", "1d", *MAY)
    return fill(("fetch", "BTCUSDT", "1h", *MAY), shares, (*shares, "--provider", "yahoo"))


def test_list_and_stats_report_an_empty_cache(run: Run, cache: Path) -> None:
    assert run("cache", "list").out == f"there are no bars in {cache}\n"
    assert run("cache", "list", "--json").json == []
    assert run("cache", "stats", "--json").json["bars_count"] == 0


@pytest.mark.parametrize(
    "words",
    [("list",), ("stats",), ("verify",), ("clear", "--all"), ("clean",), ("log", "AAPL", "1d"),
     ("export", "--all", "out")],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_folder_that_is_not_there_is_not_made(
    bare: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A mistyped folder has no series; to say so would be worse than to say why."""
    nowhere = tmp_path / "cahce"
    ran = bare("cache", *words, "--cache-dir", str(nowhere))
    assert ran.code == 2
    assert f"the cache folder does not exist: {nowhere}" in ran.err.replace("\n", "")
    assert not nowhere.exists()


def test_every_series_is_listed_with_its_range(filled: Run) -> None:
    entries = filled("cache", "list", "--json").json
    told = {(e["symbol"], e["timeframe"], e["lane"]): e for e in entries}
    assert set(told) == {("BTCUSDT", "1h", ""), ("AAPL", "1d", ""), ("AAPL", "1d", "yahoo")}
    hours = told["BTCUSDT", "1h", ""]
    assert (hours["rows"], hours["vendors"]) == (744, ["binance"])
    assert (hours["first"], hours["last"]) == ("2024-05-01T00:00:00Z", "2024-05-31T23:00:00Z")
    rows = [line.split() for line in filled("cache", "list").out.splitlines()]
    assert ["BTCUSDT", "1h", "-", "744", "binance"] in [row[:5] for row in rows]


def test_only_with_check_every_file_is_read(filled: Run, cache: Path) -> None:
    folder = cache / "ohlcv" / "BTCUSDT" / "1h"
    os.utime(folder, (1e9, 1e9))
    plain = filled("cache", "list", "--json").json
    data = bytearray((folder / "2024.csv.gz").read_bytes())
    data[-20] ^= 1
    (folder / "2024.csv.gz").write_bytes(data)
    assert filled("cache", "list", "--json").json == plain
    checked = {
        e["symbol"] + e["lane"]: e["problem"]
        for e in filled("cache", "list", "--check", "--json").json
    }
    assert checked.pop("BTCUSDT").startswith("2024: the data are damaged")
    assert set(checked.values()) == {""}
    shown = filled("cache", "list", "--check")
    assert shown.code == 1
    assert "problem" in shown.out and "2024: the data are" in " ".join(shown.out.split())


def test_a_series_of_one_lane_alone_is_one_series(run: Run, clock: ManualClock) -> None:
    assert run("fetch", "AAPL", "1d", *MAY, "--provider", "mock").code == 0
    assert [e["lane"] for e in run("cache", "list", "--json").json] == ["mock"]
    assert run("cache", "verify").out.startswith("1 series read")
    clock.advance(3600)  # what is in use stays
    told = run("cache", "stats", "--json").json["freeable"]
    assert told["replaceable_bytes"] > 0, "what is made up can be made up again"
    assert told["kept"] == []


def test_stats_count_symbols_and_bytes(filled: Run, cache: Path) -> None:
    told = filled("cache", "stats", "--json").json
    assert told["cache_dir"] == str(cache)
    assert told["symbols_count"] == 2
    assert told["total_size_gb"] > 0
    shown = filled("cache", "stats").out
    assert re.search(r"^ +symbols +2 *$", shown, re.MULTILINE)
    assert " KB" in shown
    assert told["health"]["ok"] is True
    assert "none (3 of 3 files read)" in shown


def test_stats_report_growth_by_day(run: Run, clock: ManualClock) -> None:
    assert run("fetch", "BTCUSDT", "1h", *MAY).code == 0
    clock.advance(86_400)
    assert run("fetch", "AAPL", "1d", *MAY).code == 0
    assert run("fetch", "BTCUSDT", "1h", "--start", "2024-04-30", "--end", "2024-04-30").code == 0
    told = run("cache", "stats", "--json").json["growth"]
    assert [(day["date"], day["bars"]) for day in told] == [("2024-06-12", 744), ("2024-06-13", 46)]
    stored = [e["bytes"] for e in told]
    files = sum(p.stat().st_size for p in Path("cache").rglob("ohlcv/*/*/*.csv.gz"))
    assert sum(stored) == files
    shown = run("cache", "stats").out
    assert re.search(r"^2024-06-13 +46 +[\d.]+ \w?B", shown, re.MULTILINE)


def test_cache_stats_report_a_damaged_year(filled: Run, cache: Path) -> None:
    path = cache / "ohlcv" / "BTCUSDT" / "1h" / "2024.csv.gz"
    path.write_bytes(path.read_bytes()[:-10])
    os.utime(path, (1e9, 1e9))
    os.utime(path.with_name("2024.metadata.json"), (1e9, 1e9))
    shown = filled("cache", "stats").out
    assert "BTCUSDT 1h 2024: the data are damaged" in " ".join(shown.split())


def test_info_lists_every_span(filled: Run) -> None:
    told = filled("cache", "info", "btc/usdt", "1h", "--json").json
    (series,) = told["series"]
    (span,) = series["spans"]
    assert (span["start"], span["end"]) == ("2024-05-01T00:00:00Z", "2024-06-01T00:00:00Z")
    assert (span["vendor"], span["state"], span["basis"]) == (
        "binance", "final", {"adjustment": "raw"},
    )  # fmt: skip
    assert told["years"]["2024"]["file_info"]["rows"] == 744
    assert "BTCUSDT 1h · 744 bars" in filled("cache", "info", "BTCUSDT", "1h").out
    assert filled("cache", "info", "AAPL", "1d").out.count("AAPL 1d") == 2, "both lanes"


@pytest.mark.parametrize("action", ["info", "clear"])
def test_a_series_that_is_not_there_is_named(action: str, filled: Run) -> None:
    ran = filled("cache", action, "MSFT", "1d")
    assert ran.code == 1
    assert "nothing is cached for MSFT 1d" in ran.err
    assert filled("cache", action, "AAPL", "1x").code == 2
    assert filled("cache", action, "EURUSD", "1d").code == 2


@pytest.mark.parametrize(
    "words, left",
    [
        (["BTCUSDT", "1h"], ["AAPL", "AAPL"]),
        (["AAPL", "1d"], ["BTCUSDT"]),
        (["AAPL"], ["BTCUSDT"]),
        (["--all"], []),
    ],
)
def test_clear_deletes_only_the_named_series(
    words: list[str], left: list[str], filled: Run
) -> None:
    ran = filled("cache", "clear", *words, "--json")
    assert ran.code == 0
    assert len(ran.json["deleted"]) == 3 - len(left)
    assert [e["symbol"] for e in filled("cache", "list", "--json").json] == left


@pytest.mark.parametrize("words", [[], ["AAPL", "--all"]])
def test_clear_without_a_symbol_needs_all(words: list[str], filled: Run) -> None:
    ran = filled("cache", "clear", *words)
    assert ran.code == 2
    assert "--all" in ran.err
    assert len(filled("cache", "list", "--json").json) == 3


@pytest.mark.parametrize(
    "words",
    [("list",), ("stats",), ("verify",), ("repair",), ("clean", "--older-than", "90y"),
     ("info", "AAPL", "1d"), ("clear", "AAPL", "1d"), ("clear", "--all")],
    ids=lambda words: words[0],
)  # fmt: skip
def test_folders_of_something_else_next_to_the_bars_are_no_obstacle(
    filled: Run, cache: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(cache / "ohlcv", cache / "ohlcv.bak")
    (cache / "lost+found").mkdir()
    names_in = os.listdir

    def names(path: Any) -> list[str]:
        """Return the names in a folder, unless it can be listed only by its owner."""
        if os.path.basename(path) == "lost+found":
            raise PermissionError(13, "Permission denied")
        return names_in(path)

    monkeypatch.setattr(os, "listdir", names)
    assert filled("cache", *words).code == 0
    assert len(list((cache / "ohlcv.bak").rglob("*.csv.gz"))) == 3


def test_an_older_folder_of_a_symbol_that_cannot_be_listed_is_named(
    filled: Run, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names_in = os.listdir
    for name in ("lost+found", "MSFT"):
        (cache / name).mkdir()

    def names(path: Any) -> list[str]:
        """Return the names in a folder, unless it can be listed only by its owner."""
        if os.path.basename(path) in ("lost+found", "MSFT"):
            raise PermissionError(13, "Permission denied")
        return names_in(path)

    monkeypatch.setattr(os, "listdir", names)
    assert filled("cache", "list").code == 0
    assert f"bars of an older tool are left out: cannot list {cache / 'MSFT'}: " in caplog.text
    assert "lost+found" not in caplog.text


def test_a_folder_that_cannot_be_listed_hides_no_other_series(
    filled: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    names_in = os.listdir

    def names(path: Any) -> list[str]:
        """Return the names in a folder, unless it is that of another user's series."""
        if os.fspath(path).endswith(os.path.join("BTCUSDT", "1h")):
            raise PermissionError(13, "Permission denied")
        return names_in(path)

    scan = os.scandir
    monkeypatch.setattr(os, "listdir", names)
    monkeypatch.setattr(os, "scandir", lambda path: (names(path), scan(path))[1])
    shown = filled("cache", "stats", "--json").json
    assert (shown["series_count"], shown["bars_count"]) == (2, 44)
    assert "BTCUSDT 1h: cannot list" in " ".join(filled("doctor").out.split())
    cleaned = filled("cache", "clean", "--older-than", "10d", "--json")
    assert cleaned.code == 1
    assert [e["symbol"] for e in cleaned.json["problems"]] == ["BTCUSDT"]
    assert "cannot list" in cleaned.json["problems"][0]["problem"]


def test_clear_reports_deleted_series_and_bars(filled: Run) -> None:
    assert filled("cache", "clear", "--all").out == "deleted: 3 series, 788 bars\n"
    assert filled("cache", "clear", "--all").out == "deleted: 0 series, 0 bars\n"


def test_clear_all_reports_the_tables_that_it_deletes(filled: Run, cache: Path) -> None:
    rows = pd.DataFrame({"rate": [0.1]}, index=pd.DatetimeIndex(["2024-05-01"]))
    for symbol in ("BTCUSDT", "ETHUSDT"):
        UnifiedCache(cache).put(rows, symbol, "8h", data_type="funding_rate")
    assert filled("cache", "clear", "AAPL", "--json").json["tables"] == 0
    ran = filled("cache", "clear", "--all")
    assert ran.out == "deleted: 1 series, 744 bars, 2 tables\n"
    assert filled("cache", "clear", "--all", "--json").json["tables"] == 0


def test_the_hint_for_a_folder_that_is_a_link_says_what_to_replace(
    filled: Run, cache: Path, tmp_path: Path
) -> None:
    lane = cache / "ohlcv/AAPL/1d"
    lane.rename(tmp_path / "elsewhere").rename(tmp_path / "moved")
    lane.symlink_to(tmp_path / "moved")
    ran = filled("cache", "repair")
    assert ran.code == 1
    assert "the folder 1d is a link" in ran.err
    assert "replace the link with the file or folder itself" in ran.err


def test_a_folder_that_is_a_file_is_one_line(bare: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = bare("cache", "list", "--cache-dir", str(tmp_path / "file"))
    assert ran.code == 1
    assert ran.err.startswith("onetape: ")


def test_closed_hours_doubted_near_a_split_are_no_gap_of_an_export(
    run: Run, clock: ManualClock, tmp_path: Path
) -> None:
    run("populate", "--symbols", "NVDA", "--intervals", "1h", "--start", "2024-05-20")
    for _ in range(3):  # after the split of 10 June
        clock.advance(86_400)
        assert run("sync").code == 0
        for more in ((), ("--raw",)):
            exported = run("cache", "export", "--all", str(tmp_path / "out"), "--json", *more)
            assert [one["faults"] for one in json.loads(exported.out)] == [[]]
            assert exported.code == 0
