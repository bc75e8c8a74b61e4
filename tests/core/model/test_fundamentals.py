from __future__ import annotations

import pytest

from src.data.core.model.market.fundamentals import (
    FIELDS,
    Statement,
    canonical_field,
    canonical_type,
    snapshot_of,
)

# What programs of old read of a company, by its names there.
OLDER = """
symbol ticker company_name current_price market_cap pe_ratio forward_pe dividend_yield
earnings_per_share price_to_book return_on_equity return_on_assets debt_to_equity current_ratio
quick_ratio revenue revenue_growth net_income net_income_growth free_cash_flow operating_margin
profit_margin beta sector industry country exchange currency shares_outstanding float_shares
avg_volume short_ratio payout_ratio peg_ratio price_to_sales enterprise_value
enterprise_value_to_ebitda quote_type volume short_pct_float fifty_two_week_high
fifty_two_week_low institutional_pct gross_margin total_cash total_debt operating_cashflow
average_volume pb_ratio cash
""".split()


@pytest.mark.parametrize(
    "name, data_type",
    [
        ("general", "profile"), ("company", "profile"), ("overview", "profile"),
        ("financial_statements", "statements"), ("income_statement", "statements"),
        ("balance_sheet", "statements"), ("cash_flow", "statements"), ("ttm_metrics", "ratios"),
        ("liquidity_ratios", "ratios"), ("earnings", "calendar"),
        ("earnings_calendar", "calendar"), ("dividend_history", "dividends"),
        ("stock_splits", "splits"), ("insider_transactions", "insider_trading"),
        ("analyst_recommendations", "analyst_estimates"), ("price_targets", "analyst_estimates"),
        (" Profile ", "profile"), ("nope", None), ("", None),
    ],
)  # fmt: skip
def test_data_types_and_their_other_names(name: str, data_type: str | None) -> None:
    assert canonical_type(name) == data_type


@pytest.mark.parametrize("name", OLDER)
def test_every_field_that_programs_read_has_a_unit(name: str) -> None:
    assert FIELDS[canonical_field(name)]


def test_only_rows_with_a_kind_and_an_end_of_the_period_are_statements() -> None:
    whole = {"kind": "income", "period": 2023, "period_end": "2023-12-31", "currency": "USD",
             "revenue": 5, "net_income": None, "note": "restated"}  # fmt: skip
    rows = [whole, whole | {"kind": ""}, whole | {"period_end": None}, {"revenue": 5.0}, "income"]
    assert snapshot_of("acme", "AAPL", {"statements": rows}).statements == (
        Statement("income", "2023", "2023-12-31", "", "USD", {"revenue": 5.0}),
    )
