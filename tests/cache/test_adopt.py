"""Tests files of older tools: readable at once, and converted by the first commit."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from src.data.cache.store import Commit
from src.data.model.kind import Basis
from tests.cache.bars import (  # fmt: skip
    DAILY,
    EVER,
    OLDER_DESCRIPTION,
    days,
    lane_folder,
    mark,
    numbers,
    piece,
    repaired,
    states,
    store_in,
    table,
    write_older_year,
)
from tests.cache.counts import FULL
from tests.cache.disks import DyingDisk, Killed


@pytest.fixture(params=["ohlcv/AAPL/1d", "AAPL/1d"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a folder, in either place, with an older tool's AAPL 1d, bars 0 to 5 of 2024."""
    folder = tmp_path / str(request.param)
    write_older_year(folder)
    return folder


def test_year_files_of_older_tools_are_read_in_place(old: Path, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    store = store_in(tmp_path)
    view = store.view(DAILY)
    assert (view.rows, view.generation, view.exists) == (5, 0, True)
    (known,) = view.coverage
    assert (known.span, known.vendor, known.basis) == (days(0, 5), "tool", Basis("unknown"))
    rows, coverage = store.read(DAILY, EVER)
    assert numbers(rows) == [0, 1, 2, 3, 4]  # the last one may not have been closed
    assert coverage == view.coverage
    assert store.years(DAILY) == [2024]
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_the_first_commit_converts_year_files_of_older_tools(old: Path, tmp_path: Path) -> None:
    raw = (old / "2024.csv.gz").read_bytes()
    store_in(tmp_path).commit(DAILY, Commit((piece(5, 7),)))
    store = store_in(tmp_path)
    rows, coverage = store.read(DAILY, EVER)
    assert numbers(rows) == [0, 1, 2, 3, 4, 5, 6]
    assert rows.close.tolist() == [100 + n / 10 for n in range(5)] + table([5, 6]).close.tolist()
    assert [c.basis.adjustment for c in coverage] == ["unknown", "split"]
    kept = lane_folder(tmp_path) / "_legacy"
    assert (kept / "2024.csv.gz").read_bytes() == raw
    assert json.loads((kept / "2024.metadata.json").read_text()) == OLDER_DESCRIPTION
    if old != lane_folder(tmp_path):
        assert list(old.iterdir()) == []


def test_a_commit_to_any_year_converts_all_years_of_older_tools(tmp_path: Path) -> None:
    write_older_year(lane_folder(tmp_path))
    store_in(tmp_path).commit(DAILY, Commit((piece(-10, -5),)))
    assert store_in(tmp_path).view(DAILY).rows == 10
    assert (lane_folder(tmp_path) / "_legacy/2024.csv.gz").exists()


def test_a_new_answer_replaces_bars_of_an_older_file(tmp_path: Path) -> None:
    write_older_year(lane_folder(tmp_path))
    store_in(tmp_path).commit(DAILY, Commit((piece(1, 3, shift=5.0),)))
    rows, _ = store_in(tmp_path).read(DAILY, EVER)
    assert rows.close[1:3].tolist() == table([1, 2], 5.0).close.tolist()


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", gzip.compress(b"what,ever\n1,2\n", mtime=0)],
    ids=["empty", "garbage", "other columns"],
)
def test_unreadable_files_of_older_tools_give_no_bars_and_are_kept(
    tmp_path: Path, content: bytes
) -> None:
    write_older_year(lane_folder(tmp_path))
    (lane_folder(tmp_path) / "2024.csv.gz").write_bytes(content)
    store = store_in(tmp_path)
    assert store.view(DAILY).rows == 0
    assert len(store.read(DAILY, EVER)[0]) == 0
    store.commit(DAILY, Commit(marks=(mark(0, 3, "suspect"),)))
    assert states(store_in(tmp_path)) == [(0, 3, "suspect")]
    store.commit(DAILY, Commit((piece(3, 5),)))
    assert numbers(store_in(tmp_path).read(DAILY, EVER)[0]) == [3, 4]
    assert (lane_folder(tmp_path) / "_legacy/2024.csv.gz").read_bytes() == content


def test_sample_bars_of_an_older_tool_are_not_covered(tmp_path: Path) -> None:
    write_older_year(lane_folder(tmp_path), about=OLDER_DESCRIPTION | {"data_source": "mock"})
    assert store_in(tmp_path).view(DAILY).coverage == ()


@pytest.mark.parametrize("where", ["ohlcv/AAPL/1d", "AAPL/1d"])
def test_a_process_killed_while_converting_an_older_file_loses_no_bar(
    tmp_path: Path, where: str
) -> None:
    for n in range(1, 80, 1 if FULL else 6):
        root = tmp_path / str(n)
        write_older_year(root / where)
        try:
            store_in(root, DyingDisk(n)).commit(DAILY, Commit((piece(5, 7),)))
        except Killed:
            assert numbers(store_in(root).read(DAILY, EVER)[0])[:5] == [0, 1, 2, 3, 4]
            repaired(store_in(root), DAILY)
            assert numbers(store_in(root).read(DAILY, EVER)[0])[:5] == [0, 1, 2, 3, 4]
            store_in(root).commit(DAILY, Commit((piece(5, 7),)))
            assert numbers(store_in(root).read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4, 5, 6]
        else:
            return
    raise AssertionError("it never ended")
