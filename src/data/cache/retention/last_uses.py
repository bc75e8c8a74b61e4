"""When the lanes of a cache were used last, by all processes.

Written into the index seldom: by a commit now and then, by jobs, at exit. Where that is lost, the
times of the commits count.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...clock import Clock
from ...model.series import SeriesKey
from ..layout import encode_lane, encode_symbol
from .usage import LaneUse, Use

if TYPE_CHECKING:
    from .index import LaneIndex


class LastUses:
    """When the lanes of one cache folder were used last. Thread-safe, and safe across processes.

    Args:
        clock: tells the time of a read.
        is_stored: tells whether a series has a folder; uses of others are forgotten.
    """

    def __init__(self, clock: Clock, is_stored: Callable[[SeriesKey], bool]) -> None:
        self._clock = clock
        self._is_stored = is_stored
        self._noted: dict[SeriesKey, LaneUse] = {}
        self._begin()

    def _begin(self) -> None:
        self._fresh: dict[str, Use] = {}
        self._pid = os.getpid()
        # Guards what was taken against threads that write it at once.
        self._lock = threading.Lock()

    def of(self, key: SeriesKey) -> LaneUse:
        """Return what notes the uses of a series, always the same."""
        return self._noted.setdefault(key, LaneUse())

    def known(self, index: LaneIndex) -> dict[str, Use]:
        """Return lane to its last use by any process, as far as they are written, and by this one."""
        with self._guard():
            self._take()
            known = index.uses()
            return known | {n: use.after(known.get(n, Use())) for n, use in self._fresh.items()}

    def write(self, index: Callable[[], LaneIndex]) -> None:
        """Write down ours; what cannot be written is written the next time."""
        with self._guard():
            self._take()
            if self._fresh and index().keep_uses(self._fresh):
                self._fresh = {}

    def _guard(self) -> threading.Lock:
        if os.getpid() != self._pid:  # what was noted before the fork is the parent's to write
            self._begin()
            for noted in self._noted.values():
                noted.take(0)
        return self._lock

    def _take(self) -> None:
        now = self._clock.now_ms()
        for key, noted in list(self._noted.items()):
            use = noted.take(now)
            if use is not None and self._is_stored(key):
                name = lane_name(key)
                self._fresh[name] = use.after(self._fresh.get(name, Use()))


def lane_name(key: SeriesKey) -> str:
    """Return the name of a lane in the index: its folders."""
    return f"{encode_symbol(key.symbol)}/{encode_lane(key)}"
