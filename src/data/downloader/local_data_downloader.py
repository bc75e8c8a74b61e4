"""An older import path of :mod:`onetape.data.vendors.local.bars`."""

from ..vendors.local.bars import LocalDataDownloader

__all__ = ("LocalDataDownloader",)
