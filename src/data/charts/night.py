"""The report of a job as a page: results, failures, cost, and bars about to be lost. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..jobs.job_report import JobReport, incident_texts, quota_text, requests_by_vendor
from ..model.html import Html, element, joined
from ..model.instant import SECOND_MS, parse_iso
from ..model.texts import counted, duration, moment
from .page import DATA_ID, page, plain_values
from .parts import (
    Column,
    Values,
    first_look,
    folded,
    more_than,
    names_text,
    records,
    shown,
    small_bars,
    step_text,
)

# Maximum number of results of each kind on the page; the data contains all of them.
_MOST = 1000
# Number of nights compared.
NIGHTS = 14
_DATA = re.compile(rf'<script id="{DATA_ID}" type="application/json">(.*?)</script>', re.DOTALL)
# Maps each number of a night to its label, and to whether a larger number is worse.
_NUMBERS = {
    "bars": ("new bars", False),
    "failed": ("failed", True),
    "lacking": ("not complete", True),
    "contradicted": ("bars contradicted", True),
    "requests": ("requests", False),
    "seconds": ("seconds", False),
}


def night_page(
    report: Mapping[str, Any], command: str, begun: str, made: str, before: str = ""
) -> str:
    """Return a job's report as an HTML page that opens from disk and loads nothing.

    Args:
        report: Result of ``populate_cache``, ``refresh_fundamentals`` or ``confirm_sample``.
        command: Job that was run, as typed.
        begun, made: Start and end of the job, ISO 8601 in UTC.
        before: Text of the page that this one replaces; the figures of earlier runs in it are shown
            next to this run's. Any other text is ignored.
    """
    document = plain_values(report)
    outcome = JobReport(document)
    seconds = max(0, (parse_iso(made) - parse_iso(begun)) // SECOND_MS)
    nights = [*nights_of(before, command), _night(document, begun, made, seconds)][-NIGHTS:]
    job = {
        "command": command,
        "begun": begun,
        "made": made,
        "seconds": seconds,
        "look": _summary_of(outcome),
        "nights": nights,
        "report": document,
    }
    values = Values(job)
    head = [
        element("h1", "onetape ", values.show("command")),
        element(
            "p",
            "begun ",
            values.show("begun", as_text=moment),
            " UTC, ended ",
            values.show("made", as_text=moment),
            " UTC: ",
            values.show("seconds", as_text=duration),
            class_="faint",
        ),
        first_look(values.of("look")),
        _comparison_cards(values.of("nights")),
    ]
    data = values.of("report")
    body = [*head, *_causes(data), *_incidents(outcome), *_perishable_table(data), *_requests(data)]
    body += _results(data)
    return page(f"onetape {command}, {moment(made)}", element("main", *body), data=job)


def nights_of(page_text: str, command: str) -> list[dict[str, Any]]:
    """Return past runs' figures from an earlier page of the same job, oldest first.

    Return an empty list if the text is not such a page.
    """
    match = _DATA.search(page_text)
    try:
        job = json.loads(match[1]) if match else {}
    except ValueError:
        return []
    if not isinstance(job, dict) or job.get("command") != command:
        return []
    nights = job.get("nights")
    kept = nights if isinstance(nights, list) else []
    return [night for night in kept if isinstance(night, dict) and _is_night(night)][-NIGHTS:]


def _is_night(night: Mapping[str, Any]) -> bool:
    times = (night.get("begun"), night.get("made"))
    numbers = [night.get(name) for name in _NUMBERS]
    return all(isinstance(time, str) for time in times) and all(
        isinstance(number, int) and number >= 0 for number in numbers
    )


def _night(report: Mapping[str, Any], begun: str, made: str, seconds: int) -> dict[str, Any]:
    """Return the figures that the page records for one run: bars, failures, requests and so on."""
    results = report.get("results") or []
    count = sum(len(reason["series"]) for reason in report.get("reasons", ()) if reason["failed"])
    sent = [
        counts.get("sent", counts.get("requests", 0))
        for counts in requests_by_vendor(report).values()
    ]
    return {
        "begun": begun,
        "made": made,
        "seconds": seconds,
        "series": len(results),
        "bars": sum(result.get("fetched") or 0 for result in results),
        "failed": count,
        "lacking": sum(1 for result in results if _is_poor(result)),
        "contradicted": report.get("found", 0),
        "requests": sum(sent),
    }


def _summary_of(report: JobReport) -> dict[str, Any]:
    """Return a job's summary: outcome, number of incomplete series, and next step."""
    reasons = list(report.get("reasons", ()))
    reasons.sort(key=lambda reason: (not reason["failed"], -len(reason["series"])))
    contradicted = report.get("found", 0)
    is_bad = contradicted or any(reason["failed"] for reason in reasons)
    number = sum(len(reason["series"]) for reason in reasons)
    step = next((reason["next_step"] for reason in reasons if reason["next_step"]), "")
    if report.get("interrupted"):
        step = "run it again: it continues where it stopped"
    look = {"number": number, "of": "not complete", "text": report.title, "next_step": step}
    if contradicted:
        look |= {"number": contradicted, "of": "bars contradicted", "next_step": step or _VERIFY}
    is_poor = reasons or report.get("interrupted")
    return look | {"state": "bad" if is_bad else "poor" if is_poor else "good"}


