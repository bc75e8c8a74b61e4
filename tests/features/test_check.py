"""``check_features``: what it finds in functions with a planted fault, and nothing in sound ones."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.errors import QueryError
from src.data.features.check import FeatureCheck, check_features
from tests.features.shapes import SOUND, rsi

ROWS = 1_200
MOST_CALLS = 60


def walk(rows: int = ROWS) -> pd.DataFrame:
    dice = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(dice.normal(0, 0.02, rows)))
    opened = close * np.exp(dice.normal(0, 0.005, rows))
    return pd.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, close) * 1.01,
            "low": np.minimum(opened, close) * 0.99,
            "close": close,
            "volume": dice.integers(1, 9_999, rows),
        },
        index=pd.date_range("2020-01-01", periods=rows, freq="h", tz="UTC", name="timestamp"),
    )


BARS = walk()


def kinds(result: FeatureCheck) -> list[str]:
    return [finding.kind for finding in result.findings]


def warned(result: FeatureCheck) -> dict[str, int | None]:
    return {warning.kind: warning.horizon for warning in result.warnings}


def found(
    function: Callable[[pd.DataFrame], Any], bars: pd.DataFrame = BARS
) -> list[tuple[Any, ...]]:
    """Return column, position and horizon of each look-ahead."""
    result = check_features(function, bars)
    assert set(kinds(result)) <= {"look_ahead"}, result.findings
    times = [stamp.isoformat() for stamp in bars.index]
    return [(f.column, times.index(f.timestamp or ""), f.horizon) for f in result.findings]


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_function_has_no_finding_in_at_most_60_calls(name: str) -> None:
    result = check_features(SOUND[name], BARS)
    assert result.findings == () and result.ok
    assert result.calls <= MOST_CALLS


# --- look-ahead ----------------------------------------------------------------------------------

BASES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "sma": lambda b: b.close.rolling(20).mean(),
    "std": lambda b: b.close.rolling(100).std(),
    "ema": lambda b: b.close.ewm(span=14, adjust=False).mean(),
    "rsi": rsi,
    "sum": lambda b: (np.sign(b.close.diff()).fillna(0) * b.volume).cumsum(),
    "change": lambda b: b.close.pct_change(),
}


def planted(base: str, row: int, horizon: int, by: str = "time") -> Callable[[pd.DataFrame], Any]:
    """Return a function that at one bar returns its own value of a later one."""

    def features(bars: pd.DataFrame) -> Any:
        values = BASES[base](bars).copy()
        here = row if by == "position" else bars.index.searchsorted(BARS.index[row])
        is_there = by == "position" or BARS.index[row] in bars.index
        if is_there and here + horizon < len(bars):
            values.iloc[here] = values.iloc[here + horizon]
        return values

    return features


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("row", [0, 130, 601, ROWS - 2])
@pytest.mark.parametrize("by", ["time", "position"])
def test_a_shift_of_a_single_bar_is_found(base: str, row: int, by: str) -> None:
    if row == 0 and base not in ("ema", "sum"):
        row = 101  # the first values are NaN
    ((_, first, horizon),) = found(planted(base, row, 1, by))
    assert (first, horizon) == (row, 1)


@pytest.mark.parametrize("row, horizon", [(0, 5), (300, 40), (300, 5), (700, 490), (20, ROWS - 21)])
def test_a_single_bar_that_reads_far_ahead_is_found(row: int, horizon: int) -> None:
    def features(bars: pd.DataFrame) -> Any:
        out = bars.close.rolling(20).mean()
        if row + horizon < len(bars):
            out.iloc[row] = bars.close.iloc[row + horizon]
        return out

    assert found(features) == [("close", row, horizon)]


def test_only_the_leaking_column_is_named() -> None:
    def features(bars: pd.DataFrame) -> pd.DataFrame:
        leaking = bars.close.ewm(span=9).mean()
        if len(bars) > 801:
            leaking.iloc[800] = bars.volume.iloc[801]
        return pd.DataFrame({"rsi": rsi(bars), "leaking": leaking, "sma": BASES["sma"](bars)})

    assert found(features) == [("leaking", 800, 1)]


def test_a_leak_that_depends_on_a_condition_is_found() -> None:
    def features(bars: pd.DataFrame) -> Any:
        is_quiet = bars.volume < 30
        return bars.close.rolling(20).mean().mask(is_quiet, bars.close.shift(-1))

    first = int(np.flatnonzero(BARS.volume < 30)[0])
    assert int((BARS.volume < 30).sum()) < 8
    ((column, row, horizon),) = found(features)
    assert (column, horizon) == ("close", 1)
    assert BARS.volume.iloc[row] < 30 and row >= first


def resampled(bars: pd.DataFrame) -> Any:
    return bars.close.resample("1D").last().reindex(bars.index, method="ffill")


def with_a_hole(bars: pd.DataFrame) -> Any:
    values = bars.close.copy()
    values[(bars.index >= BARS.index[500]) & (bars.index < BARS.index[504])] = np.nan
    return values.bfill()


def last_is_special(bars: pd.DataFrame) -> Any:
    values = bars.close.rolling(5).mean()
    values.iloc[-1] = bars.close.iloc[-1]
    return values


@pytest.mark.parametrize(
    "function, row, horizon",
    [
        (lambda b: (b.close - b.close.mean()) / b.close.std(), 0, ROWS - 1),
        (lambda b: b.close / b.close.max(), 0, None),
        (lambda b: b.close.rolling(20).mean().bfill(), 0, 19),
        (lambda b: b.close.rolling(21, center=True).mean(), 10, 10),
        (lambda b: b.close.shift(-3), 0, 3),
        (resampled, 0, 23),
        (with_a_hole, 500, 4),
        (lambda b: (np.arange(len(b)) > int(b.close.to_numpy().argmax())) + 0 * b.close, None, None),
        (lambda b: b.close.rank(), 0, ROWS - 1),
        (lambda b: b.close.interpolate() + 0 * b.close[::-1].cumsum()[::-1] + b.close.iloc[-1], 0, ROWS - 1),
        (lambda b: pd.Series(np.linspace(0, 1, len(b)), b.index), 1, ROWS - 2),
        (lambda b: pd.Series(np.arange(len(b))[::-1], b.index), 0, ROWS - 1),
        (last_is_special, None, 1),
        (lambda b: (b.close.shift(-1) > b.close).astype(int), None, 1),
    ],
)  # fmt: skip
def test_a_leak_of_many_bars_is_found_at_its_first_bar(
    function: Callable[[pd.DataFrame], Any], row: int | None, horizon: int | None
) -> None:
    ((_, first, ahead),) = found(function)
    assert first == (first if row is None else row)
    assert ahead == (ahead if horizon is None else horizon)


def turns(bars: pd.DataFrame) -> list[int]:
    """Return the bars whose signal differs from the next one's."""
    return np.flatnonzero(signal(bars).diff().shift(-1).fillna(0)).tolist()


