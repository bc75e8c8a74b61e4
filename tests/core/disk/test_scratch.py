from __future__ import annotations

from pathlib import Path

import pytest

from src.data.core.disk.files import Disk, DiskStep
from src.data.core.disk.scratch import free_bytes, refusal_to_write, scratch_folder
from src.data.errors import StorageError


def test_a_scratch_folder_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder("x-") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), scratch_folder("x-"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_missing_temporary_folder_raises_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(StorageError, match="no temporary folder"), scratch_folder("x-"):
        pass


def test_a_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    assert refusal_to_write(tmp_path) == ""
    assert refusal_to_write(tmp_path / "a" / "b") == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_nothing_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Disk, step: DiskStep, call: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Disk, "perform", failing)
    assert refusal_to_write(tmp_path) == "Read-only file system"


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal_to_write(tmp_path / "file") == "there is a file with that name"
    assert refusal_to_write(tmp_path / "file" / "below") == f"{tmp_path / 'file'} is a file"


def test_a_parent_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "cannot be written" in refusal_to_write(tmp_path / "new")


def test_free_space_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    free = free_bytes(tmp_path / "a" / "b")
    assert free is not None and free > 0
