"""Sets of stamps, beside what numpy makes of them by hashing or sorting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from src.data.model.bars import distinct, union

STAMPS = st.lists(st.integers(-40, 40))


@given(STAMPS, STAMPS)
def test_a_union_is_numpys(one: list[int], other: list[int]) -> None:
    left, right = (np.array(sorted({*some}), dtype=np.int64) for some in (one, other))
    found = union(left, right)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, np.union1d(left, right))


@given(STAMPS)
def test_distinct_stamps_are_numpys(stamps: list[int]) -> None:
    given_ = np.array(stamps, dtype=np.int64)
    found = distinct(given_)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, np.unique(given_))
