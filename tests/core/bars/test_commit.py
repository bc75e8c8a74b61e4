"""Tests which bars of an answer are stored, given the bars that are already in the store."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from src.data.core.bars.ingest.commit import (
    basis_of,
    build_commit,
    without_overruled,
)
from src.data.core.bars.ingest.draft import StoredRange
from src.data.core.bars.series import VendorQuestion
from src.data.core.bars.validity import LONGEST_MS, Expiry, Hole, Suspicion, next_due
from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis
from src.data.core.model.market.bars import BarTable
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.stored.reasons import (
    CLOSED,
    DOUBTFUL,
    HOLIDAYS_UNKNOWN,
    LOST,
    NO_BAR,
    SPOILT,
    UNEXPECTED,
)
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, date_of, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import QualityError

from .answers import (
    COIN,
    DAY,
    LATER,
    RAW,
    SHARE,
    bar,
    classified,
    draft_of,
    fetched,
    final,
    hour,
    hours,
    stamps,
    stored_range,
)

NOTHING = stored_range([])


def test_a_first_answer_is_one_piece() -> None:
    answer = fetched([bar(n) for n in range(4)])
    commit = build_commit(draft_of(answer, classified(answer, hours(0, 4)), NOTHING))
    (piece,) = commit.pieces
    assert (piece.span, piece.state, piece.vendor) == (hours(0, 4), "final", "acme")
    assert commit.marks == ()
    piece.check()


def test_unsettled_bars_are_a_piece_of_their_own() -> None:
    answer = fetched([bar(n) for n in range(4)], hour(4) + MINUTE_MS)
    commit = build_commit(draft_of(answer, classified(answer, hours(0, 24)), NOTHING))
    reported = [(p.span, p.state) for p in commit.pieces]
    assert reported == [(hours(0, 3), "final"), (hours(3, 4), "provisional")]


def test_equal_bars_are_marked_and_not_written_again() -> None:
    rows = [bar(n) for n in range(6)]
    stored = stored_range(
        rows, final(hours(0, 4)), replace(final(hours(4, 6)), state="provisional")
    )
    answer = fetched(rows)
    commit = build_commit(draft_of(answer, classified(answer, hours(0, 6)), stored))
    assert commit.pieces == ()
    assert {m.state for m in commit.marks} == {"final"}
    assert {m.fetched_at for m in commit.marks} == {LATER}


def test_only_new_and_changed_bars_are_written() -> None:
    rows = [bar(n) for n in range(6)]
    answer = fetched([*rows[:2], bar(2, 100.0000001), *rows[3:], bar(6)])
    commit = build_commit(
        draft_of(answer, classified(answer, hours(0, 7)), stored_range(rows, final(hours(0, 6))))
    )
    assert [(p.span, stamps(p.table)) for p in commit.pieces] == [
        (hours(2, 3), [2]), (hours(6, 7), [6]),
    ]  # fmt: skip
    assert [m.span for m in commit.marks] == [hours(0, 2), hours(3, 6)]


def test_rounding_differences_of_an_adjustment_are_not_a_revision() -> None:
    rows = [bar(n) for n in range(3)]
    answer = fetched([bar(n, 100.00000001) for n in range(3)])
    stored = stored_range(rows, final(hours(0, 3)), tolerance=1e-7)
    assert build_commit(draft_of(answer, classified(answer, hours(0, 3)), stored)).pieces == ()


def test_missing_values_are_equal_to_missing_values() -> None:
    rows = [bar(0, volume=math.nan)]
    answer = fetched(rows)
    stored = stored_range(rows, final(hours(0, 1)))
    assert build_commit(draft_of(answer, classified(answer, hours(0, 1)), stored)).pieces == ()


def test_stored_bars_of_unknown_basis_are_replaced_by_equal_bars_of_a_known_basis() -> None:
    rows = [bar(n) for n in range(4)]
    old = final(hours(0, 4), basis=Basis("unknown"), vendor="older")
    answer = fetched(rows)
    commit = build_commit(
        draft_of(answer, classified(answer, hours(0, 4)), stored_range(rows, old))
    )
    assert [p.basis for p in commit.pieces] == [RAW]


# --- what is stored and did not come -------------------------------------------------------


@pytest.mark.parametrize("gone", [0, 3, 5])
def test_a_stored_bar_missing_from_the_answer_is_kept_and_marked_suspect(gone: int) -> None:
    rows = [bar(n) for n in range(6)]
    answer = fetched([row for n, row in enumerate(rows) if n != gone])
    commit = build_commit(
        draft_of(answer, classified(answer, hours(0, 6)), stored_range(rows, final(hours(0, 6))))
    )
    assert commit.pieces == ()
    (suspect,) = [m for m in commit.marks if m.state == "suspect"]
    assert (suspect.span, suspect.reason) == (hours(gone, gone + 1), LOST)
    assert not [m for m in commit.marks if m.state == "empty"]
    assert not [m for m in commit.marks if m.state == "final" and m.span.overlaps(suspect.span)]


def test_a_bad_row_does_not_replace_a_stored_bar() -> None:
    rows = [bar(n) for n in range(6)]
    answer = fetched([*rows[:3], bar(3, high=1.0), *rows[4:]])
    commit = build_commit(
        draft_of(answer, classified(answer, hours(0, 6)), stored_range(rows, final(hours(0, 6))))
    )
    assert commit.suspects == ()
    (suspect,) = [m for m in commit.marks if m.state == "suspect"]
    assert (suspect.span, suspect.reason) == (hours(3, 4), SPOILT)


def test_a_provisional_bar_missing_from_an_answer_with_later_bars_is_withdrawn() -> None:
    rows = [bar(n) for n in range(6)]
    stored = stored_range(
        rows, final(hours(0, 4)), replace(final(hours(4, 6)), state="provisional")
    )
    answer = fetched([row for n, row in enumerate(rows) if n != 4])
    commit = build_commit(draft_of(answer, classified(answer, hours(0, 6)), stored))
    assert [(p.span, stamps(p.table)) for p in commit.pieces] == [(hours(3, 5), [3])]
    (empty,) = [m for m in commit.marks if m.state == "empty"]
    assert empty.span == hours(4, 5)


def test_a_provisional_bar_at_the_end_is_kept() -> None:
    rows = [bar(n) for n in range(6)]
    stored = stored_range(
        rows, final(hours(0, 5)), replace(final(hours(5, 6)), state="provisional")
    )
    answer = fetched(rows[:5])
    commit = build_commit(draft_of(answer, classified(answer, hours(0, 6)), stored))
    assert [m.span for m in commit.marks if m.state == "suspect"] == [hours(5, 6)]


def test_an_answer_that_lacks_half_of_the_stored_bars_is_rejected() -> None:
    rows = [bar(n) for n in range(6)]
    answer, stored = fetched(rows[:3]), stored_range(rows, final(hours(0, 6)))
    draft = draft_of(answer, classified(answer, hours(0, 6)), stored)
    with pytest.raises(QualityError, match="lacks 3 of 6"):
        build_commit(draft)
    assert draft.usable_from is None


@pytest.mark.parametrize("vendor, begins", [("acme", 3), ("another", None)])
def test_a_rejected_answer_can_be_used_from_its_first_bar_if_it_lacks_the_vendors_own_bars_before_it(
    vendor: str, begins: int | None
) -> None:
    rows = [bar(n) for n in range(6)]
    answer = fetched(rows[3:])
    old = replace(final(hours(0, 6)), vendor=vendor)
    draft = draft_of(answer, classified(answer, hours(0, 6)), stored_range(rows, old))
    with pytest.raises(QualityError, match="lacks 3 of 6"):
        build_commit(draft)
    assert draft.usable_from == (None if begins is None else rows[begins].stamp_ms)


def test_a_rejected_answer_cannot_be_used_in_part_if_it_has_rows_for_the_bars_that_it_lacks() -> (
    None
):
    rows = [bar(n) for n in range(6)]
    answer = fetched([row._replace(low=-1.0) for row in rows[:3]] + rows[3:])
    stored = stored_range(rows, final(hours(0, 6)))
    draft = draft_of(answer, classified(answer, hours(0, 6)), stored)
    with pytest.raises(QualityError, match="lacks 3 of 6"):
        build_commit(draft)
    assert draft.usable_from is None


def test_a_rejected_answer_cannot_be_used_in_part_if_the_bars_before_it_have_an_unknown_basis() -> (
    None
):
    rows = [bar(n) for n in range(6)]
    answer, stored = fetched(rows[3:]), stored_range(rows, final(hours(0, 6)))
    draft = draft_of(answer, classified(answer, hours(0, 6)), stored)
    draft.surroundings = replace(stored, rebased=BarTable.empty())
    with pytest.raises(QualityError, match="lacks 3 of 6"):
        build_commit(draft)
    assert draft.usable_from is None


def test_a_question_that_begins_later_stores_nothing_of_before() -> None:
    question = VendorQuestion(
        hours(2, 9), with_own_bars_before=hours(0, 9), missing_parts=(hours(2, 4), hours(5, 9))
    ).since(hours(6, 9).start)
    assert question.span == question.span_to_store == question.reach == hours(6, 9)
    assert question.missing_parts == (hours(6, 9),)


# --- empty spans, bad rows, doubts ---------------------------------------------------------


def test_an_unsettled_bar_after_a_gap_makes_nothing_before_it_final() -> None:
    answer = fetched([bar(3)], hour(4) + MINUTE_MS)
    commit = build_commit(draft_of(answer, classified(answer, hours(0, 24)), NOTHING))
    assert [(p.state, stamps(p.table)) for p in commit.pieces] == [("provisional", [3])]
    assert {(m.state, m.span) for m in commit.marks} == {("empty", hours(0, 3))}


def test_rows_for_which_bars_of_another_vendor_are_kept_are_left_out() -> None:
    answer = fetched([bar(n) for n in range(5)])
    grave = replace(final(hours(1, 3)), state="suspect", reason="grave: far off")
    verdicts = (
        replace(grave, span=hours(1, 2), vendor="other"),
        replace(grave, span=hours(2, 3)),  # its own bar is stored, with the doubt
        replace(grave, span=hours(3, 4), vendor="", state="provisional", reason=""),  # due again
    )
    judged = replace(classified(answer, hours(0, 5)), verdicts=verdicts)
    assert stamps(without_overruled(judged, "acme").closed) == [0, 2, 3, 4]
    assert stamps(without_overruled(judged, "other").closed) == [0, 1, 3, 4]


def test_holes_are_empty_and_listed_in_the_piece() -> None:
    answer = fetched([bar(0), bar(3)])
    commit = build_commit(draft_of(answer, classified(answer, hours(0, 4)), NOTHING))
    (piece,) = commit.pieces
    assert piece.holes == (hours(1, 3),)
    (empty,) = commit.marks
    assert (empty.span, empty.state, empty.reason) == (hours(1, 3), "empty", NO_BAR)
    assert empty.expires == next_due(Hole(hour(3), Expiry()), LATER), (
        "one observation is not a proof"
    )
    again = stored_range([bar(0), bar(3)], final(hours(0, 1)), final(hours(3, 4)), empty)
    answer = fetched([bar(0), bar(3)], empty.expires)
    commit = build_commit(draft_of(answer, classified(answer, hours(0, 4)), again))
    assert next(m.expires for m in commit.marks if m.state == "empty") == next_due(
        Hole(hour(3), Expiry(), empty.expires - LATER), empty.expires
    )


def test_an_answer_with_only_bad_rows_marks_the_rest_of_its_span_empty() -> None:
    answer = fetched([bar(2, high=1.0)], dense=False)
    commit = build_commit(
        draft_of(answer, classified(answer, hours(0, 4), density="unknown"), NOTHING)
    )
    assert commit.pieces == ()
    assert [s.bar.stamp_ms for s in commit.suspects] == [hour(2)]
    reported = {(m.state, m.span) for m in commit.marks}
    assert reported == {("suspect", hours(2, 3)), ("empty", hours(0, 2)), ("empty", hours(3, 4))}
    spans = [m.span for m in commit.marks]
    assert sum(s.end - s.start for s in spans) == 4 * HOUR_MS, "the whole span is covered"


def test_doubted_bars_are_stored_as_provisional_and_marked_suspect() -> None:
    suspicion = Suspicion("a split nearby", LATER + DAY_MS)
    rows = [bar(n) for n in range(4)]
    answer = fetched(rows)
    found = classified(answer, hours(0, 4))
    new = build_commit(draft_of(answer, found, NOTHING, suspicion=suspicion))
    assert [p.state for p in new.pieces] == ["provisional"]
    assert [(m.state, m.span, m.reason, m.expires) for m in new.marks] == [
        ("suspect", hours(0, 4), *suspicion)
    ]
    equal = build_commit(
        draft_of(answer, found, stored_range(rows, final(hours(0, 4))), suspicion=suspicion)
    )
    assert equal.pieces == ()
    assert {(m.state, m.reason) for m in equal.marks} == {("suspect", "a split nearby")}
    after = build_commit(draft_of(answer, found, stored_range(rows, *equal.marks)))
    assert {(m.state, m.reason, m.expires) for m in after.marks} == {("final", "", None)}


def test_closed_hours_after_a_contradictory_bar_are_not_due_with_it() -> None:
    """The answer is suspect for a day; the hours after the session are rarely requested."""
    grid = BarGrid(calendar_for(SHARE), Timeframe.parse("30m"))
    last, after = bar(19)._replace(stamp_ms=hour(20) - 30 * MINUTE_MS), bar(20)
    span = Span(last.stamp_ms, after.stamp_ms + 30 * MINUTE_MS)
    off_hours = replace(final(Span(hour(20), span.end)), state="suspect", reason=UNEXPECTED)
    answer = fetched([last, last._replace(close=100.5), after])
    suspicion = Suspicion("a split nearby", LATER + DAY_MS)
    draft = draft_of(
        answer,
        classified(answer, span, grid),
        stored_range([after], off_hours),
        grid=grid,
        suspicion=suspicion,
    )
    due = {mark.span.start: mark.expires for mark in build_commit(draft).marks}
    assert due == {span.start: suspicion.expires_ms, hour(20): LATER + LONGEST_MS}


def test_a_repeated_bad_row_stays_suspect_between_equal_neighbours() -> None:
    rows = [bar(0), bar(1), bar(3)]
    bad = replace(final(hours(2, 3)), state="suspect", reason="high below low")
    stored = stored_range(rows, final(hours(0, 2)), bad, final(hours(3, 4)))
    answer = fetched([bar(0), bar(1), bar(2, high=1.0), bar(3)])
    commit = build_commit(draft_of(answer, classified(answer, hours(0, 4)), stored))
    assert [m.state for m in commit.marks if m.span.overlaps(hours(2, 3))] == ["suspect"]


def test_a_bar_still_missing_between_equal_bars_is_recorded_as_requested() -> None:
    rows = [bar(0), bar(1), bar(3)]
    stored = stored_range(rows, final(hours(0, 2)), final(hours(3, 4)))
    answer = fetched(rows, dense=False)
    commit = build_commit(draft_of(answer, classified(answer, hours(0, 4)), stored))
    marks = [m for m in commit.marks if m.span.overlaps(hours(2, 3))]
    assert [(m.span, m.state, m.reason) for m in marks] == [(hours(2, 3), "empty", NO_BAR)]


def test_a_missing_day_that_may_have_been_a_holiday_is_recorded_with_this_reason() -> None:
    tokyo = Instrument("7203.T", "stock", calendar="XTKS", timezone="Asia/Tokyo")
    grid = BarGrid(calendar_for(tokyo), Timeframe.parse("1d"))
    week = Span(parse_iso("1995-03-06"), parse_iso("1995-03-11"))
    opens = grid.opens(week).tolist()
    answer = fetched([bar(0)._replace(stamp_ms=stamp) for stamp in opens if stamp != opens[2]])
    commit = build_commit(draft_of(answer, classified(answer, week, grid), NOTHING, grid=grid))
    (mark,) = commit.marks
    assert (mark.span, mark.reason) == (Span(opens[2], opens[3]), HOLIDAYS_UNKNOWN)


# --- terms ---------------------------------------------------------------------------------


def test_a_split_basis_has_a_date_only_if_it_is_after_the_first_bar() -> None:
    day, hours_of_coin = Timeframe.parse("1d"), Timeframe.parse("1h")
    share = BarsQuery(SHARE, day, Span(DAY, LATER), LATER)
    coin = BarsQuery(COIN, hours_of_coin, Span(DAY, LATER), LATER)
    split = replace(fetched([bar(0)]), basis=Basis("split"))
    assert basis_of(split, DAY, share, DAY) == Basis("split")
    assert str(basis_of(split, DAY, share, LATER).as_of) == "2024-06-10"
    assert basis_of(split, DAY, coin, None) == Basis("split")
    foreign = replace(split, basis=Basis("unknown"))
    assert basis_of(foreign, DAY, share, LATER) == Basis("unknown")
    assert basis_of(foreign, DAY, coin, None) == RAW


@pytest.mark.parametrize("session, as_of", [("regular", None), ("extended", DAY), ("", DAY)])
def test_todays_bars_keep_the_date_of_their_basis_if_they_may_be_from_the_evening_before(
    session: str, as_of: int | None
) -> None:
    hours_of_share = BarsQuery(SHARE, Timeframe.parse("1h"), Span(DAY, LATER), LATER)
    answer = fetched([bar(0)])
    split = replace(answer, kind=replace(answer.kind, session=session), basis=Basis("split"))
    dated = None if as_of is None else date_of(as_of)
    assert basis_of(split, DAY, hours_of_share, DAY) == Basis("split", dated)


def test_a_stored_range_lists_withdrawable_and_doubted_bars() -> None:
    doubts = [
        replace(final(hours(0, 2)), reason=""),
        replace(final(hours(2, 3)), state="provisional"),
        replace(final(hours(3, 4)), state="suspect", reason=UNEXPECTED),
        replace(final(hours(4, 5)), state="suspect", reason=f"{DOUBTFUL}of acme all of it"),
        replace(final(hours(5, 6)), state="suspect", reason=LOST),
    ]
    stored = StoredRange(NOTHING.rows, NOTHING.rows, stored_range([], *doubts).coverage)
    assert [n for n in range(7) if stored.is_removable(hour(n))] == [2, 3]
    assert [n for n in range(7) if stored.is_untrusted(hour(n))] == [3, 4]


def test_a_rejected_row_outside_the_answered_span_leaves_a_span_empty_and_closed() -> None:
    span = Span(hour(0) + 1, hour(1))
    answer = fetched([bar(0, high=1.0)])
    found = replace(classified(answer, hours(0, 1)), answered=span, bad=(), bad_spans=())
    (empty,) = build_commit(draft_of(answer, found, NOTHING)).marks
    assert (empty.reason, empty.expires) == (CLOSED, LATER + LONGEST_MS)
