"""Tests reading a stored span at one moment, and how few files it reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.read.series_reader import RangeReader
from src.data.core.cache.store import BarStore, Commit
from src.data.core.disk.files import Disk, DiskStep
from src.data.core.model.market.bars import BadRow, Bar
from tests.core.cache.bars import DAILY, EVER, at, days, piece, store_in


class Watched(Disk):
    """A disk that records its reads, with a clock so far ahead that every file counts as old."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []

    def perform(self, step: DiskStep, call: Callable[[], Any]) -> Any:
        self.steps.append(step.name)
        return call()

    def now_ns(self) -> int:
        return super().now_ns() + 10**12


def bad(step: int) -> BadRow:
    return BadRow(Bar(at(step), 1.0, 0.5, 2.0, 1.0, 7.0), "high below low")


def test_a_stored_span_equals_view_bars_and_coverage_read_separately(
    tmp_path: Path,
) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 5),), suspects=(bad(7),)))
    found = store.stored_span(DAILY, days(2, 9))
    table, coverage = store.read(DAILY, days(2, 9))
    assert found.view == store.view(DAILY)
    assert found.table.stamps.tolist() == table.stamps.tolist() == [at(2), at(3), at(4)]
    assert found.coverage == coverage


def test_a_stored_span_of_an_unknown_series_is_empty(tmp_path: Path) -> None:
    found = store_in(tmp_path).stored_span(DAILY, EVER)
    assert (len(found.table), found.coverage) == (0, ())
    assert not found.view.exists


@pytest.mark.parametrize("columnar", ["map", "off"])
def test_a_commit_during_a_read_is_returned_with_its_own_view(
    tmp_path: Path, columnar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = BarStore(tmp_path, columnar=columnar)  # type: ignore[arg-type]
    store.commit(DAILY, Commit((piece(0, 5),)))
    before = store.view(DAILY)
    read, others = RangeReader.read, [lambda: store_in(tmp_path).commit(
        DAILY, Commit((piece(5, 9),)))]  # fmt: skip

    def read_slowly(*args: Any) -> Any:
        found = read(*args)
        if others:
            others.pop()()
        return found

    monkeypatch.setattr(RangeReader, "read", read_slowly)
    found = store.stored_span(DAILY, EVER, before)
    assert found.view.generation > before.generation
    assert found.view.rows == len(found.table) == 9


def test_an_old_view_does_not_hide_a_later_commit(tmp_path: Path) -> None:
    store = BarStore(tmp_path, Watched(), columnar="map")
    store.commit(DAILY, Commit((piece(0, 5),)))
    before = store.stored_span(DAILY, EVER).view
    store_in(tmp_path).commit(DAILY, Commit((piece(5, 9),)))
    found = store.stored_span(DAILY, EVER, before)
    assert (found.view.rows, len(found.table)) == (9, 9)


def test_reading_a_span_again_opens_no_file_and_stats_two(tmp_path: Path) -> None:
    disk = Watched()
    store = BarStore(tmp_path, disk, columnar="map")
    store.commit(DAILY, Commit((piece(0, 9),)))
    for _ in range(2):
        store.stored_span(DAILY, EVER)
    view = store.view(DAILY)
    disk.steps.clear()
    store.stored_span(DAILY, days(2, 4), view)
    assert disk.steps == ["stat", "stat"], "the file of the bars, then the folder again"


def test_newly_committed_suspect_rows_are_returned(tmp_path: Path) -> None:
    store = BarStore(tmp_path, Watched(), columnar="map")
    store.commit(DAILY, Commit((piece(0, 5),)))
    assert store.suspects(DAILY, EVER) == ()
    store_in(tmp_path).commit(DAILY, Commit(suspects=(bad(7),)))
    assert [row.bar.stamp_ms for row in store.suspects(DAILY, EVER)] == [at(7)]
    store_in(tmp_path).commit(DAILY, Commit(suspects=(bad(8),)))
    assert [row.bar.stamp_ms for row in store.suspects(DAILY, EVER)] == [at(7), at(8)]


def test_a_view_passed_by_the_caller_saves_disk_calls(tmp_path: Path) -> None:
    disk = Watched()
    disk.now_ns = lambda: 0  # type: ignore[method-assign]
    store = BarStore(tmp_path, disk)
    for commit in (Commit(), Commit((piece(0, 5),))):
        store.commit(DAILY, commit)
        store.stored_span(DAILY, EVER)  # that the folder does not exist is looked at once
        view = store.view(DAILY)
        disk.steps.clear()
        store.stored_span(DAILY, EVER, view)
        once = len(disk.steps)
        disk.steps.clear()
        store.stored_span(DAILY, EVER)
        assert len(disk.steps) > once, "without a view, the folder is also checked before the read"
