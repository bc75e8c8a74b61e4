"""An older import path of :mod:`onetape.data.vendors.ibkr.bars`."""

from ..vendors.ibkr.bars import IBKRDataDownloader

__all__ = ("IBKRDataDownloader",)
