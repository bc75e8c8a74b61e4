"""The last so many bars: how far back they are looked for, and what is told where there are fewer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...model.instant import iso
from ...model.span import Span
from ..validity import BEFORE_FIRST, FORMING
from .answer import Answer

if TYPE_CHECKING:
    from ...calendars.gaps import BarGrid
    from ...model.kind import Kind

# Where a span holds fewer bars than `bars=` wants, one that reaches back twice as far is read: this
# many times in all.
LOOKBACKS = 4


def back(grid: BarGrid, end_ms: int, count: int, kind: Kind | None) -> int:
    """Return the stamp from which ``count`` bars before ``end_ms`` are looked for.

    Where it is not known what hours are counted from, a bar may open before its slot of the grid.

    Raises:
        BadRangeError: calendars do not reach so far back.
    """
    is_certain = not grid.timeframe.is_intraday or (kind is not None and bool(kind.anchor))
    return grid.back(end_ms, count if is_certain else count + 1)


def closed_rows(answer: Answer) -> int:
    """Return how many bars of an answer have closed; the running one may stand behind them."""
    running = [part.span.start for part in answer.coverage if part.reason == FORMING]
    stamps = answer.table.stamps
    return int((stamps < min(running)).sum()) if running else len(stamps)


def last_of(answer: Answer, count: int) -> Answer:
    """Return the answer cut to its last ``count`` closed bars and the running one, if it is there.

    Gaps before them do not concern it.
    """
    count += len(answer.table) - closed_rows(answer)
    if len(answer.table) <= count:
        return answer
    table = answer.table.take(slice(len(answer.table) - count, None))
    first = int(table.stamps[0])
    flagged = [(stamp, reason) for stamp, reason in answer.flagged if stamp >= first]
    later = [g for g in answer.gaps if g.span.end > first]
    coverage = answer.coverage.within(Span(first, answer.coverage[-1].span.end))
    return replace(answer, table=table, gaps=later, flagged=flagged, coverage=coverage)


def counted(answer: Answer, count: int, since_ms: int) -> Answer:
    """Return the last ``count`` closed bars of an answer, with the reason where there are fewer.

    Args:
        answer: all that was looked at.
        count: how many are wanted.
        since_ms: how far back was looked, UTC milliseconds.
    """
    rows = closed_rows(answer)
    is_told = any(not gap.harmless or gap.reason == BEFORE_FIRST for gap in answer.gaps)
    if rows < count and not is_told:
        why = f"{rows} of the {count} bars asked for: back to {iso(since_ms)} there are no more"
        answer = replace(answer, doubts=[*answer.doubts, why])
    return last_of(answer, count)
