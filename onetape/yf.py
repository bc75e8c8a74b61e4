"""Scripts written for yfinance, on the data manager: cached, complete, with failover.

::

    from onetape import yf

    bars = yf.download(["AAPL", "MSFT"], period="1y")

``docs/coming-from-yfinance.md`` lists what is served and what differs.
"""

from __future__ import annotations

from typing import NoReturn

from src.data.yf.arguments import NotServedError
from src.data.yf.download import download
from src.data.yf.not_served import OF_MODULE, refuse_name
from src.data.yf.search import Search
from src.data.yf.ticker import FastInfo, Ticker, Tickers

__all__ = ["FastInfo", "NotServedError", "Search", "Ticker", "Tickers", "download"]


def __getattr__(name: str) -> NoReturn:
    """Refuse a name of yfinance that is not served here, and say what to use."""
    refuse_name(name, OF_MODULE.get(name))
