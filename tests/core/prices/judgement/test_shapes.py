"""Shapes of defects at any place, of any ratio: each is grave where it is, and right moves are not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from src.data.core.prices.judgement.checks import run_checks
from src.data.core.prices.judgement.grave import Grave, graves
from src.data.core.prices.judgement.series import CheckedSeries, ShareEvent
from tests.corpus.planting import KINDS as SHAPES
from tests.corpus.planting import planted
from tests.effort import calls_of

from .planting import ALL, KINDS, clean, scaled

TAKES = range(4)


def shaped(what: str, kind_of: str, take: int) -> tuple[CheckedSeries, np.ndarray]:
    """Return a clean series of a kind with a shape of the corpus in it, and the stamps of its rows."""
    kind = next(one for one in KINDS if one.name == kind_of)
    series = clean(kind, np.random.default_rng([take, 77]))
    if series.asset_class == "stock":
        series = replace(series, splits=series.splits or ())
    shape = next(one for one in SHAPES if one.name == what)
    assert shape.suits(series), what
    case = planted(shape, series, kind_of, take)
    return case.series, case.stamps


def rows_of(found: list[Grave]) -> np.ndarray:
    """Return all rows that are grave."""
    return np.unique(np.concatenate([one.stamps for one in found])) if found else np.empty(0, int)


EXACT = (
    "day x100 or /100",
    "close x100",
    "nine rows off by a split that is told",
)


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("what", EXACT)
def test_rows_off_by_a_known_factor_are_grave_and_no_others(what: str, take: int) -> None:
    series, wrong = shaped(what, "share, ten years", take)
    assert rows_of(graves(series)).tolist() == wrong.tolist()


BEFORE = (
    "split told, rows before ignore it",
    "split told and ignored, price moves, too",
    "split told of 50:1 to 1:10000, ignored",
    "split told that never was, one open bad",
    "untold split 1:10",
)


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("what", BEFORE)
def test_all_rows_before_a_split_that_they_ignore_are_grave(what: str, take: int) -> None:
    series, wrong = shaped(what, "share in pence", take)
    (found,) = [one for one in graves(series) if one.cause.startswith(("split", "unit"))]
    assert found.stamps.tolist() == wrong[:-1].tolist()
    assert found.from_start is found.cause.startswith("split")


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("kind", ["share in pence", "coin", "tiny coin"])
def test_another_unit_from_a_day_on_is_grave(kind: str, take: int) -> None:
    series, _ = shaped("x100 or /100 from a day on, for good", kind, take)
    assert [one.cause for one in graves(series) if one.cause.startswith("unit")]


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize(
    ("what", "kind"),
    [("copied bar", "share in pence"), ("day copied to the next", "tiny coin")],
)
def test_a_copy_of_the_day_before_is_grave(what: str, kind: str, take: int) -> None:
    series, wrong = shaped(what, kind, take)
    assert set(wrong.tolist()) <= set(rows_of(graves(series)).tolist())


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("what", ["dividend x100", "dividend not in adj_close"])
def test_a_wrong_dividend_is_grave_at_its_ex_date(what: str, take: int) -> None:
    series, wrong = shaped(what, "share, ten years", take)
    assert rows_of(graves(series)).tolist() == wrong.tolist()


RIGHT = (
    "consolidation with a special dividend",
    "a bank fails",
    "weeks of one small lot a day",
    "gap of 5 to 40 % down on news",
    "a half, a third, two thirds on news",
    "flash crash within a bar",
    "split told and applied",
)


@pytest.mark.parametrize("what", RIGHT)
def test_a_right_move_is_not_grave_and_no_error(what: str) -> None:
    for take in TAKES:
        for kind in ("share in pence", "share, ten years"):
            series, _ = shaped(what, kind, take)
            assert graves(series) == [], (kind, take)
            errors = [one.evidence for one in run_checks(series)[0] if one.severity == "error"]
            assert errors == [], (kind, take)


def test_a_coin_that_falls_to_a_hundredth_within_a_bar_is_in_no_other_unit() -> None:
    series = clean(next(k for k in KINDS if k.name == "coin"), np.random.default_rng(5))
    columns = {name: getattr(series.table, name).copy() for name in ALL}
    for name, column in columns.items():
        column[900 + (name == "open") + (name == "high") :] /= 100
    fallen = replace(series, table=replace(series.table, **columns))
    assert graves(fallen) == []
    columns["open"][900], columns["high"][900] = columns["close"][900], columns["close"][900]
    jumped = replace(series, table=replace(series.table, **columns))
    assert [one.cause for one in graves(jumped) if one.cause.startswith("unit")]


def test_a_high_alone_of_a_coin_may_be_that_of_a_trade_and_a_close_is_not() -> None:
    series = clean(next(k for k in KINDS if k.name == "coin"), np.random.default_rng(5))
    high = series.table.high.copy()
    high[700] *= 100
    wick = replace(series, table=replace(series.table, high=high))
    assert graves(wick) == []
    (found,) = [one for one in run_checks(wick)[0] if one.check == "unit"]
    assert (found.cause, found.certain) == ("unit of a wick", False)
    close = series.table.close.copy()
    close[700] *= 100
    (grave,) = graves(replace(wick, table=replace(wick.table, close=close)))
    assert grave.stamps.tolist() == [series.table.stamps[700]]
    volume = np.full(len(wick), 1000.0)  # a day like any other
    share = replace(wick, asset_class="stock", splits=(), table=replace(wick.table, volume=volume))
    assert [one.stamps.tolist() for one in graves(share)] == [[series.table.stamps[700]]]


def test_two_splits_of_one_size_that_rows_ignore_are_two_levels() -> None:
    series = replace(clean(KINDS[0], np.random.default_rng(4)), dividends=())
    one, other = 800, 1700
    wrong = scaled(scaled(series, slice(0, other), 2.0, ALL, 0.5), slice(0, one), 2.0, ALL, 0.5)
    splits = tuple(ShareEvent(int(series.table.stamps[at]), 2.0) for at in (one, other))
    wrong = replace(wrong, splits=splits, table=wrong.table.with_adj_close(None))
    factors = {
        len(repair.stamps): repair.factor
        for finding in run_checks(wrong)[0]
        if finding.check == "split"
        for repair in finding.repairs
    }
    assert factors == {one: pytest.approx(0.25), other - one: pytest.approx(0.5)}


@pytest.mark.parametrize("what", ["repeats", "jumps"])
def test_the_work_grows_with_the_rows(what: str) -> None:
    counts = [calls_of(partial(graves, _many(what, rows))) for rows in (2000, 4000, 8000)]
    assert counts[2] <= 2.3 * counts[1] <= 5.3 * counts[0]


def _many(what: str, rows: int) -> CheckedSeries:
    """Return a series with as many defects as it is long: runs that stand still, or jumps of a split."""
    kind = replace(KINDS[5], rows=rows, dividends=0)
    series = replace(clean(kind, np.random.default_rng(8)), splits=())
    columns = {name: getattr(series.table, name).copy() for name in (*series.table.columns[:5],)}
    for at in range(50, rows - 50, 50):
        for name, column in columns.items():
            if what == "repeats":
                column[at : at + 8] = column[at]
            elif name != "volume":
                column[at : at + 4] *= 2.0
    return replace(series, table=replace(series.table, **columns))


@pytest.mark.parametrize(("wild", "severity"), [(1.0, "error"), (5.0, "warning")])
def test_a_third_in_wild_weeks_is_likely_a_split_and_not_certain(
    wild: float, severity: str
) -> None:
    series = replace(clean(KINDS[5], np.random.default_rng(4)), splits=(), dividends=())
    at = len(series) // 2
    later = np.arange(len(series)) >= at
    level = np.cumsum(np.where(later, (wild - 1) * np.append(0.0, series.moves), 0.0))
    columns = {name: getattr(series.table, name) * np.exp(level) for name in ALL}
    series = replace(series, table=replace(series.table.with_adj_close(None), **columns))
    found = run_checks(scaled(series, slice(0, at), 3.0, ALL, 1 / 3))[0]
    (split,) = [one for one in found if one.cause == "split by volume"]
    assert (split.severity, split.certain) == (severity, severity == "error")


@pytest.mark.parametrize("ratio", [2.0, 0.1])
def test_rows_here_and_there_that_ignore_a_reported_split_are_grave(ratio: float) -> None:
    random = np.random.default_rng(8)
    series = replace(clean(KINDS[0], random), dividends=())
    at = 1800
    wrong = np.flatnonzero(random.random(at) < 0.5)
    table = series.table.with_adj_close(None)
    split = ShareEvent(int(table.stamps[at]), ratio)
    series = replace(series, table=table, splits=(split,))
    found = graves(scaled(series, wrong, ratio, ALL, 1 / ratio))  # type: ignore[arg-type]
    assert rows_of(found).tolist() == table.stamps[wrong].tolist()


def test_a_price_with_one_digit_that_bounces_by_the_ratio_of_a_split_is_not_grave() -> None:
    random = np.random.default_rng(3)
    series = replace(clean(KINDS[0], random), dividends=())
    table, ticks = series.table, np.array([2e-4, 2e-4, 2e-4, 3e-4, 4e-4])
    close = random.choice(ticks, len(table))
    opened = np.append(close[:1], close[:-1])
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    table = replace(table.with_adj_close(None), open=opened, high=high, low=low, close=close)
    for at in range(800, 830):
        splits = (ShareEvent(int(table.stamps[at]), 2.0),)
        assert graves(replace(series, table=table, splits=splits)) == []


def test_the_fall_of_a_cheap_share_is_not_judged_a_missing_split_at_any_volume() -> None:
    series = replace(clean(KINDS[0], np.random.default_rng(6)), dividends=(), splits=())
    at = 1500
    level = np.interp(np.arange(len(series)), [at - 80, at], [0.0, -1.9])
    level[at:] -= np.log(10)
    columns = {name: getattr(series.table, name) * np.exp(level) for name in ALL}
    volume = series.table.volume * np.where(level < -2.5, 10.0, 1.0)
    table = replace(series.table.with_adj_close(None), **columns, volume=volume)
    assert graves(replace(series, table=table)) == []
    dear = scaled(series, slice(0, at), 10.0, ALL, 0.1)
    assert len(rows_of(graves(replace(dear, table=dear.table.with_adj_close(None))))) == at
