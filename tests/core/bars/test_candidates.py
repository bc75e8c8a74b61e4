"""Tests the selection of vendors: which can answer, in which lane, and why the others cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from src.data.core.bars.selection.candidates import Candidate, candidates_of
from src.data.core.bars.selection.offers import AnsweringLane
from src.data.core.bars.selection.route import adjustment_part, find_route
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Kind
from src.data.core.model.request.capabilities import Capabilities
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.time.instant import DAY_MS
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import NoProviderError, UnknownProviderError

from .answers import COIN as PAIR
from .answers import DAY, SHARE

COIN = replace(PAIR, base="BTC", quote="USDT")
VENUE = Kind("24h", "clock", "binance", "USDT", "base")
AGGREGATE = replace(VENUE, venue="aggregate")
TAPE = Kind("regular", "session", "consolidated", "USD", "shares")


def query(instrument: Any = COIN, label: str = "1h", **fields: Any) -> BarsQuery:
    span = Span(DAY, DAY + DAY_MS)
    return BarsQuery(instrument, Timeframe.parse(label), span, DAY + DAY_MS, **fields)


def vendor(name: str, kind: Kind = VENUE, **fields: Any) -> Candidate:
    classes = frozenset({"crypto"} if kind.session == "24h" else {"stock"})
    timeframes = {label: label for label in ("1h", "1d")}
    adjustment = "raw" if kind.session == "24h" else "split"
    known = {"kinds": dict.fromkeys(classes, kind), "adjustment": adjustment} | fields
    return Candidate(name, Mock(), Capabilities(classes, timeframes, **known))  # type: ignore[arg-type]


def lanes(*candidates: Candidate, stored: Kind | None = None, of: BarsQuery | None = None) -> list:  # type: ignore[type-arg]
    asked = of or query()
    found = find_route(asked, candidates, AnsweringLane(asked.key, Mock(), None, stored))
    return [(lane.lane_name, [c.name for c in lane.candidates]) for lane in found.lanes]


def test_vendors_of_one_kind_share_a_lane_in_rule_order() -> None:
    assert lanes(vendor("one"), vendor("two")) == [((), ["one", "two"])]


def test_a_vendor_of_another_venue_has_a_later_lane_of_its_own() -> None:
    found = lanes(vendor("one"), vendor("two", AGGREGATE), vendor("three"))
    assert found == [((), ["one", "three"]), (("aggregate",), ["two"])]


def test_vendors_that_differ_only_in_feed_and_volume_unit_share_a_lane() -> None:
    iex = replace(TAPE, feed="iex", volume="lots")
    of = query(SHARE)
    assert lanes(vendor("one", TAPE), vendor("two", iex), of=of) == [((), ["one", "two"])]


def test_the_first_vendor_decides_the_main_lane_even_over_stored_bars() -> None:
    found = lanes(vendor("one", AGGREGATE), vendor("two"), stored=VENUE)
    assert found == [(("aggregate",), ["one"]), ((), ["two"])]
    found = lanes(vendor("one", AGGREGATE), vendor("two"), vendor("three", AGGREGATE), stored=VENUE)
    assert found == [(("aggregate",), ["one", "three"]), ((), ["two"])]
    other = replace(VENUE, venue="kraken")
    found = lanes(vendor("one", AGGREGATE), vendor("two"), stored=other)
    assert found == [(("aggregate",), ["one"]), (("binance",), ["two"])]


def test_the_main_lane_belongs_to_the_first_vendor_that_serves_the_range() -> None:
    late = replace(query(), now_ms=DAY + 100 * DAY_MS)
    shallow = vendor("one", AGGREGATE, depth_days={"1h": 30})
    assert lanes(shallow, vendor("two"), of=late) == [((), ["two"]), (("aggregate",), ["one"])]
    recent = replace(late, span=Span(DAY, late.now_ms))
    assert lanes(shallow, vendor("two"), of=recent) == [((), ["one"]), (("binance",), ["two"])]
    deep = vendor("two", depth_days={"1h": 31})
    assert lanes(shallow, deep, of=late)[0] == ((), ["one"]), (
        "the first vendor if no vendor reaches back so far"
    )


def test_vendors_of_another_kind_than_own_files_have_the_same_lanes_as_without_files() -> None:
    files = vendor("local", replace(VENUE, venue="kraken"))
    files.downloader.folder_lane = "local.00c0ffee"
    others = vendor("one", AGGREGATE), vendor("two")
    without = [((), ["one"]), (("binance",), ["two"])]
    assert lanes(*others) == without
    assert lanes(files, *others) == [(("local.00c0ffee",), ["local"]), *without]


def test_a_pinned_vendor_has_a_lane_with_its_name() -> None:
    assert lanes(vendor("one"), of=query(provider="one"), stored=AGGREGATE) == [(("one",), ["one"])]


def test_vendors_with_different_hour_anchors_share_a_lane_of_daily_bars() -> None:
    clock = replace(TAPE, anchor="clock")
    pair = vendor("one", TAPE), vendor("two", clock)
    assert lanes(*pair, of=query(SHARE, "1d")) == [((), ["one", "two"])]
    assert lanes(*pair, of=query(SHARE, "1h")) == [((), ["one"]), (("clock",), ["two"])]


@pytest.mark.parametrize(
    ("adjustment", "actions", "parts"),
    [
        ("split", False, ()), ("unknown", False, ()), ("raw", True, ()), ("raw", False, ("raw",)),
        ("all", True, ("all",)), ("all", False, ("all",)),
    ],
)  # fmt: skip
def test_share_prices_are_in_the_default_lane_if_splits_can_be_applied(
    adjustment: Any, actions: bool, parts: tuple[str, ...]
) -> None:
    one = vendor("one", TAPE, adjustment=adjustment, actions=actions)
    assert adjustment_part(query(SHARE), one) == parts
    assert adjustment_part(query(COIN), one) == ()


def test_the_substitute_with_the_requested_adjustment_comes_first() -> None:
    raw = vendor("raw", TAPE, adjustment="raw")
    every = vendor("every", TAPE, adjustment="all")
    split = vendor("split", TAPE, adjustment="split")
    found = lanes(raw, every, split, of=query(SHARE, adjustment="all"))
    assert found == [((), ["split"]), (("all",), ["every"]), (("raw",), ["raw"])]


def test_vendors_of_all_adjustments_share_a_lane_if_a_vendor_reports_actions() -> None:
    reporter = vendor("reporter", TAPE, adjustment="raw", actions=True)
    raw = vendor("raw", TAPE, adjustment="raw")
    every = vendor("every", TAPE, adjustment="all")
    split = vendor("split", TAPE, adjustment="split")
    found = lanes(every, raw, split, reporter, of=query(SHARE, "1d"))
    assert found == [
        ((), ["every", "raw", "split", "reporter"]), (("all",), ["every"]), (("raw",), ["raw"]),
    ]  # fmt: skip
    found_lanes = find_route(query(SHARE, "1d"), [every, reporter]).lanes
    assert [[c.name for c in lane.reporters] for lane in found_lanes] == [
        ["reporter"],
        ["reporter"],
    ]
    pinned = query(SHARE, "1d", provider="every")
    assert lanes(every, of=pinned) == [(("every",), ["every"])]


def test_a_vendor_without_the_timeframe_can_still_report_the_actions() -> None:
    days_only = vendor("days", TAPE, adjustment="split", actions=True)
    of = query(SHARE, "5m")
    caps = vendor("every", TAPE, adjustment="all").capabilities
    assert caps is not None
    served = Candidate("every", Mock(), replace(caps, timeframes={"5m": "5m"}))
    assert lanes(days_only, served, of=of) == [((), ["every"]), (("all",), ["every"])]


def test_known_actions_replace_an_action_reporter() -> None:
    every, of = vendor("every", TAPE, adjustment="all"), query(SHARE, "1d")
    assert [lane.lane_name for lane in find_route(of, [every], has_actions=True).lanes] == [
        (),
        ("all",),
    ]
    assert [lane.lane_name for lane in find_route(of, [every]).lanes] == [("all",)]
    coin = query()
    assert [
        lane.lane_name for lane in find_route(coin, [vendor("one")], has_actions=True).lanes
    ] == [()]


def test_a_rejected_vendor_is_reported_with_the_reason() -> None:
    found = find_route(query(label="1h"), [vendor("one"), vendor("two", TAPE)])
    assert found.vendors.rejected == {"two": "serves no crypto"}
    with pytest.raises(NoProviderError, match="one serves no 1w, only 1h 1d"):
        find_route(query(label="1w"), [vendor("one")])
    with pytest.raises(NoProviderError, match="No suitable provider found"):
        find_route(query(), [])


def test_a_downloader_without_a_declared_kind_can_join_any_kind() -> None:
    double = Candidate("double", Mock())
    assert lanes(vendor("one"), double) == [((), ["one", "double"])]
    assert lanes(double, stored=VENUE) == [((), ["double"])]


def test_a_depth_limit_cuts_the_servable_span() -> None:
    now = DAY + 100 * DAY_MS
    one = vendor("one", depth_days={"1h": 30})
    hour, day = Timeframe.parse("1h"), Timeframe.parse("1d")
    whole = Span(DAY, now)
    assert one.servable(whole, hour, now) == Span(now - 30 * DAY_MS, now)
    assert one.servable(whole, day, now) == whole
    assert one.servable(Span(DAY, DAY + DAY_MS), hour, now).is_empty


class Selector:
    """Stands for the selector, as users' tests do."""

    def __init__(self, *names: str, **downloaders: Any) -> None:
        self.names, self.downloaders = list(names), downloaders

    def get_provider_with_failover(self, symbol: str, timeframe: str) -> list[str]:
        return self.names


