"""Products with rational numbers are those of exact arithmetic, rounded once."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.prices.adjustment import scaled, times
from tests.core.cache.counts import examples

INF = float("inf")


@settings(max_examples=examples(200), derandomize=True, deadline=None)
@given(
    st.lists(st.floats(1e-9, 1e12), min_size=1, max_size=8),
    st.fractions(Fraction(1, 5000), 5000, max_denominator=5000)
    | st.sampled_from(
        [Fraction(1, 4), Fraction(7), Fraction(2, 3), Fraction(7, 8), Fraction(2**60)]
    )
    | st.sampled_from([Fraction(2**53 + 1, 2**53), Fraction(2**53, 2**53 + 1), Fraction(1, 3**40)]),
)
def test_a_scaled_price_is_rounded_once(values: list[float], factor: Fraction) -> None:
    assert times(np.array(values), factor).tolist() == [float(Fraction(v) * factor) for v in values]


@pytest.mark.parametrize("factor", [Fraction(1, 4), Fraction(3, 7)])
def test_nan_and_infinity_stay_when_scaled(factor: Fraction) -> None:
    done = times(np.array([np.nan, INF, -INF, 0.0, -28.0]), factor)
    assert np.isnan(done[0])
    assert done[1:].tolist() == [INF, -INF, 0.0, float(-28 * factor)]


def test_rows_are_scaled_apart_and_the_input_stays() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    done = scaled(values, [(slice(0, 1), Fraction(2)), (slice(2, 3), None)])
    assert done.tolist()[:2] == [2.0, 2.0]
    assert np.isnan(done[2])
    assert values.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_scaling_by_one_gives_the_column_itself() -> None:
    values = np.array([1.0])
    assert scaled(values, []) is values
    assert scaled(values, [(slice(0, 1), Fraction(1))]) is values
