"""Reports: ten years of days as a page, everything for 500 series, only their coverage by month."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time

from src.data.charts.heat import cells_of, heat_map, months_of
from src.data.charts.heat_table import heat_shown
from src.data.charts.html import chart_script
from src.data.charts.page import page
from src.data.charts.parts import Values
from src.data.data_manager import DataManager

from .harness import Figure, Report, Row, sized
from .stage import TEN_YEARS, crowd_stage

_NOTE = (
    "The table shows the CPU seconds from the call to the finished page, and its size in kB. "
    "The first call in a new process, which imports pandas and the vendors and reads the "
    "calendars, is a line of its own. The report on a series validates and draws its bars and "
    "classifies their gaps; the report on everything does the same without drawing. "
    "*Map alone* is the coverage of all series, read from their metadata."
)
_FIRST = """
import sys
from pathlib import Path
from time import process_time
from benchmarks.stage import FETCHED
from src.data.clock import ManualClock
from src.data.data_manager import DataManager
DataManager(Path(sys.argv[1]), clock=ManualClock(FETCHED)).report().html()
print(process_time())
"""
_ROUNDS, _FEW = sized(5, 9), sized(2, 3)
# Series in the report on everything, and those of the map.
_MANY, _SERIES, _MONTHS = 300, sized(150, 500), 120


def measure() -> Report:
    """Make the pages many times."""
    with crowd_stage(1, span=TEN_YEARS) as (manager, (symbol,)):
        manager.report(symbol, "1d")  # calendars are loaded
        goal = "s <= 1, kB <= 500"
        one = _row("10 years of 1d", lambda: manager.report(symbol, "1d").html(), _ROUNDS, goal)
    with crowd_stage(_MANY) as (manager, _):
        folder = manager.cache.store.root
        figures = {"s": Figure.of([_first(folder) for _ in range(_FEW)])}
        first = Row(f"{_MANY:,} series, the first call of a process", figures, "s <= 3")
        manager.report()
        several = _row(f"{_MANY:,} series", lambda: manager.report().html(), _FEW, "s <= 3")
    with crowd_stage(_SERIES, every=20) as (manager, _):
        alone = _row(
            f"{_SERIES:,} series x {_MONTHS} months, map alone", lambda: _map(manager), _FEW,
            "s <= 2, kB <= 300",
        )  # fmt: skip
    return Report("Reports", _NOTE, [one, several, first, alone], less=("kB",))


def _first(folder: Path) -> float:
    """Return the CPU seconds of a process that makes the page, with its start and all imports."""
    command = [sys.executable, "-c", _FIRST, str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _map(manager: DataManager) -> str:
    """Return a page with only the coverage of everything."""
    client = manager.client
    parts = {key: client.coverage(key) for key in client.series()}
    months = months_of(parts.values(), client.clock.now_ms())
    months = months._replace(first=months.first + months.number - _MONTHS, number=_MONTHS)
    end = client.clock.now_ms()
    heat = heat_map(((str(key), cells_of(own, months, end)) for key, own in parts.items()), months)
    shown = heat_shown(Values({"heat": heat}).of("heat"))
    return page("map", *shown, script=chart_script("report.js"), data={"heat": heat})


def _row(name: str, made: Callable[[], str], rounds: int, goal: str) -> Row:
    size = len(made().encode()) / 1e3
    times = []
    for _ in range(rounds):
        started = process_time()
        made()
        times.append(process_time() - started)
    return Row(name, {"s": Figure.of(times), "kB": Figure(size, size, size)}, goal)
