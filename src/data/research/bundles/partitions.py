"""Paths of the files in a bundle: the file for a given day, and the files for a range.

A partition is ``data.parquet`` in the folder of its month (daily bars) or of its UTC day (minute
bars). The functions call the path of such a file, relative to the bundle, its place. Bundles of
earlier versions may have further files of a partition beside it, in ``1/data.parquet`` and so on.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Iterator
from datetime import date
from functools import lru_cache
from pathlib import Path

from ...core.disk.files import Disk
from ..frames.frames import Frequency

__all__ = [
    "FOLDERS", "SUBFOLDER", "chosen", "frequency_of", "last_day", "main_of", "partition_of", "partitions"
]  # fmt: skip

FOLDERS: dict[str, str] = {"daily": "daily_bars", "minute": "minute_bars"}
_FILE = "data.parquet"
_PATH = re.compile(
    r"(daily_bars|minute_bars)/year=(\d{4})/month=(\d\d)(?:/day=(\d\d))?(?:/[1-9]\d{0,5})?/data\.parquet",
    re.ASCII,
)
SUBFOLDER = re.compile(r"(year|month|day)=\d+|[1-9]\d{0,5}")


def partition_of(frequency: str, day: date) -> str:
    """Return the path of the file for a day's bars, relative to the bundle, with ``/``."""
    place = f"{FOLDERS[frequency]}/year={day.year:04}/month={day.month:02}"
    return f"{place}/day={day.day:02}/{_FILE}" if frequency == "minute" else f"{place}/{_FILE}"


def main_of(place: str) -> str:
    """Return the path of a partition's first file, given any of its files."""
    folder = place.removesuffix(f"/{_FILE}")
    head, _, last = folder.rpartition("/")
    return f"{head}/{_FILE}" if last.isdigit() else place


def frequency_of(place: str) -> Frequency | None:
    """Return the frequency of the partition at a path, or None if it is not a partition."""
    part = _parsed(place)
    return part[0] if part else None


def last_day(place: str) -> date:
    """Return the last day of the partition at a path, or ``date.min`` for any other path."""
    part = _parsed(place)
    return part[2] if part else date.min


def chosen(
    places: Iterable[str], frequency: str, first: date | None = None, last: date | None = None
) -> list[str]:
    """Return the sorted paths, out of ``places``, of the partitions that overlap a range of days.

    Both ends are included; None means no bound.
    """
    low, high = first or date.min, last or date.max
    parts = ((place, _parsed(place)) for place in places)
    return sorted(
        p for p, one in parts if one and one[0] == frequency and one[1] <= high and one[2] >= low
    )


def partitions(disk: Disk, root: Path) -> list[str]:
    """Return the sorted paths of all partitions in the folder of a bundle; no file is opened."""

    def walk(within: str) -> Iterator[str]:
        """Yield the files in a folder and in those below it, judging only by their names."""
        for name in disk.list(root / within):
            if name == _FILE:
                yield f"{within}/{name}"
            elif SUBFOLDER.fullmatch(name):
                yield from walk(f"{within}/{name}")

    return sorted(p for folder in FOLDERS.values() for p in walk(folder) if _parsed(p))


@lru_cache(100_000)
def _parsed(place: str) -> tuple[Frequency, date, date] | None:
    """Return the frequency, the first day and the last day of a partition, or None."""
    match = _PATH.fullmatch(place)
    if match is None or (match[1] == "minute_bars") != (match[4] is not None):
        return None
    try:
        first = date(int(match[2]), int(match[3]), int(match[4] or 1))
    except ValueError:
        return None
    if match[4]:
        return "minute", first, first
    return "daily", first, first.replace(day=monthrange(first.year, first.month)[1])
