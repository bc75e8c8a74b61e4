"""The six steps of an ingestion, and what a program's own adapter may give."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.bundles import DataCatalog
from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.doors.compat.validation import ValidationResult
from src.data.errors import (
    BundleError,
    DecimalRangeError,
    ForeignError,
    ProviderTimeoutError,
    QueryError,
    RateLimitedError,
    RulesError,
)
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.bundles.bundle import Bundle
from src.data.research.frames.frames import PRICE, WIDE_VOLUME
from src.data.research.portal.polars_portal import PolarsDataPortal
from src.data.research.sources import sources
from src.data.research.sources.adapters import (
    BaseDataAdapter,
    NetworkError,
    RateLimitError,
    ValidationError,
    calculate_checksum,
)

FULL = bool(os.environ.get("ONETAPE_FULL"))
NOW = int(datetime(2024, 6, 3, 12, tzinfo=UTC).timestamp() * 1000)
QUESTION = (["AAPL", "MSFT"], date(2023, 1, 3), date(2023, 1, 12), "1d")


_OHLC = ("open", "high", "low", "close")


def bars(count: int = 8, symbols: Sequence[str] = ("AAPL", "MSFT"), **columns: Any) -> Any:
    """Return daily bars of each symbol; ``columns`` take the place of some."""
    rows = [
        (datetime(2023, 1, 3) + timedelta(n), symbol, 10.0, 11.5 + n, 9.0, 10.5 + n / 8, 100.0 + n)
        for symbol in symbols
        for n in range(count)
    ]
    names = ["timestamp", "symbol", "open", "high", "low", "close", "volume"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    return frame.with_columns(pl.Series(name, values) for name, values in columns.items())


class Own(BaseDataAdapter):
    """A program's own: it gives what it is told, one after another."""

    def __init__(self, *answers: Any, **options: Any) -> None:
        super().__init__("own", clock=options.pop("clock", ManualClock(NOW)), **options)
        self.answers, self.calls = list(answers), 0

    async def fetch(
        self, symbols: list[str], start_date: Any, end_date: Any, resolution: str
    ) -> Any:
        self.calls += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = await answer()
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Catalog:
    """Notes what is registered."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def register_dataset(self, **entry: Any) -> str:
        self.entries.append(entry)
        return f"dataset-{len(self.entries)}"


# --- validate ---------------------------------------------------------------------------------


def changed(**columns: Callable[[Any], Any]) -> Any:
    """Return bars of which one row of a column is another."""
    frame = bars()
    for name, change in columns.items():
        values = frame[name].to_list()
        values[3] = change(values)
        frame = frame.with_columns(pl.Series(name, values, dtype=frame.schema[name]))
    return frame


@pytest.mark.parametrize(
    "frame, message",
    [
        (changed(high=lambda v: 8.0), r"AAPL: rows that cannot be bars: 1, .*2023-01-06.*high below low"),
        (changed(high=lambda v: 10.2), "high below open or close"),
        (changed(low=lambda v: 10.2), "low above open or close"),
        (changed(open=lambda v: -1.0), "price not positive"),
        (changed(close=lambda v: float("inf")), "price infinite"),
        (changed(volume=lambda v: -1.0), "volume negative"),
        (changed(close=lambda v: None), "price missing"),
        (changed(close=lambda v: float("nan")), "price missing"),
        (changed(volume=lambda v: None), "without volume among others that have it"),
        (changed(timestamp=lambda v: v[0]), "1 duplicate stamp, the first 2023-01-03"),
        (changed(timestamp=lambda v: datetime(2024, 6, 9)), "stamp in the future"),
        (changed(timestamp=lambda v: None), "timestamp is null in 1 row"),
        (changed(symbol=lambda v: None), "symbol is null in 1 row"),
        (bars().drop("high"), "has no high"),
        (bars().clear(), "has no rows"),
        (bars().with_columns(pl.col("close").cast(pl.String)), "close has the type String, not a number"),
        (bars().with_columns(pl.lit("now").alias("timestamp")), "timestamp has the type String"),
        (bars().with_columns(pl.lit(1).alias("symbol")), "symbol has the type Int"),
        ({"close": [1.0]}, "expected a Polars frame, not dict"),
        (None, "expected a Polars frame, not NoneType"),
    ],
)  # fmt: skip
def test_a_frame_that_cannot_be_bars_is_refused(frame: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Own(frame).validate(frame)


def test_all_symbols_with_faults_are_counted_and_the_first_are_named() -> None:
    frame = bars(2, [f"S{n}" for n in range(8)]).with_columns(pl.lit(0.0).alias("low"))
    with pytest.raises(
        ValidationError, match=r"S0: rows that cannot be bars: 2, .*S4: .*and 3 symbols more"
    ):
        Own().validate(frame)


def test_bars_in_any_order_as_dates_or_in_another_zone_are_accepted() -> None:
    shuffled = bars().sample(fraction=1.0, shuffle=True, seed=3)
    assert Own().validate(shuffled) is True
    assert Own().validate(bars().lazy())
    dates = bars().select(pl.col("timestamp").cast(pl.Date).alias("date"), pl.exclude("timestamp"))
    assert Own().validate(dates)
    zone = pl.col("timestamp").dt.replace_time_zone("America/New_York")
    assert Own().validate(bars().with_columns(zone))
    assert Own().validate(bars().drop("symbol").head(8))
    none = bars().with_columns(pl.lit(None, pl.Float64).alias("volume"))
    assert Own().validate(none), "some markets have no volume"


def test_a_minute_that_has_not_begun_is_refused_and_a_session_that_has_is_not() -> None:
    """A session that opens on the evening before its date is no bar of the future."""
    now = datetime(2024, 6, 3, 12)
    tomorrow = bars(1, ["X"], timestamp=[now.replace(hour=0) + timedelta(1)])
    assert Own().validate(tomorrow)
    for later in (timedelta(minutes=1), timedelta(hours=1), timedelta(days=4)):
        with pytest.raises(ValidationError, match="future"):
            Own().validate(bars(1, ["X"], timestamp=[now + later]))


def test_outliers_are_found_and_not_refused() -> None:
    count = 80
    closes = [10.5 + n % 3 / 8 for n in range(count)]
    closes[50] = 14.0
    volumes = [100.0 + n % 5 for n in range(count)]
    volumes[60] = 900.0
    frame = bars(count, ["AAPL"], close=closes, volume=volumes, high=[90.0] * count)
    adapter = Own()
    assert adapter.validate(frame)
    causes = {f.cause: f.severity for f in adapter.findings["AAPL"]}
    assert causes["return_outlier"] == causes["volume_outlier"] == "info"
    assert adapter.validate(bars()) and "volume_outlier" not in str(adapter.findings)


def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Write a section ``validation`` of the file that sets the checks."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir(exist_ok=True)
    (tmp_path / "config" / "data_catalog.yaml").write_text(f"validation: {{{text}}}\n")


def test_a_file_omits_checks_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one key omits is accepted; the other checks are made."""
    crossed = bars(1, ["X"], high=[9.0])
    later = bars(1, ["X"], timestamp=[datetime(2100, 1, 1)])
    twice = pl.concat([bars(1, ["X"]), bars(1, ["X"], close=[10.0])])
    half = bars(2, ["X"], volume=[1.0, None])
    omitted = {"ohlcv_checks": [crossed, half], "temporal_consistency": [later, twice]}
    for key, accepted in omitted.items():
        checks(tmp_path, monkeypatch, f"{key}: false")
        for frame in accepted:
            assert Own().validate(frame)
        rejected = [one for other in omitted if other != key for one in omitted[other]]
        for frame in rejected:
            with pytest.raises(ValidationError):
                Own().validate(frame)


