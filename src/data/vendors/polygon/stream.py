"""Polygon's stream of minute bars of American stocks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...model.capabilities import Limits
from ...model.instrument import Instrument
from ...model.kind import Kind
from ...model.stream import (
    BarSeen,
    Heard,
    Ready,
    StreamAddress,
    StreamEvent,
    StreamRefusal,
    StreamReply,
    Subscribed,
    Topic,
)
from ...model.timeframe import Timeframe
from ..stream_protocol import StreamTraits, bar_of, each, key_of, spelled, topic_of

_HELD_S = 60.0
_REFUSALS = frozenset(
    {"auth_failed", "auth_timeout", "max_connections", "error", "force_disconnect"}
)
_NO_KEY_HELPS = frozenset({"auth_failed", "error"})


class PolygonStream:
    """Closed minute bars; a repeated bar replaces the earlier one. A minute without trades has no bar.

    Args:
        url: Address to connect to.
        credentials: ``POLYGON_API_KEY``.

    Raises:
        MissingCredentialsError: The key is not set.
    """

    name: ClassVar[str] = "polygon"
    display_name: ClassVar[str] = "Polygon"
    default_url: ClassVar[str] = "wss://socket.massive.com/stocks"
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

    def __init__(
        self, url: str | None = None, credentials: Mapping[str, str] | None = None
    ) -> None:
        self._url = (url or self.default_url).rstrip("/")
        self._credentials = credentials
        self._look_up_key()

    def _look_up_key(self) -> None:
        self._key = key_of(self._credentials, "POLYGON_API_KEY", self.display_name)

    def address(self) -> StreamAddress:
        """Return the address; the key is sent over the connection."""
        return StreamAddress(self._url, self._url)

    def spelling(self, instrument: Instrument, timeframe: Timeframe) -> Topic | None:
        """Return the stock in Polygon's spelling, with a dot before its share class."""
        symbol = spelled(self.name, self.traits, instrument, timeframe)
        return None if symbol is None else Topic(symbol, timeframe.label)

    def kind(self, instrument: Instrument) -> Kind:
        """Return the kind of the bars: regular hours, from the consolidated tape of all venues."""
        return Kind("regular", "session", "consolidated", instrument.quote or "", "shares", "sip")

    def opened(self) -> Sequence[StreamEvent]:
        """Wait for the greeting; the currently set key will be used to log in."""
        self._look_up_key()
        return [Heard("open")]

    def subscribe(self, topics: Sequence[Topic]) -> str:
        """Return a ``subscribe`` message for minute bars."""
        return _ask("subscribe", topics)

    def unsubscribe(self, topics: Sequence[Topic]) -> str:
        """Return an ``unsubscribe`` message for minute bars."""
        return _ask("unsubscribe", topics)

    def read(self, frame: str | bytes) -> Sequence[StreamEvent]:
        """Parse a list of messages, distinguished by ``ev``."""
        return each(frame, self._one)

    def _one(self, message: dict[str, Any]) -> list[StreamEvent]:
        what = message["ev"]
        if what == "AM":
            bar = bar_of(int(message["s"]), (message[name] for name in "ohlcv"))
            return [BarSeen(topic_of(message["sym"], "1m"), bar)]
        return [self._status(message) if what == "status" else Heard(str(what))]

    def _status(self, message: dict[str, Any]) -> StreamEvent:
        status = message["status"]
        if status == "connected":
            return StreamReply(json.dumps({"action": "auth", "params": self._key}))
        if status == "auth_success":
            return Ready()
        if status == "success":
            return Subscribed()
        if status in _REFUSALS:
            text = f"{status}, {str(message.get('message'))[:100]}".replace(self._key, "***")
            wait = _HELD_S if status == "max_connections" else 0.0
            return StreamRefusal(text, status in _NO_KEY_HELPS, wait)
        return Heard(str(status))


def _ask(action: str, topics: Sequence[Topic]) -> str:
    names = ",".join(f"AM.{topic.symbol}" for topic in topics)
    return json.dumps({"action": action, "params": names})
