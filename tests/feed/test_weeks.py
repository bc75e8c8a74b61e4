"""Weeks of two markets in seconds: 86,400 bars through a connection, a feed and Cerebro.

No vendor streams bars shorter than a minute, so the number of seconds in a day becomes sixty days of
minutes, on each of which the vendor closes old connections. No bar is lost, and memory, threads and
descriptors stay constant.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import backtrader as bt
import pytest

from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.stream import StreamState, Topic
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.vendors.alpaca.stream import AlpacaStream
from src.data.core.vendors.binance.stream import BinanceStream
from src.data.core.vendors.stream_protocol import StreamProtocol
from src.data.feed.backtrader.feed import BacktraderFeed, day_number, run_live
from src.data.feed.live_feed import LiveFeed
from src.data.feed.sources.bar_versions import StreamJudge
from src.data.feed.sources.stream import GapFreeSource, Start, StreamTimings
from src.data.feed.streams.connection import Connection, ConnectionTimings
from src.data.feed.streams.listeners import BarListener
from src.data.feed.streams.pool import Hub, Subscription
from tests.core.cache.counts import FULL
from tests.vendor_server.stream_faces import AlpacaFace, BinanceFace

from .conftest import FAST
from .exchange import Exchange, Tape, made_up
from .test_soak import Sample, sample

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Backtrader's own utcnow
HOURS = 24 if FULL else 4
_MOST_GROWTH = 5 * 2**20
_LOOKBACK = 60
_KEYS = {"ALPACA_API_KEY": "made-up", "ALPACA_SECRET_KEY": "made-up"}


@dataclass
class Market:
    """A market for some time, and a feed of it."""

    tape: Tape
    exchange: Exchange
    protocol: StreamProtocol
    expected: list[int] = field(init=False)

    def __post_init__(self) -> None:
        first = self.tape.last(_LOOKBACK).bars[0].stamp_ms
        self.expected = self.tape.stamps(Span(first, self.exchange.until_ms))

    def feed(self) -> LiveFeed:
        """Return a feed over all that is ours but the socket and the store."""
        clock, traits = self.tape.clock, self.protocol.traits

        def make() -> Connection:
            limiter = Limiter(self.protocol.name, Limits(), State(None, clock))
            return Connection(
                self.protocol, self.exchange, limiter, clock, ConnectionTimings(0.001, FAST)
            )

        stream = Subscription(
            Hub(),
            "one",
            self.exchange.topic,
            make,
            lambda sink: StreamJudge(
                BarListener(sink, clock, self.tape.grid), self.exchange.topic, self.protocol, clock
            ),
        )
        patience = StreamTimings(tick=0.005, retry=RetryPolicy(first_s=0.0), quiet=traits.quiet_s,
                            dense=traits.dense)  # fmt: skip
        source = GapFreeSource(stream, self.tape, self.tape.grid, clock, start=Start(_LOOKBACK),
                           patience=patience)  # fmt: skip
        return LiveFeed(*self.exchange.topic, source, clock=clock, keep=_LOOKBACK)


def coins(start: str, end: str) -> Market:
    """Return a market that never closes; the line is lost each day, and a message in 500."""
    begin, until = parse_iso(start), parse_iso(end)
    grid = BarGrid(calendar_for(Instrument("BTCUSDT", "crypto")), Timeframe.parse("1m"))
    tape = Tape(grid, ManualClock(begin))
    cuts = {day + 90 * MINUTE_MS: 1 + number % 40
            for number, day in enumerate(range(begin, until, DAY_MS))}  # fmt: skip
    exchange = Exchange(tape, Topic("BTCUSDT", "1m"), BinanceFace, until, cuts, unsent=500)
    return Market(tape, exchange, BinanceStream())


def shares(start: str, end: str) -> Market:
    """Return a market that closes, with no trade in every seventh minute."""
    share = Instrument("AAPL", "stock", "XNYS", "America/New_York", quote="USD")
    grid = BarGrid(calendar_for(share), Timeframe.parse("1m"))
    tape = Tape(grid, ManualClock(parse_iso(start)), quiet=7)
    exchange = Exchange(tape, Topic("AAPL", "1m"), AlpacaFace, parse_iso(end), {})
    return Market(tape, exchange, AlpacaStream(credentials=_KEYS))


class Following(bt.Strategy):  # type: ignore[misc]
    """Checks every bar against what is expected; notes now and then what the process holds."""

    params = (("market", None), ("samples", None))

    def __init__(self) -> None:
        expected = self.p.market.expected
        self.left: Iterator[int] = iter(expected)
        self.last, self.hour = expected[-1], max(1, len(expected) // HOURS)

    def next(self) -> None:
        stamp, data = next(self.left), self.data
        assert data.datetime[0] == day_number(stamp + MINUTE_MS)
        seen = (stamp, data.open[0], data.high[0], data.low[0], data.close[0], data.volume[0])
        assert seen == made_up(stamp)[:6]
        if len(self) % self.hour == 0:
            self.p.samples.append(sample())
        if stamp == self.last:
            self.env.runstop()
        self.p.market.exchange.given(stamp)


def followed(market: Market) -> Counter[StreamState]:
    """Run a market through a strategy with constant memory; return the reported statuses."""
    samples: list[Sample] = []
    told: Counter[StreamState] = Counter()
    feed = market.feed()
    feed.on_status(lambda status: told.update([status.state]))
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(BacktraderFeed(feed))
    cerebro.addstrategy(Following, market=market, samples=samples)
    run_live(cerebro, exactbars=1)
    assert feed.snapshot().given == len(market.expected)
    print(
        market.exchange.topic, len(market.expected), samples[0], samples[-1], told
    )  # for who waits
    assert samples[-1].memory - samples[0].memory < _MOST_GROWTH, samples
    assert len({(held.threads, held.descriptors) for held in samples}) == 1, samples
    assert told[StreamState.STALE] == told[StreamState.DELAYED] == 0
    return told


COINS = ("2024-11-03", "2025-01-02") if FULL else ("2024-12-31T12:00:00Z", "2025-01-01T14:00:00Z")
SHARES = {
    "a holiday and half a day": ("2024-11-27T20:00:00Z", "2024-12-02T15:00:00Z"),
}
if FULL:
    SHARES["summer time ends"] = ("2024-11-01T19:30:00Z", "2024-11-04T15:30:00Z")
    SHARES["a year ends"] = ("2024-12-31T20:00:00Z", "2025-01-02T15:30:00Z")
    SHARES["nine weeks"] = ("2024-11-01T12:00:00Z", "2025-01-03T22:00:00Z")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.timeout(600)
def test_weeks_of_a_market_that_never_closes_lose_no_bar_and_leak_nothing() -> None:
    market = coins(*COINS)
    told = followed(market)
    exchange = market.exchange
    assert exchange.lost > 1
    # Between two losses the connection grew old, and was left for another before it was cut.
    assert exchange.dialled - 1 - exchange.lost >= exchange.lost - 1
    assert told[StreamState.CONNECTING] <= exchange.lost + 2
    unsent = (len(market.expected) - _LOOKBACK) // 500
    assert exchange.lost <= market.tape.asked <= 2 * exchange.lost + unsent


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("when", SHARES)
def test_weeks_of_a_market_that_closes_lose_no_bar_and_leak_nothing(when: str) -> None:
    market = shares(*SHARES[when])
    told = followed(market)
    assert market.exchange.dialled == 1
    assert told[StreamState.CONNECTING] <= 2
    assert market.tape.asked <= len(market.expected) // 6 + _LOOKBACK
