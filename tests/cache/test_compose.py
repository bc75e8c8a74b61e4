"""A new file says what is known by now of the bars that stay, member by member."""

from __future__ import annotations

from pathlib import Path

from src.data.cache.compacting import compact_series
from src.data.cache.store import Commit
from tests.cache.bars import DAILY, at, lane_folder, piece, states, store_in
from tests.cache.damage import META, bars, members


def test_a_member_that_stays_is_told_what_was_settled_since(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2, vendor="other", state="provisional"),)))
    for day in (2, 3):
        store.commit(DAILY, Commit((piece(day, day + 1),)))
    store.commit(DAILY, Commit((piece(0, 2, vendor="other"),)))
    compact_series(store.workshop, DAILY, dry_run=False)
    folder = lane_folder(tmp_path)
    told = [(m.header.rows, m.header.vendor, m.header.state) for _, m in members(folder)]
    assert told == [(2, "other", "final"), (2, "acme", "final")]
    (folder / META).unlink()
    assert states(store_in(tmp_path))[0] == (0, 2, "final")


def test_members_that_do_not_change_stay_byte_for_byte(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for day, vendor in enumerate(("one", "two", "three", "three")):
        store.commit(DAILY, Commit((piece(day, day + 1, vendor=vendor),)))
    folder = lane_folder(tmp_path)
    before = [member.raw for _, member in members(folder)]
    compact_series(store.workshop, DAILY, dry_run=False)
    after = [member.raw for _, member in members(folder)]
    assert after[:2] == before[:2]
    assert len(after) == 3


def test_bars_appended_where_all_had_been_withdrawn_are_found_without_metadata(
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
