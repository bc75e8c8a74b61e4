"""Columns times rational numbers, each result rounded once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from .bars import NAN, Floats

# Whole numbers up to here are exact as floats.
_EXACT = 2**53


def scaled(values: Floats, factors: Sequence[tuple[slice, Fraction | None]]) -> Floats:
    """Return ``values`` with some rows multiplied, and NaN where the factor is None.

    The input is never changed; it is returned itself when nothing is multiplied.
    """
    todo = [(rows, factor) for rows, factor in factors if factor != 1]
    if not todo:
        return values
    out = values.copy()
    for rows, factor in todo:
        out[rows] = NAN if factor is None else times(values[rows], factor)
    return out


def times(values: Floats, factor: Fraction) -> Floats:
    """Return ``values`` times ``factor``, correctly rounded.

    Multiplying or dividing by a power of two is exact, so where one side of the fraction is such a
    power the two machine operations round only once; that is nearly every split. With any other
    factor (dividends, 3 for 7) they would round twice: there the distinct values go through whole
    numbers, whose quotient Python rounds once.
    """
    top, bottom = factor.numerator, factor.denominator
    small = max(abs(top), bottom) <= _EXACT
    if small and (_is_power_of_two(top) or _is_power_of_two(bottom)):
        return np.asarray(values * float(top) / float(bottom))
    distinct, place = np.unique(values, return_inverse=True)
    exact = [_product(value, top, bottom) for value in distinct.tolist()]
    return np.array(exact, dtype=np.float64)[place]


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def _product(value: float, top: int, bottom: int) -> float:
    if not math.isfinite(value):
        return value
    numerator, denominator = value.as_integer_ratio()
    return numerator * top / (denominator * bottom)
