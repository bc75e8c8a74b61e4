"""The store of bars, from which all other parts of the library read and to which they commit.

Readers do not take a lock, and see each year as it was either before or after a commit. Writers to
one series wait for each other, across all threads and processes. A completed commit survives a
crash of the process or of the machine.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ...errors import QueryError
from ..clock import Clock, SystemClock
from ..disk.files import Disk, FileState
from ..model.identity.series import SeriesKey
from ..model.identity.symbol_changes import SymbolChange
from ..model.market.actions import Action
from ..model.market.bars import BadRow, BarTable
from ..model.stored.coverage import Coverage, stretches
from ..model.stored.retention import Retention
from ..model.time.edges import merged, spans_of
from ..model.time.span import Span, years_of
from ..model.time.timeframe import Timeframe
from ..model.words.frozen import filled
from ..runtime.lru_cache import LruCache
from .actions import ActionBook, ActionStore, Asked, WholeAnswer
from .document_cache import NO_FILE, DocumentCache
from .file_lanes import FileLanes
from .lane_files import LaneFiles
from .layout import Layout, decode_lane, decode_symbol
from .legacy.reader import look_elsewhere
from .pins import pins_in
from .read.columnar_cache import Columnar, Sidecars
from .read.series_reader import RangeReader, SeriesIndex
from .store_parts import StoreParts
from .values import (
    Commit,
    CommitPiece,
    LaneUse,
    Seal,
    SeriesView,
    StoredSpan,
    no_check,
)
from .write.write_guard import ReadOnlyError, WriteGuard

if TYPE_CHECKING:
    from ..model.stored.stored import CommitNotice
    from .acceptances import Acceptances
    from .recovery.quarantine import KeptFile

__all__ = [
    "ActionBook",
    "BarStore",
    "Commit",
    "CommitPiece",
    "Seal",
    "SeriesView",
    "StoredSpan",
]

_REREADS = 3


class BarStore:
    """Bars of many series in one cache folder. Thread-safe, and safe across processes.

    Args:
        root: Cache folder; it is created with the first commit.
        disk: File system. Tests pass one that fails on purpose or records calls.
        clock: Source of the time of commits.
        lock_timeout_s: Maximum wait for another writer to the same series, in seconds.
        vendor_facts: Maps each vendor to its ``reliability`` and ``rate_limit``, which are written
            to the metadata for other tools.
        columnar: Whether bars are also kept in columnar files, for speed: ``map`` (the files are
            mapped into memory), ``read`` (they are read, if memory maps are unreliable) or ``off``.
        retention: Number of replaced year files to keep, and for how long.

    Attributes:
        root: Cache folder.
        scope: Name of the store, used by callers that fetch the same series to take turns.
        changed: Whether this object has committed anything.
        memory: In-memory cache for answers, documents and columns.
        file_lanes: Bars of the user's own files, see :meth:`reading_files`.
        parts: Parts of the store that maintenance uses.
        listener: Retention manager of the folder; until a manager is set, a listener that does
            nothing.
        hosts: Other hosts that share the files; until they are set, there are none.
        commit_feed: Feed of the commits to this folder by any store in this process.
    """

    def __init__(
        self,
        root: Path,
        disk: Disk | None = None,
        clock: Clock | None = None,
        *,
        lock_timeout_s: float = 30.0,
        vendor_facts: Mapping[str, Mapping[str, Any]] | None = None,
        columnar: Columnar = "off",
        retention: Retention | None = None,
    ) -> None:
        self.root = Path(root)
        self.scope = os.fspath(self.root.absolute())
        self.changed = False
        self._disk = disk = disk or Disk(root=self.root)
        self._clock = clock or SystemClock()
        self._lock_timeout_s = lock_timeout_s
        self._vendor_facts, self._retention = vendor_facts or {}, retention or Retention()
        self._layout = layout = Layout(self.root)
        self.memory = LruCache()
        self._documents = DocumentCache(disk, self.memory)
        self._tainted: set[tuple[SeriesKey, int]] = set()
        self._lanes: dict[SeriesKey, LaneFiles] = {}
        self._is_preview = False
        self.file_lanes, self._reads_files = FileLanes(), False
        self._elsewhere: dict[SeriesKey, dict[int, Path]] = {}
        self._sidecars = Sidecars(self.root, disk, self.memory, columnar, self._has_room)
        self._index = SeriesIndex(self.memory, lock_timeout_s)
        self._range_reader = RangeReader(
            disk, self._index, self._sidecars, self.memory, lock_timeout_s
        )
        self._actions = ActionStore(layout, disk, self._documents, lock_timeout_s=lock_timeout_s)
        self._guard = WriteGuard(self.root, self._clock)
        self.commit_feed = feed_of(self.root)
        self.listener, self.hosts = StoreListener(), OtherHosts()
        self.parts = StoreParts(
            layout, disk, self._lane, self._sidecars, self._index, lock_timeout_s
        )

    def make_folder(self) -> None:
        """Create the cache folder.

        If permissions prevent this, it is reported once, and nothing is stored from then on.

        Raises:
            StorageError: The folder cannot be created for a reason other than permissions.
        """
        with suppress(ReadOnlyError), self._guard.writing(self.root):
            self._disk.make_folders(self.root)

    def preview(self) -> BarStore:
        """Return a view of the store for planning, whose reads do not change anything on disk.

        Reads do not repair anything; damaged years are read as a repair would leave them. Reads do
        not write derived files or count as use. The view is for one caller and a short time,
        because it does not check again whether files that it found damaged have been repaired. Not
        thread-safe.
        """
        preview = copy(self)
        preview._lanes, preview._is_preview, preview.listener = {}, True, StoreListener()
        preview.hosts = self.hosts.preview()
        return preview

    def reading_files(self) -> BarStore:
        """Return a view of the store in which the lanes of the user's files are in memory.

        These are the lanes of :attr:`file_lanes`, which both stores share. Lanes of files on disk
        are left out; only jobs of before have written any.
        """
        store = copy(self)
        store._reads_files = True
        return store

    def _is_of_files(self, key: SeriesKey) -> bool:
        """Return whether a series is in memory; bars that a job calculated from files are stored."""
        return self._reads_files and key.is_of_files

    # --- bars ------------------------------------------------------------------------------

    def view(self, key: SeriesKey) -> SeriesView:
        """Return a summary of the stored series, from its metadata only.

        Raises:
            BadSymbolError: The symbol cannot be stored.
            FormatVersionError: A newer version of this library wrote the series.
            CorruptEntryError: The series needs repair, and the cache is read-only.
            StorageError, LockTimeoutError: A file cannot be read, or another process held the lock
                for too long.
        """
        if self._is_of_files(key):
            return self.file_lanes.get(key).view
        self.hosts.opening(key)
        return self._index.entry(self._lane(key)).view

    def tail(self, key: SeriesKey) -> SeriesView:
        """Return a view based on only the latest few years, to find out how far a series reaches.

        ``last``, ``kind`` and, from the latest final bar on, ``coverage`` are the same as in
        :meth:`view`. Everything else describes only those years, and ``next_due`` is None. Raises
        the same errors as :meth:`view`.
        """
        return self._index.entry(self._lane(key), tail=True).view

    def read(self, key: SeriesKey, span: Span) -> tuple[BarTable, Coverage]:
        """Return the bars in ``span``, and their coverage.

        For each year, the bars and the coverage are from the same commit. Damage found while
        reading is repaired, and anything that cannot be kept is missing from both. Raises the same
        errors as :meth:`view`.
        """
        if self._is_of_files(key):
            return self.file_lanes.stored_span(key, span)[1:3]
        lane = self._lane(key)
        lane.use.note_read(span.start)
        return self._range_reader.read(lane, span)

    def stored_span(
        self,
        key: SeriesKey,
        span: Span,
        since: SeriesView | None = None,
        *,
        is_use: bool = True,
    ) -> StoredSpan:
        """Return everything stored for ``span``, together with a consistent view of the series.

        If another writer changes the series during the read, it is read again, at most a few times.
        Raises the same errors as :meth:`view`. ``since`` is the latest view obtained, which is used
        without a check. If ``is_use`` is False, the read does not count as use, so the bars may be
        evicted as if they had not been read.
        """
        if self._is_of_files(key):
            return self.file_lanes.stored_span(key, span)
        lane = self._lane(key)
        if is_use:
            lane.use.note_read(span.start)
        entry = self._index.entry(lane, since)
        for _ in range(_REREADS):
            table, coverage = self._range_reader.read(lane, span, entry)
            before, entry = entry, self._index.entry(lane)
            if entry.view.generation == before.view.generation:
                break
        return StoredSpan(entry.view, table, coverage)

    def seal(
        self, view: SeriesView, span: Span, book: ActionBook | None, absent: SeriesKey | None = None
    ) -> Seal | None:
        """Return a seal, which shows later whether ``view`` and ``book`` still apply to ``span``.

        The result is None if the states of files cannot show this, or if ``view`` or ``book`` is
        already outdated. ``absent`` is a series that must not exist for the seal to stay valid.
        """
        if self._is_of_files(view.key):
            if absent is not None or self.view(view.key) is not view:
                return None
            files, use, latest_view = dict[str, FileState | None](), LaneUse(), view
        else:
            lane, latest_view = self._lane(view.key), None
            sealed, use = self._index.seal(lane, view), lane.use
            if sealed is None:
                return None
            entry = self._index.entry(lane, view)
            sources = self._range_reader.seal(lane, span, entry) if entry.view is view else None
            if sources is None:
                return None
            files = sealed | sources
        if book is not None:
            path = self._layout.actions(view.key.symbol)
            state = self._documents.settled_state(path)
            # Checked before loading, so that the book either belongs to this state or is another
            # object. Without a file, each load returns a new, empty one.
            latest = self.actions(view.key.symbol)
            if state is None or (latest is not book and (state, latest) != (NO_FILE, book)):
                return None
            files[path] = None if state == NO_FILE else state
        if absent is not None:
            folder = self._lane(absent).paths.text
            if self._disk.stat(folder) is not None:
                return None
            files[folder] = None
        return Seal(files, use, span, latest_view)

    def holds(self, seal: Seal) -> bool:
        """Return whether a seal is still valid; the check counts as a read of the sealed bars."""
        seal.use.note_read(seal.span.start)
        is_latest = seal.view is None or self.view(seal.view.key) is seal.view
        return is_latest and self._disk.are_unchanged(seal.files)

    def suspects(self, key: SeriesKey, span: Span) -> tuple[BadRow, ...]:
        """Return the bad rows in ``span`` for timestamps without a good bar, in order.

        If there are several rows for a timestamp, the last one counts. Raises the same errors as
        :meth:`view`.
        """
        lane = self._lane(key)
        entry = self._index.entry(lane)
        if not entry.has_quarantine:
            return ()
        from .recovery.quarantine import rows_without_bar  # few series have rejected rows

        return rows_without_bar(lane, span, lambda: self._index.entry(lane).view.coverage)

    def quarantined(self, key: SeriesKey) -> tuple[list[BadRow], list[KeptFile]]:
        """Return the quarantined rows and files, without repairing anything.

        The rows are sorted by year, then by arrival.
        """
        if self._is_of_files(key):
            return list(self.file_lanes.get(key).suspects), []
        lane = self._lane(key)
        if not self._disk.list(lane.paths.quarantine):
            return [], []
        from .recovery import quarantine  # few series have rejected rows

        years = quarantine.years_with_rows(lane)
        rows = [row for year in years for row in quarantine.rows_kept(lane, year)]
        return rows, list(quarantine.files_of(lane))

    def commit(
        self,
        key: SeriesKey,
        commit: Commit,
        wait_s: float = math.inf,
        check: Callable[[], object] = no_check,
        based_on: SeriesView | None = None,
    ) -> None:
        """Store new answers and facts.

        The call waits for another writer to the series for ``wait_s`` seconds, at most
        ``lock_timeout_s``. When it returns, the bars are durable. Each year is changed entirely or
        not at all. Within its span, a piece without ``keeps`` is authoritative: stored bars that it
        lacks are moved to the quarantine. ``check`` is called from time to time until the first
        year is written; an exception that it raises ends the commit. ``based_on`` is the view
        of a shared series that the commit was based on; None for any.

        Raises:
            OvertakenError: The shared series has changed since ``based_on``; nothing was written.
            ValueError: A piece or a mark violates its contract; nothing was written.
            KindMismatchError: A piece differs in kind from the series; nothing was written.
            LockTimeoutError: Another writer held the lock for too long.
            FormatVersionError: A newer version of this library wrote the series.
            StorageError: A file cannot be written; previously stored data is intact.
        """
        commit.check()
        if self._is_of_files(key):
            generation = self.file_lanes.commit(key, commit)
        elif commit.is_empty:
            return
        else:
            from .write.commit import CommitRun  # readers do not need it

            lane = self._lane(key)
            with (
                self._guard.writing(lane.paths.folder),
                self.listener.committing(lane, commit),
                self.hosts.writing(lane, commit, wait_s, based_on) as lane,
            ):
                self.changed = True
                run = CommitRun(lane, commit, check)
                run.run(min(wait_s, self._lock_timeout_s))
            generation = run.generation
        self.commit_feed.announce(key, commit, generation, self._clock.now_ms())

    # --- the past --------------------------------------------------------------------------

    def log(self, key: SeriesKey) -> list[dict[str, Any]]:
        """Return the log of commits to a series, oldest first: generation, time, vendor, span, counts.

        The log is not durable, so it may lack the last commits before a power loss.
        """
        from .history import log_of

        if self._is_of_files(key):
            return []
        return log_of(self._lane(key))

    def commits(self, key: SeriesKey) -> list[dict[str, Any]]:
        """Return the logged commits, with one entry for a commit to several years; see ``commits_of``."""
        from .history import commits_of

        if self._is_of_files(key):
            return []
        return commits_of(self._lane(key))

    def pins(self, key: SeriesKey) -> list[int]:
        """Return the pinned generations of a series, in ascending order; see :mod:`.pins`."""
        return pins_in(self._disk, self._lane(key).paths.versions)

    def pin(self, key: SeriesKey, generation: int) -> None:
        """Keep a generation until it is unpinned; raises the same errors as :func:`.history.pin`."""
        from .history import pin

        lane = self._lane(key)
        with self._guard.writing(lane.paths.folder):
            pin(lane, generation, self._lock_timeout_s)

    def unpin(self, key: SeriesKey, generation: int) -> None:
        """Remove a generation's pin; raises the same errors as :func:`.history.unpin`."""
        from .history import unpin

        lane = self._lane(key)
        with self._guard.writing(lane.paths.folder):
            unpin(lane, generation, self._lock_timeout_s)

    def read_version(
        self, key: SeriesKey, span: Span, generation: int
    ) -> tuple[BarTable, Coverage]:
        """Return bars and coverage as they were right after commit ``generation``.

        Raises:
            QueryError: The generation never existed, or its bars are no longer kept.
        """
        from .history import read_version

        if self._is_of_files(key):
            raise QueryError(
                f"{key.symbol} {key.timeframe} is read from your own files when it is requested, so "
                "it has no versions",
                symbol=key.symbol,
                hint="leave out version=; keep copies of the files if you need earlier bars",
            )
        return read_version(self._lane(key), span, generation)

    # --- findings that users accepted --------------------------------------------------------

    @property
    def acceptances(self) -> Acceptances:
        """The findings that users accepted."""
        from .acceptances import Acceptances  # answers do not need them

        return Acceptances(self._lane, self._guard, self._lock_timeout_s)

    # --- actions ---------------------------------------------------------------------------

    def actions(self, symbol: str) -> ActionBook:
        """Return the splits and dividends for ``symbol``.

        Raises:
            CorruptEntryError: The document is damaged. The actions must be fetched again; until
                then, adjusted prices are not available.
        """
        book = self._actions.load(symbol).up_to(self._clock.now_ms())
        return self.hosts.with_samples(book, symbol)

    def add_actions(
        self,
        symbol: str,
        actions: Sequence[Action],
        dates: Span,
        source: str,
        fetched_at: int,
        until: int | None = None,
        wait_s: float = math.inf,
        whole: WholeAnswer | None = None,
    ) -> ActionBook:
        """Add the answer of ``source`` for the ex-dates in ``dates``, durably.

        From ``until`` on, the vendor can report actions only together with bars. Earlier reports
        that the answer lacks matter only if it is ``whole``. The call waits for another writer for
        ``wait_s`` seconds, at most ``lock_timeout_s``.

        Raises:
            LockTimeoutError, StorageError: Nothing was changed.
        """
        with self._writing_actions(symbol, wait_s, source) as stored:
            answered = Asked(dates, source, fetched_at, until)
            return stored.add(symbol, actions, answered, wait_s, whole)

    @contextmanager
    def _writing_actions(
        self, symbol: str, wait_s: float = math.inf, source: str = ""
    ) -> Iterator[ActionStore]:
        """Yield the splits and dividends that the block changes, by an answer of ``source``."""
        with (
            self._guard.writing(self._layout.symbol(symbol)),
            self.hosts.writing_actions(self._actions, symbol, wait_s, source) as stored,
        ):
            yield stored

    def forget_actions(self, symbol: str, source: str, wait_s: float = math.inf) -> None:
        """Remove a sample-data vendor's reports of actions; for errors, see :meth:`add_actions`."""
        with self._writing_actions(symbol, wait_s, source) as stored:
            stored.forget(symbol, source, wait_s)

    def record_changes(self, symbol: str, changes: Sequence[SymbolChange]) -> bool:
        """Replace the recorded changes in a symbol's meaning, durably; return whether they differ.

        The folder of a symbol that was never fetched is created.

        Raises:
            LockTimeoutError, StorageError, FormatVersionError: Nothing was changed.
        """
        with self._writing_actions(symbol) as stored:
            return stored.record(symbol, changes)

    # --- the whole -------------------------------------------------------------------------

    def symbols(self) -> list[str]:
        """Return the symbols that have a folder, even an empty one.

        Finding them requires listing only one folder.

        Raises:
            StorageError: The folder cannot be listed.
        """
        names = self._disk.list(self._layout.ohlcv)
        return [symbol for name in names if (symbol := decode_symbol(name)) is not None]

    def keys(self) -> list[SeriesKey]:
        """Return every stored series, in the order of the folders."""
        return self._with_files(self._layout.series(self._disk.list))

    def lanes(self, symbol: str, timeframe: Timeframe) -> list[SeriesKey]:
        """Return the stored series of a symbol and timeframe, the default lane first.

        Older tools' data belongs to the default lane, wherever it is stored. Raises the same errors
        as :meth:`view`.
        """
        keys = (SeriesKey(symbol, timeframe), *self.lanes_beside(symbol, timeframe))
        return [key for key in keys if self.view(key).exists]

    def lanes_beside(self, symbol: str, timeframe: Timeframe) -> list[SeriesKey]:
        """Return the lanes of a symbol and timeframe that have a folder, other than the default lane.

        The folders are not examined and may be empty.
        """
        keys = self.keys_of(symbol)
        lanes = {key for key in keys if key.timeframe == timeframe and key.lane}
        return sorted(lanes, key=lambda key: key.lane)

    def keys_of(self, symbol: str) -> list[SeriesKey]:
        """Return the series of a symbol that have a folder, which is not examined and may be empty."""
        names = self._disk.list(self._layout.symbol(symbol))
        keys = [key for name in names if (key := decode_lane(symbol, name)) is not None]
        return self._with_files(keys, symbol)

    def _with_files(self, keys: list[SeriesKey], symbol: str | None = None) -> list[SeriesKey]:
        """Return stored series, with the lanes of files in memory instead of those on disk."""
        if not self._reads_files:
            return keys
        in_memory = [key for key in self.file_lanes.keys() if symbol in (None, key.symbol)]
        return [*(key for key in keys if not self._is_of_files(key)), *in_memory]

    def years(self, key: SeriesKey) -> list[int]:
        """Return the years for which bars are stored, in ascending order; for errors, see :meth:`view`."""
        if self._is_of_files(key):
            first, last = (self.view(key).first, self.view(key).last)
            return [] if first is None or last is None else [*years_of(Span(first, last + 1))]
        return self._index.years(self._lane(key))

    def clear(
        self,
        symbol: str | None = None,
        timeframe: Timeframe | None = None,
        *,
        by: str = "clear",
    ) -> None:
        """Permanently remove the bars of a series in all its lanes, of a symbol, or of everything.

        Actions are removed only with the whole symbol. Lock files and logs are kept; ``by`` is the
        name of the deleting call, for the logs.

        Raises:
            LockTimeoutError, StorageError: The removal failed; anything not removed yet is intact.
        """
        from .clear import clear_symbol  # readers do not need it

        self.file_lanes.drop(symbol, timeframe)
        others = self.hosts.listed()
        symbols = {key.symbol for key in self.keys()} | {*others} if symbol is None else {symbol}
        for name in sorted(symbols):
            folder = self._layout.symbol(name)
            here = (decode_lane(name, lane_name) for lane_name in self._disk.list(folder))
            for key in dict.fromkeys((*here, *others.get(name, ()))):
                if key is not None and timeframe in (None, key.timeframe):
                    with self.hosts.removing(key, is_clear=True):
                        self.clear_series(key, by)
            if timeframe is None and (name in others or self._disk.stat(folder)):
                with self.hosts.removing(name, is_clear=True):
                    clear_symbol(self._disk, folder, self._lock_timeout_s)

    def clear_series(self, key: SeriesKey, by: str) -> None:
        """Permanently remove the bars of one series; ``by`` and the errors are those of :meth:`clear`."""
        from .clear import clear_lane  # readers do not need it

        clear_lane(self._lane(key), self._lock_timeout_s, by)
        self._sidecars.drop(key)

    def clear_years(
        self,
        key: SeriesKey,
        years: Iterable[int],
        *,
        by: str = "clear",
        closed_by: int | None = None,
        wait_s: float | None = None,
    ) -> int:
        """Permanently remove individual years of a series; return the number of them that had bars.

        The log is kept.

        Args:
            key, years: Series and years to remove.
            by: Name of the deleting call, for the log.
            closed_by: If given, years that may have a bar that closed after this instant are kept.
            wait_s: Maximum wait for a writer; None means ``lock_timeout_s``.

        Raises:
            LockTimeoutError, StorageError: The removal failed; anything not removed yet is intact.
        """
        from .clear import clear_years  # readers do not need it

        lane, wait_s = self._lane(key), self._lock_timeout_s if wait_s is None else wait_s
        with self.hosts.removing(key, wait_s):
            self._disk.make_folders(lane.paths.folder)
            removed = clear_years(lane, years, wait_s, by, closed_by)
        self._sidecars.drop(key)
        return removed

    def _has_room(self, need: int) -> bool:
        return self.listener.has_room(need)

    def _lane(self, key: SeriesKey) -> LaneFiles:
        lane = self._lanes.get(key)
        if lane is not None:
            return lane
        paths = self._layout.lane(key)
        lane = filled(
            LaneFiles,
            key=key,
            paths=paths,
            disk=self._disk,
            document_cache=self._documents,
            clock=self._clock,
            vendor_facts=self._vendor_facts,
            tainted=self._tainted,
            retention=self._retention,
            use=LaneUse() if self._is_preview else self.listener.use_of(key),
            previews={} if self._is_preview else None,
            elsewhere=self._elsewhere.get(key, {}),
        )
        if not (key.lane or key in self._elsewhere):
            look_elsewhere(lane)
            self._elsewhere[key] = lane.elsewhere
        if paths.is_there:
            self._lanes[key] = lane
        return lane


