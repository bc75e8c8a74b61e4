"""The page of a report: converts plain values to HTML. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..model.html import Html, element, joined
from ..model.texts import counted, moment
from .heat import MONTHS_OF_YEAR, STATES, by_year
from .html import chart_script, figure, foot, paints
from .page import page
from .parts import (
    Column,
    Values,
    cards,
    counts_text,
    first_look,
    folded,
    more_than,
    name_of,
    names_text,
    problems,
    reasons_table,
    records,
    spaced,
    spark,
    step_text,
)

HEAT_ID = "heat"


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
    values, subject = Values(data), data["subject"]
    title = f"{subject or 'everything that is stored'} · report"
    head = [
        element("h1", values.show("subject") if subject else "All that is stored"),
        element(
            "p",
            "made ",
            values.show("made", as_text=moment),
            " UTC by onetape ",
            values.show("onetape"),
            "; no vendor was queried",
            class_="faint",
        ),
        first_look(values.of("look")),
    ]
    if not subject:
        body = [element("div", *head, *_everything(values, file), class_="list"), *_views(values)]
        script = chart_script("report.js")
        return page(title, element("main", *body, foot()), style=paints(), script=script, data=data)
    ids = [f"chart-data-{place}" if drawn else "" for place, drawn in enumerate(drawings)]
    parts: list[Html] = []
    for place, drawn in enumerate(drawings):
        own = drawn and figure(drawn.picture, ids[place], f"-{place}" if place else "")
        parts += _series(values.of("series", place), own or Html())
    body = [*head, *parts, *_incidents(values), *_sources(values.of("sources")), foot()]
    bars = {name: drawn.data for name, drawn in zip(ids, drawings, strict=True) if drawn}
    return page(
        title, element("main", *body), style=paints(), script=chart_script(), data=data, parts=bars
    )


# --- one series ------------------------------------------------------------------------------


def _series(one: Values, chart: Html) -> Iterator[Html]:
    data = one.data
    other = (
        ""
        if data["answers"]
        else ", which is not the series that answers use under the present rules"
    )
    if data["lane"] or other:
        yield element("h2", name_of(one), other)
    yield from problems(one)
    yield _facts(one, one.of("quality") if data["quality"] else None)
    yield chart
    if data["fingerprint"]:
        yield element("p", "fingerprint of these bars ", element("code", one.show("fingerprint")))
    yield from _quality(one)
    yield element("h3", "Gaps")
    yield from _gap_list(list(one.each("gaps", "gaps")), sum(data["gaps"]["counts"].values()))
    yield from _years(one.of("heat"))
    yield from _coverage(one)
    yield from _proof(one)
    yield from _commits(one)


def _facts(one: Values, bars: Values | None) -> Html:
    """Return a series' figures; ``bars`` contains the count, first and last time, and score of its bars."""
    facts: list[tuple[str, object]] = []
    if bars is not None:
        facts = [
            ("bars", bars.show("rows")),
            ("first", bars.show("first", as_text=moment)),
            ("last", bars.show("last", as_text=moment)),
            ("quality", bars.show("score")),
        ]
    return cards(
        [
            *facts,
            ("vendors", one.show("vendors", as_text=names_text)),
            *_beside(one, ("confirmed", "contradicted")),
        ]
    )


def _beside(one: Values, counts: Sequence[str]) -> list[tuple[str, object]]:
    """Return the counts of bars compared with a second vendor; empty if none were compared."""
    if not any(one.data[name] for name in counts):
        return []
    return [(f"{name} by a second vendor", one.show(name)) for name in counts]


def _years(heat: Values) -> Iterator[Html]:
    """Yield the heat map of one series: a row for each year, a cell for each month."""
    names = {state.sign: state for state in STATES}
    yield element("h3", "Coverage by month")
    for row in heat.data["rows"]:
        lines = [
            element(
                "tr",
                element("th", year, scope="row"),
                *(
                    element("td", sign, class_=f"s-{names[sign].name}", title=names[sign].text)
                    for sign in cells
                ),
            )
            for year, cells in by_year(heat.data["first"], row["cells"])
        ]
        head = element("thead", element("tr", *(element("th", m) for m in ("", *MONTHS_OF_YEAR))))
        whole = element("table", head, element("tbody", *lines), class_="heat")
        yield element("div", whole, class_="wide")
    yield _key()


def _key() -> Html:
    """Return the legend of a heat map."""
    parts = (
        element(
            "li", element("i", state.sign, class_=f"s-{state.name}"), f"{state.name}: {state.text}"
        )
        for state in STATES
    )
    return element("ul", *parts, class_="key")


def _quality(one: Values) -> Iterator[Html]:
    quality = one.data["quality"]
    if quality is None:
        return
    yield element("h3", "Findings")
    findings = list(one.each("quality", "findings"))
    if findings:
        yield records(findings, _FINDINGS)
    else:
        yield element("p", "none", class_="good")
    if count := len(quality["not_checked"]):
        yield folded(
            f"{counted(count, 'check')} did not run", reasons_table(one, "quality", "not_checked")
        )


