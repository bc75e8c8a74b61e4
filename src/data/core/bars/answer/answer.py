"""Builds the caller's frame of an answer, with its gaps and provenance (``df.attrs["onetape"]``)."""

from __future__ import annotations

import hashlib
import logging
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....errors import (
    IncompleteDataError,
    IncompleteDataWarning,
    KindMismatchError,
    SeriesEndedWarning,
)
from ...calendars.calendar import calendar_for
from ...model.answer.provenance import ATTRS_KEY, Provenance, freeze
from ...model.identity.kind import Adjustment, Kind
from ...model.market.bars import NAN, BarTable, Stamps
from ...model.request.query import BarsQuery
from ...model.stored.coverage import (
    WITH_BARS,
    Columns,
    Coverage,
    Covered,
    Stretches,
    less_grave,
    stretches,
)
from ...model.stored.lifetime import NO_BARS_SINCE
from ...model.stored.reasons import (
    AFTER_LAST,
    BEFORE_FIRST,
    CLOSED,
    FORMING,
    NO_BAR,
    UNASKED,
    UNEXPECTED,
    UNPUBLISHED,
    Cause,
    cause_of,
    is_harmless_end,
    sentence,
    why_ended,
)
from ...model.time.edges import Edges, edges_of, spans_of
from ...model.time.instant import DAY_MS, NEVER_MS, iso
from ...model.time.span import Span, coalesce, subtract, uncovered
from ...model.words.caller import warn_user
from ...registry import MADE_UP, is_sample
from ...runtime.once import cached_property
from ..validity import is_unasked

if TYPE_CHECKING:
    import pandas as pd

    from ...cache.actions import ActionBook, VendorActions
    from ...cache.store import SeriesView
    from ...prices.disputes import ActionEvent
    from ..series import UnfilledSpan

log = logging.getLogger("onetape.routing")

_MOST_SPANS = 16
_MOST_GAPS = 64
_MOST_CACHED = 4096
_warned_ended: set[tuple[str, ...]] = set()


@dataclass(frozen=True)
class Gap:
    """A span without bars, and the reason.

    ``harmless`` is True if no bar is missing: before a listing, after a proved end, before the
    history that a vendor keeps, or at times when no bar is expected. ``failed`` is True if a vendor
    that serves such bars did not answer. ``is_outage`` is True if all vendors that serve them were
    down.
    """

    span: Span
    reason: str
    harmless: bool = False
    failed: bool = False
    is_outage: bool = False


class Used(NamedTuple):
    """The splits, dividends and closes used to convert bars to their adjustment.

    Attributes:
        book: Splits and dividends; None for an instrument without any.
        closes: Maps each ex-date to the preceding close that was used; None if the bars are as
            stored.
        source: Span of the shorter bars that was needed, if the bars were built from shorter ones.
        doubts: Ex-dates for which the preceding close is in doubt, each with the reason.
    """

    book: ActionBook | None = None
    closes: Mapping[date, float | None] | None = None
    source: Span | None = None
    doubts: tuple[tuple[date, str], ...] = ()


class Rebased(NamedTuple):
    """Rows with the requested adjustment applied.

    Attributes:
        table: Converted rows.
        as_of: Date as of which they are adjusted; None for an instrument without actions.
        disputed: Actions, used or not, about which vendors disagree.
        own: Adjustment that the rows have instead of the requested one, if any.
        unknown_since: First ex-date that is needed for an adjustment as of today but was never
            requested; None if all needed ex-dates are known.
        is_awaited: Whether the unknown actions will be reported together with bars, so that
            fetching them now is pointless.
        borrowed: Vendors whose splits and dividends were used because the pinned vendor's are
            missing.
        used: Splits, dividends and closes used to convert the rows.
        begins: Timestamp before which rows are left out, and the reason; None if none are.
        without_adj_close: Reason why rows lack the ``adj_close`` that is stored for them; empty if
            none does.
    """

    table: BarTable
    as_of: date | None = None
    disputed: Sequence[ActionEvent] = ()
    own: Adjustment | None = None
    unknown_since: date | None = None
    is_awaited: bool = False
    borrowed: tuple[str, ...] = ()
    used: Used = Used()
    begins: tuple[int, str] | None = None
    without_adj_close: str = ""


