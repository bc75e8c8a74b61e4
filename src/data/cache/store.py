"""The store of bars: what every other part of the library reads from and commits to.

Readers take no lock and see of each year the state before a commit or the one after it. Writers
of one series wait for each other, in all threads and processes. What a commit has acknowledged
survives a crash of the process or of the machine.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from ..clock import Clock, SystemClock
from ..disk.files import Disk
from ..errors import CorruptEntryError
from ..model.actions import Action
from ..model.bars import FIRST_FRAME, FRAME, PRICES, BarTable, fingerprint_of
from ..model.coverage import Coverage
from ..model.frozen import filled
from ..model.instant import year_of
from ..model.retention import Retention
from ..model.series import SeriesKey
from ..model.span import Span
from ..model.stored import CommitNotice
from ..model.symbol_changes import SymbolChange
from ..model.timeframe import Timeframe
from .actions import ActionBook, ActionStore, Asked
from .confirmations import Confirmation, head_of
from .confirmations import drop as drop_confirmations
from .confirmations import keep as keep_confirmations
from .confirmations import read as read_confirmations
from .layout import Layout, decode_lane, decode_symbol
from .legacy.adopt import OldYears
from .read.columnar_cache import Columnar, Sidecars
from .read.lru_cache import DocumentCache, LruCache
from .read.series_reader import IndexEntry, RangeReader, SeriesIndex, check_barred
from .recovery import quarantine
from .recovery.quarantine import KeptFile
from .retention.clear import clear_lane, clear_symbol, clear_years
from .values import Commit, CommitPiece, LaneUse, Seal, SeriesView, Stretch, Suspect, removal
from .write.coverage_update import year_span
from .write.series import SeriesFiles
from .write.write_guard import ReadOnlyError, WriteGuard

__all__ = [
    "ActionBook",
    "BarStore",
    "Commit",
    "CommitPiece",
    "Seal",
    "SeriesView",
    "Stretch",
    "Suspect",
]

_REREADS = 3


class BarStore:
    """Bars of many series in one cache folder. Thread-safe, and safe across processes.

    Args:
        root: the cache folder; it is created with the first commit.
        disk: the file system; tests hand in one that fails or records.
        clock: tells the time of commits.
        lock_timeout_s: how long to wait for another writer of the same series.
        vendor_facts: vendor to its ``reliability`` and ``rate_limit``, told to other tools in the
            metadata.
        columnar: whether bars are kept beside their files as columns too, for speed: ``map`` them
            into memory, ``read`` them where maps are not to be trusted, or ``off``.
        retention: what is kept of year files that a rewrite replaced.

    Attributes:
        root: as given.
        changed: whether anything was committed by this object.
        memory: what answers, documents and columns are kept in.
        parts: the parts that the maintenance of the folder works with.
        listener: the retention manager, which looks after it; one that does nothing until it is set.
        commit_feed: tells of commits to this folder, by whichever store of this process.
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
        self.changed = False
        self._disk = disk = disk or Disk(root=self.root)
        self._clock = clock or SystemClock()
        self._lock_timeout_s = lock_timeout_s
        self._vendor_facts, self._retention = vendor_facts or {}, retention or Retention()
        self._layout = layout = Layout(self.root)
        self.memory = LruCache()
        self._memory = DocumentCache(disk, self.memory)
        self._tainted: set[tuple[SeriesKey, int]] = set()
        self._lanes: dict[SeriesKey, SeriesFiles] = {}
        self._is_preview = False
        self._old = old = OldYears(layout, disk, self._memory)
        self._sidecars = Sidecars(self.root, disk, self.memory, columnar, self._has_room)
        self._index = SeriesIndex(old, self.memory, lock_timeout_s)
        self._range_reader = RangeReader(
            disk, old, self._index, self._sidecars, self.memory, lock_timeout_s
        )
        self._actions = ActionStore(layout, disk, self._memory, lock_timeout_s=lock_timeout_s)
        self._guard = WriteGuard(self.root, self._clock)
        self.commit_feed = feed_of(self.root)
        self.listener = StoreListener()
        self.parts = StoreParts(layout, disk, self._lane, old, self._sidecars, lock_timeout_s)

    def make_folder(self) -> None:
        """Make the cache folder; that it cannot be made is told once, and nothing is stored then.

        Raises:
            StorageError: the disk refused for another reason than its permissions.
        """
        with suppress(ReadOnlyError), self._guard.writing(self.root):
            self._disk.make_folders(self.root)

    def preview(self) -> BarStore:
        """Return the store as a plan sees it: its reads change nothing on the disk.

        They repair nothing: damaged years read as a repair would leave them. They keep no derived
        files and count as no use. It is for one caller and a moment: what it has found damaged it
        does not look at again. Not thread-safe.
        """
        shown = copy(self)
        shown._lanes, shown._is_preview = {}, True
        return shown

    # --- bars ------------------------------------------------------------------------------

    def view(self, key: SeriesKey) -> SeriesView:
        """Return what is stored of a series, from its metadata alone.

        Raises:
            BadSymbolError: the symbol cannot be stored.
            FormatVersionError: a newer version of this library wrote it.
            CorruptEntryError: it needs repair, and the cache is read-only.
            StorageError, LockTimeoutError: the disk or another process refused.
        """
        return self._index.entry(self._lane(key)).view

    def check(self, view: SeriesView, span: Span) -> None:
        """Refuse a stretch of which a year cannot be read, by the view that tells so.

        Raises:
            StorageError: something else is in the place of a file of such a year; it names it.
        """
        if view.barred:
            check_barred(self._lane(view.key), span, view.barred)

    def tail(self, key: SeriesKey) -> SeriesView:
        """Return a view that tells how far a series reaches, by the documents of few years.

        ``last``, ``kind`` and, from the newest final bar on, ``coverage`` are those of :meth:`view`.
        All else is of those years alone, and ``next_due`` is None. Raises as :meth:`view`.
        """
        return self._index.entry(self._lane(key), tail=True).view

    def read(self, key: SeriesKey, span: Span) -> tuple[BarTable, Coverage]:
        """Return the bars whose stamps lie in ``span``, and what is known about it.

        Of each year the two are of the same commit. Damage found on the way is repaired: what
        could not be kept is missing from both. Raises as :meth:`view`.
        """
        lane = self._lane(key)
        lane.use.read(span.start)
        return self._range_reader.read(lane, span)

    def stretch(
        self,
        key: SeriesKey,
        span: Span,
        since: SeriesView | None = None,
        *,
        is_use: bool = True,
    ) -> Stretch:
        """Return all that is stored of ``span`` with the view that it belongs to.

        The series is looked at behind the read, and read again where another writer came meanwhile, a
        few times at most. Raises as :meth:`view`.

        ``since`` is the view got last, from which to start without a look. Without ``is_use`` the bars
        are only looked at: they may be evicted as if they had not been read.
        """
        lane = self._lane(key)
        if is_use:
            lane.use.read(span.start)
        entry = self._index.entry(lane, since)
        for _ in range(_REREADS):
            table, coverage = self._range_reader.read(lane, span, entry)
            suspects = self._suspects(lane, span, entry)
            before, entry = entry, self._index.entry(lane)
            if entry.view.generation == before.view.generation:
                break
        return Stretch(entry.view, table, coverage, suspects)

    def seal(
        self, view: SeriesView, span: Span, book: ActionBook | None, absent: SeriesKey | None = None
    ) -> Seal | None:
        """Return what tells that the bars in ``span`` are still those of ``view`` and ``book``.

        None where that cannot be told from outside, or is not so any more. ``absent`` is a series
        that must not come into being.
        """
        lane = self._lane(view.key)
        files = self._index.seal(lane, view)
        if files is None:
            return None
        entry = self._index.entry(lane, view)
        sources = self._range_reader.seal(lane, span, entry) if entry.view is view else None
        if sources is None:
            return None
        files |= sources
        if book is not None:
            path = self._layout.actions(view.key.symbol)
            files[path] = state = self._memory.settled_state(path)
            # Looked at before: what is loaded now is of that state, or another object.
            if state is None or self.actions(view.key.symbol) is not book:
                return None
        if absent is not None:
            folder = self._lane(absent).paths.text
            if self._disk.stat(folder) is not None:
                return None
            files[folder] = None
        return Seal(files, lane.use, span)

    def holds(self, seal: Seal) -> bool:
        """Tell whether a seal holds, which counts as a read."""
        seal.use.read(seal.span.start)
        return self._disk.are_unchanged(seal.files)

    def suspects(self, key: SeriesKey, span: Span) -> tuple[Suspect, ...]:
        """Return the bad rows in ``span`` in whose place no good bar is stored, by stamp.

        Of several for one stamp the last one counts. Raises as :meth:`view`.
        """
        lane = self._lane(key)
        return self._suspects(lane, span, self._index.entry(lane))

    def _suspects(self, lane: SeriesFiles, span: Span, entry: IndexEntry) -> tuple[Suspect, ...]:
        if not entry.has_quarantine:
            return ()
        return quarantine.standing_in(lane, span, lambda: self._index.entry(lane).view.coverage)

    def quarantined(self, key: SeriesKey) -> tuple[list[Suspect], list[KeptFile]]:
        """Return the rows kept aside, by year as they came, and the files; nothing is repaired."""
        lane = self._lane(key)
        years = quarantine.years_with_rows(lane)
        rows = [row for year in years for row in quarantine.rows_kept(lane, year)]
        return rows, list(quarantine.files_of(lane))

    def commit(self, key: SeriesKey, commit: Commit, wait_s: float = math.inf) -> None:
        """Store new answers and what was learned.

        Another writer of the series is waited for ``wait_s`` seconds, at most as long as everywhere.

        When it returns, the bars are durable. Each year is changed wholly or not at all;
        within a piece's span the piece is the truth, and stored bars it lacks go to quarantine.

        Raises:
            ValueError: a piece or a mark breaks its promises; nothing was written.
            KindMismatchError: a piece is of another kind than the series; nothing was written.
            LockTimeoutError: another writer holds the series for too long.
            FormatVersionError: a newer version of this library wrote it.
            StorageError: the disk refused; what was stored before is intact.
        """
        from .write.commit import CommitRun  # a reader does without

        lane = self._lane(key)
        commit.check()
        if not commit.is_empty:
            with self._guard.writing(lane.paths.folder), self.listener.committing(lane, commit):
                self.changed = True
                run = CommitRun(lane, commit, self._old)
                run.run(min(wait_s, self._lock_timeout_s))
            self.commit_feed.announce(key, commit, run.generation, self._clock.now_ms())

    def repair(self, key: SeriesKey) -> SeriesView:
        """Check every year of a series under its lock, repair what needs it, and view it.

        Also brings to light what was committed just before a power loss. Raises as :meth:`commit`.
        """
        from .recovery.recover import recover

        lane = self._lane(key)
        if self._disk.stat(lane.paths.folder) is not None:
            with self._disk.lock(lane.paths.lock, self._lock_timeout_s):
                for year in lane.years():
                    recover(lane, year)
        return self._index.entry(lane).view

    # --- the past --------------------------------------------------------------------------

    def log(self, key: SeriesKey) -> list[dict[str, Any]]:
        """Return the commits to a series, oldest first: generation, time, vendor, span, counts.

        The log is not made durable and may lack the commits before a power loss.
        """
        from .history import log_of

        return log_of(self._lane(key))

    def commits(self, key: SeriesKey) -> list[dict[str, Any]]:
        """Return the logged commits, those of several years put together; see ``commits_of``."""
        from .history import commits_of

        return commits_of(self._lane(key))

    def pins(self, key: SeriesKey) -> list[int]:
        """Return the pinned generations of a series, ascending; see :mod:`.pins`."""
        from .pins import pins_in

        return pins_in(self._disk, self._lane(key).paths.versions)

    def pin(self, key: SeriesKey, generation: int) -> None:
        """Keep a generation until it is unpinned; raises as :func:`.history.pin`."""
        from .history import pin

        lane = self._lane(key)
        with self._guard.writing(lane.paths.folder):
            pin(lane, generation, self._lock_timeout_s)

    def unpin(self, key: SeriesKey, generation: int) -> None:
        """Let a generation go; raises as :func:`.history.unpin`."""
        from .history import unpin

        lane = self._lane(key)
        with self._guard.writing(lane.paths.folder):
            unpin(lane, generation, self._lock_timeout_s)

    def read_version(
        self, key: SeriesKey, span: Span, generation: int
    ) -> tuple[BarTable, Coverage]:
        """Return bars and coverage as they were right after commit ``generation``.

        Raises:
            QueryError: that generation never was, or its bars are not kept any more.
        """
        from .history import read_version

        return read_version(self._lane(key), span, generation)

    # --- what second vendors said ----------------------------------------------------------

    def confirmations(self, key: SeriesKey) -> list[tuple[Confirmation, bool]]:
        """Return what was compared with a second vendor, each with whether it stands.

        Raises as :func:`.confirmations.load`, and as :meth:`view`.
        """
        lane = self._lane(key)
        entries = read_confirmations(lane)
        states, _ = lane.documents(lane.years() if entries else [])
        return [(one, one.stands(self._disk, lane.paths.text, states)) for one in entries]

    def to_confirm(self, key: SeriesKey, span: Span) -> Confirmation | None:
        """Return the bars in ``span``, within one year, as an entry that nothing is said of yet.

        None where there are none, or where a writer came in between. Raises as :meth:`view`.
        """
        lane, year = self._lane(key), year_of(span.start)
        before = lane.documents([year])[0].get(year)
        table = self.stretch(key, span).table
        if before is None or not len(table) or lane.documents([year])[0].get(year) != before:
            return None
        return Confirmation(*span, _fingerprint(table), len(table), **head_of(before))

    def renewed(self, key: SeriesKey, one: Confirmation) -> Confirmation | None:
        """Return what was compared with the file and the fingerprint of today; None of other bars.

        An entry that an older version of this library wrote is known by its version of the fingerprint.
        Raises as :meth:`view`.
        """
        now = self.to_confirm(key, one.span)
        if now is None:
            return None
        if now.bars != one.bars:
            table = self.stretch(key, one.span).table
            if (_fingerprint(table, FIRST_FRAME), _fingerprint(table)) != (one.bars, now.bars):
                return None
        return replace(one, bars=now.bars, head=now.head, head_at=now.head_at)

    def confirm(self, key: SeriesKey, fresh: Sequence[Confirmation]) -> None:
        """Keep what was compared; raises as :func:`.confirmations.keep`."""
        lane = self._lane(key)
        with self._guard.writing(lane.paths.folder):
            keep_confirmations(lane, fresh, self._lock_timeout_s)

    # --- actions ---------------------------------------------------------------------------

    def actions(self, symbol: str) -> ActionBook:
        """Return the splits and dividends of ``symbol``.

        Raises:
            CorruptEntryError: they are damaged and must be fetched again: adjusted prices
                cannot be given.
        """
        return self._actions.load(symbol).by(self._clock.now_ms())

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
        """Add what ``source`` answered for the ex-dates in ``dates``, durably.

        Those from ``until`` on it can tell only with their bars. Another writer is waited for
        ``wait_s`` seconds, at most as long as everywhere.

        Raises:
            LockTimeoutError, StorageError: nothing was changed.
        """
        with self._guard.writing(self._layout.symbol(symbol)):
            answered = Asked(dates, source, fetched_at, until)
            self._drop_confirmations(symbol, actions, answered)
            return self._actions.add(symbol, actions, answered, wait_s)

    def _drop_confirmations(self, symbol: str, actions: Sequence[Action], answer: Asked) -> None:
        """End what was confirmed of bars before a split that counts otherwise after an answer.

        Before the answer is written: no bar may count as confirmed by way of a split that is not.
        """
        try:
            book = self.actions(symbol)
        except CorruptEntryError:
            book = ActionBook()
        before, after = (
            {(one.ex_at, one.ratio) for one in splits if one.is_sound}
            for splits in (book.splits, book.with_answer(actions, answer).splits)
        )
        if changed := before ^ after:
            until = max(ex_at for ex_at, _ in changed)
            for name in self._disk.list(self._layout.symbol(symbol)):
                if (key := decode_lane(symbol, name)) is not None:
                    drop_confirmations(self._lane(key), until, self._lock_timeout_s)

    def forget_actions(self, symbol: str, source: str, wait_s: float = math.inf) -> None:
        """Forget what a vendor of samples told, and was asked for; raises as :meth:`add_actions`."""
        with self._guard.writing(self._layout.symbol(symbol)):
            self._actions.forget(symbol, source, wait_s)

    def record_changes(self, symbol: str, changes: Sequence[SymbolChange]) -> bool:
        """Keep these changes of a symbol's name in place of those recorded, durably.

        The folder of a symbol that was never fetched is made for it. Returns whether they were others.

        Raises:
            LockTimeoutError, StorageError, FormatVersionError: nothing was changed.
        """
        with self._guard.writing(self._layout.symbol(symbol)):
            return self._actions.record(symbol, changes)

    # --- the whole -------------------------------------------------------------------------

    def symbols(self) -> list[str]:
        """Return the symbols that have a folder, whatever lies in it: one listing, however many.

        Raises:
            StorageError: the folder cannot be listed.
        """
        names = self._disk.list(self._layout.ohlcv)
        return [symbol for name in names if (symbol := decode_symbol(name)) is not None]

    def keys(self) -> list[SeriesKey]:
        """Return every series that has something stored, in the order of their folders.

        Without those of earlier versions that are not read any more.
        """
        return [key for key in self.held() if not key.is_outdated]

    def held(self) -> list[SeriesKey]:
        """Return every series that has something stored, also such as is not read any more."""
        return self._layout.series(self._disk.list)

    def outdated(self, key: SeriesKey) -> list[Span]:
        """Return the stretches of a series that are stored and never read again."""
        lane = self._lane(key)
        if key.is_outdated:
            return [year_span(year) for year in lane.years()]
        return list(self._index.entry(lane).outdated)

    def remove_outdated(self, key: SeriesKey, *, by: str) -> None:
        """Remove what of a series is never read again; raises as :meth:`commit`."""
        lane = self._lane(key)
        if key.is_outdated:
            clear_lane(lane, self._old, self._lock_timeout_s, by)
            self._sidecars.drop(key)
        elif spans := self.outdated(key):
            coverages = (state.coverage for state in self._index.entry(lane).states.values())
            parts = [part for c in coverages for span in spans for part in c.within(span)]
            now = self._clock.now_ms()
            self.commit(key, Commit(tuple(removal(part, now) for part in parts)))

    def lanes(self, symbol: str, timeframe: Timeframe) -> list[SeriesKey]:
        """Return the stored series of a symbol and timeframe, the default lane first.

        What older tools left of it is in the default lane, wherever it lies. Raises as :meth:`view`.
        """
        keys = (SeriesKey(symbol, timeframe), *self.lanes_beside(symbol, timeframe))
        return [key for key in keys if self.view(key).exists]

    def lanes_beside(self, symbol: str, timeframe: Timeframe) -> list[SeriesKey]:
        """Return the lanes of a symbol and timeframe that have a folder beside the default one.

        They are not looked at: there may be nothing in them.
        """
        names = self._disk.list(self._layout.symbol(symbol))
        keys = (decode_lane(symbol, name) for name in names)
        own = {key for key in keys if key is not None and key.timeframe == timeframe and key.lane}
        return sorted(own, key=lambda key: key.lane)

    def years(self, key: SeriesKey) -> list[int]:
        """Return the years of which bars are stored, ascending; raises as :meth:`view`."""
        return self._index.years(self._lane(key))

    def clear(
        self,
        symbol: str | None = None,
        timeframe: Timeframe | None = None,
        *,
        by: str = "clear",
    ) -> None:
        """Remove bars for good: of one series in all its lanes, of a symbol, or all.

        Actions go only with the whole symbol. Lock files stay, and the logs, in which ``by`` names
        the call that deleted.

        Raises:
            LockTimeoutError, StorageError: what was not removed yet is still whole.
        """
        symbols = {key.symbol for key in self.held()} if symbol is None else {symbol}
        for name in sorted(symbols):
            folder = self._layout.symbol(name)
            for lane_name in self._disk.list(folder):
                key = decode_lane(name, lane_name)
                if key is not None and timeframe in (None, key.timeframe):
                    clear_lane(self._lane(key), self._old, self._lock_timeout_s, by)
                    self._sidecars.drop(key)
            if timeframe is None:
                clear_symbol(self._disk, folder, self._lock_timeout_s)

    def clear_years(
        self,
        key: SeriesKey,
        years: Iterable[int],
        *,
        by: str = "clear",
        closed_by: int | None = None,
        wait_s: float | None = None,
    ) -> int:
        """Remove single years of one series for good; return how many of them had bars.

        The log stays, in which ``by`` names the call that deleted.

        Args:
            key, years: which.
            by: the call.
            closed_by: years stay that may have a bar which closed after this instant.
            wait_s: how long to wait for a writer; None: as everywhere.

        Raises:
            LockTimeoutError, StorageError: what was not removed yet is still whole.
        """
        lane, wait_s = self._lane(key), self._lock_timeout_s if wait_s is None else wait_s
        self._disk.make_folders(lane.paths.folder)
        removed = clear_years(lane, years, self._old, wait_s, by, closed_by)
        self._sidecars.drop(key)
        return removed

    def _has_room(self, need: int) -> bool:
        return self.listener.has_room(need)

    def _lane(self, key: SeriesKey) -> SeriesFiles:
        lane = self._lanes.get(key)
        if lane is not None:
            return lane
        paths = self._layout.lane(key)
        lane = filled(
            SeriesFiles,
            key=key,
            paths=paths,
            disk=self._disk,
            memory=self._memory,
            clock=self._clock,
            vendor_facts=self._vendor_facts,
            tainted=self._tainted,
            retention=self._retention,
            use=LaneUse() if self._is_preview else self.listener.use_of(key),
            previews={} if self._is_preview else None,
        )
        if paths.is_there:
            self._lanes[key] = lane
        return lane


