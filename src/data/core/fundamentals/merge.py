"""Merges several vendors' answers about one company into one record with the vendor of each value."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from ..config.fundamentals_rules import FundamentalsRules
from ..model.market.fundamentals import (
    FIELDS,
    WITH_CURRENCY,
    Fact,
    Snapshot,
    Statement,
    objection,
    quality,
)

# Factors between values that mean the same in different units.
_SCALES = {
    100.0: "percent against a fraction, or hundredths of a currency?",
    1e3: "thousands against units?",
    1e6: "millions against units?",
}
_BY_WORTH = "quality_based"
# A fiscal year may end on the Saturday nearest to the end of a month; some vendors give the month's.
_SAME_END = timedelta(days=10)


@dataclass(frozen=True)
class ChosenValue:
    """The chosen value of one field.

    Attributes:
        fact: Value, with its unit, currency and period.
        vendors: Vendors of the value, several if it is an average.
        fetched_at_ms: Time of the oldest response that it is from, UTC milliseconds.
    """

    fact: Fact
    vendors: tuple[str, ...]
    fetched_at_ms: int


@dataclass(frozen=True)
class MergedRecord:
    """One merged record.

    Attributes:
        fields: Maps each field to the chosen value.
        statements: Financial statements from the most trusted vendor that has any.
        statements_from: Vendor of the statements.
        blocks: Vendor-specific data blocks by name; if two vendors have a block of the same name,
            the more trusted vendor's block is used.
        conflicts: A mapping for each value that differs from the chosen value.
        dropped: A mapping with field, vendor and reason for each value that cannot be true.
        refused: Maps each rejected vendor to the reason.
        used: Vendors whose data was used, most trusted first.
        strategy: Strategy that chose the values.
    """

    fields: Mapping[str, ChosenValue] = field(default_factory=dict)
    statements: tuple[Statement, ...] = ()
    statements_from: str = ""
    blocks: Mapping[str, Any] = field(default_factory=dict)
    conflicts: tuple[dict[str, Any], ...] = ()
    dropped: tuple[dict[str, str], ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    used: tuple[str, ...] = ()
    strategy: str = "priority_based"


def merge(
    snapshots: Sequence[Snapshot],
    rules: FundamentalsRules,
    data_type: str,
    strategy: str,
    order: Sequence[str] = (),
) -> MergedRecord:
    """Merge several responses into one record; the order of ``snapshots`` does not matter.

    Args:
        snapshots: Vendors' snapshots; if a vendor has several, no two have the same fields.
        rules: Order of the vendors, and tolerances for differing values.
        data_type: Data type, which determines the order of vendors.
        strategy: ``priority_based`` uses the first vendor that has a field, ``quality_based`` uses
            the vendor that has the most important fields, and ``consensus`` averages values that
            are close together and comparable.
        order: Vendors as named by the caller, most trusted first; overrides every order in the
            rules.
    """
    ranks = _ranks(snapshots, order or rules.order(data_type))
    ranked = sorted(snapshots, key=lambda s: (s.is_stale, ranks[s.vendor], s.vendor))
    refused = strangers(ranked)
    trusted, dropped = _drop_wrong(s for s in ranked if s.vendor not in refused)
    how = strategy if strategy != "consensus" else rules.consensus_fallback
    fields: dict[str, ChosenValue] = {}
    conflicts: list[dict[str, Any]] = []
    for name in dict.fromkeys(name for s in trusted for name in s.facts):
        facts = _facts_in_order(name, trusted, rules, order or rules.order(data_type, name), how)
        fields[name] = _consensus(facts, rules) if strategy == "consensus" else _first_fact(facts)
        if rules.reports_conflicts:
            conflicts += _conflicts(name, facts, fields[name], rules.tolerance)
    reporter = next((s for s in trusted if s.statements), None)
    return MergedRecord(
        fields,
        reporter.statements if reporter else (),
        reporter.vendor if reporter else "",
        _blocks(trusted),
        tuple(conflicts),
        tuple(dropped),
        refused,
        tuple(dict.fromkeys(s.vendor for s in trusted if s.facts or s.statements)),
        strategy,
    )


def with_reported(snapshot: Snapshot) -> Snapshot:
    """Return ``snapshot`` with additional facts taken from its latest statements.

    Of an original and an amended report for one period, the one filed last is the latest. A field that
    the reports of the last two years lack has no value.
    """
    from_reports: dict[str, Fact] = {}
    newest = sorted(snapshot.statements, key=lambda s: (s.period_end, s.filed_at), reverse=True)
    last = newest[0].period_end if newest else ""
    oldest = f"{int(last[:4]) - 2:04}{last[4:]}" if last[:4].isdecimal() else ""
    recent = [report for report in newest if report.period_end > oldest]
    for report in sorted(recent, key=lambda s: s.period != "FY"):
        for name, value in report.values.items():
            unit = FIELDS.get(name, "")
            fact = Fact(
                value,
                unit,
                report.currency if unit in WITH_CURRENCY else "",
                report.period,
                report.period_end,
                report.filed_at,
            )
            from_reports.setdefault(name, fact)
    return replace(snapshot, facts=from_reports | dict(snapshot.facts), statements=tuple(newest))


def _ranks(snapshots: Iterable[Snapshot], order: Sequence[str]) -> dict[str, int]:
    ranks = {vendor: rank for rank, vendor in enumerate(order)}
    return {s.vendor: ranks.get(s.vendor, len(ranks)) for s in snapshots}


def _drop_wrong(snapshots: Iterable[Snapshot]) -> tuple[list[Snapshot], list[dict[str, str]]]:
    """Drop values that cannot be true; return the remaining responses and the dropped values."""
    kept: list[Snapshot] = []
    dropped: list[dict[str, str]] = []
    for snapshot in snapshots:
        wrong = {n: reason for n, fact in snapshot.facts.items() if (reason := objection(n, fact))}
        reasons = dict(snapshot.dropped) | wrong
        dropped += [
            {"field": n, "vendor": snapshot.vendor, "reason": w} for n, w in reasons.items()
        ]
        kept.append(
            replace(snapshot, facts={n: f for n, f in snapshot.facts.items() if n not in wrong})
        )
    return kept, dropped


def _facts_in_order(
    name: str,
    snapshots: Sequence[Snapshot],
    rules: FundamentalsRules,
    order: Sequence[str],
    how: str,
) -> list[tuple[Snapshot, Fact]]:
    """Return a field's values with their snapshots, the most trusted first and stale ones last."""
    facts = [(s, s.facts[name]) for s in snapshots if name in s.facts]
    if len(facts) < 2:
        return facts
    ranks = _ranks((s for s, _ in facts), order)

    def rank(entry: tuple[Snapshot, Fact]) -> tuple[bool, float, int]:
        """Return a sort key: freshness, then (if ``how`` says so) quality, then the vendor's position."""
        snapshot = entry[0]
        score = (
            quality(snapshot.facts) * rules.grades.get(snapshot.vendor, 3.0)
            if how == _BY_WORTH
            else 0.0
        )
        return snapshot.is_stale, -score, ranks[snapshot.vendor]

    return sorted(facts, key=rank)


