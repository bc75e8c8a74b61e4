"""Building the canonical bar frame, and reading bar frames made by other programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ....errors import ResponseFormatError
from ..display.texts import lacks_columns
from ..market.bars import NAN, PRICES, BarTable, Stamps
from ..request.query import ACTION_COLUMNS
from ..stored.coverage import Covered
from ..stored.reasons import FORMING
from ..time.span import Span
from .provenance import FrozenList

# The column that is true in filled-in rows, which are not bars, and the key in ``attrs`` that
# lists their stamps.
FILLED, _FILLED_STAMPS = "filled", "onetape_filled"
REQUIRED_COLUMNS = ("open", "high", "low", "close", "volume")
_TIME_COLUMNS = ("timestamp", "datetime", "date", "time", "open_time")


# Used for rows that no coverage entry contains.
_UNCOVERED = Covered(Span(0, 0), "suspect")
NS_IN_MS = 1_000_000
# From this number of rows on, copying columns takes longer than building a frame from many.
LONG = 10_000


def build_frame(
    table: BarTable, coverage: Sequence[Covered] = (), extra: Sequence[str] = ()
) -> pd.DataFrame:
    """Build the canonical frame: float64 columns, and a naive UTC index ``timestamp`` in nanoseconds.

    The columns are ``open high low close volume``, then ``adj_close`` if the table has it, then the
    columns ``extra``, in their order, filled from ``coverage``: ``source`` (text, the vendor),
    ``state`` (text: ``final``, ``provisional``, ``suspect`` or ``forming``), ``is_final`` (bool),
    ``fetched_at`` (naive UTC in ns; NaT if unknown). ``dividend``, ``split`` and ``capital_gain``
    (float64) contain zeros, which the caller replaces. The caller may write to the frame, which
    owns its values. The timestamps are read-only: frames that have the same ones share them.

    Args:
        table: Bars; rows keep their order.
        coverage: Ascending, disjoint coverage entries; needed only if there are ``extra`` columns.
        extra: Names of the extra columns.
    """
    stamps = table.index if table.index is not None else table.stamps * NS_IN_MS
    if table.index is not None and len(table) > LONG:
        # The table is the sole owner of these arrays: the frame takes them without a copy.
        columns = dict(zip(table.columns, table.values(), strict=True))
        frame = pd.DataFrame(columns, index=_index(stamps), copy=False)
    else:
        frame = frame_on(np.array(table.values(), dtype=np.float64), stamps, table.columns)
    if extra:
        entries = [*coverage, _UNCOVERED]
        owners = _owners(table, coverage)
        for name in extra:
            frame[name] = _extra_column(name, entries).take(owners).array
    return frame


def frame_on(values: NDArray[np.float64], stamps: Stamps, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return a frame that uses the memory of ``values``; its timestamps are read-only.

    ``values`` has one row for each of ``columns``; ``stamps`` are in nanoseconds. The frame uses
    their memory or, if the frame before it has the same timestamps, the memory of that one's.
    """
    names = _names(columns).view()
    return pd.DataFrame(values.T, index=_index(stamps), columns=names, copy=False)


def _index(stamps: Stamps) -> pd.DatetimeIndex:
    """Return an index; it shares its memory with the previous one if it has the same timestamps."""
    global _last
    last = _last
    if last is not None and np.array_equal(last[0], stamps):
        return pd.DatetimeIndex(last[1].view(), name="timestamp", copy=False)
    stamps.flags.writeable = False
    # Without ``copy=False`` it would be copied silently.
    index = pd.DatetimeIndex(stamps.view("M8[ns]"), name="timestamp", copy=False)
    if len(stamps) <= LONG:
        _last = stamps, index.array
    return index


# Timestamps of the last short index, which those of the next symbol of an exchange usually equal.
_last: tuple[Stamps, Any] | None = None


# Callers take views, so that renaming the axis of one frame does not affect another.
@lru_cache
def _names(columns: tuple[str, ...]) -> pd.Index[str]:
    return pd.Index(columns)


