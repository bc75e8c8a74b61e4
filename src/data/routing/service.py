"""Answer one question for bars: from the store where held, from vendors where not."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from ..cache.store import BarStore, SeriesView
from ..clock import Clock
from ..errors import (
    AllProvidersFailedError,
    Attempt,
    KindMismatchError,
    NoProviderError,
    SymbolNotFoundError,
)
from ..model.coverage import Coverage
from ..model.query import BarsQuery
from ..model.rules import ValidationRules
from ..model.series import SeriesKey
from ..model.span import Span, gaps
from ..policy.calendar import calendar_for
from ..policy.gaps import Grid
from .answering import Answer, frame_of
from .candidates import Lane, Route, Selector, candidates_of, route
from .fetching import Fetcher
from .lane import LaneRunner
from .reading import ActionsMissingError, Outcome, Reader, told
from .storing import Expiry
from .work import Unfilled, Work

log = logging.getLogger("onetape.routing")


class BarsService:
    """Bars for queries, gap by gap. Thread-safe; one series is fetched by one thread at a time.

    The order of a call: (1) look at the metadata; a hit is a comparison. (2) Plan what is
    missing against the calendar. (3) Fetch each missing segment from the candidates in order,
    check it, commit it. (4) Read, bring to one basis, answer with provenance.
    """

    def __init__(
        self,
        store: BarStore,
        selector: Selector,
        clock: Clock,
        expiry: Expiry | None = None,
        checks: ValidationRules | None = None,
    ) -> None:
        self._store = store
        self._selector = selector
        self._clock = clock
        self._reader = Reader(store, clock)
        fetcher = Fetcher(store, clock, expiry or Expiry(), checks or ValidationRules())
        self._runner = LaneRunner(store, clock, fetcher, self._reader)
        # Threads that miss the same bars wait here, plan again, and find them stored.
        self._locks: defaultdict[SeriesKey, threading.RLock] = defaultdict(threading.RLock)

    def get(self, query: BarsQuery) -> pd.DataFrame:
        """Return the frame for ``query``.

        Raises:
            NoProviderError: nobody is configured for it and nothing is stored.
            AllProvidersFailedError: bars were missing, nobody supplied them, nothing is stored.
            IncompleteDataError: ``strict``, and the answer lacks something.
        """
        held = self._from_store(query)
        return frame_of(held if held is not None else self._from_vendors(query))

    def _from_store(self, query: BarsQuery) -> Answer | None:
        """Answer from the default (or the pinned vendor's) lane if asking cannot change it."""
        if query.refresh or query.include_forming or query.bars is not None:
            return None
        key = self._key(query, (query.provider,) if query.provider else ())
        view = self._store.view(key)
        if not view.exists or not self._is_hit(view, query.span):
            return None
        try:
            answer = self._reader.answer(query, key, query.span, Outcome())
        except ActionsMissingError:
            return None
        end = _end(view.coverage)
        return replace(answer, gaps=[g for g in answer.gaps if g.span.start < end])

    def _is_hit(self, view: SeriesView, wanted: Span) -> bool:
        """Tell by comparison alone, without a calendar, whether nothing need be asked."""
        now = self._clock.now_ms()
        fresh = view.next_due is not None and now < view.next_due
        provisional = any(c.state == "provisional" for c in view.coverage.within(wanted))
        if provisional and not fresh:
            return False
        lacking = gaps(Span(wanted.start, min(wanted.end, now + 1)), view.coverage.held(now))
        return not lacking or (fresh and lacking[0].start >= _end(view.coverage))

    def _from_vendors(self, query: BarsQuery) -> Answer:
        """Answer from the asked kind's lane, or wholly from one substitute."""
        try:
            way = self._route(query)
        except NoProviderError as error:
            return self._from_store_alone(query, error)
        attempts: list[Attempt] = []
        first: Answer | None = None
        for lane in way.lanes:
            answer = self._try(query, lane, way, attempts)
            if answer is not None and len(answer.table):
                return answer
            first = first or answer
        if first is None or _must_fail(first, attempts, query):
            raise _failure(query, attempts)
        return first

    def _from_store_alone(self, query: BarsQuery, error: NoProviderError) -> Answer:
        """Answer with what is stored although nobody can be asked for the rest."""
        key = self._key(query, (query.provider,) if query.provider else ())
        answer = self._reader.answer(
            query, key, query.span, Outcome(unfilled=[Unfilled(query.span, str(error))])
        )
        if not len(answer.table):
            raise error
        return answer

    def _route(self, query: BarsQuery) -> Route:
        stored = None if query.provider else self._store.view(self._key(query, ())).kind
        return route(query, candidates_of(self._selector, query), stored)

    def _try(
        self, query: BarsQuery, lane: Lane, way: Route, attempts: list[Attempt]
    ) -> Answer | None:
        """Answer from one lane; None when its bars cannot be brought to the asked basis."""
        key = self._key(query, lane.parts)
        grid = Grid(calendar_for(query.instrument), query.timeframe, lane.kind.anchor or "session")
        work = Work(query, key, lane, grid)
        name = lane.candidates[0].name
        try:
            with self._locks[key]:
                answer = self._runner.answer(query, work)
        except KindMismatchError as error:
            outcome = type(error).__name__
            attempts += [*work.attempts, Attempt(name, outcome, str(error), error=error)]
            return None
        attempts += work.attempts
        facts = {"attempts": told(attempts), "rejected": dict(way.rejected)}
        answer = replace(answer, facts=answer.facts | facts)
        if lane is way.lanes[0] or lane.parts == (query.adjustment,):
            return answer
        return replace(answer, substitute=f"{name} ({key})")

    @staticmethod
    def _key(query: BarsQuery, parts: tuple[str, ...]) -> SeriesKey:
        return SeriesKey(query.instrument.symbol, query.timeframe, parts)


def _end(coverage: Coverage) -> int:
    return coverage[-1].span.end if coverage else 0


def _must_fail(answer: Answer, attempts: Sequence[Attempt], query: BarsQuery) -> bool:
    """Tell whether an empty answer is a failure rather than an empty truth."""
    if query.offline:
        return bool(answer.gaps)
    return any(a.outcome not in ("ok", "empty") for a in attempts)


def _failure(query: BarsQuery, attempts: Sequence[Attempt]) -> AllProvidersFailedError:
    failed = [a for a in attempts if a.outcome not in ("ok", "empty")]
    said = "; ".join(f"{a.provider}: {a.message}" for a in failed)
    unknown = bool(failed) and all(isinstance(a.error, SymbolNotFoundError) for a in failed)
    prefix = f"unknown symbol {query.instrument.symbol!r}. " if unknown else ""
    return AllProvidersFailedError(
        f"{prefix}All providers failed for {query}: "
        + (said or "nothing is cached, and offline=True forbids asking"),
        attempts=attempts,
        symbol=query.instrument.symbol,
        hint="`onetape doctor` says which vendors can be reached, with which keys",
    )
