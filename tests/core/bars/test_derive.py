"""Tests bars that no vendor serves, and weeks and months of shares, built from shorter bars."""

from __future__ import annotations

import random
import warnings
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.bars.answer.answer import Answer, Gap
from src.data.core.bars.derive.derive import derived, is_whole
from src.data.core.bars.derive.sources import SourceTimeframes
from src.data.core.bars.selection.lanes import LaneFinder
from src.data.core.model.identity.kind import Kind
from src.data.core.model.market.bars import BarTable
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.stored.coverage import Coverage, Covered
from src.data.core.model.stored.reasons import DOUBTFUL
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, WEEK_MS, day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataError,
    IncompleteDataWarning,
    KindMismatchError,
    NoProviderError,
    UnavailableError,
    UnknownProviderError,
)
from tests.core.cache.counts import examples

from .tape import (
    COIN,
    LONDON,
    NEW_YORK,
    RoutedVendors,
    Tape,
    TapeVendor,
    lacking,
    plain,
    provenance,
    rows,
    utc,
)

SHARE = Kind("regular", "session", "consolidated", volume="shares")
PAIR = Kind("24h", "clock", "acme", volume="base")
DAYS = ("2024-01-02", "2024-07-31")
NOW = "2024-06-12T15:00:30"  # a Wednesday, New York trades


def yahoo(tape: Tape, labels: str = "5m 15m 30m 1h 1d 1w 1M", **declared: Any) -> TapeVendor:
    return TapeVendor("yahoo", tape, NEW_YORK, SHARE, labels, **declared)


@pytest.fixture(scope="module")
def tape() -> Tape:
    """Return the trades of a New York share in regular hours, 2024-01-02 to 2024-07-31."""
    return Tape(NEW_YORK, *DAYS)


@pytest.fixture
def vendor(tape: Tape) -> TapeVendor:
    """Return a vendor named ``yahoo`` that serves ``tape`` from 5m to 1M."""
    return yahoo(tape)


@pytest.fixture
def routed(tmp_path: Path, vendor: TapeVendor) -> RoutedVendors:
    """Return the routing over an empty store and ``vendor``, at 2024-06-12 15:00:30 UTC."""
    return RoutedVendors(tmp_path, NEW_YORK, NOW, vendor)


# --- what nobody serves ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label, source",
    [("45m", "15m"), ("2h", "1h"), ("4h", "1h"), ("3d", "1d"), ("5d", "1d"), ("2w", "1d"),
     ("2M", "1d"), ("10m", "5m")],
)  # fmt: skip
def test_a_timeframe_is_built_from_the_longest_that_divides_it_and_only_that_is_stored(
    routed: RoutedVendors, vendor: TapeVendor, label: str, source: str
) -> None:
    frame = routed.ask(label, "2024-03-01", "2024-06-13")
    assert rows(frame) == plain(vendor.tape.closed(label, routed.clock.now_ms()), "2024-03-01")
    assert vendor.labels() == [source]
    assert routed.lanes() == [source]
    assert provenance(frame)["derived_from"]["timeframe"] == source
    assert provenance(frame)["lane"] is None
    assert provenance(frame)["complete"]
    vendor.asked.clear()
    again = routed.ask(label, "2024-03-01", "2024-06-13")
    pd.testing.assert_frame_equal(again, frame)
    assert vendor.asked == []
    assert (provenance(frame)["from_cache"], provenance(again)["from_cache"]) == (0.0, 1.0)


