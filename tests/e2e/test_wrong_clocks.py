"""A clock that is wrong for a while: bars and holes recorded under it are fetched again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, to_ms
from src.data.data_manager import DataManager
from tests.conformance.sheet import sheet_of
from tests.core.cache.counts import FULL, crossed
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true, ms
from .scripted_vendor import gaps, provenance

TODAY = "2024-06-12"
AHEAD = {"hours": 3 * HOUR_MS, "days": 3 * DAY_MS, "years": 5 * 366 * DAY_MS}
pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")


class Own:
    """A custom downloader without a time, which also returns its forming bar."""

    def __init__(self, vendors: VendorServer) -> None:
        self.vendors, self.asked = vendors, 0

    def get_ohlcv(
        self, symbol: str, interval: str, start: datetime, end: datetime
    ) -> pd.DataFrame | None:
        self.asked += 1
        now = self.vendors.clock.now_ms()
        span = to_ms(start), min(to_ms(end) + 1, now + 1)
        rows = self.vendors.truth.rows(symbol, interval, *span, "raw", now)
        if not rows:
            return None
        values = [(r.open, r.high, r.low, r.close, r.volume) for r in rows]
        index = pd.to_datetime([r.stamp_ms for r in rows], unit="ms")
        return pd.DataFrame(values, index, ["open", "high", "low", "close", "volume"])


@pytest.fixture
def ours(clock: ManualClock) -> ManualClock:
    """Return the clock of this machine; the vendors' own is always right."""
    return ManualClock(clock.now_ms())


@pytest.fixture
def make(tmp_path: Path, rules: Path, ours: ManualClock) -> Callable[[], DataManager]:
    """Return a maker of managers on one cache folder; they use ``ours``, which may be wrong."""
    return lambda: DataManager(tmp_path / "cache", rules, clock=ours)


def at(moment: str, ours: ManualClock, clock: ManualClock, ahead: int = 0) -> None:
    """Set the true time, and ours to it or ahead of it."""
    clock.set(ms(moment))
    ours.set(ms(moment) + ahead)


@pytest.fixture
def own(vendors: VendorServer) -> Own:
    """Return a user's downloader that reports no time and serves the running bar."""
    return Own(vendors)


def ask(manager: DataManager, own: Own | None, *request: str) -> pd.DataFrame:
    """Request from only the custom downloader, or from Binance."""
    if own is None:
        return manager.get_ohlcv(*request, strict=False)
    selector = manager.provider_selector
    with (
        patch.object(selector, "get_provider_with_failover", return_value=["own"]),
        patch.dict(selector.downloaders, {"own": own}),
    ):
        return manager.get_ohlcv(*request)


@pytest.mark.parametrize("dated", [True, False], ids=["Date", "no Date"])
@pytest.mark.parametrize("ahead", AHEAD.values(), ids=AHEAD)
@pytest.mark.parametrize("timeframe", ["1h", "1d"])
def test_a_clock_ahead_during_one_fetch_loses_no_bar(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, ours: ManualClock,
    own: Own, ahead: int, dated: bool, timeframe: str,
) -> None:  # fmt: skip
    vendor = None if dated else own
    request = ("BTCUSDT", timeframe, "2024-06-10")
    at("2024-06-12T15:20:00", ours, clock, ahead)
    first = ask(make(), vendor, *request)
    final = [s for s in provenance(first)["spans"] if s["state"] == "final"]
    running = {"1h": ms("2024-06-12T15:00:00"), "1d": ms(TODAY)}[timeframe]
    assert all(ms(s["end"]) <= running for s in final)
    for moment, end in (
        ("2024-06-12T15:25:00", "2024-06-12T15:00:00"),
        ("2024-06-12T18:35:00", "2024-06-12T18:00:00"),
        ("2024-06-16T01:05:00", "2024-06-16T01:00:00"),
    ):
        at(moment, ours, clock)
        frame = ask(make(), vendor, *request)
        assert_true(frame, vendors, clock, *request, end)
        assert not gaps(frame)


def test_bars_fetched_under_a_clock_ahead_are_stale_for_at_most_an_hour_once_it_is_right(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, ours: ManualClock,
    own: Own,
) -> None:  # fmt: skip
    at("2024-06-12T15:20:00", ours, clock, 3 * HOUR_MS)
    ask(make(), own, "BTCUSDT", "1h", TODAY)
    at("2024-06-12T19:21:00", ours, clock)
    frame = ask(make(), own, "BTCUSDT", "1h", TODAY)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", TODAY, "2024-06-12T19:00:00")


@pytest.mark.parametrize("dated", [True, False], ids=["Date", "no Date"])
def test_a_running_bar_is_never_final_under_a_clock_that_stays_ahead(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, ours: ManualClock,
    own: Own, dated: bool,
) -> None:  # fmt: skip
    vendor = None if dated else own
    for minutes in range(0, 60 * (30 if FULL else 10), 47 if FULL else 94):  # beyond midnight
        clock.set(ms("2024-06-12T15:20:00") + minutes * MINUTE_MS)
        ours.set(clock.now_ms() + 3 * HOUR_MS)
        frame = ask(make(), vendor, "BTCUSDT", "1h", TODAY)
        for span in provenance(frame)["spans"]:
            assert (
                span["state"] != "final" or ms(span["end"]) <= clock.now_ms() // HOUR_MS * HOUR_MS
            )


