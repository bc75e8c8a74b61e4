"""The documented adapters: sources for vendors and users' files, with the ingestion steps."""

from __future__ import annotations

from ..sources.csv_source import CSVDataSource
from ..sources.vendors import (
    AlpacaDataSource,
    AlphaVantageDataSource,
    CCXTDataSource,
    PolygonDataSource,
    YFinanceDataSource,
)
from .base import BaseDataAdapter

__all__ = [
    "AlpacaAdapter",
    "AlphaVantageAdapter",
    "CCXTDataAdapter",
    "CSVAdapter",
    "PolygonAdapter",
    "YFinanceAdapter",
]


class AlpacaAdapter(AlpacaDataSource, BaseDataAdapter):
    """:class:`AlpacaDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class AlphaVantageAdapter(AlphaVantageDataSource, BaseDataAdapter):
    """:class:`AlphaVantageDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class CCXTDataAdapter(CCXTDataSource, BaseDataAdapter):
    """:class:`CCXTDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class CSVAdapter(CSVDataSource, BaseDataAdapter):
    """:class:`CSVDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class PolygonAdapter(PolygonDataSource, BaseDataAdapter):
    """:class:`PolygonDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class YFinanceAdapter(YFinanceDataSource, BaseDataAdapter):
    """:class:`YFinanceDataSource` with ``validate``, ``standardize`` and ``ingest``."""
