"""Computes what a request to one lane would cost: the fetch plan, and the requests for its segments.

The request runs as usual until a vendor would be queried. At that point the requests are counted
instead, and the vendor is assumed to have every expected bar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np

from ....errors import (
    FAILOVER_ERRORS,
    Attempt,
    CircuitOpenError,
    DataError,
    NoDataError,
    RateLimitedError,
)
from ...cache.actions import Asked, WholeAnswer
from ...cache.beside.prior_sessions import LOOKBACK
from ...cache.store import Commit, CommitPiece, SeriesView
from ...cache.values import no_check
from ...calendars.grid import grid_for
from ...model.display.texts import duration
from ...model.identity.kind import Basis
from ...model.market.actions import Action
from ...model.market.bars import BarTable
from ...model.request.capabilities import Fetched, FetchQuery
from ...model.request.health import Health
from ...model.request.plan import PlanStep, VendorOffer
from ...model.request.query import BarsQuery
from ...model.stored.reasons import NO_BAR
from ...model.time.instant import day_ms
from ...model.time.span import Span, coalesce
from ...model.time.timeframe import Timeframe
from ...net.limits.vendor_status import VendorStatus
from ...prices.adjustment import DividendError
from ...vendors.base import is_ours, status_for, unknown_symbol_error
from ...vendors.session import ACTIONS_ENDPOINT
from ..answer.answer import Allowed, Answer, Missing
from ..fetch.absence import missing_symbol_as_outage
from ..fetch.actions import ActionFetcher, with_lead
from ..fetch.attempt import VendorReply
from ..fetch.fetcher import ChunkResult, Fetcher, SpanGroup
from ..fetch.lane import LaneRun, LaneServices
from ..fetch.plan import FetchPlan, archive_requests, cap_of, cost_of, requests_for
from ..fetch.question import neighbors, question_for
from ..ingest.commit import basis_of
from ..ingest.receive import ex_dates, sessions_around
from ..selection.candidates import Candidate
from ..series import LaneRequest, SeriesStore, VendorQuestion

_ACTIONS = "splits and dividends"


@dataclass
class RequestCount:
    """The requests that a query would send now, counted one by one. Not thread-safe.

    Attributes:
        query: The query.
        steps: Requests to vendors, in order.
        lanes: Lanes that the query would try, in order.
        statuses: Limits of each vendor's endpoint, including the counted requests; None if no
            limits apply to it.
    """

    query: BarsQuery
    steps: list[PlanStep] = field(default_factory=list)
    lanes: list[PlannedLane] = field(default_factory=list)
    statuses: dict[tuple[str, Timeframe], VendorStatus | None] = field(default_factory=dict)

    def add(self, candidate: Candidate, query: FetchQuery) -> None:
        """Count the requests for one query to a vendor, as far as its limits allow.

        Raises:
            SymbolNotFoundError, CircuitOpenError, RateLimitedError, MissingCredentialsError: The
                vendor would not be queried now, or not with all requests.
        """
        name, downloader = candidate.name, candidate.downloader
        if candidate.conversion is not None:
            query = candidate.conversion.source_query(query)
        step = PlanStep(name, query.timeframe, query.span, 1)
        if not is_ours(downloader):
            self.steps.append(step)
            return
        caps, now_ms = downloader.capabilities, query.now_ms
        kind = caps.kind(query.instrument, query.timeframe)
        grid = grid_for(query.instrument, query.timeframe, kind)
        requests = requests_for(caps, query.span, grid, now_ms)
        archived = archive_requests(caps, query.span, grid, now_ms)
        step = replace(step, cost=cost_of(downloader, query))
        if requests > archived:
            self._send(candidate, query, replace(step, requests=requests - archived))
        if archived:  # the archive's host has separate limits, which are never reached
            self.steps.append(replace(step, requests=archived, cost=0, is_archive=True))

    def _send(self, candidate: Candidate, query: FetchQuery, step: PlanStep) -> None:
        """Count the requests of ``step``, as far as the vendor's limits allow.

        Raises:
            SymbolNotFoundError, CircuitOpenError, RateLimitedError: Not all requests would be sent.
        """
        place = candidate.name, query.timeframe
        if place not in self.statuses:
            asset_class = query.instrument.asset_class
            self.statuses[place] = status_for(candidate.downloader, asset_class, query.timeframe)
        status = self.statuses[place]
        error: DataError | None = unknown_symbol_error(candidate.downloader, query)
        if error is None and status is not None and status.shut_s > 0:
            error = CircuitOpenError(f"{candidate.name} is {status.health(query.now_ms).state}")
            error.is_endpoint_only = status.circuit.is_endpoint_only
        if error is not None:
            step = replace(step, requests=0)
        elif status is not None:
            sent, wait_s, stuck_s = status.send(step.requests, step.cost)
            step = replace(step, requests=sent, wait_s=wait_s)
            if stuck_s:
                limit = f"the limit of {candidate.name} is used up for {duration(stuck_s)}"
                error = RateLimitedError(limit)
        self.steps.append(replace(step, trouble=str(error.args[0]) if error else ""))
        if error is not None:
            raise error

    def offer(self, candidate: Candidate, request: LaneRequest, segment: Span) -> VendorOffer:
        """Return the offer that a vendor would make if only it were queried for ``segment``."""
        timeframe, name, now_ms = request.grid.timeframe, candidate.name, request.query.now_ms
        span = candidate.servable(segment, timeframe, now_ms)
        if span.is_empty:
            return VendorOffer(name, span, trouble=candidate.too_old(timeframe))
        alone, trouble = RequestCount(self.query), ""
        try:
            alone.add(candidate, FetchQuery(request.query.instrument, timeframe, span, now_ms))
        except DataError as error:
            trouble = str(error.args[0]).removeprefix(f"{name} is ")
            if isinstance(error, RateLimitedError):
                trouble = trouble.replace(f"the limit of {name}", "its limit") + " then"
        requests = sum(step.requests for step in alone.steps)
        cost = max((step.cost for step in alone.steps), default=1)
        wait_s = sum(step.wait_s for step in alone.steps)
        return VendorOffer(name, span, requests, cost, wait_s, trouble)


def health_of(candidate: Candidate, timeframe: Timeframe, query: BarsQuery) -> Health:
    """Return a vendor's current health; empty for a downloader from outside this library."""
    if not is_ours(candidate.downloader):
        return Health(candidate.name)
    status = status_for(candidate.downloader, query.instrument.asset_class, timeframe)
    health = Health(candidate.name) if status is None else status.health(query.now_ms)
    return replace(health, vendor=candidate.name)


