"""Writers on two hosts that are killed again and again lose no acknowledged commit, and store none twice."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from src.data.core.cache.store import BarStore
from src.data.core.cache.values import Commit
from src.data.core.clock import ManualClock
from src.data.core.hosts.folder import shared_store
from src.data.core.hosts.postgres import PostgresFiles
from src.data.core.hosts.state import host_state, verify
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.instant import MINUTE_MS
from src.data.core.net.limits import leases
from src.data.errors import LockTimeoutError, OvertakenError
from tests.core.cache.bars import EVER, MINUTES, NOW, minutes, numbers
from tests.core.cache.counts import FULL
from tests.core.hosts.test_store import contents, position
from tests.processes import ended, fork

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no fork, no SIGKILL there")

WRITERS, KILLS, COMMITS = (8, 80, 4_200) if FULL else (4, 6, 60)
SERIES = [SeriesKey(f"S{n}", MINUTES.timeframe) for n in range(4)]
PAIRS = [(key.symbol, key.timeframe) for key in SERIES]


class Writers:
    """Processes on two hosts; each commits single bars of its own, and reports them in a pipe."""

    def __init__(self, url: str, root: Path, seed: int) -> None:
        self._url, self._root, self._random = url, root, random.Random(seed)
        self._reader, self._writer = os.pipe()
        self._steps, self._rest = count(), b""
        self.acknowledged: list[set[int]] = [set() for _ in SERIES]
        self._running = [self._start(n) for n in range(WRITERS)]

    def store(self, name: str) -> BarStore:
        """Return the store of a host, with a connection of its own."""
        shared = PostgresFiles(self._url, name)
        return shared_store(shared, self._root / name, clock=ManualClock(NOW))

    def _start(self, n: int) -> int:
        # A life has 100 bars of its own, between those of others: they are stored in any order.
        life = next(self._steps)
        return fork(lambda: self._write(f"host{n % 2}", life))

    def _write(self, host: str, life: int) -> None:
        os.close(self._reader)
        store, chosen = self.store(host), random.Random(life)
        for step in count():
            number = life + step * 200
            series = chosen.randrange(len(SERIES))
            # Others were faster for 20 times, or 30 s: not acknowledged.
            with suppress(OvertakenError, LockTimeoutError):
                store.commit(SERIES[series], Commit((minutes(number, number + 1),)))
                os.write(self._writer, f"{series} {number}\n".encode())
            if chosen.random() < 0.1:
                store.hosts.pull(PAIRS)

    def run(self, commits: int) -> None:
        """Wait until so many further commits are acknowledged."""
        while commits > 0:
            data = os.read(self._reader, 1 << 12)
            assert data, "all writers have ended"
            *lines, self._rest = (self._rest + data).split(b"\n")
            commits -= len(lines)
            for series, number in (line.split() for line in lines):
                self.acknowledged[int(series)].add(int(number))

    def kill(self, *, restart: bool = True) -> None:
        """Kill a writer, at whatever it does just now, and start another one."""
        n = self._random.randrange(len(self._running))
        os.kill(self._running[n], signal.SIGKILL)
        assert ended(self._running.pop(n)) == -signal.SIGKILL, "a writer has failed"
        if restart:
            self._running.insert(n, self._start(n))

    def end(self) -> None:
        """Kill all writers, and read what they have reported."""
        while self._running:
            self.kill(restart=False)
        os.write(self._writer, b"0 -1\n")
        while -1 not in self.acknowledged[0]:
            self.run(1)
        self.acknowledged[0].remove(-1)


def test_no_acknowledged_commit_of_killed_writers_on_two_hosts_is_lost_or_stored_twice(
    log_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_LONGEST_POLL_S", leases._FIRST_POLL_S)
    PostgresFiles(log_url).store_id()
    writers = Writers(log_url, tmp_path, seed=KILLS)
    for _ in range(KILLS):
        writers.run(COMMITS // KILLS)
        writers.kill()
    writers.run(COMMITS % KILLS + 1)
    writers.end()
    hosts = [writers.store(name) for name in ("host0", "host1", "new")]
    for host in hosts:
        host.hosts.pull(PAIRS)
        assert host_state(host.hosts).state == "in step" and not list(verify(host.hosts, deep=True))
    for key, acknowledged in zip(SERIES, writers.acknowledged, strict=True):
        first, *others = (contents(host, key) for host in hosts)
        assert [first, first] == others
        stored = numbers(hosts[0].read(key, EVER)[0], MINUTE_MS)
        assert sorted(set(stored)) == stored and acknowledged <= set(stored)
        assert len(stored) <= position(hosts[0], key), "each commit has one bar"
        assert "_quarantine/2024.rows.csv.gz" not in first
    assert sum(map(len, writers.acknowledged)) >= COMMITS
