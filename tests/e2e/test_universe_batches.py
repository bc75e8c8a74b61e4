"""Batches for a universe: its members on a day, and the days for which they have no bars."""

from __future__ import annotations

import pickle
import warnings
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.answer.member_frames import DaysWithoutBars, MemberFrames
from src.data.data_manager import DataManager
from src.data.errors import (
    BadRangeError,
    BadTimeframeError,
    QueryError,
    SurvivorshipWarning,
    UniverseError,
)
from tests.universe_doubles import DatedUniverse
from tests.vendor_server import VendorServer

# What is incomplete is what these tests are about; `pytest.warns` sees it all the same.
pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

RANGE = ("2023-03-06", "2023-03-17")
# Symbol to the half-open session dates of its membership.
LISTED = {
    "AAPL": ("2010-01-04", None),
    "GONE": ("2010-01-04", "2023-03-13"),
    "MSFT": ("2023-03-08", None),
}


@pytest.fixture
def mine(manager: DataManager) -> DataManager:
    """Return the manager with a universe of two members that are left and one that has failed."""
    manager.universes = DatedUniverse(LISTED)
    return manager


def test_members_of_a_day_have_frames_and_days_without_bars_are_listed(
    mine: DataManager,
) -> None:
    frames = mine.get_ohlcv_batch(None, "1d", *RANGE, universe="mine", as_of="2023-03-06")
    assert isinstance(frames, MemberFrames) and isinstance(frames, dict)
    assert {symbol: len(frame) for symbol, frame in frames.items()} == {"AAPL": 10, "GONE": 5}
    assert frames.members.as_of == date(2023, 3, 6) and frames.members.is_pit
    assert frames.without_bars == {
        "GONE": (DaysWithoutBars(date(2023, 3, 13), date(2023, 3, 17), 5, "the vendor has no bar"),)
    }, "after its last session, and none of the running session"
    pd.testing.assert_frame_equal(frames["AAPL"], mine.get_ohlcv("AAPL", "1d", *RANGE))
    again = pickle.loads(pickle.dumps(frames))
    assert (again.members, again.without_bars) == (frames.members, frames.without_bars)


def test_a_wide_frame_has_members_and_days_in_its_attrs(mine: DataManager) -> None:
    wide = mine.get_ohlcv_batch(
        universe="mine", as_of=date(2023, 3, 6), timeframe="1d", start_date=RANGE[0],
        end_date=RANGE[1], layout="wide",
    )  # fmt: skip
    assert list(wide["close"].columns) == ["AAPL", "GONE"]
    reported = wide.attrs["onetape"]["universe"]
    assert (reported["name"], reported["as_of"], reported["is_pit"]) == ("mine", "2023-03-06", True)
    assert (reported["known_from"], reported["reason"]) == ("2010-01-04", "")
    assert reported["without_bars"] == {
        "GONE": [
            {
                "first": "2023-03-13",
                "last": "2023-03-17",
                "sessions": 5,
                "reason": "the vendor has no bar",
            }
        ]
    }
    wide.attrs["onetape"].to_json()  # plain values
    plain = mine.get_ohlcv_batch(["AAPL"], "1d", *RANGE, layout="wide")
    assert "universe" not in plain.attrs["onetape"]


def test_todays_members_for_past_bars_raise_a_survivorship_warning(mine: DataManager) -> None:
    with pytest.warns(SurvivorshipWarning) as caught:
        frames = mine.get_ohlcv_batch(None, "1d", *RANGE, universe="mine")
    assert list(frames) == ["AAPL", "MSFT"], "the one that failed is left out"
    (reported,) = [str(each.message) for each in caught if each.category is SurvivorshipWarning]
    assert (
        "1 of the 2 members on 2023-03-06 are not included, and 1 that joined later are" in reported
    )
    assert "as_of='2023-03-06'" in reported
    assert caught[0].filename == __file__


