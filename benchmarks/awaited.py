"""A bot's event loop: answers from the cache next to hanging calls, and the loop's own delay."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np

from onetape.aio import AsyncDataManager
from onetape.data.core.model.identity.kind import Basis
from onetape.data.core.model.time.instant import HOUR_MS
from onetape.data.data_manager import DataManager
from onetape.data.errors import DataError

from .harness import Figure, Report, Row, sized
from .stage import COIN, YEAR, commit

HANGING, USERS = 8, 300
_ROUNDS, _LOOKUPS, _TICK_S = sized(3, 5), 100, 0.005
# Hanging calls give up after this time; without async twins, a cached answer would take as long.
_PATIENCE_S = 2.0
_HELD = ("BTCUSDT", "1h", "2023-03-01", "2023-03-31")
_MISSING = ("BTCUSDT", "1h", "2022-03-01", "2022-03-31")
_NOTE = (
    "The table shows times in milliseconds: the 99th percentile of each round, over "
    f"{_ROUNDS} rounds:\n\n"
    f"- *beside*: a month of hourly bars from the cache while {HANGING} users wait for a "
    f"vendor that does not answer (they give up after {_PATIENCE_S:g} s);\n"
    f"- *late*: how much later than requested the loop continues while {USERS} users fetch "
    "such answers as fast as they can;\n"
    "- *threads*: the same with `asyncio.to_thread`;\n"
    "- *no users*: how late any loop is on this machine."
)
_Get = Callable[..., Awaitable[Any]]


def measure() -> Report:
    """Let users send queries from one event loop."""
    with _stage() as manager:
        twin = AsyncDataManager(manager)
        ways: dict[str, _Get] = {
            "onetape.aio": twin.aget_ohlcv,
            "threads": lambda *range_, **more: asyncio.to_thread(
                manager.get_ohlcv, *range_, **more
            ),
        }
        beside: dict[str, list[float]] = {name: [] for name in ways}
        late: dict[str, list[float]] = {name: [] for name in (*ways, "no users")}
        for _ in range(_ROUNDS):
            for name, get in ways.items():
                beside[name].append(asyncio.run(_beside(get)))
                late[name].append(asyncio.run(_late(get)))
            late["no users"].append(asyncio.run(_late(twin.aget_ohlcv, users=0)))
    rows = [("beside", beside), ("late", late)]
    return Report(
        "Awaited",
        _NOTE,
        [
            Row(name, {way: Figure.of(ms) for way, ms in results.items()}, "<= 20 by onetape.aio")
            for name, results in rows
        ],
    )


async def _beside(get: _Get) -> float:
    """Return the milliseconds of answers from the cache while other calls hang."""
    hanging = [asyncio.ensure_future(_give_up(get)) for _ in range(HANGING)]
    await asyncio.sleep(0.1)
    spent = []
    for _ in range(_LOOKUPS):
        started = perf_counter()
        await get(*_HELD)
        spent.append(perf_counter() - started)
    await asyncio.gather(*hanging)
    return _worst(spent)


async def _give_up(get: _Get) -> None:
    with suppress(DataError):
        await get(*_MISSING, timeout=_PATIENCE_S)


async def _late(get: _Get, users: int = USERS) -> float:
    """Return by how many milliseconds the loop is late while many users send queries."""
    tasks = [asyncio.ensure_future(_go_on(get)) for _ in range(users)]
    late = []
    for _ in range(_LOOKUPS):
        started = perf_counter()
        await asyncio.sleep(_TICK_S)
        late.append(perf_counter() - started - _TICK_S)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return _worst(late)


async def _go_on(get: _Get) -> None:
    while True:
        await get(*_HELD)


def _worst(seconds: Sequence[float]) -> float:
    """Return the 99th percentile in milliseconds."""
    return statistics.quantiles(seconds, n=100)[-1] * 1e3


@contextmanager
def _stage() -> Iterator[DataManager]:
    """Yield a manager with a year of hours, whose vendor accepts requests and never answers."""
    with (
        TemporaryDirectory() as folder,
        patch.dict(os.environ, ONETAPE_STATE_DIR=folder),
        socket.create_server(("127.0.0.1", 0), backlog=1024) as server,
    ):
        rules = Path(folder) / "rules.yaml"
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        vendor = {"base_url": address, "transport": "http"}
        rules.write_text(json.dumps({"crypto": {"backup": []}, "providers": {"binance": vendor}}))
        manager = DataManager(Path(folder) / "cache", rules)
        stamps = np.arange(YEAR.start, YEAR.end, HOUR_MS, dtype=np.int64)
        commit(manager.cache.store, "BTCUSDT", "1h", stamps, COIN, Basis("raw"))
        manager.get_ohlcv(*_HELD)
        yield manager


if __name__ == "__main__":
    print(measure())
