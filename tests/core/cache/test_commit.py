"""Tests a commit: what it refuses, which files it reads, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from src.data.core.cache.format.json_document import dump, load
from src.data.core.cache.store import BarStore, Commit, CommitPiece
from src.data.core.disk.files import Disk, DiskStep
from src.data.core.model.identity.kind import Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.stored.lifetime import FIELD, Bound, Lifetime
from src.data.errors import CorruptEntryError, FormatVersionError, KindMismatchError
from tests.core.cache.bars import (
    DAILY,
    EVER,
    NOW,
    at,
    lane_folder,
    mark,
    numbers,
    piece,
    states,
    store_in,
    write_older_year,
)  # fmt: skip
from tests.core.cache.counts import steps
from tests.core.cache.damage import (
    DATA,
    META,
    bars,
    change,
    flipped,
    members,
    quarantined,
    three_members,
)
from tests.core.cache.disks import DyingDisk, Killed, RecordingDisk

T = TypeVar("T")
PENCE = Kind(unit="GBp")


@pytest.fixture
def store(tmp_path: Path) -> BarStore:
    """Return an empty store at 2025-01-01 UTC."""
    return store_in(tmp_path)


# --- the kind -------------------------------------------------------------------------------


def test_a_kind_stored_before_any_bar_is_enforced(store: BarStore) -> None:
    store.commit(DAILY, Commit(marks=(mark(0, 1, "empty"),), kind=Kind(unit="USD")))
    with pytest.raises(KindMismatchError, match="GBp"):
        store.commit(DAILY, Commit((piece(1, 2, kind=PENCE),)))


def test_an_answer_with_fewer_kind_fields_keeps_the_known_ones(store: BarStore) -> None:
    for n, kind in enumerate((Kind(unit="USD"), Kind(venue="XNAS"))):
        store.commit(DAILY, Commit((piece(n, n + 1, kind=kind),)))
    assert store.view(DAILY).kind == Kind(unit="USD", venue="XNAS")
    with pytest.raises(KindMismatchError, match="GBp"):
        store.commit(DAILY, Commit((piece(2, 3, kind=PENCE),)))


def test_pieces_of_one_commit_are_of_one_kind(store: BarStore) -> None:
    both = (piece(0, 1, kind=Kind(unit="USD")), piece(1, 2, kind=PENCE))
    with pytest.raises(KindMismatchError, match="GBp"):
        store.commit(DAILY, Commit(both))
    assert not store.view(DAILY).exists


def test_the_kind_is_read_from_the_bars_if_the_series_document_is_lost(
    store: BarStore, tmp_path: Path
) -> None:
    for n, kind in enumerate((Kind(venue="XNAS"), Kind(unit="USD"))):
        store.commit(DAILY, Commit((piece(n, n + 1, kind=kind),)))
    (lane_folder(tmp_path) / "series.json").write_bytes(b"")
    with pytest.raises(KindMismatchError, match="GBp"):
        store_in(tmp_path).commit(DAILY, Commit((piece(2, 3, kind=PENCE),)))
    assert numbers(store_in(tmp_path).read(DAILY, EVER)[0]) == [0, 1]


def test_an_empty_mark_sets_no_kind(store: BarStore, tmp_path: Path) -> None:
    store.commit(DAILY, Commit((piece(3, 4, []),), (mark(0, 3, "empty", kind=PENCE),)))
    (lane_folder(tmp_path) / "series.json").unlink()
    store_in(tmp_path).commit(DAILY, Commit((piece(3, 5),)))
    assert numbers(store_in(tmp_path).read(DAILY, EVER)[0]) == [3, 4]


# --- generations and marks -------------------------------------------------------------------


def test_a_commit_that_changed_no_year_has_a_generation_of_its_own(store: BarStore) -> None:
    store.commit(DAILY, Commit((piece(0, 2),)))
    store.commit(DAILY, Commit(next_due=3))
    assert store.view(DAILY).generation == 2
    store.commit(DAILY, Commit((piece(2, 3),)))
    assert store.view(DAILY).generation == 3


def test_empty_spans_are_stored_with_the_first_bars_of_their_year(store: BarStore) -> None:
    store.commit(DAILY, Commit((piece(0, 2),), (mark(2, 4, "empty"),)))
    assert states(store) == [(0, 2, "final"), (2, 4, "empty")]


def test_for_years_without_bars_only_empty_spans_are_stored(store: BarStore) -> None:
    marks = (mark(-5, -3, "empty"), mark(-4, -1, "final"), mark(-4, -1, "provisional"))
    store.commit(DAILY, Commit((piece(0, 2),), marks))
    assert states(store) == [(-5, -3, "empty"), (0, 2, "final")]


def test_suspect_marks_of_a_year_without_bars_are_stored_with_its_empty_spans(
    store: BarStore, tmp_path: Path
) -> None:
    """A suspect span in a year without bars is stored in that year's document with empty spans."""
    store.commit(DAILY, Commit((piece(0, 2),)))
    store.commit(DAILY, Commit(marks=(mark(-5, -3, "suspect"), mark(-3, -1, "empty"))))
    expected = [(-5, -3, "suspect"), (-3, -1, "empty"), (0, 2, "final")]
    assert states(store) == states(store_in(tmp_path)) == expected
    assert (lane_folder(tmp_path) / "2023.metadata.json").exists()


