"""The store of one dry run, which never writes, and the outcome of its query."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.actions import Asked
from ...cache.store import ActionBook, BarStore, Commit, SeriesView, StoredSpan, StoreListener
from ...cache.values import no_check
from ...cache.write.coverage_update import after_marks, after_pieces
from ...errors import (
    AllProvidersFailedError,
    CorruptEntryError,
    NoProviderError,
    UnknownProviderError,
)
from ...model.actions import Action
from ...model.bars import BarTable, Floats, Stamps, among, concat, inside, merge
from ...model.coverage import Coverage
from ...model.edges import Edges, spans_of
from ...model.plan import PlanStep
from ...model.query import BarsQuery
from ...model.series import SeriesKey
from ...model.span import Span
from ...model.timeframe import Timeframe
from ..answer.adjust import with_answers
from ..answer.answer import Answer
from ..fetch.plan import FetchPlan
from ..series import LaneRequest


@dataclass(frozen=True)
class _Rows:
    """Bars drafted in a dry run, kept as runs of equally spaced timestamps.

    A column whose values are all equal is kept as a single value.

    Attributes:
        begins, counts: First timestamp and length of each run, ascending.
        step_ms: Distance between the timestamps of a run, in milliseconds.
        columns: Value columns in the order of ``BarTable.values``.
    """

    begins: Stamps
    counts: Stamps
    step_ms: int
    columns: tuple[Floats, ...]

    @classmethod
    def of(cls, table: BarTable) -> _Rows:
        """Convert an ascending, non-empty table to runs of equally spaced rows."""
        steps = np.diff(table.stamps)
        step_ms = int(steps.min()) if len(steps) else 1
        firsts = np.append(0, np.flatnonzero(steps != step_ms) + 1)
        counts = np.diff(np.append(firsts, len(table)))
        columns = (c[:1].copy() if (c == c[0]).all() else c for c in table.values())
        return cls(table.stamps[firsts], counts, step_ms, tuple(columns))

    @property
    def span(self) -> Span:
        """The span from the first timestamp to the last one."""
        last = self.begins[-1] + (self.counts[-1] - 1) * self.step_ms
        return Span(int(self.begins[0]), int(last) + 1)

    def within(self, span: Span) -> BarTable:
        """Return the rows in ``span``."""
        return self._bars_at(np.arange(*self._row_bounds(span)))

    def stamps(self, span: Span) -> Stamps:
        """Return the timestamps of the rows in ``span``."""
        return self._stamps(np.arange(*self._row_bounds(span)))

    def outline(self, span: Span) -> BarTable:
        """Return the first and the last row in ``span`` of each run of evenly spaced rows."""
        start, end = self._row_bounds(span)
        ends = np.cumsum(self.counts)
        edges = np.concatenate([ends - self.counts, ends - 1, [start, end - 1]])
        return self._bars_at(np.unique(edges[(edges >= start) & (edges < end)]))

    def _row_bounds(self, span: Span) -> tuple[int, int]:
        """Return the positions of the first row in ``span`` and of the first row after it."""
        start, end = (
            int(np.clip(-((self.begins - edge) // self.step_ms), 0, self.counts).sum())
            for edge in span
        )
        return start, max(start, end)

    def _bars_at(self, positions: NDArray[np.int64]) -> BarTable:
        columns = [
            np.full(len(positions), column[0]) if len(column) == 1 else column[positions]
            for column in self.columns
        ]
        adj_close = columns[5] if len(columns) > 5 else None
        return BarTable.of_columns(self._stamps(positions), columns[:5], adj_close)

    def _stamps(self, positions: NDArray[np.int64]) -> Stamps:
        ends = np.cumsum(self.counts)
        run = ends.searchsorted(positions, "right")
        stamps: Stamps = self.begins[run] + (positions - (ends - self.counts)[run]) * self.step_ms
        return stamps


@dataclass
class _Draft:
    """The drafted commits to one series, with their bars and the series' views before and after.

    Attributes:
        base, view: View of the series before the commits, and after them.
        commits: Pairs of a commit without its bars, and the bars of its pieces.
        rows: All drafted bars, in spans that do not overlap, ascending.
        gone: Spans for which a vendor has reported that it has no bar.
    """

    base: SeriesView
    view: SeriesView
    commits: list[tuple[Commit, list[_Rows | None]]] = field(default_factory=list)
    rows: list[_Rows] = field(default_factory=list)
    gone: list[Span] = field(default_factory=list)

    def near(self, span: Span) -> slice:
        """Return the positions of the drafted blocks that may overlap ``span``."""
        first = bisect_left(self.rows, span.start + 1, key=lambda rows: rows.span.end)
        last = bisect_left(self.rows, max(span), key=lambda rows: rows.span.start)
        return slice(first, max(first, last))

    def add(self, rows: _Rows) -> None:
        """Add rows; they replace existing rows with the same timestamps."""
        index = self.near(rows.span)
        if older := self.rows[index]:
            rows = _Rows.of(
                merge(concat(old.within(old.span) for old in older), rows.within(rows.span))
            )
        self.rows[index] = [rows]


class DraftStore:
    """The store of one dry run, which keeps commits in memory. Not thread-safe.

    The class has the methods of :class:`.BarStore` that a query calls, but none of these methods
    writes to disk. Everything that is not drafted is read from the preview.

    Args:
        preview: View of the stored bars, from :meth:`.BarStore.preview`.

    Attributes:
        root, scope, memory: Folder, name and memory of the preview.
        listener: Listener that does nothing, because a plan does not count as a use of a series.
    """

    def __init__(self, preview: BarStore) -> None:
        self.root, self.memory, self.listener = preview.root, preview.memory, StoreListener()
        self.scope = preview.scope
        self._preview = preview
        self._drafts: dict[SeriesKey, _Draft] = {}
        self._answers: dict[str, list[tuple[Sequence[Action], Asked]]] = {}
        self._forgotten: dict[str, list[str]] = {}

    def view(self, key: SeriesKey) -> SeriesView:
        """Return the view of a series as if the commits of this dry run had been stored."""
        base = self._preview.view(key)
        draft = self._drafts.get(key)
        if draft is not None and draft.base != base:  # damage was found meanwhile
            del self._drafts[key]
            for commit, rows in draft.commits:
                pairs = zip(commit.pieces, rows, strict=True)
                pieces = (replace(p, table=r.within(r.span)) if r else p for p, r in pairs)
                self.commit(key, replace(commit, pieces=tuple(pieces)))
            draft = self._drafts[key]
        return base if draft is None else draft.view

    def read(self, key: SeriesKey, span: Span) -> tuple[BarTable, Coverage]:
        """Return bars and coverage for ``span``, including drafts."""
        _, table, coverage, _ = self.stored_span(key, span)
        return table, coverage

    def stored_span(
        self,
        key: SeriesKey,
        span: Span,
        since: SeriesView | None = None,
        *,
        is_use: bool = True,
        bad_rows: bool = True,
    ) -> StoredSpan:
        """Return the view, bars, coverage and bad rows for ``span``, including drafts."""
        return self._stored_span(key, span, in_outline=False)

    def _stored_span(self, key: SeriesKey, span: Span, *, in_outline: bool) -> StoredSpan:
        stored = self._preview.stored_span(key, span)
        if key not in self._drafts:
            return stored
        table = self._with_drafts(key, span, stored.table, in_outline=in_outline)
        view = self.view(key)
        return StoredSpan(view, table, view.coverage.within(span), stored.suspects)

    def commit(
        self,
        key: SeriesKey,
        commit: Commit,
        wait_s: float = 0.0,
        check: Callable[[], object] = no_check,
        based_on: int | None = None,
    ) -> None:
        """Keep the bars and coverage changes of a commit in memory."""

        def has_bars(spans: Edges) -> NDArray[np.bool_]:
            """Return a mask of the spans in which bars are stored or drafted."""
            read = self._preview.read
            ranges = spans_of(spans)
            return np.array(
                [len(self._with_drafts(key, s, read(key, s)[0])) > 0 for s in ranges], bool
            )

        if key not in self._drafts:
            base = self._preview.view(key)
            self._drafts[key] = _Draft(base, base)
        draft = self._drafts[key]
        rows = [_Rows.of(piece.table) if len(piece.table) else None for piece in commit.pieces]
        outlined = (replace(piece, table=BarTable.empty()) for piece in commit.pieces)
        draft.commits.append((replace(commit, pieces=tuple(outlined)), rows))
        draft.gone += [piece.span for piece in commit.pieces if not len(piece.table)]
        new = [batch for batch in rows if batch is not None]
        for added in new:
            draft.add(added)
        coverage = after_pieces(draft.view.coverage, commit.pieces)
        draft.view = replace(
            draft.view.updated(commit),
            coverage=after_marks(coverage, commit.marks, has_bars),
            generation=draft.view.generation + 1,
            last=max([batch.span.end - 1 for batch in new] + [draft.view.last or 0]) or None,
        )

    def _with_drafts(
        self, key: SeriesKey, span: Span, rows: BarTable, *, in_outline: bool = False
    ) -> BarTable:
        draft = self._drafts[key]
        if draft.gone:
            rows = rows.take(~inside(rows.stamps, draft.gone))
        drafts = draft.rows[draft.near(span)]
        new = concat(one.outline(span) if in_outline else one.within(span) for one in drafts)
        return merge(rows, new) if len(rows) and len(new) else concat([rows, new])

    def actions(self, symbol: str) -> ActionBook:
        """Return splits and dividends, including drafts."""
        answers = self._answers.get(symbol, ())
        try:
            book = self._preview.actions(symbol)
        except CorruptEntryError:
            if not answers:
                raise
            book = ActionBook()  # a damaged book is started again with the next answer
        for source in self._forgotten.get(symbol, ()):
            book = book.without(source)
        return with_answers(book, answers)

    def forget_actions(self, symbol: str, source: str, wait_s: float = 0.0) -> None:
        """Omit a sample-data vendor's reports from the actions returned from now on."""
        self._forgotten.setdefault(symbol, []).append(source)

    def add_actions(
        self,
        symbol: str,
        actions: Sequence[Action],
        dates: Span,
        source: str,
        fetched_at: int,
        until: int | None = None,
        wait_s: float = 0.0,
    ) -> ActionBook:
        """Keep splits and dividends in memory."""
        answer = actions, Asked(dates, source, fetched_at, until)
        self._answers.setdefault(symbol, []).append(answer)
        return self.actions(symbol)

    # --- not affected by drafts --------------------------------------------------------------

    def position(self, key: SeriesKey) -> None:
        """Return None, because a plan describes the folder in its current state."""

    def pull(self, pairs: object, *, is_first: bool = False) -> bool:
        """Return False, because a plan does not contact a server."""
        return False

    def check(self, view: SeriesView, span: Span) -> None:
        """Raise the error that the preview reports if a year file in ``span`` cannot be read."""
        self._preview.check(view, span)

    def lanes_beside(self, symbol: str, timeframe: Timeframe) -> list[SeriesKey]:
        """Return all lanes that have their own folder, except the default lane."""
        return self._preview.lanes_beside(symbol, timeframe)

    def symbols(self) -> list[str]:
        """Return the symbols that have a folder; raises the preview's errors."""
        return self._preview.symbols()

    def log(self, key: SeriesKey) -> list[dict[str, Any]]:
        """Return the real commits to a series, without this run's drafts."""
        return self._preview.log(key)

    def read_version(
        self, key: SeriesKey, span: Span, generation: int
    ) -> tuple[BarTable, Coverage]:
        """Return bars and coverage as of a real commit, not one of this dry run.

        Raises the preview's errors.
        """
        return self._preview.read_version(key, span, generation)


