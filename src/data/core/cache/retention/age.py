"""Deletes by age: whole years of bars or tables whose latest row is older than allowed.

A year file is only deleted as a whole. Fundamentals, splits and dividends are not organized in
years, so they stay. Each deletion is recorded in the log of its series, and works like any other
deletion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ....errors import CacheError, DataError
from ...disk.files import Disk
from ...model.identity.series import SeriesKey
from ...model.time.instant import MINUTE_MS, iso
from ...model.time.span import year_span
from ..beside.tables import TableStore
from ..clear import bars_in, files_aside
from ..facade.listing import Catalog
from ..layout import BARS
from ..legacy.reader import older_path
from ..pins import pins_in
from ..recovery.check import years_listed
from ..store import BarStore
from ..values import Use

BY = "retention"
# Clocks of machines that share a folder may differ by this much without being wrong.
_SKEW_MS = MINUTE_MS
_UNREADABLE = "kept: its newest bar is unknown until `onetape cache repair`"


@dataclass(frozen=True)
class AgedYear:
    """One year that is old enough to be deleted.

    Attributes:
        key, year: Series and year.
        data_type: ``ohlcv``, or a table's data type.
        rows: Number of bars in the year, or of rows in the table.
        bytes: Size of the year's files, including replaced and quarantined ones.
    """

    key: SeriesKey
    year: int
    data_type: str
    rows: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the values as a JSON-compatible dictionary."""
        return {
            "symbol": self.key.symbol,
            "timeframe": self.key.timeframe.label,
            "lane": self.key.lane_label,
            "data_type": self.data_type,
            "year": self.year,
            "rows": self.rows,
            "bytes": self.bytes,
        }


