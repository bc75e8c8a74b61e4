"""An older import path of :mod:`onetape.data.vendors.alpaca.bars`."""

from ..vendors.alpaca.bars import AlpacaDataDownloader

__all__ = ("AlpacaDataDownloader",)
