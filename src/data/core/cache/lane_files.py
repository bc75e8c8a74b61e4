"""The files of a lane, which is the folder of one series, and the documents next to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import FormatVersionError, StorageError
from ..clock import Clock
from ..disk.atomic import append_line, sweep, write_atomically
from ..disk.files import Disk
from ..model.identity.series import SeriesKey
from ..model.stored.retention import Retention
from ..model.time.instant import DAY_MS
from .actions import ActionBook, load_book
from .document_cache import DocumentCache
from .format.documents import (
    SeriesMeta,
    YearMeta,
    YearState,
    dump_meta,
    dump_series,
    load_meta,
    load_series,
)
from .format.gzip_member import file_id
from .format.json_document import DamagedError
from .layout import ACTIONS, LEGACY, LOG, METADATA, QUARANTINE, SERIES, LanePaths, years_in
from .log_file import MOST_LOG_BYTES, entries_of, line_of, trim_log
from .pins import pins_in
from .values import LaneUse

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LaneFiles:
    """A series' folder with everything needed to read and write it.

    Attributes:
        key: Series of the folder.
        paths: Paths of its files.
        disk, document_cache, clock: File system, cache of parsed documents, and source of the current time.
        vendor_facts: Maps each vendor to its ``reliability`` and ``rate_limit``, for other tools.
        tainted: Years whose last append failed; shared by all lanes of a store. The next commit of
            bars to such a year is a rewrite.
        retention: Number of replaced year files to keep, and the time to keep them.
        use: Recorder of reads and commits.
        previews: None if reads repair a damaged year. In a preview, where reads do not change
            anything on disk, this maps each damaged year to the :class:`~.year_file.YearFile`
            that a repair would leave, or to None if nothing would be left.
        elsewhere: Maps years to the files that older tools left outside the folder; shared by all
            lanes of the series. A year with a file or document in the folder is not read from them.
    """

    key: SeriesKey
    paths: LanePaths
    disk: Disk
    document_cache: DocumentCache
    clock: Clock
    vendor_facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tainted: set[tuple[SeriesKey, int]] = field(default_factory=set)
    retention: Retention = Retention()
    use: LaneUse = field(default_factory=LaneUse)
    previews: dict[int, Any] | None = None
    elsewhere: dict[int, Path] = field(default_factory=dict)

    def years(self, names: Sequence[str] | None = None) -> list[int]:
        """Return the years that have data or metadata, in ascending order.

        ``names`` are the folder's contents, if already known; then no thread may convert files of
        older tools at the same time.
        """
        elsewhere = tuple(self.elsewhere)  # first: a file that leaves it is in the folder by then
        names = self.document_cache.list(self.paths.text) if names is None else names
        return sorted({*years_in(names), *elsewhere})

    def names_and_years(self) -> tuple[list[str], list[int]]:
        """Return the folder's contents, and the years as in :meth:`years`."""
        elsewhere = tuple(self.elsewhere)
        names = self.disk.list(self.paths.text)
        return names, sorted({*years_in(names), *elsewhere})

    def logged_years(self, names: Sequence[str] | None = None) -> list[int]:
        """Return, in ascending order, the years that have any file, even only the log of deleted bars.

        ``names`` are the folder's contents, if already known.
        """
        names = self.document_cache.list(self.paths.text) if names is None else names
        logged = (name.partition(LOG)[0] for name in names if name.endswith(LOG))
        return sorted({*years_in(names), *(int(year) for year in logged if year.isdecimal())})

    def most_rows(self) -> int:
        """Return the maximum number of bars in a year of this timeframe."""
        return 366 * DAY_MS // (self.key.timeframe.step_ms or DAY_MS) + 1

    def make_folders_durable(self) -> None:
        """Sync the folders above a new series, because another writer may have just created them."""
        symbol = self.paths.folder.parent
        for folder in (symbol, symbol.parent, symbol.parent.parent):
            self.disk.sync_folder(folder)

    def sweep(self) -> list[str]:
        """Remove temporary files left behind by writers that died; requires the lane's lock.

        Returns:
            The names of the remaining files in the folder, sorted.
        """
        names = sweep(self.disk, self.paths.folder)
        for name in (QUARANTINE, LEGACY):
            if name in names:
                sweep(self.disk, self.paths.folder / name)
        return names

    # --- documents -------------------------------------------------------------------------

    def meta(self, year: int) -> YearMeta | None:
        """Return the document of ``year``, or None if it does not exist.

        Raises:
            DamagedError: The document is damaged.
            FormatVersionError: The document is from a newer version.
        """
        try:
            return self.document_cache.load(
                self.paths.metadata(year),
                lambda data: load_meta(data, file_id(self.key, year)),
            )
        except FormatVersionError as exc:
            raise self.newer(year, exc) from exc

    def documents(
        self, years: list[int], *, has_series: bool = True
    ) -> tuple[dict[int, YearState], SeriesMeta | None]:
        """Return the states of ``years`` and ``series.json``, if they are valid and not pending.

        ``has_series`` is False if ``series.json`` does not exist.

        Raises:
            FormatVersionError: A document is from a newer version.
        """
        year_files = {f"{year:04d}{METADATA}": year for year in years}
        names = [*year_files, SERIES] if has_series else [*year_files]
        documents = self.document_cache.load_all(self.paths.text, names, self._parsed)
        series = documents[-1] if has_series else None
        states = {
            year: meta.state
            for year, meta in zip(years, documents, strict=False)
            if isinstance(meta, YearMeta) and meta.pending is None and meta.state.generation
        }
        return states, series if isinstance(series, SeriesMeta) else None

    def _parsed(self, name: str, data: bytes) -> YearMeta | SeriesMeta | None:
        """Parse one of the lane's documents, given its name; return None if it is damaged."""
        try:
            if name == SERIES:
                return load_series(data, self.key)
            return load_meta(data, file_id(self.key, int(name[:4])))
        except FormatVersionError as exc:
            raise exc if name == SERIES else self.newer(int(name[:4]), exc) from exc
        except DamagedError as exc:
            if name == SERIES:  # its loss only costs requests
                log.warning("%s: series.json cannot be read: %s", self.key, exc)
            return None

    def newer(self, year: int, error: FormatVersionError) -> FormatVersionError:
        """Return ``error`` with the series and the year added to its message."""
        return FormatVersionError(
            f"{self.key} {year}: {error.args[0]}",
            symbol=self.key.symbol,
            hint="update this library; the file was left unchanged",
        )

    def write_meta(
        self,
        year: int,
        meta: YearMeta,
        *,
        durable: bool,
        before_rename: Callable[[], None] | None = None,
    ) -> None:
        """Replace the document of ``year``; see :func:`write_atomically`."""
        data = dump_meta(meta, self.key, year, self.vendor_facts.get(meta.vendor))
        path = self.paths.metadata(year)
        write_atomically(self.disk, path, data, durable=durable, before_rename=before_rename)
        self.document_cache.wrote(path, data, meta)

    def series(self) -> SeriesMeta | None:
        """Return ``series.json``, or None if it does not exist; for errors, see :meth:`meta`."""
        return self.document_cache.load(self.paths.series, lambda data: load_series(data, self.key))

    def write_series(self, series: SeriesMeta, *, durable: bool = False) -> None:
        """Replace ``series.json``, by default without waiting until it is durable."""
        data = dump_series(series, self.key)
        write_atomically(self.disk, self.paths.series, data, durable=durable)
        self.document_cache.wrote(self.paths.series, data, series)

    def actions(self) -> ActionBook:
        """Return the splits and dividends of the symbol; empty if they cannot be read."""
        path = self.paths.folder.parent / ACTIONS
        try:
            book = self.document_cache.load(path, lambda data: load_book(data, self.key.symbol))
        except (DamagedError, FormatVersionError):
            return ActionBook()
        return (book or ActionBook()).up_to(self.clock.now_ms())

    # --- the log of commits ----------------------------------------------------------------

    def append_log(self, year: int, entry: Mapping[str, Any]) -> None:
        """Append a line to the year's log.

        A failure is reported rather than raised, because the bars are already durable.
        """
        line = line_of(self.clock, entry)
        try:
            size = append_line(self.disk, self.paths.log(year), line)
            if size > MOST_LOG_BYTES:
                trim_log(
                    self.disk,
                    self.paths.log(year),
                    self.log_lines(year),
                    self._versions_kept(year),
                )
        except StorageError as exc:
            log.warning("%s %s: the commit was not logged: %s", self.key, year, exc)

    def _versions_kept(self, year: int) -> list[int]:
        """Return the generations of the year's older files that are kept, and all pinned ones."""
        names = (name.split(".") for name in self.disk.list(self.paths.versions))
        ours = (n[1] for n in names if n[0] == f"{year:04d}" and len(n) > 1)
        kept = [int(generation) for generation in ours if generation.isdecimal()]
        return [*kept, *pins_in(self.disk, self.paths.versions)]

    def logs(self) -> dict[int, list[dict[str, Any]]]:
        """Read the :meth:`log_entries` of every year in :meth:`logged_years` in one pass."""
        years = self.logged_years()
        contents = self.disk.read_all(self.paths.text, [f"{year:04d}{LOG}" for year in years])
        return {
            year: [] if read is None else list(entries_of(read[0].splitlines()))
            for year, read in zip(years, contents, strict=True)
        }

    def log_entries(self, year: int) -> list[dict[str, Any]]:
        """Return the logged commits of ``year``, oldest first; unreadable lines are omitted."""
        return list(entries_of(self.log_lines(year)))

    def log_lines(self, year: int) -> list[bytes]:
        """Return the log lines of ``year``, as they were written."""
        return (self.disk.read_if_exists(self.paths.log(year)) or b"").splitlines()

    def logged_generation(self, year: int) -> int:
        """Return the highest generation in the log, or 0 if the log cannot be read."""
        try:
            entries = entries_of(self.log_lines(year))
        except StorageError as exc:
            log.warning("%s %s: the log cannot be read: %s", self.key, year, exc)
            return 0
        return max((entry["generation"] for entry in entries), default=0)
