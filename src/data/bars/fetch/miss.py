"""Answer what the store does not have: from vendors, of shorter bars, or with what is stored."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ...cache.store import BarStore
from ...calendars.calendar import calendar_for, first_unclosed
from ...calendars.grid import BarGrid
from ...errors import (
    AllProvidersFailedError,
    Attempt,
    CorruptEntryError,
    DataError,
    KindMismatchError,
    NoProviderError,
    SymbolNotFoundError,
    UnsupportedError,
    by_vendor,
)
from ...model.instant import DAY_MS, date_of, day_ms
from ...model.kind import Kind
from ...model.query import BarsQuery
from ...model.series import SeriesKey
from ...model.span import Span
from ...model.timeframe import Timeframe
from ...net.deadline import one_call
from ...net.locks import SeriesLocks
from ...symbols.assets import Listed, is_proved
from ..answer.adjust import ClosesMissingError
from ..answer.answer import Answer, Unfilled
from ..answer.reader import Outcome, attempt_entries, attempt_of
from ..derive.derive import NO_ANSWER, Deriver
from ..derive.sources import SourceTimeframes
from ..lookup import CacheLookup, Derived, Hit, LookupResult, Miss, PartialHit
from ..selection.candidates import LaneRoute, Route, Selector, candidates_of, route, unknown_symbol
from ..selection.exclusions import left_out, with_reasons
from ..selection.lanes import AnsweringLane, LaneFinder
from ..selection.namesakes import Namesakes, derivative
from ..series import LaneRequest, is_down
from ..validity import TradingDays
from .lane import LaneRunner, real_gaps

log = logging.getLogger("onetape.routing")


@dataclass(frozen=True)
class _Try:
    """The result of one lane; no answer where its bars cannot be brought to the asked basis."""

    answer: Answer | None
    attempts: Sequence[Attempt]
    unfilled: Sequence[Unfilled] = ()
    excluded: Mapping[str, DataError] = field(default_factory=dict)
    side_attempts: Sequence[Attempt] = ()

    @property
    def is_truth(self) -> bool:
        """Tell whether an empty answer is what the vendors positively say."""
        return self.answer is not None and not self.unfilled


class _VendorAnswer(NamedTuple):
    """An answer, the attempts at it, and whether no other lane had any bar for it."""

    answer: Answer
    attempts: Sequence[Attempt]
    is_alone: bool


@dataclass(frozen=True)
class _Before:
    """What came of the lanes tried already: the attempts, and the vendors not to be asked again."""

    attempts: Sequence[Attempt]
    excluded: Mapping[str, DataError]

    @classmethod
    def of(cls, tries: Sequence[_Try], out: Mapping[str, DataError]) -> _Before:
        """Put together what came of ``tries`` and the vendors that were ``out`` before them."""
        failed = [pair for tried in tries for pair in tried.excluded.items()]
        down = {name: error for name, error in failed if is_down(error)}
        return cls([a for t in tries for a in (*t.attempts, *t.side_attempts)], {**out, **down})


class MissHandler:
    """Answers requests that miss. Thread-safe; one series is fetched by one thread at a time.

    Args:
        store: the store of bars.
        selector: which vendors are asked.
        lanes: finds where the bars of a query are.
        locks: of the series, in this process.
        lookup: answers from the store; shorter bars go through it first.
        runner: answers from single lanes.

    Attributes:
        runner: as passed.
        parts: says which shorter bars an answer may be made of.
    """

    def __init__(
        self,
        store: BarStore,
        selector: Selector,
        lanes: LaneFinder,
        locks: SeriesLocks,
        lookup: CacheLookup,
        runner: LaneRunner,
    ) -> None:
        self._store, self._selector, self._clock = store, selector, runner.clock
        self._lanes = lanes
        self._lookup, self._locks, self.runner = lookup, locks, runner
        self._reader = runner.reader
        self.parts = SourceTimeframes(selector, lanes)
        self._namesakes = Namesakes(store, runner.clock)
        self._deriver = Deriver(self.parts, self._ask)

    def answer(self, query: BarsQuery, result: LookupResult) -> Answer:
        """Answer out of days where these are better, else from vendors, else with what is stored.

        Args:
            query: the question.
            result: what the store gave for it just now, which is no hit.

        Raises:
            NoProviderError, AllProvidersFailedError: as ``BarsService.get``.
        """
        with one_call():
            if isinstance(result, Derived):
                return self._deriver.of_days(query, result.source)
            try:
                supplied = self._from_vendors(query, {}, _lane_of(result))
            except NO_ANSWER as error:
                answer = self._deriver.instead(query, error, self._from_store_alone)
                if isinstance(error, NoProviderError):
                    return answer
                return replace(answer, depends_on=None)  # the vendors may be back the next time
            if not (supplied.is_alone and _is_cut_off(supplied.answer)):
                return supplied.answer
            made = self._deriver.made(query, supplied.attempts)
            if made is None or not _is_whole(made, supplied.answer):
                return supplied.answer
            return replace(made, depends_on=None)

    def _ask(self, query: BarsQuery, out: Mapping[str, DataError]) -> Answer:
        """Answer by bars of that very length; vendors that are ``out`` are not asked for any."""
        result = self._lookup.find(query)
        if isinstance(result, Hit):
            return result.answer
        try:
            return self._from_vendors(query, out, _lane_of(result)).answer
        except NO_ANSWER as error:
            return self._from_store_alone(query, error)

    def _from_vendors(
        self, query: BarsQuery, out: Mapping[str, DataError], lane: AnsweringLane | None = None
    ) -> _VendorAnswer:
        """Answer from the asked kind's lane, or wholly from one substitute."""
        way = self.route(query, lane)
        tries: list[_Try] = []
        answer = self._by(query, way, (tries, out))
        attempts = [attempt for tried in tries for attempt in tried.attempts]
        vendors = {attempt.provider for attempt in attempts}
        if not query.offline:  # a vendor that supplied stored bars need not be asked
            vendors |= set(_vendors(answer))
        facts: dict[str, Any] = {"rejected": left_out(self._selector, query, way, vendors, out)}
        if answer.substitute:
            failed = (part.reason for tried in tries for part in tried.unfilled if part.failed)
            facts["unanswered"] = next(failed, None)
        with_rows = [tried for tried in tries if tried.answer and len(tried.answer.table)]
        answer = replace(answer, facts=answer.facts | facts)
        return _VendorAnswer(answer, attempts, is_alone=len(with_rows) == 1)

    def _by(
        self, query: BarsQuery, way: Route, done: tuple[list[_Try], Mapping[str, DataError]]
    ) -> Answer:
        """Answer by a route, or by one widened by proof; note what was tried."""
        tries, _ = done
        answer = self._through(query, way, way.lanes, done)
        if answer is not None:
            return answer
        first = tries[0]
        if first.answer is not None and first.is_truth:
            return first.answer
        if not self._is_unknown(way, tries):
            answer = self._by_proof(query, way, done)
            if answer is not None:
                return answer
        attempts = [a for t in tries for a in t.attempts]
        if self._is_unknown(way, tries) or _are_unknown(attempts):
            others = _others(query, way, attempts)
            hint, beside = derivative(query, way, self._clock)
            raise unknown_symbol(query, [*attempts, *beside], others, hint)
        attempts += [a for t in tries for a in t.side_attempts]
        raise _failure(query, attempts, [u for t in tries for u in t.unfilled], way.namesakes)

    def _by_proof(
        self, query: BarsQuery, way: Route, done: tuple[list[_Try], Mapping[str, DataError]]
    ) -> Answer | None:
        """Answer from vendors whose bars agree with those that are stored; None: there are none."""
        if not way.namesakes:
            return None
        candidates = candidates_of(self._selector, query)
        proved, attempts = self._namesakes.proved(query, way, candidates)
        done[0].append(_Try(None, attempts))
        if not proved:
            return None
        wider = self.route(query, kind=way.kind, proved=proved)
        lanes = [ln for ln in wider.lanes if any(c.name in proved for c in ln.candidates)]
        return self._through(query, wider, lanes, done)

    def _through(
        self,
        query: BarsQuery,
        way: Route,
        lanes: Sequence[LaneRoute],
        done: tuple[list[_Try], Mapping[str, DataError]],
    ) -> Answer | None:
        """Return the first answer with rows, or to which no rows belong; note what was tried.

        Where an outage leaves an answer in part, a whole answer of a substitute replaces it. With an
        empty cache the result is the same: what happens to be cached decides nothing (decision 17).
        Bars that are stored, and only doubted or due again, lack nothing.
        """
        tries, out = done
        part: Answer | None = None
        tried_for_it = 0
        for place, lane in enumerate(lanes):
            if part is not None and query.strict and _is_substitute(query, way, lane):
                continue  # it would be refused, and the part not be told
            tried = self._try(query, lane, way, _Before.of(tries, out))
            tries.append(tried)
            # No rows and no gaps: nothing trades then, and no substitute can change that.
            if tried.answer is not None and (len(tried.answer.table) or not tried.answer.gaps):
                answer = _naming(tried.answer, tried.unfilled, way.namesakes)
                if part is None and _is_cut_off(answer):
                    part, tried_for_it = answer, len(tries)
                elif part is None or _is_whole(answer, part):
                    return answer
            # Known to be nothing, without a question: substitutes were asked when it was learned.
            elif tried.answer is not None and tried.is_truth and not tried.attempts:
                if part is None:
                    return self._stored_substitute(query, way, lanes[place + 1 :]) or tried.answer
            elif self._is_unknown(way, tries):
                break
        if part is None:
            return None
        later = attempt_entries(
            [a for t in tries[tried_for_it:] for a in (*t.attempts, *t.side_attempts)]
        )
        return replace(part, facts=part.facts | {"attempts": [*part.facts["attempts"], *later]})

    def _stored_substitute(
        self, query: BarsQuery, way: Route, lanes: Sequence[LaneRoute]
    ) -> Answer | None:
        """Return what the lanes of substitutes hold: the answer of the time when it was learned."""
        stored = replace(query, offline=True)
        for lane in lanes:
            answer = self._try(stored, lane, way, _Before.of([], {})).answer
            if answer is not None and len(answer.table):
                return replace(answer, query=query)
        return None

    @staticmethod
    def _is_unknown(way: Route, tries: Sequence[_Try]) -> bool:
        """Tell whether the exchange whose pair it is does not know the symbol: it is no pair."""
        errors = (tried.excluded.get(way.owner) for tried in tries)
        return way.is_final and any(isinstance(error, SymbolNotFoundError) for error in errors)

    def _from_store_alone(self, query: BarsQuery, error: DataError) -> Answer:
        """Answer with what is stored although no vendor can supply the rest; else raise ``error``.

        Where nothing of the kind that the rules decide is stored, bars of another kind in the default
        lane are a substitute.
        """
        if isinstance(error, NoProviderError):
            error = with_reasons(self._selector, query, error)
        way, lane = self._way(query), self._lanes.find(query)
        is_failure = not isinstance(error, UnsupportedError)
        attempts: Sequence[Attempt] = getattr(error, "attempts", ())
        unfilled = [Unfilled(query.span, str(error), is_failure)]
        missing = Outcome(unfilled=unfilled, attempts=attempts)
        answer = self._stored(query, lane.key, missing, error)
        if not len(answer.table) and lane.is_beside and self._is_same_thing(query, way, lane):
            default = query.home_key
            answer = self._stored(query, default, missing, error)
            answer = replace(answer, substitute=f"{', '.join(_vendors(answer))} ({default})")
        if not len(answer.table):
            raise error
        anchor = answer.kind.anchor or "session"
        grid = BarGrid(calendar_for(query.instrument), query.timeframe, anchor)
        cap = first_unclosed(grid.calendar, grid.timeframe, self._clock.now_ms(), grid.anchor)
        vendors = {attempt.provider for attempt in attempts}
        rejected = left_out(self._selector, query, way, vendors, {})
        return replace(
            answer,
            gaps=real_gaps(answer.gaps, cap, grid),
            facts=answer.facts | {"rejected": rejected},
        )

    def _stored(
        self, query: BarsQuery, key: SeriesKey, missing: Outcome, error: DataError
    ) -> Answer:
        """Return what is stored of a series; raise ``error`` where it cannot be the answer."""
        try:
            return self._reader.answer(query, key, query.span, missing, lenient=True)
        except KindMismatchError as mismatch:
            raise error from mismatch

    def _is_same_thing(self, query: BarsQuery, way: Route | DataError, lane: AnsweringLane) -> bool:
        """Tell whether the bars of the default lane are provably of what the symbol names.

        That is what its owner lists; where bars are made of shorter ones, the vendor of those.
        """
        view = self._store.view(query.home_key)
        if lane.kind is None or view.kind is None:
            return False
        own = Listed(lane.vendor, lane.kind)
        if isinstance(way, Route):
            own = Listed(way.owner, way.kind)
        vendors = {name for part in view.coverage for name in part.vendor.split(",") if name}
        return all(is_proved(query.instrument, Listed(name, view.kind), own) for name in vendors)

    def _way(self, query: BarsQuery) -> Route | DataError:
        """Return where bars may come from; the error where that is nowhere."""
        try:
            return self.route(query)
        except DataError as error:
            return error

    def route(
        self,
        query: BarsQuery,
        lane: AnsweringLane | None = None,
        *,
        kind: Kind | None = None,
        proved: Container[str] = (),
    ) -> Route:
        """Return where the bars of ``query`` may come from.

        ``lane`` is the one that answers and ``kind`` the wanted one, where they are known already.

        Raises:
            NoProviderError, UnknownProviderError: from no vendor.
        """
        lane = lane or self._lanes.find(query)
        are_known = _are_actions_known(self._store, query, self._reader.days)
        candidates = candidates_of(self._selector, query)
        return route(
            query,
            candidates,
            lane.default,
            kind=kind or lane.kind,
            folder=lane.key.of_folder,
            has_actions=are_known,
            proved=proved,
        )

    def _try(self, query: BarsQuery, lane: LaneRoute, way: Route, before: _Before) -> _Try:
        """Answer from one lane."""
        key = self._key(query, lane.parts)
        grid = BarGrid(
            calendar_for(query.instrument), query.timeframe, lane.kind.anchor or "session"
        )
        request = LaneRequest(query, key, lane, grid, is_last_lane=lane is way.lanes[-1])
        run = self.runner.run(request, before.excluded)
        journal = run.journal
        name = lane.candidates[0].name
        try:
            try:
                # An offline call asks no vendor: it waits for none that others ask, either.
                with nullcontext() if query.offline else self._locks.hold(key, self._clock):
                    answer = run.answer()
            except ClosesMissingError as needed:
                if query.offline:
                    raise
                # Dividends need daily closes that are not stored: these are fetched first.
                journal.side_attempts += self._fetch_days(query, needed.span)
                with self._locks.hold(key, self._clock):
                    answer = run.answer()
        except KindMismatchError as error:
            outcome = type(error).__name__
            failed = Attempt(name, outcome, str(error), error=error)
            return _Try(
                None,
                [*journal.attempts, failed],
                journal.unfilled,
                journal.excluded,
                journal.side_attempts,
            )
        attempts = attempt_entries(
            [*before.attempts, *map(lane.named, journal.attempts), *journal.side_attempts]
        )
        answer = replace(answer, facts=answer.facts | {"attempts": attempts})
        if _is_substitute(query, way, lane):
            answer = replace(answer, substitute=f"{', '.join(_vendors(answer)) or name} ({key})")
        return _Try(
            answer, journal.attempts, journal.unfilled, journal.excluded, journal.side_attempts
        )

    def _fetch_days(self, query: BarsQuery, days: Span) -> Sequence[Attempt]:
        """Have the daily bars of ``days`` stored, and return the attempts that it took.

        Whether they could be had the next look at the store tells.
        """
        daily = replace(
            query,
            timeframe=Timeframe.parse("1d"),
            span=days,
            bars=None,
            adjustment="split",
            include_forming=False,
            strict=False,
            refresh=False,
        )
        try:
            entries = self._from_vendors(daily, {}).answer.facts.get("attempts", ())
        except DataError as error:
            log.warning("no daily closes for %s: %s", query, error)
            failed: Sequence[Attempt] = getattr(error, "attempts", ())
            return failed
        return [attempt_of(entry) for entry in entries]

    @staticmethod
    def _key(query: BarsQuery, parts: tuple[str, ...]) -> SeriesKey:
        return SeriesKey(query.instrument.symbol, query.timeframe, parts)


