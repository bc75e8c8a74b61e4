"""The last n bars of an answer, and the note if there are fewer."""

from __future__ import annotations

from dataclasses import replace

from ...model.stored.reasons import BEFORE_FIRST, FORMING
from ...model.time.instant import iso
from ...model.time.span import Span
from .answer import Answer

# If a span has fewer bars than `bars=` requests, a span twice as long is read; this is the maximum
# number of such spans, so the last one is eight times as long as the first. A fetch
# tries one more if the latest bars are not published yet.
LOOKBACKS = 4


def closed_rows(answer: Answer) -> int:
    """Return the number of closed bars in an answer, not counting a forming bar."""
    forming = [entry.span.start for entry in answer.coverage if entry.reason == FORMING]
    stamps = answer.table.stamps
    return int((stamps < min(forming)).sum()) if forming else len(stamps)


def last_of(answer: Answer, count: int) -> Answer:
    """Return the answer with only its last ``count`` closed bars, and the forming bar if there is one.

    Gaps before these bars are dropped.
    """
    count += len(answer.table) - closed_rows(answer)
    if len(answer.table) < count:
        return answer
    table = answer.table.take(slice(len(answer.table) - count, None))
    first = int(table.stamps[0])
    later = [g for g in answer.gaps if g.span.end > first]
    coverage = answer.coverage.within(Span(first, answer.coverage[-1].span.end))
    return replace(answer, table=table, gaps=later, coverage=coverage)


def counted(answer: Answer, count: int, since_ms: int) -> Answer:
    """Return the last ``count`` closed bars of an answer, with the reason if there are fewer.

    Args:
        answer: Answer for the whole range that was searched.
        count: Number of bars requested.
        since_ms: Start of the range that was searched, in UTC milliseconds.
    """
    rows = closed_rows(answer)
    is_explained = any(not gap.harmless or gap.reason == BEFORE_FIRST for gap in answer.gaps)
    if rows < count and not is_explained:
        reason = f"{rows} of the {count} requested bars: there are none before {iso(since_ms)}"
        answer = replace(answer, doubts=[*answer.doubts, reason])
    return last_of(answer, count)
