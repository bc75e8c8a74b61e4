"""The pages of reports: on one series in all its lanes, and on everything that is stored. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...core.model.display.texts import counted, moment, series_name
from ...core.model.words.html import Html, element, joined
from ..charts.chart_page import SCRIPTS, chart_figure
from ..charts.heat import MONTHS_OF_YEAR, STATES, by_year
from ..charts.pages import (
    DATA_ID,
    cards,
    filled,
    folded,
    grid,
    listed,
    page,
    paragraph,
    reasons_table,
    records,
    shown,
    spark,
    summary,
    titled,
)

_Data = Mapping[str, Any]

# The columns of the tables: each heading, and the name of the value.
_RANGE = {"from": "start", "up to": "end"}
_STEP = {"evidence": "evidence", "what to do": "next_step"}
_NAME = {"symbol": "symbol", "timeframe": "timeframe", "lane": "lane"}
_BARS = {"bars": "rows", "first": "first", "last": "last", "quality": "score"}
_GAPS = {**_RANGE, "bars": "bars", "class": "class", **_STEP}
_FINDINGS = {"severity": "severity", "check": "check", "bars": "rows", **_STEP}
_SPANS = {**_RANGE, "state": "state", "vendor": "vendor", "due again": "next_due", "why": "reason"}
_CHANGES = {"added": "added", "changed": "changed", "removed": "removed", "deleted by": "deleted"}
_COMMITS = {"version": "generation", "when": "at", "vendor": "vendor", **_RANGE, **_CHANGES}
_LISTS = {"coverage": _SPANS, "commits": _COMMITS}
_KEPT = {"damaged file": "name", "why": "reason"}
_ROUTE = {"vendor": "vendor", "prices": "adjustment", "its symbol": "spelling"} | {
    "days back": "depth_days",
    "ready": "ready",
    "last failure": "reason",
}
_REASONS = {"what": "kind", "why": "text", "what to do": "next_step"}
_TABLES = {
    "to look at, the worst first": {**_NAME, "bars": "rows", "last": "last", "quality": "score"}
    | {"why": "worst"},
    "without findings": {**_NAME, **_BARS, "vendors": "vendors", "gaps": "gaps"},
}
_OTHER = ", which is not the series that answers use under the present rules"


def page_of(
    data: _Data,
    charts: Sequence[_Data | None] = (),
    file: tuple[str, str] = ("report", ".html"),
    render: Callable[..., str] = page,
) -> str:
    """Return the HTML page of a report.

    Args:
        data: Values of a :class:`~.report.StoredReport`, or of one of its pages.
        charts: Values of the chart of each series (see :func:`~.values.chart_values`); not used for
            a report on everything.
        file: Name and extension of the report's file, used for links to its other pages.
        render: Function with the arguments of :func:`~.pages.page` that returns the whole page.
    """
    origin = f"made {moment(data['made'])} UTC by onetape {data['onetape']}; no vendor was queried"
    parts = {
        "origin": paragraph(origin, "faint"),
        "look": summary(data["look"]),
        "incidents": titled("Incidents", listed(data["incidents"])),
        "credit": filled("credit"),
    }
    subject = data["subject"]
    if not subject:
        main = filled("all", **parts, **_all_parts(data, file))
        title = "everything that is stored · report"
        return render(title, main, {DATA_ID: data}, scripts=(*SCRIPTS, "report.js"))
    named = {f"chart-data-{index}": one for index, one in enumerate(charts) if one}
    lanes = [
        _lane(series, chart, f"chart-data-{index}")
        for index, (series, chart) in enumerate(zip(data["series"], charts, strict=True))
    ]
    sources = data["sources"]
    route = [one | one["health"] for one in sources["route"]]
    count = counted(len(sources["unasked"]), "vendor")
    main = filled(
        "series",
        **parts,
        subject=subject,
        lanes=lanes,
        route=records(route, _ROUTE) if route else "",
        why_not=paragraph(sources["why_not"], "poor"),
        unasked=_optional(f"{count} not queried", sources["unasked"]),
    )
    return render(f"{subject} · report", main, {DATA_ID: data, **named}, scripts=SCRIPTS)


def page_name(stem: str, ending: str, number: int) -> str:
    """Return the file name of a page of the report; the first page has the report's own name."""
    return f"{stem}{ending}" if number == 1 else f"{stem}-{number}{ending}"