# Results of a conversion that a caller accepts:
# - "latest": prices as of the last session that has opened.
# - "older": also prices as of an earlier date, if later actions are not known. Bars that cannot be
#   converted keep their own basis if all of them share it and no better bars exist.
# - "part": also only the later rows, if the earlier ones cannot be adjusted for a dividend.
Allowed = Literal["latest", "older", "part"]


@dataclass(frozen=True)
class Missing:
    """The data that must be fetched before bars can be converted to the requested basis.

    Attributes:
        error: Error to raise if the data cannot be fetched.
        ex_dates: Span of ex-dates, as timestamps, for which splits and dividends are to be
            requested; empty if none are.
        days: Span of session dates, as timestamps, whose daily bars are to be requested; empty if
            none are.
    """

    error: KindMismatchError
    ex_dates: Span = Span(0, 0)
    days: Span = Span(0, 0)


@dataclass(kw_only=True)
class KnownActions:
    """The splits and dividends that a call knows in addition to the stored ones.

    Attributes:
        unstored_actions: Splits and dividends that could not be stored, each with the answer they
            are from.
        book: Stored splits and dividends, if they have already been read.
        lacks_actions: Whether the call names a vendor that does not report splits and dividends.
    """

    unstored_actions: Sequence[VendorActions] = ()
    book: ActionBook | None = None
    lacks_actions: bool = False


class Dependency(NamedTuple):
    """The stored data on which an answer from the store alone is based.

    View and book remain the same objects as long as none of their documents changes.

    Attributes:
        view: View of the series that was read, which may contain shorter bars than the answer.
        book: Splits and dividends; None for an instrument without any.
        span: Span that was read from the series.
        until_ms: Time at which part of the span is to be fetched again, or another
            bar may close.
    """

    view: SeriesView
    book: ActionBook | None
    span: Span
    until_ms: int


@dataclass(frozen=True)
class Answer:
    """The complete content of an answer, before it becomes a frame.

    Attributes:
        table: Bars in the requested basis, ascending.
        coverage: Origin of each span; forming rows have a span of their own.
        gaps: Missing spans.
        doubts: Warnings about the bars for the user.
        fetched: Spans that a vendor answered during this call.
        scores: Quality scores of the vendors' answers for the ``fetched`` spans, 0 to 1.
        facts: Further JSON entries for the provenance.
        depends_on: Stored data on which the answer is based; the answer stays the same until that
            data changes. None if the answer is not entirely from the store.
        used: Splits, dividends and closes used to convert the bars to their adjustment.
    """

    query: BarsQuery
    table: BarTable
    coverage: Coverage
    gaps: Sequence[Gap] = ()
    kind: Kind = Kind()
    as_of: date | None = None
    substitute: str | None = None
    doubts: Sequence[str] = ()
    fetched: Sequence[Span] = ()
    scores: Sequence[float] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    depends_on: Dependency | None = None
    used: Used = Used()

    @cached_property
    def digest(self) -> str:
        """Digest of the stored data that the bars come from; empty if the bars are derived."""
        facts, used, stamps = self.facts, self.used, self.table.stamps
        if "derived_from" in facts or used.source is not None:
            return ""
        fetched = max((source.fetched_at for source in self.coverage.sources), default=0)
        parts = facts["lane"], facts["generation"], self.kind, fetched, self.as_of, self.substitute
        actions = used.book and used.book.digest
        edges = len(stamps), stamps[:1].tolist(), stamps[-1:].tolist()
        return hashlib.sha256(repr((parts, actions, edges)).encode()).hexdigest()

    @property
    def _hint(self) -> str:
        """A hint that names the substitute's own adjustment, which does not need splits or dividends.

        The hint is empty if there is no such adjustment.
        """
        instead = self.facts.get("adjustment")
        return (
            f"; no vendor has splits and dividends, but adjustment={instead!r} does not need any"
            if instead
            else ""
        )

    @cached_property
    def harmful_gaps(self) -> Sequence[Gap]:
        """The gaps in which bars really are missing, without the harmless ones."""
        return stretches(self.gaps).only(lambda gap: not gap.harmless)

    @cached_property
    def trouble(self) -> Sequence[str]:
        """Sentences that describe the answer's faults; empty if the answer is complete."""
        gaps = self.harmful_gaps
        sentences = [
            f"{len(gaps)} gap{'s' if len(gaps) > 1 else ''}, first "
            f"{iso(first.span.start)}..{iso(first.span.end)}: {sentence(first.reason)}"
            for first in gaps[:1]
        ]
        if sentences and is_sample(self.query.provider):
            sentences.append("these are samples; omit the provider to request bars from vendors")
        sentences += map(sentence, self.doubts)
        if self.substitute:
            sentences.append(
                f"answered by a substitute of a different kind: {self.substitute}{self._hint}"
            )
        return sentences


