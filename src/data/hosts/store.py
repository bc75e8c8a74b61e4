"""A store whose authoritative data is the shared log; its folder is a copy that can be deleted at any time.

A commit is first appended to the log, while its series is locked, and then applied to the folder by
the same code as in the cache of a single machine. Other hosts apply the same entries in the same
order, so their files are identical, byte for byte.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..cache.actions import ActionBook, Asked, dump_book, load_book
from ..cache.format.json_document import DamagedError
from ..cache.layout import QUARANTINE, LanePaths, Layout, decode_lane, encode_lane, encode_symbol
from ..cache.legacy.adopt import OldYears
from ..cache.read.lru_cache import DocumentCache
from ..cache.retention.clear import clear_lane, clear_years, holding
from ..cache.store import BarStore
from ..cache.values import Commit, CommitPiece, no_check
from ..cache.write.commit import CommitRun
from ..cache.write.coverage_update import by_year, year_span, years_of
from ..cache.write.series import SeriesFiles
from ..clock import Clock
from ..disk.atomic import link_or_copy, write_atomically
from ..errors import (
    CacheError,
    CorruptEntryError,
    FormatVersionError,
    LogUnreachableError,
    OvertakenError,
    QueryError,
    StorageError,
)
from ..model.actions import Action
from ..model.coverage import Covered
from ..model.series import SeriesKey
from ..model.span import Span, subtract
from ..model.symbol_changes import SymbolChange
from ..model.timeframe import Timeframe
from ..vendors.registry import is_sample
from . import book as books
from .entry import Changed, Cleared, Forgotten, SeriesName, Told, Value, applying
from .log import Appended, Entry, Facts, Log, Position
from .notes import Note, Notes

log = logging.getLogger(__name__)

_TRIES = 20
# Times that a series which changes while it is pulled is tried again.
_PULLS = 5
_ROWS = ".rows.csv.gz"
_ANEW, _ASIDE, _BEFORE = "anew", "aside", "before"


class _MovedError(Exception):
    """The log or the folder has moved to a different position; nothing was written."""


class _EntryClock:
    """A clock that shows an entry's time once it is known, and the host's time before that."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self.at_ms = clock, 0

    def now_ms(self) -> int:
        """Return the time of the entry, UTC milliseconds."""
        return self.at_ms or self._clock.now_ms()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)


def name_of(key: SeriesKey) -> SeriesName:
    """Return the name of a series in the log."""
    timeframe, _, lane = encode_lane(key).partition("@")
    return SeriesName(key.symbol, timeframe, lane)


def key_of(name: SeriesName) -> SeriesKey | None:
    """Return the series with a name in the log; None for a symbol's book, or an unknown name."""
    lane = f"{name.timeframe}@{name.lane}" if name.lane else name.timeframe
    return decode_lane(name.symbol, lane) if name.timeframe and _is_symbol(name.symbol) else None


def _is_symbol(text: str) -> bool:
    """Return whether a name in the log can be a symbol; another program may write anything there."""
    try:
        return bool(encode_symbol(text))
    except QueryError:
        return False


