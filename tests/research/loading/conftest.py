"""Databases for the snippets of the second data layer, each on both engines, and a manager."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tests.db.conftest as of_databases
from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from tests.vendor_server import VendorServer

_file, tables, data_home = of_databases._file, of_databases.tables, of_databases.data_home
database, postgresql = of_databases.database, of_databases.postgresql

_FREE = {"requests_per_minute": 60_000, "requests_per_second": 1000, "burst_size": 1000}
_VENDORS = ("yahoo", "binance", "fmp", "alpha_vantage", "tiingo")


@pytest.fixture
def manager(vendors: VendorServer, clock: ManualClock, tmp_path: Path) -> DataManager:
    """Return a manager on an empty cache, whose vendors are the server."""
    plain = {"transport": "http", "rate_limits": _FREE}
    rules = {
        "stock_daily": {"primary": "yahoo", "backup": []},
        "stock_intraday": {"primary": "yahoo", "backup": []},
        "crypto": {"primary": "binance", "backup": []},
        "providers": {
            name: {"base_url": vendors.base_url(name)}
            | (plain if name in ("yahoo", "binance") else {})
            for name in _VENDORS
        },
    }
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps(rules))
    return DataManager(tmp_path / "cache", path, clock=clock)