class PlannedLane(LaneRun):
    """A request to one lane whose requests to vendors are counted rather than sent.

    Nothing is stored.

    Args:
        count: Count of the requests, to which this lane's are added.
        services, request, excluded: See :class:`.LaneRun`.

    Attributes:
        plans: Fetch plans, in order.
        left_out: Number of expected bars that the answer omits.
    """

    def __init__(
        self,
        count: RequestCount,
        services: LaneServices,
        request: LaneRequest,
        excluded: Mapping[str, DataError],
    ) -> None:
        super().__init__(services, request, excluded)
        clock, journal = services.clock, self.journal
        self.series = _PlannedSeries(services.store, clock, request.key, request.query, request.log)
        self._action_fetcher = _ActionCounter(count, clock, request, self.series, journal)
        self._counter = _BarCounter(count, request, self.series, journal, self._action_fetcher)
        self._fetcher = self._counter
        query, timeframe = count.query, request.key.timeframe
        # Years of minutes would take gigabytes; otherwise the bars of the answer are counted, or
        # longer bars are built from them.
        self._is_outlined = (
            query.bars is None and query.timeframe == timeframe and timeframe.is_intraday
        )
        self._count = count
        self.plans: list[FetchPlan] = []
        self.left_out = 0
        for lane in count.lanes:  # what an earlier lane would store is stored by now
            self.series.unstored_actions = lane.series.unstored_actions
            if lane.request.key == request.key:
                self.series.unstored = lane.series.unstored
        count.lanes.append(self)

    def derivative_hint(self, owner: Candidate) -> tuple[str, list[Attempt]]:
        """Return no hint, because a plan sends no request."""
        return "", []

    def _carry_out(self, plan: FetchPlan) -> FetchPlan:
        """Count the requests for the plan's segments, or record why none would be sent."""
        self.plans.append(plan)
        if self._is_closed:
            return super()._carry_out(plan)
        self._fetcher.fill(plan.segments)
        self._note_supplied()
        self._query_forming(plan)
        return plan

    def _read_stored(self, plan: FetchPlan, to: Allowed = "latest") -> Answer | Missing:
        """Read the plan's span; dividends are ignored if the closes that they need would be fetched."""
        query = self.request.query
        answer = super()._read_stored(plan, to)
        if isinstance(answer, Answer) or not isinstance(answer.error, DividendError):
            return answer
        ex_date = answer.error.ex_date
        reach = Span(day_ms(ex_date - LOOKBACK), day_ms(ex_date))
        days = [ln for ln in self._count.lanes if ln.request.key.timeframe == Timeframe(1, "d")]
        supplied = (p.span for ln in days for c in ln.series.unstored for p in c.pieces)
        if not any(span.overlaps(reach) for span in supplied):
            return answer
        self.request = replace(self.request, query=replace(query, adjustment="split"))
        answer = super()._read_stored(plan, to)
        return answer if isinstance(answer, Missing) else replace(answer, query=query)

    def _fetch_in_one_basis(self, wanted: Span) -> bool:
        is_possible = super()._fetch_in_one_basis(wanted)
        self._note_supplied()
        return is_possible

    def _note_supplied(self) -> None:
        """Read the spans that vendors would supply as stored from now on."""
        supplied, self._counter.supplied = self._counter.supplied, []
        candidates = {candidate.name: candidate for candidate, _ in supplied}
        for name, candidate in candidates.items():
            for span in coalesce(span for one, span in supplied if one.name == name):
                self._note_answer(candidate, span)

    def _note_answer(self, candidate: Candidate, span: Span) -> None:
        """Read the expected bars in ``span`` as an answer of a vendor."""
        request, series, now_ms = self.request, self.series, self.series.now_ms()
        bars, first, last = request.grid.outline(span)
        if self._is_outlined and first is not None and last is not None:
            stamps = np.array(sorted({first, last}), np.int64)
        else:
            stamps = request.grid.opens(span)
        self.left_out += bars - len(stamps)
        flat = np.ones(len(stamps))
        table = BarTable(stamps, flat, flat, flat, flat, np.zeros(len(stamps)))
        kind = series.view().kind or candidate.kind(request.query.instrument, request.key.timeframe)
        caps = candidate.capabilities
        fetched = Fetched(
            table,
            candidate.name,
            kind,
            Basis(candidate.adjustment),
            now_ms,
            actions=() if caps and caps.actions else None,
        )
        sessions = sessions_around(request, fetched)
        basis = basis_of(
            fetched, span.start if first is None else first, request.query, sessions.opened
        )
        piece = CommitPiece(table, span, candidate.name, now_ms, kind, basis, "final")
        series.commit(Commit((piece,)))
        if (asked := ex_dates(request, candidate, fetched, span, sessions)) is not None:
            series.add_actions((), asked)


