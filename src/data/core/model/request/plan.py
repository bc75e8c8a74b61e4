"""The plan of a request: the stored bars, the queries for the missing ones, and the cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..display.texts import InLines, Line, by_reason, counted, duration, listed, stamp, telling
from ..stored.reasons import sentence
from ..time.instant import iso
from ..time.span import Span
from ..time.timeframe import Timeframe
from .health import REQUEST_S, Health, waiting


@dataclass(frozen=True)
class PlanSpan:
    """A contiguous part of the requested range in a plan.

    Attributes:
        span: Half-open span of the bars.
        bars: Number of bars stored or expected in the span.
        first, last: Open times of the first and last bar, or None if there are no bars.
    """

    span: Span
    bars: int
    first: int | None = None
    last: int | None = None

    def range_text(self, timeframe: Timeframe) -> str:
        """Return the first and last bar as text, both inclusive."""
        if self.first is None or self.last is None:
            return f"{stamp(self.span.start, timeframe)} .. {stamp(self.span.end, timeframe)}"
        if self.first == self.last:
            return stamp(self.first, timeframe)
        return f"{stamp(self.first, timeframe)} .. {stamp(self.last, timeframe)}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary; ``end`` is exclusive."""
        return {"start": iso(self.span.start), "end": iso(self.span.end), "bars": self.bars}


@dataclass(frozen=True)
class PlanStep:
    """A planned query to a vendor.

    Attributes:
        vendor: Vendor that would be queried.
        timeframe, span: Bars requested; the span is half-open, in UTC milliseconds.
        requests: Number of requests that would be sent.
        cost: Units of the vendor's limits that each request uses.
        wait_s: Seconds that the requests would wait because of these limits.
        trouble: Reason why the query would not be answered; empty if the vendor may be queried.
        what: Data requested: ``bars``, or ``splits and dividends``.
        is_archive: Whether the vendor's archive is queried, which has its own limits.
    """

    vendor: str
    timeframe: Timeframe
    span: Span
    requests: int = 0
    cost: int = 1
    wait_s: float = 0.0
    trouble: str = ""
    what: str = "bars"
    is_archive: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary; ``end`` is exclusive."""
        return {
            "vendor": self.vendor,
            "what": self.what,
            "timeframe": self.timeframe.label,
            "start": iso(self.span.start),
            "end": iso(self.span.end),
            "requests": self.requests,
            "units": self.requests * self.cost,
            "wait_s": round(self.wait_s, 1),
            "trouble": self.trouble,
            "archive": self.is_archive,
        }


@dataclass(frozen=True)
class VendorOffer:
    """A candidate vendor for a segment, and what querying it now would cost.

    Attributes:
        vendor: Canonical name of the vendor.
        span: Part of the segment within the vendor's history; may be empty.
        requests, cost, wait_s: See :class:`PlanStep`.
        trouble: Reason why the vendor would not be queried, or would be queried for only part of
            the span.
    """

    vendor: str
    span: Span
    requests: int = 0
    cost: int = 1
    wait_s: float = 0.0
    trouble: str = ""

    def __str__(self) -> str:
        parts = [counted(self.requests, "request")] if self.requests else []
        parts += [waiting(self.wait_s)] if self.wait_s >= 0.5 else []
        return f"{self.vendor} {', '.join([*parts, self.trouble] if self.trouble else parts)}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary; ``end`` is exclusive."""
        return {
            "vendor": self.vendor,
            "start": iso(self.span.start),
            "end": iso(self.span.end),
            "requests": self.requests,
            "units": self.requests * self.cost,
            "wait_s": round(self.wait_s, 1),
            "trouble": self.trouble,
        }


