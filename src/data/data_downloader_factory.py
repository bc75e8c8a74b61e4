"""An older import path of :mod:`onetape.data.vendors.factory`."""

from .vendors.factory import DataDownloaderFactory

__all__ = ("DataDownloaderFactory",)
