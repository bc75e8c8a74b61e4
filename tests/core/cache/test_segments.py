"""Tests that rewriting a year keeps the text of unchanged bars byte for byte."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src.data.core.cache.format.csv_rows import encode_rows
from src.data.core.cache.store import Commit
from src.data.core.cache.write import segments, year_writer
from src.data.core.model.market.bars import BarTable
from src.data.core.model.stored.coverage import Coverage, Covered
from src.data.core.model.time.instant import MINUTE_MS
from src.data.core.model.time.span import Span
from tests.core.cache.bars import (
    DAILY,
    EVER,
    MINUTES,
    START,
    lane_folder,
    minutes,
    piece,
    same,
    store_in,
)
from tests.effort import calls_of

FIRST, MIDDLE, LAST = (0, 1), (100, 103), (199, 200)


def stretch(first: int, end: int) -> Span:
    return Span(START + first * MINUTE_MS, START + end * MINUTE_MS)


def written(root: Path, commits: Sequence[Commit]) -> tuple[bytes, BarTable]:
    for commit in commits:
        store_in(root).commit(DAILY, commit)
    text = gzip.decompress((lane_folder(root) / "2024.csv.gz").read_bytes())
    return text, store_in(root).read(DAILY, EVER)[0]


@pytest.mark.parametrize("wide", [False, True], ids=["", "adjusted"])
@pytest.mark.parametrize(
    "changes",
    [[FIRST], [MIDDLE], [LAST], [FIRST, LAST], [MIDDLE, (150, 151)], [MIDDLE, (90, 101)]],
    ids=str,
)
def test_corrected_years_equal_years_encoded_number_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[tuple[int, int]], wide: bool
) -> None:
    commits = [Commit((piece(0, 120, adj=wide),)), Commit((piece(120, 200, adj=wide),))]
    commits += [Commit((piece(a, b, shift=1.0, adj=wide),)) for a, b in changes]
    at_once = Commit(tuple(piece(a, b, shift=2.0, adj=wide) for a, b in changes))
    text, rows = written(tmp_path / "anew", [*commits, at_once])
    monkeypatch.setattr(segments, "ROWS_WORTH_FINDING", 1)
    found, held = written(tmp_path / "kept", [*commits, at_once])
    assert found == text
    assert same(held, rows)


def test_only_rows_of_a_changed_day_are_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anew: list[int] = []

    def counted(table: BarTable, columns: Sequence[str]) -> bytes:
        anew.append(len(table))
        return encode_rows(table, columns)

    monkeypatch.setattr(segments, "ROWS_WORTH_FINDING", 1)
    monkeypatch.setattr(year_writer, "encode_rows", counted)
    store = store_in(tmp_path)
    store.commit(MINUTES, Commit((minutes(0, 4000),)))
    for n in (2000, 2001):
        store.commit(MINUTES, Commit((minutes(n, n + 1, shift=1.0),)))
    assert anew == [4000, 1, 2], "both rows are of one day and adjacent"


def test_an_additional_column_is_written_for_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "ROWS_WORTH_FINDING", 1)
    store = store_in(tmp_path)
    for part in (minutes(0, 4000), minutes(2000, 2001, adj=True)):
        store.commit(MINUTES, Commit((part,)))
    text = gzip.decompress((lane_folder(tmp_path, MINUTES) / "2024.csv.gz").read_bytes())
    assert {line.count(b",") for line in text.splitlines()} == {6}
    rows, _ = store_in(tmp_path).read(MINUTES, EVER)
    assert rows.adj_close is not None and np.isnan(rows.adj_close).sum() == 3999


def test_text_without_a_matching_line_is_encoded_from_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should a line not be found, the numbers are written."""
    monkeypatch.setattr(segments, "ROWS_WORTH_FINDING", 1)
    monkeypatch.setattr(segments, "line_of", lambda text, whole, row: len(text) // 2)
    store = store_in(tmp_path)
    for part in (minutes(0, 4000), minutes(2000, 2001, shift=1.0)):
        store.commit(MINUTES, Commit((part,)))
    rows, _ = store_in(tmp_path).read(MINUTES, EVER)
    assert len(rows) == 4000


def test_a_commit_does_not_compare_many_short_spans_pairwise(tmp_path: Path) -> None:
    # A vendor whose rows are bad here and there leaves them behind.
    def calls(count: int) -> int:
        store = store_in(tmp_path / str(count))
        pieces = tuple(minutes(n, n + 1) for n in range(100, 100 + 2 * count, 2))
        store.commit(MINUTES, Commit(pieces))
        return calls_of(lambda: store.commit(MINUTES, Commit((minutes(0, 50),))))

    assert calls(200) < 5 * calls(50)


def test_settling_a_day_with_many_holes_takes_few_calls_per_hole() -> None:
    holes = tuple(stretch(n, n + 1) for n in range(2, 1440, 12))
    day = segments.of_piece(replace(minutes(0, 1440), holes=holes), "id", 1)
    known = Coverage(Covered(stretch(n, n + 12), "final", f"v{n}") for n in range(0, 1440, 12))
    assert calls_of(lambda: segments.split_by_state([day], known)) < 60 * len(holes)
