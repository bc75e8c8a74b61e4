"""Faulty streams: each fault is detected, the feed reconnects without a gap, and it stops at once."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable

import pytest

from src.data.core.model.market.stream import StreamState, Topic
from src.data.core.model.time.instant import MINUTE_MS
from src.data.core.net.http.retry import RetryPolicy
from src.data.errors import AuthenticationError, UnavailableError
from src.data.feed import live_feeds
from src.data.feed.live_feeds import FeedTimings
from src.data.feed.selection import plain_feed
from src.data.feed.streams.connection import ConnectionTimings, StreamSession
from tests.ledger import listening
from tests.vendor_server.faults import Fault
from tests.vendor_server.streams import TEXT, Handshake, Peer, framed, hanging, refusing

from .conftest import BITCOIN, FAST, PATIENCE, Stage, bars_in, emptied, wait_until

LONG_S = 20.0
NOT_JSON = framed(b"<html>")
BAD_TEXT = framed(b"\xff\xfe\xfd")
HUGE = bytes([0x80 | TEXT, 127]) + (1 << 40).to_bytes(8, "big")
ENDLESS = framed(b"x" * 60_000, TEXT, fin=False) + framed(b"x" * 60_000, 0, fin=False) * 80
RESERVED = bytes([0xF1, 2]) + b"{}"


def kline_of(stage: Stage, **changed: object) -> bytes:
    """Return an invalid message about the last bar."""
    message = json.loads(stage.streams.text("binance", *BITCOIN, stage.closed_ms))
    message["data"]["k"].update(changed)
    return framed(json.dumps(message).encode())


SPOILT: dict[str, Callable[[Stage], bytes]] = {
    "no-json": lambda stage: NOT_JSON * 150,
    "no-utf8": lambda stage: BAD_TEXT,
    "huge-frame": lambda stage: HUGE,
    "endless-message": lambda stage: ENDLESS,
    "reserved-bits": lambda stage: RESERVED,
    "nan-price": lambda stage: kline_of(stage, c="NaN"),
    "high-below-low": lambda stage: kline_of(stage, h="0.1"),
    "negative-prices": lambda stage: kline_of(stage, o="-2", h="-1", l="-3", c="-2"),
    "prices-of-zero": lambda stage: kline_of(stage, o="0", h="0", l="0", c="0"),
    "no-markets-price": lambda stage: kline_of(stage, o="1e300", h="1e300", l="1e300", c="1e300"),
    "an-hour-ahead": lambda stage: kline_of(stage, t=stage.closed_ms + 60 * MINUTE_MS),
    "running-an-hour-ahead": lambda stage: kline_of(
        stage, t=stage.closed_ms + 60 * MINUTE_MS, x=False
    ),
    "running-and-negative": lambda stage: kline_of(
        stage, t=stage.closed_ms + MINUTE_MS, o="-2", h="-1", l="-3", c="-2", x=False
    ),
    "other-symbol": lambda stage: kline_of(stage, s="ETHUSDT"),
    "beside-the-grid": lambda stage: kline_of(stage, t=stage.closed_ms + 7),
    "half-a-frame": lambda stage: framed(b"x" * 200)[:50],
}


@pytest.mark.parametrize("name", SPOILT)
def test_an_invalid_message_loses_no_bar(stage: Stage, name: str) -> None:
    feed = stage.feed(lookback=5)
    box = feed.subscribe(forming=True)
    with feed:
        stage.live(feed)
        peer = stage.peer
        stage.minute(publish=name.startswith("running"))
        peer.send(SPOILT[name](stage))
        if name == "half-a-frame":
            peer.cut()
        stage.clock.advance(PATIENCE.grace + 1)
        stage.live(feed)
        stage.minute()
        stage.live(feed)
        _stops_at_once(feed)
    bars = bars_in(emptied(box))
    assert [tuple(bar[:6]) for bar in bars] == stage.expected(bars[0])
    assert all(bar.is_closed for bar in bars)


def test_every_log_record_of_a_stream_names_its_feeds(stage: Stage) -> None:
    """Two feeds share a connection that is refused, sent rubbish, and broken off."""
    stage.streams.handshakes.append(refusing("500 Internal Server Error"))
    with listening() as ledger:
        feeds = [stage.feed(lookback=5), plain_feed(stage.manager, ("ETHUSDT", "1m", 5))]
        feeds[0].start()
        stage.live(feeds[0])
        feeds[1].start()
        both = Topic("ETHUSDT", "1m")
        wait_until(lambda: stage.streams.listening(both), "the other subscription")
        peer = stage.peer
        peer.send(NOT_JSON)
        wait_until(lambda: any("cannot be read" in r["message"] for r in ledger.records))
        peer.cut()
        wait_until(
            lambda: (
                sum("the connection is being reopened" in r["message"] for r in ledger.records) == 2
            )
        )
        for feed in feeds:
            feed.stop()
    ours = {"BTCUSDT", "ETHUSDT", "BTCUSDT,ETHUSDT"}
    for record in ledger.records:
        told = (record["name"], record["message"])
        assert record["request"], told
        assert record["symbol"] in ours, told
        assert record["timeframe"] == "1m", told
    refused, broken = [
        r for r in ledger.records if "the connection is being reopened" in r["message"]
    ]
    assert (refused["symbol"], broken["symbol"]) == ("BTCUSDT", "BTCUSDT,ETHUSDT")
    assert refused["request"] == broken["request"], "of the feed that has listened longest"


HANDSHAKES: dict[str, Handshake] = {
    "429": refusing("429 Too Many Requests", "Retry-After: 0\r\n"),
    "403": refusing("403 Forbidden"),
    "500": refusing("500 Internal Server Error"),
    "302": refusing("302 Found", "Location: ws://localhost:9/elsewhere\r\n"),
    "garbage": refusing("abc"),
    "gone": lambda raw: raw.close() is not None,
}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_after_a_failed_handshake_the_feed_reconnects(stage: Stage, name: str) -> None:
    stage.streams.handshakes.extend([HANDSHAKES[name]] * 2)
    feed = stage.feed(lookback=3)
    box = feed.subscribe()
    with feed:
        stage.live(feed)
    assert stage.streams.attempts == 3
    assert len(bars_in(emptied(box))) == 3


@pytest.mark.parametrize("status", ["429 Too Many", "503 Service Unavailable"])
def test_a_retry_after_of_a_stream_is_obeyed(stage: Stage, status: str) -> None:
    stage.streams.handshakes.append(refusing(status, "Retry-After: 50\r\n"))
    feed = stage.feed(lookback=3)
    with feed:
        wait_until(lambda: status[:3] in feed.status.reason)
        stage.clock.advance(49)
        threading.Event().wait(0.1)
        assert stage.streams.attempts == 1
        stage.clock.advance(2)
        wait_until(lambda: feed.status.state is StreamState.LIVE)
    assert stage.streams.attempts == 2


def test_a_refused_key_ends_the_feed_with_the_reason(stage: Stage) -> None:
    stage.streams.handshakes.append(refusing("401 Unauthorized"))
    feed = stage.feed(lookback=3)
    box = feed.subscribe()
    feed.start()
    wait_until(lambda: feed.status.state is StreamState.CLOSED)
    assert "HTTP 401" in feed.status.reason
    emptied_bars = bars_in(emptied(box))
    assert len(emptied_bars) in (0, 3)
    with pytest.raises(AuthenticationError):
        box.get()
    feed.stop()


# Vendors' own times shortened: an answer is due in 0.1 s, a sign of life in 0.6 s.
QUICK = FeedTimings(ConnectionTimings(tick=0.01, backoff=FAST, scale=0.01), PATIENCE)


class RealTime:
    """Makes the tests' clock go on with the machine's, for what is measured in seconds."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._over = stage, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.wait(0.01):
            self._stage.clock.advance(0.01)

    def __enter__(self) -> RealTime:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _first_is_curt(stage: Stage) -> None:
    """Let the first connection answer pings, and no subscription."""
    first: list[Peer] = []

    def turn(peer: Peer) -> None:
        peer.is_curt = not first
        first.append(peer)

    stage.streams.on_peer = turn


