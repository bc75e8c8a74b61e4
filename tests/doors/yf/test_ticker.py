"""``Ticker``, its figures, and ``Search``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from onetape import yf
from src.data.core.cache.beside.fundamentals_cache import FundamentalsCache
from src.data.core.clock import ManualClock
from src.data.core.model.market.fundamentals import Fact, Snapshot
from src.data.core.model.time.instant import to_ms
from src.data.core.wiring import MANAGER
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, IncompleteDataWarning, NoDataError
from tests.vendor_server import Fault, VendorServer

from .conftest import add_young_ones, manager_on
from .real import real_yfinance


def test_errors_are_raised_where_they_are_wanted(manager: DataManager) -> None:
    with pytest.raises(NoDataError, match="NOPE is not known"):
        yf.Ticker("NOPE").history(raise_errors=True)
    with pytest.warns(IncompleteDataWarning, match="NOPE is not known"):
        frame = yf.Ticker("nope").history()
    assert frame.empty and "NOPE is not known" in frame.attrs["onetape"]["error"]["brief"]


def test_extended_hours_are_refused_outside_of_the_us(manager: DataManager) -> None:
    with pytest.raises(NoDataError, match="only US shares have them"):
        yf.Ticker("VOD.L").history(period="1d", interval="5m", prepost=True, raise_errors=True)
    assert len(yf.Ticker("BTC-USD").history(period="1d", interval="1h", prepost=True))


@pytest.fixture
def today(tmp_path: Path) -> Iterator[VendorServer]:
    """Yield a server at a true noon in New York: yfinance compares days with the clock of the machine."""
    pytest.importorskip("yfinance")
    day = pd.Timestamp.now("America/New_York").date()
    clock = ManualClock(to_ms(datetime(day.year, day.month, day.day, 17, tzinfo=UTC)))
    with VendorServer(clock) as vendors:
        add_young_ones(vendors)
        MANAGER.forget()
        MANAGER.get(lambda: manager_on(vendors, clock, tmp_path))
        yield vendors
        MANAGER.forget()


# Yahoo serves these from endpoints that the server does not play, or from other bars; see the page.
_OTHERS = {"shares", "marketCap", "previousClose"}


@pytest.mark.filterwarnings("ignore")
def test_fast_info_is_that_of_yfinance(today: VendorServer, tmp_path: Path) -> None:
    ours = yf.Ticker("ACME").fast_info
    with real_yfinance(today.base_url("yahoo"), tmp_path) as real:
        theirs = real.Ticker("ACME").fast_info
        assert list(ours) == list(theirs.keys())
        for key in set(ours) - _OTHERS:
            assert ours[key] == pytest.approx(theirs[key]), key
    assert ours["last_price"] == ours.last_price == ours.get("lastPrice")
    assert ours["shares"] is None and ours["marketCap"] is None
    assert ours.previous_close == ours.regular_market_previous_close
    assert set(json.loads(ours.toJSON())) == set(ours)
    with pytest.raises(KeyError, match="lastPrice"):
        ours["price"]


@pytest.mark.filterwarnings("ignore")
def test_history_metadata_has_what_is_known_under_the_names_of_yfinance(
    manager: DataManager, vendors: VendorServer, tmp_path: Path
) -> None:
    ticker = yf.Ticker("AAPL")
    ours = ticker.history_metadata
    assert ours == ticker.get_history_metadata()
    assert (ours["currency"], ours["exchangeTimezoneName"]) == ("USD", "America/New_York")
    with real_yfinance(vendors.base_url("yahoo"), tmp_path) as real:
        theirs = real.Ticker("AAPL").history_metadata
        assert len(ours) == 6 and {name: theirs[name] for name in ours} == ours
    with pytest.raises(KeyError, match="'validRanges' is not known; known are currency, exchange"):
        ours["validRanges"]
    for name in ("yahoo", "binance"):
        vendors.fault(name, Fault.status(500))
    assert yf.Ticker("MSFT").history_metadata == {
        "symbol": "MSFT", "exchangeTimezoneName": "America/New_York",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("period", "interval"), [("5d", "15m"), ("1d", "15m"), ("5d", "1d")])
def test_before_the_open_the_last_days_are_those_that_have_opened(
    period: str,
    interval: str,
    manager: DataManager,
    vendors: VendorServer,
    clock: ManualClock,
    tmp_path: Path,
) -> None:
    clock.set(to_ms(datetime(2024, 6, 10, 12, tzinfo=UTC)))  # a Monday
    ours = yf.Ticker("AAPL").history(period=period, interval=interval)
    assert len(ours) == int(period[0]) * (26 if interval == "15m" else 1)
    assert f"{ours.index[-1]:%Y-%m-%d}" == "2024-06-07"
    with real_yfinance(vendors.base_url("yahoo"), tmp_path) as real:
        theirs = real.Ticker("AAPL").history(period=period, interval=interval)
    pd.testing.assert_frame_equal(ours, theirs)


def test_info_has_the_names_of_yfinance(manager: DataManager) -> None:
    info = yf.Ticker("AAPL").info
    assert info["longName"] == "Apple Inc." and info["quoteType"] == "EQUITY"
    assert info["currency"] == "USD" and info["currentPrice"] == pytest.approx(203.04)
    assert info["fiftyTwoWeekHigh"] > info["fiftyTwoWeekLow"]
    assert "sector" not in info, "no vendor here has it"


def test_info_has_the_figures_of_fast_info(manager: DataManager) -> None:
    ticker = yf.Ticker("AAPL")
    info, fast = ticker.info, ticker.fast_info
    assert info["exchangeTimezoneName"] == "America/New_York"
    names = {"dayHigh": "dayHigh", "dayLow": "dayLow", "open": "regularMarketOpen",
             "previousClose": "previousClose", "fiftyDayAverage": "fiftyDayAverage",
             "twoHundredDayAverage": "twoHundredDayAverage", "yearChange": "52WeekChange",
             "tenDayAverageVolume": "averageVolume10days",
             "threeMonthAverageVolume": "averageVolume"}  # fmt: skip
    assert {name: info[name] for name in names.values()} == {
        name: fast[key] for key, name in names.items()
    }
    assert None not in info.values()


def test_info_has_the_figures_of_vendors_in_the_units_of_yfinance(
    manager: DataManager, clock: ManualClock
) -> None:
    facts = {
        "company_name": Fact("Apple Inc.", "text"),
        "profit_margin": Fact(0.25, "fraction"),
        "gross_margin": Fact(0.45, "fraction"),
        "operating_margin": Fact(0.3, "fraction"),
        "debt_to_equity": Fact(1.5, "ratio"),
        "dividend_yield": Fact(0.005, "fraction"),
        "revenue_growth": Fact(0.04, "fraction"),
        "net_income_growth": Fact(0.02, "fraction"),
        "target_price": Fact(230.0, "price", "USD"),
        "institutional_pct": Fact(0.6, "fraction"),
        "short_pct_float": Fact(0.01, "fraction"),
        "current_price": Fact(200.0, "price", "USD"),
    }
    kept = FundamentalsCache(manager.cache.cache_dir, clock=clock)
    kept.keep(Snapshot("fmp", "AAPL", clock.now_ms(), facts, data_types=("profile",)))
    info = yf.Ticker("AAPL").info
    wanted = {"profitMargins": 0.25, "grossMargins": 0.45, "operatingMargins": 0.3,
              "debtToEquity": 150.0, "dividendYield": 0.5, "revenueGrowth": 0.04,
              "earningsGrowth": 0.02, "earningsQuarterlyGrowth": 0.02, "targetMeanPrice": 230.0,
              "heldPercentInstitutions": 0.6, "shortPercentOfFloat": 0.01}  # fmt: skip
    assert {name: info.get(name) for name in wanted} == wanted
    assert info["currentPrice"] == 200.0, "a vendor's figure comes first"


@pytest.mark.parametrize("has_trailing", [True, False])
def test_trailing_figures_are_for_the_last_twelve_months_or_absent(
    manager: DataManager, clock: ManualClock, has_trailing: bool
) -> None:
    year = ("FY", "2023-09-30")
    reported = {
        "company_name": Fact("Apple Inc.", "text"),
        "earnings_per_share": Fact(6.13, "price", "USD", *year),
        "revenue": Fact(383.0e9, "money", "USD", *year),
        "net_income": Fact(97.0e9, "money", "USD", *year),
        "gross_profit": Fact(44.0e9, "money", "USD", "Q2", "2024-03-31"),
        "current_price": Fact(200.0, "price", "USD"),
    }
    trailing = {
        "company_name": Fact("Apple Inc.", "text"),
        "earnings_per_share": Fact(6.43, "price", "USD", "TTM", "2024-03-31"),
        "revenue": Fact(381.6e9, "money", "USD", "TTM", "2024-03-31"),
        "pe_ratio": Fact(31.0, "ratio", "", "TTM"),
    }
    kept = FundamentalsCache(manager.cache.cache_dir, clock=clock)
    for vendor, facts in (("fmp", reported), ("yahoo", trailing if has_trailing else reported)):
        kept.keep(Snapshot(vendor, "AAPL", clock.now_ms(), facts, data_types=("profile",)))
    info = yf.Ticker("AAPL").info
    assert info.get("trailingEps") == (6.43 if has_trailing else None)
    assert info.get("trailingPE") == (31.0 if has_trailing else None)
    assert info["totalRevenue"] == (381.6e9 if has_trailing else 383.0e9)
    assert info["netIncomeToCommon"] == 97.0e9
    assert "grossProfits" not in info
    assert info["currentPrice"] == 200.0


def test_yf_search_returns_quotes_and_refuses_news(
    manager: DataManager, vendors: VendorServer
) -> None:
    found = yf.Search("apple", max_results=3, news_count=0)
    (apple,) = found.quotes
    assert apple["symbol"] == "AAPL" and apple["shortname"] == "Apple Inc."
    assert apple["quoteType"] == "EQUITY" and found.all == {"quotes": found.quotes}
    assert [one["symbol"] for one in yf.Search("bitcoin").quotes] == ["BTC-USD"]
    with pytest.raises(yf.NotServedError, match="alongside"):
        found.news  # noqa: B018 - refused when it is read


def test_a_failed_search_is_an_error_or_has_no_quotes(
    manager: DataManager, vendors: VendorServer
) -> None:
    for vendor in ("yahoo", "binance"):
        vendors.fault(vendor, Fault.status(503))
    with pytest.raises(AllProvidersFailedError):
        yf.Search("zzqx")
    assert yf.Search("zzqx", raise_errors=False).quotes == []


def test_the_repr_of_tickers_names_their_symbols() -> None:
    assert repr(yf.Ticker(" aapl")) == "onetape.yf.Ticker object <AAPL>"
    tickers = yf.Tickers("aapl, msft")
    assert repr(tickers) == "onetape.yf.Tickers object <AAPL,MSFT>"
    assert tickers.tickers["MSFT"].ticker == "MSFT"


def test_the_last_price_of_a_coin_that_yahoo_alone_has_is_no_exchanges(
    manager: DataManager, vendors: VendorServer
) -> None:
    truth = vendors.truth
    for like, symbol in (("BTCUSDT", "BTCEUR"), ("BTC-USD", "BTC-EUR")):
        truth.add(replace(truth.listing(like), symbol=symbol, currency="EUR"))
    coin = yf.Ticker("BTC-EUR")
    closes = coin.history(period="5d")["Close"]
    assert coin.fast_info.last_price == closes.iloc[-1]
    assert coin.fast_info.previous_close == closes.iloc[-2]
    assert vendors.count("binance") == 0


def test_gains_of_a_fund_are_a_column_of_their_own(manager: DataManager) -> None:
    """Yahoo's dividend contains the gain; income is the rest."""
    ticker, store = yf.Ticker("AAPL"), manager.cache.store
    before = ticker.history(period="2y")
    assert "Capital Gains" not in before and ticker.capital_gains.empty
    book = store.actions("AAPL")
    last, answer = book.dividends[-1], book.answers[0]
    store.add_actions("AAPL", [replace(last, gain=0.15)], answer.span, "yahoo", answer.fetched_at)
    for frame in (ticker.history(period="2y"), ticker.history(period="2y", auto_adjust=False)):
        paid = frame[frame["Dividends"] > 0].iloc[-1]
        assert (paid["Dividends"], paid["Capital Gains"]) == (0.1, 0.15)
        assert frame["Dividends"].sum() + frame["Capital Gains"].sum() == before["Dividends"].sum()
    assert list(ticker.capital_gains) == [0.15] and ticker.dividends.iloc[-1] == 0.1
    assert list(ticker.actions) == ["Dividends", "Stock Splits", "Capital Gains"]
    wide = yf.download(["AAPL", "MSFT"], period="2y", actions=True)
    assert wide["Capital Gains"]["AAPL"].max() == 0.15 and "MSFT" not in wide["Capital Gains"]
