"""The cost of a live feed: from a frame or a socket to a callback, and through Backtrader."""

from __future__ import annotations

import itertools
import json
import queue
import threading
from collections.abc import Callable, Sequence
from time import perf_counter, process_time, sleep
from typing import Any

import backtrader as bt
import pandas as pd

from onetape.data.core.calendars.calendar import calendar_for
from onetape.data.core.calendars.grid import BarGrid
from onetape.data.core.clock import Clock, ManualClock, SystemClock
from onetape.data.core.model.identity.instrument import Instrument
from onetape.data.core.model.market.stream import LiveBar, Topic
from onetape.data.core.model.request.capabilities import Limits
from onetape.data.core.model.time.instant import MINUTE_MS, from_ms, parse_iso
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.core.net.http.websocket import Dialer
from onetape.data.core.net.limits.limiter import Limiter
from onetape.data.core.net.limits.state import State
from onetape.data.core.vendors.binance.stream import BinanceStream
from onetape.data.feed.backtrader.feed import BacktraderFeed, run_live
from onetape.data.feed.live_feed import LiveFeed
from onetape.data.feed.sources.bar_versions import StreamJudge
from onetape.data.feed.sources.base import Sink
from onetape.data.feed.streams.connection import Connection
from onetape.data.feed.streams.listeners import BarListener
from onetape.data.feed.streams.pool import Hub, Subscription
from tests.vendor_server.streams import StreamServer

from .feed_waits import delays, stops
from .harness import Figure, Report, Row, race, sized

_NOTE = (
    "The first three rows show thousands of frames (messages of a stream) or bars per "
    "second. The frames are Binance's, as if they had arrived on a socket. They pass through "
    "the whole stream code, which reads and checks them and passes their bars to one "
    "callback in its own thread. In the row for Backtrader, bars pass through a strategy "
    "that does nothing.\n\n"
    "- *parse only*: `json.loads` and nothing else;\n"
    "- *bare queue*: the shortest data class that fills lines from a queue.\n\n"
    "The second row compares the CPU times of all threads, so other load on the machine does "
    "not change it. The fourth row shows microseconds, over a socket on this machine: the "
    "time from before a frame is sent until the callback has its bar, one frame at a time. "
    "The last two rows show milliseconds: the time until a feed has stopped, in each of its "
    "states, and the time from the arrival of a bar until the strategy gets it, with five "
    "feeds in one Cerebro."
)
_START = parse_iso("2024-06-10")
_GRID = BarGrid(calendar_for(Instrument("BTCUSDT", "crypto")), Timeframe.parse("1m"))
_FRAMES, _BARS, _SENT, _ROUNDS = 20_000, 5_000, 1_000, sized(3, 5)


def measure() -> Report:
    """Race our way against the least that any implementation must do."""
    frames = _frames(_FRAMES)
    calls: dict[str, Callable[[], object]] = {
        "ours": lambda: _to_callback(frames), "parse only": lambda: _parsed(frames),
    }  # fmt: skip
    bars = [_bar(number) for number in range(_BARS)]
    datas: dict[str, Callable[[], object]] = {
        "ours": lambda: _run(_ours(bars)), "bare queue": lambda: _run(_BareQueue(bars)),
        "PandasData": lambda: _run(_pandas(bars)),
    }  # fmt: skip
    return Report("Live feeds", _NOTE, [
        Row("frames to a callback", _rates(calls, _FRAMES), ">= 120, half of parse only"),
        Row("of the rate of parse only", {"share": _share(frames)}, ">= 0.5"),
        Row("bars through Backtrader", _rates(datas, _BARS), ">= 2 PandasData, 0.8 bare queue"),
        Row("socket to callback: p50, p99", _latencies()),
        Row(f"stop, longest of {_ROUNDS} in ms", _stops(), "<= 500"),
        Row("a busy feed next to 4 idle ones, delay in ms: p50, longest", _delays(), "<= 50"),
    ], more=("share",))  # fmt: skip


def _rates(calls: dict[str, Callable[[], object]], count: int) -> dict[str, Figure]:
    return {
        name: Figure.of([count * 1000 / us for us in values])
        for name, values in race(calls, rounds=_ROUNDS).items()
    }


def _share(frames: Sequence[str]) -> Figure:
    """Return our rate as a share of that of parsing only, by CPU time, round by round."""
    results = []
    for _ in range(_ROUNDS):
        started = process_time()
        _parsed(frames)
        between = process_time()
        _to_callback(frames)
        results.append((between - started) / (process_time() - between))
    return Figure.of(results)


# --- frames --------------------------------------------------------------------------------------


def _bar(number: int) -> LiveBar:
    price = 100.0 + number % 7
    return LiveBar(_START + number * MINUTE_MS, price, price + 2, price - 2, price + 1, 10.0)


def _frames(count: int) -> list[str]:
    """Return messages with bars that close one after another."""
    results = []
    for number in range(count):
        stamp, o, h, low, c, v = _bar(number)[:6]
        k = {"t": stamp, "T": stamp + MINUTE_MS - 1, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 2,
             "o": f"{o:.8f}", "c": f"{c:.8f}", "h": f"{h:.8f}", "l": f"{low:.8f}", "v": f"{v:.8f}",
             "n": 1, "x": True, "q": "0", "V": "0", "Q": "0", "B": "0"}  # fmt: skip
        data = {"e": "kline", "E": stamp + MINUTE_MS, "s": "BTCUSDT", "k": k}
        results.append(json.dumps({"stream": "btcusdt@kline_1m", "data": data}))
    return results


