"""Records the consequences of empty answers: empty spans, doubted bars, a listing, an end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from datetime import date

from ...cache.store import Commit
from ...calendars.finality import first_unsettled, newest_settled, settles_at
from ...errors import (
    FAILOVER_ERRORS,
    CapabilityError,
    DataError,
    NoDataError,
    SpliceConflictError,
    SymbolNotFoundError,
    UnsupportedError,
    by_vendor,
)
from ...model.capabilities import FetchQuery
from ...model.coverage import WITH_BARS, Coverage, Covered
from ...model.edges import edges_of, spans_of
from ...model.instant import DAY_MS, MINUTE_MS, date_of, day_ms
from ...model.lifetime import DATA, PAGES, Bound, Lifetime
from ...model.reasons import BEFORE_FIRST, CLOSED, LOST, NO_BAR, PLAINLY_NONE
from ...model.span import Span, coalesce, subtract, touching, uncovered
from ...model.texts import stamp
from ...model.timeframe import Timeframe
from ...vendors.registry import is_free, is_of_market, is_sample
from ..answer.answer import UnfilledSpan
from ..selection.candidates import Candidate
from ..series import Journal, LaneRequest, SeriesStore, is_outage
from ..validity import LONGEST_MS, due_parts, end_due

# Number of vendors that must report that no bars exist before the listing.
PROVING = 2
# No temporary halt lasts longer than this; also how far back a vendor is queried for daily bars.
_LONGEST_HALT_MS = 45 * DAY_MS
# A day because depths are a day less than what vendors serve, and one because a date begins it.
_MARGIN_MS = 2 * DAY_MS
_EARLIEST = date(1900, 1, 1)
# If so many other series of a vendor end within this time of each other, the vendor is at fault.
_MANY, _SAME_TIME_MS = 2, 7 * DAY_MS


def record_absence(
    request: LaneRequest,
    series: SeriesStore,
    unfilled: Sequence[Span],
    errors: tuple[DataError, ...],
) -> list[UnfilledSpan]:
    """Store spans as empty if all vendors report that; return them if a vendor did not answer.

    1. If a vendor failed or does not serve the spans, nothing is known about them. They are
       returned, with every reason. A symbol that one of its own vendors no longer recognizes is the
       exception (:func:`_is_gone`).
    2. Spans that the same vendors have already reported as empty are left out.
    3. The other spans are marked: stored bars as doubtful, and the rest as empty
       (:func:`_absence_marks`).

    Args:
        request: Request to the lane.
        series: Store of the series.
        unfilled: Spans that no vendor of the lane supplied, ascending.
        errors: Errors of the vendors, in order.
    """
    if not unfilled:
        return []
    is_gone = _is_gone(series, unfilled, errors)
    failures = [e for e in errors if not (is_gone or isinstance(e, NoDataError))]
    if failures:
        reasons = dict.fromkeys(by_vendor(e.provider or "vendor", str(e)) for e in failures)
        served = [e for e in failures if not isinstance(e, UnsupportedError)]
        is_noted = all(isinstance(e, SpliceConflictError) for e in served)
        reason, is_out = "; ".join(reasons), is_outage(errors)
        _note_refused(series, unfilled, failures)
        spans = [UnfilledSpan(span, reason, bool(served), is_out, is_noted) for span in unfilled]
        return [_at_history(request, span, errors) for span in spans]
    times = [e.server_now_ms for e in errors if isinstance(e, NoDataError)]
    now = min([series.now_ms(), *(at for at in times if at is not None)])
    answered = [e for e in errors if isinstance(e, (NoDataError, SymbolNotFoundError))]
    names = {e.provider or "" for e in answered} - {""}
    vendor = ",".join(sorted(names))
    coverage = series.coverage().within(Span(unfilled[0].start, unfilled[-1].end))
    standing = coverage.spans(lambda p: _is_valid(p, now) and not _is_news(p, vendor, names))
    # Nearly all were answered a moment ago and are already marked.
    unmarked = subtract(unfilled, standing)
    unfilled = [span for span in unfilled if touching(unmarked, span)] if unmarked else []
    newest = newest_settled(request.grid, request.settle_ms, now)
    marks = [
        mark
        for span in unfilled
        for mark in _absence_marks(request, series, span, coverage, names, now, newest)
    ]
    if marks:
        series.commit(Commit(marks=tuple(marks)))
    return []


def _is_gone(series: SeriesStore, unfilled: Sequence[Span], errors: Sequence[DataError]) -> bool:
    """Return whether vendors no longer recognize a symbol whose last bar is older than any halt.

    One of them has supplied bars of the series, so the symbol is not misspelled. After a delisting,
    many vendors report an unknown symbol rather than no bars.
    """
    last = series.view().last
    if last is None or unfilled[0].start <= last:
        return False
    if series.now_ms() - last < _LONGEST_HALT_MS:
        return False
    unknown = {e.provider for e in errors if isinstance(e, SymbolNotFoundError)}
    entries = series.coverage().sources
    suppliers = {entry.vendor for entry in entries if entry.state in WITH_BARS}
    return bool(unknown & suppliers) and all(
        isinstance(e, (NoDataError, UnsupportedError)) for e in errors
    )


def _absence_marks(
    request: LaneRequest,
    series: SeriesStore,
    segment: Span,
    coverage: Coverage,
    names: Set[str],
    now: int,
    newest: int | None,
) -> Iterator[Covered]:
    """Yield the coverage of a segment for which no vendor in ``names`` has bars.

    ``newest`` is the timestamp of the latest bar that has settled, or None.
    """
    vendor, late = ",".join(sorted(names)), None
    # An empty answer is not trusted for a span that has not settled.
    if newest is None or segment.end > newest + 1:
        opens = request.grid.opens(segment)
        late = first_unsettled(opens, request.grid, request.settle_ms, now)
    answered = segment if late is None else Span(segment.start, late)
    entries = coverage.within(answered)
    standing = [entry for entry in entries if _is_valid(entry, now)]
    for entry in standing:
        if _is_news(entry, vendor, names):
            yield entry.having(vendor=vendor)
    for span in uncovered(answered, [entry.span for entry in standing]):
        yield from _marks_without_bars(request, series, span, entries.within(span), vendor, now)


def _is_valid(entry: Covered, now_ms: int) -> bool:
    return entry.state != "provisional" and entry.is_valid(now_ms)


def _is_news(entry: Covered, vendor: str, names: Set[str]) -> bool:
    """Return whether more vendors than recorded so far report a span as empty.

    ``names`` are all vendors that report this now, and ``vendor`` is the list of their names as
    text.
    """
    is_none = entry.vendor != vendor and entry.reason.startswith(NO_BAR)
    return is_none and set(entry.vendor.split(",")) < names


def _marks_without_bars(
    request: LaneRequest,
    series: SeriesStore,
    span: Span,
    coverage: Coverage,
    vendor: str,
    now: int,
) -> Iterator[Covered]:
    """Yield the new coverage of ``span`` after a vendor returned no bars for it.

    Stored bars are kept but become doubtful; the rest of the span is marked as empty.
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
            ends = zip(spans_of(edges), expiries.tolist(), strict=True)
            marks = [(hole, grid.no_bar(hole), expires) for hole, expires in ends]
        else:
            marks = [(empty, CLOSED, now + LONGEST_MS)]
        for hole, reason, expires in marks:
            yield Covered(hole, "empty", vendor, fetched_at=now, reason=reason, expires=expires)


