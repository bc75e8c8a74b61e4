"""Half-open intervals of milliseconds and their arithmetic."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Many spans: one in each row, of an array with two columns.
Edges = NDArray[np.int64]


class Span(NamedTuple):
    """The stamps ``[start, end)`` in milliseconds."""

    start: int
    end: int

    def __contains__(self, ms: object) -> bool:
        return isinstance(ms, int) and self.start <= ms < self.end

    @property
    def is_empty(self) -> bool:
        """Whether the span contains no stamp."""
        return self.end <= self.start

    def clip(self, other: Span) -> Span:
        """Return the common part; it may be empty."""
        start, end = self
        first, last = other
        return Span(start if start > first else first, end if end < last else last)

    def overlaps(self, other: Span) -> bool:
        """Return whether the two share a stamp."""
        start, end = self
        first, last = other
        return start < last and first < end and start < end and first < last


def coalesce(spans: Iterable[Span]) -> list[Span]:
    """Return the same set of stamps as a minimal list of ascending, disjoint spans."""
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
    """Return the ascending, disjoint spans that share a stamp with ``span``, unclipped."""
    if span.is_empty:
        return ()
    first = bisect_left(ascending, (span.start + 1,))
    if first and ascending[first - 1].end > span.start:
        first -= 1
    return ascending[first : bisect_left(ascending, (span.end,), lo=first)]


def clipped(ascending: Sequence[Span], span: Span) -> list[Span]:
    """Return ascending, disjoint spans clipped to ``span``."""
    inside = list(touching(ascending, span))
    if inside:  # only the outermost may reach beyond it
        inside[0], inside[-1] = inside[0].clip(span), inside[-1].clip(span)
    return inside


def gaps(wanted: Span, covered: Iterable[Span]) -> list[Span]:
    """Return the parts of ``wanted`` that are not in ``covered``, in order."""
    first, last = wanted
    spans: list[Span] = []
    for span in covered:
        start, end = span
        if start <= first and last <= end:  # what is cached is within one span nearly always
            return []
        if start < last and first < end:
            spans.append(span)
    return subtract([wanted], spans)


def subtract(spans: Iterable[Span], removed: Iterable[Span]) -> list[Span]:
    """Return the stamps in ``spans`` that are not in ``removed``, coalesced."""
    wholes = coalesce(spans)
    holes = coalesce(removed) if wholes else []
    if not holes:
        return wholes
    left: list[Span] = []
    place, count = 0, len(holes)
    for span in wholes:
        cursor, end = first, _ = span
        while place < count and holes[place][1] <= cursor:
            place += 1
        at = place
        while at < count and holes[at][0] < end:
            start, cursor_after = holes[at]
            if start > cursor:
                left.append(Span(cursor, start))
            cursor = cursor_after
            at += 1
        if cursor < end:
            left.append(span if cursor == first else Span(cursor, end))
    return left


def intersect(ones: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Return the stamps that are in both sets, coalesced."""
    lefts = coalesce(ones)
    rights = coalesce(others) if lefts else []
    common: list[Span] = []
    place, count = 0, len(rights)
    for one in lefts:
        start, end = one
        while place < count and rights[place][1] <= start:
            place += 1
        at = place
        while at < count and rights[at][0] < end:
            common.append(one.clip(rights[at]))
            at += 1
    return common


# --- many spans at once ------------------------------------------------------------------


def distinct(stamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct stamps in ascending order; the input may be in any order.

    ``np.unique`` hashes integers, which takes many times as long if they are sorted.
    """
    if (stamps[1:] > stamps[:-1]).all():
        return stamps
    ordered = np.sort(stamps)
    once: NDArray[np.int64] = ordered[np.append(ordered[1:] != ordered[:-1], True)]
    return once


def edges_of(spans: Iterable[Span] | Edges) -> Edges:
    """Return spans as an array; an array as it is."""
    if isinstance(spans, np.ndarray):
        return spans
    return np.fromiter(chain.from_iterable(spans), np.int64).reshape(-1, 2)


def spans_of(edges: Edges) -> list[Span]:
    """Return the rows of an array as spans."""
    return list(map(Span._make, edges.tolist()))


def merged(edges: Edges) -> Edges:
    """Return the same set of stamps as ascending, disjoint spans; see :func:`coalesce`."""
    edges = edges[edges[:, 0] < edges[:, 1]]
    edges = edges[edges[:, 0].argsort(kind="stable")]
    reach = np.maximum.accumulate(edges[:, 1])
    if not len(edges):
        return edges
    firsts = np.flatnonzero(np.append(True, edges[1:, 0] > reach[:-1]))
    lasts = np.append(firsts[1:], len(edges)) - 1
    return np.column_stack([edges[firsts, 0], reach[lasts]])


def holds(edges: Edges, stamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which stamps are in one of the spans."""
    starts, ends = np.sort(edges[edges[:, 0] < edges[:, 1]], axis=0).T
    # A stamp is inside if more spans have begun than ended there.
    rows: NDArray[np.bool_] = starts.searchsorted(stamps, "right") > ends.searchsorted(
        stamps, "right"
    )
    return rows


def difference(edges: Edges, removed: Edges) -> Edges:
    """Return the stamps of ``edges`` that are not in ``removed``; see :func:`subtract`."""
    cuts = distinct(np.concatenate([edges, removed]).ravel())
    kept = holds(edges, cuts[:-1]) & ~holds(removed, cuts[:-1])
    return merged(np.column_stack([cuts[:-1], cuts[1:]])[kept])


def meets(edges: Edges, ascending: Edges) -> NDArray[np.bool_]:
    """Return which of the non-empty spans share a stamp with one of ascending, disjoint ones."""
    starts, ends = ascending.T
    rows: NDArray[np.bool_] = starts.searchsorted(edges[:, 1]) > ends.searchsorted(
        edges[:, 0], "right"
    )
    return rows
