"""Values used by live streams: bars, trades, revisions, and the state of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from ..time.instant import from_ms
from .bars import Bar

Origin = Literal["history", "backfill", "live"]


class LiveBar(NamedTuple):
    """One bar from a live feed; see :class:`~.market.bars.Bar` for its timestamp and values.

    Attributes:
        stamp_ms: Opening time of the bar in UTC milliseconds; for daily and longer bars, 00:00 UTC
            on the session date.
        is_closed: False for a forming bar, which is sent only to listeners that request it.
        origin: ``history``: the bar closed before the feed started; ``backfill``: it was fetched to
            fill a gap in the stream; ``live``: the stream sent it.
        symbol: Symbol of the feed that emitted the bar, or empty. Not a field of the tuple.
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
        """The symbol of the feed that emitted the bar; empty for a bar without a feed."""
        return ""

    @property
    def time(self) -> datetime:
        """The bar's opening time as an aware UTC time; for daily and longer bars the session date."""
        return from_ms(self.stamp_ms).replace(tzinfo=UTC)

    def of(self, symbol: str) -> LiveBar:
        """Return the same bar with ``symbol`` set; the two compare equal."""
        return tuple.__new__(_class_of(symbol), self)

    @property
    def bar(self) -> Bar:
        """The bar without the attributes that the feed adds, in the form used by the store."""
        return Bar(self.stamp_ms, self.open, self.high, self.low, self.close, self.volume)


# Bars with the same symbol share a class, because a field would change the tuples that programs
# unpack and compare, and an attribute on each bar would add 180 bytes to its 270.
@lru_cache(4096)
def _class_of(symbol: str) -> type[LiveBar]:
    """Return a class of bars that keep ``symbol`` when they are pickled, copied or replaced."""

    def reduce(bar: LiveBar) -> tuple[Any, ...]:
        """Return the function that pickle calls to recreate a bar, and its arguments."""
        return _bar_of, (symbol, tuple(bar))

    def show(bar: LiveBar) -> str:
        """Return the ``repr`` of a bar with its symbol at the end."""
        return f"{LiveBar.__repr__(bar)[:-1]}, symbol={symbol!r})"

    attributes = {"__slots__": (), "symbol": symbol, "__reduce__": reduce, "__repr__": show}
    return type("LiveBar", (LiveBar,), attributes)


def _bar_of(symbol: str, values: tuple[Any, ...]) -> LiveBar:
    return LiveBar(*values).of(symbol)


class Trade(NamedTuple):
    """One trade: time (UTC milliseconds), price, and size (0 if a price came without a trade).

    This is a trade on a market; the row of a bot's trade is ``onetape.db.models.Trade``.
    """

    stamp_ms: int
    price: float
    size: float


class Revision(NamedTuple):
    """A new version, including late trades, of a closed bar that has already been emitted."""

    bar: LiveBar


class StreamState(StrEnum):
    """State of a feed; a strategy should trade only while it is ``LIVE``.

    ``CONNECTING``: not connected yet, or reconnecting. ``BACKFILLING``: connected, and fetching the
    bars that were missed. ``LIVE``: every bar from the first one up to now has been emitted; the
    next one follows when it closes. ``INCOMPLETE``: bars are missing from the initial history;
    later bars are held back until the missing ones arrive, or until a vendor reports that they do
    not exist. ``DELAYED``: some bars could not be supplied by any vendor yet; later bars are held
    back. ``STALE``: the market is open and nothing was received for too long. ``CLOSED``: the feed
    has ended permanently.
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
    """A stream to subscribe to: the vendor's name for an instrument, and a timeframe label."""

    symbol: str
    timeframe: str


# --- events that a vendor's protocol parses from a frame ---------------------------------------


class BarSeen(NamedTuple):
    """A forming or closed bar for a topic, as received.

    Attributes:
        topic, bar: The topic, and its bar.
        sent_ms: Time at which the vendor sent the bar, by the vendor's clock (UTC milliseconds); 0
            if the message has no time.
    """

    topic: Topic
    bar: LiveBar
    sent_ms: int = 0


class BarRevised(NamedTuple):
    """A closed bar that the vendor has corrected to include late trades."""

    topic: Topic
    bar: LiveBar


class TradeSeen(NamedTuple):
    """A trade as received, with the vendor's name for the instrument."""

    symbol: str
    trade: Trade


class Ready(NamedTuple):
    """The vendor has accepted the connection, and subscription requests may be sent."""


class Subscribed(NamedTuple):
    """The vendor has accepted the oldest subscription request that was still unanswered."""


class StreamReply(NamedTuple):
    """A frame that must be sent in reply. The frame may contain an API key, so it must never be logged."""

    frame: str

    def __repr__(self) -> str:
        return "Reply(***)"


class Heard(NamedTuple):
    """A frame that was parsed but does not contain market data, such as a heartbeat."""

    what: str


class Leaving(NamedTuple):
    """The vendor will close this connection soon; a new one should be opened before then."""

    reason: str


class StreamRefusal(NamedTuple):
    """The vendor has refused a connection or a subscription.

    Attributes:
        reason: The vendor's own message, with any key removed.
        is_final: Whether a retry is pointless, as with a wrong key or an insufficient plan.
        wait_s: Seconds to wait before the next connection; 0 for the usual wait.
        topic: Topic whose subscription was refused; None if the whole connection was refused.
    """

    reason: str
    is_final: bool = False
    wait_s: float = 0.0
    topic: Topic | None = None


class Unreadable(NamedTuple):
    """A frame that could not be parsed; such frames are counted and logged, never ignored."""

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
    """The address of a stream. ``url`` can contain a key, so only ``shown`` may be displayed."""

    url: str
    shown: str

    def __repr__(self) -> str:
        return f"StreamAddress({self.shown!r})"