def _first_fact(facts: Sequence[tuple[Snapshot, Fact]]) -> ChosenValue:
    snapshot, fact = facts[0]
    return ChosenValue(fact, (snapshot.vendor,), snapshot.fetched_at_ms)


def _consensus(facts: Sequence[tuple[Snapshot, Fact]], rules: FundamentalsRules) -> ChosenValue:
    """Return the mean of the values that are comparable with the first, if they are close together."""
    first = facts[0][1]
    peers = [
        (s, f) for s, f in facts if _is_comparable(first, f) and s.is_stale == facts[0][0].is_stale
    ]
    if len(peers) < 2:
        return _first_fact(facts)
    numbers = [float(f.value) for _, f in peers]
    mean = math.fsum(numbers) / len(numbers)
    if any(abs(n - mean) > rules.consensus_tolerance * abs(mean) for n in numbers):
        return _first_fact(facts)
    vendors, oldest = tuple(s.vendor for s, _ in peers), min(s.fetched_at_ms for s, _ in peers)
    return ChosenValue(replace(first, value=mean), vendors, oldest)


def _is_comparable(fact: Fact, other: Fact) -> bool:
    """Return whether two numbers have the same meaning, unit, currency and period."""
    if isinstance(fact.value, str) or isinstance(other.value, str):
        return False
    mine = (fact.unit, fact.currency)
    return mine == (other.unit, other.currency) and _is_same_period(fact, other)


