"""An older import path of :mod:`.downloader.data_downloader_factory`."""

from .downloader.data_downloader_factory import DataDownloaderFactory

__all__ = ("DataDownloaderFactory",)
