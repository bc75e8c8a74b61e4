"""Dividends without a usable close before them: bars that cannot be adjusted are a gap, or in doubt."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from math import sin
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.bundles import Lineages, lineage
from src.data.core.clock import ManualClock
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.core.model.time.instant import DAY_MS, day_ms
from src.data.data_manager import DataManager
from src.data.errors import (
    IncompleteDataError,
    IncompleteDataWarning,
    UnavailableError,
)

from .fixed_vendor import FixedVendor, Market, at, days
from .scripted_vendor import gaps, provenance

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

HOLIDAYS = {date(2015, 4, 3), date(2015, 5, 25), date(2021, 4, 2)}
BEFORE = [day for day in days("2015-03-02", "2015-05-29") if day not in HOLIDAYS]
BEHIND = [day for day in days("2021-03-01", "2021-05-28") if day not in HOLIDAYS]
IN_HOLE, LATER = date(2018, 3, 5), date(2021, 5, 3)
AROUND = ("AAPL", "1d", "2015-03-01", "2021-05-31")


class Paying(FixedVendor):
    """Has two stretches of bars, and reports a dividend between them and one in the second."""

    def __init__(self, clock: ManualClock, ex_dates: list[date], amount: float = 2.0) -> None:
        super().__init__(clock, map(day_ms, (*BEFORE, *BEHIND)), "yahoo")
        self.capabilities = replace(self.capabilities, actions=True, actions_by_bar=False)
        self.actions = [
            Action(
                day, "dividend", day_ms(day) + 48_600_000, amount=amount, source=self.name,
                fetched_at=clock.now_ms(), as_paid=True,
            )
            for day in ex_dates
        ]  # fmt: skip

    def bar(self, stamp: int) -> Bar:
        """Return a quiet bar."""
        close = 100 + sin(stamp / 86_400_000)
        return Bar(stamp, close, close + 0.5, close - 0.5, close, 1000.0)

    def fetch(self, query: FetchQuery) -> Fetched:
        """Answer with the dividends of the span."""
        own = tuple(a for a in self.actions if day_ms(a.ex_date) in query.span)
        return replace(super().fetch(query), actions=own)

    def fetch_actions(self, query: Any, *_: Any, **__: Any) -> Any:
        """Return all that were paid."""
        return self.actions


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2021-08-02 12:00 UTC."""
    return ManualClock(at("2021-08-02T12:00:00Z"))


def full(manager: DataManager, **more: Any) -> pd.DataFrame:
    return manager.get_ohlcv(*AROUND, adjustment="all", **more)


@pytest.mark.parametrize("offline", [False, True])
def test_bars_after_a_dividend_in_a_hole_are_returned_and_the_earlier_ones_are_a_gap(
    market: Market, clock: ManualClock, *, offline: bool
) -> None:
    vendor = Paying(clock, [IN_HOLE, LATER])
    manager = market.manager(vendor)
    plain = manager.get_ohlcv(*AROUND)
    if offline:
        full(manager)  # what was paid is known from then on
        manager = market.manager()
    with pytest.warns(IncompleteDataWarning, match="2018-03-05"):
        frame = full(manager, offline=offline)
    assert [stamp.date() for stamp in frame.index] == BEHIND
    ex_date = pd.Timestamp(LATER)
    factor = 1 - 2.0 / plain.loc[ex_date - timedelta(days=3), "close"]
    early = frame.index < ex_date
    expected = plain.loc[frame.index, "close"].where(~early, lambda prices: prices * factor)
    pd.testing.assert_series_equal(frame["close"], expected)
    (gap,) = [gap for gap in gaps(frame) if "2018-03-05" in gap[2]]
    assert (gap[0][:10], gap[1][:10]) == ("2015-03-01", "2015-06-01")
    assert not provenance(frame)["complete"]


def test_a_version_of_a_series_leaves_out_the_same_bars_as_the_answer(
    market: Market, clock: ManualClock
) -> None:
    manager = market.manager(Paying(clock, [IN_HOLE, LATER]))
    frame = full(manager)
    version = provenance(frame)["generation"]
    with pytest.warns(IncompleteDataWarning, match="2018-03-05"):
        again = full(manager, version=version)
    pd.testing.assert_frame_equal(again, frame)
    part = [gap for gap in gaps(frame) if "2018-03-05" in gap[2]]
    assert part == [gap for gap in gaps(again) if "2018-03-05" in gap[2]] != []
    with pytest.raises(IncompleteDataError, match="2018-03-05"):
        full(manager, version=version, strict=True)


def test_a_recorded_read_of_a_partial_answer_can_be_reproduced(
    market: Market, clock: ManualClock, tmp_path: Path
) -> None:
    manager = market.manager(Paying(clock, [IN_HOLE, LATER]))
    with lineage("part", folder=tmp_path / "bundles", manager=manager):
        full(manager)
    report = Lineages(tmp_path / "bundles", manager).check("part")
    assert report.is_identical, report.to_json()


