"""Values of live streams: bars, trades, revisions, and the state of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from .bars import Bar
from .instant import from_ms

Origin = Literal["history", "backfill", "live"]


class LiveBar(NamedTuple):
    """One bar from a feed; stamps and values are those of :class:`~.model.bars.Bar`.

    Attributes:
        stamp_ms: Open of the bar in UTC milliseconds; for days and longer 00:00 of the session
            date.
        is_closed: False for the running bar, which only listeners that request it receive.
        origin: ``history`` existed before the feed started; ``backfill`` was fetched because the
            stream had a gap there; ``live`` was sent by the stream.
        symbol: Symbol of the feed that emitted the bar; empty if none did. Not a field of the
            tuple.
    """

    stamp_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    is_closed: bool = True
    origin: Origin = "live"

    @property
    def symbol(self) -> str:
        """The symbol of the feed that emitted the bar; empty if none did."""
        return ""

    @property
    def time(self) -> datetime:
        """The bar's open as an aware UTC time; for days and longer 00:00 of the session date."""
        return from_ms(self.stamp_ms).replace(tzinfo=UTC)

    def of(self, symbol: str) -> LiveBar:
        """Return the bar as a bar of ``symbol``; it is equal to this one."""
        return tuple.__new__(_class_of(symbol), self)

    @property
    def bar(self) -> Bar:
        """Only the bar itself, in the form used by the store."""
        return Bar(self.stamp_ms, self.open, self.high, self.low, self.close, self.volume)


# A field would change the tuples that programs unpack and compare, and an attribute on each bar
# would take 180 bytes in addition to its 270: instead, bars of one symbol share a class.
@lru_cache(4096)
def _class_of(symbol: str) -> type[LiveBar]:
    """Return the class for the bars of a symbol; pickling, copying and replacing preserve it."""

    def reduce(bar: LiveBar) -> tuple[Any, ...]:
        """Return the function that recreates a bar, for pickle, and its arguments."""
        return _bar_of, (symbol, tuple(bar))

    def show(bar: LiveBar) -> str:
        """Return the text form of a bar, its symbol last."""
        return f"{LiveBar.__repr__(bar)[:-1]}, symbol={symbol!r})"

    own = {"__slots__": (), "symbol": symbol, "__reduce__": reduce, "__repr__": show}
    return type("LiveBar", (LiveBar,), own)


def _bar_of(symbol: str, values: tuple[Any, ...]) -> LiveBar:
    return LiveBar(*values).of(symbol)


class Trade(NamedTuple):
    """One trade: UTC milliseconds, price, and size (0 for a price without a trade)."""

    stamp_ms: int
    price: float
    size: float


class Revision(NamedTuple):
    """A new version of a closed bar that was emitted before: late trades were counted."""

    bar: LiveBar


class StreamState(StrEnum):
    """State of a feed; a strategy trades only on ``LIVE``.

    ``CONNECTING``: not connected yet, or reconnecting. ``BACKFILLING``: connected, and fetching the
    bars that were missed. ``LIVE``: every bar from the first one up to now was emitted; the next
    follows when it closes. ``INCOMPLETE``: bars are missing from the initial history; later ones
    are held back until they arrive, or until a vendor reports that there are none. ``DELAYED``:
    bars are missing that no vendor could supply yet; later ones are held back. ``STALE``: the
    market is open and nothing was received for too long. ``CLOSED``: ended permanently.
    """

    CONNECTING = "CONNECTING"
    BACKFILLING = "BACKFILLING"
    LIVE = "LIVE"
    INCOMPLETE = "INCOMPLETE"
    DELAYED = "DELAYED"
    STALE = "STALE"
    CLOSED = "CLOSED"


class StreamStatus(NamedTuple):
    """A state, its reason, and when it began (UTC milliseconds)."""

    state: StreamState
    reason: str = ""
    at_ms: int = 0


class Topic(NamedTuple):
    """A subscription: an instrument in the vendor's spelling, and our timeframe label."""

    symbol: str
    timeframe: str


# --- events that a vendor's protocol parses from a frame ---------------------------------------


class BarSeen(NamedTuple):
    """A running or closed bar for a topic, as received.

    Attributes:
        topic, bar: Bar and its topic.
        sent_ms: Time at which the vendor sent it, by the vendor's clock (UTC milliseconds); 0 if
            the message has none.
    """

    topic: Topic
    bar: LiveBar
    sent_ms: int = 0


class BarRevised(NamedTuple):
    """A closed bar corrected by the vendor: late trades were counted."""

    topic: Topic
    bar: LiveBar


class TradeSeen(NamedTuple):
    """A trade as received; the instrument is in the vendor's spelling."""

    symbol: str
    trade: Trade


class Ready(NamedTuple):
    """The vendor has accepted the connection: topics may be subscribed to."""


class Subscribed(NamedTuple):
    """The vendor has accepted the oldest subscription request that was not answered yet."""


class StreamReply(NamedTuple):
    """A frame that must be sent in reply. It may contain a key: never log it."""

    frame: str

    def __repr__(self) -> str:
        return "Reply(***)"


class Heard(NamedTuple):
    """A frame that was understood but has no market data, such as a heartbeat."""

    what: str


class Leaving(NamedTuple):
    """The vendor will close this connection soon; a new one is opened before that."""

    reason: str


class StreamRefusal(NamedTuple):
    """The vendor has refused a connection or a subscription.

    Attributes:
        reason: The vendor's own words, without a key.
        is_final: Whether a retry cannot help (a wrong key, no such plan).
        wait_s: Seconds to wait before the next connection; 0 for the usual wait.
        topic: Topic that was refused; None if the whole connection was.
    """

    reason: str
    is_final: bool = False
    wait_s: float = 0.0
    topic: Topic | None = None


class Unreadable(NamedTuple):
    """A frame that could not be parsed; it is counted and logged, never ignored."""

    why: str


StreamEvent = (
    BarSeen
    | BarRevised
    | TradeSeen
    | Ready
    | Subscribed
    | StreamReply
    | Heard
    | Leaving
    | StreamRefusal
    | Unreadable
)


@dataclass(frozen=True)
class StreamAddress:
    """The address to connect to. ``url`` may contain a key: only ``shown`` may be displayed."""

    url: str
    shown: str

    def __repr__(self) -> str:
        return f"StreamAddress({self.shown!r})"
