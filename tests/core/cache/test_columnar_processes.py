"""Tests many processes that write and read columnar files at once, with kills and forks."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.data.core.cache.store import BarStore, Commit
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import MINUTE_MS
from src.data.core.model.time.span import Span
from tests.core.cache.bars import (
    EVER,
    MAPPED,
    MINUTES,
    START,
    minutes,
    no_temps,
    same,
    store_in,
    table,
)
from tests.core.cache.busy import busy
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Quick
from tests.core.cache.writer import Deadly
from tests.processes import Talker, ended, fork

# Long enough to be mapped, of files that may be small.
LONG = MAPPED

pytestmark = pytest.mark.usefixtures("small_files_are_mapped")
READERS, APPENDS = (4, 60) if FULL else (2, 5)
KILLS = 200 if FULL else 4


def watch(root: Path, mode: Any) -> None:
    """Read until the input ends, by a new store now and then; print what is wrong."""

    def opened() -> BarStore:
        return store_in(root, Quick(), columnar=mode)

    ended, truth = threading.Event(), table(range(2 * LONG if not FULL else 30_000), size=MINUTE_MS)
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    store, bars, reads, held = opened(), 0, 0, list[BarTable]()
    print("ready", flush=True)
    while not ended.is_set():
        rows, coverage = store.read(MINUTES, EVER)
        if len(rows) < bars:
            print("time went back", flush=True)
        if sum(c.span.end - c.span.start for c in coverage) != len(rows) * MINUTE_MS:
            print("bars and coverage differ", flush=True)
        held = [*held[-5:], rows]
        for old in held:
            if not same(old, truth.within(Span(EVER.start, int(old.stamps[-1]) + 1))):
                print("torn", flush=True)
        reads, bars = reads + 1, len(rows)
        if reads % 3 == 0:
            store = opened()
    print("reads", reads, flush=True)


def test_readers_that_write_columns_while_bars_are_appended_read_right_bars(tmp_path: Path) -> None:
    writer = store_in(tmp_path, Quick(), columnar="map")
    writer.commit(MINUTES, Commit((minutes(0, LONG),)))
    readers = list[Talker]()
    for n in range(READERS):
        Talker(readers, partial(watch, tmp_path, ("map", "read")[n % 2]))
    assert [one.hear() for one in readers] == ["ready\n"] * READERS
    count = LONG
    for n in range(APPENDS):
        more = (1, 7, 1_100, 30)[n % 4]
        writer.commit(MINUTES, Commit((minutes(count, count + more),)))
        count += more
        assert len(writer.read(MINUTES, EVER)[0]) == count
        if n % 10 == 9:
            writer.parts.sidecars.drop(MINUTES)
    for one in readers:
        reported = one.end().splitlines()
        assert len(reported) == 1, reported
        assert int(reported[0].removeprefix("reads ")) > 0
    rows, _ = store_in(tmp_path, Quick(), columnar="map").read(MINUTES, EVER)
    assert same(rows, table(range(count), size=MINUTE_MS))
    assert no_temps(tmp_path)


# --- killed ---------------------------------------------------------------------------------


def add_until_killed(root: Path, calls: int) -> None:
    store = store_in(root, Deadly(calls), columnar="map")
    while True:
        n = len(store.read(MINUTES, EVER)[0])
        store.commit(MINUTES, Commit((minutes(n, n + (1, 7, 400)[n % 3]),)))


@pytest.mark.skipif(os.name == "nt", reason="no fork, no SIGKILL there")
def test_processes_killed_while_writing_columns_lose_no_bar(tmp_path: Path) -> None:
    count = 0
    for kill in range(KILLS):
        child = fork(partial(add_until_killed, tmp_path, 1 + kill * 17 % 61))
        assert ended(child) == -signal.SIGKILL
        rows, _ = store_in(tmp_path, Quick(), columnar=("map", "read")[kill % 2]).read(
            MINUTES, EVER
        )
        assert same(rows, table(range(len(rows)), size=MINUTE_MS))
        assert len(rows) >= count, "bars are lost"
        count = len(rows)
    assert count > 100


# --- forks ----------------------------------------------------------------------------------


def in_a_child(action: Callable[[], None]) -> int:
    """Run an action in a fork and return its exit status: 0, or 1 if it raised."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs is a failure, not a wait
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


@pytest.fixture
def store(tmp_path: Path) -> BarStore:
    """Return a store that maps its columnar files, with ``LONG`` BTCUSDT minutes read once."""
    made = store_in(tmp_path, Quick(), columnar="map")
    made.commit(MINUTES, Commit((minutes(0, LONG),)))
    made.read(MINUTES, EVER)
    return made


@pytest.mark.skipif(os.name == "nt", reason="no fork there")
def test_a_forked_child_has_its_own_frames(tmp_path: Path, store: BarStore) -> None:
    rows, truth = store.read(MINUTES, EVER)[0], table(range(LONG), size=MINUTE_MS)

    def child() -> None:
        assert same(rows, truth)
        rows.close[:] = 3.0
        fresh, _ = store.read(MINUTES, EVER)
        assert same(fresh, truth)
        fresh.open[:] = 4.0
        store.commit(MINUTES, Commit((minutes(LONG, LONG + 5),)))
        assert len(store.read(MINUTES, EVER)[0]) == LONG + 5

    assert in_a_child(child) == 0
    assert same(rows, truth)
    assert same(store.read(MINUTES, EVER)[0], table(range(LONG + 5), size=MINUTE_MS))
    assert int(rows.stamps[0]) == START
    assert not np.any(rows.close == 3.0)


@pytest.mark.skipif(os.name == "nt", reason="no fork there")
def test_a_process_forked_while_another_thread_holds_the_locks_can_read(store: BarStore) -> None:
    sidecars = store.parts.sidecars

    def child() -> None:
        sidecars.drop(MINUTES)
        assert len(store.read(MINUTES, EVER)[0]) == LONG

    with busy(store.memory):
        assert in_a_child(child) == 0