def test_a_file_sets_which_returns_are_outliers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closes = [10.5 + n % 3 / 8 for n in range(80)]
    closes[50] = 11.3
    frame = bars(80, ["AAPL"], close=closes, high=[90.0] * 80)

    def causes() -> dict[str, str]:
        adapter = Own()
        assert adapter.validate(frame)
        return {f.cause: f.evidence for f in adapter.findings.get("AAPL", ())}

    assert "return_outlier" in causes()
    checks(tmp_path, monkeypatch, "outlier_std_threshold: 30")
    assert "return_outlier" not in causes()
    checks(tmp_path, monkeypatch, "outlier_std_threshold: 1")
    assert "more than 1 standard" in causes()["return_outlier"]
    checks(tmp_path, monkeypatch, "outlier_std_threshold: 1, outlier_detection: false")
    assert "return_outlier" not in causes()
    checks(tmp_path, monkeypatch, "outlier_threshold: 1")
    with pytest.raises(RulesError, match="outlier_std_threshold"):
        causes()


def test_a_validator_of_the_program_is_called_besides() -> None:
    class Validator:
        def __init__(self, verdict: Any) -> None:
            self.verdict, self.seen = verdict, 0

        def validate(self, frame: Any) -> Any:
            self.seen += len(frame)
            return self.verdict

    good = Validator(True)
    assert Own(validator=good).validate(bars()) and good.seen == 16
    bad = ValidationResult(False, ["no"], 0.0, 0, 0, [], True, True)
    for verdict in (False, bad):
        with pytest.raises(ValidationError, match="the validator of own rejected"):
            Own(validator=Validator(verdict)).validate(bars())


