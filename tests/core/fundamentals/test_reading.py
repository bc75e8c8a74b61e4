"""Vendor answers parsed into snapshots, whatever values they contain."""

from __future__ import annotations

import json
from typing import Any

import pytest

from src.data.core.model.market.fundamentals import Fact, Snapshot
from src.data.core.vendors.alpha_vantage.fundamentals import TABLE as ALPHA_VANTAGE
from src.data.core.vendors.fmp.fundamentals import TABLE as FMP
from src.data.core.vendors.fundamentals_request import (
    VendorAnswers,
    at,
    day_of,
    major,
    number_of,
    read,
    text_of,
)
from src.data.core.vendors.fundamentals_table import SYMBOL, Ask, Pick, TableAnswer, VendorTable
from src.data.errors import ResponseFormatError, SymbolNotFoundError
from tests.core.fundamentals.conftest import av_overview, fmp_income, fmp_profile
from tests.reference import needs_reference, reference

NOW = 1_700_000_000_000
ASK = Ask("/of", {"symbol": SYMBOL})


def recorded(vendor: str, name: str) -> Any:
    """Return the body of a recorded answer."""
    path = reference("recordings", "http", vendor, f"{name}.json")
    return json.loads(path.read_text("utf-8"))["body"]


def fmp_answers(
    bodies: dict[str, Any], data_type: str = "profile", symbol: str = "AAPL"
) -> Snapshot:
    """Read what FMP answers, by the last part of its addresses."""
    asks = {answer.ask.path.rpartition("/")[2]: answer.ask for answer in FMP.types[data_type]}
    answers = {asks[name]: body for name, body in bodies.items()}
    return read(FMP, VendorAnswers(symbol, symbol, data_type, NOW, answers))


def av_answers(body: Any, data_type: str = "profile", symbol: str = "IBM") -> Snapshot:
    """Read what Alpha Vantage answers to its first request."""
    ask = ALPHA_VANTAGE.types[data_type][0].ask
    return read(ALPHA_VANTAGE, VendorAnswers(symbol, symbol, data_type, NOW, {ask: body}))


def row(fields: dict[str, Any], body: Any, **more: Any) -> Snapshot:
    """Read one made-up row by a made-up table."""
    table = VendorTable(
        "acme", frozenset({"stock"}), {"profile": [TableAnswer(ASK, fields, **more)]}
    )
    return read(table, VendorAnswers("X", "X", "profile", NOW, {ASK: body}))


@needs_reference
def test_a_recorded_alpha_vantage_overview_becomes_facts() -> None:
    said = av_answers(recorded("alpha_vantage", "overview-IBM"))
    assert said.names_symbol
    assert said.facts["market_cap"] == Fact(114234572800.0, "money", "USD")
    assert said.facts["dividend_yield"] == Fact(0.0529, "fraction")
    assert said.facts["institutional_pct"].value == pytest.approx(0.58555)  # sent as percent
    assert said.facts["pe_ratio"] == Fact(14.1327, "ratio", "", "TTM", "2020-06-30")
    # The listing's currency is not that of the statements.
    assert said.facts["revenue"] == Fact(75499003904.0, "money", "", "TTM", "2020-06-30")
    assert said.blocks["overview"]["PERatio"] == "14.1327"


@needs_reference
def test_the_statements_alpha_vantage_recorded() -> None:
    said = av_answers(recorded("alpha_vantage", "income-statement-IBM"), "statements")
    yearly = [s for s in said.statements if s.period == "FY"]
    assert yearly[0].period_end == "2019-12-31"
    assert yearly[0].values["net_income"] == 9431000000.0
    assert yearly[0].currency == "USD"
    assert {s.filed_at for s in said.statements} == {""}
    ends = [s.period_end for s in said.statements]
    assert ends == sorted(ends, reverse=True)


@needs_reference
def test_recorded_fmp_answers_become_facts_and_statements() -> None:
    said = fmp_answers(
        {
            "profile": recorded("fmp", "profile-AAPL"),
            "ratios-ttm": recorded("fmp", "doc-ratios"),  # a documentation example, of one quarter
            "key-metrics-ttm": recorded("fmp", "doc-key-metrics"),
            "income-statement": recorded("fmp", "income-statement-AAPL"),
        }
    )
    assert said.facts["market_cap"] == Fact(3269996825000.0, "money", "USD")
    assert said.facts["avg_volume"].value == 68266006
    assert said.facts["exchange"].value == "NASDAQ"
    assert said.facts["pe_ratio"].period == "Q3"
    assert said.facts["enterprise_value"].period_end == "2022-09-24"
    first = said.statements[0]
    assert (first.period_end, first.filed_at) == ("2023-09-30", "2023-11-03")
    assert (first.currency, first.values["revenue"]) == ("USD", 383285000000.0)
    assert said.blocks["profile"]["mktCap"] == 3269996825000


