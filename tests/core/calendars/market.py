"""Instruments, and times as short texts, for the tests of the calendars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from src.data.core.calendars.calendar import MarketCalendar, calendar_for
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.bars import Stamps
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe

BITCOIN = Instrument("BTCUSDT", "crypto")
EURO = Instrument("EURUSD", "forex", "FX", "America/New_York")
APPLE = Instrument("AAPL", "stock", "XNYS", "America/New_York")
VODAFONE = Instrument("VOD.L", "stock", "XLON", "Europe/London")
TOYOTA = Instrument("7203.T", "stock", "XTKS", "Asia/Tokyo")
TENCENT = Instrument("0700.HK", "stock", "XHKG", "Asia/Hong_Kong")
RELIANCE = Instrument("RELIANCE.NS", "stock", "XBOM", "Asia/Kolkata")
BHP = Instrument("BHP.AX", "stock", "XASX", "Australia/Sydney")
GOLD = Instrument("GC=F", "future", "CMES", "America/Chicago")
EMINI = Instrument("ES=F", "future", "CMES@equity", "America/Chicago")

ALWAYS, FX, NEW_YORK, LONDON, TOKYO, HONG_KONG, BOMBAY, SYDNEY, CHICAGO, INDICES = map(
    calendar_for,
    (BITCOIN, EURO, APPLE, VODAFONE, TOYOTA, TENCENT, RELIANCE, BHP, GOLD, EMINI),
)


def span(start: str, end: str) -> Span:
    return Span(parse_iso(start), parse_iso(end))


def stamps(*texts: str) -> Stamps:
    return np.array([parse_iso(text) for text in texts], dtype=np.int64)


def shown(instants: Sequence[int] | Stamps) -> list[str]:
    """Return instants as texts to the minute; what is finer must be zero."""
    texts = np.asarray(instants, dtype="datetime64[ms]")
    assert (texts == texts.astype("datetime64[m]")).all()
    return [str(text) for text in texts.astype("datetime64[m]")]


def opens(
    calendar: MarketCalendar, timeframe: str, start: str, end: str, anchor: str = "session"
) -> list[str]:
    return shown(calendar.opens(Timeframe.parse(timeframe), span(start, end), anchor))


def bars(
    calendar: MarketCalendar, timeframe: str, start: str, end: str, anchor: str = "session"
) -> list[str]:
    """Return all bars as ``open > close`` texts."""
    step = Timeframe.parse(timeframe)
    begun = calendar.opens(step, span(start, end), anchor)
    closed = calendar.closes(step, begun, anchor)
    return [f"{a} > {b}" for a, b in zip(shown(begun), shown(closed), strict=True)]


def closes(
    calendar: MarketCalendar, timeframe: str, *texts: str, anchor: str = "session"
) -> list[str]:
    return shown(calendar.closes(Timeframe.parse(timeframe), stamps(*texts), anchor))


def settles(
    calendar: MarketCalendar, timeframe: str, *texts: str, settle_ms: int = 120_000
) -> list[str]:
    return shown(calendar.settles(Timeframe.parse(timeframe), stamps(*texts), settle_ms))
