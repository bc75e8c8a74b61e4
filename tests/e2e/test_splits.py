"""Splits near a fetch: bars become suspect and are checked again; a series has one basis."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, IncompleteDataError, IncompleteDataWarning
from tests.vendor_server import Fault, VendorServer, split
from tests.vendor_server.face import Reply

from .oracle import assert_true, ms
from .scripted_vendor import provenance, states

EX_DATE, A_WEEK_LATER = "2024-06-12", "2024-06-19T00:00:00"
YEAR_FILE = Path("cache", "ohlcv", "AAPL", "1d", "2024.csv.gz")


@pytest.fixture
def before_split(manager: DataManager, vendors: VendorServer, clock: ManualClock) -> pd.DataFrame:
    """Return an answer of the evening before a split that is not announced."""
    vendors.truth.act("AAPL", split(EX_DATE, 4))
    clock.set(ms("2024-06-11T22:00:00"))
    frame = manager.get_ohlcv("AAPL", "1d", "2024-05-01")
    assert "suspect" not in states(frame).values()
    return frame


@pytest.mark.parametrize(
    "terms", [(0, 1), (1, 1e17), ("1-for-15", 1)], ids=["zero", "huge", "text"]
)
def test_an_impossible_split_leaves_split_adjusted_bars_and_stops_only_other_prices(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, terms: tuple[Any, Any]
) -> None:
    def poison(reply: Reply) -> Reply:
        body = json.loads(reply.body)
        at = ms("2024-05-29T13:30:00") // 1000
        split = {"date": at, "numerator": terms[0], "denominator": terms[1], "splitRatio": ""}
        body["chart"]["result"][0]["events"] = {"splits": {str(at): split}}
        return replace(reply, body=json.dumps(body).encode())

    vendors.fault("yahoo", Fault("poisoned split", reply=poison))
    days = ("AAPL", "1d", "2024-05-20", "2024-06-07")
    for _ in range(4):
        with pytest.raises(
            AllProvidersFailedError, match=r"raw prices need them.* yahoo returned "
        ):
            manager.get_ohlcv(*days, adjustment="raw")
    frame = manager.get_ohlcv(*days, adjustment="split", strict=True)
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-05-20", "2024-06-08", "split")
    vendors.heal()
    assert len(manager.get_ohlcv(*days, adjustment="raw", strict=True)) == len(frame)


def reasons(frame: pd.DataFrame) -> set[str]:
    return {
        span.get("reason", "") for span in provenance(frame)["spans"] if span["state"] == "suspect"
    }


def test_bars_fetched_within_a_week_of_a_split_become_suspect(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, before_split: pd.DataFrame,
    tmp_path: Path,
) -> None:  # fmt: skip
    stored = (tmp_path / YEAR_FILE).read_bytes()
    clock.set(ms("2024-06-12T22:00:00"))
    frame = manager.get_ohlcv("AAPL", "1d", "2024-05-01", strict=True)
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-05-01", "2024-06-13", "split")
    assert reasons(frame) == {"fetched within a week of the split of 4:1 on 2024-06-12"}
    assert provenance(frame)["complete"]
    assert (tmp_path / YEAR_FILE).read_bytes().startswith(stored)
    vendors.clear_log()
    manager.get_ohlcv("AAPL", "1d", "2024-05-01")
    assert vendors.count() == 0, "doubted bars are not requested again at once"


def test_suspect_bars_near_a_split_are_rechecked_after_a_week_without_a_rewrite(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, before_split: pd.DataFrame,
    tmp_path: Path,
) -> None:  # fmt: skip
    clock.set(ms("2024-06-12T22:00:00"))
    manager.get_ohlcv("AAPL", "1d", "2024-05-01")
    stored = (tmp_path / YEAR_FILE).read_bytes()
    vendors.clear_log()
    past = ("AAPL", "1d", "2024-05-01", "2024-06-10")
    clock.set(ms(A_WEEK_LATER) - 1000)
    manager.get_ohlcv(*past)
    assert vendors.count() == 1, "the splits since then, and no bar"
    clock.set(ms(A_WEEK_LATER))
    frame = manager.get_ohlcv(*past, strict=True)
    assert vendors.count() == 2, "the bars"
    assert set(states(frame).values()) == {"final"}
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-05-01", "2024-06-11", "split")
    assert (tmp_path / YEAR_FILE).read_bytes() == stored
    vendors.clear_log()
    manager.get_ohlcv(*past)
    assert vendors.count() == 0


def test_bars_of_a_vendor_that_applied_a_split_late_are_corrected(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-12T22:00:00"))
    first = manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-06-07")
    vendors.truth.act("AAPL", split(EX_DATE, 4))  # ... and says so only now, a day late
    clock.set(ms("2024-06-13T22:00:00"))
    manager.get_ohlcv("AAPL", "1d", "2024-06-10")
    doubted = manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-06-07")
    assert reasons(doubted), "a split stored later is used too"
    clock.set(ms("2024-06-19T00:00:00"))
    frame = manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-06-07")
    assert frame["close"].iloc[0] == pytest.approx(first["close"].iloc[0] / 4)
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-05-01", "2024-06-08", "split")
    assert set(states(frame).values()) == {"final"}


def test_a_split_makes_bars_of_the_other_timeframes_suspect(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.truth.act("AAPL", split(EX_DATE, 4))
    clock.set(ms("2024-06-11T22:00:00"))
    hours = ("AAPL", "1h", "2024-06-03", "2024-06-07")
    manager.get_ohlcv(*hours)
    clock.set(ms("2024-06-12T22:00:00"))
    manager.get_ohlcv("AAPL", "1d", "2024-06-12")
    vendors.clear_log()
    standing = manager.client.standing(manager.client.query(*hours))
    assert standing.series.startswith("AAPL 1h") and not standing.digest, "no answer yet, but bars"
    frame = manager.get_ohlcv(*hours)
    assert reasons(frame)
    clock.set(ms(A_WEEK_LATER))
    frame = manager.get_ohlcv(*hours)
    assert set(states(frame).values()) == {"final"}
    assert_true(frame, vendors, clock, "AAPL", "1h", "2024-06-03", "2024-06-08", "split")


def test_doubted_bars_stay_while_the_vendor_is_down(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, before_split: pd.DataFrame
) -> None:
    clock.set(ms("2024-06-12T22:00:00"))
    manager.get_ohlcv("AAPL", "1d", "2024-05-01")
    first = manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-06-10")
    clock.set(ms("2024-06-20T22:00:00"))
    vendors.fault("yahoo", Fault.status(503))
    with pytest.warns(IncompleteDataWarning, match="splits and dividends from 2024-06-13 on"):
        frame = manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-06-10")
    pd.testing.assert_frame_equal(first, frame)
    assert reasons(frame)
    with pytest.raises(IncompleteDataError, match="splits and dividends from 2024-06-13 on"):
        manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-06-10", strict=True)


def test_bars_fetched_right_after_a_split_are_suspect_from_the_start(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    bounds = ("NVDA", "1d", "2024-05-01", "2024-06-10")
    frame = manager.get_ohlcv(*bounds, strict=True)  # on the 12th; the split was on the 10th
    assert set(states(frame).values()) == {"suspect"}
    assert reasons(frame) == {"fetched within a week of the split of 10:1 on 2024-06-10"}
    clock.set(ms("2024-06-17T00:00:00"))
    assert set(states(manager.get_ohlcv(*bounds)).values()) == {"final"}
    assert vendors.count("yahoo") == 2


def test_a_fetch_far_from_a_split_is_not_doubted(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-18T14:00:00"))  # the split of NVDA was on the 10th
    frame = manager.get_ohlcv("NVDA", "1d", "2024-05-01", strict=True)
    assert "suspect" not in states(frame).values()


# --- one series, one basis -----------------------------------------------------------------


def test_an_old_range_is_adjusted_for_splits_reported_later(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock,
    before_split: pd.DataFrame,
) -> None:  # fmt: skip
    clock.set(ms("2024-06-20T22:00:00"))
    manager = make()
    manager.get_ohlcv("AAPL", "1d", "2024-06-10")
    old = manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-05-31")
    new = manager.get_ohlcv("AAPL", "1d", "2024-05-20", "2024-06-14")
    common = old.index.intersection(new.index)
    assert len(common) > 5
    pd.testing.assert_frame_equal(old.loc[common], new.loc[common])
    assert old["close"].iloc[0] == pytest.approx(before_split["close"].iloc[0] / 4)


def test_a_split_between_two_fetches_that_neither_contained_is_requested(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.truth.act("AAPL", split("2024-03-15", 4))
    january = ("AAPL", "1d", "2024-01-02", "2024-01-31")
    clock.set(ms("2024-02-10T12:00:00"))
    manager.get_ohlcv(*january)
    clock.set(ms("2024-06-12T15:00:30"))
    manager.get_ohlcv("AAPL", "1d", "2024-06-03")
    frame = manager.get_ohlcv(*january, strict=True)
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-01-02", "2024-02-01", "split")
    # The fourth is for the closes before the dividends between them, which `adj_close` takes.
    assert vendors.count("yahoo") == 4, "January, June, and once the splits between them"
    vendors.fault("yahoo", Fault.status(503))
    manager.get_ohlcv(*january, strict=True)
    assert vendors.count("yahoo") == 4


def test_splits_of_a_share_are_requested_once_per_session_for_all_timeframes(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    days, hours = (
        ("AAPL", "1d", "2024-01-02", "2024-01-31"),
        ("AAPL", "1h", "2024-01-02", "2024-01-05"),
    )
    clock.set(ms("2024-06-06T22:00:00"))
    for question in (days, hours):
        make().get_ohlcv(*question, strict=True)
    # Thursday night, Friday before and after the open, Sunday, Monday before and after the open.
    moments = [
        ("2024-06-07T03:00:00", 0), ("2024-06-07T13:29:59", 0), ("2024-06-07T13:30:00", 1),
        ("2024-06-09T12:00:00", 0), ("2024-06-10T13:00:00", 0), ("2024-06-10T14:00:00", 1),
    ]  # fmt: skip
    for at, requests in moments:
        clock.set(ms(at))
        vendors.clear_log()
        for questions in ((days, hours), (hours, days)):
            manager = make()
            for question in questions:
                manager.get_ohlcv(*question, strict=True)
        assert vendors.count() == requests, at


def test_an_answer_from_memory_is_adjusted_for_a_later_split(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.truth.act("AAPL", split(EX_DATE, 4))
    january = ("AAPL", "1d", "2024-01-02", "2024-01-31")
    clock.set(ms("2024-05-10T22:00:00"))
    for _ in range(4):
        first = manager.get_ohlcv(*january, strict=True)
    clock.set(ms("2024-06-12T13:30:00"))
    frame = manager.get_ohlcv(*january, strict=True)
    assert frame["close"].iloc[0] == pytest.approx(first["close"].iloc[0] / 4)
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-01-02", "2024-02-01", "split")


def test_splits_requested_under_a_clock_that_was_ahead_are_requested_again(
    rules: Path, tmp_path: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.truth.act("AAPL", split(EX_DATE, 4))
    january, own = ("AAPL", "1d", "2024-01-02", "2024-01-31"), ManualClock(0)
    manager = DataManager(tmp_path / "cache", rules, clock=own)
    for real, shown in [("05-10", "05-10"), ("05-13", "07-15"), ("05-14", "05-14")]:
        clock.set(ms(f"2024-{real}T22:00:00"))
        own.set(ms(f"2024-{shown}T22:00:00"))
        manager.get_ohlcv(*january)
    for day in ("06-12", "06-13", "06-14"):
        clock.set(ms(f"2024-{day}T22:00:00"))
        own.set(clock.now_ms())
        vendors.clear_log()
        frame = manager.get_ohlcv(*january, strict=True)
        assert_true(frame, vendors, clock, "AAPL", "1d", "2024-01-02", "2024-02-01", "split")
        assert vendors.count() == 1


def test_offline_bars_are_adjusted_for_a_split_stored_since_their_fetch(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.truth.act("AAPL", split(EX_DATE, 4))
    january = ("AAPL", "1d", "2024-01-02", "2024-01-31")
    clock.set(ms("2024-05-10T22:00:00"))
    manager.get_ohlcv(*january, strict=True)
    clock.set(ms("2024-06-12T22:00:00"))
    manager.get_ohlcv("AAPL", "1h", "2024-05-06", "2024-06-12")
    frame = manager.cache.get(*january)
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-01-02", "2024-02-01", "split")


def test_a_split_published_days_late_is_applied(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    january = ("AAPL", "1d", "2024-01-02", "2024-01-31")
    clock.set(ms("2024-05-10T22:00:00"))
    manager.get_ohlcv(*january, strict=True)
    clock.set(ms("2024-06-13T22:00:00"))
    manager.get_ohlcv(*january, strict=True)
    vendors.truth.act("AAPL", split(EX_DATE, 4))  # it was yesterday, and is told only now
    clock.set(ms("2024-06-17T22:00:00"))
    frame = manager.get_ohlcv(*january, strict=True)
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-01-02", "2024-02-01", "split")


def test_offline_prices_as_of_an_earlier_day_are_marked_and_refused_under_strict(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    january = ("AAPL", "1d", "2024-01-02", "2024-01-31")
    clock.set(ms("2024-05-10T22:00:00"))
    manager.get_ohlcv(*january, strict=True)
    manager.get_ohlcv(*january, strict=True, offline=True)
    clock.set(ms("2024-06-12T22:00:00"))
    said = "prices are as of 2024-05-10: splits and dividends from 2024-05-11 on are not known"
    with pytest.warns(IncompleteDataWarning, match=said):
        frame = manager.get_ohlcv(*january, offline=True)
    assert (provenance(frame)["complete"], list(provenance(frame)["problems"])) == (False, [said])
    with pytest.raises(IncompleteDataError, match=said):
        manager.get_ohlcv(*january, offline=True, strict=True)
    manager.get_ohlcv(*january, adjustment="split", strict=True)
    manager.get_ohlcv(*january, offline=True, strict=True)


def test_actions_do_not_count_as_answered_for_a_session_that_has_not_opened(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-07T22:00:00"))
    manager.get_ohlcv("AAPL", "1h", "2024-06-07")  # answered for up to Monday's first bar
    book = manager.cache.store.actions("AAPL")
    assert max(asked.span.end for asked in book.answers) == ms("2024-06-10")


@pytest.mark.parametrize("timeframe", ["1d", "1h"])
def test_dividends_are_applied_with_closes_fetched_for_the_adjustment(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, timeframe: str
) -> None:
    bounds = ("AAPL", timeframe, "2023-07-03", "2023-07-14")
    frame = manager.get_ohlcv(*bounds, adjustment="all", strict=True)
    truth = vendors.truth.expected(
        "AAPL", timeframe, ms("2023-07-03"), ms("2023-07-15"), "all", clock.now_ms()
    )
    assert list(frame["close"]) == pytest.approx([row[4] for row in truth], rel=1e-9)
    vendors.clear_log()
    manager.get_ohlcv(*bounds, adjustment="all", strict=True)
    assert vendors.count() == 0


def test_no_close_before_the_needed_ones_is_fetched_for_a_number_of_hours(
    manager: DataManager, vendors: VendorServer
) -> None:
    """The first dividend is that of 2023-05-12."""
    manager.get_ohlcv("AAPL", "1h", bars=300, end_date="2023-07-14", adjustment="all")
    asked = [log.params for log in vendors.log("yahoo") if log.params["interval"] == "1d"]
    assert min(int(params["period1"]) for params in asked) * 1000 >= ms("2023-05-11")


def test_dividends_without_the_close_before_them_are_an_error(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_ohlcv("AAPL", "1h", "2023-07-03", "2023-07-14")
    with pytest.raises(AllProvidersFailedError, match="but all prices need them"):
        manager.get_ohlcv("AAPL", "1h", "2023-07-03", "2023-07-14", adjustment="all", offline=True)


def test_a_damaged_actions_file_is_fetched_again(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    bounds = ("NVDA", "1d", "2024-05-01", "2024-06-11")
    first = make().get_ohlcv(*bounds, adjustment="raw")
    book = tmp_path / "cache" / "ohlcv" / "NVDA" / "actions.json"
    book.write_text(book.read_text().replace("split", "spilt"))
    again = make().get_ohlcv(*bounds, adjustment="raw", strict=True)
    pd.testing.assert_frame_equal(first, again)
