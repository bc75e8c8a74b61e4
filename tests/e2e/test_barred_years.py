"""Tests folders and pipes in place of a file of a series: one error names it, and nothing is overwritten."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import StorageError

from .fixed_vendor import FixedVendor, Market, every
from .scripted_vendor import provenance

SERIES = ("BTCUSDT", "1d")
YEARS = {2022: ("2022-01-01", "2022-12-31"), 2023: ("2023-01-01", "2023-12-31")}
NEWEST = ("2024-01-01", "2024-06-09")
KINDS = ("folder", "full folder", "pipe", "socket", "link", "lost link")
NAMES = ("2023.csv.gz", "2023.metadata.json", "series.json")


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_something_else_in_place_of_a_file_is_an_error_that_names_it_until_it_is_moved(
    market: Market, fixed: FixedVendor, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    place = lane(market) / name
    content = place.read_bytes()
    put(kind, place, monkeypatch)
    before, mode = content_below(lane(market)), os.lstat(place).st_mode
    fixed.asked.clear()
    manager = market.manager(fixed)
    for offline in (True, False):
        with pytest.raises(StorageError, match=f"BTCUSDT/1d/{name}: .*(move it|replace the link)"):
            manager.get_ohlcv(*SERIES, *YEARS[2023], offline=offline)
    if name != "2023.csv.gz":  # a document describes the whole series
        with pytest.raises(StorageError, match=name):
            manager.get_ohlcv(*SERIES, "2024-06-01", "2024-06-11")
    with pytest.raises(StorageError, match=name):
        manager.get_ohlcv(*SERIES, *YEARS[2023], refresh=True)
    maintenance = manager.cache.maintenance
    for problems in (
        maintenance.check(maintenance.series())[1], maintenance.repair(maintenance.series()).problems
    ):  # fmt: skip
        assert [name in text for _, text in problems] == [True]
    assert (content_below(lane(market)), os.lstat(place).st_mode) == (before, mode)
    if "folder" in kind:
        shutil.rmtree(place)
    else:
        place.unlink()
    place.write_bytes(content)
    assert rows(market.manager(fixed), ("2022-01-01", "2024-06-11")) == 893


def content_below(folder: Path) -> dict[Path, bytes]:
    """Return every file below a folder, without those of locks."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
    }