def _parsed(frames: Sequence[str]) -> None:
    for frame in frames:
        json.loads(frame)


def _judged(sink: Sink, clock: Clock, topic: Topic) -> StreamJudge:
    return StreamJudge(BarListener(sink, clock, _GRID), topic, BinanceStream(), clock)


class _Frames:
    """A socket on which frames have already arrived, and the dialer that opens it."""

    def __init__(self, frames: Sequence[str]) -> None:
        self._frames, self._cut = iter(frames), threading.Event()

    def __call__(self) -> _Frames:
        return self

    def receive(self, timeout: float) -> str | None:
        frame = next(self._frames, None)
        if frame is None:
            self._cut.wait(timeout)
        return frame

    def send(self, text: str) -> None:
        """Leave the subscription unanswered."""

    def ping(self) -> None:
        """Give no sign of life."""

    def abort(self) -> None:
        self._cut.set()


def _to_callback(frames: Sequence[str]) -> None:
    clock, topic = SystemClock(), Topic("BTCUSDT", "1m")

    def make() -> Connection:
        limiter = Limiter("binance", Limits(), State(None, clock))
        return Connection(BinanceStream(), _Frames(frames), limiter, clock)

    source = Subscription(Hub(), "one", topic, make, lambda sink: _judged(sink, clock, topic))
    feed = LiveFeed(*topic, source)
    done, numbers = threading.Event(), itertools.count(1)

    def call(bar: LiveBar) -> None:
        if next(numbers) == len(frames):
            done.set()

    feed.on_bar(call)
    feed.start()
    done.wait()
    feed.stop()


# --- Backtrader ----------------------------------------------------------------------------------


class _BareQueue(bt.DataBase):  # type: ignore[misc]
    """The simplest possible live data."""

    def __init__(self, bars: Sequence[LiveBar]) -> None:
        self.waiting: queue.SimpleQueue[LiveBar] = queue.SimpleQueue()
        for bar in bars:
            self.waiting.put(bar)

    def islive(self) -> bool:
        return True

    def haslivedata(self) -> bool:
        return not self.waiting.empty()

    def _load(self) -> bool:
        if self.waiting.empty():
            return False
        bar, lines = self.waiting.get(), self.lines
        lines.datetime[0] = bt.date2num(from_ms(bar.stamp_ms + MINUTE_MS))
        lines.open[0], lines.high[0], lines.low[0] = bar.open, bar.high, bar.low
        lines.close[0], lines.volume[0], lines.openinterest[0] = bar.close, bar.volume, 0.0
        return True


class _Ready:
    """A source that has pushed everything before anybody reads, like the filled bare queue."""

    def __init__(self, bars: Sequence[LiveBar]) -> None:
        self._bars = bars

    def start(self, sink: Sink) -> None:
        for bar in self._bars:
            sink.bar(bar)
        sink.end()

    def stop(self) -> None:
        """Do nothing: there is nothing to stop."""


def _ours(bars: Sequence[LiveBar]) -> BacktraderFeed:
    return BacktraderFeed(LiveFeed("BTCUSDT", "1m", _Ready(bars)))


def _pandas(bars: Sequence[LiveBar]) -> Any:
    index = pd.DatetimeIndex([from_ms(bar.stamp_ms + MINUTE_MS) for bar in bars])
    names = ["open", "high", "low", "close", "volume"]
    frame = pd.DataFrame([bar[1:6] for bar in bars], index=index, columns=names)
    return bt.feeds.PandasData(dataname=frame)


def _run(data: Any) -> None:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(data)
    run_live(cerebro, preload=False, runonce=False)


# --- sockets -------------------------------------------------------------------------------------


def _latencies() -> dict[str, Figure]:
    rounds = [_over_a_socket(_SENT) for _ in range(_ROUNDS)]
    return {
        name: Figure.of([waits[len(waits) * share // 100] for waits in rounds])
        for name, share in (("p50", 50), ("p99", 99))
    }


def _over_a_socket(count: int) -> list[float]:
    """Return the microseconds from sending a frame to its bar's callback, ascending."""
    clock, topic, heard = SystemClock(), Topic("BTCUSDT", "1m"), queue.SimpleQueue[float]()
    with StreamServer(ManualClock(_START)) as streams:
        protocol = BinanceStream(streams.url("binance"))

        def make() -> Connection:
            limiter = Limiter("binance", Limits(), State(None, clock))
            return Connection(protocol, Dialer(protocol.address), limiter, clock)

        source = Subscription(Hub(), "one", topic, make, lambda sink: _judged(sink, clock, topic))
        feed = LiveFeed(*topic, source)
        feed.on_bar(lambda bar: heard.put(perf_counter()))
        with feed:
            while not streams.listening(topic):
                sleep(0.01)
            (peer,) = streams.listening(topic)
            results = []
            for frame in _frames(count):
                started = perf_counter()
                peer.say(frame)
                results.append((heard.get() - started) * 1e6)
    return sorted(results)


# --- waits ---------------------------------------------------------------------------------------


def _stops() -> dict[str, Figure]:
    """Return the longest stop for each state that a feed can be in."""
    results = stops(_ROUNDS)
    return {way: Figure.of([max(values)]) for way, values in results.items()}


def _delays() -> dict[str, Figure]:
    rounds = [sorted(delays()) for _ in range(_ROUNDS)]
    return {
        "p50": Figure.of([waits[len(waits) // 2] for waits in rounds]),
        "longest": Figure.of([waits[-1] for waits in rounds]),
    }


if __name__ == "__main__":
    print(measure())
