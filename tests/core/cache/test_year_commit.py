"""Tests which part of a commit is appended, which rewrites the year, and which changes only its document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.store import BarStore, Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import concat
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS
from tests.core.cache.bars import (
    DAILY,
    EVER,
    MINUTES,
    NOW,
    lane_folder,
    mark,
    minutes,
    numbers,
    piece,
    same,
    states,
    store_in,
    table,
)  # fmt: skip
from tests.core.cache.disks import RecordingDisk

A_DAY = DAY_MS // MINUTE_MS
DATA = "2024.csv.gz"


@pytest.fixture
def store(tmp_path: Path) -> BarStore:
    """Return an empty store at 2025-01-01 UTC."""
    return store_in(tmp_path)


def calls_on_year_file(root: Path, commit: Commit, key: SeriesKey = DAILY) -> list[str]:
    """Commit as a new process does; return what it did to the year file under its name."""
    disk = RecordingDisk()
    store_in(root, disk).commit(key, commit)
    return [step.name for step in disk.steps if (step.target or step.path).name == DATA]


# An append looks at the last member, and writes behind it.
LOOK = ["open", "fstat", "read", "close"]
APPEND = [*LOOK, "open", "write", "fdatasync", "close"]


# --- no bar is doubled or lost --------------------------------------------------------------


def test_a_second_answer_for_the_last_bar_replaces_it(store: BarStore) -> None:
    store.commit(DAILY, Commit((piece(0, 5),)))
    store.commit(DAILY, Commit((piece(4, 6, shift=1.0),)))
    rows, _ = store.read(DAILY, EVER)
    assert same(rows, concat([table(range(4)), table([4, 5], 1.0)]))


def test_pieces_after_the_last_bar_can_be_in_any_order(store: BarStore) -> None:
    store.commit(DAILY, Commit((piece(0, 2),)))
    store.commit(DAILY, Commit((piece(4, 6), piece(2, 4))))
    assert same(store.read(DAILY, EVER)[0], table(range(6)))


def test_overlapping_pieces_after_the_last_bar_are_deduplicated(store: BarStore) -> None:
    store.commit(DAILY, Commit((piece(0, 2),)))
    store.commit(DAILY, Commit((piece(2, 6), piece(4, 8, shift=1.0))))
    rows, _ = store.read(DAILY, EVER)
    assert same(rows, concat([table(range(4)), table(range(4, 8), 1.0)]))


def test_the_later_of_two_overlapping_pieces_is_stored(store: BarStore) -> None:
    """If two pieces of one commit overlap, the bars of the later one are stored."""
    store.commit(DAILY, Commit((piece(2, 4, shift=1.0), piece(0, 6))))
    assert same(store.read(DAILY, EVER)[0], table(range(6)))


def test_a_piece_with_keeps_replaces_only_bars_it_contains(store: BarStore, tmp_path: Path) -> None:
    """A piece with ``keeps`` replaces only the stored bars for which it has bars."""
    store.commit(DAILY, Commit((piece(0, 10, vendor="other"),)))
    store.commit(DAILY, Commit((piece(2, 6, [3, 5], shift=1.0, keeps=True),)))
    rows, coverage = store.read(DAILY, EVER)
    assert numbers(rows) == [*range(10)]
    assert [n for n in range(10) if rows.close[n] != table([n]).close[0]] == [3, 5]
    assert {c.vendor for c in coverage} == {"acme", "other"}
    assert not (lane_folder(tmp_path) / "_quarantine").exists()


def test_a_piece_with_keeps_leaves_other_bars_of_its_commit_in_place(store: BarStore) -> None:
    """A piece with ``keeps`` leaves other bars of an earlier piece of its commit in place."""
    store.commit(DAILY, Commit((piece(0, 4), piece(1, 6, [2, 5], shift=1.0, keeps=True))))
    rows, _ = store.read(DAILY, EVER)
    assert numbers(rows) == [0, 1, 2, 3, 5]
    assert [n for n in rows.close.tolist() if n not in table(range(6)).close] == table(
        [2, 5], 1.0
    ).close.tolist()


def test_a_hole_in_a_covered_span_is_written_into_the_file(store: BarStore, tmp_path: Path) -> None:
    store.commit(DAILY, Commit((piece(0, 8, [0, 1, 2, 3, 6, 7]),)))
    store.commit(DAILY, Commit((piece(4, 6, [], holes=(piece(4, 5).span,)),)))
    assert states(store) == [(0, 4, "final"), (5, 8, "final")]
    (lane_folder(tmp_path) / "2024.metadata.json").unlink()
    assert (4, 5) not in [(n, n + 1) for a, b, _ in states(store_in(tmp_path)) for n in range(a, b)]


# --- empty spans next to bars ---------------------------------------------------------------


def test_an_empty_mark_covers_no_bar_of_its_own_commit(store: BarStore) -> None:
    store.commit(DAILY, Commit((piece(0, 3),), (mark(1, 5, "empty"),)))
    assert states(store) == [(0, 3, "final"), (3, 5, "empty")]


def test_an_empty_mark_replaces_an_answer_without_bars(store: BarStore) -> None:
    store.commit(DAILY, Commit((piece(0, 3, []), piece(5, 6))))
    store.commit(DAILY, Commit(marks=(mark(0, 3, "empty"),)))
    assert states(store) == [(0, 3, "empty"), (5, 6, "final")]


def test_an_empty_mark_replaces_bars_that_its_commit_withdraws(store: BarStore) -> None:
    store.commit(DAILY, Commit((piece(0, 5),)))
    store.commit(DAILY, Commit((piece(1, 3, []),), (mark(1, 3, "empty"),)))
    assert states(store) == [(0, 1, "final"), (1, 3, "empty"), (3, 5, "final")]
    assert numbers(store.read(DAILY, EVER)[0]) == [0, 3, 4]


def test_a_bar_right_after_withdrawn_bars_is_not_covered_by_an_empty_span(store: BarStore) -> None:
    store.commit(DAILY, Commit((piece(0, 5, fetched_at=0),)))
    store.commit(DAILY, Commit((piece(1, 3, [], fetched_at=0),), (mark(1, 4, "empty"),)))
    assert numbers(store.read(DAILY, EVER)[0]) == [0, 3, 4]
    assert all(state == "final" for first, end, state in states(store) if first <= 3 < end)


# --- what it costs --------------------------------------------------------------------------


@pytest.mark.parametrize("keeps", [False, True])
def test_new_bars_are_appended_without_reading_the_old_ones(
    store: BarStore, tmp_path: Path, keeps: bool
) -> None:
    store.commit(DAILY, Commit((piece(0, 5, adj=True),)))
    for n in (5, 6):
        assert (
            calls_on_year_file(tmp_path, Commit((piece(n, n + 1, adj=True, keeps=keeps),)))
            == APPEND
        )


def test_a_commit_without_bars_does_not_touch_the_year_file(
    store: BarStore, tmp_path: Path
) -> None:
    store.commit(DAILY, Commit((piece(0, 3), piece(6, 9)), (mark(4, 6, "empty"),)))
    assert calls_on_year_file(tmp_path, Commit((piece(3, 4, []),)))[:4] == LOOK
    assert "replace" not in calls_on_year_file(tmp_path, Commit((piece(3, 4, []),)))
    assert "replace" not in calls_on_year_file(
        tmp_path, Commit((piece(4, 6, [], holes=(piece(4, 5).span,)),))
    )
    assert (
        calls_on_year_file(tmp_path, Commit((piece(9, 12, []),), (mark(12, 14, "empty"),))) == LOOK
    )


def test_members_that_cannot_be_joined_are_not_tried_again_with_every_bar(tmp_path: Path) -> None:
    commits = [Commit((piece(n, n + 1, vendor=f"v{n % 2}"),)) for n in range(17)]
    tried = [
        n
        for n, commit in enumerate(commits, 1)
        if "replace" in calls_on_year_file(tmp_path, commit)
    ]
    assert tried == [1, 8, 12, 16]


def test_a_new_day_is_appended_if_no_members_are_to_be_joined(
    store: BarStore, tmp_path: Path
) -> None:
    store.commit(MINUTES, Commit((minutes(0, A_DAY),)))
    assert calls_on_year_file(tmp_path, Commit((minutes(A_DAY, A_DAY + 1),)), MINUTES) == APPEND
    late = Commit((minutes(2 * A_DAY, 2 * A_DAY + 1),))
    assert "replace" in calls_on_year_file(tmp_path, late, MINUTES)


# --- what stays reachable, and what is told beside the bars ---------------------------------


@pytest.mark.parametrize(
    "again, is_kept",
    [
        (piece(1, 2, shift=1.0), True),
        (piece(0, 2, [0]), True),
        (piece(3, 5), True),
        (piece(7, 10), False),
        (piece(5, 8), False),
    ],
    ids=["another value", "withdrawn", "put between", "the last again, and more", "the same"],
)
def test_the_old_file_is_kept_only_if_stored_bars_change(
    store: BarStore, tmp_path: Path, again: CommitPiece, is_kept: bool
) -> None:
    store.commit(DAILY, Commit((piece(0, 3), piece(5, 8))))
    store.commit(DAILY, Commit((again,)))
    assert (lane_folder(tmp_path) / "_versions").exists() is is_kept


def document_field(root: Path, name: str) -> Any:
    return json.loads((lane_folder(root) / "2024.metadata.json").read_bytes())[name]


def test_the_source_of_a_year_is_the_vendor_of_most_of_its_bars(
    store: BarStore, tmp_path: Path
) -> None:
    doubt = mark(0, 1, "suspect", vendor="first")
    store.commit(DAILY, Commit(marks=(doubt,)))
    assert document_field(tmp_path, "data_source") == "first"
    nothing = mark(5, 6, "empty", vendor="knew of none")
    store.commit(DAILY, Commit((piece(1, 4, vendor="second"),), (nothing,)))
    assert document_field(tmp_path, "data_source") == "second"
    store.commit(DAILY, Commit(marks=(nothing, mark(6, 7, "empty", vendor=""))))
    assert document_field(tmp_path, "data_source") == "second"
    assert "bars" not in document_field(tmp_path, "provider_info")
    store.commit(DAILY, Commit((piece(4, 6, vendor="third"),)))
    assert (
        document_field(tmp_path, "data_source")
        == document_field(tmp_path, "provider_info")["name"]
        == "second"
    )
    assert document_field(tmp_path, "provider_info")["bars"] == {"second": 3, "third": 2}
    store_in(tmp_path).commit(DAILY, Commit((piece(6, 9, vendor="third"),)))
    assert document_field(tmp_path, "data_source") == "third"
    assert document_field(tmp_path, "provider_info")["bars"] == {"second": 3, "third": 5}


def test_the_number_of_bars_per_vendor_survives_corrections_and_damage(
    store: BarStore, tmp_path: Path
) -> None:
    store.commit(DAILY, Commit((piece(0, 5, vendor="first"), piece(5, 8, vendor="second"))))
    store.commit(DAILY, Commit((piece(1, 5, shift=1.0, vendor="third"),)))
    said = document_field(tmp_path, "provider_info")["bars"]
    assert said == {"first": 1, "second": 3, "third": 4}
    assert document_field(tmp_path, "data_source") == "third"
    (lane_folder(tmp_path) / "2024.metadata.json").unlink()
    store_in(tmp_path).commit(DAILY, Commit((piece(8, 9, vendor="second"),)))
    assert document_field(tmp_path, "provider_info")["bars"] == said | {"second": 4}
    (lane_folder(tmp_path) / "2024.csv.gz").unlink()
    store_in(tmp_path).commit(DAILY, Commit((piece(8, 9, vendor="first"),)))
    assert document_field(tmp_path, "data_source") == "first"
    assert "bars" not in document_field(tmp_path, "provider_info")


def test_metadata_contain_the_times_a_year_was_created_and_changed(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    store = BarStore(tmp_path, None, clock)
    store.commit(DAILY, Commit((piece(0, 3),)))
    clock.advance(DAY_MS / 1000)
    store.commit(DAILY, Commit((piece(3, 4),)))
    assert document_field(tmp_path, "created_at") == "2025-01-01T00:00:00"
    assert document_field(tmp_path, "last_updated") == "2025-01-02T00:00:00"
