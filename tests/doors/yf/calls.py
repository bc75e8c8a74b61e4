"""Calls of yfinance that both packages answer, and what differs on purpose."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pandas as pd

Run = Callable[[Any], Any]


def history(ticker: str, **options: Any) -> Run:
    """Return a call of ``Ticker.history``."""
    return lambda yf: yf.Ticker(ticker).history(**options)


def download(tickers: Any, **options: Any) -> Run:
    """Return a call of ``download``."""
    return lambda yf: yf.download(tickers, progress=False, **options)


def attribute(ticker: str, name: str) -> Run:
    """Return a look at an attribute of ``Ticker``."""
    return lambda yf: getattr(yf.Ticker(ticker), name)


_MINUTES = ("1m", "2m", "5m", "15m", "30m", "60m", "90m", "1h")
_DAYS = ("1d", "1wk", "1mo", "3mo")
_PERIODS = ("1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max", "7d", "2wk")
_THREE = ["DIVI", "ACME", "NEWS.L"]
_MAY = {"start": "2024-05-01", "end": "2024-06-01"}

CALLS: dict[str, Run] = {
    "no argument": history("ACME"),
    **{f"each interval: {i}": history("ACME", period="5d", interval=i) for i in _MINUTES},
    **{f"each interval: {i}": history("ACME", period="2y", interval=i) for i in _DAYS},
    **{f"each interval, not adjusted: {i}": history("NVDA", start="2024-01-01", interval=i,
                                                    auto_adjust=False) for i in _DAYS},
    **{f"each period: {p}": history("ACME", period=p) for p in _PERIODS},
    "London": history("NEWS.L"),
    "a coin": history("BTC-USD", period="1mo"),
    "hours of a coin": history("BTC-USD", period="5d", interval="1h"),
    "a split in hours": history("NVDA", start="2024-06-01", interval="1h"),
    "a dividend in hours": history("ACME", start="2024-05-09", end="2024-05-14", interval="1h"),
    "a reverse split": history("REVS", start="2024-01-01", auto_adjust=False),
    "before and after hours: 1m": history("ACME", period="1d", interval="1m", prepost=True),
    "before and after hours: 5m": history("ACME", period="5d", interval="5m", prepost=True),
    "before and after hours: 30m": history("ACME", period="5d", interval="30m", prepost=True),
    "before and after hours: 1h": history("ACME", period="5d", interval="1h", prepost=True),
    "before and after hours: 1d": history("ACME", period="1mo", prepost=True),
    "a dividend's day": history("ACME", start="2024-05-10", end="2024-05-11"),
    "a weekend": history("ACME", start="2024-05-11", end="2024-05-13"),
    "a range without a day": history("ACME", start="2024-05-10", end="2024-05-10"),
    "datetimes, half hours": history("ACME", start=datetime(2024, 6, 10, 11),
                                     end=datetime(2024, 6, 11, 12, 30), interval="30m"),
    "datetimes, days": history("ACME", start=datetime(2024, 6, 3, 11),
                               end=datetime(2024, 6, 11, 12, 30)),
    "dates": history("ACME", start=date(2024, 5, 1), end=date(2024, 6, 1)),
    "seconds": history("ACME", start=1717000000, end=1718000000),
    "another time zone": history("ACME", start=pd.Timestamp("2024-06-03", tz="UTC")),
    "a period after a start": history("ACME", start="2024-05-01", period="1mo"),
    "a period before an end": history("ACME", end="2024-05-01", period="1mo"),
    "an end": history("ACME", end="2024-05-01"),
    # These ranges end before now, but within a bar that has not closed.
    "an end in the running week": history("ACME", start="2024-05-06", end="2024-06-12",
                                          interval="1wk"),
    "an end in the running quarter": history("ACME", start="2023-03-15", end="2024-05-15",
                                             interval="3mo"),
    "an end later than today's open": history("ACME", start="2024-06-03",
                                              end=datetime(2024, 6, 12, 10)),
    "an end in the running hour": history("ACME", start="2024-06-11", interval="1h",
                                          end=datetime(2024, 6, 12, 11)),
    "rounded": history("DIVI", rounding=True, **_MAY),
    "no actions": history("DIVI", actions=False, auto_adjust=False, **_MAY),
    "unknown": history("NOPE"),
    "delisted": history("GONE", start="2023-03-01"),
    "delisted, after that": history("GONE", start="2023-06-01", end="2023-07-01"),
    "young, all": history("YOUNG", period="max"),
    "download one": download("ACME", **_MAY),
    "download one, to now": download("ACME", start="2024-05-01"),
    "download one, one level": download("ACME", actions=True, multi_level_index=False, **_MAY),
    "download one by ticker, one level": download("ACME", group_by="ticker",
                                                  multi_level_index=False, **_MAY),
    "download a string": download("ACME DIVI,news.l", **_MAY),
    "download several": download(_THREE, start="2024-05-01"),
    "download several by ticker": download(_THREE, group_by="ticker", actions=True, **_MAY),
    "download with a zone": download(_THREE, ignore_tz=False, **_MAY),
    "download hours": download(_THREE, period="5d", interval="1h"),
    "download hours without a zone": download(_THREE, period="5d", interval="1h", ignore_tz=True),
    "download weeks": download(_THREE, start="2024-01-01", interval="1wk", auto_adjust=False),
    "download with an unknown one": download(["ACME", "NOPE", "DIVI"], **_MAY),
    "download unknown ones alone": download(["NOPE", "NADA"], **_MAY),
    "download one by one": download(_THREE, threads=False, **_MAY),
    "download two at once": download(_THREE, threads=2, rounding=True, **_MAY),
    "download shares and a coin": download(["ACME", "BTC-USD"], **_MAY),
    "Tickers": lambda yf: yf.Tickers("ACME DIVI").history(progress=False, **_MAY),
    "Tickers by ticker": lambda yf: yf.Tickers(["ACME", "DIVI"]).download(
        progress=False, group_by="ticker", **_MAY
    ),
    "actions": attribute("ACME", "actions"),
    "actions of dividends alone": attribute("DIVI", "actions"),
    "no actions at all": attribute("NEWS.L", "actions"),
    "dividends": attribute("ACME", "dividends"),
    "splits": attribute("ACME", "splits"),
    "no splits": attribute("DIVI", "splits"),
    "no dividends": attribute("NEWS.L", "dividends"),
}  # fmt: skip

# Calls whose frames differ, with the words of the page that say why, and the columns that are equal
# all the same.
DIFFERENT: dict[str, tuple[str, tuple[str, ...]]] = {
    "before and after hours: 1h": (
        "the hour in which trading opens has volume 0",
        ("Open", "High", "Low", "Close", "Dividends", "Stock Splits"),
    ),
    **dict.fromkeys(
        ("an end in the running week", "an end in the running quarter"),
        ("the last bar leaves out today", ("Open", "Dividends", "Stock Splits")),
    ),
}
