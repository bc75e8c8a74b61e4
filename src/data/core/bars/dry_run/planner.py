"""Plans a query: the bars that are stored, and the requests for the missing ones.

The plan is computed from the fetch plan of each lane that the query would try; see
:mod:`.planned_lane`. Requests that prove the beginning or the end of a series, or repair
something, are not counted.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ....errors import (
    AllProvidersFailedError,
    DataError,
    NoProviderError,
    UnknownProviderError,
)
from ...cache.store import BarStore
from ...calendars.grid import grid_for
from ...clock import Clock
from ...config.rules import ValidationRules
from ...model.request.health import Health
from ...model.request.plan import MissingPart, Plan, PlanSegment, PlanSpan, PlanStep, VendorOffer
from ...model.request.query import BarsQuery
from ...model.stored.coverage import WITH_BARS, Coverage
from ...model.time.span import Span, subtract, uncovered
from ...model.time.timeframe import Timeframe
from ..answer.answer import Answer
from ..lookup import Hit
from ..observer import Observer
from ..service import BarsService
from ..validity import Expiry

if TYPE_CHECKING:
    from ..fetch.plan import FetchPlan
    from ..selection.route import Route
    from ..series import LaneRequest
    from .planned_lane import RequestCount

_VENDOR_TWICE = re.compile(r"\b(\w+): \1 ")

# The events of a dry run did not really happen, so they are not logged. This logger is not part of
# the logger tree, so that no configuration can enable it.
_NO_LOG = logging.Logger("onetape.dry_run")
_NO_LOG.disabled = True


@dataclass(frozen=True)
class RequestPlanner:
    """Plans queries without sending them to a vendor, writing or logging anything. Not thread-safe.

    Attributes:
        store: Stored bars, as :meth:`.BarStore.preview` shows them.
        selector: Selects the vendors.
        clock: Source of the current time.
        expiry, checks: Rules for expiry and for checking answers, the same as for real queries.
    """

    store: BarStore
    selector: Any
    clock: Clock
    expiry: Expiry = Expiry()
    checks: ValidationRules = ValidationRules()

    def plan(self, query: BarsQuery) -> Plan:
        """Return the plan for ``query``: the vendor requests that it would make now.

        Raises:
            CacheError: The store cannot be read.
        """
        # Run in its own context, so that anything Ctrl-C leaves set disappears with it.
        return copy_context().run(self._composer, query).plan()

    def route(self, query: BarsQuery) -> Route:
        """Return the vendors and lanes from which the bars for ``query`` may come.

        Raises:
            NoProviderError, UnknownProviderError: No vendor can supply them.
        """
        return BarsService(self.store, self.selector, self.clock).miss_handler.route_of(query)

    def _composer(self, query: BarsQuery) -> _Composer:
        observer = Observer(self.clock, routing_log=_NO_LOG)
        service = BarsService(
            self.store, self.selector, self.clock, self.expiry, self.checks, observer=observer
        )
        lookup = service.find_stored(query)
        if isinstance(lookup, Hit):
            return _Composer(self, query, lookup.answer)
        # Imported here: the plan of a hit needs no vendor.
        from .planned_lane import PlannedLane, RequestCount

        count, handler = RequestCount(query), service.miss_handler
        try:
            answer = handler.answer(query, lookup, partial(PlannedLane, count))
            return _Composer(self, query, answer, count)
        except (NoProviderError, AllProvidersFailedError, UnknownProviderError) as error:
            return _Composer(self, query, None, count, error)


class _Composer:
    """Builds the plan of a query.

    Args:
        planner, query: Planner and the query.
        answer: Stored bars, with the expected bars that would be fetched, in outline if there may be
            too many; None after an error.
        count: Requests to vendors; None if the store alone answers.
        error: Error that the query would raise instead of an answer.
    """

    def __init__(
        self,
        planner: RequestPlanner,
        query: BarsQuery,
        answer: Answer | None,
        count: RequestCount | None = None,
        error: DataError | None = None,
    ) -> None:
        self._planner, self._query, self._answer = planner, query, answer
        self._count, self._error = count, error
        self._steps, self._lanes = (count.steps, count.lanes) if count else ([], [])
        self._source = _source(answer)
        self._timeframe = self._source or query.timeframe
        self._plans = self._plans_of_lane()
        self._is_hit = self._is_answered_by_store()
        # Only documents were compared, so the plan needs no calendar and no vendor either.
        self._is_stored = self._is_hit and not any(lane.plans for lane in self._lanes)

    def _is_answered_by_store(self) -> bool:
        """Return whether the query can be answered without a vendor."""
        if self._answer is None or self._steps:
            return False
        if self._count is None or all(gap.harmless for gap in self._answer.gaps):
            return True
        plans = [plan for lane in self._lanes for plan in lane.plans]
        return bool(plans) and not any(plan.segments for plan in plans)

    def plan(self) -> Plan:
        """Return the plan."""
        query, answer = self._query, self._answer
        segments, besides = self._segments()
        stored = _stored_spans(answer, self._requested_spans()) if answer else ()
        missing = self._missing_parts(segments)
        bars = sum(held.bars for held in stored)
        total = (self._rows(answer) if answer else 0) + sum(lack.bars for lack in missing)
        share = bars / total if total else 0.0
        rejected, substitutes = self._other_vendors()
        return Plan(
            query.instrument.symbol,
            query.timeframe,
            query.adjustment,
            self._span(),
            query.now_ms,
            stored,
            segments,
            besides,
            missing,
            rejected=rejected,
            substitutes=substitutes,
            health=self._health(),
            source=self._source,
            is_hit=self._is_hit,
            share=1.0 if self._is_stored else share,
            error=type(self._error).__name__ if self._error else "",
        )

    def _rows(self, answer: Answer) -> int:
        """Return the number of bars that the answer would have, including those that it omits."""
        if self._source or not self._plans:
            return len(answer.table)
        key = self._plans[-1][0].key
        left_out = sum(lane.left_out for lane in self._lanes if lane.request.key == key)
        return len(answer.table) + left_out

    def _plans_of_lane(self) -> list[tuple[LaneRequest, FetchPlan]]:
        """Return the requests and plans of the answering lane, or of the first lane if none answers."""
        pairs = ((lane.request, plan) for lane in self._lanes for plan in lane.plans)
        plans = [pair for pair in pairs if pair[0].key.timeframe == self._timeframe]
        keys = list(dict.fromkeys(request.key for request, _ in plans))
        if self._answer is None:
            keys = keys[:1]
        else:
            facts = self._answer.facts
            lane = facts.get("derived_from", facts).get("lane")
            keys = [key for key in keys if key.folder == lane] or keys[-1:]
        return [(request, plan) for request, plan in plans if request.key in keys]

    def _requested_spans(self) -> list[Span]:
        """Return the spans requested from vendors whose bars can become part of the answer."""
        names = {c.name for request, _ in self._plans for c in request.route.candidates}
        steps = (step for step in self._steps if step.vendor in names or not self._plans)
        return [step.span for step in steps]

    def _other_vendors(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return, keyed by vendor, why vendors are not candidates and why they are only substitutes."""
        if self._is_stored:
            return {}, {}
        from ..selection.exclusions import differences, not_queried

        rejected = not_queried(self._planner.selector, self._query)
        try:
            route = self._planner.route(self._query)
        except DataError:
            return rejected, {}
        substitutes = {
            candidate.name: differences(route.lanes[0], lane)
            for lane in route.lanes[1:]
            for candidate in lane.candidates
        }
        return {**rejected, **route.vendors.namesakes}, substitutes

    def _span(self) -> Span:
        """Return the requested span up to the first bar that has not closed."""
        plan = self._plans[-1][1] if self._plans else None
        start, end = plan.wanted if plan and not self._source else self._query.span
        return Span(start, max(start, min(end, plan.cap_ms if plan else self._query.now_ms + 1)))

    # --- requests --------------------------------------------------------------------------

    def _segments(self) -> tuple[tuple[PlanSegment, ...], tuple[PlanStep, ...]]:
        """Return the missing segments with the steps for each, and all other steps."""
        remaining, segments = list(self._steps), []
        for request, plan in self._plans:
            for span in plan.segments:
                steps = [
                    step
                    for step in remaining
                    if step.what == "bars"
                    and step.timeframe == self._timeframe
                    and step.span.overlaps(span)
                ]
                remaining = [step for step in remaining if step not in steps]
                segments.append(self._segment(request, span, plan.cap_ms, steps))
        return tuple(segments), tuple(remaining)

    def _segment(
        self, request: LaneRequest, span: Span, cap_ms: int, steps: Sequence[PlanStep]
    ) -> PlanSegment:
        expected = request.grid.outline(Span(span.start, min(span.end, cap_ms)))
        coverage = self._planner.store.view(request.key).coverage
        candidates, count = request.route.candidates, self._count
        # Each vendor's, as if only that one were queried.
        offers: tuple[VendorOffer, ...] = ()
        if count is not None and not self._query.offline:
            offers = tuple(count.offer(c, request, span) for c in candidates)
        return PlanSegment(
            span,
            *expected,
            reasons=tuple(_reasons(span, cap_ms, coverage, request)),
            offers=offers,
            steps=_join_steps(steps),
        )

    def _health(self) -> tuple[Health, ...]:
        """Return the health of each vendor involved."""
        if self._is_hit or self._query.offline:
            return ()
        from .planned_lane import health_of

        vendors = {c.name: c for lane in self._lanes for c in lane.request.route.candidates}
        timeframe = self._plans[0][0].grid.timeframe if self._plans else self._query.timeframe
        return tuple(health_of(c, timeframe, self._query) for c in vendors.values())

    # --- missing bars ----------------------------------------------------------------------

    def _missing_parts(self, segments: Sequence[PlanSegment]) -> tuple[MissingPart, ...]:
        if self._answer is not None:
            spans = [(gap.span, gap.reason) for gap in self._answer.gaps if not gap.harmless]
        else:
            reason = _reason(self._query, self._error)
            spans = [(s.span, reason) for s in segments] or [(self._query.span, reason)]
        if self._is_stored:
            return tuple(MissingPart(span, 0, reason=reason) for span, reason in spans)
        grid = grid_for(self._query.instrument, self._query.timeframe)
        # Errors name their vendor.
        reasons = [(span, _VENDOR_TWICE.sub(r"\1 ", reason)) for span, reason in spans]
        return tuple(MissingPart(span, *grid.outline(span), reason) for span, reason in reasons)


