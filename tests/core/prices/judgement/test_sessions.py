"""Hours and minutes beside the days of their sessions: what no bar of a day can be is found."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import partial

import numpy as np
import pytest

from src.data.core.calendars.calendar import calendar_for
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, day_ms, parse_iso
from src.data.core.prices.judgement.checks import run_checks
from src.data.core.prices.judgement.grave import graves
from src.data.core.prices.judgement.levels import Defect
from src.data.core.prices.judgement.series import CheckedSeries, ShareEvent
from src.data.core.prices.judgement.sessions import beside_days, daily_sessions
from tests.corpus.series import sessions_of
from tests.effort import calls_of

from .planting import ALL, KINDS, clean, scaled, with_columns


def hours(kind: str = "share by the hour", rows: int = 0) -> CheckedSeries:
    """Return clean hours or minutes beside the days that they make up."""
    of = next(one for one in KINDS if one.name == kind)
    series = clean(replace(of, rows=rows or of.rows), np.random.default_rng(3))
    splits = () if series.asset_class == "stock" else None
    return replace(series, splits=splits, sessions=sessions_of(series.table))


def stamps_of(found: list[Defect] | str) -> list[int]:
    """Return the stamps of all rows that are found."""
    assert not isinstance(found, str)
    return [int(stamp) for one in found for stamp in one.stamps]


@pytest.mark.parametrize(
    "kind", ["share by the hour", "tiny coin", "coin by the minute", "currency"]
)
def test_bars_that_agree_with_their_daily_bars_have_no_finding(kind: str) -> None:
    assert beside_days(hours(kind)) == []


@pytest.mark.parametrize("kind", ["share by the hour", "tiny coin", "currency"])
@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_all_bars_in_another_unit_are_grave_though_their_neighbours_are_alike(
    kind: str, factor: float
) -> None:
    series = hours(kind)
    wrong = scaled(series, slice(0, len(series)), factor, ALL)
    assert graves(replace(wrong, sessions=None)) == []
    (found,) = graves(wrong)
    assert found.stamps.tolist() == series.table.stamps.tolist()
    assert found.cause.startswith("beside days: ")
    errors = [one for one in run_checks(wrong)[0] if one.severity == "error"]
    assert [one.check for one in errors] == ["beside days"]
    assert errors[0].is_grave and not errors[0].certain


@pytest.mark.parametrize("ratio", [1.5, 2.0, 0.5, 4.0, 0.1, 7.3])
def test_hours_of_a_share_that_are_off_by_a_split_are_found_and_no_others(ratio: float) -> None:
    series = hours()
    wrong = scaled(series, slice(210, 280), ratio, ALL)
    wrong = replace(wrong, splits=(ShareEvent(0, 7.3),))
    assert stamps_of(beside_days(wrong)) == series.table.stamps[210:280].tolist()


def test_one_hour_at_a_ratio_is_found_and_one_at_no_ratio_is_left_to_other_checks() -> None:
    series = hours()
    assert len(stamps_of(beside_days(scaled(series, slice(500, 501), 2.0, ALL)))) == 1
    assert stamps_of(beside_days(scaled(series, slice(500, 501), 1.7, ALL))) == []


def test_most_bars_of_a_session_need_no_ratio_and_few_do() -> None:
    series = hours()
    assert len(series.table.stamps[700:707] // DAY_MS) == 7  # one session
    assert len(stamps_of(beside_days(scaled(series, slice(700, 707), 1.7, ALL)))) == 7
    assert len(stamps_of(beside_days(scaled(series, slice(700, 705), 1 / 1.7, ALL)))) == 5
    assert stamps_of(beside_days(scaled(series, slice(700, 704), 1.7, ALL))) == []


@pytest.mark.parametrize("kind", ["share by the hour", "coin by the minute"])
def test_days_decide_which_of_two_units_is_right_also_where_most_bars_are_in_the_other(
    kind: str,
) -> None:
    series = hours(kind)
    wrong = scaled(series, slice(300, len(series)), 100.0, ALL)
    errors = [one for one in run_checks(wrong)[0] if one.severity == "error"]
    assert [(one.check, one.certain) for one in errors] == [("unit", True)]
    assert errors[0].stamps.tolist() == series.table.stamps[300:].tolist()


def test_bars_before_a_jump_that_their_days_show_ignore_no_split() -> None:
    series = hours()
    wrong = scaled(series, slice(840, len(series)), 0.25, ALL, 4.0)
    assert [one.cause[:6] for one in graves(replace(wrong, sessions=None))] == ["split:"]
    (found,) = graves(wrong)
    assert found.cause.startswith("beside days: ")
    assert found.stamps.tolist() == series.table.stamps[840:].tolist()


def test_a_coin_has_no_splits() -> None:
    series = hours("tiny coin")
    assert stamps_of(beside_days(scaled(series, slice(500, 501), 2.0, ALL))) == []
    assert len(stamps_of(beside_days(scaled(series, slice(500, 501), 100.0, ALL)))) == 1


def test_a_fall_that_its_daily_bar_shows_is_not_a_defect() -> None:
    series = hours()
    fallen = scaled(series, slice(500, len(series)), 0.5, ALL)
    assert stamps_of(beside_days(fallen)) != []
    assert beside_days(replace(fallen, sessions=sessions_of(fallen.table))) == []


def test_bars_without_a_trade_and_bars_outside_of_the_session_prove_nothing() -> None:
    series = hours()
    wrong = scaled(series, slice(500, 503), 0.5, ALL)
    volume = wrong.table.volume.copy()
    volume[500:503] = 0.0
    assert beside_days(with_columns(wrong, volume=volume)) == []
    assert series.sessions is not None
    early = series.sessions._replace(closes=series.sessions.opens + HOUR_MS)
    assert beside_days(replace(wrong, sessions=early)) == []


def test_days_that_are_not_stored_prove_nothing() -> None:
    series = hours()
    wrong = scaled(series, slice(0, len(series)), 2.0, ALL)
    assert beside_days(replace(wrong, sessions=None)) == "no daily bars are stored"
    one = sessions_of(series.table.take(slice(700, 707)))
    assert (
        stamps_of(beside_days(replace(wrong, sessions=one)))
        == series.table.stamps[700:707].tolist()
    )
    days = clean(KINDS[0], np.random.default_rng(3))
    assert beside_days(replace(days, sessions=one)) == "it applies only to hours and minutes"


def test_days_have_the_hours_of_their_market() -> None:
    stamps = np.array([day_ms(date(2024, 7, day)) for day in (2, 3, 4, 5)], dtype=np.int64)
    table = BarTable(stamps, *(np.arange(4.0) for _ in range(5)))
    found = daily_sessions(table, calendar_for(Instrument("AAPL", "stock", "XNYS")))
    assert found.days.open.tolist() == [0.0, 1.0, 3.0], "a holiday has no session"
    assert found.opens[0] == parse_iso("2024-07-02T13:30:00Z")
    assert found.closes[:2].tolist() == [
        parse_iso("2024-07-02T20:00:00Z"), parse_iso("2024-07-03T17:00:00Z")
    ]  # fmt: skip
    coins = daily_sessions(table, calendar_for(Instrument("BTCUSDT", "crypto", "24/7")))
    assert coins.closes.tolist() == (stamps + DAY_MS).tolist()
    assert not len(
        daily_sessions(BarTable.empty(), calendar_for(Instrument("X", "forex", "FX"))).days
    )


def test_the_work_does_not_grow_with_the_rows_that_are_off() -> None:
    def work(rows: int) -> int:
        series = hours(rows=rows)
        wrong = scaled(series, slice(0, rows), 2.0, ALL)
        return calls_of(partial(beside_days, wrong))

    counts = [work(rows) for rows in (700, 1400, 2800)]
    assert counts[2] <= counts[0] + 50