@dataclass(frozen=True)
class Aged:
    """Years that are old enough to be deleted, or that have been deleted.

    Attributes:
        before: Time in UTC milliseconds; bars that had closed by then are old enough.
        years: The years, grouped by series.
        is_all: Whether these are all stored bars or, if only tables are affected, all tables.
        problems: Series that could not be examined, with reasons; they are not deleted.
    """

    before: int
    years: tuple[AgedYear, ...] = ()
    is_all: bool = False
    problems: tuple[tuple[SeriesKey, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the values as a JSON-compatible dictionary, without problems."""
        return {
            "before": iso(self.before),
            "rows": sum(year.rows for year in self.years),
            "bytes": sum(year.bytes for year in self.years),
            "years": [year.to_json() for year in self.years],
        }


class AgeRetention:
    """Finds and deletes the years in one cache folder that are too old. Thread-safe.

    Args:
        store: Store of the bars.
        catalog: Catalog of the folder's contents, including files of older tools.
        disk: File system.
        tables: Function that returns the tables of one data type.
        last_uses: Function that returns a function for looking up the last use of a series.
    """

    def __init__(
        self,
        store: BarStore,
        catalog: Catalog,
        disk: Disk,
        tables: Callable[[str], TableStore],
        last_uses: Callable[[], Callable[[SeriesKey], Use]],
    ) -> None:
        self._store = store
        self._parts = store.parts
        self._catalog = catalog
        self._disk = disk
        self._tables = tables
        self._last_uses = last_uses

    def find(self, before: int) -> Aged:
        """Return the years whose rows had all closed by ``before``; nothing is deleted."""
        collected = _AgedFolder()
        for key in self._catalog.stored_keys():
            try:
                self._add_series(key, before, collected)
            except DataError as exc:  # such as a file of a newer version
                collected.stay.add(BARS)
                collected.problems.append((key, str(exc)))
        for table, key in self._stored_tables():
            for year in table.years(key):
                rows = table.holding(key, year) if year_span(year).start < before else None
                if rows is None or rows[1] > before:
                    collected.stay.add(table.data_type)
                    continue
                size = _size(self._disk, table.files(key, year))
                collected.go.append(AgedYear(key, year, table.data_type, rows[0], size))
        return Aged(before, tuple(collected.go), collected.is_all, tuple(collected.problems))

    def _add_series(self, key: SeriesKey, before: int, collected: _AgedFolder) -> None:
        """Add the years of one series to ``collected``."""
        lane = self._parts.lane(key)
        for year in lane.years():
            path = older_path(lane, year) or lane.paths.data(year)
            if self._disk.stat(path) is None:
                continue  # it has no bars
            is_younger = year_span(year).start >= before  # then nothing needs to be read
            content = None if is_younger else bars_in(lane, year)
            if content is None or content.closed_ms > before:
                collected.stay.add(BARS)
                if content is None and not is_younger:
                    collected.problems.append((key, f"{year} {_UNREADABLE}"))
                continue
            files = [path, path.with_name(f"{year:04d}.metadata.json")]
            size = _size(self._disk, [*files, *files_aside(lane, year)])
            collected.go.append(AgedYear(key, year, BARS, content.bars, size))

    def delete(self, aged: Aged, *, wait_s: float | None = None) -> Aged:
        """Delete years; return the years that were deleted, and the problems with the others.

        Each year is checked again under the lock of its series: it is kept if it has received newer
        rows in the meantime.
        """
        deleted: list[AgedYear] = []
        problems = list(aged.problems)
        for year in aged.years:
            try:
                if self._delete(year, aged.before, wait_s):
                    deleted.append(year)
            except DataError as exc:
                problems.append((year.key, f"{year.year} was not deleted: {exc}"))
        self._store.changed = self._store.changed or bool(deleted)
        return replace(aged, years=tuple(deleted), problems=tuple(problems))

    def _delete(self, year: AgedYear, before: int, wait_s: float | None) -> bool:
        if year.data_type != BARS:
            table = self._tables(year.data_type)
            return table.clear_years(year.key, [year.year], before, by=BY, wait_s=wait_s) > 0
        years = [year.year]
        return self._store.clear_years(year.key, years, by=BY, closed_by=before, wait_s=wait_s) > 0

    def unused(self, aged: Aged, now_ms: int) -> Aged:
        """Return ``aged`` without bars that are pinned or that a request in progress may need."""
        last_use = self._last_uses()
        unused = (
            year
            for year in aged.years
            if year.data_type != BARS
            or not (
                pins_in(self._disk, self._parts.lane(year.key).paths.versions)
                or last_use(year.key).needs(year_span(year.year).end, now_ms)
            )
        )
        return replace(aged, years=tuple(unused))

    def check_clock(self, now_ms: int) -> int:
        """Return the time of the latest answer in the store; the current time cannot be earlier.

        The time is from the vendor's clock if the vendor sends it. The result is 0 if nothing is
        stored.

        Raises:
            CacheError: The local clock is behind the latest commit, so it is or was wrong.
        """
        commits = list(self._commits())
        newest = max((commit for commit, _ in commits), default=0)
        if newest > now_ms + _SKEW_MS:
            raise CacheError(
                f"nothing is deleted by age: this machine's clock is at {iso(now_ms // 1000 * 1000)}, "
                f"but the newest commit to the cache is from {iso(newest // 1000 * 1000)}",
                hint="set the clock, for instance by NTP",
            )
        return max((answer for _, answer in commits), default=0)

    def _commits(self) -> Iterator[tuple[int, int]]:
        """Yield the times of each stored year's latest commit and latest answer."""
        for key in self._store.keys():
            lane = self._parts.lane(key)
            for year in years_listed(lane):
                try:
                    meta = lane.meta(year)
                except CacheError:
                    continue
                if meta is not None:
                    answers = (entry.fetched_at for entry in meta.state.coverage)
                    yield meta.updated_ms, max(answers, default=0)

    def _stored_tables(self) -> Iterator[tuple[TableStore, SeriesKey]]:
        for name in self._catalog.data_types():
            table = self._tables(name)
            for key in table.keys():
                yield table, key


@dataclass
class _AgedFolder:
    """The years to delete, the data types of the years to keep, and series that cannot be read."""

    go: list[AgedYear] = field(default_factory=list)
    stay: set[str] = field(default_factory=set)
    problems: list[tuple[SeriesKey, str]] = field(default_factory=list)

    @property
    def is_all(self) -> bool:
        """Whether all stored bars would be deleted or, if only tables would be, all tables."""
        if any(year.data_type == BARS for year in self.go):
            return BARS not in self.stay
        return bool(self.go) and not self.stay


def _size(disk: Disk, paths: Iterable[Path]) -> int:
    """Return the total size of files; a file with two names counts once."""
    states = (disk.stat(path) for path in paths)
    return sum({state.inode: state.size for state in states if state is not None}.values())
