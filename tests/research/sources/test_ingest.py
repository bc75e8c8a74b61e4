"""Bars of a source in a bundle: plainly or awaited, widened, and refused where they would be mixed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from src.data.bundles import Lineages, lineage
from src.data.bundles.metadata import BundleMetadata
from src.data.data_manager import DataManager
from src.data.errors import BundleError, IncompleteDataWarning, QueryError
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.research.bundles.bundle import Bundle
from src.data.research.bundles.request import extended, request_of
from src.data.research.frames.frames import float_frame
from src.data.research.sources.sources import BundlePath
from src.data.research.sources.vendor_sources import OnetapeDataSource, VendorDataSource
from tests.vendor_server import Fault, VendorServer

OPTIONS = {"adjustment": "split", "provider": None, "session": "regular"}
JUNE = (pd.Timestamp("2024-06-03"), pd.Timestamp("2024-06-07"), "1d")


@pytest.fixture
def yahoo(manager: DataManager) -> VendorDataSource:
    return VendorDataSource(manager, provider="yahoo")


def rows(path: Path) -> pl.DataFrame:
    return PolarsParquetDailyReader(path).load_daily_bars([1, 2, 3, 4], *JUNE[:2])


def test_a_plain_call_is_done_on_return(
    yahoo: VendorDataSource, manager: DataManager, bundles: Path
) -> None:
    path = yahoo.ingest_to_bundle("mine", ["MSFT", "AAPL"], *JUNE, folder=bundles)
    assert isinstance(path, Path)
    assert path == bundles / "mine"
    bars = manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-07", provider="yahoo")
    aapl = float_frame(rows(path).filter(pl.col("sid") == 2))
    assert aapl["close"].to_list() == bars["close"].to_list()
    assert Bundle("mine", bundles).state(manager).state == "current"
    assert asyncio.run(later(path)) == path
    assert str(path / "metadata.db").endswith("mine/metadata.db")


async def later(path: object) -> object:
    return await path  # type: ignore[misc]


def test_ingest_in_a_running_loop_returns_a_started_task(
    yahoo: VendorDataSource, vendors: VendorServer, bundles: Path
) -> None:
    async def program() -> None:
        vendors.fault("yahoo", Fault.hold())
        task = yahoo.ingest_to_bundle("mine", ["AAPL"], *JUNE, folder=bundles)
        assert isinstance(task, asyncio.Task)
        while not vendors.count("yahoo"):  # without having been awaited, and the loop goes on
            await asyncio.sleep(0)
        assert not task.done()
        vendors.heal()
        path = await task
        assert isinstance(path, BundlePath)
        assert len(rows(path)) == 5

    asyncio.run(program())


def test_ingesting_cached_bars_sends_no_request(
    yahoo: VendorDataSource, vendors: VendorServer, bundles: Path
) -> None:
    yahoo.answer(["AAPL"], *JUNE, refresh=True)
    count = vendors.count()
    yahoo.ingest_to_bundle("mine", ["AAPL"], *JUNE, folder=bundles)
    assert vendors.count() == count


def test_a_second_ingestion_widens_the_bundle(
    yahoo: VendorDataSource, manager: DataManager, bundles: Path
) -> None:
    yahoo.ingest_to_bundle("mine", ["MSFT"], *JUNE, folder=bundles)
    path = yahoo.ingest_to_bundle(
        "mine",
        ["AAPL"],
        pd.Timestamp("2024-05-30"),
        pd.Timestamp("2024-06-05"),
        "1d",
        folder=bundles,
    )
    assert BundleMetadata.load("mine", bundles).symbols == ["MSFT", "AAPL"]
    request = Bundle("mine", bundles).records().origin.request
    assert request is not None
    assert request["symbols"] == ["MSFT", "AAPL"]
    assert (request["start_date"], request["end_date"]) == ("2024-05-30", "2024-06-07")
    assert Bundle("mine", bundles).state(manager).state == "current"
    written = PolarsParquetDailyReader(path).load_daily_bars([1, 2], "2024-05-30", "2024-06-07")
    assert written.group_by("sid").len().sort("sid")["len"].to_list() == [7, 7]
    again = Bundle("mine", bundles).ingest(
        manager, ["AAPL"], "1d", "2024-06-03", "2024-06-04", provider="yf"
    )
    assert again.written == ()


def test_ingesting_bars_of_another_kind_is_refused(
    yahoo: VendorDataSource, manager: DataManager, vendors: VendorServer, bundles: Path
) -> None:
    path = yahoo.ingest_to_bundle("mine", ["AAPL"], *JUNE, folder=bundles)
    before = {p: p.read_bytes() for p in Path(str(path)).rglob("*.parquet")}
    count = vendors.count()
    others: list[tuple[VendorDataSource, str, str]] = [
        (OnetapeDataSource(manager), "1d", "provider yahoo, not the vendors in the rules"),
        (VendorDataSource(manager, provider="binance"), "1d", "provider yahoo, not binance"),
        (yahoo, "1h", "timeframe 1d, not 1h"),
        (
            VendorDataSource(manager, provider="yf", adjustment="all"),
            "1d",
            "adjustment split, not all",
        ),
    ]
    for source, timeframe, why in others:
        with pytest.raises(BundleError, match=f"bundle mine has {why}"):
            source.ingest_to_bundle("mine", ["AAPL"], *JUNE[:2], timeframe, folder=bundles)
    assert {p: p.read_bytes() for p in Path(str(path)).rglob("*.parquet")} == before
    assert vendors.count() == count


def test_a_symbol_that_failed_is_named_and_the_others_are_there(
    yahoo: VendorDataSource, bundles: Path
) -> None:
    with pytest.warns(IncompleteDataWarning, match="bundle mine lacks NOSUCH: ") as caught:
        path = yahoo.ingest_to_bundle("mine", ["NOSUCH", "AAPL"], *JUNE, folder=bundles)
    assert caught[0].filename == __file__
    assert len(rows(Path(str(path)))) == 5
    with pytest.raises(BundleError, match="would be empty"):
        yahoo.ingest_to_bundle("other", ["NOSUCH"], *JUNE, folder=bundles)
    assert not Bundle("other", bundles).exists()


@pytest.mark.parametrize("name", ["../x", "", "a/b"])
def test_a_path_is_no_name(yahoo: VendorDataSource, bundles: Path, name: str) -> None:
    with pytest.raises(QueryError, match="invalid bundle name"):
        yahoo.ingest_to_bundle(name, ["AAPL"], *JUNE, folder=bundles)


def test_two_concurrent_ingestions_lose_no_row(
    make: Callable[[], DataManager], yahoo: VendorDataSource, bundles: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Both have read the same request before either writes."""
    yahoo.ingest_to_bundle("mine", ["AAPL"], *JUNE, folder=bundles)
    both = threading.Barrier(2)
    ask, waited = DataManager.get_ohlcv_batch, threading.local()

    def together(self: DataManager, *args: object, **options: object) -> object:
        if not getattr(waited, "once", False):
            waited.once = True
            both.wait(30)
        return ask(self, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(DataManager, "get_ohlcv_batch", together)
    errors: list[BaseException] = []

    def widen(symbol: str) -> None:
        try:
            yahoo.ingest_to_bundle("mine", [symbol], *JUNE, folder=bundles)
        except BaseException as error:  # noqa: BLE001 - the test's
            errors.append(error)

    threads = [threading.Thread(target=widen, args=(symbol,)) for symbol in ("MSFT", "NVDA")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    request = Bundle("mine", bundles).records().origin.request
    assert request is not None
    assert set(request["symbols"]) == {"AAPL", "MSFT", "NVDA"}
    assert set(BundleMetadata.load("mine", bundles).symbols) == {"AAPL", "MSFT", "NVDA"}


@pytest.mark.parametrize(
    "has, wanted, both",
    [
        (("2024-06-03", "2024-06-07"), ("2024-06-04", "2024-06-05"), ("2024-06-03", "2024-06-07")),
        (("2024-06-03", None), ("2024-06-01", "2024-06-05"), ("2024-06-01", None)),
        (("2024-06-03", "2024-06-07"), ("2024-06-03", None), ("2024-06-03", None)),
        (("-30d", "now"), ("-30d", "now"), ("-30d", "now")),
        # A date ends with its day, and an instant before that.
        (("2024-06-03", "2024-06-07"), ("2024-06-03T01:00:00", "2024-06-07T12:00:00"),
         ("2024-06-03", "2024-06-07")),
        (("2024-06-03", "2024-06-07"), ("2024-06-02T23:00:00", "2024-06-08T00:30:00+00:00"),
         ("2024-06-02T23:00:00", "2024-06-08T00:30:00+00:00")),
    ],
)  # fmt: skip
def test_a_widened_range_contains_both(
    has: tuple[str, str | None], wanted: tuple[str, str | None], both: tuple[str, str | None]
) -> None:
    requests = [request_of(["A"], "1d", bounds, **OPTIONS) for bounds in (has, wanted)]
    request = extended("mine", requests[0], requests[1], str)
    assert request is not None
    assert (request["start_date"], request["end_date"]) == both


@pytest.mark.parametrize("has, wanted", [("-30d", "2024-06-03"), (None, "2024-06-03")])
def test_a_range_that_cannot_be_compared_is_refused(has: str | None, wanted: str) -> None:
    requests = [request_of(["A"], "1d", (one, None), **OPTIONS) for one in (has, wanted)]
    with pytest.raises(BundleError, match="cannot be extended to 2024-06-03"):
        extended("mine", requests[0], requests[1], str)


def test_a_lineage_records_reads_of_sources(yahoo: VendorDataSource, bundles: Path) -> None:
    async def program() -> None:
        await yahoo.fetch(["AAPL"], *JUNE)
        await yahoo.ingest_to_bundle("mine", ["MSFT"], *JUNE, folder=bundles)

    with lineage("run-1", folder=bundles):
        asyncio.run(program())
    reads = Lineages(bundles).get("run-1").reads
    assert {(read.key.symbol, read.provider) for read in reads} == {
        ("AAPL", "yahoo"),
        ("MSFT", "yahoo"),
    }
