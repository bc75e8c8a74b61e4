"""Lazy scans of a stored series, against Polars on Parquet files with the same rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from src.data.polars.series_scan import scan_series

from .harness import Figure, Report, Row, race, sized
from .stage import MINUTES, long_stage

_NOTE = (
    "*ms*: of `scan_series` with this filter, from the call to the collected frame. *times a file of the "
    "year*, *times a file of the month*: through `pl.scan_parquet` in the same round, of a file with all "
    "minutes of the year and the same filter, and of a file with only the rows of the month."
)
_ROUNDS = sized(15, 40)
_MONTH = pl.col("timestamp").is_between(datetime(2023, 3, 1), datetime(2023, 4, 1), closed="left")
_OF_THE_YEAR, _OF_THE_MONTH = "times a file of the year", "times a file of the month"


def measure() -> Report:
    """Race the scans against files that Polars wrote."""
    with long_stage(MINUTES) as manager, TemporaryDirectory() as folder:
        year, month = Path(folder, "year.parquet"), Path(folder, "month.parquet")

        def ours() -> pl.LazyFrame:
            return scan_series("BTCUSDT", "1m", manager=manager).filter(_MONTH)

        scan_series("BTCUSDT", "1m", manager=manager).collect().write_parquet(year)
        ours().collect().write_parquet(month)
        if not ours().collect().equals(pl.scan_parquet(year).filter(_MONTH).collect()):
            raise RuntimeError("the rows differ")
        rows = [
            _row("a month of a year of minutes", ours, year, month, lambda frame: frame),
            _row("its times and closes", ours, year, month, _closes),
            _row("its highest price", ours, year, month, _highest),
        ]
    return Report("Lazy scans", _NOTE, rows, less=(_OF_THE_YEAR, _OF_THE_MONTH))


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
