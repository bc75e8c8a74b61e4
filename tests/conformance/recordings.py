"""The classification of every recorded answer: bars, an error, or another product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, Literal, NamedTuple

from src.data.core.config.rules_file import packaged_rules
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Adjustment
from src.data.core.model.market.bars import BarTable
from src.data.core.model.request.capabilities import FetchQuery
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.quality import check
from src.data.core.registry import key_names
from src.data.core.symbols.classify import classify
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.factory import downloader_class
from src.data.errors import DataError, NoDataError, ResponseFormatError
from tests.core.net.scripted import ScriptedTransport, sender_over
from tests.core.vendors.acme import recorded, recordings
from tests.reference import reference

from .sheet import Series

What = Literal["bars", "error", "other"]
_EVER = Span(parse_iso("1990-01-01"), parse_iso("2027-01-01"))
# A folder of answers without a downloader of its own.
EXCHANGES: Mapping[str, str] = dict.fromkeys(
    ("bybit", "coinbase", "kraken", "kucoin", "okx"),
    "an exchange that has no downloader of its own; libraries of exchanges read its answers",
)
_DERIVATIVES = "a market of derivatives, whose bars are of another kind than the spot market's"
_POSITIONS = "positions and open interest, no bars"
_FUNDING = "funding rates, no bars"
_QUOTES = "quotes and trades of a moment, no bars"
_LISTS = "lists of what there is, no bars"
_BOOKS = "fundamentals, no bars"
_ACTIONS = "splits and dividends, which the tests of its actions read"
_POINTS = "points in time without open, high and low"
_BATCH = "several symbols in one answer, which is never asked for"

# Recording to timeframe and symbol, as users write it.
BARS: Mapping[str, Mapping[str, str]] = {
    "alpaca": {
        "crypto-bars-BCHUSD-1Min": "1m BCH-USD",
        "crypto-bars-two-symbols": "1h BTC-USD",
        "stocks-bars-AAPL-1Day-limit2-next_page_token": "1d AAPL",
        "stocks-bars-AAPL-TSLA-1Day-last-page": "1d AAPL",
        "stocks-bars-AMZN-15Min": "15m AMZN",
        "stocks-bars-META-asof-page1": "1d META",
        "stocks-bars-META-asof-page2": "1d META",
    },
    "alpha_vantage": {
        "daily-MSFT-2018-05": "1d MSFT",
        "daily-adjusted-MSFT-2018-05": "1d MSFT",
        "intraday-AAPL-15min-month-csv-adjusted": "15m AAPL",
        "intraday-MSFT-1min-compact": "1m MSFT",
    },
    "binance": {
        "klines-cm-BTCUSD_PERP-1d-2023-01-week": "1d BTCUSDT",
        "klines-spot-BTCUSDT-1d-2019": "1d BTCUSDT",
        "klines-spot-BTCUSDT-1h-page1-of-2-limit1000": "1h BTCUSDT",
        "klines-spot-BTCUSDT-1h-page2-of-2-limit1000": "1h BTCUSDT",
        "klines-spot-BTCUSDT-1m-start-end": "1m BTCUSDT",
        "klines-spot-BTCUSDT-5m-limit24": "5m BTCUSDT",
        "klines-spot-ETHBTC-1d-2023-01-week": "1d ETHBTC",
        "klines-um-BTCUSDT-1d-2019-before-listing": "1d BTCUSDT",
        "klines-um-BTCUSDT-1d-limit5-last-bar-forming": "1d BTCUSDT",
        "klines-um-LTCUSDT-5m-seconds-instead-of-ms": "5m LTCUSDT",
    },
    "coingecko": {"ohlc-4h": "4h ETH-USD"},
    "eodhd": {
        "eod-AAPL.US-daily-csv-2018-2019": "1d AAPL",
        "eod-BHP.AU-daily-json": "1d BHP.AX",
        "intraday-AAPL.US-5m-json": "5m AAPL",
    },
    "finnhub": {"candle-ok-shape-sample": "1d AAPL"},
    "fmp": {
        "historical-price-full-AAPL-2023-01": "1d AAPL",
        "doc-historical-chart-5min": "5m AAPL",
    },
    "polygon": {
        "aggs-AAPL-1day-2005-04-01": "1d AAPL",
        "aggs-AAPL-1day-2023-01-sort-desc": "1d AAPL",
        "aggs-AAPL-prev": "1d AAPL",
        "aggs-grouped-2005-04-04": "1d GIK",
        # An example of the documentation: its days of coins do not begin at midnight.
        "doc-aggs-crypto": "1h BTC-USD",
        "doc-aggs-stocks-AAPL-next_url": "1d AAPL",
    },
    "tiingo": {
        "crypto-btcusd-fldcbtc-1day": "1d BTC-USD",
        "daily-AAPL-2023-02-dividend": "1d AAPL",
        "daily-GOOGL-2015-01": "1d GOOGL",
        "daily-GOOGL-columns-several": "1d GOOGL",
        "daily-GOOGL-latest": "1d GOOGL",
        "daily-GOOGL-weekly": "1w GOOGL",
        "iex-GOOGL-30Min": "30m GOOGL",
    },
    "twelvedata": {"time_series-IBM-1day": "1d IBM"},
    "yahoo": {
        "chart-0P0000XTS7-1d-fund-2024-09": "1d 0P0000XTS7",
        "chart-AAPL-1d-2020-08-31-split-4for1-dividend": "1d AAPL",
        "chart-AAPL-1d-no-range": "1d AAPL",
        "chart-ALL.AX-1d-last-row-forming-off-grid": "1d ALL.AX",
        "chart-BTC-USD-1d-2020-01": "1d BTC-USD",
        "chart-GC=F-1d-2020-01": "1d GC=F",
        "chart-GOOG-1d-2020-01": "1d GOOG",
        "chart-HYDR.ME-5m-1d-null-row-and-off-grid-last-row": "5m HYDR.ME",
        "chart-MSFT-1d-2021-02-to-2022-01-dividends": "1d MSFT",
        "chart-OCDO.L-1d-2020-01-pence": "1d OCDO.L",
        "chart-TSLA-1d-dividends-none": "1d TSLA",
        "chart-WSKT.JK-1d-2020-01": "1d WSKT.JK",
        "chart-WSU.DE-1d-2023-08": "1d WSU.DE",
    },
}
# Answers of this address that hold no bar, beside the errors and odd shapes that the vendor's own
# tests name.
EMPTY: Mapping[str, tuple[str, ...]] = {
    "alpaca": ("stocks-bars-empty",),
    "finnhub": ("candle-no_data",),
    "yahoo": ("chart-AAPL-1m-weekend-empty", "chart-AAPL-5d-no-timestamp"),
}
# Vendor to reason to recordings.
OTHER: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "alpaca": {_QUOTES: ("stocks-snapshots-AAPL", "stocks-trades-latest-AAPL-iex")},
    "alpha_vantage": {
        _QUOTES: ("currency-exchange-rate-BTC-CNY", "global-quote"),
        _BOOKS: ("income-statement-IBM", "overview-IBM"),
    },
    "binance": {
        _QUOTES: (
            "aggTrades-um-BTCUSDT-limit5", "depth-um-BTCUSDT-limit5", "ticker24hr-spot-BTCUSDT",
            "time-um",
        ),
        _LISTS: ("exchangeInfo-spot", "exchangeInfo-um", "fundingInfo-um"),
        _FUNDING: (
            "fundingRate-cm-BTCUSD_PERP-limit5", "fundingRate-um-BTCUSDT-2020-01",
            "fundingRate-um-BTCUSDT-default-limit100", "premiumIndex-um-BTCUSDT",
        ),
        _POSITIONS: (
            "globalLongShortAccountRatio-cm-BTCUSD-5m", "globalLongShortAccountRatio-um-BTCUSDT-4h",
            "globalLongShortAccountRatio-um-BTCUSDT-5m-limit3", "openInterest-um-BTCUSDT",
            "openInterestHist-cm-BTCUSD-CURRENT_QUARTER-5m", "openInterestHist-um-LTCUSDT-1d-limit10",
            "takerlongshortRatio-um-BTCUSDT-5m-limit10",
            "topLongShortAccountRatio-um-BTCUSDT-5m-limit2",
        ),
        _DERIVATIVES: (
            "basis-cm-BTCUSD-CURRENT_QUARTER-5m", "continuousKlines-cm-BTCUSD-1M-limit5",
            "markPriceKlines-cm-BTCUSD_PERP-1M-limit5", "markPriceKlines-um-BTCUSDT-1h-limit2-2026-07",
        ),
    },
    "coingecko": {
        _POINTS: (
            "market_chart-bitcoin-usd-1day-auto-5min", "market_chart-range-ethereum-usd",
            "coin-history-ethereum-2024-01-01",
        ),
        _LISTS: ("coins-list-excerpt",),
        _QUOTES: ("coins-markets-usd", "simple-price-bitcoin-usd"),
    },
    "eodhd": {
        _ACTIONS: ("div-AAPL.US-csv", "splits-AAPL.US-csv"),
        _LISTS: ("exchanges-list",),
        _BOOKS: (
            "fundamentals-AAPL.US-share-excerpt", "fundamentals-E6Z.BE-thin",
            "fundamentals-VTI.US-etf",
        ),
    },
    "finnhub": {
        _BOOKS: ("calendar-earnings-AAPL", "metric-AAPL-all", "profile2-AAPL"),
        _QUOTES: ("quote-AAPL", "quote-unknown-symbol-zeros"),
    },
    "fmp": {
        _ACTIONS: ("doc-stock_split-AAPL", "calendar-dividend"),
        _BOOKS: (
            "doc-key-metrics", "doc-ratios", "income-statement-AAPL", "profile-AAPL", "rating-AAPL",
        ),
        _QUOTES: ("doc-quote",),
    },
    "polygon": {
        _ACTIONS: ("reference-splits", "reference-dividends"),
        _BOOKS: ("reference-financials",),
        _LISTS: (
            "marketstatus-now", "reference-ticker-details-AAPL",
            "reference-tickers-page1-next_url", "reference-tickers-page2",
        ),
    },
    "tiingo": {
        _BOOKS: ("fundamentals-daily", "fundamentals-definitions", "fundamentals-statements"),
        _LISTS: ("crypto-metadata", "metadata-GOOGL"),
    },
    "twelvedata": {
        _QUOTES: ("price-IBM", "quote-IBM"),
        _LISTS: ("api_usage", "exchange_schedule", "splits_calendar"),
        _BOOKS: ("market_capitalization", "statistics-TSM"),
        _BATCH: ("time_series-batch-one-symbol-not-found", "time_series-batch-two-symbols"),
    },
    "yahoo": {
        _QUOTES: ("quote-AAPL", "quote-unknown-symbol-ADH"),
        _BOOKS: (
            "fundamentalsTimeSeries-AAPL-financials-annual", "quoteSummary-404-no-fundamentals-fx",
            "quoteSummary-404-unknown-symbol-ADH", "quoteSummary-AAPL-assetProfile",
            "quoteSummary-AAPL-calendarEvents", "quoteSummary-AAPL-defaultKeyStatistics",
            "quoteSummary-AAPL-financialData", "quoteSummary-AAPL-incomeStatementHistory",
            "quoteSummary-AAPL-price", "quoteSummary-AAPL-summaryDetail",
            "quoteSummary-BTC-USD-summaryDetail",
        ),
    },
}  # fmt: skip


class Recording(NamedTuple):
    """One recorded answer and what it is; ``told`` says which bars, which error, or why neither."""

    vendor: str
    name: str
    what: What
    told: Any


def known(vendor: str) -> dict[str, Recording]:
    """Return what is said of the recordings of a folder, by name."""
    if vendor in EXCHANGES:
        names = recordings(vendor)
        return {name: Recording(vendor, name, "other", EXCHANGES[vendor]) for name in names}
    own = import_module(f"tests.core.vendors.test_{vendor}")
    errors = dict(own.ERRORS)
    errors |= dict.fromkeys(getattr(own, "UNREADABLE", ()), ResponseFormatError)
    errors |= dict.fromkeys(EMPTY.get(vendor, ()), NoDataError)
    others = {name: why for why, names in OTHER[vendor].items() for name in names}
    parts: list[tuple[What, Mapping[str, Any]]] = [
        ("bars", BARS[vendor]), ("error", errors), ("other", others),
    ]  # fmt: skip
    found = [Recording(vendor, n, what, told) for what, part in parts for n, told in part.items()]
    assert len({one.name for one in found}) == len(found), "a recording is named twice"
    return {one.name: one for one in found}


def all_known() -> Iterator[Recording]:
    """Yield what is said of all recordings of vendors that have any, in one and the same order."""
    for vendor in folders():
        yield from (one for _, one in sorted(known(vendor).items()))


def folders() -> list[str]:
    """Return whose answers are recorded; none where there is no reference data."""
    return sorted(path.name for path in reference("recordings", "http").iterdir())


def vendor_over(vendor: str, *answers: Any) -> BaseDataDownloader:
    """Return a vendor with made-up keys over a script."""
    keys = dict.fromkeys(key_names(vendor), "canary")
    sender = sender_over(ScriptedTransport(*answers))
    return downloader_class(vendor)(credentials=keys, sender=sender)


def count_bars(one: Recording) -> tuple[int, int]:
    """Return how many rows of a recording are bars, and how many are none, as the library judges."""
    _, response = recorded(one.vendor, one.name)
    asked = question_of(one)
    page = vendor_over(one.vendor).parse_bars(response, asked)
    judged = check(
        BarTable.from_bars(page.bars), asked.span, timeframe=asked.timeframe, now_ms=asked.now_ms
    )
    return len(judged.good), len(judged.bad)


def question_of(one: Recording) -> FetchQuery:
    """Return what recorded bars are the answer to."""
    label, symbol = one.told.split()
    asked = _query(label, symbol)
    if one.vendor == "polygon" and asked.instrument.asset_class == "stock":
        asked = _query(label, symbol, "split")
    return asked


def error_in(one: Recording) -> DataError | None:
    """Return what a recording comes out as, where it is no bars."""
    _, response = recorded(one.vendor, one.name)
    vendor = vendor_over(one.vendor, response, response)
    if (error := vendor.classify(response)) is not None:
        return error
    symbol = "BTC-USD" if "BTC" in one.name else "AAPL"
    label = "1m" if "latest" in one.name or "-1m-" in one.name else "1d"
    query = _query(label, symbol)
    if "-1m-" in one.name:  # minutes of the last days only
        query = replace(query, span=Span(_EVER.end - DAY_MS, _EVER.end))
    try:
        vendor.fetch(query)
    except DataError as exc:
        return exc
    return None


def _query(label: str, symbol: str, adjustment: Adjustment | None = None) -> FetchQuery:
    who = classify(symbol, packaged_rules().classification)
    if not isinstance(who, Instrument):  # a fund, or a venue that the rules do not list
        who = replace(Series("AAPL", label, "", "").instrument, symbol=symbol)
    return FetchQuery(who, Timeframe.parse(label), _EVER, _EVER.end, adjustment=adjustment)
