"""Tests that a cached answer needs no calendar, vendor or HTTP library."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.bars.lookup import CacheLookup
from src.data.core.cache.store import Commit
from src.data.core.clock import ManualClock
from src.data.core.model.stored.coverage import Covered
from src.data.core.model.stored.reasons import NO_BAR
from src.data.core.model.time.span import Span
from src.data.data_manager import DataManager
from tests.vendor_server import VendorServer

from .fresh import Fresh
from .oracle import ms

ASK = """
import json, sys, warnings
warnings.simplefilter("error")
from src.data import DataManager
from src.data.core.clock import ManualClock
manager = DataManager({cache!r}, {rules!r}, clock=ManualClock({now}))
rows = [len(manager.get_ohlcv(*request, **{options!r})) for request in {requests!r}]
heavy = ("requests", "urllib3", "exchange_calendars", "tenacity", "sqlite3", "yfinance", "binance",
         "matplotlib", "onetape.data.show")
of_a_miss = ("onetape.data.core.vendors.", "onetape.data.core.bars.fetch.", "onetape.data.core.bars.ingest.",
             "onetape.data.core.cache.recovery", "onetape.data.core.cache.clear",
             "onetape.data.core.cache.retention.trim", "onetape.data.core.cache.write.commit",
             "onetape.data.core.cache.write.year", "onetape.data.core.cache.acceptances",
             "onetape.data.core.cache.legacy.migrate", "onetape.data.core.cache.upkeep.maintenance",
             "onetape.data.core.model.stored.stored", "onetape.data.core.model.request.http",
             "onetape.data.core.model.request.shape", "html")
