"""A manager of the process and the real yfinance, both on one local server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from src.data.core.clock import ManualClock
from src.data.core.wiring import MANAGER
from src.data.data_manager import DataManager
from tests.conftest import WEDNESDAY
from tests.vendor_server import VendorServer, dividend, split

from .real import real_yfinance

# Nobody is to wait for a vendor's pace here, nor for vendors that the server does not play.
_RULES = """
stock_intraday: {{primary: yahoo, backup: []}}
stock_daily: {{primary: yahoo, backup: []}}
providers:
  binance: {{base_url: '{binance}', transport: http}}
  yahoo:
    base_url: '{yahoo}'
    transport: http
    rate_limits: {{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}}
"""


class Both(NamedTuple):
    """The real package and our manager, on one server.

    Attributes:
        real: the package ``yfinance``.
        manager: the one of the process.
    """

    real: Any
    manager: DataManager
    vendors: VendorServer
    clock: ManualClock


def add_young_ones(vendors: VendorServer) -> None:
    """List shares with a short history, so that all of it is soon asked for."""
    paid = [dividend(day, 0.25) for day in ("2023-02-10", "2023-08-11", "2024-02-09", "2024-05-10")]
    acts = (*paid, split("2023-03-06", 3), split("2024-03-04", 1, 2))
    apple, london = vendors.truth.listing("AAPL"), vendors.truth.listing("VOD.L")
    for like, symbol, actions in (
        (apple, "ACME", acts),
        (apple, "DIVI", paid),
        (london, "NEWS.L", ()),
    ):
        vendors.truth.add(
            replace(like, symbol=symbol, name=f"{symbol} Inc.", listed="2022-06-01T13:30",
                    actions=tuple(actions), extended=like is apple)
        )  # fmt: skip


def manager_on(vendors: VendorServer, clock: ManualClock, folder: Path) -> DataManager:
    """Return a manager on an empty cache, whose vendors are the server."""
    rules = folder / "rules.yaml"
    urls = {name: vendors.base_url(name) for name in ("binance", "yahoo")}
    rules.write_text(_RULES.format(**urls))
    return DataManager(folder / "cache", rules, clock=clock)


@pytest.fixture
def manager(vendors: VendorServer, clock: ManualClock, tmp_path: Path) -> Iterator[DataManager]:
    """Yield the manager of the process, whose vendors are the server."""
    MANAGER.forget()
    yield MANAGER.get(lambda: manager_on(vendors, clock, tmp_path))
    MANAGER.forget()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Yield both for all tests of a module, which change nothing but what is cached."""
    pytest.importorskip("yfinance")
    clock, folder = ManualClock(WEDNESDAY), tmp_path_factory.mktemp("both")
    before = os.environ.get("ONETAPE_STATE_DIR")
    os.environ["ONETAPE_STATE_DIR"] = str(folder / "state")
    try:
        with (
            VendorServer(clock) as vendors,
            real_yfinance(vendors.base_url("yahoo"), folder) as real,
        ):
            add_young_ones(vendors)
            MANAGER.forget()
            yield Both(
                real, MANAGER.get(lambda: manager_on(vendors, clock, folder)), vendors, clock
            )
            assert not vendors.errors
    finally:
        MANAGER.forget()
        if before is None:
            del os.environ["ONETAPE_STATE_DIR"]
        else:
            os.environ["ONETAPE_STATE_DIR"] = before
