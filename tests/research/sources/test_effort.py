"""Counts the work for a kept frame: it grows neither with the frames nor with the rows."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.research.sources import cached_source, sources
from src.data.research.sources.cached_source import CachedDataSource
from src.data.research.sources.sources import SourceQuestion
from src.data.research.sources.vendor_sources import SourceAnswer, VendorDataSource
from tests.core.cache.counts import FULL
from tests.core.cache.disks import LaterDisk
from tests.effort import calls_of, effort_of
from tests.vendor_server import VendorServer
from tests.vendor_server.keyed import KEY

from .foreign_stage import YEAR, Own, at, got, minutes

FIRST = "2024-01-02T00:00"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do the work of a source in the thread that asks for it, where its calls are counted."""

    async def here(work: Callable[[], object]) -> object:
        return work()

    for module in (cached_source, sources):
        monkeypatch.setattr(module, "awaited", here)


def test_a_look_up_costs_the_same_among_one_frame_and_among_many(tmp_path: Path) -> None:
    own = CachedDataSource(Own(), tmp_path, clock=at("2024-06-14 12:00"), disk=LaterDisk())
    got(own)
    look = partial(own.find_cached_bundle, own.generate_cache_key(["AAPL"], *YEAR))
    look()
    alone = effort_of(look)
    for n in range(39 if FULL else 9):
        got(own, [f"S{n}"], *YEAR)
    assert effort_of(look) == alone


def test_a_lookup_reads_only_the_metadata_and_a_hit_the_frame_too(tmp_path: Path) -> None:
    """The frame's file is opened once for a hit; a lookup reads its facts, and not all of it."""
    got(CachedDataSource(Own(), tmp_path, clock=at("2024-06-14 12:00")))
    disk = LaterDisk()
    own = CachedDataSource(Own(), tmp_path, clock=at("2024-06-14 12:00"), disk=disk)
    assert own.find_cached_bundle(own.generate_cache_key(["AAPL"], *YEAR))
    names = [step.path.name for step in disk.steps if step.name == "open"]
    assert names == []
    assert got(own)["answer"].unique().to_list() == [1]
    opened = [step.path for step in disk.steps if step.name == "open" and step.path.exists()]
    assert opened == list(tmp_path.glob("cache_*.parquet"))


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the digests, the documents and the Parquet files that are read or made, in all threads."""
    counts = Counter[str]()

    def watch(place: Any, name: str) -> None:
        real = getattr(place, name)

        def counted(*args: Any, **options: Any) -> Any:
            counts[name] += 1
            return real(*args, **options)

        monkeypatch.setattr(place, name, counted)

    watch(hashlib, "sha256"), watch(json, "loads"), watch(json, "dumps")
    watch(pl, "read_parquet"), watch(pl.DataFrame, "write_parquet")
    return counts


def test_a_fetch_a_lookup_and_a_hit_compute_each_digest_once(
    tmp_path: Path, done: Counter[str]
) -> None:
    """A digest each of the question and of the file."""
    disk = LaterDisk()
    own = CachedDataSource(Own(), tmp_path, clock=at("2024-06-14 12:00"), disk=disk)
    key = own.generate_cache_key(["AAPL"], *YEAR)

    def taken() -> dict[str, int]:
        counts = dict(done)
        done.clear()
        return counts

    taken()
    got(own)
    assert taken() == {"dumps": 2, "sha256": 2, "write_parquet": 1}
    (name,) = {step.path.name.split(".")[1] for step in disk.steps if step.name == "create"}
    assert name == f"cache_{key}"
    assert own.find_cached_bundle(key)
    assert taken() == {"loads": 1}
    got(own)
    assert taken() == {"loads": 1, "dumps": 1, "sha256": 2, "read_parquet": 1}
    got(own)  # the digest of the file is checked once
    assert taken() == {"loads": 1, "dumps": 1, "sha256": 1, "read_parquet": 1}


@pytest.mark.usefixtures("in_one_thread")
def test_a_hit_and_a_miss_cost_no_more_calls_for_more_rows(tmp_path: Path) -> None:
    """A miss is counted without what the source itself takes, and the check of its answer."""
    hits, misses = list[int](), list[int]()
    for count in (100, 4000 if FULL else 600):
        stamps = minutes(FIRST, count)
        for symbol in ("AAPL", "MSFT"):  # the first one loads what every fetch takes
            own = CachedDataSource(Own(stamps), tmp_path / str(count), clock=at("2024-06-14 12:00"))
            ask = partial(got, own, [symbol], stamps[0], stamps[-1], "1m")
            taken = [calls_of(ask), calls_of(ask)]
        question = SourceQuestion.of(["AAPL"], stamps[0], stamps[-1], "1m")
        fetch = sources.fetched(Own(stamps), question)
        misses.append(taken[0] - calls_of(partial(asyncio.run, fetch)))
        hits.append(taken[1])
    assert hits[1] <= hits[0] + 100
    assert misses[1] <= misses[0] + 100


def test_a_cache_miss_calls_the_source_once_and_later_hits_do_not(tmp_path: Path) -> None:
    source = Own()
    own = CachedDataSource(source, tmp_path, clock=at("2024-06-14 12:00"))
    for _ in range(18):
        got(own, ["AAPL", "MSFT"], *YEAR)
    assert [symbols for symbols, _, _ in source.asked] == [["AAPL", "MSFT"]]
    assert own.statistics["hit_count"] == 17


@pytest.mark.parametrize(
    ("provider", "symbols", "timeframe", "span"),
    [
        ("yahoo", ("AAPL", "MSFT", "NVDA"), "1d", ("2023-06-12", "2024-06-10")),
        ("yahoo", ("AAPL", "MSFT", "NVDA"), "1h", ("2024-05-13", "2024-06-10")),
        ("binance", ("BTCUSDT", "ETHUSDT", "SOLUSDT"), "1d", ("2023-06-12", "2024-06-10")),
        ("binance", ("BTCUSDT", "ETHUSDT", "SOLUSDT"), "1h", ("2024-05-13", "2024-06-10")),
    ],
)
def test_a_fetch_costs_as_many_requests_for_a_long_range_as_for_two_days(
    manager: DataManager, vendors: VendorServer, provider: str, symbols: tuple[str, ...],
    timeframe: str, span: tuple[str, str],
) -> None:  # fmt: skip
    """In the length of every vendor's page; for each symbol the same, and none the second time."""
    source = VendorDataSource(manager, provider=provider)

    def requests(names: Sequence[str], first: str, last: str) -> int:
        before = vendors.count()
        frame = source.answer(list(names), first, last, timeframe, refresh=False).frame
        assert set(frame["symbol"]) == set(names)
        assert vendors.count() - before == vendors.count(provider) - counted[provider]
        counted[provider] = vendors.count(provider)
        return vendors.count() - before

    counted = {provider: vendors.count(provider)}
    two_days = "2024-06-04", "2024-06-05"
    requests(symbols[:1], *two_days)  # what is learned once: actions, listings
    assert requests(symbols[1:2], *two_days) == requests(symbols[2:], *span) == 1
    assert requests(symbols[1:], *two_days) == requests(symbols[2:], *span) == 0


