"""Tests which row of a frame carries a split or a dividend."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pytest

from src.data.core.bars.answer.action_columns import KnownActions, action_columns, ex_dates
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.actions import Action
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.stored.stored import KnownAction
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe

from .answers import SHARE

NOW = parse_iso("2024-06-12T15:00")


def paid(day: str, amount: float = 1.0, *, ex_at: str = "", counts: bool = True) -> KnownAction:
    ex_date = date.fromisoformat(day)
    action = Action(ex_date, "dividend", parse_iso(ex_at or day), amount=amount, as_paid=True)
    return KnownAction(action, counts=counts, amount=amount, paid=amount * 4)


def split(day: str, new: float) -> KnownAction:
    return KnownAction(Action(date.fromisoformat(day), "split", parse_iso(day), new, 1.0))


def columns(
    label: str,
    stamps: list[str],
    *actions: KnownAction,
    unknown: tuple[Span, ...] = (),
    **more: str,
) -> dict[str, list[float]]:
    times = np.array([parse_iso(text) for text in stamps], dtype=np.int64)
    query = BarsQuery(SHARE, Timeframe.parse(label), Span(int(times[0]), NOW), NOW, **more)  # type: ignore[arg-type]
    found = action_columns(query, times, KnownActions(actions, unknown))
    return {name: column.tolist() for name, column in found.items()}


DAYS = ["2024-06-03", "2024-06-04", "2024-06-06"]


def test_daily_rows_hold_the_dividends_and_splits_of_their_date() -> None:
    found = columns(
        "1d", DAYS, paid("2024-06-04", 0.5), split("2024-06-06", 4), split("2024-06-03", 2)
    )
    assert found == {"dividend": [0, 0.5, 0], "capital_gain": [0, 0, 0], "split": [2, 0, 4]}
    assert columns("1d", DAYS, paid("2024-06-04", 0.5), adjustment="raw")["dividend"] == [0, 2, 0]


@pytest.mark.parametrize(
    "day, row",
    [("2024-06-05", 2), ("2024-06-02", None), ("2024-06-07", None)],
    ids=["its bar is missing", "before the first", "after the last"],
)
def test_a_dividend_on_a_day_without_a_bar_is_in_the_next_row(day: str, row: int | None) -> None:
    expected = [0.0, 0.0, 0.0]
    if row is not None:
        expected[row] = 1.0
    assert columns("1d", DAYS, paid(day))["dividend"] == expected


def test_unused_actions_are_not_in_the_columns() -> None:
    odd = KnownAction(Action(date(2024, 6, 4), "split", day_ms(date(2024, 6, 4)), math.nan, 1.0))
    found = columns("1d", DAYS, paid("2024-06-04", counts=False), odd)
    assert found == {"dividend": [0, 0, 0], "capital_gain": [0, 0, 0], "split": [0, 0, 0]}


def test_weekly_and_monthly_bars_sum_dividends_and_multiply_splits() -> None:
    weeks = ["2024-05-27", "2024-06-03"]
    found = columns("1w", weeks, paid("2024-05-31"), paid("2024-05-28"), split("2024-06-04", 4),
                    split("2024-06-06", 0.5))  # fmt: skip
    assert found == {"dividend": [2, 0], "capital_gain": [0, 0], "split": [0, 2]}
    assert columns("1M", ["2024-04-01", "2024-05-01"], paid("2024-05-31"))["dividend"] == [0, 1]


@pytest.mark.parametrize(
    "label, stamps, day, row",
    [
        ("1M", ["2024-03-01", "2024-04-01"], "2024-04-30", 1),
        ("1M", ["2024-03-01", "2024-04-01"], "2024-05-01", None),  # April has 30 days
        ("3M", ["2023-10-01", "2024-01-01"], "2024-04-03", None),  # 91 days, not 93
        ("12M", ["2022-01-01", "2023-01-01"], "2023-12-31", 1),
        ("12M", ["2022-01-01", "2023-01-01"], "2024-01-04", None),
        ("1M", ["2024-03-01", "2024-05-01"], "2024-04-15", 1),  # April is missing
    ],
)
def test_an_action_of_a_month_that_is_still_forming_is_in_no_row(
    label: str, stamps: list[str], day: str, row: int | None
) -> None:
    expected = [0.0, 0.0]
    if row is not None:
        expected[row] = 1.0
    assert columns(label, stamps, paid(day))["dividend"] == expected


def test_an_action_of_a_bar_before_the_range_is_in_no_row() -> None:
    weeks = np.array([parse_iso("2024-04-08"), parse_iso("2024-04-15")])
    span = Span(parse_iso("2024-04-02"), NOW)
    query = BarsQuery(SHARE, Timeframe.parse("1w"), span, NOW)
    before = KnownActions([split("2024-04-02", 2), split("2024-04-08", 4)])
    assert action_columns(query, weeks, before)["split"].tolist() == [4, 0]
    # The last two bars, of which the first is not missing behind the start of the search.
    counted = BarsQuery(SHARE, Timeframe.parse("1w"), Span(0, NOW), NOW, bars=2)
    assert action_columns(counted, weeks, before)["split"].tolist() == [4, 0]


@pytest.mark.parametrize(
    "label, first, day, dividend",
    [
        ("1d", "2024-06-04", "2024-06-03", 0),
        ("1M", "2024-06-01", "2024-05-07", 0),
        ("1h", "2024-06-04T14:30", "2024-06-03", 0),
        ("1h", "2024-06-04T14:30", "2024-06-04", 1),
    ],
    ids=["day", "month", "session before", "session of the row"],
)
def test_an_action_in_a_gap_at_the_start_is_in_no_row(
    label: str, first: str, day: str, dividend: int
) -> None:
    query = BarsQuery(SHARE, Timeframe.parse(label), Span(parse_iso("2024-05-01"), NOW), NOW)
    found = action_columns(query, np.array([parse_iso(first)]), KnownActions([paid(day)]))
    assert found["dividend"].tolist() == [dividend]


def test_only_rows_whose_dates_are_unknown_are_null() -> None:
    may = Span(parse_iso("2024-05-01"), parse_iso("2024-05-02"))
    found = columns("1M", ["2024-04-01", "2024-05-01"], unknown=(may,))["split"]
    assert found[0] == 0
    assert math.isnan(found[1])


@pytest.mark.parametrize(
    "ex_at", ["2024-06-04T04:00", "2024-06-04T13:30"], ids=["midnight", "open"]
)
def test_intraday_bars_have_actions_in_the_first_row_of_the_session(ex_at: str) -> None:
    hours = [f"2024-06-0{day}T{hour}:30" for day in (3, 4) for hour in (13, 14, 15)]
    found = columns("1h", hours, paid("2024-06-04", ex_at=ex_at))
    assert found["dividend"] == [0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("ex_at", ["2024-06-04T04:00", "2024-06-04T08:00"])
@pytest.mark.parametrize(
    "instrument, opens",
    [(SHARE, "13:30"), (SHARE.extended(), "08:00")],
    ids=["regular", "extended"],
)
def test_the_first_of_the_last_bars_has_the_action_if_its_session_begins_with_it(
    instrument: Instrument, opens: str, ex_at: str
) -> None:
    first = parse_iso(f"2024-06-04T{opens}")
    query = BarsQuery(instrument, Timeframe.parse("1h"), Span(first, NOW), NOW, bars=3)
    known = KnownActions([paid("2024-06-04", ex_at=ex_at)])
    for begins, expected in ((first, [1, 0, 0]), (first + HOUR_MS, [0, 0, 0])):
        stamps = begins + HOUR_MS * np.arange(3)
        assert action_columns(query, stamps, known)["dividend"].tolist() == expected


def test_unknown_actions_are_nan_in_the_columns() -> None:
    unknown = Span(parse_iso("2024-06-04"), parse_iso("2024-06-05"))
    for label, stamps, rows in (
        ("1d", DAYS, [False, True, False]),
        ("1w", ["2024-05-27", "2024-06-03"], [False, True]),
        ("1h", ["2024-06-03T19:30", "2024-06-04T13:30"], [False, True]),
    ):
        found = columns(label, stamps, paid("2024-06-04"), unknown=(unknown,))
        assert [math.isnan(value) for value in found["dividend"]] == rows, label
        assert [math.isnan(value) for value in found["split"]] == rows, label


def test_ex_dates_span_the_days_of_the_rows_and_no_future_days() -> None:
    def dates(label: str, *stamps: str) -> tuple[str, ...]:
        times = np.array([parse_iso(text) for text in stamps], dtype=np.int64)
        query = BarsQuery(SHARE, Timeframe.parse(label), Span(0, NOW), NOW)
        span = ex_dates(query, times)
        return tuple(str(np.datetime64(ms, "ms"))[:10] for ms in (span.start, span.end - DAY_MS))

    assert dates("1d", *DAYS) == ("2024-06-03", "2024-06-06")
    assert dates("1w", "2024-05-27") == ("2024-05-27", "2024-06-02")
    assert dates("1h", "2024-06-03T13:30", "2024-06-04T19:30") == ("2024-06-03", "2024-06-04")
    assert dates("1w", "2024-06-10") == ("2024-06-10", "2024-06-12"), (
        "no action of the future is included"
    )
    assert ex_dates(BarsQuery(SHARE, Timeframe.parse("1d"), Span(0, 1), NOW), np.array([])).is_empty
