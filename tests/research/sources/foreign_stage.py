"""A program's own source for tests: counts what it is asked for, gives rows by what it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from src.data.core.clock import ManualClock
from src.data.research.sources.cached_source import CachedDataSource
from src.data.research.sources.sources import DataSource, DataSourceMetadata
from tests.research.portal.portal_stage import sessions

YEAR = (pd.Timestamp("2023-01-01"), pd.Timestamp("2023-12-31"), "1d")
DAYS = [datetime(day.year, day.month, day.day) for day in sessions("2023-01-01", "2024-06-14")]


def rows(symbol: str, stamps: Sequence[datetime], step: int = 0) -> pl.DataFrame:
    """Return bars with all 18 digits and a column more; ``step`` tells one answer from another.

    A bar has the same prices in each answer.
    """
    counts = [int((stamp - DAYS[0]) / timedelta(minutes=1)) % 977 for stamp in stamps]
    close = [Decimal(100 + n) + Decimal("0.123456789012345678") for n in counts]
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    return pl.DataFrame(
        {"timestamp": list(stamps), "symbol": symbol, **prices, "volume": 7.0, "answer": step},
        schema_overrides={
            "timestamp": pl.Datetime("us"),
            "symbol": pl.String,
            **dict.fromkeys(prices, pl.Decimal(38, 18)),
        },
    )


class Own(DataSource):
    """A source of a program.

    Attributes:
        asked: symbols, start and end of each call.
        stamps: of the bars that it has.
        error: what it raises, if anything.
        during: is awaited before it answers.
    """

    def __init__(
        self, stamps: Sequence[datetime] = DAYS, source_type: str = "mine", *, live: bool = False
    ) -> None:
        self.asked = list[tuple[list[str], pd.Timestamp, pd.Timestamp]]()
        self.stamps, self._type, self._live = list(stamps), source_type, live
        self.error: BaseException | None = None
        self.during: Callable[[], Any] | None = None

    async def fetch(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> pl.DataFrame:
        self.asked.append((symbols, start, end))
        step = len(self.asked)
        if self.during is not None:
            await self.during()
        if self.error is not None:
            raise self.error
        first, last = (
            bound.tz_convert("UTC").tz_localize(None) if bound.tzinfo else bound
            for bound in (start, end)
        )
        own = [stamp for stamp in self.stamps if first <= stamp <= last]
        return pl.concat([rows(symbol, own, step) for symbol in symbols])

    async def ingest_to_bundle(self, *question: Any) -> Path:
        return await super().ingest_to_bundle(*question)

    def get_metadata(self) -> DataSourceMetadata:
        return DataSourceMetadata(self._type, supports_live=self._live)

    def supports_live(self) -> bool:
        return self._live


def at(text: str) -> ManualClock:
    """Return a clock that stands still at a time in UTC."""
    return ManualClock(int(pd.Timestamp(text, tz="UTC").timestamp() * 1000))


def got(
    source: CachedDataSource, symbols: Sequence[str] = ("AAPL",), *question: Any
) -> pl.DataFrame:
    """Return what a fetch gives; of a year by default."""
    return asyncio.run(source.fetch(list(symbols), *(question or YEAR)))


def minutes(first: str, count: int) -> list[datetime]:
    """Return stamps of minutes."""
    start = datetime.fromisoformat(first)
    return [start + timedelta(minutes=n) for n in range(count)]
