"""Tests the gaps of an answer: their spans and their reasons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from src.data.core.bars.answer.answer import Answer, Gap, list_gaps, provenance
from src.data.core.bars.answer.reader import FetchOutcome, Reader, _doubts
from src.data.core.bars.fetch.lane import real_gaps
from src.data.core.bars.series import UnfilledSpan
from src.data.core.cache.store import BarStore, Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.stored.coverage import Coverage, Covered
from src.data.core.model.stored.lifetime import Lifetime
from src.data.core.model.stored.reasons import (
    AFTER_LAST,
    BEFORE_FIRST,
    CLOSED,
    GRAVE,
    NO_BAR,
    UNASKED,
    UNEXPECTED,
)
from src.data.core.model.time.instant import HOUR_MS, iso
from src.data.core.model.time.span import Span

from .answers import COIN, HOURLY, KIND, LATER, RAW, bar, final, hour, hours, table

EVER = Lifetime().for_gaps(LATER)


def empty(span: Span, reason: str, expires: int | None = None) -> Covered:
    return Covered(span, "empty", reason=reason, expires=expires)


def gaps_of(
    *parts: Covered,
    unfilled: tuple[UnfilledSpan, ...] = (),
    traded: Span = EVER,
    after: str = AFTER_LAST,
) -> list[Gap]:
    return list_gaps(hours(0, 10), Coverage(parts), unfilled, LATER, traded, after)


def test_a_covered_span_has_no_gaps() -> None:
    assert gaps_of(final(hours(0, 10))) == []
    asked = Covered(hours(5, 10), "empty", "binance", reason=CLOSED)
    assert gaps_of(final(hours(0, 5)), asked) == []


def test_a_span_of_closed_hours_that_was_not_requested_is_a_harmless_gap() -> None:
    parts = final(hours(0, 5)), empty(hours(5, 10), CLOSED)
    assert gaps_of(*parts) == [Gap(hours(5, 10), UNASKED, harmless=True)]


def test_an_empty_span_is_a_gap_with_its_reason_until_it_expires() -> None:
    parts = final(hours(0, 5)), empty(hours(5, 10), NO_BAR, LATER + 1)
    assert gaps_of(*parts) == [Gap(hours(5, 10), NO_BAR)]
    stale = final(hours(0, 5)), empty(hours(5, 10), NO_BAR, LATER)
    assert gaps_of(*stale) == [Gap(hours(5, 10), "closed, not published yet")]


def test_a_gap_with_two_reasons_is_split_into_two_gaps() -> None:
    failures = (UnfilledSpan(hours(2, 5), "a: down"), UnfilledSpan(hours(4, 7), "b: too deep"))
    assert gaps_of(final(hours(0, 2)), unfilled=failures) == [
        Gap(hours(2, 5), "a: down"), Gap(hours(5, 7), "b: too deep"),
        Gap(hours(7, 10), "closed, not published yet"),
    ]  # fmt: skip


def test_suspect_bars_that_are_due_and_failed_to_refetch_are_not_a_gap() -> None:
    doubted = Covered(hours(0, 10), "suspect", "acme", expires=LATER - HOUR_MS)
    assert gaps_of(doubted, unfilled=(UnfilledSpan(hours(0, 10), "down"),)) == []


def test_the_time_before_a_listing_is_a_harmless_gap() -> None:
    parts = (
        empty(hours(0, 2), NO_BAR), empty(hours(2, 5), BEFORE_FIRST), final(hours(5, 8)),
        empty(hours(8, 10), NO_BAR),
    )  # fmt: skip
    assert gaps_of(*parts, traded=Span(hour(5), EVER.end)) == [
        Gap(hours(0, 5), BEFORE_FIRST, harmless=True),
        Gap(hours(8, 10), NO_BAR),
    ]


def test_a_gap_outside_a_lifetime_is_before_the_first_bar_or_after_the_last() -> None:
    gaps = gaps_of(
        final(hours(4, 6)), unfilled=(UnfilledSpan(hours(1, 3), "down"),), traded=hours(2, 8)
    )
    assert gaps == [
        Gap(hours(0, 1), BEFORE_FIRST, harmless=True), Gap(hours(1, 3), "down"),
        Gap(hours(3, 4), "closed, not published yet"),
        Gap(hours(6, 8), "closed, not published yet"), Gap(hours(8, 10), AFTER_LAST, harmless=True),
    ]  # fmt: skip


def test_empty_spans_after_the_end_are_after_the_last_bar_unless_a_vendor_failed_for_them() -> None:
    parts = final(hours(0, 2)), empty(hours(2, 6), NO_BAR), empty(hours(8, 9), NO_BAR)
    after = Gap(hours(3, 10), AFTER_LAST, harmless=True)
    traded = Span(-EVER.end, hour(3))
    assert gaps_of(*parts, traded=traded) == [Gap(hours(2, 3), NO_BAR), after]
    down = UnfilledSpan(hours(4, 7), "down", failed=True)
    assert gaps_of(*parts, unfilled=(down,), traded=traded) == [
        Gap(hours(2, 3), NO_BAR),
        replace(after, span=hours(3, 4)),
        Gap(hours(4, 7), "down", failed=True),
        replace(after, span=hours(7, 10)),
    ]


def test_the_end_of_a_users_data_is_a_gap() -> None:
    parts = final(hours(0, 2)), empty(hours(2, 6), NO_BAR)
    reason = "the data ends on 2024-06-03"
    assert gaps_of(*parts, traded=Span(-EVER.end, hour(2)), after=reason) == [
        Gap(hours(2, 10), reason)
    ]


def test_a_forming_bar_and_a_span_without_expected_bars_are_not_gaps() -> None:
    slit = Gap(Span(hour(3) + 1, hour(4)), "x")
    found = [slit, Gap(hours(5, 9), "y"), Gap(hours(9, 10), "z")]
    assert real_gaps(found, hour(7), HOURLY) == [Gap(hours(5, 7), "y")]


def test_overlapping_failures_are_reported_with_the_reason_of_the_first() -> None:
    failed = (
        UnfilledSpan(hours(6, 9), "late"),
        UnfilledSpan(hours(2, 8), "first of two", failed=True),
        UnfilledSpan(hours(0, 10), "whole"),
        UnfilledSpan(hours(4, 4), "nothing"),
    )
    gaps = gaps_of(final(hours(3, 5)), unfilled=failed)
    assert [(gap.span, gap.reason, gap.failed) for gap in gaps] == [
        (hours(0, 2), "whole", False),
        (hours(2, 3), "first of two", True),
        (hours(5, 6), "first of two", True),
        (hours(6, 9), "late", False),
        (hours(9, 10), "whole", False),
    ]


def test_a_failure_takes_precedence_over_an_empty_answer_of_another_vendor() -> None:
    parts = empty(hours(0, 4), NO_BAR), final(hours(4, 6)), empty(hours(6, 8), f"{NO_BAR}; odd")
    down = UnfilledSpan(hours(1, 7), "a: down", failed=True, is_outage=True)
    assert gaps_of(*parts, final(hours(8, 10)), unfilled=(down,)) == [
        Gap(hours(0, 1), NO_BAR),
        Gap(hours(1, 4), "a: down", failed=True, is_outage=True),
        Gap(hours(6, 7), "a: down", failed=True, is_outage=True),
        Gap(hours(7, 8), f"{NO_BAR}; odd"),
    ]


def test_stored_marks_take_precedence_over_an_unfilled_span() -> None:
    parts = empty(hours(0, 5), NO_BAR), final(hours(5, 10))
    for other in (
        UnfilledSpan(hours(0, 5), "b: does not go back so far"),
        UnfilledSpan(hours(0, 5), "b: does not fit", failed=True, is_noted=True),
    ):
        assert gaps_of(*parts, unfilled=(other,)) == [Gap(hours(0, 5), NO_BAR)]
    down = UnfilledSpan(hours(0, 5), "a: down", failed=True)
    listing = empty(hours(0, 5), BEFORE_FIRST)
    early = [Gap(hours(0, 5), BEFORE_FIRST, harmless=True)]
    assert gaps_of(listing, parts[1], unfilled=(down,), traded=Span(hour(5), EVER.end)) == early
    assert gaps_of(*parts, unfilled=(down,), traded=Span(hour(5), EVER.end)) == early


def test_merged_spans_keep_grave_bars_separate_from_other_suspect_bars() -> None:
    reasons = [("", "final"), (f"{GRAVE}unit", "suspect"), ("off_grid", "suspect")] * 7
    parts = [
        Covered(hours(at, at + 1), state, "acme", reason=reason)  # type: ignore[arg-type]
        for at, (reason, state) in enumerate([("", "final"), *reasons])
    ]
    query = BarsQuery(COIN, HOURLY.timeframe, hours(0, len(parts)), LATER)
    bars = table(bar(at) for at in range(len(parts)))
    spans = provenance(Answer(query, bars, Coverage(parts), kind=KIND))["spans"]
    assert [(s["state"], s.get("reason"), s["rows"], s["merged"]) for s in spans] == [
        ("final", None, 8, True), ("suspect", f"{GRAVE}unit", 7, True),
        ("suspect", "off_grid", 7, True),
    ]  # fmt: skip


def test_only_bars_of_a_share_outside_its_sessions_are_a_reason_for_doubt() -> None:
    outside = replace(final(hours(3, 5)), state="suspect", reason=UNEXPECTED)
    coverage, rows = Coverage([final(hours(0, 3)), outside]), table(bar(n) for n in range(5))
    text = f"2 bars {UNEXPECTED}, first {iso(hour(3))}"
    assert _doubts(coverage, rows, "stock") == [text]
    assert _doubts(coverage, rows, "forex") == []
    assert _doubts(coverage, rows.within(hours(0, 3)), "stock") == []


def test_an_answer_without_bars_names_a_gap_in_which_bars_are_missing() -> None:
    gaps = Gap(hours(0, 4), BEFORE_FIRST, harmless=True), Gap(hours(4, 10), NO_BAR)
    query = BarsQuery(COIN, HOURLY.timeframe, hours(0, 10), LATER)
    answer = Answer(query, table(()), Coverage(), gaps, kind=KIND)
    assert provenance(answer)["empty"] == NO_BAR
    assert provenance(replace(answer, gaps=gaps[:1]))["empty"] == BEFORE_FIRST


def test_bars_that_could_not_be_stored_are_cut_to_the_query(tmp_path: Path) -> None:
    bars = table(bar(at) for at in range(10))
    piece = CommitPiece(bars, hours(0, 10), "acme", LATER, KIND, RAW, "final")
    clock = ManualClock(LATER)
    query = BarsQuery(COIN, HOURLY.timeframe, hours(2, 5), LATER)
    answer = Reader(BarStore(tmp_path, clock=clock), clock).answer(
        query, SeriesKey(COIN.symbol, HOURLY.timeframe), query.span,
        FetchOutcome(unstored=[Commit(pieces=(piece,))], kind=KIND),
    )  # fmt: skip
    assert answer.table.stamps.tolist() == [hour(2), hour(3), hour(4)]
    assert [entry.span for entry in answer.coverage] == [hours(2, 5)]
