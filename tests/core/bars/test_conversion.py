"""Tests the conversion of bars of one kind to another: exact, or refused."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.bars.selection.candidates import Candidate
from src.data.core.bars.selection.conversion import conversion_for
from src.data.core.bars.selection.offers import AnsweringLane
from src.data.core.bars.selection.route import find_route
from src.data.core.cache.store import Commit, CommitPiece
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import BarTable
from src.data.core.model.request.capabilities import Capabilities, FetchQuery
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataError,
    IncompleteDataWarning,
    NoDataError,
    NoProviderError,
    UnavailableError,
)
from tests.core.cache.counts import examples

from .tape import (
    LONDON,
    NEW_YORK,
    RoutedVendors,
    Tape,
    TapeVendor,
    lacking,
    plain,
    provenance,
    rows,
)

OPEN = Kind("regular", "session", "consolidated", volume="shares")
CLOCK = replace(OPEN, anchor="clock")
LONG = replace(CLOCK, session="extended")
NOW = "2024-07-10T15:10:30"  # a Wednesday, New York trades
# With Independence Day and the half day before it.
DAYS = ("2024-06-24", "2024-07-19")
RANGE = ("2024-07-01", "2024-07-06")


@pytest.fixture(scope="module")
def tape() -> Tape:
    """Return the trades of a New York share, extended hours included, 2024-06-24 to 07-19."""
    return Tape(NEW_YORK, *DAYS, extended=True)


class Pair(RoutedVendors):
    """A vendor of hours from the open, and another one beside it."""

    def __init__(self, folder: Path, tape: Tape, kind: Kind, labels: str, **declared: Any) -> None:
        self.first = TapeVendor("yahoo", tape, NEW_YORK, OPEN, "5m 15m 30m 1h 1d", actions=True)
        self.other = TapeVendor("other", tape, NEW_YORK, kind, labels, **declared)
        super().__init__(folder, NEW_YORK, NOW, self.first, self.other)
        self.tape = tape

    def down(self, *labels: str) -> None:
        """Let the first vendor fail."""
        self.first.errors = dict.fromkeys(labels, UnavailableError("down"))

    def closed(self, label: str, bounds: tuple[str, str] = RANGE, anchor: str = "session") -> Any:
        """Return the rows that an answer has to have."""
        return plain(self.tape.closed(label, self.clock.now_ms(), anchor), *bounds)


def ways(frame: pd.DataFrame) -> list[str]:
    """Return the messages of the successful attempts, without that of a second vendor's actions."""
    messages = [a["message"] for a in provenance(frame)["attempts"] if a["outcome"] == "ok"]
    return [message for message in messages if message != "splits and dividends"]


# --- hours from the clock ----------------------------------------------------------------------


def test_hours_from_the_open_are_rebuilt_from_half_hours_of_a_vendor_with_clock_hours(
    tmp_path: Path, tape: Tape
) -> None:
    routed = Pair(tmp_path, tape, CLOCK, "15m 30m 1h 1d")
    routed.down("1h")
    frame = routed.ask("1h", *RANGE, strict=True)
    assert rows(frame) == routed.closed("1h")
    assert routed.other.labels() == ["30m"]
    assert ways(frame) == ["converted: 1h rebuilt from 30m"]
    assert (provenance(frame)["kind"]["anchor"], provenance(frame)["substitute"]) == (
        "session",
        None,
    )
    assert (list(provenance(frame)["vendors"]), provenance(frame)["lane"]) == (["other"], "1h")
    assert routed.lanes() == ["1h"]
    routed.other.asked.clear()
    pd.testing.assert_frame_equal(routed.ask("1h", *RANGE, strict=True), frame)
    assert routed.other.asked == []


def test_only_bars_missing_at_the_first_vendor_are_rebuilt(tmp_path: Path, tape: Tape) -> None:
    routed = Pair(tmp_path, tape, CLOCK, "30m 1h")
    lost = Span(parse_iso("2024-07-02T14:30"), parse_iso("2024-07-02T17:30"))
    routed.first.spoil["1h"] = lambda bars: [bar for bar in bars if bar.stamp_ms not in lost]
    frame = routed.ask("1h", *RANGE, strict=True)
    assert rows(frame) == routed.closed("1h")
    spans = [(span["vendor"], span["rows"]) for span in provenance(frame)["spans"]]
    assert [vendor for vendor, _ in spans] == ["yahoo", "other", "yahoo"]
    assert ways(frame) == ["", "converted: 1h rebuilt from 30m"]