def _are_actions_known(store: BarStore, query: BarsQuery, days: TradingDays) -> bool:
    """Tell whether the splits and dividends of a share are known from the asked range up to now."""
    if query.instrument.asset_class != "stock" or query.provider is not None:
        return False
    try:
        book = store.actions(query.instrument.symbol)
    except CorruptEntryError:
        return False
    first = day_ms(date_of(query.span.start)) + DAY_MS
    return book.covers(Span(first, max(first, day_ms(days.current(query.instrument).day) + DAY_MS)))


def _lane_of(result: LookupResult) -> AnsweringLane | None:
    """Return the lane that a lookup looked at; None where it looked at none."""
    return result.lane if isinstance(result, Miss | PartialHit) else None


def _is_substitute(query: BarsQuery, way: Route, lane: LaneRoute) -> bool:
    """Tell whether the bars of a lane are of another kind than requested."""
    return lane is not way.lanes[0] and lane.parts != (*way.parts, query.adjustment)


def _vendors(answer: Answer) -> list[str]:
    """Return the vendors that an answer is made of."""
    parts = [part for part in answer.coverage if len(answer.table.within(part.span))]
    return list(dict.fromkeys(name for part in parts for name in part.vendor.split(",")))


def _is_cut_off(answer: Answer) -> bool:
    """Tell whether an answer lacks bars because all vendors that serve them are down."""
    return any(gap.is_outage for gap in answer.gaps)