def _at_history(
    request: LaneRequest, unfilled: UnfilledSpan, errors: Sequence[DataError]
) -> UnfilledSpan:
    """Return the span as harmless if it is no more than the margin that vendors' depths leave.

    The depths are a little less than what vendors serve, so that no bar is cut off while it is
    requested. A range as long as the vendor's whole history therefore begins before it.
    """
    begins = {e.begins_ms if isinstance(e, CapabilityError) else None for e in errors}
    span = unfilled.span
    if begins != {span.end} or span.end - span.start > _MARGIN_MS:
        return unfilled
    names = ", ".join(dict.fromkeys(e.provider or "the vendor" for e in errors))
    begin = stamp(span.end - span.end % MINUTE_MS)
    reason = f"the history of {request.grid.timeframe} bars at {names} begins at {begin} UTC"
    return replace(unfilled, reason=reason, harmless=True)


def _note_refused(
    series: SeriesStore, unfilled: Sequence[Span], failures: Sequence[DataError]
) -> None:
    """Record that other vendors' bars for a gap were fetched but do not match the stored bars."""
    refused = [e for e in failures if isinstance(e, SpliceConflictError)]
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


# --- the time before a listing and after the end


def prove_bounds(
    request: LaneRequest, series: SeriesStore, journal: Journal, segments: Sequence[Span]
) -> None:
    """Look for proof that a series begins after the empty span before its first bar, or has ended.

    Without proof, the span before the first bar might be an outage or a history that the vendor has
    truncated, and a gap is never called harmless on a guess. There are two kinds of proof: a
    listing date reported by a vendor, or empty answers from two vendors. These answers must cover
    either a time longer than any halt, or the requested range and the days before it. One vendor's
    empty answer proves nothing.

    A series can have ended only if the empty span after its last bar is longer than any halt and
    reaches up to now; otherwise the later range may simply not have been requested yet. A vendor of
    real markets proves the end if it has supplied bars of the series and reports none for the whole
    span, unless a vendor failed or does not serve the span, or the vendor seems to send no bars at
    all any more (:func:`_are_silent`). If the request also covered the last bar, its answer may
    have been cut off after that bar; and bars longer than a day do not show whether there are still
    daily ones. In both cases, the vendor is queried again, for the days after the last bar and the
    latest days, and must have no bars there either. Bars may resume one day, so the end is checked again;
    the shorter the span is, the sooner.

    If all bars are from sources other than vendors of real markets, such as a user's files, only
    the data end.

    Args:
        request: Request to the lane.
        series: Store of the series.
        journal: Record of the attempts.
        segments: Spans just requested; if none of them is empty now, nothing is done.
    """
    coverage = series.coverage()
    before_first, after_last = _before_first_bar(coverage), _after_last_bar(coverage)
    if before_first is not None and any(before_first.overlaps(s) for s in segments):
        _prove_start(request, series, journal, before_first, coverage)
    if after_last is not None and any(after_last.overlaps(s) for s in segments):
        _prove_end(request, series, journal, after_last, coverage, segments)
    if segments and not any(entry.state in WITH_BARS for entry in coverage.sources):
        _find_data_end(request, series, segments[0].start)


