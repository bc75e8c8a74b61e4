from __future__ import annotations

import pytest

from src.data.core.model.identity.kind import Adjustment
from src.data.core.model.request.capabilities import Capabilities, Limits
from src.data.core.model.time.timeframe import Timeframe


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


@pytest.mark.parametrize(
    ("limits", "calls"),
    [
        (Limits(per_minute=1200), 10),
        (Limits(per_minute=100), 10),
        (Limits(per_minute=99), 9),
        (Limits(per_minute=60, per_second=30.0, burst=7), 6),
        (Limits(per_minute=60, per_second=30.0, burst=5), 5),
        (Limits(per_minute=60_000, per_second=1.0, burst=1000), 6),
        (Limits(per_second=1000.0, burst=1000), 10),
        (Limits(per_minute=60, per_second=1.0, burst=1), 2),
        (Limits(per_minute=60, burst=1), 6),
        (Limits(per_minute=29), 2),
        (Limits(per_minute=5, per_day=25), 2),
        (Limits(per_second=40 / 3600, burst=10), 2),
        # What a day allows says nothing of what a moment does, nor does a vendor that says nothing.
        (Limits(per_day=25), 4),
        (Limits(), 4),
    ],
)
def test_the_calls_at_once_follow_from_what_a_second_and_a_minute_allow(
    limits: Limits, calls: int
) -> None:
    assert limits.at_once == calls
