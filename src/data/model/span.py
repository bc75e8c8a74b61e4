"""Half-open intervals of milliseconds and their arithmetic."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple


class Span(NamedTuple):
    """The stamps ``[start, end)`` in milliseconds."""

    start: int
    end: int

    def __contains__(self, ms: object) -> bool:
        return isinstance(ms, int) and self.start <= ms < self.end

    @property
    def is_empty(self) -> bool:
        """Tell whether no stamp lies inside."""
        return self.end <= self.start

    def clip(self, other: Span) -> Span:
        """Return the common part; it may be empty."""
        return Span(max(self.start, other.start), min(self.end, other.end))

    def overlaps(self, other: Span) -> bool:
        """Tell whether the two share a stamp."""
        return max(self.start, other.start) < min(self.end, other.end)


def coalesce(spans: Iterable[Span]) -> list[Span]:
    """Return the same set of stamps as few ascending, disjoint spans."""
    merged: list[Span] = []
    for span in sorted(s for s in spans if not s.is_empty):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged


def touching(ascending: Sequence[Span], span: Span) -> Sequence[Span]:
    """Return those of ascending, disjoint spans that share a stamp with ``span``, whole."""
    if span.is_empty:
        return ()
    first = bisect_left(ascending, (span.start + 1,))
    if first and ascending[first - 1].end > span.start:
        first -= 1
    return ascending[first : bisect_left(ascending, (span.end,), lo=first)]


def clipped(ascending: Sequence[Span], span: Span) -> list[Span]:
    """Return the parts of ascending, disjoint spans inside ``span``."""
    return [one.clip(span) for one in touching(ascending, span)]


def gaps(wanted: Span, covered: Iterable[Span]) -> list[Span]:
    """Return the parts of ``wanted`` that no span in ``covered`` holds, in order."""
    spans = [span for span in covered if span.overlaps(wanted)]
    if not spans:
        return [] if wanted.is_empty else [wanted]
    # What is cached lies within one span nearly always.
    if any(span.start <= wanted.start and wanted.end <= span.end for span in spans):
        return []
    return subtract([wanted], spans)


def subtract(spans: Iterable[Span], removed: Iterable[Span]) -> list[Span]:
    """Return the stamps of ``spans`` that are in none of ``removed``, coalesced."""
    holes = coalesce(removed)
    left: list[Span] = []
    place = 0
    for span in coalesce(spans):
        cursor = span.start
        while place < len(holes) and holes[place].end <= cursor:
            place += 1
        for hole in islice(holes, place, None):
            if hole.start >= span.end:
                break
            if hole.start > cursor:
                left.append(Span(cursor, hole.start))
            cursor = hole.end
        if cursor < span.end:
            left.append(Span(cursor, span.end))
    return left


def intersect(ones: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Return the stamps that both sets hold, coalesced."""
    rights = coalesce(others)
    common: list[Span] = []
    place = 0
    for one in coalesce(ones):
        while place < len(rights) and rights[place].end <= one.start:
            place += 1
        for other in islice(rights, place, None):
            if other.start >= one.end:
                break
            common.append(one.clip(other))
    return common
