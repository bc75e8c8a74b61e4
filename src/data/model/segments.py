"""The parts of a plan: what is held, what is asked for and of whom, what is lacking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .health import waiting
from .instant import iso
from .span import Span
from .texts import counted, stamp
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

    def told(self, timeframe: Timeframe) -> str:
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
        vendor, timeframe, span: who would be asked, and for what.
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
        vendor: who.
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
        told = [counted(self.requests, "request")] if self.requests else []
        told += [waiting(self.wait_s)] if self.wait_s >= 0.5 else []
        return f"{self.vendor} {', '.join([*told, self.trouble] if self.trouble else told)}"

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
    """A stretch that is asked for.

    Attributes:
        reasons: why, such as ``after what is held``.
        offers: the candidates in the order of the rules.
        steps: what is likely to happen: who is asked for which part.
    """

    reasons: tuple[str, ...] = ()
    offers: tuple[VendorOffer, ...] = ()
    steps: tuple[PlanStep, ...] = ()

    @property
    def path(self) -> str:
        """Who is asked, in words; then who else could be."""
        asked: dict[str, int] = {}
        for step in self.steps:
            asked[step.vendor] = asked.get(step.vendor, 0) + step.requests
        told = [
            f"{name} {counted(count, 'request')}" if count else f"{name} cannot be asked"
            for name, count in asked.items()
        ]
        others = [str(offer) for offer in self.offers if offer.vendor not in asked]
        return "; else ".join([", then ".join(told) or "no vendor", *others])

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
