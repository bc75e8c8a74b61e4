"""Tests that a feed started and stopped repeatedly leaves nothing behind."""

from __future__ import annotations

from src.data.core.model.market.stream import StreamState
from src.data.feed.services import feeds_of
from tests.core.cache.counts import FULL

from .conftest import BITCOIN, Stage, ours, wait_until

CYCLES = 50 if FULL else 15


def test_starts_and_stops_leave_no_thread_and_no_connection(stage: Stage) -> None:
    """It is stopped at once, while it connects, loads history or is live."""
    before = set(ours())
    feed = stage.feed(lookback=5)
    for number in range(CYCLES):
        feed.start()
        if number % 3 == 1:
            wait_until(lambda: feed.status.state is not StreamState.CONNECTING, "a connection")
        elif number % 3 == 2:
            stage.live(feed)
            assert len(feed.snapshot().bars) >= 5
        feed.stop()
        assert feed.status.state is StreamState.CLOSED
        wait_until(lambda: set(ours()) <= before, "the end of all threads")
        wait_until(lambda: not stage.streams.listening(BITCOIN), "the end of the connection")
    assert feeds_of(stage.manager).hub.connections == 0
