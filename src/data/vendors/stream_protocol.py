"""Interface of a vendor's stream: address, texts to send, and the parsing of frames.

A protocol is pure: no socket, no clock, no thread. The runner of the connection sends its texts and
passes it the frames received.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from inspect import isfunction
from math import isnan
from typing import Any, ClassVar, Protocol, cast

from ..config.offered import STREAMS, offer_of
from ..errors import MissingCredentialsError
from ..model.capabilities import Limits
from ..model.instrument import Instrument
from ..model.kind import Kind
from ..model.stream import (
    BarSeen,
    LiveBar,
    StreamAddress,
    StreamEvent,
    Topic,
    Unreadable,
)
from ..model.timeframe import Timeframe
from .foreign import load_offer
from .registry import load, row_of

# The core of `json.loads`, without its checks before and after.
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


@dataclass(frozen=True)
class StreamTraits:
    """Declared properties of a vendor's stream.

    Attributes:
        timeframes: our label to its own spelling; those it streams bars of. Empty: it streams
            trades, and any intraday bar is built of them.
        asset_classes: that it streams.
        connects: how often a connection may be opened, by all processes together.
        topics: subscriptions that one connection carries at most.
        batch: subscriptions that one text may name.
        spacing_s: seconds between two texts sent.
        beat_s: a healthy connection is never silent for longer, pings included.
        quiet_s: a healthy subscription in an open market is never silent for longer, or for longer
            than three of its bars.
        lifetime_s: the vendor cuts connections at this age; 0: it does not.
        dense: whether a bar without trades is sent all the same.
        answers: whether it answers subscriptions; else they count from when they were sent.
        key_in_address: whether connecting is logging in.
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
    """One vendor's stream. An object serves one connection at a time; not thread-safe."""

    name: ClassVar[str]
    display_name: ClassVar[str]
    traits: ClassVar[StreamTraits]

    def address(self) -> StreamAddress:
        """Return where to connect to."""

    def spelling(self, instrument: Instrument, timeframe: Timeframe) -> Topic | None:
        """Return how the vendor names such bars, or None where it does not stream them."""

    def kind(self, instrument: Instrument) -> Kind:
        """Return the kind of its bars."""

    def opened(self) -> Sequence[StreamEvent]:
        """Return the events of an opened connection: ``Ready``, or a text to send first."""

    def subscribe(self, topics: Sequence[Topic]) -> str:
        """Return the text that subscribes to ``topics``, at most ``traits.batch`` of them."""

    def unsubscribe(self, topics: Sequence[Topic]) -> str:
        """Return the text that ends subscriptions."""

    def read(self, frame: str | bytes) -> Sequence[StreamEvent]:
        """Return the events of a frame, at least one, whatever it holds; never raises."""


# Makes the stream of an address and keys; None: the vendor's own address.
MakeStream = Callable[[str | None, Mapping[str, str]], StreamProtocol]


def stream_of(vendor: str) -> MakeStream | None:
    """Return what makes the stream of a vendor by its canonical name, or None where it has none.

    Raises:
        UnknownProviderError: another package brings it, and it cannot be used.
    """
    path = row_of(vendor).stream
    if path:
        return cast(MakeStream, load(path))
    if offer_of(STREAMS, vendor) is None:
        return None
    return cast(MakeStream, load_offer(STREAMS, vendor, _faults))


def _faults(vendor: str, cls: Any) -> str:
    """Return why what a package offers as the stream of a vendor is none, or an empty text."""
    if not isinstance(cls, type):
        return "it is no class"
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
        return "its `traits` are no StreamTraits"
    is_sound = min(traits.topics, traits.batch) >= 1 and min(traits.beat_s, traits.quiet_s) > 0
    return "" if is_sound else "its `traits` need topics, batch, beat_s and quiet_s above 0"


def understood(
    frame: str | bytes, read: Callable[[Any], Sequence[StreamEvent]]
) -> Sequence[StreamEvent]:
    """Return the events that ``read`` makes of a frame of JSON; ``Unreadable`` where it fails."""
    try:
        message = _parsed(frame)
    except (ValueError, RecursionError) as error:
        return [Unreadable(f"a frame is no JSON ({type(error).__name__})")]
    return made_of(message, read)


def each(frame: str | bytes, read: Callable[[Any], Sequence[StreamEvent]]) -> Sequence[StreamEvent]:
    """Return the events that ``read`` makes of each message in a frame that is a list of them.

    One that cannot be read is ``Unreadable`` by itself; the others count.
    """
    return understood(frame, lambda messages: [e for m in messages for e in made_of(m, read)])


def made_of(message: Any, read: Callable[[Any], Sequence[StreamEvent]]) -> Sequence[StreamEvent]:
    """Return the events that ``read`` makes of one message; ``Unreadable`` where it fails."""
    try:
        return read(message) or [Unreadable("a message of no known type")]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        return [Unreadable(f"a message of another form ({type(error).__name__})")]


def _parsed(frame: str | bytes) -> Any:
    """Return what a frame of JSON holds, read once.

    Raises:
        ValueError: it is no JSON.
    """
    if isinstance(frame, str):
        try:
            message, end = _scan(frame, 0)
        except StopIteration:
            end = -1
        if end == len(frame):
            return message
    # Blanks around it, bytes, or no JSON at all.
    return json.loads(frame)


def spelled(
    vendor: str, traits: StreamTraits, instrument: Instrument, step: Timeframe
) -> str | None:
    """Return how ``vendor`` spells an instrument whose bars it streams, else None."""
    if instrument.asset_class not in traits.asset_classes:
        return None
    if traits.timeframes and step.label not in traits.timeframes:
        return None
    spelling = instrument.spelling(vendor)
    # Classes of shares stand behind a dot on every stream; among ourselves behind a dash.
    return spelling.replace("-", ".") if instrument.asset_class == "stock" else spelling


@lru_cache(1024)
def topic_of(symbol: str, label: str) -> Topic:
    """Return the one object for a topic: few are subscribed to, and every message names one.

    Raises:
        TypeError: A message has a list or a mapping in place of a name.
    """
    return Topic(symbol, label)


def bar_of(stamp_ms: int, values: Iterable[Any], *, is_closed: bool = True) -> LiveBar:
    """Return a bar of ``values``: open, high, low, close and volume, numbers or texts.

    Whether they can be those of a bar is judged where its connection reads it, whoever made it.

    Raises:
        ValueError, TypeError: a value is no number, or there are not five; or the volume is NaN.
    """
    numbers = tuple(values)
    if bool in map(type, numbers):
        raise TypeError("true or false in place of a number")
    o, h, low, c, volume = map(float, numbers)
    if isnan(volume):
        raise ValueError("a bar without its volume")
    return LiveBar(stamp_ms, o, h, low, c, volume, is_closed)


def seen(topic: Topic, bar: LiveBar) -> StreamEvent:
    """Return the event of a bar; its values are judged where the connection reads it."""
    return BarSeen(topic, bar)


def key_of(credentials: Mapping[str, str] | None, name: str, title: str) -> str:
    """Return a key that a stream requires.

    Raises:
        MissingCredentialsError: it is not set.
    """
    key = (credentials or {}).get(name)
    if not key:
        raise MissingCredentialsError(f"{title}'s stream needs a key", hint=f"set {name}")
    return key
