"""Proves the beginning or the end of a series from spans for which vendors have no bars."""

from __future__ import annotations

from collections.abc import Sequence, Set

from ....errors import FAILOVER_ERRORS, CapabilityError, NoDataError
from ...cache.store import Commit
from ...calendars.finality import settles_at
from ...model.request.capabilities import FetchQuery
from ...model.stored.coverage import WITH_BARS, Coverage, Covered
from ...model.stored.lifetime import DATA, PAGES, Bound, Lifetime
from ...model.stored.reasons import BEFORE_FIRST, CLOSED, PLAINLY_NONE
from ...model.time.instant import DAY_MS, NEVER_MS, date_of, day_ms
from ...model.time.span import Span, coalesce
from ...model.time.timeframe import Timeframe
from ...registry import is_of_market, is_sample, is_whole_sample
from ..selection.candidates import Candidate
from ..selection.source_check import span_of_rows
from ..series import Journal, LaneRequest, SeriesStore
from ..validity import LONGEST_MS, end_due
from .plan import cap_of, is_of_one_file

# No temporary halt lasts longer than this; also how far back a vendor is queried for daily bars.
LONGEST_HALT_MS = 45 * DAY_MS
# Number of vendors that must report that no bars exist before the listing.
PROVING = 2
# If so many other series of a vendor end within this time of each other, the vendor is at fault.
_MANY, _SAME_TIME_MS = 2, 7 * DAY_MS


def prove_bounds(
    request: LaneRequest, series: SeriesStore, journal: Journal, segments: Sequence[Span]
) -> None:
    """Record the beginning or the end of a series if the answers to a request prove it.

    An empty span before the first bar may be an outage, or a history that the vendor has truncated.
    One after the last bar may follow an answer that was cut off. A gap is never called harmless on a
    guess, so only these conclusions are drawn, in this order, from spans that were just requested:

    1. Nothing was traded before the first bar (:func:`_proved_listing`).
    2. A user's file, or a sample, ends with its last bar (:func:`_end_of_files`).
    3. After the last bar, the series has ended, or only the data has (:func:`_proved_end`).

    Each function states what it costs. A query is one request, unless the vendor sends such bars in
    several pages. If no empty span follows from the request, there are none.

    Args:
        request: Request to the lane.
        series: Store of the series.
        journal: Record of the attempts.
        segments: Spans just requested.
    """
    coverage = series.coverage()
    before_first, after_last = _before_first_bar(coverage), _after_last_bar(coverage)
    if before_first is not None and any(before_first.overlaps(s) for s in segments):
        listed = _proved_listing(request, series, journal, before_first, coverage)
        if listed is not None:
            empty = Covered(before_first, "empty", listed.source, fetched_at=listed.learned_at)
            mark = empty.having(reason=BEFORE_FIRST, expires=listed.expires)
            series.commit(Commit(marks=(mark,), lifetime=Lifetime(listed=listed)))
    end = _end_of_files(request, series)
    if end is None and after_last is not None and any(after_last.overlaps(s) for s in segments):
        end = _proved_end(request, series, journal, after_last, coverage, segments)
    if end is not None:
        life, before = Lifetime(delisted=end), series.lifetime().delisted
        # Reported once, and not each time that the end is checked.
        if end.proof != DATA and (before is None or before.at != end.at):
            journal.problems += life.ends(request.grid.timeframe)
        series.commit(Commit(lifetime=life))


# --- 1. the listing


def _proved_listing(
    request: LaneRequest, series: SeriesStore, journal: Journal, empty: Span, coverage: Coverage
) -> Bound | None:
    """Return the listing at the end of ``empty`` if two vendors agree on it; otherwise None.

    Both must have reported the whole empty span before the first bar as empty. If it is shorter than
    the longest halt, each vendor that did so is queried again, for the 46 days before it. If one of
    them has bars there, nothing is proved. A listing date that a vendor reported needs no proof.

    Costs one or two queries for each of these vendors; none if the span is long enough, or if fewer
    than two vendors agree.
    """
    known, agreeing = series.lifetime().listed, _agreeing_vendors(coverage, empty)
    if known is not None and empty.end <= known.at:
        return None
    if empty.end - empty.start < LONGEST_HALT_MS and len(agreeing) >= PROVING:
        first = day_ms(date_of(empty.start)) - DAY_MS
        near, days = Span(first, empty.start), Span(first - LONGEST_HALT_MS, first)
        names = agreeing - journal.excluded.keys()
        agreeing = _vendors_without_bars(request, series, near, [days], names)
    if len(agreeing) < PROVING:
        return None
    now_ms = series.now_ms()
    return Bound(empty.end, ",".join(sorted(agreeing)), now_ms, now_ms + LONGEST_MS, PAGES)


