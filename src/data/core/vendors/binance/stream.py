"""Binance's kline streams: spot, and dollar-margined futures; no key is needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar

from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.stream import (
    BarSeen,
    Heard,
    Leaving,
    LiveBar,
    Ready,
    StreamAddress,
    StreamEvent,
    StreamRefusal,
    Subscribed,
    Topic,
    Unreadable,
)
from ...model.request.capabilities import Limits
from ...model.time.timeframe import Timeframe
from ..stream_protocol import StreamTraits, spelled, understood

_SAME = "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M"
# Milliseconds have 13 digits until the year 2286; with `timeUnit=MICROSECOND` there are 16.
_MICROSECONDS = 10**14


class BinanceStream:
    """Stream of klines (bars) from the spot market.

    Args:
        url: Address to connect to instead of Binance's own.
        credentials: Accepted but not used, because market data needs no key.
    """

    name: ClassVar[str] = "binance"
    display_name: ClassVar[str] = "Binance"
    default_url: ClassVar[str] = "wss://data-stream.binance.vision"
    traits: ClassVar[StreamTraits] = StreamTraits(
        timeframes={label: label for label in _SAME.split()},
        asset_classes=frozenset({"crypto"}),
        # Binance allows 300 connections per IP address in five minutes; more than 5 messages a
        # second close the connection with code 1008.
        connects=Limits(per_minute=30, per_second=1.0),
        topics=200,
        batch=50,
        spacing_s=0.3,
        # Binance pings every 20 s; after a minute without a ping the connection is dead.
        beat_s=60.0,
        quiet_s=60.0,
        lifetime_s=86_400.0,
        dense=True,
    )

    def __init__(self, url: str | None = None, credentials: object = None) -> None:
        self._url = (url or self.default_url).rstrip("/")
        self._request_id = 0

    def address(self) -> StreamAddress:
        """Return the address of a connection without topics; subscriptions follow on the connection."""
        return StreamAddress(f"{self._url}/stream", f"{self._url}/stream")

    def spelling(self, instrument: Instrument, timeframe: Timeframe) -> Topic | None:
        """Return the name of the pair with the timeframe, which Binance spells as this library does."""
        symbol = spelled("binance", self.traits, instrument, timeframe)
        return None if symbol is None else Topic(symbol.upper(), timeframe.label)

    def kind(self, instrument: Instrument) -> Kind:
        """Return the kind of the bars: around the clock, with the volume in the base coin."""
        return Kind("24h", "clock", self.name, instrument.quote or "", "base")

    def opened(self) -> Sequence[StreamEvent]:
        """Report that the stream is ready immediately, because no login is needed."""
        return [Ready()]

    def subscribe(self, topics: Sequence[Topic]) -> str:
        """Return a ``SUBSCRIBE`` message with a new message number."""
        return self._ask("SUBSCRIBE", topics)

    def unsubscribe(self, topics: Sequence[Topic]) -> str:
        """Return an ``UNSUBSCRIBE`` message with a new message number."""
        return self._ask("UNSUBSCRIBE", topics)

    def read(self, frame: str | bytes) -> Sequence[StreamEvent]:
        """Parse a frame: ``{"stream", "data": {...}}``, ``data`` without a stream, a reply, or an error."""
        return understood(frame, _read)

    def _ask(self, method: str, topics: Sequence[Topic]) -> str:
        self._request_id += 1
        names = [f"{t.symbol.lower()}@kline_{t.timeframe}" for t in topics]
        return json.dumps({"method": method, "params": names, "id": self._request_id})


class BinanceFuturesStream(BinanceStream):
    """Stream of klines (bars) for dollar-margined perpetual futures, whose history comes through ccxt.

    Futures are traded on a different venue from the spot market, so one series never contains bars
    of both. Since 2026-04-23 klines are sent only on this path: the older address still accepts
    connections, but sends nothing.
    """

    name: ClassVar[str] = "binanceusdm"
    display_name: ClassVar[str] = "Binance Futures"
    default_url: ClassVar[str] = "wss://fstream.binance.com/market"
    # Longer bars are built from daily bars by the source of the history.
    traits: ClassVar[StreamTraits] = replace(
        BinanceStream.traits, timeframes={label: label for label in _SAME.split()[:-3]}
    )


def _read(message: dict[str, Any]) -> Sequence[StreamEvent]:
    data = message.get("data", message)
    if data.get("e") != "kline":
        return _other_events(message, data)
    # Written without function calls, because thousands of messages per second take this path.
    k = data["k"]
    symbol = k["s"]
    topic, stream = _topic_and_name(symbol, k["i"])
    if data.get("s", symbol) != symbol or message.get("stream", stream) != stream:
        return [Unreadable("a kline whose symbols contradict each other")]
    stamp, sent = int(k["t"]), int(data.get("E", 0))
    if stamp >= _MICROSECONDS:
        stamp //= 1000
    if sent >= _MICROSECONDS:
        sent //= 1000
    volume = float(k["v"])
    if volume != volume:  # true for NaN, without a function call
        raise ValueError("the bar has no volume")
    if k["o"] is True or k["h"] is True or k["l"] is True or k["c"] is True:
        raise TypeError("expected a number, not true")
    # Same result as `LiveBar(...)`, at a third of the cost.
    bar = tuple.__new__(
        LiveBar,
        (
            stamp,
            float(k["o"]),
            float(k["h"]),
            float(k["l"]),
            float(k["c"]),
            volume,
            k["x"] is True,
            "live",
        ),
    )
    return (BarSeen(topic, bar, sent),)


@lru_cache(1024)
def _topic_and_name(symbol: str, label: str) -> tuple[Topic, str]:
    """Return the topic (always the same object) and the stream name for a symbol's klines."""
    return Topic(symbol, label), f"{symbol.lower()}@kline_{label}"


def _other_events(message: dict[str, Any], data: dict[str, Any]) -> Sequence[StreamEvent]:
    """Return the events for a message without a kline."""
    if data.get("e") == "serverShutdown":
        return [Leaving("the venue is about to close this connection")]
    if "error" in message:
        error = message["error"]
        text = error.get("msg", error) if isinstance(error, dict) else error
        return [StreamRefusal(f"it refused: {str(text)[:200]}")]
    if "result" in message:
        return [Subscribed()]
    # A stream that this connection did not subscribe to, or one without an event name.
    event = data.get("e") or ("bookTicker" if "A" in data and "B" in data else "")
    return [Heard(str(event))] if event else []