# --- listener ----------------------------------------------------------------------------


class StoreListener:
    """Base class of the retention manager, which a store notifies.

    Thread-safe. The methods of the base class do nothing.
    """

    def use_of(self, key: SeriesKey) -> LaneUse:
        """Return the object that records uses of a series."""
        return LaneUse()

    def used(self, key: SeriesKey, span: Span) -> None:
        """Called shortly before ``span`` of a series is needed."""

    @contextmanager
    def committing(self, lane: LaneFiles, commit: Commit) -> Iterator[None]:
        """Return a context manager within which a commit is stored.

        Raises:
            StorageError: On entry, if there is no room for the commit.
        """
        yield

    def has_room(self, need: int) -> bool:
        """Return whether there is room for ``need`` bytes of derived files."""
        return True


# --- other hosts -------------------------------------------------------------------------


class OtherHosts:
    """Base class of the hosts that share a store's files, which a store notifies.

    Thread-safe. The methods of the base class do nothing, because there are no other hosts;
    `core/hosts/folder.py` has the class for those of a shared store.
    """

    def preview(self) -> OtherHosts:
        """Return these hosts for a preview of the store, which requests nothing from them."""
        return self

    def is_shared(self, key: SeriesKey) -> bool:
        """Return whether other hosts have a series, so that a commit contacts their server."""
        return False

    def pull(self, pairs: Iterable[tuple[str, Timeframe]], *, is_first: bool = False) -> bool:
        """Update the series of symbols and timeframes from other hosts; return whether any changed.

        Args:
            pairs: Symbols, each with a timeframe.
            is_first: Whether to update only pairs that were never requested from this folder
                before.
        """
        return False

    def elsewhere(self) -> Mapping[SeriesKey, int]:
        """Return the series that only other hosts have, with the time of the latest commit, UTC ms."""
        return {}

    def listed(self) -> Mapping[str, Sequence[SeriesKey]]:
        """Return the series of each symbol of which other hosts have bars or actions."""
        return {}

    def opening(self, key: SeriesKey) -> None:
        """Called before a series is summarized; its files may be updated."""

    def with_samples(self, book: ActionBook, symbol: str) -> ActionBook:
        """Return a symbol's actions with those of samples, which are not in the shared files."""
        return book

    def writing(
        self, lane: LaneFiles, commit: Commit, wait_s: float, based_on: SeriesView | None
    ) -> AbstractContextManager[LaneFiles]:
        """Return a context manager for the files to write; for arguments, see :meth:`.BarStore.commit`."""
        return nullcontext(lane)

    def writing_actions(
        self, stored: ActionStore, symbol: str, wait_s: float, source: str
    ) -> AbstractContextManager[ActionStore]:
        """Return a context manager for the actions that an answer of ``source`` changes."""
        return nullcontext(stored)

    def removing(
        self, what: SeriesKey | str, wait_s: float = math.inf, *, is_clear: bool = False
    ) -> AbstractContextManager[object]:
        """Return a context manager within which bars of a series, or a symbol's actions, are removed.

        Args:
            what: Series or symbol.
            wait_s: Maximum wait for another writer, in seconds.
            is_clear: Whether everything is removed, even files that cannot be read.
        """
        return nullcontext()


