"""The steady clock: seconds between two readings, even if the wall clock is set."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.net.limits.steady import Anchor

START = 1_735_689_600.0
HOUR = 3600.0


Reading = tuple[float, float, str]


def reading(wall: float = 0.0, mono: float = 0.0, origin: str = "monday") -> Reading:
    return START + wall, 500.0 + mono, origin


FIRST = Anchor(*reading(), START)


def passed(after: Reading) -> float:
    return FIRST.at(*after).steady_s - START


def test_the_steady_clock_follows_the_monotonic_seconds() -> None:
    assert passed(reading(10.4, 10.0)) == 10


def test_a_wall_clock_set_forward_adds_no_seconds() -> None:
    assert passed(reading(HOUR + 5, 5)) == 5
    assert passed(reading(HOUR, 0)) == 0


def test_a_wall_clock_set_back_takes_no_seconds_away() -> None:
    assert passed(reading(-HOUR, 5)) == 5


@pytest.mark.parametrize("mono", [-400, 20, 1e6])
def test_the_wall_clock_is_used_after_a_restart_or_on_another_machine(mono: float) -> None:
    assert passed(reading(HOUR, mono, "tuesday")) == HOUR
    assert passed(reading(-HOUR, mono, "tuesday")) == 0


@pytest.mark.parametrize(
    "after, stale",
    [
        (reading(30, 30), False), (reading(61, 61), True), (reading(HOUR, 1), True),
        (reading(-5, 0), True), (reading(1, 1), False), (reading(1, 1, "tuesday"), True),
    ],
)  # fmt: skip
def test_the_clocks_are_compared_again_periodically_and_after_every_jump(
    after: Reading, stale: bool
) -> None:
    assert FIRST.is_stale(FIRST.at(*after)) is stale


Step = st.tuples(st.floats(0, 5000), st.floats(-1e6, 1e6) | st.just(0.0))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(Step, max_size=12))
def test_steady_time_advances_at_the_true_rate_under_jumps_of_the_wall_clock(
    steps: list[tuple[float, float]],
) -> None:
    """Each step: seconds that really pass, and a jump of the wall."""
    wall = mono = 0.0
    anchor, last = FIRST, START
    for seconds, jump in steps:
        wall, mono = wall + seconds + jump, mono + max(seconds, 1e-3)
        now = anchor.at(*reading(wall, mono))
        assert last <= now.steady_s <= START + mono + 1e-3
        last = now.steady_s
        if anchor.is_stale(now):
            anchor = now
    # However it has jumped: from here on every second counts again.
    later = anchor.at(*reading(wall + HOUR, mono + HOUR))
    assert later.steady_s - last == pytest.approx(HOUR)
