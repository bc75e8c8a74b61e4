"""Tests the stored faults of answers: split by year, kept in part, and kept over a new answer."""

from __future__ import annotations

import numpy as np
import pytest

from src.data.core.cache.faults import Fault, faults_by_year
from src.data.core.model.time.instant import DAY_MS, year_start
from src.data.core.model.time.span import Span

NEW_YEAR = year_start(2024)


def test_bars_without_volume_are_counted_in_their_own_year() -> None:
    stamps = NEW_YEAR + np.array([-400, -3, -2, 0, 4, 9]) * DAY_MS
    answered = Span(NEW_YEAR - 30 * DAY_MS, NEW_YEAR + 9 * DAY_MS)
    assert list(faults_by_year("missing_volume", stamps, answered)) == [
        Fault(Span(NEW_YEAR - 3 * DAY_MS, NEW_YEAR - 2 * DAY_MS + 1), "missing_volume", 2),
        Fault(Span(NEW_YEAR, NEW_YEAR + 4 * DAY_MS + 1), "missing_volume", 2),
    ]


def test_a_part_of_a_fault_has_its_share_of_the_bars() -> None:
    fault = Fault(Span(0, 100), "note", 50, "said")
    assert fault.clip(Span(20, 60)) == Fault(Span(20, 60), "note", 20, "said")
    assert fault.clip(Span(99, 200)) == Fault(Span(99, 100), "note", 1, "said")
    assert fault.clip(Span(100, 200)) is None
    assert fault.outside(Span(20, 60)) == [
        Fault(Span(0, 20), "note", 10, "said"), Fault(Span(60, 100), "note", 20, "said"),
    ]  # fmt: skip
    assert fault.outside(Span(100, 200)) == [fault]


@pytest.mark.parametrize(
    "name, text, is_kept",
    [
        ("missing_volume", "", True),
        ("duplicate", "", True),
        ("note", "said", True),
        ("missing", "no trade", True),
        ("missing", "", False),
        ("bad", "high_below_low", False),
        ("contradicted", "", False),
    ],
)
def test_faults_of_bars_that_exist_outlast_a_new_answer_for_the_missing_ones(
    name: str, text: str, is_kept: bool
) -> None:
    assert Fault(Span(0, 1), name, 1, text).is_of_bars == is_kept
