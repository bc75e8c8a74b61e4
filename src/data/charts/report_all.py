"""The sections of a report on everything that is stored, in the order of the page. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..model.html import Html, element
from ..model.texts import counted, moment
from .heat_table import heat_shown
from .html import chart_elements
from .parts import (
    Column,
    Values,
    cards,
    compared_facts,
    counts_text,
    more_than,
    name_of,
    names_text,
    problems,
    records,
    spark,
    step_text,
)
from .report_series import GAP_COLUMNS, series_facts


def sparks_of(values: Values) -> list[Html]:
    """Return the small chart of each series; empty for a series with fewer than two bars."""
    return [spark(series.data["line"]["closes"]) for series in values.each("series")]


def sections_of_all(
    values: Values, sparks: Sequence[Html], file: tuple[str, str]
) -> Iterator[Html]:
    """Yield the sections of the list: totals, series, coverage by month, incidents, gaps.

    Args:
        values: Values of the report, or of one of its pages.
        sparks: Small chart of each series.
        file: Name and extension of the report's file, used for links to its other pages.
    """
    yield _totals(values.of("totals"))
    yield from _samples(values.data["samples"])
    yield from _page_links(values.data.get("page"), file)
    yield from _series_tables(list(values.each("series")), sparks)
    yield from heat_shown(values.of("heat"))
    yield from incident_list(values)
    yield from _gap_table(values)


def detailed_views(values: Values, sparks: Sequence[Html]) -> Iterator[Html]:
    """Yield each series' detailed view, which is hidden until a link to it is followed."""
    for index, (series, line) in enumerate(zip(values.each("series"), sparks, strict=True)):
        reasons = list(series.each("attention"))
        yield element(
            "section",
            element("p", element("a", "← all series", href="#")),
            element("h2", name_of(series)),
            *problems(series),
            records(reasons, _REASONS)
            if reasons
            else element("p", "nothing wrong was found", class_="good"),
            series_facts(series, series),
            _gap_counts(series),
            *([element("div", *chart_elements(), line, class_="figure")] if line else []),
            _command(series),
            id=_view_id(series),
            class_="view",
            data_series=index,
        )


def incident_list(values: Values) -> Iterator[Html]:
    """Yield the incidents, such as a session for which a vendor lacks most of its symbols."""
    incidents = values.of("incidents")
    if incidents.data:
        yield element("h2", "Incidents")
        yield element("ul", *(element("li", incidents.show(i)) for i in range(len(incidents.data))))


def page_name(stem: str, ending: str, number: int) -> str:
    """Return the file name of a page of the report; the first page has the report's own name."""
    return f"{stem}{ending}" if number == 1 else f"{stem}-{number}{ending}"


# --- the list ----------------------------------------------------------------------------------


def _totals(totals: Values) -> Html:
    return cards(
        [
            ("series", totals.show("series")),
            ("bars", totals.show("bars")),
            ("bars that vendors lack", totals.show("holes")),
            *compared_facts(totals, ("confirmed",)),
            ("vendors", totals.show("vendors", as_text=names_text)),
        ]
    )


def _samples(count: int) -> Iterator[Html]:
    if count:
        words = (
            f"not included: {counted(count, 'series')} of samples, each with a report of its own"
        )
        yield element("p", words, class_="faint")


def _page_links(part: dict[str, int] | None, file: tuple[str, str]) -> Iterator[Html]:
    """Yield the links to the other pages of a report on many series."""
    if part is None:
        return
    links = [
        element("b", f"page {number}", aria_current="page")
        if number == part["number"]
        else element("a", f"page {number}", href=page_name(*file, number))
        for number in range(1, part["of"] + 1)
    ]
    spaced_links = (item for link in links for item in (link, " "))
    yield element("nav", *spaced_links, class_="turns", aria_label="pages of this report")


def _series_tables(every: Sequence[Values], sparks: Sequence[Html]) -> Iterator[Html]:
    """Yield the filter, then the series that need attention and the others, as tables."""
    spark_of = dict(zip((series.at for series in every), sparks, strict=True))

    def linked(series: Values) -> Html:
        """Return a series' small chart as a link to its detailed view."""
        name = f"{series.data['symbol']} {series.data['timeframe']}"
        line = spark_of[series.at] or "view"
        return element("a", line, href=f"#{_view_id(series)}", aria_label=f"view of {name}")

    if every:
        yield _filter()
    poor = [series for series in every if series.data["attention"]]
    good = [series for series in every if not series.data["attention"]]
    if poor:
        yield element("h2", f"{counted(len(poor), 'series')} to look at, the worst first")
        yield records(poor, _POOR, linked)
    if good:
        yield element("h2", f"{counted(len(good), 'series')} without findings")
        yield records(good, _GOOD, linked)


def _filter() -> Html:
    """Return the field that filters the tables; the page's script makes it visible."""
    label = "only series with these words"
    field = element(
        "input",
        id="filter",
        type="search",
        placeholder=label,
        aria_label=label,
        autocomplete="off",
        hidden=True,
    )
    return element("p", field, " ", element("span", id="filtered", class_="faint", role="status"))


def _gap_table(values: Values) -> Iterator[Html]:
    yield element("h2", "Gaps")
    gaps = list(values.each("gaps"))
    if not gaps:
        yield element("p", "none", class_="good")
        return
    yield records(gaps, (*_NAME, *GAP_COLUMNS))
    yield more_than(len(gaps) + values.data["gaps_more"], len(gaps))


# --- a detailed view ---------------------------------------------------------------------------


def _view_id(series: Values) -> str:
    return series.at.replace("/", "-")


def _gap_counts(series: Values) -> Html:
    lane = f" (lane {series.data['lane']})" if series.data["lane"] else ""
    return element("p", f"gaps{lane}: ", series.show("gaps", as_text=counts_text))


def _command(series: Values) -> Html:
    command = f"onetape report {series.data['symbol']} {series.data['timeframe']} -o report.html"
    return element("p", "every bar, gap and commit: ", element("code", command), class_="faint")


# --- the columns of the tables -----------------------------------------------------------------


def _worst(attention: Any) -> str:
    more = f" (and {len(attention) - 1:,} more)" if len(attention) > 1 else ""
    return f"{attention[0]['text']}{more}"


_NAME = (Column("symbol", "symbol"), Column("timeframe", "timeframe"), Column("lane", "lane"))
_REASONS = (
    Column("what", "kind"),
    Column("why_", "text"),
    Column("what to do_", "next_step", step_text),
)
_POOR = (
    *_NAME,
    Column("bars#", "rows"),
    Column("last", "last", moment),
    Column("quality#", "score"),
    Column("why_", "attention", _worst),
)
_GOOD = (
    *_NAME,
    Column("bars#", "rows"),
    Column("first", "first", moment),
    Column("last", "last", moment),
    Column("vendors", "vendors", names_text),
    Column("quality#", "score"),
    Column("gaps_", "gaps", counts_text),
)
