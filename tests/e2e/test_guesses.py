"""Calls as users of other tools guess them: each error names the right call, with the caller's values."""

from __future__ import annotations

import asyncio
import copy
import inspect
import linecache
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import onetape
import src.data
from onetape import aio
from onetape.aio import AsyncDataManager
from onetape.public import OF_DATA
from src.data.core.guesses import ARGUMENTS, GUESSES, PACKAGE_SENTENCES, SENTENCES
from src.data.data_manager import DataManager
from src.data.errors import QueryError
from tests.vendor_server import VendorServer

# The calls of other tools, and habits; each with the end of its error. `dm` is a data manager.
OF_ATTRIBUTES = """
dm.download("AAPL", start="2024-01-01", end="2024-06-30", auto_adjust=True)
    use dm.get_ohlcv('AAPL', '1d', start='2024-01-01', end='2024-06-30', adjustment='all')
dm.download("AAPL MSFT", period="1y", interval="1d", group_by="ticker", threads=True)
    use dm.get_ohlcv_batch(['AAPL', 'MSFT'], '1d', period='1y')
dm.download(["AAPL", "MSFT"], "2020-01-01")
    use dm.get_ohlcv_batch(['AAPL', 'MSFT'], '1d', start='2020-01-01')
dm.history("AAPL", period="5d", interval="1h", prepost=True)
    use dm.get_ohlcv('AAPL', '1h', period='5d', session='extended')
dm.fetch_ohlcv("BTC/USDT", "1h", limit=100)
    use dm.get_ohlcv('BTC/USDT', '1h', bars=100)
dm.fetch_ohlcv(symbol, timeframe="4h", since=1704067200000, limit=500)
    use dm.get_ohlcv(symbol, '4h', start='2024-01-01T00:00:00')
dm.fetchOHLCV("BTC/USDT", "1d", None, 10)
    use dm.get_ohlcv('BTC/USDT', '1d', bars=10)
dm.get_bars("AAPL", "1Day", "2024-01-01", "2024-02-01", adjustment="all")
    use dm.get_ohlcv('AAPL', '1Day', start='2024-01-01', end='2024-02-01', adjustment='all')
dm.get_stock_bars(symbol_or_symbols=["AAPL"], timeframe="1d")
    use dm.get_ohlcv_batch(['AAPL'], '1d')
dm.get_data("AAPL", "15T")
    use dm.get_ohlcv('AAPL', '15m')
dm.ohlcv("AAPL", "1d", limit=10)
    use dm.get_ohlcv('AAPL', '1d', bars=10)
dm.DataReader("AAPL", "yahoo", "2020-01-01", "2024-01-01")
    use dm.get_ohlcv('AAPL', '1d', start='2020-01-01', end='2024-01-01', provider='yahoo')
dm.get_data_yahoo("AAPL", start="2020-01-01")
    use dm.get_ohlcv('AAPL', '1d', start='2020-01-01')
dm.get_aggs("AAPL", multiplier=5, timespan="minute", from_="2024-01-01", to="2024-02-01", adjusted=False)
    use dm.get_ohlcv('AAPL', '5m', start='2024-01-01', end='2024-02-01', adjustment='raw')
dm.get_klines(symbol="BTCUSDT", interval="1h", limit=500)
    use dm.get_ohlcv('BTCUSDT', '1h', bars=500)
dm.get_batch(["AAPL", "MSFT"], "1d")
    use dm.get_ohlcv_batch(['AAPL', 'MSFT'], '1d')
dm.get_price("AAPL")
    use dm.get_quote('AAPL')
dm.fetch_ticker("BTC/USDT")
    use dm.get_quote('BTC/USDT')
dm.fetch_tickers(["BTC/USDT", "ETH/USDT"])
    use dm.get_quotes(['BTC/USDT', 'ETH/USDT'])
dm.get_dividends("KO", "2020-01-01")
    use dm.get_actions('KO', start='2020-01-01')
dm.get_splits("AAPL")
    use dm.get_actions('AAPL')
dm.info("AAPL")
    use dm.get_fundamentals('AAPL')
dm.balance_sheet("AAPL")
    use dm.get_fundamentals('AAPL', data_type='statements')
dm.fetch_funding_rate_history("BTCUSDT", since=1704067200000)
    use dm.get_funding_rate('BTCUSDT', start='2024-01-01T00:00:00')
dm.watch_ohlcv("BTC/USDT", "1m")
    use dm.live_feed('BTC/USDT', '1m')
dm.search_symbols("apple")
    use dm.search('apple')
dm.get_gaps("AAPL", "1d")
    use dm.gaps(symbol='AAPL', timeframe='1d')
dm.cache_stats()
    use dm.get_cache_stats()
getattr(dm, "download")
    use get_ohlcv('AAPL', '1d', start='2024-01-01')
dm.update("AAPL")
    one series is up to date after get_ohlcv('AAPL', '1d', start='2024-01-01')
dm.set_api_key("secret")
    keys are read from the environment; `onetape docs keys` lists their names
dm.get_news("AAPL")
    but no news, options or order books
onetape.download("AAPL", start="2024-01-01")
    use onetape.get_data_manager().get_ohlcv('AAPL', '1d', start='2024-01-01')
onetape.get_ohlcv("AAPL", "1h")
    use onetape.get_data_manager().get_ohlcv('AAPL', '1h')
onetape.get_quote("AAPL", 60)
    use onetape.get_data_manager().get_quote('AAPL', max_age=60)
onetape.Ticker("AAPL")
    from onetape import yf; yf.Ticker('AAPL')
onetape.Client()
    use onetape.get_data_manager(), which returns the data manager of the process
onetape.DataManger
    did you mean 'DataManager'?
src.data.download("AAPL", start="2024-01-01")
    use onetape.data.get_data_manager().get_ohlcv('AAPL', '1d', start='2024-01-01')
onetape.data.DataManger
    did you mean 'DataManager'?
am.download("AAPL", start="2024-01-01")
    use await am.aget_ohlcv('AAPL', '1d', start='2024-01-01')
dm.get("AAPL")
    use dm.get_ohlcv('AAPL', '1d')
dm.load("AAPL", "1h")
    use dm.get_ohlcv('AAPL', '1h')
dm.get_features("AAPL", "1d", ["rsi:14"])
    use dm.features(['AAPL'], '1d', recipes=['rsi:14'])
dm.verify("AAPL", "1d")
    use dm.validate('AAPL', '1d', level='corroborated')
dm.symbols()
    and `onetape cache list` the stored series; search('apple') finds others
dm.list()
    and `onetape cache list` the stored series; search('apple') finds others
dm.get_universe("sp500")
    and get_ohlcv_batch(universe='NAME', timeframe='1d') for their bars
dm.resample
    request the bars of the timeframe itself: get_ohlcv('AAPL', '1h')
am.on_event(print)
    use the method on_event of the attribute manager
"""
OF_ARGUMENTS = """
dm.get_ohlcv("AAPL", interval="1d")
    'interval'; use get_ohlcv('AAPL', '1d')
dm.get_ohlcv("AAPL", "1d", limit=100)
    'limit'; use get_ohlcv('AAPL', '1d', bars=100)
dm.get_ohlcv("AAPL", "1d", source="yahoo")
    'source'; use get_ohlcv('AAPL', '1d', provider='yahoo')
dm.get_ohlcv("AAPL", "1d", "2024-01-01", auto_adjust=True)
    'auto_adjust'; use get_ohlcv('AAPL', '1d', start='2024-01-01', adjustment='all')
dm.get_ohlcv(tickers=["AAPL", "MSFT"], interval="1d", start="2024-01-01")
    'tickers'; use get_ohlcv_batch(['AAPL', 'MSFT'], '1d', start='2024-01-01')
dm.get_ohlcv(ticker="AAPL", freq="60")
    'ticker'; use get_ohlcv('AAPL', '1h')
dm.get_ohlcv("AAPL", "1d", adjust="qfq")
    'adjust'; use get_ohlcv('AAPL', '1d', adjustment='all')
dm.get_ohlcv("AAPL", "1d", tz="America/New_York", bars=5)
    'tz'; times are naive UTC; use get_ohlcv('AAPL', '1d', bars=5)
dm.get_ohlcv("AAPL", "1d", since="2024-01-01", until="2024-02-01")
    'since'; use get_ohlcv('AAPL', '1d', start='2024-01-01', end='2024-02-01')
dm.get_ohlcv("AAPL", "1d", use_cache=False)
    'use_cache'; use get_ohlcv('AAPL', '1d', refresh=True)
dm.get_ohlcv("AAPL", "1d", cache=False)
    'cache'; use get_ohlcv('AAPL', '1d', refresh=True)
onetape.DataManager(cache="some/folder")
    'cache'; use DataManager('some/folder')
dm.get_ohlcv("AAPL", "1d", timefame="1d")
    'timefame'; use get_ohlcv('AAPL', '1d')
dm.get_ohlcv("AAPL", "1d", foo=1)
    'foo'; its arguments are symbol, timeframe, start_date
dm.get_ohlcv("AAPL")
    'timeframe'; use get_ohlcv('AAPL', '1d')
dm.get_ohlcv_batch(tickers="AAPL MSFT", interval="1d")
    'tickers'; use get_ohlcv_batch(['AAPL', 'MSFT'], '1d')
dm.get_ohlcv_batch(["AAPL"], "1d", symbol=["MSFT"])
    'symbol'; use get_ohlcv_batch(['AAPL'], '1d')
dm.get_ohlcv_batch(["AAPL"], "1d", version=3)
    'version'; a version needs exactly one symbol, in get_ohlcv or plot; use get_ohlcv_batch(['AAPL'], '1d')
dm.get_quote(ticker="AAPL")
    'ticker'; use get_quote('AAPL')
dm.get_fundamentals("AAPL", force=True)
    'force'; use get_fundamentals('AAPL', refresh=True)
dm.get_actions("AAPL", start_date="2020-01-01")
    'start_date'; use get_actions('AAPL', start='2020-01-01')
dm.get_open_interest("BTCUSDT", interval="1h")
    'interval'; use get_open_interest('BTCUSDT', '1h')
dm.search(query="apple")
    'query'; use search('apple')
dm.live_feed("BTCUSDT", interval="1m")
    'timeframe'; use live_feed('BTCUSDT', '1m')
"""


