"""An older import path of :mod:`onetape.data.vendors.polygon.bars`."""

from ..vendors.polygon.bars import PolygonDataDownloader

__all__ = ("PolygonDataDownloader",)
