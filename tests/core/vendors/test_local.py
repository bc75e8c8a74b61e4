from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import math
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import yaml

from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.market.bars import Bar, Stamps
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.net.calls.deadline import run_call
from src.data.core.vendors.local import bars as local_bars
from src.data.core.vendors.local.bars import LocalDataDownloader, LocalFiles
from src.data.core.vendors.local.columns import Columns
from src.data.errors import (
    CapabilityError,
    ConfigError,
    NoDataError,
    ProviderTimeoutError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)
from tests.core.net.scripted import sender_over
from tests.core.vendors.acme import query

HEADER = "timestamp,open,high,low,close,volume\n"
ROWS = "2024-01-02,1,2,0.5,1.5,10\n2024-01-03,2,3,1.5,2.5,\n"
AAPL = Instrument("AAPL", "stock")


def local(folder: Path, **layout: Any) -> LocalDataDownloader:
    return LocalDataDownloader(LocalFiles(folder, **layout), sender=sender_over(None))


def fetch(vendor: LocalDataDownloader, timeframe: str = "1d", symbol: str = "AAPL") -> Fetched:
    return vendor.fetch(query(timeframe, "2024-01-01", "2024-02-01", Instrument(symbol, "stock")))


@pytest.mark.parametrize("name", ["AAPL_1d.csv", "AAPL_1d.csv.gz", "aapl_1D.CSV"])
def test_csv_and_gzip_files_are_read_as_bars(tmp_path: Path, name: str) -> None:
    data = (HEADER + ROWS).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    got = fetch(local(tmp_path, unit="USD", adjustment="raw"))
    assert got.table.stamps.tolist() == [parse_iso("2024-01-02"), parse_iso("2024-01-03")]
    assert got.table.close.tolist() == [1.5, 2.5]
    assert math.isnan(got.table.volume[1])
    assert (got.basis, got.dense, got.kind) == (Basis("raw"), False, Kind("", "", "", "USD"))


def test_rows_filled_in_by_a_program_are_not_read_as_bars(tmp_path: Path) -> None:
    header, rows = HEADER.strip() + ",filled\n", ROWS.replace("\n", ",False\n")
    (tmp_path / "AAPL_1d.csv").write_text(header + rows)
    assert len(fetch(local(tmp_path)).table) == 2
    (tmp_path / "AAPL_1d.csv").write_text(header + rows + "2024-01-04,2,3,1,2,0,True\n")
    with pytest.raises(ResponseFormatError, match="line 4: the row was filled in and is not a bar"):
        fetch(local(tmp_path))


@pytest.mark.parametrize("delimiter", [";", "|", "\t"])
def test_fields_are_separated_by_the_declared_delimiter(tmp_path: Path, delimiter: str) -> None:
    rows = '"2024-01-02",1,2,0.5,1.5,10\n' + "2024-01-03,2,3,1.5,2.5,\n"
    (tmp_path / "AAPL_1d.csv").write_text((HEADER + rows).replace(",", delimiter))
    got = fetch(local(tmp_path, delimiter=delimiter))
    assert got.table.stamps.tolist() == [parse_iso("2024-01-02"), parse_iso("2024-01-03")]
    assert got.table.close.tolist() == [1.5, 2.5]
    with pytest.raises(ResponseFormatError, match="line 1 lacks the columns") as undeclared:
        fetch(local(tmp_path))
    assert "delimiter" in str(undeclared.value)


def test_decimal_commas_are_an_error_and_not_guessed(tmp_path: Path) -> None:
    text = HEADER.replace(",", ";") + "2024-01-02;1,5;2;0;1;10\n"
    (tmp_path / "AAPL_1d.csv").write_text(text)
    with pytest.raises(ResponseFormatError, match="line 2: column 'open' contains '1,5'"):
        fetch(local(tmp_path, delimiter=";"))


