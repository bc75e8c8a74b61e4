"""A request as it would go, with stand-ins for the vendors and a store that writes nothing.

What :class:`~.service.BarsService` does is not told a second time here: it is done, by the same code,
in memory. So what a plan says is what happens, whatever the way of a request becomes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...cache.actions import Asked
from ...cache.store import ActionBook, BarStore, Commit, SeriesView, Stretch, Suspect
from ...cache.write.coverage_update import after_marks, after_pieces
from ...clock import Clock
from ...errors import (
    AllProvidersFailedError,
    CorruptEntryError,
    NoProviderError,
    UnknownProviderError,
)
from ...model.actions import Action
from ...model.bars import BarTable, concat, merge
from ...model.coverage import Coverage
from ...model.query import BarsQuery
from ...model.rules import ValidationRules
from ...model.segments import PlanStep
from ...model.series import SeriesKey
from ...model.span import Span
from ...model.timeframe import Timeframe
from ..answer.answer import Answer
from ..fetch.plan import FetchPlan
from ..fetch.state import FetchState
from ..fetch.trading_days import TradingDays
from ..ingest.commit import Expiry
from ..ingest.writer import actions_known
from ..observer import Call, Observer
from ..selection.candidates import Route, candidates_of, route
from ..service import BarsService

if TYPE_CHECKING:
    from .vendors import DryRunContext

_is_rehearsing: ContextVar[bool] = ContextVar("is_rehearsing", default=False)


def _is_meant(record: logging.LogRecord) -> bool:
    """Let pass what has happened; what is rehearsed has not."""
    return not _is_rehearsing.get()


logging.getLogger("onetape.routing").addFilter(_is_meant)


@dataclass
class DryRunResult:
    """What came of it.

    Attributes:
        answer: as far as it is known beforehand; made-up bars stand for those to come. None where
            there would be none.
        is_hit: whether all that there is to know is held.
        error: what would be raised in its place.
        steps: whom would be asked for what, in order.
        plans: what every lane found to do, in order.
    """

    answer: Answer | None = None
    is_hit: bool = False
    error: NoProviderError | AllProvidersFailedError | UnknownProviderError | None = None
    steps: list[PlanStep] = field(default_factory=list)
    plans: list[tuple[FetchState, FetchPlan]] = field(default_factory=list)


@dataclass(frozen=True)
class DryRunner:
    """What a request is rehearsed with.

    Attributes:
        store: what is held, as :meth:`.BarStore.preview` shows it.
        selector: who is asked.
        clock: the time.
        expiry, checks: as those of the requests themselves.
    """

    store: BarStore
    selector: Any
    clock: Clock
    expiry: Expiry = Expiry()
    checks: ValidationRules = ValidationRules()

    def way_of(self, query: BarsQuery) -> Route:
        """Return where the bars of ``query`` may come from.

        Raises:
            NoProviderError, UnknownProviderError: from nowhere.
        """
        key = SeriesKey(query.instrument.symbol, query.timeframe)
        stored = None if query.provider else self.store.view(key).kind
        told = actions_known(self.store, query, TradingDays(self.clock))
        return route(query, candidates_of(self.selector, query), stored, told=told)

    def rehearse(self, query: BarsQuery) -> DryRunResult:
        """Do ``query`` without asking anybody, writing anything or logging a word."""
        # In a context of its own: what Ctrl-C leaves set in it ends with it.
        return copy_context().run(self._rehearsed, query)

    def _rehearsed(self, query: BarsQuery) -> DryRunResult:
        _is_rehearsing.set(True)
        done = DryRunResult()
        draft = DraftStore(self.store)
        cast = _Cast(self.selector, draft, query, done.steps)
        service = BarsService(draft, cast, self.clock, self.expiry, self.checks)
        service.misses().runner.on_todo = lambda work, todo: done.plans.append((work, todo))
        try:
            done.answer = service.answer(query, Call(Observer(self.clock), self.clock, query))
        except (NoProviderError, AllProvidersFailedError, UnknownProviderError) as error:
            done.error = error
        done.is_hit = _is_hit(done, cast)
        return done


def _is_hit(done: DryRunResult, cast: _Cast) -> bool:
    """Tell whether nothing was to be asked; what only nobody could be asked for is no hit."""
    if done.answer is None or done.steps:
        return False
    if all(gap.harmless for gap in done.answer.gaps):
        return True
    was_planned = done.plans and not any(todo.segments for _, todo in done.plans)
    return bool(was_planned) or not cast.is_consulted


class _Cast:
    """A selector that names stand-ins in place of the downloaders; in all else the real one."""

    def __init__(
        self, selector: Any, draft: DraftStore, query: BarsQuery, steps: list[PlanStep]
    ) -> None:
        self._selector = selector
        self._draft = draft
        self._query = query
        self._steps = steps
        self._stage: DryRunContext | None = None
        self.downloaders: dict[str, Any] = {}
        self.own_sender = None  # nothing is sent
        self.is_consulted = False

    def get_provider_with_failover(self, symbol: str, timeframe: str) -> list[str]:
        """Return the names that the real one gives."""
        self.is_consulted = True
        names: list[str] = self._selector.get_provider_with_failover(symbol, timeframe)
        return names

    def _initialize_downloader(self, name: str) -> Any | None:
        """Return the stand-in of a vendor; None where the vendor cannot be made."""
        self.is_consulted = True
        if name not in self.downloaders:
            from ...downloader.configured import supplied

            real = supplied(self._selector, name)
            if real is None:
                return None
            self.downloaders[name] = self._stand_in(name, real)
        return self.downloaders[name]

    def _stand_in(self, name: str, real: Any) -> Any:
        # Imported here: an answer from the cache needs no vendor and no HTTP library.
        from .vendors import DryRunContext, stand_in

        self._stage = self._stage or DryRunContext(self._query, self._draft, self._steps)
        return stand_in(name, real, self._stage)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)


@dataclass
class _Draft:
    """What was committed to one series: to which view, the view since then, and the bars."""

    base: SeriesView
    view: SeriesView
    commits: list[Commit] = field(default_factory=list)
    tables: list[BarTable] = field(default_factory=list)


class DraftStore(BarStore):
    """A store that keeps in memory what is committed to it, over one that it only reads.

    Not thread-safe: it belongs to one rehearsal.
    """

    def __init__(self, base: BarStore) -> None:
        super().__init__(base.root)
        self._base = base
        self._drafts: dict[SeriesKey, _Draft] = {}
        self._told: dict[str, list[tuple[Sequence[Action], Asked]]] = {}
        self._latest: SeriesKey | None = None

    def view(self, key: SeriesKey) -> SeriesView:
        """Return what is stored of a series, drafts included."""
        self._latest = key
        base = self._base.view(key)
        while (draft := self._drafts.get(key)) is not None and draft.base != base:
            del self._drafts[key]  # it was made before damage was found
            for commit in draft.commits:
                self.commit(key, commit)
            base = self._base.view(key)
        return base if draft is None else draft.view

    def read(self, key: SeriesKey, span: Span) -> tuple[BarTable, Coverage]:
        """Return the bars in ``span`` and what is known about it, drafts included."""
        rows, coverage = self._base.read(key, span)
        if key not in self._drafts:
            return rows, coverage
        return self._with_drafts(key, span, rows), self.view(key).coverage.within(span)

    def _with_drafts(self, key: SeriesKey, span: Span, rows: BarTable) -> BarTable:
        tables = self._drafts[key].tables
        near = [t for t in tables if t.stamps[-1] >= span.start and t.stamps[0] < span.end]
        new = concat([t.within(span) for t in near])
        return merge(rows, new) if len(new) else rows

    def stretch(self, key: SeriesKey, span: Span, since: SeriesView | None = None) -> Stretch:
        """Return all that is known of ``span``, drafts included."""
        table, coverage = self.read(key, span)
        return Stretch(self.view(key), table, coverage, self.suspects(key, span))

    def suspects(self, key: SeriesKey, span: Span) -> tuple[Suspect, ...]:
        """Return the stored rows that cannot be bars."""
        return self._base.suspects(key, span)

    def commit(self, key: SeriesKey, commit: Commit) -> None:
        """Keep bars and marks for this rehearsal."""

        def has_bars(span: Span) -> bool:
            return bool(len(self._with_drafts(key, span, self._base.read(key, span)[0])))

        draft = self._drafts.get(key)
        if draft is None:
            base = self._base.view(key)
            draft = self._drafts[key] = _Draft(base, base)
        draft.commits.append(commit)
        tables = [piece.table for piece in commit.pieces if len(piece.table)]
        draft.tables += tables
        coverage = after_pieces(draft.view.coverage, commit.pieces)
        coverage = after_marks(coverage, commit.marks, has_bars)
        draft.view = replace(
            draft.view,
            coverage=coverage,
            generation=draft.view.generation + 1,
            kind=draft.view.kind or commit.kind,
            next_due=commit.next_due or draft.view.next_due,
            last=max([int(t.stamps[-1]) for t in tables] + [draft.view.last or 0]) or None,
            compared_at=commit.compared_at or draft.view.compared_at,
            lifetime=draft.view.lifetime.updated(commit.lifetime),
        )

    def actions(self, symbol: str) -> ActionBook:
        """Return splits and dividends, drafts included."""
        answers = self._told.get(symbol, ())
        try:
            book = self._base.actions(symbol)
        except CorruptEntryError:
            if not answers:
                raise
            book = ActionBook()  # an answer begins a damaged one anew
        for actions, asked in answers:
            book = book.with_answer(actions, asked)
        return book

    def add_actions(
        self, symbol: str, actions: Sequence[Action], asked: Span, source: str, fetched_at: int
    ) -> ActionBook:
        """Keep what a vendor would tell for this rehearsal."""
        told = Asked(asked, source, fetched_at)
        self._told.setdefault(symbol, []).append((actions, told))
        return self.actions(symbol)

    def held(self, symbol: str, timeframe: Timeframe, span: Span) -> BarTable:
        """Return the bars in ``span`` of the series that was looked at last, if it is this one."""
        key = self._latest
        if key is None or (key.symbol, key.timeframe) != (symbol, timeframe):
            return BarTable.empty()
        return self.read(key, span)[0]

    def unit(self, symbol: str, timeframe: Timeframe, vendor: str) -> str | None:
        """Return the unit of a vendor's bars in that series; None where it has none there."""
        key = self._latest
        if key is None or (key.symbol, key.timeframe) != (symbol, timeframe):
            return None
        parts = (part for part in self.view(key).coverage.opened() if part.state != "empty")
        return next((part.kind.unit for part in parts if vendor in part.vendor.split(",")), None)
