"""An older import path of :mod:`onetape.data.vendors.yahoo.bars`."""

from ..vendors.yahoo.bars import YahooDataDownloader

__all__ = ("YahooDataDownloader",)
