"""Stream messages with odd fields: no vendor's stream stops, and each message is accounted for."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.calendars.bar_builders import MinuteBars, TradeBars
from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import LiveBar, StreamState, Topic, Trade
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, SECOND_MS, iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.prices.bar_rule import AHEAD_MS, is_bar
from src.data.core.vendors.alpaca.stream import AlpacaStream
from src.data.core.vendors.binance.stream import BinanceFuturesStream, BinanceStream
from src.data.core.vendors.finnhub.stream import FinnhubStream
from src.data.core.vendors.polygon.stream import PolygonStream
from src.data.errors import AuthenticationError, RateLimitedError, UnavailableError
from src.data.feed.sources.bar_versions import StreamJudge
from src.data.feed.sources.stream import Inbox
from src.data.feed.streams.connection import ConnectionTimings, StreamSession
from src.data.feed.streams.listeners import BarListener, Listener, MinuteListener, TradeListener
from tests.core.cache.counts import FULL, examples, some
from tests.core.calendars.market import ALWAYS
from tests.reachable import reachable

from .conftest import bars_in, emptied
from .hands import MONDAY
from .test_refused import KEYS
from .threadless import Threadless

NOW = MONDAY + 90 * MINUTE_MS + 2_000
BITCOIN, APPLE, TRADES = Topic("BTCUSDT", "1m"), Topic("AAPL", "1m"), Topic("AAPL", "")
MINUTE = BarGrid(ALWAYS, Timeframe.parse("1m"))
FIVE = BarGrid(ALWAYS, Timeframe.parse("5m"))


def kline(stamp: int, now: int) -> Any:
    k = {"t": stamp, "T": stamp + MINUTE_MS - 1, "s": "BTCUSDT", "i": "1m", "f": 100, "L": 200,
         "o": "2.0", "c": "2.5", "h": "3.0", "l": "1.0", "v": "7", "n": 100, "x": stamp + MINUTE_MS <= now,
         "q": "1.0", "V": "5", "Q": "0.5", "B": "0"}  # fmt: skip
    data = {"e": "kline", "E": now, "s": "BTCUSDT", "k": k}
    return {"stream": "btcusdt@kline_1m", "data": data}


def alpaca(stamp: int, now: int) -> Any:
    return [{"T": "b", "S": "AAPL", "o": 2, "h": 3, "l": 1, "c": 2.5, "v": 7, "n": 3, "vw": 2.1,
             "t": f"{iso(stamp)[:19]}Z"}]  # fmt: skip


def polygon(stamp: int, now: int) -> Any:
    return [{"ev": "AM", "sym": "AAPL", "v": 7, "av": 70, "op": 2, "vw": 2, "o": 2, "c": 2.5, "h": 3,
             "l": 1, "a": 2, "z": 1, "s": stamp, "e": stamp + MINUTE_MS}]  # fmt: skip


def finnhub(stamp: int, now: int) -> Any:
    rows = [{"c": None, "p": 2.0 + at, "s": "AAPL", "t": now - 2 + at, "v": 1} for at in (0, 1)]
    return {"type": "trade", "data": rows}


VENDORS: dict[str, tuple[Callable[[], Any], Topic, Callable[[int, int], Any]]] = {
    "binance": (BinanceStream, BITCOIN, kline),
    "binanceusdm": (BinanceFuturesStream, BITCOIN, kline),
    "alpaca": (lambda: AlpacaStream(credentials=KEYS), APPLE, alpaca),
    "polygon": (lambda: PolygonStream(credentials=KEYS), APPLE, polygon),
    "finnhub": (lambda: FinnhubStream(credentials=KEYS), TRADES, finnhub),
}
# (vendor, length of the bars given): as the vendor sends them, or built.
WAYS = [
    (name, five) for name in VENDORS for five in (False, True) if not (five and "binance" in name)
]


class Dead:
    """A socket that takes what is sent."""

    def send(self, text: str) -> None: ...

    def ping(self) -> None: ...

    def abort(self) -> None: ...

    def receive(self, timeout: float) -> None: ...


class Line:
    """A session without a thread, its listener, and all that is counted."""

    def __init__(self, vendor: str, *, five: bool = False, now: int = NOW) -> None:
        make, self.topic, self.write = VENDORS[vendor]
        self.clock, self.box, self.refused = (
            ManualClock(now),
            Inbox(),
            list[tuple[Topic, int, str]](),
        )
        self.listener = self._listener(five)
        protocol = make()

        def report(*facts: Any) -> None:
            self.refused.append(facts)

        self.connection = Threadless(
            self.topic, StreamJudge(self.listener, self.topic, protocol, self.clock, report), protocol, Dead,
            Limiter("x", Limits(), State(None, self.clock)), self.clock,
            ConnectionTimings(scale=1e6), report=report,
        )  # fmt: skip
        self.session = StreamSession(self.connection, Dead())  # type: ignore[arg-type]
        self.listener.connected()

    def _listener(self, five: bool) -> Listener:
        if not self.topic.timeframe:
            return TradeListener(self.box, self.clock, TradeBars(FIVE if five else MINUTE))
        if five:
            return MinuteListener(self.box, self.clock, MinuteBars(FIVE, 3 * MINUTE_MS))
        return BarListener(self.box, self.clock, MINUTE)

    def take(self, frame: str | bytes) -> list[LiveBar]:
        """Read a frame; return the bars that come of it."""
        self.session.dispatch(frame)
        return bars_in(emptied(self.box))

    def good(self) -> str:
        """Return a sound message about the minute that runs, or has closed where none runs."""
        now = self.clock.now_ms()
        stamp = now // MINUTE_MS * MINUTE_MS
        if not self.connection.protocol.traits.dense and self.topic.timeframe:
            stamp -= MINUTE_MS
        return json.dumps(self.write(stamp, now))


def places(message: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a message."""
    if path:
        yield path
    if isinstance(message, (dict, list)):
        for key in message if isinstance(message, dict) else range(len(message)):
            yield from places(message[key], (*path, key))


