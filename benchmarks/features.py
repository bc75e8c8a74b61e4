"""Features of many symbols, compared with pandas for each symbol, and with bare libraries on arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from unittest.mock import patch

import numpy as np
import pandas as pd
import polars as pl
import talib

from onetape.data.core.cache.store import BarStore
from onetape.data.core.clock import ManualClock
from onetape.data.core.model.identity.kind import Basis
from onetape.data.core.model.time.instant import DAY_MS, MINUTE_MS, year_start
from onetape.data.core.model.time.span import Span
from onetape.data.data_manager import DataManager
from onetape.data.research.sources.frame_store import FrameStore

from .harness import Figure, Report, Row, race, sized
from .stage import COIN, FETCHED, YEAR, _Unsynced, commit, crowd_stage

_SYMBOLS, _COINS, _ROUNDS = sized(200, 500), sized(2, 20), sized(3, 5)
_NOTE = (
    "Five years of daily bars of 200 shares (500 with `--large`) and 20 recipes, from the cache to "
    "one long frame, in milliseconds. The other columns show how many times as long other ways take "
    "in the same round: *pandas* with the usual code for each symbol, and *bare*, TA-Lib and Polars on "
    "the arrays of each frame. Values of ours come from blocks, so they include bars since 2014.\n\n"
    "*kept*: a year of minutes of 2 coins (20 with `--large`) and the same recipes with `store=True`, "
    "as a fraction of the first call: the same range with one more bar for each coin."
)
_RECIPES = (
    "sma:20", "sma:50", "ema:20", "ema:50", "rsi:14", "macd:12,26,9", "bbands:20,2", "atr:14",
    "vol:20", "zscore:20", "ret:1", "ret:5", "logret:1", "donchian:20", "willr:14", "stoch:14,3",
    "cci:20", "mfi:14", "volume:20", "dow",
)  # fmt: skip
_ASKED = ("1d", "2019-01-01", "2023-12-29")
_BARE = ("high", "low", "close", "volume")


def measure() -> Report:
    """Race the ways to compute features of many shares, and ask again for kept ones."""
    with crowd_stage(_SYMBOLS, span=Span(year_start(2012), YEAR.end)) as (manager, symbols):

        def read() -> Mapping[str, pd.DataFrame]:
            return manager.get_ohlcv_batch(symbols, *_ASKED, offline=True)

        results = race(
            {
                "features": lambda: manager.features(symbols, *_ASKED, _RECIPES, offline=True),
                "pandas": lambda: _joined({s: _by_pandas(f) for s, f in read().items()}),
                "bare": lambda: _joined({s: _bare(f) for s, f in read().items()}),
            },
            _ROUNDS,
        )
    ours = results["features"]
    figures = {"ms": Figure.of([value / 1000 for value in ours])}
    for name in ("pandas", "bare"):
        pairs = zip(results[name], ours, strict=True)
        figures[name] = Figure.of([other / own for other, own in pairs])
    rows = [
        Row("`features`", figures, "pandas >= 5, bare >= 0.33"),
        Row("`store=True`", {"kept": Figure.of([_again() for _ in range(_ROUNDS)])}, "<= 0.05"),
    ]
    return Report("Features", _NOTE, rows, more=("pandas", "bare"), less=("kept",))


def _joined(columns: Mapping[str, Mapping[str, object]]) -> pd.DataFrame:
    return pd.concat({symbol: pd.DataFrame(own) for symbol, own in columns.items()})


def _by_pandas(frame: pd.DataFrame) -> dict[str, object]:
    """Return the recipes as they are usually written with pandas."""
    high, low, close, volume = (frame[name] for name in _BARE)
    change, before, window = close.diff(), close.shift(), close.rolling(20)
    gain = change.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
    loss = (-change).clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
    line = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
    signal = line.ewm(span=9, adjust=False).mean()
    middle, width = window.mean(), 2 * window.std(ddof=0)
    ranges = pd.concat([high, before], axis=1).max(axis=1) - pd.concat([low, before], axis=1).min(
        axis=1
    )
    returns, typical = np.log(close).diff(), (high + low + close) / 3
    lowest, highest = low.rolling(14).min(), high.rolling(14).max()
    place = 100 * (close - lowest) / (highest - lowest)
    flow, up = typical * volume, typical.diff() > 0
    rising, falling = flow.where(up, 0).rolling(14).sum(), flow.where(~up, 0).rolling(14).sum()
    spread = typical.rolling(20).apply(lambda own: np.abs(own - own.mean()).mean(), raw=True)
    return {
        "sma:20": middle, "sma:50": close.rolling(50).mean(),
        "ema:20": close.ewm(span=20, adjust=False).mean(), "ema:50": close.ewm(span=50, adjust=False).mean(),
        "rsi:14": 100 * gain / (gain + loss), "macd": line, "signal": signal, "histogram": line - signal,
        "upper": middle + width, "middle": middle, "lower": middle - width,
        "atr:14": ranges.ewm(alpha=1 / 14, adjust=False).mean(), "vol:20": returns.rolling(20).std(),
        "zscore:20": (close - middle) / window.std(), "ret:1": close.pct_change(),
        "ret:5": close.pct_change(5), "logret:1": returns, "top": high.rolling(20).max(),
        "bottom": low.rolling(20).min(), "willr:14": place - 100, "k": place, "d": place.rolling(3).mean(),
        "cci:20": (typical - typical.rolling(20).mean()) / (0.015 * spread),
        "mfi:14": 100 * rising / (rising + falling), "volume:20": volume.rolling(20).mean(),
        "dow": frame.index.dayofweek,  # type: ignore[attr-defined]
    }  # fmt: skip


def _bare(frame: pd.DataFrame) -> dict[str, object]:
    """Return the recipes by TA-Lib and Polars on the arrays of a frame."""
    high, low, close, volume = (np.ascontiguousarray(frame[name]) for name in _BARE)
    line, signal, histogram = talib.MACD(close)
    upper, middle, lower = talib.BBANDS(close, 20)
    fast, slow = talib.STOCHF(high, low, close, 14, 3)
    series, returns = pl.Series(close), np.diff(np.log(close), prepend=np.nan)
    return {
        "timestamp": frame.index, "sma:20": talib.SMA(close, 20), "sma:50": talib.SMA(close, 50),
        "ema:20": talib.EMA(close, 20), "ema:50": talib.EMA(close, 50), "rsi:14": talib.RSI(close),
        "macd": line, "signal": signal, "histogram": histogram, "upper": upper, "middle": middle,
        "lower": lower, "atr:14": talib.ATR(high, low, close),
        "vol:20": pl.Series(returns).rolling_std(20).to_numpy(),
        "zscore:20": ((series - series.rolling_mean(20)) / series.rolling_std(20)).to_numpy(),
        "ret:1": talib.ROCP(close, 1), "ret:5": talib.ROCP(close, 5), "logret:1": returns,
        "top": talib.MAX(high, 20), "bottom": talib.MIN(low, 20), "willr:14": talib.WILLR(high, low, close),
        "k": fast, "d": slow, "cci:20": talib.CCI(high, low, close, 20),
        "mfi:14": talib.MFI(high, low, close, volume), "volume:20": talib.SMA(volume, 20),
        "dow": frame.index.dayofweek,  # type: ignore[attr-defined]
    }  # fmt: skip


def _again() -> float:
    """Return the time of a second call with one more bar for each coin, as a fraction of the first."""
    with _minutes() as (manager, symbols, folder):
        store, seconds = FrameStore(folder, 20 << 30), list[float]()
        for end in ("2023-12-31T23:00", "2023-12-31T23:01"):
            started = perf_counter()
            manager.features(symbols, "1m", "2023-01-01", end, _RECIPES, store=store, offline=True)
            seconds.append(perf_counter() - started)
    return seconds[1] / seconds[0]


@contextmanager
def _minutes() -> Iterator[tuple[DataManager, Sequence[str], Path]]:
    """Yield a manager on a cache with a year of minutes of some coins, and a folder for features."""
    symbols = [f"{chr(65 + n)}{chr(66 + n)}CUSDT" for n in range(_COINS)]
    span = Span(YEAR.start - 30 * DAY_MS, YEAR.end)
    with TemporaryDirectory() as folder, patch.dict("os.environ", ONETAPE_STATE_DIR=folder):
        manager = DataManager(Path(folder) / "cache", clock=ManualClock(FETCHED))
        store = BarStore(manager.cache.store.root, _Unsynced())
        stamps = np.arange(span.start, span.end, MINUTE_MS, dtype=np.int64)
        for symbol in symbols:
            commit(store, symbol, "1m", stamps, COIN, Basis("raw"), span)
        yield manager, symbols, Path(folder) / "features"
