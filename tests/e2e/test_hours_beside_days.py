"""Hourly and minute bars, checked on arrival against the stored daily bars of their sessions."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from src.data.core.cache.format.json_document import dump, load
from src.data.core.cache.store import BarStore
from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, day_ms
from src.data.core.model.time.span import Span
from src.data.errors import FormatVersionError, IncompleteDataError

from .fixed_vendor import FixedVendor, Market, at, days, every
from .test_grave_bars import Walker, grave_spans, scaled

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

COIN_HOURS = every("1h", "2024-05-01T00:00:00Z", "2024-05-08T23:00:00Z")
SHARE_HOURS = [
    day_ms(day) + hour * HOUR_MS + HOUR_MS // 2
    for day in days("2024-05-01", "2024-05-08")
    for hour in range(13, 20)
]


class Both(Walker):
    """Has hours that walk, and the days that they make up; ``spoil`` is of the hours only."""

    def __init__(self, clock: ManualClock, hours: list[int], like: str) -> None:
        super().__init__(clock, hours, like)
        self.hours = hours
        self.actions = () if like == "yahoo" else None

    def bar(self, stamp: int) -> Bar:
        """Return an hour, or the day that its hours make up."""
        if stamp in self.hours:
            return super().bar(stamp)
        bars = [
            super(Both, self).bar(one) for one in self.hours if one // DAY_MS == stamp // DAY_MS
        ]
        high, low = max(b.high for b in bars), min(b.low for b in bars)
        volume = sum(b.volume for b in bars)
        return Bar(stamp, bars[0].open, high, low, bars[-1].close, volume)

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return bars of the requested timeframe."""
        spoil, self.stamps = self.spoil, self.hours
        if not query.timeframe.is_intraday:
            self.stamps = sorted({stamp // DAY_MS * DAY_MS for stamp in self.hours})
            self.spoil = lambda rows: rows
        try:
            return super().fetch(query)
        finally:
            self.spoil, self.stamps = spoil, self.hours


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2024-06-20 12:00 UTC."""
    return ManualClock(at("2024-06-20T12:00:00Z"))


COIN = ("BTCUSDT", "binance", COIN_HOURS, 100.0)
SHARE = ("AAPL", "yahoo", SHARE_HOURS, 2.0)
RANGE = ("2024-05-02", "2024-05-07")
ALL = ("2024-05-01T00:00:00Z", "2024-05-08T23:30:00Z")


@pytest.mark.parametrize(("symbol", "like", "hours", "factor"), [COIN, SHARE])
def test_hours_all_wrong_by_one_factor_are_grave_if_their_days_are_stored(
    market: Market, clock: ManualClock, symbol: str, like: str, hours: list[int], factor: float
) -> None:
    vendor = Both(clock, hours, like)
    vendor.spoil = scaled(factor, *ALL)
    alone = market.manager(vendor, folder="alone").get_ohlcv(symbol, "1h", *RANGE, strict=True)
    manager = market.manager(vendor)
    manager.get_ohlcv(symbol, "1d", *RANGE, strict=True)
    asked = len(vendor.asked)
    frame = manager.get_ohlcv(symbol, "1h", *RANGE)
    assert len(vendor.asked) == asked + 1, "no request for the proof"
    pd.testing.assert_frame_equal(frame, alone)
    assert sum(span["rows"] for span in grave_spans(frame)) == len(frame)
    assert {"beside days: " in span["reason"] for span in grave_spans(frame)} == {True}
    with pytest.raises(IncompleteDataError, match="beyond all prices of their day"):
        manager.get_ohlcv(symbol, "1h", *RANGE, strict=True)
    report = manager.validate(symbol, "1h")
    assert [one.check for one in report.at_least("error")] == ["beside days"]
    assert report.findings[0].stamps.tolist() == [s for s in hours if at("2024-05-02T00:00:00Z") <= s
                                                  < at("2024-05-08T00:00:00Z")]  # fmt: skip


@pytest.mark.parametrize(("symbol", "like", "hours", "factor"), [COIN, SHARE])
def test_right_hours_with_stored_days_are_not_doubted(
    market: Market, clock: ManualClock, symbol: str, like: str, hours: list[int], factor: float
) -> None:
    manager = market.manager(Both(clock, hours, like))
    manager.get_ohlcv(symbol, "1d", *RANGE, strict=True)
    assert len(manager.get_ohlcv(symbol, "1h", *RANGE, strict=True))
    assert manager.validate(symbol, "1h").at_least("warning") == ()


def test_hours_are_marked_by_days_stored_later_when_the_whole_series_is_checked(
    market: Market, clock: ManualClock
) -> None:
    vendor = Both(clock, COIN_HOURS, "binance")
    vendor.spoil = scaled(0.01, *ALL)
    manager = market.manager(vendor)
    manager.get_ohlcv("BTCUSDT", "1h", *RANGE, strict=True)
    assert manager.validate("BTCUSDT", "1h", mark=True).marked == 0
    manager.get_ohlcv("BTCUSDT", "1d", *RANGE, strict=True)
    assert manager.validate("BTCUSDT", "1h", mark=True).marked == 6 * 24
    with pytest.raises(IncompleteDataError, match="as the whole series shows: beside days"):
        manager.get_ohlcv("BTCUSDT", "1h", *RANGE, strict=True)


def test_marked_hours_stay_an_error_of_validate_while_their_days_are_gone(
    market: Market, clock: ManualClock
) -> None:
    vendor = Both(clock, COIN_HOURS, "binance")
    vendor.spoil = scaled(0.01, *ALL)
    manager = market.manager(vendor)
    manager.get_ohlcv("BTCUSDT", "1h", *RANGE, strict=True)
    manager.get_ohlcv("BTCUSDT", "1d", *RANGE, strict=True)
    assert manager.validate("BTCUSDT", "1h", mark=True).marked == 6 * 24
    manager.clear_cache("BTCUSDT", "1d")
    report = manager.validate("BTCUSDT", "1h", mark=True)
    assert "beside days" in report.not_checked
    (doubted,) = report.at_least("error")
    assert (doubted.check, len(doubted.stamps)) == ("doubted", 6 * 24)
    assert doubted.evidence.startswith("beside days: 144 bars")
    assert (report.marked, report.unmarked) == (0, 0)
    manager.get_ohlcv("BTCUSDT", "1d", *RANGE, strict=True)
    assert [one.check for one in manager.validate("BTCUSDT", "1h").at_least("error")] == [
        "beside days"
    ]


def test_hours_stay_trusted_if_a_split_since_the_stored_days_is_unreported(
    market: Market, clock: ManualClock
) -> None:
    vendor = Both(clock, SHARE_HOURS, "yahoo")
    vendor.capabilities = FixedVendor(clock, (), "yahoo").capabilities
    vendor.actions = None
    manager = market.manager(vendor)
    manager.get_ohlcv("AAPL", "1d", *RANGE)
    clock.set(at("2024-08-20T12:00:00Z"))
    vendor.spoil = scaled(0.5, *ALL)  # a split of July, that no answer reports
    assert grave_spans(manager.get_ohlcv("AAPL", "1h", *RANGE)) == []
    assert manager.validate("AAPL", "1h").at_least("error") == ()


def test_days_stored_before_a_split_are_adjusted_before_hours_are_compared(
    market: Market, clock: ManualClock
) -> None:
    vendor = Both(clock, SHARE_HOURS, "yahoo")
    manager = market.manager(vendor)
    manager.get_ohlcv("AAPL", "1d", *RANGE)
    clock.set(at("2024-08-20T12:00:00Z"))
    split = Action(date(2024, 7, 15), "split", at("2024-07-15T13:30:00Z"), 4.0, 1.0, source="yahoo")
    vendor.actions = (split,)
    vendor.fetch_actions = lambda *_, **__: (split,)  # type: ignore[method-assign]
    manager.get_actions("AAPL", "2024-01-01")
    vendor.spoil = scaled(0.25, *ALL)
    assert grave_spans(manager.get_ohlcv("AAPL", "1h", *RANGE)) == []
    assert manager.validate("AAPL", "1h").at_least("error") == ()


def test_grave_daily_bars_do_not_make_hourly_bars_grave(market: Market, clock: ManualClock) -> None:
    vendor = Both(clock, COIN_HOURS, "binance")
    right, wrong = vendor.bar, at("2024-05-04T00:00:00Z")

    def bar(stamp: int) -> Bar:
        one = right(stamp)
        is_day = stamp == wrong and vendor.stamps is not vendor.hours
        return Bar(stamp, *(v * 100 for v in one[1:5]), one.volume) if is_day else one

    vendor.hours = [stamp for stamp in COIN_HOURS if stamp % DAY_MS]
    vendor.bar = bar  # type: ignore[method-assign]
    manager = market.manager(vendor)
    (grave,) = grave_spans(manager.get_ohlcv("BTCUSDT", "1d", *RANGE))
    assert grave["rows"] == 1
    assert grave_spans(manager.get_ohlcv("BTCUSDT", "1h", *RANGE)) == []


def test_damaged_daily_bars_do_not_affect_hourly_bars(market: Market, clock: ManualClock) -> None:
    vendor = Both(clock, COIN_HOURS, "binance")
    manager = market.manager(vendor)
    manager.get_ohlcv("BTCUSDT", "1d", *RANGE)
    folder, columns = manager.cache.cache_dir, "_columnar/BTCUSDT/1d.bars"
    for name in ("ohlcv/BTCUSDT/1d/2024.csv.gz", "ohlcv/BTCUSDT/1d/2024.log", columns):
        (folder / name).write_bytes(b"damaged")
    assert len(manager.get_ohlcv("BTCUSDT", "1h", *RANGE, strict=True)) == 6 * 24
    assert manager.validate("BTCUSDT", "1h").rows == 6 * 24


def test_daily_bars_of_a_newer_format_do_not_affect_hourly_bars(
    market: Market, clock: ManualClock
) -> None:
    vendor = Both(clock, COIN_HOURS, "binance")
    manager = market.manager(vendor)
    manager.get_ohlcv("BTCUSDT", "1d", *RANGE)
    (meta,) = manager.cache.cache_dir.glob("ohlcv/BTCUSDT/1d/2024*.json")
    plain = load(meta.read_bytes())
    plain["onetape"]["need"] = ["what later versions write"]
    meta.write_bytes(dump(plain))
    (manager.cache.cache_dir / "_columnar/BTCUSDT/1d.bars").unlink(missing_ok=True)
    later = market.manager(vendor)
    with pytest.raises(FormatVersionError):
        later.client.columns(later.cache.store.keys()[0], Span(0, 1 << 60))
    assert len(later.get_ohlcv("BTCUSDT", "1h", *RANGE, strict=True)) == 6 * 24
    assert later.validate("BTCUSDT", "1h").rows == 6 * 24


def test_a_hit_for_hours_does_not_read_the_days(
    market: Market, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = market.manager(Both(clock, COIN_HOURS, "binance"))
    manager.get_ohlcv("BTCUSDT", "1d", *RANGE)
    read, looked = BarStore.stored_span, list[str]()

    def noted(
        store: BarStore, key: SeriesKey, span: Span, *more: object, **other: object
    ) -> object:
        looked.append(key.timeframe.label)
        return read(store, key, span, *more, **other)  # type: ignore[arg-type]

    monkeypatch.setattr(BarStore, "stored_span", noted)
    manager.get_ohlcv("BTCUSDT", "1h", *RANGE)
    assert looked.count("1d") == 1
    looked.clear()
    manager.get_ohlcv("BTCUSDT", "1h", *RANGE)
    assert "1d" not in looked
