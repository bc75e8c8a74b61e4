"""The arguments and frames of a vendor's own ``get_ohlcv``, which users may call directly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import numpy as np

from ...errors import BadRangeError, QueryError
from ..disk.atomic import export_csv
from ..disk.files import Disk
from ..model.identity.kind import ADJUSTMENTS, Adjustment
from ..model.market.bars import PRICES, BarTable, merge
from ..model.time.instant import DAY_MS, day_ms, to_ms
from ..model.time.span import Span

if TYPE_CHECKING:
    import pandas as pd

RawShape = Literal["column", "index"]
VALUE_COLUMNS = (*PRICES, "volume", "adj_close")
_HINT = "use a date, a datetime, or an ISO string such as 2024-01-12"


def raw_span(start: Any, end: Any) -> Span:
    """Return the span (UTC milliseconds) from ``start`` to ``end``, both inclusive.

    Datetimes are points in time (naive ones are in UTC); dates, and strings such as ``YYYY-MM-DD``,
    mean whole days.

    Raises:
        BadRangeError: A bound is not a time, or the start is not before the end.
    """
    span = Span(_bound(start, "start_date")[0], _bound(end, "end_date")[1])
    if span.end - 1 <= span.start:
        raise BadRangeError(f"start_date {start} is not before end_date {end}")
    return span


def _bound(value: Any, which: str) -> tuple[int, int]:
    """Return the first timestamp that a bound includes, and the first timestamp after the bound."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = (date if len(value) == 10 else datetime).fromisoformat(value)
    if isinstance(value, datetime):
        stamp = to_ms(value)
        return stamp, stamp + 1
    if isinstance(value, date):
        return day_ms(value), day_ms(value) + DAY_MS
    raise BadRangeError(f"{which} is not a date: {value!r}", hint=_HINT)


@dataclass(frozen=True)
class RawOptions:
    """Options of a direct call, other than the range.

    Attributes:
        adjustment: Adjustment of prices; None means the adjustment that the vendor declares.
        limit: Maximum number of bars, counted from the oldest one; None means all.
    """

    adjustment: Adjustment | None = None
    limit: int | None = None


def raw_options(vendor: str, names: Iterable[str], options: Mapping[str, Any]) -> RawOptions:
    """Check the options of a direct call and return them; ``names`` lists those that ``vendor`` accepts.

    Raises:
        TypeError: The vendor does not accept an option.
        QueryError: An option has an invalid value.
    """
    if unknown := options.keys() - set(names):
        raise TypeError(f"{vendor} has no option {', '.join(sorted(unknown))}")
    adjustment, limit = options.get("adjustment"), options.get("limit")
    if adjustment not in (None, *ADJUSTMENTS):
        raise QueryError(f"unknown adjustment {adjustment!r}", hint="use raw, split or all")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise QueryError(f"invalid limit {limit!r}", hint="use a positive number of bars")
    return RawOptions(adjustment, limit)


def raw_frame(table: BarTable, span: Span, shape: RawShape) -> pd.DataFrame:
    """Build the documented frame: ascending, without duplicates or empty rows, within ``span``.

    Args:
        table: Rows as received.
        span: Requested span.
        shape: Location of the timestamps: ``column`` for a ``timestamp`` column, ``index`` for the
            index.
    """
    from ..model.answer.frame import build_frame  # imports pandas, which only direct callers need

    has_price = ~np.logical_and.reduce([np.isnan(column) for column in table.values()[:4]])
    tidy = merge(BarTable.empty(), table.take(has_price))
    frame = build_frame(tidy.within(span))
    return frame if shape == "index" else frame.reset_index()


def save_frame(frame: pd.DataFrame, name: str, directory: str | Path) -> str:
    """Write ``frame`` as ``<directory>/<name>.csv`` and return the path.

    Raises:
        StorageError: The file cannot be written.
    """
    folder = Path(directory)
    Disk().make_folders(folder)
    return str(export_csv(frame, folder / f"{quote(name, safe='-_^=')}.csv"))


def load_frame(path: str | Path) -> pd.DataFrame:
    """Read a frame that :func:`save_frame` wrote, with its numbers in full precision."""
    import pandas as pd

    # Read as text first, because the last digit of numbers parsed by pandas differs between
    # releases.
    frame = pd.read_csv(path, index_col=0, dtype=str)
    for name in frame.columns:
        if name == "timestamp":
            frame[name] = pd.to_datetime(frame[name]).astype("datetime64[ns]")
        elif name in VALUE_COLUMNS:
            frame[name] = frame[name].astype("float64")
    if frame.index.name == "timestamp":
        frame.index = pd.DatetimeIndex(pd.to_datetime(frame.index)).as_unit("ns")
    else:
        frame.index = frame.index.astype("int64")
    return frame
