"""Pipes, links and devices in place of any cache file or folder: never waited for or followed."""

from __future__ import annotations

import gc
import os
import shutil
import stat
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.cache.beside.fundamentals_cache import FundamentalsCache
from src.data.core.cache.retention.disk_usage import Gauge
from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.errors import DataError
from tests.conftest import WEDNESDAY
from tests.core.cache.counts import FULL
from tests.vendor_server import Fault, VendorServer

PATIENCE_S = 20
SECRET = b"timestamp,open\nnot of this cache\n"
LANES = {"ohlcv/AAPL/1d": (2023, 2024), "ohlcv/BTCUSDT/1h": (2024,)}
FILES = [
    *(f"cache/{lane}/{year}{end}" for lane, years in LANES.items() for year in years
      for end in (".csv.gz", ".metadata.json", ".log")),
    *(f"cache/{lane}/{name}" for lane in LANES for name in (".lock", "series.json")),
    "cache/ohlcv/.time", "cache/ohlcv/AAPL/.lock", "cache/ohlcv/AAPL/actions.json",
    "cache/ohlcv/AAPL/1d/_quarantine/2023.rows.csv.gz",
    "cache/ohlcv/AAPL/1d/_versions/2023.1.csv.gz",
    *(f"cache/_columnar/{name}" for name in (
        "AAPL/.lock", "AAPL/1d.bars", "BTCUSDT/.lock", "BTCUSDT/1h.bars")),
    "cache/fundamentals/AAPL/.lock", "cache/fundamentals/AAPL/fmp_20240612_150030.json",
    "cache/fundamentals/AAPL/files.log",
    *(f"cache/funding_rates/BTCUSDT/8h/{name}" for name in (
        ".lock", "2024.csv.gz", "2024.metadata.json", "2024.log")),
    *(f"cache/ohlcv/_metadata/{name}" for name in (
        ".eviction.lock", ".index.lock", ".lock", "cache_stats.json", "index.sqlite",
        "providers.json", "quality_scores.json", "symbols.json")),
    "state/salt", "state/state.sqlite",
]  # fmt: skip
PASSING = {"state/state.sqlite-shm", "state/state.sqlite-wal"}  # there while somebody is at it
FOLDERS = [
    *(f"cache/{name}" for name in (
        "_columnar", "_columnar/AAPL", "fundamentals", "fundamentals/AAPL", "funding_rates",
        "funding_rates/BTCUSDT", "funding_rates/BTCUSDT/8h", "ohlcv", "ohlcv/AAPL", "ohlcv/AAPL/1d",
        "ohlcv/AAPL/1d/_quarantine", "ohlcv/AAPL/1d/_versions", "ohlcv/BTCUSDT",
        "ohlcv/BTCUSDT/1h", "ohlcv/_metadata")),
]  # fmt: skip
KINDS = ("pipe", "link", "lost link", "loop", "huge", "folder", "device")


def put(kind: str, place: Path, outside: Path) -> None:
    """Put something else in the place of a file or a folder."""
    is_folder = place.is_dir()
    if is_folder:
        shutil.copytree(place, outside, dirs_exist_ok=True)
        shutil.rmtree(place)
    else:
        place.unlink()
        outside.mkdir(exist_ok=True)
        (outside / "file").write_bytes(SECRET)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to(outside if is_folder else outside / "file")
    elif kind == "lost link":
        place.symlink_to(outside / "lost")
    elif kind == "loop":
        place.symlink_to(place.name)
    elif kind == "huge":
        place.touch()
        os.truncate(place, 1 << 40)
    elif kind == "folder":
        place.mkdir()
        (place / "inside").write_bytes(b"")
    else:
        try:
            os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
        except PermissionError:
            pytest.skip("devices are made by the superuser alone")


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a cache in which everything there can be is, and a state folder."""
    root = tmp_path_factory.mktemp("filled")
    clock = ManualClock(WEDNESDAY)
    with VendorServer(clock) as vendors, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONETAPE_STATE_DIR", str(root / "state"))
        (root / "rules.yaml").write_text(rules_of(vendors))
        manager = DataManager(root / "cache", root / "rules.yaml", clock=clock)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            manager.get_ohlcv("AAPL", "1d", "2023-12-01", "2024-06-05")
            vendors.fault("yahoo", Fault.bad_ohlc(1), times=1)
            manager.get_ohlcv("AAPL", "1d", "2023-11-20", "2024-06-12")
            vendors.heal()
            vendors.revise("AAPL", "1d", clock.now_ms() - 30 * 86_400_000, 1.01, clock.now_ms())
            for _ in range(2):
                manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-06-12", force_refresh=True)
                manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-11")
                manager.get_ohlcv("AAPL", "1d", "2023-12-01", "2024-06-05")
        index = pd.date_range("2024-06-01", periods=9, freq="8h", name="timestamp")
        rates = pd.DataFrame({"rate": 0.1}, index=index)
        manager.cache.put(rates, "BTCUSDT", "8h", data_type="funding_rates")
        fundamentals(root / "cache", clock).write_json("AAPL", "fmp", {"sector": "phones"})
        manager.cache.get_stats()
        manager.cache.look_after()
    # The state file is closed with its last owner: a copy taken meanwhile would miss its parts.
    del manager
    gc.collect()
    return root


def rules_of(vendors: VendorServer) -> str:
    fast = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
    return (
        "crypto: {backup: [yahoo]}\n"
        "providers:\n"
        f"  binance: {{base_url: '{vendors.base_url('binance')}', transport: http}}\n"
        f"  yahoo: {{base_url: '{vendors.base_url('yahoo')}', transport: http, "
        f"rate_limits: {fast}}}\n"
    )


def fundamentals(folder: Path, clock: ManualClock) -> FundamentalsCache:
    return FundamentalsCache(folder, clock=clock)


def copied(filled: Path, folder: Path) -> Path:
    return Path(shutil.copytree(filled, folder / "copy", symlinks=True))


def within(work: Callable[[], object]) -> object:
    """Return what ``work`` does, an error of ours included; it must not take long."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as exc:  # noqa: BLE001 - raised again in the thread of the test
            outcome.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert outcome, "it hangs"
    if isinstance(outcome[0], Exception) and not isinstance(outcome[0], DataError):
        raise outcome[0]
    return outcome[0]


