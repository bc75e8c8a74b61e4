"""``bars=N``: N rows or a reason for fewer, with own files, any end, and every method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import HOUR_MS, iso
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError

from .fixed_vendor import FixedVendor, Market, at, days, every, serving, shown
from .scripted_vendor import provenance

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

NOW = "2024-08-01T12:00"
SESSIONS = days("2024-07-11", "2024-07-31")
# New York trades from 13:30 to 20:00 UTC in July.
OPENS = {
    "clock": [s for day in SESSIONS for s in every("1h", f"{day}T13:00", f"{day}T19:00")],
    "session": [s for day in SESSIONS for s in every("1h", f"{day}T13:30", f"{day}T19:30")],
}
ENDS = [
    None,
    "2024-07-25T18:20",
    "2024-07-25T20:00",
    "2024-07-25",
    "2024-07-27",
    "2024-07-28T12:00",
]
# The instants that these ends are.
UNTIL = [NOW, *ENDS[1:3], "2024-07-26T04:00", "2024-07-28T04:00", "2024-07-28T12:00"]

Make = Callable[[str], DataManager]


def own(folder: Path, stamps: list[int], more: str = "", timeframe: str = "1h") -> Make:
    """Lay a file down, and return what makes managers over it, each with the cache named."""
    rows = "".join(f"{iso(stamp)},1,2,1,2,3\n" for stamp in stamps)
    (folder / f"NVDA_{timeframe}.csv").write_text("timestamp,open,high,low,close,volume\n" + rows)
    rules = folder / "rules.yaml"
    rules.write_text(
        "stock_intraday: {primary: local, backup: []}\n"
        f"providers:\n  local: {{folder: {folder}, adjustment: raw{more}}}\n"
    )
    return lambda cache: DataManager(folder / cache, rules, clock=ManualClock(at(NOW)))


def last(manager: DataManager, bars: int, end: str | None, **more: Any) -> pd.DataFrame:
    wishes = {"adjustment": "raw", **more}
    timeframe = wishes.pop("timeframe", "1h")
    return manager.get_ohlcv("NVDA", timeframe, bars=bars, end_date=end, **wishes)


def closed(stamps: list[int], until: str) -> list[int]:
    """Return the bars that had closed by then; a session ends at 20:00 UTC."""
    ends = [min(s + HOUR_MS, s // (24 * HOUR_MS) * 24 * HOUR_MS + 20 * HOUR_MS) for s in stamps]
    return [stamp for stamp, end in zip(stamps, ends, strict=True) if end <= at(until)]


@pytest.mark.parametrize("opens, declared", [("clock", ""), ("clock", ", anchor: clock"),
                                             ("session", ""), ("session", ", anchor: session")])  # fmt: skip
def test_the_requested_number_of_hours_comes_from_own_files(
    tmp_path: Path, opens: str, declared: str
) -> None:
    make = own(tmp_path, OPENS[opens], declared)
    warm = make("warm")
    for end, until in zip(ENDS, UNTIL, strict=True):
        expected = closed(OPENS[opens], until)
        for bars in (1, 2, 7):
            frame = last(warm, bars, end, provider="local")
            assert [at(text) for text in shown(frame)] == expected[-bars:], (end, bars)


@pytest.mark.parametrize("bars", [1, 2, 7])
def test_the_requested_number_of_hours_from_own_files_is_returned_with_an_empty_cache(
    tmp_path: Path, bars: int
) -> None:
    make = own(tmp_path, OPENS["clock"])
    for provider in (None, "local"):
        for _ in range(2):
            frame = last(make(f"cache-{provider}"), bars, None, provider=provider)
            assert [at(text) for text in shown(frame)] == OPENS["clock"][-bars:]
    batch = make("batch").get_ohlcv_batch(["NVDA"], "1h", bars=bars, adjustment="raw")
    assert [at(text) for text in shown(batch["NVDA"])] == OPENS["clock"][-bars:]


def test_fewer_own_hours_than_requested_give_unknown_splits_as_the_reason(
    tmp_path: Path,
) -> None:
    make = own(tmp_path, OPENS["clock"])
    for bars in (1, 2, 7, 14):
        frame = last(make("cache"), bars, None)
        found = [at(text) for text in shown(frame)]
        assert found == OPENS["clock"][-bars:][bars - len(found) :]
        if len(found) < bars:
            assert "splits and dividends" in provenance(frame)["gaps"][0]["reason"]


# --- fewer than asked for ----------------------------------------------------------------------


@pytest.mark.parametrize("vendor", ["yahoo", "eodhd"])
@pytest.mark.parametrize("bars", [1, 2, 7])
def test_derived_bars_are_as_many_as_requested_after_a_long_empty_span(
    market: Market, clock: ManualClock, vendor: str, bars: int
) -> None:
    # Nothing has come since Friday noon, and this is Monday.
    fixed = FixedVendor(clock, every("1h", "2024-06-05T00:00", "2024-06-07T11:00"), vendor)
    clock.advance((at("2024-06-10T02:30") - clock.now_ms()) / 1000)
    for _ in range(2):
        frame = market.manager(fixed).get_ohlcv("NZDUSD=X", "3h", bars=bars)
        assert len(frame) == bars or not provenance(frame)["complete"]
        assert all(text <= "2024-06-07T09:00" for text in shown(frame))


@pytest.mark.parametrize("provider", [None, "local"])
def test_fewer_bars_than_requested_are_incomplete(tmp_path: Path, provider: str | None) -> None:
    few = OPENS["session"][-3:]
    make = own(tmp_path, few, ", anchor: session")
    for _ in range(2):
        frame = last(make("cache"), 5, None, provider=provider)
        assert [at(text) for text in shown(frame)] == few
        assert not provenance(frame)["complete"]
    with pytest.raises(IncompleteDataError):
        last(make("cache"), 5, None, provider=provider, strict=True)


@pytest.mark.parametrize("vendor", serving("crypto", "1m"))
def test_a_number_of_minutes_reaches_back_over_minutes_without_a_trade(
    market: Market, clock: ManualClock, vendor: str
) -> None:
    start = clock.now_ms() // HOUR_MS * HOUR_MS - 10 * HOUR_MS
    fixed = FixedVendor(
        clock, range(start, clock.now_ms() - 60_000, 20 * 60_000), vendor, dense=False
    )
    for _ in range(2):
        frame = market.manager(fixed).get_ohlcv("BTCUSDT", "1m", bars=7)
        assert len(frame) == 7 or not provenance(frame)["complete"]


def test_the_search_backwards_in_an_empty_series_is_limited(
    market: Market, clock: ManualClock
) -> None:
    fixed = FixedVendor(clock, [], "binance")
    for _ in range(3):
        frame = market.manager(fixed).get_ohlcv("BTCUSDT", "1h", bars=7)
        assert len(frame) == 0 and not provenance(frame)["complete"]
    assert len(fixed.asked) <= 4 + 2, "the steps backwards, then the unsettled end"


@pytest.mark.parametrize("bars", [1, 20])
def test_a_bar_that_is_not_published_yet_is_replaced_by_the_one_before_the_first(
    market: Market, clock: ManualClock, bars: int
) -> None:
    """In the second after a close, one more bar is requested, and not the whole history again."""
    clock.set(at("2024-06-10T12:00:01"))
    hours = every("1h", "2024-06-01T00:00", "2024-06-10T10:00")  # that of 11:00 has closed, too
    fixed = FixedVendor(clock, hours, "binance")
    frame = market.manager(fixed).get_ohlcv("BTCUSDT", "1h", bars=bars)
    assert [at(text) for text in shown(frame)] == hours[-bars:]
    assert provenance(frame)["gaps"][-1]["reason"] == "closed, not published yet"
    first = at("2024-06-10T12:00") - bars * HOUR_MS
    assert min(span.start for span in fixed.asked) == first - HOUR_MS
    fixed.stamps.append(hours[-1] + HOUR_MS)
    asked = len(fixed.asked)
    frame = market.manager(fixed).get_ohlcv("BTCUSDT", "1h", bars=bars)
    assert [at(text) for text in shown(frame)] == fixed.stamps[-bars:]
    assert [span.start >= hours[-1] - HOUR_MS for span in fixed.asked[asked:]] == [True]


@pytest.mark.parametrize("bars", [2, 20, 300])
@pytest.mark.parametrize("lacking", [None, 0, 1, -1], ids=["none", "first", "second", "last"])
def test_only_the_end_is_fetched_right_after_a_close_whichever_stored_bar_is_missing(
    market: Market, clock: ManualClock, bars: int, lacking: int | None
) -> None:
    """What is stored does not depend on the bar that is not published yet."""
    clock.set(at("2024-06-10T12:30"))
    hours = every("1h", "2024-05-01T00:00", "2024-06-10T11:00")
    if lacking is not None:
        hours.remove(hours[-bars:][lacking])
    fixed = FixedVendor(clock, hours, "binance")
    manager = market.manager(fixed)
    frame = manager.get_ohlcv("BTCUSDT", "1h", bars=bars)
    assert [at(text) for text in shown(frame)] == hours[-bars:]
    clock.set(at("2024-06-10T13:00:01"))
    asked = len(fixed.asked)
    frame = manager.get_ohlcv("BTCUSDT", "1h", bars=bars)
    assert [at(text) for text in shown(frame)] == hours[-bars:]
    new = fixed.asked[asked:]
    assert max(span.end for span in new) > at("2024-06-10T12:00")
    assert min(span.start for span in new) >= min(span.start for span in fixed.asked[:asked])
    assert sum(span.end - span.start for span in new) <= max(bars, 10) * HOUR_MS
