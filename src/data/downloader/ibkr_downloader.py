"""Where older programs look for the class of Interactive Brokers."""

from .ibkr_data_downloader import IBKRDataDownloader as IBKRDownloader

__all__ = ("IBKRDownloader",)
