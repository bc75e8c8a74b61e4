"""Paths of the files in a bundle: the file for a given day, and all files for a range.

A partition is ``data.parquet`` in the folder of its month or day. Additions to a large partition
are in further parts next to it, ``1/data.parquet`` and so on. All rows of a series in a partition
are in the same part. The functions call the path of such a file, relative to the bundle, its place.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Iterator
from datetime import date

from ..disk.files import Disk
from ..layer.frames import Frequency, get_schema_for_frequency

__all__ = [
    "FOLDERS",
    "frequency_of",
    "last_day",
    "main_of",
    "new_part",
    "partition_of",
    "partitions",
]

FOLDERS: dict[str, str] = {"daily": "daily_bars", "minute": "minute_bars"}
_FILE = "data.parquet"
_PARTITION_PATH = re.compile(
    r"(?P<folder>daily_bars|minute_bars)/year=(?P<year>\d{4})/month=(?P<month>\d\d)(/day=(?P<day>\d\d))?"
    r"(/(?P<part>[1-9]\d{0,5}))?/data\.parquet"
)
_PART_NUMBER = re.compile(r"[1-9]\d{0,5}")
_Key = tuple[int, ...]


def partition_of(frequency: str, day: date) -> str:
    """Return the path of the file for a day's bars, relative to the bundle, with ``/``."""
    place = f"{FOLDERS[frequency]}/year={day.year:04}/month={day.month:02}"
    return f"{place}/day={day.day:02}/{_FILE}" if frequency == "minute" else f"{place}/{_FILE}"


def main_of(place: str) -> str:
    """Return the path of a partition's first file, given one of its parts.

    Any other path is returned unchanged.
    """
    match = _PARTITION_PATH.fullmatch(place)
    if match is None or match["part"] is None:
        return place
    return f"{place[: match.start('part') - 1]}/{_FILE}"


def new_part(main: str, places: Iterable[str]) -> str:
    """Return the path for a new part of a partition, given the paths of its other parts."""
    matches = [_PARTITION_PATH.fullmatch(place) for place in places]
    number = 1 + max((int(m["part"] or 0) for m in matches if m), default=0)
    return f"{main.removesuffix(_FILE)}{number}/{_FILE}"


def frequency_of(place: str) -> Frequency | None:
    """Return the frequency of the partition at a path, or None if it is not a partition."""
    match = _PARTITION_PATH.fullmatch(place)
    if match is None or (match["folder"] == "minute_bars") != (match["day"] is not None):
        return None
    return "minute" if match["day"] else "daily"


def last_day(place: str) -> date:
    """Return the last day of the partition at a path, or ``date.min`` for any other path."""
    key = partition_key(place)
    if not key:
        return date.min
    if len(key) == 3:
        return date(*key)
    year, month = key
    return date(year, month, monthrange(year, month)[1])


def partitions(
    disk: Disk,
    root: str,
    frequency: str,
    first: date | None = None,
    last: date | None = None,
    pending: Iterable[tuple[str, str | None]] = (),
) -> list[str]:
    """Return the sorted paths of the partitions that contain a range; no file is opened.

    Args:
        disk, root: File access, and folder of the bundle.
        frequency: ``daily`` or ``minute``.
        first, last: Days, both included; None means no bound.
        pending: Files of a committed change that is not finished: the path of each, and the name of
            its staged file (None if the change deletes it).
    """
    get_schema_for_frequency(frequency)
    depth = 3 if frequency == "minute" else 2
    low = _key(first, depth) if first else (0,)
    high = _key(last, depth) if last else (9999, 99, 99)
    folder = FOLDERS[frequency]
    places = {
        f"{folder}/{path}" for path in _walk(disk, f"{root}/{folder}", "", (), depth, low, high)
    }
    for place, staged in pending:
        if frequency_of(place) == frequency and low <= partition_key(place) <= high:
            (places.discard if staged is None else places.add)(place)
    return sorted(places)


def partition_key(place: str) -> _Key:
    """Return the year, month and (for minute bars) day in a partition's path."""
    match = _PARTITION_PATH.fullmatch(place)
    if match is None:
        return ()
    return tuple(int(match[name]) for name in ("year", "month", "day") if match[name])


def _key(day: date, depth: int) -> _Key:
    return (day.year, day.month, day.day)[:depth]


def _walk(
    disk: Disk, root: str, within: str, key: _Key, depth: int, low: _Key, high: _Key
) -> Iterator[str]:
    """Yield the partitions whose days are in the range, judging only by the folder names."""
    names = disk.list(f"{root}/{within}")
    if len(key) == depth:
        if _FILE in names:
            yield f"{within}{_FILE}"
        for name in names:
            if _PART_NUMBER.fullmatch(name) and _FILE in disk.list(f"{root}/{within}{name}"):
                yield f"{within}{name}/{_FILE}"
        return
    label = ("year", "month", "day")[len(key)]
    for name in names:
        start, _, number = name.partition("=")
        if start != label or not number.isdigit():
            continue
        below = (*key, int(number))
        if low[: len(below)] <= below <= high[: len(below)] and _is_date(below):
            yield from _walk(disk, root, f"{within}{name}/", below, depth, low, high)


def _is_date(key: _Key) -> bool:
    try:
        date(*key, *(1,) * (3 - len(key)))
    except ValueError:
        return False
    return True
