"""Fixtures that every part of the suite may use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from src.data.clock import ManualClock
from src.data.model.instant import parse_iso

if TYPE_CHECKING:
    from tests.vendor_server import VendorServer

WEDNESDAY = parse_iso("2024-06-12T15:00:30")


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands at Wednesday 2024-06-12 15:00:30 UTC: New York trades."""
    return ManualClock(WEDNESDAY)


@pytest.fixture
def vendors(clock: ManualClock) -> Iterator[VendorServer]:
    """Yield the started vendor server; its time is ``clock``."""
    from tests.vendor_server import VendorServer

    with VendorServer(clock) as server:
        yield server
        assert not server.errors, f"the vendor server itself failed: {server.errors}"