def test_names_without_a_downloader_are_left_out() -> None:
    selector = Selector("one", "two", two=Mock())
    assert [c.name for c in candidates_of(selector, query())] == ["two"]


def test_a_mock_downloader_is_a_candidate_without_capabilities() -> None:
    (found,) = candidates_of(Selector("one", one=Mock()), query())
    assert found.capabilities is None


def test_a_pinned_vendor_is_the_only_candidate_and_must_exist() -> None:
    selector = Selector("one", "two", one=Mock(), two=Mock())
    assert [c.name for c in candidates_of(selector, query(provider="two"))] == ["two"]
    with pytest.raises(UnknownProviderError, match="three"):
        candidates_of(selector, query(provider="three"))


def test_a_vendor_may_serve_only_some_timeframes_of_an_asset_class() -> None:
    one = Candidate(
        "a",
        Mock(),
        Capabilities(
            frozenset({"stock", "crypto"}),
            {"5m": "5m", "1d": "1d"},
            only={"crypto": frozenset({"1d"})},
        ),
    )
    five = Timeframe.parse("5m")
    assert one.refusal(Instrument("AAPL", "stock"), five) == ""
    assert one.refusal(Instrument("BTCUSDT", "crypto"), five) == "serves no 5m, only 1d"


def test_a_vendor_whose_actions_have_a_separate_endpoint_needs_them_for_its_bars() -> None:
    asked = Mock(provider=None, instrument=Instrument("AAPL", "stock"))
    for sent, apart, leans in ((True, False, False), (False, True, True), (False, False, True)):
        caps = Capabilities(frozenset({"stock"}), {"1d": "1d"}, actions=sent, actions_apart=apart)
        one = Candidate("a", Mock(), caps)
        assert one.tells_actions is (sent or apart)
        assert one.needs_stored_actions(asked) is leans
