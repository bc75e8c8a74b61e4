"""An older import path of :mod:`onetape.data.vendors.mock.bars`."""

from ..vendors.mock.bars import MockDataDownloader, MockDataSource

__all__ = ("MockDataDownloader", "MockDataSource")
