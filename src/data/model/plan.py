"""The plan of a request: the stored bars, the vendors for the rest, and its cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .health import REQUEST_S, Health, waiting
from .instant import iso
from .span import Span
from .texts import InLines, Line, by_reason, counted, duration, listed, stamp, telling
from .timeframe import Timeframe


@dataclass(frozen=True)
class PlanStretch:
    """Bars that belong together.

    Attributes:
        span: their stamps, half-open.
        bars: how many are there, or expected there.
        first, last: the outermost of them; None where there is none.
    """

    span: Span
    bars: int
    first: int | None = None
    last: int | None = None

    def range_text(self, timeframe: Timeframe) -> str:
        """Return from which bar to which, both inclusive."""
        if self.first is None or self.last is None:
            return f"{stamp(self.span.start, timeframe)} .. {stamp(self.span.end, timeframe)}"
        if self.first == self.last:
            return stamp(self.first, timeframe)
        return f"{stamp(self.first, timeframe)} .. {stamp(self.last, timeframe)}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; ``end`` is exclusive."""
        return {"start": iso(self.span.start), "end": iso(self.span.end), "bars": self.bars}


@dataclass(frozen=True)
class PlanStep:
    """One question to a vendor.

    Attributes:
        vendor: the vendor that would be asked.
        timeframe, span: of the bars requested; stamps half-open, UTC milliseconds.
        requests: how many would be sent.
        cost: units of the vendor's limits that each of them takes.
        wait_s: seconds that they would wait for these limits.
        trouble: why it would end without an answer; empty where the vendor may be asked.
        what: ``bars``, or ``splits and dividends``.
        is_archive: whether the vendor's archive is asked, which has limits of its own.
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
        """Return plain values; ``end`` is exclusive."""
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
    """What one candidate could do about a segment, as its vendor stands now.

    Attributes:
        vendor: canonical name.
        span: the part that lies within its history; it may be empty.
        requests, cost, wait_s: as those of a :class:`PlanStep`.
        trouble: why it would not be asked, or not for all of it.
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
        """Return plain values; ``end`` is exclusive."""
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
class PlanSegment(PlanStretch):
    """A stretch to fetch.

    Attributes:
        reasons: why, such as ``after the cached bars``.
        offers: the candidates in the order of the rules.
        steps: the likely course: which vendor is asked for which part.
    """

    reasons: tuple[str, ...] = ()
    offers: tuple[VendorOffer, ...] = ()
    steps: tuple[PlanStep, ...] = ()

    @property
    def path(self) -> str:
        """The vendors that are asked, in words; then those that could be."""
        requests: dict[str, int] = {}
        for step in self.steps:
            requests[step.vendor] = requests.get(step.vendor, 0) + step.requests
        parts = [
            f"{name} {counted(count, 'request')}" if count else f"{name} cannot be asked"
            for name, count in requests.items()
        ]
        others = [str(offer) for offer in self.offers if offer.vendor not in requests]
        return "; else ".join([", then ".join(parts) or "no vendor", *others])

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return super().to_json() | {
            "reasons": list(self.reasons),
            "candidates": [offer.to_json() for offer in self.offers],
            "path": [step.to_json() for step in self.steps],
        }


@dataclass(frozen=True)
class Lacking(PlanStretch):
    """A stretch that the answer would be without, and why."""

    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return super().to_json() | {"reason": self.reason}


_MOST_SHOWN = 12
# A plan that takes less is simply carried out.
_LONG_S = 60.0


