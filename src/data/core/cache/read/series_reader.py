"""Reads a series: its view, its years, and the bars in a range.

A lock is taken only if data and metadata are found to disagree.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import reduce
from operator import attrgetter
from typing import NamedTuple, TypeVar

from ....errors import CorruptEntryError, ReadOnlyCacheWarning, StorageError
from ...disk.files import Disk, FileState, errno_of
from ...model.identity.kind import Kind
from ...model.identity.series import SeriesKey
from ...model.market.bars import BarTable, concat
from ...model.stored.coverage import Coverage, Covered
from ...model.time.span import Span, year_span
from ...model.words.caller import warn_user
from ...model.words.frozen import filled
from ...runtime.lru_cache import LruCache
from ..document_cache import NO_FILE
from ..format.documents import SeriesMeta, YearState
from ..format.json_document import DamagedError
from ..lane_files import LaneFiles
from ..layout import QUARANTINE, SERIES
from ..values import SeriesView
from .columnar_cache import Sidecars, WholeYear
from .year_file import MismatchError, YearFile, open_year

T = TypeVar("T")
log = logging.getLogger(__name__)

_MOST_READS = 3
_WRITE_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_reported_unconverted: set[SeriesKey] = set()


def read_state(lane: LaneFiles, year: int, lock_timeout_s: float) -> YearState | None:
    """Return the state of ``year``, usually without reading the data; None if nothing is stored.

    If a rewrite is pending, the data decides which state is valid. If the file has no document, or
    a damaged one, it is first recovered under the lock. An older tool's file is converted there; if
    it cannot be written, the result is the state after a conversion in memory.

    Raises:
        CorruptEntryError: Recovery is needed, and the cache is read-only.
        FormatVersionError: A newer version of this library wrote the year.
    """

    def open_for_state() -> YearFile | None:
        """Return the year, usually without reading its data; None if nothing is stored."""
        meta = lane.meta(year)
        if meta is not None and meta.pending is None:
            return YearFile(meta.state)
        return open_year(lane, year, meta)

    return _read_or_repair(
        lane,
        year,
        open_for_state,
        lambda file: None if file is None else file.state,
        lock_timeout_s,
    )


def read_year(
    lane: LaneFiles, year: int, span: Span, lock_timeout_s: float
) -> tuple[BarTable, YearState] | None:
    """Return the verified bars of ``year`` in ``span``, and the state of the year.

    The result is None if nothing is stored. Raises the same errors as :func:`read_state`.
    """

    def open_for_bars() -> YearFile | None:
        """Return the year in its state on disk; None if nothing is stored."""
        return open_year(lane, year, lane.meta(year))

    def content(file: YearFile | None) -> tuple[BarTable, YearState] | None:
        """Return the year's bars in ``span`` and the year's state; None if there is no file."""
        return None if file is None else (file.table(span), file.state)

    return _read_or_repair(lane, year, open_for_bars, content, lock_timeout_s)


def _read_or_repair(
    lane: LaneFiles,
    year: int,
    open_file: Callable[[], YearFile | None],
    content: Callable[[YearFile | None], T],
    lock_timeout_s: float,
) -> T | None:
    """Return the ``content`` of the file that ``open_file`` returns, retrying and repairing if necessary.

    A writer may commit between the reads of metadata and data, so both are read again before
    anything is considered damaged. In a preview, nothing is repaired; instead, the state that a
    repair would leave is used from then on.
    """
    problem: Exception | None = None
    is_previewed = lane.previews is not None and year in lane.previews
    for _ in range(0 if is_previewed else _MOST_READS):
        try:
            return content(open_file())
        except (MismatchError, DamagedError) as exc:
            problem = exc
            lane.document_cache.forget(lane.paths.metadata(year))
    if lane.previews is not None:
        try:
            return content(_preview(lane, year, lane.previews))
        except MismatchError as exc:
            raise _damage_error(lane, year, exc) from exc
    log.debug("%s %s: %s; reading again under the lock", lane.key, year, problem)
    try:
        if lane.elsewhere:
            lane.disk.make_folders(lane.paths.folder)
        with lane.disk.lock(lane.paths.lock, lock_timeout_s):
            from ..recovery.recover import recover  # not needed for intact years

            saved = recover(lane, year, spares_new=True)
            return content(open_file()) if saved is not None else None
    except (MismatchError, DamagedError) as exc:
        raise _damage_error(lane, year, exc) from exc
    except StorageError as exc:
        from ..recovery.recover import examine

        if (diagnosis := examine(lane, year)).older:
            _report_unconverted(lane, exc)
            return content(diagnosis.file)
        if errno_of(exc) in _WRITE_REFUSED:
            raise _damage_error(lane, year, problem) from exc
        raise


def _preview(lane: LaneFiles, year: int, previews: dict[int, YearFile | None]) -> YearFile | None:
    if year not in previews:
        from ..recovery.recover import preview  # not needed for intact years

        previews[year] = preview(lane, year)
    return previews[year]


def _report_unconverted(lane: LaneFiles, refusal: StorageError) -> None:
    """Issue a warning, once per series, that its files from older tools are not converted."""
    if lane.key not in _reported_unconverted:
        _reported_unconverted.add(lane.key)
        text = f"{lane.key}: files from older tools are read but not converted: {refusal.args[0]}"
        log.warning("%s", text)
        warn_user(text, ReadOnlyCacheWarning)


def _damage_error(lane: LaneFiles, year: int, problem: Exception | None) -> CorruptEntryError:
    return CorruptEntryError(
        f"{lane.key} {year} cannot be read: {problem}",
        symbol=lane.key.symbol,
        hint="it can be repaired only if the cache is writable",
    )


# --- views -------------------------------------------------------------------------------

_SPAN_OF = attrgetter("span")
# Approximate memory for an index entry in bytes: fixed, per year, and per coverage entry.
_ENTRY_BYTES, _YEAR_BYTES, _PART_BYTES = 3072, 512, 512
# The latest year may have no bars yet.
_TAIL_YEARS = 2


class IndexEntry(NamedTuple):
    """A consistent snapshot of a series' metadata.

    Attributes:
        view: Summary of the series.
        states: State of each year, ascending.
        has_quarantine: Whether there may be rows in quarantine.
    """

    view: SeriesView
    states: Mapping[int, YearState]
    has_quarantine: bool

    @property
    def size(self) -> int:
        """The approximate size in bytes."""
        return _ENTRY_BYTES + _YEAR_BYTES * len(self.states) + _PART_BYTES * len(self.view.coverage)

    def years(self, span: Span) -> dict[int, YearState]:
        """Return the state of each year that overlaps ``span``, in ascending order."""
        start, end = span
        if end <= start:
            return {}
        return {
            year: state
            for year, state in self.states.items()
            if (bounds := year_span(year))[0] < end and start < bounds[1]
        }


class _CachedEntry(NamedTuple):
    """An entry, and the folder state for which it is current; None if that is unknown."""

    state: FileState | None
    entry: IndexEntry


class SeriesIndex:
    """The metadata of series, combined from their years and cached. Thread-safe.

    Args:
        memory: Cache for views.
        lock_timeout_s: Maximum wait for the lock if a year needs repair, in seconds.
    """

    def __init__(self, memory: LruCache, lock_timeout_s: float) -> None:
        self._memory = memory
        self._lock_timeout_s = lock_timeout_s

    def entry(
        self, lane: LaneFiles, since: SeriesView | None = None, *, tail: bool = False
    ) -> IndexEntry:
        """Return the index entry of a series; if nothing has changed, only its folder is checked.

        Documents are changed only by renaming files, which updates the folder's modification time,
        so the documents are unchanged as long as that time is.

        Args:
            lane: Series to look up.
            since: View that was just obtained; its entry is returned without a check.
            tail: Whether the latest years are sufficient; see :meth:`.BarStore.tail`.
        """
        if lane.previews:  # a repair would leave documents other than those on disk
            return self._read(lane)
        cache_key = "tail" if tail else "series", lane.key
        cached: _CachedEntry | None = self._memory.get(cache_key)
        if cached is not None and cached.entry.view is since:
            return cached.entry
        before = lane.document_cache.settled_state(lane.paths.text)
        if cached is not None and cached.state is not None and cached.state == before:
            return cached.entry
        entry = (self._read_tail(lane) if tail else None) or self._read(lane)
        if not lane.previews:
            # Without a folder state, the entry is found again only through this very view.
            self._memory.put(cache_key, _CachedEntry(before, entry), entry.size)
        return entry

    def seal(self, lane: LaneFiles, view: SeriesView) -> dict[str, FileState | None] | None:
        """Return a folder state that proves ``view`` to be current as long as the state is unchanged.

        The result is None if ``view`` is not the latest one, or if the state is not reliable yet.
        """
        cached: _CachedEntry | None = self._memory.get(("series", lane.key))
        if cached is None or cached.state in (None, NO_FILE) or cached.entry.view is not view:
            return None
        return {lane.paths.text: cached.state}

    def _read_tail(self, lane: LaneFiles) -> IndexEntry | None:
        """Return an index entry built from only the newest years' documents.

        The result is None if these are all the years, or if no bar is final.
        """
        if len(lane.years(lane.disk.list(lane.paths.text))) <= _TAIL_YEARS:
            return None
        entry = self._read(lane, _TAIL_YEARS)
        states = (covered.state for covered in entry.view.coverage.opened())
        if entry.view.last is None or "final" not in states:
            return None
        # Whether ``next_due`` is still valid can only be decided with all years.
        return entry._replace(view=replace(entry.view, next_due=None))

    def _read(self, lane: LaneFiles, most_years: int | None = None) -> IndexEntry:
        """Return the index entry of a series, built from its documents; damaged documents are repaired."""
        names, years = lane.names_and_years()
        newest = years[-most_years:] if most_years else years
        states, series = self._documents(lane, newest, has_series=SERIES in names)
        entries = [*_empties(series, years), *(e for s in states.values() for e in s.coverage)]
        coverage = Coverage.joined(sorted(entries, key=_SPAN_OF))
        view = _view(lane.key, series, list(states.values()), coverage)
        return IndexEntry(view, states, has_quarantine=QUARANTINE in names)

    def _documents(
        self, lane: LaneFiles, years: list[int], *, has_series: bool = True
    ) -> tuple[dict[int, YearState], SeriesMeta | None]:
        """Return the years' states, in ascending order, and the content of ``series.json``."""
        damaged = lane.previews or ()
        sound = [year for year in years if year not in damaged]
        states, series = lane.documents(sound, has_series=has_series)
        if len(states) == len(years):
            return states, series
        for year in [year for year in years if year not in states]:
            if (state := read_state(lane, year, self._lock_timeout_s)) is not None:
                states[year] = state
        return dict(sorted(states.items())), series

    def years(self, lane: LaneFiles) -> list[int]:
        """Return the years for which bars are stored."""
        states, _ = self._documents(lane, lane.years())
        return [year for year, state in states.items() if state.rows]

    def long_empties(self, lane: LaneFiles, years: list[int]) -> Coverage:
        """Return the empty spans recorded in ``series.json``, which are in years that have no file."""
        return _empties(read_series(lane), years)


