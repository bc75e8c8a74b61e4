"""Tests when a hole is final: one answer never proves it, whichever vendor gave it."""

from __future__ import annotations

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.answer.frame import build_frame
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.stored.coverage import Coverage
from src.data.core.model.time.instant import HOUR_MS, iso
from src.data.errors import IncompleteDataError, IncompleteDataWarning, UnavailableError
from tests.core.cache.counts import FULL, crossed

from .fixed_vendor import FixedVendor, Market, at, days, every, serving, shown
from .scripted_vendor import gaps, provenance

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

DAY = every("1h", "2024-06-03T00:00", "2024-06-03T23:00")
ASK = ("BTC-USD", "1h", "2024-06-03", "2024-06-03")
COINS = serving("crypto")


def without(stamps: list[int], *hours: int) -> list[int]:
    return [stamp for stamp in stamps if (stamp - stamps[0]) // HOUR_MS not in hours]


@pytest.mark.parametrize("vendor", COINS)
def test_an_old_hole_is_refetched_after_a_day_and_then_later_and_later(
    market: Market, clock: ManualClock, vendor: str
) -> None:
    fixed = FixedVendor(clock, without(DAY, 5, 6), vendor, dense=True)
    for hours, asked in [(0, 1), (23, 0), (1, 1), (47, 0), (1, 1), (95, 0), (1, 1), (100, 0)]:
        clock.advance(hours * 3600)
        fixed.asked.clear()
        for _ in range(2):
            frame = market.manager(fixed).get_ohlcv(*ASK)
            assert not provenance(frame)["complete"]
            assert [gap[:2] for gap in gaps(frame)] == [
                ("2024-06-03T05:00:00", "2024-06-03T07:00:00")
            ]
        assert len(fixed.asked) == asked, hours


def test_a_hole_in_recent_bars_is_refetched_within_minutes(
    market: Market, clock: ManualClock
) -> None:
    today = every("1h", "2024-06-12T00:00", "2024-06-12T14:00")
    fixed = FixedVendor(clock, without(today, 13), "binance")
    ask = ("BTCUSDT", "1h", "2024-06-12T00:00", "2024-06-12T14:00")
    market.manager(fixed).get_ohlcv(*ask)
    fixed.stamps = today
    clock.advance(16 * 60)
    assert len(market.manager(fixed).get_ohlcv(*ask, strict=True)) == 15


@pytest.mark.parametrize("silent_days", [20, 45, 80])
def test_an_outage_heals_within_two_days_although_holes_are_requested_ever_more_rarely(
    market: Market, clock: ManualClock, silent_days: int
) -> None:
    """Each night all bars up to now are requested; holes beside one that is filled are due at once."""
    hours = every("1h", "2024-05-01T00:00", "2024-09-30T23:00")
    gone = clock.now_ms()
    fixed = FixedVendor(clock, [stamp for stamp in hours if stamp < gone], "binance", dense=True)
    for night in range(silent_days + 2):
        if night == silent_days:
            fixed.stamps = hours
        frame = market.manager(fixed).get_ohlcv("BTCUSDT", "1h", "2024-06-01")
        clock.advance(86_400)
    assert frame.index[-1] > frame.index[0] + pd.Timedelta(days=silent_days + 10)
    assert gaps(frame) == []
    assert frame.index.to_series().diff().max() == pd.Timedelta(hours=1)


def test_a_hole_confirmed_twice_does_not_confirm_the_next_one(
    market: Market, clock: ManualClock
) -> None:
    spring = every("1h", "2024-03-04T00:00", "2024-03-04T23:00")
    fixed = FixedVendor(clock, without(spring, 5), "binance")
    ask = ("BTCUSDT", "1h", "2024-03-04", "2024-03-04")
    for hours in (0, 7):
        clock.advance(hours * 3600)
        market.manager(fixed).get_ohlcv(*ask)
    market.manager(fixed).get_ohlcv("BTCUSDT", "1h", "2024-03-04", "2024-03-05")
    # Now the hour behind it is lacking as well, once.
    fixed.stamps = without(spring, 5, 6)
    market.manager(fixed, folder="other").get_ohlcv(*ask)
    clock.advance(7 * 3600)
    fixed.stamps = without(spring, 5, 6, 7)
    market.manager(fixed, folder="other").get_ohlcv("BTCUSDT", "1h", "2024-03-04", "2024-03-04",
                                                   force_refresh=True)  # fmt: skip
    fixed.stamps = spring
    clock.advance(7 * 3600)
    frame = market.manager(fixed, folder="other").get_ohlcv(*ask)
    assert "2024-03-04T07:00" in shown(frame)


@pytest.mark.parametrize("vendor", COINS)
def test_a_hole_of_one_vendor_is_filled_from_the_next_in_the_same_call(
    market: Market, clock: ManualClock, vendor: str
) -> None:
    one, two = (
        FixedVendor(clock, without(DAY, *lost), vendor, dense=True) for lost in ((5,), (9,))
    )
    two.name = "second"
    frame = market.manager(one, two).get_ohlcv(*ASK, strict=True)
    assert len(frame) == 24


def test_a_vendor_that_was_down_fills_the_hole_at_the_next_call(
    market: Market, clock: ManualClock
) -> None:
    one, two = (FixedVendor(clock, without(DAY, *lost), "binance") for lost in ((5,), (9,)))
    two.name = "second"
    two.errors = [UnavailableError("down")]
    ask = ("BTCUSDT", *ASK[1:])
    assert not provenance(market.manager(one, two).get_ohlcv(*ask))["complete"]
    assert len(market.manager(one, two).get_ohlcv(*ask, strict=True)) == 24
    assert len(one.asked) == 1


# --- sparse vendors ----------------------------------------------------------------------------

HOURS = [
    stamp
    for day in days("2024-04-01", "2024-05-17")
    for stamp in every("1h", f"{day}T13:30", f"{day}T19:30")
]
SHARE = ("AAPL", "1h", "2024-04-01", "2024-05-17")
SPARSE = [name for name in serving("stock") if name != "twelvedata"]


def of_a_share(clock: ManualClock, vendor: str, lost: slice) -> FixedVendor:
    """Return a vendor of bars counted from the open that lacks some of them."""
    fixed = FixedVendor(clock, HOURS, "tiingo", dense=False, timeframes={"1h": "1h"})
    fixed.name = vendor
    gone = set(HOURS[lost])
    fixed.stamps = [stamp for stamp in HOURS if stamp not in gone]
    return fixed


@pytest.mark.parametrize("lost", [slice(99, 112), slice(101, 112), slice(101, 200)])
def test_a_run_of_missing_bars_far_longer_than_usual_for_a_sparse_vendor_is_a_hole(
    market: Market, clock: ManualClock, lost: slice
) -> None:
    fixed = of_a_share(clock, "one", lost)
    for _ in range(2):
        frame = market.manager(fixed).get_ohlcv(*SHARE)
        assert not provenance(frame)["complete"]
        with pytest.raises(IncompleteDataError):
            market.manager(fixed).get_ohlcv(*SHARE, strict=True)
    second = of_a_share(clock, "two", slice(0, 0))
    whole = market.manager(fixed, second).get_ohlcv(*SHARE, strict=True)
    assert len(whole) == len(HOURS)


def test_few_hours_without_a_trade_are_not_a_hole_of_a_sparse_vendor(
    market: Market, clock: ManualClock
) -> None:
    fixed = of_a_share(clock, "one", slice(100, 230, 13))
    assert provenance(market.manager(fixed).get_ohlcv(*SHARE, strict=True))["complete"]


# --- between two pages -------------------------------------------------------------------------


@pytest.mark.parametrize(("lost", "vendor"), crossed([(12,), (12, 13, 14), (10, 11, 12)], COINS))
def test_a_hole_between_two_pages_is_refetched_at_once_and_not_recorded(
    market: Market, clock: ManualClock, vendor: str, lost: tuple[int, ...]
) -> None:
    fixed = FixedVendor(clock, DAY, vendor, dense=True)
    fixed.page = [DAY[12]]
    answers = iter([without(DAY, *lost), DAY])

    def spoil(rows: list[Bar]) -> list[Bar]:
        there = set(next(answers, DAY))
        return [row for row in rows if row.stamp_ms in there]

    fixed.spoil = spoil
    frame = market.manager(fixed).get_ohlcv(*ASK, strict=True)
    assert len(frame) == 24
    assert len(fixed.asked) == 2


def test_a_hole_between_two_pages_that_a_second_request_confirms_is_a_gap(
    market: Market, clock: ManualClock
) -> None:
    fixed = FixedVendor(clock, without(DAY, 12, 13), "binance")
    fixed.page = [DAY[12]]
    for _ in range(2):
        frame = market.manager(fixed).get_ohlcv("BTCUSDT", *ASK[1:])
        assert gaps(frame) == [
            ("2024-06-03T12:00:00", "2024-06-03T14:00:00", "the vendor has no bar")
        ]
    assert len(fixed.asked) == 2


def failing_between_pages(clock: ManualClock, vendor: str, *lost: int) -> FixedVendor:
    """Return a vendor that omits hours at a page break once, and fails if only these are requested."""
    fixed = FixedVendor(clock, DAY, vendor, dense=True)
    fixed.page, fixed.errors = [DAY[12]], [None, UnavailableError("down")]
    fixed.spoil = lambda rows: [row for row in rows if row.stamp_ms not in {DAY[n] for n in lost}]
    return fixed


@pytest.mark.parametrize(("lost", "vendor"), crossed([(12,), (12, 13, 14), (10, 11, 12)], COINS))
def test_a_hole_between_two_pages_that_fails_to_refetch_is_not_recorded(
    market: Market, clock: ManualClock, vendor: str, lost: tuple[int, ...]
) -> None:
    fixed = failing_between_pages(clock, vendor, *lost)
    frame = market.manager(fixed).get_ohlcv(*ASK)
    assert len(frame) == 24 - len(lost)
    assert [reason for *_, reason in gaps(frame)] == [f"{vendor}: down"]
    fixed.spoil = lambda rows: rows
    assert len(market.manager(fixed).get_ohlcv(*ASK, strict=True)) == 24
    assert len(fixed.asked) == 3


@pytest.mark.parametrize("vendor", COINS)
def test_a_hole_that_could_not_be_rechecked_is_requested_from_the_next_vendor(
    market: Market, clock: ManualClock, vendor: str
) -> None:
    one, two = failing_between_pages(clock, vendor, 12), FixedVendor(clock, DAY, vendor, dense=True)
    two.name = "second"
    frame = market.manager(one, two).get_ohlcv(*ASK, strict=True, columns=("source",))
    assert [n for n, source in enumerate(frame["source"]) if source == "second"] == [12]
    assert len(two.asked) == 1


# --- behind the last bar -------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("vendor", COINS)
def test_bars_of_a_long_vendor_silence_are_fetched_within_days_of_its_end(
    market: Market, clock: ManualClock, vendor: str, count: int
) -> None:
    hours = every("1h", "2024-06-10T00:00", "2024-07-29T20:00")
    fixed_vendors = [FixedVendor(clock, hours[:24], vendor, dense=True) for _ in range(count)]
    for number, fixed in enumerate(fixed_vendors[1:]):
        fixed.name = f"second{number}"
    ask = ("BTC-USD", "1h", "2024-06-10")
    for silent_days in (45, 2):  # what had come by the first question is asked for twice
        market.manager(*fixed_vendors).get_ohlcv(*ask)
        clock.advance(silent_days * 86_400)
    for fixed in fixed_vendors:
        fixed.stamps = hours
    market.manager(*fixed_vendors).get_ohlcv(*ask)
    clock.advance(2 * 86_400)
    frame = market.manager(*fixed_vendors).get_ohlcv(*ask[:2], "2024-06-10", "2024-07-27")
    assert (len(frame), gaps(frame)) == (48 * 24, [])


# --- the order of requests once a vendor has failed ----------------------------------------------


def hours_asked(frame: pd.DataFrame) -> list[tuple[str, int, int]]:
    """Return each queried vendor with the missing hours requested, the last one inclusive."""
    spans = ((a["provider"], at(a["start"]), at(a["end"])) for a in provenance(frame)["attempts"])
    return [(name, (s - DAY[0]) // HOUR_MS, (e - DAY[0]) // HOUR_MS - 1) for name, s, e in spans]


def test_the_rest_of_a_failed_long_request_goes_to_the_next_vendor_as_one_range(
    market: Market, clock: ManualClock
) -> None:
    one, two = FixedVendor(clock, DAY, "binance", page_bars=1), FixedVendor(clock, DAY, "binance")
    one.errors, two.name = [None, UnavailableError("down")], "second"
    frame = market.manager(one, two).get_ohlcv("BTCUSDT", *ASK[1:], strict=True)
    assert len(frame) == 24
    # Four pages are one chunk.
    assert hours_asked(frame) == [("binance", 0, 3), ("binance", 4, 7), ("second", 4, 23)]


def test_after_a_failure_the_next_vendor_fetches_the_failed_part_before_the_later_ones(
    market: Market, clock: ManualClock
) -> None:
    one, two = FixedVendor(clock, DAY, "binance", page_bars=6), FixedVendor(clock, DAY, "binance")
    for hour in range(0, 24, 2):
        text = f"2024-06-03T{hour:02d}:"
        market.manager(one).get_ohlcv("BTCUSDT", "1h", text + "00", text + "01")
    one.errors, two.name = [UnavailableError("down")], "second"
    frame = market.manager(one, two).get_ohlcv("BTCUSDT", *ASK[1:], strict=True)
    assert len(frame) == 24
    # Of twelve hours three fit on a page of the first one. Alone they are few, the other nine many.
    first, *others = hours_asked(frame)
    assert first == ("binance", 1, 5)
    assert others == [("second", n, n) for n in (1, 3, 5)] + [("second", 7, 23)]


# --- bars that a program hands in ----------------------------------------------------------------

TEN_DAYS = every("1h", "2024-05-01T00:00", "2024-05-10T23:00")
TEN = ("BTCUSDT", "1h", "2024-05-01", "2024-05-10")


@pytest.mark.parametrize("is_asked", [False, True])
@pytest.mark.parametrize("lost", [(50,), tuple(range(100, 170)), (3, 7, *range(100, 168))])
def test_a_hole_of_bars_put_into_the_cache_is_not_covered(
    market: Market, clock: ManualClock, lost: tuple[int, ...], is_asked: bool
) -> None:
    fixed = FixedVendor(clock, TEN_DAYS, "binance")
    manager = market.manager(fixed)
    whole = BarTable.from_bars([fixed.bar(stamp) for stamp in without(TEN_DAYS, *lost)])
    bounds = ("2024-05-01", "2024-05-10") if is_asked else (None, None)
    frame = build_frame(whole, Coverage())
    assert manager.cache.put(frame, "BTCUSDT", "1h", *bounds, provider="mine")
    offline = market.manager(fixed).get_ohlcv(*TEN, offline=True)
    assert len(offline) == 240 - len(lost)
    assert not provenance(offline)["complete"]
    found = market.manager(fixed).get_ohlcv(*TEN, strict=True)
    assert len(found) == 240
    assert sum(span.end - span.start for span in fixed.asked) < 110 * HOUR_MS


# --- many holes of a dense vendor ----------------------------------------------------------------

MINUTES = every("1m", "2024-06-03T00:00", "2024-06-03T11:59")
ASK_MINUTES = ("BTCUSDT", "1m", "2024-06-03T00:00", "2024-06-03T11:59")
# Seventy holes, more than are listed: one in about ten minutes, some of two.
LOST = [n for k in range(70) for n in range(10 * k + k % 7 + 8, 10 * k + k % 7 + 9 + (k % 3 == 0))]


def lacking(stamps: list[int], places: list[int]) -> list[int]:
    gone = {stamps[place] for place in places}
    return [stamp for stamp in stamps if stamp not in gone]


def many(market: Market, clock: ManualClock, *lost: list[int]) -> list[FixedVendor]:
    """Return vendors that each lack some of the minutes."""
    fixed_vendors = [FixedVendor(clock, lacking(MINUTES, places), "binance") for places in lost]
    for number, fixed in enumerate(fixed_vendors[1:]):
        fixed.name = f"second{number or ''}"
    return fixed_vendors


def test_many_holes_are_filled_by_the_next_vendor_in_few_requests(
    market: Market, clock: ManualClock
) -> None:
    one, two = many(market, clock, LOST, [])
    two.spoil = lambda rows: [row._replace(volume=8.0) for row in rows]
    frame = market.manager(one, two).get_ohlcv(*ASK_MINUTES, strict=True, columns=("source",))
    assert len(frame) == 720
    assert provenance(frame)["problems"] == []
    assert (len(one.asked), len(two.asked)) == (1, 1)
    places = [place for place, source in enumerate(frame["source"]) if source == "second"]
    assert places == LOST, "only the missing bars"
    assert (frame["volume"] == 8.0).tolist() == [n in LOST for n in range(720)]
    again = market.manager(one, two).get_ohlcv(*ASK_MINUTES, strict=True, columns=("source",))
    assert again.equals(frame)
    assert (len(one.asked), len(two.asked)) == (1, 1)


def test_of_many_holes_those_that_no_vendor_fills_are_gaps(
    market: Market, clock: ManualClock
) -> None:
    one, two, three = many(market, clock, LOST, LOST[::2], LOST[::3])
    frame = market.manager(one, two, three).get_ohlcv(*ASK_MINUTES)
    nowhere = LOST[::6]
    assert len(frame) == 720 - len(nowhere)
    found = [gap[0] for gap in gaps(frame)]
    expected = [iso(MINUTES[place])[:-1] for place in nowhere]
    assert found == expected
    assert all(gap[2] == "the vendor has no bar" for gap in gaps(frame))
    assert not provenance(frame)["complete"]
    asked = [len(fixed.asked) for fixed in (one, two, three)]
    assert max(asked) <= 8
    again = market.manager(one, two, three).get_ohlcv(*ASK_MINUTES)
    assert again.equals(frame)
    assert gaps(again) == gaps(frame)
    assert provenance(again)["problems"] == provenance(frame)["problems"]
    assert [len(fixed.asked) for fixed in (one, two, three)] == asked


def test_many_holes_of_a_lone_vendor_are_gaps_and_rechecked_after_a_day(
    market: Market, clock: ManualClock
) -> None:
    (one,) = many(market, clock, LOST)
    frame = market.manager(one).get_ohlcv(*ASK_MINUTES, columns=("state",))
    assert len(frame) == 720 - len(LOST)
    assert set(frame["state"]) == {"final"}
    assert provenance(frame)["gaps_total"] == 70
    again = market.manager(one).get_ohlcv(*ASK_MINUTES, columns=("state",))
    assert again.equals(frame)
    assert gaps(again) == gaps(frame)
    assert len(one.asked) == 1
    document = next(market.folder.glob("cache/ohlcv/*/1m/2024.metadata.json"))
    assert document.stat().st_size < 12_000
    clock.advance(24 * 3600)
    one.stamps = MINUTES
    assert len(market.manager(one).get_ohlcv(*ASK_MINUTES, strict=True)) == 720


def test_a_vendor_that_was_down_fills_many_holes_at_the_next_call(
    market: Market, clock: ManualClock
) -> None:
    one, two = many(market, clock, LOST, [])
    two.errors = [UnavailableError("down")]
    frame = market.manager(one, two).get_ohlcv(*ASK_MINUTES)
    assert provenance(frame)["gaps_total"] == 70
    assert len(two.asked) == 1
    assert len(market.manager(one, two).get_ohlcv(*ASK_MINUTES, strict=True)) == 720


def test_many_bad_rows_are_fetched_from_the_next_vendor_in_few_requests(
    market: Market, clock: ManualClock
) -> None:
    one, two = many(market, clock, [], [])
    bad = {MINUTES[place] for place in LOST}
    one.spoil = lambda rows: [r._replace(high=0.1) if r.stamp_ms in bad else r for r in rows]
    frame = market.manager(one, two).get_ohlcv(*ASK_MINUTES, strict=True, columns=("source",))
    assert len(two.asked) == 1
    assert [n for n, source in enumerate(frame["source"]) if source == "second"] == LOST
    assert provenance(frame)["problems"] == []
    assert provenance(frame)["flagged"] == []


# --- more holes of a dense vendor than one in eight bars -------------------------------------------


def fifths(*firsts: int) -> list[int]:
    """Return the places of every fifth minute beginning with each of ``firsts``."""
    return sorted(n for first in firsts for n in range(first, 720, 5))


def test_an_answer_with_too_many_missing_bars_is_requested_whole_from_the_next_vendor(
    market: Market, clock: ManualClock
) -> None:
    one, two = many(market, clock, fifths(2), [])
    wanted = ("source", "state")
    frame = market.manager(one, two).get_ohlcv(*ASK_MINUTES, strict=True, columns=wanted)
    assert len(frame) == 720
    assert set(frame["state"]) == {"final"}, "the second vendor confirms the bars of the first"
    assert [n for n, name in enumerate(frame["source"]) if name == "second"] == fifths(2)
    assert provenance(frame)["problems"] == []
    assert (len(one.asked), len(two.asked)) == (1, 1)
    again = market.manager(one, two).get_ohlcv(*ASK_MINUTES, strict=True, columns=wanted)
    assert again.equals(frame)
    assert (len(one.asked), len(two.asked)) == (1, 1)


def test_bars_missing_at_the_trusted_vendor_are_taken_from_the_doubted_one(
    market: Market, clock: ManualClock
) -> None:
    one, two = many(market, clock, fifths(2), LOST)
    frame = market.manager(one, two).get_ohlcv(*ASK_MINUTES, columns=("source", "state"))
    nowhere = sorted(set(fifths(2)) & set(LOST))
    assert len(frame) == 720 - len(nowhere)
    assert [gap[0] for gap in gaps(frame)] == [iso(MINUTES[place])[:-1] for place in nowhere]
    assert provenance(frame)["gaps_total"] == len(nowhere)
    assert provenance(frame)["problems"] == [f"{len(nowhere)} of 720 expected bars are missing"]
    assert set(frame["source"][frame["state"] == "suspect"]) == {"binance"}
    kept = frame["state"] == "suspect"
    assert kept.sum() == len(set(LOST) - set(fifths(2)))


@pytest.mark.parametrize("nowhere", [(), (4,)])
def test_bars_of_vendors_that_all_lack_too_many_are_combined_and_marked_suspect(
    market: Market, clock: ManualClock, nowhere: tuple[int, ...]
) -> None:
    one, two, three = many(market, clock, *(fifths(n, *nowhere) for n in (2, 3, 2)))
    two.spoil = three.spoil = lambda rows: [row._replace(volume=8.0) for row in rows]
    with pytest.warns(IncompleteDataWarning, match="in doubt: of binance .* in doubt: of second"):
        frame = market.manager(one, two, three).get_ohlcv(*ASK_MINUTES, columns=("source", "state"))
    missing = fifths(*nowhere)
    assert shown(frame) == [iso(stamp)[:16] for stamp in lacking(MINUTES, missing)]
    filled = frame["source"] == "second"
    assert filled.sum() == 144, "only bars missing at the first vendor"
    assert (frame["volume"] == 8.0).tolist() == filled.tolist()
    assert set(frame["state"]) == {"suspect"}
    assert provenance(frame)["complete"] is False
    said = [f"{len(missing)} of 720 expected bars are missing"] if missing else []
    assert provenance(frame)["problems"] == said
    asked = [len(fixed.asked) for fixed in (one, two, three)]
    assert asked == [1, 1, 1]
    again = market.manager(one, two, three).get_ohlcv(*ASK_MINUTES, columns=("source", "state"))
    assert again.equals(frame)
    assert provenance(again)["problems"] == said
    assert [len(fixed.asked) for fixed in (one, two, three)] == asked
    document = next(market.folder.glob("cache/ohlcv/*/1m/2024.metadata.json"))
    assert document.stat().st_size < 12_000


def test_many_missing_bars_of_the_only_vendor_are_refetched_after_a_day(
    market: Market, clock: ManualClock
) -> None:
    (one,) = many(market, clock, fifths(2))
    for hours, asked in [(0, 1), (23, 0), (1, 1), (47, 0), (1, 1)]:
        clock.advance(hours * 3600)
        one.asked.clear()
        for _ in range(2 if FULL or asked else 1):
            frame = market.manager(one).get_ohlcv(*ASK_MINUTES, columns=("state",))
            assert (len(frame), set(frame["state"])) == (720 - 144, {"suspect"})
            assert provenance(frame)["problems"] == ["144 of 720 expected bars are missing"]
        assert len(one.asked) == asked, hours
    clock.advance(96 * 3600)
    one.stamps = MINUTES
    assert len(market.manager(one).get_ohlcv(*ASK_MINUTES, strict=True)) == 720


def test_missing_bars_are_fetched_from_the_vendor_that_was_down_at_its_next_request(
    market: Market, clock: ManualClock
) -> None:
    one, two = many(market, clock, fifths(2), [])
    two.errors = [UnavailableError("down")]
    assert len(market.manager(one, two).get_ohlcv(*ASK_MINUTES)) == 720 - 144
    clock.advance(24 * 3600)
    assert len(market.manager(one, two).get_ohlcv(*ASK_MINUTES, strict=True)) == 720
