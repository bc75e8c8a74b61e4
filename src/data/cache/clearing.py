"""Removing a series for good; the lock file stays, for somebody may wait for it."""

from __future__ import annotations

from pathlib import Path

from ..disk.files import Disk
from .adopt import OldYears
from .lane import Lane


def clear_lane(lane: Lane, old: OldYears, lock_timeout_s: float) -> None:
    """Remove everything stored of a series, files of older tools included.

    The metadata go first: a crash in between leaves bars without metadata, which is sound, and
    not metadata without bars, which would look like damage.
    """
    disk, folder = lane.disk, lane.paths.folder
    with disk.lock(lane.paths.lock, lock_timeout_s):
        for year, path in old.of(lane, lane.years()).items():
            disk.unlink(path.with_name(f"{year:04d}.metadata.json"))
            disk.unlink(path)
        files = [name for name in disk.list(folder) if name != lane.paths.lock.name]
        inner = (lane.paths.quarantine, lane.paths.versions, lane.paths.legacy)
        plain = [name for name in files if folder / name not in inner]
        for name in sorted(plain, key=lambda name: not name.endswith(".json")):
            disk.unlink(folder / name)
        for place in inner:
            _empty(disk, place)
        disk.fsync_dir(folder)
        lane.tainted.difference_update({(lane.key, year) for _, year in tuple(lane.tainted)})
    old.forget(lane.key)


def clear_symbol(disk: Disk, folder: Path, lock_timeout_s: float) -> None:
    """Remove what a symbol has beside its series: the actions."""
    if disk.stat(folder) is None:
        return
    with disk.lock(folder / ".lock", lock_timeout_s):
        disk.unlink(folder / "actions.json")
        _empty(disk, folder / "_quarantine")
        disk.fsync_dir(folder)


def _empty(disk: Disk, folder: Path) -> None:
    names = disk.list(folder)
    for name in names:
        disk.unlink(folder / name)
    if names:
        disk.fsync_dir(folder)
