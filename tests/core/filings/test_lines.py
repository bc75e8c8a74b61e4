"""Statement lines: tags, periods, restatements and derived quarters, against values of other projects."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest

from src.data.core.filings.service import line_rules
from src.data.core.vendors.sec.acceptance import with_times
from src.data.core.vendors.sec.answers import Filing, parse_facts, parse_submissions
from src.data.core.vendors.sec.lines import CompanyLines, Line, lines_of
from src.data.core.vendors.sec.statements import statements_of
from tests.vendor_server.sec import APPLE, FOREIGN, PROCTER, TESLA, WALMART, Sec, fact, facts

NEVER = 4_000_000_000_000
CIK = 1
YEAR = ("2024-01-01", "2024-12-31")
QUARTERS = [
    ("2024-01-01", "2024-03-31"),
    ("2024-04-01", "2024-06-30"),
    ("2024-07-01", "2024-09-30"),
]


def read(answer: Any, cik: int = CIK, filings: tuple[Filing, ...] = ()) -> CompanyLines:
    return lines_of(parse_facts(json.dumps(answer).encode(), cik), filings, line_rules())


def company(cik: int) -> CompanyLines:
    face = Sec()
    listed = parse_submissions(json.dumps(face.submissions[cik]).encode(), cik)
    return read(face.facts[cik], cik, with_times(listed.filings, NEVER))


def values(lines: CompanyLines, accession: str, end: str, period: str) -> dict[str, float]:
    return {
        line.name: line.value
        for line in lines.lines
        if (line.filing.accession, line.end, line.period) == (accession, end, period)
    }


# The income statement as `src/lib` tests of a lesson on Apple's margin state it; the other lines as
# `tests/test_real_fixtures.py` of tijesunimi-peters/stock_profiler does, both for 0000320193-25-000079.
APPLE_2025 = {
    "revenue": 416_161e6,
    "cost_of_revenue": 220_960e6,
    "gross_profit": 195_201e6,
    "operating_income": 133_050e6,
    "net_income": 112_010e6,
    "dividend_per_share": 1.02,
    "operating_cashflow": 111_482e6,
    "capital_expenditure": 12_715e6,
    # Not stated there: the printed figures.
    "earnings_per_share": 7.49,
    "diluted_earnings_per_share": 7.46,
    "weighted_shares": 14_948_500e3,
    "diluted_weighted_shares": 15_004_697e3,
}
APPLE_BALANCE = {
    "total_assets": 359_241e6,
    "total_liabilities": 285_508e6,
    "total_equity": 73_733e6,
    "total_cash": 35_934e6,
    "long_term_debt": 78_328e6,
    "shares_outstanding": 14_773_260e3,
}


def test_each_line_is_what_other_projects_state_for_the_same_filing() -> None:
    lines = company(APPLE)
    accession, end = "0000320193-25-000079", "2025-09-27"
    assert values(lines, accession, end, "FY") == APPLE_2025
    assert values(lines, accession, end, "") == APPLE_BALANCE
    assert {rule.name for rule in line_rules()} == {*APPLE_2025, *APPLE_BALANCE, "short_term_debt"}


def test_current_long_term_debt_is_not_all_short_term_debt_beside_commercial_paper() -> None:
    """Apple's is 12,350 million on 2025-09-27, and its commercial paper 7,979 million."""
    assert not [x for x in company(APPLE).lines if x.name == "short_term_debt"]
    debts = {x.end: x.value for x in company(WALMART).lines if x.name == "short_term_debt"}
    assert debts["2026-01-31"] == 3_542e6, "nothing else is stated"
    whole = values(company(TESLA), "0001564590-18-002956", "2017-12-31", "")
    assert whole["short_term_debt"] == 799_849e3, "the filing itself states the total"


@pytest.mark.parametrize(
    ("name", "part", "other", "total"),
    [
        ("short_term_debt", "LongTermDebtCurrent", "CommercialPaper", "DebtCurrent"),
        ("short_term_debt", "LongTermDebtCurrent", "ShortTermBorrowings", "DebtCurrent"),
        (
            "short_term_debt",
            "LongTermDebtAndCapitalLeaseObligationsCurrent",
            "OtherShortTermBorrowings",
            "DebtCurrent",
        ),
        ("cost_of_revenue", "CostOfGoodsSold", "CostOfServices", "CostOfRevenue"),
        ("revenue", "SalesRevenueGoodsNet", "SalesRevenueServicesNet", "Revenues"),
    ],
)
def test_a_part_beside_another_is_not_the_line(
    name: str, part: str, other: str, total: str
) -> None:
    start = "" if name.endswith("debt") else YEAR[0]

    def found(*tags: str, end: str = YEAR[1]) -> dict[str, float]:
        rows = {
            tag: {"USD": [fact(value, day, *filed(1, "2025-02-15"), start=start)]}
            for tag, value, day in zip(tags, (7e6, 2e6, 9e6), (YEAR[1], end, YEAR[1]), strict=False)
        }
        return {x.tag: x.value for x in read(facts(CIK, "A", rows)).lines if x.name == name}

    assert found(part) == {part: 7e6}
    assert found(part, other) == {}
    assert found(part, other, total) == {total: 9e6}
    assert found(part, other, end="2024-12-30") == {part: 7e6}, "at another date"