# --- commit feed -------------------------------------------------------------------------

Sink = Callable[["CommitNotice"], object]


class CommitFeed:
    """Passes every commit to its subscribers.

    Thread-safe, because the list of subscribers is replaced and never modified.
    """

    def __init__(self) -> None:
        self._sinks: tuple[Sink, ...] = ()

    def subscribe(self, sink: Sink) -> Callable[[], None]:
        """Call ``sink``, which must not raise, for every commit.

        Return a function that unsubscribes it.
        """
        self._sinks = (*self._sinks, sink)

        def remove() -> None:
            """Unsubscribe this sink."""
            self._sinks = tuple(other for other in self._sinks if other is not sink)

        return remove

    def announce(self, key: SeriesKey, commit: Commit, generation: int, at_ms: int) -> None:
        """Announce a durable commit; no notice is created without subscribers."""
        if not self._sinks:
            return
        from ..model.stored.stored import CommitNotice

        marks = stretches(commit.marks)
        spans = [*(p.span for p in commit.pieces), *spans_of(merged(marks.where(lambda _: True)))]
        vendors = [*(p.vendor for p in commit.pieces), *(m.vendor for m in marks.sources)]
        notice = CommitNotice(
            key,
            generation,
            at_ms,
            ",".join(dict.fromkeys(filter(None, vendors))),
            Span(min(s.start for s in spans), max(s.end for s in spans)) if spans else None,
            sum(len(piece.table) for piece in commit.pieces),
        )
        for sink in self._sinks:
            sink(notice)


_feeds: WeakValueDictionary[str, CommitFeed] = WeakValueDictionary()


def feed_of(root: Path) -> CommitFeed:
    """Return the commit feed for a folder.

    All stores of this process share it, for as long as at least one of them exists.
    """
    name = os.path.realpath(root)
    feed = _feeds.get(name)
    return _feeds.setdefault(name, CommitFeed()) if feed is None else feed
