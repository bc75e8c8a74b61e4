"""Executors across hosts: tasks without requests run anywhere, fetching tasks need the shared store."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from src.data.core.hosts.decisions import symbol_of
from src.data.core.hosts.postgres import PostgresFiles
from src.data.errors import ConfigError
from src.data.jobs.fill.populate import populate_series
from tests.core.cache.counts import FULL
from tests.core.hosts.test_hosts import DAY, Host, log_of
from tests.core.hosts.test_hosts import host as host
from tests.e2e.conftest import rules as rules
from tests.vendor_server import VendorServer


def processes(count: int = 1) -> Executor:
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"))


def test_tasks_that_fetch_need_the_shared_store(
    host: Host, vendors: VendorServer, tmp_path: Path, rules: Path, shared: PostgresFiles,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    a = host("a")
    log_of(a).store_id()
    symbols = ("BTCUSDT", "ETHUSDT", "BTCUSDT", "ETHUSDT")
    tasks = [
        (str(tmp_path / f"host{n % 2}"), symbol, "1h", *DAY, str(rules))
        for n, symbol in enumerate(symbols)
    ]
    with ThreadPoolExecutor(2) as threads, processes(2) as pool:
        for executor in (threads, pool) if FULL else (threads,):  # processes import for seconds
            reports = [executor.submit(populate_series, *task) for task in tasks]
            for symbol, report in zip(symbols, reports, strict=True):
                assert report.result(60)["success"] == [f"{symbol}_1h"], report.result()
                assert pickle.loads(pickle.dumps(report.result())) == report.result()
    assert vendors.count("binance") == 2, "each series once, by any worker"
    assert {symbol_of(row.name) for row in shared.names({})} == {"BTCUSDT", "ETHUSDT"}
    assert len(a.get_ohlcv("ETHUSDT", "1h", *DAY)) == 24 and vendors.count("binance") == 2
    monkeypatch.delenv("ONETAPE_STORE")
    with ThreadPoolExecutor(1) as threads:
        alone = threads.submit(populate_series, str(tmp_path / "own"), *tasks[0][1:])
        with pytest.raises(ConfigError, match="tasks that fetch need a store that all workers"):
            alone.result(60)
    assert vendors.count("binance") == 2 and "ONETAPE_STORE" not in os.environ
