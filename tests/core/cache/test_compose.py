"""Tests the metadata in a rewritten year file: it is current for the bars that stay, in each gzip member."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src.data.core.cache.faults import MISSING, Fault
from src.data.core.cache.format.csv_rows import BASE_COLUMNS, encode_rows, header_line
from src.data.core.cache.format.documents import YearState
from src.data.core.cache.store import Commit, CommitPiece
from src.data.core.cache.upkeep.compact import compact_series
from src.data.core.cache.write.year_writer import Target, state_of
from src.data.core.model.market.bars import BarTable
from src.data.core.model.stored.coverage import Coverage
from src.data.core.model.time.span import Span
from tests.core.cache.bars import DAILY, EVER, at, lane_folder, mark, piece, states, store_in
from tests.core.cache.damage import META, bars, members, quarantined


def test_compaction_updates_the_state_of_a_kept_member(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2, vendor="other", state="provisional"),)))
    for day in (2, 3):
        store.commit(DAILY, Commit((piece(day, day + 1),)))
    store.commit(DAILY, Commit(marks=(mark(0, 2, "final", vendor="other"),)))
    compact_series(store.parts, DAILY, dry_run=False)
    folder = lane_folder(tmp_path)
    reported = [(m.header.rows, m.header.vendor, m.header.state) for _, m in members(folder)]
    assert reported == [(2, "other", "final"), (2, "acme", "final")]
    (folder / META).unlink()
    assert states(store_in(tmp_path))[0] == (0, 2, "final")


def test_members_that_do_not_change_stay_byte_for_byte(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for day, vendor in enumerate(("one", "two", "three", "three")):
        store.commit(DAILY, Commit((piece(day, day + 1, vendor=vendor),)))
    folder = lane_folder(tmp_path)
    before = [member.raw for _, member in members(folder)]
    compact_series(store.parts, DAILY, dry_run=False)
    after = [member.raw for _, member in members(folder)]
    assert after[:2] == before[:2]
    assert len(after) == 3


def test_bars_appended_after_a_withdrawal_of_all_are_found_without_metadata(
    tmp_path: Path,
) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 3),)))
    store.commit(DAILY, Commit((piece(0, 3, []),)))
    store.commit(DAILY, Commit((piece(3, 5),)))
    folder = lane_folder(tmp_path)
    assert [member.header.rows for _, member in members(folder)] == [0, 2]
    (folder / META).unlink()
    assert bars(folder) == [3, 4]
    view = store_in(tmp_path).view(DAILY)
    assert (view.first, view.last) == (at(3), at(4))


def by_stamp(rows: BarTable) -> dict[int, list[float]]:
    """Return the five values of each bar."""
    return dict(zip(rows.stamps.tolist(), np.array(rows.values()[:5]).T.tolist(), strict=True))


@pytest.mark.parametrize(
    "pieces",
    [
        [piece(5, 8), piece(0, 3)],
        [piece(9, 12), piece(5, 8), piece(0, 3)],
        [piece(-3, -1), piece(0, 3), piece(5, 8), piece(0, 3, [], vendor="other")],
        [piece(0, 3), piece(5, 8), piece(0, 3, [], vendor="other")],
        [piece(0, 3), piece(5, 8), piece(10, 12, adj=True)],
        [piece(0, 3), piece(5, 8, adj=True), piece(0, 2, shift=1.0)],
    ],
    ids=["earlier", "ever earlier", "in between", "the first goes", "a new column", "corrected"],
)
def test_commits_that_do_not_adjoin_change_no_bar_of_each_other(
    tmp_path: Path, pieces: list[CommitPiece]
) -> None:
    wanted: dict[int, list[float]] = {}
    for part in pieces:
        store_in(tmp_path).commit(DAILY, Commit((part,)))
        kept = {stamp: row for stamp, row in wanted.items() if stamp not in part.span}
        wanted = kept | by_stamp(part.table)
        assert by_stamp(store_in(tmp_path).read(DAILY, EVER)[0]) == wanted
    assert [path for path in quarantined(lane_folder(tmp_path)) if "rows" not in path.name] == []


def test_answers_appended_in_one_commit_form_one_chain(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 3),)))
    store.commit(DAILY, Commit((piece(3, 4, vendor="one"), piece(4, 5, vendor="two"))))
    folder = lane_folder(tmp_path)
    assert [member.header.vendor for _, member in members(folder)] == ["acme", "one", "two"]
    assert bars(folder) == [0, 1, 2, 3, 4]


def test_text_written_for_many_members_equals_text_written_one_by_one(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    prices = [1.0, 0.1 + 0.2, 1e-9, 12345.678, float("nan")]
    tables = [piece(4 * n, 4 * n + n % 3 + 1).table for n in range(40)]
    written = [
        replace(t, volume=np.full(len(t), prices[n % len(prices)])) for n, t in enumerate(tables)
    ]
    pieces = [
        replace(piece(4 * n, 4 * n + n % 3 + 1, vendor=f"v{n % 2}"), table=table)
        for n, table in enumerate(written)
    ]
    store.commit(DAILY, Commit(tuple(pieces)))
    texts = [bytes(member.text()) for _, member in members(lane_folder(tmp_path))]
    header = header_line(BASE_COLUMNS)
    assert texts[0].startswith(header)
    texts[0] = texts[0].removeprefix(header)
    assert texts == [encode_rows(table, BASE_COLUMNS) for table in written]


def test_a_rewritten_year_keeps_the_facts_that_are_not_about_its_file(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 3),)))
    found = [member for _, member in members(lane_folder(tmp_path))]
    target = Target(DAILY, 2024, BASE_COLUMNS, 7)
    fresh = state_of(found, 0, YearState(), target, Coverage())
    faults = (Fault(Span(at(0), at(1)), MISSING, 1),)
    before = YearState(5, 99, 9, 1, 2, "head", 50, 4, 3, faults=faults)
    assert state_of(found, 0, before, target, Coverage()) == fresh.replaced(faults=faults)


def test_compaction_keeps_the_faults_of_a_year(tmp_path: Path) -> None:
    store, fault = store_in(tmp_path), Fault(Span(at(1), at(1) + 1), MISSING, 1)
    store.commit(DAILY, Commit((piece(0, 2),), judged=Span(at(0), at(2)), faults=(fault,)))
    store.commit(DAILY, Commit((piece(2, 3),)))
    before = store.view(DAILY).faults
    assert compact_series(store.parts, DAILY, dry_run=False).years == (2024,)
    assert store_in(tmp_path).view(DAILY).faults == before == (fault,)
