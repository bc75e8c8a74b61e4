"""From when to when a series trades, as its view tells it."""

from __future__ import annotations

from dataclasses import replace

from ..cache.store import SeriesView
from ..model.lifetime import Bound, Lifetime
from .terms import BEFORE_FIRST


def lifetime_of(view: SeriesView) -> Lifetime:
    """Return what is known of when a series begins and ends.

    A listing that was proved stands in the coverage too, which outlives the document of the series.
    """
    if view.lifetime.listed is not None:
        return view.lifetime
    proved = [part for part in view.coverage if part.reason == BEFORE_FIRST]
    if not proved:
        return view.lifetime
    last = max(proved, key=lambda part: part.span.end)
    listed = Bound(last.span.end, last.vendor, last.fetched_at, last.expires or 0)
    return replace(view.lifetime, listed=listed)
