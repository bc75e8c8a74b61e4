"""Compare the cache with the vendors that supplied it, or two vendors with each other.

Vendors are queried again, and nothing that they send is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from ...core.bars.answer.reader import FetchOutcome, Reader
from ...core.bars.client import Wishes
from ...core.bars.ingest.commit import basis_of
from ...core.bars.selection.candidates import Candidate, candidates_of
from ...core.cache.actions import ActionBook, by_date
from ...core.cache.legacy.reader import SAMPLE_LANE
from ...core.cache.store import SeriesView
from ...core.calendars.calendar import (
    first_unclosed,
    opened_and_coming,
    price_calendar,
)
from ...core.calendars.grid import BarGrid, grid_for
from ...core.calendars.written_times import FIRST_DAY
from ...core.interface import recorded_call, run_call, seconds_of
from ...core.model.identity.kind import ADJUSTMENTS, Adjustment, Basis, Kind
from ...core.model.identity.series import SeriesKey
from ...core.model.market.actions import Action
from ...core.model.market.bars import BarTable, concat
from ...core.model.request.capabilities import Fetched, FetchQuery
from ...core.model.request.query import BarsQuery
from ...core.model.stored.coverage import WITH_BARS, Coverage, Covered
from ...core.model.stored.reasons import CLOSED
from ...core.model.time.instant import DAY_MS, date_of, day_ms, from_ms, iso
from ...core.model.time.span import Span, coalesce
from ...core.prices.adjustment import BasisPart, rebase
from ...core.prices.differences import (
    ComparisonTerms,
    Difference,
    RowComparison,
    compare,
    differing_actions,
)
from ...core.prices.quality import check
from ...core.prices.splice import AGGREGATES, ONE_MARKET
from ...core.wiring import Services, build
from ...errors import (
    BadRangeError,
    CacheError,
    CapabilityError,
    CorruptEntryError,
    DataError,
    KindMismatchError,
    NoDataError,
    QueryError,
    RefusedError,
    UnknownProviderError,
    UnsupportedError,
)

__all__ = ["VerifyQuestion", "verify", "verify_with"]

USUAL_BARS = 500
CACHE = "cache"
_BETWEEN_VENDORS = {
    "unit x100": "pin one of the two with --provider: they use different units",
    "split": (
        "one of the two has not applied the split yet: pin the other, or try again in a few days"
    ),
    "dividend adjustment": "one of the two adjusts for dividends: compare their raw prices",
    "actions": "check a third vendor, or the company's own notice",
    "small difference": "nothing: two sources for one market count different trades",
    "missing here": "the second vendor can fill the gap through failover",
    "missing there": "the first vendor has more bars: put it first in the rules",
}
_A_THIRD = "verify both against a third vendor"
UNTOLD = "later splits and dividends are not confirmed: {} does not report any"
NO_VOLUMES = "volumes are not compared: they count different trades"
_NO_QUESTION = "nothing: under the current rules, no request returns these bars"
_KEPT = "nothing: the cache keeps bars that the vendor no longer has"


@dataclass(frozen=True)
class Comparison:
    """The result of comparing bars from two sides: the cache and a vendor, or two vendors.

    Attributes:
        ours, theirs: Names of the sides: ``cache`` or a vendor, and the vendor that was queried.
        lane: Name of the series' folder in the cache; empty if two vendors are compared.
        span: Range of the compared bars, from the first timestamp to just after the last one.
        compared: Number of compared bars and their differences; None if nothing could be compared.
        basis: Basis (price adjustment) on both sides; it has no date if the instrument cannot have
            splits and dividends.
        error: Reason why nothing could be compared.
        remarks: Limitations of the comparison, one sentence each.
        requests: Number of requests sent.
        provider: Vendor that a query must name to be answered from this lane; empty if no vendor
            need be named. None if the current rules never answer a query from this lane.
        is_partial: Whether a vendor no longer serves the first of the bars, so that only the others
            were compared.
    """

    ours: str
    theirs: str
    lane: str
    span: Span
    compared: RowComparison | None = None
    basis: Basis = Basis()
    error: str = ""
    remarks: tuple[str, ...] = ()
    requests: int = 0
    provider: str | None = ""
    is_partial: bool = False

    @property
    def ok(self) -> bool:
        """Whether all bars were compared, and are equal on both sides."""
        return self.compared is not None and not (self.compared.differences or self.is_partial)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The differences, most serious first."""
        return self.compared.differences if self.compared else ()

    @property
    def equal_share(self) -> float:
        """Fraction of all bars that are equal on both sides; 1 if no bars were compared."""
        if self.compared is None:
            return 0.0
        return self.compared.equal / self.compared.rows if self.compared.rows else 1.0


