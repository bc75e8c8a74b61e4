"""What a source of bars is: four methods, which a program's own class implements, too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import polars as pl

__all__ = ["DataSource", "DataSourceConfig", "DataSourceMetadata"]


@dataclass(frozen=True)
class DataSourceMetadata:
    """What a source says of itself.

    Attributes:
        source_type: its name, such as ``yfinance``, ``ccxt:binance``.
        source_url: where its bars come from.
        api_version: of that interface.
        supports_live: whether it also streams.
        rate_limit: requests a minute; None: not limited, or not known.
        auth_required: whether it needs a key.
        data_delay: minutes by which its bars lag; None: not known.
        supported_frequencies: timeframes that can be fetched.
        additional_info: what else there is.
    """

    source_type: str
    source_url: str = ""
    api_version: str = ""
    supports_live: bool = False
    rate_limit: int | None = None
    auth_required: bool = False
    data_delay: int | None = None
    supported_frequencies: Sequence[str] = ()
    additional_info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSourceConfig:
    """What a source is built with, as a program keeps it.

    Attributes:
        source_name: as ``DataSourceRegistry.get_source`` takes it.
        api_key, api_secret: None: those of the environment.
        exchange, base_url: of the source, where it has them.
        rate_limit_per_second: requests.
        enable_caching: whether answers are kept.
        additional_params: further arguments of the source's class.
    """

    source_name: str
    api_key: str | None = field(default=None, repr=False)
    api_secret: str | None = field(default=None, repr=False)
    exchange: str | None = None
    base_url: str | None = None
    rate_limit_per_second: float = 10
    enable_caching: bool = False
    additional_params: Mapping[str, Any] = field(default_factory=dict)


class DataSource(ABC):
    """A source of bars."""

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Return a source that remembers its arguments: they tell its cached frames from others."""
        source = super().__new__(cls)
        vars(source)["_arguments"] = args, options
        return source

    @abstractmethod
    async def fetch(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> pl.DataFrame:
        """Return bars from ``start`` to ``end``, both inclusive.

        Args:
            symbols: as the source knows them.
            start, end: naive ones are UTC.
            frequency: a timeframe, such as ``1d``, ``1h``, ``1m``.

        Returns:
            ``timestamp`` (``Datetime("us")``, naive UTC, the bar's open; of days 00:00 of the
            session's date), ``symbol``, and ``open high low close volume`` as ``Decimal(18, 8)``.
        """

    @abstractmethod
    async def ingest_to_bundle(
        self,
        bundle_name: str,
        symbols: list[str],
        start: pd.Timestamp,
        end: pd.Timestamp,
        frequency: str,
    ) -> Path:
        """Write the bars that :meth:`fetch` returns into a bundle, and return the bundle's folder.

        A class of a program may ``return await super().ingest_to_bundle(...)`` with these arguments: what
        its ``fetch`` answers is checked and written, with further columns, into a bundle of its own.

        Raises:
            BundleError: the bundle is of another source.
            DataError: ``fetch`` failed, or its frame cannot be bars; nothing is written.
        """
        from .ingest import SourceQuestion, ingested

        question = SourceQuestion.of(symbols, start, end, frequency)
        return await ingested(self, bundle_name, question)

    @abstractmethod
    def get_metadata(self) -> DataSourceMetadata:
        """Return what the source says of itself."""

    @abstractmethod
    def supports_live(self) -> bool:
        """Tell whether it also streams."""
