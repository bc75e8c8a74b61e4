"""Frames with only the columns and rows that are needed: from the store, or from the table."""

from __future__ import annotations

import asyncio
import errno
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.ext.asyncio.session import AsyncSession
from sqlalchemy.orm import Session

from src.data.core.disk.files import DiskStep
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning, QueryError
from src.data.research.loading.columnar import ColumnarDataLoader
from tests.vendor_server import Fault, VendorServer

WEEK = date(2024, 6, 3), date(2024, 6, 7)


def load(loader: ColumnarDataLoader, *question: Any) -> pl.DataFrame:
    """Return what a loader loads."""
    return asyncio.run(loader.load_minimal_data(*question))


@pytest.fixture
def session(tmp_path: Path) -> Any:
    """Yield a session of a file with the table as the migration makes it, and three bars."""
    engine = create_engine(f"sqlite:///{tmp_path / 'prices.db'}")
    with Session(engine) as session:
        session.execute(
            text(
                "CREATE TABLE prices_v2 (symbol TEXT, timeframe TEXT, timestamp DATETIME, open TEXT,"
                " high TEXT, low TEXT, close TEXT, volume BIGINT, adj_close TEXT)"
            )
        )
        for day, symbol, label in ((4, "A", "1d"), (3, "A", "1d"), (7, "A", "1d"), (3, "B", "1d"),
                                   (3, "A", "1h"), (8, "A", "1d")):  # fmt: skip
            session.execute(
                text("INSERT INTO prices_v2 VALUES (:s, :l, :t, '1.5', '2.0', '1.0', :c, 7, NULL)"),
                {"s": symbol, "l": label, "t": f"2024-06-0{day} 00:00:00.000000", "c": f"{day}.25"},
            )
        session.commit()
        yield session
    engine.dispose()


def test_only_the_columns_named_are_selected_and_typed(session: Session) -> None:
    asked: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *a: asked.append(a[2]))
    frame = load(ColumnarDataLoader(session), "A", "1d", *WEEK, ["close", "volume", "close"])
    assert frame.to_dict(as_series=False) == {"close": [3.25, 4.25, 7.25], "volume": [7, 7, 7]}
    assert frame.schema == {"close": pl.Float64, "volume": pl.Int64}
    (statement,) = asked
    assert "adj_close" not in statement and "high" not in statement


def test_dates_are_those_of_the_timestamps(session: Session, manager: DataManager) -> None:
    for loader, symbol in (
        (ColumnarDataLoader(session), "A"),
        (ColumnarDataLoader(manager=manager), "AAPL"),
    ):
        frame = load(loader, symbol, "1d", *WEEK, ["date", "close", "timestamp"])
        assert frame.schema == {
            "date": pl.Date, "close": pl.Float64, "timestamp": pl.Datetime("us")
        }  # fmt: skip
        assert frame["date"][0] == date(2024, 6, 3)
        assert frame["timestamp"][0] == datetime(2024, 6, 3)


def test_without_bars_the_frame_has_its_columns_and_no_rows(
    session: Session, manager: DataManager
) -> None:
    long_ago = date(2001, 1, 6), date(2001, 1, 7)
    for loader, symbol in (
        (ColumnarDataLoader(session), "A"),
        (ColumnarDataLoader(manager=manager), "AAPL"),
    ):
        frame = load(loader, symbol, "1d", *long_ago, ["date", "low"])
        assert frame.schema == {"date": pl.Date, "low": pl.Float64} and not len(frame)


@pytest.mark.parametrize(
    "columns",
    [["close; DROP TABLE prices_v2"], ["close", "data_source"], "close", [], [5], None],
    ids=str,
)
def test_an_invalid_column_is_refused_before_any_read(
    columns: Any, session: Session, manager: DataManager, vendors: VendorServer
) -> None:
    asked: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *a: asked.append(a[2]))
    for loader in (ColumnarDataLoader(session), ColumnarDataLoader(manager=manager)):
        with pytest.raises(QueryError, match="column"):
            load(loader, "A", "1d", *WEEK, columns)
    assert not asked and not vendors.count()


