"""Feeds begun and followed under faults, against what must be true of every feed.

In LIVE no bar is missing since the first; no bar is given twice, and none before its close; what was
given, as corrected, and what is stored equals the truth. ``ONETAPE_SEED`` looks elsewhere,
``ONETAPE_FULL`` for longer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.core.cache.counts import FULL

from .feeds import DEFECTS, FAULTS, FEEDS, FeedWorld
from .simulation import simulated

RUNS = int(os.environ.get("ONETAPE_RUNS", 300 if FULL else 2))
SEED = int(os.environ.get("ONETAPE_SEED", "0"))
# A feed begun a year ahead asks for the minutes of that year: that is tested beside its own module.
CLOCKS = (0, 0, 1, -1, 15, -15, 60, -60, 86_400, -86_400)

STEPS = st.one_of(
    st.tuples(
        st.just("minutes"), st.lists(st.sampled_from((*DEFECTS, "", "")), min_size=1, max_size=4)
    ),
    st.tuples(
        st.just("minutes"), st.lists(st.sampled_from((*DEFECTS, "", "")), min_size=1, max_size=4)
    ),
    st.tuples(st.just("spoil"), st.sampled_from(sorted(FAULTS)), st.sampled_from((1, 3, None))),
    st.tuples(st.just("heal")),
    st.tuples(st.just("cut"), st.integers(0, 4)),
    st.tuples(st.just("clock"), st.sampled_from(CLOCKS)),
    st.tuples(st.just("begin"), st.sampled_from((1, 5, 30))),
    st.tuples(st.just("ask")),
    st.tuples(st.just("calm")),
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def play(steps: list[tuple[object, ...]], lookback: int, second: int) -> None:
    """Play steps, one after another."""
    with simulated(FEEDS, f"2024-06-05T13:45:{second:02}") as sim:
        world = FeedWorld(sim)
        is_begun = False
        for what, *how in [*steps, ("minutes", ["", ""])]:
            if what == "spoil":
                world.spoil(*how)  # type: ignore[arg-type]
            elif what == "heal":
                world.heal()
            elif what == "ask":
                world.ask()
            elif not is_begun or what == "begin":
                world.begin(how[0] if what == "begin" else lookback)  # type: ignore[arg-type]
                is_begun = True
            elif what == "minutes":
                world.pass_minutes(how[0])  # type: ignore[arg-type]
            elif what == "calm":
                world.calm_down()
            elif what == "clock":
                world.set_clock(how[0])  # type: ignore[arg-type]
            elif world.is_connected:
                world.cut()
                world.pass_minutes([""] * how[0])  # type: ignore[operator]
                world.connect()
        world.end()


@settings(
    max_examples=RUNS, deadline=None, database=None, phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@seed(SEED)
@given(
    steps=st.lists(STEPS, min_size=3, max_size=14 if FULL else 8), lookback=st.sampled_from((1, 5, 30)),
    second=st.sampled_from((0, 1, 30, 59)),
)  # fmt: skip
def test_a_feed_delivers_each_true_bar_once_under_random_faults(
    steps: list[tuple[object, ...]], lookback: int, second: int
) -> None:
    play(steps, lookback, second)