def _owners(table: BarTable, coverage: Sequence[Covered]) -> Any:
    """Return the index of the coverage entry that contains each row, or -1 if none does."""
    if not coverage:
        return np.full(len(table), -1, np.int64)
    starts, ends = np.array([entry.span for entry in coverage], dtype=np.int64).T
    positions = np.searchsorted(starts, table.stamps, side="right") - 1
    return np.where((positions >= 0) & (table.stamps < ends[positions]), positions, -1)


def _extra_column(name: str, entries: Sequence[Covered]) -> pd.Series[Any]:
    """Return the value of an extra column for each coverage entry."""
    states = [FORMING if entry.reason == FORMING else entry.state for entry in entries]
    if name == "source":
        return pd.Series([entry.vendor for entry in entries], dtype="str")
    if name == "state":
        return pd.Series(states, dtype="str")
    if name == "is_final":
        return pd.Series([state == "final" for state in states], dtype=bool)
    if name in ACTION_COLUMNS:
        return pd.Series(np.zeros(len(entries)))
    fetched = [entry.fetched_at or np.datetime64("NaT", "ms") for entry in entries]
    return pd.Series(np.array(fetched, dtype="M8[ms]").astype("M8[ns]"))


def empty_frame(extra: Sequence[str] = ()) -> pd.DataFrame:
    """Return a canonical frame without rows, with the same dtypes as a non-empty frame."""
    return build_frame(BarTable.empty(), (), extra)


def table_of(frame: pd.DataFrame) -> BarTable:
    """Read another program's frame of bars; rows keep their order, and nothing is checked.

    The timestamps are the index if it is a ``DatetimeIndex``, otherwise a column named
    ``timestamp`` or one of its other common names. Aware timestamps are converted to UTC; naive
    timestamps are UTC. Column names are case-insensitive; ``Adj Close`` is read as ``adj_close``.

    Raises:
        ResponseFormatError: A price column or the timestamps are missing or cannot be read, a
            column occurs twice or is not numeric, or the frame contains filled-in rows.
    """
    if filled := filled_rows(frame):
        raise ResponseFormatError(f"the frame has filled-in rows ({filled})", hint=WITHOUT_FILLED)
    by_name = {str(c).strip().lower().replace(" ", "_"): c for c in frame.columns}
    missing = [name for name in PRICES if name not in by_name]
    if missing:
        raise ResponseFormatError(f"the frame {lacks_columns(missing)}")
    stamps = _stamps_of(frame, by_name)

    def column(name: str) -> Any:
        """Return a column as float64; NaN in every row if the frame does not have the column."""
        if name not in by_name:
            return np.full(len(frame), NAN)
        values = frame[by_name[name]]
        if not isinstance(values, pd.Series):
            raise ResponseFormatError(f"the frame has the column {name} twice")
        if values.dtype == np.float64:
            return values.to_numpy(copy=True)
        try:
            numbers = pd.to_numeric(values, errors="coerce")
            if values.dtype.kind not in _NO_NUMBERS and numbers.dtype.kind not in _NO_NUMBERS:
                return numbers.to_numpy(np.float64, na_value=NAN, copy=True)
        except OverflowError:
            pass  # an integer larger than any float
        raise ResponseFormatError(f"the column {name} contains values that are not numbers")

    adj = column("adj_close") if "adj_close" in by_name else None
    return BarTable.of_columns(stamps, [column(n) for n in (*PRICES, "volume")], adj)


# NumPy type kinds: booleans, time differences, times, complex numbers.
_NO_NUMBERS = "bMmc"
# Hint for users about filled rows.
WITHOUT_FILLED = 'frame[~frame["filled"]] has only the bars'


def with_filled(frame: pd.DataFrame, times: Any) -> pd.DataFrame:
    """Return a new frame with a column ``filled``, which is true in the rows with these ``times``.

    The timestamps are also recorded in ``attrs``, so that the rows are recognized even after the
    column has been dropped.
    """
    flagged = frame.assign(**{FILLED: frame.index.isin(times)})
    stamps = pd.DatetimeIndex(times).as_unit("ms").asi8.tolist() if len(times) else []
    flagged.attrs = frame.attrs | {_FILLED_STAMPS: FrozenList(stamps)}
    return flagged


