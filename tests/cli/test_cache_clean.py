"""``onetape cache clean``: the size limit, cleaning by age, dry runs, and the reported years."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.clock import ManualClock
from tests.cli.conftest import Run

MAY = ("--start", "2024-05-20", "--end", "2024-06-10")
TINY_GB = "0.00000001"


@pytest.fixture
def filled(fill: Callable[..., Run], clock: ManualClock) -> Run:
    """Return the runner on a cache with two series that were not used for an hour."""
    run = fill(
        ("fetch", "BTCUSDT", "1h", *MAY),
        ("fetch", "AAPL", "5m", "--start", "2024-04-22", "--end", "2024-06-10"),
        ("populate", "--symbols", "ETHUSDT", "--timeframes", "1d",
         "--start-date", "2024-06-01", "--end-date", "2024-06-10"),
    )  # fmt: skip
    clock.advance(3600)
    return run


def test_clean_within_the_limit_drops_no_year(filled: Run) -> None:
    ran = filled("cache", "clean", "--json")
    assert ran.code == 0
    assert (ran.json["years_dropped"], ran.json["bytes_freed"]) == (0, 0)


def test_clean_of_an_empty_cache_frees_zero_bytes(run: Run) -> None:
    assert run("cache", "clean", "--json").json["bytes_freed"] == 0


def test_a_dry_run_of_clean_lists_years_and_drops_none(
    filled: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_MAX_SIZE_GB", TINY_GB)
    bars = sorted(cache.rglob("*.csv.gz"))
    ran = filled("cache", "clean", "--dry-run")
    assert "can be fetched again" in ran.out
    assert "history does not reach back so far" in ran.out
    assert "freed" not in ran.out
    assert sorted(cache.rglob("*.csv.gz")) == bars


def test_clean_above_the_limit_drops_years_that_can_be_fetched_again(
    filled: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_MAX_SIZE_GB", TINY_GB)
    told = filled("cache", "clean", "--json").json
    assert told["years_dropped"] == 2
    assert told["bytes_freed"] > 10_000
    assert (told["replaceable_bytes"], told["derived_bytes"]) == (0, 0)
    assert [k["reason"] for k in told["kept"]] == [
        "its vendor's history does not reach back so far"
    ]
    assert [p.parts[-3] for p in cache.rglob("*.csv.gz")] == ["AAPL"]


def test_stats_report_how_much_can_be_freed(filled: Run) -> None:
    assert "must stay" in filled("cache", "stats").out
    told = filled("cache", "stats", "--json").json["freeable"]
    assert told["replaceable_bytes"] > 0
    assert told["kept"][0]["bytes"] > 0


# --- by age --------------------------------------------------------------------------------


@pytest.fixture
def run_on_old_bars(run: Run, cache: Path, clock: ManualClock) -> Run:
    """Return the runner on a cache with bars and funding of 2015 and of last month."""
    held = UnifiedCache(cache, 1, clock=clock, private=False)
    for first in ("2015-05-01", "2024-05-01"):
        days = pd.date_range(first, periods=31, freq="D", name="timestamp")
        rows = dict.fromkeys(("open", "high", "low", "close", "volume"), 100.0)
        assert held.put(pd.DataFrame(rows, days), "BTCUSDT", "1d", provider="binance")
        rates = pd.DataFrame({"funding_rate": 0.1}, days)
        assert held.put(rates, "BTCUSDT", "8h", data_type="funding_rate", provider="binance")
    return run


def tree(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_dry_run_by_age_prints_the_table_and_changes_no_byte(
    run_on_old_bars: Run, cache: Path
) -> None:
    before = tree(cache)
    tried = run_on_old_bars("cache", "clean", "--older-than", "5y", "--dry-run")
    assert tree(cache) == before
    done = run_on_old_bars("cache", "clean", "--older-than", "5y")
    assert (tried.code, done.code) == (0, 0)
    lines = [line for line in tried.out.splitlines() if "2015" in line]
    assert [line.split()[:5] for line in lines] == [
        ["BTCUSDT", "1d", "ohlcv", "2015", "31"],
        ["BTCUSDT", "8h", "funding_rate", "2015", "31"],
    ]
    assert [line for line in done.out.splitlines() if "2015" in line] == lines
    assert "older than 5y: 2 years, 62 rows," in tried.out
    assert "would be deleted" in tried.out
    assert [path.name for path in cache.rglob("2015*")] == ["2015.log", "2015.log"]


def test_clean_by_age_reports_its_years_as_json(run_on_old_bars: Run) -> None:
    told = run_on_old_bars("cache", "clean", "--older-than", "18mo", "--json").json
    assert (told["older_than"], told["aged"]["rows"]) == ("18mo", 62)
    assert told["aged"]["years"][0] == {
        "symbol": "BTCUSDT", "timeframe": "1d", "lane": "", "data_type": "ohlcv",
        "year": 2015, "rows": 31, "bytes": told["aged"]["years"][0]["bytes"],
    }  # fmt: skip
    assert told["problems"] == []
    assert (
        run_on_old_bars("cache", "clean", "--older-than", "18mo", "--json").json["aged"]["years"]
        == []
    )


@pytest.mark.parametrize("age", ["0d", "5", "soon", "5m", "1.5y", "201y"])
def test_clean_refuses_an_invalid_age(run_on_old_bars: Run, age: str, cache: Path) -> None:
    before = tree(cache)
    ran = run_on_old_bars("cache", "clean", "--older-than", age)
    assert ran.code == 2
    assert "invalid age" in ran.err
    assert tree(cache) == before


def test_everything_goes_by_age_only_with_all(
    run_on_old_bars: Run, cache: Path, clock: ManualClock
) -> None:
    clock.advance(10 * 366 * 86_400)
    refused = run_on_old_bars("cache", "clean", "--older-than", "5y")
    assert refused.code == 2
    assert "--all" in refused.err
    assert len(list(cache.rglob("*.csv.gz"))) == 4
    tried = run_on_old_bars("cache", "clean", "--older-than", "5y", "--dry-run")
    assert "no bars would be left; this is refused unless you add --all" in tried.out
    assert run_on_old_bars("cache", "clean", "--older-than", "5y", "--all").code == 0
    assert list(cache.rglob("*.csv.gz")) == []
    assert run_on_old_bars("cache", "clean", "--all").code == 2


def test_clean_takes_the_age_from_the_rules(run_on_old_bars: Run, rules: Path, cache: Path) -> None:
    assert "older than" not in run_on_old_bars("cache", "clean").out, "off by default"
    with rules.open("a") as file:
        file.write("cache: {retention: 5y}\n")
    assert "older than 5y: 2 years" in run_on_old_bars("cache", "clean").out
    assert [path.name for path in cache.rglob("2015*")] == ["2015.log", "2015.log"]
    rules.write_text(rules.read_text().replace("retention: 5y", "retention: a while"))
    ran = run_on_old_bars("cache", "clean")
    assert ran.code == 2
    assert "cache.retention: invalid age 'a while'" in ran.err
    assert str(rules) in ran.err


def test_clean_deletes_no_year_by_age_while_the_clock_is_in_doubt(
    run_on_old_bars: Run, cache: Path, clock: ManualClock
) -> None:
    clock.set(clock.now_ms() - 86_400_000)
    ran = run_on_old_bars("cache", "clean", "--older-than", "5y")
    assert ran.code == 1
    assert "nothing is deleted by age" in ran.err
    assert len(list(cache.rglob("2015.csv.gz"))) == 2
