"""The cost of recording which bars are read: the same answer again, and another range each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from tempfile import TemporaryDirectory

import numpy as np

from onetape.data.core.cache.store import Commit, CommitPiece
from onetape.data.core.model.identity.kind import Basis
from onetape.data.core.model.identity.series import SeriesKey
from onetape.data.core.model.time.instant import HOUR_MS
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.core.observability.reads import reads
from onetape.data.data_manager import DataManager
from onetape.data.research.lineage.lineage import LineageRun, lineage

from .harness import Call, Figure, Report, Row, race
from .stage import COIN, FETCHED, YEAR, made_up_at, stage

Recorded = Callable[[Call], Call]
_NOTE = (
    "Microseconds of a warm hit, *recorded* within `with lineage(...)` that has its bars already. "
    "*recorded / plain*: in the same round."
)
_GOAL = "recorded / plain <= 1.2"
_YEAR = ("BTCUSDT", "1h", "2023-01-01", "2023-12-31")
_HOURS = ("BTCUSDT", "1h", "2023-01-01", "2023-02-28T07:00:00")
_DAYS = ("AAPL", "1d", "2023-01-01", "2023-12-31")
_VENDOR = "binance"


def measure() -> Report:
    """Race calls within a lineage against the same calls outside it."""
    with stage() as manager, TemporaryDirectory() as folder:
        _pin(manager)
        rows = [
            _row(name, call, manager, folder)
            for name, call in (
                ("1,400 hours", lambda: manager.get_ohlcv(*_HOURS)),
                ("the same of a pinned vendor", lambda: manager.get_ohlcv(*_HOURS, provider=_VENDOR)),
                ("a year of days of a share", lambda: manager.get_ohlcv(*_DAYS)),
                ("other hours each time", _moving(manager)),
            )
        ]  # fmt: skip
    return Report("Lineage", _NOTE, rows, less=("recorded / plain",))


def _pin(manager: DataManager) -> None:
    """Store hours in a vendor's own lane."""
    stamps = np.arange(YEAR.start, YEAR.end, HOUR_MS, dtype=np.int64)
    piece = CommitPiece(made_up_at(stamps), YEAR, _VENDOR, FETCHED, COIN, Basis("raw"), "final")
    key = SeriesKey("BTCUSDT", Timeframe.parse("1h"), (_VENDOR,))
    manager.cache.store.commit(key, Commit((piece,), kind=COIN))


def _moving(manager: DataManager) -> Call:
    """Return a call for 20 days that begin a day later each time."""
    first = np.datetime64("2023-01-01")
    days = cycle([(str(first + n), str(first + n + 20)) for n in range(300)])
    return lambda: manager.get_ohlcv("BTCUSDT", "1h", *next(days))


@contextmanager
def not_recording(run: LineageRun) -> Iterator[Recorded]:
    """Yield a function that makes a call recorded; nothing else within the block is."""
    with run:
        outer = reads.set(None)

        def recorded(call: Call) -> Call:
            """Return the call in a form that the run records."""

            def heard() -> object:
                inner = reads.set(run)
                try:
                    return call()
                finally:
                    reads.reset(inner)

            return heard

        try:
            yield recorded
        finally:
            reads.reset(outer)


def _row(name: str, call: Call, manager: DataManager, folder: str) -> Row:
    with not_recording(lineage(folder=folder, manager=manager)) as recorded:
        recorded(lambda: manager.get_ohlcv(*_YEAR))()
        recorded(lambda: manager.get_ohlcv(*_YEAR, provider=_VENDOR))()
        took = race({"plain": call, "recorded": recorded(call)})
    ratios = [b / a for a, b in zip(took["plain"], took["recorded"], strict=True)]
    figures = {name: Figure.of(values) for name, values in took.items()}
    return Row(name, {**figures, "recorded / plain": Figure.of(ratios)}, _GOAL)
