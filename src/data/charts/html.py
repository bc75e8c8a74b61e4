"""A chart as one HTML file that opens from disk: zoom, pan, ranges, values at the pointer. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..model.html import Html, element, table
from ..model.timeframe import Timeframe
from .chart import Axis, Chart, Counts, Floats, Ints, Series
from .files import packaged
from .layout import (
    PAINTS,
    ChartLayout,
    DrawnColumns,
    column_texts,
    layout_of,
    slots_each,
    thinned,
)
from .page import DATA_ID, page
from .svg import svg_drawn

_WIDTH, _HEIGHT = 1100, 620
_MOST_ROWS = 200
# Maximum number of bars that are embedded in a page; if there are more, neighbours are merged.
MOST_COLUMNS = 20_000
_ROUND = (1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1440)
# Significant digits of embedded numbers: of volumes, and of others, of which the largest price has at
# most 15, so that the script can compute with whole numbers.
_VOLUME_DIGITS, _DIGITS, _MOST_DIGITS = 12, 9, 15
# Largest value that the page's library can draw, in either direction.
_LARGEST = 9e13
_SITE = "https://www.tradingview.com/"


def html_of(chart: Chart) -> str:
    """Return an HTML page with a chart, the values at the pointer, and tables of all marks.

    The page loads nothing. If its script is disabled, or when printed, it shows the same picture as
    SVG and PNG.
    """
    data = page_data(chart)
    each = f"one candle = {data['candle']}" if data["candle"] else ""
    body = element(
        "main",
        element("h1", chart.title),
        element("p", " · ".join(filter(None, (chart.about, each))), class_="faint"),
        figure(svg_drawn(chart, layout_of(chart, _WIDTH, _HEIGHT)), DATA_ID),
        *_tables(chart, Counts(**data["counts"])),
        foot(),
    )
    return page(chart.title, body, style=paints(), script=chart_script(), data=data)


def chart_script(*others: str) -> str:
    """Return the script that draws the charts of a page, followed by other packaged scripts."""
    return "".join(map(packaged, ("lightweight-charts.js", "chart.js", *others)))


def figure(picture: Html, data_id: str, suffix: str = "") -> Html:
    """Return the element in which the script draws a chart, with a picture for pages without script.

    Args:
        picture: Picture shown if scripts are disabled, or when the page is printed.
        data_id: ID of the element that contains the values from :func:`page_data`.
        suffix: Text after ids, to keep them unique on a page with several charts.
    """
    return element(
        "div",
        *chart_elements(suffix),
        element("div", picture, class_="picture"),
        class_="figure",
        data_chart=data_id,
    )


def chart_elements(suffix: str | None = None) -> list[Html]:
    """Return the elements that the script fills: buttons, values at the pointer, and chart.

    Args:
        suffix: Text after their ids; None for elements without an id.
    """
    ids = {
        name: None if suffix is None else name + suffix for name in ("ranges", "readout", "chart")
    }
    label = "Chart: arrow keys move along the bars, plus and minus zoom"
    plot = {"class_": "plot", "tabindex": "0", "role": "application", "aria_label": label}
    return [
        element("div", id=ids["ranges"], class_="ranges", hidden=True),
        element("p", id=ids["readout"], class_="readout faint", aria_live="polite"),
        element("div", id=ids["chart"], **plot),
    ]


def foot() -> Html:
    """Return the footer of a chart page, which credits the charting script.

    The linked address is not loaded.
    """
    link = element("a", "TradingView Lightweight Charts™", href=_SITE, rel="noreferrer")
    return element("footer", "Charts: ", link, class_="faint")


def paints() -> str:
    """Return the colours of a chart as CSS variables, with dark-screen colours last."""

    def rules(index: int) -> str:
        """Return the CSS rules for one colour scheme: 0 for light, 1 for dark."""
        return "".join(f"--p-{name}:{pair[index]};" for name, pair in PAINTS.items())

    return (
        f":root{{{rules(0)}}}@media screen and (prefers-color-scheme:dark){{:root{{{rules(1)}}}}}"
    )


def page_data(chart: Chart) -> dict[str, Any]:
    """Return the data of a page (times, columns, gaps, marks), as ``docs/charts.md`` explains.

    A *column* is a bar, or several neighbouring bars if there are more than 20,000 slots. To keep a
    year of minute bars small, prices are integers in units of the last decimal place
    (``decimals``), and each is stored as the difference from the previous one.
    """
    axis = chart.axis
    each = _slots_each(len(axis))
    starts = np.arange(0, len(axis), each)
    seconds = _seconds(axis, starts)
    ends = np.minimum(starts + each, len(axis)) - 1
    series = [_series(one, chart, each) for one in chart.series]
    counts = [_counts(one, data) for one, data in zip(chart.series, series, strict=True)]
    largest = max(
        (float(np.abs(series.values[:4]).max()) for series in chart.series if len(series)),
        default=0,
    )
    sessions = np.flatnonzero(np.diff(seconds // 86_400)) + 1
    return {
        "title": chart.title,
        "about": chart.about,
        "timeframe": chart.timeframe,
        "zone": axis.zone,
        "is_daily": axis.is_daily,
        "is_live": any(map(len, chart.series)) and largest < _LARGEST,
        "counts": sum(counts, Counts(0, 0, 0, 0))._asdict(),
        "each": each,
        "candle": _candle(chart.timeframe, each),
        "time": _run_lengths(np.diff(seconds, prepend=0)),
        "last": _run_lengths(_seconds(axis, ends) - seconds) if each > 1 else None,
        "sessions": [] if axis.is_daily else sessions.tolist(),
        "series": series,
        "lines": [
            {"name": line.name, "values": _last(line.values, starts)} for line in chart.lines
        ],
        "ribbon": _ribbon(chart, each),
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


def picture_data(chart: Chart, layout: ChartLayout) -> dict[str, Any]:
    """Return a picture's content as a dict for JSON: lists of numbers, with None for NaN.

    ``times`` contains the time of each column of the picture, as text. In a series, ``place``
    contains the column of each value. If there are several series, prices are rebased to 100 at the
    first common bar.
    """
    count = round(layout.plot.width / layout.pitch)
    return {
        "title": chart.title,
        "about": chart.about,
        "timeframe": chart.timeframe,
        "zone": chart.axis.zone,
        "counts": layout.counts._asdict(),
        "times": column_texts(chart.axis, count),
        "series": [_plain_series(series, chart, count) for series in chart.series],
        "gaps": [
            {"start": chart.axis.text(gap.first), "end": chart.axis.text(gap.end - 1)}
            | {"reason": gap.text, "symbol": gap.symbol}
            for gap in chart.gaps
        ],
        "marks": [
            {"time": chart.axis.text(mark.slot), "kind": mark.type, "text": mark.text}
            for mark in chart.marks
        ],
        "notes": list(chart.notes),
    }


def _plain_series(series: Series, chart: Chart, count: int) -> dict[str, Any]:
    columns = thinned(series, len(chart.axis), count)
    shared: dict[str, Any] = {
        "symbol": series.symbol,
        "given": series.given,
        "refused": dict(series.refused),
        "unordered": series.unordered,
        "place": columns.positions.tolist(),
    }
    if chart.is_indexed:
        return shared | {"close": _number_list(columns.values[3] * series.factor, 12)}
    names = ("open", "high", "low", "close", "volume")
    values = {name: _number_list(row, 12) for name, row in zip(names, columns.values, strict=True)}
    state = ["may still change" if pale else "" for pale in columns.pale.tolist()]
    return shared | values | {"vendor": _vendor_names(series, columns), "state": state}


def _slots_each(slots: int) -> int:
    """Return the number of slots in each column: 1 if there are few, otherwise a round number."""
    least = slots_each(slots, MOST_COLUMNS)
    return next((number for number in _ROUND if number >= least), least)


def _candle(timeframe: str, each: int) -> str:
    """Return the total time that a column's bars span, as text; empty for a single bar."""
    if each == 1:
        return ""
    length = Timeframe.parse(timeframe) if timeframe else None
    if length is None or not length.is_intraday:
        return f"{each:,} bars"
    minutes = length.longest_ms * each // 60_000
    return f"{minutes // 60:,} h" if minutes >= 60 and not minutes % 60 else f"{minutes:,} min"


