"""Commits of bundle files: all or nothing, whichever call the writer dies at."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.bundles.commit import METADATA, BundleFiles
from tests.cache.crash import Recorder
from tests.cache.disks import Killed

OLD = {"daily_bars/a": b"old a", METADATA: b"old"}
NEW = {"daily_bars/a": b"new a", "daily_bars/b": b"new b", METADATA: b"new"}


def contents(path: Path) -> dict[str, bytes]:
    """Return the files of a bundle as its readers see them."""
    files = BundleFiles(path, Recorder())
    return files.read_whole(
        lambda path_of, _: {
            place: path_of(place).read_bytes() for place in NEW if path_of(place).exists()
        }
    )


def change(path: Path, new: dict[str, bytes], dies_in: int | None = None) -> None:
    disk = Recorder()
    disk.dies_in = dies_in
    with BundleFiles(path, disk).writing() as commit:
        for place, data in new.items():
            commit.put(place, data)


@pytest.mark.parametrize("old", [{}, OLD], ids=["creation", "change"])
def test_a_change_whose_writer_is_killed_at_any_call_is_all_or_nothing(
    tmp_path: Path, old: dict[str, bytes]
) -> None:
    found, step, is_dead = [], 0, True
    while is_dead:
        path = tmp_path / str(step)
        if old:
            change(path, old)
        try:
            change(path, NEW, step)
            is_dead = False
        except Killed:
            step += 1
        found.append(contents(path))
        change(path, {})  # the next writer
        assert contents(path) == found[-1]
        assert [name.name for name in (path / ".staging").iterdir()] == []
    assert step > 15 and {*map(len, found)} == {len(old), 3}
    assert all(one in (old, NEW) for one in found)
    assert found == sorted(found, key=lambda one: one == NEW)


def test_a_change_that_fails_leaves_no_file_behind(tmp_path: Path) -> None:
    """It may have failed because the disk is full."""

    def fails() -> None:
        with BundleFiles(tmp_path).writing() as commit:
            commit.put("daily_bars/a", b"large")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert not list((tmp_path / ".staging").iterdir()) and not contents(tmp_path)
