"""Answer a query from one lane: plan what is missing, fetch it, read the whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..cache.store import BarStore, Commit, SeriesView
from ..clock import Clock
from ..errors import ProviderError
from ..model.coverage import Coverage, Covered
from ..model.instant import DAY_MS, MINUTE_MS
from ..model.query import BarsQuery
from ..model.span import Span, gaps
from ..policy.finality import forming_stamp
from ..policy.gaps import due_spans, missing
from .answering import Answer, Gap
from .fetching import Fetcher
from .reading import ActionsMissingError, Outcome, Reader
from .storing import CLOSED
from .work import Unfilled, Work

_LOOKBACKS = 4


@dataclass(frozen=True)
class Plan:
    """What a lane has to do for a request.

    Attributes:
        wanted: the stamps the answer is for.
        cap: stamp of the first bar that has not closed.
        segments: what to ask for.
        closed: what need not be asked: no bar is expected there.
    """

    wanted: Span
    cap: int
    segments: tuple[Span, ...] = ()
    closed: tuple[Span, ...] = ()


class LaneRunner:
    """Answers queries from one lane at a time. Thread-safe: it keeps no state of its own."""

    def __init__(self, store: BarStore, clock: Clock, fetcher: Fetcher, reader: Reader) -> None:
        self._store = store
        self._clock = clock
        self._fetcher = fetcher
        self._reader = reader

    def answer(self, query: BarsQuery, work: Work) -> Answer:
        """Fill what is missing of the wanted span; a count of bars may reach further back.

        Raises:
            KindMismatchError: the lane's bars cannot be brought to the asked basis.
        """
        answer = self._filled(query, self._wanted(query, work, 1), work)
        for tries in range(1, _LOOKBACKS):
            if query.bars is None or len(answer.table) >= query.bars or not len(answer.table):
                break
            answer = self._filled(query, self._wanted(query, work, 2**tries), work)
        return answer if query.bars is None else _last(answer, query.bars)

    def _wanted(self, query: BarsQuery, work: Work, factor: int) -> Span:
        """Return the stamps wanted; a count reaches back from the last closed bar."""
        if query.bars is None:
            return query.span
        end = min(query.span.end, self._cap(work))
        return Span(work.grid.back(end, query.bars * factor), query.span.end)

    def _cap(self, work: Work) -> int:
        grid = work.grid
        return forming_stamp(grid.calendar, grid.timeframe, self._clock.now_ms(), grid.anchor)

    def _filled(self, query: BarsQuery, wanted: Span, work: Work) -> Answer:
        plan = self._plan(query, wanted, self._store.view(work.key), work)
        if query.offline:
            work.unfilled += [Unfilled(s, "not cached, and offline") for s in plan.segments]
        else:
            self._fetcher.fill(work, plan.segments)
            self._ask_forming(query, plan, work)
            self._remember_closed(plan, work)
        try:
            answer = self._reader.answer(query, work.key, wanted, Outcome.of(work))
        except ActionsMissingError as needed:
            self._fetch_actions(query, needed.span, work)
            answer = self._reader.answer(query, work.key, wanted, Outcome.of(work))
        return replace(answer, gaps=self._real_gaps(answer, plan, work))

    def _plan(self, query: BarsQuery, wanted: Span, view: SeriesView, work: Work) -> Plan:
        """Say what to ask for: nothing that is held, nothing that has not closed."""
        now, cap = self._clock.now_ms(), self._cap(work)
        reach = Span(wanted.start, min(wanted.end, cap))
        if reach.is_empty:
            return Plan(wanted, cap)
        coverage = _trusted(query, view, reach, now, work)
        held = [] if query.refresh else coverage.held(now)
        due = due_spans(coverage.within(reach), work.grid, work.settle_ms, now)
        lacking = missing(reach, held, due, work.grid)
        segments = [Span(s.start, min(s.end, cap)) for s in lacking.segments]
        if not view.exists and not segments:
            # Nothing is expected there, but nothing is known of the series either: ask once.
            return Plan(wanted, cap, tuple(lacking.closed))
        if query.include_forming and segments and segments[-1].end == cap:
            # The running bar comes along with the closed ones before it.
            segments[-1] = Span(segments[-1].start, max(wanted.end, cap + MINUTE_MS))
        return Plan(wanted, cap, tuple(segments), tuple(lacking.closed))

    def _ask_forming(self, query: BarsQuery, plan: Plan, work: Work) -> None:
        """Ask for the running bar when it was wanted and has not come along already."""
        if query.include_forming and plan.wanted.end > plan.cap and not len(work.forming):
            end = max(plan.wanted.end, plan.cap + MINUTE_MS)
            self._fetcher.forming_bar(work, Span(plan.cap, end))

    def _remember_closed(self, plan: Plan, work: Work) -> None:
        """Note stretches in which no bar is expected, so that they need no calendar again."""
        if plan.closed and self._store.view(work.key).exists:
            now = self._clock.now_ms()
            marks = tuple(Covered(s, "empty", reason=CLOSED, fetched_at=now) for s in plan.closed)
            self._store.commit(work.key, Commit(marks=marks))

    def _fetch_actions(self, query: BarsQuery, span: Span, work: Work) -> None:
        """Ask the vendors that tell splits and dividends for those a conversion needs."""
        if query.offline:
            return
        now = self._clock.now_ms()
        asked = Span(span.start, min(span.end, now + DAY_MS))
        for candidate in work.lane.candidates:
            if candidate.capabilities is None or not candidate.capabilities.actions:
                continue
            try:
                actions = candidate.downloader.fetch_actions(query.instrument, asked, now)
            except ProviderError as error:
                work.problems.append(f"{candidate.name} did not tell the actions: {error}")
                continue
            self._store.add_actions(query.instrument.symbol, actions, span, candidate.name, now)
            return

    def _real_gaps(self, answer: Answer, plan: Plan, work: Work) -> list[Gap]:
        """Leave out stretches that lie ahead, or in which no bar is expected."""
        real = []
        for gap in answer.gaps:
            span = Span(gap.span.start, min(gap.span.end, plan.cap))
            if not span.is_empty and len(work.grid.opens(span)):
                real.append(replace(gap, span=span))
        return real


def _trusted(query: BarsQuery, view: SeriesView, reach: Span, now_ms: int, work: Work) -> Coverage:
    """Leave out stock bars of unknown basis if new ones would have to be spliced to them.

    Caches of older tools do not say what their prices are adjusted for. They may answer alone;
    as soon as anything must be fetched beside them, the whole stretch is fetched.
    """
    adjustable = work.lane.candidates[0].adjustment != "unknown"
    if query.instrument.asset_class != "stock" or not adjustable:
        return view.coverage
    if not gaps(reach, view.coverage.held(now_ms)):
        return view.coverage
    return Coverage(
        c for c in view.coverage if c.state == "empty" or c.basis.adjustment != "unknown"
    )


def _last(answer: Answer, count: int) -> Answer:
    """Return the answer cut to its last ``count`` bars; gaps before them do not concern it."""
    if len(answer.table) <= count:
        return answer
    table = answer.table.take(slice(len(answer.table) - count, None))
    first = int(table.stamps[0])
    return replace(answer, table=table, gaps=[g for g in answer.gaps if g.span.end > first])
