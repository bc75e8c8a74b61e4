"""How long live feeds make their users wait: until they have stopped, and next to idle feeds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import perf_counter, sleep
from typing import Any

import backtrader as bt

from onetape.data.core.calendars.calendar import calendar_for
from onetape.data.core.calendars.grid import BarGrid
from onetape.data.core.clock import ManualClock
from onetape.data.core.model.identity.instrument import Instrument
from onetape.data.core.model.market.stream import LiveBar, StreamState, StreamStatus, Topic
from onetape.data.core.model.request.capabilities import Limits
from onetape.data.core.model.time.instant import MINUTE_MS, parse_iso
from onetape.data.core.model.time.span import Span
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.core.net.http.websocket import Dialer, Wire
from onetape.data.core.net.limits.limiter import Limiter
from onetape.data.core.net.limits.state import State
from onetape.data.core.vendors.binance.stream import BinanceStream
from onetape.data.errors import UnavailableError
from onetape.data.feed.backtrader.feed import BacktraderFeed, run_live
from onetape.data.feed.live_feed import LiveFeed
from onetape.data.feed.sources.bar_versions import StreamJudge
from onetape.data.feed.sources.base import Sink
from onetape.data.feed.sources.history import FilledHistory
from onetape.data.feed.sources.stream import GapFreeSource, Start, StreamTimings
from onetape.data.feed.streams.connection import Connection, ConnectionTimings, Dial
from onetape.data.feed.streams.listeners import BarListener
from onetape.data.feed.streams.pool import Hub, Subscription
from tests.vendor_server.streams import StreamServer, hanging

_START = parse_iso("2024-06-10T12:00:01Z")
_IDLE, _SENT, _PAUSE_S = 4, 100, 0.005
_LONGEST_S = 10.0
# The clock jumps, and the connection must not notice the missing heartbeats meanwhile.
_PULSE = ConnectionTimings(scale=1e6)


class _Past:
    """A history of one bar, which blocks its callers until it is released.

    An empty one would be doubted for a minute.
    """

    def __init__(self, *, keeps: bool) -> None:
        self.go, self.is_asked = threading.Event(), threading.Event()
        if not keeps:
            self.go.set()

    def last(self, count: int, *, again: bool = False) -> FilledHistory:
        self.is_asked.set()
        self.go.wait(_LONGEST_S)
        return FilledHistory([_bar(_START // MINUTE_MS * MINUTE_MS - MINUTE_MS)], [])

    def between(self, span: Span, *, again: bool = False) -> FilledHistory:
        return FilledHistory([], [], "there is nothing")


class _DeafDial:
    """Connects to nobody, and ignores callers that give up."""

    def __init__(self) -> None:
        self.go, self.is_asked = threading.Event(), threading.Event()

    def __call__(self) -> Wire:
        self.is_asked.set()
        self.go.wait(_LONGEST_S)
        raise UnavailableError("let go")

    def abort(self) -> None:
        """Do nothing."""


class _Stand:
    """A feed on a socket server, with the means to bring it into each state."""

    def __init__(self, server: StreamServer, *, keeps: bool = False, deaf: bool = False) -> None:
        self.server, self.clock, self.topic = server, server.clock, Topic("BTCUSDT", "1m")
        self.past, self.deaf = _Past(keeps=keeps), _DeafDial()
        protocol = BinanceStream(server.url("binance"))
        dial: Dial = self.deaf if deaf else Dialer(protocol.address)

        def make() -> Connection:
            return Connection(
                protocol,
                dial,
                Limiter("binance", Limits(), State(None, self.clock)),
                self.clock,
                _PULSE,
            )

        grid = BarGrid(calendar_for(Instrument("BTCUSDT", "crypto")), Timeframe.parse("1m"))
        stream = Subscription(
            Hub(),
            "one",
            self.topic,
            make,
            lambda sink: StreamJudge(
                BarListener(sink, self.clock, grid), self.topic, protocol, self.clock
            ),
        )
        source = GapFreeSource(
            stream, self.past, grid, self.clock, start=Start(1), patience=StreamTimings()
        )
        self.feed = LiveFeed(*self.topic, source, clock=self.clock)

    def until(self, done: Callable[[], object]) -> None:
        """Wait for threads to get this far."""
        started = perf_counter()
        while not done():
            if perf_counter() - started > _LONGEST_S:
                raise TimeoutError(f"the feed is {self.feed.status}")
            sleep(0.005)

    def is_valid(self, state: StreamState) -> None:
        self.until(lambda: self.feed.status.state is state)

    def live(self) -> None:
        """Wait until the feed is live."""
        self.until(lambda: self.server.listening(self.topic))
        self.is_valid(StreamState.LIVE)


def _connecting(stand: _Stand) -> None:
    stand.until(stand.deaf.is_asked.is_set)


def _shaking(stand: _Stand) -> None:
    stand.until(lambda: stand.server.attempts)


def _filling(stand: _Stand) -> None:
    stand.until(stand.past.is_asked.is_set)


def _stale(stand: _Stand) -> None:
    stand.live()
    stand.clock.advance(400)
    stand.is_valid(StreamState.STALE)


def _called(stand: _Stand) -> None:
    stand.live()
    (peer,) = stand.server.listening(stand.topic)
    peer.say(stand.server.text("binance", *stand.topic, _START // MINUTE_MS * MINUTE_MS))
    stand.until(lambda: stand.feed.snapshot().given)


_WAYS: dict[str, tuple[Callable[[_Stand], None], dict[str, bool]]] = {
    "connecting": (_connecting, {"deaf": True}), "handshake": (_shaking, {}),
    "backfilling": (_filling, {"keeps": True}), "live": (_Stand.live, {}), "stale": (_stale, {}),
    "callback": (_called, {}),
}  # fmt: skip


def stops(rounds: int) -> dict[str, list[float]]:
    """Return, for each state a feed can be in, the milliseconds that it took to stop."""
    return {way: [_stopped(way) for _ in range(rounds)] for way in _WAYS}


def _stopped(way: str) -> float:
    reach, wanted = _WAYS[way]
    with ExitStack() as stack:
        server = stack.enter_context(StreamServer(ManualClock(_START)))
        if way == "handshake":
            server.handshakes.append(hanging)
        stand = _Stand(server, **wanted)
        stack.callback(stand.past.go.set)
        stack.callback(stand.deaf.go.set)
        if way == "callback":
            stand.feed.on_bar(lambda bar: stand.deaf.go.wait(_LONGEST_S))
        stand.feed.start()
        reach(stand)
        started = perf_counter()
        stand.feed.stop()
        return (perf_counter() - started) * 1e3


# --- next to idle feeds -------------------------------------------------------------------------


class _Pushed:
    """A source that pushes on request."""

    sink: Sink

    def start(self, sink: Sink) -> None:
        self.sink = sink
        sink.status(StreamStatus(StreamState.LIVE))

    def stop(self) -> None:
        """Do nothing: there is nothing to stop."""


class _Noting(bt.Strategy):  # type: ignore[misc]
    """Records when each bar of the last data arrives, and ends with the last one."""

    params = (("came", None),)

    def prenext(self) -> None:
        self.p.came.append(perf_counter())
        if len(self.p.came) == _SENT:
            self.env.runstop()


def delays() -> list[float]:
    """Return the milliseconds from each push of a busy feed to its bar in a strategy."""
    sources = [_Pushed() for _ in range(_IDLE + 1)]
    cerebro = bt.Cerebro(stdstats=False)
    for number, source in enumerate(sources):
        cerebro.adddata(BacktraderFeed(LiveFeed(f"MADE{number}", "1m", source)))
    sent: list[float] = []
    came: list[float] = []
    cerebro.addstrategy(_Noting, came=came)
    pusher = threading.Thread(target=_push, args=(sources, sent), daemon=True)
    pusher.start()
    run_live(cerebro)
    pusher.join()
    return [(there - here) * 1e3 for here, there in zip(sent, came, strict=True)]


def _push(sources: Sequence[Any], sent: list[float]) -> None:
    while not all(hasattr(source, "sink") for source in sources):
        sleep(_PAUSE_S)
    for number in range(_SENT):
        sleep(_PAUSE_S)
        sent.append(perf_counter())
        sources[-1].sink.bar(_bar(_START + number * MINUTE_MS))


def _bar(stamp_ms: int) -> LiveBar:
    return LiveBar(stamp_ms, 1.0, 1.0, 1.0, 1.0, 1.0)
