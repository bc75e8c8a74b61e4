"""A chart as one HTML file that opens from disk, with the values of the column under the pointer. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..model.html import element, table
from .chart import Chart, Counts, Floats, Series
from .layout import ChartLayout, column_texts, layout_of, thinned
from .page import DATA_ID, page
from .svg import svg_drawn

_WIDTH, _HEIGHT = 1100, 620
_MOST_ROWS = 200
_READOUT = "readout"
_STYLE = """
main { max-width: 1100px; } #readout { min-height: 1.5em; font-variant-numeric: tabular-nums; }
.cross { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 3 3; }
.wide svg { min-width: 640px; } svg:focus { outline: 2px solid var(--accent); }
"""
_SCRIPT = f"""
(() => {{
  const data = JSON.parse(document.getElementById("{DATA_ID}").textContent);
  const svg = document.querySelector("svg"), out = document.getElementById("{_READOUT}");
  const cross = document.createElementNS(svg.namespaceURI, "line");
  cross.setAttribute("class", "cross"); cross.setAttribute("y1", data.top);
  cross.setAttribute("y2", data.bottom); cross.style.display = "none"; svg.append(cross);
  const names = ["open", "high", "low", "close", "volume", "vendor", "state"];
  const filled = [...new Set(data.series.flatMap(s => s.place))].sort((a, b) => a - b);
  let at = -1;
  const show = index => {{
    if (!filled.length) return;
    at = Math.max(0, Math.min(filled.length - 1, index));
    const place = filled[at], x = data.left + (place + 0.5) * data.pitch;
    cross.setAttribute("x1", x); cross.setAttribute("x2", x); cross.style.display = "";
    const parts = [data.times[place]];
    for (const s of data.series) {{
      const i = s.place.indexOf(place);
      if (i < 0) continue;
      if (data.series.length > 1) parts.push(`${{s.symbol}} ${{s.close[i].toFixed(2)}}`);
      else for (const name of names)
        if (s[name] && s[name][i] !== null && s[name][i] !== "") parts.push(`${{name}} ${{s[name][i]}}`);
    }}
    out.textContent = parts.join("  ");
  }};
  svg.addEventListener("pointermove", event => {{
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * data.width / box.width;
    const place = Math.floor((x - data.left) / data.pitch);
    let best = 0;
    filled.forEach((p, i) => {{ if (Math.abs(p - place) < Math.abs(filled[best] - place)) best = i; }});
    show(best);
  }});
  svg.setAttribute("tabindex", "0");
  svg.addEventListener("keydown", event => {{
    const step = {{ArrowLeft: -1, ArrowRight: 1}}[event.key];
    if (step) {{ show(at + step); event.preventDefault(); }}
  }});
}})();
"""


def html_of(chart: Chart) -> str:
    """Return a chart as a page: the picture, what lies under the pointer, and all it marks as tables.

    The page loads nothing. Its data, as JSON, are the values that are drawn.
    """
    layout = layout_of(chart, _WIDTH, _HEIGHT)
    body = element(
        "main",
        element("div", svg_drawn(chart, layout), class_="wide"),
        element(
            "p",
            "Point at a bar, or use the arrow keys, for its values.",
            id=_READOUT,
            class_="faint",
            aria_live="polite",
        ),
        *_tables(chart, layout.counts),
    )
    return page(chart.title, body, style=_STYLE, script=_SCRIPT, data=chart_data(chart, layout))


def chart_data(chart: Chart, layout: ChartLayout) -> dict[str, Any]:
    """Return what is drawn as plain values, a list for each column of numbers; null where there is none.

    ``times`` has the text of each column of pixels; ``place`` of a series says which of them a value
    belongs to. Prices of several series are the index.
    """
    count = round(layout.plot.width / layout.pitch)
    return {
        "title": chart.title,
        "about": chart.about,
        "timeframe": chart.timeframe,
        "zone": chart.axis.zone,
        "counts": layout.counts._asdict(),
        "width": layout.width,
        "left": layout.plot.left,
        "top": layout.plot.top,
        "bottom": layout.plot.bottom,
        "pitch": layout.pitch,
        "times": column_texts(chart.axis, count),
        "series": [_series(one, chart, count) for one in chart.series],
        "gaps": [
            {"start": chart.axis.text(gap.first), "end": chart.axis.text(gap.end - 1)}
            | {"reason": gap.text, "symbol": gap.symbol}
            for gap in chart.gaps
        ],
        "marks": [
            {"time": chart.axis.text(mark.slot), "kind": mark.kind, "text": mark.text}
            for mark in chart.marks
        ],
        "notes": list(chart.notes),
    }


def _series(one: Series, chart: Chart, count: int) -> dict[str, Any]:
    columns = thinned(one, len(chart.axis), count)
    plain: dict[str, Any] = {
        "symbol": one.symbol,
        "given": one.given,
        "refused": dict(one.refused),
        "unordered": one.unordered,
        "place": columns.places.tolist(),
    }
    if chart.is_indexed:
        return plain | {"close": _plain(columns.values[3] * one.factor)}
    names = ("open", "high", "low", "close", "volume")
    values = {name: _plain(row) for name, row in zip(names, columns.values, strict=True)}
    state = ["may still change" if pale else "" for pale in columns.pale.tolist()]
    return plain | values | {"vendor": _vendors(one, columns.first, columns.last), "state": state}


def _vendors(one: Series, first: Any, last: Any) -> list[str]:
    """Return the vendors of the bars of each column."""
    names = [*one.vendor_names, ""]  # the last for a bar of none
    # Most columns are of one vendor, which the ends of the run that they lie in tell.
    runs = np.concatenate([[0], np.cumsum(np.diff(one.vendors) != 0)])[: len(one)]
    return [
        names[one.vendors[a]]
        if runs[a] == runs[b]
        else ", ".join(names[code] for code in np.unique(one.vendors[a : b + 1]) if names[code])
        for a, b in zip(first.tolist(), last.tolist(), strict=True)
    ]


def _plain(values: Floats) -> list[float | None]:
    return [_short(value) if math.isfinite(value) else None for value in values.tolist()]


def _short(value: float) -> float:
    """Return a number without digits that arithmetic left behind."""
    return float(f"{value:.12g}")


def _tables(chart: Chart, counts: Counts) -> list[Any]:
    axis = chart.axis
    gaps = [
        (gap.symbol, axis.text(gap.first), axis.text(gap.end - 1), gap.text)
        for gap in chart.gaps[:_MOST_ROWS]
    ]
    marks = [(axis.text(m.slot), m.kind, m.text) for m in chart.marks[:_MOST_ROWS]]
    spans = [
        (axis.text(run.first), axis.text(run.end - 1), run.text)
        for run in chart.ribbon[:_MOST_ROWS]
    ]
    tables: list[tuple[str, Sequence[Sequence[str]], Sequence[str], int]] = [
        ("Gaps", gaps, ("symbol", "from", "to", "why no bar is there"), len(chart.gaps)),
        ("Splits, dividends, doubts", marks, ("time", "what", "which"), len(chart.marks)),
        ("Vendors", spans, ("from", "to", "vendor"), len(chart.ribbon)),
    ]
    shown: list[Any] = [element("p", note) for note in chart.notes]
    for name, rows, columns, total in tables:
        if rows:
            more = f", the first {len(rows)} of {total:,}" if total > len(rows) else ""
            shown += [element("h2", name + more), table(rows, columns)]
    return [*shown, element("p", str(counts), id="counts", class_="faint")]
