"""Grave (almost certainly wrong) bars: detected on arrival, reported, compared, and resolved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from math import sin
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.bars.stream_store import Origin, StreamKeeper
from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.core.model.time.instant import day_ms
from src.data.core.observability.events import Event, QualityLow
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning, UnavailableError

from .fixed_vendor import FixedVendor, Market, at, days, every
from .scripted_vendor import provenance, route_to

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

HOUR, DAY = 3600, 24 * 3600
SPLIT_DAY = date(2024, 4, 2)
Spoil = Callable[[list[Bar]], list[Bar]]


class Walker(FixedVendor):
    """Has prices that walk a little, and one volume; a first vendor spoils them, a second one does not."""

    def __init__(self, clock: ManualClock, stamps: list[int], like: str, name: str = "") -> None:
        super().__init__(clock, stamps, like)
        self.name = name or like
        self.actions: tuple[Action, ...] | None = None
        if like == "yahoo":
            self.capabilities = replace(self.capabilities, actions=True, actions_by_bar=False)

    def bar(self, stamp: int) -> Bar:
        """Return a bar that opens about where the one before closed."""
        step = self.stamps[1] - self.stamps[0]
        opened, close = (100 + 2 * sin(s / step * 1.7) for s in (stamp - step, stamp))
        high, low = max(opened, close) + 0.5, min(opened, close) - 0.5
        volume = 5000.0 + 100 * (stamp // step % 7)
        return Bar(stamp, opened, high, low, close, volume)

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return bars with the splits that the vendor reports."""
        if self.actions is not None and query.instrument.asset_class == "stock":
            return replace(super().fetch(query), actions=self.actions)
        return super().fetch(query)

    def fetch_actions(self, *_: Any, **__: Any) -> Any:
        """Return the same splits without bars."""
        return self.actions or ()


class Case:
    """A series, and what its first vendor makes of it."""

    def __init__(self, name: str, series: tuple[str, ...], like: str, stamps: list[int], spoil: Spoil,
                 wrong: tuple[str, str], *, told_split: bool = False) -> None:  # fmt: skip
        self.name, self.series, self.like, self.stamps = name, series, like, stamps
        self.spoil, self.wrong, self.told_split = spoil, wrong, told_split

    def vendor(self, clock: ManualClock, name: str = "", *, right: bool = False) -> Walker:
        """Return a vendor of it."""
        walker = Walker(clock, self.stamps, self.like, name)
        if not right:
            walker.spoil = self.spoil
        if self.like == "yahoo":
            walker.actions = ()
        if self.told_split:
            at_ms = day_ms(SPLIT_DAY) + 13 * HOUR * 1000 + 30 * 60_000
            split = Action(SPLIT_DAY, "split", at_ms, 4.0, 1.0, source=walker.name)
            walker.actions = (replace(split, fetched_at=clock.now_ms()),)
        return walker

    @property
    def bad(self) -> list[pd.Timestamp]:
        """The stamps of its wrong bars."""
        first, last = map(at, self.wrong)
        return [pd.Timestamp(s, unit="ms") for s in self.stamps if first <= s <= last]


def scaled(factor: float, first: str, last: str, volume: float = 1.0) -> Spoil:
    """Return what multiplies the bars from ``first`` to ``last``, both inclusive."""

    def spoil(rows: list[Bar]) -> list[Bar]:
        return [
            Bar(r.stamp_ms, *(v * factor for v in r[1:5]), r.volume * volume)
            if at(first) <= r.stamp_ms <= at(last)
            else r
            for r in rows
        ]

    return spoil


def minutes(day: str, last: str, step: str) -> list[int]:
    return every(step, f"{day}T13:30:00Z", f"{day}T{last}Z")


DAYS = [day_ms(d) for d in days("2024-01-02", "2024-05-31") if str(d) not in
        ("2024-01-15", "2024-02-19", "2024-03-29", "2024-05-27")]  # fmt: skip
