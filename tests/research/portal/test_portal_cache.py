"""Portals with a cache manager and a catalog: the query flow, and which frames are stale."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from src.data.bundles.catalog import DataCatalog
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import to_ms
from src.data.errors import DataPortalError
from src.data.polars import PandasDataPortal, PolarsDataPortal
from src.data.polars.cache_manager import CacheManager
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.portal import portal_sources as bar_sources
from tests.core.cache.crash import Quick

from .portal_stage import Fake, long_frame, sessions, stamp_of

DAYS = sessions("2023-06-01", "2024-02-01")
NAMES = ["AAPL", "MSFT"]
BARS = long_frame({name: [stamp_of(day) for day in DAYS] for name in NAMES})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_CACHE_DIR", str(tmp_path / "bars"))


@dataclass(frozen=True)
class Asset:
    sid: int
    symbol: str


ASSETS = [Asset(1, "AAPL"), Asset(2, "MSFT")]


def write(folder: Path, plus: int = 0) -> None:
    """Write a bundle of two shares; each price is larger by ``plus``."""
    prices = pl.col("open", "high", "low", "close") + plus
    frame = BARS.with_columns(prices.round(8)).rename({"timestamp": "date"})
    ParquetWriter(folder, disk=Quick()).write(frame.with_columns(pl.col("date").dt.date()), "daily")


class Counted(PolarsParquetDailyReader):
    """A reader that counts how often it is queried."""

    asked = 0

    def load_raw_arrays(self, *question: Any) -> pl.LazyFrame:
        Counted.asked += 1
        return super().load_raw_arrays(*question)


def history(folder: Path, cache: Any, catalog: Any = None) -> list[Decimal]:
    """Return closes of AAPL, through a new portal over a bundle."""
    portal = PolarsDataPortal(
        asset_finder=None,
        trading_calendar="XNYS",
        daily_bar_reader=Counted(folder),
        minute_bar_reader=None,
        cache_manager=cache,
        data_catalog=catalog,
    )
    window = portal.get_history_window(ASSETS, "2024-01-12", 5, "1d", "close", "daily")
    return window["AAPL"].to_list()


@pytest.mark.filterwarnings("ignore:readers are deprecated")
def test_the_query_flow_with_a_bundle(tmp_path: Path) -> None:
    """Memory, file, catalog and reader, then both tiers; a bundle that changes is read again."""
    write(tmp_path / "b")
    Counted.asked = 0
    first = history(tmp_path / "b", cache := CacheManager(tmp_path / "c"))
    assert cache.session_stats["miss_count"] == 1 == Counted.asked
    assert [type(value) for value in first] == [Decimal] * 5
    assert history(tmp_path / "b", cache) == first
    assert cache.session_stats["hot_hits"] == 1
    assert history(tmp_path / "b", other := CacheManager(tmp_path / "c")) == first
    assert other.session_stats["cold_hits"] == 1
    assert Counted.asked == 1
    (file,) = cache.cache_dir.glob("cold_cache/cache_*.parquet")
    assert pl.read_parquet_schema(file)["close"] == pl.Decimal(18, 8)
    write(tmp_path / "b", plus=1)
    assert history(tmp_path / "b", cache) == [value + 1 for value in first]
    assert history(tmp_path / "b", cache) == [value + 1 for value in first]
    assert Counted.asked == 2


@pytest.mark.filterwarnings("ignore:readers are deprecated")
def test_two_bundles_and_two_sources_share_no_frames(tmp_path: Path) -> None:
    write(tmp_path / "a"), write(tmp_path / "b", plus=1)
    cache = CacheManager(tmp_path / "c")
    first, other = history(tmp_path / "a", cache), history(tmp_path / "b", cache)
    assert other == [value + 1 for value in first]
    assert history(tmp_path / "a", cache) == first
    assert cache.session_stats["hit_count"] == 1
    dearer = BARS.with_columns(pl.col("close") + 1)
    closes = [spot(Named(frame), cache) for frame in (BARS, dearer)]
    assert closes[1] == [value + 1 for value in closes[0]]


class Named(Fake):
    name = "mine"


def spot(source: Any, cache: Any, catalog: Any = None, kind: Any = PolarsDataPortal) -> list[Any]:
    portal = kind(data_source=source, cache_manager=cache, data_catalog=catalog)
    return list(portal.get_spot_value(NAMES, "close", "2024-01-12", "daily"))


@pytest.mark.parametrize("kind", [PolarsDataPortal, PandasDataPortal])
def test_the_portal_asks_the_catalog_whether_a_frame_is_of_today_s_dataset(
    tmp_path: Path, kind: Any
) -> None:
    catalog = DataCatalog(tmp_path / "bundles" / "metadata.db")

    def register(checksum: str, source: str = "mine") -> None:
        catalog.register_dataset(source, NAMES, "2023-06-01", "2024-01-12", "1d", checksum)

    source, cache = Named(BARS), CacheManager(tmp_path / "c")
    register("first")
    for _ in range(2):
        spot(source, cache, catalog, kind)
    assert len(source.asked) == 1
    register("of another source", "theirs")
    spot(source, cache, catalog, kind)
    assert len(source.asked) == 1
    register("second")
    for _ in range(2):
        spot(source, cache, catalog, kind)
    assert len(source.asked) == 2
    spot(source, CacheManager(tmp_path / "c"), catalog, kind)
    assert len(source.asked) == 2


class Plain:
    """A program's own cache, whose methods know of no versions."""

    def __init__(self) -> None:
        self.frames: dict[Any, pl.LazyFrame] = {}

    def get(
        self, symbols: Any, start_date: Any, end_date: Any, resolution: str, source: str
    ) -> Any:
        return self.frames.get((*symbols, start_date, end_date, resolution, source))

    def put(
        self, symbols: Any, start_date: Any, end_date: Any, resolution: str, source: str, data: Any
    ) -> None:
        self.frames[(*symbols, start_date, end_date, resolution, source)] = data


