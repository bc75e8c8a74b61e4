"""What is known about which stamps of a series."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import attrgetter, itemgetter
from typing import Any, Literal

from .canonical import canonical
from .filling import filled
from .kind import Basis, Kind
from .span import Span, coalesce

State = Literal["final", "provisional", "empty", "suspect"]
_NO_KIND, _NO_BASIS = Kind(), Basis()
# Begins the reason of what was sent under a stamp at which no bar of its timeframe can open: of the
# rows in the quarantine, and of the stretch that lacks a bar for it.
OFF_GRID = "off_grid"
# The reason of a stretch in which no bar is expected.
CLOSED = "market closed"
STATES: tuple[State, ...] = ("final", "provisional", "empty", "suspect")


@dataclass(frozen=True)
class Splice:
    """What came of comparing bars with those of another vendor where the two meet.

    Attributes:
        at: stamp of the border, in milliseconds.
        other: the vendor on its other side.
        verdict: ``equal``; ``constant`` (an adjustment was missed, and made good before the bars
            were stored); ``unchecked`` (there was too little to compare).
        ratio: median of the closes as they came over those of the other vendor; 1 when unchecked.
        common: how many bars were compared.
        because: what was made good and how, or why nothing was compared.
    """

    at: int
    other: str
    verdict: str
    ratio: float = 1.0
    common: int = 0
    because: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping that is stored."""
        plain = {
            "at": self.at,
            "with": self.other,
            "verdict": self.verdict,
            "ratio": self.ratio,
            "common": self.common,
        }
        return plain | ({"because": self.because} if self.because else {})

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Splice:
        """Read a stored mapping; unknown keys are ignored."""
        return cls(
            at=int(plain["at"]),
            other=str(plain["with"]),
            verdict=str(plain["verdict"]),
            ratio=float(plain.get("ratio", 1.0)),
            common=int(plain.get("common", 0)),
            because=str(plain.get("because", "")),
        )


