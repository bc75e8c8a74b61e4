"""Each argument of yfinance is honoured or refused, and each of its names is served or refused."""

from __future__ import annotations

import inspect
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import onetape.yf
from onetape import yf
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import to_ms
from src.data.data_manager import DataManager
from src.data.doors.yf.arguments import Arguments
from src.data.doors.yf.not_served import OF_MODULE, OF_TICKER
from src.data.errors import BadRangeError, BadSymbolError, BadTimeframeError, QueryError
from tests.vendor_server import VendorServer

MAY = {"start": "2024-05-01", "end": "2024-06-01"}


@pytest.mark.parametrize(
    "name", ["download", "Ticker", "Ticker.history", "Tickers", "Tickers.history",
             "Tickers.download", "Search"],
)  # fmt: skip
def test_signatures_are_those_of_yfinance(name: str) -> None:
    theirs: Any = pytest.importorskip("yfinance")
    ours: Any = yf
    for part in name.split("."):
        theirs, ours = getattr(theirs, part), getattr(ours, part)
    if name == "Ticker.history":  # there it only passes on what it is given
        from yfinance.scrapers.history import PriceHistory

        theirs = PriceHistory.history
    given, taken = (inspect.signature(one).parameters for one in (theirs, ours))
    assert list(taken) == list(given)
    for parameter, one in taken.items():
        if parameter != "period":  # whose default there is a sentence that means the same
            assert one.default == given[parameter].default, parameter


def test_intervals_and_periods_are_accepted_in_any_case() -> None:
    options: list[Any] = [None, None, *[False] * 6, None]
    asked = Arguments("1D", "1Mo", *options)
    assert (asked.interval, asked.period, asked.timeframe) == ("1d", "1mo", "1d")


def test_each_name_of_yfinance_is_served_or_refused_with_an_alternative() -> None:
    theirs = pytest.importorskip("yfinance")
    served = set(onetape.yf.__all__)
    older = {"pdr_override"}  # names of older versions that scripts still use
    assert {name for name in theirs.__all__ if name not in served} == set(OF_MODULE) - older
    names = {name for name in dir(theirs.Ticker) if not name.startswith("_")}
    assert names - set(dir(yf.Ticker)) - {"session"} <= {
        *OF_TICKER,
        *(f"get_{x}" for x in OF_TICKER),
    }
    for name in OF_MODULE:
        with pytest.raises(yf.NotServedError, match=rf"^yf\.{name} is not supported: \w+ "):
            getattr(yf, name)
    ticker = yf.Ticker("AAPL")
    for name in names - set(dir(yf.Ticker)):
        with pytest.raises(yf.NotServedError, match=rf"^yf\.Ticker\.{name} is not supported: \w+ "):
            getattr(ticker, name)
    with pytest.raises(yf.NotServedError, match="yfinance alongside onetape"):
        yf.Tickers("AAPL").news()


def test_a_folder_for_time_zones_may_be_set_and_is_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "zones"
    assert yf.set_tz_cache_location(str(folder)) is None
    assert not folder.exists()


def test_a_name_that_yfinance_does_not_have_is_a_plain_error() -> None:
    for owner, name in ((yf, "downlod"), (yf.Ticker("AAPL"), "dividend"), (yf.Tickers("A"), "x")):
        with pytest.raises(AttributeError, match="does not exist") as caught:
            getattr(owner, name)
        assert not isinstance(caught.value, yf.NotServedError)
    assert not hasattr(yf.Ticker("AAPL"), "options") and not hasattr(yf, "Sector")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"session": object()}, QueryError, "rules file"),
        ({"back_adjust": True}, QueryError, "use auto_adjust=True"),
        ({"interval": "5d"}, BadTimeframeError, "use 1wk"),
        ({"interval": "1M"}, BadTimeframeError, "use 1mo"),
        ({"interval": "3M"}, BadTimeframeError, "use 3mo"),
        ({"interval": "7m"}, BadTimeframeError, "intervals: 1m, 2m"),
        ({"interval": 5}, BadTimeframeError, "not supported"),
        ({"interval": ["1d"]}, BadTimeframeError, "not supported"),
        ({"start": datetime.min}, BadRangeError, "0001-01-01 00:00:00 is before 1900"),
        ({"period": "13q"}, BadRangeError, "use 1d, 5d"),
        ({"period": 5}, BadRangeError, "invalid period"),
        ({"period": "1mo", **MAY}, BadRangeError, "omit one"),
        ({"period": "ytd", "start": "2024-05-01"}, BadRangeError, "omit start"),
        ({"start": "2024/05/01"}, BadRangeError, "YYYY-MM-DD"),
        ({"start": "2024-13-01"}, BadRangeError, "YYYY-MM-DD"),
        ({"end": 1e300}, BadRangeError, "YYYY-MM-DD"),
        ({"start": 10**18}, BadRangeError, "YYYY-MM-DD"),
        ({"start": pd.NaT}, BadRangeError, "YYYY-MM-DD"),
        ({"end": True}, BadRangeError, "YYYY-MM-DD"),
        ({"start": ""}, BadRangeError, "YYYY-MM-DD"),
        ({"period": "1mo", "start": 0, "end": 86_400}, BadRangeError, "omit one"),
        ({"timeout": -1}, QueryError, "timeout"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_by_both_calls(
    options: dict[str, Any], error: type[Exception], words: str, manager: DataManager
) -> None:
    for call in (lambda **o: yf.download("AAPL", **o), lambda **o: yf.Tickers("AAPL").history(**o)):
        with pytest.raises(error, match=words):
            call(**options)
    if "session" not in options:
        with pytest.raises(error, match=words):
            yf.Ticker("AAPL").history(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group_by": "tickers"}, "column or ticker"), ({"threads": 0}, "from 1 on"),
        ({"threads": "2"}, "from 1 on"), ({"tickers": ""}, "no tickers were passed"),
        ({"tickers": []}, "no tickers were passed"), ({"tickers": ["AAPL", 5]}, "must be strings"),
        ({"tickers": None}, "must be strings"),
    ],
)  # fmt: skip
def test_a_mistake_of_a_download_is_refused(
    options: dict[str, Any], words: str, manager: DataManager
) -> None:
    with pytest.raises(QueryError, match=words):
        yf.download(**{"tickers": "AAPL", **options})


