"""``catalog.jsonl``: torn, foreign and newer lines, a full disk, and the order of syncs."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from src.data.bundles.catalog_log import CATALOG, CatalogLog
from src.data.disk.files import Disk, DiskStep
from src.data.errors import FormatVersionError, StorageError

T = TypeVar("T")


def test_lines_are_read_by_type_and_foreign_ones_are_kept(tmp_path: Path) -> None:
    log = CatalogLog(tmp_path / "deep/bundles")
    assert list(log.entries("run")) == []
    log.append("run", {"id": "a"})
    foreign = b'{"type":"theirs","x":1}\nno json at all\n{"run": "run"}\n\xff\xfe\n'
    with log.path.open("ab") as file:
        file.write(foreign)
    log.append_all("run", [{"id": "b"}, {"id": "c"}])
    assert [entry["id"] for entry in log.entries("run")] == ["a", "b", "c"]
    assert [entry["id"] for entry in log.entries("run", holding="b")] == ["b"]
    assert foreign in log.path.read_bytes()
    first = json.loads(log.path.read_bytes().splitlines()[0])
    assert first.keys() == {"type", "format", "time", "id"}


def test_a_torn_line_is_not_an_entry_and_damages_no_other(tmp_path: Path) -> None:
    log = CatalogLog(tmp_path)
    log.append("run", {"id": "a"})
    whole = log.path.read_bytes()
    for end in range(len(whole)):
        log.path.write_bytes(whole + whole[:end])
        log.append("run", {"id": "b"})
        assert [entry["id"] for entry in log.entries("run")] in (["a", "b"], ["a", "a", "b"])
        assert end == len(whole) - 1 or [e["id"] for e in log.entries("run")] == ["a", "b"]


class FullDisk(Disk):
    """Takes a few bytes of a write, then none."""

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name == "write" and step.path.name == CATALOG:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().perform(step, call)


def test_a_full_disk_is_an_error_and_loses_no_entry(tmp_path: Path) -> None:
    CatalogLog(tmp_path).append("run", {"id": "a"})
    with pytest.raises(StorageError):
        CatalogLog(tmp_path, FullDisk()).append("run", {"id": "b"})
    CatalogLog(tmp_path).append("run", {"id": "c"})
    assert [entry["id"] for entry in CatalogLog(tmp_path).entries("run")] == ["a", "c"]


def test_a_catalog_log_line_is_synced_before_its_folder(tmp_path: Path) -> None:
    steps: list[str] = []

    class Watching(Disk):
        def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
            steps.append(step.name)
            return super().perform(step, call)

    CatalogLog(tmp_path, Watching()).append("run", {})
    assert steps.index("write") < steps.index("fdatasync") < steps.index("fsync_dir")


def test_a_newer_format_is_refused_and_that_of_other_types_is_not(tmp_path: Path) -> None:
    log = CatalogLog(tmp_path)
    log.append("bundle", {}, 9)
    log.append("run", {"id": "a"})
    assert len(list(log.entries("run"))) == 1
    log.append("run", {"id": "b"}, 2)
    assert len(list(log.entries("run", 2))) == 2
    with pytest.raises(FormatVersionError, match="format 2; this version reads up to 1"):
        list(log.entries("run"))
