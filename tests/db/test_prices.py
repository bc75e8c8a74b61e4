"""The tables of copied bars: their columns, defaults, keys and index, and their chunks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from sqlalchemy import inspect, select, text

from src.data.db.core.base import SCHEMA
from src.data.db.core.database import Database
from src.data.db.core.types import RoundedDecimal
from src.data.db.prices import DataFreshness, copied_prices, copy_prices
from src.data.errors import DatabaseError
from tests.db.conftest import execute

REVISION = import_module("src.data.db.migrations.versions.0001_tables")
# Name: (type on PostgreSQL, whether NULL is allowed)
PRICES = {
    "symbol": ("TEXT", False), "timestamp": ("TIMESTAMP", False), "timeframe": ("TEXT", False),
    "open": ("NUMERIC(12, 4)", False), "high": ("NUMERIC(12, 4)", False),
    "low": ("NUMERIC(12, 4)", False), "close": ("NUMERIC(12, 4)", False),
    "volume": ("BIGINT", False), "adj_close": ("NUMERIC(12, 4)", True),
    "split_factor": ("NUMERIC(8, 4)", True), "dividend": ("NUMERIC(8, 4)", True),
    "data_source": ("TEXT", False), "quality_score": ("NUMERIC(4, 3)", True),
    "is_interpolated": ("BOOLEAN", True), "created_at": ("TIMESTAMP", True),
}  # fmt: skip
FRESHNESS = {
    "symbol": ("TEXT", False), "timeframe": ("TEXT", False), "last_update": ("TIMESTAMP", False),
    "last_timestamp": ("TIMESTAMP", False), "data_source": ("TEXT", False),
    "record_count": ("BIGINT", False),
}  # fmt: skip


def schema_of(database: Database) -> str | None:
    return None if database.dialect == "sqlite" else SCHEMA


@pytest.mark.parametrize(
    ("name", "columns", "key"),
    [
        ("prices_v2", PRICES, ["symbol", "timeframe", "timestamp"]),
        ("data_freshness", FRESHNESS, ["symbol", "timeframe"]),
    ],
)
def test_the_tables_have_the_documented_columns_and_keys(
    database: Database, name: str, columns: dict[str, Any], key: list[str]
) -> None:
    found = inspect(database.engine)
    own = {one["name"]: one for one in found.get_columns(name, schema_of(database))}
    assert list(own) == list(columns)
    assert {n: one["nullable"] for n, one in own.items()} == {n: c[1] for n, c in columns.items()}
    if database.dialect == "postgresql":
        assert {n: str(one["type"]) for n, one in own.items()} == {
            n: c[0] for n, c in columns.items()
        }
        times = [one["type"] for one in own.values() if str(one["type"]) == "TIMESTAMP"]
        assert times and all(one.timezone for one in times)
    assert found.get_pk_constraint(name, schema_of(database))["constrained_columns"] == key


def test_omitted_price_columns_have_their_documented_defaults(database: Database) -> None:
    place = "" if database.dialect == "sqlite" else f"{SCHEMA}."
    with database.writing() as session:
        session.execute(
            text(
                f"INSERT INTO {place}prices_v2 (symbol, timestamp, timeframe, open, high, low, close, "
                "volume, data_source) VALUES ('A', '2024-05-01', '1d', 1, 1, 1, 1, 1, 'fmp')"
            )
        )
        row = session.execute(text(f"SELECT * FROM {place}prices_v2")).mappings().one()
        assert float(row["split_factor"]) == float(row["quality_score"]) == 1.0
        assert float(row["dividend"]) == 0.0 and not row["is_interpolated"]
        assert str(row["created_at"]) > "2024" and row["adj_close"] is None


def test_a_bar_is_there_once(database: Database) -> None:
    place = "" if database.dialect == "sqlite" else f"{SCHEMA}."
    insert = text(
        f"INSERT INTO {place}prices_v2 (symbol, timestamp, timeframe, open, high, low, close, volume, "
        "data_source) VALUES ('A', '2024-05-01', '1d', 1, 1, 1, 1, 1, 'fmp')"
    )
    with database.writing() as session:
        session.execute(insert)
    with pytest.raises(DatabaseError, match="rejected a row"), database.writing() as session:
        session.execute(insert)


def test_bars_that_a_series_no_longer_has_are_removed_and_not_counted(database: Database) -> None:
    days = [datetime(2024, 5, day, tzinfo=UTC) for day in (1, 2, 3, 6)]

    def copy(symbol: str, vendor: str, at: datetime, *stamps: datetime) -> None:
        prices = dict.fromkeys(("open", "high", "low", "close"), 1.0) | {"volume": 1}
        rows = [prices | {"timestamp": stamp, "data_source": vendor} for stamp in stamps]
        with database.writing() as session:
            copy_prices(session, symbol, "1d", days[0], days[2], rows, at)

    for symbol, vendor in (("A", "yahoo"), ("B", "fmp")):
        copy(symbol, vendor, days[3], *days[:3])
    copy("A", "tiingo", days[3] + timedelta(hours=1), days[0], days[1])
    with database.reading() as session:
        left = {
            symbol: [
                row.timestamp for row in copied_prices(session, symbol, "1d", days[0], days[3])
            ]
            for symbol in "AB"
        }
        fresh = {
            row.symbol: (row.data_source, row.record_count, row.last_timestamp)
            for row in session.scalars(select(DataFreshness))
        }
    assert left == {"A": days[:2], "B": days[:3]}
    assert fresh == {"A": ("tiingo", 2, days[1]), "B": ("fmp", 3, days[2])}


def test_a_write_to_one_timeframe_leaves_the_others_of_its_symbol(database: Database) -> None:
    hours = [datetime(2024, 5, 2, hour, tzinfo=UTC) for hour in (1, 2, 3)]
    days = [datetime(2024, 5, day, tzinfo=UTC) for day in (1, 2)]
    price = dict.fromkeys(("open", "high", "low", "close"), 1.0) | {"volume": 1}
    for timeframe, stamps, day in (("1h", hours, 6), ("1d", days, 7), ("1d", days[:1], 8)):
        rows = [price | {"timestamp": stamp, "data_source": timeframe} for stamp in stamps]
        at = datetime(2024, 5, day, tzinfo=UTC)
        with database.writing() as session:
            copy_prices(session, "A", timeframe, days[0], hours[-1], rows, at)
    with database.reading() as session:
        left = {
            timeframe: [
                row.timestamp for row in copied_prices(session, "A", timeframe, days[0], hours[-1])
            ]
            for timeframe in ("1h", "1d")
        }
        fresh = {
            row.timeframe: (row.data_source, row.record_count, row.last_timestamp)
            for row in session.scalars(select(DataFreshness))
        }
    assert left == {"1h": hours, "1d": days[:1]}
    assert fresh == {"1h": ("1h", 3, hours[-1]), "1d": ("1d", 1, days[0])}


def test_bars_are_found_by_series_newest_first(database: Database) -> None:
    (index,) = inspect(database.engine).get_indexes("prices_v2", schema_of(database))
    assert index["name"] == "ix_prices_v2_symbol_timeframe_timestamp" and not index["unique"]
    sql = (
        "SELECT sql FROM sqlite_master WHERE name = :name"
        if database.dialect == "sqlite"
        else "SELECT indexdef FROM pg_indexes WHERE indexname = :name"
    )
    with database.reading() as session:
        made = session.scalar(text(sql), {"name": index["name"]})
    assert (
        made is not None and made.endswith('(symbol, timeframe, "timestamp" DESC)'.replace('"', ""))
    ) or (made is not None and made.endswith('(symbol, timeframe, "timestamp" DESC)'))


def test_numbers_that_do_not_fit_are_refused_and_others_rounded(database: Database) -> None:
    kind = RoundedDecimal(12, 4)
    dialect = database.engine.dialect
    assert str(kind.process_bind_param(0.00005, dialect)) == "0.0000"
    assert str(kind.process_bind_param(99999998.00005, dialect)) == "99999998.0000"
    assert str(kind.process_bind_param(-2.5, dialect)) == "-2.5000"
    assert kind.process_bind_param(None, dialect) is None
    for wrong in (1e8, -1e8, float("nan"), float("inf")):
        with pytest.raises(DatabaseError, match=r"DECIMAL\(12, 4\)"):
            kind.process_bind_param(wrong, dialect)


# --- TimescaleDB -------------------------------------------------------------------------------


def test_chunks_are_those_of_the_documents() -> None:
    assert REVISION.chunked("backtester.prices_v2") == [
        "SELECT create_hypertable('backtester.prices_v2', 'timestamp', create_default_indexes => FALSE)",
        "SELECT add_dimension('backtester.prices_v2', 'symbol', number_partitions => 8)",
        (
            "ALTER TABLE backtester.prices_v2 SET (timescaledb.compress, "
            "timescaledb.compress_segmentby = 'symbol,timeframe', "
            "timescaledb.compress_orderby = 'timestamp DESC')"
        ),
        "SELECT add_compression_policy('backtester.prices_v2', INTERVAL '7 days')",
    ]


_STANDS_IN = """
SET allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT 99999, 'timescaledb', 10, oid, false, '2.0' FROM pg_namespace WHERE nspname = 'public';
CREATE FUNCTION create_hypertable(regclass, name, create_default_indexes boolean) RETURNS text
LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'made %', $1; RETURN ''; END $$;
CREATE FUNCTION add_dimension(regclass, name, number_partitions integer) RETURNS text
LANGUAGE plpgsql AS $$ BEGIN ASSERT $3 = 8; RETURN ''; END $$;
"""


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_with_timescaledb_the_statements_are_run(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No server here has the extension: its row and functions stand in, up to its own options."""
    execute(database_url, _STANDS_IN)
    database = Database(database_url)
    with pytest.raises(DatabaseError, match='unrecognized parameter namespace "timescaledb"'):
        database.schema.init()
    database.close()
    assert "TimescaleDB is not installed" not in caplog.text


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_without_timescaledb_one_log_record_says_so(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        database = Database(database_url)
        database.schema.prepare()
        database.close()
    assert caplog.text.count("TimescaleDB is not installed") == 1
