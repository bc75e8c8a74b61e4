"""Tests the comparison of bars with adjacent bars of other vendors: what is stored and reported."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from src.data.core.bars.answer.answer import left_out, own_volume, splice_entry
from src.data.core.bars.answer.reader import at_borders, splice_problems
from src.data.core.bars.fetch.question import neighbors
from src.data.core.bars.ingest.draft import AnswerDraft, Sessions
from src.data.core.bars.ingest.receive import (
    CommonBasis,
    common_basis,
    fit,
    with_splices,
)
from src.data.core.bars.selection.candidates import Candidate
from src.data.core.bars.selection.route import LaneRoute
from src.data.core.bars.series import LaneRequest, SeriesStore, Side, VendorQuestion
from src.data.core.cache.actions import ActionBook
from src.data.core.cache.store import BarStore, Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Adjustment, Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.request.capabilities import Fetched
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.stored.coverage import Coverage, Covered, Splice
from src.data.core.model.time.instant import DAY_MS, day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.errors import NoDataError, SpliceConflictError

from .answers import (
    COIN,
    HOURLY,
    KIND,
    LATER,
    RAW,
    bar,
    fetched,
    final,
    hour,
    hours,
    stamps,
    table,
)

EQUAL = Splice(hour(4), "b", "equal", 1.0, 20)
FIXED = Splice(hour(4), "b", "constant", 4.0, 20, "the split had been left out")


class StoredSeries:
    """A series with stored bars, and a vendor ``a`` that is about to be queried."""

    def __init__(self, folder: Path) -> None:
        self.store = BarStore(folder, clock=ManualClock(LATER))
        self.key = SeriesKey(COIN.symbol, HOURLY.timeframe)
        self.vendor = Candidate("a", object())
        self.query = BarsQuery(COIN, HOURLY.timeframe, hours(0, 24), LATER)

    def store_hours(
        self, vendor: str, first: int, end: int, state: str = "final", **more: object
    ) -> None:
        """Store a stretch of hours of a vendor, closes 100 and up."""
        rows = table(bar(n, 100.0 + n) for n in range(first, end))
        piece = CommitPiece(rows, hours(first, end), vendor, LATER, KIND, RAW, state, **more)  # type: ignore[arg-type]
        self.store.commit(self.key, Commit((piece,)))

    def request(self, **wishes: object) -> LaneRequest:
        lane = LaneRoute((), (self.vendor,), KIND)
        return LaneRequest(replace(self.query, **wishes), self.key, lane, HOURLY)  # type: ignore[arg-type]

    def series(self, request: LaneRequest) -> SeriesStore:
        return SeriesStore(self.store, ManualClock(LATER), request.key, request.query)

    def neighbors_of(self, first: int, end: int, **wishes: object) -> tuple[Side, ...]:
        request = self.request(**wishes)
        return neighbors(request, self.series(request), self.vendor, hours(first, end))

    def draft(self, answer: Fetched, question: VendorQuestion) -> AnswerDraft:
        draft = AnswerDraft(self.request(), self.vendor, question, answer, LATER)
        draft.sessions = Sessions(None, LATER)
        return draft

    def fitted(self, draft: AnswerDraft) -> AnswerDraft:
        fit(draft, self.series(draft.request))
        return draft


@pytest.fixture
def stored_series(tmp_path: Path) -> StoredSeries:
    """Return a series without bars, whose vendor ``a`` is queried next."""
    return StoredSeries(tmp_path)


# --- neighbouring bars -------------------------------------------------------------------------


def test_twenty_final_bars_of_other_vendors_are_compared_on_each_side(
    stored_series: StoredSeries,
) -> None:
    stored_series.store_hours("b", -40, 4)
    stored_series.store_hours("c", 8, 60)
    before, after = stored_series.neighbors_of(4, 8)
    assert (before.vendor, before.span, before.is_later) == ("b", hours(-16, 4), False)
    assert (after.vendor, after.span, after.is_later) == ("c", hours(8, 28), True)
    assert stamps(after.rows) == list(range(8, 28))
    assert VendorQuestion(hours(4, 8), (before, after)).reach == hours(-16, 28)
    assert VendorQuestion(hours(4, 8)).reach == hours(4, 8)


def test_bars_of_the_same_vendor_are_not_neighbours_and_hide_the_bars_beyond_them(
    stored_series: StoredSeries,
) -> None:
    stored_series.store_hours("b", 0, 4)
    stored_series.store_hours("a", 4, 6)
    assert stored_series.neighbors_of(6, 8) == ()
    (side,) = stored_series.neighbors_of(-2, 0)
    assert stamps(side.rows) == [0, 1, 2, 3], "the bars of vendor a beyond them are left out"


def test_bars_of_another_vendor_between_own_bars_are_collected(stored_series: StoredSeries) -> None:
    for n in range(0, 12, 2):
        stored_series.store_hours("a", n, n + 1)
        stored_series.store_hours("b", n + 1, n + 2)
    (side,) = stored_series.neighbors_of(12, 13)
    assert stamps(side.rows) == [1, 3, 5, 7, 9, 11]


def test_own_bars_next_to_a_repaired_splice_are_compared(stored_series: StoredSeries) -> None:
    stored_series.store_hours("a", 0, 4, splices=(FIXED,))
    (side,) = stored_series.neighbors_of(4, 8)
    assert (side.vendor, len(side.rows)) == ("a", 4)


def test_provisional_bars_are_neighbours_and_not_compared(stored_series: StoredSeries) -> None:
    stored_series.store_hours("b", 0, 4)
    stored_series.store_hours("b", 4, 6, "provisional")
    (side,) = stored_series.neighbors_of(6, 8)
    assert stamps(side.rows) == [0, 1, 2, 3]
    stored_series.store_hours("b", 0, 4, "provisional")
    (side,) = stored_series.neighbors_of(6, 8)
    assert (len(side.rows), side.span) == (0, hours(6, 6))


def test_distant_bars_are_not_neighbours(stored_series: StoredSeries) -> None:
    stored_series.store_hours("b", 0, 4)
    assert len(stored_series.neighbors_of(60, 70)[0].rows) == 4
    assert len(stored_series.neighbors_of(62, 70)[0].rows) == 2
    assert stored_series.neighbors_of(64, 70) == ()


def test_a_pinned_vendor_has_no_neighbouring_bars(stored_series: StoredSeries) -> None:
    stored_series.store_hours("b", 0, 4)
    assert stored_series.neighbors_of(4, 8, provider="a") == ()


# --- what comes of it ----------------------------------------------------------------------


def reply(stored_series: StoredSeries, factor: float, first: int = 0, end: int = 24) -> AnswerDraft:
    rows = [bar(n, (100.0 + n) * factor) for n in range(first, end)]
    question = VendorQuestion(hours(8, 12), stored_series.neighbors_of(8, 12))
    return stored_series.draft(fetched(rows), question)


def test_an_answer_for_several_gaps_is_fitted_separately_in_each(
    stored_series: StoredSeries,
) -> None:
    stored_series.store_hours("b", 0, 8)
    stored_series.store_hours("b", 12, 16)
    done = stored_series.fitted(reply(stored_series, 1.0))
    assert stamps(done.fetched.table) == [8, 9, 10, 11, *range(16, 24)], "unchanged beyond that"
    assert done.splices == (
        Splice(hour(8), "b", "equal", 1.0, 8),
        Splice(hour(12), "b", "unchecked", 1.0, 4, "only 4 common bars, median ratio 1"),
    )


def test_an_answer_with_only_neighbouring_bars_raises_no_data(stored_series: StoredSeries) -> None:
    stored_series.store_hours("b", 0, 8)
    with pytest.raises(NoDataError, match="acme has no data") as none:
        stored_series.fitted(reply(stored_series, 1.0, 0, 8))
    assert (none.value.provider, none.value.symbol) == ("acme", COIN.symbol)


def test_an_answer_without_neighbours_is_not_fitted(stored_series: StoredSeries) -> None:
    answer = fetched([bar(8, 1e9)])
    done = stored_series.fitted(stored_series.draft(answer, VendorQuestion(hours(8, 12))))
    assert (done.fetched, done.splices) == (answer, ())


@pytest.mark.parametrize("factor", [1.03, 2.0, 0.5])
def test_a_price_factor_of_a_coin_is_a_conflict_and_not_a_split(
    stored_series: StoredSeries, factor: float
) -> None:
    stored_series.store_hours("b", 0, 8)
    with pytest.raises(SpliceConflictError, match="acme for BTCUSDT 1h do not match those from b"):
        stored_series.fitted(reply(stored_series, factor))


def test_prices_averaged_over_venues_are_compared_with_a_wider_tolerance(
    stored_series: StoredSeries,
) -> None:
    stored_series.store_hours("b", 0, 8)
    shown = reply(stored_series, 1.002)
    with pytest.raises(SpliceConflictError):
        stored_series.fitted(shown)
    shown = reply(stored_series, 1.002)
    shown.fetched = replace(shown.fetched, kind=replace(KIND, venue="aggregate"))
    done = stored_series.fitted(shown)
    assert done.splices[0].verdict == "equal"


def test_splices_are_recorded_at_the_outermost_new_bars() -> None:
    pieces = (
        CommitPiece(table([bar(5)]), hours(4, 6), "a", 0, KIND, RAW, "final", (hours(4, 5),)),
        CommitPiece(table([bar(6)]), hours(6, 7), "a", 0, KIND, RAW, "provisional"),
    )
    ends = (replace(EQUAL, at=hour(2)), replace(EQUAL, at=hour(8)))
    done = with_splices(Commit(pieces), ends, hours(2, 8))
    assert [[s.at for s in p.splices] for p in done.pieces] == [[hour(5), hour(7)]] * 2
    assert with_splices(Commit(), ends, hours(2, 8)) == Commit()
    assert with_splices(Commit(pieces), (), hours(2, 8)) == Commit(pieces)


# --- what is told --------------------------------------------------------------------------


def chain(*parts: tuple[str, int, int, tuple[Splice, ...]]) -> Coverage:
    return Coverage(final(hours(a, b), vendor=v, splices=s) for v, a, b, s in parts)


def test_a_splice_is_listed_only_while_the_other_vendors_bars_are_stored() -> None:
    before, after = replace(EQUAL, at=hour(4)), replace(EQUAL, at=hour(8))
    both = (before, after)
    reported = at_borders(chain(("b", 0, 4, ()), ("a", 4, 8, both), ("b", 8, 9, ())))
    assert [part.splices for part in reported] == [(), both, ()]
    reported = at_borders(chain(("a", 0, 4, ()), ("a", 4, 8, both), ("b", 9, 10, ())))
    assert reported[1].splices == (after,), "the bars before have been replaced"
    reported = at_borders(chain(("b", 0, 4, ()), ("a", 4, 8, both), ("a", 9, 10, ())))
    assert reported[1].splices == (before,), "the bars after have been replaced"
    assert at_borders(chain(("a", 5, 7, both)))[0].splices == (), "clipped"
    assert at_borders(chain(("a", 4, 7, both)))[0].splices == (before,), (
        "the only splice in the answer"
    )


def test_a_repaired_splice_is_reported_for_every_part() -> None:
    assert at_borders(chain(("a", 5, 7, (FIXED,))))[0].splices == (FIXED,)
    assert at_borders(chain(("a", 5, 7, ()))) == chain(("a", 5, 7, ()))


def test_an_empty_span_has_no_splices() -> None:
    whole = chain(("a", 0, 4, (FIXED,)), ("b", 4, 8, ()))
    first, second = whole
    nothing = Coverage([replace(first, state="empty"), second])
    assert [part.splices for part in at_borders(nothing)] == [(), ()]
    assert [part.splices for part in at_borders(nothing.within(first.span))] == [()]


def test_splices_have_a_provenance_entry_and_are_reported_as_problems() -> None:
    unchecked = Splice(hour(8), "b", "unchecked", 1.0, 2, "only 2 common bars")
    coverage = chain(("a", 4, 8, (EQUAL, unchecked)), ("a", 8, 9, (FIXED,)), ("a", 9, 10, (FIXED,)))
    assert splice_entry(coverage[0])["splice"][0] == {
        "at": "2024-06-03T04:00:00Z", "with": "b", "verdict": "equal", "ratio": 1.0, "common": 20,
    }  # fmt: skip
    assert splice_entry(chain(("a", 0, 1, ()))[0]) == {}
    assert splice_problems(coverage) == [
        "prices of a and b meet at 2024-06-03T08:00:00Z and could not be compared: only 2 common "
        "bars",
        "prices of a at 2024-06-03T04:00:00Z were not as it sent them: the split had been left "
        "out; they were 4 times those of b",
    ]


def test_spans_with_different_splices_are_not_joined() -> None:
    one, other = final(hours(0, 4)), final(hours(4, 8), splices=(EQUAL,))
    assert len(Coverage([one]).overlaid([other])) == 2
    rest = final(hours(8, 9), splices=(EQUAL,))
    assert Coverage([other]).overlaid([rest]) == (replace(other, span=hours(4, 9)),)


# --- volume --------------------------------------------------------------------------------

OWN = Kind(volume="shares", feed="sip")


@pytest.mark.parametrize("volume, feed, why", [
    ("shares", "sip", ""), ("", "", ""), ("shares", "", ""), ("", "iex", "left out: iex, not sip"),
    ("quote", "iex", "left out: quote, not shares; iex, not sip"),
])  # fmt: skip
def test_a_known_difference_of_volume_or_feed_is_reported(volume: str, feed: str, why: str) -> None:
    part = final(hours(0, 4), kind=Kind(volume=volume, feed=feed))
    assert left_out(part, OWN) == why
    assert left_out(part, Kind()) == ""


def test_volume_of_another_unit_or_feed_is_nan_in_a_copy() -> None:
    rows = table(bar(n) for n in range(6))
    mixed = Coverage([final(hours(0, 4), kind=OWN), final(hours(4, 5), kind=Kind(feed="iex"))])
    done = own_volume(rows, mixed, OWN)
    assert np.isnan(done.volume).tolist() == [False] * 4 + [True, False]
    assert not np.isnan(rows.volume).any()
    assert own_volume(rows, mixed, Kind()) is rows
    np.testing.assert_array_equal(done.close, rows.close)


def test_neighbouring_spans_touch_the_span_without_overlapping_it(
    stored_series: StoredSeries,
) -> None:
    stored_series.store_hours("b", 0, 24)
    for first, end in itertools.combinations(range(1, 23, 4), 2):
        before, after = stored_series.neighbors_of(first, end)
        assert (before.span.end, after.span.start) == tuple(hours(first, end))


# --- the basis in which they are compared ----------------------------------------------------


def test_each_bar_uses_the_disputed_split_ratio_of_its_own_vendor() -> None:
    day, before = date(2024, 6, 3), parse_iso("2024-05-31")
    reported = [
        Action(day, "split", day_ms(day), ratio, 1, source=vendor, fetched_at=LATER)
        for vendor, ratio in (("a", 4), ("b", 2))
    ]
    book = ActionBook(tuple(sorted(reported)))
    assert book.disputed
    rows = BarTable.from_bars([Bar(before, 100.0, 100.0, 100.0, 100.0, 8.0)])
    basis = CommonBasis("split", day_ms(day), book, intraday=False)
    closes = {
        vendor: basis.of(
            rows,
            Coverage([Covered(Span(before, before + DAY_MS), "final", vendor, basis=Basis("raw"))]),
        ).close.tolist()
        for vendor in ("a", "b")
    }
    assert closes == {"a": [25.0], "b": [50.0]}


@pytest.mark.parametrize("stored", ["raw", "split"])
def test_an_hour_that_contains_the_open_of_a_split_is_compared_as_after_the_split(
    stored_series: StoredSeries, stored: Adjustment
) -> None:
    day, opens = date(2024, 6, 3), parse_iso("2024-06-03T13:30")
    split = Action(day, "split", opens, 4, 1, source="a", fetched_at=LATER)
    hours = [parse_iso(f"2024-06-03T{hour}:00") for hour in (12, 13, 14)]
    rows = BarTable.from_bars([Bar(stamp, *[100.0] * 4, 8.0) for stamp in hours])
    parts = Coverage([Covered(Span(hours[0], hours[-1] + 1), "final", "a", basis=Basis(stored))])
    draft = reply(stored_series, 1.0)
    draft.sessions = Sessions(day_ms(day), day_ms(day) + DAY_MS)
    draft.fetched = replace(draft.fetched, basis=Basis("split", day))
    basis = common_basis(draft, ActionBook((split,)))
    assert basis.of(rows, parts).close.tolist() == [25.0, 100.0, 100.0]
