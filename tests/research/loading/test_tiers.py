"""Tiers in front of the data manager: what they hold, when it is right, and what happens without."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
import redis
import redis.asyncio
from sqlalchemy import text
from sqlalchemy.orm import Session

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.db.core.database import Database
from src.data.errors import IncompleteDataWarning
from src.data.research.frames.prices import empty_prices, prices_frame
from src.data.research.loading import tiers
from src.data.research.loading.data_cache import DataCache
from src.data.research.loading.loader import SmartDataLoader
from src.data.research.loading.tiers import Held
from tests.core.cache.counts import FULL
from tests.research.loading.servers import KINDS, Server, server
from tests.vendor_server import Fault, VendorServer, split

MAY = date(2024, 5, 1), date(2024, 5, 31)
KEY = "prices:AAPL:1d:2024-05-01:2024-05-31"
HOUR_MS = 3_600_000


@pytest.fixture(scope="module", params=KINDS)
def _server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with server(request.param) as made:
        yield made


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers take their time on a busy machine."""
    monkeypatch.setattr(tiers, "_AWAY_S", 10.0)


@pytest.fixture
def running(_server: Server) -> Server:
    """Return a server without keys."""
    with _server.client() as client:
        client.flushall()
    return _server


@pytest.fixture
def other(manager: DataManager, tmp_path: Path, clock: ManualClock) -> DataManager:
    """Return a manager of another machine: an empty cache, with the same rules and vendors."""
    return DataManager(tmp_path / "other", manager.provider_selector.config_path, clock=clock)


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.writing():
        pass  # creates the tables
    with Session(database.engine, expire_on_commit=False) as made:
        yield made


def get(
    cache: DataCache, symbol: str = "AAPL", timeframe: str = "1d", *range_: date
) -> pl.DataFrame:
    """Return what a cache returns, in an event loop of its own."""
    return asyncio.run(cache.get_prices(symbol, timeframe, *(range_ or MAY)))


def rows_in(database: Database, table: str = "prices_v2") -> list[dict[str, Any]]:
    """Return a table's rows as mappings."""
    with database.reading() as own:
        name = table if database.dialect == "sqlite" else f"backtester.{table}"
        return [dict(row) for row in own.execute(text(f"SELECT * FROM {name}")).mappings()]


# --- memory ------------------------------------------------------------------------------------