def _seconds(axis: Axis, slots: Ints) -> Ints:
    """Return the local wall-clock time of each slot in seconds, as if it were UTC.

    The times are strictly ascending. In the hour that occurs twice when clocks are put back, each
    repeated time becomes one second later than the one before.
    """
    local = axis.walls(slots) // 1000
    order = np.arange(len(local))
    return np.asarray(np.maximum.accumulate(local - order) + order, dtype=np.int64)


def _series(series: Series, chart: Chart, each: int) -> dict[str, Any]:
    columns = thinned(series, len(chart.axis), -(-len(chart.axis) // each) or 1)
    prices = columns.values[:4] * series.factor
    decimals = _decimals(prices)
    opens, highs, lows, closes = _integers(prices, decimals)
    shared: dict[str, Any] = {
        "symbol": series.symbol,
        "given": series.given,
        "refused": dict(series.refused),
        "unordered": series.unordered,
        "decimals": decimals,
        "filled": _runs(columns.positions),
        "breaks": _breaks(series, columns),
    }
    if chart.is_indexed:
        return shared | {"close": _differences(closes), "pale": [], "vendors": []}
    before = np.concatenate([[0], closes[:-1]]).astype(closes.dtype) if len(closes) else closes
    return shared | {
        "open": (opens - before).tolist(),
        "high": (highs - np.maximum(opens, closes)).tolist(),
        "low": (np.minimum(opens, closes) - lows).tolist(),
        "close": (closes - opens).tolist(),
        "volume": _number_list(columns.values[4], _VOLUME_DIGITS),
        "bars": _run_lengths(columns.with_volume),
        "pale": _runs(columns.positions[columns.pale]),
        "vendors": _vendors(series, columns),
    }


def _counts(series: Series, data: dict[str, Any]) -> Counts:
    drawn, refused = len(data["close"]), sum(series.refused.values())
    return Counts(series.given, drawn, series.given - refused - drawn, refused)


def _decimals(prices: Floats) -> int:
    """Return the number of decimals to keep: as many as the prices have, up to a limit.

    The limit is nine digits of the smallest price, but no more than 15 digits of the largest.
    """
    sizes = np.abs(prices[prices != 0])
    if not sizes.size or not float(sizes.max()) < _LARGEST:
        return 0
    smallest, largest = (math.floor(math.log10(float(size))) for size in (sizes.min(), sizes.max()))
    most = max(0, min(18, _DIGITS - 1 - smallest, _MOST_DIGITS - 1 - largest))
    # No more than the prices have.
    whole = np.round(prices, most)
    return next(
        (decimals for decimals in range(most) if np.array_equal(np.round(prices, decimals), whole)),
        most,
    )


def _integers(prices: Floats, decimals: int) -> Ints:
    if prices.size and not float(np.abs(prices).max()) < _LARGEST:
        return np.zeros(prices.shape, np.int64)  # only the picture draws them, not the script
    return np.round(prices * 10.0**decimals).astype(np.int64)


def _differences(values: Ints) -> list[int]:
    steps: list[int] = np.diff(values, prepend=0).tolist()
    return steps


def _run_lengths(values: Ints) -> list[list[int]]:
    """Return run-length encoded values: (value, repetitions) pairs."""
    if not len(values):
        return []
    starts = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1])
    counts = np.diff(np.append(starts, len(values)))
    pairs: list[list[int]] = np.stack([values[starts], counts], 1).tolist()
    return pairs