PRICES = st.decimals(min_value="0.01", max_value="10000", places=8)
OFFSETS = st.decimals(min_value="0", max_value="100", places=8)


@settings(max_examples=300 if FULL else 15, deadline=None)
@given(open_price=PRICES, high_offset=OFFSETS, low_offset=OFFSETS)
def test_an_adapter_refuses_rows_that_break_an_ohlcv_invariant(
    open_price: Decimal, high_offset: Decimal, low_offset: Decimal
) -> None:
    """OHLCV relationships must always hold, as the documents print it; each one broken is refused."""
    high = open_price + high_offset
    low = max(open_price - low_offset, Decimal("0.01"))
    close = (high + low) / 2
    frame = pl.DataFrame({"open": [open_price], "high": [high], "low": [low], "close": [close]})
    adapter = Own()
    assert adapter.validate(frame) is True
    assert low <= min(open_price, close) <= max(open_price, close) <= high
    swapped = frame.with_columns(high=pl.lit(low * Decimal("0.99")))
    with pytest.raises(ValidationError):
        adapter.validate(swapped)
    beyond = frame.with_columns(low=pl.lit(high * Decimal("1.01")))
    with pytest.raises(ValidationError):
        adapter.validate(beyond)


# --- standardize ------------------------------------------------------------------------------


def test_the_standard_columns_are_decimals_in_order_and_further_columns_stay() -> None:
    shuffled = bars(trades=list(range(16))).sample(fraction=1.0, shuffle=True, seed=1)
    zone = pl.col("timestamp").dt.replace_time_zone("Asia/Tokyo")
    made = Own().standardize(shuffled.select(pl.all().exclude("timestamp"), zone))
    fields = dict.fromkeys(["open", "high", "low", "close", "volume"], PRICE)
    stamps = {"timestamp": pl.Datetime("us"), "symbol": pl.String}
    assert dict(made.schema) == {**stamps, **fields, "trades": pl.Int64}
    assert made["timestamp"].min() == datetime(2023, 1, 2, 15)
    by_symbol = made.partition_by("symbol", maintain_order=True)
    assert made["symbol"].rle().struct.field("len").to_list() == [8, 8]
    assert all(part["timestamp"].is_sorted() for part in by_symbol)
    assert made.sort("trades")["close"][1] == Decimal("10.625")
    named = bars().with_columns(pl.col("symbol").cast(pl.Categorical))
    assert Own().validate(named) and Own().standardize(named).schema["symbol"] == pl.String


def test_all_eight_decimals_come_back() -> None:
    """Satoshis, and the ends of the range: none of it goes through a float."""
    texts = ["0.00000001", "0.12345678", "999999999.99999999", "100000000.00000001"]
    values = pl.Series([Decimal(text) for text in texts], dtype=PRICE)
    frame = bars(4, ["X"], open=values, high=values, low=values, close=values)
    adapter = Own()
    assert adapter.validate(frame)
    made = adapter.standardize(frame)
    assert [f"{value:f}" for value in made["close"]] == texts


def test_volumes_that_do_not_fit_are_widened_and_prices_refused() -> None:
    wide = Own().standardize(bars(2, ["X"], volume=[1.0, 2e10]))
    assert wide.schema["volume"] == WIDE_VOLUME
    with pytest.raises(DecimalRangeError, match="does not fit"):
        Own().standardize(bars(1, ["X"], high=[2e10]))
    for name in ("timestamp", "symbol", "volume"):
        with pytest.raises(ValidationError, match=f"frame has no {name}"):
            Own().standardize(bars().drop(name))


