"""The files of series in a folder that is a copy of the log: applied, compared and made anew.

Everything here concerns one series; its caller decides what happens, and holds no lock.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from ..cache.actions import ActionBook
from ..cache.confirmations import CONFIRMED
from ..cache.format.json_document import DamagedError
from ..cache.lane_files import LaneFiles
from ..cache.layout import QUARANTINE, ROWS, VERSIONS, LanePaths, Layout
from ..cache.legacy.adopt import OldYears
from ..cache.read.document_cache import DocumentCache
from ..cache.retention.clear import Number, clear_lane, clear_years
from ..cache.store import BarStore
from ..cache.values import Commit, no_check
from ..cache.write.commit import CommitRun
from ..clock import Clock
from ..disk.atomic import link_or_copy
from ..disk.files import Disk
from ..errors import CorruptEntryError, OvertakenError
from ..model.retention import Retention
from ..model.series import SeriesKey
from . import snapshot
from .decisions import name_of, overtaken
from .entry import SeriesCleared, SeriesName, applying
from .log import AppendedEntry, Log, LogEntry, LogPosition
from .notes import Note, Notes
from .snapshot import SeriesSnapshot, is_long
from .snapshot_files import SnapshotFiles
from .snapshot_log import FoundSnapshot, Snapshots
from .symbol_books import SymbolBooks

log = logging.getLogger(__name__)

# Times that a series whose snapshot is replaced while it is built is built again.
_TRIES = 5
_ANEW_FOLDER, _ASIDE_FOLDER, _BEFORE_FOLDER = "anew", "aside", "before"


class EntryClock:
    """A clock that shows the time of an entry once it is known, and before that the host's."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self.at_ms = clock, 0

    def now_ms(self) -> int:
        """Return the time of the entry, UTC milliseconds."""
        return self.at_ms or self._clock.now_ms()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)