def _prove_start(
    request: LaneRequest,
    series: SeriesStore,
    journal: Journal,
    empty: Span,
    coverage: Coverage,
) -> None:
    """Store the listing if two vendors agree that there are no bars before it."""
    listed = series.lifetime().listed
    if listed is not None and empty.end <= listed.at:
        return
    agreeing = _agreeing_vendors(coverage, empty)
    if empty.end - empty.start < _LONGEST_HALT_MS and len(agreeing) >= PROVING:
        names = agreeing - journal.excluded.keys()
        first = day_ms(date_of(empty.start)) - DAY_MS
        days = Span(first - _LONGEST_HALT_MS, first)
        agreeing &= _without_bars(request, series, Span(first, empty.start), [days], names)
    if len(agreeing) < PROVING:
        return
    now_ms, vendors = series.now_ms(), ",".join(sorted(agreeing))
    expires = now_ms + LONGEST_MS
    mark = Covered(empty, "empty", vendors, fetched_at=now_ms, reason=BEFORE_FIRST, expires=expires)
    life = Lifetime(listed=Bound(empty.end, vendors, now_ms, expires, PAGES))
    series.commit(Commit(marks=(mark,), lifetime=life))


def _prove_end(
    request: LaneRequest,
    series: SeriesStore,
    journal: Journal,
    empty: Span,
    coverage: Coverage,
    segments: Sequence[Span],
) -> None:
    """Store a proved end: that of the series or, if no bar is from a real market, that of the data.

    Args:
        request, series, journal, segments: See :func:`prove_bounds`.
        empty: Empty span after the last bar.
        coverage: Coverage of the series.
    """
    now_ms, agreeing = series.now_ms(), _agreeing_vendors(coverage, empty)
    is_long = now_ms - empty.start >= _LONGEST_HALT_MS
    if not is_long or not agreeing or any(u.span.overlaps(empty) for u in journal.unfilled):
        return
    following = request.grid.next_open(empty.end)
    reaches_now = settles_at(following, request.grid, request.settle_ms) > now_ms
    suppliers = {entry.vendor for entry in coverage.sources if entry.state in WITH_BARS}
    own = {c.name for c in request.route.candidates if c.capabilities is None}
    of_market = {name for name in suppliers - own if is_of_market(name)}
    if of_market:
        at, proof = empty.start, ""
        is_proved = reaches_now and empty.end - empty.start >= _LONGEST_HALT_MS
        proving = of_market & agreeing
        is_proved &= bool(proving) and not _are_silent(proving, series, at)
        # An answer may be cut off after its last bar, and long bars do not show the latest days.
        is_vague = request.grid.timeframe.longest_ms > DAY_MS
        is_vague |= any(segment.start < at < segment.end for segment in segments)
        names = proving - journal.excluded.keys()  # the others no longer recognize the symbol
        if is_proved and is_vague and names:
            day = day_ms(date_of(at)) + DAY_MS
            # This machine's clock may be behind.
            latest = Span(now_ms - _LONGEST_HALT_MS, now_ms + _LONGEST_HALT_MS)
            days = [Span(at, at + _LONGEST_HALT_MS), latest]
            is_proved = bool(_without_bars(request, series, Span(at, day), days, names))
    else:
        last = series.view().last
        at, proof = empty.start if last is None else last + 1, DATA
        is_proved = reaches_now or _data_end(request, series, Span(empty.end, now_ms))
    if not is_proved:
        return
    before, expires = series.lifetime().delisted, end_due(empty.start, now_ms)
    life = Lifetime(delisted=Bound(at, ",".join(sorted(agreeing)), now_ms, expires, proof))
    # Said once, and not each time that the end is checked.
    if not proof and (before is None or before.at != at):
        journal.problems += life.ends(request.grid.timeframe)
    series.commit(Commit(lifetime=life))


