"""Tests the kept versions of a replaced year file, also on disks without hard links."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.store import BarStore, Commit
from src.data.core.cache.write.year_writer import expired, sweep_versions, versions
from src.data.core.disk.atomic import NO_LINKS
from src.data.core.model.stored.retention import Retention
from src.data.errors import StorageError
from tests.core.cache.bars import (
    DAILY,
    EVER,
    lane_folder,
    no_temps,
    numbers,
    piece,
    same,
    store_in,
    table,
)
from tests.core.cache.crash import Quick

DATA, OLD = "2024.csv.gz", "2024.1.csv.gz"
REVISED = Commit((piece(0, 3, shift=1.0),))


@pytest.fixture
def store(tmp_path: Path) -> BarStore:
    """Return a store with bars 0 to 2 of AAPL 1d, on a disk that skips syncs."""
    made = store_in(tmp_path, Quick())
    made.commit(DAILY, Commit((piece(0, 3),)))
    return made


def kept(store: BarStore) -> list[str]:
    return sorted(os.listdir(lane_folder(store.root) / "_versions"))


def refusing(code: int) -> Callable[..., Any]:
    def link(*_: object) -> None:
        raise OSError(code, "made to fail")

    return link


@pytest.mark.parametrize("code", NO_LINKS, ids=errno.errorcode.get)
def test_bars_are_replaced_even_if_the_file_system_has_no_links(
    store: BarStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "link", refusing(code))
    store.commit(DAILY, REVISED)
    assert same(store.read(DAILY, EVER)[0], table(range(3), 1.0))
    assert kept(store) == []


def test_a_year_file_whose_old_version_cannot_be_kept_is_not_replaced(
    store: BarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refusing(errno.EIO))
    with pytest.raises(StorageError, match="cannot link"):
        store.commit(DAILY, REVISED)
    assert same(store.read(DAILY, EVER)[0], table(range(3)))
    assert no_temps(store.root)
    monkeypatch.undo()
    store.commit(DAILY, REVISED)
    assert kept(store) == [OLD]


def test_an_existing_file_with_the_name_of_a_version_is_not_changed(store: BarStore) -> None:
    folder = lane_folder(store.root) / "_versions"
    folder.mkdir()
    (folder / OLD).write_bytes(b"another file")
    store.commit(DAILY, REVISED)
    assert same(store.read(DAILY, EVER)[0], table(range(3), 1.0))
    assert (folder / OLD).read_bytes() == b"another file"


def test_a_writer_killed_before_it_replaced_the_file_leaves_no_version(store: BarStore) -> None:
    folder = lane_folder(store.root)
    (folder / "_versions").mkdir()
    os.link(folder / DATA, folder / "_versions" / OLD)
    store.commit(DAILY, Commit((piece(3, 5),)))
    store.commit(DAILY, REVISED)
    assert kept(store) == ["2024.2.csv.gz"]


def test_versions_are_kept_if_the_year_file_is_gone(store: BarStore) -> None:
    store.commit(DAILY, REVISED)
    (lane_folder(store.root) / DATA).unlink()
    sweep_versions(store.parts.lane(DAILY), 2024)
    assert kept(store) == [OLD]


def test_a_version_removed_by_another_process_is_not_an_error(
    store: BarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(DAILY, REVISED)
    lane = store.parts.lane(DAILY)
    stat = lane.disk.stat
    monkeypatch.setattr(
        lane.disk, "stat", lambda path: None if Path(path).name == OLD else stat(path)
    )
    sweep_versions(lane, 2024)
    assert kept(store) == [OLD]


def test_a_retention_of_zero_versions_makes_none_and_deletes_old_ones(tmp_path: Path) -> None:
    none = store_in(tmp_path, Quick(), retention=Retention(0))
    none.commit(DAILY, Commit((piece(0, 3),)))
    none.commit(DAILY, REVISED)
    assert not (lane_folder(tmp_path) / "_versions").exists()
    store_in(tmp_path, Quick()).commit(DAILY, Commit((piece(0, 3, shift=2.0),)))
    assert kept(none) == ["2024.2.csv.gz"]
    none.commit(DAILY, REVISED)
    assert kept(none) == []


def test_files_with_other_names_are_not_versions(store: BarStore) -> None:
    store.commit(DAILY, REVISED)
    folder = lane_folder(store.root) / "_versions"
    for name in (DATA, "2024.7", "2024.x.csv.gz", "2023.7.csv.gz", "2024.7.csv.gz.part"):
        (folder / name).write_bytes(b"")
    assert versions(store.parts.lane(DAILY), 2024) == [(1, folder / OLD)]


def test_the_oldest_versions_by_number_are_deleted_first(tmp_path: Path) -> None:
    store = store_in(tmp_path, Quick(), retention=Retention(3))
    for n in range(12):
        store.commit(DAILY, Commit((piece(0, 3, shift=float(n)),)))
    found = versions(store.parts.lane(DAILY), 2024)
    assert [generation for generation, _ in found] == [9, 10, 11]


@pytest.mark.parametrize("time", ["the day before", None, 7])
def test_a_version_of_unknown_age_is_kept(tmp_path: Path, time: object) -> None:
    store = store_in(tmp_path, Quick(), retention=Retention(8, days=0.0))
    store.commit(DAILY, Commit((piece(0, 3),)))
    store.commit(DAILY, REVISED)
    path = lane_folder(tmp_path) / "2024.log"
    entries = [json.loads(line) for line in path.read_bytes().splitlines()]
    path.write_text("".join(f"{json.dumps(entry | {'time': time})}\n" for entry in entries))
    assert expired(store.parts.lane(DAILY), 2024) == []


def test_years_that_were_rewritten_are_appended_to_again(store: BarStore) -> None:
    store.parts.lane(DAILY).tainted.add((DAILY, 2024))
    path = lane_folder(store.root) / DATA
    inodes = [path.stat().st_ino]
    for day in (3, 4):
        store.commit(DAILY, Commit((piece(day, day + 1),)))
        inodes.append(path.stat().st_ino)
    assert inodes[0] != inodes[1] == inodes[2]
    assert numbers(store.read(DAILY, EVER)[0]) == [*range(5)]
