"""Splices between two vendors: prices are compared, and volume of another kind is left out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Basis
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.core.model.time.span import Span
from src.data.core.vendors.yahoo.bars import YahooDataDownloader
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataError,
    IncompleteDataWarning,
    UnavailableError,
)
from tests.core.cache.counts import FULL
from tests.vendor_server import VendorServer, dividend, split

from .oracle import assert_true, ms
from .scripted_vendor import ScriptedVendor, gaps, provenance, route_to

HOUR = 3_600_000
DAY = ("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
TWO_DAYS = ("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
NIGHT = (5, 8)
YEAR_FILE = Path("cache", "ohlcv", "BTCUSDT", "1h", "2024.csv.gz")

pytestmark = pytest.mark.filterwarnings("error::src.data.errors.IncompleteDataWarning")


class Vendor(ScriptedVendor):
    """A vendor of coins that lacks some hours of every day, and may be wrong by a factor."""

    def __init__(self, vendors: VendorServer, name: str) -> None:
        super().__init__(vendors)
        self.name = name
        self.lacks: Collection[int] = ()
        self.factor = 1.0
        self.spoil = self._bars

    def _bars(self, rows: list[Bar]) -> list[Bar]:
        return [scaled(r, self.factor) for r in rows if r.stamp_ms // HOUR % 24 not in self.lacks]


class ShareVendor(Vendor):
    """A vendor of split-adjusted shares; ``misses`` are splits that it does not apply."""

    capabilities = replace(YahooDataDownloader.capabilities, actions=True)

    def __init__(self, vendors: VendorServer, name: str) -> None:
        super().__init__(vendors, name)
        self.misses: Sequence[Action] = ()
        self.times = 1
        self.tells = True
        self.only = Span(0, 2**62)
        self.spoil = lambda rows: [self._told(r) for r in rows if r.stamp_ms in self.only]

    def _told(self, row: Bar) -> Bar:
        ratio = np.prod([float(a.ratio) for a in self.misses if row.stamp_ms < day_of(a)])
        return scaled(row, self.factor * float(ratio) ** self.times, float(ratio) ** -self.times)

    def _expected(self, query: FetchQuery, now: int) -> list[Any]:
        truth = self.vendors.truth
        return truth.expected(
            query.instrument.symbol, query.timeframe.label, *query.span, "split", now
        )

    def fetch(self, query: FetchQuery) -> Fetched:
        """Answer in the vendor's own adjustment, with the actions of the span."""
        now, spoil = self.vendors.clock.now_ms(), self.spoil
        rows = [Bar(*row) for row in self._expected(query, now)]
        self.spoil = lambda _: spoil(rows)
        try:
            fetched = super().fetch(query)
        finally:
            self.spoil = spoil
        actions = [
            a for a in self.vendors.truth.actions(query.instrument.symbol, now)
            if day_of(a) in query.span and self.tells
        ]  # fmt: skip
        return replace(fetched, basis=Basis("split"), actions=actions)


def day_of(action: Action) -> int:
    return ms(action.ex_date.isoformat())


def scaled(row: Bar, factor: float, shares: float = 1.0) -> Bar:
    """Return a row with prices and volume multiplied."""
    prices = [price * factor for price in row[1:5]]
    return Bar(row.stamp_ms, *prices, row.volume * shares)


