"""Appended daily bars: checked against all stored days of their series without parsing them."""

from __future__ import annotations

from typing import Any

import pytest

from src.data.core.cache.read import year_file
from src.data.core.clock import ManualClock
from src.data.core.model.market.actions import ActionList
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, day_ms
from src.data.core.model.time.span import Span
from tests.core.cache.counts import FULL
from tests.effort import calls_of

from .fixed_vendor import Market, at, every
from .test_grave_bars import BEFORE, CASES, DAY, DAYS, SPLIT_DAY, Walker, grave_spans, scaled

LAST = "2024-05-31"
# Of the histories to which nights are added.
YEARS = (2, 4, 8) if FULL else (1, 2, 4)


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2024-05-31 23:00 UTC."""
    return ManualClock(at(f"{LAST}T23:00:00Z"))


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
def test_a_split_reported_two_months_later_marks_bars_not_adjusted_for_it_as_grave(
    market: Market, clock: ManualClock
) -> None:
    vendor = CASES[6].vendor(clock)
    split, vendor.actions = vendor.actions, ()
    vendor.stamps = [*DAYS, at("2024-06-03T00:00:00Z")]
    vendor.spoil = scaled(4, *BEFORE)  # the volume does not follow: nothing proves a split
    manager = market.manager(vendor)
    manager.get_ohlcv("AAPL", "1d", "2024-01-02", LAST, strict=True)
    vendor.fetch_actions = lambda *_, **__: ActionList(split)  # type: ignore[method-assign]
    clock.set(at("2024-06-04T12:00:00Z"))
    manager.get_actions("AAPL", "2024-01-01")
    asked = len(vendor.asked)
    manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-03")
    (night,) = vendor.asked[asked:]
    # Its bars also show whether the vendor still reports the recent split.
    assert day_ms(SPLIT_DAY) - 8 * DAY_MS < night.start < day_ms(SPLIT_DAY)
    frame = manager.get_ohlcv("AAPL", "1d", "2024-01-02", LAST, offline=True)
    spans = grave_spans(frame)
    assert sum(span["rows"] for span in spans) == len(CASES[6].bad)
    assert {"the ratio of a split" in span["reason"] for span in spans} == {True}


@pytest.mark.usefixtures("old_files")
def test_a_nightly_update_of_a_longer_history_parses_no_more_rows(
    market: Market, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, parsed = year_file.decode_rows, list[int]()

    def counted(text: memoryview, columns: Any, rows: int) -> BarTable:
        parsed.append(rows)
        return decode(text, columns, rows)

    def night(years: int) -> tuple[int, int, int]:
        """Return the rows parsed by a night, its calls, and the rows beside which it was judged."""
        clock.set(at(f"{LAST}T23:00:00Z"))
        first = f"{2024 - years}-06-01"
        stamps = every("1d", f"{first}T00:00:00Z", "2024-06-30T00:00:00Z")
        vendor = Walker(clock, stamps, "binance")
        question, folder = ("BTCUSDT", "1d", first), f"cache{years}"
        market.manager(vendor, folder=folder).get_ohlcv(*question)
        judged: list[int] = []
        for _ in range(3):  # the first nights make the columns of the years behind them
            clock.advance(DAY)
            manager = market.manager(vendor, folder=folder)
            parsed.clear()
            calls = calls_of(lambda m=manager: m.get_ohlcv("BTCUSDT", "1d", bars=2))  # type: ignore[misc]
            judged.append(sum(parsed))
        (key,) = manager.cache.store.keys()
        return judged[-1], calls, len(manager.client.columns(key, Span(0, 1 << 60)).table)

    monkeypatch.setattr(year_file, "decode_rows", counted)
    rows, calls, held = zip(*(night(years) for years in YEARS), strict=True)
    assert held[2] > 3.9 * held[0] > 3.9 * 365 * YEARS[0]
    assert rows[0] >= rows[1] >= rows[2], "rows parsed do not grow with the history"
    per_year = (calls[2] - calls[0]) / (YEARS[2] - YEARS[0])
    assert per_year < 365, "opens one more file for each year, and makes no call for each bar"
