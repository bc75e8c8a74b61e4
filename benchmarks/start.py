"""The time a fresh process takes to import the package, and to return the first cached bars."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from unittest.mock import patch

from .harness import Figure, Report, Row
from .stage import MINUTES, long_stage

_NOTE = (
    "The table shows the time in milliseconds of a whole process, from its start to its end. "
    "*bare* and *pandas* are the times of the bare interpreter and of `import pandas` in the "
    "same round, as multiples of the time of that process. *heavy* is the number of these "
    "modules that are loaded at the end: pandas, numpy, requests, asyncio and exchange_calendars."
)
_ROUNDS = 7
_HEAVY = ("pandas", "numpy", "requests", "asyncio", "exchange_calendars")
_COUNT = f"import sys; print(sum(name in sys.modules for name in {_HEAVY}))"
_IMPORT = "import onetape.data"
_DAY = """
from onetape.data import DataManager
frame = DataManager({folder!r}).get_ohlcv("BTCUSDT", "1m", "2023-06-01", "2023-06-01", offline=True)
assert len(frame) == 1440 and frame.to_numpy().sum() > 0
"""


def measure() -> Report:
    """Start processes in turn."""
    # Bytecode is cached no matter how this machine is set up: programs that run every day have
    # theirs.
    with (
        long_stage(MINUTES) as manager,
        TemporaryDirectory() as bytecode,
        patch.dict("os.environ", PYTHONPYCACHEPREFIX=bytecode, PYTHONDONTWRITEBYTECODE=""),
    ):
        day = _DAY.format(folder=str(manager.cache.store.root))
        manager.get_ohlcv("BTCUSDT", "1m", "2023-06-01", "2023-06-01")  # the columns are there
        programs = {"bare": "pass", "pandas": "import pandas", "import": _IMPORT, "day": day}
        results = _raced(programs)
        rows = [
            Row("the package imported", _figures(results, "import", _IMPORT), "bare >= 0.33, none heavy"),
            Row("a cached day of minutes", _figures(results, "day", day), "pandas >= 0.8"),
        ]  # fmt: skip
    return Report("Starting", _NOTE, rows, more=("bare", "pandas"))


def _raced(programs: Mapping[str, str]) -> dict[str, list[float]]:
    results: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        _run(program)
    for _ in range(_ROUNDS):
        for name in random.sample(list(programs), len(programs)):
            started = perf_counter()
            _run(programs[name])
            results[name].append((perf_counter() - started) * 1e3)
    return results


def _run(program: str) -> str:
    """Run a program in a separate process and return its output."""
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[1], env=os.environ,
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return ran.stdout


def _figures(results: Mapping[str, Sequence[float]], name: str, program: str) -> dict[str, Figure]:
    figures = {"ms": Figure.of(results[name])}
    for other in ("bare", "pandas"):
        pairs = zip(results[other], results[name], strict=True)
        figures[other] = Figure.of([theirs / ours for theirs, ours in pairs])
    return figures | {"heavy": Figure.of([float(_run(f"{program}\n{_COUNT}"))])}


if __name__ == "__main__":
    print(measure())
