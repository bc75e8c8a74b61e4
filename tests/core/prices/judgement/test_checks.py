"""What tells a defect from a market: one short series for each distinction that a check makes."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from src.data.core.model.market.bars import BarTable, merge
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.judgement.checks import CHECKS, run_checks
from src.data.core.prices.judgement.dividends import dividend_errors
from src.data.core.prices.judgement.findings import QualityFinding, ranked, score_of
from src.data.core.prices.judgement.levels import repaired_prices, unit_jumps
from src.data.core.prices.judgement.series import CheckedSeries, ShareEvent, typical
from src.data.core.prices.judgement.shape import _deviations
from src.data.jobs.validation.repair import repaired
from tests.core.prices.judgement.planting import KINDS, clean

ALL = ("open", "high", "low", "close")


def walk(close: list[float] | np.ndarray, **more: object) -> CheckedSeries:
    """Return days that open where the day before closed."""
    close = np.asarray(close, dtype=np.float64)
    opened = np.append(close[:1], close[:-1])
    stamps = np.arange(len(close), dtype=np.int64) * DAY_MS
    volume = np.full(len(close), 1000.0) + np.arange(len(close)) % 7
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    table = BarTable(stamps, opened, high, low, close, volume)
    return CheckedSeries(Timeframe(1, "d"), table, **more)  # type: ignore[arg-type]


def wavy(rows: int, price: float = 100.0) -> np.ndarray:
    return price * np.exp(0.01 * np.sin(np.arange(rows) * 1.7))


def found(series: CheckedSeries, check: str, least: str = "warning") -> list[QualityFinding]:
    findings, _, _ = run_checks(series)
    return [f for f in findings if f.check == check and (least == "info" or f.severity != "info")]


def scaled(series: CheckedSeries, rows: slice, factor: float, volume: float = 1.0) -> CheckedSeries:
    columns = {name: getattr(series.table, name).copy() for name in (*ALL, "volume")}
    for name in ALL:
        columns[name][rows] *= factor
    columns["volume"][rows] *= volume
    return replace(series, table=replace(series.table, **columns))


# --- units -----------------------------------------------------------------------------------


def test_a_wick_a_hundred_times_too_deep_is_no_unit_but_where_it_fits_exactly() -> None:
    series = walk(wavy(60))
    low = series.table.low.copy()
    low[30] = 100 / 75
    assert not found(replace(series, table=replace(series.table, low=low)), "unit")
    low[30] = series.table.low[30] / 100
    (finding,) = found(replace(series, table=replace(series.table, low=low)), "unit")
    assert [repair.columns for repair in finding.repairs] == [("low",)]


def test_the_market_may_move_on_one_side_of_wrong_units() -> None:
    close = wavy(60)
    close[33:] *= 0.8
    series = walk(close)
    flat = {name: close.copy() for name in ALL}
    series = replace(series, table=replace(series.table, **flat))
    series = scaled(series, slice(30, 33), 100)
    (finding,) = found(series, "unit")
    assert finding.stamps.tolist() == series.table.stamps[30:33].tolist()


def test_a_new_unit_that_lasts_is_the_right_one_where_units_vary() -> None:
    series = scaled(walk(wavy(60), units_vary=True), slice(50, 60), 0.01)
    opened = series.table.open.copy()
    opened[50] = series.table.close[50]
    series = replace(series, table=replace(series.table, open=opened))
    (finding,) = found(series, "unit")
    assert finding.stamps.tolist() == series.table.stamps[50:].tolist()
    np.testing.assert_allclose(repaired(series, [finding]).table.close, wavy(60) / 100)


def test_a_bar_alone_with_prices_a_hundred_times_apart_is_judged() -> None:
    row = [np.array([price]) for price in (0.01, 0.90483742, 0.01, 0.45741871, 5.0)]
    series = CheckedSeries(Timeframe(1, "m"), BarTable(np.array([DAY_MS]), *row))
    (finding,) = found(series, "unit", "info")
    assert finding.stamps.tolist() == [DAY_MS]


@pytest.mark.parametrize("is_first", [True, False])
def test_a_unit_is_known_up_to_a_jump_that_no_unit_explains(is_first: bool) -> None:
    close = wavy(100)
    close[90:] *= 0.4
    series = scaled(walk(close), slice(80, 90), 0.01)
    opened = series.table.open.copy()
    opened[[80, 90]] = series.table.close[[80, 90]]
    table = replace(series.table, open=opened)
    if is_first:
        turned = {name: getattr(table, name)[::-1].copy() for name in (*ALL, "volume")}
        turned["open"], turned["close"] = turned["close"], turned["open"]
        table = replace(table, **turned)
    (finding,) = found(replace(series, table=table), "unit")
    rows = slice(10, 20) if is_first else slice(80, 90)
    assert finding.stamps.tolist() == table.stamps[rows].tolist()


def test_half_of_the_rows_prove_no_unit() -> None:
    series = scaled(walk(wavy(60)), slice(10, 40), 100)
    findings = found(series, "unit")
    assert findings
    assert not any(finding.certain for finding in findings)
    assert "cannot be told" in findings[0].evidence


def test_a_symbol_that_another_company_takes_over_has_no_wrong_unit() -> None:
    # A bank at 0.16, ten months later another company of that symbol at 28.
    close = np.append(wavy(120, 16.0) / 100, wavy(60, 26.0))
    series = walk(close)
    opened = series.table.open.copy()
    opened[120] = close[120]
    low = np.minimum(series.table.low, np.minimum(opened, close))
    low[120] = opened[120]
    series = replace(series, table=replace(series.table, open=opened, low=low))
    assert not found(series, "unit")


def test_what_was_traded_decides_which_unit_is_right() -> None:
    series = scaled(walk(np.full(23, 14.55), units_vary=True), slice(0, 4), 0.01)
    series = scaled(series, slice(13, 23), 0.01)
    volume = np.zeros(23)
    volume[6] = 532_454.0
    opened = series.table.close.copy()
    series = replace(series, table=replace(series.table, volume=volume, open=opened))
    findings = found(series, "unit")
    np.testing.assert_allclose(repaired(series, findings).table.close, np.full(23, 14.55))


def test_an_adjusted_close_that_is_right_stays_as_it_is() -> None:
    series = walk(wavy(60))
    series = replace(series, table=series.table.with_adj_close(series.table.close * 0.9))
    wrong = scaled(series, slice(30, 32), 100)
    result = repaired(wrong, found(wrong, "unit")).table
    np.testing.assert_allclose(result.adj_close, series.table.close * 0.9)
    adj = wrong.table.close * 0.9
    both = replace(wrong, table=wrong.table.with_adj_close(adj))
    result = repaired(both, found(both, "unit")).table
    np.testing.assert_allclose(result.adj_close, series.table.close * 0.9)


# --- splits ----------------------------------------------------------------------------------


def test_a_price_that_halves_on_news_is_no_split() -> None:
    close = wavy(200)
    close[120:] *= 0.5
    series = walk(close)
    opened = series.table.open.copy()
    opened[120] = close[120]
    series = replace(series, table=replace(series.table, open=opened))
    (untold,) = found(series, "split", "info")
    assert (untold.severity, untold.certain) == ("info", False)
    volume = series.table.volume.copy()
    volume[120] *= 12
    assert not found(replace(series, table=replace(series.table, volume=volume)), "split", "info")


def test_a_price_that_halves_on_news_and_doubles_on_news_is_no_split_in_part() -> None:
    close = wavy(200)
    series = walk(close)
    series = scaled(
        replace(series, table=replace(series.table, open=close.copy())), slice(120, 124), 0.5
    )
    assert found(series, "split", "info")
    volume = series.table.volume.copy()
    volume[[120, 124]] *= 12
    assert not found(replace(series, table=replace(series.table, volume=volume)), "split", "info")


def test_an_untold_split_is_an_error_where_the_volume_keeps_to_it_and_else_a_hint() -> None:
    close = wavy(200)
    close[:120] *= 4
    series = walk(close)
    opened = series.table.open.copy()
    opened[120] = close[120]
    series = replace(series, table=replace(series.table, open=opened))
    (hint,) = found(series, "split", "info")
    assert (hint.cause, hint.severity) == ("split by gap", "info")
    volume = series.table.volume.copy()
    volume[120:] *= 4
    (error,) = found(replace(series, table=replace(series.table, volume=volume)), "split", "info")
    assert (error.cause, error.severity) == ("split by volume", "error")
    assert "4:1" in error.evidence


def test_a_copied_bar_is_found_but_not_among_bars_that_repeat_by_themselves() -> None:
    series = walk(wavy(400) * np.exp(0.001 * np.arange(400) ** 0.9))
    volume = 1000.0 + np.arange(400) * 7919 % 1013
    series = replace(series, table=replace(series.table, volume=volume))
    columns = {name: getattr(series.table, name).copy() for name in (*ALL, "volume")}
    for column in columns.values():
        column[200] = column[199]
    copied = replace(series, table=replace(series.table, **columns))
    (finding,) = found(copied, "stale")
    assert finding.cause == "copied"
    assert finding.stamps.tolist() == [int(series.table.stamps[200])]
    # A market of few prices and few shares repeats itself.
    pattern = np.random.default_rng(1).integers(0, 2, 400)
    quiet = walk(100.0 + pattern)
    same = {"open": np.full(400, 100.0), "high": np.full(400, 101.0), "low": np.full(400, 100.0)}
    quiet = replace(quiet, table=replace(quiet.table, **same, volume=1.0 + pattern % 2))
    assert not [one for one in found(quiet, "stale", "info") if one.cause == "copied"]


def jumping(rows: int, at: int, ratio: float, volume: float = 1.0) -> CheckedSeries:
    """Return days that stand so many times higher from a day on, with so many times the volume."""
    close = wavy(rows)
    close[at:] *= ratio
    series = walk(close)
    opened, shares = series.table.open.copy(), series.table.volume.copy()
    opened[at] = close[at]
    shares[at:] *= volume
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    table = replace(series.table, open=opened, high=high, low=low, volume=shares)
    return replace(series, table=table)


@pytest.mark.parametrize(("ratio", "volume"), [(16.0, 1 / 20), (1 / 16, 20.0), (4.6, 1 / 5)])
def test_a_large_untold_split_is_one_though_the_price_moved_with_it(
    ratio: float, volume: float
) -> None:
    (error,) = found(jumping(200, 120, ratio, volume), "split")
    assert (error.cause, error.severity, error.certain) == ("split by volume", "error", False)
    assert "a split of about" in error.evidence


@pytest.mark.parametrize("ratio", [16.0, 1 / 16])
def test_a_jump_beyond_all_markets_is_doubted_if_no_more_shares_are_traded(
    ratio: float,
) -> None:
    series = jumping(200, 120, ratio)
    (error,) = found(series, "split")
    # A company may fail; none is worth sixteen times as much overnight.
    assert (error.cause, error.severity) == ("split by size", "error" if ratio > 1 else "warning")
    # What is wrong are all rows before the jump; what is doubted is the jump.
    rows = slice(120) if ratio > 1 else slice(119, 121)
    assert error.rows.tolist() == series.table.stamps[rows].tolist()
    assert error.stamps.tolist() == series.table.stamps[119:121].tolist()
    volume = series.table.volume.copy()
    volume[120] *= 5
    busy = replace(series, table=replace(series.table, volume=volume))
    assert not found(busy, "split")
    seldom = series.table.volume.copy()
    seldom[100:120:2] = seldom[101:120:2] = 0.0  # a share that nobody traded before
    assert not found(replace(series, table=replace(series.table, volume=seldom)), "split")
    assert not found(jumping(200, 120, 7.4 if ratio > 1 else 1 / 7.4), "split")


def test_of_two_jumps_beyond_all_markets_each_proves_the_rows_since_the_one_before() -> None:
    series = jumping(300, 220, 16.0)
    table = scaled(series, slice(100), 1 / 16).table
    opened = table.open.copy()
    opened[100] = table.close[100]
    table = replace(table, open=opened, low=np.minimum(table.low, opened))
    errors = found(replace(series, table=table), "split")
    assert [error.cause for error in errors] == ["split by size"] * 2
    stamps = [error.rows.tolist() for error in errors]
    assert stamps == [table.stamps[:100].tolist(), table.stamps[100:220].tolist()]


def test_a_symbol_taken_over_at_about_a_hundred_times_is_no_wrong_unit_of_all_before() -> None:
    series = jumping(300, 200, 92.0, 3.0)
    (finding,) = found(series, "unit")
    assert (finding.cause, finding.certain) == ("unit in doubt", False)
    assert finding.stamps.tolist() == series.table.stamps[199:201].tolist()
    assert "of another company" in finding.evidence
    (unit,) = found(jumping(300, 200, 100.0), "unit")
    assert (unit.cause, len(unit.stamps), unit.certain) == ("unit", 100, True)
    (short,) = found(jumping(300, 281, 92.0, 3.0), "unit")
    assert (short.cause, len(short.stamps)) == ("unit", 19)


@pytest.mark.parametrize(("name", "factor"), [("high", 2.5), ("low", 1 / 2.5)])
def test_a_wick_that_nobody_traded_at_is_doubted(name: str, factor: float) -> None:
    series = walk(wavy(200))
    column = getattr(series.table, name).copy()
    column[120] *= factor
    wrong = replace(series, table=replace(series.table, **{name: column}))
    (finding,) = found(wrong, "outlier")
    assert (finding.cause, finding.severity) == ("wick", "warning")
    assert finding.stamps.tolist() == [series.table.stamps[120]]
    for shares in (0.0, 2100.0):  # no trade at all, or many: a crash within a day
        volume = series.table.volume.copy()
        volume[120] = shares
        assert not found(replace(wrong, table=replace(wrong.table, volume=volume)), "outlier")
    coin = replace(wrong, asset_class="crypto")
    assert [one.severity for one in found(coin, "outlier", "info")] == ["info"]
    wild = walk(wavy(200))
    far = {"high": wild.table.high * 1.1, "low": wild.table.low / 1.1}
    far[name] = far[name].copy()
    far[name][120] *= factor
    assert not found(replace(wild, table=replace(wild.table, **far)), "outlier")


def weekdays(rows: int) -> CheckedSeries:
    """Return days from a Monday on, none on a weekend."""
    days = np.busday_offset("2024-01-01", np.arange(rows), roll="forward")
    stamps = days.astype("M8[ms]").astype(np.int64)
    series = walk(wavy(rows))
    return replace(series, table=replace(series.table, stamps=stamps), expected=stamps)


def with_bars_a_day_later(series: CheckedSeries, rows: slice) -> CheckedSeries:
    more = series.table.take(rows)
    more = replace(more, stamps=more.stamps + DAY_MS)
    return replace(series, table=merge(series.table, more))


def test_a_bar_on_a_day_on_which_the_market_never_opens_is_wrong_but_for_a_habit() -> None:
    series = weekdays(100)
    (finding,) = found(with_bars_a_day_later(series, slice(49, 50)), "calendar")
    assert (finding.cause, finding.severity) == ("closed day", "warning")
    assert finding.stamps.tolist() == [series.table.stamps[49] + DAY_MS]
    assert not found(with_bars_a_day_later(series, slice(4, None, 5)), "calendar")
    assert not found(with_bars_a_day_later(weekdays(19), slice(14, 15)), "calendar")
    holiday = np.delete(series.table.stamps, 60)  # closed, on a day of the week that is open else
    assert not found(replace(series, expected=holiday), "calendar")


def test_a_day_of_hours_that_is_the_day_before_is_a_copy() -> None:
    series = clean(KINDS[7], np.random.default_rng(1))
    stamps = series.table.stamps
    days = np.unique(stamps // DAY_MS)
    one, next_one = (np.flatnonzero(stamps // DAY_MS == day) for day in days[40:42])
    columns = {name: getattr(series.table, name).copy() for name in (*ALL, "volume")}
    for column in columns.values():
        column[next_one] = column[one]
    (finding,) = found(replace(series, table=replace(series.table, **columns)), "stale")
    assert (finding.cause, finding.severity) == ("copied day", "error")
    assert finding.stamps.tolist() == stamps[next_one].tolist()
    assert f" from {iso(int(stamps[next_one[0]]))} on repeat" in finding.text
    columns["volume"][next_one] += 1
    assert not found(replace(series, table=replace(series.table, **columns)), "stale")


def test_a_copy_of_the_trading_day_before_is_found_over_weekends_midnights_and_new_hours() -> None:
    hours, session = np.arange(7) * HOUR_MS, CheckedSeries(Timeframe.parse("1h"), walk([1.0]).table)
    days = np.array([day for day in range(60) if day % 7 not in (2, 3)]) * DAY_MS
    # Hours of Sydney in summer, from 23:00 UTC; hours of New York, when its clocks change; five
    # days and nights of currencies.
    sydney = (days - HOUR_MS)[:, None] + hours[:6]
    york = (days + 14 * HOUR_MS - HOUR_MS * (days > 30 * DAY_MS))[:, None] + hours
    currencies = (days - 2 * HOUR_MS)[:, None] + np.arange(24) * HOUR_MS
    # The first session is whole, or begins in the middle.
    for opened, cut in product((sydney, york, currencies), (0, 3)):
        stamps, length = opened.ravel()[cut:], opened.shape[1]
        monday = int(np.flatnonzero(days == (4 if cut else 32) * DAY_MS)[0])
        close = wavy(len(stamps)) + np.arange(len(stamps)) * 0.01
        table = replace(walk(close).table, stamps=stamps)
        table = replace(table, volume=1000.0 + np.arange(len(stamps)) % 997)
        series = replace(session, table=table, expected=stamps)
        assert not found(series, "stale")
        first = monday * length - cut
        rows, before = slice(first, first + length), slice(first - length, first)
        columns = {name: getattr(table, name).copy() for name in (*ALL, "volume")}
        for column in columns.values():
            column[rows] = column[before]
        (finding,) = found(replace(series, table=replace(table, **columns)), "stale")
        assert (finding.cause, finding.severity) == ("copied day", "error")
        assert finding.stamps.tolist() == stamps[rows].tolist()


@pytest.mark.parametrize("place", [slice(0, 100), slice(60, 75), slice(99, 100), slice(101, 104)])
def test_rows_without_a_stored_splits_factor_are_found_and_repaired(place: slice) -> None:
    series = walk(wavy(200), splits=(ShareEvent(100 * DAY_MS, 3.0),))
    flat = {name: series.table.close.copy() for name in ALL}
    series = replace(series, table=replace(series.table, **flat))
    wrong = scaled(series, place, 3.0, 1 / 3)
    (finding,) = found(wrong, "split")
    assert finding.stamps.tolist() == series.table.stamps[place].tolist()
    result = repaired(wrong, [finding]).table
    for ours, theirs in zip(result.values(), series.table.values(), strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_a_crash_of_the_size_of_a_known_split_is_not_repaired() -> None:
    series = walk(wavy(400), splits=(ShareEvent(100 * DAY_MS, 2.0),))
    series = scaled(series, slice(0, 170), 2.0)  # far from the ex-date
    opened, volume = series.table.open.copy(), series.table.volume.copy()
    opened[170] = series.table.close[170]
    volume[170] *= 20
    crashed = replace(series, table=replace(series.table, open=opened, volume=volume))
    assert not any(finding.certain for finding in found(crashed, "split"))


def test_what_a_dividend_explains_is_no_split() -> None:
    close = wavy(60)
    close[30:] *= 0.48
    paid = (ShareEvent(30 * DAY_MS, close[29] * 0.52),)
    series = walk(close, splits=(ShareEvent(30 * DAY_MS, 0.48),), dividends=paid)
    opened = series.table.open.copy()
    opened[30] = close[30]
    assert not found(replace(series, table=replace(series.table, open=opened)), "split")


def test_currencies_and_coins_have_no_splits() -> None:
    series = scaled(walk(wavy(60), asset_class="crypto"), slice(0, 30), 2.0)
    assert run_checks(series)[2]["split"] == "it has no splits"


# --- dividends -------------------------------------------------------------------------------


def test_a_special_dividend_that_the_price_follows_is_right() -> None:
    close = wavy(200)
    close[100:] *= 0.6
    series = walk(close, dividends=(ShareEvent(100 * DAY_MS, close[99] * 0.4),))
    assert not found(series, "dividend")


@pytest.mark.parametrize("share", [0.26, 0.4, 1.3])
def test_a_large_dividend_that_the_price_does_not_follow_is_wrong(share: float) -> None:
    close = wavy(200)
    series = walk(close, dividends=(ShareEvent(100 * DAY_MS, close[99] * share),))
    (finding,) = found(series, "dividend")
    assert finding.certain
    (event,) = repaired(series, [finding]).dividends or ()
    assert event.value == pytest.approx(close[99] * share / 100)


def test_twenty_times_the_others_is_enough_where_the_price_does_not_follow() -> None:
    close = wavy(400)
    paid = [ShareEvent(day * DAY_MS, 0.2) for day in (50, 110, 170, 230, 290)]
    paid[2] = ShareEvent(paid[2].at_ms, 20.0)
    (finding,) = found(walk(close, dividends=tuple(paid)), "dividend")
    assert finding.stamps.tolist() == [paid[2].at_ms]


def test_the_hundredth_of_an_amount_that_was_paid_before_is_told_in_a_share_of_two_dollars() -> (
    None
):
    random = np.random.default_rng(4)
    close = 2.0 * np.exp(np.cumsum(random.normal(0, 0.02, 400)))
    paid = [ShareEvent(day * DAY_MS, 0.003) for day in (50, 110, 170, 230, 290)]
    assert not found(walk(close, dividends=tuple(paid)), "dividend", "info")
    paid[2] = ShareEvent(paid[2].at_ms, 0.3)
    (finding,) = found(walk(close, dividends=tuple(paid)), "dividend")
    assert (finding.severity, finding.stamps.tolist()) == ("error", [paid[2].at_ms])


def test_dividends_that_are_all_a_hundredfold_are_wrong_together() -> None:
    close = wavy(900, 2.0) * np.exp(np.random.default_rng(4).normal(0, 0.04, 900))
    right = tuple(ShareEvent(day * DAY_MS, 0.002) for day in range(40, 900, 60))
    wrong = tuple(one._replace(value=0.2) for one in right)
    assert not found(walk(close, dividends=right), "dividend", "info")
    (finding,) = found(walk(close, dividends=wrong), "dividend")
    assert (finding.cause, len(finding.stamps)) == ("dividend beside price", len(wrong))
    told = repaired(walk(close, dividends=wrong), [finding]).dividends or ()
    assert [one.value for one in told] == pytest.approx([one.value for one in right])
    # A fund that pays out so much, and whose price falls by it.
    followed = close.copy()
    for one in wrong:
        followed[one.at_ms // DAY_MS :] *= 1 - 0.2 / followed[one.at_ms // DAY_MS - 1]
    assert not found(walk(followed[:200], dividends=wrong[:3]), "dividend")


def test_a_share_that_stands_still_on_its_ex_date_proves_nothing() -> None:
    close = np.repeat(wavy(40, 10.0), 5)  # a price a week
    series = walk(close, dividends=(ShareEvent(101 * DAY_MS, 0.3),))
    assert not found(series, "dividend")


def test_the_next_price_counts_where_a_share_seldom_trades() -> None:
    close = np.repeat(wavy(40, 10.0), 5)
    close[105:] *= 0.72  # its next price, four days after the ex-date
    series = walk(close, dividends=(ShareEvent(101 * DAY_MS, 2.8),))
    assert not found(series, "dividend")


def test_an_amount_that_is_neither_followed_nor_possible_is_repaired_on_both_sides() -> None:
    close = wavy(400)
    paid = [ShareEvent(day * DAY_MS, 0.5) for day in (50, 110, 170, 230, 290)]
    adj = close.copy()
    for event in paid[:4]:
        row = event.at_ms // DAY_MS
        adj[:row] *= 1 - 0.5 / close[row - 1]
    series = walk(close, dividends=(*paid[:4], ShareEvent(paid[4].at_ms, 50.0)))
    series = replace(series, table=series.table.with_adj_close(adj))
    findings = found(series, "dividend")
    assert "on 1970-10-18 50 were paid" in findings[0].evidence
    result = repaired(series, findings)
    assert result.dividends == tuple(paid)
    before = close[paid[4].at_ms // DAY_MS - 1]
    np.testing.assert_allclose(result.table.adj_close[:50], adj[:50] * (1 - 0.5 / before))  # type: ignore[index]


def test_steps_of_the_adjusted_close_that_no_dividend_explains_are_counted() -> None:
    close = wavy(400)
    adj = close.copy()
    for row, others in ((200, ""), (100, " and on 1 other day"), (50, " and on 2 other days")):
        adj[:row] *= 0.95
        first = iso(row * DAY_MS)[:10]
        series = walk(close, dividends=())
        series = replace(series, table=series.table.with_adj_close(adj))
        (finding,) = found(series, "dividend")
        assert f"adj_close steps by 5.00% on {first}{others}, but" in finding.evidence
        assert (finding.cause, finding.severity) == ("adj_close step", "warning")


def test_one_dividend_on_two_days_is_suspected_and_weekly_payers_are_not() -> None:
    close = wavy(400)
    twice = tuple(ShareEvent(day * DAY_MS, 0.5) for day in (100, 200, 203, 300))
    (finding,) = found(walk(close, dividends=twice), "dividend")
    assert "reported twice" in finding.evidence
    weekly = tuple(ShareEvent(day * DAY_MS, 0.05) for day in range(10, 390, 7))
    assert not found(walk(close, dividends=weekly), "dividend")


def test_the_dividend_check_says_that_dividends_are_not_stored() -> None:
    assert "not stored" in run_checks(walk(wavy(30)))[2]["dividend"]


# --- rows and rhythm -------------------------------------------------------------------------


def test_no_trade_is_not_stale() -> None:
    close = wavy(100)
    close[50:62] = close[50]
    stuck = walk(close)
    (finding,) = found(stuck, "stale")
    assert finding.severity == "warning"
    assert "for 11 bars" in finding.text and "other runs have at most 1" in finding.text
    repeated = stuck.table.volume.copy()
    repeated[50:62] = 77.0
    same = replace(stuck, table=replace(stuck.table, volume=repeated))
    assert [finding.severity for finding in found(same, "stale")] == ["error"]
    quiet = stuck.table.volume.copy()
    quiet[50:62] = 0.0
    assert found(replace(stuck, table=replace(stuck.table, volume=quiet)), "stale") == []


def test_one_price_with_little_volume_is_a_quiet_market() -> None:
    close = wavy(100)
    close[50:62] = close[50]
    series = walk(close)
    columns = {name: getattr(series.table, name).copy() for name in ("open", "high", "low")}
    for column in columns.values():
        column[50:62] = close[50]
    volume = series.table.volume.copy()
    volume[50:62] = 1.0 + np.arange(12) % 3
    for traded, severity in ((volume, "info"), (series.table.volume, "warning")):
        case = replace(series, table=replace(series.table, **columns, volume=traded))
        (finding,) = found(case, "stale", "info")
        assert finding.severity == severity


def test_a_series_that_often_repeats_itself_is_not_stale() -> None:
    random = np.random.default_rng(2)
    close = 1.0 + random.integers(0, 2, 600) * 0.01  # a peg: two prices, each for some bars
    close = np.repeat(close[:200], random.geometric(0.35, 200))
    flat = walk(close)
    table = replace(flat.table, open=close, high=close, low=close)
    assert found(replace(flat, table=table), "stale") == []


def test_a_way_there_and_back_is_no_outlier() -> None:
    close = wavy(100)
    close[50] *= 0.6
    assert not found(walk(close), "outlier")  # the next bar opens where it closed
    series = walk(close)
    opened = series.table.open.copy()
    opened[51] = (close[49] + close[50]) / 2  # half of the way back
    assert not found(replace(series, table=replace(series.table, open=opened)), "outlier")
    opened[51] = close[49]
    assert found(replace(series, table=replace(series.table, open=opened)), "outlier")


def test_a_minute_without_a_trade_is_no_hole_and_an_hour_is() -> None:
    series = clean(KINDS[11], np.random.default_rng(1))
    few = replace(series, table=series.table.take(np.r_[0:100, 103 : len(series)]))
    assert not found(few, "calendar")
    assert found(few, "calendar", "info")
    many = replace(series, table=series.table.take(np.r_[0:100, 160 : len(series)]))
    assert "60 from" in found(many, "calendar")[0].evidence


def test_a_market_that_trades_seldom_has_no_holes_but_far_longer_ones() -> None:
    random = np.random.default_rng(4)
    series = clean(KINDS[11], random)
    kept = np.flatnonzero(random.random(len(series)) < 0.3)
    sparse = replace(series, table=series.table.take(kept))
    assert not found(sparse, "calendar")
    gone = kept[(kept < 1000) | (kept > 1200)]
    assert found(replace(series, table=series.table.take(gone)), "calendar")


def months_of(days: CheckedSeries) -> CheckedSeries:
    """Return the months of 1970 that a series of days makes."""
    starts = np.array([0, 31, 59, 90])
    parts = [slice(a, b) for a, b in zip(starts, [*starts[1:], 120], strict=True)]
    table = BarTable(
        starts.astype(np.int64) * DAY_MS,
        np.array([days.table.open[p][0] for p in parts]),
        np.array([days.table.high[p].max() for p in parts]),
        np.array([days.table.low[p].min() for p in parts]),
        np.array([days.table.close[p][-1] for p in parts]),
        np.array([days.table.volume[p].sum() for p in parts]),
    )
    return CheckedSeries(Timeframe(1, "M"), table, days=days.table)


def test_a_month_beyond_every_day_of_its_own() -> None:
    series = months_of(walk(wavy(120)))
    table = series.table
    assert not found(series, "beyond days")
    for name, row, factor in (("high", 1, 1.3), ("low", 0, 0.7), ("high", 3, 1.3)):
        column = getattr(table, name).copy()
        column[row] *= factor
        wrong = replace(series, table=replace(table, **{name: column}))
        (finding,) = found(wrong, "beyond days")
        assert finding.stamps.tolist() == [table.stamps[row]]


def test_months_whose_days_are_not_all_stored_prove_nothing() -> None:
    series = months_of(walk(wavy(120)))
    days = series.days
    assert days is not None
    high = series.table.high.copy()
    high[1] *= 1.3
    wrong = replace(series, table=replace(series.table, high=high))
    few = replace(wrong, days=days.take(np.r_[0:35, 37:120]))
    assert not found(few, "beyond days")
    none = np.full(120, np.nan)
    without = replace(wrong, days=replace(days, volume=none))
    assert found(without, "beyond days")
    assert not found(
        replace(without, days=replace(days, volume=none).take(slice(31, 59))), "beyond days"
    )


def test_odd_volumes_and_large_moves_are_reported_as_info_only() -> None:
    close = wavy(100)
    close[60:] *= 1.8
    series = walk(close)
    volume = series.table.volume.copy()
    volume[60], volume[20] = 90_000.0, 0.0
    series = replace(series, table=replace(series.table, volume=volume))
    for check in ("move", "volume", "no volume"):
        (finding,) = [one for one in found(series, check, "info") if one.cause == check]
        assert finding.severity == "info"


@pytest.mark.parametrize(("distance", "is_flagged"), [(2.9, False), (3.1, True), (-3.1, True)])
def test_a_move_beyond_three_standard_deviations_is_flagged(
    distance: float, is_flagged: bool
) -> None:
    random = np.random.default_rng(1)
    moves = random.uniform(-0.01, 0.01, 400)
    moves[200] = 0.0
    mean, spread = moves.mean(), moves.std()
    moves[200] = mean + distance * spread * (1 + distance**2 / 2 / len(moves))
    close = 100 * np.cumprod(np.append(1.0, 1 + moves))
    flagged = [one for one in found(walk(close), "move", "info") if one.cause == "return_outlier"]
    assert bool(flagged) == is_flagged
    for one in flagged:
        assert one.stamps.tolist() == [201 * DAY_MS]
        assert (one.severity, f"{distance:+.1f}" in one.evidence) == ("info", True)


def test_moves_too_large_for_a_standard_deviation_are_no_outliers() -> None:
    close = wavy(100)
    close[50] = 1e-300
    causes = {one.cause for one in found(walk(close), "move", "info")}
    assert "return_outlier" not in causes
    assert "move" in causes


@pytest.mark.parametrize(
    ("column", "values", "check"),
    [
        ("close", [1e-300, 1e300], "move"),
        ("high", [1e-300, 1e300], "order"),
        ("volume", [1e300, 1e-300], "volume"),
    ],
)
def test_values_at_the_limits_of_floats_are_found_without_a_warning_of_numpy(
    column: str, values: list[float], check: str
) -> None:
    table = walk(wavy(100)).table
    cells = getattr(table, column).copy()
    cells[50:52] = values
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        findings, ran, _ = run_checks(
            replace(walk(wavy(100)), table=replace(table, **{column: cells}))
        )
    assert check in ran
    assert check in {one.check for one in findings}


def test_a_price_near_the_largest_float_is_a_jump_without_a_warning_of_numpy() -> None:
    table = walk(wavy(100)).table
    opened = table.open.copy()
    opened[50:52] = 1e308
    high, low = np.maximum(table.high, opened), np.where(opened > 1e300, 1e308, table.low)
    close = np.where(opened > 1e300, 1e308, table.close)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jumps = unit_jumps(replace(table, open=opened, high=high, low=low, close=close))
    assert np.flatnonzero(jumps).tolist() == [50, 52]


@pytest.mark.parametrize(("distance", "is_flagged"), [(4.9, False), (5.1, True), (-5.1, False)])
def test_a_volume_beyond_five_standard_deviations_is_flagged(
    distance: float, is_flagged: bool
) -> None:
    volume = np.random.default_rng(1).uniform(9000, 11_000, 400)
    volume[200] = 10_000
    volume[200] = volume.mean() + distance * volume.std() * (1 + distance**2 / 2 / len(volume))
    series = walk(wavy(400))
    series = replace(series, table=replace(series.table, volume=volume))
    findings, _, _ = run_checks(series)
    flagged = [one for one in findings if one.cause == "volume_outlier"]
    assert bool(flagged) == is_flagged
    for one in flagged:
        assert one.stamps.tolist() == [200 * DAY_MS]
        assert (one.severity, f"{distance:+.1f}" in one.evidence) == ("info", True)
    assert score_of(findings, 400) == 1.0


def test_prices_that_move_while_nothing_is_traded_are_doubted() -> None:
    series = walk(wavy(400))
    volume = series.table.volume.copy()
    volume[100:110] = 0.0
    assert found(replace(series, table=replace(series.table, volume=volume)), "no volume")


# --- all of them -----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4])
def test_very_short_series_break_no_check(rows: int) -> None:
    _, ran, skipped = run_checks(walk(wavy(rows), splits=(), dividends=()))
    assert len(ran) + len(skipped) == sum(check.find is not None for check in CHECKS)


@pytest.mark.parametrize(
    ("column", "value", "fault", "severity"),
    [
        ("high", 1e17, "high or low too far from open and close", "error"),
        ("low", 1e-17, "high or low too far from open and close", "error"),
        ("volume", -1.0, "volume negative", "error"),
        ("high", 10.0, "high below low", "error"),
        ("high", 99.0, "high below low", "warning"),
    ],
)
def test_a_row_that_cannot_be_a_bar_is_an_error_with_its_fault(
    column: str, value: float, fault: str, severity: str
) -> None:
    table = walk(wavy(100)).table
    cells = getattr(table, column).copy()
    cells[50] = value
    series = replace(walk(wavy(100)), table=replace(table, **{column: cells}))
    (one,) = found(series, "order")
    assert (one.severity, one.stamps.tolist()) == (severity, [50 * DAY_MS])
    assert one.evidence.startswith("1 row cannot be bars; the first: ")
    assert one.evidence.endswith(f"(o/h/l/c), {fault}")


def test_rows_without_a_price_break_no_check() -> None:
    series = walk(wavy(50), dividends=(ShareEvent(20 * DAY_MS, 0.5),), splits=())
    close = series.table.close.copy()
    close[[19, 20]], close[30], close[31] = np.nan, 0.0, -5.0
    findings, _, _ = run_checks(replace(series, table=replace(series.table, close=close)))
    assert "order" in {finding.check for finding in findings}
    none = replace(series, table=replace(series.table, close=np.full(50, np.nan)))
    findings, ran, _ = run_checks(none)
    assert [finding.check for finding in findings] == ["order"]
    assert "dividend" not in ran


# --- the adjusted close ----------------------------------------------------------------------


def adjusted_walk(
    splits: tuple[tuple[int, float], ...], told: tuple[tuple[int, float], ...] = ()
) -> CheckedSeries:
    """Return days before and after splits, with a right ``adj_close``; their vendor reports ``told``."""
    after = wavy(120)
    close = after.copy()
    for row, ratio in splits:
        close[:row] *= ratio
    for row, ratio in told:
        close[:row] /= ratio
    events = tuple(ShareEvent(row * DAY_MS, ratio) for row, ratio in told)
    series = walk(close, splits=events, dividends=())
    opened = series.table.open.copy()
    for row, _ in (*splits, *told):
        opened[row] = close[row]  # it opens at its own level
    table = replace(series.table, open=opened, adj_close=after)
    return replace(series, table=table)


@pytest.mark.parametrize(
    ("splits", "told", "wrong"),
    [
        (((60, 2.0),), (), [(0, 60)]),
        (((60, 1.25),), (), [(0, 60)]),
        (((60, 2.376),), (), [(0, 60)]),  # more than half of the price
        (((60, 0.1),), (), [(0, 60)]),
        (((40, 2.0), (80, 3.0)), (), [(0, 40), (40, 80)]),
        (((60, 2.0),), ((60, 3.0),), [(0, 60)]),
        (((60, 2.0),), ((60, 2.06),), [(0, 60)]),
        (((60, 2.0),), ((61, 2.0),), [(60, 61)]),  # a session late
        (((60, 2.0),), ((60, 2.0),), []),
        (((60, 2.0),), ((60, 2.02),), []),  # as little as prices move in a day
        (((60, 1.17),), (), []),  # may be a dividend
        ((), (), []),
    ],
)
def test_rows_are_wrong_where_prices_and_adj_close_jump_by_an_unreported_split(
    splits: tuple[tuple[int, float], ...],
    told: tuple[tuple[int, float], ...],
    wrong: list[tuple[int, int]],
) -> None:
    series = adjusted_walk(splits, told)
    findings = found(series, "adjusted close")
    rows = [finding.rows // DAY_MS for finding in findings]
    assert [(int(r[0]), int(r[-1]) + 1) for r in rows] == wrong
    repairs = [repair for finding in findings for repair in finding.repairs]
    table = series.table
    for repair in repairs:
        table = repaired_prices(table, [repair])
    if wrong:
        assert table.close == pytest.approx(wavy(120))
    assert {finding.severity for finding in findings} <= {"error"}


@pytest.mark.parametrize(("ratio", "terms"), [(2.0, "2:1"), (1.25, "1.25:1"), (0.1, "1:10")])
def test_an_unreported_split_has_the_terms_of_its_adjusted_close(ratio: float, terms: str) -> None:
    (finding,) = found(adjusted_walk(((60, ratio),)), "adjusted close")
    assert f"adj_close follows a split of {terms} there" in finding.evidence


def test_an_adjusted_close_that_lacks_rows_or_means_nothing_proves_no_split() -> None:
    series = adjusted_walk(((60, 2.0),))
    adj = np.array(series.table.adj_close)

    def rows(column: np.ndarray | None) -> list[int]:
        table = replace(series.table, adj_close=column)
        findings = found(replace(series, table=table), "adjusted close")
        return [int(finding.rows[-1] // DAY_MS) for finding in findings]

    holes = adj.copy()
    holes[58:63] = holes[10] = holes[-1] = np.nan
    assert rows(holes) == [59], "the jump of the price shows its place"
    assert rows(np.full(120, np.nan)) == rows(None) == []
    assert rows(np.full(120, 7.0)) == rows(series.table.close * 0.8) == []
    assert rows(np.round(adj, 2)) == [59]
    assert rows(adj * 3) == [59], "a basis of its own"
    assert rows(adj * 1000) == [59, 119], "all rows are above their close"
    coin = replace(series, asset_class="crypto")
    assert (
        found(coin, "adjusted close") == found(replace(series, splits=None), "adjusted close") == []
    )


@pytest.mark.parametrize(
    ("times", "told", "wrong"), [(20.5, 1.0, 40), (19.5, 1.0, 0), (20.5, 0.04, 0)]
)
def test_an_adjusted_close_far_above_its_close_is_wrong_without_a_reverse_split(
    times: float, told: float, wrong: int
) -> None:
    series = walk(
        wavy(120), dividends=(), splits=(ShareEvent(40 * DAY_MS, told),) if told < 1 else ()
    )
    adj = series.table.close.copy()
    adj[:40] *= times if told == 1.0 else times * told
    (*findings,) = found(
        replace(series, table=replace(series.table, adj_close=adj)), "adjusted close"
    )
    assert sum(len(finding.rows) for finding in findings) == wrong


@pytest.mark.parametrize(
    ("part", "told", "day", "wrong"),
    [
        (0.5, 0.5, 60, 0),
        (0.5, 0.5, 52, 0),  # the date of another vendor
        (0.2, 0.2, 63, 0),
        (0.5, 0.4, 60, 0),  # in another currency, or after tax
        (0.5, 0.009, 55, 1),  # an ordinary dividend
        (0.5, 0.5, 80, 1),
    ],
)
def test_a_dividend_of_about_the_size_of_a_step_explains_it(
    part: float, told: float, day: int, wrong: int
) -> None:
    close = wavy(120)
    adj, before = close.copy(), close[59]
    close[:60] /= 1 - part
    events = (ShareEvent(day * DAY_MS, close[59] * told),)
    series = walk(close, splits=(), dividends=events)
    series.table.open[60] = before
    series = replace(series, table=series.table.with_adj_close(adj))
    assert len(found(series, "adjusted close")) == wrong


def test_many_dividends_without_adjusted_closes_between_are_no_split() -> None:
    close, rows = wavy(1200), range(30, 1170, 30)
    close[600:] *= 1.2
    adj, events = close.copy(), []
    for row in rows:
        adj[:row] *= 0.975
        events.append(ShareEvent(row * DAY_MS, close[row - 1] * 0.025))
    adj[10:-10] = np.nan
    series = walk(close, splits=(), dividends=tuple(events))
    series.table.open[600] = close[600]
    series = replace(series, table=series.table.with_adj_close(adj))
    assert found(series, "adjusted close") == []


@pytest.mark.parametrize(
    ("price", "jump", "share", "places", "adj_places"),
    [
        (0.03, 1.0, 1.0, 2, 2),  # both are rounded alike, except for dividends
        (0.02, 1.0, 0.8, 2, 4),  # only prices are coarse
        (0.039, 1.15, 1.0, 4, 2),  # it does not change for weeks
    ],
)
def test_coarse_prices_prove_no_split(
    price: float, jump: float, share: float, places: int, adj_places: int
) -> None:
    alarms = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        close = price * np.exp(np.cumsum(random.standard_normal(300) * 0.015))
        close[200:] *= jump
        adj = np.round(close * np.where(np.arange(300) < 30, share * 0.99, share), adj_places)
        close = np.round(close, places)
        series = walk(close, splits=(), dividends=())
        series.table.open[:] = close
        series = replace(series, table=series.table.with_adj_close(adj))
        alarms += found(series, "adjusted close")
    assert alarms == []


def test_an_adjusted_close_of_nearly_nothing_before_a_dividend_is_judged() -> None:
    close = wavy(60)
    adj = close.copy()
    adj[29] = 1e-17
    series = walk(close, splits=(), dividends=(ShareEvent(30 * DAY_MS, 0.5),))
    series = replace(series, table=series.table.with_adj_close(adj))
    assert {finding.cause for finding in found(series, "dividend")} == {"adj_close step"}


def test_a_large_split_without_a_jump_at_its_date_and_a_larger_one_days_later_is_doubted() -> None:
    close = wavy(60)
    close[:33] *= 20  # the split of 1:10, and half of the price
    series = walk(close, splits=(ShareEvent(28 * DAY_MS, 0.1),), dividends=())
    series.table.open[33] = close[33]
    (finding,) = found(series, "split")
    assert (finding.severity, len(finding.rows)) == ("error", 33)
    for day, ratio in ((20, 0.1), (28, 0.5)):  # more than ten rows away; as large as a move may be
        other = replace(series, splits=(ShareEvent(day * DAY_MS, ratio),))
        assert {one.severity for one in found(other, "split")} <= {"warning"}


def test_errors_and_warnings_lower_the_score() -> None:
    none = np.arange(5, dtype=np.int64)
    error = QualityFinding("unit", "intrinsic", "error", none, "", "")
    warning = replace(error, severity="warning")
    info = replace(error, severity="info")
    assert score_of([], 100) == score_of([info], 100) == 1.0
    assert score_of([error], 100) == pytest.approx(0.9)
    assert score_of([error], 10) == pytest.approx(0.5)
    assert score_of([warning], 100) == pytest.approx(0.95)
    assert score_of([error, warning], 100) == pytest.approx(0.9 * 0.95)
    assert score_of([], 0) == 0.0
    assert [f.severity for f in ranked([info, warning, error])] == ["error", "warning", "info"]


def test_the_usual_value_is_the_median_of_the_finite_ones() -> None:
    rng = np.random.default_rng(11)
    for count in range(60):
        values = np.round(rng.normal(size=count), int(rng.integers(0, 9)))
        values *= 10.0 ** float(rng.integers(-200, 200))
        values[rng.random(count) < 0.2] = rng.choice([np.nan, np.inf, -np.inf])
        finite = values[np.isfinite(values)]
        assert typical(values) == (np.median(finite) if len(finite) else 0.0)


def test_deviations_are_those_that_numpy_computes_to_the_last_bit() -> None:
    rng = np.random.default_rng(12)
    for count in (0, 1, 2, 3, 50, 51, 5000):
        values = rng.normal(50.0, size=count) * 10.0 ** float(rng.integers(-100, 100))
        values[rng.random(count) < 0.1] = rng.choice([np.nan, np.inf])
        rows = np.isfinite(values)
        expected = np.zeros(count)
        if rows.sum() > 1:
            expected[rows] = (values[rows] - np.mean(values[rows])) / np.std(values[rows])
        assert _deviations(values).tolist() == expected.tolist()
    assert _deviations(np.full(9, 7.0)).tolist() == [0.0] * 9


def test_every_check_has_a_name_a_level_a_next_step_and_its_cost() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.about
        assert check.next_step
        is_of_bars = check.level == "intrinsic" and check.name != "doubted"
        assert (check.find is None) != is_of_bars
        assert bool(check.requests) == (check.name in ("second vendor", "exchange"))


def test_minutes_are_fast_enough_to_be_looked_at_as_a_whole() -> None:
    series = clean(replace(KINDS[11], rows=3000), np.random.default_rng(8))
    assert series.timeframe.longest_ms == MINUTE_MS
    assert run_checks(series)[1]


def test_dividends_in_pounds_for_prices_in_pence_are_wrong_if_adj_close_and_the_price_follow_pence() -> (
    None
):
    kind = next(kind for kind in KINDS if kind.name == "share in pence")
    series = clean(kind, np.random.default_rng(7))
    assert dividend_errors(series) == []
    paid = series.dividends or ()
    pounds = [one._replace(value=one.value / 100) for one in paid]
    defects = dividend_errors(replace(series, dividends=tuple(pounds)))
    assert [(d.severity, d.cause) for d in defects] == [("error", "dividend beside adj_close")]
    assert defects[0].stamps.tolist() == [one.at_ms for one in paid]
    assert "the price fell by more" in defects[0].evidence
    assert {repair.factor for repair in defects[0].repairs} == {100.0}
    one = max(range(len(paid)), key=lambda place: paid[place].value)
    told = (*paid[:one], pounds[one], *paid[one + 1 :])
    (defect,) = dividend_errors(replace(series, dividends=told))
    assert (defect.severity, defect.stamps.tolist()) == ("error", [paid[one].at_ms])
