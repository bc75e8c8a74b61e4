"""Dropping what can be made again: columnar files first, then year files that a rewrite replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...errors import CacheError
from ...model.instant import DAY_MS
from ..parts import StoreParts
from ..pins import pins_in
from ..read.derived_paths import FOLDER, series_of
from .eviction import walk
from .usage import Uses

_VERSIONS = "_versions"
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


def drop_derived(shop: StoreParts, uses: Uses, excess: int) -> int:
    """Remove derived files, the longest unused first, until ``excess`` bytes are freed.

    Frames that were read from them stay what they are.

    Returns:
        The bytes freed.
    """
    freed = 0
    for found in (*sorted(_columns(shop, uses)), *sorted(_versions(shop))):
        if freed >= excess:
            break
        try:
            drop_file(shop, found.path)
        except CacheError:
            continue
        freed += found.bytes
    return freed


def derived_bytes(shop: StoreParts) -> int:
    """Return how many bytes could be freed so."""
    return sum(found.bytes for found in (*_columns(shop, {}), *_versions(shop)))


def drop_file(shop: StoreParts, path: Path) -> None:
    """Remove one derived file, and what of it is held in memory.

    Raises:
        StorageError: the disk refuses.
    """
    key = series_of(shop.layout.root, path)
    if key is not None:
        shop.sidecars.drop(key)
    shop.disk.remove(path)


def _columns(shop: StoreParts, uses: Uses) -> Iterator[Found]:
    for entry in walk(shop.layout.root / FOLDER):
        if entry.name == ".lock":  # somebody may wait for it; what a dead writer left goes
            continue
        path = Path(entry.path)
        facts = _facts(entry)
        if facts is not None:
            name = f"{path.parent.name}/{path.stem}"
            used = max((use.last_ms for use in uses.get(name, {}).values()), default=0)
            written = facts.st_mtime_ns // 1_000_000
            yield Found(max(used, written) // _ALIKE_MS, -facts.st_size, path)


def _versions(shop: StoreParts) -> Iterator[Found]:
    for entry in walk(shop.layout.ohlcv):
        path = Path(entry.path)
        if path.parent.name == _VERSIONS and entry.name.endswith(".csv.gz"):
            if pins_in(shop.disk, path.parent):
                continue
            facts = _facts(entry)
            if facts is not None and facts.st_nlink == 1:  # else it is the file of today, too
                yield Found(facts.st_mtime_ns // 1_000_000, -facts.st_size, path)


def _facts(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None  # it vanished meanwhile
