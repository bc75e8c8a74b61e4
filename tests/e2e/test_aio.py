"""Tests the async methods: a cached answer never waits for one that is being fetched."""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import subprocess
import sys
import threading
import warnings
from contextvars import ContextVar
from typing import Any

import pandas as pd
import pytest

from onetape.aio import AsyncDataManager
from src.data.core.clock import ManualClock
from src.data.core.net.calls import call_threads
from src.data.core.net.calls.deadline import Deadline
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, IncompleteDataWarning, QueryError
from tests.vendor_server import Fault, VendorServer

DAY = ("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
NEXT = ("BTCUSDT", "1h", "2024-06-02", "2024-06-02")


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test threads of its own; those of the process keep what other tests left."""
    monkeypatch.setattr(
        call_threads, "lookups", call_threads.Threads("onetape-lookup", call_threads.MOST_LOOKUPS)
    )
    monkeypatch.setattr(
        call_threads, "calls", call_threads.Threads("onetape-call", call_threads.MOST_CALLS)
    )


@pytest.fixture
def async_manager(manager: DataManager) -> AsyncDataManager:
    """Return the async methods of ``manager``."""
    return AsyncDataManager(manager)


async def asked(vendors: VendorServer, count: int = 1) -> None:
    """Wait until the vendor has so many requests."""
    assert await asyncio.get_running_loop().run_in_executor(
        None, vendors.wait_for, "binance", count
    )


# --- each method


def test_every_public_method_has_an_awaitable_counterpart(async_manager: AsyncDataManager) -> None:
    """Those apart that neither read nor wait."""
    public = {
        name
        for name, value in vars(DataManager).items()
        if not name.startswith("_") and callable(value)
    }
    for name in public - {"at", "on_event"}:
        method = getattr(async_manager, f"a{name}")
        assert inspect.signature(method) == inspect.signature(
            getattr(async_manager.manager, name)
        ), name
        assert method.__name__ == f"a{name}"
        assert f":meth:`DataManager.{name}`" in method.__doc__


def test_awaited_answers_equal_those_of_the_synchronous_methods(
    async_manager: AsyncDataManager, manager: DataManager
) -> None:
    async def main() -> None:
        fetched = await async_manager.aget_ohlcv(*DAY, strict=True)
        held = await async_manager.aget_ohlcv(*DAY)
        pd.testing.assert_frame_equal(fetched, held)
        pd.testing.assert_frame_equal(held, manager.get_ohlcv(*DAY))
        assert (await async_manager.acoverage("BTCUSDT", "1h"))["vendor"].tolist() == ["binance"]
        assert "BTCUSDT" in str(await async_manager.aplan(*DAY))
        assert len(await async_manager.asessions("AAPL", "2024-06-03", "2024-06-07")) == 5
        await async_manager.aclear_cache("BTCUSDT")
        assert (await async_manager.acoverage("BTCUSDT", "1h")).empty

    asyncio.run(main())


def test_an_awaited_batch_has_all_symbols_in_order(
    async_manager: AsyncDataManager, vendors: VendorServer
) -> None:
    symbols = ["ETHUSDT", "BTCUSDT", "ETHUSDT", "%%%"]
    range_ = ("1h", "2024-06-01", "2024-06-01")
    frames = asyncio.run(async_manager.aget_ohlcv_batch(symbols, *range_))
    again = async_manager.manager.get_ohlcv_batch(symbols, *range_)
    assert list(frames) == list(again) == ["ETHUSDT", "BTCUSDT", "%%%"]
    for symbol, frame in frames.items():
        pd.testing.assert_frame_equal(frame, again[symbol])
    assert asyncio.run(async_manager.aget_ohlcv_batch(symbols=[], timeframe="1h")) == {}


def test_an_awaited_wide_batch_equals_the_synchronous_one(async_manager: AsyncDataManager) -> None:
    asked: Any = (["ETHUSDT", "BTCUSDT"], "1h", "2024-06-01", "2024-06-01")
    wide: Any = asyncio.run(async_manager.aget_ohlcv_batch(*asked, layout="wide"))  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(
        wide, async_manager.manager.get_ohlcv_batch(*asked, layout="wide")
    )
    with pytest.raises(QueryError, match="layout"):
        asyncio.run(async_manager.aget_ohlcv_batch(*asked, layout="x"))  # type: ignore[arg-type]


@pytest.mark.parametrize("symbols", ["BTCUSDT", 7, [["BTCUSDT"]]])
def test_an_awaited_batch_of_wrong_symbols_raises_the_error_of_the_synchronous_one(
    async_manager: AsyncDataManager, symbols: Any
) -> None:
    with pytest.raises((QueryError, TypeError)) as caught:
        async_manager.manager.get_ohlcv_batch(symbols, "1h")
    with pytest.raises(type(caught.value), match=str(caught.value)[:20].replace("[", ".")):
        asyncio.run(async_manager.aget_ohlcv_batch(symbols, "1h"))


@pytest.mark.parametrize(
    ("options", "error"),
    [({"timeframe": "bogus"}, QueryError), ({"timeout": "x"}, QueryError), ({"nonsense": 1}, TypeError)],
)  # fmt: skip
def test_an_awaited_batch_of_no_symbols_checks_the_other_arguments(
    async_manager: AsyncDataManager, options: dict[str, Any], error: type[Exception]
) -> None:
    batch = {"timeframe": "1d", "start_date": "2024-06-01", "end_date": "2024-06-02"}
    assert asyncio.run(async_manager.aget_ohlcv_batch([], **batch)) == {}
    with pytest.raises(error):
        asyncio.run(async_manager.aget_ohlcv_batch([], **(batch | options)))


def test_an_awaited_batch_with_a_wrong_timeframe_raises_without_a_request(
    async_manager: AsyncDataManager, vendors: VendorServer
) -> None:
    with pytest.raises(QueryError, match="1q"):
        asyncio.run(async_manager.aget_ohlcv_batch(["BTCUSDT", "ETHUSDT"], "1q"))
    assert vendors.count("binance") == 0


@pytest.mark.parametrize("timeout", [-1, "soon", float("nan"), True])
def test_an_awaited_call_refuses_an_invalid_timeout(
    async_manager: AsyncDataManager, timeout: Any
) -> None:
    with pytest.raises(QueryError, match="timeout"):
        asyncio.run(async_manager.aget_ohlcv(*DAY, timeout=timeout))
    assert asyncio.run(async_manager.aget_fundamentals("AAPL", timeout=timeout)) == {}


# --- what is cached waits for nothing


def test_cached_bars_are_returned_while_every_call_thread_hangs(
    async_manager: AsyncDataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_threads, "calls", call_threads.Threads("onetape-call", 2))

    async def main() -> None:
        for question in (DAY, ("ETHUSDT", *DAY[1:])):
            await async_manager.aget_ohlcv(*question)
        vendors.clear_log()
        vendors.fault("binance", Fault.hold())
        hanging = [asyncio.ensure_future(async_manager.aget_ohlcv(*NEXT)) for _ in range(8)]
        await asked(vendors)
        assert len(await async_manager.aget_ohlcv(*DAY)) == 24
        assert len(await async_manager.aget_ohlcv("BTCUSDT", "2h", *DAY[2:], offline=True)) == 12
        frames = await async_manager.aget_ohlcv_batch(["BTCUSDT", "ETHUSDT"], *DAY[1:])
        assert [len(frame) for frame in frames.values()] == [24, 24]
        assert (
            len(await async_manager.aget_ohlcv("BTCUSDT", "1h", *DAY[2:3], NEXT[3], offline=True))
            == 24
        )
        assert not any(call.done() for call in hanging)
        vendors.heal()
        assert {len(frame) for frame in await asyncio.gather(*hanging)} == {24}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        asyncio.run(main())
    assert vendors.count("binance") == 1


def test_cached_fundamentals_and_figures_do_not_wait_for_a_call_thread(
    async_manager: AsyncDataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_threads, "calls", call_threads.Threads("onetape-call", 1))
    rate = ("BTCUSDT", "2024-06-01", "2024-06-02")

    async def main() -> None:
        rates = await async_manager.aget_funding_rate(*rate)
        vendors.clear_log()
        vendors.fault("binance", Fault.hold())
        hanging = asyncio.ensure_future(async_manager.aget_ohlcv(*DAY))
        await asked(vendors)
        pd.testing.assert_frame_equal(await async_manager.aget_funding_rate(*rate), rates)
        vendors.heal()
        await hanging

    asyncio.run(main())


def test_an_awaited_call_is_counted_once(async_manager: AsyncDataManager) -> None:
    events: list[object] = []
    async_manager.manager.on_event(events.append)
    asyncio.run(async_manager.aget_ohlcv(*DAY))
    asyncio.run(async_manager.aget_ohlcv(*DAY))
    calls = async_manager.manager.metrics()["calls"]
    assert (calls["answers"], calls["hits"], calls["failed"]) == (2, 1, {})
    assert events == []


# --- waiting


def test_a_cancelled_call_ends_at_once_and_its_bars_are_stored(
    async_manager: AsyncDataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.hold())

    async def main() -> None:
        call = asyncio.ensure_future(async_manager.aget_ohlcv(*DAY))
        await asked(vendors)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())
    vendors.heal()
    assert (
        len(async_manager.manager.get_ohlcv(*DAY)) == 24
    )  # of the same fetch, which is waited for
    assert vendors.count("binance") == 1


def test_a_queued_call_that_is_cancelled_sends_no_request(
    async_manager: AsyncDataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_threads, "calls", call_threads.Threads("onetape-call", 1))
    vendors.fault("binance", Fault.hold())

    async def main() -> None:
        hanging = asyncio.ensure_future(async_manager.aget_ohlcv(*DAY))
        await asked(vendors)
        queued = asyncio.ensure_future(async_manager.aget_ohlcv("ETHUSDT", *DAY[1:]))
        while not call_threads.calls.jobs.qsize():
            await asyncio.sleep(0)
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        vendors.heal()
        await hanging

    asyncio.run(main())
    assert vendors.count("binance") == 1


def test_a_call_without_a_free_thread_ends_within_its_timeout(
    async_manager: AsyncDataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It returns the cached bars, or an error that names the reason of the wait."""
    monkeypatch.setattr(call_threads, "calls", call_threads.Threads("onetape-call", 1))

    async def main() -> None:
        await async_manager.aget_ohlcv(*DAY)
        vendors.clear_log()
        vendors.fault("binance", Fault.hold())
        hanging = asyncio.ensure_future(async_manager.aget_ohlcv("ETHUSDT", *DAY[1:]))
        await asked(vendors)
        with pytest.raises(
            AllProvidersFailedError, match="other calls are already waiting for vendors"
        ):
            await async_manager.aget_ohlcv("SOLUSDT", *DAY[1:], timeout=0.05)
        with pytest.warns(IncompleteDataWarning, match="the time for this call"):
            part = await async_manager.aget_ohlcv("BTCUSDT", "1h", DAY[2], NEXT[3], timeout=0.05)
        assert len(part) == 24
        assert not hanging.done()
        vendors.heal()
        await hanging

    asyncio.run(main())
    assert vendors.count("binance") == 1


def test_only_a_timeout_of_the_caller_limits_reads_of_the_store() -> None:
    """A long batch goes on looking after the time that one of its calls may wait."""
    clock = ManualClock(0)
    usual, timed = Deadline(clock), Deadline(clock, 5)
    clock.advance(31)
    assert usual.is_over and timed.is_over
    assert not usual.without_waiting().is_over
    assert timed.without_waiting().is_over


def test_a_warning_of_an_awaited_call_points_at_the_calling_line(
    async_manager: AsyncDataManager, vendors: VendorServer
) -> None:
    asyncio.run(async_manager.aget_ohlcv(*DAY))
    vendors.fault("binance", Fault.status(503))
    with pytest.warns(IncompleteDataWarning) as caught:
        asyncio.run(async_manager.aget_ohlcv("BTCUSDT", "1h", DAY[2], NEXT[3]))
    assert [warning.filename for warning in caught] == [__file__]


def test_an_awaited_call_runs_in_the_context_of_the_caller(async_manager: AsyncDataManager) -> None:
    name: ContextVar[str] = ContextVar("name", default="")
    seen: list[str] = []
    async_manager.manager.on_event(lambda event: seen.append(name.get()))

    async def main() -> None:
        name.set("mine")
        with pytest.raises(QueryError):
            await async_manager.aget_ohlcv("%%%", "1h")
        with pytest.raises(QueryError):
            await async_manager.aget_funding_rate("AAPL")

    asyncio.run(main())
    assert seen == ["mine"]


# --- loops, threads, forks


def test_two_event_loops_can_await_the_same_manager_at_once(
    async_manager: AsyncDataManager,
) -> None:
    lengths: list[int] = []

    def run() -> None:
        lengths.append(len(asyncio.run(async_manager.aget_ohlcv(*DAY))))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [24, 24]


def test_a_loop_can_be_closed_while_a_call_hangs(
    async_manager: AsyncDataManager, vendors: VendorServer, caplog: pytest.LogCaptureFixture
) -> None:
    vendors.fault("binance", Fault.hold())
    loop = asyncio.new_event_loop()
    call = loop.create_task(async_manager.aget_ohlcv(*DAY))
    loop.run_until_complete(asked(vendors))
    call.cancel()
    loop.run_until_complete(asyncio.wait({call}))
    loop.close()
    vendors.heal()
    assert len(async_manager.manager.get_ohlcv(*DAY)) == 24
    assert "exception calling callback" not in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_its_own_call_threads(async_manager: AsyncDataManager) -> None:
    asyncio.run(async_manager.aget_ohlcv(*DAY))
    child = os.fork()
    if not child:  # pragma: no cover - counted in no process
        try:
            os._exit(0 if len(asyncio.run(async_manager.aget_ohlcv(*DAY))) == 24 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_program_ends_even_if_a_call_hangs() -> None:
    script = """
import asyncio
from src.data.core.net.calls import call_threads
async def main():
    gone = asyncio.wrap_future(call_threads.calls.submit(lambda: __import__("threading").Event().wait()))
    try:
        await asyncio.wait_for(gone, 0.01)
    except asyncio.TimeoutError:
        print("over")
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr


def test_a_new_job_does_not_wait_for_a_thread_that_has_just_taken_another() -> None:
    """The thread counts as idle until it has recorded its job, which may never end."""
    threads = call_threads.Threads("onetape-call", 2)
    taken, go_on, end = threading.Event(), threading.Event(), threading.Event()

    class Slow(queue.SimpleQueue[Any]):
        def get(self, *_: Any) -> Any:
            job = super().get()
            taken.set()
            go_on.wait(10)
            return job

    threads.jobs = Slow()
    threads.submit(end.wait)
    assert taken.wait(10)
    second = threads.submit(lambda: "done")
    go_on.set()
    assert second.result(10) == "done"
    end.set()


def test_an_exception_in_a_call_thread_reaches_the_caller() -> None:
    def leave() -> None:
        raise SystemExit(3)

    assert isinstance(call_threads.calls.submit(leave).exception(10), SystemExit)
    assert call_threads.calls.submit(lambda: 1).result(10) == 1
