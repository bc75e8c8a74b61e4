"""Tests the ranges that must be fetched, against a bar-by-bar count."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest

from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.finality import due_spans
from src.data.core.calendars.gaps import holes, missing
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.stored.coverage import Coverage, Covered
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe

COIN = Instrument("BTCUSDT", "crypto")
SHARE = Instrument("AAPL", "stock", calendar="XNYS", timezone="America/New_York")
MONDAY = parse_iso("2024-06-03")


def grid(instrument: Instrument, label: str) -> BarGrid:
    return BarGrid(calendar_for(instrument), Timeframe.parse(label))


GRIDS = [grid(COIN, "1h"), grid(COIN, "15m"), grid(SHARE, "1h"), grid(SHARE, "1d")]


def inside(stamp: int, spans: Iterable[Span]) -> bool:
    return any(span.start <= stamp < span.end for span in spans)


def some_spans(dice: random.Random, step: int, most: int = 4) -> list[Span]:
    """Return spans within two weeks, of which the ends stand on the grid or beside it."""
    ends = [
        MONDAY + dice.randrange(14 * DAY_MS // step) * step + dice.choice([0, 0, 1, 7 * MINUTE_MS])
        for _ in range(2 * dice.randrange(most + 1))
    ]
    pairs = zip(ends[::2], ends[1::2], strict=True)
    return [Span(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]]


@pytest.mark.parametrize("of", GRIDS, ids=lambda g: f"{g.calendar.name} {g.timeframe}")
@pytest.mark.parametrize("seed", range(12))
def test_every_expected_bar_that_is_not_held_is_asked_for_and_nothing_that_is_trusted(
    of: BarGrid, seed: int
) -> None:
    dice = random.Random(seed)
    step = of.timeframe.step_ms or DAY_MS
    held = some_spans(dice, step)
    due = [Span(s.start, max(s.start + 1, s.end - step)) for s in held if dice.random() < 0.4]
    wanted = Span(MONDAY + dice.randrange(5) * DAY_MS, MONDAY + (6 + dice.randrange(8)) * DAY_MS)
    found = missing(wanted, held, due, of)
    trusted = [s for s in held if s not in due]
    for stamp in of.opens(wanted).tolist():
        needed = not inside(stamp, held) or inside(stamp, due)
        assert inside(stamp, found.segments) == needed, stamp
    for segment in found.segments:
        assert len(of.opens(segment)) or any(segment.overlaps(d) for d in due)
        assert segment.end <= max(wanted.end, of.next_open(wanted.end))
    for span in found.closed:
        assert not len(of.opens(span))
        assert not inside(span.start, trusted)
        assert wanted.start <= span.start < span.end <= wanted.end


@pytest.mark.parametrize("of", GRIDS, ids=lambda g: f"{g.calendar.name} {g.timeframe}")
@pytest.mark.parametrize("seed", range(12))
def test_holes_are_the_expected_bars_that_did_not_come(of: BarGrid, seed: int) -> None:
    dice = random.Random(seed)
    start = MONDAY + dice.randrange(24) * HOUR_MS
    answered = Span(start, start + dice.randrange(1, 9) * DAY_MS)
    expected = of.opens(answered).tolist()
    came = [stamp for stamp in expected if dice.random() < dice.choice([0.2, 0.8])]
    odd = [stamp + 90_001 for stamp in came if dice.random() < 0.1]  # bars off the calendar
    present = np.array(sorted({*came, *odd}), dtype=np.int64)
    found = holes(answered, present, of)
    assert [s for s in expected if inside(s, found)] == [s for s in expected if s not in came]
    assert not [s for s in present.tolist() if inside(s, found)]
    for one, other in pairwise(found):
        between = [s for s in [*expected, *odd] if one.end <= s < other.start]
        assert between, "neighbours are one stretch"


def test_nothing_is_lacking_where_all_came_and_all_where_nothing_did() -> None:
    of, day = grid(COIN, "1h"), Span(MONDAY, MONDAY + DAY_MS)
    assert holes(day, of.opens(day), of) == []
    assert holes(day, np.empty(0, dtype=np.int64), of) == [day]


def test_a_segment_reaches_to_the_next_expected_bar() -> None:
    friday, monday = parse_iso("2024-06-07"), parse_iso("2024-06-10")
    found = missing(Span(friday, friday + 1), [], [], grid(SHARE, "1d"))
    assert found.segments == [Span(friday, monday)]


def test_a_weekend_is_closed_and_not_asked_for() -> None:
    weekend = Span(parse_iso("2024-06-08"), parse_iso("2024-06-10"))
    assert missing(weekend, [], [], grid(SHARE, "1d")) == ([], [weekend])


def test_bars_off_the_calendar_that_are_due_are_asked_again_all_the_same() -> None:
    weekend = Span(parse_iso("2024-06-08"), parse_iso("2024-06-09"))
    assert missing(weekend, [weekend], [weekend], grid(SHARE, "1d")).segments[0].start == (
        weekend.start
    )


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2024-06-03T12:01:59", []),
        ("2024-06-03T12:02:00", [("2024-06-03T10:00", "2024-06-03T12:00")]),
        ("2024-06-03T13:01:00", [("2024-06-03T10:00", "2024-06-03T12:00")]),
        ("2024-06-03T13:02:00", [("2024-06-03T10:00", "2024-06-03T13:00")]),
    ],
)
def test_provisional_bars_are_due_one_by_one_as_they_settle(
    now: str, expected: list[tuple[str, str]]
) -> None:
    span = Span(parse_iso("2024-06-03T11:00"), parse_iso("2024-06-03T13:00"))
    coverage = Coverage([
        Covered(Span(span.start - HOUR_MS, span.start), "final"), Covered(span, "provisional"),
    ])  # fmt: skip
    due = due_spans(coverage, grid(COIN, "1h"), 2 * MINUTE_MS, parse_iso(now))
    told = [(parse_iso(a), parse_iso(b)) for a, b in expected]
    assert [tuple(s) for s in due] == [(max(a, span.start), b) for a, b in told]


def test_a_provisional_friday_is_due_when_monday_opens() -> None:
    part = Covered(Span(parse_iso("2024-06-07"), parse_iso("2024-06-10")), "provisional")
    of = grid(SHARE, "1d")
    assert due_spans(Coverage([part]), of, 0, parse_iso("2024-06-10T13:29:59")) == []
    assert due_spans(Coverage([part]), of, 0, parse_iso("2024-06-10T13:30:00")) == [part.span]


def test_a_hole_before_the_first_bar_begins_with_what_was_answered() -> None:
    of, answered = grid(COIN, "1h"), Span(MONDAY + MINUTE_MS, MONDAY + 5 * HOUR_MS)
    present = np.array([MONDAY + 3 * HOUR_MS], dtype=np.int64)
    assert holes(answered, present, of) == [
        Span(answered.start, MONDAY + 3 * HOUR_MS),
        Span(MONDAY + 4 * HOUR_MS, answered.end),
    ]