def list_gaps(
    wanted: Span,
    coverage: Coverage,
    unfilled: Sequence[UnfilledSpan],
    now_ms: int,
    traded: Span,
    after: str = AFTER_LAST,
) -> Stretches[Gap]:
    """Return the spans in ``wanted`` for which the answer has no bars, with reasons.

    Bars that are due to be fetched again count as present. If one vendor failed and another has no
    bar, the failure is the reason; otherwise, valid entries in ``coverage`` take precedence over
    ``unfilled`` segments. Outside ``traded``, bars are known not to exist; ``after`` is the reason
    for the time after it. A span in which no bar is expected and no vendor was queried is included,
    because a vendor may have a bar there.
    """
    reasons = _disjoint(unfilled)
    failures = _disjoint([u for u in unfilled if u.failed and not u.is_noted]) if reasons else []
    answered = coverage.spans(lambda entry: entry.state in WITH_BARS or entry.is_valid(now_ms))
    ended = Gap(wanted, after, harmless=is_harmless_end(after))
    spans = uncovered(wanted, answered)
    gaps = [gap for span in spans for gap in _gaps_for(span, reasons, traded, ended)]
    empties = coverage.only(lambda c: c.state == "empty" and c.is_valid(now_ms)).within(wanted)
    if not empties:
        return joined(gaps)
    parts: list[Sequence[Gap]] = [gaps]
    for reason, rows in empties.columns.by(_reason).items():
        edges = empties.columns.edges[rows]
        is_early = edges[:, 1] <= traded.start
        if reason == UNASKED:
            parts.append(_copies(not_asked(wanted), edges))
        elif reason != CLOSED:
            for gap, its_edges in (
                (Gap(wanted, reason), _cut(edges[~is_early], -NEVER_MS, traded.end)),
                (ended, _cut(edges, traded.end, NEVER_MS)),
            ):
                if failures and reason.startswith(NO_BAR):
                    spans = spans_of(its_edges)
                    failed = [part for span in spans for part in _unfilled_gaps(span, failures)]
                    its_edges = edges_of(subtract(spans, [part.span for part in failed]))
                    parts.append(failed)
                parts.append(_copies(gap, its_edges))
            parts.append(_copies(Gap(wanted, BEFORE_FIRST, harmless=True), edges[is_early]))
    return joined(*parts)


def _cut(edges: Edges, start: int, end: int) -> Edges:
    """Return the parts of ``edges`` between ``start`` and ``end``."""
    cut = edges.clip(start, end)
    return cut[cut[:, 0] < cut[:, 1]]


def _reason(empty: Covered) -> str:
    """Return the reason why a coverage entry has no bars."""
    return UNASKED if is_unasked(empty) else empty.reason


def _copies(gap: Gap, edges: Edges) -> Stretches[Gap]:
    """Return a copy of ``gap`` for each span in ``edges``."""
    return Stretches.of(Columns.of_one(gap, edges))


def not_asked(closed: Span) -> Gap:
    """Return the gap for a span in which no bar is expected and no vendor was queried."""
    return Gap(closed, UNASKED, harmless=True)


