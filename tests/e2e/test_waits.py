"""Whatever waits by the rule for holes and doubts waits by the setting, and shows when it was repeated."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from src.data.core.bars import validity
from src.data.core.clock import ManualClock
from src.data.core.model.stored.coverage import Covered
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS
from src.data.core.model.time.span import Span
from src.data.data_manager import DataManager
from tests.contract.source import modules

from .fixed_vendor import FixedVendor, Market, at, days, every
from .scripted_vendor import route_to
from .test_grave_bars import CASES, Case, Walker

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

HOUR_S, DAY_S = 3600, 24 * 3600
Series = tuple[str, ...]
OF_DAYS: Series = ("AAPL", "1d", "2024-05-01", "2024-05-31")
OF_HOURS: Series = ("BTCUSDT", "1h", "2024-05-13", "2024-05-15")
SESSIONS = [at(f"{d}") for d in days("2024-05-01", "2024-06-11") if str(d) != "2024-05-27"]
HOURS = every("1h", "2024-05-13T00:00:00Z", "2024-05-15T23:00:00Z")
LACKING = {OF_DAYS: (SESSIONS, at("2024-05-14"), "yahoo"),
           OF_HOURS: (HOURS, at("2024-05-14T06:00:00Z"), "binance")}  # fmt: skip
Open = Callable[..., Any]


@pytest.fixture
def opened(market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Return what opens the cache with ``default_ttl_hours``; only the given vendors are queried."""

    def open_with(hours: float | None, *vendors: FixedVendor) -> Any:
        if hours is None:
            return market.manager(*vendors)
        rules = tmp_path / "rules.yaml"
        rules.write_text(f"cache: {{default_ttl_hours: {hours}}}\n")
        manager = DataManager(tmp_path / "cache", rules, clock=market.clock)
        route_to(monkeypatch, manager, **{vendor.name: vendor for vendor in vendors})
        return manager

    return open_with


def lacking(series: Series, clock: ManualClock) -> list[FixedVendor]:
    """Return two vendors of a series that both lack one bar."""
    stamps, gone, like = LACKING[series]
    one, twin = (FixedVendor(clock, [s for s in stamps if s != gone], like) for _ in range(2))
    twin.name = "twin"
    return [one, twin]


def entries(manager: Any, series: Series) -> Iterator[Covered]:
    """Yield the entries of a series that wait."""
    key = manager.client.series_of(manager.client.query(*series))
    yield from (c for c in manager.client.outline(key).coverage if c.expires is not None)


def verdict(manager: Any, series: Series) -> tuple[str, bool]:
    """Return the class of the only gap, and whether it was seen before."""
    (gap,) = manager.gaps(*series).gaps
    assert gap.evidence.endswith("UTC, once") or "UTC and before" in gap.evidence
    return gap.gap_class, "UTC and before" in gap.evidence


@pytest.mark.parametrize(
    ("hours", "wait_s"), [(None, DAY_S), (24, DAY_S), (6, 6 * HOUR_S), (1, HOUR_S)]
)
@pytest.mark.parametrize("series", [OF_DAYS, OF_HOURS], ids=["1d", "1h"])
def test_a_hole_is_repeated_from_the_second_answer_whatever_the_setting(
    opened: Open, clock: ManualClock, series: Series, hours: float | None, wait_s: int
) -> None:
    manager = opened(hours, *lacking(series, clock))
    manager.get_ohlcv(*series)
    assert verdict(manager, series) == ("common_hole", False)
    clock.advance(wait_s - 1)
    manager.get_ohlcv(*series)
    assert verdict(manager, series) == ("common_hole", False), "the first answer is still valid"
    clock.advance(1)
    manager.get_ohlcv(*series)
    assert verdict(manager, series) == ("halt", True)


@pytest.mark.parametrize("series", [OF_DAYS, OF_HOURS], ids=["1d", "1h"])
def test_another_rule_decides_when_to_ask_and_what_is_repeated(
    opened: Open, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, series: Series
) -> None:
    usual = validity.next_due
    monkeypatch.setattr(validity, "next_due", lambda hole, now: 2 * usual(hole, now) - now)
    manager = opened(1, *lacking(series, clock))
    manager.get_ohlcv(*series)
    (hole,) = entries(manager, series)
    assert hole.expires == hole.fetched_at + 2 * HOUR_MS
    assert verdict(manager, series) == ("common_hole", False)
    clock.advance(2 * HOUR_S)
    manager.get_ohlcv(*series)
    assert verdict(manager, series) == ("halt", True)


# --- each caller of the rule ---------------------------------------------------------------------


def a_hole(opened: Open, clock: ManualClock) -> tuple[Covered, int]:
    """Return a span without bars, and the longest that it may wait."""
    manager = opened(1, *lacking(OF_DAYS, clock))
    manager.get_ohlcv(*OF_DAYS)
    (hole,) = entries(manager, OF_DAYS)
    return hole, HOUR_MS


def _grave(opened: Open, clock: ManualClock) -> tuple[Any, Case]:
    case = next(case for case in CASES if case.name == "coin day x100")
    manager = opened(1, case.vendor(clock))
    manager.get_ohlcv(*case.series)
    return manager, case


def a_grave_bar(opened: Open, clock: ManualClock) -> tuple[Covered, int]:
    """Return a bar that is almost certainly wrong when it arrives."""
    manager, case = _grave(opened, clock)
    (entry,) = entries(manager, case.series)
    return entry, HOUR_MS


def a_repeated_grave_bar(opened: Open, clock: ManualClock) -> tuple[Covered, int]:
    """Return a bar that is sent again, as wrong as before."""
    manager, case = _grave(opened, clock)
    clock.advance(HOUR_S)
    manager.get_ohlcv(*case.series)
    (entry,) = entries(manager, case.series)
    return entry, 2 * HOUR_MS


def a_marked_bar(opened: Open, clock: ManualClock) -> tuple[Covered, int]:
    """Return a bar that a check of the whole series found wrong."""
    case = next(case for case in CASES if case.name == "coin day x100")
    manager = opened(1, Walker(clock, case.stamps, case.like))
    manager.get_ohlcv(*case.series)
    client = manager.client
    key = client.series_of(manager.client.query(*case.series))
    first = at(case.wrong[0])
    wrong = [(Span(first, first + DAY_MS), "grave: unit")]
    assert client.mark(key, client.outline(key).generation, wrong, [])
    (entry,) = entries(manager, case.series)
    return entry, HOUR_MS


CALLERS = {
    "core.bars.validity.due_parts": a_hole,
    "core.bars.ingest.judge._marks": a_grave_bar,
    "core.bars.ingest.judge._repeat_marks": a_repeated_grave_bar,
    "core.bars.client.mark": a_marked_bar,
}


def test_each_caller_of_the_rule_is_known() -> None:
    callers = set()
    for module in modules():
        for function in (n for n in module.nodes if isinstance(n, ast.FunctionDef)):
            calls = (n.func for n in ast.walk(function) if isinstance(n, ast.Call))
            if any(isinstance(f, ast.Name) and f.id == "next_due" for f in calls):
                callers.add(f"{module.name}.{function.name}")
    assert callers == set(CALLERS), "add what it stores: it must wait by the setting"


@pytest.mark.parametrize("caller", CALLERS)
def test_each_caller_of_the_rule_waits_by_the_setting(
    opened: Open, clock: ManualClock, caller: str
) -> None:
    entry, wait_ms = CALLERS[caller](opened, clock)
    assert entry.expires is not None
    assert abs(entry.expires - entry.fetched_at - wait_ms) < MINUTE_MS
