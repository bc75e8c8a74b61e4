"""Lazy scans of a stored series and of a bundle, against Polars on Parquet files with the same rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from onetape.data.research.bundles.bundle_writer import ParquetWriter
from onetape.data.research.bundles.scan import scan
from onetape.data.research.frames.series import scan_series

from .harness import Figure, Report, Row, race, sized
from .stage import MINUTES, long_stage

_NOTE = (
    "*ms*: of `scan_series` with this filter, from the call to the collected frame. *times a file of the "
    "year*, *times a file of the month*: through `pl.scan_parquet` in the same round, of a file with all "
    "minutes of the year and the same filter, and of a file with only the rows of the month. *of a bundle*: "
    "`scan` of a bundle with ten years of days of 200 shares (1,000 with `--large`), with symbols, "
    "sorted; *times its files*: through `pl.scan_parquet` in the same round, of the files of that time, "
    "with the numbers of the shares, in the same order."
)
_ROUNDS = sized(15, 40)
_MONTH = pl.col("timestamp").is_between(datetime(2023, 3, 1), datetime(2023, 4, 1), closed="left")
_OF_THE_YEAR, _OF_THE_MONTH = "times a file of the year", "times a file of the month"
_OF_THE_FILES, _SIDS = "times its files", sized(200, 1000)
_QUARTER = date(2023, 1, 1), date(2023, 3, 31)
_MARCH = date(2023, 3, 1), date(2023, 3, 31)


def measure() -> Report:
    """Race the scans against files that Polars wrote."""
    with long_stage(MINUTES) as manager, TemporaryDirectory() as folder:
        year, month = Path(folder, "year.parquet"), Path(folder, "month.parquet")

        def ours_whole() -> pl.LazyFrame:
            return scan_series("BTCUSDT", "1m", manager=manager)

        def ours() -> pl.LazyFrame:
            return ours_whole().filter(_MONTH)

        ours_whole().collect().write_parquet(year)
        ours().collect().write_parquet(month)
        if not ours().collect().equals(pl.scan_parquet(year).filter(_MONTH).collect()):
            raise RuntimeError("the rows differ")
        rows = [
            _row("a month of a year of minutes", ours, year, month, lambda frame: frame),
            _row("its times and closes", ours, year, month, _closes),
            _row("its highest price", ours, year, month, _highest),
            *_few_columns(ours_whole, year),
        ]
    rows += _of_a_bundle()
    return Report("Lazy scans", _NOTE, rows, less=(_OF_THE_YEAR, _OF_THE_MONTH, _OF_THE_FILES))


def _few_columns(ours: Callable[[], pl.LazyFrame], year: Path) -> list[Row]:
    """Race scans of the whole year that need few of its columns."""
    queries: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
        "the times and closes of the year": _closes,
        "the highs and lows of the year": lambda frame: frame.select("timestamp", "high", "low"),
    }
    rows = []
    for name, query in queries.items():
        calls = {
            "ours": lambda query=query: query(ours()).collect(),
            "year": lambda query=query: query(pl.scan_parquet(year)).collect(),
        }
        results = race(calls, _ROUNDS)
        ratios = [a / b for a, b in zip(results["ours"], results["year"], strict=True)]
        milliseconds = Figure.of([value / 1000 for value in results["ours"]])
        figures = {"ms": milliseconds, _OF_THE_YEAR: Figure.of(ratios)}
        rows.append(Row(name, figures, "<= 1.3 times a file of the year"))
    return rows


def _of_a_bundle() -> list[Row]:
    """Race scans of a bundle against its files."""
    with TemporaryDirectory() as folder:
        dice, first = np.random.default_rng(1), date(2014, 1, 1)
        days = [first + timedelta(n) for n in range(3652) if (first + timedelta(n)).weekday() < 5]
        count, fields = len(days) * _SIDS, ("open", "high", "low", "close", "volume")
        numbers = {name: dice.integers(1, 10**6, count) / 100 for name in fields}
        sids = np.repeat(np.arange(_SIDS), len(days))
        bars = pl.DataFrame({"date": days * _SIDS, "sid": sids, **numbers})
        ParquetWriter(Path(folder, "mine")).write(bars, "daily")
        months = [
            Path(folder, f"mine/daily_bars/year=2023/month=0{n}/data.parquet") for n in (1, 2, 3)
        ]
        every = sorted(Path(folder, "mine/daily_bars").rglob("data.parquet"))
        few = [str(sid) for sid in range(0, _SIDS, 20)]

        def quarter() -> pl.DataFrame:
            names = "symbol", "date", "close", "volume"
            return scan("mine", None, *_QUARTER, folder=folder).select(names).collect()

        def its_files() -> pl.DataFrame:
            files = pl.scan_parquet(months, glob=False).select("sid", "date", "close", "volume")
            return files.filter(pl.col("date").is_between(*_QUARTER)).sort("sid", "date").collect()

        def month() -> pl.DataFrame:
            return scan("mine", None, *_MARCH, folder=folder).collect()

        def its_file() -> pl.DataFrame:
            file = pl.scan_parquet(months[2], glob=False)
            return file.filter(pl.col("date").is_between(*_MARCH)).collect()

        def of_few() -> pl.DataFrame:
            return scan("mine", few, folder=folder).select("symbol", "date", "close").collect()

        def its_rows() -> pl.DataFrame:
            files = pl.scan_parquet(every, glob=False).select("sid", "date", "close")
            chosen = files.filter(pl.col("sid").is_in(list(map(int, few))))
            return chosen.sort("sid", "date").collect()

        rows = []
        for name, ours, theirs in (
            ("of a bundle: a month", month, its_file),
            ("of a bundle: a quarter's closes and volumes", quarter, its_files),
            ("of a bundle: the closes of a twentieth of its shares", of_few, its_rows),
        ):
            mine, other = ours(), theirs()
            values = [name for name in mine.columns if name in ("date", *fields)]
            if not mine.sort(values).select(values).equals(other.sort(values).select(values)):
                raise RuntimeError("the rows differ")
            results = race({"ours": ours, "theirs": theirs}, _ROUNDS)
            ratios = [a / b for a, b in zip(results["ours"], results["theirs"], strict=True)]
            milliseconds = Figure.of([value / 1000 for value in results["ours"]])
            figures = {"ms": milliseconds, _OF_THE_FILES: Figure.of(ratios)}
            goal = "<= 1.2 times its files" if ours is month else ""
            rows.append(Row(name, figures, goal))
    return rows


def _row(
    name: str,
    ours: Callable[[], pl.LazyFrame],
    year: Path,
    month: Path,
    query: Callable[[pl.LazyFrame], pl.LazyFrame],
) -> Row:
    calls = {
        "ours": lambda: query(ours()).collect(),
        "year": lambda: query(pl.scan_parquet(year).filter(_MONTH)).collect(),
        "month": lambda: query(pl.scan_parquet(month)).collect(),
    }
    results = race(calls, _ROUNDS)

    def against(other: str) -> Figure:
        return Figure.of([a / b for a, b in zip(results["ours"], results[other], strict=True)])

    milliseconds = Figure.of([value / 1000 for value in results["ours"]])
    figures = {
        "ms": milliseconds,
        _OF_THE_YEAR: against("year"),
        _OF_THE_MONTH: against("month"),
    }
    return Row(name, figures, "<= 1.3 times a file of the year")


def _closes(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.select("timestamp", "close")


def _highest(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.select(pl.col("high").max())
