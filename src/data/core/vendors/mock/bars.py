"""A vendor of synthetic bars, for trying programs without a network; used only by calls that name it."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ....errors import DataError, NoDataError
from ...calendars.calendar import calendar_for
from ...calendars.grid import BarGrid
from ...config.rules_file import load_rules
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Basis, Kind
from ...model.market.bars import BarTable, Floats, Stamps
from ...model.request.capabilities import Capabilities, Fetched, FetchQuery, Limits
from ...model.time.instant import DAY_MS, MINUTE_MS, date_of, day_ms
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...symbols.classify import classify
from ..base import BaseDataDownloader
from ..paging import check_capability

_A_DAY = 0.015  # usual daily price change, as a fraction of the price
_LONGEST_MS = 1024 * DAY_MS
_DECIMALS = 6
_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_U64 = np.uint64
_LABELS = "1m 2m 3m 5m 15m 30m 1h 2h 4h 1d 1w 1M".split()


class MockDataDownloader(BaseDataDownloader):
    """Synthetic bars for any symbol, on its market's calendar. No requests are sent.

    The bars are the same on every machine and for every requested range. Their lanes are separate
    from those of all other vendors, so that real series never contain synthetic bars.
    """

    name = "mock"
    display_name = "Mock (made up)"
    limits = Limits(burst=0)
    raw_shape = "column"
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "index", "forex", "crypto", "future"}),
        timeframes={label: label for label in _LABELS},
        kinds={
            "stock": Kind("regular", "session", "mock", volume="shares"),
            "index": Kind("regular", "session", "mock", volume="shares"),
            "future": Kind("24h", "session", "mock", volume="shares"),
            "forex": Kind("24h", "clock", "mock", volume="base"),
            "crypto": Kind("24h", "clock", "mock", volume="base"),
        },
        adjustment="split",
        settle_ms=0,
        has_forming=False,
        made_up=True,
    )

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return the bars for ``query`` that have closed.

        Raises:
            CapabilityError: This vendor does not serve such bars.
            NoDataError: No bar in the range has closed.
        """
        instrument, kind = (
            query.instrument,
            self.capabilities.kind(query.instrument, query.timeframe),
        )
        try:
            check_capability(self, query)
            table = made_up(instrument, query.timeframe, kind.anchor, query.span, query.now_ms)
            if not len(table):
                raise NoDataError(f"mock has no closed {query.timeframe} bars in this range")
        except DataError as exc:
            exc.provider, exc.symbol = self.name, instrument.symbol
            raise
        basis = Basis(query.adjustment or self.capabilities.adjustment)
        return Fetched(table, self.name, kind, basis, query.now_ms, requests=0, settle_ms=0)

    def _direct(self, symbol: str) -> Instrument:
        """Return the instrument that a symbol means; its calendar determines the times of the bars."""
        instrument = classify(symbol, load_rules().classification)
        return instrument if isinstance(instrument, Instrument) else super()._direct(symbol)


def made_up(
    instrument: Instrument, timeframe: Timeframe, anchor: str, span: Span, now_ms: int
) -> BarTable:
    """Return the bars in ``span`` that have closed by ``now_ms``, ascending.

    Prices and volumes are a pure function of symbol, timeframe and timestamp, so that a bar is the
    same in every requested range.

    Args:
        instrument, timeframe, anchor: Instrument, timeframe and anchor of the bars.
        span: Span ``[start, end)``, in UTC milliseconds.
        now_ms: Current time, in UTC milliseconds.
    """
    grid = BarGrid(calendar_for(instrument), timeframe, anchor)
    stamps = grid.opens(span)
    closes = grid.closes(stamps)
    stamps, closes = stamps[closes <= now_ms], closes[closes <= now_ms]
    if not len(stamps):
        return BarTable.empty()
    opened = _price(instrument.symbol, _opening_times(grid, stamps, closes))
    closed = _price(instrument.symbol, closes)
    step_days = (timeframe.step_ms or timeframe.count * 30 * DAY_MS) / DAY_MS
    reach = _A_DAY * step_days**0.5
    drawn = [_draw(_seed(f"{instrument.symbol} {timeframe} {what}"), stamps) for what in "hlv"]
    high = np.maximum(opened, closed) * (1 + reach * drawn[0])
    low = np.minimum(opened, closed) / (1 + reach * drawn[1])
    volume = np.ceil(1e6 * step_days * (0.5 + drawn[2]))
    # Rounding preserves the order of two numbers.
    opened, high, low, closed = (np.round(x, _DECIMALS) for x in (opened, high, low, closed))
    return BarTable(stamps, opened, high, low, closed, volume)


def _opening_times(grid: BarGrid, stamps: Stamps, closes: Stamps) -> Stamps:
    """Return each bar's opening time; for daily and longer bars, the open of their first session."""
    if grid.timeframe.is_intraday:
        return stamps
    sessions = grid.calendar.sessions(date_of(int(stamps[0])), date_of(int(closes[-1])))
    days = np.array([day_ms(session.day) for session in sessions], dtype=np.int64)
    opens = np.array([session.open_ms for session in sessions], dtype=np.int64)
    return opens[np.searchsorted(days, stamps)]


def _price(symbol: str, instants: Stamps) -> Floats:
    """Return a symbol's synthetic price at each instant."""
    base = _seed(symbol)
    logs = np.full(len(instants), np.log(20.0 + base % 480))
    length = _LONGEST_MS
    while length >= MINUTE_MS:
        interval, within = np.divmod(instants, length)
        share = within / length
        seed = _seed(f"{symbol} {length}")
        ends = _draw(seed, interval) * (1 - share) + _draw(seed, interval + 1) * share
        logs += (ends - 0.5) * 2 * _A_DAY * (length / DAY_MS) ** 0.5
        length //= 2
    prices: Floats = np.exp(logs)
    return prices


def _seed(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _draw(seed: int, intervals: Stamps) -> Floats:
    """Return pseudo-random numbers from 0 to 1, which depend only on ``seed`` and ``intervals``."""
    x: NDArray[np.uint64] = intervals.astype(_U64) * _U64(_GOLDEN) + _U64(seed)
    x = (x ^ (x >> _U64(30))) * _U64(_MIX_1)
    x = (x ^ (x >> _U64(27))) * _U64(_MIX_2)
    return ((x ^ (x >> _U64(31))) >> _U64(11)).astype(np.float64) / float(1 << 53)


# The name in the documentation of older interfaces.
MockDataSource = MockDataDownloader
