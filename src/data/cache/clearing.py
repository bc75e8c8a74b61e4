"""Removing a series for good; the lock file stays, for somebody may wait for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..disk.files import Disk
from .adopt import OldYears
from .lane import Lane
from .viewing import read_series


def clear_lane(lane: Lane, old: OldYears, lock_timeout_s: float) -> None:
    """Remove everything stored of a series, files of older tools included.

    The metadata go first: a crash in between leaves bars without metadata, which is sound, and
    not metadata without bars, which would look like damage.
    """
    disk, folder = lane.disk, lane.paths.folder
    with disk.lock(lane.paths.lock, lock_timeout_s):
        for year, path in old.of(lane, lane.years()).items():
            disk.remove(path.with_name(f"{year:04d}.metadata.json"))
            disk.remove(path)
        files = [name for name in disk.list(folder) if name != lane.paths.lock.name]
        inner = (lane.paths.quarantine, lane.paths.versions, lane.paths.legacy)
        plain = [name for name in files if folder / name not in inner]
        for name in sorted(plain, key=lambda name: not name.endswith(".json")):
            disk.remove(folder / name)
        for place in inner:
            _empty(disk, place)
        disk.sync_folder(folder)
        lane.tainted.difference_update({(lane.key, year) for _, year in tuple(lane.tainted)})
    old.forget(lane.key)


def clear_years(
    lane: Lane, years: Iterable[int], old: OldYears, lock_timeout_s: float
) -> int:  # fmt: skip
    """Remove single years of a series; return how many of them had bars.

    What a year answers for goes with it, and so does the instant of the next question.
    """
    disk, found = lane.disk, 0
    with disk.lock(lane.paths.lock, lock_timeout_s):
        foreign = old.of(lane, lane.years())
        for year in years:
            data = foreign.get(year, lane.paths.data(year))
            found += disk.stat(data) is not None
            disk.remove(data.with_name(f"{year:04d}.metadata.json"))
            disk.remove(data)
            disk.remove(lane.paths.log(year))
            lane.tainted.discard((lane.key, year))
        series = read_series(lane)
        if series is not None and series.next_due is not None:
            lane.write_series(replace(series, next_due=None))
        disk.sync_folder(lane.paths.folder)
    old.forget(lane.key)
    return found


def clear_symbol(disk: Disk, folder: Path, lock_timeout_s: float) -> None:
    """Remove what a symbol has beside its series: the actions."""
    if disk.stat(folder) is None:
        return
    with disk.lock(folder / ".lock", lock_timeout_s):
        disk.remove(folder / "actions.json")
        _empty(disk, folder / "_quarantine")
        disk.sync_folder(folder)


def _empty(disk: Disk, folder: Path) -> None:
    names = disk.list(folder)
    for name in names:
        disk.remove(folder / name)
    if names:
        disk.sync_folder(folder)
