"""A cache from version 0.1.0: what it answers, what is fetched again, and what ``doctor`` reports."""

from __future__ import annotations

import csv
import gzip
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.cache.format import json_document
from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.jobs.checkup import Check, checkup
from src.data.model.instant import DAY_MS
from tests.vendor_server import VendorServer

from .scripted_vendor import provenance

WRITTEN = Path(__file__).parents[1] / "golden" / "version-0.1.0"
DAYS, HOURS = ("2024-06-03", "2024-06-07"), ("2024-06-03", "2024-06-03")
OWN = "timestamp,open,high,low,close,volume\n2024-06-03,1.0,1.0,1.0,1.0,9\n2024-06-04,2.0,2.0,2.0,2.0,9\n"
Make = Callable[..., DataManager]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return a copy of the cache."""
    shutil.copytree(WRITTEN, tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def opened(cache: Path, tmp_path: Path, rules: Path, clock: ManualClock) -> Make:
    """Return a maker of managers on it: by the usual rules, with a folder of files, and with more."""
    clock.advance(3600)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "META_1d.csv").write_text(OWN)
    plain = rules.read_text()
    own = f"  local: {{folder: '{tmp_path / 'own'}', adjustment: split, unit: USD}}\n"

    def make(first: str = "") -> DataManager:
        head = f"crypto: {{primary: {first}, backup: []}}\n" if first else plain.split("\n", 1)[0]
        rules.write_text(f"{head.rstrip()}\n{plain.partition(chr(10))[2]}{own}")
        return DataManager(cache, rules, clock=clock)

    return make


def stored(symbol: str, lane: str) -> list[list[float]]:
    """Return the prices and volumes in the year file, read with a plain CSV reader."""
    text = gzip.decompress(
        (WRITTEN / "ohlcv" / symbol / lane / "2024.csv.gz").read_bytes()
    ).decode()
    return [[float(cell) for cell in row[1:6]] for row in list(csv.reader(text.splitlines()))[1:]]


def upgraded(cache: Path, rules: Path) -> Check:
    """Return the one paragraph of doctor."""
    (check,) = [c for c in checkup(cache, rules, network=False) if c.topic == "upgrade"]
    assert check.ok is None
    assert "\n" not in check.said
    return check


def named(said: str, beginning: str) -> list[str]:
    """Return the series that a part of the paragraph names, which begins so."""
    (part,) = [part for part in said.split("; ") if part.startswith(beginning)]
    (names,) = re.findall(r"\(([^()]*)\)$", part)
    return sorted(re.split(r", | and ", names))


@pytest.mark.parametrize(
    ("series", "lane"), [(("AAPL", "1d", *DAYS), "1d"), (("BTCUSDT", "1h", *HOURS), "1h")]
)
def test_bars_stored_by_the_previous_version_are_returned_without_a_request(
    opened: Make, vendors: VendorServer, series: tuple[str, ...], lane: str
) -> None:
    frame = opened().get_ohlcv(*series, strict=True)
    columns = frame[["open", "high", "low", "close", "volume"]]
    assert columns.to_numpy().tolist() == stored(series[0], lane)
    assert provenance(frame)["from_cache"] == 1.0
    assert vendors.count() == 0


def test_doctor_names_exactly_the_series_that_an_upgrade_fetches_again(
    opened: Make, vendors: VendorServer, cache: Path, rules: Path
) -> None:
    manager = opened()
    said = upgraded(cache, rules).said
    asked: list[str] = []
    for symbol, label, *days in (
        ("AAPL", "1d", *DAYS), ("BTCUSDT", "1h", *HOURS), ("NVDA", "1d", *DAYS),
    ):  # fmt: skip
        vendors.clear_log()
        manager.get_ohlcv(symbol, label, *days, strict=True)
        asked += [f"{symbol} {label}"] * bool(vendors.count())
    assert (
        asked
        == ["NVDA 1d"]
        == named(said, "vendors are queried for bars that own files or recordings had replaced (")
    )
    again = manager.get_ohlcv("NVDA", "1d", *DAYS)
    assert 905.0 not in again["close"].tolist()
    own = manager.get_ohlcv("META", "1d", "2024-06-03", "2024-06-04", provider="local")
    assert own["close"].tolist() == [1.0, 2.0], "as the file has them now, not as they were stored"
    assert named(
        said,
        "stored bars from own files and recordings that do not name their folder",
    ) == sorted(["META 1d@local", "BTCUSDT 1h@replay:seen", "NVDA 1d"])


def test_doctor_names_stored_bars_that_the_rules_no_longer_use(
    opened: Make, vendors: VendorServer, cache: Path, rules: Path
) -> None:
    manager = opened("yahoo")
    said = upgraded(cache, rules).said
    assert provenance(manager.get_ohlcv("BTCUSDT", "1h", *HOURS, strict=True))["vendors"] == [
        "yahoo"
    ]
    assert vendors.count("yahoo") > 0 == vendors.count("binance")
    assert named(said, "bars of a different kind") == ["BTCUSDT 1h"]


def test_doctor_names_splits_and_dividends_that_will_be_requested_again(
    opened: Make, vendors: VendorServer, cache: Path, rules: Path
) -> None:
    question: dict[str, Any] = {"adjustment": "all", "strict": True}
    opened().get_ohlcv("AAPL", "1d", *DAYS, **question)  # those since the bars were fetched
    vendors.clear_log()
    opened().get_ohlcv("AAPL", "1d", *DAYS, **question)
    assert vendors.count() == 0
    assert "splits and dividends" not in upgraded(cache, rules).said
    path = cache / "ohlcv" / "AAPL" / "actions.json"
    book = json_document.plain(json_document.text_of(path.read_bytes()))
    assert book["asked"]
    for entry in book["asked"]:
        entry["source"] = "tiingo"
        del entry["told"]
    path.write_bytes(json_document.dump(book))
    manager = opened()
    assert named(upgraded(cache, rules).said, "splits and dividends") == ["AAPL"]
    manager.get_ohlcv("AAPL", "1d", *DAYS, **question)
    assert vendors.count() > 0
    assert "splits and dividends" not in upgraded(cache, rules).said, "they have been requested"


def test_doctor_names_bars_that_were_never_judged_nor_compared(
    opened: Make, cache: Path, rules: Path
) -> None:
    manager = opened()
    check = upgraded(cache, rules)
    for part in (
        "bars that were stored without being checked for near-certain errors are not fetched again (",
        "no second vendor has confirmed them (",
    ):
        assert named(check.said, part) == ["AAPL 1d", "BTCUSDT 1h"]
    assert "onetape validate --all" in check.advice
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        manager.get_ohlcv("AAPL", "1d", *DAYS, force_refresh=True)
        manager.get_ohlcv("BTCUSDT", "1h", "2024-06-04", "2024-06-04")
    said = upgraded(cache, rules).said
    assert named(
        said,
        "bars that were stored without being checked for near-certain errors are not fetched again (",
    ) == ["BTCUSDT 1h"], "those next to new bars"


def test_doctor_reports_no_upgrade_for_a_cache_of_this_version(
    opened: Make, cache: Path, rules: Path, clock: ManualClock
) -> None:
    shutil.rmtree(cache)
    manager = opened()
    manager.get_ohlcv("AAPL", "1d", *DAYS)
    for _ in range(2):
        clock.advance(DAY_MS // 1000)
        manager.get_ohlcv("AAPL", "1d", bars=5)
        manager.get_ohlcv("BTCUSDT", "1h", bars=30)
    manager.get_ohlcv("META", "1d", "2024-06-03", "2024-06-04", provider="local")
    assert [c for c in checkup(cache, rules, network=False) if c.topic == "upgrade"] == []
    frame = manager.get_ohlcv("BTCUSDT", "1h", bars=30)
    assert manager.cache.put(pd.DataFrame(frame), "ETHUSDT", "1h", provider="binance")
    said = upgraded(cache, rules).said
    assert named(
        said,
        "bars that were stored without being checked for near-certain errors are not fetched again (",
    ) == ["ETHUSDT 1h"]
