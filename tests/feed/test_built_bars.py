"""Longer bars of shares, built from streamed minutes over real sockets."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import LiveBar, Revision, StreamState, Topic
from src.data.core.model.time.instant import MINUTE_MS, parse_iso
from src.data.core.vendors.alpaca.stream import AlpacaStream
from src.data.core.vendors.polygon.stream import PolygonStream
from src.data.data_manager import DataManager
from src.data.feed.backtrader.live import StreamedLiveDataFeed
from src.data.feed.live_feed import LiveFeed
from src.data.feed.live_feeds import FeedTimings
from src.data.feed.selection import live_feed, plain_feed
from src.data.feed.services import feeds_of
from tests.vendor_server import VendorServer
from tests.vendor_server.stream_faces import AlpacaFace
from tests.vendor_server.streams import StreamServer

from .conftest import PATIENCE, PULSE, bars_in, emptied, ours, wait_for_reader, wait_until
from .test_live_feeds import KEYS

APPLE = Topic("AAPL", "1m")
FIVE = 5 * MINUTE_MS
NOON = parse_iso("2024-07-10T14:00:00Z")


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock two minutes and a second after a bar of five minutes has begun."""
    return ManualClock(NOON + 2 * MINUTE_MS + 1_000)


class Exchange:
    """A manager of AAPL's bars, whose stream the test speaks for."""

    def __init__(
        self, folder: Path, clock: ManualClock, vendors: VendorServer, streams: StreamServer,
        vendor: str = "polygon", tape: str = "", backup: Sequence[str] = ("yahoo",),
    ) -> None:  # fmt: skip
        self.clock, self.vendors, self.streams, self.vendor = clock, vendors, streams, vendor
        fast = {"requests_per_minute": 60_000, "requests_per_second": 1000, "burst_size": 1000}
        at = {name: {"base_url": vendors.base_url(name), "rate_limits": fast}
              for name in (vendor, "yahoo")}  # fmt: skip
        at["yahoo"]["transport"] = "http"
        if vendor != "tiingo":  # it has no stream
            at[vendor]["ws_url"] = streams.url(vendor) + tape
        rules = {"stock_intraday": {"primary": vendor, "backup": backup}, "providers": at}
        path = folder / "rules.yaml"
        path.write_text(json.dumps(rules))
        self.manager = DataManager(folder / "cache", path, clock=clock)
        feeds_of(self.manager).tempo = FeedTimings(PULSE, PATIENCE)

    def feed(self, timeframe: str = "5m", lookback: int = 3) -> LiveFeed:
        return plain_feed(self.manager, ("AAPL", timeframe, lookback))

    def minutes(
        self, count: int, *, by: LiveFeed | None = None, without: tuple[int, ...] = ()
    ) -> None:
        """Let minutes pass; the vendor sends each a second after its close, but for some.

        ``by``: a feed that hears each of them before the next one.
        """
        for number in range(count):
            self.clock.advance(61 - self.clock.now_ms() % MINUTE_MS / 1000)
            stamp = self.clock.now_ms() // MINUTE_MS * MINUTE_MS - MINUTE_MS
            if number not in without:
                assert self.streams.publish(self.vendor, *APPLE, stamp) == 1
                if by is not None:
                    self.heard(by, stamp)
                else:
                    wait_for_reader(self.streams, APPLE)

    def heard(self, feed: LiveFeed, stamp_ms: int) -> None:
        """Wait until a minute has gone into the running bar, or has closed it."""
        close = self.vendors.truth.raw(*APPLE, stamp_ms, stamp_ms + 1)[0][4]

        def has_listener() -> bool:
            shown = feed.snapshot()
            newest = shown.forming or shown.bars[-1]
            return newest.stamp_ms == stamp_ms // FIVE * FIVE and newest.close == close

        wait_until(has_listener, "a running bar")

    def minute(self, stamp_ms: int) -> dict[str, Any]:
        """Return the vendor's message about a minute."""
        [message] = json.loads(self.streams.text(self.vendor, *APPLE, stamp_ms))
        return dict(message)

    def truth(self, start_ms: int, timeframe: str = "5m") -> list[tuple[object, ...]]:
        now = self.clock.now_ms()
        return list(self.vendors.truth.expected("AAPL", timeframe, start_ms, now, "raw", now))


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set made-up keys; see that no thread is left."""
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    before = set(ours())
    yield
    wait_until(lambda: not set(ours()) - before, "the end of all threads")


@pytest.fixture
def exchange(
    tmp_path: Path, clock: ManualClock, vendors: VendorServer, streams: StreamServer, others: None
) -> Exchange:
    """Return an exchange whose vendor is Polygon."""
    return Exchange(tmp_path, clock, vendors, streams)


def live(feed: LiveFeed, exchange: Exchange) -> None:
    wait_until(lambda: feed.status.state is StreamState.LIVE, "LIVE")
    wait_until(lambda: exchange.streams.listening(APPLE), "a subscription")


def given(feed: LiveFeed, stamp_ms: int) -> None:
    wait_until(lambda: stamp_ms in [bar.stamp_ms for bar in feed.snapshot().bars], "the bar")


def check_true(bars: Sequence[LiveBar], exchange: Exchange) -> None:
    """Check that bars are all that were traded since the first of them."""
    assert [bar[:5] for bar in bars] == [row[:5] for row in exchange.truth(bars[0].stamp_ms)]


@pytest.mark.parametrize("vendor, tape", [("polygon", ""), ("alpaca", "/sip")])
def test_bars_of_five_minutes_are_streamed(
    vendor: str, tape: str, tmp_path: Path, clock: ManualClock, vendors: VendorServer,
    streams: StreamServer, others: None,
) -> None:  # fmt: skip
    exchange = Exchange(tmp_path, clock, vendors, streams, vendor, tape)
    feed = exchange.feed()
    box = feed.subscribe()
    with feed:
        live(feed, exchange)
        exchange.minutes(3)
        clock.advance(4)  # what began before we listened is asked for once it is over
        given(feed, NOON)
        live(feed, exchange)
        exchange.minutes(1, by=feed)
        assert feed.snapshot().forming == LiveBar(*exchange.truth(NOON + FIVE, "1m")[0], False)
        exchange.minutes(9, by=feed)
        given(feed, NOON + 2 * FIVE)
    bars = bars_in(emptied(box))
    assert [bar.origin for bar in bars] == ["history"] * 3 + ["backfill"] + ["live"] * 2
    check_true(bars, exchange)
    assert [bar[5] for bar in bars[-2:]] == [row[5] for row in exchange.truth(NOON + FIVE)]


def test_hours_are_counted_from_the_open(exchange: Exchange, clock: ManualClock) -> None:
    clock.advance(27 * 60 + 30)
    feed = exchange.feed("1h", 2)
    with feed:
        live(feed, exchange)
        exchange.minutes(61)
        opened = NOON + 30 * MINUTE_MS
        given(feed, opened)
        first, second = feed.snapshot().bars[-2:]
    assert (first.stamp_ms, second.origin) == (opened - 60 * MINUTE_MS, "live")
    assert [tuple(second[:6])] == exchange.truth(opened, "1h")


def test_a_correction_of_a_minute_revises_its_bar(exchange: Exchange, clock: ManualClock) -> None:
    feed = exchange.feed()
    box = feed.subscribe(revisions=True)
    with feed:
        live(feed, exchange)
        exchange.minutes(3)
        clock.advance(4)
        given(feed, NOON)
        exchange.minutes(5, by=feed)
        message = exchange.minute(NOON + FIVE + MINUTE_MS)
        high = message["h"] = message["h"] + 100
        exchange.streams.listening(APPLE)[0].say(json.dumps([message]))
        wait_until(lambda: feed.snapshot().revisions == 1, "the revision")
        assert feed.snapshot().bars[-1].high == high
    [revision] = [item.bar for item in emptied(box) if isinstance(item, Revision)]
    [truth] = exchange.truth(NOON + FIVE)
    assert tuple(revision[:6]) == (*truth[:2], high, *truth[3:])


def test_a_bar_with_few_minutes_is_live_and_one_with_a_long_silence_is_backfilled(
    exchange: Exchange, clock: ManualClock, vendors: VendorServer
) -> None:
    feed = exchange.feed()
    with feed:
        live(feed, exchange)
        exchange.minutes(3)
        clock.advance(4)
        given(feed, NOON)
        asked = vendors.count()
        exchange.minutes(5, by=feed, without=(1, 4))
        clock.advance(5)
        given(feed, NOON + FIVE)
        assert (vendors.count(), feed.snapshot().bars[-1].origin) == (asked, "live")
        exchange.minutes(5, by=feed, without=(1, 2, 3, 4))
        clock.advance(5)
        given(feed, NOON + 2 * FIVE)
        # Nobody can tell from here whether there was silence or nothing was sent.
        assert feed.snapshot().bars[-1].origin == "backfill"
        assert feed.status.state is not StreamState.STALE
        assert len(exchange.streams.peers) == 1
    bars = feed.snapshot().bars
    assert bars[-1][:5] == exchange.truth(NOON + 2 * FIVE)[0][:5]


def test_a_silent_stream_of_minutes_becomes_stale_and_reconnects(
    exchange: Exchange, clock: ManualClock
) -> None:
    feed = exchange.feed()
    with feed:
        live(feed, exchange)
        exchange.minutes(3)
        clock.advance(4)
        given(feed, NOON)
        exchange.minutes(2, by=feed)
        exchange.streams.listening(APPLE)[0].is_mute = True
        for ended in (NOON + FIVE, NOON + 2 * FIVE):
            exchange.minutes(5)
            clock.advance(6)
            given(feed, ended)
        wait_until(lambda: len(exchange.streams.peers) == 2, "another connection")
        bars = feed.snapshot().bars
    assert {bar.origin for bar in bars[-3:]} == {"backfill"}
    check_true(bars, exchange)


def test_a_bar_during_which_the_connection_was_lost_is_backfilled(
    exchange: Exchange, clock: ManualClock
) -> None:
    feed = exchange.feed()
    with feed:
        live(feed, exchange)
        exchange.minutes(5)
        exchange.streams.listening(APPLE)[0].reset()
        clock.advance(60)
        wait_until(lambda: len(exchange.streams.peers) == 2, "another connection")
        live(feed, exchange)
        exchange.minutes(3)
        clock.advance(4)
        given(feed, NOON + FIVE)
        bars = feed.snapshot().bars
    assert [bar.origin for bar in bars[-2:]] == ["backfill"] * 2
    check_true(bars, exchange)


def test_built_bars_are_stored_next_to_bars_of_the_vendor(
    exchange: Exchange, clock: ManualClock
) -> None:
    feed = exchange.feed()
    with feed:
        live(feed, exchange)
        exchange.minutes(3)
        clock.advance(4)
        given(feed, NOON)
        exchange.minutes(5, by=feed)
    frame = exchange.manager.get_ohlcv(
        "AAPL", "5m", bars=2, offline=True, columns=("source", "state")
    )
    assert frame["source"].tolist() == ["polygon", "polygon"]
    assert frame["state"].tolist()[-1] == "provisional"
    assert tuple(frame.iloc[-1][:5]) == exchange.truth(NOON + FIVE)[0][1:]


@pytest.mark.parametrize("wanted, why", [
    (("alpaca", "/iex", "5m", None), "its minute bars are of iex, its 5m bars of sip"),
    (("alpaca", "/iex", "1m", None), "its bars are of iex, the series has bars of sip"),
    (("alpaca", "/sip", "1d", None), "they lack the auctions"),
    (("alpaca", "/sip", "2m", None), "it does not serve 2m bars"),
    (("polygon", "", "90m", None), "it does not serve 90m bars"),
], ids=lambda wanted: "-".join(map(str, wanted)) if isinstance(wanted, tuple) else None)  # fmt: skip
def test_bars_of_another_kind_than_the_cached_ones_are_not_streamed(
    wanted: tuple[str, str, str, str | None], why: str, tmp_path: Path, clock: ManualClock,
    vendors: VendorServer, streams: StreamServer, others: None, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    vendor, tape, timeframe, pinned = wanted
    exchange = Exchange(tmp_path, clock, vendors, streams, vendor, tape)
    with caplog.at_level(logging.WARNING):
        assert feeds_of(exchange.manager).find("AAPL", timeframe, provider=pinned) is None
    assert f"{vendor} does not stream such bars: " in caplog.text and why in caplog.text


def test_a_series_cut_out_of_extended_hours_is_streamed(
    tmp_path: Path, clock: ManualClock, vendors: VendorServer, streams: StreamServer, others: None
) -> None:
    alone = Exchange(tmp_path, clock, vendors, streams, backup=())
    for timeframe in ("1m", "5m", "1h"):
        assert feeds_of(alone.manager).streamer("AAPL", timeframe) == "polygon"
    assert feeds_of(alone.manager).find("AAPL", "5m", provider="polygon") is not None


def test_bars_that_no_vendor_serves_are_streamed_only_after_history_of_the_same_venue(
    tmp_path: Path, clock: ManualClock, vendors: VendorServer, streams: StreamServer,
    others: None, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TIINGO_API_KEY", "t-key")
    other = Exchange(tmp_path, clock, vendors, streams, "tiingo", backup=["finnhub"])
    assert feeds_of(other.manager).streamer("AAPL", "1h") is None  # from half hours of IEX
    assert feeds_of(other.manager).streamer("AAPL", "2m") == "finnhub"  # from its own minutes
    same = Exchange(tmp_path, clock, vendors, streams, "finnhub", backup=[])
    assert feeds_of(same.manager).streamer("AAPL", "1h") == "finnhub"


def test_a_refused_subscription_ends_only_its_own_feed(
    tmp_path: Path, clock: ManualClock, vendors: VendorServer, streams: StreamServer,
    others: None, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    answered = AlpacaFace.answer

    def answer(face: AlpacaFace, text: str, topics: set[Topic]) -> Sequence[str]:
        """Answer as a plan does that has room for one symbol."""
        asked = json.loads(text)
        if asked["action"] == "subscribe" and topics:
            return [json.dumps([{"T": "error", "code": 405, "msg": "symbol limit exceeded"}])]
        return answered(face, text, topics)

    monkeypatch.setattr(AlpacaFace, "answer", answer)
    monkeypatch.setattr(AlpacaStream, "traits", replace(AlpacaStream.traits, spacing_s=0.0))
    exchange = Exchange(tmp_path, clock, vendors, streams, "alpaca", "/sip")
    feeds = [plain_feed(exchange.manager, (symbol, "1m", 3)) for symbol in ("AAPL", "MSFT")]
    with feeds[0]:
        live(feeds[0], exchange)
        feeds[1].start()
        wait_until(lambda: feeds[1].status.state is StreamState.CLOSED, "the refusal")
        assert "symbol limit exceeded" in feeds[1].status.reason
        exchange.minutes(1)
        given(feeds[0], NOON + 2 * MINUTE_MS)
        assert feeds[0].status.state is StreamState.LIVE
        assert len(streams.peers) == 1
    feeds[1].stop()


def test_a_silent_subscription_is_renewed_and_then_the_connection_opened_again(
    exchange: Exchange, clock: ManualClock, streams: StreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PolygonStream, "traits", replace(PolygonStream.traits, spacing_s=0.0))
    silent, spoken = (plain_feed(exchange.manager, (name, "1m", 3)) for name in ("AAPL", "MSFT"))

    def pass_minutes(until: Callable[[], bool]) -> None:
        """Let the vendor send bars of the other symbol only, for up to an hour."""
        for _ in range(60):
            clock.advance(60)
            stamp = clock.now_ms() // MINUTE_MS * MINUTE_MS - MINUTE_MS
            wait_until(lambda: streams.listening(Topic("MSFT", "1m")), "a subscription")
            streams.publish("polygon", "MSFT", "1m", stamp)
            given(spoken, stamp)
            if (clock.now_ms() - silent.snapshot().bars[-1].stamp_ms) > 4 * MINUTE_MS + 2_000:
                given(silent, stamp)  # three silent minutes, and it asks
            if until():
                return
        raise AssertionError("it did not happen within an hour")

    with silent, spoken:
        live(silent, exchange)
        wait_until(lambda: spoken.status.state is StreamState.LIVE, "LIVE")
        [first] = streams.peers
        pass_minutes(lambda: len([text for text in first.heard if "AM.AAPL" in text]) == 3)
        assert ["unsubscribe" in text for text in first.heard if "AM.AAPL" in text][1:] == [
            True,
            False,
        ]
        assert len(streams.peers) == 1
        pass_minutes(lambda: len(streams.peers) == 2)


def test_bars_missed_before_a_split_are_as_they_were_traded(
    exchange: Exchange, clock: ManualClock, vendors: VendorServer
) -> None:
    friday, monday = parse_iso("2020-08-28T19:56:00Z"), parse_iso("2020-08-31T13:30:00Z")
    clock.set(friday + 30_000)
    feed = exchange.feed("1m")
    with feed:
        live(feed, exchange)
        exchange.minutes(1)
        given(feed, friday)
        clock.set(monday + 2 * MINUTE_MS + 1_000)
        for peer in exchange.streams.listening(APPLE):
            peer.reset()
        given(feed, monday + MINUTE_MS)
        bars = [tuple(bar[:6]) for bar in feed.snapshot().bars]
    rows = vendors.truth.raw("AAPL", "1m", bars[0][0], monday + 2 * MINUTE_MS)
    assert bars == [pytest.approx(tuple(row)) for row in rows]


def test_feeds_for_backtrader_are_streamed(exchange: Exchange) -> None:
    feed = live_feed(exchange.manager, "AAPL", "15m", 3)
    assert isinstance(feed, StreamedLiveDataFeed)
    assert feed.get_status()["data_source"] == "polygon"
