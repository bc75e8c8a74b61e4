"""Regular hours from vendors that send extended ones: filtered by the calendar, or refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning
from tests.conformance.sheet import sheet_of
from tests.vendor_server import VendorServer

from .scripted_vendor import provenance

Make = Callable[..., DataManager]
# A whole day and the eve of a holiday, which closes at 13:00 in New York.
DAYS = {"2024-07-02": ("13:30", "20:00"), "2024-07-03": ("13:30", "17:00")}
SENDING = ("polygon", "alpaca", "finnhub")
EXTENDED = {"session": "extended"}


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at the evening of a half day."""
    return ManualClock(parse_iso("2024-07-04T02:00"))


@pytest.fixture(autouse=True)
def _traded(vendors: VendorServer) -> Iterator[None]:
    """Let AAPL trade in extended hours, and make incomplete data an error."""
    vendors.truth.change("AAPL", extended=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", IncompleteDataWarning)
        yield


@pytest.fixture
def by(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Make:
    """Return a maker of managers on one cache, by the order of vendors, all with their keys."""

    def make(*names: str) -> DataManager:
        order = f"{{primary: {names[0]}, backup: [{', '.join(names[1:])}]}}"
        lines = [*(f"{rule}: {order}" for rule in ("stock_daily", "stock_intraday")), "providers:"]
        fast = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
        for name in names:
            for key, value in sheet_of(name).keys.items():
                monkeypatch.setenv(key, value)
            where = f"base_url: '{vendors.base_url(name)}', rate_limits: {fast}"
            lines.append(f"  {name}: {{{where}{', transport: http' * (name == 'yahoo')}}}")
        path = tmp_path / f"{'-'.join(names)}.yaml"
        path.write_text("\n".join(lines) + "\n")
        return DataManager(tmp_path / "cache", path, clock=clock)

    return make


def regular(minutes: int) -> list[pd.Timestamp]:
    """Return the opens of all bars of the two days, by the hours above."""
    step = pd.Timedelta(minutes=minutes)
    return [
        stamp
        for day, (first, close) in DAYS.items()
        for stamp in pd.date_range(f"{day} {first}", f"{day} {close}", freq=step, inclusive="left")
    ]


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("vendor", SENDING)
@pytest.mark.parametrize("minutes", [5, 15, 30])
def test_regular_hours_are_cut_out_of_the_bars_of_every_vendor_with_extended_hours(
    by: Make, vendors: VendorServer, vendor: str, minutes: int, pinned: bool
) -> None:
    manager = by("yahoo", vendor) if pinned else by(vendor)
    wishes = {"provider": vendor} if pinned else {}
    question = ("AAPL", f"{minutes}m", *DAYS)
    frame = manager.get_ohlcv(*question, strict=True, **wishes)
    assert list(frame.index) == regular(minutes)
    what = provenance(frame)
    assert (what["kind"]["session"], what["vendors"], what["complete"]) == (
        "regular",
        [vendor],
        True,
    )
    asked = vendors.count()
    pd.testing.assert_frame_equal(manager.get_ohlcv(*question, strict=True, **wishes), frame)
    assert vendors.count() == asked, "the second time it is cached"
    last = manager.get_ohlcv("AAPL", f"{minutes}m", bars=5, **wishes)
    assert list(last.index) == regular(minutes)[-5:]
    longer = manager.get_ohlcv(*question, **EXTENDED, **wishes)
    assert len(longer) == (960 + 780) // minutes


@pytest.mark.parametrize("pinned", [False, True])
def test_hours_are_built_from_minutes_cut_to_regular_hours(by: Make, pinned: bool) -> None:
    manager = by("yahoo", "alpaca") if pinned else by("alpaca")
    wishes = {"provider": "alpaca"} if pinned else {}
    frame = manager.get_ohlcv("AAPL", "1h", *DAYS, strict=True, **wishes)
    assert list(frame.index) == regular(60)
    assert provenance(frame)["kind"]["session"] == "regular"