def test_an_unanswered_subscription_is_tried_on_a_new_connection(stage: Stage) -> None:
    _first_is_curt(stage)
    feed = stage.feed(lookback=3, tempo=QUICK)
    with feed, RealTime(stage):
        wait_until(lambda: feed.status.state is StreamState.LIVE)
        assert len(stage.streams.peers) >= 2


def test_the_watchdog_notices_a_half_open_connection(stage: Stage) -> None:
    feed = stage.feed(lookback=3, tempo=QUICK)
    with feed, RealTime(stage):
        wait_until(lambda: feed.status.state is StreamState.LIVE)
        peer = stage.peer
        began = stage.clock.monotonic()
        peer.is_deaf = peer.is_mute = True
        wait_until(lambda: len(stage.streams.peers) > 1)
        assert stage.clock.monotonic() - began < 2 * 0.6 + 0.5
        wait_until(lambda: feed.status.state is StreamState.LIVE)


FRAGMENTS = framed(b'{"e": ', fin=False)
STALLS: dict[str, bytes] = {
    "in a header": framed(b"x" * 70_000)[:5], "inside a frame": framed(b"x" * 200)[:50],
    "between fragments": FRAGMENTS,
}  # fmt: skip


@pytest.mark.parametrize("where", STALLS)
def test_the_watchdog_notices_a_stall(stage: Stage, where: str) -> None:
    feed = stage.feed(lookback=3, tempo=QUICK)
    with feed, RealTime(stage):
        wait_until(lambda: feed.status.state is StreamState.LIVE)
        peer = stage.peer
        began = stage.clock.monotonic()
        peer.send(STALLS[where])
        peer.is_deaf = peer.is_mute = True
        wait_until(lambda: len(stage.streams.peers) > 1)
        assert stage.clock.monotonic() - began < 2 * 0.6 + 0.5
        wait_until(lambda: feed.status.state is StreamState.LIVE)
        _stops_at_once(feed)


