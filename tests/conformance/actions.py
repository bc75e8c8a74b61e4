"""Checks of splits and dividends from each vendor alone, as a user receives them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from src.data.core.model.identity.kind import Adjustment
from src.data.core.model.market.actions import Action
from src.data.core.model.time.instant import DAY_MS, day_ms, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.errors import AllProvidersFailedError, DataError
from tests.e2e.scripted_vendor import provenance
from tests.vendor_server.faults import Fault
from tests.vendor_server.listings import split

from .bench import Bench
from .sheet import Series

_ADJUSTMENTS: tuple[Adjustment, ...] = ("raw", "split", "all")
# A split of 10:1 on 2024-06-10; a dividend of 0.25 on 2024-05-10.
_SPLIT = Series("NVDA", "1d", "2024-05-20", "2024-06-12")
_DIVIDEND = Series("AAPL", "1d", "2024-04-22", "2024-05-23T22:30:00")
_WEEK = Series("AAPL", "1d", "2024-05-28", "2024-06-06")
_EVE, _AFTER = "2024-06-07T22:30:00", "2024-06-13T22:30:00"
_ACTIVE = (
    ("NVDA", "2024-06-01", "2024-06-12"),
    ("AAPL", "2023-08-01", "2024-06-01"),
    ("REVS", "2024-04-01", "2024-05-01"),
    ("MSFT", "2024-03-01", "2024-05-01"),
)
# What a vendor rounds away of an adjusted price, and what undoing that adds.
_ROUNDING = 3e-4


def splits_and_dividends_are_told(bench: Bench) -> None:
    """Those whose ex-date lies in a range, with ratios and amounts; a range without any has none."""
    vendor, now_ms = bench.downloader(), bench.clock.now_ms()
    for symbol, start, end in _ACTIVE:
        span = Span(parse_iso(start), parse_iso(end))
        who = Series(symbol, "1d", start, end).instrument
        known = bench.vendors.truth.actions(symbol, now_ms)
        wanted = [_said(a) for a in known if day_ms(a.ex_date) in span]
        before = bench.vendors.count()
        assert [_said(a) for a in vendor.fetch_actions(who, span, now_ms)] == wanted, symbol
        sent = bench.vendors.count() - before
        assert sent == vendor.capabilities.action_requests, f"{symbol}: {sent} requests"
    for payload in ("{}", "null", '"none"'):
        bench.fault(Fault.lie(payload))
        with pytest.raises(DataError):  # it does not tell that there are none
            vendor.fetch_actions(who, span, now_ms)
        bench.heal()


def bars_bring_the_actions_that_are_declared(bench: Bench) -> None:
    """Where splits and dividends are declared to come with the bars they do, all of them."""
    vendor = bench.downloader()
    for label in vendor.capabilities.labels("stock"):
        for symbol, start, end in _ACTIVE:
            series = Series(symbol, label, start, end)
            if not vendor.capabilities.at(series.frame).actions or _is_too_deep(bench, series):
                continue
            known = bench.vendors.truth.actions(symbol, bench.clock.now_ms())
            wanted = [_said(a) for a in known if day_ms(a.ex_date) in series.span]
            came = bench.fetch(series).actions
            assert came is not None, f"{label} bars of {symbol} say nothing about them"
            said = [_said(a) for a in sorted(came) if day_ms(a.ex_date) in series.span]
            assert said == wanted, (label, symbol)


def a_split_between_two_questions_is_applied(bench: Bench) -> None:
    """What was fetched before a split and what is fetched after it are one series."""
    bench.clock.set(parse_iso(_EVE))
    for timeframe in _labels(bench, _SPLIT):
        _ask(bench, _SPLIT, timeframe, "split", _SPLIT.start, _EVE)
    bench.clock.set(parse_iso(_AFTER))
    for timeframe in _labels(bench, _SPLIT):
        for adjustment in ("split", "raw"):
            _ask(bench, _SPLIT, timeframe, adjustment, "2024-06-10", "2024-06-11T21:00:00")
            _assert_right(bench, _SPLIT, timeframe, adjustment)


def a_split_at_an_open_that_was_not_asked_for_is_applied(bench: Bench) -> None:
    """Bars from after the open of an ex-date do not tell that nothing happened at that open."""
    bench.vendors.truth.act("AAPL", split("2024-06-05", 2))  # a Wednesday
    for timeframe in _labels(bench, _WEEK)[:1]:
        bench.clock.set(parse_iso("2024-06-04T22:30:00"))
        _ask(bench, _WEEK, timeframe, "split", _WEEK.start, "2024-06-04T20:00:00")
        bench.clock.set(parse_iso("2024-06-05T22:30:00"))
        _ask(bench, _WEEK, timeframe, "split", "2024-06-05T16:30:00", "2024-06-05T19:30:00")
        _assert_right(bench, _WEEK, timeframe, "split")


def a_split_in_one_question_is_applied(bench: Bench) -> None:
    """A range over a split up to now is one series; so is what is read from disk then."""
    bench.clock.set(parse_iso(_AFTER))
    now = replace(_SPLIT, end=_AFTER)
    for timeframe in _labels(bench, now):
        for _ in range(2):
            _assert_right(bench, now, timeframe, "split")


def a_range_before_a_split_is_in_the_basis_of_today(bench: Bench) -> None:
    """A range that ended before a split is asked for after it."""
    bench.clock.set(parse_iso(_AFTER))
    early = Series("NVDA", "1d", "2024-05-20", "2024-06-05")
    for timeframe in _labels(bench, early):
        for _ in range(2):
            _assert_right(bench, early, timeframe, "split")


def a_dividend_between_two_questions_is_applied(bench: Bench) -> None:
    """Days fetched before a dividend are adjusted for it where that is wanted."""
    if "1d" not in bench.downloader().capabilities.labels("stock"):
        return
    bench.clock.set(parse_iso("2024-05-08T22:30:00"))
    _ask(bench, _DIVIDEND, "1d", "split", _DIVIDEND.start, "2024-05-08T22:30:00")
    bench.clock.set(parse_iso(_DIVIDEND.end))
    for adjustment in _ADJUSTMENTS:
        _assert_right(bench, _DIVIDEND, "1d", adjustment)


# --- inside --------------------------------------------------------------------------------


def _said(action: Action) -> tuple[object, ...]:
    """Return what an action says; of a split the ratio, for 10:1 and 1:0.1 are the same."""
    what = float(action.ratio) if action.type == "split" else action.amount
    return action.ex_date, action.type, what


def _is_too_deep(bench: Bench, series: Series) -> bool:
    days = bench.downloader().capabilities.depth_days.get(series.timeframe)
    return days is not None and series.span.start < bench.clock.now_ms() - days * DAY_MS


def _labels(bench: Bench, series: Series) -> list[str]:
    """Return the longest bars of hours or minutes that are served, if they reach back, and a day.

    Days last: what they bring must not be what saves the others.
    """
    served = bench.downloader().capabilities.labels("stock")
    shorter = [label for label in ("1h", "30m", "15m", "5m") if label in served][:1]
    asked = [replace(series, timeframe=label) for label in (*shorter, "1d")]
    return [
        one.timeframe for one in asked if one.timeframe in served and not _is_too_deep(bench, one)
    ]


def _ask(
    bench: Bench, series: Series, timeframe: str, adjustment: str, start: str, end: str
) -> pd.DataFrame | None:
    """Ask the whole library, begun anew on the same folder, with this vendor alone.

    None where it refuses for want of actions, which only a vendor that tells none may make it do.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return bench.manager().get_ohlcv(
                series.symbol,
                timeframe,
                start,
                end,
                adjustment=adjustment,  # type: ignore[arg-type]
            )
        except AllProvidersFailedError as error:
            can_tell = bench.downloader().capabilities.tells_actions
            if can_tell or "splits and dividends" not in str(error):
                raise
            return None


