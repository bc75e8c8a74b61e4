"""Cache folders with synthetic bars, filled without querying anybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from unittest.mock import patch

import numpy as np

from onetape.data.core.cache.store import BarStore, Commit, CommitPiece
from onetape.data.core.calendars.calendar import calendar_for
from onetape.data.core.clock import ManualClock
from onetape.data.core.disk.files import Disk, DiskStep
from onetape.data.core.model.identity.kind import Basis, Kind
from onetape.data.core.model.identity.series import SeriesKey
from onetape.data.core.model.market.bars import BarTable, Stamps
from onetape.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, parse_iso, year_start
from onetape.data.core.model.time.span import Span
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.data_manager import DataManager

# All bars are from one past year, so no answer depends on the day of measuring. Queries are made at
# the time when splits and dividends were fetched: later, each answer would look for newer ones
# first.
YEAR = Span(parse_iso("2023-01-01"), parse_iso("2024-01-01"))
FETCHED = parse_iso("2024-06-03T12:00:00")
COIN = Kind("24h", "clock", "binance", "USDT", "base")
_SHARE = Kind("regular", "session", "consolidated", "USD", "shares")
FIVE_YEARS = Span(year_start(2019), YEAR.end)
# Timeframe, first year, milliseconds.
_LONG = (("1m", 2019, MINUTE_MS), ("1h", 2014, HOUR_MS), ("1d", 2014, DAY_MS))
MINUTES = (("1m", 2023, MINUTE_MS),)
_LETTERS = "QWZXVJK"
T = TypeVar("T")


@contextmanager
def stage() -> Iterator[DataManager]:
    """Yield a manager on a cache with a year of BTCUSDT (1h, 1d) and of AAPL (1d)."""
    with TemporaryDirectory() as folder, patch.dict("os.environ", ONETAPE_STATE_DIR=folder):
        manager = DataManager(Path(folder) / "cache", clock=ManualClock(FETCHED))
        _fill(manager)
        yield manager


@contextmanager
def long_stage(series: Sequence[tuple[str, int, int]] = _LONG) -> Iterator[DataManager]:
    """Yield a manager on a cache with BTCUSDT: five years of 1m, ten of 1h and of 1d."""
    with TemporaryDirectory() as folder, patch.dict("os.environ", ONETAPE_STATE_DIR=folder):
        manager = DataManager(Path(folder) / "cache", clock=ManualClock(parse_iso("2024-07-01")))
        for label, first, step in series:
            stamps = np.arange(year_start(first), YEAR.end, step, dtype=np.int64)
            span = Span(year_start(2014), YEAR.end)
            commit(manager.cache.store, "BTCUSDT", label, stamps, COIN, Basis("raw"), span)
        yield manager


@contextmanager
def crowd_stage(count: int, span: Span = FIVE_YEARS) -> Iterator[tuple[DataManager, list[str]]]:
    """Yield a manager on a cache with many stocks, five years of 1d each, and their symbols.

    ``span`` replaces these five years. Bars that had not closed when they were fetched are left out.
    """
    # Words of these letters are not known symbols; four letters make 2,401 words, five 16,807.
    length = 4 if count <= len(_LETTERS) ** 4 else 5
    symbols = ["".join(letters) for letters in islice(product(_LETTERS, repeat=length), count)]
    assert len(symbols) == count, f"{len(symbols)} of {count} symbols"
    with TemporaryDirectory() as folder, patch.dict("os.environ", ONETAPE_STATE_DIR=folder):
        manager = DataManager(Path(folder) / "cache", clock=ManualClock(FETCHED))
        store = BarStore(manager.cache.store.root, _Unsynced())
        calendar = calendar_for(manager.provider_selector.instrument(symbols[0]))
        days = Timeframe.parse("1d")
        sessions = calendar.opens(days, span)
        sessions = sessions[calendar.closes(days, sessions) <= FETCHED]
        for symbol in symbols:
            known = Basis("split", date(2024, 5, 31))
            commit(store, symbol, "1d", sessions, _SHARE, known, span)
            store.add_actions(symbol, [], Span(span.start, FETCHED), "yahoo", FETCHED)
        yield manager, symbols


class _Unsynced(Disk):
    """Does not wait for the disk: nobody will miss the files made here."""

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        """Skip the calls that wait."""
        if step.name in ("fsync", "fdatasync", "fsync_dir"):
            return None  # type: ignore[return-value]
        return call()


def _fill(manager: DataManager) -> None:
    store = manager.cache.store
    for label, step in (("1h", HOUR_MS), ("1d", DAY_MS)):
        stamps = np.arange(YEAR.start, YEAR.end, step, dtype=np.int64)
        commit(store, "BTCUSDT", label, stamps, COIN, Basis("raw"))
    calendar = calendar_for(manager.provider_selector.instrument("AAPL"))
    sessions = calendar.opens(Timeframe.parse("1d"), YEAR)
    known = Basis("split", date(2024, 5, 31))
    commit(store, "AAPL", "1d", sessions, _SHARE, known)
    store.add_actions("AAPL", [], Span(YEAR.start, FETCHED), "yahoo", FETCHED)


def commit(
    store: BarStore, symbol: str, label: str, stamps: Stamps, kind: Kind, basis: Basis,
    span: Span = YEAR,
) -> None:  # fmt: skip
    table = made_up_at(stamps)
    vendor = "binance" if kind is COIN else "yahoo"
    piece = CommitPiece(table, span, vendor, FETCHED, kind, basis, "final")
    store.commit(SeriesKey(symbol, Timeframe.parse(label)), Commit((piece,), kind=kind))


def made_up(span: Span, step_ms: int) -> BarTable:
    """Return bars without gaps."""
    return made_up_at(np.arange(span.start, span.end, step_ms, dtype=np.int64))


def made_up_at(stamps: Stamps) -> BarTable:
    """Return bars of a random walk, with two decimals in prices and three in volumes."""
    dice = np.random.default_rng(7)
    close = np.round(100 * np.exp(np.cumsum(dice.normal(0, 0.002, len(stamps)))), 2)
    volume = np.round(dice.random(len(stamps)) * 10_000, 3)
    return BarTable.of_columns(stamps, [close, close + 1, close - 1, close, volume])
