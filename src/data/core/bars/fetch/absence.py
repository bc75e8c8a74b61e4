"""Records spans for which no vendor has bars: as empty or, if bars are stored, as suspect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace

from ....errors import (
    CapabilityError,
    DataError,
    NoDataError,
    SpliceConflictError,
    SymbolNotFoundError,
    UnavailableError,
    UnsupportedError,
    by_vendor,
)
from ...cache.store import Commit
from ...calendars.finality import first_unsettled, newest_settled
from ...model.display.texts import stamp
from ...model.request.capabilities import FetchQuery
from ...model.stored.coverage import WITH_BARS, Coverage, Covered
from ...model.stored.lifetime import Bound, Lifetime
from ...model.stored.reasons import CLOSED, LOST, NO_BAR
from ...model.time.edges import edges_of, spans_of
from ...model.time.instant import DAY_MS, MINUTE_MS
from ...model.time.span import Span, subtract, touching, uncovered
from ..ingest.take import lifetime_since
from ..series import LaneRequest, SeriesStore, UnfilledSpan, is_outage
from ..validity import LONGEST_MS, due_parts
from .bounds import LONGEST_HALT_MS

# A day because depths are a day less than what vendors serve, and one because a date begins it.
_MARGIN_MS = 2 * DAY_MS


def record_absence(
    request: LaneRequest, series: SeriesStore, unfilled: Sequence[Span], errors: Sequence[DataError]
) -> list[UnfilledSpan]:
    """Record spans for which no vendor of the lane had bars; return those that remain unknown.

    1. If a vendor failed or does not serve the spans, nothing is known about them: all of them are
       returned, with every reason (:func:`_unknown_spans`). Bars that were fetched but did not
       match are noted in the stored coverage (:func:`_note_refused`).
    2. Otherwise, all vendors reported that they have no bars, or that they no longer recognize the
       symbol (:func:`_is_gone`): the spans are marked, and none is returned. Spans that the same
       vendors have already reported as empty are left out.

    This sends no request.

    Args:
        request: Request to the lane.
        series: Store of the series.
        unfilled: Spans that no vendor of the lane supplied, ascending.
        errors: Errors of the vendors, in order.
    """
    if not unfilled:
        return []
    are_answers = all(isinstance(e, NoDataError) for e in errors)
    if not (are_answers or _is_gone(series, unfilled, errors)):
        _note_refused(series, unfilled, errors)
        return _unknown_spans(request, unfilled, errors)
    times = [e.server_now_ms for e in errors if isinstance(e, NoDataError)]
    now = min([series.now_ms(), *(at for at in times if at is not None)])
    answered = [e for e in errors if isinstance(e, (NoDataError, SymbolNotFoundError))]
    names = {e.provider or "" for e in answered} - {""}
    coverage = series.coverage().within(Span(unfilled[0].start, unfilled[-1].end))
    # Nearly all were answered a moment ago and are already marked.
    marked = coverage.spans(lambda entry: _is_valid(entry, now) and not _is_news(entry, names))
    unmarked = subtract(unfilled, marked)
    newest = newest_settled(request.grid, request.settle_ms, now)
    marks = [
        mark
        for span in unfilled
        if touching(unmarked, span)
        for mark in _absence_marks(request, series, span, coverage, names, now, newest)
    ]
    if marks:
        told = [e for e in errors if isinstance(e, NoDataError) and e.listed_ms is not None]
        listed = (told[0].listed_ms, told[0].provider or "") if told else (None, "")
        life = lifetime_since(*listed, request.grid.timeframe, now, series.lifetime())
        series.commit(Commit(marks=tuple(marks), lifetime=life))
    return []


def _is_gone(series: SeriesStore, unfilled: Sequence[Span], errors: Sequence[DataError]) -> bool:
    """Return whether vendors no longer recognize a symbol whose last bar is older than any halt.

    One of them has supplied bars of the series, so the symbol is not misspelled. After a delisting,
    many vendors report an unknown symbol rather than no bars.
    """
    last = series.view().last
    if last is None or unfilled[0].start <= last or series.now_ms() - last < LONGEST_HALT_MS:
        return False
    unknown = {e.provider for e in errors if isinstance(e, SymbolNotFoundError)}
    has_failed = any(not isinstance(e, (NoDataError, UnsupportedError)) for e in errors)
    return bool(unknown & suppliers(series)) and not has_failed


# --- symbols that vendors no longer know

# Longest wait before the next query, as after other outages.
_LONGEST_PAUSE_MS = 5 * MINUTE_MS


def suppliers(series: SeriesStore) -> set[str]:
    """Return the vendors that have supplied stored bars of a series."""
    return {e.vendor for e in series.coverage().sources if e.state in WITH_BARS}


def still_excluded(series: SeriesStore, excluded: Mapping[str, DataError]) -> dict[str, DataError]:
    """Return the excluded vendors that need not be queried for a series, either.

    That a vendor does not know the symbol in a query for bars of another length or kind, which it
    may never have had, is not a report about a series of which it has supplied bars.
    """
    unknown = {name for name, e in excluded.items() if isinstance(e, SymbolNotFoundError)}
    asked = unknown & suppliers(series) if unknown else set()
    return {name: error for name, error in excluded.items() if name not in asked}


@contextmanager
def missing_symbol_as_outage(series: SeriesStore, vendor: str, query: FetchQuery) -> Iterator[None]:
    """Raise an outage instead if a vendor in the block does not know a symbol of which it had bars.

    A moved path or a proxy looks like a delisting. Therefore, only a second report, at least a day
    after the first, is accepted, and raised as it is. Until then, the vendor is queried again after
    as long as the outage has lasted, at most 5 minutes, or for a refresh. Any other answer of the
    vendor ends the count. The reports are stored with the series.

    Raises:
        UnavailableError: The vendor does not know the symbol, or did not know it a short time ago.
    """
    now, first = series.now_ms(), series.lifetime().unknown
    if first is None or now < first.at:
        first = Bound(now, "", now, now)
    names = {*first.source.split(",")} - {""}
    lost = UnavailableError(
        f"{vendor} no longer knows {query.instrument.symbol!r}, of which it had bars; this counts as "
        "an outage until it reports the same again, a day later or more",
        provider=vendor,
    )
    is_free = _is_accepted(first) or query.insist
    if vendor in names and now < first.expires and not is_free:
        raise lost
    answer: DataError | None = None
    try:
        yield
    except (NoDataError, SymbolNotFoundError) as error:
        answer = error
    if not isinstance(answer, SymbolNotFoundError):
        if vendor in names:
            forgotten = first._replace(source=",".join(sorted(names - {vendor})))
            marks = tuple(_without_report(series.coverage(), vendor, first.at, now))
            series.commit(Commit(marks=marks, lifetime=Lifetime(unknown=forgotten)))
    elif vendor in suppliers(series):
        report = _repeated(first, vendor, now)
        if report != first:
            series.commit(Commit(lifetime=Lifetime(unknown=report)))
        if not _is_accepted(report):
            raise lost from answer
    if answer is not None:
        raise answer


def _without_report(
    coverage: Coverage, vendor: str, since_ms: int, now_ms: int
) -> Iterator[Covered]:
    """Yield the spans without bars since a vendor's first report, due now and without that vendor.

    They prove no end, because the vendor reported an unknown symbol rather than no bars.
    """
    for entry in coverage:
        names = set(entry.vendor.split(","))
        if entry.state == "empty" and entry.fetched_at >= since_ms and vendor in names:
            yield entry.having(vendor=",".join(sorted(names - {vendor})), expires=now_ms)


def _repeated(report: Bound, vendor: str, now: int) -> Bound:
    """Return the stored report that a symbol is unknown after ``vendor`` has reported it, too."""
    names = {*report.source.split(","), vendor} - {""}
    if vendor not in report.source.split(","):
        report = Bound(now, ",".join(sorted(names)), now, now)
    if _is_accepted(report):
        return report
    pause = min(now - report.at, _LONGEST_PAUSE_MS)
    return report._replace(learned_at=now, expires=now + pause)


def _is_accepted(report: Bound) -> bool:
    """Return whether vendors have reported an unknown symbol again at least a day after the first time."""
    return report.learned_at - report.at >= DAY_MS


# --- 1. spans about which nothing is known


def _unknown_spans(
    request: LaneRequest, unfilled: Sequence[Span], errors: Sequence[DataError]
) -> list[UnfilledSpan]:
    """Return the spans with the reasons of the vendors that failed or do not serve them."""
    failures = [e for e in errors if not isinstance(e, NoDataError)]
    reasons = dict.fromkeys(by_vendor(e.provider or "vendor", str(e)) for e in failures)
    served = [e for e in failures if not isinstance(e, UnsupportedError)]
    is_noted = all(isinstance(e, SpliceConflictError) for e in served)
    reason, is_out = "; ".join(reasons), is_outage(errors)
    begins = [_reason_at_history(request, span, errors) for span in unfilled]
    return [
        UnfilledSpan(span, begin or reason, bool(served), is_out, is_noted, harmless=bool(begin))
        for span, begin in zip(unfilled, begins, strict=True)
    ]


def _reason_at_history(request: LaneRequest, span: Span, errors: Sequence[DataError]) -> str:
    """Return the reason for a span that is no more than the margin that vendors' depths leave.

    The depths are a little less than what vendors serve, so that no bar is cut off while it is
    requested. A range as long as the vendor's whole history therefore begins before it. Such a span
    is harmless; the result is empty for any other.
    """
    begins = {e.begins_ms if isinstance(e, CapabilityError) else None for e in errors}
    if begins != {span.end} or span.end - span.start > _MARGIN_MS:
        return ""
    names = ", ".join(dict.fromkeys(e.provider or "the vendor" for e in errors))
    begin = stamp(span.end - span.end % MINUTE_MS)
    return f"the history of {request.grid.timeframe} bars at {names} begins at {begin} UTC"


def _note_refused(
    series: SeriesStore, unfilled: Sequence[Span], errors: Sequence[DataError]
) -> None:
    """Record that other vendors' bars for a gap were fetched but do not match the stored bars."""
    refused = [e for e in errors if isinstance(e, SpliceConflictError)]
    reasons = [str(e.args[0]) for e in refused]
    names = {e.provider or "" for e in refused} - {""}
    coverage = series.coverage() if reasons else Coverage()
    empty = [entry for span in unfilled for entry in coverage.within(span)]
    marks = tuple(
        replace(
            entry,
            # The vendors of the rejected bars have also been queried.
            vendor=",".join(sorted({*entry.vendor.split(","), *names} - {""})),
            reason="; ".join([NO_BAR, *dict.fromkeys(reasons)]),
        )
        for entry in empty
        if entry.state == "empty" and entry.reason.startswith(NO_BAR)
    )
    if marks:
        series.commit(Commit(marks=marks))


