"""An older import path of :mod:`onetape.data.vendors.base`."""

from ..vendors.base import BaseDataDownloader, Wired, is_ours

__all__ = ("BaseDataDownloader", "Wired", "is_ours")