@dataclass(frozen=True)
class PlanSegment(PlanSpan):
    """A part of the range that would be fetched.

    Attributes:
        reasons: Reasons for the request, such as ``after the cached bars``.
        offers: Candidate vendors, in the order of the rules.
        steps: Expected queries: which vendor would be queried for which part.
    """

    reasons: tuple[str, ...] = ()
    offers: tuple[VendorOffer, ...] = ()
    steps: tuple[PlanStep, ...] = ()

    @property
    def path(self) -> str:
        """A phrase that names the vendors that would be queried, followed by the alternatives."""
        requests: dict[str, int] = {}
        for step in self.steps:
            requests[step.vendor] = requests.get(step.vendor, 0) + step.requests
        parts = [
            f"{name} {counted(count, 'request')}" if count else f"{name} cannot be queried"
            for name, count in requests.items()
        ]
        others = [str(offer) for offer in self.offers if offer.vendor not in requests]
        return "; else ".join([", then ".join(parts) or "no vendor", *others])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary."""
        return super().to_json() | {
            "reasons": list(self.reasons),
            "candidates": [offer.to_json() for offer in self.offers],
            "path": [step.to_json() for step in self.steps],
        }


@dataclass(frozen=True)
class MissingPart(PlanSpan):
    """A part of the range that would be missing from the answer, with the reason."""

    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary."""
        return super().to_json() | {"reason": self.reason}


_MOST_SHOWN = 12
# The total time is shown only for plans that take at least this long.
_LONG_S = 60.0


