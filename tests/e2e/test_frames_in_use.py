"""A returned frame keeps its values, whatever happens to its series and its files.

It runs in its own process: reading memory mapped from a truncated file would kill it.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from src.data import DataManager
from src.data.core.cache.read import columnar_reader
from src.data.core.cache.upkeep.compact import compact_series
from src.data.core.clock import ManualClock
from src.data.core.model.answer import frame as model_frame
from tests.processes import Talker
from tests.vendor_server import VendorServer


def hold(cache: Path, rules: Path, now_ms: int) -> None:
    """Hold frames while their series is changed in each way; print what they have outlived."""
    # Columns of two days are mapped, as those of weeks are.
    columnar_reader.MOST_READ = columnar_reader.MOST_COPIED = 1 << 15
    model_frame.LONG = 1_000
    manager = DataManager(cache, rules, clock=ManualClock(now_ms))

    def ask(end: str) -> pd.DataFrame:
        return manager.get_ohlcv("BTCUSDT", "1m", "2024-05-30", end)

    def columns() -> list[Path]:
        return list((cache / "_columnar").rglob("*.bars"))

    ask("2024-05-31")
    frame, mine = ask("2024-05-31"), ask("2024-05-31")
    assert len(frame) == 2 * 1440
    maps = Path("/proc/self/maps")
    if maps.exists():
        mapped = [line for line in maps.read_text().splitlines() if str(cache) in line]
        assert sum(".bars" in line for line in mapped) >= 3, "the frames are not memory maps"
    truth = frame.copy(deep=True)
    mine.loc[:, "close"] = -1.0

    def check(what: str) -> None:
        assert frame.equals(truth), what
        assert (mine["close"] == -1.0).all(), what
        assert mine["open"].equals(truth["open"]), what
        print(what)

    check("as it was")
    assert len(ask("2024-06-01")) == 3 * 1440
    check("appended")
    store = manager.cache.store
    for key in store.keys():
        compact_series(store.parts, key, dry_run=False)
    manager.get_ohlcv("BTCUSDT", "1m", "2024-05-31", "2024-05-31", force_refresh=True)
    assert ask("2024-05-31").equals(truth)
    check("written anew")
    assert columns()
    manager.cache.max_size_gb = 1e-9
    manager.cache.tidy()
    manager.cache.enforce_limit()
    assert not columns()
    check("cleaned")
    assert ask("2024-05-31").equals(truth)
    manager.clear_cache("BTCUSDT", "1m")
    assert not columns()
    check("cleared")
    frame.loc[:] = 5.0
    assert ask("2024-05-31").equals(truth)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_frame_in_use_does_not_change_with_its_series(
    vendors: VendorServer, clock: ManualClock, tmp_path: Path, rules: Path
) -> None:
    child = Talker([], partial(hold, tmp_path / "cache", rules, clock.now_ms()))
    assert child.end().splitlines() == [
        "as it was", "appended", "written anew", "cleaned", "cleared"
    ]  # fmt: skip
