"""Removes a series permanently.

The lock file stays because another writer may be waiting for it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import FormatVersionError
from ..disk.calls import what_bars
from ..disk.files import Disk
from ..model.time.instant import DAY_MS
from ..model.time.span import Span, year_span
from .format.documents import SeriesMeta, YearState
from .format.json_document import DamagedError
from .lane_files import LaneFiles
from .layout import ACTIONS, LOG, QUARANTINE
from .legacy.reader import files_elsewhere, look_elsewhere, older_path
from .pins import pins_in
from .read.series_reader import read_series

log = logging.getLogger(__name__)

_LONGEST_MONTH_MS = 31 * DAY_MS


def clear_lane(lane: LaneFiles, lock_timeout_s: float, by: str) -> int:
    """Remove everything stored for a series, including older tools' files; return the number of bars.

    The log is kept, with an entry for the deletion, so that version numbers continue and are never
    reused for other bars. The metadata is removed first, because a crash then leaves bars without
    metadata, which is valid, rather than metadata without bars, which would look like damage.

    Args:
        lane: Series to remove.
        lock_timeout_s: Seconds to wait for another writer.
        by: Name of the deleting call, for the log.
    """
    disk, folder = lane.disk, lane.paths.folder
    with disk.lock(lane.paths.lock, lock_timeout_s):
        cleared = _Removal.of(lane, lane.years())
        # Done first, because the log prevents the reuse of version numbers.
        cleared.write(lane, by)
        for year, path in files_elsewhere(lane):
            disk.remove(path)
            disk.remove(path.with_name(f"{year:04d}.metadata.json"))
        lane.elsewhere.clear()
        inner = (lane.paths.quarantine, lane.paths.versions, lane.paths.legacy)
        others = (*inner, lane.paths.lock)
        files = [name for name in disk.list(folder) if folder / name not in others]
        deleted = [name for name in files if not name.endswith(LOG)]
        for name in sorted(deleted, key=lambda name: not name.endswith(".json")):
            if what_bars(f"{folder}{os.sep}{name}") != "a folder":  # it is something else's
                disk.remove(folder / name)
        for path in inner:
            empty_folder(disk, path)
        disk.sync_folder(folder)
        lane.tainted.difference_update({(lane.key, year) for _, year in tuple(lane.tainted)})
    return cleared.bars


def clear_years(
    lane: LaneFiles,
    years: Iterable[int],
    lock_timeout_s: float,
    by: str,
    closed_by: int | None = None,
) -> int:
    """Remove individual years of a series, and return the number of them that had bars.

    Along with a year, its coverage, its replaced files, its quarantine, older tools' files, even
    hidden ones, and the time of the next request are removed. The log is kept, as in :func:`clear_lane`.

    With ``closed_by``, a year is kept if its latest bar is unknown or may have closed after that
    time. This is checked under the lock because a writer may have added bars.
    """
    disk, removed, years = lane.disk, 0, list(years)
    with disk.lock(lane.paths.lock, lock_timeout_s):
        if closed_by is not None:
            years = [
                year
                for year in years
                if (content := bars_in(lane, year)) and content.closed_ms <= closed_by
            ]
        series = read_series(lane) or SeriesMeta()
        empties = series.empties.without(map(year_span, years))
        cleared = _Removal.of(lane, years)
        generation = cleared.newest + 1 if cleared.years else series.generation
        # Done first, so that after a crash a reader does not consider the removed data up to date.
        after = replace(
            series, next_due=None, empties=empties, generation=generation, years_generation=0
        )
        if cleared.years or after.empties != series.empties or series.next_due is not None:
            lane.write_series(after, durable=True)
        elsewhere = files_elsewhere(lane)
        for year in years:
            data = lane.paths.data(year)
            others = [path for of_year, path in elsewhere if of_year == year]
            removed += disk.stat(data) is not None or bool(others)
            if closed_by is not None and year_span(year).end > closed_by:
                others = []  # they may have later bars
            for path in (data, *others):
                disk.remove_whole(path.with_name(f"{year:04d}.metadata.json"))
                disk.remove_whole(path)
            for path in files_aside(lane, year):
                disk.remove_whole(path)
            lane.tainted.discard((lane.key, year))
        look_elsewhere(lane)
        disk.sync_folder(lane.paths.folder)
        cleared.write(lane, by)
    return removed


class YearContents(NamedTuple):
    """The number of bars in a year, and the time by which all bars in it have closed."""

    bars: int
    closed_ms: int


def bars_in(lane: LaneFiles, year: int) -> YearContents | None:
    """Return the number and age of a year's bars; None if it has no bars or cannot be examined.

    Nothing is repaired, converted or written.
    """
    try:
        is_older = older_path(lane, year) is not None
        state = _older_state(lane, year) if is_older else _recorded_state(lane, year)
    except (DamagedError, FormatVersionError):
        return None
    if state is None:
        return None
    bars, last = state.rows, state.last
    if not bars or last is None:
        return None
    frame = lane.key.timeframe
    return YearContents(bars, last + (frame.step_ms or frame.count * _LONGEST_MONTH_MS))


def _older_state(lane: LaneFiles, year: int) -> YearState | None:
    """Return the state that a year will have once its file from another tool is converted."""
    from .recovery.recover import examine  # not needed for this library's files

    return examine(lane, year).state


def _recorded_state(lane: LaneFiles, year: int) -> YearState | None:
    """Return the recorded state of a year; None if it does not describe the data file."""
    meta, data = lane.meta(year), lane.disk.stat(lane.paths.data(year))
    if meta is None or meta.pending is not None or data is None:
        return None
    # Bytes after the recorded size are not described by anything.
    return meta.state if data.size == meta.state.size else None


def files_aside(lane: LaneFiles, year: int) -> list[Path]:
    """Return a year's files other than its bars: replaced, quarantined and original files."""
    year_name = f"{year:04d}"
    return [
        folder / name
        for folder in (lane.paths.versions, lane.paths.quarantine, lane.paths.legacy)
        for name in lane.disk.list(folder)
        # The file of another year may have this number as its generation.
        if year_name in name.split(".")[: 2 if folder == lane.paths.legacy else 1]
    ]