@dataclass(frozen=True, repr=False)
class Plan(InLines):
    """What a request would do: what is stored, which vendors get the rest, what that takes.

    It holds for healthy vendors that have every bar and no news. Bars that they turn out not to
    have, an unknown split, and failures take more requests.

    Attributes:
        symbol, timeframe, adjustment: what is asked for.
        span: the stamps wanted that have closed.
        now_ms: when the plan was made, in UTC milliseconds.
        held: the stored stretches.
        segments: the stretches to fetch.
        besides: further questions, such as for splits and dividends.
        lacking: what the answer would be without.
        rejected: vendor of the rule to why it is no candidate.
        substitutes: vendor that would be asked for all of it, if the others have nothing or are
            down and bars are missing, to the difference in kind.
        health: state of each vendor on the way.
        source: the timeframe of the bars that these are made of, or None.
        is_hit: whether the store answers, so that no vendor is asked.
        share: part of the bars that is stored already, from 0 to 1.
        error: the class of what would be raised in place of an answer, or an empty text.
    """

    symbol: str
    timeframe: Timeframe
    adjustment: str
    span: Span
    now_ms: int
    held: tuple[PlanStretch, ...] = ()
    segments: tuple[PlanSegment, ...] = ()
    besides: tuple[PlanStep, ...] = ()
    lacking: tuple[Lacking, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    substitutes: Mapping[str, str] = field(default_factory=dict)
    health: tuple[Health, ...] = ()
    source: Timeframe | None = None
    is_hit: bool = False
    share: float = 0.0
    error: str = ""

    @property
    def steps(self) -> tuple[PlanStep, ...]:
        """Every question to a vendor."""
        return (*(s for segment in self.segments for s in segment.steps), *self.besides)

    @property
    def is_possible(self) -> bool:
        """Whether nothing would be lacking."""
        return not self.lacking and not self.error

    @property
    def requests(self) -> int:
        """How many requests would be sent."""
        return sum(step.requests for step in self.steps)

    @property
    def units(self) -> dict[str, int]:
        """Vendor to the units of its limits that would be used up."""
        units: dict[str, int] = {}
        for step in self.steps:
            if step.requests:
                units[step.vendor] = units.get(step.vendor, 0) + step.requests * step.cost
        return units

    @property
    def wait_s(self) -> float:
        """Seconds of waiting for limits, all together; what the vendors take comes on top."""
        return sum(step.wait_s for step in self.steps)

    @property
    def takes_s(self) -> float:
        """Seconds that it would take in all, if vendors answer as fast as they usually do."""
        return self.wait_s + self.requests * REQUEST_S

    # --- words -----------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """The request and what it takes, in one line."""
        made = f", built from {self.source} bars" if self.source else ""
        return f"{self.symbol} {self.timeframe}{made}: {self.verdict}"

    @property
    def verdict(self) -> str:
        """What the request takes, in a few words."""
        if self.error and not self.requests:
            return "not available"
        count = len(self.lacking)
        takes = f"{counted(self.requests, 'request')}, {waiting(self.wait_s)}"
        takes += f", about {duration(self.takes_s)} in all" if self.takes_s >= _LONG_S else ""
        without = "a cache hit, no request" if self.is_hit else "no request"
        lost = f"{count} gap{'s' if count > 1 else ''}" if count else ""
        return "; ".join(filter(None, [takes if self.requests else without, lost]))

    def lines(self) -> Iterator[Line]:
        """Yield a name and a text for each fact."""
        tf = self.source or self.timeframe
        if self.held:
            bars = counted(sum(part.bars for part in self.held), "bar")
            text = _some([part.range_text(self.timeframe) for part in self.held])
            yield "cached", f"{self.share:.0%}, {bars}: {text}"
        for part in self.segments[:_MOST_SHOWN]:
            why = ", ".join(part.reasons)
            yield (
                "missing",
                f"{part.range_text(tf)}, {counted(part.bars, 'bar')} ({why}): {part.path}",
            )
        if more := len(self.segments) - _MOST_SHOWN:
            yield from [("missing", f"and {more} more")] if more > 0 else []
        for step in self.besides:
            subject = self._subject(step)
            yield "besides", f"{subject}: {step.vendor} {counted(step.requests, 'request')}"
        for health in self.health:
            units = self.units.get(health.vendor, 0)
            takes = f"; this takes {units:,}" if units else ""
            yield "vendor", f"{health.vendor}: {health}{takes}"
        for name, why in self.substitutes.items():
            yield "substitute", f"{name}: {why}"
        left_out = telling(self.rejected, is_lacking=bool(self.lacking or self.error))
        for text in by_reason(left_out):
            yield "not asked", text
        for gap in self.lacking[:_MOST_SHOWN]:
            yield "lacking", f"{gap.range_text(self.timeframe)}: {gap.reason}"
        if self.error:
            yield "outcome", f"get_ohlcv would raise {self.error}"

    def _subject(self, step: PlanStep) -> str:
        """Return what a further request is for."""
        if step.what != "bars":
            return step.what
        is_same = step.timeframe == (self.source or self.timeframe)
        is_running = is_same and step.span.start >= self.span.end
        return "the running bar" if is_running else f"{step.timeframe} bars"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; times are ISO 8601 in UTC, ends are exclusive."""
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
            "held": [part.to_json() for part in self.held],
            "segments": [part.to_json() for part in self.segments],
            "besides": [step.to_json() for step in self.besides],
            "lacking": [part.to_json() for part in self.lacking],
            "rejected": dict(self.rejected),
            "substitutes": dict(self.substitutes),
            "vendors": [health.to_json() for health in self.health],
            "error": self.error or None,
        }


def _some(texts: Sequence[str]) -> str:
    """Return a few texts of many."""
    most = 4
    if len(texts) <= most:
        return listed(texts)
    return f"{', '.join(texts[:most])} and {len(texts) - most} more"