def _gap_list(gaps: Sequence[Values], total: int) -> Iterator[Html]:
    if not total:
        yield element("p", "none", class_="good")
        return
    yield records(gaps, _GAPS)
    yield more_than(total, len(gaps))


def _coverage(one: Values) -> Iterator[Html]:
    spans = list(one.each("coverage"))
    total = len(spans) + one.data["coverage_more"]
    yield folded(
        f"Spans: {counted(total, 'span')}, newest first",
        records(spans[::-1], _SPANS),
        more_than(total, len(spans)),
    )


def _proof(one: Values) -> Iterator[Html]:
    compared = list(one.each("comparisons"))
    if not compared:
        return
    total = len(compared) + one.data["comparisons_more"]
    yield element("h3", "Compared with second vendors: ", one.show("proof"))
    yield records(compared, _COMPARISONS)
    yield more_than(total, len(compared))


def _commits(one: Values) -> Iterator[Html]:
    commits = list(one.each("commits"))
    total = len(commits) + one.data["commits_more"]
    yield folded(
        f"Log: {counted(total, 'commit')}, newest first",
        records(commits, _COMMITS),
        more_than(total, len(commits)),
    )
    kept = one.data["quarantined"]
    if kept and (kept["rows"] or kept["files"]):
        aside = one.of("quarantined")
        yield element("h3", "Kept aside")
        yield element("p", aside.show("rows"), " rows that cannot be bars")
        if kept["files"]:
            yield records(list(aside.each("files")), _KEPT_FILES)


def _sources(sources: Values) -> Iterator[Html]:
    data = sources.data
    yield element("h2", "Sources in the rules")
    if data["route"]:
        yield records(list(sources.each("route")), _ROUTE)
    if data["why_not"]:
        yield element("p", sources.show("why_not"), class_="poor")
    if count := len(data["unasked"]):
        yield folded(f"{counted(count, 'vendor')} not queried", reasons_table(sources, "unasked"))


# --- everything ------------------------------------------------------------------------------


def _everything(values: Values, file: tuple[str, str]) -> Iterator[Html]:
    """Yield the totals, series that need attention, other series, heat map, incidents and gaps."""
    data = values.data
    totals = values.of("totals")
    yield cards(
        [
            ("series", totals.show("series")),
            ("bars", totals.show("bars")),
            ("bars that vendors lack", totals.show("holes")),
            *_beside(totals, ("confirmed",)),
            ("vendors", totals.show("vendors", as_text=names_text)),
        ]
    )
    if samples := data["samples"]:
        words = (
            f"not included: {counted(samples, 'series')} of samples, each with a report of its own"
        )
        yield element("p", words, class_="faint")
    yield from _pages(data.get("page"), file)
    every = list(values.each("series"))
    if every:
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
        yield element(
            "p", field, " ", element("span", id="filtered", class_="faint", role="status")
        )
    poor = [one for one in every if one.data["attention"]]
    good = [one for one in every if not one.data["attention"]]
    if poor:
        yield element("h2", f"{counted(len(poor), 'series')} to look at, the worst first")
        yield records(poor, _POOR, _linked)
    if good:
        yield element("h2", f"{counted(len(good), 'series')} without findings")
        yield records(good, _GOOD, _linked)
    yield from heat_shown(values.of("heat"))
    yield from _incidents(values)
    yield from _gaps(values)


def _pages(place: dict[str, int] | None, file: tuple[str, str]) -> Iterator[Html]:
    """Yield the links to the other pages of a report on many series."""
    if place is None:
        return
    links = [
        element("b", f"page {number}", aria_current="page")
        if number == place["number"]
        else element("a", f"page {number}", href=page_name(*file, number))
        for number in range(1, place["of"] + 1)
    ]
    yield element(
        "nav",
        *(part for link in links for part in (link, " ")),
        class_="turns",
        aria_label="pages of this report",
    )


def page_name(stem: str, ending: str, number: int) -> str:
    """Return the file name of a page of the report; the first page has the report's own name."""
    return f"{stem}{ending}" if number == 1 else f"{stem}-{number}{ending}"


def _linked(one: Values) -> Html:
    """Return a series' small chart as a link to its detailed view."""
    data = one.data
    name = f"{data['symbol']} {data['timeframe']}"
    line = spark(data["line"]["closes"]) or "view"
    return element("a", line, href=f"#{_view_id(one)}", aria_label=f"view of {name}")


def _view_id(one: Values) -> str:
    return one.at.replace("/", "-")


