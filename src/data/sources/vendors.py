"""The documented sources of vendors; each is a name and a vendor of the router."""

from __future__ import annotations

from typing import Any

from ..config.data_adapters import adapter_settings
from ..data_manager import DataManager
from .vendor_source import VendorDataSource

__all__ = [
    "AlpacaDataSource",
    "AlphaVantageDataSource",
    "CCXTDataSource",
    "PolygonDataSource",
    "YFinanceDataSource",
]


class YFinanceDataSource(VendorDataSource):
    """Bars of Yahoo Finance; arguments as of :class:`VendorDataSource`."""

    name, provider = "yfinance", "yahoo"


class PolygonDataSource(VendorDataSource):
    """Bars of Polygon (``POLYGON_API_KEY``); arguments as of :class:`VendorDataSource`."""

    name, provider = "polygon", "polygon"


class AlpacaDataSource(VendorDataSource):
    """Bars of Alpaca (``ALPACA_API_KEY`` and ``ALPACA_API_SECRET``).

    Arguments as of :class:`VendorDataSource`.
    """

    name, provider = "alpaca", "alpaca"


class AlphaVantageDataSource(VendorDataSource):
    """Bars of Alpha Vantage (``ALPHAVANTAGE_API_KEY``); arguments as of :class:`VendorDataSource`."""

    name, provider = "alphavantage", "alpha_vantage"


class CCXTDataSource(VendorDataSource):
    """Spot bars of an exchange by ccxt, named ``ccxt:binance`` and so on.

    Args:
        exchange_id: ccxt's name of the exchange; ``exchange`` is the same. None: that of
            ``config/data_adapters.yaml``, else ``binance``.
        testnet: False: bars of a test network are no market's.
        api_key, api_secret: bars need none.
        manager, **config: as of :class:`VendorDataSource`.

    Raises:
        QueryError: as of :class:`VendorDataSource`.
    """

    def __init__(
        self,
        exchange_id: str | None = None,
        testnet: bool = False,
        api_key: str | None = None,
        api_secret: str | None = None,
        *,
        manager: DataManager | None = None,
        **config: Any,
    ) -> None:
        given = config.pop("exchange", None) or exchange_id
        named = given or adapter_settings("ccxt").get("exchange_id", "binance")
        exchange = str(named).strip().lower()
        config |= {"testnet": testnet, "api_key": api_key, "api_secret": api_secret}
        super().__init__(manager, provider=f"ccxt:{exchange}", **config)