@pytest.mark.parametrize("nothing", [None, "", "None", "N/A", "-", "nan", "NaN", True, [], {}])
def test_empty_values_of_an_answer_give_no_fact(nothing: Any) -> None:
    said = row({"market_cap": "cap", "beta": "beta"}, {"cap": nothing, "beta": "1.5"})
    assert dict(said.facts) == {"beta": Fact(1.5, "ratio")}
    assert dict(said.dropped) == {}


@pytest.mark.parametrize("odd", ["12,5", "about 3", "1e400x"])
def test_a_text_that_is_no_number_is_dropped_with_its_reason(odd: str) -> None:
    said = row({"market_cap": "cap", "beta": "beta"}, {"cap": odd, "beta": 1})
    assert "market_cap" not in said.facts
    assert "is not a number" in said.dropped["market_cap"]


@pytest.mark.parametrize("odd", [float("inf"), float("nan"), "Infinity", 10**400])
def test_numbers_without_bound_are_absent(odd: Any) -> None:
    assert number_of(odd) is None


def test_percent_and_millions_are_brought_to_our_units() -> None:
    fields = {
        "dividend_yield": Pick("yield", scale=0.01), "market_cap": Pick("cap", scale=1e6),
        "shares_outstanding": Pick("shares", scale=1e3),
    }  # fmt: skip
    said = row(fields, {"yield": 0.5, "cap": "2.5", "shares": 15}, currency="=USD")
    assert said.facts["dividend_yield"].value == pytest.approx(0.005)
    assert said.facts["market_cap"].value == 2_500_000
    assert said.facts["shares_outstanding"].value == 15_000


@pytest.mark.parametrize("pence", ["GBp", "GBX"])
def test_pence_are_pounds_and_capitalisation_is_not_touched(pence: str) -> None:
    body = {"price": 71.5, "cap": 1.9e10, "currency": pence}
    said = row({"current_price": "price", "market_cap": "cap", "currency": "currency"}, body,
               currency="currency")  # fmt: skip
    assert said.facts["current_price"] == Fact(0.715, "price", "GBP")
    assert said.facts["market_cap"] == Fact(1.9e10, "money", "GBP")
    assert said.facts["currency"].value == "GBP"


def test_amounts_per_share_in_statements_in_pence_are_pounds() -> None:
    sent = fmp_income(currency="GBp")[0] | {"eps": 4.45, "revenue": 36.7e9}
    [report] = fmp_answers({"income-statement": [sent]}, "statements").statements
    assert report.currency == "GBP"
    assert report.values["earnings_per_share"] == pytest.approx(0.0445)
    assert report.values["revenue"] == 36.7e9  # as in profiles, only prices are in pence


def test_a_zero_that_means_unknown_is_absent() -> None:
    fields: dict[str, Any] = {"avg_volume": Pick("v", zero_is_unknown=True), "total_debt": "debt"}
    assert list(row(fields, {"v": 0, "debt": 0}).facts) == ["total_debt"]


def test_another_company_is_refused() -> None:
    with pytest.raises(ResponseFormatError, match="fmp answered for 'MSFT' instead of AAPL"):
        fmp_answers({"profile": fmp_profile("MSFT")})
    with pytest.raises(ResponseFormatError, match="answered for 'IBM'"):
        av_answers(av_overview("IBM"), symbol="VOD.LON")


def test_one_symbol_in_two_spellings_is_one() -> None:
    assert fmp_answers({"profile": fmp_profile("BRK.B")}, symbol="BRK-B").names_symbol


def test_a_bare_symbol_is_only_believed_where_the_table_says_so() -> None:
    fields, told = (
        {"beta": "beta"},
        VendorAnswers("VOD.L", "VOD.LSE", "profile", NOW, {ASK: {"code": "VOD", "beta": 1}}),
    )
    bare = TableAnswer(ASK, fields, symbol="code", is_bare=True)
    assert read(VendorTable("acme", frozenset(), {"profile": [bare]}), told).names_symbol
    whole = TableAnswer(ASK, fields, symbol="code")
    with pytest.raises(ResponseFormatError):
        read(VendorTable("acme", frozenset(), {"profile": [whole]}), told)


