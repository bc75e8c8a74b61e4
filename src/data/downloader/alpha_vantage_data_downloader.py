"""An older import path of :mod:`onetape.data.vendors.alpha_vantage.bars`."""

from ..vendors.alpha_vantage.bars import AlphaVantageDataDownloader

__all__ = ("AlphaVantageDataDownloader",)
