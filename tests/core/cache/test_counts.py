"""Tests the sampling of cases: few combinations that cover each value and each pair of values."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import pytest

from tests.core.cache import counts
from tests.core.cache.counts import crossed

AXES: list[tuple[tuple[Any, ...], ...]] = [
    ((1, 2, 3), "ab"),
    (range(7), (("a", 1), ("b", 1), [2]), (True, False)),
]


def pairs_of(cases: Any, size: int) -> set[str]:
    return {
        repr([(n, case[n]) for n in places])
        for case in cases
        for places in combinations(range(len(case)), size)
    }


@pytest.mark.parametrize(("axes", "size"), list(zip(AXES, (1, 2), strict=True)))
def test_crossed_axes_contain_each_value_and_for_three_axes_each_pair(
    axes: tuple[tuple[Any, ...], ...], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = list(product(*axes))
    monkeypatch.setattr(counts, "FULL", False)
    few = list(crossed(*axes))
    assert len(few) < len(every)
    assert [case for case in every if case in few] == few, "in the original order"
    assert pairs_of(few, size) == pairs_of(every, size)
    monkeypatch.setattr(counts, "FULL", True)
    assert list(crossed(*axes)) == every