def _view(
    key: SeriesKey,
    series: SeriesMeta | None,
    years: Collection[YearState],
    coverage: Coverage,
) -> SeriesView:
    meta = series or SeriesMeta()
    newest, rows = 0, 0
    stamps: list[int] = []
    for year in years:
        newest, rows = max(newest, year.generation), rows + year.rows
        if year.first is not None and year.last is not None:
            stamps += year.first, year.last
    first, last = (min(stamps), max(stamps)) if stamps else (None, None)
    facts = meta.facts() | {
        "kind": kind_of(series, coverage),
        # It is valid as long as the years have not changed since it was written.
        "next_due": meta.next_due if meta.years_generation == newest else None,
        "lifetime": meta.lifetime.without_disproved(first, last),
    }
    return filled(
        SeriesView,
        key=key,
        coverage=coverage,
        generation=max(newest, meta.generation),
        rows=rows,
        first=first,
        last=last,
        faults=tuple(fault for year in years for fault in year.faults),
        **facts,
    )


def read_series(lane: LaneFiles) -> SeriesMeta | None:
    """Return the content of ``series.json``; None if it is missing or damaged.

    A damaged file counts as missing, because its content is needed only to avoid requests.
    """
    try:
        return lane.series()
    except DamagedError as exc:
        log.warning("%s: series.json cannot be read: %s", lane.key, exc)
        return None