class Counting(redis.Redis):
    """A client that notes its calls."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.calls: list[str] = []

    def get(self, name: Any) -> Any:
        self.calls.append("get")
        return super().get(name)

    def set(self, name: Any, value: Any, **options: Any) -> Any:
        self.calls.append("set")
        return super().set(name, value, **options)


def test_the_second_question_is_answered_from_memory(manager: DataManager, running: Server) -> None:
    client = Counting(port=running.port)
    cache = DataCache(client, manager=manager)
    first = get(cache)
    (key,) = cache._memory._entries
    digest = manager.client.standing(manager.client.query("AAPL", "1d", *MAY)).digest
    assert client.calls == ["get", "set"] and key == f"{KEY}:{digest}" and digest
    assert get(cache).equals(first) and len(first) == 22
    assert client.calls == ["get", "set"]


def test_memory_has_512_mib(manager: DataManager, running: Server) -> None:
    cache = DataCache(running.client(), manager=manager)
    assert cache.max_memory_mb == 512 and cache._memory.most_bytes == 512 << 20


def test_a_vendor_is_queried_last_and_its_answer_is_then_in_every_tier(
    manager: DataManager, database: Database, session: Session, running: Server,
    vendors: VendorServer,
) -> None:  # fmt: skip
    cache = DataCache(running.client(), session, manager=manager)
    assert len(get(cache)) == 22 and vendors.count() > 0
    assert cache.memory_cache_size and running.client().exists(KEY)
    assert len(rows_in(database)) == len(rows_in(database, "data_freshness")) * 22 == 22


def test_a_part_of_a_range_is_answered_without_a_vendor(
    manager: DataManager, session: Session, running: Server, vendors: VendorServer
) -> None:
    cache = DataCache(running.client(), session, manager=manager)
    whole, sent = get(cache), vendors.count()
    assert get(cache, "AAPL", "1d", date(2024, 5, 6), date(2024, 5, 10)).equals(whole[3:8])
    assert vendors.count() == sent


def test_without_a_client_or_session_nothing_is_held(manager: DataManager) -> None:
    cache = DataCache(manager=manager)
    get(cache)
    assert cache.memory_cache_size == 0


def test_memory_drops_the_least_recently_used_frames_and_counts_exactly(
    manager: DataManager, running: Server
) -> None:
    cache = DataCache(running.client(), manager=manager)
    months = [(date(2024, n, 1), date(2024, n, 28)) for n in (2, 3, 4)]
    sizes = [get(cache, "AAPL", "1d", *month).estimated_size() for month in months]
    assert cache.memory_cache_size * (1 << 20) == sum(sizes)
    manager.get_ohlcv("AAPL", "1d", *months[2], force_refresh=True)
    for month in months:
        get(cache, "AAPL", "1d", *month)  # under the new digest; the old ones are the oldest
    assert cache.memory_cache_size * (1 << 20) == 2 * sum(sizes)
    cache._memory.most_bytes = sum(sizes)
    for month in months:
        get(cache, "AAPL", "1d", *month)
    cache._memory.most_bytes = 2 * sum(sizes)
    get(cache, "AAPL", "1d", *months[0])  # used: March is now the oldest
    cache._memory.most_bytes = sum(sizes)
    may = get(cache, "AAPL", "1d", *MAY)
    assert len(may) > 20
    held = dict(cache._memory._entries)
    firsts = [key.split(":")[3] for key in held]
    assert "2024-03-01" not in firsts and {"2024-02-01", "2024-05-01"} <= set(firsts)
    every = [one.frame.estimated_size() for one in held.values()]
    assert cache.memory_cache_size * (1 << 20) == sum(every) <= sum(sizes)


def test_a_caller_cannot_change_what_memory_holds(manager: DataManager, running: Server) -> None:
    cache = DataCache(running.client(), manager=manager)
    first = get(cache)
    first[0, "close"] = -1.0
    second = get(cache)
    second[1, "close"] = -2.0
    second.drop_in_place("open")
    third = get(cache)
    assert third["close"].min() > 0 and third.width == 7


# --- the server --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [redis.Redis, redis.asyncio.Redis])
def test_another_machine_reads_from_the_server_and_keeps_it_in_memory(
    manager: DataManager, other: DataManager, running: Server, vendors: VendorServer, kind: Any
) -> None:
    async def main() -> None:
        mine, theirs = kind(port=running.port), kind(port=running.port)
        first = await DataCache(mine, manager=manager).get_prices("AAPL", "1d", *MAY)
        sent = vendors.count()
        cache = DataCache(theirs, manager=other)
        assert (await cache.get_prices("AAPL", "1d", *MAY)).equals(first)
        running.client().delete(KEY)
        assert (await cache.get_prices("AAPL", "1d", *MAY)).equals(first)
        assert vendors.count() == sent and not list(other.client.series())
        for client in (mine, theirs):
            await client.aclose() if hasattr(client, "aclose") else client.close()

    asyncio.run(main())


def test_a_value_is_parquet_without_pickle_and_lives_an_hour(
    manager: DataManager, running: Server
) -> None:
    frame = get(DataCache(running.client(), manager=manager), "BTCUSDT")
    key = KEY.replace("AAPL", "BTCUSDT")
    value, left_ms = running.client().get(key), running.client().pttl(key)
    assert value.startswith(tiers._MAGIC) and 3_590_000 < left_ms <= 3_600_000
    assert pl.read_parquet(value[value.index(b"PAR1") :]).equals(frame)


def test_no_cached_value_is_used_for_more_than_an_hour_even_with_a_later_expiry(
    manager: DataManager, other: DataManager, running: Server, vendors: VendorServer
) -> None:
    """The clock of the machine that wrote it is a year ahead."""
    frame = get(DataCache(running.client(), manager=manager))
    until_ms = manager.client.clock.now_ms() + 365 * DAY_MS
    running.client().set(KEY, tiers._packed(KEY, Held(frame, until_ms)))
    sent = vendors.count()
    assert get(DataCache(running.client(), manager=other)).equals(frame)
    assert vendors.count() > sent


def test_a_batch_is_read_from_the_server_too(
    manager: DataManager, other: DataManager, running: Server, vendors: VendorServer
) -> None:
    def load(of: DataManager) -> dict[str, dict[str, pl.DataFrame]]:
        loader = SmartDataLoader(DataCache(running.client(), manager=of))
        return asyncio.run(loader.load_strategy_data(["AAPL", "MSFT", "NOPE"], ["1d"], *MAY))

    first = load(manager)
    vendors.clear_log()
    second = load(other)
    assert {entry.path for entry in vendors.log() if "NOPE" not in str(entry)} == set()
    for symbol, frames in first.items():
        assert frames["1d"].equals(second[symbol]["1d"])
    assert len(first["MSFT"]["1d"]) > 22


def test_an_answer_that_a_split_could_follow_is_kept_until_the_next_session(
    manager: DataManager,
    other: DataManager,
    running: Server,
    clock: ManualClock,
    vendors: VendorServer,
) -> None:
    clock.advance(14 * 3600 + 40 * 60)  # 05:40 UTC: New York's next date has begun
    clock.advance(-105 * 60)  # 03:55 UTC, five minutes before it
    get(DataCache(running.client(), manager=manager))
    assert 0 < running.client().pttl(KEY) <= 300_000
    cache, sent = DataCache(running.client(), manager=other), vendors.count()
    get(cache)
    assert vendors.count() == sent
    clock.advance(301)
    get(cache)
    assert vendors.count() > sent, "the server had not dropped it, as its clock went on by less"


def test_incomplete_answers_are_in_no_tier(
    manager: DataManager, running: Server, vendors: VendorServer
) -> None:
    manager.get_ohlcv("AAPL", "1d", MAY[0], date(2024, 5, 10))
    vendors.fault("yahoo", Fault.status(503))
    cache = DataCache(running.client(), manager=manager)
    for _ in range(2):
        with pytest.warns(IncompleteDataWarning):
            assert 0 < len(get(cache)) < 22
    assert not running.client().keys()
    assert cache.memory_cache_size == 0


def test_answers_with_bars_that_are_certainly_wrong_are_in_no_tier(
    manager: DataManager, running: Server
) -> None:
    client, series = manager.client, manager.client.series_of(manager.client.query("AAPL", "1d"))
    manager.get_ohlcv("AAPL", "1d", *MAY)
    day = Span(1_715_299_200_000, 1_715_385_600_000)
    assert client.mark(series, client.outline(series).generation, [(day, "grave: unit")], [])
    cache = DataCache(running.client(), manager=manager)
    for _ in range(2):
        with pytest.warns(IncompleteDataWarning, match="almost certainly wrong"):
            assert len(get(cache)) == 22
    assert client.standing(client.query("AAPL", "1d", *MAY)).digest, "the store answers"
    assert not running.client().keys() and not cache.memory_cache_size


# --- nothing stale -----------------------------------------------------------------------------


def test_a_change_by_another_process_is_seen_by_the_next_question(
    manager: DataManager, running: Server, tmp_path: Path, clock: ManualClock, vendors: VendorServer
) -> None:
    cache = DataCache(running.client(), manager=manager)
    first = get(cache)
    vendors.revise("AAPL", "1d", 1_715_299_200_000, 1.5, clock.now_ms() + 10**9)
    writer = DataManager(tmp_path / "cache", manager.provider_selector.config_path, clock=clock)
    clock.advance(60)
    writer.get_ohlcv("AAPL", "1d", *MAY, force_refresh=True)
    second, closes = get(cache), writer.get_ohlcv("AAPL", "1d", *MAY)["close"].tolist()
    assert second["close"].to_list() == closes != first["close"].to_list()
    assert get(cache).equals(second)
    fresh = DataCache(running.client(), manager=manager)
    assert get(fresh).equals(second), "the server has the new answer"


@pytest.mark.parametrize("is_late", [True, False])
def test_after_a_split_fetched_by_another_process_all_ranges_have_one_price_scale(
    manager: DataManager, other: DataManager, running: Server, tmp_path: Path, clock: ManualClock,
    vendors: VendorServer, is_late: bool,
) -> None:  # fmt: skip
    """A late one is reported after the day's splits have been fetched, by the prices alone."""
    cache, ranges = DataCache(running.client(), manager=manager), ((date(2024, 4, 1), MAY[0]), MAY)
    before = [get(cache, "AAPL", "1d", *range_) for range_ in ranges]
    vendors.truth.act("AAPL", split("2024-06-12" if is_late else "2024-06-13", 2))
    clock.advance(60 if is_late else 86_400)
    writer = DataManager(tmp_path / "cache", manager.provider_selector.config_path, clock=clock)
    start = ranges[0][0] if is_late else date(2024, 6, 3)
    writer.get_ohlcv("AAPL", "1d", start, date(2024, 6, 11), force_refresh=True)
    readers = [cache, DataCache(running.client(), manager=other), cache]
    for reader in readers if not is_late else [cache, cache]:
        for range_, old in zip(ranges, before, strict=True):
            closes = get(reader, "AAPL", "1d", *range_)["close"].to_list()
            assert closes == pytest.approx((old["close"] / 2).to_list(), abs=0.01)