@dataclass(frozen=True, repr=False)
class Plan(InLines):
    """The plan for a request: the stored bars, the queries for the missing ones, and the cost.

    The requests for each gap are counted at the first usable vendor. Requests that prove an
    identity or repair something are not counted.

    The plan assumes that every vendor works, has every bar, and reports no new split or dividend.
    More requests are needed if bars turn out to be missing, if a split was unknown, or if a query
    fails.

    Attributes:
        symbol, timeframe, adjustment: Requested series.
        span: Part of the requested range whose bars have closed.
        now_ms: Time at which the plan was made, UTC milliseconds.
        held: Parts of the range that are stored.
        segments: Parts of the range that would be fetched.
        besides: Additional queries, for example for splits and dividends.
        lacking: Parts of the range that would be missing from the answer.
        rejected: Maps each vendor in the rule that is not a candidate to the reason.
        substitutes: Maps each vendor whose bars differ in kind to a description of the difference.
            These vendors are queried for the whole range if the others have no bars, or are down
            while bars are missing.
        health: State of each vendor involved: its quota, and whether it is paused.
        source: Timeframe of the bars from which the answer is built, or None.
        is_hit: Whether the store can answer by itself, so that no vendor is queried.
        share: Fraction of the bars that is already stored, from 0 to 1.
        error: Class of the error that would be raised instead of an answer; empty for none.
    """

    symbol: str
    timeframe: Timeframe
    adjustment: str
    span: Span
    now_ms: int
    held: tuple[PlanSpan, ...] = ()
    segments: tuple[PlanSegment, ...] = ()
    besides: tuple[PlanStep, ...] = ()
    lacking: tuple[MissingPart, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    substitutes: Mapping[str, str] = field(default_factory=dict)
    health: tuple[Health, ...] = ()
    source: Timeframe | None = None
    is_hit: bool = False
    share: float = 0.0
    error: str = ""

    @property
    def steps(self) -> tuple[PlanStep, ...]:
        """All planned queries to vendors."""
        return (*(s for segment in self.segments for s in segment.steps), *self.besides)

    @property
    def is_possible(self) -> bool:
        """Whether the request would return a complete answer."""
        return not self.lacking and not self.error

    @property
    def missing(self) -> int:
        """The number of bars that would be missing from the answer."""
        return sum(part.bars for part in self.lacking)

    @property
    def requests(self) -> int:
        """The total number of requests that would be sent."""
        return sum(step.requests for step in self.steps)

    @property
    def units(self) -> dict[str, int]:
        """Maps each vendor to the number of rate-limit units that would be used."""
        units: dict[str, int] = {}
        for step in self.steps:
            if step.requests:
                units[step.vendor] = units.get(step.vendor, 0) + step.requests * step.cost
        return units

    @property
    def wait_s(self) -> float:
        """Total seconds spent waiting because of limits, excluding the vendors' response times."""
        return sum(step.wait_s for step in self.steps)

    @property
    def takes_s(self) -> float:
        """Total seconds that the request would take if the vendors respond as fast as usual."""
        return self.wait_s + self.requests * REQUEST_S

    # --- words -----------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """A line that describes the request and its cost."""
        origin = f", built from {self.source} bars" if self.source else ""
        return f"{self.symbol} {self.timeframe}{origin}: {self.verdict}"

    @property
    def verdict(self) -> str:
        """A short phrase that describes the cost of the request."""
        if self.error and not self.requests:
            return "not available"
        count = len(self.lacking)
        takes = f"{counted(self.requests, 'request')}, {waiting(self.wait_s)}"
        takes += f", about {duration(self.takes_s)} in total" if self.takes_s >= _LONG_S else ""
        without = "a cache hit, no request" if self.is_hit else "no request"
        missing = f", {counted(self.missing, 'bar')} missing"
        gaps = f"{count} gap{'s' if count > 1 else ''}{missing}" if count else ""
        return "; ".join(filter(None, [takes if self.requests else without, gaps]))

    def lines(self) -> Iterator[Line]:
        """Yield the lines of the plan, each as a label and a text."""
        tf = self.source or self.timeframe
        if self.held:
            bars = counted(sum(span.bars for span in self.held), "bar")
            text = _join_first([span.range_text(self.timeframe) for span in self.held])
            yield "cached", f"{int(self.share * 100 + 1e-9)}%, {bars}: {text}"
        for segment in self.segments[:_MOST_SHOWN]:
            reason = ", ".join(segment.reasons)
            yield (
                "missing",
                f"{segment.range_text(tf)}, {counted(segment.bars, 'bar')} ({reason}): {segment.path}",
            )
        if more := len(self.segments) - _MOST_SHOWN:
            yield from [("missing", f"and {more} more")] if more > 0 else []
        for step in self.besides:
            subject = self._subject(step)
            yield "besides", f"{subject}: {step.vendor} {counted(step.requests, 'request')}"
        for health in self.health:
            units = self.units.get(health.vendor, 0)
            takes = f"; this takes {counted(units, 'unit')} of its limits" if units else ""
            yield "vendor", f"{health.vendor}: {health}{takes}"
        for name, reason in self.substitutes.items():
            yield "substitute", f"{name}: {reason}"
        left_out = telling(self.rejected, is_lacking=bool(self.lacking or self.error))
        for text in by_reason(left_out):
            yield "not asked", text
        for gap in self.lacking[:_MOST_SHOWN]:
            yield "lacking", f"{gap.range_text(self.timeframe)}: {sentence(gap.reason)}"
        if self.error:
            yield "outcome", f"get_ohlcv would raise {self.error}"

    def _subject(self, step: PlanStep) -> str:
        """Return a phrase for the data that an additional query is about."""
        if step.what != "bars":
            return step.what
        is_same = step.timeframe == (self.source or self.timeframe)
        is_forming = is_same and step.span.start >= self.span.end
        return "the forming bar" if is_forming else f"{step.timeframe} bars"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary; times are ISO 8601 in UTC, ends are exclusive."""
        return {
            "symbol": self.symbol,
            "timeframe": self.timeframe.label,
            "adjustment": self.adjustment,
            "start": iso(self.span.start),
            "end": iso(self.span.end),
            "now": iso(self.now_ms),
            "is_hit": self.is_hit,
            "is_possible": self.is_possible,
            "out_of": self.source and self.source.label,
            "share": round(self.share, 4),
            "requests": self.requests,
            "units": self.units,
            "wait_s": round(self.wait_s, 1),
            "takes_s": round(self.takes_s, 1),
            "held": [span.to_json() for span in self.held],
            "segments": [segment.to_json() for segment in self.segments],
            "besides": [step.to_json() for step in self.besides],
            "lacking": [span.to_json() for span in self.lacking],
            "rejected": dict(self.rejected),
            "substitutes": dict(self.substitutes),
            "vendors": [health.to_json() for health in self.health],
            "error": self.error or None,
        }


def _join_first(texts: Sequence[str]) -> str:
    """Join strings, or only the first few if there are many."""
    most = 4
    if len(texts) <= most:
        return listed(texts)
    return f"{', '.join(texts[:most])} and {len(texts) - most} more"
