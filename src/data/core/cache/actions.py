"""Splits and dividends for one symbol, and its former names, stored in ``actions.json``.

Splits and dividends are applied when bars are read, so a wrong or lost action changes prices. The
document is therefore durable before it is used; a damaged document is an error and never treated as
empty; and every vendor's report is kept, even if it does not count.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import CorruptEntryError, FormatVersionError
from ..calendars.calendar import day_span, opened_and_coming, price_calendar
from ..disk.atomic import sweep, write_atomically
from ..disk.files import Disk
from ..model.identity.instrument import Instrument
from ..model.identity.symbol_changes import SymbolChange
from ..model.market.actions import Action, amount_on, current
from ..model.market.bars import NAN, BarTable, inside
from ..model.time.instant import DAY_MS, HOUR_MS, NEVER_MS, date_of, day_ms
from ..model.time.span import Span, coalesce, uncovered
from ..prices.disputes import (
    ActionEvent,
    events_of,
    has_support,
    is_correction,
    is_repeated,
    split_events,
)
from ..registry import is_sample, is_whole_sample
from ..runtime.once import cached_property
from .document_cache import DocumentCache
from .format import json_document
from .format.documents import BookEntries, load_book_document
from .layout import ACTIONS, QUARANTINE, Layout

if TYPE_CHECKING:
    from ..prices.adjustment import BasisPart

# Time within which a vendor may still report an action; before that, a missing report means
# nothing.
_SETTLED_MS = 7 * DAY_MS
# Vendors' dates for one action differ by up to this much.
_DATE_TOLERANCE_MS = 4 * DAY_MS
# Time since the ex-date for which a report is checked again together with newer ones, and time since
# the first report for which a refresh needs only one answer without it.
YOUNG_MS = 90 * DAY_MS
# Time before a doubted action in which there usually is another one of its type.
_LONG_AGO_MS = 3653 * DAY_MS
# Time before an ex-date that always contains a session.
_LEAD_MS = 7 * DAY_MS
# An answer that lacks more than two of the known actions, and more than a tenth, withdraws nothing.
_MOST_LACKING, _LARGEST_SHARE = 2, 10
# Part of a split (of its logarithm) above which it is left out of adjusted closes. Dividends since then
# make that part smaller, but larger of a reverse split, for which the limit is the rest.
_LEFT_OUT = 0.1


class Asked(NamedTuple):
    """A span of ex-dates (as timestamps) for which a vendor was queried and answered.

    Every ex-date in the span was requested at ``fetched_at`` or later, unless the ex-date is so old
    that the time does not matter; see :attr:`settled`. A vendor that sends actions together with
    bars has reported only the actions before ``until``.
    """

    span: Span
    source: str
    fetched_at: int
    until: int | None = None

    @property
    def settled(self) -> Span:
        """The ex-dates at least seven days before the query, for which the vendor knew all actions."""
        return self.span.clip(Span(self.span.start, self.fetched_at - _SETTLED_MS))


class WholeAnswer(NamedTuple):
    """Evidence that reports are really missing from a vendor's answer, which was not cut off there.

    Attributes:
        missing: Types and ex-dates of these reports.
        is_by_type: Whether splits and dividends come from different endpoints.
        is_refresh: Whether the answer is part of a refresh.
        unproven: Those of ``missing`` that the answer cannot withdraw, because no later bar shows
            that the share was traded after the ex-date.
        is_blank: Whether the answer has no action, and the vendor sent no bars, either: it may not know
            the share at the moment, so that the answer shows nothing about the last seven days.
    """

    missing: frozenset[tuple[str, date]]
    is_by_type: bool = False
    is_refresh: bool = False
    unproven: frozenset[tuple[str, date]] = frozenset()
    is_blank: bool = False


# A vendor's answer: its actions, the query, and which earlier reports are really missing from it.
VendorActions = tuple[Sequence[Action], Asked, WholeAnswer | None]


class Lack(NamedTuple):
    """A report that later answers from its vendor lack.

    Attributes:
        action: The report.
        since: Time of the first whole answer without it, in UTC milliseconds.
        last: Time of the latest one.
        is_withdrawn: Whether the report no longer counts; otherwise it is in doubt.
    """

    action: Action
    since: int
    last: int
    is_withdrawn: bool = False


def by_date(actions: Iterable[Action], instrument: Instrument) -> tuple[Action, ...]:
    """Return actions as they apply to an instrument's bars; in extended hours, each to its whole date.

    Vendors report the open of regular hours, but a share is traded without the split or dividend
    from the start of the date at the venue on.
    """
    if not instrument.is_extended:
        return tuple(actions)
    return tuple(replace(a, ex_at=first_ms(instrument, a.ex_date)) for a in actions)


def first_ms(instrument: Instrument, day: date) -> int:
    """Return the time from which an instrument's bars belong to a date."""
    return day_span(instrument, day).start if instrument.is_extended else day_ms(day)


