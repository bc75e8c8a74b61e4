"""Adjusted closes of vendors are as of the answer's date, and show splits that the vendor leaves out.

A split that a vendor leaves out or reports wrongly is doubted if its own adjusted close shows it.
"""

from __future__ import annotations

import math
import os
import warnings
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.data.core.calendars.calendar import calendar_for
from src.data.core.clock import ManualClock
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.core.model.stored.reasons import GRAVE
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, date_of, day_ms, from_ms
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, UnavailableError
from tests.core.prices.judgement.market import load, needs_market

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


# --- as of the answer's date -------------------------------------------------------------------


class AsOfToday(Vendor):
    """Sends the bars of a share whose adjusted close is as of today, as all vendors do."""

    def bar(self, stamp: int) -> Bar:
        """Return the bar with its adjusted close as of today."""
        return super().bar(stamp)._replace(adj_close=self.adj_close(stamp, self.clock.now_ms()))

    def adj_close(self, stamp: int, now_ms: int) -> float:
        """Return the adjusted close of a bar as of the last session that had opened by a time."""
        share, opened = self.share, bisect_left(self.stamps, now_ms - 14 * HOUR_MS) - 1
        ratio = float(share.split.ratio) if opened < share.row else 1.0
        adjusted = share.adjusted[bisect_left(self.stamps, stamp)]
        return float(adjusted * share.close[opened] / share.adjusted[opened] * ratio)


def days_of(share: Share, first: int, last: int) -> tuple[date, date]:
    """Return the dates of two sessions."""
    return date_of(share.stamps[first]), date_of(share.stamps[last])


