"""An older import path of :mod:`onetape.data.vendors.binance.bars`."""

from ..vendors.binance.bars import BinanceDataDownloader

__all__ = ("BinanceDataDownloader",)
