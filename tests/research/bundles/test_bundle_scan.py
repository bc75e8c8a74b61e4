"""Lazy scans of bundles: rows with symbols, from one consistent state and only the files needed."""

from __future__ import annotations

import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest

from src.data import DataManager
from src.data.bundles import scan
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.errors import BadRangeError, BundleError, BundleNotFoundError, QueryError
from src.data.polars import scan_series
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.bundles.bundle import Bundle
from src.data.research.frames.frames import FIELDS, PRICE, WIDE_VOLUME, float_frame
from tests.core.cache.counts import FULL, crossed
from tests.core.cache.crash import Quick
from tests.research.bundles.bars import days, minutes
from tests.research.portal.portal_stage import COIN, manager_on, put, table

Engine = Literal["in-memory", "streaming"]
ENGINES: tuple[Engine, ...] = ("in-memory", "streaming")
DATE, SYMBOL = "date", "symbol"
ORDER = ["bundle", "symbol", "date", *FIELDS]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with bundles of days, of minutes, of both, and with large volumes."""
    folder = tmp_path_factory.mktemp("made")
    put_days(folder, "days", ["AAPL", "MSFT", "X"])
    put_days(folder, "others", ["MSFT", "NVDA"], price=20.0)
    put_days(folder, "coins", ["SHIB"], volume=3e10)
    for name in ("minutes", "both"):
        writer(folder, name).write(
            named(minutes(datetime(2023, 1, 2, 23, 50), 20, [1]), ["Y"]), "1m"
        )
    put_days(folder, "both", ["Y"])
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """Return a copy of it, which a test may change."""
    return shutil.copytree(made, tmp_path / "bundles")


def writer(folder: Path, name: str) -> ParquetWriter:
    return ParquetWriter(folder / name, disk=Quick())


def named(frame: pl.DataFrame, symbols: list[str]) -> pl.DataFrame:
    """Return the frame with symbols in place of numbers."""
    names = dict(enumerate(symbols, 1))
    return frame.with_columns(pl.col("sid").replace_strict(names).alias("symbol")).drop("sid")


def put_days(folder: Path, name: str, symbols: list[str], **options: float) -> None:
    rows = days(date(2022, 12, 1), 130, range(1, len(symbols) + 1), **options)
    writer(folder, name).write(named(rows, symbols), "daily")


def expected(folder: Path, name: str) -> pl.DataFrame:
    """Return the rows of a bundle as its reader gives them, with symbols."""
    names = Bundle(name, folder).records().names()
    rows = PolarsParquetDailyReader(folder / name).load_daily_bars(list(names), None, None)
    symbols = pl.col("sid").replace_strict(names, return_dtype=pl.String).alias("symbol")
    return rows.with_columns(symbols, pl.lit(name).alias("bundle")).select(ORDER)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_scan_has_the_rows_of_the_reader_with_symbols(folder: Path, engine: Engine) -> None:
    lazy = scan("days", folder=folder)
    assert isinstance(lazy, pl.LazyFrame)
    frame = lazy.collect(engine=engine)
    assert frame.schema == lazy.collect_schema() == expected(folder, "days").schema
    assert frame.equals(expected(folder, "days"))
    assert frame["symbol"].unique(maintain_order=True).to_list() == ["AAPL", "MSFT", "X"]
    assert lazy.collect(engine=engine).equals(frame)


@pytest.mark.parametrize("engine", ENGINES)
def test_several_bundles_are_scanned_as_one_frame_with_one_schema(
    folder: Path, engine: Engine
) -> None:
    lazy = scan(["others", Bundle("days", folder), "coins"], folder=folder)
    frame = lazy.collect(engine=engine)
    assert frame.schema["volume"] == WIDE_VOLUME and frame.schema["close"] == PRICE
    parts = [expected(folder, name) for name in ("others", "days", "coins")]
    assert frame.equals(pl.concat(part.cast({"volume": WIDE_VOLUME}) for part in parts))
    msft = lazy.filter(symbol="MSFT", date=date(2023, 1, 5)).select("bundle", "close")
    assert msft.collect(engine=engine).rows() == [
        ("others", Decimal("55.01")),
        ("days", Decimal("45.02")),
    ]


def test_a_scan_reads_minutes_and_needs_the_frequency_of_a_mixed_bundle(folder: Path) -> None:
    lazy = scan("minutes", folder=folder)
    assert list(lazy.collect_schema().items())[2] == ("timestamp", pl.Datetime("us"))
    assert len(scan("minutes", end=date(2023, 1, 2), folder=folder).collect()) == 10
    late = scan("minutes", start="2023-01-03T00:05", folder=folder).collect()
    assert late["timestamp"].min() == datetime(2023, 1, 3, 0, 5)
    for names in (["both"], ["days", "minutes"]):
        with pytest.raises(QueryError, match="daily and minute bars"):
            scan(names, folder=folder)
    assert len(scan("both", folder=folder, frequency="minute").collect()) == 20
    assert len(scan(["both", "days"], folder=folder, frequency="daily").collect()) == 520
    with pytest.raises(BundleNotFoundError, match="no minute_bars"):
        scan(["both", "days"], folder=folder, frequency="minute")


@pytest.mark.parametrize("engine", ENGINES)
def test_files_outside_of_the_range_are_never_opened(folder: Path, engine: Engine) -> None:
    for month in ("year=2022/month=12", "year=2023/month=03", "year=2023/month=04"):
        (folder / "days/daily_bars" / month / "data.parquet").write_bytes(b"rubbish")
    lazy = scan("days", start="2023-01-15", end="2023-02-15", folder=folder)
    frame = lazy.select("symbol", "date").collect(engine=engine)
    assert len(frame) == 3 * 32
    assert (frame["date"].min(), frame["date"].max()) == (date(2023, 1, 15), date(2023, 2, 15))
    with pytest.raises(BundleError, match="month="):
        scan("days", folder=folder).collect(engine=engine)


def test_polars_gets_the_symbols_the_columns_and_the_filter(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It then skips rows by the statistics of the files."""
    asked: list[str] = []
    real = PolarsParquetDailyReader.collect

    def collect(self: Any, fields: Any, low: Any, high: Any, query: Any) -> pl.DataFrame:
        def plan(records: Any, frame: pl.LazyFrame) -> pl.LazyFrame:
            asked.append(query(records, frame).explain())
            return query(records, frame)

        return real(self, fields, low, high, plan)

    monkeypatch.setattr(PolarsParquetDailyReader, "collect", collect)
    lazy = scan("days", ["X", "AAPL"], folder=folder)
    frame = lazy.filter(pl.col("date") < date(2023, 1, 1)).select("close").collect()
    (plan,) = asked
    assert len(frame) == 2 * 31
    assert re.search(r"PROJECT 3/7 COLUMNS\n\s+SELECTION: .*2023-01-01", plan), plan