def signal(bars: pd.DataFrame) -> Any:
    return (bars.close > bars.close.shift(2)).astype(float)


def turned(row: int) -> Callable[[pd.DataFrame], Any]:
    """Return a signal that at one bar is that of the next one."""

    def features(bars: pd.DataFrame) -> Any:
        values = signal(bars)
        if BARS.index[row] < bars.index[-1] and BARS.index[row] >= bars.index[0]:
            here = bars.index.get_loc(BARS.index[row])
            values.iloc[here] = values.iloc[here + 1]
        return values

    return features


def test_every_bar_of_a_short_frame_is_tested() -> None:
    few = BARS.iloc[:40]
    assert [found(turned(row), few) for row in turns(few)] == [
        [("close", r, 1)] for r in turns(few)
    ]


def test_a_signal_that_looks_ahead_at_the_last_bars_is_found() -> None:
    for row in turns(BARS)[-9:]:
        assert found(turned(row), BARS.iloc[: row + 2]) == [("close", row, 1)]


def test_a_bar_chosen_by_its_position_is_found_where_features_jump() -> None:
    def features(bars: pd.DataFrame) -> Any:
        top = bars.high.rolling(100).max()
        if len(bars) > row + 1:
            top.iloc[row] = top.iloc[row + 1]
        return top

    tops = BARS.high.rolling(100).max().diff().shift(-1)
    row = 972
    assert tops.iloc[row] > 0
    assert found(features) == [("high", row, 1)]


def test_a_ratio_of_columns_that_looks_ahead_is_found() -> None:
    for one, other in (("close", "open"), ("high", "low"), ("volume", "close"), ("high", "close")):

        def features(bars: pd.DataFrame) -> Any:
            values = bars.close.rolling(20).mean()
            if len(bars) > 701:
                values.iloc[700] = bars[one].iloc[701] / bars[other].iloc[701]  # noqa: B023 - used at once
            return values

        assert found(features) == [("close", 700, 1)]


def test_a_finding_is_one_sentence_with_bar_column_and_horizon() -> None:
    finding = check_features(lambda b: b.close.shift(-1), BARS).findings[0]
    assert finding.text == (
        "column 'close' looks ahead: its value at 2020-01-01T00:00:00+00:00 depends on the next bar "
        "(it differs if later bars are changed)"
    )
    result = check_features(SOUND["sma"], BARS)
    assert result.as_dict() == {
        "ok": True, "findings": (), "warnings": (), "calls": result.calls, "bars": ROWS,
    }  # fmt: skip