def _source(answer: Answer | None) -> Timeframe | None:
    """Return the timeframe of the bars from which an answer is derived, or None if it is not derived."""
    made_of = answer.facts.get("derived_from") if answer else None
    return Timeframe.parse(made_of["timeframe"]) if made_of else None


def _reason(query: BarsQuery, error: DataError | None) -> str:
    """Return the reason for a missing answer, naming each vendor's reason once."""
    if isinstance(error, AllProvidersFailedError) and error.attempts:
        reasons = (str(a) for a in error.attempts if a.message)
        return "; ".join(dict.fromkeys(reasons))
    # The reason follows the colon.
    return str(error.args[0]).rpartition(f" for {query}: ")[2] if error is not None else ""


def _join_steps(steps: Sequence[PlanStep]) -> tuple[PlanStep, ...]:
    """Merge adjacent requests to the same vendor."""
    merged: list[PlanStep] = []
    for step in steps:
        last = merged[-1] if merged else None
        if (
            last is None
            or last.span.end != step.span.start
            or last != replace(step, span=last.span, requests=last.requests, wait_s=last.wait_s)
        ):
            merged.append(step)
            continue
        merged[-1] = replace(
            step,
            span=Span(last.span.start, step.span.end),
            requests=last.requests + step.requests,
            wait_s=last.wait_s + step.wait_s,
        )
    return tuple(merged)