class SharedStore(BarStore):
    """A :class:`.BarStore` of one host among many. Thread-safe, and safe across processes.

    Series from folders of files and sample series stay on the host; see :meth:`is_shared`. While the
    server cannot be reached, reads work as usual and commits raise :class:`.LogUnreachableError`.

    Args:
        shared: The log.
        args, more: As for :class:`.BarStore`.
    """

    def __init__(self, shared: Log, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.shared = shared
        self.scope = ""  # series are the same on all hosts
        self.notes = Notes(self.root, self._disk)
        # Older tools' files are taken in when a folder is attached, and never by a commit.
        nowhere = Layout(self.notes.folder / "none")
        self._no_old = OldYears(nowhere, self._disk, DocumentCache(self._disk, self.memory))
        self._has_joined = False
        # Series whose files set aside are being offered by this process.
        self._offering: set[SeriesKey] = set()

    def is_shared(self, key: SeriesKey) -> bool:
        """Return whether a series is in the log: it is not a sample and not from a folder of files."""
        return not (self._is_preview or key.of_folder or key.is_sample or key.is_outdated)

    def position(self, key: SeriesKey) -> int | None:
        """Return the entry that the series shows; None for a series that is not shared."""
        return self._position(key).seq if self.is_shared(key) else None

    def _position(self, key: SeriesKey) -> Position:
        note = self.notes.read(self.notes.lane(key))
        return Position() if note is None else note.position

    # --- joining -----------------------------------------------------------------------------

    def check_joined(self, *, join: bool = True, is_attaching: bool = False) -> None:
        """Check that the folder belongs to this store; an empty folder joins it.

        Args:
            join: Whether a folder that belongs to no store is recorded as part of this one.
            is_attaching: Whether the folder may contain bars that were never attached.

        Raises:
            StorageError: The folder has bars that were never attached, or belongs to another store.
        """
        if self._has_joined:
            return
        store, mine = self.shared.store_id(), self.notes.store()
        is_attached = bool(mine or self.notes.symbols())
        has_own = not is_attached and any(self.is_shared(key) for key in self.held())
        if has_own and not is_attaching:
            raise StorageError(
                f"the cache folder {self.root} has bars that the shared store does not have",
                hint="run `onetape hosts attach` once, or name an empty folder",
            )
        if mine and mine != store:
            raise StorageError(
                f"the cache folder {self.root} belongs to another shared store",
                hint="name another folder, or run `onetape hosts detach` for this one",
            )
        if not mine and join:
            self.notes.join(store)
        self._has_joined = join

    def attach(self, symbol: str) -> int:
        """Offer the stored series of one symbol to the log; return how many spans were offered.

        Series that are already in the log are compared with it first. The original files are kept.
        """
        self._pull_book(symbol, self.shared.heads([(symbol, "")]).get(SeriesName(symbol)))
        keys = [key for key in self.attachable() if key.symbol == symbol]
        offered = sum([self._make_anew(key, keep=True) for key in keys])
        self.pull([(symbol, key.timeframe) for key in keys])
        return offered

    def attachable(self) -> list[SeriesKey]:
        """Return the folder's series that are in the log or may be, even if an attach was interrupted."""
        aside = Layout(self.notes.folder / _ASIDE).series(self._disk.list)
        return [key for key in dict.fromkeys((*self.held(), *aside)) if self.is_shared(key)]

    @contextmanager
    def rebuilt(self, key: SeriesKey) -> Iterator[Path]:
        """Yield a temporary cache folder with a series that is rebuilt from its log entries."""
        scratch = self.notes.folder / _ANEW / f"check-{os.getpid()}"
        try:
            self._built(key, scratch)
            yield scratch
        finally:
            self._disk.remove_whole(scratch)

    # --- the state of a folder -----------------------------------------------------------------

    def _found(self, lane: SeriesFiles) -> tuple[dict[int, int], int]:
        """Return the generations in a series' documents; -1 for incomplete or damaged ones."""
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

    def is_astray(self, key: SeriesKey) -> bool:
        """Return whether a series' files differ from the state in its note.

        Repairs, evictions, deleted files and interrupted commits cause this.
        """
        lane, note = self._lane(key), self.notes.read(self.notes.lane(key))
        return self._is_astray(lane, note or Note())

    def _is_astray(self, lane: SeriesFiles, note: Note) -> bool:
        years, series = self._found(lane)
        return (years, series) != (note.years, note.series) or -1 in (*years.values(), series)

    # --- commits -------------------------------------------------------------------------------

    def commit(
        self,
        key: SeriesKey,
        commit: Commit,
        wait_s: float = math.inf,
        check: Callable[[], object] = no_check,
        seen: int | None = None,
    ) -> None:
        """Append a commit to the log, and apply it; see :meth:`.BarStore.commit`.

        Raises:
            LogUnreachableError: The server cannot be reached; nothing was stored.
        """
        if not self.is_shared(key):
            super().commit(key, commit, wait_s, check)
            return
        commit.check()
        if commit.is_empty:
            return
        self.check_joined()
        # The state of local files means nothing elsewhere.
        commit = replace(commit, source=None)
        for _ in range(_TRIES):
            try:
                self._commit(key, commit, wait_s, check, seen)
            except _MovedError:
                self._pull_pair(key.symbol, key.timeframe)
                if seen is not None:
                    break
            else:
                return
        raise OvertakenError(
            f"another host has committed to {key}", symbol=key.symbol, hint="ask again"
        )

    def _commit(
        self,
        key: SeriesKey,
        commit: Commit,
        wait_s: float,
        check: Callable[[], object],
        seen: int | None,
    ) -> None:
        """Append and apply a commit.

        Raises:
            _MovedError: Nothing was written, because the position has changed.
        """
        lane, clock = self._lane(key), _EntryClock(self._clock)
        book_position, book = self._book(key.symbol)

        def append() -> Appended:
            """Append the commit to the log."""
            note = self.notes.read(self.notes.lane(key)) or Note()
            if seen not in (None, note.position.seq) or self._is_astray(lane, note):
                raise _MovedError
            made = self.shared.append(
                name_of(key), note.position, commit, book_position.seq, _facts(commit)
            )
            if made is None:
                raise _MovedError
            clock.at_ms = made.at_ms
            return made

        with self._guard.writing(lane.paths.folder), self.listener.committing(lane, commit):
            self.changed = True
            run = self._run(lane, commit, clock, book, append, check)
            run.run(min(wait_s, self._lock_timeout_s))
        self.commit_feed.announce(key, commit, run.generation, clock.at_ms)

    def _run(
        self,
        lane: SeriesFiles,
        commit: Commit,
        clock: _EntryClock,
        book: ActionBook,
        append: Callable[[], Appended],
        check: Callable[[], object] = no_check,
        *,
        is_noted: bool = True,
    ) -> CommitRun:
        """Return the run that applies an entry; it writes the note last."""
        made = list[Appended]()
        lane = replace(lane, clock=clock, book=book)
        run = CommitRun(lane, commit, self._no_old, check)

        def order() -> int:
            """Append the entry and return its number."""
            made.append(append())
            return made[0].position.seq

        def done() -> None:
            """Write the note, unless damage was found, which leaves the series astray."""
            if is_noted and run.generation == made[0].position.seq:
                note = Note(made[0].position, *self._found(lane))
                self.notes.keep(self.notes.lane(lane.key), note)

        run.order, run.done = order, done
        return run

    # --- pulls -----------------------------------------------------------------------------------

    def pull(self, pairs: Iterable[tuple[str, Timeframe]], *, is_first: bool = False) -> bool:
        """Update series from the log with one statement for all that are up to date.

        Raises:
            LogUnreachableError: The server cannot be reached; nothing was changed.
            CorruptEntryError, FormatVersionError: An entry cannot be read; other series are up to
                date.
            StorageError: A file cannot be written, or the folder belongs to another store.
        """
        wanted = dict.fromkeys(pairs)
        if self._is_preview or not wanted:
            return False
        if is_first:
            wanted = {pair: None for pair in wanted if not self._has_asked(*pair)}
            if not wanted:
                return False
        self.check_joined()
        names = [(symbol, encode_lane(SeriesKey(symbol, frame))) for symbol, frame in wanted]
        symbols = dict.fromkeys(symbol for symbol, _ in names)
        heads = self.shared.heads([*names, *((symbol, "") for symbol in symbols)])
        is_changed, errors = False, list[CacheError]()
        for symbol in symbols:
            with _collecting(errors):
                is_changed |= self._pull_book(symbol, heads.get(SeriesName(symbol)))
        lanes: dict[SeriesKey, Position | None] = {}
        for symbol, frame in wanted:
            lanes |= dict.fromkeys(self._lanes_of(symbol, frame))
        for name, head in heads.items():
            key = key_of(name)
            if key is not None and self.is_shared(key):
                lanes[key] = head
        is_changed |= self._pull_lanes(lanes, errors)
        if errors:
            raise errors[0]
        return is_changed

    def _has_asked(self, symbol: str, timeframe: Timeframe) -> bool:
        """Return whether the folder has a note for any series of a symbol and timeframe."""
        return any(key.timeframe == timeframe for key in self.notes.keys(symbol))

    def _pull_pair(self, symbol: str, timeframe: Timeframe) -> None:
        self.pull([(symbol, timeframe)])

    def _lanes_of(self, symbol: str, timeframe: Timeframe) -> Iterator[SeriesKey]:
        """Yield the shared series of a symbol and timeframe that the folder has."""
        beside = self.lanes_beside(symbol, timeframe)
        for key in dict.fromkeys([SeriesKey(symbol, timeframe), *beside, *self.notes.keys(symbol)]):
            if key.timeframe != timeframe or not self.is_shared(key):
                continue
            is_here = self.notes.read(self.notes.lane(key)) or self._lane(key).years()
            if is_here or self._aside_of(key):
                yield key

    def _pull_lanes(
        self, lanes: dict[SeriesKey, Position | None], errors: list[CacheError]
    ) -> bool:
        """Bring series to their latest entries; return whether any changed."""
        is_changed, behind = False, dict[SeriesName, SeriesKey]()
        for key, head in lanes.items():
            note = self.notes.read(self.notes.lane(key))
            is_empty = not self._lane(key).years() and not self._aside_of(key)
            if note is None and head is None and is_empty:
                continue
            is_waiting = self._aside_of(key) and key not in self._offering
            if note is not None and not is_waiting and not self._is_astray(self._lane(key), note):
                if note.position != (head or Position()):
                    behind[name_of(key)] = key
                continue
            if note is None and is_empty:
                behind[name_of(key)] = (
                    key  # never seen here: its entries are applied from the first
                )
                continue
            with _collecting(errors):
                self._make_anew(key)
                is_changed = True
        for _ in range(1 + _TRIES * 100):
            if not behind:
                break
            is_changed = True
            behind = self._pull_behind(behind, errors)
        return is_changed

    def _pull_behind(
        self, behind: dict[SeriesName, SeriesKey], errors: list[CacheError]
    ) -> dict[SeriesName, SeriesKey]:
        """Apply the next entries of series; return those that may have more."""
        left: dict[SeriesName, SeriesKey] = {}
        for found in self.shared.since({name: self._position(key) for name, key in behind.items()}):
            key = behind[found.name]
            with _collecting(errors):
                if found.is_lost:
                    self._make_anew(key, is_lost=True)
                elif not all(self._apply(key, entry) for entry in found.entries):
                    self._make_anew(key)
                if found.error is not None:
                    errors.append(found.error)
                elif found.is_lost or found.entries:
                    left[found.name] = key
        return left

    def _apply(self, key: SeriesKey, entry: Entry) -> bool:
        """Apply one entry to the folder; return False if the folder has gone astray."""
        lane, clock = self._lane(key), _EntryClock(self._clock)
        if isinstance(entry.value, Cleared):
            return self._apply_cleared(key, entry.value, entry)
        assert isinstance(entry.value, Commit)

        def append() -> Appended:
            """Check that the folder shows the entry before this one."""
            note = self.notes.read(self.notes.lane(key)) or Note()
            if note.position.seq != entry.position.seq - 1 or self._is_astray(lane, note):
                raise _MovedError
            clock.at_ms = entry.at_ms
            return Appended(entry.position, entry.at_ms)

        book = self._book_at(key.symbol, entry.book)
        try:
            with (
                applying(name_of(key), entry.position.seq),
                self._guard.writing(lane.paths.folder),
                self.listener.committing(lane, entry.value),
            ):
                run = self._run(lane, entry.value, clock, book, append)
                run.run(self._lock_timeout_s)
        except _MovedError:
            # Another process may have applied it.
            return self._position(key).seq >= entry.position.seq
        self.commit_feed.announce(key, entry.value, run.generation, entry.at_ms)
        return True

    # --- a series made anew ------------------------------------------------------------------

    def _make_anew(self, key: SeriesKey, *, is_lost: bool = False, keep: bool = False) -> int:
        """Rebuild a series' files from the log's entries; return the number of spans offered.

        Bars that the log lacks are offered to it if the server lost them, or if the folder was
        filled without the log.

        Args:
            key: Series.
            is_lost: Whether the log has lost the entry that the folder shows.
            keep: Whether the old files are kept afterwards, because the user stored them without
                the log.
        """
        lane, path = self._lane(key), self.notes.lane(key)
        self._disk.make_folders(path.parent)
        with self._disk.lock(path.with_suffix(".lock"), self._lock_timeout_s):
            note = self.notes.read(path)
            is_waiting = self._aside_of(key)
            if not (is_lost or is_waiting or note is None or self._is_astray(lane, note)):
                return 0  # another process has made it anew
            is_offered = is_lost or is_waiting or note is None
            scratch = self.notes.folder / _ANEW / path.parent.name / path.stem
            self._disk.remove_whole(scratch)  # of a process that was killed
            made = self._built(key, scratch)
            self._swap(lane, scratch, path, made, is_kept=is_offered)
            self._disk.remove_whole(scratch)
            self._sidecars.drop(key)
        log.warning("%s: made anew from the shared store", key)
        self._offering.add(key)
        try:
            offered = self._offer(key) if is_offered else 0
        finally:
            self._offering.discard(key)
        if offered and is_lost:
            log.warning(
                "%s: the server had lost stored bars; %s spans were offered again", key, offered
            )
        if is_offered:
            aside = self._place(_ASIDE, key)
            if keep and self._disk.stat(aside) is not None:
                before = self._place(_BEFORE, key)
                self._disk.make_folders(before.parent)
                self._disk.remove_whole(before)
                self._disk.replace(aside, before)
            else:
                self._disk.remove_whole(aside)
        return offered

    def _place(self, name: str, key: SeriesKey) -> Path:
        return Layout(self.notes.folder / name).lane(key).folder

    def _aside_of(self, key: SeriesKey) -> bool:
        """Return whether a series has files left to offer, because an offer was interrupted."""
        return self._disk.stat(self._place(_ASIDE, key)) is not None

    def _built(self, key: SeriesKey, scratch: Path) -> Note:
        """Apply all entries of a series in an empty folder; return its note."""
        store = BarStore(
            scratch,
            self._disk,
            self._clock,
            vendor_facts=self._vendor_facts,
            retention=self._retention,
        )
        lane, name, note = store.parts.lane(key), name_of(key), Note()
        while entries := self.shared.after(name, note.position):
            for entry in entries:
                with applying(name, entry.position.seq):
                    self._build(lane, entry)
                note = Note(entry.position, *self._found(lane))
        return note

    def _build(self, lane: SeriesFiles, entry: Entry) -> None:
        """Apply an entry to a series that is built in a folder of its own."""
        clock = _EntryClock(self._clock)
        clock.at_ms = entry.at_ms
        if isinstance(entry.value, Cleared):
            if self._disk.stat(lane.paths.folder) is not None:
                _clear(lane, clock, entry.value, self._no_old, self._lock_timeout_s)
            return
        assert isinstance(entry.value, Commit)
        book = self._book_at(lane.key.symbol, entry.book)
        made = partial(Appended, entry.position, entry.at_ms)
        self._run(lane, entry.value, clock, book, made, is_noted=False).run(self._lock_timeout_s)

    def _swap(
        self, lane: SeriesFiles, scratch: Path, path: Path, note: Note, *, is_kept: bool
    ) -> None:
        """Replace a series' files with new ones; if ``is_kept`` is set, set the old ones aside."""
        disk, paths, new = self._disk, lane.paths, Layout(scratch).lane(lane.key)
        aside = self._place(_ASIDE, lane.key)
        disk.make_folders(paths.folder)
        with disk.lock(paths.lock, self._lock_timeout_s):
            if is_kept and disk.stat(aside) is None:
                self._set_aside(paths, scratch / "kept", aside)
            # If this is interrupted from here on, it begins again with the files set aside.
            self.notes.drop(path)
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
            self.notes.keep(path, Note(note.position, *self._found(lane)))

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

    def _offer(self, key: SeriesKey) -> int:
        """Commit bars from set-aside files for spans that the log lacks; return their number."""
        offered, aside = 0, BarStore(self.notes.folder / _ASIDE, self._disk, self._clock)
        try:
            view = aside.view(key)
        except FormatVersionError:
            raise
        except CacheError as error:
            log.warning("%s: files set aside cannot be read: %s", key, error)
            return 0
        if view.coverage:
            first, last = view.coverage[0].span.start, view.coverage[-1].span.end
            for year in years_of(Span(first, last)):
                offered += self._offer_year(key, aside, year_span(year))
        facts = {name: fact for name, fact in view.known_facts().items() if name != "source"}
        now = self.view(key).known_facts()
        if lacking := {name: fact for name, fact in facts.items() if name not in now}:
            self.commit(key, Commit(**lacking))
        return offered

    def _offer_year(self, key: SeriesKey, aside: BarStore, year: Span) -> int:
        for _ in range(_TRIES):
            seen = self.position(key)
            known = [part.span for part in self.view(key).coverage.within(year)]
            table, coverage = aside.read(key, year)
            pieces: list[CommitPiece] = []
            marks: list[Covered] = []
            for part in coverage.opened():
                for span in subtract([part.span], known):
                    rows = table.within(span)
                    if part.state == "final" or part.state == "provisional":
                        pieces.append(_piece(part, span, part.state, rows))
                        continue
                    if len(rows):
                        pieces.append(_piece(part, span, "provisional", rows))
                    marks.append(part.at(span))
            if not pieces and not marks:
                return 0
            try:
                self.commit(key, Commit(tuple(pieces), tuple(marks)), seen=seen)
            except OvertakenError:
                continue
            return len(pieces) + len(marks)
        raise OvertakenError(f"other hosts keep committing to {key}", symbol=key.symbol)

    # --- splits, dividends, names ----------------------------------------------------------------

    def _book_file(self, symbol: str) -> bytes | None:
        return self._disk.read_if_exists(self._layout.actions(symbol))

    def _stored_book(self, symbol: str) -> tuple[Note, ActionBook] | None:
        """Return the note and content of a symbol's book; None if they do not match."""
        note, data = self.notes.read(self.notes.book(symbol)), self._book_file(symbol)
        if note is None:
            return None if data is not None else (Note(), ActionBook())
        if note.digest != _digest(data):
            return None
        return note, ActionBook() if data is None else load_book(data, symbol)

    def _book(self, symbol: str) -> tuple[Position, ActionBook]:
        """Return a symbol's book, and its position in the log."""
        for _ in range(_PULLS):
            stored = self._stored_book(symbol)
            if stored is not None:
                return stored[0].position, stored[1]
            self._pull_book(symbol, self.shared.heads([(symbol, "")]).get(SeriesName(symbol)))
        raise OvertakenError(f"the splits and dividends of {symbol} keep changing", symbol=symbol)

    def _book_at(self, symbol: str, seq: int) -> ActionBook:
        """Return a symbol's book after one of its entries."""
        stored = self._stored_book(symbol)
        if stored is not None and stored[0].position.seq == seq:
            return stored[1]
        book, position = ActionBook(), Position()
        while position.seq < seq:
            entries = self.shared.after(SeriesName(symbol), position)
            if not entries:
                raise CorruptEntryError(
                    f"the log has lost the splits and dividends of {symbol}", symbol=symbol
                )
            for entry in entries:
                if entry.position.seq <= seq:
                    with applying(SeriesName(symbol), entry.position.seq):
                        book, position = books.after(book, entry.value), entry.position
                else:
                    return book
        return book

    def _pull_book(self, symbol: str, head: Position | None) -> bool:
        """Bring a symbol's book to its latest entry; return whether it changed."""
        stored = self._stored_book(symbol)
        if stored is not None and stored[0].position == (head or Position()):
            return False
        name, folder = SeriesName(symbol), self._layout.symbol(symbol)
        self._disk.make_folders(folder)
        with self._disk.lock(folder / ".lock", self._lock_timeout_s):
            stored = self._stored_book(symbol)
            own = ActionBook() if stored else self._unattached_book(symbol)
            note, book = stored or (Note(), ActionBook(samples=own.samples))
            position, offered = note.position, list[Value]()
            if stored is None and self.notes.read(self.notes.book(symbol)) is None:
                offered = list(books.offers(own))
            while True:
                entries = self.shared.after(name, position)
                if entries is None:  # the server lost them; vendors are queried again
                    book, position = ActionBook(samples=book.samples), Position()
                    continue
                for entry in entries:
                    with applying(name, entry.position.seq):
                        if isinstance(entry.value, Told):
                            self._drop_confirmations(
                                symbol, entry.value.actions, entry.value.answer
                            )
                        book, position = books.after(book, entry.value), entry.position
                if entries:
                    continue
                if not offered:
                    break
                # Repeated after an interruption: the same answer twice is one.
                if self.shared.append(name, position, offered[0]) is not None:
                    del offered[0]
            self._keep_book(symbol, book, position)
        return True

    def _unattached_book(self, symbol: str) -> ActionBook:
        """Return a book that was stored without the log; empty if there is none or it is damaged."""
        data = self._book_file(symbol)
        try:
            return ActionBook() if data is None else load_book(data, symbol)
        except DamagedError:
            return ActionBook()

    def _keep_book(self, symbol: str, book: ActionBook, position: Position) -> None:
        path, data = Path(self._layout.actions(symbol)), None
        if book == ActionBook():
            self._disk.remove(path)
        else:
            data = dump_book(symbol, book)
            write_atomically(self._disk, path, data)
        self._memory.forget(path)
        self.notes.keep(self.notes.book(symbol), Note(position, digest=_digest(data)))

    def _tell(self, symbol: str, value: Value) -> ActionBook:
        """Append an entry to a symbol's book, and apply it."""
        self.check_joined()
        name = SeriesName(symbol)
        with self._guard.writing(self._layout.symbol(symbol)):
            for _ in range(_TRIES):
                position, _book = self._book(symbol)
                made = self.shared.append(name, position, value)
                head = made and made.position
                self._pull_book(symbol, head or self.shared.heads([(symbol, "")]).get(name))
                if made is not None:
                    return self._book(symbol)[1].by(self._clock.now_ms())
        raise OvertakenError(f"the splits and dividends of {symbol} keep changing", symbol=symbol)

    def add_actions(
        self,
        symbol: str,
        actions: Sequence[Action],
        dates: Span,
        source: str,
        fetched_at: int,
        until: int | None = None,
        wait_s: float = math.inf,
    ) -> ActionBook:
        """Append a vendor's answer to the symbol's book; see :meth:`.BarStore.add_actions`.

        A sample vendor's answer stays on this host, as its bars do.
        """
        told = Told(tuple(actions), Asked(dates, source, fetched_at, until))
        return self._keep_sample(symbol, told) if is_sample(source) else self._tell(symbol, told)

    def forget_actions(self, symbol: str, source: str, wait_s: float = math.inf) -> None:
        """Remove a sample vendor's reports; see :meth:`.BarStore.forget_actions`."""
        self._keep_sample(symbol, Forgotten(source))

    def _keep_sample(self, symbol: str, value: Told | Forgotten) -> ActionBook:
        """Change the sample data in this host's copy of a symbol's book."""
        self.check_joined()
        folder = self._layout.symbol(symbol)
        with self._guard.writing(folder):
            for _ in range(_PULLS):
                self._book(symbol)  # made anew if it is damaged
                self._disk.make_folders(folder)
                with self._disk.lock(folder / ".lock", self._lock_timeout_s):
                    if (stored := self._stored_book(symbol)) is not None:
                        book = books.after(stored[1], value)
                        self._keep_book(symbol, book, stored[0].position)
                        return book.by(self._clock.now_ms())
        raise OvertakenError(f"the splits and dividends of {symbol} keep changing", symbol=symbol)

    def record_changes(self, symbol: str, changes: Sequence[SymbolChange]) -> bool:
        """Replace the recorded changes; see :meth:`.BarStore.record_changes`."""
        self.check_joined()
        self._pull_book(symbol, self.shared.heads([(symbol, "")]).get(SeriesName(symbol)))
        before = self._book(symbol)[1].changes
        if books.after(ActionBook(changes=before), Changed(tuple(changes))).changes == before:
            return False
        self._tell(symbol, Changed(tuple(changes)))
        return True

    # --- removals --------------------------------------------------------------------------------

    def clear(
        self,
        symbol: str | None = None,
        timeframe: Timeframe | None = None,
        *,
        by: str = "clear",
    ) -> None:
        """Remove bars on all hosts; see :meth:`.BarStore.clear`."""
        self.check_joined()
        heads = self.shared.all_heads()
        names = {name.symbol for name in heads if _is_symbol(name.symbol)}
        names |= {key.symbol for key in self.held()}
        for one in sorted(names if symbol is None else {symbol}):
            keys = [
                key for name in heads if (key := key_of(name)) is not None and key.symbol == one
            ]
            for key in keys:
                if timeframe in (None, key.timeframe) and self.is_shared(key):
                    self._remove(key, Cleared(by))
            if timeframe is None and SeriesName(one) in heads:
                self._tell(one, Cleared(by))
        super().clear(symbol, timeframe, by=by)  # what is not shared

    def clear_years(
        self,
        key: SeriesKey,
        years: Iterable[int],
        *,
        by: str = "clear",
        closed_by: int | None = None,
        wait_s: float | None = None,
    ) -> int:
        """Remove years on all hosts; see :meth:`.BarStore.clear_years`."""
        wanted = list(years)
        if not self.is_shared(key):
            return super().clear_years(key, wanted, by=by, closed_by=closed_by, wait_s=wait_s)
        self.check_joined()
        self._pull_pair(key.symbol, key.timeframe)
        lane = self._lane(key)
        held = {year: holding(lane, year, {}, self._no_old) for year in wanted}
        if closed_by is not None:
            wanted = [y for y in wanted if (one := held[y]) and one.closed_ms <= closed_by]
        if not wanted:
            return 0
        removed = sum(self._disk.stat(lane.paths.data(year)) is not None for year in wanted)
        self._remove(key, Cleared(by, tuple(wanted)))
        return removed

    def _remove(self, key: SeriesKey, value: Cleared) -> None:
        for _ in range(_TRIES):
            self._pull_pair(key.symbol, key.timeframe)
            made = self.shared.append(name_of(key), self._position(key), value)
            if made is not None:
                if not self._apply_cleared(key, value, made):
                    self._pull_pair(key.symbol, key.timeframe)
                return
        raise OvertakenError(f"other hosts keep committing to {key}", symbol=key.symbol)

    def _apply_cleared(self, key: SeriesKey, value: Cleared, made: Appended | Entry) -> bool:
        """Apply a removal; return False if the folder has gone astray."""
        lane, path, clock = self._lane(key), self.notes.lane(key), _EntryClock(self._clock)
        note = self.notes.read(path) or Note()
        if note.position.seq >= made.position.seq:
            return True
        if note.position.seq != made.position.seq - 1 or self._is_astray(lane, note):
            return False
        clock.at_ms = made.at_ms
        with applying(name_of(key), made.position.seq), self._guard.writing(lane.paths.folder):
            self._disk.make_folders(lane.paths.folder)
            _clear(lane, clock, value, self._no_old, self._lock_timeout_s)
            with self._disk.lock(lane.paths.lock, self._lock_timeout_s):
                # Another process may have applied this entry and later ones meanwhile.
                if (self.notes.read(path) or Note()).position == note.position:
                    self.notes.keep(path, Note(made.position, *self._found(lane)))
        self._sidecars.drop(key)
        return True


@contextmanager
def _collecting(errors: list[CacheError]) -> Iterator[None]:
    """Collect an error that concerns one series; an unreachable server ends the pull."""
    try:
        yield
    except (LogUnreachableError, OvertakenError):
        raise
    except CacheError as error:
        errors.append(error)


def _clear(
    lane: SeriesFiles, clock: Clock, value: Cleared, old: OldYears, lock_timeout_s: float
) -> None:
    lane = replace(lane, clock=clock)
    if value.years is None:
        clear_lane(lane, old, lock_timeout_s, value.by)
    else:
        clear_years(lane, value.years, old, lock_timeout_s, value.by)


def _facts(commit: Commit) -> Facts:
    spans = [piece.span for piece in commit.pieces]
    return Facts(
        tuple(by_year(commit)),
        min((span.start for span in spans), default=None),
        max((span.end for span in spans), default=None),
        sum(len(piece.table) for piece in commit.pieces),
        ",".join(dict.fromkeys(piece.vendor for piece in commit.pieces)),
    )


def _piece(part: Covered, span: Span, state: Any, rows: Any) -> CommitPiece:
    return CommitPiece(
        rows, span, part.vendor, part.fetched_at, part.kind, part.basis, state, splices=part.splices
    )


def _digest(data: bytes | None) -> str:
    return "" if data is None else sha256(data).hexdigest()
