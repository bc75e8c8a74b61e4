"""What is to be done to rows of one basis to bring them to another: which actions, which factors.

The machine of :mod:`.adjust`, which has the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..errors import KindMismatchError
from ..model.actions import Action, amount_on
from ..model.bars import Stamps
from ..model.instant import DAY_MS, date_of, day_ms
from ..model.kind import Basis
from ..model.span import Span, subtract
from ..model.timeframe import Timeframe

# Two vendors may date one split a session or two apart; a second one so soon is the first.
_SAME_SPLIT_DAYS = 7
_ONE = Fraction(1)

CloseBefore = Callable[[date], float | None]


class Group(NamedTuple):
    """Neighbouring rows of one basis, and of one vendor where that matters."""

    rows: slice
    basis: Basis
    vendor: str = ""


class Piece(NamedTuple):
    """Rows that share their factors; no ``price`` where a dividend's close is not known."""

    rows: slice
    price: Fraction | None
    splits: Fraction


def earliest_session(stamp_ms: int, intraday: bool) -> date:
    """Return a date that the session of a bar is not before, without asking its market."""
    # The session of an intraday bar may be that of the day before in UTC.
    return date_of(stamp_ms) - timedelta(days=int(intraday))


def needed(first: date, source: Basis, goal: Basis) -> Span:
    """Return the ex-dates that decide how bars of session ``first`` on get from basis to basis.

    A split of the first bar's own session is in that bar.
    """
    had = (source.as_of or first) if source.adjustment != "raw" else first
    # What is of unknown basis must not have been touched at all.
    untouched = goal.adjustment == "raw" and source.adjustment != "unknown"
    wanted = first if untouched else (goal.as_of or first)
    low = min(had, wanted) if source.adjustment == goal.adjustment else first
    return Span(day_ms(max(first, low)) + DAY_MS, day_ms(max(had, wanted)) + DAY_MS)


@dataclass(frozen=True)
class Conversion:
    """What is to be done to the rows at ``stamps``."""

    stamps: Stamps
    actions: tuple[Action, ...]
    goal: Basis
    intraday: bool
    close_before: CloseBefore | None
    known: Sequence[Span] | None
    timeframe: Timeframe | None

    def pieces(self, group: Group, *, lenient: bool = False) -> Iterator[Piece]:
        """Yield the rows of ``group``, latest first; ``lenient`` allows pieces without price."""
        first = int(self.stamps[group.rows.start])
        self._check_asked(first, group.basis)
        price: Fraction | None = _ONE
        splits, end = _ONE, group.rows.stop
        for action, power in self._moves(first, group.basis):
            border = int(np.searchsorted(self.stamps, self._before(action)))
            if border <= group.rows.stop:
                self._check_straddle(action, int(self.stamps[border - 1]))
            if border < end:
                yield Piece(slice(border, end), price, splits)
                end = border
            if action.type == "split":
                splits *= self._ratio(action) ** -power
            factor = self._factor(action, lenient)
            price = None if price is None or factor is None else price * factor**power
        yield Piece(slice(group.rows.start, end), price, splits)

    def _check_asked(self, first_ms: int, source: Basis) -> None:
        if self.known is None:
            return
        first = earliest_session(first_ms, self.intraday)
        missing = subtract([needed(first, source, self.goal)], self.known)
        if missing:
            days = f"{date_of(missing[0].start)} to {date_of(missing[-1].end - 1)}"
            way = f"{source.adjustment} prices to {self.goal.adjustment}"
            raise KindMismatchError(
                f"cannot bring {way}: nobody was asked for splits and dividends from {days}"
            )

    def _before(self, action: Action) -> int:
        """Return the stamp before which bars do not know of ``action``."""
        return action.ex_at if self.intraday else day_ms(action.ex_date)

    def _moves(self, first_ms: int, source: Basis) -> list[tuple[Action, int]]:
        """Return what to apply (1) or to undo (-1) for bars from ``first_ms`` on, latest first."""
        last_ms = int(self.stamps[-1])
        moves = []
        for action in (a for a in self.actions if self._before(a) > first_ms):
            if source.adjustment == "unknown":
                raise KindMismatchError(
                    f"nobody knows whether prices from {date_of(first_ms)} are adjusted for the "
                    f"{action}",
                    hint="fetch them again",
                )
            # A bar behind the ex-date has it in its price, whatever date the target names.
            until = action.ex_date if self._before(action) <= last_ms else self.goal.as_of
            wanted = action.is_in(self.goal.adjustment, until)
            if wanted != action.is_in(source.adjustment, source.as_of):
                moves.append((action, 1 if wanted else -1))
        moved = {action for action, _ in moves}
        for one, other in pairwise(a for a in self.actions if a.type == "split"):
            soon = (other.ex_date - one.ex_date).days < _SAME_SPLIT_DAYS
            sound = one.is_sound and other.is_sound
            if soon and sound and one.ratio == other.ratio and moved & {one, other}:
                raise KindMismatchError(f"the {one} seems to be the {other}")
        return sorted(moves, key=lambda move: self._before(move[0]), reverse=True)

    def _factor(self, action: Action, lenient: bool) -> Fraction | None:
        """Return what older prices are multiplied by; None when not known and ``lenient``."""
        if action.type == "split":
            return 1 / self._ratio(action)
        close = self.close_before(action.ex_date) if self.close_before else None
        if close is not None and close > 0:
            factor = 1 - self._amount(action) / Fraction(str(close))
            if factor > 0:
                return factor
        if lenient:
            return None
        raise KindMismatchError(
            f"cannot adjust for the {action}: the close before it is {close or 'not known'}",
            hint="ask for the daily bars before it, or for adjustment='split'",
        )

    def _ratio(self, split: Action) -> Fraction:
        _check_sound(split)
        return split.ratio

    def _amount(self, dividend: Action) -> Fraction:
        """Return the amount for a share as it is at the target's date."""
        later = [a for a in self.actions if a.type == "split" and a.ex_date > dividend.ex_date]
        for action in (dividend, *later):
            _check_sound(action)
        return amount_on(dividend, later, self.goal.as_of)

    def _check_straddle(self, action: Action, stamp: int) -> None:
        """Refuse where the last bar before ``action`` runs on behind its ex-date."""
        if self.timeframe is None or self.intraday:
            return
        step, day = self.timeframe.step_ms, date_of(stamp)
        if step is None:  # the 1st of a month; 31 days on is in the next one
            step = day_ms((day + timedelta(31 * self.timeframe.count)).replace(day=1)) - stamp
        if stamp + step > self._before(action):
            raise KindMismatchError(
                f"the {self.timeframe} bar of {day} holds the {action}: its parts are of two bases",
                hint="rebuild it from 1d bars",
            )


def _check_sound(action: Action) -> None:
    if not action.is_sound:
        raise KindMismatchError(f"the {action} is none", hint="fetch the actions again")
