"""Tests folders and pipes in place of a year's file: other years are answered, and a repair sets it aside."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import StorageError

from .fixed_vendor import FixedVendor, Market, every
from .scripted_vendor import provenance

SERIES = ("BTCUSDT", "1d")
YEARS = {2022: ("2022-01-01", "2022-12-31"), 2023: ("2023-01-01", "2023-12-31")}
NEWEST = ("2024-01-01", "2024-06-09")
KINDS = ("folder", "full folder", "pipe", "socket", "link", "lost link")
BARRING = ("2023.csv.gz", "2023.metadata.json")
HARMLESS = ("2023.log", "series.json", "2021.csv.gz", "2021.metadata.json")


def put(kind: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put something in the place of a file; made beside it first, it is not of the same inode."""
    made = place.with_name("made")
    if "folder" in kind:
        made.mkdir()
    if kind == "full folder":
        (made / "file").write_text("a user's")
    if kind == "pipe":
        os.mkfifo(made)
    if "link" in kind:
        made.symlink_to("lost" if kind == "lost link" else "/etc/hostname")
    if kind == "socket":
        with monkeypatch.context() as patch:  # names of sockets are short
            patch.chdir(made.parent)
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(made.name)
    place.unlink(missing_ok=True)
    made.rename(place)


@pytest.fixture
def market(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Market:
    """Return a market at 2024-06-12 15:00:30 UTC; its managers query only the given vendors."""
    return Market(tmp_path, clock, monkeypatch)


@pytest.fixture
def fixed(market: Market, clock: ManualClock) -> FixedVendor:
    """Return a vendor of whose bars three years are stored."""
    fixed = FixedVendor(clock, every("1d", "2022-01-01", "2024-06-11"), "binance")
    market.manager(fixed).get_ohlcv(*SERIES, "2022-01-01", NEWEST[1])
    return fixed


def lane(market: Market) -> Path:
    return market.folder / "cache/ohlcv/BTCUSDT/1d"


def rows(manager: DataManager, bounds: tuple[str, str], *, offline: bool = False) -> int:
    frame = manager.get_ohlcv(*SERIES, *bounds, offline=offline)
    assert provenance(frame)["complete"]
    return len(frame)


CASES = [(name, kind) for name in BARRING for kind in KINDS]
CASES += [(name, kind) for name in HARMLESS for kind in ("full folder", "pipe")]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_an_unreadable_file_affects_only_its_year_until_a_repair(
    market: Market, fixed: FixedVendor, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    put(kind, lane(market) / name, monkeypatch)
    fixed.asked.clear()
    manager = market.manager(fixed)
    for offline in (True, False):
        assert rows(manager, YEARS[2022], offline=offline) == 365
        assert rows(manager, NEWEST, offline=offline) == 161
        if name in BARRING:
            with pytest.raises(StorageError, match=f"BTCUSDT/1d/{name}: it is .*cache repair"):
                rows(manager, YEARS[2023], offline=offline)
        else:
            assert rows(manager, YEARS[2023], offline=offline) == 365
    assert fixed.asked == []
    # New bars of another year are stored.
    assert rows(manager, ("2024-06-01", "2024-06-11")) == 11
    assert rows(market.manager(fixed), ("2024-06-01", "2024-06-11"), offline=True) == 11

    maintenance = manager.cache.maintenance
    is_there = not (lane(market) / name).is_file() or (lane(market) / name).is_symlink()
    said = [str(finding) for finding in maintenance.check(maintenance.series())[0]]
    assert any(f"{name}: a " in text for text in said) is is_there
    assert maintenance.repair(maintenance.series()).problems == ()
    assert maintenance.check(maintenance.series()) == ([], [])
    assert rows(market.manager(fixed), ("2022-01-01", "2024-06-11")) == 893
    kept = [path for path in lane(market).glob("_quarantine/*") if not path.is_file()]
    assert len(list(lane(market).glob("_quarantine/*.json.json"))) <= 1
    if kind == "full folder":
        assert [(path / "file").read_text() for path in kept] == ["a user's"]


@pytest.mark.parametrize("is_repaired", [False, True])
@pytest.mark.parametrize("name", ["2023.csv.gz", "2023.metadata.json", "2023.log", "series.json"])
def test_a_series_with_an_unreadable_file_can_be_cleared(
    market: Market,
    fixed: FixedVendor,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    is_repaired: bool,
) -> None:
    put("full folder", lane(market) / name, monkeypatch)
    manager = market.manager(fixed)
    maintenance = manager.cache.maintenance
    if is_repaired:
        maintenance.repair(maintenance.series())
    manager.clear_cache("BTCUSDT")
    assert rows(market.manager(fixed), ("2022-01-01", "2024-06-11")) == 893
    assert maintenance.check(maintenance.series()) == ([], [])