@dataclass(frozen=True)
class _Removal:
    """A description of the data that a deletion removes, for the log.

    Attributes:
        years: Maps each year to the span answered, the first bar, the number of bars, and the
            number of bars in the log.
        newest: Highest known generation of the series; 0 if unknown.
    """

    years: Mapping[int, tuple[Span | None, int | None, int, int]]
    newest: int

    @property
    def bars(self) -> int:
        """The number of bars removed."""
        return sum(bars for _, _, bars, _ in self.years.values())

    @classmethod
    def of(cls, lane: LaneFiles, years: Iterable[int]) -> _Removal:
        """Return a description of the data to be deleted; damaged data can be deleted, too."""
        try:
            series = read_series(lane) or SeriesMeta()
        except FormatVersionError:
            series = SeriesMeta()
        logged = lane.logged_years()
        newest = [series.generation, *(lane.logged_generation(year) for year in logged)]
        years_gone: dict[int, tuple[Span | None, int | None, int, int]] = {}
        for year in lane.years():
            try:
                meta = lane.meta(year)
            except (DamagedError, FormatVersionError):
                continue
            newest.append(0 if meta is None else meta.state.generation)
        for year in years:
            entries = lane.log_entries(year) if year in logged else []
            bars_logged = sum(_count(e, "added") - _count(e, "removed") for e in entries)
            try:
                meta = lane.meta(year)
            except (DamagedError, FormatVersionError):
                years_gone[year] = None, None, bars_logged, bars_logged
                continue
            if meta is not None:
                state = meta.state
                covered = state.coverage
                span = Span(covered[0].span.start, covered[-1].span.end) if covered else None
                years_gone[year] = (
                    span,
                    state.first,
                    state.rows,
                    bars_logged if entries else state.rows,
                )
        return cls(years_gone, max(newest))

    def write(self, lane: LaneFiles, by: str) -> None:
        """Record in the log of each year that ``by`` deleted its bars, and log a message."""
        for year, (span, first, bars, bars_logged) in sorted(self.years.items()):
            entry = {
                "generation": self.newest + 1,
                "vendor": "",
                "span": None if span is None else list(span),
                "added": 0,
                "changed": 0,
                "removed": bars_logged,
                "touched": first if first is not None else year_span(year).start,
                "size": 0,
                "deleted": by,
                "bars": bars,
            }
            lane.append_log(year, entry)
        if self.years:
            log.info("%s: %d bars were deleted by %s", lane.key, self.bars, by)