def test_strict_raises_for_a_dividend_in_a_hole_and_the_error_has_the_later_bars(
    market: Market, clock: ManualClock
) -> None:
    vendor = Paying(clock, [IN_HOLE, LATER])
    manager = market.manager(vendor)
    asked = []
    for _ in range(2):
        with pytest.raises(IncompleteDataError, match="2018-03-05") as refused:
            full(manager, strict=True)
        assert len(refused.value.frame) == len(BEHIND)
        asked.append(len(vendor.asked))
    assert asked[0] == asked[1], "stored bars are not requested again"
    behind = manager.get_ohlcv("AAPL", "1d", "2021-03-01", AROUND[3], adjustment="all", strict=True)
    assert len(behind) == len(BEHIND), "bars not affected by such a dividend are complete"


def test_a_range_wholly_before_a_dividend_in_a_hole_is_as_of_the_day_before_and_incomplete(
    market: Market, clock: ManualClock
) -> None:
    spring = ("AAPL", "1d", "2015-03-01", "2015-05-31")
    manager = market.manager(Paying(clock, [IN_HOLE]))
    with pytest.raises(IncompleteDataError, match="2018-03-05 on are not known"):
        manager.get_ohlcv(*spring, adjustment="all", strict=True)
    frame = manager.get_ohlcv(*spring, adjustment="all")
    assert frame.attrs["onetape"]["as_of"] == "2018-03-04"
    plain = market.manager(Paying(clock, [])).get_ohlcv(*spring)
    assert frame["close"].tolist() == plain["close"].tolist()


def test_a_dividend_as_large_as_the_price_removes_only_the_bars_before_its_ex_date(
    market: Market, clock: ManualClock
) -> None:
    vendor = Paying(clock, [LATER], amount=200.0)
    frame = full(market.manager(vendor))
    assert frame.index[0].date() == LATER
    assert len(frame) == sum(day >= LATER for day in BEHIND)
    assert any("dividend of 200" in reason for _, _, reason in gaps(frame))


