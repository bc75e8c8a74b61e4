"""An older import path of :mod:`onetape.data.vendors.fmp.bars`."""

from ..vendors.fmp.bars import FMPDataDownloader, create_fmp_downloader

__all__ = ("FMPDataDownloader", "create_fmp_downloader")
