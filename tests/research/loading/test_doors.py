"""Tests one strategy through every entry point, with writers in other processes."""

from __future__ import annotations

import ast
import asyncio
import gc
import json
import os
import threading
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import src.data.research
from onetape.aio import AsyncDataManager
from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.research.loading.data_cache import DataCache
from src.data.research.loading.live import LiveDataPipeline
from src.data.research.loading.loader import SmartDataLoader
from tests.core.cache.counts import FULL
from tests.research.loading.test_failover import Own, bars
from tests.research.loading.test_pipeline import Time, Venue, turns
from tests.vendor_server import Fault, VendorServer

WEEK = date(2024, 6, 3), date(2024, 6, 7)
CYCLES, SYMBOLS, ROWS = (200, 10_000, 10**6) if FULL else (3, 200, 4_000)
LAYER = Path(src.data.research.__path__[0])
V2 = ["calls", "frames/lazy", "frames/prices"] + [
    f"loading/{name}"
    for name in "columnar data_cache failover live loader prefetch providers tiers v1".split()
]
# Everything that sends, limits, repeats or waits; the data manager alone does that.
FORBIDDEN = ("core.net.http.http", "core.net.limits.limiter", "core.net.http.retry",
             "core.net.limits.quota", "core.net.http.sender", "core.net.http.websocket",
             "http", "urllib", "socket", "requests", "aiohttp", "httpx", "websockets")  # fmt: skip


def _imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the modules that a file imports, and the names that it takes from them."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{one.name}".lstrip(".") for one in node.names)


@pytest.mark.parametrize("name", V2)
def test_no_file_sends_limits_repeats_or_sleeps_by_itself(name: str) -> None:
    nodes = list(ast.walk(ast.parse((LAYER / f"{name}.py").read_text("utf-8"))))
    found = list(_imports(nodes))
    begins = [one for one in found if any(f"{one}.".startswith(f"{no}.") for no in FORBIDDEN)]
    assert not begins
    assert not {"time", "time.sleep", "asyncio.sleep"} & set(found)
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    assert "sleep" not in {getattr(one.func, "attr", "") for one in calls}


def test_one_strategy_through_three_doors_has_equal_bars_provenance_and_one_request(
    manager: DataManager, vendors: VendorServer
) -> None:
    start, end = WEEK[0] - timedelta(days=200), WEEK[1]

    async def doors() -> tuple[Any, Any]:
        loader = SmartDataLoader(DataCache(manager=manager))
        awaited = AsyncDataManager(manager).aget_ohlcv("AAPL", "1d", start, end)
        return await asyncio.gather(loader.load_strategy_data(["AAPL"], ["1d"], *WEEK), awaited)

    loaded, awaited = asyncio.run(doors())
    plain = manager.get_ohlcv("AAPL", "1d", start, end)
    again = asyncio.run(AsyncDataManager(manager).aget_ohlcv("AAPL", "1d", start, end))
    assert vendors.count() == 1
    assert plain.equals(awaited) and plain.equals(again)
    assert json.dumps(plain.attrs["onetape"]) == json.dumps(again.attrs["onetape"])
    same = {
        "generation",
        "spans",
        "gaps",
        "vendors",
        "lane",
        "kind",
        "basis",
        "rows",
        "first",
        "last",
    }
    for name in same & set(plain.attrs["onetape"]):
        assert plain.attrs["onetape"][name] == awaited.attrs["onetape"][name], name
    frame = loaded["AAPL"]["1d"]
    assert frame["date"].to_list() == [stamp.date() for stamp in plain.index]
    for name in ("open", "high", "low", "close", "volume", "adj_close"):
        assert frame[name].to_list() == plain[name].tolist(), name


# --- starts and stops ------------------------------------------------------------------------------


def _open_files() -> set[str]:
    return {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}")}  # fmt: skip


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_starts_and_stops_leave_no_thread_task_or_socket(
    manager: DataManager, recwarn: pytest.WarningsRecorder
) -> None:
    clock = ManualClock(manager.client.clock.now_ms())

    async def cycle() -> int:
        async with SmartDataLoader(DataCache(manager=manager), prefetch=True) as loader:
            for _ in range(2):  # the second time, both are prefetched
                await loader.load_strategy_data(["AAPL", "BTCUSDT"], ["1d"], *WEEK)
        pipeline = LiveDataPipeline(
            [Venue(clock)], clock=clock, pause=Time(clock, "2024-06-12T15:00:30").pause
        )
        await pipeline.start_streaming(["A", "B"], "1h")
        await turns(3)
        await pipeline.stop()
        await AsyncDataManager(manager).aget_ohlcv("AAPL", "1d", *WEEK)
        return len(asyncio.all_tasks())

    assert asyncio.run(cycle()) == 1
    asyncio.run(cycle())
    gc.collect()
    threads, sockets = threading.active_count(), {f for f in _open_files() if "socket" in f}
    assert {asyncio.run(cycle()) for _ in range(CYCLES)} == {1}
    gc.collect()
    assert threading.active_count() <= threads
    assert len({f for f in _open_files() if "socket" in f}) <= len(sockets)
    assert not [one for one in recwarn if "never awaited" in str(one.message)]


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_loop_closed_with_questions_under_way_costs_the_next_loop_nothing(
    manager: DataManager,
    vendors: VendorServer,
    recwarn: pytest.WarningsRecorder,
    is_cancelled: bool,
) -> None:
    """A load and a prefetch are under way when the loop ends."""
    loader, left = SmartDataLoader(DataCache(manager=manager), prefetch=True), list[Any]()

    async def begun() -> None:
        for _ in range(2):
            await loader.load_strategy_data(["BTCUSDT"], ["1d"], *WEEK)
        for vendor in ("binance", "yahoo"):
            vendors.fault(vendor, Fault.hold(), times=None)
        sent = vendors.count()
        while vendors.count() == sent:  # the prefetch
            await asyncio.sleep(0)
        left.append(asyncio.ensure_future(loader.load_strategy_data(["AAPL"], ["1d"], *WEEK)))
        while not vendors.count("yahoo"):
            await asyncio.sleep(0)
        if is_cancelled:
            left[0].cancel()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begun())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    vendors.heal()

    async def again() -> None:
        for _ in range(2):
            loaded = await loader.load_strategy_data(["AAPL"], ["1d"], *WEEK)
            assert len(loaded["AAPL"]["1d"]) > 100
        own = loader._last
        assert own is not None and own._task is not None
        await asyncio.wait_for(asyncio.shield(own._task), 30)
        assert not own._waiting
        await loader.aclose()

    asyncio.run(again())
    last = manager.get_ohlcv("AAPL", "1d", date(2024, 6, 10), date(2024, 6, 11), offline=True)
    assert len(last) == 2, "the prefetch of the new loop has run"
    left.clear()
    gc.collect()
    assert not [one for one in recwarn if "never awaited" in str(one.message)]