# --- ingest -----------------------------------------------------------------------------------


def test_the_steps_come_in_their_order() -> None:
    steps: list[str] = []

    class Noting(Own):
        async def fetch(self, *question: Any) -> Any:
            steps.append("fetch")
            return await super().fetch(*question)

        def validate(self, df: Any) -> bool:
            steps.append("validate")
            return super().validate(df)

        def standardize(self, df: Any) -> Any:
            steps.append("standardize")
            return super().standardize(df)

    class Writer:
        def write(self, frame: Any, resolution: str) -> str:
            steps.append(f"write {resolution} {frame.schema['close']}")
            return __file__

    class Noted(Catalog):
        def register_dataset(self, **entry: Any) -> str:
            steps.append("register")
            return super().register_dataset(**entry)

    catalog = Noted()
    dataset = Noting(bars()).ingest(*QUESTION, catalog, Writer())
    write = f"write 1d {PRICE}"
    assert steps == ["fetch", "validate", "standardize", write, "register"]
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    assert (dataset, catalog.entries) == (
        "dataset-1",
        [
            {
                "source": "own", "symbols": QUESTION[0], "start_date": pd.Timestamp("2023-01-03"),
                "end_date": pd.Timestamp("2023-01-10 23:59:59"), "resolution": "1d",
                "checksum": digest,
            }
        ],
    )  # fmt: skip


def test_a_bundle_is_written_and_read_again(tmp_path: Path) -> None:
    bundle, catalog = Bundle("mine", tmp_path), Catalog()
    adapter = Own(bars())
    dataset = adapter.ingest(*QUESTION, catalog, ParquetWriter(bundle.path))
    assert isinstance(dataset, str) and dataset == "dataset-1"
    assert catalog.entries[0]["checksum"] == bundle.records().checksum()
    reader = PolarsParquetDailyReader(bundle.path / "daily_bars")
    assert str(reader.get_value(1, "2023-01-04", "close")) == "10.62500000"
    assert bundle.validate() == ()


def test_a_lazy_frame_is_written_as_well(tmp_path: Path) -> None:
    own = Own(bars().lazy())
    own.ingest(*QUESTION, Catalog(), ParquetWriter(tmp_path / "one"))
    own.ingest_to_bundle("two", *QUESTION, folder=tmp_path)
    for name in ("one", "two"):
        rows = PolarsParquetDailyReader(tmp_path / name).load_daily_bars([1, 2], None, None)
        assert len(rows) == 16


def test_ingest_returns_an_awaitable_id_which_is_a_started_task_in_a_running_loop(
    tmp_path: Path,
) -> None:
    writer = ParquetWriter(tmp_path / "mine")
    adapter, catalog = Own(bars()), Catalog()
    plain = adapter.ingest(*QUESTION, catalog, writer)

    async def program() -> tuple[str, str]:
        threads: set[str] = set()

        class Loops(Own):
            async def fetch(self, *question: Any) -> Any:
                threads.add(threading.current_thread().name)
                return bars()

            def validate(self, df: Any) -> bool:
                threads.add("not the loop's")
                assert threading.current_thread() is not threading.main_thread()
                return super().validate(df)

        task = Loops(None).ingest(*QUESTION, catalog, writer)
        assert isinstance(task, asyncio.Task)
        started = await task
        assert threads == {threading.main_thread().name, "not the loop's"}
        return started, await plain

    assert asyncio.run(program()) == ("dataset-2", "dataset-1")


def test_a_refused_frame_is_neither_written_nor_registered(tmp_path: Path) -> None:
    catalog = Catalog()
    late = changed(timestamp=lambda v: datetime(2030, 1, 1))
    for wrong, error in ((late, ValidationError), (bars().drop("volume"), ValidationError),
                         (bars(**dict.fromkeys(_OHLC, [2e10] * 16)), DecimalRangeError)):  # fmt: skip
        with pytest.raises(error):
            Own(wrong).ingest(*QUESTION, catalog, ParquetWriter(tmp_path / "mine"))
    assert not (tmp_path / "mine").exists() and catalog.entries == []

    class Broken:
        def write(self, frame: Any, resolution: str) -> str:
            raise BundleError("full")

    with pytest.raises(BundleError):
        Own(bars()).ingest(*QUESTION, catalog, Broken())
    assert catalog.entries == []


