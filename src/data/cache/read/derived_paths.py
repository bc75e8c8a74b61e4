"""Where files lie that are derived of a series: beside its folder, to be deleted at any time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...disk.atomic import sweep
from ...disk.files import Disk
from ...model.series import SeriesKey
from ..layout import decode_lane, decode_symbol, encode_lane, encode_symbol

FOLDER = "_columnar"
_ENDING = ".bars"


def path_of(root: str, key: SeriesKey) -> str:
    """Return where the columnar file of a series lies below the cache folder ``root``."""
    # As text: every first look at a series comes by here, and making paths takes longer.
    return os.sep.join((root, FOLDER, encode_symbol(key.symbol), encode_lane(key) + _ENDING))


@contextmanager
def writing(disk: Disk, folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of derived files; it is made where it does not exist.

    Raises:
        LockTimeoutError: somebody else holds it just now: nobody waits for what is derived.
        StorageError: the disk refuses.
    """
    disk.make_folders(folder, durable=False)
    with disk.lock(folder / ".lock", 0.0):
        sweep(disk, folder)
        yield


def series_of(root: Path, path: Path) -> SeriesKey | None:
    """Return of which series ``path`` is the columnar file; None where it is none."""
    if path.parent.parent != root / FOLDER or path.suffix != _ENDING:
        return None
    symbol = decode_symbol(path.parent.name)
    return decode_lane(symbol, path.stem) if symbol else None