def adj_closes(manager: DataManager, bounds: tuple[date, date], **more: Any) -> list[float]:
    """Return the adjusted closes of an answer, which has no other fault, or a sentence for each NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = manager.get_ohlcv("AAPL", "1d", *bounds, **more)
    facts = provenance(frame)
    assert frame[["close", "volume"]].notna().all().all() and facts["complete"]
    outcomes = {attempt["outcome"] for attempt in facts["attempts"]}
    assert "DividendError" not in outcomes, "no other vendor is queried for the prices"
    sentences = [text for text in facts["problems"] if text.startswith("adj_close is missing")]
    assert bool(sentences) == bool(frame["adj_close"].isna().any()), facts["problems"]
    return [float(value) for value in frame["adj_close"]]


@pytest.mark.parametrize("adjustment", ["split", "all"])
@pytest.mark.parametrize("like", ["yahoo", "fmp", "tiingo", "eodhd"])
def test_a_stored_adjusted_close_is_as_of_the_answer_after_later_dividends_and_a_split(
    market: Market, like: str, adjustment: str
) -> None:
    share = made(2.0)
    vendor = AsOfToday(market.clock, share, like)
    early, between = days_of(share, 0, 15), days_of(share, 90, 100)
    for night in (19, 60, 100, AT + 5, 300):
        market.clock.set(share.stamps[night] + 3 * DAY_MS // 2)
        vendor.splits = (share.split,) if night >= AT else ()
        # A new manager each time: the process is restarted.
        found = adj_closes(market.manager(vendor), early, adjustment=adjustment)
        truth = [vendor.adj_close(stamp, market.clock.now_ms()) for stamp in share.stamps[:16]]
        assert found == pytest.approx(truth, rel=1e-9), night
        if night >= 100:
            adj_closes(market.manager(vendor), between, adjustment=adjustment)
    vendor.asked.clear()
    longer = adj_closes(market.manager(vendor), days_of(share, 0, 300), adjustment=adjustment)
    assert longer[:16] == pytest.approx(truth, rel=1e-9)
    assert adj_closes(market.manager(vendor), early, adjustment=adjustment) == longer[:16]


def test_the_close_before_a_later_dividend_is_fetched_once(market: Market) -> None:
    share = made(1.0)
    vendor = AsOfToday(market.clock, share, "yahoo")
    early, counts = days_of(share, 0, 15), []
    for night in (19, 100, 100, 101, 140):
        market.clock.set(share.stamps[night] + 3 * DAY_MS // 2)
        manager = market.manager(vendor)
        vendor.asked.clear()
        adj_closes(manager, early)
        counts.append(len(vendor.asked))
    # There are dividends on sessions 20, 83 and 146; the clock is a night later.
    assert counts == [1, 1, 0, 0, 0]
    market.clock.set(share.stamps[160] + 3 * DAY_MS // 2)
    adj_closes(market.manager(vendor), early)
    (span,) = vendor.asked
    assert share.stamps[70] < span.start and span.end < share.stamps[148]


@pytest.mark.parametrize("how", ["offline", "down"])
def test_an_adjusted_close_that_cannot_be_adjusted_is_missing_with_the_reason(
    market: Market, how: str
) -> None:
    share = made(1.0)
    vendor, more = AsOfToday(market.clock, share, "yahoo"), {"offline": how == "offline"}
    manager, early = market.manager(vendor), days_of(share, 0, 15)
    market.clock.set(share.stamps[19] + 3 * DAY_MS // 2)
    assert not np.isnan(adj_closes(manager, early)).any()
    market.clock.set(share.stamps[100] + 3 * DAY_MS // 2)
    manager.get_actions("AAPL", start=early[0])
    if how == "down":
        vendor.errors += [UnavailableError("down", provider="yahoo")] * 3
    assert np.isnan(adj_closes(manager, early, **more, strict=True)).all()
    vendor.errors.clear()
    market.clock.advance(3600)
    truth = [vendor.adj_close(stamp, market.clock.now_ms()) for stamp in share.stamps[:16]]
    assert adj_closes(manager, early) == pytest.approx(truth, rel=1e-9)
    assert adj_closes(manager, early, **more) == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize("like", ["eodhd", "tiingo"])
def test_raw_prices_ask_for_no_dividends_so_their_adjusted_close_is_missing(
    market: Market, like: str
) -> None:
    share = made(1.0)
    vendor = AsOfToday(market.clock, share, like)
    for night, last in ((19, 15), (100, 100)):
        market.clock.set(share.stamps[night] + 3 * DAY_MS // 2)
        manager = market.manager(vendor)
        for first in (0, 95):
            if first < last:
                found = adj_closes(
                    manager, days_of(share, first, min(last, first + 15)), adjustment="raw"
                )
    early = adj_closes(manager, days_of(share, 0, 15), adjustment="raw")
    assert np.isnan(early).all() and not np.isnan(found).any()
    truth = [vendor.adj_close(stamp, market.clock.now_ms()) for stamp in share.stamps[:16]]
    adj_closes(manager, days_of(share, 0, 15), adjustment="all")
    again = adj_closes(manager, days_of(share, 0, 15), adjustment="raw")
    assert again == pytest.approx(truth, rel=1e-9), "what is known by now is applied"


def test_raw_prices_of_a_vendor_without_actions_have_no_adjusted_close_of_an_earlier_date(
    market: Market,
) -> None:
    share = made(1.0)
    vendor = AsOfToday(market.clock, share, "tiingo")
    vendor.capabilities = replace(vendor.capabilities, actions=False, actions_apart=False)
    for night, last in ((19, 15), (100, 100)):
        market.clock.set(share.stamps[night] + 3 * DAY_MS // 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame = market.manager(vendor).get_ohlcv(
                "AAPL", "1d", *days_of(share, 0, last), provider="tiingo"
            )
    facts = provenance(frame)
    assert facts["adjustment"] == "raw" and "without" not in facts["substitute"]
    adjusted = frame["adj_close"]
    assert adjusted.iloc[:16].isna().all() and adjusted.iloc[-1] == frame["close"].iloc[-1]
    assert any(text.startswith("adj_close is missing") for text in facts["problems"])


@pytest.mark.parametrize("is_doubted", [True, False])
def test_a_doubtful_close_before_a_dividend_adjusts_no_adjusted_close(
    market: Market, is_doubted: bool
) -> None:
    share = made(1.0)
    vendor = AsOfToday(market.clock, share, "yahoo")
    early = days_of(share, 0, 15)
    market.clock.set(share.stamps[19] + 3 * DAY_MS // 2)
    adj_closes(market.manager(vendor), early)
    market.clock.set(share.stamps[100] + 3 * DAY_MS // 2)
    if is_doubted:  # the bars of some sessions are a hundred times too high
        wrong = set(share.stamps[79:83])
        vendor.spoil = lambda rows: [
            Bar(row[0], *(value * 100 for value in row[1:5]), *row[5:]) if row[0] in wrong else row
            for row in rows
        ]
    found = adj_closes(market.manager(vendor), early)
    assert np.isnan(found).all() == is_doubted


@pytest.mark.parametrize("timeframe", ["1w", "1M"])
def test_adjusted_closes_of_weeks_and_months_are_as_of_the_answer(
    market: Market, timeframe: str
) -> None:
    share = made(2.0)
    vendor = AsOfToday(market.clock, share, "yahoo")
    bounds = date(2021, 2, 1), date(2021, 2, 28)
    for night in (45, 100, 300):
        market.clock.set(share.stamps[night] + 3 * DAY_MS // 2)
        vendor.splits = (share.split,) if night >= AT else ()
        frame = market.manager(vendor).get_ohlcv("AAPL", timeframe, *bounds)
    days = adj_closes(market.manager(vendor), bounds)
    fresh = market.manager(vendor, folder="fresh").get_ohlcv("AAPL", timeframe, *bounds)
    assert frame["adj_close"].tolist() == pytest.approx(fresh["adj_close"].tolist(), rel=1e-9)
    assert frame["adj_close"].iloc[-1] == days[-1]


@pytest.mark.parametrize("like", ["yahoo", "tiingo", "eodhd"])
def test_adjusted_closes_as_of_a_past_time_contain_nothing_later(market: Market, like: str) -> None:
    share = made(2.0)
    vendor = AsOfToday(market.clock, share, like, share.split)
    market.clock.set(share.stamps[300] + 3 * DAY_MS // 2)
    moment, early = share.stamps[100] + 3 * DAY_MS // 2, days_of(share, 60, 99)
    truth = [vendor.adj_close(stamp, moment) for stamp in share.stamps[60:100]]
    then = market.manager(vendor).at(from_ms(moment))
    assert adj_closes(then, early) == pytest.approx(truth, rel=1e-9)
    market.manager(vendor).get_ohlcv("AAPL", "1d", early[0], adjustment="all")
    then = market.manager(vendor).at(from_ms(moment))
    assert adj_closes(then, early) == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize("like", ["yahoo", "tiingo"])
def test_a_dividend_on_the_day_of_a_split_is_undone_by_its_amount_per_old_share(
    market: Market, like: str
) -> None:
    share = made(4.0, pays=False)
    row, before = AT, float(share.close[AT - 1])
    share.paid.append(dividend(date_of(share.stamps[row]), 1.0))  # per share after the split
    share.adjusted[:row] *= 1 - 1.0 / before
    vendor = AsOfToday(market.clock, share, like, share.split)
    market.clock.set(share.stamps[AT + 30] + 3 * DAY_MS // 2)
    manager, bounds = market.manager(vendor), days_of(share, AT - 30, AT - 10)
    manager.get_ohlcv("AAPL", "1d", bounds[0], adjustment="all")
    moment = share.stamps[AT - 5] + 3 * DAY_MS // 2
    found = adj_closes(manager.at(from_ms(moment)), bounds)
    # Before the split, the price was four times as high, and nothing had been paid yet.
    assert found == pytest.approx((share.close[AT - 30 : AT - 9] * 4).tolist(), rel=1e-9)
