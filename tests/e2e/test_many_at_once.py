"""Concurrent threads and processes: one fetch, correct answers, no deadlock."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true

DAY = ("BTCUSDT", "1h", "2024-06-01", "2024-06-01")


def test_eight_threads_that_miss_the_same_bars_cause_one_request(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("binance", Fault.hold())
    barrier = threading.Barrier(8)

    def ask() -> pd.DataFrame:
        barrier.wait(5)
        return manager.get_ohlcv(*DAY, strict=True)

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask) for _ in range(8)]
        assert vendors.wait_for("binance", 1)
        vendors.heal()
        frames = [answer.result(10) for answer in answers]
    assert vendors.count("binance") == 1
    for frame in frames:
        assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")


def test_a_hit_does_not_wait_for_a_fetch_of_the_same_series(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_ohlcv(*DAY)
    vendors.clear_log()
    vendors.fault("binance", Fault.hold())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(manager.get_ohlcv, "BTCUSDT", "1h", "2024-06-02", "2024-06-02")
        assert vendors.wait_for("binance", 1)
        assert len(manager.get_ohlcv(*DAY, strict=True)) == 24
        assert not waiting.done()
        vendors.heal()
        assert len(waiting.result(10)) == 24


def test_threads_on_different_ranges_and_series_all_get_the_true_bars(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    jobs = [
        (symbol, f"2024-05-{first:02d}", f"2024-05-{first + 5:02d}")
        for symbol in ("BTCUSDT", "ETHUSDT") for first in (1, 3, 5, 8)
    ]  # fmt: skip
    with ThreadPoolExecutor(8) as pool:
        frames = list(pool.map(lambda j: manager.get_ohlcv(j[0], "1h", j[1], j[2]), jobs))
    for (symbol, start, end), frame in zip(jobs, frames, strict=True):
        after = pd.Timestamp(end) + pd.Timedelta(days=1)
        assert_true(frame, vendors, clock, symbol, "1h", start, after.isoformat())
    asked = vendors.count()
    for symbol, start, end in jobs:
        manager.get_ohlcv(symbol, "1h", start, end, strict=True)
    assert vendors.count() == asked


def test_a_symbol_in_a_batch_and_in_a_concurrent_call_is_fetched_once(
    manager: DataManager, vendors: VendorServer
) -> None:
    with ThreadPoolExecutor(2) as pool:
        batch = pool.submit(
            manager.get_ohlcv_batch, ["BTCUSDT", "ETHUSDT"], "1h", "2024-06-01", "2024-06-02"
        )
        alone = pool.submit(manager.get_ohlcv, "BTCUSDT", "1h", "2024-06-01", "2024-06-02")
        pd.testing.assert_frame_equal(batch.result(10)["BTCUSDT"], alone.result(10))
    assert vendors.count("binance") == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_forked_during_a_fetch_can_request_the_same_series(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    manager = make()
    vendors.fault("binance", Fault.hold(), times=1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(manager.get_ohlcv, *DAY)
        assert vendors.wait_for("binance", 1)
        child = os.fork()
        if child == 0:
            # Nothing of pytest may run here: leave by the emergency exit, whatever happens.
            code = 1
            signal.alarm(20)  # a child that waits for ever is a failure, not a hanging suite
            try:
                # Longer than the lease of the parent, which gets no page.
                code = 0 if len(manager.get_ohlcv(*DAY, timeout=100)) == 24 else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        vendors.heal()
        assert os.waitstatus_to_exitcode(status) == 0
        assert len(waiting.result(10)) == 24
