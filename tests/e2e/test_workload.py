"""What a repeated workload costs: the cache saves 95 of 100 requests, counted at the vendors."""

from __future__ import annotations

import pytest

from benchmarks.workload import COINS, SHARES, costs_of

# Half of the symbols: requests are so many for each of them, however many there are.
HALF = 5


@pytest.mark.parametrize(
    ("symbols", "each"), [(COINS[:HALF], 23), (SHARES[:HALF], 10)], ids=["coins", "shares"]
)
def test_a_week_of_nightly_updates_and_lookups(symbols: tuple[str, ...], each: int) -> None:
    costs = costs_of(symbols)
    assert costs.asked == costs.anew == 7 * (1 + 11 * 3) * 2 * HALF
    assert costs.cached == each * HALF
    assert costs.fewer >= 95