def test_what_the_store_holds_and_doubts_is_not_read_from_the_server(
    manager: DataManager, other: DataManager, running: Server, vendors: VendorServer
) -> None:
    get(DataCache(running.client(), manager=manager))
    other.get_ohlcv("AAPL", "1d", date(2024, 5, 20), date(2024, 5, 22))
    sent = vendors.count()
    get(DataCache(running.client(), manager=other))
    assert vendors.count() > sent


# --- values of others --------------------------------------------------------------------------


POISONED: dict[str, Any] = {
    "another program's": lambda value: b"PAR1 something else",
    "a pickle": lambda value: b"cos\nsystem\n(S'true'\ntR.",
    "empty": lambda value: b"",
    "magic alone": lambda value: tiers._MAGIC,
    "truncated": lambda value: value[:-20],
    "header cut": lambda value: value[: len(tiers._MAGIC) + 30],
    "one bit of the footer": lambda value: value[:-12] + bytes([value[-12] ^ 1]) + value[-11:],
    "one bit of a price": lambda value: value[:200] + bytes([value[200] ^ 1]) + value[201:],
    "another key's": lambda value: tiers._packed("x", Held(empty_prices(Timeframe.parse("1d")), 9)),
    "huge": lambda value: value + bytes(9 << 20),
}