# --- fetch, its errors and its retries ---------------------------------------------------------


@pytest.mark.parametrize("loop", [False, True])
def test_errors_that_may_pass_are_waited_out(loop: bool, tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    adapter = Own(NetworkError("down"), OSError("reset"), bars(), clock=clock, backoff_factor=3.0)
    writer = ParquetWriter(tmp_path / "mine")

    async def inside() -> str:
        return str(await adapter.ingest(*QUESTION, Catalog(), writer))

    dataset = asyncio.run(inside()) if loop else adapter.ingest(*QUESTION, Catalog(), writer)
    assert dataset == "dataset-1" and adapter.calls == 3
    first, second = clock.slept
    assert 1.0 <= first <= 1.25 and 3.0 <= second <= 3.75


def test_the_wait_of_the_error_counts_and_the_last_error_is_raised(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    adapter = Own(RateLimitError("slow down", reset_after=40), clock=clock)
    with pytest.raises(RateLimitedError, match="slow down") as caught:
        adapter.ingest(*QUESTION, Catalog(), ParquetWriter(tmp_path / "mine"))
    assert caught.value.reset_after == 40
    assert adapter.calls == 3 and clock.slept == [40, 40]


def test_a_wait_of_an_error_that_is_text_counts_if_it_is_a_number(tmp_path: Path) -> None:
    class Throttled(OSError):
        retry_after: object = "later"

    clock, text = ManualClock(NOW), Throttled()
    text.retry_after = "40"
    adapter = Own(Throttled(), text, bars(), clock=clock)
    adapter.ingest(*QUESTION, Catalog(), ParquetWriter(tmp_path / "mine"))
    assert adapter.calls == 3
    assert 1.0 <= clock.slept[0] <= 1.25 and clock.slept[1] == 40


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError(), KeyError("x")])
def test_an_error_of_its_own_is_one_of_ours_and_not_tried_again(error: Exception) -> None:
    adapter = Own(error)
    with pytest.raises(
        ForeignError,
        match=f"own returned no 1d bars for AAPL, MSFT from .*: {type(error).__name__}",
    ) as caught:
        adapter.ingest(*QUESTION, Catalog(), None)
    assert caught.value.__cause__ is error and adapter.calls == 1


def test_an_adapter_that_hangs_raises_a_timeout() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    with pytest.raises(ProviderTimeoutError, match=r"no answer within 0\.05 s"):
        Own(hang, timeout=0.05).ingest(*QUESTION, Catalog(), None)


def test_a_cancelled_ingestion_writes_no_file(tmp_path: Path) -> None:
    async def program() -> None:
        reached = asyncio.Event()

        async def hang() -> None:
            reached.set()
            await asyncio.Event().wait()

        task = Own(hang).ingest(*QUESTION, Catalog(), ParquetWriter(tmp_path / "mine"))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(program())
    assert not (tmp_path / "mine").exists()


def test_fetch_is_called_so_often_in_a_second_at_most() -> None:
    clock = ManualClock(NOW)
    adapter = Own(OSError("x"), clock=clock, rate_limit_per_second=0.1, max_retries=8,
                  initial_retry_delay=0.0)  # fmt: skip
    with pytest.raises(ForeignError):
        adapter.ingest(*QUESTION, Catalog(), None)
    assert adapter.calls == 8
    assert sum(clock.slept) >= 20, "after a burst of five one in ten seconds"