# --- 2. the end of the user's files, or of a sample


def note_end_of_sample(request: LaneRequest, series: SeriesStore) -> None:
    """Record the end of a sample, from which a number of bars is counted back.

    What was requested before must not matter, so the sample is read unless its end is known.
    """
    if request.query.offline or series.lifetime().delisted is not None:
        return
    if (end := _end_of_files(request, series)) is not None:
        series.commit(Commit(lifetime=Lifetime(delisted=end)))


def _end_of_files(request: LaneRequest, series: SeriesStore) -> Bound | None:
    """Return the end of the user's file, or of a sample, if it is known that no later bar follows.

    The lane must be only for this source, and a later bar must have closed; otherwise, the result is
    None. The end is that of one version of the file, so it does not expire. Reading costs no request.
    """
    candidates, now_ms = request.route.candidates, series.now_ms()
    is_of_sample = len(candidates) == 1 and is_whole_sample(candidates[0].name)
    if not (is_of_sample or is_of_one_file(request)):
        return None
    try:
        series_of_file = request.query.instrument, request.grid.timeframe
        end = span_of_rows(candidates[0], *series_of_file, now_ms).end
    except FAILOVER_ERRORS:
        return None
    if not end or request.grid.next_open(end) >= cap_of(request, series):
        return None
    return Bound(end, candidates[0].name, now_ms, NEVER_MS, DATA)


# --- 3. the end of the series, or of its data


def _proved_end(
    request: LaneRequest,
    series: SeriesStore,
    journal: Journal,
    empty: Span,
    coverage: Coverage,
    segments: Sequence[Span],
) -> Bound | None:
    """Return the end of the series or, if no bar is from a real market, of its data; otherwise None.

    In any case, the empty span after the last bar must have begun longer ago than the longest halt,
    at least one vendor must have reported all of it as empty, and no vendor may have failed for any
    part of it. Then:

    1. If vendors of real markets have supplied bars, only they prove an end, which is that of the
       series: the span must reach up to now, because later bars may just not have been requested
       yet, and :func:`_has_ended` must hold.
    2. Otherwise, all bars are from elsewhere, such as a user's files, and only the data ends. If the
       span does not directly follow the last bar, or does not reach up to now, the files must have
       no bars in the rest of that time either (:func:`_files_have_none`).

    Bars may resume one day, so the end is checked again; the shorter the span is, the sooner.

    Costs the queries of :func:`_has_ended`; none in the second case.
    """
    now_ms, agreeing = series.now_ms(), _agreeing_vendors(coverage, empty)
    is_long = now_ms - empty.start - _outage_ms(series) >= LONGEST_HALT_MS
    if not is_long or not agreeing or any(u.span.overlaps(empty) for u in journal.unfilled):
        return None
    following = request.grid.next_open(empty.end)
    reaches_now = settles_at(following, request.grid, request.settle_ms) > now_ms
    suppliers = {entry.vendor for entry in coverage.sources if entry.state in WITH_BARS}
    own = {c.name for c in request.route.candidates if c.capabilities is None}
    of_market = {name for name in suppliers - own if is_of_market(name)}
    if of_market:
        at, proof, proving = empty.start, "", of_market & agreeing
        is_proved = reaches_now and _has_ended(request, series, journal, empty, proving, segments)
    else:
        last = series.view().last
        at, proof = empty.start if last is None else last + 1, DATA
        follows = len(coverage.touching(Span(empty.start - 1, empty.start))) > 0
        unread = Span(empty.end if follows else at, now_ms)
        is_proved = (reaches_now and follows) or _files_have_none(request, series, unread)
    if not is_proved:
        return None
    return Bound(at, ",".join(sorted(agreeing)), now_ms, end_due(empty.start, now_ms), proof)