@pytest.mark.parametrize("poison", POISONED)
def test_a_refused_value_is_reported_and_fetched_again(
    manager: DataManager, other: DataManager, running: Server, poison: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    first = get(DataCache(running.client(), manager=manager))
    value = POISONED[poison](running.client().get(KEY))
    running.client().set(KEY, value)
    with caplog.at_level(logging.WARNING, "onetape.v2"):
        assert get(DataCache(running.client(), manager=other)).equals(first)
    assert f"Redis: the value of {KEY} " in caplog.text
    is_replaced = running.client().get(KEY) != value
    assert is_replaced == value.startswith(tiers._MAGIC), "only our own damaged values are replaced"


@pytest.mark.parametrize("kind", [redis.Redis, redis.asyncio.Redis])
def test_a_list_of_another_program_stays_and_the_server_is_used(
    manager: DataManager, running: Server, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    running.client().lpush(KEY, "theirs")

    async def main() -> None:
        cache = DataCache(kind(port=running.port), manager=manager)
        for symbol in ("AAPL", "MSFT"):
            assert len(await cache.get_prices(symbol, "1d", *MAY)) == 22

    asyncio.run(main())
    assert f"the value of {KEY} is not one of this library's" in caplog.text
    assert "not used for the next" not in caplog.text
    assert running.client().lrange(KEY, 0, -1) == [b"theirs"]
    assert running.client().exists(KEY.replace("AAPL", "MSFT"))


def test_a_value_above_the_limit_is_neither_sent_nor_read(
    manager: DataManager, other: DataManager, running: Server, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    first = get(DataCache(running.client(), manager=manager))
    size = len(running.client().get(KEY))
    monkeypatch.setattr(tiers, "_MOST_BYTES", size - 1)
    get(DataCache(running.client(), manager=manager), "AAPL", "1d", date(2024, 1, 2), MAY[1])
    assert running.client().keys() == [KEY.encode()]
    assert get(DataCache(running.client(), manager=other)).equals(first)
    assert f"{KEY} cannot be used: it has {size:,} bytes, more than {size - 1:,}" in caplog.text


def test_a_value_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    manager: DataManager, other: DataManager, running: Server, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A few kilobytes of zeros; in a full run, of 280 MB."""
    if not FULL:
        monkeypatch.setattr(tiers, "_MOST_UNPACKED", 1 << 20)
    first = get(DataCache(running.client(), manager=manager))
    frame = first.clear(5_000_000 if FULL else 20_000)
    frame = frame.with_columns(pl.col(name).fill_null(0) for name in frame.columns[1:])
    value = tiers._packed(KEY, Held(frame, manager.client.clock.now_ms() + HOUR_MS))
    assert len(value) < 200_000
    running.client().set(KEY, value)

    def read(*_: Any) -> pl.DataFrame:
        raise AssertionError("unpacked")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "onetape.v2"):
        patched.setattr(tiers.pl, "read_parquet", read)
        assert get(DataCache(running.client(), manager=other)).equals(first)
    assert f"{KEY} cannot be used: it has" in caplog.text


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"date": [date(2024, 5, 1)], "close": [1.0]}),
        pl.DataFrame({"date": [None], "open": ["1"], "high": [None], "low": [None], "close": [None],
                      "volume": [None], "adj_close": [None]}),
    ],
)  # fmt: skip
def test_a_frame_of_other_columns_is_refused(
    manager: DataManager, other: DataManager, running: Server, frame: pl.DataFrame,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    first = get(DataCache(running.client(), manager=manager))
    running.client().set(
        KEY, tiers._packed(KEY, Held(frame, manager.client.clock.now_ms() + HOUR_MS))
    )
    assert get(DataCache(running.client(), manager=other)).equals(first)
    assert f"in the columns {', '.join(frame.columns)}" in caplog.text


def test_values_are_deleted_for_one_symbol_or_all_and_others_stay(
    manager: DataManager, running: Server
) -> None:
    client = running.client()
    cache = DataCache(client, manager=manager)
    get(cache)
    get(cache, "MSFT")
    client.set("prices:AAPL:other", b"theirs")
    client.rpush("prices:AAPL:list", b"theirs")  # GET is an error for it
    asyncio.run(cache.clear("AAPL"))
    theirs = [b"prices:AAPL:list", b"prices:AAPL:other"]
    assert sorted(client.keys()) == [*theirs, KEY.replace("AAPL", "MSFT").encode()]
    assert [key.split(":")[1] for key in cache._memory._entries] == ["MSFT"]
    asyncio.run(cache.clear())
    assert sorted(client.keys()) == theirs and cache.memory_cache_size == 0


def test_only_four_commands_are_sent(manager: DataManager, running: Server) -> None:
    client = running.client()
    client.config_resetstat()
    cache = DataCache(running.client(), manager=manager)
    get(cache)
    asyncio.run(cache.clear())
    sent = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    assert {"get", "set", "scan", "del"} <= sent
    assert sent - {"get", "set", "scan", "del"} <= {
        "config|resetstat", "client|setinfo", "hello", "info", "command|docs", "select",
        "client|maint_notifications",
    }  # fmt: skip


# --- the database ------------------------------------------------------------------------------


def test_bars_are_copied_to_the_table_with_their_columns(
    manager: DataManager, database: Database, session: Session, clock: ManualClock
) -> None:
    range_ = date(2020, 8, 3), date(2020, 9, 30)  # has a split and a dividend
    frame = get(DataCache(None, session, manager=manager), "AAPL", "1d", *range_)
    rows = sorted(rows_in(database), key=lambda row: str(row["timestamp"]))
    assert len(rows) == len(frame) > 40
    for row, bar in zip(rows, frame.iter_rows(named=True), strict=True):
        assert (row["symbol"], row["timeframe"]) == ("AAPL", "1d")
        assert str(row["timestamp"])[:19] == f"{bar['date']} 00:00:00"
        for name in ("open", "high", "low", "close"):
            assert float(row[name]) == pytest.approx(bar[name], abs=5.1e-5)
            assert len(str(row[name]).partition(".")[2]) == 4
        assert row["volume"] == bar["volume"] and row["data_source"] == "yahoo"
        assert row["is_interpolated"] in (False, 0) and float(row["quality_score"]) == 1.0
        assert str(row["created_at"])[:16] == "2024-06-12 15:00"
    assert {float(row["split_factor"]) for row in rows} == {1.0, 4.0}
    assert any(float(row["dividend"]) > 0 for row in rows)
    (fresh,) = rows_in(database, "data_freshness")
    assert (fresh["symbol"], fresh["timeframe"], fresh["data_source"]) == ("AAPL", "1d", "yahoo")
    assert fresh["record_count"] == len(rows)
    assert str(fresh["last_timestamp"])[:10] == "2020-09-30"
    assert str(fresh["last_update"])[:16] == "2024-06-12 15:00"


def test_each_copy_has_the_vendor_and_score_of_its_own_bars(
    manager: DataManager, database: Database, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_ohlcv = manager.get_ohlcv

    def scored(symbol: str, *question: Any, **options: Any) -> pd.DataFrame:
        """Return bars of which those of coins have a lower score, and the last three another vendor."""
        frame = get_ohlcv(symbol, *question, **options)
        if symbol == "BTCUSDT" and "source" in frame:
            frame["source"] = [*frame["source"][:-3], "kraken", "kraken", "kraken"]
            facts = frame.attrs["onetape"]
            frame.attrs["onetape"] = facts | {"quality": facts["quality"] | {"score": 0.875}}
        return frame

    monkeypatch.setattr(manager, "get_ohlcv", scored)
    cache = DataCache(None, session, manager=manager)
    get(cache)
    get(cache, "BTCUSDT", "1d", MAY[0], date(2024, 5, 10))
    found = Counter(
        (row["symbol"], row["data_source"], float(row["quality_score"]))
        for row in rows_in(database)
    )
    assert found == {
        ("AAPL", "yahoo", 1.0): 22, ("BTCUSDT", "binance", 0.875): 7, ("BTCUSDT", "kraken", 0.875): 3,
    }  # fmt: skip
    assert {str(row["timestamp"])[:10] for row in rows_in(database) if row["data_source"] == "kraken"} == {
        "2024-05-08", "2024-05-09", "2024-05-10",
    }  # fmt: skip
    fresh = {
        (row["symbol"], row["data_source"], row["record_count"], str(row["last_timestamp"])[:10])
        for row in rows_in(database, "data_freshness")
    }
    assert fresh == {
        ("AAPL", "yahoo", 22, "2024-05-31"), ("BTCUSDT", "kraken", 10, "2024-05-10"),
    }  # fmt: skip


def test_freshness_is_that_of_all_copies_of_a_series(
    manager: DataManager, database: Database, session: Session, clock: ManualClock
) -> None:
    cache = DataCache(None, session, manager=manager)
    get(cache)
    clock.advance(60)
    get(cache, "AAPL", "1d", date(2024, 4, 1), date(2024, 4, 30))
    (fresh,) = rows_in(database, "data_freshness")
    assert fresh["record_count"] == len(rows_in(database)) == 44
    assert str(fresh["last_timestamp"])[:10] == "2024-05-31", "the newest bar, not the newest copy"
    assert str(fresh["last_update"])[:19] == "2024-06-12 15:01:30"


def test_another_machine_reads_from_the_database_and_fills_server_and_memory(
    manager: DataManager, other: DataManager, database: Database, session: Session,
    running: Server, vendors: VendorServer, clock: ManualClock,
) -> None:  # fmt: skip
    """Bars that were copied half an hour ago are used for another half hour."""
    first = get(DataCache(None, session, manager=manager))
    sent = vendors.count()
    clock.advance(1800)
    cache = DataCache(running.client(), session, manager=other)
    second = get(cache)
    assert second.schema == first.schema and second["date"].equals(first["date"])
    assert (second["close"] - first["close"]).abs().max() <= 5.1e-5
    assert 1_790_000 < running.client().pttl(KEY) <= 1_800_000
    with database.writing() as own:
        own.execute(
            text(f"DELETE FROM {'' if database.dialect == 'sqlite' else 'backtester.'}prices_v2")
        )
    assert get(cache).equals(second), "from memory"
    assert get(DataCache(running.client(), session, manager=other)).equals(second), "the server"
    assert vendors.count() == sent


def test_digits_lost_in_the_database_are_read_only_where_the_store_has_nothing(
    manager: DataManager, other: DataManager, session: Session, running: Server
) -> None:
    exact = get(DataCache(None, session, manager=manager), "BTCUSDT")
    lossy = get(DataCache(running.client(), session, manager=other), "BTCUSDT")
    assert not lossy["volume"].equals(exact["volume"])
    assert lossy["adj_close"].equals(lossy["close"].alias("adj_close"))
    assert get(DataCache(running.client(), session, manager=manager), "BTCUSDT").equals(exact)
    assert get(DataCache(None, session, manager=manager), "BTCUSDT").equals(exact)


def test_copies_of_coins_have_an_adjusted_close(
    manager: DataManager, other: DataManager, database: Database, session: Session
) -> None:
    get(DataCache(None, session, manager=manager), "BTCUSDT")
    assert all(float(row["adj_close"]) == float(row["close"]) for row in rows_in(database))
    table = "prices_v2" if database.dialect == "sqlite" else "backtester.prices_v2"
    with database.writing() as own:
        own.execute(text(f"UPDATE {table} SET volume = 77"))
    copied = get(DataCache(None, session, manager=other), "BTCUSDT")
    assert copied["volume"].unique().to_list() == [77]
    assert copied["adj_close"].to_list() == copied["close"].to_list() and len(copied) == 31


def test_get_ohlcv_never_reads_the_table(
    manager: DataManager, other: DataManager, session: Session, vendors: VendorServer
) -> None:
    get(DataCache(None, session, manager=manager))
    sent = vendors.count()
    other.get_ohlcv("AAPL", "1d", *MAY)
    assert vendors.count() > sent


LOSSES = {
    "one bar": "DELETE FROM {} WHERE timestamp = '2024-05-08 00:00:00{}'",
    "created yesterday": "UPDATE {} SET created_at = '2024-06-11 15:00:00{}'",
    "a price of zero": "UPDATE {} SET low = '0', open = '0' WHERE timestamp = '2024-05-08 00:00:00{}'",
    "a bar twice as high": "UPDATE {} SET low = '999' WHERE timestamp = '2024-05-08 00:00:00{}'",
}


def test_copies_that_are_not_all_there_or_right_are_not_read(
    manager: DataManager, other: DataManager, database: Database, session: Session,
    vendors: VendorServer,
) -> None:  # fmt: skip
    first = get(DataCache(None, session, manager=manager))
    place = "" if database.dialect == "sqlite" else "backtester."
    zone = ".000000" if place == "" else "+00"
    for lost, change in LOSSES.items():  # each answer replaces the copies
        with database.writing() as own:
            done = own.execute(text(change.format(f"{place}prices_v2", zone)))
            assert done.rowcount  # type: ignore[attr-defined]
        sent = vendors.count()
        assert get(DataCache(None, session, manager=other)).equals(first), lost
        assert vendors.count() > sent, lost
        assert len(rows_in(database)) == 22
        other.clear_cache(everything=True)


def test_bars_that_four_digits_cannot_hold_are_not_copied(manager: DataManager) -> None:
    def count(frame: pd.DataFrame, **columns: Any) -> int:
        frame = frame.assign(**columns)
        shaped = prices_frame(frame, Timeframe.parse("1d"), is_share="split" in frame)
        return len(tiers.rows_of(frame, shaped))

    frame = manager.get_ohlcv("BTCUSDT", "1d", *MAY, columns=("source",))
    assert count(frame) == 31
    for factor in (1e-8, 1e4):
        assert not count(frame, **{n: frame[n] * factor for n in ("open", "high", "low", "close")})
    assert not count(frame, volume=float("nan")) and not count(frame.drop(columns="volume"))
    assert count(frame, split=0.0, dividend=8_000.0) == 31
    assert not count(frame, split=0.0, dividend=12_000.0)  # of a share in won
    assert not count(frame, split=10_000.0, dividend=0.0)


def test_bars_that_may_still_change_are_not_copied(
    manager: DataManager, database: Database, session: Session, clock: ManualClock
) -> None:
    clock.advance(1820)  # a bar has closed 50 s ago
    cache = DataCache(None, session, manager=manager)
    assert len(get(cache, "AAPL", "1h", date(2024, 6, 10), date(2024, 6, 12)))
    assert cache.memory_cache_size and not rows_in(database)


def test_a_revised_range_replaces_the_copies(
    manager: DataManager, database: Database, session: Session, clock: ManualClock,
    vendors: VendorServer,
) -> None:  # fmt: skip
    cache = DataCache(None, session, manager=manager)
    first = get(cache)
    vendors.revise("AAPL", "1d", 1_715_299_200_000, 1.08, clock.now_ms() + 10**9)
    clock.advance(60)
    manager.get_ohlcv("AAPL", "1d", *MAY, force_refresh=True)
    second = get(cache)
    assert not second.equals(first)
    highest = max(float(row["close"]) for row in rows_in(database))
    assert highest == pytest.approx(second["close"].max(), abs=5.1e-5)
    assert len(rows_in(database)) == 22
