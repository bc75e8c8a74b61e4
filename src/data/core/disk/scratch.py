"""Temporary folders, and checks of folders: writable, free space, readable by other users."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ...errors import StorageError
from .atomic import discard, stage
from .files import Disk


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Yield an empty folder that is deleted afterwards, with everything in it.

    Raises:
        StorageError: The system has no location for temporary files.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
    except OSError as exc:
        raise StorageError(
            f"no temporary folder can be created: {exc.strerror or exc}",
            hint="set TMPDIR to a folder that can be written to",
        ) from exc
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def process_folder(prefix: str) -> Path:
    """Return a new empty folder that is deleted, with everything in it, when this process exits.

    Raises:
        StorageError: The system has no location for temporary files.
    """
    lasting = ExitStack()
    folder = lasting.enter_context(scratch_folder(prefix))
    owner = os.getpid()
    atexit.register(lambda: lasting.close() if os.getpid() == owner else None)
    return folder


def refusal_to_write(folder: Path) -> str:
    """Return the reason why ``folder`` is not writable; empty if it is.

    An existing folder is tested with a small file that is removed immediately. For a folder that
    does not exist yet, its nearest existing parent is checked; nothing is created.
    """
    if not folder.exists():
        return _refusal_to_make(folder)
    if not folder.is_dir():
        return "there is a file with that name"
    disk = Disk()
    try:
        discard(disk, stage(disk, folder / "onetape-probe", b"", durable=False))
    except StorageError as error:
        return str(error.args[0]).rpartition(": ")[2]
    return ""


def free_bytes(folder: Path) -> int | None:
    """Return the free space on the disk of ``folder`` or its nearest parent; None if unknown."""
    try:
        return shutil.disk_usage(_nearest_folder(folder)).free
    except OSError:
        return None


def _refusal_to_make(folder: Path) -> str:
    parent = _nearest_folder(folder)
    if not parent.is_dir():
        return f"{parent} is a file"
    if not os.access(parent, os.W_OK | os.X_OK):
        return f"it does not exist, and {parent} cannot be written"
    return ""


def _nearest_folder(folder: Path) -> Path:
    """Return ``folder`` or the first of its parents that exists."""
    absolute = folder.absolute()
    return next((p for p in (absolute, *absolute.parents) if p.exists()), absolute)


# --- readable by others ------------------------------------------------------------------

# The permission bits of group and others, for reading a file and for entering a folder.
_READ = stat.S_IRGRP | stat.S_IROTH
_ENTER = stat.S_IXGRP | stat.S_IXOTH


def readable_by_others(folder: Path) -> Iterator[Path]:
    """Yield each file below ``folder`` that other users can read, according to the file modes.

    A folder that no other user can enter hides everything in it, regardless of the files' modes.
    Nothing is yielded on systems without such modes.
    """
    if os.name == "nt" or not folder.is_dir():
        return
    root = Path(os.path.realpath(folder))
    if all(_mode(path) & _ENTER for path in (root, *root.parents)):
        yield from _readable_files(root)


def _readable_files(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
    except OSError:  # gone, or not accessible
        return
    for entry in children:
        path = Path(entry.path)
        mode = _mode(path)
        if stat.S_ISDIR(mode) and mode & _ENTER:
            yield from _readable_files(path)
        elif stat.S_ISREG(mode) and mode & _READ:
            yield path


def _mode(path: Path) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0
