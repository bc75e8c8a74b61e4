"""Tests splits and dividends of every vendor: one consistent series, whichever vendor fails."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Adjustment
from src.data.core.model.market.actions import Action
from src.data.core.model.time.instant import day_ms
from src.data.core.model.time.span import Span
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataError,
    IncompleteDataWarning,
    ProviderTimeoutError,
)
from tests.core.cache.counts import crossed

from .oracle import ms
from .scripted_vendor import provenance, route_to
from .share_vendors import (
    DIVIDENDS,
    SPLIT,
    Script,
    ShareVendor,
    Truth,
    dividend,
    last_opened,
    split,
    stamp_span,
)

FIRST, LAST = date(2020, 1, 2), date(2020, 12, 31)
YEAR = stamp_span(FIRST, LAST)
MIDDLE = stamp_span(date(2020, 5, 1), date(2020, 9, 15))
EVER = Span(0, 10**14)
ADJUSTMENTS: tuple[Adjustment, ...] = ("raw", "split", "all")
ORDERS = ["".join(order) for order in itertools.permutations("rsa")]
# Half a cent of the cheapest price, twice: what the vendors round away and what undoing it adds.
ROUNDING = 2 * 0.005 / 49

Ask = Callable[..., pd.DataFrame]


@pytest.fixture
def truth() -> Truth:
    """Return the true closes, split and dividends of the share."""
    return Truth()


@pytest.fixture
def share(truth: Truth, clock: ManualClock) -> dict[str, ShareVendor]:
    """Return the vendors: ``r`` raw with the actions, ``s`` split-adjusted, ``a`` fully adjusted."""
    return {
        "r": ShareVendor("r", "raw", truth, clock, actions=True),
        "s": ShareVendor("s", "split", truth, clock),
        "a": ShareVendor("a", "all", truth, clock),
    }


@pytest.fixture
def ask(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Return a function that requests the year 2020 from vendors in an order."""

    def asked(vendors: Mapping[str, ShareVendor], adjustment: str, **more: Any) -> pd.DataFrame:
        manager = DataManager(tmp_path / "cache", clock=clock)
        route_to(monkeypatch, manager, **vendors)
        bounds = {"start_date": FIRST, "end_date": LAST} | more
        return manager.get_ohlcv("AAPL", "1d", adjustment=adjustment, **bounds)

    return asked


def in_order(share: Mapping[str, ShareVendor], order: str) -> dict[str, ShareVendor]:
    return {name: share[name] for name in order}