def joined(*gaps: Sequence[Gap]) -> Stretches[Gap]:
    """Merge gaps into ascending order, and join adjacent gaps that have the same reason."""
    nonempty = [group for group in gaps if len(group)]
    if not nonempty:
        return Stretches()
    columns = Stretches.chained(nonempty).columns
    return Stretches.of(columns.take(np.lexsort(columns[1::-1])).joined())


def _disjoint(unfilled: Sequence[UnfilledSpan]) -> list[UnfilledSpan]:
    """Return the segments, ascending and disjoint; if several overlap, the first in the list is kept."""
    starts = ((gap.span.start, at) for at, gap in enumerate(unfilled) if not gap.span.is_empty)
    todo = sorted(starts, reverse=True)
    disjoint: list[UnfilledSpan] = []
    active: list[int] = []
    stamp = 0
    while todo or active:
        stamp = stamp if active else todo[-1][0]
        while todo and todo[-1][0] <= stamp:
            heappush(active, todo.pop()[1])
        first = unfilled[active[0]]
        if first.span.end <= stamp:
            heappop(active)
            continue
        end = min(first.span.end, todo[-1][0]) if todo else first.span.end
        disjoint.append(replace(first, span=Span(stamp, end)))
        stamp = end
    return disjoint


def _unfilled_gaps(span: Span, unfilled: Sequence[UnfilledSpan]) -> list[Gap]:
    """Return the gaps in ``span`` for which ``unfilled`` (ascending, disjoint) gives a reason."""
    first = bisect_right(unfilled, span.start, key=lambda segment: segment.span.end)
    pieces: list[Gap] = []
    for segment in islice(unfilled, first, None):
        if segment.span.start >= span.end:
            break
        cut = segment.span.clip(span)
        pieces.append(Gap(cut, segment.reason, segment.harmless, segment.failed, segment.is_outage))
    return pieces


def _gaps_for(span: Span, unfilled: Sequence[UnfilledSpan], traded: Span, ended: Gap) -> list[Gap]:
    """Return the gaps of a span without an answer, split by the reasons in ``unfilled``.

    ``unfilled`` is ascending and disjoint. The rest of the span is either outside ``traded``, the
    lifetime of the series, or not published yet. ``ended`` is the gap after the lifetime.
    """
    pieces = _unfilled_gaps(span, unfilled)
    for rest in uncovered(span, [g.span for g in pieces]):
        early = Span(rest.start, min(rest.end, traded.start))
        late = Span(max(rest.start, traded.end), rest.end)
        pieces += [
            gap
            for gap in (
                Gap(early, BEFORE_FIRST, harmless=True),
                replace(ended, span=late),
                Gap(rest.clip(traded), UNPUBLISHED),
            )
            if not gap.span.is_empty
        ]
    return pieces


class Arrays(NamedTuple):
    """The rows of an answer as arrays, which must not be written to.

    Attributes:
        columns: Names of the columns.
        stamps: int64, timestamps in UTC nanoseconds, shape (n,).
        values: Values of the columns, shape (columns, n).
    """

    columns: tuple[str, ...]
    stamps: Stamps
    values: NDArray[Any]


class Rows(NamedTuple):
    """The rows of an answer, and its provenance.

    Attributes:
        frame: Frame with the rows. If ``kept`` is set, it is shared: it must not be changed, and its
            ``attrs`` do not belong to this answer.
        facts: Provenance of the answer.
        kept: The rows as arrays, if the frame is kept in memory for later answers.
    """

    frame: pd.DataFrame
    facts: Mapping[str, Any]
    kept: Arrays | None = None

    def owned(self) -> pd.DataFrame:
        """Return a frame that the caller may change; it is a copy if the frame is shared."""
        if self.kept is None:
            return self.frame
        frame = self.frame.copy(deep=True)
        frame.attrs[ATTRS_KEY] = self.facts
        return frame

    def arrays(self) -> Arrays:
        """Return the rows as arrays; only text and times in extra columns are copied."""
        if self.kept is not None:
            return self.kept
        index: Any = self.frame.index
        return Arrays(tuple(self.frame.columns), index.asi8, self.frame.to_numpy().T)