def test_bars_are_rebuilt_on_the_anchor_of_the_stored_ones(tmp_path: Path, tape: Tape) -> None:
    routed = Pair(tmp_path, tape, CLOCK, "30m 1h")
    routed.rules = {"1h": ["other", "yahoo"]}
    routed.ask("1h", "2024-07-01", "2024-07-02")
    routed.other.errors["1h"] = UnavailableError("down")
    frame = routed.ask("1h", *RANGE, strict=True)
    assert rows(frame) == routed.closed("1h", anchor="clock")
    assert routed.first.labels() == ["30m"]


def test_stored_clock_hours_are_due_by_their_own_anchor_if_no_vendor_serves_them(
    tmp_path: Path, tape: Tape
) -> None:
    """At 11:10 in New York the hour from 10:00 has closed, that from 10:30 has not."""
    vendor = TapeVendor("other", tape, NEW_YORK, CLOCK, "1h")
    routed = RoutedVendors(tmp_path, NEW_YORK, NOW, vendor)
    routed.ask("1h", "2024-07-09", "2024-07-10")
    routed.rules = {"1h": []}
    with pytest.warns(IncompleteDataWarning):
        frame = routed.ask("1h", "2024-07-09", "2024-07-11")
    assert len(frame) == 7
    assert [gap["end"] for gap in provenance(frame)["gaps"]] == ["2024-07-10T15:00:00Z"]


@pytest.mark.parametrize("kind", [CLOCK, replace(CLOCK, venue="")])
def test_bars_of_another_kind_are_a_marked_substitute_if_no_short_bars_exist(
    tmp_path: Path, tape: Tape, kind: Kind
) -> None:
    routed = Pair(tmp_path, tape, kind, "1h 1d")
    routed.down("1h")
    with pytest.warns(IncompleteDataWarning, match="substitute"):
        frame = routed.ask("1h", *RANGE)
    assert rows(frame) == routed.closed("1h", anchor="clock")
    assert (routed.lanes(), routed.other.labels()) == (["1h@clock"], ["1h"])
    with pytest.raises(IncompleteDataError, match="substitute"):
        routed.ask("1h", *RANGE, strict=True)


def test_long_bars_are_the_substitute_if_short_bars_do_not_reach_back(
    tmp_path: Path, tape: Tape
) -> None:
    routed = Pair(tmp_path, tape, CLOCK, "30m 1h", depth_days={"30m": 2})
    routed.down("1h")
    with pytest.warns(IncompleteDataWarning, match="substitute"):
        frame = routed.ask("1h", *RANGE)
    assert rows(frame) == routed.closed("1h", anchor="clock")
    assert routed.other.labels() == ["1h"]
    near = ("2024-07-09", "2024-07-10")
    frame = routed.ask("1h", *near, strict=True)
    assert rows(frame) == routed.closed("1h", near)


def test_a_substitute_that_fails_for_shorter_bars_is_not_queried_for_whole_bars(
    tmp_path: Path, tape: Tape
) -> None:
    routed = Pair(tmp_path, tape, CLOCK, "30m 1h")
    routed.down("1h")
    routed.other.errors = {"30m": UnavailableError("down too")}
    with pytest.raises(RuntimeError, match="down too"):
        routed.ask("1h", *RANGE)
    assert routed.other.labels() == ["30m"]


def test_conversion_uses_the_longest_timeframe_that_reaches_back_far_enough() -> None:
    caps = Capabilities(
        frozenset({"stock"}), {label: label for label in "1m 15m 30m 1h".split()},
        kinds={"stock": CLOCK}, depth_days={"30m": 20, "15m": 40},
        page_bars=1000, page_days={"30m": 7, "1h": 30},
    )  # fmt: skip
    now = parse_iso(NOW)

    def way(days: int, caps: Capabilities = caps) -> Any:
        span = Span(now - days * DAY_MS, now)
        query = BarsQuery(NEW_YORK, Timeframe.parse("1h"), span, now)
        return conversion_for(query, caps, OPEN)

    assert [str(way(days).source) for days in (20, 21, 40, 41)] == ["30m", "15m", "15m", "1m"]
    shown = way(5).capabilities(caps)
    assert (shown.page_bars, shown.page_days["1h"], shown.depth_days["1h"]) == (500, 7, 20)
    assert "1h" not in way(50).capabilities(caps).depth_days
    assert "1h" not in way(50).capabilities(caps).page_days


