"""Corporate actions (splits and cash dividends) and their arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from math import prod
from typing import Any, Literal

ActionType = Literal["split", "dividend"]

# Two splits of one day whose ratios differ by less are one split, whose ratio is rounded in one report.
_SAME_SPLIT = Fraction(1, 100)


class ActionList(list["Action"]):
    """A vendor's splits and dividends for a span of ex-dates.

    Attributes:
        since: First day (UTC milliseconds) in an answer with one row per day, each of which can
            report an action; None if the vendor reports actions separately from bars.
        until: First ex-date (UTC milliseconds) whose actions the vendor cannot report yet; None if
            the answer covers the whole span.
        unapplied: Descriptions of other events in the span that change the value of a share but are
            neither a split nor a dividend.
    """

    since: int | None = None
    until: int | None = None
    unapplied: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class Action:
    """A split or a cash dividend.

    Attributes:
        ex_date: First session date on which the share trades without the split or dividend.
        type: ``split`` or ``dividend``.
        ex_at: Start of that session in UTC milliseconds, which decides whether an intraday bar is
            before or after the action.
        numerator, denominator: Terms of a split; 4-for-1 is 4 and 1, so older prices are divided by
            four.
        amount: Cash per share of a dividend, in the source's unit; ``as_paid`` shows whether later
            splits have been applied to it.
        source: Vendor that reported the action.
        fetched_at: Time of the request, UTC milliseconds.
        as_paid: Whether ``amount`` is per share as of the ex-date; otherwise it is per share as of
            ``fetched_at``, that is, adjusted for the splits between the two.
        pay_date: Date on which a dividend is paid (ISO); empty if the source does not give the
            date.
        currency: Currency of ``amount``, as given by the source; empty if the source gives none.
        parts: Amounts of the day's dividends, which add up to ``amount``; empty for a single
            dividend. ``pay_date``, ``currency``, ``parts`` and ``gain`` are ignored in comparisons:
            two reports that differ only in these attributes are the same dividend.
        gain: Part of ``amount`` that a fund pays out of capital gains; 0 if the source reports none.
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
    # Bundles store a digest of reports' texts, which therefore stay as they were.
    gain: float = field(default=0.0, compare=False, repr=False)

    @property
    def ratio(self) -> Fraction:
        """New shares for one old share, exactly; 1 for a dividend."""
        if self.type != "split":
            return Fraction(1)
        return Fraction(str(self.numerator)) / Fraction(str(self.denominator))

    @property
    def gain_share(self) -> Fraction:
        """Part of a sound dividend that is a capital gain, from 0 to 1."""
        return Fraction(str(self.gain)) / Fraction(str(self.amount)) if self.gain else Fraction(0)

    def as_amount_paid(self, paid: Fraction) -> Action:
        """Return the dividend with its amount, and the gain in it, per share as of the ex-date."""
        return replace(self, amount=float(paid), gain=float(paid * self.gain_share), as_paid=True)

    @property
    def is_sound(self) -> bool:
        """Whether the values are possible.

        A split's two terms must be finite and above zero; a dividend's amount must be finite and
        must not be negative, and a gain must not be above it.
        """
        if self.type != "split":
            return math.isfinite(self.amount) and 0 <= self.gain <= self.amount
        return all(math.isfinite(n) and n > 0 for n in (self.numerator, self.denominator))

    def is_in(self, adjustment: str, as_of: date | None) -> bool:
        """Return whether prices with this adjustment, as of ``as_of``, already reflect the action."""
        concerns = adjustment == "all" or (adjustment == "split" and self.type == "split")
        return concerns and as_of is not None and self.ex_date <= as_of

    def __str__(self) -> str:
        terms = f"{self.numerator:g}:{self.denominator:g}"
        return f"{self.type} of {terms if self.type == 'split' else self.amount} on {self.ex_date}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-compatible dictionary that is stored."""
        entry: dict[str, Any] = {
            "type": self.type,
            "ex_date": self.ex_date.isoformat(),
            "ex_at": self.ex_at,
            "source": self.source,
            "fetched_at": self.fetched_at,
        }
        if self.type == "split":
            return entry | {"numerator": self.numerator, "denominator": self.denominator}
        entry["amount"] = self.amount
        optional = {
            "as_paid": self.as_paid,
            "pay_date": self.pay_date,
            "currency": self.currency,
            "parts": list(self.parts),
            "gain": self.gain,
        }
        return entry | {name: value for name, value in optional.items() if value}


