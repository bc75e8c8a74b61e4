"""The interface of a vendor's stream: address, messages to send, and parsing of received frames.

A protocol is pure: no socket, no clock, no thread. The code that runs the connection sends its
messages and passes it the received frames.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from inspect import isfunction
from math import isnan
from typing import Any, ClassVar, Protocol, cast

from ...errors import MissingCredentialsError
from ..config.offered import STREAMS, offer_of
from ..model.identity.instrument import Instrument
from ..model.identity.kind import Kind
from ..model.market.stream import (
    BarSeen,
    Heard,
    LiveBar,
    StreamAddress,
    StreamEvent,
    Topic,
    Unreadable,
)
from ..model.request.capabilities import Limits
from ..model.time.timeframe import Timeframe
from ..registry import load, row_of
from .foreign import load_offer

# The core of `json.loads`, without its checks before and after.
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


@dataclass(frozen=True)
class StreamTraits:
    """The properties that a vendor's stream declares.

    Attributes:
        timeframes: Maps the label of each streamed timeframe to the vendor's spelling. If empty,
            the stream sends trades, from which bars of any intraday timeframe are built.
        asset_classes: Asset classes that the stream serves.
        connects: Limits for opening connections, shared by all processes.
        topics: Maximum number of subscriptions per connection.
        batch: Maximum number of subscriptions in one message.
        spacing_s: Minimum number of seconds between two messages sent to the vendor.
        beat_s: Longest time in seconds for which a healthy connection is silent, without even a
            ping.
        quiet_s: Longest time in seconds without data for a healthy subscription while the market is
            open; at least the length of three bars.
        lifetime_s: Age in seconds at which the vendor closes connections; 0 if it does not close
            them.
        dense: Whether the stream also sends bars for times without trades.
        answers: Whether the vendor confirms subscriptions; if not, they count as active as soon as
            they are sent.
        key_in_address: Whether the address contains the key, so that no login message is needed.
    """

    timeframes: Mapping[str, str]
    asset_classes: frozenset[str]
    connects: Limits
    topics: int = 200
    batch: int = 100
    spacing_s: float = 0.3
    beat_s: float = 60.0
    quiet_s: float = 60.0
    lifetime_s: float = 0.0
    dense: bool = False
    answers: bool = True
    key_in_address: bool = False


class StreamProtocol(Protocol):
    """The protocol of one vendor's stream.

    An instance handles one connection at a time. Not thread-safe.
    """

    name: ClassVar[str]
    display_name: ClassVar[str]
    traits: ClassVar[StreamTraits]

    def address(self) -> StreamAddress:
        """Return the address to which a connection is made."""

    def spelling(self, instrument: Instrument, timeframe: Timeframe) -> Topic | None:
        """Return the vendor's name for an instrument's bars, or None if the vendor does not stream them."""

    def kind(self, instrument: Instrument) -> Kind:
        """Return the kind of an instrument's bars."""

    def opened(self) -> Sequence[StreamEvent]:
        """Return the events of a new connection: ``Ready``, or a message that must be sent first."""

    def subscribe(self, topics: Sequence[Topic]) -> str:
        """Return the message that subscribes to ``topics``, at most ``traits.batch`` of them."""

    def unsubscribe(self, topics: Sequence[Topic]) -> str:
        """Return the message that ends the subscriptions to ``topics``."""

    def read(self, frame: str | bytes) -> Sequence[StreamEvent]:
        """Return the events in a frame, at least one; never raise an error, whatever the frame contains."""


# A function that creates a stream from an address (None for the vendor's own) and keys.
MakeStream = Callable[[str | None, Mapping[str, str]], StreamProtocol]


def stream_of(vendor: str) -> MakeStream | None:
    """Return the function that creates a vendor's stream, or None if the vendor has no stream.

    Raises:
        UnknownProviderError: The stream comes from another package and cannot be used.
    """
    path = row_of(vendor).stream
    if path:
        return cast(MakeStream, load(path))
    if offer_of(STREAMS, vendor) is None:
        return None
    return cast(MakeStream, load_offer(STREAMS, vendor, _objection))


def _objection(vendor: str, cls: Any) -> str:
    """Return why an object from another package is not a valid stream, or an empty string."""
    if not isinstance(cls, type):
        return "it is not a class"
    methods = [name for name, what in vars(StreamProtocol).items() if isfunction(what)]
    lacking = [name for name in methods if name[0] != "_" and not callable(getattr(cls, name, 0))]
    if lacking:
        return f"it lacks {', '.join(lacking)}"
    name, traits = getattr(cls, "name", ""), getattr(cls, "traits", None)
    if name != vendor:
        return f"its `name` is {name!r}, not {vendor!r}"
    if not isinstance(getattr(cls, "display_name", None), str):
        return "it has no `display_name`"
    if not isinstance(traits, StreamTraits) or not isinstance(traits.connects, Limits):
        return "its `traits` are not StreamTraits"
    is_sound = min(traits.topics, traits.batch) >= 1 and min(traits.beat_s, traits.quiet_s) > 0
    return "" if is_sound else "its `traits` need topics, batch, beat_s and quiet_s above 0"