def _optional(title: str, reasons: Mapping[str, str]) -> Html:
    """Return reasons that are collapsed under a title; empty if there are none."""
    return folded(title, reasons_table(reasons)) if reasons else Html()


def _problems(series: _Data) -> list[Html]:
    problems: Mapping[str, str] = series["problems"]
    return [paragraph(f"{name} cannot be read: {why}", "bad") for name, why in problems.items()]


def _facts(series: _Data, bars: _Data) -> Html:
    """Return a series' figures as panels."""
    facts = {
        name: moment(bars[key]) if name in ("first", "last") else bars[key]
        for name, key in _BARS.items()
        if bars
    }
    facts["vendors"] = series["vendors"]
    return cards(facts)


# --- one series ----------------------------------------------------------------------------------


def _lane(series: _Data, chart: _Data | None, data_id: str) -> Html:
    """Return the part of a page for one lane of a symbol."""
    quality, gaps = series["quality"] or {}, series["gaps"]
    kept = series["quarantined"] or {"rows": 0, "files": []}
    other = "" if series["answers"] else _OTHER
    skipped = quality.get("not_checked") or {}
    total = {name: len(series[name]) + series[f"{name}_more"] for name in _LISTS}
    lists = {name: series[name] for name in _LISTS} | {"coverage": series["coverage"][::-1]}
    tables = {name: records(lists[name], _LISTS[name], total[name]) for name in _LISTS}
    aside = element("h3", f"Kept aside: {counted(kept['rows'], 'invalid row')}")
    damaged = records(kept["files"], _KEPT) if kept["files"] else ""
    fingerprint = element("code", series["fingerprint"] or "")
    return filled(
        "lane",
        heading=element("h2", series_name(series) + other) if series["lane"] or other else "",
        problems=_problems(series),
        facts=_facts(series, quality),
        figure=chart_figure(chart, data_id) if chart else "",
        fingerprint=element("p", "fingerprint of these bars ", fingerprint) if chart else "",
        returns=_returns(series["returns"]) if chart else "",
        findings=records(quality.get("findings", ()), _FINDINGS),
        not_checked=_optional(f"{counted(len(skipped), 'check')} did not run", skipped),
        gaps=records(gaps["gaps"], _GAPS, sum(gaps["counts"].values())),
        years=_years(series["heat"]),
        legend=_legend(),
        spans=counted(total["coverage"], "span"),
        log=counted(total["commits"], "commit"),
        **tables,
        aside=[aside, damaged] if any(kept.values()) else "",
    )


def _returns(returns: _Data) -> Html:
    """Return a table of the returns of each month and of each year, in percent."""
    names = (*MONTHS_OF_YEAR, "12 months")

    def cells(year: _Data) -> Iterator[Html]:
        for name, one in zip(names, [*year["months"], year["whole"]], strict=True):
            yield element("td", "" if one is None else f"{100 * one:+.1f}", data_name=name)

    rows = ((year["year"], cells(year)) for year in returns["years"])
    title = f"Returns in percent, {returns['about']}"
    return titled(title, grid(("", *names), rows, "returns"), "h3")


def _years(heat: _Data) -> Html:
    """Return the coverage of one series as a table with a row for each year."""
    states = {state.sign: state for state in STATES}

    def cell(sign: str) -> Html:
        return element("td", sign, class_=f"s-{states[sign].name}", title=states[sign].text)

    years = by_year(heat["first"], heat["rows"][0]["cells"])
    return grid(("", *MONTHS_OF_YEAR), ((year, map(cell, signs)) for year, signs in years), "heat")


