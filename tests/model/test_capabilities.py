from __future__ import annotations

import pytest

from src.data.model.capabilities import Capabilities
from src.data.model.kind import Adjustment
from src.data.model.timeframe import Timeframe


@pytest.mark.parametrize(
    "own, timeframe, adjustment",
    [("raw", "1h", "raw"), ("raw", "1d", "split"), ("raw", "1w", "split"), (None, "1h", "split")],
)
def test_minutes_may_be_adjusted_for_less_than_days(
    own: Adjustment | None, timeframe: str, adjustment: str
) -> None:
    caps = Capabilities(
        frozenset({"stock"}), {}, adjustment="split", intraday_adjustment=own, page_bars=7
    )
    found = caps.at(Timeframe.parse(timeframe))
    assert (found.adjustment, found.page_bars) == (adjustment, 7)