_VERIFY = "`onetape report SYMBOL TIMEFRAME` of the series below"


def _comparison_cards(nights: Values) -> Html:
    """Return the latest run's figures, each next to the previous run's and a bar chart of all runs."""
    every = nights.data
    last = len(every) - 1
    cells = []
    for name, (words, is_bad) in _NUMBERS.items():
        if not any(night[name] for night in every) and name != "failed":
            continue
        as_text = duration if name == "seconds" else None
        words = "took" if name == "seconds" else words
        texts = [f"{moment(night['begun'])}: {(as_text or shown)(night[name])}" for night in every]
        parts = [
            element("b", nights.of(last).show(name, as_text=as_text)),
            element("span", words),
        ]
        if last:
            before = nights.of(last - 1).show(name, as_text=as_text)
            parts += [element("span", ", the night before ", before)]
        bars = small_bars([night[name] for night in every], texts, NIGHTS, is_bad=is_bad)
        cells.append(element("div", *parts, bars))
    return element(
        "div", *cells, class_="cards", role="group", aria_label="compared with other nights"
    )


def _causes(values: Values) -> Iterator[Html]:
    """Yield each cause of failures once, with the next step and a collapsed list of its series."""
    reasons = list(values.each("reasons")) if values.data.get("reasons") else []
    yield element("h2", "Failures and missing data, by cause")
    if not reasons:
        yield element("p", "none", class_="good")
        return
    results = list(values.each("results")) if values.data.get("results") else []
    by_name: dict[str, list[Values]] = {}
    for result in results:
        name = f"{result.data['symbol']} {result.data.get('timeframe', '')}".strip()
        by_name.setdefault(name, []).append(result)
    for reason in sorted(reasons, key=lambda reason: not reason.data["failed"]):
        names = reason.data["series"]
        shown = [result for name in names for result in by_name.get(name, ())]
        is_bad = reason.data["failed"]
        step = (
            reason.show("next_step", as_text=step_text)
            if reason.data["next_step"]
            else "nothing to do"
        )
        yield element(
            "section",
            element(
                "h3",
                counted(len(names), "series"),
                " failed" if is_bad else " not complete",
                class_="bad" if is_bad else "poor",
            ),
            element("p", *_example(reason.data), reason.show("why", as_text=step_text)),
            element("p", "Next: ", step),
            folded(
                names_text(names[:5]) + (f" and {len(names) - 5:,} more" if names[5:] else ""),
                *(
                    [_first_records(shown, _columns_of(shown))]
                    if shown
                    else [element("p", names_text(names))]
                ),
            ),
        )