def frame_of(answer: Answer) -> pd.DataFrame:
    """Build the frame with its provenance; warn once if the answer is incomplete.

    Raises:
        IncompleteDataError: ``strict`` is set and the answer is incomplete.
    """
    # This loads pandas, which a process that does not build a frame (`cache list`, `plan`) does not
    # need.
    from ...model.answer.frame import build_frame

    answer = as_known(answer)
    frame = build_frame(answer.table, answer.coverage, answer.query.columns)
    frame.attrs[ATTRS_KEY] = freeze(provenance(answer))
    problems = answer.trouble
    if not problems:
        note_empty(answer)
        return frame
    hint = "without strict=True, the available bars are returned"
    _report_incomplete(frame, answer.query, problems, hint)
    return frame


def _report_incomplete(
    frame: pd.DataFrame, query: BarsQuery, problems: Sequence[str], hint: str | None = None
) -> None:
    """Warn that an answer is incomplete, or raise an error if ``strict`` is set."""
    message = f"{query}: {'; '.join(problems)}"
    if query.strict:
        symbol = query.instrument.symbol
        raise IncompleteDataError(message, frame=frame, symbol=symbol, hint=hint)
    log.warning("incomplete answer for %s", message)
    warn_user(message, IncompleteDataWarning)


def note_ended(answer: Answer, scope: str) -> None:
    """Warn once per process that a series has ended before the requested range does.

    A symbol that is gone and one that was renamed look the same, so this is said even with
    ``strict``.

    Args:
        answer: The answer.
        scope: Name of the store that has the series.
    """
    ended, query = answer.facts.get("ended"), answer.query
    series = (scope, query.instrument.symbol, query.timeframe.label)
    if ended is None or series in _warned_ended:
        return
    _warned_ended.add(series)
    day = ended[:10] if not query.timeframe.is_intraday else ended[:16].replace("T", " ")
    why = why_ended(gap.reason for gap in stretches(answer.gaps).sources)
    message = f"{query}: {NO_BARS_SINCE} {day}; {why}"
    log.warning("%s", message)
    warn_user(message, SeriesEndedWarning)


def note_unknown(frame: pd.DataFrame, query: BarsQuery, problems: Sequence[str]) -> None:
    """Note in a frame that an extra column is unknown for some rows, and warn about it.

    Raises:
        IncompleteDataError: ``strict`` is set.
    """
    facts = frame.attrs[ATTRS_KEY]
    all_problems = [*facts["problems"], *problems]
    frame.attrs[ATTRS_KEY] = freeze({**facts, "problems": all_problems, "complete": False})
    _report_incomplete(frame, query, problems)


def empty_because(answer: Answer) -> str:
    """Return a short reason why an answer has no bars."""
    from .empty import reason_of_empty  # most answers have some

    reasons = [gap.reason for gap in answer.harmful_gaps or answer.gaps]
    return reason_of_empty(answer.query, answer.kind, answer.coverage, reasons)


def note_empty(answer: Answer) -> None:
    """Log one message if an answer has no bars although nothing is missing."""
    if not (answer.table.stamps.size or answer.trouble):
        start, end = answer.query.span
        why = sentence(empty_because(answer))
        log.warning("no bars for %s from %s to %s: %s", answer.query, iso(start), iso(end - 1), why)


def as_known(answer: Answer) -> Answer:
    """Remove the bars that close after ``closed_by``.

    The query's span already ends with the last expected bar that closes in time, so this removes
    only bars at unexpected times.
    """
    query, stamps = answer.query, answer.table.stamps
    if query.closed_by_ms is None:
        return answer
    longest = query.timeframe.longest_ms
    reach = longest if query.timeframe.is_intraday else longest + DAY_MS
    late = stamps + reach > query.closed_by_ms
    # If there are no such bars, the exchange's calendar is not read.
    calendar, anchor = calendar_for(query.instrument), answer.kind.anchor or "session"
    late[late] = calendar.closes(query.timeframe, stamps[late], anchor) > query.closed_by_ms
    return replace(answer, table=answer.table.take(~late)) if late.any() else answer


