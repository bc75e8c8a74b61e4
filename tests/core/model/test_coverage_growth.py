"""Stretches of a coverage: twice as many take about twice the work, whatever they consist of.

Calls and array elements are counted, since either alone can hide the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from src.data.core.bars.answer.answer import list_gaps
from src.data.core.model.stored.coverage import Columns, Coverage, Covered
from src.data.core.model.time.instant import MINUTE_MS
from src.data.core.model.time.span import Span
from tests.effort import calls_of

SIZES = (500, 1_000, 2_000)


class Counted(np.ndarray):
    """An array that counts the elements of itself and of all that is computed from it."""

    elements = 0

    def __array_finalize__(self, source: object) -> None:
        Counted.elements += self.size


def counted(parts: list[Covered]) -> Coverage:
    starts, ends, codes, sources = Coverage(parts).columns
    return Coverage.of(Columns(*(a.view(Counted) for a in (starts, ends, codes)), sources))  # type: ignore[arg-type]


def minute(at: int, state: str = "final", **more: Any) -> Covered:
    return Covered(Span(at * MINUTE_MS, (at + 1) * MINUTE_MS), state, "v", **more)  # type: ignore[arg-type]


def doubted(count: int) -> Coverage:
    """Return bars of which every second is doubted, until a time of its own."""
    return counted(
        [
            minute(at, "suspect", reason="odd", expires=at) if at % 2 else minute(at)
            for at in range(count)
        ]
    )


def named(count: int) -> Coverage:
    """Return bars of which every second is doubted for a reason of its own."""
    return counted(
        [minute(at) if at % 2 else minute(at, "suspect", reason=f"r{at}") for at in range(count)]
    )


def fetched(count: int) -> Coverage:
    """Return bars with gaps between them, each fetched at a time of its own."""
    return counted([minute(2 * at, fetched_at=at) for at in range(count)])


def without_bars(count: int) -> Coverage:
    """Return minutes of which each is empty until a time of its own."""
    return counted([minute(at, "empty", reason="none", expires=10**15 + at) for at in range(count)])


def folded(coverage: Coverage) -> object:
    return coverage.folded()


def replaced(coverage: Coverage) -> object:
    """Overlay answers of which each overlaps the next, as members of a live feed do."""
    newer = [
        Covered(Span(at * MINUTE_MS, (at + 3) * MINUTE_MS), "final", "w", fetched_at=at)
        for at in range(len(coverage))
    ]
    return coverage.overlaid(newer)


def lacking(coverage: Coverage) -> object:
    span = Span(0, 10**12)
    return list_gaps(span, coverage, (), 0, span)


def work(do: Callable[[Coverage], object], coverage: Coverage) -> tuple[int, int]:
    Counted.elements = 0
    return calls_of(lambda: do(coverage)), Counted.elements


@pytest.mark.parametrize(
    ("do", "made"),
    [
        (folded, doubted),
        (folded, named),
        (folded, fetched),
        (lacking, without_bars),
    ],
)
def test_twice_the_stretches_take_about_twice_the_work(
    do: Callable[[Coverage], object], made: Callable[[int], Coverage]
) -> None:
    calls, elements = zip(*(work(do, made(count)) for count in SIZES), strict=True)
    for counts in (calls, elements):
        assert counts[0] > SIZES[0] or counts is calls, "the work was counted"
        assert counts[1] < 2.4 * counts[0] + 100
        assert counts[2] < 2.4 * counts[1] + 100


def test_answers_that_overlap_one_another_take_calls_by_their_number() -> None:
    # Each is spliced into three arrays, which are copied: elements are not counted here.
    calls = [work(replaced, doubted(count))[0] for count in (60, 120, 240)]
    assert calls[1] < 2.4 * calls[0]
    assert calls[2] < 2.4 * calls[1]
