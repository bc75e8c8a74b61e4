"""Determines the spans to fetch: those requested and not covered, adjusted to the market's calendar."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..model.market.bars import Stamps, among
from ..model.time.edges import Edges, edges_of, spans_of
from ..model.time.span import Span, coalesce, intersect, subtract, touching, uncovered
from .grid import BarGrid


class Missing(NamedTuple):
    """The parts of a request that no stored answer covers.

    Attributes:
        segments: Spans to fetch; each contains an expected bar, or bars to fetch again.
        closed: Spans that no answer covers, but in which no bar is expected.
    """

    segments: list[Span]
    closed: list[Span]


def missing(wanted: Span, covered: Sequence[Span], due: Sequence[Span], grid: BarGrid) -> Missing:
    """Find the spans to fetch within ``wanted``.

    The end of a segment is moved up to the next expected bar, so that coverage is not broken up
    while the market is closed. If the market is closed right before a segment, those hours become
    part of the segment, even if some of them are covered, because vendors send bars at such hours
    that no calendar expects.

    Args:
        wanted: Requested span, already cut before the first bar that has not closed.
        covered: Covered spans, which need not be fetched.
        due: Covered spans to fetch again because their bars have settled.
        grid: Calendar, timeframe and anchor of the series.
    """
    trusted = subtract(covered, due)
    again = intersect([wanted], due)
    segments: list[Span] = []
    closed: list[Span] = []
    for span in coalesce([*uncovered(wanted, covered), *again]):
        if grid.next_open(span.start) < span.end or touching(again, span):
            reach = Span(span.start, max(span.end, grid.next_open(span.end)))
            untrusted = subtract([reach], touching(trusted, reach))
            segments += (s for s in untrusted if s.overlaps(span))
        else:
            closed.append(span)
    segments, joined, separate = coalesce(segments), [], []
    for span in closed:
        opens = grid.next_open(span.start)
        at = bisect_left(segments, (span.end,))
        after = segments[at] if at < len(segments) else None
        if after is None or after.start > opens:
            separate.append(span)
        else:
            joined.append(Span(span.start, after.end))
    return Missing(coalesce([*segments, *joined]), separate)


def holes(answered: Span, present: Stamps, grid: BarGrid) -> list[Span]:
    """Return the result of :func:`hole_edges` as a list of spans."""
    return spans_of(hole_edges(answered, present, grid))


def hole_edges(answered: Span, present: Stamps, grid: BarGrid) -> Edges:
    """Return the holes in an answer: the parts of ``answered`` in which expected bars are missing.

    Each hole ends at the next bar. A hole before the first bar begins at the start of ``answered``.

    Args:
        answered: Half-open span that the answer is for.
        present: Timestamps of the answer's bars, ascending, int64, UTC milliseconds.
        grid: Calendar, timeframe and anchor of the series.
    """
    expected = grid.opens(answered)
    absent = expected[~among(expected, present)]
    if not len(absent):
        return edges_of(())
    extra = present[~among(present, expected)]
    marks = np.sort(np.concatenate([expected, extra]), kind="stable")
    positions = np.searchsorted(marks, absent)
    # Neighbours on the grid are merged into one span; thin markets have thousands of them.
    breaks = np.flatnonzero(np.diff(positions) > 1)
    firsts, lasts = np.append(0, breaks + 1), np.append(breaks, len(absent) - 1)
    starts = absent[firsts]
    if positions[0] == 0:
        starts[0] = answered.start
    ends = np.append(marks, answered.end)[positions[lasts] + 1]
    return np.column_stack([starts, ends])
