"""A cache cleared during a read: the answer is complete, or a gap gives the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.data.core.bars.answer.reader import FetchOutcome
from src.data.core.cache.beside.tables import TableStore
from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning
from tests.vendor_server import VendorServer

from .fixed_vendor import FixedVendor, Market, every
from .scripted_vendor import gaps, provenance

YEAR = every("1d", "2020-01-01", "2020-12-31")
ASK = ("BTCUSDT", "1d", "2020-01-01", "2020-12-31")


@pytest.fixture
def clear(monkeypatch: pytest.MonkeyPatch) -> Callable[[DataManager, int], None]:
    """Return what lets a manager's cache be cleared before each of its next reads."""

    def before_reads(manager: DataManager, times: int) -> None:
        left, of = [times], FetchOutcome.of

        def cleared(*args: Any) -> FetchOutcome:
            # What became of the fetch is put together just before the answer is read.
            left[0] -= 1
            if left[0] >= 0:
                manager.clear_cache(everything=True)
            return of(*args)

        monkeypatch.setattr(FetchOutcome, "of", cleared)

    return before_reads


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("is_half_stored", [False, True])
def test_bars_deleted_before_they_are_read_are_fetched_again(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch,
    clear: Callable[[DataManager, int], None], is_half_stored: bool, times: int,
) -> None:  # fmt: skip
    manager = Market(tmp_path, clock, monkeypatch).manager(FixedVendor(clock, YEAR, "binance"))
    if is_half_stored:
        manager.get_ohlcv(*ASK[:3], "2020-06-30")
    clear(manager, times)
    assert len(manager.get_ohlcv(*ASK, strict=True)) == 366


def test_bars_deleted_again_and_again_are_a_gap_with_that_reason(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch,
    clear: Callable[[DataManager, int], None],
) -> None:  # fmt: skip
    fixed = FixedVendor(clock, YEAR, "binance")
    manager = Market(tmp_path, clock, monkeypatch).manager(fixed)
    clear(manager, 99)
    with pytest.warns(IncompleteDataWarning, match="deleted by another caller"):
        frame = manager.get_ohlcv(*ASK)
    reason = "deleted by another caller while it was read"
    assert gaps(frame) == [("2020-01-01T00:00:00", "2021-01-01T00:00:00", reason)]
    assert len(fixed.asked) == 4


@pytest.mark.parametrize("timeframe", ["1d", "1w"])
def test_shares_deleted_together_with_their_actions_are_fetched_again(
    manager: DataManager, clear: Callable[[DataManager, int], None], timeframe: str
) -> None:
    ask = ("AAPL", timeframe, "2020-07-06", "2020-10-02")
    whole = manager.get_ohlcv(*ask, strict=True)
    clear(manager, 1)
    again = manager.get_ohlcv(*ask, force_refresh=True, strict=True)
    assert again.equals(whole)


def test_figures_deleted_by_another_process_during_a_call_are_fetched_again(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ("BTCUSDT", "2024-06-01", "2024-06-05")
    whole, read = manager.get_funding_rate(*ask), TableStore.read

    def cleared(table: TableStore, *args: Any) -> Any:
        monkeypatch.setattr(TableStore, "read", read)
        table.clear()
        return read(table, *args)

    monkeypatch.setattr(TableStore, "read", cleared)
    again = manager.get_funding_rate(*ask)
    assert again.equals(whole)
    assert provenance(again)["from_cache"] == 0.0
    assert vendors.count() == 2
