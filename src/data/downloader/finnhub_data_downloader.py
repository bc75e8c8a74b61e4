"""An older import path of :mod:`src.data.vendors.finnhub.bars`."""

from ..vendors.finnhub.bars import FinnhubDataDownloader

__all__ = ("FinnhubDataDownloader",)
