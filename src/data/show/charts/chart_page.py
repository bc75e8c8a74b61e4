"""A chart as one HTML file that opens from disk: zoom, pan, ranges, values at the pointer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.model.words.html import Html
from .chart import Chart, Counts
from .pages import DATA_ID, filled, page, paragraph, records, spark, titled
from .values import chart_values

SCRIPTS = ("lightweight-charts.js", "chart.js")
_MOST_ROWS = 200
# Number of closes in the small drawing for pages without scripts.
_FEW = 250
_GAPS = {"symbol": "symbol", "from": "start", "to": "end", "why no bar is there": "reason"}
_MARKS = {"time": "time", "what": "kind", "which": "text"}
_VENDORS = {"from": "start", "to": "end", "vendor": "vendor"}


def html_of(chart: Chart) -> str:
    """Return an HTML page with a chart, the values at the pointer, and tables of all marks."""
    data, axis = chart_values(chart), chart.axis
    runs = [
        {"start": axis.text(run.first), "end": axis.text(run.end - 1), "vendor": run.text}
        for run in chart.ribbon
    ]
    notes = chart.remarks()
    if not chart.has_ribbon and runs and (chart.series[0].vendors >= 0).all():
        notes.append(f"All bars are from {runs[0]['vendor']}.")
    tables = {"Gaps": (data["gaps"], _GAPS), "Marks": (data["marks"], _MARKS)}
    tables["Vendors"] = (runs if chart.has_ribbon else [], _VENDORS)
    each = f"one candle = {data['candle']}" if data["candle"] else ""
    main = filled(
        "chart",
        title=chart.title,
        about=" · ".join(filter(None, (chart.about, each))),
        figure=chart_figure(data, DATA_ID),
        notes=[paragraph(note) for note in notes],
        tables=[
            titled(name, records(rows[:_MOST_ROWS], columns, len(rows)))
            for name, (rows, columns) in tables.items()
            if rows
        ],
        counts=str(Counts(**data["counts"])),
        credit=filled("credit"),
    )
    return page(chart.title, main, {DATA_ID: data}, scripts=SCRIPTS)


def chart_figure(data: Mapping[str, Any], data_id: str) -> Html:
    """Return the element in which the script draws a chart.

    Args:
        data: Values from :func:`~.values.chart_values`.
        data_id: Id of the element of the page that contains them.
    """
    step = -(-len(data["time"]) // _FEW) or 1
    # What a page without scripts shows in place of the chart.
    drawing = spark([one["close"][::step] for one in data["series"]])
    return filled("figure", data=data_id, spark=drawing)
