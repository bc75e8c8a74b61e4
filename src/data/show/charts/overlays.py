"""User-supplied drawings over a chart's bars: lines of values, and marks such as trades. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from ...core.calendars.calendar import calendar_for
from ...core.calendars.localtime import offset_ms
from ...core.model.display.texts import counted, plain_number
from ...core.model.time.instant import DAY_MS
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.printable import printable
from ...errors import ConfigError, QueryError
from .chart import Axis, Chart, Ints, Mark, Overlay
from .reading import LARGEST, with_dates

if TYPE_CHECKING:
    import pandas as pd

    from ...core.model.identity.instrument import Instrument

_SIDES = {"buy": "buy", "long": "buy", "b": "buy", "sell": "sell", "short": "sell", "s": "sell"}
_TIMES, _COLUMNS = ("time", "timestamp", "date", "datetime"), ("side", "price", "text")


def overlaid(
    chart: Chart,
    lines: Mapping[str, pd.Series | int] | None = None,
    marks: pd.DataFrame | Iterable[Mapping[str, Any]] | None = None,
    instrument: Instrument | None = None,
) -> Chart:
    """Return a chart with user-supplied lines and marks over its bars.

    Args:
        chart: Chart of one symbol.
        lines: Maps the name of each line to its values, a Series with a time index, or to a number
            of bars, of whose closes the line is the moving average. A value is drawn on the bar
            that contains its time; the line has a break at a bar without a value.
        marks: Trades or notes: a DataFrame, or mappings, with ``time`` (or a time index) and
            optionally ``side`` (``buy`` or ``sell``), ``price`` and ``text``.
        instrument: The chart's instrument, whose sessions end the last bar of each day; None if it
            is unknown.

    Raises:
        QueryError: The chart has several symbols, a line is not a Series of numbers with a time
            index, or a mark lacks a time, or has an unknown side or a price that is not a number.
    """
    if not lines and marks is None:
        return chart
    if chart.is_indexed:
        raise QueryError(
            "lines and marks can only be drawn on a chart of one symbol",
            hint="pass bars of one symbol",
        )
    drawn, notes = [], []
    for name, values in (lines or {}).items():
        line, outside = _line(chart, printable(str(name)), values, instrument)
        drawn.append(line)
        if outside:
            notes.append(f"not drawn: {counted(outside, 'value')} of {line.name} outside the bars")
    added, outside = _marks(chart, [] if marks is None else marks, instrument)
    if outside:
        notes.append(f"not drawn: {counted(outside, 'mark')} outside the bars")
    both = tuple(sorted((*chart.marks, *added)))
    return replace(chart, lines=tuple(drawn), marks=both, notes=(*chart.notes, *notes))


def _line(
    chart: Chart, name: str, values: Any, instrument: Instrument | None
) -> tuple[Overlay, int]:
    """Return one line, and count its values whose time is not within any bar."""
    row = np.full(len(chart.axis), np.nan)
    what = f"line {name[:40]!r}"
    if isinstance(values, int) and not isinstance(values, bool) and values > 0:
        closes = chart.series[0].values[3]
        if len(closes) >= values:
            means = np.lib.stride_tricks.sliding_window_view(closes, values).mean(axis=1)
            row[chart.series[0].slots[values - 1 :]] = means
        return Overlay(name, row), 0
    if (
        not hasattr(values, "index")
        or not hasattr(values, "to_numpy")
        or hasattr(values, "columns")
    ):
        raise QueryError(
            f"{what} is a {type(values).__name__}, not a Series",
            hint="use a pandas Series of numbers with a time index, or a number of bars to average",
        )
    try:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as exc:
        raise QueryError(
            f"{what} has values that are not numbers", hint="use a Series of numbers"
        ) from exc
    slots = _slots(chart, _stamps(chart, values.index, what), instrument)
    is_there = np.abs(numbers) < LARGEST  # false for NaN
    is_on = is_there & (slots >= 0)
    row[slots[is_on]] = numbers[is_on]
    return Overlay(name, row), int((is_there & (slots < 0)).sum())


def _marks(chart: Chart, marks: Any, instrument: Instrument | None) -> tuple[list[Mark], int]:
    """Return the marks whose time is within a bar, and count the other marks."""
    import pandas as pd

    if isinstance(marks, pd.Series) or not isinstance(marks, pd.DataFrame | Iterable):
        raise QueryError(
            f"marks must be a DataFrame or a list, not {type(marks).__name__}",
            hint="use a DataFrame, or a list of dicts, with time, side, price and text",
        )
    if not isinstance(marks, pd.DataFrame):
        entries = list(marks)
        if not all(isinstance(entry, Mapping) for entry in entries):
            raise QueryError(
                "every mark must be a mapping", hint="use a dict with time, side, price and text"
            )
        marks = pd.DataFrame([dict(entry) for entry in entries])
    if not len(marks):
        return [], 0
    named = {str(name).lower(): name for name in marks.columns}
    time = next((named[name] for name in _TIMES if name in named), None)
    times = marks.index if time is None else pd.Index(marks[time])
    slots = _slots(chart, _stamps(chart, times, "marks"), instrument)
    given = {
        name: marks[named[name]].tolist() if name in named else [None] * len(marks)
        for name in _COLUMNS
    }
    rows = zip(slots.tolist(), given["side"], given["price"], given["text"], strict=True)
    drawn = [_mark(*row) for row in rows if row[0] >= 0]
    return drawn, int((slots < 0).sum())


def _mark(slot: int, side: Any, price: Any, text: Any) -> Mark:
    import pandas as pd

    blank = pd.isna(side) or str(side).strip() == ""
    mark_type = "note" if blank else _SIDES.get(str(side).strip().lower(), "")
    if not mark_type:
        raise QueryError(
            f"invalid side for a mark: {str(side)[:40]!r}", hint="use buy or sell, or omit it"
        )
    words = "" if pd.isna(text) else str(text).strip()
    if not pd.isna(price):
        try:
            words = f"{words} at {plain_number(float(price))}".strip()
        except (TypeError, ValueError) as exc:
            raise QueryError(
                f"invalid price for a mark: {str(price)[:40]!r}", hint="use a number"
            ) from exc
    return Mark(slot, mark_type, printable(words))


def _stamps(chart: Chart, index: Any, what: str) -> Ints:
    """Convert times to UTC milliseconds; naive times are taken as UTC.

    On a chart of daily or longer bars, midnights in a time zone are dates, as for the bars.
    """
    import pandas as pd

    try:
        # Numbers would be read as nanoseconds since 1970.
        times = None if pd.api.types.is_numeric_dtype(index) else pd.DatetimeIndex(index)
    except (TypeError, ValueError) as exc:
        raise QueryError(
            f"{what}: the times cannot be parsed", hint="use dates or timestamps"
        ) from exc
    if times is None or times.hasnans:
        raise QueryError(f"{what}: the times cannot be parsed", hint="use dates or timestamps")
    if chart.axis.is_daily:
        times = with_dates(times)
    if times.tz is not None:
        times = times.tz_convert("UTC").tz_localize(None)
    stamps: Ints = times.as_unit("ms").asi8
    return stamps


def _slots(chart: Chart, stamps: Ints, instrument: Instrument | None) -> Ints:
    """Return the slot of the bar that contains each time; -1 if no bar does."""
    axis = chart.axis
    if not len(axis):
        return np.full(len(stamps), -1, np.int64)
    if axis.is_daily:
        stamps = np.array([_session(axis, int(stamp)) for stamp in stamps], np.int64)
    slots = axis.stamps.searchsorted(stamps, side="right") - 1
    is_inside = stamps < _ends(chart, instrument)[np.maximum(slots, 0)]
    # A slot without a bar is a gap.
    is_inside &= np.isin(slots, chart.series[0].slots)
    return np.where(is_inside, slots, -1).astype(np.int64)


def _ends(chart: Chart, instrument: Instrument | None) -> Ints:
    """Return the time at which the bar of each slot ends."""
    stamps = chart.axis.stamps
    if not chart.timeframe:
        shortest = int(np.diff(stamps).min()) if len(stamps) > 1 else 1
        # Months are of different lengths, and February is the shortest.
        return stamps + (shortest + 3 * DAY_MS if shortest >= 28 * DAY_MS else shortest)
    timeframe = Timeframe.parse(chart.timeframe)
    if instrument is not None and timeframe.is_intraday:
        with suppress(ConfigError):  # the exchange has no calendar
            return calendar_for(instrument).closes(timeframe, stamps)
    return stamps + timeframe.longest_ms


def _session(axis: Axis, stamp: int) -> int:
    """Return the venue's date at a given time, as a timestamp.

    A stamp at midnight UTC is already a date and is returned unchanged.
    """
    if stamp % DAY_MS == 0:
        return stamp
    local = stamp + offset_ms(ZoneInfo(axis.zone), stamp)
    return local - local % DAY_MS
