"""Tests how many bars are expected in a span, and which are the first and the last."""

from __future__ import annotations

import random

import pytest

from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe

INSTRUMENTS = (
    Instrument("BTCUSDT", "crypto"),
    Instrument("AAPL", "stock", "XNYS", "America/New_York"),
    Instrument("EURUSD", "forex"),
)


@pytest.mark.parametrize("label", ["7m", "1h", "4h", "1d", "1w", "1M"])
@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda one: one.symbol)
def test_an_outline_gives_the_number_and_the_ends_of_the_expected_stamps(
    instrument: Instrument, label: str
) -> None:
    dice = random.Random(label)
    for anchor in ("session", "clock"):
        grid = BarGrid(calendar_for(instrument), Timeframe.parse(label), anchor)
        for days in (0, 1, 3, 200, 400):
            start = parse_iso("2022-01-01") + dice.randrange(0, 90 * DAY_MS, MINUTE_MS)
            span = Span(start, start + days * DAY_MS + dice.randrange(0, DAY_MS, MINUTE_MS))
            stamps = grid.opens(span).tolist()
            ends = (stamps[0], stamps[-1]) if stamps else (None, None)
            assert grid.outline(span) == (len(stamps), *ends), (span, anchor)


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda one: one.symbol)
def test_spans_expect_a_bar_together_as_each_does_alone(instrument: Instrument) -> None:
    dice = random.Random(instrument.symbol)
    grid = BarGrid(calendar_for(instrument), Timeframe.parse("7m"))
    for pause in (HOUR_MS, DAY_MS, 9 * DAY_MS):
        at, spans = parse_iso("2022-12-20"), list[Span]()
        for _ in range(60):
            start = at + dice.randrange(0, pause, MINUTE_MS)
            at = start + dice.choice([0, 1, 5, 7, 90, 3000]) * MINUTE_MS
            spans.append(Span(start, at))
        assert grid.expects(spans).tolist() == [len(grid.opens(span)) > 0 for span in spans]
        required = grid.expects(spans, required=True).tolist()
        assert required == [len(grid.required(span)) > 0 for span in spans]
        assert {True, False} == set(required)
    assert grid.expects([]).tolist() == []
