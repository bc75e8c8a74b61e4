"""Whole files that appear atomically: written under a temporary name, then renamed.

Files that users export are built in memory and written in the same way. Line-based files are
extended at the end.
"""

from __future__ import annotations

import errno
import gzip
import itertools
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import MissingExtraError, StorageError, install_line
from .files import Disk, Handle, errno_of

if TYPE_CHECKING:
    import pandas as pd

_numbers = itertools.count()
_SUFFIX = ".tmp"
# Names of staged files; other files are their users'.
_TEMPORARY = re.compile(r"\..+(\.[0-9]+){3}\.tmp").fullmatch
# Error numbers that systems return if hard links do not exist.
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.ENOSYS)


def stage(disk: Disk, path: Path, data: bytes, *, durable: bool = True) -> Path:
    """Write ``data`` to a new temporary file next to ``path``; return the temporary path.

    Args:
        disk: File system.
        path: Final name, to be set by :meth:`Disk.replace`.
        data: Complete content.
        durable: Whether the bytes must be safe from a power loss by the time this returns.
    """
    return stage_by(disk, path, lambda handle: disk.write(handle, data, 0), durable=durable)


def stage_by(
    disk: Disk, path: Path, fill: Callable[[Handle], None], *, durable: bool = True
) -> Path:
    """Stage a file like :func:`stage`, but let ``fill`` write it piece by piece."""
    writer = f"{os.getpid()}.{threading.get_ident()}.{next(_numbers)}"
    temp = path.with_name(f".{path.name}.{writer}{_SUFFIX}")
    handle = disk.create(temp)
    with or_discarded(disk, temp):
        try:
            fill(handle)
            if durable:
                disk.sync(handle)
        finally:
            disk.close(handle)
    return temp


@contextmanager
def or_discarded(disk: Disk, temp: Path) -> Iterator[None]:
    """Remove the temporary file if the block raises an error, and re-raise that error."""
    try:
        yield
    except BaseException:
        discard(disk, temp)
        raise


def write_atomically(
    disk: Disk,
    path: Path,
    data: bytes,
    *,
    durable: bool = True,
    before_rename: Callable[[], None] | None = None,
) -> None:
    """Replace the content of ``path`` with ``data``; readers see either the old or the new bytes.

    If ``durable`` is False, a power loss may undo the change, or leave an empty file on file
    systems that rename before they write; use this only for data that can be rebuilt.
    ``before_rename`` is called just before the new file is renamed into place. It can make another
    change in the same folder, which the same sync then makes durable.
    """
    temp = stage(disk, path, data, durable=durable)
    with or_discarded(disk, temp):
        if before_rename is not None:
            before_rename()
        disk.replace(temp, path)
    if durable:
        disk.sync_folder(path.parent)


def append_line(disk: Disk, path: Path, line: bytes, *, durable: bool = False) -> int:
    """Append a line and return the file's new size; the caller must hold a lock that all writers use.

    Args:
        disk, path: Location of the file, which is created if it does not exist.
        line: One or more lines, ending with a line feed.
        durable: Whether the line must be safe from a power loss by the time this returns.

    Raises:
        StorageError: The line was not written, or only part of it was.
    """
    is_new = disk.stat(path) is None
    handle = disk.create(path) if is_new else disk.open_write(path)
    try:
        size = disk.fstat(handle).size
        if size and disk.read_at(handle, size - 1, 1) != b"\n":
            line = b"\n" + line  # the line before was torn; do not join it
        disk.write(handle, line, size)
        if durable:
            disk.sync_data(handle)
    finally:
        disk.close(handle)
    if durable and is_new:
        disk.sync_folder(path.parent)
    return size + len(line)


def link_or_copy(disk: Disk, source: Path, target: Path) -> None:
    """Give ``source`` the second name ``target``, or copy it if the file system does not support links.

    The new name may still be lost in a power loss; the bytes of a copy are already safe.
    """
    if disk.stat(target) is not None:
        disk.remove(target)
    try:
        disk.link(source, target)
    except StorageError as exc:
        if errno_of(exc) not in NO_LINKS:
            raise
        write_atomically(disk, target, disk.read(source))


