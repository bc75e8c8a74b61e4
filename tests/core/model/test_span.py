"""Span arithmetic against sets of integers: an oracle that cannot share its mistakes."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.time.span import (
    Span,
    clipped,
    coalesce,
    intersect,
    subtract,
    touching,
    uncovered,
)
from tests.core.cache.counts import examples

spans = st.builds(Span, st.integers(0, 40), st.integers(0, 40))
many = st.lists(spans, max_size=8)


def points(parts: list[Span]) -> set[int]:
    return {p for part in parts for p in range(part.start, part.end)}


def well_formed(parts: list[Span]) -> bool:
    return all(not p.is_empty for p in parts) and all(
        a.end < b.start for a, b in itertools.pairwise(parts)
    )


@settings(max_examples=examples(300), derandomize=True)
@given(many)
def test_coalescing_keeps_every_stamp_and_leaves_no_seam(parts: list[Span]) -> None:
    assert points(coalesce(parts)) == points(parts)
    assert well_formed(coalesce(parts))


@settings(max_examples=examples(300), derandomize=True)
@given(many, many)
def test_subtraction_is_set_difference(ones: list[Span], others: list[Span]) -> None:
    assert points(subtract(ones, others)) == points(ones) - points(others)
    assert well_formed(subtract(ones, others))


@settings(max_examples=examples(300), derandomize=True)
@given(many, many)
def test_intersection_is_set_intersection(ones: list[Span], others: list[Span]) -> None:
    assert points(intersect(ones, others)) == points(ones) & points(others)


@settings(max_examples=examples(300), derandomize=True)
@given(spans, many)
def test_gaps_are_what_is_wanted_and_not_held(wanted: Span, held: list[Span]) -> None:
    assert points(uncovered(wanted, held)) == points([wanted]) - points(held)


@settings(max_examples=examples(300), derandomize=True)
@given(many, spans)
def test_the_spans_that_touch_one_are_those_that_share_a_stamp_with_it(
    ones: list[Span], span: Span
) -> None:
    ascending = coalesce(ones)
    assert list(touching(ascending, span)) == [one for one in ascending if one.overlaps(span)]
    assert clipped(ascending, span) == [
        part for one in ascending if not (part := one.clip(span)).is_empty
    ]


def test_a_held_span_behind_the_wanted_one_is_clipped() -> None:
    assert uncovered(Span(0, 10), [Span(20, 30)]) == [Span(0, 10)]


def test_membership_is_half_open() -> None:
    assert 0 in Span(0, 10)
    assert 10 not in Span(0, 10)
