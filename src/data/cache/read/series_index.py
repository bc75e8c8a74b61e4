"""Views of series: many documents seen as one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import attrgetter
from pathlib import Path

from ...disk.files import FileState
from ...model.coverage import Coverage, Covered
from ...model.frozen import filled
from ...model.kind import Kind
from ...model.lifetime import Lifetime
from ...model.series import SeriesKey
from ...model.span import Span
from ..format.json_document import DamagedError
from ..format.series_document import SeriesMeta
from ..format.year_document import Extent, YearState, YearSummary
from ..layout import QUARANTINE, years_in
from ..legacy.adopt import OldYears
from ..values import SeriesView
from ..write.coverage_update import year_span
from ..write.series import SeriesFiles
from .frequency_cache import FrequencyCache
from .manifest import ManifestStore, SeriesManifest
from .metadata_scan import MetadataScan, look
from .year_reader import read_state

log = logging.getLogger(__name__)
_SPAN = attrgetter("span")
# What is known of a series takes about so many bytes: each, a year, a stretch of the coverage.
_EACH, _A_YEAR, _A_PART = 3072, 512, 512
_MOST_BYTES = 96 << 20
# Fewer documents are read as soon as their gist.
_WORTH = 4


class IndexEntry:
    """What the metadata of a series say, all of one moment.

    Args:
        view: the series as one.
        extents: of the file of each year, ascending.
        has_quarantine: whether there can be rows that were not believed.
        is_ours: whether none of it is of an older tool, which writes in place: a folder does not
            show that.
    """

    def __init__(
        self,
        view: SeriesView,
        extents: Mapping[int, Extent],
        *,
        has_quarantine: bool,
        is_ours: bool = True,
    ) -> None:
        self.view = view
        self.has_quarantine = has_quarantine
        self.is_ours = is_ours
        self._extents = extents

    def extents(self, span: Span) -> dict[int, Extent]:
        """Return what the file of each year must be that overlaps ``span``, ascending."""
        start, end = span
        if end <= start:
            return {}
        return {
            year: extent
            for year, extent in self._extents.items()
            if (own := year_span(year))[0] < end and start < own[1]
        }

    @property
    def size(self) -> int:
        """Bytes, about."""
        return _EACH + (_A_YEAR * len(self._extents)) + _A_PART * len(self.view.coverage)


class SeriesIndex:
    """Puts the years of a series together. Thread-safe.

    Args:
        old: finds files of older tools.
        gists: what documents say together, where that is kept.
        lock_timeout_s: how long to wait where a year needs repair.
    """

    def __init__(self, old: OldYears, gists: ManifestStore, lock_timeout_s: float) -> None:
        self._old = old
        self._gists = gists
        self._lock_timeout_s = lock_timeout_s
        # What is known by series, with the state of the folder it was made from.
        self._made: FrequencyCache[SeriesKey, tuple[FileState, IndexEntry]] = FrequencyCache(
            _MOST_BYTES
        )

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
            own = lane.years()
            return self._of_any(lane, own, self._old.of(lane, own))
        made = self._made.find(lane.key)
        if made is not None and made[1].view is since:
            return made[1]
        before = lane.memory.settled_state(lane.paths.text)
        if made is not None and made[0] == before:
            return made[1]
        # Who has looked before has most of the documents in memory.
        recalled = self._recalled(lane, before) if made is None and before is not None else None
        known = recalled or self._looked(lane, before)
        if before is not None and known.is_ours and not lane.previews:
            self._made.hold(lane.key, (before, known), known.size)
        return known

    def _recalled(self, lane: SeriesFiles, folder: FileState) -> IndexEntry | None:
        """Return what is known by the gist of the documents, where there is a true one."""
        gist = self._gists.of(lane, folder)
        if gist is None or self._old.of(lane, list(gist.years), gist.years):
            return None
        return _of_gist(lane, gist)

    def _looked(self, lane: SeriesFiles, folder: FileState | None) -> IndexEntry:
        """Return what is known by looking at each document."""
        names = lane.disk.list(lane.paths.text)
        own = years_in(names)
        looked = look(lane, own, names)
        old = self._old.of(lane, own, looked.years)
        gist = None
        if len(looked.years) == len(own) and not old:
            gist = _gist(lane, looked, has_quarantine=QUARANTINE in names)
        if gist is None:
            return self._of_any(lane, own, old)
        documents = [name for name in names if name.endswith(".json")]
        is_whole = len(looked.years) + (looked.series is not None) == len(documents)
        is_worth = is_whole and looked.read >= _WORTH and not _has_faults(looked)
        if is_worth and lane.previews is None:
            self._gists.keep(lane, folder, documents, gist)
        return _of_gist(lane, gist)

    def _of_any(self, lane: SeriesFiles, own: list[int], old: dict[int, Path]) -> IndexEntry:
        """Return what is known of a series of which something is not ordinary; repair it."""
        states = self._states(lane, own, old)
        series, told = read_series(lane), list(states.values())
        parts = [*_empties(series, own), *(part for state in told for part in state.coverage)]
        coverage = Coverage.joined(sorted(parts, key=_SPAN))
        has_quarantine = QUARANTINE in lane.memory.list(lane.paths.folder)
        view = _view(lane.key, series, told, coverage)
        extents = {year: state.extent for year, state in states.items()}
        return IndexEntry(view, extents, has_quarantine=has_quarantine, is_ours=not old)

    def _states(
        self, lane: SeriesFiles, own: list[int], old: dict[int, Path]
    ) -> dict[int, YearState]:
        """Return the state of each year, years ascending; older tools' files as if they were ours."""
        states: dict[int, YearState] = {}
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
            state = read_state(lane, year, self._lock_timeout_s) if year not in old else None
            if state is not None:
                states[year] = state
        return dict(sorted(states.items()))

    def years(self, lane: SeriesFiles) -> list[int]:
        """Return the years of which bars are stored."""
        own = lane.years()
        states = self._states(lane, own, self._old.of(lane, own))
        return [year for year, state in states.items() if state.rows]

    def long_empties(self, lane: SeriesFiles, own: list[int]) -> Coverage:
        """Return the stretches without bars that lie in years without a file."""
        return _empties(read_series(lane), own)


