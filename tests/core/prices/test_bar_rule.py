"""One rule of what a bar is: its two forms agree, and its bounds are those that it names."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from src.data.core.model.market.bars import NAN, Bar, BarTable
from src.data.core.model.market.stream import LiveBar, Trade
from src.data.core.prices.bar_rule import (
    HIGHEST_PRICE,
    HIGHEST_VOLUME,
    LARGEST_FALL,
    LARGEST_RISE,
    LOWEST_PRICE,
    PRICE_TOLERANCE,
    are_bars,
    are_prices,
    fault_of,
    faults_of,
    is_bar,
    is_price,
    is_trade,
)
from tests.core.cache.counts import examples

INF = math.inf
# What comes near an edge, and what stands for "none".
EDGES = (
    0.0, -0.0, 5e-324, LOWEST_PRICE, 1.0, 1 - PRICE_TOLERANCE, 1 + PRICE_TOLERANCE, 1 - 2e-6, 1 + 2e-6,
    HIGHEST_PRICE, HIGHEST_PRICE * (1 + 1e-6), 2.0**63, HIGHEST_VOLUME, 2e30, 1e300, 1.8e308, INF, -INF,
    NAN, -1.0, LARGEST_RISE, 1 / LARGEST_FALL,
)  # fmt: skip
NEAR = [float(np.nextafter(edge, to)) for edge in EDGES for to in (INF, -INF)]
VALUES = st.sampled_from([*EDGES, *NEAR]) | st.floats()


# A close a little below the lowest price, as the tolerance allows it.
AT_THE_EDGE = (1e-30, 1e-30, float(np.nextafter(1e-30, 1)), float(np.nextafter(1e-30, 0)), 0.0)


@settings(max_examples=examples(1000), deadline=None)
@example([AT_THE_EDGE])
@given(st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES, VALUES), min_size=1, max_size=8))
def test_one_bar_and_rows_are_judged_alike(rows: list[tuple[float, ...]]) -> None:
    bars = [Bar(0, *row) for row in rows]
    table = BarTable.from_bars(bars)
    by_rows = are_bars(table).tolist()
    assert [is_bar(bar) for bar in bars] == by_rows
    assert [is_bar(LiveBar(*bar[:6])) for bar in bars] == by_rows
    assert [is_price(row[0]) for row in rows] == are_prices(table.open).tolist()
    reasons = faults_of(table)
    assert [reason != "not a bar" for reason in reasons] == [not ok for ok in by_rows]


@settings(max_examples=examples(300), deadline=None)
@given(VALUES, VALUES)
def test_a_valid_trade_is_one_that_makes_a_valid_bar(price: float, size: float) -> None:
    of_one = Bar(0, price, price, price, price, size)
    assert is_trade(Trade(0, price, size)) == (is_bar(of_one) and not math.isnan(size))


@pytest.mark.parametrize(
    "bar, why",
    [
        (Bar(0, -2, -1, -3, -2, 1), "price not positive"),
        (Bar(0, 0, 0, 0, 0, 1), "price not positive"),
        (Bar(0, 1e300, 1e300, 1e300, 1e300, 1), "price beyond any market's"),
        (Bar(0, 5e-324, 1, 5e-324, 1, 1), "price beyond any market's"),
        (Bar(0, 2.0**63, 2.0**63, 2.0**63, 2.0**63, 1), "price beyond any market's"),
        (Bar(0, 1, INF, 1, 1, 1), "price infinite"),
        (Bar(0, 1, 2, 1, NAN, 1), "price missing"),
        (Bar(0, 1, 1, 2, 1, 1), "high below low"),
        (Bar(0, 3, 2, 1, 1, 1), "high below open or close"),
        (Bar(0, 1, 3, 2, 2, 1), "low above open or close"),
        (Bar(0, 100, 1e17, 99, 101, 1), "high or low too far from open and close"),
        (Bar(0, 100, 101, 1e-17, 99, 1), "high or low too far from open and close"),
        (Bar(0, 1, 1, 1, 1, -1), "volume negative"),
        (Bar(0, 1, 1, 1, 1, 1e300), "volume beyond any market's"),
    ],
)
def test_the_fault_of_an_invalid_bar_is_named(bar: Bar, why: str) -> None:
    assert not is_bar(bar)
    assert fault_of(bar) == why


@pytest.mark.parametrize(
    "price",
    [1e-17, 3e14, 1.06e11],
    ids=["a coin in bitcoins", "joined shares", "a bitcoin in rials"],
)
def test_prices_that_there_are_can_be_some(price: float) -> None:
    assert is_bar(Bar(0, price, price, price, price, NAN))


@pytest.mark.parametrize(
    "bar",
    [
        Bar(0, 0.01, 2_861, 0.001, 0.003, NAN),
        Bar(0, 34, 99_999.99, 33, 34, NAN),
        Bar(0, 1.06e11, 1.06e11, 1, 1.05e11, NAN),
        Bar(0, 1e-9, 0.9, 1e-9, 1e-9, NAN),
        Bar(0, 1e-9, 100, 1e-9, 99, NAN),
        Bar(0, 4, 4, 1e-8, 4, NAN),
    ],
    ids=["a coin up and back", "an empty book", "a bitcoin at a rial", "nearly the rise allowed",
         "a listing", "a satoshi"],
)  # fmt: skip
def test_prices_that_there_have_been_are_near_enough(bar: Bar) -> None:
    assert is_bar(bar)