def test_todays_members_for_past_bars_raise_no_warning_if_they_were_the_same_then(
    mine: DataManager,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", SurvivorshipWarning)
        frames = mine.get_ohlcv_batch(None, "1d", "2023-03-13", "2023-03-17", universe="mine")
        assert list(frames) == ["AAPL", "MSFT"]
        mine.get_ohlcv_batch(None, "1d", *RANGE, universe="mine", as_of="today")


def test_a_day_that_is_not_point_in_time_warns_and_strict_raises(mine: DataManager) -> None:
    days = ("2008-01-07", "2008-01-11")
    mine.universes = DatedUniverse({"AAPL": ("1990-01-01", None)})
    with pytest.warns(SurvivorshipWarning, match="recorded later"):
        frames = mine.get_ohlcv_batch(None, "1d", *days, universe="mine", as_of=days[0])
    assert isinstance(frames, MemberFrames)
    assert not frames.members.is_pit
    with pytest.raises(UniverseError, match="recorded later"):
        mine.get_ohlcv_batch(None, "1d", *days, universe="mine", as_of=days[0], strict=True)


def test_members_without_any_bar_are_named_once(mine: DataManager) -> None:
    mine.universes = DatedUniverse(
        {"AAPL": LISTED["AAPL"], "ZZZZQ": LISTED["AAPL"], "A A": LISTED["AAPL"]}
    )
    with pytest.warns(SurvivorshipWarning) as caught:
        frames = mine.get_ohlcv_batch(None, "1d", *RANGE, universe="mine", as_of=RANGE[0])
    (reported,) = [str(each.message) for each in caught if each.category is SurvivorshipWarning]
    assert reported.startswith("mine: no bars for 2 of the 3 members: A A, ZZZZQ;")
    assert isinstance(frames, MemberFrames)
    (days,) = frames.without_bars["ZZZZQ"]
    assert days[:3] == (date(2023, 3, 6), date(2023, 3, 17), 10)
    assert "unknown symbol 'ZZZZQ'" in days.reason
    assert "A A" not in frames.without_bars, "it has no market whose sessions could be counted"


def test_days_before_a_listing_and_between_bars_count_and_holidays_do_not(
    mine: DataManager, vendors: VendorServer
) -> None:
    mine.universes = DatedUniverse(dict.fromkeys(("BTCUSDT", "HALTUSDT", "AAPL"), LISTED["AAPL"]))
    frames = mine.get_ohlcv_batch(
        None, "1h", "2024-03-04", "2024-03-06", universe="mine", as_of="2024-03-04"
    )
    assert isinstance(frames, MemberFrames)
    assert frames.without_bars == {}, "a missing hour does not remove the other bars of the day"
    good_friday = ("2023-04-06", "2023-04-10")
    frames = mine.get_ohlcv_batch(None, "1h", *good_friday, universe="mine", as_of=good_friday[0])
    assert isinstance(frames, MemberFrames)
    assert frames.without_bars == {}


@pytest.mark.parametrize(
    ("timeframe", "days"),
    [
        ("1h", (date(2023, 3, 13), date(2023, 3, 17), 5)),
        ("1d", (date(2023, 3, 13), date(2023, 3, 17), 5)),
        ("1w", (date(2023, 3, 13), date(2023, 3, 17), 5)),
        ("1M", (date(2023, 3, 1), date(2023, 4, 28), 42)),
    ],
)
def test_sessions_are_counted_in_every_timeframe(
    mine: DataManager, timeframe: str, days: tuple[date, date, int]
) -> None:
    bounds = ("2023-02-01", "2023-04-30") if timeframe == "1M" else RANGE
    frames = mine.get_ohlcv_batch(None, timeframe, *bounds, universe="mine", as_of="2023-03-06")
    assert isinstance(frames, MemberFrames)
    assert "AAPL" not in frames.without_bars
    (gone,) = frames.without_bars["GONE"]
    assert gone[:3] == days


def test_the_running_session_is_not_counted_as_without_bars(mine: DataManager) -> None:
    mine.universes = DatedUniverse({"AAPL": LISTED["AAPL"], "BTCUSDT": LISTED["AAPL"]})
    for timeframe in ("1d", "1h"):
        frames = mine.get_ohlcv_batch(None, timeframe, "-3d", universe="mine", as_of="today")
        assert isinstance(frames, MemberFrames)
        assert frames.without_bars == {}


def test_a_session_too_short_for_a_bar_is_not_counted_as_without_bars(mine: DataManager) -> None:
    mine.universes = DatedUniverse({"AAPL": LISTED["AAPL"]})
    bounds = ("2024-06-10T19:45", "2024-06-11T20:00")
    frames = mine.get_ohlcv_batch(None, "1h", *bounds, universe="mine", as_of="today")
    assert isinstance(frames, MemberFrames)
    assert len(frames["AAPL"]) == 7 and frames.without_bars == {}


def test_bars_that_begin_before_a_session_belong_to_that_session(
    tmp_path: Path, clock: ManualClock
) -> None:
    rules = (
        f"providers: {{local: {{folder: '{tmp_path}', adjustment: raw, unit: USD, anchor: clock}}}}"
    )
    (tmp_path / "rules.yaml").write_text(rules)
    rows = [f"2024-06-{day}T04:00,10,11,9,10.5,1000\n" for day in ("03", "04", "06")]
    lines = "timestamp,open,high,low,close,volume\n" + "".join(rows)
    (tmp_path / "AAPL_12h.csv").write_text(lines)
    manager = DataManager(tmp_path / "cache", tmp_path / "rules.yaml", clock=clock)
    manager.universes = DatedUniverse({"AAPL": LISTED["AAPL"]})
    frames = manager.get_ohlcv_batch(
        None, "12h", "2024-06-03", "2024-06-06", universe="mine", as_of="today",
        provider="local", adjustment="raw",
    )  # fmt: skip
    assert isinstance(frames, MemberFrames)
    assert [run[:3] for run in frames.without_bars["AAPL"]] == [
        (date(2024, 6, 5), date(2024, 6, 5), 1)
    ]


def test_invalid_universe_arguments_of_a_batch_raise_with_the_reason(
    mine: DataManager, vendors: VendorServer
) -> None:
    with pytest.raises(QueryError, match="names both symbols and a universe"):
        mine.get_ohlcv_batch(["AAPL"], "1d", universe="mine")
    with pytest.raises(QueryError, match="names neither symbols nor a universe"):
        mine.get_ohlcv_batch(timeframe="1d")
    with pytest.raises(QueryError, match="as_of requires a universe, but none is given:"):
        mine.get_ohlcv_batch(["AAPL"], "1d", as_of="2023-03-06")
    with pytest.raises(QueryError, match=r"name of a universe must be a string, not \['mine'\]"):
        mine.get_ohlcv_batch(None, "1d", universe=["mine"])
    with pytest.raises(BadRangeError, match="universe mine: as_of 'soon' is not a time"):
        mine.get_ohlcv_batch(None, "1d", universe="mine", as_of="soon")
    with pytest.raises(UniverseError, match="the universe does not exist: 'other'"):
        mine.get_ohlcv_batch(None, "1d", universe="other")
    empty = ("mine on 2010-01-03: 0 members", "2010-01-03")
    mine.universes = DatedUniverse(LISTED, known_from="2000-01-03")
    with pytest.raises(UniverseError, match=empty[0]) as refused:
        mine.get_ohlcv_batch(None, "1d", universe="mine", as_of=empty[1])
    assert "onetape db universe show" in str(refused.value)
    with pytest.raises(BadTimeframeError):
        mine.get_ohlcv_batch(universe="mine", as_of="today")
    assert vendors.count() == 0


def test_a_batch_without_a_universe_reads_no_universe(manager: DataManager) -> None:
    class Refusing:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(f"{name} of universes was read")

    manager.universes = Refusing()
    assert len(manager.get_ohlcv_batch(["AAPL"], "1d", *RANGE)["AAPL"]) == 10
    assert len(manager.get_ohlcv("AAPL", "1d", *RANGE)) == 10
