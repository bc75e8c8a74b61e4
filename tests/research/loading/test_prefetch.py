"""Prefetching of the loader: off by default, bounded, never in anybody's way, gone at its end."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import QueryError
from src.data.research.loading import prefetch
from src.data.research.loading.data_cache import DataCache
from src.data.research.loading.loader import SmartDataLoader
from tests.vendor_server import Fault, VendorServer

APRIL = date(2024, 4, 2), date(2024, 4, 3)


def limited(
    vendors: VendorServer, clock: ManualClock, folder: Path, per_minute: int, *others: str
) -> DataManager:
    """Return a manager whose vendors allow so many requests a minute."""
    names = ("binance", *others)
    limits = {"requests_per_minute": per_minute, "requests_per_second": 1000, "burst_size": 1000}
    rules = {
        "crypto": {"primary": "binance", "backup": list(others)},
        "providers": {
            name: {"base_url": vendors.base_url(name), "transport": "http", "rate_limits": limits}
            for name in names
        },
    }
    path = folder / "limited.yaml"
    path.write_text(json.dumps(rules))
    return DataManager(folder / "limited", path, clock=clock)


def loader_of(manager: DataManager) -> SmartDataLoader:
    """Return a loader that prefetches."""
    return SmartDataLoader(DataCache(manager=manager), prefetch=True)


async def ask(loader: SmartDataLoader, *symbols: str, times: int = 2, label: str = "1h") -> None:
    """Ask for two days of some symbols."""
    for _ in range(times):
        await loader.load_strategy_data(symbols, [label], *APRIL)


async def idle(loader: SmartDataLoader) -> None:
    """Wait until nothing is left to prefetch."""
    one = loader._last
    if one is not None and one._task is not None:
        await asyncio.wait({one._task})


def run(body: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine function, after which its loop has no task."""

    async def checked() -> Any:
        result = await body()
        assert len(asyncio.all_tasks()) == 1
        return result

    return asyncio.run(checked())


def test_the_bars_after_a_range_that_was_asked_for_twice_are_there_before_anybody_asks(
    manager: DataManager, vendors: VendorServer
) -> None:
    async def body() -> list[int]:
        async with loader_of(manager) as loader:
            counts = []
            for _ in range(3):
                await ask(loader, "BTCUSDT", times=1)
                await idle(loader)
                counts.append(vendors.count())
        return counts

    once, twice, thrice = run(body)
    assert (once, twice, thrice) == (once, once + 1, once + 1)
    held = manager.get_ohlcv("BTCUSDT", "1h", date(2024, 4, 4), date(2024, 4, 5))
    assert len(held) == 48 and vendors.count() == thrice
    manager.get_ohlcv("BTCUSDT", "1h", date(2024, 4, 6), date(2024, 4, 6))
    assert vendors.count() == thrice + 1


def test_nothing_is_prefetched_unless_it_is_wanted(
    manager: DataManager, vendors: VendorServer
) -> None:
    async def body() -> None:
        loader = SmartDataLoader(DataCache(manager=manager))
        await ask(loader, "BTCUSDT", times=4)
        assert len(asyncio.all_tasks()) == 1

    run(body)
    assert vendors.count() == 1


def test_the_future_is_not_prefetched(manager: DataManager, vendors: VendorServer) -> None:
    async def body() -> None:
        async with loader_of(manager) as loader:
            for _ in range(3):
                await loader.load_strategy_data(
                    ["BTCUSDT"], ["1h"], date(2024, 6, 11), datetime(2024, 6, 13)
                )
            assert len(asyncio.all_tasks()) == 1

    run(body)


def test_a_series_is_queued_once_and_at_most_so_many_wait(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "_MOST_WAITING", 3)
    monkeypatch.setattr(prefetch, "_MOST_KNOWN", 5)

    async def body() -> tuple[list[str], int]:
        made = prefetch.Prefetch(manager)
        with made.question():
            for symbol in "ABCDE" * 3 + "FGH":
                made.note(symbol, "1h", *APRIL)
                made.note(symbol, "1h", *APRIL)
            waiting = [symbol for symbol, _ in made._waiting]
        await made.close()
        return waiting, len(made._known)

    assert run(body) == (["F", "G", "H"], 5)
    assert not vendors.count()