@dataclass(frozen=True)
class Covered:
    """One stretch of a series that was asked and answered.

    Attributes:
        span: the stamps ``[start, end)`` answered for.
        state: ``final``; ``provisional`` (closed, not settled); ``empty`` (nothing there, with
            ``reason``, until ``expires``); ``suspect`` (asked, but not to be trusted; not asked
            again before ``expires``).
        vendor, kind, basis, fetched_at: where the answer came from.
        reason: why a stretch is empty or suspect.
        expires: UTC milliseconds from when a stretch is asked again: an empty or a suspect one, or
            one that is provisional because nothing vouched for the clock; None never.
        splices: where these bars were fitted to those of other vendors; a part of a stretch keeps
            those of the whole.
    """

    span: Span
    state: State
    vendor: str = ""
    kind: Kind = Kind()
    basis: Basis = Basis()
    fetched_at: int = 0
    reason: str = ""
    expires: int | None = None
    splices: tuple[Splice, ...] = ()

    @property
    def is_rescaled(self) -> bool:
        """Tell whether these are not the vendor's own prices: what it had missed was made good."""
        return any(splice.verdict == "constant" for splice in self.splices)

    def stands(self, now_ms: int) -> bool:
        """Tell whether this still answers for its span at ``now_ms`` (an expired one does not)."""
        return self.expires is None or now_ms < self.expires

    def clip(self, span: Span) -> Covered | None:
        """Return the part inside ``span``, or None."""
        part = self.span.clip(span)
        if part == self.span:
            return None if part.is_empty else self
        return None if part.is_empty else replace(self, span=part)

    def same_source(self, other: Covered) -> bool:
        """Tell whether the two may be one entry (all alike but span and fetch time)."""
        return _source(self) == _source(other)

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping that is stored; defaults are left out."""
        plain: dict[str, Any] = {"span": list(self.span), "state": self.state}
        if self.state != "empty":
            plain |= {"kind": self.kind.to_json(), "basis": self.basis.to_json()}
        if self.vendor:
            plain["vendor"] = self.vendor
        if self.fetched_at:
            plain["fetched_at"] = self.fetched_at
        if self.reason:
            plain["reason"] = self.reason
        if self.expires is not None:
            plain["expires"] = self.expires
        if self.splices:
            plain["splices"] = [splice.to_json() for splice in self.splices]
        return plain

    @cached_property
    def text(self) -> str:
        """The same as text: a commit tells again what all the commits before it have told."""
        return canonical(self.to_json())

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Covered:
        """Read a stored mapping.

        Raises:
            ValueError: a state or adjustment this version does not know.
        """
        state, told = plain["state"], plain.get
        if state not in STATES:
            raise ValueError(f"unknown state {state!r}")
        start, end = plain["span"]
        return filled(
            cls,
            span=Span(int(start), int(end)),
            state=state,
            vendor=told("vendor", ""),
            kind=Kind.from_json(plain["kind"]) if "kind" in plain else _NO_KIND,
            basis=Basis.from_json(plain["basis"]) if "basis" in plain else _NO_BASIS,
            fetched_at=told("fetched_at", 0),
            reason=told("reason", ""),
            expires=told("expires"),
            splices=tuple(map(Splice.from_json, plain["splices"])) if "splices" in plain else (),
        )


_source = attrgetter(*(f.name for f in fields(Covered) if f.name not in ("span", "fetched_at")))


_SPAN, _PLAIN_SPAN = attrgetter("span"), itemgetter("span")


class Coverage(tuple[Covered, ...]):
    """Ascending, disjoint stretches; what no stretch holds is missing."""

    __slots__ = ()

    @classmethod
    def joined(cls, ascending: Iterable[Covered]) -> Coverage:
        """Return ascending, disjoint stretches with adjoining ones of one source made one."""
        return cls(_joined(ascending))

    @classmethod
    def chained(cls, parts: Iterable[Coverage]) -> Coverage:
        """Return coverages that follow one another as one, joined where they meet."""
        chain: list[Covered] = []
        for part in parts:
            seam = len(chain)
            chain += part
            chain[max(0, seam - 1) : seam + 1] = _joined(chain[max(0, seam - 1) : seam + 1])
        return cls(chain)

    @property
    def text(self) -> str:
        """Canonical JSON of the stored mappings."""
        return "[" + ",".join([part.text for part in self]) + "]"

    @classmethod
    def from_json(cls, plain: Iterable[Mapping[str, Any]]) -> Coverage:
        """Read stored mappings, which are disjoint; adjoining ones of one source are made one.

        Raises:
            KeyError, TypeError, ValueError: one of them cannot be read.
        """
        runs: list[dict[str, Any]] = []
        last: dict[str, Any] | None = None
        for entry in sorted(plain, key=_PLAIN_SPAN):
            source = {**entry, "span": None, "fetched_at": 0}
            if source == last and runs[-1]["span"][1] == entry["span"][0]:
                run, at = runs[-1], entry.get("fetched_at", 0)
                run["span"] = (run["span"][0], entry["span"][1])
                run["fetched_at"] = max(run.get("fetched_at", 0), at)
            else:
                runs.append(dict(entry))
                last = source
        return cls(map(Covered.from_json, runs))

    def held(self, now_ms: int) -> list[Span]:
        """Return the stamps that need not be asked for at ``now_ms``, coalesced.

        Provisional stretches are held: whether they are due is the plan's question.
        """
        return coalesce(c.span for c in self if c.stands(now_ms))

    def within(self, span: Span) -> Coverage:
        """Return the stretches inside ``span``, clipped."""
        touching = self.touching(span)
        if not touching or (
            span.start <= touching[0].span.start and touching[-1].span.end <= span.end
        ):
            return touching
        return Coverage(part for c in touching if (part := c.clip(span)) is not None)

    def touching(self, span: Span) -> Coverage:
        """Return the stretches that share a stamp with ``span``, whole."""
        if span.is_empty:
            return Coverage()
        first, last = _touched(self, span)
        return self if last - first == len(self) else Coverage(self[first:last])

    def overlaid(self, newer: Iterable[Covered]) -> Coverage:
        """Return the coverage after ``newer`` answers: where both speak the later one counts."""
        held, spoken = list(self), [fresh for fresh in newer if not fresh.span.is_empty]
        if not spoken:
            return self
        for fresh in spoken:
            first, last = _touched(held, fresh.span)
            beside = [part for old in held[first:last] for part in _outside(old, fresh.span)]
            held[first:last] = sorted([*beside, fresh], key=_SPAN)
        # What lies further off has no new neighbours.
        start, end = min(c.span.start for c in spoken), max(c.span.end for c in spoken)
        first, last = _touched(held, Span(start - 1, end + 1))
        held[first:last] = _joined(held[first:last])
        return Coverage(held)

    def without(self, spans: Iterable[Span]) -> Coverage:
        """Return the coverage with nothing known about ``spans``."""
        held = list(self)
        for span in spans:
            if not span.is_empty:
                first, last = _touched(held, span)
                held[first:last] = [part for c in held[first:last] for part in _outside(c, span)]
        return Coverage(held)


def _touched(ascending: Sequence[Covered], span: Span) -> tuple[int, int]:
    """Return from where to where stretches share a stamp with ``span``, which is not empty."""
    first = bisect_right(ascending, span.start, key=_end)
    return first, bisect_left(ascending, span.end, lo=first, key=_start)


def _start(part: Covered) -> int:
    return part.span.start


def _end(part: Covered) -> int:
    return part.span.end


def _outside(old: Covered, span: Span) -> list[Covered]:
    """Return what is left of ``old`` beside ``span``, with which it shares a stamp."""
    parts = Span(old.span.start, span.start), Span(span.end, old.span.end)
    return [replace(old, span=part) for part in parts if not part.is_empty]


def _joined(ascending: Iterable[Covered]) -> Iterable[Covered]:
    """Join neighbours that adjoin and come from the same source; the later fetch time stays."""
    run: list[Covered] = []
    for item in ascending:
        if run and not (run[-1].span.end == item.span.start and run[-1].same_source(item)):
            yield _as_one(run)
            run = []
        run.append(item)
    if run:
        yield _as_one(run)


def _as_one(run: list[Covered]) -> Covered:
    if len(run) == 1:
        return run[0]
    span = Span(run[0].span.start, run[-1].span.end)
    return replace(run[0], span=span, fetched_at=max(part.fetched_at for part in run))
