"""Bars for a universe in the default database: found by the facade, jobs and commands."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from src.data.cli import main
from src.data.core.clock import ManualClock
from src.data.core.model.answer.member_frames import DaysWithoutBars, MemberFrames
from src.data.data_manager import DataManager, get_universes
from src.data.db.core.database import Database
from src.data.db.universe import StoredUniverses
from src.data.doors.compat.universe_sync import DataSyncManager, SyncReport
from src.data.errors import MissingExtraError, QueryError, SurvivorshipWarning, UniverseError
from tests.programs import PYTHONPATH
from tests.vendor_server import Fault, VendorServer

pytestmark = [
    pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning"),
]

RANGE = ("2023-03-06", "2023-03-17")
INDEX = "symbol,from,to\nAAPL,2010-01-04,\nGONE,2010-01-04,2023-03-13\nMSFT,2023-03-08,\n"
STEPS = ["15m", "30m", "1h", "4h"]


@pytest.fixture
def rules(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return the rules in force, which point at the local server; its clock is that of all calls."""
    fast = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
    path = tmp_path / "rules.yaml"
    path.write_text(
        "crypto: {backup: [yahoo]}\n"
        "providers:\n"
        f"  binance: {{base_url: '{vendors.base_url('binance')}', transport: http, rate_limits: {fast}}}\n"
        f"  coingecko: {{base_url: '{vendors.base_url('binance')}'}}\n"
        f"  yahoo: {{base_url: '{vendors.base_url('yahoo')}', transport: http, rate_limits: {fast}}}\n"
    )
    for module in ("core.wiring", "core.net.http.reach", "doors.compat.universe_sync"):
        monkeypatch.setattr(f"src.data.{module}.SystemClock", lambda: clock)
    monkeypatch.setenv("ONETAPE_RULES", str(path))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def universes(
    database: Database, rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StoredUniverses:
    """Return the universes of the default database, with one of dated members."""
    url = database.url.url.render_as_string(hide_password=False)
    monkeypatch.setenv("DB_URL", url)
    found = StoredUniverses(database, DataManager(tmp_path / "cache"))
    (tmp_path / "index.csv").write_text(INDEX)
    found.import_file("mine", tmp_path / "index.csv")
    return found


@pytest.fixture
def manager(universes: StoredUniverses, tmp_path: Path, clock: ManualClock) -> DataManager:
    return DataManager(tmp_path / "cache", clock=clock)


def test_a_batch_finds_the_default_database(manager: DataManager) -> None:
    frames = manager.get_ohlcv_batch(None, "1d", *RANGE, universe="mine", as_of="2023-03-06")
    assert isinstance(frames, MemberFrames)
    assert {symbol: len(frame) for symbol, frame in frames.items()} == {"AAPL": 10, "GONE": 5}
    assert (frames.members.is_pit, frames.members.known_from) == (True, date(2010, 1, 4))
    assert frames.without_bars == {
        "GONE": (DaysWithoutBars(date(2023, 3, 13), date(2023, 3, 17), 5, "the vendor has no bar"),)
    }
    with pytest.warns(
        SurvivorshipWarning, match="1 of the 2 members on 2023-03-06 are not"
    ) as caught:
        survivors = manager.get_ohlcv_batch(None, "1d", *RANGE, universe="mine")
    assert list(survivors) == ["AAPL", "MSFT"]
    of_members = [each for each in caught if each.category is SurvivorshipWarning]
    assert [each.filename for each in of_members] == [__file__]


def test_a_survivorship_warning_names_the_line_of_the_call(
    manager: DataManager, universes: StoredUniverses
) -> None:
    from src.data.db.universe import UniverseDefinition

    universes.create("list", UniverseDefinition("static", "made today", symbols=["AAPL", "MSFT"]))
    with pytest.warns(SurvivorshipWarning, match="not point-in-time") as caught:
        frames = manager.get_ohlcv_batch(None, "1d", *RANGE, universe="list", as_of=RANGE[0])
    of_members = [each for each in caught if each.category is SurvivorshipWarning]
    assert [each.filename for each in of_members] == [__file__]
    assert isinstance(frames, MemberFrames) and not frames.members.is_pit
    with pytest.raises(UniverseError, match="not point-in-time"):
        manager.get_ohlcv_batch(None, "1d", *RANGE, universe="list", as_of=RANGE[0], strict=True)
    with pytest.raises(UniverseError, match="the universe does not exist: 'other'"):
        manager.get_ohlcv_batch(None, "1d", *RANGE, universe="other")


def test_populate_sync_validate_and_gaps_accept_a_universe(
    universes: StoredUniverses, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ("--cache-dir", str(tmp_path / "cache"))
    days = ("--timeframes", "1d", "--start", RANGE[0], "--end", RANGE[1])
    assert main(["populate", "--universe", "mine", *days, "--json", *cache]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [(one["symbol"], one["rows"]) for one in report["results"]] == [
        ("AAPL", 10), ("GONE", 5), ("MSFT", 10),
    ]  # fmt: skip
    assert report["universe"]["is_pit"] is True
    assert main(["sync", "--universe", "mine", "--as-of", "today", "--json", *cache]) == 0
    assert main(["validate", "--universe", "mine", *cache]) == 0
    assert "3 series" in capsys.readouterr().out
    assert main(["gaps", "--universe", "mine", "--as-of", RANGE[0], "--json", *cache]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [one["symbol"] for one in report["series"]] == ["AAPL", "GONE"]
    assert main(["gaps", "--universe", "other", *cache]) == 2
    assert "the universe does not exist: 'other'" in capsys.readouterr().err


# --- DataSyncManager -----------------------------------------------------------------------------


def sync(manager: DataSyncManager, name: str, timeframes: list[str]) -> SyncReport:
    return asyncio.run(manager.sync_universe(name, timeframes))


def test_a_universe_of_the_database_is_synced_with_its_former_members(
    universes: StoredUniverses, tmp_path: Path
) -> None:
    manager = DataSyncManager(tmp_path / "cache", start_date="2023-03-06")
    report = sync(manager, "mine", ["1d"])
    rows = {one["symbol"]: one["rows"] for one in report.details["results"]}
    assert (list(rows), rows["GONE"]) == (["AAPL", "GONE", "MSFT"], 5)
    assert (report.symbols_synced, report.successful_syncs, report.failed_syncs) == (3, 3, 0)
    later = DataSyncManager(tmp_path / "cache", universes, start_date="2023-03-13")
    assert sync(later, "mine", ["1d"]).symbols_synced == 2, "GONE had left before the first session"
    with pytest.raises(UniverseError, match="the universe does not exist: 'other'"):
        sync(manager, "other", ["1d"])
    with pytest.raises(QueryError):
        sync(manager, "mine", ["1x"])


def test_a_universe_sync_fetches_ten_series_at_once_without_blocking_the_loop(
    universes: StoredUniverses, tmp_path: Path, vendors: VendorServer
) -> None:
    lines = "".join(f"{coin}USDT,2019-01-02,\n" for coin in ("BTC", "ETH", "SOL", "HALT"))
    (tmp_path / "coins.csv").write_text("symbol,from,to\n" + lines)
    universes.import_file("coins", tmp_path / "coins.csv")
    vendors.fault("binance", Fault.hold())
    watchdog = threading.Timer(20.0, vendors.heal)  # a blocked loop is a failure, not a hang
    watchdog.start()

    async def synced() -> tuple[bool, bool, bool, SyncReport]:
        manager = DataSyncManager(tmp_path / "cache", start_date="2024-06-10")
        job = asyncio.create_task(manager.sync_universe("coins", STEPS))
        ten = await asyncio.to_thread(vendors.wait_for, "binance", 10, 20.0)
        more = await asyncio.to_thread(vendors.wait_for, "binance", 11, 0.2)
        is_over = job.done()
        vendors.heal()
        return ten, more, is_over, await job

    ten, more, is_over, report = asyncio.run(synced())
    watchdog.cancel()
    assert (ten, more, is_over) == (True, False, False), "ten on their way, no eleventh, loop free"
    assert (report.successful_syncs, report.failed_syncs) == (16, 0)
    assert report.sync_duration > 0


# --- without the extra -----------------------------------------------------------------------------


@pytest.fixture
def without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the packages of the extra away, and what has loaded them."""
    for name in [name for name in sys.modules if name.startswith("onetape.data.db")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("onetape.data.db", raising=False)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)


@pytest.mark.usefixtures("without_extra")
def test_universes_without_the_db_extra_raise_with_the_line_that_installs_the_extra(
    rules: Path, tmp_path: Path, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = DataManager(tmp_path / "cache", clock=clock)
    asked: list[Callable[[], object]] = [
        get_universes,
        lambda: manager.get_ohlcv_batch(None, "1d", universe="mine"),
        lambda: sync(DataSyncManager(tmp_path), "mine", ["1d"]),
    ]
    for ask in asked:
        with pytest.raises(MissingExtraError, match=r"pip install .*\[db\]"):
            ask()
    assert main(["populate", "--universe", "mine"]) == 2
    assert "[db]" in capsys.readouterr().err
    assert len(manager.get_ohlcv_batch(["AAPL"], "1d", *RANGE)["AAPL"]) == 10


def test_a_batch_without_a_universe_loads_no_database(tmp_path: Path) -> None:
    program = (
        "import sys; from src.data import get_data_manager\n"
        f"manager = get_data_manager({str(tmp_path)!r})\n"
        "manager.get_ohlcv_batch(['AAPL'], '1d', offline=True)\n"
        "print([name for name in sys.modules if 'sqlalchemy' in name or name == 'onetape.data.db'])"
    )
    environment = {"PYTHONPATH": PYTHONPATH, "HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], env=environment, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert ran.stdout == "[]\n"