class Silent(Paying):
    """Reports dividends only in a separate request: its bars have no list of them."""

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return bars without a list of dividends."""
        return replace(super().fetch(query), actions=None)


def test_bars_without_a_list_of_dividends_do_not_report_that_there_were_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(at("2021-05-28T22:00:00Z"))  # so that nothing behind the bars is asked for
    vendor = Silent(clock, [LATER])
    manager = Market(tmp_path, clock, monkeypatch).manager(vendor)
    spring = ("AAPL", "1d", "2021-03-01", "2021-05-29")
    plain = manager.get_ohlcv(*spring)
    frame = manager.get_ohlcv(*spring, adjustment="all")
    ex_date = pd.Timestamp(LATER)
    factor = 1 - 2.0 / plain.loc[ex_date - timedelta(days=3), "close"]
    early = frame.index < ex_date
    expected = plain["close"].where(~early, lambda prices: prices * factor)
    pd.testing.assert_series_equal(frame["close"], expected)


EARLY = ("AAPL", "1d", "2021-03-01", "2021-04-16")
EVE = day_ms(date(2021, 4, 30))  # the session before LATER


def test_a_bar_on_a_closed_day_is_not_the_close_before_a_dividend(
    market: Market, clock: ManualClock
) -> None:
    vendor = Paying(clock, [LATER])
    saturday = Bar(EVE + DAY_MS, 50.0, 51.0, 49.0, 50.0, 900.0)
    vendor.spoil = lambda rows: [*rows, saturday] if rows[-1].stamp_ms > EVE else rows
    manager = market.manager(vendor)
    plain = manager.get_ohlcv("AAPL", "1d", "2021-03-01", "2021-05-28")["close"]
    assert plain[pd.Timestamp("2021-05-01")] == 50.0
    frame = manager.get_ohlcv(*EARLY, adjustment="all")
    factor = 1 - 2.0 / plain[pd.Timestamp("2021-04-30")]
    pd.testing.assert_series_equal(frame["close"], plain[frame.index] * factor)
    assert provenance(frame)["complete"]


def test_a_wrong_close_before_a_dividend_puts_earlier_prices_in_doubt(
    market: Market, clock: ManualClock
) -> None:
    vendor = Paying(clock, [LATER])
    vendor.spoil = lambda rows: [
        Bar(r.stamp_ms, *(100 * price for price in r[1:5]), r.volume) if r.stamp_ms == EVE else r
        for r in rows
    ]
    manager = market.manager(vendor)
    manager.get_ohlcv("AAPL", "1d", "2021-03-01", "2021-05-28")
    assert provenance(manager.get_ohlcv(*EARLY))["complete"], "no dividend is needed"
    with pytest.warns(IncompleteDataWarning, match="close before the dividend of 2021-05-03"):
        frame = manager.get_ohlcv(*EARLY, adjustment="all")
    assert not provenance(frame)["complete"]
    with pytest.raises(IncompleteDataError, match="100 times too large"):
        manager.get_ohlcv(*EARLY, adjustment="all", strict=True)


def test_an_earlier_close_does_not_replace_a_rejected_one_before_a_dividend(
    market: Market, clock: ManualClock
) -> None:
    vendor = Paying(clock, [LATER])
    vendor.spoil = lambda rows: [r._replace(close=0.0) if r.stamp_ms == EVE else r for r in rows]
    manager = market.manager(vendor)
    manager.get_ohlcv("AAPL", "1d", "2021-03-01", "2021-05-28")
    with pytest.raises(IncompleteDataError, match="2021-05-03 on are not known"):
        manager.get_ohlcv(*EARLY, adjustment="all", strict=True)
    frame = manager.get_ohlcv(*EARLY, adjustment="all")
    assert frame.attrs["onetape"]["as_of"] == "2021-05-02"
    assert frame["close"].tolist() == manager.get_ohlcv(*EARLY)["close"].tolist()


@pytest.mark.parametrize("provider", [None, "yahoo"])
@pytest.mark.parametrize("how", ["online", "offline", "down"])
def test_a_close_fetched_before_it_had_settled_is_fetched_again_for_a_dividend(
    market: Market, clock: ManualClock, how: str, provider: str | None
) -> None:
    clock.set(at("2021-04-30T20:30:00Z"))
    vendor = Paying(clock, [LATER])
    early = vendor.bar(EVE)._replace(high=102.5, close=102.0)
    vendor.spoil = lambda rows: [early if r.stamp_ms == EVE else r for r in rows]
    manager = market.manager(vendor)
    day = ("AAPL", "1d", "2021-04-30", "2021-04-30")
    pin = {"provider": provider}
    assert manager.get_ohlcv(*day, **pin)["close"].tolist() == [102.0]
    plain = manager.get_ohlcv(*EARLY, **pin)["close"]
    clock.set(at("2021-05-28T22:00:00Z"))
    vendor.spoil = lambda rows: rows
    manager.get_actions("AAPL", "2021-03-01")
    if how == "down":
        vendor.errors = [UnavailableError("down", provider=vendor.name)] * 20
    frame = manager.get_ohlcv(*EARLY, adjustment="all", offline=how == "offline", **pin)
    close = vendor.bar(EVE).close if how == "online" else 102.0
    pd.testing.assert_series_equal(frame["close"], plain * (1 - 2.0 / close))
    assert provenance(frame)["complete"] == (how == "online")


def test_a_wrong_close_before_a_dividend_is_fetched_again_once_it_is_due(
    market: Market, clock: ManualClock
) -> None:
    vendor = Paying(clock, [LATER])
    wrong = Bar(EVE, *(100 * price for price in vendor.bar(EVE)[1:5]), 1000.0)
    vendor.spoil = lambda rows: [wrong if r.stamp_ms == EVE else r for r in rows]
    manager = market.manager(vendor)
    plain = manager.get_ohlcv("AAPL", "1d", "2021-03-01", "2021-05-28")["close"]
    calls, completes = [], []
    for hours in (0, 25, 0, 48, 0):
        if hours == 48:
            vendor.spoil = lambda rows: rows
        clock.advance(hours * 3600)
        asked = len(vendor.asked)
        frame = manager.get_ohlcv(*EARLY, adjustment="all")
        calls.append(len(vendor.asked) - asked)
        completes.append(provenance(frame)["complete"])
    assert calls == [0, 1, 0, 1, 0]
    assert completes == [False, False, False, True, True]
    expected = plain[frame.index] * (1 - 2.0 / vendor.bar(EVE).close)
    pd.testing.assert_series_equal(frame["close"], expected)


def test_a_close_is_in_doubt_if_a_row_that_cannot_be_a_bar_is_sent_for_it_later(
    market: Market, clock: ManualClock
) -> None:
    clock.set(at("2021-04-30T20:30:00Z"))
    vendor = Paying(clock, [LATER])
    manager = market.manager(vendor)
    manager.get_ohlcv("AAPL", "1d", "2021-04-30", "2021-04-30")
    manager.get_ohlcv(*EARLY)
    clock.set(at("2021-05-28T22:00:00Z"))
    vendor.spoil = lambda rows: [r._replace(close=0.0) if r.stamp_ms == EVE else r for r in rows]
    for _ in range(2):
        asked = len(vendor.asked)
        with pytest.warns(IncompleteDataWarning, match="close before the dividend of 2021-05-03"):
            frame = manager.get_ohlcv(*EARLY, adjustment="all")
        assert not provenance(frame)["complete"]
    assert len(vendor.asked) == asked
