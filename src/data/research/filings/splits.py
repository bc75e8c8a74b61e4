"""Evidence on splits from filings: it agrees, contradicts, or is unknown. It decides nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Literal

from ...core.filings.service import RATIOS, SHARES, Company, CompanyFacts, RawFact
from ...core.model.display.texts import counted
from ...core.model.time.instant import date_of
from .company import american_stock, known_ms_of, warn_of_notes

# A ratio filed later, or for a longer period, may describe an older split.
_LATEST, _LONGEST_DAYS = timedelta(days=280), 31
# A filing dates a split by its announcement, record date or effective date.
_BEFORE, _AFTER = timedelta(days=150), timedelta(days=45)
_SAME_RATIO, _NEAR_JUMP = 0.02, 0.15

Verdict = Literal["agrees", "unknown", "contradicts"]


@dataclass(frozen=True)
class SplitEvidence:
    """Evidence from filings on one split.

    Attributes:
        ex_date: ISO ex-date of the split; that of a filing's fact if no split is known.
        ratio: New shares for one old share.
        verdict: ``agrees``, ``unknown`` or ``contradicts``.
        reason: Content of the filings.
        accessions: Accession numbers of these filings.
    """

    ex_date: str
    ratio: float
    verdict: Verdict
    reason: str
    accessions: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitReport:
    """The evidence on all splits of a company.

    Attributes:
        symbol: Symbol of the company.
        filer: Number of the filer.
        evidence: Evidence on each split, by date.
    """

    symbol: str
    filer: int
    evidence: tuple[SplitEvidence, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether nothing is contradicted."""
        return all(each.verdict != "contradicts" for each in self.evidence)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        rows = [vars(each) | {"accessions": list(each.accessions)} for each in self.evidence]
        return {"symbol": self.symbol, "filer": self.filer, "splits": rows, "ok": self.ok}


def split_report(manager: Any, symbol: Any, *, timeout: Any = None) -> SplitReport:
    """Return the evidence from filings on the splits that vendors report, and on others.

    Nothing is stored, and no answer changes because of it.

    Args:
        manager: Data manager.
        symbol: American stock.
        timeout: Seconds after which the call stops waiting.

    Raises:
        QueryError: The symbol does not mean a stock.
        DataError: The SEC or the vendors of splits did not answer.
    """
    services = manager._services
    instrument = american_stock(services, symbol)
    frame = manager.get_actions(instrument.symbol, timeout=timeout)
    known = [(d.date(), float(r)) for d, r in frame.loc[frame["type"] == "split", "ratio"].items()]

    def answer() -> tuple[Company, CompanyFacts]:
        """Return the company and its facts."""
        company, facts = services.filings.facts(services.filings.company(instrument))
        warn_of_notes(company)
        return company, facts

    company, facts = services.filings.within(timeout, instrument.symbol, answer)
    until = date_of(known_ms_of(services))
    rows = evidence_on(known, facts, company.proof.since, until)
    return SplitReport(instrument.symbol, company.cik, tuple(rows))


def evidence_on(
    splits: Sequence[tuple[date, float]], facts: CompanyFacts, since: str, until: date
) -> list[SplitEvidence]:
    """Return the evidence on known splits, and on splits that only filings state.

    Args:
        splits: Ex-dates with ratios.
        facts: Facts of the company.
        since, until: First (ISO) and last day of filing that count.
    """
    stated = list(_stated(facts, since, until))
    counts = _counts(facts, since, until)
    used = set[RawFact]()
    rows = []
    for ex_date, ratio in sorted(splits):
        near = [f for f in stated if ex_date - _BEFORE <= _day(f.end) <= ex_date + _AFTER]
        used |= set(near)
        rows.append(_judged(ex_date, ratio, near, counts))
    for fact in stated:
        if fact not in used:
            jump = _jump(counts, _day(fact.end) - _AFTER, _day(fact.end) + _BEFORE)
            is_seen = jump is not None and _is_near(jump[0], fact.value, _NEAR_JUMP)
            text = f"filings state {fact.value:g}:1 around {fact.end}, which no vendor reports"
            proofs = dict.fromkeys((fact.accession, *(jump[1] if jump and is_seen else ())))
            verdict: Verdict = "contradicts" if is_seen else "unknown"
            rows.append(SplitEvidence(fact.end, fact.value, verdict, text, tuple(proofs)))
    return sorted(rows, key=lambda row: row.ex_date)


