"""Determines the data that was public on a day, and the report dates that make answers outdated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta

from ..model.market.fundamentals import Snapshot, Statement
from ..model.time.instant import DAY_MS, date_of, day_ms, parse_iso

_NO_DATE = "{} does not report when it was filed"
# Strings that identify the company. They hardly ever change, unlike descriptions, ratings and dates.
_IDENTITY = frozenset(
    "symbol ticker company_name quote_type sector industry country exchange exchange_code currency".split()
)


def as_known(
    snapshot: Snapshot, last_day: date, known_ms: int | None = None
) -> tuple[Snapshot, dict[str, str]]:
    """Return the part of ``snapshot`` that was public by a point in time, and why the rest was not.

    A report is public as of its acceptance or, if only its day is known, its filing date; a value
    without a period applies to the time of the request. The strings that identify the company are
    always kept.

    Args:
        snapshot: Vendor's response.
        last_day: The last complete day; for a point in time within a day, the day before.
        known_ms: The point in time (UTC milliseconds); what was accepted before it was public. Default:
            the end of the last day.
    """
    until_ms = day_ms(last_day) + DAY_MS if known_ms is None else known_ms
    then = last_day.isoformat()
    was_fetched = date_of(snapshot.fetched_at_ms) <= last_day
    withheld: dict[str, str] = {}
    for name, fact in snapshot.facts.items():
        if was_fetched or (fact.unit == "text" and name in _IDENTITY):
            continue
        if not fact.period:
            withheld[name] = f"{snapshot.vendor} reported it after {then}"
        elif not fact.filed_at:
            withheld[name] = _NO_DATE.format(snapshot.vendor)
        elif fact.filed_at > then:
            withheld[name] = f"filed on {fact.filed_at}"
    kept = tuple(s for s in snapshot.statements if was_fetched or _is_public(s, then, until_ms))
    if len(kept) < len(snapshot.statements):
        withheld["statements"] = _reason(snapshot, then)
    facts = {name: fact for name, fact in snapshot.facts.items() if name not in withheld}
    blocks = snapshot.blocks if was_fetched else {}
    return replace(snapshot, facts=facts, statements=kept, blocks=blocks), withheld


def _is_public(report: Statement, then: str, known_ms: int) -> bool:
    if report.accepted_at:
        return parse_iso(report.accepted_at) < known_ms
    return "" < report.filed_at <= then


def last_day_of(moment: date | int) -> date:
    """Return the last complete day: a date itself, or the day before a point in time."""
    return date_of(moment) - timedelta(days=1) if isinstance(moment, int) else moment


def _reason(snapshot: Snapshot, then: str) -> str:
    undated = sum(1 for s in snapshot.statements if not s.filed_at)
    if undated == len(snapshot.statements):
        return _NO_DATE.format(snapshot.vendor)
    later = len([s for s in snapshot.statements if s.filed_at > then])
    parts = [f"{later} filed after {then}"] * bool(later) + [f"{undated} without a date"] * bool(
        undated
    )
    return ", ".join(parts)


# --- when answers are old -----------------------------------------------------------------------

# Vendors take days to process a report after its publication, so they are queried again on the next
# day, and once more when the report should be processed.
_AFTER_DAYS = (1, 4)


def last_turn_ms(days: Iterable[str], now_ms: int) -> int:
    """Return the latest time up to now at which a report made older responses outdated, or 0.

    Responses become outdated on the day after a report and again three days later, because vendors
    take days to process a report.

    Args:
        days: ISO dates of reports, announced or past; strings that are not dates are ignored.
        now_ms: Current time, UTC milliseconds.
    """
    turns = (start + after * DAY_MS for start in _starts(days) for after in _AFTER_DAYS)
    return max((turn for turn in turns if turn <= now_ms), default=0)


def _starts(days: Iterable[str]) -> Iterable[int]:
    for day in days:
        try:
            yield day_ms(date.fromisoformat(day[:10]))
        except ValueError:
            continue