@dataclass(frozen=True)
class Verification:
    """All comparisons for one series; ``subject`` is the query for its bars."""

    subject: BarsQuery
    comparisons: tuple[Comparison, ...]

    @property
    def ok(self) -> bool:
        """Whether everything could be compared and nothing differs."""
        return all(c.ok for c in self.comparisons)

    def advice(self, comparison: Comparison, difference: Difference) -> str:
        """Return advice on a difference: a command or a sentence."""
        if comparison.ours != CACHE:
            return _BETWEEN_VENDORS.get(difference.cause, _A_THIRD)
        if difference.cause == "missing there":
            return _KEPT
        if comparison.provider is None:
            return _NO_QUESTION
        series, last = f"onetape fetch {self.subject}", difference.last_ms
        if comparison.provider:
            series += f" --provider {comparison.provider}"
        start = f"--start {self._moment(difference.first_ms)}"
        if difference.cause == "stale":
            return f"{series} {start}"
        if self.subject.timeframe.is_intraday:  # two equal instants are not a range
            last += self.subject.timeframe.step_ms or 0
        return f"{series} {start} --end {self._moment(last)} --refresh"

    def _moment(self, ms: int) -> str:
        """Format a timestamp as the start or end of a range on the command line."""
        return iso(ms)[:-1] if self.subject.timeframe.is_intraday else str(date_of(ms))

    def to_json(self) -> dict[str, Any]:
        """Return the verification as a JSON-serializable dictionary."""
        return {
            "symbol": self.subject.instrument.symbol,
            "timeframe": self.subject.timeframe.label,
            "ok": self.ok,
            "comparisons": [self._comparison(c) for c in self.comparisons],
        }

    def _comparison(self, comparison: Comparison) -> dict[str, Any]:
        return {
            "ours": comparison.ours,
            "theirs": comparison.theirs,
            "lane": comparison.lane,
            "start": iso(comparison.span.start),
            "end": iso(comparison.span.end),
            "adjustment": comparison.basis.adjustment,
            "as_of": comparison.basis.as_of.isoformat() if comparison.basis.as_of else None,
            "ok": comparison.ok,
            "rows": comparison.compared.rows if comparison.compared else 0,
            "equal": comparison.compared.equal if comparison.compared else 0,
            "equal_share": round(comparison.equal_share, 6),
            "differences": [
                d.to_json() | {"advice": self.advice(comparison, d)} for d in comparison.differences
            ],
            "error": comparison.error or None,
            "remarks": list(comparison.remarks),
            "requests": comparison.requests,
        }


def kind_remarks(kind: Kind, other_kind: Kind, side: str, rival: str) -> Iterator[str]:
    """Yield a sentence for each difference in kind that prevents the two sides' bars from being equal."""
    for name, (own_value, other_value) in kind.differences(other_kind).items():
        yield f"the bars are of different kinds: {name} {own_value} ({side}), {other_value} ({rival})"


# --- the request ------------------------------------------------------------------------------


@dataclass(frozen=True)
class VerifyQuestion:
    """The arguments of a verification; see :func:`verify`."""

    symbol: str
    timeframe: str
    start: Any = None
    end: Any = None
    provider: str | None = None
    against: str | None = None
    whole: bool = False