def _example(reason: Mapping[str, Any]) -> list[str]:
    """Return a prefix for the text of a cause that is shared by several series but names only one."""
    names = reason["series"]
    is_one = len(names) > 1 and names[0].partition(" ")[0] in reason["why"]
    return ["For example: "] if is_one else []


def _requests(values: Values) -> Iterator[Html]:
    data = values.data
    at = "requests" if isinstance(data.get("requests"), dict) else "vendors"
    vendors = values.of(at) if data.get(at) else None
    yield element("h2", "Requests")
    if vendors is None:
        yield element("p", "none: no vendor was queried", class_="good")
        return
    names = list(
        dict.fromkeys(n for vendor in vendors.data.values() for n in vendor if n != "limits")
    )
    head = element(
        "tr",
        *(element("th", text.replace("_", " ")) for text in ("vendor", *names)),
        element("th", "left of its limits"),
    )
    lines, headings = [], ["vendor", *names, "left of its limits"]
    for vendor, counts in vendors.data.items():
        quotas = data.get("quotas", {}).get(vendor) or counts.get("limits") or ()
        cells = [vendors.show(vendor, name) if name in counts else shown(None) for name in names]
        left = quota_text(quotas) or "no limit"
        row = zip(headings, (vendor, *cells, left), strict=True)
        lines.append(
            element(
                "tr", *(element("td", cell, data_name=name.replace("_", " ")) for name, cell in row)
            )
        )
    table = element(
        "table", element("thead", head), element("tbody", *lines), class_="records short"
    )
    yield element("div", table, class_="wide")


def _incidents(report: Mapping[str, Any]) -> Iterator[Html]:
    if texts := incident_texts(report):
        yield element("h2", "Incidents")
        yield element("ul", *(element("li", text) for text in texts))


def _perishable_table(values: Values) -> Iterator[Html]:
    if values.data.get("perishable"):
        yield element("h2", "What perishes")
        yield records(list(values.each("perishable")), _PERISHABLE)


def _results(values: Values) -> Iterator[Html]:
    """Yield the results that are not listed under a cause: contradicted and complete series."""
    if not values.data.get("results"):
        return
    results = list(values.each("results"))
    named = {name for reason in values.data.get("reasons", ()) for name in reason["series"]}
    good, poor = list[Values](), list[Values]()
    for result in results:
        if not _is_poor(result.data):
            good.append(result)
        elif f"{result.data['symbol']} {result.data.get('timeframe', '')}".strip() not in named:
            poor.append(result)
    yield element("h2", counted(len(results), "result"))
    if poor:
        yield element("h3", f"{len(poor):,} not complete, or contradicted")
        yield _first_records(poor, _columns_of(poor))
    if good:
        yield folded(f"{len(good):,} without complaint", _first_records(good, _columns_of(good)))


def _columns_of(results: Sequence[Values]) -> Sequence[Column]:
    """Return the table columns for the kind of job that produced these results."""
    return next((columns for name, columns in _RESULTS.items() if name in results[0].data), ())


def _is_poor(result: Mapping[str, Any]) -> bool:
    is_lacking = not result.get("complete", True) or not result.get("success", True)
    return bool(is_lacking or result.get("error") or result.get("contradicted"))


def _first_records(results: Sequence[Values], columns: Sequence[Column]) -> Html:
    listed = results[:_MOST]
    return joined([records(listed, columns), more_than(len(results), len(listed))])


def _age(days: Any) -> str:
    return "none held" if days is None else f"{days:.1f}"


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
# Maps a field that only the results of one job have to the columns for that job.
_RESULTS = {
    "fetched": (
        *_SERIES,
        Column("bars#", "rows"),
        Column("new#", "fetched"),
        Column("vendors", "vendors", names_text),
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
        Column("differences_", "differences", names_text),
        Column("error_", "error"),
    ),
    "age_days": (
        Column("symbol", "symbol"),
        Column("age before#", "age_days", _age),
        Column("success", "success"),
        Column("errors_", "errors", names_text),
    ),
}
