"""A large cache: its list, its statistics, what eviction could drop, its check-up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from onetape.data.core.cache.format.documents import dump_meta, dump_series
from onetape.data.core.cache.format.gzip_member import file_id, verify
from onetape.data.core.cache.store import BarStore, Commit, CommitPiece
from onetape.data.core.calendars.calendar import calendar_for
from onetape.data.core.clock import ManualClock, SystemClock
from onetape.data.core.model.identity.kind import Basis, Kind
from onetape.data.core.model.identity.series import SeriesKey
from onetape.data.core.model.time.instant import DAY_MS, date_of, year_start
from onetape.data.core.model.time.span import Span
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.data_manager import DataManager

from .harness import Figure, Report, Row, sized
from .stage import made_up_at

_SERIES, _ROUNDS = sized(1_000, 3_000), sized(2, 3)
_NOTE = (
    f"The cache contains ten years of daily bars of each of {_SERIES:,} shares. Each call is "
    "made in its own process. The table shows how many seconds the call takes, and the peak "
    "memory of the process in MB. For *first*, the index does not exist yet. While `doctor` "
    "prepares its report, it also checks the digests of files."
)
_SHARE = Kind("regular", "session", "consolidated", "USD", "shares")
_DAYS = Timeframe.parse("1d")
# The bars do not matter here: only one in this many is stored.
_EVERY = 5
_PROGRAM = """
import json, sys, time
from onetape.data import DataManager
from onetape.data.cli.cached import listed
from onetape.data.jobs.doctor.health import checkup

manager = DataManager(sys.argv[1])
manager.cache.max_size_gb = 1000.0
calls = {
    "list": lambda: listed(manager),
    "stats": lambda: manager.cache.overview(),
    "eviction": lambda: manager.cache.freeable(),
    "doctor": lambda: checkup(sys.argv[1], network=False),
}
began = time.perf_counter()
calls[sys.argv[2]]()
spent = time.perf_counter() - began
# Not ru_maxrss: a program begins with the peak of the process that started it.
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps({"s": spent, "MB": peak / 1024}))
"""
_GOALS = {
    "list": "s <= 0.5, MB <= 120",
    "stats": "s <= 0.5, MB <= 120",
    "eviction": "s <= 0.5, MB <= 120",
    "doctor": "s <= 3",
}


def measure() -> Report:
    """Measure it in separate processes; Unix only."""
    rows = []
    with library(_SERIES) as root:
        rows.append(Row("`cache list`, first", in_processes(_PROGRAM, 1, root, "list")))
        rows.append(Row("`cache stats`, first", in_processes(_PROGRAM, 1, root, "stats")))
        for name, goal in _GOALS.items():
            rows.append(Row(f"`{name}`", in_processes(_PROGRAM, _ROUNDS, root, name), goal))
    return Report("A large cache", _NOTE, rows)


@contextmanager
def library(count: int) -> Iterator[Path]:
    """Yield a cache folder with this many stocks, ten years of 1d each."""
    with TemporaryDirectory() as folder, patch.dict("os.environ", ONETAPE_STATE_DIR=folder):
        fill(Path(folder) / "cache", count)
        yield Path(folder) / "cache"


def fill(root: Path, count: int) -> None:
    """Store one stock, and copy its files under other names: faster than storing all of them."""
    symbols = ["".join(letters) for letters in islice(product("QWZXVJKY", repeat=4), count)]
    # A check-up uses the system clock.
    today = SystemClock().now_ms() // DAY_MS * DAY_MS
    years = Span(year_start(date_of(today).year - 9), today)
    manager = DataManager(root, clock=ManualClock(today))
    calendar = calendar_for(manager.provider_selector.instrument(symbols[0]))
    stamps = calendar.opens(_DAYS, years)[::-_EVERY][::-1]
    basis = Basis("split", date_of(today))
    piece = CommitPiece(
        made_up_at(stamps), years, "yahoo", today, _SHARE, basis, "final"
    )  # fmt: skip
    first = SeriesKey(symbols[0], _DAYS)
    store = manager.cache.store
    store.commit(first, Commit((piece,), kind=_SHARE))
    for symbol in symbols[1:]:
        copy_files(store, first, SeriesKey(symbol, _DAYS))


def copy_files(store: BarStore, one: SeriesKey, other: SeriesKey) -> None:
    """Write the files of a series as those of another, whose name has the same length."""
    lane, folder = store.parts.lane(one), store.root / "ohlcv" / other.symbol / other.folder
    folder.mkdir(parents=True)
    for year in lane.years():
        identity = file_id(other, year)
        member = verify(lane.paths.data(year).read_bytes())
        meta = lane.meta(year)
        assert member is not None
        assert meta is not None
        spelled = {**member.header.spelled, "symbol": other.symbol}
        made = member.with_header(replace(member.header, id=identity, spelled=spelled))
        (folder / f"{year}.csv.gz").write_bytes(made.raw)
        state = meta.state.replaced(head=made.digest, size=len(made.raw))
        document = dump_meta(meta.replaced(state=state), other, year)
        (folder / f"{year}.metadata.json").write_bytes(document)
        os.link(lane.paths.log(year), folder / f"{year}.log")
    series = lane.series()
    assert series is not None
    (folder / "series.json").write_bytes(dump_series(series, other))
    (folder / ".lock").touch()


def in_processes(program: str, rounds: int, *words: str | Path) -> dict[str, Figure]:
    """Run a program ``rounds`` times with ``words``; return the figures that it prints in JSON."""
    results: list[dict[str, float]] = []
    for _ in range(rounds):
        ran = subprocess.run(
            [sys.executable, "-c", program, *map(str, words)], cwd=Path(__file__).parents[1],
            env=os.environ, check=True, capture_output=True, text=True,
        )  # fmt: skip
        results.append(json.loads(ran.stdout))
    return {name: Figure.of([one[name] for one in results]) for name in results[0]}


if __name__ == "__main__":
    print(measure())
