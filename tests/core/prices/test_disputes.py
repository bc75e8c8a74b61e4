"""Tests several vendors' reports of one action: which belong to one event, and which one counts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.market.actions import Action
from src.data.core.model.time.instant import day_ms
from src.data.core.prices.disputes import ActionEvent, events_of, is_correction, is_repeated

from .test_adjustment import dividend, split

MONDAY = date(2020, 8, 31)
LATE = day_ms(date(2021, 1, 4))


def of(*words: Action, asked: Iterable[str] = ()) -> tuple[ActionEvent, ...]:
    return events_of(words, lambda _: asked)


def one(*words: Action, asked: Iterable[str] = ()) -> ActionEvent:
    (event,) = of(*words, asked=asked)
    return event


def by(vendor: str, ratio: float = 4, day: date = MONDAY, at: int = LATE, old: float = 1) -> Action:
    return split(day, ratio, old, source=vendor, fetched_at=at)


def pays(vendor: str, amount: float, day: date = MONDAY, **more: Any) -> Action:
    return dividend(day, amount, source=vendor, **({"fetched_at": LATE} | more))


class TestOneEvent:
    @pytest.mark.parametrize("apart", [-4, -3, -1, 1, 3, 4])
    def test_a_day_or_a_weekend_apart(self, apart: int) -> None:
        other = MONDAY + timedelta(days=apart)
        assert len(of(by("a"), by("b", day=other))) == 1
        assert len(of(pays("a", 0.5), pays("b", 0.5, other))) == 1

    def test_a_week_apart_or_of_another_value_they_are_two(self) -> None:
        later = MONDAY + timedelta(days=5)
        assert len(of(by("a"), by("b", day=later))) == 2
        assert len(of(pays("a", 0.5), pays("b", 0.5, later))) == 2
        tomorrow = MONDAY + timedelta(days=1)
        assert len(of(by("a", 4), by("b", 2, day=tomorrow))) == 2
        assert len(of(pays("a", 0.5), pays("b", 0.6, tomorrow))) == 2

    @pytest.mark.parametrize("apart", [7, 14])
    def test_weekly_payments_of_one_amount_that_vendors_omit_in_part_are_one_each(
        self, apart: int
    ) -> None:
        days = [MONDAY + timedelta(days=apart * n) for n in range(6)]
        for of_a, of_b in product(combinations(days, 5), combinations(days, 3)):
            words = [*(pays("a", 0.1, day) for day in of_a), *(pays("b", 0.1, day) for day in of_b)]
            found = events_of(words, lambda _: (), lambda _: ("a", "b"))
            assert [{r.ex_date for r in event.reports} for event in found] == [
                {day} for day in days if day in (*of_a, *of_b)
            ]

    @pytest.mark.parametrize("name", ["a", "b"])
    def test_two_weeks_apart_if_a_vendor_lacks_what_the_other_reports(self, name: str) -> None:
        def count(*words: Action) -> int:
            """Return the number of events if ``name`` answered for the dates of all reports."""
            return len(events_of(words, lambda _: (), lambda _: [name]))

        near, far = MONDAY + timedelta(days=14), MONDAY + timedelta(days=15)
        assert count(by("a"), by("b", day=near)) == count(pays("a", 0.5), pays("b", 0.5, near)) == 1
        assert count(by("a"), by("b", day=far)) == count(pays("a", 0.5), pays("b", 0.5, far)) == 2
        assert count(pays("a", 0.5), pays("b", 0.6, near)) == 2
        weekly = pays("a", 0.5), pays("b", 0.5), pays("a", 0.5, near)
        assert count(*weekly) == 2, "both report the first"

    def test_two_weeks_apart_they_are_two_if_neither_vendor_was_queried_for_the_other_date(
        self,
    ) -> None:
        near = MONDAY + timedelta(days=7)
        words = pays("a", 0.5), pays("b", 0.5, near)
        asked = {MONDAY: ["a"], near: ["b"]}
        assert len(events_of(words, lambda _: (), asked.__getitem__)) == 2

    def test_one_vendor_may_pay_twice_within_days(self) -> None:
        assert len(of(pays("a", 0.5), pays("a", 0.5, MONDAY + timedelta(days=2)))) == 2

    def test_a_split_and_a_dividend_of_one_day_are_two(self) -> None:
        assert [e.type for e in of(by("a"), pays("a", 0.5))] == ["dividend", "split"]

    def test_a_weekend_is_no_dispute_and_the_session_counts(self) -> None:
        event = one(by("early", day=date(2020, 8, 30), at=1), by("late", at=2))
        assert event.action().ex_date == MONDAY
        assert not event.is_disputed

    def test_another_session_is_one(self) -> None:
        event = one(by("early", day=date(2020, 8, 28), at=1), by("late", at=2))
        assert event.is_disputed
        assert not event.is_settled
        assert event.action().ex_date == date(2020, 8, 28)
        assert event.action("late").ex_date == MONDAY


class TestAgreement:
    BEFORE = date(2020, 2, 7)

    def test_as_paid_and_split_adjusted_amounts_are_one(self) -> None:
        paid = pays("a", 0.77, self.BEFORE, as_paid=True)
        told = pays("b", 0.1925, self.BEFORE)
        _, event = sorted(of(by("a"), by("b"), paid, told), key=lambda e: e.type, reverse=True)
        assert event.reports == [paid, told]
        assert not event.is_disputed
        unadjusted = pays("b", 0.77, self.BEFORE)
        assert of(by("a"), by("b"), paid, unadjusted)[0].is_disputed

    @pytest.mark.parametrize(
        "mine, theirs, same",
        [
            (0.205, 0.2, True), (0.205, 0.21, True), (0.77, 0.7653, True), (0.77, 0.76, False),
            (0.82, 0.8, False), (0.8, 0.8000000001, True), (0.0946428, 0.094643, True),
            (1.0, 1.01, False), (0.001, 0.0012, True), (0.0101, 0.0204, False),
        ],
    )  # fmt: skip
    def test_amounts_differ_beyond_rounding(self, mine: float, theirs: float, same: bool) -> None:
        event = one(pays("a", mine), pays("b", theirs))
        assert event.is_disputed is not same

    @pytest.mark.parametrize(
        "mine, theirs, same",
        [
            ((4, 1), (8, 2), True), ((1, 3), (0.3333, 1), True), ((7, 3), (2.3333, 1), True),
            ((1.0027, 1), (1, 0.997307), True), ((4, 1), (1, 4), False), ((2, 1), (2.01, 1), False),
        ],
    )  # fmt: skip
    def test_equal_ratios_of_a_split_are_not_disputed(
        self, mine: tuple[float, float], theirs: tuple[float, float], same: bool
    ) -> None:
        event = one(by("a", mine[0], old=mine[1]), by("b", theirs[0], old=theirs[1]))
        assert event.is_disputed is not same

    def test_of_words_that_agree_the_finest_counts(self) -> None:
        assert one(pays("a", 0.2, fetched_at=1), pays("b", 0.205)).action().amount == 0.205
        assert one(by("a", 0.3333, at=1), by("b", 1, old=3)).action().source == "b"


class TestWhoCounts:
    def test_the_split_that_most_vendors_report_counts(self) -> None:
        event = one(by("a", 2, at=1), by("b", 4), by("c", 4))
        assert event.action().ratio == 4
        assert event.action("a").ratio == 4
        assert event.is_settled
        assert [a.source for a in event.dissent(event.action())] == ["a"]

    def test_else_the_vendor_whose_bars_are_adjusted_and_else_the_first(self) -> None:
        event = one(by("a", 2, at=1), by("b", 4, at=2))
        assert [event.action(v).ratio for v in ("", "a", "b", "c")] == [2, 2, 4, 2]
        assert not event.is_settled

    def test_most_vendors_for_its_date_too(self) -> None:
        event = one(by("a", day=date(2020, 8, 28), at=1), by("b"), by("c"))
        assert event.action("a").ex_date == MONDAY
        assert event.is_settled

    def test_one_that_others_do_not_know(self) -> None:
        told = [by("a")]
        tied = one(*told, asked=["a", "b"])
        assert (tied.counts, tied.is_disputed, tied.is_settled) == (True, True, False)
        assert tied.silent == ("b",)
        denied = one(*told, asked=["a", "b", "c"])
        assert (denied.counts, denied.is_disputed, denied.is_settled) == (False, True, True)
        known = one(by("a"), by("b"), asked=["a", "b", "c"])
        assert (known.counts, known.is_settled) == (True, True)

    def test_a_vendor_that_never_reports_dividends_is_not_silent_about_one(self) -> None:
        splits_only = by("b", day=date(2014, 6, 9), ratio=7)
        first, second = of(splits_only, pays("a", 0.5), asked=["a", "b"])
        assert (first.silent, second.silent) == (("a",), ())
        other = pays("b", 0.4, date(2020, 5, 8))
        assert of(other, pays("a", 0.5), asked=["a", "b"])[1].silent == ("b",)

    def test_nonsense_is_a_word_of_its_own(self) -> None:
        event = one(by("a", 0, at=1), by("b", 4), by("c", 4))
        assert event.action().ratio == 4
        for nonsense in (by("a", 0), by("a", old=0), by("a", float("nan"))):
            assert not one(nonsense).action().is_sound
            assert len(of(nonsense, by("b", day=MONDAY + timedelta(days=1)))) == 2


class TestOneVendor:
    def test_a_split_may_be_dated_anew_and_a_dividend_is_another(self) -> None:
        moved = date(2020, 8, 28)
        assert is_correction(by("a"), by("a", day=moved))
        assert is_correction(by("a"), by("a", 2))
        assert not is_correction(by("a"), by("b"))
        assert not is_correction(by("a"), by("a", 2, day=moved))
        assert not is_correction(pays("a", 0.5), pays("a", 0.5, moved))

    def test_an_equal_report_of_the_same_vendor_is_a_repetition(self) -> None:
        assert is_repeated(by("a", at=1), by("a", at=2))
        assert is_repeated(pays("a", 0.5), pays("a", 0.5 + 1e-10))
        assert not is_repeated(pays("a", 0.5), pays("a", 0.50001))
        assert not is_repeated(pays("a", 0.5), pays("a", 0.5, as_paid=True))
        assert not is_repeated(by("a", 4, old=1), by("a", 8, old=2))


vendors = st.sampled_from("abcd")
words = st.builds(
    lambda v, n, r, at: by(v, r, MONDAY + timedelta(days=30 * n), at),
    vendors, st.integers(0, 2), st.sampled_from([2.0, 3.0, 4.0]), st.integers(1, 9),
)  # fmt: skip


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(words, max_size=8, unique_by=lambda a: (a.source, a.ex_date)), st.randoms())
def test_the_order_of_words_does_not_matter_and_none_is_lost(told: list[Action], rnd: Any) -> None:
    events = of(*told)
    assert sorted(a for e in events for a in e.reports) == sorted(told)
    shuffled = rnd.sample(told, len(told))
    assert of(*shuffled) == events
    for event in events:
        ratios = [a.ratio for a in event.reports]
        most = max(ratios.count(r) for r in ratios)
        assert ratios.count(event.action().ratio) == most
