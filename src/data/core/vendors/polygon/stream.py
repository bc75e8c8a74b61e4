"""Polygon's stream of minute bars of American stocks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.stream import (
    BarSeen,
    Heard,
    Ready,
    StreamEvent,
    StreamRefusal,
    StreamReply,
    Subscribed,
    Topic,
)
from ...model.request.capabilities import Limits
from ..stream_protocol import KeyedStream, StreamTraits, bar_of, each, topic_of

_HELD_S = 60.0
_REFUSALS = frozenset(
    {"auth_failed", "auth_timeout", "max_connections", "error", "force_disconnect"}
)
_NO_KEY_HELPS = frozenset({"auth_failed", "error"})


class PolygonStream(KeyedStream):
    """Stream of closed minute bars; a repeated bar replaces the earlier one.

    A minute without trades has no bar.

    Args:
        url: Address to connect to.
        credentials: Key ``POLYGON_API_KEY``.

    Raises:
        MissingCredentialsError: The key is not set.
    """

    name: ClassVar[str] = "polygon"
    display_name: ClassVar[str] = "Polygon"
    default_url: ClassVar[str] = "wss://socket.massive.com/stocks"
    key_names: ClassVar[tuple[str, ...]] = ("POLYGON_API_KEY",)
    traits: ClassVar[StreamTraits] = StreamTraits(
        timeframes={"1m": "AM"},
        asset_classes=frozenset({"stock"}),
        # One connection per cluster. Each name in a message gets its own reply, so one name per
        # message.
        connects=Limits(per_minute=10, burst=2),
        topics=10_000,
        batch=1,
        spacing_s=0.05,
        beat_s=60.0,
        quiet_s=180.0,
    )

    def kind(self, instrument: Instrument) -> Kind:
        """Return the kind of the bars: regular hours, consolidated tape of all venues."""
        return Kind("regular", "session", "consolidated", instrument.quote or "", "shares", "sip")

    def subscribe(self, topics: Sequence[Topic]) -> str:
        """Return a ``subscribe`` message for minute bars."""
        return _ask("subscribe", topics)

    def unsubscribe(self, topics: Sequence[Topic]) -> str:
        """Return an ``unsubscribe`` message for minute bars."""
        return _ask("unsubscribe", topics)

    def read(self, frame: str | bytes) -> Sequence[StreamEvent]:
        """Parse a frame, which is a list of messages; ``ev`` is the type of a message."""
        return each(frame, self._events_of)

    def _events_of(self, message: dict[str, Any]) -> list[StreamEvent]:
        what = message["ev"]
        if what == "AM":
            bar = bar_of(int(message["s"]), (message[name] for name in "ohlcv"))
            return [BarSeen(topic_of(message["sym"], "1m"), bar)]
        return [self._status(message) if what == "status" else Heard(str(what))]

    def _status(self, message: dict[str, Any]) -> StreamEvent:
        status = message["status"]
        if status == "connected":
            return StreamReply(json.dumps({"action": "auth", "params": self._keys[0]}))
        if status == "auth_success":
            return Ready()
        if status == "success":
            return Subscribed()
        if status in _REFUSALS:
            text = f"{status}, {str(message.get('message'))[:100]}".replace(self._keys[0], "***")
            wait = _HELD_S if status == "max_connections" else 0.0
            return StreamRefusal(text, status in _NO_KEY_HELPS, wait)
        return Heard(str(status))


def _ask(action: str, topics: Sequence[Topic]) -> str:
    names = ",".join(f"AM.{topic.symbol}" for topic in topics)
    return json.dumps({"action": action, "params": names})
