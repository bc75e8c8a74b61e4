"""The one rule for all incoming data: the values that a bar, a price and a volume may have.

The rule applies to vendors' answers, streams, recordings, files, packages and programs, either to
rows of columns at once (:func:`are_bars`), or to a single bar, trade or price (:func:`is_bar`,
:func:`is_trade`, :func:`is_price`). A test keeps the two forms consistent. Nothing is repaired
here, and spikes are not checked.

When a bar may open depends on the source. A fetched row may open at most one step after now,
because vendors send the forming bar (:func:`latest_stamp`). A streamed bar may not open after now
(:func:`latest_live`). "Now" is the wall clock of this machine, which is passed in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..model.market.bars import Bar, BarTable, Floats
from ..model.market.stream import LiveBar, Trade
from ..model.time.instant import DAY_MS
from ..model.time.timeframe import Timeframe

# No market has prices beyond these. The highest known are those of shares after repeated reverse
# splits, in terms of today's shares: 3e14 dollars for one in 2004 (nine splits, 1.5e13 to one). The
# highest quoted is that of a bitcoin in rials, 1e11. The lowest are those of coins: 1e-12 dollars
# are 1e-17 bitcoins. Numbers beyond these mean "none" or result from a fault: 2**63, 3.4e38,
# 1.8e308, 5e-324.
LOWEST_PRICE, HIGHEST_PRICE = 1e-30, 1e18
# No high is further above both the open and the close than by the first factor, and no low further
# below them than by the second. The Squid coin of 2021 rose to 3e5 times its price and fell back
# within a week; a share of 34 dollars traded at 99,999.99 on 2010-05-06 (3e3). A fall ends at the
# smallest unit: 1 rial for a bitcoin (1e11), 1e-8 bitcoins for a coin worth a few (1e9).
LARGEST_RISE, LARGEST_FALL = 1e9, 1e12
# Even the daily turnover of a coin with a supply of 1e15, counted in units of 1e-9, is far below
# this.
HIGHEST_VOLUME = 1e30

# Maximum rounding noise by which a high may be below, or a low above, the open or close, relative
# to that price. In forty real series (203,309 rows), no row breaks the order by less than 6e-5, and
# single precision is good to 6e-8: 1e-6 is well clear of both. The two odd rows of SPY 2008-2017
# are off by 0.2 and 0.6 percent, 176 of BTCUSDT 2019 by 0.01 to 16: defects, not noise.
PRICE_TOLERANCE = 1e-6
_BELOW, _ABOVE = 1 - PRICE_TOLERANCE, 1 + PRICE_TOLERANCE

# Maximum time by which a vendor's clock may be ahead of the local clock. Synchronized machines are
# accurate to a second, and the shortest streamed bars last a minute, so a clock that is off by more
# is worth reporting.
AHEAD_MS = 10_000
# Maximum age of a stream's latest event. Vendors lag by seconds when markets are busy; an older
# price is not current.
LATE_MS = 30_000
# Maximum time before its close, by its vendor's clock, at which a bar may be reported as closed,
# because the clocks of a vendor's machines can differ by that much.
VENDOR_CLOCKS_MS = 1_000
# A session may open up to two days before its date (futures before a holiday).
_EARLY_SESSION_MS = 2 * DAY_MS

# Reasons for rejecting a timestamp that is too late, or earlier than anything that is streamed.
AHEAD, BEFORE_1970 = "stamp in the future", "stamp before 1970"
# Reasons for rejecting a bar that is reported as closed too early, and an outdated forming bar.
EARLY, LATE = "called closed before its close", "sent too late"
Mask = NDArray[np.bool_]


# --- one at a time


def is_price(value: float) -> bool:
    """Return whether a number can be a price; NaN cannot."""
    return LOWEST_PRICE <= value <= HIGHEST_PRICE


def is_trade(trade: Trade) -> bool:
    """Return whether the values could belong to a trade; the size is required but may be 0."""
    return is_price(trade[1]) and 0 <= trade[2] <= HIGHEST_VOLUME


def is_bar(bar: Bar | LiveBar) -> bool:
    """Return whether the values could form a bar; :func:`are_bars` checks many rows at once."""
    first, high, low, last, volume = bar[1:6]
    # Comparisons with NaN are false, so each of these rejects it; only the volume may be NaN.
    # Hardly any bar needs the tolerance.
    return (
        low >= LOWEST_PRICE
        and (low <= first or low <= first * _ABOVE)
        and (low <= last or low <= last * _ABOVE)
        and (high >= first or high >= first * _BELOW)
        and (high >= last or high >= last * _BELOW)
        and high <= HIGHEST_PRICE
        and (high <= first * LARGEST_RISE or high <= last * LARGEST_RISE)
        and (low * LARGEST_FALL >= first or low * LARGEST_FALL >= last)
        and not (volume < 0 or volume > HIGHEST_VOLUME)
    )


def fault_of(bar: Bar | LiveBar) -> str:
    """Return the reason why the values are not a bar, worded as in :func:`faults_of`."""
    return faults_of(BarTable.from_bars([Bar(*bar[:6])]))[0]


# --- rows of columns


def are_prices(values: Floats) -> Mask:
    """Return a mask of the values that can be prices; NaN cannot."""
    return (values >= LOWEST_PRICE) & (values <= HIGHEST_PRICE)


def ordered(table: BarTable) -> Mask:
    """Return a mask of the rows whose prices are all possible and in order.

    Prices are in order if, within ``PRICE_TOLERANCE``, ``high`` is not below ``open`` or ``close``,
    and ``low`` is not above them. Neither is too far from both (``LARGEST_RISE``, ``LARGEST_FALL``).
    A row with a missing price is not in order.
    """
    with np.errstate(over="ignore"):  # values that overflow are out of bounds anyway
        top, bottom = np.maximum(table.open, table.close), np.minimum(table.open, table.close)
        ok = table.low >= LOWEST_PRICE
        ok &= table.low <= bottom * _ABOVE
        ok &= table.high >= top * _BELOW
        ok &= table.high <= HIGHEST_PRICE
        return ok & ~_are_far(table, top, bottom)


def _are_far(table: BarTable, top: Floats, bottom: Floats) -> Mask:
    """Return a mask of the rows whose high or low is too far from both the open and the close."""
    return (table.high > top * LARGEST_RISE) | (table.low * LARGEST_FALL < bottom)


def are_bars(table: BarTable, latest_ms: float = np.inf) -> Mask:
    """Return a mask of the rows that are valid bars.

    The prices of such a row are :func:`ordered`. The volume is either NaN (unknown), or neither
    negative nor impossibly large. The timestamp is not after ``latest_ms`` (see
    :func:`latest_stamp`).
    """
    ok = ordered(table)
    ok &= ~((table.volume < 0) | (table.volume > HIGHEST_VOLUME))
    ok &= table.stamps <= latest_ms
    return ok


def faults_of(table: BarTable, latest_ms: float = np.inf) -> Sequence[str]:
    """Return the first fault of each row; all rows must be invalid."""
    prices = np.stack(table.values()[:4])
    with np.errstate(over="ignore"):
        top, bottom = np.maximum(table.open, table.close), np.minimum(table.open, table.close)
        least, far = table.low * _BELOW, _are_far(table, top, bottom)
        top, bottom = top * _BELOW, bottom * _ABOVE
    reasons = {
        AHEAD: table.stamps > latest_ms,
        "price missing": np.isnan(prices).any(axis=0),
        "price infinite": np.isinf(prices).any(axis=0),
        "price not positive": (prices <= 0).any(axis=0),
        "price beyond any market's": ~(are_prices(table.low) & are_prices(table.high)),
        "high below low": table.high < least,
        "high below open or close": table.high < top,
        "low above open or close": table.low > bottom,
        "high or low too far from open and close": far,
        "volume negative": table.volume < 0,
        "volume infinite": np.isinf(table.volume),
        "volume beyond any market's": table.volume > HIGHEST_VOLUME,
    }
    named: list[str] = np.select(list(reasons.values()), list(reasons), "not a bar").tolist()
    return named


def latest_stamp(timeframe: Timeframe, now_ms: int) -> int:
    """Return the latest timestamp that a fetched row can have: one bar length from now.

    For daily and longer bars, the limit is later, because a session may begin before its date.
    """
    return now_ms + timeframe.longest_ms + _early_ms(timeframe)


def latest_live(timeframe: Timeframe, now_ms: int) -> int:
    """Return the latest timestamp that a live bar can have: now, plus a tolerance."""
    return now_ms + AHEAD_MS + _early_ms(timeframe)


def _early_ms(timeframe: Timeframe) -> int:
    """Return how early (in milliseconds) a bar can begin before its timestamp; 0 for intraday bars."""
    return 0 if timeframe.is_intraday else _EARLY_SESSION_MS
