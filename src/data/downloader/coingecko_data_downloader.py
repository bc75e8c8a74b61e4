"""An older import path of :mod:`onetape.data.vendors.coingecko.bars`."""

from ..vendors.coingecko.bars import CoinGeckoDataDownloader

__all__ = ("CoinGeckoDataDownloader",)
