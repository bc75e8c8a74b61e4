"""Makes year files smaller on request: joins small members and removes stale derived files.

Bars, coverage and generations do not change: the rewrite protocol replaces a file with an
equivalent one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...model.identity.series import SeriesKey
from ..format.documents import YearMeta, YearState
from ..format.gzip_member import Member, file_id
from ..format.json_document import DamagedError
from ..lane_files import LaneFiles
from ..legacy.reader import older_path
from ..read.columnar_reader import open_columns
from ..read.year_file import MismatchError, YearFile, open_year
from ..recovery.check import is_current
from ..recovery.recover import sound_meta
from ..store_parts import StoreParts
from ..write.segments import compacted, of_file, split_by_state, unified
from ..write.year_writer import Target, compose, expired, rewrite, state_of

# A member with this many bars is cheap to read for a single bar, and its header takes almost no
# space.
MOST_ROWS = 16_384


@dataclass(frozen=True)
class CompactResult:
    """The result of compacting one series, either actual or planned.

    Attributes:
        key: Series that was compacted.
        members, bytes: Number of gzip members and of bytes in the year files, each before and
            after.
        stale: Bytes of derived or expired files that are removed.
        years: Years that are rewritten.
        damaged: Years that must be repaired first; they were left unchanged.
    """

    key: SeriesKey
    members: tuple[int, int] = (0, 0)
    bytes: tuple[int, int] = (0, 0)
    stale: int = 0
    years: tuple[int, ...] = ()
    damaged: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Year:
    """One year before and after compaction: its current gzip members, and the joined ones."""

    meta: YearMeta
    file: YearFile
    members: list[Member]
    state: YearState

    @property
    def is_worth_it(self) -> bool:
        """Whether any members can be joined."""
        return len(self.members) < len(self.file.members)


def compact_series(store: StoreParts, key: SeriesKey, *, dry_run: bool) -> CompactResult:
    """Compact a series' year files by joining gzip members; return the figures.

    Raises:
        LockTimeoutError: Another writer held the series for too long.
        FormatVersionError: A newer version of this library wrote the series.
        StorageError: A file cannot be written; each year is in its old or in its new state.
    """
    lane = store.lane(key)
    if dry_run or store.disk.stat(lane.paths.folder) is None:
        return _compact(store, lane, dry_run=True)
    with store.disk.lock(lane.paths.lock, store.lock_timeout_s):
        lane.sweep()
        return _compact(store, lane, dry_run=False)


def _compact(store: StoreParts, lane: LaneFiles, *, dry_run: bool) -> CompactResult:
    before, after = [0, 0], [0, 0]
    written: list[int] = []
    damaged: list[int] = []
    for year in lane.years():
        if dry_run and older_path(lane, year) is not None:
            continue
        try:
            planned = _plan(lane, year, dry_run=dry_run)
        except (MismatchError, DamagedError):
            damaged.append(year)
            continue
        if planned is None:
            continue
        new = planned.members if planned.is_worth_it else planned.file.members
        for total, members in ((before, planned.file.members), (after, new)):
            total[0] += len(members)
            total[1] += sum(len(member.raw) for member in members)
        if planned.is_worth_it:
            written.append(year)
            if not dry_run:
                rewrite(
                    lane,
                    year,
                    meta=planned.meta,
                    members=planned.members,
                    state=planned.state,
                    keep_version=False,
                )
    stale = _stale_files(store, lane, is_rewritten=bool(written))
    for path in () if dry_run else stale:
        store.disk.remove(path)
    return CompactResult(
        lane.key,
        (before[0], after[0]),
        (before[1], after[1]),
        sum(stale.values()),
        tuple(written),
        tuple(damaged),
    )


def _plan(lane: LaneFiles, year: int, *, dry_run: bool) -> _Year | None:
    """Return a year with its current and its joined gzip members; None if nothing is stored.

    Raises:
        MismatchError, DamagedError: The year must be repaired first.
    """
    meta = lane.meta(year) if dry_run else sound_meta(lane, year)
    file = open_year(lane, year, meta)
    if meta is None or file is None:
        return None
    state, key = file.state, lane.key
    segments, coverage = unified(of_file(file), state.coverage, lane)
    segments = split_by_state(segments, coverage)
    segments = compacted(segments, coverage, by_day=False, most_rows=MOST_ROWS)
    target = Target(key, year, state.columns, state.generation)
    members = compose(segments, file.members, target)
    fresh = state_of(members, 0, state, target, coverage.folded())
    return _Year(meta, file, members, fresh)


# --- derived and expired files -------------------------------------------------------------


def _stale_files(store: StoreParts, lane: LaneFiles, *, is_rewritten: bool) -> dict[Path, int]:
    """Return removable files and their sizes: expired old versions, and an outdated column file.

    With ``is_rewritten``, the column file counts as outdated.
    """
    paths = [path for year in lane.years() for path in expired(lane, year)]
    columns = store.sidecars.path(lane.key)
    if is_rewritten or _are_stale(store, lane, columns):
        paths.append(columns)
    sizes = {path: store.disk.stat(path) for path in paths}
    return {path: state.size for path, state in sizes.items() if state is not None}


def _are_stale(store: StoreParts, lane: LaneFiles, path: Path) -> bool:
    file = open_columns(store.disk, path, file_id(lane.key, 0), may_map=False)
    if file is None:  # missing, or unreadable for readers as well
        return True
    try:
        metas = {year: lane.meta(year) for year in file.head.years}
    except DamagedError:
        return False
    return any(m is None or not is_current(file, y, m.state) for y, m in metas.items())
