"""One manager per process, even after a fork; odd paths, symbols and state files are typed errors."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.data import get_data_manager, reset_data_manager
from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import ConfigError, QueryError
from src.data.feed.data_feed_factory import DataFeedFactory
from src.data.feed.services import default_manager
from tests.vendor_server import VendorServer

from .oracle import ms

WAIT_S = 20
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


@pytest.fixture
def configured(
    tmp_path: Path, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DataManager]:
    """Yield the process's own manager, made for this test's cache, rules and clock."""
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: clock)
    reset_data_manager()
    yield get_data_manager(tmp_path / "cache", rules)
    reset_data_manager()


def in_child(work: Callable[[], bool]) -> bool:
    """Tell what ``work`` returns in a forked child."""
    child = os.fork()
    if child == 0:
        signal.alarm(WAIT_S)
        good = False
        try:
            good = work()
        finally:
            os._exit(0 if good else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@forks
def test_a_forked_child_keeps_folder_and_rules(configured: DataManager, tmp_path: Path) -> None:
    def same() -> bool:
        os.chdir("/")  # as daemons do
        mine = get_data_manager()
        rules = configured.provider_selector.parsed_rules
        return (
            mine is not configured
            and mine.cache.cache_dir == tmp_path / "cache"
            and mine.provider_selector.parsed_rules == rules
        )

    assert in_child(lambda: in_child(same) and same()), "a child that has forked a child"
    assert get_data_manager() is configured


@forks
def test_a_forked_child_can_choose_another_cache_folder(
    configured: DataManager, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert in_child(lambda: get_data_manager(other).cache.cache_dir == other)


def test_feeds_without_a_manager_use_the_default_manager_of_the_process(
    configured: DataManager,
) -> None:
    pytest.importorskip("backtrader")
    assert default_manager() is configured
    config = {"data_source": "binance", "symbol": "BTCUSDT", "interval": "1h", "lookback_bars": 5}
    feed = DataFeedFactory.create_data_feed(config)
    assert feed is not None
    assert feed.data_manager is configured


@pytest.mark.parametrize("make", [DataManager, lambda path: UnifiedCache(path, 1.0)])
@pytest.mark.parametrize("path", [os.fsdecode(b"/tmp/\xff"), "~nobody-of-that-name/cache", "a\0b"])
def test_an_impossible_path_is_a_typed_error(make: Callable[[str], object], path: str) -> None:
    with pytest.raises(ConfigError, match="cache_dir"):
        make(path)


@pytest.mark.parametrize("name", ["DATA_CACHE_DIR", "ONETAPE_STATE_DIR", "ONETAPE_RULES"])
def test_an_unknown_home_folder_in_an_environment_variable_is_a_config_error(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "~nobody-of-that-name/here")
    with pytest.raises(ConfigError, match=name):
        DataManager()


@pytest.mark.skipif(os.name != "posix", reason="a working directory cannot be removed")
def test_a_deleted_working_directory_is_a_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConfigError, match="working directory"):
        DataManager("cache")
    with pytest.raises(ConfigError, match="working directory"):
        UnifiedCache("cache", 1.0)


def test_a_symbol_that_cannot_be_a_key_is_a_typed_error(manager: DataManager) -> None:
    with pytest.raises(QueryError, match="symbols"):
        manager.get_ohlcv_batch(["BTCUSDT", ["AAPL"]], "1h", "2024-06-10", "2024-06-11")  # type: ignore[list-item]
    with pytest.raises(QueryError, match="symbols"):
        manager.get_ohlcv_batch(7, "1h", "2024-06-10", "2024-06-11")  # type: ignore[arg-type]


@pytest.mark.parametrize("table", ["facts", "every"])
def test_a_state_file_with_text_in_place_of_a_number_is_set_aside(
    make: Callable[[], DataManager], state_dir: Path, table: str
) -> None:
    request = ("BTCUSDT", "1h", "2024-06-10T00:00", "2024-06-10T05:00")
    make().get_ohlcv(*request)
    with sqlite3.connect(state_dir / "state.sqlite") as book:
        names = [n for (n,) in book.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names if table == "every" else ["facts"]:
            for _, column, kind, _, _, key in book.execute(f"PRAGMA table_info({name})").fetchall():
                if not key and (kind != "TEXT" or name == "facts"):
                    book.execute(f"UPDATE OR IGNORE {name} SET {column} = 'no number'")
        if table == "facts":
            book.execute("INSERT OR REPLACE INTO facts VALUES ('lost_s', 'no number')")
            book.execute("DELETE FROM facts WHERE name LIKE 'anchor_%'")
    book.close()
    for day in ("2024-06-08", "2024-06-07"):
        frame = make().get_ohlcv("BTCUSDT", "1h", day, f"{day}T05:00", strict=True)
        assert len(frame) == 6
    assert (state_dir / "state.damaged").exists()


@pytest.mark.parametrize(
    ("symbol", "timeframe"), [("BTCUSDT", "1h"), ("AAPL", "1h"), ("AAPL", "4h")]
)
@pytest.mark.parametrize("count", [1, 5])
def test_a_number_of_bars_counts_closed_ones_and_the_running_one_is_added(
    manager: DataManager, clock: ManualClock, vendors: VendorServer,
    symbol: str, timeframe: str, count: int,
) -> None:  # fmt: skip
    clock.set(ms("2024-06-12T15:10:00"))
    closed = manager.get_ohlcv(symbol, timeframe, bars=count)
    frame = manager.get_ohlcv(symbol, timeframe, bars=count, include_forming=True)
    assert len(closed) == count
    assert list(frame.index[:-1]) == list(closed.index)
    assert frame.index[-1] > closed.index[-1]