def _runs(positions: Ints) -> list[list[int]]:
    """Return ascending integers as runs ``[first, end)`` of consecutive integers."""
    if not len(positions):
        return []
    starts = np.concatenate([[0], np.flatnonzero(np.diff(positions) > 1) + 1])
    ends = positions[np.append(starts[1:], len(positions)) - 1] + 1
    runs: list[list[int]] = np.stack([positions[starts], ends], 1).tolist()
    return runs


def _breaks(series: Series, columns: DrawnColumns) -> list[int]:
    """Return the columns after which the line is interrupted, as in the picture."""
    is_last = np.diff(series.segments[columns.last]) != 0
    breaks: list[int] = columns.positions[:-1][is_last].tolist()
    return breaks


def _vendors(series: Series, columns: DrawnColumns) -> list[list[Any]]:
    """Return the vendors of each column's bars as runs ``[first, end, names)``."""
    names = _vendor_names(series, columns)
    runs: list[list[Any]] = []
    for column, name in zip(columns.positions.tolist(), names, strict=True):
        if runs and runs[-1][1] == column and runs[-1][2] == name:
            runs[-1][1] = column + 1
        elif name:
            runs.append([column, column + 1, name])
    return runs


def _vendor_names(series: Series, columns: DrawnColumns) -> list[str]:
    names = [*series.vendor_names, ""]  # the last one is for bars without a vendor
    # Most columns have one vendor: both ends are then in the same run.
    runs = np.concatenate([[0], np.cumsum(np.diff(series.vendors) != 0)])[: len(series)]
    return [
        names[series.vendors[a]]
        if runs[a] == runs[b]
        else ", ".join(names[code] for code in np.unique(series.vendors[a : b + 1]) if names[code])
        for a, b in zip(columns.first.tolist(), columns.last.tolist(), strict=True)
    ]