@pytest.mark.parametrize("ticker", ["", " ", "US0378331005", ("OR", "XPAR"), 5])
def test_an_invalid_ticker_is_refused(ticker: Any) -> None:
    with pytest.raises(QueryError):
        yf.Ticker(ticker)
    if isinstance(ticker, tuple):
        with pytest.raises(BadSymbolError, match=r"OR\.PA"):
            yf.Ticker(ticker)


@pytest.mark.parametrize(
    "options",
    [{"news_count": 3}, {"lists_count": 1}, {"include_cb": False}, {"include_nav_links": True},
     {"include_research": True}, {"include_cultural_assets": True}, {"enable_fuzzy_query": True},
     {"recommended": 2}, {"session": object()}],
)  # fmt: skip
def test_search_options_without_effect_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(QueryError, match=next(iter(options))):
        yf.Search("apple", **options)


def test_tickers_may_be_an_array(manager: DataManager) -> None:
    names = pd.Series(["AAPL", "MSFT"])
    assert yf.download(names, progress=False, **MAY)["Close"].columns.tolist() == names.tolist()


def test_unknown_keywords_of_tickers_are_refused(manager: DataManager) -> None:
    with pytest.raises(QueryError, match="colour"):
        yf.Tickers("AAPL").history(colour="red")


def test_at_night_a_download_has_no_running_bar_and_sends_no_request(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(to_ms(datetime(2024, 6, 13, 1, 30, tzinfo=UTC)))  # New York sleeps
    first = yf.download("AAPL", period="5d", progress=False)
    vendors.clear_log()
    assert yf.download("AAPL", period="5d", progress=False).equals(first)
    assert vendors.count() == 0
    assert first.index[-1] == pd.Timestamp("2024-06-12")
    clock.set(to_ms(datetime(2024, 6, 13, 14, 0, tzinfo=UTC)))
    running = yf.download("AAPL", period="5d", progress=False)
    assert running.index[-1] == pd.Timestamp("2024-06-13") and vendors.count() > 0


def test_a_period_beyond_the_calendar_is_an_empty_frame(manager: DataManager) -> None:
    for more in ({"period": "99999y"}, {"period": "9999y", "start": "2024-05-01"}):
        with pytest.warns(UserWarning, match="AAPL: period '9.*' reaches beyond"):
            assert yf.download("AAPL", progress=False, **more).empty


@pytest.mark.parametrize("end", [datetime.max, datetime.max.replace(tzinfo=UTC), date.max])
def test_the_end_of_time_is_an_end_in_the_future_in_every_zone(
    manager: DataManager, end: Any
) -> None:
    for ticker in ("AAPL", "VOD.L", "BTC-USD"):
        whole = yf.Ticker(ticker).history(start="2024-06-03")
        pd.testing.assert_frame_equal(yf.Ticker(ticker).history(start="2024-06-03", end=end), whole)


def test_second_zero_is_a_start_and_an_end(manager: DataManager) -> None:
    frames = [yf.download("AAPL", start=start, progress=False) for start in (0, 86_400)]
    assert frames[0].index[0] == frames[1].index[0] == pd.Timestamp("2010-01-04")
    with pytest.warns(UserWarning, match="AAPL: "):
        assert yf.download("AAPL", period="1mo", end=0, progress=False).empty


def test_a_start_in_the_future_is_an_empty_range(
    manager: DataManager, vendors: VendorServer
) -> None:
    with pytest.warns(UserWarning, match="AAPL: the range is empty"):
        frame = yf.download("AAPL", start="2024-07-01", progress=False)
    assert frame.empty and vendors.count() == 0


@pytest.mark.parametrize("ticker", ["ES=F", "EURUSD=X"])
def test_a_session_that_began_this_evening_is_the_last_day(
    manager: DataManager, clock: ManualClock, vendors: VendorServer, ticker: str
) -> None:
    clock.advance(to_ms(datetime(2024, 6, 12, 22, 30)) / 1000 - clock.now_ms() / 1000)
    instrument = manager.provider_selector.instrument(ticker)
    options: list[Any] = [None, None, *[False] * 6, None]
    day = Arguments("1d", "1d", *options).bounds(ticker, instrument, manager.client)
    assert day is not None and (day.start, day.end, day.may_be_forming) == (
        date(2024, 6, 13), None, True,
    )  # fmt: skip
    hours = Arguments("1h", "1d", *options).bounds(ticker, instrument, manager.client)
    assert hours is not None and hours.start <= datetime(2024, 6, 12, 4)
    with pytest.warns(UserWarning, match="no bar has closed yet"):
        assert yf.download(ticker, period="1d", progress=False).empty
    assert vendors.count("yahoo") == 1, "the forming bar was requested"