def test_empty_spans_alone_write_no_document_for_their_year(
    store: BarStore, tmp_path: Path
) -> None:
    store.commit(DAILY, Commit((piece(0, 2),)))
    store.commit(DAILY, Commit(marks=(mark(-5, -3, "empty"),)))
    assert states(store) == [(-5, -3, "empty"), (0, 2, "final")]
    assert not (lane_folder(tmp_path) / "2023.metadata.json").exists()


# --- when to ask again ------------------------------------------------------------------------


def test_next_due_is_kept_with_years_of_several_generations(
    store: BarStore, tmp_path: Path
) -> None:
    store.commit(DAILY, Commit((piece(0, 2),)))
    store.commit(DAILY, Commit((piece(-5, -3),)))
    store.commit(DAILY, Commit(next_due=NOW))
    assert store_in(tmp_path).view(DAILY).next_due == NOW


@pytest.mark.parametrize(
    ("before", "commit"),
    [
        (None, Commit(marks=(mark(0, 2, "empty"),), next_due=NOW)),
        (piece(0, 2, state="provisional"), Commit(marks=(mark(0, 2, "final"),), next_due=NOW)),
    ],
    ids=["of nothing stored", "of bars found equal"],
)
def test_next_due_is_kept_without_new_bars(
    store: BarStore, tmp_path: Path, before: CommitPiece | None, commit: Commit
) -> None:
    store.commit(DAILY, Commit((before,) if before else ()))
    store.commit(DAILY, commit)
    assert store_in(tmp_path).view(DAILY).next_due == NOW


@pytest.mark.parametrize("due", [NOW, None], ids=["said again", "not said again"])
def test_next_due_is_kept_after_a_commit_that_does_not_change_it(
    store: BarStore, tmp_path: Path, due: int | None
) -> None:
    store.commit(DAILY, Commit((piece(0, 2),), (mark(-5, -3, "empty"),), next_due=NOW))
    assert store_in(tmp_path).view(DAILY).next_due == NOW
    store.commit(DAILY, Commit((piece(2, 3),), next_due=due))
    assert store_in(tmp_path).view(DAILY).next_due == NOW


def test_the_time_of_a_comparison_is_kept_until_the_next_comparison(
    store: BarStore, tmp_path: Path
) -> None:
    store.commit(DAILY, Commit((piece(0, 2),), compared_at=7))
    store.commit(DAILY, Commit((piece(2, 3),)))
    assert store_in(tmp_path).view(DAILY).compared_at == 7
    store.commit(DAILY, Commit(compared_at=9))
    assert store_in(tmp_path).view(DAILY).compared_at == 9


@pytest.mark.parametrize(
    ("end", "disproves"),
    [
        (Lifetime(listed=Bound(at(0), "acme", NOW, NOW, FIELD)), piece(-3, 1)),
        (Lifetime(delisted=Bound(at(4), "acme", NOW, NOW)), piece(3, 5)),
    ],
    ids=["listing", "delisting"],
)
def test_a_listing_or_delisting_is_kept_until_a_bar_disproves_it(
    store: BarStore, tmp_path: Path, end: Lifetime, disproves: CommitPiece
) -> None:
    store.commit(DAILY, Commit(lifetime=end))
    store.commit(DAILY, Commit((piece(0, 2), piece(-5, -3, []))))
    assert store_in(tmp_path).view(DAILY).lifetime == end
    store.commit(DAILY, Commit((disproves,)))
    document = load((lane_folder(tmp_path) / "series.json").read_bytes())
    assert not {"listing", "delisting"} & document.keys(), "not even after those bars are cleared"


def test_a_commit_that_only_doubts_unknown_bars_writes_no_series_file(
    store: BarStore, tmp_path: Path
) -> None:
    store.commit(DAILY, Commit(marks=(mark(0, 1, "suspect"),)))
    assert states(store) == [(0, 1, "suspect")]
    assert not (lane_folder(tmp_path) / "series.json").exists()


# --- other years ----------------------------------------------------------------------------


def test_an_append_opens_no_other_years_bars(store: BarStore, tmp_path: Path) -> None:
    store.commit(DAILY, Commit((piece(-3, 3),)))
    store_in(tmp_path, disk := RecordingDisk()).commit(DAILY, Commit((piece(3, 4),)))
    opened = {step.path.name for step in disk.steps if step.name == "open"}
    assert {name for name in opened if name.endswith(".csv.gz")} == {"2024.csv.gz"}


def test_a_commit_repairs_the_document_of_another_year(store: BarStore, tmp_path: Path) -> None:
    for n in range(3):
        store.commit(DAILY, Commit((piece(n - 9, n - 8),)))
    change(lane_folder(tmp_path) / "2023.metadata.json", lambda data: flipped(data, 90))
    fresh = store_in(tmp_path)
    fresh.commit(DAILY, Commit((piece(3, 4),)))
    assert numbers(fresh.read(DAILY, EVER)[0]) == [-9, -8, -7, 3]
    assert fresh.view(DAILY).generation == 5, "three commits, the repair, and this one"


