"""Each recipe on recorded and made series: cut, start, exact sums, and the faults that they find."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import talib

from src.data.features import blocks, functions
from src.data.features.blocks import Tape
from src.data.features.kept import values_of
from src.data.features.recipes import _PACKAGED as ALL
from src.data.features.recipes import RecipeUse
from tests.core.cache.counts import FULL

from .tapes import COLUMNS, RECIPES, USES, fallen, needed, part, recorded, tape, walk, with_holes

_COUNT = 6_000 if FULL else 900
_SERIES: dict[str, Callable[[], Tape]] = {
    "recorded": lambda: tape(recorded(_COUNT)),
    "fallen": lambda: tape(fallen(_COUNT)),
    "holes": lambda: with_holes(_COUNT),
}
# Bars at which a series is cut: all in a full run.
_CUTS = range(1, _COUNT + 1) if FULL else [*range(1, _COUNT, 7), *range(320, 420, 3), _COUNT]


def bits(use: RecipeUse, some: Tape) -> list[bytes]:
    return [values.tobytes() for values in values_of([use], some).values()]


def unlike_at_cuts(use: RecipeUse, whole: Tape) -> int | None:
    """Return the first cut after which the value of the last bar is another one than in the whole series."""
    batch = list(values_of([use], whole).values())
    for cut in _CUTS:
        stream = bits(use, part(whole, 0, cut, cut - 1))
        if stream != [values[cut - 1 : cut].tobytes() for values in batch]:
            return cut
    return None


def unlike_at_starts(use: RecipeUse, whole: Tape) -> int | None:
    """Return the first start from which values are others than those of the whole series."""
    batch = list(values_of([use], whole).values())
    for first in [*range(3, _COUNT, 53), int(_COUNT * 0.4), int(_COUNT * 0.4) + 1]:
        some = part(whole, needed(use, whole, first), _COUNT, first)
        if bits(use, some) != [values[first:].tobytes() for values in batch]:
            return first
    return None


def test_all_recipes_are_proved_off_their_defaults() -> None:
    assert {use.recipe.name for use in USES.values()} == ALL
    assert len(ALL) == 26
    for use in USES.values():
        assert not set(use.parameters) & set(use.recipe.defaults.values())


@pytest.mark.parametrize("series", _SERIES)
@pytest.mark.parametrize("text", RECIPES)
def test_a_series_cut_at_any_bar_gives_the_same_bits_as_all_of_it(text: str, series: str) -> None:
    assert unlike_at_cuts(USES[text], _SERIES[series]()) is None


@pytest.mark.parametrize("series", _SERIES)
@pytest.mark.parametrize("text", RECIPES)
def test_any_start_gives_the_same_bits(text: str, series: str) -> None:
    assert unlike_at_starts(USES[text], _SERIES[series]()) is None


# --- exact values ------------------------------------------------------------------------------

Rows = dict[str, list[float]]


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def deviation(values: list[float], degrees: int = 1) -> float:
    middle = mean(values)
    return math.sqrt(math.fsum((v - middle) ** 2 for v in values) / (len(values) - degrees))


def typical(rows: Rows) -> list[float]:
    return [
        (h + low + c) / 3
        for h, low, c in zip(rows["high"], rows["low"], rows["close"], strict=True)
    ]


def place(rows: Rows) -> float:
    low, high = min(rows["low"]), max(rows["high"])
    return 100 * (rows["close"][-1] - low) / (high - low)


def cut(rows: Rows, start: int, end: int | None = None) -> Rows:
    return {name: column[start:end] for name, column in rows.items()}


def flows(rows: Rows) -> tuple[list[float], list[float]]:
    prices = typical(rows)
    moves = list(zip(prices, prices[1:], rows["volume"][1:], strict=False))
    return [b * v for a, b, v in moves if b > a], [b * v for a, b, v in moves if b < a]


def weights(values: list[float]) -> float:
    total = math.fsum(range(1, len(values) + 1))
    return math.fsum((n + 1) * value for n, value in enumerate(values)) / total


def stochastic(rows: Rows) -> list[float]:
    places = [place(cut(rows, n, n + 11)) for n in range(4)]
    return [places[-1], mean(places)]


def channel(rows: Rows) -> float:
    prices = typical(rows)
    return (prices[-1] - mean(prices)) / (0.015 * mean([abs(p - mean(prices)) for p in prices]))


def ages(rows: Rows) -> list[float]:
    high, low = rows["high"][::-1], rows["low"][::-1]
    return [100 * (12 - high.index(max(high))) / 12, 100 * (12 - low.index(min(low))) / 12]


def band(closes: list[float], width: float) -> float:
    return mean(closes) + width * deviation(closes, 0)


def steps(closes: list[float]) -> list[float]:
    return [math.log(b / a) for a, b in pairwise(closes)]


# The value for the last row of a window, from exactly the rows of that window.
EXACT: dict[str, Callable[[Rows], float | list[float]]] = {
    "sma:7": lambda w: mean(w["close"]),
    "wma:9": lambda w: weights(w["close"]),
    "volume:5": lambda w: mean(w["volume"]),
    "change:3": lambda w: 100 * (w["close"][-1] / w["close"][0] - 1),
    "ret:4": lambda w: w["close"][-1] / w["close"][0] - 1,
    "logret:2": lambda w: math.log(w["close"][-1] / w["close"][0]),
    "vol:11": lambda w: deviation(steps(w["close"])),
    "zscore:13": lambda w: (w["close"][-1] - mean(w["close"])) / deviation(w["close"]),
    "close": lambda w: w["close"][-1],
    "bbands:17,2.5": lambda w: [band(w["close"], k) for k in (2.5, 0, -2.5)],
    "donchian:19": lambda w: [max(w["high"]), min(w["low"])],
    "willr:9": lambda w: place(w) - 100,
    "stoch:11,4": stochastic,
    "cci:13": channel,
    "mfi:9": lambda w: 100 * math.fsum(flows(w)[0]) / math.fsum(flows(w)[0] + flows(w)[1]),
    "aroon:12": ages,
    "dow": lambda w: date.fromordinal(719_163 + int(w["day"][-1])).weekday(),
    "session_minute": lambda w: pd.Timestamp(w["stamp"][-1], unit="ms").hour * 60,
}  # fmt: skip
# Their values are quotients, whose size is not that of the prices.
_QUOTIENTS = {"change:3", "ret:4", "logret:2", "vol:11", "zscore:13", "willr:9", "stoch:11,4", "cci:13",
              "mfi:9", "aroon:12"}  # fmt: skip


def far_from_exact(text: str, whole: Tape) -> int | None:
    """Return the first row that is further from the exact value than a billionth of the largest input."""
    use, found = USES[text], list(values_of([USES[text]], whole).values())
    for row in range(use.lead, len(whole), 1 if FULL else 3):
        window = {n: c[row - use.lead : row + 1].tolist() for n, c in whole.columns.items()}
        exact = EXACT[text](window)
        inputs = [abs(v) for name in use.recipe.columns for v in window[name]]
        for value, wanted in zip(found, exact if isinstance(exact, list) else [exact], strict=True):
            size = max(1.0, abs(wanted)) if text in _QUOTIENTS else max(inputs)
            if not abs(value[row] - wanted) <= 1e-9 * size:
                return row
    return None


@pytest.mark.parametrize("series", ["recorded", "fallen"])
@pytest.mark.parametrize("text", EXACT)
def test_windowed_recipes_are_exact_to_a_billionth_of_their_inputs(text: str, series: str) -> None:
    assert far_from_exact(text, _SERIES[series]()) is None


def smooth(values: pd.Series, period: int, weight: float) -> pd.Series:
    """Return an average smoothed over the whole history, from the mean of the first values."""
    seeded = values.copy()
    seeded.iloc[: period - 1] = np.nan
    seeded.iloc[period - 1] = values.iloc[:period].mean()
    return seeded.ewm(alpha=weight, adjust=False).mean()


def over_all_history(text: str, bars: pd.DataFrame) -> list[pd.Series]:
    """Return a decaying recipe computed by pandas from the first bar of the history."""
    close = bars["close"]
    if text == "ema:9":
        return [smooth(close, 9, 0.2)]
    if text == "macd:5,14,4":
        line = smooth(close, 5, 1 / 3) - smooth(close, 14, 2 / 15)
        signal = smooth(line.iloc[13:], 4, 0.4)
        return [line, signal, line - signal]
    if text == "adx:5":
        return [pd.Series(talib.ADX(*(bars[n].to_numpy() for n in ("high", "low", "close")), 5))]
    moves = close.diff().iloc[1:]
    if text == "atr:6":
        before = close.shift()
        parts = [
            bars["high"] - bars["low"],
            (bars["high"] - before).abs(),
            (bars["low"] - before).abs(),
        ]
        return [smooth(pd.concat(parts, axis=1).max(axis=1).iloc[1:], 6, 1 / 6)]
    up, down = smooth(moves.clip(lower=0), 7, 1 / 7), smooth(-moves.clip(upper=0), 7, 1 / 7)
    return [100 * up / (up + down)]


@pytest.mark.parametrize("text", ["ema:9", "rsi:7", "macd:5,14,4", "atr:6", "adx:5"])
def test_decaying_recipes_have_forgotten_what_lies_before_their_lead(text: str) -> None:
    whole = tape(walk(900, 4), before=0.9)
    bars = pd.DataFrame({name: whole.columns[name] for name in COLUMNS})
    found = list(values_of([USES[text]], whole).values())
    for value, wanted in zip(found, over_all_history(text, bars), strict=True):
        wanted = wanted.reindex(range(900)).to_numpy()
        assert np.abs(value[500:] / wanted[500:] - 1).max() < 1e-7
        known = value[~np.isnan(value)]
        assert len(known) > 800


def test_anchored_recipes_are_those_of_each_session() -> None:
    whole = tape(walk(900, 6))
    bars = pd.DataFrame({name: whole.columns[name] for name in (*COLUMNS, "opens")})
    price = (bars["high"] + bars["low"] + bars["close"]) / 3
    by_session = bars["opens"]
    money = (price * bars["volume"]).groupby(by_session).cumsum()
    steps = np.sign(bars["close"].groupby(by_session).diff()).fillna(0) * bars["volume"]
    wanted = {
        "vwap:session": money / bars["volume"].groupby(by_session).cumsum().replace(0, np.nan),
        "obv:session": steps.groupby(by_session).cumsum(),
        "drawdown:session": bars["close"] / bars["close"].groupby(by_session).cummax() - 1,
    }
    inside = slice(int(np.flatnonzero(whole.stamps == bars["opens"])[0]), None)
    for text, series in wanted.items():
        (found,) = values_of([USES[text]], whole).values()
        np.testing.assert_allclose(found[inside], series[inside], rtol=1e-9, atol=1e-9)


# --- holes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", RECIPES[:23])
def test_behind_a_hole_values_are_missing_for_the_window_or_three_periods(text: str) -> None:
    use = USES[text]
    whole = tape(walk(900, 9), (500,), before=0.3)
    broken = walk(900, 9)
    for name in COLUMNS:
        broken[name][499] = np.nan
    missing = use.lead if use.recipe.kind == "windowed" else 3 * int(max(use.parameters))
    for some in (whole, tape(broken, before=0.3)):
        for values in values_of([use], some).values():
            assert np.isnan(values[500 : 500 + missing]).all()
            assert not np.isnan(values[500 + missing :]).any()
            last = 499 if some is whole else 498
            assert not np.isnan(values[400 : last + 1]).any()


def test_a_lead_that_is_missing_makes_its_rows_missing() -> None:
    use = USES["rsi:7"]
    some = replace(tape(walk(900, 9), before=0), lacks_lead=True)
    (values,) = values_of([use], some).values()
    assert np.isnan(values[: use.lead]).all()
    assert not np.isnan(values[use.lead :]).any()
    (values,) = values_of([use], tape(walk(900, 9), before=0)).values()
    assert np.isnan(values[:21]).all()
    assert not np.isnan(values[21:]).any()


def test_a_period_longer_than_the_history_has_no_value() -> None:
    some = tape(walk(12, 9))
    for values in values_of([USES["donchian:19"], USES["adx:5"]], some).values():
        assert len(values) == 12
        assert np.isnan(values).all()


# --- the faults that these proofs find ---------------------------------------------------------


@pytest.mark.parametrize("text", ["ret:4", "vol:11", "stoch:11,4", "mfi:9", "aroon:12", "rsi:7"])
def test_a_lead_that_is_one_bar_short_is_found(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tape(recorded(_COUNT))
    short = replace(
        USES[text], recipe=replace(USES[text].recipe, lead=lambda *p: USES[text].lead - 1)
    )
    batch, shortened = (list(values_of([use], whole).values()) for use in (USES[text], short))
    assert any(a.tobytes() != b.tobytes() for a, b in zip(batch, shortened, strict=True))


@pytest.mark.parametrize("text", ["ema:9", "rsi:7", "macd:5,14,4", "atr:6"])
def test_a_block_that_begins_with_the_answer_is_found(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "blocks", lambda tape: iter([range(tape.first, len(tape))]))
    monkeypatch.setattr("src.data.features.kept.blocks", blocks.blocks)
    assert unlike_at_starts(USES[text], tape(fallen(_COUNT))) is not None


@pytest.mark.parametrize("row", [200, 601])
def test_a_look_ahead_at_a_single_bar_is_found(row: int) -> None:
    whole, use = tape(walk(_COUNT)), USES["ret:4"]
    price = whole.columns["close"][row]

    def planted(columns: dict[str, np.ndarray], period: int) -> tuple[np.ndarray, ...]:
        closes, values = columns["close"], use.recipe.function(columns, period)[0]
        at = np.flatnonzero(closes == price)
        values[at] = closes[np.minimum(at + 1, len(closes) - 1)] / closes[at] - 1
        return (values,)

    spoilt = replace(use, recipe=replace(use.recipe, function=planted))
    cuts = range(row - 2, row + 3)
    batch = values_of([spoilt], whole)[use.text]
    found = [
        c
        for c in cuts
        if values_of([spoilt], part(whole, 0, c, c - 1))[use.text][0] != batch[c - 1]
    ]
    assert found == [row + 1]


@pytest.mark.parametrize("text", ["sma:7", "mfi:9"])
def test_a_running_sum_is_found(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def running(values: np.ndarray, period: int) -> np.ndarray:
        sums = np.cumsum(values)
        sums[period:] -= sums[:-period].copy()
        sums[: period - 1] = np.nan
        return sums

    monkeypatch.setattr(functions, "sums", running)
    monkeypatch.setattr(functions, "means", lambda values, period: running(values, period) / period)
    spoilt = replace(
        USES[text], recipe=replace(USES[text].recipe, function=getattr(functions, text[:3]))
    )
    monkeypatch.setitem(USES, text, spoilt)
    assert far_from_exact(text, tape(fallen(_COUNT))) is not None