@pytest.mark.parametrize(
    "wrong",
    [{"max_retries": 0}, {"rate_limit_per_second": -1}, {"initial_retry_delay": float("nan")},
     {"backoff_factor": 0.5}],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(QueryError, match=next(iter(wrong))):
        Own(**wrong)


def test_a_checksum_is_of_all_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        calculate_checksum(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "data.parquet").write_bytes(b"1")
    one = calculate_checksum(tmp_path)
    (tmp_path / "data.parquet").write_bytes(b"1")
    assert len({one, calculate_checksum(tmp_path), calculate_checksum(tmp_path / "a")}) == 3


# --- as a source -------------------------------------------------------------------------------


def test_an_adapter_writes_bundles_and_widens_them(tmp_path: Path) -> None:
    adapter = Own(bars(4), bars(8, ["AAPL", "GOOG"], trades=list(range(16))))
    path = adapter.ingest_to_bundle("mine", *QUESTION, folder=tmp_path)
    assert path == tmp_path / "mine" and asyncio.run(_of(path)) == path
    wider = (["AAPL", "GOOG"], *QUESTION[1:])
    adapter.ingest_to_bundle("mine", *wider, folder=tmp_path)
    bundle = Bundle("mine", tmp_path)
    assert bundle.records().names() == {1: "AAPL", 2: "MSFT", 3: "GOOG"}
    assert bundle.records().origin.source_type == "own"
    assert bundle.state(DataManager(tmp_path / "cache")).state == "foreign"
    other = Own(bars())
    other.name = "other"
    with pytest.raises(BundleError, match="made from own, not from other"):
        other.ingest_to_bundle("mine", *QUESTION, folder=tmp_path)
    assert other.calls == 0


async def _of(value: Any) -> Any:
    return await value


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "Europe/London", "America/New_York"])
@pytest.mark.parametrize("time", ["timestamp", "date"])
def test_a_daily_bar_is_written_under_the_date_in_its_own_zone(
    tmp_path: Path, zone: str, time: str
) -> None:
    """Midnight in the east is on the day before in UTC; in both steps that write."""
    frame = bars(8, ["AAPL"]).with_columns(pl.col("timestamp").dt.offset_by("154d"))  # summer
    own = Own(
        frame.with_columns(pl.col("timestamp").dt.replace_time_zone(zone)).rename(
            {"timestamp": time}
        )
    )
    question = (["AAPL"], date(2023, 6, 1), date(2023, 6, 30), "1d")
    own.ingest_to_bundle("mine", *question, folder=tmp_path)
    own.ingest(*question, catalog := Catalog(), ParquetWriter(tmp_path / "other"))
    days = [date(2023, 6, 6) + timedelta(n) for n in range(8)]
    for name in ("mine", "other"):
        rows = PolarsParquetDailyReader(tmp_path / name).load_daily_bars([1], None, None)
        assert rows["date"].to_list() == days
    assert catalog.entries[0]["start_date"] == pd.Timestamp(days[0])


def test_where_a_loop_runs_its_bundle_is_a_started_task(tmp_path: Path) -> None:
    async def program() -> Any:
        task = Own(bars()).ingest_to_bundle("mine", *QUESTION, folder=tmp_path)
        assert isinstance(task, asyncio.Task)
        return await task

    assert asyncio.run(program()) == tmp_path / "mine"


def test_refused_or_unrequested_bars_do_not_enter_a_bundle(
    tmp_path: Path,
) -> None:
    adapter = Own(changed(high=lambda v: 1.0))
    with pytest.raises(ValidationError):
        adapter.ingest_to_bundle("mine", *QUESTION, folder=tmp_path)
    assert not (tmp_path / "mine").exists()
    with pytest.warns(UserWarning, match="own returned 8 rows besides"):
        Own(bars(8)).ingest_to_bundle("mine", ["AAPL"], *QUESTION[1:], folder=tmp_path)
    assert Bundle("mine", tmp_path).records().names() == {1: "AAPL"}


def test_a_data_portal_reads_an_adapter() -> None:
    portal = PolarsDataPortal(data_source=Own(bars()))
    values = portal.get_spot_value(["AAPL", "MSFT"], "close", date(2023, 1, 5), "daily")
    assert [str(value) for value in values] == ["10.75000000", "10.75000000"]


def test_an_adapter_has_metadata_and_a_name() -> None:
    adapter = Own(bars())
    assert adapter.get_metadata().source_type == adapter.source_name == "own"
    assert adapter.supports_live() is False

    class Plain(BaseDataAdapter):
        async def fetch(self, *question: Any) -> Any:
            return bars()

    assert Plain().name == "Plain"


def test_a_subclass_with_a_constructor_of_its_own_calls_its_fetch_once(tmp_path: Path) -> None:
    class Bare(BaseDataAdapter):
        def __init__(self) -> None:
            self.calls = 0

        async def fetch(self, *question: Any) -> Any:
            self.calls += 1
            raise OSError("down")

    bare = Bare()
    with pytest.raises(ForeignError):
        bare.ingest(*QUESTION, Catalog(), ParquetWriter(tmp_path / "mine"))
    assert bare.calls == 1


