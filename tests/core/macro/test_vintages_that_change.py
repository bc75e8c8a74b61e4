"""Vintages that their vendor tells otherwise later: the cached series is that of a fresh cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import DataError
from tests.simulation.facts import OPERATIONS
from tests.vendor_server import VendorServer
from tests.vendor_server.fred import Fred, Published

from .test_series import CPI, fred, make, set_time, values  # noqa: F401 - fixtures

LATER: Published = ("2026-03-11", "2026-02-01", "320.0")
REVISED: Published = ("2026-03-11", "2024-02-01", "310.5")
TOLD: dict[str, tuple[list[Published], list[Published]]] = {
    "told": (CPI, [*CPI, LATER]),
    "withdrawn": (CPI, [*CPI, ("2026-03-11", "2023-12-01", "")]),
    "moved": (CPI, [*CPI, REVISED]),
    # Of a day that was over when the series was fetched.
    "told late": (CPI, sorted([*CPI, ("2025-02-20", "2024-02-01", "310.4")])),
    "cut at the front": (CPI, [("2024-03-12", "2023-12-01", "308.742"), *CPI[2:]]),
}
DAYS = ("2024-02-01", "2024-02-09", "2024-06-01", "2025-02-20", "2026-03-10", "2026-03-11", None)


@pytest.mark.parametrize("is_restarted", [False, True], ids=["same process", "restarted"])
@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one in TOLD])
def test_a_vintage(
    make: Callable[[], DataManager], fred: Fred, vendors: VendorServer,  # noqa: F811 - a fixture
    clock: ManualClock, tmp_path: Path, operation: str, is_restarted: bool,
) -> None:  # fmt: skip
    first, then = TOLD[operation]
    fred.series["CPIAUCSL"] = list(first)
    cached = make()
    known = {day: told_by(cached, day) for day in DAYS[:4]}
    fred.series["CPIAUCSL"] = list(then)
    set_time(clock, "2026-03-20T15:00:00+00:00")
    cached = make() if is_restarted else cached
    fresh = DataManager(tmp_path / "fresh", tmp_path / "rules.yaml", clock=clock)
    # What was public on a day that was over is kept, until the caller asks for all of it again.
    is_past_changed = operation == "cut at the front"
    for day in DAYS[::-1]:
        expected = known[day] if is_past_changed and day in known else told_by(fresh, day)
        assert told_by(cached, day) == expected, day
    cached.get_series("CPIAUCSL", refresh=True)
    for day in DAYS:
        assert told_by(cached, day) == told_by(fresh, day), day


def told_by(manager: DataManager, day: str | None) -> dict[str, str]:
    """Return the values of a day as text (no number equals itself), or the error."""
    try:
        return {k: str(v) for k, v in values(manager.get_series("CPIAUCSL", as_of=day)).items()}
    except DataError as error:
        return {"error": type(error).__name__}