def _stored_spans(answer: Answer, requested: Sequence[Span]) -> tuple[PlanSpan, ...]:
    """Return the ranges of bars in an answer for which no vendor would be queried."""
    covered = [entry.span for entry in answer.coverage if entry.state in WITH_BARS]
    pairs = ((s, answer.table.within(s).stamps) for s in subtract(covered, requested))
    return tuple(PlanSpan(s, len(t), int(t[0]), int(t[-1])) for s, t in pairs if len(t))


def _reasons(span: Span, cap_ms: int, coverage: Coverage, request: LaneRequest) -> Iterator[str]:
    """Yield the reasons for requesting ``span``, according to its coverage."""
    now, entries = request.query.now_ms, coverage.within(span)
    missing = uncovered(Span(span.start, min(span.end, cap_ms)), [entry.span for entry in entries])
    reasons = {
        "refresh requested": request.query.refresh,
        "settled since it was fetched": any(entry.state == "provisional" for entry in entries),
        "no data last time, due again": any(
            entry.state == "empty" and not entry.is_valid(now) for entry in entries
        ),
        "doubtful, fetched again": any(entry.state == "suspect" for entry in entries),
        **{_describe_gap(gap, coverage): True for gap in missing},
        "with the forming bar": span.end > cap_ms,
    }
    if not any(reasons.values()):
        yield "cached, fetched again for comparison"
    yield from (reason for reason, holds in reasons.items() if holds)


def _describe_gap(gap: Span, coverage: Coverage) -> str:
    """Describe where ``gap`` is relative to the stored bars: before, after or between them.

    If no bars are stored, the text says so.
    """
    stored = [entry.span for entry in coverage if entry.state in WITH_BARS]
    if not stored:
        return "nothing cached yet"
    if gap.end <= stored[0].start:
        return "before the cached bars"
    return "after the cached bars" if gap.start >= stored[-1].end else "a hole in the cached bars"
