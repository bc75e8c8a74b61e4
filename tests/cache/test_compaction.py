"""Many small appends become few members, and no bar changes by it."""

from __future__ import annotations

from pathlib import Path

from src.data.cache.members import Member, file_id, walk
from src.data.cache.store import Commit
from src.data.model.instant import DAY_MS, MINUTE_MS
from tests.cache.bars import (
    DAILY,
    EVER,
    MINUTES,
    lane_folder,
    mark,
    minutes,
    piece,
    same,
    states,
    store_in,
    table,
)  # fmt: skip

A_DAY = DAY_MS // MINUTE_MS


def members(root: Path, key: object = DAILY) -> list[Member]:
    folder = lane_folder(root, key)  # type: ignore[arg-type]
    data = (folder / "2024.csv.gz").read_bytes()
    found = [m for _, m in walk(data, file_id(key, 2024))]  # type: ignore[arg-type]
    assert sum(len(m.raw) for m in found) == len(data)
    return found


def test_daily_members_become_one_at_eight(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(7):
        store.commit(DAILY, Commit((piece(n, n + 1),)))
    assert len(members(tmp_path)) == 7
    store.commit(DAILY, Commit((piece(7, 8),)))
    (one,) = members(tmp_path)
    assert (one.header.rows, one.header.span) == (8, piece(0, 8).span)
    assert one.header.fetched_at == piece(7, 8).fetched_at
    assert same(store.read(DAILY, EVER)[0], table(range(8)))
    assert not (lane_folder(tmp_path) / "_versions").exists()


def test_settled_states_are_written_into_the_members(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 1, state="provisional"),)))
    for n in range(1, 9):
        settled = mark(n - 1, n, "final")
        store.commit(DAILY, Commit((piece(n, n + 1, state="provisional"),), (settled,)))
    kept = [(m.header.rows, m.header.state) for m in members(tmp_path)]
    assert kept == [(7, "final"), (1, "provisional"), (1, "provisional")]
    (lane_folder(tmp_path) / "2024.metadata.json").unlink()
    assert states(store_in(tmp_path)) == [(0, 7, "final"), (7, 9, "provisional")]


def test_unequal_neighbours_stay_apart(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(30):
        store.commit(DAILY, Commit((piece(n, n + 1, vendor=f"v{n % 2}"),)))
    assert [m.header.vendor for m in members(tmp_path)] == [f"v{n % 2}" for n in range(30)]
    assert same(store.read(DAILY, EVER)[0], table(range(30)))


def test_spans_that_do_not_adjoin_stay_apart(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(0, 16, 2):
        store.commit(DAILY, Commit((piece(n, n + 1),)))
    assert len(members(tmp_path)) == 8
    assert len(states(store)) == 8


def test_stretches_without_bars_between_do_not_keep_them_apart(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(0, 16, 2):
        store.commit(DAILY, Commit((piece(n, n + 1), piece(n + 1, n + 2, []))))
    (one,) = members(tmp_path)
    assert one.header.span == piece(0, 15).span
    assert states(store) == [(0, 16, "final")]


def test_members_before_the_first_joined_one_are_copied(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 3, vendor="other"),)))
    first = members(tmp_path)[0].raw
    for n in range(3, 10):
        store.commit(DAILY, Commit((piece(n, n + 1),)))
    found = members(tmp_path)
    assert [m.header.rows for m in found] == [3, 7]
    assert found[0].raw == first


def test_later_members_keep_their_compressed_body(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for first, end, vendor in ((0, 2, "a"), (2, 4, "b"), (4, 6, "c")):
        store.commit(DAILY, Commit((piece(first, end, vendor=vendor),)))
    before = members(tmp_path)
    store.commit(DAILY, Commit((piece(2, 4, vendor="b", shift=1.0),)))
    after = members(tmp_path)
    assert after[0].raw == before[0].raw
    assert after[2].raw[after[2].body_at :] == before[2].raw[before[2].body_at :]
    assert after[2].header.prev == after[1].digest[:16] != before[2].header.prev
    assert [m.header.seq for m in after] == [1, 4, 4]


def test_minutes_are_joined_with_the_first_bar_of_a_new_day(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(MINUTES, Commit((minutes(0, 3 * A_DAY - 3),)))
    bulk = members(tmp_path, MINUTES)[0].raw
    for n in range(3 * A_DAY - 3, 3 * A_DAY):
        store.commit(MINUTES, Commit((minutes(n, n + 1),)))
    assert len(members(tmp_path, MINUTES)) == 4
    store.commit(MINUTES, Commit((minutes(3 * A_DAY, 3 * A_DAY + 1),)))
    found = members(tmp_path, MINUTES)
    assert [m.header.rows for m in found] == [3 * A_DAY - 3, 3, 1]
    assert found[0].raw == bulk
    assert same(store.read(MINUTES, EVER)[0], table(range(3 * A_DAY + 1), size=MINUTE_MS))


def test_minutes_are_joined_at_512_open_members(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(MINUTES, Commit((minutes(0, 2),)))
    for n in range(2, 512):
        vendor = "acme" if n > 3 else "other"
        store.commit(MINUTES, Commit((minutes(n, n + 1, vendor=vendor),)))
    assert len(members(tmp_path, MINUTES)) == 511
    store.commit(MINUTES, Commit((minutes(512, 514),)))
    assert len(members(tmp_path, MINUTES)) == 512
    store.commit(MINUTES, Commit((minutes(514, 515),)))
    assert [m.header.rows for m in members(tmp_path, MINUTES)] == [2, 2, 511]
