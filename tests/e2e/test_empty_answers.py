"""The reason for an empty frame: before the first bar, market closed, not requested, not closed yet."""

from __future__ import annotations

import asyncio
import logging
import warnings
from typing import Any

import pytest

from onetape.aio import AsyncDataManager
from src.data.core.bars.answer.empty import reason_of_empty
from src.data.core.bars.request import Wishes
from src.data.core.clock import ManualClock
from src.data.core.model.answer.proof import describe
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.stored.coverage import Coverage
from src.data.errors import IncompleteDataWarning
from tests.core.bars.answers import COIN, HOURLY, KIND, LATER, hour, hours

from .fixed_vendor import FixedVendor, Market, at, every, serving
from .scripted_vendor import provenance

WEEK = every("1d", "2024-06-03", "2024-06-07")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log records of empty answers, and forget them."""
    records = [r for r in caplog.records if r.getMessage().startswith("no bars for ")]
    caplog.clear()
    assert {record.levelno for record in records} <= {logging.WARNING}
    return [record.getMessage() for record in records]


@pytest.mark.parametrize("vendor", serving("stock", "1d"))
def test_a_request_before_a_listing_is_empty_with_its_reason(
    market: Market, clock: ManualClock, vendor: str, caplog: pytest.LogCaptureFixture
) -> None:
    fixed = FixedVendor(clock, WEEK, vendor)
    fixed.listed_ms = at("1980-12-12")
    manager, prices = market.manager(fixed), fixed.capabilities.adjustment
    manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-07", adjustment=prices)
    caplog.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error", IncompleteDataWarning)
        for _ in range(2):
            frame = manager.get_ohlcv("AAPL", "1d", "1950-01-01", "1950-12-31", adjustment=prices)
            assert (len(frame), provenance(frame)["complete"]) == (0, True)
            assert provenance(frame)["empty"] == "before the first bar"
            (line,) = lines(caplog)
            assert line.endswith("before the first bar") and "1950-01-01" in line
    assert "no bars: before the first bar" in str(describe(frame))


@pytest.mark.parametrize("vendor", serving("stock", "1d"))
def test_an_empty_answer_distinguishes_a_requested_weekend_from_one_never_requested(
    market: Market, clock: ManualClock, vendor: str, caplog: pytest.LogCaptureFixture
) -> None:
    fixed = FixedVendor(clock, WEEK, vendor)
    manager = market.manager(fixed)
    for _ in range(2):  # by its vendor, then by the store
        asked = manager.get_ohlcv("AAPL", "1d", "2024-06-01", "2024-06-02", adjustment="raw")
        assert (provenance(asked)["empty"], provenance(asked)["gaps"]) == ("market closed", [])
        assert len(lines(caplog)) == 1
    assert len(fixed.asked) == 1
    for _ in range(3):
        other = manager.get_ohlcv("AAPL", "1d", "2024-05-25", "2024-05-26", adjustment="raw")
        assert provenance(other)["empty"] == "market closed, not asked"
        assert [gap["reason"] for gap in provenance(other)["gaps"]] == ["market closed, not asked"]
        assert len(lines(caplog)) == 1
    assert len(fixed.asked) == 1


def test_a_weekend_after_the_last_stored_bar_is_empty_with_its_reason(
    market: Market, clock: ManualClock
) -> None:
    fixed = FixedVendor(clock, every("1h", "2024-06-05T00:00", "2024-06-07T20:00"))
    clock.advance((at("2024-06-07T21:30") - clock.now_ms()) / 1000)
    manager = market.manager(fixed)
    manager.get_ohlcv("NZDUSD=X", "1h", "2024-06-06", "2024-06-07")
    clock.advance((at("2024-06-09T12:00") - clock.now_ms()) / 1000)
    fixed.asked.clear()
    for _ in range(2):
        frame = manager.get_ohlcv("NZDUSD=X", "1h", "2024-06-08T12:00", "2024-06-09T11:00")
        assert (provenance(frame)["empty"], provenance(frame)["gaps"]) == ("market closed", [])
    assert len(fixed.asked) == 1, "as in a fresh cache: its vendor may have bars of a Sunday"


def test_a_range_with_only_an_unclosed_bar_is_empty_with_its_reason(
    market: Market, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    fixed = FixedVendor(clock, every("1h", "2024-06-11T00:00", "2024-06-12T15:00"), "binance")
    manager = market.manager(fixed)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12T00:00")
    for end in (None, "2024-06-12T16:00"):
        frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12T15:00", end)
        assert provenance(frame)["empty"] == "no bar has closed yet"
        assert len(lines(caplog)) == 1
    client = manager.client
    assert client.lookup(client.query("BTCUSDT", "1h", "2024-06-12T15:00")).is_hit, "none is due"
    known = manager.get_ohlcv(
        "BTCUSDT", "1h", "2024-06-12T10:00", "2024-06-12T12:00", closed_by="2024-06-12T10:30"
    )
    assert provenance(known)["empty"] == "no bar has closed yet"


@pytest.mark.parametrize("late_ms, why", [(-1, "no bar has closed yet"), (0, "no trade")])
def test_a_bar_without_trades_is_the_reason_from_the_time_of_its_close(
    late_ms: int, why: str
) -> None:
    query = BarsQuery(COIN, HOURLY.timeframe, hours(9, 10), LATER, closed_by_ms=hour(10) + late_ms)
    assert reason_of_empty(query, KIND, Coverage(), []) == why


def test_a_range_within_one_bar_is_empty_with_its_reason(
    market: Market, clock: ManualClock
) -> None:
    fixed = FixedVendor(clock, every("1h", "2024-06-11T00:00", "2024-06-12T14:00"), "binance")
    manager = market.manager(fixed)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12T00:00", "2024-06-12T05:00")
    fixed.asked.clear()
    for refresh in (False, True):
        frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-11T10:10", "2024-06-11T10:50", refresh)
        assert provenance(frame)["empty"] == "no bar of this length opens in this range"
        assert provenance(frame)["gaps"] == []
    assert fixed.asked == []


def test_a_missing_bar_is_warned_about_once(
    market: Market, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    manager = market.manager(
        FixedVendor(clock, every("1h", "2024-06-11T00:00", "2024-06-11T12:00"), "binance")
    )
    with pytest.warns(IncompleteDataWarning, match="the vendor has no bar"):
        frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-10T00:00", "2024-06-10T03:00")
    assert provenance(frame)["empty"] == "the vendor has no bar"
    assert lines(caplog) == []


def test_the_provenance_of_an_answer_with_bars_has_no_entry_for_emptiness(
    market: Market, clock: ManualClock
) -> None:
    manager = market.manager(FixedVendor(clock, WEEK))
    frame = manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-07", adjustment="raw")
    assert "empty" not in provenance(frame)


@pytest.mark.parametrize(
    "end, why", [("2024-06-02", "market closed, not asked"), ("2024-06-03", None)]
)
def test_batches_awaited_calls_and_lookups_give_the_same_reason_for_an_empty_frame(
    market: Market, clock: ManualClock, end: str, why: str | None
) -> None:
    manager = market.manager(FixedVendor(clock, WEEK))
    question: Any = ("AAPL", "1d", "2024-06-01", end)
    manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-07", adjustment="raw")
    frame = manager.get_ohlcv(*question, adjustment="raw")
    batch = manager.get_ohlcv_batch(["AAPL"], *question[1:], adjustment="raw")["AAPL"]
    awaited = asyncio.run(AsyncDataManager(manager).aget_ohlcv(*question, adjustment="raw"))
    client = manager.client
    found = client.lookup(client.query(*question, wishes=Wishes(adjustment="raw"))).provenance
    assert found is not None
    for facts in (*map(provenance, (frame, batch, awaited)), found):
        assert facts.get("empty") == why
        assert [gap["reason"] for gap in facts["gaps"]] == ["market closed, not asked"]