def _empties(series: SeriesMeta | None, years: list[int]) -> Coverage:
    if series is None or not series.empties:
        return Coverage()
    return series.empties.without(year_span(year) for year in years)


def kind_of(series: SeriesMeta | None, coverage: Iterable[Covered]) -> Kind | None:
    """Return the kind of bars in a series; None if it has no bars.

    The kind is from the series' document or, if that is lost, from the coverage.
    """
    if series is not None and series.kind is not None:
        return series.kind
    kinds = [p.kind for p in coverage if p.state in ("final", "provisional") or p.parts]
    return reduce(Kind.filled_from, kinds) if kinds else None


# --- ranges ------------------------------------------------------------------------------


class RangeReader:
    """Reads ranges of bars from a series. Thread-safe; takes a lock only if a year needs repair.

    Args:
        disk: File system.
        index: Supplies the coverage for years without a file.
        sidecars: Columnar files, used if they are valid.
        memory: Cache for years if columns cannot be stored on disk.
        lock_timeout_s: Maximum wait for the lock if a year needs repair, in seconds.
    """

    def __init__(
        self,
        disk: Disk,
        index: SeriesIndex,
        sidecars: Sidecars,
        memory: LruCache,
        lock_timeout_s: float,
    ) -> None:
        self._disk = disk
        self._index = index
        self._sidecars = sidecars
        self._memory = memory
        self._lock_timeout_s = lock_timeout_s

    def read(
        self, lane: LaneFiles, span: Span, entry: IndexEntry | None = None
    ) -> tuple[BarTable, Coverage]:
        """Return the bars in ``span`` and their coverage; raises the same errors as ``BarStore.view``.

        ``entry`` is a recent index entry; if the bars cannot be read with it, the metadata is read
        again. There are three ways:

        1. With ``entry``: from the columnar files of its years. A missing file is written first.
        2. If columns are not kept: year by year, from the data files.
        3. Otherwise: the years' documents are read, then the columnar files as in the first way.
        """
        if entry is not None and self._sidecars.are_kept:
            states = entry.years(span)
            table, after = self._sidecars.read(lane, span, states), states
            if table is None:
                table, after = self._with_columns(lane, span, states)
            coverage = entry.view.coverage
            if after != states:
                coverage = coverage.without(year_span(year) for year in states)
                newer = [state.coverage for state in after.values()]
                coverage = reduce(Coverage.overlaid, newer, coverage)
            return table, coverage.within(span)
        years = lane.years()
        wanted = [year for year in years if year_span(year).overlaps(span)]
        coverage = self._index.long_empties(lane, years)
        if not self._sidecars.are_kept:
            contents = (read_year(lane, year, span, self._lock_timeout_s) for year in wanted)
            stored = [content for content in contents if content is not None]
            table = concat(table for table, _ in stored)
            coverages = [state.coverage for _, state in stored]
            return table, reduce(Coverage.overlaid, coverages, coverage).within(span)
        documents = ((year, read_state(lane, year, self._lock_timeout_s)) for year in wanted)
        states = {year: state for year, state in documents if state is not None}
        table = self._sidecars.read(lane, span, states)
        if table is None:
            table, states = self._with_columns(lane, span, states)
        coverages = [state.coverage for state in states.values()]
        return table, reduce(Coverage.overlaid, coverages, coverage).within(span)

    def seal(
        self, lane: LaneFiles, span: Span, entry: IndexEntry
    ) -> dict[str, FileState | None] | None:
        """Return the state of each file that contains bars in ``span``, to detect later changes.

        The result is None if the files are not the ones that were verified, or if there are bad
        rows.
        """
        sources = self._sidecars.sources(lane, entry.years(span))
        if sources is None or entry.has_quarantine:
            return None
        files = {path: self._disk.stat(path) for path, _ in sources}
        verified = {path: FileState(s.inode, s.size, s.mtime_ns) for path, s in sources}
        return files if files == verified else None

    def _with_columns(
        self, lane: LaneFiles, span: Span, states: Mapping[int, YearState]
    ) -> tuple[BarTable, dict[int, YearState]]:
        """Read the years in ``states``, and write a columnar file for each year that lacks one.

        The second value contains the states of the years as they were read.
        """
        lacking = self._sidecars.lacking(lane, states)
        whole = self.read_whole(lane, {year: states[year] for year in lacking})
        self._sidecars.keep(lane, whole)
        states = {**states, **{year: content.state for year, content in whole.items()}}
        table = self._sidecars.read(lane, span, states)
        if table is None:  # columns cannot be kept on the disk
            whole |= self.read_whole(lane, {y: s for y, s in states.items() if y not in whole})
            for year, content in whole.items():
                self._keep(lane.key, year, content)
            states = {year: whole[year].state for year in states if year in whole}
            table = concat(whole[year].table.within(span) for year in states)
        return table, states

    def read_whole(self, lane: LaneFiles, states: Mapping[int, YearState]) -> dict[int, WholeYear]:
        """Return the complete years of ``states`` in their current state, repaired if necessary.

        Years that no longer exist are omitted.
        """
        contents = ((year, self._whole_year(lane, year, state)) for year, state in states.items())
        return {year: whole for year, whole in contents if whole is not None}

    def _whole_year(self, lane: LaneFiles, year: int, state: YearState) -> WholeYear | None:
        # Checked before the file is read, so that a concurrent change is noticed the next time.
        file = self._disk.stat(lane.paths.data(year)) or NO_FILE
        cached: WholeYear | None = self._memory.get(("year", lane.key, year))
        if cached is not None and (cached.file, cached.state.head) == (file, state.head):
            return cached._replace(state=state)  # the coverage may have changed
        content = read_year(lane, year, year_span(year), self._lock_timeout_s)
        return None if content is None else WholeYear(content[1], content[0], file)

    def _keep(self, key: SeriesKey, year: int, whole: WholeYear) -> None:
        """Keep a whole year's bars in memory, for reads without a columnar file."""
        arrays = [whole.table.stamps, *whole.table.values()]
        for values in arrays:
            values.flags.writeable = False  # shared by many answers
        size = sum(values.nbytes for values in arrays)
        self._memory.put(("year", key, year), whole, size)
