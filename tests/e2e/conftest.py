"""The whole library over real sockets: a manager whose vendors are the scripted server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.data_manager import DataManager
from tests.conformance.sheet import sheet_of
from tests.vendor_server import VendorServer

from .fixed_vendor import Market
from .oracle import ms


@pytest.fixture
def rules(tmp_path: Path, vendors: VendorServer) -> Path:
    """Return a user's rules file that points both vendors at the local server."""
    path = tmp_path / "rules.yaml"
    # Waiting moves the test's clock for all threads at once: nobody is to wait for the pace here.
    fast = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
    path.write_text(
        # Nobody else is there: the server speaks for these two.
        "crypto: {backup: [yahoo]}\n"
        "providers:\n"
        f"  binance: {{base_url: '{vendors.base_url('binance')}', transport: http}}\n"
        f"  coingecko: {{base_url: '{vendors.base_url('binance')}'}}\n"
        f"  fred: {{base_url: '{vendors.base_url('fred')}'}}\n"
        f"  yahoo: {{base_url: '{vendors.base_url('yahoo')}', transport: http, rate_limits: {fast}}}\n"
    )
    return path


@pytest.fixture
def make(tmp_path: Path, rules: Path, clock: ManualClock) -> Callable[[], DataManager]:
    """Return a maker of managers on one and the same cache folder."""
    return lambda: DataManager(tmp_path / "cache", rules, clock=clock)


@pytest.fixture
def manager(make: Callable[[], DataManager]) -> DataManager:
    """Return a manager on an empty cache."""
    return make()


@pytest.fixture
def alone(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., DataManager]:
    """Return a maker of managers whose rules know these vendors only, over one cache."""

    def make(*names: str) -> DataManager:
        lines = [f"stock_daily: {{primary: {names[0]}, backup: [{', '.join(names[1:])}]}}"]
        lines.append("providers:")
        for name in names:
            for key, value in sheet_of(name).keys.items():
                monkeypatch.setenv(key, value)
            fast = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
            where = f"base_url: '{vendors.base_url(name)}', rate_limits: {fast}"
            lines.append(f"  {name}: {{{where}{', transport: http' * (name == 'yahoo')}}}")
        rules = tmp_path / f"{'-'.join(names)}.yaml"
        rules.write_text("\n".join(lines) + "\n")
        return DataManager(tmp_path / "cache", rules, clock=clock)

    clock.set(ms("2024-06-13T22:30:00"))
    return make


@pytest.fixture
def market(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Market:
    """Return a market at the time of the test's clock; its managers query only the given vendors."""
    return Market(tmp_path, clock, monkeypatch)


@pytest.fixture
def young_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all files look just written: they are read again, however long a test takes."""
    monkeypatch.setattr(Disk, "now_ns", lambda _: 0)
