"""Reports: ten years of days as a page, everything for 300 series or more, only their coverage by month."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from unittest.mock import patch

from onetape.data.data_manager import DataManager
from onetape.data.show.charts.chart_page import SCRIPTS
from onetape.data.show.charts.heat import cells_of, heat_map, months_of
from onetape.data.show.charts.pages import page
from onetape.data.show.reports.report_pages import coverage_map

from .harness import Figure, Report, Row, sized
from .stage import FETCHED, TEN_YEARS, YEAR, crowd_stage

_NOTE = (
    "The table shows the CPU seconds from the call to the finished page, and its size in kB. The "
    "report on a series validates and draws its bars and classifies their gaps; the report on "
    "everything does the same without drawing.\n\n"
    "The lines on the first call of a process include its start, the imports and the calendars; "
    "its bytecode is kept from one process to the next, and all pages are written to the disk. "
    "Bars have columns next to their files once they have been fetched; *without columns* is the "
    "report that reads the files of an older cache, and writes the columns for the next process.\n\n"
    "- *pages*: the seconds to make and write all pages, of up to 500 series each;\n"
    "- *MB*: the peak memory of the process;\n"
    "- *import pandas*: how many times as long the first call takes as that, in the same round.\n\n"
    "*Map alone* is the coverage of all series, read from their metadata."
)
_FIRST = """
import json, resource, sys
from pathlib import Path
from time import process_time
from onetape.data.core.clock import ManualClock
from onetape.data.data_manager import DataManager
cache, folder, now = sys.argv[1:]
report = DataManager(Path(cache), clock=ManualClock(int(now))).report()
made = process_time()
report.save(Path(folder) / "report.html")
spent = process_time()
print(json.dumps([spent, spent - made, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3]))
"""
_PANDAS = "import time, pandas; print(time.process_time())"
_ROUNDS, _FEW = sized(5, 9), sized(2, 3)
# Series in the report on everything, in the one on very many with a year of bars each, and in the
# map.
_MANY, _THOUSANDS, _SERIES, _MONTHS = 300, sized(1_000, 10_000), sized(150, 500), 120


def measure() -> Report:
    """Make the pages many times."""
    with crowd_stage(1, span=TEN_YEARS) as (manager, (symbol,)):
        manager.report(symbol, "1d")  # calendars are loaded
        goal = "s <= 1, kB <= 500"
        rows = [_row("10 years of 1d", lambda: manager.report(symbol, "1d").html(), _ROUNDS, goal)]
    with (
        TemporaryDirectory() as bytecode,
        patch.dict("os.environ", PYTHONPYCACHEPREFIX=bytecode, PYTHONDONTWRITEBYTECODE=""),
    ):
        first = "the first call of a process"
        with crowd_stage(_MANY) as (manager, _):
            lines: tuple[str, ...] = (
                f"{_MANY:,} series, {first}",
                f"{_MANY:,} series without columns, {first}",
            )
            rows += _first_calls(manager.cache.store.root, lines, _FEW, "s <= 3")
            manager.report()
            rows.insert(
                1, _row(f"{_MANY:,} series", lambda: manager.report().html(), _FEW, "s <= 3")
            )
        with crowd_stage(_THOUSANDS, span=YEAR) as (manager, _):
            lines = (f"{_THOUSANDS:,} series of a year, {first}",)
            rows += _first_calls(manager.cache.store.root, lines, 1)
    with crowd_stage(_SERIES, every=20) as (manager, _):
        alone = _row(
            f"{_SERIES:,} series x {_MONTHS} months, map alone", lambda: _map(manager), _FEW,
            "s <= 2, kB <= 300",
        )  # fmt: skip
    return Report("Reports", _NOTE, [*rows, alone], less=("kB", "import pandas"))


def _first_calls(root: Path, names: Sequence[str], rounds: int, goal: str = "") -> list[Row]:
    """Report on everything in new processes, if bars have columns and, by a second name, if not."""
    _first(root)  # writes the columns and the bytecode
    rows = []
    for place, name in enumerate(names):
        found: list[list[float]] = []
        for _ in range(rounds):
            if place:
                shutil.rmtree(root / "_columnar")
            alone = float(_ran(_PANDAS))
            whole = _first(root)
            found.append([*whole, whole[0] / alone])
        columns = zip(("s", "pages", "MB", "import pandas"), zip(*found, strict=True), strict=True)
        rows.append(Row(name, {column: Figure.of(values) for column, values in columns}, goal))
    return rows


def _first(root: Path) -> list[float]:
    """Return the CPU seconds of a process that writes the report, those for its pages, and its MB."""
    with TemporaryDirectory() as folder:
        figures: list[float] = json.loads(_ran(_FIRST, str(root), folder, str(FETCHED)))
    return figures


def _ran(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _map(manager: DataManager) -> str:
    """Return a page with only the coverage of everything."""
    client = manager.client
    parts = {key: client.coverage(key) for key in client.series()}
    months = months_of(parts.values(), client.clock.now_ms())
    months = months._replace(first=months.first + months.number - _MONTHS, number=_MONTHS)
    end = client.clock.now_ms()
    heat = heat_map(((str(key), cells_of(own, months, end)) for key, own in parts.items()), months)
    data = {"data": {"heat": heat}}
    return page("map", coverage_map(heat), data, scripts=(*SCRIPTS, "report.js"))


def _row(name: str, made: Callable[[], str], rounds: int, goal: str) -> Row:
    size = len(made().encode()) / 1e3
    times = []
    for _ in range(rounds):
        started = process_time()
        made()
        times.append(process_time() - started)
    return Row(name, {"s": Figure.of(times), "kB": Figure(size, size, size)}, goal)