# Values of the wrong type, with the whole error and its hint.
OF_VALUES = """
dm.features("AAPL", "1d", ["rsi:14"], provider="demo")
    start of features is ['rsi:14'] (use features(['AAPL'], '1d', provider='demo', recipes=['rsi:14']))
dm.at("2012-06-30").features("AAPL", "1d", ["rsi:14"], "2012-01-03")
    start of features is ['rsi:14'] (use features(['AAPL'], '1d', start='2012-01-03', recipes=['rsi:14']))
dm.features("AAPL", "1d", ["rsi_14"], "2012-01-03")
    start of features is ['rsi_14'] (use features(['AAPL'], '1d', start='2012-01-03', recipes=['rsi:14']))
dm.get_ohlcv(["AAPL", "IBM"], "1d", provider="demo")
    symbol of get_ohlcv is ['AAPL', 'IBM'] (use get_ohlcv_batch(['AAPL', 'IBM'], '1d', provider='demo'))
dm.get_quote("AAPL", "IBM")
    max_age of get_quote is 'IBM' (use get_quotes(['AAPL', 'IBM']))
dm.get_ohlcv("AAPL", "1d", 1325548800, 1326000000000)
    start_date of get_ohlcv is 1325548800 (use get_ohlcv('AAPL', '1d', \
start='2012-01-03T00:00:00', end='2012-01-08T05:20:00'))
dm.get_ohlcv("AAPL", "1d", start=1325548800)
    start of get_ohlcv is 1325548800 (use get_ohlcv('AAPL', '1d', start='2012-01-03T00:00:00'))
onetape.describe("AAPL")
    describe needs a frame of bars, not 'AAPL' (pass the result of get_ohlcv('AAPL', '1d'))
"""


