"""Thousands of series: the list, the statistics, a new index, a job with nothing to do."""

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
from onetape.data.core.model.market.actions import Action
from onetape.data.core.model.market.bars import Stamps
from onetape.data.core.model.time.instant import DAY_MS, date_of, year_start
from onetape.data.core.model.time.span import Span
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.data_manager import DataManager

from .harness import Figure, Report, Row, sized
from .stage import made_up_at

SERIES, _ROUNDS = sized(2_000, 10_000), sized(2, 3)
_NOTE = (
    f"The cache contains {SERIES:,} series with ten years of daily bars each: half of them "
    "shares with forty dividends, half coins. Each command runs in its own process. The "
    "table shows the seconds from the start to the end of the process, and its peak memory. "
    "The bytecode of the package is kept from one process to the next.\n\n"
    "- *first*: columns do not exist yet;\n"
    "- *json.loads*: time relative to reading the same documents with it."
)
_DAYS = Timeframe.parse("1d")
_SHARE = Kind("regular", "session", "consolidated", "USD", "shares")
_COIN = Kind("24h", "session", "binance", "USDT", "base")
_PROGRAM = """
import contextlib, io, json, os, sys, time

began = time.perf_counter()
root, name, start, end = sys.argv[1:]
words = {
    "list": ["cache", "list"],
    "stats": ["cache", "stats"],
    "populate": ["populate", "--symbols-file", os.path.dirname(root) + "/symbols.txt",
                 "--timeframes", "1d", "--start", start, "--end", end],
}
ratio = 0.0
if name == "index":
    from onetape.data import DataManager

    folders = [f for f, _, names in os.walk(root + "/ohlcv") if "series.json" in names]
    documents = [f"{f}/{n}" for f in folders for n in os.listdir(f) if n.endswith(".json")]
    began = time.perf_counter()
    for path in documents:
        with open(path, "rb") as file:
            json.loads(file.read())
    plain = time.perf_counter() - began
    os.unlink(root + "/ohlcv/_metadata/index.sqlite")
    began = time.perf_counter()
    assert len(DataManager(root).cache.holdings().lanes) == len(folders)
    ratio = (time.perf_counter() - began) / plain
else:
    from onetape.data.cli import main

    with contextlib.redirect_stdout(io.StringIO()):
        assert main([*words[name], "--cache-dir", root]) == 0
spent = time.perf_counter() - began
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps({"s": spent, "MB": peak / 1024} | ({"json.loads": ratio} if ratio else {})))
"""


def measure() -> Report:
    """Measure the commands in separate processes; Unix only."""
    with _folder() as (root, days):
        rows = [Row("`populate`, first", _in_processes(1, root, "populate", *days))]
        for name, goal in (
            ("populate", "s <= 10, MB <= 200"),
            ("list", "s <= 1, MB <= 150"),
            ("stats", "s <= 1, MB <= 150"),
            ("index", "json.loads <= 2"),
        ):
            figures = _in_processes(_ROUNDS, root, name, *days)
            rows.append(Row(f"`{name}`", figures, goal))
    return Report(f"{SERIES:,} series", _NOTE, rows, less=("json.loads",))


@contextmanager
def _folder() -> Iterator[tuple[Path, tuple[str, str]]]:
    """Yield a cache folder, and the first and last day of its content."""
    today = SystemClock().now_ms() // DAY_MS * DAY_MS
    years = Span(year_start(date_of(today).year - 9), today)
    names = ["".join(letters) for letters in islice(product("BCDFGHJKL", repeat=4), SERIES // 2)]
    with (
        TemporaryDirectory() as folder,
        patch.dict(
            "os.environ",
            ONETAPE_STATE_DIR=folder,
            PYTHONPYCACHEPREFIX=f"{folder}/pyc",
            PYTHONDONTWRITEBYTECODE="",
        ),
    ):
        manager = DataManager(Path(folder) / "cache", clock=ManualClock(today))
        shares = _fill(manager, names, years, _SHARE, Basis("split", date_of(today)))
        _fill(manager, [f"{name}USDT" for name in names], years, _COIN, Basis("raw"))
        paid = [
            Action(date_of(stamp), "dividend", stamp, amount=0.25)
            for stamp in shares[::63].tolist()
        ]
        for name in names:
            asked = Span(years.start, today + DAY_MS)
            manager.cache.store.add_actions(name, paid, asked, "yahoo", today)
        every = [*names, *(f"{name}USDT" for name in names)]
        (Path(folder) / "symbols.txt").write_text("\n".join(every) + "\n")
        yield manager.cache.cache_dir, (str(date_of(years.start)), str(date_of(today - DAY_MS)))


def _fill(
    manager: DataManager, symbols: list[str], years: Span, kind: Kind, basis: Basis
) -> Stamps:
    """Store the days of one symbol, copy its files under the other names, and return the stamps."""
    calendar = calendar_for(manager.provider_selector.instrument(symbols[0]))
    stamps = calendar.opens(_DAYS, years)
    vendor = "yahoo" if kind is _SHARE else kind.venue
    piece = CommitPiece(made_up_at(stamps), years, vendor, years.end, kind, basis, "final")
    first, store = SeriesKey(symbols[0], _DAYS), manager.cache.store
    store.commit(first, Commit((piece,), kind=kind))
    for symbol in symbols[1:]:
        _copy_files(store, first, SeriesKey(symbol, _DAYS))
    return stamps


def _copy_files(store: BarStore, one: SeriesKey, other: SeriesKey) -> None:
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


def _in_processes(rounds: int, *words: str | Path) -> dict[str, Figure]:
    """Run the program ``rounds`` times with ``words``; return the figures that it prints in JSON."""
    results: list[dict[str, float]] = []
    for _ in range(rounds):
        ran = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *map(str, words)], cwd=Path(__file__).parents[1],
            env=os.environ, check=True, capture_output=True, text=True,
        )  # fmt: skip
        results.append(json.loads(ran.stdout))
    return {name: Figure.of([one[name] for one in results]) for name in results[0]}


if __name__ == "__main__":
    print(measure())
