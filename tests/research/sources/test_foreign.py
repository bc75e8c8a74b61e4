"""Sources of a program: what they answer is checked, kept as it is, and never mixed into the store."""

from __future__ import annotations

import asyncio
import threading
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from src.data.bundles.metadata import BundleMetadata
from src.data.data_manager import DataManager
from src.data.errors import (
    BundleError,
    DecimalRangeError,
    ForeignError,
    NoDataAvailableError,
    ProviderTimeoutError,
    QueryError,
    ResponseFormatError,
    UnavailableError,
)
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.research.bundles.bundle import Bundle
from src.data.research.sources.sources import (
    DataSource,
    DataSourceMetadata,
    SourceQuestion,
    checked_frame,
    fetched,
    ingested,
)
from src.data.research.sources.vendor_sources import VendorDataSource
from tests.research.portal.portal_stage import Fake

START, END = pd.Timestamp("2024-06-03"), pd.Timestamp("2024-06-05")
TWO = SourceQuestion.of(["ZZ", "AA"], START, END, "1d")
MINUTES = SourceQuestion.of(["AA"], START, START + pd.Timedelta(minutes=2), "1m")
DIGITS = Decimal("1234567890.12345678")


class Mine(DataSource):
    """A source of four methods; `frame` is what it answers."""

    def __init__(self, frame: Any = None, source_type: str = "mine") -> None:
        self.frame, self.source_type = frame, source_type

    async def fetch(self, symbols: Any, start: Any, end: Any, frequency: str) -> Any:
        if isinstance(self.frame, BaseException):
            raise self.frame
        return self.frame

    async def ingest_to_bundle(
        self, bundle_name: str, symbols: list[str], start: Any, end: Any, frequency: str
    ) -> Path:
        return await super().ingest_to_bundle(bundle_name, symbols, start, end, frequency)

    def get_metadata(self) -> DataSourceMetadata:
        return DataSourceMetadata(self.source_type, "file:///mine", "7")

    def supports_live(self) -> bool:
        return False


def frame(*rows: tuple[Any, str, Any], **more: Any) -> pl.DataFrame:
    """Return rows of a time, a symbol and a close."""
    times, symbols, closes = zip(*rows, strict=True)
    made = pl.DataFrame(
        {"timestamp": times, "symbol": symbols, "close": closes, "volume": [1.0] * len(rows)}
    )
    made = made.with_columns(pl.col("close").alias(name) for name in ("open", "high", "low"))
    return made.with_columns(pl.Series(name, values) for name, values in more.items())


DAYS = frame(
    (date(2024, 6, 4), "AA", 2.0), (date(2024, 6, 3), "AA", 1.0), (date(2024, 6, 3), "ZZ", 5.0)
)  # fmt: skip


def ingest(source: Any, name: str = "own", question: SourceQuestion = TWO) -> Path:
    return asyncio.run(
        source.ingest_to_bundle(name, list(question.symbols), START, END, question.timeframe.label)
    )


def test_rows_are_sorted_in_the_order_of_the_request_and_keep_types_and_columns() -> None:
    exact = DAYS.with_columns(
        pl.Series("close", [DIGITS] * 3, pl.Decimal(18, 8)), pl.Series("note", ["b", "a", "z"])
    ).with_columns(pl.lit(DIGITS).cast(pl.Decimal(18, 8)).alias("high"))
    rows = checked_frame(exact, "Mine", TWO)
    assert rows.columns[:7] == ["timestamp", "symbol", "open", "high", "low", "close", "volume"]
    assert rows["note"].to_list() == ["z", "a", "b"]
    assert rows["close"].to_list() == [DIGITS] * 3
    assert rows.schema["timestamp"] == pl.Datetime("us")
    assert checked_frame(exact.lazy(), "Mine", TWO).equals(rows)


def test_a_day_is_the_date_in_the_zone_of_the_column() -> None:
    stamps = pl.Series("timestamp", [datetime(2024, 6, 3), datetime(2024, 6, 4)])
    for zone in ("Asia/Tokyo", "America/New_York", "UTC"):
        own = frame((1, "AA", 1.0), (2, "AA", 2.0)).with_columns(stamps.dt.replace_time_zone(zone))
        one = SourceQuestion.of(["AA"], START, END, "1d")
        assert checked_frame(own, "Mine", one)["timestamp"].to_list() == stamps.to_list()
    tokyo = frame((1, "AA", 1.0)).with_columns(
        pl.Series("timestamp", [datetime(2024, 6, 3, 9, 1)]).dt.replace_time_zone("Asia/Tokyo")
    )
    assert checked_frame(tokyo, "Mine", MINUTES)["timestamp"].to_list() == [
        datetime(2024, 6, 3, 0, 1)
    ]


