"""Ctrl-C at any point leaves no lease and no lock behind."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from src.data.core.bars import observer
from src.data.core.clock import ManualClock
from src.data.core.disk import lock
from src.data.core.net.calls import deadline
from src.data.core.net.limits import leases, state, state_tables
from src.data.core.net.limits.leases import Leases
from src.data.core.net.limits.state import State
from src.data.core.observability import logs
from src.data.core.runtime import lru_cache
from src.data.data_manager import DataManager
from tests.core.cache.counts import FULL
from tests.interrupts import interrupted
from tests.vendor_server import VendorServer

LEASES = {str(m.__file__) for m in (leases, state, state_tables, contextlib)}
LOCKS = {str(m.__file__) for m in (lock, contextlib)}
HELD = {str(lru_cache.__file__)}
NAME = "BTCUSDT/1h"


def places() -> Iterator[int]:
    return itertools.count(1)


def in_time(action: Callable[[], object]) -> None:
    """Run ``action`` in another thread, where locks of this one count; it may take a second."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(2)
    assert not thread.is_alive(), "it waits for a lock"
    assert not failed


def test_an_interrupt_at_any_line_releases_the_lease(tmp_path: Path, clock: ManualClock) -> None:
    mine, others = State(tmp_path, clock), State(tmp_path, clock)
    others.run(lambda b: None)

    def hold() -> None:
        with Leases(mine).hold(NAME):
            pass

    for place in places():
        if not interrupted(place, hold, LEASES):
            break
        assert others.run(lambda b: b.lease(NAME)) is None, f"left behind at place {place}"
        assert others.run(lambda b: b.lost_s) is None, f"the book was given up at place {place}"
    assert place > 60
    assert clock.slept == []


def test_a_lease_whose_release_was_interrupted_can_be_taken_again(
    tmp_path: Path, clock: ManualClock
) -> None:
    """A second interrupt comes during the cleanup of the first; the process recovers its lease."""
    mine = State(tmp_path, clock)
    with pytest.MonkeyPatch.context() as patch:

        def fail(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(State, "finish", fail)
        with pytest.raises(KeyboardInterrupt), Leases(mine).hold(NAME):
            pass
    assert mine.run(lambda b: b.lease(NAME)) is not None
    with Leases(State(tmp_path, clock)).hold(NAME) as lease:
        assert lease.is_held
        assert not lease.has_waited


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_line_releases_the_lock(tmp_path: Path) -> None:
    mine, path = lock.Locks(), tmp_path / ".lock"

    def hold() -> None:
        with mine.hold(path, 1.0):
            pass

    def again() -> None:
        with mine.hold(path, 0.0), pytest.raises(lock.LockTimeoutError), lock.Locks().hold(path, 0):
            pass

    for place in places():
        if not interrupted(place, hold, LOCKS):
            break
        in_time(again)
    assert place > 30


def _use(memory: lru_cache.LruCache) -> None:
    for number in range(4):
        memory.get(number)
        memory.put(number, "value", 10)
    memory.drop(3)


def test_an_lru_cache_can_be_used_after_an_interrupt_at_any_line() -> None:
    for place in places():
        memory = lru_cache.LruCache(25)
        was_interrupted = interrupted(place, partial(_use, memory), HELD)
        in_time(partial(memory.drop, 0))
        assert memory.size == 10 * len(memory)
        if not was_interrupted:
            break
    assert place > 20


@pytest.fixture
def make(vendors: VendorServer, clock: ManualClock, tmp_path: Path) -> Callable[[], DataManager]:
    """Return a maker of managers on one cache folder; Binance is the local vendor server."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(f"providers: {{binance: {{base_url: '{vendors.base_url('binance')}'}}}}\n")
    return lambda: DataManager(tmp_path / "cache", rules, clock=clock)


def test_a_call_after_an_interrupted_fetch_waits_for_no_lock(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    """The whole library, interrupted while it fetches; then the same question by another object."""
    root = Path(leases.__file__).parents[3]
    files = {str(path) for path in root.rglob("*.py")} | {str(contextlib.__file__)}
    manager = make()

    def ask(day: int, manager: DataManager) -> int:
        start = f"2024-01-{day:02d}"
        frame = manager.get_ohlcv("BTCUSDT", "1h", start, start, provider="binance")
        return len(frame)

    assert ask(1, manager) == 24
    for number, place in enumerate(range(50, 30_000, 150 if FULL else 4003)):
        slept, begun, day = sum(clock.slept), time.monotonic(), 2 + number % 27
        interrupted(place, partial(ask, day, manager), files)
        assert ask(day, make()) == 24
        assert sum(clock.slept) - slept < 5, f"waited at place {place}"
        assert time.monotonic() - begun < 15


def test_an_interrupted_call_leaves_no_state_for_the_next_one(manager: DataManager) -> None:
    """In the same thread, no state of the call, its log context or its deadline remains."""
    files = {str(m.__file__) for m in (deadline, observer, logs, contextlib)}
    calls = 0
    for place in itertools.count(1, 1 if FULL else 37):
        day = f"2024-05-{place % 28 + 1:02}"
        ask = partial(manager.get_ohlcv, "BTCUSDT", "1h", day, day, force_refresh=True)
        if not interrupted(place, ask, files):
            break
        assert logs.current.get() is None
        assert deadline.current_call() is not deadline.current_call()
        assert deadline.within(60.0, deadline.left_s) > 59
        calls += 1
    assert calls > 3
