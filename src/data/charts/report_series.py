"""The sections of a report on one series, in the order of the page. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..model.html import Html, element
from ..model.texts import counted, moment
from .heat_table import coverage_by_year
from .parts import (
    Column,
    Values,
    cards,
    compared_facts,
    folded,
    more_than,
    name_of,
    names_text,
    problems,
    reasons_table,
    records,
    spaced,
    step_text,
)


def series_sections(series: Values, chart: Html) -> Iterator[Html]:
    """Yield the sections for one series, that is, for one lane of the symbol.

    Args:
        series: Values of the series.
        chart: Chart of the series; empty if there is none.
    """
    yield from _heading(series)
    yield from problems(series)
    yield series_facts(series, series.of("quality") if series.data["quality"] else None)
    yield chart
    if series.data["fingerprint"]:
        yield element(
            "p", "fingerprint of these bars ", element("code", series.show("fingerprint"))
        )
    yield from _findings(series)
    yield from _gap_list(series)
    yield from coverage_by_year(series.of("heat"))
    yield from _coverage_spans(series)
    yield from _comparisons(series)
    yield from _commits(series)
    yield from _set_aside(series)


def _heading(series: Values) -> Iterator[Html]:
    """Yield the name of a lane; none for a default lane from which queries are answered."""
    other = ""
    if not series.data["answers"]:
        other = ", which is not the series that answers use under the present rules"
    if series.data["lane"] or other:
        yield element("h2", name_of(series), other)


def series_facts(series: Values, bars: Values | None) -> Html:
    """Return a series' figures as panels.

    Args:
        series: Values of the series.
        bars: Values with the count, first and last time, and score of the bars; None if unknown.
    """
    facts: list[tuple[str, object]] = []
    if bars is not None:
        facts = [
            ("bars", bars.show("rows")),
            ("first", bars.show("first", as_text=moment)),
            ("last", bars.show("last", as_text=moment)),
            ("quality", bars.show("score")),
        ]
    facts.append(("vendors", series.show("vendors", as_text=names_text)))
    return cards([*facts, *compared_facts(series, ("confirmed", "contradicted"))])


def _findings(series: Values) -> Iterator[Html]:
    if series.data["quality"] is None:
        return
    yield element("h3", "Findings")
    findings = list(series.each("quality", "findings"))
    yield records(findings, _FINDINGS) if findings else _empty_note()
    if count := len(series.data["quality"]["not_checked"]):
        reasons = reasons_table(series, "quality", "not_checked")
        yield folded(f"{counted(count, 'check')} did not run", reasons)


def _gap_list(series: Values) -> Iterator[Html]:
    yield element("h3", "Gaps")
    total = sum(series.data["gaps"]["counts"].values())
    if not total:
        yield _empty_note()
        return
    listed = list(series.each("gaps", "gaps"))
    yield records(listed, GAP_COLUMNS)
    yield more_than(total, len(listed))


def _coverage_spans(series: Values) -> Iterator[Html]:
    spans = list(series.each("coverage"))
    total = len(spans) + series.data["coverage_more"]
    yield folded(
        f"Spans: {counted(total, 'span')}, newest first",
        records(spans[::-1], _SPANS),
        more_than(total, len(spans)),
    )


def _comparisons(series: Values) -> Iterator[Html]:
    compared = list(series.each("comparisons"))
    if not compared:
        return
    total = len(compared) + series.data["comparisons_more"]
    yield element("h3", "Compared with second vendors: ", series.show("proof"))
    yield records(compared, _COMPARISONS)
    yield more_than(total, len(compared))


def _commits(series: Values) -> Iterator[Html]:
    commits = list(series.each("commits"))
    total = len(commits) + series.data["commits_more"]
    yield folded(
        f"Log: {counted(total, 'commit')}, newest first",
        records(commits, _COMMITS),
        more_than(total, len(commits)),
    )


def _set_aside(series: Values) -> Iterator[Html]:
    """Yield the number of rows in the quarantine, and the damaged files in it."""
    kept = series.data["quarantined"]
    if not kept or not (kept["rows"] or kept["files"]):
        return
    aside = series.of("quarantined")
    yield element("h3", "Kept aside")
    yield element("p", aside.show("rows"), " invalid rows")
    if kept["files"]:
        yield records(list(aside.each("files")), _KEPT_FILES)


def route_sections(sources: Values) -> Iterator[Html]:
    """Yield the vendors in the rules for the series, and those that are not queried, with reasons."""
    data = sources.data
    yield element("h2", "Sources in the rules")
    if data["route"]:
        yield records(list(sources.each("route")), _ROUTE)
    if data["why_not"]:
        yield element("p", sources.show("why_not"), class_="poor")
    if count := len(data["unasked"]):
        yield folded(f"{counted(count, 'vendor')} not queried", reasons_table(sources, "unasked"))


def _empty_note() -> Html:
    return element("p", "none", class_="good")


def _due_text(due: Any) -> str:
    return moment(due) if due else "never"


# --- the columns of the tables -----------------------------------------------------------------

_RANGE: Sequence[Column] = (Column("from", "start", moment), Column("up to", "end", moment))
GAP_COLUMNS = (
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
    Column("due again", "next_due", _due_text),
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
