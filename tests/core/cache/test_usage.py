"""Tests the last use of a lane: cheap to record, shared by all processes, safe to lose."""

from __future__ import annotations

import os
import timeit
from pathlib import Path

import pytest

from src.data.core.cache.retention.index import LaneIndex
from src.data.core.cache.retention.manager import LastUses, lane_name
from src.data.core.cache.values import IN_USE_MS, LaneUse, Use
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.instant import year_start
from tests.core.cache.bars import DAILY, NOW

LATER = NOW + 60_000
START = year_start(2023)


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2025-01-01 UTC."""
    return ManualClock(NOW)


@pytest.fixture
def index(tmp_path: Path) -> LaneIndex:
    """Return the lane index of an empty cache folder."""
    return LaneIndex(tmp_path, Disk())


def uses_of(clock: ManualClock) -> LastUses:
    return LastUses(clock, lambda key: key == DAILY)


def test_a_commit_counts_at_its_time_and_a_read_when_it_is_taken() -> None:
    use = LaneUse()
    use.note_commit(START, NOW)
    assert use.take_last(LATER) == Use(NOW, START)
    use.note_read(START + 5)
    use.note_read(START)
    use.note_commit(START + 9, NOW)
    assert use.take_last(LATER) == Use(LATER, START)
    assert use.take_last(LATER) is None


def test_a_use_protects_bars_from_its_first_bar_on_for_a_limited_time() -> None:
    use = Use(NOW, START)
    assert use.needs(START + 1, NOW)
    assert not use.needs(START, NOW)
    assert not use.needs(START + 1, NOW + IN_USE_MS)


def test_uses_soon_after_each_other_are_merged() -> None:
    old, soon, late = Use(NOW, START), Use(LATER, START + 5), Use(NOW + IN_USE_MS, START + 5)
    assert soon.after(old) == old.after(soon) == Use(LATER, START)
    assert late.after(old) == late


def test_noting_a_read_takes_less_than_five_microseconds() -> None:
    use = LaneUse()
    assert min(timeit.repeat(lambda: use.note_read(START), number=1000, repeat=5)) < 0.005


def test_the_latest_use_of_all_processes_counts(index: LaneIndex, clock: ManualClock) -> None:
    mine, theirs = uses_of(clock), uses_of(clock)
    mine.of(DAILY).note_read(START)
    mine.write(lambda: index)
    clock.set(NOW + 2 * IN_USE_MS)
    theirs.of(DAILY).note_read(START + 7)
    assert mine.merged(index) == {lane_name(DAILY): Use(NOW, START)}
    theirs.write(lambda: index)
    mine.of(DAILY).note_commit(START, NOW)  # told late
    mine.write(lambda: index)
    assert mine.merged(index) == {lane_name(DAILY): Use(clock.now_ms(), START + 7)}


def test_uses_of_missing_series_are_not_kept(index: LaneIndex, clock: ManualClock) -> None:
    uses = uses_of(clock)
    uses.of(SeriesKey("GONE", DAILY.timeframe)).note_read(START)
    assert uses.merged(index) == {}


def test_uses_that_cannot_be_written_are_written_the_next_time(
    index: LaneIndex, clock: ManualClock, tmp_path: Path
) -> None:
    uses = uses_of(clock)
    uses.of(DAILY).note_read(START)
    (tmp_path / "index.sqlite").mkdir()
    uses.write(lambda: index)
    (tmp_path / "index.sqlite").rmdir()
    assert uses_of(clock).merged(index) == {}
    uses.write(lambda: index)
    assert uses_of(clock).merged(index) == {lane_name(DAILY): Use(NOW, START)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_note_what_its_parent_noted(
    index: LaneIndex, clock: ManualClock
) -> None:
    uses = uses_of(clock)
    uses.of(DAILY).note_read(START)
    child = os.fork()
    if child == 0:
        os._exit(0 if uses.merged(index) == {} else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert uses.merged(index) == {lane_name(DAILY): Use(NOW, START)}
