"""Merging the fundamentals of several vendors, with made-up values."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.config.fundamentals_rules import FundamentalsRules
from src.data.core.fundamentals.merge import MergedRecord, merge, with_reported
from src.data.core.model.market.fundamentals import Fact, Snapshot, Statement
from tests.core.cache.counts import examples

RULES = FundamentalsRules(sequences={"profile": ("a", "b", "c")})
USD = Fact(100.0, "money", "USD")


def said(vendor: str, stale: bool = False, **facts: Fact | float) -> Snapshot:
    """Make a vendor's answer; numbers are ratios."""
    made = {n: f if isinstance(f, Fact) else Fact(f, "ratio") for n, f in facts.items()}
    return Snapshot(vendor, "X", 0, made, is_stale=stale)


def merged(*snapshots: Snapshot, strategy: str = "priority_based", rules: FundamentalsRules = RULES,
           data_type: str = "profile") -> MergedRecord:  # fmt: skip
    return merge(snapshots, rules, data_type, strategy)


def value(found: MergedRecord, name: str) -> Any:
    return found.fields[name].fact.value


def test_the_first_vendor_that_tells_a_field_counts() -> None:
    found = merged(said("c", beta=3.0), said("b", beta=2.0, pe_ratio=9.0), said("a", pe_ratio=8.0))
    assert (value(found, "beta"), value(found, "pe_ratio")) == (2.0, 8.0)
    assert found.fields["beta"].vendors == ("b",)
    assert found.used == ("a", "b", "c")


def test_a_field_may_have_an_order_of_its_own() -> None:
    rules = FundamentalsRules(sequences=RULES.sequences, field_priorities={"beta": ("c",)})
    found = merged(
        said("a", beta=1.0, pe_ratio=1.0), said("c", beta=3.0, pe_ratio=3.0), rules=rules
    )
    assert (value(found, "beta"), value(found, "pe_ratio")) == (3.0, 1.0)


def test_vendors_that_no_order_names_come_last() -> None:
    assert value(merged(said("aa", beta=5.0), said("c", beta=3.0)), "beta") == 3.0


def test_old_copies_come_behind_fresh_words() -> None:
    found = merged(said("a", stale=True, beta=1.0), said("c", beta=3.0))
    assert value(found, "beta") == 3.0


def test_quality_counts_what_matters_and_the_vendors_grade() -> None:
    rich = said("c", beta=3.0, pe_ratio=1.0, price_to_book=1.0, market_cap=USD)
    poor = said("a", beta=1.0)
    assert value(merged(poor, rich), "beta") == 1.0
    assert value(merged(poor, rich, strategy="quality_based"), "beta") == 3.0
    graded = FundamentalsRules(sequences=RULES.sequences, grades={"a": 5.0, "c": 1.0})
    both = [said("a", beta=1.0, pe_ratio=1.0), said("c", beta=3.0, pe_ratio=1.0)]
    assert value(merged(*both, strategy="quality_based", rules=graded), "beta") == 1.0


def test_consensus_is_the_mean_of_what_is_near() -> None:
    found = merged(said("a", beta=1.0), said("b", beta=1.1), strategy="consensus")
    assert value(found, "beta") == pytest.approx(1.05)
    assert found.fields["beta"].vendors == ("a", "b")
    assert found.conflicts == ()


def test_consensus_falls_back_where_values_are_far_apart() -> None:
    found = merged(said("a", beta=1.0), said("b", beta=1.5), strategy="consensus")
    assert value(found, "beta") == 1.0
    assert [c["vendor"] for c in found.conflicts] == ["b"]


@pytest.mark.parametrize(
    "other",
    [
        Fact(101.0, "money", "GBP"), Fact(101.0, "money", ""), Fact(101.0, "", "USD"),
        Fact(101.0, "money", "USD", "TTM"), Fact("101", "text"),
    ],
    ids=["currency", "untold currency", "untold unit", "period", "text"],
)  # fmt: skip
def test_what_cannot_be_compared_is_never_averaged(other: Fact) -> None:
    found = merged(said("a", market_cap=USD), said("b", market_cap=other), strategy="consensus")
    assert found.fields["market_cap"].fact == USD


@pytest.mark.parametrize(
    "end, is_same",
    [
        ("2022-09-24", False), ("2023-09-19", False), ("2023-12-30", False),
        ("2023-09-20", True), ("2023-10-06", True), ("", True),
    ],
)  # fmt: skip
def test_values_of_two_fiscal_years_are_neither_averaged_nor_a_conflict(
    end: str, is_same: bool
) -> None:
    def year(end: str, revenue: float) -> Fact:
        return Fact(revenue, "money", "USD", "FY", end)

    one, other = said("a", revenue=year("2023-09-30", 100.0)), year(end, 102.0)
    found = merged(one, said("b", revenue=other), strategy="consensus")
    assert value(found, "revenue") == (101.0 if is_same else 100.0)
    far = merged(one, said("b", revenue=year(end, 140.0)))
    assert [c["why"] for c in far.conflicts] == ["differs by 29%"] * is_same


