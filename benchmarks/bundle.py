"""Bundles: from the cache to Polars and Decimal, files by range, days from minutes, memory."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from onetape.data.core.model.answer.frame import NS_IN_MS
from onetape.data.core.model.answer.interchange import to_polars
from onetape.data.core.model.identity.series import SeriesKey
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.research.bundles.bundle_reader import (
    PolarsParquetDailyReader,
    PolarsParquetMinuteReader,
)
from onetape.data.research.bundles.bundle_writer import ParquetWriter
from onetape.data.research.frames.frames import FIELDS, decimal_frame

from .harness import Figure, Report, Row, race, sized
from .stage import MINUTES, YEAR, long_stage

_NOTE = (
    "*ms*: of the call. *times the plain way*: through the same without us in the same round: the mapped "
    "columns handed to Polars, with their times in nanoseconds; Polars handed the right files, with the same "
    "filter and order. "
    "*MB*: what a process of its own takes above its imports at its highest (resident)."
)
_ROUNDS, _SIDS = sized(5, 9), sized(200, 1_000)
_MEMORY = """
import asyncio, gc, sys
from datetime import date, timedelta
import polars as pl, pandas as pd, numpy
from onetape.data import DataManager
from onetape.data.polars import PolarsDataPortal
from onetape.data.sources import CachedDataSource, VendorDataSource
from onetape.data.research.bundles.bundle import Bundle
from onetape.data.polars.parquet_writer import ParquetWriter
from onetape.data.core.model.answer.interchange import to_polars
import onetape.data.core.vendors.mock.bars
what, folder = sys.argv[1:]
manager = DataManager(folder + "/cache")
rows = 252
frame = pl.DataFrame({"date": [date(2023, 1, 1) + timedelta(n) for n in range(rows)]}).with_columns(
    sid=pl.lit(1), open=1.0, high=2.0, low=0.5, close=1.5, volume=10.0)
# What the first call of each library takes belongs to its import.
ParquetWriter(folder + "/warm").write(frame.head(2), "daily")
manager.get_ohlcv("ETHUSDT", "1d", "2023-01-02", "2023-01-03", provider="mock")
manager.get_ohlcv("ETHUSDT", "1m", "2023-01-02", "2023-01-02", provider="mock")
if what == "window":
    portal = PolarsDataPortal(data_source=VendorDataSource(manager, provider="mock"))
    portal.get_history_window(["ETHUSDT"], "2023-03-01", 20, "1d", "close", "1d")
if what == "kept":
    class Own:
        async def fetch(self, *question):
            return frame.rename({"date": "timestamp"}).with_columns(symbol=pl.lit(question[0][0]))
        def get_metadata(self):
            return None
    kept = CachedDataSource(Own(), folder + "/frames")
    year = pd.Timestamp("2023-01-01"), pd.Timestamp("2023-12-31"), "1d"
    asyncio.run(kept.fetch(["WARM"], *year))
def resident(what):
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return int(lines[what].split()[0])

