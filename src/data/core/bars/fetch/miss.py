"""Answers a query that the store cannot answer, in the first possible way of a list.

:meth:`MissRun._ways` is the list: what is tried, in order, each way with its condition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from ....errors import (
    AllProvidersFailedError,
    Attempt,
    CacheError,
    CorruptEntryError,
    DataError,
    KindMismatchError,
    NoProviderError,
    SymbolNotFoundError,
    UnavailableError,
    UnsupportedError,
    by_vendor,
)
from ...calendars.calendar import first_unclosed
from ...calendars.grid import grid_for
from ...model.identity.series import SeriesKey
from ...model.market.bars import among
from ...model.request.query import BarsQuery
from ...model.stored.coverage import Covered, Stretches, stretches
from ...model.time.instant import DAY_MS, date_of, day_ms
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...net.calls.deadline import call_time, down_for, recorded_call
from ...net.limits.locks import SeriesLocks
from ...runtime.once import cached_property
from ...symbols.assets import Lister, is_proved
from ..answer.answer import Answer, Missing
from ..answer.reader import FetchOutcome, attempt_entries, attempt_of
from ..derive.derive import NO_ANSWER, Deriver, FallbackBars, is_whole, shortfall
from ..derive.sources import SourceTimeframes
from ..lookup import MISS, CacheLookup, Derived, Hit, LookupResult, Miss, PartialHit
from ..pulls import pull_series
from ..selection.candidates import Selector, candidates_of, doctor_hint, unknown_symbol
from ..selection.exclusions import left_out, with_reasons
from ..selection.lanes import LaneFinder
from ..selection.offers import AnsweringLane
from ..selection.route import LaneRoute, Route, find_route
from ..series import Journal, LaneRequest, UnfilledSpan, is_down
from ..symbol_changes import with_changes
from .lane import LaneRun, LaneServices, real_gaps

# Number of attempts to answer from a user's file that is being written to.
_MOST_READINGS = 3
# Makes the run of one request to a lane, without the vendors that are excluded.
RunLane = Callable[[LaneServices, LaneRequest, Mapping[str, DataError]], LaneRun]
# Use of an answer: for the caller, as the bars from which longer ones are built, or as the daily
# closes with which prices are adjusted for dividends.
Purpose = Literal["caller", "source", "closes"]


@dataclass(frozen=True)
class MissHandler:
    """Answers queries that the store cannot answer; see :class:`MissRun`.

    Thread-safe; each series is fetched by one thread at a time.

    Attributes:
        selector: Selects the vendors.
        lanes: Finds the lane that contains a query's bars.
        locks: Locks for the series, in this process.
        lookup: Answers from the store, which is tried first for shorter bars.
        services: Services shared by the runs of lanes.
    """

    selector: Selector
    lanes: LaneFinder
    locks: SeriesLocks
    lookup: CacheLookup
    services: LaneServices

    @cached_property
    def shorter(self) -> SourceTimeframes:
        """Determines the shorter bars from which an answer may be built."""
        return SourceTimeframes(self.selector, self.lanes)

    def answer(self, query: BarsQuery, result: LookupResult, run_lane: RunLane = LaneRun) -> Answer:
        """Answer a query in the first way that is possible now.

        Args:
            query: The query.
            result: Result that the store has just returned for the query; it is not a hit.
            run_lane: Makes the run of a request to one lane; that of a plan only counts requests.

        Raises:
            NoProviderError, AllProvidersFailedError: As for ``BarsService.get``.
        """
        with call_time(self.services.clock, query.timeout_s), recorded_call():
            try:
                answer = MissRun(self, query, result, run_lane).answer()
            except AllProvidersFailedError as error:
                from ..nearest_names import explain  # most symbols are known

                explain(error, query, self.services.store)
                raise
        # Changes are read only for shares, or if bars are missing or the series has ended.
        is_lacking = answer.harmful_gaps or "ended" in answer.facts
        if query.instrument.asset_class == "stock" or is_lacking:
            return self._with_changes(answer)
        return answer

    def _with_changes(self, answer: Answer) -> Answer:
        """Return the answer with a note on the instrument's earlier and later symbols."""
        try:
            changes = self.services.store.actions(answer.query.instrument.symbol).changes
        except CacheError:
            return answer  # reported where the splits and dividends are needed
        return with_changes(answer, changes)

    def route_of(self, query: BarsQuery, lane: AnsweringLane | None = None) -> Route:
        """Return the lanes and vendors from which the bars for ``query`` may come.

        ``lane`` is the answering lane, if it is already known.

        Raises:
            NoProviderError, UnknownProviderError: No vendor can supply the bars.
        """
        lane = lane or self.lanes.find(query)
        candidates = candidates_of(self.selector, query)
        return find_route(query, candidates, lane, has_actions=self._are_actions_known(query))

    def _are_actions_known(self, query: BarsQuery) -> bool:
        """Return whether a stock's actions since the start of the requested range are known."""
        if query.instrument.asset_class != "stock" or query.provider is not None:
            return False
        try:
            book = self.services.store.actions(query.instrument.symbol)
        except CorruptEntryError:
            return False
        first = day_ms(date_of(query.span.start)) + DAY_MS
        today = day_ms(self.services.reader.days.current(query.instrument).day)
        return book.covers(Span(first, max(first, today + DAY_MS)))


