"""SQL over stored series and bundles: equal to other answers, and kept away from everything else."""

from __future__ import annotations

import json
import mmap
import resource
import subprocess
import sys
from datetime import date
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

from src.data.bundles import scan
from src.data.cli import main
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.data_manager import DataManager
from src.data.errors import BundleNotFoundError, CacheError, DataError, QueryError
from src.data.polars import scan_series
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.bundles import sql
from src.data.research.bundles.bundle import Bundle
from src.data.research.bundles.sql import query
from tests.contract.source import ROOT
from tests.core.cache.crash import Quick
from tests.research.bundles.bars import days
from tests.research.portal.portal_stage import COIN, manager_on, put, table

FIRST = parse_iso("2024-01-01")
STAMPS = [FIRST + n * DAY_MS for n in range(60)]


@pytest.fixture
def manager(tmp_path: Path) -> DataManager:
    """Return a manager with days of two coins, one of which is also in the bundle ``coins``."""
    manager = manager_on(tmp_path)
    for place, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        put(manager, symbol, "1d", table(STAMPS, place), kind=COIN)
    bundle = Bundle("coins", tmp_path / "bundles")
    bundle.create(manager, ["BTCUSDT"], "1d", "2024-01-01", "2024-02-29", offline=True)
    return manager


def test_series_and_bundles_are_joined_in_one_statement(
    manager: DataManager, tmp_path: Path
) -> None:
    """S001-107."""
    frame = query(
        "SELECT b.symbol, s.timestamp, s.close, b.close = a.close AS same FROM bars('ETHUSDT', '1d') s "
        "JOIN bundle('coins') b ON b.date = s.timestamp JOIN Bars ( 'BTCUSDT' , '1d' ) a "
        "USING (timestamp) WHERE s.timestamp >= DATE '2024-02-01' ORDER BY s.timestamp",
        manager=manager,
        folder=tmp_path / "bundles",
    )
    stored = scan_series("ETHUSDT", "1d", manager=manager).collect()
    stored = stored.filter(pl.col("timestamp") >= date(2024, 2, 1))
    assert frame["close"].to_list() == stored["close"].to_list() and len(frame) == 29
    assert [at.to_pydatetime() for at in frame["timestamp"]] == stored["timestamp"].to_list()
    assert set(frame["symbol"]) == {"BTCUSDT"} and frame["same"].all()


def test_prices_in_a_bundle_are_exact(tmp_path: Path) -> None:
    """S001-107."""
    rows = days(date(2022, 12, 1), 130, [1, 2, 3])
    names = {1: "AAPL", 2: "O'X", 3: "X"}
    rows = rows.with_columns(pl.col("sid").replace_strict(names).alias("symbol")).drop("sid")
    ParquetWriter(tmp_path / "mine", disk=Quick()).write(rows, "daily")
    frame = query(
        "SELECT symbol, sum(close)::VARCHAR AS sum, count(*) AS n FROM bundle('mine') "
        "WHERE symbol != 'X' GROUP BY symbol ORDER BY symbol",
        manager=manager_on(tmp_path),
        folder=tmp_path,
    )
    sums = scan("mine", ["AAPL", "O'X"], folder=tmp_path).group_by("symbol")
    expected = sums.agg(pl.col("close").sum(), pl.len()).sort("symbol").collect()
    assert frame.to_numpy().tolist() == [
        [name, str(total), n] for name, total, n in expected.rows()
    ]


HOSTILE = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_text('{folder}/secret')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM read_parquet('https://example.com/a.parquet')",
    "SELECT * FROM read_parquet('{folder}/other.parquet'), bundle('coins')",
    "SELECT * FROM statement",  # a variable of the function
    "ATTACH '{folder}/new.db'",
    "ATTACH ':memory:' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "COPY (SELECT 1) TO '{folder}/new.csv'",
    "COPY (SELECT 1 AS a) TO '{bundle}' (FORMAT parquet, USE_TMP_FILE false)",
    "EXPORT DATABASE '{folder}/new'",
    "CREATE TABLE a AS SELECT 1",
    "SET memory_limit = '100GB'",
    "RESET lock_configuration",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{folder}/new.csv'",
    "",
    "-- nothing",
]


