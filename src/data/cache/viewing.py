"""Views of series: many documents seen as one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..disk.files import FileState
from ..model.coverage import Coverage
from ..model.kind import Kind
from ..model.lifetime import Lifetime
from ..model.series import SeriesKey
from .adopt import OldYears
from .commit import SeriesView
from .lane import Lane
from .ledger import without, year_span
from .metadata import DamagedError
from .reading import read_state
from .series_meta import SeriesMeta
from .year_meta import YearState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """What the metadata of a series say, all of one moment.

    Attributes:
        view: the series as one.
        states: of each year, ascending.
        has_quarantine: whether there can be rows that were not believed.
    """

    view: SeriesView
    states: Mapping[int, YearState]
    has_quarantine: bool


class Viewer:
    """Puts the years of a series together. Thread-safe.

    Args:
        old: finds files of older tools.
        lock_timeout_s: how long to wait where a year needs repair.
    """

    def __init__(self, old: OldYears, lock_timeout_s: float) -> None:
        self._old = old
        self._lock_timeout_s = lock_timeout_s
        # What is known by series, with the state of the folder it was made from. Thread-safe:
        # entries are replaced whole.
        self._made: dict[SeriesKey, tuple[FileState, Known]] = {}

    def view(self, lane: Lane) -> SeriesView:
        """Return the view of a series."""
        return self.known(lane).view

    def known(self, lane: Lane, since: SeriesView | None = None) -> Known:
        """Return what is known of a series, looking at its folder alone where nothing changed.

        Documents are only ever changed by renaming, which changes the folder's own time: while
        that stands still, so does what they say.

        Args:
            lane: the series.
            since: a view got just before: what belongs to it, without looking again.
        """
        made = self._made.get(lane.key)
        if made is not None and made[1].view is since:
            return made[1]
        before = lane.memory.settled_state(lane.paths.folder)
        if made is not None and made[0] == before:
            return made[1]
        own = lane.years()
        old = self._old.of(lane, own)
        states = self._states(lane, own, old)
        view = _view(lane.key, own, read_series(lane), list(states.values()))
        names = lane.memory.list(lane.paths.folder)
        known = Known(view, states, lane.paths.quarantine.name in names)
        # Older tools write in place, which a folder does not show.
        if before is not None and not old:
            self._made[lane.key] = before, known
        return known

    def _states(self, lane: Lane, own: list[int], old: dict[int, Path]) -> dict[int, YearState]:
        """Return the state of each year, years ascending; older tools' files as if they were ours."""
        states: dict[int, YearState] = {}
        for year, path in old.items():
            found = self._old.read(lane.key, path)
            stamps = found.table.stamps
            states[year] = YearState(
                rows=len(stamps), coverage=found.coverage,
                first=int(stamps[0]) if len(stamps) else None,
                last=int(stamps[-1]) if len(stamps) else None,
            )  # fmt: skip
        for year in own:
            state = read_state(lane, year, self._lock_timeout_s) if year not in old else None
            if state is not None:
                states[year] = state
        return dict(sorted(states.items()))

    def years(self, lane: Lane) -> list[int]:
        """Return the years of which bars are stored."""
        own = lane.years()
        states = self._states(lane, own, self._old.of(lane, own))
        return [year for year, state in states.items() if state.rows]

    def long_empties(self, lane: Lane, own: list[int]) -> Coverage:
        """Return the stretches without bars that lie in years without a file."""
        return _empties(read_series(lane), own)


def _view(
    key: SeriesKey, own: list[int], series: SeriesMeta | None, states: list[YearState]
) -> SeriesView:
    if not states and series is None:
        return SeriesView(key)
    newest = max((s.generation for s in states), default=0)
    coverage = _empties(series, own)
    for state in states:
        coverage = Coverage((*coverage, *state.coverage))
    first = min((s.first for s in states if s.first is not None), default=None)
    last = max((s.last for s in states if s.last is not None), default=None)
    return SeriesView(
        key=key,
        coverage=Coverage(sorted(coverage, key=lambda c: c.span)).overlaid(()),
        kind=_kind(series, states),
        next_due=_next_due(series, newest),
        generation=max(newest, series.generation if series else 0),
        rows=sum(state.rows for state in states),
        first=first, last=last,
        compared_at=series.compared_at if series else None,
        lifetime=series.lifetime.beside(first, last) if series else Lifetime(),
    )  # fmt: skip


def read_series(lane: Lane) -> SeriesMeta | None:
    """Return ``series.json``; a damaged one counts as absent, for it only saves requests."""
    try:
        return lane.series()
    except DamagedError as exc:
        log.warning("%s: series.json is lost: %s", lane.key, exc)
        return None


def _empties(series: SeriesMeta | None, own: list[int]) -> Coverage:
    if series is None:
        return Coverage()
    return without(series.empties, [year_span(year) for year in own])


def _kind(series: SeriesMeta | None, states: list[YearState]) -> Kind | None:
    if series is not None and series.kind is not None:
        return series.kind
    known = [c.kind for s in states for c in s.coverage if c.state in ("final", "provisional")]
    kind = known[0] if known else None
    for other in known[1:]:
        kind = kind.filled_from(other) if kind is not None else other
    return kind


def _next_due(series: SeriesMeta | None, newest: int) -> int | None:
    """Return ``next_due`` if it was written with the years as they are now."""
    return series.next_due if series is not None and series.years_generation == newest else None
