"""The report of a job as a page: results, failures, cost, and bars about to be lost. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...core.model.display.texts import counted, duration, moment
from ...core.model.time.instant import SECOND_MS, parse_iso
from ...core.model.words.html import Html, element, joined
from ...jobs.run.job_report import incident_texts, quota_text, title_of
from ...jobs.run.nights import SHOWN, figures_of, is_poor
from ..charts.pages import (
    DATA_ID,
    filled,
    folded,
    listed,
    page,
    paragraph,
    plain_values,
    records,
    shown,
    small_bars,
    spaced,
    step_text,
    summary,
    titled,
)

# Maximum number of results of each kind on the page; the data contains all of them.
_MOST = 1000
# Maps each number of a night to its label, and to whether a larger number is worse.
_NUMBERS = {
    "bars": ("bars fetched", False),
    "failed": ("failed", True),
    "lacking": ("incomplete", True),
    "requests": ("requests", False),
    "seconds": ("took", False),
}
_SERIES = {"symbol": "symbol", "timeframe": "timeframe"}
_PERISHABLE = {**_SERIES, "what": "what", "vendor": "vendor", "last": "last"} | {
    "the next is dropped at": "lost",
    "days kept": "depth_days",
}
# Maps a value that only the results of one job have to the columns for that job.
_RESULTS = {
    "fetched": {
        **_SERIES,
        "bars": "rows",
        "fetched": "fetched",
        "vendors": "vendors",
        "gaps": "gaps",
    }
    | {"quality": "score", "complete": "complete", "error": "error", "lacking": "lacking"},
    "age_days": {"symbol": "symbol", "age before": "age", "success": "success", "errors": "errors"},
}


def night_page(
    report: Mapping[str, Any], command: str, begun: str, made: str, record: Sequence[Any] = ()
) -> str:
    """Return a job's report as an HTML page that opens from disk and loads nothing.

    Args:
        report: Result of ``populate_cache`` or ``refresh_fundamentals``.
        command: Job that was run, as typed.
        begun, made: Start and end of the job, ISO 8601 in UTC.
        record: The last nights, as from ``nights_of``; the figures of this job on earlier dates are
            shown next to this run's.
    """
    data = plain_values(report)
    seconds = max(0, (parse_iso(made) - parse_iso(begun)) // SECOND_MS)
    job = {"command": command, "begun": begun, "made": made, "seconds": seconds}
    look = _summary_of(data)
    night = {"night": begun[:10], "started": begun, "ended": made, "seconds": seconds}
    lines = (line for one in record for line in one["jobs"] if line["job"] == command)
    before = (line for line in lines if line["night"] < night["night"])
    nights = [*before, night | figures_of(data)]
    main = filled(
        "night",
        command=command,
        begun=moment(begun),
        made=moment(made),
        took=duration(seconds),
        look=summary(look),
        nights=_compared(nights),
        causes=_causes(data) or paragraph("none", "good"),
        incidents=titled("Incidents", listed(incident_texts(data))),
        perishable=titled(
            "What perishes",
            records(data["perishable"], _PERISHABLE) if data.get("perishable") else "",
        ),
        requests=_requests(data),
        results=_results(data),
    )
    job |= {"look": look, "nights": nights, "report": data}
    return page(f"onetape {command}, {moment(made)}", main, {DATA_ID: job})


def _summary_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's summary: outcome, number of series to look at, and next step."""
    reasons = sorted(
        report.get("reasons", ()), key=lambda reason: (not reason["failed"], -len(reason["series"]))
    )
    is_bad = any(reason["failed"] for reason in reasons)
    number = sum(len(reason["series"]) for reason in reasons)
    step = next((reason["next_step"] for reason in reasons if reason["next_step"]), "")
    if report.get("interrupted"):
        step = "run it again: it continues where it stopped"
    look = {"number": number, "of": "to look at", "text": title_of(report), "next_step": step}
    is_poor = reasons or report.get("interrupted")
    return look | {"state": "bad" if is_bad else "poor" if is_poor else "good"}