def test_a_slowly_sending_vendor_is_disconnected(stage: Stage) -> None:
    """Bytes come, frames do not."""
    feed = stage.feed(lookback=3, tempo=QUICK)
    over = threading.Event()

    def drip(peer: Peer) -> None:
        for byte in framed(b"x" * 100_000):
            if over.wait(0.01):
                return
            peer.send(bytes([byte]))

    with feed, RealTime(stage):
        wait_until(lambda: feed.status.state is StreamState.LIVE)
        dripping = threading.Thread(target=drip, args=(stage.peer,), daemon=True)
        stage.peer.is_deaf = True
        began = stage.clock.monotonic()
        dripping.start()
        wait_until(lambda: len(stage.streams.peers) > 1)
        assert stage.clock.monotonic() - began < 2 * 0.6 + 0.5
        _stops_at_once(feed)
    over.set()
    dripping.join()


def test_heartbeats_keep_a_quiet_connection_open(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, dispatch = list[object](), StreamSession.dispatch

    def noted(session: StreamSession, frame: str | bytes | None) -> None:
        dispatch(session, frame)
        answers.extend([frame] if frame is not None and not frame else [])

    monkeypatch.setattr(StreamSession, "dispatch", noted)
    feed = stage.feed(lookback=3, tempo=QUICK)
    with feed:
        wait_until(lambda: feed.status.state is StreamState.LIVE)
        for pings in range(1, 5):  # together longer than it may be silent, but for pings
            stage.clock.advance(0.35)
            wait_until(lambda n=pings: stage.peer.pings >= n)  # type: ignore[misc]
            wait_until(lambda n=pings: len(answers) >= n, "the answer")  # type: ignore[misc]
        assert len(stage.streams.peers) == 1
        assert feed.status.state is StreamState.LIVE


def test_a_stream_silent_in_an_open_market_becomes_stale_and_is_replaced(stage: Stage) -> None:
    feed = stage.feed(lookback=3)
    box = feed.subscribe()
    with feed:
        stage.live(feed)
        peer = stage.peer
        peer.is_mute = True
        for _ in range(4):
            stage.minute()
            wait_until(lambda: stage.has(feed, stage.closed_ms - MINUTE_MS))
        wait_until(lambda: feed.status.state in (StreamState.STALE, StreamState.CONNECTING))
        wait_until(lambda: len(stage.streams.peers) > 1)
        stage.live(feed)
    bars = bars_in(emptied(box))
    assert [tuple(bar[:6]) for bar in bars] == stage.expected(bars[0])


def test_silence_is_noticed_even_if_history_cannot_be_requested(stage: Stage) -> None:
    feed = stage.feed(lookback=3)
    box = feed.subscribe()
    with feed:
        stage.live(feed)
        stage.peer.is_mute = True
        stage.vendors.fault("binance", Fault.status(500))
        for _ in range(4):
            stage.minute()
        wait_until(lambda: len(stage.streams.peers) > 1)
        stale = StreamState.STALE  # until a bar arrives on the new connection
        wait_until(lambda: any(getattr(item, "state", None) is stale for item in emptied(box)))


def test_a_feed_reconnects_before_an_announced_shutdown_of_the_vendor(stage: Stage) -> None:
    feed = stage.feed(lookback=3)
    box = feed.subscribe()
    with feed:
        stage.live(feed)
        old = stage.peer
        old.say(json.dumps({"e": "serverShutdown", "E": 1}))
        wait_until(lambda: len(stage.streams.listening(BITCOIN)) == 1 and not old.is_open)
        stage.minute()
        stage.live(feed)
    states = [item.state for item in emptied(box) if hasattr(item, "state")]
    assert states[states.index(StreamState.LIVE) :].count(StreamState.CONNECTING) == 0


STUCK: dict[str, Handshake | None] = {"handshake": hanging, "mute": None}


@pytest.mark.parametrize("where", STUCK)
def test_a_feed_stuck_in_connecting_stops_at_once(stage: Stage, where: str) -> None:
    if (handshake := STUCK[where]) is not None:
        stage.streams.handshakes.append(handshake)
    else:
        _first_is_curt(stage)
    feed = stage.feed(lookback=3)
    feed.start()
    wait_until(lambda: stage.streams.attempts == 1)
    _stops_at_once(feed)


def test_a_feed_that_waits_for_history_stops_at_once(stage: Stage) -> None:
    stage.vendors.fault("binance", Fault.hold())
    feed = stage.feed(lookback=3)
    feed.start()
    assert stage.vendors.wait_for("binance", 1)
    _stops_at_once(feed)
    stage.vendors.heal()


def test_the_backoff_between_reconnects_grows_until_bars_have_come(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []

    class Noted(RetryPolicy):
        def backoff(self, attempt: int, jitter: float) -> float:
            waits.append(attempt)
            return 0.001

    slow = FeedTimings(ConnectionTimings(tick=0.005, backoff=Noted(), scale=1e6), PATIENCE)
    feed = stage.feed(lookback=3, tempo=slow)
    with feed:
        stage.live(feed)
        for number in range(3):  # it opens, subscribes, says nothing, and is lost
            peers = len(stage.streams.peers)
            stage.peer.reset()
            wait_until(lambda n=peers: len(stage.streams.peers) > n)  # type: ignore[misc]
            wait_until(lambda: stage.streams.listening(BITCOIN))
            assert len(waits) == number + 1
        stage.live(feed)
        stage.minute()
        stage.live(feed)
        stage.peer.reset()
        wait_until(lambda: len(waits) == 4)
    assert waits == [1, 2, 3, 1]
    told = [r for r in caplog.records if "the connection is being reopened" in r.getMessage()]
    warned = [r.levelname for r in told if r.levelno >= logging.WARNING]
    assert warned == ["WARNING"], "once per outage, when it is not open again at once"


def test_sent_messages_are_not_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    feed = stage.feed(lookback=3)
    with feed:
        stage.live(feed)
        stage.peer.reset()
    assert not [r for r in caplog.records if "SUBSCRIBE" in r.getMessage()]


class DeafDialer:
    """Never connects, and ends when it is aborted often enough, or released."""

    go = threading.Event()
    deafness = 0

    def __init__(self, address: object) -> None:
        self.told = 0
        self.go.clear()

    def __call__(self) -> object:
        self.go.wait(LONG_S)
        raise UnavailableError("let go")

    def abort(self) -> None:
        self.told += 1
        if self.told > self.deafness:
            self.go.set()


@pytest.mark.parametrize("deafness", [0, 2, 1000])
def test_a_feed_whose_vendor_does_not_answer_stops_at_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, deafness: int
) -> None:
    """A socket cannot be cut before there is one; some can never be."""
    monkeypatch.setattr(live_feeds, "Dialer", DeafDialer)
    monkeypatch.setattr(DeafDialer, "deafness", deafness)
    feed = stage.feed(lookback=3)
    feed.start()
    wait_until(lambda: stage.has(feed, stage.closed_ms))
    _stops_at_once(feed)
    assert DeafDialer.go.is_set() == (deafness < 1000)
    DeafDialer.go.set()


def test_a_stale_feed_stops_at_once(stage: Stage) -> None:
    feed = stage.feed(lookback=3)
    feed.start()
    stage.live(feed)
    stage.peer.is_mute = True
    stage.clock.advance(200)
    wait_until(lambda: feed.status.state is StreamState.STALE)
    _stops_at_once(feed)


def test_a_feed_stops_at_once_even_while_a_callback_blocks(stage: Stage) -> None:
    feed, called, go = stage.feed(lookback=3), threading.Event(), threading.Event()

    def block(bar: object) -> None:
        called.set()
        go.wait(LONG_S)

    feed.on_bar(block)
    feed.start()
    assert called.wait(LONG_S)
    _stops_at_once(feed)
    go.set()


def _stops_at_once(feed: object) -> None:
    """Stop the feed without waiting for anything slow; benchmarks measure how fast."""
    began = time.monotonic()
    feed.stop()  # type: ignore[attr-defined]
    assert time.monotonic() - began < LONG_S / 4
