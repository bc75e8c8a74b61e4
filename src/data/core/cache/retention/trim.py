"""Deletes files that can be rebuilt or are not needed.

The deleted files are columnar files, replaced year files, and old files in quarantine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ....errors import CacheError
from ...model.time.instant import DAY_MS, parse_iso
from ...model.time.span import Span, uncovered, year_span
from ..layout import DATA, VERSIONS
from ..pins import pins_in
from ..read.columnar_cache import FOLDER, series_of
from ..store_parts import StoreParts

if TYPE_CHECKING:
    from ..lane_files import LaneFiles
    from .inventory import Holdings, StoredLane

# Files that have been in quarantine for less than this time stay, however large they are.
FRESH_MS = 90 * DAY_MS
MOST_QUARANTINED = 64 << 20

_KEPT_FILE = re.compile(r"([0-9]{4})\.[0-9a-f]{16}\.(csv\.gz|metadata\.json)")


@dataclass(frozen=True)
class Trimmed:
    """The amount of removed data: number and bytes of quarantined files."""

    files: int = 0
    file_bytes: int = 0

    def plus(self, other: Trimmed) -> Trimmed:
        """Return the sum of both amounts."""
        return Trimmed(self.files + other.files, self.file_bytes + other.file_bytes)


# --- quarantine ----------------------------------------------------------------------------


def trim_quarantine(lane: LaneFiles, *, dry_run: bool = False) -> Trimmed:
    """Remove files that were quarantined long ago, oldest first, until the rest is small enough.

    A file with bars is removed only if the elapsed part of its year is completely covered by
    trusted data again; otherwise, it may be the only file that contains some of the bars. Rejected
    rows are kept.
    """
    disk, folder = lane.disk, lane.paths.quarantine
    sizes = {name: state.size for name in disk.list(folder) if (state := disk.stat(folder / name))}
    excess = sum(sizes.values()) - MOST_QUARANTINED
    if excess <= 0:
        return Trimmed()
    trimmed = Trimmed()
    for _, name in sorted(_may_go(lane, sizes)):
        if trimmed.file_bytes >= excess:
            break
        note = f"{name}.json"
        for path in () if dry_run else (folder / name, folder / note):
            disk.remove_whole(path)
        trimmed = trimmed.plus(Trimmed(1, sizes[name] + sizes.get(note, 0)))
    return trimmed


def purge_quarantine(lane: LaneFiles, *, dry_run: bool = False) -> Trimmed:
    """Remove everything from the quarantine of a series."""
    disk, folder = lane.disk, lane.paths.quarantine
    sizes = {name: state.size for name in disk.list(folder) if (state := disk.stat(folder / name))}
    for name in () if dry_run else sizes:
        disk.remove_whole(folder / name)
    return Trimmed(sum(not name.endswith(".json") for name in sizes), sum(sizes.values()))


def _may_go(lane: LaneFiles, names: Mapping[str, int]) -> Iterator[tuple[int, str]]:
    """Yield each file that :func:`trim_quarantine` may remove: when it was quarantined, and its name."""
    now_ms = lane.clock.now_ms()
    for name in names:
        match = _KEPT_FILE.fullmatch(name)
        since = _kept_since(lane, name) if match else None
        if match is None or since is None or since > now_ms - FRESH_MS:
            continue
        if match[2] != "csv.gz" or _is_known_again(lane, int(match[1]), now_ms):
            yield since, name


def _kept_since(lane: LaneFiles, name: str) -> int | None:
    """Return the time at which a file was quarantined; None if unknown."""
    note = lane.disk.read_if_exists(lane.paths.quarantine / f"{name}.json")
    try:
        return parse_iso(json.loads(note or b"null")["time"])
    except (ValueError, TypeError, KeyError):
        return None


def _is_known_again(lane: LaneFiles, year: int, now_ms: int) -> bool:
    try:
        meta = lane.meta(year)
    except CacheError:
        return False
    whole = year_span(year)
    past = Span(whole.start, min(whole.end, now_ms))
    covered = meta.state.coverage.opened() if meta else ()
    trusted = [entry.span for entry in covered if entry.state != "suspect"]
    return not uncovered(past, trusted)


# --- derived files, then year files replaced by a rewrite ----------------------------------

# Times of last use that differ by less than this count as equal; then the larger file is removed
# first.
_SAME_USE_MS = DAY_MS


class RemovableFile(NamedTuple):
    """A file that may be removed; files sort in the order of removal."""

    used: int
    saving: int
    path: Path

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return -self.saving


def drop_derived(
    store: StoreParts, lanes: Iterable[StoredLane], last_used: Callable[[str], int], excess: int
) -> int:
    """Remove columnar files, then replaced year files, until ``excess`` bytes are freed.

    The least recently used columnar files and the oldest replaced files are removed first. A version
    whose file is gone can no longer be read. Frames that were read from them are not affected.

    Args:
        store: Parts of the store.
        lanes: Lanes of the cache.
        last_used: Function that returns when a lane, named by its folders, was last used.
        excess: Number of bytes to free.

    Returns:
        Number of bytes freed.
    """
    freed = 0
    for file in (*sorted(_columns(store, last_used)), *sorted(_versions(store, lanes))):
        if freed >= excess:
            break
        try:
            drop_file(store, file.path)
        except CacheError:
            continue
        freed += file.bytes
    return freed


def derived_bytes(store: StoreParts, holdings: Holdings) -> int:
    """Return the number of bytes that :func:`drop_derived` could free."""
    return holdings.size.columns + sum(f.bytes for f in _versions(store, holdings.lanes))


def drop_file(store: StoreParts, path: Path) -> None:
    """Remove one derived file, and everything cached from it.

    Raises:
        StorageError: The file cannot be removed.
    """
    key = series_of(store.layout.root, path)
    if key is not None:
        store.sidecars.drop(key)
    store.disk.remove(path)


def _columns(store: StoreParts, last_used: Callable[[str], int]) -> Iterator[RemovableFile]:
    from .inventory import listed  # imports SQLite, which cached answers do not need

    for folder in listed(store.layout.root / FOLDER)[0]:
        for name, facts in listed(folder.path)[1].items():
            if name == ".lock":  # a writer may be waiting for it
                continue
            path = Path(folder.path, name)
            used_ms = last_used(f"{folder.name}/{path.stem}")
            written_ms = facts.st_mtime_ns // 1_000_000
            yield RemovableFile(max(used_ms, written_ms) // _SAME_USE_MS, -facts.st_size, path)


def _versions(store: StoreParts, lanes: Iterable[StoredLane]) -> Iterator[RemovableFile]:
    from .inventory import listed

    for lane in lanes:
        if VERSIONS not in lane.entry.folders:
            continue
        folder = store.layout.lane(lane.key).versions
        if pins_in(store.disk, folder):
            continue
        for name, facts in listed(folder)[1].items():
            # If the file has another name, it is also the current file.
            if name.endswith(DATA) and facts.st_nlink == 1:
                yield RemovableFile(facts.st_mtime_ns // 1_000_000, -facts.st_size, folder / name)
