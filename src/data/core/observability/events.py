"""Events during requests, as values for hooks; no event contains a secret.

Hooks distinguish them by ``isinstance``, or by ``name`` in written records.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..model.request.shape import KeyDifference


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened while a request was in progress.

    Attributes:
        at_ms: Time of the event, in UTC milliseconds.
        request: Id of the call, as in log records; empty outside of calls.
        symbol, timeframe: Subject of the call; empty if the call is not about a single series.
    """

    at_ms: int
    request: str = ""
    symbol: str = ""
    timeframe: str = ""

    @property
    def name(self) -> str:
        """The class name of the event."""
        return type(self).__name__

    def to_json(self) -> dict[str, Any]:
        """Return the event as a plain mapping, with its name under ``event``."""
        return {"event": self.name, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class AttemptFailed(Event):
    """One HTTP attempt failed.

    Attributes:
        vendor: Vendor that was queried.
        address: Host and path of the request.
        attempt: Number of the attempt, from 1.
        outcome: Name of the error class.
        status: HTTP status, or 0 if no response arrived.
        seconds: Duration, including the wait for the rate limit.
        wait_s: Seconds until the request is retried; None if it is not retried.
    """

    vendor: str
    address: str
    attempt: int
    outcome: str
    status: int
    seconds: float
    wait_s: float | None


@dataclass(frozen=True, kw_only=True)
class VendorPaused(Event):
    """A vendor requested a slower rate: no process queries it for ``seconds``."""

    vendor: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ShapeChanged(Event):
    """A response differs from its parser's expectation; reported once per vendor and day (UTC).

    Attributes:
        vendor: Vendor that was queried.
        endpoint: End of the address, as declared by the vendor's class.
        differences: Keys that are new, missing or of another type, eight at most; no values.
    """

    vendor: str
    endpoint: str
    differences: tuple[KeyDifference, ...]


@dataclass(frozen=True, kw_only=True)
class CircuitOpened(Event):
    """A vendor's service (``door``) failed too often; no process uses it for a while.

    ``seconds`` is the time until one caller may try again; ``reason`` is the last failure.
    """

    vendor: str
    door: str
    seconds: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class CircuitClosed(Event):
    """A vendor's service (``door``) responds again after its circuit breaker was open."""

    vendor: str
    door: str


@dataclass(frozen=True, kw_only=True)
class FellBack(Event):
    """``rows`` bars came from ``vendor`` because the preferred vendors (``others``) lacked them."""

    vendor: str
    others: tuple[str, ...]
    rows: int


@dataclass(frozen=True, kw_only=True)
class AnswerIncomplete(Event):
    """An answer is incomplete; ``trouble`` contains one sentence per missing thing."""

    trouble: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class HistoryPerishes(Event):
    """A stored series lacks bars that no vendor will serve after ``lost`` (ISO, UTC).

    ``vendor`` serves them until then; its history goes back ``depth_days`` days. ``what`` is
    ``bars``, or a kind of figures for a perpetual future, such as ``open interest``. A job that
    fetches or checks the series sends the event.
    """

    vendor: str
    depth_days: int
    lost: str
    what: str = "bars"


@dataclass(frozen=True, kw_only=True)
class CallFailed(Event):
    """A call ended with an error; ``error`` is the name of the error's class."""

    error: str
    message: str


@dataclass(frozen=True, kw_only=True)
class SplitFound(Event):
    """A split became known for a symbol that was queried before; its bars are adjusted again.

    ``day`` is the ex-date (ISO), ``ratio`` new shares per old share.
    """

    day: str
    ratio: float


@dataclass(frozen=True, kw_only=True)
class VendorDayLacking(Event):
    """A session was found to be missing for most of a vendor's symbols.

    Attributes:
        vendor, bars, day: Vendor, timeframe of the bars, session date (ISO).
        condition: ``missing``, ``degraded`` or ``pending``.
        symbols: Number of symbols for which it is known whether the vendor has the session.
        lacking: Number of those symbols whose bars are missing.
    """

    vendor: str
    bars: str
    day: str
    condition: str
    symbols: int
    lacking: int


@dataclass(frozen=True, kw_only=True)
class BarRefused(Event):
    """A bar, trade or message from a stream was not accepted as it was.

    It was dropped, and history fills the gap. An exception is a bar that was reported as closed
    before its close, which is used as the forming bar. The event is sent once per bar and feed, and
    once per minute for trades and for unreadable messages.

    Attributes:
        vendor: Vendor of the stream.
        spelled: The vendor's spelling of the symbol; empty for an unreadable message.
        bars: Timeframe of the data; empty for trades and unreadable messages.
        opens_ms: Timestamp of the bar in UTC milliseconds; for trades and messages, the start of
            their minute.
        reason: Reason why it was rejected.
    """

    vendor: str
    spelled: str
    bars: str
    opens_ms: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class BarCorrected(Event):
    """A stream corrected a closed bar that a feed had emitted before.

    Attributes:
        vendor: Vendor of the stream.
        opens_ms: Open of the bar in UTC milliseconds.
        is_stored: Whether the correction replaced the stored bar; if not, the stored bar is final,
            from another vendor, or missing.
    """

    vendor: str
    opens_ms: int
    is_stored: bool


@dataclass(frozen=True, kw_only=True)
class QualityLow(Event):
    """An answer or a validated stored series scored below ``validation.min_quality_score``.

    For answers, the event is sent once per process for each generation of a series, that is, once
    after each change.

    Attributes:
        lane: Kind of the series; empty for the default one.
        score, minimum: Values from 0 to 1.
        findings: Gaps and defects of an answer, or the findings in a stored series, one sentence
            each. Unusual facts that are not defects are left out.
    """

    lane: str
    score: float
    minimum: float
    findings: tuple[str, ...]
