"""Managers whose SEC is the local server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import to_ms
from src.data.data_manager import DataManager
from tests.vendor_server import VendorServer
from tests.vendor_server.sec import CONTACT, Sec

NOW = "2026-06-20T15:00:00+00:00"


def set_time(clock: ManualClock, text: str) -> None:
    """Set the test's clock."""
    clock.set(to_ms(pd.Timestamp(text)))


@pytest.fixture
def sec(vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Sec:
    """Return the server's SEC; a contact address is set."""
    monkeypatch.setenv("SEC_CONTACT", CONTACT)
    set_time(clock, NOW)
    face = vendors.face("sec")
    assert isinstance(face, Sec)
    return face


@pytest.fixture
def rules(tmp_path: Path, vendors: VendorServer) -> Path:
    """Return rules that point the SEC at the local server."""
    path = tmp_path / "rules.yaml"
    fast = "{requests_per_second: 1000, burst_size: 1000}"
    url = vendors.base_url("sec")
    path.write_text(f"providers: {{sec: {{base_url: '{url}', rate_limits: {fast}}}}}\n")
    return path


@pytest.fixture
def make(tmp_path: Path, rules: Path, clock: ManualClock) -> Callable[[], DataManager]:
    """Return a function that creates managers on one cache folder."""
    return lambda: DataManager(tmp_path / "cache", rules, clock=clock)


@pytest.fixture
def manager(sec: Sec, make: Callable[[], DataManager]) -> DataManager:
    """Return a manager on an empty cache."""
    return make()
