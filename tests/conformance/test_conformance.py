"""Every registered vendor against every conformance check."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from src.data.core.registry import SERVED

from .bench import Bench
from .checks import CHECKS
from .sheet import ABSENT, examined, inapplicable, sheet_of

# Each vendor has lines of its own for these, which no check of another one would find broken.
OF_EACH = ("another_symbol_is_never_the_one_asked_for", "splits_of_another_symbol_are_refused")
# Check by check, each from another vendor on: few of the cases at equal distances have the same check.
CASES = [
    (vendor, check)
    for number, check in enumerate(check for check in CHECKS if check not in OF_EACH)
    for vendor in np.roll(examined(), -4 * number).tolist()
]


@pytest.mark.parametrize("vendor", examined())
@pytest.mark.parametrize("check", OF_EACH)
def test_each_vendor(vendor: str, check: str, bench_of: Callable[[str], Bench]) -> None:
    test_vendor(vendor, check, bench_of)


@pytest.mark.parametrize(("vendor", "check"), CASES)
def test_vendor(vendor: str, check: str, bench_of: Callable[[str], Bench]) -> None:
    if reason := (inapplicable(vendor) | sheet_of(vendor).excused).get(check):
        pytest.skip(reason)
    CHECKS[check](bench_of(vendor))


def test_vendors_without_a_sheet_are_listed_with_a_reason() -> None:
    assert set(ABSENT) <= set(SERVED) and all(ABSENT.values())


@pytest.mark.parametrize("vendor", examined())
def test_excuses_are_of_checks_and_have_reasons(vendor: str) -> None:
    excused = sheet_of(vendor).excused
    assert set(excused) <= set(CHECKS)
    assert all(len(reason) > 10 for reason in excused.values())
    assert not set(excused) & set(inapplicable(vendor)), "derived from the class"


def test_a_class_excuses_its_vendor_from_no_more_checks_than_before() -> None:
    """A declaration that is lost, such as that of splits, is no reason to examine less."""
    derived = {
        "alpaca": 1, "alpha_vantage": 1, "binance": 7, "ccxt": 7, "coingecko": 5, "eodhd": 1, "finnhub": 1,
        "fmp": 1, "local": 7, "polygon": 1, "tiingo": 1, "twelvedata": 4, "yahoo": 2,
    }  # fmt: skip
    assert {vendor: len(inapplicable(vendor)) for vendor in derived} == derived