FILTERS = [
    pl.col("symbol") == "MSFT",
    pl.col("symbol").is_in(["NVDA", "X"]) & (pl.col("close") > 50),
    (pl.col("symbol") == "X") | (pl.col("date") > date(2023, 3, 1)),
    pl.col("symbol") != "MSFT",
    pl.col("symbol") == pl.col("symbol").shift(1),
    pl.col("symbol").is_first_distinct(),
    pl.col("bundle") == "others",
    pl.col("date").is_between(date(2023, 3, 1), date(2023, 1, 1)),
    pl.col("date") > datetime(2023, 3, 1, 12),
    pl.col("date") < datetime(2023, 3, 1, 12),
    pl.col("date").dt.month() == 3,
    pl.col("date") == pl.col("date").max(),
    pl.col("close").cast(pl.Float64) > 60.5,
    pl.lit(False),
]


@cache
def read(folder: Path) -> pl.DataFrame:
    """Return all rows of both bundles."""
    return scan(["days", "others"], folder=folder).collect()


@pytest.mark.parametrize(("chosen", "engine"), crossed(FILTERS, ENGINES))
def test_every_filter_selects_the_same_rows_as_after_reading(
    made: Path, chosen: pl.Expr, engine: Engine
) -> None:
    lazy = scan(["days", "others"], folder=made)
    whole = read(made)
    assert lazy.filter(chosen).collect(engine=engine).equals(whole.filter(chosen))
    last = lazy.filter(chosen).select("volume", "symbol").collect(engine=engine)
    assert last.equals(whole.filter(chosen).select("volume", "symbol"))