def verify(
    symbol: str,
    timeframe: str,
    start: Any = None,
    end: Any = None,
    *,
    provider: str | None = None,
    against: str | None = None,
    whole: bool = False,
    timeout: float | None = None,
    cache_dir: str | Path | None = None,
    config_path: str | Path | None = None,
) -> Verification:
    """Compare cached bars with those that their vendors send now, or compare two vendors; store nothing.

    Args:
        symbol, timeframe: Series to verify; all its lanes in the cache (bars from different
            sources) are compared.
        start, end: Range, see ``get_ohlcv``. Default: the last 500 bars.
        provider: Vendor whose cached bars are compared; with ``against``, the first of the two
            vendors.
        against: Second vendor, to compare two vendors without the cache.
        whole: Whether to compare all cached bars if no start is given.
        timeout: Seconds after which the call stops waiting for vendors; a comparison that is not
            finished by then has an ``error``. None means 30 s for each request, including retries.
        cache_dir, config_path: See ``DataManager``.

    Raises:
        QueryError: An argument is invalid.
        CacheError: No bars are cached.
        ConfigError: The configuration is invalid, or the vendor does not exist.
    """
    seconds = seconds_of(timeout, symbol)
    question = VerifyQuestion(symbol, timeframe, start, end, provider, against, whole)
    services = build(cache_dir, config_path)
    if seconds is None:
        return verify_with(services, question)
    return run_call(services.clock, seconds, verify_with, services, question)


def verify_with(services: Services, question: VerifyQuestion) -> Verification:
    """Compare like :func:`verify`, with existing services; the errors are the same."""
    if question.against is not None:
        return _compare_vendors(services, question)
    start = question.start if question.start is not None else FIRST_DAY
    query = _query(services, question, (start, question.end, None), question.provider)
    most = USUAL_BARS if question.start is None and not question.whole else None
    comparisons = tuple(StoredBars(services, query, most).comparisons())
    if not comparisons:
        from_vendor = f" from {query.provider}" if query.provider else ""
        raise CacheError(
            f"no bars for {query}{from_vendor} are cached in that range",
            symbol=query.instrument.symbol,
            hint="fetch them first, or name two vendors: provider and against",
        )
    return Verification(query, comparisons)


def _query(
    services: Services, question: VerifyQuestion, bounds: tuple[Any, Any, Any], provider: str | None
) -> BarsQuery:
    return services.client.query(
        question.symbol, question.timeframe, *bounds, Wishes(provider=provider)
    )


def _compare_vendors(services: Services, question: VerifyQuestion) -> Verification:
    """Compare the bars that two vendors send now; the cache is neither read nor written."""
    if question.provider is None:
        raise QueryError(
            f"against={question.against!r} needs a second vendor to compare with",
            hint="name it as provider",
        )
    if question.whole:
        raise QueryError("comparing two vendors requires a start date", symbol=question.symbol)
    bounds = (question.start, question.end, None)
    first, second = (
        _query(services, question, bounds, v) for v in (question.provider, question.against)
    )
    name, rival = first.provider or "", second.provider or ""
    if name == rival:
        raise QueryError(
            f"cannot compare {name} with itself; name two different vendors", symbol=question.symbol
        )
    grid = grid_for(first.instrument, first.timeframe)
    refetcher = Refetcher(services, first, grid)
    try:
        goal = Basis("split", refetcher.today())
        ours = refetcher.ask(name, first.span, goal)
        theirs = refetcher.ask(rival, first.span, goal, ours.actions)
    except DataError as error:
        comparison = Comparison(name, rival, "", first.span, error=str(error))
        return Verification(first, (comparison,))
    span, actions = ours.span.clip(theirs.span), [*ours.actions, *theirs.actions]
    terms = terms_between(ours.kind, theirs.kind, actions, adj_close=goal.as_of is not None)
    days = span if ours.tells_actions and theirs.tells_actions else None
    comparison = compare_sides((name, rival), (ours, theirs), terms, [span], goal, days)
    start = max(ours.span.start, theirs.span.start)
    is_partial = len(grid.opens(Span(first.span.start, start))) > 0
    return Verification(first, (replace(comparison, is_partial=is_partial),))


# --- one span fetched again from a vendor, and converted to a basis ----------------------------


