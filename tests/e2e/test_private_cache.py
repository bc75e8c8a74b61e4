"""``cache.private``: other users can never read a file of the cache, from its creation on."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.beside.fundamentals_cache import FundamentalsCache
from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.clock import ManualClock
from src.data.core.wiring import build
from src.data.data_manager import DataManager
from src.data.jobs.doctor.health import checkup
from src.data.jobs.vendors.checks import Check
from tests.vendor_server import VendorServer

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    """Leave every bit to the library."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return path and mode of each file and folder, as passed to the system at its creation."""
    found: list[tuple[str, int]] = []
    opened, new_folder = os.open, os.mkdir

    def watched_open(path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        if flags & os.O_CREAT:
            found.append((os.fspath(path), mode))
        return opened(path, flags, mode, **options)

    def watched_mkdir(path: Any, mode: int = 0o777, **options: Any) -> None:
        found.append((os.fspath(path), mode))
        new_folder(path, mode, **options)

    monkeypatch.setattr(os, "open", watched_open)
    monkeypatch.setattr(os, "mkdir", watched_mkdir)
    return found


@pytest.fixture
def private(rules: Path) -> Path:
    """Return the rules, with the switch on."""
    rules.write_text(rules.read_text() + "cache: {private: true}\n")
    return rules


def fill(manager: DataManager) -> None:
    """Have all that is stored: bars, revisions, columns, tables, fundamentals, summaries, state."""
    manager.get_ohlcv("BTCUSDT", "1h", "2023-12-30", "2024-01-03")
    manager.get_ohlcv("BTCUSDT", "1h", "2023-12-30", "2024-01-05")
    manager.get_ohlcv("BTCUSDT", "1h", "2024-01-01", "2024-01-02", force_refresh=True)
    manager.get_ohlcv("BTCUSDT", "1h", "2023-12-30", "2024-01-05")
    manager.get_open_interest("BTCUSDT", "1h", "2024-06-01", "2024-06-03")
    manager.get_funding_rate("BTCUSDT", "2024-06-01", "2024-06-03")
    manager.cache.get_stats()
    manager.cache.maintenance.compact(list(manager.cache.store.keys()))


def modes_below(*folders: Path) -> dict[str, int]:
    """Return the bits of others of each file and folder."""
    paths = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    return {str(path): path.stat().st_mode & OTHERS for path in paths}


def privacy(cache: Path, rules: Path) -> list[Check]:
    """Return the lines of `doctor` about privacy."""
    return [c for c in checkup(cache, rules, network=False) if c.topic == "privacy"]


def test_all_files_and_folders_are_accessible_only_to_their_owner(
    private: Path, make: Callable[[], DataManager], tmp_path: Path, state_dir: Path,
    made: list[tuple[str, int]], clock: ManualClock, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    state_dir.mkdir(mode=0o755)  # a folder that was there: the files in it must do without its help
    made.clear()
    manager = make()
    fill(manager)
    company = build(tmp_path / "cache", private, clock=clock).fundamentals.cache
    company.write_json("AAPL", "fmp", {"market_cap": 1.0})
    modes = modes_below(tmp_path / "cache")
    names = " ".join(modes)
    for part in ("csv.gz", "metadata.json", ".lock", "_columnar", "open_interest", "fundamentals",
                 "_metadata"):  # fmt: skip
        assert part in names, f"this test makes no {part}"
    assert (state_dir / "state.sqlite").exists()
    modes |= modes_below(*state_dir.iterdir())
    assert {path: oct(mode) for path, mode in modes.items() if mode} == {}
    assert {path: oct(mode) for path, mode in made if mode & OTHERS} == {}
    assert len(made) > 20
    _open_the_way_to(tmp_path, monkeypatch)
    assert [check.level for check in privacy(tmp_path / "cache", private)] == ["ok"]


@pytest.mark.parametrize("maker", [UnifiedCache, FundamentalsCache])
def test_caches_created_directly_obey_the_privacy_setting_of_the_rules(
    maker: Any, private: Path, tmp_path: Path, made: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch, clock: ManualClock,
) -> None:  # fmt: skip
    monkeypatch.setenv("ONETAPE_RULES", str(private))
    cache = maker(tmp_path / "other", clock=clock)
    if maker is FundamentalsCache:
        cache.write_json("AAPL", "fmp", {"market_cap": 1.0})
    assert made
    assert {path: oct(mode) for path, mode in made if mode & OTHERS} == {}


def test_doctor_names_files_made_before_the_cache_was_private(
    rules: Path, make: Callable[[], DataManager], tmp_path: Path, vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    make().get_ohlcv("BTCUSDT", "1h", "2024-01-01", "2024-01-02")
    years = list((tmp_path / "cache").rglob("*.csv.gz"))
    assert years and all(year.stat().st_mode & 0o777 == 0o666 for year in years), "off by default"
    _open_the_way_to(tmp_path, monkeypatch)
    (check,) = privacy(tmp_path / "cache", rules)
    assert check.level == "note"
    assert "cache.private: true" in check.remedy
    rules.write_text(rules.read_text() + "cache: {private: true}\n")
    (check,) = privacy(tmp_path / "cache", rules)
    assert check.level == "fault"
    assert "chmod -R go=" in check.remedy
    os.system(check.remedy.partition(": ")[2])
    (check,) = privacy(tmp_path / "cache", rules)
    assert check.level == "ok"


def _open_the_way_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let others enter all folders above: a test's own folder usually hides what is in it."""
    real = os.lstat
    above = {str(path) for path in (folder, *folder.parents)}

    def lstat(path: Any, **options: Any) -> Any:
        found = real(path, **options)
        if os.fspath(path) in above:
            return os.stat_result((found.st_mode | OTHERS, *found[1:]))
        return found

    monkeypatch.setattr("src.data.core.disk.scratch.os.lstat", lstat)
