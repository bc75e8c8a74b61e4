"""Exports for freqtrade: file names, columns, and reports of bars left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.cli import main
from src.data.core.cache.values import Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning, StorageError
from src.data.feed.services import services_of
from src.data.jobs.export.export import Exporter
from src.data.jobs.export.export_freqtrade import BarFile, write_files
from tests.e2e.conftest import make, manager, rules
from tests.vendor_server import Fault, VendorServer

__all__ = ["make", "manager", "rules"]
pytest.importorskip("pyarrow")
COLUMNS = ["date", "open", "high", "low", "close", "volume"]
DAY = ("BTCUSDT", "1h", "2024-06-03", "2024-06-03")


def exported(manager: DataManager, folder: Path) -> dict[str, BarFile]:
    """Export everything; return the files by series."""
    services = services_of(manager)
    assert services is not None
    keys = services.cache.maintenance.series()
    return {str(one.key): one for one in write_files(Exporter.of(services), keys, folder)}


def store_of_venue(manager: DataManager, symbol: str, venue: str) -> None:
    """Store a day of hours as those of a venue."""
    first = parse_iso("2024-06-03")
    stamps = first + np.arange(24, dtype=np.int64) * HOUR_MS
    table = BarTable.of_columns(stamps, [np.full(24, 100.0)] * 5)
    kind = Kind("24h", "clock", venue, "USDT", "base")
    span = Span(first, first + DAY_MS)
    piece = CommitPiece(table, span, "binance", first + 2 * DAY_MS, kind, Basis("raw"), "final")
    key = SeriesKey(symbol, Timeframe.parse("1h"))
    manager.cache.store.commit(key, Commit((piece,), kind=kind))


def test_a_file_is_named_and_built_as_freqtrade_does(manager: DataManager, tmp_path: Path) -> None:
    bars = manager.get_ohlcv(*DAY)
    manager.get_ohlcv("BTCUSDT", "1M", "2023-01", "2023-12")
    done = exported(manager, tmp_path / "data")
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.feather")} == {
        "data/binance/BTC_USDT-1h.feather", "data/binance/BTC_USDT-1Mo.feather",
    }  # fmt: skip
    one = done["BTCUSDT 1h"]
    assert (one.rows, one.left_out, one.missing) == (24, {}, 0)
    frame = pd.read_feather(one.path)
    assert list(frame.columns) == COLUMNS
    assert str(frame["date"].dtype) == "datetime64[ms, UTC]"
    assert frame["date"].dt.tz_localize(None).tolist() == bars.index.tolist()
    pd.testing.assert_frame_equal(frame[COLUMNS[1:]], bars.reset_index(drop=True)[COLUMNS[1:]])


def test_bars_that_may_still_change_are_left_out_and_counted(
    manager: DataManager, tmp_path: Path, clock: ManualClock
) -> None:
    # Half a minute after the close of 14:00, which has not settled.
    bars = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12", "now")
    assert bars.index[-1] == pd.Timestamp("2024-06-12T14:00")
    one = exported(manager, tmp_path)["BTCUSDT 1h"]
    assert (one.rows, one.left_out, one.last) == (14, {"provisional": 1}, "2024-06-12T13:00:00Z")
    clock.advance(3600)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12", "now")
    one = exported(manager, tmp_path)["BTCUSDT 1h"]
    assert (one.rows, one.last) == (15, "2024-06-12T14:00:00Z")


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
def test_doubtful_bars_are_left_out_and_holes_are_counted(
    manager: DataManager, vendors: VendorServer, tmp_path: Path
) -> None:
    vendors.fault("binance", Fault.drop(5, 6), times=1)
    manager.get_ohlcv(*DAY)
    vendors.fault("binance", Fault.bad_ohlc(7), times=1)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-04", "2024-06-04")
    one = exported(manager, tmp_path)["BTCUSDT 1h"]
    assert one.rows == 45
    assert (one.missing, one.first_gap) == (3, "2024-06-03T05:00:00Z")


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
def test_a_share_and_bars_not_from_an_exchange_are_skipped_with_the_reason(
    manager: DataManager, vendors: VendorServer, tmp_path: Path
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-05-31")
    vendors.fault("binance", Fault.status(451))
    manager.get_ohlcv(*DAY)
    done = exported(manager, tmp_path)
    assert [one.path for one in done.values()] == ["", ""]
    assert done["AAPL 1d"].problem == "not a pair of coins"
    assert {one.problem for one in done.values()} >= {"its bars are not from an exchange"}


def test_a_longer_file_of_freqtrades_own_is_not_replaced(
    manager: DataManager, tmp_path: Path
) -> None:
    manager.get_ohlcv(*DAY)
    path = Path(exported(manager, tmp_path)["BTCUSDT 1h"].path)
    longer = pd.read_feather(path)
    more = longer.tail(1).assign(date=longer["date"].iloc[-1] + pd.Timedelta(hours=1))
    pd.concat([longer, more], ignore_index=True).to_feather(path)
    before = path.read_bytes()
    one = exported(manager, tmp_path)["BTCUSDT 1h"]
    assert "has 1 bars that the cache does not have as final" in one.problem
    path.write_bytes(b"something else")
    assert "does not contain bars" in exported(manager, tmp_path)["BTCUSDT 1h"].problem
    assert path.read_bytes() != before
    path.unlink()
    assert exported(manager, tmp_path)["BTCUSDT 1h"].rows == 24


@pytest.mark.parametrize("dates", [[{"a": 1}], [[1, 2]], [1 << 62], [True]])
def test_a_freqtrade_file_with_invalid_dates_is_not_replaced(
    manager: DataManager, tmp_path: Path, dates: list[Any]
) -> None:
    manager.get_ohlcv(*DAY)
    path = Path(exported(manager, tmp_path)["BTCUSDT 1h"].path)
    pd.DataFrame({"date": dates}).to_feather(path)
    before = path.read_bytes()
    one = exported(manager, tmp_path)["BTCUSDT 1h"]
    assert one.problem and one.is_failed and path.read_bytes() == before


def test_a_link_into_the_cache_is_not_followed(manager: DataManager, tmp_path: Path) -> None:
    manager.get_ohlcv(*DAY)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "binance").symlink_to(tmp_path / "cache")
    assert "inside the cache" in exported(manager, tmp_path / "data")["BTCUSDT 1h"].problem
    assert not list((tmp_path / "cache").rglob("*.feather"))


def test_a_folder_inside_the_cache_is_refused(manager: DataManager, tmp_path: Path) -> None:
    manager.get_ohlcv(*DAY)
    with pytest.raises(StorageError, match="inside the cache"):
        exported(manager, tmp_path / "cache" / "freqtrade")


def test_an_exported_folder_can_be_read_as_own_files(
    manager: DataManager, tmp_path: Path, clock: ManualClock
) -> None:
    bars = manager.get_ohlcv(*DAY)
    exported(manager, tmp_path / "data")
    own = tmp_path / "own.yaml"
    own.write_text(
        "providers:\n  local:\n"
        f"    folder: {tmp_path}/data/binance\n"
        '    pattern: "{base}_{quote}-{timeframe}.feather"\n'
        "    time_column: date\n    anchor: clock\n    unit: USDT\n    timeframes: {1M: 1Mo}\n"
    )
    again = DataManager(tmp_path / "other", own, clock=clock).get_ohlcv(*DAY, provider="local")
    pd.testing.assert_frame_equal(again, bars, check_like=True)
    assert again.attrs["onetape"]["vendors"] == ["local"]


@pytest.mark.parametrize("symbol, venue, name", [
    ("BTCUSDT", "binanceusdm", "BTC_USDT_USDT-1h-futures.feather"),
    ("BTCUSD", "binancecoinm", "BTC_USD_BTC-1h-futures.feather"),
])  # fmt: skip
def test_perpetual_futures_have_a_folder_and_a_name_of_their_own(
    manager: DataManager, tmp_path: Path, symbol: str, venue: str, name: str
) -> None:
    store_of_venue(manager, symbol, venue)
    one = exported(manager, tmp_path)[f"{symbol} 1h"]
    assert (one.path, one.problem) == (str(tmp_path / "binance" / "futures" / name), "")


@pytest.mark.parametrize("venue", ["../../evil", "{}/evil", "..", "a\0b"])
def test_a_stored_venue_name_cannot_leave_the_folder(
    manager: DataManager, tmp_path: Path, venue: str
) -> None:
    """The cache may come from another user."""
    store_of_venue(manager, "BTCUSDT", venue.format(tmp_path))
    one = exported(manager, tmp_path / "data" / "below")["BTCUSDT 1h"]
    assert (one.path, one.problem) == ("", "its bars are not from an exchange")
    assert not list(tmp_path.rglob("*.feather"))


def test_export_for_freqtrade_reports_missing_bars(
    manager: DataManager, rules: Path, tmp_path: Path, vendors: VendorServer,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def run(*more: str) -> tuple[int, Any]:
        places = ["--cache-dir", str(tmp_path / "cache"), "--config", str(rules), "--json"]
        code = main(["cache", "export", *more, *places])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if code < 2 else printed.err

    manager.get_ohlcv(*DAY)
    code, reported = run("--for", "freqtrade", str(tmp_path / "data"))
    assert (code, [one["rows"] for one in reported]) == (0, [24])
    manager.get_ohlcv("ETHUSDT", *DAY[1:])
    path = tmp_path / "data" / "binance" / "ETH_USDT-1h.feather"
    path.mkdir()
    code, reported = run("--for", "freqtrade", str(tmp_path / "data"))
    assert (code, sorted(one["rows"] for one in reported)) == (1, [0, 24]), "one was not written"
    path.rmdir()
    vendors.fault("binance", Fault.drop(5), times=1)
    with pytest.warns(IncompleteDataWarning):
        manager.get_ohlcv("BTCUSDT", "1h", "2024-06-04", "2024-06-04")
    code, reported = run("BTCUSDT", "1h", "--for", "freqtrade", str(tmp_path / "data"))
    assert (code, reported[0]["rows"], reported[0]["missing"]) == (1, 47, 1)
    assert "known: freqtrade" in json.dumps(run("--for", "zipline", "x")[1])
    with suppress(SystemExit):  # by the parser itself before Python 3.15
        assert run("--for", "freqtrade", "--json")[0] == 2
    assert not Path("--json").exists()
    for words in (("--raw",), ("--adjustment", "all"), ("--adjustment", "split")):
        told = json.dumps(run(*words, "--for", "freqtrade", str(tmp_path / "data"))[1])
        assert f"{words[0]} cannot be combined" in told


def test_exported_times_are_those_of_the_open(
    manager: DataManager, make: Callable[[], DataManager], tmp_path: Path
) -> None:
    manager.get_ohlcv(*DAY)
    frame = pd.read_feather(exported(make(), tmp_path)["BTCUSDT 1h"].path)
    assert frame["date"].iloc[0].value // 10**6 == parse_iso("2024-06-03T00:00:00")
