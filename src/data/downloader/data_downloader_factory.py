"""An older import path of :mod:`onetape.data.vendors.factory`."""

from ..vendors.factory import DataDownloaderFactory, ProviderSpec

__all__ = ("DataDownloaderFactory", "ProviderSpec")