def _find_data_end(request: LaneRequest, series: SeriesStore, before_ms: int) -> None:
    """Note where the bars in a user's files end, if all of them are before ``before_ms``.

    None of these bars is stored yet.
    """
    candidate, now_ms = next(iter(request.route.candidates), None), series.now_ms()
    if candidate is None or not is_free(candidate.name):
        return
    span = Span(day_ms(_EARLIEST), before_ms)
    try:
        query = FetchQuery(request.query.instrument, request.grid.timeframe, span, now_ms)
        last = int(candidate.fetch(query).table.within(span).stamps[-1])
    except (*FAILOVER_ERRORS, IndexError):
        return
    if now_ms - last >= _LONGEST_HALT_MS and _data_end(request, series, Span(last + 1, now_ms)):
        end = Bound(last + 1, candidate.name, now_ms, end_due(last, now_ms), DATA)
        series.commit(Commit(lifetime=Lifetime(delisted=end)))


def _are_silent(vendors: Set[str], series: SeriesStore, since_ms: int) -> bool:
    """Return whether vendors seem to have stopped sending any bars, not only those of one series.

    That is so if none of their other series has newer bars, and two or more end at the same time.
    """
    ends: list[int] = []
    for view in series.beside():
        if view.last is not None and any(s.vendor in vendors for s in view.coverage.sources):
            if view.last >= since_ms:
                return False
            ends.append(view.last)
    return sum(since_ms - last < _SAME_TIME_MS for last in ends) >= _MANY


