"""Keeping the cache within its limit as it is typed, and what is told of what stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.clock import ManualClock
from tests.cli.conftest import Run

MAY = ("--start", "2024-05-20", "--end", "2024-06-10")
TINY_GB = "0.00000001"


@pytest.fixture
def filled(run: Run, clock: ManualClock) -> Run:
    """Return the runner on a cache with two series that nobody has used for an hour."""
    assert run("fetch", "BTCUSDT", "1h", *MAY).code == 0
    assert run("fetch", "AAPL", "5m", "--start", "2024-04-22", "--end", "2024-06-10").code == 0
    assert run("populate", "--symbols", "ETHUSDT", "--timeframes", "1d",
               "--start-date", "2024-06-01", "--end-date", "2024-06-10").code == 0  # fmt: skip
    clock.advance(3600)
    return run


def test_within_the_limit_nothing_goes(filled: Run) -> None:
    ran = filled("cache", "clean", "--json")
    assert ran.code == 0
    assert (ran.json["years_dropped"], ran.json["bytes_freed"]) == (0, 0)


def test_an_empty_cache_frees_nothing_and_not_less(run: Run) -> None:
    assert run("cache", "clean", "--json").json["bytes_freed"] == 0


def test_a_dry_run_tells_and_drops_nothing(
    filled: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_MAX_SIZE_GB", TINY_GB)
    bars = sorted(cache.rglob("*.csv.gz"))
    ran = filled("cache", "clean", "--dry-run")
    assert "can be had again" in ran.out
    assert "history does not reach back so far" in ran.out
    assert "freed" not in ran.out
    assert sorted(cache.rglob("*.csv.gz")) == bars


def test_above_it_goes_what_can_be_had_again(
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


def test_the_statistics_tell_it_too(filled: Run) -> None:
    assert "must stay" in filled("cache", "stats").out
    told = filled("cache", "stats", "--json").json["freeable"]
    assert told["replaceable_bytes"] > 0
    assert told["kept"][0]["bytes"] > 0