class _TriedLane(NamedTuple):
    """The outcome of trying to answer from one lane (bars of one kind).

    ``answer`` is None if the bars of the lane cannot be converted.
    """

    answer: Answer | None
    run: LaneRun

    @property
    def journal(self) -> Journal:
        """The record of the attempts."""
        return self.run.journal

    @property
    def has_rows(self) -> bool:
        """Whether there is an answer with bars."""
        return self.answer is not None and bool(len(self.answer.table))

    @property
    def is_part(self) -> bool:
        """Whether there is an answer with bars, and all vendors that serve those of a gap are down.

        That of a substitute is also a part if all its vendors refuse the rest, such as an unknown
        symbol: without stored bars, there would be none.
        """
        if self.answer is None or not self.has_rows:
            return False
        if any(gap.is_outage for gap in stretches(self.answer.gaps).sources):
            return True
        journal, route = self.journal, self.run.request.route
        is_refused = all(candidate.name in journal.excluded for candidate in route.candidates)
        return route.is_substitute and is_refused and bool(journal.unfilled)

    @property
    def confirmed(self) -> Answer | None:
        """The answer, even an empty one, if vendors have fully confirmed it."""
        return None if self.journal.unfilled else self.answer


class MissRun:
    """The answer to one query that the store cannot answer. Use from one thread only.

    Bars from which the answer is built, and closes that it needs, have runs of their own, with
    another ``purpose``.

    Args:
        handler: The services.
        query: The query.
        result: Result that the store has returned for the query.
        run_lane: Makes the run of a request to one lane.
        purpose: What the bars are used for.
        excluded: Vendors not to query, with the reason.
    """

    def __init__(
        self,
        handler: MissHandler,
        query: BarsQuery,
        result: LookupResult,
        run_lane: RunLane,
        purpose: Purpose = "caller",
        excluded: Mapping[str, DataError] | None = None,
    ) -> None:
        self._handler, self._services = handler, handler.services
        self._query, self._result, self._purpose = query, result, purpose
        self._run_lane = run_lane
        # Vendors that are not queried, and the failed attempts of calls just before this one.
        self._unusable, self._earlier = dict(excluded or {}), list[Attempt]()
        # The lanes of the route that are still to be tried, and those that have been tried.
        self._route: Route
        self._left, self._tried = list[LaneRoute](), list[_TriedLane]()
        # The first part of the "requested" kind, and of a "substitute": each with the number of lanes
        # that had been tried by then.
        self._parts = dict[str, tuple[Answer, int]]()
        # Why no lane has answered, and what was built from shorter bars for that reason.
        self._error: DataError | None = None
        self._built: FallbackBars | None = None
        self._deriver = Deriver(handler.shorter, self._source_bars, handler.services.log)

    # --- the list --------------------------------------------------------------------------

    def answer(self) -> Answer:
        """Return the answer of the first way that has one.

        Raises:
            NoProviderError, AllProvidersFailedError: None of the ways has an answer.
        """
        try:
            for way in self._ways():
                if (answer := way()) is not None:
                    return answer
        finally:
            self._note_down()
        raise self._failure()

    def _ways(self) -> Iterator[Callable[[], Answer | None]]:
        """Yield the ways to try, in order; each condition is checked after the way before it.

        If all vendors of the requested kind are down, and part of the range is stored, the answer is
        the first of these: the whole range from the vendors of another kind, as a substitute; the
        whole range built from shorter bars; the part, with gaps. Shorter bars are tried only if no
        other vendor has answered with rows, and substitutes only if the query is not strict. If
        nothing is stored, substitutes need not be whole, nor need shorter bars, which are then
        compared with what is stored of another kind (:meth:`_answer_from_store`). What is stored of a
        substitute whose vendors fail for the rest is the answer only if there is no other. In all
        other respects, the answer does not depend on what happens to be cached.

        ========================= =========================================================
        State                     Set by; read by
        ========================= =========================================================
        ``_unusable``             constructor, ``_find_route``; ``_excluded``, ``_with_facts``
        ``_earlier``              ``_find_route``; ``_attempts``
        ``_route``                ``_find_route``; ``_try_lanes`` and what it calls, errors
        ``_left``                 ``_find_route``, ``_try_lanes``; ``_try_lanes``, this list
        ``_tried``                ``_try_lanes``; this list, and all that collects attempts
        ``_parts``                ``_try_lanes`` (failures); this list, ``_build_from_shorter``
        ``_error``                ``_find_route``, ``_failure``; ``_failure``, ``_as_fallback``
        ``_built``                ``_build_from_shorter``; this list, ``_answer_from_store``
        ========================= =========================================================
        """
        query = self._query
        # A stock's weekly and monthly bars are better if they are built from daily ones. This way
        # always answers or raises an error, so that nothing below is tried after it.
        if isinstance(self._result, Derived):
            yield partial(self._deriver.of_days, query, self._result.source)
        # The requested kind, from the vendors that the rules name.
        if self._find_route():
            yield self._try_lanes
        # A strict query would reject a substitute, and not report the part that is there.
        if self._left and not (self._part is not None and query.strict):
            yield self._try_lanes
        # The vendors of the requested kind have reported, now or earlier, that there are no bars. The
        # first lane counts, because the last ones are now substitutes.
        if self._part is None and self._tried and (empty := self._tried[0].confirmed):
            yield partial(self._with_later_attempts, empty, 1)
        # Bars from which others are built are not built themselves.
        has_answered = any(lane.has_rows and not lane.is_part for lane in self._tried)
        if self._purpose == "caller" and not has_answered:
            yield self._build_from_shorter
        if self._part is not None:
            yield partial(self._with_later_attempts, *self._parts["requested"])
        elif "substitute" in self._parts and not (self._built and self._built.is_answer):
            yield partial(self._with_later_attempts, *self._parts["substitute"])
        elif self._purpose != "closes":
            yield self._answer_from_store

    # --- lanes -----------------------------------------------------------------------------

    @property
    def _part(self) -> Answer | None:
        """The part of the requested kind that is available in an outage, or None."""
        return self._parts["requested"][0] if "requested" in self._parts else None

    def _find_route(self) -> bool:
        """Find the lanes to try and their vendors; return False if no vendor serves such bars.

        This is also the case if all that do may list a different instrument under this ticker.
        """
        result, query = self._result, self._query
        down = down_for(query.instrument.symbol)
        self._earlier = [a for name, a in down.items() if name not in self._unusable]
        errors = {a.provider: a.error for a in self._earlier if a.error is not None}
        self._unusable = errors | self._unusable
        lane = result.lane if isinstance(result, Miss | PartialHit) else None
        try:
            self._route = self._handler.route_of(query, lane)
        except NO_ANSWER as error:
            self._error = error
            return False
        self._left = list(self._route.lanes)
        return True

    def _try_lanes(self) -> Answer | None:
        """Try the next lanes, those of the requested kind or those of substitutes, in order.

        The result of a lane decides what happens next:

        - An answer with rows, or one without gaps, is returned unless it is a part. The first part of
          the requested kind, and of a substitute, is kept; only a complete answer of a later lane
          replaces the former.
        - If the symbol is unknown to its own exchange, no further lane is tried, either.
        - Otherwise the next lane is tried.
        """
        are_substitutes = self._left[0].is_substitute
        while self._left and self._left[0].is_substitute == are_substitutes:
            lane = self._left.pop(0)
            before = self._attempts(with_side=True)
            tried = self._answer_from_lane(self._query, lane, self._excluded(), before)
            self._tried.append(tried)
            answer = tried.answer
            if answer is not None and (tried.has_rows or not answer.gaps):
                # With neither rows nor gaps, nothing trades at that time, and a substitute cannot
                # change that.
                unfilled, namesakes = tried.journal.unfilled, self._route.vendors.namesakes
                answer = _with_namesakes(answer, unfilled, namesakes)
                if tried.is_part:
                    kind = "substitute" if are_substitutes else "requested"
                    self._parts.setdefault(kind, (answer, len(self._tried)))
                elif self._part is None or _can_replace(answer, self._part):
                    return self._with_facts(answer)
            elif self._is_unknown_to_owner():
                self._left.clear()
        return None

    def _answer_from_lane(
        self,
        query: BarsQuery,
        lane: LaneRoute,
        excluded: Mapping[str, DataError],
        before: Sequence[Attempt],
    ) -> _TriedLane:
        """Answer from one lane, under the lock of its series.

        Args:
            query: The query.
            lane: Vendors of the lane.
            excluded: Vendors not to query, with the reason.
            before: Attempts made before, which the answer also lists.
        """
        services = self._services
        key = SeriesKey(query.instrument.symbol, query.timeframe, lane.lane_name)
        is_last = lane is self._route.lanes[-1]
        if query.offline and key.of_folder:  # the files are on this machine, other vendors are not
            readers = tuple(c for c in lane.candidates if c.folder_lane)
            lane = replace(lane, candidates=readers or lane.candidates, reporters=())
        rules = services.expiry, services.checks, services.log
        grid = grid_for(query.instrument, query.timeframe, lane.kind)
        request = LaneRequest(query, key, lane, grid, is_last, *rules)
        name = lane.candidates[0].name
        for _ in range(_MOST_READINGS):
            run = self._run_lane(services, request, excluded)
            journal = run.journal
            tried = self._answer_of(run, before)
            if run.is_current():
                return tried
        # Bars of two versions of a file are never mixed.
        message = f"the file of {key} changed while it was being read"
        error = UnavailableError(message, provider=name, symbol=key.symbol)
        journal.note(Attempt(name, type(error).__name__, message, error=error))
        return _TriedLane(None, run)

    def _answer_of(self, run: LaneRun, before: Sequence[Attempt]) -> _TriedLane:
        """Return the outcome of a run, with the attempts made before it and those of the run."""
        handler, services, request = self._handler, self._services, run.request
        query, key, lane, journal = request.query, request.key, request.route, run.journal
        name = lane.candidates[0].name
        try:
            # An offline call does not query a vendor, so it does not wait for other callers'
            # fetches either.
            with nullcontext() if query.offline else handler.locks.hold(key, services.clock):
                answer = run.answer()
            if isinstance(answer, Missing) and not (query.offline or answer.days.is_empty):
                # Dividends need daily close prices that are not stored; these are fetched first.
                journal.side_attempts += self._fetch_closes(query, answer.days)
                with handler.locks.hold(key, services.clock):
                    answer = run.answer(has_closes=True)
            if isinstance(answer, Missing):
                raise answer.error
        except KindMismatchError as error:
            journal.attempts.append(Attempt(name, type(error).__name__, str(error), error=error))
            return _TriedLane(None, run)
        later = [*map(lane.named, journal.attempts), *journal.side_attempts]
        attempts = attempt_entries([*before, *later])
        answer = replace(answer, facts=answer.facts | {"attempts": attempts})
        if lane.is_substitute:
            answer = replace(answer, substitute=f"{', '.join(_vendors(answer)) or name} ({key})")
        return _TriedLane(answer, run)

    def _with_later_attempts(self, answer: Answer, tried: int) -> Answer:
        """Return an answer from the first ``tried`` lanes, with the attempts of the lanes tried since."""
        later = attempt_entries(self._attempts(tried, with_side=True))
        attempts = [*answer.facts["attempts"], *later]
        return self._with_facts(replace(answer, facts=answer.facts | {"attempts": attempts}))

    def _with_facts(self, answer: Answer) -> Answer:
        """Add to a lane's answer why other vendors did not contribute."""
        query, vendors = self._query, {attempt.provider for attempt in self._attempts()}
        if not query.offline:  # a vendor that supplied stored bars need not be queried
            vendors |= set(_vendors(answer))
        rejected = left_out(self._handler.selector, query, self._route, vendors, self._unusable)
        facts: dict[str, Any] = {"rejected": rejected}
        if answer.substitute:
            reasons = (gap.reason for gap in self._unfilled() if gap.failed)
            facts["unanswered"] = next(reasons, None)
        return replace(answer, facts=answer.facts | facts)

    # --- the vendors' attempts -------------------------------------------------------------

    def _attempts(self, start: int = 0, *, with_side: bool = False) -> list[Attempt]:
        """Return the attempts from the lane at index ``start`` on.

        With ``with_side``, queries for actions and daily closes are included.
        """
        journals = [lane.journal for lane in self._tried[start:]]
        more = (a for j in journals for a in (*j.attempts, *(j.side_attempts if with_side else ())))
        return [*(() if start else self._earlier), *more]

    def _unfilled(self) -> list[UnfilledSpan]:
        """Return the segments that no vendor supplied."""
        return [gap for lane in self._tried for gap in lane.journal.unfilled]

    def _excluded(self) -> dict[str, DataError]:
        """Return the vendors not to query for further lanes: unusable ones, and those that are down."""
        errors = [pair for lane in self._tried for pair in lane.journal.excluded.items()]
        return {**self._unusable, **{name: error for name, error in errors if is_down(error)}}

    def _note_down(self) -> None:
        """Exclude the vendors that are down from the following queries of the same call."""
        excluded = self._excluded()
        attempts = [a for a in self._attempts(with_side=True) if a.error and a.provider in excluded]
        down_for(self._query.instrument.symbol).update((a.provider, a) for a in attempts)

    def _is_unknown_to_owner(self) -> bool:
        """Return whether the symbol is unknown to the exchange whose notation it uses.

        If so, the search ends without a substitute.
        """
        vendors = self._route.vendors
        errors = (lane.journal.excluded.get(vendors.owner) for lane in self._tried)
        return vendors.is_exchange and any(isinstance(e, SymbolNotFoundError) for e in errors)

    def _failure(self) -> DataError:
        """Return the reason why no lane has answered: an unknown symbol, or every vendor's error."""
        if self._error is not None:
            return self._error
        query, route, attempts = self._query, self._route, self._attempts()
        is_unknown = [isinstance(attempt.error, SymbolNotFoundError) for attempt in attempts]
        if self._is_unknown_to_owner() or (attempts and all(is_unknown)):
            others, hint = _not_queried(query, route, attempts), ""
            candidates = (c for lane in route.lanes for c in lane.candidates)
            if owner := next((c for c in candidates if c.name == route.vendors.owner), None):
                hint, side_attempts = self._tried[0].run.derivative_hint(owner)
                attempts += side_attempts
            self._error = unknown_symbol(query, attempts, others, hint)
        else:
            attempts += [a for lane in self._tried for a in lane.journal.side_attempts]
            self._error = _all_failed(query, attempts, self._unfilled(), route.vendors.namesakes)
        return self._error

    # --- bars of other lengths -------------------------------------------------------------

    def _build_from_shorter(self) -> Answer | None:
        """Build the answer from shorter bars, which have to be complete to replace a part.

        Incomplete ones may still be the answer if nothing of the kind is stored.
        """
        self._note_down()
        if self._part is not None:
            answer = self._deriver.build_or_none(self._query, self._attempts())
            is_complete = answer is not None and _can_replace(answer, self._part)
        else:
            self._built = self._deriver.build_fallback(self._query, self._failure())
            answer = self._built.answer
            is_complete = answer is not None and is_whole(answer) and bool(len(answer.table))
        return self._as_fallback(answer) if answer is not None and is_complete else None

    def _source_bars(self, query: BarsQuery, excluded: Mapping[str, DataError]) -> Answer:
        """Answer with bars of exactly the timeframe of ``query``, from which others are built.

        The ``excluded`` vendors are not queried.
        """
        handler = self._handler
        result = handler.lookup.find(query)
        if not isinstance(result, Hit) and pull_series(self._services.store, query):
            result = handler.lookup.find(query)
        if isinstance(result, Hit):
            return result.answer
        return MissRun(handler, query, result, self._run_lane, "source", excluded).answer()

    def _fetch_closes(self, query: BarsQuery, days: Span) -> Sequence[Attempt]:
        """Fetch and store the daily bars of ``days``; return the attempts that were made.

        The next read of the store shows whether they could be fetched.
        """
        daily = replace(
            query,
            instrument=query.instrument.in_session("regular"),
            timeframe=Timeframe.parse("1d"),
            span=days,
            bars=None,
            adjustment="split",
            include_forming=False,
            strict=False,
            refresh=False,
        )
        try:
            answer = MissRun(self._handler, daily, MISS, self._run_lane, "closes").answer()
        except DataError as error:
            self._services.log.warning("no daily closes for %s: %s", query, error)
            attempts: Sequence[Attempt] = getattr(error, "attempts", ())
            return attempts
        return [attempt_of(entry) for entry in answer.facts.get("attempts", ())]

    # --- from the store --------------------------------------------------------------------

    def _answer_from_store(self) -> Answer:
        """Answer with stored bars, or with incomplete built ones if they lack no more than these.

        Raises:
            NoProviderError, AllProvidersFailedError: There are neither.
        """
        error, built = self._failure(), self._built
        try:
            answer = self._stored_or_error(built.error if built else error)
        except NO_ANSWER:
            if built is None or built.answer is None or not built.is_answer:
                raise
            answer = built.answer
        else:
            if built and built.answer:
                answer = min(built.answer, answer, key=shortfall)
        return self._as_fallback(answer) if self._purpose == "caller" else answer

    def _stored_or_error(self, error: DataError) -> Answer:
        """Answer with stored bars even though no vendor can supply the rest, or raise ``error``.

        If no bars of the kind that the rules select are stored, bars of a different kind in the
        default lane are used instead, provided that they belong to the same instrument.
        """
        query, selector = self._query, self._handler.selector
        if isinstance(error, NoProviderError):
            error = with_reasons(selector, query, error)
        route, lane = self._route_now(), self._handler.lanes.find(query)
        is_failure = not isinstance(error, UnsupportedError)
        attempts: Sequence[Attempt] = getattr(error, "attempts", ())
        # The error is about this call; earlier reports from vendors about a span remain valid.
        unfilled = [UnfilledSpan(query.span, str(error), is_failure, is_noted=True)]
        # No lane has the whole span in the requested adjustment, so the available part is the
        # answer.
        missing = FetchOutcome(unfilled=unfilled, attempts=attempts)
        read, default = self._services.reader.answer, query.home_key
        try:
            answer = read(query, lane.key, query.span, missing, "part")
            if not len(answer.table) and lane.is_beside and self._is_same_thing(route, lane):
                answer = read(query, default, query.span, missing, "part")
                answer = replace(answer, substitute=f"{', '.join(_vendors(answer))} ({default})")
        except KindMismatchError as mismatch:
            raise error from mismatch
        if not len(answer.table):
            raise error
        grid = grid_for(query.instrument, query.timeframe, answer.kind)
        now_ms = self._services.clock.now_ms()
        cap_ms = first_unclosed(grid.calendar, grid.timeframe, now_ms, grid.anchor)
        rejected = left_out(selector, query, route, {a.provider for a in attempts}, {})
        return replace(
            answer,
            gaps=real_gaps(answer.gaps, cap_ms, grid),
            facts=answer.facts | {"rejected": rejected},
        )

    def _is_same_thing(self, route: Route | DataError, lane: AnsweringLane) -> bool:
        """Return whether the default lane is known to contain bars of the requested instrument.

        The requested instrument is the one listed by the owner of ``route`` (the vendor
        whose listing the symbol names). If no route was found, as for bars built from shorter ones,
        it is the one listed by the vendor of ``lane``.
        """
        query = self._query
        view = self._services.store.view(query.home_key)
        if lane.kind is None or view.kind is None:
            return False
        asset = Lister(lane.vendor, lane.kind)
        if isinstance(route, Route):
            asset = Lister(route.vendors.owner, route.kind)
        vendors = {name for entry in view.coverage for name in entry.vendor.split(",") if name}
        return all(is_proved(query.instrument, Lister(name, view.kind), asset) for name in vendors)

    def _as_fallback(self, answer: Answer) -> Answer:
        """Return an answer that is used because vendors failed; they may work again the next time.

        Built bars are marked as a substitute if the rules require a different kind.
        """
        if isinstance(self._error, NoProviderError):
            return answer
        route = self._route_now()
        is_of_kind = isinstance(route, DataError) or answer.kind.agrees(route.kind)
        if not (answer.substitute or is_of_kind):
            lane = answer.facts.get("derived_from", {}).get("lane", self._query.timeframe)
            vendors = ", ".join(_vendors(answer))
            answer = replace(answer, substitute=f"{vendors} (made of {lane} bars)")
        return replace(answer, depends_on=None)

    def _route_now(self) -> Route | DataError:
        """Return the route by what is stored now, or the error if no vendor can supply the bars."""
        try:
            return self._handler.route_of(self._query)
        except DataError as error:
            return error