# --- 2. spans for which all vendors reported no bars


def _absence_marks(
    request: LaneRequest,
    series: SeriesStore,
    segment: Span,
    coverage: Coverage,
    names: Set[str],
    now: int,
    newest: int | None,
) -> Iterator[Covered]:
    """Yield the new coverage of a segment for which none of the vendors ``names`` has bars.

    An empty answer is not trusted for the end of the segment that has not settled: ``newest`` is the
    timestamp of the latest bar that has settled, or None. Valid entries stay as they are, or get the
    names of more vendors; the rest of the segment is marked (:func:`_marks_without_bars`).
    """
    vendor, late = ",".join(sorted(names)), None
    if newest is None or segment.end > newest + 1:
        opens = request.grid.opens(segment)
        late = first_unsettled(opens, request.grid, request.settle_ms, now)
    answered = segment if late is None else Span(segment.start, late)
    entries = coverage.within(answered)
    standing = [entry for entry in entries if _is_valid(entry, now)]
    for entry in standing:
        if _is_news(entry, names):
            yield entry.having(vendor=vendor)
    for span in uncovered(answered, [entry.span for entry in standing]):
        yield from _marks_without_bars(request, series, span, entries.within(span), vendor, now)


def _is_valid(entry: Covered, now_ms: int) -> bool:
    return entry.state != "provisional" and entry.is_valid(now_ms)


