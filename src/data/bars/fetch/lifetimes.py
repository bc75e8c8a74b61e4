"""From when to when a series trades, as its view tells it."""

from __future__ import annotations

from dataclasses import replace

from ...cache.store import SeriesView
from ...model.coverage import Covered
from ...model.lifetime import PAGES, Bound, Lifetime
from ..ingest.commit import BEFORE_FIRST

# So many vendors must say that there is nothing before it.
PROVING = 2


def is_proof(part: Covered) -> bool:
    """Tell whether a stretch proves that there is nothing before a listing."""
    return part.reason == BEFORE_FIRST and len(part.vendor.split(",")) >= PROVING


def lifetime_of(view: SeriesView) -> Lifetime:
    """Return what is known of when a series begins and ends.

    A listing that was proved stands in the coverage too, which outlives the document of the series.
    What an earlier version concluded from the silence of one vendor is no proof.
    """
    if view.lifetime.listed is not None:
        return view.lifetime
    proved = [part for part in view.coverage if is_proof(part)]
    if not proved:
        return view.lifetime
    last = max(proved, key=lambda part: part.span.end)
    expires = last.expires or 0
    listed = Bound(last.span.end, last.vendor, last.fetched_at, expires, PAGES)
    return replace(view.lifetime, listed=listed)
