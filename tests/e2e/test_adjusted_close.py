"""Splits that a vendor leaves out or reports wrongly are doubted if its own adjusted close shows them."""

from __future__ import annotations

import math
import os
import warnings
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from src.data.calendars.calendar import calendar_for
from src.data.clock import ManualClock
from src.data.errors import IncompleteDataError
from src.data.model.actions import Action
from src.data.model.bars import Bar
from src.data.model.capabilities import Fetched, FetchQuery
from src.data.model.instant import DAY_MS, date_of, day_ms
from src.data.model.reasons import GRAVE
from tests.prices.judgement.market import load, needs_market

from .fixed_vendor import FixedVendor, Market, at
from .scripted_vendor import provenance
from .share_vendors import APPLE, dividend, split

RAW, SPLIT_ADJUSTED = ("tiingo", "eodhd", "alpha_vantage", "polygon"), ("yahoo", "fmp")
SESSIONS = [
    day_ms(s.day) for s in calendar_for(APPLE).sessions(date(2021, 1, 4), date(2022, 12, 30))
]
AT = 150  # the session of the split
FULL = bool(os.environ.get("ONETAPE_FULL"))
# Sessions after the split at which it is requested; vendors whose bars come with and without splits.
LATER, SOME = (
    ((0, 2, 30, 250), [*RAW[:3], *SPLIT_ADJUSTED]) if FULL else ((0, 30), ["tiingo", "fmp"])
)


class Share:
    """What a share traded for in terms of its shares after a split, and what it paid.

    Args:
        stamps, open, close: Its bars.
        row: Position of the first session after the split.
        ratio: New shares for one old share.
        paid: Dividends, per share of today.
    """

    def __init__(
        self, stamps: list[int], open: np.ndarray, close: np.ndarray, row: int, ratio: float,
        paid: Sequence[tuple[int, float]] = (),
    ) -> None:  # fmt: skip
        self.stamps, self.open, self.close, self.row = stamps, open, close, row
        self.split = split(date_of(stamps[row]), ratio)
        self.paid, self.adjusted = [], close.copy()
        for at_ms, cash in paid:
            first = int(np.searchsorted(stamps, at_ms))
            if 0 < first < len(stamps):
                day = date_of(stamps[first])
                self.paid.append(dividend(day, cash * (ratio if first < row else 1)))
                self.adjusted[:first] *= 1 - cash / close[first - 1]


def made(ratio: float, *, pays: bool = True) -> Share:
    """Return a share that is made up; it pays each quarter, or never."""
    random = np.random.default_rng(7)
    moves = random.standard_t(4, (2, len(SESSIONS))) * 0.01
    close = 100 * np.exp(np.cumsum(moves[0]))
    opened = np.append(close[:1], close[:-1]) * np.exp(moves[1] / 4)
    paid = [(SESSIONS[n], 0.5) for n in range(20, len(SESSIONS), 63) if pays]
    return Share(SESSIONS, opened, close, AT, ratio, paid)