def _stated(facts: CompanyFacts, since: str, until: date) -> Iterator[RawFact]:
    """Yield the ratios that filings state: one for each year and ratio, from the first filing."""
    found = set[tuple[int, float]]()
    rows = [fact for tag in RATIOS for fact in facts.of(tag)]
    for fact in sorted(rows, key=lambda fact: (fact.filed, fact.end)):
        is_dated = fact.days <= _LONGEST_DAYS and _day(fact.filed) - _day(fact.end) <= _LATEST
        place = _day(fact.end).year, fact.value
        is_known = since <= fact.filed <= until.isoformat()
        if is_dated and is_known and fact.value > 0 and fact.value != 1 and place not in found:
            found.add(place)
            yield fact


def _counts(facts: CompanyFacts, since: str, until: date) -> list[RawFact]:
    """Return the share counts of covers, by date; the first one filed for each date."""
    by_day: dict[str, RawFact] = {}
    for fact in sorted(facts.of(SHARES), key=lambda fact: fact.filed):
        if since <= fact.filed <= until.isoformat() and fact.value > 0:
            by_day.setdefault(fact.end, fact)
    return [by_day[day] for day in sorted(by_day)]


def _jump(
    counts: Sequence[RawFact], first: date, last: date
) -> tuple[float, tuple[str, str]] | None:
    """Return the largest jump between two covers around a time, and the two filings."""
    pairs = [
        (two.value / one.value, (one.accession, two.accession))
        for one, two in itertools.pairwise(counts)
        if first - _BEFORE <= _day(one.end) <= last
        and _day(two.end) >= first
        and _day(two.end) - _day(one.end) <= _LATEST
    ]
    return max(pairs, key=lambda pair: max(pair[0], 1 / pair[0]), default=None)


def _judged(
    ex_date: date, ratio: float, near: Sequence[RawFact], counts: Sequence[RawFact]
) -> SplitEvidence:
    """Return the evidence on one known split."""
    same = [fact for fact in near if _is_near(fact.value, ratio, _SAME_RATIO)]
    around = [
        (one, two)
        for one, two in itertools.pairwise(counts)
        if _day(one.end) < ex_date <= _day(two.end) and _day(two.end) - _day(one.end) <= _LATEST
    ]
    jump = around[0][1].value / around[0][0].value if around else None
    covers = tuple(fact.accession for pair in around[:1] for fact in pair)
    said = [f"{counted(len(same), 'fact')} with this ratio"] if same else []
    verdict: Verdict = "agrees" if same else "unknown"
    if jump is not None and _is_near(jump, ratio, _NEAR_JUMP):
        verdict, said = "agrees", [*said, f"shares on covers times {jump:.3g}"]
    elif jump is not None and not same and _is_near(jump, 1.0, _NEAR_JUMP):
        verdict, said = "contradicts", [f"shares on covers times {jump:.3g}"]
    elif near and not same:
        others = ", ".join(f"{fact.value:g}:1" for fact in near)
        verdict, said = "contradicts", [f"filings state {others}"]
    proofs = dict.fromkeys((*(fact.accession for fact in same or near), *covers))
    reason = "; ".join(said) or "no filing says anything about it"
    return SplitEvidence(ex_date.isoformat(), ratio, verdict, reason, tuple(proofs) if said else ())


def _is_near(value: float, other: float, tolerance: float) -> bool:
    return abs(value / other - 1) <= tolerance


def _day(text: str) -> date:
    return date.fromisoformat(text)