def test_no_prefetch_begins_while_a_question_waits(
    manager: DataManager, vendors: VendorServer
) -> None:
    async def body() -> None:
        async with loader_of(manager) as loader:
            await ask(loader, "BTCUSDT", times=1)
            vendors.fault("binance", Fault.hold(), symbol="ETHUSDT", times=None)
            real = asyncio.ensure_future(ask(loader, "ETHUSDT", times=1))
            while vendors.count("binance") < 2:
                await asyncio.sleep(0)
            await ask(loader, "BTCUSDT", times=1)  # the second question about it
            for _ in range(500):
                await asyncio.sleep(0)
            made = loader._last
            assert made is not None and list(made._waiting) == [("BTCUSDT", "1h")]
            assert vendors.count("binance") == 2
            vendors.heal()
            await real
            await idle(loader)
            assert vendors.count("binance") == 3

    run(body)


@pytest.mark.parametrize(("per_minute", "requests"), [(11, 0), (12, 1), (60_000, 2)])
def test_prefetches_leave_half_of_a_vendors_limit(
    per_minute: int,
    requests: int,
    vendors: VendorServer,
    clock: ManualClock,
    tmp_path: Path,
) -> None:
    manager = limited(vendors, clock, tmp_path, per_minute)
    symbols = "BTCUSDT", "ETHUSDT"  # a request takes two units

    async def body() -> None:
        async with loader_of(manager) as loader:
            await ask(loader, *symbols)
            await idle(loader)

    run(body)
    assert vendors.count("binance") - len(symbols) == requests


def test_a_vendor_that_is_paused_is_not_asked_by_a_prefetch(
    vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    manager = limited(vendors, clock, tmp_path, 60_000)

    async def body() -> int:
        async with loader_of(manager) as loader:
            await ask(loader, "BTCUSDT", times=1)
            vendors.fault("binance", Fault.status(429), times=None)
            await ask(loader, "ETHUSDT", times=1)
            sent = vendors.count("binance")
            await ask(loader, "BTCUSDT", times=1)
            await idle(loader)
        return vendors.count("binance") - sent

    assert run(body) == 0


def test_its_end_drops_what_is_queued_and_waits_for_what_is_under_way(
    manager: DataManager, vendors: VendorServer
) -> None:
    async def body() -> None:
        loader = loader_of(manager)
        await ask(loader, "BTCUSDT", "ETHUSDT", times=1)
        vendors.fault("binance", Fault.hold(), times=None)
        await ask(loader, "BTCUSDT", "ETHUSDT", times=1)
        while vendors.count("binance") < 3:
            await asyncio.sleep(0)
        end = asyncio.ensure_future(loader.aclose())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not end.done()
        vendors.heal()
        await end
        assert vendors.count("binance") == 3
        await loader.aclose()
        await ask(loader, "BTCUSDT", times=3)  # it still answers
        assert loader._last is None

    run(body)
    assert vendors.count("binance") == 3


def test_a_loop_that_ends_with_a_prefetch_under_way_leaves_nothing(
    manager: DataManager, vendors: VendorServer, recwarn: pytest.WarningsRecorder
) -> None:
    loader = loader_of(manager)
    for _ in range(3):
        asyncio.run(ask(loader, "BTCUSDT"))

    async def body() -> int:
        await ask(loader, "BTCUSDT", times=1)
        return len(asyncio.all_tasks())

    assert asyncio.run(body())
    gc.collect()
    assert not [one for one in recwarn if "never awaited" in str(one.message)]


def test_a_cache_whose_quotas_are_unknown_is_refused() -> None:
    class Own:
        async def get_prices(self, *_: Any) -> None: ...

    with pytest.raises(QueryError, match="prefetch needs a DataCache, not Own"):
        SmartDataLoader(Own(), prefetch=True)


def test_a_prefetch_that_fails_is_seen_by_nobody(
    manager: DataManager, vendors: VendorServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async with loader_of(manager) as loader:
            await ask(loader, "BTCUSDT", times=1)
            vendors.fault("binance", Fault.status(500), times=None)
            await ask(loader, "BTCUSDT", times=1)
            await idle(loader)

    run(body)
    assert vendors.count("binance") > 1
    assert not [one for one in caplog.records if one.name == "onetape.v2" and one.levelno > 10]
