"""Streamed values that cannot be a bar or a trade: dropped, reported, and left to history."""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pytest

from src.data.core.calendars.bar_builders import MinuteBars, TradeBars
from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import (
    BarSeen,
    LiveBar,
    StreamEvent,
    StreamState,
    Topic,
    Trade,
)
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.time.instant import MINUTE_MS, iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.vendors.alpaca.stream import AlpacaStream
from src.data.core.vendors.binance.stream import BinanceFuturesStream, BinanceStream
from src.data.core.vendors.finnhub.stream import FinnhubStream
from src.data.core.vendors.polygon.stream import PolygonStream
from src.data.feed.sources.bar_versions import OFF_MINUTE, StreamJudge
from src.data.feed.sources.history import ManagerHistory, frame_of
from src.data.feed.sources.stream import Inbox
from src.data.feed.streams.connection import Connection, ConnectionTimings
from src.data.feed.streams.listeners import (
    BarListener,
    Listener,
    MinuteListener,
    TradeListener,
)
from tests.core.calendars.market import ALWAYS

from .conftest import bars_in, emptied
from .hands import MONDAY, minute

_NAMES = ("ALPACA_API_KEY", "ALPACA_SECRET_KEY", "POLYGON_API_KEY", "FINNHUB_API_KEY")
KEYS = dict.fromkeys(_NAMES, "k")
NOW = MONDAY + 90 * MINUTE_MS + 2_000
CLOSED = MONDAY + 89 * MINUTE_MS
Values = tuple[float, float, float, float, float]
GOOD: Values = (2.0, 3.0, 1.0, 2.5, 7.0)
FAULTS: dict[str, tuple[int, Values, str]] = {
    "negative": (CLOSED, (-2.0, -1.0, -3.0, -2.0, 7.0), "price not positive"),
    "zero": (CLOSED, (0.0, 0.0, 0.0, 0.0, 7.0), "price not positive"),
    "1e300": (CLOSED, (1e300, 1e300, 1e300, 1e300, 7.0), "price beyond any market's"),
    "nan": (CLOSED, (2.0, 3.0, float("nan"), 2.5, 7.0), "price missing"),
    "high-below-low": (CLOSED, (2.0, 1.0, 3.0, 2.5, 7.0), "high below low"),
    "negative-volume": (CLOSED, (*GOOD[:4], -7.0), "volume negative"),
    "an-hour-ahead": (CLOSED + 3_600_000, GOOD, "stamp in the future, 59 minutes after now"),
}


class Plugin(BinanceStream):
    """A package's stream, which makes its events by itself."""

    def read(self, frame: str | bytes) -> Sequence[StreamEvent]:
        """Read stamp and values, as they come."""
        stamp, *values = json.loads(frame)
        return [BarSeen(Topic("BTCUSDT", "1m"), LiveBar(stamp, *values))]


def kline(stamp: int, values: Values) -> str:
    o, h, low, c, v = map(str, values)
    k = {"t": stamp, "s": "BTCUSDT", "i": "1m", "o": o, "h": h, "l": low, "c": c, "v": v, "x": True}
    return json.dumps({"e": "kline", "k": k})


def row(stamp: int, values: Values, **named: object) -> str:
    return json.dumps([named | dict(zip("ohlcv", values, strict=True))])


STREAMS: dict[str, tuple[Callable[[], Any], Topic, Callable[[int, Values], str]]] = {
    "binance": (BinanceStream, Topic("BTCUSDT", "1m"), kline),
    "binanceusdm": (BinanceFuturesStream, Topic("BTCUSDT", "1m"), kline),
    "alpaca": (
        lambda: AlpacaStream(credentials=KEYS), Topic("AAPL", "1m"),
        lambda stamp, values: row(stamp, values, T="b", S="AAPL", t=f"{iso(stamp)[:19]}Z"),
    ),
    "alpaca-corrections": (
        lambda: AlpacaStream(credentials=KEYS), Topic("AAPL", "1m"),
        lambda stamp, values: row(stamp, values, T="u", S="AAPL", t=f"{iso(stamp)[:19]}Z"),
    ),
    "polygon": (
        lambda: PolygonStream(credentials=KEYS), Topic("AAPL", "1m"),
        lambda stamp, values: row(stamp, values, ev="AM", sym="AAPL", s=stamp),
    ),
    "a package": (Plugin, Topic("BTCUSDT", "1m"), lambda stamp, v: json.dumps([stamp, *v])),
}  # fmt: skip


