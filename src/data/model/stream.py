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
    """One bar of a feed; stamps and values as those of :class:`~.model.bars.Bar`.

    Attributes:
        stamp_ms: the bar's open in UTC milliseconds; days and longer: 00:00 of the session date.
        is_closed: False for the running bar, which only listeners that want it receive.
        origin: ``history`` was there before the feed started; ``backfill`` was fetched because the
            stream had a gap there; ``live`` was sent by the stream.
        symbol: of the feed that gave it; empty where no feed has. No field of the tuple.
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
        """The symbol of the feed that gave it; empty where no feed has."""
        return ""

    @property
    def time(self) -> datetime:
        """The bar's open as an aware UTC time; days and longer: 00:00 of the session date."""
        return from_ms(self.stamp_ms).replace(tzinfo=UTC)

    def of(self, symbol: str) -> LiveBar:
        """Return it as a bar of ``symbol``; it equals this one."""
        return tuple.__new__(_class_of(symbol), self)

    @property
    def bar(self) -> Bar:
        """The bar alone, as the store keeps it."""
        return Bar(self.stamp_ms, self.open, self.high, self.low, self.close, self.volume)


# A field would change the tuples that programs unpack and compare, and an attribute of each bar
# would take 180 bytes beside the 270 of a bar: bars of one symbol are of one class instead.
@lru_cache(4096)
def _class_of(symbol: str) -> type[LiveBar]:
    """Return the class of the bars of a symbol; they pickle, copy and replace as bars of it."""

    def reduce(bar: LiveBar) -> tuple[Any, ...]:
        """Return what makes a bar anew, for pickle: a function, and the symbol and values for it."""
        return _bar_of, (symbol, tuple(bar))

    def show(bar: LiveBar) -> str:
        """Return the text of a bar, its symbol last."""
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
    """A closed bar that was emitted before, as the vendor has it now: late trades were counted."""

    bar: LiveBar


class StreamState(StrEnum):
    """State of a feed; a strategy trades on ``LIVE`` alone.

    ``CONNECTING``: not connected yet, or not again. ``BACKFILLING``: connected, and what was missed
    is being fetched. ``LIVE``: every bar since the first one and up to now was emitted, the next
    comes when it closes. ``INCOMPLETE``: bars of the history that it began with are missing; later
    ones are held back until they come, or until a vendor says that there are none.
    ``DELAYED``: bars are missing that no vendor could supply yet; later ones are held back.
    ``STALE``: the market is open and nothing was received for too long. ``CLOSED``: ended for good.
    """

    CONNECTING = "CONNECTING"
    BACKFILLING = "BACKFILLING"
    LIVE = "LIVE"
    INCOMPLETE = "INCOMPLETE"
    DELAYED = "DELAYED"
    STALE = "STALE"
    CLOSED = "CLOSED"


class StreamStatus(NamedTuple):
    """A state, why it is so, and since when (UTC milliseconds)."""

    state: StreamState
    reason: str = ""
    at_ms: int = 0


class Topic(NamedTuple):
    """A subscription: an instrument in the vendor's spelling, and our timeframe label."""

    symbol: str
    timeframe: str


# --- what a vendor's protocol reads out of a frame ---------------------------------------------


class BarSeen(NamedTuple):
    """A bar of a topic, running or closed.

    Attributes:
        topic, bar: Bar and its topic.
        sent_ms: Time at which the vendor sent it, by the vendor's clock (UTC milliseconds); 0 if
            the message has none.
    """

    topic: Topic
    bar: LiveBar
    sent_ms: int = 0


class BarRevised(NamedTuple):
    """A closed bar that the vendor corrects: late trades were counted."""

    topic: Topic
    bar: LiveBar


class TradeSeen(NamedTuple):
    """A trade in the vendor's spelling of the instrument."""

    symbol: str
    trade: Trade


class Ready(NamedTuple):
    """The vendor lets us in: topics may be subscribed to."""


class Subscribed(NamedTuple):
    """The vendor says yes to the oldest text that subscribed and was not answered yet."""


class StreamReply(NamedTuple):
    """A frame that must be sent back. It may hold a key: never log it."""

    frame: str

    def __repr__(self) -> str:
        return "Reply(***)"


class Heard(NamedTuple):
    """A frame that was understood and holds no market data: an answer, a beat, another stream."""

    what: str


class Leaving(NamedTuple):
    """The vendor will close this connection soon: a new one is opened before that."""

    reason: str


class StreamRefusal(NamedTuple):
    """The vendor refuses.

    Attributes:
        reason: in its own words, without a key.
        is_final: whether asking again cannot help (a wrong key, no such plan).
        wait_s: how long to leave it alone before the next connection; 0: as usual.
        topic: the one refused; None when the whole connection is.
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
    """Where to connect to. ``url`` may hold a key: only ``shown`` goes into texts."""

    url: str
    shown: str

    def __repr__(self) -> str:
        return f"StreamAddress({self.shown!r})"