# --- other findings ------------------------------------------------------------------------------


def test_random_numbers_and_a_counter_are_not_reproducible() -> None:
    dice, count = np.random.default_rng(1), [0]

    def counted(bars: pd.DataFrame) -> Any:
        count[0] += 1
        return bars.close + count[0]

    noisy = check_features(lambda b: b.close + dice.normal(0, 1, len(b)), BARS)
    assert kinds(noisy) == kinds(check_features(counted, BARS)) == ["not_reproducible"]
    assert noisy.findings[0].timestamp == BARS.index[0].isoformat()
    assert noisy.calls == 2


def test_state_kept_between_calls_is_a_warning_and_a_stale_answer_a_finding() -> None:
    kept: dict[str, Any] = {}

    def normalised(bars: pd.DataFrame) -> Any:
        return bars.close / kept.setdefault("mean", bars.close.mean())

    result = check_features(normalised, BARS)
    assert result.ok and "keeps_state" in warned(result)
    assert "'kept'" in next(w.text for w in result.warnings if w.kind == "keeps_state")
    kept.clear()
    stale = check_features(lambda b: kept.setdefault("all", b.close.rolling(5).mean()), BARS)
    assert kinds(stale) == ["wrong_length"]
    drift = {"mean": 0.0}

    def drifting(bars: pd.DataFrame) -> Any:
        drift["mean"] = max(drift["mean"], round(float(bars.close.max())))
        return bars.close / drift["mean"]

    assert "not_reproducible" in kinds(check_features(drifting, BARS))


def mutating(bars: pd.DataFrame) -> Any:
    bars["sma"] = bars.close.rolling(5).mean()
    return bars.sma


def overwriting(bars: pd.DataFrame) -> Any:
    bars.loc[bars.index[3], "close"] = 1.0
    return bars.close


@pytest.mark.parametrize(
    "function, kind",
    [
        (mutating, "mutated_input"),
        (overwriting, "mutated_input"),
        (lambda b: b.close.rolling(5).mean().dropna(), "wrong_length"),
        (lambda b: b.close.reset_index(drop=True), "wrong_index"),
        (lambda b: b.close[::-1], "wrong_index"),
        (lambda b: b.close.to_numpy(), "wrong_type"),
        (lambda b: None, "wrong_type"),
        (lambda b: b[b.columns[: 2 + (len(b) == ROWS)]], "wrong_columns"),
        (lambda b: b["clos"], "raises"),
    ],
)
def test_a_fault_of_the_result_or_of_the_input_is_found(function: Any, kind: str) -> None:
    before = BARS.copy()
    assert kinds(check_features(function, BARS)) == [kind]
    pd.testing.assert_frame_equal(BARS, before)


def test_an_error_is_named_with_its_line_and_the_range_of_the_bars() -> None:
    def features(bars: pd.DataFrame) -> Any:
        return bars["clos"]

    (finding,) = check_features(features, BARS).findings
    line = features.__code__.co_firstlineno + 1
    assert finding.text == (
        f"the function raises KeyError: 'clos' (line {line}) on bars 2020-01-01T00:00:00+00:00 to "
        f"{BARS.index[-1].isoformat()}"
    )
    assert kinds(check_features(lambda b: exit(3), BARS)) == ["raises"]


def test_a_function_may_raise_for_few_or_odd_bars() -> None:
    def features(bars: pd.DataFrame) -> Any:
        if len(bars) < 500 or bars.close.isna().any() or (bars.close <= 0).any():
            raise ValueError("too few bars, or no prices")
        return bars.close.rolling(100).mean()

    result = check_features(features, BARS)
    assert result.ok and list(warned(result)) == ["raises_on_part"]
    assert "ValueError: too few bars" in result.warnings[0].text

    def leaking(bars: pd.DataFrame) -> Any:
        return features(bars).shift(-1)

    assert kinds(check_features(leaking, BARS)) == ["look_ahead"]


def test_a_call_that_hangs_ends_the_check_after_the_timeout() -> None:
    end = threading.Event()

    def features(bars: pd.DataFrame) -> Any:
        if len(bars) < ROWS:
            end.wait(60)
        return bars.close

    try:
        result = check_features(features, BARS, timeout=0.2)
    finally:
        end.set()
    assert kinds(result) == ["hangs"]
    assert result.findings[0].text.endswith("took longer than 0.2 s")


