"""Pruning of the log by hosts while others are killed, are behind, or have a wrong clock."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from src.data.cache.values import Commit
from src.data.clock import ManualClock
from src.data.hosts.log import Log
from src.data.hosts.state import host_state
from src.data.hosts.store import SharedStore
from src.data.model.retention import Age
from tests.cache.bars import DAILY, NOW, mark
from tests.cache.counts import FULL, crossed
from tests.processes import ended, fork

from .test_snapshots import PAIR, bars, entries, filled, rows, same, shown

Hosts = Callable[..., SharedStore]


@pytest.fixture
def hosts(log_url: str, tmp_path: Path) -> Iterator[Hosts]:
    """Return a function that returns the store of a host, with a connection and a clock of its own."""
    logs: list[Log] = []

    def make(name: str, ahead_ms: int = 0) -> SharedStore:
        logs.append(Log(log_url))
        return SharedStore(logs[-1], tmp_path / name, clock=ManualClock(NOW + ahead_ms))

    yield make
    for log in logs:
        log.close()


def _deadly(statement: int, moment: str) -> Callable[[Log, Any], Any]:
    """Return a function that runs statements, and kills the process at one of them."""
    left, run = [statement], Log.run

    def act(log: Log, work: Any) -> Any:
        left[0] -= 1
        if not left[0] and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = run(log, work)
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return act


@pytest.mark.parametrize(
    "statement, moment", crossed(range(1, 10) if FULL else (1, 5, 7), ["before", "after"])
)
def test_a_host_killed_between_pruning_and_the_next_snapshot_loses_no_bar(
    log_url: str, tmp_path: Path, hosts: Hosts, statement: int, moment: str
) -> None:
    """The log is pruned up to the old snapshot before the next one covers what follows."""
    a, behind = hosts("a"), hosts("behind")
    filled(a)
    behind.pull([PAIR])
    for n in range(3):
        a.commit(DAILY, bars(910 + n, 911 + n))
    a.snapshot(DAILY)
    for n in range(3):
        a.commit(DAILY, bars(920 + n, 921 + n))
    for store in (a, behind):
        store.shared.close()

    def work() -> None:
        store = SharedStore(Log(log_url), tmp_path / "a", clock=ManualClock(NOW), keep=Age(1, "d"))
        store.shared.store_id()
        Log.run = _deadly(statement, moment)  # type: ignore[method-assign, assignment]
        store.snapshots.prune(-1)
        store.snapshot(DAILY)
        store.snapshots.prune(-1)

    assert ended(fork(work)) in (0, -signal.SIGKILL)
    left = entries(log_url)
    [(pruned, seq)] = rows(log_url, "select pruned, seq from onetape.snapshot")
    assert left == list(range(pruned + 1, 16)) and pruned < seq
    for other in (hosts("new"), hosts("behind"), hosts("a")):
        other.pull([PAIR])
        assert same(a, other) and host_state(other).state == "in step"
        assert entries(log_url) == left, "nothing is offered again"


def _prepared(hosts: Hosts, state: str) -> SharedStore:
    """Return the third host, with bars of its own that it has added to the log."""
    c = hosts("c")
    if state != "new":
        c.commit(DAILY, bars(0, 3, shift=2.0))
        c.commit(DAILY, bars(170, 173))
    if state == "damaged":
        path = c.parts.lane(DAILY).paths.data(2024)
        path.write_bytes(path.read_bytes()[:-9])
    if state == "other history":  # the server is restored, and others go on
        c.commit(DAILY, bars(700, 702))
    return c


@pytest.mark.parametrize(
    "turns, state",
    crossed(range(1, 12) if FULL else (1, 2, 4), ["new", "behind", "damaged", "other history"]),
)
def test_a_host_behind_two_others_that_prune_and_snapshot_loses_no_bar(
    hosts: Hosts, log_url: str, monkeypatch: pytest.MonkeyPatch, state: str, turns: int
) -> None:
    """Before each of its statements, another host adds an entry, makes a snapshot, and prunes."""
    a, b, c = hosts("a"), hosts("b"), _prepared(hosts, state)
    if state == "other history":
        rows(log_url, "delete from onetape.entry where seq = 3")
        rows(
            log_url,
            "update onetape.series s set (seq, head) = (select e.seq, e.token from onetape.entry e"
            " where e.series = s.id order by e.seq desc limit 1)",
        )
    for store in (a, b):
        store.pull([PAIR])
    filled(a)
    a.snapshot(DAILY)
    a.snapshots.prune(-1)
    run, left = Log.run, [turns]

    def act(log: Log, work: Any) -> Any:
        if log is c.shared and left[0]:
            left[0] -= 1
            other = (a, b)[left[0] % 2]
            first = 1000 + 2 * left[0]
            other.commit(DAILY, bars(first, first + 1))
            other.commit(DAILY, Commit(marks=(mark(first + 1, first + 2, "empty"),)))
            assert other.snapshot(DAILY)
            other.snapshots.prune(-1)
        return run(log, work)

    monkeypatch.setattr(Log, "run", act)
    c.pull([PAIR])
    monkeypatch.undo()
    for store in (a, b, c):
        store.pull([PAIR])
    assert same(a, b) and same(a, c), "all have the same bytes"
    new = {1000 + 2 * n for n in range(left[0], turns)}
    assert new < set(shown(c)) and turns > left[0]
    if state == "other history":
        assert {700, 701} < set(shown(a)), "entries lost by the server are offered again"
    else:
        assert host_state(c).state == "in step"
        assert a.position(DAILY) == c.position(DAILY)
    [(pruned,)] = rows(log_url, "select pruned from onetape.snapshot")
    assert entries(log_url)[0] == pruned + 1
