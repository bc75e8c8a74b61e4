"""Corporate actions: what changes the meaning of a price overnight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any, Literal

ActionType = Literal["split", "dividend"]


@dataclass(frozen=True, order=True)
class Action:
    """A split or a cash dividend.

    Attributes:
        ex_date: first session date that trades without it.
        type: ``split`` or ``dividend``.
        ex_at: UTC start of that session in milliseconds; intraday bars compare with it.
        numerator, denominator: of a split; 4-for-1 is 4 and 1, so older prices are quartered.
        amount: cash per share, in the unit and on the share basis that the source uses.
        source: the vendor that told us.
        fetched_at: UTC milliseconds.
    """

    ex_date: date
    type: ActionType
    ex_at: int
    numerator: float = 1.0
    denominator: float = 1.0
    amount: float = 0.0
    source: str = ""
    fetched_at: int = 0

    @property
    def ratio(self) -> Fraction:
        """New shares for one old share, exactly; 1 for a dividend."""
        if self.type != "split":
            return Fraction(1)
        return Fraction(str(self.numerator)) / Fraction(str(self.denominator))

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping that is stored."""
        plain: dict[str, Any] = {
            "type": self.type, "ex_date": self.ex_date.isoformat(), "ex_at": self.ex_at,
            "source": self.source, "fetched_at": self.fetched_at,
        }  # fmt: skip
        if self.type == "split":
            return plain | {"numerator": self.numerator, "denominator": self.denominator}
        return plain | {"amount": self.amount}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Action:
        """Read a stored mapping; unknown keys are ignored."""
        return cls(
            ex_date=date.fromisoformat(plain["ex_date"]),
            type=plain["type"],
            ex_at=int(plain["ex_at"]),
            numerator=float(plain.get("numerator", 1.0)),
            denominator=float(plain.get("denominator", 1.0)),
            amount=float(plain.get("amount", 0.0)),
            source=str(plain.get("source", "")),
            fetched_at=int(plain.get("fetched_at", 0)),
        )
