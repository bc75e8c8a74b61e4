"""Turns a copy of a shared store back into one machine's cache; works without the extra ``postgres``."""

from __future__ import annotations

from pathlib import Path

from ..cache.layout import SHARED
from ..disk.files import Disk


def detach(root: Path) -> Path | None:
    """Turn a shared folder back into one machine's plain cache.

    Return the folder that holds the files the cache had before it was attached, or None if it had
    none.

    The server is not contacted. Bars that are waiting to be offered to a restored server stay in
    ``_hosts/aside``.
    """
    folder = (root / SHARED).parent
    disk = Disk(root=root)
    for name in ("store.json", "host.json", "notes", "anew", "none"):  # the first one decides
        disk.remove_whole(folder / name)
    before = folder / "before"
    return before if disk.stat(before) is not None else None