# --- regular hours -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label, labels, source, said",
    [
        ("15m", "15m 1h", "15m", "regular hours cut out of 15m"),
        ("1h", "15m 1h", "15m", "1h rebuilt from the regular hours of 15m"),
        ("30m", "15m 30m", "30m", "regular hours cut out of 30m"),
        ("90m", "5m 15m 30m 90m", "30m", "90m rebuilt from the regular hours of 30m"),
    ],
)
def test_regular_hours_are_cut_out_of_extended_ones(
    tmp_path: Path, tape: Tape, label: str, labels: str, source: str, said: str
) -> None:
    routed = Pair(tmp_path, tape, LONG, labels)
    routed.first.capabilities.timeframes["90m"] = "90m"  # type: ignore[index]
    routed.down(label)
    frame = routed.ask(label, *RANGE, strict=True)
    assert rows(frame) == routed.closed(label)
    assert routed.other.labels() == [source]
    assert ways(frame) == [f"converted: {said}"]
    assert provenance(frame)["kind"]["session"] == "regular"


def test_regular_hours_are_never_cut_out_of_whole_extended_hours(
    tmp_path: Path, tape: Tape
) -> None:
    routed = Pair(tmp_path, tape, LONG, "1h")
    routed.down("1h")
    with pytest.raises(AllProvidersFailedError, match="down"):
        routed.ask("1h", *RANGE)
    assert routed.other.labels() == []
    routed.first.errors.clear()
    frame = routed.ask("1h", *RANGE)
    assert provenance(frame)["rejected"]["other"] == (
        "has 1h bars for extended hours only; regular hours can be cut only from bars of at most 30m"
    )
    only = RoutedVendors(
        tmp_path / "only", NEW_YORK, NOW, TapeVendor("other", tape, NEW_YORK, LONG, "1h")
    )
    with pytest.raises(
        NoProviderError, match="1h bars for extended hours only; regular hours can be cut"
    ):
        only.ask("1h", *RANGE)


# --- what is never converted -------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [replace(CLOCK, venue="elsewhere"), replace(CLOCK, unit="GBp"), replace(CLOCK, session="24h")],
)
def test_venues_units_and_other_sessions_are_not_converted(kind: Kind) -> None:
    lanes = _lanes("1h", OPEN, kind)
    assert lanes[0] == ((), ["one"])
    assert len(lanes) == 2


def test_regular_hours_do_not_become_extended_ones() -> None:
    lanes = _lanes("15m", OPEN, LONG, stored=LONG)
    assert lanes == [(("regular", "session"), ["one", "two"])]


def test_a_vendor_of_extended_hours_joins_a_regular_lane_if_its_bars_can_be_cut_out() -> None:
    both = ((), ["one", "two"])
    assert _lanes("15m", LONG, OPEN) == [both]
    assert _lanes("15m", LONG, LONG) == [both]
    # Hours cannot be cut out of whole ones: such a vendor is left out.
    assert _lanes("1h", LONG, OPEN, labels="1h") == [((), ["two"])]


def test_days_are_not_built_from_minutes_of_another_session() -> None:
    lanes = _lanes("1d", OPEN, replace(OPEN, session="extended"))
    assert lanes == [((), ["one"]), (("extended",), ["two"])]


def test_a_vendor_whose_bars_can_be_converted_is_in_two_lanes() -> None:
    assert _lanes("1h", OPEN, CLOCK) == [((), ["one", "two"]), (("clock",), ["two"])]
    assert _lanes("1h", OPEN, OPEN) == [((), ["one", "two"])]


def test_the_lane_of_a_pinned_vendor_contains_no_converted_bars(tmp_path: Path, tape: Tape) -> None:
    routed = Pair(tmp_path, tape, CLOCK, "30m 1h")
    routed.down("1h")
    routed.ask("1h", *RANGE, strict=True)
    frame = routed.ask("1h", *RANGE, provider="other", strict=True)
    assert rows(frame) == routed.closed("1h", anchor="clock")
    assert routed.lanes() == ["1h", "1h@other"]
    assert routed.other.labels() == ["30m", "1h"]