def test_conflicts_tell_field_vendor_value_and_currency() -> None:
    found = merged(said("a", market_cap=USD), said("b", market_cap=Fact(80.0, "money", "USD")))
    assert found.conflicts == (
        {
            "field": "market_cap", "vendor": "b", "value": 80.0, "currency": "USD",
            "unit": "money", "why": "differs by 20%", "chosen": 100.0, "chosen_vendor": "a",
            "chosen_currency": "USD",
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    "other, why",
    [
        (Fact(100.0, "money", "GBP"), "in GBP, not USD"),
        (Fact(50.0, "money"), "in a currency that one of them does not name"),
        (Fact(95.0, "money"), None),
        (Fact(91.0, "money", "USD"), None),
        (Fact(50.0, "money", "USD", "TTM"), None),
        (Fact(50.0, "", "USD"), "of an unknown unit"),
        (Fact(1.0, "money", "USD"), "percent against a fraction"),
        (Fact(0.1, "money", "USD"), "thousands against units"),
        (Fact(1e8, "money", "USD"), "millions against units"),
        (Fact(-100.0, "money", "USD"), None),  # a capitalisation below nothing is not believed
    ],
)  # fmt: skip
def test_differing_values_of_two_vendors_are_a_conflict(other: Fact, why: str | None) -> None:
    found = merged(said("a", market_cap=USD), said("b", market_cap=other))
    assert [why in c["why"] for c in found.conflicts] == [True] * (why is not None)  # type: ignore[operator]


def test_conflicts_may_be_kept_quiet() -> None:
    rules = FundamentalsRules(sequences=RULES.sequences, reports_conflicts=False)
    assert merged(said("a", beta=1.0), said("b", beta=5.0), rules=rules).conflicts == ()


def test_what_cannot_be_true_is_dropped_and_the_next_one_counts() -> None:
    found = merged(said("a", pe_ratio=0.0), said("b", pe_ratio=20.0))
    assert value(found, "pe_ratio") == 20.0
    assert found.dropped == ({"field": "pe_ratio", "vendor": "a", "reason": "it cannot be 0"},)


def test_a_stranger_is_refused_whole() -> None:
    name = Fact("Apple Inc.", "text")
    other = said("b", company_name=Fact("Vodafone Group", "text"), beta=2.0)
    found = merged(said("a", company_name=name), other)
    assert "beta" not in found.fields
    assert "Vodafone" in found.refused["b"]
    assert found.used == ("a",)


def test_blocks_and_statements_of_the_more_trusted_vendor() -> None:
    report = Statement("income", "FY", "2023-12-31", "", "USD", {"revenue": 1.0})
    one = Snapshot("a", "X", 0, {}, blocks={"profile": {"from": "a"}})
    two = Snapshot("b", "X", 0, {}, (report,), blocks={"profile": {"from": "b"}, "ratios": {}})
    found = merged(two, one)
    assert found.blocks == {"profile": {"from": "a"}, "ratios": {}}
    assert (found.statements, found.statements_from) == ((report,), "b")


def test_the_latest_annual_report_fills_missing_facts() -> None:
    reports = (
        Statement(
            "income", "Q1", "2024-03-31", "2024-05-01", "EUR", {"revenue": 1.0, "ebitda": 2.0}
        ),
        Statement("income", "FY", "2022-12-31", "2023-02-01", "EUR", {"revenue": 3.0}),
        Statement("income", "FY", "2023-12-31", "2024-02-01", "EUR", {"revenue": 4.0}),
    )
    whole = with_reported(Snapshot("a", "X", 0, {"net_income": USD}, reports))
    assert whole.facts["revenue"] == Fact(4.0, "money", "EUR", "FY", "2023-12-31", "2024-02-01")
    assert whole.facts["ebitda"].period == "Q1"
    assert whole.facts["net_income"] == USD


def test_merging_no_snapshot_gives_an_empty_result() -> None:
    assert merged() == MergedRecord()


numbers = st.floats(0.01, 1e6)


@settings(derandomize=True, max_examples=examples(60), deadline=None)
@given(
    st.lists(st.tuples(numbers, st.sampled_from(["USD", "EUR", ""])), min_size=1, max_size=3),
    st.sampled_from(["priority_based", "quality_based", "consensus"]),
    st.randoms(),
)
def test_any_order_of_vendors_gives_the_same_record(
    told: list[tuple[float, str]], strategy: str, random: Any
) -> None:
    snapshots = [
        said("abc"[place], market_cap=Fact(number, "money", currency))
        for place, (number, currency) in enumerate(told)
    ]
    expected = merged(*snapshots, strategy=strategy)
    random.shuffle(snapshots)
    found = merged(*snapshots, strategy=strategy)
    assert found == expected
    chosen = found.fields["market_cap"]
    assert chosen.fact.currency == told[0][1]
    # Never beyond what those say who mean the same money.
    same = [number for number, currency in told if currency == told[0][1]]
    assert min(same) * (1 - 1e-12) <= chosen.fact.value <= max(same) * (1 + 1e-12)  # type: ignore[operator]
    assert math.isfinite(float(chosen.fact.value))