def _table(text: str) -> list[tuple[str, str]]:
    lines = text.strip().splitlines()
    return [(call, error.strip()) for call, error in zip(lines[::2], lines[1::2], strict=True)]


@pytest.fixture
def dm(tmp_path: Path) -> DataManager:
    return DataManager(tmp_path / "cache")


def _error_of(code: str, dm: DataManager) -> str:
    """Return the error of a line of a user's program, whose source Python can find."""
    names = {
        "dm": dm,
        "onetape": onetape,
        "src": src,
        "am": AsyncDataManager(dm),
        "symbol": "BTC/USDT",
    }
    file = f"<{code}>"
    linecache.cache[file] = (len(code), None, [f"{code}\n"], file)
    with pytest.raises((AttributeError, TypeError, ImportError)) as raised:
        exec(compile(code, file, "exec"), names)
    return f"{raised.type.__name__}: {raised.value}"


@pytest.mark.parametrize("call, end", _table(OF_ATTRIBUTES))
def test_a_guessed_name_names_the_right_call(call: str, end: str, dm: DataManager) -> None:
    said = _error_of(call, dm)
    assert said.startswith("AttributeError: ")
    assert said.endswith(end)


@pytest.mark.parametrize("call, text", _table(OF_ARGUMENTS))
def test_a_guessed_argument_names_the_right_call(call: str, text: str, dm: DataManager) -> None:
    said = _error_of(call, dm)
    assert re.match(r"TypeError: DataManager\.\w+\(\) (got an unexpected|missing)", said), said
    assert text in said
    assert said.endswith(text) or "its arguments are" in text


