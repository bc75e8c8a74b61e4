"""The tiers of ``DataCache``: memory next to ``get_ohlcv``, and a server next to a bare client."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import polars as pl
import redis.asyncio

from onetape.aio import AsyncDataManager
from onetape.data.data_manager import DataManager
from onetape.data.research.loading import tiers
from onetape.data.research.loading.data_cache import DataCache
from tests.research.loading.servers import server

from .harness import Figure, Report, Row, race
from .stage import stage

_CASES = {
    "a year of days": ("BTCUSDT", "1d", date(2023, 1, 1), date(2023, 12, 31)),
    "a year of hours": ("BTCUSDT", "1h", date(2023, 1, 1), date(2023, 12, 31)),
}
_AT_A_TIME = 20
_NOTE = (
    "The table shows the time in microseconds of an awaited `DataCache.get_prices` whose answer "
    "is in a tier, and the same as a multiple of another way to the same bars, in the same round:\n\n"
    "- *memory*: the answer is in memory; *times a hit*: compared with an awaited `get_ohlcv` "
    "that the cache answers;\n"
    "- *server*: the answer is on a Valkey server on this machine, and this machine's own cache "
    "is empty; *times a client*: compared with a bare client that gets the same bytes, with the "
    "Parquet in them read by Polars."
)


def measure() -> Report:
    """Race the tiers against the data manager and a bare client."""
    rows = []
    # A busy machine must not end the measurement: the server may take its time.
    patient = patch.object(tiers, "_AWAY_S", 10.0)
    with patient, stage() as manager, server("valkey") as running, TemporaryDirectory() as folder:
        away = DataManager(Path(folder) / "cache", clock=manager.client.clock)
        with asyncio.Runner() as runner:
            client = redis.asyncio.Redis(port=running.port)
            for name, case in _CASES.items():
                figures = _figures(runner, client, manager, away, case)
                rows.append(Row(name, figures, "times a hit <= 1.2, times a client <= 1.3"))
            runner.run(client.aclose())
    return Report("Tiers", _NOTE, rows, less=("times a hit", "times a client"))


def _figures(
    runner: asyncio.Runner, client: Any, manager: DataManager, away: DataManager, case: Any
) -> dict[str, Figure]:
    mine, theirs = DataCache(client, manager=manager), DataCache(client, manager=away)
    twin, key = AsyncDataManager(manager), ":".join(map(str, ("prices", *case)))

    async def of_server() -> pl.DataFrame:
        theirs._memory.drop(f"{key}:")
        return await theirs.get_prices(*case)

    async def of_client() -> pl.DataFrame:
        value = await client.get(key)
        return pl.read_parquet(io.BytesIO(value[value.index(b"PAR1") :]))

    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "memory": lambda: mine.get_prices(*case),
        "hit": lambda: twin.aget_ohlcv(*case),
        "server": of_server,
        "client": of_client,
    }
    for way in list(ways.values()) * 3:
        runner.run(_times(way, 1))
    calls = {
        name: lambda way=way: runner.run(_times(way, _AT_A_TIME)) for name, way in ways.items()
    }
    spent = {name: [us / _AT_A_TIME for us in found] for name, found in race(calls).items()}

    def ratio(name: str, other: str) -> Figure:
        return Figure.of([one / two for one, two in zip(spent[name], spent[other], strict=True)])

    return {
        "memory": Figure.of(spent["memory"]),
        "times a hit": ratio("memory", "hit"),
        "server": Figure.of(spent["server"]),
        "times a client": ratio("server", "client"),
    }


async def _times(way: Callable[[], Awaitable[object]], count: int) -> None:
    for _ in range(count):
        await way()


if __name__ == "__main__":
    print(measure())
