"""Files that users ask for: made in memory, then put in place whole."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MissingExtraError, StorageError
from .atomic import write_atomically
from .files import Disk, errno_of

if TYPE_CHECKING:
    import pandas as pd

_STAMPS = "%Y-%m-%d %H:%M:%S"


def csv_text(frame: pd.DataFrame) -> str:
    """Return ``frame`` as CSV: every float64 reads back bit for bit, a missing value is empty.

    Stamps are ``YYYY-MM-DD HH:MM:SS``, as in the cache's own files.
    """
    return str(frame.to_csv(date_format=_STAMPS, lineterminator="\n"))


def export_csv(frame: pd.DataFrame, path: Path) -> Path:
    """Write ``frame`` as CSV, compressed when the name ends in ``.gz``; return the path.

    The same frame gives the same bytes. A file of that name is replaced at one stroke.

    Raises:
        StorageError: the file cannot be written; nothing half-written is left.
    """
    data = csv_text(frame).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    return _put(path, data)


def export_parquet(frame: pd.DataFrame, path: Path) -> Path:
    """Write ``frame`` as Parquet, its ``attrs`` (the provenance) inside; return the path.

    Raises:
        MissingExtraError: no Parquet engine is installed.
        StorageError: the file cannot be written; nothing half-written is left.
    """
    try:
        data = frame.to_parquet(engine="pyarrow")
    except ImportError as exc:
        raise MissingExtraError(
            "Parquet needs an extra", hint='pip install "onetape[parquet]"'
        ) from exc
    return _put(path, data)


def _put(path: Path, data: bytes) -> Path:
    """Make ``data`` the content of ``path``; behind a link, of the file it leads to."""
    target = Path(os.path.realpath(path.expanduser()))
    if target.is_dir():
        raise StorageError(f"{path} cannot be written: it is a folder", hint="name a file in it")
    if target.exists() and not target.is_file():
        # Renaming a file over it would replace the device itself.
        raise StorageError(f"{path} cannot be written: it is a device", hint="name a file")
    if not target.parent.is_dir():
        raise StorageError(
            f"{path} cannot be written: the folder {target.parent} does not exist",
            hint="make it first, or choose another",
        )
    try:
        write_atomically(Disk(), target, data)
    except StorageError as exc:
        number = errno_of(exc)
        reason = os.strerror(number) if number else str(exc)
        raise StorageError(f"{path} cannot be written: {reason}") from exc
    return path
