"""``onetape fundamentals`` on cached records with made-up numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from src.data.cli.fundamentals import number
from src.data.core.cache.beside.fundamentals_cache import FundamentalsCache
from src.data.core.clock import ManualClock
from src.data.core.model.market.fundamentals import Fact, Snapshot
from tests.cli.conftest import Run
from tests.conftest import WEDNESDAY
from tests.core.fundamentals.conftest import asking

HOUR_MS = 3_600_000


@pytest.fixture
def held(cache: Path, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what two vendors said about Apple three hours ago; neither has a key."""
    asked = json.dumps(asking("fmp", "alpha_vantage"))
    (rules.parent / "fundamentals.json").write_text(asked)
    for name in ("FMP_API_KEY", "ALPHA_VANTAGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    name = Fact("Apple Inc.", "text")
    fmp = {"company_name": name, "market_cap": Fact(3.0e12, "money", "USD"),
           "dividend_yield": Fact(0.0052, "fraction"), "pe_ratio": Fact(0.0, "ratio")}  # fmt: skip
    other = {"company_name": name, "market_cap": Fact(2.0e12, "money", "USD"),
             "pe_ratio": Fact(25.5, "ratio", "", "TTM", "2024-03-31")}  # fmt: skip
    kept = FundamentalsCache(cache, clock=clock)
    for vendor, facts in (("fmp", fmp), ("alpha_vantage", other)):
        kept.keep(Snapshot(vendor, "AAPL", WEDNESDAY - 3 * HOUR_MS, facts, data_types=("profile",)))


@pytest.mark.usefixtures("held")
def test_fields_with_value_unit_source_and_age(run: Run) -> None:
    ran = run("fundamentals", "aapl")
    assert ran.code == 0
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "AAPL Apple Inc." in lines
    assert "market_cap 3.00T USD fmp - 3h" in lines
    assert "dividend_yield 0.52% - fmp - 3h" in lines
    assert "pe_ratio 25.50 ratio alpha_vantage TTM 2024-03-31 3h" in lines
    assert "market_cap: alpha_vantage 2.00T USD, fmp 3.00T USD (differs by 33%)" in lines
    assert "pe_ratio: fmp, it cannot be 0" in lines


@pytest.mark.usefixtures("held")
def test_json_is_the_record(run: Run) -> None:
    record = run("fundamentals", "AAPL", "--json", "--provider", "alpha_vantage").json
    assert record["market_cap"] == 2.0e12
    assert record["_metadata"]["providers_used"] == ["alpha_vantage"]


@pytest.mark.usefixtures("held")
def test_fundamentals_as_of_a_day_list_fields_not_public_then(run: Run) -> None:
    ran = run("fundamentals", "AAPL", "--as-of", "2024-06-01")
    assert "not public by 2024-06-01" in ran.out
    assert "fmp reported it after 2024-06-01: dividend_yield, market_cap, pe_ratio" in ran.out


@pytest.mark.usefixtures("held")
def test_fundamentals_without_a_vendor_are_an_error(run: Run) -> None:
    ran = run("fundamentals", "MSFT")
    assert ran.code == 1
    assert ran.err.splitlines() == [
        "onetape: no vendor has profile for MSFT: none could be queried",
        "  skipped without a key: fmp (FMP_API_KEY), alpha_vantage (ALPHA_VANTAGE_API_KEY)",
    ]
    wrong = run("fundamentals", "EURUSD=X")
    assert (wrong.code, "has no fundamentals" in wrong.err) == (2, True)
    empty = run("fundamentals", "MSFT", "--json")
    assert (empty.code, empty.json) == (1, {})


@pytest.mark.parametrize(
    "value, shown",
    [
        (3.0e12, "3.00T"), (-2.5e9, "-2.50B"), (1.0e6, "1.00M"), (999_999, "999,999"), (213.25, "213.25"),
        (0.98156, "0.9816"), (5.0, "5"), ("text", "text"),
    ],
)  # fmt: skip
def test_large_numbers_are_shown_in_readable_form(value: float | str, shown: str) -> None:
    assert number(value) == shown