def test_symbols_are_values_and_never_statements(session: Session) -> None:
    frame = load(ColumnarDataLoader(session), "A' OR '1'='1", "1d", *WEEK, ["close"])
    assert not len(frame)


def test_an_asynchronous_session_is_read_as_well(session: Session, tmp_path: Path) -> None:
    pytest.importorskip("aiosqlite")

    async def body() -> pl.DataFrame:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'prices.db'}")
        async with AsyncSession(engine) as own:
            frame = await ColumnarDataLoader(own).load_minimal_data("A", "1d", *WEEK, ["low"])
        await engine.dispose()
        return frame

    assert asyncio.run(body())["low"].to_list() == [1.0] * 3


def test_a_session_and_a_manager_are_one_too_many(session: Session, manager: DataManager) -> None:
    with pytest.raises(QueryError, match="pass only one"):
        ColumnarDataLoader(session, manager=manager)
    with pytest.raises(QueryError, match="manager is a str"):
        ColumnarDataLoader(manager="x")  # type: ignore[arg-type]


@pytest.mark.parametrize(("symbol", "timeframe"), [("AAPL", "1d"), ("BTCUSDT", "1h")])
def test_the_columns_of_the_store_are_those_of_get_ohlcv(
    symbol: str, timeframe: str, manager: DataManager, vendors: VendorServer
) -> None:
    names = ["adj_close", "open", "volume"]
    frame = load(ColumnarDataLoader(manager=manager), symbol, timeframe, *WEEK, names)
    sent = vendors.count()
    bars = manager.get_ohlcv(symbol, timeframe, *WEEK)
    assert frame.columns == names and sent and vendors.count() == sent
    adjusted = bars["adj_close"] if "adj_close" in bars else bars["close"]
    assert frame["adj_close"].to_list() == adjusted.tolist()
    assert frame["open"].to_list() == bars["open"].tolist()
    assert frame["volume"].to_list() == bars["volume"].tolist()
    assert (frame.schema["volume"] == pl.Int64) == (symbol == "AAPL")


@pytest.mark.parametrize("symbol", ["AAPL", "BTCUSDT"])
def test_bars_that_cannot_be_fetched_are_reported(
    symbol: str, manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_ohlcv(symbol, "1d", *WEEK)
    for vendor in ("yahoo", "binance"):
        vendors.fault(vendor, Fault.status(401))
    loader = ColumnarDataLoader(manager=manager)
    with pytest.warns(IncompleteDataWarning, match="1 gap, .*2024-06-12") as warned:
        frame = load(loader, symbol, "1d", WEEK[0], date(2024, 6, 11), ["close"])
    assert len(frame) == 5
    assert len([one for one in warned if one.category is IncompleteDataWarning]) == 1


def test_bars_that_cannot_be_stored_are_returned(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.get_ohlcv("BTCUSDT", "1d", date(2024, 6, 3), date(2024, 6, 4))
    disk = manager.cache.store.parts.disk
    perform = disk.perform

    def failing(step: DiskStep, call: Any) -> Any:
        if step.name in ("create", "write", "replace", "link", "mkdir", "open_append"):
            raise OSError(errno.ENOSPC, "no space left")
        return perform(step, call)

    monkeypatch.setattr(disk, "perform", failing)
    for symbol in ("BTCUSDT", "AAPL"):
        bars = manager.get_ohlcv(symbol, "1d", *WEEK)
        columns = ["timestamp", "close"]
        frame = load(ColumnarDataLoader(manager=manager), symbol, "1d", *WEEK, columns)
        assert frame["close"].to_list() == bars["close"].tolist() and len(frame) == 5
        assert frame.schema == {"timestamp": pl.Datetime("us"), "close": pl.Float64}
