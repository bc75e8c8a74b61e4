"""CSV of any columns, without losing a bit of any number."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def read_csv(text: bytes) -> pd.DataFrame:
    """Return the cells as columns: whole numbers, floats, or texts where a cell is no number.

    Cells are read by Python's own ``float``, which rounds correctly; parsers of many pandas
    versions do not. An empty cell is a missing value.

    Raises:
        ValueError: it is no table, or no text.
    """
    # Only old caches and odd tables need the slow, tolerant parser.
    import pandas as pd

    cells = pd.read_csv(io.BytesIO(text), dtype=str, keep_default_na=False)
    return pd.DataFrame({name: _typed(cells[name].tolist()) for name in cells.columns})


def _typed(cells: list[str]) -> Any:
    for read in (_whole, _floats):
        try:
            return read(cells)
        except (ValueError, OverflowError):
            continue
    return cells


def _whole(cells: list[str]) -> Any:
    return np.array([int(cell) for cell in cells], dtype=np.int64)


def _floats(cells: list[str]) -> Any:
    return np.array([float(cell) if cell else np.nan for cell in cells], dtype=np.float64)


def csv_text(frame: pd.DataFrame) -> bytes:
    """Return a frame on a time index as CSV; floats as the shortest text that reads back."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["timestamp", *map(str, frame.columns)])
    columns = [map(_cell, frame[name].tolist()) for name in frame.columns]
    stamps = [stamp.isoformat(" ") for stamp in frame.index]
    writer.writerows(zip(stamps, *columns, strict=True))
    return text.getvalue().encode("utf-8")


def _cell(value: Any) -> str:
    """Return the text of one value; a missing one is empty."""
    if value is None or value != value:
        return ""
    return repr(value) if isinstance(value, float) else str(value)
