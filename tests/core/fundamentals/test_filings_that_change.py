"""Filings that a vendor tells otherwise later: the cached record is that of a fresh cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from tests.simulation.facts import OPERATIONS

from .conftest import Vendors, fmp_income

DAY_S = 86_400.0
NEWER, OLDER = fmp_income()
# What FMP tells first, and then; None: it fails, and another vendor is asked in its place.
TOLD: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]] | None]] = {
    "told": ([OLDER], [NEWER, OLDER]),
    "withdrawn": ([NEWER, OLDER], [OLDER]),
    "moved": ([NEWER, OLDER], [NEWER | {"filingDate": "2023-11-20", "revenue": 381.0e9}, OLDER]),
    "told by another": ([NEWER, OLDER], None),
    # It was filed long ago; the vendor has only now noticed.
    "told late": ([OLDER], [NEWER, OLDER | {"filingDate": "2022-11-30"}]),
    "cut at the front": ([NEWER, OLDER], [NEWER]),
}
BY_ANOTHER = {
    "symbol": "AAPL",
    "annualReports": [{"fiscalDateEnding": "2023-09-30", "totalRevenue": "379000000000"}],
}
DAYS = (None, "2022-10-28", "2022-12-01", "2023-11-03", "2023-11-10", "2023-11-20", "2024-06-12")


def facts_of(manager: DataManager, as_of: str | None) -> dict[str, Any]:
    """Return what a record says about statements, and whether it names itself stale."""
    record = manager.get_fundamentals("AAPL", data_type="statements", as_of=as_of)
    fields = ("revenue", "net_income", "statements")
    told = {name: record[name] for name in fields if name in record}
    return told | {"is_stale": record.get("_metadata", {}).get("is_stale", False)}


@pytest.mark.parametrize("is_restarted", [False, True], ids=["same process", "restarted"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_filing(
    make: Callable[[], DataManager], rules: Path, vendors: Vendors, clock: ManualClock,
    tmp_path: Path, operation: str, is_restarted: bool,
) -> None:  # fmt: skip
    first, then = TOLD[operation]
    vendors.bodies["/stable/income-statement"] = first
    vendors.bodies["INCOME_STATEMENT"] = BY_ANOTHER
    manager = make()
    for day in DAYS[::-1]:
        facts_of(manager, day)
    clock.advance(100 * DAY_S)
    if then is None:
        vendors.status["/stable/income-statement"] = 500
    else:
        vendors.bodies["/stable/income-statement"] = then
    manager = make() if is_restarted else manager
    fresh = DataManager(tmp_path / "fresh", rules, clock=clock)
    for day in DAYS:
        cached, new = facts_of(manager, day), facts_of(fresh, day)
        assert cached == new or cached["is_stale"], day
    if operation == "moved":  # as written above, not as another cache has it
        revenue = {day: facts_of(manager, day).get("revenue") for day in DAYS}
        assert revenue["2023-11-10"] == 390.0e9 and revenue["2023-11-20"] == 381.0e9
