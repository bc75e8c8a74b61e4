"""Tests that a series updated night by night becomes as small as one that is fetched at once."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.cache.format.gzip_member import Header, file_id, walk
from src.data.core.clock import ManualClock
from src.data.core.model.answer.proof import fingerprint
from src.data.core.model.identity.kind import Adjustment, Basis
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.instant import DAY_MS, iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from tests.core.cache.counts import FULL
from tests.vendor_server import VendorServer, dividend, split

from .oracle import assert_true, ms

# By then a split and a dividend have been.
NIGHTS = 250 if FULL else 24
# Of few nights the headers of the newest bars weigh more.
MOST = 1.3 if FULL else 2.5


def headers(cache: Path, symbol: str, timeframe: str, year: int = 2023) -> list[Header]:
    data = (folder(cache, symbol, timeframe) / f"{year}.csv.gz").read_bytes()
    identity = file_id(SeriesKey(symbol, Timeframe.parse(timeframe)), year)
    return [member.header for _, member in walk(data, identity)]


def folder(cache: Path, symbol: str, timeframe: str) -> Path:
    return cache / "ohlcv" / symbol / timeframe


def sizes(cache: Path, symbol: str, timeframe: str) -> list[int]:
    """Return the bytes of the year's bars and of its document."""
    place = folder(cache, symbol, timeframe)
    return [(place / f"2023.{ending}").stat().st_size for ending in ("csv.gz", "metadata.json")]


def live(
    manager: DataManager, clock: ManualClock, question: tuple[str, str], bars: int, at: str
) -> str:
    """Ask the question each night; return the day after the last one."""
    # Days are few: a file of 24 of them is longer than its text.
    for night in range(NIGHTS if question[1] == "1h" else max(NIGHTS, 48)):
        clock.set(ms(f"2023-01-03T{at}") + night * DAY_MS)
        manager.get_ohlcv(*question, bars=bars)
    return iso(clock.now_ms() + DAY_MS)[:10]


@pytest.mark.parametrize("adjustment", ["raw", "split"])
def test_nine_nightly_updates_and_one_call_have_the_same_fingerprint(
    tmp_path: Path,
    rules: Path,
    vendors: VendorServer,
    clock: ManualClock,
    adjustment: Adjustment,
) -> None:
    for day, amount in (("2023-01-09", 0.13), ("2023-01-11", 0.37), ("2023-01-12", 0.071)):
        vendors.truth.act("AAPL", dividend(day, amount))
    frames = []
    for name, nights in (("nightly", range(9)), ("once", [8])):
        manager = DataManager(tmp_path / name, rules, clock=clock)
        for night in nights:
            clock.set(ms("2023-01-05T22:10:00") + night * DAY_MS)
            frame = manager.get_ohlcv("AAPL", "1d", "2022-12-20", adjustment=adjustment)
        frames.append(frame)
    nightly, once = frames
    assert len(once) == 17
    ohlcv = ["open", "high", "low", "close", "volume"]
    pd.testing.assert_frame_equal(nightly[ohlcv], once[ohlcv], check_exact=True)
    assert fingerprint(nightly) == fingerprint(once)
    assert fingerprint(nightly[ohlcv]) == fingerprint(once)


@pytest.mark.parametrize(
    ("symbol", "timeframe", "bars", "at"),
    [
        ("AAPL", "1d", 10, "22:10:00"),
        ("AAPL", "1h", 24, "22:10:00"),
        ("BTCUSDT", "1d", 10, "00:05:00"),
        ("BTCUSDT", "1h", 24, "23:00:00"),
    ],
)
def test_a_file_updated_nightly_is_as_small_as_one_fetched_at_once(
    rules: Path, tmp_path: Path, vendors: VendorServer, clock: ManualClock, symbol: str,
    timeframe: str, bars: int, at: str,
) -> None:  # fmt: skip
    manager = DataManager(tmp_path / "nights", rules, clock=clock)
    end = live(manager, clock, (symbol, timeframe), bars, at)
    first = manager.get_ohlcv(symbol, timeframe, bars=10_000, offline=True).index[0]
    at_once = DataManager(tmp_path / "once", rules, clock=clock)
    expected = at_once.get_ohlcv(symbol, timeframe, first.isoformat(), end)
    frame = DataManager(tmp_path / "nights", rules, clock=clock).get_ohlcv(
        symbol, timeframe, first.isoformat(), end, strict=True
    )
    pd.testing.assert_frame_equal(frame, expected)
    grown, whole = (sizes(tmp_path / name, symbol, timeframe) for name in ("nights", "once"))
    assert grown[0] <= MOST * whole[0]
    assert grown[1] <= 3 * whole[1], "the document must not grow with the nights either"
    assert len(headers(tmp_path / "nights", symbol, timeframe)) <= (12 if FULL else 8)

    # Docs/format.md says how much of its text a file takes.
    plain = len(
        gzip.decompress((folder(tmp_path / "once", symbol, timeframe) / "2023.csv.gz").read_bytes())
    )
    share = 0.4 if len(frame) > 200 else 0.9
    assert whole[0] < share * plain
    manager.cache.maintenance.compact([SeriesKey(symbol, Timeframe.parse(timeframe))])
    assert sizes(tmp_path / "nights", symbol, timeframe)[0] <= 1.02 * whole[0]


def test_bars_stay_right_over_a_split_and_a_dividend_between_the_nights(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    vendors.truth.act("AAPL", split("2023-01-18", 4), dividend("2023-01-25", 0.5))
    for night in range(NIGHTS):
        clock.set(ms("2023-01-03T22:10:00") + night * DAY_MS)
        if night % 7 in (1, 5):  # some nights are missed
            continue
        frame = manager.get_ohlcv("AAPL", "1d", "2023-01-03")
        day = iso(clock.now_ms() + DAY_MS)[:10]
        if night % 10 < 2 or night < 30:
            assert_true(frame, vendors, clock, "AAPL", "1d", "2023-01-03", day, "split")
    at_once = DataManager(tmp_path / "once", tmp_path / "rules.yaml", clock=clock)
    fresh = DataManager(tmp_path / "cache", tmp_path / "rules.yaml", clock=clock)
    for adjustment in ("split", "all"):
        frame, expected = (
            each.get_ohlcv("AAPL", "1d", "2023-01-03", adjustment=adjustment)
            for each in (fresh, at_once)
        )
        pd.testing.assert_frame_equal(frame, expected, rtol=1e-9)
    assert len(headers(tmp_path / "cache", "AAPL", "1d")) <= 14


def test_the_provisional_last_bar_of_a_nightly_update_is_final_the_next_night(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    for night in range(3):
        clock.set(ms("2023-01-03T23:00:00") + night * DAY_MS)
        vendors.clear_log()
        manager.get_ohlcv("BTCUSDT", "1h", bars=24)
        assert vendors.count() <= 2, "without a further request"
    coverage = manager.cache.store.view(SeriesKey("BTCUSDT", Timeframe.parse("1h"))).coverage
    assert [part.state for part in coverage] == ["final", "provisional"]
    assert coverage[-1].span.start == ms("2023-01-05T22:00:00")


def test_bars_appended_nightly_carry_no_as_of_date_without_a_split(
    manager: DataManager, clock: ManualClock, tmp_path: Path
) -> None:
    for night in range(3):
        clock.set(ms("2023-01-03T22:10:00") + night * DAY_MS)
        manager.get_ohlcv("AAPL", "1d", bars=10)
    found = headers(tmp_path / "cache", "AAPL", "1d")
    assert [header.basis for header in found] == [Basis("split")] * 3
