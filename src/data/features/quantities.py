"""Quantities that alerts watch: a recipe's value for the last bar of a window.

The value for a bar depends only on the bars in a window that ends with it, so it is the same no
matter how many bars were read around it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..core.model.display.texts import plain_number
from ..core.model.words.suggestion import did_you_mean
from ..errors import QueryError
from .functions import Columns, close
from .recipes import RECIPES, Recipe

__all__ = ["MOST_BARS", "Indicator", "IndicatorUse", "indicator_names", "parse_indicator"]

MOST_BARS = 1_000
_SHAPE = re.compile(r"([a-z][a-z0-9_]{0,31})(?:\(([0-9]{1,4})\))?")


@dataclass(frozen=True)
class Indicator:
    """A recipe that alerts can watch.

    Attributes:
        recipe: Recipe with one output and at most one parameter, the period.
        least, most: Smallest and largest possible value.
        moves_with_splits: Whether a split changes the scale of the values, as for prices and
            volumes.
    """

    recipe: Recipe
    least: float = 0.0
    most: float = math.inf
    moves_with_splits: bool = True

    @property
    def period(self) -> int:
        """The default period; 0 if there is none."""
        return int(self.recipe.defaults.get("period", 0))


class IndicatorUse(NamedTuple):
    """An indicator with its period, such as ``rsi(14)``."""

    name: str
    indicator: Indicator
    period: int

    @property
    def _parameters(self) -> list[int]:
        return [self.period] if self.period else []

    @property
    def window(self) -> int:
        """The maximum number of bars needed for a value."""
        return 1 + self.indicator.recipe.lead(*self._parameters)

    def value(self, bars: Columns) -> float:
        """Return the value for the last bar, or NaN if it is undefined.

        Args:
            bars: Ascending bars; those before the window are ignored.

        """
        own = {name: bars[name][-self.window :] for name in self.indicator.recipe.columns}
        if not all(len(column) and np.isfinite(column).all() for column in own.values()):
            return math.nan
        (values,) = self.indicator.recipe.function(own, *self._parameters)
        return float(values[-1])

    def check_crossing(self, condition: str, value: float) -> None:
        """Check that the indicator can cross a threshold in the direction of an alert.

        Raises:
            QueryError: All possible values are on the same side of the threshold, as for ``rsi
                above 170``.
        """
        least, most = self.indicator.least, self.indicator.most
        if not (least <= value < most if condition == "above" else least < value <= most):
            bounds = f"from {least:g} to {most:g}" if most < math.inf else f"{least:g} or more"
            raise QueryError(
                f"{self} can never cross {condition} {plain_number(value)}",
                hint=f"its values are {bounds}",
            )

    def __str__(self) -> str:
        return f"{self.name}({self.period})" if self.period else self.name


_INDICATORS: Mapping[str, Indicator] = {
    "close": Indicator(Recipe("close", "windowed", close, {}, lambda: 0)),
    "change": Indicator(RECIPES["change"], least=-100, moves_with_splits=False),
    "sma": Indicator(RECIPES["sma"]),
    "ema": Indicator(RECIPES["ema"]),
    "rsi": Indicator(RECIPES["rsi"], most=100, moves_with_splits=False),
    "volume": Indicator(RECIPES["volume"]),
}


def indicator_names() -> list[str]:
    """Return the names of all indicators, sorted."""
    return sorted(_INDICATORS)


def parse_indicator(text: str) -> IndicatorUse:
    """Parse the text of an indicator, such as ``rsi``, ``RSI`` or ``sma(50)``.

    Raises:
        QueryError: The text is not an indicator, or its period is not from 1 to 1000.
    """
    match = _SHAPE.fullmatch(text.strip().lower())
    name = match[1] if match else text.partition("(")[0]
    names = indicator_names()
    if match is None or name not in names:
        hint = f"{did_you_mean(name, names)}known: {', '.join(names)}; with a period: sma(50)"
        raise QueryError(f"unknown indicator {text!r:.80}", hint=hint)
    indicator = _INDICATORS[name]
    period = int(match[2]) if match[2] else indicator.period
    if match[2] and not (indicator.period and 1 <= period <= MOST_BARS):
        bound = f"it must be from 1 to {MOST_BARS}" if indicator.period else f"{name} has none"
        raise QueryError(f"invalid period in {text!r}", hint=bound)
    return IndicatorUse(name, indicator, period)