@pytest.mark.parametrize("key", [DAILY, SeriesKey("AAPL", DAILY.timeframe, ("raw",))], ids=str)
def test_a_commit_is_refused_if_one_year_has_a_newer_format(
    store: BarStore, tmp_path: Path, key: SeriesKey
) -> None:
    store.commit(key, Commit((piece(-3, 3),)))
    folder = next(tmp_path.glob("ohlcv/AAPL/1d*"))
    document = folder / "2023.metadata.json"
    plain = load(document.read_bytes())
    plain["onetape"]["format"] = 2
    document.write_bytes(dump(plain))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FormatVersionError, match="2023"):
        store_in(tmp_path).commit(key, Commit((piece(3, 4),)))
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


# --- damage and older files -----------------------------------------------------------------


@pytest.mark.parametrize("elsewhere", [0, 3], ids=["alone", "beside a newer year"])
def test_bars_recovered_from_a_damaged_file_are_in_the_new_file(
    tmp_path: Path, elsewhere: int
) -> None:
    folder = three_members(tmp_path)
    for n in range(elsewhere):
        store_in(tmp_path).commit(DAILY, Commit((piece(n - 9, n - 8),)))
    first = members(folder)[0][1]
    change(folder / DATA, lambda data: flipped(data, len(first.raw) - 20))
    store_in(tmp_path).commit(DAILY, Commit((piece(3, 4),)))
    view = store_in(tmp_path).view(DAILY)
    assert bars(folder) == [*range(-9, -9 + elsewhere), 3, 4, 5]
    # Four commits, those of another year, the repair, which is later than all of them, and this one.
    assert view.generation == 4 + elsewhere + 1 + 1
    assert len(quarantined(folder)) == 1


@pytest.mark.parametrize("lost", [META, DATA])
def test_a_year_with_one_lost_file_is_repaired_before_the_commit(tmp_path: Path, lost: str) -> None:
    folder = three_members(tmp_path)
    (folder / lost).unlink()
    store_in(tmp_path).commit(DAILY, Commit((piece(8, 9),)))
    assert bars(folder) == ([*range(6), 8] if lost == META else [8])


class Fickle(Disk):
    """A disk that gives wrong bytes every other time."""

    reads = 0

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        result = call()
        if step.name != "read" or step.path.name != DATA or step.at != 0:
            return result
        self.reads += 1
        return flipped(result, 60) if self.reads % 2 else result  # type: ignore[arg-type, return-value]


def test_a_commit_to_a_year_file_that_cannot_be_repaired_is_an_error(tmp_path: Path) -> None:
    folder = three_members(tmp_path)
    with pytest.raises(CorruptEntryError, match="AAPL 1d 2024 cannot be repaired"):
        store_in(tmp_path, Fickle()).commit(DAILY, Commit((piece(3, 4, shift=1.0),)))
    assert bars(folder) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("place, first", [("ohlcv/AAPL/1d", 1), ("AAPL/1d", 2)])
def test_a_process_killed_while_it_stores_an_empty_answer_keeps_the_older_bars(
    tmp_path: Path, place: str, first: int
) -> None:
    nothing = piece(8, 10, [])
    for n in steps(60, 3, first):
        root = tmp_path / str(n)
        write_older_year(root / place)
        try:
            store_in(root, DyingDisk(n)).commit(DAILY, Commit((nothing,)))
        except Killed:
            assert bars(lane_folder(root)) == [0, 1, 2, 3, 4]
        else:
            assert n > 10
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize("piece_of", [(), (piece(8, 10, []),)], ids=["a doubt", "an answer"])
def test_an_unreadable_file_of_an_older_tool_is_set_aside_before_the_year_is_written(
    store: BarStore, tmp_path: Path, piece_of: tuple[CommitPiece, ...]
) -> None:
    """An unreadable file of an older tool is set aside, so that the year can be written."""
    folder = lane_folder(tmp_path)
    write_older_year(folder)
    (folder / DATA).write_bytes(b"garbage")
    store.commit(DAILY, Commit(piece_of, (mark(0, 3, "suspect"),)))
    assert [path.read_bytes() for path in quarantined(folder)] == [b"garbage"]
    assert (folder / "_legacy" / DATA).read_bytes() == b"garbage"
    assert (0, 3, "suspect") in states(store_in(tmp_path))
    assert bars(folder) == []


def test_an_adopted_year_file_is_not_searched_for_again(store: BarStore, tmp_path: Path) -> None:
    write_older_year(tmp_path / "AAPL/1d")
    store.commit(DAILY, Commit((piece(5, 7),)))
    assert not (lane_folder(tmp_path) / "_quarantine").exists()
    store_in(tmp_path).clear_years(DAILY, [2024])  # as another process does
    assert store.parts.lane(DAILY).elsewhere == {}
