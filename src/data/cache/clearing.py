"""Removing a series for good; the lock file stays, for somebody may wait for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..disk.files import Disk
from .adopt import OldYears
from .lane import Lane
from .ledger import year_span
from .series_meta import SeriesMeta
from .viewing import read_series
from .year_meta import YearState


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
            empty_folder(disk, place)
        disk.sync_folder(folder)
        lane.tainted.difference_update({(lane.key, year) for _, year in tuple(lane.tainted)})
    old.forget(lane.key)


def clear_years(lane: Lane, years: Iterable[int], old: OldYears, lock_timeout_s: float) -> int:
    """Remove single years of a series; return how many of them had bars.

    What a year answers for goes with it, and so does the instant of the next question.
    """
    disk, found, gone = lane.disk, 0, list(years)
    with disk.lock(lane.paths.lock, lock_timeout_s):
        foreign = old.of(lane, lane.years())
        series = read_series(lane) or SeriesMeta()
        empties = series.empties.without(map(year_span, gone))
        after = replace(series, next_due=None, empties=empties)
        if after != series:
            # First: whoever reads on after a crash must not take what is gone for up to date.
            lane.write_series(after, durable=True)
        for year in gone:
            data = foreign.get(year, lane.paths.data(year))
            found += disk.stat(data) is not None
            disk.remove(data.with_name(f"{year:04d}.metadata.json"))
            disk.remove(data)
            disk.remove(lane.paths.log(year))
            lane.tainted.discard((lane.key, year))
        disk.sync_folder(lane.paths.folder)
    old.forget(lane.key)
    return found


def evict_year(lane: Lane, year: int, generation: int) -> bool:
    """Remove a year whose bars can be had again, if it still is that of commit ``generation``.

    The log stays: by it a version of before is known to be gone, and not taken for empty. Whatever
    of this is done last when the process dies, what is left is sound: first nobody relies on the
    next question any more, then the bars stand without a document, which they make up for.

    Returns:
        Whether it went.

    Raises:
        LockTimeoutError: somebody is at the series.
        StorageError: what was not removed yet is still whole.
    """
    disk, paths = lane.disk, lane.paths
    with disk.lock(paths.lock, 0.0):
        lane.memory.forget(paths.metadata(year))
        metas = {y: lane.meta(y) for y in lane.years()}
        meta = metas.get(year)
        if meta is None or meta.pending is not None or meta.state.generation != generation:
            return False
        after = _without(lane, [m.state for m in metas.values() if m])
        lane.write_series(after)  # durable with the folder, and nothing goes for good before
        for path in (paths.metadata(year), paths.data(year)):
            disk.remove(path)
            disk.sync_folder(paths.folder)
        lane.append_log(year, _eviction(meta.state, after.generation))
        lane.tainted.discard((lane.key, year))
    return True


def _without(lane: Lane, states: Sequence[YearState]) -> SeriesMeta:
    """Return what has no year, for a series that loses one: it is to be asked about anew."""
    series = read_series(lane) or SeriesMeta()
    known = (c.kind for s in states for c in s.coverage if c.state in ("final", "provisional"))
    newest = max(state.generation for state in states)
    return replace(
        series,
        next_due=None,
        kind=series.kind or next(known, None),
        generation=max(newest, series.generation) + 1,
        years_generation=0,
    )


def _eviction(state: YearState, generation: int) -> dict[str, Any]:
    span = [state.coverage[0].span.start, state.coverage[-1].span.end] if state.coverage else None
    return {
        "generation": generation,
        "vendor": "",
        "span": span,
        "added": 0,
        "changed": 0,
        "removed": state.rows,
        "touched": state.first,
        "size": 0,
        "evicted": True,
    }


def clear_symbol(disk: Disk, folder: Path, lock_timeout_s: float) -> None:
    """Remove what a symbol has beside its series: the actions."""
    if disk.stat(folder) is None:
        return
    with disk.lock(folder / ".lock", lock_timeout_s):
        disk.remove(folder / "actions.json")
        empty_folder(disk, folder / "_quarantine")
        disk.sync_folder(folder)


def empty_folder(disk: Disk, folder: Path) -> None:
    """Remove all files in a folder; the folder itself stays."""
    names = disk.list(folder)
    for name in names:
        disk.remove(folder / name)
    if names:
        disk.sync_folder(folder)
