"""Live feeds by symbol: the stream of the routed vendor, or None and a logged reason."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import LiveBar, StreamState, Topic
from src.data.core.model.time.instant import MINUTE_MS, SECOND_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.registry import MEMBERS, VENDORS
from src.data.core.vendors.polygon.stream import PolygonStream
from src.data.data_manager import DataManager
from src.data.errors import UnavailableError
from src.data.feed import live_feeds
from src.data.feed.board import Board, Run
from src.data.feed.live_feed import LiveFeed
from src.data.feed.live_feeds import FeedTimings
from src.data.feed.selection import plain_feed
from src.data.feed.services import feeds_of
from src.data.feed.sources.base import Halt
from src.data.feed.sources.history import FilledHistory
from src.data.feed.sources.poll import PollSource
from src.data.feed.sources.stream import GapFreeSource
from tests.vendor_server import VendorServer
from tests.vendor_server.streams import StreamServer

from .conftest import BITCOIN, PATIENCE, PULSE, Stage, bars_in, emptied, wait_for_reader, wait_until

KEYS = {"ALPACA_API_KEY": "a-key", "ALPACA_SECRET_KEY": "a-secret", "POLYGON_API_KEY": "p-key",
        "FINNHUB_API_KEY": "f-key"}  # fmt: skip
# The end of the address, where it names the tape.
TAPES = {"alpaca": "/sip"}


@pytest.fixture
def manager(tmp_path: Path, clock: ManualClock) -> DataManager:
    """Return a manager with the packaged rules, at 2024-07-10 12:00:01 UTC."""
    return DataManager(tmp_path / "cache", clock=clock)


def test_a_feed_sends_no_request_before_it_starts(stage: Stage) -> None:
    feed = feeds_of(stage.manager).find("BTC/USDT", "1m")
    assert feed is not None
    assert isinstance(feed.source, GapFreeSource)
    assert (feed.symbol, feed.timeframe, feed.is_running) == ("BTC/USDT", "1m", False)
    assert stage.vendors.count() == stage.streams.attempts == 0


@pytest.mark.parametrize("symbol, timeframe, said", [
    ("BTCUSDT", "7m", "no rule for crypto"),
    ("GC=F", "1h", "yahoo does not stream such bars"),
    ("AAPL", "1m", "needs a key"),
    ("?", "1m", "symbol"),
    ("BTCUSDT", "1x", "unknown timeframe"),
])  # fmt: skip
def test_the_reason_is_logged_for_a_symbol_without_a_live_feed(
    manager: DataManager, caplog: pytest.LogCaptureFixture, symbol: str, timeframe: str, said: str
) -> None:
    assert feeds_of(manager).find(symbol, timeframe, 10, provider="alpaca" if symbol == "AAPL"
                                 else None) is None  # fmt: skip
    assert f"no live feed for {symbol} {timeframe}" in caplog.text


def test_a_stream_of_another_instrument_is_not_used(
    manager: DataManager, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History of METAUSDT would be Binance's, and its stream that of Polygon's coin."""
    monkeypatch.setenv("POLYGON_API_KEY", "p-key")
    monkeypatch.setattr(live_feeds, "stream_of", {"polygon": PolygonStream}.get)
    selector = manager.provider_selector
    monkeypatch.setattr(selector, "get_provider_with_failover", lambda *_: ["binance", "polygon"])
    assert feeds_of(manager).find("METAUSDT", "1m") is None
    assert "polygon is not used: nothing proves that its METAUSDT" in caplog.text


def test_an_unknown_option_is_refused(
    manager: DataManager, caplog: pytest.LogCaptureFixture
) -> None:
    assert feeds_of(manager).find("BTCUSDT", "1m", on_bars=print) is None
    assert "unknown live feed option: on_bars" in caplog.text


def test_without_the_live_extra_no_feed_is_made(
    manager: DataManager, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "websocket", None)
    assert feeds_of(manager).find("BTCUSDT", "1m") is None
    assert "[live]" in caplog.text


