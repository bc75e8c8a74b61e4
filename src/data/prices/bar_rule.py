"""The one rule for all incoming data: what a bar, a price and a volume may be.

Vendors' answers, streams, recordings, files, packages and programs are judged by it: rows of columns
at once (:func:`are_bars`), a bar, a trade or a price by itself (:func:`is_bar`, :func:`is_trade`,
:func:`is_price`). A test holds the two forms together. Nothing is repaired here, and spikes are none
of its business.

When a bar may open depends on who says so. A fetched row may open one step after now at most, for
vendors send the bar that is forming (:func:`latest_stamp`); what a stream sends may open no later
than now (:func:`latest_live`). Now is by the wall clock of this machine, and passed in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..model.bars import Bar, BarTable, Floats
from ..model.instant import DAY_MS
from ..model.stream import LiveBar, Trade
from ..model.timeframe import Timeframe

# No market has a price beyond these. The highest known are those of shares that were joined again and
# again, in today's shares: 3e14 dollars for one of 2004 (nine splits, 1.5e13 to one); as quoted it is
# a bitcoin in rials, 1e11. The lowest are of coins: 1e-12 dollars are 1e-17 bitcoins. Beyond them lie
# the numbers that stand for "none" or come of a fault: 2**63, 3.4e38, 1.8e308, 5e-324.
LOWEST_PRICE, HIGHEST_PRICE = 1e-30, 1e18
# Of coins of which there are 1e15, a day's turnover counted in 1e-9 of them stays far below it.
HIGHEST_VOLUME = 1e30

# How far a high may lie below, or a low above, the open or close and still be rounding noise,
# relative to that price. In forty real series (203,309 rows) no row breaks the order by less than
# 6e-5, and single precision is good to 6e-8: 1e-6 stands clear of both. The two odd rows of SPY
# 2008-2017 are off by 0.2 and 0.6 percent, 176 of BTCUSDT 2019 by 0.01 to 16: defects, not noise.
PRICE_TOLERANCE = 1e-6
_BELOW, _ABOVE = 1 - PRICE_TOLERANCE, 1 + PRICE_TOLERANCE

# So far a vendor's clock may be ahead of ours. Machines that keep their time are right to a second,
# and the shortest streamed bars last a minute: a clock that is off by more than this is worth a word.
AHEAD_MS = 10_000
# A stream's newest event may be so old. Vendors are behind by seconds when markets are busy; a price
# that is older was not traded now.
LATE_MS = 30_000
# By the clock of its vendor a bar may be called closed so long before its close: two of a vendor's
# machines can differ by that.
VENDOR_CLOCKS_MS = 1_000
# A session may open up to two days before the date it is named after (futures before a holiday).
_EARLY_SESSION_MS = 2 * DAY_MS

# The reasons of a stamp that lies too late, or before anything that is streamed.
AHEAD, BEFORE_1970 = "stamp in the future", "stamp before 1970"
# The reasons of a bar that is called closed too early, and of a running one that is no longer news.
EARLY, LATE = "called closed before its close", "sent too late"
Mask = NDArray[np.bool_]


# --- one at a time


def is_price(value: float) -> bool:
    """Tell whether a number can be a price; NaN cannot."""
    return LOWEST_PRICE <= value <= HIGHEST_PRICE


def is_trade(trade: Trade) -> bool:
    """Tell whether the values of a trade can be those of one: it has a size, be it 0."""
    return is_price(trade[1]) and 0 <= trade[2] <= HIGHEST_VOLUME


def is_bar(bar: Bar | LiveBar) -> bool:
    """Tell whether the values of a bar can be those of one: :func:`are_bars` of a single row."""
    first, high, low, last, volume = bar[1:6]
    # A comparison with NaN is false, so each of these refuses it; a volume alone may be NaN. Hardly
    # any bar needs the tolerance.
    return (
        low >= LOWEST_PRICE
        and (low <= first or low <= first * _ABOVE)
        and (low <= last or low <= last * _ABOVE)
        and (high >= first or high >= first * _BELOW)
        and (high >= last or high >= last * _BELOW)
        and high <= HIGHEST_PRICE
        and not (volume < 0 or volume > HIGHEST_VOLUME)
    )


def fault_of(bar: Bar | LiveBar) -> str:
    """Return why a bar is none, in the words of :func:`faults_of`."""
    return faults_of(BarTable.from_bars([Bar(*bar[:6])]))[0]


# --- rows of columns


def are_prices(values: Floats) -> Mask:
    """Tell value by value whether it can be a price; NaN cannot."""
    return (values >= LOWEST_PRICE) & (values <= HIGHEST_PRICE)


def ordered(table: BarTable) -> Mask:
    """Tell row by row whether all prices can be some, and are in order.

    In order: ``high`` is not below, ``low`` not above ``open`` and ``close``, give or take
    ``PRICE_TOLERANCE``. Any missing price makes a row False.
    """
    with np.errstate(over="ignore"):  # what overflows is refused by its bound
        ok = table.low >= LOWEST_PRICE
        ok &= table.low <= np.minimum(table.open, table.close) * _ABOVE
        ok &= table.high >= np.maximum(table.open, table.close) * _BELOW
        ok &= table.high <= HIGHEST_PRICE
    return ok


def are_bars(table: BarTable, latest_ms: float = np.inf) -> Mask:
    """Tell row by row whether it can be a bar.

    Its prices are :func:`ordered`, its volume is neither negative nor beyond any market's (NaN where
    there is none), and its stamp is not after ``latest_ms`` (see :func:`latest_stamp`).
    """
    ok = ordered(table)
    ok &= ~((table.volume < 0) | (table.volume > HIGHEST_VOLUME))
    ok &= table.stamps <= latest_ms
    return ok


def faults_of(table: BarTable, latest_ms: float = np.inf) -> Sequence[str]:
    """Return what is wrong with each row; the first of several reasons counts."""
    prices = np.stack(table.values()[:4])
    with np.errstate(over="ignore"):
        top = np.maximum(table.open, table.close) * _BELOW
        bottom = np.minimum(table.open, table.close) * _ABOVE
        least = table.low * _BELOW
    reasons = {
        AHEAD: table.stamps > latest_ms,
        "price missing": np.isnan(prices).any(axis=0),
        "price infinite": np.isinf(prices).any(axis=0),
        "price not positive": (prices <= 0).any(axis=0),
        "price beyond any market's": ~are_prices(prices).all(axis=0),
        "high below low": table.high < least,
        "high below open or close": table.high < top,
        "low above open or close": table.low > bottom,
        "volume negative": table.volume < 0,
        "volume infinite": np.isinf(table.volume),
        "volume beyond any market's": table.volume > HIGHEST_VOLUME,
    }
    named: list[str] = np.select(list(reasons.values()), list(reasons), "not a bar").tolist()
    return named


def latest_stamp(timeframe: Timeframe, now_ms: int) -> int:
    """Return the last stamp that a fetched row may have: a step ahead, more for named sessions."""
    return now_ms + timeframe.longest_ms + _early_ms(timeframe)


def latest_live(timeframe: Timeframe, now_ms: int) -> int:
    """Return the last stamp that a bar may have which is told as it happens: now, give or take."""
    return now_ms + AHEAD_MS + _early_ms(timeframe)


def _early_ms(timeframe: Timeframe) -> int:
    """Return how far before its stamp a bar may begin: sessions are named after dates."""
    return 0 if timeframe.is_intraday else _EARLY_SESSION_MS
