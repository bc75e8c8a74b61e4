"""Facts about a series without its bars."""

from __future__ import annotations

from typing import NamedTuple

from ..cache.store import SeriesView
from ..calendars.calendar import calendar_for
from ..calendars.grid import BarGrid
from ..model.coverage import Covered
from ..model.instrument import Instrument
from ..model.lifetime import Lifetime
from .validity import lifetime_of


class SeriesOutline(NamedTuple):
    """What is known of a series without its bars, of one moment.

    Attributes:
        coverage: stretch by stretch, ascending and disjoint; none is folded.
        lifetime: when it begins and ends, as far as that is known.
        grid: where its bars stand.
        generation: Number of the last commit.
    """

    coverage: tuple[Covered, ...]
    lifetime: Lifetime
    grid: BarGrid
    generation: int = 0


def outline_of(view: SeriesView, instrument: Instrument) -> SeriesOutline:
    """Return what a view tells."""
    anchor = (view.kind.anchor if view.kind else None) or "session"
    grid = BarGrid(calendar_for(instrument), view.key.timeframe, anchor)
    return SeriesOutline(tuple(view.coverage.opened()), lifetime_of(view), grid, view.generation)
