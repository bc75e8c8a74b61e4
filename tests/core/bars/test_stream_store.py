"""Tests how streamed bars are stored: appended as provisional, and only to the series they belong to."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.data.core.bars.stream_store import Origin, StreamKeeper, objection
from src.data.core.cache.store import BarStore, Commit, CommitPiece
from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.time.instant import MINUTE_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import StorageError
from tests.core.calendars.market import ALWAYS, BITCOIN

NOON = parse_iso("2024-07-10T12:00:00Z")
GRID = BarGrid(ALWAYS, Timeframe.parse("1m"))
KEY = SeriesKey("BTCUSDT", GRID.timeframe)
KIND = Kind("24h", "clock", "binance", "USDT", "base")
ORIGIN = Origin("binance", KIND, 2 * MINUTE_MS)


def bars(*numbers: int) -> list[Bar]:
    """Return made-up bars, so many minutes after noon."""
    return [Bar(NOON + n * MINUTE_MS, 1.0, 2.0, 0.5, 1.5, 10.0 + n) for n in numbers]


class NoRules:
    """Names no vendor: bars go to the default lane."""

    def __init__(self) -> None:
        self.downloaders: dict[str, Any] = {}

    def get_provider_with_failover(self, symbol: str, timeframe: str) -> list[str]:
        return []


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2024-07-10 12:10 UTC, ten minutes after ``NOON``."""
    return ManualClock(NOON + 10 * MINUTE_MS)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> BarStore:
    """Return an empty bar store that uses ``clock``."""
    return BarStore(tmp_path, clock=clock)


@pytest.fixture
def keeper(store: BarStore, clock: ManualClock) -> StreamKeeper:
    """Return a keeper of streamed bars over ``store``; its rules name no vendor."""
    return StreamKeeper(NoRules(), store, clock)