@dataclass(frozen=True)
class ActionBook:
    """All splits and dividends reported for a symbol, and the queries for them.

    Attributes:
        reports: Every vendor's latest report of every action, in order of ex-date.
        answers: Ex-dates for which vendors were queried and answered.
        awaited: Latest query to each vendor for ex-dates whose actions the vendor publishes only
            with the bars.
        samples: Reports from vendors of sample bars, each of which applies only to that vendor's
            own bars (:meth:`only`).
        changes: Renames and other events after which the symbol means a different instrument or
            none at all, in order of date.
        lacks: Reports that are in doubt or withdrawn, because their vendor's later answers lack
            them. Only those in doubt are among the reports.
        late: Reports that an earlier answer from their vendor lacked, although it covered their
            ex-date; the vendor's prices did not reflect them by then, either. A split that gets
            another date is among them with both dates.
        extra: Keys written by other versions of this library, preserved unchanged.
    """

    reports: tuple[Action, ...] = ()
    answers: tuple[Asked, ...] = ()
    awaited: tuple[Asked, ...] = ()
    samples: ActionBook | None = None
    changes: tuple[SymbolChange, ...] = ()
    lacks: tuple[Lack, ...] = ()
    late: tuple[Action, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def events(self) -> tuple[ActionEvent, ...]:
        """The reports grouped into events, by the rule in :mod:`..prices.disputes`."""
        return events_of(self.reports, self._vendors_at, self._answered_at)

    @cached_property
    def actions(self) -> tuple[Action, ...]:
        """The actions in effect, in order of ex-date; at most one per type and date."""
        return tuple(sorted(e.action() for e in self.events if e.counts))

    @cached_property
    def splits(self) -> tuple[Action, ...]:
        """The splits in effect, in order of ex-date; computed without grouping dividends."""
        events = split_events(self.reports, self._vendors_at, self._answered_at)
        return tuple(sorted(e.action() for e in events if e.counts))

    @cached_property
    def dividends(self) -> tuple[Action, ...]:
        """The dividends in effect, in order of ex-date."""
        return tuple(a for a in self.actions if a.type == "dividend")

    @cached_property
    def disagreements(self) -> tuple[Action, ...]:
        """The reports that do not count, in order of ex-date.

        A report does not count if it differs from the one chosen for its event, or if the event
        itself does not count.
        """
        dissents = (e.dissent(e.action()) if e.counts else e.reports for e in self.events)
        return tuple(sorted(action for reports in dissents for action in reports))

    @cached_property
    def disputed(self) -> tuple[ActionEvent, ...]:
        """The events that some vendor reports differently or omits, in order of ex-date."""
        return tuple(event for event in self.events if event.is_disputed)

    @cached_property
    def doubted(self) -> tuple[Lack, ...]:
        """The reports in doubt, in order of ex-date."""
        return tuple(lack for lack in self.lacks if not lack.is_withdrawn)

    @cached_property
    def withdrawn(self) -> tuple[Lack, ...]:
        """The reports that their vendors have withdrawn, in order of ex-date."""
        return tuple(lack for lack in self.lacks if lack.is_withdrawn)

    @cached_property
    def digest(self) -> str:
        """Digest of the reports, queries and doubts, the same in every process."""
        # It contains the names ``Action`` and ``Asked``, which therefore stay: bundles store the digest.
        parts = (self.reports, self.answers, *self.lacks)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def of(self, vendor: str) -> tuple[Action, ...]:
        """Return the actions that apply to bars from ``vendor``.

        In a tie between vendors, the report from ``vendor`` itself counts.
        """
        if not self.disputed:
            return self.actions
        return tuple(sorted(e.action(vendor) for e in self.events if e.counts))

    def splits_not_in(self, vendor: str, as_of: date) -> list[ActionEvent]:
        """Return the splits that prices from ``vendor`` as of a date do not seem to reflect.

        The vendor did not report them although it was queried for their ex-dates on that date or later,
        so it is silent about them in the result.
        """
        asked = [
            a.span for a in self.answers if a.source == vendor and a.fetched_at >= day_ms(as_of)
        ]
        return [
            replace(event, silent=(*dict.fromkeys((*event.silent, vendor)),))
            for event in self.events
            if event.type == "split"
            and event.counts
            and all(report.source != vendor for report in event.reports)
            and any(day_ms(event.action().ex_date) in span for span in asked)
        ]

    def only(self, vendor: str) -> ActionBook:
        """Return the book reduced to the reports from ``vendor`` and the queries to that vendor."""
        if is_sample(vendor) and self.samples is not None:
            return self.samples.only(vendor)
        entries: tuple[Action | Asked, ...] = (*self.reports, *self.answers, *self.awaited)
        if {action.source for action in entries} <= {vendor}:
            return self
        # One object for each vendor, so that anything cached for the object, such as its sorted
        # events, is computed once.
        if (cached := self._book_by_vendor.get(vendor)) is not None:
            return cached
        reports = tuple(action for action in self.reports if action.source == vendor)
        answers, awaited = (
            tuple(a for a in spans if a.source == vendor) for spans in (self.answers, self.awaited)
        )
        lacks = tuple(lack for lack in self.lacks if lack.action.source == vendor)
        late = tuple(action for action in self.late if action.source == vendor)
        book = ActionBook(reports, answers, awaited, lacks=lacks, late=late)
        return self._book_by_vendor.setdefault(vendor, book)

    @cached_property
    def _book_by_vendor(self) -> dict[str, ActionBook]:
        return {}

    def for_bars_of(self, vendor: str | None) -> ActionBook:
        """Return the book that applies to bars from ``vendor``; None means all vendors.

        For bars from a sample-data vendor, only that vendor's own reports count.
        """
        return self.only(vendor) if vendor is not None and is_sample(vendor) else self

    def by_date(self, instrument: Instrument) -> ActionBook:
        """Return the book with its actions as they apply to an instrument's bars; see :func:`by_date`."""
        if not instrument.is_extended:
            return self
        return replace(self, reports=by_date(self.reports, instrument))

    def covers(self, span: Span, since_ms: int | None = None) -> bool:
        """Return whether every ex-date in ``span`` was requested from some vendor.

        With ``since_ms``, a date also counts if it was requested since then but vendors publish its
        actions only with the bars, because another query would not return anything new.
        """
        return not self.missing(span, since_ms)

    def missing(self, span: Span, since_ms: int | None = None) -> list[Span]:
        """Return the ex-dates in ``span`` that no vendor was queried for; see :meth:`covers`."""
        awaited = () if since_ms is None else self.answers_awaited(since_ms)
        return uncovered(span, [answer.span for answer in (*self.answers, *awaited)])

    def awaited_from(self, day: date, since_ms: int) -> date | None:
        """Return the first requested ex-date, up to ``day``, whose actions are not published yet.

        The result is None if the actions on ``day`` are known, or if ``day`` was not requested
        since ``since_ms``.
        """
        span = Span(day_ms(day), day_ms(day) + DAY_MS)
        if self.covers(span):
            return None
        starts = [a.span.start for a in self.answers_awaited(since_ms) if span.start in a.span]
        return date_of(min(starts)) if starts else None

    def answers_awaited(self, since_ms: int) -> list[Asked]:
        """Return the queries since ``since_ms`` for ex-dates whose actions are not published yet.

        The actions after the end of a sample are never published, so one query counts for ever, and
        for all later ex-dates.
        """
        return [
            answer._replace(span=Span(answer.span.start, NEVER_MS))
            if is_whole_sample(answer.source)
            else answer
            for answer in self.awaited
            if answer.fetched_at >= since_ms or is_whole_sample(answer.source)
        ]

    def is_quiet(self, days: Span, *, settled: bool) -> bool:
        """Return whether all ex-dates in ``days`` were requested and no vendor ever reported an action.

        With ``settled``, each date must have been requested so long afterwards that even a late
        report would be known.
        """
        if uncovered(days, [answer.settled if settled else answer.span for answer in self.answers]):
            return False
        gone = (lack.action for lack in self.withdrawn)
        return not any(day_ms(a.ex_date) in days for a in (*self.reports, *self.late, *gone))

    def up_to(self, now_ms: int) -> ActionBook:
        """Return the book without the queries that were recorded as sent after ``now_ms``.

        Such queries were recorded while the clock was ahead, so the actions between their actual
        and their recorded time have not been requested.
        """
        valid = tuple(a for a in self.answers if a.fetched_at <= now_ms + HOUR_MS)
        awaited = tuple(a for a in self.awaited if a.fetched_at <= now_ms)
        samples = self.samples and self.samples.up_to(now_ms)
        are_all = len(valid) + len(awaited) == len(self.answers) + len(self.awaited)
        if are_all and samples is self.samples:
            return self
        return replace(self, answers=valid, awaited=awaited, samples=samples)

    def known_until(self, day: date) -> date:
        """Return the last ex-date up to which every date from ``day`` on was requested."""
        edge = day_ms(day) + DAY_MS
        for span in sorted(a.span for a in self.answers):
            if span.start <= edge < span.end:
                edge = span.end
        return date_of(edge - 1)

    def newest(self, day: date) -> date:
        """Return the ex-date of the last action after ``day``, or ``day`` if there is none.

        Only dates before the first one that was not requested are considered.
        """
        until = self.known_until(day)
        if not any(day < action.ex_date <= until for action in self.reports):
            return day  # the usual case, in which the counting actions need not be computed
        return max((a.ex_date for a in self.actions if day < a.ex_date <= until), default=day)

    def recheck_from(self, vendor: str, now_ms: int, *, is_list: bool = False) -> int | None:
        """Return the start of a request to ``vendor`` that also covers its recent and doubted reports.

        The result is a timestamp, or None if there is nothing to check. A report is recent for 90
        days after its ex-date. To decide about one in doubt, the answer must contain another
        action, so the request starts before the previous one of its type or, if none is known, ten
        years earlier. This is not repeated as long as the answers that follow do not help. A list
        of actions alone does not show where it begins, so it starts before the one that precedes
        recent ones, too.
        """
        own, starts = [report for report in self.reports if report.source == vendor], []

        def earlier(action: Action) -> list[int]:
            """Return the ex-dates of earlier reports of the same type, as timestamps."""
            same = (a.ex_date for a in own if a.type == action.type)
            return [day_ms(day) for day in same if day < action.ex_date]

        for action in own:
            if 0 <= now_ms - (day := day_ms(action.ex_date)) < YOUNG_MS:
                starts += [day, *(earlier(action)[-1:] if is_list else ())]
        for action, since, last, _ in self.doubted:
            if action.source == vendor and now_ms - last >= max(DAY_MS, last - since):
                starts += earlier(action)[-1:] or [day_ms(action.ex_date) - _LONG_AGO_MS]
        return min(starts) - _LEAD_MS if starts else None

    def with_answers(self, answers: Sequence[VendorActions]) -> ActionBook:
        """Return the book with ``answers`` added, i.e. vendors' answers that could not be stored."""
        book = self
        for answer in answers:
            book = book.with_answer(*answer)
        return book

    def with_answer(
        self, actions: Sequence[Action], answer: Asked, whole: WholeAnswer | None = None
    ) -> ActionBook:
        """Return the book with a vendor's answer added.

        A vendor's corrections of its own reports are accepted. Several dividends on one day count
        as one. An action that is missing from an answer is kept unless the answer is ``whole``; then
        it is in doubt or withdrawn, see :meth:`_without_lacking`.
        """
        if is_sample(answer.source):
            return replace(self, samples=(self.samples or ActionBook())._append(actions, answer))
        known = answer._replace(span=answer.settled) if whole and whole.is_blank else answer
        book = self._append(actions, known)._without_lacking(actions, answer, whole)
        return book._with_amounts_of(self, answer.source)._with_paid_amounts()

    def _with_amounts_of(self, earlier: ActionBook, vendor: str) -> ActionBook:
        """Return the book with amounts as paid where ``vendor`` has changed or withdrawn a split.

        An amount reported before that reflects the splits that the vendor reported then, as in the
        ``earlier`` book without those that its answers already lacked. The same applies to a split
        that the vendor reports late, but not to one whose ex-date had not been requested, or if the
        amount was reported within an hour before the split.
        """
        before = [split for split in earlier.only(vendor).splits if split.is_sound]
        after = [split for split in self.only(vendor).splits if split.is_sound]
        if before == after:
            return self
        new = [a for a in after if not any(is_correction(old, a) for old in before)]
        kept = set(earlier.reports).difference(since := {k.action: k.since for k in self.lacks})

        def as_then(action: Action) -> Action:
            """Return a report with the amount that was paid according to the earlier book."""
            is_own = action in kept and action.source == vendor and action.is_sound
            if not is_own or action.type == "split":
                return action
            told = [a for a in before if action.fetched_at < since.get(a, NEVER_MS)]
            lately = action.fetched_at + HOUR_MS
            told += [a for a in new if a not in self.late or a.fetched_at < lately]
            paid = amount_on(action, told, None)
            is_same = paid == amount_on(action, after, None)
            return action if is_same else action.as_amount_paid(paid)

        return replace(self, reports=tuple(sorted(map(as_then, self.reports))))

    def _with_paid_amounts(self) -> ActionBook:
        """Return the book with amounts as paid that do not reflect a split, because their vendor lacks it.

        The vendor must have answered for the split's date since the amount was reported.
        """
        splits = [split for split in self.splits if split.is_sound]

        def paid(action: Action) -> Action:
            """Return a dividend with the amount that was paid if its vendor lacks a later split."""
            own = self.only(action.source)
            since = action.fetched_at - HOUR_MS
            lacking = [
                a for a in splits if action.ex_date < a.ex_date and own.lacks_split(a, since)
            ]
            if action.as_paid or not (lacking and action.is_sound):
                return action
            told = [a for a in splits if a not in lacking]
            return action.as_amount_paid(amount_on(action, told, None))

        reports = (paid(a) if splits and a.type == "dividend" else a for a in self.reports)
        return replace(self, reports=tuple(sorted(reports)))

    def without(self, source: str) -> ActionBook:
        """Return the book without reports from, and queries to, the sample-data vendor ``source``."""
        if self.samples is None:
            return self
        old = self.samples
        reports = tuple(action for action in old.reports if action.source != source)
        answers, awaited = (
            tuple(a for a in spans if a.source != source) for spans in (old.answers, old.awaited)
        )
        return replace(self, samples=ActionBook(reports, answers, awaited, extra=old.extra))

    def _append(self, actions: Sequence[Action], answer: Asked) -> ActionBook:
        reports, late = list(self.reports), list(self.late)
        covered = [asked.span for asked in self.answers if asked.source == answer.source]
        stamped = (
            replace(
                action,
                source=action.source or answer.source,
                fetched_at=action.fetched_at or answer.fetched_at,
            )
            for action in actions
        )
        for action in current(stamped):
            older = [entry for entry in reports if is_correction(entry, action)]
            if len(older) == 1 and is_repeated(older[0], action):
                # A pay date is reported later than the dividend itself.
                pay_date = action.pay_date or older[0].pay_date
                currency = action.currency or older[0].currency
                parts = action.parts or older[0].parts
                known = replace(older[0], pay_date=pay_date, currency=currency, parts=parts)
                action = replace(known, gain=action.gain)
            # Adjusted closes reflect the split as of its former date.
            moved = [a for a in older if a.ex_date != action.ex_date]
            late += [replace(a, fetched_at=action.fetched_at) for a in moved]
            is_new = bool(moved) or not older
            if is_new and any(day_ms(action.ex_date) in span for span in covered):
                late.append(action)
            reports = [*(entry for entry in reports if entry not in older), action]
        old = self.answers
        if len(late) > len(self.late) and all(a.source != answer.source for a in self.reports):
            # The vendor's earlier lists, all of them empty, lacked actions that it knows.
            old = tuple(asked for asked in old if asked.source != answer.source)
        awaited = [
            a for a in self.awaited if a.source != answer.source or not a.span.overlaps(answer.span)
        ]
        entry = answer._replace(until=None)
        if answer.until is not None and answer.until < answer.span.end:
            start = max(answer.until, answer.span.start)
            entry = entry._replace(span=Span(answer.span.start, start))
            awaited.append(answer._replace(span=Span(start, answer.span.end), until=None))
        answers = old if entry.span.is_empty else _answers_with(old, entry)
        awaited = [a for a in awaited if uncovered(a.span, [asked.span for asked in answers])]
        return replace(
            self,
            reports=tuple(sorted(reports)),
            answers=answers,
            awaited=tuple(sorted(awaited)),
            late=tuple(late),
        )

    def _without_lacking(
        self, actions: Sequence[Action], answer: Asked, whole: WholeAnswer | None
    ) -> ActionBook:
        """Return the book after comparing a vendor's earlier reports with its new answer.

        A report that the answer lacks is withdrawn if another whole answer, at least a day earlier,
        also lacked it, or if the answer is part of a refresh and the action was first reported
        under 90 days ago. Otherwise it is in doubt. An answer without any action, or one that lacks
        too many, withdraws nothing. A split that another vendor reports, too, is always kept. A
        report that is repeated is not in doubt any more.
        """
        now_ms, reports = answer.fetched_at, set(self.reports)
        repeated = {_key(action) for action in actions}
        lacks = {
            lack.action: lack
            for lack in self.lacks
            if (lack.is_withdrawn or lack.action in reports)
            and (lack.is_withdrawn or not has_support(lack.action, reports))
            and (lack.action.source != answer.source or _key(lack.action) not in repeated)
        }
        # An answer of a refresh is enough for actions first reported after this time.
        young_ms = now_ms - YOUNG_MS if whole and whole.is_refresh else now_ms
        for action, is_decisive in self._lacking(actions, answer, whole) if whole else ():
            since = min(lacks[action].since, now_ms) if action in lacks else now_ms
            is_enough = now_ms - since >= DAY_MS or action.fetched_at > young_ms
            lacks[action] = Lack(action, since, now_ms, is_decisive and is_enough)
        withdrawn = {action for action, lack in lacks.items() if lack.is_withdrawn}
        left = tuple(report for report in self.reports if report not in withdrawn)
        return replace(self, reports=left, lacks=tuple(sorted(lacks.values())))

    def _lacking(
        self, actions: Sequence[Action], answer: Asked, whole: WholeAnswer
    ) -> Iterator[tuple[Action, bool]]:
        """Yield the reports that a vendor's whole answer lacks, and whether it can withdraw them.

        No bars show where the answer of an endpoint for splits or dividends alone begins, so
        reports before its first action are not missing from it.
        """
        known = [a for a in self.reports if a.source == answer.source]
        known = [a for a in known if day_ms(a.ex_date) in answer.span]
        for types in [["split"], ["dividend"]] if whole.is_by_type else [["split", "dividend"]]:
            sent = [action.ex_date for action in actions if action.type in types]
            first = min(sent) if sent and whole.is_by_type else date.min
            own = [action for action in known if action.type in types]
            missing = [a for a in own if a.ex_date > first and _key(a) in whole.missing]
            missing = [a for a in missing if not has_support(a, self.reports)]
            are_many = len(missing) > _MOST_LACKING and len(missing) * _LARGEST_SHARE > len(own)
            is_list = bool(sent) and not are_many
            yield from ((a, is_list and _key(a) not in whole.unproven) for a in missing)

    def sure_adj_close(
        self,
        table: BarTable,
        parts: Sequence[BasisPart],
        instrument: Instrument,
        step_ms: int = 0,
        until: date | None = None,
    ) -> tuple[BarTable, str]:
        """Return bars without the adjusted closes that may lack an action or reflect a withdrawn one.

        An adjusted close may lack an action that an earlier answer from its vendor lacked, too
        (:attr:`late`), unless a session opened between the report and the bars. It may also lack one
        that its vendor reported only after a later session had opened, if the ex-date was less than a
        week before: an answer for that day may never have been requested. So it may lack a recent
        action that only another vendor reports, and one of any date that its vendor's answers lack. It
        may reflect an action that the vendor withdrew or moved since, or one in doubt, which may also
        have to be applied to it. If the latest row of a date has none, because it reflects an action
        that was not published yet, those of the same date are left out. Next to its close it may show
        that it lacks a split, as it does if the vendor no longer reports one that counts.

        Args:
            table: Ascending bars.
            parts: Basis and vendor of each span of bars.
            instrument: The bars' instrument.
            step_ms: Maximum length of one bar in milliseconds; 0 if the prices are not as stored, so
                that the adjusted closes cannot be compared with them.
            until: Last ex-date of the actions that may be applied; None if there is no limit.

        Returns:
            The bars and the reason, which is empty if no adjusted close was removed.
        """
        adj, reason = table.adj_close, ""
        if adj is None:
            return table, ""
        spans: dict[tuple[str, date | None], list[Span]] = {}
        for part in parts if step_ms else ():
            spans.setdefault((part.vendor, part.basis.as_of), []).append(part.span)
        for (vendor, _), dated in spans.items():
            rows = inside(table.stamps, coalesce(dated))
            if rows.any() and np.isnan(adj[rows][-1]) and not np.isnan(adj[rows]).all():
                adj = np.where(rows, NAN, adj)
                reason = f"that of {vendor} may reflect an action that was not published yet"
        for part in parts:
            own, as_of = self.only(part.vendor), part.basis.as_of or date.min
            others = [e.action() for e in self.events if e.counts and part.vendor not in e.sources]
            unproven = (a for a in (*own.reports, *others) if (as_of - a.ex_date).days < 7)
            late = ((a, a.fetched_at, a in own.late) for a in (*own.late, *unproven))
            gone = ((a, last, False) for a, _, last, _ in own.lacks)
            doubted = [a for a, *_ in self.doubted if as_of < a.ex_date <= (until or date.max)]
            unheard = (a for a in others if own._answered_at(a.ex_date))
            lacked = (a for a in self.splits if own.lacks_split(a))
            shown = (*unheard, *lacked, *self._left_out(table, part, step_ms), *doubted)
            for action, at, is_late in (*late, *gone, *((a, None, False) for a in shown)):
                rows = inside(table.stamps, [part.span]) & (table.stamps < day_ms(action.ex_date))
                is_later = action.ex_date > as_of and action not in doubted
                if is_later or not np.isfinite(adj[rows]).any():
                    continue
                opened = () if at is None else opened_and_coming(price_calendar(instrument), at)[0]
                latest = opened[-1].day if opened else date.min
                if at is None or as_of < latest or (is_late and as_of == latest):
                    adj = np.where(rows, NAN, adj)
                    unknown = f"it is not known whether that of {part.vendor} reflects the {action}"
                    undecided = f"{action.source} no longer reports the {action}"
                    reason = undecided if action in doubted else unknown
        return (table.with_adj_close(adj), reason) if reason else (table, "")

    def _left_out(self, table: BarTable, part: BasisPart, step_ms: int) -> Iterator[Action]:
        """Yield the splits that a part's adjusted closes lack, as prices as traded show.

        From the last bar before a split to the next one, or to the date of the adjustment if there is no
        later bar, the ratio of the two must change by the split; and by dividends, to the same side.
        """
        adj, end_ms = table.adj_close, day_ms(part.basis.as_of or date.min) + DAY_MS
        splits = [(day_ms(a.ex_date), math.log(a.ratio), a) for a in self.splits if a.is_sound]
        splits = [split for split in splits if part.span.start < split[0] < end_ms and split[1]]
        if not (splits and step_ms) or part.basis.adjustment != "raw" or adj is None:
            return
        rows = inside(table.stamps, [part.span]) & (adj > 0) & (table.close > 0)
        stamps = np.append(table.stamps[rows], end_ms)
        logs = np.append(np.log(adj[rows] / table.close[rows]), 0.0)
        for day, size, split in splits:
            last, later = stamps.searchsorted((day - step_ms, day - 1), "right") - (1, 0)
            between = range(int(stamps[last]) + 1, int(stamps[later]) + 1)
            lacking = logs[last] - logs[later] + sum(s for at, s, _ in splits if at in between)
            if last >= 0 and lacking / size > (_LEFT_OUT if size > 0 else 1 - _LEFT_OUT):
                yield split

    def lacks_split(self, split: Action, since_ms: int = 0) -> bool:
        """Return whether this book's vendors answered for a split's date, but report none near it.

        With ``since_ms``, they must have answered since then.
        """
        day = Span(day_ms(split.ex_date), day_ms(split.ex_date) + DAY_MS)
        near = (abs(day_ms(a.ex_date) - day.start) <= _DATE_TOLERANCE_MS for a in self.splits)
        spans = [a.span for a in self.answers if a.fetched_at >= since_ms]
        return split.is_sound and not uncovered(day, spans) and not any(near)

    def _answered_at(self, day: date) -> set[str]:
        """Return the vendors that answered for an ex-date."""
        return {answer.source for answer in self.answers if day_ms(day) in answer.span}

    def _vendors_at(self, day: date) -> set[str]:
        """Return the vendors whose settled answers cover ``day`` and the four days before and after it.

        Different vendors' dates for the same action can differ by that much. See
        :attr:`Asked.settled`.
        """
        around = Span(day_ms(day) - _DATE_TOLERANCE_MS, day_ms(day) + DAY_MS + _DATE_TOLERANCE_MS)
        return {
            source
            for source in {a.source for a in self.answers}
            if not uncovered(around, [a.settled for a in self.answers if a.source == source])
        }


def _key(action: Action) -> tuple[str, date]:
    return action.type, action.ex_date


def _answers_with(old: tuple[Asked, ...], new: Asked) -> tuple[Asked, ...]:
    """Return the answers with ``new`` added, and joined to adjacent spans from the same source.

    For its own ex-dates, ``new`` replaces the earlier ones. When settled spans are joined, the latest
    of their query times is kept. When fresh spans are joined, the earliest is kept, because no fresh
    span may appear to have been requested later than it was.
    """
    before = [a for a in old if a.source == new.source]
    same = [new, *(a._replace(span=s) for a in before for s in uncovered(a.span, [new.span]))]
    settled = _joined_answers([a._replace(span=a.settled) for a in same], max)
    fresh = [a._replace(span=s) for a in same for s in uncovered(a.span, (b.span for b in settled))]
    joined = _joined_responses([*settled, *_joined_answers(fresh, min)])
    return tuple(sorted([*(a for a in old if a.source != new.source), *joined]))


def _joined_answers(answers: Sequence[Asked], time: Callable[[Iterable[int]], int]) -> list[Asked]:
    return [
        Asked(span, answers[0].source, time(a.fetched_at for a in answers if a.span.overlaps(span)))
        for span in coalesce(a.span for a in answers)
    ]


def _joined_responses(answers: Iterable[Asked]) -> list[Asked]:
    """Join adjacent ex-dates that came from the same response."""
    joined: list[Asked] = []
    for answer in sorted(answers):
        last = joined[-1] if joined else None
        if last and (last.span.end, last.fetched_at) == (answer.span.start, answer.fetched_at):
            answer = answer._replace(span=Span(joined.pop().span.start, answer.span.end))
        joined.append(answer)
    return joined


# --- on disk -------------------------------------------------------------------------------


class ActionStore:
    """The ``actions.json`` of every symbol. Thread-safe; writers take the symbol's lock.

    Args:
        layout, disk, document_cache: Paths of the cache, file system, and cache of parsed documents.
        lock_timeout_s: Seconds to wait for another writer.
    """

    def __init__(
        self, layout: Layout, disk: Disk, document_cache: DocumentCache, *, lock_timeout_s: float
    ) -> None:
        self._layout = layout
        self._disk = disk
        self._document_cache = document_cache
        self._lock_timeout_s = lock_timeout_s

    def load(self, symbol: str) -> ActionBook:
        """Return the book for ``symbol``; the book is empty if no vendor was ever queried.

        Raises:
            CorruptEntryError: The document is damaged; actions must be fetched again.
            FormatVersionError: A newer version of this library wrote the document.
        """
        path = self._layout.actions(symbol)
        try:
            book = self._document_cache.load(path, lambda data: load_book(data, symbol))
            return book or ActionBook()
        except json_document.DamagedError as exc:
            raise CorruptEntryError(
                f"the stored splits and dividends for {symbol} are damaged: {exc}",
                symbol=symbol,
                hint="they are fetched again on the next refresh; until then prices cannot be "
                "adjusted",
            ) from exc
        except FormatVersionError as exc:
            raise FormatVersionError(
                f"{symbol}: {exc.args[0]}", symbol=symbol, hint="update this library"
            ) from exc

    def add(
        self,
        symbol: str,
        actions: Sequence[Action],
        answer: Asked,
        wait_s: float = math.inf,
        whole: WholeAnswer | None = None,
    ) -> ActionBook:
        """Add an answer durably and return the book; a damaged book is set aside and restarted.

        Waits for another writer for ``wait_s`` seconds, at most ``lock_timeout_s``.

        Raises:
            LockTimeoutError, StorageError, FormatVersionError: Nothing was changed.
        """

        def added(old: ActionBook) -> ActionBook:
            """Return the book with the answer added."""
            return old.up_to(answer.fetched_at).with_answer(actions, answer, whole)

        return self._change(symbol, added, wait_s)

    def forget(self, symbol: str, source: str, wait_s: float = math.inf) -> ActionBook:
        """Remove a sample vendor's reports durably and return the book; waits like :meth:`add`.

        Raises:
            LockTimeoutError, StorageError, FormatVersionError: Nothing was changed.
        """
        return self._change(symbol, lambda old: old.without(source), wait_s)

    def record(self, symbol: str, changes: Sequence[SymbolChange]) -> bool:
        """Durably replace the recorded changes in the meaning of a symbol with ``changes``.

        A change that is already recorded keeps its recorded time.

        Returns:
            Whether the changes differ from the recorded ones.

        Raises:
            LockTimeoutError, StorageError, FormatVersionError: Nothing was changed.
        """
        differed = False

        def changed(old: ActionBook) -> ActionBook:
            """Return the book with the new changes."""
            nonlocal differed
            recorded = {replace(change, fetched_at=0): change for change in old.changes}
            new = tuple(sorted(recorded.get(replace(c, fetched_at=0), c) for c in changes))
            differed = new != old.changes
            return replace(old, changes=new)

        self._change(symbol, changed, math.inf)
        return differed

    def _change(
        self, symbol: str, change: Callable[[ActionBook], ActionBook], wait_s: float
    ) -> ActionBook:
        folder = self._layout.symbol(symbol)
        self._disk.make_folders(folder)
        with self._disk.lock(folder / ".lock", min(wait_s, self._lock_timeout_s)):
            sweep(self._disk, folder)
            sweep(self._disk, folder / QUARANTINE)
            try:
                old = self.load(symbol)
            except CorruptEntryError:
                set_aside(self._disk, folder)
                old = ActionBook()
            book = change(old)
            path = folder / ACTIONS
            if self._disk.stat(path) is None:
                # The process that created the folders may have been killed before they were
                # durable.
                self._disk.sync_folder(folder.parent)
                self._disk.sync_folder(folder.parent.parent)
            if book != old or _reported_details(book) != _reported_details(old):
                write_atomically(self._disk, path, dump_book(symbol, book))
                self._document_cache.forget(path)
            else:
                self._disk.sync_folder(folder)  # likewise for the existing file's name
        return book


def set_aside(disk: Disk, folder: Path) -> None:
    """Copy the damaged document in a symbol's folder to its quarantine."""
    content = disk.read(folder / ACTIONS)
    disk.make_folders(folder / QUARANTINE)
    name = f"actions.{hashlib.sha256(content).hexdigest()[:16]}.json"
    write_atomically(disk, folder / QUARANTINE / name, content)


def _reported_details(book: ActionBook) -> list[tuple[str, str, tuple[float, ...], float]]:
    """Return each report's values that do not affect prices: pay date, currency, parts and gain.

    They are compared only to detect changed reports.
    """
    reports = (*book.reports, *(book.samples.reports if book.samples else ()))
    return [(action.pay_date, action.currency, action.parts, action.gain) for action in reports]


def dump_book(symbol: str, book: ActionBook) -> bytes:
    """Return the bytes of the document ``actions.json`` for ``symbol``."""
    return json_document.dump(
        dict(book.extra)
        | {"format": json_document.FORMAT, "symbol": symbol}
        | _entries(book)
        | ({"changes": [change.to_json() for change in book.changes]} if book.changes else {})
        | ({"lacking": [_lack_json(lack) for lack in book.lacks]} if book.lacks else {})
        | ({"late": [action.to_json() for action in book.late]} if book.late else {})
        | ({"samples": _entries(book.samples)} if book.samples is not None else {})
    )


def _entries(book: ActionBook) -> dict[str, Any]:
    elsewhere = {*book.actions, *book.disagreements}
    confirmed = [action.to_json() for action in book.reports if action not in elsewhere]
    return (
        {
            "actions": [action.to_json() for action in book.actions],
            "asked": [_answer_json(a) | {"told": True} for a in book.answers],
            "disagreements": [action.to_json() for action in book.disagreements],
        }
        | ({"awaited": [_answer_json(a) for a in book.awaited]} if book.awaited else {})
        | ({"confirmed": confirmed} if confirmed else {})
    )


def _answer_json(answer: Asked) -> dict[str, Any]:
    return {"span": list(answer.span), "source": answer.source, "fetched_at": answer.fetched_at}


def _lack_json(lack: Lack) -> dict[str, Any]:
    return lack._asdict() | {"action": lack.action.to_json()}


def load_book(data: bytes, symbol: str) -> ActionBook:
    """Parse the bytes of the document ``actions.json`` for ``symbol``.

    Raises:
        DamagedError: The document is incomplete, or belongs to another symbol.
        FormatVersionError: A newer version of this library wrote the document.
    """
    document, extra = load_book_document(data)
    if document.symbol != symbol:
        raise json_document.DamagedError(f"they are for {document.symbol!r}")
    samples = None if document.samples is None else _book_of(document.samples)
    changes = tuple(sorted(document.changes))
    entries = document.lacking
    lacks = tuple([Lack(e.action, e.since, e.last, e.is_withdrawn) for e in entries])
    late = tuple(document.late)
    return _book_of(document, samples=samples, changes=changes, lacks=lacks, late=late, extra=extra)


def _book_of(entries: BookEntries, **others: Any) -> ActionBook:
    return ActionBook(
        reports=tuple(sorted([*entries.actions, *entries.disagreements, *entries.confirmed])),
        answers=tuple([Asked(a.span, a.source, a.fetched_at) for a in entries.asked]),
        awaited=tuple([Asked(a.span, a.source, a.fetched_at) for a in entries.awaited]),
        **others,
    )
