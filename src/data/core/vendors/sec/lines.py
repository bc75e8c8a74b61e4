"""Statement lines: the values of a company's reports, each with the filing that contains it. Pure.

A period is classified by its length, never by ``fy`` and ``fp``, which describe the filing. Of one
period, the value first filed and each later value that differs are kept.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import chain
from typing import Any

from ...model.display.texts import counted
from ...model.time.instant import DAY_MS, day_ms
from .answers import FOREIGN, REPORTS, CompanyFacts, Filing, Part, RawFact

QUARTER, YEAR, INSTANT = "Q", "FY", ""
_QUARTER_DAYS, _YEAR_DAYS = range(80, 101), range(350, 381)
_UNITS = {
    "money": re.compile(r"[A-Z]{3}"),
    "price": re.compile(r"[A-Z]{3}/shares"),
    "shares": re.compile("shares"),
}
_DAY = timedelta(days=1)
# Lines of flows whose quarters add up to the year.
_ADDITIVE = "money"
# A filing whose values are these multiples of the ones filed before is in another unit.
_SCALES = (1e-6, 1e-3, 1e3, 1e6)
_NEAR = 0.02


@dataclass(frozen=True)
class LineRule:
    """How one line is found.

    Attributes:
        name: Name of the line; a field of a record of fundamentals.
        statement: ``income``, ``balance`` or ``cash_flow``.
        unit: ``money``, ``price`` (per share) or ``shares``.
        tags: Tags in order of precedence.
        choose: ``first`` (the first tag that a filing has for a period) or ``largest`` (the largest
            value, for a total whose parts have tags of their own).
        beside: Maps a tag to others, each of which makes it only a part of the line.
        equals: Two lines whose difference this line must be, if all three are known.
    """

    name: str
    statement: str
    unit: str
    tags: tuple[str, ...]
    choose: str = "first"
    beside: Mapping[str, Sequence[str]] = field(default_factory=dict)
    equals: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """One value of one line, as one filing states it.

    Attributes:
        name: Name of the line.
        statement: ``income``, ``balance`` or ``cash_flow``.
        value: The value.
        unit: Unit as filed, such as ``USD``, ``USD/shares`` or ``shares``.
        start: ISO date of the first day; empty for a value at one date.
        end: ISO date of the last day, or of the date itself.
        filing: Filing that contains the value; that of the year for a derived quarter.
        tag: Tag of the value; empty if it is derived.
        version: 0 for the value that was filed first, 1 for the first restatement and so on.
    """

    name: str
    statement: str
    value: float
    unit: str
    start: str
    end: str
    filing: Filing
    tag: str = ""
    version: int = 0

    @property
    def is_derived(self) -> bool:
        """Whether the value is a year less three quarters."""
        return not self.tag

    @property
    def period(self) -> str:
        """``FY``, ``Q``, or empty for a value at one date."""
        return _period(self.start, self.end) or INSTANT

    @property
    def known_ms(self) -> int:
        """Time from which the value was public; see :func:`known_ms`."""
        return known_ms(self.filing)


@dataclass(frozen=True)
class CompanyLines:
    """The lines of one company.

    Attributes:
        lines: Lines, by the time at which they became public.
        reported: Maps each accession number to the end of the period that the filing reports.
        withheld: Maps each reason to the number of values that are left out for it.
        is_foreign: Whether all reports are those of a foreign filer, which are not read.
    """

    lines: tuple[Line, ...] = ()
    reported: Mapping[str, str] = field(default_factory=dict)
    withheld: Mapping[str, int] = field(default_factory=dict)
    is_foreign: bool = False


def known_ms(filing: Filing) -> int:
    """Return the time from which a filing was public.

    It is the time of acceptance or, if that is unknown, the end of the day of filing.
    """
    if filing.accepted_ms is not None:
        return filing.accepted_ms
    return day_ms(date.fromisoformat(filing.filed)) + DAY_MS


def rules_of(mapping: Mapping[str, Any]) -> tuple[LineRule, ...]:
    """Convert the table of lines, as read from its file, to rules."""
    return tuple(
        LineRule(
            name,
            entry["statement"],
            entry["unit"],
            tuple(entry["tags"]),
            entry.get("choose", "first"),
            entry.get("beside", {}),
            tuple(entry.get("equals", ())),
        )
        for name, entry in mapping["lines"].items()
    )


def lines_of(
    facts: CompanyFacts,
    filings: Iterable[Filing],
    rules: Sequence[LineRule],
    missing: Sequence[Part] = (),
) -> CompanyLines:
    """Return the lines of a company's reports.

    Args:
        facts: Facts of the company.
        filings: Known filings with their times of acceptance; a fact of another filing counts from
            the end of its day of filing.
        rules: Table of lines.
        missing: Older parts of the list of filings that were not requested.

    Raises:
        ResponseFormatError: The values of a tag are something else.
    """
    known = {filing.accession: filing for filing in filings}
    withheld = Counter[str]()
    forms = set[str]()
    chosen: list[Line] = []
    for rule in rules:
        by_period = defaultdict[tuple[str, str, str], list[tuple[str, RawFact]]](list)
        for tag in dict.fromkeys((*rule.tags, *chain(*rule.beside.values()))):
            for fact in facts.of(tag):
                forms.add(fact.form)
                if _is_usable(rule, fact):
                    by_period[fact.accession, fact.start, fact.end].append((tag, fact))
        chosen += _chosen(rule, by_period, known, withheld, missing)
    reported = _reported(chosen)
    lines = _versions(_scaled(_checked(chosen, rules, withheld), withheld))
    lines += _fourth_quarters(lines, rules)
    lines.sort(key=lambda line: (line.known_ms, line.filing.accession, line.end, line.name))
    is_foreign = not lines and (bool(forms & FOREIGN) or "ifrs-full" in facts.tags)
    return CompanyLines(tuple(lines), reported, dict(withheld), is_foreign)


def _is_usable(rule: LineRule, fact: RawFact) -> bool:
    if fact.form.removesuffix("/A") not in REPORTS or not _UNITS[rule.unit].fullmatch(fact.unit):
        return False
    return not fact.start if _is_instant(rule) else _period(fact.start, fact.end) is not None


def _is_instant(rule: LineRule) -> bool:
    return rule.statement == "balance"


def _period(start: str, end: str) -> str | None:
    """Return the kind of a period by its length; None for any other length."""
    if not start:
        return INSTANT
    days = (date.fromisoformat(end) - date.fromisoformat(start)).days + 1
    return QUARTER if days in _QUARTER_DAYS else YEAR if days in _YEAR_DAYS else None


def _chosen(
    rule: LineRule,
    by_period: Mapping[tuple[str, str, str], list[tuple[str, RawFact]]],
    known: Mapping[str, Filing],
    withheld: Counter[str],
    missing: Sequence[Part],
) -> Iterator[Line]:
    """Yield the value of a line for each filing and period."""
    for (accession, start, end), found in by_period.items():
        values = defaultdict[str, set[tuple[float, str]]](set)
        for tag, fact in found:
            values[tag].add((fact.value, fact.unit))
        tags = [
            tag
            for tag in rule.tags
            if tag in values and values.keys().isdisjoint(rule.beside.get(tag, ()))
        ]
        if any(len(values[tag]) > 1 for tag in tags):
            withheld["two values of one tag for one period in one filing"] += 1
            continue
        if not tags:
            continue
        single = {tag: next(iter(values[tag])) for tag in tags}
        tag = max(tags, key=lambda tag: single[tag][0]) if rule.choose == "largest" else tags[0]
        value, unit = single[tag]
        first = found[0][1]
        filing = known.get(accession)
        if filing is None:
            parts = (part.name for part in missing if part.first <= first.filed <= part.last)
            filing = Filing(accession, first.form, first.filed, "", part=next(parts, ""))
        yield Line(rule.name, rule.statement, value, unit, start, end, filing, tag)


def _reported(lines: Iterable[Line]) -> dict[str, str]:
    """Return the end of the period that each filing reports: the latest one of a flow."""
    ends: dict[str, str] = {}
    for line in lines:
        if line.start:
            accession = line.filing.accession
            ends[accession] = max(ends.get(accession, ""), line.end)
    return ends


def _checked(
    lines: Sequence[Line], rules: Sequence[LineRule], withheld: Counter[str]
) -> list[Line]:
    """Return the lines without those that contradict other lines of the same filing and period."""
    values = {
        (line.filing.accession, line.start, line.end, line.name): line.value for line in lines
    }
    parts = {rule.name: rule.equals for rule in rules if rule.equals}
    kept = []
    for line in lines:
        whole, *less = parts.get(line.name, ("",))
        place = line.filing.accession, line.start, line.end
        difference = [values.get((*place, name)) for name in (whole, *less)]
        if whole and None not in difference:
            expected = (difference[0] or 0.0) - sum(value or 0.0 for value in difference[1:])
            if abs(line.value - expected) > 0.005 * abs(expected):
                withheld[f"{line.name} is not {whole} less {', '.join(less)}"] += 1
                continue
        kept.append(line)
    return kept


def _scaled(lines: Sequence[Line], withheld: Counter[str]) -> list[Line]:
    """Return the lines without those of filings whose amounts are in another unit than before.

    A filing is compared with what other filings stated before it for the same periods.
    """
    by_filing = defaultdict[str, list[Line]](list)
    for line in lines:
        by_filing[line.filing.accession].append(line)
    before: dict[tuple[str, str, str], float] = {}
    kept: list[Line] = []
    for of_filing in sorted(by_filing.values(), key=_order_of_filings):
        amounts = [line for line in of_filing if _UNITS["money"].fullmatch(line.unit)]
        ratios = [
            line.value / before[line.name, line.start, line.end]
            for line in amounts
            if before.get((line.name, line.start, line.end))
        ]
        odd = [r for r in ratios if any(abs(r / scale - 1) < _NEAR for scale in _SCALES)]
        if odd and 2 * len(odd) > len(ratios):
            withheld[
                f"{of_filing[0].filing.accession}: amounts in another unit than before (thousands?)"
            ] += len(amounts)
            of_filing = [line for line in of_filing if line.unit != amounts[0].unit]
        for line in of_filing:
            before.setdefault((line.name, line.start, line.end), line.value)
        kept += of_filing
    return kept


def _order_of_filings(of_filing: Sequence[Line]) -> tuple[int, str]:
    return of_filing[0].known_ms, of_filing[0].filing.accession


def _versions(lines: Sequence[Line]) -> list[Line]:
    """Return the first value of each line and period, and each later one that differs from the last."""
    kept: list[Line] = []
    last: dict[tuple[str, str, str], Line] = {}
    for line in sorted(lines, key=lambda each: (each.known_ms, each.filing.accession)):
        place = line.name, line.start, line.end
        former = last.get(place)
        if former is not None and (former.value, former.unit) == (line.value, line.unit):
            continue
        last[place] = replace(line, version=0 if former is None else former.version + 1)
        kept.append(last[place])
    return kept


def _fourth_quarters(lines: Sequence[Line], rules: Sequence[LineRule]) -> list[Line]:
    """Return the fourth quarters that no filing states: a year less three quarters of one restatement.

    A year as first filed needs quarters as first filed. A restated year needs three quarters that were
    restated as well, after the year was first filed and no later than its restatement.
    """
    additive = {rule.name for rule in rules if rule.unit == _ADDITIVE and not _is_instant(rule)}
    quarters = defaultdict[str, dict[str, list[Line]]](lambda: defaultdict(list))
    years: list[Line] = []
    for line in lines:
        if line.name not in additive:
            continue
        if line.period == QUARTER:
            quarters[line.name][line.start].append(line)
        elif line.period == YEAR:
            years.append(line)
    first_known = {(y.name, y.start, y.end): y.known_ms for y in years if not y.version}
    derived = []
    for year in years:
        starts = quarters[year.name]
        three: list[Line] = []
        start = year.start
        for _ in range(3):
            usual = _as_in(starts.get(start, ()), year, first_known)
            if usual is None:
                break
            three.append(usual)
            start = (date.fromisoformat(usual.end) + _DAY).isoformat()
        is_last = len(three) == 3 and _period(start, year.end) == QUARTER
        stated = [q for q in starts.get(start, ()) if q.end == year.end]
        if is_last and not any(q.known_ms <= year.known_ms for q in stated):
            rest = year.value - sum(quarter.value for quarter in three)
            derived.append(replace(year, value=rest, start=start, tag=""))
    return derived


def _as_in(
    versions: Sequence[Line], year: Line, first_known: Mapping[tuple[str, str, str], int]
) -> Line | None:
    """Return the version of a quarter that belongs to the same restatement as a year; None if none does."""
    known = [q for q in versions if q.known_ms <= year.known_ms and q.unit == year.unit]
    if not known or len({q.end for q in known}) > 1:
        return None
    if year.version == 0:
        return known[-1] if len(known) == 1 else None
    since = first_known[year.name, year.start, year.end]
    return known[-1] if known[-1].known_ms > since else None


def summary(withheld: Mapping[str, int]) -> str:
    """Return the reasons for which values are left out, with their numbers."""
    return "; ".join(f"{reason} ({counted(count, 'value')})" for reason, count in withheld.items())
