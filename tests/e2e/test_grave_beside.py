"""A bar between stored ones is judged by them, although a session has opened since they were fetched."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning
from tests.vendor_server import Fault, VendorServer, split
from tests.vendor_server.face import Page

DAY = "2024-05-15"
RANGE = ("2024-05-01", "2024-06-04")
PRICES = ("open", "high", "low", "close")


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at a Wednesday evening in New York."""
    return ManualClock(parse_iso("2024-06-05T21:00:00"))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        yield


@pytest.fixture(params=["yahoo", "fmp"])
def vendor(request: pytest.FixtureRequest) -> str:
    """Return a vendor of split-adjusted prices: with splits in its bars, or at another address."""
    return str(request.param)


@pytest.fixture
def shares(
    tmp_path: Path, vendor: str, vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> DataManager:  # fmt: skip
    """Return a manager whose only vendor of daily shares is this one."""
    monkeypatch.setenv("FMP_API_KEY", "vendor-server-key")
    path = tmp_path / "shares.yaml"
    path.write_text(
        f"stock_daily: {{primary: {vendor}, backup: []}}\n"
        f"providers:\n  {vendor}: {{base_url: '{vendors.base_url(vendor)}'"
        + (", transport: http}\n" if vendor == "yahoo" else "}\n")
    )
    return DataManager(tmp_path / "cache", path, clock=clock)


def hundredfold() -> Fault:
    """Return the fault of a vendor that has all prices of one day a hundred times too large."""
    first = parse_iso(DAY)

    def spoil(page: Page) -> Page:
        rows = (
            row._replace(**{name: 100 * getattr(row, name) for name in PRICES})
            if row.stamp_ms == first
            else row
            for row in page.rows
        )
        return replace(page, rows=tuple(rows))

    return Fault("hundredfold", rows=spoil)


def absent() -> Fault:
    """Return the fault of a vendor that lacks one day."""

    def spoil(page: Page) -> Page:
        kept = [place for place, row in enumerate(page.rows) if row.stamp_ms != parse_iso(DAY)]
        labels, rows = page.labels, page.rows
        return replace(
            page, labels=tuple(labels[n] for n in kept), rows=tuple(rows[n] for n in kept)
        )

    return Fault("absent", rows=spoil)


def state(manager: DataManager, *when: str) -> str:
    """Return the state of the day in an answer; a strict answer must not have it unless it is final."""
    frame = manager.get_ohlcv("AAPL", "1d", *when, columns=("state",))
    found = str(frame.loc[pd.Timestamp(DAY), "state"])
    if found != "final":
        assert not frame.attrs["onetape"]["complete"]
        with pytest.raises(IncompleteDataError):
            manager.get_ohlcv("AAPL", "1d", *when, strict=True)
    return found


def test_a_doubted_bar_that_its_vendor_repeats_after_another_session_stays_doubted(
    shares: DataManager, vendor: str, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault(vendor, hundredfold())
    assert state(shares, *RANGE) == "suspect"
    for days in (1, 2):  # its second and third waits
        clock.advance(days * 86_400)
        requests = vendors.count()
        assert state(shares, *RANGE) == "suspect"
        assert vendors.count() > requests
    clock.advance(9 * 86_400)
    assert state(shares, *RANGE) == "final", "repeated after each wait"


@pytest.mark.parametrize("vendor", ["fmp"], indirect=True)
def test_a_doubted_bar_stays_doubted_if_nobody_reports_the_splits_since(
    shares: DataManager, vendor: str, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault(vendor, hundredfold())
    assert state(shares, *RANGE) == "suspect"
    vendors.fault(vendor, Fault.status(503), path="splits")
    clock.advance(86_400)
    requests = vendors.count()
    assert state(shares, DAY, DAY) == "suspect"
    assert vendors.count() > requests


@pytest.mark.parametrize("when", [RANGE, (DAY, DAY)], ids=["with others", "alone"])
def test_a_bar_that_comes_later_than_those_around_it_is_judged_by_these(
    shares: DataManager, vendor: str, vendors: VendorServer, clock: ManualClock,
    when: tuple[str, str],
) -> None:  # fmt: skip
    vendors.fault(vendor, absent())
    shares.get_ohlcv("AAPL", "1d", *RANGE)
    vendors.heal()
    vendors.fault(vendor, hundredfold())
    clock.advance(86_400)
    assert state(shares, *when) == "suspect"


def test_a_right_bar_that_comes_after_a_split_is_not_doubted(
    shares: DataManager, vendor: str, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault(vendor, absent())
    shares.get_ohlcv("AAPL", "1d", *RANGE)
    vendors.heal()
    vendors.truth.act("AAPL", split("2024-06-06", 10))
    clock.advance(86_400)
    frame = shares.get_ohlcv("AAPL", "1d", *RANGE, strict=True)
    assert pd.Timestamp(DAY) in frame.index
    assert frame.attrs["onetape"]["problems"] == []
    assert frame["close"].max() / frame["close"].min() < 2
