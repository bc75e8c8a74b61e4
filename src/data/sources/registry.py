"""Finds sources by name: vendors, the router, and sources registered by user code."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any, ClassVar

from ..errors import QueryError, UnknownProviderError
from ..jobs.vendors import vendor_of
from ..model.suggestion import did_you_mean
from .base import DataSource

__all__ = ["DataSourceRegistry"]

# Maps each name to the module of its class, which is imported on first use.
_HOMES = {
    "alpaca": "vendors:AlpacaDataSource",
    "alphavantage": "vendors:AlphaVantageDataSource",
    "ccxt": "vendors:CCXTDataSource",
    "csv": "csv_source:CSVDataSource",
    "onetape": "vendor_source:OnetapeDataSource",
    "polygon": "vendors:PolygonDataSource",
    "yfinance": "vendors:YFinanceDataSource",
}
# Vendors whose sources have another name.
_NAMES = {"yahoo": "yfinance", "alpha_vantage": "alphavantage"}
_METHODS = ("fetch", "ingest_to_bundle", "get_metadata", "supports_live")
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,39}")


class DataSourceRegistry:
    """The registry of sources by name, for the whole process. Thread-safe; names are case-insensitive."""

    _registered: ClassVar[dict[str, type[Any]]] = {}

    @classmethod
    def get_source(cls, name: str, **config: Any) -> DataSource:
        """Create a source, given its name.

        Args:
            name: Name from :meth:`list_sources`, an exchange such as ``ccxt:kraken``, or any vendor
                in the rules, such as ``tiingo``.
            **config: Arguments for the source's class.

        Raises:
            UnknownProviderError: No source has this name (a ``ValueError``).
            QueryError: An argument is unknown, or requests something unsupported (a
                ``ValueError``).
        """
        key = name.strip().lower() if isinstance(name, str) else ""
        registered = cls._registered.get(key)
        if registered is not None:
            return registered(**config)  # type: ignore[no-any-return]
        vendor = vendor_of(key) or ""
        key = _NAMES.get(vendor, key)
        if key in _HOMES:
            return _class_of(key)(**config)  # type: ignore[no-any-return]
        if vendor.startswith("ccxt:"):
            return _class_of("ccxt")(vendor.removeprefix("ccxt:"), **config)  # type: ignore[no-any-return]
        if vendor:
            return _class_of("")(provider=vendor, **config)  # type: ignore[no-any-return]
        names = cls.list_sources()
        raise UnknownProviderError(
            f"Unknown data source {name!r:.80}. Available sources: {', '.join(names)}",
            hint=f"{did_you_mean(key, names)}any vendor is a source too, such as tiingo or ccxt:kraken",
        )

    @classmethod
    def register(cls, name: str, source_class: type[Any]) -> None:
        """Register a custom class as a source, until the process ends.

        A class registered later under the same name replaces it.

        Args:
            name: Letters, digits, ``_``, ``.`` and ``-``; not the name of a vendor or of a packaged
                source.
            source_class: Class with the four methods of :class:`.DataSource`.

        Raises:
            QueryError: The name is invalid or taken, or methods are missing (a ``ValueError``).
        """
        key = name.strip().lower() if isinstance(name, str) else ""
        if not _NAME.fullmatch(key) or key in _HOMES or vendor_of(key):
            raise QueryError(
                f"invalid source name {name!r:.80}",
                hint="use letters, digits, _ . and -, but not the name of a vendor",
            )
        lacking = [n for n in _METHODS if not callable(getattr(source_class, n, None))]
        lacking += sorted(getattr(source_class, "__abstractmethods__", ()))
        if not isinstance(source_class, type) or lacking:
            methods = ", ".join(dict.fromkeys(lacking)) or "a class"
            raise QueryError(f"{source_class!r:.80} is not a source: it lacks {methods}")
        cls._registered[key] = source_class

    @classmethod
    def is_registered(cls, name: str) -> bool:
        """Return whether a class has been registered under this name."""
        return name.strip().lower() in cls._registered

    @classmethod
    def list_sources(cls) -> list[str]:
        """Return the sorted names of the sources; any other vendor in the rules is also a source."""
        return sorted({*_HOMES, *cls._registered})

    @classmethod
    def get_source_info(cls, name: str) -> dict[str, Any]:
        """Return a source's description of itself.

        The source is created without arguments and not queried.

        Returns:
            A mapping with ``name``, ``class_name``, ``source_type``, ``supports_live``,
            ``auth_required``, ``rate_limit``, ``data_delay``, ``supported_frequencies`` and
            ``metadata`` (the whole :class:`.DataSourceMetadata`).

        Raises:
            UnknownProviderError, QueryError: See :meth:`get_source`.
        """
        source = cls.get_source(name)
        metadata = source.get_metadata()
        return {
            "name": name,
            "class_name": type(source).__name__,
            "source_type": metadata.source_type,
            "supports_live": source.supports_live(),
            "auth_required": metadata.auth_required,
            "rate_limit": metadata.rate_limit,
            "data_delay": metadata.data_delay,
            "supported_frequencies": list(metadata.supported_frequencies),
            "metadata": metadata,
        }

    @classmethod
    def reset(cls) -> None:
        """Forget the classes that user code has registered."""
        cls._registered.clear()


def _class_of(name: str) -> Any:
    """Return a source's class, or the general class for a vendor without its own class."""
    module, _, attribute = _HOMES.get(name, "vendor_source:VendorDataSource").partition(":")
    return getattr(import_module(f".{module}", __package__), attribute)
