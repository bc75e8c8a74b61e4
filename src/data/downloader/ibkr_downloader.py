"""An older import path and name of the class of Interactive Brokers."""

from ..vendors.ibkr.bars import IBKRDataDownloader as IBKRDownloader

__all__ = ("IBKRDownloader",)