@pytest.mark.parametrize("call, said", _table(OF_VALUES))
def test_a_value_in_the_place_of_another_names_the_right_call(
    call: str, said: str, dm: DataManager
) -> None:
    """And the right call is one that the method's signature accepts."""
    with pytest.raises(QueryError) as raised:
        eval(call, {"dm": dm, "onetape": onetape})
    assert str(raised.value) == said
    if "(use " in said:
        name, _, arguments = said.rpartition("(use ")[2][:-1].partition("(")
        values = eval(f"dict_of({arguments}", {"dict_of": lambda *args, **more: (args, more)})
        assert inspect.signature(getattr(dm, name)).bind(*values[0], **values[1])


def test_a_call_without_arguments_empties_no_cache(manager: DataManager) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", start=DAYS[0], end=DAYS[1])
    folder = manager._services.settings.cache_dir
    for refused in ({}, {"everything": True, "symbol": "BTCUSDT"}, {"everything": None}):
        with pytest.raises(
            QueryError,
            match=r"^clear_cache (needs everything=True|takes no symbol .*) to delete all of ",
        ) as raised:
            manager.clear_cache(**refused)
        assert f"{folder} (" in str(raised.value) and " GB)" in str(raised.value)
    assert len(manager.get_ohlcv("BTCUSDT", "1h", start=DAYS[0], end=DAYS[1], offline=True))
    manager.clear_cache("AAPL")
    manager.clear_cache(timeframe="1d")
    assert manager.cache.list_symbols() == ["BTCUSDT"]
    manager.clear_cache("BTCUSDT", "1h")
    assert manager.cache.list_symbols() == []
    manager.get_ohlcv("BTCUSDT", "1h", start=DAYS[0], end=DAYS[1])
    manager.clear_cache(everything=True)
    assert manager.cache.list_symbols() == []