class Vendor(FixedVendor):
    """Sends the share's bars adjusted for the splits that it reports, with a correct adjusted close."""

    def __init__(self, clock: ManualClock, share: Share, like: str, *splits: Action) -> None:
        super().__init__(clock, share.stamps, like)
        self.share, self.splits, self.has_adj_close = share, splits, True

    def bar(self, stamp: int) -> Bar:
        """Return the bar, raw or adjusted for the splits that this vendor reports."""
        share, row = self.share, bisect_left(self.stamps, stamp)
        factor = float(share.split.ratio) if row < share.row else 1.0
        if self.capabilities.adjustment == "split":
            for one in self.splits:
                factor /= float(one.ratio) if stamp < day_ms(one.ex_date) else 1.0
        opened, close = share.open[row] * factor, share.close[row] * factor
        high, low = max(opened, close) * 1.004, min(opened, close) * 0.996
        adjusted = float(share.adjusted[row]) if self.has_adj_close else math.nan
        return Bar(stamp, opened, high, low, close, 1e6 / factor, adjusted)

    def _reported(self) -> list[Action]:
        now = self.clock.now_ms()
        known = (*self.splits, *self.share.paid)
        return [replace(a, source=self.name, fetched_at=now) for a in known if a.ex_at <= now]

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return the bars, with splits and dividends if the vendor sends them together."""
        fetched = super().fetch(query)
        return replace(fetched, actions=self._reported()) if self.capabilities.actions else fetched

    def fetch_actions(self, *_: object, **__: object) -> list[Action]:
        """Return the splits and dividends that this vendor reports."""
        return self._reported()


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Market:
    return Market(tmp_path, ManualClock(at("2021-01-01")), monkeypatch)


def doubts(market: Market, vendor: Vendor, later: int = 30, *, folder: str = "cache") -> list[str]:
    """Return the reasons for grave bars, as asked some sessions after the split; all are refused.

    An answer without one passes ``strict``.
    """
    row, stamps = vendor.share.row, vendor.stamps
    first, end = max(0, row - AT), min(row + later, len(stamps) - 1)
    market.clock.set(stamps[end] + 3 * DAY_MS // 2)
    manager = market.manager(vendor, folder=folder)
    question = "AAPL", "1d", date_of(stamps[first]), date_of(stamps[end])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = manager.get_ohlcv(*question)
        assert len(frame) == end - first + 1
        account = provenance(frame)
        reasons = [span.get("reason", "") for span in account["spans"]]
        found = [text for text in reasons if text.startswith(GRAVE)]
        if found:
            with pytest.raises(IncompleteDataError):
                manager.get_ohlcv(*question, strict=True)
        else:
            assert len(manager.get_ohlcv(*question, strict=True)) == len(frame)
    return found


@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize("ratio", [2.0, 1.25, 0.1])
@pytest.mark.parametrize("like", SOME)
def test_a_split_that_the_vendor_leaves_out_is_doubted(
    market: Market, like: str, ratio: float, later: int
) -> None:
    share = made(ratio, pays=ratio != 2.0)
    (reason, *_) = doubts(market, Vendor(market.clock, share, like), later)
    assert "adj_close follows a split of" in reason


@pytest.mark.parametrize("later", LATER[-1:])
@pytest.mark.parametrize(("true", "told"), [(2.0, 3.0), (1.25, 1.5), (0.1, 10.0)])
@pytest.mark.parametrize("like", SOME)
def test_a_split_that_the_vendor_reports_with_another_ratio_is_doubted(
    market: Market, like: str, true: float, told: float, later: int
) -> None:
    share = made(true)
    wrong = replace(share.split, numerator=told)
    assert doubts(market, Vendor(market.clock, share, like, wrong), later)


@pytest.mark.parametrize("like", [*RAW, *SPLIT_ADJUSTED])
@pytest.mark.parametrize("ratio", [2.0, 1.25, 0.1] if FULL else [2.0])
def test_a_split_that_is_reported_is_not_doubted(market: Market, like: str, ratio: float) -> None:
    share = made(ratio)
    for later in LATER:
        assert doubts(market, Vendor(market.clock, share, like, share.split), later) == []


@pytest.mark.parametrize("has_adj_close", [True, False])
@pytest.mark.parametrize("like", SOME)
def test_a_split_that_is_dated_one_session_late_is_doubted(
    market: Market, like: str, has_adj_close: bool
) -> None:
    share = made(2.0)
    vendor = Vendor(market.clock, share, like, split(date_of(SESSIONS[AT + 1]), 2.0))
    vendor.has_adj_close = has_adj_close
    assert doubts(market, vendor)


@pytest.mark.parametrize("late_by", [2, 12])
@pytest.mark.parametrize("like", ["tiingo", "fmp"])
def test_a_left_out_split_is_doubted_each_night_until_it_is_reported(
    market: Market, monkeypatch: pytest.MonkeyPatch, like: str, late_by: int
) -> None:
    share = made(2.0)
    vendor = Vendor(market.clock, share, like)
    manager = market.manager(vendor)
    bar = vendor.bar

    def as_of_today(stamp: int) -> Bar:
        is_before = market.clock.now_ms() < stamps[AT]
        return bar(stamp)._replace(adj_close=share.adjusted[stamps.index(stamp)] * (1 + is_before))

    stamps = share.stamps
    monkeypatch.setattr(vendor, "bar", as_of_today)
    doubted = []
    for night in range(AT - 1, AT + late_by + 8):
        if night == AT + late_by:
            vendor.splits = (share.split,)
        market.clock.set(stamps[night] + 3 * DAY_MS // 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame = manager.get_ohlcv("AAPL", "1d", date_of(stamps[0]), date_of(stamps[night]))
        reasons = [span.get("reason", "") for span in provenance(frame)["spans"]]
        doubted += [night] if any(text.startswith(GRAVE) for text in reasons) else []
    assert doubted[:late_by] == list(range(AT, AT + late_by)), "repetition proves nothing"
    if late_by == 2 or like == "fmp":  # the other sends splits with the bars of their dates only
        assert doubted[-1] < AT + late_by + 7, "a report ends the doubt within a week or so"
        assert frame["close"].iloc[0] == pytest.approx(share.close[0])


@pytest.mark.parametrize("like", SOME)
def test_bars_that_end_before_a_reverse_split_are_not_doubted(market: Market, like: str) -> None:
    share = made(1 / 30)
    manager = market.manager(Vendor(market.clock, share, like, share.split))
    market.clock.set(SESSIONS[AT + 100] + 3 * DAY_MS // 2)
    question = "AAPL", "1d", date_of(SESSIONS[0]), date_of(SESSIONS[AT - 20])
    assert len(manager.get_ohlcv(*question, strict=True)) == AT - 19


# Splits of real shares: series, ex-date and ratio.
TRUE_SPLITS = (
    ("AAPL-1d-1998-2021-raw", "2000-06-21", 2.0),
    ("AAPL-1d-1998-2021-raw", "2005-02-28", 2.0),
    ("AAPL-1d-1998-2021-raw", "2014-06-09", 7.0),
    ("AAPL-1d-1998-2021-raw", "2020-08-31", 4.0),
    ("AAPL-1d-2004-2018-yahoo", "2005-02-28", 2.0),
    ("AAPL-1d-2004-2018-yahoo", "2014-06-09", 7.0),
    ("AAPL-1d-2012-2014-csvdir", "2014-06-09", 7.0),
    ("ORCL-1d-1995-2014-yahoo", "1995-02-23", 1.5),
    ("ORCL-1d-1995-2014-yahoo", "1996-04-17", 1.5),
    ("ORCL-1d-1995-2014-yahoo", "1997-08-18", 1.5),
    ("ORCL-1d-1995-2014-yahoo", "1999-02-26", 1.5),
    ("ORCL-1d-1995-2014-yahoo", "2000-01-19", 2.0),
    ("ORCL-1d-1995-2014-yahoo", "2000-10-13", 2.0),
)


def real(name: str, day: str, ratio: float) -> Share:
    """Return a share of the reference series; its other splits are in its prices."""
    series = load(name)
    table, stamps = series.table, series.table.stamps.tolist()
    opened, close = table.open.copy(), table.close.copy()
    if name.endswith("raw"):  # the others are adjusted for splits
        for _, other, factor in TRUE_SPLITS[:4]:
            for column in (opened, close):
                column[: int(np.searchsorted(stamps, at(other)))] /= factor
    paid = [(stamps[n], close[n - 1] / 200) for n in range(40, len(stamps), 63)]
    return Share(stamps, opened, close, int(np.searchsorted(stamps, at(day))), ratio, paid)


@needs_market
@pytest.mark.parametrize("number", range(len(TRUE_SPLITS)))
def test_a_true_split_is_doubted_unless_it_is_reported_as_it_was(
    market: Market, number: int
) -> None:
    share = real(*TRUE_SPLITS[number])
    like = (*RAW, *SPLIT_ADJUSTED)[number % 6]
    later = (0, 2, 30, 250)[number % 4]
    wrong = replace(share.split, numerator=share.split.numerator + 1)
    for what, splits in (("none", ()), ("wrong", (wrong,)), ("right", (share.split,))):
        vendor = Vendor(market.clock, share, like, *splits)
        assert bool(doubts(market, vendor, later, folder=what)) == (what != "right"), what


@pytest.mark.parametrize("like", ["tiingo", "yahoo"])
@pytest.mark.parametrize("is_wrong", [True, False])
def test_later_dividends_neither_hide_nor_make_a_finding_about_an_adjusted_close(
    market: Market, monkeypatch: pytest.MonkeyPatch, like: str, is_wrong: bool
) -> None:
    share, (row, later) = made(1.0), (83, 300)
    vendor = Vendor(market.clock, share, like)
    bar, stamps, before = vendor.bar, share.stamps, share.close[row - 1]
    half = (1 - 0.25 / before) / (1 - 0.5 / before)

    def as_of_today(stamp: int) -> Bar:
        last = bisect_left(stamps, market.clock.now_ms()) - 1
        adjusted = share.adjusted[stamps.index(stamp)] * share.close[last] / share.adjusted[last]
        is_off = is_wrong and stamp < stamps[row]
        return bar(stamp)._replace(adj_close=adjusted * (half if is_off else 1))

    monkeypatch.setattr(vendor, "bar", as_of_today)
    manager = market.manager(vendor)
    for end in (row + 20, *range(row + 40, later, 20)):
        market.clock.set(stamps[end] + 3 * DAY_MS // 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            manager.get_ohlcv("AAPL", "1d", date_of(stamps[0]), date_of(stamps[end]))
        found = manager.validate("AAPL", "1d").at_least("warning")
        assert [(one.check, one.stamps.tolist()) for one in found] == (
            [("dividend", [stamps[row]])] if is_wrong else []
        )