vendors = [name for name in sys.modules if name.startswith(of_a_miss)]
print(json.dumps([rows, [name for name in heavy if name in sys.modules], vendors]))
"""
SHARE, COIN = ("AAPL", "1d", "2024-03-01", "2024-05-31"), ("BTCUSDT", "1h", "2024-06-01")


def in_a_fresh_process(
    fresh: Fresh, folder: Path, now: int, *requests: tuple[str, ...], **options: str
) -> tuple[list[int], list[str], list[str]]:
    """Ask in a process of its own; return rows, heavy modules loaded, and those of a miss."""
    code = ASK.format(
        cache=str(folder / "cache"), rules=str(folder / "rules.yaml"), now=now, requests=requests,
        options=options,
    )  # fmt: skip
    rows, heavy, vendors = json.loads(fresh.run(code))
    return rows, heavy, vendors


def test_a_covered_range_loads_neither_calendar_nor_vendor_nor_http(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path, fresh: Fresh
) -> None:
    clock.set(ms("2024-06-12T15:10:00"))
    expected = [len(manager.get_ohlcv(*request)) for request in (SHARE, COIN)]
    vendors.clear_log()
    now = ms("2024-06-12T15:50:00")
    rows, heavy, modules = in_a_fresh_process(fresh, tmp_path, now, SHARE, COIN)
    assert rows == expected
    assert heavy == []
    assert modules == []
    assert vendors.count() == 0


@pytest.mark.parametrize("adjustment", ["split", "all", "raw"])
def test_a_sample_is_stored_once_and_then_answered_like_any_stored_range(
    make: Callable[[], DataManager], clock: ManualClock, tmp_path: Path, fresh: Fresh,
    monkeypatch: pytest.MonkeyPatch, adjustment: str,
) -> None:  # fmt: skip
    pytest.importorskip("bokeh_sampledata.stocks")
    asked, how = ("AAPL", "1d", "2012-01-03", "2012-12-31"), {"adjustment": adjustment}
    first = make().get_ohlcv(*asked, provider="demo", **how)
    for later in ("2024-06-12T15:50:00", "2024-06-13T15:10:00", "2029-03-01T15:10:00"):
        clock.set(ms(later))
        parts = in_a_fresh_process(fresh, tmp_path, ms(later), asked, provider="demo", **how)
        assert parts == ([250], [], [])
    manager, find, looked_up = make(), CacheLookup.find, list[str]()
    monkeypatch.setattr(
        CacheLookup,
        "find",
        lambda self, query: looked_up.append("in the store") or find(self, query),
    )
    for hits in (1, 2, 3):
        frame = manager.get_ohlcv(*asked, provider="demo", **how)
        pd.testing.assert_frame_equal(frame, first)
        assert manager.metrics()["calls"]["hits"] == hits
        before, after = first.attrs["onetape"], frame.attrs["onetape"]
        changed = {name for name in before if before[name] != after[name]}
        assert changed <= {"asked_at", "from_cache", "attempts", "quality"}  # of a fetch
    assert len(looked_up) == 2, "kept in memory by the second request"
    unknown = "splits and dividends from 2013-03-04 on are not in the sample"
    expected = [] if adjustment == "raw" else [f"prices are as of 2013-03-03: {unknown}"]
    assert list(after["problems"]) == expected


def test_a_hit_in_a_lane_beside_another_kind_loads_no_vendor_module(
    make: Callable[[], DataManager], rules: Path, vendors: VendorServer, tmp_path: Path,
    clock: ManualClock, fresh: Fresh,
) -> None:  # fmt: skip
    asked = ("BTCUSDT", "1h", "2024-06-01", "2024-06-03")
    make().get_ohlcv(*asked)
    rules.write_text(
        rules.read_text().replace("backup: [yahoo]", "primary: yahoo, backup: [binance]")
    )
    frame = make().get_ohlcv(*asked)
    assert (frame.attrs["onetape"]["vendors"], len(frame)) == (["yahoo"], 72)
    vendors.clear_log()
    assert in_a_fresh_process(fresh, tmp_path, clock.now_ms(), asked) == ([72], [], [])
    assert vendors.count() == 0


def test_a_vendor_that_only_reported_no_bars_does_not_answer_for_an_old_range(
    make: Callable[[], DataManager], rules: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    old = ("BTCUSDT", "1h", "2020-01-01", "2020-01-02")
    expected = make().get_ohlcv(*old)
    rules.write_text(
        rules.read_text().replace("backup: [yahoo]", "primary: yahoo, backup: [binance]")
    )
    manager = make()
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-03")
    (lane,) = (key for key in manager.cache.maintenance.series() if key.lane)
    span = Span(ms("2020-01-01T00:00:00"), ms("2020-01-03T00:00:00"))
    mark = Covered(span, "empty", "yahoo", fetched_at=clock.now_ms(), reason=NO_BAR)
    manager.cache.store.commit(lane, Commit(marks=[mark]))
    vendors.clear_log()
    frame = make().get_ohlcv(*old, strict=True)
    pd.testing.assert_frame_equal(frame, expected)
    reported = frame.attrs["onetape"]
    assert (reported["vendors"], reported["substitute"], len(frame)) == (["binance"], None, 48)
    assert vendors.count() == 0


def test_a_fetch_loads_the_vendor_module_and_the_http_library(
    rules: Path, vendors: VendorServer, clock: ManualClock, tmp_path: Path, fresh: Fresh
) -> None:
    rows, heavy, modules = in_a_fresh_process(fresh, tmp_path, clock.now_ms(), COIN)
    assert rows[0] > 200
    assert "requests" in heavy, "the test above would check nothing"
    assert "onetape.data.core.vendors.binance.bars" in modules


def test_a_stored_answer_up_to_now_does_not_hide_an_earlier_hole(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-12T15:10:00"))
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-08", "2024-06-09")
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-11")  # nothing newer before 16:00
    for start, end in [("2024-06-08", None), ("2024-06-07", "2024-06-09")]:
        frame = manager.get_ohlcv("BTCUSDT", "1h", start, end, strict=True)
        assert (frame.index.to_series().diff().dropna() == pd.Timedelta(hours=1)).all()
        assert str(frame.index[0].date()) == start


@pytest.mark.parametrize("request_", [SHARE, COIN])
def test_a_hit_writes_no_file(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, tmp_path: Path,
    request_: tuple[str, ...], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    clock.set(ms("2024-06-12T15:10:00"))
    make().get_ohlcv(*request_)
    manager = make()
    disk = manager.cache.store.parts.disk
    perform, steps = disk.perform, []

    def watched(step, call):  # type: ignore[no-untyped-def]
        steps.append(step.name)
        return perform(step, call)

    monkeypatch.setattr(disk, "perform", watched)
    manager.get_ohlcv(*request_)
    changing = "create write truncate fsync fdatasync fsync_dir replace link unlink mkdir"
    assert steps
    assert not set(changing.split()) & set(steps)
