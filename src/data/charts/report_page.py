"""The page of a report, assembled from plain values. Pure.

A page begins with its summary. The sections after it are in :mod:`.report_series` for a report on one
series, in :mod:`.report_all` for a report on everything, and in :mod:`.heat_table` for the coverage
by month, which both kinds contain. :mod:`.parts` contains the tables, panels and small drawings
that all of them use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..model.html import Html, element
from ..model.texts import moment
from .html import chart_script, figure, foot, paints
from .page import page
from .parts import Values, first_look
from .report_all import detailed_views, incident_list, sections_of_all, sparks_of
from .report_series import route_sections, series_sections


class Drawing(NamedTuple):
    """The chart of a series.

    Attributes:
        picture: Chart as SVG.
        data: Values from which the page's script draws the chart.
    """

    picture: Html
    data: dict[str, Any]


def page_of(
    data: dict[str, Any],
    drawings: Sequence[Drawing | None],
    file: tuple[str, str] = ("report", ".html"),
) -> str:
    """Return the HTML page of a report.

    Args:
        data: Values of a :class:`~.report.StoredReport`, or of one of its pages.
        drawings: Chart of each series; not used for a report on everything.
        file: Name and extension of the report's file, used for links to its other pages.
    """
    values = Values(data)
    if data["subject"]:
        return _page_of_series(values, drawings)
    return _page_of_all(values, file)


def _page_of_series(values: Values, drawings: Sequence[Drawing | None]) -> str:
    """Return the page for one symbol and timeframe: a part for each lane, then the vendors queried."""
    ids = [f"chart-data-{index}" if drawn else "" for index, drawn in enumerate(drawings)]
    sections: list[Html] = []
    for index, drawn in enumerate(drawings):
        chart = drawn and figure(drawn.picture, ids[index], f"-{index}" if index else "")
        sections += series_sections(values.of("series", index), chart or Html())
    bars = {name: drawn.data for name, drawn in zip(ids, drawings, strict=True) if drawn}
    subject = values.show("subject")
    ends = [*incident_list(values), *route_sections(values.of("sources")), foot()]
    return page(
        _window_title(values.data["subject"]),
        element("main", *_head(values, subject), *sections, *ends),
        style=paints(),
        script=chart_script(),
        data=values.data,
        parts=bars,
    )


def _page_of_all(values: Values, file: tuple[str, str]) -> str:
    """Return the page for everything stored: one list, and a hidden view of each series."""
    head, sparks = _head(values, "All that is stored"), sparks_of(values)
    shown = element("div", *head, *sections_of_all(values, sparks, file), class_="list")
    return page(
        _window_title("everything that is stored"),
        element("main", shown, *detailed_views(values, sparks), foot()),
        style=paints(),
        script=chart_script("report.js"),
        data=values.data,
    )


def _head(values: Values, heading: str) -> list[Html]:
    """Return the heading, the line on the report's origin, and the summary."""
    origin = element(
        "p",
        "made ",
        values.show("made", as_text=moment),
        " UTC by onetape ",
        values.show("onetape"),
        "; no vendor was queried",
        class_="faint",
    )
    return [element("h1", heading), origin, first_look(values.of("look"))]


def _window_title(subject: str) -> str:
    return f"{subject} · report"