def off(
    frame: pd.DataFrame, truth: Truth, clock: ManualClock, adjustment: str, span: Span = YEAR
) -> float:
    """Return by how much prices and volumes differ from the truth; every bar must be there."""
    bars = truth.bars(span, adjustment, last_opened(truth, clock))
    assert [stamp.value // 1_000_000 for stamp in frame.index] == [bar.stamp_ms for bar in bars]
    columns = zip(*(bar[1:6] for bar in bars), strict=True)
    return max(
        (frame[name] / list(column) - 1).abs().max()
        for name, column in zip(("open", "high", "low", "close", "volume"), columns, strict=True)
    )


# --- the worked example --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["r", "s", "a"])
def test_a_close_sent_raw_split_or_fully_adjusted_converts_to_the_other_two(
    share: dict[str, ShareVendor], ask: Ask, truth: Truth, name: str
) -> None:
    for other in set(share) - {name}:
        share[other].script = Script(down=[EVER])
    closes = {a: ask(share, a)["close"].iloc[0] for a in ADJUSTMENTS}
    assert truth.closes[FIRST] == 300.35
    near = {"raw": 0.005 * 4 * 1.04, "split": 0.0075, "all": 0.0075}
    for adjustment, close in {"raw": 300.35, "split": 75.0875, "all": 72.273}.items():
        assert closes[adjustment] == pytest.approx(close, abs=2 * near[adjustment])
    sent = {"r": ("raw", 300.35), "s": ("split", 75.09), "a": ("all", 72.27)}[name]
    assert closes[sent[0]] == sent[1], (
        "prices requested in their original adjustment are returned unchanged"
    )


@pytest.mark.parametrize(("order", "way"), crossed(ORDERS, ["down", "middle", "lacks"]))
def test_the_series_is_the_same_whichever_vendor_fails(
    share: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock, order: str,
    way: str, tmp_path: Path,
) -> None:  # fmt: skip
    scripts = {
        "down": Script(down=[EVER]), "middle": Script(down=[MIDDLE]),
        "lacks": Script(lacks=[MIDDLE]),
    }  # fmt: skip
    first = order[0]
    share[first].script = scripts[way]
    for adjustment in ADJUSTMENTS:
        frame = ask(in_order(share, order), adjustment, strict=True)
        assert off(frame, truth, clock, adjustment) < ROUNDING
        assert provenance(frame)["substitute"] is None
    assert order[1] in provenance(frame)["vendors"]


def test_cached_bars_are_in_one_basis_after_two_of_three_vendors_failed_in_the_middle(
    share: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock, tmp_path: Path
) -> None:
    share["r"].script = share["s"].script = Script(lacks=[MIDDLE])
    frames = {}
    for adjustment in ("split", "raw", "all"):
        frame = frames[adjustment] = ask(share, adjustment, strict=True)
        assert off(frame, truth, clock, adjustment) < ROUNDING
        if adjustment == "split":
            cache = DataManager(tmp_path / "cache", clock=clock).cache
            alone = cache.get("AAPL", "1d", FIRST, LAST)
            pd.testing.assert_frame_equal(alone, frame, check_exact=True)
    assert provenance(frame)["vendors"] == ["a", "r"]
    share["r"].asked.clear()
    pd.testing.assert_frame_equal(frame, ask(share, "all", strict=True))
    assert share["r"].asked == []


# --- where it cannot be known --------------------------------------------------------------


def test_prices_only_available_fully_adjusted_are_a_marked_substitute(
    share: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock
) -> None:
    share["r"].script = Script(down=[EVER], mute=True)
    share["s"].script = Script(down=[EVER])
    for adjustment in ("raw", "split"):
        with pytest.warns(IncompleteDataWarning, match="substitute"):
            frame = ask(share, adjustment)
        said = provenance(frame)
        assert (said["adjustment"], said["complete"]) == ("all", False)
        assert "1d@all" in said["substitute"]
        assert off(frame, truth, clock, "all") < ROUNDING
        with pytest.raises(IncompleteDataError, match="substitute"):
            ask(share, adjustment, strict=True)
    asked_for = ask(share, "all", strict=True)
    assert provenance(asked_for)["substitute"] is None
    assert off(asked_for, truth, clock, "all") < ROUNDING


def test_prices_are_exact_as_soon_as_the_vendor_of_splits_responds_again(
    share: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock
) -> None:
    share["r"].script = Script(down=[EVER], mute=True)
    share["s"].script = Script(down=[EVER])
    with pytest.warns(IncompleteDataWarning):
        ask(share, "split")
    share["r"].script = Script(down=[EVER])
    frame = ask(share, "split", strict=True)
    assert off(frame, truth, clock, "split") < ROUNDING
    assert provenance(frame)["vendors"] == ["a"]


def test_a_vendor_of_fully_adjusted_prices_is_a_marked_substitute_for_other_adjustments(
    share: dict[str, ShareVendor], ask: Ask
) -> None:
    alone = {"a": share["a"]}
    with pytest.warns(IncompleteDataWarning, match=r"substitute of a different kind: all prices"):
        frame = ask(alone, "split")
    assert provenance(frame)["adjustment"] == "all"
    assert ask(alone, "all", strict=True) is not None
    with pytest.raises(AllProvidersFailedError, match="splits and dividends for AAPL"):
        ask({"s": share["s"]}, "raw")


@pytest.mark.parametrize("adjustment", ["raw", "all"])
def test_a_pinned_vendor_without_splits_and_dividends_is_a_marked_substitute(
    ask: Ask, truth: Truth, clock: ManualClock, adjustment: Adjustment
) -> None:
    """The same as if the rules named only this vendor: in pieces, and after a restart."""
    alone = {"x": ShareVendor("x", adjustment, truth, clock)}
    bounds = {"end_date": date(2020, 6, 30), "provider": "x"}
    for wishes in (bounds, {"provider": "x"}, {"provider": "x", "offline": True}):
        with pytest.warns(IncompleteDataWarning, match=rf"a different kind: {adjustment} prices"):
            frame = ask(alone, "split", **wishes)
        said = provenance(frame)
        assert (said["adjustment"], said["complete"]) == (adjustment, False)
        assert said["substitute"] == f"{adjustment} prices (AAPL 1d@x)"
        if adjustment == "raw":
            clock.advance(86_400)
    assert off(frame, truth, clock, adjustment) < ROUNDING
    with pytest.raises(IncompleteDataError, match="substitute"):
        ask(alone, "split", provider="x", strict=True)
    as_asked = ask(alone, adjustment, provider="x", strict=True)
    assert provenance(as_asked)["substitute"] is None


def test_raw_prices_fetched_on_two_days_are_returned_as_one_substitute(
    ask: Ask, truth: Truth, clock: ManualClock
) -> None:
    alone = {"x": ShareVendor("x", "raw", truth, clock)}
    with pytest.warns(IncompleteDataWarning):
        ask(alone, "split", end_date=date(2020, 6, 30))
    clock.advance(3 * 86_400)
    alone["x"].asked.clear()
    with pytest.warns(IncompleteDataWarning, match="raw prices"):
        frame = ask(alone, "split")
    assert off(frame, truth, clock, "raw") < ROUNDING
    assert len(alone["x"].asked) == 1, "the stored bars need not be fetched again"


def test_a_pinned_vendor_whose_splits_and_dividends_cannot_be_fetched_is_an_error(
    share: dict[str, ShareVendor], ask: Ask
) -> None:
    share["r"].script = Script(mute=True)
    with pytest.raises(AllProvidersFailedError, match="splits and dividends for AAPL"):
        ask({"r": share["r"]}, "split", provider="r")


def test_stored_actions_are_used_without_the_vendor_that_reported_them(
    share: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock
) -> None:
    ask({"r": share["r"]}, "split", start_date=date(2020, 6, 1), end_date=date(2020, 6, 5))
    known = {"start_date": date(2020, 7, 1), "end_date": date(2020, 7, 31)}
    frame = ask({"a": share["a"]}, "split", strict=True, **known)
    july = stamp_span(date(2020, 7, 1), date(2020, 7, 31))
    assert off(frame, truth, clock, "split", july) < ROUNDING
    assert provenance(frame)["lane"] == "1d"


def test_two_splits_on_one_day_are_both_applied(
    share: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock
) -> None:
    """A split of 8:1 and a reverse split of 1:2 are together one of 4:1."""
    halved = Action(SPLIT.ex_date, "split", SPLIT.ex_at, 1.0, 2.0)
    share["r"].tells = [split(SPLIT.ex_date, 8.0), halved, *DIVIDENDS]
    for adjustment in ADJUSTMENTS:
        frame = ask({"r": share["r"]}, adjustment, strict=True)
        assert off(frame, truth, clock, adjustment) < ROUNDING


# --- actions are one line, bars are let be -------------------------------------------------


def test_a_new_split_and_a_new_dividend_change_no_bar_on_the_disk(
    share: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock, tmp_path: Path
) -> None:
    clock.set(ms("2024-05-01T21:00:00"))
    early = {"start_date": date(2024, 1, 2), "end_date": date(2024, 3, 28)}
    before = {a: ask(share, a, **early) for a in ADJUSTMENTS}
    (file,) = tmp_path.rglob("2024.csv.gz")
    book = tmp_path / "cache/ohlcv/AAPL/actions.json"
    stored, lines = file.read_bytes(), book.read_bytes().count(b"ex_date")
    truth.actions.append(split(date(2024, 6, 3), 2.0))
    halved = {day: round(c / 2, 2) for day, c in truth.closes.items() if day >= date(2024, 6, 3)}
    truth.closes.update(halved)
    clock.set(ms("2024-06-11T21:00:00"))
    ask(share, "split", start_date=date(2024, 6, 4), end_date=date(2024, 6, 11))
    spring = stamp_span(date(2024, 1, 2), date(2024, 3, 28))
    for adjustment in ADJUSTMENTS:
        after = ask(share, adjustment, **early, strict=True)
        assert off(after, truth, clock, adjustment, spring) < 1e-12
        ratio = after["close"] / before[adjustment]["close"]
        assert ratio.max() == pytest.approx(1.0 if adjustment == "raw" else 0.5, rel=5e-3)
    assert file.read_bytes().startswith(stored)
    assert book.read_bytes().count(b"ex_date") == lines + 2


@pytest.mark.parametrize("adjustment", ["split", "all"])
def test_without_splits_from_any_vendor_bars_are_fetched_again_to_stay_in_one_basis(
    share: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock,
    adjustment: Adjustment, tmp_path: Path,
) -> None:  # fmt: skip
    vendor = share["s" if adjustment == "split" else "a"]
    truth.actions.append(split(date(2024, 5, 14), 2.0))
    since = date(2024, 1, 2)
    sizes = []
    for day in (8, 9, 13, 14):
        clock.set(ms(f"2024-05-{day:02}T21:00:00"))
        frame = ask({vendor.name: vendor}, adjustment, start_date=since, end_date=None, strict=True)
        so_far = stamp_span(since, date(2024, 5, day))
        assert off(frame, truth, clock, adjustment, so_far) < ROUNDING
        assert provenance(frame)["as_of"] == f"2024-05-{day:02}"
        (file,) = tmp_path.rglob("2024.csv.gz")
        sizes.append(file.read_bytes())
    assert sizes[1].startswith(sizes[0]), "equal bars are not written again"
    assert not sizes[3].startswith(sizes[2])


def test_a_vendor_whose_splits_time_out_is_asked_for_nothing_more_by_that_call(
    ask: Ask, truth: Truth, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = ShareVendor("v", "split", truth, clock)
    apart = replace(vendor.capabilities, actions_apart=True)
    monkeypatch.setattr(vendor, "capabilities", apart)
    since = {"start_date": date(2024, 1, 2), "end_date": None}
    clock.set(ms("2024-05-08T21:00:00"))
    ask({"v": vendor}, "split", **since, strict=True)
    vendor.asked.clear()

    def fetch_actions(*_: object) -> None:
        raise ProviderTimeoutError("late", provider="v")

    monkeypatch.setattr(vendor, "fetch_actions", fetch_actions)
    clock.set(ms("2024-05-13T21:00:00"))
    with pytest.raises(AllProvidersFailedError, match="late"):
        ask({"v": vendor}, "split", **since)
    assert len(vendor.asked) == 1, "the bars since then; all others would be a second timeout"


# --- vendors that are divided --------------------------------------------------------------


@pytest.fixture
def three(truth: Truth, clock: ManualClock) -> dict[str, ShareVendor]:
    """Return three vendors of raw bars that all report actions."""
    return {n: ShareVendor(n, "raw", truth, clock, actions=True) for n in ("one", "two", "three")}


def heard(ask: Ask, vendors: Mapping[str, ShareVendor]) -> None:
    """Store the actions of every vendor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)  # of the divided ones
        for name, vendor in vendors.items():
            ask({name: vendor}, "split", provider=name)


def with_split(*ratio: float) -> list[Action]:
    return [*(split(SPLIT.ex_date, r) for r in ratio), *DIVIDENDS]


def test_splits_and_dividends_that_vendors_report_equally_are_not_disputed(
    three: dict[str, ShareVendor], ask: Ask
) -> None:
    adjusted = dividend(date(2020, 2, 7), 0.1925, as_paid=False)
    three["two"].tells = [SPLIT, adjusted, *DIVIDENDS[1:]]
    three["three"].tells = [split(date(2020, 8, 30), 4.0), *DIVIDENDS]
    heard(ask, three)
    for adjustment in ADJUSTMENTS:
        assert "actions_disputed" not in provenance(ask(three, adjustment, strict=True))


def test_the_split_ratio_of_most_vendors_is_used_and_the_dispute_is_reported(
    three: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock, tmp_path: Path
) -> None:
    """The report of every vendor is kept."""
    three["one"].tells = with_split(2.0)
    heard(ask, three)
    book = DataManager(tmp_path / "cache", clock=clock).cache.store.actions("AAPL")
    splits = {a.source: a.numerator for a in book.reports if a.type == "split"}
    assert splits == {"one": 2.0, "two": 4.0, "three": 4.0}
    assert {a.source for a in book.answers} == set(three)
    assert all(day_ms(a.ex_date) in EVER for a in book.reports)
    frame = ask(three, "split", strict=True)
    assert off(frame, truth, clock, "split") < 1e-12
    (entry,) = provenance(frame)["actions_disputed"]
    assert (entry["type"], entry["ex_date"], entry["source"]) == ("split", "2020-08-31", "three")
    assert (entry["used"], entry["settled"]) == (True, True)
    assert dict(entry["others"]) == {"one": "split of 2:1 on 2020-08-31"}
    assert any("vendors disagree on an action" in p for p in provenance(frame)["problems"])
    hit = ask(three, "split", strict=True)
    assert provenance(hit)["actions_disputed"] == provenance(frame)["actions_disputed"]
    assert "actions_disputed" not in provenance(ask(three, "raw", strict=True))
    later = {"start_date": date(2020, 9, 1)}
    assert "actions_disputed" not in provenance(ask(three, "split", strict=True, **later))


def test_a_split_that_half_of_the_vendors_omit_is_used_and_doubted(
    three: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock
) -> None:
    del three["three"]
    three["two"].tells = DIVIDENDS
    heard(ask, three)
    with pytest.warns(IncompleteDataWarning, match=r"two: no split then"):
        frame = ask(three, "split")
    assert off(frame, truth, clock, "split") < 1e-12
    (entry,) = provenance(frame)["actions_disputed"]
    assert (entry["used"], entry["settled"]) == (True, False)
    with pytest.raises(IncompleteDataError, match="neither has more vendors"):
        ask(three, "split", strict=True)


def test_a_split_from_only_one_of_three_vendors_is_not_used_and_is_reported(
    three: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock
) -> None:
    bogus = split(date(2020, 4, 6), 10.0)
    three["one"].tells = [*with_split(4.0), bogus]
    heard(ask, three)
    frame = ask(three, "split", strict=True)
    assert off(frame, truth, clock, "split") < 1e-12
    (entry,) = provenance(frame)["actions_disputed"]
    assert (entry["ex_date"], entry["used"], entry["settled"]) == ("2020-04-06", False, True)


def test_a_dividend_amount_in_dispute_is_reported_only_for_prices_adjusted_for_dividends(
    three: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock
) -> None:
    three["three"].tells = [SPLIT, dividend(date(2020, 5, 8), 0.28), *DIVIDENDS[2:], DIVIDENDS[0]]
    heard(ask, three)
    frame = ask(three, "all", strict=True)
    assert off(frame, truth, clock, "all") < 1e-12
    (entry,) = provenance(frame)["actions_disputed"]
    assert dict(entry["others"]) == {"three": "dividend of 0.28 on 2020-05-08"}
    assert "actions_disputed" not in provenance(ask(three, "split", strict=True))


def test_a_pinned_vendor_is_adjusted_by_its_own_dividends(
    three: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock
) -> None:
    paid = [SPLIT, dividend(date(2020, 5, 8), 0.28), *DIVIDENDS[2:], DIVIDENDS[0]]
    mistaken = Truth()
    mistaken.actions = paid
    three["two"].tells = paid
    ask({"one": three["one"]}, "all")
    for _ in range(2):
        frame = ask(three, "all", provider="two", strict=True)
        assert off(frame, mistaken, clock, "all") < 1e-12
        assert off(frame, truth, clock, "all") > 1e-5
        assert "actions_disputed" not in provenance(frame)
    assert provenance(frame)["problems"] == []
    assert three["two"].asked_actions or three["two"].asked


def test_a_pinned_vendor_without_splits_is_adjusted_by_another_vendor_named_in_the_answer(
    share: dict[str, ShareVendor], ask: Ask, truth: Truth, clock: ManualClock
) -> None:
    raw = {"r": share["r"], "two": ShareVendor("two", "raw", truth, clock)}
    ask({"r": raw["r"]}, "split")
    for _ in range(2):
        frame = ask(raw, "split", provider="two")
        assert off(frame, truth, clock, "split") < ROUNDING
        assert "splits and dividends were taken from r" in provenance(frame)["problems"]


def test_of_two_disputed_dividends_the_one_reported_as_used_is_the_one_used(
    truth: Truth, clock: ManualClock, ask: Ask
) -> None:
    """If neither has more vendors, the bars of each are adjusted by its own report."""
    late = [SPLIT, dividend(date(2020, 5, 8), 0.28), *DIVIDENDS[2:], DIVIDENDS[0]]
    one = ShareVendor("one", "raw", truth, clock, actions=True)
    two = ShareVendor("two", "raw", truth, clock, actions=True)
    two.tells = late
    heard(ask, {"one": one, "two": two})
    one.script = Script(down=[EVER])
    mistaken = Truth()
    mistaken.actions = late
    frame = ask({"one": one, "two": two}, "all")
    assert provenance(frame)["vendors"] == ["two"]
    assert off(frame, mistaken, clock, "all") < 1e-12
    (entry,) = provenance(frame)["actions_disputed"]
    assert (entry["source"], entry["action"]) == ("two", "dividend of 0.28 on 2020-05-08")
    assert list(entry["others"]) == ["one"]
    assert "dividend of 0.28 on 2020-05-08 of two was used" in " ".join(
        provenance(frame)["problems"]
    )


def test_prices_that_a_vendor_adjusted_are_unadjusted_by_its_own_splits(
    truth: Truth, clock: ManualClock, ask: Ask
) -> None:
    mistaken = Truth()
    mistaken.actions = with_split(5.0)
    right = ShareVendor("right", "raw", truth, clock, actions=True)
    wrong = ShareVendor("wrong", "split", mistaken, clock, actions=True, digits=9)
    heard(ask, {"right": right, "wrong": wrong})
    with pytest.warns(IncompleteDataWarning, match="divided|neither"):
        frame = ask({"wrong": wrong}, "raw")
    assert off(frame, truth, clock, "raw") < 1e-9
