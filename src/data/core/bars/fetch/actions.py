"""Fetches splits and dividends, and rejects bars whose conversion needs unknown ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ....errors import (
    AuthenticationError,
    CapabilityError,
    CircuitOpenError,
    DataError,
    ProviderTimeoutError,
    RefusedError,
    SymbolNotFoundError,
)
from ...cache.actions import YOUNG_MS, Asked
from ...calendars.calendar import opened_and_coming, price_calendar
from ...clock import Clock
from ...model.identity.kind import Adjustment, Basis
from ...model.market.actions import Action
from ...model.market.bars import BarTable, merge
from ...model.stored.coverage import WITH_BARS
from ...model.time.instant import DAY_MS, HOUR_MS, date_of, day_ms
from ...model.time.span import Span, coalesce, intersect, subtract, uncovered
from ...net.calls.deadline import current_call, run_part
from ...prices.adjustment import BasisPart, needed_actions
from ...prices.bar_rule import ordered
from ...prices.splice import COMPARED
from ..ingest.commit import may_be_splits
from ..ingest.missing_reports import due_at_new_splits, whole_answer
from ..selection.candidates import Candidate
from ..series import LATE_BY_MS, Journal, LaneRequest, SeriesStore
from ..validity import TradingDays, first_session
from .attempt import query_vendor


class ActionFetcher:
    """Queries vendors for splits and dividends, one vendor at a time. Use from one thread only.

    Args:
        clock: Source of the current time.
        request: Request to the lane.
        series: Store of the series.
        journal: Record of the attempts, to which the results are added.
    """

    def __init__(
        self, clock: Clock, request: LaneRequest, series: SeriesStore, journal: Journal
    ) -> None:
        self.clock = clock
        self._request, self._series, self._journal = request, series, journal
        self._days = TradingDays(clock)
        self._answers: list[tuple[Candidate, Sequence[Action], Asked]] = []

    def fetch(self, span: Span, vendors: Sequence[Candidate] | None = None) -> bool:
        """Fetch and store the actions with an ex-date in ``span``; return False if no vendor can.

        The vendors to query are ``vendors`` or, if that is None, all that report actions.

        1. Limit the span to ex-dates about which something can be known, and extend it to the
           vendor's recent and doubted reports, which are checked again.
        2. Query the vendors in order until one answers.
        3. Determine the ex-dates for which the answer counts: a vendor that has not published the
           latest ones, or that cut off the beginning, has not reported on these.
        4. Store the actions, together with these ex-dates.

        A vendor that failed is not queried again by the same request. The same applies to a vendor
        that has just rejected the account or timed out, and to one that publishes all missing
        actions only with the bars.
        """
        request, journal, now_ms = self._request, self._journal, self.clock.now_ms()
        latest, known = max(now_ms, self._newest_basis()), self._knowable(span)
        for candidate in () if known.is_empty else vendors or self._reporters(known):
            wanted = self._with_recent(candidate, known)
            current_call().answered_ms = None
            lead = with_lead(candidate, wanted)
            call = self.clock, True, candidate.fetch_actions, request.query.instrument
            reply = query_vendor(self.clock, candidate.name, wanted, run_part, *call, lead, latest)
            self._series.end_phase()
            message = f"splits and dividends{f': {reply.error}' if reply.error else ''}"
            journal.side_attempts.append(replace(reply.attempt(), message=message))
            if reply.error is not None:
                journal.without_actions[candidate.name] = reply.error
                if isinstance(reply.error, ProviderTimeoutError) or _is_locked_out(reply.error):
                    journal.excluded[candidate.name] = reply.error
                journal.problems.append(
                    f"{candidate.name} sent no splits and dividends: {reply.error}"
                )
                continue
            actions: Any = reply.value
            journal.problems += [
                f"{candidate.name} reports {what}, which is not applied to prices"
                for what in getattr(actions, "unapplied", ())
            ]
            until, answered_ms = self._first_unknown(actions, wanted), current_call().answered_ms
            dates = wanted
            if answered_ms is None or now_ms < answered_ms <= now_ms + DAY_MS:
                answered_ms = now_ms
            elif until is None:  # one of the two clocks is wrong; the vendor's time is used
                dates = self._dates_known_at(wanted, answered_ms)
            since: int | None = getattr(actions, "since", None)
            whole = Span(lead.start, dates.end)
            dates = self._series.reported_ex_dates(whole, since, self._request.grid.calendar)
            answer = Asked(dates, candidate.name, min(answered_ms, now_ms), until)
            self._answers.append((candidate, actions, answer))
            proof = whole_answer(request, self._series, candidate, actions, answer)
            before = self._series.book()
            self._series.add_actions(actions, answer, proof)
            journal.due_now += due_at_new_splits(request, self._series, before)
            if vendors is None:
                self._check_disputes()
            return True
        return False

    def _check_disputes(self) -> None:
        """Query vendors again for recent actions that differ in another vendor's answer, or are not in it.

        Otherwise, an action that its vendor has taken back would stay in effect while only other
        vendors are queried. Vendors that never reported a dividend may not report any.
        """
        book, young_ms = self._series.book(), self.clock.now_ms() - YOUNG_MS
        types = {(report.source, report.type) for report in book.reports}
        for event in book.events:
            dates = [day_ms(report.ex_date) for report in event.reports]
            answers = [a for a in self._series.action_answers if dates[0] in a.span]
            heard = {a.source for a in answers if a.until is None or dates[0] < a.until}
            silent = heard - {report.source for report in event.reports}
            is_lacking = any(event.type == "split" or (s, event.type) in types for s in silent)
            if dates[0] > young_ms and (is_lacking or (heard and event.dissent(event.action()))):
                self.fetch_again(Span(min(dates), max(dates) + 1))

    def judge_again(self) -> None:
        """Compare the vendors' answers with their earlier reports again, now that bars are stored."""
        self._check_disputes()
        for candidate, actions, answer in self._answers:
            proof = whole_answer(self._request, self._series, candidate, actions, answer)
            if proof is not None and proof.missing:
                self._series.add_actions(actions, answer, proof)

    def fetch_again(self, span: Span) -> None:
        """Query each vendor again for its known actions in ``span``, unless this request has done so."""
        for candidate in list(self._reporters(span)):
            heard = [a.span for a in self._series.action_answers if a.source == candidate.name]
            reports = (a for a in self._series.book().reports if a.source == candidate.name)
            days = coalesce(Span(day_ms(a.ex_date), day_ms(a.ex_date) + 1) for a in reports)
            if subtract(intersect(days, [span]), coalesce(heard)):
                self.fetch(span, [candidate])

    def unchecked(self, span: Span) -> list[Action]:
        """Return the actions in ``span`` whose vendors are to be queried, but did not answer this request."""
        names = {reporter.name for reporter in self._request.route.reporters}
        heard = self._series.action_answers
        return [
            event.action()
            for event in self._series.book().events
            if event.counts
            and day_ms(event.action().ex_date) in span
            and any(report.source in names for report in event.reports)
            and not any(a.source == r.source for r in event.reports for a in heard)
        ]

    def _with_recent(self, candidate: Candidate, span: Span) -> Span:
        """Return ``span``, extended to the vendor's recent and doubted reports before it."""
        is_list, now_ms = (
            not (caps := candidate.capabilities) or not caps.actions,
            self.clock.now_ms(),
        )
        first = self._series.book().recheck_from(candidate.name, now_ms, is_list=is_list)
        return span if first is None else Span(min(span.start, first), span.end)

    def _knowable(self, span: Span) -> Span:
        """Return the ex-dates in ``span`` about which something can be known; it may be empty.

        Nothing is known yet about a session that has not opened.
        """
        newest = self._newest_basis()
        end = max(self._days.current(self._request.query.instrument).end, newest + DAY_MS)
        return Span(span.start, min(span.end, end))

    def is_awaited(self, ex_dates: Span, vendor: str | None = None) -> bool:
        """Return whether all missing actions in ``ex_dates`` are awaited, from ``vendor`` if one is given.

        They are awaited if a vendor that publishes them only with the bars was queried for them
        since the latest news.
        """
        day, book = self._days.current(self._request.query.instrument), self._series.book()
        missing = book.missing(ex_dates)
        asked = [a for a in book.awaited if vendor in (None, a.source)]
        spans = [a.span for a in asked if a.fetched_at >= day.news_ms]
        return bool(missing) and not any(uncovered(span, spans) for span in missing)

    def _reporters(self, wanted: Span) -> Iterator[Candidate]:
        """Yield the vendors that can still be queried for the actions in ``wanted``, in order."""
        for candidate in self._request.route.reporters:
            failed = candidate.name in self._journal.without_actions
            is_out = failed or self._is_shut_out(candidate)
            if not is_out and not self.is_awaited(wanted, candidate.name):
                yield candidate

    def _dates_known_at(self, span: Span, answered_ms: int) -> Span:
        """Return the ex-dates in ``span`` before the next session that opens after ``answered_ms``.

        ``answered_ms`` is the vendor's own time; the vendor cannot know about a later session.
        """
        calendar = price_calendar(self._request.query.instrument)
        _, coming = opened_and_coming(calendar, answered_ms)
        end = min(span.end, day_ms(coming[0].day)) if coming else span.end
        return Span(span.start, max(span.start, end))

    def _first_unknown(self, actions: Sequence[Action], span: Span) -> int | None:
        """Return the first requested session whose actions the vendor cannot know yet, or None."""
        until: int | None = getattr(actions, "until", None)
        if until is None:
            return None
        return first_session(self._request.grid.calendar, until, date_of(span.end - 1))

    def _newest_basis(self) -> int:
        """Return the date, as a timestamp, of the newest basis of stored bars; 0 if there is none.

        If the local clock is behind this date, the splits in between would otherwise not be
        requested.
        """
        dates = (entry.basis.as_of for entry in self._series.coverage())
        return max((day_ms(day) for day in dates if day is not None), default=0)

    def check(self, candidate: Candidate, span: Span) -> None:
        """Check, before a candidate is queried, that its bars in ``span`` can be converted.

        This concerns vendors whose prices can be combined with others' only if another vendor
        reports the actions. Bars without known actions would make the whole answer unusable; as a
        fallback, such a vendor has its own lane.

        Raises:
            CapabilityError: The actions are not known, and no vendor serves them.
        """
        query, lane, refusals = (
            self._request.query,
            self._request.route,
            self._journal.without_actions,
        )
        if not candidate.needs_stored_actions(query) or candidate.adjustment in lane.lane_name:
            return
        if query.adjustment == candidate.adjustment == "raw" and lane.reporters:
            return  # used as received; a query for another adjustment requests the actions itself
        if candidate.is_circuit_open(query.instrument, self._request.grid.timeframe):
            return  # no expected bar needs actions
        today = Basis(candidate.adjustment, self._days.current(query.instrument).day)
        # In extended hours, the split of a day's own date is needed, too: its first bars are compared
        # with those of the evening before.
        parts, has_evening = [BasisPart(span, today)], self._request.key.is_extended
        missing = self._missing(span, parts, "split", intraday=has_evening)
        is_known = not missing or self.fetch(Span(missing[0].start, missing[-1].end))
        if not is_known:
            reason = "; ".join(f"{name}: {error}" for name, error in refusals.items())
            raise CapabilityError(
                f"{candidate.name} has {candidate.adjustment} prices, which can be combined with "
                f"others only if splits and dividends from {date_of(missing[0].start)} on are "
                "known, and no vendor has them",
                provider=candidate.name,
                symbol=query.instrument.symbol,
                hint=reason or None,
            )
        refused = refusals.get(candidate.name)
        if refused is not None and _is_locked_out(refused):
            raise refused  # the vendor rejects the key, so it would also reject this query

    def fetch_beside(self, candidate: Candidate, span: Span, sent: BarTable) -> None:
        """Fetch the actions since the stored bars around ``span``, so that new bars are judged by these.

        For the bars ``sent`` after all stored ones, this is done only if prices jump as far as after a
        split: usually, the bars before them that are requested with them are enough.
        """
        query, grid, basis = self._request.query, self._request.grid, candidate.adjustment
        if query.instrument.asset_class != "stock" or basis == "unknown":
            return
        reach = COMPARED * grid.timeframe.longest_ms
        around = Span(span.start - reach, span.end + reach)
        stored = [c for c in self._series.coverage().within(around) if c.state in WITH_BARS]
        if not stored:
            return
        if stored[-1].span.end <= span.end:
            stored_rows = self._series.read_with_unstored(around)[0]
            beside = merge(stored_rows, sent.take(ordered(sent)))
            if not may_be_splits(beside).any():
                return
        parts = [BasisPart(entry.span, entry.basis) for entry in stored]
        missing = self._missing(around, parts, basis, intraday=grid.timeframe.is_intraday)
        if missing:
            end = missing[-1].end
            self.fetch(Span(min(missing[0].start, end - LATE_BY_MS), end))

    def fetch_own(self, candidate: Candidate, sent: Span, first_ms: int) -> None:
        """Fetch the recent actions of a vendor that sent bars whose prices may reflect unknown ones.

        That is the case if another vendor, which may report a split late, is queried before it, or if
        it answered for ex-dates after the first bar (``first_ms``) more than an hour ago: it may have
        reported or taken back one since. Actions that came with the bars, for the ex-dates in
        ``sent``, are not fetched again.
        """
        query, caps = self._request.query, candidate.capabilities
        names = [reporter.name for reporter in self._request.route.reporters]
        if caps is None or candidate.name not in names or query.instrument.asset_class != "stock":
            return
        day, own = self._days.current(query.instrument), self._series.book().only(candidate.name)
        recent = Span(day.end - LATE_BY_MS, day.end)
        if candidate.name != names[0]:  # the vendors before it may report a split much later
            first_ms = max(first_ms, day.end - YOUNG_MS)
            recent = Span(min(recent.start, first_ms + DAY_MS), day.end)
        # Those after the current session's date are not needed before the next one opens.
        due = own.missing(recent.clip(Span(0, day_ms(day.day) + DAY_MS)), day.news_ms)
        if not due:
            early_ms = self.clock.now_ms() - HOUR_MS
            after = Span(first_ms + DAY_MS, day_ms(day.day) + 1)
            after = self._with_recent(candidate, recent).clip(after)
            due = intersect([after], [a.span for a in own.answers if a.fetched_at < early_ms])
        elif candidate.name == names[0]:
            return  # they are fetched when they are needed
        if subtract(due, [sent] if caps.actions else []):
            self.fetch(recent, [candidate])

    def _missing(
        self, span: Span, parts: Sequence[BasisPart], target: Adjustment, *, intraday: bool
    ) -> list[Span]:
        """Return the ex-dates that a conversion up to today needs and no vendor was queried for."""
        day, book = self._days.current(self._request.query.instrument), self._series.book()
        spans = needed_actions(span, parts, target, day.day, intraday=intraday)
        return [needed for needed in spans if not book.covers(needed, day.news_ms)]

    def _is_shut_out(self, candidate: Candidate) -> bool:
        """Return whether a vendor is not queried for actions because it failed to supply bars.

        The failures that count are a timeout, a rejected key and, if the vendor's actions come with
        bars, a refusal to send those bars.
        """
        error = self._journal.excluded.get(candidate.name)
        if isinstance(error, ProviderTimeoutError) or _is_locked_out(error):
            return True
        caps = candidate.capabilities
        if caps is None or not caps.actions_by_bar or self._request.grid.timeframe.is_intraday:
            return False
        # Its actions come with its daily bars, from the same address.
        refusals = (RefusedError, SymbolNotFoundError)
        errors = (a.error for a in self._journal.attempts if a.provider == candidate.name)
        return any(isinstance(error, refusals) for error in errors)


def _is_locked_out(error: DataError | None) -> bool:
    """Return whether a vendor rejected the key, now or recently, and thus rejects every query."""
    is_shut = isinstance(error, CircuitOpenError) and error.is_locked_out
    return is_shut or isinstance(error, AuthenticationError)


def with_lead(candidate: Candidate, span: Span) -> Span:
    """Return a span to request that is long enough to reveal a truncated start of the answer.

    For a vendor that reports actions together with daily bars, this requires earlier days whose
    bars are known.
    """
    caps = candidate.capabilities
    if caps is None or not caps.actions_by_bar or span.start <= LATE_BY_MS:
        return span
    return Span(span.start - LATE_BY_MS, span.end)
