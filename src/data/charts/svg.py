"""A chart as an inline SVG without a script, with colors for light and dark screens. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from ..model.html import Html, element, joined
from .chart import Chart, Floats
from .layout import PAINTS, ChartLayout, Label, Lines, Rects, Shape, layout_of

# Colours that a chart takes from the page that it is embedded in.
_OF_PAGE = ("paper", "ink", "faint")
_CLASS = "bars-chart"
_DESCRIBED = 20
_NO_LETTERS = re.compile("[\ufffe\uffff]")


def svg_of(chart: Chart, width: int = 800, height: int = 500) -> Html:
    """Return a chart as an SVG element, for use in a page or as a file.

    The element has colors for light and dark screens and shrinks with the page. It loads nothing
    and contains no script.

    Args:
        chart: Chart to draw.
        width, height: Size in pixels, from 200 to 8,000.

    Raises:
        QueryError: The size is invalid.
    """
    return svg_drawn(chart, layout_of(chart, width, height))


def svg_drawn(chart: Chart, layout: ChartLayout) -> Html:
    """Return the SVG picture of a chart that is already laid out."""
    texts = (mark.label for mark in chart.marks[:_DESCRIBED])
    gaps = (f"no bars: {gap.text}" for gap in chart.gaps[:_DESCRIBED])
    description = (chart.about, str(layout.counts), *texts, *gaps, *chart.notes)
    svg = element(
        "svg",
        element("title", chart.title),
        element("desc", ". ".join(filter(None, description))),
        element("style", Html(_style())),
        *map(_shape, layout.shapes),
        xmlns=_NAMESPACE,
        viewBox=f"0 0 {layout.width} {layout.height}",
        width=layout.width,
        height=layout.height,
        role="img",
        class_=_CLASS,
    )
    # XML must not contain these characters, and a browser reads an SVG file as XML.
    return Html(_NO_LETTERS.sub("\ufffd", svg))


# The name of a namespace, which is never loaded.
_NAMESPACE = "http://www.w3.org/2000/svg"


def _style() -> str:
    """Return the colors as CSS rules, with dark-screen colors last."""

    def colors(index: int) -> str:
        """Return the CSS rules for one color scheme: 0 for light, 1 for dark."""
        return ";".join(
            f"--c-{name}:" + (f"var(--{name},{pair[index]})" if name in _OF_PAGE else pair[index])
            for name, pair in PAINTS.items()
        )

    paints = "".join(
        f".{_CLASS} .f-{name}{{fill:var(--c-{name})}}.{_CLASS} .s-{name}{{stroke:var(--c-{name})}}"
        for name in PAINTS
    )
    return (
        f".{_CLASS}{{{colors(0)};max-width:100%;height:auto;font-family:system-ui,sans-serif}}"
        f"@media screen and (prefers-color-scheme:dark){{.{_CLASS}{{{colors(1)}}}}}"
        f".{_CLASS} path{{fill:none}}{paints}"
        f".{_CLASS} text{{dominant-baseline:central;font-variant-numeric:tabular-nums}}"
    )


def _shape(shape: Shape) -> Html:
    if isinstance(shape, Rects):
        return element("path", class_=f"f-{shape.paint}", d=_rectangles(shape.corners))
    if isinstance(shape, Lines):
        return element(
            "path",
            *([element("title", shape.name)] if shape.name else []),
            class_=f"s-{shape.paint}",
            stroke_width=shape.width,
            stroke_linejoin="round",
            d=joined(Html(_polyline(points)) for points in shape.points),
        )
    return _text(shape)


def _text(label: Label) -> Html:
    return element(
        "text",
        label.text,
        x=_number(label.x),
        y=_number(label.y),
        font_size=_number(label.size),
        font_weight="600" if label.is_bold else None,
        text_anchor=None if label.anchor == "start" else label.anchor,
        class_=f"f-{label.paint}",
    )


def _rectangles(corners: Floats) -> Html:
    left, top, right, bottom = np.round(corners, 1).T
    boxes = zip(
        left.tolist(), top.tolist(), (right - left).tolist(), (bottom - top).tolist(), strict=True
    )
    return Html(
        "".join(
            f"M{_number(x)} {_number(y)}h{_number(width)}v{_number(height)}h{_number(-width)}z"
            for x, y, width, height in boxes
        )
    )


def _polyline(points: Floats) -> str:
    pairs: Iterable[tuple[float, float]] = np.round(points, 1).tolist()
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in pairs)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
