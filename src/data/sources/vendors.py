"""The documented sources for single vendors; each class only sets the name and the vendor."""

from __future__ import annotations

from typing import Any

from ..data_manager import DataManager
from .adapter_settings import adapter_settings
from .vendor_source import VendorDataSource

__all__ = [
    "AlpacaDataSource",
    "AlphaVantageDataSource",
    "CCXTDataSource",
    "PolygonDataSource",
    "YFinanceDataSource",
]


class YFinanceDataSource(VendorDataSource):
    """A source of bars from Yahoo Finance; see :class:`VendorDataSource` for the arguments."""

    name, provider = "yfinance", "yahoo"


class PolygonDataSource(VendorDataSource):
    """A source of bars from Polygon (``POLYGON_API_KEY``); arguments as in :class:`VendorDataSource`."""

    name, provider = "polygon", "polygon"


class AlpacaDataSource(VendorDataSource):
    """A source of bars from Alpaca (``ALPACA_API_KEY`` and ``ALPACA_API_SECRET``).

    See :class:`VendorDataSource` for the arguments.
    """

    name, provider = "alpaca", "alpaca"


class AlphaVantageDataSource(VendorDataSource):
    """A source of bars from Alpha Vantage (``ALPHAVANTAGE_API_KEY``).

    See :class:`VendorDataSource` for the arguments.
    """

    name, provider = "alphavantage", "alpha_vantage"


class CCXTDataSource(VendorDataSource):
    """A source of spot bars from an exchange through ccxt, named ``ccxt:binance`` and so on.

    Args:
        exchange_id: Name of the exchange in ccxt, which may also be passed as ``exchange``. None
            means the exchange in ``config/data_adapters.yaml``, or else ``binance``.
        testnet: Must be False, because bars from a test network are not market data.
        api_key, api_secret: Not needed for bars.
        manager, **config: See :class:`VendorDataSource`.

    Raises:
        QueryError: See :class:`VendorDataSource`.
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
