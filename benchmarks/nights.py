"""Disk space and reading time after a year of nights, compared with bars fetched in one go."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from onetape.data.core.cache.store import BarStore
from onetape.data.core.clock import ManualClock
from onetape.data.core.model.identity.series import SeriesKey
from onetape.data.core.model.time.instant import DAY_MS, iso, parse_iso
from onetape.data.core.model.time.span import Span
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.data_manager import DataManager
from tests.vendor_server import VendorServer

from .harness import Figure, Report, Row, race

NIGHTS = 250
FIRST = "2023-01-03"
# Symbol, timeframe, number of bars requested, and when.
SERIES = (
    ("AAPL", "1d", 10, "22:10:00"),
    ("NVDA", "1h", 24, "22:10:00"),
    ("BTCUSDT", "1h", 24, "23:00:00"),
)
GOAL = "file <= 1.3, read <= 1.2"
_EVER = Span(parse_iso("2000-01-01"), parse_iso("2040-01-01"))
_FAST = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
_NOTE = (
    f"The last bars are requested on each of {NIGHTS} nights, with automatic compaction. The "
    "table shows the state afterwards:\n\n"
    "- *file*, *document*: the bytes of the bars and of their metadata, divided by those of "
    "the same bars fetched in one go;\n"
    "- *read*: the time of a first read by a new store, divided by that for the same bars "
    "fetched in one go."
)


def measure() -> Report:
    """Simulate the nights for each series, and compare."""
    rows = [_row(*series) for series in SERIES]
    return Report("A year of nights", _NOTE, rows, less=("file", "document", "read"))


def _row(symbol: str, timeframe: str, bars: int, at: str) -> Row:
    clock = ManualClock(parse_iso(f"{FIRST}T{at}"))
    with (
        TemporaryDirectory() as folder,
        patch.dict("os.environ", ONETAPE_STATE_DIR=f"{folder}/state"),
        VendorServer(clock) as vendors,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        root = Path(folder)
        rules = root / "rules.yaml"
        rules.write_text(
            "providers:\n" + "".join(
                f"  {name}: {{base_url: '{vendors.base_url(name)}', transport: http, "
                f"rate_limits: {_FAST}}}\n" for name in ("binance", "yahoo")
            )
        )  # fmt: skip
        grown = DataManager(root / "nights", rules, clock=clock)
        for _ in range(NIGHTS):
            grown.get_ohlcv(symbol, timeframe, bars=bars)
            clock.set(clock.now_ms() + DAY_MS)
        key = SeriesKey(symbol, Timeframe.parse(timeframe))
        first = grown.cache.store.view(key).coverage[0].span.start
        DataManager(root / "once", rules, clock=clock).get_ohlcv(
            symbol, timeframe, iso(first), iso(clock.now_ms())[:10]
        )
        figures = {
            "file": _ratio(root, key, ".csv.gz"),
            "document": _ratio(root, key, ".metadata.json"),
            "read": _read(root, key),
        }
    return Row(f"{symbol} {timeframe}", figures, GOAL)


def _ratio(root: Path, key: SeriesKey, ending: str) -> Figure:
    sizes = [
        sum(path.stat().st_size for path in (root / name).rglob(f"*{ending}"))
        for name in ("nights", "once")
    ]
    return Figure.of([sizes[0] / sizes[1]])


def _read(root: Path, key: SeriesKey) -> Figure:
    calls = {
        name: (lambda name=name: BarStore(root / name).read(key, _EVER))
        for name in ("nights", "once")
    }
    times = race(calls)
    pairs = zip(times["nights"], times["once"], strict=True)
    return Figure.of([grown / whole for grown, whole in pairs])


if __name__ == "__main__":
    print(measure())
