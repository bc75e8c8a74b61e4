"""Charts: a bot's picture of 250 bars, and a year of minutes as PNG and as HTML."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from time import process_time

from onetape.data.data_manager import DataManager
from onetape.data.show.charts.picture import ChartPicture, plot

from .harness import Figure, Report, Row, sized
from .stage import MINUTES, long_stage, stage

_NOTE = (
    "The table shows the CPU time in milliseconds to draw a picture of 800 x 500 pixels from a "
    "frame in memory, and the picture's size in kB. *first* is the first PNG of a process, "
    "including the import of the library that paints it."
)
_ROUNDS, _FIRSTS = sized(7, 15), sized(3, 5)
_FIRST = """
import sys
from time import process_time
import numpy as np
import pandas as pd
from onetape.data import plot
closes = 100 + np.random.default_rng(7).normal(size=250).cumsum()
stamps = pd.date_range("2023-01-02", periods=250, freq="B")
columns = {"open": closes, "high": closes + 1, "low": closes - 1, "close": closes, "volume": closes}
frame = pd.DataFrame(columns, index=stamps)
started = process_time()
plot(frame).png()
print((process_time() - started) * 1e3)
"""


def measure() -> Report:
    """Draw many times in this process, and sometimes as the first chart of a process."""
    with stage() as manager:
        day = _pictures(manager, "AAPL", "1d", "AAPL, 250 days")
    firsts = [_first() for _ in range(_FIRSTS)]
    day[0].figures["first"] = Figure.of(firsts)  # type: ignore[index]
    with long_stage(MINUTES) as manager:
        year = _pictures(manager, "BTCUSDT", "1m", "a year of minutes")
    goals = ("ms <= 250, first <= 1,500", "", "ms <= 600", "ms <= 600, kB <= 900")
    rows = [row._replace(goal=goal) for row, goal in zip((*day, *year), goals, strict=True)]
    return Report("Charts", _NOTE, rows, less=("kB",))


def _pictures(manager: DataManager, symbol: str, timeframe: str, name: str) -> list[Row]:
    frame = manager.get_ohlcv(symbol, timeframe, "2023-01-01", "2023-12-31", offline=True)
    draw: dict[str, Callable[[ChartPicture], bytes]] = {
        "PNG": ChartPicture.png,
        "HTML": lambda picture: picture.html().encode(),
    }
    rows = []
    for kind, drawn in draw.items():
        size = len(drawn(plot(frame))) / 1e3
        times = []
        for _ in range(_ROUNDS):
            started = process_time()
            drawn(plot(frame))
            times.append((process_time() - started) * 1e3)
        figures = {"ms": Figure.of(times), "kB": Figure(size, size, size)}
        rows.append(Row(f"{name}, {kind}", figures))
    return rows


def _first() -> float:
    done = subprocess.run(
        [sys.executable, "-c", _FIRST], capture_output=True, text=True, check=True
    )
    return float(done.stdout)
