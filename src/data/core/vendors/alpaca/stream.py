"""Alpaca's stream of minute bars for American stocks: the IEX tape on every plan, SIP on paid plans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.stream import (
    BarRevised,
    BarSeen,
    Heard,
    LiveBar,
    Ready,
    StreamEvent,
    StreamRefusal,
    StreamReply,
    Subscribed,
    Topic,
)
from ...model.request.capabilities import Limits
from ...model.time.instant import to_ms
from ..stream_protocol import KeyedStream, StreamTraits, bar_of, each, topic_of

# 402: wrong key; 405: too many symbols; 409: not in the plan; 400 and 410: a mistake of this
# library.
_FINAL = frozenset({400, 402, 405, 409, 410})
_TOO_MANY = 406
# Seconds for which a connection that was lost without a close still counts as the only allowed one.
_HELD_S = 90.0
_HEARD = frozenset({"t", "q", "d", "s", "l", "c", "x", "i", "n"})


class AlpacaStream(KeyedStream):
    """Stream of closed minute bars; corrections follow half a minute later.

    A minute without trades has no bar.

    Args:
        url: Address to connect to; its last part names the tape (data feed).
        credentials: Keys ``ALPACA_API_KEY`` and ``ALPACA_SECRET_KEY``.

    Raises:
        MissingCredentialsError: A key is not set.
    """

    name: ClassVar[str] = "alpaca"
    display_name: ClassVar[str] = "Alpaca"
    default_url: ClassVar[str] = "wss://stream.data.alpaca.markets/v2/iex"
    key_names: ClassVar[tuple[str, ...]] = ("ALPACA_API_KEY", "ALPACA_SECRET_KEY")
    traits: ClassVar[StreamTraits] = StreamTraits(
        timeframes={"1m": "bars"},
        asset_classes=frozenset({"stock"}),
        # One connection at a time is allowed; too many attempts result in status 429.
        connects=Limits(per_minute=10, burst=2),
        topics=30_000,
        batch=500,
        beat_s=60.0,
        quiet_s=180.0,
    )

    def kind(self, instrument: Instrument) -> Kind:
        """Return the kind of the bars: regular hours, and the tape (data feed) named in the address."""
        tape = self._url.rpartition("/")[2].removeprefix("delayed_")
        return Kind("regular", "session", "consolidated", instrument.quote or "", "shares", tape)

    def subscribe(self, topics: Sequence[Topic]) -> str:
        """Return a ``subscribe`` message for bars and their corrections."""
        return self._ask("subscribe", topics)

    def unsubscribe(self, topics: Sequence[Topic]) -> str:
        """Return an ``unsubscribe`` message for bars and their corrections."""
        return self._ask("unsubscribe", topics)

    def read(self, frame: str | bytes) -> Sequence[StreamEvent]:
        """Parse a frame, which is a list of messages; ``T`` is the type of a message."""
        return each(frame, self._events_of)

    def _events_of(self, message: dict[str, Any]) -> list[StreamEvent]:
        what = message["T"]
        if what == "b":
            return [BarSeen(*_bar(message))]
        if what == "u":
            return [BarRevised(*_bar(message))]
        if what == "success":
            text = message["msg"]
            return [Ready() if text == "authenticated" else self._login()]
        if what == "subscription":
            return [Subscribed()]
        if what == "error":
            return [_refusal_event(message)]
        return [Heard(what)] if what in _HEARD else []

    def _login(self) -> StreamReply:
        key, secret = self._keys
        return StreamReply(json.dumps({"action": "auth", "key": key, "secret": secret}))

    @staticmethod
    def _ask(action: str, topics: Sequence[Topic]) -> str:
        symbols = [topic.symbol for topic in topics]
        return json.dumps({"action": action, "bars": symbols, "updatedBars": symbols})


def _bar(m: dict[str, Any]) -> tuple[Topic, LiveBar]:
    time = m["t"]
    if time[19:].strip(".0123456789") != "Z":
        raise ValueError("the time is not in UTC")
    stamp = to_ms(datetime.fromisoformat(time[:19]))  # cuts off the nanoseconds
    return topic_of(m["S"], "1m"), bar_of(stamp, (m[name] for name in "ohlcv"))


def _refusal_event(message: dict[str, Any]) -> StreamEvent:
    code = int(message["code"])
    if code == 403:  # already authenticated
        return Heard("already authenticated")
    wait = _HELD_S if code == _TOO_MANY else 0.0
    return StreamRefusal(f"error {code}, {str(message.get('msg'))[:100]}", code in _FINAL, wait)
