"""Sound indicator functions in the shapes of public strategies: none looks ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

Bars = pd.DataFrame


def _typical(b: Bars) -> Any:
    return (b.high + b.low + b.close) / 3


def _true_range(b: Bars) -> Any:
    before = b.close.shift()
    parts = [b.high - b.low, (b.high - before).abs(), (b.low - before).abs()]
    return pd.concat(parts, axis=1).max(axis=1)


def _wilder(series: Any, period: int) -> Any:
    return series.ewm(alpha=1 / period, adjust=False, min_periods=period).mean()


def _ema(series: Any, span: int) -> Any:
    return series.ewm(span=span, adjust=False).mean()


def _wma(series: Any, period: int) -> Any:
    weights = np.arange(1.0, period + 1)
    return series.rolling(period).apply(lambda x: x @ weights / weights.sum(), raw=True)


def rsi(b: Bars) -> Any:
    change = b.close.diff()
    up, down = _wilder(change.clip(lower=0), 14), _wilder(-change.clip(upper=0), 14)
    return 100 - 100 / (1 + up / down)


def macd(b: Bars) -> Any:
    line = _ema(b.close, 12) - _ema(b.close, 26)
    signal = _ema(line, 9)
    return pd.DataFrame({"macd": line, "signal": signal, "hist": line - signal})


def bollinger(b: Bars) -> Any:
    middle, width = b.close.rolling(20).mean(), b.close.rolling(20).std()
    return pd.DataFrame({"lower": middle - 2 * width, "upper": middle + 2 * width})


def stochastic(b: Bars) -> Any:
    low, high = b.low.rolling(14).min(), b.high.rolling(14).max()
    fast = 100 * (b.close - low) / (high - low)
    return pd.DataFrame({"k": fast, "d": fast.rolling(3).mean()})


def cci(b: Bars) -> Any:
    price = _typical(b)
    spread = price.rolling(20).apply(lambda x: np.abs(x - x.mean()).mean(), raw=True)
    return (price - price.rolling(20).mean()) / (0.015 * spread)


def adx(b: Bars) -> Any:
    up, down = b.high.diff(), -b.low.diff()
    plus = _wilder(up.where((up > down) & (up > 0), 0.0), 14)
    minus = _wilder(down.where((down > up) & (down > 0), 0.0), 14)
    return _wilder(100 * (plus - minus).abs() / (plus + minus), 14)


def money_flow(b: Bars) -> Any:
    flow = _typical(b) * b.volume
    rises = _typical(b).diff() > 0
    up, down = flow.where(rises, 0.0).rolling(14).sum(), flow.where(~rises, 0.0).rolling(14).sum()
    return 100 - 100 / (1 + up / down)


def session_vwap(b: Bars) -> Any:
    day = b.index.normalize()
    paid = (_typical(b) * b.volume).groupby(day).cumsum()
    return paid / b.volume.groupby(day).cumsum()


def keltner(b: Bars) -> Any:
    middle, width = _ema(b.close, 20), 2 * _wilder(_true_range(b), 10)
    return pd.DataFrame({"lower": middle - width, "upper": middle + width})


def hull(b: Bars) -> Any:
    return _wma(2 * _wma(b.close, 8) - _wma(b.close, 16), 4)


def ichimoku(b: Bars) -> Any:
    def middle(n: int) -> Any:
        return (b.high.rolling(n).max() + b.low.rolling(n).min()) / 2

    spans = ((middle(9) + middle(26)) / 2).shift(26), middle(52).shift(26)
    return pd.DataFrame({"a": spans[0], "b": spans[1]})


def supertrend(b: Bars) -> Any:
    width = (3 * _true_range(b).rolling(10).mean()).to_numpy()
    close, middle = b.close.to_numpy(), ((b.high + b.low) / 2).to_numpy()
    line, trend = np.full(len(b), np.nan), 1
    for i in range(10, len(b)):
        floor, roof = middle[i] - width[i], middle[i] + width[i]
        if trend == 1:
            line[i] = floor if np.isnan(line[i - 1]) else max(floor, line[i - 1])
            if close[i] < line[i]:
                trend, line[i] = -1, roof
        else:
            line[i] = min(roof, line[i - 1])
            if close[i] > line[i]:
                trend, line[i] = 1, floor
    return pd.Series(line, b.index)


def parabolic(b: Bars) -> Any:
    high, low = b.high.to_numpy(), b.low.to_numpy()
    stop, top, step, up = low[0], high[0], 0.02, True
    out = np.full(len(b), np.nan)
    for i in range(1, len(b)):
        stop += step * (top - stop)
        if (up and low[i] < stop) or (not up and high[i] > stop):
            up, stop, step = not up, top, 0.02
            top = high[i] if up else low[i]
        elif (up and high[i] > top) or (not up and low[i] < top):
            top, step = (high[i] if up else low[i]), min(step + 0.02, 0.2)
        out[i] = stop
    return pd.Series(out, b.index)


def heikin_ashi(b: Bars) -> Any:
    close = (b.open + b.high + b.low + b.close) / 4
    opened = [(b.open.iloc[0] + b.close.iloc[0]) / 2]
    for value in close.to_numpy()[:-1]:
        opened.append((opened[-1] + value) / 2)
    return pd.DataFrame({"open": opened, "close": close.to_numpy()}, index=b.index)


def pivots(b: Bars) -> Any:
    day = b.index.normalize()
    daily = b.groupby(day).agg({"high": "max", "low": "min", "close": "last"}).shift()
    return pd.Series(day.map(daily.mean(axis=1)), b.index)


def daily_trend(b: Bars) -> Any:
    daily = b.close.resample("1D").last().rolling(5).mean().shift()
    return daily.reindex(b.index, method="ffill")


def ultimate(b: Bars) -> Any:
    bought = b.close - np.minimum(b.low, b.close.shift())
    span = _true_range(b)
    return sum(
        w * bought.rolling(n).sum() / span.rolling(n).sum() for n, w in ((7, 4), (14, 2), (28, 1))
    )


def kaufman(b: Bars) -> Any:
    speed = (b.close.diff(10).abs() / b.close.diff().abs().rolling(10).sum()).to_numpy()
    weight = (speed * (2 / 3 - 2 / 31) + 2 / 31) ** 2
    out, close = np.full(len(b), np.nan), b.close.to_numpy()
    for i in range(10, len(b)):
        before = close[i] if np.isnan(out[i - 1]) else out[i - 1]
        out[i] = before + weight[i] * (close[i] - before)
    return pd.Series(out, b.index)


def last_swing(b: Bars) -> Any:
    """Return the last high that two lower highs on each side have confirmed."""
    peak = b.high.where(b.high == b.high.rolling(5, center=True).max())
    return peak.shift(2).ffill()


def williams(b: Bars) -> Any:
    high, low = b.high.rolling(14).max(), b.low.rolling(14).min()
    return -100 * (high - b.close) / (high - low)


def donchian(b: Bars) -> Any:
    top, low = b.high.rolling(20).max().shift(), b.low.rolling(20).min().shift()
    return pd.DataFrame({"top": top, "low": low, "broken": b.close > top})


SOUND: dict[str, Callable[[Bars], Any]] = {
    "sma": lambda b: b.close.rolling(50).mean(),
    "ema": lambda b: _ema(b.close, 21),
    "wma": lambda b: _wma(b.close, 10),
    "dema": lambda b: 2 * _ema(b.close, 10) - _ema(_ema(b.close, 10), 10),
    "trix": lambda b: _ema(_ema(_ema(b.close, 9), 9), 9).pct_change() * 100,
    "rsi": rsi,
    "macd": macd,
    "bollinger": bollinger,
    "stochastic": stochastic,
    "williams": williams,
    "cci": cci,
    "atr": lambda b: _wilder(_true_range(b), 14),
    "adx": adx,
    "obv": lambda b: (np.sign(b.close.diff()).fillna(0) * b.volume).cumsum(),
    "money_flow": money_flow,
    "session_vwap": session_vwap,
    "keltner": keltner,
    "donchian": donchian,
    "hull": hull,
    "ichimoku": ichimoku,
    "supertrend": supertrend,
    "parabolic": parabolic,
    "heikin_ashi": heikin_ashi,
    "pivots": pivots,
    "daily_trend": daily_trend,
    "ultimate": ultimate,
    "kaufman": kaufman,
    "last_swing": last_swing,
    "aroon": lambda b: b.high.rolling(26).apply(np.argmax, raw=True) / 25 * 100,
    "zscore": lambda b: (b.close - b.close.rolling(30).mean()) / b.close.rolling(30).std(),
    "volatility": lambda b: np.log(b.close).diff().rolling(24).std() * np.sqrt(24 * 365),
    "drawdown": lambda b: b.close / b.close.cummax() - 1,
    "correlation": lambda b: b.close.pct_change().rolling(40).corr(b.volume.pct_change()),
    "force": lambda b: _ema(b.close.diff() * b.volume, 13),
    "expanding": lambda b: (b.close - b.close.expanding().mean()) / b.close.expanding().std(),
    "crossed": lambda b: (_ema(b.close, 10) > _ema(b.close, 30)) & (b.volume > b.volume.rolling(20).mean()),
    "labels": lambda b: pd.Series(np.where(b.close > b.open, "up", "down"), b.index),
    "clock": lambda b: pd.DataFrame({"hour": b.index.hour, "day": b.index.day_of_week}, index=b.index),
}  # fmt: skip
