"""Years of bars held in memory where there can be no columns on the disk: a bounded number of bytes."""

from __future__ import annotations

from ..disk.files import FileState
from ..model.series import SeriesKey
from .holding import Held
from .sidecars import WholeYear
from .year_meta import YearState

_MOST_BYTES = 128 << 20


class HotYears:
    """The years read most, in a cache folder that takes no columnar files. Thread-safe.

    Args:
        most_bytes: what all of them may take; a year that is larger alone is not held.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._held: Held[tuple[SeriesKey, int], WholeYear] = Held(most_bytes)

    def find(
        self, key: SeriesKey, year: int, state: YearState, file: FileState
    ) -> WholeYear | None:
        """Return a year if it is held as ``state`` says and its data ``file`` was not touched."""
        held = self._held.find((key, year))
        if held is None or held.file != file:
            return None
        if (held.state.size, held.state.head) != (state.size, state.head):
            return None
        return held._replace(state=state)  # what is known of the bars may have changed

    def hold(self, key: SeriesKey, year: int, whole: WholeYear) -> None:
        """Hold a year, where there is room for it."""
        arrays = [whole.table.stamps, *whole.table.values()]
        for values in arrays:
            values.flags.writeable = False  # many answers are made of them
        self._held.hold((key, year), whole, sum(values.nbytes for values in arrays))