def test_unrequested_rows_of_a_source_are_left_out_with_a_warning() -> None:
    more = pl.concat([DAYS, frame((date(2024, 6, 6), "AA", 3.0), (date(2024, 6, 4), "QQ", 3.0))])
    with pytest.warns(
        UserWarning, match="returned 2 rows besides the 1d bars for ZZ, AA"
    ) as caught:
        assert len(checked_frame(more, "Mine", TWO)) == 3
    assert caught[0].filename == __file__


def test_equal_rows_count_once_and_rows_that_can_be_no_bars_are_kept_with_a_warning() -> None:
    assert checked_frame(pl.concat([DAYS, DAYS[:1]]), "Mine", TWO).height == 3
    odd = DAYS.with_columns(high=pl.Series([1.0, 1.0, 5.0]))
    with pytest.warns(UserWarning, match="1 invalid row, the first for AA at 2024-06-04"):
        assert checked_frame(odd, "Mine", TWO).height == 3


@pytest.mark.parametrize(
    "given, why",
    [
        (None, "expected a Polars frame, not NoneType"),
        (pd.DataFrame({"close": [1.0]}), "expected a Polars frame, not DataFrame"),
        (DAYS.drop("close"), "the frame has no close"),
        (DAYS.drop("timestamp"), "the frame has no timestamp"),
        (DAYS.drop("symbol"), "the frame has no symbol"),
        (DAYS.with_columns(close=pl.lit("x")), "close has the type String, not a number"),
        (
            DAYS.with_columns(timestamp=pl.lit("2024-06-03")),
            "timestamp has the type String, not a time",
        ),
        (DAYS.with_columns(symbol=pl.lit(1)), "symbol has the type Int32, not a string"),
        (DAYS.with_columns(timestamp=pl.lit(None, pl.Date)), "timestamp is null in 3 rows"),
        (DAYS.with_columns(close=pl.lit(float("inf"))), "close has an infinity"),
        (
            pl.concat([DAYS, DAYS[:1].with_columns(close=pl.lit(9.0))]),
            "it has different rows for AA at 2024-06-04",
        ),
        (DAYS.lazy().select("nothing"), "it cannot be collected"),
    ],
)
def test_a_frame_that_cannot_be_bars(given: Any, why: str, bundles: Path) -> None:
    with pytest.raises(ResponseFormatError, match=f"Mine returned an invalid frame: .*{why}"):
        asyncio.run(fetched(Mine(given), TWO))
    with pytest.raises(ResponseFormatError):
        ingest(Mine(given))
    assert not Bundle("own").exists()


def test_a_source_without_the_requested_bars_is_an_error_and_no_bundle(bundles: Path) -> None:
    for empty in (DAYS[:0], DAYS.with_columns(symbol=pl.lit("QQ"))):
        with pytest.raises(
            NoDataAvailableError, match="Mine has no 1d bars for ZZ, AA from 2024-06-03"
        ):
            ingest(Mine(empty))
    assert not Bundle("own").exists()


@pytest.mark.parametrize(
    "error, kind, text",
    [
        (OSError("disk on fire"), ForeignError, "OSError: disk on fire"),
        (asyncio.CancelledError(), ForeignError, "CancelledError"),
        (UnavailableError("down"), UnavailableError, "^down$"),
    ],
)
def test_an_exception_of_a_source_becomes_one_error(error: Any, kind: Any, text: str) -> None:
    with pytest.raises(kind, match=text) as raised:
        asyncio.run(fetched(Mine(error), TWO))
    if kind is ForeignError:
        assert raised.value.__cause__ is not None


def test_a_source_that_hangs_is_not_waited_for() -> None:
    ended = []

    class Stubborn(Mine):
        async def fetch(self, *_: Any) -> Any:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append(1)
                await asyncio.sleep(0)
                raise

    async def program() -> None:
        with pytest.raises(ProviderTimeoutError, match=r"no answer within 0\.01 s"):
            await fetched(Stubborn(), TWO, 0.01)
        await asyncio.sleep(0)
        assert ended

    asyncio.run(program())


def test_a_source_that_blocks_its_thread_blocks_no_event_loop() -> None:
    go = threading.Event()

    class Blocking(Mine):
        def fetch(self, *_: Any) -> Any:  # type: ignore[override]
            go.wait(30)

    with pytest.raises(ProviderTimeoutError, match=r"Blocking returned no .* within 0\.01 s"):
        asyncio.run(fetched(Blocking(), TWO, 0.01))
    go.set()


def test_a_cancelled_caller_cancels_the_source() -> None:
    ended = []

    class Slow(Mine):
        async def fetch(self, *_: Any) -> Any:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(1)

    async def program() -> None:
        task = asyncio.create_task(fetched(Slow(), TWO))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert ended

    asyncio.run(program())


