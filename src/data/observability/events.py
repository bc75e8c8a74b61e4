"""What happens on the way to an answer, as values for hooks; none of them holds a secret.

Hooks tell them apart by ``isinstance``, or by ``name`` where they are written down.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..model.shape import KeyDifference


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened while a request was on its way.

    Attributes:
        at_ms: when, in UTC milliseconds.
        request: the call it belongs to, as in log records; empty outside of any.
        symbol, timeframe: what the call is for; empty where it has none of its own.
    """

    at_ms: int
    request: str = ""
    symbol: str = ""
    timeframe: str = ""

    @property
    def name(self) -> str:
        """The name of its class."""
        return type(self).__name__

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping, with ``event`` for the name."""
        return {"event": self.name, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class AttemptFailed(Event):
    """One HTTP attempt failed.

    Attributes:
        vendor, address: the vendor that was asked, host and path.
        attempt: 1 for the first.
        outcome: name of the error class.
        status: of HTTP, 0 without an answer.
        seconds: how long it took, waiting for the limit included.
        wait_s: seconds until the same vendor is asked again; None: it is not asked again.
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
    """A vendor asked us to slow down: no process asks it for ``seconds``."""

    vendor: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ShapeChanged(Event):
    """An answer is otherwise than its parser knows; told once a vendor and day (UTC).

    Attributes:
        vendor: the vendor that was asked.
        endpoint: the end of the address, as the vendor's class declares it.
        differences: keys that are new, missing or of another type, eight at most; no values.
    """

    vendor: str
    endpoint: str
    differences: tuple[KeyDifference, ...]


@dataclass(frozen=True, kw_only=True)
class CircuitOpened(Event):
    """A vendor failed too often: no process asks it for ``door`` (what it serves) for a while.

    ``seconds`` until one caller may try; ``reason`` is the last failure.
    """

    vendor: str
    door: str
    seconds: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class CircuitClosed(Event):
    """A vendor that was left alone answers for ``door`` again."""

    vendor: str
    door: str


@dataclass(frozen=True, kw_only=True)
class FellBack(Event):
    """``rows`` bars came from ``vendor`` because ``others``, asked before, did not supply them."""

    vendor: str
    others: tuple[str, ...]
    rows: int


@dataclass(frozen=True, kw_only=True)
class AnswerIncomplete(Event):
    """An answer lacks something; ``trouble`` says what, one sentence each."""

    trouble: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class HistoryPerishes(Event):
    """A stored series lacks bars that ``vendor`` and all others drop at ``lost`` (ISO, UTC).

    ``what``: ``bars``, or the figures of a perpetual future (``open interest``).

    They go back ``depth_days`` days; a job that fetches or checks the series tells it.
    """

    vendor: str
    depth_days: int
    lost: str
    what: str = "bars"


@dataclass(frozen=True, kw_only=True)
class CallFailed(Event):
    """A call ended with an error: the name of its class, and what it says."""

    error: str
    message: str


@dataclass(frozen=True, kw_only=True)
class SplitFound(Event):
    """A split became known of a symbol that was asked for before; its bars are adjusted anew.

    ``day`` is the ex-date (ISO), ``ratio`` new shares for an old one.
    """

    day: str
    ratio: float


@dataclass(frozen=True, kw_only=True)
class VendorDayLacking(Event):
    """A session turned out to be lacking for most symbols of a vendor.

    Attributes:
        vendor, bars, day: which vendor, bars of which length, session date (ISO).
        condition: ``missing``, ``degraded`` or ``pending``.
        symbols: of how many it is known whether the vendor has it.
        lacking: of how many of them it has not all bars.
    """

    vendor: str
    bars: str
    day: str
    condition: str
    symbols: int
    lacking: int


@dataclass(frozen=True, kw_only=True)
class BarRefused(Event):
    """A stream sent a bar, a trade or a message that was not taken as it came.

    It was dropped, and history fills its place; a bar that was called closed before its close counts
    as the running one. Sent once per bar, and once per minute for trades and unreadable messages.

    Attributes:
        vendor: whose stream.
        spelled: the symbol as the vendor writes it; empty for a message that cannot be read.
        bars: the timeframe of what was sent; empty for trades and unreadable messages.
        opens_ms: the stamp that it came with (UTC milliseconds); for the others the minute.
        reason: why it is refused.
    """

    vendor: str
    spelled: str
    bars: str
    opens_ms: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class BarCorrected(Event):
    """A stream corrected a closed bar that a feed had given before.

    Attributes:
        vendor: Vendor of the stream.
        opens_ms: The bar's open in UTC milliseconds.
        is_stored: Whether it replaced the cached bar; if not, that one is final, of another vendor, or
            not there.
    """

    vendor: str
    opens_ms: int
    is_stored: bool


@dataclass(frozen=True, kw_only=True)
class QualityLow(Event):
    """An answer, or the validation of a stored series, scored less than ``validation.min_quality_score``.

    Of answers one is told for each series and state of it (generation) in a process.

    Attributes:
        lane: which kind of the series; empty for the default one.
        score, minimum: from 0 to 1.
        findings: what was found, one sentence each; unusual things that are no defects are left out.
            Of an answer what it lacks and what is wrong with it.
    """

    lane: str
    score: float
    minimum: float
    findings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BarsContradicted(Event):
    """Stored bars differ gravely from those of a second vendor; one of the two is wrong.

    Attributes:
        vendor: the second vendor.
        lane: which kind of the series; empty for the default one.
        start, end: the stretch that was compared (ISO, UTC); the end is not in it.
        bars: how many bars differ.
        said: how, in words.
    """

    vendor: str
    lane: str
    start: str
    end: str
    bars: int
    said: str
