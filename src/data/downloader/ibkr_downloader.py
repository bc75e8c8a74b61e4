"""An older import path and name of the Interactive Brokers class."""

from ..vendors.ibkr.bars import IBKRDataDownloader as IBKRDownloader

__all__ = ("IBKRDownloader",)
