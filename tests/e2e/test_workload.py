"""What a repeated workload costs: the cache saves 95 of 100 requests, counted at the vendors."""

from __future__ import annotations

import pytest

from benchmarks import workload
from benchmarks.workload import COINS, EVENING, SHARES, costs_of
from tests.cache.counts import FULL


# Few of the symbols and of the look-ups: requests are so many for each symbol, however many there are.
@pytest.mark.parametrize(
    ("symbols", "each"), [(COINS[:2], 23), (SHARES[:1], 10)], ids=["coins", "shares"]
)
def test_a_week_of_nightly_updates_and_lookups(
    symbols: tuple[str, ...], each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "EVENING", EVENING if FULL else EVENING[::4])
    costs = costs_of(symbols)
    assert costs.asked == costs.anew == 7 * (1 + (11 if FULL else 5) * 3) * 2 * len(symbols)
    assert costs.cached == each * len(symbols)
    assert costs.fewer >= (95 if FULL else 89)  # fewer lookups in the evening, fewer hits
