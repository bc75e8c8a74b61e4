"""Bundle readers: files opened for a range, values, last trades, and errors that name the file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl
import pytest

from src.data.bundles import scan
from src.data.errors import BadRangeError, BundleError, BundleNotFoundError, QueryError
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_minute_bars import PolarsParquetMinuteReader
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.bundles.sql import query
from tests.core.cache.crash import Quick
from tests.research.bundles.bars import days, minutes


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a bundle: 130 days of sids 1 to 3, and 20 minutes of 1 and 2 across midnight."""
    writer = ParquetWriter(tmp_path / "b", disk=Quick())
    writer.write(days(date(2022, 12, 1), 130, [1, 2, 3]), "daily")
    writer.write(minutes(datetime(2023, 1, 2, 23, 50), 20, [1, 2]), "minute")
    return tmp_path / "b"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every Parquet file that is handed to Polars."""
    seen: list[str] = []
    for name in ("scan_parquet", "read_parquet_schema", "read_parquet_metadata", "read_parquet"):
        _watch(monkeypatch, name, seen)
    return seen


def _watch(monkeypatch: pytest.MonkeyPatch, name: str, seen: list[str]) -> None:
    real: Callable[..., Any] = getattr(pl, name)

    def watched(source: Any, *args: Any, **options: Any) -> Any:
        seen.extend(str(path) for path in (source if isinstance(source, list) else [source]))
        return real(source, *args, **options)

    monkeypatch.setattr(pl, name, watched)


def test_a_range_of_daily_bars_includes_both_ends(bundle: Path) -> None:
    reader = PolarsParquetDailyReader(str(bundle / "daily_bars"))
    lazy = reader.load_raw_arrays(
        [2, 1], ["close", "volume"], "2023-01-05", pd.Timestamp("2023-02-03")
    )
    assert isinstance(lazy, pl.LazyFrame)
    frame = lazy.collect()
    assert frame.columns == ["date", "sid", "close", "volume"]
    assert frame.schema["close"] == pl.Decimal(18, 8)
    assert frame["sid"].to_list() == [1] * 30 + [2] * 30
    assert (frame["date"].min(), frame["date"].max()) == (date(2023, 1, 5), date(2023, 2, 3))
    assert lazy.filter(pl.col("close") > 70, sid=2).select(pl.len()).collect().item() == 5


def test_files_outside_of_the_range_are_never_opened(bundle: Path, opened: list[str]) -> None:
    for month in ("year=2022/month=12", "year=2023/month=03", "year=2023/month=04"):
        (bundle / "daily_bars" / month / "data.parquet").write_bytes(b"rubbish")
    reader = PolarsParquetDailyReader(bundle)
    assert len(reader.load_daily_bars([1], "2023-01-15", "2023-02-15")) == 32
    assert reader.get_value(1, "2023-01-15", "close") == Decimal("55.01")
    assert reader.get_last_traded_dt(1, "2023-02-10") == pd.Timestamp("2023-02-10")
    folders = {Path(path).parent.name for path in opened if "data.parquet" in path}
    assert folders == {"month=01", "month=02"}


def test_three_months_of_ten_years_open_three_files(tmp_path: Path, opened: list[str]) -> None:
    writer = ParquetWriter(tmp_path / "b", disk=Quick())
    writer.write_batch([days(date(2014, 1, 1), 31), days(date(2022, 11, 1), 200)], "daily")
    (tmp_path / "b/daily_bars/year=2014/month=01/data.parquet").write_bytes(b"rubbish")
    opened.clear()
    reader = PolarsParquetDailyReader(tmp_path / "b")
    assert len(reader.load_daily_bars([1], "2023-01-01", "2023-03-31")) == 90
    read = {"/".join(Path(path).parts[-3:-1]) for path in opened if "data.parquet" in path}
    assert read == {f"year=2023/month=0{n}" for n in (1, 2, 3)}


def test_single_values_and_last_traded_dates_are_read(bundle: Path) -> None:
    reader = PolarsParquetDailyReader(bundle)
    assert reader.get_value(3, datetime(2023, 1, 1), "open") == Decimal(10)
    assert reader.get_value(3, "2021-01-01", "open") is None
    assert reader.get_value(77, "2023-01-01", "open") is None
    assert reader.get_last_traded_dt(3, "2030-01-01") == pd.Timestamp("2023-04-09")
    assert reader.get_last_traded_dt(3, "2022-11-30") is None
    assert reader.get_last_traded_dt(77, "2023-01-01") is None
    assert reader.get_first_available_date(2) == pd.Timestamp("2022-12-01")
    assert reader.get_last_available_date(2) == pd.Timestamp("2023-04-09")
    spot = reader.load_spot_value([1, 3, 77], "2022-12-01", "close")
    assert spot.rows() == [(1, Decimal("10.01")), (3, Decimal("10.03"))]


def test_a_day_or_minute_without_a_bar_has_no_value_though_its_file_has_later_ones(
    tmp_path: Path,
) -> None:
    writer = ParquetWriter(tmp_path / "b", disk=Quick())
    writer.write_batch([days(date(2023, 1, 2), 1), days(date(2023, 1, 5), 2, price=20)])
    first, second = datetime(2023, 1, 2, 9, 30), datetime(2023, 1, 2, 9, 40)
    writer.write_batch([minutes(first, 2), minutes(second, 2)], "1m")
    daily, by_minute = (
        PolarsParquetDailyReader(tmp_path / "b"),
        PolarsParquetMinuteReader(tmp_path / "b"),
    )
    closes = [daily.get_value(1, date(2023, 1, day), "close") for day in range(1, 8)]
    assert closes == [None, Decimal("10.01"), None, None, Decimal("20.01"), Decimal("21.01"), None]
    stamps = [datetime(2023, 1, 2, 9, minute) for minute in (30, 31, 32, 39, 40, 42)]
    assert [by_minute.get_value(1, at, "close") for at in stamps] == [10, 11, None, None, 10, None]


def test_minutes_are_microseconds_of_utc_in_files_and_answers(tmp_path: Path) -> None:
    writer = ParquetWriter(tmp_path / "b", disk=Quick())
    aware = minutes(datetime(2023, 1, 2, 9, 30), 2).with_columns(
        pl.col("timestamp").cast(pl.Datetime("ms")).dt.replace_time_zone("America/New_York")
    )
    writer.write(aware, "minute")
    (path,) = (tmp_path / "b").rglob("data.parquet")
    answer = PolarsParquetMinuteReader(tmp_path / "b").load_minute_bars([1], None, None)
    for frame in (pl.read_parquet(path, hive_partitioning=False), answer):
        assert frame.schema["timestamp"] == pl.Datetime("us", time_zone=None)
        assert frame["timestamp"].to_list() == [datetime(2023, 1, 2, 14, m) for m in (30, 31)]


def test_a_bar_without_volume_does_not_count_as_a_trade(tmp_path: Path) -> None:
    writer = ParquetWriter(tmp_path / "b", disk=Quick())
    writer.write(days(date(2023, 1, 2), 3), "daily")
    writer.write(days(date(2023, 1, 5), 40, volume=0), "daily")
    reader = PolarsParquetDailyReader(tmp_path / "b")
    assert reader.get_last_traded_dt(1, "2023-02-05") == pd.Timestamp("2023-01-04")
    writer.write(days(date(2023, 1, 6), 1, volume=float("nan")), "daily")
    assert reader.get_last_traded_dt(1, "2023-02-05") == pd.Timestamp("2023-01-06")


def test_rows_in_memory_belong_to_the_sid_and_the_current_file(bundle: Path) -> None:
    reader = PolarsParquetDailyReader(bundle)
    assert [reader.get_value(sid, "2022-12-01", "close") for sid in (1, 2, 1)] == [
        Decimal("10.01"), Decimal("10.02"), Decimal("10.01")
    ]  # fmt: skip
    assert reader.get_value(1, "2022-12-01", "high") == 11
    ParquetWriter(bundle, disk=Quick()).write(days(date(2022, 12, 1), 1, price=50), "daily")
    assert reader.get_value(1, "2022-12-01", "close") == Decimal("50.01")
    assert (
        PolarsParquetDailyReader(bundle, enable_cache=False).get_value(2, "2022-12-01", "low") == 9
    )


@pytest.mark.parametrize(
    "moment",
    [
        pd.Timestamp("2023-06-06"),
        pd.Timestamp("2023-06-06 00:00", tz="Asia/Tokyo"),
        pd.Timestamp("2023-06-06 00:00", tz="Europe/London"),
        datetime(2023, 6, 6, 20, 30, tzinfo=ZoneInfo("America/New_York")),
        "2023-06-06T00:00+09:00",
    ],
)
def test_a_bound_of_daily_bars_is_the_date_in_its_own_zone(tmp_path: Path, moment: Any) -> None:
    ParquetWriter(tmp_path / "b", disk=Quick()).write(days(date(2023, 6, 5), 3), "daily")
    reader = PolarsParquetDailyReader(tmp_path / "b")
    assert reader.get_value(1, moment, "close") == Decimal("11.01")
    assert reader.get_last_traded_dt(1, moment) == pd.Timestamp("2023-06-06")
    first = [date(2023, 6, 5), date(2023, 6, 6)]
    assert reader.load_daily_bars([1], None, moment)["date"].to_list() == first
    assert scan("b", end=moment, folder=tmp_path).collect()["date"].to_list() == first
    assert scan("b", start=moment, folder=tmp_path).collect()["date"][0] == date(2023, 6, 6)


def test_minute_bars_are_read_by_instants(bundle: Path) -> None:
    reader = PolarsParquetMinuteReader(bundle / "minute_bars")
    frame = reader.load_minute_bars([1], "2023-01-02 23:59", "2023-01-03 00:01+00:00", ["close"])
    assert frame["close"].to_list() == [19, 20, 21]
    assert len(reader.load_minute_bars([1, 2], date(2023, 1, 2), date(2023, 1, 2))) == 20
    assert len(reader.load_trading_day([1], "2023-01-03")) == 10
    new_york = pd.Timestamp("2023-01-02 18:59", tz="America/New_York")
    assert reader.get_value(2, new_york, "close") == 19
    assert reader.get_last_traded_dt(1, "2023-01-02") == pd.Timestamp("2023-01-02 23:59")
    assert reader.get_last_available_datetime(1) == pd.Timestamp("2023-01-03 00:09")
    assert reader.get_first_available_datetime(1) == pd.Timestamp("2023-01-02 23:50")


BAD: list[tuple[Any, str, Any, Any, type[QueryError], str]] = [
    (["AAPL"], "close", None, None, QueryError, "invalid series number 'AAPL'"),
    ([True], "close", None, None, QueryError, "invalid series number True"),
    ([1], "bid", None, None, QueryError, "has no field 'bid'"),
    ([1], "close", "2023-02-01", "2023-01-01", BadRangeError, "the start is after the end"),
    ([1], "close", "noon", None, BadRangeError, "invalid time 'noon'"),
    ([1], "close", pd.NaT, None, BadRangeError, "invalid time NaT"),
]


def test_invalid_sids_fields_and_dates_raise_in_the_bundle_reader(bundle: Path) -> None:
    reader = PolarsParquetDailyReader(bundle)
    for sids, field, start, end, error, words in BAD:
        with pytest.raises(error, match=words):
            reader.load_raw_arrays(sids, [field], start, end)
    with pytest.raises(QueryError, match="has no field 'bid'"):
        reader.get_value(1, "2023-01-01", "bid")


def test_no_sids_and_empty_ranges_are_empty_frames(bundle: Path) -> None:
    reader = PolarsParquetDailyReader(bundle)
    assert reader.load_daily_bars([], None, None).shape == (0, 7)
    assert reader.load_daily_bars([1], "1999-01-01", "1999-12-31", ["close"]).shape == (0, 3)


def test_reading_a_missing_bundle_raises_bundle_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        PolarsParquetDailyReader(tmp_path / "none").load_raw_arrays([1], ["close"], None, None)
    assert isinstance(caught.value, BundleNotFoundError)


@pytest.mark.parametrize("content", [b"", b"rubbish" * 100])
def test_a_damaged_file_is_named(bundle: Path, content: bytes) -> None:
    (bundle / "daily_bars/year=2023/month=01/data.parquet").write_bytes(content)
    reader = PolarsParquetDailyReader(bundle)
    with pytest.raises(BundleError, match="year=2023/month=01"):
        reader.load_daily_bars([1], "2023-01-15", "2023-02-15")
    with pytest.raises(BundleError, match="year=2023/month=01"):
        reader.get_value(1, "2023-01-15", "close")


def test_a_file_with_another_price_is_named_by_every_reader_and_set_aside(bundle: Path) -> None:
    path = bundle / "daily_bars/year=2023/month=01/data.parquet"
    other = pl.read_parquet(path).with_columns(close=pl.lit(1).cast(pl.Decimal(18, 8)))
    reader, february = PolarsParquetDailyReader(bundle), ["2023-02-01", "2023-02-28"]
    uses: list[Callable[[], object]] = [
        lambda: reader.load_daily_bars([1], "2023-01-15", "2023-01-15"),
        lambda: reader.get_value(1, "2023-01-15", "close"),
        lambda: query("SELECT * FROM bundle('b', 'daily')", folder=bundle.parent),
        lambda: scan("b", frequency="daily", folder=bundle.parent).collect(),
        lambda: ParquetWriter(bundle).write(days(date(2023, 1, 20), 1, [1]), "daily"),
    ]
    whole = path.read_bytes()
    for use in uses:
        other.write_parquet(path)
        with pytest.raises(BundleError, match="month=01/data"):
            use()
        assert len(reader.load_daily_bars([1], *february)) == 28
        assert not path.exists() and list(path.parent.glob("data.parquet.damaged-*"))
        path.write_bytes(whole)
        reader.load_daily_bars([1], "2023-01-15", "2023-01-15")


def test_records_with_a_changed_bit_are_made_again(bundle: Path) -> None:
    path, reader = bundle / "metadata.parquet", PolarsParquetDailyReader(bundle)
    whole, bars = path.read_bytes(), reader.load_daily_bars([1, 2, 3], None, None)
    for at in range(4, len(whole), 41):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        assert reader.load_daily_bars([1, 2, 3], None, None).equals(bars)
