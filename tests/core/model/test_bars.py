"""Sets of stamps, beside what numpy makes of them by hashing or sorting."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.market.bars import BarTable, distinct, inside, union
from src.data.core.model.time.span import Span
from tests.core.cache.counts import examples

MANY = settings(max_examples=examples(250))
STAMPS = st.lists(st.integers(-40, 40))
SPANS = st.lists(st.builds(Span, st.integers(-40, 40), st.integers(-40, 40)))


@MANY
@given(STAMPS, STAMPS)
def test_a_union_is_numpys(one: list[int], other: list[int]) -> None:
    left, right = (np.array(sorted({*some}), dtype=np.int64) for some in (one, other))
    found = union(left, right)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, np.union1d(left, right))


@MANY
@given(STAMPS)
def test_distinct_stamps_are_numpys(stamps: list[int]) -> None:
    given_ = np.array(stamps, dtype=np.int64)
    found = distinct(given_)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, np.unique(given_))


@MANY
@given(STAMPS, SPANS)
def test_stamps_inside_some_spans_are_those_that_one_of_them_holds(
    stamps: list[int], spans: list[Span]
) -> None:
    found = inside(np.array(stamps, dtype=np.int64), spans)
    assert found.tolist() == [any(stamp in span for span in spans) for stamp in stamps]


@MANY
@given(STAMPS, SPANS)
def test_rows_are_counted_in_each_span(stamps: list[int], spans: list[Span]) -> None:
    ascending = sorted({*stamps})
    values = np.ones(len(ascending))
    table = BarTable.of_columns(np.array(ascending, dtype=np.int64), [values] * 5)
    asked = [span for span in spans if not span.is_empty]
    counts = [sum(stamp in span for stamp in ascending) for span in asked]
    assert table.counts(asked) == counts
