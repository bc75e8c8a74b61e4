"""Listings and jobs on all series include those that only other hosts have."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from src.data.cli import main
from src.data.core.cache.values import Commit
from src.data.core.hosts import connect
from src.data.core.hosts.decisions import name_of
from src.data.core.hosts.folder import shared_store
from src.data.core.hosts.postgres import PostgresFiles
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.doors.compat.populator import CachePopulator
from src.data.errors import DataError, LogUnreachableError
from src.data.jobs.fill.populate import populate_cache, sync_cache
from tests.core.cache.bars import DAILY, MINUTES, minutes
from tests.core.hosts.test_hosts import DAY, Host, log_of
from tests.core.hosts.test_hosts import host as host
from tests.core.hosts.test_store import bars
from tests.e2e.conftest import rules as rules
from tests.vendor_server import VendorServer

HOUR = Timeframe(1, "h")
BTC, ETH = SeriesKey("BTCUSDT", HOUR), SeriesKey("ETHUSDT", HOUR)


@pytest.fixture
def two(host: Host) -> tuple[DataManager, DataManager]:
    """Return two hosts; the first one has bars of two series, the second one of one of them."""
    a, b = host("a"), host("b")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        a.get_ohlcv(symbol, "1h", *DAY)
    b.get_ohlcv("BTCUSDT", "1h", *DAY)
    return a, b


def options(tmp_path: Path, rules: Path) -> list[str]:
    return ["--cache-dir", str(tmp_path / "b" / "cache"), "--config", str(rules)]


def test_series_stored_only_on_other_hosts_are_listed_with_one_statement(
    shared: PostgresFiles, tmp_path: Path
) -> None:
    a, b = (shared_store(shared, tmp_path / name) for name in "ab")
    split = SeriesKey("AAPL", DAILY.timeframe, ("raw", "yahoo"))
    for key in (DAILY, split, SeriesKey("GONE", DAILY.timeframe)):
        a.commit(key, bars(0, 3))
    a.commit(MINUTES, Commit((minutes(0, 3),)))
    a.clear("GONE")
    b.hosts.pull([(MINUTES.symbol, MINUTES.timeframe)])
    shared.store_id()
    trips = shared.trips
    found = b.hosts.elsewhere()
    assert found.keys() == {DAILY, split} and shared.trips == trips + 1
    assert found[DAILY] == {row.name: row.at_ms for row in shared.names({})}[name_of(DAILY)] > 0
    assert a.hosts.elsewhere() == {}
    a.clear_years(DAILY, [2024])
    assert b.hosts.elsewhere().keys() == {split}, "no bars are left"


def test_lists_and_statistics_include_series_not_stored_on_this_host_yet(
    two: tuple[DataManager, DataManager], tmp_path: Path, rules: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def run(*words: str) -> str:
        assert main([*words, *options(tmp_path, rules)]) == 0
        return capsys.readouterr().out

    capsys.readouterr()
    found = {one["symbol"]: one for one in json.loads(run("cache", "list", "--json"))}
    assert "elsewhere" not in found["BTCUSDT"] and found["BTCUSDT"]["rows"] == 24
    assert found["ETHUSDT"]["elsewhere"] and found["ETHUSDT"]["rows"] == 0
    assert found["ETHUSDT"]["updated"]
    assert "  elsewhere" in run("cache", "list")
    assert json.loads(run("cache", "stats", "--json"))["series_elsewhere"] == 1
    assert "and 1 that only other hosts have" in run("cache", "stats")
    assert main(["cache", "info", "ETHUSDT", "1h", *options(tmp_path, rules)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "other hosts have 1h; `onetape fetch ETHUSDT 1h` copies it here" in said
    assert two[1].cache.list_symbols() == ["BTCUSDT"], "nothing was copied"
    monkeypatch.setattr(connect, "_servers", connect._Servers())
    monkeypatch.setenv("ONETAPE_STORE", "postgresql://bot:canary-word@127.0.0.1:1/prices")
    assert main(["cache", "list", *options(tmp_path, rules)]) == 0
    out, err = capsys.readouterr()
    assert "BTCUSDT" in out and "ETHUSDT" not in out
    assert "only other hosts have are not shown: the shared store cannot be reached" in " ".join(
        err.split()
    )
    assert "canary-word" not in out + err


def test_jobs_on_all_series_include_series_of_other_hosts(
    host: Host, vendors: VendorServer, tmp_path: Path, rules: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    a = host("a")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        a.get_ohlcv(symbol, "1h", *DAY)
    sent = vendors.count("binance")

    def new(name: str) -> tuple[Path, DataManager]:
        """Return the folder and the manager of an empty host."""
        manager = host(name)
        capsys.readouterr()
        return manager.cache.cache_dir, manager

    def shown(folder: Path, *words: str) -> str:
        main([*words, "--cache-dir", str(folder), "--config", str(rules)])
        return capsys.readouterr().out

    folder, _ = new("populate")
    report = populate_cache(None, ["1h"], *DAY, folder, config_path=rules)
    assert sorted(report["success"]) == ["BTCUSDT_1h", "ETHUSDT_1h"]
    assert "ETHUSDT" in shown(new("validate")[0], "validate", "--all", "--json")
    _, manager = new("gaps")
    assert {one.series for one in manager.gaps().series} == {BTC, ETH}
    _, manager = new("gap")
    assert [one.series for one in manager.gaps("ETHUSDT", "1h").series] == [ETH]
    assert manager.client.series() == [ETH], "the others were not requested"
    folder, manager = new("pattern")
    report = sync_cache("ETH* 1h", folder, config_path=rules, dry_run=True)
    assert report["series"] == 1 and manager.client.series() == [ETH]
    shown(new("export")[0], "cache", "export", "--all", str(tmp_path / "out"))
    assert len(list((tmp_path / "out").rglob("*.csv"))) == 2
    monkeypatch.setenv("DATA_PROVIDER_RULES", str(rules))
    populator = CachePopulator(new("older")[0])
    assert populator.discover_existing_tickers() == ["BTCUSDT", "ETHUSDT"]
    assert vendors.count("binance") == sent, "a vendor was queried for bars of another host"
    folder, _ = new("sync")
    report = sync_cache("*", folder, config_path=rules)
    assert sorted(report["success"]) == ["BTCUSDT_1h", "ETHUSDT_1h"]


def test_a_job_continues_with_local_series_if_the_server_is_unreachable(
    two: tuple[DataManager, DataManager], tmp_path: Path, rules: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(connect, "_servers", connect._Servers())
    monkeypatch.setenv("ONETAPE_STORE", "postgresql://bot:canary-word@127.0.0.1:1/prices")
    cut_off = DataManager(tmp_path / "b" / "cache", rules)
    with pytest.raises(LogUnreachableError):
        cut_off.cache.store.hosts.elsewhere()
    with caplog.at_level(logging.WARNING):
        assert [one.series for one in cut_off.gaps().series] == [BTC]
    assert "series that only other hosts have may be missing" in caplog.text
    assert "canary-word" not in caplog.text


def test_offline_calls_and_hits_do_not_query_the_server_for_series(
    two: tuple[DataManager, DataManager],
) -> None:
    _, b = two
    trips = log_of(b).trips
    with pytest.raises(DataError):
        b.get_ohlcv("ETHUSDT", "1h", *DAY, offline=True)
    b.cache.list_symbols()
    b.client.series()
    assert len(b.get_ohlcv("BTCUSDT", "1h", *DAY)) == 24
    assert log_of(b).trips == trips
