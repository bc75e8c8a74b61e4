"""Bars outside the calendar: requests in any order return the same bars, or a gap is reported."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.bars import validity
from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, UnavailableError

from .fixed_vendor import FixedVendor, Market, at, every, serving, shown
from .scripted_vendor import provenance

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

UNASKED = "market closed, not asked"
# Memorial Day of 2024: the calendar has these futures stop at 17:00 UTC, their vendor has bars to 21:00.
HOLIDAY = every("1m", "2024-05-27T15:00", "2024-05-27T20:59")
TUESDAY = every("1m", "2024-05-28T10:00", "2024-05-28T14:59")
# Currencies trade from Sunday 21:00 UTC in June; this vendor has three hours before that.
WEEKS = [
    *every("1h", "2024-06-02T18:00", "2024-06-07T20:00"),
    *every("1h", "2024-06-09T18:00", "2024-06-12T20:00"),
]
OWN = "stock_intraday: {{primary: local, backup: []}}\nproviders:\n  local: {{folder: {}, adjustment: raw}}\n"


def lacking(frame: pd.DataFrame, stamps: list[int], start: int, end: int) -> list[str]:
    """Return the bars of ``[start, end]`` that are neither in the frame nor in one of its gaps."""
    found = {at(text) for text in shown(frame)}
    assert found <= set(stamps)
    gaps = [(at(gap["start"]), at(gap["end"])) for gap in provenance(frame)["gaps"]]
    return [
        iso(stamp)
        for stamp in stamps
        if start <= stamp <= end
        and stamp not in found
        and not any(first <= stamp < last for first, last in gaps)
    ]


def reasons(frame: pd.DataFrame) -> list[str]:
    return [gap["reason"] for gap in provenance(frame)["gaps"]]


# --- vendors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("vendor", serving("future", "1m"))
def test_minutes_of_a_holiday_before_a_cached_day_are_fetched_once(
    market: Market, clock: ManualClock, vendor: str, pinned: bool
) -> None:
    fixed = FixedVendor(clock, [*HOLIDAY, *TUESDAY], vendor)
    wishes = {"provider": vendor} if pinned else {}
    question = ("ES=F", "1m", "2024-05-27T18:00", "2024-05-27T19:11")
    fresh = market.manager(fixed, folder="fresh").get_ohlcv(*question, **wishes)
    assert len(fresh) == 72
    market.manager(fixed).get_ohlcv("ES=F", "1m", "2024-05-28T10:00", "2024-05-28T12:00", **wishes)
    fixed.asked.clear()
    for _ in range(2):  # when it is learned, and from the store
        later = market.manager(fixed).get_ohlcv(*question, **wishes)
        assert shown(later) == shown(fresh)
        assert (reasons(later), provenance(later)["complete"]) == ([], True)
    assert len(fixed.asked) == 1


@pytest.mark.parametrize("vendor", serving("future", "1m"))
def test_a_day_of_a_future_is_complete_after_a_request_for_part_of_the_day(
    market: Market, clock: ManualClock, vendor: str
) -> None:
    fixed = FixedVendor(clock, HOLIDAY, vendor)
    fresh = market.manager(fixed, folder="fresh").get_ohlcv(
        "ES=F", "1m", "2024-05-27", "2024-05-27"
    )
    assert len(fresh) == len(HOLIDAY)
    manager = market.manager(fixed)
    manager.get_ohlcv("ES=F", "1m", "2024-05-27T17:30", "2024-05-27T18:10")
    for _ in range(2):
        day = manager.get_ohlcv("ES=F", "1m", "2024-05-27", "2024-05-27")
        assert shown(day) == shown(fresh)


@pytest.mark.parametrize("vendor", serving("forex"))
def test_hours_before_the_open_are_fetched_if_earlier_weeks_have_such_hours(
    market: Market, clock: ManualClock, vendor: str
) -> None:
    fixed = FixedVendor(clock, WEEKS, vendor)
    market.manager(fixed).get_ohlcv("NZDUSD=X", "1h", "2024-06-02T12:00", "2024-06-04T00:00")
    market.manager(fixed).get_ohlcv("NZDUSD=X", "1h", "2024-06-10", "2024-06-11")
    fixed.asked.clear()
    # On Saturday at that time of day nothing was, and all the same it may be: it is asked once.
    for _ in range(2):
        frame = market.manager(fixed).get_ohlcv(
            "NZDUSD=X", "1h", "2024-06-09T18:00", "2024-06-09T20:00"
        )
        assert len(frame) == 3
    assert len(fixed.asked) == 1
    for _ in range(2):
        night = market.manager(fixed).get_ohlcv(
            "NZDUSD=X", "1h", "2024-06-08T02:00", "2024-06-08T05:00"
        )
        assert (len(night), reasons(night)) == (0, [])
    assert len(fixed.asked) == 1, "the whole closed stretch is requested once"


def test_hours_that_an_earlier_version_did_not_request_are_fetched_now(
    market: Market, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = FixedVendor(clock, WEEKS)
    evening = ("NZDUSD=X", "1h", "2024-06-09T18:00", "2024-06-09T20:00")
    manager = market.manager(fixed)
    with monkeypatch.context() as earlier:
        earlier.setattr(validity, "LOOSE_HOURS", ())
        manager.get_ohlcv("NZDUSD=X", "1h", "2024-06-10", "2024-06-11")
        assert reasons(manager.get_ohlcv(*evening)) == [UNASKED]
    assert len(market.manager(fixed).get_ohlcv(*evening)) == 3


def test_the_weekend_before_a_stored_range_is_not_requested(
    market: Market, clock: ManualClock
) -> None:
    fixed = FixedVendor(clock, every("1d", "2024-06-03", "2024-06-07"))
    manager = market.manager(fixed)
    manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-07")
    fixed.asked.clear()
    for _ in range(2):
        frame = manager.get_ohlcv("AAPL", "1d", "2024-06-01", "2024-06-07", strict=True)
        assert (
            len(frame),
            provenance(frame)["complete"],
            provenance(frame)["quality"]["gaps"],
        ) == (5, True, 0)
    assert fixed.asked == []


def test_a_failed_request_for_a_holiday_is_an_error(market: Market, clock: ManualClock) -> None:
    fixed = FixedVendor(clock, [*HOLIDAY, *TUESDAY])
    manager = market.manager(fixed)
    manager.get_ohlcv("ES=F", "1m", "2024-05-28T10:00", "2024-05-28T12:00")
    fixed.errors = [UnavailableError("down", provider="yahoo")]
    with pytest.raises(AllProvidersFailedError, match="down"):
        manager.get_ohlcv("ES=F", "1m", "2024-05-27T19:00", "2024-05-27T19:30")
    assert len(manager.get_ohlcv("ES=F", "1m", "2024-05-27T19:00", "2024-05-27T19:30")) == 31


# --- own files ---------------------------------------------------------------------------------


def own_hours(folder: Path, stamps: list[int]) -> Callable[[str], DataManager]:
    """Lay a file of hours down, and return what makes managers over it, each with its own cache."""
    rows = "".join(f"{iso(stamp)},1,2,1,2,3\n" for stamp in stamps)
    (folder / "NVDA_1h.csv").write_text("timestamp,open,high,low,close,volume\n" + rows)
    rules = folder / "rules.yaml"
    rules.write_text(OWN.format(folder))
    clock = ManualClock(at("2024-08-01T12:00"))
    return lambda cache: DataManager(folder / cache, rules, clock=clock)


# Full hours of a market that opens at half past, with one each evening and one of a Saturday.
HOURS = [
    *(
        stamp
        for day in ("2024-07-22", "2024-07-23", "2024-07-24", "2024-07-25", "2024-07-26")
        for stamp in [*every("1h", f"{day}T13:00", f"{day}T19:00"), at(f"{day}T22:00")]
    ),
    at("2024-07-27T16:00"),
]


@pytest.mark.parametrize("pinned", [False, True])
def test_own_files_are_read_even_when_the_calendar_is_closed(tmp_path: Path, pinned: bool) -> None:
    make = own_hours(tmp_path, HOURS)
    wishes = {"provider": "local"} if pinned else {}
    for start, end in (
        ("2024-07-23T14:00", "2024-07-23T14:20"),
        ("2024-07-24T21:00", "2024-07-24T23:00"),
        ("2024-07-27T12:00", "2024-07-27T20:00"),
        ("2024-07-28T12:00", "2024-07-28T20:00"),
    ):
        expected = [stamp for stamp in HOURS if at(start) <= stamp <= at(end)]
        for cache in ("fresh" + start[:13], "warm", "warm"):
            manager = make(cache)
            if cache != "warm" or not manager.cache.list_symbols():
                manager.get_ohlcv(
                    "NVDA", "1h", "2024-07-22T13:00", "2024-07-22T19:00", adjustment="raw", **wishes
                )
            frame = manager.get_ohlcv("NVDA", "1h", start, end, adjustment="raw", **wishes)
            assert [at(text) for text in shown(frame)] == expected


# --- any order ---------------------------------------------------------------------------------

SERIES = {
    "future": ("6E=F", every("1h", "2024-05-26T20:00", "2024-05-31T22:00")),
    "forex": ("NZDUSD=X", [*every("1h", "2024-05-26T18:00", "2024-05-31T23:00")]),
    "stock": ("AAPL", every("30m", "2024-05-26T12:30", "2024-06-01T22:30")),
}
ROUNDS = 40 if "ONETAPE_FULL" in os.environ else 2


def drawn(dice: random.Random) -> tuple[int, int]:
    """Return a range of a week, from minutes to days long."""
    start = at("2024-05-26") + dice.randrange(7 * 24 * 4) * 15 * 60_000
    return start, start + dice.choice([HOUR_MS // 2, 3 * HOUR_MS, 9 * HOUR_MS, 2 * DAY_MS])


def is_regular(stamp: int) -> bool:
    """Return whether New York trades then, in the week of Memorial Day."""
    day, time = iso(stamp)[:10], iso(stamp)[11:16]
    return "2024-05-28" <= day <= "2024-05-31" and "13:30" <= time < "20:00"


# Of each class one vendor for every anchor and every hours that there are.
@pytest.mark.parametrize(
    "vendor, asset_class",
    [
        ("yahoo", "future"),
        ("yahoo", "forex"),
        ("eodhd", "forex"),
        ("yahoo", "stock"),
        ("alpaca", "stock"),
        ("twelvedata", "stock"),
    ],
)
def test_any_order_of_requests_gives_the_same_bars_or_a_gap(
    market: Market, clock: ManualClock, vendor: str, asset_class: str
) -> None:
    symbol, sent = SERIES[asset_class]
    stamps, timeframe = sent, "1h"
    if asset_class == "stock":
        fixed = FixedVendor(clock, [], vendor)
        kind = fixed.capabilities.kind(
            Instrument(symbol, "stock", "XNYS", "America/New_York"), Timeframe.parse("1h")
        )
        # Those on the grid of its anchor; of extended hours the regular ones are cut out of half hours.
        if kind.session == "extended":
            stamps, timeframe = [s for s in sent if is_regular(s)], "30m"
        else:
            sent = stamps = sent[0 if kind.anchor == "session" else 1 :: 2]
    dice = random.Random(f"{vendor} {asset_class}")
    for number in range(ROUNDS):
        fixed = FixedVendor(clock, sent, vendor)
        for _ in range(4):
            start, end = drawn(dice)
            manager = market.manager(fixed, folder=str(number))
            question = (symbol, timeframe, iso(start), iso(end))
            frame = manager.get_ohlcv(*question, adjustment="raw")
            assert lacking(frame, stamps, start, end) == []
            fixed.asked.clear()
            again = manager.get_ohlcv(*question, adjustment="raw")
            assert (shown(again), fixed.asked) == (shown(frame), [])


def test_any_order_of_requests_to_own_files_gives_the_same_bars(tmp_path: Path) -> None:
    stamps = every("1h", "2024-05-26T12:00", "2024-06-01T22:00")[::2]
    make = own_hours(tmp_path, stamps)
    dice = random.Random(1)
    for number in range(ROUNDS):
        for _ in range(4):
            start, end = drawn(dice)
            frame = make(str(number)).get_ohlcv(
                "NVDA", "1h", iso(start), iso(end), adjustment="raw"
            )
            assert [at(text) for text in shown(frame)] == [s for s in stamps if start <= s <= end]


# --- two orders --------------------------------------------------------------------------------

# A vendor of currencies has three hours on Sunday before the market opens, and a day of Sunday.
SUNDAYS = {
    "1h": [
        *every("1h", "2024-05-26T18:00", "2024-05-31T20:00"),
        *every("1h", "2024-06-02T18:00", "2024-06-07T20:00"),
    ],
    "1d": [s for s in every("1d", "2024-05-12", "2024-06-07") if s // DAY_MS % 7 != 2],  # Saturdays
}


@pytest.mark.parametrize("timeframe", SUNDAYS)
@pytest.mark.parametrize("vendor", serving("forex"))
def test_bars_of_a_sunday_are_the_same_whatever_was_requested_before(
    market: Market, clock: ManualClock, vendor: str, timeframe: str
) -> None:
    if timeframe not in FixedVendor(clock, [], vendor).capabilities.labels("forex"):
        pytest.skip("not served")
    fixed = FixedVendor(clock, SUNDAYS[timeframe], vendor)
    friday = ("NZDUSD=X", timeframe, "2024-05-31T00:00", "2024-05-31T12:00")
    sunday = {"end_date": "2024-06-02", "bars": 3}
    fresh = market.manager(fixed, folder="fresh").get_ohlcv("NZDUSD=X", timeframe, **sunday)
    assert [at(text) for text in shown(fresh)] == [
        stamp for stamp in fixed.stamps if stamp < at("2024-06-02T21:00")
    ][-3:]
    manager = market.manager(fixed)
    manager.get_ohlcv(*friday)
    later = manager.get_ohlcv("NZDUSD=X", timeframe, **sunday)
    assert shown(later) == shown(fresh)
    assert (provenance(later)["gaps"], provenance(later)["complete"]) == (
        provenance(fresh)["gaps"],
        True,
    )
    fixed.asked.clear()
    again = market.manager(fixed).get_ohlcv("NZDUSD=X", timeframe, **sunday)
    assert (shown(again), fixed.asked) == (shown(fresh), [])


# A vendor lacks these. Bars beside a missing first or last one of a session are doubted or not by what
# came with them.
LACKING = {
    "forex": ["2024-05-28T07:00", "2024-05-31T18:00", "2024-05-31T19:00"],
    "future": ["2024-05-28T07:00", "2024-05-28T19:00", "2024-05-29T23:00"],
}
# In the middle of open hours, and of closed ones.
TIMES = {
    "forex": ["2024-06-12T12:00", "2024-06-02T19:30"],
    "future": ["2024-06-12T12:00", "2024-05-28T21:30"],
}


def stored(manager: DataManager, symbol: str, stamps: list[int]) -> tuple[object, ...]:
    """Return the stored bars of a series, and what is known of each of ``stamps``."""
    store = manager.cache.store
    (key,) = store.keys()
    assert key.symbol == symbol
    rows, coverage = store.read(key, Span(stamps[0], stamps[-1] + 1))
    known = {
        iso(stamp): [(p.state, p.reason, p.vendor) for p in coverage.within(Span(stamp, stamp + 1))]
        for stamp in stamps
    }
    return rows.stamps.tolist(), rows.close.tolist(), known


@pytest.mark.parametrize(("asset_class", "now"), [(c, now) for c in TIMES for now in TIMES[c]])
def test_any_order_of_the_same_requests_gives_the_same_answers_and_stored_bars(
    market: Market, clock: ManualClock, asset_class: str, now: str
) -> None:
    symbol, sent = SERIES[asset_class]
    # Closed hours just before the first bar of a vendor belong to what it lacks or not, by the order.
    week = every("1h", "2024-05-20T00:00", "2024-05-24T20:00")
    sent = [*week, *sent, *every("1h", "2024-06-02T18:00", "2024-06-06T22:00")]
    stamps = [stamp for stamp in sent if stamp not in map(at, LACKING[asset_class])]
    clock.set(at(now))
    dice = random.Random(f"{asset_class} {now}")
    for number in range(ROUNDS):
        spans = [drawn(dice) for _ in range(3)]
        # From the opening of a bar on: a piece of one bar's time, requested alone, cuts a gap there.
        spans = [(min(start, at(now)) // HOUR_MS * HOUR_MS, end) for start, end in spans]
        questions = [{"start_date": iso(start), "end_date": iso(end)} for start, end in spans]
        questions += [{"end_date": iso(drawn(dice)[1]), "bars": dice.choice([1, 3, 20])}]
        answers = []
        for order in range(3):
            manager = market.manager(FixedVendor(clock, stamps), folder=f"{number}-{order}")
            for place in dice.sample(range(4), 4):
                manager.get_ohlcv(symbol, "1h", **questions[place])
            last = [manager.get_ohlcv(symbol, "1h", **question) for question in questions]
            seen = [
                (shown(one), provenance(one)["complete"], provenance(one)["gaps"]) for one in last
            ]
            answers.append((seen, stored(manager, symbol, every("1h", "2024-05-24", "2024-06-04"))))
        for other in answers[1:]:
            assert other[0] == answers[0][0], questions
            assert other[1][:2] == answers[0][1][:2], questions
            known, before = other[1][2], answers[0][1][2]
            differing = {
                text: (before[text], known[text]) for text in known if known[text] != before[text]
            }
            assert not differing, questions