@pytest.mark.parametrize("statement", HOSTILE)
def test_a_statement_cannot_leave_its_tables(
    manager: DataManager, tmp_path: Path, statement: str
) -> None:
    """S001-107."""
    folder = tmp_path / "bundles"
    (tmp_path / "secret").write_text("secret")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")
    bundle = folder / "coins/daily_bars/year=2024/month=01/data.parquet"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(QueryError):
        query(statement.format(folder=tmp_path, bundle=bundle), manager=manager, folder=folder)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "statement",
    [one for one in HOSTILE if one.startswith(("ATTACH '{", "COPY", "INST", "LOAD", "SET"))],
)  # fmt: skip
def test_the_settings_alone_refuse_what_is_not_a_selection(tmp_path: Path, statement: str) -> None:
    """S001-107: the check of the kind of statement is not the only one."""
    connection = sql.duckdb.connect(":memory:", config=sql._CONFIG)
    connection.execute(sql._LOCKS).fetchall()
    with pytest.raises(sql.duckdb.Error, match=r"(Permission|Invalid Input) Error"):
        connection.execute(statement.format(folder=tmp_path, bundle=tmp_path / "b"))


def test_errors_name_what_is_near_or_have_the_first_line_of_duckdb(
    manager: DataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S001-107."""
    wrong: list[tuple[object, type[DataError], str]] = [
        (
            "SELECT * FROM bars('BTCUSD', '1d')",
            CacheError,
            r"BTCUSD 1d .nearest: bars\('BTCUSDT', '1d'\)",
        ),
        ("SELECT * FROM bars('BTCUSDT', '7q')", QueryError, "7q"),
        ("SELECT * FROM bundle('coin')", BundleNotFoundError, "coin .* .nearest: coins"),
        ("SELECT * FROM bundle('coins', 'minute')", BundleNotFoundError, "no minute_bars"),
        ("SELECT * FROM bundle('../coins')", QueryError, "invalid bundle name"),
        ("SELECT * FROM bundle('coins', 'day', 'demo')", QueryError, "a name and a frequency"),
        ("SELECT * FROM bars('AAPL', '1d', 'demo')", CacheError, "cached for AAPL 1d@demo"),
        ("SELECT * FROM bars('AAPL', '1d', 'dem')", DataError, "unknown provider 'dem'"),
        ("SELECT a FROM bundle('coins')", QueryError, '"a" not found in FROM clause!$'),
        ("SELECT * FROM bars(x, '1d')", QueryError, "DuckDB: Catalog Error"),
        ("SELEC 1", QueryError, 'Parser Error: syntax error at or near "SELEC"$'),
        ("SELECT * FROM range(11)", QueryError, "more than 10 rows"),
        (5, QueryError, "must be a text"),
    ]
    monkeypatch.setattr(sql, "_MOST_ROWS", 10)
    for statement, error, message in wrong:
        with pytest.raises(error, match=message):
            query(statement, manager=manager, folder=tmp_path / "bundles")  # type: ignore[arg-type]


def test_sample_bars_are_named_by_their_vendor(manager: DataManager) -> None:
    """S001-107."""
    asked = manager.get_ohlcv("AAPL", "1d", "2010-01-04", "2010-02-01", provider="demo")
    with pytest.raises(CacheError, match=r"AAPL 1d .nearest: bars\('AAPL', '1d', 'demo'\)"):
        query("SELECT * FROM bars('AAPL', '1d')", manager=manager)
    frame = query("SELECT close FROM bars('AAPL', '1d', 'demo')", manager=manager)
    assert frame["close"].to_list() == asked["close"].to_list()


def test_memory_is_bounded(manager: DataManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """S001-107."""
    assert query("SELECT current_setting('memory_limit')", manager=manager).iat[0, 0] == "953.6 MiB"
    monkeypatch.setitem(sql._CONFIG, "memory_limit", "20MB")
    with pytest.raises(QueryError, match="Out of Memory"):
        query("SELECT count(*) FROM (SELECT DISTINCT range, hash(range) FROM range(9000000))",
              manager=manager)  # fmt: skip


def test_the_command_prints_rows_as_text_and_json(
    manager: DataManager, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """S001-107."""
    columns = "symbol, date, close, NULL AS none"
    statement = f"SELECT {columns} FROM bundle('coins') ORDER BY symbol, date LIMIT 2"
    options = ["--bundles", str(tmp_path / "bundles"), "--cache-dir", str(tmp_path / "cache")]
    assert main(["sql", statement, *options, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["date"] for row in rows] == ["2024-01-01 00:00:00", "2024-01-02 00:00:00"]
    close = scan("coins", folder=tmp_path / "bundles").collect()["close"][0]
    assert rows[0] == rows[0] | {"symbol": "BTCUSDT", "close": float(close), "none": None}
    assert main(["sql", statement, *options]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[:2] == ["BTCUSDT", "2024-01-01"]
    assert main(["sql", "SELECT * FROM bars('ETHUSD', '1d')", *options]) == 1
    assert "nearest: bars('ETHUSDT', '1d')" in capsys.readouterr().err


def test_the_command_runs_in_a_process_that_has_reserved_much_memory(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As idle threads do by their stacks: the limit is about what the statement needs besides."""
    monkeypatch.setattr("src.data.cli.sql._MOST_BYTES", 1_000_000_000)
    with mmap.mmap(-1, 1_500_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
        words = ["sql", "SELECT 1 AS one", "--cache-dir", str(manager.cache.cache_dir)]
        assert main(words) == 0


def test_a_statement_that_runs_too_long_is_stopped(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "_LONGEST_S", 0.05, raising=False)
    endless = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE (a.range ^ b.range) = 3"
    with pytest.raises(QueryError, match=r"the statement ran for 0\.05 seconds"):
        query(endless, manager=manager)
    assert query("SELECT 1 AS n", manager=manager).equals(query("SELECT 1 AS n", manager=manager))


def test_a_result_that_is_too_large_is_refused_before_it_is_in_memory(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "_MOST_BYTES", 10_000_000)
    wide = "SELECT repeat('x', 6000) AS text FROM range(1000000)"  # 6 GB of text
    peak = high_water()
    with pytest.raises(QueryError, match=r"more than 10,000,000 bytes \(select fewer"):
        query(wide, manager=manager)
    assert high_water() - peak < 500_000  # kB


def high_water() -> int:
    """Return the largest memory of this process so far, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_parts_of_a_result_make_the_frame_of_the_whole(manager: DataManager) -> None:
    statement = (
        "SELECT range AS n, CASE WHEN range < 9000 THEN range END AS gap, range::VARCHAR AS text, "
        "CASE WHEN range > 9000 THEN true END AS flag, range::DECIMAL(18, 8) / 3 AS exact, "
        "TIMESTAMP '2024-01-01' + INTERVAL (range) MINUTE AS time FROM range(10000) ORDER BY n"
    )
    with duckdb.connect() as connection:
        whole = connection.sql(statement).df()
    pd.testing.assert_frame_equal(query(statement, manager=manager), whole)
    assert list(query("SELECT 1 AS a, 'b' AS b LIMIT 0", manager=manager)) == ["a", "b"]


def test_the_command_ends_with_a_sentence_if_one_value_needs_too_much_memory(
    tmp_path: Path,
) -> None:
    statement = "SELECT repeat('x', 3000000000) AS text"
    command = [sys.executable, "-m", "onetape", "sql", statement, "--cache-dir", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "the statement needs more than it may use" in result.stderr
