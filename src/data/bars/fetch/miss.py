"""Answers a query that the store cannot answer: from vendors, shorter bars, or stored bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...calendars.calendar import calendar_for, first_unclosed
from ...calendars.grid import BarGrid
from ...errors import (
    FAILOVER_ERRORS,
    AllProvidersFailedError,
    Attempt,
    CacheError,
    CorruptEntryError,
    DataError,
    KindMismatchError,
    NoProviderError,
    SymbolNotFoundError,
    UnsupportedError,
    by_vendor,
)
from ...model.capabilities import Derivative
from ...model.coverage import Covered, Stretches, stretches
from ...model.instant import DAY_MS, date_of, day_ms
from ...model.query import BarsQuery
from ...model.series import SeriesKey
from ...model.span import Span
from ...model.timeframe import Timeframe
from ...net.deadline import call_time, current_call, down_for, recorded_call
from ...net.locks import SeriesLocks
from ...symbols.assets import Lister, is_proved
from ..answer.answer import Answer, Missing, UnfilledSpan
from ..answer.reader import FetchOutcome, attempt_entries, attempt_of
from ..derive.derive import NO_ANSWER, Deriver
from ..derive.sources import SourceTimeframes
from ..lookup import CacheLookup, Derived, Hit, LookupResult, Miss, PartialHit
from ..pulls import pull_series
from ..selection.candidates import (
    LaneRoute,
    Route,
    Selector,
    candidates_of,
    find_route,
    unknown_symbol,
)
from ..selection.exclusions import left_out, with_reasons
from ..selection.lanes import AnsweringLane, LaneFinder
from ..series import Journal, LaneRequest, is_down
from .lane import LaneRun, LaneServices, real_gaps


@dataclass(frozen=True)
class _TriedLane:
    """The outcome of trying to answer from one lane (bars of one kind).

    ``answer`` is None if the bars of the lane cannot be converted.
    """

    answer: Answer | None
    journal: Journal

    @property
    def has_rows(self) -> bool:
        """Whether there is an answer with bars."""
        return self.answer is not None and bool(len(self.answer.table))

    @property
    def is_confirmed(self) -> bool:
        """Whether there is an answer, even an empty one, that vendors have fully confirmed."""
        return self.answer is not None and not self.journal.unfilled


@dataclass
class _TriedLanes:
    """The outcomes of the lanes tried so far, in order.

    Attributes:
        unusable: Vendors that the caller excluded, or that failed just before, with the reason.
        earlier: Failed attempts of a call just before this one, whose vendors are not queried
            again.
        lanes: Outcome of each lane.
    """

    unusable: Mapping[str, DataError] = field(default_factory=dict)
    earlier: Sequence[Attempt] = ()
    lanes: list[_TriedLane] = field(default_factory=list)

    def attempts(self, start: int = 0, *, with_side: bool = False) -> list[Attempt]:
        """Return the attempts from the lane at index ``start`` on.

        With ``with_side``, queries for actions and daily closes are included.
        """
        journals, tried = [ln.journal for ln in self.lanes[start:]], () if start else self.earlier
        more = (a for j in journals for a in (*j.attempts, *(j.side_attempts if with_side else ())))
        return [*tried, *more]

    @property
    def unfilled(self) -> list[UnfilledSpan]:
        """The segments that no vendor supplied."""
        return [gap for lane in self.lanes for gap in lane.journal.unfilled]

    @property
    def excluded(self) -> dict[str, DataError]:
        """The vendors not to query for further lanes: those that were unusable before, or are down."""
        errors = [pair for lane in self.lanes for pair in lane.journal.excluded.items()]
        return {**self.unusable, **{name: error for name, error in errors if is_down(error)}}


# Returns a hint on the owner's derivative, and the attempts made.
_DerivativeHint = Callable[[BarsQuery, Route], tuple[str, list[Attempt]]]


class MissHandler:
    """Answers queries that the store cannot answer.

    Thread-safe; each series is fetched by one thread at a time.

    1. :meth:`answer`: decides whether to answer from daily bars, if these are better, or from
       vendors.
    2. :meth:`_from_vendors`: gets the route from :meth:`route_of` (the lanes and their vendors, in
       the order of the rules), tries its lanes, and adds the vendors left out to the answer.
    3. :meth:`_try_lanes`: tries each lane in turn (:meth:`_answer_from_lane`, a
       :class:`~.lane.LaneRun`) until one answers with rows, or its vendors report that there are
       none. If an outage leaves an answer incomplete, a complete substitute replaces it.
    4. :meth:`_complete_answer`: replaces an answer that an outage cut off by complete bars built from
       shorter ones, if there are any.
    5. :meth:`_from_derived_or_stored`: if no vendor answers, uses bars built from shorter ones, or
       stored ones (:meth:`_from_store_alone`), or raises the error with every reason
       (:func:`_failure`).

    Args:
        selector: Selects the vendors.
        lanes: Finds the lane that contains a query's bars.
        locks: Locks for the series, in this process.
        lookup: Answers from the store, which is tried first for shorter bars.
        services: Services shared by the runs of lanes.

    Attributes:
        services: See the argument.
        lane_run: Makes the run of a lane; a plan replaces it.
        derivative_hint: Asks the symbol's owner for its derivative; a plan replaces it.
        shorter: Determines the shorter bars from which an answer may be built.
    """

    def __init__(
        self,
        selector: Selector,
        lanes: LaneFinder,
        locks: SeriesLocks,
        lookup: CacheLookup,
        services: LaneServices,
    ) -> None:
        self._store, self._clock = services.store, services.clock
        self._selector, self._lanes, self._lookup, self._locks = selector, lanes, lookup, locks
        self.services = services
        self.lane_run: Callable[[LaneServices, LaneRequest, Mapping[str, DataError]], LaneRun]
        self.lane_run = LaneRun
        self.derivative_hint: _DerivativeHint = self._derivative_hint
        self.shorter = SourceTimeframes(selector, lanes)
        self._deriver = Deriver(self.shorter, self._answer_in_own_timeframe, services.log)

    # --- the answer ------------------------------------------------------------------------

    def answer(self, query: BarsQuery, result: LookupResult) -> Answer:
        """Answer from daily bars if these are better, or else from vendors, or else from the store.

        Args:
            query: The query.
            result: Result that the store has just returned for the query; it is not a hit.

        Raises:
            NoProviderError, AllProvidersFailedError: As for ``BarsService.get``.
        """
        with call_time(self._clock, query.timeout_s), recorded_call():
            try:
                if isinstance(result, Derived):
                    answer = self._deriver.of_days(query, result.source)
                else:
                    try:
                        answer, tried = self._from_vendors(query, {}, _lane_of(result))
                    except NO_ANSWER as error:
                        answer = self._from_derived_or_stored(query, error)
                    else:
                        answer = self._complete_answer(query, answer, tried)
            except AllProvidersFailedError as error:
                from ..nearest_names import explain  # most symbols are known

                explain(error, query, self._store)
                raise
        # Changes are read only for shares, or if bars are missing or the series has ended.
        is_lacking = answer.harmful_gaps or "ended" in answer.facts
        if query.instrument.asset_class == "stock" or is_lacking:
            return self._with_changes(answer)
        return answer

    def _from_derived_or_stored(self, query: BarsQuery, error: DataError) -> Answer:
        """Answer from shorter or stored bars if no vendor supplied any; else raise ``error``."""
        answer = self._deriver.answer_instead(query, error, self._from_store_alone)
        if isinstance(error, NoProviderError):
            return answer
        # The vendors may work again the next time.
        return replace(self._mark_substitute(query, answer), depends_on=None)

    def _complete_answer(self, query: BarsQuery, answer: Answer, tried: _TriedLanes) -> Answer:
        """Return the vendors' answer or, if an outage cut it off, bars built from shorter ones.

        Built bars are used only if they are complete.
        """
        is_alone = sum(lane.has_rows for lane in tried.lanes) == 1
        if not (is_alone and _is_cut_off(answer)):
            return answer
        derived = self._deriver.build_or_none(query, tried.attempts())
        if derived is None or not _is_whole(derived, answer):
            return answer
        return replace(self._mark_substitute(query, derived), depends_on=None)

    def _with_changes(self, answer: Answer) -> Answer:
        """Return the answer with a note on the instrument's earlier and later symbols."""
        try:
            changes = self._store.actions(answer.query.instrument.symbol).changes
        except CacheError:
            return answer  # reported where the splits and dividends are needed
        if not changes:
            return answer
        from ..symbol_changes import with_changes  # few symbols ever change

        return with_changes(answer, changes)

    def _mark_substitute(self, query: BarsQuery, answer: Answer) -> Answer:
        """Return the derived answer, marked as a substitute if the rules require a different kind."""
        route = self._route_or_error(query)
        if answer.substitute or isinstance(route, DataError) or answer.kind.agrees(route.kind):
            return answer
        lane = answer.facts.get("derived_from", {}).get("lane", query.timeframe)
        return replace(answer, substitute=f"{', '.join(_vendors(answer))} (made of {lane} bars)")

    def _answer_in_own_timeframe(
        self, query: BarsQuery, excluded: Mapping[str, DataError]
    ) -> Answer:
        """Answer with bars of exactly the requested timeframe, without the ``excluded`` vendors."""
        result = self._lookup.find(query)
        if not isinstance(result, Hit) and pull_series(self._store, query):
            result = self._lookup.find(query)
        if isinstance(result, Hit):
            return result.answer
        try:
            return self._from_vendors(query, excluded, _lane_of(result))[0]
        except NO_ANSWER as error:
            return self._from_store_alone(query, error)

    # --- lanes in order --------------------------------------------------------------------

    def _from_vendors(
        self,
        query: BarsQuery,
        excluded: Mapping[str, DataError],
        lane: AnsweringLane | None = None,
    ) -> tuple[Answer, _TriedLanes]:
        """Answer from the requested kind's lane or a complete substitute; also return the lanes tried."""
        down = down_for(query.instrument.symbol)
        earlier = [attempt for name, attempt in down.items() if name not in excluded]
        unusable = {a.provider: a.error for a in earlier if a.error is not None} | dict(excluded)
        route, tried = self.route_of(query, lane), _TriedLanes(unusable, earlier)
        try:
            answer = self._try_lanes(query, route, route.lanes, tried)
            if answer is None:
                answer = self._if_no_lane_answers(query, route, tried)
        finally:
            calls = tried.attempts(with_side=True)
            down.update((a.provider, a) for a in calls if a.error and a.provider in tried.excluded)
        vendors = {attempt.provider for attempt in tried.attempts()}
        if not query.offline:  # a vendor that supplied stored bars need not be queried
            vendors |= set(_vendors(answer))
        rejected = left_out(self._selector, query, route, vendors, unusable)
        facts: dict[str, Any] = {"rejected": rejected}
        if answer.substitute:
            reasons = (gap.reason for gap in tried.unfilled if gap.failed)
            facts["unanswered"] = next(reasons, None)
        return replace(answer, facts=answer.facts | facts), tried

    def _try_lanes(
        self, query: BarsQuery, route: Route, lanes: Sequence[LaneRoute], tried: _TriedLanes
    ) -> Answer | None:
        """Try ``lanes`` in order; return the first answer that has rows or is correctly empty.

        The result is None if no lane has such an answer. Each lane that was tried is added to
        ``tried``. Its outcome decides what happens next:

        - An answer with rows, or one without gaps, is returned unless an outage cut it off. The first
          answer that was cut off is kept while substitutes are tried.
        - If the lane is known to be empty, a substitute's stored bars are returned, or else the
          empty answer.
        - If the symbol is unknown to its own exchange, no further lane is tried.
        - Otherwise the next lane is tried.

        If an outage leaves an answer incomplete, a complete answer from a substitute replaces it.
        The result does not depend on which bars happen to be cached. Stored bars that are
        only doubtful or due again do not count as missing.
        """
        incomplete: Answer | None = None
        # Attempts from the lane with this index on are added to the incomplete answer.
        first_later = 0
        for index, lane in enumerate(lanes):
            if incomplete is not None and query.strict and _is_substitute(query, route, lane):
                continue  # it would be rejected, and the incomplete answer would not be reported
            outcome = self._answer_from_lane(query, lane, route, tried)
            tried.lanes.append(outcome)
            answer = outcome.answer
            is_known_empty = outcome.is_confirmed and not outcome.journal.attempts
            if answer is not None and (outcome.has_rows or not answer.gaps):
                # With neither rows nor gaps, nothing trades at that time, and a substitute cannot
                # change that.
                answer = _with_namesakes(answer, outcome.journal.unfilled, route.namesakes)
                if incomplete is None and _is_cut_off(answer):
                    incomplete, first_later = answer, len(tried.lanes)
                elif incomplete is None or _is_whole(answer, incomplete):
                    return answer
            elif is_known_empty:
                # Vendors reported this earlier, and substitutes were queried then. If a substitute
                # has no bars, this does not show anything about bars of the wanted kind.
                if incomplete is None and not _is_substitute(query, route, lane):
                    stored = self._stored_substitute(query, route, lanes[index + 1 :])
                    return stored or answer
            elif self._is_unknown_to_owner(route, tried):
                break
        if incomplete is None:
            return None
        later = attempt_entries(tried.attempts(first_later, with_side=True))
        attempts = [*incomplete.facts["attempts"], *later]
        return replace(incomplete, facts=incomplete.facts | {"attempts": attempts})

    def _answer_from_lane(
        self, query: BarsQuery, lane: LaneRoute, route: Route, tried: _TriedLanes
    ) -> _TriedLane:
        """Answer from one lane, under the lock of its series; return the outcome."""
        request = self._request_for(query, lane, is_last_lane=lane is route.lanes[-1])
        run = self.lane_run(self.services, request, tried.excluded)
        key, journal, name = request.key, run.journal, lane.candidates[0].name
        try:
            # An offline call does not query a vendor, so it does not wait for other callers'
            # fetches either.
            with nullcontext() if query.offline else self._locks.hold(key, self._clock):
                answer = run.answer()
            if isinstance(answer, Missing) and not (query.offline or answer.days.is_empty):
                # Dividends need daily close prices that are not stored; these are fetched first.
                journal.side_attempts += self._fetch_days(query, answer.days)
                with self._locks.hold(key, self._clock):
                    answer = run.answer()
            if isinstance(answer, Missing):
                raise answer.error
        except KindMismatchError as error:
            journal.attempts.append(Attempt(name, type(error).__name__, str(error), error=error))
            return _TriedLane(None, journal)
        later = [*map(lane.named, journal.attempts), *journal.side_attempts]
        attempts = attempt_entries([*tried.attempts(with_side=True), *later])
        answer = replace(answer, facts=answer.facts | {"attempts": attempts})
        if _is_substitute(query, route, lane):
            answer = replace(answer, substitute=f"{', '.join(_vendors(answer)) or name} ({key})")
        return _TriedLane(answer, journal)

    def _request_for(self, query: BarsQuery, lane: LaneRoute, *, is_last_lane: bool) -> LaneRequest:
        """Return the request to a lane: its series, and the grid on which its bars are expected."""
        key = SeriesKey(query.instrument.symbol, query.timeframe, lane.lane_name)
        anchor = lane.kind.anchor or "session"
        grid = BarGrid(calendar_for(query.instrument), query.timeframe, anchor)
        expiry, checks, log = self.services.expiry, self.services.checks, self.services.log
        return LaneRequest(query, key, lane, grid, is_last_lane, expiry, checks, log)

    def _fetch_days(self, query: BarsQuery, days: Span) -> Sequence[Attempt]:
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
            answer, _ = self._from_vendors(daily, {})
        except DataError as error:
            self.services.log.warning("no daily closes for %s: %s", query, error)
            attempts: Sequence[Attempt] = getattr(error, "attempts", ())
            return attempts
        return [attempt_of(entry) for entry in answer.facts.get("attempts", ())]

    def _stored_substitute(
        self, query: BarsQuery, route: Route, lanes: Sequence[LaneRoute]
    ) -> Answer | None:
        """Return the answer from a substitute's stored bars; None if there are none.

        The substitute was stored because the requested bars were missing.
        """
        stored = replace(query, offline=True)
        for lane in lanes:
            answer = self._answer_from_lane(stored, lane, route, _TriedLanes()).answer
            if answer is not None and len(answer.table):
                return replace(answer, query=query)
        return None

    @staticmethod
    def _is_unknown_to_owner(route: Route, tried: _TriedLanes) -> bool:
        """Return whether the symbol is unknown to the exchange whose notation it uses.

        If so, the search ends without a substitute.
        """
        errors = (lane.journal.excluded.get(route.owner) for lane in tried.lanes)
        return route.is_final and any(isinstance(error, SymbolNotFoundError) for error in errors)

    def _if_no_lane_answers(self, query: BarsQuery, route: Route, tried: _TriedLanes) -> Answer:
        """Answer a query that no lane of the route has answered with bars, or raise an error.

        The answer is empty if the vendors report that there are none.
        """
        first = tried.lanes[0]
        if first.answer is not None and first.is_confirmed:
            return first.answer
        attempts = tried.attempts()
        is_unknown_to_all = bool(attempts) and all(
            isinstance(a.error, SymbolNotFoundError) for a in attempts
        )
        if self._is_unknown_to_owner(route, tried) or is_unknown_to_all:
            others = _not_queried(query, route, attempts)
            hint, side_attempts = self.derivative_hint(query, route)
            raise unknown_symbol(query, [*attempts, *side_attempts], others, hint)
        attempts += [a for lane in tried.lanes for a in lane.journal.side_attempts]
        raise _failure(query, attempts, tried.unfilled, route.namesakes)

    def _derivative_hint(self, query: BarsQuery, route: Route) -> tuple[str, list[Attempt]]:
        """Return a hint on requesting the owner's derivative with this name, and the attempts made.

        The owner is the vendor whose listing the symbol names. The hint is empty if that vendor has
        no such derivative.
        """
        owners = [c for lane in route.lanes for c in lane.candidates if c.name == route.owner]
        fetch = getattr(owners[0].downloader, "derivative", None) if owners else None
        if fetch is None or owners[0].capabilities is None or query.offline:
            return "", []
        started, requests_before = self._clock.monotonic(), current_call().requests
        attempt, hint = Attempt(route.owner, "ok", "asked for a perpetual future"), ""
        try:
            listing: Derivative = fetch(query.instrument, query.now_ms)
        except FAILOVER_ERRORS as error:
            error.provider = error.provider or route.owner
            self.services.log.warning("%s did not list its derivatives: %s", route.owner, error)
            attempt = replace(
                attempt, outcome=type(error).__name__, message=str(error), error=error
            )
        else:
            hint = listing.hint
        seconds = self._clock.monotonic() - started
        requests = current_call().requests - requests_before
        is_sent = requests or attempt.error
        return hint, [replace(attempt, seconds=seconds, requests=requests)] if is_sent else []

    # --- from the store --------------------------------------------------------------------

    def _from_store_alone(self, query: BarsQuery, error: DataError) -> Answer:
        """Answer with stored bars even though no vendor can supply the rest, or raise ``error``.

        If no bars of the kind that the rules select are stored, bars of a different kind in the
        default lane are used instead, provided that they belong to the same instrument.
        """
        if isinstance(error, NoProviderError):
            error = with_reasons(self._selector, query, error)
        route, lane = self._route_or_error(query), self._lanes.find(query)
        is_failure = not isinstance(error, UnsupportedError)
        attempts: Sequence[Attempt] = getattr(error, "attempts", ())
        # The error is about this call; earlier reports from vendors about a span remain valid.
        unfilled = [UnfilledSpan(query.span, str(error), is_failure, is_noted=True)]
        # No lane has the whole span in the requested adjustment, so the available part is the
        # answer.
        missing = FetchOutcome(unfilled=unfilled, attempts=attempts)
        answer = self._stored_answer(query, lane.key, missing, error)
        if not len(answer.table) and lane.is_beside and self._is_same_thing(query, route, lane):
            default = query.home_key
            answer = self._stored_answer(query, default, missing, error)
            answer = replace(answer, substitute=f"{', '.join(_vendors(answer))} ({default})")
        if not len(answer.table):
            raise error
        anchor = answer.kind.anchor or "session"
        grid = BarGrid(calendar_for(query.instrument), query.timeframe, anchor)
        cap_ms = first_unclosed(grid.calendar, grid.timeframe, self._clock.now_ms(), grid.anchor)
        vendors = {attempt.provider for attempt in attempts}
        rejected = left_out(self._selector, query, route, vendors, {})
        return replace(
            answer,
            gaps=real_gaps(answer.gaps, cap_ms, grid),
            facts=answer.facts | {"rejected": rejected},
        )

    def _stored_answer(
        self, query: BarsQuery, key: SeriesKey, missing: FetchOutcome, error: DataError
    ) -> Answer:
        """Return the answer from a stored series, or raise ``error`` if that is impossible."""
        try:
            return self.services.reader.answer(query, key, query.span, missing, "part")
        except KindMismatchError as mismatch:
            raise error from mismatch

    def _is_same_thing(
        self, query: BarsQuery, route: Route | DataError, lane: AnsweringLane
    ) -> bool:
        """Return whether the default lane is known to contain bars of the requested instrument.

        The requested instrument is the one listed by the owner of ``route`` (the vendor
        whose listing the symbol names). If no route was found, as for bars built from shorter ones,
        it is the one listed by the vendor of ``lane``.
        """
        view = self._store.view(query.home_key)
        if lane.kind is None or view.kind is None:
            return False
        asset = Lister(lane.vendor, lane.kind)
        if isinstance(route, Route):
            asset = Lister(route.owner, route.kind)
        vendors = {name for entry in view.coverage for name in entry.vendor.split(",") if name}
        return all(is_proved(query.instrument, Lister(name, view.kind), asset) for name in vendors)

    # --- routes ----------------------------------------------------------------------------

    def route_of(
        self,
        query: BarsQuery,
        lane: AnsweringLane | None = None,
    ) -> Route:
        """Return the lanes and vendors from which the bars for ``query`` may come.

        ``lane`` is the answering lane, if it is already known.

        Raises:
            NoProviderError, UnknownProviderError: No vendor can supply the bars.
        """
        lane = lane or self._lanes.find(query)
        are_known = self._are_actions_known(query)
        candidates = candidates_of(self._selector, query)
        return find_route(
            query,
            candidates,
            lane.default,
            kind=lane.kind,
            folder=lane.key.of_folder,
            has_actions=are_known,
        )

    def _route_or_error(self, query: BarsQuery) -> Route | DataError:
        """Return the route for a query, or the error if no vendor can supply its bars."""
        try:
            return self.route_of(query)
        except DataError as error:
            return error

    def _are_actions_known(self, query: BarsQuery) -> bool:
        """Return whether a stock's actions since the start of the requested range are known."""
        if query.instrument.asset_class != "stock" or query.provider is not None:
            return False
        try:
            book = self._store.actions(query.instrument.symbol)
        except CorruptEntryError:
            return False
        first = day_ms(date_of(query.span.start)) + DAY_MS
        today = day_ms(self.services.reader.days.current(query.instrument).day)
        return book.covers(Span(first, max(first, today + DAY_MS)))


