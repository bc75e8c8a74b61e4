"""Keeping the cache within its limit, without losing what nobody can supply again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..disk.files import Disk
from ..model.series import SeriesKey

log = logging.getLogger(__name__)

DERIVED_FOLDER = "_columnar"
BYTES_IN_GB = 1024**3

# Whether a configured vendor can supply again what ``vendor`` once supplied for a series.
CanSupply = Callable[[SeriesKey, str], bool]


class Size(NamedTuple):
    """What a folder takes: bytes of all its files, number of data files."""

    bytes: int
    data_files: int


class Candidate(NamedTuple):
    """One year of bars that may go."""

    updated_ms: int
    key: SeriesKey
    year: int
    bytes: int


def measure(root: Path) -> Size:
    """Return what everything in ``root`` takes; hard links count once."""
    total, files, seen = 0, 0, set()
    for entry in _walk(root):
        facts = entry.stat(follow_symlinks=False)
        if facts.st_nlink > 1:
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
        total += facts.st_size
        files += entry.name.endswith(".csv.gz") and "_" not in Path(entry.path).parent.name[:1]
    return Size(total, files)


def _walk(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """Yield every file below ``folder``; what vanishes meanwhile is passed over."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif entry.is_file(follow_symlinks=False):
            yield entry


def drop_derived(disk: Disk, root: Path) -> int:
    """Remove what can be made again from the bars; return the bytes freed."""
    freed = 0
    for entry in list(_walk(root / DERIVED_FOLDER)):
        freed += entry.stat(follow_symlinks=False).st_size
        disk.remove(Path(entry.path))
    return freed


def choose(candidates: Iterable[Candidate], excess: int) -> list[Candidate]:
    """Return the years to drop, the longest unchanged first, until ``excess`` bytes are freed."""
    chosen: list[Candidate] = []
    for candidate in sorted(candidates):
        if excess <= 0:
            break
        chosen.append(candidate)
        excess -= candidate.bytes
    return chosen


_said: set[Path] = set()


def enforce(root: Path, disk: Disk, limit: int, years: Iterable[Candidate]) -> list[Candidate]:
    """Drop derived files if the folder is above ``limit`` bytes, and choose the years to drop.

    Args:
        root: the cache folder.
        disk: the file system.
        limit: in bytes; 0 means none.
        years: those that may go; only looked at when derived files were not enough.
    """
    excess = measure(root).bytes - limit if limit > 0 else 0
    if excess <= 0:
        return []
    excess -= drop_derived(disk, root)
    chosen = choose(years, excess) if excess > 0 else []
    left = excess - sum(candidate.bytes for candidate in chosen)
    if left > 0 and root not in _said:
        _said.add(root)
        log.warning(
            "the cache is %.2f GB above its limit, and nobody could supply what it holds again",
            left / BYTES_IN_GB,
        )
    return chosen