def _is_same_period(fact: Fact, other: Fact) -> bool:
    """Return whether two values cover the same period; an unknown end may be any."""
    if fact.period != other.period:
        return False
    try:
        ends = (date.fromisoformat(fact.period_end), date.fromisoformat(other.period_end))
    except ValueError:
        return True
    return abs(ends[0] - ends[1]) <= _SAME_END


def _conflicts(
    name: str, facts: Sequence[tuple[Snapshot, Fact]], chosen: ChosenValue, tolerance: float
) -> Iterable[dict[str, Any]]:
    """Yield differing values of other vendors; a value for another period is not a conflict."""
    base = chosen.fact
    for snapshot, fact in facts:
        if snapshot.vendor in chosen.vendors and len(chosen.vendors) == 1:
            continue
        if isinstance(fact.value, str) or isinstance(base.value, str):
            continue
        if not _is_same_period(base, fact):
            continue
        reason = _difference(base, fact, base.value, fact.value, tolerance)
        if reason:
            yield {
                "field": name,
                "vendor": snapshot.vendor,
                "value": fact.value,
                "currency": fact.currency,
                "unit": fact.unit,
                "why": reason,
                "chosen": base.value,
                "chosen_vendor": "+".join(chosen.vendors),
                "chosen_currency": base.currency,
            }


def _difference(base: Fact, fact: Fact, here: float, there: float, tolerance: float) -> str:
    """Describe how a value differs from the chosen one; empty if it does not."""
    if base.currency and fact.currency and base.currency != fact.currency:
        return f"in {fact.currency}, not {base.currency}"
    largest = max(abs(here), abs(there))
    if largest == 0 or abs(here - there) <= tolerance * largest:
        return ""
    if base.unit != fact.unit:
        return "of an unknown unit" if not (base.unit and fact.unit) else f"in {fact.unit}"
    if base.currency != fact.currency:
        return "in a currency that one of them does not name"
    smallest = min(abs(here), abs(there))
    factor = largest / smallest if smallest else math.inf
    for scale, guess in _SCALES.items():
        if here * there > 0 and abs(factor / scale - 1) <= tolerance:
            return f"{factor:.3g} times apart: {guess}"
    return f"differs by {abs(here - there) / largest:.0%}"


def _blocks(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for snapshot in reversed(snapshots):
        merged |= snapshot.blocks
    return merged


# --- are the answers about the same company? ------------------------------------------------------

# Legal forms, and words that very many company names contain.
_COMMON = frozenset(
    "inc incorporated corp corporation co company ltd limited plc ag sa se nv spa ab asa oyj kgaa "
    "the group holding holdings international class common stock ordinary shares adr etf fund "
    "trust and of de".split()
)


def strangers(snapshots: Sequence[Snapshot]) -> dict[str, str]:
    """Return the vendors whose responses describe a different company, with reasons.

    An answer that contains the requested symbol describes the right company, whatever name it
    gives. If no answer contains the symbol, the first answer is the reference.
    """
    with_name = [s for s in snapshots if _name(s)]
    reference = [s for s in with_name if s.names_symbol] or with_name[:1]
    reasons = {}
    for other in with_name:
        if any(_distinctive_words(_name(other)) & _distinctive_words(_name(p)) for p in reference):
            continue
        reasons[other.vendor] = (
            f"its answer is about {_name(other)!r}, but {reference[0].vendor}'s about {_name(reference[0])!r}"
        )
    return reasons


def _name(snapshot: Snapshot) -> str:
    fact = snapshot.facts.get("company_name")
    return str(fact.value) if fact else ""


def _distinctive_words(name: str) -> frozenset[str]:
    """Return the distinctive words in a company's name, or all words if none is distinctive."""
    words = frozenset(re.findall(r"\w+", name.lower()))
    return (words - _COMMON) or words
