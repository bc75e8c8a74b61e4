"""Summary of a series without its bars."""

from __future__ import annotations

from typing import NamedTuple

from ..cache.store import SeriesView
from ..calendars.grid import BarGrid, grid_for
from ..model.identity.instrument import Instrument
from ..model.stored.coverage import Covered
from ..model.stored.lifetime import Lifetime
from .validity import Hole, lifetime_of, next_due


class SeriesOutline(NamedTuple):
    """A snapshot of a series' metadata, without its bars.

    Attributes:
        coverage: Spans of the series, ascending and disjoint; spans that are stored as one are
            listed individually.
        lifetime: Beginning and end of the series, if known.
        grid: Grid of the times at which its bars open.
        generation: Number of the latest commit.
    """

    coverage: tuple[Covered, ...]
    lifetime: Lifetime
    grid: BarGrid
    generation: int = 0

    @staticmethod
    def is_repeated(entry: Covered) -> bool:
        """Return whether vendors have given an answer more than once, as the time until it is due shows."""
        first_due = next_due(Hole(entry.span.end), entry.fetched_at)
        return entry.expires is None or entry.expires > first_due


def outline_of(view: SeriesView, instrument: Instrument) -> SeriesOutline:
    """Return a series' coverage, lifetime, grid and generation, but not its bars."""
    grid = grid_for(instrument, view.key.timeframe, view.kind)
    return SeriesOutline(tuple(view.coverage.opened()), lifetime_of(view), grid, view.generation)
