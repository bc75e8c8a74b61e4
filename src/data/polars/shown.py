"""Tracks which bars a portal has shown to the caller; only these are recorded as reads.

The portal reads more bars than the caller requests. Bars that the caller never sees are not
recorded.
"""

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

# Number of reads that are passed on together, since a minute backtest has one per minute.
_MOST_LOOKS = 4096
# A read: the number of rows, and for each market the instant by which they must have closed.
Look = tuple[int, tuple[int, ...]]


class ReadAhead:
    """Collects the answers read for a panel, before they are added to the caller's record of reads.

    Errors are passed on to the record immediately. Thread-safe.

    Attributes:
        answers: Answers, each with the function that converts it to a `HandedOn`.
    """

    def __init__(self, record: Any) -> None:
        self.record = record
        self.answers: list[tuple[Any, Callable[[Any], Any]]] = []

    def answered(self, answer: Any, handed_on: Callable[[Any], Any]) -> None:
        """Keep an answer."""
        self.answers.append((answer, handed_on))

    def failed(self, query: BarsQuery, error: DataError) -> None:
        """Pass an error on to the record immediately, because the caller sees it."""
        self.record.failed(query, error)

    def can_be_cut(self) -> bool:
        """Return whether every part of an answer equals the answer to a query for that part."""
        return all(handed_on(answer).can_be_cut() for answer, handed_on in self.answers)

    @property
    def nbytes(self) -> int:
        """Memory used by the answers, in bytes."""
        return sum(8 * len(a.table) * (len(a.table.columns) + 1) for a, _ in self.answers)


class PanelReads:
    """The answers from which a panel was built, and the caller's reads of the panel.

    Thread-safe without a lock.

    Args:
        read: Answers that were read.
        panel: Panel built from them.
        timeframe: Timeframe of the bars.
    """

    def __init__(self, read: ReadAhead, panel: Panel, timeframe: Timeframe) -> None:
        self._read, self._groups, self._timeframe = read, panel.groups, timeframe
        self._looks: set[Look] = set()

    @property
    def nbytes(self) -> int:
        """Memory used by the answers, in bytes."""
        return self._read.nbytes

    def add(self, horizons: tuple[int, ...], rows: int) -> None:
        """Note that the caller has read the panel; the record of reads is updated later.

        The record is updated immediately if the recorded run has ended or many reads have been
        noted.

        Args:
            horizons: For each market, the instant by which the rows must have closed.
            rows: Number of rows that the caller got.
        """
        self._looks.add((rows, horizons))
        if len(self._looks) > _MOST_LOOKS or not self._read.record.is_open:
            self.hand_over()

    def hand_over(self) -> None:
        """Pass all rows that the caller has seen since the last call on to the record."""
        looks: list[Look] = []
        while self._looks:
            try:
                looks.append(self._looks.pop())
            except KeyError:  # another thread removed the last one
                break
        if not looks:
            return
        spans = {
            group.market.calendar: self._spans(group, [(n, h[index]) for n, h in looks])
            for index, group in enumerate(self._groups)
        }
        for answer, handed_on in self._read.answers:
            for span in spans[calendar_for(answer.query.instrument)]:
                self._read.record.answered(handed_on(answer).within(span), handed_on)

    def _spans(self, group: PanelGroup, looks: Sequence[tuple[int, int]]) -> list[Span]:
        """Return the spans of a market's rows that the caller has seen.

        A span ends at the first stamp in the market's calendar after the last of these rows.
        """
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


class RunPanels:
    """All panels from which one recorded run has read. Thread-safe.

    Args:
        record: Record of the caller's reads. A panel's reads are passed on to it when the panel is
            dropped, and all remaining reads before the record is written.
        over: Function that is called when the recording has ended.

    Attributes:
        uncut: Keys of the panels whose answers cannot be cut to the rows that the caller saw;
            nothing is read ahead for these panels.
    """

    def __init__(self, record: Any, over: Callable[[], object]) -> None:
        self._over, self._lock = over, threading.Lock()
        self.uncut: set[Any] = set()
        # A panel that nothing refers to can no longer be read.
        self._panels: list[tuple[weakref.ref[Panel], PanelReads]] = []
        record.before_writing(self._hand_over)

    def add(self, panel: Panel, shown: PanelReads) -> None:
        """Add a panel, and pass on the reads of panels that were dropped."""
        with self._lock:
            gone = [seen for panel_of, seen in self._panels if panel_of() is None]
            self._panels = [(p, seen) for p, seen in self._panels if p() is not None]
            self._panels.append((weakref.ref(panel), shown))
        for seen in gone:
            seen.hand_over()

    def _hand_over(self, *, is_last: bool) -> None:
        with self._lock:
            parts = [seen for _, seen in self._panels]
        for seen in parts:
            seen.hand_over()
        if is_last:
            self._over()
