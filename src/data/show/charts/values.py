"""A chart as plain values: the data of its page, and what ``onetape plot --json`` prints. Pure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core.model.time.timeframe import Timeframe
from .chart import Axis, Chart, Floats, Ints, Series

# Maximum number of columns, for a week of minutes; if there are more bars, neighbours are merged.
MOST_COLUMNS = 11_000
# Numbers of slots in a column that are round for most timeframes.
_ROUND = (1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1440)
_DIGITS = 10
# Largest value that the page's library can draw, in either direction.
_LARGEST = 9e13


def chart_values(chart: Chart) -> dict[str, Any]:
    """Return a chart's content as values that JSON can represent, as ``docs/charts.md`` explains.

    A *column* is a bar, or several neighbouring bars if there are more than 11,000 slots.
    """
    axis = chart.axis
    least = axis.each(MOST_COLUMNS)
    each = next((number for number in _ROUND if number >= least), least)
    starts = np.arange(0, len(axis), each, dtype=np.int64)
    seconds = _seconds(axis, starts)
    ends = _seconds(axis, np.minimum(starts + each, len(axis)) - 1)
    prices = [np.abs(series.values[:4]).max() for series in chart.series if len(series)]
    sessions = np.flatnonzero(np.diff(seconds // 86_400)) + 1
    return {
        "title": chart.title,
        "about": chart.about,
        "timeframe": chart.timeframe,
        "zone": axis.zone,
        "is_daily": axis.is_daily,
        "is_live": bool(prices and max(prices) < _LARGEST),
        "counts": chart.counts(each)._asdict(),
        "candle": _length(chart.timeframe, each) if each > 1 else "",
        "places": chart.places,
        "extent": chart.extent if chart.is_indexed else None,
        "time": seconds.tolist(),
        "last": (ends - seconds).tolist() if each > 1 else None,
        "sessions": [] if axis.is_daily else sessions.tolist(),
        "series": [_series_values(one, chart, each, len(starts)) for one in chart.series],
        "lines": [
            {"name": line.name, "values": _last_values(line.values, starts)} for line in chart.lines
        ],
        "gaps": [
            {"start": axis.text(gap.first), "end": axis.text(gap.end - 1), "reason": gap.text}
            | {"symbol": gap.symbol, "place": [gap.first / each, gap.end / each]}
            for gap in chart.gaps
        ],
        "marks": [
            {"time": axis.text(mark.slot), "kind": mark.type, "text": mark.text}
            | {"at": mark.slot // each}
            for mark in chart.marks
        ],
        "notes": list(chart.notes),
    }


def _series_values(series: Series, chart: Chart, each: int, count: int) -> dict[str, Any]:
    """Return a series with one entry for each column; None for a column without a bar."""
    columns = series.merged(each)
    breaks = columns.positions[:-1][np.diff(series.segments[columns.last]) != 0]

    def filled(values: Floats) -> list[float | None]:
        """Return the values at the positions of their columns."""
        row = np.full(count, np.nan)
        row[columns.positions] = values
        return _numbers(row)

    shared: dict[str, Any] = {
        "symbol": series.symbol,
        "since": series.since,
        "until": series.until,
        "given": series.given,
        "refused": dict(series.refused),
        "unordered": series.unordered,
        "breaks": breaks.tolist(),
        "outside": columns.positions[np.isin(columns.last, chart.outside(series))].tolist(),
        "close": filled(columns.values[3] * series.factor),
    }
    if chart.is_indexed:
        return shared
    names, codes = _vendors(series, columns.first, columns.last)
    vendors, bars = np.full(count, -1, np.int64), np.zeros(count, np.int64)
    vendors[columns.positions], bars[columns.positions] = codes, columns.with_volume
    return {
        **shared,
        **{name: filled(columns.values[row]) for row, name in enumerate(("open", "high", "low"))},
        "volume": filled(columns.values[4]),
        "bars": bars.tolist() if each > 1 else None,
        "pale": columns.positions[columns.pale].tolist(),
        "vendors": names,
        "vendor": vendors.tolist() if names else None,
    }


def _vendors(series: Series, first: Ints, last: Ints) -> tuple[list[str], list[int]]:
    """Return the names of vendors, and for each column the index of its name; -1 if not known.

    A column with bars of several vendors has a name that lists them.
    """
    names, codes = list(series.vendor_names), series.vendors[first].tolist()
    runs = np.cumsum(np.diff(series.vendors, prepend=0) != 0, dtype=np.int64)
    for column in np.flatnonzero(runs[first] != runs[last]).tolist():
        found = np.unique(series.vendors[first[column] : last[column] + 1])
        name = ", ".join(series.vendor_names[code] for code in found if code >= 0)
        names += [name] * (name not in names)
        codes[column] = names.index(name)
    return names, codes


def _seconds(axis: Axis, slots: Ints) -> Ints:
    """Return the local wall-clock time of each slot in seconds, as if it were UTC.

    The times are strictly ascending. In the hour that occurs twice when clocks are put back, each
    repeated time becomes one second later than the one before.
    """
    local = axis.walls(slots) // 1000
    order = np.arange(len(local), dtype=np.int64)
    return np.asarray(np.maximum.accumulate(local - order) + order, dtype=np.int64)


def _length(timeframe: str, each: int) -> str:
    """Return the total time that a column's bars span, as text."""
    length = Timeframe.parse(timeframe) if timeframe else None
    if length is None or not length.is_intraday:
        return f"{each:,} bars"
    minutes = length.longest_ms * each // 60_000
    return f"{minutes // 60:,} h" if minutes >= 60 and not minutes % 60 else f"{minutes:,} min"


def _last_values(values: Floats, starts: Ints) -> list[float | None]:
    """Return the last finite value of each column, or None if all are missing."""
    index = np.where(np.isfinite(values), np.arange(len(values), dtype=np.int64), -1)
    last = np.maximum.reduceat(index, starts) if len(values) else index
    return _numbers(np.where(last >= 0, values[last], np.nan))


def _numbers(values: Floats) -> list[float | None]:
    """Return numbers with ten significant digits; None for NaN."""
    numbers = values.tolist()
    return [float(f"{n:.{_DIGITS}g}") if math.isfinite(n) else None for n in numbers]
