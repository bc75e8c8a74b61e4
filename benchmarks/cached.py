"""Sources with cached bars: look-ups, hits, misses; and the time of vendors that answer immediately."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import parse_iso
from onetape.data.data_manager import DataManager
from onetape.data.research.sources.cached_source import CachedDataSource
from onetape.data.research.sources.sources import DataSource, DataSourceMetadata
from onetape.data.research.sources.vendor_sources import (
    CSVDataSource,
    PolygonDataSource,
    VendorDataSource,
    YFinanceDataSource,
)
from tests.vendor_server import VendorServer
from tests.vendor_server.keyed import KEY

from .harness import Figure, Report, Row

_NOTE = (
    "The table shows the time of calls of cached sources. It is in milliseconds unless the list "
    "says otherwise:\n\n"
    "- *ms*: the time of an awaited call; *p95*: the 95th percentile;\n"
    "- *times the bare fetch*: the time of a call that queries the source and stores the "
    "frame, divided by that of a call of the source alone, which answers after 320 ms;\n"
    "- *cold / warm*: how many times as long the first of two equal calls takes;\n"
    "- *requests*: the number of requests that the second walk through 250 days sends, and that "
    "a call sends if it ends a week after the previous one;\n"
    "- *fetch*: packaged sources, whose vendors are servers on this machine."
)
_NOW, _LATENCY_S, _ROUNDS = "2024-06-12T15:00:30", 0.32, 9
_YEAR = (pd.Timestamp("2023-01-01"), pd.Timestamp("2023-12-31"), "1d")
_END = pd.Timestamp("2024-06-11 19:00")
_MONTH = (pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-31"), "1m")


class _Binance(VendorDataSource):
    name, provider = "binance", "binance"


class _Slow(DataSource):
    """A custom source: synthetic bars, after a delay."""

    def __init__(self, latency_s: float = 0.0) -> None:
        self._latency_s = latency_s

    async def fetch(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> pl.DataFrame:
        await asyncio.sleep(self._latency_s)
        step = timedelta(days=1) if frequency == "1d" else timedelta(minutes=1)
        stamps = pl.datetime_range(start.to_pydatetime(), end.to_pydatetime(), step, eager=True)
        prices = np.random.default_rng(3).uniform(10, 20, len(stamps)).round(2)
        frame = pl.DataFrame({"timestamp": stamps, "close": prices, "volume": 1000.0})
        others = [pl.col("close").alias(name) for name in ("open", "high", "low")]
        return pl.concat(
            frame.with_columns(*others, pl.lit(symbol).alias("symbol")) for symbol in symbols
        )

    async def ingest_to_bundle(self, *question: Any) -> Path:
        return await super().ingest_to_bundle(*question)

    def get_metadata(self) -> DataSourceMetadata:
        return DataSourceMetadata("slow")

    def supports_live(self) -> bool:
        return False


def measure() -> Report:
    """Time cached and uncached calls."""
    with TemporaryDirectory() as folder, _ours(Path(folder)) as (server, manager):
        rows = asyncio.run(_of_frames(Path(folder) / "frames"))
        rows += asyncio.run(_of_ours(server, manager))
        rows += asyncio.run(_latencies(Path(folder), manager))
    return Report(
        "Kept sources",
        _NOTE,
        rows,
        more=("cold / warm",),
        less=("times the bare fetch", "requests"),
    )


@contextmanager
def _ours(folder: Path) -> Iterator[tuple[VendorServer, DataManager]]:
    clock = ManualClock(parse_iso(_NOW))
    with VendorServer(clock) as server:
        rules = folder / "rules.yaml"
        fast = (
            "rate_limits: {requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
        )
        lines = [
            f"  {name}: {{base_url: '{server.base_url(name)}', transport: http, {fast}}}"
            for name in ("yahoo", "binance", "polygon")
        ]
        rules.write_text("providers:\n" + "\n".join(lines) + "\n")
        yield server, DataManager(folder / "cache", rules, clock=clock)


async def _of_frames(folder: Path) -> list[Row]:
    """Time the frames of a custom source."""
    names = [f"S{n}" for n in range(10)]
    kept = CachedDataSource(_Slow(), folder)
    await kept.fetch(names, *_YEAR)
    key = kept.generate_cache_key(names, *_YEAR)
    rows = [
        Row("a look-up", _p95(_times(lambda: kept.find_cached_bundle(key))), "p95 < 10"),
        Row("10 symbols, a year of days, again", await _awaited(kept, names, _YEAR), "p95 < 100"),
    ]
    await kept.warm_cache(["S"], *_MONTH)
    rows.append(Row("a month of minutes, again", await _awaited(kept, ["S"], _MONTH), "p95 < 100"))
    slow = _Slow(_LATENCY_S)
    bare, misses, warm = list[float](), list[float](), list[float]()
    for n in range(_ROUNDS):
        bare.append(await _ms(slow.fetch(names, *_YEAR)))
        fresh = CachedDataSource(slow, folder / str(n))
        misses.append(await _ms(fresh.fetch(names, *_YEAR)))
        warm.append(await _ms(fresh.fetch(names, *_YEAR)))
    figures = {
        "ms": Figure.of(misses),
        "times the bare fetch": Figure.of([m / b for m, b in zip(misses, bare, strict=True)]),
        "cold / warm": Figure.of([m / w for m, w in zip(misses, warm, strict=True)]),
    }
    return [*rows, Row("the same, fetched and stored", figures, "<= 1.05 times; cold / warm >= 18")]


async def _of_ours(server: VendorServer, manager: DataManager) -> list[Row]:
    """Time and count a repeated backtest, and a moved end."""
    kept, names = CachedDataSource(YFinanceDataSource(manager)), ["AAPL", "MSFT"]
    start, end = pd.Timestamp("2023-01-01"), pd.Timestamp("2024-05-31")
    await kept.warm_cache(names, start, end, "1d")
    again = await _awaited(kept, names, (start, end, "1d"))
    walked, count = CachedDataSource(YFinanceDataSource(manager)), server.count()
    for day in pd.bdate_range(start + timedelta(days=90), periods=250):
        await walked.fetch(names, day - timedelta(days=60), day, "1d")
    requests = {"requests": Figure.of([float(server.count() - count)])}
    hits = {"hits": Figure.of([walked.statistics["hit_rate"]])}
    count = server.count("yahoo", "/v8/finance/chart")
    await kept.fetch(names, start, end + timedelta(days=7), "1d")
    moved = float(server.count("yahoo", "/v8/finance/chart") - count)
    return [
        Row("two shares of ours, 17 months of days, again", again, "p95 < 100"),
        Row("a backtest of 250 days, again", hits | requests, "hits > 80"),
        Row("a moved end, two shares", {"requests": Figure.of([moved])}, "2 requests"),
    ]


async def _latencies(folder: Path, manager: DataManager) -> list[Row]:
    """Time calls that query vendors every time."""
    files = folder / "files"
    files.mkdir()
    days = pd.bdate_range("2023-01-02", "2023-12-29")
    table = pd.DataFrame({"date": days.strftime("%Y-%m-%d"), "open": 1.5, "high": 2.0})
    table = table.assign(low=1.0, close=1.75, volume=1000)
    sources: list[tuple[VendorDataSource, str, tuple[Any, ...], str]] = [
        (YFinanceDataSource(manager), "AAPL", _YEAR, "p95 < 850"),
        (_Binance(manager), "BTCUSDT", (_END - pd.Timedelta(hours=500), _END, "1h"), "p95 < 320"),
        (
            PolygonDataSource(manager, api_key=KEY),
            "AAPL",
            (_END - pd.Timedelta(minutes=600), _END, "1m"),
            "p95 < 180",
        ),
    ]
    rows = []
    for source, symbol, question, goal in sources:
        name = f"fetch: {source.name}, {question[-1]}"
        took = [await _ms(source.fetch([symbol], *question)) for _ in range(_ROUNDS * 3)]
        rows.append(Row(name, _p95(took), goal))
    table.to_csv(files / "AAPL.csv", index=False)
    own = CSVDataSource(files / "AAPL.csv", manager=manager)
    took = [await _ms(own.fetch(["AAPL"], *_YEAR)) for _ in range(_ROUNDS * 3)]
    return [*rows, Row("fetch: csv, 1d", _p95(took), "p95 < 45")]


def _times(call: Callable[[], object], rounds: int = 200) -> list[float]:
    took = []
    for _ in range(rounds):
        started = perf_counter()
        call()
        took.append((perf_counter() - started) * 1000)
    return took


async def _ms(call: Any) -> float:
    started = perf_counter()
    await call
    return (perf_counter() - started) * 1000


async def _awaited(source: Any, names: list[str], question: Any) -> dict[str, Figure]:
    return _p95([await _ms(source.fetch(names, *question)) for _ in range(100)])


def _p95(took: list[float]) -> dict[str, Figure]:
    return {"ms": Figure.of(took), "p95": Figure.of([float(np.percentile(took, 95))])}
