"""Tests longer bars built from minutes: the same as resampling, returned as soon as they are complete."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.calendars.bar_builders import MinuteBars
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.market.bars import BarTable
from src.data.core.model.market.stream import LiveBar
from src.data.core.model.time.instant import MINUTE_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.resample import resample
from tests.core.cache.counts import examples
from tests.core.calendars.market import NEW_YORK
from tests.core.prices.test_resample import schedule

OPEN = parse_iso("2024-07-10T13:30:00Z")
QUIET_MS = 3 * MINUTE_MS
SOON_MS = 500  # how long after its close a minute comes
LATE_MS = 4_000
MINUTE = Timeframe.parse("1m")


def bars(step: str = "5m", since: int = OPEN - 60_000) -> MinuteBars:
    made = MinuteBars(BarGrid(NEW_YORK, Timeframe.parse(step)), QUIET_MS)
    made.restart(since)
    return made


def minute(number: int, price: float = 10.0, volume: float = 1.0, opened: int = OPEN) -> LiveBar:
    """Return a made-up minute, counted from the open of the session."""
    stamp = opened + number * MINUTE_MS
    return LiveBar(stamp, price, price + 2, price - 1, price + 1, volume)


def bars_of(made: MinuteBars, *minutes: LiveBar) -> list[LiveBar]:
    """Return what comes out, each minute coming soon after its close."""
    return [bar for m in minutes for bar in made.add_minute(m, m.stamp_ms + MINUTE_MS + SOON_MS)]


def closed(found: Iterable[LiveBar]) -> list[LiveBar]:
    return [bar for bar in found if bar.is_closed]


@pytest.mark.parametrize("volume", [1_500_000_000, 2**62])
def test_volumes_given_as_integers_do_not_wrap_around(volume: int) -> None:
    found = closed(bars_of(bars(), *(minute(n, volume=volume) for n in range(5))))
    assert [bar.volume for bar in found] == [5.0 * volume]


def test_a_bar_closes_with_its_last_minute() -> None:
    found = bars_of(bars(), *(minute(n, 10.0 + n) for n in range(6)))
    assert [(b.is_closed, b.volume) for b in found] == [
        (False, 1), (False, 2), (False, 3), (False, 4), (True, 5), (False, 1),
    ]  # fmt: skip
    assert closed(found) == [LiveBar(OPEN, 10.0, 16.0, 9.0, 15.0, 5.0)]


def test_a_bar_closes_with_the_first_minute_after_it() -> None:
    found = bars_of(bars(), *map(minute, (0, 1, 2, 3, 5)))
    assert [b.volume for b in closed(found)] == [4.0]


def test_the_clock_closes_a_bar_whose_last_minute_had_no_trade() -> None:
    made, end = bars(), OPEN + 5 * MINUTE_MS
    bars_of(made, *map(minute, (0, 2, 3)))
    assert made.closed_by(end + LATE_MS + SOON_MS - 1) == []
    assert [b.volume for b in made.closed_by(end + LATE_MS + SOON_MS)] == [3.0]
    assert made.closed_by(end + MINUTE_MS) == []
    assert made.backfill_ms is None


def test_a_bar_is_not_trusted_where_nothing_came_for_long() -> None:
    made = bars("15m")
    found = bars_of(made, *map(minute, (2, 5, 6, 9, 10, 11, 14)))
    assert [bar.volume for bar in closed(found)] == [7.0], "two minutes are no long silence"
    assert made.backfill_ms is None
    found = bars_of(made, *(minute(15 + n) for n in (0, 1, 2, 6, 7, 8, 11, 14)))
    assert closed(found) == []
    assert made.backfill_ms == OPEN + 30 * MINUTE_MS


@pytest.mark.parametrize("heard", [(), (0,), (4,)], ids=["never", "first", "last"])
def test_silence_at_the_edges_counts_too(heard: tuple[int, ...]) -> None:
    made = bars()
    found = bars_of(made, *map(minute, heard))
    assert closed(found + made.closed_by(OPEN + 6 * MINUTE_MS)) == []
    assert made.backfill_ms == OPEN + 5 * MINUTE_MS


def test_a_bar_without_minutes_for_long_is_not_shown_as_forming() -> None:
    made = bars("15m")
    assert len(bars_of(made, minute(0))) == 1
    assert bars_of(made, minute(5)) == []


def test_a_bar_whose_first_minute_was_not_listened_to_is_not_trusted() -> None:
    made = bars(since=OPEN + MINUTE_MS - LATE_MS + 1)
    assert bars_of(made, *(minute(n) for n in range(5))) == []
    assert made.backfill_ms == OPEN + 5 * MINUTE_MS
    assert len(closed(bars_of(made, *(minute(n) for n in range(5, 10))))) == 1


def test_the_minute_that_runs_when_we_connect_is_sent_whole() -> None:
    made = bars(since=OPEN + MINUTE_MS - LATE_MS)
    assert len(closed(bars_of(made, *(minute(n) for n in range(5))))) == 1


def test_what_was_running_when_the_connection_was_lost_is_forgotten() -> None:
    made = bars()
    bars_of(made, *map(minute, (0, 1, 2)))
    made.pause()
    assert made.closed_by(OPEN + 6 * MINUTE_MS) == [] == bars_of(made, minute(5))
    made.restart(OPEN + 7 * MINUTE_MS)
    assert bars_of(made, *(minute(n) for n in range(7, 10))) == []
    assert made.backfill_ms == OPEN + 10 * MINUTE_MS


def test_a_minute_that_is_corrected_corrects_its_bar() -> None:
    made = bars()
    bars_of(made, *(minute(n) for n in range(5)))
    assert bars_of(made, minute(2, 20.0, 7.0)) == [LiveBar(OPEN, 10.0, 22.0, 9.0, 11.0, 11.0)]
    [running] = bars_of(made, minute(5))
    [again] = bars_of(made, minute(5, volume=3.0))
    assert (running.volume, again.volume, again.is_closed) == (1.0, 3.0, False)


def test_a_minute_that_comes_after_its_bar_was_closed_is_counted() -> None:
    made = bars()
    bars_of(made, *map(minute, (0, 1, 2, 3)))
    made.closed_by(OPEN + 5 * MINUTE_MS + 2 * LATE_MS)
    [bar] = made.add_minute(minute(4), OPEN + 5 * MINUTE_MS + 30_000)
    assert (bar.is_closed, bar.volume) == (True, 5.0)


def test_corrections_of_bars_long_ago_change_nothing() -> None:
    made = bars()
    bars_of(made, *(minute(n) for n in range(5 * 17)))
    assert bars_of(made, minute(4)) == []
    assert len(bars_of(made, minute(5))) == 1


def test_minutes_beside_the_session_are_in_no_bar() -> None:
    made = bars()
    assert bars_of(made, minute(-1)) == []
    found = bars_of(made, *(minute(n) for n in range(385, 393)))
    assert [(b.stamp_ms, b.volume) for b in closed(found)] == [(OPEN + 385 * MINUTE_MS, 5.0)]
    assert len(found) == 5


def test_the_last_hour_is_half_an_hour() -> None:
    found = closed(bars_of(bars("1h"), *(minute(n) for n in range(400))))
    assert [bar.volume for bar in found] == [60.0] * 6 + [30.0]


@pytest.mark.parametrize("behind_min", [0, 15])
def test_a_stream_of_the_delayed_tape_is_waited_for(behind_min: int) -> None:
    made = bars()
    behind = behind_min * MINUTE_MS + SOON_MS
    found: list[LiveBar] = []
    for number in (*range(-20, 3), *range(4, 8), *range(9, 14)):
        m = minute(number)
        found += made.closed_by(m.stamp_ms + MINUTE_MS + behind - 1)
        found += made.add_minute(m, m.stamp_ms + MINUTE_MS + behind)
    assert [bar.volume for bar in closed(found)] == [4.0, 4.0]


# --- the same as resampling ------------------------------------------------------------------


def by_hand(minutes: list[LiveBar], session: tuple[int, int], step_ms: int) -> list[LiveBar]:
    """Return the bars of one session by a plain loop, counted from its open."""
    opened, over = session
    found = []
    for start in range(opened, over, step_ms):
        parts = [m for m in minutes if start <= m.stamp_ms < min(start + step_ms, over)]
        if parts:
            found.append(LiveBar(
                start, parts[0].open, max(p.high for p in parts), min(p.low for p in parts),
                parts[-1].close, sum(p.volume for p in parts),
            ))  # fmt: skip
    return found


def session_of(day: date) -> tuple[int, int]:
    """Return when a session opens and closes, as the exchange library has it."""
    parts = dict(schedule("XNYS"))[day]
    return round(parts[0][0].timestamp()) * 1000, round(parts[-1][1].timestamp()) * 1000


DAYS = [date(2024, 7, 10), date(2024, 7, 3), date(2024, 3, 11), date(2024, 11, 4)]  # a half day


@settings(max_examples=examples(40), derandomize=True, deadline=None)
@given(
    st.sampled_from(DAYS), st.sampled_from(["5m", "15m", "30m", "1h"]), st.integers(0, 999),
    st.sampled_from([0.0, 0.05, 0.3]), st.booleans(),
)  # fmt: skip
def test_the_bars_are_those_of_resampling(
    day: date, label: str, seed: int, quiet: float, is_fine: bool
) -> None:
    dice = random.Random(seed)
    session, step = session_of(day), Timeframe.parse(label)
    minutes = _made_up(session, dice, quiet, is_fine=is_fine)
    made = bars(label, session[0] - 60_000)
    given_, corrected = _streamed(made, minutes, dice)
    given_ |= {bar.stamp_ms: bar for bar in made.closed_by(session[1] + 3_600_000)}
    inside = [m for m in corrected if session[0] <= m.stamp_ms < session[1]]
    expected = {bar.stamp_ms: bar for bar in by_hand(inside, session, step.step_ms or 0)}
    span = Span(session[0] - 3_600_000, session[1] + 3_600_000)
    found = resample(BarTable.from_bars([m.bar for m in inside]), MINUTE, step, NEW_YORK,
                     span=span, now_ms=span.end, dense=False)  # fmt: skip
    folded = {int(row[0]): tuple(row) for row in zip(found.table.stamps.tolist(), *(
        c.tolist() for c in found.table.values()), strict=True)}  # fmt: skip
    assert {s: tuple(b[:6]) for s, b in given_.items()} == {s: folded[s] for s in given_}
    if not is_fine:  # sums of whole numbers are exact in any order
        assert given_ == {s: expected[s] for s in given_}
    for stamp in expected.keys() - given_.keys():
        assert (
            _longest_silence(inside, stamp, min(stamp + (step.step_ms or 0), session[1]))
            > QUIET_MS - MINUTE_MS
        )


def _made_up(
    session: tuple[int, int], dice: random.Random, quiet: float, *, is_fine: bool
) -> list[LiveBar]:
    """Return minutes of a made-up session and beside it; some had no trade."""
    found = []
    for number in range(-3, (session[1] - session[0]) // MINUTE_MS + 3):
        if dice.random() < quiet:
            continue
        volume = dice.random() * 1e4 if is_fine else float(dice.randrange(1, 10_000))
        found.append(minute(number, round(dice.uniform(50, 60), 2), volume, session[0]))
    return found


def _streamed(
    made: MinuteBars, minutes: list[LiveBar], dice: random.Random
) -> tuple[dict[int, LiveBar], list[LiveBar]]:
    """Send minutes, some corrected half a minute later; return what was given and is true now."""
    given_: dict[int, LiveBar] = {}
    true = []
    for m in minutes:
        now = m.stamp_ms + MINUTE_MS + SOON_MS
        found = made.closed_by(now - 1) + made.add_minute(m, now)
        if dice.random() < 0.1:
            m = m._replace(high=m.high + 1, volume=m.volume + 5)
            found += made.add_minute(m, now + 30_000)
        true.append(m)
        given_ |= {bar.stamp_ms: bar for bar in closed(found)}
    return given_, true


def _longest_silence(minutes: list[LiveBar], start: int, end: int) -> int:
    heard = [start, *(m.stamp_ms for m in minutes if start <= m.stamp_ms < end), end]
    firsts = [heard[0], *(stamp + MINUTE_MS for stamp in heard[1:-1])]
    return max(b - a for a, b in zip(firsts, heard[1:], strict=True))