@pytest.mark.parametrize(
    ("provider", "symbols", "timeframe", "most"),
    [
        ("polygon", ("MSFT", "AAPL", "SPY"), "1m", 3),  # bars, splits, dividends
        ("ccxt:binance", ("BTCUSDT", "ETHUSDT", "SOLUSDT"), "1h", 1),
    ],
)
def test_a_fetch_of_a_month_of_minutes_or_hours_costs_no_request_more(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch,
    provider: str, symbols: tuple[str, ...], timeframe: str, most: int,
) -> None:  # fmt: skip
    if provider.startswith("ccxt"):
        pytest.importorskip("ccxt", reason="ccxt is not installed")
    monkeypatch.setenv("POLYGON_API_KEY", KEY)
    fast = {"requests_per_minute": 60_000, "requests_per_second": 1000, "burst_size": 1000}
    settings = {
        "base_url": vendors.base_url(provider.removeprefix("ccxt:")),
        "rate_limits": fast,
    }
    rules = tmp_path / "one.yaml"
    rules.write_text(json.dumps({"providers": {provider: settings}}))
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    source = VendorDataSource(manager, provider=provider)
    taken = []
    for symbol, first in zip(symbols, ("2024-06-04", "2024-06-04", "2024-05-13"), strict=True):
        before = vendors.count()
        assert len(source.answer([symbol], first, "2024-06-05", timeframe, refresh=False).frame)
        taken.append(vendors.count() - before)
    assert taken[1:] == [most, most]  # the first one learns what there is


def test_a_kept_source_of_ours_costs_the_requests_of_a_bare_one(
    manager: DataManager, vendors: VendorServer
) -> None:
    """The first time; that the bars are kept takes no more, and the frames are the same."""
    source = VendorDataSource(manager, provider="binance")
    bare: Any = source
    days = pd.Timestamp("2024-06-04"), pd.Timestamp("2024-06-05"), "1d"

    def requests(of: Any, symbol: str) -> int:
        before = vendors.count()
        assert len(got(of, [symbol], *days)) == 2
        return vendors.count() - before

    requests(bare, "BTCUSDT")  # what is learned once: listings
    assert requests(CachedDataSource(source), "ETHUSDT") == requests(bare, "SOLUSDT") == 1
    assert requests(CachedDataSource(source), "SOLUSDT") == 0
    frames = [got(of, ["SOLUSDT"], *days) for of in (CachedDataSource(source), bare)]
    assert frames[0].equals(frames[1])


class Measured(VendorDataSource):
    """A source that counts the calls of each of its answers."""

    def __init__(self, manager: DataManager, *, provider: str) -> None:
        super().__init__(manager, provider=provider)
        self.taken = list[int]()

    def answer(self, *question: Any, **options: Any) -> SourceAnswer:
        answers = list[SourceAnswer]()
        ask = super().answer
        self.taken.append(calls_of(lambda: answers.append(ask(*question, **options))))
        return answers[0]


@pytest.mark.usefixtures("in_one_thread")
def test_keeping_a_source_of_ours_takes_a_twentieth_of_the_calls_of_a_first_fetch(
    manager: DataManager, vendors: VendorServer
) -> None:
    """Its answer is counted for itself, and there is one."""
    source = Measured(manager, provider="binance")
    kept: Any = CachedDataSource(source)
    days = pd.Timestamp("2024-06-04"), pd.Timestamp("2024-06-05"), "1d"
    for symbol in ("BTCUSDT", "ETHUSDT"):  # the first one loads what every fetch takes
        source.taken.clear()
        own = calls_of(partial(got, kept, [symbol], *days))
    own -= calls_of(partial(asyncio.run, asyncio.sleep(0)))
    (fetched,) = source.taken
    assert own * 20 <= fetched