def _assert_right(bench: Bench, series: Series, timeframe: str, adjustment: Adjustment) -> None:
    """See that an answer is the truth of now, or says that it is of another adjustment."""
    now_ms, can_tell = bench.clock.now_ms(), bench.downloader().capabilities.tells_actions
    frame = _ask(bench, series, timeframe, adjustment, series.start, iso(series.span.end - 1000))
    if frame is None:
        return
    said: Any = provenance(frame)
    is_other = said["adjustment"] != adjustment
    assert not (is_other and said["complete"]), f"{said['adjustment']} prices pass for {adjustment}"
    assert len(frame) >= 7, (timeframe, adjustment)
    wanted = {
        row.stamp_ms: row
        for anchor in ("session", "clock")
        for row in bench.vendors.truth.rows(
            series.listing or series.symbol, timeframe, *series.span,
            said["adjustment"], now_ms, anchor=anchor,
        )
    }  # fmt: skip
    for stamp, close in zip(frame.index, frame["close"], strict=True):
        true = wanted[stamp.value // 1_000_000].close
        assert true is not None
        assert abs(close / true - 1) < _ROUNDING, (timeframe, adjustment, str(stamp), close, true)
    assert not said.get("actions_disputed")
    if can_tell and timeframe == "1d":
        assert not is_other, f"{bench.name} tells all that {adjustment} prices need"
        # The newest day is published by some only the day after.
        assert said["complete"] or series.span.end == now_ms, said