def _gist(
    lane: SeriesFiles, looked: MetadataScan, *, has_quarantine: bool
) -> SeriesManifest | None:
    """Return what documents say together, where there is no doubt about it."""
    series, told = looked.series or read_series(lane), list(looked.years.values())
    try:
        coverage = _coverage(told)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    if series is not None and series.empties:
        parts = sorted((*_empties(series, list(looked.years)), *coverage), key=_SPAN)
        coverage = Coverage.joined(parts)
    return SeriesManifest(looked.years, series, coverage, has_quarantine)


def _has_faults(looked: MetadataScan) -> bool:
    """Tell whether a year has faults, which a gist does not tell."""
    return any(isinstance(year, YearState) and year.faults for year in looked.years.values())


def _of_gist(lane: SeriesFiles, gist: SeriesManifest) -> IndexEntry:
    years, series, coverage, has_quarantine = gist
    extents = {year: document.extent for year, document in years.items()}
    view = _view(lane.key, series, list(years.values()), coverage)
    return IndexEntry(view, extents, has_quarantine=has_quarantine)


def _coverage(told: Sequence[YearState | YearSummary]) -> Coverage:
    """Return the coverage of years; raises as :meth:`Coverage.from_json`."""
    glances = [year for year in told if isinstance(year, YearSummary)]
    if len(glances) == len(told):
        entries = (entry for year in glances for entry in year.coverage)
        return Coverage.joined(Coverage.from_json(entries))
    return Coverage.chained(
        year.coverage if isinstance(year, YearState) else Coverage.from_json(year.coverage)
        for year in told
    )


def _view(
    key: SeriesKey,
    series: SeriesMeta | None,
    told: Sequence[YearState | YearSummary],
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
        faults=tuple(f for year in told if isinstance(year, YearState) for f in year.faults),
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