# --- parts for the maintenance -----------------------------------------------------------


@dataclass(frozen=True)
class StoreParts:
    """Parts of one store, for modules of this package.

    Attributes:
        layout, disk, old, sidecars: of the store.
        lane: gives the lane of a series.
        lock_timeout_s: how long to wait for another writer.
    """

    layout: Layout
    disk: Disk
    lane: Callable[[SeriesKey], SeriesFiles]
    old: OldYears
    sidecars: Sidecars
    lock_timeout_s: float


# --- listener ----------------------------------------------------------------------------


class StoreListener:
    """What a store tells the retention manager of; by itself it does nothing. Thread-safe."""

    def use_of(self, key: SeriesKey) -> LaneUse:
        """Return what notes the uses of a series."""
        return LaneUse()

    def used(self, key: SeriesKey, span: Span) -> None:
        """Take note that ``span`` of a series is about to be needed."""

    @contextmanager
    def committing(self, lane: SeriesFiles, commit: Commit) -> Iterator[None]:
        """Let the block store a commit.

        Raises:
            StorageError: on entering, where there is no room for it.
        """
        yield

    def has_room(self, need: int) -> bool:
        """Tell whether there is room for ``need`` bytes of derived files."""
        return True


# --- commit feed -------------------------------------------------------------------------