def _lanes(
    label: str, first: Kind, second: Kind, stored: Kind | None = None,
    labels: str = "15m 30m 1h 1d",
) -> list[Any]:  # fmt: skip
    now = parse_iso(NOW)
    tape = Tape(NEW_YORK, "2024-07-08", "2024-07-08")
    vendors = [TapeVendor(name, tape, NEW_YORK, kind, labels)
               for name, kind in (("one", first), ("two", second))]  # fmt: skip
    candidates = [Candidate(v.name, v, v.capabilities) for v in vendors]
    query = BarsQuery(NEW_YORK, Timeframe.parse(label), Span(now - 9 * DAY_MS, now), now)
    lane = AnsweringLane(query.key, Mock(), None, stored)
    found = find_route(query, candidates, lane).lanes
    return [(lane.lane_name, [c.name for c in lane.candidates]) for lane in found]


# --- what cannot be made whole -----------------------------------------------------------------

GONE = parse_iso("2024-07-02T15:00")  # the second half of the hour from 14:30


@pytest.mark.parametrize("is_sparse", [False, True])
def test_an_hour_with_a_bad_half_is_left_out_and_reported_as_a_gap(
    tmp_path: Path, tape: Tape, is_sparse: bool
) -> None:
    routed = Pair(tmp_path, tape, CLOCK, "30m 1h")
    routed.other.is_sparse = is_sparse
    routed.down("1h")
    routed.other.spoil["30m"] = lambda bars: [
        bar._replace(high=bar.low - 1) if bar.stamp_ms == GONE else bar for bar in bars
    ]
    with pytest.warns(IncompleteDataWarning, match="gap, first"):
        frame = routed.ask("1h", *RANGE)
    assert rows(frame) == [r for r in routed.closed("1h") if r[0] != GONE - 30 * MINUTE_MS]
    assert lacking(frame)[0][:2] == ("2024-07-02T14:30", "2024-07-02T15:30")


def test_an_hour_with_a_missing_half_is_left_out_unless_its_vendor_is_sparse(
    tmp_path: Path, tape: Tape
) -> None:
    routed = Pair(tmp_path, tape, CLOCK, "30m 1h")
    routed.down("1h")
    routed.other.spoil["30m"] = lambda bars: [bar for bar in bars if bar.stamp_ms != GONE]
    with pytest.warns(IncompleteDataWarning, match="gap, first"):
        frame = routed.ask("1h", *RANGE)
    assert rows(frame) == [r for r in routed.closed("1h") if r[0] != GONE - 30 * MINUTE_MS]
    # Where silence means that nothing traded, the other half is the hour.
    routed.other.is_sparse = True
    whole = routed.ask("1h", *RANGE, refresh=True, strict=True)
    assert len(whole) == len(routed.closed("1h"))


def test_an_answer_with_many_missing_halves_yields_only_complete_hours(
    tmp_path: Path, tape: Tape
) -> None:
    routed = Pair(tmp_path, tape, CLOCK, "30m 1h")
    routed.other.is_sparse = True
    routed.down("1h")
    routed.other.spoil["30m"] = lambda bars: [b for i, b in enumerate(bars) if i % 3]
    with pytest.warns(IncompleteDataWarning):
        frame = routed.ask("1h", *RANGE)
    assert 0 < len(frame) < len(routed.closed("1h"))
    assert set(rows(frame)) <= set(routed.closed("1h"))


def test_an_hour_that_lacks_a_half_hour_cannot_be_rebuilt(tape: Tape) -> None:
    vendor = TapeVendor("acme", tape, NEW_YORK, CLOCK, "30m 1h")
    vendor.spoil["30m"] = lambda bars: [bar for bar in bars if bar.stamp_ms != GONE]
    hour, now = Span(GONE - 30 * MINUTE_MS, GONE + 30 * MINUTE_MS), parse_iso(NOW)
    query = FetchQuery(NEW_YORK, Timeframe.parse("1h"), hour, now)
    way = conversion_for(BarsQuery(NEW_YORK, query.timeframe, hour, now), vendor.capabilities, OPEN)
    assert way is not None
    with pytest.raises(NoDataError, match="does not have enough 30m bars to build a single 1h bar"):
        way.fetch(query, vendor.fetch)
    # What is asked for in any other length is none of its business.
    days = replace(query, timeframe=Timeframe.parse("1d"))
    assert way.fetch(days, lambda same: same) is days  # type: ignore[arg-type, return-value, comparison-overlap]