@pytest.mark.parametrize("nothing", [[], {}, None])
def test_an_empty_profile_raises_symbol_not_found(nothing: Any) -> None:
    with pytest.raises(SymbolNotFoundError, match="acme has no profile for X"):
        row({"beta": "beta"}, nothing)


def test_optional_answers_may_lack() -> None:
    said = fmp_answers({"profile": fmp_profile()})
    assert said.facts["company_name"].value == "Apple Inc."
    assert said.statements == ()


def test_reports_of_no_day_are_left_out() -> None:
    rows = [*fmp_income(), {"symbol": "AAPL", "revenue": 1}]
    assert len(fmp_answers({"income-statement": rows}, "statements").statements) == 2


def test_a_shape_of_its_own_is_made_plain_first() -> None:
    def unwrapped(found: Any) -> Any:
        return {name: value["raw"] for name, value in found.items()}

    said = row({"beta": "beta"}, {"data": {"beta": {"raw": 1.5, "fmt": "1.50"}}}, row="data",
               shape=unwrapped)  # fmt: skip
    assert said.facts["beta"].value == 1.5


def test_blocks_are_as_sent_and_have_their_older_names_too() -> None:
    sent = {"symbol": "AAPL", "priceToEarningsRatioTTM": 25.5, "odd": [1]}
    block = fmp_answers({"ratios-ttm": [sent]}, "ratios").blocks["ratios"]
    assert block == {**sent, "priceEarningsRatio": 25.5}
    older = {"symbol": "AAPL", "priceEarningsRatio": 24.0}
    assert fmp_answers({"ratios-ttm": [older]}, "ratios").blocks["ratios"] == older


@pytest.mark.parametrize(
    "path, found",
    [
        ("a.b", 1), ("list.1", "y"), ("list.7", None), ("list.x", None), ("a.b.c", None),
        ("none|a.b", 1), ("none|=TTM", "TTM"), ("=USD", "USD"), ("dash|a.b", 1),
    ],
)  # fmt: skip
def test_values_are_found_by_path_in_an_answer(path: str, found: Any) -> None:
    assert at({"a": {"b": 1}, "list": ["x", "y"], "dash": "-"}, path) == found


def test_dates_currencies_and_texts_of_an_answer_are_normalised() -> None:
    assert day_of("2023-11-02 18:08:27") == "2023-11-02"
    assert day_of(20231102) == day_of(None) == day_of("soon") == ""
    assert major("usd") == ("USD", 1.0)
    assert major("?") == major("") == ("", 1.0)
    assert text_of(" x ") == "x"
    assert text_of(7) == "7"


def test_texts_and_blocks_that_are_kept_are_bounded() -> None:
    """A description of 60 MiB would lie on the disk for months."""
    fields: dict[str, Any] = {"description": "d", "company_name": "n", "pe_ratio": "p"}
    body = {"n": "Acme", "d": "x" * 60_000, "p": 3, "t": "T" * 1000, "more": "y" * 3_000_000}
    said = row(fields, body, period="t", block="overview")
    assert said.facts["company_name"].value == "Acme"
    assert len(said.facts["pe_ratio"].period) <= 40
    assert said.blocks == {}
    assert said.dropped["description"] == "a string of 60,000 characters is too long"
    assert said.dropped["overview"].endswith(" characters are too many")
    assert "description" not in said.facts
    assert row(fields, {**body, "d": "x" * 9_000}).facts["description"].value == "x" * 9_000


def test_far_too_many_reports_are_none() -> None:
    reports = [{"end": "2024-01-01", "r": 1.0}] * 3_000
    table = VendorTable(
        "acme",
        frozenset({"stock"}),
        {
            "profile": [
                TableAnswer(ASK, {"company_name": "0.n"}),
                TableAnswer(ASK, {"revenue": "r"}, statement="income", period_end="end"),
            ]
        },
    )
    said = read(table, VendorAnswers("X", "X", "profile", NOW, {ASK: [{"n": "Acme"}, *reports]}))
    assert said.statements == ()
    assert said.dropped == {"income": "3,001 reports are too many"}