# --- cancellation ---------------------------------------------------------------------------------


class Slow:
    """A program's cache whose answers take several turns of the loop; counts those under way."""

    def __init__(self) -> None:
        self.running = 0

    async def get_prices(self, *_: Any) -> pl.DataFrame:
        self.running += 1
        try:
            for _ in range(3):
                await asyncio.sleep(0)
        finally:
            self.running -= 1
        return bars()


def test_a_load_that_is_cancelled_at_any_await_leaves_no_slot_taken() -> None:
    cache = Slow()
    loader = SmartDataLoader(cache)
    names = [f"S{n}" for n in range(30)]

    async def cancelled(count: int) -> None:
        task = asyncio.ensure_future(loader.load_strategy_data(names, ["1d"], *WEEK))
        await turns(count)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1 and not cache.running
        slots = loader._slots.get(asyncio.get_running_loop())
        assert slots is None or slots._value == 20

    for count in range(14):
        asyncio.run(cancelled(count))
    loaded = asyncio.run(loader.load_strategy_data(names, ["1d"], *WEEK))
    assert all(len(frames["1d"]) for frames in loaded.values())


def test_a_question_that_is_cancelled_at_any_await_does_not_hold_up_the_prefetch(
    manager: DataManager,
) -> None:
    loader = SmartDataLoader(DataCache(manager=manager), prefetch=True)
    asyncio.run(loader.load_strategy_data(["AAPL"], ["1d"], *WEEK))

    async def body() -> None:
        for count in range(8):
            task = asyncio.ensure_future(loader.load_strategy_data(["AAPL"], ["1d"], *WEEK))
            await turns(count)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert loader._last is not None and not loader._last._questions
        await loader.aclose()

    asyncio.run(body())


def test_a_pipeline_that_is_cancelled_at_any_await_stops_without_a_task() -> None:
    clock = ManualClock(1_718_204_430_000)

    async def body(count: int) -> None:
        pipeline = LiveDataPipeline(
            [Venue(clock)], clock=clock, pause=Time(clock, "2024-06-12T20:00").pause
        )
        await pipeline.start_streaming(["A"], "1h")
        await turns(count)
        stop = asyncio.ensure_future(pipeline.stop())
        await asyncio.sleep(0)
        stop.cancel()
        await asyncio.gather(stop, return_exceptions=True)
        await pipeline.stop()
        await turns(3)
        assert len(asyncio.all_tasks()) == 1

    for count in range(30):
        asyncio.run(body(count))


# --- many, and several loops ----------------------------------------------------------------------


def test_thousands_of_symbols_are_one_result_each() -> None:
    names = [f"S{n}" for n in range(SYMBOLS)]
    answers = {"S17": ValueError("not this one")}

    class Own:
        async def get_prices(self, symbol: str, *_: Any) -> Any:
            if symbol in answers:
                raise answers[symbol]
            return bars().select("date", "close")  # without a look at the calendar

    loaded = asyncio.run(SmartDataLoader(Own()).load_strategy_data(names, ["1d"], *WEEK))
    assert list(loaded) == names
    assert [name for name in names if not len(loaded[name]["1d"])] == ["S17"]


def test_two_loops_load_with_one_loader_at_the_same_time() -> None:
    loader = SmartDataLoader(Slow())
    names = [f"S{n}" for n in range(30)]

    def work() -> None:
        found.append(asyncio.run(loader.load_strategy_data(names, ["1d"], *WEEK)))

    found: list[Any] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all(len(one["S29"]["1d"]) for one in found)


def test_an_own_provider_with_many_rows_for_one_bar_costs_its_series_alone(
    clock: ManualClock,
) -> None:
    many = bars().clear().vstack(pl.concat([bars()] * (ROWS // 2)))
    from tests.research.loading.test_failover import fetch, manager_of

    manager = manager_of(clock, odd=Own(many), good=Own(bars(2.0)))
    assert fetch(manager)[1] == "good"
    assert "duplicate stamps" in manager.provider_health["odd"]["last_error"]