@pytest.mark.parametrize("how", ["hole", "nothing"])
def test_holes_recorded_under_a_clock_years_ahead_are_refetched(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, ours: ManualClock,
    how: str,
) -> None:  # fmt: skip
    at("2024-06-12T15:20:00", ours, clock, AHEAD["years"])
    request = ("BTCUSDT", "1h", "2024-06-10T00:00:00", "2024-06-10T09:00:00")
    vendors.fault("binance", Fault.drop(3, 4) if how == "hole" else Fault.empty())
    make().get_ohlcv(*request)
    vendors.heal()
    at("2024-06-13T16:00:00", ours, clock)  # a day is the life of a young nothing
    frame = make().get_ohlcv(*request, strict=True)
    assert_true(frame, vendors, clock, *request[:3], "2024-06-10T10:00:00")


def test_without_a_vendors_date_the_last_day_counted_from_its_newest_bar_is_provisional(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, ours: ManualClock,
    own: Own,
) -> None:  # fmt: skip
    request = ("BTCUSDT", "1h", "2024-06-01", "2024-06-07")
    frame = ask(make(), own, *request)
    assert [(s["state"], s["start"]) for s in provenance(frame)["spans"]] == [
        ("final", "2024-06-01T00:00:00Z"), ("provisional", "2024-06-07T00:00:00Z")
    ]  # fmt: skip
    ask(make(), own, *request)
    assert own.asked == 1, "not requested again at once"
    at("2024-06-12T16:30:00", ours, clock)
    ask(make(), own, *request)
    assert own.asked == 2
    at("2024-06-13T16:00:00", ours, clock)
    frame = ask(make(), own, *request)
    assert {s["state"] for s in provenance(frame)["spans"]} == {"final"}
    at("2024-06-20T16:00:00", ours, clock)
    ask(make(), own, *request)
    assert own.asked == 3, "trusted permanently"


@pytest.mark.parametrize(("day", "expected"), [("2024-06-10", [1] * 5), (TODAY, [1, 1, 1, 1, 2])])
def test_without_a_vendors_date_an_empty_answer_is_valid_as_long_as_any_other(
    make: Callable[[], DataManager], clock: ManualClock, ours: ManualClock, own: Own,
    day: str, expected: list[int],
) -> None:  # fmt: skip
    manager, asked = make(), []
    for minutes in (0, 14, 15, 74, 76):
        at("2024-06-12T15:00:30", ours, clock)
        ours.advance(minutes * 60)
        assert ask(manager, own, "OLDUSDT", "1h", f"{day}T02:00:00", f"{day}T09:00:00").empty
        asked.append(own.asked)
    assert asked == expected


def test_a_clock_that_was_behind_fetches_a_day_again_and_loses_no_bar(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, ours: ManualClock
) -> None:
    request = ("BTCUSDT", "1h", "2024-06-01", "2024-06-07")
    first = make().get_ohlcv(*request, strict=True)
    ours.set(ms("2024-06-07T12:00:00"))
    vendors.fault("binance", Fault.empty())
    pd.testing.assert_frame_equal(make().get_ohlcv(*request), first[first.index < "2024-06-07T12"])
    vendors.heal()
    ours.set(clock.now_ms())
    before = vendors.count()
    frame = make().get_ohlcv(*request, strict=True)
    pd.testing.assert_frame_equal(frame, first)
    assert {s["state"] for s in provenance(frame)["spans"]} == {"final"}
    assert vendors.count() <= before + 1


# --- splits behind a clock ---------------------------------------------------------------------

SHARES = ("alpaca", "alpha_vantage", "eodhd", "finnhub", "fmp", "polygon", "tiingo", "twelvedata",
          "yahoo")  # fmt: skip
# One split by ten, on 2024-06-10; the clock that is behind shows a day before it.
SPLIT_SHARE, BEHIND = "NVDA", -40 * DAY_MS
BEFORE_SPLIT, AFTER_SPLIT = "2024-06-05T22:00:00", "2024-06-25T22:00:00"
EARLY, LATE, BOTH = (
    (SPLIT_SHARE, "1d", "2024-04-02", "2024-04-12"),
    (SPLIT_SHARE, "1d", "2024-04-15", "2024-04-26"),
    (SPLIT_SHARE, "1d", "2024-04-02", "2024-04-26"),
)
PRICES = ["open", "high", "low", "close", "volume"]
Lone = Callable[..., DataManager]


