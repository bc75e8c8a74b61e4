"""Summary of a series without its bars."""

from __future__ import annotations

from typing import NamedTuple

from ..cache.store import SeriesView
from ..calendars.grid import BarGrid, grid_for
from ..model.identity.instrument import Instrument
from ..model.stored.coverage import Covered
from ..model.stored.lifetime import Lifetime
from .validity import Expiry, is_repeated, lifetime_of


class SeriesOutline(NamedTuple):
    """A snapshot of a series' metadata, without its bars.

    Attributes:
        coverage: Spans of the series, ascending and disjoint; spans that are stored as one are
            listed individually.
        lifetime: Beginning and end of the series, if known.
        grid: Grid of the times at which its bars open.
        expiry: How long its answers without bars stay valid at first.
        generation: Number of the latest commit.
    """

    coverage: tuple[Covered, ...]
    lifetime: Lifetime
    grid: BarGrid
    expiry: Expiry
    generation: int = 0

    def is_repeated(self, entry: Covered) -> bool:
        """Return whether vendors have given an answer more than once, as the time until it is due shows."""
        return is_repeated(entry, self.grid, self.expiry)


def outline_of(view: SeriesView, instrument: Instrument, expiry: Expiry) -> SeriesOutline:
    """Return a series' coverage, lifetime, grid and generation, but not its bars."""
    grid, coverage = grid_for(instrument, view.key.timeframe, view.kind), view.coverage.opened()
    return SeriesOutline(tuple(coverage), lifetime_of(view), grid, expiry, view.generation)
