"""Bars of older tools: nobody knows what they are, so a few are compared before any is joined to.

Shares are stricter (see the plan): theirs are fetched anew as soon as anything is fetched beside
them, for nothing tells how they were adjusted.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...calendars.gaps import BarGrid
from ...model.bars import BarTable, among, inside
from ...model.coverage import Coverage, Covered
from ...model.span import Span, coalesce
from ...prices.splice import COMMON, ONE_MARKET
from ..ingest.commit import StoredRange
from ..validity import DOUBTFUL


def with_overlap(
    segments: Iterable[Span], coverage: Coverage, grid: BarGrid, cap: int
) -> list[Span]:
    """Let segments reach a few bars into what older tools left beside them."""
    older = [part.span for part in coverage if is_older(part)]
    widened = []
    for segment in segments:
        start, end = segment
        for span in older:
            if span.end == start:
                start = max(span.start, grid.back(start, COMMON))
            if span.start == end:
                end = min(span.end, cap, _behind(grid, end))
        widened.append(Span(start, end))
    return coalesce(widened)


def _behind(grid: BarGrid, stamp: int) -> int:
    """Return the stamp behind the next few expected bars."""
    for _ in range(COMMON):
        stamp = grid.next_open(stamp) + 1
    return grid.next_open(stamp)


def contradicted(
    held: StoredRange, rows: BarTable, coverage: Coverage, vendor: str, now_ms: int
) -> list[Covered]:
    """Return marks that take all trust from older bars where a vendor says something else.

    Args:
        held: what is stored of the stretch answered.
        rows: the bars answered.
        coverage: of the whole series.
        vendor: who answered.
        now_ms: from when they are to be asked again: at once.
    """
    older = [part.span for part in held.coverage if is_older(part)]
    mine = held.rows.take(inside(held.rows.stamps, older))
    common = among(mine.stamps, rows.stamps)
    if not common.any():
        return []
    theirs = rows.take(among(rows.stamps, mine.stamps))
    ratios = theirs.close / mine.take(common).close
    median = float(np.median(ratios))
    spread = float(np.median(np.abs(ratios - median)))
    if abs(median - 1) <= ONE_MARKET.median and spread <= ONE_MARKET.spread:
        return []
    reason = f"{DOUBTFUL}kept by another tool, and {vendor} says something else"
    return [
        Covered(
            part.span,
            "suspect",
            part.vendor,
            part.kind,
            part.basis,
            part.fetched_at,
            reason,
            expires=now_ms,
        )
        for part in coverage
        if is_older(part)
    ]


def is_older(part: Covered) -> bool:
    """Tell whether these are bars of which nobody knows what they are."""
    return part.state == "final" and part.basis.adjustment == "unknown"
