"""Looking after one cache folder: uses are counted, the limit is kept, the disk is not filled up."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...clock import Clock
from ...errors import CacheError, DataError, LockTimeoutError
from ...model.series import SeriesKey
from ...model.span import Span
from ..facade import summaries
from ..store import BarStore
from ..values import Commit
from ..write.coverage_update import years_of
from ..write.series import SeriesFiles
from . import drop, eviction
from .clear import evict_year
from .eviction import BYTES_IN_GB, Freeable, Holding, Keeps
from .free_space import FreeSpaceGuard, need_of
from .listener import StoreListener
from .trim import Trimmed, trim_quarantine
from .usage import Tally, Usage

log = logging.getLogger(__name__)

_EVERY_S = 15 * 60.0
# Before that time is over, a look when so much was written: a share of the limit, and in bytes.
_GROWN_SHARE, _GROWN_MOST = 0.01, 256 << 20
# How much a folder takes is measured at least so often, whatever was counted meanwhile.
_MEASURED_FOR_MS = 24 * 3600 * 1000
# How often a process looks for what is too old.
_RETAINED_EVERY_S = 24 * 3600.0
_said: set[Path] = set()


def _keep_any_age() -> None:
    """Delete nothing by age."""


@dataclass(frozen=True)
class RetentionLimits:
    """What a steward goes by.

    Attributes:
        limit: bytes that the folder may take now; 0: any.
        min_free_mb: see :class:`FreeSpaceGuard`.
        must_keep: tells which bars no vendor could supply again.
        by_age: deletes what is older than the rules want.
    """

    limit: Callable[[], int]
    min_free_mb: float | None = None
    must_keep: Keeps = eviction.keep_all
    by_age: Callable[[], None] = _keep_any_age


class RetentionManager(StoreListener):
    """Looks after the folder of a store. Thread-safe, and safe across processes.

    Whatever goes wrong here costs no commit and no answer.

    Args:
        store: whose folder.
        clock: the time.
        house: limits, and what must stay.
    """

    def __init__(self, store: BarStore, clock: Clock, house: RetentionLimits) -> None:
        self._store = store
        self._shop = store.workshop
        self._disk = store.workshop.disk
        self._clock = clock
        self._house = house
        self._root = store.root
        self._folder = store.root / "ohlcv" / summaries.FOLDER
        self._usage = Usage(self._folder, self._disk, clock)
        self._room = FreeSpaceGuard(
            self._root, self._disk, house.min_free_mb, self._make_room, clock
        )
        self._grown = 0
        self._looked_s = clock.monotonic()
        self._retained_s = -math.inf
        # Held by the one thread that looks; the others go on.
        self._looking, self._pid = threading.Lock(), os.getpid()

    # --- on the way ------------------------------------------------------------------------

    def tally(self, key: SeriesKey) -> Tally:
        """Return what counts the uses of a series."""
        return self._usage.tally(key)

    def used(self, key: SeriesKey, span: Span) -> None:
        """Take note that ``span`` of a series is about to be needed: it is not dropped now."""
        self._usage.tally(key).read(span)

    @contextmanager
    def committing(self, lane: SeriesFiles, commit: Commit) -> Iterator[None]:
        """Let the block store a commit, and look at the whole now and then.

        Raises:
            NoRoomError: on entering, where it would leave too little room on the disk.
        """
        need = need_of(lane, commit)
        self._room.claim(need)
        yield
        spans = [part.span for part in commit.pieces] + [mark.span for mark in commit.marks]
        years = {year for span in spans for year in years_of(span)}
        lane.uses.committed(years, self._clock.now_ms())
        self._grown += need
        if self._is_time():
            self.look()

    def has_room(self, need: int) -> bool:
        """Tell whether ``need`` bytes may be written that nobody needs."""
        return self._room.has(need)

    def _is_time(self) -> bool:
        limit = self._house.limit()
        most = min(limit * _GROWN_SHARE, _GROWN_MOST) if limit else _GROWN_MOST
        return self._grown > most or self._clock.monotonic() - self._looked_s >= _EVERY_S

    # --- now and then ----------------------------------------------------------------------

    def look(self) -> None:
        """Write down the uses, and keep the limit if the folder has outgrown it by what is known.

        At most one thread does so; the others go on.
        """
        if os.getpid() != self._pid:  # a thread of the parent may have held it at the fork
            self._pid, self._looking = os.getpid(), threading.Lock()
        if self._looking.locked():
            return
        with self._looking:
            try:
                self._look()
            except CacheError as exc:
                log.debug("the folder was not looked at: %s", exc)

    def retain(self) -> None:
        """Delete what is older than the rules want; what goes wrong is logged."""
        self._retained_s = self._clock.monotonic()
        try:
            self._house.by_age()
        except DataError as exc:
            log.debug("what is too old was not deleted: %s", exc)

    def _look(self) -> None:
        if self._clock.monotonic() - self._retained_s >= _RETAINED_EVERY_S:
            self.retain()
        grown, self._grown = self._grown, 0
        self._looked_s = self._clock.monotonic()
        known = self._usage.write(self._years, grown=grown)
        limit, now = self._house.limit(), self._clock.now_ms()
        if limit and (
            known is None
            or known.bytes is None
            or known.bytes > limit
            or now - known.measured_ms >= _MEASURED_FOR_MS
        ):
            self.enforce()

    def tidy(self, *, dry_run: bool = False) -> Trimmed:
        """Take old files out of the quarantines of all series; return what went, or would."""
        done = Trimmed()
        for key in self._store.keys():
            try:
                done = done.plus(trim_quarantine(self._shop.lane(key), dry_run=dry_run))
            except CacheError as exc:
                log.debug("%s: the quarantine stays: %s", key, exc)
        return done

    def write_uses(self) -> None:
        """Write down the uses, for those who look later."""
        if self._folder.parent.is_dir():
            grown, self._grown = self._grown, 0
            self._usage.write(self._years, grown=grown)

    def enforce(self) -> int:
        """Drop what can be had again until the folder is within its limit; return years dropped.

        First goes what can be made again from the bars, then years that vendors can supply again,
        the longest unused first. What remains above the limit is logged once a process. One
        process does it at a time; the others go on.
        """
        limit = self._house.limit()
        if limit <= 0 or not self._folder.parent.is_dir():
            return 0
        try:
            self._disk.make_folders(self._folder)
            with self._disk.lock(self._folder / ".eviction.lock", 0.0):
                return self._enforce(limit)
        except LockTimeoutError:
            log.debug("somebody else is keeping the limit")
        except DataError as exc:  # also of those who say what vendors could supply
            log.debug("the limit could not be kept: %s", exc)
        return 0

    def _enforce(self, limit: int) -> int:
        size = eviction.measure(self._root).bytes
        left, dropped = size - limit, 0
        if left > 0:
            left -= self._make_room(left)
        if left > 0:
            holdings = self._holdings()
            for one in eviction.choose(holdings, left):
                if self._evict(one):
                    left, dropped = left - one.bytes, dropped + 1
            later = sum(h.bytes for h in holdings if h.kept == eviction.IN_USE)
            if left > later:
                self._say(left)
        self._usage.write(self._years, measured=limit + left)
        return dropped

    def _make_room(self, lack: int) -> int:
        """Drop what can be made again, the longest unused first; return the bytes freed."""
        try:
            known = self._usage.look(self._years)
            return drop.drop_derived(self._shop, known.uses, lack)
        except CacheError as exc:
            log.debug("no room could be made: %s", exc)
            return 0

    def _evict(self, one: Holding) -> bool:
        try:
            return evict_year(self._shop.lane(one.key), one.year, one.generation)
        except DataError as exc:
            log.debug("%s %s stays: %s", one.key, one.year, exc)
            return False

    def _say(self, left: int) -> None:
        if self._root not in _said:
            _said.add(self._root)
            log.warning(
                "the cache is %.2f GB above its limit, and what it holds could not be had again: "
                "`onetape cache clean --dry-run` says why",
                left / BYTES_IN_GB,
            )

    # --- for people ------------------------------------------------------------------------

    def freeable(self) -> Freeable:
        """Return what could go of the folder, and why the rest could not."""
        size = eviction.measure(self._root).bytes
        return eviction.summed(size, drop.derived_bytes(self._shop), self._holdings())

    def last_ms(self, key: SeriesKey) -> int:
        """Return when a series was used last, by anybody; 0 where nothing tells."""
        known = self._usage.look(self._years)
        return max((known.last_ms(key, year) for year in self._years(key)), default=0)

    def last_used(self, key: SeriesKey, year: int) -> int:
        """Return when one year was used last, by anybody; 0 where nothing tells."""
        return self._usage.look(self._years).last_ms(key, year)

    def _holdings(self) -> list[Holding]:
        known = self._usage.look(self._years)
        lanes = (self._shop.lane(key) for key in self._store.keys())
        now = self._clock.now_ms()
        return eviction.holdings_of(lanes, known.last_ms, self._house.must_keep, now)

    def _years(self, key: SeriesKey) -> list[int]:
        return self._shop.lane(key).years()