def test_tesla_before_and_after_its_splits() -> None:
    lines = company(TESLA)
    year = values(lines, "0000950170-22-000796", "2021-12-31", "FY")
    # Gross profit, revenue and cost as a table of another project has them for 2021.
    assert (year["revenue"], year["cost_of_revenue"]) == (53_823e6, 40_217e6)
    assert year["gross_profit"] == 13_606e6
    place = ("diluted_earnings_per_share", "2021-09-30", "Q")
    eps = [(x.value, x.version) for x in lines.lines if (x.name, x.end, x.period) == place]
    assert eps == [(1.44, 0), (0.48, 1)], "as first filed, and restated by 3:1"
    counts = [
        x.value for x in lines.lines if x.tag.startswith("dei:") and x.filing.filed >= "2022-07"
    ]
    assert counts == [1_044_490_015, 3_157_752_449]


def test_a_year_of_53_weeks_is_a_year_and_its_first_quarter_of_14_weeks_a_quarter() -> None:
    by_length = {"2023-09-30": "FY"}
    found = {x.end: x.period for x in company(APPLE).lines if x.start == "2022-09-25"}
    assert found == by_length
    where = ("2022-12-31", "0000000001-23-000001", "2023-02-03")
    one = fact(1e6, *where, start="2022-09-25", form="10-Q")
    assert [x.period for x in read(facts(CIK, "A", {"Revenues": {"USD": [one]}})).lines] == ["Q"]


@pytest.mark.parametrize(
    ("days", "period"),
    [
        *((days, "") for days in (79, 101, 182, 273, 349, 381)),
        *((days, "Q") for days in (80, 100)),
        *((days, "FY") for days in (350, 380)),
    ],
)
def test_a_period_is_what_its_length_says(days: int, period: str) -> None:
    first = (date(2024, 12, 31) - timedelta(days - 1)).isoformat()
    one = fact(1e6, "2024-12-31", "0000000001-25-000001", "2025-02-03", start=first)
    lines = read(facts(CIK, "A", {"Revenues": {"USD": [one]}})).lines
    assert "".join(x.period for x in lines) == period


def test_the_total_of_revenue_is_never_one_of_its_parts() -> None:
    procter = company(PROCTER)
    assert values(procter, "0000080424-14-000057", "2014-06-30", "FY")["revenue"] == 83_062e6
    walmart = company(WALMART)
    year = values(walmart, "0000104169-26-000055", "2026-01-31", "FY")
    assert year["revenue"] == 713_163e6, "with membership fees: 706,413 without"


def test_a_restatement_is_kept_beside_the_value_first_filed() -> None:
    lines = company(APPLE)
    found = {
        (x.name, x.version): (x.value, x.filing.form, x.filing.accepted)
        for x in lines.lines
        if x.end in ("2009-09-26", "2008-09-27")
    }
    first, again = ("10-K", "2009-10-27T20:18:29Z"), ("10-K/A", "2010-01-25T21:25:58Z")
    assert found == {
        ("revenue", 0): (36_537e6, *first),
        ("revenue", 1): (42_905e6, *again),
        ("cost_of_revenue", 0): (23_397e6, *first),
        ("cost_of_revenue", 1): (25_683e6, *again),
        ("gross_profit", 0): (13_140e6, *first),
        ("gross_profit", 1): (17_222e6, *again),
        ("diluted_earnings_per_share", 0): (5.36, *first),
        ("diluted_earnings_per_share", 1): (6.78, *again),
    }


# --- fourth quarters -------------------------------------------------------------------------


def filed(number: int, day: str) -> tuple[str, str]:
    return f"0000000001-25-{number:06d}", day


def flows(*rows: tuple[float, tuple[str, str], tuple[str, str], str]) -> list[Line]:
    """Return the lines of revenue: value, period, filing and form."""
    answer = [
        fact(value, span[1], *where, start=span[0], form=form) for value, span, where, form in rows
    ]
    return list(read(facts(CIK, "A", {"Revenues": {"USD": answer}})).lines)