def provenance(answer: Answer) -> dict[str, Any]:
    """Return the provenance of an answer as a JSON-compatible dictionary.

    The facts of the answer come last, so they override keys of the same name.
    """
    table, query = answer.table, answer.query
    spans = _spans(answer)
    vendors = sorted({v for s in spans for v in s["vendor"].split(",") if v})
    return {
        "symbol": query.instrument.symbol,
        "timeframe": query.timeframe.label,
        "adjustment": query.adjustment,
        "as_of": answer.as_of.isoformat() if answer.as_of else None,
        "kind": _kind_entry(answer.kind),
        "rows": len(table),
        "first": iso(int(table.stamps[0])) if len(table) else None,
        "last": iso(int(table.stamps[-1])) if len(table) else None,
        "vendors": vendors,
        **({"made_up": True} if MADE_UP & set(vendors) else {}),
        **({"sample": True} if any(map(is_sample, vendors)) else {}),
        "pinned": query.provider,
        "substitute": answer.substitute,
        "complete": not answer.trouble,
        "from_cache": _share_from_cache(answer),
        "spans": spans,
        "gaps": [
            {"start": iso(g.span.start), "end": iso(g.span.end), "reason": g.reason}
            for g in answer.gaps[:_MOST_GAPS]
        ],
        "gaps_total": len(answer.gaps),
        "unanswered": next((g.reason for g in stretches(answer.gaps).sources if g.failed), None),
        **({} if len(table) or "empty" in answer.facts else {"empty": empty_because(answer)}),
        "flagged": [{"stamp": iso(s), "reason": UNEXPECTED} for s in _unexpected(answer)],
        "quality": _quality(answer),
        **({} if query.closed_by_ms is None else {"closed_by": iso(query.closed_by_ms)}),
        **({"withheld": _withheld(answer)} if query.opened_by_ms is not None else {}),
        **answer.facts,
    }


def _withheld(answer: Answer) -> list[str]:
    """Return the bars that an answer as of a past time leaves out, in words."""
    then = iso(answer.query.closed_by_ms or 0)
    withheld = [f"bars that had not closed by {then}"]
    if answer.query.instrument.asset_class == "stock" and answer.query.adjustment != "raw":
        withheld.append(f"splits and dividends with an ex-date after {answer.as_of or then}")
    return withheld


def _unexpected(answer: Answer) -> list[int]:
    """Return the timestamps of the first few bars at times at which the calendar expects none."""
    stamps = [
        stamp
        for entry in answer.coverage.only(lambda entry: entry.reason == UNEXPECTED)
        for stamp in answer.table.within(entry.span).stamps.tolist()
    ]
    return stamps[:_MOST_GAPS]


def _share_from_cache(answer: Answer) -> float:
    """Return the fraction of the rows that were stored before this query, rounded down."""
    rows = len(answer.table)
    if rows and not answer.fetched and not answer.query.include_forming:
        return 1.0
    sent = [*answer.fetched, *answer.coverage.spans(lambda entry: entry.reason == FORMING)]
    fresh = sum(answer.table.counts(coalesce(sent)))
    return (rows - fresh) * 10_000 // rows / 10_000 if rows else 0.0


def _quality(answer: Answer) -> dict[str, Any]:
    """Return the answer's score (see :func:`score_of`) and its fault counts."""
    score = score_of(answer)
    return {
        "score": None if score is None else round(score, 4),
        "nan_volume": _nans(answer.table.volume),
        "gaps": len(answer.harmful_gaps),
    }


def score_of(answer: Answer) -> float | None:
    """Return an answer's score, 0 to 1; None if nothing was fetched now and no bar is grave.

    The score is the worst one among the fetched vendor answers. Grave bars (almost certainly wrong)
    reduce it, even if they were stored earlier: by their fraction of the rows, but by at least a
    tenth.
    """
    score = min(answer.scores, default=None)
    if not any(Cause.GRAVE in cause_of(text) for text in answer.doubts):
        return score
    grave = answer.coverage.where(lambda entry: Cause.GRAVE in entry.cause)
    rows = sum(answer.table.counts(grave))
    if not rows:
        return score
    return less_grave(1.0 if score is None else score, rows, len(answer.table))


