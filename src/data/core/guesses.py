"""Names that users of other tools try, each with the call of this library that does the same.

A guessed method or argument still raises the usual ``AttributeError`` or ``TypeError``; its message
adds the right call, with the values of the caller as far as they can be read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from inspect import isfunction
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    import ast
    from inspect import Parameter

_Class = TypeVar("_Class", bound=type)
_Method = Callable[..., Any]


class _Call(NamedTuple):
    """A call of the data manager.

    Attributes:
        method: Name of the method.
        order: Own names of the guessed function's arguments, in its order.
        more: Own arguments that the guessed name implies, as they are written.
    """

    method: str
    order: str
    more: Mapping[str, str] = MappingProxyType({})


_SERIES = "symbol timeframe start end"
_OF_BARS = _Call("get_ohlcv", _SERIES)
_STATEMENTS = _Call("get_fundamentals", "symbol", {"data_type": "'statements'"})
# Maps each call to the names by which other tools and habits know it.
_GUESSED: tuple[tuple[_Call, str], ...] = (
    (
        _OF_BARS,
        "history get_history price_history get_price_history historical get_historical "
        "get_historical_data historical_data get_historical_prices get_bars bars get_barset "
        "get_stock_bars get_crypto_bars get_ohlc ohlc ohlcv get_candles candles get_candlesticks "
        "get_prices prices get_data load_data fetch_data fetch_bars fetch get_klines klines "
        "get_historical_klines futures_klines get_aggs list_aggs aggs time_series get_daily "
        "get_intraday get_daily_adjusted get_market_data read read_bars load_bars get_stock_data get "
        "load",
    ),
    (_Call("get_ohlcv", "symbol start end"), "download get_data_yahoo get_data_stooq pull"),
    (_Call("get_ohlcv", "symbol timeframe start bars"), "fetch_ohlcv fetchOHLCV fetch_ohlc"),
    (_Call("get_ohlcv", "symbol provider start end"), "DataReader"),
    (
        _Call("get_ohlcv_batch", "symbols timeframe start end"),
        "get_batch batch get_many get_multiple fetch_many download_many get_bars_batch "
        "get_ohlcv_many get_ohlcv_multi batch_ohlcv bulk_download",
    ),
    (
        _Call("get_quote", "symbol"),
        "get_price price get_last_price last_price get_current_price current_price last "
        "fetch_ticker fetchTicker ticker get_ticker get_latest_price get_latest_quote "
        "get_latest_trade get_latest_bar get_stock_latest_quote get_stock_latest_trade quote "
        "fast_info get_quote_yahoo fetch_price",
    ),
    (_Call("get_quotes", "symbols"), "fetch_tickers fetchTickers get_latest_quotes quotes"),
    (
        _Call("get_actions", "symbol start end"),
        "get_dividends dividends get_splits splits actions corporate_actions "
        "get_corporate_actions fetch_dividends",
    ),
    (
        _Call("get_fundamentals", "symbol"),
        "info get_info fundamentals get_company_info get_company_overview overview profile "
        "get_profile company_profile key_metrics fetch_fundamentals",
    ),
    (
        _STATEMENTS,
        "financials get_financials income_stmt get_income_stmt income_statement balance_sheet "
        "get_balance_sheet cashflow get_cashflow cash_flow",
    ),
    (_Call("get_fundamentals", "symbol", {"data_type": "'ratios'"}), "ratios get_ratios"),
    (
        _Call("get_funding_rate", "symbol start"),
        "fetch_funding_rate fetch_funding_rate_history fetchFundingRateHistory funding_rate "
        "funding_rates get_funding_rates",
    ),
    (
        _Call("get_open_interest", "symbol period start"),
        "fetch_open_interest fetch_open_interest_history open_interest",
    ),
    (_Call("get_long_short_ratio", "symbol period start"), "fetch_long_short_ratio_history"),
    (
        _Call("live_feed", "symbol timeframe"),
        "stream subscribe subscribe_bars watch watch_ohlcv watchOHLCV live get_stream "
        "live_stream stream_bars",
    ),
    (
        _Call("search", "text"),
        "search_symbols symbol_search find_symbol find_symbols lookup list_symbols get_symbols "
        "load_markets fetch_markets list_assets get_all_assets",
    ),
    (_Call("coverage", "symbol timeframe"), "get_coverage available get_available_range"),
    (_Call("gaps", _SERIES), "get_gaps find_gaps missing_bars get_missing missing"),
    (_Call("sessions", "symbol start end"), "get_sessions calendar get_calendar trading_days"),
    (_Call("validate", _SERIES), "check check_quality quality validate_ohlcv"),
    (_Call("validate", _SERIES, {"level": "'corroborated'"}), "verify compare"),
    (_Call("features", "symbols timeframe recipes"), "get_features indicators get_indicators"),
    (_Call("plan", _SERIES), "get_plan dry_run estimate"),
    (_Call("explain", _SERIES), "get_providers providers which_provider route"),
    (_Call("get_cache_stats", ""), "cache_stats get_stats stats cache_info cache_size"),
    (_Call("clear_cache", "symbol timeframe"), "clear delete delete_cache invalidate purge_cache"),
    (_Call("metrics", ""), "get_metrics"),
    (_Call("plot", _SERIES), "chart get_chart draw graph"),
)
GUESSES: Mapping[str, _Call] = MappingProxyType(
    {name: call for call, names in _GUESSED for name in names.split()}
)
# Maps each command, with the arguments that its guessed names imply, to the methods whose guessed
# names it answers, and to names that only a command line has.
_COMMANDS = {
    "fetch": "get_ohlcv get_ohlcv_batch",
    "fetch --csv {symbol}.csv": "export save dump to_csv",
    "fetch --refresh": "refresh refetch",
    "features": "features",
    "quote": "get_quote get_quotes",
    "search": "search",
    "plan": "plan explain",
    "gaps": "coverage gaps",
    "sessions": "sessions",
    "fundamentals": "get_fundamentals",
    "fundamentals --type statements": "'statements'",
    "fundamentals --type ratios": "'ratios'",
    "fundamentals --type actions": "get_actions",
    "fundamentals --type funding": "get_funding_rate",
    "sync": "update update_all upgrade",
    "stream": "live_feed",
    "cache list": "list ls list_series",
    "cache info": "show",
    "cache stats": "get_cache_stats",
    "cache clear": "clear_cache rm remove",
    "validate": "validate",
    "verify": "verify compare diff",
    "providers": "vendors sources",
    "doctor": "status health state diagnose config configure configuration settings env",
    "plot": "plot",
    "serve": "server web dashboard board ui",
    "docs handing-on": "backtest backtesting",
    "--version": "version",
    "--help": "help",
}
_COMMAND_OF = {name: command for command, names in _COMMANDS.items() for name in names.split()}
# Maps guessed names of commands to the right command and the arguments that the name implies.
COMMAND_GUESSES: Mapping[str, str] = MappingProxyType(
    {
        name.lower(): _COMMAND_OF[kind]
        for name, call in GUESSES.items()
        if (kind := call.more.get("data_type", call.method)) in _COMMAND_OF
    }
    | _COMMAND_OF
)
# Maps guessed options of the whole program to their names here.
PROGRAM_OPTIONS = {"-V": "--version", "-version": "--version", "-help": "--help"}
_FILES = {".csv": ("--csv", "{}"), ".csv.gz": ("--csv", "{}"), ".parquet": ("--parquet", "{}")}
_FORMATS = {"csv": ("--csv", "-"), "json": ("--json",)}
# Maps guessed options for an output file or its format to the options for each ending or format.
OUTPUTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys("o out output file save outfile output_file".split(), _FILES | _FORMATS),
    **dict.fromkeys(("format", "output_format", "fmt"), _FORMATS),
}
_NO_KEYS = "keys are read from the environment; `onetape docs keys` lists their names"
# Maps names that no method stands for to a sentence.
SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("update", "sync", "populate", "update_all", "refresh", "backfill"),
            "the commands `onetape sync` and `onetape populate` update stored bars; one series "
            "is up to date after get_ohlcv('AAPL', '1d', start='2024-01-01')",
        ),
        **dict.fromkeys(
            ("list", "ls", "symbols", "list_series", "list_cached", "cached"),
            "cache.list_symbols() lists the stored symbols, and `onetape cache list` the stored "
            "series; search('apple') finds others",
        ),
        **dict.fromkeys(
            ("get_universe", "universe", "get_members", "members", "constituents"),
            "use universes.members('NAME') for the symbols of a recorded universe, and "
            "get_ohlcv_batch(universe='NAME', timeframe='1d') for their bars",
        ),
        **dict.fromkeys(
            ("resample", "aggregate", "to_timeframe"),
            "request the bars of the timeframe itself: get_ohlcv('AAPL', '1h')",
        ),
        **dict.fromkeys(("set_api_key", "api_key", "login", "set_key", "authenticate"), _NO_KEYS),
        **dict.fromkeys(
            ("get_news", "news", "options", "option_chain", "get_option_chain", "fetch_order_book"),
            "onetape serves bars, quotes, corporate actions, fundamentals and futures data, but "
            "no news, options or order books",
        ),
        **dict.fromkeys(
            ("to_polars", "to_arrow", "describe", "fingerprint"),
            "it is a function of the package that takes a frame: from onetape import to_polars, "
            "to_arrow, describe, fingerprint",
        ),
    }
)
_YFINANCE = "yfinance's names are in onetape.yf: from onetape import yf; "
_ASYNC = "coroutines are in onetape.aio: from onetape.aio import AsyncDataManager"
_THE_MANAGER = "use onetape.get_data_manager(), which returns the data manager of the process"
# The same for names of the package.
PACKAGE_SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        **SENTENCES,
        "Ticker": _YFINANCE + "yf.Ticker('AAPL')",
        "Tickers": _YFINANCE + "yf.Tickers('AAPL MSFT')",
        **dict.fromkeys(("AsyncDataManager", "AsyncClient", "async_client"), _ASYNC),
        **dict.fromkeys(
            (
                "Client OneTape Onetape Manager DataClient DataLoader MarketData Market Session "
                "DataFeed connect client manager get_manager get_client DataProvider obb "
                "StockHistoricalDataClient CryptoHistoricalDataClient"
            ).split(),
            _THE_MANAGER,
        ),
    }
)
_LEFT_OUT = ""
# Accepted names of arguments that also have a short name.
_LONG_NAMES = ("start_date", "end_date", "force_refresh")
# Maps other tools' arguments to their names here; an empty name means that the argument is omitted.
ARGUMENTS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            "interval freq frequency granularity resolution bar_size barSizeSetting tf time_frame "
            "candle_type kline_interval timespan bar interval_ timeframes".split(),
            "timeframe",
        ),
        **dict.fromkeys(
            "ticker tickers symbol symbol_or_symbols name code instrument asset pair".split(),
            "symbol",
        ),
        **dict.fromkeys(("query", "q", "keyword", "keywords"), "text"),
        **dict.fromkeys("limit n count last num_bars n_bars size length lookback".split(), "bars"),
        **dict.fromkeys(
            "since from_ from_date begin start_time startTime start_dt start_date date_from "
            "from_time from".split(),
            "start",
        ),
        **dict.fromkeys(
            "until to to_ to_date end_time endTime end_dt end_date date_to till".split(), "end"
        ),
        **dict.fromkeys("source vendor data_source exchange provider_name".split(), "provider"),
        **dict.fromkeys(
            "auto_adjust back_adjust adjust adjusted adjust_prices".split(), "adjustment"
        ),
        **dict.fromkeys("range lookback_period duration".split(), "period"),
        **dict.fromkeys("prepost extended_hours include_extended".split(), "session"),
        **dict.fromkeys(
            "force reload force_update force_refresh update use_cache cache no_cache".split(),
            "refresh",
        ),
        **dict.fromkeys("cache_only only_cache from_cache".split(), "offline"),
        **dict.fromkeys("asof as_of at".split(), "closed_by"),
        **dict.fromkeys(("include_partial", "partial"), "include_forming"),
        **dict.fromkeys(("raise_errors", "raise_on_error"), "strict"),
        **dict.fromkeys(("fields", "cols"), "columns"),
        **dict.fromkeys(
            "threads group_by proxy rounding keepna ignore_tz multi_level_index repair tz "
            "timezone api_key apikey key token feed sort page params as_df pandas output_format "
            "actions multiplier version".split(),
            _LEFT_OUT,
        ),
    }
)
# Arguments that nothing here needs, which options of a command line may have too, with the reason.
UNNEEDED = {
    **dict.fromkeys(("tz", "timezone"), "times are naive UTC"),
    **dict.fromkeys(("api_key", "apikey", "key", "token"), _NO_KEYS),
}
_REASONS = {
    **UNNEEDED,
    "ignore_tz": "times are naive UTC",
    "version": "a version needs exactly one symbol, in get_ohlcv or plot",
}
# Values of the wrong type, with the call that they are meant for: method (any, if empty), argument
# and type. The call is the method's own if it is None.
_MISPLACED: tuple[tuple[str, str, Any, _Call | None], ...] = (
    ("features", "start", list | tuple, _Call("features", "symbols timeframe recipes start end")),
    ("get_quote", "max_age", str, _Call("get_quotes", "symbols")),
    ("get_ohlcv", "symbol", list | tuple, None),
    *(("", name, int | float, None) for name in ("start", "end", "start_date", "end_date")),
)
# Maps each method that passes on options to the method that has them.
_MORE_OPTIONS = {"features": "get_ohlcv_batch"}
_FOLDERS = ("cache", "cache_path", "path", "folder", "directory", "cache_folder", "root")
# Values of required arguments that the caller did not give.
_EXAMPLES = {
    "symbol": "'AAPL'",
    "symbols": "['AAPL', 'MSFT']",
    "timeframe": "'1d'",
    "text": "'apple'",
    "period": "'1h'",
    "start": "'2024-01-01'",
    "end": "'2024-12-31'",
}
_LONGEST = 80
# A number of at least this size is a time in milliseconds, not in seconds.
_FIRST_MS, _END_MS = 10**11, 10**14
_MISSING = object()


class _Value(NamedTuple):
    """A value of the caller: its text in the source code, and the value itself if it is known."""

    text: str
    value: Any = _MISSING


def answering_guesses(cls: _Class) -> _Class:
    """Make the methods of a class name the right arguments if they are called with guessed ones.

    Signatures and docstrings stay as they are; a call that is right takes one more frame.
    """
    for name, method in list(vars(cls).items()):
        if isfunction(method) and (not name.startswith("_") or name == "__init__"):
            setattr(cls, name, _answering(cls, method))
    return cls


def _answering(cls: type, method: _Method) -> _Method:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        """Call the method, and complete the error if the arguments do not fit."""
        try:
            return method(*args, **kwargs)
        except BaseException as error:
            below = error.__traceback__ and error.__traceback__.tb_next
            if below is not None:
                error.__traceback__ = below  # tracebacks do not show this frame
                if isinstance(error, ValueError):
                    _add_right_call(cls, method, args[1:], kwargs, error)
            elif isinstance(error, TypeError):  # the arguments do not fit
                text = _right_arguments(cls, method, args[1:], kwargs)
                if text:
                    # Since 3.14 Python adds a name like the given one, which may be of another meaning.
                    said = str(error).partition(". Did you mean ")[0]
                    raise TypeError(f"{said}{text}") from None
            raise

    return call


def _right_arguments(
    cls: type, method: _Method, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    """Return the end of the message for a call whose arguments do not fit; empty if it is unknown."""
    own = _parameters(method)
    first = [name for name, each in own.items() if each.kind is not each.KEYWORD_ONLY]
    given = {name: _Value(_shown(value), value) for name, value in zip(first, args, strict=False)}
    if len(args) > len(first) or given.keys() & kwargs.keys():
        return ""
    given |= {name: _Value(_shown(value), value) for name, value in kwargs.items()}
    strange = [name for name in kwargs if name not in own]
    if method.__name__ == "__init__":
        folder = next((given[name].text for name in strange if name in _FOLDERS), "")
        return f"; use {cls.__name__}({folder})" if folder else ""
    reasons = [_REASONS[name] for name in strange if name in _REASONS]
    if strange and not any(_own_name(name, own) is not None for name in strange):
        return f"; its arguments are {', '.join(own)}"
    call = _call_text(cls, _Call(method.__name__, ""), given)
    return "".join(f"; {text}" for text in dict.fromkeys(reasons)) + f"; use {call}"


def _add_right_call(
    cls: type, method: _Method, args: tuple[Any, ...], kwargs: dict[str, Any], error: Any
) -> None:
    """Replace the hint of an error if a value was meant for another call or in another form."""
    given = dict(zip(_parameters(method), args, strict=False)) | kwargs
    for name, argument, kind, call in _MISPLACED:
        value = given.get(argument)
        if isinstance(value, int | float) and not 0 <= value < _END_MS:
            continue
        if name in ("", method.__name__) and isinstance(value, kind) and hasattr(error, "hint"):
            order = call.order.split() if call else list(_parameters(method))
            values = [list(args)] if order == ["symbols"] else args
            named = dict(zip(order, values, strict=False)) | kwargs
            texts = {key: _Value(_shown(each), each) for key, each in named.items()}
            text = _call_text(cls, call or _Call(method.__name__, ""), texts)
            error.args = (f"{argument} of {method.__name__} is {value!r:.80}",)
            error.hint = f"use {text}"
            return


def refuse_attribute(owner: Any, name: str, manager: type, prefix: str = "") -> None:
    """Reject a guessed attribute of a data manager; return if the name is not a guess.

    Args:
        owner: Object or class whose attribute was requested.
        name: Name of the attribute.
        manager: Class of the data manager.
        prefix: Text in front of the names of methods, such as ``a`` for coroutines.

    Raises:
        AttributeError: The name is a guess; the message names the right call.
    """
    call, sentence = GUESSES.get(name), SENTENCES.get(name)
    if prefix and name in _methods(manager):
        call = _own_call(manager, name)
    if call is None and sentence is None:
        return
    what = f"{type(owner).__name__!r} object has no attribute {name!r}"
    if call is not None and not hasattr(type(owner), f"{prefix}{call.method}"):
        sentence = f"it does not wait: use the method {call.method} of the attribute manager"
    elif call is not None:
        written = _written_call(_caller())
        before = f"{written.target}." if written and written.target else ""
        if prefix:
            before = f"await {before}{prefix}"
        sentence = (
            f"use {before}{_call_text(manager, call, written.given(call) if written else {})}"
        )
    raise AttributeError(f"{what}; {sentence}", name=name)


def refuse_package_name(package: str, name: str, public: tuple[str, ...], manager: type) -> None:
    """Reject a name that the package lacks.

    Args:
        package: Name of the package.
        name: Name that was requested.
        public: Names that the package has.
        manager: Class of the data manager.

    Raises:
        AttributeError: Always, except in ``from onetape import ...``; the message names the right
            call, or a similar name.
        ImportError: The name is a guess, and a ``from`` import requested it.
    """
    what = f"module {package!r} has no attribute {name!r}"
    call, sentence = GUESSES.get(name), PACKAGE_SENTENCES.get(name)
    if name in _methods(manager):
        call = _own_call(manager, name)
    if name.startswith("_") or (call is None and sentence is None):
        from .model.words.suggestion import nearest

        near = "" if name.startswith("_") else nearest(name, public)
        raise AttributeError(f"{what}; did you mean {near!r}?" if near else what, name=name)
    frame = _caller()
    is_import = _operation(frame) == "IMPORT_FROM"
    if call is not None:
        written = None if is_import else _written_call(frame)
        text = _call_text(manager, call, written.given(call) if written else {})
        root = package if "get_data_manager" in public else "onetape"
        sentence = f"use {root}.get_data_manager().{text}"
    if is_import:
        raise ImportError(f"{what}; {sentence}", name=package)
    raise AttributeError(f"{what}; {sentence}", name=name)


def _methods(manager: type) -> dict[str, _Method]:
    methods = vars(manager).items()
    return {name: each for name, each in methods if isfunction(each) and not name.startswith("_")}


def _own_call(manager: type, name: str) -> _Call:
    """Return the call of a method by its own name."""
    return _Call(name, " ".join(_parameters(_methods(manager)[name])))


def _parameters(method: _Method) -> dict[str, Parameter]:
    """Return the parameters of a method that can be passed by name, without ``self``."""
    from inspect import Parameter, signature

    own = list(signature(method).parameters.items())[1:]
    return {name: each for name, each in own if each.kind is not Parameter.VAR_KEYWORD}


# --- the values of the caller ----------------------------------------------------------------


class _Written(NamedTuple):
    """A call in the caller's source code.

    Attributes:
        target: Text of the object whose method is called; empty if it is long.
        args, kwargs: Arguments.
    """

    target: str
    args: list[_Value]
    kwargs: dict[str, _Value]

    def given(self, call: _Call) -> dict[str, _Value]:
        """Return the arguments by name, where positions have the meaning of the guessed function."""
        return dict(zip(call.order.split(), self.args, strict=False)) | self.kwargs


def _caller() -> FrameType:
    """Return the innermost frame outside this library."""
    from .model.words.caller import is_ours

    frame = sys._getframe(1)
    while frame.f_back is not None and is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return frame


def _operation(frame: FrameType) -> str:
    """Return the name of the instruction that a frame is executing."""
    import dis

    return dis.opname[frame.f_code.co_code[frame.f_lasti]]


def _written_call(frame: FrameType) -> _Written | None:
    """Return the call whose function is the attribute that a frame is reading, if its source is known."""
    import ast
    import linecache

    if _operation(frame) not in ("LOAD_ATTR", "LOAD_METHOD"):
        return None
    place = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if (node.func.end_lineno, node.func.end_col_offset) == (place[1], place[3]):
            named = {each.arg: _value(each.value) for each in node.keywords if each.arg}
            args = [_value(arg) for arg in node.args if not isinstance(arg, ast.Starred)]
            target = ast.unparse(node.func.value)
            return _Written(target if len(target) < _LONGEST else "", args, named)
    return None


def _value(node: ast.expr) -> _Value:
    import ast

    text = ast.unparse(node)
    try:
        return _Value(_shortened(text), ast.literal_eval(node))
    except (ValueError, TypeError):
        return _Value(_shortened(text))


def _shown(value: Any) -> str:
    from .model.display.texts import written  # only a call that failed needs it

    return _shortened(written(value))


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


# --- the right call ---------------------------------------------------------------------------


def _own_name(name: str, own: Mapping[str, Any]) -> str | None:
    """Return an argument's name here; None if it is unknown, and empty if it is left out."""
    mine = name if name in own and name not in _LONG_NAMES else ARGUMENTS.get(name)
    if mine is None:
        from .model.words.suggestion import nearest

        return nearest(name, own) or None
    if mine in ("symbol", "symbols"):
        mine = "symbol" if "symbol" in own else "symbols"
    return mine if mine in own else _LEFT_OUT


