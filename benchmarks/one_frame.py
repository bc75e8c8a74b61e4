"""Many symbols as one Polars frame, compared with gzip CSV files that pandas reads."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import polars as pl

from onetape.data.core.model.answer.interchange import to_polars
from onetape.data.core.model.time.instant import day_ms
from onetape.data.core.model.time.span import Span
from onetape.data.data_manager import DataManager
from onetape.data.research.frames.frames import bars_frame

from .harness import Figure, Report, Row, race, sized
from .peers import Naive
from .stage import crowd_stage

_NOTE = (
    "The table shows the time in milliseconds until 20 years of daily bars (5,000) of each of 200 shares "
    "(1,000 with `--large`) are one Polars frame. *naive* is the time that gzip and `read_csv`, with a "
    "file for each share, and `pd.concat` take in the same round, divided by ours."
)
_COUNT, _ROUNDS = sized(200, 1000), 5
_SPAN = Span(day_ms(date(2004, 1, 1)), day_ms(date(2024, 1, 1)))
_ASKED = ("1d", "2004-01-01", "2023-12-31")


def measure() -> Report:
    """Race the two ways to one frame against the plain one."""
    with crowd_stage(_COUNT, span=_SPAN) as (manager, symbols), TemporaryDirectory() as folder:
        return Report("One Polars frame", _NOTE, _rows(manager, symbols, Path(folder)), ("naive",))


def _rows(manager: DataManager, symbols: list[str], folder: Path) -> list[Row]:
    path = folder / "bars.csv.gz"
    Naive.write(path, manager.get_ohlcv(symbols[0], *_ASKED))  # all shares have the same bars
    label, start, end = _ASKED

    def columns() -> pl.DataFrame:
        rows = manager.client.get_rows_by_symbol(symbols, label, (start, end, None))
        return bars_frame(rows)

    def frames() -> pl.DataFrame:
        return to_polars(manager.get_ohlcv_batch(symbols, *_ASKED))

    def naive() -> pd.DataFrame:
        return pd.concat({symbol: Naive.read_file(path) for symbol in symbols})

    if not columns()["close"].to_list() == frames()["close"].to_list() == naive()["close"].tolist():
        raise RuntimeError("the frames differ")
    took = race({"columns": columns, "frames": frames, "naive": naive}, _ROUNDS)

    def row(name: str, call: str, goal: str = "") -> Row:
        ratios = [a / b for a, b in zip(took["naive"], took[call], strict=True)]
        ms = [us / 1000 for us in took[call]]
        return Row(name, {"ms": Figure.of(ms), "naive": Figure.of(ratios)}, goal)

    return [
        row("`bars_frame`, from the columns", "columns", "naive >= 10"),
        row("`to_polars(get_ohlcv_batch(...))`", "frames"),
    ]


if __name__ == "__main__":
    print(measure())