def _nans(values: NDArray[np.float64]) -> int:
    """Count the NaNs, without allocating an array in the usual case that there are none."""
    if len(values) and not np.isnan(values.min()):  # the minimum of anything and NaN is NaN
        return 0
    return int(np.count_nonzero(np.isnan(values)))


def _spans(answer: Answer) -> list[dict[str, Any]]:
    """Describe where the returned rows come from, span by span.

    If there are too many spans, spans with the same vendor and state are merged.
    """
    counts = answer.table.counts(answer.coverage.where(lambda _: True))
    with_rows = [at for at, rows in enumerate(counts) if rows]
    if len(with_rows) <= _MOST_SPANS:
        return [_span_entry(answer.coverage[at], counts[at], answer.kind) for at in with_rows]
    columns = answer.coverage.columns.take(np.array(with_rows, np.int64))
    row_counts = np.array(counts, np.int64)[with_rows]
    groups = columns.by(lambda c: (c.vendor, c.state, Cause.GRAVE in c.cause)).values()
    return [
        _merged_entry(columns.take(rows), row_counts[rows], answer.kind)
        for rows in islice(groups, _MOST_SPANS)
    ]


def _merged_entry(group: Columns, counts: NDArray[np.int64], kind: Kind) -> dict[str, Any]:
    """Describe many spans from one source as a single entry."""
    (first,) = Stretches[Covered].of(group)[:1]
    # Comparisons with other vendors belong to single spans.
    entry = {**_span_entry(replace(first, splices=()), int(counts[0]), kind), "merged": True}
    entry["rows"] = int(counts.sum())
    entry["end"] = iso(int(group.ends[-1]))
    entry["fetched_at"] = iso(
        max(group.sources[code].fetched_at for code in set(group.codes.tolist()))
    )
    return entry


@lru_cache(_MOST_CACHED)
def _kind_entry(kind: Kind) -> Provenance:
    return Provenance(kind.to_json())


@lru_cache(_MOST_CACHED)
def _span_entry(entry: Covered, rows: int, kind: Kind) -> Provenance:
    # Frozen so that it can be shared, because every answer from the cache describes the same spans.
    facts: dict[str, Any] = {
        "start": iso(entry.span.start),
        "end": iso(entry.span.end),
        "rows": rows,
        "vendor": entry.vendor,
        "state": entry.state,
        "fetched_at": iso(entry.fetched_at),
        "basis": entry.basis.to_json(),
    }
    facts |= {"reason": entry.reason} if entry.reason else {}
    facts |= {"volume": reason} if (reason := left_out(entry, kind)) else {}
    frozen: Provenance = freeze(facts | splice_entry(entry))
    return frozen


def splice_entry(entry: Covered) -> dict[str, Any]:
    """Return the provenance entry ``splice``: a coverage entry's comparisons with other vendors' bars.

    The entry is empty if nothing was compared.
    """
    entries = [splice.to_json() | {"at": iso(splice.at)} for splice in entry.splices]
    return {"splice": entries} if entries else {}


# --- volume with a unit or trades that differ from the rest of a series is left out


def left_out(entry: Covered, kind: Kind) -> str:
    """Return the reason for leaving a span's volume out of a series of kind ``kind``.

    The result is empty if the volume is kept, or if one of the two kinds does not declare what its
    volume counts.
    """
    pairs = ((entry.kind.volume, kind.volume), (entry.kind.feed, kind.feed))
    differing = [
        f"{other}, not {this}" for other, this in pairs if other and this and other != this
    ]
    return f"left out: {'; '.join(differing)}" if differing else ""


def own_volume(table: BarTable, coverage: Coverage, kind: Kind) -> BarTable:
    """Return ``table`` (ascending) with NaN for volume in another unit or from another feed.

    If there is no such volume, which is the usual case, ``table`` itself is returned.
    """
    foreign_entries = coverage.only(
        lambda entry: entry.kind is not kind and bool(left_out(entry, kind))
    )
    if not foreign_entries or not len(table):
        return table
    volume = table.volume.copy()
    for entry in foreign_entries:
        first, last = table.stamps.searchsorted(entry.span)
        volume[first:last] = NAN
    return replace(table, volume=volume)