SHARE_MINUTES = [s for d in ("2024-04-01", "2024-04-02") for s in minutes(d, "19:55:00", "5m")]
COIN_DAYS = every("1d", "2024-03-01T00:00:00Z", "2024-05-31T00:00:00Z")
COIN_HOURS = every("1h", "2024-05-01T00:00:00Z", "2024-05-03T23:00:00Z")
OF_DAYS, OF_COINS = (
    ("AAPL", "1d", "2024-01-02", "2024-05-31"),
    ("BTCUSDT", "1d", "2024-03-01", "2024-05-31"),
)
OF_HOURS = ("BTCUSDT", "1h", "2024-05-01", "2024-05-03")
OF_MINUTES = ("AAPL", "5m", "2024-04-01", "2024-04-02")
ONE = ("2024-04-16T00:00:00Z", "2024-04-16T00:00:00Z")
NOON = ("2024-05-02T12:00:00Z", "2024-05-02T12:00:00Z")
BEFORE = ("2024-01-02T00:00:00Z", "2024-04-01T00:00:00Z")
HALF = ("2024-01-02T00:00:00Z", "2024-03-26T00:00:00Z")
MORNING = ("2024-04-01T13:30:00Z", "2024-04-01T19:55:00Z")
LAST = ("2024-05-31T00:00:00Z", "2024-05-31T00:00:00Z")

