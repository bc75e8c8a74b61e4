"""``version=``: a series as of one of its commits, read without a request to a vendor."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.instant import DAY_MS, iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning, QueryError
from tests.conftest import WEDNESDAY
from tests.vendor_server import VendorServer

from .oracle import assert_true, ms
from .scripted_vendor import provenance

WEEK = ("BTCUSDT", "1h", "2024-05-01", "2024-05-07")


@pytest.fixture(scope="module")
def _grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, pd.DataFrame]]:
    """Return a cache to be copied, in which a series grew day by day and was asked for again.

    With it the frames returned, by generation.
    """
    folder, frames = tmp_path_factory.mktemp("grown"), {}
    clock = ManualClock(WEDNESDAY)
    with pytest.MonkeyPatch.context() as patch, VendorServer(clock) as vendors:
        patch.setenv("ONETAPE_STATE_DIR", str(folder / "state"))
        own = {"base_url": vendors.base_url("binance"), "transport": "http"}
        (folder / "rules.yaml").write_text(json.dumps({"providers": {"binance": own}}))
        manager = DataManager(folder / "cache", folder / "rules.yaml", clock=clock)
        for day in range(1, 8):
            frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", f"2024-05-{day:02d}")
            frames[provenance(frame)["generation"]] = frame
        # A bar of all versions is another one in the last.
        vendors.revise(*WEEK[:2], ms("2024-05-01T05:00:00"), 1.01, clock.now_ms() + DAY_MS)
        frame = manager.get_ohlcv(*WEEK, force_refresh=True)
        frames[provenance(frame)["generation"]] = frame
    return folder / "cache", frames


@pytest.fixture
def grown(_grown: tuple[Path, dict[int, pd.DataFrame]], tmp_path: Path) -> dict[int, pd.DataFrame]:
    """Lay a copy of that cache down; return the frames by generation."""
    shutil.copytree(_grown[0], tmp_path / "cache", dirs_exist_ok=True)
    return _grown[1]


def test_every_version_equals_the_answer_returned_then(
    manager: DataManager, vendors: VendorServer, grown: dict[int, pd.DataFrame]
) -> None:
    assert len(grown) == 8
    for generation, before in grown.items():
        end = before.index[-1].to_pydatetime()
        frame = manager.get_ohlcv(*WEEK[:3], end, version=generation, strict=True)
        pd.testing.assert_frame_equal(frame, before)
        facts = provenance(frame)
        assert (facts["generation"], facts["version"]) == (generation, generation)
        assert (facts["vendors"], facts["from_cache"]) == (["binance"], 1.0)
        assert {span["state"] for span in facts["spans"]} == {"final"}
        assert len(facts["attempts"]) == 0
    assert vendors.count() == 0


def test_bars_that_a_version_does_not_contain_are_a_gap(
    manager: DataManager, clock: ManualClock, grown: dict[int, pd.DataFrame]
) -> None:
    first = min(grown)
    with pytest.warns(IncompleteDataWarning, match=f"version {first} has no bars there"):
        frame = manager.get_ohlcv(*WEEK, version=first)
    assert len(frame) == 24
    with pytest.raises(IncompleteDataError):
        manager.get_ohlcv(*WEEK, version=first, strict=True)
    before = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-01", version=first)
    pd.testing.assert_frame_equal(before, frame)


def test_a_version_contains_no_bar_that_had_not_closed_then(
    manager: DataManager, clock: ManualClock
) -> None:
    before = manager.get_ohlcv("BTCUSDT", "1h", bars=30)
    clock.advance(2 * DAY_MS / 1000)
    manager.get_ohlcv("BTCUSDT", "1h", bars=80)
    start, version = before.index[0].to_pydatetime(), provenance(before)["generation"]
    frame = manager.get_ohlcv("BTCUSDT", "1h", start, version=version, strict=True)
    assert frame["close"].tolist() == before["close"].tolist()
    assert len(manager.get_ohlcv("BTCUSDT", "1h", start)) == 78


def test_a_number_of_bars_counts_the_bars_of_the_version(
    manager: DataManager, grown: dict[int, pd.DataFrame]
) -> None:
    third = sorted(grown)[2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the day has gone on since its last bar
        frame = manager.get_ohlcv("BTCUSDT", "1h", bars=30, version=third)
        known = manager.get_ohlcv("BTCUSDT", "1h", closed_by="2024-05-02T12:00", version=third)
    pd.testing.assert_frame_equal(frame, grown[third].iloc[-30:])
    assert known.index[-1] == pd.Timestamp("2024-05-02 11:00")
    told_beside = manager.get_ohlcv(*WEEK[:3], "2024-05-01", version=third, columns=("source",))
    assert set(told_beside["source"]) == {"binance"}


def test_a_version_contains_the_bar_from_before_a_revision(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    before = manager.get_ohlcv(*WEEK)
    store = manager.cache.store
    from dataclasses import replace

    from src.data.core.cache.store import Commit, CommitPiece
    from src.data.core.model.identity.series import SeriesKey
    from src.data.core.model.time.span import Span
    from src.data.core.model.time.timeframe import Timeframe

    key = SeriesKey("BTCUSDT", Timeframe(1, "h"))
    span = Span(ms("2024-05-03"), ms("2024-05-04"))
    rows, coverage = store.read(key, span)
    other = replace(rows, close=rows.close * 1.5, high=rows.high * 1.5)
    part = coverage[0]
    store.commit(key, Commit((CommitPiece(other, span, "binance", part.fetched_at, part.kind,
                                    part.basis, "final"),)))  # fmt: skip
    assert not manager.get_ohlcv(*WEEK).equals(before)
    frame = manager.get_ohlcv(*WEEK, version=provenance(before)["generation"], strict=True)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("adjustment", ["raw", "split", "all"])
def test_a_version_is_adjusted_by_its_own_basis(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, adjustment: Any
) -> None:
    spring = ("AAPL", "1d", "2024-03-01", "2024-04-30")
    first = manager.get_ohlcv(*spring, adjustment=adjustment)
    clock.advance(DAY_MS / 1000)
    manager.get_ohlcv("AAPL", "1d", "2024-03-01", "2024-05-31", adjustment=adjustment)
    now = manager.get_ohlcv(*spring, adjustment=adjustment)
    vendors.clear_log()
    lane = provenance(first)["lane"]
    if "@" in lane:
        pytest.skip("these prices lie in a lane of their own")
    version = provenance(first)["generation"]
    frame = manager.get_ohlcv(*spring, adjustment=adjustment, version=version, strict=True)
    if adjustment != "all":  # the vendor rounds its own
        assert_true(frame, vendors, clock, "AAPL", "1d", "2024-03-01", "2024-05-01", adjustment)
    columns = ["open", "high", "low", "close", "volume"]
    pd.testing.assert_frame_equal(frame[columns], now[columns])
    assert provenance(frame)["as_of"] == provenance(now)["as_of"]
    assert vendors.count() == 0


def test_the_series_of_a_pinned_vendor_has_its_own_versions(
    manager: DataManager, vendors: VendorServer
) -> None:
    pinned = manager.get_ohlcv(*WEEK, provider="binance")
    vendors.clear_log()
    frame = manager.get_ohlcv(*WEEK, provider="binance", version=provenance(pinned)["generation"])
    assert provenance(frame)["lane"] == "1h@binance"
    pd.testing.assert_frame_equal(frame, pinned)
    with pytest.raises(QueryError, match="has no version 1"):
        manager.get_ohlcv(*WEEK, version=1)
    assert vendors.count() == 0


def test_an_invalid_version_is_refused(
    manager: DataManager, vendors: VendorServer, grown: dict[int, pd.DataFrame]
) -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"version": 99}, "versions 1 to"),
        ({"version": 0}, "use a commit number"),
        ({"version": True}, "use a commit number"),
        ({"version": "1"}, "use a commit number"),
        ({"version": 1, "force_refresh": True}, "force_refresh for BTCUSDT cannot"),
        ({"version": 1, "include_forming": True}, "include_forming for BTCUSDT cannot"),
    ]
    for wrong, said in refused:
        with pytest.raises(QueryError, match=said):
            manager.get_ohlcv(*WEEK, **wrong)
    assert vendors.count() == 0


def test_a_version_of_a_series_without_bars_is_refused(make: Callable[[], DataManager]) -> None:
    with pytest.raises(QueryError, match="nothing is stored"):
        make().get_ohlcv(*WEEK, version=1)


# --- after a deletion ----------------------------------------------------------------------


def _clear(manager: DataManager, clock: ManualClock) -> str:
    manager.cache.clear("BTCUSDT", "1h")
    return "clear"


def _clear_symbol(manager: DataManager, clock: ManualClock) -> str:
    manager.cache.clear("BTCUSDT")
    return "clear"


def _clear_all(manager: DataManager, clock: ManualClock) -> str:
    manager.cache.clear()
    return "clear"


def _clean_up(manager: DataManager, clock: ManualClock) -> str:
    clock.set(clock.now_ms() + 400 * DAY_MS)
    assert manager.cache.cleanup_old_data(365) == 1
    return "cleanup_old_data"


@pytest.mark.parametrize("delete", [_clear, _clear_symbol, _clear_all, _clean_up])
def test_versions_of_deleted_bars_are_refused_and_their_numbers_not_reused(
    make: Callable[[], DataManager], manager: DataManager, clock: ManualClock,
    grown: dict[int, pd.DataFrame], delete: Callable[[DataManager, ManualClock], str],
) -> None:  # fmt: skip
    key, bars = SeriesKey("BTCUSDT", Timeframe.parse("1h")), len(grown[max(grown)])
    by = delete(manager, clock)
    again = make()
    for generation in grown:
        with pytest.raises(QueryError, match="are no longer kept"):
            again.get_ohlcv(*WEEK, version=generation)
    deletion = again.cache.maintenance.log(key)[-1]
    assert (deletion["deleted"], deletion["removed"], deletion["time"][:10]) == (
        by, bars, iso(clock.now_ms())[:10])  # fmt: skip
    anew = again.get_ohlcv("BTCUSDT", "1h", "2024-05-10", "2024-05-11", strict=True)
    assert provenance(anew)["generation"] > deletion["generation"] > max(grown)
    same = make().get_ohlcv(
        "BTCUSDT", "1h", "2024-05-10", "2024-05-11", version=provenance(anew)["generation"]
    )
    pd.testing.assert_frame_equal(same, anew)
    later = make()
    for generation in grown:
        with pytest.raises(QueryError, match="are no longer kept"):
            later.get_ohlcv(*WEEK, version=generation)


def test_a_second_deletion_is_not_logged(
    manager: DataManager, grown: dict[int, pd.DataFrame]
) -> None:
    key = SeriesKey("BTCUSDT", Timeframe.parse("1h"))
    manager.cache.clear("BTCUSDT")
    log = manager.cache.maintenance.log(key)
    manager.cache.clear("BTCUSDT")
    assert manager.cache.maintenance.log(key) == log
    assert manager.cache.list_symbols() == []
    assert manager.cache.list_timeframes("BTCUSDT") == []
