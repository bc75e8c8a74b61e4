"""Fixtures for jobs over real sockets: the scripted server as vendors, and a stopped clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from tests.vendor_server import Listing, VendorServer


@pytest.fixture
def rules(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return the rules file that is in force: who needs no key is looked for at the local server."""
    path = tmp_path / "rules.yaml"
    path.write_text(
        "providers:\n"
        f"  binance: {{base_url: '{vendors.base_url('binance')}', transport: http}}\n"
        f"  yahoo: {{base_url: '{vendors.base_url('yahoo')}', transport: http}}\n"
        f"  coingecko: {{base_url: '{vendors.base_url('yahoo')}'}}\n"
    )
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: clock)
    monkeypatch.setenv("ONETAPE_RULES", str(path))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def sydney(vendors: VendorServer) -> Listing:
    """Return a share listed in Sydney, BHP.AX: in summer, it opens at 23:00 UTC of the day before."""
    share = replace(vendors.truth.listing("AAPL"), symbol="BHP.AX", actions=(), currency="AUD")
    return vendors.truth.add(
        replace(share, calendar="XASX", timezone="Australia/Sydney", exchange="ASX")
    )
