"""The history of a series: the log of its commits, and its bars as they were after a commit."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, groupby, takewhile
from pathlib import Path
from typing import Any

from ...errors import CacheError, QueryError
from ..disk.files import Disk
from ..model.display.texts import written
from ..model.market.bars import BarTable, concat
from ..model.stored.coverage import Coverage
from ..model.time.span import Span, year_span
from .format.gzip_member import Member, file_id, walk
from .lane_files import LaneFiles
from .pins import pin_file, pins_in
from .read.series_reader import read_series
from .read.year_file import MismatchError, rows_of
from .write.coverage_update import after_members
from .write.year_writer import versions

Entry = Mapping[str, Any]


def log_of(lane: LaneFiles) -> list[dict[str, Any]]:
    """Return the logged commits in all years, oldest first, each with its ``year``."""
    entries = [entry | {"year": year} for year, log in lane.logs().items() for entry in log]
    return sorted(entries, key=lambda entry: (entry["generation"], entry["year"]))


def commits_of(lane: LaneFiles) -> list[dict[str, Any]]:
    """Return the commits, oldest first; a commit to several years is merged into one entry.

    Each entry has ``generation``, ``time``, ``vendor``, ``span``, ``added``, ``changed``,
    ``removed``, ``size`` (bytes of the year files afterwards), ``years``, ``recovered``,
    ``deleted`` (the call that deleted bars, or None) and ``kept`` (whether the series can still be
    read as of this commit).
    """
    past = PastStates(lane)
    readable = set(past.kept())
    grouped = groupby(log_of(lane), key=lambda entry: int(entry["generation"]))
    return [
        _merged_entry(generation, list(entries)) | {"kept": generation in readable}
        for generation, entries in grouped
    ]


def _merged_entry(generation: int, entries: Sequence[Entry]) -> dict[str, Any]:
    spans = [entry["span"] for entry in entries if entry.get("span")]
    counts = {n: sum(e[n] for e in entries) for n in ("added", "changed", "removed", "size")}
    return {
        "generation": generation,
        "time": entries[0].get("time"),
        "vendor": ",".join(dict.fromkeys(e["vendor"] for e in entries if e.get("vendor"))),
        "span": [min(s[0] for s in spans), max(s[1] for s in spans)] if spans else None,
        **counts,
        "years": [entry["year"] for entry in entries],
        "recovered": any(entry.get("recovered") for entry in entries),
        "deleted": next((entry["deleted"] for entry in entries if entry.get("deleted")), None),
    }


def read_version(lane: LaneFiles, span: Span, generation: int) -> tuple[BarTable, Coverage]:
    """Return the bars in ``span`` as they were right after commit ``generation``.

    The coverage is derived from the bars themselves, because the metadata from that time is lost.

    Raises:
        QueryError: The generation never existed, or its bars are no longer kept.
    """
    past = PastStates(lane)
    past.check_number(generation)
    tables: list[BarTable] = []
    coverage = Coverage()
    for year in past.years:
        if not year_span(year).overlaps(span):
            continue
        bars = past.year(year, generation)
        if bars is None:
            raise _not_kept_error(past, year, generation)
        tables.append(bars[0].within(span))
        coverage = coverage.overlaid(bars[1])
    return concat(tables), coverage.within(span)


def pin(lane: LaneFiles, generation: int, lock_timeout_s: float) -> None:
    """Protect a generation from deletion, durably; see :mod:`.pins`.

    Raises:
        QueryError: The generation never existed, or is no longer kept.
        LockTimeoutError, StorageError: Nothing was changed.
    """
    disk, paths = lane.disk, lane.paths
    if disk.stat(paths.folder) is None:  # no folder is created for a series that is not stored
        PastStates(lane).check_number(generation)
    with disk.lock(paths.lock, lock_timeout_s):
        PastStates(lane).check(generation)
        for year in lane.logged_years():  # versions are found by the log, which is not synced
            _sync_if_there(disk, paths.log(year))
        path = pin_file(paths.versions, generation)
        disk.make_folders(paths.versions)
        if disk.stat(path) is None:
            disk.close(disk.create(path))
        # The process that created it may have been killed before its name was durable.
        disk.sync_folder(paths.versions)


def _sync_if_there(disk: Disk, path: Path) -> None:
    if disk.stat(path) is not None:
        handle = disk.open_write(path)
        try:
            disk.sync_data(handle)
        finally:
            disk.close(handle)


def unpin(lane: LaneFiles, generation: int, lock_timeout_s: float) -> None:
    """Remove the pin of a generation, if any; the next rewrite removes files kept only for it.

    Raises:
        LockTimeoutError, StorageError: The pin was not removed.
    """
    disk, folder = lane.disk, lane.paths.versions
    if generation in pins_in(disk, folder):
        with disk.lock(lane.paths.lock, lock_timeout_s):
            disk.remove(pin_file(folder, generation))
            disk.sync_folder(folder)


def _not_kept_error(past: PastStates, year: int, generation: int) -> QueryError:
    key, kept = past.lane.key, past.kept()
    return QueryError(
        f"the bars for {key} {year} as of version {generation} are no longer kept",
        symbol=key.symbol,
        hint=f"versions of {key} that are kept: {ranges(kept)}"
        if kept
        else "revised bars are kept for as long as cache.keep_versions says",
    )


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as text, such as ``3, 8 to 17``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


class _File:
    """A current or former year file: its valid gzip members and, once needed, their bars."""

    def __init__(self, lane: LaneFiles, year: int, path: Path, generation: int) -> None:
        self.generation = generation
        content = lane.disk.read_if_exists(path) or b""
        chain = [member for _, member in walk(content, file_id(lane.key, year))]
        self.generations = [member.header.seq for member in chain]
        self.columns = chain[0].columns if chain else ()
        # Members that are being appended right now are not in the log yet.
        self.members = [member for member in chain if member.header.seq <= generation]
        self._stamps: list[int] | None = None

    def rows(self, members: Iterable[Member]) -> BarTable:
        """Return the bars in ``members``, which must be the file's first gzip members, in order."""
        tables = [rows_of(m, self.columns, first=index == 0) for index, m in enumerate(members)]
        return concat(tables)

    def stamps(self) -> list[int]:
        """Return the timestamps of all bars in the file."""
        if self._stamps is None:
            self._stamps = self.rows(self.members).stamps.tolist()
        return self._stamps