def test_a_second_process_wide_manager_is_refused_by_name(tmp_path: Path) -> None:
    try:
        first = onetape.get_data_manager(tmp_path / "one")
        with pytest.warns(UserWarning, match=r"is ignored: use DataManager\('two'\)$"):
            assert onetape.get_data_manager("two") is first
    finally:
        onetape.reset_data_manager()


def test_a_column_of_a_batch_names_the_wide_layout(dm: DataManager) -> None:
    days = {"start": "2012-01-03", "end": "2012-01-05", "provider": "demo"}
    frames = dm.get_ohlcv_batch(["AAPL", "IBM"], "1d", **days)
    with pytest.raises(KeyError, match=r"layout='wide'\)\['close'\]"):
        frames["close"]
    assert dm.get_ohlcv_batch(["AAPL", "IBM"], "1d", layout="wide", **days)["close"].shape == (3, 2)
    with pytest.raises(KeyError, match=r"^'NOPE'$"):
        frames["NOPE"]
    assert frames.get("close") is None and not hasattr(frames, "NOPE")
    assert [*copy.copy(frames)] == [*pickle.loads(pickle.dumps(frames))] == ["AAPL", "IBM"]


def test_reports_are_iterable_and_their_repr_says_so(manager: DataManager) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", start="2024-06-03T00:00", end="2024-06-03T05:00")
    manager.get_ohlcv("BTCUSDT", "1h", start="2024-06-04T00:00", end="2024-06-04T05:00")
    gaps, report = manager.gaps("BTCUSDT", "1h"), manager.validate("BTCUSDT", "1h")
    assert [*gaps] == gaps.gaps and [*report] == list(report.findings)
    for one in (gaps, report):
        assert repr(one).endswith("; iterate, or to_frame()>")
        frame = one.to_frame()
        assert len(frame) == len([*one])
    assert gaps.gaps, "there is a gap to list"
    assert report.to_frame().dtypes["first"] == report.to_frame().dtypes["last"] == "M8[ns]"


def test_the_first_guess_with_a_loop_works() -> None:
    """The manager of the package with coroutines has them, also by the names without an ``a``."""

    async def guess() -> Any:
        manager = aio.get_data_manager()
        assert isinstance(manager, AsyncDataManager)
        assert manager.manager is onetape.get_data_manager()
        return await manager.get_ohlcv("AAPL", "1d", "2012-01-03", "2012-01-05", provider="demo")

    try:
        assert len(asyncio.run(guess())) == 3
    finally:
        onetape.reset_data_manager()


@pytest.mark.parametrize("package", ["onetape", "onetape.data", "src.data"])
def test_an_import_of_a_guessed_name_names_the_right_call(package: str, dm: DataManager) -> None:
    said = _error_of(f"from {package} import download", dm)
    assert said.startswith("ImportError: ") and "get_data_manager().get_ohlcv('AAPL'" in said
    assert _error_of(f"from {package} import nothing", dm).startswith(
        "ImportError: cannot import name 'nothing'"
    )


def test_no_key_of_a_guess_is_in_the_error(dm: DataManager) -> None:
    said = _error_of('dm.get_ohlcv("AAPL", "1d", api_key="k-123")', dm)
    assert "k-123" not in said and "onetape docs keys" in said


def test_the_right_call_of_each_guess_exists() -> None:
    """And no guess is itself a name of the manager or the package, which would never be looked up."""
    methods = {name for name, one in vars(DataManager).items() if inspect.isfunction(one)}
    assert {call.method for call in GUESSES.values()} <= methods
    assert not {*GUESSES, *SENTENCES} & {*dir(DataManager)}
    assert not ({*PACKAGE_SENTENCES} - {*SENTENCES} | {*GUESSES}) & {*OF_DATA}
    known = {
        p for name in methods for p in inspect.signature(getattr(DataManager, name)).parameters
    }
    assert {*ARGUMENTS.values()} - known == {""}
    orders = {word for call in GUESSES.values() for word in (*call.order.split(), *call.more)}
    assert orders <= known