class _PlannedSeries(SeriesStore):
    """The stored series of a plan, with changes in memory alone."""

    def commit(self, commit: Commit, check: Callable[[], object] = no_check) -> None:
        """Keep a commit in memory."""
        self.unstored.append(commit)

    def view(self) -> SeriesView:
        """Return the view of the stored series, with the facts of the commits in memory."""
        return reduce(SeriesView.updated, self.unstored, super().view())

    def add_actions(
        self, actions: Sequence[Action], answer: Asked, whole: WholeAnswer | None = None
    ) -> None:
        """Keep an answer about splits and dividends in memory."""
        self.unstored_actions.append((actions, answer, whole))

    def forget_actions(self) -> None:
        """Do nothing: a plan of a changed recording adjusts by what is stored."""


class _BarCounter(Fetcher):
    """Counts the requests for missing bars, in the order in which vendors would be queried.

    Attributes:
        supplied: Spans that vendors are assumed to supply, each with its vendor.
    """

    def __init__(self, count: RequestCount, *parts: Any) -> None:
        super().__init__(*parts)
        self._count = count
        self.supplied: list[tuple[Candidate, Span]] = []

    def query_forming(self, span: Span) -> None:
        """Count the request for the forming bar at the first vendor that can be queried."""
        for candidate in self._request.route.candidates:
            if candidate.name in self._journal.excluded:
                continue
            question = VendorQuestion(span, neighbors(self._request, self._series, candidate, span))
            if self._error(candidate, question) is None:
                return

    def _query_vendor(
        self, candidate: Candidate, group: SpanGroup, before: Sequence[DataError]
    ) -> ChunkResult:
        """Count the requests for one chunk; the vendor is assumed to have every expected bar."""
        span, journal = group.whole, self._journal
        question = question_for(self._request, self._series, candidate, *group)
        if self.supplied and self.supplied[-1][1].end == span.start:
            # The bars before the chunk are from the chunk before it.
            later = tuple(side for side in question.sides if side.is_later)
            question = VendorQuestion(span, later, missing_parts=question.missing_parts)
        if (error := self._error(candidate, question)) is not None:
            return ChunkResult(error, group.spans)
        reason = NoDataError(NO_BAR, provider=candidate.name)
        cap_ms = cap_of(self._request, self._series)
        rows = self._request.grid.outline(Span(span.start, min(span.end, cap_ms))).bars
        journal.attempts.append(VendorReply(candidate.name, span).attempt(rows=rows))
        if not rows:
            return ChunkResult(reason, group.spans)
        self.supplied.append((candidate, span))
        return ChunkResult(reason, ())

    def _error(self, candidate: Candidate, question: VendorQuestion) -> DataError | None:
        """Count the requests for one question; return the error that would stop them, if any."""
        query = self._fetch_query(candidate, question)
        try:
            self._action_fetcher.check(candidate, query.span)
            with missing_symbol_as_outage(self._series, candidate.name, query):
                self._count.add(candidate, query)
            self._action_fetcher.fetch_beside(candidate, query.span, BarTable.empty())
        except FAILOVER_ERRORS as error:
            error.provider = error.provider or candidate.name
            self._journal.note(VendorReply(candidate.name, question.span, error=error).attempt())
            return error
        return None


