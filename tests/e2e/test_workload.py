"""The cost of a repeated workload: the cache saves 95 of 100 requests to the vendors."""

from __future__ import annotations

import pytest

from tests.core.cache.counts import FULL
from tests.e2e import workload
from tests.e2e.workload import COINS, EVENING, SHARES, costs_of


# Few of the symbols and of the look-ups: requests are so many for each symbol, however many there are.
@pytest.mark.parametrize(
    ("symbols", "each"),
    [(COINS[: 2 if FULL else 1], 23), (SHARES[:1], 10)],
    ids=["coins", "shares"],
)
def test_the_cost_of_a_week_of_nightly_updates_and_lookups_is_bounded(
    symbols: tuple[str, ...], each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Coins save 95 of 100 over whole evenings only.
    is_whole = FULL or symbols[0] in COINS
    monkeypatch.setattr(workload, "EVENING", EVENING if is_whole else EVENING[::4])
    costs = costs_of(symbols)
    assert costs.asked == costs.anew == 7 * (1 + (11 if is_whole else 5) * 3) * 2 * len(symbols)
    assert costs.cached == each * len(symbols)
    assert costs.fewer >= 95
