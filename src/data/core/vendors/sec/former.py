"""What earlier answers contained and the latest one lacks or states differently. Pure.

A later answer may be cut, may come from a server that is behind, or may lack what was withdrawn. What
was known remains known until it is settled: the SEC has withdrawn a filing, or changed a value or a
time, if a second answer at least a day later still says so. Facts of a filing that the list still has
are never withdrawn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from ...model.display.texts import counted
from ...model.time.instant import DAY_MS, date_of, day_ms
from .answers import CompanyFacts, Filing, Former, Listed, RawFact, Row, Submissions

Facts = tuple[RawFact, ...]

_SETTLES_MS = DAY_MS
# Time after which the SEC no longer corrects the zone of a new filing's time.
_FRESH_MS = 4 * DAY_MS
# An answer that lacks more filings than this, and more than a tenth, withdraws none.
_MOST = 2
_NAMED = 3


def filing_rows(filings: Iterable[Filing]) -> dict[str, Filing]:
    """Return the filings that statements, announcements and proofs need, by accession number."""
    return {f.accession: f for f in filings if f.is_report or f.form.removesuffix("/A") == "8-K"}


def fact_rows(facts: CompanyFacts, tags: Iterable[str]) -> dict[tuple[str, ...], Facts]:
    """Return the values of some tags, by tag, unit, period and filing."""
    found = defaultdict[tuple[str, ...], list[RawFact]](list)
    for tag in tags:
        for fact in facts.sent(tag):
            found[tag, fact.unit, fact.start, fact.end, fact.accession].append(fact)
    return {key: tuple(rows) for key, rows in found.items()}


def lacking(
    former: Former[Row],
    before: Mapping[Any, Row],
    before_ms: int,
    now: Mapping[Any, Row],
    now_ms: int,
) -> dict[Any, tuple[Row, int]]:
    """Return the rows of earlier answers that an answer lacks or states differently, as first known.

    Args:
        former: Result for the answer before.
        before, before_ms: Rows of the answer before, and its time (UTC milliseconds).
        now, now_ms: Rows of the answer, and its time.
    """
    known = {key: (row, now_ms) for key, row in before.items()} | dict(former)
    return {
        key: (row, since_ms)
        for key, (row, since_ms) in known.items()
        if key not in now or not _are_same(row, now[key], before_ms)
    }


def _are_same(row: Any, other: Any, before_ms: int) -> bool:
    if isinstance(row, Listed):
        return bool(row.cik == other.cik)
    if isinstance(row, Filing):
        is_fresh = day_ms(date.fromisoformat(row.filed)) > before_ms - _FRESH_MS
        return is_fresh or row.accepted_raw == other.accepted_raw
    return {fact.value for fact in row} == {fact.value for fact in other}


# --- the union with the latest answer --------------------------------------------------------------


@dataclass(frozen=True)
class KnownFilings:
    """The filings of one filer, by all answers.

    Attributes:
        filings: Filings, without those that were withdrawn.
        withdrawn: Accession numbers of the filings that the SEC no longer lists.
        notes: Sentences about the differences between the answers.
    """

    filings: tuple[Filing, ...]
    withdrawn: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def known_filings(
    submissions: Submissions, older: Iterable[Filing], former: Former[Filing], fetched_ms: int
) -> KnownFilings:
    """Return the filings of one filer, by all answers.

    Args:
        submissions: Latest answer.
        older: Filings in older parts of the list.
        former: What that answer or these parts lack or state differently.
        fetched_ms: Time of the answer.
    """
    known = {filing.accession: filing for filing in (*submissions.filings, *older)}
    lately = max((part.last for part in submissions.parts), default="")
    absent, changed, settled = list[str](), list[str](), list[str]()
    listed = len(filing_rows(known.values()))
    withdrawn = list[str]()
    for accession, (row, since_ms) in former.items():
        is_settled = fetched_ms - since_ms >= _SETTLES_MS
        now = known.get(accession)
        if now is None and row.filed <= lately:
            known[accession] = row  # it is in an older part now
        elif now is None:
            (withdrawn if is_settled else absent).append(accession)
        elif now.accepted_raw != row.accepted_raw:
            (settled if is_settled else changed).append(accession)
            if not is_settled:
                known[accession] = replace(now, accepted_raw=row.accepted_raw)
    if len(withdrawn) + len(absent) > max(_MOST, listed // 10):
        absent, withdrawn = [*absent, *withdrawn], []
    known |= {accession: former[accession][0] for accession in absent}
    said = {
        "that the SEC no longer lists left out": withdrawn,
        "that the SEC's list of {} lacks kept": absent,
        "whose time of acceptance changed in the SEC's list of {}: the first one counts": changed,
        "whose time of acceptance the SEC changed: the later answer counts": settled,
    }
    day = date_of(fetched_ms)
    notes = tuple(
        f"{counted(len(numbers), 'filing')} {text.format(day)} ({_named(numbers)})"
        for text, numbers in said.items()
        if numbers
    )
    return KnownFilings(tuple(known.values()), frozenset(withdrawn), notes)


def known_facts(
    facts: CompanyFacts, former: Former[Facts], withdrawn: frozenset[str], fetched_ms: int
) -> tuple[CompanyFacts, tuple[str, ...]]:
    """Return the facts of one filer, by all answers, and sentences about the differences between them.

    Args:
        facts: Latest answer.
        former: What that answer lacks or states differently.
        withdrawn: Accession numbers of withdrawn filings.
        fetched_ms: Time of the answer.
    """
    kept = defaultdict[str, dict[tuple[str, ...], Facts]](dict)
    now = fact_rows(facts, {key[0] for key in former})
    counts = dict.fromkeys(("lacks: they are kept", "changed: the first ones count"), 0)
    settled = 0
    for key, (rows, since_ms) in former.items():
        tag, accession = key[0], key[-1]
        if accession in withdrawn:
            continue
        if key in now and fetched_ms - since_ms >= _SETTLES_MS:
            settled += 1
            continue
        counts["changed: the first ones count" if key in now else "lacks: they are kept"] += 1
        kept[tag][key[1:]] = rows
    notes = [
        f"{counted(count, 'value')} of earlier answers that the SEC's answer of {date_of(fetched_ms)} {text}"
        for text, count in counts.items()
        if count
    ]
    if settled:
        notes.append(f"{counted(settled, 'value')} that the SEC changed: the later answer counts")
    return replace(facts, kept=dict(kept), withdrawn=withdrawn), tuple(notes)


def _named(accessions: Sequence[str]) -> str:
    return ", ".join(accessions[:_NAMED]) + ", ..." * (len(accessions) > _NAMED)
