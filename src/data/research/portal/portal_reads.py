"""Tracks which bars a portal has shown to the caller; only these are recorded as reads.

The portal reads more bars than the caller requests. Bars that the caller never sees are not
recorded.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...core.calendars.calendar import calendar_for
from ...core.model.time.span import Span, coalesce
from ..frames.panel import Panel, PanelGroup, end_of

if TYPE_CHECKING:
    from ...core.model.request.query import BarsQuery
    from ...errors import DataError

# Number of reads that are passed on together, since a minute backtest has one per minute.
_MOST_LOOKS = 4096


class PanelReads:
    """The answers from which a panel is built, and the caller's reads of the panel.

    While the panel is read, this object takes the place of the record, so that only the rows that
    the caller sees are recorded. Errors are passed on immediately. Thread-safe without a lock.

    Args:
        record: Record of the caller's reads.
    """

    def __init__(self, record: Any) -> None:
        self.record = record
        self._answers: list[tuple[Any, Callable[[Any], Any]]] = []
        self._panel: Callable[[], Panel | None] = lambda: None
        self._groups: tuple[PanelGroup, ...] = ()
        # The number of rows, and for each market the instant by which they must have closed.
        self._looks: set[tuple[int, tuple[int, ...]]] = set()

    def answered(self, answer: Any, handed_on: Callable[[Any], Any]) -> None:
        """Keep an answer."""
        self._answers.append((answer, handed_on))

    def failed(self, query: BarsQuery, error: DataError) -> None:
        """Pass an error on to the record immediately, because the caller sees it."""
        self.record.failed(query, error)

    def can_be_cut(self) -> bool:
        """Return whether every part of an answer equals the answer to a query for that part."""
        return all(handed_on(answer).can_be_cut() for answer, handed_on in self._answers)

    @property
    def nbytes(self) -> int:
        """Memory used by the answers, in bytes."""
        return sum(8 * len(a.table) * (len(a.table.columns) + 1) for a, _ in self._answers)

    def belong_to(self, panel: Panel) -> None:
        """Note the panel that was built from the answers."""
        panel.shown, self._panel, self._groups = self, weakref.ref(panel), panel.groups
        self._timeframe = panel.timeframe

    @property
    def is_over(self) -> bool:
        """Whether nothing refers to the panel any more, so that it can no longer be read."""
        return self._panel() is None

    def add(self, horizons: tuple[int, ...], rows: int) -> None:
        """Note that the caller has read the panel; the record of reads is updated later.

        The record is updated immediately if the recorded run has ended or many reads have been
        noted.

        Args:
            horizons: For each market, the instant by which the rows must have closed.
            rows: Number of rows that the caller got.
        """
        self._looks.add((rows, horizons))
        if len(self._looks) > _MOST_LOOKS or not self.record.is_open:
            self.hand_over()

    def hand_over(self) -> None:
        """Pass all rows that the caller has seen since the last call on to the record."""
        looks: list[tuple[int, tuple[int, ...]]] = []
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
        for answer, handed_on in self._answers:
            for span in spans[calendar_for(answer.query.instrument)]:
                self.record.answered(handed_on(answer).within(span), handed_on)

    def _spans(self, group: PanelGroup, looks: Sequence[tuple[int, int]]) -> list[Span]:
        """Return the spans of a market's rows that the caller has seen.

        A span ends at the first stamp in the market's calendar after the last of these rows.
        """
        spans = [
            Span(int(group.stamps[seen.start]), end_of(group.market, self._timeframe, horizon_ms))
            for rows, horizon_ms in looks
            for seen in [group.rows(horizon_ms, rows)]
            if seen.stop > seen.start
        ]
        return coalesce(spans)


class RunReads:
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
        self._parts: list[PanelReads] = []
        record.before_writing(self._hand_over)

    def add(self, panel: Panel, shown: PanelReads) -> None:
        """Add a panel with the reads of it, and pass on the reads of panels that were dropped."""
        shown.belong_to(panel)
        with self._lock:
            gone = [part for part in self._parts if part.is_over]
            self._parts = [part for part in self._parts if part not in gone] + [shown]
        for part in gone:
            part.hand_over()

    def _hand_over(self, *, is_last: bool) -> None:
        with self._lock:
            parts = list(self._parts)
        for part in parts:
            part.hand_over()
        if is_last:
            self._over()