class Script:
    """A socket that delivers the given frames, then nothing."""

    def __init__(self, *frames: str) -> None:
        self._frames, self.said = deque(frames), threading.Event()

    def __call__(self) -> Script:
        """Connect."""
        return self

    def receive(self, timeout_s: float) -> str | None:
        """Return the next frame."""
        if self._frames:
            return self._frames.popleft()
        self.said.set()
        threading.Event().wait(timeout_s)
        return None

    def send(self, text: str) -> None:
        """Listen."""

    def ping(self) -> None:
        """Listen."""

    def abort(self) -> None:
        """Be over."""


class Told(Listener):
    """A listener that records its notifications."""

    def __init__(self) -> None:
        super().__init__(Inbox(), ManualClock(NOW))
        self.bars: list[LiveBar] = []
        self.trades: list[Trade] = []
        self.lost: list[Span] = []
        self.bar = self.revised = self.bars.append  # type: ignore[method-assign]
        self.trade = self.trades.append  # type: ignore[method-assign]
        self.refused = self.lost.append  # type: ignore[method-assign]


def heard(
    protocol: Any, topic: Topic, *frames: str, now: int = NOW
) -> tuple[Told, list[tuple[Topic, int, str]]]:
    """Return the notifications for some frames, and the values reported as refused."""
    told, refused, script, clock = Told(), [], Script(*frames), ManualClock(now)

    def report(*facts: Any) -> None:
        refused.append(facts)

    connection = Connection(
        protocol, script, Limiter("x", Limits(), State(None, clock)), clock,
        ConnectionTimings(tick=0.001, scale=1e6), report=report,
    )  # fmt: skip
    connection.add(topic, StreamJudge(told, topic, protocol, clock, report))
    assert script.said.wait(5)
    connection.close()
    return told, refused


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stream", STREAMS)
def test_streamed_values_that_cannot_be_a_bar_are_dropped_and_reported(
    stream: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, topic, write = STREAMS[stream]
    stamp, values, why = FAULTS[fault]
    with caplog.at_level(logging.WARNING, "onetape.feed"):
        told, refused = heard(make(), topic, write(stamp, values), write(CLOSED, GOOD))
    assert [tuple(bar[:6]) for bar in told.bars] == [(CLOSED, *GOOD)], "the next one counts"
    [(named, at_ms, reason)] = refused
    assert (named, at_ms) == (topic, stamp) and reason.startswith(why)
    assert reason in caplog.text
    [span] = told.lost
    assert span.end == NOW, "what has closed by now comes from history"


@pytest.mark.parametrize(
    "stamp, price, size",
    [
        (NOW, 0.0, 1.0), (NOW, -1.0, 1.0), (NOW, 1e300, 1.0), (NOW, float("nan"), 1.0), (NOW, 2.0, -1.0),
        (NOW, 2.0, float("nan")), (NOW, 2.0, 1e300), (NOW + 3_600_000, 2.0, 1.0),
    ],
)  # fmt: skip
def test_streamed_values_that_cannot_be_a_trade_are_dropped_and_reported(
    stamp: int, price: float, size: float
) -> None:
    rows = [
        {"s": "AAPL", "p": p, "t": t, "v": v} for t, p, v in ((stamp, price, size), (NOW, 2, 1))
    ]
    frame = json.dumps({"type": "trade", "data": rows})
    told, refused = heard(FinnhubStream(credentials=KEYS), Topic("AAPL", ""), frame)
    assert told.trades == [Trade(NOW, 2.0, 1.0)]
    assert len(refused) == 1
    assert told.lost == [Span(NOW, NOW)]


def test_an_impossible_forming_bar_is_dropped_and_logged_once() -> None:
    running = [kline(CLOSED + MINUTE_MS, FAULTS["zero"][1]).replace("true", "false")] * 3
    told, refused = heard(BinanceStream(), Topic("BTCUSDT", "1m"), *running)
    assert (told.bars, told.lost, len(refused)) == ([], [], 1)


def test_refused_bars_of_one_symbol_do_not_end_the_connection() -> None:
    spoilt = [kline(CLOSED, FAULTS["zero"][1])] * 150
    told, refused = heard(BinanceStream(), Topic("BTCUSDT", "1m"), *spoilt, kline(CLOSED, GOOD))
    assert (len(told.bars), len(refused)) == (1, 1)


def test_a_clock_slightly_behind_refuses_no_bar() -> None:
    running = kline(CLOSED, GOOD).replace("true", "false")
    told, refused = heard(BinanceStream(), Topic("BTCUSDT", "1m"), running, now=CLOSED - 9_000)
    assert (len(told.bars), refused) == (1, [])


def test_a_bar_that_does_not_begin_with_a_minute_is_dropped_and_reported() -> None:
    frames = (kline(CLOSED - 30_000, GOOD), kline(CLOSED, GOOD))
    told, refused = heard(BinanceStream(), Topic("BTCUSDT", "1m"), *frames)
    assert [bar.stamp_ms for bar in told.bars] == [CLOSED]
    assert [(at_ms, why) for _, at_ms, why in refused] == [(CLOSED - 30_000, OFF_MINUTE)]
    assert [span.end for span in told.lost] == [NOW]


# --- what is built of minutes or trades

FIVE = BarGrid(ALWAYS, Timeframe.parse("5m"))


@pytest.mark.parametrize("spoilt", [True, False])
@pytest.mark.parametrize("kind", ["trades", "minutes"])
def test_a_bar_with_a_refused_part_is_left_to_history(kind: str, spoilt: bool) -> None:
    clock, box = ManualClock(MONDAY - 10_000), Inbox()
    listener = (
        TradeListener(box, clock, TradeBars(FIVE)) if kind == "trades"
        else MinuteListener(box, clock, MinuteBars(FIVE, 3 * MINUTE_MS))
    )  # fmt: skip
    listener.connected()
    clock.advance(10)
    for number in range(10):
        at_ms = MONDAY + number * MINUTE_MS
        clock.advance(60)
        if number == 2 and spoilt:
            listener.refused(Span(at_ms, clock.now_ms()))
        else:
            listener.bar(minute(number))
            listener.trade(Trade(at_ms, 5.0, 1.0))
    clock.advance(10)
    listener.tick()
    items = emptied(box)
    closed = [bar.stamp_ms for bar in bars_in(items) if bar.is_closed]
    owed = [i.at_ms for i in items if getattr(i, "state", "") == StreamState.DELAYED]
    first, second = MONDAY, MONDAY + 5 * MINUTE_MS
    assert closed == ([second] if spoilt else [first, second])
    # The bar that ran when it was connected is owed besides.
    assert owed[-1] == (second if spoilt else first)


def test_a_refused_bar_is_requested_from_history() -> None:
    box = Inbox()
    BarListener(box, ManualClock(NOW), FIVE).refused(Span(CLOSED, NOW))
    [status] = emptied(box)
    assert (status.state, status.at_ms) == (StreamState.DELAYED, NOW)  # type: ignore[attr-defined]


# --- and what history has of it


class Answers:
    """A manager that answers every question with one frame."""

    def __init__(self, rows: Sequence[LiveBar]) -> None:
        self.frame = frame_of(rows)

    def get_ohlcv(self, *wanted: object, **wishes: object) -> pd.DataFrame:
        """Return it."""
        return self.frame


@pytest.mark.parametrize("late_s, absent", [(30, []), (600, [2])])
def test_an_old_row_of_history_that_cannot_be_a_bar_is_skipped(
    late_s: int, absent: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    bars = [minute(0), minute(1), minute(2)._replace(low=-1.0), minute(3)]
    clock = ManualClock(MONDAY + 4 * MINUTE_MS + late_s * 1000)
    grid = BarGrid(ALWAYS, Timeframe.parse("1m"))
    history = ManagerHistory(Answers(bars), "BTCUSDT", grid, clock)
    with caplog.at_level(logging.WARNING):
        filled = history.between(Span(MONDAY, MONDAY + 4 * MINUTE_MS))
    assert [bar.stamp_ms for bar in filled.bars] == [bars[n].stamp_ms for n in (0, 1, 3)]
    assert filled.absent == [bars[n].stamp_ms for n in absent]
    assert filled.why == ("" if absent else "not published yet")
    assert "1 invalid rows were left out" in caplog.text
