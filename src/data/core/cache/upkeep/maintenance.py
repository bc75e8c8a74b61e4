"""Maintenance of a cache folder: check, repair, compact, migrate, and report its history.

Series are processed one after another. One that fails is reported with the reason, and the others
are still processed. Only one series is locked at a time, and only if something is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ....errors import DataError
from ...clock import Clock
from ...model.identity.series import SeriesKey
from ...model.time.instant import SECOND_MS
from ...model.time.timeframe import Timeframe
from ..acceptances import ACCEPTED
from ..facade.listing import Catalog
from ..history import commits_of
from ..lane_files import LaneFiles
from ..layout import SERIES, decode_lane
from ..legacy.migrate import OldFile, PrunedFile, migrate_series, prune_series
from ..read.columnar_cache import FOLDER, series_of
from ..recovery import quarantine
from ..recovery.check import (
    COLUMNS,
    Finding,
    Inspection,
    check_actions,
    check_series,
    inspect,
    waiting,
    years_listed,
)
from ..recovery.recover import rebuild, recover
from ..retention.trim import Trimmed, drop_file, purge_quarantine
from ..store_parts import StoreParts
from .compact import CompactResult, compact_series
from .other_data import OtherData, OtherLog, OtherPart

if TYPE_CHECKING:
    from ..format.lane_entry import LaneEntry
    from ..retention.inventory import Holdings

T = TypeVar("T")
Problem = tuple[SeriesKey, str]


@dataclass(frozen=True)
class Repaired:
    """Result of a repair.

    Attributes:
        found: Defects found before the repair.
        left: Defects that remain afterwards.
        problems: Series that could not be examined, and why.
    """

    found: tuple[Finding, ...]
    left: tuple[Finding, ...]
    problems: tuple[Problem, ...]


class Maintenance:
    """Maintains the contents of one cache folder. Thread-safe, and safe alongside other processes.

    Args:
        store: Parts of the folder's store.
        catalog: Catalog of the folder's contents.
        clock: Source of the time recorded for quarantined files.
    """

    def __init__(
        self,
        store: StoreParts,
        catalog: Catalog,
        clock: Clock,
    ) -> None:
        self._parts = store
        self._catalog = catalog
        self._clock = clock
        self._others = OtherData(store.layout.root, store.disk, clock, catalog.data_types)

    def series(
        self, symbol: str | None = None, timeframe: Timeframe | None = None
    ) -> list[SeriesKey]:
        """Return the stored series of a symbol or timeframe, or all series, in all lanes.

        Series from older tools are included.
        """
        return self._catalog.stored_keys(symbol, timeframe)

    def logged(self, symbol: str, timeframe: Timeframe | None = None) -> list[SeriesKey]:
        """Return the series that have a commit log, in all lanes, including deleted series."""
        names = self._parts.disk.list(self._parts.layout.symbol(symbol))
        keys = (decode_lane(symbol, name) for name in names)
        keys_logged = [k for k in keys if k is not None and timeframe in (None, k.timeframe)]
        return [key for key in keys_logged if self._parts.lane(key).logged_years()]

    def years(self, key: SeriesKey) -> dict[int, dict[str, Any]]:
        """Return the years for which a series has bars, each with its recorded metadata."""
        documents = {year: self._catalog.document(key, year) for year in self._catalog.years(key)}
        return {year: document or {} for year, document in documents.items()}

    def listing(self, holdings: Holdings | None = None) -> list[tuple[SeriesKey, LaneEntry | None]]:
        """Return every stored series with its index entry; see :meth:`.Catalog.listing`."""
        return self._catalog.listing(holdings)

    # --- checks and repair ---------------------------------------------------------------------

    def check(self, keys: Sequence[SeriesKey]) -> tuple[list[Finding], list[Problem]]:
        """Check series, without changing anything; return defects, and series that could not be read."""
        checked, problems = _run(keys, lambda key: check_series(self._parts, key))
        findings = [finding for group in checked for finding in group]
        symbols = dict.fromkeys(key.symbol for key in keys)
        actions = [finding for s in symbols for finding in check_actions(self._parts, s)]
        return [*findings, *actions], problems

    def others(
        self, symbol: str | None = None, timeframe: Timeframe | None = None
    ) -> list[OtherPart]:
        """Return the stored tables and fundamentals, which can be checked and repaired one by one."""
        return self._others.parts(symbol, timeframe)

    def inspect(self, seconds: float | None, holdings: Holdings | None = None) -> Inspection:
        """Read as much as possible within ``seconds`` (None means everything) and report damage.

        ``holdings`` are the folder's contents, if already known. The starting point depends on the
        time, so that repeated inspections eventually cover everything. In every other second, an
        inspection starts with the tables and fundamentals.
        """
        clock, now_ms, listed = self._clock, self._clock.now_ms(), self._catalog.listing(holdings)
        keys = [key for key, _ in listed]
        files = sum(
            entry.years_count if entry else len(years_listed(self._parts.lane(key)))
            for key, entry in listed
        )
        first = now_ms % len(keys) if keys else 0
        end_s = None if seconds is None else clock.monotonic() + seconds

        def has_time() -> bool:
            """Return whether there is time to read another file; always True if ``seconds`` is None."""
            return end_s is None or clock.monotonic() < end_s

        def bars() -> Inspection:
            """Check files with bars, beginning at a series that depends on the time of the inspection."""
            return inspect(self._parts, [*keys[first:], *keys[:first]], has_time, files)

        def others() -> Inspection:
            """Check files with tables and fundamentals."""
            return self._others.inspect(now_ms, has_time)

        earlier, later = (others, bars) if now_ms // SECOND_MS % 2 else (bars, others)
        return earlier().plus(later())

    def repair(self, keys: Sequence[SeriesKey]) -> Repaired:
        """Repair as much as possible, series by series, each under its lock."""
        bars, problems = _run(keys, lambda key: repair_series(self._parts, self._parts.lane(key)))
        firsts = {key.symbol: key for key in reversed(keys)}.values()
        # A damaged file of actions is set aside when they are fetched again.
        others, refused = _run(firsts, lambda key: (check_actions(self._parts, key.symbol),) * 2)
        findings = [finding for group, _ in (*bars, *others) for finding in group]
        left = [finding for _, group in (*bars, *others) for finding in group]
        return Repaired(tuple(findings), tuple(left), (*problems, *refused))

    def waiting(self) -> list[tuple[SeriesKey, int]]:
        """Return the years whose file is longer than recorded, so that some bars are not read."""
        return waiting(self._parts, self._catalog.listing())

    # --- size reduction ------------------------------------------------------------------------

    def compact(
        self, keys: Sequence[SeriesKey], *, dry_run: bool = False
    ) -> tuple[list[CompactResult], list[Problem]]:
        """Join small members in the series' files, and drop stale derived files."""
        return _run(keys, lambda key: compact_series(self._parts, key, dry_run=dry_run))

    def purge_quarantine(
        self, keys: Sequence[SeriesKey], *, dry_run: bool = False
    ) -> tuple[list[Trimmed], list[Problem]]:
        """Delete the series' rejected rows and damaged files, each series under its lock."""

        def purge(key: SeriesKey) -> Trimmed:
            """Purge one series; a series without a quarantine is not locked."""
            lane = self._parts.lane(key)
            if self._parts.disk.stat(lane.paths.quarantine) is None:
                return Trimmed()
            with self._parts.disk.lock(lane.paths.lock, self._parts.lock_timeout_s):
                return purge_quarantine(lane, dry_run=dry_run)

        return _run(keys, purge)

    def drop_orphans(self, *, dry_run: bool = False) -> int:
        """Remove derived files of series that no longer exist; return their size in bytes."""
        disk, freed = self._parts.disk, 0
        for path, key in list(self._derived_files()):
            if not self._parts.lane(key).years() and (state := disk.stat(path)) is not None:
                freed += state.size
                if not dry_run:
                    drop_file(self._parts, path)
        return freed

    def _derived_files(self) -> Iterator[tuple[Path, SeriesKey]]:
        """Yield each file that was derived from stored bars, with the series of these bars."""
        disk, root = self._parts.disk, self._parts.layout.root
        for name in disk.list(root / FOLDER):
            for file in disk.list(root / FOLDER / name):
                path = root / FOLDER / name / file
                key = series_of(root, path)
                if key is not None:
                    yield path, key

    # --- older tools -----------------------------------------------------------------------

    def migrate(
        self, keys: Sequence[SeriesKey], *, dry_run: bool = False
    ) -> tuple[list[OldFile], list[Problem]]:
        """Convert older tools' files now, verified bar by bar; the originals are kept in ``_legacy``."""
        homes = [key for key in keys if not key.lane]
        migrated, problems = _run(
            homes, lambda key: migrate_series(self._parts, key, dry_run=dry_run)
        )
        return [file for files in migrated for file in files], problems

    def prune(
        self, keys: Sequence[SeriesKey], *, dry_run: bool = False
    ) -> tuple[list[PrunedFile], list[Problem]]:
        """Delete converted older files whose bars are all stored, or have been replaced by a vendor's."""
        homes = [key for key in keys if not key.lane]
        pruned, problems = _run(homes, lambda key: prune_series(self._parts, key, dry_run=dry_run))
        return [file for files in pruned for file in files], problems

    # --- the past --------------------------------------------------------------------------

    def log(self, key: SeriesKey) -> list[dict[str, Any]]:
        """Return the commits to a series, oldest first; see :func:`.history.commits_of`."""
        return commits_of(self._parts.lane(key))

    def other_logs(self, symbol: str, timeframe: Timeframe | None = None) -> list[OtherLog]:
        """Return the logs of tables and fundamentals; see :meth:`.other_data.OtherData.logs`."""
        return self._others.logs(symbol, timeframe)

    def growth(self, holdings: Holdings) -> list[dict[str, Any]]:
        """Return the cache's daily growth, in bars and in file bytes, in order.

        Each entry has ``date`` (UTC), ``bars`` and ``bytes``, derived from the commit logs. Commits
        that a long log has merged into one entry are counted on the day of the last one.

        Args:
            holdings: Contents of the folder, with the growth of its lanes.
        """
        days: dict[str, list[int]] = {}
        for lane in holdings.lanes:
            for date, bars, size in lane.growth or ():
                day = days.setdefault(date, [0, 0])
                day[0], day[1] = day[0] + bars, day[1] + size
        return [
            {"date": d, "bars": bars, "bytes": size} for d, (bars, size) in sorted(days.items())
        ]