AS_FILED = [
    (10e6, QUARTERS[0], filed(1, "2024-05-01"), "10-Q"),
    (20e6, QUARTERS[1], filed(2, "2024-08-01"), "10-Q"),
    (30e6, QUARTERS[2], filed(3, "2024-11-01"), "10-Q"),
    (100e6, YEAR, filed(4, "2025-02-15"), "10-K"),
]
AGAIN = [
    (11e6, QUARTERS[0], filed(5, "2025-05-01"), "10-Q"),
    (22e6, QUARTERS[1], filed(6, "2025-08-01"), "10-Q"),
    (33e6, QUARTERS[2], filed(7, "2025-11-01"), "10-Q"),
]


def derived(lines: list[Line]) -> list[tuple[float, str, str, str]]:
    return [(x.value, x.start, x.filing.accession, x.tag) for x in lines if x.is_derived]


def test_a_fourth_quarter_is_a_year_less_three_quarters() -> None:
    assert derived(flows(*AS_FILED)) == [(40e6, "2024-10-01", AS_FILED[3][2][0], "")]


def test_a_quarter_that_is_filed_is_not_derived() -> None:
    stated = (41e6, ("2024-10-01", "2024-12-31"), AS_FILED[3][2], "10-K")
    assert derived(flows(*AS_FILED, stated)) == []


@pytest.mark.parametrize("missing", range(3))
def test_two_quarters_are_not_enough(missing: int) -> None:
    assert derived(flows(*[row for i, row in enumerate(AS_FILED) if i != missing])) == []


def test_quarters_restated_before_the_year_prove_nothing_about_it() -> None:
    again = (15e6, QUARTERS[0], filed(9, "2024-12-01"), "10-Q/A")
    assert derived(flows(*AS_FILED, again)) == []


def test_a_restated_year_needs_three_restated_quarters() -> None:
    year = (110e6, YEAR, filed(8, "2026-02-15"), "10-K")
    first = (40e6, "2024-10-01", AS_FILED[3][2][0], "")
    assert derived(flows(*AS_FILED, year)) == [first]
    assert derived(flows(*AS_FILED, *AGAIN[:2], year)) == [first]
    both = derived(flows(*AS_FILED, *AGAIN, year))
    assert both == [first, (44e6, "2024-10-01", year[2][0], "")]


def test_values_per_share_are_never_derived() -> None:
    answer = {
        "EarningsPerShareBasic": {
            "USD/shares": [fact(v, s[1], *w, start=s[0], form=f) for v, s, w, f in AS_FILED]
        }
    }
    assert derived(list(read(facts(CIK, "A", answer)).lines)) == []


def test_a_changed_end_of_the_fiscal_year_joins_no_quarters_of_two_years() -> None:
    year = (100e6, ("2024-04-01", "2025-03-31"), filed(4, "2025-06-15"), "10-K")
    assert derived(flows(*AS_FILED[:3], year)) == [], "the quarter to December is missing"
    short = (60e6, ("2024-07-01", "2024-12-31"), filed(4, "2025-02-15"), "10-KT")
    assert [x.period for x in flows(short)] == []


# --- bad input -------------------------------------------------------------------------------


def test_a_foreign_filer_is_not_read() -> None:
    assert company(FOREIGN).is_foreign
    rows = [fact(1e9, "2024-12-31", "0000000001-25-000001", "2025-04-01", "2024-01-01", "20-F")]
    foreign = read(facts(CIK, "A", {"Revenues": {"CNY": rows, "USD": rows}}))
    assert foreign.is_foreign and foreign.lines == ()


def test_two_values_of_one_tag_period_and_filing_are_withheld() -> None:
    place = ("2024-12-31", "0000000001-25-000001", "2025-02-15", "2024-01-01")
    both = [fact(1e6, *place[:3], start=place[3]), fact(2e6, *place[:3], start=place[3])]
    lines = read(
        facts(CIK, "A", {"Revenues": {"USD": both}, "Assets": {"USD": [fact(5e6, *place[:3])]}})
    )
    assert [x.name for x in lines.lines] == ["total_assets"]
    assert list(lines.withheld.values()) == [1]
    same = read(facts(CIK, "A", {"Revenues": {"USD": [both[0], both[0]]}}))
    assert [x.value for x in same.lines] == [1e6]


