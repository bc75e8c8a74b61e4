"""Which lanes are tried after one without bars, and which of them are substitutes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import day_ms
from src.data.errors import (
    AllProvidersFailedError,
    DataError,
    EntitlementError,
    SymbolNotFoundError,
    UnavailableError,
)

from .fixed_vendor import FixedVendor, Market, at, days, every
from .scripted_vendor import gaps, provenance

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

HOURS = ("BTC-USD", "1h", "2024-06-02T00:00", "2024-06-03T00:00")
TEN_HOURS = (*HOURS[:3], "2024-06-02T09:00")
# What of the ten hours a substitute had supplied before it went down.
HELD = {
    "none": [],
    "head": [("2024-06-02T00:00", "2024-06-02T04:00")],
    "middle": [("2024-06-02T04:00", "2024-06-02T05:00")],
    "both ends": [
        ("2024-06-02T00:00", "2024-06-02T02:00"),
        ("2024-06-02T08:00", "2024-06-02T09:00"),
    ],
    "whole": [("2024-06-02T00:00", "2024-06-02T09:00")],
}
SPRING = ("AAPL", "1d", "2024-04-02", "2024-05-20")


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2024-06-05 12:00 UTC."""
    return ManualClock(at("2024-06-05T12:00:00Z"))


def of_venue(clock: ManualClock, like: str, venue: str, stamps: list[int]) -> FixedVendor:
    """Return a vendor of a coin's bars from one venue."""
    vendor = FixedVendor(clock, stamps, like)
    kinds = vendor.capabilities.kinds
    coins = {**kinds, "crypto": replace(kinds["crypto"], venue=venue)}
    vendor.capabilities = replace(vendor.capabilities, kinds=coins)
    return vendor


def down(vendor: FixedVendor, calls: int) -> None:
    vendor.errors = [UnavailableError("down", provider=vendor.name) for _ in range(calls)]


def test_a_substitute_that_is_known_to_have_no_bars_does_not_end_the_search(
    market: Market, clock: ManualClock
) -> None:
    stamps = every("1h", "2024-06-01T00:00", "2024-06-05T11:00")
    first = of_venue(clock, "yahoo", "aggregate", stamps)
    barren = of_venue(clock, "alpaca", "x", [])
    last = of_venue(clock, "polygon", "z", stamps)
    manager = market.manager(first, barren, last)
    down(first, 2)
    down(last, 1)
    with pytest.raises(AllProvidersFailedError):
        manager.get_ohlcv(*HOURS)
    frame = manager.get_ohlcv(*HOURS)
    assert len(frame) == 25 and list(provenance(frame)["vendors"]) == ["polygon"]
    assert len(barren.asked) == 1, "its answer is remembered"


def test_stored_prices_in_the_requested_adjustment_are_not_a_substitute(
    market: Market, clock: ManualClock
) -> None:
    stamps = [
        day_ms(day) for day in days("2024-03-01", "2024-06-04") if day_ms(day) != at("2024-03-29")
    ]
    split = FixedVendor(clock, stamps, "yahoo", actions=False, actions_apart=False)
    kinds = split.capabilities.kinds
    raw = FixedVendor(clock, stamps, "alpaca", actions=False, actions_apart=False, kinds=kinds)
    manager = market.manager(split, raw)
    frame = manager.get_ohlcv(*SPRING, adjustment="raw", strict=True)
    facts = provenance(frame)
    assert (facts["lane"], facts["substitute"], facts["complete"]) == ("1d@raw", None, True)


# --- what is stored of a substitute ------------------------------------------------------------


def of_hours(
    clock: ManualClock, venue: str, like: str, step: str = "1h", *, has_bars: bool = True
) -> FixedVendor:
    """Return a vendor that serves only bars of this length, and has them or not."""
    vendor = of_venue(clock, like, venue, every(step, "2024-06-01T00:00", "2024-06-05T11:00"))
    if not has_bars:
        vendor.stamps = []
    labels = vendor.capabilities.timeframes
    vendor.capabilities = replace(vendor.capabilities, timeframes={step: labels[step]})
    return vendor


def summary(frame: pd.DataFrame) -> Any:
    """Return what an answer must have in common with that of an empty cache."""
    facts = provenance(frame)
    names = ("vendors", "kind", "substitute", "complete")
    return frame.to_csv(), gaps(frame), {name: facts[name] for name in names}


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize(
    "options",
    [{}, {"refresh": True}, {"bars": 10}, {"start_date": "2024-06-02T03:00"}],
    ids=["a range", "a refresh", "a count", "a piece"],
)
def test_the_answer_is_the_same_whatever_is_stored_of_a_substitute(
    market: Market, clock: ManualClock, held: str, options: dict[str, Any]
) -> None:
    """The first vendor has no bars, which is remembered; the substitute was down for a while."""
    first = of_hours(clock, "aggregate", "yahoo", has_bars=False)
    other = of_hours(clock, "x", "alpaca")
    question: dict[str, Any] = {"end_date": TEN_HOURS[3]}
    if "bars" not in options:
        question["start_date"] = TEN_HOURS[2]
    question |= options
    fresh = market.manager(first, other, folder="fresh").get_ohlcv(*HOURS[:2], **question)
    for start, end in HELD[held]:
        market.manager(first, other).get_ohlcv(*HOURS[:2], start, end)
    down(other, 1)
    market.manager(first, other).get_ohlcv(*TEN_HOURS)
    other.errors.clear()
    for again in (False, True):
        asked = len(first.asked), len(other.asked)
        frame = market.manager(first, other).get_ohlcv(*HOURS[:2], **question)
        assert summary(frame) == summary(fresh)
        assert provenance(frame)["substitute"] == "alpaca (BTCUSD 1h@x)"
        if again and "refresh" not in options:
            assert (len(first.asked), len(other.asked)) == asked, "both answers are stored"
    clock.advance(40 * 86_400)
    assert summary(market.manager(first, other).get_ohlcv(*HOURS[:2], **question)) == summary(fresh)
    offline = market.manager(first, other).get_ohlcv(
        *HOURS[:2], **{**question, "refresh": False}, offline=True
    )
    assert summary(offline)[0] == summary(fresh)[0]
    first.stamps = list(other.stamps)
    frame = market.manager(first, other).get_ohlcv(*HOURS[:2], **{**question, "refresh": True})
    assert (list(provenance(frame)["vendors"]), provenance(frame)["substitute"]) == (
        ["yahoo"],
        None,
    )