gc.collect()
before = resident("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the highest is counted from here on
if what == "day":
    to_polars(manager.get_ohlcv("BTCUSDT", "1d", "2023-01-01", "2023-12-31", provider="mock"))
elif what == "minute":
    to_polars(manager.get_ohlcv("BTCUSDT", "1m", "2023-01-01", "2023-01-31", provider="mock"))
elif what == "window":
    portal.get_history_window(["BTCUSDT"], "2023-03-01", 20, "1d", "close", "1d")
elif what == "kept":
    asyncio.run(kept.fetch(["BTCUSDT"], *year))
else:
    ParquetWriter(folder + "/b").write(frame, "daily")
print(resident("VmHWM") - before)
"""


def measure() -> Report:
    """Race the readers against plain Polars, and measure their memory."""
    rows = [*_of_the_cache(), _written(), _pruning(), _days(), *_memory()]
    return Report("Bundles", _NOTE, rows, less=("times the plain way",))


def _of_the_cache() -> list[Row]:
    with long_stage(MINUTES) as manager:
        series = SeriesKey("BTCUSDT", Timeframe.parse("1m"))

        def mapped() -> pl.DataFrame:
            """Return the mapped columns as they are, which needs new memory only for the times."""
            table = manager.client.columns(series, YEAR).table
            times = (table.stamps * NS_IN_MS).view("M8[ns]")
            columns = zip(FIELDS, table.values(), strict=False)
            return pl.DataFrame([pl.Series("timestamp", times), *(pl.Series(*c) for c in columns)])

        def frame() -> pl.DataFrame:
            return to_polars(
                manager.get_ohlcv("BTCUSDT", "1m", "2023-01-01", "2023-12-31", offline=True)
            )

        whole = frame()
        if not whole.equals(mapped()):
            raise RuntimeError("the frames differ")
        decimal = lambda: decimal_frame(whole)  # noqa: E731 - one of three calls
        results = race({"mapped": mapped, "frame": frame, "decimal": decimal}, _ROUNDS)
    ratios = [f / m for f, m in zip(results["frame"], results["mapped"], strict=True)]
    return [
        Row(
            "a year of minutes: cache to Polars",
            {"ms": _ms(results["frame"]), "times the plain way": Figure.of(ratios)},
            "<= 1.5 times",
        ),
        Row("the same as Decimal, beside it", {"ms": _ms(results["decimal"])}, "<= 20 ms"),
    ]


def _written() -> Row:
    """Race a bundle of own rows, whose files are synced, with plain files of the same months."""
    generator, first = np.random.default_rng(1), date(2019, 1, 1)
    days = [first + timedelta(n) for n in range(1827) if (first + timedelta(n)).weekday() < 5]
    prices = {name: generator.integers(1, 10**6, len(days) * 100) / 100 for name in FIELDS}
    rows = pl.DataFrame({"date": days * 100, "sid": np.repeat(np.arange(100), len(days)), **prices})
    month = pl.col("date").dt.strftime("year=%Y/month=%m").alias("month")
    months = decimal_frame(rows).frame.with_columns(month).partition_by("month", as_dict=True)
    with TemporaryDirectory() as folder:
        numbers = iter(range(10**6))

        def ours() -> object:
            return ParquetWriter(Path(folder, f"ours-{next(numbers)}")).write(rows, "daily")

        def plain() -> object:
            root = Path(folder, f"plain-{next(numbers)}")
            for (name,), frame in months.items():
                Path(root, name).mkdir(parents=True)
                path = Path(root, name, "data.parquet")
                frame.drop("month").write_parquet(path, compression="zstd", compression_level=3)
            return root

        results = race({"ours": ours, "plain": plain}, _ROUNDS)
    ratios = [a / b for a, b in zip(results["ours"], results["plain"], strict=True)]
    figures = {"ms": _ms(results["ours"]), "times the plain way": Figure.of(ratios)}
    return Row("five years of 100 symbols written", figures, "<= 1.5 times")


def _pruning() -> Row:
    with TemporaryDirectory() as folder:
        generator, first = np.random.default_rng(1), date(2014, 1, 1)
        days = [first + timedelta(n) for n in range(3652) if (first + timedelta(n)).weekday() < 5]
        count = len(days) * _SIDS
        prices = {name: generator.integers(1, 10**6, count) / 100 for name in FIELDS}
        rows = pl.DataFrame(
            {"date": days * _SIDS, "sid": np.repeat(np.arange(_SIDS), len(days)), **prices}
        )
        ParquetWriter(folder).write(rows, "daily")
        reader = PolarsParquetDailyReader(folder)
        bounds = date(2023, 1, 1), date(2023, 3, 31)
        paths = [Path(folder, f"daily_bars/year=2023/month=0{n}/data.parquet") for n in (1, 2, 3)]

        def ours() -> object:
            return reader.load_daily_bars(range(_SIDS), *bounds, ["close", "volume"])

        def plain() -> object:
            scan = pl.scan_parquet(paths, glob=False).select("date", "sid", "close", "volume")
            chosen = pl.col("sid").is_in(list(range(_SIDS))) & pl.col("date").is_between(*bounds)
            return scan.filter(chosen).sort("sid", "date").collect()

        results = race({"ours": ours, "plain": plain}, _ROUNDS)
    ratios = [a / b for a, b in zip(results["ours"], results["plain"], strict=True)]
    return Row(
        f"three months of ten years, {_SIDS:,} symbols",
        {"ms": _ms(results["ours"]), "times the plain way": Figure.of(ratios)},
        "<= 1.3 times",
    )


def _days() -> Row:
    with TemporaryDirectory() as folder:
        first, each = datetime(2024, 1, 2, 14, 30), 390
        generator = np.random.default_rng(1)
        prices = {name: generator.integers(1, 10**6, each * _SIDS) / 100 for name in FIELDS}
        stamps = [first + timedelta(minutes=n) for n in range(each)] * _SIDS
        rows = pl.DataFrame(
            {"timestamp": stamps, "sid": np.repeat(np.arange(_SIDS), each), **prices}
        )
        ParquetWriter(folder).write(rows, "minute")
        reader, day = PolarsParquetMinuteReader(folder), first.date()

        def ours() -> object:
            return reader.load_daily_bars(range(_SIDS), day, day)

        (path,) = Path(folder).rglob("data.parquet")

        def plain() -> object:
            sums = [pl.col("open").first(), pl.col("high").max(), pl.col("low").min()]
            sums += [pl.col("close").last(), pl.col("volume").sum()]
            return pl.scan_parquet(path).group_by("sid").agg(*sums).collect()

        results = race({"ours": ours, "plain": plain}, _ROUNDS)
    ratios = [a / b for a, b in zip(results["ours"], results["plain"], strict=True)]
    figures = {"ms": _ms(results["ours"]), "times the plain way": Figure.of(ratios)}
    return Row(f"a day of each of {_SIDS:,} symbols out of minutes", figures, "<= 50 ms")


def _memory() -> list[Row]:
    rows = []
    for name, what, goal in (
        ("a year of days fetched", "day", "<= 2.1 MB"),
        ("a month of minutes fetched", "minute", "<= 18 MB"),
        ("a year of days written", "write", "<= 4.5 MB"),
        ("a year of days of an own source kept", "kept", "<= 4.5 MB"),
        ("a window of 20 days", "window", "<= 0.8 MB"),
    ):
        sizes = []
        for _ in range(3):
            with TemporaryDirectory() as folder:
                program = [sys.executable, "-c", _MEMORY, what, folder]
                answer = subprocess.run(program, capture_output=True, text=True, check=True)
                sizes.append(int(answer.stdout.split()[-1]) / 1024)
        rows.append(Row(name, {"MB": Figure.of(sizes)}, goal))
    return rows


def _ms(microseconds: list[float]) -> Figure:
    return Figure.of([value / 1000 for value in microseconds])
