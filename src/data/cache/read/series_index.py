"""Views of series: many documents seen as one."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from functools import reduce
from operator import attrgetter

from ...disk.files import FileState
from ...model.coverage import Coverage, Covered
from ...model.frozen import filled
from ...model.kind import Kind
from ...model.lifetime import Lifetime
from ...model.series import SeriesKey
from ...model.span import Span
from ..format.json_document import DamagedError
from ..format.series_document import SeriesMeta
from ..format.year_document import YearState
from ..layout import QUARANTINE, years_in
from ..legacy.adopt import OldYears
from ..values import SeriesView
from ..write.coverage_update import year_span
from ..write.series import SeriesFiles
from .lru_cache import LruCache
from .year_reader import read_state

log = logging.getLogger(__name__)
_SPAN = attrgetter("span")
# What is known of a series takes about so many bytes: each, a year, a stretch of the coverage.
_EACH, _A_YEAR, _A_PART = 3072, 512, 512


class IndexEntry:
    """What the metadata of a series say, all of one moment.

    Args:
        view: the series as one.
        states: of each year, ascending.
        has_quarantine: whether there can be rows that were not believed.
        is_ours: whether none of it is of an older tool, which writes in place: a folder does not
            show that.
    """

    def __init__(
        self,
        view: SeriesView,
        states: Mapping[int, YearState],
        *,
        has_quarantine: bool,
        is_ours: bool = True,
    ) -> None:
        self.view = view
        self.has_quarantine = has_quarantine
        self.is_ours = is_ours
        self._states = states

    def years(self, span: Span) -> dict[int, YearState]:
        """Return the state of each year that overlaps ``span``, ascending."""
        start, end = span
        if end <= start:
            return {}
        return {
            year: state
            for year, state in self._states.items()
            if (own := year_span(year))[0] < end and start < own[1]
        }

    @property
    def size(self) -> int:
        """Bytes, about."""
        return _EACH + (_A_YEAR * len(self._states)) + _A_PART * len(self.view.coverage)


class SeriesIndex:
    """Puts the years of a series together. Thread-safe.

    Args:
        old: finds files of older tools.
        memory: where views are kept.
        lock_timeout_s: how long to wait where a year needs repair.
    """

    def __init__(self, old: OldYears, memory: LruCache, lock_timeout_s: float) -> None:
        self._old = old
        self._memory = memory
        self._lock_timeout_s = lock_timeout_s

    def view(self, lane: SeriesFiles) -> SeriesView:
        """Return the view of a series."""
        return self.known(lane).view

    def known(self, lane: SeriesFiles, since: SeriesView | None = None) -> IndexEntry:
        """Return what is known of a series, looking at its folder alone where nothing changed.

        Documents are only ever changed by renaming, which changes the folder's own time: while
        that stands still, so does what they say.

        Args:
            lane: the series.
            since: a view got just before: what belongs to it, without looking again.
        """
        if lane.previews:  # the documents on the disk are not those that a repair would leave
            return self._read(lane)
        place = "series", lane.key
        made: tuple[FileState, IndexEntry] | None = self._memory.get(place)
        if made is not None and made[1].view is since:
            return made[1]
        before = lane.memory.settled_state(lane.paths.text)
        if made is not None and made[0] == before:
            return made[1]
        known = self._read(lane)
        if before is not None and known.is_ours and not lane.previews:
            self._memory.put(place, (before, known), known.size)
        return known

    def seal(self, lane: SeriesFiles, view: SeriesView) -> dict[str, FileState | None] | None:
        """Return the state of the folder that tells while it is so that ``view`` is current."""
        made: tuple[FileState, IndexEntry] | None = self._memory.get(("series", lane.key))
        return None if made is None or made[1].view is not view else {lane.paths.text: made[0]}

    def _read(self, lane: SeriesFiles) -> IndexEntry:
        """Return what the documents of a series say; those that are damaged are repaired."""
        names = lane.disk.list(lane.paths.text)
        own = years_in(names)
        states, series, is_ours = self._documents(lane, own)
        parts = [*_empties(series, own), *(part for s in states.values() for part in s.coverage)]
        coverage = Coverage.joined(sorted(parts, key=_SPAN))
        view = _view(lane.key, series, states.values(), coverage)
        return IndexEntry(view, states, has_quarantine=QUARANTINE in names, is_ours=is_ours)

    def _documents(
        self, lane: SeriesFiles, own: list[int]
    ) -> tuple[dict[int, YearState], SeriesMeta | None, bool]:
        """Return the state of each year, ascending, what has no year, and whether all are ours.

        Older tools' files are told as if they were ours.
        """
        damaged = lane.previews or ()
        states, series = lane.documents([year for year in own if year not in damaged])
        old = self._old.of(lane, own, states)
        if not old and len(states) == len(own):
            return states, series, True
        for year, path in old.items():
            found = self._old.read(lane.key, path)
            stamps = found.table.stamps
            states[year] = YearState(
                rows=len(stamps),
                coverage=found.coverage,
                first=int(stamps[0]) if len(stamps) else None,
                last=int(stamps[-1]) if len(stamps) else None,
            )
        for year in own:
            if year not in states:
                state = read_state(lane, year, self._lock_timeout_s)
                if state is not None:
                    states[year] = state
        return dict(sorted(states.items())), series, not old

    def years(self, lane: SeriesFiles) -> list[int]:
        """Return the years of which bars are stored."""
        states, _, _ = self._documents(lane, lane.years())
        return [year for year, state in states.items() if state.rows]

    def long_empties(self, lane: SeriesFiles, own: list[int]) -> Coverage:
        """Return the stretches without bars that lie in years without a file."""
        return _empties(read_series(lane), own)


def _view(
    key: SeriesKey,
    series: SeriesMeta | None,
    told: Collection[YearState],
    coverage: Coverage,
) -> SeriesView:
    newest, rows = 0, 0
    stamps: list[int] = []
    for year in told:
        newest, rows = max(newest, year.generation), rows + year.rows
        if year.first is not None and year.last is not None:
            stamps += year.first, year.last
    first, last = (min(stamps), max(stamps)) if stamps else (None, None)
    return filled(
        SeriesView,
        key=key,
        coverage=coverage,
        kind=kind_of(series, coverage),
        next_due=_next_due(series, newest),
        generation=max(newest, series.generation if series else 0),
        rows=rows,
        first=first,
        last=last,
        compared_at=series.compared_at if series else None,
        lifetime=series.lifetime.beside(first, last) if series else Lifetime(),
        faults=tuple(fault for year in told for fault in year.faults),
    )


def read_series(lane: SeriesFiles) -> SeriesMeta | None:
    """Return ``series.json``; a damaged one counts as absent, for it only saves requests."""
    try:
        return lane.series()
    except DamagedError as exc:
        log.warning("%s: series.json is lost: %s", lane.key, exc)
        return None


def _empties(series: SeriesMeta | None, own: list[int]) -> Coverage:
    if series is None or not series.empties:
        return Coverage()
    return series.empties.without(year_span(year) for year in own)


def kind_of(series: SeriesMeta | None, coverage: Iterable[Covered]) -> Kind | None:
    """Return the kind of a series; where its document is lost, what all of its bars tell."""
    if series is not None and series.kind is not None:
        return series.kind
    known = [p.kind for p in coverage if p.state in ("final", "provisional") or p.parts]
    return reduce(Kind.filled_from, known) if known else None


def _next_due(series: SeriesMeta | None, newest: int) -> int | None:
    """Return ``next_due`` if it was written with the years as they are now."""
    return series.next_due if series is not None and series.years_generation == newest else None
