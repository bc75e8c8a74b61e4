"""What a request would cost: a dry run, told as a plan."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ...calendars.calendar import calendar_for
from ...calendars.gaps import BarGrid
from ...errors import AllProvidersFailedError, DataError
from ...model.coverage import Coverage
from ...model.explanation import Explanation
from ...model.health import Health
from ...model.plan import Lacking, Plan, PlanSegment, PlanStep, PlanStretch, VendorOffer
from ...model.query import BarsQuery
from ...model.span import Span, gaps, subtract
from ...model.timeframe import Timeframe
from ..answer.answer import Answer
from ..fetch.plan import FetchPlan
from ..fetch.state import FetchState
from ..selection.exclusions import differences, unasked
from .runner import DryRunner, DryRunResult

# Errors name the vendor that they are told of.
_NAMED_TWICE = re.compile(r"\b(\w+): \1 ")


class RequestPlanner:
    """Says what one request would do; it asks nobody and writes nothing.

    Args:
        dry_run: what the request is run with.
    """

    def __init__(self, dry_run: DryRunner) -> None:
        self._dry_run = dry_run

    def plan(self, query: BarsQuery) -> Plan:
        """Return what ``query`` would do if it were asked now.

        Raises:
            CacheError: the store cannot be read.
        """
        done = self._dry_run.run(query)
        if done.is_hit and not done.plans:
            return _hit(query, done)
        return _Telling(self._dry_run, query, done).plan()

    def explain(self, query: BarsQuery) -> Explanation:
        """Return who would be asked for the series of ``query``, who would not, and why.

        Raises:
            CacheError: the store cannot be read.
        """
        from .explain import explain  # needs the vendors, which a hit does not

        return explain(self._dry_run, query)


def _hit(query: BarsQuery, done: DryRunResult) -> Plan:
    """Tell a hit: by what was read alone, for no calendar and no vendor is needed for it."""
    answer = done.answer
    assert answer is not None
    lacking = tuple(Lacking(g.span, 0, reason=g.reason) for g in answer.gaps if not g.harmless)
    span = Span(query.span.start, min(query.span.end, query.now_ms + 1))
    return Plan(
        query.instrument.symbol,
        query.timeframe,
        query.adjustment,
        span,
        query.now_ms,
        held=_held(answer, ()),
        lacking=lacking,
        is_hit=True,
        share=1.0,
        source=_source(answer),
    )


def _held(answer: Answer, asked: Sequence[Span]) -> tuple[PlanStretch, ...]:
    """Return the bars of an answer that nobody would be asked for."""
    known = [c.span for c in answer.coverage if c.state != "empty"]
    found = []
    for span in subtract(known, asked):
        rows = answer.table.within(span).stamps
        if len(rows):
            found.append(PlanStretch(span, len(rows), int(rows[0]), int(rows[-1])))
    return tuple(found)


def _source(answer: Answer) -> Timeframe | None:
    """Return the timeframe of the bars that these are made of, if they are."""
    made_of = answer.facts.get("derived_from")
    return Timeframe.parse(made_of["timeframe"]) if made_of else None


@dataclass(frozen=True)
class _Telling:
    """One dry run on its way into a plan."""

    dry_run: DryRunner
    query: BarsQuery
    done: DryRunResult

    def plan(self) -> Plan:
        """Return the plan."""
        query, answer = self.query, self.done.answer
        source = _source(answer) if answer is not None else None
        found = self._plans(source or query.timeframe)
        segments, besides = self._asked(found, source or query.timeframe)
        held = _held(answer, self._asked_beside(found)) if answer else ()
        lacking = self._lacking(segments)
        bars = sum(part.bars for part in held)
        total = (len(answer.table) if answer else 0) + sum(part.bars for part in lacking)
        return Plan(
            query.instrument.symbol,
            query.timeframe,
            query.adjustment,
            self._span(found),
            query.now_ms,
            held,
            segments,
            besides,
            lacking,
            rejected=self._rejected(),
            substitutes=_substitutes(self.dry_run, query),
            health=self._health(found),
            source=source,
            is_hit=self.done.is_hit,
            share=bars / total if total else 0.0,
            error=type(self.done.error).__name__ if self.done.error else "",
        )

    def _plans(self, timeframe: Timeframe) -> list[tuple[FetchState, FetchPlan]]:
        """Return what the lane that answers found to do; the first one's where none does."""
        found = [(w, t) for w, t in self.done.plans if w.query.timeframe == timeframe]
        keys = list(dict.fromkeys(work.key for work, _ in found))
        if self.done.answer is None:
            keys = keys[:1]
        elif (lane := self._lane) in {key.folder for key in keys}:
            keys = [key for key in keys if key.folder == lane]
        else:
            keys = keys[-1:]
        return [(work, todo) for work, todo in found if work.key in keys]

    @property
    def _lane(self) -> str | None:
        """The folder of the bars that answer, or that the answer is made of."""
        assert self.done.answer is not None
        facts = self.done.answer.facts
        lane: str | None = facts.get("derived_from", facts).get("lane")
        return lane

    def _asked_beside(self, found: Sequence[tuple[FetchState, FetchPlan]]) -> list[Span]:
        """Return what would be asked of those who can add to the bars that answer."""
        names = {c.name for work, _ in found for c in work.lane.candidates}
        steps = (step for step in self.done.steps if step.vendor in names or not found)
        return [step.span for step in steps]

    def _rejected(self) -> dict[str, str]:
        """Return whom the rules name and who is no candidate, and why."""
        found = unasked(self.dry_run.selector, self.query)
        try:
            return {**found, **self.dry_run.way_of(self.query).namesakes}
        except DataError:
            return found

    def _span(self, found: Sequence[tuple[FetchState, FetchPlan]]) -> Span:
        span = found[-1][1].wanted if found and not self._is_derived else self.query.span
        cap = found[-1][1].cap if found else self.query.now_ms + 1
        return Span(span.start, max(span.start, min(span.end, cap)))

    @property
    def _is_derived(self) -> bool:
        return self.done.answer is not None and _source(self.done.answer) is not None

    # --- what is asked ---------------------------------------------------------------------

    def _asked(
        self, found: Sequence[tuple[FetchState, FetchPlan]], timeframe: Timeframe
    ) -> tuple[tuple[PlanSegment, ...], tuple[PlanStep, ...]]:
        """Sort the questions: those for what the plan lacks, and others."""
        left, segments = list(self.done.steps), []
        for work, todo in found:
            for span in todo.segments:
                mine = [
                    s
                    for s in left
                    if s.what == "bars" and s.timeframe == timeframe and s.span.overlaps(span)
                ]
                left = [step for step in left if step not in mine]
                segments.append(self._segment(work, span, todo.cap, mine))
        return tuple(segments), tuple(left)

    def _segment(
        self, work: FetchState, span: Span, cap: int, steps: Sequence[PlanStep]
    ) -> PlanSegment:
        part = _stretch(Span(span.start, min(span.end, cap)), work.grid)
        coverage = self.dry_run.store.view(work.key).coverage
        return PlanSegment(
            span,
            part.bars,
            part.first,
            part.last,
            reasons=tuple(_reasons(span, cap, coverage, work)),
            offers=self._offers(work, span),
            steps=tuple(_joined(steps)),
        )

    def _offers(self, work: FetchState, span: Span) -> tuple[VendorOffer, ...]:
        """Return what each candidate could do, each as if it were asked alone."""
        if self.query.offline:
            return ()
        offers = []
        for candidate in work.lane.candidates:
            part = candidate.servable(span, work.grid.timeframe, self.query.now_ms)
            offer: VendorOffer = candidate.downloader.offer(work, part)
            offers.append(offer)
        return tuple(offers)

    def _health(self, found: Sequence[tuple[FetchState, FetchPlan]]) -> tuple[Health, ...]:
        """Return how everybody on the way stands."""
        if self.done.is_hit or self.query.offline:
            return ()
        played = {c.name: c for work, _ in self.done.plans for c in work.lane.candidates}
        timeframe = found[0][0].grid.timeframe if found else self.query.timeframe
        return tuple(c.downloader.health(timeframe) for c in played.values())

    # --- what is lacking -------------------------------------------------------------------

    def _lacking(self, segments: Sequence[PlanSegment]) -> tuple[Lacking, ...]:
        grid = BarGrid(calendar_for(self.query.instrument), self.query.timeframe)
        if self.done.answer is not None:
            return tuple(
                _lack(gap.span, grid, gap.reason)
                for gap in self.done.answer.gaps
                if not gap.harmless
            )
        reason = _words(self.query, self.done.error)
        spans = [Span(s.span.start, s.span.end) for s in segments] or [self.query.span]
        return tuple(_lack(span, grid, reason) for span in spans)