@pytest.mark.parametrize(
    "error",
    [UnavailableError("down"), EntitlementError("not in the plan"), SymbolNotFoundError("404")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("is_first_down", [False, True], ids=["first empty", "first down"])
@pytest.mark.parametrize("held", ["none", "head", "middle"])
def test_a_stored_part_of_a_substitute_does_not_replace_another_vendors_answer(
    market: Market, clock: ManualClock, held: str, is_first_down: bool, error: DataError
) -> None:  # fmt: skip
    first = of_hours(clock, "aggregate", "yahoo", has_bars=False)
    failing, last = of_hours(clock, "x", "alpaca"), of_hours(clock, "z", "polygon")
    last.stamps.remove(at("2024-06-02T06:00"))  # incomplete, but it answers
    for start, end in HELD[held]:
        market.manager(first, failing).get_ohlcv(*HOURS[:2], start, end)
    failing.errors = [error] * 9
    if is_first_down:
        down(first, 9)
    frame = market.manager(first, failing, last).get_ohlcv(*TEN_HOURS)
    assert (list(provenance(frame)["vendors"]), len(frame)) == (["polygon"], 9)
    assert "alpaca" in {attempt["provider"] for attempt in provenance(frame)["attempts"]}


@pytest.mark.parametrize("held", ["none", "head", "middle"])
def test_an_empty_answer_is_the_same_whatever_is_stored_of_a_substitute_that_is_down(
    market: Market, clock: ManualClock, held: str
) -> None:
    first = of_hours(clock, "aggregate", "yahoo", has_bars=False)
    other = of_hours(clock, "x", "alpaca")
    for start, end in HELD[held]:
        market.manager(first, other).get_ohlcv(*HOURS[:2], start, end)
    down(other, 9)
    for _ in range(2):
        frame = market.manager(first, other).get_ohlcv(*TEN_HOURS)
        reasons = [gap["reason"] for gap in provenance(frame)["gaps"]]
        assert (len(frame), reasons) == (0, ["the vendor has no bar"])
        (failed,) = [a for a in provenance(frame)["attempts"] if a["provider"] == "alpaca"]
        assert failed["outcome"] == "UnavailableError", "the answer lists who might have had bars"


@pytest.mark.parametrize("held", ["none", "head", "middle"])
@pytest.mark.parametrize("stored", ["none", "head"])
@pytest.mark.parametrize("strict", [False, True])
def test_shorter_bars_are_used_in_an_outage_whatever_is_stored_of_a_substitute(
    market: Market, clock: ManualClock, held: str, stored: str, strict: bool
) -> None:  # fmt: skip
    first, other = of_hours(clock, "aggregate", "yahoo"), of_hours(clock, "x", "alpaca")
    halves = of_hours(clock, "aggregate", "polygon", "30m")
    for vendors, parts in (((other,), HELD[held]), ((first, other), HELD[stored])):
        for start, end in parts:
            market.manager(*vendors).get_ohlcv(*HOURS[:2], start, end)
    down(first, 9)
    down(other, 9)
    frame = market.manager(first, other, halves).get_ohlcv(*TEN_HOURS, strict=strict)
    assert (list(provenance(frame)["vendors"]), len(frame)) == (["polygon"], 10)
    assert provenance(frame)["complete"]


def test_a_stored_part_of_a_substitute_is_the_answer_if_there_is_no_other(
    market: Market, clock: ManualClock
) -> None:
    first, other = of_hours(clock, "aggregate", "yahoo"), of_hours(clock, "x", "alpaca")
    down(first, 9)
    market.manager(first, other).get_ohlcv(*HOURS[:2], *HELD["head"][0])
    down(other, 9)
    down(first, 9)
    frame = market.manager(first, other).get_ohlcv(*TEN_HOURS)
    assert (len(frame), provenance(frame)["substitute"]) == (5, "alpaca (BTCUSD 1h@x)")
    assert gaps(frame) == [("2024-06-02T05:00:00", "2024-06-02T09:00:00.001", "alpaca: down")]


def test_a_substitute_with_a_hole_is_the_answer_although_another_of_its_vendors_is_down(
    market: Market, clock: ManualClock
) -> None:
    first = of_hours(clock, "aggregate", "yahoo", has_bars=False)
    failing, other = of_hours(clock, "x", "alpaca"), of_hours(clock, "x", "polygon")
    other.stamps.remove(at("2024-06-02T06:00"))
    for _ in range(2):
        down(failing, 9)
        frame = market.manager(first, failing, other).get_ohlcv(*TEN_HOURS)
        assert (list(provenance(frame)["vendors"]), len(frame)) == (["polygon"], 9)
        assert [gap[:2] for gap in gaps(frame)] == [("2024-06-02T06:00:00", "2024-06-02T07:00:00")]