@pytest.mark.parametrize("engine", ENGINES)
def test_limits_count_rows_before_filters(folder: Path, engine: Engine) -> None:
    lazy = scan(["days", "others"], folder=folder)
    whole, chosen = lazy.collect(), pl.col("symbol") == "NVDA"
    for rows in (0, 3, 390, 391, 600, 1000) if FULL else (0, 391, 600):
        assert lazy.head(rows).collect(engine=engine).equals(whole.head(rows))
        some = lazy.head(rows).filter(chosen)
        assert some.collect(engine=engine).equals(whole.head(rows).filter(chosen))
        some = lazy.filter(chosen).head(rows)
        assert some.collect(engine=engine).equals(whole.filter(chosen).head(rows))
    reader = PolarsParquetDailyReader(folder / "days")
    raw, second = reader.load_raw_arrays([1, 2], ["close"], None, None), pl.col("sid") == 2
    assert len(raw.head(140).filter(second).collect(engine=engine)) == 10
    assert len(raw.filter(second).head(5).collect(engine=engine)) == 5


def test_each_collect_reads_the_bundles_as_they_are_then(folder: Path) -> None:
    lazy = scan("days", folder=folder)
    recent = lazy.filter(pl.col("date") > date(2023, 4, 1))
    assert (len(lazy.collect()), len(recent.collect())) == (390, 24)
    rows = named(days(date(2023, 4, 9), 3, [1, 2], price=70.0), ["NEW", "AAPL"])
    writer(folder, "days").write(rows, "daily")
    assert (len(lazy.collect()), len(recent.collect())) == (395, 29)
    new = recent.filter(pl.col("symbol") == "NEW").select(pl.col("close").max())
    assert new.collect().item() == Decimal("72.01")
    only = scan("days", ["AAPL"], folder=folder).filter(date=date(2023, 4, 9))
    assert only.collect()["close"].to_list() == [Decimal("70.02")]
    Bundle("days", folder).remove()
    with pytest.raises(BundleNotFoundError):
        lazy.collect()


