"""Tests writers killed with SIGKILL at any file system call: acknowledged bars are stored.

A child process forks one writer after another on the same cache. Each continues where the last one was
killed, and is killed before or during a call that is selected by counting, not by time.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.data.core.model.time.instant import DAY_MS
from tests.core.cache import writer
from tests.core.cache.bars import DAILY, EVER, START, no_temps, numbers, repaired, store_in, table
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Quick
from tests.core.cache.writer import shift_of
from tests.processes import Talker

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no fork, no SIGKILL there")

KILLS = 1000 if FULL else 6


@contextmanager
def serving(how: str) -> Iterator[Talker]:
    def main() -> None:
        sys.argv = ["", how]
        writer.main()

    server = Talker([], main)
    try:
        yield server
    finally:
        server.end()


@pytest.fixture(scope="module")
def server() -> Iterator[Talker]:
    """Yield a process that forks writers, each to be killed at the call that the test names."""
    with serving("killed") as child:
        yield child


def killed(server: Talker, root: Path, calls: int) -> list[str]:
    """Run a writer until it is killed; return what it acknowledged."""
    server.tell(f"{root} {calls}")
    died_of, _, reported = server.hear().rstrip("\n").partition(";")
    assert died_of == str(int(signal.SIGKILL))
    return reported.split(",")[:-1]


class Known:
    """What has been acknowledged so far."""

    def __init__(self) -> None:
        self.bars: set[int] = set()
        self.revised: set[int] = set()
        self.doubted: set[int] = set()

    def add(self, told: list[str]) -> None:
        for what, n in (line.split() for line in told):
            {"bar": self.bars, "revised": self.revised, "doubted": self.doubted}[what].add(int(n))

    def check(self, root: Path) -> int:
        """Open the cache as a new process does; return how many bars it has."""
        store = store_in(root, Quick())
        repaired(store, DAILY)
        rows, coverage = store.read(DAILY, EVER)
        held = numbers(rows)
        assert self.bars <= set(held), "acknowledged bars are lost"
        for n, close in zip(held, rows.close.tolist(), strict=True):
            new, old = (table([n], shift).close[0] for shift in (shift_of(n), 0.0))
            assert close == new if n in self.revised else close in (old, new), f"bar {n} is wrong"
        state = {(c.span.start - START) // DAY_MS + k: c.state for c in coverage
                 for k in range((c.span.end - c.span.start) // DAY_MS)}  # fmt: skip
        for n in self.doubted:
            assert state[n] == "suspect", f"bar {n} is trusted again"
        assert set(state) == set(held)
        # A series without a year has nothing to repair: its next writer removes them.
        assert no_temps(root) or not held
        return len(held)


def survive(root: Path, server: Talker, kills: int, most: int = 83) -> None:
    known, count = Known(), 0
    for kill in range(kills):
        if count > 300:
            root, known, count = root.with_name(f"cache{kill}"), Known(), 0
        known.add(killed(server, root, 1 + kill * 37 % most))
        now = known.check(root)
        assert now >= count, "bars are missing"
        count = now
    assert len(known.bars) > 20


def test_acknowledged_commits_survive_kills(tmp_path: Path, server: Talker) -> None:
    survive(tmp_path / "cache", server, KILLS, 83 if FULL else 197)


@pytest.mark.parametrize("how", ["in-place", "early"])
def test_writers_without_a_guard_are_detected(tmp_path: Path, how: str) -> None:
    with serving(how) as server, pytest.raises(AssertionError, match=r"lost|wrong|gone|trusted"):
        survive(tmp_path / "cache", server, 30)


def test_a_killed_writer_releases_the_lock(tmp_path: Path, server: Talker) -> None:
    for calls in range(8, 24, 5 if FULL else 10):
        killed(server, tmp_path, calls)
        repaired(store_in(tmp_path, Quick(), lock_timeout_s=0.2), DAILY)