def _substitutes(dry_run: DryRunner, query: BarsQuery) -> dict[str, str]:
    """Return who would be asked for all of it if nobody has anything of the kind, and what differs."""
    try:
        way = dry_run.way_of(query)
    except DataError:
        return {}
    return {
        candidate.name: differences(way.lanes[0], lane)
        for lane in way.lanes[1:]
        for candidate in lane.candidates
    }


def _words(query: BarsQuery, error: DataError | None) -> str:
    """Return why there is no answer, each vendor's reason once."""
    if isinstance(error, AllProvidersFailedError) and error.attempts:
        said = (f"{a.provider}: {a.message}" for a in error.attempts if a.message)
        return "; ".join(dict.fromkeys(said))
    # Behind the colon stands why.
    return str(error.args[0]).rpartition(f" for {query}: ")[2] if error is not None else ""


def _joined(steps: Sequence[PlanStep]) -> Iterator[PlanStep]:
    """Yield questions to one vendor that go on where the last one ended as one."""
    last: PlanStep | None = None
    for step in steps:
        same = last is not None and replace(
            last, span=step.span, requests=step.requests, wait_s=step.wait_s
        )
        if last is not None and step == same and last.span.end == step.span.start:
            last = replace(
                last,
                span=Span(last.span.start, step.span.end),
                requests=last.requests + step.requests,
                wait_s=last.wait_s + step.wait_s,
            )
            continue
        if last is not None:
            yield last
        last = step
    if last is not None:
        yield last