def _is_whole(answer: Answer, part: Answer) -> bool:
    """Tell whether an answer lacks nothing, and reaches over all bars of one in part."""
    if answer.flagged or not all(gap.harmless for gap in answer.gaps) or not len(answer.table):
        return False
    return not any(len(part.table.within(gap.span)) for gap in answer.gaps)


def _are_unknown(attempts: Sequence[Attempt]) -> bool:
    """Tell whether every vendor asked said that it does not know the symbol."""
    return bool(attempts) and all(isinstance(a.error, SymbolNotFoundError) for a in attempts)


def _others(query: BarsQuery, way: Route, attempts: Sequence[Attempt]) -> dict[str, str]:
    """Return the vendors that were not asked, with how to ask each."""
    done, symbol = {attempt.provider for attempt in attempts}, query.instrument.symbol
    left = [c.name for lane in way.lanes for c in lane.candidates if c.name not in done]
    why = f"{way.owner}, the exchange of this pair, does not list it"
    return {
        **way.namesakes,
        **{name: f"{why}; request {symbol} with provider={name!r} to get it" for name in left},
    }


def _naming(answer: Answer, unfilled: Sequence[Unfilled], namesakes: Mapping[str, str]) -> Answer:
    """Name the vendors that could have filled a gap if it were proved that they mean the same."""
    reasons = {part.reason for part in unfilled}
    if not namesakes or not reasons:
        return answer
    not_asked = "; ".join(f"{name} is skipped: {why}" for name, why in namesakes.items())
    gaps = [
        replace(gap, reason=f"{gap.reason}; {not_asked}") if gap.reason in reasons else gap
        for gap in answer.gaps
    ]
    return replace(answer, gaps=gaps)


def _failure(
    query: BarsQuery,
    attempts: Sequence[Attempt],
    unfilled: Sequence[Unfilled],
    namesakes: Mapping[str, str],
) -> AllProvidersFailedError:
    failed = [a for a in attempts if a.outcome not in ("ok", "empty")]
    reasons = dict.fromkeys(map(str, failed))
    if reasons:
        # What others answered belongs to it: they know the symbol, and have nothing closed.
        barren = [a for a in attempts if a.outcome in ("ok", "empty") and not a.rows]
        reasons |= dict.fromkeys(
            by_vendor(a.provider, a.message or "it has no closed bar in this range") for a in barren
        )
    reasons = reasons or dict.fromkeys(u.reason for u in unfilled)
    reasons |= dict.fromkeys(f"{name} is skipped: {why}" for name, why in namesakes.items())
    if query.offline and not failed:
        reasons = {"nothing is cached, and offline=True allows no request": None}
    return AllProvidersFailedError(
        f"All providers failed for {query}: {'; '.join(reasons)}",
        attempts=attempts,
        symbol=query.instrument.symbol,
        hint="`onetape doctor` shows which vendors can be reached and which keys are set",
    )