def test_a_bundle_of_a_source_may_take_longer_than_a_question_of_a_portal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Own):
        async def fetch(self, *question: Any) -> Any:
            await asyncio.sleep(0.02)
            return bars()

    assert sources.INGESTION_S > sources.PATIENCE_S
    question = sources.SourceQuestion.of(*QUESTION)
    asyncio.run(sources.ingested(Slow(None), "mine", question, tmp_path))
    monkeypatch.setattr(sources, "INGESTION_S", 0.001)
    with pytest.raises(ProviderTimeoutError):
        asyncio.run(sources.ingested(Slow(None), "mine", question, tmp_path))


class Given(BaseDataAdapter):
    """Gives one frame, whatever is asked for."""

    def __init__(self, frame: Any) -> None:
        super().__init__("given", 0, clock=ManualClock(NOW))
        self.frame = frame

    async def fetch(self, *_: Any) -> Any:
        return self.frame


def info_of(adapter: BaseDataAdapter, folder: Path, question: Any = QUESTION) -> dict[str, Any]:
    catalog = DataCatalog(folder / "metadata.db")
    dataset = adapter.ingest(*question, catalog, ParquetWriter(folder / "own"))
    return catalog.get_dataset_info(dataset)


def test_dataset_info_contains_every_documented_field_of_an_ingest(tmp_path: Path) -> None:
    frame = pl.concat([bars(8, ["AAPL"]), bars(5, ["MSFT"])])
    begun = int(time.time())
    info = info_of(Given(frame), tmp_path)
    (path,) = tmp_path.rglob("data.parquet")
    assert begun <= info.pop("created_at") == info.pop("last_updated") <= time.time()
    assert str(UUID(info.pop("dataset_id")))
    first = int(datetime(2023, 1, 3, tzinfo=UTC).timestamp())
    ranges = [
        {"symbol": symbol, "start_date": first, "end_date": first + days * 86400 - 1,
         "bar_count": days, "has_gaps": lacks}
        for symbol, days, lacks in (("AAPL", 8, False), ("MSFT", 5, False))
    ]  # fmt: skip
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    place = "daily_bars/year=2023/month=01/data.parquet"
    assert info == {
        "source": "given",
        "kind": "line",
        "symbols": ["AAPL", "MSFT"],
        "resolution": "1d",
        "adjustment": None,
        "session": None,
        "start_date": first,
        "end_date": first + 8 * 86400 - 1,
        "row_count": 13,
        "size_bytes": path.stat().st_size,
        "date_ranges": ranges,
        "parquet_path": str(tmp_path / "own" / "daily_bars"),
        "checksum": hashlib.sha256(f"{digest}  {place}\n".encode()).hexdigest(),
        "checksums": {place: digest},
    }
    assert Bundle("own", tmp_path).records().origin.source_type == "given"


def test_gaps_and_kinds_of_a_dataset_are_those_of_its_markets(tmp_path: Path) -> None:
    """Two weeks of sessions: a coin trades on the weekend as well, and what is no symbol has no market."""
    weekdays = [datetime(2023, 1, day) for day in (3, 4, 5, 6, 9, 10, 11, 12, 13)]
    whole = bars(9, ["AAPL"], timestamp=weekdays)
    hole = bars(9, ["MSFT"], timestamp=weekdays).filter(pl.col("timestamp").dt.day() != 10)
    coin = bars(9, ["BTCUSDT"], timestamp=weekdays)
    coins = bars(9, ["ETHUSDT"])
    strange = bars(9, ["No such thing!"], timestamp=weekdays)
    symbols = ["AAPL", "MSFT", "BTCUSDT", "ETHUSDT", "No such thing!"]
    question = (symbols, pd.Timestamp("2023-01-01"), pd.Timestamp("2023-01-31"), "1d")
    info = info_of(Given(pl.concat([whole, hole, coin, coins, strange])), tmp_path, question)
    assert {one["symbol"]: one["has_gaps"] for one in info["date_ranges"]} == {
        "AAPL": False, "MSFT": True, "BTCUSDT": True, "ETHUSDT": False, "No such thing!": None,
    }  # fmt: skip
    with closing(sqlite3.connect(tmp_path / "metadata.db")) as db:
        query = "SELECT symbol, asset_type, exchange FROM symbols WHERE dataset_id = ?"
        found = db.execute(query, (info["dataset_id"],)).fetchall()
    assert {symbol: kind for symbol, kind, _ in found} == {
        "AAPL": "stock", "MSFT": "stock", "BTCUSDT": "crypto", "ETHUSDT": "crypto",
        "No such thing!": "unknown",
    }  # fmt: skip


