"""The interface of a source of bars, whose four methods a custom class can implement."""

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
    """A source's description of itself.

    Attributes:
        source_type: Name of the source, such as ``yfinance``, ``ccxt:binance``.
        source_url: URL from which the source's bars come.
        api_version: Version of the API at ``source_url``.
        supports_live: Whether the source also streams live bars.
        rate_limit: Requests per minute; None if unlimited or unknown.
        auth_required: Whether the source needs a key.
        data_delay: Delay of the bars in minutes; None if unknown.
        supported_frequencies: Timeframes that can be fetched.
        additional_info: Further information.
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
    """Settings with which user code creates a source.

    Attributes:
        source_name: Name for ``DataSourceRegistry.get_source``.
        api_key, api_secret: Keys for the vendor; None means the keys in the environment.
        exchange, base_url: Exchange and base URL, if the source uses them.
        rate_limit_per_second: Requests per second.
        enable_caching: Whether answers are cached.
        additional_params: Further arguments for the source's class.
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
    """Base class for sources of bars."""

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Create a source that records its arguments, which identify its cached frames."""
        source = super().__new__(cls)
        vars(source)["_arguments"] = args, options
        return source

    @abstractmethod
    async def fetch(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> pl.DataFrame:
        """Return bars from ``start`` to ``end``, both inclusive.

        Args:
            symbols: Symbols as the source spells them.
            start, end: Bounds of the range; naive times are UTC.
            frequency: Timeframe, such as ``1d``, ``1h``, ``1m``.

        Returns:
            A frame with ``timestamp`` (``Datetime("us")``, naive UTC, the bar's opening time; for
            daily bars, 00:00 of the session's date), ``symbol``, and ``open high low close volume``
            as ``Decimal(18, 8)``.
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
        """Write the bars that :meth:`fetch` returns to a bundle, and return the bundle's folder.

        A custom class may ``return await super().ingest_to_bundle(...)`` with these arguments. The
        frame from the class's ``fetch`` is then checked and written, including additional columns,
        to a bundle that no other source may write to.

        Raises:
            BundleError: The bundle belongs to another source.
            DataError: ``fetch`` failed, or its frame does not contain valid bars; nothing is
                written.
        """
        from .foreign_source import SourceQuestion, ingested

        question = SourceQuestion.of(symbols, start, end, frequency)
        return await ingested(self, bundle_name, question)

    @abstractmethod
    def get_metadata(self) -> DataSourceMetadata:
        """Return the source's description of itself."""

    @abstractmethod
    def supports_live(self) -> bool:
        """Return whether the source also streams live bars."""
