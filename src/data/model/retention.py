"""How long year files that a rewrite replaced stay within reach of ``version=``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Retention:
    """What is kept of replaced year files; the bars of today are none of its business.

    Attributes:
        versions: how many files of each year; 0 keeps none.
        days: for how many days after they were replaced; None sets no such bound.
    """

    versions: int = 8
    days: float | None = None
