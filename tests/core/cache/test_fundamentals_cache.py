"""Tests the cache of fundamentals: lookups, freshness and corrupt files."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.beside.fundamentals_cache import FundamentalsCache, get_fundamentals_cache
from src.data.core.clock import ManualClock
from src.data.core.model.market.fundamentals import Fact, Snapshot, Statement
from src.data.core.model.time.instant import DAY_MS, from_ms
from src.data.errors import BadSymbolError
from tests.conftest import WEDNESDAY

NOW = from_ms(WEDNESDAY).replace(microsecond=0)
# Made up throughout.
GOOD = {"market_cap": 3.0e12, "pe_ratio": 25.5, "revenue": 3.8e11, "company_name": "Apple Inc."}
POOR = {"company_name": "Apple Inc."}


@pytest.fixture
def cache(tmp_path: Path, clock: ManualClock) -> FundamentalsCache:
    """Return an empty cache of fundamentals at 2024-06-12 15:00:30 UTC."""
    return FundamentalsCache(tmp_path, clock=clock)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def put(folder: Path, name: str, content: bytes | dict[str, Any]) -> Path:
    """Write a file as another tool would, long enough ago to be whole."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    os.utime(path, (1.7e9, 1.7e9))
    return path


def foreign(symbol: str = "AAPL", provider: str = "fmp", **fields: Any) -> dict[str, Any]:
    """Return a document as older tools write it."""
    head = {"provider": provider, "symbol": symbol, "timestamp": "2024-06-10T12:00:00",
            "cache_version": "1.0", "data_quality_score": 0.5}  # fmt: skip
    return {"metadata": head, "fundamentals": fields or GOOD}


def test_fundamentals_are_found_after_a_write(cache: FundamentalsCache, tmp_path: Path) -> None:
    path = cache.write_json("AAPL", "fmp", GOOD)
    assert Path(path) == tmp_path / "fundamentals" / "AAPL" / "fmp_20240612_150030.json"
    body = json.loads(Path(path).read_text())
    assert body["metadata"] == {
        "provider": "fmp", "symbol": "AAPL", "timestamp": "2024-06-12T15:00:30",
        "cache_version": "1.0", "data_quality_score": 0.37, "data_types": [],
            "announced": [],
    }  # fmt: skip
    assert body["fundamentals"] == GOOD
    found = cache.find_latest_json("AAPL", provider="fmp")
    assert found is not None
    assert (found.provider, found.timestamp, found.symbol) == ("fmp", NOW, "AAPL")
    assert (found.file_path, found.is_valid, found.data_quality_score) == (path, True, 0.37)
    assert cache.read_json(found.file_path) == GOOD


def test_the_newest_copy_is_returned_and_among_equal_ages_the_combined_one(
    cache: FundamentalsCache,
) -> None:
    cache.write_json("AAPL", "alpha_vantage", GOOD, days_ago(2))
    newest = cache.write_json("AAPL", "fmp", GOOD, days_ago(1))
    found = cache.find_latest_json("AAPL")
    assert found is not None
    assert found.file_path == newest
    both = cache.write_json("AAPL", "combined", GOOD, days_ago(1))
    found = cache.find_latest_json("AAPL")
    assert found is not None
    assert (found.provider, found.file_path) == ("combined", both)
    found = cache.find_latest_json("AAPL", "alpha_vantage")  # a name with an underscore
    assert found is not None
    assert found.provider == "alpha_vantage"
    assert cache.find_latest_json("AAPL", "tiingo") is None


def test_fundamentals_are_fresh_for_seven_days_or_the_requested_age(
    cache: FundamentalsCache,
) -> None:
    assert cache.is_cache_valid(days_ago(7))
    assert not cache.is_cache_valid(days_ago(8))
    assert cache.is_cache_valid(days_ago(8), max_age_days=9)
    assert not cache.is_cache_valid(days_ago(0.5), max_age_days=0.25)
    assert cache.is_cache_valid(days_ago(1).replace(tzinfo=UTC))
    cache.write_json("AAPL", "fmp", GOOD, days_ago(8))
    assert cache.find_latest_json("AAPL") is None
    assert cache.find_latest_json("AAPL", max_age_days=9) is not None


def test_a_combiner_sets_how_long_each_type_is_fresh(cache: FundamentalsCache) -> None:
    class Ages:
        def get_ttl_for_data_type(self, data_type: str) -> float:
            return {"statements": 90.0, "ratios": 0.25}.get(data_type, 7.0)

    cache.combiner = Ages()
    assert cache.is_cache_valid(days_ago(80), data_type="balance_sheet")
    assert not cache.is_cache_valid(days_ago(0.5), data_type="valuation_ratios")
    assert cache.is_cache_valid(days_ago(0.2), data_type="ratios")


