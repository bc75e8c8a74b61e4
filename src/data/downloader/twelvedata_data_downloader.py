"""An older import path of :mod:`onetape.data.vendors.twelvedata.bars`."""

from ..vendors.twelvedata.bars import TwelveDataDataDownloader

__all__ = ("TwelveDataDataDownloader",)
