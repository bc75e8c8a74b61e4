from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.config.fundamentals_rules import FundamentalsRules
from src.data.core.fundamentals.combiner import FundamentalsCombiner, get_fundamentals_combiner
from src.data.core.model.market.fundamentals import Fact, Snapshot, Statement, plain_of, snapshot_of


@pytest.fixture
def combiner(clock: ManualClock) -> FundamentalsCombiner:
    return FundamentalsCombiner(rules=FundamentalsRules(
        sequences={"profile": ("fmp", "yahoo", "alpha_vantage")}, ttl_ms={"ratios": 43_200_000},
        field_priorities={"pe_ratio": ("yahoo",)}, required_fields=("sector",),
    ), clock=clock)  # fmt: skip


def test_plain_payloads_alone_are_enough(combiner: FundamentalsCombiner) -> None:
    record = combiner.combine_snapshots(
        {
            "fmp": {"symbol": "AAPL", "market_cap": 3.0e12, "pb_ratio": 40.0, "cash": 0},
            "yfinance": {"market_cap": 3.1e12, "pe_ratio": 25.5, "junk": None},
        }
    )
    assert (record["market_cap"], record["pe_ratio"], record["symbol"]) == (3.0e12, 25.5, "AAPL")
    assert record["pb_ratio"] == record["price_to_book"] == 40.0
    assert record["cash"] == 0
    told = record["_metadata"]
    assert told["combination_strategy"] == "priority_based"
    assert told["combination_timestamp"] == "2024-06-12T15:00:30"
    assert told["field_sources"]["pe_ratio"] == "yahoo"
    assert told["providers_used"] == ["fmp", "yahoo"]
    assert told["missing"] == ["sector"]
    assert record["provider_info"]["combined_from"] == ["fmp", "yahoo"]


def test_consensus_of_payloads(combiner: FundamentalsCombiner) -> None:
    near = {"fmp": {"market_cap": 100.0}, "yahoo": {"market_cap": 104.0}}
    assert combiner.combine_snapshots(near, "consensus")["market_cap"] == 102.0
    other = {
        "fmp": {"market_cap": 100.0, "currency": "USD"},
        "yahoo": {"market_cap": 104.0, "currency": "EUR"},
    }
    record = combiner.combine_snapshots(other, strategy="consensus")
    assert record["market_cap"] == 100.0
    assert record["_metadata"]["conflicts"][0]["why"] == "in EUR, not USD"


def test_an_unknown_strategy_falls_back_to_priority_and_is_logged(
    combiner: FundamentalsCombiner, caplog: pytest.LogCaptureFixture
) -> None:
    record = combiner.combine_snapshots({"fmp": {"beta": 1.0}}, "best")
    assert record["_metadata"]["combination_strategy"] == "priority_based"
    assert "'best'" in caplog.text


@pytest.mark.parametrize("data", [{}, {"fmp": {}}, {"fmp": None}, {"fmp": {"beta": float("nan")}}])
def test_snapshots_without_values_combine_to_an_empty_record(
    combiner: FundamentalsCombiner, data: dict[str, object]
) -> None:
    assert combiner.combine_snapshots(data) == {}


def test_a_dataclass_is_a_payload(combiner: FundamentalsCombiner) -> None:
    @dataclass
    class Fundamentals:
        company_name: str = "Apple Inc."
        market_cap: float | None = None
        beta: float = 1.5

    record = combiner.combine_snapshots({"yahoo": Fundamentals()})
    assert (record["company_name"], record["beta"]) == ("Apple Inc.", 1.5)
    assert "market_cap" not in record


def test_the_rules_give_vendor_order_priority_and_lifetime(combiner: FundamentalsCombiner) -> None:
    assert combiner.get_provider_sequence("general") == ["fmp", "yahoo", "alpha_vantage"]
    assert combiner.get_field_provider_priority("ttm_metrics.pe_ratio")[0] == "yahoo"
    assert combiner.get_field_provider_priority("market_cap")[0] == "fmp"
    assert combiner.get_ttl_for_data_type("liquidity_ratios") == 0.5
    assert combiner.get_ttl_for_data_type("overview") == 7.0


def test_one_combiner_a_file(tmp_path: Path) -> None:
    path = tmp_path / "fundamentals.json"
    path.write_text('{"refresh_intervals": {"ratios": "1d"}}')
    one = get_fundamentals_combiner(path)
    assert one is get_fundamentals_combiner(str(path))
    assert one.get_ttl_for_data_type("ratios") == 1.0
    assert get_fundamentals_combiner() is get_fundamentals_combiner()


def test_a_snapshot_survives_its_plain_form() -> None:
    said = Snapshot(
        "fmp", "AAPL", 1_718_204_430_000,
        {"market_cap": Fact(3.0e12, "money", "USD"), "sector": Fact("Technology", "text"),
         "pe_ratio": Fact(25.5, "ratio", "", "TTM", "2024-03-31", "2024-05-01")},
        (Statement("income", "FY", "2023-09-30", "2023-11-03", "USD", {"revenue": 3.8e11}),),
        {"profile": {"a": [1, {"b": None}]}}, {"beta": "odd"}, ("profile",), True,
    )  # fmt: skip
    assert snapshot_of("fmp", "AAPL", plain_of(said), said.fetched_at_ms) == said


def test_fields_that_only_blocks_hold_are_found_there() -> None:
    said = snapshot_of("fmp", "AAPL", {
        "profile": {"mktCap": 3.0e12, "companyName": "Apple Inc.", "beta": "N/A"},
        "ratios": {"priceEarningsRatio": 25.5}, "market_cap": 2.9e12,
    })  # fmt: skip
    assert {name: fact.value for name, fact in said.facts.items()} == {
        "market_cap": 2.9e12, "company_name": "Apple Inc.", "pe_ratio": 25.5,
    }  # fmt: skip
    assert set(said.blocks) == {"profile", "ratios"}
