"""What one dry run works on: a store that writes nothing, and what came of the request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...cache.actions import Asked
from ...cache.store import ActionBook, BarStore, Commit, SeriesView, StoreListener, Stretch
from ...cache.write.coverage_update import after_marks, after_pieces
from ...errors import (
    AllProvidersFailedError,
    CorruptEntryError,
    NoProviderError,
    UnknownProviderError,
)
from ...model.actions import Action
from ...model.bars import BarTable, concat, inside, merge
from ...model.coverage import Coverage
from ...model.plan import PlanStep
from ...model.query import BarsQuery
from ...model.series import SeriesKey
from ...model.span import Span
from ...model.timeframe import Timeframe
from ..answer.adjust import with_answers
from ..answer.answer import Answer
from ..fetch.plan import FetchPlan
from ..series import LaneRequest


@dataclass
class _Draft:
    """The commits to one series: the stored view they were made to, the view after them, their bars."""

    base: SeriesView
    view: SeriesView
    commits: list[Commit] = field(default_factory=list)
    tables: list[BarTable] = field(default_factory=list)


class DraftStore:
    """The store of one dry run: commits stay in memory. Not thread-safe.

    It has those methods of :class:`.BarStore` that a request calls, and none that writes to the disk.
    What is not drafted it answers with the preview.

    Args:
        preview: as :meth:`.BarStore.preview` returns it.

    Attributes:
        root, memory: of the preview.
        listener: one that does nothing: a plan counts as no use of a series.
    """

    def __init__(self, preview: BarStore) -> None:
        self.root, self.memory, self.listener = preview.root, preview.memory, StoreListener()
        self._preview = preview
        self._drafts: dict[SeriesKey, _Draft] = {}
        self._answers: dict[str, list[tuple[Sequence[Action], Asked]]] = {}
        self._forgotten: dict[str, list[str]] = {}

    def view(self, key: SeriesKey) -> SeriesView:
        """Return the view of a series after its drafts."""
        base = self._preview.view(key)
        draft = self._drafts.get(key)
        if draft is not None and draft.base != base:  # damage was noticed since
            del self._drafts[key]
            for commit in draft.commits:
                self.commit(key, commit)
            draft = self._drafts[key]
        return base if draft is None else draft.view

    def read(self, key: SeriesKey, span: Span) -> tuple[BarTable, Coverage]:
        """Return bars and coverage of ``span``, drafts included."""
        _, table, coverage, _ = self.stretch(key, span)
        return table, coverage

    def stretch(
        self,
        key: SeriesKey,
        span: Span,
        since: SeriesView | None = None,
        *,
        is_use: bool = True,
    ) -> Stretch:
        """Return view, bars, coverage and bad rows of ``span``, drafts included."""
        stored = self._preview.stretch(key, span)
        if key not in self._drafts:
            return stored
        table, view = self._with_drafts(key, span, stored.table), self.view(key)
        return Stretch(view, table, view.coverage.within(span), stored.suspects)

    def commit(self, key: SeriesKey, commit: Commit, wait_s: float = 0.0) -> None:
        """Keep bars and marks in memory."""

        def has_bars(span: Span) -> bool:
            """Tell whether bars are stored or drafted in ``span``."""
            return bool(len(self._with_drafts(key, span, self._preview.read(key, span)[0])))

        if key not in self._drafts:
            base = self._preview.view(key)
            self._drafts[key] = _Draft(base, base)
        draft = self._drafts[key]
        draft.commits.append(commit)
        tables = [piece.table for piece in commit.pieces if len(piece.table)]
        draft.tables += tables
        coverage = after_pieces(draft.view.coverage, commit.pieces)
        draft.view = replace(
            draft.view.updated(commit),
            coverage=after_marks(coverage, commit.marks, has_bars),
            generation=draft.view.generation + 1,
            last=max([int(t.stamps[-1]) for t in tables] + [draft.view.last or 0]) or None,
        )

    def _with_drafts(self, key: SeriesKey, span: Span, rows: BarTable) -> BarTable:
        tables = self._drafts[key].tables
        pieces = (piece for commit in self._drafts[key].commits for piece in commit.pieces)
        if gone := [piece.span for piece in pieces if not len(piece.table)]:
            rows = rows.take(~inside(rows.stamps, gone))
        near = [t for t in tables if t.stamps[-1] >= span.start and t.stamps[0] < span.end]
        new = concat([t.within(span) for t in near])
        return merge(rows, new) if len(new) else rows

    def actions(self, symbol: str) -> ActionBook:
        """Return splits and dividends, drafts included."""
        answers = self._answers.get(symbol, ())
        try:
            book = self._preview.actions(symbol)
        except CorruptEntryError:
            if not answers:
                raise
            book = ActionBook()  # an answer begins a damaged one anew
        for source in self._forgotten.get(symbol, ()):
            book = book.without(source)
        return with_answers(book, answers)

    def forget_actions(self, symbol: str, source: str, wait_s: float = 0.0) -> None:
        """Leave out what a vendor of samples told."""
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

    # --- what no draft changes ---------------------------------------------------------------

    def check(self, view: SeriesView, span: Span) -> None:
        """Refuse a stretch of which a year cannot be read; raises as the preview."""
        self._preview.check(view, span)

    def lanes_beside(self, symbol: str, timeframe: Timeframe) -> list[SeriesKey]:
        """Return the lanes that have a folder beside the default one."""
        return self._preview.lanes_beside(symbol, timeframe)

    def symbols(self) -> list[str]:
        """Return the symbols that have a folder; raises as the preview."""
        return self._preview.symbols()

    def log(self, key: SeriesKey) -> list[dict[str, Any]]:
        """Return the commits to a series that were made."""
        return self._preview.log(key)

    def read_version(
        self, key: SeriesKey, span: Span, generation: int
    ) -> tuple[BarTable, Coverage]:
        """Return bars and coverage right after a commit that was made; raises as the preview."""
        return self._preview.read_version(key, span, generation)


@dataclass
class DryRun:
    """One request without vendors, and what came of it. Not thread-safe.

    Attributes:
        query: the request.
        store: what it reads from and commits to.
        steps: the requests to vendors, in order.
        plans: the plan of every lane, in order.
        is_routed: whether the rules or a vendor were looked at.
        answer: stored bars, and made-up ones in place of those to come; None after an error.
        error: what the request would raise in place of an answer.
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
        """Whether no vendor is needed: no request and no harmful gap, or none that was planned for."""
        if self.answer is None or self.steps:
            return False
        if all(gap.harmless for gap in self.answer.gaps):
            return True
        has_plans_for_nothing = self.plans and not any(plan.segments for _, plan in self.plans)
        return bool(has_plans_for_nothing) or not self.is_routed