def works(manager: DataManager, clock: ManualClock, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return the operations on a cache: read, append, revise, maintain, report, remove."""
    cache = manager.cache
    keys = [SeriesKey("AAPL", Timeframe(1, "d")), SeriesKey("BTCUSDT", Timeframe(1, "h"))]
    index = pd.date_range("2024-06-05", periods=3, freq="8h", name="timestamp")
    rates = pd.DataFrame({"rate": 0.2}, index=index)
    reported = fundamentals(folder, clock)
    return {
        "coin": lambda: manager.get_ohlcv("BTCUSDT", "1h", "2024-06-03", "2024-06-10"),
        "share": lambda: manager.get_ohlcv("AAPL", "1d", "2023-12-05", "2024-06-04"),
        "version": lambda: manager.get_ohlcv("AAPL", "1d", "2023-12-05", "2023-12-29", version=1),
        "append": lambda: manager.get_ohlcv("BTCUSDT", "1h", "2024-06-10", "2024-06-12"),
        "rewrite": lambda: manager.get_ohlcv("AAPL", "1d", "2023-10-02", "2024-06-12"),
        "table": lambda: cache.get("BTCUSDT", "8h", data_type="funding_rates"),
        "put": lambda: cache.put(rates, "BTCUSDT", "8h", data_type="funding_rates"),
        "told": lambda: reported.find_latest_json("AAPL"),
        "tell": lambda: reported.write_json("AAPL", "fmp", {"sector": "shops"}),
        "tidy": lambda: reported.tidy("AAPL"),
        "stats": cache.get_stats,
        "names": lambda: [cache.list_timeframes(symbol) for symbol in cache.list_symbols()],
        "fill": lambda: Gauge(cache.holdings, clock).read(),
        "check": lambda: cache.maintenance.check(keys),
        "log": lambda: [cache.maintenance.log(key) for key in keys],
        "repair": lambda: cache.maintenance.repair(keys),
        "compact": lambda: cache.maintenance.compact(keys),
        "look": cache.look_after,
        "limit": cache.enforce_limit,
        "old": lambda: cache.cleanup_old_data(1),
        "clear": partial(manager.clear_cache, everything=True),
    }


def test_every_file_of_a_cache_is_in_the_list_of_this_test(filled: Path) -> None:
    found = {str(path.relative_to(filled)) for path in filled.rglob("*") if path.is_file()}
    assert found - PASSING - {"rules.yaml"} == set(FILES)


def cases() -> list[tuple[str, str]]:
    """Return place and kind: all in a full run, else some, with those that were waited for."""
    every = [(place, kind) for place in FILES for kind in KINDS]
    every += [(place, kind) for place in FOLDERS for kind in KINDS if kind != "folder"]
    coin = "cache/ohlcv/BTCUSDT/1h"
    likely = [(f"{coin}/2024.csv.gz", kind) for kind in KINDS]
    likely += [(f"{coin}/2024.log", "link"), (f"{coin}/2024.log", "pipe"), ("state/salt", "pipe")]
    likely += [("cache/_columnar", "loop"), ("cache/ohlcv/AAPL/1d/_quarantine", "link")]
    return every if FULL else list(dict.fromkeys([*every[::23], *likely]))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("place", "kind"), cases())
def test_a_pipe_link_or_device_in_place_of_a_file_is_neither_read_nor_followed(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: ManualClock,
    vendors: VendorServer, place: str, kind: str,
) -> None:  # fmt: skip
    folder, outside = copied(filled, tmp_path), tmp_path / "outside"
    (folder / "rules.yaml").write_text(rules_of(vendors))
    monkeypatch.setenv("ONETAPE_STATE_DIR", str(folder / "state"))
    put(kind, folder / place, outside)
    before = content(outside)
    manager = DataManager(folder / "cache", folder / "rules.yaml", clock=clock)
    manager.cache.max_size_gb = 1e-6
    for name, work in works(manager, clock, folder / "cache").items():
        outcome = within(work)
        if (
            name == "coin"
            and ("BTCUSDT" not in place or "_columnar" in place)
            and (place != "cache/ohlcv")
        ):
            assert not isinstance(outcome, DataError), outcome
            assert len(outcome) == 8 * 24  # type: ignore[arg-type]
        assert content(outside) == before, f"{name} has followed a link"


def test_the_cache_folder_itself_can_be_a_link(
    filled: Path, tmp_path: Path, clock: ManualClock, vendors: VendorServer
) -> None:
    folder = copied(filled, tmp_path)
    (folder / "rules.yaml").write_text(rules_of(vendors))
    (tmp_path / "link").symlink_to(folder / "cache")
    manager = DataManager(tmp_path / "link", folder / "rules.yaml", clock=clock)
    for name, work in works(manager, clock, tmp_path / "link").items():
        assert not isinstance(within(work), DataError), name
