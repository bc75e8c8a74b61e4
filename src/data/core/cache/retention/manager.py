"""The retention manager of a cache folder: last uses, the size limit, and room on the disk.

Last uses are written to the index only occasionally: by some commits, by jobs, and at exit. If they
are lost, the times of the commits count.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ....errors import CacheError, DataError, LockTimeoutError
from ...clock import Clock
from ...model.identity.series import SeriesKey
from ...model.stored.coverage import stretches
from ...model.time.span import Span
from ...runtime.once import cached_property
from ..facade import summaries
from ..lane_files import LaneFiles
from ..layout import OF_YEARS, decode_lane, encode_lane, encode_symbol
from ..store import BarStore, StoreListener
from ..values import Commit, LaneUse, Use
from ..write.write_guard import FreeSpaceGuard, need_of
from . import eviction
from .eviction import BYTES_IN_GB, Freeable, Keeps, StoredYear
from .time_mark import TimeMark

if TYPE_CHECKING:
    from .index import LaneIndex
    from .inventory import Holdings, Inventory, StoredLane
    from .trim import Trimmed

log = logging.getLogger(__name__)

_CHECKED_EVERY_S = 15 * 60.0
# Growth after which the folder is checked early, as a fraction of the limit, and in bytes.
_GROWN_SHARE, _GROWN_MOST = 0.01, 256 << 20
# Interval at which a process looks for data that is too old.
_RETAINED_EVERY_S = 24 * 3600.0
# Folders that are above their limit with data that must stay, for which a warning has been issued
# in this process.
warned: set[Path] = set()


def _keep_any_age() -> None:
    """Do nothing, so that data of any age is kept."""


@dataclass(frozen=True)
class RetentionLimits:
    """The limits that the retention manager enforces.

    Attributes:
        limit: Function that returns the number of bytes that the folder may use now; 0 for no
            limit.
        min_free_mb: Space to keep free; see :class:`FreeSpaceGuard`.
        must_keep: Function that decides which bars to keep because no vendor could supply them
            again.
        by_age: Function that deletes data older than the rules' limit.
    """

    limit: Callable[[], int]
    min_free_mb: float | None = None
    must_keep: Keeps = eviction.keep_all
    by_age: Callable[[], None] = _keep_any_age


class RetentionManager(StoreListener):
    """Manages the folder of a store. Thread-safe, and safe across processes.

    A failure here never affects a commit or an answer.

    Args:
        store: Store whose folder is managed.
        clock: Source of the current time.
        limits: Limits to enforce, and the bars that are exempt from them.
    """

    def __init__(self, store: BarStore, clock: Clock, limits: RetentionLimits) -> None:
        self._store = store
        self._parts = store.parts
        self._disk = store.parts.disk
        self._clock = clock
        self._limits = limits
        self._root = store.root
        self._folder = store.root / "ohlcv" / summaries.FOLDER
        self._time = TimeMark(self._disk, self._folder.parent)
        self._uses = LastUses(clock, self._is_stored)
        self._room = FreeSpaceGuard(
            self._root, self._disk, limits.min_free_mb, self._make_room, clock
        )
        self._grown, self._has_begun = 0, False
        # Size of the folder at its last measurement plus the bytes that this process has added
        # since, and the time of the measurement.
        self._measured = 0, -math.inf
        self._looked_s = clock.monotonic()
        self._retained_s = -math.inf
        # Held by the one thread that is checking; the others continue.
        self._looking, self._pid = threading.Lock(), os.getpid()

    @cached_property
    def inventory(self) -> Inventory:
        """The inventory, which lists the folder's contents with the help of an index."""
        from .inventory import Inventory

        return Inventory(self._parts)

    # --- during use ----------------------------------------------------------------------------

    def use_of(self, key: SeriesKey) -> LaneUse:
        """Return the object that records uses of a series."""
        return self._uses.of(key)

    def used(self, key: SeriesKey, span: Span) -> None:
        """Record that ``span`` of a series is about to be needed, so that it is not evicted now."""
        self._uses.of(key).note_read(span.start)

    @contextmanager
    def committing(self, lane: LaneFiles, commit: Commit) -> Iterator[None]:
        """Return a context manager within which a commit is stored.

        On entry, it checks that there is room for the commit. On some exits, it checks the whole
        folder.

        Raises:
            NoRoomError: On entry, if the commit would leave too little room on the disk.
        """
        need = need_of(lane, commit)
        self._room.claim(need)
        is_first = not self._has_begun and self._is_first()
        yield
        self._begin(is_first)
        marks = stretches(commit.marks).columns
        starts = [piece.span.start for piece in commit.pieces]
        starts += marks.starts[marks.starts < marks.ends].tolist()
        if starts:
            lane.use.note_commit(min(starts), self._clock.now_ms())
        self._grown += need
        if self._is_time():
            self.enforce_limit()

    def _is_first(self) -> bool:
        """Return whether this folder has never had a bar; record that this has been checked."""
        self._has_begun = True
        try:
            return self._time.read() is None and not any(
                name.endswith(OF_YEARS)
                for symbol in self._disk.list(self._folder.parent)
                if symbol[0] not in "._"
                for lane in self._disk.list(self._folder.parent / symbol)
                if decode_lane("", lane) is not None
                for name in self._disk.list(self._folder.parent / symbol / lane)
            )
        except CacheError:  # a folder is no longer a folder
            return False

    def _begin(self, is_first: bool) -> None:
        if is_first:
            try:
                self._time.begin()
            except CacheError as exc:  # nothing is evicted then, but the commit does not fail
                log.debug("the time was not recorded: %s", exc)

    def has_room(self, need: int) -> bool:
        """Return whether there is room for ``need`` bytes of derived files."""
        return self._room.has(need)

    def _is_time(self) -> bool:
        limit = self._limits.limit()
        most = min(limit * _GROWN_SHARE, _GROWN_MOST) if limit else _GROWN_MOST
        return self._grown > most or self._clock.monotonic() - self._looked_s >= _CHECKED_EVERY_S

    # --- from time to time ---------------------------------------------------------------------

    def enforce_limit(self) -> None:
        """Record the last uses, and enforce the size limit.

        Only one thread does this at a time; others return at once.
        """
        if os.getpid() != self._pid:  # a thread of the parent may have held the lock at the fork
            self._pid, self._looking = os.getpid(), threading.Lock()
        if self._looking.locked():
            return
        with self._looking:
            try:
                self._check()
            except CacheError as exc:
                log.debug("the folder was not scanned: %s", exc)

    def retain(self) -> None:
        """Delete data older than the rules' limit; failures are logged."""
        self._retained_s = self._clock.monotonic()
        try:
            self._limits.by_age()
        except DataError as exc:
            log.debug("data beyond its maximum age was not deleted: %s", exc)

    def _check(self) -> None:
        if self._clock.monotonic() - self._retained_s >= _RETAINED_EVERY_S:
            self.retain()
        grown, self._grown = self._grown, 0
        self._looked_s = self._clock.monotonic()
        self.write_uses()
        size, measured_s = self._measured
        self._measured = size + grown, measured_s
        is_old = self._looked_s - measured_s >= _CHECKED_EVERY_S
        if is_old or size + grown > self._limits.limit():
            self.enforce()

    def look_after(self) -> Holdings:
        """Record the last uses, enforce the age and size limits, and tidy up; return the remaining contents.

        Raises:
            StorageError: A folder is a link, or cannot be listed.
        """
        self.retain()
        self.write_uses()
        holdings = self.inventory.contents()
        is_over = 0 < self._limits.limit() < holdings.size.bytes
        self.enforce(holdings)
        is_same = not self.tidy(holdings=holdings).files and not is_over
        return holdings if is_same else self.inventory.contents()

    def tidy(self, *, dry_run: bool = False, holdings: Holdings | None = None) -> Trimmed:
        """Remove old files from the quarantines of all series.

        Return the removed files; a dry run only returns the files that would be removed.

        ``holdings`` are the folder's contents, if already known.
        """
        from .trim import Trimmed, trim_quarantine  # readers do not need it

        total = Trimmed()
        for lane in (holdings or self.inventory.contents()).lanes:
            if lane.entry.quarantined:
                try:
                    total = total.plus(trim_quarantine(self._parts.lane(lane.key), dry_run=dry_run))
                except CacheError as exc:
                    log.debug("%s: the quarantine was not deleted: %s", lane.key, exc)
        return total

    def write_uses(self) -> None:
        """Store the last uses for other processes."""
        if self._folder.parent.is_dir():
            self._uses.write(lambda: self.inventory.index)

    def enforce(self, holdings: Holdings | None = None) -> int:
        """Evict bars until the folder is within its limit; return the number of years dropped.

        Columnar files, which can be rebuilt, are removed first, then replaced year files (older
        versions), then years that vendors can supply again, starting with the least recently used
        lane. Any remaining excess over the limit is logged once per process. Only one process does
        this at a time; the others continue without it. ``holdings`` are the folder's contents, if
        already known.
        """
        limit = self._limits.limit()
        if limit <= 0 or not self._folder.parent.is_dir():
            return 0
        try:
            self._disk.make_folders(self._folder)
            with self._disk.lock(self._folder / ".eviction.lock", 0.0):
                return self._enforce(limit, holdings or self.inventory.contents())
        except LockTimeoutError:
            log.debug("another process is enforcing the limit")
        except DataError as exc:  # even if vendors cannot be determined
            log.debug("the limit could not be enforced: %s", exc)
        return 0

    def _enforce(self, limit: int, holdings: Holdings) -> int:
        self._time.note(eviction.vouched_ms(holdings.lanes))
        excess, dropped = holdings.size.bytes - limit, 0
        if excess > 0:
            excess -= self._drop_derived(holdings.lanes, excess)
        if excess > 0:
            years = self._years(holdings)
            for year in eviction.choose(years, excess):
                if self._evict(year):
                    excess, dropped = excess - year.bytes, dropped + 1
            later = sum(year.bytes for year in years if year.kept == eviction.IN_USE)
            if excess > later:
                self._warn_once(excess)
        self._measured = limit + excess, self._clock.monotonic()
        return dropped

    def _make_room(self, need: int) -> int:
        """Drop columnar files, then replaced year files; return the bytes freed."""
        try:
            return self._drop_derived(self.inventory.contents().lanes, need)
        except CacheError as exc:
            log.debug("no space could be freed: %s", exc)
            return 0

    def _drop_derived(self, lanes: Iterable[StoredLane], need: int) -> int:
        from .trim import drop_derived  # readers do not need it

        uses = self._uses.merged(self.inventory.index)
        return drop_derived(self._parts, lanes, lambda lane: uses.get(lane, Use()).last_ms, need)

    def _evict(self, year: StoredYear) -> bool:
        from ..clear import evict_year  # readers do not need it

        try:
            return evict_year(self._parts.lane(year.key), year.year, year.generation)
        except DataError as exc:
            log.debug("%s %s was not deleted: %s", year.key, year.year, exc)
            return False

    def _warn_once(self, left: int) -> None:
        if self._root not in warned:
            warned.add(self._root)
            log.warning(
                "the cache is %.2f GB above its limit, and none of its bars could be fetched "
                "again if deleted: `onetape cache clean --dry-run` shows why",
                left / BYTES_IN_GB,
            )

    # --- for users -----------------------------------------------------------------------------

    def freeable(self, holdings: Holdings | None = None) -> Freeable:
        """Return how many bytes of the folder could be removed, and why the rest cannot.

        ``holdings`` are the folder's contents, if already known.
        """
        from .trim import derived_bytes  # readers do not need it

        holdings = holdings or self.inventory.contents()
        derived = derived_bytes(self._parts, holdings)
        return eviction.summed(holdings.size.bytes, derived, self._years(holdings))

    def last_uses(self) -> Callable[[SeriesKey], Use]:
        """Return a function that looks up a series' last use by any process.

        The time of the use is 0 if there was none.
        """
        uses = self._uses.merged(self.inventory.index)
        return lambda key: uses.get(lane_name(key), Use())

    def _years(self, holdings: Holdings) -> list[StoredYear]:
        keep, now_ms = self._limits.must_keep, self._clock.now_ms()
        latest_ms = self._time.read()
        return eviction.stored_years(holdings.lanes, self.last_uses(), keep, now_ms, latest_ms)

    def _is_stored(self, key: SeriesKey) -> bool:
        return self._disk.stat(self._parts.lane(key).paths.text) is not None