class PastStates:
    """The former states of a series that can still be read.

    Use an object only once, in one thread; it does not take a lock.

    Args:
        lane: Series to read.

    Attributes:
        lane: Series whose past is read.
        years: Years that have or had bars, ascending.
        generations: Generations of the logged commits, ascending.
    """

    def __init__(self, lane: LaneFiles) -> None:
        self.lane = lane
        logs = lane.logs().items()
        self._log = {y: sorted(log, key=lambda e: int(e["generation"])) for y, log in logs}
        # The generations of a year's commits, ascending, and the number of bars after each.
        self._commits = {y: [int(e["generation"]) for e in log] for y, log in self._log.items()}
        self._counts = {
            y: list(accumulate(e["added"] - e["removed"] for e in log))
            for y, log in self._log.items()
        }
        self.years = list(self._log)
        generations = {int(entry["generation"]) for log in self._log.values() for entry in log}
        self.generations = sorted(generations)
        self._files: dict[Path, _File] = {}
        self._versions: dict[int, tuple[tuple[int, Path], ...]] = {}

    def kept(self) -> list[int]:
        """Return the generations that can still be read, in ascending order."""
        return [g for g in self.generations if all(self._is_kept(y, g) for y in self.years)]

    def check_number(self, generation: int) -> None:
        """Reject a generation that never existed; raises ``QueryError``."""
        newest = self._newest_one()
        if not 0 < generation <= newest:
            key = self.lane.key
            raise QueryError(
                f"{key} has no version {written(generation)}",
                symbol=key.symbol,
                hint=f"versions 1 to {newest} exist" if newest else "nothing is stored",
            )

    def check(self, generation: int) -> None:
        """Reject a generation that never existed or is no longer kept; raises ``QueryError``."""
        self.check_number(generation)
        for year in self.years:
            if not self._is_kept(year, generation):
                raise _not_kept_error(self, year, generation)

    def _newest_one(self) -> int:
        """Return the latest generation, even if its commit did not change any year.

        If the log lacks the latest commit to a year, the result is the latest generation in the
        log.
        """
        logged = max(self.generations, default=0)
        try:
            metas = [self.lane.meta(year) for year in self.lane.years()]
        except CacheError:
            return logged
        if not logged or any(meta and meta.state.generation > logged for meta in metas):
            return logged
        series = read_series(self.lane)
        return max(logged, series.generation if series else 0)

    def year(self, year: int, generation: int) -> tuple[BarTable, Coverage] | None:
        """Return the bars and coverage of one year as of a generation; None if they are no longer kept."""
        if not self._is_logged(year, generation):
            return None
        last, count = self._last_commit(year, generation)
        if last is None:
            return BarTable.empty(), Coverage()
        try:
            file = self._file(year, last)
            members = self._members(file, year, last)
            if members is not None:
                rows = file.rows(members)
            elif self._only_grew(file, year, last, count):
                members, rows = file.members, file.rows(file.members).take(slice(0, count))
            else:
                return None
        except MismatchError:
            return None
        coverage = after_members(Coverage(), (m.header for m in members))
        if members is file.members and len(rows):
            coverage = coverage.within(
                Span(year_span(year).start, self._end(year, last, file, rows))
            )
        return rows, coverage if len(rows) else Coverage()

    def _end(self, year: int, until: int, file: _File, rows: BarTable) -> int:
        """Return, from the log, the end of the span that vendors had answered by generation ``until``."""
        spans = [e["span"] for e in self._log[year] if e["generation"] <= until and e.get("span")]
        last = int(rows.stamps[-1]) + 1
        later = file.stamps()[len(rows) :]
        return max(last, min([max((s[1] for s in spans), default=last), *later[:1]]))

    def _is_logged(self, year: int, generation: int) -> bool:
        """Return whether the year's log has an entry of its own for the last commit up to a generation.

        It may have been merged into a later entry, or lost. Then this file or the next one has a
        gzip member of that commit.
        """
        following = self._log[year][bisect_right(self._commits[year], generation) :]
        if following and following[0].get("since", generation + 1) <= generation:
            return False
        last = self._last_commit(year, generation)[0] or 0
        file = self._file(year, last)
        later = (*file.generations, *self._file(year, file.generation + 1).generations)
        return not any(last < g <= generation for g in later)

    def _is_kept(self, year: int, generation: int) -> bool:
        if not self._is_logged(year, generation):
            return False
        seq, count = self._last_commit(year, generation)
        if seq is None:
            return True
        try:
            file = self._file(year, seq)
            members = self._members(file, year, seq)
            return members is not None or self._only_grew(file, year, seq, count)
        except MismatchError:
            return False

    def _last_commit(self, year: int, generation: int) -> tuple[int | None, int]:
        """Return a year's last commit up to ``generation``, and the year's bar count at that time.

        The first value is the commit's generation, or None if no commit up to then concerned the
        year.
        """
        at = bisect_right(self._commits[year], generation) - 1
        return (self._commits[year][at], self._counts[year][at]) if at >= 0 else (None, 0)

    def _file(self, year: int, since: int) -> _File:
        """Return the oldest kept file of the year from generation ``since`` or later."""
        if year not in self._versions:
            newest = self._commits[year][-1] if self._commits[year] else 0
            current = newest, self.lane.paths.data(year)
            self._versions[year] = *versions(self.lane, year), current
        files = self._versions[year]
        generation, path = next((file for file in files if file[0] >= since), files[-1])
        if path not in self._files:
            self._files[path] = _File(self.lane, year, path, generation)
        return self._files[path]

    def _members(self, file: _File, year: int, last: int) -> list[Member] | None:
        """Return the file's gzip members up to generation ``last``; None if they do not have its bars.

        The whole file is compared, too, because the log may lack an earlier commit, and the number
        of bars may be equal by chance. If the log lacks a later commit, the file is compared up to
        the commit before it.
        """
        newer = [seq for seq in file.generations if seq > last]
        known = list(takewhile(self._commits[year].__contains__, newer))
        end = known[-1] if known and known != newer else file.generation
        for generation in (last, end):
            members = [member for member in file.members if member.header.seq <= generation]
            rows = sum(member.header.rows for member in members)
            if rows != self._last_commit(year, generation)[1]:
                return None
        return [member for member in file.members if member.header.seq <= last]

    def _only_grew(self, file: _File, year: int, since: int, count: int) -> bool:
        """Return whether all commits since generation ``since`` only added bars after the first ``count``.

        Compaction joins members permanently, so the log is needed to show where each commit began.
        """
        stamps, rows = file.stamps(), count
        for entry in self._log[year]:
            if not since < entry["generation"] <= file.generation:
                continue
            # Recovery does not know which bars the commits that it found touched.
            if not 0 <= rows <= len(stamps) or "touched" not in entry:
                return False
            first = entry["touched"]
            if first is not None and rows and first <= stamps[rows - 1]:
                return False
            rows += entry["added"]
        return rows == len(stamps)
