"""An older import path of :mod:`onetape.data.vendors.eodhd.bars`."""

from ..vendors.eodhd.bars import EODHDDataDownloader

__all__ = ("EODHDDataDownloader",)
