"""Years of bars held in memory where there can be no columns on the disk: a bounded number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict

from ..disk.files import FileState
from ..model.series import SeriesKey
from .sidecars import WholeYear
from .year_meta import YearState

_MOST_BYTES = 128 << 20


class HotYears:
    """The years read last, in a cache folder that takes no columnar files. Thread-safe.

    Args:
        most_bytes: what all of them may take; a year that is larger alone is not held.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        # Guards the order and the sum. Nobody waits for it: a year may as well not be held, and a
        # forked child that inherits it taken holds none.
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[SeriesKey, int], WholeYear] = OrderedDict()

    def find(
        self, key: SeriesKey, year: int, state: YearState, file: FileState
    ) -> WholeYear | None:
        """Return a year if it is held as ``state`` says and its data ``file`` was not touched."""
        held = self._held.get((key, year))
        if held is None or held.file != file:
            return None
        if (held.state.size, held.state.head) != (state.size, state.head):
            return None
        return held._replace(state=state)  # what is known of the bars may have changed

    def hold(self, key: SeriesKey, year: int, whole: WholeYear) -> None:
        """Hold a year, and let those go that were not held for longest."""
        arrays = [whole.table.stamps, *whole.table.values()]
        for values in arrays:
            values.flags.writeable = False  # many answers are made of them
        if self._lock.acquire(blocking=False):
            try:
                self._let_go((key, year))
                self._held[key, year] = whole
                self._bytes += sum(values.nbytes for values in arrays)
                while self._bytes > self._most_bytes:
                    self._let_go(next(iter(self._held)))
            finally:
                self._lock.release()

    def _let_go(self, place: tuple[SeriesKey, int]) -> None:
        gone = self._held.pop(place, None)
        if gone is not None:
            self._bytes -= sum(v.nbytes for v in (gone.table.stamps, *gone.table.values()))