def _vendors(answer: Answer) -> list[str]:
    """Return the names of the vendors that an answer's bars came from."""
    counts = answer.table.counts(answer.coverage.where(lambda _: True))
    entries = Stretches[Covered].of(answer.coverage.columns.take(np.array(counts, bool)))
    vendors = dict.fromkeys(source.vendor for source in entries.sources)
    return list(dict.fromkeys(name for vendor in vendors for name in vendor.split(",")))


def _can_replace(answer: Answer, part: Answer) -> bool:
    """Return whether ``answer`` is complete and contains all bars of ``part``, which is not.

    Bars of another kind may have other timestamps, so that only its gaps show what it lacks.
    """
    if answer.harmful_gaps or not len(answer.table):
        return False
    if any(part.table.counts(stretches(answer.gaps).where(lambda _: True))):
        return False
    if not answer.kind.agrees(part.kind):
        return True
    # The last N bars of a part begin earlier, because it lacks the newest ones.
    first = answer.table.stamps[0] if answer.query.bars is not None else 0
    return bool(among(part.table.stamps[part.table.stamps >= first], answer.table.stamps).all())


def _not_queried(query: BarsQuery, route: Route, attempts: Sequence[Attempt]) -> dict[str, str]:
    """Map each vendor that was not queried to the reason, with advice on how to request it."""
    queried, symbol = {attempt.provider for attempt in attempts}, query.instrument.symbol
    others = [c.name for lane in route.lanes for c in lane.candidates if c.name not in queried]
    reason = f"{route.vendors.owner}, the exchange of this pair, does not list it"
    return {
        **route.vendors.namesakes,
        **{name: f"{reason}; request {symbol} with provider={name!r} to get it" for name in others},
    }