def rows_frame(
    rows: list[dict[str, Any]], columns: list[str], times: Iterable[str]
) -> pd.DataFrame:
    """Return a frame with a row for each mapping, whose ISO ``times`` become naive UTC, or NaT."""
    frame = pd.DataFrame(rows, columns=columns)
    for name in times:
        stamps = pd.to_datetime(frame[name].astype("str"), utc=True, errors="coerce")
        frame[name] = stamps.dt.tz_localize(None).astype("M8[ns]")
    return frame


def filled_rows(frame: pd.DataFrame) -> int:
    """Return the number of filled-in rows, according to the column ``filled`` or to ``attrs``.

    The result is 0 if the argument is not a frame.
    """
    if not isinstance(frame, pd.DataFrame):
        return 0
    filled_stamps = frame.attrs.get(_FILLED_STAMPS) or ()
    flagged = frame[FILLED].eq(True).to_numpy() if FILLED in frame else np.zeros(len(frame), bool)
    if filled_stamps and len(frame):
        by_name = {str(c).strip().lower().replace(" ", "_"): c for c in frame.columns}
        flagged = flagged | np.isin(_stamps_of(frame, by_name), filled_stamps)
    return int(np.count_nonzero(flagged))


def _stamps_of(frame: pd.DataFrame, by_name: dict[str, Any]) -> Any:
    """Return the frame's timestamps as int64 UTC milliseconds."""
    times: Any = frame.index if isinstance(frame.index, pd.DatetimeIndex) else None
    if times is None:
        name = next((n for n in _TIME_COLUMNS if n in by_name), None)
        if name is None:
            raise ResponseFormatError("the frame has neither a time index nor a time column")
        try:
            times = pd.DatetimeIndex(pd.to_datetime(frame[by_name[name]], utc=True))
        except (ValueError, TypeError) as exc:
            raise ResponseFormatError(f"the column {name!r} does not contain times") from exc
    if times.tz is not None:
        times = times.tz_convert("UTC").tz_localize(None)
    if times.hasnans:
        raise ResponseFormatError("the frame has missing timestamps (NaT)")
    try:
        return np.array(times.as_unit("ms").asi8, dtype=np.int64)
    except ValueError as exc:  # times in seconds, whose range is a thousand times larger
        raise ResponseFormatError("the frame has timestamps that are not valid dates") from exc


def coerce_ohlcv_timestamp_column(frame: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return ``frame`` with a ``timestamp`` column taken from its index.

    Examples:
        >>> bars = manager.get_ohlcv("AAPL", "1d", start="2012-01-03", end="2012-01-05", provider="demo")
        >>> "timestamp" in coerce_ohlcv_timestamp_column(bars)
        True

    None, empty frames and frames that already have the column are returned unchanged. The input is
    never modified.
    """
    if frame is None or frame.empty or "timestamp" in frame.columns:
        return frame
    if not isinstance(frame.index, pd.DatetimeIndex):
        return frame
    return frame.reset_index(names="timestamp")


def validate_normalized_ohlcv(frame: pd.DataFrame | None) -> None:
    """Check that ``frame`` is in canonical form; an empty canonical frame passes.

    Raises:
        ValueError: The frame is None, the index is not a ``DatetimeIndex`` or has a time zone, a
            column is missing, or ``timestamp`` is a column.
    """
    if frame is None:
        raise ValueError("the frame is None")
    if not isinstance(frame.index, pd.DatetimeIndex):
        raise ValueError(f"the index is a {type(frame.index).__name__}, not a DatetimeIndex")
    if frame.index.tz is not None:
        raise ValueError(f"the index has the time zone {frame.index.tz}; it must be naive UTC")
    if "timestamp" in frame.columns:
        raise ValueError("the frame has a `timestamp` column; timestamps must be in the index")
    missing = [name for name in REQUIRED_COLUMNS if name not in frame.columns]
    if missing:
        raise ValueError(f"the frame {lacks_columns(missing)}")