class LaneCopies:
    """Applies entries to series, and builds and replaces their files. Thread-safe.

    Args:
        log: The log.
        notes: Notes of the folder.
        books: Splits and dividends of its symbols.
        snapshots: Snapshots on the server.
        disk, document_cache, clock: Parts of its store.
        lock_timeout_s: Maximum wait for another writer, in seconds.
        vendor_facts, retention: As for :class:`.BarStore`.

    Attributes:
        no_old: Finder of older tools' files that finds none; they are taken in when a folder is
            attached, and never by a commit.
        aside: Store of the files that are set aside because they wait to be offered to the log.
    """

    def __init__(
        self,
        log: Log,
        notes: Notes,
        books: SymbolBooks,
        snapshots: Snapshots,
        disk: Disk,
        document_cache: DocumentCache,
        clock: Clock,
        lock_timeout_s: float,
        vendor_facts: Mapping[str, Mapping[str, Any]],
        retention: Retention,
    ) -> None:
        self._log, self._notes, self._books = log, notes, books
        self._disk, self._clock, self._lock_timeout_s = disk, clock, lock_timeout_s
        self._vendor_facts, self._retention = vendor_facts, retention
        self._snapshots = snapshots
        self._files = SnapshotFiles(snapshots, disk, lock_timeout_s)
        self.no_old = OldYears(Layout(notes.folder / "none"), disk, document_cache)
        self.aside = BarStore(notes.folder / _ASIDE_FOLDER, disk, clock)

    def generations(self, lane: LaneFiles) -> tuple[dict[int, int], int]:
        """Return the generations in the documents of a series; -1 for a year that is not whole."""
        years: dict[int, int] = {}
        for year in lane.years():
            try:
                meta = lane.meta(year)
            except DamagedError:
                meta = None
            years[year] = -1
            if meta is not None and meta.pending is None:
                data = self._disk.stat(lane.paths.data_text(year))
                if (0 if data is None else data.size) >= meta.state.size:
                    years[year] = meta.state.generation
        try:
            series = lane.series()
        except DamagedError:
            return years, -1
        return years, 0 if series is None else series.generation

    def is_astray(self, lane: LaneFiles, note: Note) -> bool:
        """Return whether a series shows something other than its note says."""
        years, series = self.generations(lane)
        return (years, series) != (note.years, note.series) or -1 in (*years.values(), series)

    def run(
        self,
        lane: LaneFiles,
        commit: Commit,
        clock: EntryClock,
        book: ActionBook,
        append: Callable[[], AppendedEntry],
        check: Callable[[], object] = no_check,
        *,
        is_noted: bool = True,
    ) -> CommitRun:
        """Return the execution of an entry; its note is written once all else is."""
        made = list[AppendedEntry]()
        lane = replace(lane, clock=clock, book=book)

        def order() -> int:
            """Append the entry and return its number."""
            made.append(append())
            return made[0].position.seq

        def done() -> None:
            """Write the note, unless damage was found on the way: then the series is astray."""
            if is_noted and run.generation == made[0].position.seq:
                note = Note(made[0].position, *self.generations(lane))
                self._notes.keep(self._notes.lane(lane.key), note)

        run = CommitRun(lane, commit, self.no_old, check, order, done)
        return run

    def set_aside(self) -> list[SeriesKey]:
        """Return the series with files that wait to be offered."""
        return Layout(self.aside.root).series(self._disk.list)

    def is_waiting(self, key: SeriesKey) -> bool:
        """Return whether files of a series wait to be offered, because that was interrupted."""
        return self._disk.stat(self._lane_folder(_ASIDE_FOLDER, key)) is not None

    def is_kept(self, key: SeriesKey) -> bool:
        """Return whether files that a series had before the folder was attached are kept."""
        return self._disk.stat(self._lane_folder(_BEFORE_FOLDER, key)) is not None

    def forget_aside(self, key: SeriesKey, *, keep: bool) -> None:
        """Remove the files of a series that waited to be offered, or keep them as they are."""
        aside = self._lane_folder(_ASIDE_FOLDER, key)
        if keep and self._disk.stat(aside) is not None:
            before = self._lane_folder(_BEFORE_FOLDER, key)
            self._disk.make_folders(before.parent)
            self._disk.remove_whole(before)
            self._disk.replace(aside, before)
        else:
            self._disk.remove_whole(aside)

    def _lane_folder(self, name: str, key: SeriesKey) -> Path:
        return Layout(self._notes.folder / name).lane(key).folder

    # --- snapshots ---------------------------------------------------------------------------

    def make_snapshot(self, lane: LaneFiles, entries: int, size: int) -> bool:
        """Make a snapshot of a series; return whether there is a new one.

        Args:
            lane: Series.
            entries, size: Number and bytes of the entries applied since the last snapshot, as far as
                this host knows. Fewer bytes than that snapshot has are not worth another one.
        """
        name, path = name_of(lane.key), self._notes.lane(lane.key)
        before = self._snapshots.find({name: LogPosition()}).get(name)
        if before and before.snapshot and not is_long(entries, size, before.snapshot.size):
            return False

        def note() -> Note | None:
            """Return the note of the series if its files are those that it describes."""
            stored = self._notes.read(path)
            return None if stored is None or self.is_astray(lane, stored) else stored

        return self._files.store_files(lane, note, before) is not None

    def restore(
        self, lanes: Mapping[SeriesName, tuple[LaneFiles, SeriesSnapshot]]
    ) -> dict[SeriesName, CorruptEntryError]:
        """Write the snapshots of series that the folder does not have yet; return those that are damaged.

        Nothing is left of a damaged one.
        """
        damaged: dict[SeriesName, CorruptEntryError] = {}
        wanted = [(name, part) for name, (_, made) in lanes.items() for part in made.parts.values()]
        for name, bodies in groupby(self._snapshots.parts(wanted), lambda body: body[0]):
            lane, made = lanes[name]
            path, paths = self._notes.lane(lane.key), lane.paths
            self._disk.make_folders(paths.folder, durable=False)
            with self._disk.lock(paths.lock, self._lock_timeout_s):
                if self._notes.read(path) is not None or lane.years():
                    continue  # another process was faster
                is_whole = False
                try:
                    self._notes.keep(path, Note())  # if this process is killed, it is astray
                    with suppress(OvertakenError):
                        self._files.lay_out(lane, bodies)
                        # As its maker has found them; if that is wrong, the series is astray.
                        self._notes.keep(path, Note(made.position, *made.generations))
                        is_whole = True
                except CorruptEntryError as error:
                    damaged[name] = error
                finally:
                    if not is_whole:
                        self._remove_files(paths, keep=())
                        self._disk.remove(path)
        return damaged

    def _remove_files(self, paths: LanePaths, keep: Iterable[str]) -> None:
        """Remove the files of a series but those named, its lock, and files that were damaged."""
        kept = {paths.lock.name, QUARANTINE, *keep}
        for name in self._disk.list(paths.folder):
            if name not in kept:
                self._disk.remove_whole(paths.folder / name)
        for name in self._disk.list(paths.quarantine):
            if name.endswith(ROWS) and f"{QUARANTINE}/{name}" not in kept:
                self._disk.remove(paths.quarantine / name)

    # --- a series made anew ------------------------------------------------------------------

    def built(
        self,
        key: SeriesKey,
        scratch: Path,
        like: LaneFiles | None = None,
        until: int | None = None,
    ) -> Note:
        """Make a series from its snapshot and the entries after it, in an empty folder; return its note.

        Args:
            key: Series.
            scratch: Cache folder to build it in.
            like: Series whose years are used if they are those of the snapshot, and not fetched.
            until: Entry to stop at; None for the last one. If it cannot be reached any more, the
                result is an empty note.

        Raises:
            CorruptEntryError: The snapshot is damaged, or entries after it are missing.
        """
        store = BarStore(
            scratch,
            self._disk,
            self._clock,
            vendor_facts=self._vendor_facts,
            retention=self._retention,
        )
        lane, name, copy = store.parts.lane(key), name_of(key), None
        for _ in range(_TRIES):
            before, copy = copy, self._snapshots.find({name: LogPosition()}).get(name)
            with suppress(OvertakenError):
                if before is not None and before == copy:  # nobody has replaced it
                    raise snapshot.corrupt(name, "a part or an entry is missing")
                note = self._write_snapshot(lane, copy, like, until)
                if note is None:
                    return Note()
                while until is None or note.position.seq < until:
                    entries = self._log.after(name, note.position)
                    if entries is None:
                        raise OvertakenError(f"entries for {key} were pruned", symbol=key.symbol)
                    for entry in entries:
                        if until is None or entry.position.seq <= until:
                            with applying(name, entry.position.seq):
                                self._build(lane, entry)
                            note = Note(entry.position, *self.generations(lane))
                    if not entries:
                        break
                return note
            self._disk.remove_whole(scratch)
        if copy is None:
            raise CorruptEntryError(f"the log is missing entries for {key}", symbol=key.symbol)
        raise overtaken(f"the snapshot of {key}", key.symbol)

    def _write_snapshot(
        self,
        lane: LaneFiles,
        copy: FoundSnapshot | None,
        like: LaneFiles | None,
        until: int | None,
    ) -> Note | None:
        """Write a snapshot, if there is one and it is not too late; return the note of the series.

        The result is None if the entries before a snapshot that is too late are gone.
        """
        made = copy and copy.snapshot
        if copy is None or made is None or (until is not None and made.position.seq > until):
            if until is not None and copy is not None and copy.pruned:
                return None
            if copy is not None and copy.error is not None and copy.pruned:
                raise copy.error
            return Note()
        name, parts = name_of(lane.key), list(made.parts.values())
        if like is not None:
            later = self._snapshots.years_after(name, made.position.seq)
            parts = [
                part
                for part in parts
                if not self._files.linked(like, lane, part, is_copied=part.year in later)
            ]
        try:
            self._files.lay_out(lane, self._snapshots.parts([(name, part) for part in parts]))
            if made.generations != (generations := self.generations(lane)):
                raise snapshot.corrupt(name, "its files are not those that it lists")
        except (CorruptEntryError, OvertakenError) as error:
            if copy.pruned:
                raise
            log.warning("%s: made from all entries: %s", lane.key, error)
            self._disk.remove_whole(lane.paths.folder)
            return Note()
        return Note(made.position, *generations)

    def _build(self, lane: LaneFiles, entry: LogEntry) -> None:
        """Apply an entry to a series that is built in a folder of its own."""
        clock = EntryClock(self._clock)
        clock.at_ms = entry.at_ms
        if isinstance(entry.value, SeriesCleared):
            if self._disk.stat(lane.paths.folder) is not None:
                self.clear(lane, clock, entry.value, lambda: entry.position.seq)
            return
        assert isinstance(entry.value, Commit)
        book = self._books.at(lane.key.symbol, entry.book)
        made = partial(AppendedEntry, entry.position, entry.at_ms)
        self.run(lane, entry.value, clock, book, made, is_noted=False).run(self._lock_timeout_s)

    def replace(self, lane: LaneFiles, *, is_kept: bool) -> None:
        """Replace the files of a series by those that the log's snapshot and entries make.

        The caller holds the locks of its note and of its files. With ``is_kept``, the old files are set
        aside. Otherwise years that are right stay, with their replaced versions: the new series has them
        under a second name, so no other process may write to the old one meanwhile.
        """
        path = self._notes.lane(lane.key)
        scratch = self._notes.folder / _ANEW_FOLDER / path.parent.name / path.stem
        self._disk.remove_whole(scratch)  # of a process that was killed
        made = self.built(lane.key, scratch, None if is_kept else lane)
        self._swap(lane, scratch, path, made, is_kept=is_kept)
        self._disk.remove_whole(scratch)

    def _swap(
        self, lane: LaneFiles, scratch: Path, path: Path, made: Note, *, is_kept: bool
    ) -> None:
        """Put new files in place of a series' files; the old ones are set aside if they are kept."""
        disk, paths, new = self._disk, lane.paths, Layout(scratch).lane(lane.key)
        aside = self._lane_folder(_ASIDE_FOLDER, lane.key)
        if is_kept and disk.stat(aside) is None:
            self._set_aside(paths, scratch / "kept", aside)
        # If this is interrupted from here on, it begins again: with the files set aside, or as astray.
        if is_kept:
            self._disk.remove(path)
        else:
            self._notes.keep(path, Note())
        names = self._names(new)
        same = set() if is_kept else {name for name in names if self._is_one(new, paths, name)}
        for name in disk.list(paths.versions):  # those of years that are replaced
            if is_kept or (name[:4].isdecimal() and f"{name[:4]}.csv.gz" not in same):
                disk.remove(paths.versions / name)
        for name in lane.barred():
            disk.remove_whole(paths.folder / name)
        # One file replaces another, and what is left over goes last: readers miss no bars meanwhile.
        for name in names:
            if name not in same:
                disk.make_folders((paths.folder / name).parent)
                disk.replace(new.folder / name, paths.folder / name)
                lane.document_cache.forget(paths.folder / name)
        # This host's comparisons stay: each names the state of the file that it is about.
        self._remove_files(paths, {*names, VERSIONS, *(() if is_kept else (CONFIRMED,))})
        disk.sync_folder(paths.folder)
        lane.tainted.difference_update([mark for mark in lane.tainted if mark[0] == lane.key])
        self._notes.keep(path, Note(made.position, *self.generations(lane)))

    def _names(self, paths: LanePaths) -> list[str]:
        """Return the files of a series, with the folders that they are in, without its lock."""
        names = [name for name in self._disk.list(paths.folder) if name != paths.lock.name]
        inner = [name for name in names if name in (QUARANTINE, VERSIONS)]
        files = [name for name in names if name not in inner]
        return [*files, *(f"{n}/{one}" for n in inner for one in self._disk.list(paths.folder / n))]

    def _is_one(self, new: LanePaths, old: LanePaths, name: str) -> bool:
        """Return whether a file of a series is the same file in two folders."""
        states = [self._disk.stat(paths.folder / name) for paths in (new, old)]
        return None not in states and states[0] == states[1]

    def _set_aside(self, paths: LanePaths, temp: Path, aside: Path) -> None:
        """Link all files of a series into another folder, which appears as a whole or not at all."""
        disk = self._disk
        for folder, _, names in os.walk(paths.folder):
            target = temp / Path(folder).relative_to(paths.folder)
            disk.make_folders(target)
            for name in names:
                if name != paths.lock.name:
                    link_or_copy(disk, Path(folder, name), target / name)
            disk.sync_folder(target)
        disk.make_folders(aside.parent)
        disk.replace(temp, aside)
        disk.sync_folder(aside.parent)

    def clear(self, lane: LaneFiles, clock: Clock, value: SeriesCleared, number: Number) -> None:
        """Remove what an entry removes; ``clock`` shows its time, and ``number`` returns its number."""
        lane, old, wait_s = replace(lane, clock=clock), self.no_old, self._lock_timeout_s
        if value.years is None:
            clear_lane(lane, old, wait_s, value.by, number)
        else:
            clear_years(lane, value.years, old, wait_s, value.by, number=number)
