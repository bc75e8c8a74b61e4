"""The vendors there are; each one's module is imported when it is first used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import cast

from ..errors import UnknownProviderError
from ..model.vendors import VENDORS, canonical_vendor
from .base_data_downloader import BaseDataDownloader

REGISTRY: Mapping[str, str] = MappingProxyType(
    {
        "alpha_vantage": "alpha_vantage_data_downloader:AlphaVantageDataDownloader",
        "binance": "binance_data_downloader:BinanceDataDownloader",
        "eodhd": "eodhd_data_downloader:EODHDDataDownloader",
        "finnhub": "finnhub_data_downloader:FinnhubDataDownloader",
        "fmp": "fmp_data_downloader:FMPDataDownloader",
        "local": "local_data_downloader:LocalDataDownloader",
        "yahoo": "yahoo_data_downloader:YahooDataDownloader",
    }
)


def canonical_name(code: str) -> str | None:
    """Return the canonical name of a vendor that exists here, by name or alias, else None."""
    name = canonical_vendor(code) if isinstance(code, str) else None
    return name if name in REGISTRY else None


def aliases_of(name: str) -> tuple[str, ...]:
    """Return the other spellings of a canonical name."""
    return VENDORS[name]


def downloader_class(code: str) -> type[BaseDataDownloader]:
    """Return the class of a vendor, by name or alias; imports its module.

    Raises:
        UnknownProviderError: there is no such vendor.
    """
    name = canonical_name(code)
    if name is None:
        raise UnknownProviderError(
            f"there is no provider {code!r}", hint=f"there are {', '.join(REGISTRY)}"
        )
    module, _, cls = REGISTRY[name].partition(":")
    found = getattr(import_module(f".{module}", __package__), cls)
    return cast("type[BaseDataDownloader]", found)
