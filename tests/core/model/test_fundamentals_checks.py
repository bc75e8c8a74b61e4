from __future__ import annotations

import pytest

from src.data.core.model.market.fundamentals import Fact, objection, quality


@pytest.mark.parametrize(
    "name, value",
    [
        ("market_cap", 0), ("market_cap", -1), ("pb_ratio", 0), ("price_to_book", 0), ("pe_ratio", 0),
        ("forward_pe", 0), ("shares_outstanding", 0), ("book_value", 0), ("total_debt", -1), ("cash", -1),
        ("dividend_yield", -0.01), ("dividend_yield", 100.5),
        ("current_price", -3),
    ],
)  # fmt: skip
def test_impossible_values_of_fundamentals_are_objected_to(name: str, value: float) -> None:
    assert objection(name, Fact(value)) != ""


@pytest.mark.parametrize(
    "name, value",
    [
        ("market_cap", 1), ("pe_ratio", -4000), ("forward_pe", 1250), ("price_to_book", -12.2),
        ("book_value", -7.1), ("revenue", 0), ("revenue", -2.4e10), ("dividend_yield", 0),
        ("dividend_yield", 100), ("total_debt", 0), ("cash", 0), ("net_income", -5),
        ("beta", -0.5), ("anything", -1),
    ],
)  # fmt: skip
def test_possible_values_of_fundamentals_pass(name: str, value: float) -> None:
    assert objection(name, Fact(value)) == ""


def test_a_yield_known_to_be_a_fraction_is_at_most_the_price() -> None:
    assert objection("dividend_yield", Fact(0.9, "fraction")) == ""
    assert objection("dividend_yield", Fact(5.2, "fraction")) == "5.2 is not from 0 to 1"


def test_a_text_is_refused_where_a_number_is_meant() -> None:
    for text in ("3 trillion", "N/A", "", "nan", "inf"):
        assert "is not a number" in objection("market_cap", Fact(text, "text"))
    assert objection("market_cap", Fact("3.5e12", "text")) == ""
    assert objection("sector", Fact("phones", "text")) == ""
    assert objection("a field of their own", Fact("phones", "text")) == ""


def test_quality_is_the_weight_of_what_is_told() -> None:
    all_of_it = dict.fromkeys(
        ("market_cap", "pe_ratio", "pb_ratio", "dividend_yield", "revenue", "net_income",
         "total_debt", "cash", "shares_outstanding", "book_value"), Fact(1.0),
    )  # fmt: skip
    assert quality(all_of_it) == 1.0
    assert quality({"market_cap": Fact(1.0), "pe_ratio": Fact(1.0), "beta": Fact(1.0)}) == 0.27
    assert quality({"market_cap": Fact(-1.0)}) == quality({}) == 0.0
