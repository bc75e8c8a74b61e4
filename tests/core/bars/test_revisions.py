"""Tests how far back a request reaches to compare bars; comparing never costs an extra request."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from src.data.core.bars.fetch.plan import requests_for
from src.data.core.bars.fetch.question import FEWEST, request_start
from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.binance.bars import BinanceDataDownloader

NOON = parse_iso("2024-06-12T12:00:00")
COIN = Instrument("BTCUSDT", "crypto", "24/7", "UTC")
HOURS = BarGrid(calendar_for(COIN), Timeframe.parse("1h"))
PAGES = replace(BinanceDataDownloader.capabilities, page_bars=1000)


def reached(held: int, lacking: int, since: int | None, **caps: object) -> int:
    """Return over how many hours a request reaches back, held so many, compared so long ago."""
    own, span = Span(NOON - held * HOUR_MS, NOON), Span(NOON, NOON + lacking * HOUR_MS)
    compared = None if since is None else NOON - since * HOUR_MS
    start = request_start(own, span, compared, replace(PAGES, **caps), HOURS)  # type: ignore[arg-type]
    return (NOON - start) // HOUR_MS


@pytest.mark.parametrize(
    ("held", "lacking", "since", "hours"),
    [
        (100, 24, None, FEWEST), (100, 24, 0, FEWEST), (100, 24, 30, 30), (100, 24, 500, 100),
        (3, 24, None, 3), (0, 24, None, 0),
        # The page: 1000 bars, and a full one does not tell that it was the last.
        (100, 980, 30, 19), (100, 998, 30, 1), (100, 999, 30, 0), (100, 1000, 30, 0),
        (100, 1001, 30, 30),
    ],
)  # fmt: skip
def test_a_check_for_revisions_covers_the_rest_of_the_page(
    held: int, lacking: int, since: int | None, hours: int
) -> None:
    assert reached(held, lacking, since) == hours


def test_a_check_for_revisions_never_adds_a_request() -> None:
    dice = np.random.default_rng(3)
    for held, lacking, since, days in dice.integers([0, 1, 0, 0], [90, 120, 90, 4], (200, 4)):
        caps = replace(PAGES, page_bars=50, page_days={"1h": int(days)})
        back = reached(int(held), int(lacking), int(since), page_bars=50, page_days=caps.page_days)
        span = Span(NOON, NOON + int(lacking) * HOUR_MS)
        whole = Span(NOON - back * HOUR_MS, span.end)
        assert requests_for(caps, whole, HOURS) <= requests_for(caps, span, HOURS)


def test_windows_of_days_bound_how_far_back_a_request_reaches() -> None:
    assert reached(100, 24, 30, page_bars=0, page_days={"1h": 1}) == 0
    assert reached(100, 40, 30, page_bars=0, page_days={"1h": 2}) == FEWEST
    assert reached(100, 10, 14, page_bars=0, page_days={"1h": 1}) == 14
