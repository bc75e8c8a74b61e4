"""Dropping what can be made again: columnar files first, then year files that a rewrite replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ...errors import CacheError
from ...model.instant import DAY_MS
from ..layout import VERSIONS
from ..parts import StoreParts
from ..pins import pins_in
from ..read.derived_paths import FOLDER, series_of
from .inventory import StoredLane, listed

# Within so long, which of two files was used last makes no difference: the larger one goes.
_ALIKE_MS = DAY_MS


class Found(NamedTuple):
    """A file that may go, in the order in which it goes."""

    used: int
    saving: int
    path: Path

    @property
    def bytes(self) -> int:
        """What it takes."""
        return -self.saving


def drop_derived(
    shop: StoreParts, lanes: Iterable[StoredLane], last_used: Callable[[str], int], excess: int
) -> int:
    """Remove derived files, the longest unused first, until ``excess`` bytes are freed.

    Frames that were read from them stay what they are.

    Args:
        shop: the parts of the store.
        lanes: of the cache.
        last_used: lane, by its folders, to when it was used last.
        excess: bytes.

    Returns:
        The bytes freed.
    """
    freed = 0
    for found in (*sorted(_columns(shop, last_used)), *sorted(_versions(shop, lanes))):
        if freed >= excess:
            break
        try:
            drop_file(shop, found.path)
        except CacheError:
            continue
        freed += found.bytes
    return freed


def derived_bytes(shop: StoreParts, lanes: Iterable[StoredLane]) -> int:
    """Return how many bytes could be freed so."""
    return sum(f.bytes for f in (*_columns(shop, lambda _: 0), *_versions(shop, lanes)))


def drop_file(shop: StoreParts, path: Path) -> None:
    """Remove one derived file, and what of it is held in memory.

    Raises:
        StorageError: the disk refuses.
    """
    key = series_of(shop.layout.root, path)
    if key is not None:
        shop.sidecars.drop(key)
    shop.disk.remove(path)


def _columns(shop: StoreParts, last_used: Callable[[str], int]) -> Iterator[Found]:
    for folder in listed(shop.layout.root / FOLDER)[0]:
        for name, facts in listed(folder.path)[1].items():
            if name == ".lock":  # a writer may wait for it; what a dead writer left goes
                continue
            path = Path(folder.path, name)
            used = last_used(f"{folder.name}/{path.stem}")
            written = facts.st_mtime_ns // 1_000_000
            yield Found(max(used, written) // _ALIKE_MS, -facts.st_size, path)


def _versions(shop: StoreParts, lanes: Iterable[StoredLane]) -> Iterator[Found]:
    for lane in lanes:
        if VERSIONS not in lane.entry.folders:
            continue
        folder = shop.layout.lane(lane.key).versions
        if pins_in(shop.disk, folder):
            continue
        for name, facts in listed(folder)[1].items():
            # With another name it is the file of today, too.
            if name.endswith(".csv.gz") and facts.st_nlink == 1:
                yield Found(facts.st_mtime_ns // 1_000_000, -facts.st_size, folder / name)