def test_a_stored_profile_is_not_returned_for_statements(cache: FundamentalsCache) -> None:
    cache.write_json("AAPL", "fmp", GOOD, data_type="general")
    assert cache.find_latest_json("AAPL", data_type="profile") is not None
    assert cache.find_latest_json("AAPL", data_type="statements") is None
    cache.write_json("AAPL", "fmp", GOOD, data_type="statements")  # in the same second
    assert cache.find_latest_json("AAPL", data_type="statements") is not None
    assert cache.find_latest_json("AAPL", data_type="profile") is not None
    assert cache.get_cache_stats("AAPL")["files"] == 2


def test_a_stored_snapshot_is_returned_unchanged(cache: FundamentalsCache) -> None:
    said = Snapshot(
        "fmp", "BRK-B", WEDNESDAY, {"market_cap": Fact(9.0e11, "money", "USD")},
        (Statement("income", "FY", "2023-12-31", "2024-02-24", "USD", {"revenue": 3.6e11}),),
        {"profile": {"marketCap": 9.0e11}}, {"beta": "'x' is not a number"}, ("profile",), True,
    )  # fmt: skip
    cache.keep(said)
    assert cache.latest("BRK-B", "profile") == {"fmp": said}
    assert cache.latest("BRK-B", "statements") == {}
    assert cache.latest("BRK-B") == {"fmp": said}


def test_values_that_json_lacks_are_stored_as_null_text_or_lists(cache: FundamentalsCache) -> None:
    path = cache.write_json("AAPL", "fmp", {"a": float("nan"), "b": NOW, "c": {1: (2,)}})
    assert cache.read_json(path) == {"a": None, "b": "2024-06-12 15:00:30", "c": {"1": [2]}}


@pytest.mark.parametrize("symbol", ["", "../x", "A" * 300, None])
def test_symbols_that_cannot_be_folder_names_are_refused_or_escaped(
    cache: FundamentalsCache, symbol: Any, tmp_path: Path
) -> None:
    if symbol == "../x":
        path = cache.write_json(symbol, "fmp", GOOD)
        assert (tmp_path / "fundamentals") in Path(path).parents
        return
    with pytest.raises(BadSymbolError):
        cache.write_json(symbol, "fmp", GOOD)


def test_cleanup_deletes_only_older_files_of_the_same_vendor(cache: FundamentalsCache) -> None:
    old = cache.write_json("AAPL", "fmp", GOOD, days_ago(3))
    other = cache.write_json("AAPL", "yahoo", GOOD, days_ago(3))
    new = cache.write_json("AAPL", "fmp", GOOD)
    assert cache.cleanup_stale_data("AAPL", "fmp", NOW) == [old]
    assert Path(new).exists()
    assert Path(other).exists()


def test_tidy_keeps_the_newest_good_copy(cache: FundamentalsCache) -> None:
    oldest = cache.write_json("AAPL", "fmp", GOOD, days_ago(5))
    good = cache.write_json("AAPL", "fmp", GOOD, days_ago(3))
    poor = cache.write_json("AAPL", "fmp", POOR, days_ago(1))
    assert cache.tidy("AAPL") == [oldest]
    assert Path(good).exists()
    assert Path(poor).exists()
    cache.write_json("AAPL", "fmp", GOOD)
    assert cache.tidy("AAPL", copies=2) == []
    assert sorted(cache.tidy("AAPL")) == sorted([good, poor])


def test_expired_fundamentals_can_be_deleted(cache: FundamentalsCache) -> None:
    cache.write_json("AAPL", "fmp", GOOD, days_ago(9))
    cache.write_json("AAPL", "yahoo", GOOD, days_ago(1))
    cache.write_json("MSFT", "fmp", GOOD, days_ago(9))
    assert cache.cleanup_expired_data() == {"removed_files": 2, "removed_symbols": 1}
    assert cache.cleanup_expired_data(0.5) == {"removed_files": 1, "removed_symbols": 1}


def test_the_statistics_count_symbols_files_and_vendors(cache: FundamentalsCache) -> None:
    path = cache.write_json("AAPL", "alpha_vantage", GOOD)
    size = Path(path).stat().st_size
    one = {"symbol": "AAPL", "files": 1, "total_size": size, "providers": {"alpha_vantage": 1}}
    assert cache.get_cache_stats("AAPL") == one
    assert cache.get_cache_stats() == {
        "total_symbols": 1, "total_files": 1, "total_size": size, "symbols": {"AAPL": one},
    }  # fmt: skip
    assert cache.get_cache_stats("MSFT")["files"] == 0


def test_files_in_the_older_layout_are_read_in_place(
    cache: FundamentalsCache, tmp_path: Path
) -> None:
    folder = tmp_path / "AAPL" / "fundamentals"
    path = put(folder, "yfinance_20240610_120000.json", foreign(provider="yfinance"))
    found = cache.find_latest_json("AAPL", provider="yf")
    assert found is not None
    assert (found.provider, found.file_path) == ("yahoo", str(path))
    said = cache.latest("AAPL", "statements")["yahoo"]  # it does not tell what was asked
    assert said.facts["market_cap"] == Fact(3.0e12)  # of an unknown unit: nothing is guessed
    assert cache.get_cache_stats()["total_symbols"] == 1
    assert cache.cleanup_stale_data("AAPL", "yahoo", NOW) == [str(path)]


