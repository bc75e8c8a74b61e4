"""Bars fetched close to a split: the vendor may have applied it a day or two early or late.

Such bars are returned like any other. They are marked ``suspect`` with the split as the reason
until the fourth session after the ex-date opens; then they are asked again, and where they are
found equal, trust is restored without rewriting anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from ...calendars.calendar import MarketCalendar
from ...model.actions import Action
from ...model.coverage import Coverage, Covered
from ...model.instant import DAY_MS, day_ms
from ...model.span import Span
from ..ingest.commit import Suspicion

SESSIONS = 3
# Four sessions lie within this many days, whatever the holidays.
_REACH = timedelta(days=16)
_REACH_MS = 17 * DAY_MS
_ADJUSTED = ("split", "all")


@dataclass(frozen=True)
class SplitWindow:
    """The instants ``[start, end)`` at which what a vendor says is doubted for a split."""

    span: Span
    split: Action

    @property
    def doubt(self) -> Suspicion:
        """What is written with the bars."""
        return Suspicion(f"fetched within {SESSIONS} sessions of the {self.split}", self.span.end)


def may_concern(splits: Iterable[Action], coverage: Coverage) -> bool:
    """Tell without a calendar whether trusted bars can have been fetched too close to a split."""
    known = list(splits)
    parts = coverage.opened() if known else ()
    return any(_near(known, [part.fetched_at for part in parts if _is_open(part)]))


def windows(
    splits: Iterable[Action], calendar: MarketCalendar, fetched: Sequence[int]
) -> list[SplitWindow]:
    """Return the windows of those splits that are near one of the instants ``fetched``."""
    return [SplitWindow(_window(split, calendar), split) for split in _near(splits, fetched)]


def _near(splits: Iterable[Action], fetched: Sequence[int]) -> Iterator[Action]:
    for split in splits:
        if any(abs(day_ms(split.ex_date) - at) < _REACH_MS for at in fetched):
            yield split


def _window(split: Action, calendar: MarketCalendar) -> Span:
    around = calendar.sessions(split.ex_date - _REACH, split.ex_date + _REACH)
    before = [s.open_ms for s in around if s.day < split.ex_date]
    after = [s.open_ms for s in around if s.day >= split.ex_date]
    first = before[-SESSIONS] if len(before) >= SESSIONS else day_ms(split.ex_date) - _REACH_MS
    # after[0] is the ex-date's own session.
    last = after[SESSIONS + 1] if len(after) > SESSIONS + 1 else day_ms(split.ex_date) + _REACH_MS
    return Span(first, last)


def doubted(coverage: Coverage, near: Iterable[SplitWindow]) -> list[Covered]:
    """Return the marks by which trusted bars that were fetched inside a window lose trust."""
    found: list[Covered] = []
    for window in near:
        doubt = window.doubt
        found += [
            replace(part, state="suspect", reason=doubt.reason, expires=doubt.expires)
            for part in coverage
            if _is_open(part) and part.fetched_at in window.span
        ]
    return found


def doubt_at(near: Iterable[SplitWindow], fetched_at: int) -> Suspicion | None:
    """Return the doubt of what is fetched at an instant; of several the one that lasts longest."""
    doubts = [window.doubt for window in near if fetched_at in window.span]
    return max(doubts, key=lambda doubt: doubt.expires, default=None)


def _is_open(part: Covered) -> bool:
    """Tell whether these are adjusted bars that count as final."""
    return part.state == "final" and part.basis.adjustment in _ADJUSTED
