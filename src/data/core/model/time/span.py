"""Half-open intervals of milliseconds and their arithmetic."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from .instant import year_of, year_start


class Span(NamedTuple):
    """A half-open interval of time, ``[start, end)``, in milliseconds."""

    start: int
    end: int

    def __contains__(self, ms: object) -> bool:
        return isinstance(ms, int) and self.start <= ms < self.end

    @property
    def is_empty(self) -> bool:
        """Whether the span contains no instant."""
        return self.end <= self.start

    def clip(self, other: Span) -> Span:
        """Return the overlap of two spans, which may be empty."""
        start, end = self
        first, last = other
        return Span(start if start > first else first, end if end < last else last)

    def overlaps(self, other: Span) -> bool:
        """Return whether the two spans overlap; an empty span overlaps nothing."""
        start, end = self
        first, last = other
        return start < last and first < end and start < end and first < last


def coalesce(spans: Iterable[Span]) -> list[Span]:
    """Merge spans into the shortest list of ascending, disjoint spans that covers the same time."""
    merged: list[Span] = []
    reach: int | None = None
    for span in sorted(spans):
        start, end = span
        if end <= start:
            continue
        if reach is None or start > reach:
            merged.append(span)
            reach = end
        elif end > reach:
            merged[-1] = Span(merged[-1][0], end)
            reach = end
    return merged


def touching(ascending: Sequence[Span], span: Span) -> Sequence[Span]:
    """Return the spans in ``ascending``, which must be disjoint, that overlap ``span``; unclipped."""
    if span.is_empty:
        return ()
    first = bisect_left(ascending, (span.start + 1,))
    if first and ascending[first - 1].end > span.start:
        first -= 1
    return ascending[first : bisect_left(ascending, (span.end,), lo=first)]


def clipped(ascending: Sequence[Span], span: Span) -> list[Span]:
    """Return ascending, disjoint spans clipped to ``span``."""
    inside = list(touching(ascending, span))
    if inside:  # only the first and the last can extend beyond it
        inside[0], inside[-1] = inside[0].clip(span), inside[-1].clip(span)
    return inside


def uncovered(wanted: Span, covered: Iterable[Span]) -> list[Span]:
    """Return the parts of ``wanted`` that are not in ``covered``, in ascending order."""
    first, last = wanted
    spans: list[Span] = []
    for span in covered:
        start, end = span
        if start <= first and last <= end:  # the usual case: one cached span contains the bars
            return []
        if start < last and first < end:
            spans.append(span)
    return subtract([wanted], spans)


def subtract(spans: Iterable[Span], removed: Iterable[Span]) -> list[Span]:
    """Return the parts of ``spans`` that are not in ``removed``, as merged spans."""
    merged = coalesce(spans)
    removals = coalesce(removed) if merged else []
    if not removals:
        return merged
    left: list[Span] = []
    index, count = 0, len(removals)
    for span in merged:
        cursor, end = first, _ = span
        while index < count and removals[index][1] <= cursor:
            index += 1
        at = index
        while at < count and removals[at][0] < end:
            start, cursor_after = removals[at]
            if start > cursor:
                left.append(Span(cursor, start))
            cursor = cursor_after
            at += 1
        if cursor < end:
            left.append(span if cursor == first else Span(cursor, end))
    return left


def intersect(ones: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Return the intersection of ``ones`` and ``others``, as merged spans."""
    merged = coalesce(ones)
    other_merged = coalesce(others) if merged else []
    common: list[Span] = []
    index, count = 0, len(other_merged)
    for span in merged:
        start, end = span
        while index < count and other_merged[index][1] <= start:
            index += 1
        at = index
        while at < count and other_merged[at][0] < end:
            common.append(span.clip(other_merged[at]))
            at += 1
    return common


def years_of(span: Span) -> range:
    """Return the years that ``span`` overlaps."""
    if span.is_empty:
        return range(0)
    return range(year_of(span.start), year_of(span.end - 1) + 1)


@cache
def year_span(year: int) -> Span:
    """Return the span of ``year``."""
    return Span(year_start(year), year_start(year + 1))