@pytest.mark.parametrize("name", sorted({*GUESSES, *SENTENCES}))
def test_guesses_are_absent_for_programs_that_look(name: str, dm: DataManager) -> None:
    assert not hasattr(dm, name)
    assert getattr(dm, name, None) is None
    assert not hasattr(onetape, name) or name in (
        "describe",
        "fingerprint",
        "to_polars",
        "to_arrow",
    )


def test_tab_completion_lists_only_names_that_exist(dm: DataManager) -> None:
    for one in (dm, onetape, AsyncDataManager(dm)):
        assert [name for name in dir(one) if not hasattr(one, name)] == []
    # `at` and `cache` are arguments of other tools, and names of this one.
    assert not {*GUESSES, *ARGUMENTS} & {*dir(dm)} - {"provider_selector", "at", "cache"}


def test_a_name_of_a_subclass_is_its_own(tmp_path: Path) -> None:
    class Mine(DataManager):
        """A manager with names that others guess."""

        bars = 3

        def download(self, symbol: str) -> str:
            return f"mine {symbol}"

        @property
        def history(self) -> str:
            return self.of_mine  # type: ignore[attr-defined,no-any-return]

        def __getattr__(self, name: str) -> Any:
            if name == "info":
                return "info of mine"
            return super().__getattr__(name)  # type: ignore[misc]

    mine = Mine(tmp_path)
    mine.quote = 5  # type: ignore[attr-defined]
    own = (mine.download("A"), mine.bars, mine.quote, mine.info)  # type: ignore[attr-defined]
    assert own == (
        "mine A",
        3,
        5,
        "info of mine",
    )
    with pytest.raises(AttributeError, match=r"no attribute 'of_mine'$"):
        mine.history  # noqa: B018 - its own error, not that of a guess
    with pytest.raises(AttributeError, match=r"'Mine' .* use get_quote\('AAPL'\)"):
        mine.price()


def test_a_property_of_the_manager_keeps_its_own_error(
    dm: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.data_manager.get_universes", lambda: None.nothing)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'nothing'"):
        dm.universes  # noqa: B018 - as above


def test_probes_of_copies_pickles_and_notebooks_find_nothing(dm: DataManager) -> None:
    empty = DataManager.__new__(DataManager)  # as pickle makes it: nothing is set yet
    for name in ("__getstate__x", "__deepcopy__", "_ipython_display_", "_repr_png_", "client"):
        assert not hasattr(empty, name)
    assert copy.copy(dm).client is dm.client
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as raised:
        pickle.dumps(dm)
    assert "use " not in str(raised.value)