def test_a_bar_that_spans_the_open_is_not_used_for_a_converted_hour(tape: Tape) -> None:
    """Mumbai opens at 9:15: the half hour from 9:00 holds what was traded before."""
    reliance = Instrument("RELIANCE.NS", "stock", "XBOM", "Asia/Kolkata")
    mumbai = Tape(reliance, "2024-07-01", "2024-07-03", extended=True)
    vendor = TapeVendor("acme", mumbai, reliance, LONG, "30m 1h")
    span, now = Span(parse_iso("2024-07-01"), parse_iso("2024-07-04")), parse_iso("2024-07-04")
    query = BarsQuery(reliance, Timeframe.parse("1h"), span, now)
    way = conversion_for(query, vendor.capabilities, CLOCK)
    assert way is not None
    found = way.fetch(FetchQuery(reliance, query.timeframe, span, now), vendor.fetch)
    first = {parse_iso(f"2024-07-0{day}T03:30") for day in (1, 2, 3)}  # 9:00 there
    closed = plain(mumbai.closed("1h", now, "clock"))
    assert _bars(found.table) == [bar for bar in closed if bar[0] not in first]


def test_hours_missing_at_a_sparse_vendor_are_not_holes(tape: Tape) -> None:
    vendor = TapeVendor("acme", tape, NEW_YORK, CLOCK, "30m 1h")
    vendor.is_sparse = True
    now = parse_iso("2024-07-10T15:10")
    span = Span(parse_iso("2024-07-08"), now)
    query = FetchQuery(NEW_YORK, Timeframe.parse("1h"), span, now)
    way = conversion_for(BarsQuery(NEW_YORK, query.timeframe, span, now), vendor.capabilities, OPEN)
    assert way is not None
    assert not way.fetch(query, vendor.fetch).dense  # the running hour is no hole
    late = [parse_iso("2024-07-10T14:30"), parse_iso("2024-07-10T15:00")]
    vendor.spoil["30m"] = lambda bars: [bar for bar in bars if bar.stamp_ms not in late]
    just = parse_iso("2024-07-10T15:00:30")
    soon = replace(query, now_ms=just, span=Span(span.start, just))
    assert not way.fetch(soon, vendor.fetch).dense  # nor is what has not been published yet
    vendor.spoil["30m"] = lambda bars: [
        bar._replace(low=bar.high + 1) if bar.stamp_ms == span.start + 62 * HOUR_MS else bar
        for bar in bars
    ]
    assert way.fetch(query, vendor.fetch).dense


def test_the_forming_hour_is_rebuilt_only_if_all_its_parts_are_known(
    tmp_path: Path, tape: Tape
) -> None:
    routed = Pair(tmp_path, tape, CLOCK, "30m 1h")
    routed.down("1h")
    routed.clock.set(parse_iso("2024-07-10T15:10:30"))
    bounds = ("2024-07-08", "2024-07-11")
    frame = routed.ask("1h", *bounds, include_forming=True, strict=True)
    assert rows(frame) == plain(tape.bars("1h", routed.clock.now_ms()), *bounds)
    assert provenance(frame)["spans"][-1]["reason"] == "forming"
    routed.other.spoil["30m"] = lambda bars: [
        bar for bar in bars if bar.stamp_ms != parse_iso("2024-07-10T14:30")
    ]
    frame = routed.ask("1h", "2024-07-10", "2024-07-11", include_forming=True, refresh=True)
    assert frame.index[-1] == pd.Timestamp("2024-07-10T13:30")


def test_a_rebuilt_volume_is_nan_if_one_part_has_no_volume(tmp_path: Path, tape: Tape) -> None:
    routed = Pair(tmp_path, tape, CLOCK, "30m 1h")
    routed.down("1h")
    routed.other.spoil["30m"] = lambda bars: [
        bar._replace(volume=float("nan")) if bar.stamp_ms == GONE else bar for bar in bars
    ]
    frame = routed.ask("1h", *RANGE)
    assert np.flatnonzero(frame["volume"].isna()).tolist() == [8]
    with pytest.raises(IncompleteDataError, match="missing_volume: 1 of 25 bars"):
        routed.ask("1h", *RANGE, strict=True)


# --- any market, any holes ---------------------------------------------------------------------

EDGES = [  # clock changes, half days and holidays are within a week of these
    date(2024, 3, 6), date(2024, 3, 27), date(2024, 7, 1), date(2024, 10, 24), date(2024, 11, 26),
    date(2024, 12, 20),
]  # fmt: skip


