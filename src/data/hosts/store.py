"""A store whose authoritative data is the shared log; its folder is a copy that can be deleted at any time.

A commit is first appended to the log, while its series is locked, and then applied to the folder by
the same code as in the cache of a single machine. Other hosts apply the same entries in the same
order, so their files are identical, byte for byte.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..cache.actions import ActionBook, Asked
from ..cache.layout import decode_lane, encode_lane
from ..cache.retention.clear import bars_in, clear_lane, clear_symbol
from ..cache.store import BarStore
from ..cache.values import Commit, no_check
from ..cache.write.coverage_update import year_span, years_of
from ..errors import (
    CacheError,
    CorruptEntryError,
    DataError,
    FormatVersionError,
    KindMismatchError,
    LockTimeoutError,
    LogUnreachableError,
    OvertakenError,
    QueryError,
    StorageError,
)
from ..model.actions import Action
from ..model.bars import BarTable
from ..model.coverage import Coverage
from ..model.retention import Age
from ..model.series import SeriesKey
from ..model.span import Span
from ..model.symbol_changes import SymbolChange
from ..model.timeframe import Timeframe
from ..vendors.registry import is_sample
from .claim import FolderClaim
from .decisions import facts_of, is_symbol, key_of, lacking, name_of, overtaken
from .entry import (
    ReportedActions,
    SamplesForgotten,
    SeriesCleared,
    SeriesName,
    SymbolChanges,
    applying,
)
from .lanes import EntryClock, LaneCopies
from .log import AppendedEntry, Facts, Log, LogEntry, LogPosition
from .notes import Note, Notes
from .snapshot import EVERY, is_long
from .snapshot_log import Snapshots
from .symbol_books import SymbolBooks

log = logging.getLogger(__name__)

# Times that a series which other hosts change all the time is tried again.
_TRIES = 20
_KEEP = Age(30, "d")


class _MovedError(Exception):
    """The log or the folder has moved to a different position; nothing was written."""


class SharedStore(BarStore):
    """A :class:`.BarStore` of one host among many. Thread-safe, and safe across processes.

    Series from folders of files and sample series stay on the host; see :meth:`is_shared`. While the
    server cannot be reached, reads work as usual and commits raise :class:`.LogUnreachableError`.

    Args:
        shared: The log.
        keep: Age from which entries that a snapshot covers are removed from the log; None keeps all.
        args, more: As for :class:`.BarStore`.

    Attributes:
        shared: The log.
        snapshots: Snapshots that bound it.
        notes: Notes of the folder.
        left_out: Maps each series with bars that could not be offered to the reason.
    """

    def __init__(self, shared: Log, *args: Any, keep: Age | None = _KEEP, **more: Any) -> None:
        super().__init__(*args, **more)
        self.shared, self.snapshots, self._keep = shared, Snapshots(shared), keep
        self.scope = ""  # series are the same on all hosts
        self.notes = Notes(self.root, self._disk)
        self._claim = FolderClaim(self.root, self.notes.folder, self._disk)
        self._books = SymbolBooks(
            shared,
            self.notes,
            self._layout,
            self._disk,
            self._documents,
            self._guard,
            self._clock,
            self._lock_timeout_s,
            self._drop_confirmations,
        )
        self._copies = LaneCopies(
            shared,
            self.notes,
            self._books,
            self.snapshots,
            self._disk,
            self._documents,
            self._clock,
            self._lock_timeout_s,
            self._vendor_facts,
            self._retention,
        )
        self._has_joined = False
        self.left_out: dict[SeriesKey, str] = {}
        # Series whose files set aside are being offered by this process.
        self._offering: set[SeriesKey] = set()

    def is_shared(self, key: SeriesKey) -> bool:
        """Return whether a series is in the log: it is not a sample and not from a folder of files."""
        return not (self._is_preview or key.of_folder or key.is_sample)

    def position(self, key: SeriesKey) -> int | None:
        """Return the entry that the series shows; None for a series that is not shared."""
        return self._position(key).seq if self.is_shared(key) else None

    def _position(self, key: SeriesKey) -> LogPosition:
        note = self.notes.read(self.notes.lane(key))
        return LogPosition() if note is None else note.position

    # --- joining -----------------------------------------------------------------------------

    def check_joined(self, *, join: bool = True, is_attaching: bool = False) -> None:
        """Check that the folder belongs to this store; an empty folder joins it.

        Args:
            join: Whether a folder that belongs to no store is recorded as part of this one.
            is_attaching: Whether the folder may contain bars that were never attached.

        Raises:
            StorageError: The folder has bars that were never attached, belongs to another store, or is
                in use by another machine.
        """
        self._claim.check(renew=join)
        # If the folder was detached meanwhile, it belongs to no store.
        if self._has_joined and self.notes.store():
            return
        store, mine = self.shared.store_id(), self.notes.store()
        noted = {mine} if mine else self.notes.stores_noted()
        if noted - {store}:
            raise StorageError(
                f"the cache folder {self.root} belongs to another shared store",
                hint="name another folder, or run `onetape hosts detach` for this one",
            )
        if not noted and self.notes.symbols():
            raise StorageError(
                f"the cache folder {self.root} belongs to a shared store, and which one was lost",
                hint="run `onetape hosts detach`, then `onetape hosts attach`",
            )
        has_own = not noted and any(self.is_shared(key) for key in self.keys())
        if has_own and not is_attaching:
            raise StorageError(
                f"the cache folder {self.root} has bars that the shared store does not have",
                hint="run `onetape hosts attach` once, or name an empty folder",
            )
        if join:
            self.notes.join(store)
        self._has_joined = join

    def attach(self, symbol: str) -> int:
        """Offer the stored series of one symbol to the log; return how many spans were offered.

        Series that are already in the log are compared with it first. The original files are kept.
        """
        self._books.update(symbol)
        keys = [key for key in self.attachable() if key.symbol == symbol]
        offered = sum([self._make_anew(key, keep=True) for key in keys])
        self.pull([(symbol, key.timeframe) for key in keys])
        return offered

    def attachable(self) -> list[SeriesKey]:
        """Return the folder's series that are in the log or may be, even if an attach was interrupted."""
        keys = dict.fromkeys((*self.keys(), *self._copies.set_aside()))
        return [key for key in keys if self.is_shared(key)]

    @contextmanager
    def rebuilt(self, key: SeriesKey, until: int | None = None) -> Iterator[tuple[Path, int]]:
        """Yield a temporary cache folder with a series made by the server only, and its latest entry.

        With ``until``, the series is as after that entry; if that is no longer possible, the second
        value is 0.
        """
        name = f"check-{os.getpid()}-{threading.get_ident()}"
        scratch = self.notes.folder / "anew" / name
        self._disk.remove_whole(scratch)  # of a process that was killed
        self._books.forget()  # nothing was pulled, so the server may have another history
        try:
            made = self._copies.built(key, scratch, until=until)
            yield scratch, made.position.seq
        finally:
            self._disk.remove_whole(scratch)

    def is_astray(self, key: SeriesKey) -> bool:
        """Return whether a series' files differ from the state in its note.

        Repairs, evictions, deleted files and interrupted commits cause this.
        """
        try:
            return self._valid_note(key) is None
        except (LockTimeoutError, StorageError):
            return True  # it is being made anew, or the folder is read-only

    def _valid_note(self, key: SeriesKey) -> Note | None:
        """Return the note of a series if its files are those that it describes; None if they differ.

        The note is empty if there is nothing. If another process is writing to the series, its end is
        waited for.
        """
        lane, path = self._lane(key), self.notes.lane(key)
        for wait in (nullcontext, partial(self._disk.lock, lane.paths.lock, self._lock_timeout_s)):
            with wait():
                note = self.notes.read(path) or Note()
                if not self._copies.is_astray(lane, note):
                    return note
            if self._disk.stat(lane.paths.folder) is None:
                break
        return None

    # --- commits -------------------------------------------------------------------------------

    def commit(
        self,
        key: SeriesKey,
        commit: Commit,
        wait_s: float = math.inf,
        check: Callable[[], object] = no_check,
        based_on: int | None = None,
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
                seq = self._commit(key, commit, wait_s, check, based_on)
            except _MovedError:
                self.pull([(key.symbol, key.timeframe)])
                if based_on is not None:
                    break
            else:
                if seq % EVERY == 0:
                    self.snapshot(key)
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
        based_on: int | None,
    ) -> int:
        """Append and apply a commit; return the number of the entry.

        Raises:
            _MovedError: Nothing was written, because the position has changed.
        """
        lane, clock = self._lane(key), EntryClock(self._clock)
        book_position, book = self._books.now(key.symbol)

        def append() -> AppendedEntry:
            """Append the commit to the log."""
            note = self.notes.read(self.notes.lane(key)) or Note()
            if based_on not in (None, note.position.seq) or self._copies.is_astray(lane, note):
                raise _MovedError
            made = self.shared.append(
                name_of(key), note.position, commit, book_position.seq, facts_of(commit)
            )
            if made is None:
                raise _MovedError
            clock.at_ms = made.at_ms
            return made

        with self._guard.writing(lane.paths.folder), self.listener.committing(lane, commit):
            self.changed = True
            run = self._copies.run(lane, commit, clock, book, append, check)
            run.run(min(wait_s, self._lock_timeout_s))
        self.commit_feed.announce(key, commit, run.generation, clock.at_ms)
        return run.generation

    def snapshot(self, key: SeriesKey, entries: int = EVERY, size: int = 0) -> bool:
        """Make a snapshot of a series, and prune the log; return whether there is a new one.

        A failure is reported, not raised: without a snapshot, the log keeps its entries. See
        :meth:`.LaneCopies.make_snapshot` for the arguments.
        """
        try:
            is_new = self._copies.make_snapshot(self._lane(key), entries, size)
            if is_new and self._keep is not None:
                now_ms = self._clock.now_ms()
                self.snapshots.prune(now_ms - self._keep.before(now_ms))
        except CacheError as error:
            log.warning("%s: no snapshot was made: %s", key, error)
            return False
        return is_new

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
            noted = {symbol: {k.timeframe for k in self.notes.keys(symbol)} for symbol, _ in wanted}
            wanted = {pair: None for pair in wanted if pair[1] not in noted[pair[0]]}
            if not wanted:
                return False
        self.check_joined()
        names = [(symbol, encode_lane(SeriesKey(symbol, frame))) for symbol, frame in wanted]
        symbols = dict.fromkeys(symbol for symbol, _ in names)
        heads = self.shared.heads([*names, *((symbol, "") for symbol in symbols)])
        is_changed, errors = False, list[CacheError]()
        for symbol in symbols:
            with _collect_errors(errors):
                is_changed |= self._books.pull(symbol, heads.get(SeriesName(symbol)))
        lanes: dict[SeriesKey, LogPosition | None] = {}
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

    def elsewhere(self) -> dict[SeriesKey, int]:
        """Return the series of the log that this folder does not have; see :meth:`.BarStore.elsewhere`.

        Series whose latest entry removes all of their bars are left out.

        Raises:
            LogUnreachableError: The server cannot be reached.
            StorageError: The folder does not belong to this store.
        """
        self.check_joined(join=False)
        times = self.shared.latest_times()
        here = {
            *self.keys(),
            *(k for s in self.notes.symbols() for k in self.notes.keys(s)),
        }
        keys = {key_of(name): at_ms for name, at_ms in times.items()}
        return {
            key: at_ms
            for key, at_ms in keys.items()
            if key is not None and key not in here and self.is_shared(key)
        }

    def _lanes_of(self, symbol: str, timeframe: Timeframe) -> Iterator[SeriesKey]:
        """Yield the shared series of a symbol and timeframe that the folder has."""
        beside = self.lanes_beside(symbol, timeframe)
        for key in dict.fromkeys([SeriesKey(symbol, timeframe), *beside, *self.notes.keys(symbol)]):
            if key.timeframe != timeframe or not self.is_shared(key):
                continue
            is_here = self.notes.read(self.notes.lane(key)) or self._lane(key).years()
            if is_here or self._copies.is_waiting(key):
                yield key

    def _pull_lanes(
        self, lanes: dict[SeriesKey, LogPosition | None], errors: list[CacheError]
    ) -> bool:
        """Bring series to their latest entries; return whether any changed."""
        is_changed, behind = False, dict[SeriesName, SeriesKey]()
        far: dict[SeriesName, LogPosition] = {}
        for key, head in lanes.items():
            with _collect_errors(errors):
                note, is_waiting = self._valid_note(key), self._copies.is_waiting(key)
                if note is None or (is_waiting and key not in self._offering):
                    self._make_anew(key)
                    is_changed = True
                elif note.position != (head or LogPosition()):
                    behind[name_of(key)], seen = key, note.position
                    if not seen.seq or (head is not None and head.seq - seen.seq > EVERY):
                        far[name_of(key)] = seen
        if far:
            self._use_snapshots(far, behind, errors)
        applied = dict.fromkeys(behind.values(), (0, 0))
        for _ in range(1 + _TRIES * 100):
            if not behind:
                break
            is_changed = True
            behind = self._pull_behind(behind, applied, errors)
        self._check_heads(lanes, applied, errors)
        for key, (entries, size) in applied.items():
            if is_long(entries // 2, size):
                self.snapshot(key, entries, size)
        return is_changed

    def _use_snapshots(
        self,
        far: dict[SeriesName, LogPosition],
        behind: dict[SeriesName, SeriesKey],
        errors: list[CacheError],
    ) -> None:
        """Bring series that are new here, or far behind, to their snapshots if they have one.

        A series whose entry the log never had is left alone: its server was restored.
        """
        new, pruned = {}, dict[SeriesName, int]()
        for name, copy in self.snapshots.find(far).items():
            key, seen, pruned[name] = behind[name], far[name], copy.pruned
            if copy.snapshot is None:
                if copy.pruned > seen.seq and copy.error is not None:
                    errors.append(copy.error)
                    del behind[name]
            elif not seen.seq and self.notes.read(self.notes.lane(key)) is None:
                new[name] = self._lane(key), copy.snapshot
            elif copy.is_known and copy.snapshot.position.seq > seen.seq:
                with _collect_errors(errors):
                    self._make_anew(key, seen=seen, is_far=True)
        for name, error in self._copies.restore(new).items():
            if pruned[name]:
                errors.append(error)
                del behind[name]
            else:
                log.warning("%s: made from all entries: %s", behind[name], error)

    def _pull_behind(
        self,
        behind: dict[SeriesName, SeriesKey],
        applied: dict[SeriesKey, tuple[int, int]],
        errors: list[CacheError],
    ) -> dict[SeriesName, SeriesKey]:
        """Apply the next entries of series, and count them; return those that may have more."""
        left: dict[SeriesName, SeriesKey] = {}
        shown = {name: self._position(key) for name, key in behind.items()}
        for reply in self.shared.since(shown):
            key, seen = behind[reply.name], shown[reply.name]
            with _collect_errors(errors):
                if reply.is_lost:
                    is_far = self._is_pruned(reply.name, seen)
                    self._make_anew(key, seen=seen, is_lost=not is_far, is_far=is_far)
                elif not all(self._apply(key, entry) for entry in reply.entries):
                    self._make_anew(key)
                entries, size = applied[key]
                more = sum(entry.size for entry in reply.entries)
                applied[key] = entries + len(reply.entries), size + more
                if reply.error is not None:
                    errors.append(reply.error)
                elif reply.is_lost or reply.entries:
                    left[reply.name] = key
        return left

    def _check_heads(
        self,
        heads: Mapping[SeriesKey, LogPosition | None],
        keys: Iterable[SeriesKey],
        errors: list[CacheError],
    ) -> None:
        """Check the heads of series that are not where these heads, read before the pull, say."""
        for key in keys:
            if self._position(key) != (heads[key] or LogPosition()):
                with _collect_errors(errors):
                    self._check_head(key)

    def _check_head(self, key: SeriesKey) -> None:
        """Check that the latest entry that the log names for a series exists.

        Raises:
            CorruptEntryError: It does not, so nothing can be added to the series.
        """
        name, pair = name_of(key), (key.symbol, encode_lane(SeriesKey(key.symbol, key.timeframe)))
        position = self._position(key)  # first: another process may commit in between
        head = self.shared.heads([pair]).get(name, LogPosition())
        [reply] = self.shared.since({name: position})
        if head != position and not (reply.entries or reply.is_lost or reply.error):
            raise CorruptEntryError(
                f"the log names entry {head.seq} as the latest of {key}, which it does not have",
                symbol=key.symbol,
                hint="restore the server from a backup, or repair the table series as in "
                "docs/many-hosts.md",
            )

    def _is_pruned(self, name: SeriesName, seen: LogPosition) -> bool:
        """Return whether the log had the entry that a series shows, and no longer has those after it."""
        snapshot = self.snapshots.find({name: seen}).get(name)
        return snapshot is not None and snapshot.is_known and snapshot.pruned >= seen.seq

    def _apply(self, key: SeriesKey, entry: LogEntry) -> bool:
        """Apply one entry to the folder; return False if the folder has gone astray."""
        lane, clock = self._lane(key), EntryClock(self._clock)
        if isinstance(entry.value, SeriesCleared):
            return self._apply_cleared(key, entry.value, entry)
        assert isinstance(entry.value, Commit)

        def append() -> AppendedEntry:
            """Check that the folder shows the entry before this one."""
            note = self.notes.read(self.notes.lane(key)) or Note()
            if note.position.seq != entry.position.seq - 1 or self._copies.is_astray(lane, note):
                raise _MovedError
            clock.at_ms = entry.at_ms
            return AppendedEntry(entry.position, entry.at_ms)

        book = self._books.at(key.symbol, entry.book)
        try:
            with (
                applying(name_of(key), entry.position.seq),
                self._guard.writing(lane.paths.folder),
                self.listener.committing(lane, entry.value),
            ):
                run = self._copies.run(lane, entry.value, clock, book, append)
                run.run(self._lock_timeout_s)
        except _MovedError:
            # Another process may have applied it.
            return self._position(key).seq >= entry.position.seq
        self.commit_feed.announce(key, entry.value, run.generation, entry.at_ms)
        return True

    # --- a series made anew ------------------------------------------------------------------

    def _make_anew(
        self,
        key: SeriesKey,
        *,
        seen: LogPosition | None = None,
        is_lost: bool = False,
        is_far: bool = False,
        keep: bool = False,
    ) -> int:
        """Replace the files of a series by those that the log's entries make; return what was offered.

        Bars that the log lacks are offered to it if the server lost them, or if the folder was
        filled without the log.

        Args:
            key: Series.
            seen: Entry that the folder shows; None for any.
            is_lost: Whether the log has lost the entry that the folder shows.
            is_far: Whether the folder shows an entry that is far behind the snapshot.
            keep: Whether the files are kept afterwards even if others are, because they are a user's own.
        """
        lane, path, wait_s = self._lane(key), self.notes.lane(key), self._lock_timeout_s
        self._disk.make_folders(path.parent)
        self._disk.make_folders(lane.paths.folder)
        with (
            self._disk.lock(path.with_suffix(".lock"), wait_s),
            self._disk.lock(lane.paths.lock, wait_s),
        ):
            note = self.notes.read(path)
            is_waiting = self._copies.is_waiting(key)
            if seen not in (None, LogPosition() if note is None else note.position) or not (
                is_lost
                or is_far
                or is_waiting
                or note is None
                or self._copies.is_astray(lane, note)
            ):
                return 0  # another process has made it anew
            is_offered = is_lost or is_waiting or (note is None and not is_far)
            # Another process may be attaching the folder and not have come to this series yet.
            keep |= not (is_lost or self._copies.is_kept(key))
            self._copies.replace(lane, is_kept=is_offered)
        self._sidecars.drop(key)
        log.warning("%s: made anew from the shared store", key)
        self._offering.add(key)
        self.left_out.pop(key, None)
        try:
            offered = self._offer(key) if is_offered else 0
        except KindMismatchError as error:
            self._leave_out(key, error)
            offered = 0
        finally:
            self._offering.discard(key)
        if offered and is_lost:
            log.warning(
                "%s: the server had lost stored bars; %s spans were offered again", key, offered
            )
        # Otherwise nothing else may have these bars: the files wait, and the next pull offers them.
        if is_offered and (keep or key not in self.left_out):
            self._copies.forget_aside(key, keep=keep)
        return offered

    def _offer(self, key: SeriesKey) -> int:
        """Commit the bars of set-aside files for spans that the log lacks; return how many spans.

        Raises:
            KindMismatchError: The log has bars of another kind for the series.
        """
        offered = 0
        try:
            view = self._copies.aside.view(key)
        except FormatVersionError:
            raise
        except CacheError as error:
            self._leave_out(key, error)
            return 0
        if view.coverage:
            first, last = view.coverage[0].span.start, view.coverage[-1].span.end
            for year in years_of(Span(first, last)):
                offered += self._offer_year(key, year_span(year))
        facts = {name: fact for name, fact in view.known_facts().items() if name != "source"}
        now = self.view(key).known_facts()
        if lost := {name: fact for name, fact in facts.items() if name not in now}:
            self.commit(key, Commit(**lost))
        return offered

    def _leave_out(self, key: SeriesKey, error: DataError) -> None:
        """Report that bars of a series cannot be offered."""
        self.left_out[key] = str(error)
        log.warning("%s: not all of its bars are offered to the shared store: %s", key, error)

    def _offer_year(self, key: SeriesKey, year: Span) -> int:
        for _ in range(_TRIES):
            position = self.position(key)
            known = [entry.span for entry in self.view(key).coverage.within(year)]
            try:
                stored = self._copies.aside.read(key, year)
            except FormatVersionError:
                raise
            except CacheError as error:
                self._leave_out(key, error)
                return 0
            if (offer := lacking(*stored, known)).is_empty:
                return 0
            try:
                self.commit(key, offer, based_on=position)
            except OvertakenError:
                continue
            return len(offer.pieces) + len(offer.marks)
        raise overtaken(str(key), key.symbol)

    # --- splits, dividends, names ----------------------------------------------------------------

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
        self.check_joined()
        reported = ReportedActions(tuple(actions), Asked(dates, source, fetched_at, until))
        keep = self._books.keep_sample if is_sample(source) else self._books.append
        return keep(symbol, reported)

    def forget_actions(self, symbol: str, source: str, wait_s: float = math.inf) -> None:
        """Remove a sample vendor's reports; see :meth:`.BarStore.forget_actions`."""
        self.check_joined()
        self._books.keep_sample(symbol, SamplesForgotten(source))

    def record_changes(self, symbol: str, changes: Sequence[SymbolChange]) -> bool:
        """Replace the recorded changes; see :meth:`.BarStore.record_changes`."""
        self.check_joined()
        return self._books.change_names(symbol, SymbolChanges(tuple(changes)))

    # --- the past --------------------------------------------------------------------------------

    def read_version(
        self, key: SeriesKey, span: Span, generation: int, *, is_offline: bool = False
    ) -> tuple[BarTable, Coverage]:
        """Return bars as they were after an entry; see :meth:`.BarStore.read_version`.

        What this folder does not keep is made again from the server's entries, if it has all of them
        up to that one.
        """
        try:
            return super().read_version(key, span, generation)
        except QueryError:
            if is_offline or not self.is_shared(key) or generation < 1:
                raise
            with suppress(CacheError), self.rebuilt(key, generation) as (folder, seq):
                if seq == generation:
                    made = BarStore(folder, self._disk, self._clock)
                    # An entry that changes nothing, such as the removal of no bars, leaves no trace.
                    newest = made.view(key).generation
                    if not newest:
                        return BarTable.empty(), Coverage()
                    return made.read_version(key, span, min(generation, newest))
            raise

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
        names = {name.symbol for name in heads if is_symbol(name.symbol)}
        names |= {key.symbol for key in self.keys()}
        for ticker in sorted(names if symbol is None else {symbol}):
            keys = [
                key for name in heads if (key := key_of(name)) is not None and key.symbol == ticker
            ]
            removals = {
                key: self._remove(key, lambda: SeriesCleared(by))
                for key in keys
                if timeframe in (None, key.timeframe) and self.is_shared(key)
            }
            if timeframe is None and SeriesName(ticker) in heads:
                self._books.append(ticker, SeriesCleared(by))
            self._clear_here(ticker, timeframe, by, removals)

    def _clear_here(
        self,
        symbol: str,
        timeframe: Timeframe | None,
        by: str,
        removals: Mapping[SeriesKey, LogPosition],
    ) -> None:
        """Remove what this folder has besides the log's series, unless bars came after their removals."""
        folder = self._layout.symbol(symbol)
        for name in self._disk.list(folder):
            key = decode_lane(symbol, name)
            if key is not None and timeframe in (None, key.timeframe):
                at = partial(self._number_at, key, removals[key]) if key in removals else None
                with suppress(_MovedError):
                    clear_lane(self._lane(key), self._old, self._lock_timeout_s, by, at)
                self._sidecars.drop(key)
        if timeframe is None:
            clear_symbol(self._disk, folder, self._lock_timeout_s)

    def _number_at(self, key: SeriesKey, position: LogPosition) -> int:
        """Return the number of an entry if the folder shows it."""
        if self._position(key) != position:
            raise _MovedError
        return position.seq

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
        lane, removed = self._lane(key), 0

        def removal() -> SeriesCleared | None:
            """Return the removal of the years that no writer has added later bars to."""
            nonlocal removed
            held = {year: bars_in(lane, year, {}, self._copies.no_old) for year in wanted}
            years = [
                year
                for year, bars in held.items()
                if closed_by is None or (bars and bars.closed_ms <= closed_by)
            ]
            removed = sum(self._disk.stat(lane.paths.data(year)) is not None for year in years)
            return SeriesCleared(by, tuple(years)) if years else None

        self._remove(key, removal)
        return removed

    def _remove(self, key: SeriesKey, removal: Callable[[], SeriesCleared | None]) -> LogPosition:
        """Remove bars on all hosts, if any are to be removed; return the entry that did."""
        for _ in range(_TRIES):
            self.pull([(key.symbol, key.timeframe)])
            seen, value = self._position(key), removal()
            if value is None:
                return seen
            years = Facts(value.years or ())  # none for all of them
            made = self.shared.append(name_of(key), seen, value, facts=years)
            if made is not None:
                if not self._apply_cleared(key, value, made):
                    self.pull([(key.symbol, key.timeframe)])
                return made.position
        raise overtaken(str(key), key.symbol)

    def _apply_cleared(
        self, key: SeriesKey, value: SeriesCleared, made: AppendedEntry | LogEntry
    ) -> bool:
        """Apply a removal; return False if the folder has gone astray."""
        lane, path, clock = self._lane(key), self.notes.lane(key), EntryClock(self._clock)
        before = self._position(key)
        if before.seq != made.position.seq - 1:
            return before.seq >= made.position.seq
        clock.at_ms = made.at_ms

        def number() -> int:
            """Check that the folder still shows the entry before this one; return this one's number."""
            note = self.notes.read(path) or Note()
            if note.position != before or self._copies.is_astray(lane, note):
                raise _MovedError
            return made.position.seq

        try:
            with applying(name_of(key), made.position.seq), self._guard.writing(lane.paths.folder):
                self._disk.make_folders(lane.paths.folder)
                self._copies.clear(lane, clock, value, number)
                with self._disk.lock(lane.paths.lock, self._lock_timeout_s):
                    # Another process may have applied this entry and later ones meanwhile.
                    if self._position(key) == before:
                        note = Note(made.position, *self._copies.generations(lane))
                        self.notes.keep(path, note)
        except _MovedError:
            return self._position(key).seq >= made.position.seq
        self._sidecars.drop(key)
        return True


@contextmanager
def _collect_errors(errors: list[CacheError]) -> Iterator[None]:
    """Collect an error that concerns one series; an unreachable server ends the pull."""
    try:
        yield
    except (LogUnreachableError, OvertakenError):
        raise
    except CacheError as error:
        errors.append(error)
