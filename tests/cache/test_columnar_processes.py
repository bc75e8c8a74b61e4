"""Many processes keep and read columns at once; some are killed, some are forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from src.data.cache.store import BarStore, Commit
from src.data.model.instant import MINUTE_MS
from tests.cache.bars import EVER, MINUTES, START, minutes, no_temps, same, store_in, table
from tests.cache.busy import busy
from tests.cache.counts import FULL
from tests.cache.crash import Quick

ROOT = Path(__file__).parents[2]
# Long enough to be mapped.
LONG = 20_000
READERS, APPENDS = (4, 60) if FULL else (2, 10)
KILLS = 200 if FULL else 10

WATCH = """
import sys, threading
from pathlib import Path
from src.data.model.instant import MINUTE_MS
from tests.cache.bars import EVER, MINUTES, same, store_in, table
from tests.cache.crash import Quick
root, mode = Path(sys.argv[1]), sys.argv[2]
open_ = lambda: store_in(root, Quick(), columnar=mode)
ended, truth = threading.Event(), table(range(40_000), size=MINUTE_MS)
store, bars, reads, held = open_(), 0, 0, []
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print("ready", flush=True)
while not ended.is_set():
    rows, coverage = store.read(MINUTES, EVER)
    if len(rows) < bars:
        print("time went back", flush=True)
    if sum(c.span.end - c.span.start for c in coverage) != len(rows) * MINUTE_MS:
        print("bars and coverage differ", flush=True)
    held = [*held[-5:], rows]
    for old in held:
        if not same(old, truth.within(type(EVER)(EVER.start, int(old.stamps[-1]) + 1))):
            print("torn", flush=True)
    reads, bars = reads + 1, len(rows)
    if reads % 3 == 0:
        store = open_()
print("reads", reads, flush=True)
"""


def test_readers_that_keep_columns_while_bars_are_added(tmp_path: Path) -> None:
    writer = store_in(tmp_path, Quick(), columnar="map")
    writer.commit(MINUTES, Commit((minutes(0, LONG),)))
    with ExitStack() as stack:
        readers = [
            stack.enter_context(subprocess.Popen(
                [sys.executable, "-c", WATCH, str(tmp_path), ("map", "map", "read", "map")[n]],
                cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )) for n in range(READERS)
        ]  # fmt: skip
        for process in readers:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        count = LONG
        for n in range(APPENDS):
            more = (1, 7, 1_100, 30)[n % 4]
            writer.commit(MINUTES, Commit((minutes(count, count + more),)))
            count += more
            assert len(writer.read(MINUTES, EVER)[0]) == count
            if n % 10 == 9:
                writer.parts.sidecars.drop(MINUTES)
        for process in readers:
            told = process.communicate()[0].splitlines()
            assert len(told) == 1, told
            assert int(told[0].removeprefix("reads ")) > 0
    rows, _ = store_in(tmp_path, Quick(), columnar="map").read(MINUTES, EVER)
    assert same(rows, table(range(count), size=MINUTE_MS))
    assert no_temps(tmp_path)


# --- killed ---------------------------------------------------------------------------------

KILLED = """
import os, sys
from pathlib import Path
from src.data.cache.store import Commit
from tests.cache.bars import EVER, MINUTES, START, minutes, store_in
from tests.cache.writer import Deadly
def work(root, calls):
    store = store_in(root, Deadly(calls), columnar="map")
    while True:
        rows, _ = store.read(MINUTES, EVER)
        n = len(rows)
        store.commit(MINUTES, Commit((minutes(n, n + (1, 7, 400)[n % 3]),)))
for line in sys.stdin:
    root, calls = line.split()
    child = os.fork()
    if child == 0:
        work(Path(root), int(calls))
    print(os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="no fork, no SIGKILL there")
def test_killed_while_columns_are_kept(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=ROOT, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        count = 0
        for kill in range(KILLS):
            server.stdin.write(f"{tmp_path} {1 + kill * 17 % 61}\n")
            server.stdin.flush()
            assert int(server.stdout.readline()) == signal.SIGKILL
            rows, _ = store_in(tmp_path, Quick(), columnar=("map", "read")[kill % 2]).read(
                MINUTES, EVER
            )
            assert same(rows, table(range(len(rows)), size=MINUTE_MS))
            assert len(rows) >= count, "bars are gone"
            count = len(rows)
        server.stdin.close()
    assert count > 100


# --- forks ----------------------------------------------------------------------------------


def in_a_child(deed: Callable[[], None]) -> int:
    """Run a deed in a fork and return its exit status: 0, or 1 where it raised."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs is a failure, not a wait
        status = 1
        try:
            deed()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


@pytest.fixture
def store(tmp_path: Path) -> BarStore:
    made = store_in(tmp_path, Quick(), columnar="map")
    made.commit(MINUTES, Commit((minutes(0, LONG),)))
    made.read(MINUTES, EVER)
    return made


@pytest.mark.skipif(os.name == "nt", reason="no fork there")
def test_a_child_has_frames_of_its_own(tmp_path: Path, store: BarStore) -> None:
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
def test_a_fork_while_another_thread_is_at_the_files(store: BarStore) -> None:
    sidecars = store.parts.sidecars

    def child() -> None:
        sidecars.drop(MINUTES)
        assert len(store.read(MINUTES, EVER)[0]) == LONG

    with busy(store.memory):
        assert in_a_child(child) == 0
