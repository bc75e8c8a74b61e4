"""The plan of a refresh of fundamentals: which symbols are next, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from src.data.errors import QueryError
from src.data.jobs.fill.refresh_plan import Choice

AGES = {"MID": 10.0, "NEW": 1.0, "OLD": 30.0, "NEVER": None, "LATE": 12.0}
TODAY = 19_886


def test_missing_fundamentals_are_refreshed_first_and_then_the_oldest() -> None:
    assert Choice().of(AGES, TODAY) == ["NEVER", "OLD", "LATE", "MID", "NEW"]


@pytest.mark.parametrize(
    "choice, selected",
    [
        (Choice(stale_min_days=10), ["NEVER", "OLD", "LATE", "MID"]),
        (Choice(stale_fraction=0.8), ["NEVER", "OLD", "LATE"]),  # of 14 days: 11.2
        (Choice(stale_fraction=0.8, stale_ttl_days=40), ["NEVER"]),
        (Choice(stale_min_days=0, stale_fraction=9), ["NEVER", "OLD", "LATE", "MID", "NEW"]),
        (Choice(chunk_fraction=0.5), ["NEVER", "OLD", "LATE"]),
        (Choice(stale_min_days=11, chunk_fraction=0.34), ["NEVER", "OLD"]),  # of three
        (Choice(max_symbols=1), ["NEVER"]),
        (Choice(chunk_fraction=1.0), ["NEVER", "OLD", "LATE", "MID", "NEW"]),
    ],
)  # fmt: skip
def test_a_choice_of_symbols_selects_by_age_and_count(choice: Choice, selected: list[str]) -> None:
    assert choice.of(AGES, TODAY) == selected


def test_successive_runs_cover_all_symbols() -> None:
    ages: dict[str, float | None] = {"A": 10.0, "B": 9.0, "C": 8.0, "D": 7.0, "E": None}
    taken: list[str] = []
    for _ in range(3):
        chunk = Choice(chunk_fraction=0.4).of(ages, TODAY)
        taken += chunk
        ages = {s: 0.0 if s in chunk else (a or 0.0) + 1 for s, a in ages.items()}
    assert taken[:5] == ["E", "A", "B", "C", "D"]


def test_a_shuffled_order_is_repeatable_and_differs_each_day() -> None:
    ages = {f"S{i}": float(i) for i in range(30)}
    seeded = Choice(shuffle=True, seed=7)
    assert seeded.of(ages, 1) == seeded.of(ages, 2)
    daily = Choice(shuffle=True)
    assert daily.of(ages, 1) == daily.of(ages, 1) != daily.of(ages, 2)
    assert sorted(daily.of(ages, 1)) == sorted(ages)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"chunk_fraction": 1.5}, "chunk_fraction is 1.5"),
        ({"chunk_fraction": 0.0}, "chunk_fraction is 0"),
        ({"chunk_fraction": float("nan")}, "chunk_fraction is nan"),
        ({"stale_min_days": -1.0}, "stale_min_days is -1"),
        ({"stale_fraction": float("inf")}, "stale_fraction is inf"),
        ({"max_symbols": -1}, "max_symbols is -1"),
    ],
)  # fmt: skip
def test_numbers_out_of_their_bounds_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(QueryError, match=said) as caught:
        Choice(**wrong)
    assert isinstance(caught.value, ValueError)
