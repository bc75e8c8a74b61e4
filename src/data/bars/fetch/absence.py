"""The consequences of vendors having nothing: empty spans, doubted bars, a listing, an end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

from ...cache.store import Commit
from ...calendars.finality import first_unsettled, settles_at
from ...errors import (
    FAILOVER_ERRORS,
    DataError,
    NoDataError,
    SpliceConflictError,
    UnsupportedError,
    by_vendor,
)
from ...model.capabilities import FetchQuery
from ...model.coverage import PLAINLY_NONE, Coverage, Covered, VendorDay
from ...model.instant import DAY_MS, date_of, day_ms
from ...model.kind import Basis
from ...model.lifetime import PAGES, Bound, Lifetime
from ...model.span import Span, gaps, subtract
from ...model.timeframe import Timeframe
from ..answer.answer import Unfilled
from ..ingest.commit import CommitContext
from ..selection.candidates import Candidate
from ..series import Journal, LaneRequest, SeriesStore, is_outage
from ..validity import (
    BEFORE_FIRST,
    CLOSED,
    LOST,
    NO_BAR,
    PROVING,
    UNVOUCHED_MS,
)

# Nothing halts for longer than this and comes back; and this far back a vendor is asked for days.
_LONGEST_HALT_MS = 45 * DAY_MS


def record_absence(
    request: LaneRequest,
    series: SeriesStore,
    vendor_days: Sequence[VendorDay],
    lacking: Sequence[Span],
    errors: tuple[DataError, ...],
) -> list[Unfilled]:
    """Store what all vendors say is empty, and return what a vendor failed at.

    Args:
        request: what is asked of the lane.
        series: where it is stored.
        vendor_days: sessions that vendors lack for most of their symbols.
        lacking: stretches that no vendor of the lane supplied, ascending.
        errors: what came of each vendor, in order.
    """
    if not lacking:
        return []
    failures = [e for e in errors if not isinstance(e, NoDataError)]
    if failures:
        reasons = dict.fromkeys(by_vendor(e.provider or "vendor", str(e)) for e in failures)
        served = [e for e in failures if not isinstance(e, UnsupportedError)]
        is_noted = all(isinstance(e, SpliceConflictError) for e in served)
        reason, is_out = "; ".join(reasons), is_outage(errors)
        _note_refused(series, lacking, failures)
        return [Unfilled(span, reason, bool(served), is_out, is_noted) for span in lacking]
    times = [e.server_now_ms for e in errors if isinstance(e, NoDataError)]
    dates = [at for at in times if at is not None]
    now = min([series.now_ms(), *dates])
    names = {e.provider or "" for e in errors} - {""}
    vendor, parts = ",".join(sorted(names)), series.coverage().within_each(lacking)
    context = CommitContext(
        request.grid,
        Basis(),
        now,
        request.expiry,
        request.settle_ms,
        vendor_days=vendor_days,
        last_ms=series.view().last,
    )
    marks = [
        mark
        for span, inside in zip(lacking, parts, strict=True)
        for mark in _none(request, series, span, inside, names, vendor, context)
    ]
    if not dates:
        marks = [_unvouched(mark, now) for mark in marks]
    if marks:
        series.commit(Commit(marks=tuple(marks)))
    return []


def _none(
    request: LaneRequest,
    series: SeriesStore,
    segment: Span,
    coverage: Coverage,
    names: Set[str],
    vendor: str,
    context: CommitContext,
) -> Iterator[Covered]:
    """Yield the marks for a segment in which none of ``names`` has bars; ``vendor`` joins the names."""
    now, late = context.now_ms, None
    # An empty answer is believed for nothing that has not settled.
    if not context.is_settled(segment):
        opens = request.grid.opens(segment)
        late = first_unsettled(opens, request.grid, request.settle_ms, now)
    answered = segment if late is None else Span(segment.start, late)
    parts = coverage if answered == segment else coverage.within(answered)
    standing = [c for c in parts if c.state != "provisional" and c.stands(now)]
    # What one vendor answered a moment ago has now been answered by all of them.
    for part in standing:
        if (
            part.vendor != vendor
            and part.reason.startswith(NO_BAR)
            and set(part.vendor.split(",")) < names
        ):
            yield part.having(vendor=vendor)
    for span in gaps(answered, [part.span for part in standing]):
        yield from _nothing(request, series, span, parts.within(span), vendor, context)


def _nothing(
    request: LaneRequest,
    series: SeriesStore,
    span: Span,
    coverage: Coverage,
    vendor: str,
    context: CommitContext,
) -> Iterator[Covered]:
    """Yield what a "nothing there" means: stored bars stay and are doubted, the rest is empty."""
    now, grid = context.now_ms, request.grid
    spans = [part.span for part in coverage]
    counts = series.read(span)[0].counts(spans) if spans else []
    stored = [kept for kept, rows in zip(spans, counts, strict=True) if rows]
    for kept in stored:
        expires = context.expires(kept, coverage)
        yield Covered(kept, "suspect", vendor, fetched_at=now, reason=LOST, expires=expires)
    for empty in subtract([span], stored):
        if len(grid.required(empty)):
            parts = context.nothings(empty, coverage)
            marks = [(part, grid.no_bar(part), expires) for part, expires in parts]
        else:
            marks = [(empty, CLOSED, now + context.expiry.old_ms)]
        for part, reason, expires in marks:
            yield Covered(part, "empty", vendor, fetched_at=now, reason=reason, expires=expires)


def _note_refused(
    series: SeriesStore, lacking: Sequence[Span], failures: Sequence[DataError]
) -> None:
    """Write down that bars which one vendor lacks were had from others, and did not fit."""
    refused = [e for e in failures if isinstance(e, SpliceConflictError)]
    reasons = [str(e.args[0]) for e in refused]
    names = {e.provider or "" for e in refused} - {""}
    coverage = series.coverage() if reasons else Coverage()
    empty = [part for span in lacking for part in coverage.within(span)]
    marks = tuple(
        replace(
            part,
            # They have been asked, too.
            vendor=",".join(sorted({*part.vendor.split(","), *names} - {""})),
            reason="; ".join([NO_BAR, *dict.fromkeys(reasons)]),
        )
        for part in empty
        if part.state == "empty" and part.reason.startswith(NO_BAR)
    )
    if marks:
        series.commit(Commit(marks=marks))


def _unvouched(mark: Covered, now_ms: int) -> Covered:
    """Return a nothing of the last day with a short life: our own clock alone says it is past."""
    if mark.expires is None or mark.span.end <= now_ms - DAY_MS:
        return mark
    return replace(mark, expires=min(mark.expires, now_ms + UNVOUCHED_MS))


# --- the time before a listing and after the end


def prove_listing(
    request: LaneRequest, series: SeriesStore, journal: Journal, segments: Sequence[Span]
) -> None:
    """Look for proof that the nothing before the first bar is the time before a listing.

    Without proof it might be an outage at the start of what was asked, or a history that its vendor
    has cut, and a hole is never called harmless on a guess. Proof is a listing date that a vendor
    tells, or the empty pages of two vendors: for longer than any halt lasts, or for what was asked
    and for the days before it. One vendor's "nothing there" alone proves nothing.

    The nothing behind the last bar is the end of a series where it is longer than any halt and
    reaches up to now: what lies behind an outage of long ago was merely not asked for yet. Bars may
    come all the same one day: it is asked again the sooner the shorter it is.

    Args:
        request: what is asked of the lane.
        series: where it is stored.
        journal: what was tried.
        segments: what was asked for just now; where it left no nothing, nothing is looked for.
    """
    coverage = series.coverage()
    nothing, behind = _before_first_bar(coverage), _behind_last_bar(coverage)
    if nothing is not None and any(nothing.overlaps(s) for s in segments):
        _prove_start(request, series, journal, nothing, coverage)
    if behind is not None and any(behind.overlaps(s) for s in segments):
        _prove_end(request, series, journal, behind, coverage)


def _prove_start(
    request: LaneRequest,
    series: SeriesStore,
    journal: Journal,
    nothing: Span,
    coverage: Coverage,
) -> None:
    listed = series.lifetime().listed
    if listed is not None and nothing.end <= listed.at:
        return
    agreeing = _agreeing(coverage, nothing)
    if nothing.end - nothing.start < _LONGEST_HALT_MS and len(agreeing) >= PROVING:
        names = agreeing - journal.excluded.keys()
        agreeing &= _without_bars_before(request, series, nothing, names)
    if len(agreeing) < PROVING:
        return
    now, vendors = series.now_ms(), ",".join(sorted(agreeing))
    expires = now + request.expiry.old_ms
    mark = Covered(nothing, "empty", vendors, fetched_at=now, reason=BEFORE_FIRST, expires=expires)
    life = Lifetime(listed=Bound(nothing.end, vendors, now, expires, PAGES))
    series.commit(Commit(marks=(mark,), lifetime=life))


def _prove_end(
    request: LaneRequest,
    series: SeriesStore,
    journal: Journal,
    nothing: Span,
    coverage: Coverage,
) -> None:
    length = nothing.end - nothing.start
    if length < _LONGEST_HALT_MS or any(u.span.overlaps(nothing) for u in journal.unfilled):
        return
    now = series.now_ms()
    following = request.grid.next_open(nothing.end)
    if settles_at(following, request.grid, request.settle_ms) <= now:
        return  # it does not reach up to now
    expires = request.expiry.of_end(nothing.start, now)
    end = Bound(nothing.start, _vendors(coverage, nothing), now, expires)
    series.commit(Commit(lifetime=Lifetime(delisted=end)))


def _without_bars_before(
    request: LaneRequest, series: SeriesStore, nothing: Span, names: Set[str]
) -> set[str]:
    """Return which of the vendors ``names`` say that there is no bar before ``nothing``.

    None of them counts where one has bars.
    """
    agreeing: set[str] = set()
    pages = _pages_before(request, nothing, series.now_ms())
    for candidate in request.lane.candidates:
        if candidate.name not in names:
            continue
        if any(not _can_tell(candidate, page) for page in pages):
            continue
        series.end_phase()
        try:
            if not all(_is_empty(candidate, page) for page in pages):
                return set()
        except FAILOVER_ERRORS as error:
            request.log.info(
                "%s did not say whether %s was listed: %s", candidate.name, request.query, error
            )
        else:
            agreeing.add(candidate.name)
    return agreeing


def _pages_before(request: LaneRequest, nothing: Span, now_ms: int) -> list[FetchQuery]:
    """Return what to ask: the bars themselves of the day before, and days before that.

    A bar earlier on the very day is in no page of days before it.
    """
    first = day_ms(date_of(nothing.start)) - DAY_MS
    spans = {
        request.grid.timeframe: Span(first, nothing.start),
        Timeframe.parse("1d"): Span(first - _LONGEST_HALT_MS, first),
    }
    instrument = request.query.instrument
    return [FetchQuery(instrument, step, span, now_ms) for step, span in spans.items()]


def _before_first_bar(coverage: Coverage) -> Span | None:
    """Return the unproven nothing that ends where the first bars begin, if there is one."""
    place = next((i for i, part in enumerate(coverage) if part.state != "empty"), 0)
    start = end = coverage[place].span.start if coverage else 0
    for part in reversed(coverage[:place]):
        if part.span.end != start or part.reason == BEFORE_FIRST:
            break
        start = part.span.start
    return Span(start, end) if start < end else None


def _behind_last_bar(coverage: Coverage) -> Span | None:
    """Return the nothing that begins where the last bars end, if there is one."""
    behind = next((n for n, part in enumerate(reversed(coverage)) if part.state != "empty"), 0)
    start = end = coverage[-behind].span.start if behind else 0
    for part in coverage[-behind:] if behind else ():
        if part.span.start != end:
            break
        end = part.span.end
    return Span(start, end) if start < end else None


def _vendors(coverage: Coverage, nothing: Span) -> str:
    """Return the vendors that said that there is nothing."""
    names_of_parts = (part.vendor.split(",") for part in coverage.within(nothing))
    return ",".join(sorted({name for names in names_of_parts for name in names if name}))


def _agreeing(coverage: Coverage, nothing: Span) -> set[str]:
    """Return the vendors that said of every expected bar of ``nothing`` that it is not there."""
    expected = [part for part in coverage.within(nothing) if part.reason != CLOSED]
    if any(part.reason not in PLAINLY_NONE for part in expected):
        return set()  # one of them had bars, which did not fit
    vendors = [set(part.vendor.split(",")) - {""} for part in expected]
    return set.intersection(*vendors) if vendors else set()


def _is_empty(candidate: Candidate, page: FetchQuery) -> bool:
    """Tell whether a vendor positively has no bar.

    Raises:
        ProviderError, ConfigError: it did not answer.
    """
    try:
        return not len(candidate.fetch(page).table.within(page.span))
    except NoDataError:
        return True


def _can_tell(candidate: Candidate, page: FetchQuery) -> bool:
    return candidate.capabilities is not None and not candidate.refusal(
        page.instrument, page.timeframe
    )
