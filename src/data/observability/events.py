"""Events during requests, as values for hooks; no event contains a secret.

Hooks distinguish them by ``isinstance``, or by ``name`` in written records.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..model.shape import KeyDifference


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened while a request was in progress.

    Attributes:
        at_ms: Time of the event, UTC milliseconds.
        request: Number of the call, as in log records; empty outside of calls.
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
        """Return the plain mapping, with the name under ``event``."""
        return {"event": self.name, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class AttemptFailed(Event):
    """One HTTP attempt failed.

    Attributes:
        vendor, address: Vendor that was queried, host and path.
        attempt: Number of the attempt, from 1.
        outcome: Name of the error class.
        status: HTTP status, 0 without an answer.
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
    """A vendor requested a pause: no process queries it for ``seconds``."""

    vendor: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ShapeChanged(Event):
    """An answer differs from its parser's expectation; reported once per vendor and day (UTC).

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
    """A vendor failed too often: for a while no process uses its service ``door``.

    ``seconds`` is the time until one caller may try again; ``reason`` is the last failure.
    """

    vendor: str
    door: str
    seconds: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class CircuitClosed(Event):
    """The service ``door`` of a vendor works again after its circuit breaker was open."""

    vendor: str
    door: str


@dataclass(frozen=True, kw_only=True)
class FellBack(Event):
    """``rows`` bars came from ``vendor``, because the vendors ``others``, queried first, lacked them."""

    vendor: str
    others: tuple[str, ...]
    rows: int


@dataclass(frozen=True, kw_only=True)
class AnswerIncomplete(Event):
    """An answer is incomplete; ``trouble`` lists what is missing, one sentence each."""

    trouble: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class HistoryPerishes(Event):
    """A stored series lacks bars that will not be available from any vendor after ``lost``.

    ``lost`` is an ISO time in UTC, at which the last vendor (``vendor``) drops them. ``what`` is
    ``bars``, or the figures for a perpetual future (``open interest``). The vendors go back
    ``depth_days`` days. Jobs that fetch or check the series report this event.
    """

    vendor: str
    depth_days: int
    lost: str
    what: str = "bars"


@dataclass(frozen=True, kw_only=True)
class CallFailed(Event):
    """A call ended with an error: the name of its class, and its message."""

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
    """A session was found to be missing for most symbols of a vendor.

    Attributes:
        vendor, bars, day: Vendor, length of the bars, session date (ISO).
        condition: ``missing``, ``degraded`` or ``pending``.
        symbols: Number of symbols for which it is known whether the vendor has the session.
        lacking: Number of those for which bars are missing.
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

    It was dropped, and history fills the gap; a bar reported as closed before its close is treated
    as the forming bar. The event is sent once per bar, and once per minute for trades and
    unreadable messages.

    Attributes:
        vendor: Vendor of the stream.
        spelled: The vendor's spelling of the symbol; empty for an unreadable message.
        bars: Timeframe of the data; empty for trades and unreadable messages.
        opens_ms: Open of the bar (UTC milliseconds); for trades and messages, the minute.
        reason: Why it was rejected.
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

    For answers, the event is reported once per process for each series and generation.

    Attributes:
        lane: Kind of the series; empty for the default one.
        score, minimum: Actual and required score, from 0 to 1.
        findings: Defects, one sentence each, without unusual facts that are not defects; for an
            answer, its gaps and defects.
    """

    lane: str
    score: float
    minimum: float
    findings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BarsContradicted(Event):
    """Stored bars differ seriously from those of a second vendor; one of the two is wrong.

    Attributes:
        vendor: Second vendor.
        lane: Kind of the series; empty for the default one.
        start, end: Compared span (ISO, UTC); the end is exclusive.
        bars: Number of bars that differ.
        said: Description of the differences.
    """

    vendor: str
    lane: str
    start: str
    end: str
    bars: int
    said: str
