"""An older import path of :mod:`src.data.vendors.ibkr.bars`."""

from ..vendors.ibkr.bars import IBKRDataDownloader

__all__ = ("IBKRDataDownloader",)