@pytest.mark.parametrize("lack", ["accn", "filed", "form", "end", "val"])
def test_a_fact_that_lacks_something_is_left_out(lack: str) -> None:
    good = fact(1e6, *("2024-12-31", "0000000001-25-000001", "2025-02-15"), start="2024-01-01")
    bad = {name: value for name, value in good.items() if name != lack} | {"accn2": 1}
    if lack == "end":
        bad["end"] = "2024-13-45"
    lines = read(facts(CIK, "A", {"Revenues": {"USD": [good]}, "NetIncomeLoss": {"USD": [bad]}}))
    assert [x.name for x in lines.lines] == ["revenue"]


def test_negative_revenue_is_as_filed() -> None:
    row = fact(-3e6, "2024-12-31", "0000000001-25-000001", "2025-02-15", start="2024-01-01")
    assert [x.value for x in read(facts(CIK, "A", {"Revenues": {"USD": [row]}})).lines] == [-3e6]


def test_a_filing_in_thousands_by_mistake_is_withheld() -> None:
    first, later = ("0000000001-24-000001", "2024-02-15"), ("0000000001-25-000001", "2025-02-15")
    before, now = ("2023-12-31", "2023-01-01"), ("2024-12-31", "2024-01-01")

    def tags(scale: float) -> dict[str, Any]:
        return {
            tag: {
                "USD": [
                    fact(value, before[0], *first, start=before[1]),
                    fact(value / scale, before[0], *later, start=before[1]),
                    fact(value * 1.1 / scale, now[0], *later, start=now[1]),
                ]
            }
            for tag, value in (("Revenues", 900e6), ("NetIncomeLoss", 90e6))
        }

    lines = read(facts(CIK, "A", tags(1000)))
    assert {x.filing.accession for x in lines.lines} == {first[0]}
    assert "another unit" in "".join(lines.withheld)
    assert len(read(facts(CIK, "A", tags(1))).lines) == 4


def test_a_gross_profit_that_contradicts_its_statement_is_withheld() -> None:
    """Costco's year 2019: the gross profit of a note, without membership fees."""
    place = ("2019-09-01", "0000909832-19-000019", "2019-10-11")
    tags = {"Revenues": 152_703e6, "CostOfGoodsAndServicesSold": 132_886e6, "GrossProfit": 16_465e6}
    answer = {tag: {"USD": [fact(v, *place, start="2018-09-03")]} for tag, v in tags.items()}
    lines = read(facts(CIK, "COSTCO", answer))
    assert [x.name for x in lines.lines] == ["cost_of_revenue", "revenue"]
    assert list(lines.withheld) == ["gross_profit is not revenue less cost_of_revenue"]


def test_an_amendment_that_changes_one_line_changes_only_that_line() -> None:
    where, again = filed(1, "2025-02-15"), filed(2, "2025-04-01")
    answer = {
        tag: {
            "USD": [
                fact(before, YEAR[1], *where, start=YEAR[0]),
                fact(after, YEAR[1], *again, start=YEAR[0], form="10-K/A"),
            ]
        }
        for tag, before, after in (("Revenues", 9e6, 9e6), ("NetIncomeLoss", 2e6, 1e6))
    }
    lines = read(facts(CIK, "A", answer))
    by_filing = {(x.filing.accession, x.name): x.value for x in lines.lines}
    assert by_filing == {
        (where[0], "revenue"): 9e6,
        (where[0], "net_income"): 2e6,
        (again[0], "net_income"): 1e6,
    }
    kinds = {(s.source["form"], tuple(s.values)) for s in statements_of(lines, has_classes=False)}
    assert kinds == {("10-K", ("net_income", "revenue")), ("10-K/A", ("net_income",))}


def test_statements_carry_what_their_filing_says() -> None:
    first = statements_of(company(TESLA), has_classes=False)[0]
    assert (first.kind, first.period, first.period_end) == ("income", "Q", "2022-09-30")
    assert (first.filed_at, first.accepted_at) == ("2022-10-24", "2022-10-24T10:08:50Z")
    assert first.source["accepted_raw"] == "2022-10-24T06:08:50.000Z"
    assert first.source["tags"]["revenue"] == "Revenues" and first.source["start"] == "2022-07-01"
    balance = statements_of(company(TESLA), has_classes=False)[1]
    assert balance.values["shares_outstanding"] == 3_157_752_449
    assert balance.source["dates"] == {"shares_outstanding": "2022-10-18"}


def test_classes_of_shares_leave_out_what_is_per_share() -> None:
    names = {n for s in statements_of(company(TESLA), has_classes=True) for n in s.values}
    assert {"revenue", "total_assets"} <= names
    assert not names & {"earnings_per_share", "shares_outstanding", "weighted_shares"}