def test_a_derived_timeframe_needs_no_rule_of_its_own(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    routed.rules = {"45m": []}
    assert len(routed.ask("45m", "2024-06-11", "2024-06-12")) == 9


def test_a_timeframe_that_no_served_timeframe_divides_is_refused(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    with pytest.raises(NoProviderError, match="serves no 7m"):
        routed.ask("7m", "2024-06-11", "2024-06-12")
    assert vendor.asked == []


def test_a_failed_download_of_the_source_bars_is_the_reason_for_the_failure(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    vendor.errors["1h"] = UnavailableError("down")
    with pytest.raises(AllProvidersFailedError, match="1h: yahoo: down"):
        routed.ask("2h", "2024-06-11", "2024-06-12")


@pytest.mark.parametrize("lacks", [0, 1])
def test_a_part_cut_off_by_an_outage_is_replaced_only_by_complete_bars_of_shorter_ones(
    tmp_path: Path, lacks: int
) -> None:
    tape = Tape(COIN, "2024-06-01", "2024-06-12")
    vendor = TapeVendor("acme", tape, COIN, PAIR, "4h")
    other = TapeVendor("other", tape, COIN, replace(PAIR, venue="other"), "1h")
    other.spoil["1h"] = lambda bars: bars[: len(bars) - lacks]
    routed = RoutedVendors(tmp_path, COIN, NOW, vendor, other)
    first = routed.ask("4h", "2024-06-01", "2024-06-03", strict=True)
    vendor.errors["4h"] = UnavailableError("down")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = routed.ask("4h", "2024-06-01", "2024-06-06")
    if lacks:
        assert rows(frame) == rows(first)
        assert lacking(frame)[0][:2] == ("2024-06-03T00:00", "2024-06-06T00:00")
        return
    assert rows(frame) == plain(tape.closed("4h", routed.clock.now_ms()), end="2024-06-06")
    assert provenance(frame)["derived_from"]["timeframe"] == "1h"
    assert lacking(frame) == []


def test_days_of_a_coin_are_built_from_hours_and_keep_the_anchor(tmp_path: Path) -> None:
    tape = Tape(COIN, "2024-06-01", "2024-06-12")
    vendor = TapeVendor("acme", tape, COIN, PAIR, "1h")
    routed = RoutedVendors(tmp_path, COIN, NOW, vendor)
    days = routed.ask("1d", "2024-06-01", "2024-06-13")
    assert rows(days) == plain(tape.closed("1d", routed.clock.now_ms()))
    hours = routed.ask("3h", "2024-06-01", "2024-06-13")
    assert rows(hours) == plain(tape.closed("3h", routed.clock.now_ms()))
    assert (provenance(days)["kind"]["anchor"], provenance(hours)["kind"]["anchor"]) == (
        "session",
        "clock",
    )


def test_days_of_a_share_are_not_built_from_hours(tmp_path: Path, tape: Tape) -> None:
    routed = RoutedVendors(tmp_path, NEW_YORK, NOW, yahoo(tape, "5m 1h"))
    with pytest.raises(NoProviderError, match="1d"):
        routed.ask("1d", "2024-06-03", "2024-06-08")
    with pytest.raises(NoProviderError, match="1w"):
        routed.ask("1w", "2024-06-03", "2024-06-08")


def test_bars_derived_from_clock_anchored_hours_are_clock_anchored(
    tmp_path: Path, tape: Tape
) -> None:
    kind = Kind("regular", "clock", "consolidated")
    vendor = TapeVendor("acme", tape, NEW_YORK, kind, "1h")
    routed = RoutedVendors(tmp_path, NEW_YORK, NOW, vendor)
    frame = routed.ask("2h", "2024-06-03", "2024-06-12")
    expected = plain(tape.closed("2h", routed.clock.now_ms(), "clock"), "2024-06-03", "2024-06-12")
    assert rows(frame) == expected
    assert provenance(frame)["kind"]["anchor"] == "clock"


def test_bars_derived_from_extended_hours_use_only_the_regular_session(tmp_path: Path) -> None:
    tape = Tape(NEW_YORK, "2024-06-03", "2024-06-12", extended=True)
    kind = Kind("extended", "clock", "consolidated")
    routed = RoutedVendors(tmp_path, NEW_YORK, NOW, TapeVendor("acme", tape, NEW_YORK, kind, "15m"))
    assert len(routed.ask("15m", "2024-06-03", "2024-06-12")) == 7 * 26
    frame = routed.ask("45m", "2024-06-03", "2024-06-12", strict=True)
    closed = tape.closed("45m", routed.clock.now_ms())
    assert rows(frame) == plain(closed, end="2024-06-12")
    assert provenance(frame)["kind"]["session"] == "regular"
    routed.store.clear()
    routed.downloaders["acme"] = TapeVendor("acme", tape, NEW_YORK, kind, "15m 1h")
    frame = routed.ask("3h", "2024-06-03", "2024-06-12", strict=True)
    assert provenance(frame)["derived_from"]["timeframe"] == "15m", (
        "hourly bars cannot be cut to regular hours"
    )
    for other, label in ((kind, "1h"), (Kind("24h", "clock"), "15m")):
        routed.store.clear()
        routed.downloaders = {"acme": TapeVendor("acme", tape, NEW_YORK, other, label)}
        with pytest.raises(NoProviderError, match="serves no 3h"):
            routed.ask("3h", "2024-06-03", "2024-06-12")


@pytest.mark.parametrize(
    "session, label, source", [("extended", "2h", "1h"), ("24h", "2h", "1h"), ("24h", "45m", "15m")]
)
def test_bars_of_an_unexpected_kind_are_not_combined(
    routed: RoutedVendors, vendor: TapeVendor, tape: Tape, session: str, label: str, source: str
) -> None:
    """The vendor fails, and its only substitutes have other hours."""
    routed.downloaders["long"] = TapeVendor("long", tape, NEW_YORK, Kind(session, "clock"), source)
    vendor.errors[source] = UnavailableError("down")
    # Extended hours are not even asked for; other hours turn out not to be put together.
    error, text = (NoProviderError, f"serves no {label}")
    if session == "extended":
        error, text = AllProvidersFailedError, "down"
    with pytest.raises(error, match=text):
        routed.ask(label, "2024-06-03", "2024-06-12")


def test_derived_bars_have_the_anchor_of_a_substitute_for_their_source_bars(
    routed: RoutedVendors, vendor: TapeVendor, tape: Tape
) -> None:
    other = TapeVendor("other", tape, NEW_YORK, replace(SHARE, anchor="clock"), "1h")
    routed.downloaders["other"] = other
    vendor.errors["1h"] = UnavailableError("down")
    with pytest.warns(IncompleteDataWarning, match="substitute"):
        frame = routed.ask("2h", "2024-06-03", "2024-06-12")
    closed = tape.closed("2h", routed.clock.now_ms(), "clock")
    assert rows(frame) == plain(closed, "2024-06-03", "2024-06-12")
    assert provenance(frame)["kind"]["anchor"] == "clock"


# --- which parts -------------------------------------------------------------------------------


def question(label: str, start: str = "2024-04-01", end: str = NOW, **fields: Any) -> BarsQuery:
    span, now = Span(parse_iso(start), parse_iso(end) + 1), parse_iso(NOW)
    return BarsQuery(NEW_YORK, Timeframe.parse(label), span, now, **fields)


def test_history_beyond_the_depth_of_longer_bars_is_built_from_shorter_ones(
    tmp_path: Path, tape: Tape
) -> None:
    vendor = yahoo(tape, "15m 30m 1h", depth_days={"1h": 20, "15m": 30})
    asked = RoutedVendors(tmp_path, NEW_YORK, NOW, vendor)
    parts = SourceTimeframes(asked, LaneFinder(asked, asked.store))
    assert str(parts.best(question("2h", "2024-06-01"))) == "1h"
    assert str(parts.best(question("2h"))) == "30m"
    vendor.capabilities.depth_days["30m"] = 25  # type: ignore[index]
    assert str(parts.best(question("2h"))) == "15m"


def test_stored_source_bars_are_preferred_to_fetched_ones(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    parts = SourceTimeframes(routed, LaneFinder(routed, routed.store))
    routed.ask("15m", "2024-06-03", "2024-06-12")
    old = question("2h", "2024-06-03", "2024-06-11")
    assert str(parts.best(old)) == "15m"
    # Two more bars of 15m are less than seven days of 1h.
    assert str(parts.best(question("2h", "2024-06-03", "2024-06-12T14:00"))) == "15m"
    assert str(parts.best(question("2h", "2024-04-03", "2024-06-11"))) == "1h"
    vendor.asked.clear()
    frame = routed.ask("2h", "2024-06-03", "2024-06-12", offline=True, strict=True)
    expected = plain(vendor.tape.closed("2h", routed.clock.now_ms()), "2024-06-03", "2024-06-12")
    assert rows(frame) == expected
    assert vendor.asked == []


def test_stored_bars_of_a_removed_vendor_still_make_longer_bars(routed: RoutedVendors) -> None:
    routed.ask("15m", "2024-06-03", "2024-06-08")
    routed.downloaders.clear()
    assert len(routed.ask("45m", "2024-06-03", "2024-06-08", strict=True)) == 45


def test_stored_bars_of_the_requested_timeframe_are_preferred_to_derived_ones(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    """An older tool stored them, and no vendor serves them any more."""
    vendor.capabilities.timeframes["2h"] = "2h"  # type: ignore[index]
    routed.ask("2h", "2024-06-03", "2024-06-08")
    del vendor.capabilities.timeframes["2h"]  # type: ignore[attr-defined]
    vendor.asked.clear()
    frame = routed.ask("2h", "2024-06-03", "2024-06-08", strict=True)
    assert vendor.asked == []
    assert provenance(frame)["lane"] == "2h"
    # Where they lack something, they are no reason to return less than can be made.
    whole = routed.ask("2h", "2024-06-03", "2024-06-12", strict=True)
    assert (len(whole), vendor.labels()) == (28, ["1h"])
    vendor.errors["1h"] = vendor.errors["30m"] = UnavailableError("down")
    with pytest.warns(IncompleteDataWarning, match="down"):
        assert len(routed.ask("2h", "2024-05-28", "2024-06-08")) == 20


def test_a_month_is_not_derived_from_five_minute_bars(tmp_path: Path) -> None:
    tape = Tape(COIN, "2024-06-01", "2024-06-02")
    routed = RoutedVendors(tmp_path, COIN, NOW, TapeVendor("acme", tape, COIN, PAIR, "5m 1h"))
    month = BarsQuery(COIN, Timeframe.parse("1M"), Span(parse_iso("2024-01-01"), parse_iso(NOW)), 0)
    assert str(SourceTimeframes(routed, LaneFinder(routed, routed.store)).best(month)) == "1h"
    routed.downloaders["acme"] = TapeVendor("acme", tape, COIN, PAIR, "5m")
    assert SourceTimeframes(routed, LaneFinder(routed, routed.store)).best(month) is None


# --- weeks and months of shares ----------------------------------------------------------------


@pytest.mark.parametrize("label", ["1w", "1M"])
def test_weeks_are_built_from_days_if_one_vendor_serves_both(
    routed: RoutedVendors, vendor: TapeVendor, label: str
) -> None:
    frame = routed.ask(label, "2024-04-01", "2024-06-13", strict=True)
    closed = vendor.tape.closed(label, routed.clock.now_ms())
    assert rows(frame) == plain(closed, "2024-04-01")
    assert set(vendor.labels()) == {"1d"}
    assert routed.lanes() == ["1d"]


def test_a_hole_in_the_days_is_a_hole_in_the_weeks_until_it_is_filled(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    day = day_ms(date(2024, 5, 15))
    vendor.spoil["1d"] = lambda bars: [bar for bar in bars if bar.stamp_ms != day]
    with pytest.warns(IncompleteDataWarning, match="1 of 5 1d bars"):
        frame = routed.ask("1w", "2024-05-06", "2024-06-10")
    assert lacking(frame) == [
        ("2024-05-13T00:00", "2024-05-20T00:00", "1 of 5 1d bars: the vendor has no bar")
    ]
    assert len(frame) == 4
    with pytest.raises(IncompleteDataError, match="1 of 5 1d bars"):
        routed.ask("1w", "2024-05-06", "2024-06-10", strict=True)
    assert "1w" not in vendor.labels()
    vendor.spoil.clear()
    routed.clock.advance(2 * 86_400)
    whole = routed.ask("1w", "2024-05-06", "2024-06-10", strict=True)
    assert rows(whole) == plain(vendor.tape.closed("1w", parse_iso(NOW)), "2024-05-06")


def test_an_invalid_daily_row_leaves_out_its_week(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    day = day_ms(date(2024, 5, 15))
    vendor.spoil["1d"] = lambda bars: [
        bar._replace(high=bar.low - 1) if bar.stamp_ms == day else bar for bar in bars
    ]
    with pytest.warns(IncompleteDataWarning, match="1 of 5 1d bars: "):
        frame = routed.ask("1w", "2024-05-06", "2024-06-10")
    assert len(frame) == 4
    assert list(provenance(frame)["flagged"]) == []


def test_a_week_is_provisional_as_long_as_its_last_day_is(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    routed.clock.set(parse_iso("2024-06-07T22:00"))
    frame = routed.ask("1w", "2024-05-27", "2024-06-10", strict=True)
    spans = provenance(frame)["spans"]
    assert [(s["start"][:10], s["state"]) for s in spans] == [
        ("2024-05-27", "final"), ("2024-06-03", "provisional"),
    ]  # fmt: skip
    vendor.asked.clear()
    routed.clock.set(parse_iso("2024-06-10T14:00"))
    frame = routed.ask("1w", "2024-05-27", "2024-06-10", strict=True)
    assert {s["state"] for s in provenance(frame)["spans"]} == {"final"}
    assert vendor.labels() == ["1d"]
    vendor.asked.clear()
    routed.ask("1w", "2024-05-27", "2024-06-10", strict=True)
    assert vendor.asked == []


def test_weekly_bars_need_no_query_until_the_week_ends(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    routed.ask("1w", "2024-04-01", NOW)
    vendor.asked.clear()
    for _ in range(2):
        routed.clock.advance(86_400)
        routed.ask("1w", "2024-04-01", "2024-06-20")
    assert vendor.asked == []


def test_weeks_of_a_pinned_vendor_are_built_from_its_own_days(
    routed: RoutedVendors, vendor: TapeVendor, tape: Tape
) -> None:
    other = TapeVendor("other", tape, NEW_YORK, SHARE, "1d 1w")
    routed.downloaders["other"] = other
    frame = routed.ask("1w", "2024-05-06", "2024-06-10", provider="other", strict=True)
    assert (routed.lanes(), list(provenance(frame)["vendors"])) == (["1d@other"], ["other"])
    assert vendor.asked == []
    with pytest.raises(UnknownProviderError, match="nobody"):
        routed.ask("1w", "2024-05-06", "2024-06-10", provider="nobody")


def test_weeks_come_from_the_vendor_that_the_rules_name_for_weeks(
    routed: RoutedVendors, vendor: TapeVendor, tape: Tape
) -> None:
    other = TapeVendor("other", tape, NEW_YORK, SHARE, "1d 1w")
    routed.downloaders["other"] = other
    routed.rules = {"1w": ["other", "yahoo"], "1d": ["yahoo"]}
    frame = routed.ask("1w", "2024-05-06", "2024-06-10", strict=True)
    assert (other.labels(), vendor.labels(), provenance(frame)["lane"]) == (["1w"], [], "1w")


def test_weeks_are_built_from_days_of_another_vendor_if_weeks_fail(
    routed: RoutedVendors, vendor: TapeVendor, tape: Tape
) -> None:
    """The vendor of the weeks fails; days of another are the better answer."""
    other = TapeVendor("other", tape, NEW_YORK, SHARE, "1d 1w")
    routed.downloaders["other"] = other
    routed.rules = {"1w": ["other"], "1d": ["yahoo", "other"]}
    for error in (UnavailableError("down"), KindMismatchError("the week straddles a split")):
        other.errors["1w"] = error
        frame = routed.ask("1w", "2024-05-06", "2024-06-10", strict=True)
        assert rows(frame) == plain(tape.closed("1w", parse_iso(NOW)), "2024-05-06")
    assert other.labels() == ["1w", "1w"]
    assert vendor.labels() == ["1d"]
    # Who has just failed is not asked for its days as well; who answered something else is.
    vendor.errors["1d"] = UnavailableError("down")
    for error, labels in (
        (UnavailableError("down"), ["1w"]),
        (KindMismatchError("no"), ["1w", "1d"]),
    ):
        other.errors["1w"] = error
        other.asked.clear()
        routed.ask("1w", "2024-04-01", "2024-04-27") if labels[1:] else _refused(routed)
        assert other.labels() == labels


def _refused(routed: RoutedVendors) -> None:
    with pytest.raises(AllProvidersFailedError, match="down"):
        routed.ask("1w", "2024-04-01", "2024-04-27")


def test_a_vendors_own_weeks_are_used_if_days_fail(
    routed: RoutedVendors, vendor: TapeVendor, tape: Tape
) -> None:
    other = TapeVendor("other", tape, NEW_YORK, SHARE, "1w")
    routed.downloaders["other"] = other
    vendor.errors["1d"] = UnavailableError("down")
    frame = routed.ask("1w", "2024-05-06", "2024-06-10", strict=True)
    assert list(provenance(frame)["vendors"]) == ["other"]
    assert vendor.labels() == ["1d"], "a vendor that is down is not queried for weeks"
    other.errors["1w"] = UnavailableError("down as well")
    with pytest.raises(AllProvidersFailedError, match="1d: yahoo: down") as failed:
        routed.ask("1w", "2024-04-01", "2024-04-20")
    assert [a.provider for a in failed.value.attempts] == ["yahoo"]


def test_stored_weeks_are_returned_for_a_range_whose_days_are_not_stored(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    vendor.errors["1d"] = KindMismatchError("no days today")
    routed.ask("1w", "2024-05-06", "2024-06-10")
    vendor.errors.clear()
    frame = routed.ask("1w", "2024-05-06", "2024-06-10", offline=True, strict=True)
    assert provenance(frame)["lane"] == "1w"
    routed.ask("1d", "2024-05-06", "2024-05-18")
    frame = routed.ask("1w", "2024-05-06", "2024-06-10", offline=True, strict=True)
    assert (provenance(frame)["lane"], len(frame)) == ("1w", 5)
    with pytest.raises(AllProvidersFailedError, match="is not cached"):
        routed.ask("1w", "2024-04-01", "2024-04-20", offline=True)


def test_stored_weeks_are_returned_if_weeks_built_from_days_lack_more(
    routed: RoutedVendors, vendor: TapeVendor, tape: Tape
) -> None:
    week, days = day_ms(date(2024, 5, 13)), day_ms(date(2024, 6, 3))
    vendor.errors["1d"] = KindMismatchError("no days today")
    vendor.spoil["1w"] = lambda bars: [bar for bar in bars if bar.stamp_ms != week]
    vendor.spoil["1d"] = lambda bars: [bar for bar in bars if bar.stamp_ms >= days]
    first = routed.ask("1w", "2024-05-06", "2024-06-10")
    vendor.errors.clear()
    for _ in range(2):
        frame = routed.ask("1w", "2024-05-06", "2024-06-10")
        assert (provenance(frame)["lane"], rows(frame)) == ("1w", rows(first))
    assert vendor.labels() == ["1d", "1w", "1d"]
    # Days that lack no more than the stored weeks are the better source.
    vendor.spoil["1d"] = lambda bars: [bar for bar in bars if bar.stamp_ms != week]
    routed.clock.advance(2 * 86_400)
    frame = routed.ask("1w", "2024-05-06", "2024-06-10")
    assert (provenance(frame)["lane"], rows(frame)) == (None, rows(first))


def test_the_first_week_of_a_listing_is_complete_and_only_the_time_before_is_a_gap(
    tmp_path: Path,
) -> None:
    tape = Tape(NEW_YORK, "2024-05-15", "2024-06-12")
    routed = RoutedVendors(tmp_path, NEW_YORK, NOW, vendor := yahoo(tape))
    vendor.listed_ms = parse_iso("2024-05-15T13:30")
    frame = routed.ask("1w", "2023-12-04", "2024-06-10", strict=True)
    assert rows(frame) == plain(tape.closed("1w", parse_iso(NOW)))
    (gap,) = provenance(frame)["gaps"]
    assert (gap["start"][:10], gap["reason"]) == ("2023-12-04", "before the first bar")


def test_a_users_double_is_queried_for_weeks_directly(routed: RoutedVendors) -> None:
    index = pd.DatetimeIndex(["2024-05-06", "2024-05-13"], name="timestamp")
    double = Mock()
    double.get_ohlcv.return_value = pd.DataFrame(
        {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 9.0}, index=index
    )
    routed.downloaders = {"double": double}
    assert len(routed.ask("1w", "2024-05-06", "2024-05-18")) == 2
    assert [call.args[1] for call in double.get_ohlcv.call_args_list] == ["1w"]
    double.get_ohlcv.side_effect = RuntimeError("gone")
    with pytest.raises(AllProvidersFailedError, match="gone"):
        routed.ask("1M", "2024-01-01", "2024-04-02")
    assert double.get_ohlcv.call_count == 2


# --- what is asked, how ------------------------------------------------------------------------


def test_a_request_for_a_number_of_bars_reaches_back_from_the_last_closed_one(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    for label, anchor in (("45m", "15m"), ("2h", "1h"), ("1w", "1d")):
        closed = vendor.tape.closed(label, routed.clock.now_ms())
        frame = routed.ask(label, "2024-06-01", NOW, bars=7, strict=True)
        assert rows(frame) == plain(closed)[-7:], (label, anchor)


def test_a_request_for_more_bars_than_exist_returns_all_existing_bars(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    frame = routed.ask("3M", "2024-01-01", NOW, bars=12)
    assert rows(frame) == plain(vendor.tape.closed("3M", routed.clock.now_ms()))[-1:]


def test_a_request_for_a_number_of_bars_reaches_further_back_over_missing_bars(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    gone = range(day_ms(date(2024, 5, 20)), day_ms(date(2024, 6, 3)))
    vendor.spoil["1d"] = lambda bars: [bar for bar in bars if bar.stamp_ms not in gone]
    with pytest.warns(IncompleteDataWarning):
        frame = routed.ask("1w", "2024-06-01", NOW, bars=4)
    closed = plain(vendor.tape.closed("1w", routed.clock.now_ms()))
    assert rows(frame) == [*closed[-6:-3], closed[-1]]


def test_too_few_bars_are_reported_with_the_start_of_the_range_that_was_searched(
    tmp_path: Path, tape: Tape
) -> None:
    vendor = yahoo(tape, "15m")
    vendor.is_sparse = True
    vendor.spoil["15m"] = lambda bars: [bar for bar in bars if utc(bar.stamp_ms).endswith("14:45")]
    routed = RoutedVendors(tmp_path, NEW_YORK, NOW, vendor)
    routed.ask("15m", "2024-06-03", NOW)
    # 40 bars back: 3 of today, 13 in each of two sessions, 11 in the one before them.
    since = "there are none before 2024-06-07T14:30:00Z"
    with pytest.warns(IncompleteDataWarning, match=f"4 of the 5 requested bars: {since}"):
        assert len(routed.ask("30m", "2024-06-12", NOW, bars=5)) == 4


@pytest.mark.parametrize("label", ["45m", "2h", "3d", "1w", "1M"])
def test_a_forming_bar_is_returned_if_requested_and_never_stored(
    routed: RoutedVendors, vendor: TapeVendor, label: str
) -> None:
    frame = routed.ask(label, "2024-05-01", "2024-07-01", include_forming=True, strict=True)
    assert rows(frame) == plain(vendor.tape.bars(label, routed.clock.now_ms()), "2024-05-01")
    last = provenance(frame)["spans"][-1]
    assert (last["state"], last["rows"], last["reason"]) == ("provisional", 1, "forming")
    assert last["basis"] == {"adjustment": "split"}, "as its latest part, which is not dated"
    closed = routed.ask(label, "2024-05-01", "2024-07-01", strict=True)
    assert rows(closed) == rows(frame)[:-1]


def test_a_forming_week_between_sessions_contains_the_closed_days(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    routed.clock.set(parse_iso("2024-06-13T02:00"))
    frame = routed.ask("1w", "2024-05-06", "2024-07-01", include_forming=True, strict=True)
    assert rows(frame) == plain(vendor.tape.bars("1w", routed.clock.now_ms()), "2024-05-06")


def test_a_forming_bar_with_a_missing_part_is_not_returned(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    day = day_ms(date(2024, 6, 10))
    vendor.spoil["1d"] = lambda bars: [bar for bar in bars if bar.stamp_ms != day]
    frame = routed.ask("1w", "2024-05-06", "2024-07-01", include_forming=True)
    assert len(frame) == 5
    assert frame.index[-1] == pd.Timestamp("2024-06-03")


def test_a_refresh_requests_the_source_bars_again(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    routed.ask("2h", "2024-06-03", "2024-06-08")
    vendor.asked.clear()
    vendor.spoil["1h"] = lambda bars: [bar._replace(volume=1.0) for bar in bars]
    frame = routed.ask("2h", "2024-06-03", "2024-06-08", refresh=True)
    assert set(frame["volume"]) == {2.0, 1.0}
    assert vendor.labels() == ["1h"]


def test_minutes_without_trades_are_not_holes_but_an_unanswered_span_is(tmp_path: Path) -> None:
    tape = Tape(NEW_YORK, "2024-06-03", "2024-06-12", silent=0.6)
    vendor = yahoo(tape, "5m")
    vendor.is_sparse = True
    routed = RoutedVendors(tmp_path, NEW_YORK, NOW, vendor)
    frame = routed.ask("15m", "2024-06-03", "2024-06-12", strict=True)
    assert len(tape.closed("5m", parse_iso(NOW))) < 7 * 78 - 50
    assert rows(frame) == plain(tape.closed("15m", parse_iso(NOW)), end="2024-06-12")
    vendor.errors["5m"] = UnavailableError("down")
    with pytest.warns(IncompleteDataWarning, match="5m bars: yahoo: down"):
        frame = routed.ask("15m", "2024-05-31", "2024-06-12")
    ((start, end, _),) = lacking(frame)
    assert (start, end) == ("2024-05-31T13:30", "2024-05-31T20:00")


@pytest.mark.parametrize(
    ("lost", "said"), [({5}, "the vendor has no bar"), ({3, 5}, "expected bars did not come")]
)
def test_bars_derived_from_an_answer_with_many_holes_are_complete_or_missing(
    tmp_path: Path, lost: set[int], said: str
) -> None:
    tape = Tape(COIN, "2024-06-01", "2024-06-12")
    vendor = TapeVendor("acme", tape, COIN, PAIR, "15m")
    routed = RoutedVendors(tmp_path, COIN, NOW, vendor)
    vendor.spoil["15m"] = lambda bars: [b for i, b in enumerate(bars) if i % 12 not in lost]
    with pytest.warns(IncompleteDataWarning, match=said):
        frame = routed.ask("45m", "2024-06-01", "2024-06-12")
    closed = plain(tape.closed("45m", parse_iso(NOW)), end="2024-06-12")
    assert rows(frame) == [bar for i, bar in enumerate(closed) if i % 4 != 1]


def test_a_derived_volume_is_nan_if_one_part_has_no_volume(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    day = day_ms(date(2024, 6, 5))
    vendor.spoil["1d"] = lambda bars: [
        bar._replace(volume=float("nan")) if bar.stamp_ms == day else bar for bar in bars
    ]
    frame = routed.ask("1w", "2024-05-27", "2024-06-10")
    assert frame["volume"].isna().tolist() == [False, True]
    assert "volume of 1 bar" in str(provenance(frame)["problems"])


def test_a_range_without_an_expected_week_is_empty_and_complete(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    frame = routed.ask("1w", "2024-06-04", "2024-06-08", strict=True)
    assert (len(frame), lacking(frame)) == (0, [])


def test_a_derived_bar_uses_no_data_after_closed_by(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    at = parse_iso("2024-06-05T16:00")
    frame = routed.ask("2h", "2024-06-03", "2024-06-05T15:30", closed_by_ms=at)
    assert rows(frame) == plain(vendor.tape.closed("2h", at), "2024-06-03")


def test_a_week_is_a_gap_if_its_days_end_before_the_answer_does(tape: Tape) -> None:
    """A hit ends with the stored bars, and reports no gap after them."""
    bars = [
        bar for bar in tape.closed("1d", parse_iso(NOW)) if bar.stamp_ms < day_ms(date(2024, 6, 6))
    ]
    span = Span(day_ms(date(2024, 5, 27)), bars[-1].stamp_ms + DAY_MS)
    table = BarTable.from_bars(bars).within(span)

    def held(query: BarsQuery) -> Answer:
        return Answer(query, table, Coverage([Covered(span, "final", "acme")]), kind=SHARE)

    asked = question("1w", "2024-05-27", "2024-06-09")
    answer = derived(asked, Timeframe.parse("1d"), "session", held)
    assert len(answer.table) == 1
    (gap,) = answer.gaps
    assert (gap.span.start, gap.reason) == (
        day_ms(date(2024, 6, 3)), "2 of 5 1d bars: closed, not published yet",
    )  # fmt: skip


def test_a_week_that_could_not_be_built_is_in_no_span_of_coverage(tape: Tape) -> None:
    """The coverage of neighbouring weeks does not extend over a missing week."""
    closed = tape.closed("1d", parse_iso("2024-06-22"))
    bars = [bar for bar in closed if bar.stamp_ms != day_ms(date(2024, 6, 12))]
    span = Span(day_ms(date(2024, 6, 3)), day_ms(date(2024, 6, 22)))
    reason = f"{DOUBTFUL}1 of 14 expected bars did not come"

    def doubted(query: BarsQuery) -> Answer:
        part = Covered(span, "suspect", "acme", reason=reason)
        return Answer(query, BarTable.from_bars(bars).within(span), Coverage([part]), kind=SHARE)

    asked = replace(question("1w", "2024-06-03"), span=span, now_ms=parse_iso("2024-06-30"))
    answer = derived(asked, Timeframe.parse("1d"), "session", doubted)
    assert [(c.span, c.state, c.reason) for c in answer.coverage] == [
        (Span(span.start, span.start + WEEK_MS), "suspect", reason),
        (Span(span.start + 2 * WEEK_MS, span.start + 3 * WEEK_MS), "suspect", reason),
    ]
    assert [gap.reason for gap in answer.gaps] == [f"1 of 5 1d bars: {reason}"]


def test_an_answer_is_complete_if_it_has_no_gap_and_no_substitute() -> None:
    whole = Answer(question("1w"), BarTable.empty(), Coverage())
    week = Span(0, WEEK_MS)
    assert is_whole(whole)
    assert is_whole(replace(whole, gaps=[Gap(week, "before", harmless=True)]))
    assert not is_whole(replace(whole, gaps=[Gap(week, "lost")]))
    assert not is_whole(replace(whole, substitute="another"))


def test_a_bar_built_from_a_forming_part_is_provisional(tape: Tape) -> None:
    """The vendor's clock is behind ours, by which the week is over."""
    closed = tape.closed("1d", parse_iso("2024-06-08"))
    first, last = day_ms(date(2024, 6, 3)), day_ms(date(2024, 6, 7))
    table = BarTable.from_bars(closed).within(Span(first, last + 1))
    spans = [Covered(Span(first, last), "final", "acme"),
             Covered(Span(last, last + DAY_MS), "provisional", "acme", reason="forming")]  # fmt: skip

    def behind(query: BarsQuery) -> Answer:
        return Answer(query, table, Coverage(spans), kind=SHARE)

    asked = replace(question("1w", "2024-06-03", "2024-06-09"), include_forming=True)
    answer = derived(asked, Timeframe.parse("1d"), "session", behind)
    (part,) = answer.coverage
    assert (part.state, part.reason, len(answer.table), answer.gaps) == (
        "provisional", "forming", 1, [],
    )  # fmt: skip


def test_refreshed_parts_are_not_refreshed_again_to_look_further_back(
    routed: RoutedVendors, vendor: TapeVendor
) -> None:
    gone = range(day_ms(date(2024, 5, 20)), day_ms(date(2024, 6, 3)))
    vendor.spoil["1d"] = lambda bars: [bar for bar in bars if bar.stamp_ms not in gone]
    with pytest.warns(IncompleteDataWarning):
        routed.ask("1w", "2024-06-01", NOW, bars=4, refresh=True)
    first, second = (span for _, span in vendor.asked)
    assert second.end <= first.start
    assert utc(second.start) == "2024-04-15T00:00", "eight weeks before the last closed one"


# --- any market, any holes ---------------------------------------------------------------------

EDGES = [  # clock changes, half days and holidays are within two weeks of these
    date(2024, 3, 4), date(2024, 3, 25), date(2024, 7, 1), date(2024, 10, 24), date(2024, 11, 25),
    date(2024, 12, 20),
]  # fmt: skip
PAIRS = [("15m", "45m"), ("15m", "30m"), ("30m", "2h"), ("1h", "2h"), ("1h", "3h"), ("10m", "20m"),
         ("10m", "30m"), ("1d", "1w"), ("1d", "1M"), ("1d", "3d"), ("1d", "5d"), ("1d", "2w")]  # fmt: skip


@settings(max_examples=examples(40), derandomize=True, deadline=None)
@given(
    who=st.sampled_from([NEW_YORK, LONDON, COIN]),
    first=st.sampled_from(EDGES),
    pair=st.sampled_from(PAIRS),
    gone=st.sampled_from([0.0, 0.02, 0.1]),
    clock=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_bars_derived_from_any_incomplete_source_equal_those_of_the_trades(
    tmp_path_factory: pytest.TempPathFactory, who: Any, first: date, pair: tuple[str, str],
    gone: float, clock: bool, seed: int,
) -> None:  # fmt: skip
    source, target = pair
    dice = random.Random(seed)
    long = not Timeframe.parse(target).is_intraday
    last = first + timedelta(days=75 if long else 14)
    anchor = "clock" if clock or who is COIN else "session"
    every = (60 if long else 10) * MINUTE_MS  # which means trades at half of that
    tape = Tape(who, first.isoformat(), last.isoformat(), seed, every=every)
    kind = Kind("24h" if who is COIN else "regular", anchor)
    vendor = TapeVendor("acme", tape, who, kind, source)
    now = day_ms(last) - 3 * DAY_MS + dice.randrange(DAY_MS)
    routed = RoutedVendors(tmp_path_factory.mktemp("s"), who, "2024-01-01", vendor)
    routed.clock.set(now)
    # The first bar there is stays: what is missing before it was never listed.
    below = [b.stamp_ms for b in tape.bars(source, now, anchor=anchor)][1:]
    lost = {stamp for stamp in below if dice.random() < gone}
    vendor.spoil[source] = lambda bars: [bar for bar in bars if bar.stamp_ms not in lost]
    if not vendor.spoil[source](tape.closed(source, now, anchor)):
        return
    start = first + timedelta(days=dice.randrange(5))
    query = BarsQuery(who, Timeframe.parse(target), Span(day_ms(start), now + 1), now)
    frame = _quietly(routed, query)
    parts, closed = tape.parts(source, target, anchor), tape.closed(target, now, anchor)
    whole = [b for b in closed if b.stamp_ms >= day_ms(start) and not lost & parts[b.stamp_ms]]
    assert rows(frame) == plain(whole)
    absent = {b.stamp_ms for b in closed} - {b.stamp_ms for b in whole}
    spans = [(parse_iso(g["start"]), parse_iso(g["end"])) for g in provenance(frame)["gaps"]]
    if provenance(frame)["gaps_total"] == len(spans):
        for stamp in (s for s in absent if s >= day_ms(start)):
            assert any(a <= stamp < b for a, b in spans), stamp
        assert not any(a <= bar.stamp_ms < b for bar in whole for a, b in spans)


def _quietly(routed: RoutedVendors, query: BarsQuery) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        return routed.service.get(query).owned()