CASES = [
    Case("share day x100", OF_DAYS, "yahoo", DAYS, scaled(100, *ONE), ONE),
    Case("share day /100", OF_DAYS, "yahoo", DAYS, scaled(0.01, *ONE), ONE),
    Case("last day x100", OF_DAYS, "yahoo", DAYS, scaled(100, *LAST), LAST),
    Case("coin day x100", OF_COINS, "binance", COIN_DAYS, scaled(100, *ONE), ONE),
    Case("coin hour /100", OF_HOURS, "binance", COIN_HOURS, scaled(0.01, *NOON), NOON),
    Case("share minutes x100", OF_MINUTES, "yahoo", SHARE_MINUTES,
         scaled(100, "2024-04-01T15:00:00Z", "2024-04-01T15:10:00Z"),
         ("2024-04-01T15:00:00Z", "2024-04-01T15:10:00Z")),
    Case("told split ignored", OF_DAYS, "yahoo", DAYS, scaled(4, *BEFORE, 0.25), BEFORE, told_split=True),
    Case("told split half applied", OF_DAYS, "yahoo", DAYS, scaled(4, *HALF, 0.25), HALF, told_split=True),
    Case("told split in minutes", OF_MINUTES, "yahoo", SHARE_MINUTES, scaled(4, *MORNING), MORNING,
         told_split=True),
    Case("untold split by volume", OF_DAYS, "yahoo", DAYS, scaled(4, *BEFORE, 0.25), BEFORE),
    Case("untold split by size", OF_DAYS, "yahoo", DAYS, scaled(1 / 16, *BEFORE), BEFORE),
]  # fmt: skip


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2024-06-20 12:00 UTC."""
    return ManualClock(at("2024-06-20T12:00:00Z"))


def grave_spans(frame: pd.DataFrame) -> list[Any]:
    return [s for s in provenance(frame)["spans"] if s.get("reason", "").startswith("grave: ")]


def ask(manager: DataManager, case: Case, **more: Any) -> pd.DataFrame:
    return manager.get_ohlcv(*case.series, **more)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_grave_bars_of_a_lone_vendor_are_returned_with_a_warning_and_not_refetched_at_once(
    market: Market, clock: ManualClock, case: Case
) -> None:
    vendor = case.vendor(clock)
    with pytest.warns(IncompleteDataWarning, match="almost certainly wrong") as warned:
        frame = ask(market.manager(vendor), case)
    assert len(warned) == 1, "one warning"
    assert len(frame) == len(case.stamps), "they are returned"
    account = provenance(frame)
    assert not account["complete"]
    assert account["quality"]["score"] <= 0.9
    assert any(text.startswith("grave: ") for text in account["problems"])
    assert sum(span["rows"] for span in grave_spans(frame)) == len(case.bad)
    assert all(span["state"] == "suspect" for span in grave_spans(frame))
    asked = len(vendor.asked)
    for manager in (market.manager(vendor), market.manager()):
        again = ask(manager, case, offline=not manager.provider_selector.downloaders)
        assert len(vendor.asked) == asked, "the verdict is read from the store without a request"
        pd.testing.assert_frame_equal(again, frame)
        assert grave_spans(again) == grave_spans(frame)
        assert provenance(again)["quality"]["score"] == account["quality"]["score"]
        with pytest.raises(IncompleteDataError, match="almost certainly wrong"):
            ask(manager, case, strict=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_grave_bars_are_replaced_by_right_ones_of_a_second_vendor_in_the_same_call(
    market: Market, clock: ManualClock, case: Case
) -> None:
    first, second = case.vendor(clock), case.vendor(clock, "second", right=True)
    frame = ask(market.manager(first, second), case, strict=True)
    right = ask(market.manager(case.vendor(clock, right=True), folder="other"), case, strict=True)
    pd.testing.assert_frame_equal(frame, right, check_freq=False)
    assert set(provenance(frame)["vendors"]) == {first.name, "second"}
    assert sum(s["rows"] for s in provenance(frame)["spans"] if s["vendor"] == "second") == len(
        case.bad
    )
    asked = len(first.asked), len(second.asked)
    clock.advance(40 * DAY)
    ask(market.manager(first, second), case, strict=True)
    assert (len(first.asked), len(second.asked)) == asked, "it is final"


@pytest.mark.parametrize("case", CASES[:4:3] + CASES[6:7], ids=lambda case: case.name)
def test_grave_bars_are_accepted_if_a_second_vendor_has_the_same_prices(
    market: Market, clock: ManualClock, case: Case
) -> None:
    first, second = case.vendor(clock), case.vendor(clock, "second")
    honest = second.spoil
    second.spoil = lambda rows: [r._replace(volume=r.volume + 1) for r in honest(rows)]
    frame = ask(market.manager(first, second), case, strict=True)
    assert grave_spans(frame) == []
    assert provenance(frame)["vendors"] == [first.name], "the bars of the first vendor stay"
    assert any("second has the same" in text for text in provenance(frame)["problems"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_grave_bars_lower_the_score_of_their_year_until_they_are_accepted(
    market: Market, clock: ManualClock, case: Case
) -> None:
    first, second = case.vendor(clock), case.vendor(clock, "second")
    manager = market.manager(first)
    score = provenance(ask(manager, case))["quality"]["score"]

    def quality() -> dict[str, Any]:
        found: dict[str, Any] = manager.cache.get_data_info(*case.series[:2], 2024)["data_quality"]
        return found

    assert quality()["score"] == pytest.approx(score, abs=1e-4) != 1.0
    assert quality()["validation_errors"][0].startswith("grave: ")
    clock.advance(DAY + 60)
    ask(market.manager(first, second), case)
    assert (quality()["score"], quality()["validation_errors"]) == (1.0, [])


@pytest.mark.parametrize("case", CASES[:4:3] + CASES[6:7] + CASES[9:], ids=lambda case: case.name)
def test_grave_bars_are_accepted_after_the_vendor_repeats_them_three_times(
    market: Market, clock: ManualClock, case: Case
) -> None:
    vendor = case.vendor(clock)
    manager = market.manager(vendor)
    first = ask(manager, case)
    for wait in (DAY, 2 * DAY, 4 * DAY):
        asked = len(vendor.asked)
        clock.advance(wait - 60)
        assert grave_spans(ask(manager, case))
        assert len(vendor.asked) == asked, "not before its time"
        clock.advance(120)
        frame = ask(manager, case)
        assert len(vendor.asked) == asked + 1
    assert grave_spans(frame) == []
    assert provenance(frame)["complete"]
    assert any(text.startswith("settled: ") for text in provenance(frame)["problems"])
    pd.testing.assert_frame_equal(frame, first)
    report = manager.validate(*case.series[:2])
    mine = [f for f in report.findings if f.check in ("unit", "split")]
    assert mine, "they are listed"
    assert {f.severity for f in mine} == {"info"}
    # Not judged again, whatever is asked beside them.
    clock.advance(30 * DAY)
    frame = ask(manager, case, force_refresh=True)
    assert grave_spans(frame) == []
    assert any(text.startswith("settled: ") for text in provenance(frame)["problems"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_grave_bars_that_their_vendor_corrects_become_final(
    market: Market, clock: ManualClock, case: Case
) -> None:
    vendor = case.vendor(clock)
    ask(market.manager(vendor), case)
    vendor.spoil = lambda rows: rows
    clock.advance(DAY + 60)
    frame = ask(market.manager(vendor), case, strict=True)
    assert {span["state"] for span in provenance(frame)["spans"]} == {"final"}
    assert frame["close"].max() < 103
    assert frame["close"].min() > 97


def test_grave_bars_that_differ_each_time_are_requested_every_day_and_never_accepted(
    market: Market, clock: ManualClock
) -> None:
    case = CASES[3]
    vendor = case.vendor(clock)
    for times, factor in enumerate((100, 0.01, 100, 0.01, 100), start=1):
        vendor.spoil = scaled(factor, *ONE)
        assert len(grave_spans(ask(market.manager(vendor), case))) == 1
        assert len(vendor.asked) == times
        clock.advance(DAY + 60)


def test_bars_stay_grave_while_the_second_vendor_is_down(
    market: Market, clock: ManualClock
) -> None:
    case = CASES[3]
    first, second = case.vendor(clock), case.vendor(clock, "second", right=True)
    second.errors = [UnavailableError("down", provider="second")]
    manager = market.manager(first, second)
    assert len(grave_spans(ask(manager, case))) == 1
    clock.advance(DAY + 60)
    frame = ask(manager, case, strict=True)
    assert frame["close"].max() < 103, (
        "requested again at the expiry, and then from the second vendor"
    )


def test_grave_bars_stay_if_the_second_vendor_has_other_wrong_ones(
    market: Market, clock: ManualClock
) -> None:
    case = CASES[3]
    first, second = case.vendor(clock), case.vendor(clock, "second", right=True)
    second.spoil = scaled(0.01, *ONE)
    frame = ask(market.manager(first, second), case)
    assert len(grave_spans(frame)) == 1
    assert provenance(frame)["vendors"] == ["binance"]
    assert frame.loc["2024-04-16", "close"] > 9000


def test_a_split_in_a_later_chunk_makes_bars_stored_before_it_grave(
    market: Market, clock: ManualClock
) -> None:
    case = CASES[6]
    first, second = case.vendor(clock), case.vendor(clock, "second", right=True)
    for vendor in (first, second):  # the first commit holds no bar behind the split
        vendor.capabilities = replace(vendor.capabilities, page_bars=10)
    split = first.actions
    first.actions = ()
    plain = first.fetch

    def fetch(query: FetchQuery) -> Fetched:
        first.actions = split if query.span.end > day_ms(SPLIT_DAY) else ()
        return plain(query)

    first.fetch = fetch  # type: ignore[method-assign]
    frame = ask(market.manager(first, second), case, strict=True)
    assert frame["close"].max() < 103
    assert sum(s["rows"] for s in provenance(frame)["spans"] if s["vendor"] == "second") == len(
        case.bad
    )


class AsTraded(Walker):
    """Has prices as traded, with a split that it reports only in a separate request."""

    def __init__(self, clock: ManualClock, *, told: bool) -> None:
        super().__init__(clock, DAYS, "yahoo")
        self.capabilities = replace(self.capabilities, adjustment="raw")
        self.spoil = scaled(4, *BEFORE, 0.25)
        opens = day_ms(SPLIT_DAY) + 13 * HOUR * 1000 + 30 * 60_000
        split = Action(SPLIT_DAY, "split", opens, 4.0, 1.0, source=self.name)
        self.told = [replace(split, fetched_at=clock.now_ms())] if told else []

    def fetch_actions(self, *_: Any, **__: Any) -> Any:
        """Return the split."""
        return self.told


@pytest.mark.parametrize("adjustment", ["raw", "split"])
def test_prices_as_traded_are_not_doubted_for_a_split_that_was_not_requested_yet(
    market: Market, clock: ManualClock, adjustment: Any
) -> None:
    manager = market.manager(AsTraded(clock, told=True))
    frame = manager.get_ohlcv(*OF_DAYS, adjustment=adjustment, strict=True)
    before = {"raw": 4, "split": 1}[adjustment] * AsTraded(clock, told=True).bar(DAYS[0]).close
    assert frame["close"].iloc[0] == pytest.approx(before)


def test_prices_as_traded_are_doubted_for_a_split_that_was_requested_and_not_reported(
    market: Market, clock: ManualClock
) -> None:
    manager = market.manager(AsTraded(clock, told=False))
    manager.get_actions("AAPL", "2024-01-02")
    with pytest.raises(IncompleteDataError, match="a split of 4:1 that was not applied"):
        manager.get_ohlcv(*OF_DAYS, adjustment="raw", strict=True)


def test_bars_are_judged_with_the_dividends_of_the_book_in_the_shares_of_their_prices(
    market: Market, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    like, amount = "yahoo", 243.94 / 2  # the amount as it was paid; a split has halved it since
    vendor = Walker(clock, DAYS, like)
    opens = day_ms(SPLIT_DAY) + 13 * HOUR * 1000 + 30 * 60_000
    now = clock.now_ms()
    merged = Action(SPLIT_DAY, "split", opens, 33.0, 70.0, source=like, fetched_at=now)
    paid = Action(
        SPLIT_DAY, "dividend", opens, amount=243.94, source=like, fetched_at=now, as_paid=True
    )
    later = replace(merged, ex_date=date(2024, 5, 6), numerator=2.0, denominator=1.0)
    vendor.actions = (merged, paid, replace(later, ex_at=opens + 34 * DAY * 1000))
    judged: list[Any] = []
    monkeypatch.setattr(
        "src.data.core.bars.ingest.judge.graves", lambda series: judged.append(series) or []
    )
    market.manager(vendor).get_ohlcv(*OF_DAYS)
    (series,) = judged
    assert [event.at_ms for event in series.dividends] == [day_ms(SPLIT_DAY)]
    assert series.dividends[0].value == pytest.approx(amount)
    assert [event.value for event in series.splits] == pytest.approx([33 / 70, 2.0])


@pytest.mark.parametrize("day", [15, 31])
def test_a_dividend_late_in_the_last_month_explains_the_step_of_its_adjusted_close(
    market: Market, clock: ManualClock, day: int
) -> None:
    months = [day_ms(date(2023 + n // 12, n % 12 + 1, 1)) for n in range(17)]
    vendor = Walker(clock, months, "yahoo")
    vendor.capabilities = replace(vendor.capabilities, timeframes={"1M": "1mo"})

    def paying(rows: list[Bar]) -> list[Bar]:
        last = rows[-1]._replace(low=75.0, close=80.0, adj_close=80.0)
        return [*(r._replace(adj_close=0.8 * r.close) for r in rows[:-1]), last]

    vendor.spoil = paying
    ex = date(2024, 5, day)
    opens, before = day_ms(ex) + 13 * HOUR * 1000, vendor.bar(months[-2]).close
    paid = Action(ex, "dividend", opens, amount=0.2 * before, source="yahoo",
                  fetched_at=clock.now_ms(), as_paid=True)  # fmt: skip
    months_of = ("AAPL", "1M", "2023-01", "2024-05")
    vendor.actions = (paid,)
    frame = market.manager(vendor).get_ohlcv(*months_of, strict=True)
    assert len(frame) == 17 and grave_spans(frame) == []
    vendor.actions = ()
    with pytest.raises(IncompleteDataError, match=r"adj_close follows a split of 1\.25:1"):
        market.manager(vendor, folder="other").get_ohlcv(*months_of, strict=True)


def test_a_newly_appended_bar_is_judged_against_the_stored_ones(
    market: Market, clock: ManualClock
) -> None:
    case = CASES[3]
    vendor = case.vendor(clock)
    vendor.spoil = scaled(100, *LAST)
    clock.set(at("2024-05-31T12:00:00Z"))
    manager = market.manager(vendor)
    manager.get_ohlcv("BTCUSDT", "1d", "2024-03-01", "2024-05-30", strict=True)
    clock.advance(DAY)
    frame = manager.get_ohlcv("BTCUSDT", "1d", "2024-03-01", "2024-05-31")
    (span,) = grave_spans(frame)
    assert (span["rows"], span["start"][:10]) == (1, "2024-05-31")
    assert "100 times too large" in span["reason"]


def test_a_spoilt_streamed_bar_is_judged_at_the_next_fetch(
    market: Market, clock: ManualClock
) -> None:
    case = CASES[4]
    vendor = case.vendor(clock)
    manager = market.manager(vendor)
    clock.set(at("2024-05-02T12:00:30Z"))
    manager.get_ohlcv(*case.series[:2], "2024-05-01", "2024-05-02T11:00:00")
    (held,) = manager.cache.store.keys()
    query = manager.client.query(*case.series)
    grid = BarGrid(calendar_for(query.instrument), query.timeframe)
    kind = manager.cache.store.view(held).kind
    assert kind is not None
    (spoilt,) = case.spoil([vendor.bar(at(NOON[0]))])
    clock.set(at("2024-05-02T13:00:10Z"))
    keeper = StreamKeeper(manager.provider_selector, manager.cache.store, clock)
    assert keeper.keep(query.instrument, grid, Origin("binance", kind, 0), [spoilt]) == 1
    assert manager.cache.store.view(held).coverage[-1].state == "provisional"
    clock.set(at("2024-06-02T00:00:00Z"))
    frame = ask(manager, case)
    assert [span["start"] for span in grave_spans(frame)] == ["2024-05-02T12:00:00Z"]
    with pytest.raises(IncompleteDataError, match="almost certainly wrong"):
        ask(manager, case, strict=True)


@pytest.mark.parametrize("drop", [0.5, 0.05])
def test_a_large_move_alone_is_not_an_error(
    market: Market, clock: ManualClock, drop: float
) -> None:
    for case in (CASES[0], CASES[3]):
        vendor = case.vendor(clock)
        vendor.spoil = scaled(drop, "2024-04-16T00:00:00Z", "2024-06-30T00:00:00Z")
        frame = ask(market.manager(vendor, folder=case.like), case, strict=True)
        assert provenance(frame)["problems"] == []


def test_bars_derived_from_grave_ones_are_marked_as_grave(
    market: Market, clock: ManualClock
) -> None:
    case = CASES[4]
    vendor = case.vendor(clock)
    vendor.capabilities = replace(vendor.capabilities, timeframes={"1h": "1h"})
    frame = market.manager(vendor).get_ohlcv("BTCUSDT", "2h", "2024-05-01", "2024-05-03")
    assert not provenance(frame)["complete"]
    assert "grave: " in str(provenance(frame)["problems"])


@pytest.mark.parametrize(("least", "is_told"), [(0.95, True), (0.85, False)])
def test_an_answer_below_the_minimum_of_the_rules_is_an_event(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, least: float, is_told: bool
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(f"validation: {{min_quality_score: {least}}}\n")
    case = CASES[3]
    vendor = case.vendor(clock)
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    route_to(monkeypatch, manager, **{vendor.name: vendor})
    events: list[Event] = []
    manager.on_event(events.append)
    for _ in range(2):
        ask(manager, case)
    ask(manager, case, force_refresh=True)  # another generation of the series
    low = [event for event in events if isinstance(event, QualityLow)]
    assert len(low) == 2 * is_told
    for event in low:
        assert (event.symbol, event.timeframe, event.lane) == ("BTCUSDT", "1d", "")
        assert (event.score, event.minimum) == (0.9, least)
        assert any("100 times too large" in text for text in event.findings)


@pytest.mark.parametrize(("least", "is_told"), [(0.95, True), (0.85, False)])
def test_a_validation_below_the_minimum_of_the_rules_is_an_event_once(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, least: float, is_told: bool
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(f"validation: {{min_quality_score: {least}}}\n")
    case = CASES[3]
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    route_to(monkeypatch, manager, binance=case.vendor(clock))
    ask(manager, case)
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    events: list[Event] = []
    manager.on_event(events.append)
    assert {manager.validate("BTCUSDT", "1d").score for _ in range(2)} == {0.9}
    low = [event for event in events if isinstance(event, QualityLow)]
    assert [(event.symbol, event.timeframe, event.score, event.minimum) for event in low] == [
        ("BTCUSDT", "1d", 0.9, least)
    ] * is_told
    ask(manager, case, offline=True)
    assert [event for event in events if isinstance(event, QualityLow)] == low, "answers included"


def test_grave_derived_bars_send_one_event_for_each_timeframe(
    market: Market, clock: ManualClock
) -> None:
    case = CASES[6]
    manager = market.manager(case.vendor(clock))
    events: list[Event] = []
    manager.on_event(events.append)
    for length in ("1w", "1M", "1w"):
        manager.get_ohlcv("AAPL", length, *case.series[2:])
    low = [event for event in events if isinstance(event, QualityLow)]
    assert [event.timeframe for event in low] == ["1w", "1M"]


@pytest.mark.parametrize(("least", "is_told"), [(0.95, True), (0.85, False)])
@pytest.mark.parametrize("way", ["get_provenance", "lookup"])
def test_an_answer_of_a_job_below_the_minimum_of_the_rules_is_an_event(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, least: float, is_told: bool,
    way: str,
) -> None:  # fmt: skip
    rules = tmp_path / "rules.yaml"
    rules.write_text(f"validation: {{min_quality_score: {least}}}\n")
    case = CASES[3]
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    route_to(monkeypatch, manager, binance=case.vendor(clock))
    if way == "lookup":
        ask(manager, case)
        manager = DataManager(tmp_path / "cache", rules, clock=clock)
    events: list[Event] = []
    manager.on_event(events.append)
    client = manager.client
    getattr(client, way)(client.query(*case.series))
    low = [event for event in events if isinstance(event, QualityLow)]
    assert [(event.score, event.minimum) for event in low] == [(0.9, least)] * is_told


def test_bars_marked_at_a_change_of_units_stay_marked_if_earlier_bars_are_added(
    market: Market, clock: ManualClock
) -> None:
    """Each fetch beside them would doubt the bars next to them, if they were taken out of the series."""
    clock.set(at("2024-06-07T00:00:00Z"))
    vendor = Walker(clock, every("1h", "2024-06-03T00:00:00Z", "2024-06-05T12:00:00Z"), "binance")
    vendor.spoil = scaled(0.01, "2024-06-05T00:00:00Z", "2024-06-05T12:00:00Z")
    manager, hours = market.manager(vendor), ("BTCUSDT", "1h")
    late = "2024-06-04T12:00", "2024-06-05T12:00"

    def doubted() -> list[str]:
        return [one["start"] for one in grave_spans(manager.get_ohlcv(*hours, *late, offline=True))]

    manager.get_ohlcv(*hours, *late)
    first = doubted()
    assert first and "cannot be told" in grave_spans(manager.get_ohlcv(*hours, *late))[0]["reason"]
    vendor.spoil = scaled(0.01, "2024-06-03T12:00:00Z", "2024-06-04T07:00:00Z")
    manager.get_ohlcv(*hours, "2024-06-03T06:00", "2024-06-04T07:00")
    # The first of them is beside the other unit now, too.
    assert doubted() == ["2024-06-04T12:00:00Z", *first]


@pytest.mark.parametrize("replaced", ["before", "after"])
def test_a_change_of_units_is_no_longer_doubted_after_the_wrong_bars_are_replaced(
    market: Market, clock: ManualClock, replaced: str
) -> None:
    clock.set(at("2024-06-07T00:00:00Z"))
    vendor = Walker(clock, every("1h", "2024-06-04T12:00:00Z", "2024-06-05T12:00:00Z"), "binance")
    before = "2024-06-04T12:00", "2024-06-04T23:00"
    after = "2024-06-05T00:00", "2024-06-05T12:00"
    wrong = before if replaced == "before" else after
    vendor.spoil = scaled(0.01, *(f"{one}:00Z" for one in wrong))
    manager, hours = market.manager(vendor), ("BTCUSDT", "1h", before[0], after[1])
    (edge,) = grave_spans(manager.get_ohlcv(*hours))
    assert (edge["start"], edge["rows"]) == ("2024-06-04T23:00:00Z", 2)
    # Bars that came times a hundred exactly would be refused.
    vendor.spoil = lambda rows: [r._replace(high=r.high + 0.25) for r in rows]
    manager.get_ohlcv(*hours[:2], *wrong, force_refresh=True)
    assert not grave_spans(manager.get_ohlcv(*hours, offline=True))
    account = provenance(manager.get_ohlcv(*hours, strict=True))
    assert [span["state"] for span in account["spans"]] == ["final"]
    asked = len(vendor.asked)
    manager.get_ohlcv(*hours, strict=True)
    assert len(vendor.asked) == asked


def test_hours_between_two_doubted_bars_that_were_never_requested_are_requested(
    market: Market, clock: ManualClock
) -> None:
    clock.set(at("2024-06-07T00:00:00Z"))
    vendor = Walker(clock, every("1h", "2024-06-03T00:00:00Z", "2024-06-05T12:00:00Z"), "binance")
    manager, hours = market.manager(vendor), ("BTCUSDT", "1h")
    manager.get_ohlcv(*hours, "2024-06-05T12:00", "2024-06-05T12:00")
    vendor.spoil = scaled(0.01, "2024-06-05T01:00:00Z", "2024-06-05T01:00:00Z")
    manager.get_ohlcv(*hours, "2024-06-05T01:00", "2024-06-05T01:00")
    both = manager.get_ohlcv(*hours, "2024-06-05T01:00", "2024-06-05T12:00", offline=True)
    assert len(both) == 2 and len(grave_spans(both)) == 2, "each is doubted next to the other"
    (gap,) = provenance(both)["gaps"]
    assert (gap["start"], gap["end"]) == ("2024-06-05T02:00:00Z", "2024-06-05T12:00:00Z")
    assert len(manager.get_ohlcv(*hours, "2024-06-05T01:00", "2024-06-05T12:00")) == 12


def test_grave_bars_stay_an_error_of_validate_after_the_year_that_proved_them_is_deleted(
    market: Market, clock: ManualClock
) -> None:
    clock.set(at("2024-01-13T06:00:00Z"))
    stamps = every("1d", "2023-10-01T00:00:00Z", "2024-01-12T00:00:00Z")
    vendor = Walker(clock, stamps, "binance")
    vendor.spoil = scaled(0.01, "2024-01-01T00:00:00Z", "2024-01-12T00:00:00Z")
    manager, days_ = market.manager(vendor), ("BTCUSDT", "1d")
    assert len(manager.get_ohlcv(*days_, "2023-10-01", "2024-01-12")) == 104
    (unit,) = manager.validate(*days_).findings
    assert (unit.check, len(unit.stamps)) == ("unit", 12)
    [earlier] = market.folder.rglob("2023.csv.gz")
    earlier.unlink()
    left = manager.get_ohlcv(*days_, "2024-01-01", "2024-01-12", offline=True)
    assert len(left) == 12 and len(grave_spans(left)) == 1
    report = manager.validate(*days_, mark=True)
    (doubted,) = [one for one in report.findings if one.is_grave]
    assert (doubted.check, len(doubted.stamps)) == ("doubted", 12)
    assert doubted.evidence.startswith("unit: 12 rows 100 times too small")
    assert (report.marked, report.unmarked) == (0, 0)
    clock.advance(90 * 60 + 1)  # a quarter of their age
    vendor.spoil = lambda rows: rows
    assert not grave_spans(manager.get_ohlcv(*days_, "2024-01-01", "2024-01-12"))
    assert not [one for one in manager.validate(*days_).findings if one.is_grave]
