"""The bars of a stretch, put together from the years that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...disk.files import Disk, FileState
from ...model.bars import BarTable, concat
from ...model.coverage import Coverage
from ...model.series import SeriesKey
from ...model.span import Span
from ..format.year_document import YearState
from ..legacy.adopt import OldYears
from ..write.coverage_update import year_span
from ..write.series import SeriesFiles
from .columnar_cache import Sidecars, WholeYear
from .lru_cache import LruCache
from .series_index import IndexEntry, SeriesIndex
from .year_reader import read_state, read_year

_NO_FILE = FileState(0, 0, 0)


class RangeReader:
    """Reads stretches of a series. Thread-safe; it takes no lock but where a year needs repair.

    Args:
        disk: the file system.
        old: finds files of older tools.
        viewer: knows the stretches without bars that have no year.
        sidecars: columnar files, where they are true.
        memory: keeps years where there can be no columns on the disk.
        lock_timeout_s: how long to wait where a year needs repair.
    """

    def __init__(
        self,
        disk: Disk,
        old: OldYears,
        viewer: SeriesIndex,
        sidecars: Sidecars,
        memory: LruCache,
        lock_timeout_s: float,
    ) -> None:
        self._disk = disk
        self._old = old
        self._viewer = viewer
        self._sidecars = sidecars
        self._memory = memory
        self._lock_timeout_s = lock_timeout_s

    def read(
        self, lane: SeriesFiles, span: Span, known: IndexEntry | None = None
    ) -> tuple[BarTable, Coverage]:
        """Return the bars in ``span`` and what is known about it; raises as ``BarStore.view``.

        ``known`` is what the metadata said a moment ago; they are looked at again where it does
        not lead to the bars.
        """
        if known is not None and self._sidecars.are_kept:
            years = known.years(span)
            held = self._sidecars.read(lane, span, years)
            if held is not None:
                return held, known.view.coverage.within(span)
        own = lane.years()
        old = [y for y in self._old.of(lane, own) if year_span(y).overlaps(span)]
        ours = [y for y in own if y not in old and year_span(y).overlaps(span)]
        coverage = self._viewer.long_empties(lane, own)
        if old:
            table, states = self._mixed(lane, span, old, ours)
        else:
            table, states = self._ours(lane, span, ours)
        for part in states:
            coverage = coverage.overlaid(part)
        return table, coverage.within(span)

    def seal(
        self, lane: SeriesFiles, span: Span, known: IndexEntry
    ) -> dict[str, FileState | None] | None:
        """Return the files that bars in ``span`` were read from, while they are untouched."""
        sources = self._sidecars.sources(lane, known.years(span))
        if sources is None or known.has_quarantine:
            return None
        files = {path: self._disk.stat(path) for path, _ in sources}
        wanted = {path: FileState(s.inode, s.size, s.mtime_ns) for path, s in sources}
        return files if files == wanted else None

    def _ours(
        self, lane: SeriesFiles, span: Span, years: Iterable[int]
    ) -> tuple[BarTable, list[Coverage]]:
        if not self._sidecars.are_kept:
            return self._mixed(lane, span, [], list(years))
        states: dict[int, YearState] = {}
        for year in years:
            state = read_state(lane, year, self._lock_timeout_s)
            if state is not None:
                states[year] = state
        table = self._sidecars.read(lane, span, states)
        whole: dict[int, WholeYear] = {}
        if table is None:
            lacking = self._sidecars.lacking(lane, states)
            whole = self._read_whole(lane, {year: states[year] for year in lacking})
            self._sidecars.keep(lane, whole)
            states |= {year: found.state for year, found in whole.items()}
            table = self._sidecars.read(lane, span, states)
        if table is None:  # it cannot be kept on the disk
            whole |= self._read_whole(lane, {y: s for y, s in states.items() if y not in whole})
            for year, found in whole.items():
                self._keep(lane.key, year, found)
            states = {year: whole[year].state for year in states if year in whole}
            table = concat(whole[year].table.within(span) for year in states)
        return table, [state.coverage for state in states.values()]

    def _read_whole(
        self, lane: SeriesFiles, states: Mapping[int, YearState]
    ) -> dict[int, WholeYear]:
        found = ((year, self._whole(lane, year, state)) for year, state in states.items())
        return {year: whole for year, whole in found if whole is not None}

    def _whole(self, lane: SeriesFiles, year: int, state: YearState) -> WholeYear | None:
        # Looked at before it is read: what is done to the file meanwhile shows the next time.
        file = self._disk.stat(lane.paths.data(year)) or _NO_FILE
        held: WholeYear | None = self._memory.get(("year", lane.key, year))
        if held is not None and (held.file, held.state.head) == (file, state.head):
            return held._replace(state=state)  # what is known of the bars may have changed
        found = read_year(lane, year, year_span(year), self._lock_timeout_s)
        return None if found is None else WholeYear(found[1], found[0], file)

    def _keep(self, key: SeriesKey, year: int, whole: WholeYear) -> None:
        """Keep a year in memory."""
        arrays = [whole.table.stamps, *whole.table.values()]
        for values in arrays:
            values.flags.writeable = False  # many answers are made of them
        size = sum(values.nbytes for values in arrays)
        self._memory.put(("year", key, year), whole, size)

    def _mixed(
        self, lane: SeriesFiles, span: Span, old: list[int], ours: list[int]
    ) -> tuple[BarTable, list[Coverage]]:
        """Read years of ours and of older tools, one by one."""
        tables: list[BarTable] = []
        known: list[Coverage] = []
        paths = self._old.of(lane, lane.years())
        for year in sorted([*old, *ours]):
            if year in old:
                theirs = self._old.read(lane.key, paths[year])
                tables.append(theirs.table.within(span))
                known.append(theirs.coverage)
            elif (mine := read_year(lane, year, span, self._lock_timeout_s)) is not None:
                tables.append(mine[0])
                known.append(mine[1].coverage)
        return concat(tables), known