def _compared(nights: Sequence[Mapping[str, Any]]) -> list[Html]:
    """Return the latest run's figures, each next to the previous run's and a bar chart of all runs."""
    cells = []
    for name, (words, is_bad) in _NUMBERS.items():
        values = [night[name] for night in nights]
        if not any(values) and name != "failed":
            continue
        texts = [duration(value) if name == "seconds" else shown(value) for value in values]
        before = f", the night before {texts[-2]}" if texts[1:] else ""
        titles = [f"{moment(n['started'])}: {text}" for n, text in zip(nights, texts, strict=True)]
        bars = small_bars(values, titles, SHOWN, is_bad=is_bad)
        named = [element("span", text) for text in (words, before) if text]
        cells.append(element("div", element("b", texts[-1]), *named, bars))
    return cells


def _causes(report: Mapping[str, Any]) -> list[Html]:
    """Return each cause of failures once, with the next step and a collapsed list of its series."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for result in report.get("results") or ():
        by_name.setdefault(_name(result), []).append(result)
    causes = []
    for reason in sorted(report.get("reasons") or (), key=lambda reason: not reason["failed"]):
        names = reason["series"]
        # The text of a cause that several series share may name only one of them.
        is_one = len(names) > 1 and names[0].partition(" ")[0] in reason["why"]
        results = [result for name in names for result in by_name.get(name, ())]
        state, css = ("failed", "bad") if reason["failed"] else ("incomplete", "poor")
        more = f" and {len(names) - 5:,} more" if names[5:] else ""
        causes.append(
            filled(
                "cause",
                heading=f"{counted(len(names), 'series')} {state}",
                css=css,
                why=["For example: " if is_one else "", step_text(reason["why"])],
                step=step_text(reason["next_step"]) if reason["next_step"] else "nothing to do",
                names=f"{shown(names[:5])}{more}",
                results=_table(results) if results else paragraph(shown(names)),
            )
        )
    return causes


def _requests(report: Mapping[str, Any]) -> Html:
    at = "requests" if isinstance(report.get("requests"), dict) else "vendors"
    rows = []
    for vendor, counts in (report.get(at) or {}).items():
        quotas = report.get("quotas", {}).get(vendor) or counts.get("limits") or ()
        left = quota_text(quotas) or "no limit"
        rows.append({"vendor": vendor, **counts, "limits": left})
    if not rows:
        return paragraph("none: no vendor was queried", "good")
    names = [name for name in dict.fromkeys(n for row in rows for n in row) if name != "limits"]
    return records(rows, {spaced(name): name for name in names} | {"left of its limits": "limits"})


def _results(report: Mapping[str, Any]) -> Html:
    """Return the results that are not listed under a cause: incomplete and complete series."""
    results = report.get("results")
    if not results:
        return Html()
    named = {name for reason in report.get("reasons", ()) for name in reason["series"]}
    good = [result for result in results if not is_poor(result)]
    poor = [result for result in results if is_poor(result) and _name(result) not in named]
    parts = [titled(f"{len(poor):,} incomplete", poor and _table(poor), "h3")]
    if good:
        parts.append(folded(f"{len(good):,} without complaint", _table(good)))
    return titled(counted(len(results), "result"), joined(parts) or " ")


def _name(result: Mapping[str, Any]) -> str:
    return f"{result['symbol']} {result.get('timeframe', '')}".strip()


def _table(results: Sequence[Mapping[str, Any]]) -> Html:
    """Return a table of results, with the columns for the kind of job that produced them."""
    columns = next((columns for name, columns in _RESULTS.items() if name in results[0]), _SERIES)
    rows = [{**result, "age": _age(result)} for result in results[:_MOST]]
    return records(rows, columns, len(results))


def _age(result: Mapping[str, Any]) -> str:
    days = result.get("age_days")
    return "none held" if days is None else f"{days:.1f}"