class _ActionCounter(ActionFetcher):
    """Counts the requests for splits and dividends; no new ones are assumed to be reported."""

    def __init__(self, count: RequestCount, *parts: Any) -> None:
        super().__init__(*parts)
        self._count = count

    def fetch_again(self, span: Span) -> None:
        """Count nothing: bars usually come with their actions, and other checks are not counted."""

    def fetch(self, span: Span, vendors: Sequence[Candidate] | None = None) -> bool:
        """Count the requests for the actions with an ex-date in ``span``; False if no vendor can answer."""
        known = self._knowable(span)
        for candidate in () if known.is_empty else vendors or self._reporters(known):
            name, wanted = candidate.name, self._with_recent(candidate, known)
            if candidate.downloader.is_circuit_open(ACTIONS_ENDPOINT):
                error = CircuitOpenError(f"{name} is not queried for {_ACTIONS} now")
                self._journal.without_actions[name] = error
                continue
            lead, daily = with_lead(candidate, wanted), Timeframe(1, "d")
            query = FetchQuery(self._request.query.instrument, daily, lead, self.clock.now_ms())
            requests = candidate.downloader.capabilities.action_requests
            cost = cost_of(candidate.downloader, query)
            self._count.steps.append(PlanStep(name, daily, lead, requests, cost, what=_ACTIONS))
            self._series.add_actions((), Asked(wanted, name, query.now_ms))
            return True
        return False
