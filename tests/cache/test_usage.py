"""When years were used last: counted cheaply, merged across processes, lost without harm."""

from __future__ import annotations

import json
import os
import timeit
from pathlib import Path
from typing import Any

import pytest

from src.data.cache.retention import usage as module
from src.data.cache.retention.usage import FILE, Tally, Usage, Use, YearUse, name_of
from src.data.clock import ManualClock
from src.data.disk.files import Disk
from src.data.model.instant import year_start
from src.data.model.series import SeriesKey
from src.data.model.span import Span
from src.data.model.timeframe import Timeframe
from tests.cache.bars import DAILY, NOW

LATER = NOW + 60_000
YEAR = Span(year_start(2023), year_start(2024))


def every_year(key: SeriesKey) -> range:
    return range(2000, 2040)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def usage(tmp_path: Path, clock: ManualClock) -> Usage:
    return Usage(tmp_path, Disk(), clock)


def uses(known: YearUse | None) -> dict[int, Use]:
    assert known is not None
    return known.uses.get(name_of(DAILY), {})


def test_reads_count_for_the_years_they_reach_over() -> None:
    tally = Tally()
    tally.read(YEAR)
    tally.read(Span(year_start(2023) - 1, year_start(2023)))
    tally.read(Span(year_start(2021), year_start(2022) + 1))
    assert {year: use.reads for year, use in tally.take(NOW).items()} == {
        2021: 1, 2022: 2, 2023: 1,
    }  # fmt: skip
    assert tally.take(NOW) == {}


def test_a_commit_counts_at_its_time_and_a_read_when_it_is_taken() -> None:
    tally = Tally()
    tally.committed([2023], NOW)
    assert tally.take(LATER) == {2023: Use(NOW, 0, 1)}
    tally.read(YEAR)
    assert tally.take(LATER) == {2023: Use(LATER, 1, 0)}


def test_many_spans_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_SPANS", 10)
    tally = Tally()
    for day in range(365):
        tally.read(Span(YEAR.start, YEAR.start + (day + 1) * 86_400_000))
        assert len(tally._days) <= 10
    assert tally.take(NOW) == {2023: Use(NOW, 365, 0)}


def test_a_read_costs_next_to_nothing() -> None:
    """A generous bound: it is a few hundred nanoseconds on a machine with nothing else to do."""
    tally = Tally()
    best = min(timeit.repeat(lambda: tally.read(YEAR), number=2000, repeat=9)) / 2000
    assert best < 10e-6


def test_two_processes_add_up(tmp_path: Path, clock: ManualClock) -> None:
    one, other = (Usage(tmp_path, Disk(), clock) for _ in range(2))
    one.tally(DAILY).read(YEAR)
    other.tally(DAILY).committed([2023], NOW)
    one.write(every_year)
    clock.advance(60)
    other.tally(DAILY).read(YEAR)
    assert uses(other.write(every_year)) == {2023: Use(LATER, 2, 1)}
    assert uses(one.look(every_year)) == {2023: Use(LATER, 2, 1)}


def test_what_was_written_is_not_written_twice(usage: Usage) -> None:
    usage.tally(DAILY).read(YEAR)
    usage.write(every_year)
    assert uses(usage.write(every_year)) == {2023: Use(NOW, 1, 0)}


def test_years_that_are_not_there_are_not_remembered(usage: Usage) -> None:
    usage.tally(DAILY).read(Span(0, year_start(2038)))
    assert sorted(uses(usage.write(lambda _: [2022, 2024]))) == [2022, 2024]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"v": 2}', '{"v": 1, "size": 3}'])
def test_a_lost_file_is_no_trouble(usage: Usage, tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    assert uses(usage.look(every_year)) == {}
    usage.tally(DAILY).read(YEAR)
    assert uses(usage.write(every_year)) == {2023: Use(NOW, 1, 0)}


def test_what_cannot_be_written_is_written_the_next_time(
    usage: Usage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage.tally(DAILY).read(YEAR)
    with Disk().lock(tmp_path / ".lock", 1.0), monkeypatch.context() as patch:
        patch.setattr(module, "_LOCK_TIMEOUT_S", 0.0)
        assert usage.write(every_year) is None
    assert uses(usage.look(every_year)) == {2023: Use(NOW, 1, 0)}
    assert uses(usage.write(every_year)) == {2023: Use(NOW, 1, 0)}


def test_the_size_is_what_was_measured_and_what_all_added_since(
    tmp_path: Path, clock: ManualClock
) -> None:
    one, other = (Usage(tmp_path, Disk(), clock) for _ in range(2))
    first = one.write(every_year, grown=5)
    assert first is not None
    assert first.bytes is None  # nobody has measured yet
    one.write(every_year, measured=1000)
    one.write(every_year, grown=5)
    told = other.write(every_year, grown=7)
    assert told is not None
    assert (told.bytes, told.measured_ms) == (1012, NOW)


def test_of_very_many_years_the_latest_stay(
    usage: Usage, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_YEARS", 2)
    for year in (2021, 2023, 2022):
        usage.tally(DAILY).committed([year], clock.now_ms())
        clock.advance(60)
        known = usage.write(every_year)
    assert sorted(uses(known)) == [2022, 2023]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
def test_a_forked_child_does_not_count_what_its_parent_counted(
    usage: Usage, tmp_path: Path
) -> None:
    usage.tally(DAILY).read(YEAR)
    child = os.fork()
    if not child:
        usage.tally(DAILY).committed([2023], NOW)
        code = 0 if usage.write(every_year) else 1
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert uses(usage.write(every_year)) == {2023: Use(NOW, 1, 0)}


def test_the_file_is_plain(usage: Usage, tmp_path: Path) -> None:
    months = SeriesKey("BRK/B", Timeframe(1, "M"), ("raw",))
    usage.tally(months).committed([2023], NOW)
    usage.write(every_year)
    plain: Any = json.loads((tmp_path / FILE).read_text())
    assert plain["series"] == {"BRK%2FB/1mo@raw": {"2023": [NOW, 0, 1]}}