def _views(values: Values) -> Iterator[Html]:
    """Yield each series' detailed view, which is hidden until a link to it is followed."""
    for place, one in enumerate(values.each("series")):
        data = one.data
        line = spark(data["line"]["closes"])
        box = element(
            "div",
            element("div", class_="ranges", hidden=True),
            element("p", class_="readout faint", aria_live="polite"),
            element(
                "div",
                class_="plot",
                tabindex="0",
                role="application",
                aria_label="Chart: arrow keys move along the bars, plus and minus zoom",
            ),
            line,
            class_="figure",
        )
        why = list(one.each("attention"))
        lane = f" (lane {data['lane']})" if data["lane"] else ""
        command = f"onetape report {data['symbol']} {data['timeframe']} -o report.html"
        yield element(
            "section",
            element("p", element("a", "← all series", href="#")),
            element("h2", name_of(one)),
            *problems(one),
            records(why, _ATTENTION)
            if why
            else element("p", "nothing wrong was found", class_="good"),
            _facts(one, one),
            element("p", f"gaps{lane}: ", one.show("gaps", as_text=counts_text)),
            *([box] if line else []),
            element("p", "every bar, gap and commit: ", element("code", command), class_="faint"),
            id=_view_id(one),
            class_="view",
            data_series=place,
        )


def heat_shown(heat: Values) -> Iterator[Html]:
    """Yield a heat map of many series, drawn by the script, and the same data as a table."""
    rows = heat.data["rows"]
    if not rows:
        return
    yield element("h2", "Coverage by month")
    yield _key()
    words = f"{counted(len(rows), 'series')} by month; the table below has the same in numbers"
    yield element("div", id=HEAT_ID, class_="wide", role="img", aria_label=words)
    names = [state.name for state in STATES]
    # Plain rows, because with five hundred series this table is most of the page.
    lines = (
        element(
            "tr",
            element("th", row["name"]),
            *(element("td", row["counts"].get(name, "")) for name in names),
        )
        for row in rows
    )
    head = element("tr", element("th", "months"), *(element("th", name) for name in names))
    table = element("table", element("thead", head), element("tbody", *lines), id="months")
    span = joined([heat.show("first"), " to ", heat.show("last")])
    yield folded(joined(["Months by state, ", span]), element("div", table, class_="wide"))


def _incidents(values: Values) -> Iterator[Html]:
    incidents = values.of("incidents")
    if incidents.data:
        yield element("h2", "Incidents")
        yield element("ul", *(element("li", incidents.show(i)) for i in range(len(incidents.data))))


def _gaps(values: Values) -> Iterator[Html]:
    yield element("h2", "Gaps")
    gaps = list(values.each("gaps"))
    if not gaps:
        yield element("p", "none", class_="good")
        return
    yield records(gaps, (Column("symbol", "symbol"), *_SERIES_NAME, *_GAPS))
    yield more_than(len(gaps) + values.data["gaps_more"], len(gaps))


def _or_never(due: Any) -> str:
    return moment(due) if due else "never"


def _worst(attention: Any) -> str:
    more = f" (and {len(attention) - 1:,} more)" if len(attention) > 1 else ""
    return f"{attention[0]['text']}{more}"


_RANGE = (Column("from", "start", moment), Column("up to", "end", moment))
_SERIES_NAME = (Column("timeframe", "timeframe"), Column("lane", "lane"))
_GAPS = (
    *_RANGE,
    Column("bars#", "bars"),
    Column("class", "class", spaced),
    Column("evidence_", "evidence"),
    Column("what to do_", "next_step", step_text),
)
_FINDINGS = (
    Column("severity", "severity"),
    Column("check", "check"),
    Column("bars#", "rows"),
    Column("evidence_", "evidence"),
    Column("what to do_", "next_step", step_text),
)
_SPANS = (
    *_RANGE,
    Column("state", "state"),
    Column("vendor", "vendor"),
    Column("due again", "next_due", _or_never),
    Column("why_", "reason"),
)
_COMPARISONS = (
    *_RANGE,
    Column("beside", "vendor"),
    Column("bars#", "bars"),
    Column("confirmed#", "confirmed"),
    Column("contradicted#", "contradicted"),
    Column("when", "at", moment),
    Column("remarks_", "said"),
)
_COMMITS = (
    Column("version#", "generation"),
    Column("when", "at", moment),
    Column("vendor", "vendor"),
    *_RANGE,
    Column("added#", "added"),
    Column("changed#", "changed"),
    Column("removed#", "removed"),
    Column("deleted by", "deleted"),
)
_KEPT_FILES = (Column("damaged file", "name"), Column("why_", "reason"))
_ROUTE = (
    Column("vendor", "vendor"),
    Column("prices", "adjustment"),
    Column("its symbol", "spelling"),
    Column("days back#", "depth_days"),
    Column("ready", "health/ready"),
    Column("last failure_", "health/reason"),
)
_ATTENTION = (
    Column("what", "kind"),
    Column("why_", "text"),
    Column("what to do_", "next_step", step_text),
)
_NAMED = (Column("symbol", "symbol"), *_SERIES_NAME)
_POOR = (
    *_NAMED,
    Column("bars#", "rows"),
    Column("last", "last", moment),
    Column("quality#", "score"),
    Column("why_", "attention", _worst),
)
_GOOD = (
    *_NAMED,
    Column("bars#", "rows"),
    Column("first", "first", moment),
    Column("last", "last", moment),
    Column("vendors", "vendors", names_text),
    Column("quality#", "score"),
    Column("gaps_", "gaps", counts_text),
)