def _lane_of(result: LookupResult) -> AnsweringLane | None:
    """Return the lane in which a lookup found no answer; None if it found one."""
    return result.lane if isinstance(result, Miss | PartialHit) else None


def _is_substitute(query: BarsQuery, route: Route, lane: LaneRoute) -> bool:
    """Return whether bars from ``lane`` are a substitute: not of the requested kind or adjustment."""
    return lane is not route.lanes[0] and lane.lane_name != (*route.lane_name, query.adjustment)


def _vendors(answer: Answer) -> list[str]:
    """Return the names of the vendors that an answer's bars came from."""
    counts = answer.table.counts(answer.coverage.where(lambda _: True))
    entries = Stretches[Covered].of(answer.coverage.columns.take(np.array(counts, bool)))
    vendors = dict.fromkeys(source.vendor for source in entries.sources)
    return list(dict.fromkeys(name for vendor in vendors for name in vendor.split(",")))


def _is_cut_off(answer: Answer) -> bool:
    """Return whether an answer has a gap because all vendors that serve such bars are down."""
    return any(gap.is_outage for gap in stretches(answer.gaps).sources)


def _is_whole(answer: Answer, part: Answer) -> bool:
    """Return whether ``answer`` is complete and contains all bars of the incomplete ``part``."""
    if answer.flagged or answer.harmful_gaps or not len(answer.table):
        return False
    return not any(part.table.counts(stretches(answer.gaps).where(lambda _: True)))


def _not_queried(query: BarsQuery, route: Route, attempts: Sequence[Attempt]) -> dict[str, str]:
    """Map each vendor that was not queried to the reason, with advice on how to request it."""
    queried, symbol = {attempt.provider for attempt in attempts}, query.instrument.symbol
    others = [c.name for lane in route.lanes for c in lane.candidates if c.name not in queried]
    reason = f"{route.owner}, the exchange of this pair, does not list it"
    return {
        **route.namesakes,
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


def _failure(
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
        reasons = {"nothing is cached, and offline=True allows no request": None}
    return AllProvidersFailedError(
        f"All providers failed for {query}: {'; '.join(reasons)}",
        attempts=attempts,
        symbol=query.instrument.symbol,
        hint="`onetape doctor` shows which vendors can be reached and which keys are set",
    )