@pytest.mark.parametrize(
    "name",
    ["alpha_vantage_20250106_143067.json", "fmp_20241306_120000.json", "fmp_20300101_000000.json"],
)
def test_impossible_stamps_are_skipped_with_a_warning(
    cache: FundamentalsCache, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = put(tmp_path / "AAPL" / "fundamentals", name, foreign())
    cache.write_json("AAPL", "fmp", GOOD)
    assert set(cache.latest("AAPL", "profile")) == {"fmp"}
    assert f"{name} is skipped" in caplog.text
    assert path.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"metadata": {"provider": "fmp"}, "fund',
        b"[1, 2]",
        b"\xff\xfe",
        b'{"other": 1}',
        b'{"metadata": [], "fundamentals": 1}',
        b"[" * 100_000,
        json.dumps(foreign("MSFT")).encode(),
    ],
    ids=["empty", "torn", "list", "binary", "foreign", "shape", "deep", "another symbol"],
)
def test_a_corrupt_file_of_fundamentals_is_set_aside(
    cache: FundamentalsCache, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    good = cache.write_json("AAPL", "fmp", GOOD, days_ago(1))
    folder = tmp_path / "fundamentals" / "AAPL"
    bad = put(folder, "fmp_20240612_100000.json", content)
    found = cache.find_latest_json("AAPL")
    assert found is not None
    assert found.file_path == good
    assert not bad.exists()
    kept, note = sorted((folder / "_quarantine").iterdir())
    assert kept.read_bytes() == content
    assert note.name == f"{kept.name}.json"
    assert json.loads(note.read_bytes())["reason"].startswith(bad.name)
    assert "in quarantine" in caplog.text


def test_a_changed_value_in_a_fundamentals_file_is_detected(cache: FundamentalsCache) -> None:
    path = Path(cache.write_json("AAPL", "fmp", GOOD))
    path.write_bytes(path.read_bytes().replace(b"25.5", b"25.4"))
    os.utime(path, (1.7e9, 1.7e9))
    assert cache.find_latest_json("AAPL") is None


def test_a_recent_incomplete_file_is_not_moved(cache: FundamentalsCache, tmp_path: Path) -> None:
    path = put(tmp_path / "fundamentals" / "AAPL", "fmp_20240612_100000.json", b'{"meta')
    os.utime(path)
    assert cache.find_latest_json("AAPL") is None
    assert path.exists()
    path.write_text(json.dumps(foreign()))
    assert cache.find_latest_json("AAPL") is not None


def test_an_absent_file_of_fundamentals_is_none(cache: FundamentalsCache, tmp_path: Path) -> None:
    assert cache.read_json(tmp_path / "nowhere.json") is None


def test_writers_do_not_lose_each_others_files(tmp_path: Path, clock: ManualClock) -> None:
    def write(number: int) -> None:
        FundamentalsCache(tmp_path, clock=clock).write_json(
            "AAPL", "fmp", GOOD, data_type=["profile", "ratios", "statements"][number % 3]
        )

    threads = [threading.Thread(target=write, args=(n,)) for n in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache = FundamentalsCache(tmp_path, clock=clock)
    for kind in ("profile", "ratios", "statements"):
        assert cache.find_latest_json("AAPL", data_type=kind) is not None
    assert cache.get_cache_stats("AAPL")["files"] == 3
    assert not list((tmp_path / "fundamentals" / "AAPL").glob("*.tmp"))


def test_a_fundamentals_file_changed_by_another_program_is_read_again(
    cache: FundamentalsCache,
) -> None:
    path = Path(cache.write_json("AAPL", "fmp", GOOD, days_ago(1)))
    assert cache.latest("AAPL")["fmp"].facts["pe_ratio"].value == 25.5
    cache.write_json("AAPL", "fmp", GOOD | {"pe_ratio": 9.25}, days_ago(1))
    assert cache.latest("AAPL")["fmp"].facts["pe_ratio"].value == 9.25
    path.unlink()
    assert cache.latest("AAPL") == {}


def test_each_folder_has_one_fundamentals_cache(tmp_path: Path) -> None:
    one = get_fundamentals_cache(tmp_path / "a")
    assert get_fundamentals_cache(str(tmp_path / "a")) is one
    assert get_fundamentals_cache(tmp_path / "b") is not one


def test_the_age_of_fundamentals_is_read_from_the_file_name(
    cache: FundamentalsCache, clock: ManualClock
) -> None:
    cache.write_json("AAPL", "fmp", GOOD)
    clock.advance(8 * DAY_MS / 1000)
    assert cache.find_latest_json("AAPL") is None
