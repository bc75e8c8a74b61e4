"""Hours of streaming with broken connections: memory, threads and descriptors stay constant.

``make soak`` runs for an hour (``MINUTES=...``) at ten minutes of the market per second; in the test suite,
it streams half an hour of the market as fast as possible.
"""

from __future__ import annotations

import ctypes
import gc
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from src.data.core.model.market.stream import LiveBar
from src.data.core.model.time.instant import MINUTE_MS
from src.data.core.runtime.resources import memory

from .conftest import PATIENCE, Stage, ours

SOAK_S = 60 * float(os.environ.get("ONETAPE_SOAK_MINUTES", "0"))
FEEDS = 3
_SHORT = 36  # minutes of the market
_PACE_S = 0.1
_SAMPLES = 12
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_MOST_GROWTH = 5 * 2**20
# Bars that are stored beforehand: of so many the columns are mapped, and memory has its final shape.
_STORED = 20_000


class Sample(NamedTuple):
    """What the process holds at one moment."""

    memory: int
    threads: int
    descriptors: int


class Follower:
    """Checks that bars follow one another, and keeps none."""

    def __init__(self) -> None:
        self.given = 0
        self.last: int | None = None
        self.wrong: list[LiveBar] = []

    def __call__(self, bar: LiveBar) -> None:
        if self.last is not None and bar.stamp_ms != self.last + MINUTE_MS:
            self.wrong.append(bar)
        self.given, self.last = self.given + 1, bar.stamp_ms


def minutes() -> Iterator[float]:
    """Yield, for each minute of the market, the share of the soak that is over."""
    if not SOAK_S:
        yield from (number / _SHORT for number in range(_SHORT))
        return
    began, pause = time.monotonic(), threading.Event()
    while (spent := time.monotonic() - began) < SOAK_S:
        yield spent / SOAK_S
        pause.wait(_PACE_S)


def pass_minute(stage: Stage, number: int) -> None:
    """Let a minute of the market pass; of twenty one loses the connection, and one its message."""
    if number == 10:
        stage.peer.reset()
    stage.minute(publish=number not in (10, 15))
    if number == 15:
        stage.clock.advance(PATIENCE.grace + 1)


def sample() -> Sample:
    """Look at what the process holds, without what the allocator keeps for later."""
    gc.collect()
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)
    used = memory().used
    assert used is not None
    return Sample(used, len(ours()), len(os.listdir("/proc/self/fd")))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.timeout(0)
def test_memory_threads_and_descriptors_stay_flat(stage: Stage) -> None:
    assert len(stage.manager.get_ohlcv("BTCUSDT", "1m", bars=_STORED)) == _STORED
    feeds = [stage.feed(lookback=50) for _ in range(FEEDS)]
    followers = [Follower() for _ in feeds]
    samples: list[Sample] = []
    with ExitStack() as stack:
        for feed, follower in zip(feeds, followers, strict=True):
            feed.on_bar(follower)
            stack.enter_context(feed)
        for number, share in enumerate(minutes()):
            pass_minute(stage, number % 20)
            for feed in feeds:
                stage.live(feed)
            if share * _SAMPLES >= len(samples):
                # What the tests' own servers remember is not what is measured.
                stage.vendors.clear_log()
                stage.streams.peers[:] = [peer for peer in stage.streams.peers if peer.is_open]
                samples.append(sample())
                print(f"{share:4.0%}", number, samples[-1])  # for who waits an hour
    assert [follower.wrong for follower in followers] == [[]] * FEEDS
    assert min(follower.given for follower in followers) > number
    check_flat(samples)


def check_flat(samples: list[Sample]) -> None:
    """Compare the last third with the second: the first one warms up."""
    third = len(samples) // 3
    before, after = samples[third : 2 * third], samples[2 * third :]
    grown = statistics.median(s.memory for s in after) - statistics.median(s.memory for s in before)
    assert grown < _MOST_GROWTH, f"memory grew by {grown / 2**20:.1f} MiB: {samples}"
    # A request that is under way has a thread and a descriptor, and a connection that is just breaking has
    # two: how many samples see them depends on the load. What leaks is in all later samples.
    assert min(s.threads for s in after) <= min(s.threads for s in before), samples
    assert min(s.descriptors for s in after) <= min(s.descriptors for s in before), samples


@pytest.mark.parametrize("leak", ["memory", "threads", "descriptors"])
def test_a_leak_fails_the_check(leak: str) -> None:
    flat = [Sample(100_000_000, 9, 20)] * _SAMPLES
    check_flat(flat)
    grown = [s._replace(**{leak: getattr(s, leak) * (8 + n) // 8}) for n, s in enumerate(flat)]
    with pytest.raises(AssertionError):
        check_flat(grown)