def _stretch(span: Span, grid: BarGrid) -> PlanStretch:
    stamps = grid.opens(span)
    if not len(stamps):
        return PlanStretch(span, 0)
    return PlanStretch(span, len(stamps), int(stamps[0]), int(stamps[-1]))


def _lack(span: Span, grid: BarGrid, reason: str) -> Lacking:
    part = _stretch(span, grid)
    return Lacking(span, part.bars, part.first, part.last, _NAMED_TWICE.sub(r"\1 ", reason))


def _reasons(span: Span, cap: int, coverage: Coverage, work: FetchState) -> list[str]:
    """Say why ``span`` is asked for, by what is known of it."""
    now, found = work.query.now_ms, []
    parts = coverage.within(span)
    if work.query.refresh:
        found.append("a refresh is wanted")
    if any(part.state == "provisional" for part in parts):
        found.append("settled since it was fetched")
    if any(part.state == "empty" and not part.stands(now) for part in parts):
        found.append("nothing was there, time to ask again")
    if any(part.state == "suspect" for part in parts):
        found.append("doubtful, asked again")
    lacking = gaps(Span(span.start, min(span.end, cap)), [part.span for part in parts])
    found += dict.fromkeys(_place(gap, coverage) for gap in lacking)
    if span.end > cap:
        found.append("the running bar comes along")
    return found or ["held, but to be checked beside what is fetched"]


def _place(gap: Span, coverage: Coverage) -> str:
    held = [part.span for part in coverage if part.state != "empty"]
    if not held:
        return "nothing is held yet"
    if gap.end <= held[0].start:
        return "before what is held"
    return "after what is held" if gap.start >= held[-1].end else "a hole in what is held"