def test_without_backtrader_a_feed_applies_the_options_of_its_call(
    manager: DataManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.feed.selection.find_spec", lambda name: None)
    asked, halt = list[tuple[int, dict[str, Any]]](), Halt(clock)
    begin = clock.now_ms()

    def get_ohlcv(*_: Any, **options: Any) -> Any:
        asked.append(((clock.now_ms() - begin) // SECOND_MS, options))
        if len(asked) == 5:
            halt.set()
        raise UnavailableError("down")

    monkeypatch.setattr(manager, "get_ohlcv", get_ohlcv)
    wanted: dict[str, Any] = {"adjustment": "raw", "timeout": 7}
    polled = manager.live_feed("AAPL", "1m", 3, provider="yahoo", polling_interval=5, **wanted)
    assert isinstance(polled, LiveFeed)
    assert isinstance(polled.source, PollSource)
    polled.source.run(Run(Board(clock, 3)), halt)
    # The waits double up to the interval.
    assert [at for at, _ in asked] == [0, 2, 6, 11, 16]
    assert asked[0][1].items() >= {"provider": "yahoo", **wanted}.items()

    streamed = manager.live_feed("BTCUSDT", "1m", 3, provider="binance", **wanted)
    assert isinstance(streamed, LiveFeed)
    assert isinstance(streamed.source, GapFreeSource)
    with pytest.raises(UnavailableError):
        streamed.source.history.last(3)
    assert asked[-1][1].items() >= {"provider": "binance", **wanted}.items()


def test_a_callback_is_called_for_each_bar(stage: Stage) -> None:
    seen: list[object] = []
    feeds_of(stage.manager).tempo = FeedTimings(PULSE, PATIENCE)
    feed = feeds_of(stage.manager).find("BTCUSDT", "1m", 5, on_new_bar=seen.append)
    assert feed is not None
    with feed:
        wait_until(lambda: len(seen) == 5)


def test_a_feed_that_stops_is_unsubscribed_while_another_goes_on(stage: Stage) -> None:
    first = stage.feed(lookback=2)
    other = plain_feed(stage.manager, ("ETHUSDT", "1m", 2))
    ether = Topic("ETHUSDT", "1m")
    with first:
        with other:
            wait_until(lambda: stage.streams.listening(ether), "a subscription")
        wait_until(lambda: not stage.streams.listening(ether), "the end of the subscription")
        assert len(stage.streams.listening(BITCOIN)) == stage.streams.attempts == 1


def test_a_feed_continues_after_a_given_bar(stage: Stage) -> None:
    feeds_of(stage.manager).tempo = FeedTimings(PULSE, PATIENCE)
    known = stage.closed_ms - 4 * MINUTE_MS
    feed = feeds_of(stage.manager).find("BTCUSDT", "1m", after_ms=known)
    assert feed is not None
    box = feed.subscribe()
    with feed:
        stage.live(feed)
    stamps = [bar.stamp_ms for bar in bars_in(emptied(box))]
    assert stamps == [known + n * MINUTE_MS for n in range(1, 5)]


def test_a_streamed_feed_requests_its_history_with_the_options_of_the_call(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def get_ohlcv(*_: object, **options: object) -> None:
        asked.update(options)
        raise UnavailableError("not now")

    monkeypatch.setattr(stage.manager, "get_ohlcv", get_ohlcv)
    feeds_of(stage.manager).tempo = FeedTimings(PULSE, PATIENCE)
    feed = plain_feed(
        stage.manager, ("BTCUSDT", "1m", 2), provider="binance", adjustment="raw", timeout=7.0
    )
    assert isinstance(feed.source, GapFreeSource)
    with feed:
        wait_until(lambda: asked, "a request")
    wanted = {"provider": "binance", "adjustment": "raw", "timeout": 7.0}
    assert {name: asked.get(name) for name in wanted} == wanted


class OfTruth:
    """History straight from the truth, for vendors whose own is tested elsewhere."""

    def __init__(self, vendors: VendorServer) -> None:
        self._vendors = vendors

    def last(self, count: int, *, again: bool = False) -> FilledHistory:
        """Return no bars: there is no lookback."""
        return FilledHistory([], [])

    def between(self, span: Span, *, again: bool = False) -> FilledHistory:
        """Return every bar in ``span`` that has closed."""
        now = self._vendors.clock.now_ms()
        rows = self._vendors.truth.expected("AAPL", "1m", span.start, span.end, "raw", now)
        return FilledHistory([LiveBar(*row, True, "backfill") for row in rows], [])


@pytest.mark.parametrize("vendor", ["alpaca", "polygon", "finnhub"])
def test_streams_of_other_vendors_work_over_real_sockets(
    vendor: str, tmp_path: Path, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = vendors.clock
    clock.set(parse_iso("2024-07-10T14:00:01Z"))
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    monkeypatch.setattr(live_feeds, "ManagerHistory", lambda *_, **__: OfTruth(vendors))
    with StreamServer(clock, vendors.truth) as streams:
        path = tmp_path / "rules.yaml"
        url = streams.url(vendor) + TAPES.get(vendor, "")
        path.write_text(json.dumps({"providers": {vendor: {"ws_url": url}}}))
        manager = DataManager(tmp_path / "cache", path, clock=clock)
        feeds_of(manager).tempo = FeedTimings(PULSE, PATIENCE)
        feed = feeds_of(manager).find("AAPL", "1m", 0, provider=vendor)
        assert feed is not None
        box = feed.subscribe()
        began = clock.now_ms() // MINUTE_MS * MINUTE_MS
        with feed:
            wait_until(lambda: feed.status.state is StreamState.LIVE)
            # Who does not answer subscriptions counts as subscribed once it was asked.
            wait_until(lambda: streams.listening(Topic("AAPL", "1m")), "a subscription")
            for number in range(4):
                at = began + number * MINUTE_MS
                clock.advance(61 - clock.now_ms() % MINUTE_MS / SECOND_MS)
                assert streams.publish(vendor, "AAPL", "1m", at) == 1
                if vendor == "finnhub":  # closed by the clock, once late trades had their time
                    wait_for_reader(streams, Topic("AAPL", "1m"))
                    clock.advance(30)
                if number:
                    wait_until(lambda at=at: at in [b.stamp_ms for b in feed.snapshot().bars])  # type: ignore[misc]
        bars = bars_in(emptied(box))
        truth = vendors.truth.expected("AAPL", "1m", began, clock.now_ms(), "raw")
        assert [bar[:5] for bar in bars] == [row[:5] for row in truth[: len(bars)]]
        assert [bar.origin for bar in bars][-3:] == ["live"] * 3


def test_every_stream_belongs_to_a_registered_vendor(manager: DataManager) -> None:
    names = [name for name, row in (VENDORS | MEMBERS).items() if row.stream]
    assert [manager.provider_selector.canonical(name) for name in names] == names
    assert len(names) == 5