def test_an_error_inside_a_method_is_not_one_of_its_arguments(
    dm: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise TypeError("inside")

    monkeypatch.setattr(dm.client, "query", broken)
    with pytest.raises(TypeError, match=r"^inside$") as raised:
        dm.get_ohlcv("AAPL", "1d")
    names = [entry.name for entry in raised.traceback]
    assert names[-2:] == ["get_ohlcv", "broken"], "and no frame of the check is shown"
    assert "call" not in names


def test_signatures_are_those_of_the_methods() -> None:
    parameters = inspect.signature(DataManager.get_ohlcv).parameters
    assert [*parameters][:6] == [
        "self", "symbol", "timeframe", "start_date", "end_date", "force_refresh"
    ]  # fmt: skip
    assert all(one.kind is not one.VAR_KEYWORD for one in parameters.values())
    assert DataManager.get_ohlcv.__qualname__ == "DataManager.get_ohlcv"


@pytest.mark.parametrize("written, meant", [("VOD LN", ("VOD.L",)), ("A B", ("A", "B"))])
def test_what_a_symbol_with_a_space_means_is_in_the_error(
    written: str, meant: tuple[str, ...], dm: DataManager
) -> None:
    with pytest.raises(QueryError) as raised:
        dm.get_ohlcv(written, "1d")
    assert raised.value.candidates == meant
    with pytest.raises(QueryError, match="not allowed in symbols"):
        dm.provider_selector.spelling(written)


# --- short names of arguments ------------------------------------------------------------------

DAYS = ("2024-06-03", "2024-06-05")
Ask = Callable[..., Any]
RANGED: dict[str, Ask] = {
    "get_ohlcv": lambda m, **more: m.get_ohlcv("BTCUSDT", "1h", **more).to_csv(),
    "get_ohlcv_batch": lambda m, **more: m.get_ohlcv_batch(["BTCUSDT"], "1h", **more)[
        "BTCUSDT"
    ].to_csv(),
    "plot": lambda m, **more: m.plot("BTCUSDT", "1h", **more).svg(),
    "plan": lambda m, **more: str(m.plan("BTCUSDT", "1h", **more).to_json()),
    "plans": lambda m, **more: str(m.plan(["BTCUSDT"], "1h", **more)["BTCUSDT"].to_json()),
    "get_funding_rate": lambda m, **more: m.get_funding_rate("BTCUSDT", **more).to_csv(),
    "get_open_interest": lambda m, **more: m.get_open_interest("BTCUSDT", "1h", **more).to_csv(),
    "get_long_short_ratio": lambda m, **more: m.get_long_short_ratio(
        "BTCUSDT", "1h", **more
    ).to_csv(),
}


@pytest.mark.parametrize("ask", RANGED.values(), ids=RANGED)
def test_short_and_long_names_of_arguments_are_the_same(
    ask: Ask, manager: DataManager, vendors: VendorServer
) -> None:
    start, end = DAYS
    long = ask(manager, start_date=start, end_date=end)
    asked = vendors.count()
    assert ask(manager, start=start, end=end) == long
    assert ask(manager, start=start, end_date=end) == long
    assert ask(manager, start=start, end=start) != long, "another range is another answer"
    assert vendors.count() == asked
    for both in ({"start": start, "start_date": start}, {"end": end, "end_date": end}):
        with pytest.raises(QueryError, match="are two names for the same argument"):
            ask(manager, **both)
    with pytest.raises(QueryError, match="force_refresh and refresh are two names"):
        ask(manager, start=start, end=end, refresh=True, force_refresh=True)


@pytest.mark.parametrize("name", ["get_ohlcv", "get_ohlcv_batch", "get_funding_rate"])
def test_refresh_fetches_again(name: str, manager: DataManager, vendors: VendorServer) -> None:
    asked = []
    for more in ({}, {}, {"refresh": True}, {"force_refresh": True}):
        RANGED[name](manager, start=DAYS[0], end=DAYS[1], **more)
        asked.append(vendors.count())
    assert asked[0] == asked[1] < asked[2] < asked[3]
    with pytest.raises(QueryError, match="force_refresh must be True or False"):
        RANGED[name](manager, start=DAYS[0], end=DAYS[1], refresh="false")


def test_refresh_reaches_explanations_and_fundamentals(manager: DataManager) -> None:
    start = "2020-01-02"
    far = manager.explain("AAPL", "1m", start=start).to_json()
    assert far == manager.explain("AAPL", "1m", start_date=start).to_json()
    assert far != manager.explain("AAPL", "1m").to_json()
    with pytest.raises(QueryError, match="start_date and start are two names"):
        manager.explain("AAPL", "1m", start_date=start, start=start)
    with pytest.raises(QueryError, match="force_refresh and refresh are two names"):
        manager.get_fundamentals("AAPL", refresh=True, force_refresh=True)
