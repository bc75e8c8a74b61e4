"""Turns a copy of a shared store back into one machine's cache; works without the extra ``postgres``."""

from __future__ import annotations

from pathlib import Path

from ..cache.layout import ACTIONS, SHARED, Layout
from ..disk.files import Disk

_OURS = (
    "store.json",
    "server.json",
    "host.json",
    "notes",
    "aside",
    "moving",
    "changing",
    "replaced",
    "samples",
)


def detach(root: Path) -> Path | None:
    """Turn a shared folder back into one machine's plain cache; the server is not contacted.

    Files that wait to be offered to the server take the place of those that replaced them. Return the
    folder with other files that were replaced by those of the store, or None if there are none.
    """
    folder, disk = (root / SHARED).parent, Disk(root=root)
    aside = Layout(folder / "aside")
    for key in aside.series(disk.list):
        own = Layout(root).lane(key).folder
        disk.make_folders(own)
        disk.remove_whole(folder / "replaced")
        disk.replace(own, folder / "replaced")
        disk.replace(aside.lane(key).folder, own)
    for symbol in disk.list(aside.ohlcv):
        if disk.stat(book := aside.ohlcv / symbol / ACTIONS) is not None:
            disk.replace(book, Layout(root).ohlcv / symbol / ACTIONS)
    for name in _OURS:
        disk.remove_whole(folder / name)  # the first decides
    before = folder / "before"
    return before if disk.list(before) else None