def test_the_catalog_finds_only_ranges_that_every_symbol_covers(tmp_path: Path) -> None:
    frame = pl.concat([bars(8, ["AAPL"]), bars(5, ["MSFT"])])
    info_of(Given(frame), tmp_path)
    catalog = DataCatalog(tmp_path / "metadata.db")

    def is_found(symbols: list[str], first: str, last: str) -> bool:
        return catalog.find_dataset(symbols, first, last, "1d", source="given") is not None

    assert is_found(["AAPL"], "2023-01-03", "2023-01-10")
    assert is_found(["AAPL", "MSFT"], "2023-01-04", "2023-01-07")
    assert not is_found(["AAPL", "MSFT"], "2023-01-04", "2023-01-08")
    assert not is_found(["AAPL"], "2023-01-03", "2023-01-11")
    assert not is_found(["AAPL"], "2023-01-02", "2023-01-10")


def test_a_symbol_that_did_not_come_is_warned_of_and_not_registered(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="given returned no bars for MSFT"):
        info = info_of(Given(bars(8, ["AAPL"])), tmp_path)
    assert info["symbols"] == ["AAPL"]


def test_the_range_of_a_dataset_is_that_of_its_bars(tmp_path: Path) -> None:
    """The question is longer at both ends."""
    frame = pl.concat([bars(8, ["AAPL"])[2:6], bars(8, ["MSFT"])[3:7]])
    question = (["AAPL", "MSFT"], pd.Timestamp("2022-12-01"), pd.Timestamp("2023-02-28"), "1d")
    info = info_of(Given(frame), tmp_path, question)
    first, end = (int(datetime(2023, 1, n, tzinfo=UTC).timestamp()) for n in (5, 10))
    assert (info["start_date"], info["end_date"]) == (first, end - 1)


def test_unrequested_rows_of_an_adapter_are_not_written_and_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="which are ignored"):
        info = info_of(Given(bars(30, ["AAPL", "MSFT", "NVDA"])), tmp_path)
    assert (info["symbols"], info["row_count"]) == (["AAPL", "MSFT"], 20)
    written = PolarsParquetDailyReader(tmp_path / "own").load_daily_bars([1, 2, 3], None, None)
    assert len(written) == 20


class OfAdapters(Given):
    """A program's own with the names of adapters."""

    async def fetch(self, symbols: Any, start_date: Any, end_date: Any, resolution: Any) -> Any:
        return symbols, start_date, end_date, resolution


class OfSources(Given):
    """A program's own with the names of sources, and without a coroutine."""

    def fetch(self, symbols: Any, start: Any, end: Any, frequency: Any) -> Any:  # type: ignore[override]
        return symbols, start, end, frequency


class Inherits(OfSources):
    """A program's own that leaves fetching to another."""


@pytest.mark.parametrize("own", [OfAdapters, OfSources, Inherits])
def test_a_programs_own_takes_both_documented_sets_of_names(own: Any) -> None:
    adapter = own(None)

    def fetched(*args: Any, **named: Any) -> Any:
        answer = adapter.fetch(*args, **named)
        return asyncio.run(answer) if inspect.isawaitable(answer) else answer

    question = (["A"], 1, 2, "1h")
    assert fetched(*question) == question
    assert fetched(["A"], resolution="1h", start_date=1, end_date=2) == question
    assert fetched(symbols=["A"], frequency="1h", start=1, end=2) == question
    assert fetched(["A"], 1, end=2, resolution="1h") == question
    with pytest.raises(QueryError, match="mean the same: end, end_date"):
        fetched(["A"], 1, end=2, end_date=2)
    with pytest.raises(TypeError, match="until"):
        fetched(["A"], 1, until=2, frequency="1h")
