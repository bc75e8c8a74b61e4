"""The bench as a fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from tests.vendor_server import VendorServer

from .bench import Bench
from .files import FileBench
from .sheet import sheet_of


@pytest.fixture
def bench_of(
    vendors: VendorServer, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Bench]]:
    """Yield what puts a vendor on the bench."""
    made: list[Bench] = []

    def make(vendor: str) -> Bench:
        sheet = sheet_of(vendor)
        kind = FileBench if sheet.files else Bench
        made.append(kind(sheet, vendors, clock, tmp_path, monkeypatch))
        return made[-1]

    yield make
    for bench in made:
        bench.transport.close()
