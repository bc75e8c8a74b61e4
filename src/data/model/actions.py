"""Corporate actions: splits and cash dividends, and their arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from typing import Any, Literal

from .instant import date_of

ActionType = Literal["split", "dividend"]


class ActionList(list["Action"]):
    """Splits and dividends of a span of ex-dates, as a vendor answered.

    Attributes:
        since: the first ex-date (stamp, UTC milliseconds) that has a row in an answer whose rows are
            days; None where the vendor tells actions by themselves.
        until: the first ex-date (stamp, UTC milliseconds) that the vendor cannot answer for yet;
            None where the answer covers the whole span.
        unapplied: what else the vendor tells of the span, in words: it changes the worth of a share,
            and is neither a split nor a dividend.
    """

    since: int | None = None
    until: int | None = None
    unapplied: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class Action:
    """A split or a cash dividend.

    Attributes:
        ex_date: first session date that trades without it.
        type: ``split`` or ``dividend``.
        ex_at: UTC start of that session in milliseconds; intraday bars compare with it.
        numerator, denominator: of a split; 4-for-1 is 4 and 1, so older prices are quartered.
        amount: cash per share, in the unit and on the share basis that the source uses.
        source: the vendor that reported it.
        fetched_at: UTC milliseconds.
        as_paid: whether ``amount`` is per share as of its own ex-date; else it is per share as of
            ``fetched_at``, the splits since then applied.
        pay_date: of a dividend the ISO date on which it is paid; empty where the source tells none.
        currency: of ``amount``, as the source tells it; empty where it tells none.
        parts: the amounts of several dividends of one day that ``amount`` is the sum of; empty of one.
            None of these three makes a difference: two reports that differ in them alone are one
            dividend.
    """

    ex_date: date
    type: ActionType
    ex_at: int
    numerator: float = 1.0
    denominator: float = 1.0
    amount: float = 0.0
    source: str = ""
    fetched_at: int = 0
    as_paid: bool = False
    pay_date: str = field(default="", compare=False)
    currency: str = field(default="", compare=False)
    parts: tuple[float, ...] = field(default=(), compare=False)

    @property
    def ratio(self) -> Fraction:
        """New shares for one old share, exactly; 1 for a dividend."""
        if self.type != "split":
            return Fraction(1)
        return Fraction(str(self.numerator)) / Fraction(str(self.denominator))

    @property
    def is_sound(self) -> bool:
        """Whether the values are possible: a finite ratio above zero, a finite amount of zero or more."""
        if self.type != "split":
            return math.isfinite(self.amount) and self.amount >= 0
        return all(math.isfinite(part) and part > 0 for part in (self.numerator, self.denominator))

    def is_in(self, adjustment: str, as_of: date | None) -> bool:
        """Tell whether older prices of the basis ``adjustment`` as of ``as_of`` are adjusted for it."""
        concerns = adjustment == "all" or (adjustment == "split" and self.type == "split")
        return concerns and as_of is not None and self.ex_date <= as_of

    def __str__(self) -> str:
        terms = f"{self.numerator:g}:{self.denominator:g}"
        return f"{self.type} of {terms if self.type == 'split' else self.amount} on {self.ex_date}"

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping that is stored."""
        plain: dict[str, Any] = {
            "type": self.type,
            "ex_date": self.ex_date.isoformat(),
            "ex_at": self.ex_at,
            "source": self.source,
            "fetched_at": self.fetched_at,
        }
        if self.type == "split":
            return plain | {"numerator": self.numerator, "denominator": self.denominator}
        plain["amount"] = self.amount
        optional = {
            "as_paid": self.as_paid,
            "pay_date": self.pay_date,
            "currency": self.currency,
            "parts": list(self.parts),
        }
        return plain | {name: value for name, value in optional.items() if value}


def told_date(value: Any) -> str:
    """Return the ISO date that a source tells, empty where it tells none (``None``, ``0000-00-00``)."""
    try:
        return date.fromisoformat(value[:10]).isoformat()
    except (TypeError, ValueError):
        return ""


def told_currency(value: Any) -> str:
    """Return the currency that a source tells, empty where it tells none that can be one."""
    text = value.strip() if isinstance(value, str) else ""
    return text.upper() if len(text) == 3 and text.isascii() and text.isalpha() else ""


def current(actions: Iterable[Action]) -> list[Action]:
    """Return the actions that count, ascending: one for each ex-date and type.

    Of several reports the latest fetch counts; different dividends of one fetch (a regular and a
    special one) are added up.
    """
    events: dict[tuple[date, str], list[Action]] = {}
    for action in sorted(set(actions), key=lambda a: (a.fetched_at, a.source, a)):
        same = events.setdefault((action.ex_date, action.type), [])
        if same and (same[-1].fetched_at, same[-1].source) != (action.fetched_at, action.source):
            same.clear()
        same.append(action)
    ascending = (group for _, group in sorted(events.items()))
    return [group[0] if len(group) == 1 else _summed(group) for group in ascending]


def _summed(group: list[Action]) -> Action:
    """Return several dividends of one day as one that names them."""
    parts = tuple(part for action in group for part in action.parts or (action.amount,))
    return replace(group[-1], amount=sum(action.amount for action in group), parts=parts)


def amount_on(dividend: Action, splits: Iterable[Action], day: date | None) -> Fraction:
    """Return what a dividend pays for one share as shares are on ``day``.

    Args:
        dividend: as reported; see ``as_paid``.
        splits: sound ones, in any order; those up to its own ex-date are in its amount already.
        day: None for shares as of its own ex-date.
    """
    told_on = date_of(0 if dividend.as_paid else dividend.fetched_at)
    amount = Fraction(str(dividend.amount))
    for split in splits:
        if split.ex_date > dividend.ex_date:
            in_amount = split.ex_date <= told_on
            in_goal = day is not None and split.ex_date <= day
            amount *= split.ratio ** (in_amount - in_goal)
    return amount