@pytest.fixture
def lone(
    tmp_path: Path, vendors: VendorServer, ours: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Lone:
    """Return a maker of managers that know one vendor of shares, over the cache of that name."""

    def make(vendor: str, cache: str = "cache") -> DataManager:
        for key, value in sheet_of(vendor).keys.items():
            monkeypatch.setenv(key, value)
        fast = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
        way = ", transport: http" * (vendor == "yahoo")
        rules = tmp_path / f"{vendor}.yaml"
        rules.write_text(
            f"stock_daily: {{primary: {vendor}, backup: []}}\n"
            f"providers: {{{vendor}: {{base_url: '{vendors.base_url(vendor)}', "
            f"rate_limits: {fast}{way}}}}}\n"
        )
        return DataManager(tmp_path / cache, rules, clock=ours)

    return make


def assert_same(frame: pd.DataFrame, right: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(frame[PRICES], right[PRICES], rtol=1e-5)


@pytest.mark.parametrize("vendor", SHARES)
def test_a_split_applied_by_the_vendor_is_not_applied_twice_once_the_clock_is_right(
    lone: Lone, clock: ManualClock, ours: ManualClock, vendor: str
) -> None:
    at(AFTER_SPLIT, ours, clock)
    right = lone(vendor, "right").get_ohlcv(*EARLY)
    at(AFTER_SPLIT, ours, clock, BEHIND)
    assert_same(lone(vendor).get_ohlcv(*EARLY), right)
    at(AFTER_SPLIT, ours, clock)
    for _ in ("the clock is right", "and the process is another one"):
        frame = lone(vendor).get_ohlcv(*EARLY)
        assert_same(frame, right)
        assert frame.attrs["onetape"]["as_of"] == right.attrs["onetape"]["as_of"]


@pytest.mark.parametrize(("when", "vendor"), crossed(["fetched behind", "fetched before"], SHARES))
def test_bars_before_and_after_a_split_match_even_under_a_clock_behind(
    lone: Lone, clock: ManualClock, ours: ManualClock, vendor: str, when: str
) -> None:
    at(BEFORE_SPLIT, ours, clock)
    lone(vendor).get_ohlcv(*EARLY)
    at(AFTER_SPLIT, ours, clock)
    right = lone(vendor, "right").get_ohlcv(*BOTH)
    if when == "fetched before":
        lone(vendor).get_ohlcv(*LATE)
    at(AFTER_SPLIT, ours, clock, BEHIND)
    assert_same(lone(vendor).get_ohlcv(*BOTH), right)
    at(AFTER_SPLIT, ours, clock)
    assert_same(lone(vendor).get_ohlcv(*BOTH), right)


@pytest.mark.parametrize("vendor", ["finnhub", "fmp", "twelvedata", "yahoo"])
def test_prices_fetched_under_a_clock_behind_without_a_date_header_are_suspect(
    lone: Lone, vendors: VendorServer, clock: ManualClock, ours: ManualClock, vendor: str
) -> None:
    at(BEFORE_SPLIT, ours, clock)
    lone(vendor).get_ohlcv(*EARLY)
    vendors.skew_date(None)
    at(AFTER_SPLIT, ours, clock)
    right = lone(vendor, "right").get_ohlcv(*LATE)
    at(AFTER_SPLIT, ours, clock, BEHIND)
    doubted = lone(vendor).get_ohlcv(*LATE, columns=["state"])
    asked = vendors.count()
    again = lone(vendor).get_ohlcv(*LATE, columns=["state"])
    assert vendors.count() == asked, "not requested again before the clock is right"
    for frame in (doubted, again):
        assert set(frame["state"]) == {"suspect"} and not provenance(frame)["complete"]
    at(AFTER_SPLIT, ours, clock)
    healed = lone(vendor).get_ohlcv(*LATE)
    assert_same(healed, right)
    assert provenance(healed)["complete"] == provenance(right)["complete"]


def test_a_refresh_of_some_bars_fetched_under_a_clock_ahead_requests_them_once(
    lone: Lone, vendors: VendorServer, clock: ManualClock, ours: ManualClock
) -> None:
    vendors.skew_date(None)
    at(BEFORE_SPLIT, ours, clock, 3 * DAY_MS)
    lone("yahoo").get_ohlcv(*EARLY)
    vendors.skew_date(0)
    at(BEFORE_SPLIT, ours, clock)
    frame = lone("yahoo").get_ohlcv(*EARLY[:2], "2024-04-04", "2024-04-08", force_refresh=True)
    bars = [attempt["rows"] for attempt in provenance(frame)["attempts"] if attempt["rows"]]
    assert (len(frame), bars) == (3, [3])


def test_a_clock_set_right_amid_the_request_leaves_undated_prices_suspect(
    lone: Lone,
    vendors: VendorServer,
    clock: ManualClock,
    ours: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vendor = "yahoo"
    at(BEFORE_SPLIT, ours, clock)
    lone(vendor).get_ohlcv(*EARLY)
    at(AFTER_SPLIT, ours, clock)
    vendors.skew_date(None)
    right = lone(vendor, "right").get_ohlcv(*LATE)

    def set_right() -> None:
        at(AFTER_SPLIT, ours, clock)

    monkeypatch.setattr(vendors, "date_header", set_right)
    at(AFTER_SPLIT, ours, clock, BEHIND)
    doubted = lone(vendor).get_ohlcv(*LATE, columns=["state"])
    assert ours.now_ms() == clock.now_ms()
    assert set(doubted["state"]) == {"suspect"} and not provenance(doubted)["complete"]
    assert_same(lone(vendor).get_ohlcv(*LATE), right)