class OutlineStore:
    """The store from which a dry run's answer is read.

    The class has the methods of a :class:`DraftStore`, but returns only some of the drafted bars,
    because years of minute bars would take gigabytes. All bars are returned if the query requests a
    number of bars or if longer bars are built from them.
    """

    def __init__(self, store: DraftStore, query: BarsQuery) -> None:
        self._store, self._query = store, query

    def is_outlined(self, key: SeriesKey) -> bool:
        """Return whether each drafted run of a series is returned as only its first and last bar.

        This is the case for intraday bars requested for a range, which may be too many to expand.
        """
        query, timeframe = self._query, key.timeframe
        return query.bars is None and query.timeframe == timeframe and timeframe.is_intraday

    def stored_span(
        self,
        key: SeriesKey,
        span: Span,
        since: SeriesView | None = None,
        *,
        is_use: bool = True,
        bad_rows: bool = True,
    ) -> StoredSpan:
        """Return the view, bars, coverage and bad rows for ``span``, with only some drafted bars."""
        return self._store._stored_span(key, span, in_outline=self.is_outlined(key))

    def left_out(self, key: SeriesKey, span: Span, table: BarTable) -> int:
        """Return the number of drafted bars in ``span`` that are left out of ``table``."""
        draft = self._store._drafts.get(key)
        if draft is None or not self.is_outlined(key):
            return 0
        near = (rows.stamps(span) for rows in draft.rows[draft.near(span)])
        return sum(int((~among(stamps, table.stamps)).sum()) for stamps in near)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@dataclass
class DryRun:
    """One query that is answered without vendors, and the result. Not thread-safe.

    Attributes:
        query: The query.
        store: Store that the dry run reads from and commits to.
        steps: Requests to vendors, in order.
        plans: Plan of every lane, in order.
        is_routed: Whether the rules or a vendor were consulted.
        answer: Stored bars, with synthetic bars in place of those that would be fetched; None after
            an error.
        error: Error that the query would raise instead of an answer.
    """

    query: BarsQuery
    store: DraftStore
    steps: list[PlanStep] = field(default_factory=list)
    plans: list[tuple[LaneRequest, FetchPlan]] = field(default_factory=list)
    is_routed: bool = False
    answer: Answer | None = None
    error: NoProviderError | AllProvidersFailedError | UnknownProviderError | None = None

    @property
    def is_hit(self) -> bool:
        """Whether the query can be answered without a vendor."""
        if self.answer is None or self.steps:
            return False
        if all(gap.harmless for gap in self.answer.gaps):
            return True
        has_plans_for_nothing = self.plans and not any(plan.segments for _, plan in self.plans)
        return bool(has_plans_for_nothing) or not self.is_routed
