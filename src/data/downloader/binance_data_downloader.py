"""An older import path of :mod:`src.data.vendors.binance.bars`."""

from ..vendors.binance.bars import BinanceDataDownloader

__all__ = ("BinanceDataDownloader",)