@dataclass(frozen=True)
class Side:
    """One side of a comparison: stored bars, or those that a vendor currently sends for one span.

    Attributes:
        span: Requested span, limited to the vendor's history.
        table: Closed bars, converted to the requested basis.
        kind: Kind of the bars.
        actions: Splits and dividends, stored or sent by the vendor.
        tells_actions: Whether splits and dividends were requested, which requires a vendor that
            reports them.
        requests: Number of requests sent.
        remarks: Remarks about omitted data, one sentence each.
    """

    span: Span
    table: BarTable
    kind: Kind
    actions: tuple[Action, ...] = ()
    tells_actions: bool = False
    requests: int = 0
    remarks: tuple[str, ...] = ()


class Refetcher:
    """Queries vendors for one series again. Thread-safe, because it has no mutable state.

    Args:
        services: Services of the installation.
        query: Series to fetch.
        grid: Time grid of the bars.
    """

    def __init__(self, services: Services, query: BarsQuery, grid: BarGrid) -> None:
        self._selector = services.selector
        self._clock = services.clock
        self._query = query
        self._grid = grid

    def today(self) -> date | None:
        """Return the date of the last session that has opened; None if the series is not a stock's."""
        opened = self._last_open(self._clock.now_ms())
        return None if opened is None else date_of(opened)

    def ask(
        self,
        vendor: str,
        span: Span,
        goal: Basis,
        others: Sequence[Action] = (),
        *,
        with_actions: bool = True,
    ) -> Side:
        """Query ``vendor`` for ``span`` and convert its closed bars to the basis ``goal``.

        ``others`` are splits and dividends from other vendors; the vendor's own take precedence. If
        ``with_actions`` is False, only splits and dividends that come with the bars are used.

        Raises:
            UnknownProviderError: The vendor does not exist or cannot be used.
            CapabilityError: The vendor does not serve this series, or its history is too short.
            ProviderError, ConfigError: The vendor returned no bars.
            KindMismatchError: The prices cannot be converted to the basis exactly.
        """
        candidate = self._candidate(vendor)
        now_ms, frame = self._clock.now_ms(), self._query.timeframe
        within = candidate.servable(span, frame, now_ms)
        if within.is_empty:
            raise CapabilityError(
                f"{vendor} does not serve {frame} bars that far back", provider=vendor
            )
        with recorded_call() as call:
            before = call.requests
            fetched = self._fetch(candidate, within, now_ms)
            actions = tuple(fetched.actions or ())
            if with_actions:
                actions = self._actions(candidate, fetched, within, goal)
            requests = max(fetched.requests, call.requests - before)
        checked = check(fetched.table, within, timeframe=frame, now_ms=now_ms)
        answered_at = min(now_ms, fetched.server_now_ms)
        cap_ms = first_unclosed(self._grid.calendar, frame, answered_at, self._grid.anchor)
        closed = checked.good.within(Span(within.start, min(within.end, cap_ms)))
        table = self._rebase(closed, fetched, goal, [*others, *actions])
        notes = []
        if checked.bad:
            notes.append(f"{vendor} sent {len(checked.bad)} row(s) that are not valid bars")
        if within != span:
            notes.append(f"{vendor} no longer has {frame} bars before {date_of(within.start)}")
        has_actions = (
            with_actions and candidate.tells_actions and goal.as_of is not None and len(table) > 0
        )
        return Side(within, table, fetched.kind, actions, has_actions, requests, tuple(notes))

    def actions(self, vendor: str, start: int) -> tuple[Action, ...] | None:
        """Return the splits and dividends that ``vendor`` reports for the days since ``start``.

        The result is None if the vendor never reports any, or refuses the request.

        Raises:
            UnknownProviderError, CapabilityError: See :meth:`ask`.
            ProviderError, ConfigError: The vendor did not answer.
        """
        candidate, now_ms = self._candidate(vendor), self._clock.now_ms()
        if not candidate.tells_actions or self.today() is None:
            return None
        days = Span(day_ms(date_of(start)), now_ms + DAY_MS)
        try:
            actions = candidate.fetch_actions(self._query.instrument, days, now_ms)
        except (RefusedError, UnsupportedError):
            return None
        return tuple({replace(a, fetched_at=a.fetched_at or now_ms): None for a in actions})

    def action_requests(self, vendor: str) -> int:
        """Return the number of requests needed for a vendor's splits and dividends; 0 if it reports none.

        Raises:
            UnknownProviderError, CapabilityError: See :meth:`ask`.
        """
        caps = self._candidate(vendor).capabilities
        has_some = caps is not None and caps.tells_actions and self.today() is not None
        return caps.action_requests if caps is not None and has_some else 0

    def _candidate(self, vendor: str) -> Candidate:
        instrument, frame = self._query.instrument, self._query.timeframe
        if not vendor:
            raise UnknownProviderError("the vendor of these bars is unknown")
        candidate = candidates_of(self._selector, replace(self._query, provider=vendor))[0]
        if refusal := candidate.refusal(instrument, frame):
            raise CapabilityError(f"{vendor} {refusal}", provider=vendor, symbol=instrument.symbol)
        return candidate

    def _fetch(self, candidate: Candidate, span: Span, now: int) -> Fetched:
        """Return the vendor's answer; if the vendor has no data, return an answer with an empty table."""
        instrument, frame = self._query.instrument, self._query.timeframe
        try:
            return candidate.fetch(FetchQuery(instrument, frame, span, now, insist=True))
        except NoDataError:
            basis, kind = Basis(candidate.adjustment), candidate.kind(instrument, frame)
            return Fetched(BarTable.empty(), candidate.name, kind, basis, now)

    def _actions(
        self, candidate: Candidate, fetched: Fetched, span: Span, goal: Basis
    ) -> tuple[Action, ...]:
        """Return the vendor's splits and dividends: up to now if they affect the adjustment."""
        stamp = fetched.server_now_ms
        actions = list(fetched.actions or ())
        caps, instrument = candidate.capabilities, self._query.instrument
        if (
            caps is not None
            and caps.tells_actions
            and goal.as_of is not None
            and len(fetched.table)
        ):
            first = day_ms(date_of(span.start))
            actions += candidate.fetch_actions(instrument, Span(first, stamp + DAY_MS), stamp)
        return tuple({replace(a, fetched_at=a.fetched_at or stamp): None for a in actions})

    def _rebase(
        self, table: BarTable, fetched: Fetched, goal: Basis, actions: Sequence[Action]
    ) -> BarTable:
        """Convert a stock's rows to the price adjustment ``goal``; other rows stay as they are."""
        if goal.as_of is None or not len(table) or fetched.basis.adjustment == "unknown":
            return table
        stamps, opened = table.stamps, self._last_open(fetched.adjusted_at_ms)
        basis = basis_of(fetched, int(stamps[0]), self._query, opened)
        whole = BasisPart(Span(int(stamps[0]), int(stamps[-1]) + 1), basis)
        frame, adjustment = self._query.timeframe, goal.adjustment
        return rebase(
            table,
            [whole],
            by_date(actions, self._query.instrument),
            "split" if adjustment == "unknown" else adjustment,
            as_of=goal.as_of,
            intraday=frame.is_intraday,
            timeframe=frame,
        )

    def _last_open(self, time_ms: int) -> int | None:
        if self._query.instrument.asset_class != "stock":
            return None
        opened, _ = opened_and_coming(price_calendar(self._query.instrument), time_ms)
        return day_ms(opened[-1].day) if opened else None


