"""How columnar files are used where the cache folder lies."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from ..disk.mounts import network_file_system
from .sidecars import Columnar

log = logging.getLogger(__name__)

# Whether it was said; once a process is enough.
_said = threading.Event()


def fitting(wanted: Columnar, folder: Path) -> Columnar:
    """Return ``wanted``, but ``read`` in place of ``map`` over a network; that is said once.

    A file that another machine changes or removes under a map ends the process with a signal. What
    is read can only be wrong, and its checksums tell.
    """
    if wanted != "map" or not (kind := network_file_system(folder)):
        return wanted
    if not _said.is_set():
        _said.set()
        log.warning(
            "%s lies on a network file system (%s): columns are read and not mapped into "
            "memory; cache.columnar: read in the rules says the same without this warning",
            folder,
            kind,
        )
    return "read"
