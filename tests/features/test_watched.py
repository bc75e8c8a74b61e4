"""Indicators against pandas, exact fractions and a published example."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from src.data.errors import QueryError
from src.data.features.recipes import parse_watched
from src.data.features.rolling import smoothed
from tests.core.prices.judgement.market import load, needs_market

from . import tapes

_NAMES = ("open", "high", "low", "close", "volume")


def columns(closes: list[float] | np.ndarray, volume: float = 1.0) -> dict[str, np.ndarray]:
    values = np.asarray(closes, dtype=np.float64)
    return dict.fromkeys(_NAMES, values) | {"volume": np.full(len(values), volume)}


def walk(count: int, seed: int = 3) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(0, 0.02, count)
    return np.round(100 * np.exp(np.cumsum(steps)), 2)


@pytest.mark.parametrize("period", [1, 2, 14, 50])
def test_averages_and_changes_are_those_of_pandas(period: int) -> None:
    closes = walk(400)
    series, bars = pd.Series(closes), columns(closes)
    volumes = {**bars, "volume": closes[::-1].copy()}
    expected = {
        f"sma({period})": series.rolling(period).mean().iloc[-1],
        f"change({period})": series.pct_change(period).iloc[-1] * 100,
        "close": closes[-1],
    }
    for text, value in expected.items():
        assert parse_watched(text).last_value(bars) == pytest.approx(value, rel=1e-12), text
    by_volume = pd.Series(volumes["volume"]).rolling(period).mean().iloc[-1]
    assert parse_watched(f"volume({period})").last_value(volumes) == pytest.approx(by_volume)


@pytest.mark.parametrize("period", [2, 14, 30])
def test_smoothed_ones_are_those_of_pandas_over_all_of_a_long_history(period: int) -> None:
    closes = walk(3000)
    series = pd.Series(closes)
    ema = series.ewm(span=period, adjust=False).mean().iloc[-1]
    assert parse_watched(f"ema({period})").last_value(columns(closes)) == pytest.approx(
        ema, rel=1e-7
    )
    steps = series.diff().iloc[1:]
    gains = steps.clip(lower=0).ewm(alpha=1 / period, adjust=False).mean().iloc[-1]
    losses = (-steps).clip(lower=0).ewm(alpha=1 / period, adjust=False).mean().iloc[-1]
    rsi = 100 - 100 / (1 + gains / losses)
    assert parse_watched(f"rsi({period})").last_value(columns(closes)) == pytest.approx(
        rsi, rel=1e-6
    )


def test_rsi_of_the_usual_worked_example_and_in_exact_fractions() -> None:
    # Closes of QQQQ in the worked example of StockCharts' page on RSI; its first value there is 70.53 from
    # closes with four decimals, 70.46 from these with two.
    closes = [
        44.34,
        44.09,
        44.15,
        43.61,
        44.33,
        44.83,
        45.10,
        45.42,
        45.84,
        46.08,
        45.89,
        46.03,
        45.61,
        46.28,
        46.28,
        46.00,
        46.03,
        46.41,
        46.22,
        45.64,
    ]
    use = parse_watched("RSI")
    assert use.last_value(columns(closes[:15])) == pytest.approx(70.46, abs=0.005)
    exact = [Fraction(str(close)) for close in closes]
    steps = [b - a for a, b in pairwise(exact)]
    up = sum(max(s, Fraction(0)) for s in steps[:14]) / 14
    down = sum(max(-s, Fraction(0)) for s in steps[:14]) / 14
    for step in steps[14:]:
        up, down = (
            (up * 13 + max(step, Fraction(0))) / 14,
            (down * 13 + max(-step, Fraction(0))) / 14,
        )
    assert use.last_value(columns(closes)) == pytest.approx(
        float(100 - 100 / (1 + up / down)), rel=1e-12
    )


def test_a_value_depends_on_its_window_alone() -> None:
    closes = walk(600)
    for text in ("rsi(14)", "ema(20)", "sma(50)", "change(3)", "volume(5)", "close"):
        use = parse_watched(text)
        assert use.last_value(columns(closes)) == use.last_value(columns(closes[-use.window :])), (
            text
        )
        assert use.last_value(columns(closes)) == use.last_value(columns(closes[7:])), text


@pytest.mark.parametrize("text", ["sma(7)", "ema(7)", "close"])
def test_averages_of_one_price_are_that_price_exactly(text: str) -> None:
    for price in (0.1, 100.3, 65_432.21):
        assert parse_watched(text).last_value(columns([price] * 300)) == price


def test_indicators_at_constant_prices_and_with_too_few_bars() -> None:
    assert parse_watched("rsi(3)").last_value(columns([5.0] * 80)) == 50
    assert parse_watched("rsi(3)").last_value(columns(list(range(1, 80)))) == 100
    assert parse_watched("rsi(3)").last_value(columns(list(range(80, 1, -1)))) == 0
    least = {"sma(3)": 3, "ema(3)": 3, "rsi(3)": 4, "change(3)": 4, "volume(3)": 3, "close": 1}
    for text, enough in least.items():
        assert math.isnan(parse_watched(text).last_value(columns([1.0] * (enough - 1)))), text
        assert not math.isnan(parse_watched(text).last_value(columns([1.0] * enough))), text
    assert math.isnan(parse_watched("change").last_value(columns([0.0, 1.0])))
    assert math.isnan(parse_watched("sma(3)").last_value(columns([1.0, math.nan, 1.0])))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rsj",
        "rsi(0)",
        "rsi(1001)",
        "rsi(-3)",
        "rsi(1.5)",
        "rsi 14",
        "rsi)",
        "ｒsi",
        "close(2)",
        "x" * 5000,
        "rsi()",
        "rsi:0",
        "rsi:1001",
        "rsi:14@1h",
        "sma:50,2",
        "bbands:20,2",
        "vwap:session",
        "dow",
        "fund:net_income",
    ],
)
def test_what_is_no_indicator_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_watched(text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("older", ["rsi(9)", "SMA(50)", "change(3)", "volume(5)", "ema(700)"])
def test_the_older_spelling_is_the_same_recipe(older: str) -> None:
    text = older.lower().replace("(", ":").rstrip(")")
    assert parse_watched(older) == parse_watched(text)
    assert parse_watched(older).text == text


@pytest.mark.parametrize("text", ["wma:9", "zscore:13", "vol:11", "ret:4", "logret:2", "willr:9", "cci:13",
                                  "mfi:9", "atr:6", "adx:5"])  # fmt: skip
def test_recipes_of_features_can_be_watched_and_keep_their_bounds_and_their_scale(
    text: str,
) -> None:
    """A split in four divides prices by four, and multiplies volumes."""
    use, bars = parse_watched(text), tapes.walk(900)
    split = {name: values / 4 for name, values in bars.items()} | {"volume": bars["volume"] * 4}
    parts = [
        {name: values[:n] for name, values in bars.items()} for n in range(use.window, 900, 13)
    ]
    values = [use.last_value(part) for part in parts]
    assert use.recipe.least <= min(values) and max(values) <= use.recipe.most
    assert math.isnan(use.last_value({name: v[: use.recipe.lead(1)] for name, v in bars.items()}))
    is_same = use.last_value(split) == pytest.approx(use.last_value(bars), rel=1e-9)
    assert is_same is not use.recipe.moves_with_splits


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(QueryError, match="did you mean 'volume'"):
        parse_watched("volumne")


@pytest.mark.parametrize(
    ("text", "condition", "value", "is_crossed"),
    [
        ("rsi", "above", 100, False), ("rsi", "above", 99.99, True), ("rsi", "below", 100, True),
        ("rsi", "below", 100.01, False), ("rsi", "above", 0, True), ("rsi", "below", 0, False),
        ("rsi", "above", -0.01, False), ("change", "below", -100, False), ("change", "above", -100, True),
        ("change", "above", 1e9, True), ("sma(50)", "below", 0, False), ("ema", "above", -1, False),
        ("volume", "above", 0, True), ("close", "below", 1e-9, True),
    ],
)  # fmt: skip
def test_a_threshold_that_values_cannot_cross_is_refused(
    text: str, condition: str, value: float, is_crossed: bool
) -> None:
    use = parse_watched(text)
    if is_crossed:
        use.check_crossing(condition, value)
        return
    with pytest.raises(QueryError, match=rf"{use.recipe.name}.* can never cross {condition} "):
        use.check_crossing(condition, value)


@needs_market
def test_real_days_are_as_in_pandas() -> None:
    closes = load("AAPL-1d-2004-2018-yahoo").table.close
    series = pd.Series(closes)
    ema = series.ewm(span=20, adjust=False).mean()
    for end in (500, 1500, 3000):
        bars = columns(closes[:end])
        assert parse_watched("ema").last_value(bars) == pytest.approx(ema.iloc[end - 1], rel=1e-6)
        sma = series.iloc[:end].rolling(20).mean().iloc[-1]
        assert parse_watched("sma").last_value(bars) == pytest.approx(sma, rel=1e-12)


def test_a_setting_of_talib_in_the_same_process_changes_no_value() -> None:
    talib = pytest.importorskip("talib")
    values = np.random.default_rng(3).normal(100, 1, 80)
    usual = smoothed(values, 5, 1 / 3)
    talib.set_unstable_period("EMA", 30)
    try:
        np.testing.assert_allclose(smoothed(values, 5, 1 / 3), usual, rtol=1e-12)
    finally:
        talib.set_unstable_period("EMA", 0)
