"""``Ticker`` and ``Tickers``: bars, splits, dividends and figures under yfinance's names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, NoReturn

import numpy as np
import pandas as pd

from ...core.bars.client import BarsClient
from ...core.model.answer.provenance import ATTRS_KEY
from ...core.model.time.instant import DAY_MS, day_ms
from ...core.model.time.span import Span
from ...core.model.words.caller import collecting_warnings
from ...core.runtime.once import cached_property
from ...data_manager import get_data_manager
from ...errors import BadSymbolError, DataError, NoDataError, QueryError
from .arguments import Arguments, When, is_isin, provider_of, refuse, symbols_of, zone_of
from .download import BACK_ADJUST, ISIN, SESSION, bars_of, download
from .frames import TIME_UNIT, empty_frame, history_frame
from .not_served import not_served_of_ticker, refuse_name

__all__ = ["FastInfo", "Ticker", "Tickers"]

# Maps our fields to their names in `info`. Fractions are fractions there as well, except for those
# in _PERCENTAGES.
_INFO = {
    "company_name": ("shortName", "longName"),
    "symbol": ("symbol",),
    "sector": ("sector",),
    "industry": ("industry",),
    "country": ("country",),
    "website": ("website",),
    "description": ("longBusinessSummary",),
    "employees": ("fullTimeEmployees",),
    "currency": ("currency",),
    "exchange": ("fullExchangeName",),
    "exchange_code": ("exchange",),
    "quote_type": ("quoteType",),
    "market_cap": ("marketCap",),
    "enterprise_value": ("enterpriseValue",),
    "current_price": ("currentPrice", "regularMarketPrice"),
    "fifty_two_week_high": ("fiftyTwoWeekHigh",),
    "fifty_two_week_low": ("fiftyTwoWeekLow",),
    "volume": ("volume",),
    "avg_volume": ("averageVolume",),
    "beta": ("beta",),
    "pe_ratio": ("trailingPE",),
    "forward_pe": ("forwardPE",),
    "peg_ratio": ("trailingPegRatio",),
    "price_to_book": ("priceToBook",),
    "price_to_sales": ("priceToSalesTrailing12Months",),
    "enterprise_value_to_revenue": ("enterpriseToRevenue",),
    "enterprise_value_to_ebitda": ("enterpriseToEbitda",),
    "earnings_per_share": ("trailingEps",),
    "book_value": ("bookValue",),
    "dividend_per_share": ("dividendRate",),
    "payout_ratio": ("payoutRatio",),
    "revenue": ("totalRevenue",),
    "gross_profit": ("grossProfits",),
    "ebitda": ("ebitda",),
    "net_income": ("netIncomeToCommon",),
    "total_cash": ("totalCash",),
    "total_debt": ("totalDebt",),
    "operating_cashflow": ("operatingCashflow",),
    "free_cash_flow": ("freeCashflow",),
    "return_on_equity": ("returnOnEquity",),
    "return_on_assets": ("returnOnAssets",),
    "current_ratio": ("currentRatio",),
    "quick_ratio": ("quickRatio",),
    "shares_outstanding": ("sharesOutstanding",),
    "float_shares": ("floatShares",),
    "short_ratio": ("shortRatio",),
    "short_pct_float": ("shortPercentOfFloat",),
    "institutional_pct": ("heldPercentInstitutions",),
    "target_price": ("targetMeanPrice",),
    "profit_margin": ("profitMargins",),
    "gross_margin": ("grossMargins",),
    "operating_margin": ("operatingMargins",),
    "revenue_growth": ("revenueGrowth",),
    "net_income_growth": ("earningsGrowth", "earningsQuarterlyGrowth"),
}
_PERCENTAGES = {"dividend_yield": "dividendYield", "debt_to_equity": "debtToEquity"}
# Fields that `info` has for the last twelve months; totals may also be for a fiscal year.
_TRAILING = frozenset({"pe_ratio", "peg_ratio", "price_to_sales", "earnings_per_share"})
_TOTALS = frozenset(
    {"revenue", "gross_profit", "ebitda", "net_income", "operating_cashflow", "free_cash_flow"}
)
# Maps keys of `fast_info` to their names in `history_metadata`.
_METADATA = {
    "currency": "currency",
    "exchange": "exchangeName",
    "quoteType": "instrumentType",
    "timezone": "exchangeTimezoneName",
    "lastPrice": "regularMarketPrice",
}
_TUPLE = "name the exchange by its suffix, such as OR.PA"
# For `fast_info`, a day is over this long after its midnight.
_DAY_OVER = pd.Timedelta(days=1, minutes=20)


class Ticker:
    """The bars, splits, dividends and figures for one symbol, like ``yfinance.Ticker``.

    Examples:
        >>> from onetape import yf
        >>> bars = yf.Ticker("AAPL").history(start="2024-05-06", end="2024-05-11")
        >>> len(bars)
        5

    Args:
        ticker: Symbol, such as ``AAPL``, ``VOD.L``, ``BTC-USD``, ``^GSPC``, ``EURUSD=X``.
        session: Not supported.

    Raises:
        QueryError: An argument is invalid or not supported.
    """

    def __init__(self, ticker: str, session: None = None) -> None:
        refuse("session", session is not None, SESSION)
        if isinstance(ticker, tuple):
            raise BadSymbolError(
                f"a pair of symbol and market is not supported: {ticker!r}", hint=_TUPLE
            )
        names = symbols_of([ticker])
        if not names[0]:
            raise BadSymbolError("the ticker is empty")
        if is_isin(names[0]):
            raise BadSymbolError(ISIN.format(names[0]))
        self.ticker = names[0]

    def __repr__(self) -> str:
        return f"onetape.yf.Ticker object <{self.ticker}>"

    def __getattr__(self, name: str) -> NoReturn:
        refuse_name(f"Ticker.{name}", not_served_of_ticker(name))

    def history(
        self,
        period: str | None = None,
        interval: str = "1d",
        start: When = None,
        end: When = None,
        prepost: bool = False,
        actions: bool = True,
        auto_adjust: bool = True,
        back_adjust: bool = False,
        repair: bool = False,
        keepna: bool = False,
        rounding: bool = False,
        timeout: float | None = 10,
        raise_errors: bool = False,
    ) -> pd.DataFrame:
        """Return bars as ``yfinance.Ticker.history`` does; for the arguments, see :func:`download`.

        The index is in the exchange's time zone. ``attrs["onetape"]`` contains the provenance, with
        ``gaps``. If there are no bars, the frame is empty, and a warning gives the reason;
        ``raise_errors=True`` raises it instead.

        Raises:
            QueryError: An argument is invalid, or asks for something that is not supported.
            NoDataError: The ticker has no bars, and ``raise_errors`` is set.

        Warns:
            IncompleteDataWarning: Bars are missing, or ``repair`` found something. It is issued
                once per call.
        """
        refuse("back_adjust=True", back_adjust, BACK_ADJUST)
        options = (bool(prepost), bool(actions), bool(auto_adjust), bool(repair), bool(keepna))
        asked = Arguments(interval, period, start, end, *options, bool(rounding), timeout)
        bars = bars_of([self.ticker], asked, at_once=1, is_shown=False, is_told=not raise_errors)
        if self.ticker in bars.tables:
            return history_frame(bars.tables[self.ticker])
        if raise_errors:
            raise NoDataError(f"{self.ticker}: {bars.reasons[self.ticker]}", symbol=self.ticker)
        frame = empty_frame()
        frame.attrs[ATTRS_KEY] = bars.failed[self.ticker]
        return frame

    # --- splits and dividends

    def get_actions(self, period: str = "max") -> pd.DataFrame:
        """Return dividends, splits and gains by ex-date; a column without any values is left out."""
        frame = self.history(period=period, auto_adjust=False)
        actions = frame.filter(["Dividends", "Stock Splits", "Capital Gains"]).fillna(0.0)
        return actions.loc[(actions != 0).any(axis=1), (actions != 0).any()]

    def get_dividends(self, period: str = "max") -> pd.Series:
        """Return dividends per share, in terms of today's shares, by the open of each ex-date."""
        return self._events(period, "Dividends")

    def get_splits(self, period: str = "max") -> pd.Series:
        """Return the number of new shares per old share, by the open of each ex-date."""
        return self._events(period, "Stock Splits")

    def get_capital_gains(self, period: str = "max") -> pd.Series:
        """Return the capital gains that a fund paid out, as :meth:`get_dividends` does for income."""
        return self._events(period, "Capital Gains")

    def _events(self, period: str, name: str) -> pd.Series:
        actions = self.get_actions(period)
        if name not in actions:
            dtype = actions.index.dtype if isinstance(actions.index, pd.DatetimeIndex) else None
            index = pd.DatetimeIndex([], dtype=dtype, name="Date")
            return pd.Series([], index=index, name=name, dtype=object)
        events = actions[name][actions[name] != 0]
        return events.set_axis(_opens(self.ticker, events.index))

    actions = property(get_actions)
    dividends = property(get_dividends)
    splits = property(get_splits)
    capital_gains = property(get_capital_gains)

    # --- figures

    def get_info(self) -> dict[str, Any]:
        """Return the company's figures under yfinance's names, omitting figures that no vendor has.

        Figures for the last twelve months are from the first vendor that has them. If there is
        none, totals are those of the last fiscal year, and trailing figures are omitted. Prices and
        volumes that no vendor has are those of :attr:`fast_info`.

        Warns:
            IncompleteDataWarning: No vendor has any figures.
        """
        facts = self._of_last_year(get_data_manager().get_fundamentals(self.ticker))
        info = {
            name: facts[field] for field, names in _INFO.items() if field in facts for name in names
        }
        info |= {name: facts[field] * 100 for field, name in _PERCENTAGES.items() if field in facts}
        names = {key: names for key, (names, _) in _FAST.items()}
        return _fast_values(self.fast_info, names) | info

    def _of_last_year(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a record with figures for the last twelve months in place of other periods."""
        others = _of_other_periods(record)
        found: dict[str, Any] = {}
        for vendor in _vendors_with_answers(record) if others else ():
            own = get_data_manager().get_fundamentals(self.ticker, providers=[vendor])
            trailing = (others.keys() & own.keys()) - _of_other_periods(own).keys()
            found = {name: own[name] for name in trailing} | found
        years = {name for name in others.keys() & _TOTALS if others[name] == "FY"}
        wrong = others.keys() - found.keys() - years
        return {name: value for name, value in record.items() if name not in wrong} | found

    def get_fast_info(self) -> FastInfo:
        """Return the last price and figures for the last year, each computed when it is read."""
        return FastInfo(self)

    def get_history_metadata(self) -> dict[str, Any]:
        """Return the instrument's symbol, currency, exchange, type, time zone and last price.

        The names are those of yfinance: ``symbol``, ``currency``, ``exchangeName``,
        ``instrumentType``, ``exchangeTimezoneName``, ``regularMarketPrice``. Values that no vendor
        has are omitted.

        Raises:
            KeyError: The key of the result that was looked up is not one of these, or is omitted.
        """
        return _Metadata(_fast_values(self.fast_info, _METADATA) | {"symbol": self.ticker})

    info = property(get_info)
    fast_info = property(get_fast_info)
    history_metadata = property(get_history_metadata)


class _Metadata(dict[str, Any]):
    """A dict whose error for a missing key names the keys that exist."""

    def __missing__(self, key: object) -> NoReturn:
        raise KeyError(f"{key!r} is not known; known are {', '.join(self)}")


def _fast_values(fast: FastInfo, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of ``fast_info`` that can be computed.

    Args:
        fast: Values.
        names: Maps the key of each value to return to its names in the result, with spaces.
    """
    values: dict[str, Any] = {}
    with collecting_warnings():  # `fast_info` itself warns about missing bars
        for key, renamed in names.items():
            with suppress(DataError):
                values |= dict.fromkeys(renamed.split(), fast[key])
    return {name: value for name, value in values.items() if not pd.isna(value)}


def _of_other_periods(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields that should be for the last twelve months but are not, with their periods."""
    fields = record.get("_metadata", {}).get("fields", {})
    periods = {name: fields[name].get("period") for name in fields.keys() & (_TRAILING | _TOTALS)}
    return {name: period for name, period in periods.items() if period and period != "TTM"}


def _vendors_with_answers(record: Mapping[str, Any]) -> list[str]:
    """Return the vendors whose fresh answers a record contains, most trusted first."""
    metadata = record["_metadata"]
    answered = set(metadata["providers_asked"]) - metadata["providers_failed"].keys()
    return [vendor for vendor in metadata["providers_used"] if vendor in answered]


def _opens(ticker: str, days: pd.Index) -> pd.DatetimeIndex:
    """Return the opening times of the sessions on some days, in the exchange's time zone."""
    manager = get_data_manager()
    client: BarsClient = manager.client
    instrument = manager.provider_selector.instrument(ticker)
    stamps = [day_ms(at.date()) for at in days]
    sessions = client.sessions(instrument, Span(stamps[0], stamps[-1] + DAY_MS))
    by_day = {day_ms(session.day): session.open_ms for session in sessions}
    opens = [by_day.get(stamp, stamp) for stamp in stamps]
    index = pd.DatetimeIndex(np.array(opens, dtype="M8[ms]"), name="Date").as_unit(TIME_UNIT)
    return index.tz_localize("UTC").tz_convert(zone_of(instrument))


class FastInfo(Mapping[str, Any]):
    """The last price and figures for the last year, by key (``lastPrice``) or attribute.

    Examples:
        >>> from onetape import yf
        >>> price = yf.Ticker("AAPL").fast_info["lastPrice"]

    The keys are those of yfinance: ``currency``, ``exchange``, ``quoteType``, ``timezone``,
    ``lastPrice``, ``previousClose``, ``open``, ``dayHigh``, ``dayLow``, ``lastVolume``,
    ``regularMarketPreviousClose``, ``shares``, ``marketCap``, ``fiftyDayAverage``,
    ``twoHundredDayAverage``, ``tenDayAverageVolume``, ``threeMonthAverageVolume``, ``yearHigh``,
    ``yearLow``, ``yearChange``. The attribute for a key is written with underscores, such as
    ``last_price``. Values are computed when they are read; None means that a value is not known.
    Averages and the year's figures are those of completed days.

    Raises:
        KeyError: The key does not exist.
        AttributeError: The attribute does not exist.
    """

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker

    def __repr__(self) -> str:
        return f"lazy-loading dict with keys = {list(_FAST)}"

    def __iter__(self) -> Iterator[str]:
        return iter(_FAST)

    def __len__(self) -> int:
        return len(_FAST)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *map(_snake, _FAST)]

    def __getitem__(self, key: str) -> Any:
        found = next((known for known in _FAST if key in (known, _snake(known))), None)
        if found is None:
            raise KeyError(f"unknown key {key!r}; use one of {', '.join(_FAST)}")
        return _FAST[found][1](self)

    def __getattr__(self, name: str) -> Any:
        if name not in map(_snake, _FAST):
            raise AttributeError(f"yf.FastInfo.{name} does not exist")
        return self[name]

    def toJSON(self, indent: int = 4) -> str:  # noqa: N802 - the name in yfinance
        """Return all values as JSON text."""
        return json.dumps(dict(self), indent=indent)

    @property
    def _now(self) -> pd.Timestamp:
        return pd.Timestamp(get_data_manager().client.clock.now_ms(), unit="ms", tz="UTC")

    @cached_property
    def _year(self) -> pd.DataFrame:
        """The daily bars of the last year, that is, after today's date one year ago."""
        prices = self._ticker.history(period="1y", auto_adjust=False, actions=False)
        if prices.empty:
            return prices
        today = self._now.tz_convert(self._zone).normalize()
        return prices[prices.index > today - pd.DateOffset(years=1)]

    @property
    def _whole_days(self) -> pd.DataFrame:
        """The daily bars of the last year, without today's if the day is not over yet."""
        prices = self._year
        is_open = not prices.empty and self._now < prices.index[-1] + _DAY_OVER
        return prices.iloc[:-1] if is_open else prices

    @property
    def _zone(self) -> str:
        return zone_of(get_data_manager().provider_selector.instrument(self._ticker.ticker))

    @cached_property
    def _quote(self) -> Any:
        return get_data_manager().get_quote(self._ticker.ticker)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return get_data_manager().get_fundamentals(self._ticker.ticker)

    def _last_price(self, index: int = -1) -> float | None:
        """Return the last price, or the previous session's close for the index -2."""
        selector, name = get_data_manager().provider_selector, self._ticker.ticker
        # If the bars are Yahoo's alone, no other vendor's quote belongs to them.
        if provider_of(name, selector.instrument(name)) is not None:
            return self._price_at("Close", index)
        price: float | None = self._quote.price if index == -1 else self._quote.previous_close
        return price

    def _shares(self) -> int | None:
        return _whole(self._facts.get("shares_outstanding"))

    def _market_cap(self) -> float | None:
        """Return the shares times the last price, or else a vendor's figure."""
        shares = self._shares()
        if shares is None:
            return self._facts.get("market_cap")
        price = self._last_price()
        return None if price is None else float(shares * price)

    def _price_at(self, column: str, index: int) -> float | None:
        prices = self._year
        return float(prices[column].iloc[index]) if len(prices) >= -index else None

    def _of_days(self, column: str, compute: Callable[[pd.Series], Any]) -> float | None:
        """Return a figure for a column of the completed days; None if there are none."""
        days = self._whole_days
        return None if days.empty else float(compute(days[column]))

    def _mean(self, column: str, count: int) -> float | None:
        return self._of_days(column, lambda values: values.iloc[-count:].mean())

    def _year_change(self) -> float | None:
        closes = self._whole_days["Close"]
        return None if len(closes) < 2 else float(closes.iloc[-1] / closes.iloc[0] - 1)


def _recent_mean(values: pd.Series) -> float:
    """Return the mean of the last three months."""
    first = values.index[-1] - pd.DateOffset(months=3) + pd.DateOffset(days=1)
    return float(values.loc[first:].mean())


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


# Maps keys of `fast_info` to their names in `info`, for figures that no vendor has, and to the
# functions that compute them. Averages and the year's figures are those of completed days.
_FAST: dict[str, tuple[str, Callable[[FastInfo], Any]]] = {
    "currency": ("currency", lambda f: f._quote.currency),
    "dayHigh": ("dayHigh regularMarketDayHigh", lambda f: f._price_at("High", -1)),
    "dayLow": ("dayLow regularMarketDayLow", lambda f: f._price_at("Low", -1)),
    "exchange": ("exchange", lambda f: f._facts.get("exchange_code", f._facts.get("exchange"))),
    "fiftyDayAverage": ("fiftyDayAverage", lambda f: f._mean("Close", 50)),
    "lastPrice": ("currentPrice regularMarketPrice", lambda f: f._last_price()),
    "lastVolume": ("volume regularMarketVolume", lambda f: _whole(f._price_at("Volume", -1))),
    "marketCap": ("marketCap", lambda f: f._market_cap()),
    "open": ("open regularMarketOpen", lambda f: f._price_at("Open", -1)),
    "previousClose": ("previousClose", lambda f: f._last_price(-2)),
    "quoteType": ("quoteType", lambda f: f._facts.get("quote_type")),
    "regularMarketPreviousClose": (
        "regularMarketPreviousClose",
        lambda f: f._price_at("Close", -2),
    ),
    "shares": ("sharesOutstanding", lambda f: f._shares()),
    "tenDayAverageVolume": (
        "averageVolume10days averageDailyVolume10Day",
        lambda f: _whole(f._mean("Volume", 10)),
    ),
    "threeMonthAverageVolume": (
        "averageVolume",
        lambda f: _whole(f._of_days("Volume", _recent_mean)),
    ),
    "timezone": ("exchangeTimezoneName", lambda f: f._zone),
    "twoHundredDayAverage": ("twoHundredDayAverage", lambda f: f._mean("Close", 200)),
    "yearChange": ("52WeekChange", lambda f: f._year_change()),
    "yearHigh": ("fiftyTwoWeekHigh", lambda f: f._of_days("High", pd.Series.max)),
    "yearLow": ("fiftyTwoWeekLow", lambda f: f._of_days("Low", pd.Series.min)),
}


def _snake(key: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in key)


class Tickers:
    """Several tickers, like ``yfinance.Tickers``.

    Examples:
        >>> from onetape import yf
        >>> yf.Tickers("AAPL MSFT").tickers["MSFT"].ticker
        'MSFT'

    Args:
        tickers: Symbols, as a list or as a string with spaces or commas.
        session: Not supported.

    Attributes:
        symbols: Symbols, in the order in which they were passed.
        tickers: Maps each symbol to its :class:`Ticker`.

    Raises:
        QueryError: An argument is invalid or not supported.
    """

    def __init__(self, tickers: str | list[str], session: None = None) -> None:
        refuse("session", session is not None, SESSION)
        self.symbols = symbols_of(tickers)
        self.tickers = {symbol: Ticker(symbol) for symbol in self.symbols}

    def __repr__(self) -> str:
        return f"onetape.yf.Tickers object <{','.join(self.symbols)}>"

    def __getattr__(self, name: str) -> NoReturn:
        refuse_name(f"Tickers.{name}", not_served_of_ticker(name))

    def download(
        self,
        period: str | None = None,
        interval: str = "1d",
        start: When = None,
        end: When = None,
        prepost: bool = False,
        actions: bool = True,
        auto_adjust: bool = True,
        repair: bool = False,
        threads: bool | int = True,
        group_by: Literal["column", "ticker"] = "column",
        progress: bool = True,
        timeout: float | None = 10,
        **kwargs: Any,
    ) -> pd.DataFrame:
        """Return the bars for all tickers; for the arguments, see :func:`download`."""
        unknown = set(kwargs) - {"ignore_tz", "back_adjust", "keepna", "rounding", "session"}
        if unknown:
            raise QueryError(
                f"unknown argument{'s' if len(unknown) > 1 else ''}: {', '.join(sorted(unknown))}"
            )
        return download(
            self.symbols,
            start,
            end,
            actions,
            threads,
            auto_adjust=auto_adjust,
            repair=repair,
            progress=progress,
            period=period,
            interval=interval,
            prepost=prepost,
            group_by=group_by,
            timeout=timeout,
            **kwargs,
        )

    history = download
