"""An older import path of :mod:`src.data.vendors.factory`."""

from .vendors.factory import DataDownloaderFactory

__all__ = ("DataDownloaderFactory",)