@pytest.mark.filterwarnings("ignore:readers are deprecated")
def test_a_cache_of_five_arguments_gets_the_version_in_the_name_of_the_source(
    tmp_path: Path,
) -> None:
    cache, folder = Plain(), tmp_path / "b"
    write(folder)
    first = history(folder, cache)
    asked = Counted.asked
    assert history(folder, cache) == first and Counted.asked == asked
    write(folder, plus=1)
    assert history(folder, cache) == [close + 1 for close in first]

    catalog, source, cache = DataCatalog(tmp_path / "metadata.db"), Named(BARS), Plain()
    for checksum, count in (("first", 1), ("second", 2), ("first", 2)):
        catalog.register_dataset("mine", NAMES, "2023-06-01", "2024-01-12", "1d", checksum)
        spot(source, cache, catalog)
        spot(source, cache, catalog)
        assert len(source.asked) == count
    assert {key[-1].partition("@")[2] for key in cache.frames} == {"first", "second"}


def test_a_lane_of_the_store_is_not_the_dataset_of_a_source(tmp_path: Path) -> None:
    class Lanes:
        number = 0

        def find_dataset(self, *question: Any) -> str:
            assert question[0] == NAMES and question[3:] == ("1d", "mine")
            assert question[1] == question[2] and question[1].date() == date(2024, 1, 12)
            return "lane"

        def get_dataset_info(self, dataset: str) -> dict[str, Any]:
            Lanes.number += 1
            return {"kind": dataset, "checksum": str(Lanes.number)}

    source, cache = Named(BARS), CacheManager(tmp_path / "c")
    for _ in range(2):
        spot(source, cache, Lanes())
    assert (len(source.asked), Lanes.number) == (1, 2)


def test_a_failing_catalog_is_one_error_and_a_data_error_is_passed_on(tmp_path: Path) -> None:
    class Failing:
        def find_dataset(self, *question: Any) -> str:
            raise OSError("gone")

        def get_dataset_info(self, dataset: str) -> dict[str, Any]:
            raise AssertionError

    source, cache = Named(BARS), CacheManager(tmp_path / "c")
    with pytest.raises(DataPortalError, match="the catalog failed: OSError: gone"):
        spot(source, cache, Failing())
    spot(source, cache, note := object())
    portal = PolarsDataPortal(data_source=source, data_catalog=note)
    assert portal.data_catalog is note


def test_a_source_is_read_again_if_its_data_change_while_they_are_read(tmp_path: Path) -> None:
    """The version is that from before the read."""
    source, cache = Named(BARS), CacheManager(tmp_path / "c")

    class Changing:
        checksum = "a"

        def find_dataset(self, *question: Any) -> str:
            return "own"

        def get_dataset_info(self, dataset: str) -> dict[str, Any]:
            found, self.checksum = self.checksum, "b"
            return {"checksum": found}

    catalog = Changing()
    for _ in range(3):
        spot(source, cache, catalog)
    assert len(source.asked) == 2


@pytest.mark.filterwarnings("ignore:readers are deprecated")
def test_assets_of_one_name_with_two_numbers_share_no_frame(tmp_path: Path) -> None:
    """A ticker is reused: the frame of the earlier share has no bars for the later one."""
    write(tmp_path / "b")
    cache = CacheManager(tmp_path / "q")
    closes = []
    for sid in (1, 2, 1):
        portal = PolarsDataPortal(
            daily_bar_reader=PolarsParquetDailyReader(tmp_path / "b"),
            trading_calendar="XNYS",
            cache_manager=cache,
        )
        asset = Asset(sid, "XYZ")
        window = portal.get_history_window([asset], "2024-01-12", 1, "1d", "close", "daily")
        closes.append(window["XYZ"][0])
    assert closes == [Decimal("173.4"), Decimal("1173.4"), Decimal("173.4")]
    assert cache.session_stats["hit_count"] == 1


def test_a_bar_that_the_source_gets_late_is_not_hidden_by_a_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just after the close the source has no bar of the day yet; a frame without it is not kept."""
    cache, source = CacheManager(tmp_path / "q"), Late()

    def closes(hour: int) -> list[Decimal | None]:
        """Return two closes as a new portal shows them at this hour (UTC) of the last day."""
        clock = ManualClock(to_ms(datetime(2024, 1, 12, hour, 1)))
        monkeypatch.setattr(bar_sources, "SystemClock", lambda: clock)
        portal = PolarsDataPortal(data_source=source, calendar="XNYS", cache_manager=cache)
        window = portal.get_history_window(["AAPL"], "2024-01-12", 2, "1d", "close", "daily")
        return window["AAPL"].to_list()

    assert closes(21) == [Decimal("173.3"), None]
    source.last = date(2024, 1, 12)
    assert closes(22) == [Decimal("173.3"), Decimal("173.4")]
    assert closes(23) == [Decimal("173.3"), Decimal("173.4")]
    assert (source.asked, cache.session_stats["hit_count"]) == (2, 1)


class Late:
    """A source whose last bar comes later than the close."""

    name, last, asked = "late", date(2024, 1, 11), 0

    async def fetch(self, symbols: list[str], start: Any, end: Any, frequency: str) -> pl.DataFrame:
        """Return the bars until the last day."""
        self.asked += 1
        is_in = pl.col("symbol").is_in(symbols) & pl.col("timestamp").is_between(start, end)
        return BARS.filter(is_in & (pl.col("timestamp").dt.date() <= self.last))
