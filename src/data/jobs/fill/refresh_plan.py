"""Selects the fundamentals that a run renews: the oldest first, some at a time. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import QueryError

DEFAULT_TTL_DAYS = 14.0
# The types that a run renews by default; the periodic run renews fewer, for fewer symbols.
REFRESHED_TYPES = ("ratios", "profile", "statements")
PERIODIC_TYPES = ("ratios", "profile")
PERIODIC_SYMBOLS = 50


@dataclass(frozen=True)
class Choice:
    """Selects and orders the symbols to refresh; successive runs eventually cover all of them.

    Attributes:
        stale_min_days: Minimum age, in days, of data to renew.
        stale_fraction: Minimum age as a fraction of ``stale_ttl_days``; used if ``stale_min_days``
            is None.
        stale_ttl_days: Number of days for which an answer is fresh, used only with
            ``stale_fraction``.
        chunk_fraction: Fraction of the selected symbols to renew, oldest first; above 0 and at most
            1.
        max_symbols: Maximum number of symbols to renew; 0 means all.
        shuffle: Whether to use a random order, so that vendors do not see the same order every day.
        seed: Seed that makes the random order repeatable; if None, the order differs each day.

    Raises:
        QueryError: A number is out of bounds (a ``ValueError``).
    """

    stale_min_days: float | None = None
    stale_fraction: float | None = None
    stale_ttl_days: float = DEFAULT_TTL_DAYS
    chunk_fraction: float | None = None
    max_symbols: int = 0
    shuffle: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        _check("stale_min_days", self.stale_min_days, least=0.0)
        _check("stale_fraction", self.stale_fraction, least=0.0)
        _check("stale_ttl_days", self.stale_ttl_days, least=0.0)
        _check("max_symbols", self.max_symbols, least=0.0)
        _check("chunk_fraction", self.chunk_fraction, least=0.0, most=1.0)
        if self.chunk_fraction == 0:
            raise QueryError(
                "chunk_fraction is 0, which selects nothing",
                hint="use a fraction above 0, such as 0.25 for a quarter",
            )

    @property
    def threshold_days(self) -> float | None:
        """Minimum age (days) at which data is refreshed; None if age does not matter."""
        if self.stale_min_days is None and self.stale_fraction is not None:
            return self.stale_fraction * self.stale_ttl_days
        return self.stale_min_days

    def is_due(self, age_days: float | None) -> bool:
        """Return whether data of a given age is due for a refresh; missing data always is."""
        threshold = self.threshold_days
        return threshold is None or age_days is None or age_days >= threshold

    def of(self, ages: Mapping[str, float | None], today: int) -> list[str]:
        """Return the symbols to refresh: first symbols without data, then symbols with the oldest data.

        If ``shuffle`` is set, their order is random.

        Args:
            ages: Maps each symbol to the age of its data in days, or to None if nothing is stored.
            today: Number of the day, which determines the order if there is no ``seed``.
        """
        due = [symbol for symbol, age in ages.items() if self.is_due(age)]
        due.sort(key=lambda symbol: math.inf if (a := ages[symbol]) is None else a, reverse=True)
        if self.chunk_fraction is not None:
            due = due[: math.ceil(len(due) * self.chunk_fraction)]
        if self.shuffle:
            random.Random(today if self.seed is None else self.seed).shuffle(due)  # noqa: S311 - an order, no secret
        return due[: self.max_symbols or None]


def _check(name: str, value: float | None, *, least: float, most: float = math.inf) -> None:
    if value is not None and not (least <= value <= most and math.isfinite(value)):
        bounds = f"from {least:g}" if most == math.inf else f"above {least:g} and at most {most:g}"
        raise QueryError(f"{name} is {value:g}; use a number {bounds}")