# Tolerance between two vendors, which may round differently.
_TWO_VENDORS = 2e-4


def terms_between(
    ours: Kind, theirs: Kind, actions: Sequence[Action], *, adj_close: bool
) -> ComparisonTerms:
    """Return the settings for comparing the bars of two vendors.

    Volumes are compared only if both vendors count the same trades.
    """
    counted = [(k.volume, k.feed, k.venue) for k in (ours, theirs)]
    is_mixed = "aggregate" in (ours.venue, theirs.venue)
    return ComparisonTerms(
        _TWO_VENDORS,
        volume=counted[0] == counted[1] and bool(ours.volume),
        actions=actions,
        adj_close=adj_close,
        agreement=AGGREGATES if is_mixed else ONE_MARKET,
    )


def compare_sides(
    names: tuple[str, str],
    sides: tuple[Side, Side],
    terms: ComparisonTerms,
    spans: Sequence[Span],
    goal: Basis,
    days: Span | None = None,
    lane: str = "",
) -> Comparison:
    """Compare two sides' bars: the one comparison behind all commands.

    Args:
        names, sides: Names of the sides, and their bars in the basis ``goal``.
        terms: Tolerances, and what is compared.
        spans: Ascending spans in which bars are compared.
        goal: Basis of both sides' prices.
        days: Days whose splits and dividends are compared as well; None means none.
        lane: Name of the series' folder if one side is stored.
    """
    ours, theirs = sides
    compared = compare(_cut(ours.table, spans), _cut(theirs.table, spans), terms)
    if days is not None:
        differing = differing_actions(ours.actions, theirs.actions, names, days)
        compared = compared.with_actions(differing)
    remarks = (*ours.remarks, *theirs.remarks, *kind_remarks(ours.kind, theirs.kind, *names))
    remarks += () if terms.volume else (NO_VOLUMES,)
    span, requests = Span(spans[0].start, spans[-1].end), ours.requests + theirs.requests
    return Comparison(*names, lane, span, compared, goal, "", remarks, requests)


