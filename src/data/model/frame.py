"""The one place where frames are made, and where foreign frames are read."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ResponseFormatError
from .bars import NAN, PRICES, BarTable

REQUIRED_COLUMNS = ("open", "high", "low", "close", "volume")
_TIME_COLUMNS = ("timestamp", "datetime", "date", "time", "open_time")


def build_frame(table: BarTable) -> pd.DataFrame:
    """Build the canonical frame: float64 columns on a naive UTC ``timestamp`` index in ns.

    The columns are ``open high low close volume`` and then ``adj_close`` where the table has it.
    The frame owns its memory: the caller may write into it.
    """
    index = pd.DatetimeIndex(table.stamps.astype("M8[ms]").astype("M8[ns]"), name="timestamp")
    columns = dict(zip(table.columns, table.values(), strict=True))
    return pd.DataFrame(columns, index=index, dtype=np.float64, copy=True)


def empty_frame() -> pd.DataFrame:
    """Return the canonical frame without rows; all dtypes are those of a full one."""
    return build_frame(BarTable.empty())


def table_of(frame: pd.DataFrame) -> BarTable:
    """Read a frame of bars made by somebody else; rows keep their order, nothing is checked.

    The stamps are the index when it is a ``DatetimeIndex``, else a column named ``timestamp``
    or one of its usual other names. Aware stamps are converted to UTC, naive ones mean UTC.
    Column names are compared without case; ``Adj Close`` counts as ``adj_close``.

    Raises:
        ResponseFormatError: a price column or the stamps are missing or cannot be read.
    """
    named = {str(c).strip().lower().replace(" ", "_"): c for c in frame.columns}
    missing = [name for name in PRICES if name not in named]
    if missing:
        raise ResponseFormatError(f"a frame of bars lacks the columns {', '.join(missing)}")
    stamps = _stamps_of(frame, named)

    def column(name: str) -> Any:
        if name not in named:
            return np.full(len(frame), NAN)
        return pd.to_numeric(frame[named[name]], errors="coerce").to_numpy(np.float64, copy=True)

    adj = column("adj_close") if "adj_close" in named else None
    return BarTable.of_columns(stamps, [column(n) for n in (*PRICES, "volume")], adj)


def _stamps_of(frame: pd.DataFrame, named: dict[str, Any]) -> Any:
    """Return the frame's stamps as int64 milliseconds UTC."""
    times: Any = frame.index if isinstance(frame.index, pd.DatetimeIndex) else None
    if times is None:
        name = next((n for n in _TIME_COLUMNS if n in named), None)
        if name is None:
            raise ResponseFormatError("a frame of bars has neither a time index nor a time column")
        try:
            times = pd.DatetimeIndex(pd.to_datetime(frame[named[name]], utc=True))
        except (ValueError, TypeError) as exc:
            raise ResponseFormatError(f"the column {name!r} does not hold times") from exc
    if times.tz is not None:
        times = times.tz_convert("UTC").tz_localize(None)
    if times.hasnans:
        raise ResponseFormatError("a frame of bars has stamps that are not times (NaT)")
    return np.array(times.as_unit("ms").asi8, dtype=np.int64)


def coerce_ohlcv_timestamp_column(frame: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return ``frame`` with a ``timestamp`` column taken from its index.

    None and empty frames come back unchanged, and so does a frame that has the column. The
    input is never changed.
    """
    if frame is None or frame.empty or "timestamp" in frame.columns:
        return frame
    if not isinstance(frame.index, pd.DatetimeIndex):
        return frame
    return frame.reset_index(names="timestamp")


def validate_normalized_ohlcv(frame: pd.DataFrame | None) -> None:
    """Check that ``frame`` is of the canonical form; an empty canonical frame passes.

    Raises:
        ValueError: None, no ``DatetimeIndex``, an aware index, missing columns, or a
            ``timestamp`` column.
    """
    if frame is None:
        raise ValueError("no frame at all (None)")
    if not isinstance(frame.index, pd.DatetimeIndex):
        raise ValueError(f"the index is a {type(frame.index).__name__}, not a DatetimeIndex")
    if frame.index.tz is not None:
        raise ValueError(f"the index is in {frame.index.tz}, it must be naive UTC")
    if "timestamp" in frame.columns:
        raise ValueError("stamps belong into the index, not into a column `timestamp`")
    missing = [name for name in REQUIRED_COLUMNS if name not in frame.columns]
    if missing:
        raise ValueError(f"missing columns: {', '.join(missing)}")


def warn_user(message: str, category: type[Warning]) -> None:
    """Warn at the caller's line, whatever the depth of ours."""
    warnings.warn(message, category, stacklevel=_depth_of_caller())


def _depth_of_caller() -> int:
    """Count the frames of this package above the caller of :func:`warn_user`."""
    import sys

    package = __name__.rsplit(".", 2)[0]
    depth, here = 1, sys._getframe(1)
    while here is not None and here.f_globals.get("__name__", "").startswith(package):
        depth, here = depth + 1, here.f_back  # type: ignore[assignment]
    return depth