def discard(disk: Disk, temp: Path) -> None:
    """Remove a temporary file if possible."""
    try:
        disk.remove(temp)
    except StorageError:
        pass  # the next writer removes it


def sweep(disk: Disk, folder: Path) -> list[str]:
    """Remove temporary files left behind by writers that died; requires the folder's lock.

    Returns:
        The names of the remaining files in the folder, sorted.
    """
    names = disk.list(folder)
    temps = [name for name in names if _TEMPORARY(name)]
    for name in temps:
        disk.remove(folder / name)
    return [name for name in names if name not in temps] if temps else names


# --- exports -----------------------------------------------------------------------------

_STAMPS = "%Y-%m-%d %H:%M:%S"


def csv_text(frame: pd.DataFrame) -> str:
    """Return ``frame`` as CSV: every float64 reads back bit for bit, and missing values are empty.

    Timestamps are written as ``YYYY-MM-DD HH:MM:SS``, as in the cache's own files.
    """
    return str(frame.to_csv(date_format=_STAMPS, lineterminator="\n"))


def export_csv(frame: pd.DataFrame, path: Path) -> Path:
    """Write ``frame`` as CSV, compressed if the name ends in ``.gz``; return the path.

    The same frame always produces the same bytes. An existing file with that name is replaced
    atomically.

    Raises:
        StorageError: The file cannot be written; no partial file is left.
    """
    data = csv_text(frame).encode()
    if path.suffix.lower() == ".gz":
        data = gzip.compress(data, mtime=0)
    return put(path, data)


def export_parquet(frame: pd.DataFrame, path: Path) -> Path:
    """Write ``frame`` as Parquet, including its ``attrs`` (the provenance); return the path.

    Raises:
        MissingExtraError: No Parquet engine is installed.
        StorageError: The file cannot be written; no partial file is left.
    """
    try:
        data = frame.to_parquet(engine="pyarrow")
    except ImportError as exc:
        raise MissingExtraError("Parquet files need pyarrow", hint=install_line("parquet")) from exc
    return put(path, data)


def put(path: Path, data: bytes) -> Path:
    """Replace the content of ``path``, or of its target if it is a link, with ``data``."""
    target = check_target(path)
    try:
        write_atomically(Disk(), target, data)
    except StorageError as exc:
        number = errno_of(exc)
        reason = os.strerror(number) if number else str(exc)
        raise StorageError(f"{path} cannot be written: {reason}") from exc
    return path


def put_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    """Create a folder of files atomically, and return its path.

    Raises:
        StorageError: The path exists and is not an empty folder, its parent does not exist, or the
            folder cannot be written; nothing is left behind.
    """
    target, disk = Path(os.path.realpath(path.expanduser())), Disk()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise StorageError(
            f"{path} already exists and is not an empty folder", hint="name another folder"
        )
    staged = target.with_name(f".{target.name}.{os.getpid()}.{next(_numbers)}{_SUFFIX}")
    try:
        if not target.parent.is_dir():
            raise StorageError(f"the folder {target.parent} does not exist", hint="create it first")
        disk.make_folders(staged)
        for name, data in files.items():
            write_atomically(disk, staged / name, data)
        disk.replace(staged, target)
        disk.sync_folder(target.parent)
    except BaseException:
        with suppress(StorageError):
            disk.remove_whole(staged)
        raise
    return target


def check_target(path: Path) -> Path:
    """Return the file that ``path`` refers to, with links resolved; it need not exist.

    Raises:
        StorageError: The target is a folder or a device, the folder for it does not exist, or the
            file system does not allow its name.
    """
    try:
        target = Path(os.path.realpath(path.expanduser()))
        target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(
            f"{str(path.name)[:40]!r} cannot be written: {reason}", hint="choose another name"
        ) from error
    if target.is_dir():
        raise StorageError(f"{path} cannot be written: it is a folder", hint="name a file")
    if target.exists() and not target.is_file():
        # Renaming a file over it would replace the device itself.
        raise StorageError(f"{path} cannot be written: it is a device", hint="name a regular file")
    if not target.parent.is_dir():
        raise StorageError(
            f"{path} cannot be written: the folder {target.parent} does not exist",
            hint="create it first, or name another folder",
        )
    return target
