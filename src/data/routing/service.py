"""Answer one question for bars: from the store where held, from vendors where not."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from ..cache.store import BarStore
from ..clock import Clock
from ..errors import (
    AllProvidersFailedError,
    Attempt,
    DataError,
    KindMismatchError,
    SymbolNotFoundError,
)
from ..model.query import BarsQuery
from ..model.rules import ValidationRules
from ..model.series import SeriesKey
from ..model.span import Span
from ..model.timeframe import Timeframe
from ..net.leases import Leases
from ..policy.calendar import calendar_for
from ..policy.finality import forming_stamp
from ..policy.gaps import Grid
from .answering import Answer, frame_of
from .candidates import Lane, Route, Selector, candidates_of, route
from .deriving import NOBODY, Deriver, is_down
from .hits import Hits
from .keeping import actions_known
from .lane import LaneRunner, real_gaps
from .locks import SeriesLocks, Turns
from .observing import Call, Observer
from .parts import Parts
from .reading import Outcome, Reader, told
from .rebasing import ClosesMissingError
from .terms import Expiry
from .versions import Versions
from .work import Unfilled, Work

log = logging.getLogger("onetape.routing")


@dataclass(frozen=True)
class _Try:
    """What came of one lane; no answer when its bars cannot be brought to the asked basis."""

    answer: Answer | None
    attempts: Sequence[Attempt]
    unfilled: Sequence[Unfilled] = ()
    out: Mapping[str, DataError] = field(default_factory=dict)

    @property
    def is_truth(self) -> bool:
        """Tell whether an empty answer is what the vendors positively say."""
        return self.answer is not None and not self.unfilled


@dataclass(frozen=True)
class _Before:
    """What came of the lanes tried already: who was asked, and who is not to be asked again."""

    attempts: Sequence[Attempt]
    out: Mapping[str, DataError]

    @classmethod
    def of(cls, tries: Sequence[_Try], out: Mapping[str, DataError]) -> _Before:
        """Put together what came of ``tries`` and who was ``out`` before them."""
        failed = [pair for tried in tries for pair in tried.out.items()]
        down = {name: error for name, error in failed if is_down(error)}
        return cls([a for tried in tries for a in tried.attempts], {**out, **down})


class BarsService:
    """Bars for queries, gap by gap. Thread-safe; one series is fetched by one thread at a time.

    The order of a call: (1) look at the metadata; a hit is a comparison. (2) Plan what is
    missing against the calendar. (3) Fetch each missing segment from the candidates in order,
    check it, commit it. (4) Read, bring to one basis, answer with provenance. Bars that nobody
    serves, and the weeks and months of shares, are made of shorter ones that went the same way.

    A bar once stored is returned until a better one replaces it; how far it can be trusted is
    told by the state of its span. ``provisional``: it may change until it has settled, then it is
    asked again. ``suspect``: it is asked again when its doubt expires; meanwhile it is the best
    there is. A ``strict`` request accepts both. It refuses gaps, rows that cannot be bars, answers
    that lack much of what they should hold, and bars that cannot be brought to the asked basis.
    """

    def __init__(
        self,
        store: BarStore,
        selector: Selector,
        clock: Clock,
        expiry: Expiry | None = None,
        checks: ValidationRules | None = None,
        leases: Leases | None = None,
        watcher: Observer | None = None,
    ) -> None:
        self._store = store
        self._selector = selector
        self._clock = clock
        self._reader = Reader(store, clock)
        self._hits = Hits(store, self._reader, clock)
        self._versions = Versions(store, clock)
        self._runner = LaneRunner(
            store, clock, self._reader, expiry or Expiry(), checks or ValidationRules(),
            Turns(store.root, leases),
        )  # fmt: skip
        self._locks = SeriesLocks()
        self._watcher = watcher or Observer(clock)
        self._parts = Parts(selector, store)
        self._deriver = Deriver(self._parts, self._ask)

    def get(self, query: BarsQuery) -> pd.DataFrame:
        """Return the frame for ``query``.

        Raises:
            NoProviderError: nobody is configured for it and nothing is stored.
            AllProvidersFailedError: bars were missing, nobody supplied them, nothing is stored.
            IncompleteDataError: ``strict``, and the answer lacks something.
            QueryError: there is no such version of the series, or it is not kept any more.
        """
        with self._watcher.call(query) as call:
            return frame_of(call.answered(self.answer(query, call)))

    def held(self, query: BarsQuery) -> pd.DataFrame | None:
        """Return the frame where all is held and at hand; None where it takes a while.

        Raises:
            IncompleteDataError: ``strict``, and the answer lacks something.
        """
        key = self._key(query, (query.provider,) if query.provider else ())
        if query.version is not None or not self._store.is_at_hand(key):
            return None
        with self._watcher.call(query) as call:
            answer = None if self._parts.preferred(query) else self._hits.answer(query)
            return None if answer is None else frame_of(call.answered(answer))

    def answer(self, query: BarsQuery, call: Call) -> Answer:
        """Return what :meth:`get` makes its frame of; ``call`` is told where vendors are needed.

        Raises:
            NoProviderError, AllProvidersFailedError: as :meth:`get`.
        """
        if query.version is not None:
            return self._versions.answer(query)
        days = self._parts.preferred(query)
        held = None if days else self._hits.answer(query)
        if held is not None:
            return held
        call.missed(self._store.actions)
        return self._beyond_hits(query, days)

    def _beyond_hits(self, query: BarsQuery, days: Timeframe | None) -> Answer:
        """Answer out of ``days`` where these are better, else from vendors, else as can be."""
        if days is not None:
            return self._deriver.of_days(query, days)
        try:
            return self._from_vendors(query, {})
        except NOBODY as error:
            return self._deriver.instead(query, error, self._from_store_alone)

    def _ask(self, query: BarsQuery, out: Mapping[str, DataError]) -> Answer:
        """Answer by bars of that very length; who is ``out`` is not asked for any."""
        held = self._hits.answer(query)
        if held is not None:
            return held
        try:
            return self._from_vendors(query, out)
        except NOBODY as error:
            return self._from_store_alone(query, error)

    def _from_vendors(self, query: BarsQuery, out: Mapping[str, DataError]) -> Answer:
        """Answer from the asked kind's lane, or wholly from one substitute."""
        way = self._route(query)
        tries: list[_Try] = []
        for lane in way.lanes:
            tried = self._try(query, lane, way, _Before.of(tries, out))
            tries.append(tried)
            # No rows and no gaps: nothing trades then, and no substitute can change that.
            if tried.answer is not None and (len(tried.answer.table) or not tried.answer.gaps):
                return tried.answer
        first = tries[0]
        if first.answer is not None and first.is_truth:
            return first.answer
        attempts = [a for t in tries for a in t.attempts]
        raise _failure(query, attempts, [u for t in tries for u in t.unfilled])

    def _from_store_alone(self, query: BarsQuery, error: DataError) -> Answer:
        """Answer with what is stored although nobody can supply the rest; else raise ``error``."""
        key = self._key(query, (query.provider,) if query.provider else ())
        missing = Outcome(unfilled=[Unfilled(query.span, str(error))])
        try:
            answer = self._reader.answer(query, key, query.span, missing, lenient=True)
        except KindMismatchError as mismatch:
            raise error from mismatch
        if not len(answer.table):
            raise error
        anchor = answer.kind.anchor or "session"
        grid = Grid(calendar_for(query.instrument), query.timeframe, anchor)
        cap = forming_stamp(grid.calendar, grid.timeframe, self._clock.now_ms(), grid.anchor)
        return replace(answer, gaps=real_gaps(answer.gaps, cap, grid))

    def _route(self, query: BarsQuery) -> Route:
        stored = None if query.provider else self._store.view(self._key(query, ())).kind
        known = actions_known(self._store, query, self._clock.now_ms())
        return route(query, candidates_of(self._selector, query), stored, told=known)

    def _try(self, query: BarsQuery, lane: Lane, way: Route, before: _Before) -> _Try:
        """Answer from one lane."""
        key = self._key(query, lane.parts)
        grid = Grid(calendar_for(query.instrument), query.timeframe, lane.kind.anchor or "session")
        work = Work(query, key, lane, grid, out=dict(before.out))
        name = lane.candidates[0].name
        try:
            answer = self._run(query, work)
        except KindMismatchError as error:
            outcome = type(error).__name__
            failed = Attempt(name, outcome, str(error), error=error)
            return _Try(None, [*work.attempts, failed], work.unfilled, work.out)
        attempts = told([*before.attempts, *map(lane.named, work.attempts)])
        facts = {"attempts": attempts, "rejected": dict(way.rejected)}
        answer = replace(answer, facts=answer.facts | facts)
        if lane is not way.lanes[0] and lane.parts != (query.adjustment,):
            answer = replace(answer, substitute=f"{name} ({key})")
        return _Try(answer, work.attempts, work.unfilled, work.out)

    def _run(self, query: BarsQuery, work: Work) -> Answer:
        """Run a lane; where dividends need daily closes that are not stored, fetch them first."""
        try:
            with self._locks.of(work.key):
                return self._runner.answer(query, work)
        except ClosesMissingError as needed:
            if query.offline:
                raise
            self._fetch_days(query, needed.span)
        with self._locks.of(work.key):
            return self._runner.answer(query, work)

    def _fetch_days(self, query: BarsQuery, days: Span) -> None:
        """Have the daily bars of ``days`` stored; whoever needs them finds out whether they are."""
        daily = replace(
            query, timeframe=Timeframe.parse("1d"), span=days, bars=None, adjustment="split",
            include_forming=False, strict=False, refresh=False,
        )  # fmt: skip
        try:
            self._from_vendors(daily, {})
        except DataError as error:
            log.warning("no daily closes for %s: %s", query, error)

    @staticmethod
    def _key(query: BarsQuery, parts: tuple[str, ...]) -> SeriesKey:
        return SeriesKey(query.instrument.symbol, query.timeframe, parts)


def _failure(
    query: BarsQuery, attempts: Sequence[Attempt], unfilled: Sequence[Unfilled]
) -> AllProvidersFailedError:
    failed = [a for a in attempts if a.outcome not in ("ok", "empty")]
    said = dict.fromkeys(f"{a.provider}: {a.message}" for a in failed)
    said = said or dict.fromkeys(u.reason for u in unfilled)
    unknown = bool(failed) and all(isinstance(a.error, SymbolNotFoundError) for a in failed)
    prefix = f"unknown symbol {query.instrument.symbol!r}. " if unknown else ""
    if query.offline and not failed:
        said = {"nothing is cached, and offline=True forbids asking": None}
    return AllProvidersFailedError(
        f"{prefix}All providers failed for {query}: {'; '.join(said)}",
        attempts=attempts,
        symbol=query.instrument.symbol,
        hint="`onetape doctor` says which vendors can be reached, with which keys",
    )