def test_what_the_function_prints_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    def features(bars: pd.DataFrame) -> Any:
        print("here")
        return bars.close

    result = check_features(features, BARS)
    assert capsys.readouterr().out == "here\n" * result.calls


@pytest.mark.parametrize(
    "function, bars, options, text",
    [
        ("sma", BARS, {}, "not a function: 'sma'"),
        (BASES["sma"], BARS.iloc[:2], {}, "at least three bars"),
        (BASES["sma"], [1, 2, 3], {}, "at least three bars"),
        (BASES["sma"], BARS.iloc[::-1], {}, "not unique and increasing"),
        (BASES["sma"], BARS, {"warmup": -1}, "warmup=-1"),
        (BASES["sma"], BARS, {"timeout": 0}, "timeout=0"),
        (BASES["sma"], BARS, {"timeout": None}, "timeout=None"),
        (BASES["sma"], BARS, {"timeout": float("inf")}, "timeout=inf"),
    ],
)
def test_arguments_are_checked(function: Any, bars: Any, options: Any, text: str) -> None:
    with pytest.raises(QueryError, match=text):
        check_features(function, bars, **options)


# --- warnings ------------------------------------------------------------------------------------


def recursive(bars: pd.DataFrame) -> Any:
    out, value = [], bars.close.iloc[0]
    for close in bars.close:
        value += 0.1 * (close - value)
        out.append(value)
    return pd.Series(out, bars.index)


def summed(bars: pd.DataFrame) -> Any:
    """Return a rolling deviation by running sums."""
    one, two = np.cumsum(bars.close.to_numpy()), np.cumsum(bars.close.to_numpy() ** 2)
    n = 20
    mean = (one[n:] - one[:-n]) / n
    spread = np.sqrt(np.maximum((two[n:] - two[:-n]) / n - mean**2, 0))
    return pd.Series(np.r_[np.full(n, np.nan), spread], bars.index)[: len(bars)]


def test_dependence_on_the_start_is_a_warning_unless_the_warmup_covers_it() -> None:
    needed = warned(check_features(recursive, BARS))["start_dependence"]
    assert needed is not None and 60 < needed < 200
    assert "start_dependence" not in warned(check_features(recursive, BARS, warmup=needed))
    assert "start_dependence" in warned(check_features(recursive, BARS, warmup=needed - 1))
    assert warned(check_features(BASES["sma"], BARS)) == {}


def test_a_nan_that_stays_and_digits_that_are_lost_are_warnings() -> None:
    assert "nan_poison" in warned(check_features(recursive, BARS))
    assert "nan_poison" not in warned(check_features(BASES["ema"], BARS))
    result = check_features(summed, BARS)
    assert result.ok and {"digits_lost", "nan_poison"} <= set(warned(result))
    assert "digits_lost" not in warned(check_features(recursive, BARS))
    assert "digits_lost" not in warned(check_features(SOUND["drawdown"], walk(5_000)))


# --- Backtrader ----------------------------------------------------------------------------------


def test_a_backtrader_indicator_is_checked_by_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    bt = pytest.importorskip("backtrader", reason="the extra `backtrader` is not installed")

    class Peeking(bt.Indicator):  # type: ignore[misc]
        lines = ("mean", "peek")

        def __init__(self) -> None:
            self.lines.mean = bt.ind.SMA(self.data.close, period=10)

        def next(self) -> None:
            self.lines.peek[0] = self.data.close[int(len(self) == 100)]

    few = BARS.iloc[:300]
    assert found(Peeking, few) == [("peek", 99, 1)]
    result = check_features(bt.ind.SMA, few)
    assert result.ok and result.calls <= MOST_CALLS
    adapter = importlib.import_module("src.data.features.backtrader_indicator")
    sma = adapter.indicator_function(bt.ind.SMA)(few)["sma"]
    pd.testing.assert_series_equal(sma, few.close.rolling(30).mean(), check_names=False)


def test_speed_of_a_check_of_5000_bars() -> None:
    import time

    begun = time.process_time()
    result = check_features(
        lambda b: pd.DataFrame({"rsi": rsi(b), "sma": BASES["sma"](b)}), walk(5_000)
    )
    assert result.calls <= MOST_CALLS and time.process_time() - begun < 10


def test_a_value_that_depends_on_its_position_in_the_last_bar_is_a_warning_and_no_error() -> None:
    def of_the_whole(bars: pd.DataFrame) -> pd.Series:
        values = bars["close"].pct_change()
        if len(bars) == ROWS:
            values.iloc[-1] = 5.0
        return values

    result = check_features(of_the_whole, BARS)
    assert kinds(result) == [] and "start_dependence" in warned(result)
