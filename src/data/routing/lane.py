"""Answer a query from one lane: plan what is missing, fetch it, read the whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..cache.actions import Asked
from ..cache.store import BarStore, Commit
from ..clock import Clock
from ..model.coverage import Coverage, Covered
from ..model.instant import DAY_MS, MINUTE_MS
from ..model.query import BarsQuery
from ..model.rules import ValidationRules
from ..model.span import Span, gaps, intersect
from ..policy.finality import forming_stamp
from ..policy.gaps import Grid, due_spans, missing
from .answering import Answer, Gap
from .fetching import FAILED, Fetcher
from .keeping import Keeper
from .listing import ListingProof
from .locks import Turns
from .older import is_older, with_overlap
from .pinning import adopt
from .reading import Outcome, Reader
from .rebasing import ActionsMissingError
from .splits import doubted, windows
from .terms import CLOSED, Expiry
from .work import Unfilled, Work

_LOOKBACKS = 4
# More segments than this are joined where one page holds several.
_MANY = 8
_USUAL_PAGE = 500


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

    def __init__(
        self, store: BarStore, clock: Clock, reader: Reader, expiry: Expiry,
        checks: ValidationRules, turns: Turns,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._reader = reader
        self._expiry = expiry
        self._turns = turns
        self._keeper = Keeper(store)
        self._fetcher = Fetcher(store, self._keeper, clock, expiry, checks)
        self._listing = ListingProof(self._keeper, clock, expiry)

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
        if query.provider is not None and not query.refresh:
            adopt(self._store, self._keeper, work, wanted)
        self._doubt_near_splits(work)
        work.overdue.clear()  # what the doubt concerns is in the plan
        plan = self._plan(query, wanted, work)
        if query.offline:
            work.unfilled += [Unfilled(s, "not cached, and offline") for s in plan.segments]
        else:
            if plan.segments:
                plan = self._fill(query, plan, work)
            self._ask_forming(query, plan, work)
            self._remember_closed(plan, work)
        answer = self._read(query, wanted, work)
        doubts = [*answer.doubts, *_unrefreshed(query, work)]
        return replace(answer, gaps=real_gaps(answer.gaps, plan.cap, work.grid), doubts=doubts)

    # --- planning --------------------------------------------------------------------------

    def _doubt_near_splits(self, work: Work) -> None:
        """Take trust from bars that were fetched close to a split, also one learned since."""
        splits = self._keeper.book(work).splits
        if not splits:
            return
        coverage = self._store.view(work.key).coverage
        near = windows(splits, work.grid.calendar, [part.fetched_at for part in coverage])
        marks, now = doubted(coverage, near), self._clock.now_ms()
        if marks:
            self._keeper.commit(work, Commit(marks=tuple(marks)))
            work.overdue += [mark.span for mark in marks if not mark.stands(now)]

    def _plan(self, query: BarsQuery, wanted: Span, work: Work) -> Plan:
        """Say what to ask for: nothing that is held, nothing that has not closed."""
        view, now, cap = self._store.view(work.key), self._clock.now_ms(), self._cap(work)
        reach = Span(wanted.start, min(wanted.end, cap))
        if reach.is_empty:
            return Plan(wanted, cap)
        coverage = _trusted(query, self._keeper.coverage(work), reach, now, work)
        held = [] if query.refresh and not work.attempts else coverage.held(now)
        touched = Coverage(c for c in coverage if c.span.overlaps(reach))
        due = due_spans(touched, work.grid, work.settle_ms, now)
        lacking = missing(reach, held, due, work.grid)
        segments = [Span(s.start, min(s.end, cap)) for s in lacking.segments]
        if work.lane.candidates[0].adjustment != "unknown":
            segments = with_overlap(segments, coverage, work.grid, cap)
        segments = _few(segments, work)
        if not view.exists and not segments and not work.attempts:
            # Nothing is expected there, but nothing is known of the series either: ask once.
            return Plan(wanted, cap, tuple(lacking.closed))
        if query.include_forming and segments and segments[-1].end == cap:
            # The running bar comes along with the closed ones before it.
            segments[-1] = Span(segments[-1].start, max(wanted.end, cap + MINUTE_MS))
        return Plan(wanted, cap, tuple(segments), tuple(lacking.closed))

    # --- doing -----------------------------------------------------------------------------

    def _fill(self, query: BarsQuery, plan: Plan, work: Work) -> Plan:
        """Fetch what the plan says, when no other process is at it; return the plan as done."""
        with self._turns.take(work.key) as (has_waited, work.still_here):
            if has_waited and not query.refresh:
                plan = self._plan(query, plan.wanted, work)
            self._fetcher.fill(work, plan.segments)
            self._fill_overdue(plan.wanted, work)
            self._listing.seek(work, plan.segments)
        return plan

    def _fill_overdue(self, wanted: Span, work: Work) -> None:
        """Ask again for bars that an answer has just made doubtful and whose time is over."""
        reach = Span(wanted.start, min(wanted.end, self._cap(work)))
        spans = intersect(work.overdue, [reach])
        work.overdue.clear()
        self._fetcher.fill(work, spans)

    def _ask_forming(self, query: BarsQuery, plan: Plan, work: Work) -> None:
        """Ask for the running bar when it was wanted and has not come along already."""
        if query.include_forming and plan.wanted.end > plan.cap and work.forming is None:
            end = max(plan.wanted.end, plan.cap + MINUTE_MS)
            self._fetcher.forming_bar(work, Span(plan.cap, end))

    def _remember_closed(self, plan: Plan, work: Work) -> None:
        """Note stretches in which no bar is expected, so that they need no calendar again.

        Not beside bars of older tools: their files are taken over by the first write, and reading
        is none.
        """
        closed = [s for s in plan.closed if s not in plan.segments]
        view = self._store.view(work.key)
        if closed and view.exists and not any(map(is_older, view.coverage)):
            now = self._clock.now_ms()
            # Not for ever: calendars are corrected.
            expires = now + self._expiry.old_ms
            marks = tuple(
                Covered(s, "empty", reason=CLOSED, fetched_at=now, expires=expires) for s in closed
            )
            self._keeper.commit(work, Commit(marks=marks))

    def _read(self, query: BarsQuery, wanted: Span, work: Work) -> Answer:
        """Read the answer; ask for the actions that it needs, or do with an older basis."""
        for _ in range(2):
            try:
                return self._reader.answer(query, work.key, wanted, Outcome.of(work))
            except ActionsMissingError as needed:
                if query.offline or not self._fetch_actions(query, needed.span, work):
                    break
                self._doubt_near_splits(work)
                self._fill_overdue(wanted, work)
        return self._reader.answer(query, work.key, wanted, Outcome.of(work), lenient=True)

    def _fetch_actions(self, query: BarsQuery, span: Span, work: Work) -> bool:
        """Ask the vendors that tell splits and dividends for those a conversion needs."""
        now = self._clock.now_ms()
        asked = Span(span.start, min(span.end, now + DAY_MS))
        for candidate in work.lane.candidates:
            if candidate.capabilities is None or not candidate.capabilities.actions:
                continue
            try:
                actions = candidate.downloader.fetch_actions(query.instrument, asked, now)
            except FAILED as error:
                work.problems.append(f"{candidate.name} did not tell the actions: {error}")
                continue
            self._keeper.add_actions(work, actions, Asked(span, candidate.name, now))
            return True
        return False


def _few(segments: list[Span], work: Work) -> list[Span]:
    """Ask for many small segments together with the bars between them, page by page."""
    if len(segments) <= _MANY:
        return segments
    caps, step = work.lane.candidates[0].capabilities, work.grid.timeframe.step_ms
    bars = caps.page_bars if caps and caps.page_bars else _USUAL_PAGE
    page = bars * (step or 31 * DAY_MS)
    joined = segments[:1]
    for segment in segments[1:]:
        if segment.end - joined[-1].start <= page:
            joined[-1] = Span(joined[-1].start, segment.end)
        else:
            joined.append(segment)
    return joined


def real_gaps(found: Iterable[Gap], cap: int, grid: Grid) -> list[Gap]:
    """Leave out stretches from ``cap`` on, and those in which no bar is expected."""
    real = []
    for gap in found:
        span = Span(gap.span.start, min(gap.span.end, cap))
        if not span.is_empty and grid.next_open(span.start) < span.end:
            real.append(replace(gap, span=span))
    return real


def _unrefreshed(query: BarsQuery, work: Work) -> list[str]:
    """Say that a refresh which was asked for could not be done."""
    if not query.refresh or query.offline or not work.unfilled:
        return []
    return [f"not all could be asked again: {work.unfilled[0].reason}"]


def _trusted(
    query: BarsQuery, coverage: Coverage, reach: Span, now_ms: int, work: Work
) -> Coverage:
    """Leave out stock bars of unknown basis if new ones would have to be spliced to them.

    Caches of older tools do not say what their prices are adjusted for. They may answer alone;
    as soon as anything must be fetched beside them, or stands there already, the whole stretch is
    fetched.
    """
    adjustable = work.lane.candidates[0].adjustment != "unknown"
    if query.instrument.asset_class != "stock" or not adjustable:
        return coverage
    bases = {c.basis.adjustment for c in coverage.within(reach) if c.state != "empty"}
    lacking = gaps(reach, coverage.held(now_ms))
    # Older tools left no word of weekends.
    if len(bases) < 2 and not any(work.grid.next_open(g.start) < g.end for g in lacking):
        return coverage
    return Coverage(c for c in coverage if c.state == "empty" or c.basis.adjustment != "unknown")


def _last(answer: Answer, count: int) -> Answer:
    """Return the answer cut to its last ``count`` bars; gaps before them do not concern it."""
    if len(answer.table) <= count:
        return answer
    table = answer.table.take(slice(len(answer.table) - count, None))
    first = int(table.stamps[0])
    flagged = [(stamp, reason) for stamp, reason in answer.flagged if stamp >= first]
    later = [g for g in answer.gaps if g.span.end > first]
    coverage = answer.coverage.within(Span(first, answer.coverage[-1].span.end))
    return replace(answer, table=table, gaps=later, flagged=flagged, coverage=coverage)