def _data_end(request: LaneRequest, series: SeriesStore, later: Span) -> bool:
    """Return whether files or samples have no bars in ``later``; looking it up costs no request."""
    (candidate, *others), now_ms = request.route.candidates, series.now_ms()
    if others or not (is_free(candidate.name) or is_sample(candidate.name)):
        return False
    try:
        page = FetchQuery(request.query.instrument, request.grid.timeframe, later, now_ms)
        return _is_empty(candidate, page)
    except CapabilityError:  # a sample states its range
        return True
    except FAILOVER_ERRORS:  # a recording, for example, may lack this request
        return False
    finally:
        series.end_phase()


def _without_bars(
    request: LaneRequest, series: SeriesStore, near: Span, days: Sequence[Span], names: Set[str]
) -> set[str]:
    """Return the vendors among ``names`` that report no bars for several spans.

    If one of them has such bars, the result is empty: the span beside them is then neither before a
    listing nor after an end.

    Args:
        request, series: See :func:`prove_bounds`.
        near: Part beside an empty span, for which bars of the request's own timeframe are requested:
            daily bars of other days would not show a bar on the same day.
        days: The other parts, for which daily bars are requested if the vendor has them.
        names: Names of the vendors to query.
    """
    agreeing: set[str] = set()
    instrument, now_ms = request.query.instrument, series.now_ms()
    own, day = request.grid.timeframe, Timeframe.parse("1d")
    for candidate in request.route.candidates:
        is_able = candidate.name in names and candidate.capabilities is not None
        if not is_able or candidate.refusal(instrument, own):
            continue
        parts = [(own, near), *((day, span) for span in days)]
        if own == day or candidate.refusal(instrument, day):
            parts = [(own, span) for span in coalesce([near, *days])]
        pages = [FetchQuery(instrument, timeframe, span, now_ms) for timeframe, span in parts]
        series.end_phase()
        try:
            if not all(_is_empty(candidate, page) for page in pages):
                return set()
        except FAILOVER_ERRORS as error:
            request.log.info(
                "%s did not report whether %s was traded: %s", candidate.name, request.query, error
            )
        else:
            agreeing.add(candidate.name)
    return agreeing


def _before_first_bar(coverage: Coverage) -> Span | None:
    """Return the empty span directly before the first bars, or None if there is none without proof."""
    position = next((i for i, entry in enumerate(coverage) if entry.state in WITH_BARS), 0)
    start = end = coverage[position].span.start if coverage else 0
    for entry in reversed(coverage[:position]):
        if entry.span.end != start or entry.reason == BEFORE_FIRST:
            break
        start = entry.span.start
    return Span(start, end) if start < end else None


def _after_last_bar(coverage: Coverage) -> Span | None:
    """Return the empty span directly after the last bars, or None."""
    count = next((n for n, entry in enumerate(reversed(coverage)) if entry.state in WITH_BARS), 0)
    start = end = coverage[-count].span.start if count else 0
    for entry in coverage[-count:] if count else ():
        if entry.span.start != end:
            break
        end = entry.span.end
    return Span(start, end) if start < end else None


def _agreeing_vendors(coverage: Coverage, empty: Span) -> set[str]:
    """Return the vendors that reported every expected bar of ``empty`` as missing."""
    expected = [entry for entry in coverage.within(empty) if entry.reason != CLOSED]
    if any(entry.reason not in PLAINLY_NONE for entry in expected):
        return set()  # one of the vendors had bars that did not fit
    vendors = [set(entry.vendor.split(",")) - {""} for entry in expected]
    return set.intersection(*vendors) if vendors else set()


def _is_empty(candidate: Candidate, page: FetchQuery) -> bool:
    """Return whether a vendor responds that it has no bars.

    Raises:
        ProviderError, ConfigError: The vendor did not answer.
    """
    try:
        return not len(candidate.fetch(page).table.within(page.span))
    except NoDataError:
        return True
