"""Read Alpha Vantage's answers: series by date, as JSON or CSV, and lists of actions."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ..calendars.localtime import local_date, local_to_utc
from ..errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    EntitlementError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
)
from ..model.actions import Action
from ..model.bars import Bar
from ..model.capabilities import FetchQuery
from ..model.http import HttpResponse
from ..model.instant import day_ms
from ..model.instrument import Instrument
from .dated import NEW_YORK, ActionReader, number, stamp_of, zone_named
from .paging import check_symbol

_PRICES = ("open", "high", "low", "close")
_NEW_YORK = ZoneInfo(NEW_YORK)
# The old names of zones are not installed everywhere.
_ZONES = {"US/Eastern": NEW_YORK}
# The vendor refuses earlier months as it refuses unknown symbols.
_FIRST_MONTH = date(2000, 1, 1)
_PREMIUM = re.compile(r"premium (endpoint|feature|function)", re.IGNORECASE)
_TOO_MUCH = re.compile(r"rate limit|call frequency|(calls|requests) per|per second", re.IGNORECASE)

Row = Mapping[str, Any]


def read_series(response: HttpResponse, query: FetchQuery) -> tuple[Sequence[Bar], str]:
    """Return bars, newest first as they come, and the currency of their prices where it is told.

    Raises:
        KeyError, IndexError, TypeError, ValueError, AttributeError: it is of another shape.
    """
    if response.body[:1] != b"{":
        labelled = [(row["timestamp"], row) for row in csv.DictReader(response.text.splitlines())]
        if not labelled:
            raise ValueError("neither JSON nor a table")
        return [_bar(label, row, query, _NEW_YORK) for label, row in labelled], ""
    body = response.json()
    said = {_plain(name): text for name, text in body.get("Meta Data", {}).items()}
    _check_symbol(said, query.instrument)
    zone = said.get("Time Zone", NEW_YORK)
    series = body[max(name for name in body if "Time Series" in name)]
    rows = [(label, _named(row)) for label, row in series.items()]
    if not rows and not said:
        raise ValueError("a series of nothing, without a word on what it is of")
    at = zone_named(_ZONES.get(zone, zone))
    bars = [_bar(label, row, query, at) for label, row in rows]
    return bars, said.get("Market Code", "")


def _check_symbol(said: Mapping[str, Any], who: Instrument) -> None:
    """Refuse a series of another share or pair than ``who``."""
    asked = who.spelling("alpha_vantage")
    base, _, quote = asked.partition("-")
    if who.asset_class == "stock":
        named = {"Symbol": asked}
    elif who.asset_class == "forex":
        named = {"From Symbol": base, "To Symbol": quote}
    else:
        named = {"Digital Currency Code": base, "Market Code": quote}
    for name, symbol in named.items():
        check_symbol("alpha_vantage", symbol, said.get(name))


def read_actions(rows: Iterable[Row], who: Instrument, now_ms: int) -> list[Action]:
    """Read the lists of the functions SPLITS and DIVIDENDS; amounts are as they were paid."""
    reader, found = ActionReader(who, "alpha_vantage", now_ms), []
    for row in rows:
        if "split_factor" in row:
            found.append(reader.split(row["effective_date"], row["split_factor"], 1))
        else:
            found.append(reader.dividend(row["ex_dividend_date"], row["amount"]))
    return found


def month_of(stamp_ms: int) -> str:
    """Return the month in New York that holds ``stamp_ms``, as ``YYYY-MM``."""
    return f"{_first_of(stamp_ms):%Y-%m}"


def month_after(stamp_ms: int) -> int:
    """Return the instant at which the month of :func:`month_of` ends."""
    later = _first_of(stamp_ms) + timedelta(days=31)
    return local_to_utc(_NEW_YORK, day_ms(later.replace(day=1)))


def _first_of(stamp_ms: int) -> date:
    return max(local_date(_NEW_YORK, stamp_ms).replace(day=1), _FIRST_MONTH)


def _plain(name: str) -> str:
    """Return "open" for "1. open" and for "1a. open (CNY)"."""
    return name.partition(". ")[2].partition(" (")[0]


def _named(row: Row) -> Row:
    """Name the values of a row; of a pair told in two currencies the first one is the market's."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        found.setdefault(_plain(name), value)
    return found


def _bar(label: str, row: Row, query: FetchQuery, zone: ZoneInfo) -> Bar:
    prices = [number(row[name]) for name in _PRICES]
    more = [number(row.get(name)) for name in ("volume", "adjusted close")]
    return Bar(stamp_of(label, query.timeframe, zone), *prices, *more)


def meaning_of(said: str, is_error: bool) -> DataError:
    """Return the error that a sentence stands for; sentences quote keys, so they are not told."""
    if "apikey" in said or "demo" in said:
        return AuthenticationError(
            "Alpha Vantage does not take the key", hint="check that it is set and valid"
        )
    if is_error:  # the same one for a parameter that it does not like
        return SymbolNotFoundError("Alpha Vantage calls this an invalid call: an unknown symbol?")
    if "outputsize" in said:  # of this range alone: the last 100 days are there for everybody
        return CapabilityError("Alpha Vantage serves this key the last 100 bars only")
    if _PREMIUM.search(said):
        return EntitlementError("Alpha Vantage", hint="the plan of this key does not include it")
    if _TOO_MUCH.search(said):
        is_spent = "per day" in said and "per minute" not in said
        return RateLimitedError(
            "Alpha Vantage counts too many requests", 3600.0 if is_spent else 60.0
        )
    return ResponseFormatError("Alpha Vantage answered a sentence in place of data")