def understood(
    frame: str | bytes, read: Callable[[Any], Sequence[StreamEvent]]
) -> Sequence[StreamEvent]:
    """Return the events that ``read`` finds in a JSON frame, or an ``Unreadable`` event if it fails."""
    try:
        message = _parse_frame(frame)
    except (ValueError, RecursionError) as error:
        return [Unreadable(f"a frame is not JSON ({type(error).__name__})")]
    return made_of(message, read)


def each(frame: str | bytes, read: Callable[[Any], Sequence[StreamEvent]]) -> Sequence[StreamEvent]:
    """Return the events that ``read`` finds in a frame that is a JSON list of messages.

    A message that cannot be parsed yields an ``Unreadable`` event; the other messages are still
    used.
    """
    return understood(frame, lambda messages: [e for m in messages for e in made_of(m, read)])


def made_of(message: Any, read: Callable[[Any], Sequence[StreamEvent]]) -> Sequence[StreamEvent]:
    """Return the events that ``read`` finds in a message, or one ``Unreadable`` event if it fails."""
    try:
        return read(message) or [Unreadable("a message of an unknown type")]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        return [Unreadable(f"a message of another form ({type(error).__name__})")]


def _parse_frame(frame: str | bytes) -> Any:
    """Parse a JSON frame and return its content.

    Raises:
        ValueError: The frame is not JSON.
    """
    if isinstance(frame, str):
        try:
            message, end = _scan(frame, 0)
        except StopIteration:
            end = -1
        if end == len(frame):
            return message
    # The frame is bytes, has whitespace around the JSON, or is not JSON at all.
    return json.loads(frame)


def spelled(
    vendor: str, traits: StreamTraits, instrument: Instrument, timeframe: Timeframe
) -> str | None:
    """Return the vendor's spelling of an instrument, or None if the vendor does not stream such bars."""
    if instrument.asset_class not in traits.asset_classes:
        return None
    if traits.timeframes and timeframe.label not in traits.timeframes:
        return None
    spelling = instrument.spelling(vendor)
    # Share classes follow a dot on every stream; in this library's symbols they follow a dash.
    return spelling.replace("-", ".") if instrument.asset_class == "stock" else spelling


@lru_cache(1024)
def topic_of(symbol: str, label: str) -> Topic:
    """Return the topic for a symbol and a timeframe label.

    Topics are cached, because messages name the same few topics again and again.

    Raises:
        TypeError: A message has a list or a mapping in place of a name.
    """
    return Topic(symbol, label)


def bar_of(stamp_ms: int, values: Iterable[Any], *, is_closed: bool = True) -> LiveBar:
    """Return a bar from ``values``: open, high, low, close and volume, as numbers or strings.

    The connection that receives the bar checks whether its values are plausible.

    Raises:
        ValueError, TypeError: A value is not a number, the number of values is not five, or the
            volume is NaN.
    """
    numbers = tuple(values)
    if bool in map(type, numbers):
        raise TypeError("expected a number, not true or false")
    o, h, low, c, volume = map(float, numbers)
    if isnan(volume):
        raise ValueError("the bar has no volume")
    return LiveBar(stamp_ms, o, h, low, c, volume, is_closed)


def seen(topic: Topic, bar: LiveBar) -> StreamEvent:
    """Return the event for a bar; the connection that receives the event checks the bar's values."""
    return BarSeen(topic, bar)


def key_of(credentials: Mapping[str, str] | None, name: str, title: str) -> str:
    """Return the key that a stream requires; ``title`` is the vendor's display name.

    Raises:
        MissingCredentialsError: The key is not set.
    """
    key = (credentials or {}).get(name)
    if not key:
        raise MissingCredentialsError(f"{title}'s stream needs a key", hint=f"set {name}")
    return key


class KeyedStream:
    """Base class of streams that need keys, have a single address and subscribe by symbol.

    Args:
        url: Address to connect to.
        credentials: Maps the name of each key to its value.

    Attributes:
        default_url: Usual address of the stream.
        key_names: Names of the keys.

    Raises:
        MissingCredentialsError: A key is not set.
    """

    name: ClassVar[str]
    display_name: ClassVar[str]
    traits: ClassVar[StreamTraits]
    default_url: ClassVar[str]
    key_names: ClassVar[tuple[str, ...]]

    def __init__(
        self, url: str | None = None, credentials: Mapping[str, str] | None = None
    ) -> None:
        self._url = (url or self.default_url).rstrip("/")
        self._credentials = credentials
        self._keys = self._set_keys()

    def _set_keys(self) -> list[str]:
        """Return the keys that are currently set."""
        return [key_of(self._credentials, name, self.display_name) for name in self.key_names]

    def address(self) -> StreamAddress:
        """Return the address, which does not contain the keys; they are sent over the connection."""
        return StreamAddress(self._url, self._url)

    def spelling(self, instrument: Instrument, timeframe: Timeframe) -> Topic | None:
        """Return the vendor's spelling of a symbol, which has a dot before a share class."""
        symbol = spelled(self.name, self.traits, instrument, timeframe)
        return None if symbol is None else Topic(symbol, timeframe.label)

    def opened(self) -> Sequence[StreamEvent]:
        """Report that the connection is open; the login follows after the vendor's greeting.

        The login will use the keys that are set now.
        """
        self._keys = self._set_keys()
        return [Heard("open")]
