"""Tests what proves that a series begins or ends, and what does not."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from src.data.core.bars.fetch.absence import record_absence
from src.data.core.bars.fetch.bounds import prove_bounds
from src.data.core.bars.series import Journal, UnfilledSpan
from src.data.core.bars.validity import LONGEST_MS, Expiry, lifetime_of
from src.data.core.cache.store import Commit, SeriesView
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.request.capabilities import FetchQuery
from src.data.core.model.stored.coverage import Coverage, Covered
from src.data.core.model.stored.lifetime import DATA, PAGES, Bound, Lifetime
from src.data.core.model.stored.reasons import BEFORE_FIRST, CLOSED, LOST, NO_BAR
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, NEVER_MS, iso
from src.data.core.model.time.span import Span
from src.data.errors import NoDataError, SpliceConflictError, UnavailableError

from .answers import COIN, DAY, HOURLY, LATER, final, hour, hours

EXPIRY = Expiry()
# Stamps of the hours of which a halt lasts at most, and of the last one that has settled.
HALT = 45 * 24
LAST = (LATER - DAY) // HOUR_MS


class Vendor:
    """A vendor that is queried for the days before a listing."""

    def __init__(self, name: str, error: Exception | None = None, *, can_tell: bool = True) -> None:
        self.name, self.error, self.can_tell = name, error, can_tell
        self.capabilities: object | None = object()
        self.refuses = ""
        self.last_ms = 0
        self.asked: list[FetchQuery] = []

    def refusal(self, instrument: object, timeframe: object) -> str:
        return "" if self.can_tell and str(timeframe) != self.refuses else f"serves no {timeframe}"

    def fetch(self, asked: FetchQuery) -> object:
        self.asked.append(asked)
        if self.error is not None:
            raise self.error
        bar = Bar(self.last_ms or asked.span.end - HOUR_MS, 1.0, 1.0, 1.0, 1.0, 1.0)
        return SimpleNamespace(table=BarTable.from_bars([bar]))


class Case:
    """A request, and what is known of its series."""

    def __init__(self, *known: Covered, vendors: tuple[Vendor, ...] = (), life: Any = None) -> None:
        self.known, self.life = Coverage(known), life or Lifetime()
        self.commits: list[Commit] = []
        self.others: list[SeriesView] = []
        self.settle_ms, self.vendors, self.journal = 0, vendors, Journal()

    def coverage(self) -> Coverage:
        return self.known

    def view(self) -> SeriesView:
        bars = [part.span for part in self.known if part.state == "final"]
        last = bars[-1].end - HOUR_MS if bars else None
        return SeriesView(SeriesKey("BTCUSDT", HOURLY.timeframe), self.known, last=last)

    def beside(self) -> list[SeriesView]:
        return self.others

    def now_ms(self) -> int:
        return LATER

    def lifetime(self) -> Lifetime:
        return self.life

    def commit(self, commit: Commit) -> None:
        self.commits.append(commit)

    def end_phase(self) -> None:
        """Nothing of it changes."""

    def sought(self, *segments: Span) -> Lifetime | None:
        """Search for a proof after these requests, and return the new lifetime."""
        request: Any = SimpleNamespace(
            log=logging.getLogger("onetape.routing"),
            query=SimpleNamespace(instrument=COIN),
            grid=HOURLY,
            settle_ms=self.settle_ms,
            route=SimpleNamespace(candidates=self.vendors),
            expiry=EXPIRY,
        )
        spans = segments or [part.span for part in self.known]
        prove_bounds(request, self, self.journal, spans)  # type: ignore[arg-type]
        assert len(self.commits) <= 1
        return self.commits[0].lifetime if self.commits else None


BOTH = "acme,zenith"


def empty(first: int, end: int, reason: str = NO_BAR, vendor: str = BOTH) -> Covered:
    return Covered(hours(first, end), "empty", vendor, fetched_at=DAY, reason=reason)


# --- where it begins ------------------------------------------------------------------------


def test_an_empty_span_of_several_vendors_as_long_as_a_halt_proves_a_listing() -> None:
    case = Case(
        empty(-HALT, -9, vendor="acme,other,zenith"), empty(-9, 0, CLOSED, ""), final(hours(0, 9))
    )
    expires = LATER + LONGEST_MS
    source = "acme,other,zenith"
    assert case.sought() == Lifetime(Bound(hour(0), source, LATER, expires, PAGES))
    (mark,) = case.commits[0].marks
    assert (mark.span, mark.reason, mark.expires) == (hours(-HALT, 0), BEFORE_FIRST, expires)
    assert mark.fetched_at == LATER


@pytest.mark.parametrize(
    "known",
    [
        [empty(-2 * HALT, 0, vendor="acme")],
        [empty(-2 * HALT, -HALT, vendor="acme"), empty(-HALT, 0, vendor="zenith")],
        [empty(-2 * HALT, -1), empty(-1, 0, vendor="acme")],
        [empty(-2 * HALT, 0, vendor="")],
    ],
    ids=["one alone", "each of a part", "one bar by one alone", "nobody"],
)
def test_an_empty_span_of_one_vendor_alone_proves_no_listing(known: list[Covered]) -> None:
    vendors = Vendor("acme", NoDataError("none")), Vendor("zenith", NoDataError("none"))
    case = Case(*known, final(hours(0, 9)), vendors=vendors)
    assert case.sought() is None
    assert [len(vendor.asked) for vendor in vendors] == [0, 0]


def test_a_short_empty_span_is_extended_backwards_by_queries_to_both_vendors() -> None:
    vendors = Vendor("acme", NoDataError("none")), Vendor("zenith", NoDataError("none"))
    case = Case(empty(-20, 0), final(hours(0, 9)), vendors=vendors)
    assert case.sought() is not None
    for vendor in vendors:
        own, days = vendor.asked
        assert own.timeframe.label == "1h"
        # The nothing begins at 04:00: a bar of the same day is none of the days before.
        assert (iso(own.span.start), iso(own.span.end)) == (
            "2024-06-01T00:00:00Z",
            "2024-06-02T04:00:00Z",
        )
        assert (days.timeframe.label, iso(days.span.end)) == ("1d", "2024-06-01T00:00:00Z")
        assert days.span.end - days.span.start == 45 * DAY_MS


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("error", [None, UnavailableError("down")], ids=["has bars", "fails"])
def test_a_vendor_that_has_bars_or_fails_proves_no_listing(
    error: Exception | None, place: int
) -> None:
    none = NoDataError("none")
    errors = [error, none] if place == 0 else [none, error]
    vendors = Vendor("acme", errors[0]), Vendor("zenith", errors[1])
    case = Case(empty(-9, 0), final(hours(0, 9)), vendors=vendors)
    assert case.sought() is None


@pytest.mark.parametrize("why", ["out", "neither", "no hours", "not ours"])
def test_a_vendor_that_cannot_prove_a_listing_is_not_queried(why: str) -> None:
    none = NoDataError("none")
    first, second, third = Vendor("acme", none), Vendor("zenith", none), Vendor("other", none)
    known = empty(-9, 0, vendor="acme,other,zenith")
    case = Case(known, final(hours(0, 9)), vendors=(first, second, third))
    if why == "out":
        case.journal.excluded["acme"] = UnavailableError("down")
    elif why == "neither":
        first.can_tell = False
    elif why == "no hours":
        first.refuses = "1h"
    else:
        first.capabilities = None
    assert case.sought() is not None
    assert [len(vendor.asked) for vendor in (first, second, third)] == [0, 2, 2]


def test_a_vendor_without_daily_bars_is_queried_for_its_own_bars_of_all_days() -> None:
    first, second = Vendor("acme", NoDataError("none")), Vendor("zenith", NoDataError("none"))
    first.refuses = "1d"
    case = Case(empty(-20, 0), final(hours(0, 9)), vendors=(first, second))
    assert case.sought() is not None
    (page,), (near, days) = first.asked, second.asked
    assert (page.timeframe.label, page.span) == ("1h", Span(days.span.start, near.span.end))


@pytest.mark.parametrize(("at", "is_news"), [(-1, True), (0, False), (1, False)])
def test_a_listing_date_of_a_vendor_needs_no_proof(at: int, is_news: bool) -> None:
    reported = Lifetime(Bound(hour(at), "acme", DAY, LATER + 1))
    case = Case(empty(-HALT, 0), final(hours(0, 9)), life=reported)
    assert (case.sought() is not None) is is_news


@pytest.mark.parametrize(
    "known",
    [(final(hours(0, 9)),), (empty(-HALT, 0),), (),
     (empty(-HALT, 0, BEFORE_FIRST), final(hours(0, 9))),
     (final(hours(-2 * HALT, -2 * HALT + 1)), empty(-HALT, 0), final(hours(0, 9)))],
    ids=["only the bars", "nothing alone", "unknown", "proved", "bars before"],
)  # fmt: skip
def test_without_a_long_empty_span_no_listing_proof_is_sought(known: tuple[Covered, ...]) -> None:
    vendor = Vendor("acme", NoDataError("none"))
    case = Case(*known, vendors=(vendor,))
    assert case.sought(hours(-3 * HALT, 5)) is None
    assert vendor.asked == []


def test_only_an_empty_span_next_to_the_bars_proves_a_listing() -> None:
    vendor = Vendor("acme")
    case = Case(empty(-2 * HALT, -20), empty(-9, 0), final(hours(0, 9)), vendors=(vendor,))
    assert case.sought() is None
    assert len(vendor.asked) == 1, "the bars of the day before"
    case = Case(empty(-2 * HALT, -9), empty(-9, 0), final(hours(0, 9)), vendors=(vendor,))
    assert case.sought() is not None


@pytest.mark.parametrize("segment", [hours(0, 9), hours(9, 20), hours(-2 * HALT, -HALT)])
def test_no_listing_proof_is_sought_for_a_span_that_was_not_just_requested(segment: Span) -> None:
    case = Case(empty(-HALT, 0), final(hours(0, 9)))
    assert case.sought(segment) is None


# --- where it ends --------------------------------------------------------------------------


VENUE = "binance"


def ended(length: int, vendor: str = VENUE, silent: str = "", **other: Any) -> Case:
    """Return a case of bars followed by empty hours up to now.

    ``silent`` has none of the bars and reports the same hours as empty, by default alone.
    """
    first = LAST - length
    names = ",".join(sorted(filter(None, (vendor, silent))))
    return Case(final(hours(first - 9, first), vendor=vendor), empty(first, LAST - 5, vendor=names),
                empty(LAST - 5, LAST, vendor=names), **other)  # fmt: skip


@pytest.mark.parametrize(("length", "is_end"), [(HALT - 1, False), (HALT, True), (HALT + 1, True)])
def test_an_empty_span_as_long_as_a_halt_proves_a_delisting(length: int, is_end: bool) -> None:
    learned = ended(length).sought()
    assert (learned is not None) is is_end
    if learned is not None:
        expires = LATER + length * HOUR_MS // 30
        assert learned == Lifetime(delisted=Bound(hour(LAST - length), VENUE, LATER, expires))


@pytest.mark.parametrize("vendor", ["local", "mine"])
def test_data_of_a_user_end_only_after_a_halt(vendor: str) -> None:
    assert ended(HALT - 1, vendor).sought() is None
    assert ended(HALT, vendor).sought() is not None


@pytest.mark.parametrize("lacks", [0, 1, 2, HALT - 1])
def test_a_file_ends_with_its_last_row_if_a_later_bar_has_closed(lacks: int) -> None:
    files, end = Vendor("local"), LAST - lacks
    files.last_ms = hour(end - 1)
    bars = final(hours(end - 9, end - 2), vendor="local")  # its last rows cannot be bars
    case = Case(bars, empty(end - 2, end + lacks, vendor="local"), vendors=(files,))
    expected = Lifetime(delisted=Bound(files.last_ms + 1, "local", LATER, NEVER_MS, DATA))
    assert case.sought() == (expected if lacks else None)


def test_a_delisting_expires_at_the_latest_after_the_expiry_of_old_spans() -> None:
    learned = ended(60 * HALT).sought()
    assert learned is not None
    assert learned.delisted is not None
    assert learned.delisted.expires == LATER + LONGEST_MS


@pytest.mark.parametrize("behind", [1, 24, 3 * HALT])
def test_empty_coverage_that_does_not_reach_up_to_now_is_not_a_delisting(behind: int) -> None:
    end = LAST - behind
    bars = final(hours(end - 2 * HALT, end - HALT), vendor=VENUE)
    case = Case(bars, empty(end - HALT, end, vendor=VENUE))
    assert case.sought() is None


@pytest.mark.parametrize("unsettled", [0, 1, 2])
def test_a_delisting_proof_may_lack_bars_that_have_not_settled(unsettled: int) -> None:
    bars = final(hours(-2 * HALT, -HALT), vendor=VENUE)
    case = Case(bars, empty(-HALT, LAST - 1, vendor=VENUE))
    case.settle_ms = unsettled * HOUR_MS
    assert (case.sought() is not None) is (unsettled > 0)


def test_a_span_that_a_vendor_failed_for_does_not_end_a_listing() -> None:
    case = ended(2 * HALT)
    case.journal.unfilled.append(UnfilledSpan(hours(LAST - 9, LAST - 8), "down"))
    assert case.sought() is None
    case.journal.unfilled[:] = [UnfilledSpan(hours(-9 * HALT, -8 * HALT), "down")]
    assert case.sought() is not None


@pytest.mark.parametrize("known", [(), (empty(-HALT, LAST),), (final(hours(0, LAST)),)])
def test_a_delisting_needs_bars_followed_by_an_empty_span(known: tuple[Covered, ...]) -> None:
    assert Case(*known).sought(hours(0, LAST)) is None


def test_an_empty_span_proves_a_delisting_only_if_it_adjoins_the_last_bar() -> None:
    first = LAST - 2 * HALT
    bars, names = final(hours(first - 9, first), vendor=VENUE), {"vendor": VENUE}
    assert Case(bars, empty(first, LAST, **names)).sought() is not None
    case = Case(bars, empty(first, first + 9, **names), empty(first + 10, LAST, **names))
    assert case.sought() is None


def test_a_delisting_is_not_updated_if_its_span_was_not_just_requested() -> None:
    case = ended(2 * HALT)
    assert case.sought(hours(LAST - 3 * HALT, LAST - 2 * HALT)) is None


@pytest.mark.parametrize(
    ("case", "proof"),
    [
        (ended(HALT, "yahoo", "tiingo"), ""),
        (ended(HALT, "ccxt:kraken"), ""),
        (ended(HALT, "local"), DATA),
        (ended(HALT, "demo"), DATA),
        (ended(HALT, "mock"), DATA),
        (ended(HALT, "replay:%2Ftmp"), DATA),
        (ended(HALT, "mine"), DATA),
        (ended(HALT, "mine", "yahoo"), DATA),
    ],
    ids=["two", "a member", "files", "samples", "made up", "recordings", "own", "own and a vendor"],
)
def test_only_a_vendor_of_real_markets_that_has_bars_proves_that_the_symbol_ended(
    case: Case, proof: str
) -> None:
    learned = case.sought()
    assert learned is not None
    assert learned.delisted is not None
    last = hour(LAST - HALT)
    at = last if not proof else last - HOUR_MS + 1
    assert (learned.delisted.proof, learned.delisted.at) == (proof, at)
    if proof:
        assert learned.ended is None
        assert learned.reason_after() == f"the data ends on {iso(at)[:10]}"


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (["local"], [1]),
        (["demo"], [2]),  # the whole sample, and then the bars up to now
        (["local", VENUE], [0, 0]),
        (["mine"], [0]),
        ([VENUE], [0]),
    ],
    ids=["files", "samples", "files and a vendor", "own", "a vendor"],
)
def test_only_a_lane_of_files_or_samples_alone_is_read_for_its_end(
    names: list[str], asked: list[int]
) -> None:
    """The answer does not reach up to now: a sample is read on, and nobody is sent a request for that."""
    vendors = tuple(Vendor(name, NoDataError("none")) for name in names)
    first, end = LAST - 3 * HALT, LAST - HALT
    bars = final(hours(first - 9, first), vendor="local")
    case = Case(bars, empty(first, end, vendor="local"), vendors=vendors)
    learned = case.sought()
    assert [len(vendor.asked) for vendor in vendors] == asked
    assert (learned is not None) is (names == ["demo"])
    if learned is not None and learned.delisted is not None:
        assert (learned.delisted.proof, vendors[0].asked[-1].span) == (DATA, hours(end, LAST))


def test_the_own_class_of_a_program_proves_no_end_under_the_name_of_a_vendor() -> None:
    own = Vendor(VENUE)
    own.capabilities = None
    learned = ended(HALT, vendors=(own,)).sought()
    assert learned is not None
    assert learned.ended is None


def test_a_vendor_without_bars_of_the_series_proves_no_end_beside_one_that_was_not_asked() -> None:
    first = LAST - HALT
    bars = final(hours(first - 9, first), vendor="yahoo")
    assert Case(bars, empty(first, LAST, vendor="tiingo")).sought() is None
    assert Case(bars, empty(first, LAST, vendor="tiingo,yahoo")).sought() is not None
    part = empty(first, first + 9, vendor="tiingo"), empty(first + 9, LAST, vendor="tiingo,yahoo")
    assert Case(bars, *part).sought() is None
    refused = f"{NO_BAR}; prices from zenith do not match"
    assert Case(bars, empty(first, LAST, refused, "yahoo")).sought() is None


@pytest.mark.parametrize(
    ("ends", "vendor", "is_end"),
    [
        ([0, 0], VENUE, False),
        ([-6 * 24, 0, -90 * 24], VENUE, False),
        ([0], VENUE, True),
        ([0, -8 * 24], VENUE, True),
        ([0, 0, 24], VENUE, True),
        ([0, 0], "yahoo", True),
    ],
    ids=["all at once", "within a week", "two in all", "long before", "one goes on", "another's"],
)
def test_a_vendor_that_has_no_bars_of_any_series_any_more_proves_no_end(
    ends: list[int], vendor: str, is_end: bool
) -> None:
    case, last = ended(HALT), hour(LAST - HALT) - HOUR_MS
    for number, end in enumerate(ends):
        at = last + end * HOUR_MS
        bars = Coverage([final(Span(at, at + HOUR_MS), vendor=vendor)])
        case.others.append(SeriesView(SeriesKey(f"S{number}", HOURLY.timeframe), bars, last=at))
    assert (case.sought() is not None) is is_end


def test_an_end_is_a_problem_of_the_answer_only_when_it_is_first_seen() -> None:
    case = ended(HALT)
    learned = case.sought()
    assert len(case.journal.problems) == 1
    assert case.journal.problems[0].startswith("no bars since 2024-04-26")
    again = ended(HALT, life=learned)
    assert again.sought() is not None
    assert again.journal.problems == []
    later = ended(HALT + 1, life=learned)
    assert later.sought() is not None
    assert later.journal.problems != []


# --- what is told of it ---------------------------------------------------------------------


def test_a_proved_listing_is_derived_from_the_coverage() -> None:
    proved = Covered(hours(-9, 0), "empty", BOTH, fetched_at=DAY, reason=BEFORE_FIRST, expires=7)
    older = Covered(hours(-19, -9), "empty", "old,oldest", fetched_at=1, reason=BEFORE_FIRST)
    end = Bound(hour(50), "zenith", 1, 2)
    key = SeriesKey(COIN.symbol, HOURLY.timeframe)
    view = SeriesView(key, Coverage([older, proved, final(hours(0, 9))]),
                      lifetime=Lifetime(delisted=end))  # fmt: skip
    assert lifetime_of(view) == Lifetime(Bound(hour(0), BOTH, DAY, 7, PAGES), end)
    reported = Lifetime(Bound(hour(-1), "told", 1, 2), end)
    assert lifetime_of(SeriesView(key, view.coverage, lifetime=reported)) == reported
    for_ever = SeriesView(key, Coverage([older]))
    assert lifetime_of(for_ever).listed == Bound(hour(-9), "old,oldest", 1, 0, PAGES)
    assert lifetime_of(SeriesView(key, Coverage([empty(-9, 0)]))) == Lifetime()


# --- bars that do not match the stored ones -----------------------------------------------------


def test_refused_bars_are_the_reason_only_where_a_bar_is_expected() -> None:
    """Neither over a weekend nor for stored bars that are in doubt."""
    lost = replace(final(hours(9, 12)), state="suspect", reason=LOST)
    case = Case(empty(0, 4, vendor="acme"), empty(4, 9, CLOSED, ""), lost)
    refused = SpliceConflictError("prices from zenith do not match", provider="zenith")
    request: Any = None
    spans = record_absence(request, case, [hours(0, 12)], (refused,))  # type: ignore[arg-type]
    assert [one.span for one in spans] == [hours(0, 12)]
    (commit,) = case.commits
    reason = f"{NO_BAR}; prices from zenith do not match"
    assert commit.marks == (empty(0, 4, reason, BOTH),)
