"""What a live feed costs: from a frame to a callback, and through Backtrader."""

from __future__ import annotations

import itertools
import json
import queue
import threading
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import backtrader as bt
import pandas as pd

from src.data.feed.backtrader_feed import BacktraderFeed, run_live
from src.data.feed.base import LiveFeed
from src.data.feed.binance_live_data_feed import BinanceStream
from src.data.feed.source import Sink
from src.data.model.instant import MINUTE_MS, from_ms, parse_iso
from src.data.model.stream import BarSeen, LiveBar

from .harness import Figure, Report, Row, race

_NOTE = (
    "Thousands in a second. Frames are those of Binance, read, checked and handed to one callback in a "
    "thread of its own; bars go through Backtrader with a strategy that does nothing. *parse only*: "
    "`json.loads` and nothing else. *bare queue*: the shortest data that fills lines from a queue."
)
_START = parse_iso("2024-06-10")
_FRAMES, _BARS, _ROUNDS = 20_000, 5_000, 5


def measure() -> Report:
    """Race our way against the least that any way must do."""
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
        Row("bars through Backtrader", _rates(datas, _BARS), ">= 2 PandasData, 0.8 bare queue"),
    ])  # fmt: skip


def _rates(calls: dict[str, Callable[[], object]], count: int) -> dict[str, Figure]:
    return {
        name: Figure.of([count * 1000 / us for us in values])
        for name, values in race(calls, rounds=_ROUNDS).items()
    }


# --- frames --------------------------------------------------------------------------------------


def _bar(number: int) -> LiveBar:
    price = 100.0 + number % 7
    return LiveBar(_START + number * MINUTE_MS, price, price + 2, price - 2, price + 1, 10.0)


def _frames(count: int) -> list[str]:
    """Return messages of bars that close one after another."""
    found = []
    for number in range(count):
        stamp, o, h, low, c, v = _bar(number)[:6]
        k = {"t": stamp, "T": stamp + MINUTE_MS - 1, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 2,
             "o": f"{o:.8f}", "c": f"{c:.8f}", "h": f"{h:.8f}", "l": f"{low:.8f}", "v": f"{v:.8f}",
             "n": 1, "x": True, "q": "0", "V": "0", "Q": "0", "B": "0"}  # fmt: skip
        data = {"e": "kline", "E": stamp + MINUTE_MS, "s": "BTCUSDT", "k": k}
        found.append(json.dumps({"stream": "btcusdt@kline_1m", "data": data}))
    return found


def _parsed(frames: Sequence[str]) -> None:
    for frame in frames:
        json.loads(frame)


class _Frames:
    """A source that reads frames and pushes what they say, as fast as it can."""

    def __init__(self, frames: Sequence[str]) -> None:
        self._frames, self._protocol = frames, BinanceStream()

    def start(self, sink: Sink) -> None:
        threading.Thread(target=self._run, args=(sink,), daemon=True).start()

    def stop(self) -> None:
        """End by itself."""

    def _run(self, sink: Sink) -> None:
        for frame in self._frames:
            for event in self._protocol.read(frame):
                if isinstance(event, BarSeen):
                    sink.bar(event.bar)
        sink.end()


def _to_callback(frames: Sequence[str]) -> None:
    feed = LiveFeed("BTCUSDT", "1m", _Frames(frames))
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
    """The least that a live data can be."""

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
    """A source that has pushed all before anybody reads, as the bare queue is filled."""

    def __init__(self, bars: Sequence[LiveBar]) -> None:
        self._bars = bars

    def start(self, sink: Sink) -> None:
        for bar in self._bars:
            sink.bar(bar)
        sink.end()

    def stop(self) -> None:
        """Have nothing to stop."""


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


def _latency_us(count: int = 500) -> list[float]:
    """Return microseconds from a push to the callback, one bar at a time."""
    found: list[float] = []
    heard = threading.Event()
    sinks: list[Sink] = []

    class Hand:
        def start(self, sink: Sink) -> None:
            sinks.append(sink)

        def stop(self) -> None:
            """Have nothing to stop."""

    feed = LiveFeed("BTCUSDT", "1m", Hand())

    def hear(bar: LiveBar) -> None:
        found.append((perf_counter() - began) * 1e6)
        heard.set()

    feed.on_bar(hear)
    feed.start()
    for number in range(count):
        heard.clear()
        began = perf_counter()
        sinks[0].bar(_bar(number))
        heard.wait()
    feed.stop()
    return sorted(found)


if __name__ == "__main__":
    print(measure())
    waits = _latency_us()
    print(
        f"push to callback: p50 {waits[len(waits) // 2]:.0f} us, p99 {waits[-len(waits) // 100]:.0f} us"
    )