def test_the_delimiter_setting_does_not_affect_parquet_files(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    prices = dict.fromkeys(("open", "high", "low", "close"), pa.array([1.5]))
    table = pa.table({"timestamp": pa.array(["2024-01-02"])} | prices)
    parquet.write_table(table, tmp_path / "AAPL_1d.parquet")
    assert fetch(local(tmp_path, delimiter=";")).table.close.tolist() == [1.5]


def test_parquet_keeps_every_digit(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    price = 0.1 + 0.2
    stamps = pa.array([1704153600_000_000], pa.timestamp("us", tz="UTC"))
    columns = {"timestamp": stamps} | dict.fromkeys(
        ("open", "high", "low", "close"), pa.array([price])
    )
    parquet.write_table(pa.table(columns), tmp_path / "AAPL_1d.parquet")
    got = fetch(local(tmp_path))
    assert got.table.close.tolist() == [price]
    assert got.table.stamps.tolist() == [parse_iso("2024-01-02")]


def test_columns_pattern_and_spellings_are_mapped(tmp_path: Path) -> None:
    folder = tmp_path / "hourly"
    folder.mkdir()
    text = "When,O,H,L,Last,Adj\n1704196800,1,2,1,2,1.9\n"
    (folder / "BRK.B.csv").write_text("\ufeff" + text)
    vendor = local(
        tmp_path, pattern="{timeframe}/{symbol}", time_column="when",
        columns={"open": "O", "high": "H", "low": "L", "close": "last", "adj_close": "Adj"},
        timeframes={"1h": "hourly"},
    )  # fmt: skip
    who = Instrument("BRK-B", "stock", spellings={"local": "BRK.B"})
    got = vendor.fetch(query("1h", "2024-01-02", "2024-01-03", who))
    assert got.table.stamps.tolist() == [1704196800_000]
    assert got.table.adj_close is not None
    assert (got.table.close[0], got.table.adj_close[0]) == (2, 1.9)


@pytest.mark.parametrize(
    "text, layout, stamp",
    [
        ("2024-01-02T15:00:00Z", {}, "2024-01-02T15:00:00"),
        ("2024-01-02 16:00:00+01:00", {}, "2024-01-02T15:00:00"),
        ("2024-01-02 10:00", {"timezone": "America/New_York"}, "2024-01-02T15:00:00"),
        ("2024-07-02 11:00", {"timezone": "America/New_York"}, "2024-07-02T15:00:00"),
        ("02.01.2024 15:00", {"time_format": "%d.%m.%Y %H:%M"}, "2024-01-02T15:00:00"),
        ("1704207600", {}, "2024-01-02T15:00:00"),
        ("1704207600000", {}, "2024-01-02T15:00:00"),
        ("1704207600000000", {}, "2024-01-02T15:00:00"),
        ("1704207600000000000", {}, "2024-01-02T15:00:00"),
        ("20240102", {"time_format": "%Y%m%d"}, "2024-01-02T00:00:00"),
        ("202401021500", {}, "2024-01-02T15:00:00"),
        ("20240102150000", {}, "2024-01-02T15:00:00"),
        ("2024.01.02 15:00", {}, "2024-01-02T15:00:00"),
        ("2024/01/02 10:00", {"timezone": "America/New_York"}, "2024-01-02T15:00:00"),
        ("1704207600.5", {}, "2024-01-02T15:00:00.500"),
    ],
)
def test_times_in_every_format_become_stamps(
    tmp_path: Path, text: str, layout: dict[str, str], stamp: str
) -> None:
    (tmp_path / "AAPL_1h.csv").write_text(HEADER + f"{text},1,2,1,2,3\n")
    got = local(tmp_path, **layout).fetch(query("1h", "2024-01-01", "2024-12-31", AAPL))
    assert got.table.stamps.tolist() == [parse_iso(stamp)]


def test_dates_and_times_in_two_columns_are_joined(tmp_path: Path) -> None:
    header, row = "Date,Time,open,high,low,close\n", "1,2,1,2\n"
    (tmp_path / "AAPL_1h.csv").write_text(f"{header}2024.01.02,15:00,{row}2024.01.02,16:00,{row}")
    asked = query("1h", "2024-01-01", "2024-12-31", AAPL)
    got = local(tmp_path, time_column="Date").fetch(asked)
    assert got.table.stamps.tolist() == [
        parse_iso("2024-01-02T15:00:00"), parse_iso("2024-01-02T16:00:00"),
    ]  # fmt: skip
    (tmp_path / "AAPL_1h.csv").write_text(f"{header}2024.01.02,15:00,{row}2024.01.02,930,{row}")
    with pytest.raises(ResponseFormatError, match=r"line 3: Time .* such as 14:30, but '930'"):
        local(tmp_path, time_column="Date").fetch(asked)
    # The date of a daily bar is that in its own column.
    (tmp_path / "AAPL_1d.csv").write_text(f"{header}20240102,930,{row}")
    got = fetch(local(tmp_path, time_column="date"))
    assert got.table.stamps.tolist() == [parse_iso("2024-01-02")]


LONDON = Instrument("VOD.L", "stock", "XLON", "Europe/London")
COIN = Instrument("BTCUSDT", "crypto")
EURUSD = Instrument("EURUSD=X", "forex", "FX", "America/New_York")


@pytest.mark.parametrize(
    "instrument, text, day",
    [
        (LONDON, "2024-06-03 00:00:00+01:00", "2024-06-03"),
        (LONDON, "2024-06-03 00:00:00+09:00", "2024-06-03"),
        (LONDON, "2024-06-02 23:00:00+00:00", "2024-06-03"),  # midnight in London, written in UTC
        (LONDON, "2024-06-03 07:00:00Z", "2024-06-03"),
        (EURUSD, "2024-01-14T22:00:00", "2024-01-15"),  # the open of Monday's session
        (EURUSD, "2024-01-15T21:59:59", "2024-01-15"),
        (EURUSD, "2024-01-15T22:00:00", "2024-01-16"),
        (COIN, "2024-06-02T20:00:00-04:00", "2024-06-03"),  # midnight in UTC
        (COIN, "2024-06-03T00:00:00-04:00", "2024-06-03"),
        (COIN, "1717372800", "2024-06-03"),
    ],
)
def test_a_day_has_the_date_as_written_or_that_of_the_session_which_contains_it(
    tmp_path: Path, instrument: Instrument, text: str, day: str
) -> None:
    (tmp_path / f"{instrument.symbol}_1d.csv").write_text(HEADER + f"{text},1,2,1,2,3\n")
    asked = query("1d", "2024-01-01", "2024-12-31", instrument)
    assert local(tmp_path).fetch(asked).table.stamps.tolist() == [parse_iso(day)]


@pytest.mark.parametrize(
    "instrument, timeframe, text, day",
    [
        (LONDON, "1d", "2024-06-04T00:30:00+09:00", "2024-06-03"),
        (COIN, "1d", "2024-06-04T01:00:00+01:00", "2024-06-03"),
        (COIN, "1w", "2024-06-10T09:00:00+09:00", "2024-06-03"),
        (COIN, "1M", "2024-07-01T09:00:00+09:00", "2024-06-01"),
    ],
)
def test_a_closing_time_with_an_offset_is_an_instant(
    tmp_path: Path, instrument: Instrument, timeframe: str, text: str, day: str
) -> None:
    (tmp_path / f"{instrument.symbol}_{timeframe}.csv").write_text(HEADER + f"{text},1,2,1,2,3\n")
    asked = query(timeframe, "2024-01-01", "2024-12-31", instrument)
    got = local(tmp_path, label="end").fetch(asked)
    assert got.table.stamps.tolist() == [parse_iso(day)]


@pytest.mark.parametrize("odd", ["0001-01-01", "9999-12-31"])
def test_a_date_at_the_end_of_all_dates_spoils_no_file(tmp_path: Path, odd: str) -> None:
    (tmp_path / "VOD.L_1d.csv").write_text(HEADER + f"{odd},1,2,1,2,3\n" + ROWS)
    assert len(local(tmp_path).fetch(query("1d", "2024-01-01", "2024-02-01", LONDON)).table) == 2


def test_the_name_of_a_timeframe_in_files_may_be_written_in_any_way(tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT_3hours.csv").write_text(HEADER + "2024-06-03T03:00:00,1,2,1,2,3\n")
    vendor = local(tmp_path, timeframes={"180m": "3hours"})
    assert len(vendor.fetch(query("3h", "2024-06-03", "2024-06-04", COIN)).table) == 1


@pytest.mark.parametrize("closed", [("", "/."), ("/AAPL_1d.csv",)])
def test_a_folder_or_link_that_may_not_be_followed_is_no_missing_file(
    closed: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "AAPL_1d.csv").write_text(_daily(3))
    vendor, stat = local(tmp_path), os.stat

    def refused(path: Any, **options: Any) -> os.stat_result:
        """Root may search all: the look itself is refused, as it is for other users."""
        if os.fspath(path) in [f"{tmp_path}{name}" for name in closed]:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refused)
    with pytest.raises(UnavailableError, match="cannot be read: Permission denied"):
        fetch(vendor)


def _daily(days: int) -> str:
    return HEADER + "".join(
        f"2024-01-{n:02d},{n},{n + 1},{n - 0.5},{n},9\n" for n in range(1, days + 1)
    )


def _times(first: str, *distances: float) -> list[datetime]:
    hours = accumulate(distances, initial=0.0)
    return [datetime.fromisoformat(first) + timedelta(hours=hour) for hour in hours]


def _table(times: Iterable[datetime]) -> str:
    return HEADER + "".join(
        f"{time.isoformat()},{n},{n},{n},{n},9\n" for n, time in enumerate(times, 1)
    )


_MONTHS = [datetime(2024, n, 1) for n in range(1, 9)]
_RARE = [
    time
    for time in _times("2024-01-01", *[1 / 60] * 900)
    if hash((time.hour, time.minute)) % 9 == 0
]
_WITH_LUNCH = _times("2024-01-02 01:30", *[1, 1, 1.5, 1, 1, 18.5] * 5)


@pytest.mark.parametrize(
    "times, timeframe, why",
    [
        (_times("2024-01-01", *[24] * 7), "1m", "most of the last times are 24 hours apart"),
        (_times("2024-01-01", *[24] * 7), "4h", "most of the last times are 24 hours apart"),
        (_times("2024-01-02 14:30", *[1, 1, 1, 1, 1, 1, 18] * 3), "30m", "most of .* 60 minutes apart"),
        (_WITH_LUNCH, "30m", "most of the last times are 60 minutes apart"),
        (_times("2024-01-02 14:30", *[4, 20] * 9), "1h", "most of the last times are 4 hours apart"),
        (_times("2024-01-02", *[168, 168, 192, 144, 168, 168]), "1d", "most of .* 7 days apart"),
        (_MONTHS, "1d", "most of the last times are 31 days apart"),
        (_MONTHS, "1w", "most of the last times are 28 days apart"),
        (_times("2024-01-01", *[1] * 9), "2h", "no such bar opens at 5 of the last 10 times"),
        (_times("2024-01-01", *[0.5] * 9), "1h", "no such bar opens at 5 of the last 10 times"),
        (_times("2024-01-01", *[1.5] * 19), "1h", "most of the last times are 90 minutes apart"),
        (_RARE, "5m", "no such bar opens at"),
        (_times("2024-01-01 12:00", *[12] * 9), "1d", "the last 10 rows are only 6 of them"),
        (_times("2024-01-01", *[24] * 13), "1w", "the last 14 rows are only 2 of them"),
        (_times("2024-01-01", *[48, 48, 96] * 4), "1w", "the last 13 rows are only 5 of them"),
    ],
)  # fmt: skip
def test_a_file_for_all_timeframes_is_not_read_as_bars_of_another_timeframe(
    tmp_path: Path, times: list[datetime], timeframe: str, why: str
) -> None:
    (tmp_path / "BTCUSDT.csv").write_text(_table(times))
    asked = query(timeframe, "2024-01-01", "2024-12-01", COIN)
    with pytest.raises(
        CapabilityError, match=f"BTCUSDT.csv does not contain {timeframe} bars: {why}"
    ):
        local(tmp_path, pattern="{symbol}").fetch(asked)
    # The name of a file may give its timeframe.
    (tmp_path / f"BTCUSDT_{timeframe}.csv").write_text(_table(times))
    assert len(local(tmp_path).fetch(asked).table)


@pytest.mark.parametrize(
    "times, timeframe",
    [
        (_times("2024-01-01 04:00"), "1m"),
        (_times("2024-01-01", 24), "1m"),
        (_times("2024-01-01 09:37", 5, 60, 27, 19), "1m"),
        (_RARE, "1m"),
        (_times("2024-01-01", 2, 4, 3, 2, 7, 2, 2, 5, 11), "1h"),
        (_WITH_LUNCH, "1h"),
        (_times("2024-01-01", 168, 48, 240, 408, 72, 24, 336), "1d"),
        (_times("2024-01-01", *[48, 48, 72] * 4), "1d"),
        (_times("2024-01-02", 168), "1d"),
        (_times("2024-01-01", 336, 504, 168, 1008, 336), "1w"),
        (_times("2024-01-02", *[168, 168, 192, 144, 168, 48]), "1w"),
        (_MONTHS, "1M"),
    ],
)
def test_a_file_of_bars_that_are_rarely_traded_is_read(
    tmp_path: Path, times: list[datetime], timeframe: str
) -> None:
    (tmp_path / "BTCUSDT.csv").write_text(_table(times))
    vendor = local(tmp_path, pattern="{symbol}")
    got = vendor.fetch(query(timeframe, "2024-01-01", "2024-12-01", COIN))
    assert len(got.table) == len(times)


def test_sessions_with_breaks_or_few_bars_are_not_taken_for_longer_bars(tmp_path: Path) -> None:
    def read(timeframe: str, times: list[datetime], calendar: str, timezone: str) -> int:
        (tmp_path / "AAPL.csv").write_text(_table(times))
        stock = Instrument("AAPL", "stock", calendar=calendar, timezone=timezone)
        asked = query(timeframe, "2024-01-01", "2024-02-09", stock)
        return len(local(tmp_path, pattern="{symbol}").fetch(asked).table)

    days = [datetime(2024, 1, n, 9, 30, tzinfo=UTC) for n in range(2, 32) if n % 7 not in (6, 0)]
    days.remove(datetime(2024, 1, 15, 9, 30, tzinfo=UTC))
    opens = [day + timedelta(hours=5) for day in days]
    assert read("8h", opens, "XNYS", "America/New_York") == len(opens)
    halves = [day - timedelta(hours=hours) for day in days for hours in (8, 4.5)]
    assert read("2h", halves, "XSHG", "Asia/Shanghai") == len(halves)


@pytest.mark.parametrize("stray", ["1024-01-05", "9024-01-05"])
def test_a_row_of_a_wrong_century_does_not_make_the_check_of_a_file_long(
    tmp_path: Path, stray: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def opens(self: BarGrid, span: Span) -> Stamps:
        """Note the length of the span, in days."""
        counted.append((span.end - span.start) // DAY_MS)
        return np.empty(0, dtype=np.int64)

    monkeypatch.setattr(BarGrid, "opens", opens)
    times = sorted([*_times("2024-01-01", 1, 1), datetime.fromisoformat(stray)])
    (tmp_path / "BTCUSDT.csv").write_text(_table(times))
    asked = query("1m", "2024-01-01", "2024-02-01", COIN)
    assert len(local(tmp_path, pattern="{symbol}").fetch(asked).table) == 3
    assert max(counted, default=0) < 3_660


@pytest.mark.parametrize("ignores_case", [False, True])
def test_a_file_of_months_is_not_read_as_minutes(
    tmp_path: Path, ignores_case: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "btcusdt_1M.csv").write_text(HEADER + "2024-01-01,1,2,1,2,3\n")
    is_file = Path.is_file
    if ignores_case:  # as on macOS and Windows
        monkeypatch.setattr(
            Path,
            "is_file",
            lambda path: any(
                is_file(other) and other.name.casefold() == path.name.casefold()
                for other in path.parent.iterdir()
            ),
        )
    vendor = local(tmp_path)
    assert len(vendor.fetch(query("1M", "2024-01-01", "2024-02-01", COIN)).table) == 1
    with pytest.raises(SymbolNotFoundError, match=r"no file BTCUSDT_1m\.csv"):
        vendor.fetch(query("1m", "2024-01-01", "2024-02-01", COIN))
    # The label may also be a part of the symbol.
    (tmp_path / "1MBABYDOGEUSDT_1m.csv").write_text(HEADER + "2024-01-01,1,2,1,2,3\n")
    doge = Instrument("1MBABYDOGEUSDT", "crypto", base="1MBABYDOGE", quote="USDT")
    with pytest.raises(SymbolNotFoundError, match=r"no file 1MBABYDOGEUSDT_1M\.csv"):
        vendor.fetch(query("1M", "2024-01-01", "2024-02-01", doge))


def test_a_time_column_of_parquet_keeps_the_dates_of_its_zone(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    opened = [datetime(2024, 6, day, tzinfo=ZoneInfo("Europe/London")) for day in (3, 4)]
    times = pa.array(opened, pa.timestamp("ns", "Europe/London"))
    columns = {n: pa.array([1.0, 2.0]) for n in ("open", "high", "low", "close", "volume")}
    parquet.write_table(pa.table({"timestamp": times} | columns), tmp_path / "VOD.L_1d.parquet")
    got = local(tmp_path).fetch(query("1d", "2024-01-01", "2024-12-31", LONDON))
    assert got.table.stamps.tolist() == [parse_iso("2024-06-03"), parse_iso("2024-06-04")]


def test_a_week_dated_on_a_weekend_is_refused_unless_it_ends_then(tmp_path: Path) -> None:
    (tmp_path / "VOD.L_1w.csv").write_text(HEADER + "2024-01-07,1,2,1,2,3\n")
    asked = query("1w", "2024-01-01", "2024-02-01", LONDON)
    with pytest.raises(ResponseFormatError, match="line 2: no week begins on Sunday, 2024-01-07"):
        local(tmp_path).fetch(asked)
    got = local(tmp_path, label="end").fetch(asked)
    assert got.table.stamps.tolist() == [parse_iso("2024-01-01")]


@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize("label", ["start", "end"])
def test_a_time_that_occurs_twice_while_clocks_go_back_is_two_bars(
    tmp_path: Path, label: str, is_descending: bool
) -> None:
    first = parse_iso("2024-11-03T04:30:00")
    stamps = [first + half * 1_800_000 for half in range(8)]
    zone = ZoneInfo("America/New_York")
    ends = [stamp + 1_800_000 * (label == "end") for stamp in stamps]
    texts = [f"{datetime.fromtimestamp(end / 1000, zone):%Y-%m-%d %H:%M}" for end in ends]
    rows = [f"{text},{n},{n},{n},{n},3\n" for n, text in enumerate(texts, start=1)]
    assert len(set(texts)) == 6
    content = HEADER + "".join(reversed(rows) if is_descending else rows)
    (tmp_path / "BTCUSDT_30m.csv").write_text(content)
    coin = Instrument("BTCUSDT", "crypto")
    vendor = local(tmp_path, timezone="America/New_York", label=label, anchor="clock")
    got = vendor.fetch(query("30m", "2024-11-01", "2024-11-05", coin)).table
    assert (got.stamps.tolist(), got.close.tolist()) == (stamps, [1, 2, 3, 4, 5, 6, 7, 8])


@pytest.mark.parametrize("is_descending", [False, True])
def test_a_bar_of_the_second_hour_stays_there_without_one_at_that_time_in_the_first(
    tmp_path: Path, is_descending: bool
) -> None:
    times = ["00:58", "01:00", "01:05", "01:50", "01:05", "01:20", "01:40", "02:00"]
    rows = [f"2024-11-03 {time},{n},{n},{n},{n},3\n" for n, time in enumerate(times, start=1)]
    content = HEADER + "".join(reversed(rows) if is_descending else rows)
    (tmp_path / "BTCUSDT_1m.csv").write_text(content)
    vendor = local(tmp_path, timezone="America/New_York")
    got = vendor.fetch(query("1m", "2024-11-01", "2024-11-05", COIN)).table
    utc = ["04:58", "05:00", "05:05", "05:50", "06:05", "06:20", "06:40", "07:00"]
    assert got.stamps.tolist() == [parse_iso(f"2024-11-03T{time}:00") for time in utc]
    assert got.close.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("is_descending", [False, True])
def test_parts_of_a_file_in_the_wrong_order_move_no_bar_to_the_second_hour(
    tmp_path: Path, is_descending: bool
) -> None:
    times = ["03 01:00", "03 01:30", "03 02:00", "02 23:00", "03 00:00", "03 00:30"]
    rows = [f"2024-11-{time},{n},{n},{n},{n},3\n" for n, time in enumerate(times, start=1)]
    content = HEADER + "".join(reversed(rows) if is_descending else rows)
    (tmp_path / "BTCUSDT_30m.csv").write_text(content)
    vendor = local(tmp_path, timezone="America/New_York")
    got = vendor.fetch(query("30m", "2024-11-01", "2024-11-05", COIN)).table
    utc = ["03:00", "04:00", "04:30", "05:00", "05:30", "07:00"]
    assert got.stamps.tolist() == [parse_iso(f"2024-11-03T{time}:00") for time in utc]
    assert got.close.tolist() == [4, 5, 6, 1, 2, 3]


@pytest.mark.parametrize(
    "timeframe, text, stamp",
    [
        ("1d", "2024-07-03 00:00:00-04:00", "2024-07-03"),
        ("1d", "1720058400", "2024-07-03"),  # 22:00 in New York, the 4th in UTC
        ("1w", "2024-07-05", "2024-07-01"),
        ("1M", "2024-07-31", "2024-07-01"),
        ("1d", "20240703", "2024-07-03"),
    ],
)
def test_days_are_the_dates_of_the_files_zone(
    tmp_path: Path, timeframe: str, text: str, stamp: str
) -> None:
    (tmp_path / f"AAPL_{timeframe}.csv").write_text(HEADER + f"{text},1,2,1,2,3\n")
    vendor = local(tmp_path, timezone="America/New_York")
    got = vendor.fetch(query(timeframe, "2024-01-01", "2024-12-31", AAPL))
    assert got.table.stamps.tolist() == [parse_iso(stamp)]


NVDA = Instrument("NVDA", "stock", "XNYS", "America/New_York")
BTC = Instrument("BTCUSDT", "crypto", quote="USDT")
EUR = Instrument("EURUSD", "forex", "FX", "America/New_York", quote="USD")


@pytest.mark.parametrize(
    "who, timeframe, anchor, closes, opens",
    [
        # The 5th of July follows a holiday and a short day, which ends at 13:00.
        (NVDA, "1h", "session", "2024-07-03 10:30 2024-07-03 12:30 2024-07-03 13:00",
         "2024-07-03 09:30 2024-07-03 11:30 2024-07-03 12:30"),
        (NVDA, "1h", "session", "2024-07-02 15:30 2024-07-02 16:00 2024-07-05 10:30",
         "2024-07-02 14:30 2024-07-02 15:30 2024-07-05 09:30"),
        (NVDA, "1h", "", "2024-07-02 16:00", "2024-07-02 15:30"),
        (NVDA, "1h", "clock", "2024-07-02 10:00 2024-07-02 16:00",
         "2024-07-02 09:00 2024-07-02 15:00"),
        (NVDA, "4h", "session", "2024-07-02 13:30 2024-07-02 16:00 2024-07-03 13:00",
         "2024-07-02 09:30 2024-07-02 13:30 2024-07-03 09:30"),
        (NVDA, "1m", "clock", "2024-07-02 09:31 2024-07-02 16:00",
         "2024-07-02 09:30 2024-07-02 15:59"),
        # Beside the calendar and beside the grid: one step, and never moved onto the grid.
        (NVDA, "1h", "session", "2024-07-04 10:30", "2024-07-04 09:30"),
        (NVDA, "1h", "session", "2024-07-02 11:07", "2024-07-02 10:07"),
        # Summer time ends between the two.
        (EUR, "1h", "clock", "2024-11-01 17:00 2024-11-03 18:00",
         "2024-11-01 16:00 2024-11-03 17:00"),
        (BTC, "4h", "clock", "2024-07-02 00:00 2024-07-02 03:59:59.999",
         "2024-07-01 20:00 2024-07-02 00:00"),
    ],
)  # fmt: skip
def test_hours_stamped_by_closes_are_moved_to_their_opens(
    tmp_path: Path, who: Instrument, timeframe: str, anchor: str, closes: str, opens: str
) -> None:
    def times(text: str) -> list[str]:
        parts = text.split()
        return [f"{day} {hour}" for day, hour in zip(parts[::2], parts[1::2], strict=True)]

    zone = "America/New_York"
    rows = "".join(f"{close},1,2,1,2,3\n" for close in times(closes))
    (tmp_path / f"{who.symbol}_{timeframe}.csv").write_text(HEADER + rows)
    vendor = local(tmp_path, timezone=zone, label="end", anchor=anchor)
    got = vendor.fetch(query(timeframe, "2024-06-01", "2024-12-31", who))
    found = [datetime.fromtimestamp(s / 1000, ZoneInfo(zone)) for s in got.table.stamps.tolist()]
    assert [f"{moment:%Y-%m-%d %H:%M}" for moment in found] == times(opens)


@pytest.mark.parametrize(
    "who, timeframe, zone, close, stamp",
    [
        (BTC, "1d", "UTC", "2024-07-03 00:00", "2024-07-02"),
        (BTC, "1d", "UTC", "2024-07-03", "2024-07-02"),
        (BTC, "1d", "UTC", "2024-07-02T23:59:59.999Z", "2024-07-02"),
        (BTC, "3d", "UTC", "2024-07-04 00:00", "2024-07-01"),
        (BTC, "1w", "UTC", "2024-07-08 00:00", "2024-07-01"),
        (BTC, "1M", "UTC", "2024-08-01 00:00", "2024-07-01"),
        (NVDA, "1d", "America/New_York", "2024-07-02 16:00", "2024-07-02"),
        (NVDA, "1d", "America/New_York", "2024-07-03 13:00", "2024-07-03"),
        (NVDA, "1d", "America/New_York", "2024-07-02", "2024-07-02"),
        (NVDA, "1w", "America/New_York", "2024-07-05", "2024-07-01"),
        (NVDA, "1M", "America/New_York", "2024-07-31", "2024-07-01"),
        (NVDA, "1M", "America/New_York", "2024-08-01", "2024-07-01"),
        # 17:00 in New York is midnight in eastern Europe.
        (EUR, "1d", "Europe/Athens", "2024-07-03 00:00", "2024-07-02"),
        (EUR, "1d", "UTC", "2024-07-02 21:00", "2024-07-02"),
    ],
)
def test_daily_and_longer_bars_stamped_by_closes_are_moved_to_their_opens(
    tmp_path: Path, who: Instrument, timeframe: str, zone: str, close: str, stamp: str
) -> None:
    (tmp_path / f"{who.symbol}_{timeframe}.csv").write_text(HEADER + f"{close},1,2,1,2,3\n")
    got = local(tmp_path, timezone=zone, label="end").fetch(
        query(timeframe, "2024-01-01", "2024-12-31", who)
    )
    assert got.table.stamps.tolist() == [parse_iso(stamp)]


def test_bars_have_the_declared_anchor(tmp_path: Path) -> None:
    hour, day = Timeframe.parse("1h"), Timeframe.parse("1d")
    declared = {
        anchor: local(tmp_path, anchor=anchor).capabilities for anchor in ("", "clock", "session")
    }
    anchors = {
        (anchor, who.symbol): declared[anchor].kind(who, hour).anchor
        for anchor in declared
        for who in (NVDA, BTC)
    }
    assert anchors == {
        ("", "NVDA"): "", ("", "BTCUSDT"): "",
        ("clock", "NVDA"): "clock", ("clock", "BTCUSDT"): "clock",
        # Around the clock there is no open to count from.
        ("session", "NVDA"): "session", ("session", "BTCUSDT"): "clock",
    }  # fmt: skip
    assert declared["clock"].kind(NVDA, day).anchor == "session"


def test_a_file_stamped_by_closes_without_rows_raises_no_data(tmp_path: Path) -> None:
    (tmp_path / "NVDA_1h.csv").write_text(HEADER)
    with pytest.raises(NoDataError):
        local(tmp_path, label="end").fetch(query("1h", "2024-01-01", "2024-12-31", NVDA))


def test_only_bars_of_the_span_are_returned(tmp_path: Path) -> None:
    (tmp_path / "AAPL_1d.csv").write_text(HEADER + "2023-12-31,1,1,1,1,1,,\n\n" + ROWS)
    assert len(fetch(local(tmp_path)).table) == 2
    with pytest.raises(NoDataError):
        local(tmp_path).fetch(query("1d", "2020-01-01", "2020-02-01", AAPL))


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "AAPL_1d.csv line 1 lacks the columns timestamp, open, high, low, close"),
        ("timestamp,open,high,low\n", "line 1 lacks the column close"),
        (HEADER + ROWS + "2024-01-04,x,1,1,1,1\n", "line 4: column 'open' contains 'x'"),
        (HEADER + "2024-01-04,1,1\n", "AAPL_1d.csv line 2"),
        (
            HEADER + "2024-01-04,1,3,1,2,5,10\n",
            "line 2: a row has 7 fields, but there are 6 columns",
        ),
        (HEADER + "20241301,1,1,1,1,1\n", "line 2"),
        (HEADER + "202413010000,1,1,1,1,1\n", "line 2"),
        (HEADER + "4th of July,1,1,1,1,1\n", "line 2: Invalid isoformat string: '4th of July'"),
        (HEADER + f"{10**40},1,1,1,1,1\n", "line 2"),
        (HEADER + f"2024-01-04,{'1' * 131_073},1,1,1,1\n", "line 2: field larger than field limit"),
        (f"{'x' * 131_073}\n", "line 1: field larger than field limit"),
        ("\x1b[2J,open\n1,2\n", "AAPL_1d.csv is not CSV text in UTF-8"),
    ],
)
def test_bad_files_are_named_with_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "AAPL_1d.csv").write_text(text)
    with pytest.raises(ResponseFormatError, match=said):
        fetch(local(tmp_path))


CODED = {
    "UTF-16": (HEADER + ROWS).encode("utf-16"),
    "UTF-32": (HEADER + ROWS).encode("utf-32"),
    "gzip": gzip.compress((HEADER + ROWS).encode()),
    "bzip2": bz2.compress((HEADER + ROWS).encode()),
    "xz": lzma.compress((HEADER + ROWS).encode()),
}


@pytest.mark.parametrize("name", CODED)
def test_the_error_for_a_file_in_another_encoding_names_the_expected_one(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "AAPL_1d.csv").write_bytes(CODED[name])
    with pytest.raises(ResponseFormatError, match=r"AAPL_1d\.csv is not CSV text in UTF-8"):
        fetch(local(tmp_path))


def test_reading_rows_ends_at_the_timeout_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Times in this form are parsed row by row.
    (tmp_path / "AAPL_1d.csv").write_text(HEADER + ROWS.replace("-", ".") * 5_000)
    clock, rows, bar = ManualClock(0), list[object](), local_bars.Bar

    def slow(*arguments: Any) -> Bar:
        clock.advance(0.01)
        rows.append(bar(*arguments))
        return rows[-1]  # type: ignore[return-value]

    monkeypatch.setattr(local_bars, "Bar", slow)
    with pytest.raises(ProviderTimeoutError, match="the time for this call"):
        run_call(clock, 5.0, fetch, local(tmp_path))
    assert 500 <= len(rows) < 4_000
    rows.clear()
    run_call(clock, 300.0, fetch, local(tmp_path))
    assert len(rows) == 10_000


@pytest.mark.parametrize("name", ["AAPL_1d.csv.gz", "AAPL_1d.parquet"])
def test_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(gzip.compress(b"x" * 1000)[:40])
    with pytest.raises(ResponseFormatError, match=name):
        fetch(local(tmp_path))


@pytest.mark.parametrize(
    "symbol", ["MSFT", "../secret", "..", "/etc/passwd", "a/../../b", "%2e%2e"]
)
def test_a_symbol_without_a_file_is_unknown_and_cannot_leave_the_folder(
    tmp_path: Path, symbol: str
) -> None:
    folder = tmp_path / "bars"
    folder.mkdir()
    (tmp_path / "secret_1d.csv").write_text(HEADER + ROWS)
    with pytest.raises(SymbolNotFoundError):
        fetch(local(folder), symbol=symbol)
    with pytest.raises(SymbolNotFoundError):
        fetch(local(folder, pattern="{symbol}/{timeframe}"), symbol=symbol)
    with pytest.raises(SymbolNotFoundError):
        fetch(local(folder, pattern="../{symbol}_{timeframe}"), symbol="secret")


def test_the_error_for_a_missing_file_contains_its_expected_name(tmp_path: Path) -> None:
    others = r"\(or \.csv\.gz, \.parquet, \.feather\) "
    for pattern, name in (
        ("my {symbol}", rf"my MSFT\.csv {others}"),
        ("{symbol}.csv", "MSFT.csv "),
    ):
        with pytest.raises(SymbolNotFoundError, match=f"there is no file {name}in {tmp_path}$"):
            fetch(local(tmp_path, pattern=pattern), symbol="MSFT")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "bars"
    folder.mkdir()
    (tmp_path / "secret.csv").write_text(HEADER + ROWS)
    (folder / "AAPL_1d.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(SymbolNotFoundError):
        fetch(local(folder))


@pytest.mark.parametrize(
    "mapping, said",
    [
        ({}, "no folder is set"),
        ({"folder": None}, "no folder is set"),
        ({"folder": "x", "patern": "y"}, "did you mean pattern"),
        ({"folder": "x", "adjustment": "splits"}, "adjustment 'splits'"),
        ({"folder": "x", "timezone": "Mars"}, "time zone 'Mars'"),
        ({"folder": "x", "label": "close"}, "label 'close' is not valid"),
        ({"folder": "x", "label": ["end"]}, "label"),
        ({"folder": "x", "anchor": "open"}, "anchor 'open' is not valid"),
        ({"folder": "x", "delimiter": "::"}, "delimiter '::' is not valid"),
        ({"folder": "x", "pattern": "all.csv"}, "must contain {symbol}"),
        (
            {"folder": "x", "pattern": "{symbol}{other}"},
            "pattern: it has the field {other}; only {symbol}",
        ),
    ],
)
def test_an_unknown_layout_is_refused(mapping: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        LocalDataDownloader(mapping, sender=sender_over(None))


def test_a_file_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["timestamp,open,high,low,close,volume"]
    lines += [f"2024-01-{day:02d},1,2,0.5,1.5,7" for day in range(1, 11)]
    (tmp_path / "AAPL_1d.csv").write_text("\n".join(lines) + "\n")
    vendor = LocalDataDownloader({"folder": str(tmp_path)})
    read: list[int] = []
    real = Columns.table

    def counted(columns: Columns, *args: Any) -> Any:
        table = real(columns, *args)
        read.append(len(table or ()))
        return table

    monkeypatch.setattr(Columns, "table", counted)
    instrument = Instrument("AAPL", "stock", "XNYS", "America/New_York")
    for first in (1, 3, 5):
        span = Span(parse_iso(f"2024-01-{first:02d}"), parse_iso("2024-01-08"))
        query = FetchQuery(instrument, Timeframe.parse("1d"), span, parse_iso("2024-06-01"))
        assert len(vendor.fetch(query).table) == 8 - first
    assert read == [10]
    (tmp_path / "AAPL_1d.csv").write_text("\n".join(lines[:6]) + "\n")
    assert len(vendor.fetch(query).table) == 1
    assert read == [10, 5]


# --- columns at once, and row by row: the same bars


def of_minutes(form: str, start: str = "2024-03-10T05:30", count: int = 240) -> str:
    """Return rows of minutes whose times have a ``strftime`` form, with odd but valid numbers."""
    first, rows = datetime.fromisoformat(start).replace(tzinfo=UTC), []
    for n in range(count):
        at = first + timedelta(minutes=n)
        time = str(int(at.timestamp() * 1000)) if form == "ms" else at.strftime(form)
        rows.append(f"{time},{1 + n / 7},1e2,{0.1 + 0.2:.20f},{2 / 3 + n},{n or ''}\n")
    return "".join(rows)


LAYOUTS: dict[str, tuple[str, str, dict[str, Any], bool]] = {
    "naive": ("1m", HEADER + of_minutes("%Y-%m-%dT%H:%M:%S"), {}, True),
    "minutes only": ("1m", HEADER + of_minutes("%Y-%m-%d %H:%M"), {}, True),
    "an offset": ("1m", HEADER + of_minutes("%Y-%m-%d %H:%M:%S+01:00"), {}, True),
    "zulu": ("1m", HEADER + of_minutes("%Y-%m-%dT%H:%M:%SZ"), {}, True),
    "fractions": ("1m", HEADER + of_minutes("%Y-%m-%dT%H:%M:%S.000"), {}, True),
    "milliseconds": ("1m", HEADER + of_minutes("ms"), {}, True),
    "a skipped hour": (
        "1m", HEADER + of_minutes("%Y-%m-%d %H:%M", "2024-03-09T23:00"),
        {"timezone": "America/New_York"}, True,
    ),
    "half an hour skipped": (
        "1m", HEADER + of_minutes("%Y-%m-%d %H:%M", "2024-10-06T01:00", 60)
        + of_minutes("%Y-%m-%d %H:%M", "2024-10-06T02:30", 60),
        {"timezone": "Australia/Lord_Howe"}, True,
    ),
    "a repeated hour": (
        "1m", HEADER + 2 * of_minutes("%Y-%m-%d %H:%M", "2024-11-03T01:00", 60),
        {"timezone": "America/New_York"}, False,
    ),
    "descending": (
        "1m", HEADER + "".join(reversed(of_minutes("%Y-%m-%d %H:%M").splitlines(True))),
        {"timezone": "America/New_York"}, True,
    ),
    "closes": ("1m", HEADER + of_minutes("%Y-%m-%d %H:%M:59.999"), {"label": "end"}, True),
    "windows": ("1m", "\ufeff" + (HEADER + of_minutes("%Y-%m-%d %H:%M")).replace("\n", "\r\n"), {}, True),
    "quoted": ("1m", HEADER.replace("open", '"open"') + of_minutes('"%Y-%m-%d %H:%M"'), {}, False),
    "quoted and whole": ("1d", HEADER + '"2024-03-01","1",2,1,2,3\n', {}, True),
    "tabs": ("1m", (HEADER + of_minutes("%Y-%m-%d %H:%M")).replace(",", "\t"), {"delimiter": "\t"}, True),
    "blank lines": ("1m", (HEADER + of_minutes("%Y-%m-%d %H:%M")).replace("\n", "\n\n"), {}, False),
    "days": ("1d", HEADER + "2024-03-01,1,2,1,2,3\n2024-03-04,1,2,1,2,\n", {}, True),
    "days with an offset": ("1d", HEADER + "2024-03-01 00:00:00+09:00,1,2,1,2,3\n", {}, True),
    "days as instants": ("1d", HEADER + "2024-03-01T14:30:00Z,1,2,1,2,3\n", {}, False),
    "dotted days": ("1d", HEADER + "2024.03.01,1,2,1,2,3\n", {}, False),
    "digits": ("1d", HEADER + "20240301,1,2,1,2,3\n", {}, False),
    "other columns": (
        "1d", "x,close,time,low,high,open\nthe first,2,2024-03-01,1,2,1\n,2,2024-03-04,1,2,1\n",
        {"time_column": "time"}, True,
    ),
    "adjusted closes": (
        "1d", "timestamp,open,high,low,close,volume,adj_close\n2024-03-01,1,2,1,2,3,1.9\n", {}, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_columns_are_parsed_at_once_to_the_bars_that_rows_one_by_one_give(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label, text, layout, is_at_once = LAYOUTS[name]
    (tmp_path / f"AAPL_{label}.csv").write_text(text, newline="")
    instrument = Instrument("AAPL", "stock", "XNYS", "America/New_York")
    span = Span(parse_iso("2024-01-01"), parse_iso("2025-01-01"))
    query = FetchQuery(instrument, Timeframe.parse(label), span, parse_iso("2025-06-01"))
    tables, parsed, real = [], list[bool](), Columns.table

    def noted(columns: Columns, *args: Any) -> Any:
        table = real(columns, *args)
        parsed.append(table is not None)
        return table

    monkeypatch.setattr(Columns, "table", noted)
    tables.append(LocalDataDownloader({"folder": str(tmp_path), **layout}).fetch(query).table)
    assert any(parsed) == is_at_once
    monkeypatch.setattr(Columns, "table", lambda *_: None)
    tables.append(LocalDataDownloader({"folder": str(tmp_path), **layout}).fetch(query).table)
    once, by_row = tables
    assert once.columns == by_row.columns
    assert len(once) == len(by_row) > 0
    assert (once.stamps == by_row.stamps).all()
    for column, other in zip(once.values(), by_row.values(), strict=True):
        assert column.tobytes() == other.tobytes(), "bit for bit"


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ("2024-01-11,1,2,1,2\n", "line 3: list index out of range"),
        ("2024-01-11,1,2,1,2,3,4\n", "line 3: a row has 7 fields"),
        ("2024-01-11,1,2,NA,2,3\n", "line 3: column 'low' contains 'NA'"),
        ("2024-01-11,1,2,0x1,2,3\n", "line 3: column 'low' contains '0x1'"),
        ("2024-01-11,1,2,True,2,3\n", "line 3: column 'low' contains 'True'"),
        ("11/01/2024,1,2,1,2,3\n", "line 3: Invalid isoformat string"),
        (",1,2,1,2,3\n", "line 3: Invalid isoformat string"),
        ("2024-01-11 10:00,1,2,1,2,3\n", ""),
    ],
)
def test_a_row_unlike_the_others_is_read_or_named_as_if_it_were_alone(
    rows: str, wrong: str, tmp_path: Path
) -> None:
    (tmp_path / "AAPL_1d.csv").write_text(HEADER + "2024-01-10,1,2,1,2,3\n" + rows)
    if wrong:
        with pytest.raises(ResponseFormatError, match=wrong):
            fetch(local(tmp_path))
    else:
        assert len(fetch(local(tmp_path)).table) == 2


PRICES = "Open,High,Low,Close"


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (f"Date,{PRICES},Adj Close,Volume", "2024-01-02,1,2,1,2,1.5,3"),  # Yahoo
        (f"Datetime,{PRICES},Volume", "2024-01-02 00:00:00,1,2,1,2,3"),
        (f"Date,{PRICES},Volume", "2024-01-02,1,2,1,2,3"),  # Stooq
        ("time,open,high,low,close,Volume", "1704153600,1,2,1,2,3"),  # TradingView
        ("timestamp,open,high,low,close,volume,trade_count,vwap", "2024-01-02,1,2,1,2,3,9,1.5"),
        ("date,timestamp,open,high,low,close,volume", "2020-01-01,2024-01-02,1,2,1,2,3"),
        ("<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>", "2024.01.02,00:00:00,1,2,1,2,3"),
    ],
)
def test_headers_of_usual_exports_are_found_without_a_layout(
    tmp_path: Path, header: str, row: str
) -> None:
    (tmp_path / "AAPL_1d.csv").write_text(f"{header}\n{row}\n")
    table = fetch(local(tmp_path)).table
    assert table.stamps.tolist() == [parse_iso("2024-01-02")]
    assert [column[0] for column in (table.open, table.high, table.low, table.close)] == [
        1,
        2,
        1,
        2,
    ]
    adjusted = None if table.adj_close is None else table.adj_close[0]
    assert adjusted == (1.5 if "Adj Close" in header else None)
    assert table.volume[0] == 3 or "<VOL>" in header


@pytest.mark.parametrize(
    ("header", "row", "line"),
    [
        ("Gmt time,Open,High,Low,Close", "2024-01-02,1,2,1,2", 'time_column: "Gmt time"'),
        (
            "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>",
            "2024.01.02\t00:00\t1\t2\t1\t2",
            'delimiter: "\\t"',
        ),
        ("Date;Open;High;Low;Close", "2024-01-02;1;2;1;2", 'delimiter: ";"'),
        (f"Date,{PRICES}", "02.01.2024,1,2,1,2", 'time_format: "%d.%m.%Y"'),
        (f"Date,{PRICES}", "02.01.2024 00:00:00,1,2,1,2", 'time_format: "%d.%m.%Y %H:%M:%S"'),
    ],
)
def test_the_error_names_the_line_to_write_with_which_the_file_is_read(
    tmp_path: Path, header: str, row: str, line: str
) -> None:
    (tmp_path / "AAPL_1d.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(ResponseFormatError) as caught:
        fetch(local(tmp_path))
    said = str(caught.value)
    assert line in said
    assert header.split(",")[0][:6] in said or row[:10] in said
    table = fetch(local(tmp_path, **yaml.safe_load(line))).table
    assert table.stamps.tolist() == [parse_iso("2024-01-02")]
    assert table.close.tolist() == [2]


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        (f"Date,{PRICES}", "03/04/2024,1,2,1,2", 'time_format: "%m/%d/%Y" or "%d/%m/%Y"'),
        (
            f"Date,{PRICES}",
            "03/04/2024 00:00:00,1,2,1,2",
            'time_format: "%m/%d/%Y %H:%M:%S" or "%d/%m/%Y %H:%M:%S"',
        ),
        ("Day,Open,High,Low,Close", "2024-01-02,1,2,1,2", "`time_column: NAME`"),
        ("Open time,Close time,Open,High,Low,Close", "1,2,1,2,1,2", "`time_column: NAME`"),
        ("Date,Open,High,Low,Adj Close", "2024-01-02,1,2,1,2", "`columns: {close: NAME}`"),
        (
            "Date,o,h,l,c",
            "2024-01-02,1,2,1,2",
            "`columns: {open: NAME, high: NAME, low: NAME, close: NAME}`",
        ),
    ],
)
def test_what_cannot_be_known_is_not_guessed(
    tmp_path: Path, header: str, row: str, said: str
) -> None:
    (tmp_path / "AAPL_1d.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(ResponseFormatError) as caught:
        fetch(local(tmp_path))
    assert said in str(caught.value)
