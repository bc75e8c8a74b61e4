"""Turns a copy of a shared store back into one machine's cache; works without the extra ``postgres``."""

from __future__ import annotations

from pathlib import Path

from ..cache.layout import SHARED, Layout
from ..disk.files import Disk


def detach(root: Path) -> Path | None:
    """Turn a shared folder back into one machine's plain cache.

    Return the folder that holds the files the cache had before it was attached, or None if it had
    none.

    The server is not contacted. Files that are waiting to be offered to it, because an attach was
    interrupted or the server was restored, take the place of those that replaced them.
    """
    folder = (root / SHARED).parent
    disk = Disk(root=root)
    aside, anew = Layout(folder / "aside"), folder / "anew"
    for key in aside.series(disk.list):
        own = Layout(root).lane(key).folder
        disk.make_folders(own)
        disk.make_folders(anew)
        disk.remove_whole(anew / "replaced")
        disk.replace(own, anew / "replaced")
        disk.replace(aside.lane(key).folder, own)
        disk.sync_folder(own.parent)
    for name in ("store.json", "host.json", "notes", "anew", "none", "aside"):  # the first decides
        disk.remove_whole(folder / name)
    before = folder / "before"
    return before if disk.stat(before) is not None else None
