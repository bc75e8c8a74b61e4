"""Runs scripts written for yfinance on the data manager: cached, complete, with failover.

::

    from onetape import yf

    bars = yf.download(["AAPL", "MSFT"], period="1y")

``docs/coming-from-yfinance.md`` lists the supported features and the differences.
"""

from __future__ import annotations

from typing import NoReturn

from .data.doors.yf.arguments import NotServedError
from .data.doors.yf.download import download
from .data.doors.yf.download import shared as shared
from .data.doors.yf.not_served import OF_MODULE, refuse_name, set_tz_cache_location
from .data.doors.yf.search import Search
from .data.doors.yf.ticker import FastInfo, Ticker, Tickers

__all__ = [
    "FastInfo",
    "NotServedError",
    "Search",
    "Ticker",
    "Tickers",
    "download",
    "set_tz_cache_location",
]


def __getattr__(name: str) -> NoReturn:
    """Reject a yfinance name that is not supported here; the error names the alternative."""
    refuse_name(name, OF_MODULE.get(name))