def _legend() -> Html:
    lines = []
    for state in STATES:
        sign = element("i", state.sign, class_=f"s-{state.name}")
        lines.append(element("li", sign, f"{state.name}: {state.text}"))
    return element("ul", *lines, class_="key")


# --- everything ----------------------------------------------------------------------------------


def _all_parts(data: _Data, file: tuple[str, str]) -> dict[str, object]:
    totals, every, gaps = data["totals"], data["series"], data["gaps"]
    sparks = [spark([series["line"]["closes"]]) for series in every]
    samples = counted(data["samples"], "series") if data["samples"] else ""
    facts = {"series": totals["series"], "bars": totals["bars"]}
    facts["bars that vendors lack"] = totals["holes"]
    return {
        "totals": cards({**facts, "vendors": totals["vendors"]}),
        "samples": paragraph(
            samples and f"not included: {samples} of samples, each with a report of its own",
            "faint",
        ),
        "pages": _page_links(data.get("page"), file),
        "filter": filled("filter") if every else "",
        "series": [_table(about, every, sparks) for about in _TABLES],
        "map": coverage_map(data["heat"]),
        "gaps": records(gaps, {**_NAME, **_GAPS}, len(gaps) + data["gaps_more"]),
        "views": [_view(index, *row) for index, row in enumerate(zip(every, sparks, strict=True))],
    }


def _table(about: str, every: Sequence[_Data], sparks: Sequence[Html]) -> Html:
    """Return the table of the series that need attention, or of those that do not."""
    rows, links = [], []
    for index, (series, line) in enumerate(zip(every, sparks, strict=True)):
        attention = series["attention"]
        if bool(attention) == (about == "without findings"):
            continue
        more = f" (and {len(attention) - 1:,} more)" if attention[1:] else ""
        rows.append({**series, "worst": f"{attention[0]['text']}{more}" if attention else ""})
        label = f"view of {series_name(series)}"
        links.append(element("a", line or "view", href=f"#series-{index}", aria_label=label))
    table = element("div", records(rows, _TABLES[about], links=links), class_="filtered")
    return titled(f"{counted(len(rows), 'series')} {about}", table if rows else "")


def _view(index: int, series: _Data, line: Html) -> Html:
    """Return a series' detailed view, which is hidden until a link to it is followed."""
    reasons = series["attention"]
    nothing = paragraph("nothing wrong was found", "good")
    return filled(
        "view",
        id=f"series-{index}",
        index=index,
        name=series_name(series),
        problems=_problems(series),
        reasons=records(reasons, _REASONS) if reasons else nothing,
        facts=_facts(series, series),
        gaps=shown(series["gaps"]),
        figure=filled("figure", data="", spark=line) if line else "",
        command=f"onetape report {series['symbol']} {series['timeframe']} -o report.html",
    )


def _page_links(part: dict[str, int] | None, file: tuple[str, str]) -> Html:
    """Return the links to the other pages of a report on many series; empty if there are none."""
    if part is None:
        return Html()
    links = [
        element("b", f"page {number}", aria_current="page")
        if number == part["number"]
        else element("a", f"page {number}", href=page_name(*file, number))
        for number in range(1, part["of"] + 1)
    ]
    return element("nav", joined(links, " "), class_="turns", aria_label="pages of this report")


def coverage_map(heat: _Data) -> Html:
    """Return a heat map of many series, drawn by the script, and the same data as a table."""
    rows = heat["rows"]
    if not rows:
        return Html()
    names = [state.name for state in STATES]
    # Plain cells, because with five hundred series this table is most of the page.
    cells = ((r["name"], (element("td", r["counts"].get(n, "")) for n in names)) for r in rows)
    ends = {name: heat[name] for name in ("first", "last")}
    table, count = grid(("months", *names), cells, "months"), counted(len(rows), "series")
    return filled("map", legend=_legend(), count=count, table=table, **ends)
