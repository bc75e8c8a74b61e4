"""Which fundamentals a run renews: the oldest first, a part at a time. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import QueryError

DEFAULT_TTL_DAYS = 14.0
# The types that a run renews by default; the periodic one renews fewer, of fewer symbols.
REFRESHED_TYPES = ("ratios", "profile", "statements")
PERIODIC_TYPES = ("ratios", "profile")
PERIODIC_SYMBOLS = 50


@dataclass(frozen=True)
class Choice:
    """Which symbols, and in which order; runs that follow each other get round to all of them.

    Attributes:
        stale_min_days: only what is at least that old.
        stale_fraction: the same as a part of ``stale_ttl_days``, where the days are not given.
        stale_ttl_days: how long an answer is reckoned to be fresh for that.
        chunk_fraction: only the oldest part of these, above 0 and at most 1.
        max_symbols: at most so many; 0: all.
        shuffle: in no order, for vendors that would otherwise see the same one each day.
        seed: makes that order repeatable; left out, each day has its own.

    Raises:
        QueryError: a number is out of its bounds (a ``ValueError``).
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
            raise QueryError("chunk_fraction is 0, which leaves nothing", hint="0.25 is a quarter")

    @property
    def threshold_days(self) -> float | None:
        """The age from which something is renewed; None where every age counts."""
        if self.stale_min_days is None and self.stale_fraction is not None:
            return self.stale_fraction * self.stale_ttl_days
        return self.stale_min_days

    def is_due(self, age_days: float | None) -> bool:
        """Tell whether something of that age is renewed; what is missing always is."""
        threshold = self.threshold_days
        return threshold is None or age_days is None or age_days >= threshold

    def of(self, ages: Mapping[str, float | None], today: int) -> list[str]:
        """Return the symbols to renew, the oldest first and the missing before them.

        Args:
            ages: symbol to age in days; None where nothing is held.
            today: a number of the day, from which an order without ``seed`` is made.
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
        bounds = (
            f"from {least:g} on" if most == math.inf else f"above {least:g} and at most {most:g}"
        )
        raise QueryError(f"{name} is {value:g}, a number {bounds} is needed")
