"""The documented adapters: sources of vendors and of own files, with the steps of an ingestion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from ..sources.csv_source import CSVDataSource
from ..sources.vendors import (
    AlpacaDataSource,
    AlphaVantageDataSource,
    CCXTDataSource,
    PolygonDataSource,
    YFinanceDataSource,
)
from .base import BaseDataAdapter

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "AlpacaAdapter", "AlphaVantageAdapter", "CCXTDataAdapter", "CSVAdapter", "PolygonAdapter",
    "YFinanceAdapter",
]  # fmt: skip


_NAMES = {"start_date": "start", "end_date": "end", "resolution": "frequency"}


class _EitherNames:
    """``fetch`` takes both documented sets of names: those of sources, and those of adapters."""

    async def fetch(self, symbols: list[str], *question: Any, **named: Any) -> pl.DataFrame:
        """Return bars as :meth:`.DataSource.fetch` does.

        Args:
            symbols: As the source knows them.
            question: Start, end and timeframe, both bounds inclusive.
            named: The same as ``start, end, frequency``, or as ``start_date, end_date, resolution``.

        Raises:
            QueryError: An argument is given under both of its names (a ``ValueError``).
        """
        told = {_NAMES.get(name, name): value for name, value in named.items()}
        if len(told) < len(named):
            raise QueryError(
                f"an argument is given twice: {', '.join(sorted(named))}",
                hint="start, end, frequency, or start_date, end_date, resolution",
            )
        frame: pl.DataFrame = await super().fetch(symbols, *question, **told)  # type: ignore[misc]
        return frame


class AlpacaAdapter(_EitherNames, AlpacaDataSource, BaseDataAdapter):
    """:class:`AlpacaDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class AlphaVantageAdapter(_EitherNames, AlphaVantageDataSource, BaseDataAdapter):
    """:class:`AlphaVantageDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class CCXTDataAdapter(_EitherNames, CCXTDataSource, BaseDataAdapter):
    """:class:`CCXTDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class CSVAdapter(_EitherNames, CSVDataSource, BaseDataAdapter):
    """:class:`CSVDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class PolygonAdapter(_EitherNames, PolygonDataSource, BaseDataAdapter):
    """:class:`PolygonDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class YFinanceAdapter(_EitherNames, YFinanceDataSource, BaseDataAdapter):
    """:class:`YFinanceDataSource` with ``validate``, ``standardize`` and ``ingest``."""
