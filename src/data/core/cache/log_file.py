"""Logs of everything written, removed or set aside: one JSON line per entry, never synced."""

from __future__ import annotations

import json
import logging
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import StorageError
from ..clock import Clock
from ..disk.atomic import append_line, write_atomically
from ..disk.files import Disk
from ..model.time.instant import iso
from .layout import LOG

log = logging.getLogger(__name__)
_compact = json.JSONEncoder(separators=(",", ":")).encode


def line_of(clock: Clock, entry: Mapping[str, Any]) -> bytes:
    """Return an entry as a log line that begins with the current time."""
    return _compact({"time": iso(clock.now_ms()), **entry}).encode("ascii") + b"\n"


def append_entry(disk: Disk, path: Path, clock: Clock, entry: Mapping[str, Any]) -> None:
    """Append an entry to a log that is not needed for reading old versions; requires the folder's lock.

    A log that has grown too long keeps only its latest entries. A failure is reported, not raised:
    the logged operation itself is already durable.
    """
    try:
        size = append_line(disk, path, line_of(clock, entry))
        if size > MOST_LOG_BYTES:
            lines = (disk.read_if_exists(path) or b"").splitlines(keepends=True)
            write_atomically(disk, path, b"".join(lines[-LATEST_ENTRIES:]), durable=False)
    except StorageError as exc:
        log.warning("the log %s could not be written: %s", path, exc)


def entries_of_log(disk: Disk, path: Path) -> list[dict[str, Any]]:
    """Return the entries written by :func:`append_entry`, oldest first; unreadable lines are omitted."""
    return list(_entries((disk.read_if_exists(path) or b"").splitlines()))


def _entries(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def logged_years(names: Iterable[str]) -> list[int]:
    """Return the years of the log files among ``names``, in ascending order."""
    stems = (name.removesuffix(LOG) for name in names if name.endswith(LOG))
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdecimal())


# Limits: a log can have tens of thousands of commits; the latest are kept as separate entries.
MOST_LOG_BYTES = 2 << 20


LATEST_ENTRIES = 5000
_NUMBERS = ("generation", "added", "changed", "removed", "size")


Entry = Mapping[str, Any]


def trim_log(disk: Disk, path: Path, lines: Sequence[bytes], versions: Sequence[int]) -> int:
    """Merge many old entries into a few; requires the lane's lock. Return the number of bytes saved.

    Args:
        disk, path: Location of the log.
        lines: Lines of the log, unparsed, because entries would take ten times as much memory.
        versions: Generations of older year files that are kept; each of them keeps an entry of its
            own.
    """
    if len(lines) <= LATEST_ENTRIES:
        return 0
    old = folded(entries_of(lines[:-LATEST_ENTRIES]), sorted(versions))
    encoded = [json.dumps(entry, separators=(",", ":")).encode("ascii") for entry in old]
    short = b"".join(line + b"\n" for line in (*encoded, *lines[-LATEST_ENTRIES:]))
    write_atomically(disk, path, short, durable=False)
    return sum(map(len, lines)) + len(lines) - len(short)


def entries_of(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the commits in a log's lines; unreadable lines, and those without a number, are omitted."""
    return (
        entry
        for entry in _entries(lines)
        if "time" in entry and all(type(entry.get(name)) is int for name in _NUMBERS)
    )


def folded(entries: Iterable[Entry], versions: Sequence[int]) -> list[dict[str, Any]]:
    """Merge log entries: one entry for the commits up to each kept version, and one for later ones.

    An entry represents the generations from its ``since`` up to its own generation.
    """
    groups: dict[int, Entry] = {}
    for entry in entries:
        index = bisect_left(versions, entry["generation"])
        groups[index] = _merged_entry((groups[index], entry)) if index in groups else entry
    return [dict(group) for _, group in sorted(groups.items())]


def _merged_entry(group: Sequence[Entry]) -> dict[str, Any]:
    spans = [entry["span"] for entry in group if entry.get("span")]
    touched = [e.get("touched", 0) for e in group if e["added"] or e["removed"] or e["changed"]]
    vendors = ",".join(str(entry.get("vendor") or "") for entry in group).split(",")
    counts = {name: sum(entry[name] for entry in group) for name in ("added", "changed", "removed")}
    return (
        dict(group[-1])
        | counts
        | {
            "since": min(entry.get("since", entry["generation"]) for entry in group),
            "vendor": ",".join(dict.fromkeys(filter(None, vendors))),
            "span": [min(s[0] for s in spans), max(s[1] for s in spans)] if spans else None,
            "touched": min((t for t in touched if t is not None), default=None),
        }
    )