@settings(max_examples=examples(40), derandomize=True, deadline=None)
@given(
    who=st.sampled_from([NEW_YORK, LONDON]),
    first=st.sampled_from(EDGES),
    target=st.sampled_from(["30m", "1h", "2h", "90m"]),
    labels=st.sampled_from(["30m", "15m", "15m 30m"]),
    own=st.sampled_from([CLOCK, LONG, OPEN]),
    wanted=st.sampled_from([OPEN, CLOCK]),
    gone=st.sampled_from([0.0, 0.05]),
    seed=st.integers(0, 10**6),
)
def test_bars_converted_from_any_incomplete_source_equal_those_of_the_trades(
    who: Any, first: date, target: str, labels: str, own: Kind, wanted: Kind, gone: float,
    seed: int,
) -> None:  # fmt: skip
    dice = random.Random(seed)
    last = first + timedelta(days=14)
    tape = Tape(who, first.isoformat(), last.isoformat(), seed, extended=True, every=15 * MINUTE_MS)
    now = day_ms(last) - DAY_MS + dice.randrange(DAY_MS)
    vendor = TapeVendor("acme", tape, who, own, f"{labels} {target}")
    span = Span(day_ms(first) + dice.randrange(2 * DAY_MS), now + 1)
    query = BarsQuery(who, Timeframe.parse(target), span, now)
    way = conversion_for(query, vendor.capabilities, wanted)
    if way is None:
        assert own.agrees(wanted) or (target == "30m" and "15m" not in labels)
        return
    source, anchor = way.source.label, wanted.anchor
    below = [b.stamp_ms for b in tape.bars(source, now, anchor=own.anchor)][:-1]
    lost = {stamp for stamp in below if dice.random() < gone}
    vendor.spoil[source] = lambda bars: [bar for bar in bars if bar.stamp_ms not in lost]
    found = way.fetch(FetchQuery(who, query.timeframe, span, now), vendor.fetch)
    parts = tape.parts(source, target, anchor, own.anchor)
    closed = tape.closed(target, now, anchor)
    whole = [b for b in closed if b.stamp_ms in span and not lost & parts[b.stamp_ms]]
    made = [b for b in _bars(found.table) if b[0] in {bar.stamp_ms for bar in closed}]
    assert made == plain(whole)
    assert (found.kind.anchor, found.kind.session, found.dense) == (anchor, "regular", True)
    running = [b for b in _bars(found.table) if b not in made]
    assert running in ([], plain(tape.bars(target, now, anchor=anchor))[-1:])


# --- bars of another tool beside those of a vendor -------------------------------------------------


def test_bars_of_unknown_adjustment_are_never_joined_unconverted_to_those_of_a_vendor(
    tmp_path: Path, tape: Tape
) -> None:
    """A split after both was applied to neither; the vendor's bars can be converted, the others not."""
    routed = RoutedVendors(tmp_path, NEW_YORK, NOW, TapeVendor("yahoo", tape, NEW_YORK, OPEN, "1d"))
    key = SeriesKey("AAPL", Timeframe.parse("1d"))

    def piece(first: str, end: str, price: float, basis: Basis) -> CommitPiece:
        span = Span(parse_iso(first), parse_iso(end))
        stamps = np.arange(*span, DAY_MS, dtype=np.int64)
        table = BarTable.of_columns(stamps, [np.full(len(stamps), price)] * 5)
        return CommitPiece(table, span, "yahoo", parse_iso("2024-06-29"), OPEN, basis, "final")

    older = piece("2024-06-24", "2024-06-26", 100.0, Basis("unknown"))
    known = piece("2024-06-26", "2024-06-29", 104.0, Basis("split", date(2024, 6, 28)))
    routed.store.commit(key, Commit((older, known), kind=OPEN))
    split = Action(date(2024, 7, 2), "split", parse_iso("2024-07-02T13:30:00"), 4.0)
    ever = Span(parse_iso("2024-06-01"), parse_iso("2024-07-11"))
    routed.store.add_actions("AAPL", [split], ever, "yahoo", routed.clock.now_ms())
    closes = routed.ask("1d", "2024-06-24", "2024-06-26", offline=True)["close"]
    assert closes.tolist() == [100.0, 100.0], "alone, they are what they are"
    closes = routed.ask("1d", "2024-06-26", "2024-06-29", offline=True)["close"]
    assert closes.tolist() == [26.0, 26.0, 26.0]
    with pytest.raises(AllProvidersFailedError, match="unknown whether prices from 2024-06-24"):
        routed.ask("1d", "2024-06-24", "2024-06-29", offline=True)


def _bars(table: Any) -> list[tuple[float, ...]]:
    columns = [table.stamps, *table.values()[:5]]
    return list(zip(*(column.tolist() for column in columns), strict=True))