# Prices converted to another date may be rounded differently. Without splits and dividends they are
# equal to the last bit.
_REBASED = 1e-6
_UNSETTLED = ("provisional", "suspect")
# A series that is kept up to date is compared up to this many bars beyond its end.
_MOST_NEWER = 500


class StoredBars:
    """Compares a series' stored bars with vendors' bars, for each lane (bars from one source) and vendor.

    Args:
        services: Services of the installation.
        query: Series and range; if the query names a provider, only bars from that vendor are
            compared.
        most: Number of bars to compare, counted from the end; None means all.
    """

    def __init__(self, services: Services, query: BarsQuery, most: int | None) -> None:
        self._services = services
        self._query = query
        self._most = most
        self._store = services.cache.store.reading_files()
        self._reader = Reader(self._store, services.clock)

    def comparisons(self) -> Iterator[Comparison]:
        """Yield one comparison for each lane and vendor; the user's own file is read first."""
        with suppress(DataError):
            self._services.client.read_file(self._query)
        wanted = self._query.instrument.symbol, self._query.timeframe
        for key in self._store.keys():
            is_vendors = not key.made_of and self._is_asked(key)
            if (key.symbol, key.timeframe) == wanted and is_vendors:
                yield from self._in_hours_of(key).of_lane(key)

    def _in_hours_of(self, key: SeriesKey) -> StoredBars:
        """Return a copy of this object whose query has the session hours of a lane's bars."""
        if not key.is_extended:
            return self
        query = replace(self._query, instrument=self._query.instrument.extended())
        return StoredBars(self._services, query, self._most)

    def beside(self, key: SeriesKey, vendor: str, span: Span) -> Comparison:
        """Compare the stored bars in a span with the bars of a vendor that did not supply them.

        Volumes are left out if the two vendors count different trades; adjusted close prices are
        always left out. Splits and dividends since the start of the span are also compared.

        Raises:
            KindMismatchError: The vendor's bars are of a different kind, or their prices cannot be
                converted to the stored adjustment.
            DataError: The vendor did not answer, or the store cannot be read; see
                :meth:`Refetcher.ask`.
        """
        view = self._store.view(key)
        query, stored, goal = self._stored(key, span, view.coverage.within(span).opened())
        book = self._book()
        actions = book.for_bars_of(key.action_key).actions
        refetcher = Refetcher(self._services, query, self.grid_of(view))
        today = refetcher.today()
        # An action on the first day does not affect these bars; today's may be reported later.
        end = 0 if today is None else day_ms(today)
        days = Span(min(day_ms(date_of(span.start)) + DAY_MS, end), end)
        missing = book.missing(days)
        # If no actions are stored, the vendor's prices can only be converted with the vendor's own
        # actions.
        answer = refetcher.ask(vendor, span, goal, actions, with_actions=bool(missing))
        if differing := stored.kind.differences(answer.kind):
            (name, (mine, its)), *_ = differing.items()
            raise KindMismatchError(
                f"the bars from {vendor} are of a different kind: {name} {its}, not {mine}",
                provider=vendor,
                symbol=key.symbol,
            )
        both = [*actions, *answer.actions]
        terms = terms_between(stored.kind, answer.kind, both, adj_close=False)
        names, sides = (CACHE, vendor), (stored, answer)
        comparison = compare_sides(names, sides, terms, [answer.span], goal, lane=key.folder)
        compared, remarks = comparison.compared or RowComparison(0, 0, ()), comparison.remarks
        if today is not None and compared.equal:
            vendor_actions = (
                answer.actions if answer.tells_actions else refetcher.actions(vendor, span.start)
            )
            if vendor_actions is None:
                remarks = (*remarks, UNTOLD.format(vendor))
            since_actions = vendor_actions or ()
            if missing and missing[0].start > days.start:  # no vendor was queried for later ones
                days = Span(days.start, missing[0].start)
            elif missing:  # nor for any, and only raw prices depend on splits
                is_raw = query.adjustment == "raw"
                since_actions = tuple(a for a in since_actions if is_raw and a.type == "split")
            odd = None
            if vendor_actions is not None:
                odd = differing_actions(actions, since_actions, names, days)
            if odd is not None:
                compared = compared.with_actions(odd)
        return replace(
            comparison,
            span=span,
            compared=compared,
            remarks=remarks,
            provider=self._provider(key, span),
            is_partial=_begins_before(stored.table, answer.span),
        )

    def _stored(
        self, key: SeriesKey, span: Span, entries: Iterable[Covered]
    ) -> tuple[BarsQuery, Side, Basis]:
        """Return the stored bars in a span as one side, with their query and their basis."""
        adjustment = _adjustment(key, entries)
        query = replace(self._query, span=span, adjustment=adjustment, provider=None)
        stored = self._reader.answer(query, key, span, FetchOutcome(), "older")
        goal = Basis(stored.facts.get("adjustment", adjustment), stored.as_of)
        actions = tuple(self._book().actions)
        return query, Side(span, stored.table, stored.kind, actions), goal

    def grid_of(self, view: SeriesView) -> BarGrid:
        """Return the time grid of a lane's bars."""
        return grid_for(self._query.instrument, view.key.timeframe, view.kind)

    def _is_asked(self, key: SeriesKey) -> bool:
        """Return whether a vendor can be queried for the bars in a lane (bars from one source).

        Sample data is compared only if the query names its vendor. Synthetic bars have no vendor.
        Bars from files are compared only with the folder that the lane's name identifies.
        """
        if key.lane == SAMPLE_LANE or (key.is_sample and self._query.provider is None):
            return False
        if not key.of_folder:
            return True
        vendor = self._query.provider or key.of_folder.partition(".")[0]
        return self._services.selector.folder_lane(vendor) == key.of_folder

    def of_lane(self, key: SeriesKey) -> Iterator[Comparison]:
        """Yield one comparison for each vendor that supplied the bars of a lane."""
        view = self._store.view(key)
        grid = self.grid_of(view)
        covered = [
            entry for entry in view.coverage.within(self._query.span) if entry.reason != CLOSED
        ]
        stored = [entry for entry in covered if entry.state in WITH_BARS]
        if self._query.provider is not None:
            stored = [entry for entry in stored if entry.vendor == self._query.provider]
        if not stored:
            return
        start = self._start(Span(stored[0].span.start, stored[-1].span.end), grid)
        reach = Span(start, covered[-1].span.end)
        for vendor in dict.fromkeys(entry.vendor for entry in stored if entry.span.overlaps(reach)):
            mine = _parts_of(view.coverage.within(reach), vendor)
            newer = self._newer_span(view, vendor)
            span = Span(mine[0].span.start, max(mine[-1].span.end, newer.end))
            try:
                yield self._compare_stored(key, grid, vendor, span, mine, newer)
            except DataError as error:
                yield Comparison(CACHE, vendor, key.folder, span, error=str(error))

    def _start(self, span: Span, grid: BarGrid) -> int:
        """Return the time from which the stored bars in ``span`` are compared."""
        if self._most is None:
            return span.start
        try:
            return max(span.start, grid.back(span.end, self._most))
        except BadRangeError:  # fewer bars exist since 1900
            return span.start

    def _newer_span(self, view: SeriesView, vendor: str) -> Span:
        """Return the span after the stored bars in which the vendor may have newer bars.

        The span is empty unless a request for the series has reached up to the time of that
        request, because only such a series is expected to be up to date.
        """
        last = [entry for entry in view.coverage if entry.state in WITH_BARS][-1]
        end = last.span.end
        if view.next_due is None or last.vendor != vendor or self._query.span.end < end:
            return Span(end, end)
        step_ms = self._query.timeframe.longest_ms
        return Span(end, max(end, min(self._query.span.end, end + _MOST_NEWER * step_ms)))

    def _compare_stored(
        self,
        key: SeriesKey,
        grid: BarGrid,
        vendor: str,
        span: Span,
        mine: Sequence[Covered],
        newer: Span,
    ) -> Comparison:
        """Compare the bars that one vendor supplied to one lane with the bars that it sends now."""
        query, stored, goal = self._stored(key, span, mine)
        refetcher = Refetcher(self._services, query, grid)
        answer = refetcher.ask(vendor, span, goal, stored.actions)
        spans = [s.clip(answer.span) for s in coalesce([*(entry.span for entry in mine), newer])]
        spans = [s for s in spans if not s.is_empty] or [answer.span]
        now_ms = self._services.clock.now_ms()
        late = [
            entry.span for entry in mine if entry.state in _UNSETTLED or not entry.is_valid(now_ms)
        ]
        terms = ComparisonTerms(
            _REBASED if goal.as_of else 0.0,
            unsettled=[*late, newer],
            actions=[*stored.actions, *answer.actions],
            adj_close=goal.as_of is not None and goal.as_of == refetcher.today(),
        )
        days = self._days_of_actions(spans) if answer.tells_actions else None
        names, sides = (CACHE, vendor), (stored, answer)
        comparison = compare_sides(names, sides, terms, spans, goal, days, key.folder)
        own = _cut(stored.table, coalesce(entry.span for entry in mine))
        is_partial = _begins_before(own, answer.span)
        return replace(comparison, provider=self._provider(key, span), is_partial=is_partial)

    def _provider(self, key: SeriesKey, span: Span) -> str | None:
        """Return the vendor that a query must name to read from a lane; empty if none need be named.

        The result is None if no query would be answered from the lane.
        """
        bounds = from_ms(span.start), from_ms(span.end - 1)
        question = self._services.client.question_for(key, *bounds)
        return None if question is None else question.provider or ""

    def _days_of_actions(self, spans: Sequence[Span]) -> Span | None:
        """Return the days of ``spans`` if all their splits and dividends are stored, else None."""
        # An action on the first day does not affect these bars, and need not be stored.
        first, last = date_of(spans[0].start), date_of(spans[-1].end - 1)
        days = Span(day_ms(first) + DAY_MS, day_ms(last) + DAY_MS)
        if days.is_empty or not self._store.actions(self._query.instrument.symbol).covers(days):
            return None
        return days

    def _book(self) -> ActionBook:
        """Return the stored splits and dividends; empty if their file is damaged."""
        if self._query.instrument.asset_class != "stock":
            return ActionBook()
        try:
            return self._store.actions(self._query.instrument.symbol)
        except CorruptEntryError:
            return ActionBook()


def _adjustment(key: SeriesKey, entries: Iterable[Covered]) -> Adjustment:
    """Return the price adjustment for a comparison; raw prices need no splits and dividends."""
    if all(entry.basis.adjustment == "raw" for entry in entries if entry.state in WITH_BARS):
        return "raw"
    return next((a for a in ADJUSTMENTS if a in key.lane), "split")


def _parts_of(coverage: Coverage, vendor: str) -> list[Covered]:
    """Return the spans covered by one vendor, including spans without bars."""
    return [
        entry
        for entry in coverage
        if entry.vendor == vendor or (entry.state == "empty" and vendor in entry.vendor.split(","))
        if entry.reason != CLOSED
    ]


def _begins_before(table: BarTable, span: Span) -> bool:
    return len(table) > 0 and int(table.stamps[0]) < span.start


def _cut(table: BarTable, spans: Iterable[Span]) -> BarTable:
    return concat(table.within(span) for span in spans)
