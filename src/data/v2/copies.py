"""Converts bars to rows of the table ``prices_v2``, and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calendars.calendar import calendar_for, day_span, session_date
from ..calendars.grid import BarGrid
from ..layer.frames import pl  # its error names the missing extra
from ..model.bars import PRICES
from ..model.instant import from_ms, to_ms
from ..model.provenance import ATTRS_KEY
from .frames import checked_prices
from .values import TTL_MS

if TYPE_CHECKING:
    import pandas as pd

    from ..db.prices import PriceRow
    from ..model.query import BarsQuery, ExtraColumn

__all__ = ["COPIED_COLUMNS", "copied_frame", "copied_until", "is_short", "rows_of"]

# Extra columns of ``get_ohlcv`` that the table has as well; the last two are for shares only.
COPIED_COLUMNS: tuple[ExtraColumn, ...] = ("source", "dividend", "split")
_DIGITS, _LARGEST, _LARGEST_ACTION, _MOST_ROWS = 4, 1e7, 9e3, 50_000
# Bars are not copied if a price would change by more than this fraction.
_MOST_ROUNDED = 1e-3


def is_short(query: BarsQuery) -> bool:
    """Return whether a range has few enough bars for the database, which has a time limit."""
    length_ms = query.timeframe.step_ms or query.timeframe.longest_ms
    return (query.span.end - query.span.start) // length_ms <= _MOST_ROWS


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows to copy, or none if the table cannot hold them.

    The table cannot hold them if a bar may still change, if a volume is missing, if four decimal
    places are too few for a price, or if a price, a dividend or a split is too large.

    Args:
        frame: Frame of ``get_ohlcv`` with :data:`COPIED_COLUMNS`.
    """
    facts = frame.attrs[ATTRS_KEY]
    if any(span["state"] not in ("final", "empty") for span in facts["spans"]):
        return []
    names = [*PRICES, *(["adj_close"] if "adj_close" in frame else [])]
    values = frame[names].to_numpy(np.float64)
    known, volume = values[np.isfinite(values)], frame.get("volume")
    rounded = np.abs(known.round(_DIGITS) - known) > np.abs(known) * _MOST_ROUNDED
    if volume is None or not np.isfinite(volume).all() or (np.abs(volume) >= 2.0**63).any():
        return []
    if rounded.any() or (np.abs(known) >= _LARGEST).any():
        return []
    if "split" in frame and (frame[["split", "dividend"]] >= _LARGEST_ACTION).any(axis=None):
        return []
    columns: dict[str, list[Any]] = {name: frame[name].tolist() for name in names}
    columns["volume"] = volume.round().astype(np.int64).tolist()
    columns["data_source"] = frame["source"].tolist()
    if "split" in frame:
        columns["split_factor"] = frame["split"].replace(0.0, 1.0).tolist()
        columns["dividend"] = frame["dividend"].tolist()
    else:
        columns["adj_close"] = columns["close"]
    columns["timestamp"] = frame.index.tz_localize(UTC).to_pydatetime().tolist()  # type: ignore[attr-defined]
    fixed = {"quality_score": facts["quality"]["score"] or 1.0, "is_interpolated": False}
    return [
        fixed
        | {
            name: None if value != value else value
            for name, value in zip(columns, row, strict=True)
        }
        for row in zip(*columns.values(), strict=True)
    ]


def copied_until(query: BarsQuery, rows: Sequence[PriceRow], now_ms: int) -> int:
    """Return the time (UTC milliseconds) until which copied bars are valid; 0 if they are not.

    Copies of a stock's bars are valid only on the date at the venue on which they were made,
    because the stock may have been split since then.
    """
    instrument = query.instrument
    if instrument.asset_class != "stock":
        return now_ms + TTL_MS
    today = day_span(instrument, session_date(instrument, now_ms))
    created = [0 if row.created_at is None else to_ms(row.created_at) for row in rows]
    return min(today.end, now_ms + TTL_MS) if min(created) >= today.start else 0


def copied_frame(query: BarsQuery, rows: Sequence[PriceRow], now_ms: int) -> pl.DataFrame | None:
    """Return copied bars as a :func:`.prices_frame`; None unless every expected bar exists.

    Raises:
        QualityError, ResponseFormatError: The rows are not bars of this range.
    """
    stamps = np.array([to_ms(row.timestamp) for row in rows], dtype=np.int64)
    expected = BarGrid(calendar_for(query.instrument), query.timeframe).opens(query.span)
    if not len(stamps) or len(np.setdiff1d(expected, stamps)):
        return None
    columns = {name: [getattr(row, name) for row in rows] for name in rows[0]._fields[1:-1]}
    times = pl.Series(stamps).cast(pl.Datetime("ms"))
    frame = pl.DataFrame({"timestamp": times, **columns})
    bounds = from_ms(query.span.start), from_ms(query.span.end - 1)
    return checked_prices(frame, query.timeframe, bounds, "prices_v2", now_ms)
