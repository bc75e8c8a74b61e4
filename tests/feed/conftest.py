"""Fixtures for live feeds over real sockets: the scripted server is the vendor, including its stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import LiveBar, StreamState, StreamStatus, Topic
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.time.instant import MINUTE_MS, SECOND_MS, parse_iso
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.vendors.binance.stream import BinanceStream
from src.data.data_manager import DataManager
from src.data.feed.live_feed import LiveFeed
from src.data.feed.live_feeds import FeedTimings
from src.data.feed.queue import Mailbox
from src.data.feed.selection import plain_feed
from src.data.feed.services import feeds_of
from src.data.feed.sources.stream import StreamTimings
from src.data.feed.streams.connection import ConnectionTimings
from tests.vendor_server import VendorServer
from tests.vendor_server.streams import Peer, StreamServer

SOON_S = 20.0
FAST = RetryPolicy(first_s=0.002, cap_s=0.005)
# The vendors' own times are of hours of the tests' clock, which jumps; those of the feed are real.
PULSE = ConnectionTimings(tick=0.005, backoff=FAST, scale=1e6)
# Waits between questions are of the tests' clock, which stands still meanwhile.
PATIENCE = StreamTimings(tick=0.005, retry=RetryPolicy(first_s=0.0))
BITCOIN = Topic("BTCUSDT", "1m")


def wait_until(done: Callable[[], object], what: str = "it") -> None:
    """Wait for other threads to get so far."""
    pause = threading.Event()
    for _ in range(int(SOON_S / 0.002)):
        if done():
            return
        pause.wait(0.002)
    assert done(), f"{what} did not happen in time"


def wait_for_reader(streams: StreamServer, topic: Topic) -> None:
    """Wait until the feed has read what was sent: what is unread would be silence to the feed."""
    [peer] = streams.listening(topic)
    if not peer.is_mute:
        before = peer.pongs
        peer.ping()
        wait_until(lambda: peer.pongs > before, "a pong")


def emptied(box: Mailbox) -> list[object]:
    """Return all that waits in a mailbox."""
    return [box.get() for _ in range(len(box))]


def bars_in(items: list[object]) -> list[LiveBar]:
    """Return the bars among items."""
    return [item for item in items if isinstance(item, LiveBar)]


class Stage:
    """A feed of Binance's BTCUSDT 1m over the local server, and what it takes to test it."""

    def __init__(self, clock: ManualClock, vendors: VendorServer, streams: StreamServer,
                 manager: DataManager) -> None:  # fmt: skip
        self.clock, self.vendors, self.streams, self.manager = clock, vendors, streams, manager
        self.began = clock.now_ms()

    def feed(self, lookback: int = 20, tempo: FeedTimings | None = None) -> LiveFeed:
        """Return a feed that is not started."""
        feeds_of(self.manager).tempo = tempo or FeedTimings(PULSE, PATIENCE)
        return plain_feed(self.manager, ("BTCUSDT", "1m", lookback))

    def live(self, feed: LiveFeed) -> None:
        """Wait until a feed is live up to now."""
        last = self.closed_ms

        def is_live() -> bool:
            if feed.status.state is StreamState.STALE:  # after so much silence a sign is wanted
                self.streams.publish("binance", *BITCOIN, last + MINUTE_MS, is_closed=False)
            return feed.status.state is StreamState.LIVE and self.has(feed, last)

        wait_until(is_live, "LIVE")

    def has(self, feed: LiveFeed, stamp_ms: int) -> bool:
        """Tell whether a bar was given."""
        bars = feed.snapshot().bars
        return bool(bars) and bars[-1].stamp_ms >= stamp_ms

    @property
    def closed_ms(self) -> int:
        """Stamp of the last bar that has closed."""
        return self.clock.now_ms() // MINUTE_MS * MINUTE_MS - MINUTE_MS

    def minute(self, *, publish: bool = True) -> int:
        """Advance to a second after the next close, and publish that bar. Return its timestamp."""
        self.clock.advance(61 - self.clock.now_ms() % MINUTE_MS / SECOND_MS)
        if publish:
            self.streams.publish("binance", *BITCOIN, self.closed_ms)
        return self.closed_ms

    @property
    def peer(self) -> Peer:
        """The open connection that listens to bitcoin."""
        wait_until(lambda: self.streams.listening(BITCOIN), "a subscription")
        return self.streams.listening(BITCOIN)[-1]

    def expected(self, first: LiveBar) -> list[tuple[object, ...]]:
        """Return the truth from a bar up to now."""
        now = self.clock.now_ms()
        return list(self.vendors.truth.expected(*BITCOIN, first.stamp_ms, now, "raw", now))


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock one second after a bar of a minute has closed."""
    return ManualClock(parse_iso("2024-07-10T12:00:01Z"))


@pytest.fixture
def streams(clock: ManualClock, vendors: VendorServer) -> Iterator[StreamServer]:
    """Yield the started server of sockets, over the truth of ``vendors``."""
    with StreamServer(clock, vendors.truth) as server:
        yield server


@pytest.fixture
def stage(
    tmp_path: Path, clock: ManualClock, vendors: VendorServer, streams: StreamServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:  # fmt: skip
    """Yield a stage, and check that the test leaves no thread of a feed or stream."""
    free = replace(BinanceStream.traits, connects=Limits(), spacing_s=0.0)
    monkeypatch.setattr(BinanceStream, "traits", free)
    path = tmp_path / "rules.yaml"
    fast = "{requests_per_minute: 6000000, requests_per_second: 100000, burst_size: 100000}"
    path.write_text(
        "crypto: {backup: []}\nproviders:\n"
        f"  binance: {{base_url: '{vendors.base_url('binance')}', transport: http,\n"
        f"    ws_url: '{streams.url('binance')}', rate_limits: {fast}}}\n"
    )
    others = set(ours())
    yield Stage(clock, vendors, streams, DataManager(tmp_path / "cache", path, clock=clock))
    wait_until(lambda: not set(ours()) - others, "the end of all threads")


def ours() -> list[threading.Thread]:
    """Return the threads of this library: those of feeds and streams, and what other tests left."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("onetape")]


def check_states(items: list[object], grace_s: float) -> None:
    """Check that bars ascend minute by minute, and that LIVE is reported if none is missing."""
    last: int | None = None
    for item in items:
        if isinstance(item, LiveBar):
            assert last is None or item.stamp_ms == last + MINUTE_MS
            last = item.stamp_ms
        elif isinstance(item, StreamStatus) and item.state is StreamState.LIVE:
            due = item.at_ms - round(grace_s * SECOND_MS)
            assert last is not None
            assert last >= due // MINUTE_MS * MINUTE_MS - MINUTE_MS
