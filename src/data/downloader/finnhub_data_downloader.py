"""An older import path of :mod:`onetape.data.vendors.finnhub.bars`."""

from ..vendors.finnhub.bars import FinnhubDataDownloader

__all__ = ("FinnhubDataDownloader",)