def test_rows_and_symbols_are_of_one_state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle is made again, with other numbers for its symbols, before its files are read."""
    real = PolarsParquetDailyReader.collect

    def collect(*arguments: Any) -> pl.DataFrame:
        monkeypatch.setattr(PolarsParquetDailyReader, "collect", real)
        Bundle("days", folder).remove()
        put_days(folder, "days", ["A", "AAPL"])
        return real(*arguments)

    monkeypatch.setattr(PolarsParquetDailyReader, "collect", collect)
    frame = scan("days", ["AAPL"], folder=folder).collect()
    assert frame.equals(expected(folder, "days").filter(symbol="AAPL"))


def test_a_volume_column_that_became_wider_needs_a_new_scan(folder: Path) -> None:
    lazy = scan("days", folder=folder)
    put_days(folder, "days", ["AAPL"], volume=3e10)
    with pytest.raises(BundleError, match="call scan again"):
        lazy.collect()
    assert len(lazy.select("symbol", "close").collect()) == 390
    assert scan("days", folder=folder).collect().schema["volume"] == WIDE_VOLUME


def test_no_collect_reads_part_of_a_change(folder: Path) -> None:
    """Every change sets one price in all rows of all months."""
    symbols = ["A", "B"]
    put_days(folder, "moving", symbols, price=1.0)
    lazy = scan("moving", folder=folder).select("symbol", "open")
    stop, seen = threading.Event(), set[Any]()

    def look() -> Any:
        frame = lazy.collect()
        assert len(frame) == 260
        (price,) = frame["open"].unique().to_list()
        return price

    def read() -> None:
        while not stop.is_set():
            seen.add(look())

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for price in range(2, 10 if FULL else 5):
            put_days(folder, "moving", symbols, price=float(price))
        stop.set()
        reading.result()
    assert seen <= set(map(Decimal, range(1, 10)))


def test_rows_without_a_symbol_show_their_number(tmp_path: Path) -> None:
    writer(tmp_path, "numbers").write(days(date(2023, 1, 1), 2, [7]), "daily")
    frame = scan("numbers", folder=tmp_path).collect()
    assert frame["symbol"].to_list() == ["7", "7"]
    assert len(scan("numbers", ["7"], folder=tmp_path).collect()) == 2


@pytest.mark.parametrize(
    ("bundles", "options", "error", "message"),
    [
        ("nobody", {}, BundleNotFoundError, "does not exist"),
        (["days", "nobody"], {}, BundleNotFoundError, "does not exist"),
        ("empty", {}, BundleNotFoundError, "does not exist"),
        ("../days", {}, QueryError, "invalid bundle name"),
        ("days/daily_bars", {}, QueryError, "invalid bundle name"),
        ("", {}, QueryError, "invalid bundle name"),
        ("a\0b", {}, QueryError, "invalid bundle name"),
        ("\ud800", {}, QueryError, "invalid bundle name"),
        ([], {}, QueryError, "at least one bundle"),
        (["days", "days"], {}, QueryError, "named twice"),
        ([None], {}, QueryError, "invalid bundle name"),
        (None, {}, QueryError, "must be names"),
        (b"days", {}, QueryError, "must be names"),
        (Path("days"), {}, QueryError, "must be names"),
        ("days", {"symbols": "AAPL"}, QueryError, "must be a list"),
        ("days", {"symbols": 5}, QueryError, "must be a list"),
        ("days", {"symbols": [5]}, QueryError, "not a symbol"),
        ("days", {"symbols": ["AAPL", "NVDA"]}, QueryError, "no bundle contains 'NVDA'"),
        ("days", {"symbols": ["\ud800\x1b[2J"]}, QueryError, r"\\ud800\\x1b"),
        ("days", {"symbols": list(map(str, range(9)))}, QueryError, "and 4 more symbols"),
        ("days", {"start": "2023-02-01", "end": "2023-01-01"}, BadRangeError, "after the end"),
        ("days", {"start": "yesterday-ish"}, BadRangeError, "invalid time"),
        ("days", {"end": object()}, BadRangeError, "invalid time"),
        ("days", {"frequency": "hourly"}, QueryError, "unknown bundle frequency"),
    ],
)
def test_bad_input_is_an_error_of_the_call(
    folder: Path, bundles: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(error, match=message):
        scan(bundles, folder=folder, **options)


def test_a_symbol_or_range_without_bars_has_no_rows(folder: Path) -> None:
    lazy = scan("days", ["AAPL"], "2030-01-01", folder=folder)
    assert lazy.collect().is_empty() and lazy.collect().schema == lazy.collect_schema()
    assert scan("days", [], folder=folder).collect().is_empty()
    assert scan("days", None, None, "1990-01-01", folder=folder).collect().is_empty()


def test_a_query_can_join_a_bundle_with_a_stored_series(tmp_path: Path) -> None:
    manager: DataManager = manager_on(tmp_path)
    first = parse_iso("2024-01-01")
    stamps = [first + n * DAY_MS for n in range(60)]
    for place, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        put(manager, symbol, "1d", table(stamps, place), kind=COIN)
    bundle = Bundle("coins", tmp_path / "bundles")
    bundle.create(manager, ["BTCUSDT"], "1d", "2024-01-01", "2024-02-29", offline=True)
    floats = pl.col(*FIELDS).cast(pl.Float64)
    bundled = scan(bundle).select("symbol", pl.col("date").cast(pl.Datetime("us")), floats)
    bundled = bundled.rename({"date": "timestamp"})
    stored = {
        symbol: scan_series(symbol, "1d", manager=manager).select(
            pl.lit(symbol).alias("symbol"), pl.all()
        )
        for symbol in ("BTCUSDT", "ETHUSDT")
    }
    assert bundled.collect_schema() == stored["ETHUSDT"].collect_schema()
    assert bundled.collect().equals(stored["BTCUSDT"].collect())  # the same bars, by either way
    assert float_frame(scan(bundle)).select(FIELDS).equals(bundled.select(FIELDS).collect())
    february = pl.col("timestamp") >= datetime(2024, 2, 1)
    both = pl.concat([bundled, stored["ETHUSDT"]]).filter(february)
    counts = both.group_by("symbol").agg(pl.len()).sort("symbol").collect()
    assert counts.rows() == [("BTCUSDT", 29), ("ETHUSDT", 29)]
    ratio = bundled.join(stored["ETHUSDT"], on="timestamp").filter(february)
    frame = ratio.select((pl.col("close") / pl.col("close_right")).alias("ratio")).collect()
    assert len(frame) == 29 and frame["ratio"].is_finite().all()
