"""The report of a job as a page: what was done, why not all of it, what it took, what perishes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..jobs.job_report import JobReport, incident_texts, quota_text
from ..model.html import Html, element, joined
from ..model.texts import counted, moment
from .page import page, plain_values
from .report_page import STYLE, Column, Values, cards, folded, more_than, records, shown

# So many results of each kind are rows of the page; the data have all.
_MOST = 1000


def night_page(report: Mapping[str, Any], command: str, made: str) -> str:
    """Return the page of a job's report; it opens from disk and loads nothing.

    Args:
        report: as ``populate_cache``, ``refresh_fundamentals`` and ``confirm_sample`` return it.
        command: which job it was, as it is typed.
        made: when it ended, ISO 8601 in UTC.
    """
    job = {"command": command, "made": made, "report": plain_values(report)}
    values, outcome = Values(job).of("report"), JobReport(job["report"])
    head = [
        element("h1", "onetape ", Values(job).show("command")),
        element("p", "ended ", Values(job).show("made", as_text=moment), " UTC", class_="faint"),
        element("p", element("b", outcome.title), class_="good" if _is_good(outcome) else "poor"),
    ]
    body = [*head, *_cards(values), *_reasons(values), *_requests(values), *_incidents(outcome)]
    body += [*_perishable(values), *_results(values)]
    title = f"onetape {command}, {moment(made)}"
    return page(title, element("main", *body), style=STYLE, data=job)


def _is_good(report: Mapping[str, Any]) -> bool:
    failed = any(reason["failed"] for reason in report.get("reasons", ()))
    return not (failed or report.get("interrupted") or report.get("contradicted"))


def _cards(values: Values) -> Iterator[Html]:
    names = {
        "series": "series",
        "held": "need no vendor",
        "bars": "bars stored",
        "compared": "bars compared",
        "confirmed": "confirmed",
        "contradicted": "contradicted",
        "unproven": "equal, not confirmed",
    }
    facts = [(text, values.show(name)) for name, text in names.items() if name in values.data]
    if facts:
        yield cards(facts)


def _reasons(values: Values) -> Iterator[Html]:
    reasons = list(values.each("reasons")) if values.data.get("reasons") else []
    yield element("h2", "Failures and what is lacking, by cause")
    if not reasons:
        yield element("p", "none", class_="good")
        return
    yield records(reasons, _REASONS)


def _requests(values: Values) -> Iterator[Html]:
    data = values.data
    at = "requests" if isinstance(data.get("requests"), dict) else "vendors"
    vendors = values.of(at) if data.get(at) else None
    yield element("h2", "Requests")
    if vendors is None:
        yield element("p", "none: no vendor was asked", class_="good")
        return
    names = list(dict.fromkeys(n for one in vendors.data.values() for n in one if n != "limits"))
    head = element("tr", *(element("th", text.replace("_", " ")) for text in ("vendor", *names)),
                   element("th", "left of its limits"))  # fmt: skip
    lines = []
    for vendor, counts in vendors.data.items():
        quotas = data.get("quotas", {}).get(vendor) or counts.get("limits") or ()
        cells = [vendors.show(vendor, name) if name in counts else shown(None) for name in names]
        left = quota_text(quotas) or "no limit"
        lines.append(element("tr", *(element("td", cell) for cell in (vendor, *cells, left))))
    numbers = " ".join(f"n{place}" for place in range(2, len(names) + 2))
    table = element(
        "table", element("thead", head), element("tbody", *lines), class_=f"short {numbers}"
    )
    yield element("div", table, class_="wide")


def _incidents(report: Mapping[str, Any]) -> Iterator[Html]:
    if texts := incident_texts(report):
        yield element("h2", "Incidents")
        yield element("ul", *(element("li", text) for text in texts))


def _perishable(values: Values) -> Iterator[Html]:
    if values.data.get("perishable"):
        yield element("h2", "What perishes")
        yield records(list(values.each("perishable")), _PERISHABLE)


def _results(values: Values) -> Iterator[Html]:
    if not values.data.get("results"):
        return
    results = list(values.each("results"))
    columns = next(
        (own for name, own in _RESULTS.items() if name in results[0].data), tuple[Column, ...]()
    )
    good, poor = list[Values](), list[Values]()
    for one in results:
        (poor if _is_poor(one.data) else good).append(one)
    yield element("h2", counted(len(results), "result"))
    if poor:
        yield element("h3", f"{len(poor):,} not complete, or contradicted")
        yield joined(_some(poor, columns))
    if good:
        yield folded(f"{len(good):,} without complaint", *_some(good, columns))


def _is_poor(result: Mapping[str, Any]) -> bool:
    is_lacking = not result.get("complete", True) or not result.get("success", True)
    return bool(is_lacking or result.get("error") or result.get("contradicted"))


def _some(results: Sequence[Values], columns: Sequence[Column]) -> list[Html]:
    return [records(results[:_MOST], columns), more_than(len(results), len(results[:_MOST]))]


def _names(values: Any) -> str:
    return ", ".join(map(str, values)) or "–"


def _age(days: Any) -> str:
    return "none held" if days is None else f"{days:.1f}"


_REASONS = (
    Column("why_", "why"),
    Column("series#", "count"),
    Column("which_", "series", lambda names: _names(names[:5]) + (" …" if names[5:] else "")),
    Column("failed", "failed"),
    Column("what to do_", "next_step"),
)
_PERISHABLE = (
    Column("symbol", "symbol"),
    Column("timeframe", "timeframe"),
    Column("what", "what"),
    Column("vendor", "vendor"),
    Column("last", "last", moment),
    Column("the next is dropped at", "lost", moment),
    Column("days kept#", "depth_days"),
)
_SERIES = (Column("symbol", "symbol"), Column("timeframe", "timeframe"))
# A field that one job's results alone have, and the columns of these.
_RESULTS = {
    "fetched": (
        *_SERIES,
        Column("bars#", "rows"),
        Column("new#", "fetched"),
        Column("vendors", "vendors", _names),
        Column("gaps#", "gaps"),
        Column("quality#", "score"),
        Column("complete", "complete"),
        Column("error_", "error"),
        Column("lacking_", "lacking"),
    ),
    "confirmed": (
        *_SERIES,
        Column("lane", "lane"),
        Column("vendor", "vendor"),
        Column("from", "start", moment),
        Column("up to", "end", moment),
        Column("bars#", "bars"),
        Column("confirmed#", "confirmed"),
        Column("contradicted#", "contradicted"),
        Column("differences_", "differences", _names),
        Column("error_", "error"),
    ),
    "age_days": (
        Column("symbol", "symbol"),
        Column("age before#", "age_days", _age),
        Column("success", "success"),
        Column("errors_", "errors", _names),
    ),
}
