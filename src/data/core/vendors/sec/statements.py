"""Converts the lines of a company's filings to statements of a record of fundamentals. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...model.market.fundamentals import FIELDS, WITH_CURRENCY, Fact, Statement
from ...model.time.instant import NEVER_MS
from .lines import INSTANT, YEAR, CompanyLines, Line

# Lines that are ambiguous for a company with several classes of shares.
_BY_CLASS = frozenset({"price", "shares"})
_Place = tuple[str, str, str, str]


def statements_of(company: CompanyLines, *, has_classes: bool) -> tuple[Statement, ...]:
    """Return the statements of a company: one for each filing, period and kind, the latest period first.

    A statement has only the lines that its filing states for the first time or states differently.

    Args:
        company: Lines of the company.
        has_classes: Whether it has several classes of shares; values per share and numbers of shares
            are then left out.
    """
    lines = [line for line in company.lines if not (has_classes and _is_by_class(line))]
    # What ends a period may only be known from filings up to the line's own.
    ends, years = _ends(lines), _ends(line for line in lines if line.period == YEAR)
    rows = defaultdict[_Place, list[Line]](list)
    for line in lines:
        end = _row_end(line, company.reported)
        if ends.get(end, NEVER_MS) <= line.known_ms:
            is_year = years.get(end, NEVER_MS) <= line.known_ms
            for period in _periods(line, is_year=is_year):
                rows[line.filing.accession, line.statement, period, end].append(line)
    statements = [_statement(place, row) for place, row in rows.items()]
    return tuple(sorted(statements, key=lambda s: (s.period_end, s.filed_at), reverse=True))


def facts_of(name: str) -> dict[str, Fact]:
    """Return the facts about a company other than those in its statements."""
    return {"company_name": Fact(name, "text")} if name else {}


def _is_by_class(line: Line) -> bool:
    return FIELDS[line.name] in _BY_CLASS


def _row_end(line: Line, reported: Mapping[str, str]) -> str:
    """Return the end of the period to which a value belongs; the count of a cover belongs to its report."""
    if line.tag.startswith("dei:"):
        return reported.get(line.filing.accession, line.end)
    return line.end


def _ends(lines: Iterable[Line]) -> dict[str, int]:
    """Return the ends of the periods of flows, with the time at which each became known."""
    ends: dict[str, int] = {}
    for line in lines:
        if line.start:
            ends[line.end] = min(ends.get(line.end, NEVER_MS), line.known_ms)
    return ends


def _periods(line: Line, *, is_year: bool) -> Iterator[str]:
    if line.period != INSTANT:
        yield "Q4" if line.is_derived else line.period
        return
    yield "Q"
    if is_year:
        yield YEAR


def _statement(place: _Place, lines: Sequence[Line]) -> Statement:
    accession, kind, period, end = place
    # Of two share counts of one filing, the cover's is the later one.
    by_name = {line.name: line for line in sorted(lines, key=lambda line: line.end)}
    filing = lines[0].filing
    source: dict[str, Any] = {
        "accession": accession,
        "form": filing.form,
        "start": min(line.start for line in lines),
        "tags": {name: line.tag for name, line in by_name.items() if line.tag},
        "dates": {name: line.end for name, line in by_name.items() if line.end != end},
        "derived": [name for name, line in by_name.items() if line.is_derived],
        "accepted_raw": filing.accepted_raw,
        "is_certain": filing.is_certain,
    }
    if filing.part:
        source["part"] = filing.part
    currency = next((line.unit[:3] for line in lines if FIELDS[line.name] in WITH_CURRENCY), "")
    values = {name: line.value for name, line in by_name.items()}
    return Statement(kind, period, end, filing.filed, currency, values, filing.accepted, source)
