"""Every exchange's calendar against what ``exchange_calendars`` publishes as its right answers."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.data.core.calendars.corrections import CLOSE_TIMES, CLOSED, LATE_OPENS
from src.data.core.calendars.exchange import table_of
from src.data.core.calendars.library import days_of_trading, library_class
from src.data.core.model.time.instant import DAY_MS, date_of, day_ms
from src.data.core.model.time.span import Span
from tests.core.calendars.answer_files import Published, codes, published

# The library's own use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

EXCEPTIONS = json.loads(Path(__file__).with_name("exceptions.json").read_text())
# So much of each file is built in one run, up to its end; dates alone are compared over all of it.
YEARS = 3
Sessions = dict[date, tuple[int | None, ...]]


def excepted(code: str) -> set[date]:
    """Return the days on which a calendar is known to differ, with sources."""
    rows = (row for row in EXCEPTIONS["answer_files"] if row["calendar"] == code)
    known = [day for row in rows for day in row["days"]]
    known += [*CLOSED.get(code, ()), *LATE_OPENS.get(code, ())]
    return {date.fromisoformat(day) for day in known}


def ours(code: str, first: date, last: date) -> Sessions:
    table = table_of(code, Span(day_ms(first), day_ms(last) + DAY_MS))
    rows = zip(*(column.tolist() for column in table.columns), strict=True)
    return {
        date_of(day): (opened, closed, *((a, b) if a < closed else (None, None)))
        for day, opened, closed, a, b in rows
    }


@pytest.mark.parametrize("code", codes())
def test_sessions_and_hours_are_those_that_are_published(code: str) -> None:
    file = published(code)
    first = max(file.first, file.last.replace(day=1) - timedelta(days=365 * YEARS))
    known = excepted(code)
    theirs, mine = file.hours(first, file.last), ours(code, first, file.last)
    assert sorted((mine.keys() ^ theirs.keys()) - known) == []
    if code in CLOSE_TIMES:  # the close is corrected as a whole: see the test of Globex
        mine, theirs = ({d: (h[0], *h[2:]) for d, h in s.items()} for s in (mine, theirs))
    assert {d: (mine[d], theirs[d]) for d in mine.keys() & theirs.keys() - known
            if mine[d] != theirs[d]} == {}  # fmt: skip


# Their holidays or weeks are declared by what pandas 3 does not ask any more.
CHANGED = ["ASEX", "XBOM", "XBSE", "XMOS", "XTAE"]


@pytest.mark.parametrize("code", CHANGED)
def test_every_date_of_the_calendars_whose_rules_pandas_ignores(code: str) -> None:
    file = published(code)
    known = library_class(code)
    span = Span(day_ms(file.first), day_ms(file.last) + DAY_MS)
    found = set(days_of_trading(known.__new__(known), span).tolist())
    assert sorted((found ^ file.sessions.keys()) - excepted(code)) == []
    assert len(found) > 1400


def test_seoul_traded_on_saturdays_until_december_1998() -> None:
    file = published("XKRX")
    span = Span(day_ms(date(1998, 1, 1)), day_ms(date(2000, 1, 1)))
    known = library_class("XKRX")
    found = set(days_of_trading(known.__new__(known), span).tolist())
    theirs = {day for day in file.sessions if 1998 <= day.year < 2000}
    assert (found, max(d for d in found if d.weekday() == 5)) == (theirs, date(1998, 12, 5))


def test_another_week_holds_from_its_first_day_on_and_without_a_last_day() -> None:
    known = SimpleNamespace(
        weekmask="1111100", adhoc_holidays=[], regular_holidays=None,
        special_weekmasks=[(date(2024, 6, 8), None, "0111110")],
    )  # fmt: skip
    span = Span(day_ms(date(2024, 6, 1)), day_ms(date(2024, 6, 16)))
    days = [day.day for day in days_of_trading(known, span).tolist()]
    assert days == [3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15]


@pytest.mark.parametrize("code, day, holiday", [
    ("ASEX", "2024-05-03", "Orthodox Good Friday"), ("ASEX", "2024-10-28", "Ochi Day"),
    ("XBEL", "2024-05-06", "Orthodox Easter Monday"), ("XBEL", "2024-01-02", "New Year"),
    ("XBSE", "2024-06-24", "Orthodox Whit Monday"),
    ("XCYS", "2024-03-18", "Green Monday"), ("XTAE", "2024-04-23", "Passover"),
    ("XTAE", "2024-10-03", "the New Year of 5785"),
])  # fmt: skip
def test_holidays_that_pandas_3_loses(code: str, day: str, holiday: str) -> None:
    there = date.fromisoformat(day)
    around = ours(code, there - timedelta(days=7), there + timedelta(days=7))
    assert there not in around, holiday
    assert len(around) > 4


# --- the list of exceptions -------------------------------------------------------------------


def test_every_exception_has_a_source_and_is_one() -> None:
    rows = [*EXCEPTIONS["answer_files"], *EXCEPTIONS["real_series"]]
    assert all(len(row["source"]) > 20 and row["what"] for row in rows)
    assert all(re.match("https://", url) for days in CLOSED.values() for url in days.values())


def corrected() -> list[tuple[str, str]]:
    return [(code, day) for code, days in CLOSED.items() for day in days]


@pytest.mark.parametrize("code, day", corrected())
def test_a_closure_that_the_library_lacks_is_no_session(code: str, day: str) -> None:
    there = date.fromisoformat(day)
    file: Published = published(code)
    assert there in file.sessions or there > file.last, "the library knows it by now"
    known = library_class(code)
    found = days_of_trading(known.__new__(known), Span(day_ms(there), day_ms(there) + DAY_MS))
    assert found.tolist() == []