def _call_text(manager: type, call: _Call, given: Mapping[str, _Value]) -> str:
    """Return the right call as source code, with the values of the caller."""
    symbols = next((each for name, each in given.items() if _is_symbol(name)), None)
    if call.method == "get_ohlcv" and symbols is not None and _is_several(symbols):
        call = call._replace(method="get_ohlcv_batch")
    own = _parameters(_methods(manager)[call.method])
    own = _parameters(_methods(manager)[_MORE_OPTIONS.get(call.method, call.method)]) | own
    texts = dict(call.more)
    for name, value in given.items():
        mine = _own_name(name, own)
        if mine and value.value is not None and (text := _converted(name, mine, value, given)):
            texts.setdefault(mine, text)
    if "start" in texts:
        texts.pop("bars", None)
    required = [name for name, each in own.items() if each.default is each.empty]
    if call.method == "get_ohlcv_batch":
        required = ["symbols", "timeframe"]
    first = [texts.get(name, _EXAMPLES.get(name, "...")) for name in required]
    others = [f"{name}={texts[name]}" for name in own if name in texts and name not in required]
    if not given and "start" in own and "symbol" in required and "start" not in required:
        others.append(f"start={_EXAMPLES['start']}")
    return f"{call.method}({', '.join([*first, *others])})"


