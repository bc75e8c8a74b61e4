"""What a portal has shown of bars that it read ahead: a record of reads gets that, and nothing else."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calendars.calendar import calendar_for
from ..model.span import Span
from ..model.timeframe import Timeframe
from .panel import Panel, PanelGroup, end_of

if TYPE_CHECKING:
    from ..errors import DataError
    from ..model.query import BarsQuery

# More looks than this are handed over together: a long backtest by minutes makes as many as it has minutes.
_MOST_LOOKS = 4096
# How many rows, and by when they must have closed, in each market.
Look = tuple[int, tuple[int, ...]]


class ReadAhead:
    """Stands in for a record while a panel is read; errors go to the record at once. Thread-safe.

    Attributes:
        answers: each with what makes a `HandedOn` of it.
    """

    def __init__(self, record: Any) -> None:
        self.record = record
        self.answers: list[tuple[Any, Callable[[Any], Any]]] = []

    def answered(self, answer: Any, handed_on: Callable[[Any], Any]) -> None:
        """Keep an answer."""
        self.answers.append((answer, handed_on))

    def failed(self, query: BarsQuery, error: DataError) -> None:
        """Pass an error on: the program sees it."""
        self.record.failed(query, error)

    def can_be_cut(self) -> bool:
        """Tell whether a part of each answer is what a question for that part is answered with."""
        return all(handed_on(answer).can_be_cut() for answer, handed_on in self.answers)

    @property
    def nbytes(self) -> int:
        """How much memory the answers take."""
        return sum(8 * len(a.table) * (len(a.table.columns) + 1) for a, _ in self.answers)


class Shown:
    """The answers of one panel, and the looks that the program had at it. Thread-safe; without a lock.

    Args:
        read: what was read.
        panel: made of it.
        timeframe: of the bars.
    """

    def __init__(self, read: ReadAhead, panel: Panel, timeframe: Timeframe) -> None:
        self._read, self._groups, self._timeframe = read, panel.groups, timeframe
        self._looks: set[Look] = set()

    @property
    def nbytes(self) -> int:
        """How much memory the answers take."""
        return self._read.nbytes

    def add(self, horizons: tuple[int, ...], rows: int) -> None:
        """Note a look; it is handed over with others, at once where the record is at its end."""
        self._looks.add((rows, horizons))
        if len(self._looks) > _MOST_LOOKS or not self._read.record.is_open:
            self.hand_over()

    def hand_over(self) -> None:
        """Give the record what was shown since the last time."""
        looks: list[Look] = []
        while self._looks:
            try:
                looks.append(self._looks.pop())
            except KeyError:  # another thread took the last one
                break
        if not looks:
            return
        spans = {
            group.market.calendar: self._spans(group, [(n, h[place]) for n, h in looks])
            for place, group in enumerate(self._groups)
        }
        for answer, handed_on in self._read.answers:
            for span in spans[calendar_for(answer.query.instrument)]:
                self._read.record.answered(handed_on(answer).within(span), handed_on)

    def _spans(self, group: PanelGroup, looks: Sequence[tuple[int, int]]) -> list[Span]:
        """Return the stamps of the rows of a market that were shown, up to the next one of its calendar."""
        rows, horizons = np.array(sorted(looks)).T
        behind = group.closes.searchsorted(horizons, side="right")
        first = np.maximum(0, behind - rows)
        order = np.lexsort((behind, first))
        first, behind, horizons = first[order], behind[order], horizons[order]
        reach = np.maximum.accumulate(behind)
        starts = np.flatnonzero(np.append(True, first[1:] > reach[:-1]))
        return [
            Span(
                int(group.stamps[first[a]]),
                end_of(group.market, self._timeframe, int(horizons[a:b].max())),
            )
            for a, b in pairwise([*starts.tolist(), len(first)])
            if reach[b - 1] > first[a]
        ]


class ShownTo:
    """All that a portal has shown to one record. Thread-safe.

    Args:
        record: hears of it when a panel is dropped, and before it writes.
        over: called when the record has ended.

    Attributes:
        uncut: keys of questions whose answers cannot be cut: they are read as they are shown.
    """

    def __init__(self, record: Any, over: Callable[[], object]) -> None:
        self._over, self._lock = over, threading.Lock()
        self.uncut: set[Any] = set()
        # A panel that nothing refers to any more is looked at no more.
        self._panels: list[tuple[weakref.ref[Panel], Shown]] = []
        record.before_writing(self._hand_over)

    def add(self, panel: Panel, shown: Shown) -> None:
        """Take a panel, and hand over what was shown of those that were dropped."""
        with self._lock:
            gone = [part for panel_of, part in self._panels if panel_of() is None]
            self._panels = [(p, part) for p, part in self._panels if p() is not None]
            self._panels.append((weakref.ref(panel), shown))
        for part in gone:
            part.hand_over()

    def _hand_over(self, *, is_last: bool) -> None:
        with self._lock:
            parts = [part for _, part in self._panels]
        for part in parts:
            part.hand_over()
        if is_last:
            self._over()
