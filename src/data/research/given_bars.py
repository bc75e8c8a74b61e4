"""Frames of bars that a caller passes in: their values, their provenance, and when each bar closes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.calendars.calendar import calendar_for
from ..core.calendars.grid import BarGrid
from ..core.calendars.ranges import moment_of
from ..core.model.answer.frame import table_of
from ..core.model.answer.provenance import ATTRS_KEY
from ..core.model.display.texts import stamp, written
from ..core.model.market.bars import BarTable, Stamps
from ..core.model.time.instant import DAY_MS, HOUR_MS, day_ms, to_ms
from ..core.model.time.timeframe import Timeframe
from ..data_manager import current_selector
from ..errors import BadRangeError, QueryError, ResponseFormatError

if TYPE_CHECKING:
    import pandas as pd

# Lengths of bars that can be read from the distances between them: any up to the longest of a day's
# parts, a day, and a week. Others, such as 23 hours or 28 days, are those of a longer bar.
_LONGEST_PART_MS, _WHOLE_MS = 12 * HOUR_MS, (DAY_MS, 7 * DAY_MS)


@dataclass(frozen=True)
class GivenBars:
    """The bars in a caller's frame, in strictly ascending order.

    Attributes:
        name: Name of the bars in error messages.
        table: Bars.
        facts: Provenance of an answer; empty for other frames.
        notes: What the caller wrote into ``frame.attrs``.
    """

    name: str
    table: BarTable
    facts: Mapping[str, Any]
    notes: Mapping[Any, Any]

    @classmethod
    def of(cls, name: str, frame: pd.DataFrame) -> GivenBars:
        """Read a frame.

        Raises:
            QueryError: The value is not a frame of bars, has no rows, or has a time that is not after
                the one before it.
        """
        if not hasattr(frame, "attrs"):
            raise QueryError(f"{name} is not a frame of bars, but {written(frame):.80}")
        try:
            table = table_of(frame)
        except ResponseFormatError as exc:
            raise QueryError(f"{name}: {exc}") from exc
        if not len(table):
            raise QueryError(f"{name}: the frame has no bars")
        late = np.flatnonzero(np.diff(table.stamps) <= 0)
        if len(late):
            raise QueryError(
                f"{name}: the bar at {stamp(int(table.stamps[late[0] + 1]))} is not after the one before it",
                hint="sort the frame by time, and keep one row for each time",
            )
        return cls(name, table, frame.attrs.get(ATTRS_KEY) or {}, frame.attrs)

    @property
    def unit(self) -> str:
        """Currency of the prices: that of the provenance, else ``currency`` in ``attrs``; or empty."""
        return str(self.facts.get("kind", {}).get("unit") or self.notes.get("currency") or "")

    @property
    def timeframe(self) -> Timeframe | None:
        """Timeframe in the provenance, else ``timeframe`` in ``attrs``; or None."""
        label = self.facts.get("timeframe") or self.notes.get("timeframe")
        return Timeframe.parse(label) if label else None

    def closes(self, stamps: Stamps) -> Stamps:
        """Return the closing times of bars of this length (UTC milliseconds).

        The calendar of the symbol in the provenance decides. Without one, a bar closes one length
        after its time, which for a day is the end of the UTC day.

        Raises:
            QueryError: The length of the bars is unknown, or the symbol has no calendar.
        """
        grid = self.grid
        return grid.closes(stamps) if grid else stamps + self._step_ms(self.timeframe)

    @property
    def grid(self) -> BarGrid | None:
        """Grid of the expected bars, by the calendar of the symbol in the provenance, or None.

        Raises:
            QueryError: The symbol is not known.
        """
        kind, timeframe = self.facts.get("kind", {}), self.timeframe
        if timeframe is None or not self.facts.get("symbol"):
            return None
        instrument = current_selector().instrument(self.facts["symbol"])
        calendar = calendar_for(instrument.in_session(kind.get("session") or "regular"))
        return BarGrid(calendar, timeframe, kind.get("anchor") or "session")

    @property
    def distance_ms(self) -> int:
        """Shortest distance between two bars; 0 for a single one."""
        distances = np.diff(self.table.stamps)
        return int(distances.min()) if len(distances) else 0

    def _step_ms(self, timeframe: Timeframe | None) -> int:
        found = self.distance_ms
        step = timeframe.step_ms or 0 if timeframe else found
        if not 0 < step <= _LONGEST_PART_MS and step not in _WHOLE_MS:
            raise QueryError(
                f"{self.name}: it is unknown when these bars close; the shortest distance between two is "
                f"{found / DAY_MS:g} days",
                hint="use bars of up to 12 hours, a day or a week, an answer of get_ohlcv, or state the "
                "length: frame.attrs['timeframe'] = '1d'",
            )
        return step


def instant_of(what: str, value: Any, *, is_end: bool = False) -> int:
    """Convert a time to UTC milliseconds; naive means UTC, and a date is its begin, or its end.

    Raises:
        BadRangeError: The value is not a time.
    """
    moment = moment_of(value)
    try:
        if isinstance(moment, datetime):
            return to_ms(moment)
        if moment is not None:
            return day_ms(moment) + DAY_MS * is_end
    except ValueError:
        pass
    raise BadRangeError(
        f"{what} {written(value):.80} is not a time", hint="use 2024-03-08 or 2024-03-08T14:30Z"
    )
