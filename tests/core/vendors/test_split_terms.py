"""The factor of a split that a vendor writes as one number: exact, unless it must be rounded."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from src.data.core.vendors.dates import split_terms


def _ratio(written: object) -> Fraction:
    new, old = split_terms(written)
    return Fraction(str(new)) / Fraction(str(old))


def test_a_factor_of_three_decimals_is_exact() -> None:
    changed = [n for n in range(1001, 4000) for text in (n / 1000, f"{n / 1000:.4f}")
               if _ratio(text) != Fraction(n, 1000)]  # fmt: skip
    assert changed == []


def test_a_ratio_printed_as_a_float_is_that_ratio_with_its_terms() -> None:
    pairs = [
        (new, old)
        for new in range(1, 101)
        for old in range(1, 101)
        if new > old or Fraction(new, old).denominator <= 20 or round(new / old, 2) != new / old
    ]
    assert len(pairs) > 9800
    assert [pair for pair in pairs if _ratio(pair[0] / pair[1]) != Fraction(*pair)] == []
    assert split_terms(97 / 89) == (97, 89)
    assert split_terms(4999 / 4993) == (4999, 4993)


@pytest.mark.parametrize("factor", [1.5000048754693611, 1.0027455, 2.37612, 0.21343215])
def test_a_factor_near_a_simple_ratio_is_kept(factor: float) -> None:
    assert _ratio(factor) == Fraction(str(factor))
    # Terms such as 15000048754693611 are more than a float has digits, and are refused later on.
    assert max(split_terms(factor)) < 1e12


@pytest.mark.parametrize(
    ("written", "terms"),
    [
        ("1.0439", (10439, 10000)),  # 45 and more would be within reach of chance
        ("1.0278", (37, 36)),
        ("0.0333", (1, 30)),
        ("0.0270", (1, 37)),
        (0.333, (1, 3)),
        (0.33, (1, 3)),
        ("0.67", (2, 3)),
        (0.17, (1, 6)),
        (0.14, (1, 7)),
        (0.12, (1, 8)),
        ("0.10", (1, 10)),
        (0.35, (7, 20)),
        (0.84, (21, 25)),
        (0.04, (1, 25)),
        (1.333, (1333, 1000)),
        ("1.1429", (8, 7)),
        (2.0000000000000004, (2, 1)),
        (1234567890123456, (1234567890123456, 1)),
        (1e9, (10**9, 1)),
        (1e-9, (1e-9, 1.0)),
        (" 7 ", (7, 1)),
    ],
)
def test_a_rounded_factor_is_a_ratio_that_chance_does_not_explain(
    written: object, terms: tuple[float, float]
) -> None:
    assert split_terms(written) == terms


@pytest.mark.parametrize(
    "written",
    [0, -1.5, math.nan, math.inf, "", "2:1", "1-for-15", "1/15", True, None,
     "0.0067", "0.0330", 0.017, 0.47, 0.07, 0.03, 10**400, "1." + "0" * 5000 + "1"],
    ids=lambda written: repr(written)[:12],
)  # fmt: skip
def test_a_factor_that_is_not_a_positive_number_or_too_coarse_is_refused(written: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        split_terms(written)


def test_a_factor_of_bytes_is_an_arithmetic_error() -> None:
    with pytest.raises(ArithmeticError):
        split_terms(b"2")


def test_a_factor_has_at_most_thirty_characters() -> None:
    assert split_terms(f" 1.{'3' * 28} ") == (4, 3)
    for digits in (29, 100_000):
        with pytest.raises(ValueError, match=f"at most 30 characters, not {digits + 2}: 1.3333333"):
            split_terms(f"1.{'3' * digits}")