def _with_namesakes(
    answer: Answer, unfilled: Sequence[UnfilledSpan], namesakes: Mapping[str, str]
) -> Answer:
    """Add to each gap the names of vendors that could fill it if they listed the same instrument.

    These vendors were skipped because nothing proves that they list it.
    """
    reasons = {gap.reason for gap in unfilled}
    if not namesakes or not reasons:
        return answer
    not_asked = "; ".join(f"{name} is skipped: {reason}" for name, reason in namesakes.items())
    columns = stretches(answer.gaps).columns
    sources = tuple(
        replace(gap, reason=f"{gap.reason}; {not_asked}") if gap.reason in reasons else gap
        for gap in columns.sources
    )
    return replace(answer, gaps=Stretches.of(columns._replace(sources=sources)))


def _all_failed(
    query: BarsQuery,
    attempts: Sequence[Attempt],
    unfilled: Sequence[UnfilledSpan],
    namesakes: Mapping[str, str],
) -> AllProvidersFailedError:
    failures = [a for a in attempts if a.outcome not in ("ok", "empty")]
    reasons = dict.fromkeys(map(str, failures))
    if reasons:
        # Other vendors' answers are included, because they know the symbol but have no closed bars.
        barren = [a for a in attempts if a.outcome in ("ok", "empty") and not a.rows]
        reasons |= dict.fromkeys(
            by_vendor(a.provider, a.message or "it has no closed bar in this range") for a in barren
        )
    reasons = reasons or dict.fromkeys(u.reason for u in unfilled)
    reasons |= dict.fromkeys(f"{name} is skipped: {reason}" for name, reason in namesakes.items())
    if query.offline and not failures:
        return AllProvidersFailedError(
            query.not_cached, attempts=attempts, symbol=query.instrument.symbol
        )
    return AllProvidersFailedError(
        f"All providers failed for {query}: {'; '.join(reasons)}",
        attempts=attempts,
        symbol=query.instrument.symbol,
        hint=doctor_hint(query),
    )
