"""Tiers whose server, client or session fails: the answer is the data manager's, at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
import redis
import redis.asyncio
import redis.asyncio.retry
import redis.retry
import valkey
import valkey.asyncio
from redis.backoff import NoBackoff
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.db.core.database import Database
from src.data.errors import DataError, QueryError
from src.data.research import calls
from src.data.research.loading import tiers
from src.data.research.loading.data_cache import DataCache
from tests.core.cache.counts import crossed
from tests.research.loading.servers import KINDS, Server, server
from tests.vendor_server import VendorServer

MAY = date(2024, 5, 1), date(2024, 5, 31)
APRIL = date(2024, 4, 1), date(2024, 4, 30)
SECRET = "a-long-password-of-the-server"


@pytest.fixture(params=KINDS)
def running(request: pytest.FixtureRequest) -> Iterator[Server]:
    with server(request.param) as made:
        yield made


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers take their time on a busy machine."""
    monkeypatch.setattr(tiers, "_AWAY_S", 10.0)


@pytest.fixture
def usual(_patient: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Restore the usual time limit, and return a function that changes it."""

    def change(seconds: float) -> None:
        monkeypatch.setattr(tiers, "_AWAY_S", seconds)

    change(0.05)
    return change


def timed(cache: DataCache, *range_: date) -> tuple[pl.DataFrame, float]:
    """Return an answer, and the seconds that it took."""

    async def main() -> tuple[pl.DataFrame, float]:
        began = time.perf_counter()
        frame = await cache.get_prices("AAPL", "1d", *(range_ or MAY))
        return frame, time.perf_counter() - began

    return asyncio.run(main())


class Counting(redis.Redis):
    """A client that counts its calls of ``get``."""

    calls = 0

    def get(self, name: Any) -> Any:
        self.calls += 1
        return super().get(name)


def test_a_server_that_hangs_costs_its_time_once_and_is_used_again_when_it_is_back(
    manager: DataManager, running: Server, clock: ManualClock, caplog: pytest.LogCaptureFixture,
    usual: Callable[[float], None],
) -> None:  # fmt: skip
    client = Counting(port=running.port)
    cache = DataCache(client, manager=manager)
    starts = iter(range(1, 20))

    async def ask() -> None:
        """Ask for a range of a series of which nothing is stored."""
        manager.clear_cache(everything=True)
        assert await cache.get_prices("AAPL", "1d", date(2024, 5, next(starts)), MAY[1]) is not None

    running.pause()
    for _ in range(5):
        asyncio.run(ask())
    assert client.calls == 1, "questions after the first do not wait"
    assert caplog.text.count("did not answer within 0.05 s; not used for the next 30 s") == 1
    clock.advance(31)
    for _ in range(2):
        asyncio.run(ask())
    assert client.calls == 2 and "not used for the next 60 s" in caplog.text
    running.go_on()
    usual(10.0)
    clock.advance(61)
    asyncio.run(ask())
    asyncio.run(ask())
    assert client.calls == 4 and running.client().keys()


def test_many_questions_at_once_find_a_server_away_with_one_warning(
    manager: DataManager, running: Server, caplog: pytest.LogCaptureFixture, usual: object
) -> None:
    running.pause()
    cache = DataCache(redis.asyncio.Redis(port=running.port), manager=manager)

    async def main() -> list[pl.DataFrame]:
        starts = [date(2024, 5, day) for day in range(1, 13)]
        questions = (cache.get_prices("AAPL", "1d", start, MAY[1]) for start in starts)
        return await asyncio.gather(*questions)

    frames = asyncio.run(main())
    assert [len(frame) for frame in frames] == [22, 21, 20, 19, 19, 19, 18, 17, 16, 15, 14, 14]
    assert caplog.text.count("not used for the next") == 1


def test_fifty_milliseconds_are_the_most_that_a_hanging_server_costs(
    manager: DataManager, running: Server, usual: object
) -> None:
    cache = DataCache(manager=manager)
    timed(cache)
    without = min(timed(cache)[1] for _ in range(5))
    running.pause()
    costs = []
    for _ in range(5):
        tiered = DataCache(running.client(), manager=manager)
        costs.append(timed(tiered)[1] - without)
        # A question of its own, so that memory has no answer.
        costs.append(timed(tiered, APRIL[0], date(2024, 4, 10))[1] - without - 0.05)
    assert min(costs[::2]) < 0.15 and min(costs[::2]) > 0.03, costs


@pytest.mark.parametrize("is_async", [False, True])
def test_a_server_that_refuses_connections_is_skipped(
    manager: DataManager, running: Server, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    running.stop()
    port = {"port": running.port, "password": SECRET}
    # By itself, a client tries again for seconds.
    client = (
        redis.asyncio.Redis(**port, retry=redis.asyncio.retry.Retry(NoBackoff(), 0))
        if is_async
        else redis.Redis(**port, retry=redis.retry.Retry(NoBackoff(), 0))
    )
    cache = DataCache(client, manager=manager)
    assert len(timed(cache)[0]) == 22
    assert "not used for the next 30 s" in caplog.text and "Redis: " in caplog.text
    with pytest.raises(DataError, match="Redis: "):
        asyncio.run(cache.clear())


@pytest.mark.parametrize("kind", [valkey.Valkey, valkey.asyncio.Valkey, redis.asyncio.Redis])
def test_other_clients_serve_as_well(
    manager: DataManager, tmp_path: Path, clock: ManualClock, vendors: VendorServer,
    running: Server, kind: Any
) -> None:  # fmt: skip
    other = DataManager(tmp_path / "other", manager.provider_selector.config_path, clock=clock)

    async def main() -> None:
        client = kind(port=running.port)
        first = await DataCache(client, manager=manager).get_prices("AAPL", "1d", *MAY)
        sent = vendors.count()
        cache = DataCache(client, manager=other)
        assert (await cache.get_prices("AAPL", "1d", *MAY)).equals(first)
        assert vendors.count() == sent
        await cache.clear()
        close = getattr(client, "aclose", client.close)()
        await close if close is not None else None

    asyncio.run(main())
    assert not running.client().keys()


class Failing:
    """A client whose every call raises an error with its password."""

    def __init__(self, error: BaseException, *, is_async: bool) -> None:
        self.error, self.calls = error, 0
        self.connection_pool = type("Pool", (), {"connection_kwargs": {"password": SECRET}})()
        if is_async:
            self.get = self.set = self.scan = self.delete = self._awaited
        else:
            self.get = self.set = self.scan = self.delete = self._raise

    def _raise(self, *_: Any, **__: Any) -> Any:
        self.calls += 1
        raise self.error

    async def _awaited(self, *_: Any, **__: Any) -> Any:
        self._raise()


@pytest.mark.parametrize(
    ("error", "is_async"),
    crossed(
        [
            RuntimeError(f"cannot connect to redis://:{SECRET}@host"),
            asyncio.CancelledError(SECRET),
            TimeoutError(),
            type("Panic", (BaseException,), {})(SECRET),
            DataError(f"with {SECRET}"),
        ],
        [False, True],
    ),
)
def test_any_client_error_leaves_the_answer_complete_and_the_password_hidden(
    manager: DataManager, error: BaseException, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    client = Failing(error, is_async=is_async)
    cache = DataCache(client, manager=manager)
    assert len(timed(cache)[0]) == 22
    assert client.calls == 1 and "not used for the next" in caplog.text
    assert SECRET not in caplog.text and SECRET not in repr(cache)


def test_a_symbol_that_no_key_can_have_is_no_failure_of_the_server(
    manager: DataManager, running: Server, caplog: pytest.LogCaptureFixture
) -> None:
    cache = DataCache(running.client(), manager=manager)
    for symbol in ("A\ud800", "A\0"):
        with pytest.raises(QueryError):
            asyncio.run(cache.get_prices(symbol, "1d", *MAY))
    asyncio.run(cache.get_prices("AAPL", "1d", *MAY))
    assert "not used" not in caplog.text and len(running.client().keys()) == 1


def test_what_is_no_client_or_session_is_refused(manager: DataManager) -> None:
    with pytest.raises(QueryError, match=r"redis_client is a object without get\(\)"):
        DataCache(object(), manager=manager)
    with pytest.raises(QueryError, match="db_session is a str, not a session"):
        DataCache(None, "sqlite://", manager=manager)
    client = redis.Redis(decode_responses=True)
    with pytest.raises(QueryError, match="decodes responses to text"):
        DataCache(client, manager=manager)


def test_a_plain_client_serves_several_loops_at_once(manager: DataManager, running: Server) -> None:
    cache = DataCache(running.client(), manager=manager)
    frames: list[pl.DataFrame] = []
    threads = [
        threading.Thread(target=lambda range_=range_: frames.append(timed(cache, *range_)[0]))
        for range_ in (MAY, APRIL, MAY, APRIL)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(frame) for frame in frames] == [22] * 4
    assert len(running.client().keys()) == 2


def test_a_cancelled_question_leaves_no_task_and_the_tier_usable(
    manager: DataManager, running: Server
) -> None:
    async def main() -> None:
        cache = DataCache(redis.asyncio.Redis(port=running.port), manager=manager)
        await cache.get_prices("AAPL", "1d", *MAY)
        for turns in range(40):
            cache._memory.drop_where(lambda *_: True)
            task = asyncio.ensure_future(cache.get_prices("AAPL", "1d", *MAY))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
        assert len(await cache.get_prices("AAPL", "1d", *APRIL)) == 22
        while calls._running:
            await asyncio.wait(set(calls._running))
        assert len(asyncio.all_tasks()) == 1
        assert cache._redis is not None and cache._redis._guard.circuit.is_closed
        await cache._redis._client.aclose()

    asyncio.run(main())
    assert len(running.client().keys()) == 2


# --- sessions ----------------------------------------------------------------------------------


def count(database: Database) -> int:
    with database.reading() as own:
        place = "" if database.dialect == "sqlite" else "backtester."
        return int(own.scalar(text(f"SELECT count(*) FROM {place}prices_v2")) or 0)


def test_a_session_in_a_broken_transaction_is_rolled_back_and_used_again(
    manager: DataManager,
    database: Database,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "src.data.research.loading.tiers._AWAY_S", 10.0
    )  # a busy machine may need more than 0.05
    with database.reading():
        pass
    session = Session(database.engine)
    with pytest.raises(Exception, match="nothing_there"):
        session.execute(text("SELECT * FROM nothing_there"))
    cache = DataCache(None, session, manager=manager)
    assert len(timed(cache)[0]) == 22
    if not count(database):  # PostgreSQL: the transaction was broken
        assert "Database: " in caplog.text

        async def later() -> None:
            clock.advance(31)
            await cache.get_prices("AAPL", "1d", *APRIL)

        asyncio.run(later())
    assert count(database) == 22
    session.close()


def test_a_database_without_the_tables_is_skipped(
    manager: DataManager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Session(create_engine(f"sqlite:///{tmp_path / 'empty.db'}")) as session:
        cache = DataCache(None, session, manager=manager)
        assert len(timed(cache)[0]) == 22
    assert "prices_v2" in caplog.text and "not used for the next 30 s" in caplog.text


def test_a_closed_connection_is_skipped(
    manager: DataManager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"postgresql+psycopg://user:{SECRET}@127.0.0.1:9/none"
    with Session(create_engine(url)) as session:
        assert len(timed(DataCache(None, session, manager=manager))[0]) == 22
    assert "Database: " in caplog.text and SECRET not in caplog.text


def test_an_asynchronous_session_serves_as_well(
    manager: DataManager, tmp_path: Path, clock: ManualClock, vendors: VendorServer
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'records.db'}")
    with database.writing():
        pass
    other = DataManager(tmp_path / "other", manager.provider_selector.config_path, clock=clock)

    async def main() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'records.db'}")
        async with AsyncSession(engine) as session:
            first = await DataCache(None, session, manager=manager).get_prices("AAPL", "1d", *MAY)
            sent = vendors.count()
            cache = DataCache(None, session, manager=other)
            both = await asyncio.gather(*(cache.get_prices("AAPL", "1d", *MAY) for _ in range(5)))
            assert all(len(frame) == len(first) for frame in both) and vendors.count() == sent
            for turns in range(30):
                cache._memory.drop_where(lambda *_: True)
                task = asyncio.ensure_future(cache.get_prices("AAPL", "1d", *MAY))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait({task})
            cache._memory.drop_where(lambda *_: True)
            assert len(await cache.get_prices("AAPL", "1d", *MAY)) == 22 and vendors.count() == sent
        await engine.dispose()

    asyncio.run(main())
    assert count(database) == 22
    database.close()


@pytest.mark.parametrize("symbol", [None, 5, ["AAPL"], "", "?" * 300, "A\nB", b"AAPL"])
def test_bad_questions_are_refused_as_without_tiers(manager: DataManager, symbol: Any) -> None:
    """The client is not reached, or has nothing."""
    texts = set()
    for cache in (DataCache(manager=manager), DataCache(redis.Redis(port=9), manager=manager)):
        with pytest.raises(QueryError) as refused:
            asyncio.run(cache.get_prices(symbol, "1d", *MAY))
        texts.add(str(refused.value))
    assert len(texts) == 1


@pytest.mark.parametrize(
    "range_",
    [
        (MAY[1], MAY[0]), ("x", "y"), (pd.NaT, MAY[1]),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))), MAY[1]),
    ],
)  # fmt: skip
def test_bad_ranges_are_refused_as_without_tiers(manager: DataManager, range_: Any) -> None:
    texts = set()
    for cache in (DataCache(manager=manager), DataCache(redis.Redis(port=9), manager=manager)):
        with pytest.raises(QueryError) as refused:
            asyncio.run(cache.get_prices("AAPL", "1d", *range_))
        texts.add(str(refused.value))
    assert len(texts) == 1


def test_instants_of_one_time_in_several_zones_are_one_key(
    manager: DataManager, running: Server
) -> None:
    cache = DataCache(running.client(), manager=manager)
    first, last = datetime(2024, 5, 1), datetime(2024, 5, 3, 23)
    east = timezone(timedelta(hours=5))
    one = asyncio.run(cache.get_prices("BTCUSDT", "1h", first, last))
    zoned = [day.replace(tzinfo=UTC).astimezone(east) for day in (first, last)]
    assert asyncio.run(cache.get_prices("BTCUSDT", "1h", *zoned)).equals(one)
    (key,) = running.client().keys()
    assert key == b"prices:BTCUSDT:1h:2024-05-01T00:00:00Z:2024-05-03T23:00:00Z"
    assert len(one) == 72