def _is_news(entry: Covered, names: Set[str]) -> bool:
    """Return whether more vendors (``names``) than recorded so far report a span as empty."""
    is_hole = entry.reason.startswith(NO_BAR) or entry.is_of_rejected_row
    return is_hole and set(entry.vendor.split(",")) < names


def _marks_without_bars(
    request: LaneRequest, series: SeriesStore, span: Span, coverage: Coverage, vendor: str, now: int
) -> Iterator[Covered]:
    """Yield the new coverage of ``span`` after a vendor returned no bars for it.

    Stored bars are kept but become suspect; the rest of the span is marked as empty.
    """
    grid = request.grid
    spans = [entry.span for entry in coverage]
    counts = series.read(span)[0].counts(spans) if spans else []
    stored = [filled for filled, rows in zip(spans, counts, strict=True) if rows]
    for filled in stored:
        expires = int(due_parts(edges_of([filled]), coverage, grid, request.expiry, now)[1].min())
        yield Covered(filled, "suspect", vendor, fetched_at=now, reason=LOST, expires=expires)
    for empty in subtract([span], stored):
        if len(grid.required(empty)):
            edges, expiries = due_parts(edges_of([empty]), coverage, grid, request.expiry, now)
            parts = zip(spans_of(edges), expiries.tolist(), strict=True)
            marks = [(part, grid.no_bar(part), expires) for part, expires in parts]
        else:
            marks = [(empty, CLOSED, now + LONGEST_MS)]
        for part, reason, expires in marks:
            yield Covered(part, "empty", vendor, fetched_at=now, reason=reason, expires=expires)
