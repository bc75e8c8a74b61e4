"""An older import path of :mod:`onetape.data.vendors.ccxt.bars`."""

from ..vendors.ccxt.bars import CCXTDataDownloader

__all__ = ("CCXTDataDownloader",)