def vendor_date(value: Any) -> str:
    """Return a vendor's date as ISO text, or an empty string if it is not a date.

    For unknown dates, vendors send ``None``, ``0000-00-00`` and the like.
    """
    try:
        return date.fromisoformat(value[:10]).isoformat()
    except (TypeError, ValueError):
        return ""


def vendor_currency(value: Any) -> str:
    """Return a vendor's currency code; empty if it is missing or invalid.

    The code is in uppercase, unless it is one of a hundredth, such as ``GBp``.
    """
    text = value.strip() if isinstance(value, str) else ""
    is_code = len(text) == 3 and text.isascii() and text.isalpha()
    return (text if text[:2].isupper() else text.upper()) if is_code else ""


def current(actions: Iterable[Action]) -> list[Action]:
    """Return the actions to use, in ascending order: one for each ex-date and type.

    If an action was reported several times, the report fetched last is used. Different dividends
    from one fetch (a regular and a special one) are added up, and different splits (a reverse split
    and the split that follows it at once) are combined.
    """
    events: dict[tuple[date, str], list[Action]] = {}
    for action in sorted(set(actions), key=lambda a: (a.fetched_at, a.source, a)):
        same = events.setdefault((action.ex_date, action.type), [])
        if same and (same[-1].fetched_at, same[-1].source) != (action.fetched_at, action.source):
            same.clear()
        same.append(action)
    ascending = (group for _, group in sorted(events.items()))
    return [group[0] if len(group) == 1 else _combined(group) for group in ascending]


def _combined(group: list[Action]) -> Action:
    """Merge several actions with the same ex-date and type into one.

    The parts of a dividend are the amounts of all. Splits with about the same ratio count once, in
    whole numbers if possible.
    """
    if group[0].type == "dividend":
        parts = tuple(part for action in group for part in action.parts or (action.amount,))
        amount, gain = sum(one.amount for one in group), sum(one.gain for one in group)
        return replace(group[-1], amount=amount, gain=gain, parts=parts)
    splits: list[Action] = []
    sound = [action for action in group if action.is_sound]
    for split in sorted(sound, key=lambda action: action.ratio.denominator):
        if all(abs(split.ratio / other.ratio - 1) > _SAME_SPLIT for other in splits):
            splits.append(split)
    splits = splits or group[-1:]
    new, old = prod(s.numerator for s in splits), prod(s.denominator for s in splits)
    return replace(group[-1], numerator=new, denominator=old)


def amount_on(dividend: Action, splits: Iterable[Action], day: date | None) -> Fraction:
    """Return a dividend's amount per share, in terms of the shares on ``day``.

    Args:
        dividend: Dividend as reported, before or after later splits; see :attr:`Action.as_paid`.
        splits: Valid splits, in any order; those up to the dividend's ex-date, including that date,
            are already reflected in its amount.
        day: Day whose shares the amount refers to; None for the dividend's ex-date.
    """
    told_at = 0 if dividend.as_paid else dividend.fetched_at
    amount = Fraction(str(dividend.amount))
    for split in splits:
        if split.ex_date >= dividend.ex_date:
            is_same = split.ex_date == dividend.ex_date
            in_amount = is_same or split.ex_at <= told_at
            in_goal = is_same if day is None else split.ex_date <= day
            amount *= split.ratio ** (in_amount - in_goal)
    return amount
