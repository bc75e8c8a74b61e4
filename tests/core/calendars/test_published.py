"""Adjusted closes out of raw ones and the factor files, day by day against those published."""

from __future__ import annotations

import numpy as np
import pytest

from tests.core.prices.test_adjustment import TestPublished as Sources
from tests.reference import needs_reference

# Two sources seldom print the same close to the last cent; these days they do.
_SAME_CLOSE = 5e-7


@needs_reference
@pytest.mark.parametrize(
    "symbol, theirs, days, tolerance",
    [
        ("AAPL", "AAPL-1d-2004-2018-yahoo.csv.gz", 2300, 4e-6),
        # Its dividends are rounded differently by the two sources, a little more with each.
        ("SPY", "SPY-1d-2008-2017-yahoo.csv.gz", 200, 5e-4),
    ],
)
def test_the_adjusted_close_is_the_published_one(
    symbol: str, theirs: str, days: int, tolerance: float
) -> None:
    plain, full, published = Sources().pair(symbol, theirs)
    assert published.adj_close is not None
    same = np.abs(plain.close / published.close - 1) < _SAME_CLOSE
    assert np.count_nonzero(same) > days
    off = np.abs(full.close[same] / published.adj_close[same] - 1)
    assert off.max() < tolerance
    # The dividends of these years are worth far more than the tolerance: none is left out.
    assert published.adj_close[0] / published.close[0] < 0.93
