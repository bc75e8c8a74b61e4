"""An older import path of :mod:`onetape.data.vendors.tiingo.bars`."""

from ..vendors.tiingo.bars import TiingoDataDownloader

__all__ = ("TiingoDataDownloader",)
