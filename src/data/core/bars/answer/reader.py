"""Reads a series, combined with the outcome of a request, into an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import Attempt
from ...cache.faults import MISSING_VOLUME, faults_within, sentences
from ...cache.store import BarStore, Commit, SeriesView
from ...calendars.grid import grid_for
from ...clock import Clock
from ...model.display.texts import counted
from ...model.identity.kind import Basis, Kind
from ...model.identity.series import SeriesKey
from ...model.market.actions import Action
from ...model.market.bars import BarTable, inside, merge
from ...model.request.query import BarsQuery
from ...model.stored.coverage import WITH_BARS, Coverage, Covered, Splice, Stretches
from ...model.stored.lifetime import Lifetime
from ...model.stored.reasons import (
    DOUBTFUL,
    FORMING,
    REJECTED,
    UNEXPECTED,
    Cause,
    sentence,
)
from ...model.time.instant import NEVER_MS, day_ms, iso, parse_iso
from ...model.time.span import Span
from ...registry import is_sample, row_of
from ..validity import TradingDays, lifetime_of, with_strays
from .answer import (
    Allowed,
    Answer,
    Dependency,
    Gap,
    KnownActions,
    Missing,
    Rebased,
    joined,
    left_out,
    list_gaps,
    own_volume,
)

if TYPE_CHECKING:
    from ...prices.disputes import ActionEvent
    from ..series import Forming, Journal, LaneRequest, PhaseSnapshot, SeriesStore, UnfilledSpan

_MOST_PROBLEMS, _MOST_ATTEMPTS, _MOST_DISPUTED, _MOST_DOUBTS = 20, 50, 16, 3
_DOUBTS = Cause.DOUBTFUL | Cause.GRAVE


@dataclass
class FetchOutcome(KnownActions):
    """Everything that a fetch adds to the stored data of an answer; almost empty for a hit.

    Attributes:
        unfilled: Spans that no vendor supplied.
        unstored: Commits that could not be stored; their bars are part of the answer.
        forming: Forming bar, if one was received.
        kind: Kind of the lane, used if nothing is stored.
        fetched: Spans that a vendor answered during the request.
        problems: Sentences for the provenance.
        scores: Scores of the vendors' answers, 0 to 1.
        attempts: Queries for bars sent to vendors, in order.
        view, until_ms: View of the series, and time until which the answer is valid; these and the
            stored splits and dividends only if the stored documents alone were enough for the answer.
        closed_before: Timestamp from which bars count as closed only if they are final.
        snapshot: Stored data on which the request's current phase is based; the read starts from
            its view, and replaces that view with a newer one.
    """

    unfilled: Sequence[UnfilledSpan] = ()
    unstored: Sequence[Commit] = ()
    forming: Forming | None = None
    kind: Kind = Kind()
    fetched: Sequence[Span] = ()
    problems: Sequence[str] = ()
    scores: Sequence[float] = ()
    attempts: Sequence[Attempt] = ()
    view: SeriesView | None = None
    until_ms: int = 0
    closed_before: int | None = None
    snapshot: PhaseSnapshot | None = None

    def dependency(self, span: Span) -> Dependency | None:
        """Return the stored data that an answer for ``span`` depends on; None after a fetch."""
        return None if self.view is None else Dependency(self.view, self.book, span, self.until_ms)

    @classmethod
    def of(
        cls, request: LaneRequest, series: SeriesStore, journal: Journal, cap_ms: int
    ) -> FetchOutcome:
        """Return the outcome of processing a lane; bars from ``cap_ms`` on have not closed."""
        return cls(
            unfilled=journal.unfilled,
            unstored=series.unstored,
            unstored_actions=series.unstored_actions,
            forming=journal.forming,
            kind=request.route.kind,
            fetched=journal.fetched,
            problems=[*series.problems, *journal.problems],
            scores=journal.scores,
            attempts=journal.attempts,
            closed_before=cap_ms,
            lacks_actions=request.query.provider is not None and not request.route.reporters,
            snapshot=series.snapshot,
        )


class Reader:
    """Reads the stored data of a series into an answer. Thread-safe.

    A read takes no lock, unless the store must repair a year to read it.

    Attributes:
        days: Source of the current trading day, which determines the basis of answers.
    """

    def __init__(self, store: BarStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.days = TradingDays(clock)

    def answer(
        self,
        query: BarsQuery,
        key: SeriesKey,
        wanted: Span,
        outcome: FetchOutcome,
        to: Allowed = "latest",
    ) -> Answer:
        """Return the answer for ``wanted``; see :meth:`read`.

        Raises:
            KindMismatchError: The bars cannot be converted to the requested basis.
        """
        answer = self.read(query, key, wanted, outcome, to)
        if isinstance(answer, Missing):
            raise answer.error
        return answer

    def read(
        self,
        query: BarsQuery,
        key: SeriesKey,
        wanted: Span,
        outcome: FetchOutcome,
        to: Allowed = "latest",
    ) -> Answer | Missing:
        """Read ``wanted`` from the store in the requested basis, including data that could not be stored.

        1. Read the stored bars and their coverage, and add the data that could not be stored. Drop
           comparisons that are no longer at the border of two vendors (:func:`at_borders`), mark
           older tools' bars that the calendar does not expect (:func:`with_strays`), and count the
           bars whose volume is missing.
        2. Drop bars that have not closed, and add the forming bar if it was requested. Leave out the
           volume of vendors that do not count it as the series does (:func:`own_volume`).
        3. For a share, convert the bars to the requested basis (:func:`.adjust.convert`).
        4. Determine when the series begins and ends, and read the faults of vendors' answers before
           its end.
        5. List the gaps: spans without coverage or without a bar, rejected rows, bars that could not
           be read, and bars that cannot be adjusted.
        6. Add the provenance: what the vendors' answers and the conversion left in doubt.

        ``to`` says which results of the conversion are accepted. The result is
        :class:`.answer.Missing` if the conversion needs data that must be fetched first.

        Raises:
            KindMismatchError: The bars cannot be converted exactly.
        """
        now = self._clock.now_ms()
        span = Span(wanted.start, min(wanted.end, now + 1))
        # 1. The stored bars, with the data that could not be stored.
        snapshot = outcome.snapshot
        since = outcome.view if snapshot is None else snapshot.since
        view, table, coverage = self._store.stored_span(key, span, since)
        if snapshot is not None:
            snapshot.view = view
        if outcome.unstored:
            table, coverage = _with_unstored(table, coverage, outcome.unstored)
            table, coverage = table.within(span), coverage.within(span)
            view = replace(view, kind=view.kind or outcome.kind)
        coverage = with_strays(at_borders(coverage), table, query.instrument, key.timeframe)
        volume_doubts = _without_volume(
            table, coverage, view.kind or outcome.kind, query.instrument.asset_class
        )
        # 2. Bars that have not closed, the forming bar, and volume.
        if outcome.closed_before is not None:
            table = _closed_bars(table, coverage, outcome.closed_before)
        forming = outcome.forming if query.include_forming else None
        table, coverage = _with_forming(table, coverage, forming, wanted, now)
        kind = view.kind or outcome.kind
        table = own_volume(table, coverage, kind)
        # 3. The requested basis.
        rebased = Rebased(table)
        if query.instrument.asset_class == "stock":
            from .adjust import StoredBars, convert  # not needed for instruments without splits

            # A hit reads a calendar only if a number of bars is requested, if hours that were never
            # requested must be distinguished from closed ones, or in extended hours, because the last
            # bars may be from before the open.
            is_hit = outcome.view is not None and not key.is_extended
            today = (self.days.latest if is_hit else self.days.current)(query.instrument)
            # The outcome of the fetch has the actions that this call knows besides the stored ones.
            bars = StoredBars(self._store, query, key, view, table, coverage, outcome, today)
            converted = convert(bars, to)
            if isinstance(converted, Missing):
                return converted
            rebased = converted
        coverage = with_doubted_actions(coverage, rebased, query)
        # 4. The time in which the series was traded, and the faults before its end.
        life = reduce(Lifetime.updated, (c.lifetime for c in outcome.unstored), lifetime_of(view))
        traded = life.for_gaps(now)
        # Faults in vendors' answers concern everyone who reads the bars, not only the caller who
        # fetched them. After the end, no bar is missing.
        until = Span(span.start, max(span.start, min(span.end, traded.end)))
        faults = faults_within(view.faults, until) if view.faults else ()
        problems = sentences(faults, len(table)) if faults else ()
        # 5. The gaps.
        gaps: Sequence[Gap] = list_gaps(
            span, coverage, outcome.unfilled, now, traded, life.reason_after()
        )
        if rejected := rejected_gaps(coverage, table):
            gaps = joined(gaps, rejected)
        if rebased.begins is not None:
            gaps = with_unadjusted(gaps, coverage, *rebased.begins)
        # 6. The provenance.
        facts = _facts(view, outcome, coverage, now, problems)
        facts = with_disputes(facts, rebased, coverage)
        action_warnings = _action_warnings(rebased, query)
        facts |= {"problems": [*action_warnings, *facts["problems"]]} | _dates(
            life, query, kind, span.end, now
        )
        if rebased.is_awaited and not _holds(rebased.table, rebased.unknown_since):
            # The basis that the answer names is correct, and is the latest: the problems keep the
            # sentence, but it is not a doubt.
            action_warnings = []
        return Answer(
            query=query,
            table=rebased.table,
            coverage=coverage,
            gaps=gaps,
            kind=kind,
            as_of=rebased.as_of,
            substitute=f"{rebased.own} prices ({key})" if rebased.own else None,
            doubts=[
                *_doubts(coverage, rebased.table, query.instrument.asset_class),
                *volume_doubts,
                *doubts_of(rebased, coverage),
                *action_warnings,
            ],
            fetched=outcome.fetched,
            scores=outcome.scores,
            depends_on=outcome.dependency(span),
            used=rebased.used,
            facts=facts | ({"adjustment": rebased.own} if rebased.own else {}),
        )


def _dates(
    life: Lifetime, query: BarsQuery, kind: Kind, until_ms: int, now_ms: int
) -> dict[str, str]:
    """Return the dates of a lifetime; as of a past time, only those that could be known then.

    A listing is known once it has come; an end, once the first bar that did not come would have
    closed.
    """
    if query.opened_by_ms is not None:
        grid, end = grid_for(query.instrument, query.timeframe, kind), life.delisted
        missed = [] if end is None else [grid.next_open(end.at)]
        if (grid.closes(np.array(missed, dtype=np.int64)) > query.opened_by_ms).any():
            life = replace(life, delisted=None)
        if life.listed is not None and life.listed.at >= query.opened_by_ms:
            life = replace(life, listed=None)
    return life.dates(until_ms, now_ms)


def with_unadjusted(
    gaps: Sequence[Gap], coverage: Coverage, first: int, reason: str
) -> Sequence[Gap]:
    """Return the gaps, plus gaps for the bars before ``first``, which cannot be adjusted."""
    spans = coverage.spans(lambda entry: entry.state in WITH_BARS)
    early = (span.clip(Span(span.start, first)) for span in spans)
    return joined(gaps, [Gap(span, reason) for span in early if not span.is_empty])


def _facts(
    view: SeriesView, outcome: FetchOutcome, coverage: Coverage, now: int, problems: Sequence[str]
) -> dict[str, Any]:
    return {
        "lane": view.key.folder,
        # Bars that could not be stored are not part of any version.
        "generation": None if any(c.pieces for c in outcome.unstored) else view.generation,
        "problems": [
            *reasons(coverage, Cause.GRAVE | Cause.SETTLED),
            *problems,
            *outcome.problems,
            *splice_problems(coverage),
        ][:_MOST_PROBLEMS],
        "attempts": attempt_entries(outcome.attempts),
        "rejected": {},
        "asked_at": iso(now),
    }


def _closed_bars(table: BarTable, coverage: Coverage, cap_ms: int) -> BarTable:
    """Return the bars before ``cap_ms``, and later ones that are stored as final.

    If the local clock is behind, the later bars seem not to have closed yet. They are final
    nevertheless, because their vendor already had newer bars when it sent them.
    """
    closed = table.stamps < cap_ms
    if not closed.all():
        closed |= inside(table.stamps, coverage.where(lambda entry: entry.state == "final"))
    return table.take(closed)


def rejected_gaps(coverage: Coverage, table: BarTable) -> Stretches[Gap]:
    """Return a gap for each rejected row, with the reason for which it was rejected."""
    entries = coverage.only(lambda entry: entry.is_of_rejected_row)
    if not entries:
        return Stretches()
    columns = entries.columns
    gaps = tuple(Gap(source.span, f"{REJECTED}{source.reason}") for source in columns.sources)
    has_no_bar = np.array(table.counts(columns.edges), np.int64) == 0
    return Stretches.of(columns.take(has_no_bar)._replace(sources=gaps))


def _doubts(coverage: Coverage, table: BarTable, asset_class: str) -> list[str]:
    """Return the reasons why whole answers are not trusted, without duplicates and at most a few.

    One such reason is stock bars outside the sessions. For other asset classes, such bars are not a
    reason: currencies and futures do trade at hours that are not in their calendars.
    """
    texts = reasons(coverage, _DOUBTS)
    if any(source.reason == UNEXPECTED for source in coverage.sources):
        spans = coverage.where(lambda entry: entry.reason == UNEXPECTED)
        stamps = table.stamps[inside(table.stamps, spans)].tolist()
        if stamps and asset_class == "stock":
            text = f"{counted(len(stamps), 'bar')} {UNEXPECTED}, first {iso(stamps[0])}"
            texts.insert(0, text)
    rest = len(texts) - _MOST_DOUBTS
    return texts if rest <= 0 else [*texts[:_MOST_DOUBTS], f"{DOUBTFUL}{rest} more answers"]


def reasons(coverage: Coverage, causes: Cause) -> list[str]:
    """Return the distinct reasons in the coverage that have one of ``causes``."""
    return list(dict.fromkeys(s.reason for s in coverage.sources if s.cause & causes))


def _without_volume(table: BarTable, coverage: Coverage, kind: Kind, asset_class: str) -> list[str]:
    """Return a sentence, in a list, about bars whose volume is missing; empty if none is.

    Volume that the answer leaves out on purpose is not counted.
    """
    if not len(table) or not np.isnan(table.volume.min()):  # NaN if any value is NaN
        return []
    stamps = table.take(np.isnan(table.volume)).stamps
    spans = coverage.where(
        lambda entry: (
            entry.state in WITH_BARS
            and entry.kind.needs_volume(asset_class, row_of(entry.vendor).no_volume)
            and not left_out(entry, kind)
        )
    )
    count = int(inside(stamps, spans).sum())
    return [f"{MISSING_VOLUME}: {count} of {len(table)} bars have no volume"] if count else []


def _holds(table: BarTable, day: date | None) -> bool:
    """Return whether the table has a bar on ``day`` or later."""
    return day is not None and bool(len(table)) and int(table.stamps[-1]) >= day_ms(day)


def _action_warnings(rebased: Rebased, query: BarsQuery) -> list[str]:
    """Return a warning if recent splits and dividends are unknown; otherwise an empty list."""
    if rebased.unknown_since is None:
        return []
    status = "not known"
    if rebased.is_awaited:
        together = "published together with the bars of those days"
        status = "not in the sample" if is_sample(query.provider) else together
    actions = f"splits and dividends from {rebased.unknown_since} on are {status}"
    return [f"prices are as of {rebased.as_of}: {actions}"]


def _with_unstored(
    table: BarTable, coverage: Coverage, commits: Sequence[Commit]
) -> tuple[BarTable, Coverage]:
    """Return bars and coverage, including the data that could not be stored on disk."""
    from ...cache.file_lanes import with_commit

    for commit in commits:
        table, coverage = with_commit(table, coverage, commit)
    return table, coverage


def _with_forming(
    table: BarTable, coverage: Coverage, forming: Forming | None, wanted: Span, now: int
) -> tuple[BarTable, Coverage]:
    """Return the bars and their coverage, with the forming bar added if it is in ``wanted``."""
    if forming is None:
        return table, coverage
    rows = forming.table.within(wanted)
    if not len(rows):
        return table, coverage
    first = int(rows.stamps[0])
    entry = Covered(
        Span(first, max(wanted.end, int(rows.stamps[-1]) + 1)),
        "provisional",
        forming.vendor,
        forming.kind,
        forming.basis,
        now,
        FORMING,
    )
    closed = table.take(table.stamps < first)
    return merge(closed, rows), coverage.overlaid([entry])


def attempt_entries(attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    """Return attempts as JSON-compatible dictionaries."""
    return [
        {
            "provider": a.provider,
            "outcome": a.outcome,
            "message": a.message,
            "seconds": round(a.seconds, 4),
            "start": iso(a.start_ms),
            "end": iso(a.end_ms),
            "rows": a.rows,
            "requests": a.requests,
        }
        for a in attempts[:_MOST_ATTEMPTS]
    ]


def attempt_of(entry: Mapping[str, Any]) -> Attempt:
    """Rebuild an attempt from an entry made by :func:`attempt_entries`, but without its error."""
    return Attempt(
        entry["provider"],
        entry["outcome"],
        entry["message"],
        entry["seconds"],
        parse_iso(entry["start"]),
        parse_iso(entry["end"]),
        entry["rows"],
        entry["requests"],
    )


# --- where bars from two vendors meet, and the results of comparing them


def at_borders(coverage: Coverage) -> Coverage:
    """Return the coverage, dropping comparisons that are no longer at a boundary between two vendors.

    A comparison that led to a correction is kept on every part of the corrected span.
    """
    if not any(entry.splices for entry in coverage.sources):
        return coverage
    entries_at_borders, before = [], None
    entries = [entry for entry in coverage if entry.state in WITH_BARS]
    entry_after = dict(zip(map(id, entries), [*entries[1:], None], strict=False))
    for entry in coverage:
        if entry.splices:  # without bars there is nothing that could have been compared
            after = entry_after.get(id(entry))
            splices = tuple(
                splice
                for splice in entry.splices
                if entry.state in WITH_BARS and _stays(splice, entry, before, after)
            )
            entries_at_borders.append(replace(entry, splices=splices))
        else:
            entries_at_borders.append(entry)
        before = before if entry.state == "empty" else entry
    return Coverage(entries_at_borders)


def _stays(splice: Splice, entry: Covered, before: Covered | None, after: Covered | None) -> bool:
    """Return whether a comparison is still at a boundary between two vendors."""
    if splice.verdict == "constant":
        return True
    if splice.at == entry.span.start:
        return before is None or _is_change(entry, before)
    return splice.at == entry.span.end and (after is None or _is_change(entry, after))


def _is_change(entry: Covered, other: Covered) -> bool:
    return entry.vendor != other.vendor or entry.is_rescaled != other.is_rescaled


def splice_problems(coverage: Coverage) -> list[str]:
    """Return a sentence for each comparison that the user should know about, without duplicates."""
    return list(dict.fromkeys(s for source in coverage.sources for s in _sentences(source)))


def _sentences(entry: Covered) -> Iterator[str]:
    for splice in entry.splices:
        if splice.verdict == "constant":
            yield (
                f"prices of {entry.vendor} at {iso(splice.at)} were not as it sent them: "
                f"{splice.because}; they were {splice.ratio:.6g} times those of {splice.other}"
            )
        elif splice.verdict == "unchecked":
            yield (
                f"prices of {entry.vendor} and {splice.other} meet at {iso(splice.at)} and could "
                f"not be compared: {splice.because}"
            )


# --- splits and dividends that vendors disagree about, or do not report any more


def with_doubted_actions(coverage: Coverage, rebased: Rebased, query: BarsQuery) -> Coverage:
    """Return the coverage in which bars are suspect if their prices depend on an action in doubt.

    These are bars before the ex-date of an action that its vendor does not report any more.
    """
    book, marks = rebased.used.book, []
    for lack in book.doubted if book is not None else ():
        action = lack.action
        ex_ms = action.ex_at if query.timeframe.is_intraday else day_ms(action.ex_date)
        reason = f"{DOUBTFUL}{action.source} no longer reports the {action}"
        for entry in coverage.within(Span(-NEVER_MS, ex_ms)):
            bases = Basis(query.adjustment, rebased.as_of), entry.basis
            is_concerned = any(action.is_in(b.adjustment, b.as_of) for b in bases)
            if entry.state in WITH_BARS and is_concerned and not entry.cause & _DOUBTS:
                marks.append(replace(entry, state="suspect", reason=reason))
    return coverage.overlaid(marks) if marks else coverage


def with_disputes(facts: dict[str, Any], rebased: Rebased, coverage: Coverage) -> dict[str, Any]:
    """Return provenance entries, adding disputed actions, each with a sentence in ``problems``.

    Further sentences name the vendors whose actions were borrowed, and the reason why an adjusted
    close is missing.

    ``actions_disputed`` is present only if there are disputes. Each of its entries has ``action``
    (the one that was used), ``type``, ``ex_date``, ``source``, ``used`` (False if left out),
    ``settled`` (False if at least as many vendors disagree as agree) and ``others`` (maps each
    other vendor to its report). If vendors' bars are adjusted with different actions, there is an
    entry for each action, and ``bars_of`` names the vendors.

    Args:
        facts: Entries of the answer.
        rebased: Rows of the answer, with the data used to convert them.
        coverage: Coverage of the rows, which names their vendors.
    """
    notes = []
    if rebased.borrowed:
        notes.append(f"splits and dividends were taken from {', '.join(rebased.borrowed)}")
    if rebased.without_adj_close:
        notes.append(adj_close_missing(rebased.as_of, rebased.without_adj_close))
    if not rebased.disputed:
        return facts | {"problems": [*notes, *facts["problems"]]}
    entries = [e for event in rebased.disputed for e in _entries(event, coverage)][:_MOST_DISPUTED]
    problems = [_sentence(rebased, coverage), *notes, *facts["problems"]]
    return facts | {"problems": problems, "actions_disputed": entries}


def adj_close_missing(as_of: date | None, reason: str) -> str:
    """Return the sentence about adjusted closes that an answer does not contain."""
    return f"adj_close is missing where it is not as of {as_of}: {reason}"


def doubts_of(done: Rebased, coverage: Coverage) -> list[str]:
    """Return reasons to doubt the answer: vendors evenly divided over a split, or a close in doubt.

    Only the first such split is mentioned, and the first close that a dividend was applied with.
    """
    open_splits = [e for e in done.disputed if e.type == "split" and not e.is_settled]
    return [
        f"{DOUBTFUL}{_dispute_of(event, coverage)}, and neither has more vendors"
        for event in open_splits[:1]
    ] + [
        f"{DOUBTFUL}the close before the dividend of {day} ({sentence(reason)})"
        for day, reason in done.used.doubts[:1]
    ]


def _sentence(done: Rebased, coverage: Coverage) -> str:
    events = done.disputed
    count = f"{len(events)} splits or dividends" if len(events) > 1 else "an action"
    what = _dispute_of(events[0], coverage)
    return f"vendors disagree on {count} that these prices depend on: {what}"


def _dispute_of(event: ActionEvent, coverage: Coverage) -> str:
    action = next(iter(_applied_to(event, coverage)))
    use = "used" if event.counts else "left out"
    others = "; ".join(
        f"{vendor}: {others}" for vendor, others in dissent_of(event, action).items()
    )
    return f"the {action} of {action.source} was {use} ({others})"


def _entries(event: ActionEvent, coverage: Coverage) -> list[dict[str, Any]]:
    vendors_by_action = _applied_to(event, coverage)
    return [
        {
            "action": str(action),
            "type": action.type,
            "ex_date": action.ex_date.isoformat(),
            "source": action.source,
            "used": event.counts,
            "settled": event.is_settled,
            "others": dissent_of(event, action),
        }
        | ({"bars_of": vendors} if len(vendors_by_action) > 1 else {})
        for action, vendors in vendors_by_action.items()
    ]


def _applied_to(event: ActionEvent, coverage: Coverage) -> dict[Action, list[str]]:
    """Map each version of an event to the vendors whose bars it was applied to."""
    ex_date = day_ms(event.action().ex_date)
    older = [c.vendor for c in coverage if c.state in WITH_BARS and c.span.start < ex_date]
    used: dict[Action, list[str]] = {}
    for vendor in dict.fromkeys(older or [""]):
        used.setdefault(event.action(vendor), []).append(vendor)
    return used


def dissent_of(event: ActionEvent, action: Action) -> dict[str, str]:
    """Return the reports of the event by all vendors that disagree with ``action``."""
    differing = {a.source: str(a) for a in event.dissent(action)}
    return differing | dict.fromkeys(event.silent, f"no {event.type} then")
