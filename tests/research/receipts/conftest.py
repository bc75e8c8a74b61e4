"""A market in June 2024."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from tests.e2e.fixed_vendor import Market

MADE = parse_iso("2024-06-04T22:30:00")


@pytest.fixture
def market(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Market:
    """Return the market; its managers query only the given vendors."""
    clock.set(MADE)
    return Market(tmp_path, clock, monkeypatch)