def _run(
    keys: Iterable[SeriesKey], work: Callable[[SeriesKey], T]
) -> tuple[list[T], list[Problem]]:
    """Run ``work`` for each series; return the results, and the series that failed, with reasons."""
    results: list[T] = []
    problems: list[Problem] = []
    for key in keys:
        try:
            results.append(work(key))
        except DataError as error:
            problems.append((key, str(error)))
    return results, problems


# --- repair ------------------------------------------------------------------------------


def repair_series(store: StoreParts, lane: LaneFiles) -> tuple[list[Finding], list[Finding]]:
    """Repair a series under its lock; return the findings before and after.

    This also recovers data committed just before a power loss. Bars that cannot be kept are missing
    afterwards. Files are copied to the quarantine before anything is removed from them.

    Raises:
        LockTimeoutError: Another writer held the series for too long.
        StorageError: A file cannot be written; stored data is intact.
    """
    if store.disk.stat(lane.paths.folder) is None:
        return [], []
    with store.disk.lock(lane.paths.lock, store.lock_timeout_s):
        findings = check_series(store, lane.key, is_locked=True)
        for finding in findings:
            _repair(store, lane, finding)
        lane.sweep()
        return findings, check_series(store, lane.key, is_locked=True) if findings else []


def _repair(store: StoreParts, lane: LaneFiles, finding: Finding) -> None:
    if finding.cure == "none":
        return
    if finding.where in (SERIES, ACCEPTED):
        path = lane.paths.folder / finding.where
        content = lane.disk.read_if_exists(path) or b""
        quarantine.keep_bytes(lane, path.name, content, finding.what)
        lane.disk.remove(path)
        lane.document_cache.forget(path)
    elif finding.where == COLUMNS:
        store.sidecars.drop(lane.key)
    elif finding.cure == "rebuild":
        rebuild(lane, int(finding.where))
    else:
        recover(lane, int(finding.where))
