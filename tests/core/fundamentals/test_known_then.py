from __future__ import annotations

from datetime import date

import pytest

from src.data.core.fundamentals.point_in_time import as_known, last_day_of
from src.data.core.model.market.fundamentals import Fact, Snapshot, Statement
from src.data.core.model.time.instant import parse_iso


def report(end: str, filed: str) -> Statement:
    return Statement("income", "FY", end, filed, "USD", {"revenue": 1.0})


REPORTS = (
    report("2023-12-31", "2024-02-20"),
    report("2022-12-31", "2023-02-21"),
    report("2021-12-31", ""),
)
SAID = Snapshot(
    "acme", "X", parse_iso("2024-06-12T10:00:00"),
    {
        "company_name": Fact("Acme", "text"), "market_cap": Fact(1.0, "money", "USD"),
        "pe_ratio": Fact(1.0, "ratio", "", "TTM"),
        "revenue": Fact(1.0, "money", "USD", "FY", "2022-12-31", "2023-02-21"),
        "net_income": Fact(1.0, "money", "USD", "FY", "2023-12-31", "2024-02-20"),
    },
    REPORTS, {"profile": {}},
)  # fmt: skip


def test_fundamentals_reported_after_the_date_are_withheld() -> None:
    known, withheld = as_known(SAID, date(2023, 2, 21))
    assert set(known.facts) == {"company_name", "revenue"}
    assert known.statements == REPORTS[1:2]
    assert known.blocks == {}
    assert withheld == {
        "market_cap": "acme reported it after 2023-02-21",
        "pe_ratio": "acme does not report when it was filed",
        "net_income": "filed on 2024-02-20",
        "statements": "1 filed after 2023-02-21, 1 without a date",
    }


def test_of_the_strings_of_today_only_those_that_identify_the_company_are_kept() -> None:
    names = ("symbol", "sector", "exchange", "description", "analyst_rating", "ex_dividend_date")
    said = Snapshot("acme", "X", SAID.fetched_at_ms, {name: Fact("x", "text") for name in names})
    known, withheld = as_known(said, date(2024, 6, 11))
    assert list(known.facts) == ["symbol", "sector", "exchange"]
    assert withheld == dict.fromkeys(names[3:], "acme reported it after 2024-06-11")


@pytest.mark.parametrize("day", [date(2024, 6, 12), date(2030, 1, 1)])
def test_fundamentals_fetched_by_the_date_are_kept_whole(day: date) -> None:
    assert as_known(SAID, day) == (SAID, {})


def test_the_day_before_the_filing() -> None:
    known, withheld = as_known(SAID, date(2023, 2, 20))
    assert known.statements == ()
    assert withheld["revenue"] == "filed on 2023-02-21"


def test_of_an_instant_the_day_before_counts() -> None:
    assert last_day_of(parse_iso("2024-02-20T23:59:59")) == date(2024, 2, 19)
    assert last_day_of(date(2024, 2, 20)) == date(2024, 2, 20)
