"""The files of series in a folder that is a copy of the log: applied, compared and made anew.

Everything here concerns one series; its caller decides what happens, and holds no lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..cache.actions import ActionBook
from ..cache.format.json_document import DamagedError
from ..cache.layout import QUARANTINE, LanePaths, Layout
from ..cache.legacy.adopt import OldYears
from ..cache.read.lru_cache import DocumentCache
from ..cache.retention.clear import clear_lane, clear_years
from ..cache.store import BarStore
from ..cache.values import Commit, no_check
from ..cache.write.commit import CommitRun
from ..cache.write.series import SeriesFiles
from ..clock import Clock
from ..disk.atomic import link_or_copy
from ..disk.files import Disk
from ..model.retention import Retention
from ..model.series import SeriesKey
from .decisions import name_of
from .entry import Cleared, applying
from .log import Appended, Entry, Log
from .notes import Note, Notes
from .symbol_books import SymbolBooks

_ROWS = ".rows.csv.gz"
_ANEW, _ASIDE, _BEFORE = "anew", "aside", "before"


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
        disk, memory, clock: Parts of its store.
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
        disk: Disk,
        memory: DocumentCache,
        clock: Clock,
        lock_timeout_s: float,
        vendor_facts: Mapping[str, Mapping[str, Any]],
        retention: Retention,
    ) -> None:
        self._log, self._notes, self._books = log, notes, books
        self._disk, self._clock, self._lock_timeout_s = disk, clock, lock_timeout_s
        self._vendor_facts, self._retention = vendor_facts, retention
        self.no_old = OldYears(Layout(notes.folder / "none"), disk, memory)
        self.aside = BarStore(notes.folder / _ASIDE, disk, clock)

    def found(self, lane: SeriesFiles) -> tuple[dict[int, int], int]:
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

    def is_astray(self, lane: SeriesFiles, note: Note) -> bool:
        """Return whether a series shows something other than its note says."""
        years, series = self.found(lane)
        return (years, series) != (note.years, note.series) or -1 in (*years.values(), series)

    def run(
        self,
        lane: SeriesFiles,
        commit: Commit,
        clock: EntryClock,
        book: ActionBook,
        append: Callable[[], Appended],
        check: Callable[[], object] = no_check,
        *,
        is_noted: bool = True,
    ) -> CommitRun:
        """Return the execution of an entry; its note is written once all else is."""
        made = list[Appended]()
        lane = replace(lane, clock=clock, book=book)
        run = CommitRun(lane, commit, self.no_old, check)

        def order() -> int:
            """Append the entry and return its number."""
            made.append(append())
            return made[0].position.seq

        def done() -> None:
            """Write the note, unless damage was found on the way: then the series is astray."""
            if is_noted and run.generation == made[0].position.seq:
                note = Note(made[0].position, *self.found(lane))
                self._notes.keep(self._notes.lane(lane.key), note)

        run.order, run.done = order, done
        return run

    def set_aside(self) -> list[SeriesKey]:
        """Return the series with files that wait to be offered."""
        return Layout(self.aside.root).series(self._disk.list)

    def is_waiting(self, key: SeriesKey) -> bool:
        """Return whether files of a series wait to be offered, because that was interrupted."""
        return self._disk.stat(self._place(_ASIDE, key)) is not None

    def forget_aside(self, key: SeriesKey, *, keep: bool) -> None:
        """Remove the files of a series that waited to be offered, or keep them as they are."""
        aside = self._place(_ASIDE, key)
        if keep and self._disk.stat(aside) is not None:
            before = self._place(_BEFORE, key)
            self._disk.make_folders(before.parent)
            self._disk.remove_whole(before)
            self._disk.replace(aside, before)
        else:
            self._disk.remove_whole(aside)

    def _place(self, name: str, key: SeriesKey) -> Path:
        return Layout(self._notes.folder / name).lane(key).folder

    def built(self, key: SeriesKey, scratch: Path) -> Note:
        """Apply all entries of a series in an empty folder; return its note."""
        store = BarStore(
            scratch,
            self._disk,
            self._clock,
            vendor_facts=self._vendor_facts,
            retention=self._retention,
        )
        lane, name, note = store.parts.lane(key), name_of(key), Note()
        while entries := self._log.after(name, note.position):
            for entry in entries:
                with applying(name, entry.position.seq):
                    self._build(lane, entry)
                note = Note(entry.position, *self.found(lane))
        return note

    def _build(self, lane: SeriesFiles, entry: Entry) -> None:
        """Apply an entry to a series that is built in a folder of its own."""
        clock = EntryClock(self._clock)
        clock.at_ms = entry.at_ms
        if isinstance(entry.value, Cleared):
            if self._disk.stat(lane.paths.folder) is not None:
                self.clear(lane, clock, entry.value)
            return
        assert isinstance(entry.value, Commit)
        book = self._books.at(lane.key.symbol, entry.book)
        made = partial(Appended, entry.position, entry.at_ms)
        self.run(lane, entry.value, clock, book, made, is_noted=False).run(self._lock_timeout_s)

    def replace(self, lane: SeriesFiles, *, is_kept: bool) -> None:
        """Replace the files of a series by those that the log's entries make.

        The caller holds the lock of its note. With ``is_kept``, the old files are set aside.
        """
        path = self._notes.lane(lane.key)
        scratch = self._notes.folder / _ANEW / path.parent.name / path.stem
        self._disk.remove_whole(scratch)  # of a process that was killed
        made = self.built(lane.key, scratch)
        self._swap(lane, scratch, path, made, is_kept=is_kept)
        self._disk.remove_whole(scratch)

    def _swap(
        self, lane: SeriesFiles, scratch: Path, path: Path, note: Note, *, is_kept: bool
    ) -> None:
        """Put new files in place of a series' files; the old ones are set aside if they are kept."""
        disk, paths, new = self._disk, lane.paths, Layout(scratch).lane(lane.key)
        aside = self._place(_ASIDE, lane.key)
        disk.make_folders(paths.folder)
        with disk.lock(paths.lock, self._lock_timeout_s):
            if is_kept and disk.stat(aside) is None:
                self._set_aside(paths, scratch / "kept", aside)
            # If this is interrupted from here on, it begins again with the files set aside.
            self._notes.drop(path)
            for name in disk.list(paths.folder):
                if name not in (paths.lock.name, QUARANTINE):
                    disk.remove_whole(paths.folder / name)
                    lane.memory.forget(paths.folder / name)
            for name in disk.list(paths.quarantine):
                if name.endswith(_ROWS):  # entries have these; damaged files are kept
                    disk.remove(paths.quarantine / name)
            for name in disk.list(new.folder):
                if name not in (new.lock.name, QUARANTINE):
                    disk.replace(new.folder / name, paths.folder / name)
            if names := disk.list(new.quarantine):
                disk.make_folders(paths.quarantine)
                for name in names:
                    disk.replace(new.quarantine / name, paths.quarantine / name)
            disk.sync_folder(paths.folder)
            lane.tainted.difference_update([one for one in lane.tainted if one[0] == lane.key])
            self._notes.keep(path, Note(note.position, *self.found(lane)))

    def _set_aside(self, paths: LanePaths, temp: Path, aside: Path) -> None:
        """Link all files of a series into another folder, which appears as a whole or not at all."""
        disk = self._disk
        for folder, _, names in os.walk(paths.folder):
            place = temp / Path(folder).relative_to(paths.folder)
            disk.make_folders(place)
            for name in names:
                if name != paths.lock.name:
                    link_or_copy(disk, Path(folder, name), place / name)
            disk.sync_folder(place)
        disk.make_folders(aside.parent)
        disk.replace(temp, aside)
        disk.sync_folder(aside.parent)

    def clear(self, lane: SeriesFiles, clock: Clock, value: Cleared) -> None:
        """Remove what an entry removes; ``clock`` shows the entry's time."""
        lane = replace(lane, clock=clock)
        if value.years is None:
            clear_lane(lane, self.no_old, self._lock_timeout_s, value.by)
        else:
            clear_years(lane, value.years, self.no_old, self._lock_timeout_s, value.by)
