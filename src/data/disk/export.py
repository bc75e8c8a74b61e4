"""Files that users ask for: written beside, then put in place whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MissingExtraError, StorageError

if TYPE_CHECKING:
    import pandas as pd


def export_csv(frame: pd.DataFrame, path: Path) -> Path:
    """Write ``frame`` as CSV, compressed when the name ends in ``.gz``; return the path.

    Raises:
        StorageError: the file cannot be written; nothing half-written is left.
    """
    gzipped = path.suffix == ".gz"
    return _whole(path, lambda temp: frame.to_csv(temp, compression="gzip" if gzipped else None))


def export_parquet(frame: pd.DataFrame, path: Path) -> Path:
    """Write ``frame`` as Parquet; return the path.

    Raises:
        MissingExtraError: no Parquet engine is installed.
        StorageError: the file cannot be written; nothing half-written is left.
    """
    plain = frame.copy()
    plain.attrs = {}
    try:
        return _whole(path, plain.to_parquet)
    except ImportError as exc:
        raise MissingExtraError(
            "Parquet needs an extra", hint='pip install "onetape[parquet]"'
        ) from exc


def _whole(path: Path, write: Callable[[Path], object]) -> Path:
    temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temp)
        temp.replace(path)
    except OSError as exc:
        raise StorageError(f"{path} cannot be written: {exc.strerror or exc}") from exc
    finally:
        temp.unlink(missing_ok=True)
    return path
