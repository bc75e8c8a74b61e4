"""Splits that a vendor leaves out or reports wrongly are doubted if its own adjusted close shows them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.data.calendars.calendar import calendar_for
from src.data.clock import ManualClock
from src.data.errors import IncompleteDataError
from src.data.model.actions import Action
from src.data.model.bars import Bar
from src.data.model.capabilities import Fetched, FetchQuery
from src.data.model.instant import DAY_MS, date_of, day_ms
from src.data.model.reasons import GRAVE

from .fixed_vendor import FixedVendor, Market, at
from .scripted_vendor import provenance
from .share_vendors import APPLE, dividend, split

RAW, SPLIT_ADJUSTED = ("tiingo", "eodhd", "alpha_vantage", "polygon"), ("yahoo", "fmp")
SESSIONS = [day_ms(s.day) for s in calendar_for(APPLE).sessions(date(2021, 1, 4), date(2022, 12, 30))]
BEFORE = 150  # sessions before the split


class Share:
    """What a share traded for, with a true split at session ``BEFORE``.

    Args:
        ratio: New shares for one old share.
        pays: Whether it pays dividends.
    """

    def __init__(self, ratio: float, *, pays: bool = True) -> None:
        random = np.random.default_rng(7)
        moves = random.standard_t(4, (2, len(SESSIONS))) * 0.01
        self.close = 100 * np.exp(np.cumsum(moves[0]))
        self.open = np.append(self.close[:1], self.close[:-1]) * np.exp(moves[1] / 4)
        self.split = split(date_of(SESSIONS[BEFORE]), ratio)
        self.paid = [dividend(date_of(SESSIONS[n]), 0.5) for n in range(20, len(SESSIONS), 63) if pays]
        self.adjusted = self.close.copy()
        for one in self.paid:
            row = SESSIONS.index(day_ms(one.ex_date))
            # What is paid is in terms of the shares of its day.
            cash = one.amount / (ratio if row < BEFORE else 1)
            self.adjusted[:row] *= 1 - cash / self.close[row - 1]


class Vendor(FixedVendor):
    """Sends the share's bars by the splits that it has been told of, and a right adjusted close."""

    def __init__(self, clock: ManualClock, share: Share, like: str, *splits: Action) -> None:
        super().__init__(clock, SESSIONS, like)
        self.share, self.splits = share, splits

    def bar(self, stamp: int) -> Bar:
        """Return the bar, raw or adjusted for the splits that this vendor reports."""
        row, share = SESSIONS.index(stamp), self.share
        factor = float(share.split.ratio) if row < BEFORE else 1.0
        if self.capabilities.adjustment == "split":
            for one in self.splits:
                factor /= float(one.ratio) if stamp < day_ms(one.ex_date) else 1.0
        opened, close = share.open[row] * factor, share.close[row] * factor
        high, low = max(opened, close) * 1.004, min(opened, close) * 0.996
        return Bar(stamp, opened, high, low, close, 1e6 / factor, float(share.adjusted[row]))

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


def doubts(market: Market, vendor: Vendor, later: int = 30) -> list[str]:
    """Return the reasons for grave bars, as asked some sessions after the split; all are refused.

    An answer without one passes ``strict``.
    """
    end = SESSIONS[BEFORE + later]
    market.clock.set(end + 3 * DAY_MS // 2)
    manager = market.manager(vendor)
    question = "AAPL", "1d", "2021-01-01", str(pd.Timestamp(end, unit="ms").date())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = manager.get_ohlcv(*question)
        assert len(frame) == BEFORE + later + 1
        account = provenance(frame)
        reasons = [span.get("reason", "") for span in account["spans"]]
        found = [text for text in reasons if text.startswith(GRAVE)]
        if found:
            with pytest.raises(IncompleteDataError):
                manager.get_ohlcv(*question, strict=True)
        else:
            assert len(manager.get_ohlcv(*question, strict=True)) == len(frame)
    return found


@pytest.mark.parametrize("later", [0, 2, 30, 250])
@pytest.mark.parametrize("ratio", [2.0, 1.25, 0.1])
@pytest.mark.parametrize("like", ["yahoo", "fmp", "tiingo", "eodhd"])
def test_a_split_that_the_vendor_leaves_out_is_doubted(
    market: Market, like: str, ratio: float, later: int
) -> None:
    share = Share(ratio, pays=ratio != 2.0)
    (reason, *_) = doubts(market, Vendor(market.clock, share, like), later)
    assert "adj_close follows a split of" in reason


@pytest.mark.parametrize("later", [0, 30])
@pytest.mark.parametrize(("true", "told"), [(2.0, 3.0), (2.0, 1.5), (1.25, 1.5), (0.1, 10.0)])
@pytest.mark.parametrize("like", ["yahoo", "fmp", "tiingo", "alpha_vantage"])
def test_a_split_that_the_vendor_reports_with_another_ratio_is_doubted(
    market: Market, like: str, true: float, told: float, later: int
) -> None:
    share = Share(true)
    wrong = replace(share.split, numerator=told)
    assert doubts(market, Vendor(market.clock, share, like, wrong), later)


@pytest.mark.parametrize("like", [*RAW, *SPLIT_ADJUSTED])
@pytest.mark.parametrize("ratio", [2.0, 1.25, 0.1])
def test_a_split_that_is_reported_is_not_doubted(market: Market, like: str, ratio: float) -> None:
    share = Share(ratio)
    for later in (0, 2, 30, 250):
        assert doubts(market, Vendor(market.clock, share, like, share.split), later) == []


@pytest.mark.parametrize("like", [*RAW, *SPLIT_ADJUSTED])
def test_a_split_that_is_dated_one_session_late_is_doubted(market: Market, like: str) -> None:
    share = Share(2.0)
    late = split(date_of(SESSIONS[BEFORE + 1]), 2.0)
    assert doubts(market, Vendor(market.clock, share, like, late))