TIMES = [NOW + jump for far in (MINUTE_MS, DAY_MS, 365 * DAY_MS) for jump in (-far, far)]
STRANGE: list[Any] = [
    None, True, False, "", "x", " ", "NaN", "Infinity", "-1", "1e400", "1_000", [], {}, [1],
    {"a": 1}, [[]], float("nan"), float("inf"), float("-inf"), -1, 0, 1, 2.5, 10**18, -(10**18),
    2**63, 10**400, -(10**400), 10**5000, 1e300, 5e-324, "ETHUSDT", "MSFT", "kline", "5m", "1M",
    "7x", "error", "\ud800", "x" * 10_000, *TIMES, *(iso(at) for at in TIMES),
    "2024-06-10T01:29:00-04:00", "0001-01-01T00:00:00Z",
]  # fmt: skip
ODD = (
    st.sampled_from(STRANGE) | st.integers() | st.floats() | st.text(max_size=8)
)  # fmt: skip


@st.composite
def odd(draw: st.DrawFn, message: Any) -> Any:
    """Return a message in which up to three values are odd, missing or added."""
    message = copy.deepcopy(message)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(message))
        if not found:
            break
        *way, last = draw(st.sampled_from(found))
        owner = message
        for key in way:
            owner = owner[key]
        what = draw(st.sampled_from(("replace", "replace", "remove", "add", "twice")))
        if what == "replace":
            owner[last] = copy.deepcopy(draw(ODD))
        elif what == "remove":
            del owner[last]
        elif what == "add" and isinstance(owner, dict):
            owner[draw(st.sampled_from(("E", "s", "x", "extra", "error", "result", "stream")))] = (
                copy.deepcopy(draw(ODD))
            )
        elif isinstance(owner, list):
            owner.append(copy.deepcopy(owner[last]))
    return message


# What a refusal of the vendor becomes: the connection is opened again, or ends with a reason.
REFUSALS = (UnavailableError, RateLimitedError, AuthenticationError)


def check(vendor: str, five: bool, message: Any) -> None:
    """Have a stream read a message twice, and a sound one after it."""
    line = Line(vendor, five=five)
    try:
        frame = json.dumps(message)
    except ValueError:  # longer than Python writes
        frame = json.dumps(line.write(0, 0)).replace(" 0,", " " + "9" * 5000 + ",")
    for _ in range(2):  # what comes twice is told once
        try:
            bars = line.take(frame)
        except REFUSALS:
            return
        for bar in bars:
            assert is_bar(bar) and 0 <= bar.stamp_ms <= NOW + AHEAD_MS
            assert not bar.is_closed or bar.stamp_ms + MINUTE_MS <= NOW + AHEAD_MS
            assert type(bar.stamp_ms) is int and all(type(v) is float for v in bar[1:6])
            assert type(bar.is_closed) is bool
    assert len(set(line.refused)) == len(line.refused)
    line.session.watchdog()
    emptied(line.box)
    line.clock.advance(60)
    line.connection.attempts = 3
    line.session.dispatch(line.good())
    assert line.connection.attempts == 0, "a sound message counts as ever"


