"""The cost of looking up fundamentals in the cache."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from onetape.data.core.cache.beside.fundamentals_cache import FundamentalsCache
from onetape.data.core.clock import ManualClock
from onetape.data.core.model.market.fundamentals import FIELDS, WITH_CURRENCY, Fact, Snapshot
from onetape.data.data_manager import DataManager

from .harness import Figure, Report, Row, race

_VENDORS = ("fmp", "yahoo", "alpha_vantage")
_NOW_MS = 1_718_204_430_000
_NOTE = (
    "The table shows the time in microseconds of ten lookups of a synthetic company. Three "
    "vendors have every field of the company, and no request is sent. For *merged again*, "
    "the lookups are as of a given day, for which no result is cached."
)


def measure() -> Report:
    """Look up one company repeatedly."""
    with TemporaryDirectory() as folder:
        clock = ManualClock(_NOW_MS)
        kept = FundamentalsCache(folder, clock=clock)
        for vendor in _VENDORS:
            kept.keep(_said(vendor))
        manager = DataManager(Path(folder), clock=clock)
        calls: dict[str, Callable[[], object]] = {
            "ten lookups": lambda: [manager.get_fundamentals("AAPL") for _ in range(10)],
            "merged again": lambda: [
                manager.get_fundamentals("AAPL", as_of="2024-06-13") for _ in range(10)
            ],
        }
        results = race(calls)
    figures = {name: Figure.of(values) for name, values in results.items()}
    return Report("Fundamentals", _NOTE, [Row("from the cache", figures, "ten lookups <= 10,000")])


def _said(vendor: str) -> Snapshot:
    facts = {
        name: Fact(name, unit) if unit == "text"
        else Fact(0.5 + random.random() / 100, unit, "USD" if unit in WITH_CURRENCY else "")
        for name, unit in FIELDS.items()
    }  # fmt: skip
    return Snapshot(vendor, "AAPL", _NOW_MS, facts, data_types=("profile",), names_symbol=True)


if __name__ == "__main__":
    print(measure())
