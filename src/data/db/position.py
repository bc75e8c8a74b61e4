"""Computes positions exactly from fills, with fractions; results are decimals. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Context, Decimal
from fractions import Fraction
from typing import Literal, get_args

from ..errors import QueryError

__all__ = ["ACTIONS", "DIRECTIONS", "PositionState", "rounded"]

Direction = Literal["long", "short"]
Action = Literal["buy", "sell"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
ACTIONS: tuple[Action, ...] = get_args(Action)
# Decimal places of non-terminating results, such as a third.
PLACES = 18
_WIDE = Context(prec=2_100)
_NOTHING = Decimal(0)


@dataclass(frozen=True)
class PositionState:
    """The state of a position, with its total cash flow so far.

    Attributes:
        direction: ``long`` or ``short``.
        quantity: Open quantity, never below 0.
        price: Exact mean price of the open quantity; None if nothing is open.
        cash: Cash received for sales so far, minus cash paid for purchases and commissions.
    """

    direction: Direction
    quantity: Decimal = Decimal(0)
    price: Fraction | None = None
    cash: Decimal = Decimal(0)

    @property
    def realized(self) -> Fraction:
        """The profit or loss on the part of the position that is no longer open."""
        if self.price is None:
            return Fraction(self.cash)
        cost = self.price * Fraction(self.quantity)
        return Fraction(self.cash) + (cost if self.direction == "long" else -cost)

    def filled(
        self, action: Action, quantity: Decimal, price: Decimal, commission: Decimal = _NOTHING
    ) -> PositionState:
        """Return the state after a fill; its commission lowers the realized profit.

        Raises:
            QueryError: The fill would reduce the position by more than its open quantity.
        """
        value = _WIDE.multiply(quantity, price)
        cash = _WIDE.subtract(self.cash, value) if action == "buy" else _WIDE.add(self.cash, value)
        cash = _WIDE.subtract(cash, commission)
        if (action == "buy") == (self.direction == "long"):
            total = _WIDE.add(self.quantity, quantity)
            value_before = (self.price or Fraction(0)) * Fraction(self.quantity)
            mean = (value_before + Fraction(value)) / Fraction(total)
            return replace(self, quantity=total, price=mean, cash=cash)
        if quantity > self.quantity:
            raise QueryError(
                f"a {action} of {quantity} exceeds the {self.direction} position of {self.quantity}",
                hint="close at most the quantity that is open",
            )
        remaining = _WIDE.subtract(self.quantity, quantity)
        return replace(self, quantity=remaining, price=self.price if remaining else None, cash=cash)


def rounded(value: Fraction) -> Decimal:
    """Return the value as a decimal, rounded half to even at 18 decimal places."""
    text = format(Decimal(round(value * 10**PLACES)).scaleb(-PLACES, _WIDE), "f")
    return Decimal(text.rstrip("0").rstrip(".") or "0")