def _has_ended(
    request: LaneRequest,
    series: SeriesStore,
    journal: Journal,
    empty: Span,
    proving: Set[str],
    segments: Sequence[Span],
) -> bool:
    """Return whether vendors of real markets that had bars before ``empty`` prove that none follow.

    These vendors (``proving``) reported all of the span as empty. This proves nothing if the span
    is shorter than the longest halt, or if they seem to send no bars of any series any more
    (:func:`_have_stopped`).

    The answer may have been cut off after the last bar if it contained that bar, and bars longer
    than a day do not show whether there are still daily ones. In both cases, the vendors are
    queried again, for the day and the 45 days after the last bar and for the latest days: one of
    them must report that it has no bars there, and none may have any. Vendors that no longer
    recognize the symbol are not queried; if none does, nothing more is needed.

    Costs one to three queries for each vendor in these two cases; otherwise none.
    """
    at, now_ms = empty.start, series.now_ms()
    is_short = empty.end - at - _outage_ms(series) < LONGEST_HALT_MS
    if not proving or is_short or _have_stopped(proving, series, at):
        return False
    may_be_cut_off = any(segment.start < at < segment.end for segment in segments)
    is_vague = may_be_cut_off or request.grid.timeframe.longest_ms > DAY_MS
    names = proving - journal.excluded.keys()
    if not is_vague or not names:
        return True
    near, days = Span(at, day_ms(date_of(at)) + DAY_MS), Span(at, at + LONGEST_HALT_MS)
    # This machine's clock may be behind.
    latest = Span(now_ms - LONGEST_HALT_MS, now_ms + LONGEST_HALT_MS)
    return bool(_vendors_without_bars(request, series, near, [days, latest], names))


def _outage_ms(series: SeriesStore) -> int:
    """Return how long it counted as an outage that vendors do not know the symbol.

    These days do not count as days without bars.
    """
    unknown = series.lifetime().unknown
    return unknown.learned_at - unknown.at if unknown and unknown.source else 0


def _have_stopped(vendors: Set[str], series: SeriesStore, since_ms: int) -> bool:
    """Return whether vendors seem to have stopped sending any bars, not only those of one series.

    That is so if none of their other stored series has bars from ``since_ms`` on, and two or more
    of these end in the week before. This sends no request.
    """
    ends: list[int] = []
    for view in series.beside():
        if view.last is not None and any(s.vendor in vendors for s in view.coverage.sources):
            if view.last >= since_ms:
                return False
            ends.append(view.last)
    return sum(since_ms - last < _SAME_TIME_MS for last in ends) >= _MANY


def _files_have_none(request: LaneRequest, series: SeriesStore, later: Span) -> bool:
    """Return whether the lane is only for files or samples that have no bars in ``later``.

    Reading them costs no request.
    """
    (candidate, *others), now_ms = request.route.candidates, series.now_ms()
    if others or not is_sample(candidate.name):
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


# --- what vendors reported, and what they report when they are queried again


def _before_first_bar(coverage: Coverage) -> Span | None:
    """Return the empty span just before the first bars, without any part that is proved, or None."""
    starts = [entry.span.start for entry in coverage if entry.state in WITH_BARS]
    before = (entry for entry in coverage if starts and entry.span.end <= starts[0])
    unproved = coalesce(entry.span for entry in before if entry.reason != BEFORE_FIRST)
    return next((span for span in unproved if span.end == starts[0]), None)


def _after_last_bar(coverage: Coverage) -> Span | None:
    """Return the first empty span after the last bars, or None."""
    ends = [entry.span.end for entry in coverage if entry.state in WITH_BARS]
    later = coalesce(entry.span for entry in coverage if ends and entry.span.start >= ends[-1])
    return later[0] if later else None


def _agreeing_vendors(coverage: Coverage, empty: Span) -> set[str]:
    """Return the vendors that reported every expected bar of ``empty`` as missing."""
    expected = [entry for entry in coverage.within(empty) if entry.reason != CLOSED]
    if any(entry.reason not in PLAINLY_NONE for entry in expected):
        return set()  # one of the vendors had bars that did not fit
    vendors = [set(entry.vendor.split(",")) - {""} for entry in expected]
    return set.intersection(*vendors) if vendors else set()


def _vendors_without_bars(
    request: LaneRequest, series: SeriesStore, near: Span, days: Sequence[Span], names: Set[str]
) -> set[str]:
    """Query vendors for several spans; return those of them that report no bars for all of these.

    If a vendor has bars in a span, the result is empty, and no other vendor is queried. A vendor
    that fails is left out of the result.

    Costs one query per span and vendor. Spans for which the same timeframe is requested share a
    query if they adjoin or overlap.

    Args:
        request, series: See :func:`prove_bounds`.
        near: Span for which bars of the request's own timeframe are requested, because it begins or
            ends during a day, next to an empty span.
        days: Other spans, for which daily bars are requested if the vendor has them.
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


def _is_empty(candidate: Candidate, page: FetchQuery) -> bool:
    """Return whether a vendor responds that it has no bars.

    Raises:
        ProviderError, ConfigError: The vendor did not answer.
    """
    try:
        return not len(candidate.fetch(page).table.within(page.span))
    except NoDataError:
        return True