def stored(store: BarStore) -> list[int]:
    """Return the minutes of the bars stored."""
    table, _ = store.read(KEY, Span(0, 2 * NOON))
    return [(int(stamp) - NOON) // MINUTE_MS for stamp in table.stamps]


def put(store: BarStore, numbers: list[int], vendor: str = "binance", kind: Kind = KIND) -> None:
    """Store final bars as if they had been fetched."""
    table = BarTable.from_bars(bars(*numbers))
    span = Span(int(table.stamps[0]), int(table.stamps[-1]) + MINUTE_MS)
    piece = CommitPiece(table, span, vendor, NOON, kind, Basis("raw"), "final")
    store.commit(KEY, Commit(pieces=(piece,), kind=kind))


def test_streamed_bars_are_appended_as_provisional(store: BarStore, keeper: StreamKeeper) -> None:
    put(store, [0, 1])
    assert keeper.keep(BITCOIN, GRID, ORIGIN, bars(2, 3)) == 2
    table, coverage = store.read(KEY, Span(0, 2 * NOON))
    assert stored(store) == [0, 1, 2, 3]
    assert np.array_equal(table.volume, [10.0, 11.0, 12.0, 13.0])
    assert [(c.state, c.vendor) for c in coverage] == [
        ("final", "binance"), ("provisional", "binance"),
    ]  # fmt: skip
    # Once the first of them has settled, asking again can change the answer.
    assert store.view(KEY).next_due == NOON + 5 * MINUTE_MS


def test_a_new_series_can_begin_with_streamed_bars(store: BarStore, keeper: StreamKeeper) -> None:
    assert keeper.keep(BITCOIN, GRID, ORIGIN, bars(0, 1)) == 2
    assert store.view(KEY).kind == KIND


def test_streamed_bars_do_not_replace_stored_ones(store: BarStore, keeper: StreamKeeper) -> None:
    put(store, [0, 1, 2])
    assert keeper.keep(BITCOIN, GRID, ORIGIN, bars(1, 2, 3)) == 1
    assert keeper.keep(BITCOIN, GRID, ORIGIN, bars(3)) == 0
    assert stored(store) == [0, 1, 2, 3]
    assert store.view(KEY).coverage.within(Span(NOON, NOON + 3 * MINUTE_MS))


def test_a_bar_delivered_by_several_feeds_is_committed_once(
    store: BarStore, keeper: StreamKeeper
) -> None:
    together, kept = threading.Barrier(4), []

    def keep() -> None:
        together.wait(timeout=60)
        kept.append(keeper.keep(BITCOIN, GRID, ORIGIN, bars(0)))

    feeds = [threading.Thread(target=keep) for _ in range(4)]
    for feed in feeds:
        feed.start()
    for feed in feeds:
        feed.join(timeout=60)
    assert sorted(kept) == [0, 0, 0, 1]
    assert store.view(KEY).generation == 1


def test_a_minute_missing_between_streamed_bars_is_not_covered(
    store: BarStore, keeper: StreamKeeper
) -> None:
    keeper.keep(BITCOIN, GRID, ORIGIN, bars(0, 1, 4))
    spans = [c.span for c in store.view(KEY).coverage]
    assert not any(NOON + 2 * MINUTE_MS in span for span in spans)
    assert not any(NOON + 3 * MINUTE_MS in span for span in spans)


@pytest.mark.parametrize("vendor, kind", [
    ("yahoo", KIND), ("binance", replace(KIND, venue="aggregate")),
    ("binance", replace(KIND, volume="quote")), ("binance", replace(KIND, session="regular")),
])  # fmt: skip
def test_streamed_bars_are_not_stored_next_to_bars_of_another_vendor_or_kind(
    store: BarStore, keeper: StreamKeeper, vendor: str, kind: Kind
) -> None:
    put(store, [0, 1], vendor, kind)
    assert keeper.keep(BITCOIN, GRID, ORIGIN, bars(2)) == 0
    assert stored(store) == [0, 1]


def test_streamed_bars_of_another_kind_cannot_answer_for_a_series(
    store: BarStore, clock: ManualClock
) -> None:
    put(store, [0, 1])
    span = Span(NOON, NOON + MINUTE_MS)
    query = BarsQuery(BITCOIN, GRID.timeframe, span, clock.now_ms())
    other = replace(KIND, venue="kraken")
    assert objection(NoRules(), store, query, "kraken", other) == (
        "its bars are of kraken, the series has bars of binance"
    )


def test_a_full_disk_is_logged_and_streamed_bars_are_not_stored(
    store: BarStore, keeper: StreamKeeper, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def refuse(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(store, "commit", refuse)
    assert keeper.keep(BITCOIN, GRID, ORIGIN, bars(0)) == 0
    assert "the disk is full" in caplog.text


# --- corrections, and what has not closed ------------------------------------------------------


def corrected(number: int) -> list[Bar]:
    """Return a bar with another volume."""
    return [bar._replace(volume=99.0) for bar in bars(number)]


def volumes(store: BarStore) -> list[float]:
    table, _ = store.read(KEY, Span(0, 2 * NOON))
    return list(table.volume)


def test_a_correction_replaces_an_unsettled_bar_of_the_same_vendor(
    store: BarStore, keeper: StreamKeeper
) -> None:
    keeper.keep(BITCOIN, GRID, ORIGIN, bars(0, 1, 2))
    assert keeper.keep(BITCOIN, GRID, ORIGIN, corrected(1)) == 0, "the bar is not a correction"
    assert keeper.keep(BITCOIN, GRID, ORIGIN, corrected(1), is_revision=True) == 1
    assert volumes(store) == [10.0, 99.0, 12.0]
    assert {part.state for part in store.view(KEY).coverage} == {"provisional"}


@pytest.mark.parametrize("vendor", ["binance", "other"])
def test_a_correction_changes_neither_final_bars_nor_bars_of_another_vendor(
    store: BarStore, keeper: StreamKeeper, vendor: str
) -> None:
    if vendor == "binance":
        put(store, [0, 1])
    else:
        keeper.keep(BITCOIN, GRID, replace(ORIGIN, vendor=vendor), bars(0, 1))
    assert keeper.keep(BITCOIN, GRID, ORIGIN, corrected(1), is_revision=True) == 0
    assert volumes(store) == [10.0, 11.0]


@pytest.mark.parametrize(
    ("reason", "stored_now"),
    [("the vendor does not have this bar any more", 1), ("grave: unit", 0)],
)
def test_a_correction_replaces_a_suspect_bar_unless_it_is_grave(
    store: BarStore, keeper: StreamKeeper, reason: str, stored_now: int
) -> None:
    keeper.keep(BITCOIN, GRID, ORIGIN, bars(0, 1, 2))
    (part,) = store.view(KEY).coverage
    second = Span(bars(1)[0].stamp_ms, bars(2)[0].stamp_ms)
    store.commit(KEY, Commit(marks=(replace(part, span=second, state="suspect", reason=reason),)))
    assert keeper.keep(BITCOIN, GRID, ORIGIN, corrected(1), is_revision=True) == stored_now
    assert volumes(store)[1] == (99.0 if stored_now else 11.0)


def test_a_streamed_bar_still_forming_by_our_clock_is_not_stored(
    store: BarStore, keeper: StreamKeeper, clock: ManualClock
) -> None:
    assert keeper.keep(BITCOIN, GRID, ORIGIN, bars(8, 9, 10)) == 2
    assert stored(store) == [8, 9]
    clock.advance(60)
    assert keeper.keep(BITCOIN, GRID, ORIGIN, bars(10)) == 1
