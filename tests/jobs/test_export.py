"""Exports of bars to files: bit for bit, complete, in the requested prices or as stored."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from src.data.core.cache.store import Commit
from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Adjustment
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.wiring import Services, build
from src.data.data_manager import DataManager
from src.data.errors import (
    CacheError,
    IncompleteDataWarning,
    KindMismatchError,
    StorageError,
)
from src.data.jobs.export.export import Exporter, ExportOptions, export_series
from tests.core.cache.bars import EVER, piece, table
from tests.vendor_server import Fault, VendorServer

MAY = ("AAPL", "1d", "2024-05-01", "2024-05-31")
COLUMNS = ["open", "high", "low", "close", "volume"]


@pytest.fixture
def house(tmp_path: Path, rules: Path, clock: ManualClock) -> Services:
    """Return services on a cache that holds a month of days."""
    DataManager(tmp_path / "cache", rules, clock=clock).get_ohlcv(*MAY)
    return build(tmp_path / "cache", rules, clock=clock)


def read(path: str | Path) -> pd.DataFrame:
    """Read a file back as another program would, every bit of it."""
    frame = pd.read_csv(path, dtype=str)
    frame.index = pd.DatetimeIndex(frame.pop("timestamp"))
    return frame.astype(float)


DAILY = SeriesKey("AAPL", Timeframe(1, "d"))


def test_stored_bars_are_exported_bit_for_bit(
    house: Services, vendors: VendorServer, tmp_path: Path
) -> None:
    vendors.clear_log()
    done = Exporter.of(house).write(DAILY, tmp_path / "a.csv.gz", ExportOptions(adjustment=None))
    rows, _ = house.cache.store.read(DAILY, EVER)
    frame = read(done.path)
    assert (done.rows, len(frame)) == (22, len(rows))
    for name, values in zip(rows.columns, rows.values(), strict=True):
        assert frame[name].to_numpy().tobytes() == values.tobytes()
    assert (done.first, done.last) == ("2024-05-01T00:00:00Z", "2024-05-31T00:00:00Z")
    assert vendors.count() == 0


@pytest.mark.parametrize("adjustment", ["raw", "split"])
def test_exported_prices_equal_those_of_the_manager(
    house: Services, rules: Path, clock: ManualClock, tmp_path: Path, adjustment: str
) -> None:
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    asked = manager.get_ohlcv(*MAY, adjustment=adjustment)
    wanted = ExportOptions("2024-05-01", "2024-05-31", adjustment)  # type: ignore[arg-type]
    done = Exporter.of(house).write(DAILY, tmp_path / "b.csv", wanted)
    assert read(done.path)[COLUMNS].to_numpy().tolist() == asked[COLUMNS].to_numpy().tolist()


def test_only_the_requested_range_is_exported(house: Services, tmp_path: Path) -> None:
    wanted = ExportOptions("2024-05-06", "2024-05-10", None)
    assert Exporter.of(house).write(DAILY, tmp_path / "c.csv", wanted).rows == 5
    with pytest.raises(CacheError, match="nothing is cached for AAPL 1d in that range"):
        Exporter.of(house).write(
            DAILY, tmp_path / "d.csv", ExportOptions("2023-05-06", "2023-05-10")
        )
    assert not (tmp_path / "d.csv").exists()


def test_exported_parquet_contains_the_provenance(house: Services, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    done = Exporter.of(house).write(DAILY, tmp_path / "e.parquet", ExportOptions(format="parquet"))
    frame = pd.read_parquet(done.path)
    facts = frame.attrs["onetape"]
    assert (facts["lane"], facts["rows"], facts["vendors"]) == ("1d", 22, ["yahoo"])
    assert (facts["complete"], facts["gaps"]) == (True, [])
    as_stored = ExportOptions(adjustment=None, format="parquet")
    done = Exporter.of(house).write(DAILY, tmp_path / "f.parquet", as_stored)
    assert pd.read_parquet(done.path).attrs["onetape"]["adjustment"] == "as stored"


@pytest.mark.parametrize("adjustment", ["split", None])
def test_a_row_that_cannot_be_a_bar_is_left_out_and_named(
    vendors: VendorServer,
    tmp_path: Path,
    rules: Path,
    clock: ManualClock,
    adjustment: Adjustment | None,
) -> None:
    vendors.fault("yahoo", Fault.bad_ohlc(7), symbol="AAPL", times=1)
    with pytest.warns(IncompleteDataWarning, match="high below low"):
        DataManager(tmp_path / "cache", rules, clock=clock).get_ohlcv(*MAY)
    exporter = Exporter.of(build(tmp_path / "cache", rules, clock=clock))
    done = exporter.write(DAILY, tmp_path / "a.csv", ExportOptions(adjustment=adjustment))
    frame = read(done.path)
    assert (len(frame), (frame.high >= frame.low).all()) == (21, True)
    told = done.to_json()
    assert (told["rows"], told["left_out"]) == (21, {})
    (fault,) = told["faults"]
    slot = "2024-05-09T00:00:00Z..2024-05-10T00:00:00Z"
    assert fault == f"1 gap, first {slot}: a row that cannot be a bar: high below low"


def test_bars_in_doubt_and_gaps_are_named_but_not_what_is_around_the_stored_bars(
    vendors: VendorServer, tmp_path: Path, rules: Path, clock: ManualClock
) -> None:
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    manager.get_ohlcv("AAPL", "1d", "2023-11-01", "2023-11-30")
    vendors.fault("yahoo", Fault.rescale(100.0, 10), symbol="AAPL", times=1)
    with pytest.warns(IncompleteDataWarning, match="100 times too large"):
        manager.get_ohlcv(*MAY)
    exporter = Exporter.of(build(tmp_path / "cache", rules, clock=clock))
    for number, adjustment in enumerate[Adjustment | None](("split", None)):
        wanted = ExportOptions(adjustment=adjustment)
        done = exporter.write(DAILY, tmp_path / f"{number}.csv", wanted)
        gap, doubt = done.faults
        assert gap == "1 gap, first 2023-12-01T00:00:00Z..2024-05-01T00:00:00Z: not cached"
        assert doubt.startswith("almost certainly wrong: unit: 1 row 100 times too large")
        assert (done.rows, done.left_out) == (43, {})
        wanted = ExportOptions("2023-11-01", "2023-11-30", adjustment)
        assert exporter.write(DAILY, tmp_path / f"{number}.csv", wanted).faults == []


def test_a_series_that_cannot_be_exported_does_not_stop_the_others(
    house: Services, tmp_path: Path
) -> None:
    odd = SeriesKey("NO SUCH THING", Timeframe(1, "d"))
    house.cache.store.commit(odd, Commit((piece(0, 5),)))
    exporter, keys = Exporter.of(house), house.cache.maintenance.series()
    by_name = {d.key.symbol: d for d in exporter.write_all(keys, tmp_path / "out", ExportOptions())}
    assert by_name["AAPL"].problem == ""
    assert by_name[odd.symbol].problem != ""
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["AAPL-1d.csv"]
    as_stored = exporter.write_all(keys, tmp_path / "all", ExportOptions(adjustment=None))
    assert [d.problem for d in as_stored] == ["", ""]
    assert read(tmp_path / "all" / "NO%20SUCH%20THING-1d.csv")["close"].tolist() == (
        table(range(5)).close.tolist()
    )


def test_an_export_in_prices_that_cannot_be_computed_is_refused(
    house: Services, tmp_path: Path
) -> None:
    (tmp_path / "cache" / "ohlcv" / "AAPL" / "actions.json").unlink()
    with pytest.raises(KindMismatchError, match="as stored"):
        Exporter.of(house).write(DAILY, tmp_path / "g.csv", ExportOptions(adjustment="all"))
    assert not (tmp_path / "g.csv").exists()


def test_an_export_into_the_cache_folder_is_refused(house: Services, tmp_path: Path) -> None:
    for place in ("x.csv", "ohlcv/x.csv"):
        with pytest.raises(StorageError, match=r"is inside the cache folder \(choose a path"):
            Exporter.of(house).write(DAILY, tmp_path / "cache" / place, ExportOptions())
    with pytest.raises(StorageError, match="is inside the cache folder"):
        Exporter.of(house).write_all([DAILY], tmp_path / "cache", ExportOptions())


def test_export_series_writes_a_stored_series_and_refuses_a_missing_one(
    house: Services, tmp_path: Path, rules: Path
) -> None:
    done = export_series("AAPL", "1d", tmp_path / "h.csv", cache_dir=tmp_path / "cache")
    assert (done.rows, len(read(done.path))) == (22, 22)
    with pytest.raises(CacheError, match="nothing is cached for MSFT 1d"):
        export_series("MSFT", "1d", tmp_path / "i.csv", cache_dir=tmp_path / "cache")
