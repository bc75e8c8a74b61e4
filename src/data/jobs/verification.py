"""What came of verifying a series, as values: what was compared, what differs, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..model.instant import date_of, iso
from ..model.instrument import Instrument
from ..model.kind import Basis, Kind
from ..model.span import Span
from ..model.timeframe import Timeframe
from ..prices.differences import Compared, Difference

CACHE = "cache"
_BETWEEN_VENDORS = {
    "unit x100": "pin one of the two with --provider: their units differ",
    "split": "one of the two has not applied it yet: pin the other, or ask again in some days",
    "dividend adjustment": "one of the two adjusts for dividends: compare their raw prices",
    "actions": "a third vendor decides, or the company's own notice",
    "small difference": "nothing: two sources of one market count other trades",
    "missing here": "the second vendor can fill what the first one lacks: let failover do it",
    "missing there": "the first vendor has more: put it first in the rules",
}
_A_THIRD = "a third vendor decides: verify each of the two against it"
_KEPT = "nothing: the cache keeps what its vendor does not have any more"


@dataclass(frozen=True)
class VerifiedSeries:
    """Which series a verification is about."""

    instrument: Instrument
    timeframe: Timeframe

    def __str__(self) -> str:
        return f"{self.instrument.symbol} {self.timeframe}"

    def moment(self, ms: int) -> str:
        """Return a stamp as a bound is written on the command line."""
        return iso(ms)[:-1] if self.timeframe.is_intraday else str(date_of(ms))


@dataclass(frozen=True)
class Comparison:
    """One side held against the other.

    Attributes:
        ours, theirs: ``cache`` or a vendor, and the vendor that was asked.
        lane: the folder of the series in the cache; empty between two vendors.
        span: the stamps from the first to behind the last one compared.
        compared: how much was compared and what differs; None where it could not be.
        basis: of the prices of both sides; without a date for what has no splits and dividends.
        error: why nothing could be compared.
        remarks: what limits the comparison, in sentences.
        requests: how many requests it took.
    """

    ours: str
    theirs: str
    lane: str
    span: Span
    compared: Compared | None = None
    basis: Basis = Basis()
    error: str = ""
    remarks: tuple[str, ...] = ()
    requests: int = 0

    @property
    def ok(self) -> bool:
        """Whether both sides are the same, as far as they were compared."""
        return self.compared is not None and not self.compared.differences

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What differs, the gravest first."""
        return self.compared.differences if self.compared else ()

    @property
    def equal_share(self) -> float:
        """Of the bars that either side has, the share that both have alike; 1 without any."""
        if self.compared is None:
            return 0.0
        return self.compared.equal / self.compared.rows if self.compared.rows else 1.0


@dataclass(frozen=True)
class Verification:
    """Everything that was compared for one series."""

    subject: VerifiedSeries
    comparisons: tuple[Comparison, ...]

    @property
    def ok(self) -> bool:
        """Whether everything could be compared and nothing differs."""
        return all(c.ok for c in self.comparisons)

    def advice(self, comparison: Comparison, found: Difference) -> str:
        """Return what to do about a difference: a command, or a sentence."""
        if comparison.ours != CACHE:
            return _BETWEEN_VENDORS.get(found.cause, _A_THIRD)
        if found.cause == "missing there":
            return _KEPT
        series, last = f"onetape fetch {self.subject}", found.last_ms
        if f"@{comparison.theirs}" in comparison.lane:
            series += f" --provider {comparison.theirs}"
        start = f"--start {self.subject.moment(found.first_ms)}"
        if found.cause == "stale":
            return f"{series} {start}"
        if self.subject.timeframe.is_intraday:  # equal instants are no range
            last += self.subject.timeframe.step_ms or 0
        return f"{series} {start} --end {self.subject.moment(last)} --refresh"

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        return {
            "symbol": self.subject.instrument.symbol,
            "timeframe": self.subject.timeframe.label,
            "ok": self.ok,
            "comparisons": [self._comparison(c) for c in self.comparisons],
        }

    def _comparison(self, one: Comparison) -> dict[str, Any]:
        return {
            "ours": one.ours,
            "theirs": one.theirs,
            "lane": one.lane,
            "start": iso(one.span.start),
            "end": iso(one.span.end),
            "adjustment": one.basis.adjustment,
            "as_of": one.basis.as_of.isoformat() if one.basis.as_of else None,
            "ok": one.ok,
            "rows": one.compared.rows if one.compared else 0,
            "equal": one.compared.equal if one.compared else 0,
            "equal_share": round(one.equal_share, 6),
            "differences": [d.to_json() | {"advice": self.advice(one, d)} for d in one.differences],
            "error": one.error or None,
            "remarks": list(one.remarks),
            "requests": one.requests,
        }


def differing(ours: Kind, theirs: Kind, one: str, other: str) -> Iterator[str]:
    """Yield in what the bars of two sides can never be the same."""
    for name, (mine, yours) in ours.differences(theirs).items():
        yield f"the bars are of different kinds: {name} {mine} ({one}), {yours} ({other})"