def _ribbon(chart: Chart, each: int) -> list[list[float]]:
    """Return each run of bars from one vendor as ``[first, end, hue]``; empty for a single vendor.

    The unit of ``first`` and ``end`` is a column of the chart.
    """
    names = {name: index for index, name in enumerate(chart.series[0].vendor_names)}
    if len({run.text for run in chart.ribbon}) < 2:
        return []
    return [[run.first / each, run.end / each, names[run.text]] for run in chart.ribbon]


def _last(values: Floats, starts: Ints) -> list[float | None]:
    """Return the last finite value of each column, or None if all are missing."""
    if not len(values):
        return []
    index = np.where(np.isfinite(values), np.arange(len(values)), -1)
    last = np.maximum.reduceat(index, starts)
    return _number_list(np.where(last >= 0, values[last], np.nan))


def _number_list(values: Floats, digits: int = _DIGITS) -> list[float | None]:
    if _are_short(values, digits):
        numbers: list[float | None] = values.tolist()
        return numbers
    return [
        float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values.tolist()
    ]


def _are_short(values: Floats, digits: int) -> bool:
    """Return whether all values are finite and have no more than so many significant digits."""
    largest = float(np.abs(values).max(initial=0.0))
    if not largest < 10.0**digits:
        return False
    decimals = digits - len(str(int(largest)))
    return bool((np.round(values, decimals) == values).all())


def _tables(chart: Chart, counts: Counts) -> list[Any]:
    axis = chart.axis
    gaps = [
        (gap.symbol, axis.text(gap.first), axis.text(gap.end - 1), gap.text)
        for gap in chart.gaps[:_MOST_ROWS]
    ]
    marks = [(axis.text(m.slot), m.type, m.text) for m in chart.marks[:_MOST_ROWS]]
    spans = [
        (axis.text(run.first), axis.text(run.end - 1), run.text)
        for run in chart.ribbon[:_MOST_ROWS]
    ]
    vendors = {run.text for run in chart.ribbon}
    notes = list(chart.notes)
    if len(vendors) == 1 and (chart.series[0].vendors >= 0).all():
        notes += [f"All bars are from {name}." for name in vendors]
    tables: list[tuple[str, Sequence[Sequence[str]], Sequence[str], int]] = [
        ("Gaps", gaps, ("symbol", "from", "to", "why no bar is there"), len(chart.gaps)),
        ("Marks", marks, ("time", "what", "which"), len(chart.marks)),
        ("Vendors", spans if len(vendors) > 1 else [], ("from", "to", "vendor"), len(chart.ribbon)),
    ]
    shown: list[Any] = [element("p", note) for note in notes]
    for name, rows, columns, total in tables:
        if rows:
            more = f", the first {len(rows)} of {total:,}" if total > len(rows) else ""
            shown += [
                element("h2", name + more),
                element("div", table(rows, columns), class_="wide"),
            ]
    return [*shown, element("p", str(counts), id="counts", class_="faint")]
