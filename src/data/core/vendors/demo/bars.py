"""The vendor ``demo``: sample bars of five stocks, with their splits and dividends."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import date
from importlib.util import find_spec
from typing import Any, Final, Unpack
from urllib.parse import quote, unquote

from ....errors import (
    CapabilityError,
    DataError,
    SymbolNotFoundError,
)
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.actions import Action, ActionList
from ...model.market.bars import Bar
from ...model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import day_ms
from ...model.time.span import Span
from ...net.http.redact import where
from ...net.http.status import error_of
from ..base import BaseDataDownloader, Wired
from ..us_equities import dividend, split, stamped
from .carrier import PACKAGE, SYMBOLS, SampleCarrier, not_installed

# On the first day of a 2:1 split the sample has half of the traded volume. For Apple a comparison
# with the volumes of Yahoo and QuantConnect shows this; for Microsoft, a volume that is not a
# multiple of 100 (28,707,750) does. These volumes are therefore doubled.
_HALVED: Final = {("AAPL", "2000-06-21"), ("AAPL", "2005-02-28"), ("MSFT", "2003-02-18")}

# Splits and dividends in the sample's years: ex-date and new shares per old share; ex-date and
# dollars per share in terms of the shares at that time. Apple paid no dividend between 1995 and
# 2012; Facebook and Google paid none. Sources: the sample's own ``adj_close``, which is the close
# times a factor with exactly these steps (for a dividend, C / (C + D), where C is the close of the
# ex-date); for Apple also QuantConnect's factor file (Lean, Data/equity/usa/factor_files/aapl.csv),
# which changes after the session before each of these dates and by these amounts.
_SPLITS: Final = {"AAPL": (("2000-06-21", 2), ("2005-02-28", 2)), "MSFT": (("2003-02-18", 2),)}
_DIVIDENDS: Final = {
    "AAPL": """2012-08-09 2.65 2012-11-07 2.65 2013-02-07 2.65""",
    "IBM": """
        2000-05-08 0.13 2000-08-08 0.13 2000-11-08 0.13 2001-02-07 0.13 2001-05-08 0.14
        2001-08-08 0.14 2001-11-07 0.14 2002-02-06 0.14 2002-05-08 0.15 2002-08-07 0.15
        2002-11-06 0.15 2003-02-06 0.15 2003-05-07 0.16 2003-08-06 0.16 2003-11-06 0.16
        2004-02-06 0.16 2004-05-06 0.18 2004-08-06 0.18 2004-11-08 0.18 2005-02-08 0.18
        2005-05-06 0.2 2005-08-08 0.2 2005-11-08 0.2 2006-02-08 0.2 2006-05-08 0.3
        2006-08-08 0.3 2006-11-08 0.3 2007-02-07 0.3 2007-05-08 0.4 2007-08-08 0.4
        2007-11-07 0.4 2008-02-06 0.4 2008-05-07 0.5 2008-08-06 0.5 2008-11-06 0.5
        2009-02-06 0.5 2009-05-06 0.55 2009-08-06 0.55 2009-11-06 0.55 2010-02-08 0.55
        2010-05-06 0.65 2010-08-06 0.65 2010-11-08 0.65 2011-02-08 0.65 2011-05-06 0.75
        2011-08-08 0.75 2011-11-08 0.75 2012-02-08 0.75 2012-05-08 0.85 2012-08-08 0.85
        2012-11-07 0.85 2013-02-06 0.85""",
    "MSFT": """
        2003-02-19 0.08 2003-10-15 0.16 2004-08-23 0.08 2004-11-15 3.08 2005-02-15 0.08
        2005-05-16 0.08 2005-08-15 0.08 2005-11-15 0.08 2006-02-15 0.09 2006-05-15 0.09
        2006-08-15 0.09 2006-11-14 0.1 2007-02-13 0.1 2007-05-15 0.1 2007-08-14 0.1
        2007-11-13 0.11 2008-02-19 0.11 2008-05-13 0.11 2008-08-19 0.11 2008-11-18 0.13
        2009-02-17 0.13 2009-05-19 0.13 2009-08-18 0.13 2009-11-17 0.13 2010-02-16 0.13
        2010-05-18 0.13 2010-08-17 0.13 2010-11-16 0.16 2011-02-15 0.16 2011-05-17 0.16
        2011-08-16 0.16 2011-11-15 0.2 2012-02-14 0.2 2012-05-15 0.2 2012-08-14 0.2
        2012-11-13 0.23 2013-02-19 0.23""",
}
# The day after the sample's last one. Later actions (for Apple 7:1 on 2014-06-09, 4:1 on
# 2020-08-31, and quarterly dividends) are left out: adjusting for dividends needs the closes before
# them.
_UNKNOWN_FROM: Final = date(2013, 3, 2)
# The first day of the sample. A stock whose first bar is later was listed on that day.
_BEGINS_MS: Final = day_ms(date(2000, 3, 1))


class DemoDataDownloader(BaseDataDownloader):
    """Real daily bars for AAPL, FB, GOOG, IBM and MSFT, from 2000-03-01 to 2013-03-01.

    This vendor needs no network and no key. It is used only by calls that name it
    (``provider="demo"``). Rules cannot name it, its bars and actions are kept separate from those
    of all other vendors, and each answer states that it is a sample.

    Prices and volumes are raw. The splits and dividends of these years are known, so bars are
    available with every adjustment, as of the end of the sample: later splits are never applied.
    The sample's ``adj_close`` is not used, because it is adjusted as of 2017.

    Args:
        **wired: See :class:`BaseDataDownloader`.

    Raises:
        MissingExtraError: The samples are not installed.
    """

    name = "demo"
    display_name = "Sample bars (extra demo)"
    limits = Limits(burst=0)
    capabilities = Capabilities(
        asset_classes=frozenset({"stock"}),
        timeframes={"1d": "1d"},
        begins_ms=_BEGINS_MS,
        # A separate venue keeps these bars out of every other series.
        kinds={"stock": Kind("regular", "session", "demo", "USD", "shares")},
        adjustment="raw",
        has_forming=False,
        actions_apart=True,
        action_requests=0,
    )

    def __init__(self, **wired: Unpack[Wired]) -> None:
        if find_spec(PACKAGE) is None:
            raise not_installed()
        wired.setdefault("carrier", SampleCarrier())
        super().__init__(**wired)

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Return a request for the table of the stock that ``query`` is about."""
        return HttpRequest(f"file:///{quote(query.instrument.spelling(self.name))}")

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse the rows in the span; a table contains all bars of a stock.

        ::

            date,open,high,low,close,volume
            2012-01-03,409.4,412.5,409.0,411.23,10793600

        Raises:
            CapabilityError: The sample has no bars in the span; the message states the sample's
                range.
        """
        symbol = _symbol(response)
        rows = list(csv.DictReader(response.text.splitlines()))
        bars = [bar for row in rows if (bar := _bar(symbol, row)).stamp_ms in query.span]
        first_ms = _bar(symbol, rows[0]).stamp_ms
        listed_ms = first_ms if first_ms > _BEGINS_MS else None
        if not bars and query.span.end > (listed_ms or 0):
            first, last = (rows[index]["date"] for index in (0, -1))
            raise CapabilityError(
                f"the sample bars for {symbol} are from {first} to {last}",
                hint="give an end in this range, or omit the provider to request other bars from vendors",
            )
        return BarPage(bars, listed_ms=listed_ms)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error for a response; for an unknown stock the error lists the known ones."""
        if response.status == 404:
            return SymbolNotFoundError(
                f"there are no sample bars for {_symbol(response)}",
                hint=f"available: {', '.join(SYMBOLS)}; omit the provider to request others from vendors",
            )
        return error_of(response)

    def actions_of(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Return the splits and dividends of a stock up to the end of the sample.

        Raises:
            CapabilityError: The stock is not among the samples.
        """
        symbol = instrument.spelling(self.name)
        if symbol not in SYMBOLS:
            raise CapabilityError(
                f"the sample has splits and dividends only for {', '.join(SYMBOLS)}"
            )
        all_actions = [split(day, new, 1) for day, new in _SPLITS.get(symbol, ())]
        words = _DIVIDENDS.get(symbol, "").split()
        all_actions += [
            dividend(day, float(cash)) for day, cash in zip(words[::2], words[1::2], strict=True)
        ]
        inside = [action for action in all_actions if day_ms(action.ex_date) in span]
        actions = ActionList(sorted(stamped(inside, self.name, now_ms)))
        actions.until = day_ms(_UNKNOWN_FROM)
        return actions


def _bar(symbol: str, row: dict[str, Any]) -> Bar:
    day = row["date"]
    volume = float(row["volume"]) * (2 if (symbol, day) in _HALVED else 1)
    opened, high, low, close = (float(row[name]) for name in ("open", "high", "low", "close"))
    return Bar(day_ms(date.fromisoformat(day)), opened, high, low, close, volume)


def _symbol(response: HttpResponse) -> str:
    return unquote(where(response.url).removeprefix("file/"))
