"""Which files of a folder other users of this machine can read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

# The bits of the group and of all others, for reading a file and for entering a folder.
_READ = stat.S_IRGRP | stat.S_IROTH
_ENTER = stat.S_IXGRP | stat.S_IXOTH


def readable_by_others(folder: Path) -> Iterator[Path]:
    """Yield each file below ``folder`` that another user can get at, as the modes say.

    A folder that nobody else can enter hides all that lies in it, whatever the files' own modes.
    Nothing is yielded where the system knows no such modes.
    """
    if os.name == "nt" or not folder.is_dir():
        return
    root = Path(os.path.realpath(folder))
    if all(_mode(path) & _ENTER for path in (root, *root.parents)):
        yield from _below(root)


def _below(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:  # gone since, or not ours to look into
        return
    for entry in found:
        path = Path(entry.path)
        mode = _mode(path)
        if stat.S_ISDIR(mode) and mode & _ENTER:
            yield from _below(path)
        elif stat.S_ISREG(mode) and mode & _READ:
            yield path


def _mode(path: Path) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0
