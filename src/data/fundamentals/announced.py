"""From when on a company's own calendar makes what was said about it old."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from ..model.instant import DAY_MS, day_ms

# A report is public on its day, and vendors take days to file it away: asked again the day after, and
# once more when it should have arrived.
_AFTER_DAYS = (1, 4)


def last_turn_ms(days: Iterable[str], now_ms: int) -> int:
    """Return the latest instant by now before which answers are old; 0 where there is none.

    Args:
        days: ISO dates of reports, announced or past; what is none is passed over.
        now_ms: UTC milliseconds.
    """
    turns = (start + after * DAY_MS for start in _starts(days) for after in _AFTER_DAYS)
    return max((turn for turn in turns if turn <= now_ms), default=0)


def _starts(days: Iterable[str]) -> Iterable[int]:
    for day in days:
        try:
            yield day_ms(date.fromisoformat(day[:10]))
        except ValueError:
            continue