def _is_symbol(name: str) -> bool:
    return ARGUMENTS.get(name, name) in ("symbol", "symbols")


def _is_several(symbols: _Value) -> bool:
    """Return whether a value names several symbols, such as a list or ``"AAPL MSFT"``."""
    if isinstance(symbols.value, str):
        return len(re.split(r"[\s,]+", symbols.value.strip())) > 1
    return isinstance(symbols.value, list | tuple | set) or symbols.text[:1] in "[("


def _converted(name: str, mine: str, value: _Value, given: Mapping[str, _Value]) -> str:
    """Return a value of another tool's argument as source code for ours; empty if ours is not needed."""
    known = value.value
    if mine == "symbols" and isinstance(known, str):
        return repr(re.split(r"[\s,]+", known.strip()))
    if mine == "timeframe":
        return _timeframe_text(name, value, given)
    if mine in ("start", "end") and isinstance(known, int | float) and 0 <= known < _END_MS:
        seconds = known / 1000 if known >= _FIRST_MS else known
        return repr(f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}")
    if mine == "recipes":
        return re.sub(r"(?<=[a-z])_(?=\d)", ":", value.text)
    if name == mine:
        return value.text
    if mine == "adjustment":
        by_switch = ("split", "raw") if name == "adjusted" else ("all", "split")
        return repr(known) if known in ("raw", "split", "all") else repr(by_switch[known is False])
    if mine == "session":
        return "" if known is False else "'extended'"
    if name in ("use_cache", "cache"):
        return "True" if known is False else ""
    return value.text


def switched(name: str, mine: str) -> str:
    """Return the value of our argument that another tool's switch means; empty if it is not a switch."""
    if mine not in ("adjustment", "session") or name == mine:
        return ""
    return _converted(name, mine, _Value("True", True), {}).strip("'")


def _timeframe_text(name: str, value: _Value, given: Mapping[str, _Value]) -> str:
    """Return a timeframe as source code, spelled as here if other tools' spelling is not accepted."""
    from ..errors import QueryError
    from .model.time.timeframe import Timeframe, meant_timeframe

    if not isinstance(value.value, str | int):
        return value.text
    count = given["multiplier"].value if name == "timespan" and "multiplier" in given else ""
    text = f"{'' if count is _MISSING else count}{value.value}"
    try:
        timeframe = Timeframe.parse(text)
        return repr(timeframe.label if count else text)
    except QueryError:
        return repr(meant_timeframe(text) or text)