@pytest.fixture
def trio(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> tuple[Vendor, Vendor, Vendor]:
    """Return three vendors of one kind, queried in this order."""
    one, two, three = (Vendor(vendors, name) for name in ("one", "two", "three"))
    route_to(monkeypatch, manager, one=one, two=two, three=three)
    return one, two, three


def spans(frame: pd.DataFrame) -> list[tuple[str, int]]:
    return [(span["vendor"], span["rows"]) for span in provenance(frame)["spans"]]


def splices(frame: pd.DataFrame) -> list[tuple[str, str, str, str, float, int]]:
    """Return vendor, border, other vendor, verdict, ratio and common bars of each splice."""
    return [
        (span["vendor"], s["at"][:16], s["with"], s["verdict"], s["ratio"], s["common"])
        for span in provenance(frame)["spans"] for s in span.get("splice", ())
    ]  # fmt: skip


def problems(frame: pd.DataFrame) -> list[str]:
    return [
        said for said in provenance(frame)["problems"] if "expected bars are missing" not in said
    ]


# --- equal ---------------------------------------------------------------------------------


def test_a_hole_is_compared_on_both_sides_in_one_request(
    manager: DataManager, vendors: VendorServer, trio: tuple[Vendor, ...]
) -> None:
    one, two, _ = trio
    one.lacks, two.factor = range(*NIGHT), 1.0001
    frame = manager.get_ohlcv(*DAY, strict=True)
    assert spans(frame) == [("one", 5), ("two", 3), ("one", 16)]
    assert splices(frame) == [
        ("two", "2024-06-01T05:00", "one", "equal", 1.0001, 5),
        ("two", "2024-06-01T08:00", "one", "equal", 1.0001, 16),
    ]
    truth = vendors.truth.raw("BTCUSDT", "1h", ms("2024-06-01"), ms("2024-06-02"))
    closes = [row[4] * (1.0001 if 5 <= hour < 8 else 1) for hour, row in enumerate(truth)]
    assert frame["close"].tolist() == closes
    assert [tuple(s) for s in two.asked] == [(ms("2024-06-01"), ms("2024-06-02"))], "at once"
    assert problems(frame) == []
    again = manager.get_ohlcv(*DAY, strict=True)
    assert len(two.asked) == 1
    assert provenance(again)["spans"] == provenance(frame)["spans"], (
        "from the cache as well as fresh"
    )
    part = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01T06:00", "2024-06-01T20:00")
    assert [s[1] for s in splices(part)] == ["2024-06-01T08:00"], (
        "a range that begins inside lists no splice"
    )


def test_bars_of_the_returning_first_vendor_are_compared_at_the_splice(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, trio: tuple[Vendor, ...],
    tmp_path: Path,
) -> None:  # fmt: skip
    one, _, _ = trio
    one.errors = [UnavailableError("down")]
    frame = manager.get_ohlcv(*DAY, strict=True)
    stored = (tmp_path / YEAR_FILE).read_bytes()
    assert (spans(frame), splices(frame)) == ([("two", 24)], [])
    one.asked.clear()
    frame = manager.get_ohlcv(*TWO_DAYS, strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-03")
    assert spans(frame) == [("two", 24), ("one", 24)]
    assert splices(frame) == [("one", "2024-06-02T00:00", "two", "equal", 1.0, 20)]
    assert [tuple(s) for s in one.asked] == [(ms("2024-06-01T04:00"), ms("2024-06-03"))]
    assert (tmp_path / YEAR_FILE).read_bytes().startswith(stored), "stored bars are unchanged"
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-31", "2024-06-02", strict=True)
    assert splices(frame)[0] == ("one", "2024-06-01T00:00", "two", "equal", 1.0, 20)


def test_no_overlap_is_fetched_if_the_neighbouring_bars_are_of_the_same_vendor(
    manager: DataManager, trio: tuple[Vendor, ...]
) -> None:
    one, _, _ = trio
    manager.get_ohlcv(*DAY)
    manager.get_ohlcv(*TWO_DAYS)
    assert [tuple(s) for s in one.asked] == [
        (ms("2024-06-01"), ms("2024-06-02")), (ms("2024-06-02"), ms("2024-06-03")),
    ]  # fmt: skip
    one.errors = [UnavailableError("down")]
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-03")
    one.asked.clear()
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-04")
    assert spans(frame)[-2:] == [("two", 24), ("one", 24)]
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-05")
    assert tuple(one.asked[-1]) == (ms("2024-06-05"), ms("2024-06-06")), "next to its own bars"


def test_a_pinned_vendor_is_not_compared_with_other_vendors(
    manager: DataManager, trio: tuple[Vendor, ...]
) -> None:
    one, _, three = trio
    one.lacks = range(*NIGHT)
    manager.get_ohlcv(*DAY)
    three.factor = 3.0
    frame = manager.get_ohlcv(*TWO_DAYS, provider="three", strict=True)
    assert splices(frame) == []
    assert spans(frame) == [("three", 48)]


def test_the_overlap_for_a_comparison_stays_within_the_depth_of_the_vendor(
    manager: DataManager, clock: ManualClock, trio: tuple[Vendor, ...]
) -> None:
    one, two, _ = trio
    one.lacks, two.capabilities = range(22, 24), replace(two.capabilities, depth_days={"1h": 12})
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-31", "2024-05-31", strict=True)
    assert [s.start for s in two.asked] == [clock.now_ms() - 12 * 24 * HOUR]
    assert splices(frame) == [("two", "2024-05-31T22:00", "one", "equal", 1.0, 6)]


# --- unchecked -----------------------------------------------------------------------------


def test_a_splice_with_fewer_than_five_common_bars_is_reported_as_unchecked(
    manager: DataManager, trio: tuple[Vendor, ...]
) -> None:
    one, two, _ = trio
    one.lacks, two.lacks = range(*NIGHT), [*range(3), *range(8, 24)]
    for _ in range(2):
        frame = manager.get_ohlcv(*DAY, strict=True)
        assert splices(frame) == [
            ("two", "2024-06-01T05:00", "one", "unchecked", 1.0, 2),
            ("two", "2024-06-01T08:00", "one", "unchecked", 1.0, 0),
        ]
        assert problems(frame) == [
            "prices of two and one meet at 2024-06-01T05:00:00Z and could not be compared: only 2 "
            "common bars, median ratio 1",
            "prices of two and one meet at 2024-06-01T08:00:00Z and could not be compared: no "
            "common bar",
        ]


def test_bars_of_a_custom_downloader_are_compared_where_they_overlap(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def own(factor: float) -> Mock:
        def answer(symbol: str, timeframe: str, start: Any, end: Any) -> pd.DataFrame:
            first, last = (int(pd.Timestamp(t).value // 1_000_000) for t in (start, end))
            rows = vendors.truth.raw(symbol, timeframe, first, last + 1)
            names = ["timestamp", "open", "high", "low", "close", "volume"]
            frame = pd.DataFrame([(r[0], *(p * factor for p in r[1:5]), r[5]) for r in rows])
            frame.columns = names
            return frame.assign(timestamp=pd.to_datetime(frame["timestamp"], unit="ms"))

        return Mock(**{"get_ohlcv.side_effect": answer}, spec=["get_ohlcv"])

    one = Vendor(vendors, "one")
    one.lacks = range(*NIGHT)
    bad, good = own(1.03), own(1.0)
    route_to(monkeypatch, manager, one=one, bad=bad, good=good)
    frame = manager.get_ohlcv(*DAY, strict=True)
    assert spans(frame) == [("one", 5), ("good", 3), ("one", 16)]
    assert {s[3] for s in splices(frame)} == {"equal"}
    assert bad.get_ohlcv.call_count == good.get_ohlcv.call_count == 1


# --- conflict ------------------------------------------------------------------------------


def test_prices_that_do_not_match_at_a_splice_are_refused_and_come_from_the_next_vendor(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, trio: tuple[Vendor, ...]
) -> None:
    one, two, _ = trio
    one.lacks, two.factor = range(*NIGHT), 1.03
    frame = manager.get_ohlcv(*TWO_DAYS, strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-03")
    assert [v for v, _ in spans(frame)] == ["one", "three", "one", "three", "one"]
    refused = [a for a in provenance(frame)["attempts"] if a["provider"] == "two"]
    assert [a["outcome"] for a in refused] == ["SpliceConflictError"] * 2, "it is not out"
    assert (
        "prices from two for BTCUSDT 1h do not match those from one before" in refused[0]["message"]
    )
    assert "median ratio 1.03" in refused[0]["message"]


@pytest.mark.parametrize("factor", [1.001, 1.003, 0.9, 2.0, 0.25])
def test_prices_of_every_vendor_that_do_not_match_leave_a_gap_with_the_reason(
    manager: DataManager, trio: tuple[Vendor, ...], factor: float
) -> None:
    one, two, three = trio
    one.lacks, two.factor, three.factor = range(*NIGHT), factor, factor
    with pytest.warns(IncompleteDataWarning, match="do not match"):
        frame = manager.get_ohlcv(*DAY)
    assert spans(frame) == [("one", 5), ("one", 16)]
    ((start, end, reason),) = gaps(frame)
    assert (start[-8:], end[-8:]) == ("05:00:00", "08:00:00")
    assert "prices from two" in reason
    assert "prices from three" in reason
    with pytest.raises(IncompleteDataError, match="do not match"):
        manager.get_ohlcv(*DAY, strict=True)
    assert len(two.asked) == 1, "the answer of the first vendor is used for a while"


@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_the_error_for_pence_next_to_pounds_names_the_units(
    manager: DataManager, trio: tuple[Vendor, ...], factor: float
) -> None:
    one, two, three = trio
    one.lacks, two.factor, three.factor = range(*NIGHT), factor, factor
    with pytest.warns(IncompleteDataWarning, match="looks like pence for pounds"):
        assert len(manager.get_ohlcv(*DAY)) == 21


def test_a_bad_answer_counts_against_a_vendor_and_a_splice_conflict_does_not(
    manager: DataManager, trio: tuple[Vendor, ...]
) -> None:
    one, two, three = trio
    blamed: list[tuple[str, str]] = []
    for vendor in (two, three):
        name = vendor.name
        vendor.blame = lambda asked, error, name=name: blamed.append(  # type: ignore[method-assign,misc]
            (name, type(error).__name__)
        )
    one.lacks, two.factor = range(*NIGHT), 1.03
    three.spoil = lambda rows: [r._replace(stamp_ms=r.stamp_ms - 10**12) for r in rows]
    with pytest.warns(IncompleteDataWarning):
        manager.get_ohlcv(*DAY)
    one.errors = [UnavailableError("down")]
    two.errors = [UnavailableError("down")]
    with pytest.raises(AllProvidersFailedError):
        manager.get_ohlcv("ETHUSDT", "1h", "2024-06-01", "2024-06-01")
    assert set(blamed) == {("three", "QualityError")}


# --- adjustments ---------------------------------------------------------------------------

SHARE = ("AAPL", "1d", "2024-04-01", "2024-06-11")
HOLE = Span(ms("2024-04-22"), ms("2024-05-03"))


@pytest.fixture
def shares(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch,
    clock: ManualClock,
) -> tuple[ShareVendor, ShareVendor, ShareVendor]:  # fmt: skip
    """Return three vendors of a share that was split on 2024-05-20; the first lacks two weeks."""
    clock.set(ms("2024-06-12T22:00:00"))
    vendors.truth.act("AAPL", split("2024-05-20", 4))
    one, two, three = (ShareVendor(vendors, name) for name in ("one", "two", "three"))
    one.spoil = lambda rows: [r for r in rows if r.stamp_ms not in HOLE]
    route_to(monkeypatch, manager, one=one, two=two, three=three)
    return one, two, three


def assert_share(frame: pd.DataFrame, vendors: VendorServer, clock: ManualClock) -> None:
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-04-01", "2024-06-12", "split")


@pytest.mark.parametrize("times, said", [(1, "left out"), (-1, "applied twice")])
def test_a_split_that_the_second_vendor_missed_is_corrected_exactly(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    shares: tuple[ShareVendor, ...], times: int, said: str, make: Callable[[], DataManager],
) -> None:  # fmt: skip
    _, two, _ = shares
    two.misses, two.times = vendors.truth.actions("AAPL"), times
    frame = manager.get_ohlcv(*SHARE, strict=True)
    assert_share(frame, vendors, clock)
    (entry,) = [s for s in provenance(frame)["spans"] if s["vendor"] == "two"]
    assert [s["verdict"] for s in entry["splice"]] == ["constant", "constant"]
    assert entry["splice"][0]["ratio"] == 4.0**times
    assert entry["splice"][0]["because"] == f"the split of 4:1 on 2024-05-20 had been {said}"
    assert sum("were not as it sent them" in p for p in problems(frame)) == 2
    assert provenance(make().get_ohlcv(*SHARE))["spans"] == provenance(frame)["spans"]


def test_a_split_is_not_corrected_with_common_bars_on_one_side_only(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    shares: tuple[ShareVendor, ...],
) -> None:  # fmt: skip
    one, two, _ = shares
    two.misses = vendors.truth.actions("AAPL")
    one.only = Span(ms("2024-05-01"), 2**62)
    one.spoil = lambda rows: [r for r in rows if r.stamp_ms in one.only]
    frame = manager.get_ohlcv(*SHARE, strict=True)
    assert_share(frame, vendors, clock)
    assert {v for v, _ in spans(frame)} == {"one", "three"}


def test_a_split_within_a_spliced_span_is_not_corrected(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    shares: tuple[ShareVendor, ...],
) -> None:  # fmt: skip
    one, two, _ = shares
    hole = Span(ms("2024-05-13"), ms("2024-05-28"))
    one.spoil = lambda rows: [r for r in rows if r.stamp_ms not in hole]
    two.misses = vendors.truth.actions("AAPL")
    frame = manager.get_ohlcv(*SHARE, strict=True)
    assert_share(frame, vendors, clock)
    assert {v for v, _ in spans(frame)} == {"one", "three"}


@pytest.mark.parametrize("lacks_until", ["2024-04-13", "2024-04-22", "2024-05-20"])
def test_right_bars_next_to_bars_with_a_partly_applied_split_are_not_corrected(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    shares: tuple[ShareVendor, ...], lacks_until: str,
) -> None:  # fmt: skip
    one, _, _ = shares
    raw_until = ms(lacks_until)
    one.spoil = lambda rows: [
        scaled(r, 4.0, 0.25) if r.stamp_ms < raw_until else r
        for r in rows if r.stamp_ms not in HOLE
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        frame = manager.get_ohlcv(*SHARE)
    true = {r[0]: r[4] for r in vendors.truth.expected("AAPL", "1d", HOLE.start, HOLE.end, "split")}
    came = {at.value // 1_000_000: close for at, close in frame["close"].items()}
    assert {stamp: came.get(stamp, close) for stamp, close in true.items()} == true
    assert not any("were not as it sent them" in problem for problem in problems(frame))


def test_prices_are_not_rescaled_before_new_bars_for_an_unreported_split(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    shares: tuple[ShareVendor, ...],
) -> None:  # fmt: skip
    one, _, _ = shares
    one.spoil = lambda rows: rows
    # Nobody tells the split; the first vendor was asked before it, and goes down.
    for vendor in shares:
        vendor.tells = False
    early = ms("2024-05-20")
    clock.set(ms("2024-05-18T12:00:00"))
    manager.get_ohlcv("AAPL", "1d", "2024-04-01", "2024-05-17", strict=True)
    clock.set(ms("2024-05-22T22:00:00"))
    one.errors = [UnavailableError("down")] * 2
    with pytest.warns(IncompleteDataWarning, match="median ratio 0.25"):
        frame = manager.get_ohlcv("AAPL", "1d", "2024-04-01", "2024-05-22")
    assert all(stamp.value // 1_000_000 < early for stamp in frame.index), (
        "no bars rather than wrong ones"
    )


def test_a_splice_is_not_corrected_if_splits_of_that_time_were_not_requested(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    shares: tuple[ShareVendor, ...],
) -> None:  # fmt: skip
    one, _, _ = shares
    for vendor in shares:
        vendor.capabilities = replace(vendor.capabilities, actions=False)
    clock.set(ms("2024-05-18T12:00:00"))
    manager.get_ohlcv("AAPL", "1d", "2024-05-06", "2024-05-17", strict=True)
    clock.set(ms("2024-06-12T22:00:00"))
    one.errors = [UnavailableError("down")]
    with pytest.warns(IncompleteDataWarning, match=r"median ratio 0.25.*common bars \(name"):
        frame = manager.get_ohlcv("AAPL", "1d", "2024-04-01", "2024-05-17")
    # What the first vendor told before the split is had anew, in the prices of today.
    assert_true(frame, vendors, clock, "AAPL", "1d", "2024-05-06", "2024-05-18", "split")
    assert {v for v, _ in spans(frame)} == {"two"}


def test_a_pinned_vendor_does_not_get_its_bars_as_corrected_for_a_splice(
    manager: DataManager, vendors: VendorServer, shares: tuple[ShareVendor, ...]
) -> None:
    _, two, _ = shares
    two.misses = vendors.truth.actions("AAPL")
    manager.get_ohlcv(*SHARE, strict=True)
    within = ("AAPL", "1d", "2024-04-22", "2024-05-02")
    frame = manager.get_ohlcv(*within, provider="two")
    truth = vendors.truth.expected("AAPL", "1d", HOLE.start, HOLE.end, "split")
    assert frame["close"].tolist() == [row[4] * 4 for row in truth]


def test_a_share_that_is_three_percent_off_is_refused_and_a_third_vendor_answers(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    shares: tuple[ShareVendor, ...],
) -> None:  # fmt: skip
    _, two, _ = shares
    two.factor = 1.03
    frame = manager.get_ohlcv(*SHARE, strict=True)
    assert_share(frame, vendors, clock)
    assert {v for v, _ in spans(frame)} == {"one", "three"}


def test_a_dividend_applied_twice_by_the_second_vendor_is_corrected(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    shares: tuple[ShareVendor, ...],
) -> None:  # fmt: skip
    _, two, _ = shares
    vendors.truth.act("AAPL", dividend("2024-05-28", 3.0))
    before = vendors.truth.expected("AAPL", "1d", ms("2024-05-24"), ms("2024-05-25"), "split")
    two.factor = 1 - 3.0 / before[0][4]
    frame = manager.get_ohlcv(*SHARE, strict=True)
    truth = vendors.truth.expected("AAPL", "1d", ms("2024-04-01"), ms("2024-06-12"), "split")
    np.testing.assert_allclose(frame["close"], [r[4] for r in truth], rtol=1e-12)
    np.testing.assert_array_equal(frame["volume"], [r[5] for r in truth])
    assert "dividend of 3.0 on 2024-05-28 had been applied twice" in problems(frame)[0]


# --- volume --------------------------------------------------------------------------------


@pytest.mark.parametrize("differs, said", [
    ({"feed": "iex"}, "left out: iex, not sip"),
    ({"volume": "quote"}, "left out: quote, not base"),
])  # fmt: skip
def test_volume_of_another_feed_or_unit_is_nan_in_the_answer_and_stays_stored(
    manager: DataManager, vendors: VendorServer, trio: tuple[Vendor, ...], tmp_path: Path,
    differs: dict[str, str], said: str,
) -> None:  # fmt: skip
    one, two, _ = trio
    declare(one, feed="sip")
    declare(two, **({"feed": "sip"} | differs))
    one.lacks = range(*NIGHT)
    truth = vendors.truth.raw("BTCUSDT", "1h", ms("2024-06-01"), ms("2024-06-02"))
    for _ in range(2):
        frame = manager.get_ohlcv(*DAY, strict=True)
        assert frame["close"].tolist() == [row[4] for row in truth]
        volume = [np.nan if 5 <= hour < 8 else row[5] for hour, row in enumerate(truth)]
        np.testing.assert_array_equal(frame["volume"], volume)
        assert [s.get("volume") for s in provenance(frame)["spans"]] == [None, said, None]
        assert provenance(frame)["quality"]["nan_volume"] == 3
    stored = pd.read_csv(tmp_path / YEAR_FILE)
    assert stored["volume"].tolist() == [row[5] for row in truth]


def test_volume_is_from_the_feed_of_the_first_vendor_after_its_first_bars(
    manager: DataManager, trio: tuple[Vendor, ...]
) -> None:
    one, two, _ = trio
    declare(one, feed="sip")
    declare(two, feed="iex")
    one.errors = [UnavailableError("down")]
    frame = manager.get_ohlcv(*DAY, strict=True)
    assert provenance(frame)["kind"]["feed"] == "iex"
    assert not frame["volume"].isna().any()
    frame = manager.get_ohlcv(*TWO_DAYS, strict=True)
    assert provenance(frame)["kind"]["feed"] == "sip"
    assert frame["volume"].isna().tolist() == [True] * 24 + [False] * 24
    one.errors = [UnavailableError("down")]
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-03", strict=True)
    assert provenance(frame)["kind"]["feed"] == "sip", "the second does not take it back"
    assert frame["volume"].isna().tolist() == [True] * 24 + [False] * 24 + [True] * 24


def test_volume_of_a_vendor_that_declares_no_unit_is_kept(
    manager: DataManager, trio: tuple[Vendor, ...]
) -> None:
    one, two, _ = trio
    declare(one, feed="sip")
    declare(two, volume="")
    one.lacks = range(*NIGHT)
    assert not manager.get_ohlcv(*DAY, strict=True)["volume"].isna().any()


def declare(vendor: Vendor, **fields: str) -> None:
    """Let a vendor declare another kind of bars."""
    caps = vendor.capabilities
    kinds = {name: replace(kind, **fields) for name, kind in caps.kinds.items()}
    vendor.capabilities = replace(caps, kinds=kinds)


# --- what is stored ------------------------------------------------------------------------


def test_older_metadata_without_splices_are_read(
    manager: DataManager, make: Callable[[], DataManager], trio: tuple[Vendor, ...], tmp_path: Path
) -> None:
    one, _, _ = trio
    one.lacks = range(*NIGHT)
    manager.get_ohlcv(*DAY)
    path = tmp_path / "cache" / "ohlcv" / "BTCUSDT" / "1h" / "2024.metadata.json"
    parts = json.loads(path.read_text())["onetape"]["coverage"]
    (second,) = [part for part in parts if part["vendor"] == "two"]
    assert [s["verdict"] for s in second["splices"]] == ["equal", "equal"]
    assert all("splices" not in part for part in parts if part["vendor"] == "one")


@settings(max_examples=25 if FULL else 4, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.data())
def test_bars_of_two_vendors_are_true_in_any_order_of_outages_and_holes(
    vendors: VendorServer, clock: ManualClock, tmp_path_factory: pytest.TempPathFactory,
    rules: Path, data: st.DataObject,
) -> None:  # fmt: skip
    manager = DataManager(tmp_path_factory.mktemp("cache"), rules, clock=clock)
    one, two = Vendor(vendors, "one"), Vendor(vendors, "two")
    hours = st.integers(0, 71)
    outages = st.lists(st.sampled_from([None, UnavailableError("down")]), max_size=2)
    with pytest.MonkeyPatch.context() as patch:
        route_to(patch, manager, one=one, two=two)
        for _ in range(data.draw(st.integers(1, 4))):
            first, last = sorted(data.draw(st.tuples(hours, hours)))
            one.lacks = data.draw(st.sets(st.integers(0, 23), max_size=8))
            one.errors = data.draw(outages)
            bounds = (pd.Timestamp("2024-06-01") + pd.Timedelta(hours=h) for h in (first, last + 1))
            manager.get_ohlcv("BTCUSDT", "1h", *bounds, strict=True)
        one.lacks, one.errors = (), []
        frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-04", strict=True)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-01", "2024-06-05")
    assert {s[3] for s in splices(frame)} <= {"equal", "unchecked"}
    for before, after in zip(
        provenance(frame)["spans"], provenance(frame)["spans"][1:], strict=False
    ):
        if before["vendor"] != after["vendor"] and "merged" not in before:
            assert "splice" in before or "splice" in after
