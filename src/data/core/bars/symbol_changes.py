"""New and former names of a symbol in answers, and how they are recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ...errors import QueryError
from ..calendars.calendar import day_span
from ..model.identity.instrument import Instrument
from ..model.identity.symbol_changes import CHANGE_TYPES, SymbolChange, concerning, known_by
from ..model.stored.reasons import AFTER_LAST, BEFORE_FIRST
from .answer.answer import Answer, Gap

FACT = "symbol_changes"


def with_changes(answer: Answer, changes: Sequence[SymbolChange]) -> Answer:
    """Return the answer with the relevant symbol changes mentioned in its facts and gaps.

    The changes are listed in the answer's facts only for stocks. Bars and gaps stay the same, but
    the reason for a gap begins with the symbol under which the bars are listed.
    """
    if not changes:
        return answer
    query, facts = answer.query, answer.facts
    changes = known_by(changes, query.opened_by_ms)
    symbol, intraday = query.instrument.symbol, query.timeframe.is_intraday
    gaps = [_explain_gap(gap, changes, symbol, intraday) for gap in answer.gaps]
    relevant = concerning(changes, symbol, query.span, intraday=intraday)
    if relevant and query.instrument.asset_class == "stock":
        facts = facts | {FACT: [change.sentence(symbol) for change in relevant]}
    return replace(answer, gaps=gaps, facts=facts)


def _explain_gap(gap: Gap, changes: Sequence[SymbolChange], symbol: str, intraday: bool) -> Gap:
    if gap.harmless and gap.reason not in (BEFORE_FIRST, AFTER_LAST):
        return gap  # no bar is missing
    relevant = concerning(changes, symbol, gap.span, intraday=intraday)
    sentences = [change.sentence(symbol) for change in relevant]
    return replace(gap, reason="; ".join([*sentences, gap.reason])) if sentences else gap


def checked(
    changes: Mapping[str, Sequence[SymbolChange]],
    instrument_of: Callable[[str], Instrument],
    now_ms: int,
) -> dict[str, list[SymbolChange]]:
    """Return the checked changes, with canonical symbols and with sessions as instants.

    Raises:
        QueryError: A symbol is invalid, or a change does not concern its symbol, has no source,
            has an unknown type, or contradicts another one on the same date.
    """
    valid: dict[str, list[SymbolChange]] = {}
    for typed, its_changes in changes.items():
        instrument = instrument_of(typed)
        canonical_changes = []
        for change in its_changes:
            symbol = instrument_of(change.symbol).symbol
            successor = instrument_of(change.successor).symbol if change.successor else ""
            ex_at = day_span(instrument, change.ex_date).start
            canonical = replace(change, symbol=symbol, successor=successor)
            canonical_changes.append(replace(canonical, ex_at=ex_at, fetched_at=now_ms))
            _check(canonical_changes[-1], instrument.symbol)
        valid[instrument.symbol] = canonical_changes = list(dict.fromkeys(canonical_changes))
        dates = [(change.ex_date, change.ends(instrument.symbol)) for change in canonical_changes]
        for change, date in zip(canonical_changes, dates, strict=True):
            if dates.count(date) > 1:
                text = f"there are two changes to {instrument.symbol} on {change.ex_date}"
                raise QueryError(text, symbol=instrument.symbol, hint="record only one of them")
    return valid


def _check(change: SymbolChange, symbol: str) -> None:
    """Raise ``QueryError`` if a change is impossible or does not involve ``symbol``."""
    problem = ""
    if change.type not in CHANGE_TYPES:
        problem = f"has the type {change.type!r:.40}, which is not one of {', '.join(CHANGE_TYPES)}"
    elif change.successor == change.symbol:
        problem = "has the same name before and after"
    elif bool(change.successor) == (change.type in ("delisting", "listing")):
        problem = "names a successor" if change.successor else "names no successor"
    elif not change.source.strip():
        problem = "names no source"
    elif not change.concerns(symbol):
        problem = f"does not concern {symbol}"
    if problem:
        text = f"the change to {change.symbol} on {change.ex_date} {problem}"
        raise QueryError(text, symbol=symbol, hint="nothing was recorded")