Sink = Callable[[CommitNotice], object]


class CommitFeed:
    """Hands every commit to its subscribers. Thread-safe: its list is replaced, not changed."""

    def __init__(self) -> None:
        self._sinks: tuple[Sink, ...] = ()

    def subscribe(self, sink: Sink) -> Callable[[], None]:
        """Have ``sink``, which must not raise, called from now on; return what takes it out."""
        self._sinks = (*self._sinks, sink)

        def remove() -> None:
            """Call this sink no more."""
            self._sinks = tuple(one for one in self._sinks if one is not sink)

        return remove

    def announce(self, key: SeriesKey, commit: Commit, generation: int, at_ms: int) -> None:
        """Tell of a commit that is durable; without subscribers no notice is made."""
        if not self._sinks:
            return
        spans = [*(p.span for p in commit.pieces), *(m.span for m in commit.marks)]
        vendors = [*(p.vendor for p in commit.pieces), *(m.vendor for m in commit.marks)]
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


def _fingerprint(table: BarTable, line: bytes = FRAME) -> str:
    """Return the fingerprint of stored bars."""
    names = (*PRICES, "volume")
    return fingerprint_of(table.stamps, ((name, getattr(table, name)) for name in names), line)


_feeds: WeakValueDictionary[str, CommitFeed] = WeakValueDictionary()


def feed_of(root: Path) -> CommitFeed:
    """Return the feed of a folder: one for all stores of this process, while any of them lives."""
    name = os.path.realpath(root)
    feed = _feeds.get(name)
    return _feeds.setdefault(name, CommitFeed()) if feed is None else feed