# --- last uses of all processes ----------------------------------------------------------


class LastUses:
    """The times at which a cache folder's lanes were last used. Thread- and process-safe.

    Args:
        clock: Source of the current time, when a read is recorded.
        is_stored: Function that returns whether a series has a folder; uses of other series are
            discarded.
    """

    def __init__(self, clock: Clock, is_stored: Callable[[SeriesKey], bool]) -> None:
        self._clock = clock
        self._is_stored = is_stored
        self._noted: dict[SeriesKey, LaneUse] = {}
        self._begin()

    def _begin(self) -> None:
        self._fresh: dict[str, Use] = {}
        self._pid = os.getpid()
        # Guards the taken uses against threads that write them at the same time.
        self._lock = threading.Lock()

    def of(self, key: SeriesKey) -> LaneUse:
        """Return the object that records uses of a series; there is one object for each series."""
        return self._noted.setdefault(key, LaneUse())

    def merged(self, index: LaneIndex) -> dict[str, Use]:
        """Return a mapping from each lane to its last use.

        The result combines the stored uses by all processes with those by this process.
        """
        with self._guard():
            self._take_uses()
            written = index.uses()
            return written | {n: use.after(written.get(n, Use())) for n, use in self._fresh.items()}

    def write(self, index: Callable[[], LaneIndex]) -> None:
        """Store this process's uses; if they cannot be written, they are written the next time."""
        with self._guard():
            self._take_uses()
            if self._fresh and index().keep_uses(self._fresh):
                self._fresh = {}

    def _guard(self) -> threading.Lock:
        if os.getpid() != self._pid:  # the parent writes what was noted before the fork
            self._begin()
            for uses in self._noted.values():
                uses.take_last(0)
        return self._lock

    def _take_uses(self) -> None:
        now_ms = self._clock.now_ms()
        for key, uses in list(self._noted.items()):
            use = uses.take_last(now_ms)
            if use is not None and self._is_stored(key):
                name = lane_name(key)
                self._fresh[name] = use.after(self._fresh.get(name, Use()))


def lane_name(key: SeriesKey) -> str:
    """Return a lane's name in the index, which consists of its folder names."""
    return f"{encode_symbol(key.symbol)}/{encode_lane(key)}"