def _count(entry: Mapping[str, Any], name: str) -> int:
    return count if isinstance(count := entry.get(name), int) else 0


def evict_year(lane: LaneFiles, year: int, generation: int) -> bool:
    """Remove a year whose bars can be fetched again, if it is still at ``generation``.

    The log is kept, because it shows that an earlier version is gone rather than empty. The
    remaining state is valid even if the process dies midway, because ``next_due`` is removed first,
    and then the document, which can be rebuilt from the bars.

    Returns:
        Whether the year was removed.

    Raises:
        LockTimeoutError: A writer is using the series.
        StorageError: The removal failed; anything not removed yet is intact.
    """
    disk, paths = lane.disk, lane.paths
    with disk.lock(paths.lock, 0.0):
        lane.document_cache.forget(paths.metadata(year))
        metas = {y: lane.meta(y) for y in lane.years()}
        meta = metas.get(year)
        if meta is None or meta.pending is not None or meta.state.generation != generation:
            return False
        if pins_in(disk, paths.versions):
            return False
        after = _series_without(lane, [m.state for m in metas.values() if m])
        lane.write_series(after)  # made durable with the folder, before anything is deleted
        for path in (paths.metadata(year), paths.data(year)):
            disk.remove(path)
            disk.sync_folder(paths.folder)
        lane.append_log(year, _eviction(meta.state, after.generation))
        lane.tainted.discard((lane.key, year))
    return True


def _series_without(lane: LaneFiles, states: Sequence[YearState]) -> SeriesMeta:
    """Return ``series.json`` after the removal of a year, so that the year is requested again."""
    series = read_series(lane) or SeriesMeta()
    kinds = (c.kind for s in states for c in s.coverage if c.state in ("final", "provisional"))
    newest = max(state.generation for state in states)
    return replace(
        series,
        next_due=None,
        kind=series.kind or next(kinds, None),
        generation=max(newest, series.generation) + 1,
        years_generation=0,
    )


def _eviction(state: YearState, generation: int) -> dict[str, Any]:
    span = [state.coverage[0].span.start, state.coverage[-1].span.end] if state.coverage else None
    return {
        "generation": generation,
        "vendor": "",
        "span": span,
        "added": 0,
        "changed": 0,
        "removed": state.rows,
        "touched": state.first,
        "size": 0,
        "evicted": True,
    }


def clear_symbol(disk: Disk, folder: Path, lock_timeout_s: float) -> None:
    """Remove a symbol's actions and their quarantine; the symbol's series are not touched."""
    with disk.lock(folder / ".lock", lock_timeout_s):
        disk.remove(folder / ACTIONS)
        empty_folder(disk, folder / QUARANTINE)
        disk.sync_folder(folder)


def empty_folder(disk: Disk, folder: Path) -> None:
    """Remove all files in a folder, but not the folder itself."""
    names = disk.list(folder)
    for name in names:
        disk.remove_whole(folder / name)
    if names:
        disk.sync_folder(folder)