@pytest.mark.parametrize(
    "arguments",
    [
        ("AA", START, END, "1d"),
        ([], START, END, "1d"),
        (["AA"], END, START, "1d"),
        (["AA"], "soon", END, "1d"),
        (["AA"], pd.NaT, END, "1d"),
        (["AA"], START, END, "1 fortnight"),
    ],
)
def test_an_invalid_request_to_a_custom_source_is_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(QueryError):
        SourceQuestion.of(*arguments)


# --- bundles ------------------------------------------------------------------------------------


def test_a_bundle_keeps_all_digits_and_extra_columns_and_the_cache_stays_empty(
    manager: DataManager,
) -> None:
    exact = [
        pl.Series(n, [DIGITS] * 3, pl.Decimal(18, 8)) for n in ("open", "high", "low", "close")
    ]
    path = ingest(Mine(DAYS.with_columns(*exact, pl.Series("note", ["b", "a", "z"]))))
    assert path == Bundle("own").path
    whole = pl.read_parquet(next(path.glob("daily_bars/**/data.parquet")))
    assert whole["close"].to_list() == [DIGITS] * 3
    assert whole.sort("sid", "date")["note"].to_list() == ["a", "b", "z"]
    told = BundleMetadata.load("own")
    assert (told.symbols, told.frequency, told.source_type) == (["AA", "ZZ"], "1d", "mine")
    assert told.quality_score == 1.0
    row = BundleMetadata.get("own")
    assert row is not None
    assert (row["source_url"], row["api_version"]) == ("file:///mine", "7")
    assert Bundle("own").state(manager).state == "foreign"
    assert manager.get_cache_stats()["files_count"] == 0


def test_more_bars_widen_the_bundle_and_newer_values_replace(bundles: Path) -> None:
    ingest(Mine(DAYS))
    path = ingest(Mine(frame((date(2024, 6, 4), "AA", 7.0), (date(2024, 6, 5), "AA", 8.0))))
    rows = PolarsParquetDailyReader(path).load_daily_bars([1, 2], START, END)
    assert [float(one) for one in rows.sort("sid", "date")["close"]] == [1.0, 7.0, 8.0, 5.0]


def test_rows_that_can_be_no_bars_are_counted_in_the_metadata(bundles: Path) -> None:
    with pytest.warns(UserWarning, match="invalid row"):
        ingest(Mine(DAYS.with_columns(high=pl.Series([1.0, 1.0, 5.0]))))
    assert BundleMetadata.load("own").quality_score == pytest.approx(2 / 3)
    row = BundleMetadata.get("own")
    assert row is not None
    assert (row["ohlcv_violations"], row["validation_passed"]) == (1, False)


def test_values_are_rounded_with_a_warning_and_too_large_ones_are_refused(bundles: Path) -> None:
    fine = pl.Series("close", [Decimal("1.1234567891")] * 3, pl.Decimal(28, 10))
    tight = DAYS.with_columns(fine.alias(name) for name in ("open", "high", "low", "close"))
    with pytest.warns(UserWarning, match="bundle own: values rounded to eight decimals: 12"):
        ingest(Mine(tight))
    large = DAYS.with_columns(pl.lit(1e11).alias(name) for name in ("open", "high", "low", "close"))
    with pytest.raises(DecimalRangeError):
        ingest(Mine(large), "large")
    assert not Bundle("large").exists()


def test_bars_of_two_sources_are_never_mixed(manager: DataManager, bundles: Path) -> None:
    ingest(Mine(DAYS))
    with pytest.raises(BundleError, match="is made from mine, not from other"):
        ingest(Mine(DAYS, "other"))
    yahoo = VendorDataSource(manager, provider="yahoo")
    with pytest.raises(BundleError, match="the rows of bundle own were written by user code"):
        yahoo.ingest_to_bundle("own", ["AAPL"], START, END, "1d")
    yahoo.ingest_to_bundle("ours", ["AAPL"], START, END, "1d")
    with pytest.raises(BundleError, match="bundle ours is made from the store, not from mine"):
        ingest(Mine(DAYS), "ours")
    with pytest.raises(QueryError, match="contain 1d bars, not 1w"):
        ingest(Mine(DAYS), question=SourceQuestion.of(["ZZ", "AA"], START, END, "1w"))


def test_minutes_of_a_plain_class_go_to_a_folder_of_their_own(tmp_path: Path) -> None:
    """Four methods are enough, the base class is not needed."""

    class Plain(Fake):
        def get_metadata(self) -> Any:
            return DataSourceMetadata("plain")

    minutes = frame(*((START + pd.Timedelta(minutes=n), "AA", 1.0) for n in range(3)))
    path = asyncio.run(ingested(Plain(minutes), "m", MINUTES, tmp_path))
    assert list(path.glob("minute_bars/**/data.parquet"))
    assert path.parent == tmp_path
