"""Lanes as datasets: parts that count as covered, and the times and vendors recorded for a lane."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.stored.stored import CoverageSpan
from src.data.core.model.time.instant import DAY_MS, day_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.research.catalog.lanes import LaneDatasets

KEY = SeriesKey("BTCUSDT", Timeframe.parse("1d"))
FIRST = day_ms(date(2024, 1, 1))


def part(first: int, last: int, state: str, vendor: str = "yahoo", **more: Any) -> CoverageSpan:
    """Return a part of so many days of January, the last one excluded."""
    span = Span(FIRST + (first - 1) * DAY_MS, FIRST + (last - 1) * DAY_MS)
    return CoverageSpan(span, state, vendor, fetched_at=last * 1000, **more)


def lanes_of(parts: list[CoverageSpan], days: list[int]) -> LaneDatasets:
    """Return the lanes of a client that has these bars of January in one lane."""
    stamps = np.array([FIRST + (day - 1) * DAY_MS for day in days], dtype=np.int64)
    stored = SimpleNamespace(table=SimpleNamespace(stamps=stamps), generation=4)
    instrument = SimpleNamespace(symbol="BTCUSDT", asset_class="crypto", exchange=None)
    client: Any = SimpleNamespace(
        folder="cache",
        coverage=lambda _: tuple(parts),
        columns=lambda _, span: stored,
        instrument=lambda _: instrument,
        lanes=lambda *_: [KEY],
        query=lambda *_: SimpleNamespace(instrument=instrument),
    )
    return LaneDatasets(lambda: client)


def is_held(lanes: LaneDatasets, first: int, last: int) -> bool:
    """Tell whether a range of days, ends included, is found."""
    start, end = ((FIRST + (day - 1) * DAY_MS) // 1000 for day in (first, last))
    return lanes.find("BTCUSDT", "1d", start, end, None) is not None


@pytest.mark.parametrize(
    ("middle", "is_part"),
    [
        (part(10, 12, "empty", "kraken"), True),
        (part(10, 12, "empty", "kraken", expires=5), False),
        (part(10, 12, "suspect", "kraken"), False),
        (part(10, 12, "provisional", "kraken"), True),
    ],
)
def test_an_empty_part_of_a_lane_counts_as_covered_until_its_expiry(
    middle: CoverageSpan, is_part: bool
) -> None:
    days = [2, 3, 8, 9, 12, 13]
    if middle.state != "empty":
        days[4:4] = [10, 11]
    lanes = lanes_of([part(2, 10, "final"), middle, part(12, 14, "final")], days)
    assert is_held(lanes, 2, 9) and is_held(lanes, 12, 13)
    assert is_held(lanes, 9, 12) is is_held(lanes, 10, 11) is is_part
    lane = lanes.get(KEY)
    assert lane is not None
    assert {row.has_gaps for row in lane.ranges} == {not is_part}
    inner = len(days) if is_part else 4
    assert [row.bars for row in lane.ranges] == ([inner] if is_part else [inner, 2])
    assert lane.row_count == len(days)
    vendors = "yahoo" if middle.state == "empty" else "kraken,yahoo"
    assert lane.source == f"{vendors}/1d"


def test_an_empty_part_at_an_end_widens_only_the_coverage() -> None:
    """Nor is it a stretch of bars; its time counts, and its vendor does not."""
    lanes = lanes_of(
        [part(1, 3, "empty", "kraken"), part(5, 8, "final"), part(8, 10, "empty", "kraken")],
        [5, 6, 7],
    )
    assert is_held(lanes, 1, 2) and is_held(lanes, 5, 9) and not is_held(lanes, 2, 5)
    lane = lanes.get(KEY)
    assert lane is not None
    day = DAY_MS // 1000
    start = FIRST // 1000
    assert (lane.start_date, lane.end_date) == (start + 4 * day, start + 6 * day)
    (row,) = lane.ranges
    assert (row.start, row.end, row.bars) == (start + 4 * day, start + 9 * day - 1, 3)
    assert (lane.created_at, lane.last_updated, lane.checksum) == (3, 10, "generation 4")


def test_a_lane_with_only_empty_parts_is_not_a_dataset() -> None:
    lanes = lanes_of([part(1, 3, "empty"), part(3, 5, "empty", expires=9)], [])
    assert lanes.get(KEY) is None and not is_held(lanes, 1, 2)
