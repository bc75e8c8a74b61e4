"""Filters of universes: bounds are inclusive, unknown values do not pass, each exclusion has its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.data_manager import DataManager
from src.data.db.universe.definition import UniverseDefinition, check_name
from src.data.db.universe.filters import SymbolFigures, select
from src.data.db.universe.sources import cached_closes
from src.data.errors import UniverseError

ROWS = [
    SymbolFigures("AAPL", Decimal(3_000), "USD", "USD", "Technology", 100),
    SymbolFigures("XOM", Decimal(400), "USD", "USD", "Energy", 50),
    SymbolFigures("VOD.L", Decimal(9_000), "GBP", "GBP", "Technology", 900),
    SymbolFigures("NEW", None, None, "USD", None, None),
    SymbolFigures("ODD", Decimal(3_000), None, None, "Energy", 10),
]


def closes(symbols: Sequence[str]) -> Mapping[str, float]:
    return {"AAPL": 200.0, "XOM": 4.5}


@pytest.mark.parametrize(
    "filters, passed",
    [
        ({"min_market_cap": 400}, ["AAPL", "XOM"]),
        ({"min_market_cap": 400.5}, ["AAPL"]),
        ({"max_market_cap": 400}, ["XOM"]),
        ({"max_market_cap": 399}, []),
        ({"sectors": ["technology"]}, ["AAPL", "VOD.L"]),
        ({"exclude_sectors": ["Technology"]}, ["XOM", "ODD"]),
        ({"min_avg_volume": 50}, ["AAPL", "XOM", "VOD.L"]),
        ({"min_avg_volume": 51}, ["AAPL", "VOD.L"]),
        ({"min_price": 4.5}, ["AAPL", "XOM"]),
        ({"min_price": 4.51}, ["AAPL"]),
        ({"min_market_cap": 1, "sectors": ["Energy"], "min_price": 1}, ["XOM"]),
    ],
)
def test_filters_select_the_symbols_that_pass(filters: dict[str, Any], passed: list[str]) -> None:
    UniverseDefinition("filter", "", filters=filters).check()
    selection = select(ROWS, filters, closes)
    assert list(selection.symbols) == passed
    assert selection.excluded.keys() == {row.symbol for row in ROWS} - set(passed)


def test_each_excluded_symbol_has_its_reason() -> None:
    excluded = select(ROWS, {"min_market_cap": 1_000, "sectors": ["Technology"]}, closes).excluded
    assert excluded == {
        "XOM": "min_market_cap: its market capitalization of 400 is below 1,000",
        "VOD.L": "min_market_cap: its market capitalization is in GBP and cannot be compared with USD",
        "NEW": "min_market_cap: its market capitalization is unknown",
        "ODD": "min_market_cap: its market capitalization is in an unknown currency and cannot be "
        "compared with USD",
    }
    assert select(ROWS, {"exclude_sectors": ["Energy"]}, closes).excluded["NEW"] == (
        "exclude_sectors: its sector is unknown"
    )
    assert select(ROWS, {"min_price": 5}, closes).excluded == {
        "XOM": "min_price: 4.5 is below 5",
        "VOD.L": "min_price: its prices are in GBP and cannot be compared with USD",
        "NEW": "min_price: no close of the last 7 days is cached",
        "ODD": "min_price: its prices are in an unknown currency and cannot be compared with USD",
    }


def test_a_close_counts_for_seven_days(tmp_path: Path) -> None:
    manager = DataManager(tmp_path)
    days = pd.DatetimeIndex(["2024-02-29", "2024-03-01"], name="timestamp")
    prices = {name: [180.0, 181.0] for name in ("open", "high", "low", "close")}
    manager.cache.put(pd.DataFrame({**prices, "volume": 1.0}, index=days), "AAPL", "1d")
    on = {day: cached_closes(manager, date(2024, 3, day))(["AAPL", "MSFT"]) for day in (7, 8, 9)}
    assert on == {7: {"AAPL": 181.0}, 8: {"AAPL": 181.0}, 9: {}}


def test_closes_are_read_only_for_symbols_that_pass_the_other_filters() -> None:
    asked: list[list[str]] = []
    select(ROWS, {"min_price": 1, "sectors": ["Energy"]}, lambda s: asked.append(list(s)) or {})  # type: ignore[func-returns-value]
    select(ROWS, {"sectors": ["Energy"]}, lambda s: asked.append(list(s)) or {})  # type: ignore[func-returns-value]
    assert asked == [["XOM"]]


@pytest.mark.parametrize(
    "definition, message",
    [
        (UniverseDefinition("list", "", symbols=["A"]), "unknown universe type 'list'"),
        (UniverseDefinition("static", ""), "type static needs symbols"),
        (UniverseDefinition("static", "", symbols=[]), "type static needs symbols"),
        (UniverseDefinition("static", "", symbols="AAPL"), "not one string"),
        (UniverseDefinition("static", "", symbols=["A"], filters={"min_price": 1}), "not accept filters"),
        (UniverseDefinition("filter", "", filters={}), "type filter needs filters"),
        (UniverseDefinition("index", ""), "type index needs index_name"),
        (UniverseDefinition("filter", "", filters={"min_pe": 1}), "unknown filter 'min_pe'"),
        (UniverseDefinition("filter", "", filters={"min_price": "5"}), "be a non-negative number, not"),
        (UniverseDefinition("filter", "", filters={"min_price": True}), "be a non-negative number"),
        (UniverseDefinition("filter", "", filters={"min_price": float("nan")}), "be a non-negative number"),
        (UniverseDefinition("filter", "", filters={"min_price": -1}), "be a non-negative number"),
        (UniverseDefinition("filter", "", filters={"sectors": "Energy"}), "must be a list of names"),
        (UniverseDefinition("filter", "", filters={"min_market_cap": 5, "max_market_cap": 4}), "above max"),
        (UniverseDefinition("static", None, symbols=["A"]), "description of a universe must be"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_a_universe_definition_has_exactly_one_source(
    definition: UniverseDefinition, message: str
) -> None:
    with pytest.raises(UniverseError, match=message):
        definition.check()


def test_a_definition_has_plain_values() -> None:
    definition = UniverseDefinition(
        "filter", "large", filters={"sectors": ["Energy"], "min_price": 5}
    )
    assert definition.model_dump() == {
        "type": "filter",
        "description": "large",
        "symbols": None,
        "filters": {"sectors": ["Energy"], "min_price": 5},
        "index_name": None,
    }


@pytest.mark.parametrize(
    "name", ["", " a", "a ", "a\nb", "a\x1b[0m", "x" * 101, None, "\ud800", "a\u202eb"]
)
def test_names_that_cannot_be(name: object) -> None:
    with pytest.raises(UniverseError, match="invalid name"):
        check_name(name)


@pytest.mark.parametrize(
    "name", ["S&P 500", "'; DROP TABLE universes;--", "指数", "../../etc/passwd", "%s"]
)
def test_names_that_can_be(name: str) -> None:
    assert check_name(name) == name
