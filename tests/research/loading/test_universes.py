"""Universes as the second data layer writes them: a class over a session, async or not."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.db.core.database import Database
from src.data.db.symbols.models import Symbol
from src.data.db.universe.definition import UniverseDefinition
from src.data.db.universe.manager import UniverseManager
from src.data.db.universe.models import Universe
from src.data.errors import UniverseError

T = TypeVar("T")
Use = Callable[[Any], Awaitable[T]]
NOW = datetime(2024, 6, 12, 15, tzinfo=UTC)
# Symbol, market capitalisation, sector, shares a day, and whether it is active.
SHARES = [
    ("AAPL", 3_000_000_000_000, "Technology", 60_000_000, True),
    ("MSFT", 2_900_000_000_000, "Technology", 25_000_000, True),
    ("XOM", 450_000_000_000, "Energy", 18_000_000, True),
    ("TINY", 90_000_000, "Technology", 20_000, True),
    ("GONE", 50_000_000_000, "Technology", 9_000_000, False),
]


@pytest.fixture(params=["session", "async session"])
def use(request: pytest.FixtureRequest, database: Database) -> Callable[[Use[T]], T]:
    """Return what runs a coroutine function with a session of a program's own."""
    url = database.url.url.set(
        drivername={"sqlite": "sqlite"}.get(database.dialect, "postgresql+psycopg")
    )
    with database.writing() as session:  # the tables are there
        for symbol, cap, sector, volume, is_active in SHARES:
            session.add(
                Symbol(
                    symbol=symbol, market_cap=cap, sector=sector, avg_daily_volume=volume,
                    is_active=is_active, currency="USD", updated_at=NOW,
                    sources={"market_cap": {"currency": "USD"}},
                )
            )  # fmt: skip

    async def in_async_session(body: Use[T]) -> T:
        driver = {"sqlite": "sqlite+aiosqlite"}.get(database.dialect, url.drivername)
        engine = create_async_engine(url.set(drivername=driver))
        async with AsyncSession(engine, expire_on_commit=False) as session:
            result = await body(session)
        await engine.dispose()
        return result

    def in_session(body: Use[T]) -> T:
        engine = create_engine(url)
        with Session(engine) as session:
            result = asyncio.run(body(session))
        engine.dispose()
        return result

    if request.param == "session":
        return in_session
    return lambda body: asyncio.run(in_async_session(body))


@pytest.fixture
def prices(tmp_path: Path, clock: ManualClock) -> DataManager:
    """Return a manager whose cache has the closes of two shares, one of them older than a week."""
    manager = DataManager(tmp_path / "cache", clock=clock)
    for symbol, days in {"AAPL": ["2024-06-10", "2024-06-11"], "XOM": ["2024-05-30"]}.items():
        index = pd.DatetimeIndex(days, name="timestamp")
        frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 200.0), index)
        manager.cache.put(frame.assign(volume=1e6), symbol, "1d", provider="yahoo")
    return manager


def test_a_static_universe_is_created_and_updated(
    use: Callable[[Use[Any]], Any], clock: ManualClock, database: Database
) -> None:
    async def body(db_session: Any) -> Any:
        manager = UniverseManager(db_session, clock=clock)
        definition = UniverseDefinition("static", "what I watch", ["MSFT", "AAPL"])
        await manager.create_universe("watch", definition)
        first = await manager.members("watch")
        clock.advance(86_400)
        await manager.create_universe("watch", UniverseDefinition("static", "less", ["AAPL"]))
        return first, await manager.members("watch"), await manager.members("watch", "2024-06-12")

    first, second, then = use(body)
    assert (list(first), list(second), list(then)) == (["AAPL", "MSFT"], ["AAPL"], ["AAPL", "MSFT"])
    assert first.is_pit and second.is_pit and then.is_pit
    with database.reading() as session:
        stored = session.scalars(select(Universe)).one()
    assert (stored.name, stored.type, stored.description) == ("watch", "static", "less")
    assert stored.definition == {
        "type": "static", "description": "less", "symbols": ["AAPL"], "filters": None, "index_name": None,
    }  # fmt: skip
    assert stored.created_at == NOW.replace(second=30)


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"min_market_cap": 450_000_000_000}, ["AAPL", "MSFT", "XOM"]),
    ({"max_market_cap": 450_000_000_000}, ["TINY", "XOM"]),
    ({"min_market_cap": 100_000_000, "max_market_cap": 2_950_000_000_000}, ["MSFT", "XOM"]),
    ({"sectors": ["Technology"]}, ["AAPL", "MSFT", "TINY"]),
    ({"exclude_sectors": ["Technology"]}, ["XOM"]),
    ({"min_avg_volume": 20_000_000}, ["AAPL", "MSFT"]),
    ({"min_price": 150}, ["AAPL"]),
    ({"min_price": 200.5, "sectors": ["Technology"]}, []),
    ({"sectors": ["Technology"], "min_avg_volume": 1_000_000}, ["AAPL", "MSFT"]),
]


def test_a_filter_leaves_active_symbols(
    use: Callable[[Use[Any]], Any], clock: ManualClock, prices: DataManager
) -> None:
    async def body(db_session: Any) -> None:
        manager = UniverseManager(db_session, prices, clock)
        for place, (filters, symbols) in enumerate(FILTERS):
            definition = UniverseDefinition(type="filter", description="", filters=filters)
            done = await manager.create_universe(f"mine {place}", definition)
            members = await manager.members(f"mine {place}")
            assert list(members) == symbols, filters
            assert set(done.excluded) == {"AAPL", "MSFT", "XOM", "TINY"} - set(symbols), filters

    use(body)


def test_an_index_is_read_from_a_file(
    use: Callable[[Use[Any]], Any], clock: ManualClock, tmp_path: Path
) -> None:
    path = tmp_path / "index.csv"
    path.write_text("symbol,from,to\nAAPL,2010-01-04,\nGONE,2010-01-04,2023-03-13\n")

    async def body(db_session: Any) -> Any:
        manager = UniverseManager(db_session, clock=clock)
        definition = UniverseDefinition(type="index", description="mine", index_name=str(path))
        await manager.create_universe("index", definition)
        return await manager.members("index", "2020-01-02"), await manager.members("index")

    then, now = use(body)
    assert (list(then), list(now), then.is_pit) == (["AAPL", "GONE"], ["AAPL"], True)
    assert then.known_from == date(2010, 1, 4)


def test_an_invalid_universe_definition_stores_no_row(
    use: Callable[[Use[Any]], Any], clock: ManualClock, database: Database
) -> None:
    wrong = [
        UniverseDefinition("list", "no such type", ["AAPL"]),
        UniverseDefinition("static", "no symbol", ["AAPL", "A A"]),
        UniverseDefinition("filter", "no such filter", filters={"min_cap": 1}),
        UniverseDefinition("index", "no such file", index_name="/nowhere/index.csv"),
    ]

    async def body(db_session: Any) -> None:
        for definition in wrong:
            with pytest.raises(UniverseError):
                await UniverseManager(db_session, clock=clock).create_universe("mine", definition)

    use(body)
    with database.reading() as session:
        assert session.scalars(select(Universe)).all() == []


def test_the_definition_is_a_dataclass_of_five_fields() -> None:
    fields = dataclasses.fields(UniverseDefinition)
    names = ["type", "description", "symbols", "filters", "index_name"]
    assert [field.name for field in fields] == names
    definition = UniverseDefinition("static", "a list", ["AAPL"])
    assert (definition.symbols, definition.filters, definition.index_name) == (["AAPL"], None, None)
