"""Every difference is named after what was done to the bars, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, day_ms, iso
from src.data.core.model.time.span import Span
from src.data.core.prices.differences import CAUSES, ComparisonTerms, compare
from src.data.core.prices.splice import ONE_MARKET
from tests.core.cache.counts import examples

FIRST = date(2024, 1, 1)
DAYS = 60
Change = Callable[[BarTable], BarTable]


def day(number: int) -> int:
    """Return the stamp of a day, the first is number 0."""
    return day_ms(FIRST) + number * DAY_MS


def truth(seed: int = 5, days: int = DAYS, price: float = 100.0) -> BarTable:
    """Return a walk of days with prices to the cent."""
    dice = np.random.default_rng(seed)
    close = np.round(price * np.exp(np.cumsum(dice.normal(0, 0.01, days))), 2)
    first = np.round(close * (1 + dice.normal(0, 0.004, days)), 2)
    high, low = np.round(np.maximum(first, close) * 1.006, 2), np.minimum(first, close) * 0.994
    stamps = np.array([day(n) for n in range(days)], dtype=np.int64)
    volume = np.round(dice.uniform(1e5, 2e5, days))
    return BarTable(stamps, first, high, np.round(low, 2), close, volume)


def scaled(table: BarTable, factor: float, rows: slice, volume: float = 1.0) -> BarTable:
    """Return the table with the prices of some rows multiplied."""
    factors = np.ones(len(table))
    factors[rows] = factor
    volumes = np.ones(len(table))
    volumes[rows] = volume
    prices = [column * factors for column in table.values()[:4]]
    return BarTable.of_columns(table.stamps, [*prices, table.volume * volumes])


def split_of(numerator: int, denominator: int, number: int) -> Action:
    ex = date.fromordinal(FIRST.toordinal() + number)
    return Action(ex, "split", day_ms(ex), numerator=numerator, denominator=denominator)


def dividend_of(amount: float, number: int) -> Action:
    ex = date.fromordinal(FIRST.toordinal() + number)
    return Action(ex, "dividend", day_ms(ex), amount=amount)


def named(ours: BarTable, theirs: BarTable, **terms: Any) -> list[tuple[str, int, str, str]]:
    """Return cause, rows, first and last day of every difference."""
    found = compare(ours, theirs, ComparisonTerms(**terms)).differences
    return [(d.cause, d.rows, iso(d.first_ms)[:10], iso(d.last_ms)[:10]) for d in found]


def test_equal_series_have_no_difference() -> None:
    found = compare(truth(), truth())
    assert (found.rows, found.equal, found.differences) == (DAYS, DAYS, ())
    nothing = compare(BarTable.empty(), BarTable.empty())
    assert (nothing.rows, nothing.equal, nothing.differences) == (0, 0, ())


def test_without_a_tolerance_the_last_bit_counts_and_nan_is_nan() -> None:
    ours = truth()
    close = ours.close.copy()
    close[7] = np.nextafter(close[7], np.inf)
    theirs = BarTable(ours.stamps, ours.open, ours.high, ours.low, close, ours.volume)
    assert named(ours, theirs) == [("revision", 1, "2024-01-08", "2024-01-08")]
    assert named(ours, theirs, tolerance=1e-7) == []
    nothing = np.full(DAYS, np.nan)
    bare = BarTable(ours.stamps, ours.open, ours.high, ours.low, ours.close, nothing)
    assert named(bare, bare) == []
    assert named(bare, ours, volume=False) == []
    assert named(bare, ours) == [("conflict", DAYS, "2024-01-01", "2024-02-29")]


def test_whole_shares_are_rounding_where_prices_may_be_rounded() -> None:
    ours = truth()
    theirs = BarTable(ours.stamps, ours.open, ours.high, ours.low, ours.close, ours.volume + 0.7)
    assert named(ours, theirs, tolerance=1e-9) == []
    assert named(ours, theirs) != []


def test_a_few_little_corrections_are_revisions() -> None:
    theirs = scaled(scaled(truth(), 1.004, slice(10, 11)), 0.99, slice(40, 42))
    found = compare(truth(), theirs).differences
    (one,) = found
    assert (one.cause, one.rows) == ("revision", 3)
    assert one.ours is not None and one.theirs is not None
    assert one.theirs.close == pytest.approx(one.ours.close * 1.004)
    assert one.ours.stamp_ms == day(10)


def test_a_volume_that_was_counted_again_is_a_revision() -> None:
    theirs = scaled(truth(), 1.0, slice(3, 4), volume=1.7)
    assert named(truth(), theirs) == [("revision", 1, "2024-01-04", "2024-01-04")]


@pytest.mark.parametrize(
    "theirs",
    [
        scaled(truth(), 1.07, slice(10, 11)),  # too large
        scaled(truth(), 1.001, slice(10, 30)),  # too many
        truth(seed=6),
    ],
    ids=["large", "many", "another"],
)
def test_a_difference_without_a_known_cause_is_a_conflict(theirs: BarTable) -> None:
    assert {cause for cause, *_ in named(truth(), theirs)} == {"conflict"}


@pytest.mark.parametrize("factor", [100.0, 0.01])
@pytest.mark.parametrize("rows", [slice(0, DAYS), slice(20, 21), slice(5, 50)])
def test_a_difference_of_pence_and_pounds_is_named_as_unit(factor: float, rows: slice) -> None:
    (found,) = compare(truth(), scaled(truth(), factor, rows)).differences
    assert found.cause == "unit x100"
    assert found.rows == len(range(*rows.indices(DAYS)))
    assert found.said == f"theirs is {'100 times' if factor > 1 else 'a hundredth of'} ours"


@pytest.mark.parametrize(
    "numerator, denominator", [(4, 1), (1, 10), (3, 2), (7, 1), (20, 1), (1, 30), (5, 4)]
)
@pytest.mark.parametrize("who", ["ours", "theirs"])
@pytest.mark.parametrize("known", [True, False])
def test_a_split_that_one_side_lacks(
    numerator: int, denominator: int, who: str, known: bool
) -> None:
    ratio = numerator / denominator
    adjusted = scaled(truth(), 1 / ratio, slice(0, 30), volume=ratio)
    pair = (adjusted, truth()) if who == "ours" else (truth(), adjusted)
    actions = [split_of(numerator, denominator, 30)] if known else []
    (found,) = compare(*pair, ComparisonTerms(tolerance=1e-6, actions=actions)).differences
    assert (found.cause, found.rows, found.last_ms) == ("split", 30, day(29))
    term = (
        f"{numerator}:{denominator} on 2024-01-31" if known else "after 2024-01-30 that no vendor"
    )
    assert term in found.said


def test_prices_to_the_cent_do_not_hide_a_split() -> None:
    quarter = scaled(truth(price=12.0), 0.25, slice(0, 30))
    cents = BarTable.of_columns(
        quarter.stamps, [*(np.round(c, 2) for c in quarter.values()[:4]), quarter.volume]
    )
    assert named(truth(price=12.0), cents)[0][:2] == ("split", 30)


def test_two_splits_are_two_differences() -> None:
    theirs = scaled(scaled(truth(), 0.25, slice(0, 20)), 0.5, slice(0, 40))
    actions = [split_of(4, 1, 20), split_of(2, 1, 40)]
    assert named(truth(), theirs, actions=actions) == [
        ("split", 20, "2024-01-01", "2024-01-20"), ("split", 20, "2024-01-21", "2024-02-09"),
    ]  # fmt: skip


def test_a_split_before_the_last_odd_bar_did_not_make_it_odd() -> None:
    actions = [split_of(4, 1, 10)]
    (found,) = compare(
        truth(), scaled(truth(), 0.25, slice(0, 30)), ComparisonTerms(actions=actions)
    )[2]
    assert (
        found.said
        == "theirs is 1/4 of ours, as by a split after 2024-01-30 that no vendor reported"
    )


def test_one_odd_day_is_no_split_that_nobody_told() -> None:
    assert named(truth(), scaled(truth(), 0.5, slice(10, 12)))[0][0] == "conflict"
    share = [split_of(21, 20, 30)]
    assert named(truth(), scaled(truth(), 20 / 21, slice(0, 30)), actions=share)[0][0] == "split"
    told = [split_of(2, 1, 1)]
    assert named(truth(), scaled(truth(), 0.5, slice(0, 1)), actions=told)[0][0] == "split"


@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_dividends_that_one_side_took_off(who: str) -> None:
    plain, actions = truth(), [dividend_of(0.4, 20), dividend_of(0.5, 45)]
    adjusted = plain
    for action, number in zip(actions, (20, 45), strict=True):
        before = float(plain.close[number - 1])
        adjusted = scaled(adjusted, 1 - action.amount / before, slice(0, number))
    pair = (adjusted, plain) if who == "ours" else (plain, adjusted)
    assert named(*pair, actions=actions)[0][:2] == ("dividend adjustment", 45)
    assert named(*pair)[0][0] == "conflict", "nobody told of a dividend"


def test_an_adjusted_close_that_only_one_side_has_is_no_difference() -> None:
    plain = truth()
    ours, theirs = plain.close * 0.9, plain.close * 0.9
    ours[:10], theirs[50:] = np.nan, np.nan
    theirs[20:23] *= 1.01
    pair = plain.with_adj_close(ours), plain.with_adj_close(theirs)
    assert named(*pair, adj_close=True) == [("adjusted close", 3, "2024-01-21", "2024-01-23")]
    assert named(*pair) == []


def test_bars_that_only_one_side_has_are_named_as_missing() -> None:
    ours, theirs = truth(), truth()
    ours, theirs = ours.take(np.arange(DAYS) != 7), theirs.take(np.arange(DAYS) < 57)
    found = compare(ours, theirs)
    assert (found.rows, found.equal) == (60, 56)
    assert [(d.cause, d.rows, d.first_ms) for d in found.differences] == [
        ("missing here", 1, day(7)), ("missing there", 3, day(57)),
    ]  # fmt: skip
    here, there = found.differences
    assert here.ours is None and here.theirs is not None
    assert there.theirs is None and there.ours is not None


def test_each_difference_in_an_unsettled_span_is_stale() -> None:
    late = Span(day(50), day(DAYS))
    theirs = scaled(truth(), 1.5, slice(50, 52))
    assert named(truth(), theirs, unsettled=[late]) == [("stale", 2, "2024-02-20", "2024-02-21")]
    assert named(truth().take(slice(0, 55)), truth(), unsettled=[late])[0][0] == "stale"
    assert named(truth(), truth().take(slice(0, 55)), unsettled=[late])[0][0] == "stale"
    assert named(truth(), truth(), unsettled=[late]) == []


def test_the_gravest_comes_first() -> None:
    theirs = scaled(scaled(truth(), 1.5, slice(50, 51)), 1.001, slice(10, 11))
    theirs = scaled(theirs, 100.0, slice(30, 31)).take(slice(0, 55))
    causes = [cause for cause, *_ in named(truth(), theirs)]
    assert causes == ["conflict", "unit x100", "revision", "missing there"]
    assert sorted(causes, key=CAUSES.index) == causes


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_prices_that_are_not_positive_numbers_are_a_conflict(value: float) -> None:
    ours = truth()
    close = ours.close.copy()
    close[5] = value
    odd = BarTable(ours.stamps, ours.open, ours.high, ours.low, close, ours.volume)
    assert named(ours, odd) == named(odd, ours) == [("conflict", 1, "2024-01-06", "2024-01-06")]


@settings(derandomize=True, max_examples=examples(60), deadline=None)
@given(
    kept=st.lists(st.booleans(), min_size=20, max_size=20),
    theirs=st.lists(st.booleans(), min_size=20, max_size=20),
    factors=st.lists(st.sampled_from([1.0, 1.001, 0.25, 100.0, 3.3]), min_size=20, max_size=20),
)
def test_every_bar_is_counted_once(
    kept: list[bool], theirs: list[bool], factors: list[float]
) -> None:
    table = truth(days=20)
    other = scaled(table, 1.0, slice(0, 0))
    for place, factor in enumerate(factors):
        other = scaled(other, factor, slice(place, place + 1))
    left, right = table.take(np.array(kept)), other.take(np.array(theirs))
    found = compare(left, right)
    either = [a or b for a, b in zip(kept, theirs, strict=True)]
    assert found.rows == sum(either)
    assert found.equal + sum(d.rows for d in found.differences) == found.rows
    assert found.equal == sum(
        a and b and f == 1.0 for a, b, f in zip(kept, theirs, factors, strict=True)
    )


def test_two_sources_that_agree_on_the_whole_have_small_differences() -> None:
    """Highs and lows of other trades, a few closes apart; one price that is far off stays one."""
    ours, rng = truth(), np.random.default_rng(7)
    wide, narrow = abs(rng.normal(0, 2e-3, len(ours))), rng.normal(0, 1e-4, len(ours))
    high, low, close = ours.high * (1 + wide), ours.low * (1 - wide), ours.close * (1 + narrow)
    far = high.copy()
    far[20] *= 1.1
    theirs = replace(ours, high=far, low=low, close=close)
    terms = ComparisonTerms(2e-4, volume=False, agreement=ONE_MARKET)
    found = {d.cause: d.rows for d in compare(ours, theirs, terms).differences}
    assert found["conflict"] == 1
    assert found["small difference"] > 20
    shifted = replace(theirs, close=close * 1.003)
    causes = {d.cause for d in compare(ours, shifted, terms).differences}
    assert "small difference" not in causes, "their closes do not agree"
    assert "conflict" in {d.cause for d in compare(ours, theirs, ComparisonTerms(2e-4)).differences}