STAMPS = [NOW // MINUTE_MS * MINUTE_MS + ahead for ahead in (-MINUTE_MS, 0)]


@pytest.mark.parametrize("vendor, five", WAYS)
def test_no_strange_value_anywhere_stops_a_stream_or_becomes_a_bar(vendor: str, five: bool) -> None:
    sound = VENDORS[vendor][2](STAMPS[0], NOW)
    cases = list(product(places(sound), STRANGE))
    for path, value in cases if FULL else some(cases, 300):
        message = copy.deepcopy(sound)
        owner = message
        for key in path[:-1]:
            owner = owner[key]
        owner[path[-1]] = value
        check(vendor, five, message)


@pytest.mark.parametrize("vendor, five", WAYS)
@settings(max_examples=examples(200), deadline=None)
@given(data=st.data(), stamp=st.sampled_from(STAMPS))
def test_no_odd_message_stops_a_stream_or_becomes_a_bar(
    vendor: str, five: bool, data: st.DataObject, stamp: int
) -> None:
    check(vendor, five, data.draw(odd(VENDORS[vendor][2](stamp, NOW))))


@pytest.mark.parametrize("way", ["trades", "late trades", "minutes"])
def test_parts_that_do_not_form_a_valid_bar_are_left_to_history(way: str) -> None:
    clock, box, start = ManualClock(MONDAY), Inbox(), MONDAY + 5 * MINUTE_MS
    maker: TradeListener | MinuteListener
    if way == "minutes":
        maker = MinuteListener(box, clock, MinuteBars(FIVE, 10 * MINUTE_MS))
    else:
        maker = TradeListener(box, clock, TradeBars(FIVE))
    maker.connected()
    emptied(box)

    def move(to: int) -> None:
        clock.advance((to - clock.now_ms()) / SECOND_MS)
        maker.tick()

    move(start + 1000)
    for stamp in range(start, start + 5 * MINUTE_MS, MINUTE_MS):
        if isinstance(maker, MinuteListener):
            move(stamp + MINUTE_MS)
            maker.bar(LiveBar(stamp, 2.0, 3.0, 1.0, 2.5, 3e29, is_closed=True))
        else:
            move(stamp + 1000)
            (maker.late_trade if "late" in way else maker.trade)(Trade(stamp + 1000, 2.0, 3e29))
    move(start + 6 * MINUTE_MS)
    told = emptied(box)
    assert all(is_bar(bar) and not bar.is_closed for bar in bars_in(told))
    owed = [one.at_ms for one in told if getattr(one, "state", None) is StreamState.DELAYED]
    assert owed[-1] == start + 5 * MINUTE_MS


@pytest.mark.parametrize("vendor", VENDORS)
def test_unreadable_messages_raise_one_warning_and_are_counted_each_minute(
    vendor: str, caplog: pytest.LogCaptureFixture
) -> None:
    line = Line(vendor)
    with caplog.at_level(logging.WARNING, "onetape.feed"):
        for number in range(180):
            line.take(json.dumps([number]))
            line.clock.advance(1)
            if number % 50 == 49:
                line.take(line.good())
    assert 3 <= len({at for _, at, _ in line.refused}) <= 4
    assert len(caplog.records) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_messages_about_other_symbols_are_not_kept(vendor: str) -> None:
    line = Line(vendor)
    for number in range(500):
        text = line.good().replace("BTCUSDT", f"X{number}").replace("btcusdt", f"x{number}")
        line.take(
            text.replace("AAPL", f"Y{number}").replace(": 3", ": -3").replace('"3.0"', '"-3.0"')
        )
    kept = {one for one in reachable(line.session) if isinstance(one, Topic)}
    assert (kept, line.refused) == ({line.topic}, [])


JUMPS = [sign * far for far in (60, 86_400, 31_536_000) for sign in (-1, 1)]


@pytest.mark.parametrize("jump_s", JUMPS)
@pytest.mark.parametrize("vendor, five", WAYS)
def test_a_clock_that_is_set_while_it_streams_changes_no_bar(
    vendor: str, five: bool, jump_s: int
) -> None:
    """Each minute is sent as it closes, and the clock of the machine is set within the third."""

    def given(jump: int) -> list[tuple[Any, ...]]:
        line, bars = Line(vendor, five=five, now=MONDAY - 10_000), list[LiveBar]()
        true = MONDAY - 10_000
        for number in range(13):
            for second in (5, 35, 60):
                true, before = MONDAY + number * MINUTE_MS + second * SECOND_MS + 200, true
                line.clock.advance((true - before) / SECOND_MS)
                if number == 2 and second == 35:
                    line.clock.set(line.clock.now_ms() + jump * SECOND_MS)
                if (
                    second == 60
                    or line.connection.protocol.traits.dense
                    or not line.topic.timeframe
                ):
                    stamp = MONDAY + number * MINUTE_MS
                    bars += line.take(
                        json.dumps(line.write(stamp, true - 250 if five else true - 100))
                    )
                line.session.watchdog()
                bars += bars_in(emptied(line.box))
        assert line.refused == []
        return [tuple(bar[:7]) for bar in bars if bar.is_closed]

    assert given(jump_s) == given(0)
    assert len(given(0)) >= (2 if five else 11)
