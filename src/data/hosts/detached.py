"""Makes a copy of a shared store a cache of one machine again, without the extra ``postgres``."""

from __future__ import annotations

from pathlib import Path

from ..cache.layout import SHARED
from ..disk.files import Disk


def detach(root: Path) -> Path | None:
    """Make a folder a plain cache of one machine; return the files kept from before it was attached.

    The server is not contacted. Bars that wait to be offered to a restored server stay in
    ``_hosts/aside``.
    """
    folder = (root / SHARED).parent
    disk = Disk(root=root)
    for name in ("store.json", "host.json", "notes", "anew", "none"):  # the first one decides
        disk.remove_whole(folder / name)
    before = folder / "before"
    return before if disk.stat(before) is not None else None
