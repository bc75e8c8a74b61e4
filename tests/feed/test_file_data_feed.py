"""CSV files of many layouts, and as Backtrader data."""

from __future__ import annotations

import gzip
import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.feed.file_data_feed import CsvColumns, FileDataFeed, read_csv_bars
from tests.feed.hands import witnessed
from tests.feed.test_backtrader_feed import wait_until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Backtrader's own utcnow
ROW = "{at},1.0,2.0,0.5,1.5,10"
HEAD = "{time},open,high,low,close,volume"


def written(path: Path, stamps: list[Any], time: str = "datetime") -> Path:
    lines = [HEAD.format(time=time), *(ROW.format(at=at) for at in stamps)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a CSV file that does not exist yet."""
    return tmp_path / "bars.csv"


NINE = pd.Timestamp("2024-01-02 09:00")


@pytest.mark.parametrize(
    "stamp",
    ["2024-01-02 09:00:00", "2024-01-02T09:00:00Z", "2024-01-02T10:00:00+01:00", 1704186000,
     1704186000000, 202401020900, 20240102090000],
)  # fmt: skip
def test_timestamps_in_any_notation_are_converted_to_utc(file: Path, stamp: Any) -> None:
    frame = read_csv_bars(written(file, [stamp]))
    assert list(frame.index) == [NINE]
    assert frame.index.tz is None


@pytest.mark.parametrize("name", ["timestamp", "open_time", "close_time", "Date", "Time"])
def test_usual_names_of_the_time_column_are_found(file: Path, name: str) -> None:
    assert len(read_csv_bars(written(file, ["2024-01-02"], name))) == 1


def test_the_error_for_dates_of_a_broker_names_the_argument(file: Path) -> None:
    path = written(file, ["02.01.2024"])
    with pytest.raises(ValueError, match=r"'02\.01\.2024'; datetime_format=\"%d\.%m\.%Y\"$"):
        read_csv_bars(path)
    frame = read_csv_bars(path, CsvColumns(datetime_format="%d.%m.%Y"))
    assert list(frame.index) == [pd.Timestamp("2024-01-02")]


def test_dates_without_separators_are_dates(file: Path) -> None:
    frame = read_csv_bars(written(file, [20240102, 20240103], "date"))
    assert list(frame.index) == [pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-03")]
    seconds = read_csv_bars(written(file, [17041860, 17041920]))  # no month has the number 18
    assert seconds.index[0] == pd.Timestamp("1970-07-17 05:51:00")


@pytest.mark.parametrize("day", ["2024-01-02", "20240102", "2024.01.02"])
def test_dates_and_times_in_two_columns_are_joined(file: Path, day: str) -> None:
    rows = [f"{day},{time},1,2,0.5,1.5,10" for time in ("09:00", "09:01", "10:00")]
    file.write_text("\n".join(["Date,Time,open,high,low,close,volume", *rows]))
    stamps = [NINE, pd.Timestamp("2024-01-02 09:01"), pd.Timestamp("2024-01-02 10:00")]
    assert list(read_csv_bars(file).index) == stamps
    file.write_text(file.read_text().replace(":", ""))
    with pytest.raises(ValueError, match="Time does not contain times such as 14:30"):
        read_csv_bars(file)


def test_rows_with_the_time_of_a_later_one_are_counted_in_the_log(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(read_csv_bars(written(file, ["2024-01-02", "2024-01-02", "2024-01-03"]))) == 2
    assert "1 rows were left out: a later one has its time" in caplog.text


def test_csv_times_are_read_in_the_given_zone_and_format(file: Path) -> None:
    columns = CsvColumns(timezone="America/New_York", datetime_format="%d.%m.%Y %H:%M")
    frame = read_csv_bars(written(file, ["02.01.2024 04:00", "02.07.2024 05:00"]), columns)
    assert list(frame.index) == [NINE, pd.Timestamp("2024-07-02 09:00")]  # winter and summer


def test_rows_are_sorted_and_the_last_of_equal_timestamps_is_used(file: Path) -> None:
    rows = "2024-01-03,3,3,3,3,1\n2024-01-02,2,2,2,2,1\n2024-01-02,1,1,1,1,1\n"
    file.write_text(HEAD.format(time="datetime") + "\n" + rows)
    assert list(read_csv_bars(file)["close"]) == [1.0, 3.0]
    newest_first = CsvColumns(reverse=True)
    assert list(read_csv_bars(file, newest_first)["close"]) == [2.0, 3.0]


def test_other_columns_separators_and_open_interest_are_read(file: Path) -> None:
    file.write_text("when;o;h;l;c;v;oi\n2024-01-02;1;2;0.5;1.5;10;7\n")
    columns = CsvColumns("when", "o", "h", "l", "c", "v", "oi", ";")
    (row,) = read_csv_bars(file, columns).to_dict("records")
    assert row == {"open": 1, "high": 2, "low": 0.5, "close": 1.5, "volume": 10, "openinterest": 7}
    layout = dict(zip(("datetime_col", "open_col", "high_col", "low_col", "close_col", "volume_col",
                       "openinterest_col", "separator"), ("when", *"ohlcv", "oi", ";"),
                      strict=True))  # fmt: skip
    interest: list[float] = []
    feed = FileDataFeed(dataname=file, **layout)
    witnessed(feed, act=lambda s: interest.append(s.data.openinterest[0]))
    assert interest == [7.0]


def test_rows_without_a_price_are_left_out_and_logged(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(
        HEAD.format(time="datetime") + "\n2024-01-02,1,2,0.5,,1\n2024-01-03,1,2,1,2,1\n"
    )
    with caplog.at_level(logging.WARNING):
        assert list(read_csv_bars(file)["close"]) == [2.0]
    assert (
        "1 of 2 rows were left out, the first at 2024-01-02 00:00:00: price missing" in caplog.text
    )


@pytest.mark.parametrize(
    "row, why",
    [
        ("2024-01-03,-1,-1,-2,-1,1", "price not positive"),
        ("2024-01-03,0,0,0,0,1", "price not positive"),
        ("2024-01-03,1e300,1e300,1e300,1e300,1", "price beyond any market's"),
        ("2024-01-03,1,1,1,2,1", "high below open or close"),
        ("2024-01-03,1,1,1,1,-5", "volume negative"),
        ("2124-01-03,1,1,1,1,1", "stamp in the future"),
    ],
)
def test_rows_that_cannot_be_bars_are_left_out_and_logged(
    file: Path, caplog: pytest.LogCaptureFixture, row: str, why: str
) -> None:
    file.write_text(HEAD.format(time="datetime") + f"\n2024-01-02,1,2,0.5,1,1\n{row}\n")
    with caplog.at_level(logging.WARNING):
        assert list(read_csv_bars(file)["close"]) == [1.0]
    assert why in caplog.text


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "line 1 lacks the columns datetime or .* volume; it has none"),
        ("datetime,open,high,low,close\n2024-01-02,1,1,1,1\n", "lacks the column volume"),
        (
            "a,open,high,low,close,volume\n1,1,1,1,1,1\n",
            "lacks the column datetime or timestamp",
        ),
        ("datetime,open,high,low,close,volume\nsoon,1,1,1,1,1\n", "does not contain times:"),
        ("datetime,open,high,low,close,volume\n", "contains no valid bars"),
    ],
)
def test_the_error_of_a_bad_csv_file_names_the_fault(file: Path, text: str, why: str) -> None:
    file.write_text(text)
    with pytest.raises(ValueError, match=why):
        read_csv_bars(file)


def test_a_row_with_a_value_that_cannot_be_read_is_named_in_the_log(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "2024-01-02,1,2,0.5,1,1\n2024-01-03,1,x,1,1,1\n2024-01-04,1,2,1,1,1,5\n,1,2,1,1,1\n"
    file.write_text(HEAD.format(time="datetime") + f"\n{rows}")
    assert list(read_csv_bars(file).index) == [pd.Timestamp("2024-01-02")]
    assert "3 rows were left out, the first:" in caplog.text
    assert "bars.csv line 3: column 'high' contains 'x', not a number" in caplog.text


def test_files_that_are_not_text_and_other_separators_are_refused_or_read(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read as CSV"):
        read_csv_bars(file)
    written(file, ["2024-01-02"])
    packed = file.with_suffix(".csv.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert read_csv_bars(packed).equals(read_csv_bars(file))
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(ValueError, match="cannot be read as CSV"):
        read_csv_bars(packed)
    with pytest.raises(ValueError, match="cannot be read as CSV"):
        read_csv_bars(file, CsvColumns(separator="::"))


def test_a_repeated_hour_is_two_bars(file: Path) -> None:
    """An hour that occurs twice while clocks go back is two hours of UTC."""
    stamps = [
        f"2024-11-03 {hour}" for hour in ("00:30", "01:00", "01:30", "01:00", "01:30", "02:00")
    ]
    frame = read_csv_bars(written(file, stamps), CsvColumns(timezone="America/New_York"))
    assert [at.hour for at in frame.index] == [4, 5, 5, 6, 6, 7]


def test_a_column_of_open_interest_that_the_file_lacks_is_an_error(file: Path) -> None:
    file.write_text(HEAD.format(time="datetime") + "\n2024-01-02,1,2,0.5,1,1\n")
    with pytest.raises(ValueError, match="lacks the column oi; it has datetime, open, high"):
        read_csv_bars(file, CsvColumns(openinterest_col="oi"))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        FileDataFeed(dataname=tmp_path / "nothing.csv")


# --- as a data -----------------------------------------------------------------------------------


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Return a CSV file with two days of hourly sample bars of TEST."""
    path = tmp_path / "sample.csv"
    FileDataFeed.create_sample_csv(path, symbol="TEST", days=2, interval_minutes=60)
    return path


def test_the_sample_file_is_the_same_every_time(sample: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.csv"
    FileDataFeed.create_sample_csv(again, days=2)
    assert again.read_bytes() == sample.read_bytes()
    assert len(read_csv_bars(sample)) == 48


@pytest.mark.parametrize("realtime", [False, True])
def test_every_row_is_delivered_with_the_timestamp_of_the_file(
    sample: Path, realtime: bool
) -> None:
    feed = FileDataFeed(
        dataname=str(sample), symbol="TEST", simulate_realtime=realtime, realtime_interval=0
    )
    seen, told = witnessed(feed)
    assert [row[1] for row in seen] == list(feed.df.index.to_pydatetime())
    assert [row[5] for row in seen] == list(feed.df["close"])
    assert ("LIVE" in told) is realtime
    assert feed.get_status() == {
        "symbol": "TEST", "file_path": str(sample), "total_rows": 48, "current_index": 48,
        "is_realtime": realtime, "last_delivered": datetime(2024, 1, 2, 23), "queue_size": 0,
        "should_stop": True, "data_source": "CSV File",
    }  # fmt: skip


def test_bars_of_a_feed_with_a_timeframe_are_stamped_by_their_closes(sample: Path) -> None:
    seen, _ = witnessed(FileDataFeed(dataname=sample, interval="1h"))
    assert (seen[0][1], seen[-1][1]) == (datetime(2024, 1, 1, 1), datetime(2024, 1, 3))


@pytest.mark.parametrize("moment", ["2024-01-02", "2024-01-02T00:00:00", datetime(2024, 1, 2)])
def test_fromdate_and_todate_limit_the_bars_of_a_file(sample: Path, moment: Any) -> None:
    seen, _ = witnessed(FileDataFeed(dataname=sample, fromdate=moment, todate="2024-01-02"))
    assert (len(seen), seen[0][1], seen[-1][1]) == (
        24, datetime(2024, 1, 2), datetime(2024, 1, 2, 23)
    )  # fmt: skip


def test_simulated_live_bars_are_passed_to_the_callback(sample: Path) -> None:
    got: list[Any] = []
    feed = FileDataFeed(
        dataname=sample, symbol="TEST", simulate_realtime=True, realtime_interval=0,
        on_new_bar=lambda *said: got.append(said),
    )  # fmt: skip
    witnessed(feed)
    wait_until(lambda: len(got) == 48)
    assert got[0][:2] == ("TEST", pd.Timestamp("2024-01-01"))
    assert got[0][2]["close"] == feed.df["close"].iloc[0]
