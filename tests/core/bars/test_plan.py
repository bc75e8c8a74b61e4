"""The requests that a span costs, by its pages and windows."""

from __future__ import annotations

import pytest

from src.data.core.bars.fetch.plan import requests_for
from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.request.capabilities import Capabilities
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.paging import windows
from src.data.core.vendors.yahoo.bars import YahooDataDownloader
from tests.effort import calls_of

BTC, AAPL = Instrument("BTCUSDT", "crypto"), Instrument("AAPL", "stock", "XNYS", "America/New_York")
HOUR = Timeframe.parse("1h")
START = parse_iso("2024-06-03")
KEY = SeriesKey("BTCUSDT", HOUR)


def grid(instrument: Instrument, label: str) -> BarGrid:
    return BarGrid(calendar_for(instrument), Timeframe.parse(label))


@pytest.mark.parametrize("bars", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("late_ms", [0, 1])
def test_counted_pages_equal_the_pages_of_a_simulated_download(bars: int, late_ms: int) -> None:
    caps = Capabilities(frozenset({"crypto"}), {"1h": "1h"}, page_bars=3)
    span = Span(START, START + bars * HOUR_MS + late_ms)
    stamps = list(range(START, span.end, HOUR_MS))
    walked, at = 0, span.start
    while at < span.end:  # as a vendor that pages by time is followed
        page = [s for s in stamps if s >= at][:3]
        walked += 1
        if len(page) < 3:
            break
        at = page[-1] + HOUR_MS
    assert requests_for(caps, span, grid(BTC, "1h")) == walked


@pytest.mark.parametrize(("instrument", "label"), [(AAPL, "1m"), (BTC, "1h"), (AAPL, "1d")])
@pytest.mark.parametrize("days", [1, 3, 40, 200])
def test_outlines_of_many_windows_equal_those_computed_one_by_one(
    instrument: Instrument, label: str, days: int
) -> None:
    of, start = grid(instrument, label), parse_iso("2024-03-27T15:00")
    asked = windows(Span(start, start + 250 * DAY_MS), of.timeframe, days=days)
    assert list(of.outlines(asked)) == [of.outline(window) for window in asked]
    assert any(outline.bars == 0 for outline in of.outlines(asked)) or days > 1 or instrument is BTC


def test_counting_requests_for_a_long_span_does_not_read_the_calendar_per_window() -> None:
    caps = Capabilities(frozenset({"stock"}), {"1m": "1m"}, page_bars=1200, page_days={"1m": 2})
    of = grid(AAPL, "1m")
    first, second = (Span(START - days * DAY_MS, START) for days in (720, 1440))
    requests_for(caps, second, of)  # loads the sessions
    counts = [calls_of(lambda span=span: requests_for(caps, span, of)) for span in (first, second)]  # type: ignore[misc]
    assert (counts[1] - counts[0]) / 360 < 20  # a look takes some 100


def test_a_full_page_costs_another_request_only_if_the_span_goes_past_the_close() -> None:
    caps = Capabilities(frozenset({"stock"}), {"1h": "1h"}, page_bars=7)
    session = Span(START, START + DAY_MS)
    assert len(grid(AAPL, "1h").opens(session)) == 7
    assert requests_for(caps, session, grid(AAPL, "1h")) == 2
    closing = Span(START, parse_iso("2024-06-03T20:30"))
    assert requests_for(caps, closing, grid(AAPL, "1h")) == 1


def test_request_counts_respect_windows_limited_in_days() -> None:
    caps = YahooDataDownloader.capabilities
    week = Span(START, START + 7 * DAY_MS)
    assert requests_for(caps, week, grid(AAPL, "1m")) == 1
    assert requests_for(caps, Span(week.start, week.end + 1), grid(AAPL, "1m")) == 2
    assert requests_for(caps, Span(START - 900 * DAY_MS, START), grid(AAPL, "1d")) == 1
    assert requests_for(None, week, grid(AAPL, "1m")) == 1
